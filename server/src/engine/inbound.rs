//! Answers that come by mail or text: the customer's message, and how it came (E3, T9).

use super::api::{CustomerMessage, EngineError};
use super::desk::{Again, Desk};
use super::message::FromCustomer;
use super::work::Ask;
use crate::store::Inbound;
use crate::workspace::Workspace;
use std::sync::Arc;

/// Takes an answer in. Answers whether it is new: whoever hands it over may do so again.
pub(super) struct TakeIn {
    from: FromCustomer,
    inbound: Inbound,
}

impl TakeIn {
    pub(super) fn new(ws: Arc<Workspace>, message: CustomerMessage, inbound: Inbound) -> TakeIn {
        // Whoever else has the mail must not be able to keep its customer from being told.
        TakeIn { from: FromCustomer { ws, message, is_sign_of_life: !inbound.from_other }, inbound }
    }
}

impl Ask for TakeIn {
    type Answer = bool;

    fn wants(&self, desk: &mut Desk<'_>) {
        self.from.wants(desk);
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Result<bool, EngineError>, Again> {
        let (ws, message) = (self.from.ws.id, &self.from.message);
        if desk.message(ws, &message.message_id)?.is_some() {
            return Ok(Ok(false));
        }
        // Erased meanwhile: an answer makes nobody known.
        if desk.customer(ws, &message.customer_id)?.is_none() {
            return Ok(Err(EngineError::UnknownCustomer));
        }
        let taken = self.from.decide(desk)?;
        if taken.is_ok() {
            desk.inbound(ws, self.inbound.clone());
        }
        Ok(taken.map(|()| true))
    }
}
