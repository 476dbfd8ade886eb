//! The post log: what was sent, of everyone and of one, as JSON and as CSV (S6).

use crate::flow::{DAY_MS, ann, behave, delivery, ms, post, shop, wrote};
use crate::http_support::{Rig, reply};
use backstop_server::store::{CustomerRow, Key, Op, Row, Verdict};
use backstop_server::testing::{Behaviour, Workspace};
use backstop_wire::time::to_rfc3339;
use reqwest::Method;
use serde_json::{Value, json};

async fn lines(shop: &Workspace, query: &str) -> Vec<Value> {
    shop.get(&format!("/v1/deliveries?{query}")).await.ok()["data"].as_array().unwrap().clone()
}

async fn csv(shop: &Workspace, query: &str) -> String {
    let bearer = format!("Bearer {}", shop.keys().api_key);
    let headers = [("authorization", bearer.as_str()), ("accept", "text/csv")];
    let answer = shop.request_as(Method::GET, &format!("/v1/deliveries?{query}"), &headers, None).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    answer.body.as_str().unwrap().to_owned()
}

fn column<'a>(lines: &'a [Value], name: &str) -> Vec<&'a Value> {
    lines.iter().map(|line| &line[name]).collect()
}

/// S6: each line says where it went, masked, and why.
#[tokio::test]
async fn s6_a_line_says_where_it_went_and_why() {
    let shop = shop().await;
    shop.phone("ann", Behaviour::Silent).await;
    post(&shop, "r1", json!({"kind": "reply"})).await.ok();
    shop.advance(30_000).await;
    let sent = lines(&shop, "").await;
    assert_eq!(column(&sent, "channel"), [&json!("push"), &json!("sms"), &json!("email")]);
    assert_eq!(column(&sent, "to"), [&Value::Null, &json!("+1 415-***-0123"), &json!("a***@example.com")]);
    assert_eq!(column(&sent, "why"), [&json!("live_device"), &json!("no_ack"), &json!("no_ack")]);
    assert_eq!(column(&sent, "segments")[1], &json!(1));
    let text = sent[1].to_string();
    assert!(!text.contains("4155550123") && !text.contains("ann@"), "{text}");
}

/// S6, S8: where something went is kept nowhere: once the number is another one, the line does not name that one.
#[tokio::test]
async fn s6_a_number_that_changed_is_not_taken_for_the_one_it_went_to() {
    let shop = shop().await;
    post(&shop, "r1", json!({"kind": "reply"})).await.ok();
    shop.advance(1).await;
    shop.put_customer("ann", json!({"name": "Anna", "phone": "+14155550123", "email": "ann@example.com"})).await;
    assert_eq!(column(&lines(&shop, "channel=sms").await, "to"), [&Value::Null], "contact data changed");
    shop.advance(200_000).await;
    post(&shop, "r2", json!({"kind": "reply"})).await.ok();
    let sent = lines(&shop, "channel=sms").await;
    assert_eq!(column(&sent, "to"), [&json!("+1 415-***-0123"), &Value::Null]);
    shop.delete("/v1/customers/ann").await.ok();
    let sent = lines(&shop, "channel=sms").await;
    assert_eq!(column(&sent, "to"), [&Value::Null, &Value::Null]);
    assert_eq!(column(&sent, "customer_id"), [&json!(""), &json!("")]);
}

/// S6: what never set out went nowhere.
#[tokio::test]
async fn s6_what_was_skipped_went_nowhere() {
    let shop = shop().await;
    shop.put_customer("ann", json!({"email": "ann@example.com"})).await;
    let posted = post(&shop, "r1", json!({"kind": "reply"})).await.ok();
    let followup = shop.followup(posted["followup_id"].as_str().unwrap()).await;
    assert_eq!(delivery(&followup, "sms"), "skipped:no_contact");
    assert_eq!(column(&lines(&shop, "channel=sms").await, "to"), [&Value::Null]);
}

/// S6: from an instant on and before another one; a date is all of its day.
#[tokio::test]
async fn s6_a_span_of_time_is_listed() {
    let shop = shop().await;
    let mut times = Vec::new();
    for n in 0..4 {
        let posted = post(&shop, &format!("r{n}"), json!({"kind": "reply"})).await.ok();
        times.push(ms(&posted["accepted_at"]));
        shop.advance(DAY_MS).await;
    }
    let count = |query: String| {
        let shop = &shop;
        async move { lines(shop, &format!("channel=email&{query}")).await.len() }
    };
    let at = |n: usize, more: i64| to_rfc3339(times[n] + more);
    for (query, expected) in [
        (format!("from={}", at(1, 0)), 3),
        (format!("from={}", at(1, 1)), 2),
        (format!("to={}", at(1, 0)), 1),
        (format!("to={}", at(1, 1)), 2),
        (format!("from={}&to={}", at(1, 0), at(3, 0)), 2),
        (format!("from={0}&to={0}", &at(2, 0)[..10]), 1),
        (format!("from={}", &at(3, DAY_MS)[..10]), 0),
        (format!("customer_id=ann&from={}", at(2, 0)), 2),
    ] {
        assert_eq!(count(query.clone()).await, expected, "{query}");
    }
    for field in ["from", "to"] {
        let refused = shop.get(&format!("/v1/deliveries?{field}=yesterday")).await;
        assert_eq!((refused.status, refused.code()), (400, "invalid_request"));
        assert_eq!(refused.body["errors"][0]["field"], field);
    }
}

/// S6: one customer's lines alone, the newest first.
#[tokio::test]
async fn s6_what_one_customer_was_sent() {
    let shop = shop().await;
    shop.put_customer("bob", ann()).await;
    wrote(&shop, "bob", "hi").await;
    for (id, customer) in [("r1", "ann"), ("r2", "bob"), ("r3", "ann")] {
        post(&shop, id, json!({"kind": "reply", "customer_id": customer, "conversation_id": customer})).await.ok();
        shop.advance(200_000).await;
    }
    let sent = lines(&shop, "customer_id=ann&channel=sms").await;
    assert_eq!(column(&sent, "customer_id"), [&json!("ann"), &json!("ann")]);
    assert!(ms(&sent[0]["at"]) > ms(&sent[1]["at"]));
    assert_eq!(lines(&shop, "customer_id=nobody").await.len(), 0);
}

/// S6: CSV as RFC 4180 has it: CRLF, quotes doubled, commas within quotes; nothing runs in a spreadsheet; a byte order
/// mark only for who asks.
#[tokio::test]
async fn s6_csv_is_rfc_4180() {
    let shop = shop().await;
    let odd = "=cmd|' /C calc'!A0,\"quoted\"";
    shop.put_customer("odd", ann()).await;
    behave(&shop, "email", "reject").await;
    let more = json!({"kind": "reply", "customer_id": "odd", "conversation_id": odd});
    post(&shop, "r1", more).await.ok();
    let text = csv(&shop, "").await;
    let records: Vec<&str> = text.split_terminator("\r\n").collect();
    assert_eq!(records.len(), 3, "{text}");
    assert!(text.ends_with("\r\n") && !text.replace("\r\n", "").contains(['\r', '\n']), "{text:?}");
    let names: Vec<&str> = records[0].split(',').collect();
    assert_eq!((names.len(), names[15], names[16]), (17, "to", "why"));
    assert!(records[1].contains(",\"'=cmd|' /C calc'!A0,\"\"quoted\"\"\",sms,capture,"), "{}", records[1]);
    assert!(records[1].ends_with(",'+1 415-***-0123,no_device"), "{}", records[1]);
    let marked = csv(&shop, "bom=true").await;
    assert_eq!(marked.strip_prefix('\u{feff}'), Some(text.as_str()));
}

/// S6: what waits went nowhere yet.
#[tokio::test]
async fn s6_what_waits_went_nowhere_yet() {
    let shop = shop().await;
    let now = ms(&shop.advance(0).await["now"]);
    let minute = |at: i64| to_rfc3339(at)[11..16].to_owned();
    let hours = json!({"start": minute(now), "end": minute(now + 7_200_000), "time_zone": "UTC"});
    shop.put("/v1/settings", json!({ "quiet_hours": hours })).await.ok();
    post(&shop, "r1", json!({"kind": "reply"})).await.ok();
    let waiting = lines(&shop, "").await;
    assert_eq!(column(&waiting, "status"), [&json!("queued"), &json!("accepted")], "{waiting:#?}");
    assert_eq!(column(&waiting, "to"), [&Value::Null, &json!("a***@example.com")]);
    shop.advance(7_260_000).await;
    assert_eq!(column(&lines(&shop, "channel=sms").await, "to"), [&json!("+1 415-***-0123")]);
}

/// S6, S8: contact data that nobody knows the age of, as after an upgrade, says nothing of where something went.
#[tokio::test]
async fn s6_contact_data_of_unknown_age_is_nobodys() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    rig.lucas(&shop).await;
    rig.post(&shop, "/v1/messages", reply("m-1")).await.expect(202);
    rig.settled(&shop).await;
    let to = async || {
        let listed = rig.get(&shop, "/v1/deliveries?channel=email").await.expect(200);
        listed["data"][0]["to"].clone()
    };
    assert_eq!(to().await, "l***@example.com");
    let row = rig.store.load(vec![Key::Customer(shop.id, "lucas".into())]).await.unwrap().remove(0).unwrap();
    let row = CustomerRow { contact_at: 0, ..row.as_customer().unwrap().clone() };
    assert_eq!(rig.store.commit(vec![vec![Op::put(Row::Customer(row))]]).await.unwrap(), [Verdict::Done]);
    assert_eq!(to().await, Value::Null);
}
