//! S4 at the claim: what is stopped, what is counted, what is given back.

use super::*;
use crate::limits::{Cap, Caps, Limits, Scope};
use crate::text::{Encoding, Form, Hop, NumberKind, Sender, Way};

/// At most this many texts to a number in an hour.
fn capped(per_hour: u32) -> Case {
    let mut case = Case::around(&[]);
    let cap = Cap { per_hour: Some(per_hour), per_day: None };
    case.policy.limits = Limits { caps: Caps::of([(Scope::Number, cap)]), ..Limits::none() };
    case.plan = Some(TextPlan {
        hop: Hop { way: Way::Xms, via: "text".into() },
        then: Vec::new(),
        passed: None,
        country: None,
        number: NumberKind::Ordinary,
        form: Form::Sms,
        encoding: Encoding::Gsm7,
        segments: 1,
        sender: Sender::Shared(None),
        shows: vec![1],
    });
    case.counters = Some(Counters::default());
    case.open(T0, reply(1, T0));
    case
}

fn counted(case: &Case) -> u32 {
    case.counters.map_or(0, |counters| counters.of(Scope::Number).hour.count)
}

/// S4: the text is stopped and says why; email still goes.
#[test]
fn a_full_cap_stops_the_text_alone() {
    let mut case = capped(0);
    case.at(1, &Event::Claiming(Channel::Text));
    assert_eq!(case.f.text.status, LegStatus::Skipped(Skip::Capped(Scope::Number)));
    assert_eq!((case.sends(Channel::Text), counted(&case)), (0, 0));
    case.sent(2, Channel::Email, accepted());
    assert_eq!(case.state(), Some(PublicState::FellBack));
}

/// S4: with nothing else to send, a stopped text is a follow-up that failed.
#[test]
fn a_full_cap_without_email_has_no_route() {
    let mut case = capped(0);
    case.email = false;
    case.open(T0, reply(1, T0)).at(1, &Event::Claiming(Channel::Text));
    assert_eq!((case.state(), case.reason()), (Some(PublicState::Failed), Reason::NoFallbackRoute));
}

/// S4: counted at the claim and kept when it left or may have left; given back when it certainly did not.
#[test]
fn what_did_not_leave_is_given_back() {
    for (outcome, expected) in [(accepted(), 1), (unknown(), 1), (rejected(), 0), (retry_after(None), 0)] {
        let mut case = capped(1);
        case.claimed(1, Channel::Text);
        assert_eq!(counted(&case), 1);
        let before = case.last.counters.is_some();
        case.at(2, &Event::FallbackAnswered { channel: Channel::Text, attempt: 1, outcome: outcome.clone() });
        assert_eq!((before, counted(&case)), (true, expected), "{outcome:?}");
    }
}

/// S4: a text that is tried again is counted once, under a key of the vendor's or not.
#[test]
fn a_repeat_is_one_text() {
    let mut case = capped(1);
    case.sent(1, Channel::Text, retry_after(None)).woke(2 * S).sent(2 * S, Channel::Text, accepted());
    assert_eq!((counted(&case), case.sends(Channel::Text)), (1, 2));
    let mut keyed = capped(1);
    keyed.policy.services.text = vec![TextService { idempotent: true, ..TextService::xms("text") }];
    keyed.sent(1, Channel::Text, unknown()).woke(2 * S).sent(2 * S, Channel::Text, rejected());
    assert_eq!((counted(&keyed), keyed.sends(Channel::Text)), (1, 2), "the first may have left");
}

/// S4: an answer that comes when nobody knows the counters leaves it counted, and the next try is not counted again.
#[test]
fn unknown_counters_never_count_twice() {
    let mut case = capped(1);
    case.claimed(1, Channel::Text);
    let counters = case.counters.take();
    case.at(2, &Event::FallbackAnswered { channel: Channel::Text, attempt: 1, outcome: retry_after(None) });
    case.counters = counters;
    case.woke(2 * S).sent(2 * S, Channel::Text, accepted());
    assert_eq!((counted(&case), case.state()), (1, Some(PublicState::FellBack)));
}

/// S4: a claim that ran out may have left: it stays counted.
#[test]
fn a_claim_that_ran_out_stays_counted() {
    let mut case = capped(5);
    case.claimed(1, Channel::Text).woke(15 * S + 1);
    assert!(matches!(case.f.text.status, LegStatus::Unknown(_)));
    assert_eq!(counted(&case), 1);
}

/// S4: email is never counted and never stopped.
#[test]
fn emails_are_free() {
    let mut case = capped(0);
    case.sent(1, Channel::Email, accepted());
    assert_eq!(counted(&case), 0);
}

/// Rows of yesterday read, and what is not counted is not written.
#[test]
fn a_leg_without_a_count_reads_and_writes_as_before() {
    let yesterday = r#"{"status":{"skipped":"too_old"},"at":5}"#;
    let leg: Leg = serde_json::from_str(yesterday).expect("yesterday's leg reads");
    assert_eq!(serde_json::to_string(&leg).expect("it is written"), yesterday);
    let capped = LegStatus::Skipped(Skip::Capped(Scope::Prefix));
    let json = serde_json::to_string(&capped).expect("it is written");
    assert_eq!(serde_json::from_str::<LegStatus>(&json).expect("it reads"), capped, "{json}");
}
