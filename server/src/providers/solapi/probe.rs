//! Whether Solapi takes the account, asked without a text to anybody.

use super::{MAX_REPLY_BYTES, Solapi};
use crate::providers::{CheckError, Checked, transport};
use serde::Deserialize;

#[derive(Deserialize)]
struct Balance {
    balance: f64,
    #[serde(default)]
    point: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Refusal {
    error_code: String,
}

impl Solapi {
    /// By its balance: without one nothing leaves, and asking needs the whole signature.
    pub(super) async fn probe(&self) -> Result<Checked, CheckError> {
        let unreachable = |how: &str| {
            let mend = "let this machine reach api.solapi.com on port 443, and try again";
            CheckError::unreachable(format!("Solapi could not be asked: {how}"), mend)
        };
        let request = self.signed(self.http.get(self.url("/cash/v1/balance")));
        let response = match tokio::time::timeout(self.timeout, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(_)) => return Err(unreachable("no connection comes about")),
            Err(_) => return Err(unreachable("it does not answer in time")),
        };
        let status = response.status().as_u16();
        let wall_ms = self.clock.now_ms() + self.clock.wall_offset_ms();
        let vendor_ahead_ms = transport::vendor_ahead_ms(response.headers(), wall_ms);
        let reading = tokio::time::timeout(self.timeout, transport::read_whole(response, MAX_REPLY_BYTES));
        let body = reading.await.map_or_else(|_| Vec::new(), |body| body.unwrap_or_else(|part| part));
        if (200..300).contains(&status) {
            let balance: Balance =
                serde_json::from_slice(&body).map_err(|_| unreachable("its answer is not what it has to be"))?;
            return Ok(balance.checked(vendor_ahead_ms));
        }
        let code = serde_json::from_slice::<Refusal>(&body).map(|refusal| refusal.error_code).unwrap_or_default();
        Err(match (status, code.as_str()) {
            (_, "RequestTimeTooSkewed") => {
                let off = transport::clock_is_off(vendor_ahead_ms);
                let off = off.unwrap_or_else(|| "this server's clock is off by 15 minutes or more".into());
                CheckError::refused(format!("Solapi refuses our requests: {off}"), "set the clock by NTP")
            }
            (401 | 403, "Forbidden") => CheckError::refused(
                "Solapi takes the key, but not for asking after the balance (Forbidden)",
                "give the API key the rights cash:read, message:read and message:write in Solapi's console",
            ),
            (401 | 403, _) => CheckError::refused(
                "Solapi refuses our log-in",
                "check api_key and api_secret (or api_secret_file) of [providers.solapi]",
            ),
            (status, _) => unreachable(&format!("it answers with status {status}")),
        })
    }
}

impl Balance {
    /// An account that is billed afterwards has none, and sends.
    fn checked(&self, vendor_ahead_ms: Option<i64>) -> Checked {
        let message = match self.balance + self.point > 0.0 {
            true => "Solapi takes the account, and it has a balance",
            false => "Solapi takes the account; it has no balance: charge it, unless it is billed afterwards",
        };
        Checked { message: message.into(), vendor_ahead_ms }
    }
}
