//! SNS before XMS, and only one of the two (T1, T2).

use super::*;
use crate::text::{Country, Encoding, Form, Hop, NumberKind, Sender, TextPlan, Way};
use proptest::prelude::*;

const TEXT: Channel = Channel::Text;
const EMAIL: Channel = Channel::Email;
const WAIT: Ms = 180_000;

fn hop(way: Way, via: &str) -> Hop {
    Hop { way, via: via.into() }
}

/// Alimtalk by a relay that confirms, LINE under a key, then two that carry SMS.
fn house() -> Vec<TextService> {
    let all = vec![Way::Alimtalk, Way::Line, Way::Xms];
    let service = |name| TextService { ways: all.clone(), ..TextService::xms(name) };
    vec![
        TextService { confirms: true, ..service("relay") },
        TextService { idempotent: true, ..service("line") },
        service("sms"),
        service("spare"),
    ]
}

fn all_hops() -> Vec<Hop> {
    vec![hop(Way::Alimtalk, "relay"), hop(Way::Line, "line"), hop(Way::Xms, "sms"), hop(Way::Xms, "spare")]
}

/// What a planner plans for this leg: the first hop that is open.
fn plan(leg: &Leg, hops: &[Hop]) -> Option<TextPlan> {
    let mut open = leg.open(hops).cloned();
    let hop = open.next()?;
    let form = match hop.way {
        Way::Alimtalk => Form::Alimtalk,
        Way::Line => Form::Line,
        Way::Xms => Form::Sms,
    };
    Some(TextPlan {
        hop,
        then: open.collect(),
        passed: None,
        country: Country::parse("KR"),
        number: NumberKind::Ordinary,
        form,
        encoding: Encoding::Ucs2,
        segments: 1,
        sender: Sender::Shared(None),
        shows: vec![1],
    })
}

fn case() -> Case {
    let mut case = Case::falling_back();
    case.policy.services.text = house();
    case
}

impl Case {
    fn claims(&mut self, after_ms: Ms, hops: &[Hop]) -> &mut Case {
        let plan = plan(&self.f.text, hops).expect("a way");
        self.claiming(after_ms, &plan);
        assert!(matches!(self.f.text.status, LegStatus::Claimed(_)), "{:?}", self.f.text);
        self
    }

    fn answers(&mut self, after_ms: Ms, outcome: Outcome) -> &mut Case {
        let attempt = self.f.text.attempt;
        self.at(after_ms, &Event::FallbackAnswered { channel: TEXT, attempt, outcome })
    }

    fn says(&mut self, after_ms: Ms, attempt: u32, delivered: bool) -> &mut Case {
        self.at(after_ms, &report(TEXT, attempt, delivered, (!delivered).then_some("3104")))
    }

    fn ways(&self) -> Vec<(Form, LegStatus)> {
        let legs = self.f.text.tried.iter().chain([&self.f.text]);
        legs.map(|leg| (leg.form(), leg.status)).collect()
    }
}

/// T2: refused at once, the next way goes at once, one after the other; the last one's refusal is the text's.
#[test]
fn t2_each_way_follows_the_definite_failure_of_the_one_before() {
    let mut case = case();
    let hops = all_hops();
    case.sent(5, EMAIL, rejected());
    for n in 0..4 {
        let at = 10 + n * 20;
        case.claims(at, &hops).answers(at + 10, rejected());
    }
    let forms: Vec<_> = case.ways().into_iter().map(|(form, _)| form).collect();
    assert_eq!(forms, [Form::Alimtalk, Form::Line, Form::Sms, Form::Sms]);
    assert!(case.ways().iter().all(|(_, status)| *status == LegStatus::Failed));
    assert_eq!((case.sends(TEXT), case.state(), case.reason()), (4, Some(PublicState::Failed), Reason::AllFailed));
    assert_eq!(serde_json::from_value::<Followup>(serde_json::to_value(&case.f).unwrap()).unwrap(), case.f);
}

/// T2: an SNS that cannot be sent now has failed; an SMS that cannot is tried again by whom it may.
#[test]
fn t2_an_sns_that_has_to_wait_is_followed_at_once() {
    let mut case = case();
    case.claims(10, &all_hops()).answers(20, retry_after(None));
    assert_eq!((case.f.text.status, case.ways()[0].1), (LegStatus::Queued(T0 + 5_020), LegStatus::Failed));
    case.claims(30, &all_hops()[2..]).answers(40, retry_after(None));
    assert_eq!(case.f.text.status, LegStatus::Retry(T0 + 2_040), "the second try of the text");
    let alone = vec![hop(Way::Line, "line")];
    let mut case = Case::falling_back();
    case.policy.services.text = house();
    case.claims(10, &alone).answers(20, retry_after(None));
    assert!(matches!(case.f.text.status, LegStatus::Retry(_)), "nothing else could carry it");
}

/// T2: what our own limits held back waits for the same way, for as long as its report would be awaited, and is no
/// failure of it; both sides of the 180 s. A push that it happens to is tried again in its 30 s as ever.
#[test]
fn t2_an_sns_that_we_hold_back_ourselves_goes_the_same_way() {
    let mut case = case();
    case.claims(10, &all_hops()).answers(20, postponed(Some(5_000)));
    assert_eq!((case.f.text.status, case.ways().len()), (LegStatus::Retry(T0 + 5_020), 1));
    case.woke(5_020).claims(5_030, &all_hops()).answers(5_040, accepted());
    assert_eq!((case.ways()[0].0, case.ways().len()), (Form::Alimtalk, 1));
    for (wait, follows) in [(WAIT - 10, false), (WAIT - 9, true)] {
        let mut case = Case::falling_back();
        case.policy.services.text = house();
        case.claims(10, &all_hops()).answers(20, postponed(Some(wait)));
        assert_eq!(matches!(case.f.text.status, LegStatus::Queued(_)), follows, "{wait}: {:?}", case.ways());
    }
    let mut push = Case::around(&[A]);
    push.open(T0, reply(1, T0));
    push.push_answered(10, A, postponed(Some(2_000)));
    assert_eq!(push.push(A).status, PushStatus::Retry(T0 + 2_010));
}

/// T2: taken first, then reported failed: XMS goes, after the outcome too; a second report of it changes nothing, and
/// the failed SMS of a carrier is not sent by another one.
#[test]
fn t2_a_later_report_of_failure_is_followed_by_xms_once() {
    let mut case = case();
    case.claims(10, &all_hops()).answers(20, accepted());
    assert!(matches!(case.f.text.status, LegStatus::Confirming(_)));
    assert_eq!((case.state(), case.wake()), (Some(PublicState::FellBack), Some((5_000, WakeReason::Offer))));
    case.says(30, 1, false).says(31, 1, false);
    assert_eq!(case.last.note, None);
    let hops = [all_hops()[0].clone(), all_hops()[2].clone(), all_hops()[3].clone()];
    case.claims(40, &hops).answers(50, accepted()).says(60, 1, false).says(70, 2, false);
    assert_eq!(case.ways(), [(Form::Alimtalk, LegStatus::Failed), (Form::Sms, LegStatus::Failed)]);
    assert_eq!((case.sends(TEXT), case.state()), (2, Some(PublicState::FellBack)));
}

/// T2: delivered is delivered: nothing follows, whatever is said later.
#[test]
fn t2_a_delivered_sns_is_the_text() {
    let mut case = case();
    case.claims(10, &all_hops()).answers(20, accepted()).says(30, 1, true).says(40, 1, false).woke(WAIT + 1_000);
    assert_eq!(case.ways(), [(Form::Alimtalk, LegStatus::Delivered)]);
    assert_eq!(case.f.text.then.len(), 3, "they stay untried");
}

/// T2: `sns_report_wait` = 180 s, its other side, and each of what may follow; the provider is asked meanwhile.
#[test]
fn t2_an_unconfirmed_sns_waits_180_s_then_the_email_decides() {
    for (unknown, email, follows) in [
        (SnsUnknown::EmailDecides, true, false),
        (SnsUnknown::EmailDecides, false, true),
        (SnsUnknown::Hold, false, false),
        (SnsUnknown::Xms, true, true),
    ] {
        let mut case = case();
        case.policy.sns.unknown = unknown;
        case.sent(5, EMAIL, if email { accepted() } else { rejected() });
        case.claims(10, &all_hops()).answers(20, accepted());
        case.woke(30_020);
        assert_eq!((case.inquiries(), case.wake()), (vec![1], Some((60_020, WakeReason::Inquiry))));
        case.at(30_040, &Event::Asked { attempt: 1, inquiry: 1, found: Found::Unclear });
        for n in 2..=5 {
            case.woke(n * 30_020);
        }
        case.woke(20 + WAIT - 1);
        assert!(matches!(case.f.text.status, LegStatus::Confirming(_)), "a millisecond before");
        case.woke(20 + WAIT);
        let note = case.last.note.clone().unwrap();
        let expected = if follows { ("next_way", Reason::WayUnknown) } else { ("unconfirmed", Reason::Nothing) };
        assert_eq!((note.decision, note.why), expected, "{unknown:?} {email}");
        assert_eq!(note.detail.as_deref(), follows.then_some("may_arrive_twice"));
        assert_eq!(case.ways()[0], (Form::Alimtalk, LegStatus::Accepted));
        if follows {
            assert!(case.f.text.then.iter().all(|hop| hop.way == Way::Xms), "no other SNS: it may have arrived");
        }
        case.woke(20 + 2 * WAIT);
        assert_eq!(case.ways().len(), 1 + usize::from(follows));
    }
}

/// T2: it may have left, nobody knows: asked for, waited for, and then as above; found again, it is the text.
#[test]
fn t2_an_sns_that_may_have_left_is_waited_for() {
    let left = |case: &mut Case| {
        case.sent(5, EMAIL, rejected());
        case.claims(10, &all_hops());
        let event = Event::MayHaveLeft { attempt: 1, error: "timeout".into(), mark: Mark { number: 1, body: 2 } };
        case.at(20, &event);
    };
    let (mut lost, mut found, mut late) = (case(), case(), case());
    left(&mut lost);
    for n in 1..=5 {
        lost.woke(n * 30_020);
    }
    lost.woke(20 + WAIT - 1);
    assert!(matches!(lost.f.text.status, LegStatus::Asking(_)));
    lost.woke(20 + WAIT);
    assert_eq!(lost.ways()[0], (Form::Alimtalk, LegStatus::Unresolved));
    assert!(matches!(lost.f.text.status, LegStatus::Queued(_)));
    left(&mut found);
    found.woke(30_020);
    let taken = Found::Failed { provider_id: Some("m1".into()), error: "3104".into() };
    found.at(30_030, &Event::Asked { attempt: 1, inquiry: 1, found: taken });
    assert_eq!(found.ways()[0], (Form::Alimtalk, LegStatus::Failed));
    left(&mut late);
    late.woke(20 + WAIT).says(20 + WAIT + 10, 1, true);
    let spared = [(Form::Alimtalk, LegStatus::Delivered), (Form::Sms, LegStatus::Stopped)];
    assert_eq!(late.ways(), spared, "the text in its place had not begun to leave");
    assert_eq!((late.sends(TEXT), late.state()), (1, Some(PublicState::FellBack)));
}

/// T2: under a key an unknown SNS is repeated, by the same provider, and no longer than its report would be awaited.
#[test]
fn t2_an_sns_under_a_key_is_repeated_for_180_s() {
    let mut case = case();
    let hops = all_hops()[1..].to_vec();
    case.sent(5, EMAIL, rejected());
    let mut at = 10;
    loop {
        case.claims(at, &hops).answers(at + 1, unknown());
        let Some((wake, why)) = case.wake() else { panic!("it sleeps") };
        at = wake;
        case.woke(at);
        if why == WakeReason::Report {
            break;
        }
        let other = TextPlan { hop: hop(Way::Xms, "sms"), ..plan(&case.f.text, &hops).unwrap() };
        case.claiming(at, &other);
        assert!(!matches!(case.f.text.status, LegStatus::Claimed(_)), "another provider knows nothing of the key");
    }
    assert_eq!((at, case.ways()[0]), (10 + WAIT, (Form::Line, LegStatus::Unresolved)));
}

/// T2: told to wait for longer than its report is awaited, what may have left is decided when the 180 s are over and
/// not before: an email that is taken meanwhile counts.
#[test]
fn t2_a_long_wait_does_not_cut_the_180_s_short() {
    let line = all_hops()[1..].to_vec();
    for (email, follows) in [(accepted(), false), (rejected(), true)] {
        let mut case = case();
        case.claims(10, &line).answers(20, unknown()).woke(2_000);
        case.claims(2_010, &line).answers(2_020, retry_after(Some(600_000)));
        assert_eq!(case.f.text.status, LegStatus::Unknown(T0 + 10 + WAIT));
        case.sent(100_000, EMAIL, email).woke(10 + WAIT - 1);
        assert!(matches!(case.f.text.status, LegStatus::Unknown(_)), "a millisecond before");
        case.woke(10 + WAIT);
        assert_eq!(case.ways()[0], (Form::Line, LegStatus::Unresolved));
        assert_eq!(case.ways().len(), 1 + usize::from(follows));
    }
}

/// T2, S2: a try that may have left, and its repeat under the key refused: that says nothing of the first. The wait
/// goes on, nothing leaves in its place before that is over, and the money stays held. A first try's refusal is final.
#[test]
fn t2_a_refused_repeat_is_no_failure_of_what_may_have_left() {
    let line = all_hops()[1..].to_vec();
    for unknown_then in [SnsUnknown::Hold, SnsUnknown::EmailDecides] {
        let mut case = case();
        case.pays_from(25_000);
        case.policy.sns.unknown = unknown_then;
        case.sent(5, EMAIL, accepted());
        case.claims(10, &line).answers(20, unknown()).woke(2_000).claims(2_010, &line).answers(2_020, rejected());
        assert_eq!(case.f.text.status, LegStatus::Unknown(T0 + 10 + WAIT), "since its first claim");
        assert!(case.f.text.hold.is_some() && case.wallet.as_ref().unwrap().held_micros > 0);
        case.woke(10 + WAIT - 1);
        assert!(matches!(case.f.text.status, LegStatus::Unknown(_)), "a millisecond before");
        case.woke(10 + WAIT);
        assert_eq!((case.ways(), case.sends(TEXT)), (vec![(Form::Line, LegStatus::Unresolved)], 2));
        case.books_balance(25_000);
    }
    let mut first = case();
    first.claims(10, &line).answers(20, rejected());
    assert_eq!((first.ways()[0].1, first.ways().len()), (LegStatus::Failed, 2));
    // The same of an SMS: nobody will ever say.
    let mut sms = case();
    sms.policy.services.text[2].idempotent = true;
    let hops = all_hops()[2..].to_vec();
    sms.claims(10, &hops).answers(20, unknown()).woke(2_000).claims(2_010, &hops).answers(2_020, rejected());
    assert_eq!(sms.ways(), [(Form::Sms, LegStatus::Unresolved)], "the spare one does not send a second");
    // Told when the next way was chosen already.
    let mut late = case();
    late.sent(5, EMAIL, rejected());
    late.claims(10, &line).answers(20, unknown()).woke(2_000).claims(170_000, &line).woke(185_000).woke(185_001);
    assert_eq!(late.ways().len(), 2);
    late.answers(185_010, rejected());
    assert_eq!(late.ways()[0], (Form::Line, LegStatus::Unresolved));
}

/// T2: the repeat of a try that may have left cannot be put together: what it went by stays known, so that it is
/// awaited as an SNS, and nobody else sends; the SMS that follows is still open to the first provider of all.
#[test]
fn t2_a_repeat_without_a_plan_keeps_the_way_it_went_by() {
    let line = all_hops()[1..].to_vec();
    for outcome in [rejected(), retry_after(None), retry_after(Some(600_000))] {
        let mut case = case();
        case.policy.services.text.swap(0, 2);
        case.pays_from(25_000);
        case.sent(5, EMAIL, rejected());
        case.claims(10, &line).answers(20, unknown()).woke(2_000);
        let before = case.f.text.clone();
        case.claimed(2_010, TEXT).answers(2_020, outcome.clone());
        let leg = &case.f.text;
        assert_eq!(
            (&leg.provider, leg.form, leg.segments, &leg.then, leg.left),
            (&before.provider, before.form, before.segments, &before.then, true),
            "{outcome:?}"
        );
        assert!(leg.tried.is_empty() && leg.hold.is_some(), "{outcome:?}");
        if !matches!(leg.status, LegStatus::Retry(_)) {
            case.woke(10 + WAIT);
            let follows = plan(&case.f.text, &all_hops()).expect("a way").hop;
            assert_eq!((case.ways()[0], follows), ((Form::Line, LegStatus::Unresolved), hop(Way::Xms, "sms")));
        }
        case.books_balance(25_000);
    }
}

/// W2, S2: what a key was repeated under is one text: the report that names its first try is heard, now or when another
/// way was chosen meanwhile. Without a key an older try was another text.
#[test]
fn w2_a_report_of_an_earlier_try_under_the_key_is_heard() {
    for (keyed, delivered, status) in [
        (true, false, LegStatus::Failed),
        (true, true, LegStatus::Delivered),
        (false, false, LegStatus::Accepted),
        (false, true, LegStatus::Accepted),
    ] {
        let mut case = case();
        case.pays_from(25_000);
        case.policy.services.text[2].idempotent = keyed;
        let hops = vec![hop(Way::Xms, "sms")];
        case.claims(10, &hops).answers(20, if keyed { unknown() } else { retry_after(None) });
        case.woke(2_000).claims(2_010, &hops).answers(2_020, accepted()).says(2_030, 1, delivered);
        assert_eq!(case.f.text.status, status, "{keyed} {delivered}");
        case.books_balance(25_000);
    }
    let mut hopped = case();
    hopped.sent(5, EMAIL, rejected());
    let line = all_hops()[1..].to_vec();
    hopped.claims(10, &line).answers(20, unknown()).woke(2_000).claims(170_000, &line).woke(185_000).woke(185_001);
    hopped.says(185_010, 1, true);
    assert_eq!(hopped.ways(), [(Form::Line, LegStatus::Delivered), (Form::Sms, LegStatus::Stopped)]);
}

/// T7: a block ends that way and says so; an opt-out ends them all.
#[test]
fn t7_a_block_ends_one_way_and_an_opt_out_all() {
    let mut case = case();
    case.claims(10, &all_hops()).answers(20, Outcome::Rejected { error: BLOCKED.into() });
    assert!(case.effects.contains(&Effect::Block(Way::Alimtalk)) && !case.effects.contains(&Effect::Suppress));
    case.claims(30, &all_hops()[2..]).answers(40, Outcome::Rejected { error: OPTED_OUT.into() });
    assert!(case.effects.contains(&Effect::Suppress));
    assert_eq!(case.f.text.status, LegStatus::Failed, "a spare provider is not asked");
}

/// T7: told late, of a way that was given up meanwhile, a block and an opt-out are heard all the same, once.
#[test]
fn t7_a_late_block_or_opt_out_of_an_earlier_way_is_heard() {
    for (code, effect) in [(BLOCKED, Effect::Block(Way::Alimtalk)), (OPTED_OUT, Effect::Suppress)] {
        for reported in [true, false] {
            let mut case = case();
            case.sent(5, EMAIL, rejected());
            case.claims(10, &all_hops()).answers(20, if reported { accepted() } else { unknown() }).woke(20 + WAIT);
            let outcome = Outcome::Rejected { error: code.into() };
            let answer = Event::FallbackAnswered { channel: TEXT, attempt: 1, outcome };
            let told = if reported { report(TEXT, 1, false, Some(code)) } else { answer };
            case.at(30 + WAIT, &told).at(40 + WAIT, &told);
            assert_eq!(case.ways()[0], (Form::Alimtalk, LegStatus::Failed));
            let heard = case.effects.iter().filter(|heard| **heard == effect).count();
            assert_eq!(heard, 1, "{code} {reported}");
        }
    }
}

/// S4, S2, T6: what stops one way before it is tried leaves the text to the next one; of the last way it is the text's.
#[test]
fn s4_what_stops_one_way_leaves_the_text_to_the_next() {
    let kr = all_hops();
    let unregistered = |case: &mut Case, at: Ms, hops: &[Hop]| {
        let plan = TextPlan { sender: Sender::Unregistered, ..plan(&case.f.text, hops).expect("a way") };
        case.claiming(at, &plan);
    };
    let mut priced = case();
    priced.pays_from(25_000);
    let prices = &priced.policy.limits.prices;
    let sms_alone = prices.prices.iter().filter(|price| price.kind == crate::wallet::Kind::Sms).cloned().collect();
    priced.policy.limits.prices =
        std::sync::Arc::new(crate::wallet::PriceList { prices: sms_alone, ..(**prices).clone() });
    for at in [10, 20] {
        let plan = plan(&priced.f.text, &kr).expect("a way");
        priced.claiming(at, &plan);
        let note = priced.last.note.clone().expect("it is noted");
        assert_eq!((note.decision, note.detail.as_deref()), ("next_way", Some("price_unknown")));
    }
    priced.claims(30, &kr).answers(40, accepted()).says(50, 1, true);
    let skipped = LegStatus::Skipped(Skip::PriceUnknown);
    let ways = [(Form::Alimtalk, skipped), (Form::Line, skipped), (Form::Sms, LegStatus::Delivered)];
    assert_eq!((priced.ways(), priced.sends(TEXT)), (ways.to_vec(), 1));
    priced.books_balance(25_000);

    let mut senders = case();
    unregistered(&mut senders, 10, &kr[2..]);
    assert_eq!(senders.ways()[0], (Form::Sms, LegStatus::Skipped(Skip::SenderUnregistered)));
    let plan = plan(&senders.f.text, &kr[2..]).expect("a way");
    assert_eq!(plan.hop, kr[3], "the account that has the number");
    unregistered(&mut senders, 20, &kr[2..]);
    assert_eq!((senders.f.text.status, senders.sends(TEXT)), (LegStatus::Skipped(Skip::SenderUnregistered), 0));
    assert_eq!(senders.offers().iter().filter(|channel| **channel == TEXT).count(), 2, "once for each way");
}

/// P8, D5: what was stopped meanwhile has no next way.
#[test]
fn p8_a_late_ack_stops_the_next_way() {
    let mut case = case();
    case.sent(5, EMAIL, accepted());
    case.claims(10, &all_hops()).answers(20, accepted());
    case.at(25, &Event::Cancel(Reason::CustomerRead)).says(30, 1, false);
    assert_eq!(case.ways(), [(Form::Alimtalk, LegStatus::Failed)]);
    let mut queued = Case::falling_back();
    queued.policy.services.text = house();
    queued.claims(10, &all_hops()).answers(20, accepted()).says(30, 1, false);
    queued.at(35, &Event::Cancel(Reason::CustomerRead));
    assert_eq!((queued.ways()[1].1, queued.sends(TEXT)), (LegStatus::Stopped, 1));
}

/// D10: at night the next way waits as the first one would have.
#[test]
fn d10_the_next_way_waits_for_the_morning() {
    let mut case = case();
    case.claims(10, &all_hops()).answers(20, accepted());
    let now = (T0 / 60_000).rem_euclid(1_440) as u16;
    let quiet = crate::quiet::QuietHours { start_minute: now, end_minute: (now + 60) % 1_440, time_zone: "UTC".into() };
    case.policy.quiet = Some(quiet);
    case.says(30, 1, false);
    assert!(matches!(case.f.text.status, LegStatus::Held(_)), "{:?}", case.f.text.status);
}

/// What vendors and the world do to one text, in any order.
#[derive(Clone, Debug)]
enum Step {
    Claim,
    Answer(u32, u8),
    Report(u32, bool),
    Wake(Ms),
    Ask(u8),
    Email(bool),
    Read,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Claim),
        6 => (1..5u32, 0..6u8).prop_map(|(attempt, outcome)| Step::Answer(attempt, outcome)),
        4 => (1..5u32, any::<bool>()).prop_map(|(attempt, delivered)| Step::Report(attempt, delivered)),
        5 => (1..200_000i64).prop_map(Step::Wake),
        2 => (0..4u8).prop_map(Step::Ask),
        2 => any::<bool>().prop_map(Step::Email),
        1 => Just(Step::Read),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    /// T1, T2: whatever is said in whatever order: XMS begins to leave only after every SNS before it failed for good,
    /// or was unknown for its whole wait; nothing leaves twice the same way; nothing leaves after what arrived. S2: the
    /// books balance all the while, and what failed for good is not paid.
    #[test]
    fn t2_never_both_but_by_the_unknown_rule(steps in prop::collection::vec(step(), 1..60), xms in any::<bool>()) {
        let mut case = case();
        case.pays_from(25_000);
        case.policy.sns.unknown = if xms { SnsUnknown::Xms } else { SnsUnknown::EmailDecides };
        let mut at = 100;
        for step in steps {
            at += 1;
            let before = case.f.text.clone();
            match step {
                Step::Claim => {
                    if let Some(plan) = plan(&before, &all_hops()) {
                        case.claiming(at, &plan);
                    }
                }
                Step::Answer(attempt, outcome) => {
                    let waits = [retry_after(None), retry_after(Some(9_000)), postponed(None)];
                    let said = [vec![accepted(), rejected(), unknown()], waits.to_vec()].concat();
                    let outcome = said[usize::from(outcome)].clone();
                    case.at(at, &Event::FallbackAnswered { channel: TEXT, attempt, outcome });
                }
                Step::Report(attempt, delivered) => {
                    case.says(at, attempt, delivered);
                }
                Step::Wake(ms) => {
                    at += ms;
                    case.woke(at);
                }
                Step::Ask(found) => {
                    let found = [Found::Absent, Found::Unclear, Found::Delivered { provider_id: None },
                        Found::Failed { provider_id: None, error: "3104".into() }][usize::from(found)].clone();
                    let (attempt, inquiry) = match before.status {
                        LegStatus::Asking(i) | LegStatus::Confirming(i) => (before.attempt, i.asked),
                        _ => (1, 1),
                    };
                    case.at(at, &Event::Asked { attempt, inquiry, found });
                }
                Step::Email(taken) => {
                    let outcome = if taken { accepted() } else { rejected() };
                    case.at(at, &Event::Claiming(EMAIL));
                    let attempt = case.f.email.attempt;
                    case.at(at, &Event::FallbackAnswered { channel: EMAIL, attempt, outcome });
                }
                Step::Read => {
                    case.at(at, &Event::Cancel(Reason::CustomerRead));
                }
            }
            case.books_balance(25_000);
            let text = &case.f.text;
            let began = matches!(text.status, LegStatus::Claimed(_)) && text.attempt > before.attempt;
            prop_assert!(!began || text.tried.iter().all(|t| t.status != LegStatus::Delivered), "{:?}", text);
            for tried in text.tried.iter().filter(|_| began) {
                let unknown = matches!(tried.status, LegStatus::Accepted | LegStatus::Unresolved);
                let waited = tried.at - tried.since.unwrap() >= case.policy.sns.report_wait_ms;
                prop_assert!(tried.status == LegStatus::Failed || unknown && waited, "{:?}", text);
                prop_assert!(!unknown || text.form() == Form::Sms, "only XMS follows the unknown: {:?}", text);
            }
            let mut seen: Vec<_> = text.tried.iter().map(|t| (t.form().way(), t.provider.clone())).collect();
            seen.dedup();
            prop_assert_eq!(seen.len(), text.tried.len());
            let arrived = before.status == LegStatus::Delivered;
            prop_assert!(!(arrived && began));
        }
    }
}
