//! Every shape on the wire against its golden JSON: what old apps send and read is never broken by a refactoring.

use std::fmt::Debug;
use std::path::PathBuf;

use backstop_wire::{
    Ack, AckBatch, AckOutcome, AckResult, AckResults, Alerts, DeviceRegistered, Environment, FieldError, Grade,
    Platform, PresenceReport, PresenceState, Problem, Push, PushProvider, RegisterDevice, TestOutcome, TestPushed,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/wire")
}

fn golden(name: &str) -> Value {
    let text = std::fs::read_to_string(directory().join(name)).expect("the fixture exists");
    serde_json::from_str(&text).expect("the fixture is JSON")
}

/// Reads as the value, and the value writes as the golden JSON. With a field that nobody knows yet, it reads the same
/// (W5).
fn both_ways<T: Serialize + DeserializeOwned + PartialEq + Debug>(name: &str, value: &T) {
    let json = golden(name);
    assert_eq!(&serde_json::from_value::<T>(json.clone()).expect(name), value, "{name}");
    assert_eq!(serde_json::to_value(value).expect(name), json, "{name}");
    let mut newer = json;
    newer.as_object_mut().expect("an object").insert("of_a_newer_version".to_owned(), json!({"a": [1]}));
    assert_eq!(&serde_json::from_value::<T>(newer).expect(name), value, "{name}");
}

fn ack(receipt: &str, grade: Grade, at: &str, detail: Option<&str>) -> Ack {
    Ack { receipt: receipt.to_owned(), grade, at: at.to_owned(), detail: detail.map(str::to_owned) }
}

/// W5, P7: acks and their results.
#[test]
fn w5_acks() {
    let acks = vec![
        ack("cmVjZWlwdC0x", Grade::Displayed, "2026-11-22T18:00:00.000Z", None),
        ack("cmVjZWlwdC0y", Grade::Suppressed, "2026-11-22T18:00:00.123Z", Some("alerts_denied")),
        ack("cmVjZWlwdC0z", Grade::Received, "1970-01-01T00:00:00.000Z", None),
        ack("cmVjZWlwdC0x", Grade::Opened, "2026-11-22T18:00:05.000Z", None),
    ];
    both_ways("ack_batch.json", &AckBatch { acks });
    let kinds = [AckResult::Accepted, AckResult::Late, AckResult::Duplicate, AckResult::Refused];
    let outcome = |result| AckOutcome { result, counted: result == AckResult::Accepted };
    both_ways("ack_results.json", &AckResults { results: kinds.map(outcome).to_vec() });
}

/// W5, C1: registration of both platforms, with both kinds of proof.
#[test]
fn w5_registration() {
    let android = RegisterDevice {
        install_id: "0f6c1f6e-7a32-4a5b-9d51-3c5a3a1d2b4c".to_owned(),
        platform: Platform::Android,
        provider: PushProvider::Fcm,
        token: "fcm-token".to_owned(),
        topic: None,
        environment: None,
        package: None,
        alerts: Alerts::Allowed,
        wire: vec![1],
        customer_id: Some("lucas".to_owned()),
        customer_hash: Some("99427c7bba36a6902c5fd6383f2fb0214d19b81023296b4bd6b9e024836afea2".to_owned()),
        customer_token: None,
        locale: Some("ko-KR".to_owned()),
    };
    both_ways("register_device_android.json", &android);
    let named = RegisterDevice { package: Some("com.example.app".to_owned()), ..android.clone() };
    both_ways("register_device_android_package.json", &named);
    let ios = RegisterDevice {
        platform: Platform::Ios,
        provider: PushProvider::Apns,
        token: "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0".to_owned(),
        topic: Some("com.example.app".to_owned()),
        environment: Some(Environment::Sandbox),
        alerts: Alerts::NotAsked,
        wire: vec![1, 2],
        customer_hash: None,
        customer_token: Some("header.payload.signature".to_owned()),
        locale: None,
        ..android
    };
    both_ways("register_device_ios.json", &ios);
    let registered = DeviceRegistered { device_id: "dev_01JD".to_owned(), device_key: "a-device-key".to_owned() };
    both_ways("device_registered.json", &registered);
    let printed = format!("{ios:?} {registered:?}");
    for secret in ["00fc13", "signature", "lucas", "a-device-key"] {
        assert!(!printed.contains(secret), "{printed}");
    }
}

/// W5, D4: presence of a device and of a page.
#[test]
fn w5_presence() {
    let device = PresenceReport {
        source_id: "dev_01JD".to_owned(),
        state: PresenceState::Left,
        idle_ms: None,
        customer_id: None,
    };
    both_ways("presence_device.json", &device);
    let page = PresenceReport {
        source_id: "page-1".to_owned(),
        state: PresenceState::Hidden,
        idle_ms: Some(270_000),
        customer_id: Some("lucas".to_owned()),
    };
    both_ways("presence_page.json", &page);
}

/// W5, P11: the push, and how little of one is enough to acknowledge it.
#[test]
fn w5_push() {
    let push = Push {
        v: 1,
        followup_id: "fu_01JD".to_owned(),
        receipt: "cmVjZWlwdC0x".to_owned(),
        conversation_id: "conversation-1".to_owned(),
        title: "Ann".to_owned(),
        body: "주문하신 상품이 발송되었습니다 📦".to_owned(),
        link: Some("https://chat.example.com/c/1".to_owned()),
        collapse_key: "conversation-1".to_owned(),
        expires_at: "2026-11-22T18:00:30.000Z".to_owned(),
    };
    both_ways("push.json", &push);
    let empty = String::new;
    let test = Push {
        followup_id: empty(),
        conversation_id: empty(),
        title: "Test".to_owned(),
        body: empty(),
        link: None,
        collapse_key: empty(),
        ..push.clone()
    };
    both_ways("push_test.json", &test);
    let least: Push = serde_json::from_value(json!({"receipt": "r"})).expect("enough");
    assert_eq!((least.v, least.receipt.as_str()), (0, "r"));
    serde_json::from_value::<Push>(json!({"v": 1})).expect_err("no receipt");
    assert!(!format!("{push:?}").contains("cmVjZWlwdC0x"));
}

/// W5: what a device is told of its test push, with and without a reason.
#[test]
fn w5_test_pushes() {
    let accepted = TestPushed {
        provider: PushProvider::Fcm,
        outcome: TestOutcome::Accepted,
        reason: None,
        environment: None,
        at: "2026-11-22T18:00:00.412Z".to_owned(),
    };
    both_ways("test_pushed.json", &accepted);
    let gone = TestPushed {
        provider: PushProvider::Apns,
        outcome: TestOutcome::TokenGone,
        reason: Some("Unregistered".to_owned()),
        environment: Some(Environment::Production),
        ..accepted.clone()
    };
    both_ways("test_pushed_apns.json", &gone);
    let least = json!({"provider": "fcm", "outcome": "accepted", "at": "2026-11-22T18:00:00.412Z"});
    assert_eq!(serde_json::from_value::<TestPushed>(least).expect("enough"), accepted);
}

/// W4: problem documents.
#[test]
fn w4_problems() {
    let error = FieldError {
        field: "acks[3].receipt".to_owned(),
        code: "missing".to_owned(),
        message: "Give the receipt that came in the push.".to_owned(),
    };
    let invalid = Problem {
        kind: "urn:backstop:problem:invalid_request".to_owned(),
        title: "The request is not valid".to_owned(),
        status: 400,
        detail: Some("Mend the named fields.".to_owned()),
        errors: vec![error],
    };
    both_ways("problem_invalid_request.json", &invalid);
    let proof = Problem {
        kind: "urn:backstop:problem:device_proof_required".to_owned(),
        title: "The device has to prove itself".to_owned(),
        status: 401,
        detail: None,
        errors: vec![],
    };
    both_ways("problem_device_proof_required.json", &proof);
    assert_eq!((invalid.code(), proof.code()), ("invalid_request", "device_proof_required"));
    assert_eq!(Problem { kind: "about:blank".to_owned(), ..proof }.code(), "about:blank");
}

/// W5: a word of a newer version is `unknown`, not an error, wherever either side may be the older one.
#[test]
fn w5_unknown_words_are_read() {
    assert_eq!(serde_json::from_value::<Grade>(json!("seen_by_a_friend")).expect("read"), Grade::Unknown);
    assert_eq!(serde_json::from_value::<AckResult>(json!("postponed")).expect("read"), AckResult::Unknown);
    assert_eq!(serde_json::from_value::<Alerts>(json!("time_sensitive")).expect("read"), Alerts::Unknown);
    assert!(!Alerts::Unknown.can_show());
    assert_eq!(serde_json::from_value::<TestOutcome>(json!("throttled")).expect("read"), TestOutcome::Unknown);
    let mut grades = vec![Grade::Opened, Grade::Unknown, Grade::Displayed, Grade::Suppressed, Grade::Received];
    grades.sort();
    let words: Vec<&str> = grades.iter().map(|grade| grade.as_str()).collect();
    assert_eq!(words, ["unknown", "suppressed", "received", "displayed", "opened"], "in rising order");
    for grade in grades {
        assert_eq!(serde_json::to_value(grade).expect("written"), grade.as_str());
    }
    for outcome in ["accepted", "token_gone", "rejected", "retry_after", "unknown"] {
        assert_eq!(serde_json::from_value::<TestOutcome>(json!(outcome)).expect("read").as_str(), outcome);
    }
}

/// No golden file lies about unread.
#[test]
fn every_golden_file_is_compared() {
    let source = include_str!("golden.rs");
    for entry in std::fs::read_dir(directory()).expect("readable") {
        let name = entry.expect("readable").file_name().into_string().expect("ASCII");
        assert!(source.contains(&format!("\"{name}\"")), "{name}");
    }
}
