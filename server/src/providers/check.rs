//! What a probe of an account finds: credentials that the vendor takes, or what mends them.

use std::pin::Pin;

/// The vendor takes the credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// What was found in order, as a sentence without secrets.
    pub message: String,
    /// The vendor's clock minus ours, where an answer told it.
    pub vendor_ahead_ms: Option<i64>,
}

/// Whose fault a failed probe is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The vendor refuses what is configured: nothing but a change of it helps.
    Refused,
    /// The vendor could not be asked, or had trouble of its own.
    Unreachable,
}

/// What is wrong, and what mends it. Never quotes a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}: {mend}")]
pub struct CheckError {
    /// Whose fault it is.
    pub fault: Fault,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub mend: String,
}

impl CheckError {
    pub(super) fn refused(message: impl Into<String>, mend: impl Into<String>) -> CheckError {
        CheckError { fault: Fault::Refused, message: message.into(), mend: mend.into() }
    }

    pub(super) fn unreachable(message: impl Into<String>, mend: impl Into<String>) -> CheckError {
        CheckError { fault: Fault::Unreachable, message: message.into(), mend: mend.into() }
    }
}

/// The answer of a provider's `check`.
pub type Checking<'a> = Pin<Box<dyn Future<Output = Result<Checked, CheckError>> + Send + 'a>>;
