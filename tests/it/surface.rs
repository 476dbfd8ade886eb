//! The surface as a stranger's client meets it: names, words, and what is taken although it is said another way.

use crate::flow::{ann, behave, post, presence, shop};
use crate::program::{backstop, said};
use backstop_server::testing::{Answer, Behaviour, Workspace};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::tempdir;

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Registers an Android phone of Ann's; answers the headers that it authenticates with.
async fn ann_s_device(shop: &Workspace) -> (String, String) {
    let body = json!({
        "install_id": "i-1", "platform": "android", "provider": "fcm", "token": "token-1", "alerts": "allowed",
        "wire": [1], "customer_id": "ann", "customer_hash": shop.customer_hash("ann"),
    });
    let app = shop.keys().app_key.clone();
    let headers = [("backstop-app", app.as_str())];
    let device = shop.request_as(Method::POST, "/v1/devices", &headers, Some(body)).await.ok();
    assert_eq!(keys(&device), ["device_id", "device_key"]);
    let word = |field: &str| device[field].as_str().unwrap().to_owned();
    (app, format!("Backstop-Device {}.{}", word("device_id"), word("device_key")))
}

async fn online(shop: &Workspace, customer_id: &str) -> Value {
    shop.get(&format!("/v1/customers/{customer_id}")).await.ok()["online"].clone()
}

/// S7: a follow-up has these fields and no others, whatever came of it; what is not known is `null`, never absent.
#[tokio::test]
async fn s7_a_follow_up_has_the_fields_that_clients_know() {
    let shop = shop().await;
    shop.phone("ann", Behaviour::AckAfter(30_001)).await;
    let posted = post(&shop, "r1", json!({})).await;
    assert_eq!(posted.status, 202);
    let expected = ["accepted_at", "deadline_at", "followup_id", "state", "warnings"];
    let mut given = keys(&posted.body);
    given.sort_unstable();
    assert_eq!(given, expected);
    shop.advance(30_001).await;
    let followup = shop.followup(posted.body["followup_id"].as_str().unwrap()).await;
    let mut given = keys(&followup);
    given.sort_unstable();
    let expected = [
        "accepted_at",
        "conversation_id",
        "customer_id",
        "deadline_at",
        "decided_at",
        "deliveries",
        "followup_id",
        "history",
        "kind",
        "late_ack_at",
        "message_ids",
        "reason",
        "state",
    ];
    assert_eq!(given, expected);
    let deliveries = followup["deliveries"].as_array().unwrap();
    let channels: Vec<_> = deliveries.iter().map(|d| d["channel"].as_str().unwrap()).collect();
    assert_eq!(channels, ["push", "sms", "email"]);
    for delivery in deliveries {
        let mut given = keys(delivery);
        given.sort_unstable();
        let expected =
            ["ack", "at", "channel", "device_id", "error", "price", "provider", "provider_id", "segments", "status"];
        assert_eq!(given, expected);
    }
    let mut given = keys(&deliveries[0]["ack"]);
    given.sort_unstable();
    assert_eq!(given, ["grade", "received_at", "recorded_at"]);
    for entry in followup["history"].as_array().unwrap() {
        let mut given = keys(entry);
        given.sort_unstable();
        assert_eq!(given, ["at", "decision", "event", "why"]);
    }
    for time in [&followup["accepted_at"], &followup["decided_at"], &followup["late_ack_at"], &deliveries[0]["at"]] {
        let time = time.as_str().unwrap();
        assert!(time.len() == 24 && time.ends_with('Z') && time.as_bytes()[19] == b'.', "{time}");
    }
}

/// W4: every path says in a problem document that it takes another method, the sandbox's too.
#[tokio::test]
async fn w4_another_method_is_a_problem_everywhere() {
    let shop = shop().await;
    for (method, path) in [
        (Method::PATCH, "/v1/messages"),
        (Method::GET, "/sandbox/clock/advance"),
        (Method::PUT, "/sandbox/phones"),
        (Method::POST, "/healthz"),
    ] {
        let answer = shop.request(method, path, None).await;
        assert_eq!((answer.status, answer.code()), (405, "method_not_allowed"), "{path}");
    }
    assert_eq!(shop.get("/sandbox/nothing").await.code(), "not_found");
}

/// W4: a list is not taken for an object whose fields come in that order.
#[tokio::test]
async fn w4_a_list_is_no_object() {
    let shop = shop().await;
    for (path, body) in [
        ("/v1/reads", json!(["ann", "ann", "hello"])),
        ("/v1/customer-messages", json!(["m", "ann", "ann", "Hello?"])),
        ("/sandbox/clock/advance", json!([1])),
    ] {
        let answer = shop.post(path, body).await;
        assert_eq!((answer.status, answer.code()), (400, "invalid_request"), "{path}");
        assert_eq!(answer.body["errors"][0]["field"], "body", "{path}");
    }
}

/// W4: a field of the wrong kind is named; the body that it stands in is JSON.
#[tokio::test]
async fn w4_a_word_of_another_kind_names_its_field() {
    let shop = shop().await;
    for (path, body, field) in [
        ("/v1/presence", json!({"customer_id": "ann", "source_id": "tab", "state": null}), "state"),
        ("/v1/presence", json!([{"customer_id": "ann", "source_id": "tab", "state": 5}]), "[0].state"),
        ("/sandbox/phones", json!({"customer_id": "ann", "behaviour": true}), "behaviour"),
    ] {
        let answer = shop.post(path, body.clone()).await;
        assert_eq!((answer.status, answer.code()), (400, "invalid_request"), "{path} {body}");
        assert_eq!(answer.body["errors"][0]["field"], field, "{path} {body}: {}", answer.body);
    }
}

/// D4: pages and devices may report in an array, as backends do; one proof that does not fit refuses all of it.
#[tokio::test]
async fn d4_pages_and_devices_report_in_arrays_too() {
    let shop = shop().await;
    let (app, device) = ann_s_device(&shop).await;
    let report = |headers: Vec<(&'static str, String)>, body: Value| {
        let shop = &shop;
        async move {
            let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            shop.request_as(Method::POST, "/v1/presence", &headers, Some(body)).await
        }
    };
    let as_device = vec![("backstop-app", app.clone()), ("authorization", device)];
    let two = json!([{"source_id": "a", "state": "active"}, {"source_id": "b", "state": "left"}]);
    report(as_device.clone(), two).await.ok();
    assert_eq!(online(&shop, "ann").await, true);
    report(as_device.clone(), json!([{"source_id": "a", "state": "left"}])).await.ok();
    assert_eq!(online(&shop, "ann").await, false);
    let page = |customer_id: &str, proof_of: &str| {
        let hash = shop.customer_hash(proof_of);
        json!({"customer_id": customer_id, "customer_hash": hash, "source_id": "tab", "state": "active"})
    };
    let as_page = vec![("backstop-app", app.clone())];
    let forged = report(as_page.clone(), json!([page("bob", "bob"), page("ann", "bob")])).await;
    assert_eq!((forged.status, forged.code()), (401, "identity_required"));
    assert_eq!(shop.get("/v1/customers/bob").await.status, 404, "nothing of it was done");
    report(as_page, json!([page("bob", "bob"), page("ann", "ann")])).await.ok();
    assert_eq!((online(&shop, "ann").await, online(&shop, "bob").await), (json!(true), json!(true)));
    let mut beacon = page("carl", "carl");
    beacon["app_key"] = json!(app);
    report(vec![], json!([beacon])).await.ok();
    assert_eq!(online(&shop, "carl").await, true);
    let too_many: Vec<Value> = (0..21).map(|i| json!({"source_id": format!("s{i}"), "state": "active"})).collect();
    let refused: Answer = report(as_device.clone(), json!(too_many)).await;
    assert_eq!((refused.status, refused.code()), (400, "invalid_request"));
    assert_eq!(report(as_device, json!(too_many[..20])).await.status, 200);
}

/// D2, D9: a reply that was only watched when it was posted is answered, when it comes again, as its follow-up's start
/// would have been.
#[tokio::test]
async fn d9_a_watched_reply_posted_again_answers_its_follow_up() {
    let shop = shop().await;
    presence(&shop, "tab", "active", None).await;
    let first = post(&shop, "r1", json!({})).await;
    assert_eq!((first.status, &first.body["state"]), (200, &json!("watching")));
    assert_eq!(post(&shop, "r1", json!({})).await, first);
    presence(&shop, "tab", "left", None).await;
    let again = post(&shop, "r1", json!({})).await;
    assert_eq!((again.status, &again.body["state"]), (202, &json!("falling_back")), "there is no device");
    let shown = shop.get("/v1/messages/r1").await.ok();
    assert_eq!(again.body["followup_id"], shown["followup_id"]);
}

/// P5: a push whose provider never answers is shown as unknown, not as accepted; text and email leave on time.
#[tokio::test]
async fn p5_a_push_that_was_never_answered_is_unknown() {
    let shop = shop().await;
    ann_s_device(&shop).await;
    behave(&shop, "push", "timeout").await;
    let posted = post(&shop, "r1", json!({})).await.ok();
    shop.advance(30_000).await;
    let followup = shop.followup(posted["followup_id"].as_str().unwrap()).await;
    let push = &followup["deliveries"][0];
    assert_eq!((&push["status"], &push["error"]), (&json!("unknown"), &json!("timeout")));
    assert_eq!((&followup["state"], &followup["reason"]), (&json!("fell_back"), &json!("no_ack")));
}

/// S6: deliveries are found by their message, and an empty cursor is the first page.
#[tokio::test]
async fn s6_deliveries_are_found_by_their_message() {
    let shop = shop().await;
    for id in ["r1", "r2"] {
        post(&shop, id, json!({"conversation_id": id, "kind": "reply"})).await.ok();
    }
    let of = |query: &'static str| {
        let shop = &shop;
        async move { shop.get(&format!("/v1/deliveries?{query}")).await.ok()["data"].as_array().unwrap().len() }
    };
    assert_eq!(of("message_id=r1").await, 2);
    assert_eq!(of("message_id=nobody's").await, 0);
    let r2 = shop.get("/v1/messages/r2").await.ok()["followup_id"].as_str().unwrap().to_owned();
    let neither = shop.get(&format!("/v1/deliveries?message_id=r1&followup_id={r2}")).await.ok();
    assert_eq!(neither["data"], json!([]));
    assert_eq!(of("after=").await, 4);
    assert_eq!(shop.get("/v1/followups?after=&limit=1").await.ok()["data"].as_array().unwrap().len(), 1);
}

/// Optional fields may be `null`, and a test may look for channels that nothing leaves by yet.
#[tokio::test]
async fn the_sandbox_takes_null_and_every_channel_s_name() {
    let shop = shop().await;
    let phone = json!({"customer_id": "ann", "behaviour": "ack", "ack_after_ms": null});
    assert_eq!(shop.post("/sandbox/phones", phone).await.ok()["ack_after_ms"], 0);
    shop.put_customer("bob", ann()).await;
    post(&shop, "r1", json!({"customer_id": "bob", "conversation_id": "bob"})).await.ok();
    for (channel, rows) in [("sms", 1), ("lms", 0), ("email", 1), ("push", 0), ("alimtalk", 0), ("line", 0)] {
        assert_eq!(shop.outbox(channel).await.len(), rows, "{channel}");
    }
}

/// A key says which; a database whose directory is not there is refused by that name.
#[tokio::test]
async fn refusals_say_what_to_send_and_what_to_make() {
    let shop = shop().await;
    let answer = shop.request_as(Method::GET, "/v1/settings", &[], None).await;
    assert_eq!((answer.status, answer.code()), (401, "unauthorized"));
    assert!(answer.body["detail"].as_str().unwrap().contains("Bearer sk_"), "{}", answer.body);
    let dir = tempdir().unwrap();
    let refused =
        backstop(&dir, &["migrate"]).env("BACKSTOP__STORE__URL", "sqlite:nowhere/backstop.db").output().unwrap();
    assert_eq!(refused.status.code(), Some(78));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("[store] url") && said.contains("no directory nowhere: make it first"), "{said}");
}

/// A key is the backend's unless another scope is asked for.
#[test]
fn a_key_is_the_backend_s_unless_said_otherwise() {
    let dir = tempdir().unwrap();
    said(&dir, &["workspace", "create", "acme"]);
    let made: Value = serde_json::from_str(&said(&dir, &["key", "create", "acme"])).unwrap();
    assert_eq!(made["scope"], "server");
    assert!(made["key"].as_str().unwrap().starts_with("sk_"));
}
