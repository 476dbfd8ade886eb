//! What a workspace's texts are paid from (S2, S3): a prepaid wallet, and the ledger that tells of every change of it.
//!
//! Money moves between accounts, and each move is one [`Entry`]: out of one account, into another, never edited. So a
//! balance is the sum of its entries, and all accounts together are nothing.
//!
//! | what happens | entries, from → to |
//! |---|---|
//! | a top-up; a grant | external → available; external → grants |
//! | a text is about to leave | hold: grants, then available → held, one a source |
//! | its provider took it, or nobody will ever say | capture: held → spent |
//! | it certainly did not leave | release: held → where each part came from |
//! | it was captured and failed after all | refund: spent → held, then released as above |
//! | a grant's time is over | expire: grants → expired; what comes back later goes the same way at once |
//!
//! A [`Hold`] lives in the follow-up's row and is written in the commit that changes the wallet: what is settled once
//! cannot be settled again, and a commit that is lost loses both.

mod auto;
mod entry;
mod month;
mod price;
#[cfg(test)]
mod tests;

pub use auto::{Ask, Asking, AutoCharge, NoSuchAsk, Terms};
pub use entry::{Account, Charge, Entry, EntryKind, Kind};
pub use month::Month;
pub use price::{Price, PriceList};

use crate::Ms;
use serde::{Deserialize, Serialize};

/// The most that a wallet holds: a thousand million of its currency, and far from the end of an `i64`.
pub const MAX_BALANCE_MICROS: i64 = 1_000_000_000 * 1_000_000;

/// A workspace's money. One versioned value, stored whole in its row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wallet {
    /// Version of this shape.
    pub v: u8,
    /// ISO 4217, of every amount in it.
    pub currency: String,
    /// Topped up and not spent.
    pub available_micros: i64,
    /// Set aside for texts whose provider has not settled them.
    pub held_micros: i64,
    /// Given for a time; the soonest to expire first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Grant>,
    /// Entries so far: the number of the newest one.
    pub entries: i64,
    /// The last month that a grant was given for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted: Option<Month>,
    /// Times that the billing system was asked for money.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub asks: u32,
    /// Whether it is being asked.
    #[serde(default, skip_serializing_if = "Asking::is_idle")]
    pub asking: Asking,
}

/// Money that was given, and is gone when its time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The number of the entry that gave it.
    pub id: i64,
    /// Neither spent nor set aside.
    pub remaining_micros: i64,
    /// The first instant at which it is gone.
    pub expires_at: Ms,
}

/// Money set aside for one text, or spent on it. Gone once it was given back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// What for.
    pub charge: Charge,
    /// ISO 4217.
    pub currency: String,
    /// What came of grants: grant and amount; the rest came of the available money.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<(i64, i64)>,
    /// How it stands.
    pub state: HoldState,
}

/// How a hold stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldState {
    /// Set aside.
    Held,
    /// Spent.
    Captured,
}

/// Why nothing could be set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoMoney {
    /// There is less than that.
    TooLow,
    /// The wallet is in another currency than the price list.
    OtherCurrency,
}

/// Why a top-up was refused; the mend is in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTopUp {
    /// An amount is more than nothing.
    NotPositive,
    /// The wallet would hold more than [`MAX_BALANCE_MICROS`].
    TooMuch,
    /// The wallet is in another currency.
    OtherCurrency,
    /// No such question is open.
    NoSuchAsk,
}

/// A wallet after some of its money moved, and the entries that tell of it. Both are written in one commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// From now on.
    pub wallet: Wallet,
    /// New ones, in order.
    pub entries: Vec<Entry>,
}

impl Wallet {
    /// One that nothing has happened to.
    pub fn empty(currency: &str) -> Wallet {
        Wallet {
            v: 1,
            currency: currency.to_owned(),
            available_micros: 0,
            held_micros: 0,
            grants: Vec::new(),
            entries: 0,
            granted: None,
            asks: 0,
            asking: Asking::Idle,
        }
    }

    /// What the next text could cost.
    pub fn spendable_micros(&self, now: Ms) -> i64 {
        let grants = self.grants.iter().filter(|grant| grant.expires_at > now);
        self.available_micros + grants.map(|grant| grant.remaining_micros).sum::<i64>()
    }

    /// Everything in it, expired grants included as long as no entry says so.
    fn total_micros(&self) -> i64 {
        let grants: i64 = self.grants.iter().map(|grant| grant.remaining_micros).sum();
        self.available_micros + self.held_micros + grants
    }
}

impl Change {
    /// Begins with what is due by now: the sandbox's opening balance, grants that expired, the month's grant.
    pub fn at(wallet: &Wallet, terms: &Terms, now: Ms) -> Change {
        let mut change = Change { wallet: wallet.clone(), entries: Vec::new() };
        change.fall_due(terms, now);
        change
    }

    /// Whether this wallet would have to be written.
    pub fn differs_from(&self, before: &Wallet) -> bool {
        self.wallet != *before
    }

    /// Sets money aside for a text: what expires soonest first, cash last. Whatever comes of it, the billing system is
    /// asked if little is left.
    pub fn hold(&mut self, charge: &Charge, terms: &Terms, now: Ms) -> Result<Hold, NoMoney> {
        self.rearm(terms, now);
        let hold = self.set_aside(charge, terms, now);
        self.ask_if_low(terms, now);
        hold
    }

    fn set_aside(&mut self, charge: &Charge, terms: &Terms, now: Ms) -> Result<Hold, NoMoney> {
        if self.wallet.currency != terms.currency {
            return Err(NoMoney::OtherCurrency);
        }
        if charge.micros > self.wallet.spendable_micros(now) {
            return Err(NoMoney::TooLow);
        }
        let mut missing = charge.micros.max(0);
        let mut grants = Vec::new();
        for grant in self.wallet.grants.clone() {
            let part = missing.min(grant.remaining_micros);
            if part > 0 && grant.expires_at > now {
                self.post(now, EntryKind::Hold, (Account::Grants, Account::Held), part, Some(grant.id), Some(charge));
                grants.push((grant.id, part));
                missing -= part;
            }
        }
        if missing > 0 {
            self.post(now, EntryKind::Hold, (Account::Available, Account::Held), missing, None, Some(charge));
        }
        Ok(Hold { charge: charge.clone(), currency: terms.currency.clone(), grants, state: HoldState::Held })
    }

    /// Its provider took the text, or nobody will ever say. Once only. What cost nothing is an entry, too: it counts.
    pub fn capture(&mut self, hold: &mut Hold, now: Ms) {
        if hold.state == HoldState::Held {
            let micros = hold.charge.micros.max(0);
            self.post(now, EntryKind::Capture, (Account::Held, Account::Spent), micros, None, Some(&hold.charge));
            hold.state = HoldState::Captured;
        }
    }

    /// The text certainly did not leave, or failed after all: everything goes back to where it came from.
    pub fn give_back(&mut self, hold: Hold, now: Ms) {
        let Hold { charge, grants, state, .. } = hold;
        let charge = Some(&charge);
        let micros = charge.map_or(0, |charge| charge.micros.max(0));
        if state == HoldState::Captured {
            self.post(now, EntryKind::Refund, (Account::Spent, Account::Held), micros, None, charge);
        }
        let mut cash = micros;
        for (grant, part) in grants {
            cash -= part;
            self.return_to_grant(grant, part, charge, now);
        }
        if cash > 0 {
            self.post(now, EntryKind::Release, (Account::Held, Account::Available), cash, None, charge);
        }
    }

    /// A grant whose time is over meanwhile takes nothing back: it would be lost a moment later.
    fn return_to_grant(&mut self, grant: i64, part: i64, charge: Option<&Charge>, now: Ms) {
        let is_live = self.wallet.grants.iter().any(|live| live.id == grant && live.expires_at > now);
        if is_live {
            self.post(now, EntryKind::Release, (Account::Held, Account::Grants), part, Some(grant), charge);
        } else {
            self.post(now, EntryKind::Expire, (Account::Held, Account::Expired), part, Some(grant), charge);
        }
    }

    /// Adds paid money. The caller's id of it keeps it from being added twice; `ask` = the question that it answers.
    pub fn top_up(&mut self, micros: i64, currency: &str, ask: Option<u32>, now: Ms) -> Result<(), NoTopUp> {
        if micros <= 0 {
            return Err(NoTopUp::NotPositive);
        }
        if self.wallet.currency != currency {
            return Err(NoTopUp::OtherCurrency);
        }
        if micros > MAX_BALANCE_MICROS - self.wallet.total_micros() {
            return Err(NoTopUp::TooMuch);
        }
        if let Some(ask) = ask {
            self.wallet.asking.answered(ask).map_err(|NoSuchAsk| NoTopUp::NoSuchAsk)?;
        }
        self.post(now, EntryKind::TopUp, (Account::External, Account::Available), micros, None, None);
        Ok(())
    }

    /// The one place where money moves.
    fn post(
        &mut self,
        at: Ms,
        kind: EntryKind,
        (debit, credit): (Account, Account),
        amount_micros: i64,
        grant: Option<i64>,
        charge: Option<&Charge>,
    ) {
        self.wallet.entries += 1;
        let seq = self.wallet.entries;
        // A grant is named by the entry that gives it.
        let grant = if kind == EntryKind::Grant { Some(seq) } else { grant };
        for (account, micros) in [(debit, -amount_micros), (credit, amount_micros)] {
            match account {
                Account::Available => self.wallet.available_micros += micros,
                Account::Held => self.wallet.held_micros += micros,
                Account::Grants => {
                    let grants = self.wallet.grants.iter_mut().filter(|live| Some(live.id) == grant);
                    grants.for_each(|live| live.remaining_micros += micros);
                }
                Account::External | Account::Spent | Account::Expired => {}
            }
        }
        self.entries.push(Entry { seq, at, kind, debit, credit, amount_micros, grant, charge: charge.cloned() });
    }
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}
