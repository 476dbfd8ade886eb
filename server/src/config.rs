//! The deployment's configuration: defaults, then a TOML file, then the environment; whatever is wrong is named.
//!
//! `config.default.toml` is the one list of keys: it is the lowest layer, the documentation, and what an unknown key is
//! measured against. Each problem says where it comes from, which key, and what to do.

mod error;
mod layer;

use crate::http::{ForwardedHeader, Serves};
use crate::providers::apns::ApnsConfig;
use crate::providers::fcm::FcmConfig;
use crate::providers::gateway::GatewayConfig;
use crate::providers::line::LineConfig;
use crate::providers::ses::SesConfig;
use crate::providers::smpp::SmppConfig;
use crate::providers::smtp::SmtpConfig;
use crate::providers::solapi::SolapiConfig;
use crate::providers::twilio::TwilioConfig;
use crate::retention::Retention;
use backstop_domain::mail_domain;
use backstop_domain::text::{Country, Routes};
use error::Found;
pub use error::{ConfigError, Problem};
use figment::Figment;
use layer::{ENV_PREFIX, Layer, known_keys, unknown_keys};
use serde::Deserialize;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Every key with its default and its reason.
pub const DEFAULTS: &str = include_str!("../config.default.toml");

/// A provider that answers later than the engine waits would be asked again.
const MAX_SEND_MS: u64 = 11_000;
const MAX_TEST_NUMBERS: usize = 20;
/// Of the line on opting out: it takes its share of every first text.
const MAX_OPT_OUT_CHARS: usize = 60;
const DNS_PORT: u16 = 53;
const MAX_SPF_CHARS: usize = 200;
const STOP: &str = "Reply STOP to opt out";
/// Sections that mean something by being there: their defaults count only beside a key that somebody set.
const ACCOUNTS: &[&[&str]] = &[
    &["apns"],
    &["fcm"],
    &["providers", "smtp"],
    &["providers", "ses"],
    &["providers", "smpp"],
    &["providers", "twilio"],
    &["providers", "solapi"],
    &["providers", "line"],
    &["providers", "gateway"],
    &["server", "tls"],
];

/// Everything an operator can set.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[store]`
    pub store: StoreSection,
    /// `[followup]`
    pub followup: FollowupSection,
    /// `[fcm]`, if anybody set a key of it.
    #[serde(default)]
    pub fcm: Option<FcmConfig>,
    /// `[apns]`, if anybody set a key of it.
    #[serde(default)]
    pub apns: Option<ApnsConfig>,
    /// `[providers.…]`
    #[serde(default)]
    pub providers: Accounts,
    /// `[mail]`
    pub mail: MailSection,
    /// `[text]`
    pub text: TextSection,
    /// `[limits]`
    pub limits: Limits,
    /// `[wallet]`
    pub wallet: Wallet,
    /// `[retention]`
    pub retention: Retention,
    /// `[golive]`
    pub golive: GoLiveSection,
    /// `[log]`
    pub log: Log,
}

/// How the server meets the network.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Where it listens.
    #[serde(deserialize_with = "listen_address")]
    pub listen: SocketAddr,
    /// Where devices, callbacks and short links are served instead.
    #[serde(default, deserialize_with = "maybe_listen_address")]
    pub device_listen: Option<SocketAddr>,
    /// Where the company's backend is served instead.
    #[serde(default, deserialize_with = "maybe_listen_address")]
    pub backend_listen: Option<SocketAddr>,
    /// Where metrics are served instead, without TLS.
    #[serde(default, deserialize_with = "maybe_listen_address")]
    pub metrics_listen: Option<SocketAddr>,
    /// `[server.tls]`, if anybody set a key of it.
    #[serde(default)]
    pub tls: Option<TlsFiles>,
    /// How the world reaches it.
    #[serde(default)]
    pub public_url: Option<String>,
    /// Whose word on where a request comes from is believed.
    pub trusted_proxies: Vec<Network>,
    /// The header they say it in.
    pub forwarded_header: ForwardedHeader,
    /// Open connections of each listener; more wait.
    pub max_connections: usize,
    /// From a request's first byte to the end of its headers.
    pub header_timeout_ms: u64,
    /// For a request's body.
    pub body_timeout_ms: u64,
    /// Between requests, and for taking an answer.
    pub idle_timeout_ms: u64,
    /// For what is under way after SIGTERM.
    pub drain_ms: u64,
}

/// `[server.tls]`: a certificate and its key.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsFiles {
    cert_file: PathBuf,
    key_file: PathBuf,
}

/// One address that the server listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The key of `[server]` that names it.
    pub key: &'static str,
    /// Where.
    pub address: SocketAddr,
    /// What is served there.
    pub serves: Serves,
    /// Whether it speaks TLS where the deployment has a certificate.
    pub tls: bool,
}

/// Where everything is kept.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreSection {
    /// `sqlite:PATH`.
    pub url: String,
    /// The data key; unset = beside the database.
    #[serde(default)]
    pub data_key_file: Option<PathBuf>,
    /// Threads that read.
    pub read_connections: usize,
}

/// The promise.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FollowupSection {
    /// P3: a ceiling, 1,000–30,000.
    pub ack_wait_ms: i64,
}

/// The deployment's accounts for text and mail.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accounts {
    /// `[providers.smtp]`, if anybody set a key of it.
    #[serde(default)]
    pub smtp: Option<SmtpConfig>,
    /// `[providers.ses]`, if anybody set a key of it.
    #[serde(default)]
    pub ses: Option<SesConfig>,
    /// `[providers.smpp]`, if anybody set a key of it.
    #[serde(default)]
    pub smpp: Option<SmppConfig>,
    /// `[providers.solapi]`, if anybody set a key of it.
    #[serde(default)]
    pub solapi: Option<SolapiConfig>,
    /// `[providers.twilio]`, if anybody set a key of it.
    #[serde(default)]
    pub twilio: Option<TwilioConfig>,
    /// `[providers.line]`, if anybody set a key of it.
    #[serde(default)]
    pub line: Option<LineConfig>,
    /// `[providers.gateway]`, if anybody set a key of it.
    #[serde(default)]
    pub gateway: Option<GatewayConfig>,
}

/// What all mail has in common, whatever account it leaves by.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailSection {
    /// Where answers and bounces come in (E3).
    #[serde(default)]
    pub reply_domain: Option<String>,
    /// What the mail server that posts them proves itself with.
    #[serde(default)]
    pub inbound_secret: Option<String>,
    /// Holds it instead.
    #[serde(default)]
    pub inbound_secret_file: Option<PathBuf>,
    /// What the mail server needs in the SPF record of a company's domain.
    #[serde(default)]
    pub spf: Option<String>,
    /// Who is asked about companies' domains; none = the machine's servers.
    dns_servers: Vec<DnsServer>,
}

impl std::fmt::Debug for MailSection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MailSection").field("reply_domain", &self.reply_domain).finish_non_exhaustive()
    }
}

/// Where a DNS server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct DnsServer(SocketAddr);

/// What every text is held to.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextSection {
    /// How to opt out, by country.
    pub opt_out: Vec<OptOut>,
    /// Which providers carry XMS where, a line a country.
    pub routes: Vec<String>,
}

/// A country, and the line that the first text of a conversation there says how to opt out with.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct OptOut {
    /// Of the number.
    pub country: Country,
    /// One line.
    pub line: String,
}

/// Bounds on what callers may ask.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// From one device.
    pub device_requests_per_minute: u32,
    /// From one address on the device surface.
    pub address_requests_per_minute: u32,
    /// To one number, an hour.
    pub number_texts_per_hour: u32,
    /// To one number, a day.
    pub number_texts_per_day: u32,
    /// To numbers that differ in their last four digits only, an hour.
    pub prefix_texts_per_hour: u32,
    /// To numbers that differ in their last four digits only, a day.
    pub prefix_texts_per_day: u32,
    /// To one customer, an hour.
    pub customer_texts_per_hour: u32,
    /// To one customer, a day.
    pub customer_texts_per_day: u32,
    /// Of one conversation, an hour.
    pub conversation_texts_per_hour: u32,
    /// Of one conversation, a day.
    pub conversation_texts_per_day: u32,
    /// Of one workspace, an hour.
    pub workspace_texts_per_hour: u32,
    /// Of one workspace, a day.
    pub workspace_texts_per_day: u32,
    /// The most that one text may cost, in millionths.
    #[serde(default)]
    pub text_max_price_micros: Option<i64>,
}

/// What texts cost, and what they are paid from.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wallet {
    /// Of all prices and balances.
    pub currency: String,
    /// What one part of a text costs: day, country, kind, millionths, post units.
    pub prices: Vec<String>,
    /// Whether workspaces pay these prices.
    pub charge: bool,
    /// Given to each paid workspace each month.
    pub monthly_grant_micros: i64,
    /// Which workspaces are on a paid plan.
    pub paid_workspaces: Vec<String>,
    /// What a sandbox's wallet begins with.
    pub sandbox_opening_micros: i64,
    /// Whether a workspace's own key may top up.
    pub server_keys_top_up: bool,
    /// Below this an alarm rings.
    pub alarm_below_micros: i64,
    /// Who is asked for money.
    #[serde(default)]
    pub billing_webhook_url: Option<String>,
    /// What the question is signed with.
    #[serde(default)]
    pub billing_webhook_secret: Option<Secret>,
    /// Holds the secret instead.
    #[serde(default)]
    pub billing_webhook_secret_file: Option<PathBuf>,
}

/// Text that no log and no error shows.
#[derive(Clone, Deserialize)]
#[serde(from = "String")]
pub struct Secret(pub Zeroizing<String>);

impl From<String> for Secret {
    fn from(text: String) -> Secret {
        Secret(Zeroizing::new(text))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

/// Tests before a launch.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoLiveSection {
    /// Numbers that test-sends of any workspace may go to.
    pub test_numbers: Vec<String>,
}

/// What is logged, and how.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Of Backstop's own lines.
    pub level: LogLevel,
    /// Shape of a line.
    pub format: LogFormat,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words say it")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One object a line.
    Json,
    /// For reading along.
    Text,
}

/// An address or a network in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Where the store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// An SQLite file.
    Sqlite(PathBuf),
}

impl Config {
    /// Defaults, then `file`, then those variables of `env` that begin with `BACKSTOP__`.
    pub fn load(file: Option<&Path>, env: impl IntoIterator<Item = (String, String)>) -> Result<Config, ConfigError> {
        let known = known_keys();
        let mut layers = vec![Layer::toml("the built-in defaults", DEFAULTS).map_err(ConfigError::one)?];
        if let Some(path) = file {
            let place = path.display().to_string();
            let text = std::fs::read_to_string(path).map_err(|error| {
                let mend = format!("cannot be read ({error}): name an existing TOML file with --config");
                ConfigError::one(Problem::new(&place, None, mend))
            })?;
            layers.push(Layer::toml(&place, &text).map_err(ConfigError::one)?);
        }
        let mut problems: Vec<Problem> = layers.iter().flat_map(|layer| unknown_keys(layer, &known)).collect();
        for (name, value) in env.into_iter().filter(|(name, _)| name.starts_with(ENV_PREFIX)) {
            match Layer::variable(&name, &value, &known) {
                Ok(layer) => layers.push(layer),
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            return Err(ConfigError(problems));
        }
        let (defaults, given) = layers.split_at_mut(1);
        for account in ACCOUNTS.iter().filter(|account| !given.iter().any(|layer| layer.has(account))) {
            defaults[0].remove(account);
        }
        let figment = layers.into_iter().fold(Figment::new(), Figment::merge);
        let config: Config =
            figment.extract().map_err(|errors| ConfigError(errors.into_iter().map(Problem::from_figment).collect()))?;
        let problems: Vec<Problem> = config.check().into_iter().map(|found| found.placed(&figment)).collect();
        if problems.is_empty() { Ok(config) } else { Err(ConfigError(problems)) }
    }

    /// Where the store is.
    pub fn store_url(&self) -> Result<StoreUrl, String> {
        StoreUrl::parse(&self.store.url)
    }

    /// How the world reaches the server.
    pub fn public_url(&self) -> String {
        match &self.server.public_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None if self.server.tls.is_some() => format!("https://{}", self.server.listen),
            None => format!("http://{}", self.server.listen),
        }
    }

    /// Every address it listens on, `listen` first.
    pub fn listeners(&self) -> Vec<Listener> {
        let server = &self.server;
        let mut rest = Serves::ALL;
        let mut others = Vec::new();
        let door = |key, address, serves| Listener { key, address, serves, tls: true };
        if let Some(address) = server.metrics_listen {
            rest.metrics = false;
            others.push(Listener { tls: false, ..door("metrics_listen", address, Serves::METRICS) });
        }
        if let Some(address) = server.backend_listen {
            // Phones shall not read metrics: they stay with the backend.
            others.push(door("backend_listen", address, Serves { metrics: rest.metrics, ..Serves::BACKEND }));
            rest = Serves { backend: false, metrics: false, ..rest };
        }
        if let Some(address) = server.device_listen {
            others.push(door("device_listen", address, Serves::DEVICE));
            rest.device = false;
        }
        std::iter::once(door("listen", server.listen, rest)).chain(others).collect()
    }

    /// What links can begin with; `None` = nobody outside could follow one.
    pub fn link_base(&self, sandbox: bool) -> Option<String> {
        (sandbox || self.server.public_url.is_some()).then(|| self.public_url())
    }

    /// What a type cannot say.
    fn check(&self) -> Vec<Found> {
        let mut found = Vec::new();
        let mut must = |holds: bool, key: &'static str, mend: String| {
            if !holds {
                found.push(Found { key, mend });
            }
        };
        let server = &self.server;
        self.check_addresses(&mut must);
        let connections = server.max_connections;
        must((1..=1_000_000).contains(&connections), "server.max_connections", "must be 1 to 1000000".into());
        for (key, ms) in [
            ("server.header_timeout_ms", server.header_timeout_ms),
            ("server.body_timeout_ms", server.body_timeout_ms),
            ("server.idle_timeout_ms", server.idle_timeout_ms),
            ("server.drain_ms", server.drain_ms),
        ] {
            must((1..=600_000).contains(&ms), key, format!("is {ms}: must be 1 to 600000 (ten minutes)"));
        }
        let is_e164 = |number: &String| {
            let digits = number.strip_prefix('+').unwrap_or_default();
            (8..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
        };
        let numbers = &self.golive.test_numbers;
        let few = numbers.len() <= MAX_TEST_NUMBERS && numbers.iter().all(is_e164);
        must(few, "golive.test_numbers", format!("must be at most {MAX_TEST_NUMBERS} numbers such as +821012345678"));
        if let Err(mend) = self.store_url() {
            must(false, "store.url", mend);
        }
        let reply_domain = self.mail.reply_domain.as_deref().is_none_or(mail_domain::is_domain);
        must(reply_domain, "mail.reply_domain", "must be a domain in lower case, such as reply.example.com".into());
        let spf = self.mail.spf.as_deref().is_none_or(is_spf);
        must(
            spf,
            "mail.spf",
            "must be mechanisms of SPF such as include:_spf.example.com, without v=spf1 and all".into(),
        );
        if let Err(wrong) = Routes::parse(&self.text.routes) {
            must(false, "text.routes", format!("line {}: {}", wrong.line + 1, wrong.why));
        }
        let readers = self.store.read_connections;
        for (key, timeout_ms) in [
            ("apns.timeout_ms", self.apns.as_ref().map(|apns| apns.timeout_ms)),
            ("fcm.timeout_ms", self.fcm.as_ref().map(|fcm| fcm.timeout_ms)),
            ("providers.twilio.timeout_ms", self.providers.twilio.as_ref().map(|twilio| twilio.timeout_ms)),
            ("providers.line.timeout_ms", self.providers.line.as_ref().map(|line| line.timeout_ms)),
            ("providers.gateway.timeout_ms", self.providers.gateway.as_ref().map(|gateway| gateway.timeout_ms)),
            ("providers.smpp.timeout_ms", self.providers.smpp.as_ref().map(|smpp| smpp.timeout_ms)),
            ("providers.ses.timeout_ms", self.providers.ses.as_ref().map(|ses| ses.timeout_ms)),
            ("providers.solapi.timeout_ms", self.providers.solapi.as_ref().map(|solapi| solapi.timeout_ms)),
            ("providers.smtp.timeout_ms", self.providers.smtp.as_ref().map(|smtp| smtp.timeout_ms)),
        ] {
            let fits = timeout_ms.is_none_or(|ms| (100..=MAX_SEND_MS).contains(&ms));
            must(fits, key, format!("must be 100 to {MAX_SEND_MS}: later than that a send counts as unknown"));
        }
        must((1..=64).contains(&readers), "store.read_connections", format!("is {readers}: must be 1 to 64"));
        let wait = self.followup.ack_wait_ms;
        let in_range = (1_000..=30_000).contains(&wait);
        must(in_range, "followup.ack_wait_ms", format!("is {wait}: must be 1000 to 30000, the promise's ceiling"));
        for (key, count) in [
            ("limits.device_requests_per_minute", self.limits.device_requests_per_minute),
            ("limits.address_requests_per_minute", self.limits.address_requests_per_minute),
        ] {
            must(count > 0, key, "must be at least 1".into());
        }
        let of_money = crate::limits::problems(&self.limits).into_iter().chain(crate::wallet::problems(&self.wallet));
        found.extend(of_money.chain(self.retention.problems()).map(|(key, mend)| Found { key, mend }));
        found
    }

    /// `[server]`: where it listens, and how it is reached.
    fn check_addresses(&self, must: &mut impl FnMut(bool, &'static str, String)) {
        let server = &self.server;
        let url = server.public_url.as_deref().unwrap_or("https://unset");
        let rest = ["http://", "https://"].iter().find_map(|scheme| url.strip_prefix(scheme));
        must(
            rest.is_some_and(|rest| !rest.is_empty()),
            "server.public_url",
            "must begin with http:// or https://".into(),
        );
        let is_bare = !url.contains(['?', '#', '@']) && !url.contains(|c: char| c.is_whitespace());
        must(is_bare, "server.public_url", "must be scheme, host and perhaps a path, nothing else".into());
        for (key, address) in [
            ("server.device_listen", server.device_listen),
            ("server.backend_listen", server.backend_listen),
            ("server.metrics_listen", server.metrics_listen),
        ] {
            let same = |other: &Listener| Some(other.address) == address && !key.ends_with(&format!(".{}", other.key));
            let twice = self.listeners().into_iter().find(|other| same(other) && other.address.port() != 0);
            if let Some(other) = twice {
                must(false, key, format!("is the address of {} too: give another one, or leave it out", other.key));
            }
        }
        for (key, file) in [
            ("server.tls.cert_file", server.tls.as_ref().map(TlsFiles::cert_file)),
            ("server.tls.key_file", server.tls.as_ref().map(TlsFiles::key_file)),
        ] {
            let given = file.is_none_or(|file| !file.as_os_str().is_empty());
            must(given, key, "is missing: TLS needs cert_file and key_file, both in PEM".into());
        }
    }
}

impl Default for Config {
    fn default() -> Config {
        Config::load(None, []).expect("the built-in defaults are valid: a test loads them")
    }
}

impl StoreUrl {
    fn parse(url: &str) -> Result<StoreUrl, String> {
        match url.split_once(':') {
            Some(("sqlite", path)) if !path.is_empty() && path != ":memory:" => {
                Ok(StoreUrl::Sqlite(PathBuf::from(path.strip_prefix("//").unwrap_or(path))))
            }
            Some(("sqlite", _)) => Err("names no file: write sqlite:PATH, for instance sqlite:backstop.db".into()),
            Some(("postgres" | "postgresql", _)) => {
                Err("PostgreSQL comes with a later version: write sqlite:PATH for now".into())
            }
            _ => Err("is of no known kind: write sqlite:PATH, for instance sqlite:backstop.db".into()),
        }
    }
}

/// What may stand between `v=spf1` and `all`.
fn is_spf(mechanisms: &str) -> bool {
    let is_one = |word: &str| {
        let kind = word.split([':', '/']).next().unwrap_or_default();
        let is_plain = word.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b';');
        is_plain && ["include", "ip4", "ip6", "a", "mx", "exists"].contains(&kind)
    };
    (1..=MAX_SPF_CHARS).contains(&mechanisms.len()) && mechanisms.split(' ').all(is_one)
}

/// Names are not looked up, but for the one that everybody has.
fn listen_address<'de, D: serde::Deserializer<'de>>(from: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(from)?;
    let address = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}").parse(),
        None => text.parse(),
    };
    address.map_err(|_| {
        serde::de::Error::custom("must be an IP address and a port, such as 127.0.0.1:8080, 0.0.0.0:8080 or [::]:8080")
    })
}

fn maybe_listen_address<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<SocketAddr>, D::Error> {
    listen_address(from).map(Some)
}

impl TlsFiles {
    /// These files.
    pub fn new(cert_file: PathBuf, key_file: PathBuf) -> TlsFiles {
        TlsFiles { cert_file, key_file }
    }

    /// The certificate, then the chain above it, in PEM.
    pub fn cert_file(&self) -> &Path {
        &self.cert_file
    }

    /// Its private key in PEM.
    pub fn key_file(&self) -> &Path {
        &self.key_file
    }
}

impl Network {
    /// Whether `address` is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        fn bits(address: IpAddr) -> (u128, u8) {
            match address.to_canonical() {
                IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
                IpAddr::V6(v6) => (v6.to_bits(), 128),
            }
        }
        let ((mine, width), (other, other_width)) = (bits(self.address), bits(address));
        let host = u32::from(width - self.prefix);
        width == other_width && mine.checked_shr(host).unwrap_or(0) == other.checked_shr(host).unwrap_or(0)
    }
}

impl MailSection {
    /// Who is asked about companies' domains; none = the machine's servers.
    pub fn dns_servers(&self) -> Vec<SocketAddr> {
        self.dns_servers.iter().map(|server| server.0).collect()
    }
}

impl TryFrom<String> for DnsServer {
    type Error = String;

    fn try_from(text: String) -> Result<DnsServer, String> {
        let with_port = text.parse().or_else(|_| text.parse().map(|ip: IpAddr| SocketAddr::new(ip, DNS_PORT)));
        with_port.map(DnsServer).map_err(|_| format!("`{text}` is no IP address such as 10.0.0.2 or [fd00::2]:5353"))
    }
}

impl TryFrom<String> for OptOut {
    type Error = String;

    fn try_from(text: String) -> Result<OptOut, String> {
        let (country, line) = text.split_once(':').unwrap_or((&text, ""));
        let line = line.trim();
        match Country::parse(country.trim()) {
            Some(country) if (1..=MAX_OPT_OUT_CHARS).contains(&line.chars().count()) && !line.contains('\n') => {
                Ok(OptOut { country, line: line.to_owned() })
            }
            _ => Err(format!(
                "`{text}` is no country and line of 1 to {MAX_OPT_OUT_CHARS} characters such as US: {STOP}"
            )),
        }
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Network, String> {
        let wrong = || format!("`{text}` is neither an address nor a network such as 10.0.0.0/8");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text.as_str(), None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let address = address.to_canonical();
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(width), str::parse).map_err(|_| wrong())?;
        if prefix > width { Err(wrong()) } else { Ok(Network { address, prefix }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use figment::value::{Dict, Value};

    fn load(file: &str, env: &[(&str, &str)]) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("backstop.toml");
        std::fs::write(&path, file).unwrap();
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::load(Some(&path), env).map_err(|error| error.to_string().replace(path.to_str().unwrap(), "FILE"))
    }

    #[test]
    fn an_address_is_an_address_or_localhost() {
        let listen =
            |value: &str| load("", &[("BACKSTOP__SERVER__LISTEN", value)]).map(|c| c.server.listen.to_string());
        assert_eq!(listen("localhost:8081").as_deref(), Ok("127.0.0.1:8081"));
        assert_eq!(listen("[::1]:8081").as_deref(), Ok("[::1]:8081"));
        for bad in ["8080", "example.com:80", "127.0.0.1", "localhost:x"] {
            let error = listen(bad).unwrap_err();
            assert!(
                error.contains("[server] listen must be an IP address and a port, such as 127.0.0.1:8080"),
                "{error}"
            );
        }
    }

    #[test]
    fn the_environment_stands_over_the_file_and_the_file_over_the_defaults() {
        let file = "[followup]\nack_wait_ms = 5000\n[server]\nlisten = \"0.0.0.0:1\"";
        let config = load(file, &[("BACKSTOP__FOLLOWUP__ACK_WAIT_MS", "6000"), ("HOME", "x")]).unwrap();
        assert_eq!(config.followup.ack_wait_ms, 6000);
        assert_eq!(config.server.listen.port(), 1);
        assert_eq!(config.server.header_timeout_ms, 5000);
    }

    /// P3: 30 s is a ceiling.
    #[test]
    fn the_promise_is_checked_on_both_sides() {
        for (ms, fits) in [(999, false), (1_000, true), (30_000, true), (30_001, false)] {
            assert_eq!(load(&format!("[followup]\nack_wait_ms = {ms}"), &[]).is_ok(), fits, "{ms}");
        }
        let error = load("", &[("BACKSTOP__FOLLOWUP__ACK_WAIT_MS", "45000")]).unwrap_err();
        let expected = "environment variable BACKSTOP__FOLLOWUP__ACK_WAIT_MS: [followup] ack_wait_ms is 45000: \
                        must be 1000 to 30000, the promise's ceiling";
        assert_eq!(error, expected);
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_known_one() {
        let error = load("[folowup]\nack_wait_ms = 5000", &[]).unwrap_err();
        assert_eq!(error, "FILE: there is no key `folowup.ack_wait_ms`: did you mean `followup.ack_wait_ms`?");
        let error = load("", &[("BACKSTOP__SERVER__LISTN", "x")]).unwrap_err();
        let place = "environment variable BACKSTOP__SERVER__LISTN";
        assert_eq!(error, format!("{place}: there is no key `server.listn`: did you mean `server.listen`?"));
        let error = load("colour = 1", &[]).unwrap_err();
        assert_eq!(error, "FILE: there is no key `colour`: `backstop check-config --defaults` prints all that are");
        let error = load("[limits]\ntext_prices = [\"2026-11-01 KR 42300\"]", &[]).unwrap_err();
        assert!(error.starts_with("FILE: the key `limits.text_prices` is `wallet.prices` now: "), "{error}");
    }

    #[test]
    fn a_wrong_value_names_its_place_and_key() {
        let error = load("[server]\nlisten = \"here\"", &[]).unwrap_err();
        assert!(error.starts_with("FILE: [server] listen "), "{error}");
        let error = load("", &[("BACKSTOP__SERVER__MAX_CONNECTIONS", "many")]).unwrap_err();
        assert!(error.ends_with("[server] max_connections must be a whole number"), "{error}");
        let error = load("[store]\nurl = \"postgres://db/backstop\"", &[]).unwrap_err();
        assert_eq!(error, "FILE: [store] url PostgreSQL comes with a later version: write sqlite:PATH for now");
        let error = load("[server\n", &[]).unwrap_err();
        assert!(error.starts_with("FILE: is not TOML: "), "{error}");
        let missing = Config::load(Some(Path::new("no/such.toml")), []).unwrap_err().to_string();
        assert!(missing.starts_with("no/such.toml: cannot be read ("), "{missing}");
    }

    /// Every key of the structs is in the default file: a section with a strange field lists the fields it has.
    #[test]
    fn the_default_file_lists_every_key_and_no_other() {
        let known: Vec<String> = known_keys().into_iter().map(|(key, _)| key).collect();
        let fields = |section: &str| -> Vec<String> {
            let strange = Layer { place: "test".into(), values: nest(section, "zzz") };
            let defaults = Layer::toml("defaults", DEFAULTS).unwrap();
            let error = Figment::from(defaults).merge(strange).extract::<Config>().unwrap_err();
            let figment::error::Kind::UnknownField(_, expected) = error.kind else { panic!("{error}") };
            expected.iter().map(|field| (*field).to_owned()).collect()
        };
        let all = known.clone();
        let mut sections: Vec<&str> = all.iter().filter_map(|key| Some(key.rsplit_once('.')?.0)).collect();
        sections.dedup();
        let listed: Vec<String> =
            sections.iter().flat_map(|s| fields(s).into_iter().map(move |field| format!("{s}.{field}"))).collect();
        let (mut known, mut listed) = (known, listed);
        // A section in a section is no key.
        listed.retain(|key| !sections.contains(&key.as_str()));
        known.sort();
        listed.sort();
        assert_eq!(known, listed);
    }

    fn nest(section: &str, key: &str) -> Dict {
        figment::util::nest(&format!("{section}.{key}"), Value::from(1)).into_dict().unwrap()
    }

    /// P12: an account is there when somebody set a key of it; its other defaults come with it.
    #[test]
    fn an_account_is_configured_by_any_key_of_it() {
        let none = load("", &[]).unwrap();
        assert!(none.fcm.is_none() && none.providers.smtp.is_none());
        let host = load("", &[("BACKSTOP__PROVIDERS__SMTP__HOST", "mail.test")]).unwrap();
        let smtp = host.providers.smtp.unwrap();
        assert_eq!((smtp.host.as_str(), smtp.timeout_ms), ("mail.test", 10_000));
        assert!(host.fcm.is_none());
        let digits = load("", &[("BACKSTOP__PROVIDERS__SMTP__PASSWORD", "0123")]).unwrap();
        assert_eq!(digits.providers.smtp.unwrap().password.unwrap(), "0123");
        assert!(load("[fcm]\nbase_url = \"http://127.0.0.1:1\"", &[]).unwrap().fcm.is_some());
    }

    #[test]
    fn a_network_holds_its_addresses() {
        let network = |text: &str| Network::try_from(text.to_owned());
        let holds = |text: &str, address: &str| network(text).unwrap().contains(address.parse().unwrap());
        assert!(holds("10.0.0.0/8", "10.255.0.1") && !holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("10.0.0.0/8", "::ffff:10.1.1.1") && !holds("10.0.0.0/8", "::1"));
        assert!(holds("0.0.0.0/0", "1.2.3.4") && holds("::1", "::1") && !holds("::1", "::2"));
        assert!(network("10.0.0.0/33").is_err() && network("proxy.internal").is_err());
    }

    /// T4: routes are read when the configuration loads, and a wrong line is named.
    #[test]
    fn t4_a_route_is_a_line_of_a_country() {
        assert!(load("[text]\nroutes = [\"KR: solapi, twilio\", \"*: gateway\"]", &[]).is_ok());
        let error = load("", &[("BACKSTOP__TEXT__ROUTES", "KR: solapi twilio, twilio")]).unwrap_err();
        let place = "environment variable BACKSTOP__TEXT__ROUTES: [text] routes line 2: write COUNTRY: PROVIDER";
        assert!(error.starts_with(place), "{error}");
    }

    /// T4: where the law asks for it, the first text says how to opt out; the words are the operator's.
    #[test]
    fn t4_a_line_on_opting_out_is_for_a_country() {
        let us = |line: &str| OptOut { country: Country::parse("US").unwrap(), line: line.into() };
        assert_eq!(load("", &[]).unwrap().text.opt_out[0], us("Reply STOP to opt out"));
        let own = load("[text]\nopt_out = [\"US: Text STOP: no more\"]", &[]).unwrap();
        assert_eq!(own.text.opt_out, [us("Text STOP: no more")]);
        assert!(load("[text]\nopt_out = []", &[]).unwrap().text.opt_out.is_empty());
        for wrong in ["US", "US:", "us: STOP", "Reply STOP", &format!("US: {}", "x".repeat(61))] {
            assert!(load(&format!("[text]\nopt_out = [\"{wrong}\"]"), &[]).is_err(), "{wrong}");
        }
    }
}
