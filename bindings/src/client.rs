//! The SDK of an app's own process: each method is one forward, with its documentation.

use std::sync::Arc;

use backstop_core as core;
use tokio::sync::watch;

use crate::error::SdkError;
use crate::types::{
    Acked, Alerts, ClientConfig, DeviceCredentials, DeviceFacts, Flushed, Grade, Handled, PresenceState, Proof, Push,
    PushToken, Seen, SelfTest, Status, Tapped,
};

/// Ends calls before their budget does. One handle may serve several calls; it cannot be taken back.
#[derive(uniffi::Object)]
pub struct Cancel {
    cancelled: watch::Sender<bool>,
}

#[uniffi::export]
impl Cancel {
    /// A handle that has cancelled nothing.
    #[uniffi::constructor]
    pub fn new() -> Result<Arc<Self>, SdkError> {
        Ok(Arc::new(Cancel { cancelled: watch::Sender::new(false) }))
    }

    /// Ends every call that was given this handle, and every later one as soon as it would wait.
    pub fn cancel(&self) -> Result<(), SdkError> {
        self.cancelled.send_replace(true);
        Ok(())
    }
}

/// Runs the call until the caller cancels. A dropped call loses nothing: what it recorded is durable.
pub(crate) async fn unless_cancelled<T>(
    cancel: Option<Arc<Cancel>>,
    call: impl Future<Output = Result<T, core::Error>>,
) -> Result<T, SdkError> {
    let Some(cancel) = cancel else { return Ok(call.await?) };
    let mut cancelled = cancel.cancelled.subscribe();
    tokio::select! {
        biased;
        // The call first: what it records in its first step is recorded even for a caller that has cancelled already.
        result = call => Ok(result?),
        // The sender lives as long as `cancel`: the wait ends only by cancelling.
        _ = cancelled.wait_for(|cancelled| *cancelled) => Err(SdkError::cancelled()),
    }
}

/// The device side of Backstop. Calls may run at once, from any thread.
///
/// Every call that takes `budget_ms` returns about then at the latest, whatever the network does. What it could not
/// finish is kept and goes with a later call.
#[derive(uniffi::Object)]
pub struct Client {
    core: core::PushClient,
}

impl Client {
    /// A client around one of the core's, for other networks and clocks.
    pub fn around(core: core::PushClient) -> Arc<Self> {
        Arc::new(Client { core })
    }
}

#[uniffi::export(async_runtime = "tokio")]
impl Client {
    /// Opens the SDK's storage and makes no request. A damaged storage is set aside: see `Status::storage`.
    #[uniffi::constructor]
    pub fn open(config: ClientConfig) -> Result<Arc<Self>, SdkError> {
        Ok(Self::around(core::PushClient::open(config.into())?))
    }

    /// A customer logged in. Stored, then sent with the registration.
    pub async fn identify(
        &self,
        customer_id: String,
        proof: Proof,
        budget_ms: u64,
        cancel: Option<Arc<Cancel>>,
    ) -> Result<Flushed, SdkError> {
        let call = self.core.identify(&customer_id, proof.into(), budget_ms);
        Ok(unless_cancelled(cancel, call).await?.into())
    }

    /// The customer logged out: their pushes must not reach this device any more. Acks stay valid.
    pub async fn log_out(&self, budget_ms: u64, cancel: Option<Arc<Cancel>>) -> Result<Flushed, SdkError> {
        Ok(unless_cancelled(cancel, self.core.log_out(budget_ms)).await?.into())
    }

    /// The system gave a push token. Stored before it is sent; the same one again costs nothing.
    pub async fn set_token(
        &self,
        token: PushToken,
        alerts: Alerts,
        budget_ms: u64,
        cancel: Option<Arc<Cancel>>,
    ) -> Result<Flushed, SdkError> {
        let call = self.core.set_token(token.into(), alerts.into(), budget_ms);
        Ok(unless_cancelled(cancel, call).await?.into())
    }

    /// The customer changed whether notifications are shown.
    pub async fn set_alerts(
        &self,
        alerts: Alerts,
        budget_ms: u64,
        cancel: Option<Arc<Cancel>>,
    ) -> Result<Flushed, SdkError> {
        Ok(unless_cancelled(cancel, self.core.set_alerts(alerts.into(), budget_ms)).await?.into())
    }

    /// A push arrived: records its ack, then sends it. `None` = not ours.
    ///
    /// `payload` is the JSON of an FCM data map or of APNs `userInfo`. On an error, `parse_push` still tells what to
    /// show.
    pub async fn handle_push(
        &self,
        payload: String,
        seen: Seen,
        budget_ms: u64,
        cancel: Option<Arc<Cancel>>,
    ) -> Result<Option<Handled>, SdkError> {
        let call = self.core.handle_push_seen(&payload, seen.into(), budget_ms);
        Ok(Handled::of(unless_cancelled(cancel, call).await?))
    }

    /// The customer tapped a push, also the one that started the app: acknowledges it as `opened` and hands out its
    /// link once, if its scheme is among `schemes` (`["https", "acme"]`). `None` = not ours.
    pub async fn handle_tap(
        &self,
        payload: String,
        schemes: Vec<String>,
        budget_ms: u64,
        cancel: Option<Arc<Cancel>>,
    ) -> Result<Option<Tapped>, SdkError> {
        let Some(push) = core::parse_push(&payload) else { return Ok(None) };
        let schemes: Vec<&str> = schemes.iter().map(String::as_str).collect();
        let tapped = unless_cancelled(cancel, self.core.handle_tap(&payload, &schemes, budget_ms)).await?;
        Ok(tapped.map(|tapped| Tapped { push: push.into(), link: tapped.link, ack: tapped.ack.ok().map(Into::into) }))
    }

    /// Acknowledges by receipt: a better grade for a push that was handled before.
    pub async fn acknowledge(
        &self,
        receipt: String,
        grade: Grade,
        why: Option<String>,
        budget_ms: u64,
        cancel: Option<Arc<Cancel>>,
    ) -> Result<Acked, SdkError> {
        let call = self.core.acknowledge(&receipt, grade.into(), why.as_deref(), budget_ms);
        Ok(unless_cancelled(cancel, call).await?.into())
    }

    /// Tells the server whether the customer is looking. Best effort: never stored, never repeated.
    pub async fn presence(
        &self,
        state: PresenceState,
        idle_ms: Option<i64>,
        budget_ms: u64,
        cancel: Option<Arc<Cancel>>,
    ) -> Result<(), SdkError> {
        unless_cancelled(cancel, self.core.presence(state.into(), idle_ms, budget_ms)).await
    }

    /// Sends what waits, and takes over what the notification extension recorded. Call it at start, when the app comes
    /// to the front, when the network returns, and at the time that the answer names.
    pub async fn flush(&self, budget_ms: u64, cancel: Option<Arc<Cancel>>) -> Result<Flushed, SdkError> {
        Ok(unless_cancelled(cancel, self.core.flush(budget_ms)).await?.into())
    }

    /// Switches the SDK off or on. Off: the server is asked to forget the device, everything on the device is deleted,
    /// and nothing is kept or sent until it is switched on again; the choice survives restarts.
    pub async fn set_enabled(
        &self,
        enabled: bool,
        budget_ms: u64,
        cancel: Option<Arc<Cancel>>,
    ) -> Result<(), SdkError> {
        unless_cancelled(cancel, self.core.set_enabled(enabled, budget_ms)).await
    }

    /// Asks the server for a real push to this device, waits for it, and says in words what is missing.
    pub async fn self_test(
        &self,
        facts: DeviceFacts,
        budget_ms: u64,
        cancel: Option<Arc<Cancel>>,
    ) -> Result<SelfTest, SdkError> {
        let facts = facts.into();
        let call = async { Ok(self.core.self_test(&facts, budget_ms).await) };
        Ok(unless_cancelled(cancel, call).await?.into())
    }

    /// What is known, without secrets.
    pub fn status(&self) -> Result<Status, SdkError> {
        Ok(self.core.status().into())
    }

    /// The device's id and key, for the keychain that a notification extension shares. A secret: never log it.
    pub fn credentials(&self) -> Result<Option<DeviceCredentials>, SdkError> {
        Ok(self.core.device().map(Into::into))
    }
}

/// Is this push ours, and what does it say? Takes the JSON of an FCM data map or of APNs `userInfo`; touches nothing.
#[uniffi::export]
pub fn parse_push(payload: String) -> Result<Option<Push>, SdkError> {
    Ok(core::parse_push(&payload).map(Into::into))
}

/// The version of the SDK.
#[uniffi::export]
pub fn sdk_version() -> Result<String, SdkError> {
    Ok(env!("CARGO_PKG_VERSION").to_owned())
}
