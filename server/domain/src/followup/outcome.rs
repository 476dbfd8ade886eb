//! The answers a provider can give, in our words; a vendor's own words end in its file.

use backstop_wire::Environment;
use serde::{Deserialize, Serialize};

/// What one attempt to send came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The provider has taken it.
    Accepted {
        /// The provider's own id of it.
        provider_id: Option<String>,
    },
    /// Push only: the token is dead (P5, C3).
    TokenGone {
        /// Since when, by the provider's word (APNs 410 `timestamp`); `None` = dead now.
        since_ms: Option<i64>,
        /// The vendor's code.
        error: String,
    },
    /// Push only: the token is none of this APNs environment; it may be one of the other (C3).
    WrongEnvironment {
        /// The one that refused it.
        tried: Environment,
        /// The vendor's code.
        error: String,
    },
    /// Refused for good: sending the same again is refused again.
    Rejected {
        /// The vendor's code.
        error: String,
    },
    /// Certainly not sent; may be tried again.
    RetryAfter {
        /// Not sooner than this; `None` = when we like.
        after_ms: Option<i64>,
        /// The vendor's code.
        error: String,
    },
    /// Certainly not sent, since its provider was not asked: by our own limits, or for want of our own store.
    Postponed {
        /// Not sooner than this; `None` = when we like.
        after_ms: Option<i64>,
        /// What stood in the way.
        error: String,
    },
    /// May have been sent: the bytes left, the answer did not come.
    Unknown {
        /// What was seen.
        error: String,
    },
}

/// The vendor's code of a text that was refused because its number opted out of the sender's texts (T7).
pub const OPTED_OUT: &str = "opted_out";

/// The code of an SNS that was refused because the recipient blocked it: that way is over, others are not (T7).
pub const BLOCKED: &str = "blocked";

/// What a provider knows of a text that may have left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// It has it.
    Taken {
        /// The provider's own id of it.
        provider_id: Option<String>,
    },
    /// It delivered it.
    Delivered {
        /// The provider's own id of it.
        provider_id: Option<String>,
    },
    /// It had it, and it failed.
    Failed {
        /// The provider's own id of it.
        provider_id: Option<String>,
        /// The vendor's code.
        error: String,
    },
    /// It knows of no such text now.
    Absent,
    /// It did not say: down, or too much to look through.
    Unclear,
}

impl Outcome {
    /// Label for metrics and logs.
    pub fn label(&self) -> &'static str {
        match self {
            Outcome::Accepted { .. } => "accepted",
            Outcome::TokenGone { .. } => "token_gone",
            Outcome::WrongEnvironment { .. } => "wrong_environment",
            Outcome::Rejected { .. } => "rejected",
            Outcome::RetryAfter { .. } => "retry_after",
            Outcome::Postponed { .. } => "postponed",
            Outcome::Unknown { .. } => "unknown",
        }
    }

    /// The vendor's code, where there is one.
    pub fn error(&self) -> Option<&str> {
        match self {
            Outcome::Accepted { .. } => None,
            Outcome::TokenGone { error, .. }
            | Outcome::WrongEnvironment { error, .. }
            | Outcome::Rejected { error }
            | Outcome::RetryAfter { error, .. }
            | Outcome::Postponed { error, .. }
            | Outcome::Unknown { error } => Some(error),
        }
    }
}
