//! Brings the WAL back into the database file beside the writer's path, so that no commit waits for it.
//!
//! A thread of its own copies pages while the writer goes on appending, a little at a time, and has the kernel write
//! them out before it goes on: SQLite itself syncs the file only with the step that leaves nothing to copy, and that
//! step is the writer's. What the writer appended meanwhile is copied again, each time less; when little is left the
//! writer copies the rest itself between two transactions and starts the WAL from its beginning. Without that last
//! step a WAL that never rests would grow for ever.

use super::writer::{Trust, judge, refused};
use crate::failpoint::{Point, hit};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::hooks::Wal;
use std::cell::Cell;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Duration;
use tokio::sync::watch;

/// The thread copies whenever this much was appended: 2 MiB. More at once, and a commit's fsync waits behind it…
const SHORT_STEP_PAGES: i64 = 512;
/// … but at least so many commits of the last one's size, up to 16 MiB: under load there is little to wait less, and a
/// page that every commit writes would be copied often.
const STEP_COMMITS: i64 = 32;
const LONG_STEP_PAGES: i64 = 4_096;
/// The WAL starts over from this length on: 32 MiB. Longer means fewer copies of a page that is written often.
const START_OVER_PAGES: i64 = 8_000;
/// The WAL's length from which on the writer copies back itself, however long that takes: 256 MiB.
const LONGEST_PAGES: i64 = 64_000;
/// The thread hands over when no more than this is left: about a millisecond of the writer's time.
const HAND_OVER_PAGES: i64 = 64;
/// Rounds of copying before it hands over all the same.
const ROUNDS: usize = 6;
/// How long cutting off the WAL waits for a reader at a time: the writer waits with it.
const PURGE_WAIT: Duration = Duration::from_millis(100);
/// Times it is tried.
const PURGE_TRIES: usize = 50;
/// How long the writer waits for a reader before it puts the fresh start off.
const READER_WAIT: Duration = Duration::from_millis(3);
/// How long anyone waits for another process's lock.
pub(super) const BUSY_WAIT: Duration = Duration::from_secs(5);

thread_local! {
    /// Pages in the WAL after this thread's last commit. A hook is a plain function, hence not a field.
    static WAL_PAGES: Cell<i32> = const { Cell::new(0) };
}

/// What the thread is asked for.
enum Ask {
    /// Copy the WAL back.
    Copy,
    /// Copy it back and cut it off: it still holds what was erased.
    Purge,
}

/// How far erasures have come: each is counted, then cut off from the WAL.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Purges {
    /// Commits that erased.
    pub(super) wanted: u64,
    /// The newest of them of which nothing is left.
    pub(super) done: u64,
}

/// The writer's side.
pub(super) struct Checkpoints {
    asks: SyncSender<Ask>,
    shared: Arc<Shared>,
    purge_wanted: bool,
    purges: watch::Sender<Purges>,
}

/// The thread's side.
pub(super) struct Checkpointer {
    db: Connection,
    file: Option<Arc<File>>,
    asks: Receiver<Ask>,
    shared: Arc<Shared>,
    purges: watch::Sender<Purges>,
    poison: Poison,
}

/// Where the end of trust is told.
type Poison = watch::Sender<Option<String>>;

#[derive(Default)]
struct Shared {
    /// The WAL's length after the last commit, in pages.
    wal: AtomicI64,
    /// How much of it is copied.
    copied: AtomicI64,
    /// The thread is copying.
    copying: AtomicBool,
    /// It left a rest that is the writer's.
    handed_over: AtomicBool,
}

/// Both sides. `db` is the thread's own connection; `file` the database's, to be closed after every connection: the
/// system lets go of a file's locks when any of its descriptors is closed.
pub(super) fn pair(db: Connection, file: Option<Arc<File>>, poison: Poison) -> (Checkpoints, Checkpointer) {
    let (asks, received) = std::sync::mpsc::sync_channel(2);
    let shared = Arc::new(Shared::default());
    let purges = watch::Sender::default();
    let checkpointer =
        Checkpointer { db, file, asks: received, shared: shared.clone(), purges: purges.clone(), poison };
    (Checkpoints { asks, shared, purge_wanted: false, purges }, checkpointer)
}

impl Checkpoints {
    /// Makes this thread's commits on `db` known to [`Checkpoints::after_commit`].
    pub(super) fn watch(db: &Connection) {
        db.wal_hook(Some(note_pages));
    }

    /// How far erasures have come.
    pub(super) fn purges(&self) -> watch::Receiver<Purges> {
        self.purges.subscribe()
    }

    /// Called by the writer before anybody hears of a commit that erased.
    pub(super) fn erased(&mut self) {
        self.purge_wanted = true;
        self.purges.send_modify(|purges| purges.wanted += 1);
    }

    /// Called by the writer between two transactions.
    pub(super) fn after_commit(&mut self, db: &Connection, poison: &Poison) {
        if self.purge_wanted && self.asks.try_send(Ask::Purge).is_ok() {
            self.purge_wanted = false;
        }
        let shared = &self.shared;
        let wal = i64::from(WAL_PAGES.get());
        let before = shared.wal.swap(wal, Ordering::AcqRel);
        if before > wal {
            // It started over.
            shared.copied.store(0, Ordering::Release);
        }
        let step = (STEP_COMMITS * (wal - before)).clamp(SHORT_STEP_PAGES, LONG_STEP_PAGES);
        let handed_over = shared.handed_over.swap(false, Ordering::AcqRel);
        if (handed_over && wal >= START_OVER_PAGES) || wal >= LONGEST_PAGES {
            start_over(db, poison);
        } else if wal - shared.copied.load(Ordering::Acquire) >= step && !shared.copying.swap(true, Ordering::AcqRel) {
            let _ = self.asks.try_send(Ask::Copy);
        }
    }

    /// Called by the writer after a failed transaction: on a full disk, a WAL that starts over has room again.
    pub(super) fn after_failure(&self, db: &Connection, poison: &Poison) {
        if WAL_PAGES.get() > 0 && poison.borrow().is_none() {
            start_over(db, poison);
        }
    }
}

impl Checkpointer {
    /// Runs until the writer is gone.
    pub(super) fn run(self) {
        while let Ok(ask) = self.asks.recv() {
            if self.poison.borrow().is_none() {
                self.copy();
                if matches!(ask, Ask::Purge) {
                    self.purge();
                }
            }
            self.shared.copying.store(false, Ordering::Release);
        }
        leave(&self.db, &self.poison);
    }

    /// What was erased must not stay in the WAL because somebody happened to read.
    fn purge(&self) {
        hit(Point::CheckpointCutsOff);
        // An erasure that is committed from here on asks for itself.
        let upto = self.purges.borrow().wanted;
        let _ = self.db.busy_timeout(PURGE_WAIT);
        let done = (0..PURGE_TRIES).any(|_| cut_off(&self.db, &self.poison));
        let _ = self.db.busy_timeout(BUSY_WAIT);
        if done {
            self.purges.send_modify(|purges| purges.done = upto);
        } else {
            tracing::error!("the WAL still holds what was erased: it goes with the next erasure or restart");
        }
    }

    /// One step, or while the WAL is long as many as it takes until little is left.
    fn copy(&self) {
        hit(Point::CheckpointCopies);
        let shared = &self.shared;
        for _ in 0..ROUNDS {
            let Some((_, copied)) = checkpoint(&self.db, "PASSIVE", &self.poison) else { return };
            self.write_out();
            hit(Point::CheckpointCopied);
            shared.copied.store(copied, Ordering::Release);
            let wal = shared.wal.load(Ordering::Acquire);
            if wal < START_OVER_PAGES {
                return;
            }
            if wal - copied <= HAND_OVER_PAGES {
                break;
            }
        }
        shared.handed_over.store(true, Ordering::Release);
    }

    /// Has the copied pages written now, so that the writer's last step finds few.
    fn write_out(&self) {
        if let Some(Err(error)) = self.file.as_ref().map(|file| file.sync_data()) {
            tracing::error!(%error, "the database file could not be synced: restart");
            self.poison.send_replace(Some(format!("the database file could not be synced: {error}")));
        }
    }
}

/// Before a connection is closed: the last one would copy the WAL back and delete it, which nobody may do any more once
/// the file is not trusted.
pub(super) fn leave(db: &Connection, poison: &Poison) {
    if poison.borrow().is_some() {
        let _ = db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    }
}

/// Copies everything back and cuts the WAL off; whether that worked.
fn cut_off(db: &Connection, poison: &Poison) -> bool {
    checkpoint(db, "TRUNCATE", poison) == Some((0, 0))
}

/// Copies what is left and lets the next transaction write at the WAL's beginning.
fn start_over(db: &Connection, poison: &Poison) {
    hit(Point::CheckpointStartsOver);
    // Nothing is lost if a reader is in the way: the next commit asks again.
    let _ = db.busy_timeout(READER_WAIT);
    checkpoint(db, "RESTART", poison);
    let _ = db.busy_timeout(BUSY_WAIT);
}

/// Pages in the WAL and how many of them are copied; `None` = it did not work, which the next commit will notice.
fn checkpoint(db: &Connection, mode: &str, poison: &Poison) -> Option<(i64, i64)> {
    let sql = format!("PRAGMA wal_checkpoint({mode})");
    let result = db.prepare_cached(&sql).and_then(|mut ask| ask.query_row([], |row| Ok((row.get(1)?, row.get(2)?))));
    let error = match result {
        Ok(pages) => return Some(pages),
        Err(error) => error,
    };
    let (said, trust) = judge(&error, true);
    if trust == Trust::Lost {
        // What it copied before may not be on the disk, and the next checkpoint would not copy it again: only a start
        // reads the WAL from its beginning.
        tracing::error!(error = %said, mode, "a checkpoint failed; the database file is not trusted any more: restart");
        poison.send_replace(Some(said.to_string()));
    } else {
        tracing::warn!(error = %refused(&error), mode, "a checkpoint failed");
    }
    None
}

fn note_pages(_: &Wal, pages: i32) -> rusqlite::Result<()> {
    WAL_PAGES.set(pages);
    Ok(())
}
