//! Texts through Solapi, a Korean relay: SMS, LMS and Alimtalk to Korean numbers; asked for, reported on.
//!
//! What follows a failed Alimtalk is decided here and not there (`disableSms`): two owners of one fallback would send
//! twice.

mod callback;
mod config;
mod find;
mod number;
mod probe;
mod reply;
mod sign;
mod status;

pub use config::{SolapiConfig, SolapiConfigError};

use super::{
    About, Alimtalk, Call, Callbacks, Checking, Finding, Provider, Rate, Reading, Refused, Sending, TextBody,
    TextProvider, TextQuery, TextSend, Thanks, Word, transport,
};
use crate::clock::Clock;
use backstop_domain::followup::{Found, Outcome};
use backstop_domain::text::{Country, Form, Reach, Senders, Way};
use number::{KOREA, national};
use reply::Reply;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, DATE, RETRY_AFTER};
use reqwest::{RequestBuilder, Url};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use zeroize::Zeroizing;

/// An answer to a send is read this far; Solapi's are a few kilobytes.
const MAX_REPLY_BYTES: usize = 256 * 1024;
/// An answer to a look-up is read this far: a page of long texts.
const MAX_PAGE_BYTES: usize = 2 * 1024 * 1024;
/// A call brings many reports at once.
const MAX_CALL_BYTES: usize = 1024 * 1024;
/// Of an LMS, in bytes of CP949 (code 1014).
const MAX_SUBJECT_BYTES: usize = 40;

/// Sends by one Solapi account.
pub struct Solapi {
    http: reqwest::Client,
    api_key: String,
    api_secret: Zeroizing<String>,
    /// E.164.
    from: String,
    registered: Vec<String>,
    /// `None` = nobody calls: what became of a text is asked for.
    webhook: Option<callback::Secret>,
    base_url: Url,
    clock: Arc<dyn Clock>,
    timeout: Duration,
    rate: Option<Rate>,
}

impl Solapi {
    /// Checks all of `config`, but does not connect: a vendor that is down is no reason not to start.
    pub fn from_config(config: &SolapiConfig, clock: Arc<dyn Clock>) -> Result<Solapi, SolapiConfigError> {
        let checked = config::check(config)?;
        let http = transport::builder(&checked.base_url, config.timeout_ms);
        Ok(Solapi {
            http: http.build().map_err(SolapiConfigError::Client)?,
            api_key: config.api_key.clone(),
            api_secret: checked.api_secret,
            from: checked.from,
            registered: checked.registered,
            webhook: checked.webhook,
            base_url: checked.base_url,
            clock,
            timeout: Duration::from_millis(config.timeout_ms),
            rate: config.max_per_second.map(Rate::PerSecond),
        })
    }

    /// Whether Solapi can prove that a call is its own.
    pub fn hears(&self) -> bool {
        self.webhook.is_some()
    }

    /// A request that is signed once, for now: Solapi takes no signature twice.
    fn signed(&self, request: RequestBuilder) -> RequestBuilder {
        let now_ms = self.clock.now_ms() + self.clock.wall_offset_ms();
        request.header(AUTHORIZATION, sign::authorization(&self.api_key, &self.api_secret, now_ms, &sign::salt()))
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base_url.clone();
        url.set_path(path);
        url
    }

    /// `sent` tells whether the text may have left, for whoever gives up waiting.
    async fn deliver(&self, text: &TextSend, sent: &AtomicBool) -> Outcome {
        let body = match request(text, &self.from) {
            Ok(body) => body.to_string(),
            Err(error) => return Outcome::Rejected { error: error.into() },
        };
        let request = self.signed(self.http.post(self.url("/messages/v4/send-many/detail")));
        let request = request.header(CONTENT_TYPE, "application/json").body(body);
        let response = match transport::hand_over(request, sent).await {
            Ok(response) => response,
            Err(outcome) => return outcome,
        };
        let retry_after = response.headers().get(RETRY_AFTER).cloned();
        let status = response.status().as_u16();
        let body = transport::read_whole(response, MAX_REPLY_BYTES).await.unwrap_or_else(|part| part);
        let retry_after = retry_after.as_ref().and_then(|value| value.to_str().ok());
        let reply = Reply { status, retry_after, body: &body };
        if let Some(mend) = reply.mend() {
            alarm(mend, reply.code());
        }
        reply.outcome()
    }

    async fn look(&self, query: &TextQuery<'_>) -> Found {
        let mut url = self.url("/messages/v4/list");
        find::ask(query, &mut url);
        let Ok(response) = self.signed(self.http.get(url)).send().await else { return Found::Unclear };
        let date = response.headers().get(DATE).and_then(|date| date.to_str().ok()).map(str::to_owned);
        let status = response.status().as_u16();
        match transport::read_whole(response, MAX_PAGE_BYTES).await {
            Ok(page) if status == 200 => find::found(&page, date.as_deref(), query),
            // A page that is cut off says nothing of what was on the rest of it.
            _ => Found::Unclear,
        }
    }
}

/// The request for one text, with every field named: nothing is guessed there.
fn request(text: &TextSend, own: &str) -> Result<Value, &'static str> {
    let envelope = &text.envelope;
    let to = national(&text.to).ok_or("not_korean")?;
    let from = national(text.from.as_deref().unwrap_or(own)).ok_or("bad_sender")?;
    let mut message = json!({
        "to": to, "from": from, "country": KOREA, "autoTypeDetect": false,
        "customFields": {
            "workspace": envelope.workspace,
            "followup": envelope.followup_id,
            "attempt": envelope.attempt.to_string(),
        },
    });
    match &text.body {
        TextBody::Xms { form: Form::Lms, subject, text } => {
            message["type"] = "LMS".into();
            message["text"] = text.as_str().into();
            if let Some(subject) = subject.as_deref().map(short_subject).filter(|subject| !subject.is_empty()) {
                message["subject"] = subject.into();
            }
        }
        TextBody::Xms { text, .. } => {
            message["type"] = "SMS".into();
            message["text"] = text.as_str().into();
        }
        TextBody::Alimtalk(alimtalk) => {
            message["type"] = "ATA".into();
            message["kakaoOptions"] = kakao_options(alimtalk);
        }
        TextBody::Line(_) => return Err("not_carried"),
    }
    Ok(json!({ "messages": [message], "allowDuplicates": true, "showMessageList": true }))
}

/// The relay fills the template in from the same values as we did.
fn kakao_options(alimtalk: &Alimtalk) -> Value {
    let variables = alimtalk.variables.iter().map(|(name, value)| (format!("#{{{name}}}"), value.as_str().into()));
    json!({
        "pfId": alimtalk.sender_profile,
        "templateId": alimtalk.template_id,
        "variables": variables.collect::<Map<String, Value>>(),
        "disableSms": true,
    })
}

/// What the phone shows above an LMS.
fn short_subject(subject: &str) -> String {
    let mut bytes = 0;
    let fits = |c: &char| {
        bytes += if c.is_ascii() { 1 } else { 2 };
        bytes <= MAX_SUBJECT_BYTES
    };
    subject.chars().map(|c| if c.is_control() { ' ' } else { c }).take_while(fits).collect::<String>().trim().to_owned()
}

/// Something of ours is to be mended, or every text fails like this one.
fn alarm(mend: &'static str, code: Option<u16>) {
    metrics::counter!("backstop_alarms_total", "alarm" => "solapi_configuration").increment(1);
    tracing::error!(mend, code, "Solapi refuses what is configured");
}

impl Provider for Solapi {
    fn name(&self) -> &'static str {
        "solapi"
    }

    fn about(&self) -> About {
        About {
            name: "solapi",
            vendor: "Solapi",
            account: self.api_key.clone(),
            rate: self.rate,
            mend: "check api_key, api_secret and base_url, the account's balance, and this server's clock",
            section: "[providers.solapi]",
        }
    }

    fn check(&self) -> Checking<'_> {
        Box::pin(self.probe())
    }
}

impl TextProvider for Solapi {
    fn ways(&self) -> &'static [Way] {
        &[Way::Alimtalk, Way::Xms]
    }

    /// Abroad it relays to others, and counts otherwise.
    fn reach(&self) -> Reach {
        Reach::Countries(Country::parse("KR").into_iter().collect())
    }

    /// It takes no key.
    fn idempotent(&self) -> bool {
        false
    }

    /// Kakao's word on an Alimtalk comes after Solapi's.
    fn confirms(&self) -> bool {
        true
    }

    fn is_korean(&self) -> bool {
        true
    }

    fn max_sms_bytes(&self) -> u16 {
        90
    }

    fn senders(&self) -> Senders {
        Senders { shared: Some(self.from.clone()), registered: self.registered.clone(), is_everybodys: false }
    }

    fn send<'a>(&'a self, text: &'a TextSend) -> Sending<'a> {
        Box::pin(async move {
            let sent = AtomicBool::new(false);
            transport::within(self.timeout, &sent, self.deliver(text, &sent)).await
        })
    }

    fn find<'a>(&'a self, query: &'a TextQuery<'a>) -> Option<Finding<'a>> {
        Some(Box::pin(
            async move { tokio::time::timeout(self.timeout, self.look(query)).await.unwrap_or(Found::Unclear) },
        ))
    }

    fn can_find(&self) -> bool {
        true
    }
}

impl Callbacks for Solapi {
    fn name(&self) -> &'static str {
        "solapi"
    }

    fn account(&self) -> &str {
        &self.api_key
    }

    fn content_type(&self) -> &'static str {
        "application/json"
    }

    fn max_bytes(&self) -> usize {
        MAX_CALL_BYTES
    }

    /// Anything but 200 is called again, five times.
    fn thanks(&self) -> Thanks {
        Thanks::Ok
    }

    fn mend(&self) -> &'static str {
        "give the webhook in Solapi's console the secret of webhook_secret in [providers.solapi]"
    }

    fn read<'a>(&'a self, call: &'a Call<'a>) -> Reading<'a> {
        let refused = || Refused { url: call.path_and_query.to_owned() };
        let heard = self.webhook.as_ref().ok_or_else(refused).and_then(|secret| callback::read(secret, call));
        Box::pin(std::future::ready(heard))
    }
}

/// What an answer means. For `tests/fuzz`.
#[doc(hidden)]
pub fn understood(status: u16, retry_after: Option<&str>, body: &[u8]) -> Outcome {
    Reply { status, retry_after, body }.outcome()
}

/// What a page of texts says. For `tests/fuzz`.
#[doc(hidden)]
pub fn looked_up(page: &[u8], date: Option<&str>, query: &TextQuery<'_>) -> Found {
    find::found(page, date, query)
}

/// Whether a call is Solapi's, and what it says. For `tests/fuzz`.
#[doc(hidden)]
pub fn heard(webhook_secret: &str, call: &Call<'_>) -> Result<Vec<Word>, Refused> {
    callback::read(&callback::Secret::new(config::DEFAULT_SECRET_HEADER, webhook_secret), call)
}

/// What the header of a call that is Solapi's holds. For the tests' double of it.
#[doc(hidden)]
pub fn proof(webhook_secret: &str) -> String {
    callback::proof(webhook_secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An LMS's subject holds 40 bytes, and no half of a character.
    #[test]
    fn a_subject_is_cut_at_40_bytes() {
        assert_eq!(short_subject("바다상점"), "바다상점");
        assert_eq!(short_subject(&"가".repeat(20)), "가".repeat(20));
        assert_eq!(short_subject(&"가".repeat(21)), "가".repeat(20));
        assert_eq!(short_subject(&format!("a{}", "가".repeat(20))), format!("a{}", "가".repeat(19)));
        assert_eq!(short_subject(" a\r\nb "), "a  b");
    }
}
