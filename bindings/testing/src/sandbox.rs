//! A workspace of the test's own on `backstop serve --sandbox`: customers, replies, a clock, and what left.

use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sha2::Sha256;

/// Why a sandbox call failed. Tests let it fail them.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Error)]
pub enum TestError {
    /// In a sentence.
    Failed {
        /// What was asked for, and what came back.
        explanation: String,
    },
}

impl std::fmt::Display for TestError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let TestError::Failed { explanation } = self;
        f.write_str(explanation)
    }
}

impl std::error::Error for TestError {}

fn failed(explanation: impl Into<String>) -> TestError {
    TestError::Failed { explanation: explanation.into() }
}

/// A message that would have left.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct CapturedSend {
    /// `push`, `sms`, `lms`, `email`, …
    pub channel: String,
    /// Push token, number or address.
    pub to: String,
    /// Whose it is; `None` for a test push.
    pub followup_id: Option<String>,
    /// To which device, for a push.
    pub device_id: Option<String>,
    /// What would have left, as JSON.
    pub payload: String,
    /// For a push: what arrives in the app, the FCM data map or APNs `userInfo` as JSON.
    pub arrives: Option<String>,
}

/// Where a follow-up stands.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct FollowupView {
    /// `awaiting_ack`, `acked`, `fell_back`, …
    pub state: String,
    /// `no_ack`, … ; `None` before the decision.
    pub reason: Option<String>,
    /// When an ack came after the decision, RFC 3339.
    pub late_ack_at: Option<String>,
}

/// A workspace of the test's own on a sandbox server, so that tests run side by side. Its clock stands still until
/// `advance` moves it.
#[derive(uniffi::Object)]
pub struct Sandbox {
    http: reqwest::Client,
    url: String,
    keys: Keys,
}

struct Keys {
    api_key: String,
    app_key: String,
    identity_secret: Vec<u8>,
}

#[uniffi::export(async_runtime = "tokio")]
impl Sandbox {
    /// Makes a workspace on the sandbox at that URL and stops its clock.
    #[uniffi::constructor]
    pub async fn create(url: String) -> Result<Arc<Self>, TestError> {
        let http = client().map_err(|e| failed(format!("no HTTP client can be made: {e}")))?;
        let url = url.trim_end_matches('/').to_owned();
        let made = call(&http, &url, None, Method::POST, "/sandbox/workspaces", Some(json!({}))).await?;
        let secret = hex::decode(text(&made, "identity_secret")?).map_err(|_| failed("identity_secret is not hex"))?;
        let keys = Keys { api_key: text(&made, "api_key")?, app_key: text(&made, "app_key")?, identity_secret: secret };
        let sandbox = Sandbox { http, url, keys };
        sandbox.advance(0).await?;
        Ok(Arc::new(sandbox))
    }

    /// For `BackstopConfig`.
    pub fn base_url(&self) -> Result<String, TestError> {
        Ok(self.url.clone())
    }

    /// For `BackstopConfig`.
    pub fn app_key(&self) -> Result<String, TestError> {
        Ok(self.keys.app_key.clone())
    }

    /// What the company's backend would hand to its app for this customer.
    pub fn customer_hash(&self, customer_id: String) -> Result<String, TestError> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.keys.identity_secret).map_err(|e| failed(e.to_string()))?;
        mac.update(customer_id.as_bytes());
        Ok(hex::encode(mac.finalize().into_bytes()))
    }

    /// A customer with a number and an address.
    pub async fn put_customer(&self, customer_id: String, phone: String, email: String) -> Result<(), TestError> {
        let body = json!({"name": customer_id, "phone": phone, "email": email});
        self.call(Method::PUT, &format!("/v1/customers/{customer_id}"), Some(body)).await.map(drop)
    }

    /// An agent's reply to a customer who is away. Answers the follow-up's id.
    pub async fn reply(&self, customer_id: String, message_id: String, body: String) -> Result<String, TestError> {
        self.reply_with(customer_id, message_id, body, None).await
    }

    /// As `reply`, with a link for the tap.
    pub async fn reply_with_link(
        &self,
        customer_id: String,
        message_id: String,
        body: String,
        link: String,
    ) -> Result<String, TestError> {
        self.reply_with(customer_id, message_id, body, Some(link)).await
    }

    /// Turns the clock. What falls due on the way is decided and sent before the answer.
    pub async fn advance(&self, ms: u64) -> Result<(), TestError> {
        self.call(Method::POST, "/sandbox/clock/advance", Some(json!({"ms": ms}))).await.map(drop)
    }

    /// Everything that would have left, oldest first; all channels, or one.
    pub async fn outbox(&self, channel: Option<String>) -> Result<Vec<CapturedSend>, TestError> {
        let filter = channel.map(|channel| format!("?channel={channel}")).unwrap_or_default();
        let found = self.call(Method::GET, &format!("/sandbox/outbox{filter}"), None).await?;
        found["data"].as_array().into_iter().flatten().map(captured).collect()
    }

    /// Where a follow-up stands.
    pub async fn followup(&self, followup_id: String) -> Result<FollowupView, TestError> {
        let found = self.call(Method::GET, &format!("/v1/followups/{followup_id}"), None).await?;
        Ok(FollowupView {
            state: text(&found, "state")?,
            reason: found["reason"].as_str().map(str::to_owned),
            late_ack_at: found["late_ack_at"].as_str().map(str::to_owned),
        })
    }

    /// What a provider does from now on (`push`: `accept`, `token_gone`, `reject`, `timeout`, …).
    pub async fn provider(&self, channel: String, behaviour: String) -> Result<(), TestError> {
        let body = json!({"behaviour": behaviour});
        self.call(Method::POST, &format!("/sandbox/providers/{channel}"), Some(body)).await.map(drop)
    }

    /// Any other call of the backend's API, as JSON; `body` empty = none.
    pub async fn request(&self, method: String, path: String, body: String) -> Result<String, TestError> {
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| failed("that is no HTTP method"))?;
        let body = match body.as_str() {
            "" => None,
            body => Some(serde_json::from_str(body).map_err(|e| failed(format!("body: {e}")))?),
        };
        Ok(self.call(method, &path, body).await?.to_string())
    }
}

impl Sandbox {
    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, TestError> {
        call(&self.http, &self.url, Some(&self.keys.api_key), method, path, body).await
    }

    async fn reply_with(
        &self,
        customer_id: String,
        message_id: String,
        body: String,
        link: Option<String>,
    ) -> Result<String, TestError> {
        let mut message = json!({
            "message_id": message_id, "conversation_id": format!("chat-{customer_id}"), "customer_id": customer_id,
            "kind": "reply", "author": {"name": "Agent"}, "text": body,
        });
        if let Some(link) = link {
            message["link"] = link.into();
        }
        text(&self.call(Method::POST, "/v1/messages", Some(message)).await?, "followup_id")
    }
}

/// A sandbox listens on this machine, without TLS: no certificate is trusted, and no provider set for the process.
fn client() -> Result<reqwest::Client, Box<dyn std::error::Error>> {
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    Ok(reqwest::Client::builder().no_proxy().tls_backend_preconfigured(tls).build()?)
}

async fn call(
    http: &reqwest::Client,
    url: &str,
    key: Option<&str>,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Result<Value, TestError> {
    let what = format!("{method} {path}");
    let mut request = http.request(method, format!("{url}{path}")).timeout(Duration::from_secs(30));
    if let Some(key) = key {
        request = request.bearer_auth(key);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    let response = request.send().await.map_err(|e| failed(format!("{what}: {e}; is the sandbox running?")))?;
    let status = response.status();
    let body = response.text().await.map_err(|e| failed(format!("{what}: {e}")))?;
    if !status.is_success() {
        return Err(failed(format!("{what}: {status} {body}")));
    }
    if status == StatusCode::NO_CONTENT || body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&body).map_err(|e| failed(format!("{what}: {e}")))
}

fn captured(send: &Value) -> Result<CapturedSend, TestError> {
    let word = |name: &str| send[name].as_str().map(str::to_owned);
    let payload = &send["payload"];
    // FCM hands its `data` to the app, APNs everything.
    let arrives = match word("channel").as_deref() {
        Some("push") if payload["message"]["data"].is_object() => Some(payload["message"]["data"].to_string()),
        Some("push") => Some(payload.to_string()),
        _ => None,
    };
    Ok(CapturedSend {
        channel: text(send, "channel")?,
        to: word("to").unwrap_or_default(),
        followup_id: word("followup_id").filter(|id| !id.is_empty()),
        device_id: word("device_id"),
        payload: payload.to_string(),
        arrives,
    })
}

fn text(value: &Value, name: &str) -> Result<String, TestError> {
    value[name].as_str().map(str::to_owned).ok_or_else(|| failed(format!("`{name}` is missing in {value}")))
}
