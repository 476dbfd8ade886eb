//! Brings the WAL back into the database file beside the writer's path, so that no commit waits for it.
//!
//! A thread of its own copies pages while the writer goes on appending. What the writer appended meanwhile is copied
//! again, each time less; when little is left the writer copies the rest itself between two transactions and starts
//! the WAL from its beginning. Without that last step a WAL that never rests would grow for ever.

use rusqlite::Connection;
use rusqlite::hooks::Wal;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Duration;

/// The WAL is copied back from this length on: 16 MiB. Longer means fewer copies of a page that is written often.
const COPY_FROM_PAGES: i32 = 4_000;
/// The WAL's length from which on the writer copies back itself, however long that takes: 256 MiB.
const LONGEST_PAGES: i32 = 64_000;
/// The thread hands over when no more than this is left: a few milliseconds of the writer's time.
const HAND_OVER_PAGES: i64 = 500;
/// Rounds of copying before it hands over all the same.
const ROUNDS: usize = 6;
/// How long cutting off the WAL waits for a reader at a time: the writer waits with it.
const PURGE_WAIT: Duration = Duration::from_millis(100);
/// Times it is tried.
const PURGE_TRIES: usize = 50;
/// How long the writer waits for a reader before it puts the fresh start off.
const READER_WAIT: Duration = Duration::from_millis(20);
/// How long anyone waits for another process's lock.
pub(super) const BUSY_WAIT: Duration = Duration::from_secs(5);

thread_local! {
    /// Pages in the WAL after this thread's last commit. A hook is a plain function, hence not a field.
    static WAL_PAGES: Cell<i32> = const { Cell::new(0) };
}

/// What the thread is asked for.
pub(super) enum Ask {
    /// Copy the WAL back.
    Copy,
    /// Copy it back and cut it off: it still holds what was erased.
    Purge,
}

/// The writer's side.
pub(super) struct Checkpoints {
    asks: SyncSender<Ask>,
    shared: Arc<Shared>,
    purge_wanted: bool,
}

/// The thread's side.
pub(super) struct Checkpointer {
    db: Connection,
    asks: Receiver<Ask>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// The thread is copying.
    copying: AtomicBool,
    /// It left a rest that is the writer's.
    handed_over: AtomicBool,
}

/// Both sides. `db` is the thread's own connection.
pub(super) fn pair(db: Connection) -> (Checkpoints, Checkpointer) {
    let (asks, received) = std::sync::mpsc::sync_channel(2);
    let shared = Arc::new(Shared::default());
    let checkpointer = Checkpointer { db, asks: received, shared: shared.clone() };
    (Checkpoints { asks, shared, purge_wanted: false }, checkpointer)
}

impl Checkpoints {
    /// Makes this thread's commits on `db` known to [`Checkpoints::after_commit`].
    pub(super) fn watch(db: &Connection) {
        db.wal_hook(Some(note_pages));
    }

    /// Called by the writer between two transactions.
    pub(super) fn after_commit(&mut self, db: &Connection, erased: bool) {
        self.purge_wanted |= erased;
        if self.purge_wanted && self.asks.try_send(Ask::Purge).is_ok() {
            self.purge_wanted = false;
        }
        let pages = WAL_PAGES.get();
        let handed_over = self.shared.handed_over.swap(false, Ordering::AcqRel);
        if (handed_over && pages >= COPY_FROM_PAGES / 4) || pages >= LONGEST_PAGES {
            start_over(db);
        } else if pages >= COPY_FROM_PAGES && !self.shared.copying.swap(true, Ordering::AcqRel) {
            let _ = self.asks.try_send(Ask::Copy);
        }
    }

    /// Called by the writer after a failed transaction: on a full disk, a WAL that starts over has room again.
    pub(super) fn after_failure(&self, db: &Connection) {
        if WAL_PAGES.get() > 0 {
            start_over(db);
        }
    }
}

impl Checkpointer {
    /// Runs until the writer is gone.
    pub(super) fn run(self) {
        while let Ok(ask) = self.asks.recv() {
            match ask {
                Ask::Copy => self.copy(),
                Ask::Purge => {
                    self.copy();
                    self.purge();
                }
            }
            self.shared.copying.store(false, Ordering::Release);
        }
    }

    /// What was erased must not stay in the WAL because somebody happened to read.
    fn purge(&self) {
        let _ = self.db.busy_timeout(PURGE_WAIT);
        let done = (0..PURGE_TRIES).any(|_| cut_off(&self.db));
        let _ = self.db.busy_timeout(BUSY_WAIT);
        if !done {
            tracing::error!("the WAL still holds what was erased: it goes with the next erasure or restart");
        }
    }

    fn copy(&self) {
        for _ in 0..ROUNDS {
            match checkpoint(&self.db, "PASSIVE") {
                Some((pages, copied)) if pages - copied > HAND_OVER_PAGES => {}
                _ => break,
            }
        }
        self.shared.handed_over.store(true, Ordering::Release);
    }
}

/// Copies everything back and cuts the WAL off; whether that worked.
fn cut_off(db: &Connection) -> bool {
    checkpoint(db, "TRUNCATE") == Some((0, 0))
}

/// Copies what is left and lets the next transaction write at the WAL's beginning.
fn start_over(db: &Connection) {
    // Nothing is lost if a reader is in the way: the next commit asks again.
    let _ = db.busy_timeout(READER_WAIT);
    checkpoint(db, "RESTART");
    let _ = db.busy_timeout(BUSY_WAIT);
}

/// Pages in the WAL and how many of them are copied; `None` = it did not work, which the next commit will notice.
fn checkpoint(db: &Connection, mode: &str) -> Option<(i64, i64)> {
    let result = db.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| Ok((row.get(1)?, row.get(2)?)));
    match result {
        Ok(pages) => Some(pages),
        Err(error) => {
            tracing::warn!(error = %super::writer::refused(&error), mode, "a checkpoint failed");
            None
        }
    }
}

fn note_pages(_: &Wal, pages: i32) -> rusqlite::Result<()> {
    WAL_PAGES.set(pages);
    Ok(())
}
