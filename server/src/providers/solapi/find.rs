//! Asking Solapi after a text: by its id where there is one, else by the number and what we named it.

use super::number::national;
use super::reply::is_id;
use super::status::{Meaning, meaning, parse};
use crate::providers::TextQuery;
use backstop_domain::Ms;
use backstop_domain::followup::Found;
use jiff::Timestamp;
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Texts that are looked through: far more than anybody is sent within minutes.
const PAGE_SIZE: usize = 100;
/// Clocks and queues within Solapi.
const MARGIN_MS: Ms = 60_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    #[serde(default)]
    message_id: Option<String>,
    #[serde(default)]
    status_code: Option<String>,
    #[serde(default)]
    custom_fields: Option<Map<String, Value>>,
    #[serde(default)]
    date_created: Option<String>,
}

/// The question, as the address of a page. Not by date: a clock that is off would hide the text.
pub(super) fn ask(query: &TextQuery<'_>, url: &mut Url) {
    let mut fields = url.query_pairs_mut();
    match query.provider_id.filter(|id| is_id(id)) {
        Some(group) if group.starts_with('G') => fields.append_pair("groupId", group),
        Some(message) => fields.append_pair("messageId", message),
        None => fields.append_pair("to", &national(query.to).unwrap_or_default()),
    };
    fields.append_pair("limit", &PAGE_SIZE.to_string());
}

/// What the page says. Absent is what it rules out: a whole page of the number's texts that reaches back beyond ours.
pub(super) fn found(page: &[u8], date: Option<&str>, query: &TextQuery<'_>) -> Found {
    let Some(messages) = messages(page) else { return Found::Unclear };
    if let Some(ours) = messages.iter().find(|message| message.is(query)) {
        return ours.fate();
    }
    // An id that it gave itself and does not know: its lists are behind.
    if query.provider_id.is_some() {
        return Found::Unclear;
    }
    // By Solapi's own clock, so that ours may be wrong.
    let Some(since) = date.and_then(at_rfc2822).map(|now| now - query.age_ms - MARGIN_MS) else {
        return Found::Unclear;
    };
    let recent = |message: &Message| message.date_created.as_deref().and_then(at).is_none_or(|at| at >= since);
    let cut_off = messages.len() >= PAGE_SIZE && messages.iter().all(recent);
    let nameless = |message: &&Message| message.custom_fields.is_none() && recent(message);
    if cut_off || messages.iter().any(|message| nameless(&message)) { Found::Unclear } else { Found::Absent }
}

/// By id, as documented; or in a row.
fn messages(page: &[u8]) -> Option<Vec<Message>> {
    // An object, whole, unread fields too: of a page with broken bytes in it nobody knows what it would have said.
    let mut whole = serde_json::from_slice::<Map<String, Value>>(page).ok()?;
    let list = match whole.remove("messageList")? {
        Value::Object(by_id) => by_id.into_iter().map(|(_, message)| message).collect(),
        Value::Array(row) => row,
        _ => return None,
    };
    list.into_iter().map(|message| serde_json::from_value(message).ok()).collect()
}

impl Message {
    fn is(&self, query: &TextQuery<'_>) -> bool {
        let named = |name: &str| self.custom_fields.as_ref().and_then(|fields| fields.get(name)?.as_str());
        named("followup") == Some(query.followup_id) && named("attempt") == Some(query.attempt.to_string().as_str())
    }

    fn fate(&self) -> Found {
        let provider_id = self.message_id.clone().filter(|id| is_id(id));
        let code = self.status_code.as_deref().and_then(parse);
        let Some(code) = code else { return Found::Taken { provider_id } };
        match meaning(code) {
            Some(Meaning::Delivered) => Found::Delivered { provider_id },
            Some(Meaning::Taken) | None => Found::Taken { provider_id },
            Some(failed) => Found::Failed { provider_id, error: failed.word(code) },
        }
    }
}

fn at(text: &str) -> Option<Ms> {
    text.parse::<Timestamp>().ok().map(|at| at.as_millisecond())
}

/// As in HTTP's `Date`.
fn at_rfc2822(text: &str) -> Option<Ms> {
    jiff::fmt::rfc2822::parse(text).ok().map(|at| at.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: &str = "Sun, 22 Nov 2026 18:00:00 GMT";
    const RECENT: &str = "2026-11-22T17:59:30.000Z";
    const FOLLOWUP: &str = "fu_0000000000001";

    fn query(provider_id: Option<&'static str>) -> TextQuery<'static> {
        let is_it = &|_: &str| false;
        TextQuery { to: "+821012345678", age_ms: 45_000, is_it, provider_id, followup_id: FOLLOWUP, attempt: 2 }
    }

    fn message(id: &str, attempt: &str, code: &str, created: &str) -> (String, Value) {
        let named = json!({"workspace": "shop", "followup": FOLLOWUP, "attempt": attempt});
        let message = json!({"messageId": id, "statusCode": code, "customFields": named, "dateCreated": created});
        (id.to_owned(), message)
    }

    fn look(messages: Vec<(String, Value)>, date: Option<&str>, provider_id: Option<&'static str>) -> Found {
        let by_id: Map<String, Value> = messages.into_iter().collect();
        let page = json!({"startKey": null, "limit": 100, "messageList": by_id}).to_string();
        found(page.as_bytes(), date, &query(provider_id))
    }

    /// P8: found with its fate by what we named it; absent only where the page rules it out.
    #[test]
    fn a_page_says_what_became_of_a_text() {
        let provider_id = || Some("M2".to_owned());
        let ours = |code| look(vec![message("M1", "1", "4000", RECENT), message("M2", "2", code, RECENT)], None, None);
        assert_eq!(ours("2000"), Found::Taken { provider_id: provider_id() });
        assert_eq!(ours("3000"), Found::Taken { provider_id: provider_id() });
        assert_eq!(ours("TEST1000"), Found::Taken { provider_id: provider_id() });
        assert_eq!(ours("4000"), Found::Delivered { provider_id: provider_id() });
        assert_eq!(ours("3107"), Found::Failed { provider_id: provider_id(), error: "blocked".into() });
        assert_eq!(look(vec![], Some(NOW), None), Found::Absent);
        assert_eq!(look(vec![message("M1", "1", "4000", RECENT)], Some(NOW), None), Found::Absent);
        assert_eq!(look(vec![], None, None), Found::Unclear, "without Solapi's time nothing is ruled out");
        assert_eq!(look(vec![], Some(NOW), Some("M2")), Found::Unclear, "it gave that id itself");
    }

    /// P8: a text without a name, a page too short, or what is no page at all: it does not say.
    #[test]
    fn what_may_hide_it_is_unclear() {
        let nameless = |created: &str| ("M9".to_owned(), json!({"messageId": "M9", "dateCreated": created}));
        assert_eq!(look(vec![nameless(RECENT)], Some(NOW), None), Found::Unclear);
        assert_eq!(look(vec![nameless("2026-11-22T17:58:14Z")], Some(NOW), None), Found::Absent, "it went before ours");
        let full = |created: &str| (0..PAGE_SIZE).map(|n| message(&format!("M{n}"), "9", "4000", created)).collect();
        assert_eq!(look(full(RECENT), Some(NOW), None), Found::Unclear);
        let mut reaching_back: Vec<_> = full(RECENT);
        reaching_back[7] = message("M7", "9", "4000", "2026-11-22T17:58:14Z");
        assert_eq!(look(reaching_back, Some(NOW), None), Found::Absent);
        let strange = [
            "",
            "<html>",
            "{}",
            r#"{"messageList":1}"#,
            r#"{"messageList":[1]}"#,
            "{\"messageList\":{},\"x\":\"\\ud800\"}",
        ];
        for strange in strange {
            assert_eq!(found(strange.as_bytes(), Some(NOW), &query(None)), Found::Unclear, "{strange}");
        }
    }

    #[test]
    fn the_question_is_by_id_or_by_number() {
        let asked = |provider_id| {
            let mut url = Url::parse("https://api.solapi.com/messages/v4/list").unwrap();
            ask(&query(provider_id), &mut url);
            url.query().unwrap().to_owned()
        };
        assert_eq!(asked(None), "to=01012345678&limit=100");
        assert_eq!(asked(Some("M4V1")), "messageId=M4V1&limit=100");
        assert_eq!(asked(Some("G4V1")), "groupId=G4V1&limit=100");
        assert_eq!(asked(Some("../&x=1")), "to=01012345678&limit=100");
    }
}
