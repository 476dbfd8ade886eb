//! `[providers.twilio]`, and what is wrong with it.

use super::Sender;
use crate::providers::transport;
use reqwest::Url;
use serde::Deserialize;
use std::num::NonZeroU32;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// `[providers.twilio]`: the deployment's account for texts.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TwilioConfig {
    /// `AC…`.
    pub account_sid: String,
    /// Secret; signs Twilio's calls, too.
    pub auth_token: Option<String>,
    /// Holds the token instead.
    pub auth_token_file: Option<PathBuf>,
    /// The number that texts come from, E.164.
    pub from: Option<String>,
    /// `MG…`: a service that picks the number, instead.
    pub messaging_service_sid: Option<String>,
    /// Every number that this account may send from; empty = Twilio alone judges.
    pub registered_senders: Vec<String>,
    /// Where Twilio answers; `http` only for this very machine.
    pub base_url: String,
    /// For one text.
    pub timeout_ms: u64,
    /// Texts a second, at most.
    pub max_per_second: Option<NonZeroU32>,
}

impl Default for TwilioConfig {
    fn default() -> Self {
        TwilioConfig {
            account_sid: String::new(),
            auth_token: None,
            auth_token_file: None,
            from: None,
            messaging_service_sid: None,
            registered_senders: Vec::new(),
            base_url: "https://api.twilio.com".into(),
            timeout_ms: 10_000,
            max_per_second: None,
        }
    }
}

impl std::fmt::Debug for TwilioConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TwilioConfig").field("base_url", &self.base_url).finish_non_exhaustive()
    }
}

/// What is wrong with `[providers.twilio]`, and what mends it. Never quotes a value.
#[derive(Debug, thiserror::Error)]
pub enum TwilioConfigError {
    /// Not an account.
    #[error("[providers.twilio] account_sid is missing or none: copy it from Twilio's console, AC and 32 digits")]
    AccountSid,
    /// No secret.
    #[error("[providers.twilio] auth_token is missing: copy it from Twilio's console, best into auth_token_file")]
    TokenMissing,
    /// Two secrets.
    #[error("[providers.twilio] auth_token and auth_token_file are both set: keep one")]
    TokenTwice,
    /// A file that cannot be read.
    #[error("[providers.twilio] auth_token_file cannot be read ({0}): name a file that this user may read")]
    TokenFile(#[source] std::io::Error),
    /// Nobody to send as.
    #[error("[providers.twilio] from is missing: give a number of the account, or messaging_service_sid instead")]
    SenderMissing,
    /// Two to send as.
    #[error("[providers.twilio] from and messaging_service_sid are both set: keep one")]
    SenderTwice,
    /// Not a number.
    #[error("[providers.twilio] {0} holds what is no number: write it in full, such as +14155550100")]
    Number(&'static str),
    /// A number that is not in the list.
    #[error("[providers.twilio] from is not among registered_senders: add it there, or leave the list empty")]
    Unregistered,
    /// Not a service.
    #[error("[providers.twilio] messaging_service_sid is none: copy it from Twilio's console, MG and 32 digits")]
    Service,
    /// Not a usable URL.
    #[error(
        "[providers.twilio] base_url must be an https:// address, or http:// on this machine, without path or user"
    )]
    BaseUrl,
    /// Out of range.
    #[error("[providers.twilio] timeout_ms must be 100 to 60000")]
    Timeout,
    /// TLS roots or the like.
    #[error(
        "[providers.twilio] the HTTPS client cannot start ({0}): check the machine's certificates and proxy settings"
    )]
    Client(#[source] reqwest::Error),
}

/// The account as it is used.
pub(super) struct Checked {
    pub(super) auth_token: Zeroizing<String>,
    pub(super) sender: Sender,
    pub(super) messages_url: Url,
}

pub(super) fn check(config: &TwilioConfig) -> Result<Checked, TwilioConfigError> {
    if !is_sid("AC", &config.account_sid) {
        return Err(TwilioConfigError::AccountSid);
    }
    if !(100..=60_000).contains(&config.timeout_ms) {
        return Err(TwilioConfigError::Timeout);
    }
    let base = transport::checked_host(&config.base_url).ok_or(TwilioConfigError::BaseUrl)?;
    let path = format!("/2010-04-01/Accounts/{}/Messages.json", config.account_sid);
    let messages_url = base.join(&path).map_err(|_| TwilioConfigError::BaseUrl)?;
    Ok(Checked { auth_token: auth_token(config)?, sender: sender(config)?, messages_url })
}

fn auth_token(config: &TwilioConfig) -> Result<Zeroizing<String>, TwilioConfigError> {
    let token = match (&config.auth_token, &config.auth_token_file) {
        (Some(_), Some(_)) => return Err(TwilioConfigError::TokenTwice),
        (None, Some(path)) => Zeroizing::new(std::fs::read_to_string(path).map_err(TwilioConfigError::TokenFile)?),
        (token, None) => Zeroizing::new(token.clone().unwrap_or_default()),
    };
    match token.trim() {
        "" => Err(TwilioConfigError::TokenMissing),
        token => Ok(Zeroizing::new(token.to_owned())),
    }
}

fn sender(config: &TwilioConfig) -> Result<Sender, TwilioConfigError> {
    if !config.registered_senders.iter().all(|number| is_number(number)) {
        return Err(TwilioConfigError::Number("registered_senders"));
    }
    match (&config.from, &config.messaging_service_sid) {
        (None, None) => Err(TwilioConfigError::SenderMissing),
        (Some(_), Some(_)) => Err(TwilioConfigError::SenderTwice),
        (Some(number), None) if !is_number(number) => Err(TwilioConfigError::Number("from")),
        (Some(number), None)
            if !config.registered_senders.is_empty() && !config.registered_senders.contains(number) =>
        {
            Err(TwilioConfigError::Unregistered)
        }
        (Some(number), None) => Ok(Sender::Number(number.clone())),
        (None, Some(sid)) if is_sid("MG", sid) => Ok(Sender::Service(sid.clone())),
        (None, Some(_)) => Err(TwilioConfigError::Service),
    }
}

fn is_sid(prefix: &str, sid: &str) -> bool {
    let digits = sid.strip_prefix(prefix).unwrap_or("");
    digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit())
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

    fn config() -> TwilioConfig {
        TwilioConfig {
            account_sid: format!("AC{}", "0".repeat(32)),
            auth_token: Some("secret".into()),
            from: Some("+14155550100".into()),
            ..TwilioConfig::default()
        }
    }

    /// P12: half an account is refused at start, and the message names the key.
    #[test]
    fn half_an_account_is_refused() {
        assert!(check(&config()).is_ok());
        let service = Some(format!("MG{}", "a".repeat(32)));
        assert!(check(&TwilioConfig { from: None, messaging_service_sid: service.clone(), ..config() }).is_ok());
        let number = || vec!["+14155550101".to_owned()];
        for (wrong, key) in [
            (TwilioConfig { account_sid: "AC1".into(), ..config() }, "account_sid"),
            (TwilioConfig { auth_token: None, ..config() }, "auth_token is missing"),
            (TwilioConfig { auth_token: Some(" \n".into()), ..config() }, "auth_token is missing"),
            (TwilioConfig { auth_token_file: Some("/none".into()), ..config() }, "both set"),
            (TwilioConfig { auth_token: None, auth_token_file: Some("/none".into()), ..config() }, "cannot be read"),
            (TwilioConfig { from: None, ..config() }, "from is missing"),
            (TwilioConfig { from: Some("4155550100x".into()), ..config() }, "from holds"),
            (TwilioConfig { messaging_service_sid: service, ..config() }, "from and messaging_service_sid"),
            (TwilioConfig { registered_senders: number(), ..config() }, "not among registered_senders"),
            (TwilioConfig { base_url: "http://api.twilio.com".into(), ..config() }, "base_url"),
            (TwilioConfig { base_url: "https://user@api.twilio.com".into(), ..config() }, "base_url"),
            (TwilioConfig { timeout_ms: 99, ..config() }, "timeout_ms"),
        ] {
            let error = check(&wrong).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.starts_with("[providers.twilio] ") && error.contains(key), "{key}: {error}");
            assert!(!error.contains("secret"));
        }
    }
}
