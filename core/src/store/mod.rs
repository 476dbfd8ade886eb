//! The ack log and the registration on the device: one SQLite file, every commit durable before a call returns.

mod facts;
mod schema;

use std::path::{Path, PathBuf};

use backstop_wire::time::to_rfc3339;
use backstop_wire::{Ack, Grade};
use rusqlite::{Connection, params};

pub(crate) use self::facts::Facts;
use self::facts::from_word;
use self::schema::MIGRATIONS;
use crate::config::Home;
use crate::error::Error;
use crate::machine::{AckId, PendingAck};

/// How many taps are remembered, so that a link is handed out once.
const TAPS_KEPT: i64 = 256;

const FILE: &str = "backstop.sqlite";
const SET_ASIDE: &str = "backstop.sqlite.damaged";

/// How the storage was found when the client was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// There was none; it was made.
    Created,
    /// It was there.
    Opened,
    /// It was there in an older form and was brought up to date.
    Upgraded {
        /// The version before.
        from: i64,
    },
    /// It was damaged. It lies beside the new one as `backstop.sqlite.damaged`; what it held is lost to this SDK, and
    /// the app has to give token and customer again.
    Replaced,
    /// There is none: the SDK is switched off.
    Off,
}

/// An ack to be kept.
#[derive(Clone)]
pub(crate) struct NewAck {
    pub(crate) receipt: String,
    pub(crate) grade: Grade,
    pub(crate) detail: Option<String>,
    pub(crate) recorded_at_ms: i64,
}

impl NewAck {
    pub(crate) fn to_wire(&self) -> Ack {
        Ack {
            receipt: self.receipt.clone(),
            grade: self.grade,
            at: to_rfc3339(self.recorded_at_ms),
            detail: self.detail.clone(),
        }
    }
}

/// The open storage.
pub(crate) struct Store {
    connection: Connection,
}

impl Store {
    /// Opens, makes, upgrades and checks the storage. A damaged file is set aside and a fresh one made; any other
    /// failure leaves everything as it is.
    pub(crate) fn open(home: &Home) -> Result<(Store, Facts, Storage), Error> {
        let Home::Directory(directory) = home else {
            return Self::set_up(Connection::open_in_memory()?);
        };
        make_directory(directory)?;
        let path = directory.join(FILE);
        match Connection::open(&path).map_err(Error::from).and_then(Self::set_up) {
            Err(Error::StorageCorrupt) => {
                set_aside(directory)?;
                tracing::warn!("the database was damaged; it is set aside and a fresh one made");
                let (store, facts, _) = Self::set_up(Connection::open(&path)?)?;
                Ok((store, facts, Storage::Replaced))
            }
            opened => opened,
        }
    }

    fn set_up(mut connection: Connection) -> Result<(Store, Facts, Storage), Error> {
        connection.busy_timeout(std::time::Duration::from_secs(2))?;
        let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
        let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if found > known {
            return Err(Error::StorageNewer { found, known });
        }
        let check: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if check != "ok" || found < 0 {
            return Err(Error::StorageCorrupt);
        }
        // FULL: in WAL mode, NORMAL may lose the last commits when the power goes. fullfsync: on Apple's systems
        // fsync alone does not reach the disk. secure_delete: receipts do not linger in free pages.
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA fullfsync = ON;
             PRAGMA secure_delete = ON; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF;",
        )?;
        let facts = migrate(&mut connection, found)?;
        let storage = match found {
            0 => Storage::Created,
            from if from < known => Storage::Upgraded { from },
            _ => Storage::Opened,
        };
        let store = Store { connection };
        // A file of the right version without our tables reads as damaged, not as an obscure failure later.
        store.acks_after(AckId::MAX)?;
        Ok((store, facts, storage))
    }

    pub(crate) fn save(&self, facts: &Facts) -> Result<(), Error> {
        facts.save(&self.connection)
    }

    /// Keeps acks, all or none. The same receipt and grade again is the row that is already there.
    pub(crate) fn insert_acks(&mut self, acks: &[NewAck]) -> Result<Vec<PendingAck>, Error> {
        let transaction = self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let mut pending = Vec::with_capacity(acks.len());
        {
            let mut insert = transaction.prepare_cached(
                "INSERT INTO acks (receipt, grade, detail, recorded_at_ms) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (receipt, grade) DO UPDATE SET receipt = excluded.receipt
                 RETURNING id, recorded_at_ms",
            )?;
            for ack in acks {
                let row = params![ack.receipt, ack.grade.as_str(), ack.detail, ack.recorded_at_ms];
                let (id, recorded_at_ms) = insert.query_row(row, |row| Ok((row.get(0)?, row.get(1)?)))?;
                pending.push(PendingAck { id, grade: ack.grade, recorded_at_ms });
            }
        }
        transaction.commit()?;
        Ok(pending)
    }

    /// The acks with a higher number, oldest first.
    pub(crate) fn acks_after(&self, id: AckId) -> Result<Vec<PendingAck>, Error> {
        let mut select =
            self.connection.prepare_cached("SELECT id, grade, recorded_at_ms FROM acks WHERE id > ?1 ORDER BY id")?;
        let rows = select.query_map([id], |row| {
            Ok(PendingAck {
                id: row.get(0)?,
                grade: from_word(&row.get::<_, String>(1)?)?,
                recorded_at_ms: row.get(2)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The content of these acks, in this order. One that is gone was answered through another process.
    pub(crate) fn load_acks(&self, ids: &[AckId]) -> Result<Vec<(AckId, Ack)>, Error> {
        let mut select =
            self.connection.prepare_cached("SELECT receipt, grade, detail, recorded_at_ms FROM acks WHERE id = ?1")?;
        let mut acks = Vec::with_capacity(ids.len());
        for id in ids {
            let mut rows = select.query_map([id], |row| {
                Ok(Ack {
                    receipt: row.get(0)?,
                    grade: from_word(&row.get::<_, String>(1)?)?,
                    at: to_rfc3339(row.get(3)?),
                    detail: row.get(2)?,
                })
            })?;
            if let Some(ack) = rows.next().transpose()? {
                acks.push((*id, ack));
            }
        }
        Ok(acks)
    }

    pub(crate) fn delete_acks(&mut self, ids: &[AckId]) -> Result<(), Error> {
        let transaction = self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        {
            let mut delete = transaction.prepare_cached("DELETE FROM acks WHERE id = ?1")?;
            for id in ids {
                delete.execute([id])?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// Whether this is the first tap on that push.
    pub(crate) fn first_tap(&self, receipt: &str) -> Result<bool, Error> {
        let first = self.connection.execute("INSERT OR IGNORE INTO taps (receipt) VALUES (?1)", [receipt])? == 1;
        if first {
            self.connection.execute("DELETE FROM taps WHERE id <= (SELECT max(id) FROM taps) - ?1", [TAPS_KEPT])?;
        }
        Ok(first)
    }
}

#[cfg(test)]
impl Store {
    /// From now on the storage is full: it may not grow, and every free byte is taken.
    pub(crate) fn fill_up(&self) {
        let pages: i64 = self.connection.query_row("PRAGMA page_count", [], |row| row.get(0)).expect("counted");
        self.limit(pages);
        for bytes in [1_500, 100, 1] {
            let filler = "f".repeat(bytes);
            while self.connection.execute("INSERT INTO taps (receipt) VALUES (?1 || random())", [&filler]).is_ok() {}
        }
    }

    pub(crate) fn make_room(&self) {
        self.limit(1_000_000);
    }

    /// `journal_mode`, `synchronous` and `fullfsync` as SQLite has them.
    pub(crate) fn durability(&self) -> (String, i64, i64) {
        let read = |pragma: &str| self.connection.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0));
        let mode = self.connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).expect("read");
        (mode, read("synchronous").expect("read"), read("fullfsync").expect("read"))
    }

    fn limit(&self, pages: i64) {
        let set = format!("PRAGMA max_page_count = {pages}");
        self.connection.query_row(&set, [], |_| Ok(())).expect("set");
    }
}

/// Brings the schema up to date; a fresh one gets its installation's row in the same transaction.
fn migrate(connection: &mut Connection, found: i64) -> Result<Facts, Error> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    // Another process may have been faster: what counts is the version under the lock.
    let found: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap_or(found);
    for (version, step) in (0i64..).zip(MIGRATIONS) {
        if version >= found {
            transaction.execute_batch(step)?;
            transaction.pragma_update(None, "user_version", version + 1)?;
        }
    }
    // An unreadable row is damage too: everything it says can be given again.
    let facts = match Facts::load(&transaction) {
        Ok(Some(facts)) => facts,
        Ok(None) => {
            let facts = Facts::new();
            facts.save(&transaction)?;
            facts
        }
        Err(error) => return Err(error),
    };
    transaction.commit()?;
    Ok(facts)
}

fn make_directory(directory: &Path) -> Result<(), Error> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    Ok(builder.create(directory)?)
}

/// Deletes the database and what was set aside of it.
pub(crate) fn delete(directory: &Path) -> Result<(), Error> {
    for file in [FILE, SET_ASIDE] {
        for side_file in ["", "-wal", "-shm", "-journal"] {
            match std::fs::remove_file(directory.join(format!("{file}{side_file}"))) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
    }
    Ok(())
}

/// One damaged file is kept, for whoever wants to look; an earlier one makes room.
fn set_aside(directory: &Path) -> Result<(), Error> {
    std::fs::rename(directory.join(FILE), directory.join(SET_ASIDE))?;
    for side_file in ["-wal", "-shm"] {
        let path: PathBuf = directory.join(format!("{FILE}{side_file}"));
        if path.exists() {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}
