//! Work of the customer: contact data, presence, erasure.

use super::api::{Contact, CustomerInput, EngineError, Present};
use super::desk::{Again, Desk};
use super::find::Find;
use super::judge::judge;
use super::optout;
use super::work::{Ask, want_customer, want_open};
use crate::audit::{Entry, Kind, Who};
use crate::store::{CustomerRow, Row, StoreError, SuppressionChannel, WorkspaceId};
use crate::vault::CustomerKey;
use crate::workspace::Workspace;
use backstop_domain::Ms;
use backstop_domain::customer::ContactSource;
use backstop_domain::followup::{Event, Reason, Stage};
use backstop_domain::presence::Presence;
use backstop_wire::PresenceState;
use std::sync::Arc;

/// A device's use is remembered this exactly: P6 counts in days, and every write costs a page.
const USE_GRAIN_MS: Ms = 3_600_000;

/// The customer's own key.
pub(super) fn key(desk: &Desk<'_>, customer: &CustomerRow) -> Result<CustomerKey, EngineError> {
    let key = desk.vault.unwrap_key(customer.workspace, &customer.customer_id, &customer.wrapped_key);
    key.map_err(|error| EngineError::Store(StoreError::Corrupt(error.to_string())))
}

/// The customer as known, or a new one with a key of their own.
pub(super) fn or_new(desk: &Desk<'_>, ws: WorkspaceId, id: &str, now: Ms) -> Result<CustomerRow, Again> {
    Ok(match desk.customer(ws, id)? {
        Some(row) => row.clone(),
        None => CustomerRow {
            workspace: ws,
            customer_id: id.to_owned(),
            version: 0,
            wrapped_key: desk.vault.new_customer_key(ws, id).1,
            contact: None,
            has_phone: false,
            has_email: false,
            contact_at: now,
            contact_source: ContactSource::default(),
            consents: Vec::new(),
            locale: None,
            time_zone: None,
            devices: Vec::new(),
            presence: Presence::default(),
            engaged_at: None,
            created_at: now,
        },
    })
}

/// What [`put`] needs.
pub(super) fn want_put(desk: &mut Desk<'_>, ws: WorkspaceId, id: &str, input: &CustomerInput) {
    want_customer(desk, ws, id);
    let known = desk.want(Find::Customer(ws, id));
    let Some(row) = known.as_ref().and_then(|row| row.as_customer()) else { return };
    let (known, next) = (known_contact(desk, row), contact(input));
    gone(&known, &next).into_iter().for_each(|(channel, to)| optout::want(desk, ws, channel, to));
}

/// What a customer is not reached at any more.
fn gone<'a>(known: &'a Contact, next: &Contact) -> Vec<(SuppressionChannel, &'a str)> {
    let stays = optout::marks(next);
    optout::marks(known).into_iter().filter(|mark| !stays.contains(mark)).collect()
}

fn contact(input: &CustomerInput) -> Contact {
    Contact {
        name: input.name.clone(),
        email: input.email.clone(),
        phone: input.phone.clone(),
        line_user_id: input.line_user_id.clone(),
    }
}

/// Replaces a customer's contact data.
pub(super) fn put(
    desk: &mut Desk<'_>,
    ws: WorkspaceId,
    id: &str,
    input: &CustomerInput,
    now: Ms,
) -> Result<Result<(), EngineError>, Again> {
    let mut row = or_new(desk, ws, id, now)?;
    let key = match key(desk, &row) {
        Ok(key) => key,
        Err(error) => return Ok(Err(error)),
    };
    let contact = contact(input);
    let known = open_contact(&key, &row);
    let same_contact = row.version > 0 && known.as_ref().is_ok_and(|known| *known == contact);
    let unchanged = same_contact
        && row.contact_source == input.contact_source
        && row.locale == input.locale
        && row.time_zone == input.time_zone;
    if unchanged {
        return Ok(Ok(()));
    }
    if !same_contact {
        row.contact_at = now;
        // An erasure finds the marks of what is known then (S8).
        optout::forget(desk, ws, gone(&known.unwrap_or_default(), &contact))?;
    }
    row.has_phone = contact.phone.is_some() || contact.line_user_id.is_some();
    row.has_email = contact.email.is_some();
    row.contact = (contact != Contact::default()).then(|| {
        let plain = serde_json::to_vec(&contact).expect("strings serialize");
        key.seal(ws, "customers", id, "contact", &plain)
    });
    row.contact_source = input.contact_source;
    row.locale = input.locale.clone();
    row.time_zone = input.time_zone.clone();
    desk.put(Row::Customer(row));
    Ok(Ok(()))
}

/// Contact data of a row.
pub(crate) fn open_contact(key: &CustomerKey, row: &CustomerRow) -> Result<Contact, StoreError> {
    let Some(sealed) = &row.contact else { return Ok(Contact::default()) };
    let corrupt = |what: String| StoreError::Corrupt(what);
    let plain = key
        .open(row.workspace, "customers", &row.customer_id, "contact", sealed)
        .map_err(|error| corrupt(error.to_string()))?;
    serde_json::from_slice(&plain).map_err(|_| corrupt("a customer's contact data".into()))
}

/// Contact data as far as it opens: what does not is nobody's.
pub(super) fn known_contact(desk: &Desk<'_>, row: &CustomerRow) -> Contact {
    key(desk, row).ok().and_then(|key| open_contact(&key, row).ok()).unwrap_or_default()
}

/// One presence report (D3, D4). It can end a watch; coming online alone cancels nothing (D5).
pub(super) struct Report {
    pub(super) ws: Arc<Workspace>,
    pub(super) present: Present,
}

impl Ask for Report {
    type Answer = ();

    fn wants(&self, desk: &mut Desk<'_>) {
        let (ws, p) = (self.ws.id, &self.present);
        if let Some(id) = p.device {
            desk.want(Find::Device(ws, id));
        }
        want_customer(desk, ws, &p.customer_id);
        // A heartbeat of somebody who stays needs no follow-up: a watch that wakes asks again by itself.
        if p.state != PresenceState::Active {
            want_open(desk, ws, &p.customer_id);
        }
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Result<(), EngineError>, Again> {
        let (ws, p) = (self.ws.id, &self.present);
        let now = desk.now(ws);
        let policy = &self.ws.policy.presence;
        let mut row = or_new(desk, ws, &p.customer_id, now)?;
        let before = row.presence.online_until(now, policy);
        row.presence.report(&p.source_id, p.state, p.idle_ms, now, policy);
        if p.state == PresenceState::Active {
            row.engaged_at = Some(now);
        }
        let after = row.presence.online_until(now, policy);
        desk.put(Row::Customer(row));
        if let Some(id) = p.device
            && let Some(device) = desk.device(ws, id)?.filter(|d| now - d.used_at >= USE_GRAIN_MS).cloned()
            && p.state == PresenceState::Active
        {
            desk.put(Row::Device(crate::store::DeviceRow { used_at: now, ..device }));
        }
        if p.state != PresenceState::Active && after < before {
            for id in desk.open_of(ws, &p.customer_id)? {
                if desk.followup(ws, id)?.is_some_and(|row| row.state.stage == Stage::Watching) {
                    judge(desk, &self.ws, id, &Event::Woke)?;
                }
            }
        }
        Ok(Ok(()))
    }
}

/// Everything about a customer goes; what stays names nobody (S8).
pub(super) struct Erase {
    pub(super) ws: Arc<Workspace>,
    pub(super) customer_id: String,
    pub(super) who: Who,
}

impl Erase {
    fn contact(&self, desk: &Desk<'_>) -> Contact {
        let row = desk.customer(self.ws.id, &self.customer_id).ok().flatten();
        row.map(|row| known_contact(desk, row)).unwrap_or_default()
    }
}

impl Ask for Erase {
    type Answer = bool;

    fn wants(&self, desk: &mut Desk<'_>) {
        let ws = self.ws.id;
        want_customer(desk, ws, &self.customer_id);
        want_open(desk, ws, &self.customer_id);
        for (channel, to) in optout::marks(&self.contact(desk)) {
            optout::want(desk, ws, channel, to);
        }
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Result<bool, EngineError>, Again> {
        let ws = self.ws.id;
        if desk.customer(ws, &self.customer_id)?.is_none() {
            return Ok(Ok(false));
        }
        // What does not open is shredded all the same.
        optout::forget(desk, ws, optout::marks(&self.contact(desk)))?;
        for id in desk.open_of(ws, &self.customer_id)? {
            judge(desk, &self.ws, id, &Event::Cancel(Reason::CustomerErased))?;
        }
        desk.erase(ws, &self.customer_id);
        let (at, who) = (desk.real_now(), self.who.clone());
        desk.audit(ws, Entry { at, kind: Kind::CustomerErased, who, detail: serde_json::json!({}) });
        Ok(Ok(true))
    }
}
