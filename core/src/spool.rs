//! The ack log's second home: one file per event, for a process that must not hold a database lock.
//!
//! iOS ends an app whose notification extension holds an SQLite lock in the shared container at suspension. The
//! extension therefore writes files — complete and on disk before they get their name — and the app takes them over.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use backstop_wire::Grade;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::push::{check_ack, detail_word};
use crate::store::NewAck;

/// The most events that wait; beyond it the oldest go.
const FILES_MAX: usize = 1_000;
/// The longest event: receipt, detail and framing.
const FILE_MAX_BYTES: u64 = 8 * 1024;
/// An unfinished file older than this was left by a process that died.
const UNFINISHED_KEPT_MS: i64 = 3_600_000;

/// A directory of acks that the app has not taken over yet.
#[derive(Clone, Debug)]
pub struct Spool {
    directory: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    receipt: String,
    grade: Grade,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    recorded_at_ms: i64,
}

/// What was found in a spool.
pub(crate) struct Found {
    pub(crate) acks: Vec<NewAck>,
    /// Every file that is of no more use once the acks are kept: the read, the unreadable and the abandoned.
    files: Vec<PathBuf>,
}

impl Spool {
    /// The spool in that directory, which is made when first needed.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Spool { directory: directory.into() }
    }

    /// Records an ack. When this returns, it is on disk and survives the death of the process.
    pub fn record(&self, receipt: &str, grade: Grade, detail: Option<&str>, recorded_at_ms: i64) -> Result<(), Error> {
        let detail = detail_word(detail);
        self.keep(&NewAck { receipt: receipt.to_owned(), grade, detail, recorded_at_ms }).map(drop)
    }

    /// As [`Spool::record`]; answers the file that the ack lies in.
    pub(crate) fn keep(&self, ack: &NewAck) -> Result<PathBuf, Error> {
        let NewAck { receipt, grade, detail, recorded_at_ms } = ack.clone();
        check_ack(&receipt, grade)?;
        fs::create_dir_all(&self.directory)?;
        self.make_room()?;
        let entry = Entry { receipt, grade, detail, recorded_at_ms };
        let bytes = serde_json::to_vec(&entry).map_err(|_| Error::Storage { reason: "unwritable".to_owned() })?;
        // The time first, so that the names sort in the order of recording.
        let name = format!("{:015}-{}", recorded_at_ms.max(0), uuid::Uuid::new_v4().simple());
        let unfinished = self.directory.join(format!("{name}.tmp"));
        let finished = self.directory.join(format!("{name}.ack"));
        let written = write_synced(&unfinished, &bytes)
            .and_then(|()| fs::rename(&unfinished, &finished))
            .and_then(|()| File::open(&self.directory)?.sync_all());
        if written.is_err() {
            // Best effort: a left-over is swept up later.
            let _ = fs::remove_file(&unfinished);
        }
        written?;
        Ok(finished)
    }

    /// Deletes everything that waits, and what was left unfinished.
    pub(crate) fn clear(&self) -> Result<(), Error> {
        self.names()?.iter().try_for_each(|path| remove(path))
    }

    /// Reads everything that waits, oldest first. Nothing is removed yet.
    pub(crate) fn read(&self, now_ms: i64) -> Result<Found, Error> {
        let mut found = Found { acks: Vec::new(), files: Vec::new() };
        for path in self.names()? {
            let finished = path.extension().is_some_and(|e| e == "ack");
            if finished {
                match read_entry(&path) {
                    Ok(Some(ack)) => found.acks.push(ack),
                    Ok(None) => tracing::warn!("an unreadable event in the spool is dropped"),
                    // The extension was quicker.
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    // The others go on; this one is tried again.
                    Err(error) => {
                        tracing::warn!(kind = %error.kind(), "an event in the spool cannot be read now");
                        continue;
                    }
                }
                found.files.push(path);
            } else if recorded_at(&path).is_some_and(|at_ms| now_ms.abs_diff(at_ms) > UNFINISHED_KEPT_MS as u64) {
                found.files.push(path);
            }
        }
        Ok(found)
    }

    fn make_room(&self) -> Result<(), Error> {
        let names = self.names()?;
        names.iter().take((names.len() + 1).saturating_sub(FILES_MAX)).try_for_each(|oldest| remove(oldest))
    }

    /// The spool's own files, in the order of recording.
    fn names(&self) -> Result<Vec<PathBuf>, Error> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e.into()),
        };
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry?.path();
            // What the host app keeps in its directory is not ours to touch.
            if path.extension().is_some_and(|e| e == "ack" || e == "tmp") && recorded_at(&path).is_some() {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    }
}

impl Found {
    /// Removes the files, after their acks were committed elsewhere. One that cannot be removed is read again later,
    /// which changes nothing.
    pub(crate) fn remove(self) {
        for path in self.files {
            if let Err(error) = remove(&path) {
                tracing::warn!(%error, "an event stays in the spool");
            }
        }
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// `None` = torn or foreign.
fn read_entry(path: &Path) -> std::io::Result<Option<NewAck>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_MAX_BYTES + 1).read_to_end(&mut bytes)?;
    let Ok(entry) = serde_json::from_slice::<Entry>(&bytes) else { return Ok(None) };
    if check_ack(&entry.receipt, entry.grade).is_err() {
        return Ok(None);
    }
    Ok(Some(NewAck {
        receipt: entry.receipt,
        grade: entry.grade,
        detail: detail_word(entry.detail.as_deref()),
        recorded_at_ms: entry.recorded_at_ms,
    }))
}

/// What the name of a file of ours begins with: at least fifteen digits.
fn recorded_at(path: &Path) -> Option<i64> {
    let digits = path.file_name()?.to_str()?.split_once('-')?.0;
    (digits.len() >= 15 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// Whoever removed it first: it is gone.
fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
