//! LINE before SMS, by the whole server in the sandbox: one of the two, and why (T1, T2, T7).

use crate::flow::sandbox;
use crate::http_support::{self, Rig};
use backstop_domain::followup::{Channel, Event};
use backstop_domain::ids::FollowupId;
use backstop_server::providers::capture;
use backstop_server::testing::Workspace;
use serde_json::{Value, json};

const PHONE: &str = "+14155550123";
const LINE_USER: &str = "U4af4980629f4a8d4b6a1b7c3b0a4e5d6";

/// A workspace that sends by LINE first, on a clock of its own, and its customer Ann.
async fn by_line(settings: Value) -> Workspace {
    let shop = sandbox().await.workspace().await;
    shop.advance(0).await;
    let mut all = json!({"sns": ["line"], "email": false, "repeat_gap_ms": 0});
    all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    shop.put("/v1/settings", all).await.ok();
    let ann = json!({"phone": PHONE, "line_user_id": LINE_USER, "email": "ann@example.com"});
    shop.put("/v1/customers/ann", ann).await.ok();
    shop
}

async fn behave(shop: &Workspace, channel: &str, behaviour: &str) {
    shop.post(&format!("/sandbox/providers/{channel}"), json!({"behaviour": behaviour})).await.ok();
}

async fn reply(shop: &Workspace, message_id: &str, kind: &str) -> String {
    let body = json!({
        "message_id": message_id, "conversation_id": "chat", "customer_id": "ann", "kind": kind,
        "author": {"name": "Kim"}, "text": "Your parcel leaves today.",
    });
    shop.post("/v1/messages", body).await.ok()["followup_id"].as_str().unwrap().to_owned()
}

/// `channel status` of each way of the text, in their order.
async fn ways(shop: &Workspace, id: &str) -> Vec<String> {
    let followup = shop.followup(id).await;
    let word = |delivery: &Value, key: &str| delivery[key].as_str().unwrap_or_default().to_owned();
    let texts = followup["deliveries"].as_array().unwrap().iter().filter(|d| d["channel"] != "email");
    texts.map(|d| format!("{} {}", word(d, "channel"), word(d, "status"))).collect()
}

async fn sent(shop: &Workspace, channel: &str) -> usize {
    shop.outbox(channel).await.len()
}

/// T1: LINE carries it, and no SMS leaves; without LINE settings, or a LINE user, the SMS does.
#[tokio::test]
async fn t1_line_goes_before_sms_and_alone() {
    let shop = by_line(json!({})).await;
    let id = reply(&shop, "m1", "reply").await;
    assert_eq!(ways(&shop, &id).await, ["line accepted"]);
    let line = &shop.outbox("line").await[0];
    assert_eq!((line["to"].as_str(), sent(&shop, "sms").await), (Some(LINE_USER), 0));
    assert!(line["payload"]["text"].as_str().unwrap().ends_with("Kim: Your parcel leaves today."), "{line}");
    shop.advance(1_000).await;
    shop.put("/v1/customers/ann", json!({"phone": PHONE})).await.ok();
    let id = reply(&shop, "m2", "reply").await;
    assert_eq!(ways(&shop, &id).await, ["sms accepted"]);
    shop.advance(1_000).await;
    shop.put("/v1/customers/ann", json!({"line_user_id": LINE_USER})).await.ok();
    let id = reply(&shop, "m3", "reply").await;
    assert_eq!(ways(&shop, &id).await, ["line accepted"], "LINE needs no number");
}

/// D6: a chat that the agent begins goes by SMS, even where LINE is linked.
#[tokio::test]
async fn d6_outreach_goes_by_sms_alone() {
    let shop = by_line(json!({})).await;
    let id = reply(&shop, "m1", "outreach").await;
    assert_eq!(ways(&shop, &id).await, ["sms accepted"]);
}

/// T2: refused at once, or reported failed later: the SMS follows, once, and the history says why.
#[tokio::test]
async fn t2_an_sms_follows_a_line_message_that_failed() {
    for behaviour in ["reject", "report_failed", "rate_limit"] {
        let shop = by_line(json!({})).await;
        behave(&shop, "line", behaviour).await;
        let id = reply(&shop, "m1", "reply").await;
        shop.advance(1_000).await;
        assert_eq!(ways(&shop, &id).await, ["line failed", "sms accepted"], "{behaviour}");
        shop.advance(600_000).await;
        assert_eq!((sent(&shop, "sms").await, shop.followup(&id).await["state"].as_str()), (1, Some("fell_back")));
        let history = shop.followup(&id).await["history"].clone();
        let led_on = |line: &Value| line["decision"] == "next_way" && line["why"] == "way_failed";
        assert!(history.as_array().unwrap().iter().any(led_on), "{history}");
    }
}

/// T7: how to opt out is said by the first SMS, though a LINE message that failed went before it.
#[tokio::test]
async fn t7_the_first_sms_after_a_line_message_says_how_to_opt_out() {
    let shop = by_line(json!({})).await;
    behave(&shop, "line", "report_failed").await;
    for (message_id, says) in [("m1", true), ("m2", false)] {
        reply(&shop, message_id, "reply").await;
        shop.advance(1_000).await;
        let text = shop.outbox("sms").await.pop().expect("an SMS")["payload"]["text"].to_string();
        assert_eq!(text.contains("Reply STOP to opt out"), says, "{text}");
    }
}

/// T2: nobody knows whether it left: 180 s, then the email decides; both sides of the wait.
#[tokio::test]
async fn t2_an_unknown_line_message_waits_for_its_report() {
    for (email, setting, follows) in
        [(false, "email_decides", true), (true, "email_decides", false), (false, "hold", false), (true, "xms", true)]
    {
        let shop = by_line(json!({"email": email, "sns_unknown": setting})).await;
        behave(&shop, "line", "accept_then_timeout").await;
        let id = reply(&shop, "m1", "reply").await;
        shop.advance(179_999).await;
        assert_eq!(ways(&shop, &id).await, ["line unknown"], "{email} {setting}");
        shop.advance(10_000).await;
        let expected: &[&str] = if follows { &["line unknown", "sms accepted"] } else { &["line unknown"] };
        assert_eq!(ways(&shop, &id).await, expected, "{email} {setting}");
        assert_eq!(sent(&shop, "sms").await, usize::from(follows));
    }
}

/// D5, T2: read after it was closed and another reply came: the failure of its LINE message, told late, is followed by
/// no SMS of what was read. Unread, it is.
#[tokio::test]
async fn d5_what_was_read_is_not_texted_when_its_line_message_fails_late() {
    for read in [true, false] {
        let rig = Rig::new();
        let shop = rig.shop("shop").await;
        rig.put(&shop, "/v1/settings", json!({"sns": ["line"], "repeat_gap_ms": 0})).await.expect(200);
        let lucas = json!({"phone": "+821012345678", "email": "lucas@example.com", "line_user_id": LINE_USER});
        rig.put(&shop, "/v1/customers/lucas", lucas).await.expect(200);
        let first = rig.post(&shop, "/v1/messages", http_support::reply("m-1")).await.expect(202);
        rig.settled(&shop).await;
        rig.advance(300_000);
        rig.post(&shop, "/v1/messages", http_support::reply("m-2")).await.expect(202);
        rig.settled(&shop).await;
        if read {
            let seen = json!({"conversation_id": "c1", "customer_id": "lucas", "message_id": "m-2"});
            rig.post(&shop, "/v1/reads", seen).await.expect(200);
        }
        rig.advance(1_000);
        let ws = rig.registry.by_id(shop.id).await.unwrap().unwrap();
        let id = FollowupId::parse(first["followup_id"].as_str().unwrap()).unwrap();
        let (channel, error) = (Channel::Text, Some("expired".to_owned()));
        let failed = Event::Reported { channel, attempt: 1, delivered: false, provider_id: None, error };
        assert!(rig.engine.reported(&ws, id, failed, None).await.unwrap());
        rig.settled(&shop).await;
        let sent = rig.capture.outbox(&shop.name, Some(capture::Channel::Sms), None).len();
        assert_eq!(sent, usize::from(!read), "read: {read}");
    }
}

/// S1, T1: settings say what is wrong with them.
#[tokio::test]
async fn bad_sns_settings_are_refused() {
    let shop = by_line(json!({})).await;
    for (settings, field) in [
        (json!({"sns": ["xms"]}), "sns"),
        (json!({"sns": ["line", "line"]}), "sns"),
        (json!({"sns_report_wait_ms": 999}), "sns_report_wait_ms"),
        (json!({"sns_unknown": "perhaps"}), "sns_unknown"),
    ] {
        let answer = shop.put("/v1/settings", settings).await;
        assert_eq!(answer.status, 400, "{}", answer.body);
        assert!(answer.body["errors"][0]["field"].as_str().unwrap().starts_with(field), "{}", answer.body);
    }
    for bad in ["u4af4980629f4a8d4b6a1b7c3b0a4e5d6", "U4AF4980629F4A8D4B6A1B7C3B0A4E5D6", "U4af", ""] {
        let answer = shop.put("/v1/customers/ann", json!({"line_user_id": bad})).await;
        assert_eq!(answer.body["errors"][0]["field"], "line_user_id", "{bad}: {}", answer.body);
    }
}
