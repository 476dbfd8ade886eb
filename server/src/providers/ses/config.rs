//! `[providers.ses]`, and what is wrong with it.

use super::sign::Signer;
use crate::providers::mail::Sender;
use crate::providers::transport;
use reqwest::Url;
use serde::Deserialize;
use std::num::NonZeroU32;
use std::path::PathBuf;
use zeroize::Zeroizing;

const MAX_TOPICS: usize = 20;

/// `[providers.ses]`: the deployment's account for mail, instead of `[providers.smtp]`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SesConfig {
    /// `eu-central-1`.
    pub region: String,
    /// `AKIA…`.
    pub access_key_id: String,
    /// Secret.
    pub secret_access_key: Option<String>,
    /// Holds the secret instead.
    pub secret_access_key_file: Option<PathBuf>,
    /// Of temporary credentials; secret.
    pub session_token: Option<String>,
    /// What publishes the events of our mail.
    pub configuration_set: Option<String>,
    /// The address that mail comes from, verified at SES; its domain is the one of our Message-IDs.
    pub from: String,
    /// The display name where a company has none.
    pub from_name: String,
    /// The SNS topics that may tell us something.
    pub topic_arns: Vec<String>,
    /// Where SES answers instead of the region's own address; `http` only for this very machine.
    pub base_url: Option<String>,
    /// Where SNS's certificates and confirmations are fetched instead of their own host, by the same path.
    pub sns_base_url: Option<String>,
    /// For one mail.
    pub timeout_ms: u64,
    /// Mails a second, at most.
    pub max_per_second: Option<NonZeroU32>,
}

impl Default for SesConfig {
    fn default() -> Self {
        SesConfig {
            region: String::new(),
            access_key_id: String::new(),
            secret_access_key: None,
            secret_access_key_file: None,
            session_token: None,
            configuration_set: None,
            from: String::new(),
            from_name: String::new(),
            topic_arns: Vec::new(),
            base_url: None,
            sns_base_url: None,
            timeout_ms: 10_000,
            max_per_second: None,
        }
    }
}

impl std::fmt::Debug for SesConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SesConfig").field("region", &self.region).finish_non_exhaustive()
    }
}

/// What is wrong with `[providers.ses]`, and what mends it. Never quotes a secret.
#[derive(Debug, thiserror::Error)]
pub enum SesConfigError {
    /// Two accounts for mail.
    #[error("[providers.smtp] and [providers.ses] are both set: mail leaves by one of them, remove the other")]
    SmtpToo,
    /// Not a region.
    #[error("[providers.ses] region is missing or none: name the AWS region that sends, such as eu-central-1")]
    Region,
    /// No key.
    #[error("[providers.ses] access_key_id is missing or none: copy it from IAM, AKIA… or ASIA…")]
    KeyId,
    /// No secret.
    #[error("[providers.ses] secret_access_key is missing: copy it from IAM, best into secret_access_key_file")]
    SecretMissing,
    /// Two secrets.
    #[error("[providers.ses] secret_access_key and secret_access_key_file are both set: keep one")]
    SecretTwice,
    /// A file that cannot be read.
    #[error("[providers.ses] secret_access_key_file cannot be read ({0}): name a file that this user may read")]
    SecretFile(#[source] std::io::Error),
    /// Temporary credentials without their token.
    #[error("[providers.ses] session_token is missing: a key that begins with ASIA is temporary and needs it")]
    TokenMissing,
    /// Not a name.
    #[error("[providers.ses] configuration_set is none: letters, digits, - and _, at most 64")]
    ConfigurationSet,
    /// Not an address.
    #[error("[providers.ses] from is missing or no address: name the address that mail comes from")]
    From,
    /// Not a display name.
    #[error("[providers.ses] from_name holds control characters: write it on one line")]
    FromName,
    /// Not a topic.
    #[error("[providers.ses] topic_arns holds what is no topic: write arn:aws:sns:REGION:ACCOUNT:NAME, at most 20")]
    Topic,
    /// Not a usable URL.
    #[error("[providers.ses] {0} must be an https:// address, or http:// on this machine, without path or user")]
    BaseUrl(&'static str),
    /// Out of range.
    #[error("[providers.ses] timeout_ms must be 100 to 60000")]
    Timeout,
    /// TLS roots or the like.
    #[error("[providers.ses] the HTTPS client cannot start ({0}): check the machine's certificates and proxy settings")]
    Client(#[source] reqwest::Error),
}

/// The account as it is used.
pub(super) struct Checked {
    pub(super) base: Url,
    pub(super) sns_base: Option<Url>,
    pub(super) signer: Signer,
    pub(super) sender: Sender,
}

pub(super) fn check(config: &SesConfig) -> Result<Checked, SesConfigError> {
    let region = &config.region;
    if !is_region(region) {
        return Err(SesConfigError::Region);
    }
    if !(100..=60_000).contains(&config.timeout_ms) {
        return Err(SesConfigError::Timeout);
    }
    let is_name = |name: &String| {
        (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    if !config.configuration_set.as_ref().is_none_or(is_name) {
        return Err(SesConfigError::ConfigurationSet);
    }
    if config.topic_arns.len() > MAX_TOPICS || !config.topic_arns.iter().all(|arn| is_topic(arn)) {
        return Err(SesConfigError::Topic);
    }
    if config.from_name.contains(char::is_control) {
        return Err(SesConfigError::FromName);
    }
    let address = config.from.parse().map_err(|_| SesConfigError::From)?;
    let tld = if region.starts_with("cn-") { "com.cn" } else { "com" };
    let own = format!("https://email.{region}.amazonaws.{tld}");
    let base = transport::checked_host(config.base_url.as_deref().unwrap_or(&own));
    let sns_base = config.sns_base_url.as_deref().map(|url| transport::checked_host(url).ok_or("sns_base_url"));
    Ok(Checked {
        base: base.ok_or(SesConfigError::BaseUrl("base_url"))?,
        sns_base: sns_base.transpose().map_err(SesConfigError::BaseUrl)?,
        signer: signer(config)?,
        sender: Sender { address, name: config.from_name.trim().to_owned() },
    })
}

fn signer(config: &SesConfig) -> Result<Signer, SesConfigError> {
    let key_id = config.access_key_id.trim();
    if !(16..=128).contains(&key_id.len()) || !key_id.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()) {
        return Err(SesConfigError::KeyId);
    }
    let secret = match (&config.secret_access_key, &config.secret_access_key_file) {
        (Some(_), Some(_)) => return Err(SesConfigError::SecretTwice),
        (None, Some(path)) => Zeroizing::new(std::fs::read_to_string(path).map_err(SesConfigError::SecretFile)?),
        (secret, None) => Zeroizing::new(secret.clone().unwrap_or_default()),
    };
    let token = config.session_token.as_deref().map(str::trim).filter(|token| !token.is_empty());
    match secret.trim() {
        "" => Err(SesConfigError::SecretMissing),
        _ if key_id.starts_with("ASIA") && token.is_none() => Err(SesConfigError::TokenMissing),
        secret => Ok(Signer::new(key_id, secret, token.map(str::to_owned), &config.region)),
    }
}

fn is_region(region: &str) -> bool {
    (5..=32).contains(&region.len())
        && region.contains('-')
        && region.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// `arn:aws:sns:eu-central-1:123456789012:name`.
fn is_topic(arn: &str) -> bool {
    let parts: Vec<&str> = arn.split(':').collect();
    let [prefix, partition, service, region, account, name] = parts[..] else { return false };
    prefix == "arn"
        && partition.starts_with("aws")
        && service == "sns"
        && is_region(region)
        && account.len() == 12
        && account.bytes().all(|byte| byte.is_ascii_digit())
        && (1..=256).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> SesConfig {
        SesConfig {
            region: "eu-central-1".into(),
            access_key_id: "AKIDEXAMPLE000000000".into(),
            secret_access_key: Some("secret".into()),
            from: "follow-up@example.com".into(),
            topic_arns: vec!["arn:aws:sns:eu-central-1:123456789012:mail".into()],
            ..SesConfig::default()
        }
    }

    /// P12: half an account is refused at start, and the message names the key.
    #[test]
    fn half_an_account_is_refused() {
        let checked = check(&config()).ok().unwrap();
        assert_eq!(checked.base.as_str(), "https://email.eu-central-1.amazonaws.com/");
        for (wrong, key) in [
            (SesConfig { region: "Frankfurt".into(), ..config() }, "region"),
            (SesConfig { region: "eu-central-1.example.com".into(), ..config() }, "region"),
            (SesConfig { access_key_id: String::new(), ..config() }, "access_key_id"),
            (SesConfig { secret_access_key: None, ..config() }, "secret_access_key is missing"),
            (SesConfig { secret_access_key: Some(" \n".into()), ..config() }, "secret_access_key is missing"),
            (SesConfig { secret_access_key_file: Some("/none".into()), ..config() }, "both set"),
            (SesConfig { access_key_id: "ASIAEXAMPLE000000000".into(), ..config() }, "session_token"),
            (SesConfig { configuration_set: Some("a b".into()), ..config() }, "configuration_set"),
            (SesConfig { from: "nobody".into(), ..config() }, "from is"),
            (SesConfig { from_name: "a\r\nb".into(), ..config() }, "from_name"),
            (SesConfig { topic_arns: vec!["mail".into()], ..config() }, "topic_arns"),
            (SesConfig { base_url: Some("http://email.example.com".into()), ..config() }, "base_url"),
            (SesConfig { sns_base_url: Some("http://sns.example.com".into()), ..config() }, "sns_base_url"),
            (SesConfig { timeout_ms: 99, ..config() }, "timeout_ms"),
        ] {
            let error = check(&wrong).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.starts_with("[providers.ses] ") && error.contains(key), "{key}: {error}");
            assert!(!error.contains("secret\""));
        }
    }
}
