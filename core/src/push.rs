//! Is this push ours, and what does it say? Reads whatever a hostile sender may put into a payload.

use backstop_wire::{Grade, PUSH_KEY, Push};
use serde_json::{Map, Value};

use crate::error::Error;

/// The longest payload that is looked at. Real ones have at most 4 KiB.
pub const MAX_PAYLOAD_BYTES: usize = 64 * 1024;
/// What our notification extension adds to a push that it handled, for the self-test.
const EXTENSION_KEY: &str = "backstop_extension";
/// The longest receipt that is kept.
pub(crate) const MAX_RECEIPT_BYTES: usize = 2 * 1024;

/// Reads the JSON of the reserved key, a whole FCM data map, or APNs `userInfo`.
///
/// The reserved key's content is taken by itself only where it cannot be a push of the host app's own: an FCM map has
/// no numbers, and APNs' always has `aps`.
///
/// A push of any version that carries a receipt is ours (W5): what is missing or of another type in a newer version
/// reads as empty. `None` = not ours; leave it to the host app.
pub fn parse_push(payload: &str) -> Option<Push> {
    if payload.len() > MAX_PAYLOAD_BYTES {
        return None;
    }
    // The parser's own depth limit (128) keeps deep input off the stack.
    let Value::Object(mut outer) = serde_json::from_str(payload).ok()? else { return None };
    match outer.remove(PUSH_KEY) {
        Some(Value::Object(inner)) => read(&inner),
        Some(Value::String(text)) => match serde_json::from_str(&text).ok()? {
            Value::Object(inner) => read(&inner),
            _ => None,
        },
        Some(_) => None,
        None if outer.get("v").is_some_and(Value::is_number) && !outer.contains_key("aps") => read(&outer),
        None => None,
    }
}

fn read(fields: &Map<String, Value>) -> Option<Push> {
    let text = |key: &str| fields.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let receipt = text("receipt");
    if !is_receipt(&receipt) {
        return None;
    }
    Some(Push {
        v: fields.get("v").and_then(Value::as_u64).and_then(|v| u32::try_from(v).ok()).unwrap_or_default(),
        followup_id: text("followup_id"),
        receipt,
        conversation_id: text("conversation_id"),
        title: text("title"),
        body: text("body"),
        link: fields.get("link").and_then(Value::as_str).map(str::to_owned),
        collapse_key: text("collapse_key"),
        expires_at: text("expires_at"),
    })
}

/// A push of a self-test: it belongs to no follow-up.
pub(crate) fn is_test(push: &Push) -> bool {
    push.v == 1 && push.followup_id.is_empty()
}

/// Whether the app's notification extension had this push in its hands, which it notes beside our key.
pub(crate) fn through_extension(payload: &str) -> bool {
    let outer: Option<Map<String, Value>> = serde_json::from_str(payload).ok();
    outer.is_some_and(|outer| outer.contains_key(EXTENSION_KEY))
}

/// Whether a text can be a receipt: opaque to the device, but visible ASCII in every version.
pub(crate) fn is_receipt(text: &str) -> bool {
    (1..=MAX_RECEIPT_BYTES).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// Checks what a caller wants to acknowledge.
pub(crate) fn check_ack(receipt: &str, grade: Grade) -> Result<(), Error> {
    if !is_receipt(receipt) {
        return Err(Error::InvalidArgument { name: "receipt", reason: "is not one" });
    }
    if grade == Grade::Unknown {
        return Err(Error::InvalidArgument { name: "grade", reason: "must be a grade this SDK knows" });
    }
    Ok(())
}

/// Why, in one word for the server's why-log; an ack is worth more than its reason, so a bad one is left out.
pub(crate) fn detail_word(detail: Option<&str>) -> Option<String> {
    let detail = detail?;
    let fits = (1..=64).contains(&detail.len())
        && detail.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if !fits {
        tracing::warn!("the reason of an ack is left out: give one word of lower-case letters, digits and `_`");
    }
    fits.then(|| detail.to_owned())
}

/// The link of a push if its scheme is one the host app allows; schemes are given without a colon (`https`, `acme`).
/// Nothing else ever leaves: no `javascript:`, no `intent:`, no link without a scheme (P14).
pub(crate) fn allowed_link(push: &Push, schemes: &[&str]) -> Option<String> {
    let link = push.link.as_deref()?;
    if link.len() > 2_048 || link.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return None;
    }
    let (scheme, rest) = link.split_once(':')?;
    let allowed = schemes.iter().any(|allowed| allowed.eq_ignore_ascii_case(scheme));
    let url = url::Url::parse(link).ok().filter(|_| allowed && !rest.is_empty())?;
    // Not every system's own URL type takes more than ASCII.
    Some(if link.is_ascii() { link.to_owned() } else { url.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(link: &str) -> Option<String> {
        let payload = serde_json::json!({"v": 1, "receipt": "r", "link": link}).to_string();
        allowed_link(&parse_push(&payload).expect("ours"), &["https", "acme"])
    }

    /// P11, W5: all three shapes are one push, and a version we never heard of is still acknowledged.
    #[test]
    fn w5_every_shape_and_every_version_with_a_receipt_is_ours() {
        let inner = r#"{"v":1,"followup_id":"fu_1","receipt":"abc","title":"Ann","body":"hi","link":"https://x/"}"#;
        let fcm = serde_json::json!({"backstop": inner, "other": "1"}).to_string();
        let apns = format!(r#"{{"aps":{{"alert":"x"}},"backstop":{inner}}}"#);
        let push = parse_push(inner).expect("the reserved key alone");
        assert_eq!((push.v, push.followup_id.as_str(), push.title.as_str()), (1, "fu_1", "Ann"));
        assert_eq!(parse_push(&fcm), Some(push.clone()));
        assert_eq!(parse_push(&apns), Some(push));
        let newer = parse_push(r#"{"v":7,"receipt":"abc","title":{"rich":true},"extra":[1]}"#).expect("ours");
        assert_eq!((newer.v, newer.receipt.as_str(), newer.title.as_str()), (7, "abc", ""));
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        for other in [
            "",
            "null",
            "[]",
            "\"x\"",
            "{}",
            r#"{"aps":{"alert":"x"}}"#,
            r#"{"backstop":1}"#,
            r#"{"backstop":null,"receipt":"r"}"#,
            r#"{"backstop":"not json"}"#,
            r#"{"backstop":"[]"}"#,
            // The host app's own, in FCM and in APNs.
            r#"{"receipt":"r","v":"1","title":"x"}"#,
            r#"{"aps":{"alert":"x"},"receipt":"r","v":1}"#,
            r#"{"v":1,"receipt":""}"#,
            r#"{"v":1,"receipt":1}"#,
            r#"{"v":1,"receipt":"with space"}"#,
            r#"{"v":1,"receipt":"nul\u0000"}"#,
            r#"{"v":1,"receipt":"\ud800"}"#,
            "{\"receipt\":\"r\"} trailing",
            "{\"receipt\":\"r\"",
        ] {
            assert_eq!(parse_push(other), None, "{other}");
        }
    }

    /// P11: hostile payloads are bounded and never end the process.
    #[test]
    fn p11_hostile_payloads_are_survived() {
        let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
        assert_eq!(parse_push(&deep), None);
        assert_eq!(parse_push(&format!(r#"{{"v":1,"receipt":"r","x":{deep}}}"#)), None);
        assert_eq!(parse_push(&"{\"a\":".repeat(13_000)), None);
        let long = |n: usize| format!(r#"{{"v":1,"receipt":"{}"}}"#, "r".repeat(n));
        assert!(parse_push(&long(MAX_RECEIPT_BYTES)).is_some());
        assert_eq!(parse_push(&long(MAX_RECEIPT_BYTES + 1)), None);
        assert_eq!(parse_push(&format!(r#"{{"v":1,"receipt":"r","x":"{}"}}"#, "x".repeat(MAX_PAYLOAD_BYTES))), None);
        assert_eq!(parse_push(r#"{"receipt":"r","v":1e999}"#), None);
        assert_eq!(parse_push(r#"{"receipt":"r","v":-1}"#).map(|p| p.v), Some(0));
        assert_eq!(parse_push(r#"{"receipt":"r","v":99999999999}"#).map(|p| p.v), Some(0));
    }

    /// P14: only schemes that the host app named lead anywhere.
    #[test]
    fn p14_links_outside_the_allow_list_go_nowhere() {
        for good in ["https://example.com/c/1?a=b#c", "HTTPS://example.com", "acme:chat/1"] {
            assert_eq!(link(good).as_deref(), Some(good));
        }
        for bad in [
            "http://example.com",
            "javascript:alert(1)",
            "java\nscript:alert(1)",
            " https://example.com",
            "//example.com",
            "/chat",
            "intent://x#Intent;end",
            "data:text/html,x",
            "file:///etc/passwd",
            "https:",
            "https://",
            "acme2:x",
            "httpsx://example.com",
            "",
            ":",
            "\u{202e}https://example.com",
        ] {
            assert_eq!(link(bad), None, "{bad:?}");
        }
        assert_eq!(link(&format!("https://example.com/{}", "x".repeat(3_000))), None);
    }
}
