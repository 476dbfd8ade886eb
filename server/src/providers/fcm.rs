//! Firebase Cloud Messaging, HTTP v1.

mod account;
mod reply;

use super::transport::{self, Lanes, read_bounded};
use super::{About, CheckError, Checked, Checking, Provider, PushProvider, PushSend, Rate, Sending, fit};
use crate::clock::Clock;
use crate::failpoint::{Point, hit};
use account::{AccessTokens, ServiceAccount, TokenError};
use backstop_domain::followup::Outcome;
use backstop_wire::{PUSH_KEY, Push};
use fcm::{AndroidConfig, AndroidMessagePriority, FirebaseMap, IntoFirebaseMap, MessageBody, Receiver};
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use reply::Reply;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The longest life Google allows a message.
const MAX_TTL_S: i64 = 28 * 24 * 3600;
/// How often a busy connection is asked for a sign of life, and how long it may take to give one.
const KEEP_ALIVE_MS: u64 = 5_000;
/// Connections to FCM, each with its own token server's beside it.
const CONNECTIONS: usize = 2;
/// A check is addressed to a topic that nobody subscribes to, and only judged.
const CHECK_TOPIC: &str = "backstop-check";

/// `[fcm]`: the deployment's default account.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FcmConfig {
    /// The key file as Google hands it out.
    pub service_account_file: Option<PathBuf>,
    /// Its content instead; secret.
    pub service_account: Option<String>,
    /// Where FCM answers; `http` only for this very machine.
    pub base_url: String,
    /// For one push, its access token included.
    pub timeout_ms: u64,
    /// Pushes a minute that leave at most; what is beyond is not sent.
    pub max_per_minute: u32,
}

impl Default for FcmConfig {
    fn default() -> Self {
        FcmConfig {
            service_account_file: None,
            service_account: None,
            base_url: "https://fcm.googleapis.com".into(),
            timeout_ms: 10_000,
            max_per_minute: 600_000,
        }
    }
}

impl std::fmt::Debug for FcmConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FcmConfig").field("base_url", &self.base_url).finish_non_exhaustive()
    }
}

/// What is wrong with `[fcm]`, and what mends it. Never quotes a value.
#[derive(Debug, thiserror::Error)]
pub enum FcmConfigError {
    /// The section is there, the account is not.
    #[error(
        "[fcm] service_account_file is missing: name the JSON key file, or leave out the section to send no pushes"
    )]
    AccountMissing,
    /// Two accounts.
    #[error("[fcm] service_account and service_account_file are both set: keep one")]
    AccountTwice,
    /// No such file, or not ours to read.
    #[error("[fcm] service_account_file cannot be read ({0}): name the JSON key file, readable by this user")]
    AccountUnreadable(#[source] std::io::Error),
    /// Not JSON.
    #[error("[fcm] {key} is not a JSON key file (line {line}, column {column}): download it again from Google")]
    AccountNotJson {
        /// Which key of the configuration.
        key: &'static str,
        /// Where.
        line: usize,
        /// Where.
        column: usize,
    },
    /// Another kind of credentials.
    #[error("[fcm] {key} is not of type \"service_account\": make a key for a service account, not for a user or app")]
    AccountKind {
        /// Which key of the configuration.
        key: &'static str,
    },
    /// A field is missing or unusable.
    #[error("[fcm] {key}: field \"{field}\" is missing or unusable: download the key file again from Google")]
    AccountField {
        /// Which key of the configuration.
        key: &'static str,
        /// Which field of the key file.
        field: &'static str,
    },
    /// The private key does not sign.
    #[error("[fcm] {key}: field \"private_key\" is not an RSA key in PEM: download the key file again from Google")]
    AccountKey {
        /// Which key of the configuration.
        key: &'static str,
    },
    /// Not a usable URL.
    #[error("[fcm] base_url must be an https:// address, or http:// on this machine, without path or user")]
    BaseUrl,
    /// Out of range.
    #[error("[fcm] timeout_ms must be 100 to 60000")]
    Timeout,
    /// Out of range.
    #[error("[fcm] max_per_minute must be at least 10")]
    Rate,
    /// TLS roots or the like.
    #[error("[fcm] the HTTPS client cannot start ({0}): check the machine's certificates and proxy settings")]
    Client(#[source] reqwest::Error),
}

/// Sends by FCM as one Firebase project.
pub struct Fcm {
    lanes: Lanes,
    budget: DefaultDirectRateLimiter,
    max_per_minute: u32,
    project_id: String,
    send_url: reqwest::Url,
    tokens: AccessTokens,
    clock: Arc<dyn Clock>,
    timeout: Duration,
}

impl Fcm {
    /// Checks all of `config`, but does not connect. No section at all is a valid set-up, half of one is not (P12).
    pub fn from_config(config: &FcmConfig, clock: Arc<dyn Clock>) -> Result<Fcm, FcmConfigError> {
        let base = transport::checked_host(&config.base_url).ok_or(FcmConfigError::BaseUrl)?;
        if !(100..=60_000).contains(&config.timeout_ms) {
            return Err(FcmConfigError::Timeout);
        }
        let budget = budget(config.max_per_minute).ok_or(FcmConfigError::Rate)?;
        let account = ServiceAccount::read(config)?;
        let project_id = account.project_id.clone();
        let send_url =
            base.join(&format!("/v1/projects/{project_id}/messages:send")).map_err(|_| FcmConfigError::BaseUrl)?;
        let (timeout_ms, max_per_minute) = (config.timeout_ms, config.max_per_minute);
        let build = move || {
            // A path that died without a word is noticed before every push of ten seconds has timed out on it.
            transport::builder(&base, timeout_ms)
                .http2_keep_alive_interval(Duration::from_millis(KEEP_ALIVE_MS))
                .http2_keep_alive_timeout(Duration::from_millis(KEEP_ALIVE_MS))
                .build()
        };
        let tokens = AccessTokens::new(account, build().map_err(FcmConfigError::Client)?, clock.clone());
        let lanes = Lanes::new("fcm", CONNECTIONS, build).map_err(FcmConfigError::Client)?;
        let timeout = Duration::from_millis(timeout_ms);
        Ok(Fcm { lanes, budget, max_per_minute, project_id, send_url, tokens, clock, timeout })
    }

    /// One send; once more under a fresh access token when Google says that ours has gone stale. `sent` tells whether
    /// a message may have left, for whoever gives up waiting.
    async fn deliver(&self, http: &reqwest::Client, body: &[u8], sent: &AtomicBool) -> Outcome {
        let mut fresh = false;
        loop {
            let token = match self.tokens.get().await {
                Ok(token) => token,
                Err(TokenError::Refused(error)) => return Outcome::Rejected { error: error.into() },
                Err(TokenError::Unavailable(error)) => {
                    return Outcome::RetryAfter { after_ms: None, error: error.into() };
                }
            };
            let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.bearer)).expect("checked when it came");
            bearer.set_sensitive(true);
            let request = post(http, self.send_url.clone(), "application/json", body.to_vec());
            hit(Point::FcmSends);
            let response = match transport::hand_over(request.header(AUTHORIZATION, bearer), sent).await {
                Ok(response) => response,
                Err(outcome) => return outcome,
            };
            let retry_after = transport::retry_after(response.headers());
            let status = response.status().as_u16();
            let body = read_bounded(response).await;
            let reply = Reply { status, retry_after: retry_after.as_deref(), body: &body, now_ms: self.clock.now_ms() };
            if fresh || !reply.is_stale_token() {
                return reply.outcome();
            }
            sent.store(false, Ordering::Relaxed);
            fresh = true;
            self.tokens.drop_token(&token).await;
        }
    }
}

impl Provider for Fcm {
    fn name(&self) -> &'static str {
        "fcm"
    }

    fn about(&self) -> About {
        About {
            name: "fcm",
            vendor: "FCM",
            account: self.project_id.clone(),
            rate: Some(Rate::PerMinute(self.max_per_minute)),
            mend: "check the service account, its key and its roles",
            section: "[fcm]",
        }
    }

    fn check(&self) -> Checking<'_> {
        Box::pin(self.probe())
    }
}

impl PushProvider for Fcm {
    fn send<'a>(&'a self, push: &'a PushSend) -> Sending<'a> {
        Box::pin(async move {
            let Some(body) = body(push) else { return Outcome::Rejected { error: "payload_too_large".into() } };
            if let Err(early) = self.budget.check() {
                let wait = early.wait_time_from(DefaultClock::default().now());
                let after_ms = i64::try_from(wait.as_millis()).ok();
                return Outcome::RetryAfter { after_ms, error: "rate_budget".into() };
            }
            self.sent(&body.to_string().into_bytes()).await
        })
    }
}

impl Fcm {
    async fn sent(&self, body: &[u8]) -> Outcome {
        let lane = self.lanes.pick();
        let sent = AtomicBool::new(false);
        match tokio::time::timeout(self.timeout, self.deliver(&lane.client, body, &sent)).await {
            Ok(outcome) => {
                lane.answered();
                outcome
            }
            Err(_) if sent.load(Ordering::Relaxed) => {
                lane.timed_out();
                Outcome::Unknown { error: "timeout".into() }
            }
            Err(_) => Outcome::RetryAfter { after_ms: None, error: "oauth_timeout".into() },
        }
    }

    /// Has Google judge a message (`validate_only`) that would go to nobody.
    async fn probe(&self) -> Result<Checked, CheckError> {
        let message = MessageBody::new(Receiver::topic(CHECK_TOPIC)).android(AndroidConfig::new().ttl(1));
        let body = json!({ "validate_only": true, "message": message }).to_string();
        let project = &self.project_id;
        let error = match self.sent(body.as_bytes()).await {
            Outcome::Accepted { .. } => {
                let message = format!("FCM takes the service account of project {project}");
                return Ok(Checked { message, vendor_ahead_ms: self.tokens.vendor_ahead_ms() });
            }
            Outcome::Rejected { error } | Outcome::TokenGone { error, .. } => {
                return Err(refusal(project, &error, self.tokens.vendor_ahead_ms()));
            }
            Outcome::RetryAfter { error, .. }
            | Outcome::Postponed { error, .. }
            | Outcome::Unknown { error }
            | Outcome::WrongEnvironment { error, .. } => error,
        };
        let mend = "let this machine reach fcm.googleapis.com and oauth2.googleapis.com on port 443, and try again";
        Err(CheckError::unreachable(format!("FCM could not be asked ({error})"), mend))
    }
}

fn refusal(project: &str, error: &str, vendor_ahead_ms: Option<i64>) -> CheckError {
    if let Some(clock) = transport::clock_is_off(vendor_ahead_ms) {
        return CheckError::refused(format!("Google refuses our log-in: {clock}"), "set the clock, best by NTP");
    }
    let mend = match error {
        "oauth_invalid_grant" => "the key was deleted or its account disabled: make a new key for the service account",
        error if error.starts_with("oauth_") => "download a new key file of the service account from Google",
        "PERMISSION_DENIED" | "SENDER_ID_MISMATCH" => {
            "give the service account the role Firebase Cloud Messaging API Admin in this project"
        }
        "UNAUTHENTICATED" => "the account is not known to this project: use the project's own service account",
        "NOT_FOUND" => "there is no such project: download the key file from the project that the app is in",
        _ => "switch on the Firebase Cloud Messaging API for the project, and look at the service account's roles",
    };
    CheckError::refused(format!("FCM refuses the service account of project {project} ({error})"), mend)
}

/// Google counts by the minute: a tenth of it may leave at once, the rest evenly.
fn budget(max_per_minute: u32) -> Option<DefaultDirectRateLimiter> {
    let at_once = NonZeroU32::new(max_per_minute / 10)?;
    let evenly = NonZeroU32::new(max_per_minute - max_per_minute / 10)?;
    Some(RateLimiter::direct(Quota::per_minute(evenly).allow_burst(at_once)))
}

/// The host that a key file logs in at, if the key in it signs.
pub fn log_in_host(service_account: &str) -> Result<String, FcmConfigError> {
    let account = ServiceAccount::parse("service_account", service_account)?;
    Ok(account.log_in_host())
}

fn post(
    http: &reqwest::Client,
    url: reqwest::Url,
    content_type: &'static str,
    body: impl Into<reqwest::Body>,
) -> reqwest::RequestBuilder {
    http.post(url).header(CONTENT_TYPE, content_type).body(body)
}

/// What an answer means, and whether a fresh access token may help. For `tests/fuzz`.
#[doc(hidden)]
pub fn understood(status: u16, retry_after: Option<&str>, body: &[u8], now_ms: i64) -> (Outcome, bool) {
    let reply = Reply { status, retry_after, body, now_ms };
    (reply.outcome(), reply.is_stale_token())
}

/// The request body for `send`, at most 4,096 bytes; `None` when not even its ids fit.
///
/// A data message: Android hands it to the app whatever state that is in, and the app shows it.
pub fn body(send: &PushSend) -> Option<Value> {
    let left_s = send.expires_at_ms.saturating_sub(send.envelope.at_ms) / 1000;
    let ttl_s = left_s.clamp(1, MAX_TTL_S) as usize;
    fit::fit(&send.push, |push| message(push, &send.token, ttl_s))
}

fn message(push: &Push, token: &str, ttl_s: usize) -> Value {
    let mut android = AndroidConfig::new().priority(AndroidMessagePriority::High).ttl(ttl_s);
    if !push.collapse_key.is_empty() {
        android = android.collapse_key(&push.collapse_key);
    }
    let message = MessageBody::new(Receiver::token(token))
        .data(Data(serde_json::to_string(push).expect("a push has string keys only")))
        .expect("the key is not one of Google's reserved ones")
        .android(android);
    json!({ "message": message })
}

/// The data map of our message: one key with a JSON string, since FCM carries strings only.
struct Data(String);

impl IntoFirebaseMap for Data {
    fn as_map(&self) -> FirebaseMap {
        let mut map = FirebaseMap::new();
        map.insert(PUSH_KEY, &self.0);
        map
    }
}
