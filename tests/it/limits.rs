//! Hard stops before money, over HTTP (S4): caps, windows, countries, prices, and that nothing counts twice.

use crate::flow::{delivery, expect, sandbox, sent};
use crate::program::Server;
use backstop_server::testing::Workspace;
use serde_json::{Value, json};
use std::sync::Arc;
use tempfile::TempDir;
use tokio::task::JoinSet;

const HOUR_MS: i64 = 3_600_000;
/// Replies that are posted beside each other.
const AT_ONCE: usize = 32;

/// A workspace of the test's own with these limits, its clock frozen. Text only: what a cap stops is seen at once.
async fn limited(limits: Value) -> Workspace {
    let shop = sandbox().await.workspace().await;
    shop.advance(0).await;
    set(&shop, json!({"limits": limits, "email": false, "repeat_gap_ms": 0})).await;
    shop
}

async fn set(shop: &Workspace, settings: Value) {
    shop.put("/v1/settings", settings).await.ok();
}

/// A reply to a customer with this number, in a conversation of their own; its follow-up's text.
async fn text_to(shop: &Workspace, customer: &str, message_id: &str, phone: &str) -> String {
    let followup = shop.followup(&reply(shop, customer, message_id, phone).await).await;
    delivery(&followup, "sms")
}

async fn reply(shop: &Workspace, customer: &str, message_id: &str, phone: &str) -> String {
    let body = json!({
        "message_id": message_id, "conversation_id": format!("chat-{customer}"), "customer_id": customer,
        "kind": "reply", "author": {"name": "Kim"}, "text": "Hello.", "customer": {"phone": phone},
    });
    let posted = shop.post("/v1/messages", body).await.ok();
    posted["followup_id"].as_str().unwrap().to_owned()
}

/// Posts a reply for each of these, many at a time; answers their texts.
async fn texts_to(shop: &Arc<Workspace>, phones: Vec<String>) -> Vec<String> {
    let mut texts = Vec::new();
    let numbered: Vec<_> = phones.into_iter().enumerate().collect();
    for some in numbered.chunks(AT_ONCE) {
        let mut all = JoinSet::new();
        for (n, phone) in some {
            let (shop, n, phone) = (Arc::clone(shop), *n, phone.clone());
            all.spawn(async move { text_to(&shop, &format!("c{n}"), &format!("m{n}"), &phone).await });
        }
        texts.extend(all.join_all().await);
    }
    texts
}

/// What was used of the cap of this scope in this window.
async fn used(shop: &Workspace, scope: &str, window: &str, query: &str) -> Value {
    let limits = shop.get(&format!("/v1/limits{query}")).await.ok();
    let all = limits["data"].as_array().unwrap();
    let found = all.iter().find(|cap| cap["scope"] == scope && cap["window"] == window);
    found.map_or(Value::Null, |cap| cap["used"].clone())
}

/// S4: without limits of its own a sandbox stops nothing.
#[tokio::test]
async fn s4_a_sandbox_has_no_caps() {
    let shop = sandbox().await.workspace().await;
    shop.advance(0).await;
    set(&shop, json!({"repeat_gap_ms": 0})).await;
    for n in 0..25 {
        assert_eq!(text_to(&shop, "ann", &format!("m{n}"), "+19002345678").await, "accepted");
        // Two follow-ups of a conversation do not begin at one instant.
        shop.advance(1).await;
    }
    let limits = shop.get("/v1/limits").await.ok();
    assert_eq!(limits, json!({"data": [], "countries": null, "max_price_micros": null, "currency": "USD"}));
}

/// S4: the cap of each scope holds to the text and says so; what is over is free again with the window.
#[tokio::test]
async fn s4_each_scope_has_its_cap() {
    let numbers = ["+821055550001", "+821055550002", "+821055559999", "+821066660000"];
    // The customer and the number of each text, and which of them leave.
    let table = [
        ("number", [("a", numbers[0]), ("b", numbers[0]), ("a", numbers[1])], [true, false, true]),
        ("prefix", [("a", numbers[0]), ("b", numbers[2]), ("c", numbers[3])], [true, false, true]),
        ("customer", [("a", numbers[0]), ("a", numbers[3]), ("b", numbers[0])], [true, false, true]),
        ("conversation", [("a", numbers[0]), ("a", numbers[3]), ("b", numbers[0])], [true, false, true]),
        ("workspace", [("a", numbers[0]), ("b", numbers[3]), ("c", numbers[1])], [true, false, false]),
    ];
    for (scope, texts, leaves) in table {
        let shop = limited(json!({scope: {"per_hour": 1, "per_day": 2}})).await;
        for (n, ((customer, phone), leaves)) in texts.into_iter().zip(leaves).enumerate() {
            let expected = if leaves { "accepted".to_owned() } else { format!("skipped:capped:{scope}") };
            assert_eq!(text_to(&shop, customer, &format!("m{n}"), phone).await, expected, "{scope} {n}");
            // Two follow-ups of a conversation do not begin at one instant.
            shop.advance(1).await;
        }
        let query = "?customer_id=a&conversation_id=chat-a";
        // The number of customer a is the last that was given for them.
        let ends = shop.get("/v1/limits").await.ok()["data"][0]["ends_at"].clone();
        let left_ms = crate::flow::ms(&ends) - crate::flow::ms(&shop.advance(0).await["now"]);
        assert!((1..=HOUR_MS).contains(&left_ms), "{left_ms}");
        shop.advance(left_ms - 1).await;
        let late = text_to(&shop, texts[0].0, "late", texts[0].1).await;
        assert_eq!(late, format!("skipped:capped:{scope}"), "a millisecond before the window ends");
        assert_eq!(used(&shop, scope, "hour", query).await, 1);
        shop.advance(1).await;
        assert_eq!(text_to(&shop, texts[0].0, "next", texts[0].1).await, "accepted", "{scope}");
    }
}

/// S4: 100 replies at once to one number: exactly the cap leaves, and the rest say why.
#[tokio::test]
async fn s4_a_hundred_at_once_send_exactly_the_cap() {
    let shop = limited(json!({"number": {"per_hour": 7}})).await;
    let shop = Arc::new(shop);
    let texts = texts_to(&shop, vec!["+821055550001".into(); 100]).await;
    let of = |word: &str| texts.iter().filter(|text| *text == word).count();
    assert_eq!((of("accepted"), of("skipped:capped:number")), (7, 93));
    assert_eq!(sent(&shop).await.0, 7);
    assert_eq!(used(&shop, "number", "hour", "?customer_id=c0").await, 7);
}

/// S4: who pumps texts through 10,000 numbers of one block gets the cap of the block; a customer elsewhere is texted.
#[tokio::test]
async fn s4_pumping_stops_at_the_block() {
    let shop = limited(json!({"prefix": {"per_hour": 50}})).await;
    let shop = Arc::new(shop);
    let texts = texts_to(&shop, (0..10_000).map(|n| format!("+82105555{n:04}")).collect()).await;
    assert_eq!(texts.iter().filter(|text| *text == "accepted").count(), 50);
    assert_eq!(sent(&shop).await.0, 50);
    assert_eq!(text_to(&shop, "lucas", "m", "+821066660000").await, "accepted");
}

/// S4: countries are off but for the workspace's own and those it lists; email still goes.
#[tokio::test]
async fn s4_countries_are_off_until_listed() {
    let shop = sandbox().await.workspace().await;
    set(&shop, json!({"country": "KR", "countries": ["DE"], "email": true})).await;
    for (customer, phone, expected) in [
        ("kr", "+821055550001", "accepted"),
        ("de", "+4915112345678", "accepted"),
        ("us", "+12025550123", "skipped:country_off"),
        ("at sea", "+870773111632", "skipped:country_off"),
    ] {
        assert_eq!(text_to(&shop, customer, customer, phone).await, expected, "{customer}");
    }
    shop.put_customer("us", json!({"phone": "+12025550123", "email": "us@example.com"})).await;
    let id = shop.reply("us", "Hello.").await;
    expect(&shop, &id, "fell_back", "no_device").await;
    assert_eq!(delivery(&shop.followup(&id).await, "sms"), "skipped:country_off");
    assert_eq!(shop.get("/v1/limits").await.ok()["countries"], json!(["DE", "KR"]));
}

/// S4: a text that costs more than the maximum does not leave; a number nobody reaches is not counted.
#[tokio::test]
async fn s4_what_costs_more_than_the_maximum_stays() {
    let shop = limited(json!({"max_price_micros": 8_999, "number": {"per_hour": 1}})).await;
    assert_eq!(text_to(&shop, "ann", "m", "+821055550001").await, "skipped:price_too_high");
    assert_eq!(used(&shop, "number", "hour", "?customer_id=ann").await, 0);
    let shop = limited(json!({"max_price_micros": 9_000})).await;
    assert_eq!(text_to(&shop, "ann", "m", "+821055550001").await, "accepted");
}

/// S4: a text that was refused is given back; the next one may leave.
#[tokio::test]
async fn s4_a_refused_text_is_given_back() {
    let shop = limited(json!({"number": {"per_hour": 1}})).await;
    let body = json!({"behaviour": "reject", "times": 1});
    shop.post("/sandbox/providers/sms", body).await.ok();
    assert_eq!(text_to(&shop, "a", "m1", "+821055550001").await, "failed:rejected");
    assert_eq!(used(&shop, "number", "hour", "?customer_id=a").await, 0);
    assert_eq!(text_to(&shop, "a", "m2", "+821055550001").await, "accepted");
    shop.advance(1).await;
    assert_eq!(text_to(&shop, "a", "m3", "+821055550001").await, "skipped:capped:number");
}

/// S4, S7: a stopped text is told in sentences, and counted by its reason; each alarm rings.
#[tokio::test]
async fn s4_stops_are_told() {
    let shop = limited(json!({"workspace": {"per_hour": 2}})).await;
    for n in 0..2 {
        assert_eq!(text_to(&shop, &format!("c{n}"), &format!("m{n}"), "+821055550001").await, "accepted");
    }
    let id = reply(&shop, "c2", "m2", "+821055550001").await;
    expect(&shop, &id, "failed", "no_fallback_route").await;
    let history = shop.followup(&id).await["history"].clone();
    let claim = history.as_array().unwrap().last().unwrap().clone();
    assert_eq!((&claim["event"], &claim["decision"]), (&json!("claim:capped:workspace"), &json!("skip")));
    let metrics = shop.get("/metrics").await.ok();
    for line in [
        "backstop_text_stops_total{reason=\"capped:workspace\"}",
        "backstop_alarms_total{alarm=\"text_cap_50\"}",
        "backstop_alarms_total{alarm=\"text_cap_100\"}",
    ] {
        assert!(metrics.as_str().unwrap().contains(line), "{line}");
    }
}

/// S4, W4: limits that do not read are refused by field.
#[tokio::test]
async fn s4_w4_wrong_limits_are_refused() {
    let shop = sandbox().await.workspace().await;
    for (settings, field) in [
        (json!({"limits": {"number": {"per_hour": -1}}}), "limits.number.per_hour"),
        (json!({"limits": {"nobody": {}}}), "limits.nobody"),
        (json!({"limits": {"max_price_micros": -1}}), "limits.max_price_micros"),
        (json!({"countries": ["kr"]}), "countries[0]"),
    ] {
        let answer = shop.put("/v1/settings", settings.clone()).await;
        assert_eq!((answer.status, answer.code()), (400, "invalid_request"), "{settings}: {:#}", answer.body);
        assert_eq!(answer.body["errors"][0]["field"], field, "{:#}", answer.body);
    }
}

/// S4: killed between a text's claim and its send, it stays counted, once: nothing is freed, nothing counted twice.
#[tokio::test]
async fn s4_a_kill_after_the_claim_frees_nothing() {
    let dir = TempDir::new().unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = |url: String, body: Option<Value>| {
        let request = match &body {
            Some(body) if url.ends_with("/v1/settings") => client.put(&url).json(body),
            Some(body) => client.post(&url).json(body),
            None => client.get(&url),
        };
        request.bearer_auth("sk_sandbox").send()
    };
    let message = |id: &str| {
        json!({"message_id": id, "conversation_id": id, "customer_id": id, "kind": "reply", "author": {"name": "Kim"},
            "text": "Hello.", "customer": {"phone": "+821055550001"}})
    };
    let server = Server::start(&dir, &["--sandbox"], &[("BACKSTOP_FAILPOINTS", "fallback_claimed:1=kill")]).unwrap();
    let settings = json!({"limits": {"number": {"per_day": 2}}, "email": false});
    ask(format!("{}/v1/settings", server.url), Some(settings)).await.unwrap();
    let _ = ask(format!("{}/v1/messages", server.url), Some(message("m0"))).await;
    let _ = server.ended();
    let server = Server::start(&dir, &["--sandbox"], &[]).unwrap();
    for n in 1..=3 {
        let posted = ask(format!("{}/v1/messages", server.url), Some(message(&format!("m{n}")))).await.unwrap();
        assert_eq!(posted.status(), 202);
    }
    let outbox = ask(format!("{}/sandbox/outbox?channel=sms", server.url), None).await.unwrap();
    let outbox: Value = outbox.json().await.unwrap();
    assert_eq!(outbox["data"].as_array().unwrap().len(), 1, "the one that was killed may have left");
    let limits = ask(format!("{}/v1/limits?customer_id=m0", server.url), None).await.unwrap();
    let limits: Value = limits.json().await.unwrap();
    assert_eq!(limits["data"][0]["used"], 2);
}
