//! The embedded engine: one SQLite file, one writer, a few readers.
//!
//! Calls become jobs in bounded queues. The writer's thread turns what waits into one durable transaction
//! ([`writer`]), readers answer from snapshots ([`readers`]), a third thread keeps the WAL short ([`checkpoint`]).
//! A call that is dropped after it was queued still happens, whole.

mod admin;
mod alimtalk;
mod apps;
mod audit;
mod checkpoint;
mod codec;
mod load;
mod lock;
mod mail;
mod migrate;
mod open;
mod parts;
#[cfg(test)]
mod plans;
mod put;
mod readers;
mod wallet;
mod writer;

pub use open::{OpenError, OpenOptions};

use super::{
    AlimtalkChange, AlimtalkRow, AppChange, AppRow, AuditFilter, ConversationRow, Due, FollowupFilter, FollowupRow,
    Health, HistoryEntry, Key, Lane, LastText, LedgerFilter, LedgerLine, MailChange, MailRows, MessageRow, PartRow,
    Reply, Row, Scope, Settled, Store, StoreError, StoredAnswer, StoredInbound, SuppressionFilter, SuppressionRow,
    Unit, UsageLine, Verdict, WorkspaceId, WorkspaceRow,
};
use crate::audit::{Entry, Kind, Stored, Who};
use crate::vault::Vault;
use backstop_domain::Ms;
use backstop_domain::ids::FollowupId;
use backstop_domain::wallet::Month;
use checkpoint::{Checkpoints, Purges};
use lock::ServerLock;
use readers::{Look, Reader};
use rusqlite::{CachedStatement, Connection};
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use tokio::sync::{mpsc, oneshot, watch};
use writer::{Commit, Job, Task, Writer};

/// A statement as the connection keeps it.
fn prepared<'db>(db: &'db Connection, sql: &str) -> rusqlite::Result<CachedStatement<'db>> {
    #[cfg(test)]
    plans::note(db, sql);
    db.prepare_cached(sql)
}

/// The database as the server uses it. Dropping it waits until what was queued is written.
#[derive(Debug)]
pub struct SqliteStore {
    jobs: Option<mpsc::Sender<Box<dyn Job>>>,
    looks: Option<mpsc::Sender<Look>>,
    threads: Vec<JoinHandle<()>>,
    poison: watch::Receiver<Option<String>>,
    purges: watch::Receiver<Purges>,
    schema: i64,
    /// Closed after the threads' connections: see [`checkpoint::pair`].
    _file: Option<Arc<File>>,
    /// Let go of last, after the threads are done.
    _lock: Option<ServerLock>,
}

impl SqliteStore {
    /// Whether there is a database of this version's schema: opening any other one would make or change it.
    pub fn is_current(path: &Path) -> bool {
        open::is_current(path)
    }

    /// Opens the database, made if it does not exist. Refuses, changing nothing, what it cannot work with.
    pub fn open(path: &Path, options: OpenOptions, vault: &Vault) -> Result<SqliteStore, OpenError> {
        let opened = open::open(path, options, vault)?;
        let (poison_sender, poison) = watch::channel(None);
        // A command beside a server copies little and must not close the file under a server of the same process.
        let file = if options.serve { Some(Arc::new(open::file(path)?)) } else { None };
        let (jobs, waiting_jobs) = mpsc::channel(writer::QUEUE_CALLS);
        let (looks, waiting_looks) = mpsc::channel(readers::QUEUE_LOOKS);
        let (checkpoints, checkpointer) =
            checkpoint::pair(open::connect(path, false)?, file.clone(), poison_sender.clone());
        let waiting_looks = Arc::new(Mutex::new(waiting_looks));
        let mut store = SqliteStore {
            jobs: Some(jobs),
            looks: Some(looks),
            threads: Vec::new(),
            poison,
            purges: checkpoints.purges(),
            schema: opened.schema,
            _file: file,
            _lock: opened.lock,
        };
        let writer = Writer { db: opened.writer, checkpoints, poison: poison_sender, careful_left: 0 };
        store.start(path, "store-write", move || {
            Checkpoints::watch(&writer.db);
            writer.run(waiting_jobs);
        })?;
        store.start(path, "store-checkpoint", move || checkpointer.run())?;
        for _ in 0..options.read_connections.max(1) {
            let reader = Reader { db: open::connect(path, true)?, looks: waiting_looks.clone() };
            store.start(path, "store-read", move || reader.run())?;
        }
        Ok(store)
    }

    /// Why the file cannot be trusted any more, if so: a failed read, write or fsync. Nothing is written after that;
    /// the process should end with code 75 and be started anew.
    pub fn poisoned(&self) -> Option<String> {
        self.poison.borrow().clone()
    }

    /// Tells as soon as [`SqliteStore::poisoned`] changes.
    pub fn poison_watch(&self) -> watch::Receiver<Option<String>> {
        self.poison.clone()
    }

    fn start(&mut self, path: &Path, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), OpenError> {
        let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
        let thread = thread.map_err(|error| OpenError::Unusable { path: path.to_owned(), error })?;
        self.threads.push(thread);
        Ok(())
    }

    async fn queue(&self, job: Box<dyn Job>) -> Result<(), StoreError> {
        let jobs = self.jobs.as_ref().ok_or_else(closed)?;
        jobs.send(job).await.map_err(|_| closed())
    }

    /// Does `work` in the writer's next transaction. It may be done twice, the first time without effect.
    fn write<T: Send + 'static>(
        &self,
        work: impl FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Reply<'_, T> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            self.queue(Box::new(Task { work, value: None, reply })).await?;
            answer.await.map_err(|_| gone())?
        })
    }

    /// Asks a reader.
    fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Reply<'_, T> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            let look: Look = Box::new(move |db| {
                let found = db.and_then(|db| question(db).map_err(|error| readers::read_error(&error)));
                let _ = reply.send(found);
            });
            self.looks.as_ref().ok_or_else(closed)?.send(look).await.map_err(|_| closed())?;
            answer.await.map_err(|_| closed())?
        })
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.jobs = None;
        self.looks = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the store had panicked");
            }
        }
    }
}

/// Nothing was written.
fn closed() -> StoreError {
    StoreError::Unavailable("shutting down".into())
}

/// The writer's thread ended in the middle: whether it had committed is not known.
fn gone() -> StoreError {
    StoreError::Unknown("the writer ended".into())
}

impl Store for SqliteStore {
    fn load(&self, keys: Vec<Key>) -> Reply<'_, Vec<Option<Row>>> {
        self.read(move |db| keys.iter().map(|key| load::by_key(db, key)).collect())
    }

    fn commit(&self, units: Vec<Unit>) -> Reply<'_, Vec<Verdict>> {
        Box::pin(async move {
            if units.is_empty() {
                return Ok(Vec::new());
            }
            let (reply, answer) = oneshot::channel();
            let verdicts = Vec::with_capacity(units.len());
            self.queue(Box::new(Commit { units, verdicts, reply })).await?;
            answer.await.map_err(|_| gone())?
        })
    }

    fn due(&self, lane: Lane, until: Ms, limit: usize) -> Reply<'_, Vec<Due>> {
        self.read(move |db| load::due(db, lane, until, limit))
    }

    fn pending(&self, after: (Ms, FollowupId), limit: usize) -> Reply<'_, Vec<Due>> {
        self.read(move |db| load::pending(db, after, limit))
    }

    fn pending_count(&self) -> Reply<'_, u64> {
        self.read(load::pending_count)
    }

    fn followups(&self, workspace: WorkspaceId, filter: FollowupFilter) -> Reply<'_, Vec<FollowupRow>> {
        self.read(move |db| load::followups(db, workspace, &filter))
    }

    fn history(&self, workspace: WorkspaceId, id: FollowupId) -> Reply<'_, Vec<HistoryEntry>> {
        self.read(move |db| load::history(db, workspace, id))
    }

    fn messages_of(
        &self,
        workspace: WorkspaceId,
        customer_id: &str,
        after: (Ms, String),
        limit: usize,
    ) -> Reply<'_, Vec<MessageRow>> {
        let customer_id = customer_id.to_owned();
        self.read(move |db| load::messages_of(db, workspace, &customer_id, &after, limit))
    }

    fn conversations_of(
        &self,
        workspace: WorkspaceId,
        customer_id: &str,
        after: &str,
        limit: usize,
    ) -> Reply<'_, Vec<ConversationRow>> {
        let (customer_id, after) = (customer_id.to_owned(), after.to_owned());
        self.read(move |db| load::conversations_of(db, workspace, &customer_id, &after, limit))
    }

    fn suppressions(&self, workspace: WorkspaceId, filter: SuppressionFilter) -> Reply<'_, Vec<SuppressionRow>> {
        self.read(move |db| load::suppressions(db, workspace, filter))
    }

    fn ledger(&self, workspace: WorkspaceId, filter: LedgerFilter) -> Reply<'_, Vec<LedgerLine>> {
        self.read(move |db| wallet::entries(db, workspace, filter))
    }

    fn usage(&self, workspace: WorkspaceId, month: Month) -> Reply<'_, Vec<UsageLine>> {
        self.read(move |db| wallet::usage(db, workspace, month))
    }

    fn asking(&self, until: Ms, limit: usize) -> Reply<'_, Vec<WorkspaceId>> {
        self.read(move |db| wallet::asking(db, until, limit))
    }

    fn currencies(&self) -> Reply<'_, Vec<String>> {
        self.read(wallet::currencies)
    }

    fn texted(&self, number_hash: [u8; 32], sender: &str, since: Ms) -> Reply<'_, Vec<LastText>> {
        let sender = sender.to_owned();
        self.read(move |db| load::texted(db, &number_hash, &sender, since))
    }

    fn inbound(&self, workspace: WorkspaceId, after: i64, limit: usize) -> Reply<'_, Vec<StoredInbound>> {
        self.read(move |db| load::inbound(db, workspace, after, limit))
    }

    fn keep_part(&self, part: PartRow) -> Reply<'_, ()> {
        self.write(move |tx| parts::keep(tx, &part))
    }

    fn settle_part(&self, provider: &str, id: &str, delivered: bool) -> Reply<'_, Option<Settled>> {
        let (provider, id) = (provider.to_owned(), id.to_owned());
        self.write(move |tx| parts::settle(tx, &provider, &id, delivered))
    }

    fn create_workspace(
        &self,
        workspace: WorkspaceRow,
        keys: Vec<([u8; 32], Scope)>,
    ) -> Reply<'_, Option<WorkspaceId>> {
        self.write(move |tx| admin::create_workspace(tx, &workspace, &keys))
    }

    fn workspace(&self, id: WorkspaceId) -> Reply<'_, Option<WorkspaceRow>> {
        self.read(move |db| admin::workspace(db, id))
    }

    fn workspace_named(&self, name: &str) -> Reply<'_, Option<WorkspaceRow>> {
        let name = name.to_owned();
        self.read(move |db| admin::workspace_named(db, &name))
    }

    fn workspaces(&self) -> Reply<'_, Vec<WorkspaceRow>> {
        self.read(admin::workspaces)
    }

    fn update_workspace(&self, workspace: WorkspaceRow, audit: Entry) -> Reply<'_, bool> {
        self.write(move |tx| admin::update_workspace(tx, &workspace, &audit))
    }

    fn audit(&self, workspace: WorkspaceId, filter: AuditFilter) -> Reply<'_, Vec<Stored>> {
        self.read(move |db| audit::list(db, workspace, &filter))
    }

    fn apps(&self, workspace: WorkspaceId) -> Reply<'_, Vec<AppRow>> {
        self.read(move |db| apps::list(db, workspace))
    }

    fn change_app(&self, workspace: WorkspaceId, version: i64, change: AppChange, audit: Entry) -> Reply<'_, bool> {
        self.write(move |tx| apps::change(tx, workspace, version, &change, &audit))
    }

    fn mail(&self, workspace: WorkspaceId) -> Reply<'_, MailRows> {
        self.read(move |db| mail::list(db, workspace))
    }

    fn change_mail(
        &self,
        workspace: WorkspaceId,
        version: i64,
        change: MailChange,
        audit: Option<Entry>,
    ) -> Reply<'_, bool> {
        self.write(move |tx| mail::change(tx, workspace, version, &change, audit.as_ref()))
    }

    fn mail_domains_due(&self, until: Ms, limit: usize) -> Reply<'_, Vec<WorkspaceId>> {
        self.read(move |db| mail::domains_due(db, until, limit))
    }

    fn alimtalk_templates(&self, workspace: WorkspaceId) -> Reply<'_, Vec<AlimtalkRow>> {
        self.read(move |db| alimtalk::list(db, workspace))
    }

    fn change_alimtalk_template(
        &self,
        workspace: WorkspaceId,
        version: i64,
        change: AlimtalkChange,
        audit: Entry,
    ) -> Reply<'_, bool> {
        self.write(move |tx| alimtalk::change(tx, workspace, version, &change, &audit))
    }

    fn any_device(&self, workspace: WorkspaceId) -> Reply<'_, bool> {
        self.read(move |db| load::any_device(db, workspace))
    }

    fn freeze(&self, workspace: WorkspaceId, at: Ms) -> Reply<'_, ()> {
        self.write(move |tx| admin::freeze(tx, workspace, at))
    }

    fn drop_workspace(&self, workspace: WorkspaceId) -> Reply<'_, ()> {
        self.write(move |tx| admin::drop_workspace(tx, workspace))
    }

    fn create_key(&self, workspace: WorkspaceId, hash: [u8; 32], scope: Scope, at: Ms, who: Who) -> Reply<'_, ()> {
        self.write(move |tx| {
            admin::create_key(tx, workspace, &hash, scope, at)?;
            audit::append(tx, workspace, &admin::key_entry(Kind::KeyCreated, &hash, scope, at, &who))
        })
    }

    fn revoke_key(&self, hash: [u8; 32], at: Ms, who: Who) -> Reply<'_, bool> {
        self.write(move |tx| admin::revoke_key(tx, &hash, at, &who))
    }

    fn key(&self, hash: [u8; 32]) -> Reply<'_, Option<(WorkspaceId, Scope)>> {
        self.read(move |db| admin::key(db, &hash))
    }

    fn stored_answer(&self, workspace: WorkspaceId, key: &str, not_before: Ms) -> Reply<'_, Option<StoredAnswer>> {
        let key = key.to_owned();
        self.read(move |db| admin::stored_answer(db, workspace, &key, not_before))
    }

    fn keep_answer(&self, workspace: WorkspaceId, key: &str, answer: StoredAnswer) -> Reply<'_, ()> {
        let key = key.to_owned();
        self.write(move |tx| admin::keep_answer(tx, workspace, &key, &answer))
    }

    fn retire(&self, texts_before: Ms, followups_before: Ms, answers_before: Ms, limit: usize) -> Reply<'_, usize> {
        self.write(move |tx| admin::retire(tx, texts_before, followups_before, answers_before, limit))
    }

    fn retire_in(
        &self,
        workspace: WorkspaceId,
        texts_before: Ms,
        followups_before: Ms,
        limit: usize,
    ) -> Reply<'_, usize> {
        self.write(move |tx| admin::retire_in(tx, workspace, texts_before, followups_before, limit))
    }

    fn scrubbed(&self) -> Reply<'_, ()> {
        let mut purges = self.purges.clone();
        Box::pin(async move {
            let wanted = purges.borrow().wanted;
            // The sender is gone: so is the WAL.
            let _ = purges.wait_for(|purges| purges.done >= wanted).await;
            Ok(())
        })
    }

    fn health(&self) -> Reply<'_, Health> {
        Box::pin(async move {
            let probe = "UPDATE meta SET probe = (probe + 1) & 1 WHERE id = 1";
            let written = self.write(move |tx| tx.prepare_cached(probe)?.execute([])).await;
            let writable = written.map(|_| ()).map_err(|error| error.to_string());
            Ok(Health { writable, schema: self.schema, class: "single" })
        })
    }
}
