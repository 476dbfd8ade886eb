//! What one text will be: known before it is claimed, so that the claim can be judged by its price and its sender.

use super::count::Encoding;
use super::route::{Hop, Way};
use crate::followup::{Followup, Kind, Leg, Skip};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// ISO 3166: two capital letters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Country([u8; 2]);

/// What kind of number a text goes to, as far as the tables of numbers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NumberKind {
    /// One that a person may have.
    Ordinary,
    /// Whoever calls or writes to it pays its owner.
    Premium,
    /// Nobody can have it.
    Unassigned,
}

/// What a text travels as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// One text, or several that are joined.
    Sms,
    /// Korea's long one, with a subject.
    Lms,
    /// Kakao's.
    Alimtalk,
    /// LINE's.
    Line,
}

impl Form {
    /// What carries it.
    pub fn way(self) -> Way {
        match self {
            Form::Sms | Form::Lms => Way::Xms,
            Form::Alimtalk => Way::Alimtalk,
            Form::Line => Way::Line,
        }
    }

    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Form::Sms => "sms",
            Form::Lms => "lms",
            Form::Alimtalk => "alimtalk",
            Form::Line => "line",
        }
    }
}

/// The number that a text comes from (T6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sender {
    /// The workspace's own of that country: answers reach the company.
    Own(String),
    /// The deployment's; `None` = the account picks one. Answers do not reach the company.
    Shared(Option<String>),
    /// A number that is not one of the account's.
    Unregistered,
}

/// The numbers that there are to send from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Senders {
    /// The deployment's default number.
    pub shared: Option<String>,
    /// Numbers that the account may send from; empty = it does not say, and refuses by itself.
    pub registered: Vec<String>,
    /// Whether the shared one counts as everybody's own (sandbox).
    pub is_everybodys: bool,
}

/// What one text will be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextPlan {
    /// What carries it now.
    pub hop: Hop,
    /// What could carry it if this fails for good, in order.
    pub then: Vec<Hop>,
    /// What was passed over before this hop, each with its reason, for the why-log (S7).
    pub passed: Option<String>,
    /// Of the number; `None` = of no country (satellites, ships).
    pub country: Option<Country>,
    /// What kind of number it goes to.
    pub number: NumberKind,
    /// What it travels as.
    pub form: Form,
    /// How its characters travel.
    pub encoding: Encoding,
    /// Parts; each is paid for.
    pub segments: u16,
    /// The number it comes from.
    pub sender: Sender,
    /// Numbers of the replies it shows.
    pub shows: Vec<i64>,
}

impl TextPlan {
    /// Whether it shows what is to be shown now. If a reply was read, taken back or joined since, it is planned again.
    pub fn shows(&self, f: &Followup) -> bool {
        f.unseen().map(|reply| reply.seq).eq(self.shows.iter().copied())
    }

    /// Whether it takes a way that is open (T1, T2).
    pub(crate) fn follows(&self, leg: &Leg) -> bool {
        leg.open(std::slice::from_ref(&self.hop)).next().is_some()
    }

    /// Why it may not leave, whatever it costs (T6).
    pub(crate) fn refusal(&self, kind: Kind) -> Option<Skip> {
        match (&self.sender, kind) {
            (Sender::Unregistered, _) => Some(Skip::SenderUnregistered),
            (Sender::Shared(_), Kind::Outreach) => Some(Skip::NoSender),
            (Sender::Shared(_), Kind::Reply) | (Sender::Own(_), _) => None,
        }
    }
}

impl Sender {
    /// The number; `None` = the account picks one.
    pub fn number(&self) -> Option<&str> {
        match self {
            Sender::Own(number) => Some(number),
            Sender::Shared(number) => number.as_deref(),
            Sender::Unregistered => None,
        }
    }
}

impl Senders {
    /// The number for this country: the workspace's own, else the deployment's.
    pub fn of(&self, country: Option<Country>, own: &BTreeMap<Country, String>) -> Sender {
        let registered = |number: &String| self.registered.is_empty() || self.registered.contains(number);
        match (country.and_then(|country| own.get(&country)), &self.shared) {
            (Some(number), _) if registered(number) => Sender::Own(number.clone()),
            (Some(_), _) => Sender::Unregistered,
            (None, Some(number)) if !registered(number) => Sender::Unregistered,
            (None, Some(number)) if self.is_everybodys => Sender::Own(number.clone()),
            (None, shared) => Sender::Shared(shared.clone()),
        }
    }
}

impl Country {
    /// `None` unless `code` is two capital letters.
    pub fn parse(code: &str) -> Option<Country> {
        let code: [u8; 2] = code.as_bytes().try_into().ok()?;
        code.iter().all(u8::is_ascii_uppercase).then_some(Country(code))
    }

    /// The letters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TryFrom<String> for Country {
    type Error = &'static str;

    fn try_from(code: String) -> Result<Country, &'static str> {
        Country::parse(&code).ok_or("a country is two capital letters, such as KR")
    }
}

impl From<Country> for String {
    fn from(country: Country) -> String {
        country.as_str().to_owned()
    }
}
