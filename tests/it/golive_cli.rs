//! `check-config --live` against doubles: each thing that is wrong has its line with the mend, and nothing is sent.

use crate::program::{Server, backstop};
use crate::providers_apns_double::Apple;
use crate::providers_fcm_double::{Google, Scripted, TestClock};
use crate::providers_smtp_double::MailServer;
use backstop_server::clock::{Clock, SystemClock};
use backstop_server::providers::smtp::SmtpTls;
use serde_json::json;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tempfile::{TempDir, tempdir};

fn now_ms() -> i64 {
    SystemClock::start().now_ms()
}

/// What it says, and its exit code.
async fn live(dir: &TempDir, env: &[(&str, String)]) -> (String, i32) {
    let mut command = backstop(dir, &["check-config", "--live"]);
    command.envs(env.iter().map(|(name, value)| (*name, value.as_str())));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    (String::from_utf8_lossy(&output.stdout).into_owned() + &stderr, output.status.code().unwrap())
}

/// The line about one thing.
fn line<'a>(said: &'a str, check: &str) -> &'a str {
    let mut lines = said.lines().filter(|line| line.get(6..).is_some_and(|rest| rest.split(' ').next() == Some(check)));
    lines.next_back().unwrap_or_else(|| panic!("no line about {check}:\n{said}"))
}

fn smtp(mail: &MailServer) -> Vec<(&'static str, String)> {
    let config = mail.config();
    let path = config.ca_file.unwrap().display().to_string();
    vec![
        ("BACKSTOP__PROVIDERS__SMTP__HOST", config.host),
        ("BACKSTOP__PROVIDERS__SMTP__PORT", config.port.unwrap().to_string()),
        ("BACKSTOP__PROVIDERS__SMTP__USERNAME", config.username.unwrap()),
        ("BACKSTOP__PROVIDERS__SMTP__PASSWORD", config.password.unwrap()),
        ("BACKSTOP__PROVIDERS__SMTP__FROM", config.from),
        ("BACKSTOP__PROVIDERS__SMTP__CA_FILE", path),
    ]
}

fn fcm(google: &Google) -> Vec<(&'static str, String)> {
    let config = google.config();
    vec![
        ("BACKSTOP__FCM__SERVICE_ACCOUNT", config.service_account.unwrap()),
        ("BACKSTOP__FCM__BASE_URL", config.base_url),
    ]
}

fn with(env: &[(&'static str, String)], name: &'static str, value: impl ToString) -> Vec<(&'static str, String)> {
    let others = env.iter().filter(|(known, _)| *known != name).cloned();
    others.chain([(name, value.to_string())]).collect()
}

/// Everything right is a line each, and exit 0; not one mail or push was sent.
#[tokio::test(flavor = "multi_thread")]
async fn all_is_well() {
    let dir = tempdir().unwrap();
    let (mail, google) = (MailServer::start(SmtpTls::Required).await, Google::start(now_ms() + 15_000).await);
    let server = Server::start(&dir, &[], &[]).unwrap();
    let env = [smtp(&mail), fcm(&google)].concat();
    let env = with(&env, "BACKSTOP__SERVER__PUBLIC_URL", &server.url);
    let env = with(&env, "BACKSTOP__SERVER__LISTEN", server.address("listen"));
    let (said, exit) = live(&dir, &env).await;
    assert_eq!(exit, 0, "{said}");
    assert_eq!(line(&said, "public_url"), format!("ok    public_url {} answers as this deployment", server.url));
    assert_eq!(line(&said, "email"), "ok    email     the mail server at localhost takes our log-in");
    assert!(line(&said, "fcm").starts_with("ok    fcm       "), "{said}");
    for check in ["disk", "fsync", "files", "proxies", "callbacks", "clock"] {
        assert!(line(&said, check).starts_with("ok    "), "{said}");
    }
    let seen = google.seen.lock().unwrap();
    assert_eq!((seen.sends, seen.messages.len()), (1, 0), "asked once, and nothing was sent");
}

/// Wrong credentials, each in words and with exit 1.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_accounts_are_named() {
    let dir = tempdir().unwrap();
    let (mail, google) = (MailServer::start(SmtpTls::Required).await, Google::start(now_ms() + 15_000).await);
    let (good, account) = (smtp(&mail), fcm(&google));
    let (said, exit) = live(&dir, &with(&good, "BACKSTOP__PROVIDERS__SMTP__PASSWORD", "wrong")).await;
    assert_eq!(exit, 1, "{said}");
    let expected = "BAD   email     the mail server at localhost refuses our log-in (535 5.7.8): check username and \
                    password (or password_file) of [providers.smtp]";
    assert_eq!(line(&said, "email"), expected);
    assert!(said.contains("1 of these must be mended before the launch"), "{said}");
    assert!(!said.contains("wrong"), "{said}");
    let untrusted = with(&good, "BACKSTOP__PROVIDERS__SMTP__CA_FILE", "");
    let untrusted: Vec<_> = untrusted.into_iter().filter(|(name, _)| !name.ends_with("CA_FILE")).collect();
    let (said, _) = live(&dir, &untrusted).await;
    assert!(line(&said, "email").contains("shows a certificate that is not trusted"), "{said}");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (said, _) = live(&dir, &with(&good, "BACKSTOP__PROVIDERS__SMTP__PORT", closed)).await;
    assert!(line(&said, "email").contains(&format!("localhost:{closed} cannot be reached")), "{said}");
    // An account that was deleted, and a clock that is an hour off.
    let gone = || Scripted::new(400, json!({ "error": "invalid_grant" }).to_string());
    google.token_script.lock().unwrap().extend([gone(), gone()]);
    let (said, exit) = live(&dir, &account).await;
    assert_eq!(exit, 1);
    assert!(line(&said, "fcm").contains("make a new key for the service account"), "{said}");
    google.token_script.lock().unwrap().clear();
    google.ahead_ms.store(3_600_000, Ordering::SeqCst);
    let (said, _) = live(&dir, &account).await;
    assert!(line(&said, "fcm").contains("clock") && line(&said, "fcm").contains("NTP"), "{said}");
}

/// An Apple key that is right, one that Apple does not know, and a clock that is an hour off.
#[tokio::test(flavor = "multi_thread")]
async fn an_apple_key_is_judged() {
    let dir = tempdir().unwrap();
    let clock = TestClock::at(now_ms() + 5_000);
    let apple = Apple::start(clock).await;
    let config = apple.config();
    let env = vec![
        ("BACKSTOP__APNS__KEY", config.key.unwrap()),
        ("BACKSTOP__APNS__KEY_ID", config.key_id),
        ("BACKSTOP__APNS__TEAM_ID", config.team_id),
        ("BACKSTOP__APNS__TOPICS", config.topics.join(",")),
        ("BACKSTOP__APNS__BASE_URL", config.base_url),
        ("BACKSTOP__APNS__SANDBOX_BASE_URL", config.sandbox_base_url),
    ];
    let (said, exit) = live(&dir, &env).await;
    assert_eq!(exit, 0, "{said}");
    assert!(line(&said, "apns").starts_with("ok    apns      APNs takes key "), "{said}");
    assert!(line(&said, "clock").starts_with("ok    "), "{said}");
    let (said, exit) = live(&dir, &with(&env, "BACKSTOP__APNS__KEY_ID", "UNKNOWN123")).await;
    assert_eq!(exit, 1, "{said}");
    assert!(line(&said, "apns").starts_with("BAD   apns      ") && line(&said, "apns").contains("key_id"), "{said}");
    *apple.ahead_ms.lock().unwrap() = 7_200_000;
    let (said, exit) = live(&dir, &env).await;
    assert_eq!(exit, 1, "{said}");
    assert!(line(&said, "apns").contains("clock") && line(&said, "apns").contains("NTP"), "{said}");
    assert!(apple.seen.lock().unwrap().taken.is_empty(), "nothing was sent");
}

/// A URL that leads nowhere, to somebody else, or to a server that is not running, is told apart.
#[tokio::test(flavor = "multi_thread")]
async fn a_public_url_that_leads_elsewhere_is_named() {
    let (dir, google) = (tempdir().unwrap(), Google::start(now_ms() + 15_000).await);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nowhere = vec![("BACKSTOP__SERVER__PUBLIC_URL", format!("http://{closed}"))];
    let (said, exit) = live(&dir, &with(&nowhere, "BACKSTOP__SERVER__LISTEN", closed)).await;
    assert_eq!(exit, 0, "nothing is known to be wrong: {said}");
    assert!(line(&said, "public_url").starts_with("?     public_url "), "{said}");
    assert!(line(&said, "public_url").ends_with("start `backstop serve`, then look again"), "{said}");
    let server = Server::start(&dir, &[], &[]).unwrap();
    let running = with(&nowhere, "BACKSTOP__SERVER__LISTEN", server.address("listen"));
    let (said, exit) = live(&dir, &running).await;
    assert_eq!(exit, 1, "{said}");
    assert!(line(&said, "public_url").contains("cannot be reached from here: the connection is refused"), "{said}");
    let (said, exit) = live(&dir, &with(&running, "BACKSTOP__SERVER__PUBLIC_URL", &google.url)).await;
    assert_eq!(exit, 1, "{said}");
    assert!(line(&said, "public_url").contains("answers with status 404, and not as this deployment"), "{said}");
    // Another deployment's server is as healthy, and somebody else's.
    let other_dir = tempdir().unwrap();
    let other = Server::start(&other_dir, &[], &[]).unwrap();
    let (said, _) = live(&dir, &with(&running, "BACKSTOP__SERVER__PUBLIC_URL", &other.url)).await;
    assert!(line(&said, "public_url").contains("answers with status 200, and not as this deployment"), "{said}");
    let unset: Vec<_> = running.into_iter().filter(|(name, _)| !name.ends_with("PUBLIC_URL")).collect();
    let (said, _) = live(&dir, &unset).await;
    assert!(line(&said, "public_url").starts_with("warn  public_url no public_url"), "{said}");
}

/// The chain is judged as a phone would: a certificate of nobody's is refused, one of a trusted authority is fine.
#[tokio::test(flavor = "multi_thread")]
async fn the_chain_of_public_url_is_judged() {
    let (dir, authority) = (tempdir().unwrap(), crate::serve_tls::Authority::new());
    let (certificate, key, _) = authority.issue(|params| params.not_after = rcgen::date_time_ymd(2999, 1, 1));
    crate::serve_tls::put(dir.path(), &certificate, &key);
    std::fs::write(dir.path().join("ca.pem"), authority.pem()).unwrap();
    let server = Server::start(&dir, &[], &crate::serve_tls::ENV).unwrap();
    let port = server.address("listen").rsplit_once(':').unwrap().1.to_owned();
    let env: Vec<_> = crate::serve_tls::ENV.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    let env = with(&env, "BACKSTOP__SERVER__PUBLIC_URL", format!("https://localhost:{port}"));
    let env = with(&env, "BACKSTOP__SERVER__LISTEN", server.address("listen"));
    let (said, exit) = live(&dir, &env).await;
    assert_eq!(exit, 1, "{said}");
    assert!(line(&said, "tls").contains("is refused: ") && line(&said, "tls").contains("from an authority"), "{said}");
    assert!(line(&said, "public_url").contains("mend its certificate first"), "{said}");
    let (said, exit) = live(&dir, &with(&env, "SSL_CERT_FILE", "ca.pem")).await;
    assert_eq!(exit, 0, "{said}");
    assert!(line(&said, "tls").starts_with("ok    tls       the certificate of https://localhost:"), "{said}");
    assert!(line(&said, "public_url").starts_with("ok    "), "{said}");
}

/// A proxy that is not known to be one is said, with what follows from it.
#[tokio::test]
async fn a_proxy_that_is_not_trusted_is_named() {
    let dir = tempdir().unwrap();
    let server = Server::start(&dir, &[], &[]).unwrap();
    let proxy = Arc::new(proxy(server.url.clone()).await);
    let env = vec![
        ("BACKSTOP__SERVER__PUBLIC_URL", format!("{proxy}/chat")),
        ("BACKSTOP__SERVER__LISTEN", server.address("listen")),
    ];
    let (said, exit) = live(&dir, &env).await;
    assert_eq!(exit, 0, "{said}");
    assert!(line(&said, "public_url").starts_with("ok    "), "below a path that the proxy takes off: {said}");
    let expected =
        "warn  proxies   requests come through 127.0.0.1, whose word on their origin is not believed: add it";
    assert!(line(&said, "proxies").starts_with(expected), "{said}");
}

/// Hands on what is below `/chat`, and says for whom.
async fn proxy(to: String) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let hand_on = move |request: axum::extract::Request| {
        let (client, to) = (client.clone(), to.clone());
        async move {
            let path = request.uri().path_and_query().unwrap().as_str().trim_start_matches("/chat").to_owned();
            let answer =
                client.get(format!("{to}{path}")).header("x-forwarded-for", "203.0.113.9").send().await.unwrap();
            let kind = answer.headers().get("content-type").cloned().unwrap();
            (answer.status(), [("content-type", kind)], answer.text().await.unwrap())
        }
    };
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(hand_on)).await });
    url
}

/// A Twilio account: wrong token, suspended, a number of somebody else's, or all right.
#[tokio::test(flavor = "multi_thread")]
async fn a_twilio_account_is_judged() {
    let dir = tempdir().unwrap();
    let number = |sms: bool| json!({ "incoming_phone_numbers": [{ "capabilities": { "sms": sms, "voice": true } }] });
    let none = json!({ "incoming_phone_numbers": [] });
    for (account, numbers, expected) in [
        ("active", number(true), "ok    text      Twilio takes the account, and the number of from is its own"),
        ("active", number(false), "BAD   text      the number of [providers.twilio] from cannot send texts: buy one"),
        (
            "active",
            none.clone(),
            "BAD   text      the number of [providers.twilio] from is none of this Twilio account's",
        ),
        ("suspended", none, "BAD   text      the Twilio account is suspended: open the account in Twilio's console"),
    ] {
        let url = twilio(account, numbers).await;
        let (said, exit) = live(&dir, &twilio_env(&url, "a-token-of-32-characters-0123456")).await;
        assert!(line(&said, "text").starts_with(expected), "{said}");
        assert_eq!(exit == 0, expected.starts_with("ok"), "{said}");
    }
    let url = twilio("active", number(true)).await;
    let (said, exit) = live(&dir, &twilio_env(&url, "another-token-of-32-characters-0")).await;
    assert_eq!(exit, 1, "{said}");
    let expected = "BAD   text      Twilio refuses our log-in: check account_sid and auth_token (or auth_token_file) \
                    of [providers.twilio]";
    assert_eq!(line(&said, "text"), expected);
}

const ACCOUNT: &str = "AC00000000000000000000000000000001";

fn twilio_env(url: &str, token: &str) -> Vec<(&'static str, String)> {
    vec![
        ("BACKSTOP__PROVIDERS__TWILIO__ACCOUNT_SID", ACCOUNT.into()),
        ("BACKSTOP__PROVIDERS__TWILIO__AUTH_TOKEN", token.into()),
        ("BACKSTOP__PROVIDERS__TWILIO__FROM", "+14155550100".into()),
        ("BACKSTOP__PROVIDERS__TWILIO__BASE_URL", url.into()),
    ]
}

/// The two resources that a check fetches, for one token; anything else is no resource.
async fn twilio(status: &'static str, numbers: serde_json::Value) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = move |request: axum::extract::Request| async move {
        use base64::Engine as _;
        let login = format!("{ACCOUNT}:a-token-of-32-characters-0123456");
        let basic = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(login));
        if request.headers().get("authorization").is_none_or(|given| given != basic.as_str()) {
            return (axum::http::StatusCode::UNAUTHORIZED, json!({ "code": 20003, "status": 401 }).to_string());
        }
        let account = format!("/2010-04-01/Accounts/{ACCOUNT}");
        let path = request.uri().to_string();
        let body = match path.strip_prefix(&account) {
            Some(".json") => json!({ "sid": ACCOUNT, "status": status }),
            Some("/IncomingPhoneNumbers.json?PhoneNumber=%2B14155550100") => numbers,
            _ => return (axum::http::StatusCode::NOT_FOUND, json!({ "code": 20404, "status": 404 }).to_string()),
        };
        (axum::http::StatusCode::OK, body.to_string())
    };
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(answer)).await });
    url
}
