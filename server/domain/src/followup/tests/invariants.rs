//! What holds whatever happens, in whatever order: histories made up freely, one property an invariant.

use super::*;
use crate::quiet::QuietHours;
use proptest::prelude::*;

const C: DeviceId = DeviceId(3);
const CASES: u32 = 1_024;

/// One thing that happens, before it is fitted to the state it meets.
#[derive(Clone, Debug)]
enum Step {
    Woke,
    Join { bot: bool, email_only: bool },
    Push { device: DeviceId, older: bool, outcome: Outcome },
    Ack { device: DeviceId, covers: u16, grade: Grade },
    AckedByNewer,
    Lost { device: DeviceId, why: Reason },
    Claim(Channel),
    Answer { channel: Channel, older: bool, outcome: Outcome },
    Report { channel: Channel, older: bool, delivered: bool },
    MayHaveLeft { older: bool },
    Asked { older: bool, found: Found },
    Seen(i64),
    Withdrawn(i64),
    Cancel,
    World { online: bool, left: bool, alerts: Alerts, phone: bool, email: bool },
}

fn device_id() -> impl Strategy<Value = DeviceId> {
    prop_oneof![Just(A), Just(A), Just(B), Just(C)]
}

fn channel() -> impl Strategy<Value = Channel> {
    prop_oneof![Just(Channel::Text), Just(Channel::Email)]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(accepted()),
        Just(rejected()),
        Just(token_gone()),
        Just(unknown()),
        prop_oneof![Just(Environment::Production), Just(Environment::Sandbox)].prop_map(wrong_environment),
        prop_oneof![Just(None), (0..40 * S).prop_map(Some), Just(Some(Ms::MAX))].prop_map(retry_after),
        (0..40 * S).prop_map(|after_ms| postponed(Some(after_ms))),
    ]
}

fn grade() -> impl Strategy<Value = Grade> {
    use Grade::*;
    prop_oneof![Just(Unknown), Just(Suppressed), Just(Received), Just(Displayed), Just(Displayed), Just(Opened)]
}

fn step() -> impl Strategy<Value = Step> {
    let lost = prop_oneof![Just(Reason::TokenGone), Just(Reason::AlertsDenied), Just(Reason::NoDevice)];
    prop_oneof![
        4 => Just(Step::Woke),
        2 => (prop::bool::weighted(0.2), prop::bool::weighted(0.1))
            .prop_map(|(bot, email_only)| Step::Join { bot, email_only }),
        3 => (device_id(), prop::bool::weighted(0.2), outcome())
            .prop_map(|(device, older, outcome)| Step::Push { device, older, outcome }),
        3 => (device_id(), 0..5u16, grade()).prop_map(|(device, covers, grade)| Step::Ack { device, covers, grade }),
        1 => Just(Step::AckedByNewer),
        1 => (device_id(), lost).prop_map(|(device, why)| Step::Lost { device, why }),
        4 => channel().prop_map(Step::Claim),
        4 => (channel(), prop::bool::weighted(0.2), outcome())
            .prop_map(|(channel, older, outcome)| Step::Answer { channel, older, outcome }),
        1 => (channel(), prop::bool::weighted(0.2), any::<bool>())
            .prop_map(|(channel, older, delivered)| Step::Report { channel, older, delivered }),
        2 => prop::bool::weighted(0.2).prop_map(|older| Step::MayHaveLeft { older }),
        3 => (prop::bool::weighted(0.2), found()).prop_map(|(older, found)| Step::Asked { older, found }),
        1 => (0..6i64).prop_map(Step::Seen),
        1 => (0..6i64).prop_map(Step::Withdrawn),
        1 => Just(Step::Cancel),
        1 => (prop::bool::weighted(0.3), prop::bool::weighted(0.3), any::<bool>(), prop::bool::weighted(0.9),
              prop::bool::weighted(0.9))
            .prop_map(|(online, left, allowed, phone, email)| {
                let alerts = if allowed { Alerts::Allowed } else { Alerts::Denied };
                Step::World { online, left, alerts, phone, email }
            }),
    ]
}

fn found() -> impl Strategy<Value = Found> {
    prop_oneof![
        5 => Just(Found::Absent),
        1 => Just(Found::Unclear),
        1 => Just(Found::Taken { provider_id: None }),
        1 => Just(Found::Delivered { provider_id: None }),
        1 => Just(Found::Failed { provider_id: None, error: OPTED_OUT.into() }),
    ]
}

/// Milliseconds until the next step: often none, sometimes long.
fn pause() -> impl Strategy<Value = Ms> {
    prop_oneof![Just(0), 0..200i64, 0..31 * S, 0..200 * S, 0..8 * 3_600 * S]
}

/// Devices, online, wrote before, an idempotent text route, something left before, it is night.
type Beginning = (usize, bool, bool, bool, bool, bool);

fn beginning() -> impl Strategy<Value = Beginning> {
    (
        0..3usize,
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.9),
        any::<bool>(),
        prop::bool::weighted(0.2),
        any::<bool>(),
    )
}

fn history() -> impl Strategy<Value = (Beginning, Vec<(Ms, Step)>)> {
    (beginning(), prop::collection::vec((pause(), step()), 0..60))
}

/// A family of follow-ups: one, and what was split off it, with a check at every decision.
struct Family {
    around: Case,
    now: Ms,
    members: Vec<Followup>,
    /// What each member's decisions were made on, with what was noted.
    kept: Vec<Vec<(Ms, Inputs, Option<Note>)>>,
    /// Whether timers fire exactly when they are due.
    punctual: bool,
}

impl Family {
    fn new((devices, online, wrote, idempotent, left, night): Beginning, punctual: bool) -> Family {
        let mut around = Case::around(&[A, B, C][..devices]);
        around.online_until = online.then_some(T0 + 100 * S);
        around.wrote = wrote;
        around.policy.services.text = vec![TextService { idempotent, ..TextService::xms("text") }];
        around.left_at = left.then_some(T0 - S);
        // 03:00 in Seoul: over within a few pauses.
        let hours = QuietHours { start_minute: 60, end_minute: 185, time_zone: "Asia/Seoul".into() };
        around.policy.quiet = night.then_some(hours);
        let opened = open(reply(1, T0), &around.facts(), T0, &around.policy);
        sound(&opened.decision.next, T0, opened.decision.wake);
        let inputs = Inputs::of_reply(None, &reply(1, T0), &around.facts(), 1);
        let kept = vec![vec![(T0, inputs, opened.decision.note)]];
        Family { around, now: T0, members: vec![opened.decision.next], kept, punctual }
    }

    fn run(&mut self, steps: &[(Ms, Step)]) {
        for (pause, step) in steps {
            // Who nobody claims is offered again every 5 s: a punctual timer is kept from hours of that.
            let until = self.now + if self.punctual { pause % (400 * S) } else { *pause };
            if self.punctual {
                self.wake_until(until);
            }
            self.now = until;
            for member in 0..self.members.len() {
                self.step(member, step);
            }
        }
    }

    fn wake_until(&mut self, until: Ms) {
        for _ in 0..100_000 {
            let due = (0..self.members.len()).filter_map(|m| wake(&self.members[m]).map(|w| (w.at.max(self.now), m)));
            match due.min().filter(|(at, _)| *at <= until) {
                Some((at, member)) => {
                    self.now = at;
                    // Nobody looks again before presence says so.
                    self.around.online_until = self.around.online_until.filter(|until| *until > at);
                    self.apply(member, &Event::Woke);
                }
                None => return,
            }
        }
        panic!("it wakes for ever");
    }

    fn step(&mut self, member: usize, step: &Step) {
        let f = &self.members[member];
        let older = |attempt: u32, older: bool| if older { attempt.saturating_sub(1) } else { attempt };
        let event = match step {
            Step::Woke if self.punctual => return,
            Step::Woke => Event::Woke,
            Step::Join { bot, email_only } => return self.join(member, *bot, *email_only),
            Step::World { online, left, alerts, phone, email } => {
                self.around.online_until = online.then_some(self.now + 100 * S);
                self.around.left_at = left.then_some(self.now);
                self.around.devices.iter_mut().take(1).for_each(|d| d.alerts = *alerts);
                (self.around.phone, self.around.email) = (*phone, *email);
                return;
            }
            Step::Push { device, older: o, outcome } => {
                let attempt = f.pushes.iter().find(|p| p.device == *device).map_or(1, |p| older(p.attempt, *o));
                Event::PushAnswered { device: *device, attempt, outcome: outcome.clone() }
            }
            Step::Ack { device, covers, grade } => {
                Event::Acked { device: *device, covers: *covers, grade: *grade, recorded_at: self.now, detail: None }
            }
            Step::AckedByNewer => Event::AckedByNewer { device: A },
            Step::Lost { device, why } => Event::DeviceLost { device: *device, why: *why },
            Step::Claim(channel) => Event::Claiming(*channel),
            Step::Answer { channel, older: o, outcome } => {
                let attempt = older(f.leg(*channel).attempt, *o);
                Event::FallbackAnswered { channel: *channel, attempt, outcome: outcome.clone() }
            }
            Step::Report { channel, older: o, delivered } => {
                report(*channel, older(f.leg(*channel).attempt, *o), *delivered, None)
            }
            Step::MayHaveLeft { older: o } => {
                let mark = Mark { number: 1, body: 2 };
                Event::MayHaveLeft { attempt: older(f.text.attempt, *o), error: "timeout".into(), mark }
            }
            Step::Asked { older: o, found } => {
                let inquiry = match f.text.status {
                    LegStatus::Asking(inquiry) => inquiry.asked,
                    _ => 1,
                };
                let inquiry = if *o { inquiry.saturating_sub(1) } else { inquiry };
                Event::Asked { attempt: f.text.attempt, inquiry, found: found.clone() }
            }
            Step::Seen(through_seq) => Event::Seen { through_seq: *through_seq, why: Reason::CustomerRead },
            Step::Withdrawn(seq) => Event::Withdrawn { seq: *seq },
            Step::Cancel => Event::Cancel(Reason::CancelledByApi),
        };
        self.apply(member, &event);
    }

    fn join(&mut self, member: usize, bot: bool, email_only: bool) {
        let f = &self.members[member];
        let mut new = reply(f.replies.last().map_or(0, |r| r.seq) + 1, self.now);
        if bot {
            new.reply.author = AuthorKind::Bot;
        }
        new.chosen = email_only.then(|| vec![Channel::Email]);
        if let Some(decision) = join(f, &new, &self.around.facts(), self.now, &self.around.policy) {
            assert_eq!(decision.next.replies.len(), f.replies.len() + 1);
            let inputs = Inputs::of_reply(Some(f), &new, &self.around.facts(), 1);
            self.kept[member].push((self.now, inputs, decision.note.clone()));
            sound(&decision.next, self.now, decision.wake);
            self.members[member] = decision.next;
        }
    }

    fn apply(&mut self, member: usize, event: &Event) -> Decision {
        let before = self.members[member].clone();
        let decision = decide(&before, event, &self.around.facts(), self.now, &self.around.policy);
        assert_eq!(decision.changed, decision.next != before || decision.rest.is_some());
        sound(&decision.next, self.now, decision.wake);
        self.outcome_stays(&before, &decision);
        self.sends_are_claimed(&before, event, &decision);
        self.repeats_change_nothing(event, &decision);
        self.nothing_is_lost(&before, &decision);
        if *event == Event::Woke && wake(&before).is_some_and(|w| w.at <= self.now) {
            assert!(decision.wake.is_none_or(|w| w.at > self.now), "{before:?} wakes again at once: {decision:?}");
            if before.stage == Stage::Waiting && self.now >= before.deadline_at {
                assert_ne!(decision.next.stage, Stage::Waiting, "P3");
            }
        }
        if let Event::Acked { .. } = event {
            let acked = decision.acked.expect("an ack is answered");
            assert!(acked.counted || !acked.first_counted);
            if acked.counted {
                assert!(matches!(decision.next.stage, Stage::Acked { .. }));
            }
        }
        if decision.note.is_some() {
            let inputs = Inputs::of(&before, event, &self.around.facts(), 1);
            self.kept[member].push((self.now, inputs, decision.note.clone()));
        }
        self.members[member] = decision.next.clone();
        if let Some(rest) = &decision.rest {
            self.kept.push(vec![(self.now, Inputs::of_rest(&rest.next, 1), None)]);
            sound(&rest.next, self.now, rest.wake);
            self.members.push(rest.next.clone());
        }
        decision
    }

    /// S7: what was kept of the decisions, through its JSON, makes the same ones again, and the same outcome.
    fn replays(&self) {
        for (member, kept) in self.members.iter().zip(&self.kept) {
            let mut replay = Replay::default();
            for (at, inputs, note) in kept {
                let text = serde_json::to_string(inputs).unwrap();
                let inputs = serde_json::from_str(&text).unwrap();
                assert_eq!(replay.decide(*at, &inputs, &self.around.policy), *note, "{text}");
            }
            let state = replay.state().expect("it began");
            let stands = |f: &Followup| (f.public_state(), f.decided_at(), f.reason(), f.late_ack_at);
            assert_eq!(stands(state), stands(member));
        }
    }

    /// Exactly one outcome, and it never changes.
    fn outcome_stays(&self, before: &Followup, decision: &Decision) {
        let after = &decision.next;
        if before.public_state().is_some_and(PublicState::is_outcome) {
            assert_eq!(after.public_state(), before.public_state());
            assert_eq!(after.decided_at(), before.decided_at());
            assert_eq!(after.reason(), before.reason());
        }
        if let Some(at) = before
            .decided_at()
            .filter(|_| !matches!(after.stage, Stage::Acked { .. } | Stage::Cancelled { .. } | Stage::Failed { .. }))
        {
            assert_eq!(after.decided_at(), Some(at), "a decision to fall back is made once");
        }
        if matches!(after.stage, Stage::Acked { .. }) {
            assert!(!matches!(before.stage, Stage::FallingBack { .. } | Stage::FellBack { .. }), "P8");
        }
        if self.punctual && before.stage == Stage::Waiting {
            assert!(self.now <= before.deadline_at, "P3: woken on time, it is decided in time");
        }
    }

    /// A send is claimed by the decision that asks for it; nothing that may have left goes again without a key.
    fn sends_are_claimed(&self, before: &Followup, event: &Event, decision: &Decision) {
        for effect in &decision.effects {
            match effect {
                Effect::Send { channel, attempt } => {
                    let (was, is) = (before.leg(*channel), decision.next.leg(*channel));
                    assert_eq!(*event, Event::Claiming(*channel));
                    assert!(matches!(was.status, LegStatus::Queued(_) | LegStatus::Retry(_)), "one live claim");
                    let night = self.around.policy.quiet.as_ref().and_then(|quiet| quiet.until(self.now, None));
                    assert!(*channel == Channel::Email || night.is_none(), "D10: no text leaves at night");
                    assert!(matches!(is.status, LegStatus::Claimed(until) if until > self.now));
                    assert_eq!((is.attempt, *attempt), (was.attempt + 1, was.attempt + 1));
                    let keyed = self.around.policy.services.text.first().is_some_and(|t| t.idempotent);
                    assert!(*channel == Channel::Email || keyed || !was.left, "sent again after it may have left");
                    assert!(!before.stopped && (decision.left || before.kind == Kind::Outreach));
                }
                Effect::SendPush { device, attempt, .. } => {
                    let push = decision.next.pushes.iter().find(|p| p.device == *device).expect("it is in the state");
                    assert!(push.attempt == *attempt && matches!(push.status, PushStatus::Claimed(_)));
                    assert_eq!(decision.next.stage, Stage::Waiting);
                    // C3: a push that went to the other environment came back for good when that refused it, too.
                    let known = before.pushes.iter().find(|p| p.device == *device).filter(|p| p.elsewhere.is_some());
                    let refused =
                        matches!(event, Event::PushAnswered { outcome: Outcome::WrongEnvironment { .. }, .. });
                    assert!(!refused || known.is_none(), "a third environment");
                }
                Effect::Offer(channel) => {
                    assert!(matches!(decision.next.leg(*channel).status, LegStatus::Queued(_)));
                    assert!(matches!(decision.next.stage, Stage::FallingBack { .. } | Stage::FellBack { .. }), "P8");
                }
                Effect::Ask { attempt, inquiry, .. } => {
                    let LegStatus::Asking(asking) = decision.next.text.status else { panic!("nothing is asked for") };
                    assert_eq!((decision.next.text.attempt, asking.asked), (*attempt, *inquiry));
                }
                Effect::Suppress => assert!(matches!(decision.next.text.status, LegStatus::Failed)),
                Effect::Block(way) => {
                    assert!(decision.next.text.tried.iter().any(|leg| leg.form().way() == *way), "T7: a way given up");
                }
                Effect::Alarm(_) => {}
            }
        }
    }

    fn repeats_change_nothing(&self, event: &Event, decision: &Decision) {
        // What depends on the time may do more at a later one.
        let later = if matches!(event, Event::Woke | Event::Claiming(_)) { 0 } else { 1 };
        for now in [self.now, self.now + later] {
            let again = decide(&decision.next, event, &self.around.facts(), now, &self.around.policy);
            assert_eq!(again.next, decision.next, "{event:?} again");
            assert!(!again.changed && again.rest.is_none());
        }
    }

    fn nothing_is_lost(&self, before: &Followup, decision: &Decision) {
        let rest = decision.rest.as_ref().map_or(&[][..], |rest| &rest.next.replies);
        let after: Vec<i64> = decision.next.replies.iter().chain(rest).map(|r| r.seq).collect();
        assert_eq!(after, before.replies.iter().map(|r| r.seq).collect::<Vec<_>>());
        if let Some(rest) = &decision.rest {
            assert!(rest.next.unseen().next().is_some(), "it would show nothing");
            assert_eq!(decision.next.rest, Some((rest.id, decision.next.count() + 1)));
        }
    }

    /// Providers take everything from now on: everything must end.
    fn heal(&mut self) {
        self.around.online_until = None;
        for _ in 0..1_000 {
            let due = (0..self.members.len()).filter_map(|m| wake(&self.members[m]).map(|w| (w.at.max(self.now), m)));
            let Some((at, member)) = due.min() else { return };
            self.now = at;
            let decision = self.apply(member, &Event::Woke);
            for effect in decision.effects {
                if let Effect::Offer(channel) = effect {
                    for claimed in self.apply(member, &Event::Claiming(channel)).effects {
                        if let Effect::Send { channel, attempt } = claimed {
                            self.apply(member, &Event::FallbackAnswered { channel, attempt, outcome: accepted() });
                        }
                    }
                }
            }
        }
        panic!("it never ends");
    }
}

/// What every reachable state is.
fn sound(f: &Followup, now: Ms, woken: Option<Wake>) {
    assert_eq!(woken, wake(f));
    assert_eq!(woken.is_some(), f.is_open(), "every open state has a wake-up, every closed one none: {f:?}");
    assert!(!f.replies.is_empty() && f.seen <= f.count());
    if let Stage::FallingBack { .. } = f.stage {
        assert!(f.text.status.is_moving() || f.email.status.is_moving(), "{f:?}");
    }
    if let Stage::FellBack { why, .. } = f.stage {
        assert!(f.text.left || f.email.left || why == Reason::AckLate, "{f:?}");
    }
    assert!(f.decided_at().is_none_or(|at| at <= now));
    let json = serde_json::to_string(f).expect("it serializes");
    assert_eq!(serde_json::from_str::<Followup>(&json).expect("it reads back"), *f, "{json}");
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..ProptestConfig::with_cases(CASES)
    })]

    /// P8, D9: any event in any state, at any time: one outcome that stays, claims before sends, repeats change
    /// nothing, no reply lost, a wake-up in every open state and none in the past, every state reads back.
    #[test]
    fn any_history_is_sound((beginning, steps) in history()) {
        Family::new(beginning, false).run(&steps);
    }

    /// S7: whatever happened, the decisions are made again from what was kept of them, and come to the same.
    #[test]
    fn s7_any_history_can_be_replayed((beginning, steps) in history()) {
        let mut family = Family::new(beginning, false);
        family.run(&steps);
        family.replays();
    }

    /// P3: woken on time it is decided by start + 30 s; and once providers take everything, everything ends.
    #[test]
    fn a_punctual_history_is_decided_in_time_and_ends((beginning, steps) in history()) {
        let mut family = Family::new(beginning, true);
        family.run(&steps);
        family.heal();
        for f in &family.members {
            assert!(!f.is_open() && f.stage != Stage::Watching, "{f:?}");
        }
    }

    /// P2, P8: after a counted ack was committed before the decision, nothing makes a text or email leave.
    #[test]
    fn a_counted_ack_in_time_silences_everything((_, steps) in history(), at in 0..30 * S) {
        let mut family = Family::new((1, false, true, true, false, false), false);
        family.now = T0 + at;
        let ack = Event::Acked { device: A, covers: 1, grade: Grade::Displayed, recorded_at: T0, detail: None };
        assert!(family.apply(0, &ack).acked.is_some_and(|a| a.counted));
        family.run(&steps);
        assert_eq!((family.members[0].text.attempt, family.members[0].email.attempt), (0, 0));
        assert_eq!(family.members[0].public_state(), Some(PublicState::Acked));
    }
}
