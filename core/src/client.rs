//! The SDK as a host app sees it: durable first, then sent within the caller's time budget.

use std::sync::Arc;

use backstop_wire::{AckOutcome, Alerts, DeviceRegistered, Grade, PresenceReport, PresenceState, Push};

use crate::clock::{Clock, Deadline, SystemClock};
use crate::config::{Config, Home, Proof, PushToken, check_text};
use crate::error::{Error, TransportError};
use crate::exchange::{self, Answered};
use crate::http::HttpTransport;
use crate::machine::{Customer, Event, Registration};
use crate::push::{allowed_link, check_ack, parse_push};
use crate::shell::{Goal, Shell};
use crate::spool::Spool;
use crate::store::{NewAck, Storage};
use crate::transport::{Method, Request, Transport};

/// The device side of Backstop. Cheap to clone; every clone is the same client, and calls may run at once.
///
/// Every call that takes a `budget_ms` returns about then at the latest, whatever the network does. What it could not
/// finish is kept and goes with a later call; dropping a call's future loses nothing either. Calls need a tokio
/// runtime with its timer enabled.
#[derive(Clone)]
pub struct PushClient {
    shell: Arc<Shell>,
}

/// What became of an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acked {
    /// The server answered.
    Confirmed(AckOutcome),
    /// It is on the device and will be uploaded by a later [`PushClient::flush`].
    Stored,
}

/// What became of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "made once a push and taken apart at once; a box would only be in the way"
)]
pub enum Handled {
    /// It is not Backstop's; the host app handles it.
    NotOurs,
    /// It is acknowledged; the host app shows it.
    Ours {
        /// What to show.
        push: Push,
        /// What became of its acknowledgement.
        ack: Acked,
    },
}

/// What a tap leads to.
#[derive(Clone, PartialEq, Eq)]
pub struct Tapped {
    /// The link, handed out once per push and only if its scheme is allowed.
    pub link: Option<String>,
    /// What became of the `opened` acknowledgement.
    pub ack: Acked,
}

/// What a call got done, and when to come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flushed {
    /// Acks that the server answered since the call began.
    pub uploaded: u64,
    /// Acks that still wait.
    pub pending: usize,
    /// Where the registration stands.
    pub registration: RegistrationStatus,
    /// When to call `flush` next; `None` = only when something new happens. Schedule it with the system.
    pub next_flush_in_ms: Option<u64>,
    /// Why the last request got no final answer, if so.
    pub last_failure: Option<Failure>,
}

/// Where the registration stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistrationStatus {
    /// The app has given no push token.
    NoToken,
    /// What the app gave last, or a log-out, has not reached the server.
    Pending,
    /// The server knows what the app gave last.
    Confirmed {
        /// When it said so, by the device's clock.
        at_ms: i64,
    },
    /// The server refuses what the app gave; `identity_required` asks for `identify` with a fresh proof.
    Refused {
        /// The problem's code.
        code: String,
    },
}

/// Why a request got no final answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It did not get through.
    Transport(TransportError),
    /// The server said so.
    Status {
        /// The HTTP status.
        status: u16,
        /// The problem's code, if the answer was the server's own.
        code: Option<String>,
    },
}

/// What is known of this installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Made once by the SDK.
    pub install_id: String,
    /// Given by the server.
    pub device_id: Option<String>,
    /// Where the registration stands.
    pub registration: RegistrationStatus,
    /// Who is logged in, as far as the server knows.
    pub customer: Customer,
    /// Whether notifications can be seen, as the app said last.
    pub alerts: Alerts,
    /// Acks that still wait.
    pub pending: usize,
    /// When to call `flush` next.
    pub next_flush_in_ms: Option<u64>,
    /// Why the last request got no final answer, if so.
    pub last_failure: Option<Failure>,
    /// How the storage was found.
    pub storage: Storage,
}

impl PushClient {
    /// Opens the client with the real network and the device's clocks. Makes no request.
    pub fn open(config: Config) -> Result<PushClient, Error> {
        let transport = Arc::new(HttpTransport::new(&config)?);
        Self::open_with(config, transport, Arc::new(SystemClock))
    }

    /// Opens the client with another network or clock.
    pub fn open_with(
        config: Config,
        transport: Arc<dyn Transport>,
        clock: Arc<dyn Clock>,
    ) -> Result<PushClient, Error> {
        config.check()?;
        let spool = match &config.home {
            Home::Memory => None,
            Home::Directory(directory) => Some(Spool::new(directory.join("spool"))),
        };
        let shell = Arc::new(Shell::open(config, transport, clock)?);
        if let Some(spool) = spool {
            shell.watch_spool(spool);
        }
        Ok(PushClient { shell })
    }

    /// A customer logged in. Stored, then sent with the registration.
    pub async fn identify(&self, customer_id: &str, proof: Proof, budget_ms: u64) -> Result<Flushed, Error> {
        check_text("customer_id", customer_id, 128)?;
        proof.check()?;
        let customer = (customer_id.to_owned(), proof);
        self.give(budget_ms, |facts| {
            let same_id = facts.customer.as_ref().is_some_and(|(id, _)| *id == customer.0);
            let same = facts.customer.as_ref() == Some(&customer);
            let event = match facts.customer_state {
                Customer::Claimed | Customer::Bound | Customer::BoundByKey | Customer::Replacing if same => None,
                // The binding stands; the new proof is kept for when it has to be proven again.
                Customer::Bound if same_id => Some(Event::Flush),
                Customer::Claimed | Customer::BoundByKey | Customer::Replacing if same_id => Some(Event::ProofRenewed),
                _ => Some(Event::LoggedIn),
            };
            facts.customer = Some(customer);
            event
        })
        .await
    }

    /// The customer logged out: pushes of theirs must not reach this device any more. Acks stay valid.
    pub async fn log_out(&self, budget_ms: u64) -> Result<Flushed, Error> {
        self.give(budget_ms, |facts| match facts.customer_state {
            Customer::Nobody | Customer::LoggedOut => None,
            _ => Some(Event::LoggedOut),
        })
        .await
    }

    /// The system gave a push token. Stored before it is sent; the same one again costs nothing.
    pub async fn set_token(&self, token: PushToken, alerts: Alerts, budget_ms: u64) -> Result<Flushed, Error> {
        token.check()?;
        check_alerts(alerts)?;
        self.give(budget_ms, |facts| {
            let changed = facts.token.as_ref() != Some(&token) || facts.alerts != alerts;
            (facts.token, facts.alerts) = (Some(token), alerts);
            changed.then_some(Event::DetailsChanged { token_known: true })
        })
        .await
    }

    /// The customer changed whether notifications are shown.
    pub async fn set_alerts(&self, alerts: Alerts, budget_ms: u64) -> Result<Flushed, Error> {
        check_alerts(alerts)?;
        self.give(budget_ms, |facts| {
            let changed = facts.alerts != alerts;
            facts.alerts = alerts;
            changed.then_some(Event::DetailsChanged { token_known: facts.token.is_some() })
        })
        .await
    }

    /// Is this push ours, and what does it say? Takes the JSON of the reserved key, a whole FCM data map, or APNs
    /// `userInfo`. See [`parse_push`].
    pub fn parse_push(payload: &str) -> Option<Push> {
        parse_push(payload)
    }

    /// Acknowledges a push. The ack is durable before anything is sent: once this has returned `Ok`, or was dropped
    /// after its first poll, nothing but the server's answer takes it away.
    ///
    /// When the device's disk is full the ack is uploaded without having been stored; only if that fails too is the
    /// error returned.
    pub async fn acknowledge(
        &self,
        receipt: &str,
        grade: Grade,
        detail: Option<&str>,
        budget_ms: u64,
    ) -> Result<Acked, Error> {
        let deadline = Deadline::after(budget_ms);
        check_ack(receipt, grade, detail)?;
        let ack = NewAck {
            receipt: receipt.to_owned(),
            grade,
            detail: detail.map(str::to_owned),
            recorded_at_ms: self.shell.wall_ms(),
        };
        let (waiter, step) = match self.shell.record(&ack) {
            Ok(recorded) => recorded,
            Err(error) => return self.shell.upload_unstored(&ack, &deadline).await.ok_or(error).map(Acked::Confirmed),
        };
        self.shell.drive(step, &deadline, Goal::Ack(waiter.id())).await;
        Ok(waiter.outcome().map_or(Acked::Stored, Acked::Confirmed))
    }

    /// A push arrived: reads it, acknowledges it as `displayed` when alerts can be shown and as `suppressed` when
    /// not, and returns what to show. On an error [`PushClient::parse_push`] still tells what to show.
    pub async fn handle_push(&self, payload: &str, budget_ms: u64) -> Result<Handled, Error> {
        let Some(push) = parse_push(payload) else { return Ok(Handled::NotOurs) };
        let (grade, detail) = match self.shell.lock().facts.alerts {
            Alerts::Allowed | Alerts::Quiet => (Grade::Displayed, None),
            Alerts::Denied => (Grade::Suppressed, Some("alerts_denied")),
            Alerts::NotAsked | Alerts::Unknown => (Grade::Suppressed, Some("alerts_not_asked")),
        };
        let ack = self.acknowledge(&push.receipt, grade, detail, budget_ms).await?;
        Ok(Handled::Ours { push, ack })
    }

    /// The customer tapped a push (also the one that started the app): acknowledges it as `opened` and hands out its
    /// link once, if its scheme is among `schemes` (`["https", "acme"]`). `None` = not ours.
    pub async fn handle_tap(&self, payload: &str, schemes: &[&str], budget_ms: u64) -> Result<Option<Tapped>, Error> {
        let Some(push) = parse_push(payload) else { return Ok(None) };
        let ack = self.acknowledge(&push.receipt, Grade::Opened, None, budget_ms).await?;
        // Right before it is handed out: a tap that failed, or was given up while it waited, has not used up the link.
        // A disk that cannot remember the tap must not keep the customer from the chat.
        let first = self.shell.lock().store.first_tap(&push.receipt).unwrap_or(true);
        let link = if first { allowed_link(&push, schemes) } else { None };
        Ok(Some(Tapped { link, ack }))
    }

    /// Tells the server whether the customer is looking. Best effort: never stored, never repeated.
    pub async fn presence(&self, state: PresenceState, idle_ms: Option<i64>, budget_ms: u64) -> Result<(), Error> {
        let deadline = Deadline::after(budget_ms);
        let device = self.device().ok_or(Error::NotRegistered)?;
        let report = PresenceReport { source_id: device.device_id.clone(), state, idle_ms, customer_id: None };
        let request = Request {
            method: Method::Post,
            path: "/v1/presence".to_owned(),
            authorization: Some(exchange::authorization(&device)),
            body: exchange::json(&report),
        };
        let response = self.shell.send(request, &deadline).await?;
        match exchange::read_answer(&response) {
            Answered { done: true, .. } => Ok(()),
            Answered { code, .. } => Err(Error::Refused { status: response.status, code: code.unwrap_or_default() }),
        }
    }

    /// Sends what waits: acks first, then the registration. Says when to come back; call it then, when the app comes
    /// to the front, and when the network returns.
    pub async fn flush(&self, budget_ms: u64) -> Result<Flushed, Error> {
        let deadline = Deadline::after(budget_ms);
        let before = self.shell.lock().uploaded;
        let step = self.shell.flush();
        self.shell.drive(step, &deadline, Goal::Idle).await;
        Ok(self.flushed(before))
    }

    /// Takes over what another process of the app recorded; each event once. Returns how many.
    pub fn ingest(&self, spool: &Spool) -> Result<usize, Error> {
        self.shell.ingest(spool)
    }

    /// The device's id and key, if the server gave them. The key is a secret; `Debug` does not print it.
    pub fn device(&self) -> Option<DeviceRegistered> {
        self.shell.lock().facts.device.clone()
    }

    /// What is known, without secrets.
    pub fn status(&self) -> Status {
        let shared = self.shell.lock();
        Status {
            install_id: shared.facts.install_id.clone(),
            device_id: shared.facts.device.as_ref().map(|device| device.device_id.clone()),
            registration: registration_status(&shared.state, shared.refusal.as_deref()),
            customer: shared.state.customer,
            alerts: shared.facts.alerts,
            pending: shared.state.pending.len(),
            next_flush_in_ms: self.shell.next_in_ms(&shared),
            last_failure: shared.last_failure.clone(),
            storage: shared.storage,
        }
    }

    async fn give(
        &self,
        budget_ms: u64,
        change: impl FnOnce(&mut crate::store::Facts) -> Option<Event>,
    ) -> Result<Flushed, Error> {
        let deadline = Deadline::after(budget_ms);
        let before = self.shell.lock().uploaded;
        let step = self.shell.give(change)?;
        self.shell.drive(step, &deadline, Goal::Idle).await;
        Ok(self.flushed(before))
    }

    fn flushed(&self, uploaded_before: u64) -> Flushed {
        let shared = self.shell.lock();
        Flushed {
            uploaded: shared.uploaded - uploaded_before,
            pending: shared.state.pending.len(),
            registration: registration_status(&shared.state, shared.refusal.as_deref()),
            next_flush_in_ms: self.shell.next_in_ms(&shared),
            last_failure: shared.last_failure.clone(),
        }
    }
}

impl std::fmt::Debug for PushClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PushClient").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Tapped {
    /// A link may carry a log-in.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tapped").field("ack", &self.ack).finish_non_exhaustive()
    }
}

fn registration_status(state: &crate::machine::State, refusal: Option<&str>) -> RegistrationStatus {
    let log_out_waits = matches!(state.customer, Customer::LoggedOut | Customer::Replacing);
    match state.registration {
        Registration::Refused { .. } => RegistrationStatus::Refused { code: refusal.unwrap_or_default().to_owned() },
        _ if log_out_waits => RegistrationStatus::Pending,
        Registration::NoToken => RegistrationStatus::NoToken,
        Registration::Due => RegistrationStatus::Pending,
        Registration::Confirmed { at_ms } => RegistrationStatus::Confirmed { at_ms },
    }
}

fn check_alerts(alerts: Alerts) -> Result<(), Error> {
    if alerts == Alerts::Unknown {
        return Err(Error::InvalidArgument { name: "alerts", reason: "must be a state this SDK knows" });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
