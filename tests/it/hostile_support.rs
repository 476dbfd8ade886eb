//! What the hostile tests share: the real program as a sandbox, a company in it with everything it can have, its keys.

use crate::http_contract;
use crate::program::{Server, said};
use backstop_server::identity::customer_hash;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

/// A running `backstop serve --sandbox`, met through its socket alone.
pub struct World {
    pub server: Server,
    pub dir: TempDir,
    client: Client,
}

/// A workspace, and what stands in it: each value is found nowhere else, so that a leak is seen.
pub struct Company {
    pub name: String,
    pub api_key: String,
    pub app_key: String,
    pub secret: String,
    pub device_id: String,
    pub device_key: String,
    pub followup_id: String,
    pub receipt: String,
    /// Marks each of its values.
    pub mark: String,
}

pub struct Heard {
    pub status: u16,
    pub text: String,
    pub json: Value,
}

impl Heard {
    /// The problem's code; empty if it is none.
    pub fn code(&self) -> &str {
        self.json["type"].as_str().and_then(|kind| kind.strip_prefix("urn:backstop:problem:")).unwrap_or("")
    }

    #[track_caller]
    pub fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{} {}", self.status, self.text);
        self.json
    }
}

impl World {
    pub fn start(env: &[(&str, &str)]) -> World {
        let dir = tempdir().unwrap();
        let server = Server::start(&dir, &["--sandbox"], env).unwrap();
        // A connection each, like phones that wake up for one ack.
        let client = Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
        World { server, dir, client }
    }

    /// Each answer is held to the OpenAPI document.
    pub async fn ask(&self, method: Method, path: &str, headers: &[(&str, String)], body: Option<&Value>) -> Heard {
        let mut request = self.client.request(method.clone(), format!("{}{path}", self.server.url));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let content_type = response.headers().get("content-type").map(|v| v.to_str().unwrap().to_owned());
        let text = response.text().await.unwrap();
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        http_contract::hold(&method, path, status, content_type.as_deref().unwrap_or(""), &json);
        Heard { status, text, json }
    }

    /// A company whose every value carries `mark`, with a follow-up under way and its clock standing.
    pub async fn company(&self, mark: &str) -> Company {
        let made = self.ask(Method::POST, "/sandbox/workspaces", &[], None).await.ok();
        let word = |value: &Value, field: &str| value[field].as_str().unwrap().to_owned();
        let (name, app_key) = (word(&made, "workspace"), word(&made, "app_key"));
        let (api_key, secret) = (word(&made, "api_key"), word(&made, "identity_secret"));
        let key = [("authorization", format!("Bearer {api_key}"))];
        let post = async |path: &str, body: Value| self.ask(Method::POST, path, &key, Some(&body)).await.ok();
        post("/sandbox/clock/advance", json!({"ms": 0})).await;
        let customer = format!("customer-{mark}");
        let data = json!({
            "name": format!("Name {mark}"), "email": format!("{mark}@example.com"), "phone": "+821012345678",
        });
        self.ask(Method::PUT, &format!("/v1/customers/{customer}"), &key, Some(&data)).await.ok();
        let app = json!({"bundle_ids": [format!("com.{mark}.shop")]});
        self.ask(Method::PUT, &format!("/v1/apps/app-{mark}"), &key, Some(&app)).await.ok();
        let install = json!({
            "install_id": format!("install-{mark}"), "platform": "android", "provider": "fcm", "alerts": "allowed",
            "token": format!("token-{mark}"), "wire": [1], "customer_id": customer,
            "customer_hash": customer_hash(&hex::decode(&secret).unwrap(), &customer),
        });
        let app = [("backstop-app", app_key.clone())];
        let device = self.ask(Method::POST, "/v1/devices", &app, Some(&install)).await.ok();
        let message = json!({
            "message_id": format!("message-{mark}"), "conversation_id": format!("conversation-{mark}"),
            "customer_id": customer, "kind": "reply", "author": {"name": format!("Agent {mark}")},
            "text": format!("Text {mark}"), "link": format!("https://shop.example/{mark}"),
        });
        let followup_id = word(&post("/v1/messages", message).await, "followup_id");
        let sent = self.ask(Method::GET, "/sandbox/outbox?channel=push", &key, None).await.ok();
        let push = sent["data"][0]["payload"]["message"]["data"]["backstop"].as_str().unwrap().to_owned();
        let receipt = word(&serde_json::from_str(&push).unwrap(), "receipt");
        let (device_id, device_key) = (word(&device, "device_id"), word(&device, "device_key"));
        Company { name, api_key, app_key, secret, device_id, device_key, followup_id, receipt, mark: mark.to_owned() }
    }

    /// A further key of a company, made beside the running server.
    pub fn key(&self, company: &Company, scope: &str) -> String {
        let made = said(&self.dir, &["key", "create", &company.name, "--scope", scope]);
        serde_json::from_str::<Value>(&made).unwrap()["key"].as_str().unwrap().to_owned()
    }
}

impl Company {
    pub fn bearer(&self) -> Vec<(&'static str, String)> {
        vec![("authorization", format!("Bearer {}", self.api_key))]
    }

    pub fn device(&self) -> Vec<(&'static str, String)> {
        let key = format!("Backstop-Device {}.{}", self.device_id, self.device_key);
        vec![("backstop-app", self.app_key.clone()), ("authorization", key)]
    }

    /// What a field or path parameter of this name is called here, if it names a thing.
    pub fn id(&self, name: &str) -> Option<String> {
        Some(match name {
            "customer_id" => format!("customer-{}", self.mark),
            "conversation_id" => format!("conversation-{}", self.mark),
            "message_id" => format!("message-{}", self.mark),
            "install_id" => format!("install-{}", self.mark),
            "followup_id" => self.followup_id.clone(),
            "device_id" => self.device_id.clone(),
            "receipt" => self.receipt.clone(),
            "app_id" => format!("app-{}", self.mark),
            // Nobody opted out: an id of the right form that is not the one of nobody's.
            "suppression_id" => "sup_0000000000002".into(),
            "purpose" => "outreach".into(),
            "ask_id" => "ask_1".into(),
            "locale" => "ko".into(),
            "template_id" => format!("template-{}", self.mark),
            "name" => self.name.clone(),
            // Of no link: a link's own is in its text and nowhere else.
            "code" => "A".repeat(20),
            _ => return None,
        })
    }
}
