//! The store's double: versioned rows, units that happen whole or not at all, and nothing else that survives a crash.

use backstop_domain::Ms;
use backstop_domain::device::DeviceFacts;
use backstop_domain::followup::{Followup, Wake};
use backstop_domain::ids::FollowupId;
use backstop_domain::presence::Presence;
use std::collections::{BTreeMap, BTreeSet};

/// Names one row. Numbers are the world's own; each belongs to one workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Customer(usize),
    Conversation(usize),
    Device(usize),
    Message(u64),
    Followup(i64),
}

/// One row.
#[derive(Clone, Debug)]
pub(crate) enum Row {
    Customer(CustomerRow),
    Conversation(ConversationRow),
    Device(DeviceRow),
    Message(MessageRow),
    Followup(Box<FollowupRow>),
}

#[derive(Clone, Debug)]
pub(crate) struct CustomerRow {
    pub(crate) devices: Vec<usize>,
    pub(crate) presence: Presence,
    pub(crate) engaged_at: Option<Ms>,
    pub(crate) phone: bool,
    pub(crate) email: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct ConversationRow {
    pub(crate) customer: usize,
    pub(crate) next_seq: i64,
    pub(crate) wrote: bool,
    pub(crate) left_at: Option<Ms>,
    pub(crate) open: Vec<i64>,
}

#[derive(Clone, Debug)]
pub(crate) struct DeviceRow {
    pub(crate) customer: Option<usize>,
    pub(crate) token: u64,
    pub(crate) registered_at: Ms,
    pub(crate) facts: DeviceFacts,
}

#[derive(Clone, Debug)]
pub(crate) struct MessageRow {
    pub(crate) seq: i64,
    pub(crate) followup: i64,
}

#[derive(Clone, Debug)]
pub(crate) struct FollowupRow {
    pub(crate) conversation: usize,
    pub(crate) customer: usize,
    pub(crate) state: Followup,
    pub(crate) wake: Option<Wake>,
}

/// One write: the row it becomes, and the version it replaces (0 = it must not exist).
pub(crate) type Put = (Key, u64, Row);

/// Everything durable.
#[derive(Default)]
pub(crate) struct Store {
    rows: BTreeMap<Key, (u64, Row)>,
    wakes: BTreeSet<(Ms, i64)>,
}

impl Store {
    pub(crate) fn get(&self, key: Key) -> Option<(u64, &Row)> {
        self.rows.get(&key).map(|(version, row)| (*version, row))
    }

    pub(crate) fn followup(&self, id: FollowupId) -> Option<&FollowupRow> {
        match self.get(Key::Followup(id.0)) {
            Some((_, Row::Followup(row))) => Some(row),
            _ => None,
        }
    }

    pub(crate) fn device(&self, device: usize) -> Option<&DeviceRow> {
        match self.get(Key::Device(device)) {
            Some((_, Row::Device(row))) => Some(row),
            _ => None,
        }
    }

    pub(crate) fn followup_of(&self, message: u64) -> Option<i64> {
        match self.get(Key::Message(message)) {
            Some((_, Row::Message(row))) => Some(row.followup),
            _ => None,
        }
    }

    pub(crate) fn followups(&self) -> impl Iterator<Item = (i64, &FollowupRow)> {
        self.rows.range(Key::Followup(i64::MIN)..).filter_map(|(key, (_, row))| match (key, row) {
            (Key::Followup(id), Row::Followup(row)) => Some((*id, row.as_ref())),
            _ => None,
        })
    }

    pub(crate) fn messages(&self) -> impl Iterator<Item = (u64, &MessageRow)> {
        self.rows.range(Key::Message(0)..Key::Followup(i64::MIN)).filter_map(|(key, (_, row))| match (key, row) {
            (Key::Message(id), Row::Message(row)) => Some((*id, row)),
            _ => None,
        })
    }

    /// Whether every row the unit replaces still has the version that was loaded.
    pub(crate) fn fits(&self, unit: &[Put]) -> bool {
        unit.iter().all(|(key, version, _)| self.rows.get(key).map_or(0, |(v, _)| *v) == *version)
    }

    /// Writes a unit that fits.
    pub(crate) fn write(&mut self, unit: &[Put]) {
        for (key, version, row) in unit {
            if let (Key::Followup(id), Row::Followup(new)) = (key, row) {
                if let Some(wake) = self.followup(FollowupId(*id)).and_then(|old| old.wake) {
                    self.wakes.remove(&(wake.at, *id));
                }
                if let Some(wake) = new.wake {
                    self.wakes.insert((wake.at, *id));
                }
            }
            self.rows.insert(*key, (version + 1, row.clone()));
        }
    }

    pub(crate) fn first_wake(&self) -> Option<Ms> {
        self.wakes.first().map(|(at, _)| *at)
    }

    pub(crate) fn due(&self, until: Ms) -> Vec<i64> {
        self.wakes.range(..=(until, i64::MAX)).map(|(_, id)| *id).collect()
    }

    pub(crate) fn pending(&self) -> impl Iterator<Item = (i64, Wake)> {
        self.followups().filter_map(|(id, row)| row.wake.map(|wake| (id, wake)))
    }
}
