//! The SDK switched off: a file says so, everything else is deleted, and the server is asked to forget the device.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use backstop_wire::DeviceRegistered;
use serde::{Deserialize, Serialize};

use crate::config::{Config, Home};
use crate::error::Error;
use crate::spool::Spool;
use crate::store;

/// That the SDK is off: its being there says so, whatever is in it.
const OFF_FILE: &str = "backstop.off";
/// Devices that the server has to forget.
const FORGET_FILE: &str = "backstop.forget";
/// When to try again to have a device forgotten: nothing hangs on it.
pub(crate) const RETRY_MS: u64 = 21_600_000;
/// The most devices that wait to be forgotten; beyond it the oldest go, whose tokens are others' by now.
const DEVICES_MAX: usize = 4;

/// Devices that were switched off and that the server knows all the same. Their ids and keys are all that is kept.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Leaving {
    #[serde(default)]
    devices: Vec<DeviceRegistered>,
}

/// Whether the SDK was switched off.
pub(crate) fn is_off(config: &Config) -> Result<bool, Error> {
    let Some(path) = path(config, OFF_FILE) else { return Ok(false) };
    Ok(fs::exists(path)?)
}

/// From now on, restarts included, the SDK is off.
pub(crate) fn switch_off(config: &Config) -> Result<(), Error> {
    path(config, OFF_FILE).map_or(Ok(()), |path| replace(&path, b"{}"))
}

/// From now on, restarts included, the SDK is on.
pub(crate) fn switch_on(config: &Config) -> Result<(), Error> {
    path(config, OFF_FILE).map_or(Ok(()), |path| remove(&path))
}

/// Deletes what was kept. What cannot be deleted now goes at the next start or flush.
pub(crate) fn sweep(config: &Config) {
    let Home::Directory(directory) = &config.home else { return };
    if let Err(error) = store::delete(directory) {
        tracing::warn!(%error, "the SDK is off and its data could not all be deleted; it is tried again");
    }
    if let Some(Err(error)) = spool(config).map(|spool| spool.clear()) {
        tracing::warn!(%error, "the SDK is off and its spool could not be emptied; it is tried again");
    }
}

/// Where another process of the app leaves its acks.
pub(crate) fn spool(config: &Config) -> Option<Spool> {
    let below_home = || match &config.home {
        Home::Memory => None,
        Home::Directory(directory) => Some(directory.join("spool")),
    };
    config.spool_directory.clone().or_else(below_home).map(Spool::new)
}

impl Leaving {
    /// Those that are left from an earlier start. An unreadable list is an empty one: it only spares the server a
    /// token.
    pub(crate) fn load(config: &Config) -> Leaving {
        let bytes = path(config, FORGET_FILE).and_then(|path| fs::read(path).ok());
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    pub(crate) fn next(&self) -> Option<&DeviceRegistered> {
        self.devices.first()
    }

    /// Adds one. Kept in memory even if it cannot be written.
    pub(crate) fn add(&mut self, device: DeviceRegistered, config: &Config) -> Result<(), Error> {
        if self.devices.iter().any(|known| known.device_id == device.device_id) {
            return Ok(());
        }
        self.devices.push(device);
        let excess = self.devices.len().saturating_sub(DEVICES_MAX);
        self.devices.drain(..excess);
        self.save(config)
    }

    /// Takes one out: the server forgot it, or it was not switched off after all.
    pub(crate) fn remove(&mut self, device_id: &str, config: &Config) -> Result<(), Error> {
        let before = self.devices.len();
        self.devices.retain(|device| device.device_id != device_id);
        if self.devices.len() == before { Ok(()) } else { self.save(config) }
    }

    pub(crate) fn save(&self, config: &Config) -> Result<(), Error> {
        let Some(path) = path(config, FORGET_FILE) else { return Ok(()) };
        if self.devices.is_empty() {
            return remove(&path);
        }
        let bytes = serde_json::to_vec(self).map_err(|_| Error::Storage { reason: "unwritable".to_owned() })?;
        replace(&path, &bytes)
    }
}

fn path(config: &Config, file: &str) -> Option<PathBuf> {
    match &config.home {
        Home::Memory => None,
        Home::Directory(directory) => Some(directory.join(file)),
    }
}

/// Whole or not at all, and durable.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".tmp");
    let unfinished = PathBuf::from(unfinished);
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    // It may hold a device's key.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let write = || {
        let mut file = options.open(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    };
    if let Err(error) = write() {
        // Best effort: the next one overwrites it.
        let _ = fs::remove_file(&unfinished);
        return Err(error.into());
    }
    sync_directory(path)
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Ok(()) => sync_directory(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn sync_directory(file: &Path) -> Result<(), Error> {
    let Some(directory) = file.parent() else { return Ok(()) };
    Ok(File::open(directory)?.sync_all()?)
}
