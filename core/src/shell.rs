//! Runs the machine: one lock around state and store, one request in flight, whoever calls sends for all.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use backstop_wire::{AckOutcome, AckResult, DeviceRegistered};
use tokio::sync::watch;

use crate::client::{Acked, Failure};
use crate::clock::{self, Anchor, Clock, Deadline};
use crate::config::{Config, Home};
use crate::error::{Error, TransportError};
use crate::exchange::{self, Answered};
use crate::machine::{
    AckId, Answer, Credentials, Decision, Effect, Event, Hold, InFlight, PendingAck, Policy, State, Wake, WakeReason,
    decide,
};
use crate::self_test::Arrival;
use crate::spool::Spool;
use crate::store::{Facts, NewAck, Storage, Store};
use crate::transport::{Request, Response, Transport};

/// No request waits longer, whatever the budget: a broken connection shows, and the next try gets its turn.
pub(crate) const REQUEST_TIMEOUT_MS: u64 = 15_000;

/// Everything behind a client.
pub(crate) struct Shell {
    config: Config,
    policy: Policy,
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    anchor: Anchor,
    shared: Mutex<Shared>,
    /// Moves whenever a request in flight ended.
    ended: watch::Sender<u64>,
    /// When the self-test that runs began, and the newest test push that arrived since.
    test_began_ms: AtomicI64,
    tests: watch::Sender<Option<Arrival>>,
}

/// What the lock guards.
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) facts: Facts,
    pub(crate) state: State,
    pub(crate) storage: Storage,
    /// Acks answered since the start.
    pub(crate) uploaded: u64,
    pub(crate) last_failure: Option<Failure>,
    /// Why the registration was refused.
    pub(crate) refusal: Option<String>,
    wake: Option<Wake>,
    /// The highest number of an ack that the machine knows.
    seen: AckId,
    waiting: HashMap<AckId, Waiting>,
    spool: Option<Spool>,
    /// The SDK was switched off: nothing is kept or sent any more.
    closed: bool,
}

/// Callers that wait for one ack's outcome.
#[derive(Default)]
struct Waiting {
    callers: usize,
    outcome: Option<AckOutcome>,
}

/// What to do next.
pub(crate) enum Step {
    /// Nothing by this caller.
    Nothing,
    /// Send this.
    Send(Outgoing),
    /// No request is needed to know the answer.
    Known(Answer),
}

/// Until when a caller drives the machine.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    /// Until nothing can be sent now.
    Idle,
    /// Until this ack is answered.
    Ack(AckId),
}

/// A request that this caller has to send. Dropped without an answer, it makes room for the next caller's.
pub(crate) struct Outgoing {
    shell: Arc<Shell>,
    request: Request,
    sent: Sent,
    settled: bool,
}

enum Sent {
    /// These, of which the store had all that were still needed.
    Acks(Vec<AckId>),
    Register,
    LogOut,
}

/// A caller's place among those who wait for an ack.
pub(crate) struct Waiter {
    shell: Arc<Shell>,
    id: AckId,
}

impl Shell {
    pub(crate) fn open(config: Config, transport: Arc<dyn Transport>, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let (store, facts, storage) = Store::open(&config.home)?;
        let mut shared = Shared {
            state: facts.restored(),
            store,
            facts,
            storage,
            uploaded: 0,
            last_failure: None,
            refusal: None,
            wake: None,
            seen: 0,
            waiting: HashMap::new(),
            spool: None,
            closed: false,
        };
        shared.absorb()?;
        let (policy, anchor) = (Policy::default(), Anchor::new(&*clock));
        // Nothing is sent at start, but a reader of the status wants to know when to flush.
        shared.wake = decide(shared.state.clone(), Event::Abandoned, anchor.now_ms(&*clock), 0, &policy).wake;
        let (shared, ended) = (Mutex::new(shared), watch::Sender::new(0));
        let (test_began_ms, tests) = (AtomicI64::new(0), watch::Sender::new(None));
        Ok(Shell { config, policy, transport, clock, anchor, shared, ended, test_began_ms, tests })
    }

    /// A self-test begins.
    pub(crate) fn watch_tests(&self) -> watch::Receiver<Option<Arrival>> {
        self.test_began_ms.store(self.clock.elapsed_ms(), Ordering::SeqCst);
        self.tests.send_replace(None);
        self.tests.subscribe()
    }

    /// A test push arrived. The extension's word stays, whichever process saw the push first.
    pub(crate) fn test_arrived(&self, through_extension: bool) {
        let took_ms = self.since_test_began_ms();
        self.tests.send_modify(|arrival| match arrival {
            Some(arrival) => arrival.by_extension = arrival.by_extension.map(|by| by || through_extension),
            None => *arrival = Some(Arrival { took_ms, by_extension: Some(through_extension), ack: None }),
        });
    }

    /// `None` = it could not even be kept.
    pub(crate) fn test_acknowledged(&self, ack: Option<Acked>) {
        let now_ms = self.since_test_began_ms();
        self.tests.send_modify(|arrival| {
            if let Some(arrival) = arrival {
                arrival.ack = Some((ack, now_ms.saturating_sub(arrival.took_ms)));
            }
        });
    }

    fn since_test_began_ms(&self) -> u64 {
        let began_ms = self.test_began_ms.load(Ordering::SeqCst);
        u64::try_from(self.clock.elapsed_ms().saturating_sub(began_ms)).unwrap_or(0)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(|poisoned| {
            // A panic may have taken the state along: the storage has it, as after a start.
            let mut shared = poisoned.into_inner();
            shared.recover();
            self.shared.clear_poison();
            shared
        })
    }

    /// The SDK is switched off: lets go of the storage, keeps nothing more, and sends nothing more.
    pub(crate) fn close(&self) {
        let mut shared = self.lock();
        shared.closed = true;
        shared.wake = None;
        shared.spool = None;
        match Store::open(&Home::Memory) {
            Ok((store, ..)) => shared.store = store,
            Err(error) => tracing::warn!(%error, "the storage stays open until its calls end"),
        }
        drop(shared);
        self.ended.send_modify(|n| *n = n.wrapping_add(1));
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// The device that a closed shell knows.
    pub(crate) fn left_device(&self) -> Option<DeviceRegistered> {
        self.lock().facts.device.clone()
    }

    /// Waits within the budget until no request is in flight.
    pub(crate) async fn quiet(&self, deadline: &Deadline) {
        let mut ended = self.ended.subscribe();
        while self.lock().state.in_flight != InFlight::Nothing {
            if clock::timeout(deadline.remaining_ms(), ended.changed()).await.is_none() {
                return;
            }
        }
    }

    pub(crate) fn wall_ms(&self) -> i64 {
        self.clock.wall_ms()
    }

    /// When to come back, from now.
    pub(crate) fn next_in_ms(&self, shared: &Shared) -> Option<u64> {
        let now_ms = self.anchor.now_ms(&*self.clock);
        match (&shared.state.in_flight, shared.wake) {
            // Another caller is sending; if it dies, someone has to look after what it left.
            (InFlight::Nothing, None) => None,
            (_, None) => Some(0),
            (_, Some(wake)) => Some(u64::try_from(wake.at_ms.saturating_sub(now_ms)).unwrap_or(0)),
        }
    }

    /// From now on, `flush` takes over what lies in this spool.
    pub(crate) fn watch_spool(&self, spool: Spool) {
        let mut shared = self.lock();
        self.ingest_logged(&mut shared, &spool);
        shared.spool = Some(spool);
    }

    pub(crate) fn ingest(&self, spool: &Spool) -> Result<usize, Error> {
        self.lock().ingest(spool, self.clock.wall_ms())
    }

    /// A spool that cannot be read now keeps its events; everything else goes on.
    fn ingest_logged(&self, shared: &mut Shared, spool: &Spool) {
        if let Err(error) = shared.ingest(spool, self.clock.wall_ms()) {
            tracing::warn!(%error, "the spool cannot be read");
        }
    }

    pub(crate) fn flush(self: &Arc<Self>) -> Step {
        let mut shared = self.lock();
        if let Some(spool) = shared.spool.clone() {
            self.ingest_logged(&mut shared, &spool);
        }
        if let Err(error) = shared.absorb() {
            tracing::warn!(%error, "acks of another process cannot be read");
        }
        self.apply(&mut shared, Event::Flush)
    }

    /// Makes an ack durable. From here on, only the server's answer takes it away.
    pub(crate) fn record(self: &Arc<Self>, ack: &NewAck) -> Result<(Waiter, Step), Error> {
        let mut shared = self.lock();
        if shared.closed {
            return Err(Error::Disabled);
        }
        let recorded = shared.store.insert_acks(std::slice::from_ref(ack))?;
        let recorded: PendingAck = recorded.first().copied().ok_or(Error::StorageCorrupt)?;
        // A failure to read others' rows is no failure of this one, which is committed.
        if let Err(error) = shared.absorb() {
            tracing::warn!(%error, "acks of another process cannot be read");
        }
        shared.waiting.entry(recorded.id).or_default().callers += 1;
        let step = self.apply(&mut shared, Event::Recorded(recorded));
        drop(shared);
        // After the lock is let go: it takes the lock when it is dropped, and a panic would drop it first.
        Ok((Waiter { shell: Arc::clone(self), id: recorded.id }, step))
    }

    /// Stores what the app gave, together with what follows from it, in one commit; then lets the machine go on.
    pub(crate) fn give(self: &Arc<Self>, change: impl FnOnce(&mut Facts) -> Option<Event>) -> Result<Step, Error> {
        let mut shared = self.lock();
        if shared.closed {
            return Err(Error::Disabled);
        }
        let mut facts = shared.facts.clone();
        let Some(event) = change(&mut facts) else {
            return Ok(self.apply(&mut shared, Event::Flush));
        };
        let decision = self.decide(shared.state.clone(), event);
        facts.adopt(&decision.state);
        // Not stored, nothing of it happened: the decision is dropped.
        shared.store.save(&facts)?;
        shared.facts = facts;
        shared.refusal = None;
        Ok(self.carry_out(&mut shared, decision))
    }

    /// Sends and waits until the goal is reached, nothing can be sent now, or the budget is used up.
    pub(crate) async fn drive(self: &Arc<Self>, mut step: Step, deadline: &Deadline, goal: Goal) {
        let mut ended = self.ended.subscribe();
        let mut waited_for = None;
        loop {
            step = match step {
                Step::Send(outgoing) if self.reached(goal) => return drop(outgoing),
                Step::Send(outgoing) => match self.exchange(outgoing, deadline).await {
                    Some(step) => step,
                    None => return,
                },
                Step::Known(answer) => self.answered(answer),
                Step::Nothing => {
                    // Seen before looking: what ends after the look wakes us.
                    ended.borrow_and_update();
                    let (wait_ms, until) = match self.wait(goal, deadline) {
                        // A clock that was waited for and did not move on is not the real one.
                        Some((_, until)) if until.is_some() && until == waited_for => return,
                        Some(wait) => wait,
                        None => return,
                    };
                    if wait_ms > 0 {
                        let woken = clock::timeout(wait_ms, ended.changed()).await;
                        waited_for = until.filter(|_| woken.is_none());
                    }
                    let mut shared = self.lock();
                    self.apply(&mut shared, Event::Wake)
                }
            };
        }
    }

    /// How long to wait, and for which instant: for another caller's request, or for the next try. `None` = not at
    /// all.
    fn wait(&self, goal: Goal, deadline: &Deadline) -> Option<(u64, Option<i64>)> {
        let remaining_ms = deadline.remaining_ms();
        if self.reached(goal) || remaining_ms == 0 {
            return None;
        }
        let shared = self.lock();
        if shared.state.in_flight != InFlight::Nothing {
            return Some((remaining_ms, None));
        }
        let retry = shared.wake.filter(|wake| wake.why == WakeReason::Retry)?;
        match retry.at_ms.saturating_sub(self.anchor.now_ms(&*self.clock)) {
            ..=0 => Some((0, None)),
            // One more, since two clocks round differently.
            early_ms => {
                let wait_ms = early_ms.unsigned_abs() + 1;
                (wait_ms < remaining_ms).then_some((wait_ms, Some(retry.at_ms)))
            }
        }
    }

    fn reached(&self, goal: Goal) -> bool {
        match goal {
            Goal::Idle => false,
            Goal::Ack(id) => self.lock().waiting.get(&id).is_some_and(|waiting| waiting.outcome.is_some()),
        }
    }

    /// One request outside the machine, within the budget.
    pub(crate) async fn send(&self, request: Request, deadline: &Deadline) -> Result<Response, TransportError> {
        let timeout_ms = deadline.remaining_ms().min(REQUEST_TIMEOUT_MS);
        if timeout_ms == 0 {
            return Err(TransportError::Timeout);
        }
        let sending = self.transport.send(request, timeout_ms);
        clock::timeout(timeout_ms, sending).await.unwrap_or(Err(TransportError::Timeout))
    }

    /// The last resort of a device that cannot store: the ack goes out at once or not at all.
    pub(crate) async fn upload_unstored(&self, ack: &NewAck, deadline: &Deadline) -> Option<AckOutcome> {
        let device = {
            let shared = self.lock();
            let held = matches!(shared.state.hold, Hold::Server { .. });
            let usable = shared.state.credentials == Credentials::Valid && !held;
            shared.facts.device.clone().filter(|_| usable)?
        };
        let request = exchange::acks(&device, vec![ack.to_wire()]);
        let response = self.send(request, deadline).await.ok()?;
        if !exchange::read_answer(&response).done {
            return None;
        }
        exchange::read_results(&response.body, 1)?.into_iter().next()
    }

    /// Sends the request and takes its answer; `None` = the budget is used up.
    async fn exchange(self: &Arc<Self>, mut outgoing: Outgoing, deadline: &Deadline) -> Option<Step> {
        if deadline.remaining_ms() == 0 {
            return None;
        }
        let result = self.send(outgoing.request.clone(), deadline).await;
        outgoing.settled = true;
        let mut shared = self.lock();
        let answer = shared.read(&outgoing.sent, &result);
        drop(shared);
        Some(self.answered(answer))
    }

    fn answered(self: &Arc<Self>, answer: Answer) -> Step {
        let mut shared = self.lock();
        let step = self.apply(&mut shared, Event::Answered(answer));
        drop(shared);
        self.ended.send_modify(|n| *n = n.wrapping_add(1));
        step
    }

    fn abandon(self: &Arc<Self>) {
        // An abandoned request is never followed by another at once: nothing is to be sent here.
        drop(self.apply(&mut self.lock(), Event::Abandoned));
        self.ended.send_modify(|n| *n = n.wrapping_add(1));
    }

    fn decide(&self, state: State, event: Event) -> Decision {
        let now_ms = self.anchor.now_ms(&*self.clock);
        // Without a random source the clock's lowest bits spread the retries well enough.
        let jitter = getrandom::u64().unwrap_or_else(|_| self.clock.elapsed_ms().unsigned_abs());
        decide(state, event, now_ms, jitter, &self.policy)
    }

    fn apply(self: &Arc<Self>, shared: &mut Shared, event: Event) -> Step {
        if shared.closed {
            if matches!(event, Event::Answered(_) | Event::Abandoned) {
                shared.state.in_flight = InFlight::Nothing;
            }
            return Step::Nothing;
        }
        let state = std::mem::take(&mut shared.state);
        let decision = self.decide(state, event);
        self.carry_out(shared, decision)
    }

    /// Does what was decided. A failing disk is logged and gone on from: what could not be deleted is sent again
    /// after a restart and answered as a duplicate; what could not be saved is registered again.
    fn carry_out(self: &Arc<Self>, shared: &mut Shared, decision: Decision) -> Step {
        shared.state = decision.state;
        shared.wake = decision.wake;
        let mut step = Step::Nothing;
        for effect in decision.effects {
            let stored = match effect {
                Effect::DeleteAcks { ids, .. } => shared.store.delete_acks(&ids),
                Effect::NewInstall => {
                    shared.facts.start_over();
                    Ok(())
                }
                Effect::SaveRegistration => {
                    let Shared { facts, state, store, .. } = &mut *shared;
                    facts.adopt(state);
                    store.save(facts)
                }
                request => {
                    step = self.prepare(shared, &request);
                    Ok(())
                }
            };
            if let Err(error) = stored {
                tracing::warn!(%error, "the storage could not be brought up to date");
            }
        }
        step
    }

    fn prepare(self: &Arc<Self>, shared: &Shared, request: &Effect) -> Step {
        let device = shared.facts.device.as_ref();
        let (request, sent) = match (request, device) {
            (Effect::UploadAcks { ids }, Some(device)) => match shared.store.load_acks(ids) {
                Ok(acks) if acks.is_empty() => return Step::Known(Answer::Done),
                Ok(acks) => {
                    let (ids, acks) = acks.into_iter().unzip();
                    (exchange::acks(device, acks), Sent::Acks(ids))
                }
                Err(error) => {
                    tracing::warn!(%error, "acks cannot be read from the storage");
                    return Step::Known(Answer::Failed { retry_after_ms: None });
                }
            },
            (Effect::LogOut, Some(device)) => (exchange::log_out(device), Sent::LogOut),
            (Effect::Register { prove, .. }, _) => match exchange::register(&self.config, &shared.facts, *prove) {
                Some(request) => (request, Sent::Register),
                None => return Step::Known(Answer::Failed { retry_after_ms: None }),
            },
            // No key although the machine counts on one: only registering again gives one.
            _ => return Step::Known(Answer::Unauthorized),
        };
        Step::Send(Outgoing { shell: Arc::clone(self), request, sent, settled: false })
    }
}

impl Shared {
    /// Lets the machine know of acks that were not recorded through this client.
    /// Starts over from the storage.
    fn recover(&mut self) {
        self.state = self.facts.restored();
        self.seen = 0;
        self.wake = None;
        if let Err(error) = self.absorb() {
            tracing::warn!(%error, "acks cannot be read from the storage");
        }
    }

    fn absorb(&mut self) -> Result<(), Error> {
        for ack in self.store.acks_after(self.seen)? {
            self.seen = self.seen.max(ack.id);
            self.state.pending.insert(ack.id, ack);
        }
        Ok(())
    }

    fn ingest(&mut self, spool: &Spool, now_ms: i64) -> Result<usize, Error> {
        let found = spool.read(now_ms)?;
        let count = found.acks.len();
        if count > 0 {
            self.store.insert_acks(&found.acks)?;
            self.absorb()?;
            let at_ms = self.wake.map_or(now_ms, |wake| wake.at_ms.min(now_ms));
            self.wake = Some(Wake { at_ms, why: WakeReason::Retry });
        }
        found.remove();
        Ok(count)
    }

    /// What a response means; keeps what it brought.
    fn read(&mut self, sent: &Sent, result: &Result<Response, TransportError>) -> Answer {
        let response = match result {
            Ok(response) => response,
            Err(error) => {
                self.last_failure = Some(Failure::Transport(error.clone()));
                return Answer::Failed { retry_after_ms: None };
            }
        };
        let Answered { done, answer, code } = exchange::read_answer(response);
        let understood = match sent {
            Sent::Acks(ids) if done => match exchange::read_results(&response.body, ids.len()) {
                Some(outcomes) => {
                    self.settle(ids, &outcomes);
                    true
                }
                None => false,
            },
            Sent::Acks(ids) if answer == Answer::Refused && ids.len() == 1 => {
                self.settle(ids, &[AckOutcome { result: AckResult::Refused, counted: false }]);
                true
            }
            Sent::Register if done => {
                let device = exchange::read_registered(&response.body);
                let understood = device.is_some();
                self.facts.device = device.or(self.facts.device.take());
                understood
            }
            Sent::Acks(_) | Sent::Register | Sent::LogOut => true,
        };
        if done && understood {
            self.last_failure = None;
            return Answer::Done;
        }
        if matches!(sent, Sent::Register) {
            self.refusal = code.clone();
        }
        self.last_failure = Some(Failure::Status { status: response.status, code });
        if understood { answer } else { Answer::Failed { retry_after_ms: response.retry_after_ms } }
    }

    fn settle(&mut self, ids: &[AckId], outcomes: &[AckOutcome]) {
        for (id, outcome) in ids.iter().zip(outcomes) {
            self.uploaded += 1;
            if let Some(waiting) = self.waiting.get_mut(id) {
                waiting.outcome = Some(*outcome);
            }
        }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if !self.settled {
            self.shell.abandon();
        }
    }
}

impl Waiter {
    pub(crate) fn id(&self) -> AckId {
        self.id
    }

    pub(crate) fn outcome(&self) -> Option<AckOutcome> {
        self.shell.lock().waiting.get(&self.id).and_then(|waiting| waiting.outcome)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut shared = self.shell.lock();
        if let Some(waiting) = shared.waiting.get_mut(&self.id) {
            waiting.callers -= 1;
            if waiting.callers == 0 {
                shared.waiting.remove(&self.id);
            }
        }
    }
}
