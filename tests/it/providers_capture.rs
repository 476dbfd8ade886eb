//! The captured providers: what the outbox shows, and how a test makes them fail.

use crate::providers_support::{email_send, push_send, text_send};
use backstop_domain::followup::Outcome;
use backstop_server::providers::capture::{Behaviour, Capture, Channel, Report};
use backstop_server::providers::{EmailProvider, TextProvider, apns, fcm};
use backstop_wire::{PUSH_KEY, PushProvider as Kind};
use serde_json::json;
use std::sync::{Arc, Mutex};

const W: &str = "acme";

async fn text(capture: &Capture, followup: &str, to: &str) -> Outcome {
    TextProvider::send(capture, &text_send(followup, to)).await
}

async fn push(capture: &Arc<Capture>, followup: &str, token: &str) -> Outcome {
    capture.push(Kind::Fcm).send(&push_send(followup, token)).await
}

fn all(capture: &Capture) -> Vec<String> {
    capture.outbox(W, None, None).iter().map(|row| row.effect_key.clone()).collect()
}

#[tokio::test]
async fn the_outbox_shows_exactly_what_would_have_left() {
    let capture = Capture::new(10);
    for kind in [Kind::Apns, Kind::Fcm] {
        let mut send = push_send(&format!("fu_{kind:?}"), "token");
        send.push.body = "long ".repeat(2000);
        assert!(matches!(capture.push(kind).send(&send).await, Outcome::Accepted { provider_id: Some(_) }));
        let row = capture.outbox(W, Some(Channel::Push), Some(&send.envelope.followup_id)).remove(0);
        let body = if kind == Kind::Apns { apns::body(&send) } else { fcm::body(&send) };
        assert_eq!(Some(&row.payload), body.as_ref());
        assert_eq!((row.to.as_str(), row.device_id.as_deref()), ("token", Some("dev_1")));
    }
    text(&capture, "fu_1", "+821012345678").await;
    EmailProvider::send(&*capture, &email_send("fu_1", "hana@example.com")).await;
    let rows = capture.outbox(W, None, Some("fu_1"));
    assert_eq!(
        rows[0].payload,
        json!({ "text": "Acme: Your parcel is on its way. https://acme.example/c/1", "from": "+12025550100" })
    );
    assert_eq!(
        serde_json::to_value(&*rows[0]).unwrap().as_object().unwrap().keys().collect::<Vec<_>>(),
        ["at", "attempt", "channel", "device_id", "effect_key", "followup_id", "payload", "to"]
    );
    let email = &rows[1].payload;
    assert_eq!(email["subject"], "Acme Störe에서 답변이 도착했습니다");
    assert_eq!(email["from"], "Acme Störe <follow-up@backstop.invalid>");
    assert_eq!(email["to"], "김하나 <hana@example.com>");
    assert_eq!(email["headers"]["Auto-Submitted"], "auto-generated");
    assert!(email["text"].as_str().unwrap().contains("on its way"));
    assert!(email["html"].as_str().unwrap().contains("&lt;42&gt;"));
}

/// D9: a repeat under one key is one row, and one Message-ID.
#[tokio::test]
async fn d9_one_row_per_effect_key_with_its_latest_attempt() {
    let capture = Capture::new(10);
    let mut send = email_send("fu_1", "hana@example.com");
    let first = EmailProvider::send(&*capture, &send).await;
    let message_id = capture.outbox(W, None, None)[0].payload["headers"]["Message-ID"].clone();
    text(&capture, "fu_1", "+821012345678").await;
    send.envelope.attempt = 2;
    assert_eq!(EmailProvider::send(&*capture, &send).await, first, "the same id of the provider's");
    let rows = capture.outbox(W, None, None);
    assert_eq!(
        rows.iter().map(|row| (row.channel, row.attempt)).collect::<Vec<_>>(),
        [(Channel::Email, 2), (Channel::Sms, 1)]
    );
    assert_eq!(rows[0].payload["headers"]["Message-ID"], message_id);
    assert_eq!(capture.count(W, Channel::Email), 2);
    send.envelope.effect_key = "another".into();
    EmailProvider::send(&*capture, &send).await;
    assert_ne!(capture.outbox(W, None, None)[2].payload["headers"]["Message-ID"], message_id);
    assert!(!TextProvider::idempotent(&*capture));
}

#[tokio::test]
async fn only_the_newest_are_kept_and_only_the_own_are_shown() {
    let capture = Capture::new(3);
    for n in 0..5 {
        text(&capture, &format!("fu_{n}"), "+1").await;
    }
    assert_eq!(all(&capture), ["fu_2/sms/1", "fu_3/sms/1", "fu_4/sms/1"]);
    // A repeat of a kept row stays in its place; one of a dropped row is new again.
    text(&capture, "fu_3", "+1").await;
    text(&capture, "fu_0", "+1").await;
    assert_eq!(all(&capture), ["fu_3/sms/1", "fu_4/sms/1", "fu_0/sms/1"]);
    assert!(capture.outbox("other", None, None).is_empty());
    assert!(capture.outbox(W, Some(Channel::Email), None).is_empty());
    capture.forget(W);
    assert!(capture.outbox(W, None, None).is_empty());
}

#[tokio::test]
async fn each_behaviour_answers_in_our_words_and_keeps_what_was_taken() {
    let capture = Capture::new(10);
    let rejected = Outcome::Rejected { error: "rejected".into() };
    let gone = Outcome::TokenGone { since_ms: None, error: "token_gone".into() };
    let unknown = Outcome::Unknown { error: "timeout".into() };
    let limited = Outcome::RetryAfter { after_ms: Some(60_000), error: "rate_limited".into() };
    for (behaviour, on_push, on_text, kept) in [
        (Behaviour::TokenGone, gone, rejected.clone(), 0),
        (Behaviour::Reject, rejected.clone(), rejected, 0),
        (Behaviour::Timeout, unknown.clone(), unknown.clone(), 0),
        (Behaviour::AcceptThenTimeout, unknown.clone(), unknown, 2),
        (Behaviour::RateLimit, limited.clone(), limited, 0),
    ] {
        capture.forget(W);
        capture.set_behaviour(W, Channel::Push, behaviour, None, None, None);
        capture.set_behaviour(W, Channel::Sms, behaviour, None, None, None);
        assert_eq!(push(&capture, "fu_1", "token").await, on_push, "{behaviour:?}");
        assert_eq!(text(&capture, "fu_1", "+1").await, on_text, "{behaviour:?}");
        assert_eq!(capture.outbox(W, None, None).len(), kept, "{behaviour:?}");
    }
}

#[tokio::test]
async fn the_latest_rule_that_fits_decides_and_counts_down() {
    let capture = Capture::new(100);
    let set = |behaviour, to: Option<&str>, times| {
        capture.set_behaviour(W, Channel::Sms, behaviour, to.map(str::to_owned), None, times);
    };
    let label = async |to: &str| text(&capture, "fu_1", to).await.label();
    set(Behaviour::Reject, None, None);
    set(Behaviour::RateLimit, Some("+1"), Some(2));
    set(Behaviour::Timeout, Some("+1"), Some(1));
    assert_eq!(label("+2").await, "rejected");
    assert_eq!(label("+1").await, "unknown");
    assert_eq!(label("+1").await, "retry_after");
    assert_eq!(label("+1").await, "retry_after");
    assert_eq!(label("+1").await, "rejected", "the rules that were used up are gone");
    set(Behaviour::Accept, None, None);
    assert_eq!(label("+1").await, "accepted");
    assert_eq!(push(&capture, "fu_1", "+1").await.label(), "accepted", "another channel has its own rules");
    capture.set_behaviour(W, Channel::Push, Behaviour::TokenGone, None, Some("dead".into()), None);
    assert_eq!(push(&capture, "fu_2", "dead").await.label(), "token_gone");
    assert_eq!(push(&capture, "fu_2", "live").await.label(), "accepted");
    set(Behaviour::Reject, None, Some(0));
    assert_eq!(label("+1").await, "accepted", "a rule for no send decides nothing");
}

/// W2
#[tokio::test]
async fn w2_a_reported_failure_follows_an_acceptance() {
    let capture = Capture::new(10);
    let reports: Arc<Mutex<Vec<Report>>> = Arc::default();
    let sink = reports.clone();
    capture.on_report(move |report| sink.lock().unwrap().push(report));
    capture.set_behaviour(W, Channel::Sms, Behaviour::ReportFailed, None, None, Some(1));
    assert_eq!(text(&capture, "fu_1", "+1").await.label(), "accepted");
    assert_eq!(text(&capture, "fu_2", "+1").await.label(), "accepted");
    let reports = reports.lock().unwrap();
    assert_eq!(reports.len(), 1);
    assert_eq!((reports[0].followup_id.as_str(), reports[0].channel, reports[0].attempt), ("fu_1", Channel::Sms, 1));
}

#[tokio::test]
async fn a_virtual_phone_is_handed_what_its_app_would_get() {
    let capture = Capture::counting();
    let seen: Arc<Mutex<Vec<serde_json::Value>>> = Arc::default();
    let sink = seen.clone();
    capture.subscribe(move |push| sink.lock().unwrap().push(push.received().unwrap()));
    for behaviour in [Behaviour::Timeout, Behaviour::TokenGone, Behaviour::Reject, Behaviour::RateLimit] {
        capture.set_behaviour(W, Channel::Push, behaviour, None, None, None);
        push(&capture, "fu_1", "token").await;
    }
    assert!(seen.lock().unwrap().is_empty(), "what the network never got reaches no phone");
    capture.set_behaviour(W, Channel::Push, Behaviour::AcceptThenTimeout, None, None, Some(1));
    capture.set_behaviour(W, Channel::Push, Behaviour::Accept, None, None, None);
    push(&capture, "fu_1", "token").await;
    capture.push(Kind::Apns).send(&push_send("fu_1", "token")).await;
    let seen = seen.lock().unwrap();
    assert!(seen[0][PUSH_KEY].as_str().unwrap().contains("receipt-1"), "FCM: a data map of strings");
    assert_eq!(seen[1][PUSH_KEY]["receipt"], "receipt-1", "APNs: the user info");
    assert_eq!(capture.count(W, Channel::Push), 2);
    assert!(capture.outbox(W, None, None).is_empty(), "a counting capture keeps nothing");
}

/// E4: what would smuggle a header into a mail is refused, here as on the wire.
#[tokio::test]
async fn e4_line_breaks_in_names_and_addresses_are_refused() {
    let capture = Capture::new(10);
    let mut by_name = email_send("fu_1", "hana@example.com");
    by_name.to_name = Some("Hana\r\nBcc: all@example.com".into());
    let mut by_company = email_send("fu_1", "hana@example.com");
    by_company.company = "Acme\nX: y".into();
    let by_address = email_send("fu_1", "hana@example.com\r\nRCPT TO:<x@example.com>");
    let no_address = email_send("fu_1", "hana");
    for send in [by_name, by_company, by_address, no_address] {
        assert_eq!(EmailProvider::send(&*capture, &send).await.label(), "rejected");
    }
    assert!(capture.outbox(W, None, None).is_empty());
}
