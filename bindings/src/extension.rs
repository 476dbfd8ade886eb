//! The SDK of a notification extension: an event is a file before it is a request, and no database is ever opened.

use std::sync::Arc;

use backstop_core as core;

use crate::client::{Cancel, unless_cancelled};
use crate::error::SdkError;
use crate::types::{AckOutcome, Acked, DeviceCredentials, Grade};

/// Set-up of an [`Extension`].
#[derive(Clone, uniffi::Record)]
pub struct ExtensionConfig {
    /// The server, as the app has it.
    pub base_url: String,
    /// The workspace's `app_…` key.
    pub app_key: String,
    /// `<platform>/<version>` of the façade.
    pub sdk: String,
    /// Where events lie until the app takes them over: in the App Group.
    pub spool_directory: String,
    /// The device's id and key from the shared keychain; `None` = events wait for the app.
    pub credentials: Option<DeviceCredentials>,
    /// Root certificates in PEM beside Mozilla's.
    pub extra_root_certificates: Vec<Vec<u8>>,
    /// Plain `http://` to other machines than this one. For debug builds.
    pub allow_http: bool,
}

/// What a notification extension may use: little memory, no lock, nothing that outlives a push.
#[derive(uniffi::Object)]
pub struct Extension {
    core: core::Extension,
}

/// An event that is on disk.
#[derive(uniffi::Object)]
pub struct Spooled {
    core: core::Spooled,
}

#[uniffi::export(async_runtime = "tokio")]
impl Extension {
    /// Checks the set-up; opens nothing and makes no request.
    #[uniffi::constructor]
    pub fn open(config: ExtensionConfig) -> Result<Arc<Self>, SdkError> {
        Ok(Arc::new(Extension { core: core::Extension::open(config.into())? }))
    }

    /// Puts an ack on disk, where it survives everything. Call it before anything else.
    pub fn record(&self, receipt: String, grade: Grade, why: Option<String>) -> Result<Arc<Spooled>, SdkError> {
        let spooled = self.core.record(&receipt, grade.into(), why.as_deref())?;
        Ok(Arc::new(Spooled { core: spooled }))
    }

    /// Sends a recorded ack within the budget and deletes it when the server answered. `Stored` = the app will send it.
    pub async fn send(
        &self,
        spooled: Arc<Spooled>,
        budget_ms: u64,
        cancel: Option<Arc<Cancel>>,
    ) -> Result<Acked, SdkError> {
        let call = async { Ok(self.core.send(&spooled.core, budget_ms).await) };
        Ok(unless_cancelled(cancel, call).await?.into())
    }

    /// Sends an ack that could not be recorded: on a full disk it goes out now or never. `None` = it did not.
    pub async fn send_unrecorded(
        &self,
        receipt: String,
        grade: Grade,
        why: Option<String>,
        budget_ms: u64,
        cancel: Option<Arc<Cancel>>,
    ) -> Result<Option<AckOutcome>, SdkError> {
        let call = self.core.send_unrecorded(&receipt, grade.into(), why.as_deref(), budget_ms);
        Ok(unless_cancelled(cancel, call).await?.map(Into::into))
    }
}
