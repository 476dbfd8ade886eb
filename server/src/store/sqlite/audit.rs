//! The audit log's rows: added in the transaction of the change they tell of, read newest first.

use super::codec::{json, to_json, unreadable};
use super::load::many;
use super::prepared;
use crate::audit::{Entry, Kind, Stored};
use crate::store::{AuditFilter, WorkspaceId};
use rusqlite::{Connection, Result, params};

/// Adds a line; call it in the transaction that makes the change.
pub(super) fn append(tx: &Connection, ws: WorkspaceId, entry: &Entry) -> Result<()> {
    let sql = "INSERT INTO audit (workspace, at, kind, who, detail) VALUES (?1, ?2, ?3, ?4, ?5)";
    let (who, detail) = (to_json(&entry.who)?, to_json(&entry.detail)?);
    prepared(tx, sql)?.execute(params![ws.0, entry.at, entry.kind.as_str(), who, detail])?;
    Ok(())
}

pub(super) fn list(db: &Connection, ws: WorkspaceId, filter: &AuditFilter) -> Result<Vec<Stored>> {
    let before = filter.after.unwrap_or(i64::MAX);
    let limit = i64::try_from(filter.limit).unwrap_or(i64::MAX);
    match filter.kind {
        Some(kind) => {
            let sql = "SELECT id, at, kind, who, detail FROM audit
                       WHERE workspace = ?1 AND kind = ?2 AND id < ?3 ORDER BY id DESC LIMIT ?4";
            many(db, sql, params![ws.0, kind.as_str(), before, limit], read)
        }
        None => {
            let sql = "SELECT id, at, kind, who, detail FROM audit
                       WHERE workspace = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3";
            many(db, sql, params![ws.0, before, limit], read)
        }
    }
}

fn read(row: &rusqlite::Row<'_>) -> Result<Stored> {
    let kind: String = row.get(2)?;
    let entry = Entry {
        at: row.get(1)?,
        kind: Kind::parse(&kind).ok_or_else(|| unreadable("audit.kind"))?,
        who: json(row, 3, "audit.who")?,
        detail: json(row, 4, "audit.detail")?,
    };
    Ok(Stored { id: row.get(0)?, entry })
}
