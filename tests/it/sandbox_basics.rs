//! The sandbox itself: its clock, its phones, its outbox, and bad input to any of them.

use crate::flow::{Device, ann, behave, expect, ms, sandbox, sent, shop, wrote};
use backstop_server::testing::{Behaviour, Sandbox};
use reqwest::Method;
use serde_json::{Value, json};

/// The clock runs until it is turned, then only turning moves it, never back.
#[tokio::test]
async fn the_clock_runs_until_it_is_turned() {
    let shop = sandbox().await.workspace().await;
    let clock = shop.get("/sandbox/clock").await.ok();
    assert_eq!(clock["frozen"], false);
    let first = shop.advance(0).await;
    assert!(ms(&first["now"]) >= ms(&clock["now"]));
    let second = shop.advance(0).await;
    assert_eq!(first["now"], second["now"]);
    let third = shop.advance(1_500).await;
    assert_eq!(ms(&third["now"]) - ms(&second["now"]), 1_500);
    assert_eq!(shop.get("/sandbox/clock").await.ok(), json!({"now": third["now"], "frozen": true}));
    shop.put_customer("ann", ann()).await;
    let posted = shop.post_message("r1", "ann", "Hello.").await.ok();
    assert_eq!(posted["accepted_at"], third["now"], "everything of the workspace lives on its clock");
}

/// One advance at a time: two at once add up, and each decides what is due on its way.
#[tokio::test]
async fn advances_take_turns() {
    let shop = shop().await;
    shop.phone("ann", Behaviour::Silent).await;
    let id = shop.reply("ann", "Hello.").await;
    let start = ms(&shop.advance(0).await["now"]);
    let (one, two, three) = tokio::join!(shop.advance(20_000), shop.advance(20_000), shop.advance(1));
    let last = [one, two, three].iter().map(|stepped| ms(&stepped["now"])).max();
    assert_eq!(last, Some(start + 40_001));
    let followup = shop.followup(&id).await;
    assert_eq!(followup["decided_at"], followup["deadline_at"]);
    assert_eq!(sent(&shop).await, (1, 1));
}

/// W2: a failure report is delivered on a clock that was never turned, too.
#[tokio::test]
async fn w2_reports_come_on_a_running_clock() {
    let shop = sandbox().await.workspace().await;
    shop.put_customer("ann", ann()).await;
    behave(&shop, "email", "report_failed").await;
    let id = shop.reply("ann", "Hello.").await;
    expect(&shop, &id, "fell_back", "no_device").await;
    assert_eq!(crate::flow::delivery(&shop.followup(&id).await, "email"), "failed:report_failed");
}

/// W4: what the sandbox cannot do it says, and nothing happens.
#[tokio::test]
async fn w4_bad_input_is_refused_with_the_field() {
    let shop = shop().await;
    let now = shop.advance(0).await["now"].clone();
    for (path, body, field) in [
        ("/sandbox/clock/advance", json!({"ms": -1}), "ms"),
        ("/sandbox/clock/advance", json!({"ms": 40_000_000_000_i64}), "ms"),
        ("/sandbox/clock/advance", json!({"ms": 1.5}), "ms"),
        ("/sandbox/clock/advance", json!({"ms": "1"}), "ms"),
        ("/sandbox/clock/advance", json!({"ms": i64::MAX}), "ms"),
        ("/sandbox/clock/advance", json!({}), "ms"),
        ("/sandbox/clock/advance", json!({"ms": 1, "s": 1}), "s"),
        ("/sandbox/phones", json!({"customer_id": "", "behaviour": "ack"}), "customer_id"),
        ("/sandbox/phones", json!({"customer_id": "ann", "behaviour": "sing"}), "behaviour"),
        ("/sandbox/phones", json!({"customer_id": "ann", "behaviour": "ack", "ack_after_ms": -1}), "ack_after_ms"),
        ("/sandbox/providers/push", json!({"behaviour": "sing"}), "behaviour"),
        ("/sandbox/providers/push", json!({"behaviour": "reject", "times": 0}), "times"),
        ("/sandbox/providers/sms", json!({"behaviour": "reject", "token": "t"}), "token"),
        ("/sandbox/providers/pigeon", json!({"behaviour": "reject"}), "channel"),
    ] {
        let answer = shop.post(path, body.clone()).await;
        assert_eq!((answer.status, answer.code()), (400, "invalid_request"), "{path} {body}: {}", answer.body);
        assert_eq!(answer.body["errors"][0]["field"], field, "{path} {body}: {}", answer.body);
    }
    for path in ["/sandbox/outbox?channel=pigeon", "/sandbox/outbox?sort=asc"] {
        assert_eq!(shop.get(path).await.status, 400, "{path}");
    }
    assert_eq!(shop.advance(0).await["now"], now);
    assert!(shop.outbox("sms").await.is_empty());
    assert_eq!(shop.get("/sandbox/webhooks").await.ok(), json!({"data": []}));
}

/// Every question takes a backend key of the workspace that it is about; making a workspace takes none.
#[tokio::test]
async fn a_key_opens_its_own_workspace_only() {
    let shop = shop().await;
    let app = format!("Bearer {}", shop.keys().app_key);
    let none: &[(&str, &str)] = &[];
    for (method, path) in [
        (Method::GET, "/sandbox/outbox"),
        (Method::GET, "/sandbox/clock"),
        (Method::GET, "/sandbox/phones"),
        (Method::GET, "/sandbox/webhooks"),
        (Method::DELETE, "/sandbox/workspaces"),
    ] {
        let answer = shop.request_as(method.clone(), path, none, None).await;
        assert_eq!((answer.status, answer.code()), (401, "unauthorized"), "{path}");
        let answer = shop.request_as(method, path, &[("authorization", &app)], None).await;
        assert_eq!((answer.status, answer.code()), (403, "forbidden"), "{path}");
    }
    assert_eq!(shop.request_as(Method::POST, "/sandbox/workspaces", none, None).await.status, 200);
}

/// Every operation that the document gives the sandbox is there, and takes the keys that it says.
#[tokio::test]
async fn the_document_is_true_of_the_sandbox() {
    let shop = shop().await;
    let document = shop.get("/openapi.json").await.ok();
    let mut found = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap().iter().filter(|(_, o)| o["tags"][0] == "sandbox") {
            found += 1;
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let answer = shop.request_as(method.clone(), &path.replace(['{', '}'], ""), &[], None).await;
            let expected = if operation["security"].is_null() { 200 } else { 401 };
            assert_eq!(answer.status, expected, "{method} {path}: {}", answer.body);
        }
    }
    assert_eq!(found, 10);
}

/// The workspace that every sandbox has, with its well-known keys.
#[tokio::test]
async fn the_known_workspace_is_there() {
    let keys = json!({
        "workspace": "sandbox", "api_key": "sk_sandbox", "app_key": "app_sandbox", "identity_secret": "0".repeat(64),
    });
    let shop = sandbox().await.workspace_of(serde_json::from_value(keys).unwrap());
    assert_eq!(shop.get("/v1/settings").await.ok()["phone_number"], true, "S1 is on");
    let device = Device::register(&shop, "walter", "token-of-walter").await;
    assert!(device.id.starts_with("dev_"), "the identity secret is the known one");
}

/// Dropped with everything in it; nobody else notices.
#[tokio::test]
async fn a_dropped_workspace_is_gone() {
    let (shop, other) = (shop().await, shop().await);
    shop.phone("ann", Behaviour::Silent).await;
    shop.reply("ann", "Hello.").await;
    let id = other.reply("ann", "Hello.").await;
    shop.delete("/sandbox/workspaces").await.ok();
    // A key is believed for a second at most.
    assert_eq!(shop.get("/v1/followups").await.code(), "unauthorized");
    expect(&other, &id, "fell_back", "no_device").await;
}

/// Phones are the real SDK: they register through the API, and ack on the workspace's clock.
#[tokio::test]
async fn phones_register_and_ack_on_the_workspace_clock() {
    let shop = shop().await;
    let android = shop.phone("ann", Behaviour::AckAfter(1_000)).await;
    let body = json!({"customer_id": "ann", "behaviour": "silent", "platform": "ios"});
    let ios = shop.post("/sandbox/phones", body).await.ok();
    let listed = shop.get("/sandbox/phones").await.ok();
    assert_eq!(listed["data"], json!([android, ios]));
    let devices = shop.get("/v1/customers/ann/devices").await.ok();
    assert_eq!(devices["data"].as_array().unwrap().len(), 2, "{devices:#}");
    let id = shop.reply("ann", "Hello.").await;
    let pushes = shop.outbox("push").await;
    let of = |phone: &Value| pushes.iter().find(|push| push["device_id"] == phone["device_id"]).unwrap().clone();
    assert_eq!(of(&android)["to"], android["token"]);
    assert_eq!(of(&ios)["payload"]["aps"]["mutable-content"], 1, "{:#}", of(&ios));
    let stepped = shop.advance(999).await;
    assert_eq!((stepped["decided"].as_u64(), stepped["performed"].as_u64()), (Some(0), Some(0)));
    let stepped = shop.advance(1).await;
    assert_eq!((stepped["decided"].as_u64(), stepped["performed"].as_u64()), (Some(1), Some(0)));
    expect(&shop, &id, "acked", "acked").await;
}

/// On a running clock a phone acks by itself, and a question waits for what was committed before it.
#[tokio::test]
async fn on_a_running_clock_a_phone_acks_by_itself() {
    let shop = sandbox().await.workspace().await;
    shop.put_customer("ann", ann()).await;
    shop.phone("ann", Behaviour::Ack).await;
    let id = shop.reply("ann", "Hello.").await;
    expect(&shop, &id, "acked", "acked").await;
}

/// One answer for each behaviour, the latest rule first, for as often as it says.
#[tokio::test]
async fn behaviours_hold_for_whom_and_as_often_as_they_say() {
    let shop = shop().await;
    shop.put_customer("bob", json!({"phone": "+14155550124", "email": "bob@example.com"})).await;
    wrote(&shop, "bob", "hello-bob").await;
    let rule = json!({"behaviour": "reject", "to": "+14155550124", "times": 1});
    shop.post("/sandbox/providers/sms", rule).await.ok();
    let first = shop.reply("bob", "One.").await;
    let ann = shop.reply("ann", "One.").await;
    shop.advance(180_000).await;
    let second = shop.reply("bob", "Two.").await;
    let text = |followup: Value| crate::flow::delivery(&followup, "sms");
    assert_eq!(text(shop.followup(&first).await), "failed:rejected");
    assert_eq!(text(shop.followup(&ann).await), "accepted");
    assert_eq!(text(shop.followup(&second).await), "accepted");
    let of_ann = shop.get(&format!("/sandbox/outbox?followup_id={ann}")).await.ok();
    assert_eq!(of_ann["data"].as_array().unwrap().len(), 2);
}

/// P8, invariant 1: a text whose outcome nobody knows is never sent twice; the email covers it.
#[tokio::test]
async fn p8_an_ambiguous_text_is_never_sent_twice() {
    for (behaviour, captured) in [("timeout", 0), ("accept_then_timeout", 1)] {
        let shop = shop().await;
        behave(&shop, "sms", behaviour).await;
        let id = shop.reply("ann", "Hello.").await;
        shop.advance(12 * 3_600_000).await;
        assert_eq!(sent(&shop).await, (captured, 1), "{behaviour}");
        let followup = shop.followup(&id).await;
        assert_eq!(
            (followup["state"].as_str(), crate::flow::delivery(&followup, "sms").as_str()),
            (Some("fell_back"), "unknown:timeout")
        );
    }
}

/// P8: an ambiguous email is repeated under its fixed Message-ID: one effect.
#[tokio::test]
async fn p8_an_ambiguous_email_is_repeated_under_one_message_id() {
    let shop = shop().await;
    shop.post("/sandbox/providers/email", json!({"behaviour": "accept_then_timeout", "times": 2})).await.ok();
    shop.reply("ann", "Hello.").await;
    shop.advance(60_000).await;
    let emails = shop.outbox("email").await;
    assert_eq!((emails.len(), emails[0]["attempt"].as_u64()), (1, Some(3)));
}

/// W2: a later report changes the delivery, not the outcome.
#[tokio::test]
async fn w2_a_later_failure_report_changes_the_delivery_only() {
    let shop = shop().await;
    behave(&shop, "sms", "report_failed").await;
    let id = shop.reply("ann", "Hello.").await;
    expect(&shop, &id, "fell_back", "no_device").await;
    let followup = shop.followup(&id).await;
    assert_eq!(crate::flow::delivery(&followup, "sms"), "failed:report_failed", "{followup:#}");
    assert_eq!(crate::flow::delivery(&followup, "email"), "accepted");
}

/// Invariants 1–3: the server is killed between the reply and its deadline; the promise is kept to the millisecond.
#[tokio::test]
async fn p3_the_promise_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let first = Sandbox::start_in(dir.path()).await;
    let shop = first.workspace().await;
    shop.advance(0).await;
    shop.put_customer("ann", ann()).await;
    wrote(&shop, "ann", "hello").await;
    shop.phone("ann", Behaviour::Silent).await;
    let id = shop.reply("ann", "Hello.").await;
    let now = shop.advance(29_000).await["now"].clone();
    let keys = shop.keys().clone();
    first.kill().await;
    let second = Sandbox::start_in(dir.path()).await;
    let shop = second.workspace_of(keys);
    assert_eq!(shop.get("/sandbox/clock").await.ok(), json!({"now": now, "frozen": true}));
    expect(&shop, &id, "awaiting_ack", "").await;
    shop.advance(999).await;
    expect(&shop, &id, "awaiting_ack", "").await;
    shop.advance(1).await;
    expect(&shop, &id, "fell_back", "no_ack").await;
    assert_eq!(sent(&shop).await, (1, 1));
}
