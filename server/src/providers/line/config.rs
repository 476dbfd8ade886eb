//! `[providers.line]`, and what is wrong with it.

use crate::providers::transport;
use reqwest::Url;
use serde::Deserialize;
use std::num::NonZeroU32;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// `[providers.line]`: the deployment's LINE Official Account.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LineConfig {
    /// Secret; sends.
    pub channel_access_token: Option<String>,
    /// Holds the token instead.
    pub channel_access_token_file: Option<PathBuf>,
    /// Secret; signs LINE's calls.
    pub channel_secret: Option<String>,
    /// Holds the secret instead.
    pub channel_secret_file: Option<PathBuf>,
    /// `U…`: the account as its webhook names it.
    pub bot_user_id: String,
    /// Whether LINE sold notification messages, by number, to this account.
    pub notification: bool,
    /// Where LINE answers; `http` only for this very machine.
    pub base_url: String,
    /// For one text.
    pub timeout_ms: u64,
    /// Texts a second, at most.
    pub max_per_second: Option<NonZeroU32>,
}

impl Default for LineConfig {
    fn default() -> Self {
        LineConfig {
            channel_access_token: None,
            channel_access_token_file: None,
            channel_secret: None,
            channel_secret_file: None,
            bot_user_id: String::new(),
            notification: false,
            base_url: "https://api.line.me".into(),
            timeout_ms: 10_000,
            max_per_second: None,
        }
    }
}

impl std::fmt::Debug for LineConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LineConfig").field("base_url", &self.base_url).finish_non_exhaustive()
    }
}

/// What is wrong with `[providers.line]`, and what mends it. Never quotes a value.
#[derive(Debug, thiserror::Error)]
pub enum LineConfigError {
    /// No secret.
    #[error("[providers.line] {0} is missing: copy it from LINE Developers' console, best into {0}_file")]
    Missing(&'static str),
    /// Two secrets.
    #[error("[providers.line] {0} and {0}_file are both set: keep one")]
    Twice(&'static str),
    /// A file that cannot be read.
    #[error("[providers.line] {0}_file cannot be read ({1}): name a file that this user may read")]
    File(&'static str, #[source] std::io::Error),
    /// Not what a header can carry.
    #[error("[providers.line] channel_access_token is none: copy it whole, it is one line of letters and digits")]
    Token,
    /// Not an account.
    #[error(
        "[providers.line] bot_user_id is missing or none: copy `Your user ID` of the channel's bot, U and 32 \
         hexadecimal digits (GET /v2/bot/info says it as userId)"
    )]
    BotUserId,
    /// Not a usable URL.
    #[error("[providers.line] base_url must be an https:// address, or http:// on this machine, without path or user")]
    BaseUrl,
    /// Out of range.
    #[error("[providers.line] timeout_ms must be 100 to 60000")]
    Timeout,
    /// TLS roots or the like.
    #[error(
        "[providers.line] the HTTPS client cannot start ({0}): check the machine's certificates and proxy settings"
    )]
    Client(#[source] reqwest::Error),
}

/// The account as it is used.
pub(super) struct Checked {
    pub(super) token: Zeroizing<String>,
    pub(super) channel_secret: Zeroizing<String>,
    pub(super) base_url: Url,
}

pub(super) fn check(config: &LineConfig) -> Result<Checked, LineConfigError> {
    if !is_user_id(&config.bot_user_id) {
        return Err(LineConfigError::BotUserId);
    }
    if !(100..=60_000).contains(&config.timeout_ms) {
        return Err(LineConfigError::Timeout);
    }
    let base_url = transport::checked_host(&config.base_url).ok_or(LineConfigError::BaseUrl)?;
    let (given, file) = (&config.channel_access_token, &config.channel_access_token_file);
    let token = secret("channel_access_token", given.as_deref(), file.as_ref())?;
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(LineConfigError::Token);
    }
    let (given, file) = (&config.channel_secret, &config.channel_secret_file);
    let channel_secret = secret("channel_secret", given.as_deref(), file.as_ref())?;
    Ok(Checked { token, channel_secret, base_url })
}

fn secret(
    name: &'static str,
    given: Option<&str>,
    file: Option<&PathBuf>,
) -> Result<Zeroizing<String>, LineConfigError> {
    let text = match (given, file) {
        (Some(_), Some(_)) => return Err(LineConfigError::Twice(name)),
        (None, Some(path)) => {
            Zeroizing::new(std::fs::read_to_string(path).map_err(|error| LineConfigError::File(name, error))?)
        }
        (given, None) => Zeroizing::new(given.unwrap_or_default().to_owned()),
    };
    match text.trim() {
        "" => Err(LineConfigError::Missing(name)),
        text => Ok(Zeroizing::new(text.to_owned())),
    }
}

/// `U` and 32 hexadecimal digits in lower case.
pub(super) fn is_user_id(text: &str) -> bool {
    let digits = text.strip_prefix('U').unwrap_or("");
    digits.len() == 32 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> LineConfig {
        LineConfig {
            channel_access_token: Some("token".into()),
            channel_secret: Some("secret".into()),
            bot_user_id: format!("U{}", "0".repeat(32)),
            ..LineConfig::default()
        }
    }

    /// P12: half an account is refused at start, and the message names the key.
    #[test]
    fn p12_half_an_account_is_refused() {
        assert!(check(&config()).is_ok());
        for (wrong, key) in [
            (LineConfig { bot_user_id: String::new(), ..config() }, "bot_user_id"),
            (LineConfig { bot_user_id: "@acme".into(), ..config() }, "bot_user_id"),
            (LineConfig { bot_user_id: format!("U{}", "A".repeat(32)), ..config() }, "bot_user_id"),
            (LineConfig { channel_access_token: None, ..config() }, "channel_access_token is missing"),
            (LineConfig { channel_access_token: Some("a b".into()), ..config() }, "channel_access_token is none"),
            (LineConfig { channel_access_token_file: Some("/none".into()), ..config() }, "both set"),
            (LineConfig { channel_secret: Some(" \n".into()), ..config() }, "channel_secret is missing"),
            (
                LineConfig { channel_secret: None, channel_secret_file: Some("/none".into()), ..config() },
                "channel_secret_file cannot be read",
            ),
            (LineConfig { base_url: "http://api.line.me".into(), ..config() }, "base_url"),
            (LineConfig { timeout_ms: 99, ..config() }, "timeout_ms"),
        ] {
            let error = check(&wrong).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.starts_with("[providers.line] ") && error.contains(key), "{key}: {error}");
            assert!(!error.contains("a b"), "{error}");
        }
        assert!(!format!("{:?}", config()).contains("secret"));
    }
}
