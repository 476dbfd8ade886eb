//! APNs over the real protocol: what we send, what each answer means, and how little we sign.

use crate::providers_apns_double::{Apple, KEY_ID, Plan, TEAM, TOPIC, Then, credential, p8, token};
use crate::providers_fcm_double::{Scripted, TestClock, pem};
use crate::providers_support::{AT_MS, push_send};
use backstop_domain::followup::Outcome;
use backstop_server::providers::apns::{self, Apns, ApnsConfig, ApnsConfigError, ApnsCredential};
use backstop_server::providers::{CheckError, Checked, Fault, Provider, PushProvider, PushSend};
use backstop_wire::Environment;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
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

fn push(n: u64) -> PushSend {
    let mut push = push_send(&format!("fu_{n}"), &token(n));
    push.topic = Some(TOPIC.into());
    push
}

/// Of use for ten hours, since some tests turn the clock.
fn lasting(n: u64) -> PushSend {
    PushSend { expires_at_ms: AT_MS + 36_000_000, ..push(n) }
}

async fn send(apns: &Apns) -> Outcome {
    apns.send(&lasting(1)).await
}

async fn send_many(apns: &Arc<Apns>, n: u64) -> Vec<Outcome> {
    let mut sends = JoinSet::new();
    for n in 1..=n {
        let apns = apns.clone();
        sends.spawn(async move { apns.send(&lasting(n)).await });
    }
    sends.join_all().await
}

fn all_accepted(outcomes: &[Outcome]) -> bool {
    outcomes.iter().all(|outcome| outcome.label() == "accepted")
}

async fn apple() -> Arc<Apple> {
    Apple::start(TestClock::at(AT_MS)).await
}

fn say(status: u16, reason: &str) -> Plan {
    Plan::lost(Then::Answer(Scripted::new(status, json!({ "reason": reason }).to_string())))
}

/// P1, P10: a strict Apple takes what we send: every header, and the body that the outbox of a sandbox shows.
#[tokio::test]
async fn p1_p10_a_push_is_taken_by_a_strict_apple() {
    let apple = apple().await;
    let mut long = push(1);
    long.push.body = "\"quoted\" \\ 안녕하세요 👨‍👩‍👧‍👦 ".repeat(400);
    let outcome = apple.client().send(&long).await;
    let taken = apple.seen.lock().unwrap().taken[0].clone();
    let header = |name: &str| taken.headers[name].as_str();
    assert_eq!(outcome, Outcome::Accepted { provider_id: Some(header("apns-id").into()) });
    assert_eq!((taken.token.as_str(), &taken.body), (token(1).as_str(), &apns::body(&long).unwrap()));
    let expires_s = (AT_MS / 1000 + 30).to_string();
    for (name, value) in [
        ("apns-push-type", "alert"),
        ("apns-priority", "10"),
        ("apns-topic", TOPIC),
        ("apns-collapse-id", "bs-conv-1"),
        ("apns-expiration", expires_s.as_str()),
    ] {
        assert_eq!(header(name), value, "{name}");
    }
}

/// P10: whole seconds of Apple's clock, never 0, which is another word for now or never.
#[tokio::test]
async fn p10_an_expiration_is_a_second_ahead_at_least() {
    let apple = apple().await;
    let client = apple.client();
    for (left_ms, seconds) in [(30_000, 30), (1_999, 1), (1, 1), (-5_000, 1)] {
        let late = PushSend { expires_at_ms: AT_MS + left_ms, ..push(1) };
        assert_eq!(client.send(&late).await.label(), "accepted");
        let taken = apple.seen.lock().unwrap().taken.pop().unwrap();
        assert_eq!(taken.headers["apns-expiration"], (AT_MS / 1000 + seconds).to_string(), "{left_ms}");
    }
}

/// D8, P9: a repeat is the same push to Apple and takes the same place on the phone; another version is another push.
#[tokio::test]
async fn d8_repeats_have_one_id_and_one_place() {
    let apple = apple().await;
    let client = apple.client();
    let mut other = push(1);
    other.envelope.effect_key.push('2');
    other.push.collapse_key = "k".repeat(65);
    for push in [&push(1), &push(1), &other] {
        client.send(push).await;
    }
    let seen = apple.seen.lock().unwrap();
    let id = |n: usize| seen.taken[n].headers["apns-id"].clone();
    let place = |n: usize| seen.taken[n].headers["apns-collapse-id"].clone();
    assert!(id(0) == id(1) && place(0) == place(1));
    assert!(id(0) != id(2) && place(2).len() == 64, "too long a key becomes its hash");
}

/// P5, C3: each recorded answer of Apple's, in our words.
#[tokio::test]
async fn p5_recorded_answers_mean_what_the_table_says() {
    let apple = apple().await;
    let client = apple.client();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/providers/apns");
    let mut seen = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let recorded: Recorded = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let body = match recorded.body {
            Value::String(text) => text,
            json => json.to_string(),
        };
        let answer = Scripted { status: recorded.status, headers: recorded.headers, body };
        // Twice, for the answer that is given a second chance under a fresh provider token.
        for _ in 0..2 {
            apple.fate.then(Plan::lost(Then::Answer(answer.clone())));
        }
        assert_eq!(send(&client).await, recorded.outcome, "{}: {}", path.display(), recorded.why);
        apple.fate.next.lock().unwrap().clear();
        seen += 1;
    }
    assert!(seen >= 35, "the table has {seen} rows");
}

#[tokio::test]
async fn a_huge_answer_is_read_no_further_than_needed() {
    let apple = apple().await;
    let client = apple.client();
    for (status, label) in [(200, "accepted"), (410, "rejected"), (503, "unknown")] {
        apple.fate.then(Plan::lost(Then::Answer(Scripted::new(status, "x".repeat(10 * 1024 * 1024)))));
        assert_eq!(send(&client).await.label(), label);
    }
}

/// Signed at most every 20 and at least every 60 minutes, once for all connections, credentials and nodes.
#[tokio::test]
async fn one_provider_token_serves_all_for_forty_minutes() {
    let apple = apple().await;
    let net = apple.net();
    let two = [Environment::Production, Environment::Sandbox]
        .map(|environment| Arc::new(Apns::new(&credential(environment), &net).unwrap()));
    let signed = || apple.seen.lock().unwrap().provider_tokens.len();
    let step_ms = 2_400_000;
    for client in &two {
        assert!(all_accepted(&send_many(client, 30).await));
    }
    assert_eq!(signed(), 1, "two credentials of one key share it");
    apple.clock.advance(step_ms - AT_MS % step_ms - 1);
    assert_eq!((send(&two[0]).await.label(), signed()), ("accepted", 1));
    apple.clock.advance(1);
    assert!(all_accepted(&send_many(&two[1], 30).await));
    assert_eq!((send(&two[0]).await.label(), signed()), ("accepted", 2));
    // Another node signs by itself, but claims the same time.
    let node = apple.client();
    assert_eq!((send(&node).await.label(), signed()), ("accepted", 3));
    let seen = apple.seen.lock().unwrap();
    let claims = |token: &str| token.split('.').nth(1).unwrap().to_owned();
    assert_eq!(seen.provider_tokens.keys().map(|token| claims(token)).collect::<BTreeSet<_>>().len(), 2);
}

#[tokio::test]
async fn a_stale_provider_token_is_replaced_once_and_the_push_repeated_once() {
    let apple = apple().await;
    apple.clock.advance(1_000);
    let client = apple.client();
    let requests = || apple.seen.lock().unwrap().requests;
    apple.fate.then(say(403, "ExpiredProviderToken"));
    assert_eq!((send(&client).await.label(), requests()), ("accepted", 2));
    assert_eq!(apple.seen.lock().unwrap().provider_tokens.len(), 2, "one of now took its place");
    // Refused again within 20 minutes: nothing newer can be made.
    for reason in ["ExpiredProviderToken", "InvalidProviderToken"] {
        apple.fate.then(say(403, reason));
        assert_eq!(send(&client).await, Outcome::Rejected { error: reason.into() });
    }
    assert_eq!(requests(), 4);
    // What is not about the token is no reason for another.
    apple.clock.advance(1_300_000);
    apple.fate.then(say(403, "Forbidden"));
    assert_eq!(send(&client).await, Outcome::Rejected { error: "Forbidden".into() });
}

/// A clock that is an hour off is named, since the vendor's word alone sends one looking for the key.
#[tokio::test]
async fn a_clock_that_is_an_hour_off_is_said() {
    for (ahead_min, says) in [(61 + 40, "clock is 101 min slow"), (-61, "clock is 61 min fast")] {
        let apple = apple().await;
        *apple.ahead_ms.lock().unwrap() = ahead_min * 60_000;
        let client = apple.client();
        // Even one that is signed at this moment is an hour off.
        let outcome = send(&client).await;
        let Outcome::Rejected { error } = &outcome else { panic!("{outcome:?}") };
        assert!(error.ends_with(says) && error.contains("ProviderToken: "), "{error}");
        let refused = client.check().await.unwrap_err();
        assert_eq!(refused.fault, Fault::Refused);
        assert!(refused.message.ends_with(says) && refused.mend.contains("NTP"), "{refused}");
    }
}

/// C3: the environment of the push, or else of the credential, picks the host.
#[tokio::test]
async fn c3_each_environment_has_its_host_and_names_itself() {
    let (production, sandbox) = (apple().await, apple().await);
    let config = ApnsConfig { sandbox_base_url: sandbox.url.clone(), ..production.config() };
    for apple in [&production, &sandbox] {
        apple.strangers.lock().unwrap().insert(token(9));
    }
    for (credential, of_push, went) in [
        (Environment::Production, None, Environment::Production),
        (Environment::Sandbox, None, Environment::Sandbox),
        (Environment::Production, Some(Environment::Sandbox), Environment::Sandbox),
        (Environment::Sandbox, Some(Environment::Production), Environment::Production),
    ] {
        let config = ApnsConfig { environment: credential, ..config.clone() };
        let push = PushSend { environment: of_push, ..push(9) };
        let refused = Outcome::WrongEnvironment { tried: went, error: "BadDeviceToken".into() };
        assert_eq!(production.client_with(&config).send(&push).await, refused);
    }
    assert_eq!([&production, &sandbox].map(|apple| apple.seen.lock().unwrap().requests), [2, 2]);
}

/// What cannot be right never leaves: a token becomes part of a path, a topic a header.
#[tokio::test]
async fn what_apple_cannot_take_never_leaves() {
    let apple = apple().await;
    let two = ApnsConfig { topics: vec!["com.example.a".into(), "com.example.b".into()], ..apple.config() };
    let any = ApnsConfig { topics: Vec::new(), ..apple.config() };
    let tokens = [String::new(), "../admin".into(), "a b".into(), "ab%2f".into(), "a".repeat(201)];
    for token in tokens {
        let push = PushSend { token, ..push(1) };
        assert_eq!(apple.client().send(&push).await, Outcome::Rejected { error: "bad_device_token".into() });
    }
    for (config, topic, error) in [
        (&two, None, "no_topic"),
        (&any, None, "no_topic"),
        (&two, Some("com.example.c"), "topic_not_configured"),
        (&any, Some("a\r\nb"), "bad_topic"),
    ] {
        let push = PushSend { topic: topic.map(str::to_owned), ..push(1) };
        assert_eq!(apple.client_with(config).send(&push).await, Outcome::Rejected { error: error.into() });
    }
    let push = PushSend { topic: None, ..push(1) };
    assert_eq!(apple.client().send(&push).await.label(), "accepted", "the only topic is the device's");
    let mut huge = push;
    huge.push.conversation_id = "c".repeat(4096);
    assert_eq!(apple.client().send(&huge).await, Outcome::Rejected { error: "payload_too_large".into() });
    assert_eq!(apple.seen.lock().unwrap().requests, 1);
}

/// What may have been sent is said to be unknown, and only that; and a repeat of it is the same push.
#[tokio::test]
async fn a_lost_answer_is_unknown_and_a_lost_question_is_not() {
    let apple = apple().await;
    let client = apple.client_with(&ApnsConfig { timeout_ms: 400, ..apple.config() });
    let unknown = |error: &str| Outcome::Unknown { error: error.into() };
    for (then, error) in
        [(Then::Silence, "timeout"), (Then::Reset, "connection_lost"), (Then::Close, "connection_lost")]
    {
        apple.fate.then(Plan::taken(then));
        assert_eq!(send(&client).await, unknown(error));
    }
    apple.fate.then(Plan::taken(Then::Answer(Scripted::new(502, "<html>Bad gateway</html>"))));
    assert_eq!(send(&client).await, unknown("http_502"));
    assert_eq!(send(&client).await.label(), "accepted");
    let ids: BTreeSet<_> =
        apple.seen.lock().unwrap().taken.iter().map(|taken| taken.headers["apns-id"].clone()).collect();
    assert_eq!((apple.seen.lock().unwrap().taken.len(), ids.len()), (5, 1));
    // Nobody listens, or not in HTTP/2, or not in TLS.
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let tls = apple.url.replace("http:", "https:");
    for url in [format!("http://{free}"), tls] {
        let config = ApnsConfig { base_url: url, ..apple.config() };
        let outcome = send(&apple.client_with(&config)).await;
        assert_eq!(outcome, Outcome::RetryAfter { after_ms: None, error: "unreachable".into() });
    }
}

/// GOAWAY in the middle of many pushes loses none and doubles none; a stream that was refused unseen goes again.
#[tokio::test]
async fn goaway_and_refused_streams_lose_nothing_and_double_nothing() {
    let apple = apple().await;
    let client = Arc::new(apple.client());
    for _ in 0..10 {
        apple.fate.then(Plan::taken(Then::Right));
    }
    apple.fate.then(Plan::taken(Then::GoAway));
    apple.fate.then(Plan::lost(Then::Refused));
    apple.fate.then(Plan::taken(Then::GoAway));
    assert!(all_accepted(&send_many(&client, 100).await));
    assert!(all_accepted(&send_many(&client, 100).await));
    let seen = apple.seen.lock().unwrap();
    assert_eq!(seen.taken.len(), 200);
    assert!((3..=8).contains(&seen.connections), "{} connections", seen.connections);
}

/// Two connections carry everything, however much there is.
#[tokio::test]
async fn many_pushes_share_the_configured_connections() {
    let apple = apple().await;
    for connections in [1, 2, 4] {
        apple.seen.lock().unwrap().connections = 0;
        let client = Arc::new(apple.client_with(&ApnsConfig { connections, ..apple.config() }));
        assert!(all_accepted(&send_many(&client, 300).await));
        assert_eq!(apple.seen.lock().unwrap().connections, connections);
    }
}

/// A path that died without a word is given up after two time-outs in a row, and not for one.
#[tokio::test]
async fn a_dead_path_is_given_up() {
    let apple = apple().await;
    let config = ApnsConfig { connections: 1, timeout_ms: 400, ..apple.config() };
    let client = apple.client_with(&config);
    let connections = || apple.seen.lock().unwrap().connections;
    let silent = || apple.fate.then(Plan::taken(Then::Silence));
    for _ in 0..2 {
        silent();
        assert_eq!(send(&client).await.label(), "unknown");
        assert_eq!(send(&client).await.label(), "accepted");
    }
    assert_eq!(connections(), 1, "an answer between them is a sign of life");
    silent();
    silent();
    send(&client).await;
    send(&client).await;
    assert_eq!((send(&client).await.label(), connections()), ("accepted", 2));
}

/// A path that died without a word is found by a PING long before pushes have timed out on it.
#[tokio::test]
async fn a_dead_path_is_found_by_a_ping() {
    let apple = apple().await;
    let config = ApnsConfig { connections: 1, ping_interval_ms: 100, ping_timeout_ms: 100, ..apple.config() };
    let client = apple.client_with(&config);
    apple.fate.then(Plan::taken(Then::Freeze));
    assert_eq!(
        send(&client).await,
        Outcome::Unknown { error: "connection_lost".into() },
        "not by the time-out of 10 s"
    );
    assert_eq!((send(&client).await.label(), apple.seen.lock().unwrap().connections), ("accepted", 2));
}

/// Nothing but HTTP/2 is spoken, and no clear text across a network. P12: whatever is half or wrong has a sentence.
#[tokio::test]
async fn p12_half_an_account_is_refused_and_names_its_key() {
    let apple = apple().await;
    let clock = TestClock::at(AT_MS);
    let whole = apple.config();
    let with = |change: fn(&mut ApnsConfig)| {
        let mut config = whole.clone();
        change(&mut config);
        config
    };
    for (config, says) in [
        (ApnsConfig::default(), "key_file is missing"),
        (with(|c| c.key_file = Some("key.p8".into())), "key and key_file are both set"),
        (ApnsConfig { key: None, key_file: Some("no-such.p8".into()), ..whole.clone() }, "key_file cannot be read"),
        (with(|c| c.key_id = "short".into()), "key_id must be the 10 characters"),
        (with(|c| c.team_id = "team123456".into()), "team_id must be the 10 characters"),
        (with(|c| c.topics = vec!["com.example/x".into()]), "topics must be"),
        (with(|c| c.base_url = "http://api.push.example".into()), "base_url must be"),
        (with(|c| c.sandbox_base_url = "https://x.example/3/device".into()), "sandbox_base_url must be"),
        (with(|c| c.connections = 0), "connections must be 1 to 16"),
        (with(|c| c.ping_interval_ms = 1), "ping_interval_ms must be"),
        (with(|c| c.ping_timeout_ms = 0), "ping_timeout_ms must be"),
        (with(|c| c.timeout_ms = 0), "timeout_ms must be"),
        (with(|c| c.ca_file = Some("no-such.pem".into())), "ca_file cannot be read"),
    ] {
        let error = Apns::from_config(&config, clock.clone()).err().unwrap_or_else(|| panic!("{says}: taken"));
        let (shown, debug) = (error.to_string(), format!("{error:?} {config:?}"));
        assert!(shown.starts_with("[apns] ") && shown.contains(says), "{shown}");
        assert!(!debug.contains("BEGIN"), "{debug}");
    }
}

/// P12: what is given instead of a .p8 key is told by its name, whole or in base64, and none of it is quoted.
#[tokio::test]
async fn p12_what_is_no_p8_key_is_named() {
    use base64::Engine as _;
    let base64 = |der: &[u8]| base64::engine::general_purpose::STANDARD.encode(der);
    let generate = |algorithm| rcgen::KeyPair::generate_for(algorithm).unwrap().serialize_der();
    let (p384, ed25519) = (generate(&rcgen::PKCS_ECDSA_P384_SHA384), generate(&rcgen::PKCS_ED25519));
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap().self_signed(&key).unwrap();
    let p12 = [&[0x30, 0x82, 0x0a, 0x00, 0x02, 0x01, 0x03, 0x30, 0x82][..], &[0x5a; 600]].concat();
    let cut = p8()[..100].to_owned() + "\n-----END PRIVATE KEY-----\n";
    for (given, says) in [
        (Vec::new(), "is empty"),
        (p12.clone(), "is a .p12"),
        (base64(&p12).into_bytes(), "is a .p12"),
        (pem("PKCS12", &p12).into_bytes(), "is a .p12"),
        (pem("CERTIFICATE", certificate.der()).into_bytes(), "is a certificate"),
        (certificate.der().to_vec(), "is a certificate"),
        (pem("ENCRYPTED PRIVATE KEY", b"0secret").into_bytes(), "is encrypted"),
        (
            b"-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n-----END EC PRIVATE KEY-----".to_vec(),
            "is encrypted",
        ),
        (pem("EC PRIVATE KEY", b"0secret").into_bytes(), "is an EC key in another form"),
        (pem("PUBLIC KEY", b"0secret").into_bytes(), "is a public key"),
        (pem("PRIVATE KEY", &p384).into_bytes(), "is not on the curve P-256"),
        (pem("PRIVATE KEY", &ed25519).into_bytes(), "is not on the curve P-256"),
        (pem("RSA PRIVATE KEY", b"0secret").into_bytes(), "is an RSA key"),
        (base64(&key.serialize_der()).into_bytes(), "has lost its first and last line"),
        (key.serialize_der(), "has lost its first and last line"),
        (cut.into_bytes(), "is damaged"),
        (b"{\"type\": \"service_account\"}".to_vec(), "is not a .p8 key"),
        (vec![0xff; 200_000], "is not a .p8 key"),
    ] {
        let apple = apple().await;
        let credential = ApnsCredential { key: given, ..credential(Environment::Production) };
        let error = Apns::new(&credential, &apple.net()).err().unwrap_or_else(|| panic!("{says}: taken"));
        assert!(error.to_string().starts_with(&format!("[apns] key {says}")), "{says}: {error}");
        let ApnsConfigError::Credential(named) = error else { panic!("{error}") };
        assert_eq!(named.field(), "key");
        assert!(!format!("{named:?} {named}").contains("secret"));
    }
    // As an editor on another system leaves it.
    let edited = format!("\u{feff}\r\n{}\r\n\r\n", p8().replace('\n', "\r\n"));
    let credential = ApnsCredential { key: edited.into_bytes(), ..credential(Environment::Production) };
    assert!(Apns::new(&credential, &apple().await.net()).is_ok());
}

/// The day before launch: a refused dummy token says that the credentials are fine, and each fault has its mend.
#[tokio::test]
async fn a_check_says_what_is_wrong_and_pushes_to_nobody() {
    let apple = apple().await;
    let Checked { message, vendor_ahead_ms } = apple.client().check().await.unwrap();
    assert!(message.contains(KEY_ID) && message.contains(TEAM), "{message}");
    assert_eq!(vendor_ahead_ms, Some(500), "to half a second, which is as good as `Date` tells");
    let check = async |config: ApnsConfig| apple.client_with(&config).check().await.unwrap_err();
    let wrong_key = check(ApnsConfig { key_id: "ZZZZZ99999".into(), ..apple.config() }).await;
    apple.fate.then(say(400, "TopicDisallowed"));
    let wrong_topic = check(ApnsConfig { topics: vec!["com.example.other".into()], ..apple.config() }).await;
    apple.fate.then(say(403, "BadEnvironmentKeyIdInToken"));
    let wrong_environment = check(apple.config()).await;
    apple.fate.then(say(400, "BadTopic"));
    let bad_topic = check(apple.config()).await;
    for (error, message, mend) in [
        (wrong_key, "InvalidProviderToken", "must belong together"),
        (wrong_topic, "may not push to com.example.other", "bundle ids"),
        (bad_topic, "may not push to com.example.shop", "bundle ids"),
        (wrong_environment, "not for the production environment", "set environment to sandbox"),
    ] {
        let CheckError { fault, message: says, mend: mends } = error;
        assert_eq!(fault, Fault::Refused, "{says}");
        assert!(says.contains(message) && mends.contains(mend), "{says}: {mends}");
    }
    apple.fate.then(Plan::lost(Then::Close));
    assert_eq!(check(apple.config()).await.fault, Fault::Unreachable);
    apple.fate.then(Plan::lost(Then::Silence));
    assert_eq!(check(ApnsConfig { timeout_ms: 200, ..apple.config() }).await.fault, Fault::Unreachable);
    apple.fate.then(Plan::lost(Then::Answer(Scripted::new(503, "<html>"))));
    assert_eq!(check(apple.config()).await.fault, Fault::Unreachable);
    assert!(apple.seen.lock().unwrap().taken.is_empty());
}
