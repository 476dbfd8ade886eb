//! Whether AWS takes the key and lets the account send, and whether it knows the address that mail comes from.

use super::Ses;
use super::reply::code;
use crate::providers::{CheckError, Checked, transport};
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Account {
    #[serde(default)]
    sending_enabled: bool,
    #[serde(default)]
    production_access_enabled: bool,
    #[serde(default)]
    enforcement_status: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Identity {
    #[serde(default)]
    verified_for_sending_status: bool,
}

/// An answer of AWS.
struct Answer {
    status: u16,
    code: Option<String>,
    body: Vec<u8>,
    ahead_ms: Option<i64>,
}

impl Ses {
    pub(super) async fn probe(&self) -> Result<Checked, CheckError> {
        let answer = self.fetch("/v2/email/account").await?;
        let vendor_ahead_ms = answer.ahead_ms;
        let account: Account = self.read(&answer, "ses:GetAccount")?;
        if !account.sending_enabled || account.enforcement_status == "SHUTDOWN" {
            let mend = "open Amazon SES in the AWS console: the account dashboard says why and what lifts it";
            return Err(CheckError::refused("Amazon SES has paused sending for this account", mend));
        }
        self.sender_is_verified().await?;
        let reach = match account.production_access_enabled {
            true => "",
            false => "; the account is in SES's own sandbox, which reaches verified addresses alone",
        };
        let message = format!("Amazon SES takes the key and the address of from{reach}");
        Ok(Checked { message, vendor_ahead_ms })
    }

    /// The address itself, or its whole domain.
    async fn sender_is_verified(&self) -> Result<(), CheckError> {
        let address = &self.sender.address;
        for identity in [address.to_string(), address.domain().to_owned()] {
            let name: String = url::form_urlencoded::byte_serialize(identity.as_bytes()).collect();
            let answer = self.fetch(&format!("/v2/email/identities/{name}")).await?;
            if answer.status == 404 {
                continue;
            }
            let identity: Identity = self.read(&answer, "ses:GetEmailIdentity")?;
            if identity.verified_for_sending_status {
                return Ok(());
            }
        }
        Err(CheckError::refused(
            "Amazon SES has not verified the address of [providers.ses] from, nor its domain",
            "verify it in this region of the AWS console, or set from to an address that is",
        ))
    }

    fn read<T: for<'de> Deserialize<'de>>(&self, answer: &Answer, action: &str) -> Result<T, CheckError> {
        match (answer.status, answer.code.as_deref()) {
            (200, _) => {
                serde_json::from_slice(&answer.body).map_err(|_| unreachable("its answer is not what it has to be"))
            }
            (403, Some("AccessDeniedException" | "AccessDenied")) => Err(CheckError::refused(
                format!("AWS knows the key, but its policy does not allow {action}"),
                format!(
                    "allow ses:SendRawEmail, ses:SendEmail, ses:GetAccount, ses:GetEmailIdentity: {action} is missing"
                ),
            )),
            (400 | 403, Some(code)) => {
                let clock = transport::clock_is_off(answer.ahead_ms);
                let mend = match clock {
                    Some(clock) => format!("set this machine's clock: {clock}"),
                    None => "check access_key_id, secret_access_key (or its file) and session_token of [providers.ses]"
                        .into(),
                };
                Err(CheckError::refused(format!("AWS refuses our signature ({code})"), mend))
            }
            (status, _) => Err(unreachable(&format!("it answers with status {status}"))),
        }
    }

    async fn fetch(&self, path: &str) -> Result<Answer, CheckError> {
        let request = self.request(Method::GET, path, Vec::new());
        let request = request.ok_or_else(|| unreachable("the request cannot be signed"))?;
        let response = match tokio::time::timeout(self.timeout, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(_)) => return Err(unreachable("no connection comes about")),
            Err(_) => return Err(unreachable("it does not answer in time")),
        };
        let status = response.status().as_u16();
        let ahead_ms = transport::vendor_ahead_ms(response.headers(), self.wall_ms());
        let kind = response.headers().get("x-amzn-errortype").and_then(|kind| kind.to_str().ok()).map(str::to_owned);
        let body = transport::read_bounded(response).await;
        let parsed: Value = serde_json::from_slice(&body).unwrap_or_default();
        Ok(Answer { status, code: code(kind.as_deref(), &parsed), body, ahead_ms })
    }
}

fn unreachable(how: &str) -> CheckError {
    let mend = "let this machine reach email.REGION.amazonaws.com on port 443, and try again";
    CheckError::unreachable(format!("Amazon SES could not be asked: {how}"), mend)
}
