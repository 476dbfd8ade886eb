//! One line of the ledger.

use crate::Ms;
use crate::text::{Country, Form};
use serde::{Deserialize, Serialize};

/// Where money is. What all of them hold together is nothing: only [`Account::External`] goes below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Account {
    /// Outside: whoever paid, or gave.
    External,
    /// Given for a time.
    Grants,
    /// Topped up.
    Available,
    /// Set aside.
    Held,
    /// Paid for texts.
    Spent,
    /// Was given, and its time is over.
    Expired,
}

/// Why money moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// Somebody paid it in.
    TopUp,
    /// It was given for a time.
    Grant,
    /// Set aside for a text.
    Hold,
    /// Spent on it.
    Capture,
    /// Set aside no more.
    Release,
    /// Spent and given back.
    Refund,
    /// A grant's time is over.
    Expire,
}

/// What is paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One part of an SMS.
    Sms,
    /// A long text of Korea.
    Lms,
    /// A template of Kakao.
    Alimtalk,
    /// A message of LINE.
    Line,
    /// An email (S5).
    Email,
}

/// What one text costs, by the price list of the moment that it was claimed at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// What it is.
    pub kind: Kind,
    /// Where it goes; `None` = to no country.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<Country>,
    /// Which try.
    pub attempt: u32,
    /// Parts; each is paid for.
    pub parts: u16,
    /// All parts together, in millionths of the wallet's currency.
    pub micros: i64,
    /// All parts together, in thousandths of a post unit.
    pub pu_milli: i64,
}

/// Money that moved. Never edited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number in the wallet, from 1.
    pub seq: i64,
    /// When, by the workspace's clock.
    pub at: Ms,
    /// Why.
    pub kind: EntryKind,
    /// Out of this account.
    pub debit: Account,
    /// Into this one.
    pub credit: Account,
    /// How much; nothing where a text costs nothing.
    pub amount_micros: i64,
    /// The grant that it was given by, came from or went back to.
    pub grant: Option<i64>,
    /// What for.
    pub charge: Option<Charge>,
}

impl Kind {
    /// What a text of this form is paid as.
    pub fn of(form: Form) -> Kind {
        match form {
            Form::Sms => Kind::Sms,
            Form::Lms => Kind::Lms,
            Form::Alimtalk => Kind::Alimtalk,
            Form::Line => Kind::Line,
        }
    }
}

/// Words of the API and of the store, both ways.
macro_rules! words {
    ($type:ident, $all:literal, $($variant:ident = $word:literal),+ $(,)?) => {
        impl $type {
            /// All of them.
            pub const ALL: [$type; $all] = [$($type::$variant),+];

            /// The word of the API.
            pub fn as_str(self) -> &'static str {
                match self {
                    $($type::$variant => $word,)+
                }
            }

            /// What the word names.
            pub fn parse(word: &str) -> Option<$type> {
                $type::ALL.into_iter().find(|value| value.as_str() == word)
            }
        }
    };
}

words!(
    Account,
    6,
    External = "external",
    Grants = "grants",
    Available = "available",
    Held = "held",
    Spent = "spent",
    Expired = "expired",
);
words!(
    EntryKind,
    7,
    TopUp = "top_up",
    Grant = "grant",
    Hold = "hold",
    Capture = "capture",
    Release = "release",
    Refund = "refund",
    Expire = "expire",
);
words!(Kind, 5, Sms = "sms", Lms = "lms", Alimtalk = "alimtalk", Line = "line", Email = "email");
