//! When a follow-up starts, to whom the push goes, and what is not a follow-up (D1, D2, D6, D7, P1, P4, P10, P12).

use super::*;

/// P1, P3: the push goes first and alone, to every live device; the decision is due 30 s after acceptance.
#[test]
fn the_push_goes_first_and_alone() {
    let mut case = Case::around(&[A, B]);
    case.open(T0, reply(1, T0));
    assert_eq!(case.pushes(), [(A, 1, 1, 30 * S), (B, 1, 1, 30 * S)]);
    assert!(case.offers().is_empty());
    assert_eq!(case.state(), Some(PublicState::Sending));
    assert_eq!(case.f.deadline_at, T0 + 30 * S);
    case.push_answered(100, A, accepted());
    assert_eq!(case.state(), Some(PublicState::AwaitingAck));
    case.push_answered(100, B, accepted());
    assert_eq!(case.wake(), Some((30 * S, WakeReason::Deadline)));
}

/// P1: denied, not asked and dead tokens are not live; `quiet` is.
#[test]
fn only_live_devices_are_pushed_to() {
    for (alerts, live) in
        [(Alerts::Allowed, true), (Alerts::Quiet, true), (Alerts::Denied, false), (Alerts::NotAsked, false)]
    {
        let mut case = Case::around(&[A, B]);
        case.devices[0].alerts = alerts;
        case.devices[1].standing = Standing::TokenGone(T0 - 1);
        case.open(T0, reply(1, T0));
        assert_eq!(case.pushes().len(), usize::from(live), "{alerts:?}");
        if !live {
            assert_eq!((case.state(), case.reason()), (Some(PublicState::FallingBack), Reason::AlertsDenied));
        }
    }
}

/// P4, P5: no device, only dead ones, or no push account: text and email are offered at once, at the same time.
#[test]
fn with_no_live_device_text_and_email_go_at_once() {
    let mut dead = Case::around(&[A]);
    dead.devices[0].standing = Standing::TokenGone(T0 - 1);
    let mut no_account = Case::around(&[A]);
    no_account.policy.services.fcm = false;
    let mut not_chosen = Case::around(&[A]);
    let chosen = NewReply { chosen: Some(vec![Channel::Text, Channel::Email]), ..reply(1, T0) };
    not_chosen.open(T0, chosen);
    let mut none = Case::around(&[]);
    for case in [&mut dead, &mut no_account, &mut none] {
        case.open(T0, reply(1, T0));
    }
    let expected = [Reason::TokenGone, Reason::NoPushCredentials, Reason::NoDevice, Reason::PushNotChosen];
    for (case, why) in [dead, no_account, none, not_chosen].iter().zip(expected) {
        assert_eq!((case.state(), case.reason()), (Some(PublicState::FallingBack), why));
        assert_eq!(case.offers(), [Channel::Text, Channel::Email]);
        assert!(case.pushes().is_empty());
        assert_eq!(case.f.decided_at(), Some(T0));
    }
}

/// P12: devices of a service without an account are left out, others are pushed to.
#[test]
fn a_half_of_the_push_services_is_enough() {
    let mut case = Case::around(&[A, B]);
    case.devices[0].provider = PushProvider::Apns;
    case.policy.services.apns = false;
    case.open(T0, reply(1, T0));
    assert_eq!(case.pushes(), [(B, 1, 1, 30 * S)]);
}

/// P12: an app's own credentials carry its devices where the deployment has none.
#[test]
fn an_app_s_own_credentials_carry_its_devices() {
    let mut case = Case::around(&[A, B]);
    case.policy.services.fcm = false;
    case.devices[1].carried = true;
    case.open(T0, reply(1, T0));
    assert_eq!(case.pushes(), [(B, 1, 1, 30 * S)]);
}

/// P1, D8: a push goes to the devices of the target apps only; replies with other targets do not join.
#[test]
fn a_push_goes_to_the_target_apps() {
    let to = |apps: &[&str], at| NewReply { apps: Some(apps.iter().map(|a| (*a).into()).collect()), ..reply(1, at) };
    let of_two_apps = || {
        let mut case = Case::around(&[A, B]);
        case.devices[0].app = Some("shop".into());
        case.devices[1].app = Some("staff".into());
        case
    };
    for (apps, expected) in [(&["shop"][..], vec![A]), (&["staff"], vec![B]), (&["shop", "staff"], vec![A, B])] {
        let mut case = of_two_apps();
        case.open(T0, to(apps, T0));
        assert_eq!(case.pushes().iter().map(|push| push.0).collect::<Vec<_>>(), expected, "{apps:?}");
        assert!(!case.join(S, reply(2, T0 + S)), "{apps:?}: the reply is for all apps");
    }
    let mut nowhere = of_two_apps();
    nowhere.devices[0].app = None;
    nowhere.open(T0, to(&["shop"], T0));
    assert_eq!((nowhere.state(), nowhere.reason()), (Some(PublicState::FallingBack), Reason::NoDevice));
}

/// D2: a reply that lands while the customer is online watches; unread when they go offline it starts then.
#[test]
fn a_reply_to_an_online_customer_watches_until_they_leave() {
    let mut case = Case::around(&[A]);
    case.online_until = Some(T0 + 270 * S);
    case.open(T0, reply(1, T0));
    assert_eq!((case.state(), case.wake()), (None, Some((270 * S, WakeReason::Presence))));
    assert!(case.effects.is_empty());
    // Active again meanwhile.
    case.online_until = Some(T0 + 300 * S);
    case.woke(270 * S);
    assert_eq!(case.wake(), Some((300 * S, WakeReason::Presence)));
    case.online_until = None;
    case.woke(300 * S);
    assert_eq!(case.pushes(), [(A, 1, 1, 330 * S)]);
    assert_eq!((case.f.started_at, case.f.deadline_at), (T0 + 300 * S, T0 + 330 * S));
}

/// D2: facts that lag behind the clock do not make it wake for ever.
#[test]
fn a_stale_presence_does_not_hold_it() {
    let mut case = Case::around(&[A]);
    case.online_until = Some(T0 + S);
    case.open(T0, reply(1, T0));
    case.woke(S);
    assert_eq!(case.state(), Some(PublicState::Sending));
}

/// D2, D5: read while it watched, it never was a follow-up; a part of it read is never shown.
#[test]
fn what_was_read_while_it_watched_is_never_sent() {
    let mut case = Case::around(&[]);
    case.online_until = Some(T0 + 270 * S);
    case.open(T0, reply(1, T0));
    assert!(case.joins(S));
    case.at(2 * S, &Event::Seen { through_seq: 1, why: Reason::CustomerRead });
    assert_eq!((case.f.seen, case.wake()), (1, Some((270 * S, WakeReason::Presence))));
    case.online_until = None;
    case.woke(270 * S);
    assert_eq!(case.f.unseen().map(|r| r.seq).collect::<Vec<_>>(), [2]);

    let mut all = Case::around(&[]);
    all.online_until = Some(T0 + 270 * S);
    all.open(T0, reply(1, T0));
    all.at(2 * S, &Event::Seen { through_seq: 1, why: Reason::CustomerRead });
    assert_eq!((all.state(), all.wake(), all.f.is_open()), (None, None, false));
}

/// D2, P13: nobody was there to start it for longer than the horizon: email only, and an alarm.
#[test]
fn a_watch_that_ended_during_a_long_outage_is_judged_by_the_horizon() {
    for (late_ms, text) in [(6 * 3600 * S, true), (6 * 3600 * S + 1, false)] {
        let mut case = Case::around(&[A]);
        case.online_until = Some(T0 + 270 * S);
        case.open(T0, reply(1, T0));
        case.online_until = None;
        case.woke(300 * S + late_ms);
        assert_eq!(case.pushes().is_empty(), !text);
        assert_eq!(case.f.text.status == LegStatus::Skipped(Skip::TooOld), !text);
        assert_eq!(case.alarms(), usize::from(!text));
    }
}

/// D6: outreach goes by text and email alone, whatever the presence, and starts in `falling_back`.
#[test]
fn outreach_is_never_pushed() {
    let mut case = Case::around(&[A]);
    case.wrote = false;
    case.online_until = Some(T0 + 270 * S);
    case.left_at = Some(T0 - 1);
    case.open(T0, reply(1, T0));
    assert_eq!(
        (case.f.kind, case.state(), case.reason()),
        (Kind::Outreach, Some(PublicState::FallingBack), Reason::Outreach)
    );
    assert_eq!((case.f.deadline_at, case.offers()), (T0, vec![Channel::Text, Channel::Email]));
    assert!(case.pushes().is_empty() && !case.joins(S), "no other reply joins it");
}

/// D6, S8: contact data left for the answer alone serves no outreach.
#[test]
fn outreach_needs_contact_data_for_it() {
    for (source, state) in [
        (ContactSource::FollowUp, PublicState::Failed),
        (ContactSource::Account, PublicState::FallingBack),
        (ContactSource::Consent, PublicState::FallingBack),
    ] {
        let mut case = Case::around(&[]);
        (case.source, case.wrote) = (source, false);
        case.open(T0, reply(1, T0));
        assert_eq!(case.state(), Some(state), "{source:?}");
        let mut answer = Case::around(&[]);
        answer.source = source;
        answer.open(T0, reply(1, T0));
        assert_eq!(answer.state(), Some(PublicState::FallingBack), "an answer may use it");
    }
}

/// D6: `kind` given is the caller's word; absent it is derived; a reply where nobody wrote is warned of.
#[test]
fn the_kind_is_given_or_derived() {
    assert_eq!(kind_of(None, true), Kind::Reply);
    assert_eq!(kind_of(None, false), Kind::Outreach);
    for wrote in [true, false] {
        assert_eq!(kind_of(Some(Kind::Reply), wrote), Kind::Reply);
        assert_eq!(kind_of(Some(Kind::Outreach), wrote), Kind::Outreach);
    }
    let mut case = Case::around(&[A]);
    case.wrote = false;
    case.open(T0, NewReply { kind: Some(Kind::Reply), ..reply(1, T0) });
    assert_eq!(
        (case.state(), case.warnings.as_slice()),
        (Some(PublicState::Sending), &[Warning::NoCustomerMessage][..])
    );
}

/// D7: marketing and what says so itself are refused.
#[test]
fn marketing_is_refused() {
    assert_eq!(refusal(true, "hello"), Some("kind"));
    for text in ["(광고) sale", "  (광고)sale", "\n(광고)"] {
        assert_eq!(refusal(false, text), Some("text"), "{text}");
    }
    for text in ["hello", "about (광고)", "광고", "( 광고 )"] {
        assert_eq!(refusal(false, text), None, "{text}");
    }
}

/// P10: a push lives to the deadline, at least 1 s — or 24 h when no fallback can leave.
#[test]
fn a_push_lives_as_long_as_its_use() {
    let mut case = Case::around(&[A]);
    case.open(T0, reply(1, T0));
    case.push_answered(28_000, A, retry_after(Some(500)));
    case.woke(29_000);
    assert_eq!(case.pushes().last(), Some(&(A, 2, 1, 30 * S)));
    case.push_answered(29_000, A, retry_after(Some(500)));
    assert_eq!(case.state(), Some(PublicState::FallingBack), "a retry at 31 s is past the deadline");

    let mut short = Case::around(&[A]);
    short.open(T0, reply(1, T0));
    assert!(short.joins(29_999));
    assert_eq!(short.pushes().last(), Some(&(A, 2, 2, 30_999)), "at least a second");

    let mut alone = Case::around(&[A]);
    (alone.phone, alone.email) = (false, false);
    alone.open(T0, reply(1, T0));
    assert_eq!(alone.pushes(), [(A, 1, 1, 24 * 3600 * S)]);
    assert_eq!(alone.warnings, [Warning::NoFallbackRoute]);
}

/// P10: with nothing else to send, it failed at the deadline, and an ack after it is late.
#[test]
fn without_a_route_it_fails_at_the_deadline_and_a_later_ack_is_late() {
    let mut case = Case::around(&[A]);
    (case.phone, case.email) = (false, false);
    case.open(T0, reply(1, T0));
    case.push_answered(100, A, accepted());
    case.woke(30 * S);
    assert_eq!((case.state(), case.reason()), (Some(PublicState::Failed), Reason::NoFallbackRoute));
    let ack = case.acked(40 * S, A, 1, Grade::Displayed);
    assert_eq!((ack.verdict, ack.counted, ack.first_counted), (AckVerdict::Late, false, false));
    assert_eq!((case.state(), case.f.late_ack_at), (Some(PublicState::Failed), Some(T0 + 40 * S)));
}

/// S1, P10: a phone number is a way out for a watched reply too.
#[test]
fn a_watched_reply_with_a_phone_number_is_not_warned_of() {
    let mut case = Case::around(&[A]);
    (case.email, case.online_until) = (false, Some(T0 + S));
    case.open(T0, reply(1, T0));
    assert!(case.warnings.is_empty());
    case.policy.channels.phone_number = false;
    case.open(T0, reply(1, T0));
    assert_eq!(case.warnings, [Warning::NoFallbackRoute]);
}

/// D1: a bot's reply starts no text unless the workspace says so; an agent's beside it does.
#[test]
fn a_bot_starts_no_text() {
    let bot = |seq, at| {
        let mut new = reply(seq, at);
        new.reply.author = AuthorKind::Bot;
        new
    };
    let mut case = Case::around(&[]);
    case.open(T0, bot(1, T0));
    assert_eq!((case.f.text.status, case.offers()), (LegStatus::Skipped(Skip::BotAuthor), vec![Channel::Email]));
    let mut allowed = Case::around(&[]);
    allowed.policy.channels.bot_text = true;
    allowed.open(T0, bot(1, T0));
    assert_eq!(allowed.offers(), [Channel::Text, Channel::Email]);
    let mut mixed = Case::around(&[A]);
    mixed.open(T0, bot(1, T0));
    mixed.push_answered(0, A, accepted());
    assert!(mixed.join(S, reply(2, T0 + S)));
    mixed.woke(30 * S);
    assert_eq!(mixed.offers(), [Channel::Text, Channel::Email]);
    assert!(!reply(1, T0).by_agent() || !bot(1, T0).by_agent());
}

/// S1: switches, missing contact data, missing providers and the caller's choice close a way, each with its word.
#[test]
fn a_closed_way_says_why() {
    type Close = fn(&mut Case);
    let cases: [(Close, Skip); 4] = [
        (|c| c.policy.channels.phone_number = false, Skip::SwitchedOff),
        (|c| c.phone = false, Skip::NoContact),
        (|c| c.policy.services.text.clear(), Skip::NoProvider),
        (|_| {}, Skip::NotChosen),
    ];
    for (close, skip) in cases {
        let mut case = Case::around(&[]);
        close(&mut case);
        let chosen = (skip == Skip::NotChosen).then(|| vec![Channel::Email]);
        case.open(T0, NewReply { chosen, ..reply(1, T0) });
        assert_eq!(case.f.text.status, LegStatus::Skipped(skip));
        assert_eq!(case.offers(), [Channel::Email], "one way closed never closes the other (P4)");
    }
}
