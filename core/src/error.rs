//! What can go wrong for a caller of the SDK, and what they can do about it.

/// Why a call failed. Being offline is not among them: what was recorded is sent later, by `flush`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration cannot work; mend the named key.
    #[error("configuration: `{key}` {reason}")]
    InvalidConfig {
        /// The field of [`Config`](crate::Config).
        key: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// An argument cannot be taken; nothing was stored.
    #[error("argument: `{name}` {reason}")]
    InvalidArgument {
        /// Which.
        name: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The device's disk is full; nothing was stored. Call again when there is room.
    #[error("the device's storage is full: nothing was stored")]
    StorageFull,
    /// The database was damaged while in use. Opening again sets it aside and starts a fresh one.
    #[error("the SDK's storage was damaged while in use: open the SDK again, and a fresh one takes its place")]
    StorageCorrupt,
    /// The database was written by a newer SDK and is left untouched; update the app.
    #[error("the SDK's storage was written by a newer version of the app: update the app ({found} > {known})")]
    StorageNewer {
        /// Its version.
        found: i64,
        /// The newest version this SDK can read.
        known: i64,
    },
    /// The storage failed otherwise (permissions, a lock held by another process); nothing was stored.
    #[error("storage: {reason}")]
    Storage {
        /// The storage engine's words.
        reason: String,
    },
    /// The call needs a registered device; call `set_token` first.
    #[error("the device is not registered yet: give the push token first")]
    NotRegistered,
    /// The SDK was switched off by `set_enabled(false)`: nothing is kept or sent until it is switched on again.
    #[error("the SDK is switched off: switch it on again first")]
    Disabled,
    /// The request did not get through.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The server refused the request.
    #[error("the server refused: {status}{}{code}", if code.is_empty() { "" } else { " " })]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The problem's code, or empty.
        code: String,
    },
}

/// Why a request got no answer. None of these is ever final.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// No connection: offline, name not found, refused.
    #[error("no connection to the server")]
    Connect,
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// The server's certificate is not trusted for this name, or TLS failed otherwise.
    #[error("TLS: {reason}")]
    Tls {
        /// What the TLS library says.
        reason: String,
    },
    /// The connection broke, or the answer is no HTTP or too large.
    #[error("the answer could not be read")]
    Broken,
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, DiskFull, NotADatabase, Unknown};
        // A full disk shows first in the shared memory of the WAL, which has no room to grow.
        let extended = error.sqlite_error().map(|failure| failure.extended_code);
        match error.sqlite_error_code() {
            Some(DiskFull) => Error::StorageFull,
            _ if extended == Some(rusqlite::ffi::SQLITE_IOERR_SHMSIZE) => Error::StorageFull,
            // Also a table that is not there, and a row that does not read. What only cannot be read now is neither: a
            // good database is not set aside for a busy disk.
            Some(DatabaseCorrupt | NotADatabase | Unknown) | None => Error::StorageCorrupt,
            // SQLite's own words for the code; never a statement or a value.
            _ => Error::Storage {
                reason: match error {
                    rusqlite::Error::SqliteFailure(failure, _) => failure.to_string(),
                    _ => "unexpected row".to_owned(),
                },
            },
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Error::StorageFull,
            kind => Error::Storage { reason: kind.to_string() },
        }
    }
}
