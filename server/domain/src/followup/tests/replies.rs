//! Bursts, the gap, reads and what the agent takes back (D5, D8, D9).

use super::*;

const READ: Reason = Reason::CustomerRead;

fn seen(through_seq: i64) -> Event {
    Event::Seen { through_seq, why: READ }
}

fn seqs(f: &Followup) -> Vec<i64> {
    f.replies.iter().map(|r| r.seq).collect()
}

/// D8: replies join while it waits, up to the deadline; the first's clock stands, one push shows them all.
#[test]
fn a_burst_folds_on_the_clock_of_the_first() {
    let mut case = Case::pushed(&[A]);
    assert!(case.joins(29_999));
    assert_eq!(case.pushes().last(), Some(&(A, 2, 2, 30_999)));
    assert_eq!((case.f.deadline_at, case.state()), (T0 + 30 * S, Some(PublicState::AwaitingAck)));
    assert!(!case.joins(30_000), "its deadline is due: as good as decided");
    case.woke(30 * S);
    assert_eq!((case.reason(), case.f.unseen().count()), (Reason::NoAck, 2), "nothing acked: all fall back together");
    assert!(!case.joins(31 * S));
}

/// D8: other channels, outreach and the hundred-and-first reply start their own.
#[test]
fn what_does_not_fit_does_not_join() {
    let mut case = Case::pushed(&[A]);
    assert!(!case.join(S, NewReply { chosen: Some(vec![Channel::Email]), ..reply(2, T0) }));
    assert!(!case.join(S, NewReply { kind: Some(Kind::Outreach), ..reply(2, T0) }));
    for _ in 1..MAX_REPLIES {
        assert!(case.joins(S));
    }
    assert!(!case.joins(S));
    assert_eq!(case.f.replies.len(), MAX_REPLIES);
}

/// D8: an ack of 1…n settles those; the rest lives on, due at its own first reply's acceptance + 30 s, and is not
/// pushed again where a push that shows it is out.
#[test]
fn an_ack_of_a_part_splits() {
    let mut case = Case::pushed(&[A]);
    assert!(case.joins(10 * S));
    case.push_answered(10_100, A, accepted());
    assert!(case.joins(12 * S));
    case.push_answered(12_100, A, accepted());
    let sent = case.pushes().len();
    let ack = case.acked(13 * S, A, 1, Grade::Displayed);
    assert_eq!((ack.verdict, ack.counted, ack.first_counted), (AckVerdict::Accepted, true, true));
    assert_eq!(
        (case.state(), seqs(&case.f), case.f.rest),
        (Some(PublicState::Acked), vec![1], Some((FollowupId(77), 2)))
    );
    assert_eq!(case.pushes().len(), sent);
    let mut rest = case.rest();
    assert_eq!((seqs(&rest.f), rest.f.started_at, rest.f.deadline_at), (vec![2, 3], T0 + 10 * S, T0 + 40 * S));
    assert_eq!((rest.pushes(), rest.state()), (vec![], Some(PublicState::AwaitingAck)), "no second push");
    assert_eq!(rest.wake(), Some((40 * S, WakeReason::Deadline)));
    rest.acked(20 * S, A, 2, Grade::Displayed);
    assert_eq!(rest.state(), Some(PublicState::Acked));
}

/// D8: a device that does not show the rest gets a push of it, to the rest's own deadline.
#[test]
fn the_rest_goes_to_devices_that_do_not_show_it() {
    let mut case = Case::pushed(&[A, B]);
    case.devices[1].alerts = Alerts::Denied;
    assert!(case.joins(10 * S), "A alone is told of the second reply");
    case.push_answered(10_100, A, accepted());
    case.devices[1].alerts = Alerts::Allowed;
    case.acked(11 * S, A, 1, Grade::Displayed);
    let rest = case.rest();
    assert_eq!(rest.pushes(), [(B, 1, 1, 40 * S)]);
    let mut dead = Case::pushed(&[A]);
    dead.devices[0].alerts = Alerts::Denied;
    assert!(dead.joins(10 * S));
    dead.acked(11 * S, A, 1, Grade::Displayed);
    assert_eq!(dead.rest().reason(), Reason::AlertsDenied, "nobody to push the rest to: it falls back at once (P5)");
}

/// D8: what the provider answers about a push that shows the rest counts there too.
#[test]
fn a_push_in_flight_at_the_split_is_answered_in_the_rest() {
    let mut case = Case::pushed(&[A]);
    assert!(case.joins(10 * S));
    case.acked(10_050, A, 1, Grade::Displayed);
    let mut rest = case.rest();
    assert_eq!((rest.push(A).attempt, rest.pushes().len()), (2, 0));
    rest.push_answered(10_100, A, accepted());
    assert_eq!(rest.wake(), Some((40 * S, WakeReason::Deadline)));
    let mut gone = case.rest();
    gone.push_answered(10_100, A, token_gone());
    assert_eq!(gone.reason(), Reason::TokenGone);
}

/// D8: a suppressed ack of everything stays one in the rest.
#[test]
fn the_rest_keeps_what_devices_said_of_it() {
    let mut case = Case::pushed(&[A, B]);
    assert!(case.joins(S));
    case.push_answered(S, A, accepted()).push_answered(S, B, accepted());
    case.acked(2 * S, A, 2, Grade::Suppressed);
    case.acked(3 * S, B, 1, Grade::Displayed);
    let mut rest = case.rest();
    assert_eq!(rest.push(A).acks, [(1, Grade::Suppressed)]);
    assert_eq!(rest.push(B).acked, None);
    rest.acked(4 * S, B, 1, Grade::Suppressed);
    assert_eq!((rest.state(), rest.reason()), (Some(PublicState::FallingBack), Reason::Suppressed));
}

/// D2, D8: replies that were watched start when the customer left, in a split too.
#[test]
fn the_rest_of_a_watched_burst_keeps_its_start() {
    let mut case = Case::around(&[A]);
    case.online_until = Some(T0 + 100 * S);
    case.open(T0, reply(1, T0));
    assert!(case.joins(S));
    case.online_until = None;
    case.woke(100 * S);
    case.push_answered(100 * S, A, accepted());
    case.at(101 * S, &seen(1));
    assert_eq!((case.state(), case.reason()), (Some(PublicState::Cancelled), READ));
    let rest = case.rest();
    assert_eq!((rest.f.started_at, rest.f.deadline_at), (T0 + 100 * S, T0 + 130 * S));
}

/// D5: reading or writing back cancels what has not left; a part read cancels that part.
#[test]
fn reading_cancels_what_has_not_left() {
    let mut all = Case::pushed(&[A]);
    all.at(S, &Event::Seen { through_seq: 9, why: Reason::CustomerWrote });
    assert_eq!((all.state(), all.reason(), all.wake()), (Some(PublicState::Cancelled), Reason::CustomerWrote, None));
    let ack = all.acked(2 * S, A, 1, Grade::Displayed);
    assert_eq!((ack.verdict, ack.counted), (AckVerdict::Accepted, false), "accepted, uncounted");

    let mut none = Case::pushed(&[A]);
    none.at(S, &seen(0));
    assert_eq!(none.state(), Some(PublicState::AwaitingAck));

    let mut part = Case::pushed(&[A]);
    assert!(part.joins(S));
    part.push_answered(S, A, accepted());
    part.at(2 * S, &seen(1));
    assert_eq!((part.state(), seqs(&part.f)), (Some(PublicState::Cancelled), vec![1]));
    assert_eq!((seqs(&part.rest().f), part.rest().pushes().len()), (vec![2], 0));
}

/// D5: in `falling_back` a part read shortens what leaves, all of it stops what has not left.
#[test]
fn reading_stops_a_fallback_that_has_not_left() {
    let mut case = Case::pushed(&[A]);
    assert!(case.joins(S));
    case.woke(30 * S);
    case.at(31 * S, &seen(1));
    assert_eq!((case.state(), case.f.unseen().count()), (Some(PublicState::FallingBack), 1));
    case.at(32 * S, &seen(2));
    assert_eq!((case.state(), case.reason(), case.wake()), (Some(PublicState::Cancelled), READ, None));

    let mut flying = Case::falling_back();
    flying.claimed(10, Channel::Text).at(20, &seen(1));
    assert_eq!((flying.state(), flying.f.email.status), (Some(PublicState::FallingBack), LegStatus::Stopped));
    flying.at(30, &Event::FallbackAnswered { channel: Channel::Text, attempt: 1, outcome: accepted() });
    assert_eq!((flying.state(), flying.wake()), (Some(PublicState::FellBack), None));

    for outcome in [rejected(), retry_after(None)] {
        let mut failed = Case::falling_back();
        failed.claimed(10, Channel::Text).at(20, &seen(1));
        failed.at(30, &Event::FallbackAnswered { channel: Channel::Text, attempt: 1, outcome });
        assert_eq!((failed.state(), failed.reason()), (Some(PublicState::Cancelled), READ));
    }
}

/// D5: a cancel holds for what was in flight: it does not go again, in `fell_back` neither.
#[test]
fn a_cancel_holds_for_what_was_in_flight() {
    let mut case = Case::falling_back();
    case.sent(10, Channel::Text, accepted()).claimed(20, Channel::Email);
    case.at(30, &Event::Cancel(Reason::CancelledByApi));
    case.at(40, &Event::FallbackAnswered { channel: Channel::Email, attempt: 1, outcome: retry_after(None) });
    assert_eq!(
        (case.f.email.status, case.state(), case.wake()),
        (LegStatus::Stopped, Some(PublicState::FellBack), None)
    );

    let mut unclear = Case::falling_back();
    unclear.claimed(20, Channel::Email).at(30, &Event::Cancel(Reason::CancelledByApi));
    unclear.at(40, &Event::FallbackAnswered { channel: Channel::Email, attempt: 1, outcome: unknown() });
    assert_eq!((unclear.f.email.status, unclear.state()), (LegStatus::Unresolved, Some(PublicState::FellBack)));
}

/// D5: what may have left and is stopped before its repeat may have left.
#[test]
fn a_repeat_that_is_stopped_is_not_said_never_to_have_left() {
    let mut case = Case::falling_back();
    case.policy.services.text.clear();
    case.sent(10, Channel::Email, unknown());
    assert!(matches!(case.f.email.status, LegStatus::Retry(_)));
    case.at(20, &Event::Seen { through_seq: 1, why: READ });
    assert_eq!(case.f.email.status, LegStatus::Unresolved);
    assert_eq!(case.state(), Some(PublicState::FellBack));
}

/// D5: the agent takes a reply back: it is shown nowhere; the last one taken back cancels.
#[test]
fn replies_taken_back_are_not_shown() {
    let mut case = Case::pushed(&[A]);
    assert!(case.joins(S));
    case.at(2 * S, &Event::Withdrawn { seq: 1 });
    assert_eq!(
        (case.state(), case.f.unseen().map(|r| r.seq).collect::<Vec<_>>()),
        (Some(PublicState::AwaitingAck), vec![2])
    );
    case.at(3 * S, &Event::Withdrawn { seq: 2 });
    assert_eq!((case.state(), case.reason()), (Some(PublicState::Cancelled), Reason::MessageDeleted));
}

/// D5, D8: replies that were taken back make no follow-up of the rest.
#[test]
fn a_rest_that_was_taken_back_does_not_live_on() {
    for event in
        [Event::Acked { device: A, covers: 1, grade: Grade::Displayed, recorded_at: T0, detail: None }, seen(1)]
    {
        let mut case = Case::pushed(&[A]);
        assert!(case.joins(S));
        case.at(2 * S, &Event::Withdrawn { seq: 2 });
        case.at(3 * S, &event);
        assert!(case.f.rest.is_none() && case.last.rest.is_none());
        assert!(matches!(case.state(), Some(PublicState::Acked | PublicState::Cancelled)));
    }
    let mut late = Case::pushed(&[A]);
    assert!(late.joins(S));
    late.woke(30 * S).at(31 * S, &Event::Withdrawn { seq: 2 });
    late.acked(32 * S, A, 1, Grade::Displayed);
    assert_eq!((late.state(), late.reason()), (Some(PublicState::FellBack), Reason::AckLate));
}

/// D8: after a text or email left, the next follow-up pushes at once and is decided in 30 s; its text and email wait
/// out 180 s.
#[test]
fn text_and_email_wait_out_the_gap() {
    for (left_before_ms, held) in [(149_999, true), (150_000, false)] {
        let mut case = Case::around(&[A]);
        case.left_at = Some(T0 - left_before_ms);
        case.open(T0, reply(1, T0));
        assert_eq!(case.pushes().len(), 1);
        case.push_answered(0, A, accepted()).woke(30 * S);
        assert_eq!((case.state(), case.offers().is_empty()), (Some(PublicState::FallingBack), held));
        if held {
            assert_eq!(case.wake(), Some((30_001, WakeReason::RepeatGap)));
            case.at(30_000, &Event::Claiming(Channel::Text));
            assert_eq!(case.sends(Channel::Text), 0, "held at 179,999");
            case.woke(30_001);
            assert_eq!(case.offers(), [Channel::Text, Channel::Email]);
        }
    }
}

/// D8: a read or a late ack while it is held releases nothing.
#[test]
fn what_is_held_can_still_be_stopped() {
    let mut case = Case::around(&[A]);
    case.left_at = Some(T0);
    case.open(T0, reply(1, T0));
    case.push_answered(0, A, accepted()).woke(30 * S);
    assert_eq!(case.acked(31 * S, A, 1, Grade::Displayed).verdict, AckVerdict::Late);
    assert_eq!((case.state(), case.reason(), case.wake()), (Some(PublicState::FellBack), Reason::AckLate, None));
}

/// D8: two follow-ups of one conversation that fall back around the same time: the claim of the first holds the other.
#[test]
fn the_gap_begins_when_the_first_bytes_may_leave() {
    let mut first = Case::falling_back();
    let mut second = Case::falling_back();
    first.claimed(10, Channel::Text);
    assert!(first.last.left);
    second.left_at = first.left_at;
    second.at(11, &Event::Claiming(Channel::Text)).at(11, &Event::Claiming(Channel::Email));
    assert_eq!((second.sends(Channel::Text), second.sends(Channel::Email)), (0, 0));
    assert_eq!(second.wake(), Some((180_010, WakeReason::RepeatGap)));
    // The first one's email is its own and goes on.
    first.sent(20, Channel::Email, accepted());
    second.left_at = first.left_at;
    second.woke(180_010);
    assert_eq!(second.wake(), Some((180_020, WakeReason::RepeatGap)), "counted from the last that left");
    second.woke(180_020);
    second.claimed(180_020, Channel::Text);
}

/// D8: what certainly did not leave begins no gap.
#[test]
fn a_definite_failure_ends_the_gap_it_began() {
    for outcome in [rejected(), retry_after(None)] {
        let mut case = Case::falling_back();
        case.sent(10, Channel::Text, outcome.clone());
        assert_eq!((case.last.returned, case.left_at), (true, None));
        let mut after = Case::falling_back();
        after.sent(10, Channel::Email, accepted()).sent(20, Channel::Text, outcome);
        assert!(!after.last.returned && after.left_at.is_some());
        let mut both = Case::falling_back();
        both.claimed(10, Channel::Text).sent(20, Channel::Email, rejected());
        assert!(!both.last.returned, "the text may still leave");
        both.at(30, &Event::FallbackAnswered { channel: Channel::Text, attempt: 1, outcome: rejected() });
        assert_eq!((both.last.returned, both.left_at), (true, None));
    }
    let mut outreach = Case::around(&[]);
    (outreach.wrote, outreach.left_at) = (false, Some(T0 - 1));
    outreach.open(T0, reply(1, T0));
    outreach.sent(10, Channel::Email, rejected());
    assert_eq!(outreach.left_at, Some(T0 - 1), "outreach waits for no gap, and ends none");
}

/// D8: a node that slept through its claims wakes up and says that neither was sent, one of them after its claim had
/// run out: nothing left, so nothing is held.
#[test]
fn a_claim_that_ran_out_unsent_begins_no_gap() {
    let mut case = Case::falling_back();
    case.claimed(10, Channel::Text).claimed(20, Channel::Email);
    let until = 10 + case.policy.claim_ms;
    let answered = |channel| Event::FallbackAnswered { channel, attempt: 1, outcome: retry_after(None) };
    case.at(until - 1, &answered(Channel::Email)).woke(until);
    assert_eq!(case.left_at, Some(T0 + until), "the text may have left");
    case.at(until + 1, &answered(Channel::Text));
    assert_eq!((case.last.returned, case.left_at), (true, None));
    case.woke(until + 5 * S).claimed(until + 5 * S, Channel::Text).claimed(until + 5 * S + 1, Channel::Email);
}

/// D8: a follow-up's own text and email never hold each other, whatever became of the other one.
#[test]
fn the_two_ways_of_one_followup_do_not_hold_each_other() {
    let mut case = Case::falling_back();
    case.sent(10, Channel::Email, retry_after(Some(5 * S)));
    case.sent(20, Channel::Text, accepted());
    case.at(30, &report(Channel::Text, 1, false, Some("30003")));
    assert_eq!(case.f.text.status, LegStatus::Failed);
    case.woke(5_010).sent(5_020, Channel::Email, accepted());

    let mut unclear = Case::falling_back();
    unclear.sent(10, Channel::Text, unknown()).sent(20, Channel::Email, accepted());
    assert_eq!(unclear.state(), Some(PublicState::FellBack));
}

/// D8: the clock was set back by an hour since a text left: the next one does not wait for that hour.
#[test]
fn a_clock_that_was_set_back_holds_nothing_for_longer() {
    for (ahead_ms, held) in [(180 * S, true), (180 * S + 1, false), (3_600 * S, false)] {
        let mut case = Case::around(&[]);
        case.left_at = Some(T0 + ahead_ms);
        case.open(T0, reply(1, T0));
        let hold_until = held.then_some(T0 + ahead_ms + 180 * S);
        let stage = Stage::FallingBack { at: T0, why: Reason::NoDevice, hold_until, ended: None };
        assert_eq!(case.f.stage, stage, "{ahead_ms}");
    }
}

/// D8: another follow-up of the conversation began to leave this very millisecond: its refusal must not end a gap that
/// is this one's, too. A moment later they are told apart.
#[test]
fn two_followups_do_not_begin_their_gaps_at_one_instant() {
    let mut case = Case::falling_back();
    case.sent(1, Channel::Email, accepted());
    case.sent(2, Channel::Text, retry_after(None));
    case.woke(1_002);
    case.left_at = Some(T0 + 2_000);
    case.at(2_000, &Event::Claiming(Channel::Text));
    assert_eq!(case.sends(Channel::Text), 1);
    assert!(matches!(case.f.text.status, LegStatus::Queued(_)), "{:?}", case.f.text);
    case.claimed(2_001, Channel::Text);
    assert_eq!(case.f.gap_at, Some(T0 + 2_001));
}

/// P4, D8: text and email go at once, also when one asks in the very millisecond in which the other was taken.
#[test]
fn the_two_ways_of_one_followup_may_meet_in_one_instant() {
    for outcome in [accepted(), unknown()] {
        for (first, second) in [(Channel::Email, Channel::Text), (Channel::Text, Channel::Email)] {
            let mut case = Case::falling_back();
            case.claimed(1, first);
            case.at(2, &Event::FallbackAnswered { channel: first, attempt: 1, outcome: outcome.clone() });
            case.claimed(2, second);
            assert_eq!(case.f.gap_at, case.left_at);
        }
    }
}

/// D8: a retry that is due while the gap lasts waits with the rest, without waking in a loop.
#[test]
fn a_retry_that_is_held_sleeps_until_the_gap_is_over() {
    let mut case = Case::falling_back();
    case.sent(10, Channel::Email, retry_after(Some(5 * S)));
    case.left_at = Some(T0 + 20);
    case.at(30, &Event::Claiming(Channel::Text));
    assert_eq!(case.wake(), Some((5_010, WakeReason::Retry)));
    case.woke(5_010);
    assert_eq!(case.wake(), Some((180_020, WakeReason::RepeatGap)));
    case.effects.clear();
    case.woke(180_020);
    assert_eq!(case.offers(), [Channel::Text, Channel::Email]);
}

/// D8: with nobody to push to, further replies join the follow-up that waits out the gap: one text, one email.
#[test]
fn a_burst_folds_into_what_is_held() {
    let mut case = Case::around(&[]);
    case.left_at = Some(T0);
    case.open(T0, reply(1, T0));
    assert_eq!(case.state(), Some(PublicState::FallingBack));
    assert!(case.joins(100 * S));
    assert_eq!((case.f.unseen().count(), case.wake()), (2, Some((180 * S, WakeReason::RepeatGap))));
    assert!(!case.joins(180 * S), "the gap is over: it is about to leave");
    case.devices = vec![device(A)];
    assert!(!case.joins(101 * S), "a live device is pushed to first (P1)");
    case.devices.clear();
    case.online_until = Some(T0 + 500 * S);
    assert!(!case.joins(101 * S), "an online customer is watched (D2)");
}

/// D1, D8: an agent's reply that joins a held one of a bot opens the text.
#[test]
fn an_agents_reply_opens_the_text_of_a_held_bot() {
    let mut case = Case::around(&[]);
    case.left_at = Some(T0);
    let mut bot = reply(1, T0);
    bot.reply.author = AuthorKind::Bot;
    case.open(T0, bot);
    assert_eq!(case.f.text.status, LegStatus::Skipped(Skip::BotAuthor));
    assert!(case.joins(S));
    case.woke(180 * S);
    assert_eq!(case.offers(), [Channel::Text, Channel::Email]);
}
