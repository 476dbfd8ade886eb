//! Asks the billing system for money (S3): one question until it is answered, delivered again until it is heard.
//!
//! The question is in the wallet's row, opened by the commit that found too little there, so a crash asks it again and
//! never another one. It goes as a Standard Webhooks message under one id; its answer is a call of ours.

use crate::config;
use crate::http::{Api, print_ask};
use crate::providers::{checked_url, client};
use crate::signing::Secret;
use crate::store::{Key, Row, StoreError, WorkspaceId};
use backstop_domain::Ms;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Url};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

const EVERY: Duration = Duration::from_secs(1);
const TIMEOUT_MS: u64 = 10_000;
/// Questions that are delivered before it is looked for others.
const MAX_BATCH: usize = 16;

/// What is wrong with the billing system's keys, and what mends it. Never quotes a secret.
#[derive(Debug, thiserror::Error)]
pub enum BillingConfigError {
    /// No secret, or nobody to ask.
    #[error("[wallet] billing_webhook_url and billing_webhook_secret need each other: set both, or none")]
    Half,
    /// Two secrets.
    #[error("[wallet] billing_webhook_secret and billing_webhook_secret_file are both set: keep one")]
    SecretTwice,
    /// A file that cannot be read.
    #[error("[wallet] billing_webhook_secret_file cannot be read ({0}): name a file that this user may read")]
    SecretFile(#[source] std::io::Error),
    /// Not a secret.
    #[error("[wallet] billing_webhook_secret must be whsec_ and 24 to 64 bytes in base64")]
    Secret,
    /// Not a usable URL.
    #[error("[wallet] billing_webhook_url must be an https:// address, or http:// on this machine, without user")]
    Url,
    /// TLS roots or the like.
    #[error("[wallet] the HTTPS client cannot start ({0}): check the machine's certificates and proxy settings")]
    Client(#[source] reqwest::Error),
}

/// The billing system, and how it is spoken to.
pub struct Courier {
    http: Client,
    url: Url,
    secret: Secret,
}

/// Looks for questions and delivers them.
pub(crate) struct Billing {
    pub(crate) courier: Option<Courier>,
    pub(crate) api: Arc<Api>,
}

impl Courier {
    /// `None` = nobody is asked.
    pub fn from_config(config: &config::Wallet) -> Result<Option<Courier>, BillingConfigError> {
        let secret = match (&config.billing_webhook_secret, &config.billing_webhook_secret_file) {
            (Some(_), Some(_)) => return Err(BillingConfigError::SecretTwice),
            (Some(secret), None) => Some(secret.0.clone()),
            (None, Some(path)) => {
                Some(Zeroizing::new(std::fs::read_to_string(path).map_err(BillingConfigError::SecretFile)?))
            }
            (None, None) => None,
        };
        let (url, secret) = match (&config.billing_webhook_url, secret) {
            (None, None) => return Ok(None),
            (Some(url), Some(secret)) => (url, secret),
            _ => return Err(BillingConfigError::Half),
        };
        let url = checked_url(url).ok_or(BillingConfigError::Url)?;
        let secret = Secret::parse(&secret).ok_or(BillingConfigError::Secret)?;
        let http = client(&url, TIMEOUT_MS).timeout(Duration::from_millis(TIMEOUT_MS));
        let http = http.build().map_err(BillingConfigError::Client)?;
        Ok(Some(Courier { http, url, secret }))
    }

    /// Whether it heard the question: the same id at each try.
    async fn deliver(&self, id: &str, wall: Ms, body: Vec<u8>) -> bool {
        let signed = self.secret.headers(id, wall, &body).into_iter();
        let request = self.http.post(self.url.clone()).header(CONTENT_TYPE, "application/json").body(body);
        let request = signed.fold(request, |request, (name, value)| request.header(name, value));
        request.send().await.is_ok_and(|response| response.status().is_success())
    }
}

impl Billing {
    /// Looks every second. Never ends.
    #[expect(clippy::disallowed_methods, reason = "how often the billing system is asked: no rule sees it")]
    pub(crate) async fn keep(&self) {
        let mut seconds = tokio::time::interval(EVERY);
        seconds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            seconds.tick().await;
            if let Some(courier) = &self.courier
                && let Err(error) = self.tick(courier).await
            {
                tracing::warn!(%error, "it could not be looked for questions to the billing system");
            }
        }
    }

    async fn tick(&self, courier: &Courier) -> Result<(), StoreError> {
        for ws in self.api.store.asking(self.api.clocks.real_ms(), MAX_BATCH).await? {
            self.ask(courier, ws).await?;
        }
        Ok(())
    }

    async fn ask(&self, courier: &Courier, id: WorkspaceId) -> Result<(), StoreError> {
        let Some(ws) = self.api.registry.by_id(id).await? else { return Ok(()) };
        // What became of it would not be written: it would be asked again at each look, for ever.
        if ws.policy.wallet.is_none() {
            return Ok(());
        }
        let row = self.api.store.load(vec![Key::Wallet(id)]).await?.pop().flatten();
        let Some(Row::Wallet(row)) = row else { return Ok(()) };
        let now = self.api.clocks.real_ms();
        let due = row.wallet.asking.open().filter(|ask| ask.due_at.is_some_and(|at| at <= now));
        let Some(ask) = due else { return Ok(()) };
        // Whoever is asked tells the time by the wall clock.
        let wall = now + self.api.clocks.real().wall_offset_ms();
        let wallet = &row.wallet;
        let money = |amount_micros: i64| json!({ "amount_micros": amount_micros, "currency": wallet.currency });
        let body = json!({
            "type": "wallet.low",
            "timestamp": backstop_wire::time::to_rfc3339(wall),
            "data": {
                "workspace": ws.name,
                "ask_id": print_ask(ask.id),
                "amount": money(ask.amount_micros),
                "balance": money(wallet.spendable_micros(self.api.clocks.now_ms(id))),
            },
        });
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let id = format!("{}:{}", ws.name, print_ask(ask.id));
        let reached = courier.deliver(&id, wall, body).await;
        metrics::counter!("backstop_billing_asks_total", "outcome" => if reached { "heard" } else { "failed" })
            .increment(1);
        if !reached {
            tracing::warn!(workspace = %ws.name, tries = ask.tries, "the billing system did not hear a question");
        }
        let told = self.api.engine.billing_asked(&ws, ask.id, reached, self.api.clocks.real_ms()).await;
        if let Err(error) = told {
            // It is asked again under the same id.
            tracing::warn!(workspace = %ws.name, %error, "what became of a question was not stored");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Config};

    fn wallet(url: Option<&str>, secret: Option<&str>) -> config::Wallet {
        config::Wallet {
            billing_webhook_url: url.map(str::to_owned),
            billing_webhook_secret: secret.map(|secret| config::Secret::from(secret.to_owned())),
            ..Config::default().wallet
        }
    }

    const URL: &str = "https://billing.test/backstop";
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    /// P12, S3: half a billing system is refused at start, and the message names the key and no secret.
    #[test]
    fn half_a_billing_system_is_refused() {
        assert!(Courier::from_config(&wallet(None, None)).is_ok_and(|none| none.is_none()));
        assert!(Courier::from_config(&wallet(Some(URL), Some(SECRET))).is_ok_and(|courier| courier.is_some()));
        let twice =
            config::Wallet { billing_webhook_secret_file: Some("/none".into()), ..wallet(Some(URL), Some(SECRET)) };
        let unread = config::Wallet { billing_webhook_secret_file: Some("/none".into()), ..wallet(Some(URL), None) };
        for (wrong, key) in [
            (wallet(Some(URL), None), "need each other"),
            (wallet(None, Some(SECRET)), "need each other"),
            (wallet(Some(URL), Some("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")), "billing_webhook_secret must"),
            (wallet(Some(URL), Some("whsec_c2hvcnQ=")), "billing_webhook_secret must"),
            (wallet(Some("http://billing.test/"), Some(SECRET)), "billing_webhook_url must"),
            (wallet(Some("https://me@billing.test/"), Some(SECRET)), "billing_webhook_url must"),
            (twice, "both set"),
            (unread, "cannot be read"),
        ] {
            let error = Courier::from_config(&wrong).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.starts_with("[wallet] ") && error.contains(key), "{key}: {error}");
            assert!(!error.contains("MfKQ9r8"));
        }
    }
}
