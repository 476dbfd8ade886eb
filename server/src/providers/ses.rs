//! Email through Amazon SES (API v2): the finished mail, signed for AWS, and what SES says of it later by SNS.

mod config;
mod event;
mod probe;
mod reply;
mod sign;
mod sns;

pub use config::{SesConfig, SesConfigError};

use super::mail::{Mail, Sender};
use super::{
    About, Call, Callbacks, Checking, EmailProvider, EmailSend, Provider, Rate, Reading, Refused, Sending, Thanks,
    transport,
};
use crate::clock::Clock;
use backstop_domain::followup::Outcome;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reply::Reply;
use reqwest::{Method, RequestBuilder, Url};
use serde_json::json;
use sign::Signer;
use sns::Topics;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

const SEND_PATH: &str = "/v2/email/outbound-emails";
/// SNS takes messages of 256 KiB, which JSON in JSON makes longer.
const MAX_NOTIFICATION_BYTES: usize = 512 * 1024;
/// The tags that a notification names the try by.
const TAGS: [&str; 3] = ["workspace", "followup", "attempt"];
/// What mends that SES tells of mails without their tags.
const NAMELESS: &str = "publish bounces, complaints and deliveries by a configuration set, name it in \
    configuration_set of [providers.ses], and switch the identity's own notifications to that topic off";

/// Sends by one AWS account in one region.
pub struct Ses {
    http: reqwest::Client,
    region: String,
    base: Url,
    signer: Signer,
    sender: Sender,
    configuration_set: Option<String>,
    topics: Topics,
    timeout: Duration,
    rate: Option<Rate>,
    clock: Arc<dyn Clock>,
}

impl Ses {
    /// Checks all of `config`, but does not connect: a vendor that is down is no reason not to start.
    pub fn from_config(config: &SesConfig, clock: Arc<dyn Clock>) -> Result<Ses, SesConfigError> {
        let checked = config::check(config)?;
        let http = transport::builder(&checked.base, config.timeout_ms);
        let topics = Topics::new(config.topic_arns.clone(), checked.sns_base, config.timeout_ms);
        Ok(Ses {
            http: http.build().map_err(SesConfigError::Client)?,
            region: config.region.clone(),
            base: checked.base,
            signer: checked.signer,
            sender: checked.sender,
            configuration_set: config.configuration_set.clone(),
            topics: topics.map_err(SesConfigError::Client)?,
            timeout: Duration::from_millis(config.timeout_ms),
            rate: config.max_per_second.map(Rate::PerSecond),
            clock,
        })
    }

    /// The mail as it is, and what its notifications name it by. `None` = an address that SES does not carry.
    fn body(&self, email: &EmailSend, mail: &Mail) -> Option<Vec<u8>> {
        let to: Vec<String> = mail.envelope().to().iter().map(ToString::to_string).collect();
        if !to.iter().all(|address| address.is_ascii()) {
            return None;
        }
        let of = &email.envelope;
        let values = [of.workspace.clone(), of.followup_id.clone(), of.attempt.to_string()];
        let tags: Vec<_> =
            TAGS.iter().zip(values).map(|(name, value)| json!({ "Name": name, "Value": value })).collect();
        let mut body = json!({
            "Destination": { "ToAddresses": to },
            "Content": { "Raw": { "Data": STANDARD.encode(mail.bytes()) } },
            "EmailTags": tags,
        });
        if let Some(set) = &self.configuration_set {
            body["ConfigurationSetName"] = json!(set);
        }
        serde_json::to_vec(&body).ok()
    }

    /// A request as AWS takes it; `None` = it cannot be signed.
    fn request(&self, method: Method, path: &str, body: Vec<u8>) -> Option<RequestBuilder> {
        let url = self.base.join(path).ok()?;
        let signed = self.signer.sign(method.as_str(), url.as_str(), &body, self.wall_ms())?;
        let request = self.http.request(method, url).header("content-type", "application/json").body(body);
        Some(signed.into_iter().fold(request, |request, (name, value)| request.header(name, value)))
    }

    /// AWS compares with its own wall clock.
    fn wall_ms(&self) -> i64 {
        self.clock.now_ms() + self.clock.wall_offset_ms()
    }

    /// `sent` tells whether the mail may have left, for whoever gives up waiting.
    async fn deliver(&self, body: Vec<u8>, sent: &AtomicBool) -> Outcome {
        let Some(request) = self.request(Method::POST, SEND_PATH, body) else {
            return Outcome::RetryAfter { after_ms: None, error: "unsigned".into() };
        };
        let response = match transport::hand_over(request, sent).await {
            Ok(response) => response,
            Err(outcome) => return outcome,
        };
        let status = response.status().as_u16();
        let kind = response.headers().get("x-amzn-errortype").and_then(|kind| kind.to_str().ok()).map(str::to_owned);
        let retry_after = transport::retry_after(response.headers());
        let ahead_ms = transport::vendor_ahead_ms(response.headers(), self.wall_ms());
        let body = transport::read_bounded(response).await;
        let wait_ms = transport::wait_ms(retry_after.as_deref(), self.wall_ms());
        let reply = Reply { status, kind: kind.as_deref(), wait_ms, body: &body };
        if let Some(mend) = reply.mend() {
            metrics::counter!("backstop_alarms_total", "alarm" => "ses_configuration").increment(1);
            let clock = transport::clock_is_off(ahead_ms);
            tracing::error!(mend, status, clock, "SES refuses this account, or what it sends from");
        }
        reply.outcome()
    }
}

impl Provider for Ses {
    fn name(&self) -> &'static str {
        "ses"
    }

    fn about(&self) -> About {
        About {
            name: "ses",
            vendor: "Amazon SES",
            account: self.region.clone(),
            rate: self.rate,
            mend: "check region, access_key_id and secret_access_key, and what their IAM policy allows",
            section: "[providers.ses]",
        }
    }

    fn check(&self) -> Checking<'_> {
        Box::pin(self.probe())
    }
}

impl EmailProvider for Ses {
    fn send<'a>(&'a self, email: &'a EmailSend) -> Sending<'a> {
        Box::pin(async move {
            let mail = match Mail::compose(email, &self.sender) {
                Ok(mail) => mail,
                Err(error) => return Outcome::Rejected { error: error.into() },
            };
            let Some(body) = self.body(email, &mail) else {
                return Outcome::Rejected { error: "smtputf8_not_offered".into() };
            };
            let sent = AtomicBool::new(false);
            transport::within(self.timeout, &sent, self.deliver(body, &sent)).await
        })
    }
}

impl Callbacks for Ses {
    fn name(&self) -> &'static str {
        "ses"
    }

    fn account(&self) -> &str {
        &self.region
    }

    fn content_type(&self) -> &'static str {
        "text/plain"
    }

    fn max_bytes(&self) -> usize {
        MAX_NOTIFICATION_BYTES
    }

    fn thanks(&self) -> Thanks {
        Thanks::Ok
    }

    fn mend(&self) -> &'static str {
        "name the SNS topic in topic_arns of [providers.ses], and leave raw message delivery off, which signs nothing"
    }

    fn read<'a>(&'a self, call: &'a Call<'a>) -> Reading<'a> {
        Box::pin(async move {
            let refused = || Refused { url: call.path_and_query.split('?').next().unwrap_or_default().to_owned() };
            let notice = self.topics.open(call.body, self.wall_ms()).await.map_err(|fault| {
                tracing::debug!(%fault, "a call that SNS is said to make");
                refused()
            })?;
            let words = notice.map_or(Ok(Vec::new()), |message| event::words(&message));
            Ok(words.unwrap_or_else(|event::Nameless| {
                metrics::counter!("backstop_callbacks_total", "provider" => "ses", "word" => "nameless").increment(1);
                tracing::warn!(mend = NAMELESS, "a notification of SES does not say which mail it is about");
                Vec::new()
            }))
        })
    }
}

/// What an answer means. For `tests/fuzz`.
#[doc(hidden)]
pub fn understood(status: u16, kind: Option<&str>, body: &[u8]) -> Outcome {
    Reply { status, kind, wait_ms: None, body }.outcome()
}

/// What a notification that is proven says. For `tests/fuzz`.
#[doc(hidden)]
pub fn told(message: &str) -> Vec<super::Word> {
    event::words(message).unwrap_or_default()
}

/// Whether an envelope is signed by the key of this certificate (PEM). For `tests/fuzz`, and to be compared with
/// another validator.
#[doc(hidden)]
pub fn is_signed(envelope: &[u8], certificate: &[u8], now_ms: i64) -> bool {
    sns::is_signed(envelope, certificate, now_ms)
}

/// The headers that sign a request for SES. To be compared with AWS's own signer.
#[doc(hidden)]
pub fn signature(
    config: &SesConfig,
    method: &str,
    url: &str,
    body: &[u8],
    now_ms: i64,
) -> Option<Vec<(String, String)>> {
    config::check(config).ok()?.signer.sign(method, url, body, now_ms)
}
