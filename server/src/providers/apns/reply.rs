//! What APNs' answers mean in our words.

use crate::providers::transport::wait_ms;
use a2::{ErrorReason, response::ErrorBody};
use backstop_domain::followup::Outcome;
use backstop_wire::Environment;
use serde_json::Value;

/// A team that changed its token too often has to wait; longer than any push can.
const TEAM_WAIT_MS: i64 = 60_000;

/// One answer to `POST /3/device/…`, its body cut where we stopped reading.
pub(super) struct Reply<'a> {
    pub(super) status: u16,
    /// `apns-id`, which every answer of Apple's carries.
    pub(super) apns_id: Option<&'a str>,
    pub(super) retry_after: Option<&'a str>,
    pub(super) body: &'a [u8],
    /// Whose it is.
    pub(super) environment: Environment,
    /// When it came, for a `Retry-After` that is a date.
    pub(super) now_ms: i64,
}

/// What Apple says of a refusal. Fields that come later do no harm, nor do reasons.
struct Body {
    reason: String,
    timestamp: Option<Value>,
}

impl Reply<'_> {
    /// What the answer means. A status that only Apple's own documents give a meaning to counts only with Apple's
    /// body: a proxy's 410 page must not cost a customer the token.
    pub(super) fn outcome(&self) -> Outcome {
        let body = self.read();
        let named = self.named(body.as_ref());
        let reason = body.as_ref().and_then(known);
        match (self.status, reason) {
            (200, _) if self.apns_id.is_some() => {
                Outcome::Accepted { provider_id: self.apns_id.filter(|id| is_word(id)).map(str::to_owned) }
            }
            // Not Apple's words: whether it was sent, nobody can tell.
            (200..=299, _) => Outcome::Unknown { error: "unreadable_answer".into() },
            (_, Some(ErrorReason::BadDeviceToken)) => {
                Outcome::WrongEnvironment { tried: self.environment, error: named }
            }
            (_, Some(ErrorReason::Unregistered | ErrorReason::ExpiredToken)) => self.gone(body, named),
            // A newer reason: the status says as much.
            (410, None) if body.is_some() => self.gone(body, named),
            (_, Some(ErrorReason::TooManyProviderTokenUpdates)) => self.later(Some(TEAM_WAIT_MS), named),
            (_, Some(ErrorReason::IdleTimeout | ErrorReason::Shutdown)) => self.later(None, named),
            (408 | 429, _) => self.later(None, named),
            (500..=599, _) if body.is_some() => self.later(None, named),
            // Something between us and Apple answered: Apple may have it.
            (500..=599, _) => Outcome::Unknown { error: named },
            _ => Outcome::Rejected { error: named },
        }
    }

    /// Whether Apple refuses our provider token, not what it asks for: a fresh one may help.
    pub(super) fn refuses_token(&self) -> bool {
        let reason = self.reason().filter(|_| self.status == 403);
        matches!(reason, Some(ErrorReason::ExpiredProviderToken | ErrorReason::InvalidProviderToken))
    }

    /// The reason in Apple's own words, if it is one we know.
    pub(super) fn reason(&self) -> Option<ErrorReason> {
        self.read().as_ref().and_then(known)
    }

    fn read(&self) -> Option<Body> {
        // An object and nothing else: what is derived would take a list, too.
        let Ok(Value::Object(mut said)) = serde_json::from_slice(self.body) else { return None };
        let Some(Value::String(reason)) = said.remove("reason") else { return None };
        Some(Body { reason, timestamp: said.remove("timestamp") })
    }

    fn gone(&self, body: Option<Body>, error: String) -> Outcome {
        let since_ms = body.and_then(|body| body.timestamp).as_ref().and_then(Value::as_i64);
        Outcome::TokenGone { since_ms, error }
    }

    fn later(&self, default_ms: Option<i64>, error: String) -> Outcome {
        Outcome::RetryAfter { after_ms: wait_ms(self.retry_after, self.now_ms).or(default_ms), error }
    }

    /// The vendor's reason, else the HTTP status.
    fn named(&self, body: Option<&Body>) -> String {
        let reason = body.map(|body| body.reason.as_str()).filter(|reason| is_word(reason));
        reason.map_or_else(|| format!("http_{}", self.status), str::to_owned)
    }
}

fn known(body: &Body) -> Option<ErrorReason> {
    let words = serde_json::json!({ "reason": body.reason });
    serde_json::from_value::<ErrorBody>(words).ok().map(|body| body.reason)
}

/// A reason or an id; anything else is not kept.
fn is_word(word: &str) -> bool {
    (1..=64).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}
