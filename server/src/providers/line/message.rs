//! What a text looks like on LINE, and the names it goes by there.

use crate::providers::{Envelope, LineMessage};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use unicode_segmentation::UnicodeSegmentation;

/// LINE's bound of a text, in UTF-16 units.
const MAX_TEXT_UNITS: usize = 5_000;
/// Of what stands in for a bubble where none can be shown: in the notification, on old clients.
const MAX_ALT_UNITS: usize = 400;
/// Of a bubble, in bytes of JSON; LINE's is 30 KB.
const MAX_BUBBLE_BYTES: usize = 28_000;
const MAX_LABEL_UNITS: usize = 20;
const MAX_LINK_CHARS: usize = 1_000;

/// One message: a bubble with a button where there is a link, else a text.
pub(super) fn messages(line: &LineMessage) -> Value {
    let text = match line.text.trim() {
        // LINE refuses an empty text.
        "" => "…".into(),
        text => cut(text, MAX_TEXT_UNITS),
    };
    let Some(link) = &line.link else { return json!([{ "type": "text", "text": text }]) };
    let bubble = bubble(&text, &line.label, link);
    let is_web = ["https://", "http://"].iter().any(|scheme| link.starts_with(scheme));
    let fits = link.chars().count() <= MAX_LINK_CHARS && bubble.to_string().len() <= MAX_BUBBLE_BYTES;
    match is_web && fits && !line.label.trim().is_empty() {
        true => json!([{ "type": "flex", "altText": with_link(&text, link, MAX_ALT_UNITS), "contents": bubble }]),
        false => json!([{ "type": "text", "text": with_link(&text, link, MAX_TEXT_UNITS) }]),
    }
}

/// The text, and one button below it.
fn bubble(text: &str, label: &str, link: &str) -> Value {
    let action = json!({ "type": "uri", "label": short(label), "uri": link });
    json!({
        "type": "bubble",
        "body": {
            "type": "box",
            "layout": "vertical",
            "contents": [{ "type": "text", "text": text, "wrap": true }],
        },
        "footer": {
            "type": "box",
            "layout": "vertical",
            "contents": [{ "type": "button", "style": "link", "height": "sm", "action": action }],
        },
    })
}

/// A label that is too long is its first word.
fn short(label: &str) -> String {
    let label = label.trim();
    match label.split_whitespace().next() {
        Some(word) if units(label) > MAX_LABEL_UNITS => cut(&format!("{word}…"), MAX_LABEL_UNITS),
        _ => label.to_owned(),
    }
}

/// The link stays whole, unless it alone is too long.
fn with_link(text: &str, link: &str, max_units: usize) -> String {
    let taken = units(link) + 1;
    match max_units.checked_sub(taken) {
        Some(left) if left > 0 => format!("{}\n{link}", cut(text, left)),
        _ => cut(text, max_units),
    }
}

/// At most so many UTF-16 units, cut between two characters as people see them.
fn cut(text: &str, max_units: usize) -> String {
    if units(text) <= max_units {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut left = max_units.saturating_sub(1);
    for grapheme in text.graphemes(true) {
        let Some(rest) = left.checked_sub(units(grapheme)) else { break };
        left = rest;
        kept.push_str(grapheme);
    }
    kept.push('…');
    kept
}

fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

/// The same for each repeat of one effect: LINE carries it out once.
pub(super) fn retry_key(envelope: &Envelope) -> String {
    let digest = Sha256::new().chain_update(&envelope.workspace).chain_update([0]).chain_update(&envelope.effect_key);
    let digest: [u8; 32] = digest.finalize().into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

/// How LINE is told a number: hexadecimal SHA-256 of its E.164 form.
pub(super) fn number_hash(e164: &str) -> String {
    use std::fmt::Write as _;
    Sha256::digest(e164).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str, link: Option<&str>) -> LineMessage {
        LineMessage { user_id: None, text: text.into(), link: link.map(str::to_owned), label: "Answer".into() }
    }

    /// T8: the link is a button, and stands in what is shown where no button can be.
    #[test]
    fn t8_a_link_is_a_button_that_degrades() {
        let sent = messages(&line("[Acme]\nMina: on its way", Some("https://b.test/l/x")));
        assert_eq!(sent[0]["type"], "flex");
        assert_eq!(sent[0]["altText"], "[Acme]\nMina: on its way\nhttps://b.test/l/x");
        assert_eq!(sent[0]["contents"]["body"]["contents"][0]["text"], "[Acme]\nMina: on its way");
        let action = &sent[0]["contents"]["footer"]["contents"][0]["action"];
        assert_eq!(*action, json!({ "type": "uri", "label": "Answer", "uri": "https://b.test/l/x" }));
        assert_eq!(
            (short("Continue the conversation"), short(" 会話を続ける")),
            ("Continue…".into(), "会話を続ける".into())
        );
        let long = messages(&line(&"가".repeat(500), Some("https://b.test/l/x")));
        let alt = long[0]["altText"].as_str().unwrap();
        assert!(units(alt) == 400 && alt.ends_with("…\nhttps://b.test/l/x"), "{alt}");
        assert_eq!(messages(&line("hi", None)), json!([{ "type": "text", "text": "hi" }]));
        assert_eq!(messages(&line(" \n", None))[0]["text"], "…");
        // What a button cannot hold stays in the text.
        let app = messages(&line("hi", Some("myshop://c/1")));
        assert_eq!(app, json!([{ "type": "text", "text": "hi\nmyshop://c/1" }]));
        let big = messages(&line(&"\u{1}".repeat(5_000), Some("https://b.test/l/x")));
        assert_eq!(big[0]["type"], "text");
        assert_eq!(units(big[0]["text"].as_str().unwrap()), 5_000);
        let endless = messages(&line("hi", Some(&format!("https://b.test/{}", "x".repeat(6_000)))));
        assert_eq!(endless, json!([{ "type": "text", "text": "hi" }]));
    }

    /// T4: 5,000 UTF-16 units, and no character is cut in two.
    #[test]
    fn t4_a_text_is_cut_between_characters() {
        let says = |text: &str| messages(&line(text, None))[0]["text"].as_str().unwrap().to_owned();
        assert_eq!(says(&"a".repeat(5_000)), "a".repeat(5_000));
        assert_eq!(says(&"a".repeat(5_001)), format!("{}…", "a".repeat(4_999)));
        // Eleven units each.
        let family = "👨\u{200d}👩\u{200d}👧\u{200d}👦";
        assert_eq!(says(&family.repeat(455)), format!("{}…", family.repeat(454)));
    }

    /// T2: one effect has one key, in every repeat; another has another.
    #[test]
    fn t2_a_retry_key_is_the_effects() {
        let of = |workspace: &str, effect: &str, attempt| {
            retry_key(&Envelope {
                workspace: workspace.into(),
                followup_id: "fu_1".into(),
                effect_key: effect.into(),
                attempt,
                at_ms: i64::from(attempt),
            })
        };
        let key = of("shop", "fu_1:line", 1);
        assert_eq!(key, of("shop", "fu_1:line", 2));
        assert!(uuid::Uuid::parse_str(&key).is_ok() && key.len() == 36, "{key}");
        assert_ne!(key, of("shop", "fu_2:line", 1));
        assert_ne!(key, of("shopf", "u_1:line", 1));
    }

    /// The example of LINE's documentation.
    #[test]
    fn a_number_is_hashed_as_line_hashes_it() {
        let documented = "d41e0ad70dddfeb68f149ad6fc61574b9c5780ab7bcb2fba5517771ffbb2409c";
        assert_eq!(number_hash("+818000001234"), documented);
    }
}
