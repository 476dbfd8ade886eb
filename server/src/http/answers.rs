//! A customer's answer by mail or text on its way to the engine: which message it is, and whether it is the customer's.

use super::Api;
use super::messages::part;
use crate::engine::api::{Contact, CustomerMessage, EngineError};
use crate::engine::customer::open_contact;
use crate::mail::address::comparable;
use crate::problem::Problem;
use crate::store::{CustomerRow, FollowupRow, Inbound, InboundChannel, Key, Row};
use crate::workspace::Workspace;
use backstop_domain::ids::FollowupId;
use std::sync::Arc;

/// As long as a message may be.
const MAX_TEXT_CHARS: usize = 10_000;

/// An answer to a follow-up.
pub(super) struct Answered<'a> {
    pub(super) channel: InboundChannel,
    /// What tells it from every other answer; the same at each repeat.
    pub(super) mark: &'a [u8],
    /// The address that it came from, where it came by mail.
    pub(super) from: Option<&'a str>,
    pub(super) text: &'a str,
}

/// What became of it.
pub(super) enum Taken {
    /// It is the customer's message of this id now.
    In(String),
    /// It was before.
    Before(String),
    /// Nobody is there any more whose it is.
    Unknown,
}

/// A follow-up and its customer.
pub(super) type Whose = (Arc<FollowupRow>, CustomerRow);

/// Makes an answer the customer's message.
pub(super) async fn take_in(
    api: &Api,
    ws: &Arc<Workspace>,
    (row, customer): &Whose,
    answered: Answered<'_>,
) -> Result<Taken, Problem> {
    let Answered { channel, mark, from, text } = answered;
    let prefix = if channel == InboundChannel::Email { "mail" } else { "text" };
    let message_id = format!("{prefix}_{}", hex::encode(&api.vault.body_hash(ws.id, mark)[..16]));
    let text: String = text.chars().take(MAX_TEXT_CHARS).collect();
    let mut understood = Vec::with_capacity(64 + text.len());
    for field in [&row.conversation_id, &row.customer_id, &text] {
        part(&mut understood, Some(field));
    }
    let from_other = from.is_some_and(|from| !is_own(api, customer, from));
    let message = CustomerMessage {
        message_id: message_id.clone(),
        conversation_id: row.conversation_id.clone(),
        customer_id: row.customer_id.clone(),
        body_hash: api.vault.body_hash(ws.id, &understood),
        text,
    };
    let inbound = Inbound { message_id: message_id.clone(), channel, followup: Some(row.id), from_other };
    match api.engine.take_in(ws, message, inbound).await {
        Ok(true) => Ok(Taken::In(message_id)),
        Ok(false) => Ok(Taken::Before(message_id)),
        Err(EngineError::UnknownCustomer) => Ok(Taken::Unknown),
        Err(error) => Err(error.into()),
    }
}

/// The follow-up and its customer, unless one of them is gone.
pub(super) async fn whose(api: &Api, ws: &Workspace, id: FollowupId) -> Result<Option<Whose>, Problem> {
    let followup = api.store.load(vec![Key::Followup(ws.id, id)]).await?.pop().flatten();
    let Some(Row::Followup(row)) = followup else { return Ok(None) };
    let customer = api.store.load(vec![Key::Customer(ws.id, row.customer_id.clone())]).await?.pop().flatten();
    let Some(Row::Customer(customer)) = customer else { return Ok(None) };
    Ok(Some((row, customer)))
}

/// The number of a follow-up's customer.
pub(super) async fn number_of(api: &Api, ws: &Workspace, followup: FollowupId) -> Result<Option<String>, Problem> {
    let customer = whose(api, ws, followup).await?.map(|(_, customer)| customer);
    Ok(customer.and_then(|customer| contact(api, &customer)).and_then(|contact| contact.phone))
}

/// What is known of a customer; `None` = it does not open.
fn contact(api: &Api, customer: &CustomerRow) -> Option<Contact> {
    let key = api.vault.unwrap_key(customer.workspace, &customer.customer_id, &customer.wrapped_key).ok()?;
    open_contact(&key, customer).ok()
}

/// Whether this is the customer's own address, as far as it is known.
fn is_own(api: &Api, customer: &CustomerRow, from: &str) -> bool {
    let own = contact(api, customer).and_then(|contact| contact.email);
    own.is_some_and(|own| comparable(&own) == comparable(from))
}
