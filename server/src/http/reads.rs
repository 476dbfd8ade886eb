//! `POST /v1/reads`: the customer has read a conversation up to a message (D5).

use super::Api;
use super::idempotency::Idempotency;
use super::request::{Answer, BACKEND_BYTES, Backend, Payload, Reply, parse};
use super::validate::Check;
use axum::extract::State;
use serde::Deserialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// How far the customer has read.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadInput {
    /// Your id of the conversation.
    #[schema(example = "c-77")]
    conversation_id: String,
    /// Your id of the customer.
    #[schema(example = "lucas")]
    customer_id: String,
    /// The last message read; all before it count as read too.
    #[schema(example = "m-1001")]
    message_id: String,
}

/// Says how far the customer has read
///
/// Cumulative: cancels what has not left of the replies up to this one.
#[utoipa::path(post, path = "/v1/reads", tag = "backend", request_body = ReadInput,
    responses((status = 200, description = "Noted", body = super::openapi::Done)))]
pub(super) async fn post(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    idempotency: Idempotency,
    Payload(body): Payload<BACKEND_BYTES>,
) -> Answer {
    let input: ReadInput = parse(&body)?;
    let mut check = Check::default();
    check.id("conversation_id", &input.conversation_id);
    check.id("customer_id", &input.customer_id);
    check.id("message_id", &input.message_id);
    check.finish()?;
    let act = async {
        api.engine.read(&workspace, input.conversation_id, input.customer_id, input.message_id).await?;
        Ok(Reply::done())
    };
    idempotency.once(&api, &workspace, &body, act).await
}
