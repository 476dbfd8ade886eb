//! What the host app tells the SDK: where the server is, who the app is, where things are kept.

use std::path::PathBuf;

use backstop_wire::{Environment, Platform, PushProvider};
use url::Url;

use crate::error::Error;

/// Set-up of a [`PushClient`](crate::PushClient).
#[derive(Clone)]
pub struct Config {
    /// The server, `https://push.example.com`, with a path prefix if it has one.
    pub base_url: String,
    /// The workspace's `app_…` key.
    pub app_key: String,
    /// The phone's system.
    pub platform: Platform,
    /// `<platform>/<version>` of the SDK, for the server's logs.
    pub sdk: String,
    /// Where acks and the registration are kept.
    pub home: Home,
    /// Where the app's notification extension leaves its acks; `None` = `spool` below the home.
    pub spool_directory: Option<PathBuf>,
    /// Language of the texts that the customer reads, BCP 47; told with each registration. It mostly comes from the
    /// phone's settings, so one that cannot be told is left out instead of refused.
    pub locale: Option<String>,
    /// Root certificates in PEM beside the bundled ones of Mozilla, for servers under a company's own authority.
    pub extra_root_certificates: Vec<Vec<u8>>,
    /// Plain `http://` is taken for loopback addresses only, unless this is set. For tests.
    pub allow_http: bool,
}

/// Where the SDK keeps what must survive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Home {
    /// Nowhere: gone with the process. For virtual phones and tests.
    Memory,
    /// A directory of the SDK's own, which backups leave out. It is made if missing.
    Directory(PathBuf),
}

/// Proof by the company's backend that this is its customer (C1).
#[derive(Clone, PartialEq, Eq)]
pub enum Proof {
    /// Lower-case hex HMAC-SHA256 of the customer id under the workspace's secret.
    Hash(String),
    /// A JWT.
    Token(String),
}

/// A push token as the system gave it.
#[derive(Clone, PartialEq, Eq)]
pub struct PushToken {
    /// Whose token it is.
    pub provider: PushProvider,
    /// The token; APNs device tokens in hex.
    pub token: String,
    /// The app's own name, which tells a company's apps apart: APNs topic (the bundle id), or Android application id.
    pub topic: Option<String>,
    /// APNs environment; `None` = production.
    pub environment: Option<Environment>,
}

impl Config {
    /// The checked base URL, ending in a slash.
    pub(crate) fn checked_base_url(&self) -> Result<Url, Error> {
        let wrong = |reason: &str| Error::InvalidConfig { key: "base_url", reason: reason.to_owned() };
        let mut url = Url::parse(&self.base_url).map_err(|_| wrong("is not a URL"))?;
        let loopback = match url.host() {
            Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
            Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
            None => return Err(wrong("names no host")),
        };
        match url.scheme() {
            "https" => {}
            "http" if loopback || self.allow_http => {}
            "http" => return Err(wrong("is http:// to another machine; use https://")),
            _ => return Err(wrong("is neither https:// nor http://")),
        }
        if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("must be scheme, host, port and path only"));
        }
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        Ok(url)
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        self.checked_base_url()?;
        for (key, value) in [("app_key", &self.app_key), ("sdk", &self.sdk)] {
            if value.is_empty() || value.len() > 256 || !value.bytes().all(|b| b.is_ascii_graphic()) {
                return Err(Error::InvalidConfig {
                    key, reason: "must be 1–256 visible ASCII characters".to_owned()
                });
            }
        }
        Ok(())
    }
}

/// Checks the length of a caller's text, in characters.
pub(crate) fn check_text(name: &'static str, value: &str, max_chars: usize) -> Result<(), Error> {
    if value.is_empty() {
        return Err(Error::InvalidArgument { name, reason: "is empty" });
    }
    // A character has at most four bytes: the cheap test first, since a caller may pass megabytes.
    if value.len() > max_chars * 4 || value.chars().count() > max_chars {
        return Err(Error::InvalidArgument { name, reason: "is too long" });
    }
    if value.contains('\0') {
        return Err(Error::InvalidArgument { name, reason: "contains a NUL character" });
    }
    Ok(())
}

impl Proof {
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self {
            Proof::Hash(hash) => check_text("proof", hash, 128),
            Proof::Token(token) => check_text("proof", token, 8_192),
        }
    }
}

impl PushToken {
    pub(crate) fn check(&self) -> Result<(), Error> {
        check_text("token", &self.token, 4_096)?;
        self.topic.as_deref().map_or(Ok(()), |topic| check_text("topic", topic, 256))
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("base_url", &self.base_url)
            .field("platform", &self.platform)
            .field("sdk", &self.sdk)
            .field("home", &self.home)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Proof::Hash(_) => "Hash(…)",
            Proof::Token(_) => "Token(…)",
        })
    }
}

impl std::fmt::Debug for PushToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PushToken").field("provider", &self.provider).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(base_url: &str) -> Config {
        Config {
            base_url: base_url.to_owned(),
            app_key: "app_x".to_owned(),
            platform: Platform::Android,
            sdk: "rust/0.1.0".to_owned(),
            home: Home::Memory,
            spool_directory: None,
            locale: None,
            extra_root_certificates: vec![],
            allow_http: false,
        }
    }

    #[test]
    fn plain_http_is_for_loopback_unless_asked_for() {
        for good in ["https://push.example.com", "http://127.0.0.1:8080", "http://[::1]:1/", "http://localhost/b"] {
            assert_eq!(config(good).check(), Ok(()), "{good}");
        }
        let bad = [
            "http://push.example.com",
            "http://127.0.0.1.example.com",
            "http://localhost.example.com",
            "ftp://x",
            "push.example.com",
            "",
            "https://",
            "https://user:secret@x",
            "https://x/?q=1",
            "https://x/#f",
        ];
        for bad in bad {
            assert!(matches!(config(bad).check(), Err(Error::InvalidConfig { key: "base_url", .. })), "{bad}");
        }
        assert_eq!(Config { allow_http: true, ..config("http://push.example.com") }.check(), Ok(()));
        assert_eq!(config("https://x/prefix").checked_base_url().expect("valid").as_str(), "https://x/prefix/");
    }

    #[test]
    fn keys_that_cannot_stand_in_a_header_are_refused() {
        for bad in ["", "a b", "a\nb", "ключ"] {
            let config = Config { app_key: bad.to_owned(), ..config("https://x") };
            assert!(matches!(config.check(), Err(Error::InvalidConfig { key: "app_key", .. })), "{bad:?}");
        }
    }

    #[test]
    fn debug_prints_no_secret() {
        let token =
            PushToken { provider: PushProvider::Fcm, token: "s3cret".to_owned(), topic: None, environment: None };
        let printed = format!("{:?} {:?} {:?}", config("https://x"), Proof::Hash("s3cret".to_owned()), token);
        assert!(!printed.contains("s3cret") && !printed.contains("app_x"), "{printed}");
    }
}
