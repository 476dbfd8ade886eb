//! What FCM's answers mean in our words.

use crate::providers::transport;
use backstop_domain::followup::Outcome;
use fcm::{ErrorCode, FcmError};
use serde::Deserialize;
use serde_json::Value;

const BAD_REQUEST_TYPE: &str = "type.googleapis.com/google.rpc.BadRequest";
/// Google's floors for answers without `Retry-After`.
const QUOTA_WAIT_MS: i64 = 60_000;
const TROUBLE_WAIT_MS: i64 = 10_000;

/// One answer of `messages:send`, its body cut where we stopped reading.
pub(super) struct Reply<'a> {
    pub status: u16,
    pub retry_after: Option<&'a str>,
    pub body: &'a [u8],
    /// When it came, for a `Retry-After` that is a date.
    pub now_ms: i64,
}

/// Either, in Google's own words; fields that come later do no harm.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    name: Option<String>,
    error: Option<FcmError>,
}

impl Reply<'_> {
    /// What the answer means. A status that only Google's own documents give a meaning to counts only with Google's
    /// body: a proxy's 404 page must not cost a customer the token.
    pub(super) fn outcome(&self) -> Outcome {
        let Body { name, error } = self.read();
        let code = error.as_ref().and_then(FcmError::error_code);
        let named = self.named(error.as_ref());
        match (self.status, code) {
            (200, _) if name.is_some() => Outcome::Accepted { provider_id: name.filter(|name| is_id(name)) },
            // Not Google's words: whether it was sent, nobody can tell.
            (200..=299, _) => Outcome::Unknown { error: "unreadable_answer".into() },
            // SENDER_ID_MISMATCH blames who sends, not the token: with the right account it lives (C3).
            (404, Some(ErrorCode::Unregistered)) => gone(named),
            (400, _) if error.as_ref().is_some_and(blames_token) => gone(named),
            (429, _) => Outcome::RetryAfter { after_ms: Some(self.wait_ms(QUOTA_WAIT_MS)), error: named },
            (408 | 500 | 503, _) => Outcome::RetryAfter { after_ms: Some(self.wait_ms(TROUBLE_WAIT_MS)), error: named },
            // Something between us and Google gave up waiting: Google may have it.
            (500..=599, _) => Outcome::Unknown { error: named },
            _ => Outcome::Rejected { error: named },
        }
    }

    /// Whether a fresh access token may help: our account is refused, not what it asks for.
    pub(super) fn is_stale_token(&self) -> bool {
        let code = || self.read().error.and_then(|error| error.error_code());
        self.status == 401 && code() != Some(ErrorCode::ThirdPartyAuthError)
    }

    fn read(&self) -> Body {
        serde_json::from_slice(self.body).unwrap_or_default()
    }

    /// The vendor's code: FCM's own, else Google's canonical one, else the HTTP status. Never its message, which may
    /// quote what we sent.
    fn named(&self, error: Option<&FcmError>) -> String {
        let code = error.map(|error| error.raw_error_code().unwrap_or(&error.status)).filter(|code| is_code(code));
        code.map_or_else(|| format!("http_{}", self.status), str::to_owned)
    }

    fn wait_ms(&self, default_ms: i64) -> i64 {
        transport::wait_ms(self.retry_after, self.now_ms).unwrap_or(default_ms)
    }
}

fn gone(error: String) -> Outcome {
    Outcome::TokenGone { since_ms: None, error }
}

/// Like `projects/…/messages/…`; anything else is not kept.
fn is_id(name: &str) -> bool {
    (1..=256).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_code(code: &str) -> bool {
    (1..=64).contains(&code.len())
        && code.bytes().all(|byte| byte.is_ascii_uppercase() || b"_0123456789".contains(&byte))
}

/// `INVALID_ARGUMENT` says only that something is wrong. It is the token when a violation names its field or — Google's
/// answer to a malformed one has no violations — when the message says so.
fn blames_token(error: &FcmError) -> bool {
    let mut violations = error
        .details
        .iter()
        .filter(|detail| detail.get("@type").and_then(Value::as_str) == Some(BAD_REQUEST_TYPE))
        .filter_map(|detail| detail.get("fieldViolations")?.as_array())
        .flatten();
    violations.any(|violation| violation.get("field").and_then(Value::as_str) == Some("message.token"))
        || error.message.contains("registration token is not a valid")
}
