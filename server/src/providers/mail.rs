//! An email as it leaves: who, to whom, under which id, saying what.

use super::{Answers, EmailReply, EmailSend};
use crate::mail::OwnSender;
use crate::telemetry::ALARMS;
use crate::templates::{self, FollowupEmail, Rendered, Reply};
use lettre::address::Envelope;
use lettre::message::MessageBuilder;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Body, Mailbox, MultiPart, MultiPartKind, SinglePart};
use lettre::{Address, Message};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::time::{Duration, SystemTime};

/// Display names and subjects are cut here: longer ones are an accident, and fold badly.
const MAX_HEADER_CHARS: usize = 120;
const BASE64_ABOVE: usize = 6;

/// Whom mail comes from, where the company has no domain of its own (E2).
#[derive(Clone)]
pub(super) struct Sender {
    pub address: Address,
    /// For companies without a display name.
    pub name: String,
}

/// An email, ready for the wire.
pub(super) struct Mail {
    content: Rendered,
    message: Message,
    envelope: Envelope,
    bytes: Vec<u8>,
    /// As a person reads them, for the outbox.
    from: String,
    to: String,
}

/// The headers that the outbox of a sandbox shows.
const SHOWN: [&str; 4] = ["Message-ID", "Date", "Auto-Submitted", "Reply-To"];

impl Mail {
    /// Renders, encodes and signs `send`. An error is the reason code for refusing it: what would smuggle a header is
    /// never mended silently.
    pub(super) fn compose(send: &EmailSend, sender: &Sender) -> Result<Mail, &'static str> {
        let mail = Mail::from(send, sender, send.dress.sender.as_ref())?;
        let Some(own) = &send.dress.sender else { return Ok(mail) };
        match own.signer.sign(&mail.bytes) {
            Ok(bytes) => Ok(Mail { bytes, ..mail }),
            Err(_) => {
                alarm("mail_signature");
                let workspace = &send.envelope.workspace;
                tracing::error!(workspace, "a mail could not be signed: it leaves from the deployment's domain");
                Mail::from(send, sender, None)
            }
        }
    }

    fn from(send: &EmailSend, sender: &Sender, own: Option<&OwnSender>) -> Result<Mail, &'static str> {
        let company = header_text(&send.company).ok_or("invalid_company_name")?;
        let company = if company.is_empty() { sender.name.clone() } else { company };
        let to_name = header_text(send.to_name.as_deref().unwrap_or_default()).ok_or("invalid_recipient_name")?;
        let to_address: Address = send.to.parse().map_err(|_| "invalid_address")?;
        let named = |address: &str| match address.parse() {
            Ok(address) => Ok(mailbox(&company, address)),
            Err(_) => Err("invalid_sender"),
        };
        let content = render(send, &company, &to_name);
        let hash = message_hash(&send.envelope.workspace, &send.envelope.effect_key);
        let from = match own {
            Some(own) => named(&own.address)?,
            None => mailbox(&company, sender.address.clone()),
        };
        let (reply_to, bounce_to) = match &send.dress.answers {
            Answers::Sender => (None, None),
            Answers::Company(address) => (Some(named(address)?), None),
            Answers::Here { reply_to, bounce_to } => (Some(named(reply_to)?), Some(bounce_to)),
        };
        let bounce_to = bounce_to.map_or(Ok(from.email.clone()), |to| to.parse().map_err(|_| "invalid_sender"))?;
        let envelope = Envelope::new(Some(bounce_to), vec![to_address.clone()]).map_err(|_| "invalid_address")?;
        let to = mailbox(&to_name, to_address);
        let (from_shown, to_shown) = (shown(&from), shown(&to));
        // Of a mail that was never sent, and the same in each: whoever compares finds one thread (E1). Not the id of
        // the first mail, which a relay may have written anew.
        let thread = format!("<{}@{}>", send.thread, sender.address.domain());
        let builder = Message::builder().from(from).to(to).subject(content.subject.clone());
        let builder = builder.in_reply_to(thread.clone()).references(thread);
        let builder = reply_to.into_iter().fold(builder, MessageBuilder::reply_to);
        let message = builder
            .date(SystemTime::UNIX_EPOCH + Duration::from_millis(send.envelope.at_ms.max(0) as u64))
            // The same at each repeat, whosever domain it comes from by then, so that a mail server and a reader can
            // tell it is one mail (E4).
            .message_id(Some(format!("<{hash}@{}>", sender.address.domain())))
            .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".into()))
            .multipart(
                MultiPart::builder()
                    .kind(MultiPartKind::Alternative)
                    .boundary(format!("backstop-{hash}"))
                    .singlepart(part(ContentType::TEXT_PLAIN, &content.text))
                    .singlepart(part(ContentType::TEXT_HTML, &content.html)),
            )
            .map_err(|_| "invalid_message")?;
        let bytes = message.formatted();
        Ok(Mail { content, message, envelope, bytes, from: from_shown, to: to_shown })
    }

    /// What a bounce will quote.
    pub(super) fn message_id(&self) -> Option<String> {
        self.message.headers().get_raw("Message-ID").map(str::to_owned)
    }

    /// Whom it goes to, and where it goes if it cannot.
    pub(super) fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The whole mail, signed if it is to be.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What the outbox of a sandbox shows.
    pub(super) fn payload(&self) -> Value {
        let mut headers = serde_json::Map::new();
        for name in SHOWN {
            headers.extend(self.message.headers().get_raw(name).map(|value| (name.to_owned(), value.into())));
        }
        let signature = self.bytes.strip_prefix(b"DKIM-Signature: ".as_slice()).map(first_header);
        headers.extend(signature.map(|value| ("DKIM-Signature".to_owned(), value.into())));
        json!({
            "from": self.from,
            "to": self.to,
            "envelope_from": self.envelope.from().map(ToString::to_string),
            "subject": self.content.subject,
            "text": self.content.text,
            "html": self.content.html,
            "headers": headers,
        })
    }
}

/// By the company's own template if it has one that can be used: no mail is lost for one that cannot.
fn render(send: &EmailSend, company: &str, to_name: &str) -> Rendered {
    let reads_answers = matches!(send.dress.answers, Answers::Here { .. });
    let email = FollowupEmail {
        company,
        customer_name: Some(to_name).filter(|name| !name.is_empty()),
        locale: send.locale.as_deref(),
        replies: send.replies.iter().map(reply).collect(),
        link: send.link.as_deref(),
        branding: &send.dress.branding,
        marker: reads_answers.then(|| backstop_domain::mail::marker(send.locale.as_deref())),
    };
    let Some(own) = &send.dress.template else { return templates::render(&email) };
    let (rendered, unusable) = templates::render_own(&email, own);
    if let Some(templates::Unusable(reason)) = unusable {
        alarm("email_template");
        let workspace = &send.envelope.workspace;
        tracing::error!(workspace, reason, "a template cannot be used for a mail: the built-in one was");
    }
    rendered
}

fn alarm(alarm: &'static str) {
    metrics::counter!(ALARMS, "alarm" => alarm).increment(1);
}

fn mailbox(name: &str, address: Address) -> Mailbox {
    Mailbox::new(Some(name.to_owned()).filter(|name| !name.is_empty()), address)
}

/// Up to where the next header begins, on one line.
fn first_header(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let folded = text.split("\r\n").enumerate().take_while(|(at, line)| *at == 0 || line.starts_with(['\t', ' ']));
    folded.map(|(_, line)| line.trim()).collect::<Vec<_>>().join(" ")
}

fn reply(reply: &EmailReply) -> Reply<'_> {
    Reply { author: &reply.author, text: &reply.text, at_ms: reply.at_ms }
}

/// One line without control characters; `None` when there are any inside.
fn header_text(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.contains(char::is_control)).then(|| text.chars().take(MAX_HEADER_CHARS).collect())
}

/// What stands before the `@` of a Message-ID: names the effect without telling what it is of.
pub(crate) fn message_hash(workspace: &str, effect_key: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(workspace.as_bytes());
    hash.update([0]);
    hash.update(effect_key.as_bytes());
    hex::encode(&hash.finalize()[..16])
}

/// Always transfer-encoded: no byte of a reply reaches the SMTP dialogue as it is (RUSTSEC-2026-0561). Quoted-printable
/// while it is the shorter one, as for European languages.
fn part(content_type: ContentType, text: &str) -> SinglePart {
    let beyond_ascii = text.bytes().filter(|byte| !byte.is_ascii()).count();
    let encoding = match beyond_ascii * BASE64_ABOVE > text.len() {
        true => ContentTransferEncoding::Base64,
        false => ContentTransferEncoding::QuotedPrintable,
    };
    let body = Body::new_with_encoding(text.to_owned(), encoding).expect("these two encodings take anything");
    SinglePart::builder().header(content_type).body(body)
}

fn shown(mailbox: &Mailbox) -> String {
    match &mailbox.name {
        Some(name) => format!("{name} <{}>", mailbox.email),
        None => mailbox.email.to_string(),
    }
}
