//! What every row can say of itself.

use super::{
    ConversationRow, CounterRow, CustomerRow, DeviceRow, FollowupRow, Key, LinkRow, MessageRow, Op, Row,
    SuppressionRow, TopUpRow, WalletRow,
};
use std::sync::Arc;

macro_rules! as_row {
    ($($name:ident, $variant:ident, $row:ty;)*) => {$(
        #[doc = concat!("The row, if it is a [`", stringify!($row), "`].")]
        pub fn $name(&self) -> Option<&$row> {
            if let Row::$variant(row) = self { Some(row) } else { None }
        }
    )*};
}

impl Row {
    as_row! {
        as_customer, Customer, CustomerRow;
        as_conversation, Conversation, ConversationRow;
        as_message, Message, MessageRow;
        as_followup, Followup, FollowupRow;
        as_device, Device, DeviceRow;
        as_suppression, Suppression, SuppressionRow;
        as_link, Link, LinkRow;
        as_counter, Counter, CounterRow;
        as_wallet, Wallet, WalletRow;
        as_top_up, TopUp, TopUpRow;
    }

    /// The key it is found by. Answers of [`Key::Install`], [`Key::Token`] and [`Key::Open`] are never written; theirs
    /// is a key that finds nothing.
    pub fn key(&self) -> Key {
        match self {
            Row::Customer(r) => Key::Customer(r.workspace, r.customer_id.clone()),
            Row::Conversation(r) => Key::Conversation(r.workspace, r.conversation_id.clone(), r.customer_id.clone()),
            Row::Message(r) => Key::Message(r.workspace, r.message_id.clone()),
            Row::Followup(r) => Key::Followup(r.workspace, r.id),
            Row::Device(r) => Key::Device(r.workspace, r.id),
            Row::Suppression(r) => Key::Suppression(r.workspace, r.number_hash),
            Row::Link(r) => Key::Link(r.key),
            Row::Counter(r) => Key::Counter(r.workspace, r.scope, r.key),
            Row::Wallet(r) => Key::Wallet(r.workspace),
            Row::TopUp(r) => Key::TopUp(r.workspace, r.top_up_id.clone()),
            Row::Found(_) | Row::Open(_) => Key::Install(super::WorkspaceId(0), String::new()),
        }
    }

    /// Its version as stored; 0 = not stored yet.
    pub fn version(&self) -> i64 {
        match self {
            Row::Customer(r) => r.version,
            Row::Conversation(r) => r.version,
            Row::Message(r) => r.version,
            Row::Followup(r) => r.version,
            Row::Device(r) => r.version,
            Row::Suppression(r) => r.version,
            Row::Link(r) => r.version,
            Row::Counter(r) => r.version,
            Row::Wallet(r) => r.version,
            Row::TopUp(r) => r.version,
            Row::Found(_) | Row::Open(_) => 0,
        }
    }

    /// Sets the version.
    pub fn set_version(&mut self, version: i64) {
        match self {
            Row::Customer(r) => r.version = version,
            Row::Conversation(r) => r.version = version,
            Row::Message(r) => r.version = version,
            Row::Followup(r) => Arc::make_mut(r).version = version,
            Row::Device(r) => r.version = version,
            Row::Suppression(r) => r.version = version,
            Row::Link(r) => r.version = version,
            Row::Counter(r) => r.version = version,
            Row::Wallet(r) => r.version = version,
            Row::TopUp(r) => r.version = version,
            Row::Found(_) | Row::Open(_) => {}
        }
    }
}

impl Op {
    /// The row that it writes whole.
    pub fn row(&self) -> Option<&Row> {
        match self {
            Op::Put(row) => Some(row),
            Op::History(..)
            | Op::Ledger(..)
            | Op::DeleteDevice(..)
            | Op::Audit(..)
            | Op::Erase(..)
            | Op::Texted(..)
            | Op::Inbound(..) => None,
        }
    }
}
