//! Numbers that opt out of a workspace's texts, addresses that mail does not reach, and both back in (T7, E5).

use super::api::{Contact, EngineError};
use super::customer;
use super::desk::{Again, Desk};
use super::find::Find;
use super::work::Ask;
use crate::audit::{Entry, Kind, Who};
use crate::store::{OptOutSource, Row, SuppressionChannel, SuppressionRow, SuppressionStanding, WorkspaceId};
use crate::workspace::Workspace;
use backstop_domain::Ms;
use backstop_domain::ids::{FollowupId, SuppressionId};
use backstop_domain::mail::strike;
use std::sync::Arc;

/// Nothing of the workspace goes there by this channel any more.
pub(super) struct OptOut {
    pub(super) ws: Arc<Workspace>,
    pub(super) channel: SuppressionChannel,
    pub(super) to: String,
    pub(super) source: OptOutSource,
    /// What was last sent there, if that is known.
    pub(super) last: Option<FollowupId>,
}

impl Ask for OptOut {
    type Answer = ();

    fn wants(&self, desk: &mut Desk<'_>) {
        let ws = self.ws.id;
        want(desk, ws, self.channel, &self.to);
        let row = self.last.and_then(|last| desk.want(Find::Followup(ws, last)));
        if let Some(row) = row.as_ref().and_then(|row| row.as_followup()) {
            desk.want(Find::Customer(ws, &row.customer_id));
        }
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Result<(), EngineError>, Again> {
        let (ws, to) = (self.ws.id, (self.channel, self.to.as_str()));
        let shown = self.last.map_or(Ok(Shown::Masked), |last| shown(desk, ws, last, to))?;
        suppress(desk, ws, to, self.source, shown).map(|_| Ok(()))
    }
}

/// What lists tell of a mark's number or address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// Its end. Forgotten with whose it is.
    Masked,
    /// Nothing: it is nobody's, and so nothing would make us forget it.
    Nothing,
}

/// S8: how a mark of what this follow-up went to is shown: not at all once its customer was erased or is reached
/// elsewhere. Needs the follow-up and its customer.
pub(super) fn shown(
    desk: &Desk<'_>,
    ws: WorkspaceId,
    id: FollowupId,
    to: (SuppressionChannel, &str),
) -> Result<Shown, Again> {
    let Some(row) = desk.followup(ws, id)? else { return Ok(Shown::Nothing) };
    let Some(customer) = desk.customer(ws, &row.customer_id)? else { return Ok(Shown::Nothing) };
    let is_theirs = marks(&customer::known_contact(desk, customer)).contains(&to);
    Ok(if is_theirs { Shown::Masked } else { Shown::Nothing })
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
            added += usize::from(suppress(desk, self.ws.id, (*channel, to), *source, Shown::Masked)?);
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
    (channel, to): (SuppressionChannel, &str),
    source: OptOutSource,
    shown: Shown,
) -> Result<bool, Again> {
    let hash = desk.vault.suppression_hash(channel, to);
    let known = known(desk, ws, &hash)?;
    if known.as_ref().is_some_and(SuppressionRow::is_in_force) {
        return Ok(false);
    }
    let at = desk.now(ws);
    put(desk, ws, known, (channel, to), Change { source, at, standing: SuppressionStanding::InForce, shown });
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
    let change = Change { source: OptOutSource::Bounce, at, standing, shown: Shown::Masked };
    put(desk, ws, known, (SuppressionChannel::Email, address), change);
    Ok(())
}

/// What may be marked of a customer: each number and address by each channel that goes there.
pub(crate) fn marks(contact: &Contact) -> Vec<(SuppressionChannel, &str)> {
    let phone = contact.phone.as_deref().into_iter();
    let numbers = phone.flat_map(|to| [(SuppressionChannel::Text, to), (SuppressionChannel::Alimtalk, to)]);
    let user = contact.line_user_id.as_deref().map(|to| (SuppressionChannel::Line, to));
    numbers.chain(user).chain(contact.email.as_deref().map(|to| (SuppressionChannel::Email, to))).collect()
}

/// S8: whose marks they were is forgotten, by their keyed hashes they stay.
pub(super) fn forget(
    desk: &mut Desk<'_>,
    ws: WorkspaceId,
    marks: Vec<(SuppressionChannel, &str)>,
) -> Result<(), Again> {
    for (channel, to) in marks {
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
    shown: Shown,
}

fn put(
    desk: &mut Desk<'_>,
    ws: WorkspaceId,
    known: Option<SuppressionRow>,
    (channel, to): (SuppressionChannel, &str),
    Change { source, at, standing, shown }: Change,
) {
    let number_hash = desk.vault.suppression_hash(channel, to);
    let (id, version) = known.map_or_else(|| (SuppressionId(desk.spare_id()), 0), |row| (row.id, row.version));
    let sealed = || desk.vault.seal(ws, "suppressions", &id.to_string(), "number", to.as_bytes());
    let number = (shown == Shown::Masked).then(sealed);
    let workspace = ws;
    let row = SuppressionRow { workspace, id, version, channel, number_hash, number, source, at, standing };
    desk.put(Row::Suppression(row));
}
