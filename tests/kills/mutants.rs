//! The oracle itself is tested: each broken history must be found, and for its own reason.

use backstop_tests::oracle::{AckAnswer, AckWord, Channel, Create, Effect, History, Up, View, Violation, judge};

/// Four replies: one acked, one that fell back by text and email, one whose mail was repeated after a kill, and one
/// that was stopped.
fn sound() -> History {
    let create = |n: i64, at| Create {
        message: format!("m-{n}"),
        followup: format!("fu_{n}"),
        asked_at: at,
        deadline_at: at + 1_001,
    };
    let view = |n: i64, state: &str, decided_at, deliveries: &[Channel]| View {
        followup: format!("fu_{n}"),
        state: state.into(),
        reason: (state == "fell_back").then(|| "no_ack".into()),
        deadline_at: 11_001 + n * 1_000,
        decided_at: Some(decided_at),
        acked_late: false,
        awaits_report: false,
        is_leaving: false,
        deliveries: deliveries.into(),
    };
    let effect = |channel, about: &str, key: &str, at| Effect { channel, about: about.into(), key: key.into(), at };
    let ack = |word| AckAnswer { receipt: "r-0".into(), followup: "fu_0".into(), word };
    History {
        ack_wait_ms: 1_000,
        creates: vec![create(0, 10_000), create(1, 11_000), create(1, 11_000), create(2, 12_000), create(3, 13_000)],
        acks: vec![ack(AckWord::Accepted { counted: true }), ack(AckWord::Duplicate)],
        stopped: ["m-3".to_owned()].into(),
        effects: vec![
            effect(Channel::Text, "fu_1", "t-1", 12_010),
            effect(Channel::Email, "m-1", "e-1", 12_011),
            effect(Channel::Email, "m-2", "e-2", 13_020),
            effect(Channel::Email, "m-2", "e-2", 18_000),
        ],
        views: vec![
            view(0, "acked", 10_200, &[]),
            view(1, "fell_back", 12_002, &[Channel::Text, Channel::Email]),
            view(2, "fell_back", 13_003, &[Channel::Email]),
            view(2, "fell_back", 13_003, &[Channel::Email]),
            view(3, "cancelled", 13_100, &[]),
        ],
        up: vec![Up { from: 9_000, to: 13_050, same_time: true }, Up { from: 14_000, to: i64::MAX, same_time: true }],
        stalls: vec![],
        clocks: vec![5, 5, 9],
    }
}

fn found(broken: impl FnOnce(&mut History)) -> Vec<Violation> {
    let mut history = sound();
    broken(&mut history);
    judge(&history).into_iter().collect()
}

/// One view, changed wherever it is shown.
fn each(history: &mut History, followup: &str, change: impl Fn(&mut View)) {
    history.views.iter_mut().filter(|view| view.followup == followup).for_each(change);
}

fn fu(n: i64) -> String {
    format!("fu_{n}")
}

/// P2, P3, P8: a history as it should be passes.
#[test]
fn a_sound_history_passes() {
    assert_eq!(found(|_| {}), []);
}

/// Invariants 1, 3 and 5: lost, undecided, changed, answered otherwise.
#[test]
fn what_is_lost_or_changes_is_found() {
    assert_eq!(found(|h| h.views.retain(|view| view.followup != "fu_1")), [Violation::Lost(fu(1))]);
    assert_eq!(found(|h| h.creates[2].followup = fu(2)), [Violation::AnswerChanged("m-1".into())]);
    assert_eq!(found(|h| h.creates[2].deadline_at += 1), [Violation::AnswerChanged("m-1".into())]);
    assert_eq!(found(|h| each(h, "fu_3", |view| view.state = "sending".into())), [Violation::Undecided(fu(3))]);
    assert_eq!(found(|h| h.views[2].decided_at = Some(13_002)), [Violation::OutcomeChanged(fu(2))]);
    assert_eq!(found(|h| h.views[2].state = "acked".into()), [Violation::OutcomeChanged(fu(2))]);
    assert_eq!(found(|h| h.stopped.clear()), [Violation::Unasked(fu(3))]);
    assert_eq!(found(|h| h.clocks.push(8)), [Violation::ClockWentBack]);
}

/// P8, P11, invariant 4: what an answered ack promised.
#[test]
fn an_ack_that_does_not_hold_is_found() {
    let fell_back = |view: &mut View| {
        (view.state, view.deliveries) = ("fell_back".into(), vec![Channel::Email]);
    };
    assert_eq!(
        found(|h| each(h, "fu_0", fell_back)),
        [Violation::NothingLeft(fu(0)), Violation::AckLost(fu(0))].sorted()
    );
    let mail = |about: &str| Effect { channel: Channel::Email, about: about.into(), key: "e".into(), at: 12_000 };
    let spoke = found(|h| {
        h.effects.push(mail("m-0"));
        each(h, "fu_0", |view| view.deliveries.push(Channel::Email));
    });
    assert_eq!(spoke, [Violation::SpokeAfterAck(fu(0))]);
    assert_eq!(found(|h| h.acks[1].word = AckWord::Refused), [Violation::AckRefused(fu(0))]);
    assert_eq!(found(|h| h.acks[1].word = AckWord::Late), [Violation::AckCountedTwice(fu(0))]);
    assert_eq!(found(|h| h.effects.push(mail("m-99"))), [Violation::Stray("m-99".into())]);
}

/// P8, E4, T1: sent twice, sent without a claim, said to be sent.
#[test]
fn what_leaves_twice_or_unclaimed_is_found() {
    assert_eq!(found(|h| h.effects[3].key = "e-3".into()), [Violation::Twice(fu(2), Channel::Email)]);
    let again = found(|h| h.effects.push(Effect { at: 12_500, ..h.effects[0].clone() }));
    assert_eq!(again, [Violation::Twice(fu(1), Channel::Text)], "a text under one key is two texts all the same");
    let unclaimed = found(|h| each(h, "fu_1", |view| view.deliveries = vec![Channel::Text]));
    assert_eq!(unclaimed, [Violation::Unclaimed(fu(1), Channel::Email)]);
    assert_eq!(found(|h| h.effects.truncate(2)), [Violation::NothingLeft(fu(2))]);
    let stopped_by_a_late_ack = |h: &mut History| {
        h.effects.truncate(2);
        each(h, "fu_2", |view| view.acked_late = true);
    };
    assert_eq!(found(stopped_by_a_late_ack), []);
    assert_eq!(found(|h| each(h, "fu_2", |view| view.state = "failed".into())), [Violation::NothingLeft(fu(2))]);
}

/// P3: both sides of the instant, with a server that was down, and with a machine that stood still.
#[test]
fn what_is_early_or_late_is_found() {
    assert_eq!(found(|h| h.effects[0].at = 11_990), [Violation::Early(fu(1))]);
    assert_eq!(found(|h| each(h, "fu_1", |view| view.decided_at = Some(12_000))), [Violation::Early(fu(1))]);
    let decided = |at| move |h: &mut History| each(h, "fu_1", |view| view.decided_at = Some(at));
    assert_eq!(found(decided(13_001)), []);
    assert_eq!(found(decided(13_002)), [Violation::Late(fu(1))]);
    let stalled = |h: &mut History| {
        h.stalls.push((12_100, 12_140));
        decided(13_041)(h);
    };
    assert_eq!(found(stalled), []);
    // Killed 47 ms after the deadline, 950 ms down, and then three seconds.
    let decided = |at| move |h: &mut History| each(h, "fu_2", |view| view.decided_at = Some(at));
    assert_eq!(found(decided(17_000)), []);
    assert_eq!(found(decided(17_001)), [Violation::Late(fu(2))]);
}

trait Sorted {
    fn sorted(self) -> Self;
}

impl<const N: usize> Sorted for [Violation; N] {
    fn sorted(mut self) -> Self {
        self.sort();
        self
    }
}
