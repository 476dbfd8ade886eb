//! `[providers.gateway]`, and what is wrong with it.

use crate::providers::transport;
use crate::signing::Secret;
use backstop_domain::text::{Country, Reach};
use reqwest::Url;
use serde::Deserialize;
use std::num::NonZeroU32;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// `[providers.gateway]`: a gateway of the deployment's own choice.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GatewayConfig {
    /// Where texts are posted; `http` only for this very machine.
    pub url: String,
    /// Secret, `whsec_…`: signs both ways.
    pub secret: Option<String>,
    /// Holds the secret instead.
    pub secret_file: Option<PathBuf>,
    /// How the gateway is named in `/in/gateway/…`.
    pub account: String,
    /// The number that texts come from, E.164.
    pub from: Option<String>,
    /// Every number that the gateway may send from; empty = it judges by itself.
    pub registered_senders: Vec<String>,
    /// Whether it counts in bytes of CP949 and carries LMS, to Korean numbers.
    pub korean: bool,
    /// Where it delivers; empty = everywhere.
    pub countries: Vec<String>,
    /// Whether it sends one text for one id, however often it is posted.
    pub idempotent: bool,
    /// For one text.
    pub timeout_ms: u64,
    /// Texts a second, at most.
    pub max_per_second: Option<NonZeroU32>,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        GatewayConfig {
            url: String::new(),
            secret: None,
            secret_file: None,
            account: "default".into(),
            from: None,
            registered_senders: Vec::new(),
            korean: false,
            countries: Vec::new(),
            idempotent: true,
            timeout_ms: 10_000,
            max_per_second: None,
        }
    }
}

impl std::fmt::Debug for GatewayConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GatewayConfig").field("account", &self.account).finish_non_exhaustive()
    }
}

/// What is wrong with `[providers.gateway]`, and what mends it. Never quotes a value.
#[derive(Debug, thiserror::Error)]
pub enum GatewayConfigError {
    /// Not a usable URL.
    #[error(
        "[providers.gateway] url must be an https:// address, or http:// on this machine, without user and password"
    )]
    Url,
    /// No secret.
    #[error("[providers.gateway] secret is missing: give both sides one, whsec_ and the base64 of 32 random bytes")]
    SecretMissing,
    /// Two secrets.
    #[error("[providers.gateway] secret and secret_file are both set: keep one")]
    SecretTwice,
    /// A file that cannot be read.
    #[error("[providers.gateway] secret_file cannot be read ({0}): name a file that this user may read")]
    SecretFile(#[source] std::io::Error),
    /// Not a secret.
    #[error("[providers.gateway] secret is none: it must be whsec_ and the base64 of 24 to 64 random bytes")]
    Secret,
    /// Not a name.
    #[error("[providers.gateway] account must be 1 to 64 of a-z, 0-9 and -: it is part of the report URL's path")]
    Account,
    /// Not a number.
    #[error("[providers.gateway] {0} holds what is no number: write it in full, such as +14155550100")]
    Number(&'static str),
    /// A number that is not in the list.
    #[error("[providers.gateway] from is not among registered_senders: add it there, or leave the list empty")]
    Unregistered,
    /// Not a country.
    #[error("[providers.gateway] countries holds what is no country: write ISO 3166 codes such as JP")]
    Country,
    /// Out of range.
    #[error("[providers.gateway] timeout_ms must be 100 to 60000")]
    Timeout,
    /// TLS roots or the like.
    #[error(
        "[providers.gateway] the HTTPS client cannot start ({0}): check the machine's certificates and proxy settings"
    )]
    Client(#[source] reqwest::Error),
}

/// The gateway as it is used.
pub(super) struct Checked {
    pub(super) url: Url,
    pub(super) secret: Secret,
    pub(super) reach: Reach,
}

pub(super) fn check(config: &GatewayConfig) -> Result<Checked, GatewayConfigError> {
    let url = transport::checked_url(&config.url).ok_or(GatewayConfigError::Url)?;
    let named = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !(1..=64).contains(&config.account.len()) || !config.account.bytes().all(named) {
        return Err(GatewayConfigError::Account);
    }
    if !(100..=60_000).contains(&config.timeout_ms) {
        return Err(GatewayConfigError::Timeout);
    }
    if !config.registered_senders.iter().all(|number| is_number(number)) {
        return Err(GatewayConfigError::Number("registered_senders"));
    }
    if let Some(from) = &config.from {
        if !is_number(from) {
            return Err(GatewayConfigError::Number("from"));
        }
        if !config.registered_senders.is_empty() && !config.registered_senders.contains(from) {
            return Err(GatewayConfigError::Unregistered);
        }
    }
    let countries: Option<Vec<Country>> = config.countries.iter().map(|code| Country::parse(code)).collect();
    let reach = match countries.ok_or(GatewayConfigError::Country)? {
        countries if countries.is_empty() => Reach::Anybody,
        countries => Reach::Countries(countries),
    };
    Ok(Checked { url, secret: secret(config)?, reach })
}

fn secret(config: &GatewayConfig) -> Result<Secret, GatewayConfigError> {
    let text = match (&config.secret, &config.secret_file) {
        (Some(_), Some(_)) => return Err(GatewayConfigError::SecretTwice),
        (None, Some(path)) => Zeroizing::new(std::fs::read_to_string(path).map_err(GatewayConfigError::SecretFile)?),
        (text, None) => Zeroizing::new(text.clone().unwrap_or_default()),
    };
    match text.trim() {
        "" => Err(GatewayConfigError::SecretMissing),
        text => Secret::parse(text).ok_or(GatewayConfigError::Secret),
    }
}

/// E.164, or a short code.
fn is_number(number: &str) -> bool {
    let (digits, range) = match number.strip_prefix('+') {
        Some(digits) => (digits, 7..=15),
        None => (number, 3..=8),
    };
    range.contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> GatewayConfig {
        GatewayConfig {
            url: "https://gateway.test/backstop".into(),
            secret: Some("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into()),
            from: Some("+14155550100".into()),
            ..GatewayConfig::default()
        }
    }

    /// P12: half a gateway is refused at start, and the message names the key.
    #[test]
    fn p12_half_a_gateway_is_refused() {
        assert!(check(&config()).is_ok());
        assert!(check(&GatewayConfig { url: "http://127.0.0.1:8000/x?y=z".into(), from: None, ..config() }).is_ok());
        let countries = |codes: &[&str]| codes.iter().map(|code| (*code).to_owned()).collect::<Vec<_>>();
        let reach = check(&GatewayConfig { countries: countries(&["JP", "TH"]), ..config() }).unwrap().reach;
        assert!(matches!(reach, Reach::Countries(countries) if countries.len() == 2));
        for (wrong, key) in [
            (GatewayConfig { url: String::new(), ..config() }, "url"),
            (GatewayConfig { url: "http://gateway.test/".into(), ..config() }, "url"),
            (GatewayConfig { url: "https://a:b@gateway.test/".into(), ..config() }, "url"),
            (GatewayConfig { secret: None, ..config() }, "secret is missing"),
            (GatewayConfig { secret: Some("hunter2".into()), ..config() }, "secret is none"),
            (GatewayConfig { secret_file: Some("/none".into()), ..config() }, "both set"),
            (GatewayConfig { secret: None, secret_file: Some("/none".into()), ..config() }, "cannot be read"),
            (GatewayConfig { account: "My Gateway".into(), ..config() }, "account"),
            (GatewayConfig { account: String::new(), ..config() }, "account"),
            (GatewayConfig { from: Some("Acme".into()), ..config() }, "from holds"),
            (GatewayConfig { registered_senders: vec!["1".into()], ..config() }, "registered_senders holds"),
            (GatewayConfig { registered_senders: vec!["+14155550101".into()], ..config() }, "not among"),
            (GatewayConfig { countries: countries(&["Japan"]), ..config() }, "countries"),
            (GatewayConfig { timeout_ms: 60_001, ..config() }, "timeout_ms"),
        ] {
            let error = check(&wrong).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.starts_with("[providers.gateway] ") && error.contains(key), "{key}: {error}");
            assert!(!error.contains("hunter2"));
        }
    }
}
