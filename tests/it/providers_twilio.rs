//! Twilio's provider against what others wrote: Twilio's own library for signatures, its own OpenAPI through a mock.

use crate::providers_support::{AT_MS, text_send, xms};
use crate::twilio_double::{ACCOUNT, Manner, OWN, TOKEN, Twilio as Double};
use backstop_domain::followup::{Found, Outcome};
use backstop_server::providers::twilio::{Twilio, TwilioConfig, signature};
use backstop_server::providers::{TextProvider, TextQuery, TextSend};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

const NUMBER: &str = "+14152001001";

/// What tests/run installs.
pub(crate) fn package(name: &str) -> PathBuf {
    let modules = std::env::var_os("BACKSTOP_NODE_MODULES").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_TARGET_TMPDIR"), "/../tools/node/node_modules")),
        PathBuf::from,
    );
    let package = modules.join(name);
    assert!(package.is_dir(), "{}: tests/run installs it", package.display());
    package
}

/// W2: what we take for Twilio's signature is what its own library makes: repeated fields, strange names, any script.
#[test]
fn w2_signatures_are_those_of_twilios_own_library() {
    let words = ["", "a", "Body", "STOP & go", "+14155550123", "ü 한국 🎉", "a=b", "100%", "x y", "\"'<>", "Zz", "z"];
    let mut cases: Vec<Value> = Vec::new();
    for n in 0..2_000usize {
        let word = |at: usize| words[(n / (at + 1) + at * 5 + n * at) % words.len()];
        let mut fields = serde_json::Map::new();
        for at in 0..n % 7 {
            let many = json!([word(at), word(at + 1), word(at)]);
            let value = if (n + at) % 3 == 0 { many } else { json!(word(at)) };
            fields.insert(format!("{}{}", word(at + 2), at % 4), value);
        }
        let url = format!("https://hooks.example.com/in/twilio/{ACCOUNT}?workspace=shop&attempt={n}");
        cases.push(json!({"token": TOKEN, "url": url, "fields": fields}));
    }
    let mut library = Command::new("node")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/doubles/twilio_signatures.cjs"))
        .arg(package("twilio"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("node: {error}; tests/run installs it"));
    let mut to_library = library.stdin.take().unwrap();
    let asked = cases.clone();
    let asking = std::thread::spawn(move || asked.iter().for_each(|case| writeln!(to_library, "{case}").unwrap()));
    let signed = library.wait_with_output().unwrap();
    asking.join().unwrap();
    assert!(signed.status.success());
    let signed = String::from_utf8(signed.stdout).unwrap();
    assert_eq!(signed.lines().count(), cases.len());
    for (case, theirs) in cases.iter().zip(signed.lines()) {
        let mut url = reqwest::Url::parse("http://x/").unwrap();
        for (name, value) in case["fields"].as_object().unwrap() {
            let values = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
            for value in values {
                url.query_pairs_mut().append_pair(name, value.as_str().unwrap());
            }
        }
        let body = url.query().unwrap_or("");
        assert_eq!(signature(TOKEN, case["url"].as_str().unwrap(), body.as_bytes()), theirs, "{case}");
    }
}

/// Twilio's own description of its API, served by a program that others wrote. Ends with the test.
struct Prism {
    process: Child,
    url: String,
}

impl Prism {
    fn start() -> Prism {
        let spec = package("@twilio-alpha/mcp").join("twilio-oai/spec/json/twilio_api_v2010.json");
        let mut process = Command::new("node")
            .arg(package("@stoplight/prism-cli").join("dist/index.js"))
            .args(["mock", "--host", "127.0.0.1", "--port", "0", "--seed", "1"])
            .arg(spec)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("node: {error}; tests/run installs it"));
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let listening = lines.find_map(|line| Some(line.split_once("listening on ")?.1.trim().to_owned()));
        // It says a line a request, to the end, and would fall over if nobody listened.
        std::thread::spawn(move || lines.for_each(drop));
        Prism { url: listening.expect("it listens"), process }
    }
}

impl Drop for Prism {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn config(url: &str) -> TwilioConfig {
    TwilioConfig {
        account_sid: ACCOUNT.into(),
        auth_token: Some(TOKEN.into()),
        from: Some(OWN.into()),
        base_url: url.to_owned(),
        ..TwilioConfig::default()
    }
}

fn text(to: &str) -> TextSend {
    TextSend { from: None, ..text_send("fu_0000000000001", to) }
}

/// T4: what is sent is what Twilio's description of its API allows, and its example of an answer is understood.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_request_is_one_that_twilios_own_document_allows() {
    let prism = tokio::task::spawn_blocking(Prism::start).await.unwrap();
    let twilio = Twilio::from_config(&config(&prism.url), Some("https://backstop.example.com")).unwrap();
    let sent = twilio.send(&text(NUMBER)).await;
    assert!(matches!(&sent, Outcome::Accepted { provider_id: Some(sid) } if sid.starts_with("SM")), "{sent:?}");
    let is_it = |_: &str| true;
    let found = twilio
        .find(&TextQuery {
            to: NUMBER,
            age_ms: 1_000,
            is_it: &is_it,
            provider_id: None,
            followup_id: "fu_0000000000001",
            attempt: 1,
        })
        .unwrap()
        .await;
    assert!(matches!(found, Found::Taken { .. }), "its example of a page is read: {found:?}");
}

/// P8: the double's refusals and silences, each in our words.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p8_each_way_of_failing_is_told_apart() {
    let double = Double::start(crate::providers_fcm_double::TestClock::at(AT_MS)).await;
    let mut quick = double.config();
    quick.timeout_ms = 300;
    let client = |config: &TwilioConfig| Twilio::from_config(config, None).unwrap();
    let twilio = client(&quick);
    for (n, (manner, becomes)) in [
        (Manner::Take, "accepted"),
        (Manner::TakeAndSayNothing, "unknown timeout"),
        (Manner::TakeAndReset, "unknown connection_lost"),
        (Manner::TakeAndFail, "unknown http_503"),
        (Manner::LoseAndReset, "unknown connection_lost"),
        (Manner::TooMany, "retry_after too_many 20429"),
        (Manner::OptedOut, "rejected opted_out"),
    ]
    .into_iter()
    .enumerate()
    {
        let number = format!("+1415200200{n}");
        double.manner(&number, manner);
        assert_eq!(in_words(&twilio.send(&text(&number)).await), becomes, "{manner:?}");
    }
    let long = TextSend { body: xms(&"x".repeat(1_601)), ..text(NUMBER) };
    assert_eq!(in_words(&twilio.send(&long).await), "rejected too_long 21617");
    assert_eq!(in_words(&twilio.send(&text("+1")).await), "rejected bad_number 21211");
    let other = TextSend { from: Some("+14155550199".into()), ..text(NUMBER) };
    assert_eq!(in_words(&twilio.send(&other).await), "retry_after account 21606");
    let mut wrong = double.config();
    wrong.auth_token = Some("not the token".into());
    assert_eq!(in_words(&client(&wrong).send(&text(NUMBER)).await), "retry_after account 20003");
    let mut nobody = double.config();
    nobody.base_url = "http://127.0.0.1:9".into();
    assert_eq!(in_words(&client(&nobody).send(&text(NUMBER)).await), "retry_after unreachable");
}

fn in_words(outcome: &Outcome) -> String {
    format!("{} {}", outcome.label(), outcome.error().unwrap_or_default()).trim().to_owned()
}
