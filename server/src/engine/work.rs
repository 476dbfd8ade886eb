//! A piece of work: wants rows, decides on them, and is told when it is durable.

use super::desk::{Again, Desk};
use crate::store::{Key, StoreError, WorkspaceId};
use backstop_domain::ids::FollowupId;

/// In one batch acks come before everything, deadlines after it: at one instant the ack wins (P8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    Ack,
    Call,
    Wake,
}

pub(crate) trait Work: Send + Sync {
    fn rank(&self) -> Rank {
        Rank::Call
    }

    /// The rows it needs, as far as the desk lets it see. Asked again until nothing new is wanted.
    fn wants(&self, desk: &Desk<'_>, keys: &mut Vec<Key>);

    /// Decides. May run again on fresh rows; only the last run counts.
    fn run(&mut self, desk: &mut Desk<'_>) -> Result<(), Again>;

    /// It is durable — or it did not happen.
    fn done(self: Box<Self>, result: Result<(), StoreError>);
}

/// Everything a decision about this follow-up needs: row, customer, devices, conversation, and the messages that may
/// move to another follow-up.
pub(crate) fn want_followup(desk: &Desk<'_>, ws: WorkspaceId, id: FollowupId, keys: &mut Vec<Key>) {
    let key = Key::Followup(ws, id);
    if let Some(row) = desk.peek(&key).and_then(crate::store::Row::as_followup) {
        keys.extend(row.state.replies.iter().skip(1).map(|r| Key::Message(ws, r.message_id.clone())));
        keys.push(Key::Conversation(ws, row.conversation_id.clone(), row.customer_id.clone()));
        want_customer(desk, ws, &row.customer_id, keys);
    }
    keys.push(key);
}

/// The customer and their devices.
pub(crate) fn want_customer(desk: &Desk<'_>, ws: WorkspaceId, customer_id: &str, keys: &mut Vec<Key>) {
    let key = Key::Customer(ws, customer_id.to_owned());
    if let Some(row) = desk.peek(&key).and_then(crate::store::Row::as_customer) {
        keys.extend(row.devices.iter().map(|id| Key::Device(ws, *id)));
    }
    keys.push(key);
}

/// The customer's open follow-ups, each with all it needs.
pub(crate) fn want_open(desk: &Desk<'_>, ws: WorkspaceId, customer_id: &str, keys: &mut Vec<Key>) {
    let key = Key::Open(ws, customer_id.to_owned());
    if desk.has(&key)
        && let Ok(open) = desk.open_of(ws, customer_id)
    {
        open.into_iter().for_each(|id| want_followup(desk, ws, id, keys));
    }
    keys.push(key);
}

/// The conversation's open follow-ups, each with all it needs.
pub(crate) fn want_conversation(desk: &Desk<'_>, ws: WorkspaceId, id: &str, of: &str, keys: &mut Vec<Key>) {
    let key = Key::Conversation(ws, id.to_owned(), of.to_owned());
    if let Some(row) = desk.peek(&key).and_then(crate::store::Row::as_conversation) {
        row.open.iter().for_each(|open| want_followup(desk, ws, *open, keys));
    }
    keys.push(key);
}
