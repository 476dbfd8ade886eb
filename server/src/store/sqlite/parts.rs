//! Vendors' ids of the parts of texts, and what was reported of each.

use super::load::one;
use super::prepared;
use crate::store::{PartRow, Settled, WorkspaceId};
use backstop_domain::Ms;
use backstop_domain::ids::FollowupId;
use rusqlite::{Connection, Result, params};

/// A report comes within days.
const KEPT_MS: Ms = 7 * 24 * 3_600_000;
/// Ids of follow-ups begin with their time.
const ID_TIME_SHIFT: u32 = 20;

/// A vendor that gives an id a second time means its newer text.
pub(super) fn keep(tx: &Connection, part: &PartRow) -> Result<()> {
    let sql =
        "INSERT INTO sent_parts (provider, id, workspace, followup, attempt, parts) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
               ON CONFLICT DO UPDATE SET workspace = excluded.workspace, followup = excluded.followup,
                   attempt = excluded.attempt, parts = excluded.parts, delivered = NULL";
    let PartRow { provider, id, workspace, followup, attempt, parts } = part;
    prepared(tx, sql)?.execute(params![provider, id, workspace.0, followup.0, attempt, parts])?;
    Ok(())
}

/// The first report of a part stands.
pub(super) fn settle(tx: &Connection, provider: &str, id: &str, delivered: bool) -> Result<Option<Settled>> {
    let sql = "UPDATE sent_parts SET delivered = coalesce(delivered, ?3) WHERE provider = ?1 AND id = ?2
               RETURNING workspace, followup, attempt, parts";
    let read = |row: &rusqlite::Row<'_>| {
        let (provider, id) = (provider.to_owned(), id.to_owned());
        let (workspace, followup) = (WorkspaceId(row.get(0)?), FollowupId(row.get(1)?));
        Ok(PartRow { provider, id, workspace, followup, attempt: row.get(2)?, parts: row.get(3)? })
    };
    let Some(part) = one(tx, sql, params![provider, id, delivered], read)? else { return Ok(None) };
    let sql = "SELECT coalesce(sum(delivered), 0), count(*) FILTER (WHERE delivered = 0) FROM sent_parts
               WHERE followup = ?1 AND attempt = ?2 AND provider = ?3";
    let values = params![part.followup.0, part.attempt, provider];
    let (delivered, failed): (u16, i64) = prepared(tx, sql)?.query_row(values, |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(Some(Settled { part, delivered, failed: failed > 0 }))
}

/// Takes those whose follow-up began too long ago for a report to come.
pub(super) fn retire(tx: &Connection, now: Ms, limit: i64) -> Result<usize> {
    let sql = "DELETE FROM sent_parts WHERE (provider, id) IN
                   (SELECT provider, id FROM sent_parts INDEXED BY sent_parts_followup
                    WHERE followup < ?1 ORDER BY followup LIMIT ?2)";
    let before = now.saturating_sub(KEPT_MS).max(0) << ID_TIME_SHIFT;
    prepared(tx, sql)?.execute(params![before, limit])
}
