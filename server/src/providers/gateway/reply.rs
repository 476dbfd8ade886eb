//! What a gateway's answers mean, and those of whatever stands before it.

use super::wire::{GatewayAnswer, GatewayStatus};
use crate::providers::transport::wait_ms;
use backstop_domain::followup::{OPTED_OUT, Outcome};

/// No answer makes us wait longer.
const MAX_WAIT_MS: i64 = 86_400_000;
const MAX_CODE_CHARS: usize = 64;
const MAX_ID_CHARS: usize = 100;

/// An answer to a send.
pub(super) struct Reply<'a> {
    pub(super) status: u16,
    pub(super) retry_after: Option<&'a str>,
    pub(super) body: &'a [u8],
    pub(super) now_ms: i64,
}

impl Reply<'_> {
    pub(super) fn outcome(&self) -> Outcome {
        let unknown = || Outcome::Unknown { error: format!("http_{}", self.status) };
        let later = |error: String| Outcome::RetryAfter { after_ms: wait_ms(self.retry_after, self.now_ms), error };
        match self.status {
            200..=299 => match serde_json::from_slice(self.body) {
                Ok(answer) => said(answer),
                Err(_) => Outcome::Unknown { error: "unreadable_answer".into() },
            },
            // It did not read the text, and will not read it the next time.
            400 | 413 | 415 | 422 => Outcome::Rejected { error: format!("refused http_{}", self.status) },
            // It may know the id already; or whoever was in between gave up waiting.
            408 | 409 | 499 => unknown(),
            429 => later("too_many 429".into()),
            // Refuses who sends, or is not the gateway: it goes once that is mended.
            300..=499 => later(format!("http_{}", self.status)),
            _ => unknown(),
        }
    }
}

fn said(answer: GatewayAnswer) -> Outcome {
    let code = answer.code.as_deref();
    match answer.status {
        GatewayStatus::Accepted => Outcome::Accepted { provider_id: answer.provider_id.and_then(id) },
        GatewayStatus::Rejected => Outcome::Rejected { error: failure(code) },
        GatewayStatus::Retry => {
            let after_ms = answer.retry_after_ms.map(|ms| ms.clamp(0, MAX_WAIT_MS));
            Outcome::RetryAfter { after_ms, error: with_code("later", code) }
        }
    }
}

/// A gateway's code in our words: it may not say what only we say, of an account for instance.
pub(super) fn failure(code: Option<&str>) -> String {
    match code {
        Some(OPTED_OUT) => OPTED_OUT.into(),
        code => with_code("refused", code),
    }
}

fn with_code(word: &str, code: Option<&str>) -> String {
    let may = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'.');
    match code.filter(|code| (1..=MAX_CODE_CHARS).contains(&code.len()) && code.bytes().all(may)) {
        Some(code) => format!("{word} {code}"),
        None => word.to_owned(),
    }
}

/// An id that can be shown; another one is as good as none.
pub(super) fn id(id: String) -> Option<String> {
    let fits = (1..=MAX_ID_CHARS).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(status: u16, body: &str) -> String {
        let reply = Reply { status, retry_after: Some("7"), body: body.as_bytes(), now_ms: 0 };
        match reply.outcome() {
            Outcome::Accepted { provider_id } => format!("accepted {}", provider_id.unwrap_or_default()),
            Outcome::RetryAfter { after_ms, error } => format!("later {after_ms:?} {error}"),
            other => format!("{} {}", other.label(), other.error().unwrap_or_default()),
        }
    }

    /// T2: recorded answers, and what each becomes.
    #[test]
    fn t2_answers_become_outcomes() {
        let long = format!(r#"{{"status":"accepted","provider_id":"{}"}}"#, "x".repeat(101));
        for (status, body, becomes) in [
            (200, r#"{"status":"accepted","provider_id":"m-1","more":1}"#, "accepted m-1"),
            (201, r#"{"status":"accepted"}"#, "accepted "),
            (200, r#"{"status":"accepted","provider_id":"two words"}"#, "accepted "),
            (200, &long, "accepted "),
            (200, r#"{"status":"rejected","code":"bad_number"}"#, "rejected refused bad_number"),
            (200, r#"{"status":"rejected","code":"opted_out"}"#, "rejected opted_out"),
            (200, r#"{"status":"rejected","code":"Call +14155550123"}"#, "rejected refused"),
            (200, r#"{"status":"rejected","code":"http_401"}"#, "rejected refused http_401"),
            (200, r#"{"status":"rejected"}"#, "rejected refused"),
            (200, r#"{"status":"retry","retry_after_ms":2000,"code":"busy"}"#, "later Some(2000) later busy"),
            (200, r#"{"status":"retry","retry_after_ms":-1}"#, "later Some(0) later"),
            (200, r#"{"status":"retry","retry_after_ms":99999999999}"#, "later Some(86400000) later"),
            (200, r#"{"status":"retry"}"#, "later None later"),
            (200, r#"{"status":"sent"}"#, "unknown unreadable_answer"),
            (200, "<html>Welcome to the hotel</html>", "unknown unreadable_answer"),
            (204, "", "unknown unreadable_answer"),
            (302, "", "later Some(7000) http_302"),
            (400, "", "rejected refused http_400"),
            (422, r#"{"detail":[]}"#, "rejected refused http_422"),
            (401, "", "later Some(7000) http_401"),
            (404, "", "later Some(7000) http_404"),
            (408, "", "unknown http_408"),
            (409, "", "unknown http_409"),
            (429, "", "later Some(7000) too_many 429"),
            (500, r#"{"status":"rejected"}"#, "unknown http_500"),
            (503, "", "unknown http_503"),
            (101, "", "unknown http_101"),
        ] {
            assert_eq!(outcome(status, body), becomes, "{status} {body}");
        }
    }
}
