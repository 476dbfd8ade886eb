//! Keys that borrow: rows are looked up at every decision, and loaded once.

use crate::store::{Key, LinkKey, Row, WorkspaceId};
use backstop_domain::ids::{DeviceId, FollowupId};
use backstop_domain::limits::Scope;
use hashbrown::{Equivalent, HashMap};

/// Rows by key. Its hasher is seeded at random and quick: callers choose the ids, and never see a hash of them.
pub(crate) type ByKey<T> = HashMap<Key, T>;

/// A [`Key`] that borrows its ids. It hashes as the key does: same variants in the same order, derived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Find<'a> {
    Customer(WorkspaceId, &'a str),
    Conversation(WorkspaceId, &'a str, &'a str),
    Message(WorkspaceId, &'a str),
    Followup(WorkspaceId, FollowupId),
    Device(WorkspaceId, DeviceId),
    Install(WorkspaceId, &'a str),
    Token(WorkspaceId, &'a [u8; 32]),
    Suppression(WorkspaceId, &'a [u8; 32]),
    Link(LinkKey),
    Counter(WorkspaceId, Scope, &'a [u8; 16]),
    Wallet(WorkspaceId),
    TopUp(WorkspaceId, &'a str),
    Open(WorkspaceId, &'a str),
}

impl<'a> Find<'a> {
    pub(crate) fn of(key: &'a Key) -> Find<'a> {
        match key {
            Key::Customer(ws, id) => Find::Customer(*ws, id),
            Key::Conversation(ws, id, of) => Find::Conversation(*ws, id, of),
            Key::Message(ws, id) => Find::Message(*ws, id),
            Key::Followup(ws, id) => Find::Followup(*ws, *id),
            Key::Device(ws, id) => Find::Device(*ws, *id),
            Key::Install(ws, id) => Find::Install(*ws, id),
            Key::Token(ws, hash) => Find::Token(*ws, hash),
            Key::Suppression(ws, hash) => Find::Suppression(*ws, hash),
            Key::Link(key) => Find::Link(*key),
            Key::Counter(ws, scope, key) => Find::Counter(*ws, *scope, key),
            Key::Wallet(ws) => Find::Wallet(*ws),
            Key::TopUp(ws, id) => Find::TopUp(*ws, id),
            Key::Open(ws, of) => Find::Open(*ws, of),
        }
    }

    /// What a row is found by; `None` = an answer of a look-up, which no row is found by.
    pub(crate) fn of_row(row: &'a Row) -> Option<Find<'a>> {
        match row {
            Row::Customer(r) => Some(Find::Customer(r.workspace, &r.customer_id)),
            Row::Conversation(r) => Some(Find::Conversation(r.workspace, &r.conversation_id, &r.customer_id)),
            Row::Message(r) => Some(Find::Message(r.workspace, &r.message_id)),
            Row::Followup(r) => Some(Find::Followup(r.workspace, r.id)),
            Row::Device(r) => Some(Find::Device(r.workspace, r.id)),
            Row::Suppression(r) => Some(Find::Suppression(r.workspace, &r.number_hash)),
            Row::Link(r) => Some(Find::Link(r.key)),
            Row::Counter(r) => Some(Find::Counter(r.workspace, r.scope, &r.key)),
            Row::Wallet(r) => Some(Find::Wallet(r.workspace)),
            Row::TopUp(r) => Some(Find::TopUp(r.workspace, &r.top_up_id)),
            Row::Found(_) | Row::Open(_) => None,
        }
    }

    pub(crate) fn key(self) -> Key {
        match self {
            Find::Customer(ws, id) => Key::Customer(ws, id.to_owned()),
            Find::Conversation(ws, id, of) => Key::Conversation(ws, id.to_owned(), of.to_owned()),
            Find::Message(ws, id) => Key::Message(ws, id.to_owned()),
            Find::Followup(ws, id) => Key::Followup(ws, id),
            Find::Device(ws, id) => Key::Device(ws, id),
            Find::Install(ws, id) => Key::Install(ws, id.to_owned()),
            Find::Token(ws, hash) => Key::Token(ws, *hash),
            Find::Suppression(ws, hash) => Key::Suppression(ws, *hash),
            Find::Link(key) => Key::Link(key),
            Find::Counter(ws, scope, key) => Key::Counter(ws, scope, *key),
            Find::Wallet(ws) => Key::Wallet(ws),
            Find::TopUp(ws, id) => Key::TopUp(ws, id.to_owned()),
            Find::Open(ws, of) => Key::Open(ws, of.to_owned()),
        }
    }
}

impl Equivalent<Key> for Find<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self == Find::of(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A look-up that borrows finds what was put under the key, for every kind of key.
    #[test]
    fn a_borrowed_key_finds_what_the_key_holds() {
        let ws = WorkspaceId(7);
        let keys = [
            Key::Customer(ws, "a".into()),
            Key::Conversation(ws, "a".into(), "b".into()),
            Key::Message(ws, "a".into()),
            Key::Followup(ws, FollowupId(1)),
            Key::Device(ws, DeviceId(1)),
            Key::Install(ws, "a".into()),
            Key::Token(ws, [1; 32]),
            Key::Suppression(ws, [1; 32]),
            Key::Link(LinkKey { made_at_s: 1, hash: [1; 16] }),
            Key::Counter(ws, Scope::Number, [1; 16]),
            Key::Wallet(ws),
            Key::TopUp(ws, "a".into()),
            Key::Open(ws, "a".into()),
        ];
        let map: ByKey<Key> = keys.iter().map(|key| (key.clone(), key.clone())).collect();
        assert_eq!(map.len(), keys.len());
        for key in &keys {
            assert_eq!(map.get(&Find::of(key)), Some(key));
            assert_eq!(Find::of(key).key(), *key);
        }
    }
}
