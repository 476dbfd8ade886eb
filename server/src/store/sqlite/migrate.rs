//! Schema versions: each step once, in one transaction, after a backup copy of what was there.

use crate::failpoint::{Point, hit};
use rusqlite::backup::Backup;
use rusqlite::{Connection, TransactionBehavior};
use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// All steps; the schema version is how many were taken. A step that was released is never edited.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("../../../migrations/sqlite/0001_init.sql"),
    include_str!("../../../migrations/sqlite/0002_trail.sql"),
    include_str!("../../../migrations/sqlite/0003_live.sql"),
    include_str!("../../../migrations/sqlite/0004_privacy.sql"),
    include_str!("../../../migrations/sqlite/0005_inbound.sql"),
    include_str!("../../../migrations/sqlite/0006_mail.sql"),
    include_str!("../../../migrations/sqlite/0007_wallet.sql"),
    include_str!("../../../migrations/sqlite/0008_parts.sql"),
    include_str!("../../../migrations/sqlite/0009_alimtalk.sql"),
];

/// "Bkst": tells our files from other programs'.
pub(super) const APPLICATION_ID: i64 = 0x426b_7374;

const COPY_PAGES: i32 = 4_096;

#[derive(Debug)]
pub(super) enum MigrateError {
    Sqlite(rusqlite::Error),
    Backup(io::Error),
}

impl From<rusqlite::Error> for MigrateError {
    fn from(error: rusqlite::Error) -> Self {
        MigrateError::Sqlite(error)
    }
}

pub(super) fn known(migrations: &[&str]) -> i64 {
    migrations.len() as i64
}

/// Takes the steps that are missing; `found` fills in what a new database says of itself. An existing one is copied
/// first, to `<database>.v<old>.bak`.
pub(super) fn run(
    db: &mut Connection,
    path: &Path,
    migrations: &[&str],
    found: impl FnOnce(&Connection) -> rusqlite::Result<()>,
) -> Result<(), MigrateError> {
    let old = version(db)?;
    if old >= known(migrations) {
        return Ok(());
    }
    if old > 0 {
        back_up(db, path, old)?;
    }
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Again, now that nobody else can: another process may have been quicker.
    let old = version(&tx)?;
    for (step, sql) in migrations.iter().enumerate().skip(old.max(0) as usize) {
        tx.execute_batch(sql)?;
        tx.pragma_update(None, "user_version", step as i64 + 1)?;
    }
    if old == 0 {
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        found(&tx)?;
    }
    hit(Point::BootMigrating);
    tx.commit()?;
    // So that the file itself says what it is, even to those who look without the WAL.
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    Ok(())
}

fn version(db: &Connection) -> rusqlite::Result<i64> {
    db.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Written whole under another name first: a crash leaves no half copy under the name of a whole one.
fn back_up(db: &Connection, path: &Path, version: i64) -> Result<PathBuf, MigrateError> {
    let named = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".v{version}.{ending}"));
        PathBuf::from(name)
    };
    let (draft, whole) = (named("draft"), named("bak"));
    let private = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft);
    private.map_err(MigrateError::Backup)?;
    let mut copy = Connection::open(&draft)?;
    Backup::new(db, &mut copy)?.run_to_completion(COPY_PAGES, Duration::ZERO, None)?;
    copy.close().map_err(|(_, error)| error)?;
    fs::File::open(&draft).and_then(|file| file.sync_all()).map_err(MigrateError::Backup)?;
    fs::rename(&draft, &whole).map_err(MigrateError::Backup)?;
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "CREATE TABLE t (a INTEGER) STRICT; INSERT INTO t VALUES (1);";

    /// An upgrade leaves the old database beside the new one, and takes each step once.
    #[test]
    fn an_upgrade_leaves_a_copy_of_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b.db");
        let mut db = Connection::open(&path).unwrap();
        run(&mut db, &path, &[FIRST], |_| Ok(())).unwrap();
        assert!(!dir.path().join("b.db.v0.bak").exists(), "nothing was there");
        let two = &[FIRST, "ALTER TABLE t ADD COLUMN b INTEGER"];
        run(&mut db, &path, two, |_| Ok(())).unwrap();
        run(&mut db, &path, two, |_| Ok(())).unwrap();
        assert_eq!(version(&db).unwrap(), 2);
        let old = Connection::open(dir.path().join("b.db.v1.bak")).unwrap();
        assert_eq!(version(&old).unwrap(), 1);
        assert_eq!(old.query_row("SELECT a FROM t", [], |row| row.get::<_, i64>(0)).unwrap(), 1);
        assert!(!dir.path().join("b.db.v1.draft").exists());
    }

    /// A step that fails leaves the version before it, whole.
    #[test]
    fn a_failed_step_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b.db");
        let mut db = Connection::open(&path).unwrap();
        run(&mut db, &path, &[FIRST], |_| Ok(())).unwrap();
        assert!(run(&mut db, &path, &[FIRST, "CREATE TABLE u (a INTEGER); SELECT nonsense"], |_| Ok(())).is_err());
        assert_eq!(version(&db).unwrap(), 1);
        assert!(db.prepare("SELECT * FROM u").is_err());
    }
}
