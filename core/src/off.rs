//! The SDK switched off: nothing is kept but that it is off, and whom the server has to forget until it did.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use backstop_wire::DeviceRegistered;
use serde::{Deserialize, Serialize};

use crate::config::{Config, Home};
use crate::error::Error;
use crate::spool::Spool;
use crate::store;

const FILE: &str = "backstop.off";
/// When to try again to have the device forgotten: the app may live for hours, and nothing hangs on it.
pub(crate) const RETRY_MS: u64 = 900_000;

/// What is left when the SDK is off.
pub(crate) struct Off {
    /// The device that the server still has to forget.
    pub(crate) device: Option<DeviceRegistered>,
}

#[derive(Serialize, Deserialize)]
struct Content {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    forget: Option<DeviceRegistered>,
}

impl Off {
    /// Whether the SDK was switched off. What a switch that was cut short left behind is deleted now.
    pub(crate) fn found(config: &Config) -> Result<Option<Off>, Error> {
        let Home::Directory(directory) = &config.home else { return Ok(None) };
        let bytes = match fs::read(directory.join(FILE)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // A torn file says that the SDK is off all the same.
        let content = serde_json::from_slice(&bytes).unwrap_or(Content { forget: None });
        let off = Off { device: content.forget };
        off.sweep(config);
        Ok(Some(off))
    }

    /// Switches off: first that it is so, durably, then everything else goes.
    pub(crate) fn begin(config: &Config, device: Option<DeviceRegistered>) -> Result<Off, Error> {
        let off = Off { device };
        match off.save(config) {
            // A full disk has room once the data is gone, which is what was asked for.
            Err(Error::StorageFull) => {
                off.sweep(config);
                off.save(config)?;
            }
            saved => saved?,
        }
        off.sweep(config);
        Ok(off)
    }

    /// The server forgot the device.
    pub(crate) fn forgotten(&mut self, config: &Config) -> Result<(), Error> {
        self.device = None;
        self.save(config)
    }

    /// Switches on again.
    pub(crate) fn end(config: &Config) -> Result<(), Error> {
        match &config.home {
            Home::Memory => Ok(()),
            Home::Directory(directory) => match fs::remove_file(directory.join(FILE)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
                _ => Ok(()),
            },
        }
    }

    /// Deletes what was kept. What cannot be deleted now goes at the next start.
    pub(crate) fn sweep(&self, config: &Config) {
        if let Home::Directory(directory) = &config.home {
            let swept = store::delete(directory).and_then(|()| spool(config).map_or(Ok(()), |spool| spool.clear()));
            if let Err(error) = swept {
                tracing::warn!(%error, "the SDK is off and its data could not all be deleted; it is tried again");
            }
        }
    }

    fn save(&self, config: &Config) -> Result<(), Error> {
        let Home::Directory(directory) = &config.home else { return Ok(()) };
        let content = Content { forget: self.device.clone() };
        let bytes = serde_json::to_vec(&content).map_err(|_| Error::Storage { reason: "unwritable".to_owned() })?;
        let unfinished = directory.join(format!("{FILE}.tmp"));
        write_synced(&unfinished, &bytes)?;
        fs::rename(&unfinished, directory.join(FILE))?;
        File::open(directory)?.sync_all()?;
        Ok(())
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

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    // It may hold the device's key.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    Ok(file.sync_all()?)
}
