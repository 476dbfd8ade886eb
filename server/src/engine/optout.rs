//! Numbers that opt out of a workspace's texts, and back in (T7).

use super::api::EngineError;
use super::desk::{Again, Desk};
use super::find::Find;
use super::work::Ask;
use crate::audit::{Entry, Kind, Who};
use crate::store::{OptOutSource, Row, SuppressionRow, WorkspaceId};
use crate::workspace::Workspace;
use backstop_domain::Ms;
use backstop_domain::ids::SuppressionId;
use std::sync::Arc;

/// No text of the workspace goes to this number any more.
pub(super) struct OptOut {
    pub(super) ws: Arc<Workspace>,
    pub(super) number: String,
    pub(super) source: OptOutSource,
}

impl Ask for OptOut {
    type Answer = ();

    fn wants(&self, desk: &mut Desk<'_>) {
        want(desk, self.ws.id, &self.number);
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Result<(), EngineError>, Again> {
        suppress(desk, self.ws.id, &self.number, self.source).map(Ok)
    }
}

/// The number may be texted again. Answers whether it could not before.
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
        let row = desk.hold(Find::Suppression(ws, &self.number_hash))?;
        let row = row.as_ref().and_then(|row| row.as_suppression()).filter(|row| row.lifted_at.is_none());
        let Some(row) = row.cloned() else { return Ok(Ok(false)) };
        let (at, real) = (desk.now(ws), desk.real_now());
        let detail = serde_json::json!({ "suppression_id": row.id.to_string() });
        desk.put(Row::Suppression(SuppressionRow { lifted_at: Some(at), ..row }));
        desk.audit(ws, Entry { at: real, kind: Kind::SuppressionLifted, who: self.who.clone(), detail });
        Ok(Ok(true))
    }
}

pub(super) fn want(desk: &mut Desk<'_>, ws: WorkspaceId, number: &str) {
    let hash = desk.vault.number_hash(number);
    desk.want(Find::Suppression(ws, &hash));
}

/// Whether the number opted out.
pub(super) fn is_suppressed(desk: &Desk<'_>, ws: WorkspaceId, number_hash: &[u8; 32]) -> Result<bool, Again> {
    let row = desk.get(Find::Suppression(ws, number_hash))?;
    Ok(row.and_then(|row| row.as_suppression()).is_some_and(|row| row.lifted_at.is_none()))
}

/// Keeps a number from all texts of a workspace, beside whatever else the work writes.
pub(super) fn suppress(desk: &mut Desk<'_>, ws: WorkspaceId, number: &str, source: OptOutSource) -> Result<(), Again> {
    let number_hash = desk.vault.number_hash(number);
    let known = desk.hold(Find::Suppression(ws, &number_hash))?;
    let known = known.as_ref().and_then(|row| row.as_suppression());
    if known.is_some_and(|row| row.lifted_at.is_none()) {
        return Ok(());
    }
    let (id, version) = known.map_or_else(|| (SuppressionId(desk.spare_id()), 0), |row| (row.id, row.version));
    let number = desk.vault.seal(ws, "suppressions", &id.to_string(), "number", number.as_bytes());
    let at: Ms = desk.now(ws);
    desk.put(Row::Suppression(SuppressionRow {
        workspace: ws,
        id,
        version,
        number_hash,
        number,
        source,
        at,
        lifted_at: None,
    }));
    Ok(())
}
