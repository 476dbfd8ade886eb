//! The machine: room on the disk, what a durable write costs, files that may be open.

use super::{Finding, bounded};
use crate::app::directory_of;
use crate::clock::boot_ms;
use crate::config::{Config, StoreUrl};
use crate::serve::allow_open_files;
use std::io::Write as _;
use std::path::{Path, PathBuf};

const MIB: u64 = 1 << 20;
/// With less the next hours are in doubt.
const LOW_BYTES: u64 = 2_048 * MIB;
/// With less a checkpoint or a copy can fail at any time.
const FULL_BYTES: u64 = 256 * MIB;
/// Every answer waits for one of these.
const SLOW_SYNC_MS: i64 = 100;
const SYNCS: i64 = 5;
/// Files a server needs beside its connections.
const OTHER_FILES: u64 = 200;

/// Files that a server of this configuration may have open.
pub fn needed_files(config: &Config) -> u64 {
    (config.server.max_connections as u64).saturating_mul(config.listeners().len() as u64) + OTHER_FILES
}

pub(super) async fn look(config: &Config) -> Vec<Finding> {
    let Ok(StoreUrl::Sqlite(database)) = config.store_url() else { return Vec::new() };
    let directory = directory_of(&database).to_owned();
    let disk = room(&directory, database.metadata().map_or(0, |found| found.len()));
    vec![disk, bounded("fsync", durable_write(directory)).await, files(config)]
}

fn room(directory: &Path, database_bytes: u64) -> Finding {
    let found = match rustix::fs::statvfs(directory) {
        Ok(found) => found,
        Err(error) => {
            let message = format!("{} cannot be looked at ({error})", directory.display());
            return Finding::failed("disk", message, "make the directory of [store] url, for this user");
        }
    };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let message = format!("{} MiB are free in {}", free / MIB, directory.display());
    if free < FULL_BYTES {
        return Finding::failed("disk", message, "make room: a full disk refuses every request");
    }
    if free < LOW_BYTES.max(database_bytes) {
        let mend = "make room: a migration first copies the database, and a full disk refuses every request";
        return Finding::warning("disk", message, mend);
    }
    Finding::ok("disk", message)
}

/// Writes and syncs a file of its own beside the database, as a commit does.
async fn durable_write(directory: PathBuf) -> Finding {
    let shown = directory.display().to_string();
    let probe = directory.join(format!(".backstop-check-{}-{}", std::process::id(), boot_ms()));
    let written = tokio::task::spawn_blocking(move || {
        let written = write_and_sync(&probe);
        let removed = std::fs::remove_file(&probe);
        written.and_then(|ms| removed.map(|()| ms))
    });
    match written.await {
        Ok(Ok(ms)) if ms >= SLOW_SYNC_MS => {
            let message = format!("a durable write takes {ms} ms in {shown}, and every answer waits for one");
            Finding::warning("fsync", message, "put the database on a local disk, best an SSD")
        }
        Ok(Ok(ms)) => Finding::ok("fsync", format!("a durable write takes {ms} ms in {shown}")),
        Ok(Err(error)) => {
            let message = format!("nothing can be written in {shown} ({error})");
            Finding::failed("fsync", message, "let this user write there, and check the disk")
        }
        Err(_) => Finding::unknown("fsync", "the check itself failed", "look at the log"),
    }
}

/// Milliseconds a sync took on average.
fn write_and_sync(probe: &Path) -> std::io::Result<i64> {
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(probe)?;
    let began_ms = boot_ms();
    for _ in 0..SYNCS {
        file.write_all(&[0; 4_096])?;
        file.sync_data()?;
    }
    Ok((boot_ms() - began_ms) / SYNCS)
}

fn files(config: &Config) -> Finding {
    let needed = needed_files(config);
    match allow_open_files(needed) {
        Ok(()) => Finding::ok("files", format!("{needed} files may be open")),
        Err(limit) => Finding::failed("files", limit, "or lower [server] max_connections"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golive::Status;

    #[tokio::test]
    async fn a_directory_that_takes_nothing_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(durable_write(dir.path().to_owned()).await.mend.filter(|mend| mend.contains("let this user")), None);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left behind");
        let gone = dir.path().join("gone");
        let found = durable_write(gone.clone()).await;
        assert_eq!(found.status, Status::Failed);
        assert!(found.message.starts_with("nothing can be written in "), "{found:?}");
        assert_eq!(room(&gone, 0).status, Status::Failed);
        assert_eq!(room(dir.path(), u64::MAX).status, Status::Warning, "no room for a copy");
    }
}
