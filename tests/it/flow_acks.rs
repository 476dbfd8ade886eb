//! What an ack proves over HTTP: grades, several devices, receipts, offline phones, taps (P6, P7, P9, P11, P14, C4).

use crate::flow::{DAY_MS, Device, behave, expect, post, read, received, result, sandbox, sent, shop};
use axum::http::Method;
use backstop_core::{
    Acked, Alerts, Config, Handled, Home, HttpTransport, Platform, Proof, PushClient, PushProvider, PushToken, Request,
    ResponseFuture, SystemClock, Transport, TransportError,
};
use backstop_server::testing::{Behaviour, Workspace};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const HOUR_MS: i64 = 3_600_000;

/// P6: the first countable ack wins for all; a phone that cannot show it does not end the wait for another.
#[tokio::test]
async fn p6_several_devices_are_waited_for_together() {
    let shop_a = shop().await;
    shop_a.phone("ann", Behaviour::Silent).await;
    shop_a.phone("ann", Behaviour::TokenGone).await;
    shop_a.phone("ann", Behaviour::Suppressed).await;
    shop_a.phone("ann", Behaviour::AckAfter(20_000)).await;
    let id = shop_a.reply("ann", "It arrives today.").await;
    shop_a.advance(19_999).await;
    expect(&shop_a, &id, "awaiting_ack", "").await;
    shop_a.advance(1).await;
    expect(&shop_a, &id, "acked", "acked").await;
    assert_eq!(shop_a.followup(&id).await["deliveries"].as_array().unwrap().len(), 4);

    let shop_b = shop().await;
    shop_b.phone("ann", Behaviour::Silent).await;
    shop_b.phone("ann", Behaviour::Suppressed).await;
    let id = shop_b.reply("ann", "It arrives today.").await;
    shop_b.advance(29_999).await;
    expect(&shop_b, &id, "awaiting_ack", "").await;
    shop_b.advance(1).await;
    expect(&shop_b, &id, "fell_back", "suppressed").await;
}

/// P7: arrived and cannot be seen: text and email now.
#[tokio::test]
async fn p7_suppressed_falls_back_at_once() {
    let shop = shop().await;
    shop.phone("ann", Behaviour::Suppressed).await;
    let id = shop.reply("ann", "It arrives today.").await;
    expect(&shop, &id, "fell_back", "channel_off").await;
    assert_eq!(sent(&shop).await, (1, 1));
}

/// P7: the workspace chooses the grade that counts; a lower one leaves the follow-up on its clock.
#[tokio::test]
async fn p7_the_grade_that_counts_is_a_setting() {
    for (wanted, counting) in [("received", 0), ("displayed", 1), ("opened", 2)] {
        let shop = shop().await;
        shop.put("/v1/settings", json!({"ack_grade": wanted})).await.ok();
        let device = Device::register(&shop, "ann", "t").await;
        let id = shop.reply("ann", "It arrives today.").await;
        let receipt = device.receipts(&shop).await.remove(0);
        for (rank, grade) in ["received", "displayed", "opened"].into_iter().enumerate() {
            let counted = rank >= counting;
            assert_eq!(device.ack(&shop, &receipt, grade).await, result("accepted", counted), "{wanted}: {grade}");
            let state = if counted { "acked" } else { "awaiting_ack" };
            assert_eq!(shop.followup(&id).await["state"], state, "{wanted}: {grade}");
        }
    }
    let shop = shop().await;
    let device = Device::register(&shop, "ann", "t").await;
    let id = shop.reply("ann", "It arrives today.").await;
    let receipt = device.receipts(&shop).await.remove(0);
    assert_eq!(device.ack(&shop, &receipt, "received").await, result("accepted", false));
    shop.advance(30_000).await;
    expect(&shop, &id, "fell_back", "grade_too_low").await;
}

/// P6: three counted acks, each an hour old, and no sign of life: the next does not count.
#[tokio::test]
async fn p6_an_unattended_device_stops_counting() {
    for (last_age_ms, state, reason) in [(HOUR_MS - 1, "acked", "acked"), (HOUR_MS, "fell_back", "device_unattended")] {
        let shop = shop().await;
        shop.phone("ann", Behaviour::Ack).await;
        shop.advance(1).await;
        for age_ms in [HOUR_MS, HOUR_MS, last_age_ms] {
            let id = shop.reply("ann", "Anybody there?").await;
            expect(&shop, &id, "acked", "acked").await;
            shop.advance(age_ms).await;
        }
        let id = shop.reply("ann", "Anybody there?").await;
        shop.advance(30_000).await;
        expect(&shop, &id, state, reason).await;
    }
}

/// P6: a read, a message or active presence since tells that somebody looks.
#[tokio::test]
async fn p6_a_sign_of_life_resets_it() {
    for sign in ["read", "message", "presence"] {
        let shop = shop().await;
        shop.phone("ann", Behaviour::Ack).await;
        for _ in 0..3 {
            shop.reply("ann", "Anybody there?").await;
            shop.advance(HOUR_MS).await;
        }
        match sign {
            "read" => drop(read(&shop, "ann", &shop.last_reply()).await.ok()),
            "message" => crate::flow::wrote(&shop, "ann", "yes").await,
            _ => crate::flow::presence(&shop, "tab", "active", None).await,
        }
        crate::flow::presence(&shop, "tab", "left", None).await;
        let id = shop.reply("ann", "Good.").await;
        expect(&shop, &id, "acked", "acked").await;
    }
}

/// P6: only devices used within 30 days count.
#[tokio::test]
async fn p6_a_device_unused_for_30_days_does_not_count() {
    for (unused_ms, state, reason) in
        [(30 * DAY_MS - 1, "acked", "acked"), (30 * DAY_MS, "fell_back", "device_unattended")]
    {
        let shop = shop().await;
        shop.phone("ann", Behaviour::Ack).await;
        shop.advance(unused_ms).await;
        // Registered at the instant the clock stood at.
        let id = shop.reply("ann", "It arrives today.").await;
        shop.advance(30_000).await;
        expect(&shop, &id, state, reason).await;
    }
}

/// P9: acking a newer push of the conversation settles older waiting ones.
#[tokio::test]
async fn p9_a_newer_ack_settles_older_followups() {
    let shop = shop().await;
    let device = Device::register(&shop, "ann", "t").await;
    let first = post(&shop, "r1", json!({"kind": "reply"})).await.ok()["followup_id"].clone();
    let second = post(&shop, "r2", json!({"kind": "reply", "channels": ["push", "email"]})).await.ok();
    assert_ne!(first, second["followup_id"], "another choice of channels does not fold");
    let receipt = device.receipts(&shop).await.remove(1);
    assert_eq!(device.ack(&shop, &receipt, "displayed").await, result("accepted", true));
    expect(&shop, first.as_str().unwrap(), "acked", "acked_by_newer").await;
    expect(&shop, second["followup_id"].as_str().unwrap(), "acked", "acked").await;
}

/// P8: the same ack again is a duplicate, a higher grade is news.
#[tokio::test]
async fn p8_repeats_change_nothing() {
    let shop = shop().await;
    let device = Device::register(&shop, "ann", "t").await;
    shop.reply("ann", "It arrives today.").await;
    let receipt = device.receipts(&shop).await.remove(0);
    assert_eq!(device.ack(&shop, &receipt, "displayed").await, result("accepted", true));
    assert_eq!(device.ack(&shop, &receipt, "displayed").await, result("duplicate", true));
    assert_eq!(device.ack(&shop, &receipt, "received").await.0, "duplicate");
    assert_eq!(device.ack(&shop, &receipt, "opened").await, result("accepted", true));
}

/// Every receipt that is almost the true one: a flipped bit anywhere, another spelling of the same bytes, cut, longer.
fn almost(receipt: &str) -> Vec<String> {
    let bytes = URL_SAFE_NO_PAD.decode(receipt).unwrap();
    let mut all: Vec<String> = (0..bytes.len())
        .map(|i| {
            let mut flipped = bytes.clone();
            flipped[i] ^= 1 << (i % 8);
            URL_SAFE_NO_PAD.encode(flipped)
        })
        .collect();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (head, last) = receipt.split_at(receipt.len() - 1);
    all.extend(alphabet.chars().filter(|c| last != c.to_string()).map(|c| format!("{head}{c}")));
    all.extend([format!("{receipt}="), format!("{receipt}A"), head.to_owned(), format!(" {receipt}"), "x".into()]);
    all
}

/// P11: forged, mutated, swapped and foreign receipts are refused in one shape, and the true one still works.
#[tokio::test]
async fn p11_only_the_true_receipt_from_the_true_device_counts() {
    let (shop, other) = (shop().await, shop().await);
    let device = Device::register(&shop, "ann", "t").await;
    let second = Device::register(&shop, "ann", "u").await;
    let stranger = Device::register(&other, "ann", "t").await;
    let id = shop.reply("ann", "It arrives today.").await;
    other.reply("ann", "It arrives today.").await;
    let receipt = device.receipts(&shop).await.remove(0);
    let swapped = second.receipts(&shop).await.remove(0);
    let foreign = stranger.receipts(&other).await.remove(0);
    let mut forged = almost(&receipt);
    forged.extend([swapped, foreign]);
    for chunk in forged.chunks(100) {
        let acks: Vec<_> = chunk
            .iter()
            .map(|receipt| json!({"receipt": receipt, "grade": "opened", "at": "2026-01-01T00:00:00.000Z"}))
            .collect();
        let sent = device.request(&shop, reqwest::Method::POST, "/v1/acks", Some(json!({ "acks": acks }))).await.ok();
        for (result, receipt) in sent["results"].as_array().unwrap().iter().zip(chunk) {
            assert_eq!(result, &json!({"result": "refused", "counted": false}), "{receipt}");
        }
    }
    expect(&shop, &id, "awaiting_ack", "").await;
    assert_eq!(device.ack(&shop, &receipt, "displayed").await, result("accepted", true));
    expect(&shop, &id, "acked", "acked").await;
}

/// P11: a receipt ends seven days after its push did.
#[tokio::test]
async fn p11_an_old_receipt_is_refused() {
    let shop = shop().await;
    let device = Device::register(&shop, "ann", "t").await;
    shop.reply("ann", "It arrives today.").await;
    let receipt = device.receipts(&shop).await.remove(0);
    shop.advance(30_000 + 7 * DAY_MS - 1).await;
    assert_eq!(device.ack(&shop, &receipt, "displayed").await.0, "late");
    shop.advance(1).await;
    assert_eq!(device.ack(&shop, &receipt, "opened").await, result("refused", false));
}

/// P11: a device's key is its own.
#[tokio::test]
async fn p11_another_devices_key_is_no_key() {
    let shop = shop().await;
    let device = Device::register(&shop, "ann", "t").await;
    let second = Device::register(&shop, "ann", "u").await;
    shop.reply("ann", "It arrives today.").await;
    let impostor = Device { id: device.id.clone(), key: second.key.clone() };
    let receipt = device.receipts(&shop).await.remove(0);
    let acks = json!({"acks": [{"receipt": receipt, "grade": "displayed", "at": "2026-01-01T00:00:00.000Z"}]});
    let answer = impostor.request(&shop, reqwest::Method::POST, "/v1/acks", Some(acks)).await;
    assert_eq!((answer.status, answer.code()), (401, "unauthorized"));
    assert_eq!(device.ack(&shop, &receipt, "displayed").await, result("accepted", true));
}

/// The network of a phone that can be taken away.
struct Flight {
    http: HttpTransport,
    offline: AtomicBool,
}

impl Transport for Flight {
    fn send(&self, request: Request, timeout_ms: u64) -> ResponseFuture<'_> {
        if self.offline.load(Ordering::Acquire) {
            return Box::pin(async { Err(TransportError::Connect) });
        }
        self.http.send(request, timeout_ms)
    }
}

async fn open(shop: &Workspace, token: &str) -> (PushClient, Arc<Flight>) {
    let config = Config {
        base_url: sandbox().await.url().to_owned(),
        app_key: shop.keys().app_key.clone(),
        platform: Platform::Android,
        sdk: "android/0.1.0".into(),
        home: Home::Memory,
        spool_directory: None,
        locale: None,
        extra_root_certificates: Vec::new(),
        allow_http: false,
    };
    let flight = Arc::new(Flight { http: HttpTransport::new(&config).unwrap(), offline: AtomicBool::new(false) });
    let client = PushClient::open_with(config, Arc::clone(&flight) as _, Arc::new(SystemClock)).unwrap();
    client.identify("ann", Proof::Hash(shop.customer_hash("ann")), 5_000).await.unwrap();
    let token = PushToken { provider: PushProvider::Fcm, token: token.into(), topic: None, environment: None };
    client.set_token(token, Alerts::Allowed, 5_000).await.unwrap();
    (client, flight)
}

/// C4, P8: a phone without a network keeps its ack and delivers it later, once.
#[tokio::test]
async fn c4_an_ack_recorded_offline_is_delivered_later() {
    let shop = shop().await;
    let (client, flight) = open(&shop, "t").await;
    let id = shop.reply("ann", "It arrives today.").await;
    let push = shop.outbox("push").await.remove(0);
    let payload = push["payload"]["message"]["data"].to_string();
    flight.offline.store(true, Ordering::Release);
    let handled = client.handle_push(&payload, 200).await.unwrap();
    assert!(matches!(handled, Handled::Ours { ack: Acked::Stored, .. }), "{handled:?}");
    expect(&shop, &id, "awaiting_ack", "").await;
    flight.offline.store(false, Ordering::Release);
    let flushed = client.flush(5_000).await.unwrap();
    assert_eq!((flushed.uploaded, flushed.pending), (1, 0));
    expect(&shop, &id, "acked", "acked").await;
    assert_eq!(client.flush(5_000).await.unwrap().uploaded, 0);
}

/// P14: a tap hands the link out once and acks `opened`, which counts even where nobody seemed to look.
#[tokio::test]
async fn p14_a_tap_opens_the_link_once() {
    let shop = shop().await;
    shop.put("/v1/settings", json!({"ack_grade": "opened"})).await.ok();
    let (client, _) = open(&shop, "t").await;
    let link = "https://shop.example/chat/1";
    let posted = post(&shop, "r1", json!({"kind": "reply", "link": link})).await.ok();
    let id = posted["followup_id"].as_str().unwrap();
    let push = shop.outbox("push").await.remove(0);
    assert_eq!(received(&push)["link"], link);
    let payload = push["payload"]["message"]["data"].to_string();
    client.handle_push(&payload, 5_000).await.unwrap();
    expect(&shop, id, "awaiting_ack", "").await;
    let tapped = client.handle_tap(&payload, &["https"], 5_000).await.unwrap().unwrap();
    assert_eq!(tapped.link.as_deref(), Some(link));
    let again = client.handle_tap(&payload, &["https"], 5_000).await.unwrap().unwrap();
    assert_eq!(again.link, None);
    expect(&shop, id, "acked", "acked").await;
    assert_eq!(shop.followup(id).await["deliveries"][0]["ack"]["grade"], "opened");
}

/// W5: a device that speaks a version of the future is sent one the server knows, and its ack counts.
#[tokio::test]
async fn w5_a_newer_device_is_sent_what_the_server_knows() {
    let shop = shop().await;
    let body = json!({
        "install_id": "i", "platform": "android", "provider": "fcm", "token": "t", "alerts": "allowed",
        "wire": [1, 2, 99], "customer_id": "ann", "customer_hash": shop.customer_hash("ann"), "of_the_future": {"x": 1},
    });
    let answer = crate::flow::register(&shop, body).await.ok();
    let text = |field: &str| answer[field].as_str().unwrap().to_owned();
    let device = Device { id: text("device_id"), key: text("device_key") };
    shop.reply("ann", "It arrives today.").await;
    let push = shop.outbox("push").await.remove(0);
    assert_eq!(received(&push)["v"], 1);
    let receipt = received(&push)["receipt"].as_str().unwrap().to_owned();
    assert_eq!(
        device.ack(&shop, &receipt, "glowing").await,
        result("accepted", false),
        "an unknown grade never counts"
    );
    assert_eq!(device.ack(&shop, &receipt, "displayed").await, result("accepted", true));
}

/// P3, S7: however many acks of one follow-up come in one request, each is noted and the deadline is kept.
#[tokio::test]
async fn p3_many_acks_at_once_do_not_hold_up_the_deadline() {
    let shop = shop().await;
    let device = Device::register(&shop, "ann", "t").await;
    let id = shop.reply("ann", "Reply 1").await;
    for n in 2..=40 {
        assert_eq!(shop.reply("ann", &format!("Reply {n}")).await, id);
    }
    let receipts = device.receipts(&shop).await;
    assert_eq!(receipts.len(), 40);
    let ack = |receipt: &String| json!({"receipt": receipt, "grade": "received", "at": "2026-11-22T18:00:00.000Z"});
    let acks: Vec<_> = receipts.iter().map(ack).collect();
    device.request(&shop, Method::POST, "/v1/acks", Some(json!({"acks": acks}))).await.ok();
    shop.advance(30_000).await;
    expect(&shop, &id, "fell_back", "grade_too_low").await;
    let history = shop.followup(&id).await["history"].as_array().unwrap().len();
    assert!(history > 40, "{history}");
}

/// P5, P6: a push that timed out may have arrived: it is repeated under one collapse id, and its ack counts.
#[tokio::test]
async fn p6_a_push_that_may_have_arrived_is_repeated_harmlessly() {
    let shop = shop().await;
    let device = Device::register(&shop, "ann", "t").await;
    shop.post("/sandbox/providers/push", json!({"behaviour": "accept_then_timeout", "times": 1})).await.ok();
    let id = shop.reply("ann", "It arrives today.").await;
    shop.advance(5_000).await;
    let pushes = shop.outbox("push").await;
    assert_eq!(pushes.len(), 1, "one row an effect key");
    assert_eq!(pushes[0]["attempt"], 2);
    let receipt = device.receipts(&shop).await.remove(0);
    assert_eq!(device.ack(&shop, &receipt, "displayed").await, result("accepted", true));
    expect(&shop, &id, "acked", "acked").await;
    behave(&shop, "push", "accept").await;
}
