//! Texts on LINE: to its users by their id, by phone number where LINE sold that, and what its webhook says.

mod callback;
mod config;
mod message;
mod probe;
mod reply;

pub use config::{LineConfig, LineConfigError};

use super::{
    About, Call, Callbacks, Checking, Provider, Rate, Reading, Refused, Sending, TextBody, TextProvider, TextSend,
    Thanks, Word, transport,
};
use backstop_domain::followup::Outcome;
use backstop_domain::text::{Country, Reach, Way};
use reply::{Endpoint, Reply};
use reqwest::header::HeaderMap;
use reqwest::{RequestBuilder, Url};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use zeroize::Zeroizing;

/// What its signature comes in.
const SIGNATURE_HEADER: &str = "x-line-signature";
/// A call holds several events, each of at most a text of 5,000 characters.
const MAX_CALL_BYTES: usize = 512 * 1024;
/// Where LINE delivers by number.
const NOTIFIED_COUNTRIES: [&str; 3] = ["JP", "TH", "TW"];

/// Sends by one LINE Official Account, to users whose id is known.
pub struct Line {
    account: Arc<Account>,
}

/// Sends by the same account to numbers: "LINE notification messages", which LINE sells to companies.
pub struct LineNotification {
    account: Arc<Account>,
}

struct Account {
    http: reqwest::Client,
    token: Zeroizing<String>,
    channel_secret: Zeroizing<String>,
    bot_user_id: String,
    base_url: Url,
    /// Where LINE is to report to; `None` = nowhere.
    webhook_url: Option<String>,
    timeout: Duration,
    rate: Option<Rate>,
}

impl Line {
    /// Checks all of `config`, but does not connect: a vendor that is down is no reason not to start. `public_url` is
    /// how LINE reaches us.
    pub fn from_config(config: &LineConfig, public_url: Option<&str>) -> Result<Line, LineConfigError> {
        let checked = config::check(config)?;
        let http = transport::builder(&checked.base_url, config.timeout_ms);
        let account = Account {
            http: http.build().map_err(LineConfigError::Client)?,
            token: checked.token,
            channel_secret: checked.channel_secret,
            bot_user_id: config.bot_user_id.clone(),
            base_url: checked.base_url,
            webhook_url: public_url.map(|url| format!("{}/in/line/{}", url.trim_end_matches('/'), config.bot_user_id)),
            timeout: Duration::from_millis(config.timeout_ms),
            rate: config.max_per_second.map(Rate::PerSecond),
        };
        Ok(Line { account: Arc::new(account) })
    }

    /// The same account, by number.
    pub fn notification(&self) -> LineNotification {
        LineNotification { account: Arc::clone(&self.account) }
    }
}

impl Account {
    fn about(&self, name: &'static str) -> About {
        About {
            name,
            vendor: "LINE",
            account: self.bot_user_id.clone(),
            rate: self.rate,
            mend: "check channel_access_token, the account's plan and its quota of messages, and base_url",
            section: "[providers.line]",
        }
    }

    fn request(&self, endpoint: Endpoint, text: &TextSend) -> Result<RequestBuilder, &'static str> {
        let TextBody::Line(line) = &text.body else { return Err("not_carried") };
        let messages = message::messages(line);
        let url = self.base_url.join(endpoint.path()).map_err(|_| "not_carried")?;
        let request = self.http.post(url).bearer_auth(self.token.as_str());
        Ok(match (endpoint, &line.user_id) {
            (Endpoint::Push, Some(user)) => request
                .header("X-Line-Retry-Key", message::retry_key(&text.envelope))
                .json(&json!({ "to": user, "messages": messages })),
            (Endpoint::Notification, _) if !text.to.is_empty() => request
                .header("X-Line-Delivery-Tag", callback::tag(&text.envelope))
                .json(&json!({ "to": message::number_hash(&text.to), "messages": messages })),
            _ => return Err("no_recipient"),
        })
    }

    /// `sent` tells whether the text may have left, for whoever gives up waiting.
    async fn deliver(&self, endpoint: Endpoint, text: &TextSend, sent: &AtomicBool) -> Outcome {
        let request = match self.request(endpoint, text) {
            Ok(request) => request,
            Err(error) => return Outcome::Rejected { error: error.into() },
        };
        let response = match transport::hand_over(request, sent).await {
            Ok(response) => response,
            Err(outcome) => return outcome,
        };
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = transport::read_bounded(response).await;
        let text_of = |name: &str| header(&headers, name);
        let reply = Reply {
            endpoint,
            status,
            retry_after: text_of("retry-after"),
            request_id: text_of("x-line-request-id"),
            accepted_request_id: text_of("x-line-accepted-request-id"),
            body: &body,
        };
        if let Some(mend) = reply.mend() {
            metrics::counter!("backstop_alarms_total", "alarm" => "line_configuration").increment(1);
            tracing::error!(mend, status, "LINE refuses this account");
        }
        reply.outcome()
    }

    async fn send(&self, endpoint: Endpoint, text: &TextSend) -> Outcome {
        let sent = AtomicBool::new(false);
        transport::within(self.timeout, &sent, self.deliver(endpoint, text, &sent)).await
    }
}

impl Provider for Line {
    fn name(&self) -> &'static str {
        "line"
    }

    fn about(&self) -> About {
        self.account.about("line")
    }

    fn check(&self) -> Checking<'_> {
        Box::pin(self.account.probe())
    }
}

impl TextProvider for Line {
    fn ways(&self) -> &'static [Way] {
        &[Way::Line]
    }

    fn reach(&self) -> Reach {
        Reach::LineUsers
    }

    /// By its retry key, for a day.
    fn idempotent(&self) -> bool {
        true
    }

    fn send<'a>(&'a self, text: &'a TextSend) -> Sending<'a> {
        Box::pin(self.account.send(Endpoint::Push, text))
    }
}

impl Provider for LineNotification {
    fn name(&self) -> &'static str {
        "line_notification"
    }

    fn about(&self) -> About {
        self.account.about("line_notification")
    }

    fn check(&self) -> Checking<'_> {
        Box::pin(self.account.probe())
    }
}

impl TextProvider for LineNotification {
    fn ways(&self) -> &'static [Way] {
        &[Way::Line]
    }

    fn reach(&self) -> Reach {
        Reach::Countries(NOTIFIED_COUNTRIES.iter().filter_map(|code| Country::parse(code)).collect())
    }

    /// LINE refuses a retry key here.
    fn idempotent(&self) -> bool {
        false
    }

    /// What it takes, it may hold until the customer agrees to be told this way; its webhook says when it arrived.
    fn confirms(&self) -> bool {
        true
    }

    fn send<'a>(&'a self, text: &'a TextSend) -> Sending<'a> {
        Box::pin(self.account.send(Endpoint::Notification, text))
    }
}

impl Callbacks for Line {
    fn name(&self) -> &'static str {
        "line"
    }

    fn account(&self) -> &str {
        &self.account.bot_user_id
    }

    fn content_type(&self) -> &'static str {
        "application/json"
    }

    fn max_bytes(&self) -> usize {
        MAX_CALL_BYTES
    }

    fn thanks(&self) -> Thanks {
        Thanks::Ok
    }

    fn mend(&self) -> &'static str {
        "check channel_secret of [providers.line], and that no proxy changes the body"
    }

    fn read<'a>(&'a self, call: &'a Call<'a>) -> Reading<'a> {
        let heard = callback::read(&self.account.channel_secret, &self.account.bot_user_id, call);
        Box::pin(std::future::ready(heard))
    }
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// What an answer means; `is_push` = to a user's id. For `tests/fuzz`.
#[doc(hidden)]
pub fn understood(is_push: bool, status: u16, retry_after: Option<&str>, id: Option<&str>, body: &[u8]) -> Outcome {
    let endpoint = if is_push { Endpoint::Push } else { Endpoint::Notification };
    Reply { endpoint, status, retry_after, request_id: id, accepted_request_id: id, body }.outcome()
}

/// Whether a call is LINE's, and what it says. For `tests/fuzz`, and to be compared with LINE's own library.
#[doc(hidden)]
pub fn heard(channel_secret: &str, bot_user_id: &str, call: &Call<'_>) -> Result<Vec<Word>, Refused> {
    callback::read(channel_secret, bot_user_id, call)
}

/// What LINE's signature of a call is. To be compared with LINE's own library.
#[doc(hidden)]
pub fn signature(channel_secret: &str, body: &[u8]) -> String {
    callback::signature(channel_secret, body)
}
