//! The fallback: when it is decided, how it goes, what is never repeated (P3–P5, P8, P13).

use super::*;

const TEXT: Channel = Channel::Text;
const EMAIL: Channel = Channel::Email;

/// P3: not acked by 30.000 s, text and email go — not a millisecond earlier.
#[test]
fn not_acked_in_30_s_falls_back() {
    let mut case = Case::pushed(&[A]);
    case.woke(29_999);
    assert_eq!((case.state(), case.offers()), (Some(PublicState::AwaitingAck), vec![]));
    case.woke(30_000);
    assert_eq!((case.state(), case.reason()), (Some(PublicState::FallingBack), Reason::NoAck));
    assert_eq!((case.offers(), case.f.decided_at()), (vec![TEXT, EMAIL], Some(T0 + 30 * S)));
    case.sent(30_100, EMAIL, accepted());
    assert_eq!((case.state(), case.f.decided_at()), (Some(PublicState::FellBack), Some(T0 + 30 * S)));
}

/// P3: 30 s is a ceiling, not a delay: `ack_wait` may be shorter.
#[test]
fn the_wait_is_adjustable() {
    let mut case = Case::around(&[A]);
    case.policy.ack_wait_ms = S;
    case.open(T0, reply(1, T0));
    case.push_answered(1, A, accepted()).woke(999);
    assert_eq!(case.state(), Some(PublicState::AwaitingAck));
    case.woke(1_000);
    assert_eq!(case.state(), Some(PublicState::FallingBack));
}

/// P5: known dead is not waited for; with several devices the last one decides.
#[test]
fn known_dead_is_not_waited_for() {
    for (outcome, why) in [
        (token_gone(), Reason::TokenGone),
        (rejected(), Reason::PushRefused),
        (retry_after(Some(30 * S)), Reason::RateLimited),
    ] {
        let mut case = Case::around(&[A, B]);
        case.open(T0, reply(1, T0));
        case.push_answered(100, A, outcome.clone());
        assert_eq!(case.state(), Some(PublicState::Sending));
        case.push_answered(200, B, outcome);
        assert_eq!((case.state(), case.reason()), (Some(PublicState::FallingBack), why));
        assert_eq!(case.offers(), [TEXT, EMAIL]);
    }
}

/// C3, P5: a token that is none of one APNs environment goes to the other at once, and once.
#[test]
fn c3_the_other_environment_is_tried_at_once_and_once() {
    use Environment::{Production, Sandbox};
    let mut case = Case::around(&[A]);
    case.open(T0, reply(1, T0));
    case.push_answered(100, A, wrong_environment(Production));
    assert_eq!(case.pushes(), [(A, 1, 1, 30 * S), (A, 2, 1, 30 * S)]);
    assert_eq!(case.push(A).elsewhere, Some(Sandbox));
    assert_eq!(case.wake(), Some((100 + 15 * S, WakeReason::ClaimExpiry)));
    let mut taken = Case { f: case.f.clone(), ..Case::around(&[A]) };
    taken.push_answered(200, A, accepted());
    assert_eq!(taken.state(), Some(PublicState::AwaitingAck));
    // Busy for a moment: it goes to the same one again.
    case.push_answered(200, A, retry_after(None));
    case.woke(10 * S);
    assert_eq!((case.push(A).elsewhere, case.push(A).attempt), (Some(Sandbox), 3));
    case.push_answered(11 * S, A, wrong_environment(Sandbox));
    assert_eq!((case.state(), case.reason()), (Some(PublicState::FallingBack), Reason::TokenGone));
    assert_eq!((case.pushes().len(), case.offers()), (3, vec![TEXT, EMAIL]));
}

/// C3, D8: a reply that joins goes where the device is registered by then, which is where the token was taken.
#[test]
fn c3_a_new_version_begins_with_the_registered_environment() {
    let mut case = Case::around(&[A]);
    case.open(T0, reply(1, T0));
    case.push_answered(100, A, wrong_environment(Environment::Sandbox));
    case.push_answered(200, A, accepted());
    assert_eq!(case.push(A).elsewhere, Some(Environment::Production));
    assert!(case.joins(S));
    assert_eq!(case.push(A).elsewhere, None);
}

/// C3, P3: nothing is waited for beyond the deadline, and nothing leaves after it.
#[test]
fn c3_the_other_environment_delays_no_fallback() {
    let mut case = Case::around(&[A]);
    case.open(T0, reply(1, T0));
    case.push_answered(29 * S, A, wrong_environment(Environment::Production));
    case.woke(30 * S);
    assert_eq!((case.state(), case.reason()), (Some(PublicState::FallingBack), Reason::NoAck));
    let pushes = case.pushes().len();
    case.push_answered(31 * S, A, accepted());
    assert_eq!(case.pushes().len(), pushes);
    let mut late = Case::around(&[A]);
    late.open(T0, reply(1, T0));
    late.woke(30 * S);
    late.push_answered(31 * S, A, wrong_environment(Environment::Production));
    assert_eq!((late.push(A).status, late.pushes().len()), (PushStatus::Stopped, 1));
}

/// P5: rate-limited up to the deadline is waited for and sent again.
#[test]
fn rate_limited_within_the_deadline_goes_again() {
    for (after_ms, again) in [(29_899, true), (29_900, false)] {
        let mut case = Case::around(&[A]);
        case.open(T0, reply(1, T0));
        case.push_answered(100, A, retry_after(Some(after_ms)));
        assert_eq!(case.state() == Some(PublicState::Sending), again, "{after_ms}");
        if again {
            assert_eq!(case.wake(), Some((29_999, WakeReason::Retry)));
            case.woke(29_999);
            assert_eq!(case.pushes().last(), Some(&(A, 2, 1, 30_999)));
        }
    }
}

/// P5: a push whose answer never came goes again; an unknown one too; neither is known dead.
#[test]
fn an_unanswered_push_goes_again_under_its_collapse_id() {
    let mut case = Case::around(&[A]);
    case.open(T0, reply(1, T0));
    assert_eq!(case.wake(), Some((15 * S, WakeReason::ClaimExpiry)));
    case.woke(15 * S);
    assert_eq!(case.pushes().len(), 2);
    case.push_answered(16 * S, A, unknown());
    case.woke(18 * S);
    assert_eq!(case.pushes().len(), 3);
    case.push_answered(29 * S, A, unknown());
    assert_eq!(case.wake(), Some((30 * S, WakeReason::Deadline)), "no time for another");
    assert!(case.acked(29_500, A, 1, Grade::Displayed).counted);
}

/// P5: an answer to an older try says nothing of the newer one — which may have gone to a newer token.
#[test]
fn an_answer_to_an_older_push_changes_nothing() {
    for outcome in [token_gone(), rejected(), retry_after(Some(60 * S))] {
        let mut case = Case::around(&[A]);
        case.open(T0, reply(1, T0));
        assert!(case.joins(S));
        let before = case.f.clone();
        case.at(2 * S, &Event::PushAnswered { device: A, attempt: 1, outcome });
        assert_eq!(case.f, before);
    }
    let mut case = Case::around(&[A]);
    case.open(T0, reply(1, T0));
    assert!(case.joins(S));
    case.at(2 * S, &Event::PushAnswered { device: A, attempt: 1, outcome: accepted() });
    assert_eq!(case.state(), Some(PublicState::AwaitingAck), "but that one was accepted");
    assert!(matches!(case.push(A).status, PushStatus::Claimed(_)));
}

/// P5: a device that logs out or turns alerts off may end the wait; one that is another's does not.
#[test]
fn a_lost_device_is_not_waited_for() {
    let mut case = Case::pushed(&[A, B]);
    case.at(S, &Event::DeviceLost { device: A, why: Reason::NoDevice });
    assert_eq!(case.state(), Some(PublicState::AwaitingAck));
    case.at(S, &Event::DeviceLost { device: DeviceId(9), why: Reason::TokenGone });
    assert_eq!(case.state(), Some(PublicState::AwaitingAck));
    case.at(2 * S, &Event::DeviceLost { device: B, why: Reason::TokenGone });
    assert_eq!(case.state(), Some(PublicState::FallingBack));
}

/// P4: text and email go independently: one failing never stops the other; all failing is `failed`.
#[test]
fn the_two_ways_are_independent() {
    let mut one = Case::falling_back();
    one.sent(10, TEXT, rejected());
    assert_eq!(one.state(), Some(PublicState::FallingBack));
    one.sent(20, EMAIL, accepted());
    assert_eq!((one.state(), one.wake()), (Some(PublicState::FellBack), None));

    let mut first = Case::falling_back();
    first.sent(10, TEXT, accepted());
    assert_eq!(first.state(), Some(PublicState::FellBack));
    first.sent(20, EMAIL, accepted());
    assert_eq!((first.sends(TEXT), first.sends(EMAIL)), (1, 1), "the other one still goes");

    let mut none = Case::falling_back();
    none.sent(10, TEXT, rejected()).sent(20, EMAIL, rejected());
    assert_eq!((none.state(), none.reason(), none.wake()), (Some(PublicState::Failed), Reason::AllFailed, None));
}

/// P4, P8: each channel is claimed once; another hand that asks meanwhile gets nothing.
#[test]
fn at_most_one_live_claim_a_channel() {
    let mut case = Case::falling_back();
    case.claimed(10, TEXT);
    case.at(10, &Event::Claiming(TEXT)).at(11, &Event::Claiming(TEXT)).woke(5 * S).at(5 * S, &Event::Claiming(TEXT));
    assert_eq!(case.sends(TEXT), 1);
}

/// P4: an offer that nobody took is made again.
#[test]
fn an_offer_that_nobody_took_is_made_again() {
    let mut case = Case::falling_back();
    assert_eq!(case.wake(), Some((5 * S, WakeReason::Offer)));
    case.effects.clear();
    case.woke(5 * S);
    assert_eq!((case.offers(), case.wake()), (vec![TEXT, EMAIL], Some((10 * S, WakeReason::Offer))));
}

/// P8: a text that may have left is never sent again; a report settles it, or nobody ever does.
#[test]
fn a_text_that_may_have_left_is_never_repeated() {
    for claim_expired in [false, true] {
        let mut case = Case::falling_back();
        case.claimed(10, TEXT);
        if claim_expired {
            case.woke(15_010);
        } else {
            case.at(15_010, &Event::FallbackAnswered { channel: TEXT, attempt: 1, outcome: unknown() });
        }
        assert_eq!(case.f.text.status, LegStatus::Unknown(T0 + 195_010));
        case.sent(15_020, EMAIL, rejected());
        assert_eq!(case.wake(), Some((195_010, WakeReason::Report)));
        case.woke(195_009).at(195_009, &Event::Claiming(TEXT)).woke(195_010).at(195_010, &Event::Claiming(TEXT));
        assert_eq!((case.f.text.status, case.sends(TEXT)), (LegStatus::Unresolved, 1));
        assert_eq!(case.state(), Some(PublicState::FellBack), "it may have left");
    }
}

/// P8: a late answer or report settles what was unknown.
#[test]
fn a_late_word_settles_what_was_unknown() {
    let late = |event: Event| {
        let mut case = Case::falling_back();
        case.claimed(10, TEXT).woke(15_010).at(16 * S, &event);
        case.f.text.status
    };
    let answer = |outcome| Event::FallbackAnswered { channel: TEXT, attempt: 1, outcome };
    let report = |delivered| report(TEXT, 1, delivered, None);
    assert_eq!(late(answer(accepted())), LegStatus::Accepted);
    assert_eq!(late(answer(rejected())), LegStatus::Failed);
    assert_eq!(late(answer(retry_after(Some(S)))), LegStatus::Retry(T0 + 17 * S), "certainly not sent");
    assert_eq!(late(answer(unknown())), LegStatus::Unknown(T0 + 195_010), "nothing new");
    assert_eq!(late(report(true)), LegStatus::Delivered);
    assert_eq!(late(report(false)), LegStatus::Failed);
}

/// P8: the provider of a text that may have left is asked 30 s later and again 30 s after that. Only when it knew
/// nothing both times has the text not left; a repeated or an older answer counts for nothing.
#[test]
fn a_text_goes_again_only_when_it_was_not_found_twice() {
    let mut case = asking();
    assert_eq!(case.wake(), Some((31_000, WakeReason::Inquiry)));
    case.woke(30_999);
    assert!(case.inquiries().is_empty());
    case.woke(31_000).at(31_100, &absent(1)).at(31_200, &absent(1)).woke(60_999);
    assert_eq!((case.inquiries(), case.sends(TEXT)), (vec![1], 1), "once is not enough");
    case.woke(61_000).at(61_050, &absent(1));
    assert!(matches!(case.f.text.status, LegStatus::Asking(_)), "an answer to the first question says nothing new");
    case.at(61_100, &absent(2));
    assert_eq!((case.f.text.status, case.f.text.left), (LegStatus::Retry(T0 + 62_100), false));
    case.woke(62_100).claimed(62_200, TEXT);
    assert_eq!((case.inquiries(), case.sends(TEXT)), (vec![1, 2], 2));
}

/// P8: whatever else the provider knows settles it, at any time; one that does not say is asked until nobody ever will.
#[test]
fn what_the_provider_found_settles_it() {
    let id = || Some("SM1".to_owned());
    for (found, becomes) in [
        (Found::Taken { provider_id: id() }, LegStatus::Accepted),
        (Found::Delivered { provider_id: id() }, LegStatus::Delivered),
        (Found::Failed { provider_id: id(), error: "30003".into() }, LegStatus::Failed),
    ] {
        let mut case = asking();
        case.woke(31_000).at(31_100, &Event::Asked { attempt: 1, inquiry: 1, found: found.clone() });
        assert_eq!((case.f.text.status, case.f.text.provider_id.clone()), (becomes, id()));
        let mut late = asking();
        late.woke(31_000).at(31_100, &absent(1)).woke(61_000).at(61_100, &absent(2));
        late.at(61_200, &Event::Asked { attempt: 1, inquiry: 2, found: found.clone() });
        let spared = !matches!(found, Found::Failed { .. });
        assert_eq!(late.f.text.status == becomes, spared, "not sent again: {found:?}");
    }
    let mut unclear = asking();
    for number in 1..=5u8 {
        let at = 1_000 + 30_000 * Ms::from(number);
        unclear.woke(at).at(at + 10, &Event::Asked { attempt: 1, inquiry: number, found: Found::Unclear });
    }
    assert_eq!(unclear.wake(), Some((181_000, WakeReason::Report)));
    unclear.woke(181_000);
    assert_eq!((unclear.f.text.status, unclear.sends(TEXT), unclear.inquiries().len()), (LegStatus::Unresolved, 1, 5));
}

/// P8: who says nothing until its claim ends may be paused before the first byte: its text is only waited for.
#[test]
fn a_claim_that_ran_out_is_not_asked_for() {
    let mut case = Case::falling_back();
    case.claimed(10, TEXT).woke(15_010).at(16_000, &may_have_left(1)).woke(100_000);
    assert_eq!((case.f.text.status, case.inquiries().len()), (LegStatus::Unknown(T0 + 195_010), 0));
}

/// P8: a text that was stopped while it was asked for does not go again.
#[test]
fn what_was_stopped_while_it_was_asked_for_does_not_go() {
    let mut case = asking();
    case.at(2_000, &Event::Cancel(Reason::CancelledByApi));
    case.woke(31_000).at(31_100, &absent(1)).woke(61_000).at(61_100, &absent(2));
    assert_eq!((case.f.text.status, case.sends(TEXT)), (LegStatus::Stopped, 1));
}

/// T7: a number that opted out gets no text, whether that is known at the decision or only at the claim; email goes.
#[test]
fn no_text_goes_to_a_number_that_opted_out() {
    let mut known = Case::around(&[]);
    known.opted_out = true;
    known.open(T0, reply(1, T0));
    assert_eq!((known.f.text.status, known.offers()), (LegStatus::Skipped(Skip::OptedOut), vec![EMAIL]));
    let mut later = Case::falling_back();
    later.opted_out = true;
    later.at(10, &Event::Claiming(TEXT));
    assert_eq!((later.f.text.status, later.sends(TEXT)), (LegStatus::Skipped(Skip::OptedOut), 0));
    later.sent(20, EMAIL, accepted());
    assert_eq!(later.state(), Some(PublicState::FellBack));
}

/// E5: a marked address is not written to, whether that is known at the decision or only at the claim; the text goes.
#[test]
fn e5_no_email_goes_to_a_marked_address() {
    let mut known = Case::around(&[]);
    known.address_marked = true;
    known.open(T0, reply(1, T0));
    assert_eq!((known.f.email.status, known.offers()), (LegStatus::Skipped(Skip::AddressMarked), vec![TEXT]));
    let mut later = Case::falling_back();
    later.address_marked = true;
    later.at(10, &Event::Claiming(EMAIL));
    assert_eq!((later.f.email.status, later.sends(EMAIL)), (LegStatus::Skipped(Skip::AddressMarked), 0));
    later.sent(20, TEXT, accepted());
    assert_eq!(later.state(), Some(PublicState::FellBack));
}

/// T7: the provider's word that the number opted out is remembered, said at once or in a report.
#[test]
fn a_provider_that_knows_of_an_opt_out_is_believed() {
    let suppressed = |case: &Case| case.effects.iter().filter(|effect| **effect == Effect::Suppress).count();
    let opted_out = || Outcome::Rejected { error: OPTED_OUT.into() };
    let mut at_once = Case::falling_back();
    at_once
        .sent(10, TEXT, opted_out())
        .at(11, &Event::FallbackAnswered { channel: TEXT, attempt: 1, outcome: opted_out() });
    assert_eq!((suppressed(&at_once), at_once.f.text.status), (1, LegStatus::Failed));
    let mut by_report = Case::falling_back();
    by_report.sent(10, TEXT, accepted()).at(20, &report(TEXT, 1, false, Some(OPTED_OUT)));
    assert_eq!(suppressed(&by_report), 1);
    let mut email = Case::falling_back();
    email.sent(10, EMAIL, opted_out());
    assert_eq!(suppressed(&email), 0);
}

/// W2: a report of an older try settles a text that waits to go again, and nothing else; one of no try nothing at all.
#[test]
fn a_report_names_its_try() {
    let again = || {
        let mut case = Case::falling_back();
        case.sent(10, TEXT, retry_after(None));
        case
    };
    let mut spared = again();
    spared.at(20, &report(TEXT, 1, true, None)).woke(2_000);
    assert_eq!((spared.f.text.status, spared.sends(TEXT)), (LegStatus::Delivered, 1));
    let mut newer = again();
    newer.woke(1_010).claimed(1_020, TEXT);
    let before = newer.f.clone();
    newer
        .at(1_030, &report(TEXT, 1, true, None))
        .at(1_030, &report(TEXT, 3, true, None))
        .at(1_030, &report(TEXT, 0, true, None));
    assert_eq!(newer.f, before);
}

fn may_have_left(attempt: u32) -> Event {
    Event::MayHaveLeft { attempt, error: "timeout".into(), mark: Mark { number: 1, body: 2 } }
}

fn absent(inquiry: u8) -> Event {
    Event::Asked { attempt: 1, inquiry, found: Found::Absent }
}

/// A text that may have left at 1 s, beside an email that failed.
fn asking() -> Case {
    let mut case = Case::falling_back();
    case.sent(10, EMAIL, rejected());
    case.claimed(20, TEXT).at(1_000, &may_have_left(1));
    case
}

/// S7: how often a provider was asked is no line of the history, and its answers are judged by it: made again, each
/// decision is the same.
#[test]
fn s7_what_was_asked_is_judged_again_as_it_was() {
    let mut case = Case::around(&[]);
    let new = reply(1, T0);
    let mut kept = vec![(T0, Inputs::of_reply(None, &new, &case.facts(), 1), None)];
    case.open(T0, new);
    kept[0].2 = case.last.note.clone();
    let events = [
        (20, Event::Claiming(TEXT)),
        (1_000, may_have_left(1)),
        (31_000, Event::Woke),
        (31_100, absent(1)),
        (61_100, Event::Woke),
        (61_200, absent(2)),
    ];
    for (after_ms, event) in events {
        let inputs = Inputs::of(&case.f, &event, &case.facts(), 1);
        case.at(after_ms, &event);
        if case.last.note.is_some() {
            kept.push((T0 + after_ms, inputs, case.last.note.clone()));
        }
    }
    assert!(matches!(case.f.text.status, LegStatus::Retry(_)) && kept.len() == 5, "{kept:?}");
    let mut replay = Replay::default();
    for (at, inputs, note) in kept {
        assert_eq!(replay.decide(at, &inputs, &case.policy), note);
    }
}

/// P8: an email that may have left is repeated under the same key, and so is a text where that is one effect.
#[test]
fn an_idempotent_send_is_repeated() {
    let mut case = Case::falling_back();
    case.sent(10, EMAIL, unknown());
    assert_eq!(case.f.email.status, LegStatus::Retry(T0 + 1_010));
    case.woke(1_010).claimed(1_020, EMAIL);
    assert_eq!(case.f.email.attempt, 2);

    let mut answered = Case::falling_back();
    answered.sent(10, EMAIL, unknown());
    answered.at(20, &Event::FallbackAnswered { channel: EMAIL, attempt: 1, outcome: accepted() });
    answered.woke(1_010);
    assert_eq!((answered.f.email.status, answered.sends(EMAIL)), (LegStatus::Accepted, 1), "a final word spares it");

    let mut text = Case::falling_back();
    text.policy.services.text = vec![TextService { idempotent: true, ..TextService::xms("keyed") }];
    text.claimed(10, TEXT).woke(15_010);
    assert_eq!(text.f.text.status, LegStatus::Retry(T0 + 16_010));
}

/// P13: a provider that is down is tried again, text up to 6 h after it was due, email for a day; then an alarm.
#[test]
fn a_provider_that_is_down_is_tried_again_up_to_the_horizon() {
    let horizon = 30 * S + 6 * 3_600 * S;
    for (at, goes) in [(horizon, true), (horizon + 1, false)] {
        let mut case = Case::falling_back();
        case.sent(10, TEXT, retry_after(Some(at - 10)));
        assert_eq!(case.f.text.status == LegStatus::Retry(T0 + at), goes);
        assert_eq!(case.alarms(), usize::from(!goes));
    }
    let mut email = Case::falling_back();
    email.sent(10, EMAIL, retry_after(Some(7 * 3_600 * S)));
    assert!(matches!(email.f.email.status, LegStatus::Retry(_)));
}

/// P13: overdue because the server was down: up to 6 h text and email, after it email only, and an alarm.
#[test]
fn overdue_work_is_judged_by_its_age() {
    for (late_ms, text) in [(6 * 3_600 * S, true), (6 * 3_600 * S + 1, false)] {
        let mut case = Case::pushed(&[A]);
        case.woke(30 * S + late_ms);
        assert_eq!(case.offers(), if text { vec![TEXT, EMAIL] } else { vec![EMAIL] });
        assert_eq!(case.alarms(), usize::from(!text));
        let mut queued = Case::pushed(&[A]);
        queued.woke(30 * S);
        queued.at(30 * S + late_ms, &Event::Claiming(TEXT));
        assert_eq!(queued.sends(TEXT), usize::from(text), "judged again when it is sent");
        assert_eq!(queued.alarms(), usize::from(!text));
    }
}

/// P13, S1: judged again when it is sent: switched off meanwhile, it does not go.
#[test]
fn what_was_switched_off_meanwhile_does_not_go() {
    let mut case = Case::falling_back();
    case.policy.channels.phone_number = false;
    case.at(S, &Event::Claiming(TEXT));
    assert_eq!(
        (case.f.text.status, case.state()),
        (LegStatus::Skipped(Skip::SwitchedOff), Some(PublicState::FallingBack))
    );
    case.email = false;
    case.at(S, &Event::Claiming(EMAIL));
    assert_eq!((case.state(), case.reason()), (Some(PublicState::Failed), Reason::NoFallbackRoute));
    assert_eq!(case.sends(TEXT) + case.sends(EMAIL), 0);
}

/// P4: later reports change deliveries only; one may overtake the answer.
#[test]
fn reports_change_deliveries_only() {
    let mut case = Case::falling_back();
    case.sent(10, TEXT, accepted());
    case.at(20, &report(TEXT, 1, false, Some("x")));
    assert_eq!((case.f.text.status, case.state()), (LegStatus::Failed, Some(PublicState::FellBack)));
    let mut early = Case::falling_back();
    early.claimed(10, TEXT).at(20, &report(TEXT, 1, true, None));
    early.at(30, &Event::FallbackAnswered { channel: TEXT, attempt: 1, outcome: accepted() });
    assert_eq!((early.f.text.status, early.state()), (LegStatus::Delivered, Some(PublicState::FellBack)));
    let mut before = Case::falling_back();
    before.at(10, &report(TEXT, 1, true, None));
    assert!(matches!(before.f.text.status, LegStatus::Queued(_)), "nothing was sent");
}

/// E5: an email that was delivered may still come back: then it failed, for good, and told again it is no news. A text
/// that arrived has arrived.
#[test]
fn e5_a_delivered_email_may_come_back() {
    let mut case = Case::falling_back();
    case.sent(10, EMAIL, accepted()).at(20, &report(EMAIL, 1, true, None));
    case.at(30, &report(EMAIL, 1, false, Some("5.1.1")));
    assert_eq!((case.f.email.status, case.f.email.error.as_deref()), (LegStatus::Failed, Some("5.1.1")));
    assert!(case.last.changed);
    for delivered in [false, true] {
        case.at(40, &report(EMAIL, 1, delivered, Some("5.1.1")));
        assert!(!case.last.changed && case.f.email.status == LegStatus::Failed, "{delivered}");
    }
    let mut repeated = Case::falling_back();
    repeated.sent(10, EMAIL, unknown()).woke(2 * S).sent(2 * S, EMAIL, accepted());
    repeated.at(3 * S, &report(EMAIL, 1, false, Some("5.1.1")));
    assert_eq!(repeated.f.email.status, LegStatus::Failed, "the copy of its first try is the same mail");
    let mut text = Case::falling_back();
    text.sent(10, TEXT, accepted()).at(20, &report(TEXT, 1, true, None)).at(30, &report(TEXT, 1, false, None));
    assert_eq!(text.f.text.status, LegStatus::Delivered);
}

/// P13: no sum of times overflows, whatever a provider says.
#[test]
fn absurd_waits_do_not_overflow() {
    for after_ms in [Ms::MAX, Ms::MIN] {
        let mut case = Case::falling_back();
        case.sent(10, TEXT, retry_after(Some(after_ms))).sent(10, EMAIL, retry_after(Some(after_ms)));
        let mut push = Case::around(&[A]);
        push.open(T0, reply(1, T0));
        push.push_answered(10, A, retry_after(Some(after_ms)));
        assert_eq!(push.state() == Some(PublicState::Sending), after_ms == Ms::MIN);
    }
}

/// A stored row whose numbers stand at their ends is decided like any other.
#[test]
fn absurd_rows_do_not_overflow() {
    let mut tried = Case::falling_back();
    tried.f.text.attempt = u32::MAX;
    tried.claimed(10, TEXT);
    let mut pushed = Case::pushed(&[A]);
    pushed.f.pushes[0].attempt = u32::MAX;
    assert!(pushed.joins(200), "the push goes again");
    let mut late = Case::pushed(&[A]);
    assert!(late.joins(200));
    late.f.replies[1].accepted_at = Ms::MAX;
    assert!(late.acked(300, A, 1, Grade::Displayed).counted);
    assert_eq!(late.last.rest.as_ref().map(|rest| rest.next.deadline_at), Some(Ms::MAX));
}

/// S8: erased while its provider is asked for it: nobody asks any more, and what it would be found by is gone.
#[test]
fn s8_an_erased_text_is_asked_for_no_more() {
    let mut case = asking();
    assert!(matches!(case.f.text.status, LegStatus::Asking(_)));
    case.at(2_000, &Event::Cancel(Reason::CustomerErased));
    assert_eq!(case.f.text.status, LegStatus::Unresolved);
    assert!(!serde_json::to_string(&case.f).unwrap().contains("mark"));
    assert_eq!((wake(&case.f), case.f.public_state()), (None, Some(PublicState::FellBack)));
}
