//! FCM over the real protocol: what we send, what each answer means, and how little we ask for access tokens.

use crate::providers_apns_double::{Plan, Then};
use crate::providers_fcm_double::{Google, Scripted, TestClock};
use crate::providers_support::{AT_MS, push_send};
use backstop_domain::followup::Outcome;
use backstop_server::providers::fcm::{self, Fcm, FcmConfig};
use backstop_server::providers::{CheckError, Fault, Provider, PushProvider};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

/// A recorded answer, and what it means.
#[derive(Deserialize)]
struct Recorded {
    why: String,
    status: u16,
    headers: HashMap<String, String>,
    body: Value,
    outcome: Outcome,
}

async fn send(fcm: &Fcm) -> Outcome {
    fcm.send(&push_send("fu_1", "token")).await
}

async fn send_many(fcm: &Arc<Fcm>, n: usize) -> Vec<Outcome> {
    let mut sends = JoinSet::new();
    for _ in 0..n {
        let fcm = fcm.clone();
        sends.spawn(async move { send(&fcm).await });
    }
    sends.join_all().await
}

/// P1, P10: a strict Google takes what we send, to the letter what the outbox of a sandbox shows.
#[tokio::test]
async fn p1_a_push_is_taken_by_a_strict_google() {
    let google = Google::start(AT_MS).await;
    let mut push = push_send("fu_1", "token");
    push.push.body = "\"quoted\" \\ 안녕하세요 👨‍👩‍👧‍👦 ".repeat(400);
    let outcome = google.client().send(&push).await;
    assert_eq!(outcome, Outcome::Accepted { provider_id: Some("projects/acme-demo/messages/0:1".into()) });
    assert_eq!(google.seen.lock().unwrap().messages, [fcm::body(&push).unwrap()]);
}

/// The double would notice: it refuses what Google refuses.
#[tokio::test]
async fn the_double_refuses_what_google_refuses() {
    let google = Google::start(AT_MS).await;
    send(&google.client()).await;
    let good = fcm::body(&push_send("fu_1", "token")).unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/v1/projects/acme-demo/messages:send", google.url);
    let status = async |body: &Value, bearer: &str| {
        http.post(&url).bearer_auth(bearer).json(body).send().await.unwrap().status().as_u16()
    };
    assert_eq!(status(&good, "ya29.1").await, 200);
    assert_eq!(status(&good, "ya29.2").await, 401);
    for (pointer, value) in [
        ("/message/data", json!({ "backstop": { "v": 1 } })),
        ("/message/data", json!({ "from": "us" })),
        ("/message/data", json!({ "google.x": "us" })),
        ("/message/data", json!({ "backstop": "x".repeat(4090) })),
        ("/message/android", json!({ "priority": "high", "ttl": "30s" })),
        ("/message/android", json!({ "priority": "HIGH", "ttl": "30" })),
        ("/message/android", json!({ "priority": "HIGH", "ttl": "2419201s" })),
        ("/message/android", json!({ "priority": "HIGH", "ttl": "30s", "time_to_live": 30 })),
        ("/message/token", json!("")),
        ("/message", json!({ "to": "token" })),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap() = value;
        assert_eq!(status(&bad, "ya29.1").await, 400, "{pointer} {bad}");
    }
}

/// P5, C3: each recorded answer of Google's, in our words.
#[tokio::test]
async fn p5_recorded_answers_mean_what_the_table_says() {
    let google = Google::start(AT_MS).await;
    let fcm = google.client();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/providers/fcm");
    let mut seen = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let recorded: Recorded = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let body = match recorded.body {
            Value::String(text) => text,
            json => json.to_string(),
        };
        let answer = Scripted { status: recorded.status, headers: recorded.headers, body };
        // Twice, for the answer that is given a second chance under a fresh access token.
        *google.send_script.lock().unwrap() = VecDeque::from([answer.clone(), answer]);
        assert_eq!(send(&fcm).await, recorded.outcome, "{}: {}", path.display(), recorded.why);
        seen += 1;
    }
    assert!(seen >= 30, "the table has {seen} rows");
}

#[tokio::test]
async fn a_huge_answer_is_read_no_further_than_needed() {
    let google = Google::start(AT_MS).await;
    let fcm = google.client();
    for (status, label) in [(200, "unknown"), (404, "rejected"), (503, "retry_after")] {
        let huge = "x".repeat(10 * 1024 * 1024);
        google.send_script.lock().unwrap().push_back(Scripted::new(status, huge));
        assert_eq!(send(&fcm).await.label(), label);
    }
}

#[tokio::test]
async fn one_access_token_serves_all_until_a_minute_before_its_end() {
    let google = Google::start(AT_MS).await;
    let fcm = Arc::new(google.client());
    let asked = || google.seen.lock().unwrap().token_requests;
    assert!(send_many(&fcm, 50).await.iter().all(|outcome| outcome.label() == "accepted"));
    assert_eq!(asked(), 1, "fifty pushes at once wait for one token");
    google.clock.advance(3_599_000 - 60_001);
    assert_eq!(send(&fcm).await.label(), "accepted");
    assert_eq!(asked(), 1);
    google.clock.advance(1);
    assert!(send_many(&fcm, 50).await.iter().all(|outcome| outcome.label() == "accepted"));
    assert_eq!(asked(), 2, "renewed a minute before it expires");
}

#[tokio::test]
async fn a_stale_access_token_is_replaced_once_and_the_push_repeated_once() {
    let google = Google::start(AT_MS).await;
    let fcm = Arc::new(google.client());
    send(&fcm).await;
    google.revoke_tokens();
    assert!(send_many(&fcm, 20).await.iter().all(|outcome| outcome.label() == "accepted"));
    assert_eq!(google.seen.lock().unwrap().token_requests, 2, "twenty refusals, one new token");
    let refusal = || Scripted::new(401, r#"{"error":{"code":401,"message":"","status":"UNAUTHENTICATED"}}"#);
    *google.send_script.lock().unwrap() = VecDeque::from([refusal(), refusal(), refusal()]);
    let sends_before = google.seen.lock().unwrap().sends;
    assert_eq!(send(&fcm).await, Outcome::Rejected { error: "UNAUTHENTICATED".into() });
    assert_eq!(google.seen.lock().unwrap().sends - sends_before, 2);
}

#[tokio::test]
async fn trouble_with_access_tokens_is_shared_by_all_who_wait_and_sends_nothing() {
    for (status, body, outcome) in [
        (400, r#"{"error":"invalid_grant"}"#, Outcome::Rejected { error: "oauth_invalid_grant".into() }),
        (401, r#"{"error":"invalid_client"}"#, Outcome::Rejected { error: "oauth_invalid_client".into() }),
        (403, "<html>", Outcome::Rejected { error: "oauth_refused".into() }),
        (429, "", Outcome::RetryAfter { after_ms: None, error: "oauth_rate_limited".into() }),
        (503, "<html>", Outcome::RetryAfter { after_ms: None, error: "oauth_failed".into() }),
        (200, "<html>", Outcome::RetryAfter { after_ms: None, error: "oauth_unreadable_answer".into() }),
        (
            200,
            r#"{"access_token":"a\r\nX-Evil: 1"}"#,
            Outcome::RetryAfter { after_ms: None, error: "oauth_unreadable_answer".into() },
        ),
    ] {
        let google = Google::start(AT_MS).await;
        let fcm = Arc::new(google.client());
        google.token_script.lock().unwrap().push_back(Scripted::new(status, body));
        assert!(send_many(&fcm, 20).await.iter().all(|got| *got == outcome), "{status} {body}");
        {
            let seen = google.seen.lock().unwrap();
            assert_eq!((seen.token_requests, seen.sends), (1, 0), "{status} {body}");
        }
        assert_eq!(send(&fcm).await.label(), "accepted", "the next one asks again");
    }
}

/// Whether `request` has its headers and as much body as they promise.
fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
    body.len() >= length.parse().unwrap()
}

/// Answers each connection with `reply` after the whole request came, then closes — or holds it open for `None`.
async fn raw_server(reply: Option<&'static str>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !is_whole(&request) {
                if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            match reply {
                Some(reply) => stream.write_all(reply.as_bytes()).await.unwrap(),
                None => held.push(stream),
            }
        }
    });
    url
}

/// What may have been sent is said to be unknown, and only that.
#[tokio::test]
async fn a_lost_answer_is_unknown_and_a_lost_question_is_not() {
    let google = Google::start(AT_MS).await;
    let against = |base_url: String| {
        let config = FcmConfig { base_url, timeout_ms: 300, ..google.config() };
        Fcm::from_config(&config, google.clock.clone()).unwrap()
    };
    let unknown = |error: &str| Outcome::Unknown { error: error.into() };
    assert_eq!(send(&against(raw_server(None).await)).await, unknown("timeout"));
    assert_eq!(send(&against(raw_server(Some("")).await)).await, unknown("connection_lost"));
    let broken_off = "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"name\":";
    assert_eq!(send(&against(raw_server(Some(broken_off)).await)).await, unknown("unreadable_answer"));
    // Nobody listens: a port that was free a moment ago.
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let unreachable = Outcome::RetryAfter { after_ms: None, error: "unreachable".into() };
    assert_eq!(send(&against(format!("http://{free}"))).await, unreachable);
    // It listens, but does not speak TLS.
    let plain = raw_server(Some("")).await.replace("http:", "https:");
    assert_eq!(send(&against(plain)).await, unreachable);
    // The token server hangs: no message can have left.
    let mut key_file = google.key_file();
    key_file["token_uri"] = format!("{}/token", raw_server(None).await).into();
    let config = FcmConfig { service_account: Some(key_file.to_string()), timeout_ms: 300, ..google.config() };
    let fcm = Fcm::from_config(&config, google.clock.clone()).unwrap();
    assert_eq!(send(&fcm).await, Outcome::RetryAfter { after_ms: None, error: "oauth_timeout".into() });
}

#[tokio::test]
async fn a_push_whose_ids_alone_are_too_large_never_leaves() {
    let google = Google::start(AT_MS).await;
    let outcome = google.client().send(&push_send("fu_1", &"t".repeat(4096))).await;
    assert_eq!(outcome, Outcome::Rejected { error: "payload_too_large".into() });
    assert_eq!(google.seen.lock().unwrap().sends, 0);
}

/// P12: half an account is refused with the key and the mend, and nothing is quoted.
#[tokio::test]
async fn p12_half_an_account_is_refused_and_names_its_key() {
    let google = Google::start(AT_MS).await;
    let clock = TestClock::at(AT_MS);
    let whole = google.key_file();
    let with = |field: &str, value: Value| {
        let mut key_file = whole.clone();
        key_file[field] = value;
        FcmConfig { service_account: Some(key_file.to_string()), ..google.config() }
    };
    let account = |text: &str| FcmConfig { service_account: Some(text.into()), ..google.config() };
    let ec = rcgen::KeyPair::generate().unwrap();
    let ec = crate::providers_fcm_double::pem("PRIVATE KEY", &ec.serialize_der());
    let file = |path: &str| FcmConfig { service_account_file: Some(path.into()), ..FcmConfig::default() };
    let twice = FcmConfig { service_account_file: Some("key.json".into()), ..google.config() };
    for (config, says) in [
        (FcmConfig::default(), "service_account_file is missing"),
        (account(""), "service_account is not a JSON key file"),
        (account("secret-looking"), "service_account is not a JSON key file"),
        (with("type", json!("authorized_user")), "not of type \"service_account\""),
        (with("project_id", json!("")), "field \"project_id\""),
        (with("project_id", json!("../other")), "field \"project_id\""),
        (with("client_email", json!("")), "field \"client_email\""),
        (with("private_key", json!("")), "field \"private_key\""),
        (with("private_key", json!("-----BEGIN PRIVATE KEY-----\nsecret\n")), "not an RSA key"),
        (with("private_key", json!(ec)), "not an RSA key"),
        (with("token_uri", json!("http://oauth2.example/token")), "field \"token_uri\""),
        (with("token_uri", json!("https://user@oauth2.example/token")), "field \"token_uri\""),
        (file("no-such-file.json"), "service_account_file cannot be read"),
        (twice, "both set"),
        (FcmConfig { base_url: "http://fcm.example".into(), ..google.config() }, "base_url must be"),
        (FcmConfig { base_url: "https://fcm.example/fcm/send".into(), ..google.config() }, "base_url must be"),
        (FcmConfig { timeout_ms: 0, ..google.config() }, "timeout_ms must be"),
        (FcmConfig { max_per_minute: 9, ..google.config() }, "max_per_minute must be"),
    ] {
        let error = Fcm::from_config(&config, clock.clone()).err().unwrap_or_else(|| panic!("{says}: taken"));
        let (shown, debug) = (error.to_string(), format!("{error:?} {config:?}"));
        assert!(shown.starts_with("[fcm] ") && shown.contains(says), "{shown}");
        assert!(!shown.contains("secret") && !debug.contains("BEGIN") && !debug.contains("secret-"), "{shown} {debug}");
    }
}

/// P12: the key file is read from where `service_account_file` says.
#[tokio::test]
async fn p12_the_account_may_be_a_file() {
    let google = Google::start(AT_MS).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), google.key_file().to_string()).unwrap();
    let path = Some(file.path().to_path_buf());
    let config = FcmConfig { service_account: None, service_account_file: path, ..google.config() };
    let fcm = Fcm::from_config(&config, google.clock.clone()).unwrap();
    assert_eq!(send(&fcm).await.label(), "accepted");
}

/// The project's rate is kept here, before Google has to refuse: a tenth at once, the rest evenly.
#[tokio::test]
async fn the_rate_of_a_project_is_kept_before_google_refuses() {
    let google = Google::start(AT_MS).await;
    let config = FcmConfig { max_per_minute: 20, ..google.config() };
    let fcm = Arc::new(Fcm::from_config(&config, google.clock.clone()).unwrap());
    let outcomes = send_many(&fcm, 10).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.label() == "accepted").count(), 2);
    for outcome in outcomes.iter().filter(|outcome| outcome.label() != "accepted") {
        let Outcome::RetryAfter { after_ms: Some(wait_ms), error } = outcome else { panic!("{outcome:?}") };
        assert!((1..=3_334).contains(wait_ms) && error == "rate_budget", "{outcome:?}");
    }
    assert_eq!(google.seen.lock().unwrap().sends, 2);
}

/// A path that died without a word is given up after two time-outs in a row; a new connection finds the way.
#[tokio::test]
async fn a_dead_path_to_google_is_given_up() {
    let google = Google::start(AT_MS).await;
    let config = FcmConfig { timeout_ms: 400, ..google.config() };
    let fcm = Fcm::from_config(&config, google.clock.clone()).unwrap();
    for _ in 0..4 {
        google.fate.then(Plan::taken(Then::Silence));
        assert_eq!(send(&fcm).await, Outcome::Unknown { error: "timeout".into() });
    }
    google.fate.then(Plan::taken(Then::Reset));
    assert_eq!(send(&fcm).await, Outcome::Unknown { error: "connection_lost".into() });
    assert_eq!(send(&fcm).await.label(), "accepted");
}

/// The day before launch: Google judges a message and sends it to nobody; each fault has its mend.
#[tokio::test]
async fn a_check_is_judged_and_sent_to_nobody() {
    let google = Google::start(AT_MS).await;
    let checked = google.client().check().await.unwrap();
    assert!(checked.message.contains("acme-demo"), "{}", checked.message);
    assert_eq!(checked.vendor_ahead_ms, Some(500));
    let refused = |status: u16, code: &str| {
        Scripted::new(status, json!({ "error": { "code": status, "message": "", "status": code } }).to_string())
    };
    for (script, message, mend) in [
        (refused(403, "PERMISSION_DENIED"), "PERMISSION_DENIED", "Cloud Messaging API Admin"),
        (refused(404, "NOT_FOUND"), "NOT_FOUND", "no such project"),
    ] {
        google.send_script.lock().unwrap().push_back(script);
        let CheckError { fault, message: says, mend: mends } = google.client().check().await.unwrap_err();
        assert!(fault == Fault::Refused && says.contains(message) && mends.contains(mend), "{says}: {mends}");
    }
    google.token_script.lock().unwrap().push_back(Scripted::new(400, r#"{"error":"invalid_grant"}"#));
    let deleted = google.client().check().await.unwrap_err();
    assert!(deleted.fault == Fault::Refused && deleted.mend.contains("deleted"), "{deleted}");
    google.fate.then(Plan::lost(Then::Reset));
    assert_eq!(google.client().check().await.unwrap_err().fault, Fault::Unreachable);
    assert!(google.seen.lock().unwrap().messages.is_empty());
}

/// Google says of a clock that is off what it says of a deleted key; its `Date` tells them apart.
#[tokio::test]
async fn a_clock_that_is_an_hour_off_is_not_a_deleted_key() {
    for (ahead_min, says) in [(61, "clock is 61 min slow"), (-61, "clock is 61 min fast")] {
        let google = Google::start(AT_MS).await;
        google.ahead_ms.store(ahead_min * 60_000, std::sync::atomic::Ordering::SeqCst);
        let fcm = google.client();
        assert_eq!(send(&fcm).await, Outcome::Rejected { error: "oauth_clock_is_off".into() });
        let refused = fcm.check().await.unwrap_err();
        assert!(refused.message.ends_with(says) && refused.mend.contains("NTP"), "{refused}");
    }
}
