//! The protocol for gateways: held against the libraries of Standard Webhooks, and against the documentation's gateway.

use crate::flow_texts::House;
use crate::http_support::{Rig, START_MS};
use crate::providers_fcm_double::TestClock;
use crate::providers_line::package;
use crate::providers_support::{AT_MS, envelope};
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, StatusCode, Uri};
use backstop_domain::followup::Outcome;
use backstop_domain::text::Form;
use backstop_server::clock::{Clock, SystemClock};
use backstop_server::providers::gateway::{Gateway, GatewayConfig};
use backstop_server::providers::smtp::SmtpTls;
use backstop_server::providers::{
    Call, Callbacks, Provider as _, Providers, ReportWord, TextBody, TextProvider as _, TextSend, Word,
};
use backstop_server::signing::Secret;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tower::ServiceExt as _;

const SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const FOLLOWUP: &str = "fu_1h3qkrv000000";

fn python() -> PathBuf {
    std::env::var_os("BACKSTOP_PYTHON")
        .map_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../.venv/bin/python3").into(), PathBuf::from)
}

fn text(to: &str, effect: &str) -> TextSend {
    let body = TextBody::Xms { form: Form::Lms, subject: Some("Acme".into()), text: "안녕 \"you\" 📦".into() };
    let envelope = envelope("acme", FOLLOWUP, effect);
    TextSend { envelope, to: to.into(), from: None, body, expires_at_ms: AT_MS + 3_600_000 }
}

fn in_words(outcome: &Outcome) -> String {
    format!("{} {}", outcome.label(), outcome.error().unwrap_or_default()).trim().to_owned()
}

fn now() -> Arc<dyn Clock> {
    Arc::new(SystemClock::start())
}

/// Whether a library takes what we signed: a signature of its own making for each, or why not.
fn by_library(mut library: Command, asked: &[Value]) -> Vec<String> {
    let mut library = library.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut to_library = library.stdin.take().unwrap();
    let lines: String = asked.iter().map(|case| format!("{case}\n")).collect();
    let asking = std::thread::spawn(move || to_library.write_all(lines.as_bytes()).unwrap());
    let said = library.wait_with_output().unwrap();
    asking.join().unwrap();
    assert!(said.status.success());
    String::from_utf8(said.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// W1: two libraries that others wrote take our signatures and make the same ones; they refuse what was changed.
#[test]
fn w1_signatures_are_those_of_the_standards_libraries() {
    let (secret, at_ms) = (Secret::parse(SECRET).unwrap(), now().now_ms());
    let (mut asked, mut expected) = (Vec::new(), Vec::new());
    for n in 0..500usize {
        let body = json!({ "text": "안녕 🙏 \u{1}".repeat(n % 9), "n": n }).to_string();
        let headers = secret.headers(&format!("fu_{n}:sms"), at_ms, body.as_bytes());
        let mut all: serde_json::Map<String, Value> =
            headers.iter().map(|(name, value)| (name.to_string(), json!(value))).collect();
        let right = headers[2].1.clone();
        match n % 4 {
            1 => drop(all.insert("webhook-id".into(), json!(format!("fu_{n}:other")))),
            2 => drop(all.insert("webhook-signature".into(), json!(format!("v1,AAAA {right}")))),
            _ => {}
        }
        let body = if n % 4 == 3 { format!("{body} ") } else { body };
        asked.push(json!({ "secret": SECRET, "headers": all, "body": body }));
        expected.push((n % 4 == 0 || n % 4 == 2).then_some(right));
    }
    let mut node = Command::new("node");
    node.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/doubles/standard_webhooks.cjs")).arg(package("standardwebhooks"));
    let mut python = Command::new(python());
    python.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/doubles/standard_webhooks.py"));
    for library in [node, python] {
        let said = by_library(library, &asked);
        assert_eq!(said.len(), asked.len());
        for (said, expected) in said.iter().zip(&expected) {
            match expected {
                Some(right) => assert_eq!(said, right),
                None => assert!(said.starts_with("refused: "), "{said}"),
            }
        }
    }
}

/// The gateway of the documentation. Ends with the test.
struct Example {
    process: Child,
    url: String,
}

impl Example {
    fn start() -> Example {
        let mut process = Command::new(python())
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../server/examples/gateway.py"))
            .arg("0")
            .env("GATEWAY_SECRET", SECRET)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("python: {error}; tests/run makes it"));
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().strip_prefix("listening on ").expect("it listens").to_owned();
        Example { process, url: format!("http://127.0.0.1:{port}/") }
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Stands where the server's public URL leads; hands on what is posted there.
async fn public() -> (String, mpsc::UnboundedReceiver<(Uri, HeaderMap, Bytes)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (said, heard) = mpsc::unbounded_channel();
    let router = axum::Router::new().fallback(move |uri: Uri, headers: HeaderMap, body: Bytes| {
        let _ = said.send((uri, headers, body));
        std::future::ready(StatusCode::NO_CONTENT)
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, heard)
}

fn config(url: &str) -> GatewayConfig {
    GatewayConfig { url: url.to_owned(), secret: Some(SECRET.into()), korean: true, ..GatewayConfig::default() }
}

/// T2, W2: the documentation's gateway takes a text once, says what it refuses, and reports where the text says.
#[tokio::test]
async fn t2_the_documented_gateway_carries_texts() {
    let example = Example::start();
    let (public_url, mut heard) = public().await;
    let gateway = Gateway::from_config(&config(&example.url), Some(&public_url), now()).unwrap();
    assert_eq!(gateway.check().await.unwrap().message, "the gateway takes our signature");
    let taken = gateway.send(&text("+821012345678", "effect-1")).await;
    assert_eq!(taken, Outcome::Accepted { provider_id: Some("m-1".into()) });
    assert_eq!(gateway.send(&text("+821012345678", "effect-1")).await, taken, "one id is one text");
    assert_eq!(in_words(&gateway.send(&text("+821012340000", "effect-2")).await), "rejected refused bad_number");
    let (uri, headers, body) = heard.recv().await.unwrap();
    assert_eq!(uri.path(), "/in/gateway/default");
    let call = Call { path_and_query: uri.path(), headers: &headers, body: &body };
    let words = gateway.read(&call).await.unwrap();
    let [Word::Report(report)] = &words[..] else { panic!("no report") };
    assert_eq!(report.word, ReportWord::Delivered);
    assert_eq!((report.workspace.as_str(), report.to.as_deref()), ("acme", Some("+821012345678")));
    let other = format!("whsec_{}", "B".repeat(32));
    let wrong = GatewayConfig { secret: Some(other), ..config(&example.url) };
    let wrong = Gateway::from_config(&wrong, None, now()).unwrap();
    assert_eq!(in_words(&wrong.send(&text("+821012345678", "effect-3")).await), "retry_after http_401");
    assert!(wrong.check().await.unwrap_err().to_string().contains("same secret"));
    let nobody = Gateway::from_config(&config("http://127.0.0.1:9/"), None, now()).unwrap();
    assert_eq!(in_words(&nobody.send(&text("+821012345678", "effect-4")).await), "retry_after unreachable");
}

/// T2: what is posted is what the OpenAPI document says, to the field.
#[tokio::test]
async fn t2_a_posted_text_is_the_documents() {
    let (url, mut heard) = public().await;
    // One whose wall clock is not a millisecond off.
    let clock = TestClock::at(START_MS);
    let config = config(&format!("{url}/sms?key=1"));
    let gateway = Gateway::from_config(&config, Some("https://b.test"), clock).unwrap();
    assert_eq!(in_words(&gateway.send(&text("+821012345678", "effect-1")).await), "unknown unreadable_answer");
    let (uri, headers, body) = heard.recv().await.unwrap();
    let signed = Secret::parse(SECRET).unwrap().verify(&headers, START_MS, &body).unwrap();
    assert_eq!((uri.to_string().as_str(), signed.id), ("/sms?key=1", "effect-1"));
    let posted: Value = serde_json::from_slice(&body).unwrap();
    let expected = json!({
        "id": "effect-1", "to": "+821012345678", "from": null, "form": "lms", "subject": "Acme",
        "text": "안녕 \"you\" 📦", "country": "KR", "expires_at": "2026-11-22T19:00:00.000Z",
        "reference": { "workspace": "acme", "followup_id": FOLLOWUP, "attempt": 1 },
        "report_url": "https://b.test/in/gateway/default",
    });
    assert_eq!(posted, expected);
    let document: Value = serde_json::from_str(&backstop_server::http::document_json()).unwrap();
    let schema = &document["components"]["schemas"]["GatewayText"]["properties"];
    let fields = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let (mut documented, mut sent) = (fields(schema), fields(&posted));
    documented.sort();
    sent.sort();
    assert_eq!(documented, sent);
    let report = &document["webhooks"]["text"]["post"]["callbacks"]["report"]["{$request.body#/report_url}"];
    assert_eq!(
        report["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"],
        "#/components/schemas/GatewayCall"
    );
}

/// Its wall clock was set an hour ahead while work was pending: what it says there is true.
struct Stepped(Arc<TestClock>);

impl Clock for Stepped {
    fn now_ms(&self) -> i64 {
        self.0.now_ms() - 3_600_000
    }

    fn wall_offset_ms(&self) -> i64 {
        3_600_000
    }
}

/// W1, W2: what is signed and dated for others, and what of theirs is believed, goes by the wall clock.
#[tokio::test]
async fn w1_a_step_of_the_wall_clock_is_followed() {
    let (url, mut heard) = public().await;
    let gateway = Gateway::from_config(&config(&url), None, Arc::new(Stepped(TestClock::at(START_MS)))).unwrap();
    gateway.send(&text("+821012345678", "effect-1")).await;
    let (_, headers, body) = heard.recv().await.unwrap();
    let secret = Secret::parse(SECRET).unwrap();
    assert_eq!(secret.verify(&headers, START_MS, &body).map(|signed| signed.id), Ok("effect-1"));
    let posted: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(posted["expires_at"], "2026-11-22T20:00:00.000Z");
    let said = secret.headers("evt-1", START_MS, b"{}").into_iter();
    let headers: HeaderMap = said.map(|(name, value)| (name, value.parse().unwrap())).collect();
    let call = Call { path_and_query: "/in/gateway/default", headers: &headers, body: b"{}" };
    assert!(gateway.read(&call).await.is_ok());
}

/// T7: a report that does not say where the text went opts out the number that it went to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t7_a_report_without_a_number_opts_its_customer_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let router = axum::Router::new().fallback(|| std::future::ready(r#"{"status":"accepted"}"#));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let house = House::open_with(SmtpTls::None, |server| {
        server.providers.twilio = None;
        server.providers.gateway = Some(config(&url));
    })
    .await;
    house.customer("ann", "+14152001004", None).await;
    let followup = house.reply("ann", "m1").await;
    house.settle().await;
    let report = json!({
        "type": "report", "status": "failed", "code": "opted_out",
        "reference": { "workspace": "shop", "followup_id": followup, "attempt": 1 },
    });
    let report = report.to_string();
    let signed = Secret::parse(SECRET).unwrap().headers("evt-1", house.google.clock.now_ms(), report.as_bytes());
    let post = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .post(format!("{}/in/gateway/default", house.url))
        .body(report);
    let post = post.header("content-type", "application/json");
    let post = signed.into_iter().fold(post, |post, (name, value)| post.header(name, value));
    assert_eq!(post.send().await.unwrap().status(), 204);
    let stopped = house.get("/v1/suppressions").await;
    assert_eq!(stopped["data"].as_array().map(Vec::len), Some(1), "{stopped}");
}

/// W2: at the server's door a call is heard when its signature is right and new, and what cannot be read is named.
#[tokio::test]
async fn w2_a_call_is_proven_before_it_is_read() {
    let clock = TestClock::at(START_MS);
    let gateway = Gateway::from_config(&config("https://gateway.test/"), None, clock).unwrap();
    let callbacks: Vec<Arc<dyn Callbacks>> = vec![Arc::new(gateway)];
    let rig = Rig::with_providers(|captured| Providers { callbacks, ..captured });
    let secret = Secret::parse(SECRET).unwrap();
    let post = async |account: &str, body: &Value, at_ms: i64| {
        let body = body.to_string();
        let mut request = Request::post(format!("/in/gateway/{account}")).header("content-type", "application/json");
        for (name, value) in secret.headers("evt-1", at_ms, body.as_bytes()) {
            request = request.header(name, value);
        }
        knock(&rig, request.body(Body::from(body)).unwrap()).await
    };
    let reference = json!({ "workspace": "nobodys", "followup_id": FOLLOWUP, "attempt": 1 });
    let report = json!({ "type": "report", "reference": reference, "status": "delivered" });
    assert_eq!(post("default", &report, START_MS).await.0, 204, "of nobody: answered like what is known");
    assert_eq!(post("default", &report, START_MS).await.0, 204, "again");
    assert_eq!(post("default", &report, START_MS - 301_000).await.0, 403);
    assert_eq!(post("default", &report, START_MS + 301_000).await.0, 403);
    assert_eq!(post("other", &report, START_MS).await.0, 404);
    let text = json!({ "type": "text", "from": "me", "to": "you", "text": "?" });
    let (status, said) = post("default", &text, START_MS).await;
    assert_eq!((status, said["errors"][0]["field"].as_str()), (StatusCode::BAD_REQUEST, Some("from")));
    let bare = Request::post("/in/gateway/default").header("content-type", "application/json");
    assert_eq!(knock(&rig, bare.body(Body::from("{}")).unwrap()).await.0, 403);
}

/// At a door that the document does not list among the server's own.
async fn knock(rig: &Rig, request: Request<Body>) -> (StatusCode, Value) {
    let response = rig.router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}
