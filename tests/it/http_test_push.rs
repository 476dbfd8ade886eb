//! Test pushes: a device tries its own way, and no follow-up, count or other device is touched by it.

use crate::http_support::{Answer, Phone, Rig, START_MS, Shop, phone, registration, reply};
use axum::body::Body;
use axum::http::{Method, Request};
use backstop_domain::followup::Outcome;
use backstop_domain::ids::DeviceId;
use backstop_server::app::{App, Mode, Time, open_store};
use backstop_server::config::Config;
use backstop_server::http::TestPushes;
use backstop_server::providers::capture::{Behaviour, Capture, Channel};
use backstop_server::providers::{Checked, Checking, Provider, Providers, PushProvider, PushSend, Sending};
use backstop_server::store::{Key, Row, Store as _};
use backstop_server::testing::Sandbox;
use backstop_wire::{Environment, Push};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use tower::ServiceExt as _;

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;

async fn test_push(rig: &Rig, shop: &Shop, phone: &Phone) -> Answer {
    let path = format!("/v1/devices/{}/test-push", phone.id);
    rig.device(shop, Method::POST, &path, Some(phone), Value::Null).await
}

/// What the app received with each test push.
fn received(rig: &Rig, shop: &Shop, phone: &Phone) -> Vec<Push> {
    let sends = rig.capture.outbox(&shop.name, Some(Channel::Push), Some(""));
    let own = sends.iter().filter(|send| send.device_id.as_deref() == Some(&phone.id));
    own.map(|send| serde_json::from_str(send.payload["message"]["data"]["backstop"].as_str().unwrap()).unwrap())
        .collect()
}

fn results(answer: Answer) -> Vec<(String, bool)> {
    let body = answer.expect(200);
    let results = body["results"].as_array().unwrap().iter();
    results.map(|r| (r["result"].as_str().unwrap().to_owned(), r["counted"].as_bool().unwrap())).collect()
}

fn said(answer: Answer) -> (String, Value) {
    let body = answer.expect(202);
    (body["outcome"].as_str().unwrap().to_owned(), body["reason"].clone())
}

async fn live(rig: &Rig, shop: &Shop) -> Value {
    rig.get(shop, "/v1/customers/lucas/devices").await.expect(200)["data"][0]["live"].clone()
}

/// P11, P10, W5: the push is a real one of the documented shape, its ack is accepted and counts for nothing however
/// often it comes, and nothing else is to be seen of it.
#[tokio::test]
async fn p11_a_test_push_is_real_and_its_ack_counts_for_nothing() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    rig.lucas(&shop).await;
    let lucas = rig.phone(&shop, "lucas", "install-1").await;
    let answer = test_push(&rig, &shop, &lucas).await.expect(202);
    let at = "2026-11-22T18:00:00.000Z";
    let expected = json!({"provider": "fcm", "outcome": "accepted", "reason": null, "environment": null, "at": at});
    assert_eq!(answer, expected);
    let sends = rig.capture.outbox("shop", None, None);
    assert_eq!((sends.len(), sends[0].to.as_str()), (1, "token-install-1"));
    assert_eq!(sends[0].payload["message"]["android"], json!({"priority": "HIGH", "ttl": "30s"}));
    let push = received(&rig, &shop, &lucas).remove(0);
    let golden: Push = serde_json::from_str(include_str!("../fixtures/wire/push_test.json")).unwrap();
    assert_eq!(push, Push { receipt: push.receipt.clone(), ..golden });
    let rows = rig.store.load(vec![Key::Device(shop.id, DeviceId::parse(&lucas.id).unwrap())]).await.unwrap();
    for grade in ["displayed", "displayed", "opened", "suppressed", "heard"] {
        let result = results(rig.acks(&shop, &lucas, &[(&push.receipt, grade)]).await);
        assert_eq!(result, [("accepted".into(), false)], "{grade}");
    }
    let after = rig.store.load(vec![Key::Device(shop.id, DeviceId::parse(&lucas.id).unwrap())]).await.unwrap();
    assert_eq!(rows, after, "an ack of a test writes nothing");
    for list in ["/v1/followups", "/v1/deliveries"] {
        assert_eq!(rig.get(&shop, list).await.expect(200)["data"], json!([]), "{list}");
    }
    // Beside those of a follow-up, in one request.
    let posted = rig.post(&shop, "/v1/messages", reply("m1")).await.expect(202);
    let receipt = rig.receipt(&shop, posted["followup_id"].as_str().unwrap(), &lucas).await;
    let both = rig.acks(&shop, &lucas, &[(&push.receipt, "displayed"), (&receipt, "displayed")]).await;
    assert_eq!(results(both), [("accepted".into(), false), ("accepted".into(), true)]);
}

/// P1, C2: whoever has just installed the app tests it: nobody is logged in, and nobody was asked for alerts yet.
#[tokio::test]
async fn p1_a_device_is_tested_before_anybody_logs_in_or_allows_alerts() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    for alerts in ["not_asked", "denied", "quiet"] {
        let mut body = registration(alerts, None);
        body["alerts"] = alerts.into();
        let fresh = phone(&rig.device(&shop, Method::POST, "/v1/devices", None, body).await.expect(200));
        assert_eq!(said(test_push(&rig, &shop, &fresh).await), ("accepted".into(), Value::Null), "{alerts}");
        assert_eq!(received(&rig, &shop, &fresh).len(), 1);
    }
}

/// P11, C1: a device is tried by itself alone; one that is gone is told to register.
#[tokio::test]
async fn p11_nobody_tries_another_s_device() {
    let rig = Rig::new();
    let (shop, other) = (rig.shop("shop").await, rig.shop("other").await);
    let (lucas, mia) = (rig.phone(&shop, "lucas", "install-1").await, rig.phone(&shop, "mia", "install-2").await);
    let path = format!("/v1/devices/{}/test-push", lucas.id);
    let post = async |shop: &Shop, phone: Option<&Phone>| {
        rig.device(shop, Method::POST, &path, phone, Value::Null).await.refused(401, "unauthorized");
    };
    post(&shop, None).await;
    post(&shop, Some(&mia)).await;
    post(&other, Some(&lucas)).await;
    post(&shop, Some(&Phone { id: lucas.id.clone(), key: mia.key.clone() })).await;
    rig.post(&shop, &path, json!({})).await.refused(401, "unauthorized");
    rig.device(&shop, Method::DELETE, &format!("/v1/devices/{}", mia.id), Some(&mia), Value::Null).await.expect(204);
    test_push(&rig, &shop, &mia).await.refused(401, "unauthorized");
    assert!(rig.capture.outbox("shop", None, None).is_empty(), "nothing left");
}

/// Invariant 7, W4: one a minute, told when there is one again; a body may be left out or be of a newer SDK, and what
/// is none costs nothing.
#[tokio::test]
async fn w4_one_a_minute_whatever_the_body() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    let lucas = rig.phone(&shop, "lucas", "install-1").await;
    let path = format!("/v1/devices/{}/test-push", lucas.id);
    let send = async |content_type: Option<&str>, body: String| {
        let mut request = Request::post(&path).header("backstop-app", &shop.app_key);
        request = request.header("authorization", format!("Backstop-Device {}.{}", lucas.id, lucas.key));
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        rig.send(request.body(Body::from(body)).unwrap()).await
    };
    let json = Some("application/json");
    for body in ["[]", "null", "{", "7", "\"x\""] {
        send(json, body.into()).await.refused(400, "invalid_request");
    }
    send(json, " ".repeat(70_000)).await.refused(413, "payload_too_large");
    send(Some("text/plain"), "{}".into()).await.refused(415, "unsupported_media_type");
    send(json, r#"{"of_a_newer_version": [1]}"#.into()).await.expect(202);
    rig.advance(MINUTE_MS - 1);
    let limited = send(None, String::new()).await;
    limited.refused(429, "rate_limited");
    assert_eq!(limited.headers["retry-after"], "1");
    let mia = rig.phone(&shop, "mia", "install-2").await;
    test_push(&rig, &shop, &mia).await.expect(202);
    rig.advance(1);
    send(None, String::new()).await.expect(202);
    rig.advance(MINUTE_MS);
    send(json, "{}".into()).await.expect(202);
    assert_eq!(received(&rig, &shop, &lucas).len(), 3);
}

/// P11: forged, swapped and expired receipts of tests are refused in the shape of all others.
#[tokio::test]
async fn p11_only_the_true_receipt_of_a_test_is_accepted() {
    let rig = Rig::new();
    let (shop, other) = (rig.shop("shop").await, rig.shop("other").await);
    let lucas = rig.phone(&shop, "lucas", "install-1").await;
    let tablet = rig.phone(&shop, "lucas", "install-2").await;
    let stranger = rig.phone(&other, "lucas", "install-1").await;
    test_push(&rig, &shop, &lucas).await.expect(202);
    let receipt = received(&rig, &shop, &lucas).remove(0).receipt;
    let refused = [("refused".to_owned(), false)];
    for at in 0..receipt.len() {
        let mut forged = receipt.clone();
        let other = if forged[at..].starts_with('A') { "B" } else { "A" };
        forged.replace_range(at..=at, other);
        assert_eq!(results(rig.acks(&shop, &lucas, &[(&forged, "displayed")]).await), refused, "{at}");
    }
    assert_eq!(results(rig.acks(&shop, &tablet, &[(&receipt, "displayed")]).await), refused, "the other phone's");
    assert_eq!(results(rig.acks(&other, &stranger, &[(&receipt, "displayed")]).await), refused, "another company's");
    let ours = rig.forge(&other, "fu_0000000000000", &lucas, 0, START_MS + DAY_MS);
    assert_eq!(results(rig.acks(&shop, &lucas, &[(&ours, "displayed")]).await), refused, "of another workspace");
    rig.advance(7 * DAY_MS + 30_000 - 1);
    assert_eq!(results(rig.acks(&shop, &lucas, &[(&receipt, "displayed")]).await)[0].0, "accepted");
    rig.advance(1);
    assert_eq!(results(rig.acks(&shop, &lucas, &[(&receipt, "displayed")]).await), refused, "after seven days");
}

/// C3, P5: a token that a test finds dead is dead: what waits for the phone goes by text and email at once, and nobody
/// is asked about it again until the app has another one.
#[tokio::test]
async fn c3_a_token_that_a_test_finds_dead_is_dead() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    rig.lucas(&shop).await;
    let lucas = rig.phone(&shop, "lucas", "install-1").await;
    let posted = rig.post(&shop, "/v1/messages", reply("m1")).await.expect(202);
    let followup = format!("/v1/followups/{}", posted["followup_id"].as_str().unwrap());
    assert_eq!(rig.get(&shop, &followup).await.expect(200)["state"], "awaiting_ack");
    rig.settled(&shop).await;
    rig.capture.set_behaviour("shop", Channel::Push, Behaviour::TokenGone, None, None, None);
    assert_eq!(said(test_push(&rig, &shop, &lucas).await), ("token_gone".into(), json!("token_gone")));
    rig.settled(&shop).await;
    let shown = rig.get(&shop, &followup).await.expect(200);
    assert_eq!((&shown["state"], &shown["reason"]), (&json!("fell_back"), &json!("token_gone")));
    assert_eq!(live(&rig, &shop).await, json!(false));
    let asked = rig.capture.attempts("shop");
    rig.advance(MINUTE_MS);
    assert_eq!(said(test_push(&rig, &shop, &lucas).await).0, "token_gone");
    assert_eq!(rig.capture.attempts("shop"), asked, "the push service is not asked about it again");
    rig.capture.set_behaviour("shop", Channel::Push, Behaviour::Accept, None, None, None);
    let mut renewed = registration("install-1", Some("lucas"));
    renewed["token"] = "token-of-today".into();
    rig.device(&shop, Method::POST, "/v1/devices", Some(&lucas), renewed).await.expect(200);
    rig.advance(MINUTE_MS);
    assert_eq!(said(test_push(&rig, &shop, &lucas).await).0, "accepted");
    assert_eq!(live(&rig, &shop).await, json!(true));
}

/// P5: what else a push service says, each in the word that the device is told.
#[tokio::test]
async fn p5_each_answer_of_a_push_service_has_its_word() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    let lucas = rig.phone(&shop, "lucas", "install-1").await;
    for (behaviour, outcome, reason) in [
        (Behaviour::Reject, "rejected", "rejected"),
        (Behaviour::RateLimit, "retry_after", "rate_limited"),
        (Behaviour::Timeout, "unknown", "timeout"),
        (Behaviour::AcceptThenTimeout, "unknown", "timeout"),
    ] {
        rig.capture.set_behaviour("shop", Channel::Push, behaviour, None, None, Some(1));
        assert_eq!(said(test_push(&rig, &shop, &lucas).await), (outcome.into(), json!(reason)), "{behaviour:?}");
        rig.advance(MINUTE_MS);
    }
    assert_eq!(live(&rig, &shop).await, json!(true), "none of it says anything about the token");
}

/// Apple, as far as a test goes: gives the answers it is told to, in order, and waits to be told.
#[derive(Default)]
struct Apple {
    answers: Mutex<VecDeque<Outcome>>,
    told: Notify,
    asked: Mutex<Vec<(Option<Environment>, String)>>,
}

impl Apple {
    fn say(&self, answers: &[Outcome]) {
        self.answers.lock().unwrap().extend(answers.iter().cloned());
        self.told.notify_one();
    }

    fn asked(&self) -> Vec<Option<Environment>> {
        std::mem::take(&mut *self.asked.lock().unwrap()).into_iter().map(|(environment, _)| environment).collect()
    }
}

impl Provider for Apple {
    fn name(&self) -> &'static str {
        "apns"
    }

    fn check(&self) -> Checking<'_> {
        Box::pin(async { Ok(Checked { message: "taken".into(), vendor_ahead_ms: None }) })
    }
}

impl PushProvider for Apple {
    fn send<'a>(&'a self, push: &'a PushSend) -> Sending<'a> {
        self.asked.lock().unwrap().push((push.environment, push.token.clone()));
        Box::pin(async move {
            loop {
                let answer = self.answers.lock().unwrap().pop_front();
                match answer {
                    Some(answer) => return answer,
                    None => self.told.notified().await,
                }
            }
        })
    }
}

fn with(apple: &Arc<Apple>, test_pushes: TestPushes) -> Rig {
    let provider: Arc<dyn PushProvider> = apple.clone();
    Rig::with_test_pushes(|captured| Providers { apns: Some(provider), ..captured }, test_pushes)
}

async fn iphone(rig: &Rig, shop: &Shop) -> Phone {
    let mut body = registration("i1", Some("lucas"));
    (body["platform"], body["provider"]) = ("ios".into(), "apns".into());
    (body["topic"], body["environment"]) = ("com.acme.shop".into(), "production".into());
    phone(&rig.device(shop, Method::POST, "/v1/devices", None, body).await.expect(200))
}

fn wrong(tried: Environment) -> Outcome {
    Outcome::WrongEnvironment { tried, error: "BadDeviceToken".into() }
}

fn accepted() -> Outcome {
    Outcome::Accepted { provider_id: None }
}

/// C3: a development build's token is found in the other environment, the device is told which, and it is remembered;
/// a token that both refuse is dead.
#[tokio::test]
async fn c3_a_test_finds_the_environment_of_a_token() {
    let apple = Arc::new(Apple::default());
    let rig = with(&apple, TestPushes::default());
    let shop = rig.shop("shop").await;
    let lucas = iphone(&rig, &shop).await;
    let (production, sandbox) = (Environment::Production, Environment::Sandbox);
    apple.say(&[wrong(production), accepted()]);
    let answer = test_push(&rig, &shop, &lucas).await.expect(202);
    assert_eq!((&answer["outcome"], &answer["environment"]), (&json!("accepted"), &json!("sandbox")));
    assert_eq!(apple.asked(), [Some(production), Some(sandbox)]);
    rig.advance(MINUTE_MS);
    apple.say(&[accepted()]);
    assert_eq!(test_push(&rig, &shop, &lucas).await.expect(202)["environment"], "sandbox");
    assert_eq!(apple.asked(), [Some(sandbox)], "it was remembered");
    rig.advance(MINUTE_MS);
    apple.say(&[wrong(sandbox), Outcome::RetryAfter { after_ms: None, error: "unreachable".into() }]);
    assert_eq!(said(test_push(&rig, &shop, &lucas).await), ("retry_after".into(), json!("unreachable")));
    rig.advance(MINUTE_MS);
    apple.say(&[wrong(sandbox), wrong(production)]);
    assert_eq!(said(test_push(&rig, &shop, &lucas).await), ("token_gone".into(), json!("BadDeviceToken")));
    rig.settled(&shop).await;
    assert_eq!(live(&rig, &shop).await, json!(false));
}

/// C3: Apple's word about a token that was registered anew since speaks of the older registration.
#[tokio::test]
async fn c3_a_word_about_an_older_registration_buries_nothing() {
    let apple = Arc::new(Apple::default());
    let rig = with(&apple, TestPushes::default());
    let shop = rig.shop("shop").await;
    let lucas = iphone(&rig, &shop).await;
    let gone = |since_ms| Outcome::TokenGone { since_ms: Some(since_ms), error: "Unregistered".into() };
    apple.say(&[gone(START_MS - 1)]);
    assert_eq!(said(test_push(&rig, &shop, &lucas).await), ("retry_after".into(), json!("Unregistered")));
    assert_eq!(live(&rig, &shop).await, json!(true));
    rig.advance(MINUTE_MS);
    apple.say(&[gone(START_MS)]);
    assert_eq!(said(test_push(&rig, &shop, &lucas).await), ("token_gone".into(), json!("Unregistered")));
    assert_eq!(live(&rig, &shop).await, json!(false));
}

/// C3, W4: a push service that says nothing is answered for in time, and what it says later is kept all the same.
#[tokio::test]
async fn c3_a_late_answer_of_a_push_service_is_kept() {
    let apple = Arc::new(Apple::default());
    let rig = with(&apple, TestPushes::default().answered_within(Duration::from_millis(1)));
    let shop = rig.shop("shop").await;
    let lucas = iphone(&rig, &shop).await;
    let answer = test_push(&rig, &shop, &lucas).await.expect(202);
    assert_eq!((&answer["outcome"], &answer["reason"]), (&json!("unknown"), &json!("timeout")));
    assert_eq!(live(&rig, &shop).await, json!(true));
    apple.say(&[Outcome::TokenGone { since_ms: None, error: "Unregistered".into() }]);
    rig.settled(&shop).await;
    assert_eq!(live(&rig, &shop).await, json!(false));
}

/// P11, W5: in a sandbox there is no minute to wait, the outbox shows what left, and a receipt is good after a restart.
#[tokio::test]
async fn p11_a_test_s_receipt_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let first = Sandbox::start_in(dir.path()).await;
    let shop = first.workspace().await;
    let app = shop.keys().app_key.clone();
    let body = registration("install-1", None);
    let device = shop.request_as(Method::POST, "/v1/devices", &[("backstop-app", &app)], Some(body)).await.ok();
    let lucas = phone(&device);
    let authorization = format!("Backstop-Device {}.{}", lucas.id, lucas.key);
    let headers = [("backstop-app", app.as_str()), ("authorization", authorization.as_str())];
    for _ in 0..2 {
        let path = format!("/v1/devices/{}/test-push", lucas.id);
        assert_eq!(shop.request_as(Method::POST, &path, &headers, None).await.ok()["outcome"], "accepted");
    }
    let outbox = shop.outbox("push").await;
    assert_eq!((outbox.len(), &outbox[1]["followup_id"]), (2, &json!("")));
    let push: Push =
        serde_json::from_str(outbox[1]["payload"]["message"]["data"]["backstop"].as_str().unwrap()).unwrap();
    let keys = shop.keys().clone();
    first.kill().await;
    let second = Sandbox::start_in(dir.path()).await;
    let shop = second.workspace_of(keys);
    let ack = json!({"acks": [{"receipt": push.receipt, "grade": "displayed", "at": push.expires_at}]});
    let answer = shop.request_as(Method::POST, "/v1/acks", &headers, Some(ack)).await.ok();
    assert_eq!(answer, json!({"results": [{"result": "accepted", "counted": false}]}));
}

/// P7: a virtual phone, which runs the SDK, acknowledges a test push like any other, on the workspace's clock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p7_a_virtual_phone_acknowledges_a_test_push() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.store.url = format!("sqlite:{}/b.db", dir.path().display());
    let mode = Mode::Sandbox { capture: Capture::new(10), phones_by: None };
    let app = App::build(&config, Time::System, mode).await.unwrap();
    let post = async |path: &str, body: Value| {
        let request = Request::post(path).header("authorization", "Bearer sk_sandbox");
        let request = request.header("content-type", "application/json").body(Body::from(body.to_string())).unwrap();
        let response = app.router().oneshot(request).await.unwrap();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        serde_json::from_slice::<Value>(&body).unwrap()
    };
    post("/sandbox/clock/advance", json!({"ms": 0})).await;
    let made = post("/sandbox/phones", json!({"customer_id": "ann", "behaviour": "ack", "ack_after_ms": 500})).await;
    let (ws, _) = app.registry().by_key("sk_sandbox").await.unwrap().unwrap();
    let id = DeviceId::parse(made["device_id"].as_str().unwrap()).unwrap();
    let beside = open_store(&config, true, false).unwrap();
    let row = beside.store.load(vec![Key::Device(ws.id, id)]).await.unwrap().remove(0).unwrap();
    let Row::Device(device) = row else { panic!("a device") };
    let tested = app.engine().test_push(&ws, device).await.unwrap();
    assert!(matches!(tested.outcome, Outcome::Accepted { .. }), "{tested:?}");
    let step = post("/sandbox/clock/advance", json!({"ms": 499})).await;
    assert_eq!(step["decided"], 0, "{step}");
    let step = post("/sandbox/clock/advance", json!({"ms": 1})).await;
    assert_eq!(step["decided"], 1, "the server took its ack: {step}");
}
