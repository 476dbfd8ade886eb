//! `GET /v1/inbound-messages`: what customers answered by mail and text (E3, T9).

use super::Api;
use super::followups::limit;
use super::request::{Answer, Backend, Params, Reply};
use super::view::List;
use crate::perform::open_body;
use crate::problem::Problem;
use crate::store::{CustomerRow, InboundChannel, Key, Row, StoredInbound};
use crate::vault::Vault;
use axum::extract::State;
use backstop_domain::ids::InboundId;
use backstop_wire::time::to_rfc3339;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;
use utoipa::ToSchema;

/// A customer's answer that came by mail or text.
#[derive(Serialize, ToSchema)]
pub(super) struct InboundMessage {
    /// `inb_…`; give the newest one you have as `after`.
    inbound_id: String,
    /// Ours, the id of the customer's message that it is.
    message_id: String,
    conversation_id: String,
    customer_id: String,
    channel: InboundChannel,
    /// It came by mail, and not from the customer's own address: perhaps another one of theirs, perhaps somebody that
    /// the mail was forwarded to. It cancels nothing and is no sign that the customer was there.
    from_other_address: bool,
    /// The follow-up that it answers.
    followup_id: Option<String>,
    /// What is new in it, without quotation and signature; `null` = past its retention.
    text: Option<String>,
    #[schema(format = DateTime)]
    at: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListParams {
    limit: Option<String>,
    after: Option<String>,
}

/// Lists answers by mail and text, oldest first
///
/// Each is a customer's message already, as if you had posted it to `/v1/customer-messages`: put it into the chat, and
/// do not post it again. Ask again with the newest `inbound_id` as `after`: nothing new comes before it.
#[utoipa::path(get, path = "/v1/inbound-messages", tag = "backend",
    params(
        ("limit" = Option<u32>, Query, description = "1–200, default 50"),
        ("after" = Option<String>, Query, description = "An `inbound_id`, or the `next_cursor` of the page before"),
    ),
    responses((status = 200, description = "A page", body = List<InboundMessage>)))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    Params(params): Params<ListParams>,
) -> Answer {
    let limit = limit(params.limit.as_deref())?;
    let cursor = params.after.as_deref().filter(|cursor| !cursor.is_empty());
    let bad = || Problem::invalid_field("after", "invalid", "give an inbound_id of this list");
    let after = cursor.map(|cursor| InboundId::parse(cursor).ok_or_else(bad)).transpose()?;
    let mut rows = api.store.inbound(workspace.id, after.map_or(0, |id| id.0), limit + 1).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next_cursor = rows.last().filter(|_| more).map(|row| InboundId(row.id).to_string());
    let keys: Vec<Key> = rows.iter().map(|row| Key::Customer(workspace.id, row.message.customer_id.clone())).collect();
    let customers: HashMap<String, CustomerRow> = api.store.load(keys).await?.into_iter().filter_map(named).collect();
    let data = rows.into_iter().map(|row| {
        let customer = customers.get(&row.message.customer_id);
        view(&api.vault, customer, row)
    });
    Ok(Reply::ok(&List { data: data.collect(), next_cursor }))
}

fn named(row: Option<Row>) -> Option<(String, CustomerRow)> {
    match row {
        Some(Row::Customer(row)) => Some((row.customer_id.clone(), row)),
        _ => None,
    }
}

fn view(vault: &Vault, customer: Option<&CustomerRow>, row: StoredInbound) -> InboundMessage {
    let StoredInbound { id, inbound, message } = row;
    let key = customer.and_then(|c| vault.unwrap_key(c.workspace, &c.customer_id, &c.wrapped_key).ok());
    InboundMessage {
        inbound_id: InboundId(id).to_string(),
        channel: inbound.channel,
        from_other_address: inbound.from_other,
        followup_id: inbound.followup.map(|id| id.to_string()),
        text: key.and_then(|key| open_body(&key, &message)).map(|body| body.text),
        at: to_rfc3339(message.accepted_at),
        message_id: message.message_id,
        conversation_id: message.conversation_id,
        customer_id: message.customer_id,
    }
}
