//! The Google service account that sends: read and checked at start, turned into access tokens as they are needed.

use super::{FcmConfig, FcmConfigError, post};
use crate::clock::Clock;
use crate::providers::transport::{self, checked_url, read_bounded};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use tokio::sync::Mutex;

const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
/// The longest life Google grants an assertion.
const ASSERTION_LIFE_S: i64 = 3600;
/// A token is renewed this long before it expires, so that none expires on its way.
const RENEW_BEFORE_MS: i64 = 60_000;
/// A token lives an hour at Google; no answer makes us keep one longer than a day.
const MAX_TOKEN_LIFE_S: i64 = 86_400;

/// What of the key file is used.
#[derive(Deserialize)]
struct KeyFile {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    project_id: String,
    #[serde(default)]
    private_key_id: String,
    #[serde(default)]
    private_key: String,
    #[serde(default)]
    client_email: String,
    #[serde(default)]
    token_uri: String,
}

/// A service account whose key can sign.
pub(super) struct ServiceAccount {
    pub project_id: String,
    key: EncodingKey,
    key_id: String,
    client_email: String,
    token_uri: reqwest::Url,
}

#[derive(Serialize)]
struct Assertion<'a> {
    iss: &'a str,
    scope: &'a str,
    aud: &'a str,
    iat: i64,
    exp: i64,
}

impl ServiceAccount {
    pub(super) fn read(config: &FcmConfig) -> Result<ServiceAccount, FcmConfigError> {
        match (&config.service_account_file, &config.service_account) {
            (None, None) => Err(FcmConfigError::AccountMissing),
            (Some(_), Some(_)) => Err(FcmConfigError::AccountTwice),
            (Some(path), None) => {
                let json = std::fs::read_to_string(path).map_err(FcmConfigError::AccountUnreadable)?;
                Self::parse("service_account_file", &json)
            }
            (None, Some(json)) => Self::parse("service_account", json),
        }
    }

    pub(super) fn log_in_host(&self) -> String {
        // With the port, where it is not the scheme's own.
        self.token_uri.authority().to_owned()
    }

    pub(super) fn parse(key: &'static str, json: &str) -> Result<ServiceAccount, FcmConfigError> {
        let file: KeyFile = serde_json::from_str(json).map_err(|error| FcmConfigError::AccountNotJson {
            key,
            line: error.line(),
            column: error.column(),
        })?;
        if file.kind != "service_account" {
            return Err(FcmConfigError::AccountKind { key });
        }
        let fields = [
            ("project_id", &file.project_id),
            ("private_key", &file.private_key),
            ("client_email", &file.client_email),
            ("token_uri", &file.token_uri),
        ];
        if let Some((field, _)) = fields.iter().find(|(_, value)| value.is_empty()) {
            return Err(FcmConfigError::AccountField { key, field });
        }
        // It becomes a segment of a path.
        if !file.project_id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.:_".contains(&byte)) {
            return Err(FcmConfigError::AccountField { key, field: "project_id" });
        }
        let token_uri = checked_url(&file.token_uri).ok_or(FcmConfigError::AccountField { key, field: "token_uri" })?;
        let account = ServiceAccount {
            project_id: file.project_id,
            key: EncodingKey::from_rsa_pem(file.private_key.as_bytes())
                .map_err(|_| FcmConfigError::AccountKey { key })?,
            key_id: file.private_key_id,
            client_email: file.client_email,
            token_uri,
        };
        // A key can look right and still not sign; better now than at the first push.
        account.assertion(0).map_err(|_| FcmConfigError::AccountKey { key })?;
        Ok(account)
    }

    fn assertion(&self, now_ms: i64) -> jsonwebtoken::errors::Result<String> {
        let mut header = Header::new(Algorithm::RS256);
        header.kid = Some(self.key_id.clone()).filter(|id| !id.is_empty());
        let iat = now_ms / 1000;
        let claims = Assertion {
            iss: &self.client_email,
            scope: SCOPE,
            aud: self.token_uri.as_str(),
            iat,
            exp: iat + ASSERTION_LIFE_S,
        };
        jsonwebtoken::encode(&header, &claims, &self.key)
    }
}

/// An access token, and which of those obtained it is.
#[derive(Clone)]
pub(super) struct AccessToken {
    pub bearer: String,
    number: u64,
    renew_at_ms: i64,
}

/// Why there is no access token.
#[derive(Clone, Copy)]
pub(super) enum TokenError {
    /// Google knows the account, or its key, no longer: nothing but another configuration helps.
    Refused(&'static str),
    /// Try again.
    Unavailable(&'static str),
}

/// The account's access token: one at a time is asked for, and all who wait get that one answer.
pub(super) struct AccessTokens {
    account: ServiceAccount,
    http: reqwest::Client,
    clock: Arc<dyn Clock>,
    /// Requests answered so far, well or ill.
    answered: AtomicU64,
    latest: Mutex<Result<AccessToken, TokenError>>,
    /// Google's clock minus ours by its last answer; `i64::MIN` = it never told.
    ahead_ms: AtomicI64,
}

impl AccessTokens {
    pub(super) fn new(account: ServiceAccount, http: reqwest::Client, clock: Arc<dyn Clock>) -> AccessTokens {
        let latest = Mutex::new(Err(TokenError::Unavailable("oauth_not_asked")));
        AccessTokens { account, http, clock, answered: AtomicU64::new(0), latest, ahead_ms: AtomicI64::new(i64::MIN) }
    }

    /// Google's clock minus ours, by its last answer to a log-in.
    pub(super) fn vendor_ahead_ms(&self) -> Option<i64> {
        Some(self.ahead_ms.load(Ordering::Relaxed)).filter(|ms| *ms != i64::MIN)
    }

    /// A token that is good for a while. Whoever comes while it is being fetched waits for that fetch and shares what
    /// comes of it, so that a token server in trouble is asked once and not once per push.
    pub(super) async fn get(&self) -> Result<AccessToken, TokenError> {
        let answered_before = self.answered.load(Ordering::Acquire);
        let mut latest = self.latest.lock().await;
        let answered = self.answered.load(Ordering::Acquire);
        let still_good = matches!(&*latest, Ok(token) if self.clock.now_ms() < token.renew_at_ms);
        if still_good || answered != answered_before {
            return latest.clone();
        }
        let result = self.fetch(answered + 1).await;
        self.answered.store(answered + 1, Ordering::Release);
        latest.clone_from(&result);
        result
    }

    /// Forgets `refused`, unless a newer one has taken its place.
    pub(super) async fn drop_token(&self, refused: &AccessToken) {
        let mut latest = self.latest.lock().await;
        if matches!(&*latest, Ok(token) if token.number == refused.number) {
            *latest = Err(TokenError::Unavailable("oauth_token_dropped"));
        }
    }

    /// Google compares with its own wall clock.
    fn wall_ms(&self) -> i64 {
        self.clock.now_ms() + self.clock.wall_offset_ms()
    }

    async fn fetch(&self, number: u64) -> Result<AccessToken, TokenError> {
        let now_ms = self.clock.now_ms();
        let assertion = self.account.assertion(self.wall_ms()).map_err(|_| TokenError::Refused("oauth_key"))?;
        // The assertion is base64url and dots: nothing to escape.
        let form = format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}");
        let request = post(&self.http, self.account.token_uri.clone(), "application/x-www-form-urlencoded", form);
        let response = request.send().await.map_err(|_| TokenError::Unavailable("oauth_unreachable"))?;
        let status = response.status().as_u16();
        if let Some(ahead_ms) = transport::vendor_ahead_ms(response.headers(), self.wall_ms()) {
            self.ahead_ms.store(ahead_ms, Ordering::Relaxed);
        }
        let body = read_bounded(response).await;
        match token_of(status, &body, number, now_ms) {
            // Google says the same of a clock that is off as of a deleted key.
            Err(TokenError::Refused("oauth_invalid_grant"))
                if transport::clock_is_off(self.vendor_ahead_ms()).is_some() =>
            {
                Err(TokenError::Refused("oauth_clock_is_off"))
            }
            result => result,
        }
    }
}

#[derive(Deserialize)]
struct TokenReply {
    access_token: String,
    #[serde(default)]
    expires_in: i64,
}

#[derive(Deserialize)]
struct TokenRefusal {
    error: String,
}

fn token_of(status: u16, body: &[u8], number: u64, now_ms: i64) -> Result<AccessToken, TokenError> {
    match status {
        200 => {
            let reply: TokenReply =
                serde_json::from_slice(body).map_err(|_| TokenError::Unavailable("oauth_unreadable_answer"))?;
            if reply.access_token.is_empty() || !reply.access_token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(TokenError::Unavailable("oauth_unreadable_answer"));
            }
            let life_ms = reply.expires_in.clamp(0, MAX_TOKEN_LIFE_S) * 1000;
            Ok(AccessToken { bearer: reply.access_token, number, renew_at_ms: now_ms + life_ms - RENEW_BEFORE_MS })
        }
        400 | 401 | 403 => match serde_json::from_slice::<TokenRefusal>(body).as_ref().map(|refusal| &*refusal.error) {
            // RFC 6749, 5.2. A node whose clock is off by minutes gets `invalid_grant`, too.
            Ok("invalid_grant") => Err(TokenError::Refused("oauth_invalid_grant")),
            Ok("invalid_client") => Err(TokenError::Refused("oauth_invalid_client")),
            Ok("unauthorized_client") => Err(TokenError::Refused("oauth_unauthorized_client")),
            Ok("access_denied") => Err(TokenError::Refused("oauth_access_denied")),
            _ => Err(TokenError::Refused("oauth_refused")),
        },
        429 => Err(TokenError::Unavailable("oauth_rate_limited")),
        _ => Err(TokenError::Unavailable("oauth_failed")),
    }
}
