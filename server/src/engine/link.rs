//! Log-ins of short links: redeemed once, whoever asks how often (T8).

use super::api::{EngineError, Redeemed};
use super::desk::{Again, Desk};
use super::find::Find;
use super::work::Ask;
use crate::store::{LinkKey, LinkRow, Row};
use crate::workspace::Workspace;
use backstop_domain::Ms;
use std::sync::Arc;

/// A log-in that was handed out for this link, good until then.
pub(super) struct Redeem {
    pub(super) ws: Arc<Workspace>,
    pub(super) link: LinkKey,
    pub(super) until: Ms,
}

impl Ask for Redeem {
    type Answer = Redeemed;

    fn wants(&self, desk: &mut Desk<'_>) {
        let row = desk.want(Find::Link(self.link));
        if let Some(link) = row.as_ref().and_then(|row| row.as_link()) {
            desk.want(Find::Followup(self.ws.id, link.followup));
        }
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Result<Redeemed, EngineError>, Again> {
        let row = desk.hold(Find::Link(self.link))?;
        let Some(link) = row.as_ref().and_then(|row| row.as_link()).filter(|link| link.workspace == self.ws.id) else {
            return Ok(Ok(Redeemed::Unknown));
        };
        let followup = desk.followup(self.ws.id, link.followup)?;
        // Of an erased customer only the number of the follow-up is left.
        let Some(followup) = followup.filter(|followup| !followup.customer_id.is_empty()) else {
            return Ok(Ok(Redeemed::Unknown));
        };
        let redeemed = Redeemed::Yes {
            customer_id: followup.customer_id.clone(),
            conversation_id: followup.conversation_id.clone(),
            followup_id: followup.id,
        };
        match link.link.log_in(self.until, desk.now(self.ws.id)) {
            Ok(used) => {
                desk.put(Row::Link(LinkRow { link: used, ..link.clone() }));
                Ok(Ok(redeemed))
            }
            Err(why) => Ok(Ok(Redeemed::No(why))),
        }
    }
}
