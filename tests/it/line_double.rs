//! A strict stand-in for LINE: refuses what LINE refuses, carries each retry key out once, keeps what it was sent.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use backstop_server::providers::line::{LineConfig, signature};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::net::TcpListener;

pub(crate) const TOKEN: &str = "line-token";
pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";
pub(crate) const BOT: &str = "U00000000000000000000000000000b07";
pub(crate) const USER: &str = "U0123456789abcdef0123456789abcdef";
/// A user whose texts are taken, and answered with silence, until LINE is asked again under the key.
pub(crate) const MUTE_USER: &str = "Uffffffffffffffffffffffffffffffff";
/// The number that LINE knows; it knows no other.
pub(crate) const NUMBER: &str = "+818000001234";
const NUMBER_HASH: &str = "d41e0ad70dddfeb68f149ad6fc61574b9c5780ab7bcb2fba5517771ffbb2409c";

/// A request, as it came.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sent {
    pub(crate) path: String,
    pub(crate) key: Option<String>,
    pub(crate) tag: Option<String>,
    pub(crate) body: Value,
}

#[derive(Default)]
struct Inside {
    /// Every request to send, refused ones too.
    asked: Vec<Sent>,
    taken: Vec<Sent>,
    /// Request ids by retry key.
    keys: BTreeMap<String, String>,
    used_up: bool,
    endpoint: Option<String>,
}

pub(crate) struct Line {
    pub(crate) url: String,
    inside: Mutex<Inside>,
}

type Answer = (StatusCode, Vec<(&'static str, String)>, Value);

impl Line {
    pub(crate) async fn start() -> Arc<Line> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let line = Arc::new(Line { url, inside: Mutex::default() });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&line));
        tokio::spawn(async move { axum::serve(listener, router).await });
        line
    }

    pub(crate) fn config(&self) -> LineConfig {
        LineConfig {
            channel_access_token: Some(TOKEN.into()),
            channel_secret: Some(SECRET.into()),
            bot_user_id: BOT.into(),
            base_url: self.url.clone(),
            timeout_ms: 1_000,
            ..LineConfig::default()
        }
    }

    pub(crate) fn use_up(&self) {
        self.inside().used_up = true;
    }

    pub(crate) fn set_webhook(&self, url: &str) {
        self.inside().endpoint = Some(url.to_owned());
    }

    /// What customers get.
    pub(crate) fn taken(&self) -> Vec<Sent> {
        self.inside().taken.clone()
    }

    pub(crate) fn asked(&self) -> Vec<Sent> {
        self.inside().asked.clone()
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap()
    }

    fn answer(&self, path: &str, headers: &HeaderMap, body: &Bytes) -> Option<Answer> {
        let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        let bearer = header("authorization");
        if bearer != Some(format!("Bearer {TOKEN}")) {
            return Some(refused(401, "Authentication failed. Confirm that the access token is valid."));
        }
        let mut inside = self.inside();
        match path {
            "/v2/bot/info" => return Some((StatusCode::OK, Vec::new(), json!({ "userId": BOT, "basicId": "@acme" }))),
            "/v2/bot/channel/webhook/endpoint" => {
                return Some(match &inside.endpoint {
                    Some(url) => (StatusCode::OK, Vec::new(), json!({ "endpoint": url, "active": true })),
                    None => refused(404, "Webhook endpoint not found"),
                });
            }
            _ => {}
        }
        let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let (key, tag) = (header("x-line-retry-key"), header("x-line-delivery-tag"));
        let sent = Sent { path: path.to_owned(), key, tag, body };
        inside.asked.push(sent.clone());
        if inside.used_up {
            return Some(refused(429, "You have reached your monthly limit."));
        }
        if let Err(answer) = checked(&sent) {
            return Some(answer);
        }
        let id = format!("00000000-0000-4000-8000-{:012}", inside.asked.len());
        if let Some(before) = sent.key.as_ref().and_then(|key| inside.keys.get(key)) {
            let (status, mut headers, body) = refused(409, "The retry key is already accepted");
            headers.push(("x-line-accepted-request-id", before.clone()));
            return Some((status, headers, body));
        }
        inside.keys.extend(sent.key.clone().map(|key| (key, id.clone())));
        let is_mute = sent.body["to"] == MUTE_USER;
        inside.taken.push(sent);
        let sent_messages = json!({ "sentMessages": [{ "id": "461230966842064897", "quoteToken": "q" }] });
        (!is_mute).then(|| (StatusCode::OK, vec![("x-line-request-id", id)], sent_messages))
    }
}

/// What LINE refuses of a send.
fn checked(sent: &Sent) -> Result<(), Answer> {
    let must = |holds: bool, status, message: &str| if holds { Ok(()) } else { Err(refused(status, message)) };
    let is_uuid = |key: &String| {
        let shape: Vec<usize> = key.split('-').map(str::len).collect();
        shape == [8, 4, 4, 4, 12] && key.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
    };
    let to = sent.body["to"].as_str().unwrap_or("");
    let is_hex = |text: &str, length| text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit());
    let no_to = "The property, 'to', in the request body is invalid (line: -, column: -)";
    match sent.path.as_str() {
        "/v2/bot/message/push" => {
            must(sent.key.as_ref().is_none_or(is_uuid), 400, "Invalid retry key")?;
            must(to.strip_prefix('U').is_some_and(|digits| is_hex(digits, 32)), 400, no_to)?;
        }
        "/bot/pnp/push" => {
            must(sent.key.is_none(), 400, "The retry key is not supported")?;
            let fits = sent.tag.as_ref().is_none_or(|tag| (16..=100).contains(&tag.len()));
            must(fits, 400, "The delivery tag is invalid")?;
            must(is_hex(to, 64), 400, no_to)?;
            must(to == NUMBER_HASH, 422, "Failed to send messages")?;
        }
        _ => return Err(refused(404, "Not found")),
    }
    let messages = sent.body["messages"].as_array().cloned().unwrap_or_default();
    must((1..=5).contains(&messages.len()), 400, "The request body has 1 error(s)")?;
    for message in &messages {
        must(is_message(message), 400, "A message (messages[0]) in the request body is invalid")?;
    }
    Ok(())
}

fn is_message(message: &Value) -> bool {
    let units = |value: &Value| value.as_str().map_or(0, |text| text.encode_utf16().count());
    match message["type"].as_str() {
        Some("text") => (1..=5_000).contains(&units(&message["text"])),
        Some("flex") => {
            let bubble = &message["contents"];
            let action = &bubble["footer"]["contents"][0]["action"];
            let uri = action["uri"].as_str().unwrap_or("");
            (1..=400).contains(&units(&message["altText"]))
                && bubble["type"] == "bubble"
                && bubble.to_string().len() <= 30_000
                && units(&bubble["body"]["contents"][0]["text"]) >= 1
                && action["type"] == "uri"
                && (1..=20).contains(&units(&action["label"]))
                && uri.starts_with("http")
                && uri.chars().count() <= 1_000
        }
        _ => false,
    }
}

fn refused(status: u16, message: &str) -> Answer {
    (
        StatusCode::from_u16(status).unwrap(),
        vec![("x-line-request-id", "refused".into())],
        json!({ "message": message }),
    )
}

async fn answer(State(line): State<Arc<Line>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let Some((status, headers, body)) = line.answer(uri.path(), &headers, &body) else {
        return std::future::pending().await;
    };
    let mut response = (status, axum::Json(body)).into_response();
    for (name, value) in headers {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}

/// A call as LINE makes it: body and signature.
pub(crate) fn call(events: &Value) -> (String, String) {
    let body = json!({ "destination": BOT, "events": events }).to_string();
    let signature = signature(SECRET, body.as_bytes());
    (body, signature)
}
