//! Calls of LINE: proven by their signature, then read event by event.

use super::SIGNATURE_HEADER;
use super::config::is_user_id;
use crate::providers::{Block, Call, Envelope, Extent, InboundText, Refused, Report, ReportWord, Word};
use aws_lc_rs::hmac;
use backstop_domain::ids::FollowupId;
use backstop_domain::text::Way;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

/// Begins every tag of ours: other systems may send by the same account.
const TAG: &str = "bs";

/// What is read of a call; LINE adds fields without notice.
#[derive(Deserialize)]
struct Body {
    destination: String,
    events: Vec<Value>,
}

/// The events that concern us. A sticker or an image is no text, and there is nothing to keep of it.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event {
    Delivery { delivery: Delivery },
    Message { source: Source, message: Message },
    Follow { source: Source },
    Unfollow { source: Source },
}

#[derive(Deserialize)]
struct Delivery {
    data: String,
}

/// Groups and rooms are no customers.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Source {
    User {
        #[serde(rename = "userId")]
        user_id: String,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Message {
    Text {
        id: String,
        text: String,
    },
    #[serde(other)]
    Other,
}

/// Reads a call whose signature is right.
pub(super) fn read(channel_secret: &str, bot_user_id: &str, call: &Call<'_>) -> Result<Vec<Word>, Refused> {
    let refused = || Refused { url: call.path_and_query.split('?').next().unwrap_or_default().to_owned() };
    let given = call.header(SIGNATURE_HEADER).and_then(|given| STANDARD.decode(given).ok()).ok_or_else(refused)?;
    hmac::verify(&key(channel_secret), call.body, &given).map_err(|_| refused())?;
    let Ok(body) = serde_json::from_slice::<Body>(call.body) else { return Ok(Vec::new()) };
    if body.destination != bot_user_id {
        return Ok(Vec::new());
    }
    Ok(body.events.into_iter().filter_map(|event| word(serde_json::from_value(event).ok()?, bot_user_id)).collect())
}

fn word(event: Event, bot_user_id: &str) -> Option<Word> {
    let user = |source: Source| match source {
        Source::User { user_id } => Some(user_id).filter(|id| is_user_id(id)),
        Source::Other => None,
    };
    let block = |who: String, is_lifted| Word::Block(Block { way: Way::Line, who, is_lifted });
    match event {
        Event::Delivery { delivery } => delivered(&delivery.data).map(Word::Report),
        Event::Follow { source } => user(source).map(|who| block(who, true)),
        Event::Unfollow { source } => user(source).map(|who| block(who, false)),
        Event::Message { source, message: Message::Text { id, text } } => user(source).map(|from| {
            let (to, keyword) = (bot_user_id.to_owned(), None);
            Word::Text(InboundText { way: Way::Line, id: Some(id), from, to, text, keyword, extent: Extent::Whole })
        }),
        Event::Message { message: Message::Other, .. } => None,
    }
}

/// Names the try, so that a report finds its place: 16 to 100 characters.
pub(super) fn tag(envelope: &Envelope) -> String {
    format!("{TAG}.{}.{}.{}", envelope.workspace, envelope.followup_id, envelope.attempt)
}

fn delivered(tag: &str) -> Option<Report> {
    let mut parts = tag.split('.');
    let (ours, workspace) = (parts.next()?, parts.next()?);
    let (followup, attempt) = (FollowupId::parse(parts.next()?)?, parts.next()?.parse().ok()?);
    (ours == TAG && parts.next().is_none()).then(|| Report {
        workspace: workspace.to_owned(),
        followup,
        attempt,
        to: None,
        provider_id: None,
        word: ReportWord::Delivered,
    })
}

pub(super) fn signature(channel_secret: &str, body: &[u8]) -> String {
    STANDARD.encode(hmac::sign(&key(channel_secret), body))
}

fn key(channel_secret: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, channel_secret.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderMap;
    use serde_json::json;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const BOT: &str = "U00000000000000000000000000000b07";
    const USER: &str = "U0123456789abcdef0123456789abcdef";

    fn heard(body: &str, signature: Option<&str>) -> Result<Vec<Word>, Refused> {
        let headers: HeaderMap =
            signature.map(|s| (SIGNATURE_HEADER.parse().unwrap(), s.parse().unwrap())).into_iter().collect();
        read(SECRET, BOT, &Call { path_and_query: "/in/line/U?x=1", headers: &headers, body: body.as_bytes() })
    }

    fn signed(body: &Value) -> Vec<Word> {
        let body = body.to_string();
        heard(&body, Some(&signature(SECRET, body.as_bytes()))).unwrap()
    }

    fn events(events: &Value) -> Vec<Word> {
        signed(&json!({ "destination": BOT, "events": events }))
    }

    /// W2: only who knows the channel's secret is heard; the console's "verify" is a call without events.
    #[test]
    fn w2_a_call_is_lines_by_its_signature() {
        let body = format!(r#"{{"destination":"{BOT}","events":[]}}"#);
        let right = signature(SECRET, body.as_bytes());
        assert!(heard(&body, Some(&right)).is_ok_and(|words| words.is_empty()));
        let refused = Err(Refused { url: "/in/line/U".into() });
        for (body, given) in [
            (body.as_str(), None),
            (&body, Some("")),
            (&body, Some("not base64!")),
            (&body, Some(&right[..20])),
            (&body, Some(&signature("other", body.as_bytes()))),
            (&body[1..], Some(&right)),
        ] {
            assert_eq!(heard(body, given), refused, "{given:?}");
        }
        for strange in ["", "[]", "{}", "\u{0}", r#"{"destination":1}"#] {
            let signature = signature(SECRET, strange.as_bytes());
            assert_eq!(heard(strange, Some(&signature)), Ok(Vec::new()), "{strange}");
        }
    }

    /// W2, T2: a delivery names its try by the tag that was given with the send; a tag that is not ours says nothing.
    #[test]
    fn w2_a_delivery_finds_its_try() {
        let id = FollowupId(1_795_370_400_000 << 20);
        let envelope = |workspace: &str, attempt| Envelope {
            workspace: workspace.into(),
            followup_id: id.to_string(),
            effect_key: String::new(),
            attempt,
            at_ms: 0,
        };
        let (shortest, longest) = (tag(&envelope("a", 1)), tag(&envelope(&"w".repeat(64), u32::MAX)));
        assert!(shortest.len() >= 16 && longest.len() <= 100, "{shortest} {longest}");
        let delivery =
            |data: &str| events(&json!([{ "type": "delivery", "mode": "active", "delivery": { "data": data } }]));
        let report = Report {
            workspace: "shop".into(),
            followup: id,
            attempt: 2,
            to: None,
            provider_id: None,
            word: ReportWord::Delivered,
        };
        let tag = tag(&envelope("shop", 2));
        assert_eq!(delivery(&tag), [Word::Report(report)]);
        let hash = "d41e0ad70dddfeb68f149ad6fc61574b9c5780ab7bcb2fba5517771ffbb2409c";
        for strange in ["", hash, &format!("{tag}.3"), &tag[1..], &tag.replace(".2", ".-2"), "bs.shop.fu_1.2"] {
            assert_eq!(delivery(strange), [], "{strange}");
        }
    }

    /// T7, T9: a text is the customer's; a block is of this way alone; what is neither says nothing, and hides nothing.
    #[test]
    fn t9_texts_and_blocks_are_heard() {
        let user = json!({ "type": "user", "userId": USER });
        let text = json!({ "type": "message", "webhookEventId": "01H", "mode": "active", "source": user,
                           "deliveryContext": { "isRedelivery": true },
                           "message": { "id": "468789577898262530", "type": "text", "text": "Still waiting 🙏",
                                        "quoteToken": "q" } });
        let sticker = json!({ "type": "message", "source": user, "message": { "id": "1", "type": "sticker" } });
        let group = json!({ "type": "message", "source": { "type": "group", "groupId": "C1", "userId": USER },
                            "message": { "id": "2", "type": "text", "text": "hello all" } });
        let new_kind = json!({ "type": "somethingNew", "source": user });
        let no_user = json!({ "type": "unfollow", "source": { "type": "user", "userId": "someone" } });
        let heard = events(&json!([
            new_kind, sticker, group, no_user, 7, null, text,
            { "type": "unfollow", "source": user }, { "type": "follow", "source": user, "replyToken": "r" },
        ]));
        let said = Word::Text(InboundText {
            way: Way::Line,
            id: Some("468789577898262530".into()),
            from: USER.into(),
            to: BOT.into(),
            text: "Still waiting 🙏".into(),
            keyword: None,
            extent: Extent::Whole,
        });
        let block = |is_lifted| Word::Block(Block { way: Way::Line, who: USER.into(), is_lifted });
        assert!(heard == [said, block(false), block(true)], "{} words", heard.len());
        let other_bot = signed(&json!({ "destination": USER, "events": [{ "type": "unfollow", "source": user }] }));
        assert_eq!(other_bot, []);
    }
}
