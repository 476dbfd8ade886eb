//! Apps: few rows, changed together with the version of their workspace.

use super::audit;
use super::load::many;
use super::prepared;
use crate::audit::Entry;
use crate::store::{AppChange, AppRow, WorkspaceId};
use rusqlite::{Connection, Result, params};

pub(super) fn list(db: &Connection, ws: WorkspaceId) -> Result<Vec<AppRow>> {
    let sql =
        "SELECT app_id, config, credentials, created_at, updated_at FROM apps WHERE workspace = ?1 ORDER BY app_id";
    many(db, sql, params![ws.0], |row| {
        Ok(AppRow {
            workspace: ws,
            app_id: row.get(0)?,
            config: row.get(1)?,
            credentials: row.get(2)?,
            created_at: row.get(3)?,
            updated_at: row.get(4)?,
        })
    })
}

/// `false` = the workspace has another version than this.
pub(super) fn change(
    tx: &Connection,
    ws: WorkspaceId,
    version: i64,
    change: &AppChange,
    entry: &Entry,
) -> Result<bool> {
    let next = "UPDATE workspaces SET version = version + 1 WHERE id = ?1 AND version = ?2";
    if prepared(tx, next)?.execute(params![ws.0, version])? == 0 {
        return Ok(false);
    }
    match change {
        AppChange::Put(app) => {
            let sql = "INSERT INTO apps (workspace, app_id, config, credentials, created_at, updated_at)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                       ON CONFLICT DO UPDATE SET config = excluded.config, credentials = excluded.credentials,
                           updated_at = excluded.updated_at";
            let values = params![ws.0, app.app_id, app.config, app.credentials, app.created_at, app.updated_at];
            prepared(tx, sql)?.execute(values)?;
        }
        AppChange::Delete(app_id) => {
            let sql = "DELETE FROM apps WHERE workspace = ?1 AND app_id = ?2";
            prepared(tx, sql)?.execute(params![ws.0, app_id])?;
        }
    }
    audit::append(tx, ws, entry)?;
    Ok(true)
}
