//! Circuit breakers and rate budgets, by the whole server against doubles: what is refused or fails is left alone, what
//! works goes on, and nothing is lost.

use crate::flow_texts::House;
use crate::http_logs::Lines;
use crate::http_support::Rig;
use crate::providers_fcm_double::Scripted;
use crate::twilio_double::{ACCOUNT, Manner};
use axum::http::Method;
use backstop_server::config::Config;
use backstop_server::providers::smtp::SmtpTls;
use serde_json::{Value, json};
use std::num::NonZeroU32;

/// The account of this name in `GET /v1/providers`.
async fn account(house: &House, name: &str) -> Value {
    let listed = house.get("/v1/providers").await;
    let found = listed["data"].as_array().unwrap().iter().find(|row| row["name"] == name).cloned();
    found.unwrap_or_else(|| panic!("{name} in {listed}"))
}

async fn state(house: &House, name: &str) -> Value {
    account(house, name).await["state"].clone()
}

async fn followup(house: &House, id: &str) -> Value {
    house.settle().await;
    house.get(&format!("/v1/followups/{id}")).await
}

fn refusal(status: u16, word: &str) -> Scripted {
    Scripted::new(status, json!({"error": {"code": status, "message": "", "status": word}}).to_string())
}

/// A customer with a phone, a number and an address.
async fn customer(house: &House, n: usize) -> String {
    let id = format!("c{n}");
    house.customer(&id, &number(n), Some(&format!("ok@c{n}.example"))).await;
    id
}

fn number(n: usize) -> String {
    format!("+1415200{:04}", 5_000 + n)
}

/// P5: a push account that is refused opens at once. What follows falls back at once without a call, the log, the list
/// and the metrics say why, and one push finds that it is well again.
#[tokio::test]
async fn p5_a_refused_account_opens_at_once() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().json().with_writer(lines.clone()).finish();
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::new());
    let _here = tracing::subscriber::set_default(subscriber);
    let house = House::open_with(SmtpTls::None, |_| {}).await;
    for n in 0..3 {
        let id = customer(&house, n).await;
        house.phone(&id).await;
    }
    house.google.send_script.lock().unwrap().push_back(refusal(403, "PERMISSION_DENIED"));
    for n in 0..2 {
        let id = house.reply(&format!("c{n}"), &format!("m{n}")).await;
        let shown = followup(&house, &id).await;
        assert_eq!((&shown["state"], &shown["reason"]), (&json!("fell_back"), &json!("push_refused")), "{shown}");
        assert_eq!(shown["deliveries"][0]["error"], "PERMISSION_DENIED");
    }
    assert_eq!(house.google.seen.lock().unwrap().sends, 1, "the second was answered without a call");
    let fcm = account(&house, "fcm").await;
    assert_eq!((&fcm["state"], &fcm["channel"], &fcm["app_id"]), (&json!("open"), &json!("push"), &Value::Null));
    assert_eq!((&fcm["account"], &fcm["since"]), (&json!("acme-demo"), &json!("2026-11-22T18:00:00.000Z")));
    assert_eq!(fcm["rate"], json!({"max": 600_000, "per": "minute"}));
    let words = "FCM refuses acme-demo: PERMISSION_DENIED; check the service account, its key and its roles of [fcm]";
    assert_eq!((&fcm["last_error"], &fcm["last_success_at"]), (&json!(words), &Value::Null));
    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert_eq!(log.matches("FCM refuses this account").count(), 1, "{log}");
    let (_, metrics) = house.text("/metrics").await;
    for line in
        ["opened_total{provider=\"fcm\",why=\"misconfigured\"}", "state{provider=\"fcm\"}", "held_total{provider="]
    {
        assert!(metrics.contains(&format!("backstop_breaker_{line}")), "{line} in {metrics}");
    }
    house.google.clock.advance(5_000);
    let id = house.reply("c2", "m2").await;
    assert_eq!(followup(&house, &id).await["state"], "awaiting_ack");
    let fcm = account(&house, "fcm").await;
    assert_eq!((&fcm["state"], &fcm["last_success_at"]), (&json!("closed"), &json!("2026-11-22T18:00:05.000Z")));
}

/// P5, P13: a vendor that fails for what it is given is left alone; one push tries it, and every push arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p5_a_failing_vendor_is_left_alone_until_a_probe_succeeds() {
    let house = House::open_with(SmtpTls::None, |_| {}).await;
    for n in 0..11 {
        let id = customer(&house, n).await;
        house.phone(&id).await;
    }
    house.google.send_script.lock().unwrap().extend((0..10).map(|_| refusal(503, "UNAVAILABLE")));
    for n in 0..11 {
        if n == 9 {
            assert_eq!(state(&house, "fcm").await, "closed", "nine failures are too few");
        }
        house.reply(&format!("c{n}"), &format!("m{n}")).await;
        house.settle().await;
    }
    assert_eq!(house.google.seen.lock().unwrap().sends, 10, "the eleventh was not asked for");
    let fcm = account(&house, "fcm").await;
    assert_eq!(
        (&fcm["state"], &fcm["last_error"]),
        (&json!("open"), &json!("FCM failed or asked to wait: UNAVAILABLE"))
    );
    house.turn(5_000).await;
    assert_eq!(state(&house, "fcm").await, "closed");
    house.turn(5_000).await;
    assert_eq!(house.google.seen.lock().unwrap().messages.len(), 11, "none is lost");
    assert_eq!(house.twilio.posted(), 0, "and nobody was texted");
}

/// P8, P13: a text account that refuses our key is asked once and tried again later; mail goes out meanwhile, and its
/// account is untouched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p13_a_refused_text_account_holds_texts_and_no_mail() {
    let wrong = |config: &mut Config| {
        config.providers.twilio.as_mut().unwrap().auth_token = Some("f".repeat(32));
    };
    let mut house = House::open_with(SmtpTls::None, wrong).await;
    for n in 0..3 {
        let id = customer(&house, n).await;
        house.reply(&id, &format!("m{n}")).await;
        house.settle().await;
    }
    assert_eq!(house.twilio.posted(), 1, "asked once");
    let wanted = (0..3).map(|n| format!("ok@c{n}.example")).collect();
    house.mails(&wanted).await;
    let twilio = account(&house, "twilio").await;
    assert_eq!((&twilio["state"], &twilio["account"]), (&json!("open"), &json!(ACCOUNT)));
    let said = twilio["last_error"].as_str().unwrap();
    assert!(said.contains("account 20003") && said.contains("auth_token") && !said.contains("ffff"), "{said}");
    assert_eq!((state(&house, "smtp").await, state(&house, "fcm").await), (json!("closed"), json!("closed")));
    house.turn(5_000).await;
    assert_eq!((house.twilio.posted(), state(&house, "twilio").await), (2, json!("open")), "one tried");
}

/// P13: a mail server that refuses our log-in holds mails, and no text.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p13_a_refused_mail_account_holds_mails_and_no_text() {
    let wrong = |config: &mut Config| {
        config.providers.smtp.as_mut().unwrap().password = Some("wrong".into());
    };
    let house = House::open_with(SmtpTls::Required, wrong).await;
    for n in 0..2 {
        let id = customer(&house, n).await;
        let id = house.reply(&id, &format!("m{n}")).await;
        assert_eq!(followup(&house, &id).await["state"], "fell_back");
        assert_eq!(house.twilio.texts_to(&number(n)).len(), 1);
    }
    let smtp = account(&house, "smtp").await;
    assert_eq!((&smtp["state"], &smtp["channel"]), (&json!("open"), &json!("email")));
    let said = smtp["last_error"].as_str().unwrap();
    assert!(said.contains("535") && said.ends_with("of [providers.smtp]") && !said.contains("wrong"), "{said}");
}

/// P13: a vendor's wait for the whole account holds every text of it, and each leaves when it is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p13_a_wait_for_the_account_holds_all_of_it_and_loses_nothing() {
    let house = House::open_with(SmtpTls::None, |_| {}).await;
    house.twilio.manner(&number(0), Manner::TooMany);
    for n in 0..4 {
        let id = customer(&house, n).await;
        house.reply(&id, &format!("m{n}")).await;
        house.settle().await;
    }
    assert_eq!((house.twilio.posted(), state(&house, "twilio").await), (1, json!("open")));
    house.turn(1_999).await;
    assert_eq!(house.twilio.posted(), 1, "it said two seconds");
    for _ in 0..12 {
        house.turn(1_000).await;
    }
    let texts: Vec<usize> = (0..4).map(|n| house.twilio.texts_to(&number(n)).len()).collect();
    assert_eq!((texts, state(&house, "twilio").await), (vec![1; 4], json!("closed")));
}

/// P13: what exceeds the rate of an account waits, and leaves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p13_what_exceeds_the_rate_waits() {
    let one = |config: &mut Config| {
        config.providers.twilio.as_mut().unwrap().max_per_second = NonZeroU32::new(1);
    };
    let house = House::open_with(SmtpTls::None, one).await;
    for n in 0..3 {
        let id = customer(&house, n).await;
        house.reply(&id, &format!("m{n}")).await;
        house.settle().await;
    }
    assert_eq!(house.twilio.posted(), 1);
    let twilio = account(&house, "twilio").await;
    assert_eq!((&twilio["rate"], &twilio["state"]), (&json!({"max": 1, "per": "second"}), &json!("closed")));
    for _ in 0..12 {
        let before = house.twilio.posted();
        house.turn(1_000).await;
        assert!(house.twilio.posted() <= before + 1, "one a second");
    }
    let texts: Vec<usize> = (0..3).map(|n| house.twilio.texts_to(&number(n)).len()).collect();
    assert_eq!(texts, [1; 3]);
}

/// In the sandbox nothing is held: the capture shows as closed.
#[tokio::test]
async fn the_capture_is_closed() {
    let rig = Rig::new();
    let shop = rig.shop("acme").await;
    let listed = rig.get(&shop, "/v1/providers").await.expect(200);
    let rows = listed["data"].as_array().unwrap();
    let channels: Vec<_> = rows.iter().map(|row| row["channel"].as_str().unwrap()).collect();
    assert_eq!(channels, ["push", "push", "text", "email"]);
    assert!(rows.iter().all(|row| row["state"] == "closed" && row["name"] == "capture"), "{listed}");
    assert_eq!(listed["next_cursor"], Value::Null);
    rig.call(Method::GET, "/v1/providers", &[], None).await.refused(401, "unauthorized");
}
