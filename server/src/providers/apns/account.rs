//! The Apple key that sends, and the way to Apple: read and checked before anything leaves.

use super::key::{self, KeyError};
use super::token::ProviderTokens;
use crate::clock::Clock;
use crate::providers::Rate;
use crate::providers::transport::{self, Lanes};
use backstop_wire::Environment;
use reqwest::Url;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// Apple's ids of teams and keys.
const APPLE_ID_CHARS: usize = 10;
/// A key may be limited to some of a team's apps; more topics than that are several credentials.
const MAX_TOPICS: usize = 100;
const MAX_TOPIC_BYTES: usize = 255;

/// `[apns]`: the deployment's default account, and the way to Apple for every app's.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApnsConfig {
    /// The .p8 file as Apple hands it out.
    pub key_file: Option<PathBuf>,
    /// Its content instead; secret.
    pub key: Option<String>,
    /// Which key it is.
    pub key_id: String,
    /// Whose.
    pub team_id: String,
    /// Of devices that name none.
    pub environment: Environment,
    /// The bundle ids it may push to; empty = any. The only one serves devices that name none.
    pub topics: Vec<String>,
    /// Where the production environment answers; `http` only for this very machine.
    pub base_url: String,
    /// The same of the sandbox environment.
    pub sandbox_base_url: String,
    /// HTTP/2 connections to each environment.
    pub connections: usize,
    /// A connection is asked for a sign of life this often.
    pub ping_interval_ms: u64,
    /// And given up when none comes within this.
    pub ping_timeout_ms: u64,
    /// For one push.
    pub timeout_ms: u64,
    /// Pushes a second by one key, at most.
    pub max_per_second: Option<NonZeroU32>,
    /// PEM certificates to trust besides the system's.
    pub ca_file: Option<PathBuf>,
}

impl Default for ApnsConfig {
    fn default() -> Self {
        ApnsConfig {
            key_file: None,
            key: None,
            key_id: String::new(),
            team_id: String::new(),
            environment: Environment::Production,
            topics: Vec::new(),
            base_url: "https://api.push.apple.com".into(),
            sandbox_base_url: "https://api.sandbox.push.apple.com".into(),
            connections: 2,
            ping_interval_ms: 30_000,
            ping_timeout_ms: 10_000,
            timeout_ms: 10_000,
            max_per_second: None,
            ca_file: None,
        }
    }
}

impl std::fmt::Debug for ApnsConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApnsConfig").field("base_url", &self.base_url).finish_non_exhaustive()
    }
}

/// One key of one team.
#[derive(Clone)]
pub struct ApnsCredential {
    /// Ten characters.
    pub team_id: String,
    /// Ten characters.
    pub key_id: String,
    /// The .p8 file, as it is.
    pub key: Vec<u8>,
    /// Where a push goes whose device names no environment.
    pub environment: Environment,
    /// The bundle ids it may push to; empty = any. The only one serves devices that name none.
    pub topics: Vec<String>,
}

/// What is wrong with a credential, and what mends it. Never quotes the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApnsCredentialError {
    /// Not ten characters.
    #[error(
        "team_id must be the {APPLE_ID_CHARS} characters of your team, from Membership details in your Apple account"
    )]
    TeamId,
    /// Not ten characters.
    #[error("key_id must be the {APPLE_ID_CHARS} characters of the key, as in the file's name AuthKey_XXXXXXXXXX.p8")]
    KeyId,
    /// Not a .p8.
    #[error("key {0}")]
    Key(#[from] KeyError),
    /// Not a bundle id.
    #[error("topics must be up to {MAX_TOPICS} bundle ids such as com.example.shop (letters, digits, dots, hyphens)")]
    Topics,
}

impl ApnsCredentialError {
    /// The field that is at fault.
    pub fn field(&self) -> &'static str {
        match self {
            ApnsCredentialError::TeamId => "team_id",
            ApnsCredentialError::KeyId => "key_id",
            ApnsCredentialError::Key(_) => "key",
            ApnsCredentialError::Topics => "topics",
        }
    }
}

/// What is wrong with `[apns]`, and what mends it. Never quotes a value.
#[derive(Debug, thiserror::Error)]
pub enum ApnsConfigError {
    /// The section is there, the key is not.
    #[error("[apns] key_file is missing: name the .p8 file of the signing key, or leave out the section")]
    KeyMissing,
    /// Two keys.
    #[error("[apns] key and key_file are both set: keep one")]
    KeyTwice,
    /// No such file, or not ours to read.
    #[error("[apns] key_file cannot be read ({0}): name the .p8 file, readable by this user")]
    KeyUnreadable(#[source] std::io::Error),
    /// The account.
    #[error("[apns] {0}")]
    Credential(#[from] ApnsCredentialError),
    /// Not a usable URL.
    #[error("[apns] {key} must be an https:// address, or http:// on this machine, without path or user")]
    BaseUrl {
        /// Which of the two.
        key: &'static str,
    },
    /// Out of range.
    #[error("[apns] {key} must be {range}")]
    Range {
        /// Which key.
        key: &'static str,
        /// From where to where.
        range: &'static str,
    },
    /// No such file, or not ours to read.
    #[error("[apns] ca_file cannot be read ({0}): name a file with PEM certificates, readable by this user")]
    CaUnreadable(#[source] std::io::Error),
    /// No certificates in it.
    #[error("[apns] ca_file holds no PEM certificate: each begins with -----BEGIN CERTIFICATE-----")]
    CaEmpty,
    /// TLS roots or the like.
    #[error("[apns] the HTTPS client cannot start ({0}): check the machine's certificates and proxy settings")]
    Client(#[source] reqwest::Error),
}

impl ApnsConfig {
    /// The deployment's account; whatever is half-configured is an error (P12).
    pub fn credential(&self) -> Result<ApnsCredential, ApnsConfigError> {
        let key = match (&self.key_file, &self.key) {
            (None, None) => return Err(ApnsConfigError::KeyMissing),
            (Some(_), Some(_)) => return Err(ApnsConfigError::KeyTwice),
            (Some(path), None) => std::fs::read(path).map_err(ApnsConfigError::KeyUnreadable)?,
            (None, Some(text)) => text.clone().into_bytes(),
        };
        Ok(ApnsCredential {
            team_id: self.team_id.clone(),
            key_id: self.key_id.clone(),
            key,
            environment: self.environment,
            topics: self.topics.clone(),
        })
    }
}

/// The way to Apple, shared by all credentials: hosts, numbers, and the provider tokens that are in use.
pub struct ApnsNet {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) timeout: Duration,
    hosts: [Url; 2],
    config: ApnsConfig,
    certificates: Vec<reqwest::Certificate>,
    tokens: Mutex<HashMap<[u8; 32], Weak<ProviderTokens>>>,
}

impl ApnsNet {
    /// Checks the keys of `config` that are about the way; the account may be missing.
    pub fn from_config(config: &ApnsConfig, clock: Arc<dyn Clock>) -> Result<ApnsNet, ApnsConfigError> {
        let host = |key, url| transport::checked_host(url).ok_or(ApnsConfigError::BaseUrl { key });
        let hosts = [host("base_url", &config.base_url)?, host("sandbox_base_url", &config.sandbox_base_url)?];
        let must = |holds: bool, key, range| if holds { Ok(()) } else { Err(ApnsConfigError::Range { key, range }) };
        must((1..=16).contains(&config.connections), "connections", "1 to 16")?;
        must((100..=3_600_000).contains(&config.ping_interval_ms), "ping_interval_ms", "100 to 3600000 (an hour)")?;
        must((100..=60_000).contains(&config.ping_timeout_ms), "ping_timeout_ms", "100 to 60000")?;
        must((100..=60_000).contains(&config.timeout_ms), "timeout_ms", "100 to 60000")?;
        let certificates = match &config.ca_file {
            Some(path) => {
                let pem = std::fs::read(path).map_err(ApnsConfigError::CaUnreadable)?;
                reqwest::Certificate::from_pem_bundle(&pem).map_err(|_| ApnsConfigError::CaEmpty)?
            }
            None => Vec::new(),
        };
        if config.ca_file.is_some() && certificates.is_empty() {
            return Err(ApnsConfigError::CaEmpty);
        }
        let timeout = Duration::from_millis(config.timeout_ms);
        let config = ApnsConfig { key: None, ..config.clone() };
        Ok(ApnsNet { clock, timeout, hosts, config, certificates, tokens: Mutex::default() })
    }

    pub(super) fn rate(&self) -> Option<Rate> {
        self.config.max_per_second.map(Rate::PerSecond)
    }

    pub(super) fn host(&self, environment: Environment) -> &Url {
        match environment {
            Environment::Production => &self.hosts[0],
            Environment::Sandbox => &self.hosts[1],
        }
    }

    /// Connections of one credential to one environment; nothing is connected yet.
    pub(super) fn lanes(&self, environment: Environment) -> Result<Lanes, reqwest::Error> {
        let (base, config, certificates) = (self.host(environment).clone(), &self.config, self.certificates.clone());
        let every = Duration::from_millis(config.ping_interval_ms);
        let (within, timeout_ms) = (Duration::from_millis(config.ping_timeout_ms), config.timeout_ms);
        let build = move || {
            // HTTP/2 and nothing else: TLS offers no other by ALPN, and a loopback without TLS speaks it at once.
            let builder = transport::builder(&base, timeout_ms)
                .http2_prior_knowledge()
                .http2_keep_alive_interval(every)
                .http2_keep_alive_timeout(within)
                .http2_keep_alive_while_idle(true)
                .pool_idle_timeout(None);
            let extra = !certificates.is_empty();
            if extra { builder.tls_certs_merge(certificates.clone()) } else { builder }.build()
        };
        Lanes::new("apns", self.config.connections, build)
    }

    /// The tokens of this key: the same for whoever uses it, since Apple counts how often a team changes its token.
    pub(super) fn tokens(&self, credential: &ApnsCredential) -> Result<Arc<ProviderTokens>, ApnsCredentialError> {
        let key = key::read(&credential.key)?;
        let mut digest = Sha256::new();
        for part in [credential.team_id.as_bytes(), credential.key_id.as_bytes(), &credential.key] {
            digest.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            digest.update(part);
        }
        let digest: [u8; 32] = digest.finalize().into();
        let mut known = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, tokens| tokens.strong_count() > 0);
        if let Some(tokens) = known.get(&digest).and_then(Weak::upgrade) {
            return Ok(tokens);
        }
        let tokens = ProviderTokens::new(key, &credential.key_id, &credential.team_id, self.clock.clone());
        // A key can look right and still not sign; better now than at the first push.
        let tokens = Arc::new(tokens.map_err(|_| KeyError::Damaged)?);
        known.insert(digest, Arc::downgrade(&tokens));
        Ok(tokens)
    }
}

impl ApnsCredential {
    /// Whether it can sign.
    pub fn validate(&self) -> Result<(), ApnsCredentialError> {
        self.checked()?;
        key::read(&self.key)?;
        Ok(())
    }

    pub(super) fn checked(&self) -> Result<(), ApnsCredentialError> {
        let is_id = |id: &str| {
            id.len() == APPLE_ID_CHARS && id.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
        };
        if !is_id(&self.team_id) {
            return Err(ApnsCredentialError::TeamId);
        }
        if !is_id(&self.key_id) {
            return Err(ApnsCredentialError::KeyId);
        }
        if self.topics.len() > MAX_TOPICS || !self.topics.iter().all(|topic| is_topic(topic)) {
            return Err(ApnsCredentialError::Topics);
        }
        Ok(())
    }
}

/// A bundle id, which becomes a header.
pub(super) fn is_topic(topic: &str) -> bool {
    (1..=MAX_TOPIC_BYTES).contains(&topic.len())
        && topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}
