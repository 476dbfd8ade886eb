//! APNs as others built it: Pushy's validating server, over TLS with ALPN (`doubles/ApnsServer.java`).

use crate::providers_apns_double::{KEY_ID, TEAM, TOPIC, p8, public_key, token};
use crate::providers_smtp_double::make_certificates;
use crate::providers_support::push_send;
use backstop_domain::followup::Outcome;
use backstop_server::clock::{Clock as _, SystemClock};
use backstop_server::providers::apns::{self, Apns, ApnsConfig};
use backstop_server::providers::{PushProvider, PushSend};
use backstop_wire::Environment;
use base64::Engine as _;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinSet;

const DEAD: u64 = 99;
const DEAD_SINCE_MS: i64 = 1_795_370_000_123;

struct Pushy {
    port: u16,
    files: TempDir,
    lines: Lines<BufReader<ChildStdout>>,
    /// The server ends when this closes.
    _stdin: ChildStdin,
    _process: Child,
}

impl Pushy {
    async fn start(tokens: &[String]) -> Pushy {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let jars = std::env::var_os("BACKSTOP_PUSHY").map_or_else(|| here.join("../target/tools/pushy"), PathBuf::from);
        assert!(jars.join("pushy-0.15.4.jar").exists(), "tests/doubles/fetch-pushy {} makes it", jars.display());
        let files = make_certificates();
        let at = |name: &str| files.path().join(name);
        std::fs::write(at("provider.pem"), public_key()).unwrap();
        // A port that was free a moment ago: Pushy does not say which one it took.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut process = Command::new("java")
            .arg("-cp")
            .arg(jars.join("*"))
            .arg(here.join("doubles/ApnsServer.java"))
            .arg(port.to_string())
            .args([at("server.pem"), at("server.key"), at("provider.pem")])
            .args([TEAM, KEY_ID, TOPIC, &tokens.join(","), &token(DEAD)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("a JDK (default-jdk-headless) is installed by tests/run");
        let stdin = process.stdin.take().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut pushy = Pushy { port, files, lines, _stdin: stdin, _process: process };
        assert_eq!(pushy.said().await, "listening");
        pushy
    }

    async fn said(&mut self) -> String {
        self.lines.next_line().await.unwrap().expect("Pushy lives")
    }

    /// Its certificate is of an authority of our own.
    fn config(&self) -> ApnsConfig {
        let url = format!("https://localhost:{}", self.port);
        ApnsConfig {
            key: Some(p8()),
            key_id: KEY_ID.into(),
            team_id: TEAM.into(),
            topics: vec![TOPIC.into()],
            base_url: url.clone(),
            sandbox_base_url: url,
            // A busy machine starts Java slowly.
            timeout_ms: 60_000,
            ca_file: Some(self.files.path().join("ca.pem")),
            ..ApnsConfig::default()
        }
    }

    fn client(&self, config: &ApnsConfig) -> Apns {
        Apns::from_config(config, Arc::new(SystemClock::start())).unwrap()
    }
}

fn push(n: u64) -> PushSend {
    let now_ms = SystemClock::start().now_ms();
    let mut push = push_send(&format!("fu_{n}"), &token(n));
    push.envelope.at_ms = now_ms;
    push.expires_at_ms = now_ms + 30_000;
    push
}

/// P1: what we send passes a server that others wrote, over TLS: token, headers, payload; and so do its answers.
#[tokio::test]
async fn p1_a_validating_server_of_others_takes_what_we_send() {
    let mut pushy = Pushy::start(&[token(1), token(2)]).await;
    let client = Arc::new(pushy.client(&pushy.config()));
    let one = push(1);
    let outcome = client.send(&one).await;
    let Outcome::Accepted { provider_id: Some(id) } = outcome else { panic!("{outcome:?}: {}", pushy.said().await) };
    let said = pushy.said().await;
    let [word, its_id, body] = said.split(' ').collect::<Vec<_>>()[..] else { panic!("{said}") };
    assert_eq!((word, its_id), ("accepted", id.as_str()));
    let body = base64::engine::general_purpose::STANDARD.decode(body).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), apns::body(&one).unwrap());
    let gone = Outcome::TokenGone { since_ms: Some(DEAD_SINCE_MS), error: "Unregistered".into() };
    assert_eq!(client.send(&push(DEAD)).await, gone);
    assert_eq!(pushy.said().await, "rejected UNREGISTERED");
    let rejected = |error: &str| Outcome::Rejected { error: error.into() };
    assert_eq!(client.send(&push(3)).await, rejected("DeviceTokenNotForTopic"));
    let short = PushSend { token: "abcd".into(), ..push(1) };
    let wrong = Outcome::WrongEnvironment { tried: Environment::Production, error: "BadDeviceToken".into() };
    assert_eq!(client.send(&short).await, wrong);
    let other_key = ApnsConfig { key_id: "ZZZZZ99999".into(), ..pushy.config() };
    assert_eq!(pushy.client(&other_key).send(&push(1)).await, rejected("InvalidProviderToken"));
    let mut sends = JoinSet::new();
    for n in 0..200 {
        let client = client.clone();
        sends.spawn(async move { client.send(&push(1 + n % 2)).await });
    }
    // The one refused by its short token, the other key's, the wrong topic's, and these.
    let heard = async {
        let mut accepted = 0;
        while accepted < 200 {
            accepted += usize::from(pushy.said().await.starts_with("accepted "));
        }
    };
    let (outcomes, ()) = tokio::join!(sends.join_all(), heard);
    let others: Vec<_> = outcomes.iter().filter(|outcome| outcome.label() != "accepted").collect();
    assert!(others.is_empty(), "{others:?}");
}

/// A certificate that nobody vouches for is no connection: nothing left, and the provider token least of all.
#[tokio::test]
async fn a_stranger_in_the_middle_gets_nothing() {
    let pushy = Pushy::start(&[token(1)]).await;
    let config = ApnsConfig { ca_file: None, ..pushy.config() };
    let unreachable = Outcome::RetryAfter { after_ms: None, error: "unreachable".into() };
    assert_eq!(pushy.client(&config).send(&push(1)).await, unreachable);
}
