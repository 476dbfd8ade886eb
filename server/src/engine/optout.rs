//! Numbers that opt out of a workspace's texts, addresses that mail does not reach, and both back in (T7, E5).

use super::api::{Contact, EngineError};
use super::desk::{Again, Desk};
use super::find::Find;
use super::work::Ask;
use crate::audit::{Entry, Kind, Who};
use crate::store::{OptOutSource, Row, SuppressionChannel, SuppressionRow, SuppressionStanding, WorkspaceId};
use crate::workspace::Workspace;
use backstop_domain::Ms;
use backstop_domain::ids::SuppressionId;
use backstop_domain::mail::strike;
use std::sync::Arc;

/// Nothing of the workspace goes there by this channel any more.
pub(super) struct OptOut {
    pub(super) ws: Arc<Workspace>,
    pub(super) channel: SuppressionChannel,
    pub(super) to: String,
    pub(super) source: OptOutSource,
}

impl Ask for OptOut {
    type Answer = ();

    fn wants(&self, desk: &mut Desk<'_>) {
        want(desk, self.ws.id, self.channel, &self.to);
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Result<(), EngineError>, Again> {
        suppress(desk, self.ws.id, self.channel, &self.to, self.source).map(|_| Ok(()))
    }
}

/// The company's own list. Answers how many of it are new; all of them are in force then, or none.
pub(super) struct Import {
    pub(super) ws: Arc<Workspace>,
    pub(super) list: Vec<(SuppressionChannel, String, OptOutSource)>,
    pub(super) who: Who,
}

impl Ask for Import {
    type Answer = usize;

    fn wants(&self, desk: &mut Desk<'_>) {
        self.list.iter().for_each(|(channel, to, _)| want(desk, self.ws.id, *channel, to));
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Result<usize, EngineError>, Again> {
        let mut added = 0;
        for (channel, to, source) in &self.list {
            added += usize::from(suppress(desk, self.ws.id, *channel, to, *source)?);
        }
        if added > 0 {
            let (at, detail) = (desk.real_now(), serde_json::json!({ "added": added }));
            let entry = Entry { at, kind: Kind::SuppressionsImported, who: self.who.clone(), detail };
            desk.audit(self.ws.id, entry);
        }
        Ok(Ok(added))
    }
}

/// It may be written to again. Answers whether it could not be before.
pub(super) struct OptIn {
    pub(super) ws: Arc<Workspace>,
    pub(super) number_hash: [u8; 32],
    pub(super) who: Who,
}

impl Ask for OptIn {
    type Answer = bool;

    fn wants(&self, desk: &mut Desk<'_>) {
        desk.want(Find::Suppression(self.ws.id, &self.number_hash));
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Result<bool, EngineError>, Again> {
        let ws = self.ws.id;
        let row = known(desk, ws, &self.number_hash)?.filter(SuppressionRow::is_in_force);
        let Some(row) = row else { return Ok(Ok(false)) };
        let (at, real) = (desk.now(ws), desk.real_now());
        let detail = serde_json::json!({ "suppression_id": row.id.to_string() });
        desk.put(Row::Suppression(SuppressionRow { standing: SuppressionStanding::Lifted(at), ..row }));
        desk.audit(ws, Entry { at: real, kind: Kind::SuppressionLifted, who: self.who.clone(), detail });
        Ok(Ok(true))
    }
}

pub(super) fn want(desk: &mut Desk<'_>, ws: WorkspaceId, channel: SuppressionChannel, to: &str) {
    let hash = desk.vault.suppression_hash(channel, to);
    desk.want(Find::Suppression(ws, &hash));
}

/// Whether nothing goes to the number or address of this hash.
pub(super) fn is_suppressed(desk: &Desk<'_>, ws: WorkspaceId, hash: &[u8; 32]) -> Result<bool, Again> {
    let row = desk.get(Find::Suppression(ws, hash))?;
    Ok(row.and_then(|row| row.as_suppression()).is_some_and(SuppressionRow::is_in_force))
}

/// Keeps a number or address from a channel, beside whatever else the work writes. Answers whether that is new.
pub(super) fn suppress(
    desk: &mut Desk<'_>,
    ws: WorkspaceId,
    channel: SuppressionChannel,
    to: &str,
    source: OptOutSource,
) -> Result<bool, Again> {
    let hash = desk.vault.suppression_hash(channel, to);
    let known = known(desk, ws, &hash)?;
    if known.as_ref().is_some_and(SuppressionRow::is_in_force) {
        return Ok(false);
    }
    let at = desk.now(ws);
    put(desk, ws, known, (channel, to), Change { source, at, standing: SuppressionStanding::InForce });
    Ok(true)
}

/// E5: a mail to the address failed in a way that may pass; several of them mark it.
pub(super) fn note_strike(desk: &mut Desk<'_>, ws: WorkspaceId, address: &str) -> Result<(), Again> {
    let hash = desk.vault.suppression_hash(SuppressionChannel::Email, address);
    let known = known(desk, ws, &hash)?;
    let (before, since) = match known.as_ref().map(|row| (row.standing, row.at)) {
        Some((SuppressionStanding::InForce, _)) => return Ok(()),
        Some((SuppressionStanding::Struck(before), since)) => (before, since),
        _ => (0, Ms::MIN),
    };
    let now = desk.now(ws);
    let (standing, at) = match strike(before, since, now) {
        None => (SuppressionStanding::InForce, now),
        Some((strikes, since)) => (SuppressionStanding::Struck(strikes), since),
    };
    put(desk, ws, known, (SuppressionChannel::Email, address), Change { source: OptOutSource::Bounce, at, standing });
    Ok(())
}

/// What may be marked of a customer: each number and address by each channel that goes there.
pub(crate) fn marks(contact: &Contact) -> Vec<(SuppressionChannel, &str)> {
    let phone = contact.phone.as_deref().into_iter();
    let numbers = phone.flat_map(|to| [(SuppressionChannel::Text, to), (SuppressionChannel::Alimtalk, to)]);
    let user = contact.line_user_id.as_deref().map(|to| (SuppressionChannel::Line, to));
    numbers.chain(user).chain(contact.email.as_deref().map(|to| (SuppressionChannel::Email, to))).collect()
}

/// S8: whose mark it was is forgotten, by its keyed hash it stays.
pub(super) fn forget(desk: &mut Desk<'_>, ws: WorkspaceId, contact: &Contact) -> Result<(), Again> {
    for (channel, to) in marks(contact) {
        let hash = desk.vault.suppression_hash(channel, to);
        if let Some(row) = known(desk, ws, &hash)?.filter(|row| row.number.is_some()) {
            desk.put(Row::Suppression(SuppressionRow { number: None, ..row }));
        }
    }
    Ok(())
}

fn known(desk: &Desk<'_>, ws: WorkspaceId, hash: &[u8; 32]) -> Result<Option<SuppressionRow>, Again> {
    Ok(desk.get(Find::Suppression(ws, hash))?.and_then(|row| row.as_suppression()).cloned())
}

/// What becomes of a row.
struct Change {
    source: OptOutSource,
    at: Ms,
    standing: SuppressionStanding,
}

fn put(
    desk: &mut Desk<'_>,
    ws: WorkspaceId,
    known: Option<SuppressionRow>,
    (channel, to): (SuppressionChannel, &str),
    Change { source, at, standing }: Change,
) {
    let number_hash = desk.vault.suppression_hash(channel, to);
    let (id, version) = known.map_or_else(|| (SuppressionId(desk.spare_id()), 0), |row| (row.id, row.version));
    let number = Some(desk.vault.seal(ws, "suppressions", &id.to_string(), "number", to.as_bytes()));
    let workspace = ws;
    let row = SuppressionRow { workspace, id, version, channel, number_hash, number, source, at, standing };
    desk.put(Row::Suppression(row));
}
