//! The surface for devices and web pages: registration, acks, presence, limits.

use crate::http_support::{Answer, Phone, Rig, START_MS, Shop, hash, phone, registration, reply};
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Method, Request};
use backstop_server::http::Limits;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

async fn register(rig: &Rig, shop: &Shop, as_device: Option<&Phone>, body: Value) -> Answer {
    rig.device(shop, Method::POST, "/v1/devices", as_device, body).await
}

/// C1: no token is bound to a known customer without proof; a wrong proof is refused, never ignored.
#[tokio::test]
async fn a_registration_needs_a_proof() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    let refused = async |change: Value| {
        let mut body = registration("install-1", Some("lucas"));
        for (field, value) in change.as_object().unwrap() {
            body[field] = value.clone();
        }
        register(&rig, &shop, None, body).await.refused(401, "identity_required");
    };
    refused(json!({"customer_hash": null})).await;
    refused(json!({"customer_hash": hash("mia")})).await;
    refused(json!({"customer_id": "mia"})).await;
    refused(json!({"customer_hash": null, "customer_token": "a.b.c"})).await;
    refused(json!({"customer_token": "a.b.c"})).await;
    refused(json!({"customer_id": null})).await;
    register(&rig, &shop, None, registration("anonymous", None)).await.expect(200);
    let lucas = rig.phone(&shop, "lucas", "install-1").await;
    assert_eq!(rig.phone(&shop, "lucas", "install-1").await, lucas, "the same at every retry");
    let devices = rig.get(&shop, "/v1/customers/lucas/devices").await.expect(200);
    assert_eq!(devices["data"][0]["device_id"], lucas.id.as_str());
    assert_eq!(devices["data"].as_array().unwrap().len(), 1);
}

/// C1: a known installation is taken over by nobody: its key or a customer's proof.
#[tokio::test]
async fn an_installation_is_not_taken_over() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    let lucas = rig.phone(&shop, "lucas", "install-1").await;
    let mia = rig.phone(&shop, "mia", "install-2").await;
    let bare = || registration("install-1", None);
    register(&rig, &shop, None, bare()).await.refused(401, "device_proof_required");
    register(&rig, &shop, Some(&mia), bare()).await.refused(401, "device_proof_required");
    let mixed = Phone { id: lucas.id.clone(), key: mia.key.clone() };
    register(&rig, &shop, Some(&mixed), bare()).await.refused(401, "device_proof_required");
    assert_eq!(phone(&register(&rig, &shop, Some(&lucas), bare()).await.expect(200)), lucas);
    let devices = rig.get(&shop, "/v1/customers/lucas/devices").await.expect(200);
    assert_eq!(devices["data"][0]["device_id"], lucas.id.as_str(), "still his");
}

/// C2: log-out unbinds; a deleted device is gone; both may be repeated; nobody does it to another's device.
#[tokio::test]
async fn a_device_acts_on_itself_only() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    let (lucas, mia) = (rig.phone(&shop, "lucas", "install-1").await, rig.phone(&shop, "mia", "install-2").await);
    let delete = async |path: &str, phone: &Phone| {
        rig.device(&shop, Method::DELETE, &format!("/v1/devices/{path}"), Some(phone), Value::Null).await
    };
    delete(&lucas.id, &mia).await.refused(401, "unauthorized");
    delete(&format!("{}/customer", lucas.id), &mia).await.refused(401, "unauthorized");
    delete("dev_x", &mia).await.refused(401, "unauthorized");
    for _ in 0..2 {
        delete(&format!("{}/customer", lucas.id), &lucas).await.expect(204);
    }
    assert_eq!(rig.get(&shop, "/v1/customers/lucas/devices").await.expect(200)["data"], json!([]));
    for _ in 0..2 {
        delete(&lucas.id, &lucas).await.expect(204);
    }
    rig.acks(&shop, &lucas, &[("x", "displayed")]).await.refused(401, "unauthorized");
}

fn results(answer: Answer) -> Vec<(String, bool)> {
    let body = answer.expect(200);
    let results = body["results"].as_array().unwrap().iter();
    results.map(|r| (r["result"].as_str().unwrap().to_owned(), r["counted"].as_bool().unwrap())).collect()
}

/// P2, P7: an ack in time, and what every later one is answered.
#[tokio::test]
async fn an_ack_settles_the_followup() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    rig.lucas(&shop).await;
    let lucas = rig.phone(&shop, "lucas", "install-1").await;
    let posted = rig.post(&shop, "/v1/messages", reply("m1")).await.expect(202);
    let followup = posted["followup_id"].as_str().unwrap();
    let receipt = rig.receipt(&shop, followup, &lucas).await;
    rig.advance(29_999);
    let grades = [("received", false), ("displayed", true), ("opened", true)];
    for (grade, counted) in grades {
        assert_eq!(
            results(rig.acks(&shop, &lucas, &[(&receipt, grade)]).await),
            [("accepted".into(), counted)],
            "{grade}"
        );
    }
    let again = rig.acks(&shop, &lucas, &[(&receipt, "displayed"), ("nonsense", "displayed")]).await;
    let again: Vec<_> = results(again).into_iter().map(|(result, _)| result).collect();
    assert_eq!(again, ["duplicate", "refused"], "in the order of the request");
    let shown = rig.get(&shop, &format!("/v1/followups/{followup}")).await.expect(200);
    assert_eq!((&shown["state"], &shown["reason"]), (&json!("acked"), &json!("acked")));
    let ack = &shown["deliveries"][0]["ack"];
    assert_eq!((&ack["grade"], &ack["recorded_at"]), (&json!("opened"), &json!("2026-11-22T18:00:01.000Z")));
    assert_eq!(shown["deliveries"].as_array().unwrap().len(), 1, "no text, no email");
}

/// P11: forged, mutated, swapped, expired receipts are refused in one shape; the true one still works afterwards.
#[tokio::test]
async fn only_the_true_receipt_counts() {
    let rig = Rig::new();
    let (shop, other) = (rig.shop("shop").await, rig.shop("other").await);
    rig.lucas(&shop).await;
    let lucas = rig.phone(&shop, "lucas", "install-1").await;
    let tablet = rig.phone(&shop, "lucas", "install-2").await;
    let stranger = rig.phone(&other, "lucas", "install-1").await;
    let posted = rig.post(&shop, "/v1/messages", reply("m1")).await.expect(202);
    let followup = posted["followup_id"].as_str().unwrap();
    let receipt = rig.receipt(&shop, followup, &lucas).await;
    let tablets = rig.receipt(&shop, followup, &tablet).await;
    let mut bad =
        vec![String::new(), "x".into(), format!("{receipt}="), format!("{receipt} "), tablets, "\u{0}".into()];
    let last = receipt.pop_last();
    // The last character in every other spelling, unused bits included.
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=";
    bad.extend(alphabet.chars().filter(|c| *c != last.1).map(|c| format!("{}{c}", last.0)));
    bad.push(rig.forge(&shop, followup, &lucas, 1, START_MS));
    bad.push(rig.forge(&other, followup, &lucas, 1, START_MS + 1_000));
    bad.push(rig.forge(&shop, "fu_0000000000001", &lucas, 1, START_MS + 1_000));
    for receipts in bad.chunks(50) {
        let acks: Vec<_> = receipts.iter().map(|r| (r.as_str(), "displayed")).collect();
        for (receipt, result) in receipts.iter().zip(results(rig.acks(&shop, &lucas, &acks).await)) {
            assert_eq!(result, ("refused".into(), false), "{receipt}");
        }
    }
    assert_eq!(results(rig.acks(&other, &stranger, &[(&receipt, "displayed")]).await), [("refused".into(), false)]);
    for key in ["", "x", &tablet.key, &lucas.key.to_uppercase(), &format!("{}=", lucas.key)] {
        let forged = Phone { id: lucas.id.clone(), key: key.to_owned() };
        rig.acks(&shop, &forged, &[(&receipt, "displayed")]).await.refused(401, "unauthorized");
    }
    assert_eq!(results(rig.acks(&shop, &lucas, &[(&receipt, "displayed")]).await), [("accepted".into(), true)]);
}

trait PopLast {
    fn pop_last(&self) -> (&str, char);
}

impl PopLast for String {
    fn pop_last(&self) -> (&str, char) {
        let last = self.chars().next_back().unwrap();
        (&self[..self.len() - last.len_utf8()], last)
    }
}

/// W5, invariant 3: a device's odd time or word costs an ack nothing; unknown fields and grades are no error.
#[tokio::test]
async fn newer_devices_are_understood() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    rig.lucas(&shop).await;
    let mut newer = registration("install-1", Some("lucas"));
    newer["wire"] = json!([1, 2]);
    newer["watch"] = json!({"paired": true});
    newer["locale"] = "zh_CN_#Hans".into();
    let lucas = phone(&register(&rig, &shop, None, newer).await.expect(200));
    let posted = rig.post(&shop, "/v1/messages", reply("m1")).await.expect(202);
    let receipt = rig.receipt(&shop, posted["followup_id"].as_str().unwrap(), &lucas).await;
    let ack = |grade: &str, at: &str| {
        let ack = json!({"receipt": receipt, "grade": grade, "at": at, "detail": "Lucas said hello", "new": 1});
        json!({"acks": [ack], "sdk": "x"})
    };
    let send = async |body| rig.device(&shop, Method::POST, "/v1/acks", Some(&lucas), body).await;
    assert_eq!(results(send(ack("heard", "2026-11-22T18:00:00Z")).await).len(), 1);
    assert_eq!(results(send(ack("displayed", "1999-01-01T00:00:00+09:00")).await), [("accepted".into(), true)]);
    assert_eq!(results(send(ack("opened", "yesterday")).await)[0].0, "accepted");
    for acks in [json!([]), json!(vec![json!({"receipt": "x", "grade": "opened", "at": "x"}); 101])] {
        send(json!({ "acks": acks })).await.refused(400, "invalid_request");
    }
}

/// W5, C3: a device's language is kept as BCP 47, however a phone spells it; one that is none costs nothing, and one
/// that is left out is forgotten. It is the device's own: the customer's, which texts and mails go by, stays.
#[tokio::test]
async fn w5_a_device_s_language_is_kept_as_bcp_47() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    rig.put(&shop, "/v1/customers/lucas", json!({"name": "Lucas", "locale": "ja"})).await.expect(200);
    for (given, kept) in [
        (json!("ko-KR"), json!("ko-KR")),
        (json!("ko_KR"), json!("ko-KR")),
        (json!("zh-Hans-CN"), json!("zh-Hans-CN")),
        (json!("sl-rozaj-biske-1994"), json!("sl-rozaj-biske-1994")),
        (json!("zh_CN_#Hans"), Value::Null),
        (json!(""), Value::Null),
        (json!("x".repeat(10_000)), Value::Null),
        (json!("en"), json!("en")),
        (Value::Null, Value::Null),
    ] {
        let mut body = registration("install-1", Some("lucas"));
        body["locale"] = given.clone();
        register(&rig, &shop, None, body).await.expect(200);
        let devices = rig.get(&shop, "/v1/customers/lucas/devices").await.expect(200);
        assert_eq!(devices["data"][0]["locale"], kept, "{given}");
    }
    assert_eq!(rig.get(&shop, "/v1/customers/lucas").await.expect(200)["locale"], "ja");
}

/// D3, D4, C1: the backend says it of anyone, a device of its own customer, a page of whom it proves.
#[tokio::test]
async fn presence_comes_three_ways() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    let lucas = rig.phone(&shop, "lucas", "install-1").await;
    let online = async |id: &str| rig.get(&shop, &format!("/v1/customers/{id}")).await.expect(200)["online"] == true;
    let report = |state: &str| json!({"source_id": "s", "state": state});
    let device =
        async |phone: Option<&Phone>, body: Value| rig.device(&shop, Method::POST, "/v1/presence", phone, body).await;
    device(Some(&lucas), report("active")).await.expect(200);
    assert!(online("lucas").await);
    device(Some(&lucas), report("left")).await.expect(200);
    assert!(!online("lucas").await);
    let page = |id: &str, proof: Option<&str>| {
        let proven = json!({"customer_id": id, "customer_hash": proof, "unknown": 1});
        let mut page = json!({"source_id": "tab", "state": "active"});
        page.as_object_mut().unwrap().extend(proven.as_object().unwrap().clone());
        page
    };
    device(None, page("mia", Some(&hash("mia")))).await.expect(200);
    assert!(online("mia").await);
    device(None, page("max", Some(&hash("mia")))).await.refused(401, "identity_required");
    device(None, page("max", None)).await.refused(401, "identity_required");
    device(None, report("active")).await.refused(401, "identity_required");
    let mut beacon = page("eve", Some(&hash("eve")));
    beacon["app_key"] = shop.app_key.clone().into();
    rig.call(Method::POST, "/v1/presence", &[], Some(&beacon)).await.expect(200);
    assert!(online("eve").await);
    beacon["app_key"] = shop.api_key.clone().into();
    rig.call(Method::POST, "/v1/presence", &[], Some(&beacon)).await.refused(401, "unauthorized");
    let batch = json!([
        {"customer_id": "a", "source_id": "s", "state": "active"},
        {"customer_id": "b", "source_id": "s", "state": "hidden", "idle_ms": 269_999},
        {"customer_id": "c", "source_id": "s", "state": "active", "idle_ms": 270_000},
    ]);
    rig.post(&shop, "/v1/presence", batch).await.expect(200);
    assert_eq!((online("a").await, online("b").await, online("c").await), (true, true, false));
    let wrong = rig.post(&shop, "/v1/presence", json!([report("active"), report("active")])).await;
    assert_eq!(wrong.fields(), ["[0].customer_id"]);
    let wrong = rig.post(&shop, "/v1/presence", json!({"customer_id": "a", "source_id": "s", "state": "away"})).await;
    assert_eq!(wrong.fields(), ["state"]);
    rig.post(&shop, "/v1/presence", json!([])).await.refused(400, "invalid_request");
}

/// A web page of any origin may report presence, and nothing else.
#[tokio::test]
async fn pages_of_any_origin_may_report_presence() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    let preflight = rig.call(Method::OPTIONS, "/v1/presence", &[("origin", "https://shop.example")], None).await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.headers["access-control-allow-origin"], "*");
    assert!(preflight.headers["access-control-allow-headers"].to_str().unwrap().contains("backstop-app"));
    assert!(preflight.headers.get("access-control-allow-credentials").is_none());
    let refused = rig.device(&shop, Method::POST, "/v1/presence", None, json!({})).await;
    assert_eq!(refused.headers["access-control-allow-origin"], "*", "a page may read why");
    let elsewhere = rig.call(Method::OPTIONS, "/v1/acks", &[], None).await;
    assert!(elsewhere.headers.get("access-control-allow-origin").is_none());
}

/// Invariant 7: an address over its limit is told when to come back; the backend has no such limit.
#[tokio::test]
async fn addresses_are_limited_on_the_device_surface() {
    let rig = Rig::with_limits(Limits::new(Duration::from_secs(15), 0, 3, Arc::new(|_| false)));
    let shop = rig.shop("shop").await;
    let from = async |address: &str, key: &str| {
        let mut request = Request::post("/v1/devices").header("backstop-app", key);
        request = request.header("content-type", "application/json");
        let mut request = request.body(Body::from(registration("install-1", Some("lucas")).to_string())).unwrap();
        request.extensions_mut().insert(ConnectInfo(SocketAddr::new(address.parse().unwrap(), 1)));
        rig.send(request).await
    };
    from("192.0.2.1", &shop.app_key).await.expect(200);
    from("192.0.2.1", "app_guess").await.refused(401, "unauthorized");
    from("192.0.2.1", "app_guess").await.refused(401, "unauthorized");
    let limited = from("192.0.2.1", "app_guess").await;
    limited.refused(429, "rate_limited");
    assert!(limited.headers["retry-after"].to_str().unwrap().parse::<u32>().unwrap() >= 1);
    from("192.0.2.2", &shop.app_key).await.expect(200);
}
