//! The SDK inside a notification extension: a file for each event, one request, no database, no lock, little memory.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use backstop_wire::{AckOutcome, AckResult, DeviceRegistered, Grade, Platform};

use crate::client::Acked;
use crate::clock::{self, Clock, Deadline, SystemClock};
use crate::config::{Config, Home};
use crate::error::Error;
use crate::exchange;
use crate::http::HttpTransport;
use crate::push::{check_ack, detail_word};
use crate::shell::REQUEST_TIMEOUT_MS;
use crate::spool::Spool;
use crate::store::NewAck;
use crate::transport::Transport;

/// Set-up of an [`Extension`].
#[derive(Clone)]
pub struct ExtensionConfig {
    /// As in [`Config`].
    pub base_url: String,
    /// As in [`Config`].
    pub app_key: String,
    /// As in [`Config`].
    pub sdk: String,
    /// Where acks lie until the app takes them over: in the container that both share.
    pub spool_directory: PathBuf,
    /// The device's id and key, which the app keeps where the extension can read it; without them acks wait for the
    /// app.
    pub device: Option<DeviceRegistered>,
    /// As in [`Config`].
    pub extra_root_certificates: Vec<Vec<u8>>,
    /// As in [`Config`].
    pub allow_http: bool,
}

/// What a notification extension does with a push: [`Extension::record`] before anything else, then
/// [`Extension::send`] beside its other work.
pub struct Extension {
    config: Config,
    spool: Spool,
    device: Option<DeviceRegistered>,
    clock: Arc<dyn Clock>,
    /// Made with the first request: what only records needs no TLS.
    transport: OnceLock<Arc<dyn Transport>>,
}

/// An ack that is on disk.
pub struct Spooled {
    ack: NewAck,
    file: PathBuf,
}

impl Extension {
    /// Checks the set-up; opens nothing and makes no request.
    pub fn open(config: ExtensionConfig) -> Result<Extension, Error> {
        Self::assemble(config, OnceLock::new(), Arc::new(SystemClock))
    }

    /// As [`Extension::open`], with another network or clock.
    pub fn open_with(
        config: ExtensionConfig,
        transport: Arc<dyn Transport>,
        clock: Arc<dyn Clock>,
    ) -> Result<Extension, Error> {
        Self::assemble(config, OnceLock::from(transport), clock)
    }

    fn assemble(
        config: ExtensionConfig,
        transport: OnceLock<Arc<dyn Transport>>,
        clock: Arc<dyn Clock>,
    ) -> Result<Extension, Error> {
        let spool = Spool::new(config.spool_directory);
        let device = config.device;
        let config = Config {
            base_url: config.base_url,
            app_key: config.app_key,
            platform: Platform::Ios,
            sdk: config.sdk,
            home: Home::Memory,
            spool_directory: None,
            locale: None,
            extra_root_certificates: config.extra_root_certificates,
            allow_http: config.allow_http,
        };
        config.check()?;
        Ok(Extension { config, spool, device, clock, transport })
    }

    /// Puts an ack on disk, where it survives everything: the app takes over what [`Extension::send`] did not finish.
    pub fn record(&self, receipt: &str, grade: Grade, detail: Option<&str>) -> Result<Spooled, Error> {
        let ack = self.ack(receipt, grade, detail)?;
        let file = self.spool.keep(&ack)?;
        Ok(Spooled { ack, file })
    }

    /// Sends a recorded ack within the budget, and deletes it from the disk when the server answered.
    pub async fn send(&self, spooled: &Spooled, budget_ms: u64) -> Acked {
        let Some(outcome) = self.upload(&spooled.ack, budget_ms).await else { return Acked::Stored };
        if outcome.result == AckResult::Refused {
            // Maybe not under this key: the app has the device's newest one.
            return Acked::Stored;
        }
        match std::fs::remove_file(&spooled.file) {
            // The app may have taken it over meanwhile. One that stays is sent again by the app: a duplicate.
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(kind = %error.kind(), "an answered ack stays in the spool");
            }
            _ => {}
        }
        Acked::Confirmed(outcome)
    }

    /// Sends an ack that could not be recorded: on a full disk it goes out now or never. `None` = it did not.
    pub async fn send_unrecorded(
        &self,
        receipt: &str,
        grade: Grade,
        detail: Option<&str>,
        budget_ms: u64,
    ) -> Result<Option<AckOutcome>, Error> {
        let ack = self.ack(receipt, grade, detail)?;
        Ok(self.upload(&ack, budget_ms).await)
    }

    fn ack(&self, receipt: &str, grade: Grade, detail: Option<&str>) -> Result<NewAck, Error> {
        check_ack(receipt, grade)?;
        let (detail, recorded_at_ms) = (detail_word(detail), self.clock.wall_ms());
        Ok(NewAck { receipt: receipt.to_owned(), grade, detail, recorded_at_ms })
    }

    async fn upload(&self, ack: &NewAck, budget_ms: u64) -> Option<AckOutcome> {
        let deadline = Deadline::after(budget_ms);
        let request = exchange::acks(self.device.as_ref()?, vec![ack.to_wire()]);
        let transport = self.transport()?;
        let timeout_ms = deadline.remaining_ms().min(REQUEST_TIMEOUT_MS);
        let response = clock::timeout(timeout_ms, transport.send(request, timeout_ms)).await?;
        let response = match response {
            Ok(response) => response,
            Err(error) => {
                tracing::info!(%error, "the ack waits for the app");
                return None;
            }
        };
        if !exchange::read_answer(&response).done {
            tracing::info!(status = response.status, "the ack waits for the app");
            return None;
        }
        exchange::read_results(&response.body, 1)?.into_iter().next()
    }

    fn transport(&self) -> Option<&Arc<dyn Transport>> {
        if self.transport.get().is_none() {
            match HttpTransport::new(&self.config) {
                // Whoever was first set the same.
                Ok(transport) => drop(self.transport.set(Arc::new(transport))),
                Err(error) => tracing::error!(%error, "the ack waits for the app"),
            }
        }
        self.transport.get()
    }
}

impl std::fmt::Debug for Extension {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Extension").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Spooled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spooled").finish_non_exhaustive()
    }
}
