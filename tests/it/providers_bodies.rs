//! The push requests as APNs and FCM get them: their shape, their life, and never above 4,096 bytes.

use crate::providers_support::{AT_MS, push_send};
use backstop_server::providers::{PushSend, apns, fcm};
use backstop_wire::{PUSH_KEY, Push};
use proptest::prelude::*;
use serde_json::{Value, json};

const MAX_BYTES: usize = 4096;

/// What the app finds under the reserved key.
fn received(body: &Value) -> Push {
    match &body["message"]["data"][PUSH_KEY] {
        Value::String(text) => serde_json::from_str(text).unwrap(),
        _ => serde_json::from_value(body[PUSH_KEY].clone()).unwrap(),
    }
}

fn bodies(send: &PushSend) -> [Option<Value>; 2] {
    [apns::body(send), fcm::body(send)]
}

/// P1
#[test]
fn an_apns_body_wakes_the_notification_service_extension() {
    let send = push_send("fu_1", "token");
    let expected = json!({
        "aps": {
            "alert": { "title": "Mina", "body": "Your parcel is on its way." },
            "mutable-content": 1,
            "sound": "default",
            "thread-id": "conv-1",
            "interruption-level": "active",
        },
        "backstop": serde_json::to_value(&send.push).unwrap(),
    });
    assert_eq!(apns::body(&send), Some(expected));
}

/// P1, P10
#[test]
fn an_fcm_body_is_a_data_message_that_lives_as_long_as_its_use() {
    let send = push_send("fu_1", "token");
    let expected = json!({
        "message": {
            "token": "token",
            "data": { "backstop": serde_json::to_string(&send.push).unwrap() },
            "android": { "priority": "HIGH", "ttl": "30s", "collapse_key": "bs-conv-1" },
        }
    });
    assert_eq!(fcm::body(&send), Some(expected));
}

/// P10
#[test]
fn p10_a_ttl_is_whole_seconds_never_longer_than_its_use_and_at_least_one() {
    for (left_ms, ttl) in [
        (30_000, "30s"),
        (29_999, "29s"),
        (1_999, "1s"),
        (1, "1s"),
        (0, "1s"),
        (-5_000, "1s"),
        (86_400_000, "86400s"),
        (i64::from(i32::MAX) * 1000, "2419200s"),
    ] {
        let mut send = push_send("fu_1", "token");
        send.expires_at_ms = AT_MS + left_ms;
        assert_eq!(fcm::body(&send).unwrap()["message"]["android"]["ttl"], ttl, "{left_ms}");
    }
}

#[test]
fn a_long_reply_is_cut_at_a_grapheme_and_no_earlier_than_needed() {
    // A family, a flag and Hangul in jamo: each one grapheme of several code points.
    for cluster in ["👨‍👩‍👧‍👦", "🇰🇷", "\u{1112}\u{1161}\u{11ab}", "é", "\"", "\u{1}"] {
        let mut send = push_send("fu_1", "token");
        send.push.body = cluster.repeat(4000);
        for body in [apns::body, fcm::body] {
            let cut = body(&send).unwrap();
            assert!(cut.to_string().len() <= MAX_BYTES);
            let shown = received(&cut).body;
            let kept = shown.strip_suffix('…').unwrap();
            assert!(!kept.is_empty());
            assert_eq!(kept, cluster.repeat(kept.len() / cluster.len()), "cut inside a cluster");
            let mut one_more = push_send("fu_1", "token");
            one_more.push.body = format!("{kept}{cluster}…");
            assert_ne!(received(&body(&one_more).unwrap()).body, one_more.push.body, "one more would have fitted");
        }
    }
}

#[test]
fn what_does_not_fit_goes_in_the_order_of_its_worth() {
    let mut send = push_send("fu_1", "token");
    send.push.title = "t".repeat(5_000);
    send.push.body = "b".repeat(5_000);
    for body in bodies(&send) {
        let push = received(&body.unwrap());
        assert!(push.body.is_empty() && push.title.ends_with("t…"), "the ids and the link stay");
        assert_eq!(push.link.as_deref(), Some("https://acme.example/c/1"));
    }
    send.push.link = Some("https://acme.example/".to_owned() + &"x".repeat(5_000));
    for body in bodies(&send) {
        let push = received(&body.unwrap());
        assert_eq!((push.link.as_deref(), push.receipt.as_str()), (None, "receipt-1"), "the receipt always goes");
    }
    send.push.receipt = "r".repeat(5_000);
    assert_eq!(bodies(&send), [None, None]);
}

proptest! {
    /// P11: whatever an agent writes, the request fits and the receipt arrives whole.
    #[test]
    fn p11_any_text_fits_and_the_receipt_arrives(body in "(?s).{0,3000}", title in "(?s).{0,300}") {
        let mut send = push_send("fu_1", "token");
        (send.push.body, send.push.title) = (body, title);
        for request in bodies(&send) {
            let request = request.unwrap();
            prop_assert!(request.to_string().len() <= MAX_BYTES);
            let push = received(&request);
            prop_assert_eq!(&push.receipt, &send.push.receipt);
            prop_assert!(send.push.body.starts_with(push.body.strip_suffix('…').unwrap_or(&push.body)));
        }
    }
}
