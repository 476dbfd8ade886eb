//! An email as it leaves: who, to whom, under which id, saying what.

use super::{EmailReply, EmailSend};
use crate::templates::{self, FollowupEmail, Rendered, Reply};
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
    pub message: Message,
    pub content: Rendered,
    /// As a person reads them, for the outbox.
    from: String,
    to: String,
}

impl Mail {
    /// Renders and encodes `send`. An error is the reason code for refusing it: what would smuggle a header is never
    /// mended silently.
    pub(super) fn compose(send: &EmailSend, sender: &Sender) -> Result<Mail, &'static str> {
        let company = header_text(&send.company).ok_or("invalid_company_name")?;
        let company = if company.is_empty() { sender.name.clone() } else { company };
        let to_name = header_text(send.to_name.as_deref().unwrap_or_default()).ok_or("invalid_recipient_name")?;
        let to_address: Address = send.to.parse().map_err(|_| "invalid_address")?;
        let content = templates::render(&FollowupEmail {
            company: &company,
            customer_name: Some(to_name.as_str()).filter(|name| !name.is_empty()),
            locale: send.locale.as_deref(),
            replies: send.replies.iter().map(reply).collect(),
            link: send.link.as_deref(),
        });
        let hash = message_hash(&send.envelope.workspace, &send.envelope.effect_key);
        let from = Mailbox::new(Some(company).filter(|name| !name.is_empty()), sender.address.clone());
        let to = Mailbox::new(Some(to_name).filter(|name| !name.is_empty()), to_address);
        let (from_shown, to_shown) = (shown(&from), shown(&to));
        let message = Message::builder()
            .from(from)
            .to(to)
            .subject(content.subject.clone())
            .date(SystemTime::UNIX_EPOCH + Duration::from_millis(send.envelope.at_ms.max(0) as u64))
            // The same at each repeat, so that a mail server and a reader can tell it is one mail (E4).
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
        Ok(Mail { message, content, from: from_shown, to: to_shown })
    }

    /// What a bounce will quote.
    pub(super) fn message_id(&self) -> Option<String> {
        self.message.headers().get_raw("Message-ID").map(str::to_owned)
    }

    /// What the outbox of a sandbox shows.
    pub(super) fn payload(&self) -> Value {
        let header = |name: &'static str| self.message.headers().get_raw(name).unwrap_or_default();
        json!({
            "from": self.from,
            "to": self.to,
            "subject": self.content.subject,
            "text": self.content.text,
            "html": self.content.html,
            "headers": {
                "Message-ID": header("Message-ID"),
                "Date": header("Date"),
                "Auto-Submitted": header("Auto-Submitted"),
            },
        })
    }
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
pub(super) fn message_hash(workspace: &str, effect_key: &str) -> String {
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
