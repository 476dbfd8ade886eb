//! `POST /v1/customer-messages`: the customer wrote; what has not left is not wanted any more (D5, D6).

use super::Api;
use super::idempotency::Idempotency;
use super::messages::part;
use super::request::{Answer, BACKEND_BYTES, Backend, Payload, Reply, parse};
use super::validate::Check;
use crate::engine::api::CustomerMessage;
use axum::extract::State;
use serde::Deserialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// A customer's message.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CustomerMessageInput {
    /// Your id of it; posting it again is safe.
    #[schema(example = "m-1000")]
    message_id: String,
    /// Your id of the conversation.
    #[schema(example = "c-77")]
    conversation_id: String,
    /// Your id of the customer; made known if new.
    #[schema(example = "lucas")]
    customer_id: String,
    /// What they said, 1–10,000 characters.
    #[schema(example = "Where is my parcel?")]
    text: String,
}

/// Takes a customer's message in
///
/// Cancels what has not left of the conversation's follow-ups.
#[utoipa::path(post, path = "/v1/customer-messages", tag = "backend", request_body = CustomerMessageInput,
    responses((status = 200, description = "Taken in", body = super::openapi::Done)))]
pub(super) async fn post(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    idempotency: Idempotency,
    Payload(body): Payload<BACKEND_BYTES>,
) -> Answer {
    let input: CustomerMessageInput = parse(&body)?;
    let mut check = Check::default();
    check.id("message_id", &input.message_id);
    check.id("conversation_id", &input.conversation_id);
    check.id("customer_id", &input.customer_id);
    let text = check.text("text", input.text);
    check.finish()?;
    let mut understood = Vec::with_capacity(64 + text.len());
    for field in [&input.conversation_id, &input.customer_id, &text] {
        part(&mut understood, Some(field));
    }
    let message = CustomerMessage {
        message_id: input.message_id,
        conversation_id: input.conversation_id,
        customer_id: input.customer_id,
        text,
        body_hash: api.vault.body_hash(workspace.id, &understood),
    };
    let act = async {
        api.engine.customer_message(&workspace, message).await?;
        Ok(Reply::done())
    };
    idempotency.once(&api, &workspace, &body, act).await
}
