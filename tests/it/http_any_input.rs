//! Anything at all at the edge: every answer is one the document knows, and none is a 500.

use crate::http_support::{Phone, Rig, Shop, bearer, registration, reply};
use axum::body::Body;
use axum::http::{Method, Request};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

/// Values as nobody expects them in a field.
fn odd_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "\\PC{0,200}".prop_map(Value::from),
        prop::sample::select(vec![
            "",
            "\u{0}",
            "\u{202e}",
            "null",
            "-1",
            "1e999",
            "..",
            "%00",
            "fu_",
            "a".repeat(20_000).leak()
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-z_]{1,12}", inner, 0..4).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

/// A valid body with one field replaced, removed or added — or something else altogether.
fn body(valid: Value) -> impl Strategy<Value = Vec<u8>> {
    let fields: Vec<String> = valid.as_object().unwrap().keys().cloned().collect();
    let changed = (prop::sample::select(fields), odd_value()).prop_map({
        let valid = valid.clone();
        move |(field, value)| {
            let mut body = valid.clone();
            body[field] = value;
            body.to_string().into_bytes()
        }
    });
    let cut = any::<prop::sample::Index>().prop_map({
        let bytes = valid.to_string().into_bytes();
        move |at| bytes[..at.index(bytes.len())].to_vec()
    });
    let flipped = (any::<prop::sample::Index>(), any::<u8>()).prop_map({
        let bytes = valid.to_string().into_bytes();
        move |(at, byte)| {
            let mut bytes = bytes.clone();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes
        }
    });
    prop_oneof![
        4 => changed,
        1 => odd_value().prop_map(|value| value.to_string().into_bytes()),
        1 => cut,
        2 => flipped,
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ]
}

type Headers = Vec<(&'static str, String)>;

/// Everything that takes a body, with a valid one.
fn endpoints(shop: &Shop, phone: &Phone) -> Vec<(Method, &'static str, Headers, Value)> {
    let backend = vec![("authorization", bearer(shop))];
    let app = vec![("backstop-app", shop.app_key.clone())];
    let device = vec![
        ("backstop-app", shop.app_key.clone()),
        ("authorization", format!("Backstop-Device {}.{}", phone.id, phone.key)),
    ];
    let ack = json!({"receipt": "x".repeat(56), "grade": "displayed", "at": "2026-11-22T18:00:00Z", "detail": "x"});
    let mut full = reply("m");
    full["channels"] = json!(["push", "text", "email"]);
    full["customer"] = json!({"name": "Lucas", "email": "lucas@example.com", "phone": "+821012345678"});
    let customer = json!({"name": "L", "email": "l@example.com", "phone": "+821012345678", "contact_source": "account",
        "locale": "ko", "time_zone": "Asia/Seoul"});
    let said = json!({"message_id": "u", "conversation_id": "c1", "customer_id": "lucas", "text": "Hi"});
    let read = json!({"conversation_id": "c1", "customer_id": "lucas", "message_id": "m"});
    let present = json!({"customer_id": "lucas", "source_id": "tab", "state": "active", "idle_ms": 1});
    let settings = json!({"email": true, "ack_wait_ms": 30_000, "ack_grade": "displayed", "link_schemes": ["https"]});
    vec![
        (Method::POST, "/v1/messages", backend.clone(), full),
        (Method::PUT, "/v1/customers/lucas", backend.clone(), customer),
        (Method::POST, "/v1/customer-messages", backend.clone(), said),
        (Method::POST, "/v1/reads", backend.clone(), read),
        (Method::POST, "/v1/presence", backend.clone(), present.clone()),
        (Method::POST, "/v1/presence", app.clone(), present.clone()),
        (Method::POST, "/v1/presence", device.clone(), present),
        (Method::PUT, "/v1/settings", backend, settings),
        (Method::POST, "/v1/devices", app, registration("install-9", Some("lucas"))),
        (Method::POST, "/v1/acks", device, json!({ "acks": [ack] })),
    ]
}

/// W4, invariant 7: whatever the body, the answer is in the document and never a 500.
#[test]
fn any_body_gets_a_documented_answer() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _inside = runtime.enter();
    let rig = Rig::new();
    let (shop, phone) = runtime.block_on(async {
        let shop = rig.shop("shop").await;
        rig.lucas(&shop).await;
        let phone = rig.phone(&shop, "lucas", "install-1").await;
        (shop, phone)
    });
    for (method, path, headers, valid) in endpoints(&shop, &phone) {
        let mut runner = TestRunner::new(Config { cases: 60, failure_persistence: None, ..Config::default() });
        let send = |body: Vec<u8>| {
            let mut request = Request::builder().method(&method).uri(path).header("content-type", "application/json");
            for (name, value) in &headers {
                request = request.header(*name, value);
            }
            // The harness compares every answer with the document.
            let answer = runtime.block_on(rig.send(request.body(Body::from(body)).unwrap()));
            prop_assert!(answer.status.as_u16() < 500, "{method} {path}: {}", answer.text);
            Ok(())
        };
        runner.run(&body(valid.clone()), send).unwrap();
        send(valid.to_string().into_bytes()).unwrap();
    }
}

/// W4: whatever the path and query, the same.
#[test]
fn any_path_gets_a_documented_answer() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _inside = runtime.enter();
    let rig = Rig::new();
    let shop = runtime.block_on(rig.shop("shop"));
    let segment = "(%[0-9A-Fa-f]{2}|[A-Za-z0-9._~:@!$&'()*+,;=-]){0,140}";
    let path = prop_oneof![
        segment.prop_map(|s| format!("/v1/customers/{s}")),
        segment.prop_map(|s| format!("/v1/customers/{s}/export?after={s}")),
        segment.prop_map(|s| format!("/v1/messages/{s}")),
        segment.prop_map(|s| format!("/v1/followups/{s}")),
        segment.prop_map(|s| format!("/v1/followups?{s}")),
        segment.prop_map(|s| format!("/v1/followups?customer_id={s}&limit={s}")),
        segment.prop_map(|s| format!("/v1/deliveries?after={s}&status={s}")),
        segment.prop_map(|s| format!("/{s}/{s}")),
    ];
    let mut runner = TestRunner::new(Config { cases: 400, failure_persistence: None, ..Config::default() });
    let get = |path: String| {
        let answer = runtime.block_on(rig.get(&shop, &path));
        prop_assert!(answer.status.as_u16() < 500, "{path}: {}", answer.text);
        Ok(())
    };
    runner.run(&path, get).unwrap();
}

/// D9: the same reply posted many times at once is one follow-up, and everyone gets the same answer.
#[tokio::test]
async fn the_same_reply_at_once_is_one_followup() {
    let rig = std::sync::Arc::new(Rig::new());
    let shop = rig.shop("shop").await;
    rig.lucas(&shop).await;
    rig.phone(&shop, "lucas", "install-1").await;
    let mut posts = tokio::task::JoinSet::new();
    for i in 0..50 {
        let (rig, shop) = (rig.clone(), shop.clone());
        posts.spawn(async move { rig.post(&shop, "/v1/messages", reply(&format!("m{}", i % 2))).await.expect(202) });
    }
    let answers = posts.join_all().await;
    let mut ids: Vec<_> = answers.iter().map(|a| a["followup_id"].as_str().unwrap()).collect();
    ids.dedup();
    assert_eq!(ids.len(), 1, "both replies fold into one follow-up");
    let listed = rig.get(&shop, "/v1/followups").await.expect(200);
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    assert_eq!(listed["data"][0]["message_ids"].as_array().unwrap().len(), 2);
}
