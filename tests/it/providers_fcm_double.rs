//! A strict stand-in for Google: grants access tokens for a signed assertion, and refuses what FCM refuses.

use crate::providers_apns_double::{Fate, Then, http_date};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use backstop_server::clock::Clock;
use backstop_server::providers::fcm::{Fcm, FcmConfig};
use base64::Engine;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use rcgen::{KeyPair, PKCS_RSA_SHA256, PublicKeyData, RsaKeySize};
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use tokio::sync::Notify;

pub(crate) const PROJECT: &str = "acme-demo";
const EMAIL: &str = "push@acme-demo.iam.gserviceaccount.com";
const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";

/// One for all tests: making an RSA key takes a while.
static KEY: LazyLock<KeyPair> =
    LazyLock::new(|| KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap());

pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// A clock that stands until a test turns it.
pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    pub(crate) fn at(ms: i64) -> Arc<TestClock> {
        Arc::new(TestClock(AtomicI64::new(ms)))
    }

    pub(crate) fn advance(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// An answer told beforehand.
#[derive(Clone)]
pub(crate) struct Scripted {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
}

impl Scripted {
    pub(crate) fn new(status: u16, body: impl Into<String>) -> Scripted {
        Scripted { status, headers: HashMap::new(), body: body.into() }
    }
}

impl IntoResponse for Scripted {
    fn into_response(self) -> Response {
        let mut response = (StatusCode::from_u16(self.status).unwrap(), self.body).into_response();
        for (name, value) in self.headers {
            response.headers_mut().insert(header::HeaderName::try_from(name).unwrap(), value.parse().unwrap());
        }
        response
    }
}

#[derive(Default)]
pub(crate) struct Seen {
    /// Messages that FCM took.
    pub(crate) messages: Vec<Value>,
    /// Requests to `messages:send`, refused ones too.
    pub(crate) sends: usize,
    /// Requests for an access token.
    pub(crate) token_requests: usize,
    /// Access token → when it expires.
    granted: HashMap<String, i64>,
}

pub(crate) struct Google {
    pub(crate) url: String,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) seen: Mutex<Seen>,
    /// Said instead of what would be right; the first is next.
    pub(crate) send_script: Mutex<VecDeque<Scripted>>,
    pub(crate) token_script: Mutex<VecDeque<Scripted>>,
    /// What happens to a message instead.
    pub(crate) fate: Fate,
    /// Told at each message that FCM took.
    pub(crate) arrived: Notify,
    /// How far Google's clock is ahead of the test's.
    pub(crate) ahead_ms: AtomicI64,
}

impl Google {
    pub(crate) async fn start(now_ms: i64) -> Arc<Google> {
        Self::start_by(TestClock::at(now_ms)).await
    }

    pub(crate) async fn start_by(clock: Arc<TestClock>) -> Arc<Google> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let google = Arc::new(Google {
            url: format!("http://{}", listener.local_addr().unwrap()),
            clock,
            seen: Mutex::default(),
            send_script: Mutex::default(),
            token_script: Mutex::default(),
            fate: Fate::default(),
            arrived: Notify::new(),
            ahead_ms: AtomicI64::new(0),
        });
        let router = Router::new()
            .route("/token", post(token))
            .route("/v1/projects/{project}/messages:send", post(send))
            .layer(axum::middleware::map_response_with_state(google.clone(), dated))
            .with_state(google.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        google
    }

    /// The key file as Google hands it out, for this double.
    pub(crate) fn key_file(&self) -> Value {
        json!({
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": "key-1",
            "private_key": pem("PRIVATE KEY", &KEY.serialize_der()),
            "client_email": EMAIL,
            "client_id": "1",
            "auth_uri": "https://accounts.google.com/o/oauth2/auth",
            "token_uri": format!("{}/token", self.url),
        })
    }

    pub(crate) fn config(&self) -> FcmConfig {
        FcmConfig {
            service_account: Some(self.key_file().to_string()),
            base_url: self.url.clone(),
            ..FcmConfig::default()
        }
    }

    pub(crate) fn client(&self) -> Fcm {
        Fcm::from_config(&self.config(), self.clock.clone()).unwrap()
    }

    /// As when somebody disables the key and enables it again.
    pub(crate) fn revoke_tokens(&self) {
        self.seen.lock().unwrap().granted.clear();
    }
}

/// Google says when it answered, by its own clock.
async fn dated(State(google): State<Arc<Google>>, mut response: Response) -> Response {
    let date = http_date((google.clock.now_ms() + google.ahead_ms.load(Ordering::SeqCst)) / 1000);
    response.headers_mut().insert(header::DATE, date.parse().unwrap());
    response
}

async fn token(State(google): State<Arc<Google>>, headers: HeaderMap, body: String) -> Response {
    google.seen.lock().unwrap().token_requests += 1;
    if let Some(scripted) = google.token_script.lock().unwrap().pop_front() {
        return scripted.into_response();
    }
    match check_assertion(&google, &headers, &body) {
        Ok(()) => {
            let mut seen = google.seen.lock().unwrap();
            let token = format!("ya29.{}", seen.token_requests);
            seen.granted.insert(token.clone(), google.clock.now_ms() + 3_599_000);
            let reply = json!({ "access_token": token, "expires_in": 3599, "token_type": "Bearer" });
            Scripted::new(200, reply.to_string()).into_response()
        }
        Err(why) => {
            let refusal = json!({ "error": "invalid_grant", "error_description": why });
            Scripted::new(400, refusal.to_string()).into_response()
        }
    }
}

fn check_assertion(google: &Google, headers: &HeaderMap, body: &str) -> Result<(), &'static str> {
    let must = |holds: bool, why| if holds { Ok(()) } else { Err(why) };
    must(headers[header::CONTENT_TYPE] == "application/x-www-form-urlencoded", "content type")?;
    let form: HashMap<&str, &str> = body.split('&').filter_map(|pair| pair.split_once('=')).collect();
    must(form["grant_type"] == "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer", "grant type")?;
    let key = DecodingKey::from_rsa_pem(pem("PUBLIC KEY", &KEY.subject_public_key_info()).as_bytes()).unwrap();
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_audience(&[format!("{}/token", google.url)]);
    validation.set_issuer(&[EMAIL]);
    // Times are compared below, by the clock of the test.
    validation.validate_exp = false;
    validation.set_required_spec_claims(&["aud", "iss", "exp"]);
    let token = jsonwebtoken::decode::<Value>(form["assertion"], &key, &validation).map_err(|_| "signature")?;
    must(token.header.kid.as_deref() == Some("key-1"), "kid")?;
    let second = |claim: &str| token.claims[claim].as_i64().unwrap_or_default();
    let now_s = (google.clock.now_ms() + google.ahead_ms.load(Ordering::SeqCst)) / 1000;
    must(token.claims["scope"] == SCOPE, "scope")?;
    must(second("iat") <= now_s && now_s < second("exp"), "not valid now")?;
    must(second("exp") - second("iat") <= 3600, "longer than an hour")
}

async fn send(
    State(google): State<Arc<Google>>,
    Path(project): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    google.seen.lock().unwrap().sends += 1;
    if let Some(scripted) = google.send_script.lock().unwrap().pop_front() {
        return scripted.into_response();
    }
    let told = serde_json::from_slice::<Value>(&body).unwrap_or_default();
    let plan = google.fate.of(told["message"]["token"].as_str().unwrap_or_default());
    let right = if plan.taken { judged(&google, &project, &headers, &body) } else { Scripted::new(500, "") };
    google.fate.released(&plan).await;
    match plan.then {
        Then::Answer(scripted) => scripted.into_response(),
        Then::Silence | Then::Freeze => std::future::pending().await,
        // The connection ends in the middle of it, without a word of the panic hook.
        Then::Reset | Then::Close => std::panic::resume_unwind(Box::new("reset")),
        Then::Right | Then::GoAway | Then::Refused => right.into_response(),
    }
}

fn judged(google: &Google, project: &str, headers: &HeaderMap, body: &[u8]) -> Scripted {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let bearer = authorization.strip_prefix("Bearer ").unwrap_or_default();
    let mut seen = google.seen.lock().unwrap();
    if seen.granted.get(bearer).is_none_or(|expires_at| google.clock.now_ms() >= *expires_at) {
        return refuse(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.");
    }
    if project != PROJECT {
        return refuse(403, "PERMISSION_DENIED", "no such project");
    }
    match check_message(headers, body) {
        Ok(message) if message["validate_only"] == true => {
            let name = format!("projects/{PROJECT}/messages/fake_message_id");
            Scripted::new(200, json!({ "name": name }).to_string())
        }
        Ok(message) => {
            seen.messages.push(message);
            google.arrived.notify_waiters();
            let name = format!("projects/{PROJECT}/messages/0:{}", seen.messages.len());
            Scripted::new(200, json!({ "name": name }).to_string())
        }
        Err(why) => refuse(400, "INVALID_ARGUMENT", &why),
    }
}

fn refuse(code: u16, status: &str, message: &str) -> Scripted {
    let body = json!({ "error": { "code": code, "message": message, "status": status } });
    Scripted::new(code, body.to_string())
}

fn check_message(headers: &HeaderMap, body: &[u8]) -> Result<Value, String> {
    let must = |holds: bool, why: &str| if holds { Ok(()) } else { Err(why.to_owned()) };
    must(headers[header::CONTENT_TYPE] == "application/json", "content type")?;
    let request: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let only = |value: &Value, known: &[&str]| {
        let object = value.as_object().ok_or_else(|| format!("not an object: {value}"))?;
        match object.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(format!("Unknown name \"{key}\"")),
            None => Ok(()),
        }
    };
    only(&request, &["message", "validate_only"])?;
    let message = &request["message"];
    only(message, &["token", "topic", "data", "android"])?;
    let is_target = |key: &str| message[key].as_str().is_some_and(|target| !target.is_empty());
    must(is_target("token") != is_target("topic"), "one target")?;
    must(is_target("token") || request["validate_only"] == true, "we push to tokens only")?;
    let none = serde_json::Map::new();
    let data = message["data"].as_object().or(is_target("topic").then_some(&none)).ok_or("no data")?;
    let mut size = 0;
    for (key, value) in data {
        let value = value.as_str().ok_or("Invalid value at 'message.data[0].value' (TYPE_STRING)")?;
        let reserved = matches!(key.as_str(), "from" | "message_type" | "notification")
            || key.starts_with("google")
            || key.starts_with("gcm");
        must(!reserved, "Invalid data payload key")?;
        size += key.len() + value.len();
    }
    must(size <= 4096, "Android message is too big")?;
    must(body.len() <= 4096, "beyond our own bound")?;
    let android = &message["android"];
    only(android, &["priority", "ttl", "collapse_key"])?;
    must(
        is_target("topic") || matches!(android["priority"].as_str(), Some("HIGH" | "NORMAL")),
        "Invalid value at 'message.android.priority'",
    )?;
    let ttl = android["ttl"].as_str().and_then(|ttl| ttl.strip_suffix('s')).and_then(|ttl| ttl.parse::<u32>().ok());
    must(ttl.is_some_and(|ttl| ttl <= 2_419_200), "Invalid value at 'message.android.ttl'")?;
    Ok(request)
}
