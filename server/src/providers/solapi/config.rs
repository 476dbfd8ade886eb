//! `[providers.solapi]`, and what is wrong with it.

use super::callback::Secret;
use super::number;
use crate::providers::transport;
use reqwest::Url;
use reqwest::header::HeaderName;
use serde::Deserialize;
use std::num::NonZeroU32;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// What Solapi calls the header that proves its calls.
pub(super) const DEFAULT_SECRET_HEADER: &str = "x-solapi-secret";
/// Shorter ones are guessed.
const MIN_WEBHOOK_SECRET_CHARS: usize = 16;

/// `[providers.solapi]`: the deployment's account for texts and Alimtalk to Korea.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SolapiConfig {
    /// Names the account.
    pub api_key: String,
    /// Secret.
    pub api_secret: Option<String>,
    /// Holds the secret instead.
    pub api_secret_file: Option<PathBuf>,
    /// The number that texts come from, as registered.
    pub from: String,
    /// Every number that this account may send from; empty = Solapi alone judges.
    pub registered_senders: Vec<String>,
    /// Proves Solapi's calls; unset = it does not call.
    pub webhook_secret: Option<String>,
    /// Holds that secret instead.
    pub webhook_secret_file: Option<PathBuf>,
    /// The header that it comes in.
    pub webhook_secret_header: String,
    /// Where Solapi answers; `http` only for this very machine.
    pub base_url: String,
    /// For one text.
    pub timeout_ms: u64,
    /// Texts a second, at most.
    pub max_per_second: Option<NonZeroU32>,
}

impl Default for SolapiConfig {
    fn default() -> Self {
        SolapiConfig {
            api_key: String::new(),
            api_secret: None,
            api_secret_file: None,
            from: String::new(),
            registered_senders: Vec::new(),
            webhook_secret: None,
            webhook_secret_file: None,
            webhook_secret_header: DEFAULT_SECRET_HEADER.into(),
            base_url: "https://api.solapi.com".into(),
            timeout_ms: 10_000,
            max_per_second: None,
        }
    }
}

impl std::fmt::Debug for SolapiConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SolapiConfig").field("base_url", &self.base_url).finish_non_exhaustive()
    }
}

/// What is wrong with `[providers.solapi]`, and what mends it. Never quotes a value.
#[derive(Debug, thiserror::Error)]
pub enum SolapiConfigError {
    /// Not an account.
    #[error("[providers.solapi] api_key is missing or none: copy it from Solapi's console, letters and digits")]
    ApiKey,
    /// No secret.
    #[error("[providers.solapi] {0} is missing: {1}")]
    SecretMissing(&'static str, &'static str),
    /// Two secrets.
    #[error("[providers.solapi] {0} and {0}_file are both set: keep one")]
    SecretTwice(&'static str),
    /// A file that cannot be read.
    #[error("[providers.solapi] {0}_file cannot be read ({1}): name a file that this user may read")]
    SecretFile(&'static str, #[source] std::io::Error),
    /// A secret that is guessed.
    #[error("[providers.solapi] webhook_secret is shorter than 16 characters: whoever guesses it reports as Solapi")]
    SecretShort,
    /// Not a header.
    #[error("[providers.solapi] webhook_secret_header is no name of a header: leave it out for x-solapi-secret")]
    Header,
    /// Not a number.
    #[error("[providers.solapi] {0} holds what is no Korean number: write it as registered, such as 0212345678")]
    Number(&'static str),
    /// A number that is not in the list.
    #[error("[providers.solapi] from is not among registered_senders: add it there, or leave the list empty")]
    Unregistered,
    /// Not a usable URL.
    #[error(
        "[providers.solapi] base_url must be an https:// address, or http:// on this machine, without path or user"
    )]
    BaseUrl,
    /// Out of range.
    #[error("[providers.solapi] timeout_ms must be 100 to 60000")]
    Timeout,
    /// TLS roots or the like.
    #[error(
        "[providers.solapi] the HTTPS client cannot start ({0}): check the machine's certificates and proxy settings"
    )]
    Client(#[source] reqwest::Error),
}

/// The account as it is used; numbers in E.164.
pub(super) struct Checked {
    pub(super) api_secret: Zeroizing<String>,
    pub(super) from: String,
    pub(super) registered: Vec<String>,
    pub(super) webhook: Option<Secret>,
    pub(super) base_url: Url,
}

pub(super) fn check(config: &SolapiConfig) -> Result<Checked, SolapiConfigError> {
    let key = &config.api_key;
    if !(8..=64).contains(&key.len()) || !key.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(SolapiConfigError::ApiKey);
    }
    if !(100..=60_000).contains(&config.timeout_ms) {
        return Err(SolapiConfigError::Timeout);
    }
    let from = e164(&config.from).ok_or(SolapiConfigError::Number("from"))?;
    let registered = config.registered_senders.iter().map(|number| e164(number)).collect::<Option<Vec<_>>>();
    let registered = registered.ok_or(SolapiConfigError::Number("registered_senders"))?;
    if !registered.is_empty() && !registered.contains(&from) {
        return Err(SolapiConfigError::Unregistered);
    }
    let copy = "copy it from Solapi's console, best into api_secret_file";
    let api_secret = secret("api_secret", config.api_secret.as_deref(), config.api_secret_file.as_ref())?
        .ok_or(SolapiConfigError::SecretMissing("api_secret", copy))?;
    Ok(Checked {
        api_secret,
        from,
        registered,
        webhook: webhook(config)?,
        base_url: transport::checked_host(&config.base_url).ok_or(SolapiConfigError::BaseUrl)?,
    })
}

fn webhook(config: &SolapiConfig) -> Result<Option<Secret>, SolapiConfigError> {
    let header = HeaderName::from_bytes(config.webhook_secret_header.as_bytes());
    let header = header.map_err(|_| SolapiConfigError::Header)?;
    let given = secret("webhook_secret", config.webhook_secret.as_deref(), config.webhook_secret_file.as_ref())?;
    match given {
        Some(secret) if secret.chars().count() < MIN_WEBHOOK_SECRET_CHARS => Err(SolapiConfigError::SecretShort),
        given => Ok(given.map(|secret| Secret::new(header.as_str(), &secret))),
    }
}

/// `None` = neither is set.
fn secret(
    key: &'static str,
    given: Option<&str>,
    file: Option<&PathBuf>,
) -> Result<Option<Zeroizing<String>>, SolapiConfigError> {
    let secret = match (given, file) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => return Err(SolapiConfigError::SecretTwice(key)),
        (Some(secret), None) => Zeroizing::new(secret.to_owned()),
        (None, Some(path)) => {
            let read = std::fs::read_to_string(path);
            Zeroizing::new(read.map_err(|error| SolapiConfigError::SecretFile(key, error))?)
        }
    };
    match secret.trim() {
        "" => Err(SolapiConfigError::SecretMissing(key, "it is empty")),
        secret => Ok(Some(Zeroizing::new(secret.to_owned()))),
    }
}

/// As registered, or with the calling code.
fn e164(number: &str) -> Option<String> {
    match number.strip_prefix('+') {
        Some(_) => number::national(number).map(|_| number.to_owned()),
        None => number::e164(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> SolapiConfig {
        SolapiConfig {
            api_key: "NCSAYU7YDBXYORXC".into(),
            api_secret: Some("hidden".into()),
            from: "02-1234-5678".into(),
            ..SolapiConfig::default()
        }
    }

    /// P12: half an account is refused at start, and the message names the key.
    #[test]
    fn half_an_account_is_refused() {
        assert_eq!(check(&config()).map(|checked| checked.from).unwrap(), "+82212345678");
        assert!(check(&SolapiConfig { from: "+82212345678".into(), ..config() }).is_ok());
        assert!(check(&SolapiConfig { webhook_secret: Some("0123456789abcdef".into()), ..config() }).is_ok());
        let numbers = |number: &str| vec![number.to_owned()];
        let file = || Some("/none".into());
        for (wrong, key) in [
            (SolapiConfig { api_key: "a b".into(), ..config() }, "api_key"),
            (SolapiConfig { api_secret: None, ..config() }, "api_secret is missing"),
            (SolapiConfig { api_secret: Some(" \n".into()), ..config() }, "api_secret is missing"),
            (SolapiConfig { api_secret_file: file(), ..config() }, "both set"),
            (SolapiConfig { api_secret: None, api_secret_file: file(), ..config() }, "api_secret_file cannot be read"),
            (SolapiConfig { webhook_secret_file: file(), ..config() }, "webhook_secret_file cannot be read"),
            (SolapiConfig { webhook_secret: Some("hidden".into()), ..config() }, "shorter than 16"),
            (SolapiConfig { webhook_secret_header: "a b".into(), ..config() }, "webhook_secret_header"),
            (SolapiConfig { from: String::new(), ..config() }, "from holds"),
            (SolapiConfig { from: "+14155550100".into(), ..config() }, "from holds"),
            (SolapiConfig { registered_senders: numbers("x"), ..config() }, "registered_senders holds"),
            (SolapiConfig { registered_senders: numbers("15881234"), ..config() }, "not among registered_senders"),
            (SolapiConfig { base_url: "http://api.solapi.com".into(), ..config() }, "base_url"),
            (SolapiConfig { timeout_ms: 99, ..config() }, "timeout_ms"),
        ] {
            let error = check(&wrong).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.starts_with("[providers.solapi] ") && error.contains(key), "{key}: {error}");
            assert!(!error.contains("hidden"));
        }
    }
}
