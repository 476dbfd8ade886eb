//! The desk: rows a batch works on, and what each piece of work writes.
//!
//! A piece of work reads rows as the pieces before it left them, and stages its own writes; they reach the next piece
//! only when it is through. What cannot be found on the desk although it should be there asks for another batch.
//!
//! Three layers, the nearest first: rows of the batch that is being decided; rows of the batch before it, whose commit
//! may be under way; and the cache, where only what is durable comes. If that commit fails, all of them are forgotten.

use super::cache::Cache;
use super::find::{ByKey, Find};
use crate::audit;
use crate::clock::Clocks;
use crate::store::{
    ConversationRow, CustomerRow, DeviceRow, FollowupRow, HistoryEntry, Inbound, Key, LedgerLine, MessageRow, Op, Row,
    Texted, Unit, WorkspaceId,
};
use crate::vault::Vault;
use crate::workspace::Workspace;
use backstop_domain::Ms;
use backstop_domain::followup::{Effect, Wake};
use backstop_domain::ids::{DeviceId, FollowupId, next_id};
use backstop_domain::limits::Filled;
use std::hash::{BuildHasher as _, RandomState};
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
    pub(crate) around: Arc<Vec<Arc<Row>>>,
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
    /// Rows written by it are not to be read by later work until it is durable.
    pub(crate) last_of_batch: bool,
}

/// Something to count once it is durable.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Count {
    Outcome(&'static str),
    LatenessMs(Ms),
    AckLatencyMs(Ms),
    Alarm(&'static str),
    /// A workspace's wallet has fallen this low (S3).
    WalletLow(WorkspaceId, &'static str),
    /// A workspace has come this close to a cap (S4).
    Filled(WorkspaceId, Filled),
    /// A text was stopped before it cost anything (S4).
    TextStop(FollowupId, &'static str),
}

/// A row as somebody left it; `None` = there is none.
struct Placed {
    row: Option<Arc<Row>>,
    written: bool,
}

/// A write of the current piece.
struct Staged {
    row: Option<Arc<Row>>,
    /// Its place in the unit, if it is a row of its own there.
    op: Option<usize>,
}

pub(crate) struct Desk<'a> {
    pub(crate) draft: Draft,
    staged: ByKey<Staged>,
    rows: ByKey<Placed>,
    ahead: ByKey<Placed>,
    cache: Cache,
    /// Follow-ups written in the two batches that are not, or were not, durable when rows were loaded.
    fresh: [Vec<(WorkspaceId, FollowupId)>; 2],
    /// What is wanted and not there, in the order of asking.
    missing: Vec<Key>,
    asked: ByKey<()>,
    unmet: bool,
    pub(crate) vault: &'a Vault,
    clocks: &'a Clocks,
    ids: &'a Ids,
    /// Whether workspaces pay for their texts (S2).
    pub(crate) charges: bool,
}

/// Makes ids: time-ordered, never the same twice from this process.
#[derive(Default)]
pub(crate) struct Ids {
    last: AtomicI64,
    /// Keyed at random. Only uniqueness across nodes hangs on it: asking the system each time took longer than a
    /// decision.
    random: RandomState,
}

impl Ids {
    pub(crate) fn next(&self, now: Ms) -> i64 {
        let fresh = |last| next_id(last, now, self.random.hash_one((now, last)) as u32);
        let last = self.last.fetch_update(Ordering::AcqRel, Ordering::Acquire, |last| Some(fresh(last)));
        fresh(last.unwrap_or_else(|last| last))
    }
}

impl<'a> Desk<'a> {
    pub(crate) fn new(vault: &'a Vault, clocks: &'a Clocks, ids: &'a Ids, charges: bool) -> Desk<'a> {
        Desk {
            draft: Draft::default(),
            staged: ByKey::default(),
            rows: ByKey::default(),
            ahead: ByKey::default(),
            cache: Cache::default(),
            fresh: Default::default(),
            missing: Vec::new(),
            asked: ByKey::default(),
            unmet: false,
            vault,
            clocks,
            ids,
            charges,
        }
    }

    pub(crate) fn now(&self, workspace: WorkspaceId) -> Ms {
        self.clocks.now_ms(workspace)
    }

    /// What the audit log goes by.
    pub(crate) fn real_now(&self) -> Ms {
        self.clocks.real_ms()
    }

    pub(crate) fn spare_id(&self) -> i64 {
        self.ids.next(self.clocks.real_ms())
    }

    /// The row if it is there. If it is not known whether there is one, it is loaded before the work runs.
    pub(crate) fn want(&mut self, key: Find<'_>) -> Option<Arc<Row>> {
        if let Some(placed) = self.rows.get(&key).or_else(|| self.ahead.get(&key)) {
            return placed.row.clone();
        }
        if let Some(row) = self.cache.touch(key) {
            return Some(Arc::clone(row));
        }
        self.unmet = true;
        if !self.asked.contains_key(&key) {
            self.asked.insert(key.key(), ());
            self.missing.push(key.key());
        }
        None
    }

    /// Whether something was wanted since the last call that is not there.
    pub(crate) fn is_unmet(&mut self) -> bool {
        std::mem::take(&mut self.unmet)
    }

    /// What is to be loaded.
    pub(crate) fn take_missing(&mut self) -> Vec<Key> {
        self.asked.clear();
        std::mem::take(&mut self.missing)
    }

    /// A row as the store has it.
    pub(crate) fn place(&mut self, key: Key, row: Option<Row>) {
        self.rows.insert(key, Placed { row: row.map(Arc::new), written: false });
    }

    fn look(&self, key: Find<'_>) -> Option<Option<&Arc<Row>>> {
        if let Some(staged) = self.staged.get(&key) {
            return Some(staged.row.as_ref());
        }
        match self.rows.get(&key).or_else(|| self.ahead.get(&key)) {
            Some(placed) => Some(placed.row.as_ref()),
            None => self.cache.get(key).map(Some),
        }
    }

    /// The row as the work before left it.
    pub(crate) fn get(&self, key: Find<'_>) -> Result<Option<&Arc<Row>>, Again> {
        self.look(key).ok_or(Again)
    }

    /// The same, to be kept while others are written.
    pub(crate) fn hold(&self, key: Find<'_>) -> Result<Option<Arc<Row>>, Again> {
        Ok(self.get(key)?.cloned())
    }

    pub(crate) fn customer(&self, ws: WorkspaceId, id: &str) -> Result<Option<&CustomerRow>, Again> {
        Ok(self.get(Find::Customer(ws, id))?.and_then(|row| row.as_customer()))
    }

    pub(crate) fn conversation(&self, ws: WorkspaceId, id: &str, of: &str) -> Result<Option<&ConversationRow>, Again> {
        Ok(self.get(Find::Conversation(ws, id, of))?.and_then(|row| row.as_conversation()))
    }

    pub(crate) fn message(&self, ws: WorkspaceId, id: &str) -> Result<Option<&MessageRow>, Again> {
        Ok(self.get(Find::Message(ws, id))?.and_then(|row| row.as_message()))
    }

    pub(crate) fn followup(&self, ws: WorkspaceId, id: FollowupId) -> Result<Option<&FollowupRow>, Again> {
        Ok(self.get(Find::Followup(ws, id))?.and_then(|row| row.as_followup()))
    }

    pub(crate) fn device(&self, ws: WorkspaceId, id: DeviceId) -> Result<Option<&DeviceRow>, Again> {
        Ok(self.get(Find::Device(ws, id))?.and_then(|row| row.as_device()))
    }

    /// The open follow-ups of a customer: the store's, and those it could not know of when it was asked.
    pub(crate) fn open_of(&self, ws: WorkspaceId, customer_id: &str) -> Result<Vec<FollowupId>, Again> {
        let mut open = match self.get(Find::Open(ws, customer_id))?.map(|row| &**row) {
            Some(Row::Open(open)) => open.clone(),
            _ => Vec::new(),
        };
        let fresh = self.fresh.iter().flatten().filter(|(workspace, _)| *workspace == ws);
        let fresh = fresh.filter_map(|(_, id)| self.look(Find::Followup(ws, *id))?.and_then(|row| row.as_followup()));
        open.extend(fresh.filter(|row| row.customer_id == customer_id && row.state.is_open()).map(|row| row.id));
        open.sort_unstable();
        open.dedup();
        Ok(open)
    }

    /// Writes a row; `version` in it is the one it replaces. Answers the row as it will be stored.
    pub(crate) fn put(&mut self, mut row: Row) -> Arc<Row> {
        let key = row.key();
        if let Row::Followup(f) = &row {
            let before = self.before(Find::Followup(f.workspace, f.id));
            let old = before.as_ref().and_then(|row| row.as_followup()).and_then(|f| f.wake);
            self.draft.rearmed.push(Rearmed { workspace: f.workspace, id: f.id, old, new: f.wake });
        }
        if let Row::Device(device) = &row {
            self.find(device);
        }
        let written = self.staged.get(&key).and_then(|staged| staged.op);
        if written.is_none() {
            row.set_version(row.version() + 1);
        }
        let row = Arc::new(row);
        let op = Op::Put(Arc::clone(&row));
        let at = match written {
            // By this very work: one write, of the version that was loaded.
            Some(at) => {
                self.draft.unit[at] = op;
                at
            }
            None => {
                self.draft.unit.push(op);
                self.draft.unit.len() - 1
            }
        };
        self.staged.insert(key, Staged { row: Some(Arc::clone(&row)), op: Some(at) });
        row
    }

    /// What the next piece looks a device up by leads to it, and what led to it before does no more.
    fn find(&mut self, row: &DeviceRow) {
        let (ws, id) = (row.workspace, row.id);
        let before = self.before(Find::Device(ws, id));
        if let Some(before) = before.as_ref().and_then(|row| row.as_device()) {
            if before.token_hash == row.token_hash {
                return;
            }
            self.staged.insert(Key::Token(ws, before.token_hash), Staged { row: None, op: None });
        }
        for key in [Key::Install(ws, row.install_id.clone()), Key::Token(ws, row.token_hash)] {
            self.staged.insert(key, Staged { row: Some(Arc::new(Row::Found(id))), op: None });
        }
    }

    fn before(&self, key: Find<'_>) -> Option<Arc<Row>> {
        self.look(key).flatten().cloned()
    }

    pub(crate) fn history(&mut self, ws: WorkspaceId, id: FollowupId, entry: HistoryEntry) {
        self.draft.unit.push(Op::History(ws, id, entry));
    }

    pub(crate) fn delete_device(&mut self, row: &DeviceRow) {
        self.draft.unit.push(Op::DeleteDevice(row.workspace, row.id, row.version));
        self.staged.insert(Key::Device(row.workspace, row.id), Staged { row: None, op: None });
        self.draft.last_of_batch = true;
    }

    pub(crate) fn erase(&mut self, ws: WorkspaceId, customer_id: &str) {
        self.draft.unit.push(Op::Erase(ws, customer_id.to_owned()));
        self.draft.last_of_batch = true;
    }

    /// This workspace texts this number now: whom a STOP is for (T7), and what an answer answers (T9).
    pub(crate) fn texted(&mut self, ws: WorkspaceId, number_hash: [u8; 32], sender: String, followup: FollowupId) {
        let at = self.clocks.real_ms();
        self.draft.unit.push(Op::Texted(ws, Texted { number_hash, sender, followup, at }));
    }

    /// The message that is put came by mail or text.
    pub(crate) fn inbound(&mut self, ws: WorkspaceId, inbound: Inbound) {
        self.draft.unit.push(Op::Inbound(ws, inbound));
    }

    /// Money moved, beside whatever it was for (S2).
    pub(crate) fn ledger(&mut self, ws: WorkspaceId, line: LedgerLine) {
        self.draft.unit.push(Op::Ledger(ws, line));
    }

    pub(crate) fn audit(&mut self, ws: WorkspaceId, entry: audit::Entry) {
        self.draft.unit.push(Op::Audit(ws, entry));
    }

    /// What sending this follow-up's pushes needs, as far as it is on the desk.
    pub(crate) fn around(&self, row: &FollowupRow) -> Vec<Arc<Row>> {
        let ws = row.workspace;
        let customer = [Find::Customer(ws, &row.customer_id)];
        let devices = row.state.pushes.iter().map(|push| Find::Device(ws, push.device));
        let messages = row.state.unseen().map(|reply| Find::Message(ws, &reply.message_id));
        customer.into_iter().chain(devices).chain(messages).filter_map(|key| self.before(key)).collect()
    }

    /// The current piece is through: its rows are there for the next one.
    pub(crate) fn take(&mut self) -> Draft {
        for (key, staged) in self.staged.drain() {
            if let Key::Followup(ws, id) = key {
                self.fresh[0].push((ws, id));
            }
            self.rows.insert(key, Placed { row: staged.row, written: true });
        }
        std::mem::take(&mut self.draft)
    }

    /// The current piece must run again: forget what it staged.
    pub(crate) fn discard(&mut self) {
        self.staged.clear();
        self.draft = Draft::default();
    }

    /// The batch is about to be committed, and the one before it is durable.
    pub(crate) fn turn(&mut self) {
        for (key, placed) in self.ahead.drain() {
            match placed.row {
                Some(row) => self.cache.keep(key, row),
                None => self.cache.forget(&key),
            }
        }
        std::mem::swap(&mut self.ahead, &mut self.rows);
        // Answers of look-ups that nobody wrote, and that there is no such row, hold for one batch.
        self.ahead.retain(|_, placed| placed.written || placed.row.as_ref().is_some_and(|row| Cache::takes(row)));
        self.fresh.swap(0, 1);
        self.fresh[0].clear();
    }

    /// What is on it rests on what did not come to be, or on what is no more: forget everything.
    pub(crate) fn clear(&mut self) {
        self.discard();
        self.rows.clear();
        self.ahead.clear();
        self.cache.clear();
        self.fresh.iter_mut().for_each(Vec::clear);
        self.take_missing();
    }
}
