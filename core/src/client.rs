//! The SDK as a host app sees it: durable first, then sent within the caller's time budget.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use backstop_wire::time::from_rfc3339;
use backstop_wire::{
    AckOutcome, Alerts, DeviceRegistered, Grade, PresenceReport, PresenceState, Push, TestOutcome, TestPushed,
};

use crate::clock::{self, Clock, Deadline, SystemClock};
use crate::config::{Config, Proof, PushToken, check_text};
use crate::error::{Error, TransportError};
use crate::exchange::{self, Answered};
use crate::http::HttpTransport;
use crate::machine::{Customer, Event, Registration};
use crate::off::{self, Leaving};
use crate::push::{allowed_link, check_ack, detail_word, is_test, parse_push, through_extension};
use crate::self_test::{self, Arrival, DeviceFacts, SelfTest, Trial};
use crate::shell::{Goal, REQUEST_TIMEOUT_MS, Shell, Step};
use crate::spool::Spool;
use crate::store::{NewAck, Storage};
use crate::transport::{Method, Request, Transport};

/// The device side of Backstop. Cheap to clone; every clone is the same client, and calls may run at once.
///
/// Every call that takes a `budget_ms` returns about then at the latest, whatever the network does; the disk takes the
/// time it takes. What a call could not finish is kept and goes with a later call; dropping a call's future loses
/// nothing either. Calls need a tokio runtime with its timer enabled.
#[derive(Clone)]
pub struct PushClient {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    mode: Mutex<Mode>,
    /// Never locked for longer than a look or a write; after `mode` where both are.
    leaving: Mutex<Leaving>,
}

/// Whether the SDK is switched on.
enum Mode {
    On(Arc<Shell>),
    Off,
}

/// What the app did with a push that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// `displayed` or `suppressed`, as the alerts that were reported last say.
    ByAlerts,
    /// It is shown.
    Displayed,
    /// It arrived; whether it is shown is decided later.
    Received,
    /// It cannot be seen.
    Suppressed {
        /// Why, in one short word of lower-case letters, digits and `_`: `channel_off`.
        why: String,
    },
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
    /// What became of the `opened` acknowledgement. A failure of it does not keep the customer from the chat.
    pub ack: Result<Acked, Error>,
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

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Transport(error) => error.fmt(f),
            Failure::Status { status, code: Some(code) } => write!(f, "the server answered {status} {code}"),
            Failure::Status { status, code: None } => write!(f, "something answered {status}, not the server itself"),
        }
    }
}

/// What is known of this installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether the SDK is switched on. Off, nothing else is known.
    pub enabled: bool,
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
        let mut leaving = Leaving::load(&config);
        let mode = if off::is_off(&config)? {
            // What a switch that was cut short left behind goes now.
            off::sweep(&config);
            Mode::Off
        } else {
            let shell = open_shell(&config, &transport, &clock)?;
            if let Some(device) = &shell.lock().facts.device {
                // A switch that was cut short before it began.
                if let Err(error) = leaving.remove(&device.device_id, &config) {
                    tracing::warn!(%error, "a switch that was cut short could not be taken back on disk");
                }
            }
            Mode::On(shell)
        };
        let (mode, leaving) = (Mutex::new(mode), Mutex::new(leaving));
        Ok(PushClient { inner: Arc::new(Inner { config, transport, clock, mode, leaving }) })
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
    /// `detail` says why in one short word (`channel_off`); what is no such word is left out.
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
        check_ack(receipt, grade)?;
        let shell = self.on()?;
        let ack =
            NewAck { receipt: receipt.to_owned(), grade, detail: detail_word(detail), recorded_at_ms: shell.wall_ms() };
        let (waiter, step) = match shell.record(&ack) {
            Ok(recorded) => recorded,
            Err(Error::Disabled) => return Err(Error::Disabled),
            Err(error) => return shell.upload_unstored(&ack, &deadline).await.ok_or(error).map(Acked::Confirmed),
        };
        self.drive(&shell, step, &deadline, Goal::Ack(waiter.id())).await;
        match waiter.outcome() {
            Some(outcome) => Ok(Acked::Confirmed(outcome)),
            None if shell.is_closed() => Err(Error::Disabled),
            None => Ok(Acked::Stored),
        }
    }

    /// A push arrived: reads it, acknowledges it as `displayed` when alerts can be shown and as `suppressed` when
    /// not, and returns what to show. On an error [`PushClient::parse_push`] still tells what to show.
    pub async fn handle_push(&self, payload: &str, budget_ms: u64) -> Result<Handled, Error> {
        self.handle_push_seen(payload, Seen::ByAlerts, budget_ms).await
    }

    /// As [`PushClient::handle_push`], by an app that knows whether the push is seen.
    pub async fn handle_push_seen(&self, payload: &str, seen: Seen, budget_ms: u64) -> Result<Handled, Error> {
        let Some(push) = parse_push(payload) else { return Ok(Handled::NotOurs) };
        let shell = self.on()?;
        let (grade, detail) = match (&seen, shell.lock().facts.alerts) {
            (Seen::Displayed, _) | (Seen::ByAlerts, Alerts::Allowed | Alerts::Quiet) => (Grade::Displayed, None),
            (Seen::Received, _) => (Grade::Received, None),
            (Seen::Suppressed { why }, _) => (Grade::Suppressed, Some(why.as_str())),
            (Seen::ByAlerts, Alerts::Denied) => (Grade::Suppressed, Some("alerts_denied")),
            (Seen::ByAlerts, Alerts::NotAsked | Alerts::Unknown) => (Grade::Suppressed, Some("alerts_not_asked")),
        };
        if is_test(&push) {
            shell.test_arrived(through_extension(payload));
        }
        let ack = self.acknowledge(&push.receipt, grade, detail, budget_ms).await;
        if is_test(&push) {
            shell.test_acknowledged(ack.as_ref().ok().copied());
        }
        Ok(Handled::Ours { push, ack: ack? })
    }

    /// The customer tapped a push (also the one that started the app): acknowledges it as `opened` and hands out its
    /// link once, if its scheme is among `schemes` (`["https", "acme"]`). `None` = not ours. Nothing that goes wrong
    /// with the acknowledgement keeps the customer from the chat.
    pub async fn handle_tap(&self, payload: &str, schemes: &[&str], budget_ms: u64) -> Result<Option<Tapped>, Error> {
        let Some(push) = parse_push(payload) else { return Ok(None) };
        let ack = self.acknowledge(&push.receipt, Grade::Opened, None, budget_ms).await;
        // Right before it is handed out: a tap that was given up while it waited has not used up the link. One that
        // cannot be remembered is a first one.
        let first = self.on().and_then(|shell| shell.lock().store.first_tap(&push.receipt)).unwrap_or(true);
        let link = if first { allowed_link(&push, schemes) } else { None };
        Ok(Some(Tapped { link, ack }))
    }

    /// Tells the server whether the customer is looking. Best effort: never stored, never repeated.
    pub async fn presence(&self, state: PresenceState, idle_ms: Option<i64>, budget_ms: u64) -> Result<(), Error> {
        let deadline = Deadline::after(budget_ms);
        let shell = self.on()?;
        let device = self.device().ok_or(Error::NotRegistered)?;
        let report = PresenceReport { source_id: device.device_id.clone(), state, idle_ms, customer_id: None };
        let request = Request {
            method: Method::Post,
            path: "/v1/presence".to_owned(),
            authorization: Some(exchange::authorization(&device)),
            body: exchange::json(&report),
        };
        let response = shell.send(request, &deadline).await?;
        match exchange::read_answer(&response) {
            Answered { done: true, .. } => Ok(()),
            Answered { code, .. } => Err(Error::Refused { status: response.status, code: code.unwrap_or_default() }),
        }
    }

    /// Sends what waits: acks first, then the registration. Says when to come back; call it then, when the app comes
    /// to the front, and when the network returns.
    pub async fn flush(&self, budget_ms: u64) -> Result<Flushed, Error> {
        let deadline = Deadline::after(budget_ms);
        let Ok(shell) = self.on() else {
            off::sweep(&self.inner.config);
            self.forget(&deadline).await;
            return Ok(self.flushed_off());
        };
        let before = shell.lock().uploaded;
        let step = shell.flush();
        self.drive(&shell, step, &deadline, Goal::Idle).await;
        self.forget(&deadline).await;
        Ok(flushed(&shell, before))
    }

    /// Takes over what another process of the app recorded; each event once. Returns how many.
    pub fn ingest(&self, spool: &Spool) -> Result<usize, Error> {
        self.on()?.ingest(spool)
    }

    /// Switches the SDK off or on; the choice survives restarts.
    ///
    /// Off: everything on the device is deleted, acks on their way with it, and the server is asked to forget the
    /// device, now or at a later `flush`. Until it is switched on again nothing is kept or sent, and calls that would
    /// fail with [`Error::Disabled`]; those under way end. On again, the app gives token and customer anew.
    pub async fn set_enabled(&self, enabled: bool, budget_ms: u64) -> Result<(), Error> {
        let deadline = Deadline::after(budget_ms);
        if enabled {
            let Inner { config, transport, clock, .. } = &*self.inner;
            let mut mode = self.mode();
            if let Mode::Off = *mode {
                off::sweep(config);
                // The storage first: a device that cannot open it stays off.
                let shell = open_shell(config, transport, clock)?;
                off::switch_on(config)?;
                *mode = Mode::On(shell);
            }
            return Ok(());
        }
        let switched = self.switch_off();
        if let Ok(Some(shell)) = &switched {
            // A registration under way may still name a device: the answer is waited for, to have it forgotten.
            shell.quiet(&deadline).await;
            self.leave(shell);
        }
        self.forget(&deadline).await;
        switched.map(drop)
    }

    /// Closes what is open, and deletes it. On an error the SDK is off in this process, and may be on in the next.
    fn switch_off(&self) -> Result<Option<Arc<Shell>>, Error> {
        let config = &self.inner.config;
        let mut mode = self.mode();
        let Mode::On(shell) = &*mode else {
            off::sweep(config);
            return off::switch_off(config).map(|()| None);
        };
        let shell = Arc::clone(shell);
        let device = shell.lock().facts.device.clone();
        let noted = device.map_or(Ok(()), |device| self.leaving().add(device, config));
        let marked = off::switch_off(config);
        shell.close();
        *mode = Mode::Off;
        off::sweep(config);
        // A full disk has room once the data is gone.
        if noted.is_err() {
            self.leaving().save(config)?;
        }
        if marked.is_err() {
            off::switch_off(config)?;
        }
        Ok(Some(shell))
    }

    /// Takes note of a device that a closed client was given after all.
    fn leave(&self, shell: &Shell) {
        let Some(device) = shell.left_device() else { return };
        if let Err(error) = self.leaving().add(device, &self.inner.config) {
            tracing::warn!(%error, "a device to be forgotten by the server could not be noted");
        }
    }

    /// Asks the server for a real push to this device, waits for it, and says in words what is missing. Half a minute
    /// is a good budget.
    pub async fn self_test(&self, facts: &DeviceFacts, budget_ms: u64) -> SelfTest {
        let deadline = Deadline::after(budget_ms);
        let Ok(shell) = self.on() else {
            return self_test::judge(facts, &self.status(), None, &Trial::NotTried, 0);
        };
        // What fails here shows in the status. The server judges by the alerts that it was told last.
        let _ = match facts.alerts_to_tell() {
            Some(alerts) => self.set_alerts(alerts, budget_ms / 2).await,
            None => self.flush(budget_ms / 2).await,
        };
        let mut trial = self.try_push(&shell, &deadline).await;
        if matches!(trial, Trial::Refused { status: 401, .. }) {
            // The server does not know this device any more: it registers anew.
            let _ = self.register_again(deadline.remaining_ms() / 2).await;
            trial = self.try_push(&shell, &deadline).await;
        }
        let status = self.status();
        if let Trial::Pushed { answer: TestPushed { outcome: TestOutcome::TokenGone, .. }, .. } = trial {
            // The server dropped the token: the same one given again must reach it again.
            let _ = self.register_again(0).await;
        }
        let environment = shell.lock().facts.token.as_ref().and_then(|token| token.environment);
        self_test::judge(facts, &status, environment, &trial, shell.wall_ms())
    }

    async fn try_push(&self, shell: &Shell, deadline: &Deadline) -> Trial {
        match (self.device(), self.status().registration) {
            (Some(device), RegistrationStatus::Confirmed { .. }) => try_push(shell, &device, deadline).await,
            _ => Trial::NotTried,
        }
    }

    async fn register_again(&self, budget_ms: u64) -> Result<Flushed, Error> {
        self.give(budget_ms, |facts| Some(Event::DetailsChanged { token_known: facts.token.is_some() })).await
    }

    /// The device's id and key, if the server gave them. The key is a secret; `Debug` does not print it.
    pub fn device(&self) -> Option<DeviceRegistered> {
        self.on().ok()?.lock().facts.device.clone()
    }

    /// What is known, without secrets.
    pub fn status(&self) -> Status {
        let Ok(shell) = self.on() else { return self.status_off() };
        let shared = shell.lock();
        Status {
            enabled: true,
            install_id: shared.facts.install_id.clone(),
            device_id: shared.facts.device.as_ref().map(|device| device.device_id.clone()),
            registration: registration_status(&shared.state, shared.refusal.as_deref()),
            customer: shared.state.customer,
            alerts: shared.facts.alerts,
            pending: shared.state.pending.len(),
            next_flush_in_ms: shell.next_in_ms(&shared),
            last_failure: shared.last_failure.clone(),
            storage: shared.storage,
        }
    }

    fn mode(&self) -> MutexGuard<'_, Mode> {
        // Every change is made whole before the lock is let go.
        self.inner.mode.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn on(&self) -> Result<Arc<Shell>, Error> {
        match &*self.mode() {
            Mode::On(shell) => Ok(Arc::clone(shell)),
            Mode::Off => Err(Error::Disabled),
        }
    }

    fn leaving(&self) -> MutexGuard<'_, Leaving> {
        self.inner.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what the machine asks for. A client that was switched off meanwhile leaves what it was given.
    async fn drive(&self, shell: &Arc<Shell>, step: Step, deadline: &Deadline, goal: Goal) {
        shell.drive(step, deadline, goal).await;
        if shell.is_closed() {
            self.leave(shell);
        }
    }

    /// Has the server forget devices that were switched off. What does not succeed now is tried by a later `flush`.
    async fn forget(&self, deadline: &Deadline) {
        loop {
            let next = self.leaving().next().cloned();
            let timeout_ms = deadline.remaining_ms().min(REQUEST_TIMEOUT_MS);
            let (Some(device), 1..) = (next, timeout_ms) else { return };
            let sending = self.inner.transport.send(exchange::forget(&device), timeout_ms);
            let Some(Ok(response)) = clock::timeout(timeout_ms, sending).await else { return };
            if !exchange::is_forgotten(&response) {
                return;
            }
            if let Err(error) = self.leaving().remove(&device.device_id, &self.inner.config) {
                tracing::warn!(%error, "the server forgot the device, which could not be noted; it is asked again");
            }
            if self.on().is_ok() {
                // It may have taken the token with it.
                let _ = self.register_again(0).await;
            }
        }
    }

    fn status_off(&self) -> Status {
        let flushed = self.flushed_off();
        Status {
            enabled: false,
            install_id: String::new(),
            device_id: None,
            registration: flushed.registration,
            customer: Customer::Nobody,
            alerts: Alerts::NotAsked,
            pending: 0,
            next_flush_in_ms: flushed.next_flush_in_ms,
            last_failure: None,
            storage: Storage::Off,
        }
    }

    fn flushed_off(&self) -> Flushed {
        let forgetting = self.leaving().next().is_some();
        Flushed {
            uploaded: 0,
            pending: 0,
            registration: RegistrationStatus::NoToken,
            next_flush_in_ms: forgetting.then_some(off::RETRY_MS),
            last_failure: None,
        }
    }

    async fn give(
        &self,
        budget_ms: u64,
        change: impl FnOnce(&mut crate::store::Facts) -> Option<Event>,
    ) -> Result<Flushed, Error> {
        let deadline = Deadline::after(budget_ms);
        let shell = self.on()?;
        let before = shell.lock().uploaded;
        let step = shell.give(change)?;
        self.drive(&shell, step, &deadline, Goal::Idle).await;
        Ok(flushed(&shell, before))
    }
}

fn open_shell(config: &Config, transport: &Arc<dyn Transport>, clock: &Arc<dyn Clock>) -> Result<Arc<Shell>, Error> {
    let shell = Arc::new(Shell::open(config.clone(), Arc::clone(transport), Arc::clone(clock))?);
    if let Some(spool) = off::spool(config) {
        shell.watch_spool(spool);
    }
    Ok(shell)
}

fn flushed(shell: &Shell, uploaded_before: u64) -> Flushed {
    let shared = shell.lock();
    Flushed {
        uploaded: shared.uploaded - uploaded_before,
        pending: shared.state.pending.len(),
        registration: registration_status(&shared.state, shared.refusal.as_deref()),
        next_flush_in_ms: shell.next_in_ms(&shared),
        last_failure: shared.last_failure.clone(),
    }
}

/// Has a push sent to this device and waits for it.
async fn try_push(shell: &Shell, device: &DeviceRegistered, deadline: &Deadline) -> Trial {
    let mut trials = shell.watch_tests();
    let response = match shell.send(exchange::test_push(device), deadline).await {
        Ok(response) => response,
        Err(error) => return Trial::Unreachable(error),
    };
    let read = exchange::read_answer(&response);
    let answer = match serde_json::from_slice::<TestPushed>(&response.body) {
        Ok(answer) if read.done => answer,
        _ => return Trial::Refused { status: response.status, code: read.code.unwrap_or_default() },
    };
    let skew_ms = from_rfc3339(&answer.at).map(|at_ms| shell.wall_ms().saturating_sub(at_ms));
    if matches!(answer.outcome, TestOutcome::Accepted | TestOutcome::Unknown) {
        let acknowledged = trials.wait_for(|arrival| arrival.is_some_and(|arrival| arrival.ack.is_some()));
        // Too late: what came so far is what there is to say.
        let _ = clock::timeout(deadline.remaining_ms(), acknowledged).await;
    }
    let arrival: Option<Arrival> = *trials.borrow();
    let on_ios = answer.provider == backstop_wire::PushProvider::Apns;
    let arrival = arrival.map(|arrival| Arrival { by_extension: arrival.by_extension.filter(|_| on_ios), ..arrival });
    Trial::Pushed { answer, skew_ms, arrival }
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
