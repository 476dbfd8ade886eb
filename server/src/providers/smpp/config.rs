//! `[providers.smpp]`, and what is wrong with it.

use super::pdu::{Address, Login};
use crate::number;
use backstop_domain::text::Senders;
use rlibphonenumber::Region;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// SMPP's fields, without their closing zero.
const MAX_SYSTEM_ID: usize = 15;
const MAX_PASSWORD: usize = 8;
const MAX_SYSTEM_TYPE: usize = 12;

/// How a connection is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SmppTls {
    /// From the first byte.
    #[default]
    Required,
    /// Not at all; only to this machine, or within a private network such as a tunnel's.
    None,
}

/// How the SMSC writes a text's id in receipts, against the answer to its submit_sm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageIds {
    /// Alike.
    #[default]
    AsIs,
    /// Hexadecimal in the answer, decimal in receipts.
    Hex,
    /// Decimal in the answer, hexadecimal in receipts.
    Decimal,
}

/// `[providers.smpp]`: an SMSC that takes texts.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SmppConfig {
    /// The SMSC; its certificate must be for this name.
    pub host: String,
    /// 3550 unless said otherwise; 2775 where `tls` is `none`.
    pub port: Option<u16>,
    /// Encryption.
    pub tls: SmppTls,
    /// PEM certificates to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Whom we log in as.
    pub system_id: String,
    /// Secret.
    pub password: Option<String>,
    /// Holds the password instead.
    pub password_file: Option<PathBuf>,
    /// Where the SMSC asks for one.
    pub system_type: String,
    /// The number or name that texts come from.
    pub from: String,
    /// Every number that this account may send from; empty = the SMSC alone judges.
    pub registered_senders: Vec<String>,
    /// ISO 3166: whose national numbers the SMSC may write; unset = those of `from`.
    pub country: Option<String>,
    /// Type of number of the sender; unset = told by what it looks like.
    pub source_ton: Option<u8>,
    /// Numbering plan of the sender; unset = told by what it looks like.
    pub source_npi: Option<u8>,
    /// How ids are written.
    pub message_id: MessageIds,
    /// Long texts in one message_payload instead of joined parts.
    pub message_payload: bool,
    /// Parts that wait for the SMSC's answer at once.
    pub window: usize,
    /// How long nothing may come before the connection is tested.
    pub enquire_link_ms: u64,
    /// The shortest wait before connecting again.
    pub reconnect_ms: u64,
    /// For one text.
    pub timeout_ms: u64,
    /// Texts a second, at most.
    pub max_per_second: Option<NonZeroU32>,
}

impl Default for SmppConfig {
    fn default() -> Self {
        SmppConfig {
            host: String::new(),
            port: None,
            tls: SmppTls::default(),
            ca_file: None,
            system_id: String::new(),
            password: None,
            password_file: None,
            system_type: String::new(),
            from: String::new(),
            registered_senders: Vec::new(),
            country: None,
            source_ton: None,
            source_npi: None,
            message_id: MessageIds::default(),
            message_payload: false,
            window: 10,
            enquire_link_ms: 30_000,
            reconnect_ms: 1_000,
            timeout_ms: 10_000,
            max_per_second: None,
        }
    }
}

impl std::fmt::Debug for SmppConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SmppConfig").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

/// What is wrong with `[providers.smpp]`, and what mends it. Never quotes a secret.
#[derive(Debug, thiserror::Error)]
pub enum SmppConfigError {
    /// No server.
    #[error("[providers.smpp] host is missing or no host name: name the SMSC that takes your texts")]
    Host,
    /// Plain text over a network.
    #[error(
        "[providers.smpp] tls = \"none\" is for this machine or a private address (10.…, 172.16.…, 192.168.…, fc00::…) \
         only: use tls = \"required\", or a tunnel to the SMSC and its address there"
    )]
    PlainText,
    /// No log-in, or one that SMPP cannot carry.
    #[error(
        "[providers.smpp] {0} is missing, not ASCII, or longer than SMPP's {1} characters: ask the SMSC's operator"
    )]
    Field(&'static str, usize),
    /// Two passwords.
    #[error("[providers.smpp] password and password_file are both set: keep one")]
    PasswordTwice,
    /// A file that cannot be read.
    #[error("[providers.smpp] {key} cannot be read ({error}): name a file that this user may read")]
    File {
        /// Which key of the configuration.
        key: &'static str,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// Not a sender.
    #[error(
        "[providers.smpp] {0} holds what texts cannot come from: a number such as +14155550100, a short code, or a \
         name of at most 11 letters and digits"
    )]
    Sender(&'static str),
    /// A number that is not in the list.
    #[error("[providers.smpp] from is not among registered_senders: add it there, or leave the list empty")]
    Unregistered,
    /// Not a country.
    #[error("[providers.smpp] country is none: write an ISO 3166 code such as KR")]
    Country,
    /// Not certificates.
    #[error("[providers.smpp] ca_file holds no usable certificate: give one or more in PEM")]
    CaFile,
    /// The system's certificates.
    #[error("[providers.smpp] TLS cannot start ({0}): check the machine's certificates")]
    Tls(String),
    /// Out of range.
    #[error("[providers.smpp] {0} must be {1} to {2}")]
    Range(&'static str, u64, u64),
}

/// The account as it is used.
pub(super) struct Checked {
    pub(super) port: u16,
    pub(super) login: Login,
    pub(super) roots: Vec<CertificateDer<'static>>,
    /// Whose national numbers the SMSC may write.
    pub(super) country: Option<Region>,
}

pub(super) fn check(config: &SmppConfig) -> Result<Checked, SmppConfigError> {
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    if !(1..=253).contains(&config.host.len()) || !config.host.bytes().all(is_host) {
        return Err(SmppConfigError::Host);
    }
    if config.tls == SmppTls::None && !is_private(&config.host) {
        return Err(SmppConfigError::PlainText);
    }
    for (key, value, least, most) in [
        ("window", config.window as u64, 1, 1_000),
        ("enquire_link_ms", config.enquire_link_ms, 100, 300_000),
        ("reconnect_ms", config.reconnect_ms, 10, 60_000),
        ("timeout_ms", config.timeout_ms, 100, 60_000),
        ("source_ton", config.source_ton.unwrap_or(0).into(), 0, 6),
        ("source_npi", config.source_npi.unwrap_or(0).into(), 0, 18),
    ] {
        if !(least..=most).contains(&value) {
            return Err(SmppConfigError::Range(key, least, most));
        }
    }
    senders(config)?;
    let login = Login {
        system_id: field("system_id", &config.system_id, 1, MAX_SYSTEM_ID)?,
        password: Zeroizing::new(field("password", &password(config)?, 1, MAX_PASSWORD)?),
        system_type: field("system_type", &config.system_type, 0, MAX_SYSTEM_TYPE)?,
    };
    let port = config.port.unwrap_or(if config.tls == SmppTls::None { 2775 } else { 3550 });
    Ok(Checked { port, login, roots: roots(config)?, country: country(config)? })
}

fn country(config: &SmppConfig) -> Result<Option<Region>, SmppConfigError> {
    if let Some(code) = &config.country {
        return number::region(code).map(Some).ok_or(SmppConfigError::Country);
    }
    let (of_sender, _) = number::look_up(&config.from);
    Ok(of_sender.and_then(|country| number::region(country.as_str())))
}

fn senders(config: &SmppConfig) -> Result<(), SmppConfigError> {
    if sender(config, &config.from).is_none() {
        return Err(SmppConfigError::Sender("from"));
    }
    let registered = &config.registered_senders;
    if !registered.iter().all(|number| sender(config, number).is_some()) {
        return Err(SmppConfigError::Sender("registered_senders"));
    }
    if !registered.is_empty() && !registered.contains(&config.from) {
        return Err(SmppConfigError::Unregistered);
    }
    Ok(())
}

/// How a sender is written: a number of the world, a short code, or a name.
pub(super) fn sender(config: &SmppConfig, sender: &str) -> Option<Address> {
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let number = sender.strip_prefix('+');
    let (ton, npi, digits) = match number {
        Some(digits) if (7..=15).contains(&digits.len()) && is_digits(digits) => (1, 1, digits),
        None if (3..=8).contains(&sender.len()) && is_digits(sender) => (3, 0, sender),
        None if (1..=11).contains(&sender.len()) && is_name(sender) => (5, 0, sender),
        _ => return None,
    };
    let (ton, npi) = (config.source_ton.unwrap_or(ton), config.source_npi.unwrap_or(npi));
    Some(Address { ton, npi, digits: digits.to_owned() })
}

pub(super) fn shown(config: &SmppConfig) -> Senders {
    Senders { shared: Some(config.from.clone()), registered: config.registered_senders.clone(), is_everybodys: false }
}

fn is_name(name: &str) -> bool {
    let has_letter = name.bytes().any(|byte| byte.is_ascii_alphabetic());
    has_letter && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" -_.&".contains(&byte))
}

fn password(config: &SmppConfig) -> Result<Zeroizing<String>, SmppConfigError> {
    let read =
        |path| std::fs::read_to_string(path).map_err(|error| SmppConfigError::File { key: "password_file", error });
    let password = match (&config.password, &config.password_file) {
        (Some(_), Some(_)) => return Err(SmppConfigError::PasswordTwice),
        (None, Some(path)) => Zeroizing::new(read(path)?),
        (password, None) => Zeroizing::new(password.clone().unwrap_or_default()),
    };
    Ok(Zeroizing::new(password.trim_end_matches(['\r', '\n']).to_owned()))
}

fn field(key: &'static str, value: &str, least: usize, most: usize) -> Result<String, SmppConfigError> {
    let is_text = value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    match (least..=most).contains(&value.len()) && is_text {
        true => Ok(value.to_owned()),
        false => Err(SmppConfigError::Field(key, most)),
    }
}

fn roots(config: &SmppConfig) -> Result<Vec<CertificateDer<'static>>, SmppConfigError> {
    let Some(path) = &config.ca_file else { return Ok(Vec::new()) };
    let pem = std::fs::read(path).map_err(|error| SmppConfigError::File { key: "ca_file", error })?;
    let roots: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    roots.ok().filter(|roots| !roots.is_empty()).ok_or(SmppConfigError::CaFile)
}

fn is_private(host: &str) -> bool {
    let of_network = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local(),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(of_network)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> SmppConfig {
        SmppConfig {
            host: "smsc.example.com".into(),
            system_id: "backstop".into(),
            password: Some("secret".into()),
            from: "+14155550100".into(),
            ..SmppConfig::default()
        }
    }

    /// P12: half an account is refused at start, and the message names the key.
    #[test]
    fn half_an_account_is_refused() {
        assert_eq!(check(&config()).ok().map(|checked| checked.port), Some(3550));
        let plain = |host: &str| check(&SmppConfig { host: host.into(), tls: SmppTls::None, ..config() });
        for host in ["localhost", "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "::1", "fd00::1"] {
            assert_eq!(plain(host).ok().map(|checked| checked.port), Some(2775), "{host}");
        }
        for (wrong, key) in [
            (SmppConfig { host: String::new(), ..config() }, "host"),
            (SmppConfig { tls: SmppTls::None, ..config() }, "tls"),
            (SmppConfig { host: "8.8.8.8".into(), tls: SmppTls::None, ..config() }, "tls"),
            (SmppConfig { system_id: String::new(), ..config() }, "system_id"),
            (SmppConfig { system_id: "a".repeat(16), ..config() }, "system_id"),
            (SmppConfig { password: None, ..config() }, "password"),
            (SmppConfig { password: Some("secret123".into()), ..config() }, "password"),
            (SmppConfig { password_file: Some("/none".into()), ..config() }, "both set"),
            (SmppConfig { password: None, password_file: Some("/none".into()), ..config() }, "cannot be read"),
            (SmppConfig { from: String::new(), ..config() }, "from holds"),
            (SmppConfig { from: "A name that is too long".into(), ..config() }, "from holds"),
            (SmppConfig { registered_senders: vec!["+14155550101".into()], ..config() }, "registered_senders"),
            (SmppConfig { ca_file: Some("/none".into()), ..config() }, "ca_file"),
            (SmppConfig { country: Some("kr".into()), ..config() }, "country"),
            (SmppConfig { country: Some("Korea".into()), ..config() }, "country"),
            (SmppConfig { window: 0, ..config() }, "window"),
            (SmppConfig { source_ton: Some(7), ..config() }, "source_ton"),
            (SmppConfig { enquire_link_ms: 99, ..config() }, "enquire_link_ms"),
        ] {
            let error = check(&wrong).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.starts_with("[providers.smpp] ") && error.contains(key), "{key}: {error}");
            assert!(!error.contains("secret"));
        }
    }

    #[test]
    fn senders_are_told_by_what_they_look_like() {
        let of = |text: &str| sender(&config(), text).map(|address| (address.ton, address.npi, address.digits));
        assert_eq!(of("+14155550100"), Some((1, 1, "14155550100".into())));
        assert_eq!(of("12345"), Some((3, 0, "12345".into())));
        assert_eq!(of("Lone Oak"), Some((5, 0, "Lone Oak".into())));
        assert_eq!((of("+1"), of("naïve"), of("")), (None, None, None));
    }
}
