//! Texts through any gateway that speaks our own protocol: JSON over HTTP, signed by Standard Webhooks both ways.
//!
//! `openapi.json` describes it (webhook `text`); `server/examples/gateway.py` is a whole one in a page.

mod callback;
mod config;
mod reply;
pub mod wire;

pub use config::{GatewayConfig, GatewayConfigError};

use super::{
    About, Call, Callbacks, CheckError, Checked, Checking, Provider, Rate, Reading, Refused, Sending, TextBody,
    TextProvider, TextSend, Word, transport,
};
use crate::clock::Clock;
use crate::number;
use crate::signing::Secret;
use backstop_domain::Ms;
use backstop_domain::followup::Outcome;
use backstop_domain::text::{Form, Reach, Senders};
use backstop_wire::time::to_rfc3339;
use reply::Reply;
use reqwest::Url;
use reqwest::header::CONTENT_TYPE;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use wire::{GatewayForm, GatewayReference, GatewayText};

/// Sends by one gateway.
pub struct Gateway {
    http: reqwest::Client,
    url: Url,
    secret: Secret,
    account: String,
    /// Where it is to report to; `None` = nowhere.
    report_url: Option<String>,
    senders: Senders,
    reach: Reach,
    is_korean: bool,
    is_idempotent: bool,
    timeout: Duration,
    rate: Option<Rate>,
    clock: Arc<dyn Clock>,
}

impl Gateway {
    /// Checks all of `config`, but does not connect. `public_url` is how the gateway reaches us.
    pub fn from_config(
        config: &GatewayConfig,
        public_url: Option<&str>,
        clock: Arc<dyn Clock>,
    ) -> Result<Gateway, GatewayConfigError> {
        let checked = config::check(config)?;
        let http = transport::builder(&checked.url, config.timeout_ms);
        let report_url = public_url.map(|url| format!("{}/in/gateway/{}", url.trim_end_matches('/'), config.account));
        Ok(Gateway {
            http: http.build().map_err(GatewayConfigError::Client)?,
            url: checked.url,
            secret: checked.secret,
            account: config.account.clone(),
            report_url,
            senders: Senders {
                shared: config.from.clone(),
                registered: config.registered_senders.clone(),
                is_everybodys: false,
            },
            reach: checked.reach,
            is_korean: config.korean,
            is_idempotent: config.idempotent,
            timeout: Duration::from_millis(config.timeout_ms),
            rate: config.max_per_second.map(Rate::PerSecond),
            clock,
        })
    }

    /// As others tell the time: what is signed or dated for them follows the wall clock.
    fn wall_ms(&self) -> Ms {
        self.clock.now_ms() + self.clock.wall_offset_ms()
    }

    fn body(&self, text: &TextSend) -> Option<Vec<u8>> {
        let TextBody::Xms { form, subject, text: says } = &text.body else { return None };
        let envelope = &text.envelope;
        let body = GatewayText {
            id: envelope.effect_key.clone(),
            to: text.to.clone(),
            from: text.from.clone().or_else(|| self.senders.shared.clone()),
            form: if *form == Form::Lms { GatewayForm::Lms } else { GatewayForm::Sms },
            subject: subject.clone(),
            text: says.clone(),
            country: number::look_up(&text.to).0.map(|country| country.to_string()),
            expires_at: to_rfc3339(text.expires_at_ms.saturating_add(self.clock.wall_offset_ms())),
            reference: GatewayReference {
                workspace: envelope.workspace.clone(),
                followup_id: envelope.followup_id.clone(),
                attempt: envelope.attempt,
            },
            report_url: self.report_url.clone(),
        };
        serde_json::to_vec(&body).ok()
    }

    /// `sent` tells whether the text may have left, for whoever gives up waiting.
    async fn deliver(&self, text: &TextSend, sent: &AtomicBool) -> Outcome {
        let Some(body) = self.body(text) else { return Outcome::Rejected { error: "not_carried".into() } };
        let mut request = self.http.post(self.url.clone()).header(CONTENT_TYPE, "application/json");
        for (name, value) in self.secret.headers(&text.envelope.effect_key, self.wall_ms(), &body) {
            request = request.header(name, value);
        }
        let response = match transport::hand_over(request.body(body), sent).await {
            Ok(response) => response,
            Err(outcome) => return outcome,
        };
        let status = response.status().as_u16();
        let retry_after = transport::retry_after(response.headers());
        let body = transport::read_bounded(response).await;
        if matches!(status, 401 | 403) {
            metrics::counter!("backstop_alarms_total", "alarm" => "gateway_configuration").increment(1);
            tracing::error!(status, "the gateway refuses our signature: check secret of [providers.gateway]");
        }
        Reply { status, retry_after: retry_after.as_deref(), body: &body, now_ms: self.wall_ms() }.outcome()
    }

    /// A signed call that asks for nothing: whoever answers knows the secret, or refuses it.
    async fn probe(&self) -> Result<Checked, CheckError> {
        let unreachable = |how: &str| {
            let mend = "check url of [providers.gateway], and that the gateway runs";
            CheckError::unreachable(format!("the gateway could not be asked: {how}"), mend)
        };
        let body = br#"{"probe":true}"#;
        let now_ms = self.wall_ms();
        let mut request = self.http.post(self.url.clone()).header(CONTENT_TYPE, "application/json");
        for (name, value) in self.secret.headers(&format!("probe:{now_ms}"), now_ms, body) {
            request = request.header(name, value);
        }
        let response = match tokio::time::timeout(self.timeout, request.body(body.to_vec()).send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(_)) => return Err(unreachable("no connection comes about")),
            Err(_) => return Err(unreachable("it does not answer in time")),
        };
        match response.status().as_u16() {
            200..=299 => Ok(Checked { message: "the gateway takes our signature".into(), vendor_ahead_ms: None }),
            status @ (401 | 403) => Err(CheckError::refused(
                format!("the gateway refuses our signature ({status})"),
                "give both sides the same secret, and check their clocks",
            )),
            400 | 422 => {
                Ok(Checked { message: "the gateway answers, and knows no probe".into(), vendor_ahead_ms: None })
            }
            status => Err(unreachable(&format!("it answers with status {status}"))),
        }
    }
}

impl Provider for Gateway {
    fn name(&self) -> &'static str {
        "gateway"
    }

    fn about(&self) -> About {
        About {
            name: "gateway",
            vendor: "the gateway",
            account: self.account.clone(),
            rate: self.rate,
            mend: "check url and secret, and the gateway's own log",
            section: "[providers.gateway]",
        }
    }

    fn check(&self) -> Checking<'_> {
        Box::pin(self.probe())
    }
}

impl TextProvider for Gateway {
    fn reach(&self) -> Reach {
        self.reach.clone()
    }

    fn idempotent(&self) -> bool {
        self.is_idempotent
    }

    fn is_korean(&self) -> bool {
        self.is_korean
    }

    fn senders(&self) -> Senders {
        self.senders.clone()
    }

    fn send<'a>(&'a self, text: &'a TextSend) -> Sending<'a> {
        Box::pin(async move {
            let sent = AtomicBool::new(false);
            transport::within(self.timeout, &sent, self.deliver(text, &sent)).await
        })
    }
}

impl Callbacks for Gateway {
    fn name(&self) -> &'static str {
        "gateway"
    }

    fn account(&self) -> &str {
        &self.account
    }

    fn content_type(&self) -> &'static str {
        "application/json"
    }

    fn mend(&self) -> &'static str {
        "check secret of [providers.gateway] and the clocks of both sides, and that no proxy changes the body"
    }

    fn read<'a>(&'a self, call: &'a Call<'a>) -> Reading<'a> {
        Box::pin(std::future::ready(callback::read(&self.secret, self.wall_ms(), call)))
    }
}

/// What an answer means. For `tests/fuzz`.
#[doc(hidden)]
pub fn understood(status: u16, retry_after: Option<&str>, body: &[u8], now_ms: i64) -> Outcome {
    Reply { status, retry_after, body, now_ms }.outcome()
}

/// Whether a call is the gateway's, and what it says. For `tests/fuzz`.
#[doc(hidden)]
pub fn heard(secret: &Secret, now_ms: i64, call: &Call<'_>) -> Result<Vec<Word>, Refused> {
    callback::read(secret, now_ms, call)
}
