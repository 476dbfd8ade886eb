//! The device machine against random histories: what it promises holds after every step, and it always comes to rest.

use std::collections::{BTreeMap, BTreeSet};

use backstop_core::Grade;
use backstop_core::machine::{
    AckId, Answer, Credentials, Customer, Decision, Effect, Event, Hold, InFlight, PendingAck, Policy, Registration,
    Settled, State, decide,
};
use proptest::prelude::*;

/// Small limits, so that short histories reach them.
fn policy() -> Policy {
    Policy { batch_max: 3, queue_max: 8, ..Policy::default() }
}

/// One step of a history.
#[derive(Clone, Debug)]
enum Move {
    Record(Grade),
    Details(bool),
    LogIn,
    Renew,
    LogOut,
    Flush,
    Wake,
    Answer(Answer),
    Abandon,
    Pass(i64),
}

fn answers() -> impl Strategy<Value = Answer> {
    let retry_after = prop_oneof![Just(None), Just(Some(0)), (1..100_000u64).prop_map(Some), Just(Some(u64::MAX))];
    prop_oneof![
        4 => Just(Answer::Done),
        1 => Just(Answer::Refused),
        2 => Just(Answer::Unauthorized),
        1 => Just(Answer::ProofRefused),
        1 => Just(Answer::IdentityRefused),
        3 => retry_after.clone().prop_map(|retry_after_ms| Answer::Failed { retry_after_ms }),
        1 => retry_after.prop_map(|retry_after_ms| Answer::Throttled { retry_after_ms }),
    ]
}

fn moves() -> impl Strategy<Value = Move> {
    let grades =
        prop_oneof![Just(Grade::Received), Just(Grade::Suppressed), Just(Grade::Displayed), Just(Grade::Opened)];
    let times = prop_oneof![4 => 0..2_000i64, 2 => 0..100_000_000i64, 1 => Just(8 * 86_400_000i64)];
    prop_oneof![
        6 => grades.prop_map(Move::Record),
        1 => any::<bool>().prop_map(Move::Details),
        1 => Just(Move::LogIn),
        1 => Just(Move::Renew),
        1 => Just(Move::LogOut),
        2 => Just(Move::Flush),
        3 => Just(Move::Wake),
        8 => answers().prop_map(Move::Answer),
        1 => Just(Move::Abandon),
        4 => times.prop_map(Move::Pass),
    ]
}

/// Runs the machine and checks every promise at every step.
struct Run {
    state: State,
    policy: Policy,
    now_ms: i64,
    jitter: u64,
    recorded: BTreeMap<AckId, i64>,
    settled: BTreeSet<AckId>,
    last: Option<Decision>,
}

impl Run {
    fn new(state: State) -> Self {
        let (recorded, settled) = (BTreeMap::new(), BTreeSet::new());
        Run { state, policy: policy(), now_ms: 1_000_000, jitter: 1, recorded, settled, last: None }
    }

    fn step(&mut self, event: Event) {
        let before = self.state.clone();
        self.jitter = self.jitter.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if let Event::Recorded(ack) = &event {
            self.recorded.insert(ack.id, ack.recorded_at_ms);
        }
        let decision = decide(before.clone(), event.clone(), self.now_ms, self.jitter, &self.policy);
        let again = decide(before.clone(), event.clone(), self.now_ms, self.jitter, &self.policy);
        assert_eq!(decision, again, "the same input gives the same decision");
        self.check_deletions(&before, &event, &decision);
        self.check_request(&before, &event, &decision);
        self.check_wake(&decision);
        self.state = decision.state.clone();
        self.last = Some(decision);
        let pending: BTreeSet<AckId> = self.state.pending.keys().copied().collect();
        let kept: BTreeSet<AckId> = self.recorded.keys().filter(|id| !self.settled.contains(id)).copied().collect();
        assert_eq!(pending, kept, "an ack is pending until it is settled");
        assert!(self.state.pending.len() <= self.policy.queue_max);
    }

    /// Every ack that leaves had the right to.
    fn check_deletions(&mut self, before: &State, event: &Event, decision: &Decision) {
        for effect in &decision.effects {
            let Effect::DeleteAcks { ids, why } = effect else { continue };
            let sent = matches!(&before.in_flight, InFlight::Acks(sent) if sent == ids);
            match why {
                Settled::Answered => assert!(sent && *event == Event::Answered(Answer::Done), "{event:?}"),
                Settled::Refused => {
                    assert!(sent && ids.len() == 1 && *event == Event::Answered(Answer::Refused), "{event:?}");
                }
                Settled::Expired => {
                    assert_ne!(decision.state.credentials, Credentials::Valid);
                    let age_ms = |id| self.now_ms - self.recorded[id];
                    assert!(ids.iter().all(|id| age_ms(id) >= 7 * 86_400_000), "expired too early");
                }
                Settled::Overflow => {
                    assert!(matches!(event, Event::Recorded(_)) && before.pending.len() == self.policy.queue_max);
                    let in_flight = matches!(&before.in_flight, InFlight::Acks(sent) if sent.contains(&ids[0]));
                    assert!(!in_flight, "an ack in flight is not dropped");
                }
            }
            for id in ids {
                assert!(self.settled.insert(*id), "settled once");
            }
        }
    }

    fn check_request(&self, before: &State, event: &Event, decision: &Decision) {
        let is_request =
            |effect: &&Effect| matches!(effect, Effect::UploadAcks { .. } | Effect::Register { .. } | Effect::LogOut);
        let requests: Vec<&Effect> = decision.effects.iter().filter(is_request).collect();
        assert!(requests.len() <= 1, "one request at a time");
        let Some(request) = requests.first() else { return };
        assert_eq!(decision.effects.last(), Some(*request), "the request comes last");
        let ended = matches!(event, Event::Answered(_));
        assert!(ended || before.in_flight == InFlight::Nothing, "never beside a request in flight");
        if let Hold::Server { until_ms } = before.hold {
            assert!(self.now_ms >= until_ms, "the server named a later time");
        }
        if let (Hold::Backoff { until_ms }, Event::Wake) = (before.hold, event) {
            assert!(self.now_ms >= until_ms, "a wake-up does not cut the backoff short");
        }
        let state = &decision.state;
        match request {
            Effect::UploadAcks { ids } => {
                let oldest: Vec<AckId> = state.pending.keys().take(ids.len()).copied().collect();
                assert_eq!(*ids, oldest, "in the order of recording");
                assert!((1..=self.policy.batch_max).contains(&ids.len()));
                assert_eq!(state.credentials, Credentials::Valid);
            }
            _ => assert!(state.pending.is_empty() || state.credentials != Credentials::Valid, "acks come first"),
        }
    }

    fn check_wake(&self, decision: &Decision) {
        let Some(wake) = decision.wake else { return };
        let furthest_ms = i64::try_from(self.policy.refresh_ms).expect("fits");
        assert_eq!(decision.state.in_flight, InFlight::Nothing);
        assert!(wake.at_ms <= self.now_ms + furthest_ms, "nothing waits longer than a refresh");
        if let Hold::Backoff { until_ms } | Hold::Server { until_ms } = decision.state.hold {
            assert!(until_ms <= self.now_ms + 6 * 3_600_000, "no retry waits longer than 6 hours");
        }
    }

    fn play(&mut self, a_move: &Move) {
        let event = match a_move {
            Move::Record(grade) => {
                let id = AckId::try_from(self.recorded.len()).expect("fits") + 1;
                Event::Recorded(PendingAck { id, grade: *grade, recorded_at_ms: self.now_ms })
            }
            // A token, once given, is never taken back.
            Move::Details(known) => {
                let known = *known || self.state.registration != Registration::NoToken;
                Event::DetailsChanged { token_known: known }
            }
            Move::LogIn => Event::LoggedIn,
            Move::Renew => Event::ProofRenewed,
            Move::LogOut => Event::LoggedOut,
            Move::Flush => Event::Flush,
            Move::Wake => Event::Wake,
            Move::Answer(answer) => Event::Answered(*answer),
            Move::Abandon => Event::Abandoned,
            Move::Pass(ms) => {
                self.now_ms += ms;
                return;
            }
        };
        self.step(event);
    }

    /// From now on every request succeeds: everything comes to rest, by wake-ups alone.
    fn heal(&mut self) {
        self.step(Event::DetailsChanged { token_known: true });
        for _ in 0..200 {
            if self.state.in_flight != InFlight::Nothing {
                self.step(Event::Answered(Answer::Done));
                continue;
            }
            let resting = self.state.pending.is_empty()
                && matches!(self.state.registration, Registration::Confirmed { .. })
                && matches!(self.state.customer, Customer::Nobody | Customer::Bound | Customer::BoundByKey);
            if resting {
                return;
            }
            let wake = self.last.as_ref().and_then(|decision| decision.wake).expect("what waits names a time");
            self.now_ms = self.now_ms.max(wake.at_ms);
            self.step(Event::Wake);
        }
        panic!("never came to rest: {:?}", self.state);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// C4, C2: every promise of the machine, over random histories from a fresh and from a registered device.
    #[test]
    fn c4_promises_hold_over_random_histories(history in prop::collection::vec(moves(), 0..120), fresh: bool) {
        let state = if fresh { State::default() } else { State::registered(1_000_000) };
        let mut run = Run::new(state);
        for a_move in &history {
            run.play(a_move);
        }
        run.heal();
    }
}

fn one(state: State, event: Event) -> Decision {
    decide(state, event, 1_000_000, 0, &Policy::default())
}

fn ack(id: AckId, grade: Grade) -> PendingAck {
    PendingAck { id, grade, recorded_at_ms: 1_000_000 }
}

/// The queue is bounded, and what tells least goes first.
#[test]
fn c4_a_full_queue_drops_the_oldest_received_first() {
    let policy = Policy { queue_max: 3, ..Policy::default() };
    let mut state = State::default();
    let mut dropped = Vec::new();
    let grades = [Grade::Displayed, Grade::Received, Grade::Suppressed, Grade::Received, Grade::Opened, Grade::Opened];
    for (id, grade) in (1..).zip(grades) {
        let decision = decide(state, Event::Recorded(ack(id, grade)), 0, 0, &policy);
        state = decision.state;
        for effect in decision.effects {
            if let Effect::DeleteAcks { ids, why: Settled::Overflow } = effect {
                dropped.extend(ids);
            }
        }
    }
    assert_eq!(dropped, [2, 4, 3]);
    assert_eq!(state.pending.into_keys().collect::<Vec<_>>(), [1, 5, 6]);
}

/// C4: nothing but the time that the server named lets the next request out; its own backoff yields to news.
#[test]
fn c4_holds_yield_to_whom_they_should() {
    let recorded = one(State::registered(1_000_000), Event::Recorded(ack(1, Grade::Displayed)));
    assert_eq!(recorded.effects, [Effect::UploadAcks { ids: vec![1] }]);
    for (answer, overridden) in [
        (Answer::Failed { retry_after_ms: None }, true),
        (Answer::Failed { retry_after_ms: Some(5_000) }, false),
        (Answer::Throttled { retry_after_ms: None }, false),
    ] {
        let jitter = 499;
        let held = decide(recorded.state.clone(), Event::Answered(answer), 1_000_000, jitter, &Policy::default());
        assert_eq!(held.effects, []);
        for event in [Event::Flush, Event::Recorded(ack(2, Grade::Displayed))] {
            assert_eq!(!one(held.state.clone(), event).effects.is_empty(), overridden, "{answer:?}");
        }
        assert_eq!(one(held.state.clone(), Event::Wake).effects, [], "{answer:?}");
    }
}

/// C4: what can never be authenticated is kept for 7 days from its recording, to the millisecond.
#[test]
fn c4_a_refused_key_keeps_acks_for_seven_days() {
    const WEEK_MS: i64 = 7 * 86_400_000;
    let state = one(State::registered(0), Event::Recorded(ack(1, Grade::Displayed))).state;
    for (age_ms, kept) in [(WEEK_MS - 1, true), (WEEK_MS, false)] {
        let now_ms = 1_000_000 + age_ms;
        let refused = Event::Answered(Answer::Unauthorized);
        let decision = decide(state.clone(), refused, now_ms, 0, &Policy::default());
        assert_eq!(decision.state.pending.contains_key(&1), kept);
        assert!(matches!(decision.effects.last(), Some(Effect::Register { .. })), "registers again");
    }
}

/// C4: a server that takes every registration and refuses every ack is not hammered.
#[test]
fn c4_a_key_refused_again_and_again_waits_longer_and_longer() {
    let policy = Policy::default();
    let mut state = one(State::registered(1_000_000), Event::Recorded(ack(1, Grade::Displayed))).state;
    let mut ceilings = Vec::new();
    let mut now_ms = 1_000_000;
    for _ in 0..6 {
        assert_eq!(state.in_flight, InFlight::Acks(vec![1]));
        let refused = decide(state, Event::Answered(Answer::Unauthorized), now_ms, u64::MAX, &policy);
        // The most that these random bits can make of each ceiling.
        let wait_ms = refused.wake.map_or(0, |wake| wake.at_ms - now_ms);
        ceilings.push(wait_ms);
        now_ms += wait_ms;
        let woken = match refused.wake {
            Some(_) => decide(refused.state, Event::Wake, now_ms, 0, &policy),
            None => refused,
        };
        assert!(matches!(woken.state.in_flight, InFlight::Register { .. }));
        state = decide(woken.state, Event::Answered(Answer::Done), now_ms, 0, &policy).state;
    }
    let expected = (0..5).map(|n| i64::try_from(u64::MAX % ((500 << n) + 1)).expect("fits"));
    assert_eq!(ceilings, std::iter::once(0).chain(expected).collect::<Vec<_>>());
}

/// C2: an answer to what the app gave before does not confirm what it gave since.
#[test]
fn c2_an_old_answer_confirms_nothing_new() {
    let state = one(State::default(), Event::DetailsChanged { token_known: true }).state;
    assert_eq!(state.in_flight, InFlight::Register { given: 1, prove: false });
    let state = one(state, Event::LoggedIn).state;
    let decision = one(state, Event::Answered(Answer::Done));
    assert_eq!(decision.state.customer, Customer::Claimed);
    assert_eq!(decision.effects.last(), Some(&Effect::Register { given: 2, prove: true }));
    let state = one(decision.state, Event::Answered(Answer::Done)).state;
    assert_eq!((state.customer, state.registration), (Customer::Bound, Registration::Confirmed { at_ms: 1_000_000 }));
}
