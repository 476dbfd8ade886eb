//! What Twilio's answers mean: the one table of its codes.

use backstop_domain::followup::{OPTED_OUT, Outcome};
use serde::Deserialize;

/// A wait that a vendor asks for is believed up to a day.
const MAX_WAIT_MS: i64 = 86_400_000;

/// An answer to a send.
pub(super) struct Reply<'a> {
    pub(super) status: u16,
    pub(super) retry_after: Option<&'a str>,
    pub(super) body: &'a [u8],
}

/// What of the body is used. `message` may quote the number and is never read.
#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    sid: Option<String>,
    #[serde(default)]
    status: Option<serde_json::Value>,
    #[serde(default)]
    code: Option<u32>,
    #[serde(default)]
    error_code: Option<u32>,
}

/// What a code is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Of this number or text: refused again whenever it is tried.
    Refused(&'static str),
    /// The number opted out of texts from this sender (T7).
    OptedOut,
    /// Not now.
    Later(&'static str),
    /// The account is set up wrongly: it goes once that is mended.
    Account(&'static str),
}

fn kind(code: u32) -> Option<Kind> {
    Some(match code {
        20003 | 20005 | 20006 | 20404 => {
            Kind::Account("[providers.twilio] account_sid, auth_token: not this account's")
        }
        20403 | 20008 => Kind::Account("[providers.twilio] auth_token: test credentials, or an account without texts"),
        21606 | 21603 | 21659 | 21660 | 21212 => {
            Kind::Account("[providers.twilio] from: not a number of this account that sends texts")
        }
        21701 | 21703 | 21704 | 21705 => {
            Kind::Account("[providers.twilio] messaging_service_sid: no such service, or it has no number")
        }
        21609 => Kind::Account("[server] public_url: Twilio takes no such address to report to"),
        20429 | 14107 | 30001 | 30022 | 63018 => Kind::Later("too_many"),
        20503 | 20500 => return None,
        21610 => Kind::OptedOut,
        21211 | 21214 | 21217 | 21401 | 21604 | 21614 | 30005 => Kind::Refused("bad_number"),
        21635 | 30006 => Kind::Refused("landline"),
        21408 | 21215 | 21612 | 30036 => Kind::Refused("destination_not_enabled"),
        21602 | 21619 => Kind::Refused("empty"),
        21605 | 21617 => Kind::Refused("too_long"),
        21608 => Kind::Refused("trial_account"),
        30003 => Kind::Refused("unreachable"),
        30004 => Kind::Refused("blocked"),
        30007 | 30034 | 30035 => Kind::Refused("filtered"),
        30008 => Kind::Refused("unknown_failure"),
        _ => Kind::Refused("refused"),
    })
}

/// A code in our words, the number behind it.
pub(super) fn word(code: u32) -> String {
    match kind(code) {
        Some(Kind::OptedOut) => OPTED_OUT.into(),
        Some(Kind::Refused(word) | Kind::Later(word)) => format!("{word} {code}"),
        Some(Kind::Account(_)) => format!("account {code}"),
        None => code.to_string(),
    }
}

impl Reply<'_> {
    fn body(&self) -> Option<Body> {
        serde_json::from_slice(self.body).ok()
    }

    /// Which key of the configuration to look at, if this refuses the whole account.
    pub(super) fn mend(&self) -> Option<&'static str> {
        let code = self.body().and_then(|body| body.code).filter(|_| (400..500).contains(&self.status));
        match code.and_then(kind) {
            Some(Kind::Account(mend)) => Some(mend),
            _ if matches!(self.status, 401 | 403) => Some("[providers.twilio] account_sid, auth_token, base_url"),
            _ => None,
        }
    }

    pub(super) fn outcome(&self) -> Outcome {
        let body = self.body();
        match self.status {
            200..=299 => taken(body),
            // It went elsewhere, and we do not follow.
            300..=399 => self.later(None, format!("http_{}", self.status)),
            // Whoever was in between gave up waiting: the request itself may have gone on.
            408 | 499 => Outcome::Unknown { error: format!("http_{}", self.status) },
            429 => self.later(self.wait_ms(), word(body.and_then(|body| body.code).unwrap_or(20429))),
            400..=499 => match body.and_then(|body| body.code) {
                Some(code) => self.refused(code),
                // Not Twilio's word, but a proxy's before it.
                None => self.later(None, format!("http_{}", self.status)),
            },
            _ => Outcome::Unknown { error: format!("http_{}", self.status) },
        }
    }

    fn refused(&self, code: u32) -> Outcome {
        match kind(code) {
            Some(Kind::OptedOut | Kind::Refused(_)) => Outcome::Rejected { error: word(code) },
            Some(Kind::Later(_) | Kind::Account(_)) => self.later(self.wait_ms(), word(code)),
            None => Outcome::Unknown { error: word(code) },
        }
    }

    fn later(&self, after_ms: Option<i64>, error: String) -> Outcome {
        Outcome::RetryAfter { after_ms, error }
    }

    /// Seconds; Twilio gives no dates.
    fn wait_ms(&self) -> Option<i64> {
        let seconds: i64 = self.retry_after?.trim().parse().ok().filter(|seconds| *seconds >= 0)?;
        Some(seconds.saturating_mul(1_000).min(MAX_WAIT_MS))
    }
}

/// It said yes; what it said yes to must be readable.
fn taken(body: Option<Body>) -> Outcome {
    let Some(Body { sid: Some(sid), status, error_code, .. }) = body else {
        return Outcome::Unknown { error: "unreadable_answer".into() };
    };
    let failed = status.as_ref().and_then(|status| status.as_str()).is_some_and(is_failure);
    match (is_message_sid(&sid), failed) {
        (false, _) => Outcome::Unknown { error: "unreadable_answer".into() },
        (true, true) => Outcome::Rejected { error: word(error_code.unwrap_or(30008)) },
        (true, false) => Outcome::Accepted { provider_id: Some(sid) },
    }
}

pub(super) fn is_failure(status: &str) -> bool {
    matches!(status, "failed" | "undelivered" | "canceled")
}

/// `SM` or `MM` and 32 hexadecimal digits.
pub(super) fn is_message_sid(sid: &str) -> bool {
    let digits = sid.strip_prefix("SM").or_else(|| sid.strip_prefix("MM")).unwrap_or("");
    digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SID: &str = "SM0123456789abcdef0123456789abcdef";

    fn outcome(status: u16, body: &str) -> String {
        match (Reply { status, retry_after: Some("7"), body: body.as_bytes() }).outcome() {
            Outcome::Accepted { provider_id } => format!("accepted {}", provider_id.unwrap_or_default()),
            Outcome::RetryAfter { after_ms, error } => format!("later {after_ms:?} {error}"),
            other => format!("{} {}", other.label(), other.error().unwrap_or_default()),
        }
    }

    fn error(status: u16, code: u32) -> String {
        let body = format!(
            r#"{{"code":{code},"message":"The 'To' number +14155550123 …","more_info":"https://…","status":{status}}}"#
        );
        outcome(status, &body)
    }

    /// Recorded answers, and what each becomes.
    #[test]
    fn answers_become_outcomes() {
        let queued = format!(r#"{{"sid":"{SID}","status":"queued","num_segments":"1","error_code":null}}"#);
        let failed = format!(r#"{{"sid":"{SID}","status":"failed","error_code":30006}}"#);
        let wait = "later Some(7000)";
        for (status, code, becomes) in [
            (400, 21610, "rejected opted_out".to_owned()),
            (400, 21211, "rejected bad_number 21211".into()),
            (400, 21614, "rejected bad_number 21614".into()),
            (400, 21635, "rejected landline 21635".into()),
            (400, 30006, "rejected landline 30006".into()),
            (400, 21408, "rejected destination_not_enabled 21408".into()),
            (400, 21617, "rejected too_long 21617".into()),
            (400, 99999, "rejected refused 99999".into()),
            (400, 21606, format!("{wait} account 21606")),
            (401, 20003, format!("{wait} account 20003")),
            (404, 20404, format!("{wait} account 20404")),
            (429, 20429, format!("{wait} too_many 20429")),
            (503, 20503, "unknown http_503".into()),
        ] {
            assert_eq!(error(status, code), becomes);
        }
        for (status, body, becomes) in [
            (201, queued.as_str(), format!("accepted {SID}")),
            (201, failed.as_str(), "rejected landline 30006".into()),
            (201, r#"{"sid":"SM1"}"#, "unknown unreadable_answer".into()),
            (200, "<html>Welcome to the hotel</html>", "unknown unreadable_answer".into()),
            (201, "", "unknown unreadable_answer".into()),
            (302, "", "later None http_302".into()),
            (403, "<html>blocked by the proxy</html>", "later None http_403".into()),
            (408, "", "unknown http_408".into()),
            (429, "slow down", format!("{wait} too_many 20429")),
            (500, "{}", "unknown http_500".into()),
            (502, "<html>bad gateway</html>", "unknown http_502".into()),
            (101, "", "unknown http_101".into()),
        ] {
            assert_eq!(outcome(status, body), becomes, "{status} {body}");
        }
    }

    /// The operator hears which key to look at, of the account's faults alone.
    #[test]
    fn an_account_that_is_refused_names_the_key() {
        let mend = |status, body: &str| Reply { status, retry_after: None, body: body.as_bytes() }.mend();
        assert!(mend(401, r#"{"code":20003}"#).unwrap().contains("auth_token"));
        assert!(mend(400, r#"{"code":21606}"#).unwrap().contains("[providers.twilio] from"));
        assert!(mend(403, "<html>").unwrap().contains("base_url"));
        assert_eq!(mend(400, r#"{"code":21610}"#), None);
        assert_eq!(mend(201, r#"{"code":20003}"#), None);
    }

    #[test]
    fn a_wait_is_bounded() {
        let wait = |text| Reply { status: 429, retry_after: Some(text), body: b"" }.wait_ms();
        assert_eq!(wait("1"), Some(1_000));
        assert_eq!(wait("99999999999"), Some(MAX_WAIT_MS));
        assert_eq!((wait("-1"), wait("soon"), wait("Wed, 21 Oct 2015 07:28:00 GMT")), (None, None, None));
    }
}
