//! Where something was sent, masked: read from the customers' sealed contact data, since no delivery keeps it (S8).

use super::super::Api;
use super::super::customers::contact_of;
use super::super::view::DeliveryRow;
use super::Line;
use crate::engine::api::Contact;
use crate::number;
use crate::problem::Problem;
use crate::store::{Key, Row};
use crate::workspace::Workspace;
use backstop_domain::{Ms, mask};
use std::collections::{BTreeSet, HashMap};

/// The contact data of the customers of a page, each with when it last changed.
pub(super) struct Recipients(HashMap<String, (Ms, Contact)>);

impl Recipients {
    pub(super) async fn load(api: &Api, workspace: &Workspace, lines: &[Line]) -> Result<Recipients, Problem> {
        let ids: BTreeSet<&str> = lines.iter().map(|line| line.row.customer_id.as_str()).collect();
        // An erased customer's follow-ups name nobody.
        let keys = ids.into_iter().filter(|id| !id.is_empty()).map(|id| Key::Customer(workspace.id, id.to_owned()));
        let mut known = HashMap::new();
        for row in api.store.load(keys.collect()).await? {
            if let Some(Row::Customer(row)) = row {
                let contact = contact_of(api, &row)?;
                known.insert(row.customer_id, (row.contact_at, contact));
            }
        }
        Ok(Recipients(known))
    }

    pub(super) fn filled_in(&self, line: Line) -> DeliveryRow {
        DeliveryRow { to: self.of(&line), ..line.row }
    }

    /// `None` = it went to a device, or nowhere, or it is not known any more where it went.
    fn of(&self, Line { row, decided_at }: &Line) -> Option<String> {
        // 0: nobody knows since when it is what it is.
        let (changed_at, contact) = self.0.get(&row.customer_id).filter(|(changed_at, _)| *changed_at > 0)?;
        let went = row.delivery.set_out && row.delivery.status != "skipped";
        if !went || decided_at.is_none_or(|decided_at| decided_at < *changed_at) {
            return None;
        }
        match row.delivery.channel {
            "push" => None,
            "line" if contact.line_user_id.is_some() => contact.line_user_id.as_deref().map(mask::id),
            "email" => contact.email.as_deref().map(mask::address),
            _ => contact.phone.as_deref().map(number::masked),
        }
    }
}
