//! One server per database file: an advisory lock on a file beside it, held for the process's life.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Held until dropped, or until the process ends however it ends.
#[derive(Debug)]
pub(super) struct ServerLock {
    file: File,
}

impl Drop for ServerLock {
    /// Said, not left to the closing: a process that is being started right now holds a copy of the descriptor until
    /// it runs its own program, and the lock with it.
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

pub(super) enum LockError {
    /// By this process, as far as it said.
    Held(Option<u32>),
    Io(io::Error),
}

impl ServerLock {
    /// Takes `<database>.lock`. The file stays: one that is deleted while others wait for it protects nothing.
    pub(super) fn take(database: &Path) -> Result<ServerLock, LockError> {
        let mut path = database.as_os_str().to_owned();
        path.push(".lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(LockError::Io)?;
        match file.try_lock() {
            Ok(()) => {
                let written = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
                written.map_err(LockError::Io)?;
                Ok(ServerLock { file })
            }
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let read = file.rewind().and_then(|()| file.take(16).read_to_string(&mut pid));
                Err(LockError::Held(read.ok().and_then(|_| pid.trim().parse().ok())))
            }
            Err(TryLockError::Error(error)) => Err(LockError::Io(error)),
        }
    }
}
