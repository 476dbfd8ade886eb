//! S2 in the follow-up: what is held at the claim, and what becomes of it, however the text ends.

use super::*;
use crate::text::{Country, Encoding, Form, Hop, NumberKind, Sender, Way};
use crate::wallet::{Account, AutoCharge, EntryKind, HoldState, Kind as Paid, Price, PriceList, Terms};
use std::sync::Arc;

const TEXT: Channel = Channel::Text;
const PRICE: i64 = 9_000;
const ALIMTALK: i64 = 7_500;
const CASH: i64 = 20_000;

/// A text to Korea that costs 0.009, and this much to pay it from; falling back since `T0`.
fn paid(cash: i64) -> Case {
    let mut case = around(cash, &[]);
    case.open(T0, reply(1, T0));
    case
}

fn around(cash: i64, devices: &[DeviceId]) -> Case {
    let mut case = Case::around(devices);
    case.pays_from(cash);
    case.plan = Some(plan("KR", 1));
    case
}

impl Case {
    /// From now on texts to Korea are paid, from this much.
    pub(super) fn pays_from(&mut self, cash: i64) {
        let price = |country: &str, kind, micros| Price {
            from: 0,
            country: Country::parse(country),
            kind,
            micros,
            pu_milli: 1_000,
        };
        let prices = vec![
            price("KR", Paid::Sms, PRICE),
            price("KR", Paid::Alimtalk, ALIMTALK),
            price("KR", Paid::Line, PRICE),
            price("", Paid::Email, 0),
        ];
        self.policy.limits.prices = Arc::new(PriceList { currency: "USD".into(), prices });
        self.policy.wallet = Some(Terms { currency: "USD".into(), least_micros: ALIMTALK, ..Terms::default() });
        self.wallet = Some(Wallet { available_micros: cash, ..Wallet::empty("USD") });
    }

    /// The wallet is what its entries say, what is held and spent is what the legs say, and nothing is paid for what
    /// failed for good or never left.
    pub(super) fn books_balance(&self, opening: i64) {
        let wallet = self.wallet.as_ref().expect("it is known");
        let moved = |account: Account| -> i64 {
            let sign = |entry: &Entry| i64::from(entry.credit == account) - i64::from(entry.debit == account);
            self.ledger.iter().map(|entry| sign(entry) * entry.amount_micros).sum()
        };
        assert_eq!(opening + moved(Account::Available), wallet.available_micros);
        assert_eq!(moved(Account::Held), wallet.held_micros);
        assert!(wallet.available_micros >= 0 && wallet.held_micros >= 0);
        let legs = || self.f.text.tried.iter().chain([&self.f.text, &self.f.email]);
        let paid = |state| -> i64 {
            let holds = legs().filter_map(|leg| leg.hold.as_ref()).filter(|hold| hold.state == state);
            holds.map(|hold| hold.charge.micros).sum()
        };
        assert_eq!(paid(HoldState::Held), wallet.held_micros, "{:?}", self.f);
        assert_eq!(paid(HoldState::Captured), moved(Account::Spent), "{:?}", self.f);
        for leg in legs().filter(|leg| leg.hold.is_some()) {
            let free = matches!(leg.status, LegStatus::Failed | LegStatus::Stopped | LegStatus::Skipped(_));
            assert!(!free, "paid for what did not arrive: {leg:?}");
        }
        for leg in legs().filter(|leg| matches!(leg.status, LegStatus::Claimed(_))) {
            assert!(leg.hold.is_some(), "it leaves unpaid: {leg:?}");
        }
    }
}

fn plan(country: &str, segments: u16) -> TextPlan {
    TextPlan {
        hop: Hop { way: Way::Xms, via: "capture".into() },
        then: Vec::new(),
        passed: None,
        country: Country::parse(country),
        number: NumberKind::Ordinary,
        form: Form::Sms,
        encoding: Encoding::Gsm7,
        segments,
        sender: Sender::Shared(None),
        shows: vec![1],
    }
}

/// Available and held.
fn money(case: &Case) -> (i64, i64) {
    let wallet = case.wallet.as_ref().expect("it is known");
    (wallet.available_micros, wallet.held_micros)
}

/// What happened to the text's money, in order.
fn moved(case: &Case) -> Vec<EntryKind> {
    let of_text = case.ledger.iter().filter(|entry| entry.charge.as_ref().is_some_and(|c| c.kind == Paid::Sms));
    of_text.map(|entry| entry.kind).collect()
}

use EntryKind::{Capture, Hold, Refund, Release};

/// S2: held before it leaves; captured when taken, released when refused, kept while nobody knows.
#[test]
fn money_follows_the_answer() {
    for (outcome, expected, left) in [
        (accepted(), vec![Hold, Capture], (CASH - PRICE, 0)),
        (rejected(), vec![Hold, Release], (CASH, 0)),
        (retry_after(None), vec![Hold, Release], (CASH, 0)),
        (unknown(), vec![Hold], (CASH - PRICE, PRICE)),
    ] {
        let mut case = paid(CASH);
        case.claimed(1, TEXT);
        assert_eq!(money(&case), (CASH - PRICE, PRICE), "before its first byte");
        case.at(2, &Event::FallbackAnswered { channel: TEXT, attempt: 1, outcome });
        assert_eq!((moved(&case), money(&case)), (expected, left));
    }
}

/// S2: a later definite failure is paid back, once; a delivery that overtakes the answer is paid once.
#[test]
fn a_report_settles_what_was_taken() {
    let mut failed = paid(CASH);
    failed.sent(1, TEXT, accepted());
    failed.at(2, &report(TEXT, 1, false, Some("30003"))).at(3, &report(TEXT, 1, false, Some("30003")));
    assert_eq!((moved(&failed), money(&failed)), (vec![Hold, Capture, Refund, Release], (CASH, 0)));
    assert_eq!(failed.f.text.hold, None);
    let mut early = paid(CASH);
    early.claimed(1, TEXT).at(2, &report(TEXT, 1, true, None));
    early.at(3, &Event::FallbackAnswered { channel: TEXT, attempt: 1, outcome: accepted() });
    assert_eq!((moved(&early), money(&early)), (vec![Hold, Capture], (CASH - PRICE, 0)));
}

/// S2: what may have left is held until nobody will ever say, then paid; a late word that it failed pays it back.
#[test]
fn what_may_have_left_is_paid_in_the_end() {
    let mut case = paid(CASH);
    case.sent(1, TEXT, unknown()).woke(100 * S);
    assert_eq!(money(&case), (CASH - PRICE, PRICE));
    case.woke(180 * S + 1);
    assert_eq!(case.f.text.status, LegStatus::Unresolved);
    assert_eq!((moved(&case), money(&case)), (vec![Hold, Capture], (CASH - PRICE, 0)));
    case.at(200 * S, &report(TEXT, 1, false, None));
    assert_eq!((moved(&case), money(&case)), (vec![Hold, Capture, Refund, Release], (CASH, 0)));
}

/// S2: a sender that died between claim and answer holds the money of one text.
#[test]
fn a_claim_that_ran_out_is_held_once() {
    let mut case = paid(CASH);
    case.claimed(1, TEXT).woke(15_001).woke(15_002);
    assert_eq!((moved(&case), money(&case)), (vec![Hold], (CASH - PRICE, PRICE)));
}

/// S2: each try that certainly did not leave is released, and the next one held anew; a repeat under a key is one text.
#[test]
fn each_text_is_paid_once() {
    let mut case = paid(CASH);
    case.sent(1, TEXT, retry_after(None)).woke(2 * S).sent(2 * S, TEXT, accepted());
    assert_eq!((moved(&case), money(&case)), (vec![Hold, Release, Hold, Capture], (CASH - PRICE, 0)));
    let attempts: Vec<u32> = case.ledger.iter().filter_map(|e| e.charge.as_ref()).map(|c| c.attempt).collect();
    assert_eq!(attempts, [1, 1, 2, 2]);
    let mut keyed = paid(CASH);
    keyed.policy.services.text = vec![TextService { idempotent: true, ..TextService::xms("capture") }];
    keyed.sent(1, TEXT, unknown()).woke(2 * S).sent(2 * S, TEXT, accepted());
    assert_eq!((moved(&keyed), keyed.sends(TEXT)), (vec![Hold, Capture], 2));
}

/// S2: with too little for this text there is none, and the log says so; the email goes. What one millionth decides.
#[test]
fn too_little_money_stops_the_text_alone() {
    for (cash, parts, leaves) in [(2 * PRICE, 2, true), (2 * PRICE - 1, 2, false), (PRICE, 1, true)] {
        let mut case = paid(cash);
        case.plan = Some(plan("KR", parts));
        case.at(1, &Event::Claiming(TEXT));
        assert_eq!(case.sends(TEXT) == 1, leaves, "{cash} for {parts}");
        if !leaves {
            assert_eq!(case.f.text.status, LegStatus::Skipped(Skip::NoBalance));
            assert_eq!(case.last.note.as_ref().and_then(|note| note.detail.as_deref()), Some("balance_too_low"));
            assert_eq!((moved(&case), money(&case)), (vec![], (cash, 0)));
        }
        case.sent(2, Channel::Email, accepted());
        assert_eq!(case.state(), Some(PublicState::FellBack));
    }
}

/// S2, S4: what the wallet stops is not counted by the caps, and what the caps stop is not held.
#[test]
fn caps_and_money_do_not_count_for_each_other() {
    use crate::limits::{Cap, Caps, Scope};
    let capped = |cash, per_hour| {
        let mut case = paid(cash);
        case.policy.limits.caps = Caps::of([(Scope::Number, Cap { per_hour: Some(per_hour), per_day: None })]);
        case.counters = Some(Counters::default());
        case.plan = Some(plan("KR", 2));
        case.at(1, &Event::Claiming(TEXT));
        (case.f.text.status, case.counters.map(|counters| counters.of(Scope::Number).hour.count), money(&case))
    };
    assert_eq!(capped(PRICE, 1), (LegStatus::Skipped(Skip::NoBalance), Some(0), (PRICE, 0)));
    assert_eq!(capped(CASH, 0), (LegStatus::Skipped(Skip::Capped(Scope::Number)), Some(0), (CASH, 0)));
}

/// P10, S2: an empty wallet is no way out: the push lives for a day, and at the deadline it has failed.
#[test]
fn p10_an_empty_wallet_is_no_way_out() {
    for (cash, lives_ms) in [(ALIMTALK, 30 * S), (ALIMTALK - 1, 86_400 * S)] {
        let mut case = around(cash, &[A]);
        case.email = false;
        case.open(T0, reply(1, T0));
        assert_eq!(case.pushes(), [(A, 1, 1, lives_ms)], "{cash}");
        case.push_answered(100, A, accepted()).woke(30 * S);
        let failed = case.state() == Some(PublicState::Failed);
        assert_eq!(failed, cash < ALIMTALK);
    }
}

/// S3: an empty wallet asks the billing system for money, though nothing was tried to be paid.
#[test]
fn an_empty_wallet_asks() {
    let auto = AutoCharge { threshold_micros: 1, amount_micros: CASH };
    let mut case = around(0, &[]);
    case.policy.wallet = case.policy.wallet.map(|terms| Terms { auto_charge: Some(auto), ..terms });
    case.open(T0, reply(1, T0));
    assert_eq!(case.f.text.status, LegStatus::Skipped(Skip::NoBalance));
    assert!(case.wallet.is_some_and(|wallet| wallet.asking.open().is_some()));
}

/// S2: a text whose price nobody knows is not sent at a loss; without prices nobody is charged at all.
#[test]
fn an_unknown_price_stops_the_text_where_it_is_paid() {
    let mut case = paid(CASH);
    case.plan = Some(plan("US", 1));
    case.at(1, &Event::Claiming(TEXT));
    assert_eq!(case.f.text.status, LegStatus::Skipped(Skip::PriceUnknown));
    let mut free = paid(0);
    free.policy.wallet = None;
    free.open(T0, reply(1, T0)).sent(1, TEXT, accepted());
    assert_eq!((moved(&free), free.f.text.hold.clone(), money(&free)), (vec![], None, (0, 0)));
}

/// S5: an email costs what the list says: nothing is held, and it is counted when it is taken.
#[test]
fn an_email_is_an_entry_of_the_same_list() {
    let mut case = paid(0);
    case.sent(1, Channel::Email, accepted());
    let of_email: Vec<_> = case.ledger.iter().map(|entry| (entry.kind, entry.amount_micros)).collect();
    assert_eq!(of_email, [(Capture, 0)]);
}

/// S2: where the wallet is not at hand nothing is lost: the money is settled as soon as it is.
#[test]
fn what_could_not_be_settled_is_settled_the_next_time() {
    let mut case = paid(CASH);
    case.claimed(1, TEXT);
    let wallet = case.wallet.take();
    case.at(2, &Event::FallbackAnswered { channel: TEXT, attempt: 1, outcome: accepted() });
    assert_eq!(case.f.text.hold.as_ref().map(|hold| hold.state), Some(HoldState::Held));
    case.wallet = wallet;
    case.at(3, &report(TEXT, 1, true, None));
    assert_eq!((moved(&case), money(&case)), (vec![Hold, Capture], (CASH - PRICE, 0)));
}

/// S2, P8: what had not left when a late ack came is not paid.
#[test]
fn a_late_ack_pays_nothing() {
    let mut case = around(CASH, &[A]);
    case.open(T0, reply(1, T0)).push_answered(100, A, accepted()).woke(30 * S);
    case.acked(31 * S, A, 1, Grade::Displayed);
    assert_eq!((case.f.text.status, moved(&case), money(&case)), (LegStatus::Stopped, vec![], (CASH, 0)));
}

/// T2, S2: an Alimtalk that is reported as failed is paid back, and the SMS that follows is a charge of its own.
#[test]
fn t2_each_way_is_a_charge_of_its_own() {
    let mut case = paid(CASH);
    let hop = |way, via: &str| Hop { way, via: via.into() };
    let alimtalk = TextPlan {
        hop: hop(Way::Alimtalk, "capture"),
        then: vec![hop(Way::Xms, "capture")],
        form: Form::Alimtalk,
        ..plan("KR", 1)
    };
    case.claiming(1, &alimtalk).at(2, &Event::FallbackAnswered { channel: TEXT, attempt: 1, outcome: accepted() });
    assert_eq!(money(&case), (CASH - ALIMTALK, 0));
    case.at(3, &report(TEXT, 1, false, Some("3107")));
    assert_eq!(money(&case), (CASH, 0));
    case.claiming(4, &plan("KR", 1));
    case.at(5, &Event::FallbackAnswered { channel: TEXT, attempt: 2, outcome: accepted() });
    assert_eq!(money(&case), (CASH - PRICE, 0));
    let told: Vec<_> = case.ledger.iter().map(|entry| (entry.kind, entry.amount_micros)).collect();
    let expected = [
        (Hold, ALIMTALK),
        (Capture, ALIMTALK),
        (Refund, ALIMTALK),
        (Release, ALIMTALK),
        (Hold, PRICE),
        (Capture, PRICE),
    ];
    assert_eq!(told, expected);
    case.books_balance(CASH);
}
