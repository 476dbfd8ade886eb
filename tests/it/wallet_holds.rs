//! What texts cost, over HTTP (S2, S3, S9): held, captured, released, refunded; empty wallets, months, a kill between.

use crate::flow::{behave, delivery, sandbox};
use crate::program::Server;
use crate::wallet::{call, top_up, usd};
use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use backstop_server::testing::Workspace;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// One part of an SMS to Korea by a sandbox's list.
const PRICE: i64 = 9_000;
/// What every sandbox workspace begins with.
const OPENING: i64 = 1_000_000_000_000;
const MINUTE_MS: i64 = 60_000;

/// A workspace of the test's own that sends texts alone, its clock frozen.
async fn shop() -> Workspace {
    let shop = sandbox().await.workspace().await;
    shop.advance(0).await;
    shop.put("/v1/settings", json!({"email": false, "repeat_gap_ms": 0})).await.ok();
    shop
}

fn reply(id: &str) -> Value {
    json!({
        "message_id": id, "conversation_id": id, "customer_id": id, "kind": "reply", "author": {"name": "Kim"},
        "text": "Hello.", "customer": {"phone": "+821055550001"},
    })
}

/// A reply to a Korean number that nobody has a phone for: its text goes at once.
async fn text(shop: &Workspace, id: &str) -> String {
    shop.post("/v1/messages", reply(id)).await.ok()["followup_id"].as_str().unwrap().to_owned()
}

/// Balance and held.
async fn money(shop: &Workspace) -> (i64, i64) {
    let wallet = shop.get("/v1/wallet").await.ok();
    (wallet["balance"]["amount_micros"].as_i64().unwrap(), wallet["held"]["amount_micros"].as_i64().unwrap())
}

/// What the ledger tells of this follow-up, oldest first: kind and amount.
async fn told(shop: &Workspace, followup: &str) -> Vec<(String, i64)> {
    let page = shop.get("/v1/wallet/entries?limit=200").await.ok();
    let mut entries: Vec<Value> = page["data"].as_array().unwrap().clone();
    entries.retain(|entry| entry["followup_id"] == followup);
    entries.reverse();
    let of = |entry: &Value| {
        (entry["kind"].as_str().unwrap().to_owned(), entry["amount"]["amount_micros"].as_i64().unwrap())
    };
    entries.iter().map(of).collect()
}

fn lines(kinds: &[&str]) -> Vec<(String, i64)> {
    kinds.iter().map(|kind| ((*kind).to_owned(), PRICE)).collect()
}

/// The month's count and amount.
async fn used(shop: &Workspace) -> (i64, i64) {
    let usage = shop.get("/v1/usage").await.ok();
    (usage["total"]["count"].as_i64().unwrap(), usage["total"]["amount"]["amount_micros"].as_i64().unwrap())
}

/// S2, S9: each ending of a text moves the money that it should, and the month adds up to the ledger.
#[tokio::test]
async fn s2_money_follows_the_text() {
    for (behaviour, status, kinds, left) in [
        ("accept", "accepted", vec!["hold", "capture"], (OPENING - PRICE, 0)),
        ("reject", "failed:rejected", vec!["hold", "release"], (OPENING, 0)),
        ("timeout", "unknown", vec!["hold"], (OPENING - PRICE, PRICE)),
        ("report_failed", "failed:report_failed", vec!["hold", "capture", "refund", "release"], (OPENING, 0)),
    ] {
        let shop = shop().await;
        behave(&shop, "sms", behaviour).await;
        let id = text(&shop, "m").await;
        let followup = shop.followup(&id).await;
        let is = delivery(&followup, "sms");
        assert!(is.starts_with(status.split(':').next().unwrap()), "{behaviour}: {is}");
        assert_eq!((told(&shop, &id).await, money(&shop).await), (lines(&kinds), left), "{behaviour}");
        let price = &followup["deliveries"][0]["price"];
        let expected = if left == (OPENING, 0) { Value::Null } else { usd(PRICE) };
        assert_eq!(*price, expected, "{behaviour}");
        let counted = if behaviour == "accept" { (1, PRICE) } else { (0, 0) };
        assert_eq!(used(&shop).await, counted, "{behaviour}");
    }
}

/// S2: what may have left is held for as long as a report is awaited, to the millisecond, and then paid.
#[tokio::test]
async fn s2_what_may_have_left_is_paid_when_nobody_will_say() {
    let shop = shop().await;
    behave(&shop, "sms", "accept_then_timeout").await;
    let id = text(&shop, "m").await;
    assert_eq!((told(&shop, &id).await, money(&shop).await.1), (lines(&["hold"]), PRICE));
    // Asked for at 30 s and 60 s in vain, and a report awaited for 180 s after the claim ended.
    shop.advance(2 * MINUTE_MS).await;
    assert_eq!(money(&shop).await.1, PRICE);
    shop.advance(2 * MINUTE_MS).await;
    assert_eq!(told(&shop, &id).await, lines(&["hold", "capture"]));
    assert_eq!((money(&shop).await, used(&shop).await), ((OPENING - PRICE, 0), (1, PRICE)));
}

/// S2, S5: usage by kind and country, in parts and post units; an email is counted at what it costs: nothing.
#[tokio::test]
async fn s9_usage_is_by_kind_and_country() {
    let shop = sandbox().await.workspace().await;
    shop.advance(0).await;
    shop.put("/v1/settings", json!({"repeat_gap_ms": 0})).await.ok();
    for (id, phone, text) in [("a", "+821055550001", "x".repeat(10)), ("b", "+14155550123", "x".repeat(200))] {
        let mut body = reply(id);
        body["customer"] = json!({"phone": phone, "email": "ann@example.com"});
        body["text"] = json!(text);
        shop.post("/v1/messages", body).await.ok();
    }
    let usage = shop.get("/v1/usage").await.ok();
    let line = |kind: &str, country: Value| {
        let all = usage["data"].as_array().unwrap();
        let found = all.iter().find(|line| line["kind"] == kind && line["country"] == country);
        found.unwrap_or_else(|| panic!("{kind} {country}: {usage:#}")).clone()
    };
    let korea = line("sms", json!("KR"));
    assert_eq!((&korea["count"], &korea["pu_milli"], &korea["amount"]), (&json!(1), &json!(1_000), &usd(PRICE)));
    assert_eq!(korea["price"], usd(PRICE));
    let america = line("sms", json!("US"));
    assert_eq!((&america["parts"], &america["amount"]), (&json!(2), &usd(100_000)));
    let email = line("email", Value::Null);
    assert_eq!((&email["count"], &email["amount"]), (&json!(2), &usd(0)));
    assert_eq!(usage["total"]["amount"], usd(109_000));
}

/// A sandbox of its own with these keys.
fn server(dir: &TempDir, env: &[(&str, &str)]) -> Server {
    Server::start(dir, &["--sandbox"], env).unwrap()
}

async fn get(server: &Server, path: &str) -> Value {
    let (status, body) = call(server, "sk_sandbox", path, None).await;
    assert_eq!(status, 200, "{path}: {body:#}");
    body
}

async fn send(server: &Server, path: &str, body: Value) -> Value {
    let (status, answer) = call(server, "sk_sandbox", path, Some(body)).await;
    assert!((200..300).contains(&status), "{path}: {answer:#}");
    answer
}

/// The first text of this reply, when all is settled.
async fn sent_by(server: &Server, id: &str) -> String {
    let followup = send(server, "/v1/messages", reply(id)).await["followup_id"].clone();
    delivery(&get(server, &format!("/v1/followups/{}", followup.as_str().unwrap())).await, "sms")
}

/// S2, P4: with too little money no text leaves, the log says so, and the email goes; a top-up mends it at once.
#[tokio::test]
async fn s2_an_empty_wallet_stops_texts_alone() {
    let dir = TempDir::new().unwrap();
    let env = [("BACKSTOP__WALLET__SANDBOX_OPENING_MICROS", "9000"), ("BACKSTOP__WALLET__ALARM_BELOW_MICROS", "1")];
    let server = server(&dir, &env);
    assert_eq!(sent_by(&server, "m1").await, "accepted");
    assert_eq!(sent_by(&server, "m2").await, "skipped:balance_too_low");
    let mut with_email = reply("m3");
    with_email["customer"]["email"] = json!("ann@example.com");
    let id = send(&server, "/v1/messages", with_email).await["followup_id"].as_str().unwrap().to_owned();
    let followup = get(&server, &format!("/v1/followups/{id}")).await;
    let is = (delivery(&followup, "sms"), delivery(&followup, "email"), followup["state"].as_str().unwrap());
    assert_eq!(is, ("skipped:balance_too_low".into(), "accepted".into(), "fell_back"));
    send(&server, "/v1/wallet/top-ups", top_up("invoice-1", PRICE)).await;
    assert_eq!(sent_by(&server, "m4").await, "accepted");
    assert_eq!(get(&server, "/v1/wallet").await["balance"], usd(0));
    let metrics = call(&server, "sk_sandbox", "/metrics", None).await;
    assert_eq!(metrics.0, 200);
    let stopped = server.log().iter().any(|line| line.contains("wallet_empty"));
    assert!(stopped, "{:?}", server.log());
}

/// S2: killed between claim and send, the money of one text is held, once, and paid when nobody says what became of it.
#[tokio::test]
async fn s2_a_kill_after_the_claim_holds_once() {
    let dir = TempDir::new().unwrap();
    let dying = server(&dir, &[("BACKSTOP_FAILPOINTS", "fallback_claimed:1=kill")]);
    send(&dying, "/v1/settings", json!({"email": false})).await;
    let _ = call(&dying, "sk_sandbox", "/v1/messages", Some(reply("m1"))).await;
    let _ = dying.ended();
    let server = server(&dir, &[]);
    assert_eq!(get(&server, "/v1/wallet").await["held"], usd(PRICE));
    send(&server, "/sandbox/clock/advance", json!({"ms": 5 * MINUTE_MS})).await;
    let wallet = get(&server, "/v1/wallet").await;
    assert_eq!((&wallet["held"], &wallet["balance"]), (&usd(0), &usd(OPENING - PRICE)));
    let kinds: Vec<&Value> = wallet["entries"].as_array().unwrap().iter().map(|entry| &entry["kind"]).collect();
    assert_eq!(kinds, ["capture", "hold", "top_up"]);
}

/// S3: a paid plan's grant comes each month, is spent first, and is gone at the month's end.
#[tokio::test]
async fn s3_a_months_grant_comes_and_goes() {
    let dir = TempDir::new().unwrap();
    let env = [
        ("BACKSTOP__WALLET__PAID_WORKSPACES", "sandbox"),
        ("BACKSTOP__WALLET__MONTHLY_GRANT_MICROS", "20000"),
        ("BACKSTOP__WALLET__SANDBOX_OPENING_MICROS", "1000"),
    ];
    let server = server(&dir, &env);
    send(&server, "/v1/settings", json!({"email": false, "repeat_gap_ms": 0})).await;
    let now = send(&server, "/sandbox/clock/advance", json!({"ms": 0})).await["now"].clone();
    let grant = get(&server, "/v1/wallet").await["grants"][0].clone();
    assert_eq!(grant["remaining"], usd(20_000));
    assert_eq!(sent_by(&server, "m1").await, "accepted");
    let wallet = get(&server, "/v1/wallet").await;
    assert_eq!((&wallet["grants"][0]["remaining"], &wallet["available"]), (&usd(20_000 - PRICE), &usd(1_000)));
    let left_ms = crate::flow::ms(&grant["expires_at"]) - crate::flow::ms(&now);
    send(&server, "/sandbox/clock/advance", json!({"ms": left_ms - 1})).await;
    assert_eq!(get(&server, "/v1/wallet").await["balance"], usd(21_000 - PRICE), "the last millisecond");
    send(&server, "/sandbox/clock/advance", json!({"ms": 1})).await;
    for _ in 0..2 {
        let wallet = get(&server, "/v1/wallet").await;
        assert_eq!(wallet["balance"], usd(21_000), "the next month's, once");
        let kinds: Vec<&Value> = wallet["entries"].as_array().unwrap().iter().map(|entry| &entry["kind"]).collect();
        assert_eq!(kinds, ["grant", "expire", "capture", "hold", "grant", "top_up"]);
    }
}

/// A question as the billing system hears it.
type Question = (HeaderMap, Value);

/// A billing system that refuses the first question it hears, and takes the others.
async fn billing() -> (String, UnboundedReceiver<Question>) {
    let (hears, heard) = unbounded_channel();
    let first = Arc::new(AtomicBool::new(true));
    let hear = move |headers: HeaderMap, body: Bytes| {
        hears.send((headers, serde_json::from_slice(&body).unwrap())).unwrap();
        let status = if first.swap(false, Ordering::AcqRel) { StatusCode::BAD_GATEWAY } else { StatusCode::NO_CONTENT };
        async move { status }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/hook", post(hear))).await });
    (url, heard)
}

/// S3, W1: below the threshold the billing system is asked once until it answers, under one id until it has heard; its
/// answer names the question, and the next one is another.
#[tokio::test]
async fn s3_the_billing_system_is_asked_once_until_it_answers() {
    let (url, mut heard) = billing().await;
    let dir = TempDir::new().unwrap();
    let env = [
        ("BACKSTOP__WALLET__SANDBOX_OPENING_MICROS", "30000"),
        ("BACKSTOP__WALLET__BILLING_WEBHOOK_URL", url.as_str()),
        ("BACKSTOP__WALLET__BILLING_WEBHOOK_SECRET", SECRET),
    ];
    let server = server(&dir, &env);
    let auto = json!({"threshold_micros": 20_000, "amount_micros": 50_000});
    send(&server, "/v1/settings", json!({"email": false, "repeat_gap_ms": 0, "auto_charge": auto})).await;
    let state = async || get(&server, "/v1/wallet").await["auto_charge"]["state"].clone();
    assert_eq!((sent_by(&server, "m1").await, state().await), ("accepted".into(), json!("ready")));
    for id in ["m2", "m3"] {
        assert_eq!(sent_by(&server, id).await, "accepted");
    }
    let (refused, _) = heard.recv().await.unwrap();
    let (headers, body) = heard.recv().await.unwrap();
    assert_eq!(headers["webhook-id"], "sandbox:ask_1");
    assert_eq!(refused["webhook-id"], headers["webhook-id"], "what was not heard goes again");
    assert!(headers["webhook-signature"].to_str().unwrap().starts_with("v1,"));
    assert_eq!(body["type"], "wallet.low");
    assert_eq!((&body["data"]["ask_id"], &body["data"]["amount"]), (&json!("ask_1"), &usd(50_000)));
    let declined = call(&server, "sk_sandbox", "/v1/wallet/asks/ask_2/decline", Some(json!({}))).await;
    assert_eq!(declined.0, 404);
    let answer = json!({"top_up_id": "card-1", "amount_micros": 50_000, "ask_id": "ask_1"});
    send(&server, "/v1/wallet/top-ups", answer.clone()).await;
    send(&server, "/v1/wallet/top-ups", answer).await;
    assert_eq!(state().await, "ready");
    assert_eq!(get(&server, "/v1/wallet").await["balance"], usd(30_000 - 3 * PRICE + 50_000));
    for n in 4..8 {
        assert_eq!(sent_by(&server, &format!("m{n}")).await, "accepted");
    }
    assert_eq!(get(&server, "/v1/wallet").await["auto_charge"]["ask"]["ask_id"], "ask_2");
    let (headers, _) = heard.recv().await.unwrap();
    assert_eq!(headers["webhook-id"], "sandbox:ask_2");
    let declined = call(&server, "sk_sandbox", "/v1/wallet/asks/ask_2/decline", Some(json!({}))).await;
    assert_eq!((declined.0, state().await), (204, json!("declined")));
    let after = sent_by(&server, "m8").await;
    assert_eq!((after.as_str(), state().await), ("accepted", json!("declined")), "who declined is left alone");
    assert!(heard.try_recv().is_err());
}

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// S3: with too little money from the start, the billing system is asked before a text is lost.
#[tokio::test]
async fn s3_an_empty_wallet_is_asked_for_as_it_is_looked_at() {
    let (url, mut heard) = billing().await;
    let dir = TempDir::new().unwrap();
    let env = [
        ("BACKSTOP__WALLET__SANDBOX_OPENING_MICROS", "0"),
        ("BACKSTOP__WALLET__BILLING_WEBHOOK_URL", url.as_str()),
        ("BACKSTOP__WALLET__BILLING_WEBHOOK_SECRET", SECRET),
    ];
    let server = server(&dir, &env);
    let auto = json!({"threshold_micros": 20_000, "amount_micros": 50_000});
    send(&server, "/v1/settings", json!({"auto_charge": auto})).await;
    for _ in 0..2 {
        assert_eq!(get(&server, "/v1/wallet").await["auto_charge"]["ask"]["ask_id"], "ask_1");
    }
    assert_eq!(heard.recv().await.unwrap().0["webhook-id"], "sandbox:ask_1");
    drop(server);

    // S2: where nobody is charged any more, nobody is asked, whatever question was open. Another workspace's answer
    // cannot tell when that was looked at: as long as three looks take, then.
    let charge = [("BACKSTOP__WALLET__CHARGE", "false")];
    let env: Vec<_> = env.into_iter().chain(charge).collect();
    let server = self::server(&dir, &env);
    assert_eq!(get(&server, "/v1/wallet").await["charged"], false);
    while heard.try_recv().is_ok() {}
    assert!(tokio::time::timeout(Duration::from_secs(3), heard.recv()).await.is_err(), "it was asked");
}
