//! Between rows and Rust: words of enums, JSON columns, and what a column that does not read is called.

use crate::store::{Direction, InboundChannel, OptOutSource, Scope, SuppressionChannel};
use backstop_domain::customer::ContactSource;
use backstop_domain::followup::WakeReason;
use backstop_domain::limits;
use backstop_wire::{Alerts, Environment, Platform, PushProvider};
use rusqlite::types::Type;
use rusqlite::{Error, Result, Row};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// An enum that is stored as a word: readable in any SQLite shell.
pub(super) trait Word: Sized {
    fn word(&self) -> &'static str;
    fn from_word(word: &str) -> Option<Self>;
}

macro_rules! words {
    ($of:ty { $($variant:ident = $word:literal),+ $(,)? }) => {
        impl Word for $of {
            fn word(&self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
            fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

words!(Platform { Ios = "ios", Android = "android" });
words!(PushProvider { Apns = "apns", Fcm = "fcm" });
words!(Environment { Production = "production", Sandbox = "sandbox" });
words!(Alerts {
    Allowed = "allowed",
    Quiet = "quiet",
    Denied = "denied",
    NotAsked = "not_asked",
    Unknown = "unknown",
});
words!(ContactSource { Account = "account", FollowUp = "follow_up", Consent = "consent" });
words!(Direction { ToCustomer = "to_customer", FromCustomer = "from_customer" });
words!(OptOutSource {
    Stop = "stop",
    Provider = "provider",
    Bounce = "bounce",
    Complaint = "complaint",
    Import = "import",
});
words!(InboundChannel { Email = "email", Sms = "sms", Line = "line" });
words!(SuppressionChannel { Text = "text", Alimtalk = "alimtalk", Line = "line", Email = "email" });
words!(Scope { Server = "server", Read = "read", Billing = "billing", App = "app" });

/// A number, because it is in a primary key. A number is never given again.
pub(super) fn scope_code(scope: limits::Scope) -> i64 {
    match scope {
        limits::Scope::Number => 1,
        limits::Scope::Prefix => 2,
        limits::Scope::Customer => 3,
        limits::Scope::Conversation => 4,
        limits::Scope::Workspace => 5,
    }
}

/// A number, because it is in the timer's index. A number is never given again.
pub(super) fn wake_code(why: WakeReason) -> i64 {
    match why {
        WakeReason::Presence => 1,
        WakeReason::Deadline => 2,
        WakeReason::ClaimExpiry => 3,
        WakeReason::Retry => 4,
        WakeReason::Offer => 5,
        WakeReason::RepeatGap => 6,
        WakeReason::Report => 7,
        WakeReason::Inquiry => 8,
        WakeReason::Held => 9,
    }
}

pub(super) fn wake_reason(code: i64) -> Result<WakeReason> {
    Ok(match code {
        1 => WakeReason::Presence,
        2 => WakeReason::Deadline,
        3 => WakeReason::ClaimExpiry,
        4 => WakeReason::Retry,
        5 => WakeReason::Offer,
        6 => WakeReason::RepeatGap,
        7 => WakeReason::Report,
        8 => WakeReason::Inquiry,
        9 => WakeReason::Held,
        _ => return Err(unreadable("followups.wake_why")),
    })
}

/// A column that does not read. Says where, never what: the value may be a secret.
#[derive(Debug, thiserror::Error)]
#[error("column {0}")]
struct Unreadable(&'static str);

pub(super) fn unreadable(column: &'static str) -> Error {
    Error::FromSqlConversionFailure(0, Type::Null, Box::new(Unreadable(column)))
}

pub(super) fn word<T: Word>(row: &Row<'_>, at: usize, column: &'static str) -> Result<T> {
    let word = row.get_ref(at)?.as_str().map_err(|_| unreadable(column))?;
    T::from_word(word).ok_or_else(|| unreadable(column))
}

pub(super) fn optional_word<T: Word>(row: &Row<'_>, at: usize, column: &'static str) -> Result<Option<T>> {
    match row.get_ref(at)?.as_str_or_null().map_err(|_| unreadable(column))? {
        Some(word) => T::from_word(word).ok_or_else(|| unreadable(column)).map(Some),
        None => Ok(None),
    }
}

/// The same where it may be NULL.
pub(super) fn opt_json<T: DeserializeOwned>(row: &Row<'_>, at: usize, column: &'static str) -> Result<Option<T>> {
    let text: Option<String> = row.get(at)?;
    text.map(|text| serde_json::from_str(&text).map_err(|_| unreadable(column))).transpose()
}

pub(super) fn json<T: DeserializeOwned>(row: &Row<'_>, at: usize, column: &'static str) -> Result<T> {
    let text = row.get_ref(at)?.as_str().map_err(|_| unreadable(column))?;
    serde_json::from_str(text).map_err(|_| unreadable(column))
}

pub(super) fn to_json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::ToSqlConversionFailure(Box::new(error)))
}
