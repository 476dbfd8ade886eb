//! The store's double: versioned rows, units that happen whole or not at all, and nothing else that survives a crash.

use backstop_domain::Ms;
use backstop_domain::device::DeviceFacts;
use backstop_domain::followup::{Followup, Wake, WakeReason};
use backstop_domain::presence::Presence;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

/// Names one row. Message ids are the callers' own and the same in every workspace; other numbers are the world's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Customer(usize),
    Conversation(usize),
    Device(usize),
    Message(usize, u64),
    Followup(i64),
}

/// One row. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) enum Row {
    Customer(Rc<CustomerRow>),
    Conversation(Rc<ConversationRow>),
    Device(Rc<DeviceRow>),
    Message(MessageRow),
    Followup(Rc<FollowupRow>),
}

#[derive(Clone, Debug)]
pub(crate) struct CustomerRow {
    pub(crate) devices: Vec<usize>,
    pub(crate) presence: Presence,
    pub(crate) engaged_at: Option<Ms>,
    pub(crate) phone: bool,
    pub(crate) email: bool,
    pub(crate) time_zone: Option<&'static str>,
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
    pub(crate) workspace: usize,
    pub(crate) customer: Option<usize>,
    pub(crate) token: u64,
    pub(crate) registered_at: Ms,
    pub(crate) facts: DeviceFacts,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct MessageRow {
    pub(crate) seq: i64,
    pub(crate) followup: i64,
}

#[derive(Clone, Debug)]
pub(crate) struct FollowupRow {
    pub(crate) workspace: usize,
    pub(crate) conversation: usize,
    pub(crate) customer: usize,
    pub(crate) state: Followup,
    pub(crate) wake: Option<Wake>,
}

/// One write: the row it becomes, and the version it replaces (0 = it must not exist).
pub(crate) type Put = (Key, u64, Row);

/// How the store is. Faults end at the instant they carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Up,
    /// The disk answers nothing for a while, then everything.
    Stalled(Ms),
    /// Nothing can be written; reads work.
    Full(Ms),
    /// Nothing can be reached.
    Down(Ms),
}

/// What a write replaced, for those that lose what they answered.
type Undo = (Key, Option<(u64, Row)>);

/// Everything durable.
pub(crate) struct Store {
    rows: BTreeMap<Key, (u64, Row)>,
    wakes: BTreeMap<(Ms, i64), WakeReason>,
    /// Customer → follow-ups with a wake-up left.
    open: BTreeMap<usize, BTreeSet<i64>>,
    mode: Mode,
    /// The last writes with their times, where a fault may lose them.
    recent: Option<VecDeque<(Ms, Undo)>>,
    /// Wall minus elapsed time, as the nodes agreed on it while rows are measured by it.
    pub(crate) anchor_ms: Ms,
}

/// How far back a write can be lost.
const RECENT_MS: Ms = 3_000;

impl Store {
    pub(crate) fn new(loses: bool) -> Store {
        Store {
            rows: BTreeMap::new(),
            wakes: BTreeMap::new(),
            open: BTreeMap::new(),
            mode: Mode::Up,
            recent: loses.then(VecDeque::new),
            anchor_ms: 0,
        }
    }

    pub(crate) fn mode(&self, now: Ms) -> Mode {
        match self.mode {
            Mode::Stalled(until) | Mode::Full(until) | Mode::Down(until) if until <= now => Mode::Up,
            mode => mode,
        }
    }

    pub(crate) fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
    }

    pub(crate) fn get(&self, key: Key) -> Option<&(u64, Row)> {
        self.rows.get(&key)
    }

    pub(crate) fn followup(&self, id: i64) -> Option<&FollowupRow> {
        match self.get(Key::Followup(id)) {
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

    pub(crate) fn followup_of(&self, workspace: usize, message: u64) -> Option<i64> {
        match self.get(Key::Message(workspace, message)) {
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

    pub(crate) fn messages(&self) -> impl Iterator<Item = ((usize, u64), &MessageRow)> {
        self.rows.range(Key::Message(0, 0)..Key::Followup(i64::MIN)).filter_map(|(key, (_, row))| match (key, row) {
            (Key::Message(workspace, id), Row::Message(row)) => Some(((*workspace, *id), row)),
            _ => None,
        })
    }

    /// Whether every row the unit replaces still has the version that was loaded.
    pub(crate) fn fits(&self, unit: &[Put]) -> bool {
        unit.iter().all(|(key, version, _)| self.rows.get(key).map_or(0, |(v, _)| *v) == *version)
    }

    /// Writes a unit that fits.
    pub(crate) fn write(&mut self, unit: &[Put], now: Ms) {
        for (key, version, row) in unit {
            let before = self.place(*key, Some((version + 1, row.clone())));
            if let Some(recent) = &mut self.recent {
                recent.push_back((now, (*key, before)));
                while recent.front().is_some_and(|(at, _)| *at < now - RECENT_MS) {
                    recent.pop_front();
                }
            }
        }
    }

    /// A row as it is from now on, with all that leads to it; what it was.
    fn place(&mut self, key: Key, row: Option<(u64, Row)>) -> Option<(u64, Row)> {
        let before = match &row {
            Some(row) => self.rows.insert(key, row.clone()),
            None => self.rows.remove(&key),
        };
        if let Key::Followup(id) = key {
            if let Some((_, Row::Followup(old))) = &before
                && let Some(wake) = old.wake
            {
                self.wakes.remove(&(wake.at, id));
                self.open.entry(old.customer).or_default().remove(&id);
            }
            if let Some((_, Row::Followup(new))) = &row
                && let Some(wake) = new.wake
            {
                self.wakes.insert((wake.at, id), wake.why);
                self.open.entry(new.customer).or_default().insert(id);
            }
        }
        before
    }

    /// The index of wake-ups loses one.
    pub(crate) fn forget_wake(&mut self, id: i64) {
        if let Some(wake) = self.followup(id).and_then(|row| row.wake) {
            self.wakes.remove(&(wake.at, id));
        }
    }

    /// What was written after this instant never happened. Only a store that may lose can do this.
    pub(crate) fn lose_after(&mut self, at: Ms) {
        while let Some((_, (key, before))) =
            self.recent.as_mut().and_then(|recent| recent.pop_back_if(|(written, _)| *written > at))
        {
            self.place(key, before);
        }
    }

    pub(crate) fn first_wake(&self) -> Option<Ms> {
        self.wakes.first_key_value().map(|((at, _), _)| *at)
    }

    /// Wake-ups from one instant to another, earliest first.
    pub(crate) fn due(&self, from: Ms, until: Ms) -> Vec<i64> {
        if from > until {
            return Vec::new();
        }
        self.wakes.range((from, i64::MIN)..=(until, i64::MAX)).map(|((_, id), _)| *id).collect()
    }

    pub(crate) fn pending(&self) -> impl Iterator<Item = (i64, Ms, WakeReason)> {
        self.wakes.iter().map(|((at, id), why)| (*id, *at, *why))
    }

    pub(crate) fn open_of(&self, customer: usize) -> impl Iterator<Item = i64> {
        self.open.get(&customer).into_iter().flatten().copied()
    }
}
