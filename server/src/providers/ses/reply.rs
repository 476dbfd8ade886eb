//! What SES's answers mean: the one table of its codes.

use backstop_domain::followup::Outcome;
use serde_json::Value;

/// An answer to a send.
pub(super) struct Reply<'a> {
    pub(super) status: u16,
    /// `x-amzn-ErrorType`.
    pub(super) kind: Option<&'a str>,
    pub(super) wait_ms: Option<i64>,
    pub(super) body: &'a [u8],
}

/// What a code is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Of this mail: refused again whenever it is tried.
    Refused,
    /// Not now.
    Later,
    /// Too much at a time, of the whole account.
    TooMany,
    /// The key, the account or its set-up: it goes once that is mended.
    Account(&'static str),
    /// The address or domain that this mail comes from: others may go.
    Identity(&'static str),
}

const KEY: &str = "[providers.ses] access_key_id, secret_access_key, session_token, region: AWS does not take them";
const CLOCK: &str = "AWS finds our signature too old or too new: check this machine's clock";
const PAUSED: &str = "Amazon SES has paused sending for this account: its dashboard in the AWS console says why";
const POLICY: &str = "the IAM policy of [providers.ses] access_key_id: allow ses:SendRawEmail and ses:SendEmail";
const SET: &str = "[providers.ses] configuration_set: there is none of this name in this region";
const FROM: &str = "the address that a mail comes from is not verified in this region of SES, or the one \
                    that it goes to, while the account is in SES's own sandbox";
const MAIL_FROM: &str = "the custom MAIL FROM domain of a verified domain is not set up: see its DNS records in SES";

fn kind(code: &str, text: &str) -> Option<Kind> {
    Some(match code {
        "ExpiredTokenException"
        | "ExpiredToken"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "IncompleteSignature"
        | "IncompleteSignatureException" => Kind::Account(KEY),
        "RequestExpired" | "RequestTimeTooSkewed" => Kind::Account(CLOCK),
        // AWS says the same of a wrong secret and of a clock that is off; only its words tell.
        "InvalidSignatureException" | "SignatureDoesNotMatch" if text.contains("Signature expired") => {
            Kind::Account(CLOCK)
        }
        "InvalidSignatureException" | "SignatureDoesNotMatch" if text.contains("Signature not yet current") => {
            Kind::Account(CLOCK)
        }
        "InvalidSignatureException" | "SignatureDoesNotMatch" => Kind::Account(KEY),
        "AccessDeniedException" | "AccessDenied" | "NotAuthorized" | "OptInRequired" => Kind::Account(POLICY),
        "AccountSuspendedException"
        | "AccountSuspended"
        | "SendingPausedException"
        | "SendingPaused"
        | "AccountSendingPausedException" => Kind::Account(PAUSED),
        "NotFoundException" | "ConfigurationSetDoesNotExistException" => Kind::Account(SET),
        "MailFromDomainNotVerifiedException" | "MailFromDomainNotVerified" => Kind::Identity(MAIL_FROM),
        "MessageRejected" if text.contains("not verified") => Kind::Identity(FROM),
        "MessageRejected" | "BadRequestException" | "ValidationException" | "InvalidParameterValue" => Kind::Refused,
        "TooManyRequestsException" | "TooManyRequests" | "ThrottlingException" | "Throttling" => Kind::TooMany,
        // The day's quota: SES opens it bit by bit.
        "LimitExceededException" | "LimitExceeded" => Kind::TooMany,
        "ServiceUnavailable" | "ServiceUnavailableException" => Kind::Later,
        _ => return None,
    })
}

impl Reply<'_> {
    pub(super) fn outcome(&self) -> Outcome {
        let body: Value = serde_json::from_slice(self.body).unwrap_or_default();
        let later = |after_ms, error: String| Outcome::RetryAfter { after_ms, error };
        let http = || format!("http_{}", self.status);
        match (self.status, self.known(&body)) {
            (200..=299, _) => taken(&body),
            // It went elsewhere, and we do not follow.
            (300..=399, _) => later(None, http()),
            (_, Some((code, Kind::Refused))) => Outcome::Rejected { error: code },
            (_, Some((code, Kind::TooMany))) => later(self.wait_ms, format!("too_many {code}")),
            (_, Some((code, Kind::Later | Kind::Account(_)))) => later(self.wait_ms, code),
            (_, Some((code, Kind::Identity(_)))) => later(self.wait_ms, format!("identity {code}")),
            // Whoever was in between gave up waiting: the request itself may have gone on.
            (408 | 499, None) => Outcome::Unknown { error: http() },
            (429, None) => later(self.wait_ms, "too_many".into()),
            // A code of AWS's that is not in the table is a refusal of this mail; any other word is a proxy's.
            (400..=499, None) => match code(self.kind, &body) {
                Some(code) => Outcome::Rejected { error: code },
                None => later(None, http()),
            },
            _ => Outcome::Unknown { error: http() },
        }
    }

    /// What to look at, if this refuses more than one mail.
    pub(super) fn mend(&self) -> Option<&'static str> {
        let body: Value = serde_json::from_slice(self.body).unwrap_or_default();
        match self.known(&body)?.1 {
            Kind::Account(mend) | Kind::Identity(mend) => Some(mend),
            Kind::Refused | Kind::Later | Kind::TooMany => None,
        }
    }

    fn known(&self, body: &Value) -> Option<(String, Kind)> {
        if !(400..=599).contains(&self.status) {
            return None;
        }
        let code = code(self.kind, body)?;
        let kind = kind(&code, text(body))?;
        Some((code, kind))
    }
}

/// Its words may quote addresses: they are looked into and never kept.
fn text(body: &Value) -> &str {
    body["message"].as_str().or_else(|| body["Message"].as_str()).unwrap_or_default()
}

/// `MessageRejected`, of `com.amazonaws.ses#MessageRejected:http://…` in a header or in the body.
pub(super) fn code(kind: Option<&str>, body: &Value) -> Option<String> {
    let given = kind.or_else(|| body["__type"].as_str()).or_else(|| body["code"].as_str())?;
    let code = given.split(':').next()?.rsplit('#').next()?;
    let is_code = (1..=80).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_code.then(|| code.to_owned())
}

/// It said yes; what it said yes to must be readable.
fn taken(body: &Value) -> Outcome {
    let id = body["MessageId"].as_str().filter(|id| is_message_id(id));
    match id {
        Some(id) => Outcome::Accepted { provider_id: Some(id.to_owned()) },
        None => Outcome::Unknown { error: "unreadable_answer".into() },
    }
}

pub(super) fn is_message_id(id: &str) -> bool {
    (1..=200).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(status: u16, kind: Option<&str>, body: &str) -> String {
        match (Reply { status, kind, wait_ms: Some(7_000), body: body.as_bytes() }).outcome() {
            Outcome::Accepted { provider_id } => format!("accepted {}", provider_id.unwrap_or_default()),
            Outcome::RetryAfter { after_ms, error } => format!("later {after_ms:?} {error}"),
            other => format!("{} {}", other.label(), other.error().unwrap_or_default()),
        }
    }

    /// Recorded answers, and what each becomes.
    #[test]
    fn answers_become_outcomes() {
        let id = "0100018f3b6c1f2a-6f2c2c1e-1f7b-4c55-9f0e-2f1f6f1c1f2a-000000";
        let wait = "later Some(7000)";
        let unverified = r#"{"message":"Email address is not verified. The following identities failed the check in
            region US-EAST-1: a@b.example"}"#
            .replace('\n', " ");
        let expired = r#"{"message":"Signature expired: 20261123T074120Z is now earlier than 20261123T075000Z"}"#;
        for (status, kind, body, becomes) in [
            (200, None, format!(r#"{{"MessageId":"{id}"}}"#), format!("accepted {id}")),
            (200, None, "{}".into(), "unknown unreadable_answer".into()),
            (200, None, "<html>Welcome to the hotel</html>".into(), "unknown unreadable_answer".into()),
            (400, Some("MessageRejected"), unverified, format!("{wait} identity MessageRejected")),
            (
                400,
                Some("MessageRejected:http://internal/"),
                r#"{"message":"virus"}"#.into(),
                "rejected MessageRejected".into(),
            ),
            (
                400,
                None,
                r#"{"__type":"com.amazonaws.ses#BadRequestException"}"#.into(),
                "rejected BadRequestException".into(),
            ),
            (
                400,
                Some("MailFromDomainNotVerifiedException"),
                "{}".into(),
                format!("{wait} identity MailFromDomainNotVerifiedException"),
            ),
            (400, Some("AccountSuspendedException"), "{}".into(), format!("{wait} AccountSuspendedException")),
            (400, Some("SendingPausedException"), "{}".into(), format!("{wait} SendingPausedException")),
            (404, Some("NotFoundException"), "{}".into(), format!("{wait} NotFoundException")),
            (429, Some("TooManyRequestsException"), "{}".into(), format!("{wait} too_many TooManyRequestsException")),
            (400, Some("ThrottlingException"), "{}".into(), format!("{wait} too_many ThrottlingException")),
            (403, Some("ExpiredTokenException"), "{}".into(), format!("{wait} ExpiredTokenException")),
            (403, Some("InvalidSignatureException"), expired.into(), format!("{wait} InvalidSignatureException")),
            (403, Some("AccessDeniedException"), "{}".into(), format!("{wait} AccessDeniedException")),
            (400, Some("NeverHeardOfException"), "{}".into(), "rejected NeverHeardOfException".into()),
            (403, None, "<html>blocked by the proxy</html>".into(), "later None http_403".into()),
            (429, None, "slow down".into(), format!("{wait} too_many")),
            (302, None, String::new(), "later None http_302".into()),
            (408, None, String::new(), "unknown http_408".into()),
            (500, Some("InternalServiceErrorException"), "{}".into(), "unknown http_500".into()),
            (503, Some("ServiceUnavailable"), "{}".into(), format!("{wait} ServiceUnavailable")),
            (502, None, "<html>bad gateway</html>".into(), "unknown http_502".into()),
        ] {
            assert_eq!(outcome(status, kind, &body), becomes, "{status} {kind:?} {body}");
        }
    }

    /// The operator hears what to look at, of faults that concern more than one mail alone.
    #[test]
    fn a_fault_of_the_account_names_its_mend() {
        let mend =
            |status, kind, body: &str| Reply { status, kind: Some(kind), wait_ms: None, body: body.as_bytes() }.mend();
        assert_eq!(mend(403, "UnrecognizedClientException", "{}"), Some(KEY));
        assert_eq!(mend(403, "InvalidSignatureException", r#"{"message":"Signature expired: …"}"#), Some(CLOCK));
        assert_eq!(mend(403, "InvalidSignatureException", r#"{"message":"does not match"}"#), Some(KEY));
        assert_eq!(mend(400, "MessageRejected", r#"{"message":"virus"}"#), None);
        assert_eq!(mend(200, "UnrecognizedClientException", "{}"), None);
    }
}
