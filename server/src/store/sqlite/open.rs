//! Opening a database: is it ours, whole, of a version we know, under our key, and free — before anything is written.

use super::checkpoint::BUSY_WAIT;
use super::lock::{LockError, ServerLock};
use super::migrate::{self, APPLICATION_ID, MIGRATIONS};
use super::writer::refused;
use crate::failpoint::{Point, hit};
use crate::vault::Vault;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _};
use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// The first SQLite without the WAL-reset bug, which could corrupt a database.
const OLDEST_SQLITE: i32 = 3_051_003;
/// Up to this size the whole file is checked before a server starts: about a third of a second. Above it, SQLite
/// notices a broken page when it reads it; a start must not take minutes.
const CHECK_UP_TO_BYTES: u64 = 128 << 20;
/// What every SQLite file begins with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// How to open a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    /// Whether it is a sandbox's. A new file is marked so; one with the other mark is refused.
    pub sandbox: bool,
    /// For the server: takes the server's lock and checks the whole file. Commands that look or add beside a running
    /// server leave it.
    pub serve: bool,
    /// Threads that read, at least one.
    pub read_connections: usize,
}

/// Why a database was not opened, and what to do. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A newer version wrote it.
    #[error(
        "{}: written by a newer version (schema {found}, this version knows {known}): run that version, or restore \
         the backup copy made before the upgrade", path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// Its data is sealed with another key.
    #[error("{}: sealed with another data key: put back the key file that belongs to it ({})", path.display(),
        crate::vault::DataKey::path_beside(path).display())]
    OtherKey {
        /// The file.
        path: PathBuf,
    },
    /// It is a sandbox and should not be, or the reverse.
    #[error("{}: {}", path.display(), if *sandbox {
        "this is a sandbox's database: start with --sandbox, or name another file in [store] url"
    } else {
        "this is not a sandbox's database: start without --sandbox, or name another file in [store] url"
    })]
    OtherMark {
        /// The file.
        path: PathBuf,
        /// Whether it is a sandbox's.
        sandbox: bool,
    },
    /// It is damaged.
    #[error("{}: damaged ({what}): stop, keep the file as it is, and restore a backup with its key file",
        path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        what: String,
    },
    /// It is some other program's.
    #[error("{}: not a database of Backstop: name another file in [store] url", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A server runs on it.
    #[error("{}: a server is running on this database{}: stop it first, or name another file in [store] url",
        path.display(), pid.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    Locked {
        /// The file.
        path: PathBuf,
        /// The process that holds it, as far as known.
        pid: Option<u32>,
    },
    /// The file or its directory cannot be used.
    #[error("{}: cannot be opened for writing: {error}: check that the directory exists and is writable by this user",
        path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        #[source]
        error: io::Error,
    },
    /// SQLite says no for another reason.
    #[error("{}: SQLite cannot open it: {what}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// SQLite's words.
        what: String,
    },
    /// This binary was linked against a SQLite with a known bug.
    #[error("linked against SQLite {found}, which can corrupt a database: build with the bundled one")]
    OldSqlite {
        /// Its version.
        found: &'static str,
    },
}

/// A database that passed every check, with its schema up to date.
pub(super) struct Opened {
    pub(super) writer: Connection,
    pub(super) lock: Option<ServerLock>,
    pub(super) schema: i64,
}

/// What an existing database says of itself.
struct Facts {
    schema: i64,
    meta: Option<([u8; 16], bool)>,
}

pub(super) fn open(path: &Path, options: OpenOptions, vault: &Vault) -> Result<Opened, OpenError> {
    if rusqlite::version_number() < OLDEST_SQLITE {
        return Err(OpenError::OldSqlite { found: rusqlite::version() });
    }
    let lock = if options.serve { Some(take_lock(path)?) } else { None };
    let unusable = |error| OpenError::Unusable { path: path.to_owned(), error };
    let size = match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return Err(unusable(io::ErrorKind::IsADirectory.into())),
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(unusable(error)),
    };
    if size > 0 {
        examine(path, size, options, vault)?;
    }
    // Made before SQLite does, for its owner's eyes alone; SQLite gives the WAL the same mode.
    fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).map_err(unusable)?;
    hit(Point::BootFileMade);
    let mut writer = connect(path, false)?;
    let schema = prepare(&mut writer, path, options, vault)?;
    hit(Point::BootMigrated);
    Ok(Opened { writer, lock, schema })
}

/// Whether there is a database of exactly this version's schema: one that can be looked into without changing it.
pub(super) fn is_current(path: &Path) -> bool {
    let access = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let schema = Connection::open_with_flags(path, access)
        .and_then(|db| db.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)));
    schema.is_ok_and(|schema| schema == migrate::known(MIGRATIONS))
}

/// A connection with everything set; `read_only` for readers.
pub(super) fn connect(path: &Path, read_only: bool) -> Result<Connection, OpenError> {
    let access = if read_only { OpenFlags::SQLITE_OPEN_READ_ONLY } else { OpenFlags::SQLITE_OPEN_READ_WRITE };
    let db = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(|error| sqlite_error(path, &error))?;
    set_up(&db, read_only).map_err(|error| sqlite_error(path, &error))?;
    Ok(db)
}

/// The database file itself, for [`super::checkpoint`].
pub(super) fn file(path: &Path) -> Result<fs::File, OpenError> {
    fs::OpenOptions::new().write(true).open(path).map_err(|error| OpenError::Unusable { path: path.to_owned(), error })
}

fn set_up(db: &Connection, read_only: bool) -> rusqlite::Result<()> {
    // Another process may hold the write lock for a moment: a command beside the server, a backup.
    db.busy_timeout(BUSY_WAIT)?;
    // Every statement of the store fits, so none is ever prepared twice.
    db.set_prepared_statement_cache_capacity(128);
    // Sorting and savepoints stay in memory: no personal data in temporary files, no surprise on a full disk.
    db.pragma_update(None, "temp_store", "MEMORY")?;
    // A damaged page is noticed when it is read and not after it was built upon.
    db.pragma_update(None, "cell_size_check", true)?;
    // A schema that somebody tampered with cannot call functions.
    db.pragma_update(None, "trusted_schema", false)?;
    if read_only {
        // 4 MiB a reader: every commit empties it, so it holds what a few questions touch.
        return db.pragma_update(None, "cache_size", -4_096);
    }
    // Readers never wait for the writer, and a commit is one write and one fsync.
    db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))?;
    // fsync before each answer: what was answered survives a power cut. NORMAL does not.
    db.pragma_update(None, "synchronous", synchronous())?;
    // On macOS a plain fsync stops at the drive's cache; elsewhere this does nothing.
    db.pragma_update(None, "fullfsync", true)?;
    db.pragma_update(None, "checkpoint_fullfsync", true)?;
    // For the few small tables that declare them.
    db.pragma_update(None, "foreign_keys", true)?;
    // Checkpoints are made beside the commits: see checkpoint.rs.
    db.pragma_update(None, "wal_autocheckpoint", 0)?;
    // The WAL keeps its blocks from one round to the next, since growing a file makes fsync slower, but a peak's are
    // given back.
    db.pragma_update(None, "journal_size_limit", 64 << 20)?;
    // 8 MiB: what is not in it is in the kernel's, a system call away. 32 were no faster with a million rows.
    db.pragma_update(None, "cache_size", -8_192)?;
    // What is deleted or replaced is overwritten, freed pages too: shredding means nothing while a customer's wrapped
    // key can still be found in the file. Steady work frees few pages, so this costs next to nothing.
    db.pragma_update(None, "secure_delete", true)
}

#[cfg(not(feature = "failpoints"))]
const fn synchronous() -> &'static str {
    "FULL"
}

/// Wrong on purpose when a test of power cuts asks for it: that test has to notice.
#[cfg(feature = "failpoints")]
fn synchronous() -> &'static str {
    if std::env::var("BACKSTOP_MUTANT").is_ok_and(|name| name == "synchronous_normal") { "NORMAL" } else { "FULL" }
}

fn take_lock(path: &Path) -> Result<ServerLock, OpenError> {
    ServerLock::take(path).map_err(|error| match error {
        LockError::Held(pid) => OpenError::Locked { path: path.to_owned(), pid },
        LockError::Io(error) => OpenError::Unusable { path: path.to_owned(), error },
    })
}

/// All checks of an existing file. On a connection that neither writes nor, when it closes, moves the WAL.
fn examine(path: &Path, size: u64, options: OpenOptions, vault: &Vault) -> Result<(), OpenError> {
    check_header(path)?;
    let failed = |error: rusqlite::Error| sqlite_error(path, &error);
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(failed)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed)?;
    db.busy_timeout(BUSY_WAIT).map_err(failed)?;
    db.pragma_update(None, "query_only", true).map_err(failed)?;
    let facts = facts(&db, path)?;
    judge(&facts, path, options, vault)?;
    if options.serve && size <= CHECK_UP_TO_BYTES {
        let said: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(failed)?;
        if said != "ok" {
            return Err(OpenError::Corrupt { path: path.to_owned(), what: said });
        }
    }
    Ok(())
}

/// The first page alone, without SQLite: is it a database at all?
fn check_header(path: &Path) -> Result<(), OpenError> {
    use std::io::Read as _;
    let mut header = [0u8; 100];
    let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut header));
    match read {
        Ok(()) if header.starts_with(MAGIC) => Ok(()),
        Ok(()) => {
            Err(OpenError::Corrupt { path: path.to_owned(), what: "it does not begin as a database does".into() })
        }
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(OpenError::Corrupt { path: path.to_owned(), what: "shorter than a database can be".into() })
        }
        Err(error) => Err(OpenError::Unusable { path: path.to_owned(), error }),
    }
}

fn facts(db: &Connection, path: &Path) -> Result<Facts, OpenError> {
    let failed = |error: rusqlite::Error| sqlite_error(path, &error);
    let number = |pragma: &str| db.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).map_err(failed);
    let (application, schema) = (number("application_id")?, number("user_version")?);
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed)?;
    if application == 0 && schema == 0 && tables == 0 {
        // A first start that got no further.
        return Ok(Facts { schema: 0, meta: None });
    }
    if application != APPLICATION_ID {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    if schema > migrate::known(MIGRATIONS) {
        // Its tables are not ours to read.
        return Ok(Facts { schema, meta: None });
    }
    let sql = "SELECT vault_check, sandbox FROM meta WHERE id = 1";
    let meta = db.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).optional().map_err(failed)?;
    match meta {
        Some(meta) => Ok(Facts { schema, meta: Some(meta) }),
        None => Err(OpenError::Corrupt { path: path.to_owned(), what: "it does not say what it is".into() }),
    }
}

fn judge(facts: &Facts, path: &Path, options: OpenOptions, vault: &Vault) -> Result<(), OpenError> {
    let known = migrate::known(MIGRATIONS);
    if facts.schema > known {
        return Err(OpenError::Newer { path: path.to_owned(), found: facts.schema, known });
    }
    let Some((check_value, sandbox)) = facts.meta else {
        return Ok(());
    };
    if check_value != vault.check_value() {
        return Err(OpenError::OtherKey { path: path.to_owned() });
    }
    if sandbox != options.sandbox {
        return Err(OpenError::OtherMark { path: path.to_owned(), sandbox });
    }
    Ok(())
}

/// Brings the schema up to date and, in a new file, says what it is. Judged again afterwards: of two that make one
/// file at the same time, the second finds the first one's.
fn prepare(db: &mut Connection, path: &Path, options: OpenOptions, vault: &Vault) -> Result<i64, OpenError> {
    let failed = |error: rusqlite::Error| sqlite_error(path, &error);
    let found = |tx: &Connection| {
        let sql = "INSERT INTO meta (id, vault_check, sandbox) VALUES (1, ?1, ?2)";
        tx.execute(sql, rusqlite::params![vault.check_value(), options.sandbox]).map(|_| ())
    };
    migrate::run(db, path, MIGRATIONS, found).map_err(|error| match error {
        migrate::MigrateError::Sqlite(error) => failed(error),
        migrate::MigrateError::Backup(error) => OpenError::Unusable { path: path.to_owned(), error },
    })?;
    let facts = facts(db, path)?;
    judge(&facts, path, options, vault)?;
    Ok(facts.schema)
}

pub(super) fn sqlite_error(path: &Path, error: &rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    let what = refused(error);
    let rusqlite::Error::SqliteFailure(failure, _) = error else {
        return OpenError::Sqlite { path, what };
    };
    match failure.code {
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => OpenError::Corrupt { path, what },
        ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied => {
            OpenError::Unusable { path, error: io::Error::other(what) }
        }
        _ => OpenError::Sqlite { path, what },
    }
}
