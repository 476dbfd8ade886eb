//! Whatever happens to a wallet, in whatever order: the books balance, and nothing is charged twice.

use super::*;
use crate::text::Country;
use proptest::prelude::*;

/// 2026-11-22, ten days before the month's end.
const T0: Ms = 1_795_370_400_000;
const DAY_MS: Ms = 86_400_000;
const USD: i64 = 1_000_000;

fn terms() -> Terms {
    Terms { currency: "USD".into(), ..Terms::default() }
}

fn charge(micros: i64) -> Charge {
    Charge { kind: Kind::Sms, country: Country::parse("KR"), attempt: 1, parts: 1, micros, pu_milli: 1_000 }
}

/// A wallet with this much cash, and a grant of this much for the rest of the month.
fn funded(cash: i64, grant: i64) -> Wallet {
    let terms = Terms { opening_micros: cash, monthly_grant_micros: grant, ..terms() };
    Change::at(&Wallet::empty("USD"), &terms, T0).wallet
}

fn month_end() -> Ms {
    Month::of(T0).end()
}

/// The accounts that entries moved money between, and from where to where.
fn moves(change: &Change) -> Vec<(EntryKind, Account, Account, i64)> {
    change.entries.iter().map(|entry| (entry.kind, entry.debit, entry.credit, entry.amount_micros)).collect()
}

/// S2: held before, captured after; what was available is spent, by the price of the charge.
#[test]
fn a_text_is_held_and_then_captured() {
    let mut change = Change::at(&funded(USD, 0), &terms(), T0);
    let mut hold = change.hold(&charge(9_000), &terms(), T0).expect("there is enough");
    assert_eq!((change.wallet.available_micros, change.wallet.held_micros), (USD - 9_000, 9_000));
    change.capture(&mut hold, T0 + 1);
    change.capture(&mut hold, T0 + 2);
    assert_eq!((change.wallet.available_micros, change.wallet.held_micros), (USD - 9_000, 0));
    let expected = [
        (EntryKind::Hold, Account::Available, Account::Held, 9_000),
        (EntryKind::Capture, Account::Held, Account::Spent, 9_000),
    ];
    assert_eq!(moves(&change), expected);
    assert_eq!(change.entries[1].charge, Some(charge(9_000)));
}

/// S2: released where it did not leave, refunded where it was captured and failed after all.
#[test]
fn what_failed_is_given_back() {
    for captured in [false, true] {
        let mut change = Change::at(&funded(USD, 0), &terms(), T0);
        let mut hold = change.hold(&charge(9_000), &terms(), T0).expect("there is enough");
        if captured {
            change.capture(&mut hold, T0);
        }
        change.give_back(hold, T0);
        assert_eq!((change.wallet.available_micros, change.wallet.held_micros), (USD, 0));
        let refunds = change.entries.iter().filter(|entry| entry.kind == EntryKind::Refund).count();
        assert_eq!(refunds, usize::from(captured));
    }
}

/// S2: to the last millionth, and not one more.
#[test]
fn a_wallet_is_never_overdrawn() {
    let mut change = Change::at(&funded(9_000, 0), &terms(), T0);
    assert_eq!(change.hold(&charge(9_001), &terms(), T0), Err(NoMoney::TooLow));
    assert!(change.hold(&charge(9_000), &terms(), T0).is_ok());
    assert_eq!(change.hold(&charge(1), &terms(), T0), Err(NoMoney::TooLow));
    assert!(change.hold(&charge(0), &terms(), T0).is_ok(), "what costs nothing needs no money");
    assert_eq!(change.hold(&charge(i64::MAX), &terms(), T0), Err(NoMoney::TooLow));
    let euro = Terms { currency: "EUR".into(), ..terms() };
    assert_eq!(change.hold(&charge(0), &euro, T0), Err(NoMoney::OtherCurrency));
}

/// S3: what expires goes first, the rest in cash; each part goes back to where it came from.
#[test]
fn grants_are_spent_first_and_get_their_part_back() {
    let before = funded(USD, 5_000);
    let mut change = Change::at(&before, &terms(), T0);
    let hold = change.hold(&charge(9_000), &terms(), T0).expect("there is enough");
    assert_eq!(change.wallet.available_micros, USD - 4_000);
    assert_eq!(change.wallet.spendable_micros(T0), USD - 4_000);
    change.give_back(hold, T0);
    let Wallet { available_micros, held_micros, grants, .. } = &change.wallet;
    assert_eq!((*available_micros, *held_micros, grants), (USD, 0, &before.grants));
}

/// S3: the last millisecond of the month is still the grant's; what comes back after it is gone.
#[test]
fn a_grant_ends_with_its_month() {
    for (after_ms, live) in [(-1, true), (0, false), (1, false)] {
        let now = month_end() + after_ms;
        let mut change = Change::at(&funded(0, 5_000), &terms(), now);
        assert_eq!(change.hold(&charge(5_000), &terms(), now).is_ok(), live, "{after_ms}");
        let mut change = Change::at(&funded(0, 5_000), &terms(), T0);
        let hold = change.hold(&charge(5_000), &terms(), T0).expect("it lives");
        let mut later = Change::at(&change.wallet, &terms(), now);
        later.give_back(hold, now);
        assert_eq!(later.wallet.spendable_micros(now), if live { 5_000 } else { 0 });
        assert_eq!(later.wallet.held_micros, 0);
        assert_eq!(later.entries.last().map(|entry| entry.kind == EntryKind::Expire), Some(!live));
    }
}

/// S3: once a month, whatever is repeated, lost, or set back.
#[test]
fn a_month_is_granted_once() {
    let paid = Terms { monthly_grant_micros: 10 * USD, ..terms() };
    let mut wallet = Wallet::empty("USD");
    for (after_ms, spendable) in
        [(0, 10), (DAY_MS, 10), (-60 * DAY_MS, 10), (15 * DAY_MS, 10), (0, 10), (46 * DAY_MS, 10)]
    {
        let now = T0 + after_ms;
        let lost = Change::at(&wallet, &paid, now);
        let change = Change::at(&wallet, &paid, now);
        assert_eq!(lost, change, "what was lost is done again");
        wallet = change.wallet;
        if after_ms != 0 || wallet.entries == 1 {
            assert_eq!(wallet.spendable_micros(now), spendable * USD, "{after_ms}");
        }
    }
    assert_eq!(wallet.granted, Some(Month::of(T0 + 46 * DAY_MS)));
    assert_eq!(wallet.grants.len(), 1);
}

/// S3: below the threshold it is asked, once until answered; after no, when there was enough again.
#[test]
fn the_billing_system_is_asked_once_until_it_answers() {
    let auto = AutoCharge { threshold_micros: 10_000, amount_micros: USD };
    let terms = Terms { auto_charge: Some(auto), ..terms() };
    let mut change = Change::at(&funded(20_000, 0), &terms, T0);
    let take = |change: &mut Change, micros| change.hold(&charge(micros), &terms, T0).is_ok();
    assert!(take(&mut change, 10_000));
    assert!(change.wallet.asking.is_idle(), "there is just enough");
    assert!(take(&mut change, 1));
    let ask = change.wallet.asking.open().expect("it is asked");
    assert_eq!((ask.id, ask.amount_micros, ask.due_at), (1, USD, Some(0)));
    assert!(take(&mut change, 1) && !take(&mut change, USD));
    assert_eq!(change.wallet.asks, 1);
    change.asked(1, false, T0);
    assert_eq!(change.wallet.asking.open().and_then(|ask| ask.due_at), Some(T0 + 1_000));
    change.asked(1, true, T0);
    change.asked(1, false, T0);
    assert_eq!(change.wallet.asking.open().and_then(|ask| ask.due_at), None, "it was heard");
    assert_eq!(change.decline(2), Err(NoSuchAsk));
    assert_eq!(change.decline(1), Ok(()));
    assert!(take(&mut change, 1));
    assert_eq!((change.wallet.asks, change.wallet.asking), (1, Asking::Declined));
    assert_eq!(change.top_up(20_000, "USD", Some(1), T0), Err(NoTopUp::NoSuchAsk));
    assert_eq!(change.top_up(20_000, "USD", None, T0), Ok(()));
    assert!(take(&mut change, 1) && change.wallet.asking.is_idle());
    assert!(take(&mut change, 20_000));
    assert_eq!(change.wallet.asking.open().map(|ask| ask.id), Some(2));
    assert_eq!(change.top_up(USD, "USD", Some(2), T0), Ok(()));
    assert!(change.wallet.asking.is_idle());
}

/// S3: a text that could not be paid asks for money, too.
#[test]
fn an_empty_wallet_asks_for_money() {
    let auto = AutoCharge { threshold_micros: 1, amount_micros: USD };
    let terms = Terms { auto_charge: Some(auto), ..terms() };
    let mut change = Change::at(&Wallet::empty("USD"), &terms, T0);
    assert_eq!(change.hold(&charge(9_000), &terms, T0), Err(NoMoney::TooLow));
    assert!(change.wallet.asking.open().is_some() && change.entries.is_empty());
}

/// S3: what is no amount, or too much of it, is refused and changes nothing.
#[test]
fn bad_top_ups_are_refused() {
    let before = funded(USD, 0);
    for (micros, currency, expected) in [
        (0, "USD", NoTopUp::NotPositive),
        (-1, "USD", NoTopUp::NotPositive),
        (1, "KRW", NoTopUp::OtherCurrency),
        (MAX_BALANCE_MICROS - USD + 1, "USD", NoTopUp::TooMuch),
        (i64::MAX, "USD", NoTopUp::TooMuch),
    ] {
        let mut change = Change::at(&before, &terms(), T0);
        assert_eq!(change.top_up(micros, currency, None, T0), Err(expected));
        assert!(!change.differs_from(&before) && change.entries.is_empty());
    }
    let mut change = Change::at(&before, &terms(), T0);
    assert_eq!(change.top_up(MAX_BALANCE_MICROS - USD, "USD", None, T0), Ok(()));
}

/// S2, S5: the newest price that holds, of this kind and country, else of everywhere else; parts × price.
#[test]
fn the_price_is_the_newest_that_holds() {
    let kr = Country::parse("KR");
    let price = |from, country, kind, micros| Price { from, country, kind, micros, pu_milli: 500 };
    let prices = vec![
        price(T0 - DAY_MS, kr, Kind::Sms, 9_000),
        price(T0 + 1, kr, Kind::Sms, 1),
        price(T0 - 2 * DAY_MS, kr, Kind::Sms, 8_000),
        price(T0 - DAY_MS, kr, Kind::Lms, 27_000),
        price(T0 - DAY_MS, None, Kind::Sms, 50_000),
        price(T0 - DAY_MS, None, Kind::Email, 0),
    ];
    let list = PriceList { currency: "USD".into(), prices };
    let of = |kind, country: &str, parts, now| {
        let charge = list.charge(kind, Country::parse(country), parts, 1, now)?;
        Some((charge.micros, charge.pu_milli))
    };
    assert_eq!(of(Kind::Sms, "KR", 3, T0), Some((27_000, 1_500)));
    assert_eq!(of(Kind::Sms, "KR", 3, T0 + 1), Some((3, 1_500)));
    assert_eq!(of(Kind::Sms, "KR", 3, T0 - DAY_MS - 1), Some((24_000, 1_500)));
    assert_eq!(of(Kind::Lms, "KR", 1, T0), Some((27_000, 500)));
    assert_eq!(of(Kind::Sms, "US", 1, T0), Some((50_000, 500)), "everywhere else");
    assert_eq!(of(Kind::Sms, "US", 1, T0 - DAY_MS - 1), None, "no price yet");
    assert_eq!(of(Kind::Lms, "US", 1, T0), None, "another kind's price is none");
    assert_eq!(of(Kind::Email, "", 1, T0), Some((0, 500)));
    assert_eq!(of(Kind::Sms, "KR", 0, T0), Some((0, 0)));
}

/// One thing that happens to a wallet.
#[derive(Clone, Debug)]
enum Step {
    Hold(i64),
    Capture(usize),
    GiveBack(usize),
    TopUp(i64),
    Look,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..12_000i64).prop_map(Step::Hold),
        3 => (0..8usize).prop_map(Step::Capture),
        3 => (0..8usize).prop_map(Step::GiveBack),
        1 => (1..30_000i64).prop_map(Step::TopUp),
        2 => Just(Step::Look),
    ]
}

/// A pause before the step, whether its commit is lost, and the step. Clocks are set back now and then.
fn history() -> impl Strategy<Value = Vec<(Ms, bool, Step)>> {
    let pause = prop_oneof![4 => Just(0), 3 => 0..DAY_MS, 1 => 0..40 * DAY_MS, 1 => -DAY_MS..0];
    prop::collection::vec((pause, prop::bool::weighted(0.2), step()), 0..120)
}

/// A wallet, its ledger, and the texts that it paid for.
struct Books {
    wallet: Wallet,
    ledger: Vec<Entry>,
    holds: Vec<Hold>,
    /// Captured and not refunded.
    spent: i64,
}

impl Books {
    fn step(&mut self, step: &Step, lost: bool, terms: &Terms, now: Ms) {
        let mut change = Change::at(&self.wallet, terms, now);
        let mut holds = self.holds.clone();
        let mut spent = self.spent;
        match *step {
            Step::Hold(micros) => {
                let spendable = change.wallet.spendable_micros(now);
                let held = change.hold(&charge(micros), terms, now);
                assert_eq!(held.is_ok(), micros <= spendable);
                holds.extend(held);
            }
            Step::Capture(which) => {
                if let Some(hold) = holds.get_mut(which) {
                    spent += if hold.state == HoldState::Held { hold.charge.micros } else { 0 };
                    change.capture(hold, now);
                }
            }
            Step::GiveBack(which) if which < holds.len() => {
                let hold = holds.remove(which);
                spent -= if hold.state == HoldState::Captured { hold.charge.micros } else { 0 };
                change.give_back(hold, now);
            }
            Step::TopUp(micros) => change.top_up(micros, "USD", None, now).expect("an ordinary amount"),
            Step::GiveBack(_) | Step::Look => {}
        }
        // A commit that is lost loses wallet, ledger and hold alike: the event comes again, or does not.
        if !lost {
            self.ledger.extend(change.entries);
            (self.wallet, self.holds, self.spent) = (change.wallet, holds, spent);
        }
    }

    fn balance(&self, account: Account) -> i64 {
        let of = |entry: &Entry| {
            let amount = |is: bool| if is { entry.amount_micros } else { 0 };
            amount(entry.credit == account) - amount(entry.debit == account)
        };
        self.ledger.iter().map(of).sum()
    }

    fn check(&self) {
        let Wallet { available_micros, held_micros, grants, entries, .. } = &self.wallet;
        assert_eq!(self.balance(Account::Available), *available_micros);
        assert_eq!(self.balance(Account::Held), *held_micros);
        assert_eq!(self.balance(Account::Grants), grants.iter().map(|grant| grant.remaining_micros).sum::<i64>());
        assert_eq!(self.balance(Account::Spent), self.spent);
        assert_eq!(Account::ALL.map(|account| self.balance(account)).iter().sum::<i64>(), 0);
        let open = self.holds.iter().filter(|hold| hold.state == HoldState::Held);
        assert_eq!(*held_micros, open.map(|hold| hold.charge.micros).sum::<i64>());
        assert!(*available_micros >= 0 && *held_micros >= 0 && grants.iter().all(|grant| grant.remaining_micros >= 0));
        assert!(self.balance(Account::Expired) >= 0 && grants.len() <= 3);
        assert!(self.ledger.iter().map(|entry| entry.seq).eq(1..=*entries));
        let mut months: Vec<Month> = self.of(EntryKind::Grant).map(|entry| Month::of(entry.at)).collect();
        let granted = months.len();
        months.dedup();
        assert_eq!(months.len(), granted, "a month was granted twice");
    }

    fn of(&self, kind: EntryKind) -> impl Iterator<Item = &Entry> {
        self.ledger.iter().filter(move |entry| entry.kind == kind)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_048))]

    /// S2, S3: no sequence of events, months and lost commits makes a balance differ from the sum of its entries,
    /// charges twice, or goes below nothing.
    #[test]
    fn the_books_always_balance(history in history(), paid in any::<bool>(), auto in any::<bool>()) {
        let auto = auto.then_some(AutoCharge { threshold_micros: 5_000, amount_micros: 20_000 });
        let monthly_grant_micros = if paid { 20_000 } else { 0 };
        let terms = Terms { opening_micros: 30_000, monthly_grant_micros, auto_charge: auto, ..terms() };
        let mut now = T0;
        let (ledger, holds) = (Vec::new(), Vec::new());
        let mut books = Books { wallet: Wallet::empty("USD"), ledger, holds, spent: 0 };
        for (pause, lost, step) in &history {
            now += pause;
            books.step(step, *lost, &terms, now);
            books.check();
        }
        // In the end everything is settled, and nothing stays set aside.
        while !books.holds.is_empty() {
            books.step(&Step::GiveBack(0), false, &terms, now);
            books.check();
        }
        prop_assert_eq!((books.wallet.held_micros, books.balance(Account::Spent)), (0, 0));
    }
}

/// A hold is small in the row that it is stored in, and reads back.
#[test]
fn a_hold_reads_back() {
    let mut change = Change::at(&funded(0, 9_000), &terms(), T0);
    let mut hold = change.hold(&charge(9_000), &terms(), T0).expect("there is enough");
    change.capture(&mut hold, T0);
    let json = serde_json::to_string(&hold).expect("JSON");
    assert!(json.len() < 180, "{json}");
    assert_eq!(serde_json::from_str::<Hold>(&json).expect("a hold"), hold);
    let wallet = serde_json::to_string(&change.wallet).expect("JSON");
    assert_eq!(serde_json::from_str::<Wallet>(&wallet).expect("a wallet"), change.wallet);
}
