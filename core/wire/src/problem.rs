//! The one error body of the API: RFC 9457 (W4).

use serde::{Deserialize, Serialize};

/// Every problem's `type` is this prefix and a stable code.
pub const PROBLEM_PREFIX: &str = "urn:backstop:problem:";

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// Where, as a dotted path (`author.name`, `acks[3].receipt`).
    pub field: String,
    /// Stable code (`too_long`, `missing`, `unknown_field`, …).
    pub code: String,
    /// What to do about it.
    pub message: String,
}

/// An RFC 9457 problem document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `urn:backstop:problem:<code>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened, and what the caller can do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Which fields, for `invalid_request`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

impl Problem {
    /// The stable code: `type` without its prefix.
    pub fn code(&self) -> &str {
        self.kind.strip_prefix(PROBLEM_PREFIX).unwrap_or(&self.kind)
    }
}
