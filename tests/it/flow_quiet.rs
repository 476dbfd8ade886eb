//! Quiet hours over HTTP, on the sandbox's clock: the text waits for the customer's morning, the email does not (D10).

use crate::flow::{ann, delivery, expect, ms, post, read, sent, shop};
use backstop_server::testing::{Behaviour, Workspace};
use serde_json::{Value, json};

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;
const SEOUL: i64 = 9 * 60 * MINUTE;
/// Half past the hour: what is computed in whole hours shows.
const KOLKATA: i64 = 330 * MINUTE;

/// The workspace's time, frozen from here on.
async fn now(shop: &Workspace) -> i64 {
    ms(&shop.advance(0).await["now"])
}

/// What a clock shows there, as settings have it.
fn shown(at: i64, offset_ms: i64) -> String {
    let minute = (at + offset_ms).rem_euclid(DAY) / MINUTE;
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

/// Quiet from this minute on and for two hours; when that ends.
async fn quiet(shop: &Workspace, at: i64, offset_ms: i64, time_zone: Value) -> i64 {
    let end = at - at.rem_euclid(MINUTE) + 120 * MINUTE;
    let hours = json!({"start": shown(at, offset_ms), "end": shown(end, offset_ms), "time_zone": time_zone});
    shop.put("/v1/settings", json!({"quiet_hours": hours, "country": "KR"})).await.ok();
    end
}

/// D10: the push and the email go, the text waits to the millisecond, and both the API and `explain` say why.
#[tokio::test]
async fn d10_a_text_waits_until_the_hours_are_over() {
    let shop = shop().await;
    let at = now(&shop).await;
    let end = quiet(&shop, at, SEOUL, Value::Null).await;
    shop.phone("ann", Behaviour::Silent).await;
    let id = shop.reply("ann", "It arrives today.").await;
    shop.advance(30_000).await;
    assert_eq!((shop.outbox("push").await.len(), sent(&shop).await), (1, (0, 1)));
    expect(&shop, &id, "fell_back", "no_ack").await;
    let followup = shop.followup(&id).await;
    assert_eq!(delivery(&followup, "sms"), "queued");
    let said = followup["history"].to_string();
    assert!(said.contains("quiet_hours"), "{said}");
    shop.advance(end - at - 30_001).await;
    assert_eq!(sent(&shop).await, (0, 1));
    shop.advance(1).await;
    assert_eq!(sent(&shop).await, (1, 1));
    let text = shop.outbox("sms").await.remove(0);
    assert_eq!(ms(&text["at"]), end);
}

/// D10: the customer's clock goes before the workspace's.
#[tokio::test]
async fn d10_the_customers_clock_decides() {
    let shop = shop().await;
    let at = now(&shop).await;
    let end = quiet(&shop, at, KOLKATA, json!("Asia/Seoul")).await;
    for (customer_id, zone) in [("bo", "Asia/Kolkata"), ("kim", "Asia/Seoul")] {
        let mut customer = ann();
        customer["time_zone"] = zone.into();
        shop.put_customer(customer_id, customer).await;
        shop.reply(customer_id, "It arrives today.").await;
    }
    assert_eq!(sent(&shop).await, (1, 2), "it is night for one of them");
    shop.advance(end - at).await;
    assert_eq!(sent(&shop).await, (2, 2));
}

/// D10, D5: a read in the night stops the text.
#[tokio::test]
async fn d10_a_read_in_the_night_stops_it() {
    let shop = shop().await;
    let at = now(&shop).await;
    let end = quiet(&shop, at, SEOUL, json!("Asia/Seoul")).await;
    let answer = post(&shop, "m1", json!({})).await.ok();
    assert_eq!(sent(&shop).await, (0, 1));
    read(&shop, "ann", "m1").await.ok();
    shop.advance(end - at + DAY).await;
    assert_eq!(sent(&shop).await, (0, 1));
    let followup = shop.followup(answer["followup_id"].as_str().expect("a follow-up")).await;
    assert_eq!(delivery(&followup, "sms"), "stopped");
}

/// D10, W4: no zone is assumed: the workspace gives one, or its country has one.
#[tokio::test]
async fn d10_no_zone_is_assumed() {
    let shop = shop().await;
    let night = |zone: Value| json!({"start": "21:00", "end": "08:00", "time_zone": zone});
    for (country, zone, field) in [
        (json!("KR"), Value::Null, None),
        (json!("US"), json!("America/New_York"), None),
        (json!("US"), Value::Null, Some("quiet_hours.time_zone")),
        (Value::Null, Value::Null, Some("quiet_hours.time_zone")),
        (Value::Null, json!("Mars/Olympus"), Some("quiet_hours.time_zone")),
    ] {
        let answer = shop.put("/v1/settings", json!({"country": country, "quiet_hours": night(zone)})).await;
        let errors = &answer.body["errors"];
        assert_eq!(errors[0]["field"].as_str(), field, "{country}: {errors}");
    }
    for (start, end, field) in [("24:00", "08:00", "start"), ("21:00", "8:00", "end"), ("21:00", "21:00", "end")] {
        let hours = json!({"start": start, "end": end, "time_zone": "Asia/Seoul"});
        let answer = shop.put("/v1/settings", json!({"quiet_hours": hours})).await;
        assert_eq!(answer.body["errors"][0]["field"], format!("quiet_hours.{field}"));
    }
}
