//! The circuit breaker of one account — a push credential, a text account, a mail account: pure, time an argument.
//!
//! What the account itself refuses (a key, a password) opens it at once; so does a vendor's word to wait, and a share
//! of failures. While it is open nothing is asked, so that a push falls back at once (P5) instead of finding out again.

use crate::Ms;

/// Failures within one window that open it, at least.
const MIN_FAILURES: u32 = 10;
/// … and this share of all calls of the window, in percent.
const FAILURE_SHARE: u64 = 50;
/// Calls are judged together for this long.
const WINDOW_MS: Ms = 10_000;
/// How long it is open at first; doubles with each failed probe.
const OPEN_MS: Ms = 5_000;
/// … up to this.
const MAX_OPEN_MS: Ms = 300_000;
/// A probe that said nothing for this long is lost: above every provider's time-out.
const PROBE_MS: Ms = 15_000;
/// Whoever comes while one tries asks again after this: by then it is mostly known.
const NEXT_ASK_MS: Ms = 1_000;

/// What one call says about the account, whatever it says about its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// It answered: the message was taken, or refused for a reason of its own.
    Fine,
    /// It did not, or could not.
    Failed,
    /// It refuses the account: key, password, permission.
    Misconfigured,
    /// It asks everyone of this account to wait; 0 = as long as we like.
    Wait(Ms),
    /// Nothing: it was not asked.
    Nothing,
}

/// Why it is not closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Too large a share of calls failed.
    Failing,
    /// The account is refused.
    Misconfigured,
    /// The vendor asked for it.
    Asked,
}

/// Where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Calls go through.
    Closed,
    /// None does until then.
    Open {
        /// When one may try.
        until: Ms,
        /// Why.
        why: Why,
        /// How often it opened since it was closed.
        times: u32,
    },
    /// One tries.
    HalfOpen {
        /// It is lost if it says nothing until then.
        until: Ms,
        /// Why it was open.
        why: Why,
        /// How often it opened since it was closed.
        times: u32,
    },
}

/// One account's breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    state: State,
    since: Ms,
    window_began: Ms,
    failures: u32,
    /// Calls that were fine when the window began.
    fine_before: u64,
}

impl Breaker {
    /// Closed.
    pub fn new(now: Ms) -> Breaker {
        Breaker { state: State::Closed, since: now, window_began: now, failures: 0, fine_before: 0 }
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// When it came to stand there.
    pub fn since(&self) -> Ms {
        self.since
    }

    /// Whether a call may go now; `Err` = not, and how long to wait.
    pub fn ask(&mut self, now: Ms) -> Result<(), Ms> {
        match self.state {
            State::Closed => Ok(()),
            State::Open { until, .. } if now < until => Err(until - now),
            State::HalfOpen { until, .. } if now < until => Err((until - now).min(NEXT_ASK_MS)),
            State::Open { why, times, .. } | State::HalfOpen { why, times, .. } => {
                self.become_(State::HalfOpen { until: now.saturating_add(PROBE_MS), why, times }, now);
                Ok(())
            }
        }
    }

    /// A call said this; `fine` = calls that were fine since the beginning. Answers whether it stands elsewhere now.
    pub fn heard(&mut self, word: Word, fine: u64, now: Ms) -> bool {
        let before = self.state;
        match (self.state, word) {
            (State::HalfOpen { .. }, Word::Fine) => {
                (self.window_began, self.failures, self.fine_before) = (now, 0, fine);
                self.become_(State::Closed, now);
            }
            (State::HalfOpen { why, times, .. }, Word::Nothing) => {
                self.become_(State::Open { until: now, why, times }, now)
            }
            (State::Closed | State::Open { .. }, Word::Fine | Word::Nothing) | (State::Open { .. }, Word::Failed) => {}
            (State::Closed, Word::Failed) => self.failed(fine, now),
            (State::HalfOpen { times, why, .. }, Word::Failed) => self.open(why, times, 0, now),
            (State::Closed, Word::Misconfigured) => self.open(Why::Misconfigured, 0, 0, now),
            (State::HalfOpen { times, .. }, Word::Misconfigured) => self.open(Why::Misconfigured, times, 0, now),
            (State::Open { until, times, .. }, Word::Misconfigured) => {
                self.state = State::Open { until, why: Why::Misconfigured, times };
            }
            (State::Closed, Word::Wait(ms)) => self.open(Why::Asked, 0, ms, now),
            (State::HalfOpen { times, .. }, Word::Wait(ms)) => self.open(Why::Asked, times, ms, now),
            (State::Open { until, why, times }, Word::Wait(ms)) => {
                let asked = now.saturating_add(ms.min(MAX_OPEN_MS));
                self.state = State::Open { until: until.max(asked), why, times };
            }
        }
        std::mem::discriminant(&before) != std::mem::discriminant(&self.state)
    }

    fn failed(&mut self, fine: u64, now: Ms) {
        if now.saturating_sub(self.window_began) >= WINDOW_MS || now < self.window_began {
            (self.window_began, self.failures, self.fine_before) = (now, 0, fine);
        }
        self.failures = self.failures.saturating_add(1);
        let calls = fine.saturating_sub(self.fine_before).saturating_add(u64::from(self.failures));
        if self.failures >= MIN_FAILURES && u64::from(self.failures) * 100 >= calls.saturating_mul(FAILURE_SHARE) {
            self.open(Why::Failing, 0, 0, now);
        }
    }

    /// A vendor's word is believed up to a bound, then it is asked again.
    fn open(&mut self, why: Why, times: u32, asked_ms: Ms, now: Ms) {
        let doubled = OPEN_MS.saturating_mul(1 << times.min(20));
        let open_ms = if asked_ms > 0 { asked_ms } else { doubled }.min(MAX_OPEN_MS);
        self.become_(State::Open { until: now.saturating_add(open_ms), why, times: times.saturating_add(1) }, now);
    }

    fn become_(&mut self, state: State, now: Ms) {
        self.state = state;
        self.since = now;
    }
}

impl Why {
    /// Label for metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Why::Failing => "failing",
            Why::Misconfigured => "misconfigured",
            Why::Asked => "asked",
        }
    }
}

impl State {
    /// Why it is not closed.
    pub fn why(self) -> Option<Why> {
        match self {
            State::Closed => None,
            State::Open { why, .. } | State::HalfOpen { why, .. } => Some(why),
        }
    }

    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Closed => "closed",
            State::Open { .. } => "open",
            State::HalfOpen { .. } => "half_open",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Ms = 1_795_370_400_000;

    fn opened(word: Word) -> Breaker {
        let mut breaker = Breaker::new(NOW);
        assert!(breaker.heard(word, 0, NOW));
        breaker
    }

    /// P5: a refused account opens at once, and one call tries when its time is up; both sides of it.
    #[test]
    fn a_refused_account_opens_at_once_and_one_call_probes() {
        let mut breaker = opened(Word::Misconfigured);
        assert_eq!(breaker.ask(NOW + OPEN_MS - 1), Err(1));
        assert_eq!(breaker.ask(NOW + OPEN_MS), Ok(()));
        assert_eq!(breaker.state().as_str(), "half_open");
        assert_eq!(breaker.ask(NOW + OPEN_MS), Err(NEXT_ASK_MS), "one alone");
        assert!(breaker.heard(Word::Fine, 1, NOW + OPEN_MS + 5));
        assert_eq!((breaker.state(), breaker.since()), (State::Closed, NOW + OPEN_MS + 5));
        assert_eq!(breaker.ask(NOW + OPEN_MS + 5), Ok(()));
    }

    /// P5: a probe that fails waits twice as long, up to a bound; one that is lost makes room for another.
    #[test]
    fn probes_that_fail_wait_longer() {
        let mut breaker = opened(Word::Misconfigured);
        let mut now = NOW;
        let mut waits = Vec::new();
        for _ in 0..9 {
            let State::Open { until, .. } = breaker.state() else { panic!("{:?}", breaker.state()) };
            waits.push(until - now);
            now = until;
            assert_eq!(breaker.ask(now), Ok(()));
            breaker.heard(Word::Failed, 0, now);
        }
        assert_eq!(waits, [5_000, 10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000, 300_000]);
        let mut lost = opened(Word::Misconfigured);
        assert_eq!(lost.ask(NOW + OPEN_MS), Ok(()));
        assert_eq!(lost.ask(NOW + OPEN_MS + PROBE_MS - 1), Err(1));
        assert_eq!(lost.ask(NOW + OPEN_MS + PROBE_MS), Ok(()));
    }

    /// P5: a probe that was never asked — its message could not leave — makes room for another at once.
    #[test]
    fn a_probe_that_was_not_asked_makes_room() {
        let mut breaker = opened(Word::Misconfigured);
        let now = NOW + OPEN_MS;
        assert_eq!(breaker.ask(now), Ok(()));
        assert!(breaker.heard(Word::Nothing, 0, now));
        assert_eq!((breaker.state().as_str(), breaker.ask(now)), ("open", Ok(())));
        assert!(!Breaker::new(NOW).heard(Word::Nothing, 0, NOW));
    }

    /// P5: ten failures and half of a window's calls; one less of either opens nothing.
    #[test]
    fn a_share_of_failures_opens() {
        for (failures, fine, opens) in [(9, 0, false), (10, 0, true), (10, 10, true), (10, 11, false), (11, 11, true)] {
            let mut breaker = Breaker::new(NOW);
            for _ in 0..failures {
                breaker.heard(Word::Failed, fine, NOW + 1);
            }
            assert_eq!(breaker.state() != State::Closed, opens, "{failures} of {}", failures + fine);
        }
        let mut breaker = Breaker::new(NOW);
        for n in 0..40 {
            breaker.heard(Word::Failed, 0, NOW + n / 9 * WINDOW_MS);
        }
        assert_eq!(breaker.state(), State::Closed, "nine in each window");
    }

    /// A vendor's wait holds the account, up to a bound; late words of calls that were under way change little.
    #[test]
    fn a_vendors_wait_holds_the_account() {
        let mut breaker = opened(Word::Wait(60_000));
        assert_eq!(breaker.ask(NOW + 59_999), Err(1));
        assert!(!breaker.heard(Word::Wait(90_000), 0, NOW));
        assert_eq!(breaker.ask(NOW + 89_999), Err(1));
        assert!(!breaker.heard(Word::Fine, 1, NOW + 1) && !breaker.heard(Word::Failed, 1, NOW + 1));
        assert_eq!(breaker.ask(NOW + 90_000), Ok(()));
        assert_eq!(opened(Word::Wait(i64::MAX)).ask(NOW), Err(MAX_OPEN_MS));
        assert_eq!((opened(Word::Wait(1)).ask(NOW), opened(Word::Wait(0)).ask(NOW)), (Err(1), Err(OPEN_MS)));
        let mut asked = opened(Word::Wait(60_000));
        asked.heard(Word::Misconfigured, 0, NOW);
        assert!(matches!(asked.state(), State::Open { why: Why::Misconfigured, .. }), "the graver word is told");
    }
}
