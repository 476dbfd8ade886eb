//! Quiet hours: a text waits for the morning, an email does not (D10).

use super::*;
use crate::quiet::QuietHours;

const TEXT: Channel = Channel::Text;
const EMAIL: Channel = Channel::Email;
const HOUR: Ms = 3_600_000;
/// `T0` is 03:00 in Seoul: five hours before the end.
const MORNING: Ms = 5 * HOUR;

fn night() -> Option<QuietHours> {
    Some(QuietHours { start_minute: 21 * 60, end_minute: 8 * 60, time_zone: "Asia/Seoul".into() })
}

/// Nobody to push to, at night.
fn at_night() -> Case {
    let mut case = Case::around(&[]);
    case.policy.quiet = night();
    case.open(T0, reply(1, T0));
    case
}

fn held(case: &Case) -> Option<Ms> {
    match case.f.text.status {
        LegStatus::Held(until) => Some(until - T0),
        _ => None,
    }
}

/// D10: at night the push goes, the email goes, the text waits until the morning, to the millisecond.
#[test]
fn d10_a_text_waits_for_the_morning() {
    let mut case = Case::around(&[A]);
    case.policy.quiet = night();
    case.open(T0, reply(1, T0)).push_answered(100, A, accepted());
    assert_eq!(case.pushes().len(), 1);
    case.woke(30_000);
    assert_eq!((case.offers(), held(&case)), (vec![EMAIL], Some(MORNING)));
    case.sent(30_100, EMAIL, accepted());
    assert_eq!((case.state(), case.wake()), (Some(PublicState::FellBack), Some((MORNING, WakeReason::Held))));
    case.woke(MORNING - 1);
    assert_eq!((held(&case), case.sends(TEXT)), (Some(MORNING), 0));
    case.woke(MORNING);
    assert_eq!(case.offers(), [EMAIL, TEXT]);
    case.sent(MORNING + 100, TEXT, accepted());
    assert_eq!((case.sends(TEXT), case.sends(EMAIL)), (1, 1));
}

/// D10: the customer's clock decides, and off is off.
#[test]
fn d10_it_is_night_where_the_customer_is() {
    for (quiet, time_zone, waits) in [
        (night(), None, true),
        (night(), Some("Asia/Seoul"), true),
        (night(), Some("America/New_York"), false),
        (None, Some("Asia/Seoul"), false),
    ] {
        let mut case = Case::around(&[]);
        (case.policy.quiet, case.time_zone) = (quiet, time_zone);
        case.open(T0, reply(1, T0));
        assert_eq!(held(&case).is_some(), waits, "{time_zone:?}");
        assert_eq!(case.offers().contains(&TEXT), !waits, "{time_zone:?}");
    }
}

/// D10: judged again when it is sent: the night began between the decision and the claim.
#[test]
fn d10_the_night_may_begin_before_the_claim() {
    let mut case = Case::around(&[]);
    // Quiet from 03:00:00 on: a second after the decision.
    case.policy.quiet = Some(QuietHours { start_minute: 3 * 60, ..night().unwrap() });
    case.open(T0 - S, reply(1, T0 - S));
    assert_eq!(case.offers(), [TEXT, EMAIL]);
    case.at(0, &Event::Claiming(TEXT));
    assert_eq!((held(&case), case.sends(TEXT)), (Some(MORNING), 0));
    case.sent(10, EMAIL, accepted());
    // Switched off since: the wait ends where it was to end.
    case.policy.quiet = None;
    case.woke(MORNING).sent(MORNING, TEXT, accepted());
    assert_eq!(case.sends(TEXT), 1);
    // Or longer by then: it waits on.
    let mut case = at_night();
    case.policy.quiet = Some(QuietHours { end_minute: 9 * 60, ..night().unwrap() });
    case.woke(MORNING);
    assert_eq!(held(&case), Some(MORNING + HOUR));
}

/// D10, P8, D5: a late ack, a read or a cancel stops what is held.
#[test]
fn d10_what_is_held_can_be_stopped() {
    let read = Event::Seen { through_seq: 1, why: Reason::CustomerRead };
    for event in [read, Event::Cancel(Reason::CancelledByApi), Event::Withdrawn { seq: 1 }] {
        let mut case = at_night();
        case.sent(100, EMAIL, accepted()).at(HOUR, &event);
        assert_eq!((case.f.text.status, case.wake()), (LegStatus::Stopped, None), "{event:?}");
        case.woke(MORNING);
        assert_eq!((case.sends(TEXT), case.state()), (0, Some(PublicState::FellBack)));
    }
    let mut case = Case::around(&[A]);
    (case.policy.quiet, case.email) = (night(), false);
    case.open(T0, reply(1, T0)).push_answered(100, A, accepted()).woke(30_000);
    case.acked(HOUR, A, 1, Grade::Displayed);
    assert_eq!((case.state(), case.reason()), (Some(PublicState::FellBack), Reason::AckLate));
    assert_eq!((case.sends(TEXT), case.wake()), (0, None));
}

/// P13, D10: the night is nobody's delay; the hours beside it are.
#[test]
fn p13_the_horizon_is_counted_without_the_night() {
    for (late, leaves) in [(MORNING + 6 * HOUR, true), (MORNING + 6 * HOUR + 1, false)] {
        let mut case = at_night();
        case.sent(100, EMAIL, accepted());
        // The server was down from the deadline on: nobody woke it in the morning.
        case.f.deadline_at = T0;
        case.woke(late).at(late, &Event::Claiming(TEXT));
        assert_eq!(case.sends(TEXT) == 1, leaves, "{late}");
    }
    let mut case = at_night();
    (case.policy.quiet, case.f.deadline_at) = (None, T0);
    let late = MORNING + 6 * HOUR + 1;
    let mut in_time = Case { f: case.f.clone(), policy: case.policy.clone(), ..at_night() };
    in_time.woke(late - 1).at(late - 1, &Event::Claiming(TEXT));
    assert_eq!(in_time.sends(TEXT), 1, "it was held by the hours of then");
    case.woke(late).at(late, &Event::Claiming(TEXT));
    assert_eq!((case.f.text.status, case.alarms()), (LegStatus::Skipped(Skip::TooOld), 1));
}

/// D8, D10: with nobody to push to and no email, the replies of a night are one text.
#[test]
fn d8_the_replies_of_a_night_are_one_text() {
    let mut case = Case::around(&[]);
    (case.policy.quiet, case.email) = (night(), false);
    case.open(T0, reply(1, T0));
    assert!(case.joins(HOUR) && case.joins(2 * HOUR));
    assert!(!case.joins(MORNING), "it goes now");
    case.woke(MORNING).sent(MORNING, TEXT, accepted());
    assert_eq!((case.f.replies.len(), case.sends(TEXT)), (3, 1));
    let mut with_email = at_night();
    assert!(!with_email.joins(HOUR), "its email must go now");
}

/// D8, D10: texts of one conversation that a night held leave a gap apart, so that reading stops the rest.
#[test]
fn d8_the_texts_of_a_night_leave_a_gap_apart() {
    let mut case = at_night();
    case.sent(100, EMAIL, accepted()).woke(MORNING);
    // Another follow-up's text left a minute ago.
    case.left_at = Some(T0 + MORNING - 60 * S);
    case.at(MORNING, &Event::Claiming(TEXT));
    assert_eq!((held(&case), case.sends(TEXT)), (Some(MORNING + 120 * S), 0));
    case.woke(MORNING + 120 * S).sent(MORNING + 120 * S, TEXT, accepted());
    assert_eq!(case.sends(TEXT), 1);
    // Its own email begins no gap for its own text.
    let mut case = at_night();
    case.policy.quiet = None;
    case.woke(MORNING).sent(MORNING, EMAIL, accepted()).sent(MORNING + 1, TEXT, accepted());
    assert_eq!(case.sends(TEXT), 1);
}
