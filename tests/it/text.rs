//! What a text says, what it takes and where it comes from, through the API (T4, T5, T6, S10).

use crate::flow::{delivery, expect, post, shop, wrote};
use backstop_server::testing::Workspace;
use serde_json::{Value, json};

async fn preview(shop: &Workspace, to: &str, text: &str, with_additions: bool) -> Value {
    let body = json!({"to": to, "text": text, "with_additions": with_additions});
    shop.post("/v1/text/preview", body).await.ok()
}

/// The settings of a sandbox, with these.
pub async fn settings(shop: &Workspace, settings: Value) {
    shop.put("/v1/settings", settings).await.ok();
}

/// The text of the newest captured one.
pub async fn newest(shop: &Workspace) -> String {
    let text = shop.outbox("sms").await.pop().expect("a text was captured");
    text["payload"]["text"].as_str().unwrap().to_owned()
}

/// T4: a preview counts the text exactly as given, both sides of each number.
#[tokio::test]
async fn t4_a_preview_counts_what_is_given() {
    let shop = shop().await;
    for (text, encoding, segments, bytes) in [
        ("a".repeat(160), "gsm7", 1, 140),
        ("a".repeat(161), "gsm7", 2, 141),
        ("가".repeat(70), "ucs2", 1, 140),
        ("가".repeat(71), "ucs2", 2, 142),
        ("€".repeat(81), "gsm7", 2, 142),
        ("\u{2019}".to_owned(), "ucs2", 1, 2),
        ("a".repeat(10_000), "gsm7", 66, 8_750),
    ] {
        let counted = preview(&shop, "+14155550123", &text, false).await;
        let expected = json!({
            "route": "capture", "form": "sms", "encoding": encoding, "segments": segments, "bytes": bytes,
            "price": {"amount_micros": 50_000 * segments, "currency": "USD"},
        });
        assert_eq!(counted, expected);
    }
    let wrong = shop.post("/v1/text/preview", json!({"to": "12", "text": ""})).await;
    let fields: Vec<_> = wrong.body["errors"].as_array().unwrap().iter().map(|e| e["field"].clone()).collect();
    assert_eq!((wrong.status, fields), (400, vec![json!("to"), json!("text")]));
}

/// T4: with additions, what is counted is what leaves.
#[tokio::test]
async fn t4_a_preview_with_additions_is_what_leaves() {
    let shop = shop().await;
    for length in [1, 40, 160, 500] {
        let text = "x".repeat(length);
        let counted = preview(&shop, "+14155550123", &format!("Kim: {text}"), true).await;
        let customer = format!("c{length}");
        shop.put_customer(&customer, json!({"phone": "+14155550123"})).await;
        wrote(&shop, &customer, &format!("hello-{length}")).await;
        let id = shop.reply(&customer, &text).await;
        shop.advance(0).await;
        let followup = shop.followup(&id).await;
        let sms = followup["deliveries"].as_array().unwrap().iter().find(|d| d["channel"] == "sms").unwrap().clone();
        assert_eq!(sms["segments"], counted["segments"], "{length}");
    }
}

/// T4, T8: a text says who, what, how to opt out (the first one, where the law asks), and ends with its link.
#[tokio::test]
async fn t4_additions_stand_where_they_belong() {
    let shop = shop().await;
    settings(&shop, json!({"company_name": "Acme", "repeat_gap_ms": 0})).await;
    post(&shop, "r1", json!({"channels": ["text"]})).await.ok();
    shop.advance(0).await;
    let first = newest(&shop).await;
    let lines: Vec<&str> = first.lines().collect();
    assert_eq!(lines[..3], ["[Acme]", "Kim: This is r1.", "Reply STOP to opt out"]);
    let link = format!("{}/l/", shop.url());
    assert!(lines[3].starts_with(&link) && lines[3].len() == link.len() + 20 && lines.len() == 4, "{first}");
    shop.advance(1).await;
    post(&shop, "r2", json!({"channels": ["text"]})).await.ok();
    shop.advance(0).await;
    let second = newest(&shop).await;
    assert!(second.contains("This is r2.") && !second.contains("STOP"), "{second}");
    assert_ne!(second.lines().last(), first.lines().last(), "each text has a link of its own");
    shop.put_customer("sun", json!({"phone": "+821012345678"})).await;
    wrote(&shop, "sun", "hello-sun").await;
    shop.reply("sun", "안녕하세요").await;
    shop.advance(0).await;
    assert!(!newest(&shop).await.contains("STOP"), "no law of that country asks for it");
}

/// T4, T5: a text that is too long is cut between characters and keeps its link; look-alikes save a part.
#[tokio::test]
async fn t4_a_long_text_is_cut_and_keeps_its_link() {
    let shop = shop().await;
    post(&shop, "r1", json!({"text": "\u{201c}한국어\u{201d} ".repeat(200), "channels": ["text"]})).await.ok();
    shop.advance(0).await;
    let text = newest(&shop).await;
    assert!(text.contains('…') && text.lines().last().unwrap().contains("/l/"), "{text}");
    assert_eq!(preview(&shop, "+14155550123", &text, false).await["segments"], 3);
    shop.advance(600_000).await;
    post(&shop, "r2", json!({"text": "It\u{2019}s \u{201c}here\u{201d} \u{2014} ".repeat(9), "channels": ["text"]}))
        .await
        .ok();
    shop.advance(0).await;
    let text = newest(&shop).await;
    assert!(text.contains("It's \"here\" - "), "{text}");
    assert_eq!(preview(&shop, "+14155550123", &text, false).await["encoding"], "gsm7");
}

/// S10: with `link_only` nothing of the answer leaves by text; the email is not changed by it.
#[tokio::test]
async fn s10_a_text_of_the_link_only_says_nothing() {
    let shop = shop().await;
    settings(&shop, json!({"text_content": "link_only"})).await;
    post(&shop, "r1", json!({})).await.ok();
    shop.advance(0).await;
    let text = newest(&shop).await;
    assert!(!text.contains("This is r1") && !text.contains("Kim") && text.contains("/l/"), "{text}");
    let email = shop.outbox("email").await.remove(0);
    assert!(email["payload"]["text"].as_str().unwrap().contains("This is r1."));
}

/// T6: the number of the country's own; numbers are checked and shown as they were given.
#[tokio::test]
async fn t6_a_text_comes_from_the_number_of_its_country() {
    let shop = shop().await;
    let from = async |shop: &Workspace| shop.outbox("sms").await.pop().unwrap()["payload"]["from"].clone();
    settings(&shop, json!({"senders": {"US": "+14155550199", "KR": "+82215880000"}, "repeat_gap_ms": 0})).await;
    assert_eq!(shop.get("/v1/settings").await.ok()["senders"]["KR"], "+82215880000");
    let id = shop.reply("ann", "It arrives today.").await;
    shop.advance(0).await;
    expect(&shop, &id, "fell_back", "no_device").await;
    assert_eq!(
        (from(&shop).await, delivery(&shop.followup(&id).await, "sms")),
        (json!("+14155550199"), "accepted".into())
    );
    shop.put_customer("eve", json!({"phone": "+33612345678"})).await;
    wrote(&shop, "eve", "hello-eve").await;
    shop.reply("eve", "Bonjour").await;
    shop.advance(0).await;
    assert_eq!(from(&shop).await, json!("+12025550100"), "the deployment's");
    for senders in [json!({"us": "+14155550199"}), json!({"US": "14155550199"}), json!({"US": "+1"})] {
        let refused = shop.put("/v1/settings", json!({"senders": senders})).await;
        assert_eq!(refused.status, 400, "{senders}");
    }
}
