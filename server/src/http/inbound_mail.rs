//! `POST /in/mail/{domain}`: a mail server hands over what comes to our addresses — answers of customers, and what
//! became of our mails (E3, E4, E5).
//!
//! Whatever is not taken in is answered 200 all the same, with the reason: a mail server that hears of an error sends a
//! notice, and two programs that answer each other's notices do so for ever.

use super::Api;
use super::answers::{Answered, Taken, take_in, whose};
use super::limits::Buckets;
use super::request::{Answer, Reply, credentials, no_route};
use crate::config::MailSection;
use crate::engine::api::{MailReport, MailWord};
use crate::mail::incoming::{EnvelopeSaid, Incoming, Kind, Unreadable};
use crate::mail::reply::{Purpose, Returned, open_address};
use crate::problem::{Code, Problem};
use crate::providers::message_hash;
use crate::store::{FollowupRow, InboundChannel};
use crate::vault::sha256;
use crate::workspace::Workspace;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use backstop_domain::Ms;
use backstop_domain::ids::FollowupId;
use backstop_domain::mail::{Fate, StatusReport, Thin, machine, verdict};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt as _;
use serde::Serialize;
use std::num::NonZeroU32;
use std::sync::Arc;
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;

/// Mail servers take so much from one another.
const MAX_BYTES: usize = 25 * 1024 * 1024;
/// Mails that are read at once: each takes some megabytes.
const HANDS: usize = 8;
/// Answers by mail to one conversation, an hour: a person writes fewer, a loop would write more.
const ANSWERS_PER_HOUR: NonZeroU32 = NonZeroU32::new(30).expect("thirty is not zero");
/// When a mail server that came while all hands were full is to come again.
const BUSY_RETRY_MS: Ms = 5_000;
const MIN_SECRET_CHARS: usize = 16;
const ENVELOPE_TO: &str = "backstop-envelope-to";
const ENVELOPE_FROM: &str = "backstop-envelope-from";

/// Takes mails in for one domain.
pub struct MailIn {
    domain: String,
    secret: [u8; 32],
    answers: Buckets,
    hands: Semaphore,
}

/// What is wrong with `[mail]`, and what mends it. Never quotes a secret.
#[derive(Debug, thiserror::Error)]
pub enum MailInError {
    /// A secret for no address.
    #[error("[mail] reply_domain is missing: inbound_secret is for mail that comes to it")]
    NoDomain,
    /// Two secrets.
    #[error("[mail] inbound_secret and inbound_secret_file are both set: keep one")]
    SecretTwice,
    /// A file that cannot be read.
    #[error("[mail] inbound_secret_file cannot be read ({0}): name a file that this user may read")]
    File(#[source] std::io::Error),
    /// A secret that is soon guessed.
    #[error("[mail] inbound_secret has less than {MIN_SECRET_CHARS} characters: make one with openssl rand -hex 32")]
    Short,
}

impl MailIn {
    /// As `[mail]` says; `None` = it takes nothing in.
    pub fn from_config(config: &MailSection) -> Result<Option<MailIn>, MailInError> {
        let secret = match (&config.inbound_secret, &config.inbound_secret_file) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => return Err(MailInError::SecretTwice),
            (Some(secret), None) => secret.clone(),
            (None, Some(path)) => std::fs::read_to_string(path).map_err(MailInError::File)?,
        };
        let domain = config.reply_domain.as_deref().ok_or(MailInError::NoDomain)?;
        let secret = secret.trim();
        if secret.chars().count() < MIN_SECRET_CHARS {
            return Err(MailInError::Short);
        }
        Ok(Some(MailIn::new(domain, secret)))
    }

    /// For the addresses at `domain`; `secret` is the mail server's.
    pub fn new(domain: &str, secret: &str) -> MailIn {
        let answers = Buckets::per_hour(ANSWERS_PER_HOUR);
        MailIn { domain: domain.to_owned(), secret: sha256(secret.as_bytes()), answers, hands: Semaphore::new(HANDS) }
    }

    /// Bearer, or Basic with any name and the secret as password.
    fn is_proven(&self, headers: &HeaderMap) -> bool {
        let basic = credentials(headers, "Basic").and_then(|given| STANDARD.decode(given).ok());
        let basic = basic.and_then(|pair| pair.iter().position(|byte| *byte == b':').map(|at| pair[at + 1..].to_vec()));
        let given = credentials(headers, "Bearer").map(|given| given.as_bytes().to_vec()).or(basic);
        given.is_some_and(|given| bool::from(sha256(&given).ct_eq(&self.secret)))
    }
}

/// What became of a mail.
#[derive(Serialize)]
pub(super) struct Received {
    /// `taken_in`, `repeated`, `noted` (it was about a mail of ours) or `refused`.
    result: &'static str,
    /// Why it was refused.
    reason: Option<&'static str>,
    /// The customer's message that it is.
    message_id: Option<String>,
}

impl Received {
    fn refused(reason: &'static str) -> Received {
        Received { result: "refused", reason: Some(reason), message_id: None }
    }
}

/// Not in the API's document: for the mail server of `[mail] reply_domain` alone. The body is the mail as it came.
/// `Backstop-Envelope-To` and `Backstop-Envelope-From` say what the envelope said, else the mail's own headers do.
pub(super) async fn post(
    State(api): State<Arc<Api>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Answer {
    let Ok(Path(domain)) = path else { return Err(no_route().await) };
    let (parts, body) = request.into_parts();
    api.limits.check_address(&parts)?;
    let door = api.mail_in.as_ref().filter(|door| door.domain.eq_ignore_ascii_case(&domain));
    let Some(door) = door else { return Err(no_route().await) };
    if !door.is_proven(&parts.headers) {
        let detail = "the secret is not [mail] inbound_secret: send it as Bearer, or as the password of Basic";
        return Err(Problem::new(Code::Unauthorized, detail));
    }
    must_be_mail(&parts.headers)?;
    let reading = tokio::time::timeout(api.limits.body_timeout, door.hands.acquire()).await;
    let Ok(Ok(_hand)) = reading else { return Err(Problem::rate_limited(BUSY_RETRY_MS)) };
    let raw = receive(&api, &parts.headers, body).await?;
    let received = judge(&api, door, &parts, raw).await?;
    let reason = received.reason.unwrap_or("none");
    metrics::counter!("backstop_inbound_mail_total", "result" => received.result, "reason" => reason).increment(1);
    Ok(Reply::ok(&received))
}

fn must_be_mail(headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let is_mail = given.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case("message/rfc822");
    if is_mail && !headers.contains_key(header::CONTENT_ENCODING) {
        return Ok(());
    }
    let detail = "send the mail as it came, not compressed, with Content-Type: message/rfc822";
    Err(Problem::new(Code::UnsupportedMediaType, detail))
}

/// The mail, thinned as it comes: 25 MiB never lie in memory.
async fn receive(api: &Api, headers: &HeaderMap, mut body: Body) -> Result<Vec<u8>, Problem> {
    let too_large = || Problem::new(Code::PayloadTooLarge, format!("a mail here has at most {MAX_BYTES} bytes"));
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if declared.and_then(|value| value.parse::<u64>().ok()).is_some_and(|bytes| bytes > MAX_BYTES as u64) {
        return Err(too_large());
    }
    let read = async {
        let (mut thin, mut bytes) = (Thin::default(), 0);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Problem::new(Code::InvalidRequest, "the body ended early"))?;
            let Some(data) = frame.data_ref() else { continue };
            bytes += data.len();
            if bytes > MAX_BYTES {
                return Err(too_large());
            }
            thin.push(data);
        }
        Ok(thin.finish().0)
    };
    let within = api.limits.body_timeout;
    let late = || Problem::new(Code::RequestTimeout, format!("the body took longer than {} s", within.as_secs()));
    tokio::time::timeout(within, read).await.unwrap_or_else(|_| Err(late()))
}

async fn judge(api: &Api, door: &MailIn, parts: &Parts, raw: Vec<u8>) -> Result<Received, Problem> {
    let said = |name: &str| parts.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let (to, from) = (said(ENVELOPE_TO), said(ENVELOPE_FROM));
    let read = tokio::task::spawn_blocking(move || {
        let mail = Incoming::read(&raw, EnvelopeSaid { to: to.as_deref(), from: from.as_deref() });
        // Of a mail without an id its bytes are the id.
        mail.map(|mail| (mail, sha256(&raw)))
    });
    let (mail, hash) = match read.await {
        Ok(Ok(read)) => read,
        Ok(Err(Unreadable::TooNested)) => return Ok(Received::refused("too_nested")),
        // A fault while it was read is the mail's: the panic hook has logged it.
        Ok(Err(Unreadable::NotAMail)) | Err(_) => return Ok(Received::refused("unreadable")),
    };
    let quoted = match &mail.kind {
        Kind::Letter { .. } => &[],
        Kind::Delivery { quoted, .. } | Kind::Feedback { quoted, .. } => quoted.as_slice(),
    };
    let Some(about) = addressed(api, door, mail.recipients.iter().chain(quoted)).await? else {
        return Ok(Received::refused("unknown_address"));
    };
    match &mail.kind {
        Kind::Letter { text } => letter(api, door, &about, &mail, hash, text).await,
        Kind::Delivery { reports, .. } => delivery(api, &about, reports).await,
        Kind::Feedback { complains: true, .. } => noted(api, &about, None, MailWord::Complained).await,
        Kind::Feedback { complains: false, .. } => Ok(Received::refused("no_complaint")),
    }
}

/// What one of our addresses says.
struct About {
    ws: Arc<Workspace>,
    purpose: Purpose,
    followup: FollowupId,
}

/// The first address that is one of ours.
async fn addressed(
    api: &Api,
    door: &MailIn,
    addresses: impl Iterator<Item = &String>,
) -> Result<Option<About>, Problem> {
    // Whose clock it expires by is known only once it is open.
    let mut ours = addresses.filter_map(|given| open_address(&api.vault, given, &door.domain, 0).map(|it| (given, it)));
    let Some((address, (purpose, Returned { workspace, followup }))) = ours.next() else { return Ok(None) };
    let Some(ws) = api.registry.by_id(workspace).await? else { return Ok(None) };
    let is_good = open_address(&api.vault, address, &door.domain, api.clocks.now_ms(workspace)).is_some();
    Ok(is_good.then_some(About { ws, purpose, followup }))
}

/// E3: the text becomes the customer's message, unless a machine wrote it (E4).
async fn letter(
    api: &Api,
    door: &MailIn,
    about: &About,
    mail: &Incoming,
    hash: [u8; 32],
    text: &str,
) -> Result<Received, Problem> {
    let About { ws, purpose, followup } = about;
    let Some(whose) = whose(api, ws, *followup).await? else { return Ok(Received::refused("unknown_address")) };
    let (row, _) = &whose;
    if let Some(machine) = machine(&mail.signs(is_ours(door, ws, row, mail))) {
        return Ok(Received::refused(machine.as_str()));
    }
    if *purpose == Purpose::Bounce {
        return Ok(Received::refused("no_report"));
    }
    if text.is_empty() {
        return Ok(Received::refused("nothing_new"));
    }
    // A program that is answered by another gets a new follow-up each time, in the same conversation.
    if door.answers.check((ws.id, &row.customer_id, &row.conversation_id)).is_err() {
        return Ok(Received::refused("too_many"));
    }
    let mark = match &mail.message_id {
        Some(id) => [b"mail\0", id.as_bytes()].concat(),
        None => [&b"hash\0"[..], &hash].concat(),
    };
    let (channel, from) = (InboundChannel::Email, Some(mail.from.as_deref().unwrap_or_default()));
    let answered = Answered { channel, mark: &mark, from, text };
    let (result, message_id) = match take_in(api, ws, &whose, answered).await? {
        Taken::In(id) => ("taken_in", id),
        Taken::Before(id) => ("repeated", id),
        Taken::Unknown => return Ok(Received::refused("unknown_address")),
    };
    Ok(Received { result, reason: None, message_id: Some(message_id) })
}

/// Whether it is one of our own mails: its id is the one that we gave, or that the provider (SES) gave it instead, or
/// it comes from where it goes to.
fn is_ours(door: &MailIn, ws: &Workspace, row: &FollowupRow, mail: &Incoming) -> bool {
    let local = mail.message_id.as_deref().and_then(|id| id.split_once('@')).map(|(local, _)| local);
    let own = message_hash(&ws.name, &format!("{}:email", row.id));
    let given = row.state.email.provider_id.as_deref();
    let domain = mail.from.as_deref().and_then(|from| from.rsplit_once('@')).map(|(_, domain)| domain);
    local.is_some_and(|local| local == own || Some(local) == given)
        || domain.is_some_and(|domain| domain.eq_ignore_ascii_case(&door.domain))
}

/// E5: what became of the mail. What is still tried is no news.
async fn delivery(api: &Api, about: &About, reports: &[StatusReport]) -> Result<Received, Problem> {
    let Some(report) = reports.iter().find(|report| report.fate != Fate::Open) else {
        return Ok(Received::refused("not_final"));
    };
    let word = match report.fate {
        Fate::Delivered => MailWord::Delivered,
        Fate::Failed | Fate::Open => {
            let code = if report.status.is_empty() { "bounced" } else { &report.status };
            MailWord::Failed { code: code.to_owned(), verdict: verdict(&report.status) }
        }
    };
    noted(api, about, report.recipients.first().cloned(), word).await
}

async fn noted(api: &Api, about: &About, recipient: Option<String>, word: MailWord) -> Result<Received, Problem> {
    let report = MailReport { followup: about.followup, attempt: None, recipient, provider_id: None, word };
    if !api.engine.mail_reported(&about.ws, report).await? {
        return Ok(Received::refused("unknown_address"));
    }
    Ok(Received { result: "noted", reason: None, message_id: None })
}
