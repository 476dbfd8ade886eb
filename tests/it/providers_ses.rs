//! SES against what others wrote: moto's server, botocore's signatures, npm's `sns-validator`.

use crate::providers_fcm_double::{TestClock, pem};

use crate::providers_support::{AT_MS, email_send};
use axum::http::HeaderMap;
use backstop_domain::followup::Outcome;
use backstop_server::providers::ses::{Ses, SesConfig, is_signed, signature};
use backstop_server::providers::{Call, Callbacks, EmailProvider, Fault, Provider, Word};
use backstop_wire::time::to_rfc3339;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const REGION: &str = "eu-central-1";
const TOPIC: &str = "arn:aws:sns:eu-central-1:123456789012:mail";
const CERTIFICATE_URL: &str = "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-0123.pem";
const FOLLOWUP: &str = "fu_0000000000001";

/// SES and AWS's signer by others' hands.
struct Aws {
    process: Child,
    stdin: ChildStdin,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    url: String,
}

impl Aws {
    fn start() -> Aws {
        let python = std::env::var("BACKSTOP_PYTHON")
            .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../.venv/bin/python3").into());
        let mut process = Command::new(&python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/doubles/aws_server.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{python}: {error}; tests/run installs it"));
        let stdin = process.stdin.take().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let first: Value = serde_json::from_str(&lines.next().expect("moto is installed").unwrap()).unwrap();
        Aws { process, stdin, lines, url: format!("http://127.0.0.1:{}", first["port"]) }
    }

    fn ask(&mut self, order: Value) -> Value {
        writeln!(self.stdin, "{order}").unwrap();
        serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap()
    }
}

impl Drop for Aws {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn config() -> SesConfig {
    SesConfig {
        region: REGION.into(),
        access_key_id: "AKIDEXAMPLE000000000".into(),
        secret_access_key: Some("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into()),
        configuration_set: Some("backstop".into()),
        from: "follow-up@example.com".into(),
        topic_arns: vec![TOPIC.into()],
        ..SesConfig::default()
    }
}

fn ses(config: &SesConfig) -> Ses {
    Ses::from_config(config, TestClock::at(AT_MS)).unwrap()
}

/// Our signatures are those of AWS's own signer, whatever is signed.
#[test]
fn signatures_are_those_of_aws_own_signer() {
    let mut aws = Aws::start();
    for (token, method, path, body) in [
        (None, "POST", "/v2/email/outbound-emails", r#"{"Content":"안녕 ü"}"#),
        (None, "GET", "/v2/email/account", ""),
        (None, "GET", "/v2/email/identities/follow-up%40example.com", ""),
        (Some("token/with+signs="), "POST", "/v2/email/outbound-emails", "{}"),
    ] {
        let config = SesConfig { session_token: token.map(str::to_owned), ..config() };
        let url = format!("https://email.eu-central-1.amazonaws.com{path}");
        let ours = signature(&config, method, &url, body.as_bytes(), AT_MS).unwrap();
        let ours: BTreeMap<_, _> = ours.into_iter().collect();
        let theirs = aws.ask(json!({
            "do": "sign", "at_s": AT_MS / 1_000, "key": config.access_key_id, "secret": config.secret_access_key,
            "token": token, "region": REGION, "method": method, "url": url, "body": body,
        }));
        for name in ["authorization", "x-amz-date"] {
            assert_eq!(ours.get(name).map(String::as_str), theirs[name].as_str(), "{method} {path} {name}");
        }
    }
}

/// The mail that SES gets is the one that SMTP would carry; what it refuses is said so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_goes_out_raw_through_ses() {
    let mut aws = tokio::task::spawn_blocking(Aws::start).await.unwrap();
    let ses = ses(&SesConfig { base_url: Some(aws.url.clone()), ..config() });
    let email = email_send(FOLLOWUP, "customer@example.net");
    assert_eq!(ses.send(&email).await, Outcome::Rejected { error: "MessageRejected".into() }, "not verified yet");
    aws.ask(json!({ "do": "verify", "region": REGION, "email": "follow-up@example.com" }));
    let Outcome::Accepted { provider_id: Some(id) } = ses.send(&email).await else { panic!("taken") };
    let sent = aws.ask(json!({ "do": "sent", "region": REGION }));
    let [mail] = sent.as_array().unwrap().as_slice() else { panic!("{sent}") };
    assert_eq!(mail["id"], json!(id));
    let raw = mail["raw"].as_str().unwrap();
    for line in ["Auto-Submitted: auto-generated", "Message-ID: <", "multipart/alternative"] {
        assert!(raw.contains(line), "{line}: {raw}");
    }
    let local = email_send(FOLLOWUP, "김하나@example.net");
    assert_eq!(ses.send(&local).await, Outcome::Rejected { error: "smtputf8_not_offered".into() });
}

/// Answers as they are told, and counts who asks; keeps the last request.
struct Host {
    url: String,
    asked: Arc<AtomicUsize>,
    last: Arc<std::sync::Mutex<String>>,
}

async fn host(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Host {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (asked, last) = (Arc::new(AtomicUsize::new(0)), Arc::new(std::sync::Mutex::new(String::new())));
    let (count, note) = (Arc::clone(&asked), Arc::clone(&last));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            let whole = |request: &[u8]| {
                let text = String::from_utf8_lossy(request).into_owned();
                let (head, body) = text.split_once("\r\n\r\n")?;
                let length = head
                    .lines()
                    .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
                (body.len() >= length.unwrap_or(0)).then(|| text.clone())
            };
            let text = loop {
                if let Some(text) = whole(&request) {
                    break text;
                }
                if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                    break String::new();
                }
            };
            count.fetch_add(1, Ordering::Relaxed);
            let body = answer(text.lines().next().unwrap_or_default());
            *note.lock().unwrap() = text;
            let _ = stream.write_all(body.as_bytes()).await;
        }
    });
    Host { url, asked, last }
}

fn http(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

/// P12: what AWS says of the key, of the account and of the sender, in words that mend it.
#[tokio::test]
async fn p12_the_check_names_what_is_wrong() {
    let account = |fields: &str| {
        format!(r#"{{"SendingEnabled":true,"ProductionAccessEnabled":true,"EnforcementStatus":"HEALTHY"{fields}}}"#)
    };
    let verified = r#"{"VerifiedForSendingStatus":true}"#.to_owned();
    let check = async |answer: Box<dyn Fn(&str) -> String + Send + Sync>| {
        let host = host(answer).await;
        ses(&SesConfig { base_url: Some(host.url.clone()), ..config() }).check().await
    };
    let both = |account: String, identity: String| -> Box<dyn Fn(&str) -> String + Send + Sync> {
        Box::new(move |line: &str| match line.contains("/account") {
            true => http("200 OK", "", &account),
            false if identity.is_empty() => http("404 Not Found", "x-amzn-errortype: NotFoundException\r\n", "{}"),
            false => http("200 OK", "", &identity),
        })
    };
    assert!(check(both(account(""), verified.clone())).await.is_ok());
    let unverified = check(both(account(""), String::new())).await.unwrap_err();
    assert!(unverified.message.contains("not verified the address"), "{unverified}");
    let paused = check(both(r#"{"SendingEnabled":false}"#.into(), verified.clone())).await.unwrap_err();
    assert!(paused.message.contains("paused"), "{paused}");
    let refused = |kind: &'static str, date: &'static str| -> Box<dyn Fn(&str) -> String + Send + Sync> {
        Box::new(move |_: &str| http("403 Forbidden", &format!("x-amzn-errortype: {kind}\r\ndate: {date}\r\n"), "{}"))
    };
    let now = "Sun, 22 Nov 2026 18:00:00 GMT";
    let key = check(refused("UnrecognizedClientException", now)).await.unwrap_err();
    assert!(key.fault == Fault::Refused && key.mend.contains("access_key_id"), "{key}");
    let policy = check(refused("AccessDeniedException", now)).await.unwrap_err();
    assert!(policy.mend.contains("ses:GetAccount"), "{policy}");
    let skew = check(refused("InvalidSignatureException", "Sun, 22 Nov 2026 18:20:00 GMT")).await.unwrap_err();
    assert!(skew.mend.contains("clock") && skew.mend.contains("20 min slow"), "{skew}");
    let down = ses(&SesConfig { base_url: Some("http://127.0.0.1:1".into()), ..config() }).check().await;
    assert_eq!(down.unwrap_err().fault, Fault::Unreachable);
}

/// A key of SNS's, and others' hands to sign and to judge with.
struct Sns {
    process: Child,
    stdin: ChildStdin,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    key: String,
    certificate: String,
}

impl Sns {
    fn start() -> Sns {
        let modules = std::env::var_os("BACKSTOP_NODE_MODULES").map_or_else(
            || PathBuf::from(concat!(env!("CARGO_TARGET_TMPDIR"), "/../tools/node/node_modules")),
            PathBuf::from,
        );
        let package = modules.join("sns-validator");
        assert!(package.is_dir(), "{}: tests/run installs it", package.display());
        let mut process = Command::new("node")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/doubles/sns.cjs"))
            .arg(package)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("node: {error}; tests/run installs it"));
        let stdin = process.stdin.take().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
        let params = rcgen::CertificateParams::new(vec!["sns.amazonaws.com".into()]).unwrap();
        let certificate = pem("CERTIFICATE", params.self_signed(&key).unwrap().der());
        Sns { process, stdin, lines, key: pem("PRIVATE KEY", &key.serialize_der()), certificate }
    }

    fn ask(&mut self, order: Value) -> Value {
        writeln!(self.stdin, "{order}").unwrap();
        serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap()
    }

    fn sign(&mut self, mut envelope: Value) -> Value {
        let signature = self.ask(json!({ "do": "sign", "envelope": envelope, "key": self.key }));
        envelope["Signature"] = signature;
        envelope
    }

    fn envelope(&mut self, kind: &str, version: &str, message: &str) -> Value {
        self.sign(envelope(kind, version, message))
    }
}

impl Drop for Sns {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn envelope(kind: &str, version: &str, message: &str) -> Value {
    let mut envelope = json!({
        "Type": kind, "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324", "TopicArn": TOPIC, "Message": message,
        "Timestamp": to_rfc3339(AT_MS), "SignatureVersion": version, "SigningCertURL": CERTIFICATE_URL,
    });
    if kind != "Notification" {
        envelope["Token"] = json!("2336412f37");
        envelope["SubscribeURL"] = json!(format!("https://sns.{REGION}.amazonaws.com/?Action=ConfirmSubscription"));
    }
    envelope
}

/// W2: what we take for SNS's signature is what another validator takes for it, and a change of anything breaks it.
#[test]
fn w2_envelopes_are_judged_as_another_validator_does() {
    let mut sns = Sns::start();
    let certificate = sns.certificate.clone();
    for kind in ["Notification", "SubscriptionConfirmation"] {
        for version in ["1", "2"] {
            let mut good = sns.envelope(kind, version, "{\"안녕\": \"ü\\n\"}");
            if kind == "Notification" && version == "2" {
                good["Subject"] = json!("Amazon SES Email Event Notification");
                good = sns.sign(good);
            }
            let ours = |envelope: &Value| is_signed(envelope.to_string().as_bytes(), certificate.as_bytes(), AT_MS);
            assert!(ours(&good), "{good}");
            assert_eq!(sns.ask(json!({ "do": "judge", "envelope": good, "certificate": certificate })), json!(true));
            let names: Vec<String> = good.as_object().unwrap().keys().cloned().collect();
            for name in names.iter().filter(|name| *name != "SigningCertURL") {
                let mut forged = good.clone();
                let value = forged[name.as_str()].as_str().unwrap();
                let value = if name == "SignatureVersion" { "3".into() } else { format!("{value}x") };
                forged[name.as_str()] = json!(value);
                assert!(!ours(&forged), "{name}: {forged}");
                let theirs = sns.ask(json!({ "do": "judge", "envelope": forged, "certificate": certificate }));
                // A word behind a signature in base64 is overlooked by it, not by us.
                assert!(theirs == json!(false) || name == "Signature", "{name}: {forged}");
            }
        }
    }
}

fn call<'a>(headers: &'a HeaderMap, body: &'a [u8]) -> Call<'a> {
    Call { path_and_query: "/in/ses/eu-central-1", headers, body }
}

async fn heard(ses: &Ses, envelope: &Value) -> Option<Vec<Word>> {
    let (headers, body) = (HeaderMap::new(), envelope.to_string());
    ses.read(&call(&headers, body.as_bytes())).await.ok()
}

/// E5, W2: a notification of our topic is believed once its signature holds; the certificate is fetched once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w2_only_sns_and_only_our_topic_is_heard() {
    let mut sns = tokio::task::spawn_blocking(Sns::start).await.unwrap();
    let certificate = sns.certificate.clone();
    let at_sns = host(move |line: &str| match line.contains(".pem") {
        true => http("200 OK", "", &certificate),
        false => http("200 OK", "", "<ConfirmSubscriptionResponse/>"),
    })
    .await;
    let ses = ses(&SesConfig { sns_base_url: Some(at_sns.url.clone()), ..config() });
    let event = json!({
        "eventType": "Bounce",
        "mail": {
            "messageId": "0100018f-1", "destination": ["customer@example.net"],
            "tags": { "workspace": ["shop"], "followup": [FOLLOWUP], "attempt": ["1"] },
        },
        "bounce": {
            "bounceType": "Permanent", "bounceSubType": "General",
            "bouncedRecipients": [{ "emailAddress": "customer@example.net", "status": "5.1.1" }],
        },
    });
    let good = sns.envelope("Notification", "2", &event.to_string());
    for _ in 0..2 {
        let words = heard(&ses, &good).await.expect("it is SNS's");
        assert!(matches!(words.as_slice(), [Word::Mail { workspace, .. }] if workspace == "shop"));
    }
    assert_eq!(at_sns.asked.load(Ordering::Relaxed), 1);
    let mut refused = Vec::new();
    let changed = |name: &str, value: &str| {
        let mut changed = good.clone();
        changed[name] = json!(value);
        changed
    };
    refused.push(("another message", changed("Message", "{}")));
    refused.push(("no signature", changed("Signature", "")));
    refused
        .push(("another host", changed("SigningCertURL", "https://sns.eu-central-1.amazonaws.com.evil.example/a.pem")));
    let mut foreign = envelope("Notification", "2", "{}");
    foreign["TopicArn"] = json!("arn:aws:sns:eu-central-1:999999999999:mail");
    refused.push(("another topic", sns.sign(foreign)));
    for (what, at_ms) in [("too old", AT_MS - 3_600_001), ("of the future", AT_MS + 300_001)] {
        let mut stale = envelope("Notification", "2", "{}");
        stale["Timestamp"] = json!(to_rfc3339(at_ms));
        refused.push((what, sns.sign(stale)));
    }
    let mut elsewhere = envelope("SubscriptionConfirmation", "2", "Confirm");
    elsewhere["SubscribeURL"] = json!("https://evil.example/?Action=ConfirmSubscription");
    refused.push(("a confirmation elsewhere", sns.sign(elsewhere)));
    for (what, envelope) in refused {
        assert!(heard(&ses, &envelope).await.is_none(), "{what}");
    }
    assert_eq!(at_sns.asked.load(Ordering::Relaxed), 1, "and nobody was called for them");
    let confirm = sns.envelope("SubscriptionConfirmation", "1", "You have chosen to subscribe");
    assert_eq!(heard(&ses, &confirm).await.map(|words| words.len()), Some(0));
    assert_eq!(at_sns.asked.load(Ordering::Relaxed), 2);
    assert!(at_sns.last.lock().unwrap().starts_with("GET /?Action=ConfirmSubscription "));
}
