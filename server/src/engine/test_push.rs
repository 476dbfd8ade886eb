//! What a test push found out about a device's token (C3).

use super::api::EngineError;
use super::desk::{Again, Desk};
use super::outcome::{bury, remember_environment, want_losable};
use super::work::Ask;
use crate::store::DeviceRow;
use crate::workspace::Workspace;
use backstop_domain::Ms;
use backstop_domain::followup::Outcome;
use backstop_domain::ids::DeviceId;
use backstop_wire::Environment;
use std::sync::Arc;

/// The last word about a token that was pushed to without a follow-up.
pub(crate) struct TokenTested {
    pub(crate) ws: Arc<Workspace>,
    pub(crate) device: DeviceId,
    /// Hash of the token as it was pushed to.
    pub(crate) token_hash: [u8; 32],
    /// When that token was registered.
    pub(crate) registered_at: Ms,
    pub(crate) outcome: Outcome,
    /// The APNs environment that was tried beside the registered one.
    pub(crate) elsewhere: Option<Environment>,
}

impl Ask for TokenTested {
    type Answer = Outcome;

    fn wants(&self, desk: &mut Desk<'_>) {
        want_losable(desk, self.ws.id, self.device);
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Result<Outcome, EngineError>, Again> {
        let row = desk.device(self.ws.id, self.device)?.cloned();
        match (&self.outcome, row) {
            (Outcome::TokenGone { since_ms, error }, Some(row)) if self.is_of_older(*since_ms, &row) => {
                return Ok(Ok(Outcome::RetryAfter { after_ms: None, error: error.clone() }));
            }
            (Outcome::TokenGone { .. }, Some(row)) => bury(desk, &self.ws, row)?,
            (Outcome::Accepted { .. }, Some(row)) if row.registered_at == self.registered_at => {
                if let Some(environment) = self.elsewhere {
                    remember_environment(desk, self.ws.id, self.device, self.token_hash, environment)?;
                }
            }
            _ => {}
        }
        Ok(Ok(self.outcome.clone()))
    }
}

impl TokenTested {
    /// It speaks of an older registration; the one of now is alive and was not pushed to.
    fn is_of_older(&self, since_ms: Option<Ms>, row: &DeviceRow) -> bool {
        since_ms.is_some_and(|since| since < row.registered_at)
            || row.token_hash != self.token_hash
            || row.registered_at != self.registered_at
    }
}
