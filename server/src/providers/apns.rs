//! Apple Push Notification service, over HTTP/2 with a provider token.

mod account;
mod key;
mod probe;
mod reply;
mod token;

use super::transport::{self, Lanes};
use super::{About, Checking, Provider, PushProvider, PushSend, Rate, Sending, fit};
use crate::clock::Clock;
use a2::{CollapseId, DefaultNotificationBuilder, NotificationBuilder, NotificationOptions, Priority, PushType};
pub use account::{ApnsConfig, ApnsConfigError, ApnsCredential, ApnsCredentialError, ApnsNet};
use backstop_domain::followup::Outcome;
use backstop_wire::{Environment, PUSH_KEY, Push};
pub use key::KeyError;
use reply::Reply;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use token::ProviderTokens;

/// Apple's tokens are hexadecimal, of no fixed length.
const MAX_TOKEN_CHARS: usize = 200;
/// A credential that is refused says so in the log this often at most.
const NOTICE_EVERY_MS: i64 = 60_000;

/// Sends by APNs with one key of one team, to both environments.
pub struct Apns {
    /// Production, sandbox.
    lanes: [Lanes; 2],
    hosts: [reqwest::Url; 2],
    tokens: Arc<ProviderTokens>,
    key_id: String,
    team_id: String,
    environment: Environment,
    topics: Vec<String>,
    clock: Arc<dyn Clock>,
    timeout: Duration,
    rate: Option<Rate>,
    noticed_at_ms: AtomicI64,
}

/// One request to APNs, whatever it is for.
struct Request<'a> {
    environment: Environment,
    token: &'a str,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// What came of it.
enum Answer {
    /// No connection: nothing left.
    Unreachable,
    /// It left, and the connection was lost.
    Lost,
    /// An answer, and the vendor's clock minus ours.
    Came { status: u16, headers: Box<HeaderMap>, body: Vec<u8>, vendor_ahead_ms: Option<i64> },
}

impl Apns {
    /// Checks the credential, but does not connect.
    pub fn new(credential: &ApnsCredential, net: &ApnsNet) -> Result<Apns, ApnsConfigError> {
        credential.checked()?;
        let lanes = |environment| net.lanes(environment).map_err(ApnsConfigError::Client);
        Ok(Apns {
            lanes: [lanes(Environment::Production)?, lanes(Environment::Sandbox)?],
            hosts: [Environment::Production, Environment::Sandbox].map(|environment| net.host(environment).clone()),
            tokens: net.tokens(credential)?,
            key_id: credential.key_id.clone(),
            team_id: credential.team_id.clone(),
            environment: credential.environment,
            topics: credential.topics.clone(),
            clock: net.clock.clone(),
            timeout: net.timeout,
            rate: net.rate(),
            noticed_at_ms: AtomicI64::new(i64::MIN),
        })
    }

    /// The deployment's default. No section at all is a valid set-up, half of one is not (P12).
    pub fn from_config(config: &ApnsConfig, clock: Arc<dyn Clock>) -> Result<Apns, ApnsConfigError> {
        Apns::new(&config.credential()?, &ApnsNet::from_config(config, clock)?)
    }

    /// The topic of a push: the device's, if the credential is for it, else the credential's only one.
    fn topic<'a>(&'a self, of_device: Option<&'a str>) -> Result<&'a str, &'static str> {
        match (of_device, self.topics.as_slice()) {
            (Some(topic), known) if !known.is_empty() && known.iter().all(|known| known != topic) => {
                Err("topic_not_configured")
            }
            (Some(topic), _) if account::is_topic(topic) => Ok(topic),
            (Some(_), _) => Err("bad_topic"),
            (None, [only]) => Ok(only),
            (None, _) => Err("no_topic"),
        }
    }

    fn request<'a>(&'a self, send: &'a PushSend) -> Result<Request<'a>, &'static str> {
        let is_token = |token: &str| {
            (1..=MAX_TOKEN_CHARS).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        if !is_token(&send.token) {
            return Err("bad_device_token");
        }
        let topic = self.topic(send.topic.as_deref())?;
        let body = body(send).ok_or("payload_too_large")?.to_string().into_bytes();
        let apns_id = apns_id(&send.envelope.effect_key);
        let collapse = collapse_id(&send.push.collapse_key);
        let options = NotificationOptions {
            apns_id: Some(&apns_id),
            apns_push_type: Some(PushType::Alert),
            apns_expiration: Some(self.expiration_s(send)),
            apns_priority: Some(Priority::High),
            apns_topic: Some(topic),
            apns_collapse_id: CollapseId::new(&collapse).ok().filter(|id| !id.value.is_empty()),
        };
        let environment = send.environment.unwrap_or(self.environment);
        Ok(Request { environment, token: &send.token, headers: headers(&options), body })
    }

    /// P10 in seconds of Apple's clock; never 0, which would mean "now or not at all".
    fn expiration_s(&self, send: &PushSend) -> u64 {
        let floor_s = (send.envelope.at_ms + self.clock.wall_offset_ms()).div_euclid(1000) + 1;
        let wanted_s = (send.expires_at_ms + self.clock.wall_offset_ms()).div_euclid(1000);
        u64::try_from(wanted_s.max(floor_s)).unwrap_or(1)
    }

    /// One push; once more under a fresh provider token when Apple says that ours has gone stale.
    async fn deliver(&self, request: &Request<'_>, client: &reqwest::Client) -> Outcome {
        let mut token = self.tokens.get();
        let mut fresh = false;
        loop {
            let answer = self.exchange(client, request, &token.authorization).await;
            let (status, headers, body, ahead) = match &answer {
                Answer::Unreachable => {
                    return Outcome::RetryAfter { after_ms: None, error: "unreachable".into() };
                }
                Answer::Lost => return Outcome::Unknown { error: "connection_lost".into() },
                Answer::Came { status, headers, body, vendor_ahead_ms } => (*status, headers, body, *vendor_ahead_ms),
            };
            let retry_after = transport::retry_after(headers);
            let reply = self.reply(request.environment, status, headers, retry_after.as_deref(), body);
            if !reply.refuses_token() {
                let outcome = reply.outcome();
                self.notice(status, &outcome);
                return outcome;
            }
            match self.tokens.after(&token).filter(|_| !fresh) {
                Some(next) => (token, fresh) = (next, true),
                None => {
                    let outcome = with_clock(reply.outcome(), ahead);
                    self.notice(status, &outcome);
                    return outcome;
                }
            }
        }
    }

    async fn exchange(&self, client: &reqwest::Client, request: &Request<'_>, authorization: &HeaderValue) -> Answer {
        let mut url = self.hosts[request.environment as usize].clone();
        url.set_path(&format!("/3/device/{}", request.token));
        let post = client.post(url).headers(request.headers.clone()).header(AUTHORIZATION, authorization.clone());
        match post.body(request.body.clone()).send().await {
            Ok(response) => {
                let status = response.status().as_u16();
                let headers = Box::new(response.headers().clone());
                let vendor_ahead_ms = transport::vendor_ahead_ms(&headers, self.wall_ms());
                let body = transport::read_bounded(response).await;
                Answer::Came { status, headers, body, vendor_ahead_ms }
            }
            Err(error) if error.is_connect() => Answer::Unreachable,
            Err(_) => Answer::Lost,
        }
    }

    fn reply<'a>(
        &self,
        environment: Environment,
        status: u16,
        headers: &'a HeaderMap,
        retry_after: Option<&'a str>,
        body: &'a [u8],
    ) -> Reply<'a> {
        let apns_id = headers.get("apns-id").and_then(|id| id.to_str().ok());
        Reply { status, apns_id, retry_after, body, environment, now_ms: self.wall_ms() }
    }

    fn wall_ms(&self) -> i64 {
        self.clock.now_ms() + self.clock.wall_offset_ms()
    }

    /// A refused credential concerns every push: it is said in the log, but not by every push.
    fn notice(&self, status: u16, outcome: &Outcome) {
        let Outcome::Rejected { error } = outcome else { return };
        let now_ms = self.clock.now_ms();
        let before = self.noticed_at_ms.load(Ordering::Relaxed);
        if status != 403 || now_ms.saturating_sub(before) < NOTICE_EVERY_MS {
            return;
        }
        self.noticed_at_ms.store(now_ms, Ordering::Relaxed);
        let (key_id, team_id) = (&self.key_id, &self.team_id);
        tracing::error!(%key_id, %team_id, %error, "APNs refuses this key: check key, key_id, team_id and environment");
    }
}

impl Provider for Apns {
    fn name(&self) -> &'static str {
        "apns"
    }

    fn about(&self) -> About {
        About {
            name: "apns",
            vendor: "APNs",
            account: self.key_id.clone(),
            rate: self.rate,
            mend: "check key, key_id, team_id and environment",
            section: "[apns]",
        }
    }

    fn check(&self) -> Checking<'_> {
        Box::pin(self.probe())
    }
}

impl PushProvider for Apns {
    fn send<'a>(&'a self, push: &'a PushSend) -> Sending<'a> {
        Box::pin(async move {
            let request = match self.request(push) {
                Ok(request) => request,
                Err(error) => return Outcome::Rejected { error: error.into() },
            };
            let lane = self.lanes[request.environment as usize].pick();
            match tokio::time::timeout(self.timeout, self.deliver(&request, &lane.client)).await {
                Ok(outcome) => {
                    lane.answered();
                    outcome
                }
                Err(_) => {
                    lane.timed_out();
                    Outcome::Unknown { error: "timeout".into() }
                }
            }
        })
    }
}

/// Says with the refusal what explains it.
fn with_clock(outcome: Outcome, vendor_ahead_ms: Option<i64>) -> Outcome {
    match (outcome, transport::clock_is_off(vendor_ahead_ms)) {
        (Outcome::Rejected { error }, Some(clock)) => Outcome::Rejected { error: format!("{error}: {clock}") },
        (outcome, _) => outcome,
    }
}

/// The same for every repeat of one effect, so that Apple's own records show one push.
fn apns_id(effect_key: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(effect_key.as_bytes()).into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
}

/// At most 64 bytes: what is longer is replaced by its hash.
fn collapse_id(key: &str) -> String {
    if CollapseId::new(key).is_ok() { key.to_owned() } else { hex::encode(Sha256::digest(key.as_bytes())) }
}

fn headers(options: &NotificationOptions<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut put = |name: &'static str, value: Option<String>| {
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    put("apns-id", options.apns_id.map(str::to_owned));
    put("apns-push-type", options.apns_push_type.as_ref().map(ToString::to_string));
    put("apns-expiration", options.apns_expiration.map(|at| at.to_string()));
    put("apns-priority", options.apns_priority.as_ref().map(ToString::to_string));
    put("apns-topic", options.apns_topic.map(str::to_owned));
    put("apns-collapse-id", options.apns_collapse_id.as_ref().map(|id| id.value.to_owned()));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers
}

/// What an answer means, and whether a fresh provider token may help. For `tests/fuzz`.
#[doc(hidden)]
pub fn understood(
    status: u16,
    retry_after: Option<&str>,
    apns_id: Option<&str>,
    body: &[u8],
    now_ms: i64,
) -> (Outcome, bool) {
    let reply = Reply { status, apns_id, retry_after, body, environment: Environment::Production, now_ms };
    (reply.outcome(), reply.refuses_token())
}

/// The request body for `send`, at most 4,096 bytes; `None` when not even its ids fit.
///
/// `mutable-content` makes iOS run the app's notification service extension, which acknowledges before it shows.
pub fn body(send: &PushSend) -> Option<Value> {
    fit::fit(&send.push, |push| notification(push, &send.token))
}

fn notification(push: &Push, token: &str) -> Value {
    let mut notification = DefaultNotificationBuilder::new()
        .title(&push.title)
        .body(&push.body)
        .sound("default")
        .mutable_content()
        .active_interruption_level();
    if !push.conversation_id.is_empty() {
        notification = notification.thread_id(&push.conversation_id);
    }
    let mut payload = notification.build(token, NotificationOptions::default());
    payload.add_custom_data(PUSH_KEY, push).expect("a push has string keys only");
    serde_json::to_value(&payload).expect("a payload has string keys only")
}
