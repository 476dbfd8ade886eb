//! Customers, their devices and their data over HTTP, and that no workspace sees another (C1–C3, W3, S8).

use crate::flow::{Device, ann, delivery, expect, post, register, result, sent, shop};
use backstop_server::testing::Behaviour;
use reqwest::Method;
use serde_json::{Value, json};

/// C1: without proof nobody is bound to a known customer; a wrong proof is refused, never ignored.
#[tokio::test]
async fn c1_no_proof_no_customer() {
    let shop = shop().await;
    let body = |proof: Value| {
        let mut body = json!({
            "install_id": "i", "platform": "android", "provider": "fcm", "token": "t", "alerts": "allowed",
            "wire": [1], "customer_id": "ann",
        });
        for (key, value) in proof.as_object().unwrap() {
            body[key] = value.clone();
        }
        body
    };
    let of_bob = shop.customer_hash("bob");
    for proof in [
        json!({}),
        json!({"customer_hash": "00"}),
        json!({"customer_hash": of_bob}),
        json!({"customer_token": "x.y.z"}),
    ] {
        let refused = register(&shop, body(proof.clone())).await;
        assert_eq!((refused.status, refused.code()), (401, "identity_required"), "{proof}");
    }
    let id = shop.reply("ann", "Hello.").await;
    expect(&shop, &id, "fell_back", "no_device").await;
}

/// C1: an installation that is known is taken over with its own key or a customer's proof only.
#[tokio::test]
async fn c1_a_known_installation_needs_proof() {
    let shop = shop().await;
    let device = Device::register(&shop, "ann", "t").await;
    let body = json!({
        "install_id": "install-t", "platform": "android", "provider": "fcm", "token": "mine-now", "alerts": "allowed",
        "wire": [1],
    });
    let refused = register(&shop, body.clone()).await;
    assert_eq!((refused.status, refused.code()), (401, "device_proof_required"));
    let answer = device.request(&shop, Method::POST, "/v1/devices", Some(body)).await.ok();
    assert_eq!((&answer["device_id"], &answer["device_key"]), (&json!(device.id), &json!(device.key)));
    shop.reply("ann", "Hello.").await;
    assert_eq!(shop.outbox("push").await[0]["to"], "mine-now");
}

/// C2: a token belongs to one customer at a time: it moves when another logs in, and is nobody's after log-out.
#[tokio::test]
async fn c2_a_token_moves_and_unbinds() {
    let shop = shop().await;
    shop.put_customer("bob", json!({"email": "bob@example.com"})).await;
    let phone = Device::register(&shop, "ann", "t").await;
    let first = shop.reply("ann", "Hello Ann.").await;
    let moved = Device::register(&shop, "bob", "t").await;
    assert_eq!(moved.id, phone.id, "the same installation");
    expect(&shop, &first, "fell_back", "no_device").await;
    let of_ann = shop.reply("ann", "Still there?").await;
    let of_bob = shop.reply("bob", "Hello Bob.").await;
    expect(&shop, &of_bob, "awaiting_ack", "").await;
    assert!(shop.outbox("push").await.iter().all(|push| push["followup_id"] != of_ann.as_str()));
    let receipt = phone.receipts(&shop).await.pop().unwrap();
    moved.request(&shop, Method::DELETE, &format!("/v1/devices/{}/customer", moved.id), None).await.ok();
    expect(&shop, &of_bob, "awaiting_ack", "").await;
    assert_eq!(moved.ack(&shop, &receipt, "displayed").await, result("accepted", true), "its acks stay valid");
    expect(&shop, &of_bob, "acked", "acked").await;
    let after = shop.reply("bob", "Hello?").await;
    expect(&shop, &after, "fell_back", "no_device").await;
}

/// C2: another installation that shows the same token takes it.
#[tokio::test]
async fn c2_a_token_is_held_by_one_installation() {
    let shop = shop().await;
    Device::register(&shop, "ann", "t").await;
    let body = json!({
        "install_id": "another", "platform": "android", "provider": "fcm", "token": "t", "alerts": "allowed",
        "wire": [1], "customer_id": "ann", "customer_hash": shop.customer_hash("ann"),
    });
    let new = register(&shop, body).await.ok();
    shop.reply("ann", "Hello.").await;
    let pushes = shop.outbox("push").await;
    assert_eq!((pushes.len(), &pushes[0]["device_id"]), (1, &new["device_id"]));
}

/// C3: a dead token is pushed to no more, until the app registers a new one.
#[tokio::test]
async fn c3_a_dead_token_is_left_until_it_is_replaced() {
    let shop = shop().await;
    let device = Device::register(&shop, "ann", "t").await;
    let rule = json!({"behaviour": "token_gone", "token": "t"});
    shop.post("/sandbox/providers/push", rule).await.ok();
    let id = shop.reply("ann", "One.").await;
    expect(&shop, &id, "fell_back", "token_gone").await;
    shop.advance(200_000).await;
    let posted = shop.post_message("r2", "ann", "Two.").await.ok();
    assert_eq!(posted["state"], "falling_back", "known dead before it is tried");
    shop.advance(200_000).await;
    let body = json!({
        "install_id": "install-t", "platform": "android", "provider": "fcm", "token": "fresh", "alerts": "allowed",
        "wire": [1],
    });
    device.request(&shop, Method::POST, "/v1/devices", Some(body)).await.ok();
    let id = shop.reply("ann", "Three.").await;
    let receipt = device.receipts(&shop).await.remove(0);
    assert_eq!(device.ack(&shop, &receipt, "displayed").await, result("accepted", true));
    expect(&shop, &id, "acked", "acked").await;
}

/// W3: the same key and body get the same answer; another body under it is refused; nothing is done twice.
#[tokio::test]
async fn w3_an_idempotency_key_repeats_the_answer() {
    let shop = shop().await;
    let bearer = format!("Bearer {}", shop.keys().api_key);
    let headers: &[(&str, &str)] = &[("authorization", &bearer), ("idempotency-key", "k1")];
    let body = |text: &str, id: &str| {
        Some(json!({
            "message_id": id, "conversation_id": "ann", "customer_id": "ann", "kind": "reply",
            "author": {"name": "Kim"}, "text": text,
        }))
    };
    let first = shop.request_as(Method::POST, "/v1/messages", headers, body("One.", "r1")).await;
    let again = shop.request_as(Method::POST, "/v1/messages", headers, body("One.", "r1")).await;
    assert_eq!((first.status, &first.body), (again.status, &again.body));
    let reused = shop.request_as(Method::POST, "/v1/messages", headers, body("Two.", "r2")).await;
    assert_eq!((reused.status, reused.code()), (422, "idempotency_key_reused"));
    assert_eq!(shop.get("/v1/messages/r2").await.status, 404);
    assert_eq!(sent(&shop).await, (1, 1));
}

/// S8: erased: nothing more leaves, nothing is left to see, and others keep theirs.
#[tokio::test]
async fn s8_erased_is_erased() {
    let shop = shop().await;
    shop.put_customer("bob", json!({"email": "bob@example.com"})).await;
    shop.phone("ann", Behaviour::Silent).await;
    let id = shop.reply("ann", "It arrives today.").await;
    let exported = shop.get("/v1/customers/ann/export").await.ok().to_string();
    for known in ["Ann", "+14155550123", "ann@example.com", "It arrives today.", "Hello?"] {
        assert!(exported.contains(known), "{known} is missing in {exported}");
    }
    shop.delete("/v1/customers/ann").await.ok();
    shop.advance(3_600_000).await;
    assert_eq!(sent(&shop).await, (0, 0));
    for path in ["/v1/customers/ann", "/v1/customers/ann/export"] {
        assert_eq!(shop.get(path).await.status, 404, "{path}");
    }
    let followup = shop.get(&format!("/v1/followups/{id}")).await;
    if followup.status == 200 {
        assert_eq!(followup.body["state"], "cancelled", "{:#}", followup.body);
        assert!(!followup.body.to_string().contains("It arrives today."));
    }
    let bob = shop.reply("bob", "Hello.").await;
    expect(&shop, &bob, "fell_back", "no_device").await;
}

/// Each id of another workspace is nobody's here — also where both use the same ids.
#[tokio::test]
async fn workspaces_do_not_see_each_other() {
    let (shop, other) = (shop().await, shop().await);
    other.put_customer("carl", ann()).await;
    let device = Device::register(&other, "ann", "t").await;
    let of_other = other.post_message("only-there", "ann", "Hello there.").await.ok();
    let id = of_other["followup_id"].as_str().unwrap();
    for path in [
        format!("/v1/followups/{id}"),
        "/v1/messages/only-there".into(),
        "/v1/customers/carl".into(),
        "/v1/customers/carl/export".into(),
        "/v1/customers/carl/devices".into(),
    ] {
        assert_eq!(shop.get(&path).await.status, 404, "{path}");
    }
    assert_eq!(shop.post(&format!("/v1/followups/{id}/cancel"), json!({})).await.status, 404);
    assert_eq!(shop.delete("/v1/messages/only-there").await.status, 404);
    assert_eq!(shop.get("/v1/followups").await.ok()["data"], json!([]));
    assert_eq!(shop.get("/v1/deliveries").await.ok()["data"], json!([]));
    assert!(shop.outbox("push").await.is_empty());
    let receipt = device.receipts(&other).await.remove(0);
    let acks = json!({"acks": [{"receipt": receipt, "grade": "opened", "at": "2026-01-01T00:00:00.000Z"}]});
    let answer = device.request(&shop, Method::POST, "/v1/acks", Some(acks)).await;
    assert_eq!((answer.status, answer.code()), (401, "unauthorized"), "its key is not of this workspace");
    let here = shop.post_message("only-there", "ann", "Another text.").await;
    assert_eq!(here.status, 202, "the same message id, another message");
    expect(&other, id, "awaiting_ack", "").await;
    assert_eq!(device.ack(&other, &receipt, "displayed").await, result("accepted", true));
}

/// S6: deliveries are listed as JSON and as CSV.
#[tokio::test]
async fn s6_deliveries_are_listed() {
    let shop = shop().await;
    let posted = post(&shop, "r1", json!({"kind": "reply"})).await.ok();
    let rows = shop.get("/v1/deliveries?customer_id=ann").await.ok();
    let channels: Vec<_> = rows["data"].as_array().unwrap().iter().map(|row| row["channel"].clone()).collect();
    assert_eq!(channels.len(), 2, "{rows:#}");
    assert!(channels.contains(&json!("sms")) && channels.contains(&json!("email")));
    let bearer = format!("Bearer {}", shop.keys().api_key);
    let headers: &[(&str, &str)] = &[("authorization", &bearer), ("accept", "text/csv")];
    let csv = shop.request_as(Method::GET, "/v1/deliveries", headers, None).await;
    let csv = csv.body.as_str().unwrap();
    assert_eq!(csv.lines().count(), 3, "{csv}");
    assert!(csv.contains(posted["followup_id"].as_str().unwrap()) && !csv.contains("4155550123"), "{csv}");
    assert_eq!(delivery(&shop.followup(posted["followup_id"].as_str().unwrap()).await, "email"), "accepted");
}
