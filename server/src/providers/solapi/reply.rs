//! What Solapi's answers to a send mean. A 200 takes the request in: whether it took the text is in its two lists.

use super::status::{Meaning, meaning, parse};
use backstop_domain::followup::Outcome;
use serde::Deserialize;
use serde_json::{Map, Value};

/// A wait that a vendor asks for is believed up to a day.
const MAX_WAIT_MS: i64 = 86_400_000;
const KEYS: &str = "[providers.solapi] api_key, api_secret, base_url";
const CLOCK: &str = "this server's clock: Solapi takes no request that is 15 minutes off its own; set it by NTP";
const BALANCE: &str = "the account at Solapi has no balance: charge it";

/// An answer to a send.
pub(super) struct Reply<'a> {
    pub(super) status: u16,
    pub(super) retry_after: Option<&'a str>,
    pub(super) body: &'a [u8],
}

/// What of the body is used. Messages quote numbers and are never read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    #[serde(default)]
    error_code: Option<String>,
    #[serde(default)]
    group_info: Option<Group>,
    #[serde(default)]
    message_list: Option<Vec<Item>>,
    #[serde(default)]
    failed_message_list: Option<Vec<Item>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    #[serde(default)]
    group_id: Option<String>,
    #[serde(default)]
    count: Option<Count>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Count {
    #[serde(default)]
    registered_success: Option<u32>,
    #[serde(default)]
    registered_failed: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    #[serde(default)]
    message_id: Option<String>,
    #[serde(default)]
    status_code: Option<String>,
}

/// What an error of the whole request is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Who sends is refused; what to look at.
    Account(&'static str, &'static str),
    /// Nothing was sent, and it may be tried again.
    Later(&'static str),
    /// The same request came through before: we sign each once, so somebody between us repeats them.
    Repeated,
    /// Nothing was sent, and nothing of this will be.
    Refused,
}

fn fault(code: &str) -> Fault {
    match code {
        "InvalidAPIKey" | "SignatureDoesNotMatch" | "Unauthorized" | "Forbidden" | "InactiveAccount" => {
            Fault::Account("credentials", KEYS)
        }
        "RequestTimeTooSkewed" => Fault::Account("clock_is_off", CLOCK),
        "NotEnoughBalance" => Fault::Account("no_balance", BALANCE),
        "DuplicatedSignature" => Fault::Repeated,
        "TooManyRequests" | "RequestLimitExceeded" => Fault::Later("too_many"),
        _ => Fault::Refused,
    }
}

impl Reply<'_> {
    fn body(&self) -> Option<Body> {
        serde_json::from_slice::<Map<String, Value>>(self.body)
            .ok()
            .and_then(|whole| serde_json::from_value(Value::Object(whole)).ok())
    }

    /// The status code of our one text, where it has one.
    pub(super) fn code(&self) -> Option<u16> {
        let body = self.body().filter(|_| is_yes(self.status))?;
        let lists = [body.failed_message_list, body.message_list];
        lists.into_iter().flatten().flatten().find_map(|item| parse(item.status_code.as_deref()?))
    }

    /// What somebody has to mend, if this refuses more than one text.
    pub(super) fn mend(&self) -> Option<&'static str> {
        if is_yes(self.status) {
            return self.code().and_then(meaning).and_then(Meaning::mend);
        }
        let refused = (400..500).contains(&self.status);
        match self.body().filter(|_| refused).and_then(|body| body.error_code) {
            Some(code) => match fault(&code) {
                Fault::Account(_, mend) => Some(mend),
                Fault::Later(_) | Fault::Repeated | Fault::Refused => None,
            },
            None => matches!(self.status, 401 | 403).then_some(KEYS),
        }
    }

    pub(super) fn outcome(&self) -> Outcome {
        match self.status {
            200..=299 => taken(self.body()),
            // It went elsewhere, and we do not follow.
            300..=399 => self.later(None, format!("http_{}", self.status)),
            // Whoever was in between gave up waiting: the request itself may have gone on.
            408 | 499 => Outcome::Unknown { error: format!("http_{}", self.status) },
            429 => self.later(self.wait_ms(), "too_many 429".into()),
            400..=499 => match self.body().and_then(|body| body.error_code) {
                Some(code) => self.refused(&code),
                // Not Solapi's word, but a proxy's before it.
                None => self.later(None, format!("http_{}", self.status)),
            },
            _ => Outcome::Unknown { error: format!("http_{}", self.status) },
        }
    }

    fn refused(&self, code: &str) -> Outcome {
        let named: String = code.chars().filter(char::is_ascii_alphanumeric).take(40).collect();
        match fault(code) {
            Fault::Repeated => Outcome::Unknown { error: format!("repeated {named}") },
            Fault::Account(word, _) | Fault::Later(word) => self.later(self.wait_ms(), format!("{word} {named}")),
            Fault::Refused => Outcome::Rejected { error: format!("refused {named}") },
        }
    }

    fn later(&self, after_ms: Option<i64>, error: String) -> Outcome {
        Outcome::RetryAfter { after_ms, error }
    }

    /// Seconds; Solapi gives no dates.
    fn wait_ms(&self) -> Option<i64> {
        let seconds: i64 = self.retry_after?.trim().parse().ok().filter(|seconds| *seconds >= 0)?;
        Some(seconds.saturating_mul(1_000).min(MAX_WAIT_MS))
    }
}

fn is_yes(status: u16) -> bool {
    (200..300).contains(&status)
}

/// It took the request; ours is one text, in one of the lists.
fn taken(body: Option<Body>) -> Outcome {
    let unreadable = || Outcome::Unknown { error: "unreadable_answer".into() };
    let Some(Body { group_info, message_list, failed_message_list, .. }) = body else { return unreadable() };
    let failed = failed_message_list.and_then(|list| list.into_iter().next());
    if let Some(code) = failed.map(|item| item.status_code.as_deref().and_then(parse)) {
        return match code {
            // Failed, and taken: whichever is true, it may have left.
            Some(code) => in_words(code, None).filter(|word| !is_accepted(word)).unwrap_or_else(unreadable),
            None => Outcome::Rejected { error: "refused".into() },
        };
    }
    if let Some(item) = message_list.and_then(|list| list.into_iter().next()) {
        let id = item.message_id.filter(|id| is_id(id));
        let code = item.status_code.as_deref().and_then(parse);
        return match (id, code) {
            (Some(id), Some(code)) => in_words(code, Some(id)).unwrap_or_else(unreadable),
            _ => unreadable(),
        };
    }
    // Without a list, its count still tells; the group finds the text again.
    let count = group_info.as_ref().and_then(|group| group.count.as_ref());
    let (taken, failed) = (
        count.and_then(|count| count.registered_success).unwrap_or(0),
        count.and_then(|count| count.registered_failed).unwrap_or(0),
    );
    match (group_info.and_then(|group| group.group_id).filter(|id| is_id(id)), taken, failed) {
        (Some(id), 1.., 0) => Outcome::Accepted { provider_id: Some(id) },
        (Some(_), 0, 1..) => Outcome::Rejected { error: "refused".into() },
        _ => unreadable(),
    }
}

fn is_accepted(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Accepted { .. })
}

/// `None` = a code that says nothing.
fn in_words(code: u16, provider_id: Option<String>) -> Option<Outcome> {
    let meaning = meaning(code)?;
    let error = meaning.word(code);
    Some(match meaning {
        Meaning::Taken | Meaning::Delivered => Outcome::Accepted { provider_id },
        Meaning::Refused(_) | Meaning::OptedOut | Meaning::Blocked | Meaning::Ours(..) => Outcome::Rejected { error },
        Meaning::Account(..) | Meaning::Later(_) => Outcome::RetryAfter { after_ms: None, error },
    })
}

/// Ids of messages and groups: letters and digits.
pub(super) fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ID: &str = "M4V20260101120000ABCDEFGHIJKLMNO";
    const GROUP: &str = "G4V20260101120000ABCDEFGHIJKLMNO";

    fn outcome(status: u16, body: &str) -> String {
        match (Reply { status, retry_after: Some("7"), body: body.as_bytes() }).outcome() {
            Outcome::Accepted { provider_id } => format!("accepted {}", provider_id.unwrap_or_default()),
            Outcome::RetryAfter { after_ms, error } => format!("later {after_ms:?} {error}"),
            other => format!("{} {}", other.label(), other.error().unwrap_or_default()),
        }
    }

    fn lists(taken: Value, failed: Value) -> String {
        let count = json!({"total": 1, "registeredSuccess": 1, "registeredFailed": 0});
        let group = json!({"groupId": GROUP, "status": "SENDING", "count": count});
        json!({"groupInfo": group, "messageList": taken, "failedMessageList": failed}).to_string()
    }

    fn failed(code: &str) -> String {
        let item = json!({"messageId": ID, "statusCode": code, "statusMessage": "…", "to": "01012345678"});
        lists(json!([]), json!([item]))
    }

    /// T2: a 200 is not yet the text's: both lists are read, each code is one of our words.
    #[test]
    fn t2_both_lists_are_read() {
        let taken = |code: &str| lists(json!([{"messageId": ID, "statusCode": code}]), json!([]));
        assert_eq!(outcome(200, &taken("2000")), format!("accepted {ID}"));
        assert_eq!(outcome(200, &failed("2000")), "unknown unreadable_answer", "failed, and taken: it may have left");
        assert_eq!(outcome(200, &taken("3107")), "rejected blocked", "told at once");
        assert_eq!(outcome(200, &taken("")), "unknown unreadable_answer");
        for (code, becomes) in [
            ("1062", "later None account 1062"),
            ("1030", "later None no_balance 1030"),
            ("1061", "rejected opted_out"),
            ("1031", "rejected too_long 1031"),
            ("1043", "rejected template_mismatch 1043"),
            ("1024", "later None busy 1024"),
            ("1999", "rejected refused 1999"),
            ("", "rejected refused"),
            ("7000", "unknown unreadable_answer"),
        ] {
            assert_eq!(outcome(200, &failed(code)), becomes, "{code}");
        }
        let counted =
            json!({"groupInfo": {"groupId": GROUP, "count": {"registeredSuccess": 1, "registeredFailed": 0}}});
        assert_eq!(outcome(200, &counted.to_string()), format!("accepted {GROUP}"));
        let none = json!({"groupInfo": {"groupId": GROUP, "count": {"registeredSuccess": 0, "registeredFailed": 1}}});
        assert_eq!(outcome(200, &none.to_string()), "rejected refused");
    }

    /// Recorded answers, and strange ones.
    #[test]
    fn answers_become_outcomes() {
        let error = |code: &str| json!({"errorCode": code, "errorMessage": "…"}).to_string();
        let wait = "later Some(7000)";
        for (status, body, becomes) in [
            (403, error("SignatureDoesNotMatch"), format!("{wait} credentials SignatureDoesNotMatch")),
            (403, error("InvalidAPIKey"), format!("{wait} credentials InvalidAPIKey")),
            (403, error("RequestTimeTooSkewed"), format!("{wait} clock_is_off RequestTimeTooSkewed")),
            (403, error("DuplicatedSignature"), "unknown repeated DuplicatedSignature".into()),
            (402, error("NotEnoughBalance"), format!("{wait} no_balance NotEnoughBalance")),
            (400, error("ValidationError"), "rejected refused ValidationError".into()),
            (400, error("<\"+82 10\">"), "rejected refused 8210".into()),
            (429, "slow down".into(), format!("{wait} too_many 429")),
            (403, "<html>blocked by the proxy</html>".into(), "later None http_403".into()),
            (302, String::new(), "later None http_302".into()),
            (408, String::new(), "unknown http_408".into()),
            (500, error("InternalError"), "unknown http_500".into()),
            (503, String::new(), "unknown http_503".into()),
            (101, String::new(), "unknown http_101".into()),
            (200, String::new(), "unknown unreadable_answer".into()),
            (200, "{}".into(), "unknown unreadable_answer".into()),
            (200, "<html>Welcome to the hotel</html>".into(), "unknown unreadable_answer".into()),
            (
                200,
                r#"{"messageList":[{"messageId":"../x","statusCode":"2000"}]}"#.into(),
                "unknown unreadable_answer".into(),
            ),
            (200, r#"{"messageList":{}}"#.into(), "unknown unreadable_answer".into()),
        ] {
            assert_eq!(outcome(status, &body), becomes, "{status} {body}");
        }
    }

    /// The operator hears what to mend, of what is ours alone.
    #[test]
    fn what_is_ours_names_the_mend() {
        let mend = |status, body: &str| Reply { status, retry_after: None, body: body.as_bytes() }.mend();
        assert!(mend(403, r#"{"errorCode":"InvalidAPIKey"}"#).unwrap().contains("api_secret"));
        assert!(mend(403, r#"{"errorCode":"RequestTimeTooSkewed"}"#).unwrap().contains("clock"));
        assert!(mend(200, &failed("1062")).unwrap().contains("[providers.solapi] from"));
        assert!(mend(200, &failed("1043")).unwrap().contains("Alimtalk template"));
        assert!(mend(403, "<html>").unwrap().contains("base_url"));
        assert_eq!((mend(200, &failed("1061")), mend(400, r#"{"errorCode":"ValidationError"}"#)), (None, None));
    }
}
