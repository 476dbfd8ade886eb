//! What the end-to-end tests share: one sandbox server, a workspace for each test, a device that acks by hand.

use backstop_server::testing::{Answer, Sandbox, Workspace};
use reqwest::Method;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tokio::sync::OnceCell;

/// One day of a workspace's clock.
pub const DAY_MS: i64 = 86_400_000;

static SANDBOX: OnceCell<Sandbox> = OnceCell::const_new();

/// The server that all these tests talk to.
pub async fn sandbox() -> &'static Sandbox {
    SANDBOX.get_or_init(|| async { Sandbox::start_in(&home()).await }).await
}

/// A static is never dropped: what the last run left goes at the start of this one.
fn home() -> PathBuf {
    let all = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for left in std::fs::read_dir(all).unwrap().flatten() {
        let pid = left.file_name().to_str().and_then(|name| name.strip_prefix("flow-")).map(str::to_owned);
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = std::fs::remove_dir_all(left.path());
        }
    }
    all.join(format!("flow-{}", std::process::id()))
}

/// A workspace of the test's own, its clock frozen, with the customer Ann, who wrote once.
pub async fn shop() -> Workspace {
    let shop = sandbox().await.workspace().await;
    shop.advance(0).await;
    shop.put_customer("ann", ann()).await;
    wrote(&shop, "ann", "hello").await;
    shop
}

/// Somebody who can be reached by text and email.
pub fn ann() -> Value {
    json!({"name": "Ann", "phone": "+14155550123", "email": "ann@example.com"})
}

/// The customer writes in the conversation of the same name.
pub async fn wrote(shop: &Workspace, customer_id: &str, message_id: &str) {
    let body = json!({
        "message_id": message_id, "conversation_id": customer_id, "customer_id": customer_id, "text": "Hello?",
    });
    shop.post("/v1/customer-messages", body).await.ok();
}

/// The customer reads the conversation of the same name up to this message.
pub async fn read(shop: &Workspace, customer_id: &str, message_id: &str) -> Answer {
    let body = json!({"conversation_id": customer_id, "customer_id": customer_id, "message_id": message_id});
    shop.post("/v1/reads", body).await
}

/// Reports presence of one of Ann's pages.
pub async fn presence(shop: &Workspace, source_id: &str, state: &str, idle_ms: Option<i64>) {
    let mut body = json!({"customer_id": "ann", "source_id": source_id, "state": state});
    if let Some(idle_ms) = idle_ms {
        body["idle_ms"] = json!(idle_ms);
    }
    shop.post("/v1/presence", body).await.ok();
}

/// How all captured providers of a channel answer from now on.
pub async fn behave(shop: &Workspace, channel: &str, behaviour: &str) {
    shop.post(&format!("/sandbox/providers/{channel}"), json!({"behaviour": behaviour})).await.ok();
}

/// Posts a reply to Ann with further fields.
pub async fn post(shop: &Workspace, message_id: &str, more: Value) -> Answer {
    let mut body = json!({
        "message_id": message_id, "conversation_id": "ann", "customer_id": "ann", "author": {"name": "Kim"},
        "text": format!("This is {message_id}."),
    });
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    shop.post("/v1/messages", body).await
}

/// How many texts and emails were captured.
pub async fn sent(shop: &Workspace) -> (usize, usize) {
    (shop.outbox("sms").await.len(), shop.outbox("email").await.len())
}

/// State and reason of a follow-up.
pub async fn stands(shop: &Workspace, id: &str) -> (String, String) {
    let followup = shop.followup(id).await;
    let word = |field: &str| followup[field].as_str().unwrap_or("").to_owned();
    (word("state"), word("reason"))
}

/// Asserts state and reason of a follow-up.
pub async fn expect(shop: &Workspace, id: &str, state: &str, reason: &str) {
    assert_eq!(stands(shop, id).await, (state.to_owned(), reason.to_owned()), "{:#}", shop.followup(id).await);
}

/// `status` or `status:error` of the first delivery on a channel.
pub fn delivery(followup: &Value, channel: &str) -> String {
    let all = followup["deliveries"].as_array().unwrap();
    let found = all.iter().find(|delivery| delivery["channel"] == channel);
    found.map_or("none".into(), |delivery| {
        let status = delivery["status"].as_str().unwrap();
        delivery["error"].as_str().map_or(status.to_owned(), |error| format!("{status}:{error}"))
    })
}

/// A time of the API in milliseconds.
pub fn ms(time: &Value) -> i64 {
    backstop_wire::time::from_rfc3339(time.as_str().unwrap()).unwrap()
}

/// What the app receives of a captured FCM push.
pub fn received(push: &Value) -> Value {
    serde_json::from_str(push["payload"]["message"]["data"]["backstop"].as_str().unwrap()).unwrap()
}

/// A registered device whose acks the test sends itself.
#[derive(Clone)]
pub struct Device {
    pub id: String,
    pub key: String,
}

impl Device {
    /// Registers an Android phone with this token and installation for the customer.
    pub async fn register(shop: &Workspace, customer_id: &str, token: &str) -> Device {
        Device::register_with(shop, customer_id, token, "allowed").await
    }

    pub async fn register_with(shop: &Workspace, customer_id: &str, token: &str, alerts: &str) -> Device {
        let body = json!({
            "install_id": format!("install-{token}"), "platform": "android", "provider": "fcm", "token": token,
            "alerts": alerts, "wire": [1], "customer_id": customer_id,
            "customer_hash": shop.customer_hash(customer_id),
        });
        let answer = register(shop, body).await.ok();
        let text = |field: &str| answer[field].as_str().unwrap().to_owned();
        Device { id: text("device_id"), key: text("device_key") }
    }

    pub async fn request(&self, shop: &Workspace, method: Method, path: &str, body: Option<Value>) -> Answer {
        let authorization = format!("Backstop-Device {}.{}", self.id, self.key);
        let app = shop.keys().app_key.clone();
        shop.request_as(method, path, &[("backstop-app", &app), ("authorization", &authorization)], body).await
    }

    /// `result` and `counted` of one ack.
    pub async fn ack(&self, shop: &Workspace, receipt: &str, grade: &str) -> (String, bool) {
        let ack = json!({"receipt": receipt, "grade": grade, "at": "2026-01-01T00:00:00.000Z"});
        let answer = self.request(shop, Method::POST, "/v1/acks", Some(json!({"acks": [ack]}))).await.ok();
        let result = &answer["results"][0];
        (result["result"].as_str().unwrap().to_owned(), result["counted"].as_bool().unwrap())
    }

    /// Receipts of the pushes it got, oldest first.
    pub async fn receipts(&self, shop: &Workspace) -> Vec<String> {
        let pushes = shop.outbox("push").await;
        let own = pushes.iter().filter(|push| push["device_id"] == self.id);
        own.map(|push| received(push)["receipt"].as_str().unwrap().to_owned()).collect()
    }
}

/// Registers a device without any key but the app's.
pub async fn register(shop: &Workspace, body: Value) -> Answer {
    let app = shop.keys().app_key.clone();
    shop.request_as(Method::POST, "/v1/devices", &[("backstop-app", &app)], Some(body)).await
}

pub fn result(result: &str, counted: bool) -> (String, bool) {
    (result.to_owned(), counted)
}
