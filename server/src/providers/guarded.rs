//! Stands before an account: its circuit breaker and rate budget, for pushes, texts and emails alike.
//!
//! What does not go is answered in the domain's words without a call: nothing left, so a push falls back (P5), and a
//! text or an email is tried again (P13).

use super::account::{About, Rate, word};
use super::{
    Checking, EmailProvider, EmailSend, Finding, Provider, Providers, PushProvider, PushSend, Sending, TextProvider,
    TextQuery, TextSend,
};
use crate::clock::Clock;
use crate::telemetry::{BREAKER_HELD, BREAKER_OPENED, BREAKER_STATE};
use backstop_domain::Ms;
use backstop_domain::breaker::{Breaker, State, Why, Word};
use backstop_domain::budget::Budget;
use backstop_domain::followup::Outcome;
use backstop_domain::text::{Reach, Senders, Way};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Never sent by.
const NEVER: Ms = i64::MIN;

/// A provider of any kind, and how its account stands.
pub struct Guarded<P: ?Sized> {
    provider: Arc<P>,
    gate: Gate,
}

/// How an account stands, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which one.
    pub about: About,
    /// Where its breaker stands.
    pub state: State,
    /// Since when; `None` = since ever.
    pub since: Option<Ms>,
    /// What it said last that was about the account: the vendor's code.
    pub last_error: Option<String>,
    /// Whether that was a refusal of the account.
    pub is_refused: bool,
    /// When it took something last.
    pub last_success_at: Option<Ms>,
}

struct Gate {
    about: About,
    /// Whether what it does not carry now goes another way at once: a push, a text of SNS alone (P5, T2).
    has_others_after: bool,
    clock: Arc<dyn Clock>,
    /// All that a send looks at on a good day.
    is_closed: AtomicBool,
    /// Calls that were fine.
    fine: AtomicU64,
    last_success_at: AtomicI64,
    budget: Option<Mutex<Budget>>,
    told: Mutex<Told>,
}

struct Told {
    breaker: Breaker,
    last_error: Option<String>,
    is_refused: bool,
}

impl<P: Provider + ?Sized> Guarded<P> {
    fn around(provider: Arc<P>, has_others_after: bool, clock: &Arc<dyn Clock>) -> Arc<Guarded<P>> {
        let about = provider.about();
        let budget = match about.rate {
            Some(Rate::PerSecond(per_second)) => Some(Mutex::new(Budget::new(per_second))),
            Some(Rate::PerMinute(_)) | None => None,
        };
        let told = Told { breaker: Breaker::new(clock.now_ms()), last_error: None, is_refused: false };
        let gate = Gate {
            about,
            has_others_after,
            clock: Arc::clone(clock),
            is_closed: true.into(),
            fine: 0.into(),
            last_success_at: NEVER.into(),
            budget,
            told: Mutex::new(told),
        };
        Arc::new(Guarded { provider, gate })
    }

    /// Whether it would be left alone now.
    pub(crate) fn is_open(&self) -> bool {
        !self.gate.is_closed.load(Ordering::Relaxed)
            && matches!(self.gate.told().breaker.state(), State::Open { until, .. } if self.gate.clock.now_ms() < until)
    }
}

impl Guarded<dyn PushProvider> {
    /// Stands before a push account.
    pub fn push(provider: Arc<dyn PushProvider>, clock: &Arc<dyn Clock>) -> Arc<Guarded<dyn PushProvider>> {
        Guarded::around(provider, true, clock)
    }

    /// Sends, if the account may be asked; `Err` = it was left alone, and what stands in for its answer.
    pub(crate) async fn offer(&self, push: &PushSend) -> Result<Outcome, Outcome> {
        self.gate.admit()?;
        Ok(self.send_along(push).await)
    }

    /// Sends although another send is trying the account: for a push that has no other way.
    pub(crate) async fn send_along(&self, push: &PushSend) -> Outcome {
        self.gate.heard(self.provider.send(push).await)
    }
}

impl Providers {
    /// Each with a breaker and a rate budget before it.
    #[must_use]
    pub fn guarded(self, clock: &Arc<dyn Clock>) -> Providers {
        let push = |provider: Arc<dyn PushProvider>| Guarded::push(provider, clock) as Arc<dyn PushProvider>;
        let text = |provider: Arc<dyn TextProvider>| {
            let is_sns_alone = !provider.ways().contains(&Way::Xms);
            Guarded::around(provider, is_sns_alone, clock) as Arc<dyn TextProvider>
        };
        let email = |provider| Guarded::around(provider, false, clock) as Arc<dyn EmailProvider>;
        Providers {
            fcm: self.fcm.map(push),
            apns: self.apns.map(push),
            text: self.text.into_iter().map(text).collect(),
            routes: self.routes,
            email: self.email.map(email),
            callbacks: self.callbacks,
            trunks: self.trunks,
        }
    }
}

impl Gate {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `Err` = what stands in for the call.
    fn admit(&self) -> Result<(), Outcome> {
        if !self.is_closed.load(Ordering::Relaxed) {
            let mut told = self.told();
            if let Err(wait_ms) = told.breaker.ask(self.clock.now_ms()) {
                metrics::counter!(BREAKER_HELD, "provider" => self.about.name).increment(1);
                return Err(self.held(&told, wait_ms));
            }
        }
        let Some(budget) = &self.budget else { return Ok(()) };
        let taken = budget.lock().unwrap_or_else(PoisonError::into_inner).take(self.clock.now_ms());
        let postponed = |after_ms| Outcome::Postponed { after_ms: Some(after_ms), error: "rate_budget".into() };
        taken.map_err(|wait_ms| self.heard(postponed(wait_ms)))
    }

    /// A refused account refuses the next one, too, in the same words; where nothing comes after it, it is worth
    /// another try.
    fn held(&self, told: &Told, wait_ms: Ms) -> Outcome {
        let error = told.last_error.clone().unwrap_or_default();
        match told.breaker.state().why() {
            Some(Why::Misconfigured) if self.has_others_after => Outcome::Rejected { error },
            _ => later(wait_ms, format!("account_paused: {error}")),
        }
    }

    /// Takes in what an answer says about the account, and hands it on.
    fn heard(&self, outcome: Outcome) -> Outcome {
        let word = word(&outcome);
        let mut fine = self.fine.load(Ordering::Relaxed);
        if word == Word::Fine {
            fine = self.fine.fetch_add(1, Ordering::Relaxed) + 1;
            if matches!(outcome, Outcome::Accepted { .. }) {
                self.last_success_at.store(self.clock.now_ms(), Ordering::Relaxed);
            }
        }
        if matches!(word, Word::Fine | Word::Nothing) && self.is_closed.load(Ordering::Relaxed) {
            return outcome;
        }
        let mut told = self.told();
        if matches!(word, Word::Failed | Word::Misconfigured | Word::Wait(_)) {
            told.last_error = outcome.error().map(str::to_owned);
            told.is_refused = word == Word::Misconfigured;
        }
        let was_closed = told.breaker.state() == State::Closed;
        if told.breaker.heard(word, fine, self.clock.now_ms()) {
            self.moved(&told, was_closed);
        }
        outcome
    }

    fn moved(&self, told: &Told, was_closed: bool) {
        let state = told.breaker.state();
        let About { name, account, vendor, mend, .. } = &self.about;
        let error = told.last_error.as_deref().unwrap_or_default();
        self.is_closed.store(state == State::Closed, Ordering::Relaxed);
        let open = metrics::gauge!(BREAKER_STATE, "provider" => *name);
        match state {
            State::Closed => {
                open.decrement(1);
                tracing::info!(provider = name, account, "the account works again");
            }
            State::Open { why, .. } | State::HalfOpen { why, .. } => {
                if was_closed {
                    open.increment(1);
                }
                metrics::counter!(BREAKER_OPENED, "provider" => *name, "why" => why.as_str()).increment(1);
                match why {
                    Why::Misconfigured => tracing::error!(
                        provider = name,
                        account,
                        error,
                        mend,
                        "{vendor} refuses this account: nothing leaves by it; see GET /v1/providers"
                    ),
                    Why::Failing | Why::Asked => tracing::warn!(
                        provider = name,
                        account,
                        error,
                        why = why.as_str(),
                        "this account is left alone for a while; see GET /v1/providers"
                    ),
                }
            }
        }
    }

    fn standing(&self) -> Standing {
        let told = self.told();
        let last_success_at = self.last_success_at.load(Ordering::Relaxed);
        Standing {
            about: self.about.clone(),
            state: told.breaker.state(),
            since: Some(told.breaker.since()),
            last_error: told.last_error.clone(),
            is_refused: told.is_refused,
            last_success_at: (last_success_at != NEVER).then_some(last_success_at),
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if !self.is_closed.load(Ordering::Relaxed) {
            metrics::gauge!(BREAKER_STATE, "provider" => self.about.name).decrement(1);
        }
    }
}

impl Standing {
    /// Of what has no breaker: it is always asked.
    pub fn free(about: About) -> Standing {
        let (since, last_error, last_success_at) = (None, None, None);
        Standing { about, state: State::Closed, since, last_error, is_refused: false, last_success_at }
    }

    /// What it said last, and what mends it. `app_id` = whose app's account it is; `None` = the deployment's.
    pub fn sentence(&self, app_id: Option<&str>) -> Option<String> {
        let About { vendor, account, mend, section, .. } = &self.about;
        let error = self.last_error.as_deref()?;
        let place = app_id.map_or_else(|| (*section).to_owned(), |app_id| format!("app {app_id}"));
        Some(match self.is_refused {
            true => format!("{vendor} refuses {account}: {error}; {mend} of {place}"),
            false => format!("{vendor} failed or asked to wait: {error}"),
        })
    }
}

fn later(wait_ms: Ms, error: String) -> Outcome {
    Outcome::RetryAfter { after_ms: Some(wait_ms), error }
}

impl<P: Provider + ?Sized> Provider for Guarded<P> {
    fn name(&self) -> &'static str {
        self.gate.about.name
    }

    fn about(&self) -> About {
        self.gate.about.clone()
    }

    fn standing(&self) -> Standing {
        self.gate.standing()
    }

    fn check(&self) -> Checking<'_> {
        self.provider.check()
    }
}

impl PushProvider for Guarded<dyn PushProvider> {
    fn send<'a>(&'a self, push: &'a PushSend) -> Sending<'a> {
        if let Err(held) = self.gate.admit() {
            return Box::pin(std::future::ready(held));
        }
        Box::pin(self.send_along(push))
    }
}

impl TextProvider for Guarded<dyn TextProvider> {
    fn ways(&self) -> &'static [Way] {
        self.provider.ways()
    }

    fn reach(&self) -> Reach {
        self.provider.reach()
    }

    fn idempotent(&self) -> bool {
        self.provider.idempotent()
    }

    fn confirms(&self) -> bool {
        self.provider.confirms()
    }

    fn is_korean(&self) -> bool {
        self.provider.is_korean()
    }

    fn max_sms_bytes(&self) -> u16 {
        self.provider.max_sms_bytes()
    }

    fn senders(&self) -> Senders {
        self.provider.senders()
    }

    fn send<'a>(&'a self, text: &'a TextSend) -> Sending<'a> {
        if let Err(held) = self.gate.admit() {
            return Box::pin(std::future::ready(held));
        }
        Box::pin(async move { self.gate.heard(self.provider.send(text).await) })
    }

    fn find<'a>(&'a self, query: &'a TextQuery<'a>) -> Option<Finding<'a>> {
        self.provider.find(query)
    }

    fn can_find(&self) -> bool {
        self.provider.can_find()
    }
}

impl EmailProvider for Guarded<dyn EmailProvider> {
    fn send<'a>(&'a self, email: &'a EmailSend) -> Sending<'a> {
        if let Err(held) = self.gate.admit() {
            return Box::pin(std::future::ready(held));
        }
        Box::pin(async move { self.gate.heard(self.provider.send(email).await) })
    }
}
