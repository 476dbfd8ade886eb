//! Email by SMTP, to whatever server the deployment submits its mail to.

use super::mail::{Mail, Sender};
use super::{About, CheckError, Checked, Checking, EmailProvider, EmailSend, Provider, Rate, Sending};
use crate::clock::Clock;
use crate::failpoint::{Point, hit};
use backstop_domain::followup::Outcome;
use backstop_domain::mail::{AT_DATA, AT_MAIL_FROM};
use lettre::Address;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail as MailFrom, Noop, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use serde::Deserialize;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Mails on their way at once; more wait for one of these to end.
const MAX_CONNECTIONS: usize = 8;
/// A connection that was idle for longer is not trusted: servers and firewalls drop them without a word.
const MAX_IDLE_MS: i64 = 30_000;
/// In the order in which we would rather use them.
const MECHANISMS: [Mechanism; 2] = [Mechanism::Plain, Mechanism::Login];

/// How a connection is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SmtpTls {
    /// STARTTLS, or no mail.
    #[default]
    Required,
    /// From the first byte.
    Implicit,
    /// Not at all; only to this very machine.
    None,
}

/// `[providers.smtp]`: the deployment's mail account.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SmtpConfig {
    /// The server; its certificate must be for this name.
    pub host: String,
    /// 587 unless said otherwise; 465 where `tls` is `implicit`, 25 where it is `none`.
    pub port: Option<u16>,
    /// Encryption.
    pub tls: SmtpTls,
    /// Together with a password; none = no log-in.
    pub username: Option<String>,
    /// Secret.
    pub password: Option<String>,
    /// Holds the password instead.
    pub password_file: Option<PathBuf>,
    /// The address that mail comes from; its domain is the one of our Message-IDs.
    pub from: String,
    /// The display name where a company has none.
    pub from_name: String,
    /// How we greet the server; the machine's name where absent.
    pub ehlo_name: Option<String>,
    /// PEM certificates to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// For one mail, from waiting for a connection to the server's last word.
    pub timeout_ms: u64,
    /// Mails a second, at most.
    pub max_per_second: Option<NonZeroU32>,
}

impl Default for SmtpConfig {
    fn default() -> Self {
        SmtpConfig {
            host: String::new(),
            port: None,
            tls: SmtpTls::default(),
            username: None,
            password: None,
            password_file: None,
            from: String::new(),
            from_name: String::new(),
            ehlo_name: None,
            ca_file: None,
            timeout_ms: 20_000,
            max_per_second: None,
        }
    }
}

impl std::fmt::Debug for SmtpConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("SmtpConfig");
        shown.field("host", &self.host).field("port", &self.port).field("tls", &self.tls).finish_non_exhaustive()
    }
}

/// What is wrong with `[providers.smtp]`, and what mends it. Never quotes a secret.
#[derive(Debug, thiserror::Error)]
pub enum SmtpConfigError {
    /// No server.
    #[error("[providers.smtp] host is missing or no host name: name the mail server that takes your mail")]
    Host,
    /// Plain text over a network.
    #[error("[providers.smtp] tls = \"none\" is for this machine only: use \"required\" or \"implicit\" for {0}")]
    PlainText(String),
    /// Half a log-in.
    #[error("[providers.smtp] {0} is missing: set username and password (or password_file) together, or none of them")]
    HalfLogin(&'static str),
    /// Two passwords.
    #[error("[providers.smtp] password and password_file are both set: keep one")]
    PasswordTwice,
    /// A file that cannot be read.
    #[error("[providers.smtp] {key} cannot be read ({error}): name a file that this user may read")]
    File {
        /// Which key of the configuration.
        key: &'static str,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// Not an address.
    #[error("[providers.smtp] from is missing or no address: name the address that mail comes from")]
    From,
    /// Not a display name.
    #[error("[providers.smtp] from_name holds control characters: write it on one line")]
    FromName,
    /// Not a name.
    #[error("[providers.smtp] ehlo_name is no host name: leave it out, or give this machine's full name")]
    EhloName,
    /// Not certificates.
    #[error("[providers.smtp] ca_file holds no usable certificate: give one or more in PEM")]
    CaFile,
    /// The system's certificates.
    #[error("[providers.smtp] TLS cannot start ({0}): check the machine's certificates")]
    Tls(#[source] Error),
    /// Out of range.
    #[error("[providers.smtp] timeout_ms must be 100 to 120000")]
    Timeout,
}

/// Sends by one SMTP account.
pub struct Smtp {
    host: String,
    port: u16,
    tls: Option<TlsParameters>,
    starttls: bool,
    credentials: Option<Credentials>,
    sender: Sender,
    hello: ClientId,
    timeout: Duration,
    rate: Option<Rate>,
    clock: Arc<dyn Clock>,
    permits: Semaphore,
    /// Latest used last; never more than there are permits.
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    connection: AsyncSmtpConnection,
    since_ms: i64,
}

/// What the server had been asked.
enum Step {
    MailFrom,
    Rcpt,
    Data,
}

/// How far an attempt had come when it failed.
enum Failure {
    /// No session, so no mail.
    Connecting(Error),
    /// Before the server asked for the mail, so none is there.
    Introducing(Step, Error),
    /// While it went over.
    HandingOver(Error),
    /// The server does not carry addresses of that alphabet.
    NoUtf8,
    /// The server does not encrypt.
    NoStartTls,
}

impl Smtp {
    /// Checks all of `config`, but does not connect: a mail server that is down is no reason not to start.
    pub fn from_config(config: &SmtpConfig, clock: Arc<dyn Clock>) -> Result<Smtp, SmtpConfigError> {
        if !is_host_name(&config.host) {
            return Err(SmtpConfigError::Host);
        }
        if config.tls == SmtpTls::None && !is_loopback(&config.host) {
            return Err(SmtpConfigError::PlainText(config.host.clone()));
        }
        if !(100..=120_000).contains(&config.timeout_ms) {
            return Err(SmtpConfigError::Timeout);
        }
        if config.from_name.contains(char::is_control) {
            return Err(SmtpConfigError::FromName);
        }
        let address: Address = config.from.parse().map_err(|_| SmtpConfigError::From)?;
        let hello = match &config.ehlo_name {
            None => ClientId::default(),
            Some(name) if is_host_name(name) => ClientId::Domain(name.clone()),
            Some(_) => return Err(SmtpConfigError::EhloName),
        };
        let port = config.port.unwrap_or(match config.tls {
            SmtpTls::Required => 587,
            SmtpTls::Implicit => 465,
            SmtpTls::None => 25,
        });
        Ok(Smtp {
            host: config.host.clone(),
            port,
            tls: tls(config)?,
            starttls: config.tls == SmtpTls::Required,
            credentials: credentials(config)?,
            sender: Sender { address, name: config.from_name.trim().to_owned() },
            hello,
            timeout: Duration::from_millis(config.timeout_ms),
            rate: config.max_per_second.map(Rate::PerSecond),
            clock,
            permits: Semaphore::new(MAX_CONNECTIONS),
            idle: Mutex::default(),
        })
    }

    /// One mail, by an idle connection or a new one. `handing_over` tells whether the server may have it, for whoever
    /// gives up waiting.
    async fn deliver(&self, mail: &Mail, handing_over: &AtomicBool) -> Result<(), Failure> {
        let _permit = self.permits.acquire().await.expect("never closed");
        if let Some(mut connection) = self.take_idle() {
            match hand_over(&mut connection, mail, handing_over).await {
                // It had gone stale, and the server has seen nothing of the mail.
                Err(Failure::Introducing(_, error)) if is_closed(&error) => drop(connection),
                result => return self.finish(connection, result),
            }
        }
        let mut connection = self.connect().await?;
        let result = hand_over(&mut connection, mail, handing_over).await;
        self.finish(connection, result)
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Failure> {
        let server = (self.host.as_str(), self.port);
        let at_once = self.tls.clone().filter(|_| !self.starttls);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(server, Some(self.timeout), &self.hello, at_once, None)
                .await
                .map_err(Failure::Connecting)?;
        if let Some(tls) = self.tls.clone().filter(|_| self.starttls) {
            if !connection.can_starttls() {
                return Err(Failure::NoStartTls);
            }
            connection.starttls(tls, &self.hello).await.map_err(Failure::Connecting)?;
        }
        if let Some(credentials) = &self.credentials {
            connection.auth(&MECHANISMS, credentials).await.map_err(Failure::Connecting)?;
        }
        Ok(connection)
    }

    /// Signs in as for a mail, and hands over none.
    async fn probe(&self) -> Result<Checked, CheckError> {
        let mut connection = self.connect().await.map_err(|failure| self.diagnosis(&failure))?;
        let answered = connection.command(Noop).await.map_err(Failure::Connecting);
        let _ = connection.quit().await;
        answered.map_err(|failure| self.diagnosis(&failure))?;
        let login = if self.credentials.is_some() { "takes our log-in" } else { "takes us without a log-in" };
        Ok(Checked { message: format!("the mail server at {} {login}", self.host), vendor_ahead_ms: None })
    }

    fn diagnosis(&self, failure: &Failure) -> CheckError {
        let (host, port) = (&self.host, self.port);
        let error = match failure {
            Failure::NoStartTls => {
                let mend = "set [providers.smtp] tls = \"implicit\" if it speaks TLS from the first byte (port 465)";
                return CheckError::refused(format!("the mail server at {host} offers no STARTTLS"), mend);
            }
            Failure::NoUtf8 => {
                return CheckError::refused("the mail server takes ASCII addresses only", "send none other");
            }
            Failure::Connecting(error) | Failure::Introducing(_, error) | Failure::HandingOver(error) => error,
        };
        match (error.status().map(u16::from), reply_code(error)) {
            (Some(530..=538), Some(code)) => CheckError::refused(
                format!("the mail server at {host} refuses our log-in ({code})"),
                "check username and password (or password_file) of [providers.smtp]",
            ),
            (_, Some(code)) => CheckError::refused(
                format!("the mail server at {host} refuses us ({code})"),
                "ask its operator whether this machine may use it, and check [providers.smtp] ehlo_name",
            ),
            _ if is_tls(error) => CheckError::refused(
                format!("the mail server at {host} shows a certificate that is not trusted for that name"),
                "let [providers.smtp] host be the name in its certificate; for a server of your own give ca_file",
            ),
            _ if error.is_client() => CheckError::refused(
                format!("the mail server at {host} offers no log-in that we speak (PLAIN, LOGIN)"),
                "use another way in, often port 587 with STARTTLS",
            ),
            _ => CheckError::unreachable(
                format!("the mail server at {host}:{port} cannot be reached"),
                "check [providers.smtp] host and port, and whether the firewall lets this machine out",
            ),
        }
    }

    fn take_idle(&self) -> Option<AsyncSmtpConnection> {
        let oldest_ms = self.clock.now_ms() - MAX_IDLE_MS;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|idle| idle.since_ms >= oldest_ms);
        idle.pop().map(|idle| idle.connection)
    }

    /// Keeps the connection for the next mail after a good one; after a refusal it is not worth a reset.
    fn finish(&self, connection: AsyncSmtpConnection, result: Result<(), Failure>) -> Result<(), Failure> {
        if result.is_ok() {
            let idle = Idle { connection, since_ms: self.clock.now_ms() };
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(idle);
        }
        result
    }
}

impl Provider for Smtp {
    fn name(&self) -> &'static str {
        "smtp"
    }

    fn about(&self) -> About {
        About {
            name: "smtp",
            vendor: "the mail server",
            account: self.host.clone(),
            rate: self.rate,
            mend: "check host, port, tls, username and password",
            section: "[providers.smtp]",
        }
    }

    fn check(&self) -> Checking<'_> {
        Box::pin(self.probe())
    }
}

impl EmailProvider for Smtp {
    fn send<'a>(&'a self, email: &'a EmailSend) -> Sending<'a> {
        Box::pin(async move {
            let mail = match Mail::compose(email, &self.sender) {
                Ok(mail) => mail,
                Err(error) => return Outcome::Rejected { error: error.into() },
            };
            let handing_over = AtomicBool::new(false);
            // lettre's own time-out covers connecting only.
            match tokio::time::timeout(self.timeout, self.deliver(&mail, &handing_over)).await {
                Ok(Ok(())) => Outcome::Accepted { provider_id: mail.message_id() },
                Ok(Err(failure)) => failure.outcome(),
                Err(_) if handing_over.load(Ordering::Relaxed) => Outcome::Unknown { error: "timeout".into() },
                Err(_) => Outcome::RetryAfter { after_ms: None, error: "timeout".into() },
            }
        })
    }
}

/// The dialogue about one mail, step by step, so that a failure is known to be before or after the mail went over.
async fn hand_over(
    connection: &mut AsyncSmtpConnection,
    mail: &Mail,
    handing_over: &AtomicBool,
) -> Result<(), Failure> {
    let (envelope, bytes) = (mail.envelope(), mail.bytes());
    let mut parameters = Vec::new();
    if envelope.to().iter().chain(envelope.from()).any(|address| !address.to_string().is_ascii()) {
        if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
            return Err(Failure::NoUtf8);
        }
        parameters.push(MailParameter::SmtpUtfEight);
    }
    // Only such an address can be beyond ASCII: everything else is transfer-encoded.
    if !bytes.is_ascii() {
        parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    let at = |step| move |error| Failure::Introducing(step, error);
    connection.command(MailFrom::new(envelope.from().cloned(), parameters)).await.map_err(at(Step::MailFrom))?;
    for to in envelope.to() {
        connection.command(Rcpt::new(to.clone(), Vec::new())).await.map_err(at(Step::Rcpt))?;
    }
    connection.command(Data).await.map_err(at(Step::Data))?;
    handing_over.store(true, Ordering::Relaxed);
    hit(Point::SmtpData);
    connection.message(bytes).await.map_err(Failure::HandingOver)?;
    hit(Point::SmtpTaken);
    Ok(())
}

impl Failure {
    fn outcome(&self) -> Outcome {
        let not_sent = |error: String| Outcome::RetryAfter { after_ms: None, error };
        match self {
            Failure::Connecting(error) => not_sent(reply_code(error).unwrap_or_else(|| connecting(error).into())),
            Failure::NoStartTls => not_sent("starttls_not_offered".into()),
            Failure::NoUtf8 => Outcome::Rejected { error: "smtputf8_not_offered".into() },
            Failure::Introducing(_, error) | Failure::HandingOver(error) => match reply_code(error) {
                Some(code) if error.is_permanent() => Outcome::Rejected { error: code + &self.stage() },
                Some(code) => not_sent(code),
                None if matches!(self, Failure::Introducing(..)) => not_sent("connection_lost".into()),
                None => Outcome::Unknown { error: "connection_lost".into() },
            },
        }
    }

    /// Behind a code that was not said of the recipient (E5).
    fn stage(&self) -> String {
        match self {
            Failure::Introducing(Step::MailFrom, _) => format!(" {AT_MAIL_FROM}"),
            Failure::Introducing(Step::Data, _) | Failure::HandingOver(_) => format!(" {AT_DATA}"),
            Failure::Introducing(Step::Rcpt, _) | Failure::Connecting(_) | Failure::NoUtf8 | Failure::NoStartTls => {
                String::new()
            }
        }
    }
}

fn connecting(error: &Error) -> &'static str {
    match error {
        error if error.is_timeout() => "timeout",
        error if is_tls(error) => "tls",
        error if error.is_client() => "no_common_authentication",
        _ => "unreachable",
    }
}

/// lettre calls a failed handshake a lost connection; what rustls said lies below.
fn is_tls(error: &Error) -> bool {
    let mut below: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
    while let Some(error) = below {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if error.is::<rustls::Error>() || inner.is_some_and(|inner| inner.is::<rustls::Error>()) {
            return true;
        }
        below = error.source();
    }
    error.is_tls()
}

/// Whether the server, or something between, has ended the session: without a word, or with 421.
fn is_closed(error: &Error) -> bool {
    error.status().is_none_or(|code| u16::from(code) == 421)
}

/// `550 5.1.1`: the reply code, and the enhanced one (RFC 3463) where the server gives it. Never its text, which quotes
/// the address.
fn reply_code(error: &Error) -> Option<String> {
    let code = u16::from(error.status()?);
    let text = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    let enhanced = text.split_whitespace().next().filter(|word| is_enhanced(word));
    Some(enhanced.map_or_else(|| code.to_string(), |enhanced| format!("{code} {enhanced}")))
}

fn is_enhanced(word: &str) -> bool {
    let parts: Vec<&str> = word.split('.').collect();
    let digits = |part: &&str| (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    parts.len() == 3 && matches!(parts[0], "4" | "5") && parts.iter().all(digits)
}

fn tls(config: &SmtpConfig) -> Result<Option<TlsParameters>, SmtpConfigError> {
    if config.tls == SmtpTls::None {
        return Ok(None);
    }
    let mut tls = TlsParameters::builder(config.host.clone());
    if let Some(path) = &config.ca_file {
        let pem = read("ca_file", path)?;
        if !pem.contains("BEGIN CERTIFICATE") {
            return Err(SmtpConfigError::CaFile);
        }
        tls = tls.add_root_certificate(Certificate::from_pem(pem.as_bytes()).map_err(|_| SmtpConfigError::CaFile)?);
    }
    let checked = |error| if config.ca_file.is_some() { SmtpConfigError::CaFile } else { SmtpConfigError::Tls(error) };
    tls.build_rustls().map(Some).map_err(checked)
}

fn credentials(config: &SmtpConfig) -> Result<Option<Credentials>, SmtpConfigError> {
    let password = match (&config.password, &config.password_file) {
        (Some(_), Some(_)) => return Err(SmtpConfigError::PasswordTwice),
        (Some(password), None) => Some(password.clone()),
        (None, Some(path)) => Some(read("password_file", path)?.trim_end_matches(['\r', '\n']).to_owned()),
        (None, None) => None,
    };
    let given = |value: Option<String>| value.filter(|value| !value.is_empty());
    match (given(config.username.clone()), given(password)) {
        (Some(username), Some(password)) => Ok(Some(Credentials::new(username, password))),
        (Some(_), None) => Err(SmtpConfigError::HalfLogin("password")),
        (None, Some(_)) => Err(SmtpConfigError::HalfLogin("username")),
        (None, None) => Ok(None),
    }
}

fn read(key: &'static str, path: &Path) -> Result<String, SmtpConfigError> {
    std::fs::read_to_string(path).map_err(|error| SmtpConfigError::File { key, error })
}

fn is_host_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    (1..=253).contains(&name.len()) && name.bytes().all(allowed)
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
