//! Money, over HTTP (S2, S3, S5, S9): payments, the ledger, who may add to it, and what is refused.

use crate::flow::sandbox;
use crate::program::{Server, said};
use backstop_server::testing::Workspace;
use serde_json::{Value, json};
use tempfile::TempDir;

/// What every sandbox workspace begins with.
const OPENING: i64 = 1_000_000_000_000;

/// A workspace of the test's own, its clock frozen.
async fn shop() -> Workspace {
    let shop = sandbox().await.workspace().await;
    shop.advance(0).await;
    shop
}

pub fn usd(amount_micros: i64) -> Value {
    json!({"amount_micros": amount_micros, "currency": "USD"})
}

pub fn top_up(id: &str, amount_micros: i64) -> Value {
    json!({"top_up_id": id, "amount_micros": amount_micros})
}

/// A call to a server in a process of its own: status and body.
pub async fn call(server: &Server, key: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}{path}", server.url);
    let request = match &body {
        Some(body) if path == "/v1/settings" => client.put(url).json(body),
        Some(body) => client.post(url).json(body),
        None => client.get(url),
    };
    let answer = request.bearer_auth(key).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
}

/// S2: a sandbox's wallet is funded, and its ledger says from where.
#[tokio::test]
async fn s2_a_sandbox_is_funded() {
    let shop = shop().await;
    let wallet = shop.get("/v1/wallet").await.ok();
    assert_eq!((&wallet["charged"], &wallet["balance"], &wallet["held"]), (&json!(true), &usd(OPENING), &usd(0)));
    assert_eq!((&wallet["grants"], &wallet["auto_charge"]["state"]), (&json!([]), &json!("off")));
    let entry = &wallet["entries"][0];
    assert_eq!((&entry["entry"], &entry["kind"], &entry["amount"]), (&json!(1), &json!("top_up"), &usd(OPENING)));
    assert_eq!((&entry["debit"], &entry["credit"]), (&json!("external"), &json!("available")));
}

/// S3: a payment is added once by the caller's id, whatever is repeated; another one under its id is refused.
#[tokio::test]
async fn s3_a_payment_is_added_once() {
    let shop = shop().await;
    let first = shop.post("/v1/wallet/top-ups", top_up("invoice-1", 5_000_000)).await.ok();
    assert_eq!((&first["top_up_id"], &first["amount"]), (&json!("invoice-1"), &usd(5_000_000)));
    shop.advance(86_400_000).await;
    assert_eq!(shop.post("/v1/wallet/top-ups", top_up("invoice-1", 5_000_000)).await.ok(), first);
    let other = shop.post("/v1/wallet/top-ups", top_up("invoice-1", 5_000_001)).await;
    assert_eq!((other.status, other.code()), (409, "top_up_conflict"));
    let mut in_words = top_up("invoice-1", 5_000_000);
    in_words["currency"] = json!("USD");
    assert_eq!(shop.post("/v1/wallet/top-ups", in_words.clone()).await.ok(), first);
    in_words["currency"] = json!("KRW");
    let other = shop.post("/v1/wallet/top-ups", in_words).await;
    assert_eq!((other.status, other.code()), (409, "top_up_conflict"), "another currency is another payment");
    let again = || shop.post("/v1/wallet/top-ups", top_up("invoice-2", 1));
    let (a, b, c, d) = tokio::join!(again(), again(), again(), again());
    for answer in [a, b, c, d] {
        answer.ok();
    }
    assert_eq!(shop.get("/v1/wallet").await.ok()["balance"], usd(OPENING + 5_000_001));
    let kinds: Vec<Value> = shop.get("/v1/audit").await.ok()["data"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|line| line["kind"] == "wallet_topped_up")
        .map(|line| line["detail"]["amount_micros"].clone())
        .collect();
    assert_eq!(kinds, [json!(1), json!(5_000_000)]);
}

/// S3, W4: what is no payment is refused by field, and changes nothing.
#[tokio::test]
async fn s3_w4_what_is_no_payment_is_refused() {
    let shop = shop().await;
    let long = "x".repeat(129);
    for (body, field) in [
        (top_up("a", 0), "amount_micros"),
        (top_up("a", -1), "amount_micros"),
        (top_up("a", i64::MAX), "amount_micros"),
        (json!({"top_up_id": "a", "amount_micros": 1.5}), "amount_micros"),
        (json!({"top_up_id": "a", "amount_micros": "1"}), "amount_micros"),
        (top_up("", 1), "top_up_id"),
        (top_up(&long, 1), "top_up_id"),
        (json!({"top_up_id": "a", "amount_micros": 1, "currency": "KRW"}), "currency"),
        (json!({"top_up_id": "a", "amount_micros": 1, "ask_id": "ask_1"}), "ask_id"),
        (json!({"top_up_id": "a", "amount_micros": 1, "ask_id": "1"}), "ask_id"),
    ] {
        let answer = shop.post("/v1/wallet/top-ups", body.clone()).await;
        assert_eq!((answer.status, answer.code()), (400, "invalid_request"), "{body}");
        assert_eq!(answer.body["errors"][0]["field"], field, "{:#}", answer.body);
    }
    for ask in ["ask_1", "ask_0", "1"] {
        assert_eq!(shop.post(&format!("/v1/wallet/asks/{ask}/decline"), json!({})).await.code(), "not_found");
    }
    for (path, field) in [("/v1/usage?month=2026-13", "month"), ("/v1/wallet/entries?after=0", "after")] {
        let answer = shop.get(path).await;
        assert_eq!((answer.status, &answer.body["errors"][0]["field"]), (400, &json!(field)), "{path}");
    }
    for (settings, field) in [
        (json!({"auto_charge": {"threshold_micros": 0, "amount_micros": 1}}), "auto_charge.threshold_micros"),
        (json!({"auto_charge": {"threshold_micros": 1, "amount_micros": -1}}), "auto_charge.amount_micros"),
    ] {
        let answer = shop.put("/v1/settings", settings).await;
        assert_eq!((answer.status, &answer.body["errors"][0]["field"]), (400, &json!(field)));
    }
    let auto = json!({"auto_charge": {"threshold_micros": 1, "amount_micros": 1}});
    let warnings = shop.put("/v1/settings", auto).await.ok()["warnings"].to_string();
    assert!(warnings.contains("nobody_to_ask") && warnings.contains("wallet.billing_webhook_url"), "{warnings}");
    assert_eq!(shop.get("/v1/wallet").await.ok()["entries"].as_array().unwrap().len(), 1);
}

/// S3: the ledger is listed newest first, page by page, without a gap.
#[tokio::test]
async fn s3_the_ledger_is_listed_in_pages() {
    let shop = shop().await;
    for n in 0..7 {
        shop.post("/v1/wallet/top-ups", top_up(&format!("i{n}"), 1 + n)).await.ok();
    }
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = shop.get(&format!("/v1/wallet/entries?limit=3&after={after}")).await.ok();
        seen.extend(page["data"].as_array().unwrap().iter().map(|entry| entry["entry"].as_i64().unwrap()));
        match page["next_cursor"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, [8, 7, 6, 5, 4, 3, 2, 1]);
}

/// S3: money is added by whom the operator lets: the billing system's key, which otherwise only reads.
#[tokio::test]
async fn s3_money_is_added_by_whom_the_operator_lets() {
    let dir = TempDir::new().unwrap();
    let created: Value = serde_json::from_str(&said(&dir, &["workspace", "create", "shop"])).unwrap();
    let key = |scope: &str| {
        let made = said(&dir, &["key", "create", "--scope", scope, "shop"]);
        serde_json::from_str::<Value>(&made).unwrap()["key"].as_str().unwrap().to_owned()
    };
    let (server_key, read_key, billing_key) =
        (created["api_key"].as_str().unwrap().to_owned(), key("read"), key("billing"));
    let env = [("BACKSTOP__WALLET__PRICES", "2026-01-01 KR sms 9000 1")];
    let server = Server::start(&dir, &[], &env).unwrap();
    for (key, status) in [(&server_key, 403), (&read_key, 403), (&billing_key, 200)] {
        assert_eq!(call(&server, key, "/v1/wallet/top-ups", Some(top_up("a", 7))).await.0, status);
        let (status, wallet) = call(&server, key, "/v1/wallet", None).await;
        assert_eq!(status, 200);
        assert_eq!(wallet["balance"], if *key == billing_key { usd(7) } else { usd(0) });
    }
    let (status, refused) = call(&server, &billing_key, "/v1/settings", Some(json!({}))).await;
    assert_eq!((status, &refused["type"]), (403, &json!("urn:backstop:problem:forbidden")));
    drop(server);
    let env = [("BACKSTOP__WALLET__SERVER_KEYS_TOP_UP", "true"), env[0]];
    let server = Server::start(&dir, &[], &env).unwrap();
    assert_eq!(call(&server, &server_key, "/v1/wallet/top-ups", Some(top_up("b", 1))).await.0, 200);
    drop(server);
    // Money does not change its currency.
    let env = [("BACKSTOP__WALLET__CURRENCY", "EUR"), env[1]];
    let refused = Server::start(&dir, &[], &env).err().unwrap();
    assert!(refused.contains("[wallet] currency is EUR, and wallets are in USD"), "{refused}");
}

/// S2: without prices nobody is charged: there is no wallet, no ledger, and nothing to top up.
#[tokio::test]
async fn s2_without_prices_nobody_is_charged() {
    let dir = TempDir::new().unwrap();
    let created: Value = serde_json::from_str(&said(&dir, &["workspace", "create", "shop"])).unwrap();
    let key = created["api_key"].as_str().unwrap();
    for env in [
        [("BACKSTOP__WALLET__SERVER_KEYS_TOP_UP", "true"), ("BACKSTOP__WALLET__CURRENCY", "USD")],
        [("BACKSTOP__WALLET__CHARGE", "false"), ("BACKSTOP__WALLET__SERVER_KEYS_TOP_UP", "true")],
    ] {
        let server = Server::start(&dir, &[], &env).unwrap();
        let (status, wallet) = call(&server, key, "/v1/wallet", None).await;
        assert_eq!((status, &wallet["charged"], &wallet["balance"]), (200, &json!(false), &usd(0)));
        let (status, refused) = call(&server, key, "/v1/wallet/top-ups", Some(top_up("a", 1))).await;
        assert_eq!((status, &refused["type"]), (403, &json!("urn:backstop:problem:forbidden")));
        let (status, usage) = call(&server, key, "/v1/usage?month=2026-11", None).await;
        assert_eq!((status, &usage["data"], &usage["total"]["count"]), (200, &json!([]), &json!(0)));
    }
}
