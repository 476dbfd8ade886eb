//! `/v1/apps`: what is taken, what is refused by name, what is kept, and that no key ever comes back.

use crate::http_support::{Rig, Shop, registration, reply};
use crate::providers_fcm_double::pem;
use axum::http::Method;
use backstop_server::providers::capture::Channel;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::{Value, json};
use std::sync::LazyLock;

/// One for all tests: making it takes a while.
static RSA: LazyLock<String> = LazyLock::new(|| {
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    pem("PRIVATE KEY", &key.serialize_der())
});

pub fn p8() -> String {
    pem("PRIVATE KEY", &KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap().serialize_der())
}

pub fn apns(key_id: &str, key: Option<&str>) -> Value {
    let mut entry = json!({"team_id": "TEAM123456", "key_id": key_id, "environment": "production"});
    if let Some(key) = key {
        entry["key"] = key.into();
    }
    entry
}

pub fn key_file(key_id: &str) -> Value {
    json!({
        "type": "service_account", "project_id": "acme-demo", "private_key_id": key_id, "private_key": *RSA,
        "client_email": "push@acme-demo.iam.gserviceaccount.com", "client_id": "1",
        "token_uri": "https://oauth2.googleapis.com/token",
    })
}

pub fn app(bundle_id: &str) -> Value {
    json!({"bundle_ids": [bundle_id], "packages": [bundle_id]})
}

fn with(mut app: Value, field: &str, value: Value) -> Value {
    app[field] = value;
    app
}

async fn refused(rig: &Rig, shop: &Shop, body: Value) -> (Vec<String>, String) {
    let answer = rig.put(shop, "/v1/apps/shop", body).await;
    answer.refused(400, "invalid_request");
    (answer.fields().into_iter().map(str::to_owned).collect(), answer.text)
}

/// P12: an app comes and goes; what is put twice is as if put once, and what is left out of a PUT is gone.
#[tokio::test]
async fn an_app_is_put_shown_and_deleted() {
    let rig = Rig::new();
    let (shop, other) = (rig.shop("shop").await, rig.shop("other").await);
    let whole = with(app("com.acme.shop"), "apns", json!([apns("KEY1234567", Some(&p8()))]));
    let whole = with(whole, "fcm", json!({"service_account": key_file("key-1")}));
    let put = rig.put(&shop, "/v1/apps/shop", whole.clone()).await.expect(200);
    assert_eq!(put["fcm"]["project_id"], "acme-demo");
    assert_eq!(put["apns"][0]["key_id"], "KEY1234567");
    assert_eq!(put["apns"][0]["fingerprint"].as_str().unwrap().len(), 16);
    rig.advance(5_000);
    assert_eq!(rig.put(&shop, "/v1/apps/shop", whole).await.expect(200), put, "nothing changed, nor did the time");
    assert_eq!(rig.get(&shop, "/v1/apps/shop").await.expect(200), put);
    assert_eq!(rig.get(&shop, "/v1/apps").await.expect(200), json!({"data": [put], "next_cursor": null}));
    rig.get(&other, "/v1/apps/shop").await.refused(404, "not_found");
    let bare = rig.put(&shop, "/v1/apps/shop", app("com.acme.shop")).await.expect(200);
    assert_eq!((&bare["apns"], &bare["fcm"]), (&json!([]), &Value::Null));
    assert_eq!(bare["created_at"], put["created_at"]);
    assert_ne!(bare["updated_at"], put["updated_at"]);
    for _ in 0..2 {
        rig.delete(&shop, "/v1/apps/shop").await.expect(204);
    }
    rig.get(&shop, "/v1/apps/shop").await.refused(404, "not_found");
    let log = rig.get(&shop, "/v1/audit").await.expect(200);
    let kinds: Vec<_> = log["data"].as_array().unwrap().iter().map(|line| line["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["app_deleted", "app_changed", "app_changed"], "what changed nothing is not in the log");
    let told = json!({"app_id": "shop", "apns_key_ids": ["KEY1234567"], "fcm_private_key_ids": ["key-1"]});
    assert_eq!(log["data"][2]["detail"], told);
}

/// S10, P12: a key id that is known keeps its key when the key is left out; a new one needs it. Of service accounts
/// the one before stays until it is dropped, unless it is another project's.
#[tokio::test]
async fn keys_that_are_left_out_stay() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    let body = |entries: Value, fcm: Value| with(with(app("a.b"), "apns", entries), "fcm", fcm);
    let first = body(json!([apns("KEY1234567", Some(&p8()))]), json!({"service_account": key_file("key-1")}));
    let first = rig.put(&shop, "/v1/apps/shop", first).await.expect(200);
    rig.advance(5_000);
    let both = json!([apns("KEY1234567", None), apns("KEY7654321", Some(&p8()))]);
    let second = body(both, json!({"service_account": key_file("key-2").to_string()}));
    let second = rig.put(&shop, "/v1/apps/shop", second).await.expect(200);
    assert_eq!(second["apns"][0], first["apns"][0], "kept, with its date");
    assert_ne!(second["apns"][1]["added_at"], first["apns"][0]["added_at"]);
    let ids = |app: &Value| -> Vec<String> {
        let accounts = app["fcm"]["service_accounts"].as_array().unwrap();
        accounts.iter().map(|account| account["private_key_id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&second), ["key-2", "key-1"]);
    let kept = rig.put(&shop, "/v1/apps/shop", body(json!([apns("KEY7654321", None)]), json!({}))).await.expect(200);
    assert_eq!((ids(&kept), kept["apns"].as_array().unwrap().len()), (ids(&second), 1));
    let (fields, _) = refused(&rig, &shop, body(json!([apns("KEY1234567", None)]), json!({}))).await;
    assert_eq!(fields, ["apns[0].key"], "what was left out is forgotten");
    let dropped = rig.put(&shop, "/v1/apps/shop", body(json!([]), json!({"drop_previous": true}))).await.expect(200);
    assert_eq!(ids(&dropped), ["key-2"]);
    let moved = with(key_file("key-3"), "project_id", "another".into());
    let moved = body(json!([]), json!({"service_account": moved}));
    assert_eq!(ids(&rig.put(&shop, "/v1/apps/shop", moved).await.expect(200)), ["key-3"]);
    let (fields, _) = refused(&rig, &rig.shop("new").await, body(json!([]), json!({}))).await;
    assert_eq!(fields, ["fcm.service_account"]);
}

/// P12, W4: each wrong thing is named with its field and its mend, and nothing of the app is stored.
#[tokio::test]
async fn each_wrong_credential_is_named() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    let wrong_curve = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap().serialize_der();
    let (good, wrong_curve) = (p8(), pem("PRIVATE KEY", &wrong_curve));
    let encrypted = good.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let certificate = pem("CERTIFICATE", b"0123456789");
    let keys = [
        (wrong_curve.as_str(), "P-256"),
        (&encrypted, "encrypted"),
        (&certificate, "is a certificate"),
        ("MIIK1AIBAzCCCpoGCSqGSIb3DQEHAaCCCosEggqHMIIKgzCCBQ==", ".p12"),
        (RSA.as_str(), "RSA"),
        ("", "is empty"),
        ("hello", "not a .p8"),
    ];
    for (key, said) in keys {
        let (fields, text) =
            refused(&rig, &shop, with(app("a.b"), "apns", json!([apns("KEY1234567", Some(key))]))).await;
        assert_eq!(fields, ["apns[0].key"], "{said}");
        assert!(text.contains(said), "{said}: {text}");
        assert!(key.len() < 10 || !text.contains(&key[30..50]), "the key is not repeated");
    }
    let accounts = [
        (json!({"web": {"client_id": "1", "client_secret": "zyxsecret"}}), "OAuth client"),
        (json!({"project_info": {}, "client": []}), "google-services.json"),
        (json!({"apiKey": "zyxsecret", "projectId": "acme"}), "web app"),
        (json!({"type": "authorized_user", "refresh_token": "zyxsecret"}), "user's log-in"),
        (json!({"type": "external_account"}), "another log-in"),
        (with(key_file("k"), "disabled", true.into()), "disabled"),
        (json!({"name": "k", "privateKeyData": "zyxsecret"}), "privateKeyData"),
        (json!({"name": "k", "validBeforeTime": "2026-01-01T00:00:00Z"}), "expired"),
        (with(key_file("k"), "private_key", good.as_str().into()), "RSA key"),
        (with(key_file("k"), "private_key", "".into()), "private_key is missing"),
        (with(key_file("k"), "project_id", "../../other".into()), "project_id"),
        (with(key_file("k"), "token_uri", "http://169.254.169.254/".into()), "token_uri"),
        (json!("{\"type\": "), "not JSON"),
        (json!([1]), "not JSON"),
        (json!(5), "not JSON"),
    ];
    for (account, said) in accounts {
        let body = with(app("a.b"), "fcm", json!({"service_account": account}));
        let (fields, text) = refused(&rig, &shop, body).await;
        assert_eq!(fields, ["fcm.service_account"], "{said}");
        assert!(text.contains(said) && !text.contains("zyxsecret"), "{said}: {text}");
    }
    rig.get(&shop, "/v1/apps/shop").await.refused(404, "not_found");
}

/// P12, W4: names, topics, bounds; both sides of each.
#[tokio::test]
async fn each_wrong_name_is_named() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    let key = p8();
    let entry = |change: Value| {
        let mut entry = apns("KEY1234567", Some(&key));
        change.as_object().unwrap().iter().for_each(|(field, value)| entry[field] = value.clone());
        with(app("a.b"), "apns", json!([entry]))
    };
    let many = |n: usize| (0..n).map(|i| format!("a.b{i}")).collect::<Vec<_>>();
    let cases = [
        (json!({}), "bundle_ids"),
        (json!({"bundle_ids": ["a b"]}), "bundle_ids[0]"),
        (json!({"bundle_ids": ["a.b", "a.b"]}), "bundle_ids[1]"),
        (json!({"packages": ["a-b"]}), "packages[0]"),
        (json!({"bundle_ids": many(21)}), "bundle_ids"),
        (json!({"packages": ["a.b"], "apns": [apns("KEY1234567", Some(&key))]}), "bundle_ids"),
        (entry(json!({"topics": ["a.c"]})), "apns[0].topics[0]"),
        (entry(json!({"topics": ["a.b", "a.b.voip"]})), "apns[0].topics[1]"),
        (entry(json!({"team_id": "team"})), "apns[0].team_id"),
        (entry(json!({"key_id": "KEY123456"})), "apns[0].key_id"),
        (entry(json!({"environment": "development"})), "apns[0].environment"),
        (entry(json!({"zyx": 1})), "apns[0].zyx"),
        (entry(json!({"key": "k".repeat(8_193)})), "apns[0].key"),
    ];
    for (body, field) in cases {
        let (fields, text) = refused(&rig, &shop, body).await;
        assert_eq!(fields, [field], "{text}");
    }
    let three = [apns("KEY1111111", Some(&key)), apns("KEY2222222", Some(&key)), apns("KEY3333333", Some(&key))];
    let (fields, _) = refused(&rig, &shop, with(app("a.b"), "apns", json!(three))).await;
    assert_eq!(fields, ["apns[2].key_id"], "two of one team and environment");
    let twice = [apns("KEY1111111", Some(&key)), apns("KEY1111111", Some(&key))];
    let (fields, _) = refused(&rig, &shop, with(app("a.b"), "apns", json!(twice))).await;
    assert_eq!(fields, ["apns[1].key_id"]);
    rig.put(&shop, "/v1/apps/shop", with(app("a.b"), "apns", json!(three[..2]))).await.expect(200);
    rig.put(&shop, "/v1/apps/shop", json!({"bundle_ids": many(20)})).await.expect(200);
    rig.put(&shop, "/v1/apps/shop", entry(json!({"topics": ["a.b"]}))).await.expect(200);
    // A name belongs to one app of the workspace; another workspace may have it, too.
    let second = rig.put(&shop, "/v1/apps/staff", app("a.b")).await;
    assert_eq!(second.fields(), ["bundle_ids[0]", "packages[0]"]);
    assert!(second.text.contains("the app shop"), "{}", second.text);
    rig.put(&rig.shop("other").await, "/v1/apps/staff", app("a.b")).await.expect(200);
    for i in 1..20 {
        rig.put(&shop, &format!("/v1/apps/app-{i}"), app(&format!("c.d{i}"))).await.expect(200);
    }
    let one_more = rig.put(&shop, "/v1/apps/one-more", app("e.f")).await;
    assert_eq!(one_more.fields(), ["app_id"], "at most 20");
    rig.put(&shop, "/v1/apps/app-19", app("g.h")).await.expect(200);
}

/// A thousand bytes of the wrong kind, keys of other scopes, no key.
#[tokio::test]
async fn only_the_backend_changes_apps() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    let body = app("a.b");
    let app_key = format!("Bearer {}", shop.app_key);
    let headers = [("authorization", app_key.as_str())];
    rig.call(Method::PUT, "/v1/apps/shop", &headers, Some(&body)).await.refused(403, "forbidden");
    rig.call(Method::PUT, "/v1/apps/shop", &[], Some(&body)).await.refused(401, "unauthorized");
    rig.call(Method::GET, "/v1/apps", &[], None).await.refused(401, "unauthorized");
    rig.put(&shop, "/v1/apps/shop", json!([])).await.refused(400, "invalid_request");
    rig.put(&shop, &format!("/v1/apps/{}", "x".repeat(129)), body).await.refused(400, "invalid_request");
}

/// Two that put different apps of one name at once: one of them has it, never both.
#[tokio::test]
async fn one_name_is_never_given_to_two_apps() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    for round in 0..10 {
        let name = format!("com.acme.r{round}");
        let (a, b) = (format!("/v1/apps/a{round}"), format!("/v1/apps/b{round}"));
        let (a, b) = tokio::join!(rig.put(&shop, &a, app(&name)), rig.put(&shop, &b, app(&name)));
        let mut statuses = [a.status.as_u16(), b.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 400], "{} {}", a.text, b.text);
    }
}

/// Invariant 9: the key is in no answer, no page of the database and none of its other files.
#[tokio::test]
async fn keys_are_sealed_and_never_come_back() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    let key = p8();
    let body = with(app("a.b"), "apns", json!([apns("KEY1234567", Some(&key))]));
    let body = with(body, "fcm", json!({"service_account": key_file("key-1")}));
    let mut answers = vec![rig.put(&shop, "/v1/apps/shop", body.clone()).await.text];
    answers.push(rig.put(&shop, "/v1/apps/shop", with(body, "packages", json!(["c.d"]))).await.text);
    for path in ["/v1/apps", "/v1/apps/shop", "/v1/audit", "/v1/settings"] {
        answers.push(rig.get(&shop, path).await.text);
    }
    let canaries: Vec<String> =
        [&key, &*RSA].iter().flat_map(|pem| pem.lines().skip(1).take(2).map(str::to_owned)).collect();
    let joined: String = canaries.concat();
    assert!(canaries.len() == 4 && canaries.iter().all(|line| line.len() >= 50), "whole lines: {}", joined.len());
    for canary in &canaries {
        assert!(answers.iter().all(|answer| !answer.contains(canary)));
        for file in std::fs::read_dir(rig.path()).unwrap() {
            let path = file.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            let found = bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
            assert!(!found, "{} holds a key in the clear", path.display());
        }
    }
}

/// P1: a message goes to the devices of the apps it names, in a sandbox too, whatever credentials there are.
#[tokio::test]
async fn p1_a_message_goes_to_the_apps_it_names() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    rig.lucas(&shop).await;
    for name in ["shop", "staff"] {
        rig.put(&shop, &format!("/v1/apps/{name}"), app(&format!("com.acme.{name}"))).await.expect(200);
        let mut device = registration(name, Some("lucas"));
        device["package"] = format!("com.acme.{name}").into();
        device["a_newer_field"] = 1.into();
        rig.device(&shop, Method::POST, "/v1/devices", None, device).await.expect(200);
    }
    let mut ios = registration("ios", Some("lucas"));
    (ios["platform"], ios["provider"], ios["topic"]) = ("ios".into(), "apns".into(), "com.acme.shop".into());
    ios["package"] = "com.acme.staff".into();
    rig.device(&shop, Method::POST, "/v1/devices", None, ios).await.expect(200);
    let devices = rig.get(&shop, "/v1/customers/lucas/devices").await.expect(200);
    let apps: Vec<_> = devices["data"].as_array().unwrap().iter().map(|device| device["app"].clone()).collect();
    assert_eq!(apps, [json!("shop"), json!("staff"), json!("shop")]);
    for (id, apps, expected) in [
        ("m1", json!(["shop"]), vec!["token-ios", "token-shop"]),
        ("m2", json!(["staff", "staff"]), vec!["token-staff"]),
        ("m3", json!(["staff", "shop"]), vec!["token-ios", "token-shop", "token-staff"]),
        ("m4", Value::Null, vec!["token-ios", "token-shop", "token-staff"]),
    ] {
        let mut body = reply(id);
        (body["apps"], body["conversation_id"]) = (apps.clone(), id.into());
        let posted = rig.post(&shop, "/v1/messages", body).await.expect(202);
        let followup = posted["followup_id"].as_str().unwrap();
        rig.get(&shop, &format!("/v1/followups/{followup}")).await.expect(200);
        let sends = rig.capture.outbox(&shop.name, Some(Channel::Push), Some(followup));
        let mut to: Vec<_> = sends.iter().map(|send| send.to.clone()).collect();
        to.sort();
        assert_eq!(to, expected, "{apps}");
    }
    // The same in another order is the same; another target is another message (D9).
    let mut again = reply("m3");
    (again["apps"], again["conversation_id"]) = (json!(["shop", "staff"]), "m3".into());
    rig.post(&shop, "/v1/messages", again.clone()).await.expect(202);
    again["apps"] = json!(["shop"]);
    rig.post(&shop, "/v1/messages", again).await.refused(409, "message_conflict");
    for (apps, field) in [(json!(["shop", "zyx"]), "apps[1]"), (json!([]), "apps"), (json!("shop"), "apps")] {
        let mut body = reply("m5");
        body["apps"] = apps;
        assert_eq!(rig.post(&shop, "/v1/messages", body).await.fields(), [field]);
    }
}
