//! Texts through Twilio's Messages API: sent, asked for, reported on.

mod callback;
mod config;
mod find;
mod probe;
mod reply;

pub use config::{TwilioConfig, TwilioConfigError};

use super::{
    About, Call, Callbacks, Checking, Finding, Provider, Rate, Reading, Refused, Sending, TextBody, TextProvider,
    TextQuery, TextSend, Thanks, Word, transport,
};
use backstop_domain::followup::{Found, Outcome};
use backstop_domain::text::Senders;
use reply::Reply;
use reqwest::header::{CONTENT_TYPE, DATE, RETRY_AFTER};
use reqwest::{RequestBuilder, Url};
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use url::form_urlencoded;
use zeroize::Zeroizing;

/// An answer to a send is read this far; Twilio's are about a kilobyte.
const MAX_REPLY_BYTES: usize = 64 * 1024;
/// An answer to a look-up is read this far: a page of texts of ten parts each.
const MAX_PAGE_BYTES: usize = 1024 * 1024;
/// What its signature comes in.
const SIGNATURE_HEADER: &str = "x-twilio-signature";
/// The longest a text may wait at Twilio, and the shortest.
const VALIDITY_S: (i64, i64) = (1, 36_000);

/// Sends by one Twilio account.
pub struct Twilio {
    http: reqwest::Client,
    account_sid: String,
    auth_token: Zeroizing<String>,
    sender: Sender,
    registered: Vec<String>,
    messages_url: Url,
    /// How Twilio reaches us; `None` = it does not, and reports nothing.
    public_url: Option<String>,
    timeout: Duration,
    rate: Option<Rate>,
}

/// Who a text comes from where the workspace has no number of its own.
enum Sender {
    Number(String),
    Service(String),
}

impl Twilio {
    /// Checks all of `config`, but does not connect: a vendor that is down is no reason not to start. `public_url` is
    /// where Twilio reports to.
    pub fn from_config(config: &TwilioConfig, public_url: Option<&str>) -> Result<Twilio, TwilioConfigError> {
        let checked = config::check(config)?;
        let http = transport::builder(&checked.messages_url, config.timeout_ms);
        Ok(Twilio {
            http: http.build().map_err(TwilioConfigError::Client)?,
            account_sid: config.account_sid.clone(),
            auth_token: checked.auth_token,
            sender: checked.sender,
            registered: config.registered_senders.clone(),
            messages_url: checked.messages_url,
            public_url: public_url.map(|url| url.trim_end_matches('/').to_owned()),
            timeout: Duration::from_millis(config.timeout_ms),
            rate: config.max_per_second.map(Rate::PerSecond),
        })
    }

    /// The request for one text. Twilio must change nothing of it: it is found again by what it says.
    fn form(&self, text: &TextSend, says: &str) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("To", &text.to);
        match (&text.from, &self.sender) {
            (Some(number), _) | (None, Sender::Number(number)) => form.append_pair("From", number),
            (None, Sender::Service(sid)) => form.append_pair("MessagingServiceSid", sid),
        };
        form.append_pair("Body", says);
        form.append_pair("SmartEncoded", "false");
        let left_s = text.expires_at_ms.saturating_sub(text.envelope.at_ms) / 1_000;
        form.append_pair("ValidityPeriod", &left_s.clamp(VALIDITY_S.0, VALIDITY_S.1).to_string());
        if let Some(url) = self.status_url(text) {
            form.append_pair("StatusCallback", &url);
        }
        form.finish()
    }

    /// Names the try, so that a report finds its place even before the answer to the send is here.
    fn status_url(&self, text: &TextSend) -> Option<String> {
        let envelope = &text.envelope;
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("workspace", &envelope.workspace)
            .append_pair("followup", &envelope.followup_id)
            .append_pair("attempt", &envelope.attempt.to_string())
            .finish();
        let base = self.public_url.as_ref()?;
        Some(format!("{base}/in/twilio/{}?{query}", self.account_sid))
    }

    fn signed(&self, request: RequestBuilder) -> RequestBuilder {
        request.basic_auth(&self.account_sid, Some(self.auth_token.as_str()))
    }

    /// `sent` tells whether the text may have left, for whoever gives up waiting.
    async fn deliver(&self, text: &TextSend, sent: &AtomicBool) -> Outcome {
        let TextBody::Xms { text: says, .. } = &text.body else {
            return Outcome::Rejected { error: "not_carried".into() };
        };
        let request = self.signed(self.http.post(self.messages_url.clone()));
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(self.form(text, says));
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
            metrics::counter!("backstop_alarms_total", "alarm" => "twilio_configuration").increment(1);
            tracing::error!(mend, status, "Twilio refuses this account");
        }
        reply.outcome()
    }

    async fn look(&self, query: &TextQuery<'_>) -> Found {
        let mut url = self.messages_url.clone();
        url.query_pairs_mut().append_pair("To", query.to).append_pair("PageSize", &find::PAGE_SIZE.to_string());
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

impl Provider for Twilio {
    fn name(&self) -> &'static str {
        "twilio"
    }

    fn about(&self) -> About {
        About {
            name: "twilio",
            vendor: "Twilio",
            account: self.account_sid.clone(),
            rate: self.rate,
            mend: "check account_sid, auth_token and base_url",
            section: "[providers.twilio]",
        }
    }

    fn check(&self) -> Checking<'_> {
        Box::pin(self.probe())
    }
}

impl TextProvider for Twilio {
    fn senders(&self) -> Senders {
        let shared = match &self.sender {
            Sender::Number(number) => Some(number.clone()),
            Sender::Service(_) => None,
        };
        Senders { shared, registered: self.registered.clone(), is_everybodys: false }
    }

    /// Its Messages resource takes no key.
    fn idempotent(&self) -> bool {
        false
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

impl Callbacks for Twilio {
    fn name(&self) -> &'static str {
        "twilio"
    }

    fn account(&self) -> &str {
        &self.account_sid
    }

    fn content_type(&self) -> &'static str {
        "application/x-www-form-urlencoded"
    }

    fn thanks(&self) -> Thanks {
        Thanks::Twiml
    }

    fn mend(&self) -> &'static str {
        "check [server] public_url, which must be what the vendor was given, and the account's auth_token"
    }

    fn read<'a>(&'a self, call: &'a Call<'a>) -> Reading<'a> {
        let url = self.public_url.as_ref().map(|base| format!("{base}{}", call.path_and_query));
        // Without a public URL nobody was told of this one.
        let refused = || Refused { url: callback::without_query(call.path_and_query).to_owned() };
        let read = url.ok_or_else(refused).and_then(|url| callback::read(&self.auth_token, &url, call));
        Box::pin(std::future::ready(read))
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

/// Whether a call is Twilio's, and what it says. For `tests/fuzz`, and to be compared with Twilio's own library.
#[doc(hidden)]
pub fn heard(auth_token: &str, url: &str, call: &Call<'_>) -> Result<Vec<Word>, Refused> {
    callback::read(auth_token, url, call)
}

/// What Twilio's signature of a call is. To be compared with Twilio's own library.
#[doc(hidden)]
pub fn signature(auth_token: &str, url: &str, body: &[u8]) -> String {
    callback::signature(auth_token, url, body)
}
