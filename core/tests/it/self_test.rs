//! The self-test: a real push to this device, and words for whatever is missing.

use backstop_core::{
    Alerts, DeviceFacts, Environment, Finding, FindingLevel, Home, Proof, PushClient, PushToken, Seen,
};

use crate::support::*;

fn find<'a>(findings: &'a [Finding], check: &str) -> &'a Finding {
    findings.iter().find(|finding| finding.check == check).unwrap_or_else(|| panic!("{check} in {findings:?}"))
}

fn test_push() -> String {
    serde_json::json!({"backstop": {"v": 1, "followup_id": "", "receipt": "test-receipt", "title": "Test"}}).to_string()
}

/// Runs the self-test while the push arrives as soon as the server was asked for it.
async fn run(
    client: &PushClient,
    server: &Server,
    facts: DeviceFacts,
    push: Option<String>,
) -> backstop_core::SelfTest {
    let arriving = async {
        let asked = |line: &String| line.ends_with("/test-push");
        while !server.log().iter().any(asked) {
            tokio::task::yield_now().await;
        }
        if let Some(push) = push {
            client.handle_push_seen(&push, Seen::Displayed, AMPLE_MS).await.expect("handled");
        }
    };
    let budget_ms = 200;
    tokio::join!(client.self_test(&facts, budget_ms), arriving).0
}

/// C3, P11: everything as it should be is a list of sentences without a mend.
#[tokio::test]
async fn a_push_that_arrives_and_is_acknowledged_is_fine() {
    let server = Server::default();
    let client = registered(&server, &TestClock::at(NOW_MS)).await;
    client.identify("lucas", Proof::Hash("hash".to_owned()), AMPLE_MS).await.expect("stored");
    let facts = DeviceFacts { alerts: Some(Alerts::Allowed), channel_on: Some(true), ..DeviceFacts::default() };
    let test = run(&client, &server, facts, Some(test_push())).await;
    for finding in &test.findings {
        assert_eq!((finding.level, &finding.mend), (FindingLevel::Ok, &None), "{finding:?}");
    }
    let checks: Vec<_> = test.findings.iter().map(|finding| finding.check).collect();
    assert_eq!(checks, ["server", "registration", "customer", "permission", "channel", "clock", "test_push", "ack"]);
    assert!(test.push_took_ms.is_some() && test.ack_took_ms.is_some());
    assert_eq!(server.acks(), ["test-receipt displayed"]);
}

/// Each thing that only the phone can tell has its sentence and its mend.
#[tokio::test]
async fn each_missing_thing_is_said_with_its_mend() {
    let server = Server::default();
    let client = registered(&server, &TestClock::at(NOW_MS)).await;
    let facts = DeviceFacts {
        alerts: Some(Alerts::Denied),
        channel_on: Some(false),
        background_allowed: Some(false),
        push_service_problem: Some("SERVICE_MISSING".to_owned()),
        signed_environment: Some(Environment::Sandbox),
        app_group_opens: Some(false),
        extension_present: Some(false),
        keychain_shared: Some(false),
    };
    let test = run(&client, &server, facts, None).await;
    for check in ["permission", "channel", "push_service", "environment", "app_group", "extension", "keychain"] {
        let finding = find(&test.findings, check);
        assert!(finding.level == FindingLevel::Failed && finding.mend.is_some(), "{finding:?}");
    }
    for check in ["background", "customer"] {
        assert_eq!(find(&test.findings, check).level, FindingLevel::Warning);
    }
    assert_eq!(client.status().alerts, Alerts::Denied, "the server hears of it");
    let push = find(&test.findings, "test_push");
    assert!(push.level == FindingLevel::Failed && push.said.contains("did not arrive"), "{push:?}");
    assert_eq!(test.push_took_ms, None);
}

/// What the server says of the push, and what it could not be asked.
#[tokio::test]
async fn what_the_server_and_the_push_service_say_is_said() {
    let clock = TestClock::at(NOW_MS);
    let answer = |outcome: &str, at: &str| {
        let body = serde_json::json!({"provider": "apns", "outcome": outcome, "reason": "BadDeviceToken", "at": at});
        Instead::Answer(202, None, body.to_string())
    };
    let now = "2026-11-22T18:00:00.000Z";
    for (instead, check, level, said) in [
        (answer("token_gone", now), "test_push", FindingLevel::Failed, "the token is dead (BadDeviceToken)"),
        (answer("rejected", now), "test_push", FindingLevel::Failed, "refuses the push (BadDeviceToken)"),
        (answer("retry_after", now), "test_push", FindingLevel::Unknown, "takes nothing at the moment"),
        (answer("a_new_word", now), "test_push", FindingLevel::Unknown, "did not answer the server in time"),
        (answer("rejected", "2026-11-22T17:00:00.000Z"), "clock", FindingLevel::Warning, "60 minutes ahead of"),
        (problem(429, "rate_limited"), "test_push", FindingLevel::Unknown, "one test push a minute"),
        (problem(404, "not_found"), "test_push", FindingLevel::Failed, "404 not_found"),
        (problem(503, "store_unavailable"), "server", FindingLevel::Unknown, "cannot answer at the moment"),
        (Instead::Answer(302, None, "<html>".to_owned()), "server", FindingLevel::Failed, "302 that is not the server"),
        (Instead::Offline, "server", FindingLevel::Failed, "no connection"),
    ] {
        let server = Server::default();
        let client = registered(&server, &clock).await;
        server.next(instead);
        let test = client.self_test(&DeviceFacts::default(), 100).await;
        let finding = find(&test.findings, check);
        assert!(finding.level == level && finding.said.contains(said), "{finding:?}");
        assert!(finding.mend.is_some());
    }
}

/// Before anything can be sent, the first thing that is missing is named.
#[tokio::test]
async fn what_has_to_come_first_is_named() {
    let (server, clock) = (Server::default(), TestClock::at(NOW_MS));
    let client = open(Home::Memory, &server, &clock);
    let test = client.self_test(&DeviceFacts::default(), 100).await;
    assert!(find(&test.findings, "registration").said.contains("no push token"));
    assert_eq!(find(&test.findings, "server").level, FindingLevel::Unknown);
    assert_eq!(find(&test.findings, "test_push").level, FindingLevel::Unknown);
    assert!(server.log().is_empty());

    client.set_enabled(false, 0).await.expect("off");
    let test = client.self_test(&DeviceFacts::default(), 100).await;
    assert_eq!(test.findings.len(), 1);
    assert!(find(&test.findings, "enabled").mend.is_some());
}

/// On iOS the app sees by the extension's mark whether the push came through it.
#[tokio::test]
async fn the_extensions_mark_is_read_on_ios_alone() {
    let marked = test_push().replacen('{', r#"{"aps":{"alert":"x"},"backstop_extension":1,"#, 1);
    for (push, level) in [(marked, FindingLevel::Ok), (test_push(), FindingLevel::Failed)] {
        let server = Server::default();
        server.lock().apns_tests = true;
        let client = open(Home::Memory, &server, &TestClock::at(NOW_MS));
        let apns = PushToken { provider: backstop_core::PushProvider::Apns, ..token("token-1") };
        client.set_token(apns, Alerts::Allowed, AMPLE_MS).await.expect("stored");
        let test = run(&client, &server, DeviceFacts::default(), Some(push)).await;
        assert_eq!(find(&test.findings, "extension_ran").level, level);
    }
}

/// C3: a token that the server dropped reaches it again, even if the system gives the same one.
#[tokio::test]
async fn c3_a_dead_token_is_registered_again() {
    let server = Server::default();
    let client = registered(&server, &TestClock::at(NOW_MS)).await;
    let body = r#"{"provider":"fcm","outcome":"token_gone","at":"2026-11-22T18:00:00.000Z"}"#;
    server.next(Instead::Answer(202, None, body.to_owned()));
    let test = client.self_test(&DeviceFacts::default(), AMPLE_MS).await;
    assert_eq!(find(&test.findings, "registration").level, FindingLevel::Ok);
    client.flush(AMPLE_MS).await.expect("flushed");
    assert_eq!(server.lock().registrations.len(), 2);
}

/// A server that does not know the device any more is told of it anew, and asked again.
#[tokio::test]
async fn a_device_that_the_server_forgot_registers_anew() {
    let server = Server::default();
    let client = registered(&server, &TestClock::at(NOW_MS)).await;
    server.next(problem(401, "unauthorized"));
    let test = run(&client, &server, DeviceFacts::default(), Some(test_push())).await;
    assert_eq!(find(&test.findings, "test_push").level, FindingLevel::Ok);
    assert_eq!(server.lock().registrations.len(), 2);
}

/// C3: the environment that the token turned out to be of is what counts.
#[tokio::test]
async fn c3_the_environment_that_the_server_found_is_said() {
    for (found, signed, level) in [
        ("production", Some(Environment::Production), FindingLevel::Ok),
        ("sandbox", None, FindingLevel::Warning),
        ("sandbox", Some(Environment::Sandbox), FindingLevel::Warning),
    ] {
        let server = Server::default();
        let client = registered(&server, &TestClock::at(NOW_MS)).await;
        let body = serde_json::json!({
            "provider": "apns", "outcome": "accepted", "environment": found, "at": "2026-11-22T18:00:00.000Z",
        });
        server.next(Instead::Answer(202, None, body.to_string()));
        let facts = DeviceFacts { signed_environment: signed, ..DeviceFacts::default() };
        let test = client.self_test(&facts, 100).await;
        assert_eq!(find(&test.findings, "environment").level, level, "{found} {signed:?}");
    }
}
