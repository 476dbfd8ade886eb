//! The desk: rows a batch works on, and what each piece of work writes.
//!
//! A piece of work reads rows as the pieces before it left them, and stages its own writes; they reach the next piece
//! only when it is through. What cannot be found on the desk although it should be there asks for another batch.

use crate::clock::Clocks;
use crate::store::{
    ConversationRow, CustomerRow, DeviceRow, FollowupRow, HistoryEntry, Key, MessageRow, Op, Row, Unit, WorkspaceId,
};
use crate::vault::Vault;
use crate::workspace::Workspace;
use backstop_domain::Ms;
use backstop_domain::followup::{Effect, Wake};
use backstop_domain::ids::{DeviceId, FollowupId, next_id};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// A row that is needed is not on the desk: load it and run again.
#[derive(Debug)]
pub(crate) struct Again;

/// An effect of a decision, with the row it came from.
pub(crate) struct Handed {
    pub(crate) workspace: Arc<Workspace>,
    pub(crate) row: Arc<FollowupRow>,
    pub(crate) effect: Effect,
    /// Rows around it that were on the desk: who sends need not load them.
    pub(crate) around: Arc<Vec<Row>>,
}

/// A change of a wake-up, for the timer's index.
#[derive(Clone, Copy)]
pub(crate) struct Rearmed {
    pub(crate) workspace: WorkspaceId,
    pub(crate) id: FollowupId,
    pub(crate) old: Option<Wake>,
    pub(crate) new: Option<Wake>,
}

/// What one piece of work came to.
#[derive(Default)]
pub(crate) struct Draft {
    pub(crate) unit: Unit,
    pub(crate) effects: Vec<Handed>,
    pub(crate) rearmed: Vec<Rearmed>,
    pub(crate) counts: Vec<Count>,
    /// Rows written by it are not to be read by later work of the batch.
    pub(crate) last_of_batch: bool,
    staged: HashMap<Key, Option<Row>>,
    at: HashMap<Key, usize>,
}

/// Something to count once it is durable.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Count {
    Outcome(&'static str),
    LatenessMs(Ms),
    AckLatencyMs(Ms),
    Alarm(&'static str),
}

pub(crate) struct Desk<'a> {
    rows: HashMap<Key, Option<Row>>,
    pub(crate) draft: Draft,
    pub(crate) vault: &'a Vault,
    clocks: &'a Clocks,
    ids: &'a Ids,
}

/// Makes ids: time-ordered, never the same twice from this process.
#[derive(Default)]
pub(crate) struct Ids(AtomicI64);

impl Ids {
    pub(crate) fn next(&self, now: Ms) -> i64 {
        let mut random = [0; 4];
        // Only uniqueness across nodes hangs on it; a failing source of randomness leaves the order intact.
        let _ = getrandom::fill(&mut random);
        let fresh = |last| Some(next_id(last, now, u32::from_le_bytes(random)));
        let last = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, fresh).unwrap_or_else(|last| last);
        next_id(last, now, u32::from_le_bytes(random))
    }
}

impl<'a> Desk<'a> {
    pub(crate) fn new(vault: &'a Vault, clocks: &'a Clocks, ids: &'a Ids) -> Desk<'a> {
        Desk { rows: HashMap::new(), draft: Draft::default(), vault, clocks, ids }
    }

    pub(crate) fn now(&self, workspace: WorkspaceId) -> Ms {
        self.clocks.now_ms(workspace)
    }

    pub(crate) fn spare_id(&self) -> i64 {
        self.ids.next(self.clocks.real_ms())
    }

    pub(crate) fn place(&mut self, key: Key, row: Option<Row>) {
        self.rows.insert(key, row);
    }

    pub(crate) fn has(&self, key: &Key) -> bool {
        self.rows.contains_key(key)
    }

    /// The row as the work before left it.
    pub(crate) fn get(&self, key: &Key) -> Result<Option<&Row>, Again> {
        match self.draft.staged.get(key).or_else(|| self.rows.get(key)) {
            Some(row) => Ok(row.as_ref()),
            None => Err(Again),
        }
    }

    /// The row if it is on the desk: for working out what else is wanted.
    pub(crate) fn peek(&self, key: &Key) -> Option<&Row> {
        self.rows.get(key).and_then(Option::as_ref)
    }

    pub(crate) fn customer(&self, ws: WorkspaceId, id: &str) -> Result<Option<&CustomerRow>, Again> {
        Ok(self.get(&Key::Customer(ws, id.to_owned()))?.and_then(Row::as_customer))
    }

    pub(crate) fn conversation(&self, ws: WorkspaceId, id: &str, of: &str) -> Result<Option<&ConversationRow>, Again> {
        Ok(self.get(&Key::Conversation(ws, id.to_owned(), of.to_owned()))?.and_then(Row::as_conversation))
    }

    pub(crate) fn message(&self, ws: WorkspaceId, id: &str) -> Result<Option<&MessageRow>, Again> {
        Ok(self.get(&Key::Message(ws, id.to_owned()))?.and_then(Row::as_message))
    }

    pub(crate) fn followup(&self, ws: WorkspaceId, id: FollowupId) -> Result<Option<&FollowupRow>, Again> {
        Ok(self.get(&Key::Followup(ws, id))?.and_then(Row::as_followup))
    }

    pub(crate) fn device(&self, ws: WorkspaceId, id: DeviceId) -> Result<Option<&DeviceRow>, Again> {
        Ok(self.get(&Key::Device(ws, id))?.and_then(Row::as_device))
    }

    /// The open follow-ups of a customer: the store's, and those of work before this one.
    pub(crate) fn open_of(&self, ws: WorkspaceId, customer_id: &str) -> Result<Vec<FollowupId>, Again> {
        let mut open = match self.get(&Key::Open(ws, customer_id.to_owned()))? {
            Some(Row::Open(open)) => open.clone(),
            _ => Vec::new(),
        };
        let fresh = self.rows.values().filter_map(|row| row.as_ref().and_then(Row::as_followup));
        for row in fresh.filter(|r| r.workspace == ws && r.customer_id == customer_id && r.state.is_open()) {
            if !open.contains(&row.id) {
                open.push(row.id);
            }
        }
        open.sort_unstable();
        Ok(open)
    }

    /// Writes a row; `version` in it is the one it replaces.
    pub(crate) fn put(&mut self, row: Row) {
        let key = row.key();
        if let Row::Followup(f) = &row {
            let old = self.peek_staged(&key).and_then(Row::as_followup).and_then(|f| f.wake);
            self.draft.rearmed.push(Rearmed { workspace: f.workspace, id: f.id, old, new: f.wake });
        }
        if let Row::Device(device) = &row {
            self.find(device);
        }
        let mut after = row.clone();
        match self.draft.at.get(&key) {
            // Written before by this very work: one write, of the version that was loaded.
            Some(at) => {
                after.set_version(row.version());
                let mut row = row;
                row.set_version(row.version() - 1);
                self.draft.unit[*at] = Op::Put(row);
            }
            None => {
                after.set_version(row.version() + 1);
                self.draft.at.insert(key.clone(), self.draft.unit.len());
                self.draft.unit.push(Op::Put(row));
            }
        }
        self.draft.staged.insert(key, Some(after));
    }

    /// What the next piece looks a device up by leads to it, and what led to it before does no more.
    fn find(&mut self, row: &DeviceRow) {
        let (ws, id) = (row.workspace, row.id);
        if let Some(before) = self.peek_staged(&Key::Device(ws, id)).and_then(Row::as_device) {
            if before.token_hash == row.token_hash {
                return;
            }
            let old = Key::Token(ws, before.token_hash);
            self.draft.staged.insert(old, None);
        }
        let found = [Key::Install(ws, row.install_id.clone()), Key::Token(ws, row.token_hash)];
        self.draft.staged.extend(found.map(|key| (key, Some(Row::Found(id)))));
    }

    fn peek_staged(&self, key: &Key) -> Option<&Row> {
        self.draft.staged.get(key).or_else(|| self.rows.get(key)).and_then(Option::as_ref)
    }

    pub(crate) fn history(&mut self, ws: WorkspaceId, id: FollowupId, entry: HistoryEntry) {
        self.draft.unit.push(Op::History(ws, id, entry));
    }

    pub(crate) fn delete_device(&mut self, row: &DeviceRow) {
        self.draft.unit.push(Op::DeleteDevice(row.workspace, row.id, row.version));
        self.draft.staged.insert(Key::Device(row.workspace, row.id), None);
        self.draft.last_of_batch = true;
    }

    pub(crate) fn erase(&mut self, ws: WorkspaceId, customer_id: &str) {
        self.draft.unit.push(Op::Erase(ws, customer_id.to_owned()));
        self.draft.last_of_batch = true;
    }

    /// What sending this follow-up's pushes needs, as far as it is on the desk.
    pub(crate) fn around(&self, row: &FollowupRow) -> Vec<Row> {
        let ws = row.workspace;
        let customer = [Key::Customer(ws, row.customer_id.clone())];
        let devices = row.state.pushes.iter().map(|push| Key::Device(ws, push.device));
        let messages = row.state.unseen().map(|reply| Key::Message(ws, reply.message_id.clone()));
        let keys = customer.into_iter().chain(devices).chain(messages);
        keys.filter_map(|key| self.peek_staged(&key).cloned()).collect()
    }

    /// The current piece is through: its rows are there for the next one.
    pub(crate) fn take(&mut self) -> Draft {
        let mut draft = std::mem::take(&mut self.draft);
        self.rows.extend(draft.staged.drain());
        draft
    }

    /// The batch is durable: its rows as they are now go to the cache.
    pub(crate) fn leave(&mut self, cache: &mut super::cache::Cache) {
        for (key, row) in self.rows.drain() {
            match row {
                Some(row) => cache.keep(key, row),
                None => cache.forget(&key),
            }
        }
    }

    /// The current piece must run again in another batch: forget what it staged.
    pub(crate) fn discard(&mut self) {
        self.draft = Draft::default();
    }
}
