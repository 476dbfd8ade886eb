//! Whether Twilio takes the account and knows the number that texts come from, asked without a text to anybody.

use super::{MAX_REPLY_BYTES, Sender, Twilio};
use crate::providers::{CheckError, Checked, transport};
use reqwest::Url;
use serde::Deserialize;

#[derive(Deserialize)]
struct Account {
    status: String,
}

#[derive(Deserialize)]
struct Numbers {
    incoming_phone_numbers: Vec<Number>,
}

#[derive(Deserialize)]
struct Codes {
    short_codes: Vec<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Number {
    capabilities: Capabilities,
}

#[derive(Deserialize)]
struct Capabilities {
    #[serde(default, alias = "SMS")]
    sms: bool,
}

impl Twilio {
    /// The account first: what it refuses says nothing of the number.
    pub(super) async fn probe(&self) -> Result<Checked, CheckError> {
        let account: Account = self.fetch(".json", None).await?;
        if account.status != "active" {
            let message = format!("the Twilio account is {}", account.status);
            return Err(CheckError::refused(message, "open the account in Twilio's console and see what it asks for"));
        }
        let message = match &self.sender {
            Sender::Service(_) => "Twilio takes the account; its messaging service picks the numbers",
            Sender::Number(number) => {
                self.number(number).await?;
                "Twilio takes the account, and the number of from is its own"
            }
        };
        Ok(Checked { message: message.into(), vendor_ahead_ms: None })
    }

    async fn number(&self, number: &str) -> Result<(), CheckError> {
        if !number.starts_with('+') {
            let codes: Codes = self.fetch("/SMS/ShortCodes.json", Some(("ShortCode", number))).await?;
            return if codes.short_codes.is_empty() {
                Err(CheckError::refused(
                    "the short code of [providers.twilio] from is none of this Twilio account's",
                    "set from to a number that the account owns, or set messaging_service_sid",
                ))
            } else {
                Ok(())
            };
        }
        let numbers: Numbers = self.fetch("/IncomingPhoneNumbers.json", Some(("PhoneNumber", number))).await?;
        match numbers.incoming_phone_numbers.first() {
            Some(number) if number.capabilities.sms => Ok(()),
            Some(_) => Err(CheckError::refused(
                "the number of [providers.twilio] from cannot send texts",
                "buy one with SMS in Twilio's console, or set messaging_service_sid",
            )),
            None => Err(CheckError::refused(
                "the number of [providers.twilio] from is none of this Twilio account's",
                "set from to a number that the account owns, or set messaging_service_sid",
            )),
        }
    }

    /// A resource of the account, by what follows its path.
    async fn fetch<T: for<'de> Deserialize<'de>>(
        &self,
        path: &str,
        only: Option<(&str, &str)>,
    ) -> Result<T, CheckError> {
        let unreachable = |how: &str| {
            let mend = "let this machine reach api.twilio.com on port 443, and try again";
            CheckError::unreachable(format!("Twilio could not be asked: {how}"), mend)
        };
        let mut url = self.account_url(path).ok_or_else(|| unreachable("base_url has another form than it has to"))?;
        if let Some((name, value)) = only {
            url.query_pairs_mut().append_pair(name, value);
        }
        let asked = tokio::time::timeout(self.timeout, self.signed(self.http.get(url)).send()).await;
        let response = match asked {
            Ok(Ok(response)) => response,
            Ok(Err(_)) => return Err(unreachable("no connection comes about")),
            Err(_) => return Err(unreachable("it does not answer in time")),
        };
        let status = response.status().as_u16();
        let body = transport::read_whole(response, MAX_REPLY_BYTES).await.unwrap_or_else(|part| part);
        match status {
            200 => serde_json::from_slice(&body).map_err(|_| unreachable("its answer is not what it has to be")),
            401 => Err(CheckError::refused(
                "Twilio refuses our log-in",
                "check account_sid and auth_token (or auth_token_file) of [providers.twilio]",
            )),
            403 | 404 => Err(CheckError::refused(
                format!("Twilio shows us no such account ({status})"),
                "check account_sid of [providers.twilio], and that auth_token is that very account's",
            )),
            status => Err(unreachable(&format!("it answers with status {status}"))),
        }
    }

    fn account_url(&self, path: &str) -> Option<Url> {
        let account = self.messages_url.as_str().strip_suffix("/Messages.json")?;
        Url::parse(&format!("{account}{path}")).ok()
    }
}
