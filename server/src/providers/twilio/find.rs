//! Reading a page of Twilio's texts to one number: whether ours is among them.

use super::reply::{is_failure, word};
use crate::providers::TextQuery;
use backstop_domain::Ms;
use backstop_domain::followup::Found;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Texts that are looked through: far more than anybody is sent within minutes.
pub(super) const PAGE_SIZE: usize = 100;
/// What a trial account puts before every text.
const TRIAL: &str = "Sent from your Twilio trial account - ";
/// Clocks and queues within Twilio.
const MARGIN_MS: Ms = 60_000;

#[derive(Deserialize)]
struct Page {
    messages: Vec<Message>,
}

#[derive(Deserialize)]
struct Message {
    sid: String,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    status: String,
    #[serde(default)]
    direction: String,
    #[serde(default)]
    error_code: Option<u32>,
    #[serde(default)]
    date_created: Option<String>,
}

/// What the page says. It is not filtered by date: a text that waits at Twilio has no date of sending yet. Absent is
/// what the page rules out: whatever went to the number since ours was sent is somebody else's beyond doubt.
pub(super) fn found(page: &[u8], date: Option<&str>, query: &TextQuery<'_>) -> Found {
    // An object, whole, unread fields too: of a page with broken bytes in it nobody knows what it would have said.
    let whole = serde_json::from_slice::<Map<String, Value>>(page).map(Value::Object).and_then(serde_json::from_value);
    let Ok(Page { messages }) = whole else { return Found::Unclear };
    let sent = |message: &&Message| message.direction.starts_with("outbound");
    if let Some(ours) = messages.iter().filter(sent).find(|message| message.is(query)) {
        return ours.fate();
    }
    // By Twilio's own clock, so that ours may be wrong.
    let Some(since) = date.and_then(at).map(|now| now - query.age_ms - MARGIN_MS) else { return Found::Unclear };
    let recent = |message: &Message| message.date_created.as_deref().and_then(at).is_none_or(|at| at >= since);
    let cut_off = messages.len() >= PAGE_SIZE && messages.iter().all(recent);
    let hidden = |message: &&Message| recent(message) && message.body.as_deref().unwrap_or("").trim().is_empty();
    if cut_off || messages.iter().filter(sent).any(|message| hidden(&message)) {
        return Found::Unclear;
    }
    Found::Absent
}

impl Message {
    fn is(&self, query: &TextQuery<'_>) -> bool {
        let body = self.body.as_deref().unwrap_or("");
        (query.is_it)(body) || body.strip_prefix(TRIAL).is_some_and(query.is_it)
    }

    fn fate(&self) -> Found {
        let provider_id = Some(self.sid.chars().take(64).collect());
        match self.status.as_str() {
            "delivered" | "read" => Found::Delivered { provider_id },
            status if is_failure(status) => {
                Found::Failed { provider_id, error: word(self.error_code.unwrap_or(30008)) }
            }
            _ => Found::Taken { provider_id },
        }
    }
}

/// RFC 2822, as in Twilio's fields and in HTTP's `Date`.
fn at(text: &str) -> Option<Ms> {
    jiff::fmt::rfc2822::parse(text).ok().map(|at| at.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn query() -> TextQuery<'static> {
        let (provider_id, followup_id, attempt) = (None, "fu_1", 1);
        TextQuery { to: "+14155550123", age_ms: 0, is_it: &|_: &str| true, provider_id, followup_id, attempt }
    }

    const NOW: &str = "Sun, 22 Nov 2026 18:00:00 GMT";

    fn message(body: &str, status: &str, created: &str) -> Value {
        json!({"sid": "SM1", "body": body, "status": status, "direction": "outbound-api", "error_code": null,
               "date_created": created, "date_sent": null})
    }

    fn look(messages: Vec<Value>, date: Option<&str>) -> Found {
        let page = json!({"messages": messages, "next_page_uri": null}).to_string();
        let is_it = |text: &str| text == "ours /l/x";
        found(page.as_bytes(), date, &TextQuery { age_ms: 45_000, is_it: &is_it, ..query() })
    }

    /// P8: found with its fate; absent only where the page rules it out.
    #[test]
    fn a_page_says_what_became_of_a_text() {
        let recent = "Sun, 22 Nov 2026 17:59:30 +0000";
        let id = || Some("SM1".to_owned());
        let ours = |status| look(vec![message("other", "sent", recent), message("ours /l/x", status, recent)], None);
        for waiting in ["queued", "accepted", "sending", "sent", "scheduled", "a new word"] {
            assert_eq!(ours(waiting), Found::Taken { provider_id: id() }, "{waiting}");
        }
        assert_eq!(ours("delivered"), Found::Delivered { provider_id: id() });
        assert_eq!(ours("failed"), Found::Failed { provider_id: id(), error: "unknown_failure 30008".into() });
        let trial = message(&format!("{TRIAL}ours /l/x"), "sent", recent);
        assert_eq!(look(vec![trial], None), Found::Taken { provider_id: id() });

        assert_eq!(look(vec![], Some(NOW)), Found::Absent);
        assert_eq!(look(vec![message("other", "sent", recent)], Some(NOW)), Found::Absent);
        assert_eq!(look(vec![], None), Found::Unclear, "without Twilio's time nothing is ruled out");
        let inbound = json!({"sid": "SM2", "body": "ours /l/x", "direction": "inbound", "date_created": recent});
        assert_eq!(look(vec![inbound], Some(NOW)), Found::Absent, "the customer quotes it");
    }

    /// P8: a body that was redacted, a page too short, or what is no page at all: it does not say.
    #[test]
    fn what_may_hide_it_is_unclear() {
        let (recent, old) = ("Sun, 22 Nov 2026 17:59:30 +0000", "Sun, 22 Nov 2026 17:58:14 +0000");
        assert_eq!(look(vec![message("", "sent", recent)], Some(NOW)), Found::Unclear);
        assert_eq!(look(vec![message("", "sent", old)], Some(NOW)), Found::Absent, "it went before ours");
        let full = |created| vec![message("other", "sent", created); PAGE_SIZE];
        assert_eq!(look(full(recent), Some(NOW)), Found::Unclear);
        let mut reaching_back = full(recent);
        reaching_back[PAGE_SIZE - 1] = message("other", "sent", old);
        assert_eq!(look(reaching_back, Some(NOW)), Found::Absent);
        let query = TextQuery { to: "+1", ..query() };
        for strange in ["", "<html>", "{}", r#"{"messages":{}}"#, r#"{"messages":[1]}"#, "[[]]"] {
            assert_eq!(found(strange.as_bytes(), Some(NOW), &query), Found::Unclear, "{strange}");
        }
        let broken = b"{\"messages\":[],\"uri\":\"\x98\"}";
        assert_eq!(found(broken, Some(NOW), &query), Found::Unclear);
    }
}
