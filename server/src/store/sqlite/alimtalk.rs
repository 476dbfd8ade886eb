//! Alimtalk templates: few rows, changed together with the version of their workspace.

use super::audit;
use super::load::many;
use super::prepared;
use crate::audit::Entry;
use crate::store::{AlimtalkChange, AlimtalkRow, WorkspaceId};
use rusqlite::{Connection, Result, params};

pub(super) fn list(db: &Connection, ws: WorkspaceId) -> Result<Vec<AlimtalkRow>> {
    let sql = "SELECT template_id, config, created_at, updated_at FROM alimtalk_templates
               WHERE workspace = ?1 ORDER BY template_id";
    many(db, sql, params![ws.0], |row| {
        Ok(AlimtalkRow {
            workspace: ws,
            template_id: row.get(0)?,
            config: row.get(1)?,
            created_at: row.get(2)?,
            updated_at: row.get(3)?,
        })
    })
}

/// `false` = the workspace has another version than this.
pub(super) fn change(
    tx: &Connection,
    ws: WorkspaceId,
    version: i64,
    change: &AlimtalkChange,
    entry: &Entry,
) -> Result<bool> {
    let next = "UPDATE workspaces SET version = version + 1 WHERE id = ?1 AND version = ?2";
    if prepared(tx, next)?.execute(params![ws.0, version])? == 0 {
        return Ok(false);
    }
    match change {
        AlimtalkChange::Put(row) => {
            let sql = "INSERT INTO alimtalk_templates (workspace, template_id, config, created_at, updated_at)
                       VALUES (?1, ?2, ?3, ?4, ?5)
                       ON CONFLICT DO UPDATE SET config = excluded.config, updated_at = excluded.updated_at";
            let values = params![ws.0, row.template_id, row.config, row.created_at, row.updated_at];
            prepared(tx, sql)?.execute(values)?;
        }
        AlimtalkChange::Delete(template_id) => {
            let sql = "DELETE FROM alimtalk_templates WHERE workspace = ?1 AND template_id = ?2";
            prepared(tx, sql)?.execute(params![ws.0, template_id])?;
        }
    }
    audit::append(tx, ws, entry)?;
    Ok(true)
}
