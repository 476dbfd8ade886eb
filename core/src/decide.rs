//! The device's one decision function: (state, event, time, random bits) → (state, effects, when to wake).

use crate::backoff::delay_ms;
use crate::effect::{Effect, Settled};
use crate::event::{Answer, Event};
use crate::policy::Policy;
use crate::state::{AckId, Credentials, Customer, Hold, InFlight, PendingAck, Registration, State};
use backstop_wire::Grade;
use std::collections::BTreeSet;

/// An ack older than so many times the life of a receipt was recorded, or is judged, by a wrong clock.
const AGE_FACTOR_MAX: i64 = 4;

/// What follows from an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The new state.
    pub state: State,
    /// What to do, in this order; a request, if any, comes last.
    pub effects: Vec<Effect>,
    /// When to come back with [`Event::Wake`]; `None` while a request is in flight or nothing waits.
    pub wake: Option<Wake>,
}

/// When to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wake {
    /// Not before this instant.
    pub at_ms: i64,
    /// What for.
    pub why: WakeReason,
}

/// Why the machine wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WakeReason {
    /// Something waits to be sent, now or when the hold ends.
    Retry,
    /// The registration wants to be confirmed again (C3).
    Refresh,
}

/// Decides what follows from `event` at `now_ms`. Total: every event is legal in every state.
///
/// `now_ms` only has to be comparable with itself and roughly with the times in `state`; `jitter` are 64 random bits.
pub fn decide(state: State, event: Event, now_ms: i64, jitter: u64, policy: &Policy) -> Decision {
    let mut step = Step { state, effects: Vec::new(), now_ms, jitter, policy };
    let may_send = !matches!(event, Event::Abandoned);
    match event {
        Event::Recorded(ack) => step.recorded(ack),
        Event::DetailsChanged { token_known } => step.details_changed(token_known),
        Event::LoggedIn => step.logged_in(),
        Event::ProofRenewed => step.proof_renewed(),
        Event::LoggedOut => step.logged_out(),
        Event::Flush => {
            step.override_backoff();
            step.review();
        }
        Event::Wake => step.review(),
        Event::Answered(answer) => step.answered(answer),
        Event::Abandoned => step.state.in_flight = InFlight::Nothing,
    }
    if may_send {
        step.send_next();
    }
    let wake = step.wake();
    Decision { state: step.state, effects: step.effects, wake }
}

struct Step<'a> {
    state: State,
    effects: Vec<Effect>,
    now_ms: i64,
    jitter: u64,
    policy: &'a Policy,
}

impl Step<'_> {
    fn recorded(&mut self, ack: PendingAck) {
        self.state.pending.insert(ack.id, ack);
        self.override_backoff();
        let excess = self.state.pending.len().saturating_sub(self.policy.queue_max.max(1));
        if excess > 0 {
            self.delete(self.least_telling(excess), Settled::Overflow);
        }
    }

    /// So many: the oldest `received`, then the oldest `suppressed`, then the oldest; none that is in flight.
    fn least_telling(&self, count: usize) -> Vec<AckId> {
        let in_flight: BTreeSet<AckId> = match &self.state.in_flight {
            InFlight::Acks(ids) => ids.iter().copied().collect(),
            _ => BTreeSet::new(),
        };
        let rank = |ack: &PendingAck| match ack.grade {
            Grade::Received | Grade::Unknown => 0,
            Grade::Suppressed => 1,
            Grade::Displayed | Grade::Opened => 2,
        };
        let free = self.state.pending.values().filter(|ack| !in_flight.contains(&ack.id));
        let mut free: Vec<(u8, AckId)> = free.map(|ack| (rank(ack), ack.id)).collect();
        free.sort_unstable();
        free.into_iter().take(count).map(|(_, id)| id).collect()
    }

    fn details_changed(&mut self, token_known: bool) {
        self.state.given += 1;
        self.state.registration = if token_known { Registration::Due } else { Registration::NoToken };
        self.override_backoff();
    }

    fn logged_in(&mut self) {
        self.state.given += 1;
        self.state.customer = match self.state.customer {
            Customer::Nobody => Customer::Claimed,
            // Nobody was bound under an id that the server never gave.
            _ if self.state.credentials == Credentials::None => Customer::Claimed,
            _ => Customer::Replacing,
        };
        self.registration_due();
        self.override_backoff();
    }

    fn proof_renewed(&mut self) {
        self.state.given += 1;
        self.state.customer = match self.state.customer {
            Customer::Replacing => Customer::Replacing,
            _ => Customer::Claimed,
        };
        self.registration_due();
        self.override_backoff();
    }

    fn logged_out(&mut self) {
        let refused = matches!(self.state.registration, Registration::Refused { .. });
        let never_sent =
            self.state.registration == Registration::NoToken && self.state.credentials == Credentials::None;
        let never_bound =
            refused && self.state.customer == Customer::Claimed && self.state.credentials == Credentials::None;
        self.state.customer = match self.state.customer {
            Customer::Nobody => Customer::Nobody,
            _ if never_sent || never_bound => Customer::Nobody,
            _ => Customer::LoggedOut,
        };
        if refused {
            // What was refused carried the customer; without them it may be taken.
            self.state.registration = Registration::Due;
        }
        self.override_backoff();
    }

    /// What time alone changes: a confirmation grows old, a refused registration is tried again, and acks whose
    /// receipts ended while no credentials were accepted are of no use.
    fn review(&mut self) {
        match self.state.registration {
            Registration::Confirmed { at_ms } if self.now_ms.abs_diff(at_ms) >= self.policy.refresh_ms => {
                self.state.registration = Registration::Due;
            }
            Registration::Refused { retry_at_ms } if retry_at_ms <= self.now_ms => {
                self.state.registration = Registration::Due;
            }
            _ => {}
        }
        self.expire();
    }

    fn expire(&mut self) {
        if self.state.credentials == Credentials::Valid || matches!(self.state.in_flight, InFlight::Acks(_)) {
            return;
        }
        let keep_ms = i64::try_from(self.policy.ack_keep_ms).unwrap_or(i64::MAX);
        // An age beyond all reason is a clock that was wrong, then or now: the server judges the receipt.
        let ages = keep_ms..keep_ms.saturating_mul(AGE_FACTOR_MAX);
        let too_old = |ack: &&PendingAck| ages.contains(&self.now_ms.saturating_sub(ack.recorded_at_ms));
        let ids: Vec<AckId> = self.state.pending.values().filter(too_old).map(|ack| ack.id).collect();
        self.delete(ids, Settled::Expired);
    }

    fn answered(&mut self, answer: Answer) {
        let in_flight = std::mem::replace(&mut self.state.in_flight, InFlight::Nothing);
        if in_flight == InFlight::Nothing {
            return;
        }
        match answer {
            Answer::Failed { retry_after_ms } => return self.failed(retry_after_ms, false),
            Answer::Throttled { retry_after_ms } => return self.failed(retry_after_ms, true),
            _ => {}
        }
        if answer != Answer::Unauthorized {
            self.state.failures = 0;
        }
        match in_flight {
            InFlight::Nothing => {}
            InFlight::Acks(ids) => self.acks_answered(ids, answer),
            InFlight::Register { given, prove } => self.register_answered(given, prove, answer),
            InFlight::LogOut => self.log_out_answered(answer),
        }
    }

    fn acks_answered(&mut self, ids: Vec<AckId>, answer: Answer) {
        match answer {
            Answer::Done => {
                self.state.rejections = 0;
                self.state.batch_limit = self.state.batch_limit.saturating_mul(2);
                self.delete(ids, Settled::Answered);
            }
            Answer::Refused if ids.len() > 1 => self.state.batch_limit = ids.len() / 2,
            Answer::Refused => self.delete(ids, Settled::Refused),
            _ => {
                self.key_refused();
                self.expire();
            }
        }
    }

    fn register_answered(&mut self, given: u64, prove: bool, answer: Answer) {
        match answer {
            Answer::Done => self.registered(given, prove),
            Answer::ProofRefused => {
                self.state.rejections += 1;
                // Without a key the answer to an earlier try got lost, and with it the only way to prove that this
                // is the same device: nothing hangs on its install_id yet.
                let keyless = self.state.credentials == Credentials::None && self.state.rejections == 1;
                if keyless || self.state.rejections >= self.policy.rejections_max {
                    self.start_over();
                }
                self.hold_after_rejection();
            }
            Answer::IdentityRefused => match self.state.customer {
                // The binding stands since an earlier proof; the key alone refreshes it.
                Customer::Bound if self.state.credentials != Credentials::None => {
                    self.state.customer = Customer::BoundByKey;
                    self.save();
                }
                // Nobody can prove any more who has to be logged out. The token moves to a new installation.
                Customer::LoggedOut => self.start_over(),
                _ => self.registration_refused(),
            },
            Answer::Refused => self.registration_refused(),
            // The app key, not the device: nothing to do but to come back later.
            _ => self.failed(None, false),
        }
    }

    fn registered(&mut self, given: u64, prove: bool) {
        self.state.credentials = Credentials::Valid;
        if self.state.pending.is_empty() {
            self.state.rejections = 0;
        }
        if given == self.state.given {
            self.state.registration = Registration::Confirmed { at_ms: self.now_ms };
            if prove && matches!(self.state.customer, Customer::Claimed | Customer::Replacing) {
                self.state.customer = Customer::Bound;
            }
        }
        self.save();
    }

    fn registration_refused(&mut self) {
        let wait_ms = i64::try_from(self.policy.backoff_max_ms).unwrap_or(i64::MAX);
        self.state.registration = Registration::Refused { retry_at_ms: self.now_ms.saturating_add(wait_ms) };
    }

    fn log_out_answered(&mut self, answer: Answer) {
        match answer {
            // Refused: the server knows no such device, so nobody is logged in on it.
            Answer::Done | Answer::Refused => {
                self.state.rejections = 0;
                self.state.customer = match self.state.customer {
                    Customer::Replacing => Customer::Claimed,
                    Customer::LoggedOut => Customer::Nobody,
                    other => other,
                };
                self.save();
            }
            _ => {
                self.key_refused();
                if self.state.rejections >= self.policy.rejections_max {
                    self.start_over();
                }
            }
        }
    }

    /// 401 to a request under the device's key: register again first. The second time in a row waits.
    fn key_refused(&mut self) {
        self.state.credentials = Credentials::Doubted;
        self.state.rejections += 1;
        self.registration_due();
        self.hold_after_rejection();
    }

    fn start_over(&mut self) {
        self.state.credentials = Credentials::None;
        self.state.customer = match self.state.customer {
            Customer::Nobody | Customer::LoggedOut => Customer::Nobody,
            _ => Customer::Claimed,
        };
        self.registration_due();
        self.effects.push(Effect::NewInstall);
        self.save();
    }

    fn registration_due(&mut self) {
        if self.state.registration != Registration::NoToken {
            self.state.registration = Registration::Due;
        }
    }

    fn failed(&mut self, retry_after_ms: Option<u64>, throttled: bool) {
        self.state.failures = self.state.failures.saturating_add(1);
        let own_ms = delay_ms(self.state.failures, self.jitter, self.policy);
        // `Retry-After: 0` is no invitation to a busy loop: the longer of the two counts.
        let asked_ms = retry_after_ms.map(|ms| ms.min(self.policy.backoff_max_ms).max(own_ms));
        self.state.hold = match (asked_ms, throttled) {
            (Some(ms), _) => Hold::Server { until_ms: self.after(ms) },
            (None, true) => Hold::Server { until_ms: self.after(own_ms) },
            (None, false) => Hold::Backoff { until_ms: self.after(own_ms) },
        };
    }

    fn hold_after_rejection(&mut self) {
        if self.state.rejections > 1 {
            let ms = delay_ms(self.state.rejections - 1, self.jitter, self.policy);
            self.state.hold = Hold::Backoff { until_ms: self.after(ms) };
        }
    }

    fn override_backoff(&mut self) {
        if matches!(self.state.hold, Hold::Backoff { .. }) {
            self.state.hold = Hold::No;
        }
    }

    fn after(&self, ms: u64) -> i64 {
        self.now_ms.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX))
    }

    fn delete(&mut self, ids: Vec<AckId>, why: Settled) {
        if ids.is_empty() {
            return;
        }
        for id in &ids {
            self.state.pending.remove(id);
        }
        self.effects.push(Effect::DeleteAcks { ids, why });
    }

    fn save(&mut self) {
        if self.effects.last() != Some(&Effect::SaveRegistration) {
            self.effects.push(Effect::SaveRegistration);
        }
    }

    fn send_next(&mut self) {
        if self.state.in_flight != InFlight::Nothing || self.held_until() > self.now_ms {
            return;
        }
        let Some(request) = self.next_request() else { return };
        self.state.hold = Hold::No;
        self.effects.push(match &request {
            InFlight::Acks(ids) => Effect::UploadAcks { ids: ids.clone() },
            InFlight::Register { given, prove } => Effect::Register { given: *given, prove: *prove },
            InFlight::LogOut | InFlight::Nothing => Effect::LogOut,
        });
        self.state.in_flight = request;
    }

    /// Acks before anything else; then the log-out, since what follows it must not reach the former customer.
    fn next_request(&self) -> Option<InFlight> {
        let state = &self.state;
        let keyed = state.credentials == Credentials::Valid;
        if keyed && !state.pending.is_empty() {
            let limit = state.batch_limit.clamp(1, self.policy.batch_max.max(1));
            return Some(InFlight::Acks(state.pending.keys().take(limit).copied().collect()));
        }
        if keyed && matches!(state.customer, Customer::LoggedOut | Customer::Replacing) {
            return Some(InFlight::LogOut);
        }
        if state.registration == Registration::Due {
            let prove = !matches!(state.customer, Customer::Nobody | Customer::BoundByKey);
            return Some(InFlight::Register { given: state.given, prove });
        }
        None
    }

    fn held_until(&self) -> i64 {
        match self.state.hold {
            Hold::No => i64::MIN,
            Hold::Backoff { until_ms } | Hold::Server { until_ms } => until_ms,
        }
    }

    fn wake(&self) -> Option<Wake> {
        if self.state.in_flight != InFlight::Nothing {
            return None;
        }
        if self.next_request().is_some() {
            return Some(Wake { at_ms: self.held_until().max(self.now_ms), why: WakeReason::Retry });
        }
        match self.state.registration {
            Registration::Confirmed { at_ms } => {
                let refresh_ms = i64::try_from(self.policy.refresh_ms).unwrap_or(i64::MAX);
                Some(Wake { at_ms: at_ms.saturating_add(refresh_ms), why: WakeReason::Refresh })
            }
            Registration::Refused { retry_at_ms } => Some(Wake { at_ms: retry_at_ms, why: WakeReason::Retry }),
            Registration::NoToken | Registration::Due => None,
        }
    }
}
