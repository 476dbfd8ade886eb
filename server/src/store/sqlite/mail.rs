//! Mail domains and templates: few rows, changed together with the version of their workspace.

use super::audit;
use super::codec::{json, to_json};
use super::load::{many, one};
use super::prepared;
use crate::audit::Entry;
use crate::store::{EmailTemplateRow, MailChange, MailDomainRow, MailRows, WorkspaceId};
use backstop_domain::Ms;
use rusqlite::{Connection, Result, params};

pub(super) fn list(db: &Connection, ws: WorkspaceId) -> Result<MailRows> {
    let sql = "SELECT state, secrets, next_check_at, created_at FROM mail_domains WHERE workspace = ?1";
    let domain = one(db, sql, params![ws.0], |row| {
        Ok(MailDomainRow {
            workspace: ws,
            state: json(row, 0, "mail_domains.state")?,
            secrets: row.get(1)?,
            next_check_at: row.get(2)?,
            created_at: row.get(3)?,
        })
    })?;
    let sql = "SELECT locale, subject, mjml, text, created_at, updated_at FROM email_templates
               WHERE workspace = ?1 ORDER BY locale";
    let templates = many(db, sql, params![ws.0], |row| {
        Ok(EmailTemplateRow {
            workspace: ws,
            locale: row.get(0)?,
            subject: row.get(1)?,
            mjml: row.get(2)?,
            text: row.get(3)?,
            created_at: row.get(4)?,
            updated_at: row.get(5)?,
        })
    })?;
    Ok(MailRows { domain, templates })
}

/// `false` = the workspace has another version than this.
pub(super) fn change(
    tx: &Connection,
    ws: WorkspaceId,
    version: i64,
    change: &MailChange,
    entry: Option<&Entry>,
) -> Result<bool> {
    let next = "UPDATE workspaces SET version = version + 1 WHERE id = ?1 AND version = ?2";
    if prepared(tx, next)?.execute(params![ws.0, version])? == 0 {
        return Ok(false);
    }
    match change {
        MailChange::PutDomain(domain) => put_domain(tx, ws, domain)?,
        MailChange::DeleteDomain => {
            prepared(tx, "DELETE FROM mail_domains WHERE workspace = ?1")?.execute(params![ws.0])?;
        }
        MailChange::PutTemplate(template) => put_template(tx, ws, template)?,
        MailChange::DeleteTemplate(locale) => {
            let sql = "DELETE FROM email_templates WHERE workspace = ?1 AND locale = ?2";
            prepared(tx, sql)?.execute(params![ws.0, locale])?;
        }
    }
    if let Some(entry) = entry {
        audit::append(tx, ws, entry)?;
    }
    Ok(true)
}

pub(super) fn domains_due(db: &Connection, until: Ms, limit: usize) -> Result<Vec<WorkspaceId>> {
    let sql = "SELECT workspace FROM mail_domains INDEXED BY mail_domains_next
               WHERE next_check_at <= ?1 ORDER BY next_check_at LIMIT ?2";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    many(db, sql, params![until, limit], |row| Ok(WorkspaceId(row.get(0)?)))
}

fn put_domain(tx: &Connection, ws: WorkspaceId, domain: &MailDomainRow) -> Result<()> {
    let sql = "INSERT INTO mail_domains (workspace, state, secrets, next_check_at, created_at)
               VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT DO UPDATE SET state = excluded.state, secrets = excluded.secrets,
                   next_check_at = excluded.next_check_at, created_at = excluded.created_at";
    let state = to_json(&domain.state)?;
    let values = params![ws.0, state, domain.secrets, domain.next_check_at, domain.created_at];
    prepared(tx, sql)?.execute(values).map(drop)
}

fn put_template(tx: &Connection, ws: WorkspaceId, template: &EmailTemplateRow) -> Result<()> {
    let sql = "INSERT INTO email_templates (workspace, locale, subject, mjml, text, created_at, updated_at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
               ON CONFLICT DO UPDATE SET subject = excluded.subject, mjml = excluded.mjml, text = excluded.text,
                   updated_at = excluded.updated_at";
    let EmailTemplateRow { locale, subject, mjml, text, created_at, updated_at, .. } = template;
    let values = params![ws.0, locale, subject, mjml, text, created_at, updated_at];
    prepared(tx, sql)?.execute(values).map(drop)
}
