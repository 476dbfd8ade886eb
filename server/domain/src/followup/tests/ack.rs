//! Acks: what counts, who wins, what is late (P2, P6–P9, P11).

use super::*;

/// P2, P8: acked in time, nothing else is ever sent; acks after it say so.
#[test]
fn acked_in_time_sends_nothing_else() {
    let mut case = Case::pushed(&[A]);
    let ack = case.acked(29_999, A, 1, Grade::Displayed);
    assert_eq!((ack.verdict, ack.counted, ack.first_counted), (AckVerdict::Accepted, true, true));
    assert_eq!((case.state(), case.wake(), case.f.decided_at()), (Some(PublicState::Acked), None, Some(T0 + 29_999)));
    case.woke(30 * S).at(30 * S, &Event::Claiming(Channel::Text)).at(30 * S, &Event::Claiming(Channel::Email));
    assert!(case.offers().is_empty() && case.sends(Channel::Text) + case.sends(Channel::Email) == 0);
    let again = case.acked(31 * S, A, 1, Grade::Displayed);
    assert_eq!((again.verdict, again.counted), (AckVerdict::Duplicate, true));
    let opened = case.acked(32 * S, A, 1, Grade::Opened);
    assert_eq!((opened.verdict, opened.counted, opened.first_counted), (AckVerdict::Accepted, true, false));
    assert_eq!(case.push(A).acked.map(|(grade, ..)| grade), Some(Grade::Opened));
}

/// P8: whichever is committed first wins; an ack after the decision is late and the outcome stays.
#[test]
fn the_decision_wins_over_a_later_ack() {
    let mut case = Case::pushed(&[A]);
    case.woke(30 * S);
    let ack = case.acked(30 * S, A, 1, Grade::Displayed);
    assert_eq!((ack.verdict, ack.counted, ack.first_counted), (AckVerdict::Late, false, false));
    assert_eq!((case.state(), case.reason()), (Some(PublicState::FellBack), Reason::AckLate));
    assert_eq!((case.f.text.status, case.f.email.status), (LegStatus::Stopped, LegStatus::Stopped));
    assert_eq!((case.f.late_ack_at, case.f.decided_at()), (Some(T0 + 30 * S), Some(T0 + 30 * S)));
    case.at(31 * S, &Event::Claiming(Channel::Text));
    assert_eq!(case.sends(Channel::Text), 0);
    assert_eq!(case.acked(32 * S, A, 1, Grade::Displayed).verdict, AckVerdict::Duplicate);

    let mut first = Case::pushed(&[A]);
    first.acked(30 * S, A, 1, Grade::Displayed);
    first.woke(30 * S);
    assert_eq!(first.state(), Some(PublicState::Acked), "its deadline had not been judged");
}

/// P8: a late ack stops what has not left; what is in flight is awaited.
#[test]
fn a_late_ack_stops_what_has_not_left() {
    for (outcome, email) in [(accepted(), LegStatus::Accepted), (rejected(), LegStatus::Failed)] {
        let mut case = Case::pushed(&[A]);
        case.woke(30 * S).claimed(30_010, Channel::Email);
        case.acked(30_020, A, 1, Grade::Displayed);
        assert_eq!((case.state(), case.f.text.status), (Some(PublicState::FallingBack), LegStatus::Stopped));
        case.at(30_030, &Event::FallbackAnswered { channel: Channel::Email, attempt: 1, outcome });
        assert_eq!((case.state(), case.f.email.status), (Some(PublicState::FellBack), email));
    }
    let mut after = Case::pushed(&[A]);
    after.woke(30 * S).sent(30_010, Channel::Text, accepted()).sent(30_010, Channel::Email, retry_after(None));
    after.acked(30_020, A, 1, Grade::Displayed);
    assert_eq!((after.f.email.status, after.wake()), (LegStatus::Stopped, None), "in fell_back too");
}

/// P8, D8: a late ack of a part does not silence the rest.
#[test]
fn a_late_ack_of_a_part_leaves_the_rest() {
    let mut case = Case::pushed(&[A]);
    assert!(case.joins(S));
    case.woke(30 * S);
    case.acked(31 * S, A, 1, Grade::Displayed);
    assert_eq!(
        (case.state(), case.f.unseen().map(|r| r.seq).collect::<Vec<_>>()),
        (Some(PublicState::FallingBack), vec![2])
    );
    case.sent(32 * S, Channel::Text, accepted());
    case.acked(33 * S, A, 2, Grade::Displayed);
    assert_eq!((case.f.email.status, case.state()), (LegStatus::Stopped, Some(PublicState::FellBack)));
}

/// P7: the grade the workspace asks for counts, lower ones are noted.
#[test]
fn the_grade_decides() {
    use Grade::{Displayed, Opened, Received, Suppressed};
    for (asked, grade, counted) in [
        (Displayed, Received, false),
        (Displayed, Displayed, true),
        (Displayed, Opened, true),
        (Received, Received, true),
        (Received, Suppressed, false),
        (Opened, Displayed, false),
        (Opened, Opened, true),
        (Displayed, Grade::Unknown, false),
    ] {
        let mut case = Case::pushed(&[A]);
        case.policy.ack_grade = asked;
        let ack = case.acked(S, A, 1, grade);
        assert_eq!((ack.verdict, ack.counted), (AckVerdict::Accepted, counted), "{asked:?} {grade:?}");
        let expected = if counted {
            PublicState::Acked
        } else if grade == Suppressed {
            PublicState::FallingBack
        } else {
            PublicState::AwaitingAck
        };
        assert_eq!(case.state(), Some(expected), "{asked:?} {grade:?}");
        if expected == PublicState::AwaitingAck {
            case.woke(30 * S);
            assert_eq!(case.reason(), Reason::GradeTooLow);
        }
    }
}

/// P7: suppressed falls back at once when no other live device is still unanswered.
#[test]
fn suppressed_waits_for_other_devices() {
    let mut case = Case::pushed(&[A, B]);
    case.acked(S, A, 1, Grade::Suppressed);
    assert_eq!(case.state(), Some(PublicState::AwaitingAck));
    let event = Event::Acked {
        device: B,
        covers: 1,
        grade: Grade::Suppressed,
        recorded_at: T0,
        detail: Some("channel_off".into()),
    };
    case.at(2 * S, &event);
    assert_eq!((case.state(), case.reason()), (Some(PublicState::FallingBack), Reason::ChannelOff));
    assert_eq!(case.f.decided_at(), Some(T0 + 2 * S));

    let mut other = Case::pushed(&[A, B]);
    other.acked(S, A, 1, Grade::Suppressed);
    other.acked(2 * S, B, 1, Grade::Displayed);
    assert_eq!(other.state(), Some(PublicState::Acked), "the first countable ack wins for all (P6)");

    let mut dead = Case::pushed(&[A]);
    dead.at(S, &Event::DeviceLost { device: A, why: Reason::AlertsDenied });
    assert_eq!((dead.state(), dead.reason()), (Some(PublicState::FallingBack), Reason::AlertsDenied));
}

/// P6: a tablet in a drawer: three counted acks, each an hour old, no sign of life since. The fourth is uncounted, and
/// the fallback goes at the deadline.
#[test]
fn a_device_that_nobody_looks_at_silences_nobody() {
    let hour = 3_600 * S;
    for (ages, engaged_ago, counted) in [
        ([3 * hour, 2 * hour, hour], None, false),
        ([3 * hour, 2 * hour, hour - 1], None, true),
        ([3 * hour, 2 * hour, hour], Some(3 * hour + 1), false),
        ([3 * hour, 2 * hour, hour], Some(3 * hour), true),
        ([3 * hour, 2 * hour, hour], Some(hour), true),
        ([3 * hour, 2 * hour, hour], Some(0), true),
    ] {
        let mut case = Case::pushed(&[A, B]);
        let now = T0 + S;
        case.devices[0].counted_acks = ages.iter().map(|age| now - age).collect();
        case.engaged_at = engaged_ago.map(|ago| now - ago);
        let ack = case.acked(S, A, 1, Grade::Displayed);
        assert_eq!((ack.verdict, ack.counted), (AckVerdict::Accepted, counted), "{ages:?} {engaged_ago:?}");
        if !counted {
            case.woke(30 * S - 1);
            assert_eq!(case.state(), Some(PublicState::AwaitingAck), "not before the deadline");
            case.woke(30 * S);
            assert_eq!(case.reason(), Reason::DeviceUnattended);
        }
    }
}

/// P6: two counted acks are not three; only devices used within 30 days count.
#[test]
fn only_devices_in_use_count() {
    let days = 86_400 * S;
    for (acks, used_ago, counted) in [(2, 0, true), (3, 0, false), (0, 30 * days - 1, true), (0, 30 * days, false)] {
        let mut case = Case::pushed(&[A]);
        case.devices[0].counted_acks = (1..=acks).map(|n| T0 - n * days).collect();
        case.devices[0].used_at = T0 + S - used_ago;
        assert_eq!(case.acked(S, A, 1, Grade::Displayed).counted, counted, "{acks} {used_ago}");
    }
}

/// P9: a newer push's ack settles older waiting ones; one that falls back already is stopped.
#[test]
fn a_newer_ack_settles_older_ones() {
    let mut case = Case::pushed(&[A]);
    assert!(case.joins(S));
    case.at(2 * S, &Event::AckedByNewer { device: A });
    assert_eq!((case.state(), case.reason()), (Some(PublicState::Acked), Reason::AckedByNewer));
    assert!(case.f.rest.is_none());

    let mut elsewhere = Case::pushed(&[A]);
    elsewhere.f.apps = Some(vec!["shop".into()]);
    elsewhere.at(S, &Event::AckedByNewer { device: B });
    assert_eq!(elsewhere.state(), Some(PublicState::AwaitingAck), "P1: another app's push covers nothing of this one");
    elsewhere.at(S, &Event::AckedByNewer { device: A });
    assert_eq!(elsewhere.state(), Some(PublicState::Acked));

    let mut late = Case::falling_back();
    late.at(S, &Event::AckedByNewer { device: A });
    assert_eq!((late.state(), late.reason()), (Some(PublicState::FellBack), Reason::AckLate));

    let mut watching = Case::around(&[A]);
    watching.online_until = Some(T0 + 9 * S);
    watching.open(T0, reply(1, T0));
    watching.at(S, &Event::AckedByNewer { device: A });
    assert_eq!(watching.f.stage, Stage::Watching);
}

/// P11: an ack of a device that was never pushed to, or of nothing, is refused and changes nothing.
#[test]
fn what_was_never_pushed_is_refused() {
    let mut case = Case::pushed(&[A]);
    let before = case.f.clone();
    for (device, covers) in [(B, 1), (A, 0)] {
        assert_eq!(case.acked(S, device, covers, Grade::Displayed).verdict, AckVerdict::Refused);
        assert_eq!(case.f, before);
    }
}

/// P8: a push that arrived is not sent again, whatever its provider said.
#[test]
fn what_arrived_does_not_go_again() {
    let mut case = Case::around(&[A, B]);
    case.open(T0, reply(1, T0));
    case.push_answered(10, A, unknown()).push_answered(10, B, accepted());
    case.acked(500, A, 1, Grade::Received);
    assert_eq!(case.wake(), Some((30 * S, WakeReason::Deadline)));
}
