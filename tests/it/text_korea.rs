//! Texts to Korea: what they take by the preview, and that what leaves is that (T4, T5).

use crate::flow::{shop, wrote};
use crate::text::settings;
use backstop_server::testing::Workspace;
use serde_json::{Value, json};

const SUN: &str = "+821012345678";

async fn preview(shop: &Workspace, text: &str, with_additions: bool) -> Value {
    let body = json!({"to": SUN, "text": text, "with_additions": with_additions});
    shop.post("/v1/text/preview", body).await.ok()
}

/// Form, parts and bytes of the preview.
async fn taken(shop: &Workspace, text: &str) -> (String, u64, u64) {
    let counted = preview(shop, text, false).await;
    assert_eq!((&counted["route"], &counted["encoding"]), (&json!("capture"), &json!("cp949")));
    let number = |field: &str| counted[field].as_u64().unwrap();
    (counted["form"].as_str().unwrap().to_owned(), number("segments"), number("bytes"))
}

/// A shop that calls itself `company`, with Sun, who wrote from Korea.
async fn seoul(company: &str) -> Workspace {
    let shop = shop().await;
    settings(&shop, json!({"company_name": company, "repeat_gap_ms": 0})).await;
    shop.put_customer("sun", json!({"phone": SUN, "locale": "ko"})).await;
    wrote(&shop, "sun", "hello-sun").await;
    shop
}

/// What leaves when this is answered, whatever its form.
async fn sent(shop: &Workspace, text: &str) -> Value {
    let followup = shop.reply("sun", text).await;
    shop.advance(0).await;
    let mut sends = shop.outbox("sms").await;
    sends.extend(shop.outbox("lms").await);
    sends.into_iter().find(|send| send["followup_id"] == followup.as_str()).expect("a text was captured")
}

/// T4: 90 bytes, 140 with the other profile, 2,000; both sides of each.
#[tokio::test]
async fn t4_korean_texts_are_counted_in_bytes() {
    let shop = shop().await;
    let is = |form: &str, segments, bytes| (form.to_owned(), segments, bytes);
    assert_eq!(taken(&shop, &"가".repeat(45)).await, is("sms", 1, 90));
    assert_eq!(taken(&shop, &format!("{}a", "가".repeat(45))).await, is("lms", 1, 91));
    assert_eq!(taken(&shop, &"가".repeat(1_000)).await, is("lms", 1, 2_000));
    assert_eq!(taken(&shop, &format!("{}a", "가".repeat(1_000))).await, is("lms", 2, 2_001));
    settings(&shop, json!({"sms_profile": "kr-140"})).await;
    assert_eq!(taken(&shop, &"가".repeat(70)).await, is("sms", 1, 140));
    assert_eq!(taken(&shop, &format!("{}a", "가".repeat(70))).await, is("lms", 1, 141));
    let wrong = shop.put("/v1/settings", json!({"sms_profile": "kr-80"})).await;
    assert_eq!((wrong.status, &wrong.body["errors"][0]["field"]), (400, &json!("sms_profile")));
    let abroad = shop.post("/v1/text/preview", json!({"to": "+14155550123", "text": "가"})).await.ok();
    assert_eq!(abroad["encoding"], "ucs2", "relays of Korea are for Korea");
}

/// T4, T8: what leaves is what the preview with additions says, on both sides of an SMS, and ends with its link.
#[tokio::test]
async fn t4_what_leaves_to_korea_is_what_the_preview_says() {
    let shop = seoul("한빛상점").await;
    let frame = preview(&shop, "가", true).await["bytes"].as_u64().unwrap() - 2;
    let room = 90 - frame as usize;
    for (text, form) in [("a".repeat(room), "sms"), ("a".repeat(room + 1), "lms"), ("가나다라".repeat(300), "lms")]
    {
        let counted = preview(&shop, &text, true).await;
        assert_eq!((counted["form"].as_str(), &counted["segments"]), (Some(form), &json!(1)), "{text}");
        // Kim's name stands before the answer; the preview knows of no author.
        let answer = text.strip_prefix("aaaaa").unwrap_or(&text);
        let send = sent(&shop, answer).await;
        assert_eq!(send["channel"], form, "{send}");
        let text = send["payload"]["text"].as_str().unwrap();
        assert!(text.starts_with("[한빛상점]\nKim: "), "{text}");
        assert!(text.lines().last().unwrap().starts_with(&format!("{}/l/", shop.url())), "{text}");
        assert_eq!(taken(&shop, text).await.0, form);
        let subject = (form == "lms").then_some("한빛상점");
        assert_eq!(send["payload"]["subject"].as_str(), subject, "{send}");
        shop.advance(1).await;
    }
}

/// T5: a text is never sent broken, nor with `&#…;`; where nothing of it can be read there, it says that there is one.
#[tokio::test]
async fn t5_korean_texts_are_never_broken() {
    let shop = seoul("Café 🍞").await;
    let send = sent(&shop, "네 👍 \u{1112}\u{1161}\u{11ab}글 ₩9,000 – piñata").await;
    let text = send["payload"]["text"].as_str().unwrap();
    assert!(text.starts_with("[Cafe]\nKim: 네 한글 ￦9,000 - pinata\n"), "{text}");
    for nothing in ["👍", "สวัสดีครับ"] {
        shop.advance(1).await;
        let send = sent(&shop, nothing).await;
        let text = send["payload"]["text"].as_str().unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.len() == 3 && lines[1].contains("답변") && !text.contains('?'), "{text}");
    }
}
