//! When a follow-up starts, joins, splits, ends and waits, over HTTP (D1–D9, S1).

use crate::flow::{Device, delivery, expect, ms, post, presence, read, received, result, sent, shop, wrote};
use backstop_server::testing::{Behaviour, Workspace};
use serde_json::{Value, json};

/// The follow-up's id of an accepted reply.
fn id_of(posted: &Value) -> String {
    posted["followup_id"].as_str().unwrap_or_else(|| panic!("no follow-up: {posted}")).to_owned()
}

/// Whether a further reply finds Ann online.
async fn is_online(shop: &Workspace, message_id: &str) -> bool {
    let posted = post(shop, message_id, json!({"kind": "reply"})).await;
    let online = posted.status == 200;
    assert_eq!(online, posted.body["state"] == "watching");
    online
}

/// D1: a bot's reply starts no text, unless the workspace says so; its email goes.
#[tokio::test]
async fn d1_a_bot_starts_no_text_unless_allowed() {
    for (allowed, text) in [(false, "skipped:bot_author"), (true, "accepted")] {
        let shop = shop().await;
        shop.put("/v1/settings", json!({"bot_text": allowed})).await.ok();
        let bot = json!({"kind": "reply", "author": {"name": "Helper", "kind": "bot"}});
        let id = id_of(&post(&shop, "r1", bot).await.ok());
        let followup = shop.followup(&id).await;
        assert_eq!((delivery(&followup, "sms").as_str(), delivery(&followup, "email").as_str()), (text, "accepted"));
    }
}

/// D2: a reply that landed while the customer was online is watched; unread when they leave, it starts then.
#[tokio::test]
async fn d2_an_unread_reply_starts_when_the_customer_leaves() {
    let shop = shop().await;
    shop.phone("ann", Behaviour::Silent).await;
    presence(&shop, "tab", "active", None).await;
    let posted = post(&shop, "r1", json!({"kind": "reply"})).await;
    assert_eq!(posted.status, 200);
    assert_eq!(posted.body, json!({"followup_id": null, "state": "watching", "reason": "customer_online"}));
    assert_eq!(shop.get("/v1/messages/r1").await.ok()["state"], "watching");
    shop.advance(20_000).await;
    assert!(shop.outbox("push").await.is_empty());
    presence(&shop, "tab", "left", None).await;
    let followup = shop.get("/v1/messages/r1").await.ok();
    let id = id_of(&followup);
    expect(&shop, &id, "awaiting_ack", "").await;
    assert_eq!(ms(&followup["deadline_at"]) - ms(&followup["accepted_at"]), 20_000 + 30_000);
    shop.advance(29_999).await;
    assert_eq!(sent(&shop).await, (0, 0));
    shop.advance(1).await;
    expect(&shop, &id, "fell_back", "no_ack").await;
    assert_eq!(sent(&shop).await, (1, 1));
}

/// D2, D5: read while watched: there never was a follow-up.
#[tokio::test]
async fn d2_a_read_reply_never_starts() {
    let shop = shop().await;
    presence(&shop, "tab", "active", None).await;
    post(&shop, "r1", json!({"kind": "reply"})).await.ok();
    read(&shop, "ann", "r1").await.ok();
    presence(&shop, "tab", "left", None).await;
    shop.advance(3_600_000).await;
    assert_eq!(sent(&shop).await, (0, 0));
    assert_eq!(shop.get("/v1/followups").await.ok()["data"], json!([]));
}

/// D3: idle for 269, 270 and 300 s.
#[tokio::test]
async fn d3_idle_ends_presence_at_270_s() {
    for (idle_ms, online) in [(269_000, true), (269_999, true), (270_000, false), (300_000, false)] {
        let shop = shop().await;
        presence(&shop, "tab", "active", Some(idle_ms)).await;
        assert_eq!(is_online(&shop, "r1").await, online, "{idle_ms}");
    }
}

/// D3, D4: hidden for 269, 270 and 300 s, without a heartbeat.
#[tokio::test]
async fn d3_hidden_ends_presence_at_270_s() {
    for (hidden_ms, online) in [(269_000, true), (269_999, true), (270_000, false), (300_000, false)] {
        let shop = shop().await;
        presence(&shop, "tab", "active", None).await;
        presence(&shop, "tab", "hidden", None).await;
        shop.advance(hidden_ms).await;
        assert_eq!(is_online(&shop, "r1").await, online, "{hidden_ms}");
    }
}

/// D2, D3: a watched reply starts at the very instant at which its reader counts as offline.
#[tokio::test]
async fn d2_watching_ends_by_itself() {
    let shop = shop().await;
    presence(&shop, "tab", "active", None).await;
    presence(&shop, "tab", "hidden", None).await;
    assert!(is_online(&shop, "r1").await);
    shop.advance(269_999).await;
    assert_eq!(shop.get("/v1/messages/r1").await.ok()["state"], "watching");
    shop.advance(1).await;
    let followup = shop.get("/v1/messages/r1").await.ok();
    expect(&shop, &id_of(&followup), "fell_back", "no_device").await;
}

/// D4: a source that was active and says nothing for 60 s is gone; online anywhere is online.
#[tokio::test]
async fn d4_the_dead_mans_switch_and_the_merge() {
    for (silent_ms, online) in [(59_999, true), (60_000, false)] {
        let shop = shop().await;
        presence(&shop, "tab", "active", None).await;
        shop.advance(silent_ms).await;
        assert_eq!(is_online(&shop, "r1").await, online, "{silent_ms}");
    }
    let shop = shop().await;
    presence(&shop, "tab", "active", None).await;
    presence(&shop, "laptop", "active", None).await;
    presence(&shop, "tab", "left", None).await;
    assert!(is_online(&shop, "r1").await, "the laptop is still there");
    presence(&shop, "laptop", "left", None).await;
    assert!(!is_online(&shop, "r2").await);
}

/// D5: reading or writing back cancels what has not left; coming online alone cancels nothing.
#[tokio::test]
async fn d5_reading_and_writing_back_cancel_what_has_not_left() {
    for (act, state, reason) in [
        ("read", "cancelled", "customer_read"),
        ("write", "cancelled", "customer_wrote"),
        ("look", "fell_back", "no_ack"),
    ] {
        let shop = shop().await;
        shop.phone("ann", Behaviour::Silent).await;
        let id = shop.reply("ann", "It arrives today.").await;
        shop.advance(29_999).await;
        match act {
            "read" => drop(read(&shop, "ann", &shop.last_reply()).await.ok()),
            "write" => wrote(&shop, "ann", "thanks").await,
            _ => presence(&shop, "tab", "active", None).await,
        }
        shop.advance(600_000).await;
        expect(&shop, &id, state, reason).await;
        let left = usize::from(act == "look");
        assert_eq!(sent(&shop).await, (left, left), "{act}");
    }
}

/// D5, D8: reading the first of two leaves the second on its own clock.
#[tokio::test]
async fn d5_a_partial_read_leaves_the_rest() {
    let shop = shop().await;
    shop.phone("ann", Behaviour::Silent).await;
    let first = id_of(&post(&shop, "r1", json!({"kind": "reply"})).await.ok());
    shop.advance(10_000).await;
    let second = post(&shop, "r2", json!({"kind": "reply"})).await.ok();
    assert_eq!(id_of(&second), first, "it joins");
    shop.advance(5_000).await;
    read(&shop, "ann", "r1").await.ok();
    expect(&shop, &first, "cancelled", "customer_read").await;
    let rest = shop.get("/v1/messages/r2").await.ok();
    assert_ne!(id_of(&rest), first);
    assert_eq!(ms(&rest["deadline_at"]), ms(&second["accepted_at"]) + 30_000);
    shop.advance(24_999).await;
    assert_eq!(sent(&shop).await, (0, 0));
    shop.advance(1).await;
    assert_eq!(sent(&shop).await, (1, 1));
    let text = shop.outbox("sms").await.remove(0)["payload"]["text"].as_str().unwrap().to_owned();
    assert!(text.contains("This is r2.") && !text.contains("This is r1."), "{text}");
}

/// D6: an outreach goes by text and email only, whatever the presence, and is decided when it is accepted.
#[tokio::test]
async fn d6_an_outreach_goes_by_text_and_email_only() {
    let shop = shop().await;
    shop.phone("ann", Behaviour::Ack).await;
    presence(&shop, "tab", "active", None).await;
    let posted = post(&shop, "r1", json!({"kind": "outreach"})).await;
    assert_eq!((posted.status, posted.body["state"].as_str()), (202, Some("falling_back")));
    assert_eq!(posted.body["deadline_at"], posted.body["accepted_at"]);
    let id = id_of(&posted.body);
    expect(&shop, &id, "fell_back", "outreach").await;
    assert_eq!(shop.followup(&id).await["kind"], "outreach");
    assert_eq!((shop.outbox("push").await.len(), sent(&shop).await), (0, (1, 1)));
    let email_only = post(&shop, "r2", json!({"kind": "outreach", "channels": ["email"]})).await.ok();
    let followup = shop.followup(&id_of(&email_only)).await;
    assert_eq!(
        (delivery(&followup, "sms").as_str(), delivery(&followup, "email").as_str()),
        ("skipped:not_chosen", "accepted")
    );
}

/// D6, S8: without the caller's word the kind follows from who wrote first; data given for answering serves nothing
/// else.
#[tokio::test]
async fn d6_the_kind_follows_from_who_wrote_first() {
    let shop = shop().await;
    let kind = async |customer_id: &str, message_id: &str, more: Value| {
        let mut more = more;
        more["customer_id"] = json!(customer_id);
        more["conversation_id"] = json!(customer_id);
        let posted = post(&shop, message_id, more).await.ok();
        let codes = posted["warnings"].as_array().unwrap().iter().map(|w| w["code"].as_str().unwrap().to_owned());
        let codes: Vec<String> = codes.collect();
        (shop.followup(&id_of(&posted)).await, codes)
    };
    let (reply, warnings) = kind("ann", "r1", json!({})).await;
    assert_eq!((reply["kind"].as_str(), warnings.len()), (Some("reply"), 0));
    shop.put_customer("bob", json!({"email": "bob@example.com", "contact_source": "follow_up"})).await;
    let (outreach, _) = kind("bob", "r2", json!({})).await;
    assert_eq!((outreach["kind"].as_str(), outreach["state"].as_str()), (Some("outreach"), Some("failed")));
    assert_eq!(delivery(&outreach, "email"), "skipped:purpose");
    let (given, warnings) = kind("bob", "r3", json!({"kind": "reply"})).await;
    assert_eq!((given["kind"].as_str(), warnings), (Some("reply"), vec!["no_customer_message".to_owned()]));
    assert_eq!(delivery(&given, "email"), "accepted");
}

/// D7: marketing is refused on this path, by kind and by its mark.
#[tokio::test]
async fn d7_marketing_is_refused() {
    let shop = shop().await;
    for more in
        [json!({"kind": "marketing"}), json!({"text": "(광고) 50 %"}), json!({"text": "  (광고)x", "kind": "reply"})]
    {
        let refused = post(&shop, "r1", more.clone()).await;
        assert_eq!((refused.status, refused.code()), (422, "marketing_refused"), "{more}");
    }
    assert_eq!(shop.get("/v1/messages/r1").await.status, 404);
}

/// D8: a burst is one push under one collapse id, one text, one email, on the clock of its first reply.
#[tokio::test]
async fn d8_a_burst_folds() {
    let shop = shop().await;
    let device = Device::register(&shop, "ann", "t").await;
    let first = post(&shop, "r1", json!({"kind": "reply"})).await.ok();
    shop.advance(10_000).await;
    let second = post(&shop, "r2", json!({"kind": "reply"})).await.ok();
    assert_eq!((&first["followup_id"], &first["deadline_at"]), (&second["followup_id"], &second["deadline_at"]));
    let pushes = shop.outbox("push").await;
    assert_eq!(pushes.len(), 2, "the second updates the first");
    let (old, new) = (received(&pushes[0]), received(&pushes[1]));
    assert_eq!(old["collapse_key"], new["collapse_key"]);
    assert!(new["body"].as_str().unwrap().contains("r1") && new["body"].as_str().unwrap().contains("r2"));
    shop.advance(20_000).await;
    expect(&shop, &id_of(&first), "fell_back", "no_ack").await;
    assert_eq!(sent(&shop).await, (1, 1));
    assert_eq!(shop.followup(&id_of(&first)).await["message_ids"], json!(["r1", "r2"]));
    assert_eq!(device.receipts(&shop).await.len(), 2);
}

/// D8: an ack of the push that showed the first reply makes a follow-up of the rest, due at its own first's time.
#[tokio::test]
async fn d8_an_ack_of_the_first_leaves_the_rest_on_its_own_clock() {
    let shop = shop().await;
    let device = Device::register(&shop, "ann", "t").await;
    let first = id_of(&post(&shop, "r1", json!({"kind": "reply"})).await.ok());
    shop.advance(10_000).await;
    let second = post(&shop, "r2", json!({"kind": "reply"})).await.ok();
    shop.advance(5_000).await;
    let receipts = device.receipts(&shop).await;
    assert_eq!(device.ack(&shop, &receipts[0], "displayed").await, result("accepted", true));
    expect(&shop, &first, "acked", "acked").await;
    assert_eq!(shop.followup(&first).await["message_ids"], json!(["r1"]));
    let rest = shop.get("/v1/messages/r2").await.ok();
    assert_eq!((&rest["message_ids"], rest["state"].as_str()), (&json!(["r2"]), Some("awaiting_ack")));
    assert_eq!(ms(&rest["deadline_at"]), ms(&second["accepted_at"]) + 30_000);
    assert_eq!(shop.outbox("push").await.len(), 2, "a push that shows it is out already");
    assert_eq!(device.ack(&shop, &receipts[1], "displayed").await, result("accepted", true));
    expect(&shop, &id_of(&rest), "acked", "acked").await;
    shop.advance(600_000).await;
    assert_eq!(sent(&shop).await, (0, 0));
}

/// D8: text and email of the next follow-up wait until 180 s after the last ones left; its push does not.
#[tokio::test]
async fn d8_the_next_text_waits_out_the_gap() {
    let shop = shop().await;
    let first = shop.reply("ann", "One.").await;
    expect(&shop, &first, "fell_back", "no_device").await;
    shop.advance(1_000).await;
    shop.phone("ann", Behaviour::Silent).await;
    let second = shop.reply("ann", "Two.").await;
    assert_eq!(shop.outbox("push").await.len(), 1, "the push is not held");
    shop.advance(30_000).await;
    expect(&shop, &second, "falling_back", "no_ack").await;
    shop.advance(180_000 - 31_000 - 1).await;
    assert_eq!(sent(&shop).await, (1, 1), "179.999 s after the first");
    shop.advance(1).await;
    assert_eq!(sent(&shop).await, (2, 2), "180 s");
    expect(&shop, &second, "fell_back", "no_ack").await;
}

/// D9: the same id with the same body is the same follow-up; with another body it is an error.
#[tokio::test]
async fn d9_the_same_reply_never_notifies_twice() {
    let shop = shop().await;
    let first = shop.post_message("r1", "ann", "One.").await;
    let again = shop.post_message("r1", "ann", "One.").await;
    assert_eq!((first.status, &first.body), (again.status, &again.body));
    shop.advance(3_600_000).await;
    assert_eq!(shop.post_message("r1", "ann", "One.").await.body, first.body);
    let conflict = shop.post_message("r1", "ann", "Two.").await;
    assert_eq!((conflict.status, conflict.code()), (409, "message_conflict"));
    assert_eq!(sent(&shop).await, (1, 1));
}

/// The agent takes a reply back, or the company cancels: what has not left stays.
#[tokio::test]
async fn d5_taken_back_and_cancelled_do_not_leave() {
    let shop = shop().await;
    shop.phone("ann", Behaviour::Silent).await;
    let id = shop.reply("ann", "Oops.").await;
    shop.delete(&format!("/v1/messages/{}", shop.last_reply())).await.ok();
    expect(&shop, &id, "cancelled", "message_deleted").await;
    let id = shop.reply("ann", "Never mind.").await;
    shop.post(&format!("/v1/followups/{id}/cancel"), json!({})).await.ok();
    expect(&shop, &id, "cancelled", "cancelled_by_api").await;
    shop.advance(3_600_000).await;
    assert_eq!(sent(&shop).await, (0, 0));
}

/// S1, P10: two independent switches; with both off there is the push only, and the answer says so.
#[tokio::test]
async fn s1_the_switches_are_independent() {
    for (phone_number, email, text, mail) in [
        (false, true, "skipped:switched_off", "accepted"),
        (true, false, "accepted", "skipped:switched_off"),
        (false, false, "skipped:switched_off", "skipped:switched_off"),
    ] {
        let shop = shop().await;
        shop.put("/v1/settings", json!({"phone_number": phone_number, "email": email})).await.ok();
        let posted = post(&shop, "r1", json!({"kind": "reply"})).await.ok();
        let warned = posted["warnings"].as_array().unwrap().iter().any(|w| w["code"] == "no_fallback_route");
        assert_eq!(warned, !phone_number && !email);
        let followup = shop.followup(&id_of(&posted)).await;
        assert_eq!((delivery(&followup, "sms").as_str(), delivery(&followup, "email").as_str()), (text, mail));
        assert_eq!(followup["state"], if warned { "failed" } else { "fell_back" });
    }
}
