//! Whether LINE takes the token and knows our webhook, asked without a text to anybody.

use super::Account;
use crate::providers::{CheckError, Checked, transport};
use serde::Deserialize;

#[derive(Deserialize)]
struct Bot {
    #[serde(rename = "userId")]
    user_id: String,
}

#[derive(Deserialize)]
struct Webhook {
    endpoint: String,
    active: bool,
}

impl Account {
    /// The token first: what it refuses says nothing of the webhook.
    pub(super) async fn probe(&self) -> Result<Checked, CheckError> {
        let bot: Option<Bot> = self.fetch("/v2/bot/info").await?;
        if bot.is_none_or(|bot| bot.user_id != self.bot_user_id) {
            return Err(CheckError::refused(
                "the token of [providers.line] is of another LINE account than bot_user_id",
                "take channel_access_token, channel_secret and bot_user_id from one and the same channel",
            ));
        }
        // Without a webhook texts still leave: what is lost are answers, blocks and deliveries, so that it is said.
        let webhook: Option<Webhook> = self.fetch("/v2/bot/channel/webhook/endpoint").await?;
        let message = match (&self.webhook_url, webhook) {
            (None, _) => {
                "LINE takes the account; [server] public_url is unset, so that its answers do not reach us".into()
            }
            (Some(url), Some(hook)) if hook.active && hook.endpoint == *url => {
                "LINE takes the account, and its webhook leads here".into()
            }
            (Some(url), _) => {
                format!("LINE takes the account, but answers are lost: set and enable its webhook URL, {url}")
            }
        };
        Ok(Checked { message, vendor_ahead_ms: None })
    }

    /// `None` = there is none.
    async fn fetch<T: for<'de> Deserialize<'de>>(&self, path: &str) -> Result<Option<T>, CheckError> {
        let unreachable = |how: &str| {
            let mend = "let this machine reach api.line.me on port 443, and try again";
            CheckError::unreachable(format!("LINE could not be asked: {how}"), mend)
        };
        let url = self.base_url.join(path).map_err(|_| unreachable("base_url has another form than it has to"))?;
        let asked = self.http.get(url).bearer_auth(self.token.as_str()).send();
        let response = match tokio::time::timeout(self.timeout, asked).await {
            Ok(Ok(response)) => response,
            Ok(Err(_)) => return Err(unreachable("no connection comes about")),
            Err(_) => return Err(unreachable("it does not answer in time")),
        };
        let status = response.status().as_u16();
        let body = transport::read_bounded(response).await;
        match status {
            200 => {
                serde_json::from_slice(&body).map(Some).map_err(|_| unreachable("its answer is not what it has to be"))
            }
            404 => Ok(None),
            401 | 403 => Err(CheckError::refused(
                format!("LINE refuses our token ({status})"),
                "issue a channel access token in LINE Developers' console for [providers.line] channel_access_token",
            )),
            status => Err(unreachable(&format!("it answers with status {status}"))),
        }
    }
}
