//! Work of the customer's consents (S8).

use super::api::EngineError;
use super::desk::{Again, Desk};
use super::work::{Ask, want_customer};
use crate::store::Row;
use crate::workspace::Workspace;
use backstop_domain::customer::{Consent, give, withdraw};
use std::sync::Arc;

/// Adds a consent; answers all of them.
pub(super) struct Give {
    pub(super) ws: Arc<Workspace>,
    pub(super) customer_id: String,
    pub(super) consent: Consent,
}

impl Ask for Give {
    type Answer = Vec<Consent>;

    fn wants(&self, desk: &mut Desk<'_>) {
        want_customer(desk, self.ws.id, &self.customer_id);
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Result<Vec<Consent>, EngineError>, Again> {
        let Some(mut row) = desk.customer(self.ws.id, &self.customer_id)?.cloned() else {
            return Ok(Err(EngineError::UnknownCustomer));
        };
        let is_new = give(&mut row.consents, self.consent.clone());
        let consents = row.consents.clone();
        if is_new {
            desk.put(Row::Customer(row));
        }
        Ok(Ok(consents))
    }
}

/// Withdraws a consent; `false` = there never was one for this purpose.
pub(super) struct Withdraw {
    pub(super) ws: Arc<Workspace>,
    pub(super) customer_id: String,
    pub(super) purpose: String,
}

impl Ask for Withdraw {
    type Answer = bool;

    fn wants(&self, desk: &mut Desk<'_>) {
        want_customer(desk, self.ws.id, &self.customer_id);
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Result<bool, EngineError>, Again> {
        let now = desk.now(self.ws.id);
        let Some(mut row) = desk.customer(self.ws.id, &self.customer_id)?.cloned() else {
            return Ok(Err(EngineError::UnknownCustomer));
        };
        let withdrawn = withdraw(&mut row.consents, &self.purpose, now);
        if withdrawn == Some(true) {
            desk.put(Row::Customer(row));
        }
        Ok(Ok(withdrawn.is_some()))
    }
}
