//! What is asked rarely: workspaces, keys, clocks, stored answers, retention.

use super::audit;
use super::codec::{Word as _, json, opt_json, to_json, unreadable, word};
use super::load::{many, one};
use super::{parts, prepared};
use crate::audit::{Entry, Kind, Who, key_id};
use crate::store::{Scope, StoredAnswer, WorkspaceId, WorkspaceRow};
use backstop_domain::Ms;
use rusqlite::{Connection, Result, params};

/// How long a stored answer stands (W3); an older one makes room.
const ANSWER_KEPT_MS: Ms = 24 * 3_600_000;
const DAY_MS: Ms = 24 * 3_600_000;

/// How much longer than answers it is kept who texted whom: whom a STOP is for (T7).
const TEXTED_KEPT_MS: Ms = 31 * 24 * 3_600_000;

/// Ids of ours hold their time in the bits above these: see `backstop_domain::ids::next_id`.
const ID_TIME_SHIFT: u32 = 20;

macro_rules! workspace_columns {
    () => {
        "id, name, identity_secrets, trusted_keys, settings, frozen_at, created_at, version, settings_set"
    };
}

pub(super) fn create_workspace(
    tx: &Connection,
    row: &WorkspaceRow,
    keys: &[([u8; 32], Scope)],
) -> Result<Option<WorkspaceId>> {
    for (hash, _) in keys {
        if one(tx, "SELECT 1 FROM keys WHERE hash = ?1", params![hash], |_| Ok(()))?.is_some() {
            return Ok(None);
        }
    }
    let sql = "INSERT INTO workspaces (name, identity_secrets, trusted_keys, settings, frozen_at, created_at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING";
    let (secrets, trusted) = (secrets_to_json(&row.identity_secrets)?, to_json(&row.trusted_keys)?);
    let values = params![row.name, secrets, trusted, row.settings, row.frozen_at, row.created_at];
    if prepared(tx, sql)?.execute(values)? == 0 {
        return Ok(None);
    }
    let id = WorkspaceId(tx.last_insert_rowid());
    for (hash, scope) in keys {
        create_key(tx, id, hash, *scope, row.created_at)?;
    }
    Ok(Some(id))
}

pub(super) fn workspace(db: &Connection, id: WorkspaceId) -> Result<Option<WorkspaceRow>> {
    let sql = concat!("SELECT ", workspace_columns!(), " FROM workspaces WHERE id = ?1");
    one(db, sql, params![id.0], workspace_row)
}

pub(super) fn workspace_named(db: &Connection, name: &str) -> Result<Option<WorkspaceRow>> {
    let sql = concat!("SELECT ", workspace_columns!(), " FROM workspaces WHERE name = ?1");
    one(db, sql, params![name], workspace_row)
}

pub(super) fn workspaces(db: &Connection) -> Result<Vec<WorkspaceRow>> {
    let sql = concat!("SELECT ", workspace_columns!(), " FROM workspaces ORDER BY id");
    many(db, sql, [], workspace_row)
}

pub(super) fn update_workspace(tx: &Connection, row: &WorkspaceRow, entry: &Entry) -> Result<bool> {
    let sql = "UPDATE workspaces SET version = version + 1, identity_secrets = ?3, trusted_keys = ?4, settings = ?5,
                   settings_set = ?6
               WHERE id = ?1 AND version = ?2";
    let (secrets, trusted) = (secrets_to_json(&row.identity_secrets)?, to_json(&row.trusted_keys)?);
    let set = row.settings_set.as_ref().map(to_json).transpose()?;
    let values = params![row.id.0, row.version, secrets, trusted, row.settings, set];
    if prepared(tx, sql)?.execute(values)? == 0 {
        return Ok(false);
    }
    audit::append(tx, row.id, entry)?;
    Ok(true)
}

pub(super) fn freeze(tx: &Connection, ws: WorkspaceId, at: Ms) -> Result<()> {
    let clock = "UPDATE workspaces SET frozen_at = max(coalesce(frozen_at, ?2), ?2) WHERE id = ?1";
    if prepared(tx, clock)?.execute(params![ws.0, at])? == 0 {
        return Ok(());
    }
    let lane = "UPDATE followups INDEXED BY followups_wake SET lane = ?1
                WHERE lane = 0 AND wake_at IS NOT NULL AND workspace = ?1";
    prepared(tx, lane)?.execute(params![ws.0])?;
    Ok(())
}

pub(super) fn drop_workspace(tx: &Connection, ws: WorkspaceId) -> Result<()> {
    let statements = [
        "DELETE FROM history WHERE followup IN (SELECT id FROM followups WHERE workspace = ?1)",
        "DELETE FROM followups WHERE workspace = ?1",
        "DELETE FROM messages WHERE workspace = ?1",
        "DELETE FROM conversations WHERE workspace = ?1",
        "DELETE FROM devices WHERE workspace = ?1",
        "DELETE FROM customers WHERE workspace = ?1",
        // By time: nothing of a workspace is older than it is, and an index would cost each link.
        "DELETE FROM links WHERE workspace = ?1
             AND made_at_s >= (SELECT created_at / 1000 - 1 FROM workspaces WHERE id = ?1)",
        "DELETE FROM answers WHERE workspace = ?1",
        "DELETE FROM apps WHERE workspace = ?1",
        "DELETE FROM alimtalk_templates WHERE workspace = ?1",
        "DELETE FROM suppressions WHERE workspace = ?1",
        "DELETE FROM texted INDEXED BY texted_at WHERE workspace = ?1
             AND at >= (SELECT created_at - 1000 FROM workspaces WHERE id = ?1)",
        "DELETE FROM inbound WHERE workspace = ?1",
        "DELETE FROM sent_parts INDEXED BY sent_parts_followup WHERE workspace = ?1
             AND followup >= (SELECT (created_at - 1000) << 20 FROM workspaces WHERE id = ?1)",
        "DELETE FROM counters WHERE workspace = ?1",
        "DELETE FROM mail_domains WHERE workspace = ?1",
        "DELETE FROM email_templates WHERE workspace = ?1",
        "DELETE FROM wallets WHERE workspace = ?1",
        "DELETE FROM usage_months WHERE workspace = ?1",
        "DELETE FROM top_ups WHERE workspace = ?1",
        "DELETE FROM workspaces WHERE id = ?1",
        // After the workspace: as long as it is there, its logs stay.
        "DELETE FROM audit WHERE workspace = ?1",
        "DELETE FROM ledger WHERE workspace = ?1",
    ];
    for sql in statements {
        prepared(tx, sql)?.execute(params![ws.0])?;
    }
    Ok(())
}

pub(super) fn create_key(tx: &Connection, ws: WorkspaceId, hash: &[u8; 32], scope: Scope, at: Ms) -> Result<()> {
    let sql = "INSERT INTO keys (hash, workspace, scope, created_at) VALUES (?1, ?2, ?3, ?4)";
    prepared(tx, sql)?.execute(params![hash, ws.0, scope.word(), at])?;
    Ok(())
}

pub(super) fn revoke_key(tx: &Connection, hash: &[u8; 32], at: Ms, who: &Who) -> Result<bool> {
    let Some((ws, scope)) = key(tx, hash)? else { return Ok(false) };
    prepared(tx, "UPDATE keys SET revoked_at = ?2 WHERE hash = ?1")?.execute(params![hash, at])?;
    audit::append(tx, ws, &key_entry(Kind::KeyRevoked, hash, scope, at, who))?;
    Ok(true)
}

/// What the log says of a key: its fingerprint, never the key.
pub(super) fn key_entry(kind: Kind, hash: &[u8; 32], scope: Scope, at: Ms, who: &Who) -> Entry {
    let detail = serde_json::json!({ "key_id": key_id(hash), "scope": scope.word() });
    Entry { at, kind, who: who.clone(), detail }
}

pub(super) fn key(db: &Connection, hash: &[u8; 32]) -> Result<Option<(WorkspaceId, Scope)>> {
    let sql = "SELECT workspace, scope FROM keys WHERE hash = ?1 AND revoked_at IS NULL";
    one(db, sql, params![hash], |row| Ok((WorkspaceId(row.get(0)?), word(row, 1, "keys.scope")?)))
}

pub(super) fn stored_answer(
    db: &Connection,
    ws: WorkspaceId,
    key: &str,
    not_before: Ms,
) -> Result<Option<StoredAnswer>> {
    let sql = "SELECT request_hash, status, body, at FROM answers WHERE workspace = ?1 AND key = ?2 AND at >= ?3";
    one(db, sql, params![ws.0, key, not_before], |row| {
        Ok(StoredAnswer { request_hash: row.get(0)?, status: row.get(1)?, body: row.get(2)?, at: row.get(3)? })
    })
}

pub(super) fn keep_answer(tx: &Connection, ws: WorkspaceId, key: &str, answer: &StoredAnswer) -> Result<()> {
    let sql = "INSERT INTO answers (workspace, key, at, request_hash, status, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
               ON CONFLICT DO UPDATE SET at = excluded.at, request_hash = excluded.request_hash,
                   status = excluded.status, body = excluded.body
               WHERE answers.at <= excluded.at - ?7";
    let values = params![ws.0, key, answer.at, answer.request_hash, answer.status, answer.body, ANSWER_KEPT_MS];
    prepared(tx, sql)?.execute(values)?;
    Ok(())
}

/// Takes the oldest first, `limit` rows in all.
pub(super) fn retire(tx: &Connection, texts: Ms, followups: Ms, answers: Ms, limit: usize) -> Result<usize> {
    let steps = [
        (
            "UPDATE messages SET body = NULL, version = version + 1 WHERE row IN
                 (SELECT row FROM messages INDEXED BY messages_texts
                  WHERE body IS NOT NULL AND accepted_at < ?1 ORDER BY accepted_at LIMIT ?2)",
            texts,
        ),
        // Rows lie in the order of their coming: only the oldest are looked at, not the whole table.
        (
            "DELETE FROM messages WHERE row IN (SELECT row FROM messages ORDER BY row LIMIT ?2) AND accepted_at < ?1",
            followups,
        ),
    ];
    let mut left = limit;
    for (sql, before) in steps {
        left -= prepared(tx, sql)?.execute(params![before, to_i64(left)])?.min(left);
    }
    left -= retire_links(tx, texts, left)?.min(left);
    left -= retire_inbound(tx, left)?.min(left);
    left -= retire_answers(tx, answers, left)?.min(left);
    left -= retire_texted(tx, answers.saturating_sub(TEXTED_KEPT_MS), left)?.min(left);
    left -= parts::retire(tx, answers, to_i64(left))?.min(left);
    left -= retire_counters(tx, answers, left)?.min(left);
    left -= retire_followups(tx, followups, left)?.min(left);
    Ok(limit - left)
}

/// Links go with the texts that they were in.
fn retire_links(tx: &Connection, before: Ms, limit: usize) -> Result<usize> {
    let sql = "DELETE FROM links WHERE (made_at_s, hash) IN
                   (SELECT made_at_s, hash FROM links WHERE made_at_s < ?1 ORDER BY made_at_s LIMIT ?2)";
    prepared(tx, sql)?.execute(params![before / 1_000, to_i64(limit)])
}

/// What was said of answers whose messages are gone. Oldest first, like those.
fn retire_inbound(tx: &Connection, limit: usize) -> Result<usize> {
    let sql = "DELETE FROM inbound AS i WHERE id IN (SELECT id FROM inbound ORDER BY id LIMIT ?1) AND NOT EXISTS
                   (SELECT 1 FROM messages m WHERE m.workspace = i.workspace AND m.message_id = i.message_id)";
    prepared(tx, sql)?.execute(params![to_i64(limit)])
}

fn retire_answers(tx: &Connection, before: Ms, limit: usize) -> Result<usize> {
    let oldest = "SELECT workspace, key FROM answers WHERE at < ?1 ORDER BY at LIMIT ?2";
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?));
    let answers = many(tx, oldest, params![before, to_i64(limit)], read)?;
    for (workspace, key) in &answers {
        let sql = "DELETE FROM answers WHERE workspace = ?1 AND key = ?2";
        prepared(tx, sql)?.execute(params![workspace, key])?;
    }
    Ok(answers.len())
}

fn retire_texted(tx: &Connection, before: Ms, limit: usize) -> Result<usize> {
    let sql = "DELETE FROM texted WHERE (number_hash, sender, workspace) IN
                   (SELECT number_hash, sender, workspace FROM texted INDEXED BY texted_at
                    WHERE at < ?1 ORDER BY at LIMIT ?2)";
    prepared(tx, sql)?.execute(params![before, to_i64(limit)])
}

/// Counters whose day ended before. A workspace whose clock is frozen lives in days of its own.
fn retire_counters(tx: &Connection, before: Ms, limit: usize) -> Result<usize> {
    let sql = "DELETE FROM counters WHERE (workspace, scope, key) IN
                   (SELECT workspace, scope, key FROM counters INDEXED BY counters_day
                    WHERE day < ?1 AND workspace NOT IN (SELECT id FROM workspaces WHERE frozen_at IS NOT NULL)
                    ORDER BY day LIMIT ?2)";
    let today = before.div_euclid(DAY_MS);
    prepared(tx, sql)?.execute(params![today, to_i64(limit)])
}

fn retire_followups(tx: &Connection, before: Ms, limit: usize) -> Result<usize> {
    let oldest = "SELECT id FROM followups WHERE id < ?1 AND wake_at IS NULL ORDER BY id LIMIT ?2";
    let before_id = before.max(0) << ID_TIME_SHIFT;
    let ids = many(tx, oldest, params![before_id, to_i64(limit)], |row| row.get::<_, i64>(0))?;
    delete_followups(tx, &ids)?;
    Ok(ids.len())
}

fn delete_followups(tx: &Connection, ids: &[i64]) -> Result<()> {
    for id in ids {
        // Its messages too: they are found through it.
        prepared(tx, "DELETE FROM messages WHERE followup = ?1")?.execute(params![id])?;
        prepared(tx, "DELETE FROM history WHERE followup = ?1")?.execute(params![id])?;
        prepared(tx, "DELETE FROM followups WHERE id = ?1")?.execute(params![id])?;
    }
    Ok(())
}

/// Of one workspace, by what its rows say of their time. For sandboxes alone: it reads all of its follow-ups.
pub(super) fn retire_in(tx: &Connection, ws: WorkspaceId, texts: Ms, followups: Ms, limit: usize) -> Result<usize> {
    let steps = [
        (
            "UPDATE messages SET body = NULL, version = version + 1 WHERE row IN
                 (SELECT row FROM messages INDEXED BY messages_texts
                  WHERE body IS NOT NULL AND accepted_at < ?2 AND workspace = ?1 ORDER BY accepted_at LIMIT ?3)",
            texts,
        ),
        (
            "DELETE FROM messages WHERE row IN
                 (SELECT row FROM messages INDEXED BY messages_customer
                  WHERE workspace = ?1 AND followup IS NULL AND accepted_at < ?2 LIMIT ?3)",
            followups,
        ),
    ];
    let mut left = limit;
    for (sql, before) in steps {
        left -= prepared(tx, sql)?.execute(params![ws.0, before, to_i64(left)])?.min(left);
    }
    let oldest = "SELECT id FROM followups INDEXED BY followups_workspace
                  WHERE workspace = ?1 AND wake_at IS NULL AND json_extract(state, '$.started_at') < ?2
                  ORDER BY id LIMIT ?3";
    let ids = many(tx, oldest, params![ws.0, followups, to_i64(left)], |row| row.get::<_, i64>(0))?;
    delete_followups(tx, &ids)?;
    Ok(limit - left + ids.len())
}

fn to_i64(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn workspace_row(row: &rusqlite::Row<'_>) -> Result<WorkspaceRow> {
    let secrets: Vec<String> = json(row, 2, "workspaces.identity_secrets")?;
    let secrets: Vec<Vec<u8>> = secrets
        .iter()
        .map(|secret| hex::decode(secret).map_err(|_| unreadable("workspaces.identity_secrets")))
        .collect::<Result<_>>()?;
    Ok(WorkspaceRow {
        id: WorkspaceId(row.get(0)?),
        name: row.get(1)?,
        identity_secrets: secrets,
        trusted_keys: json(row, 3, "workspaces.trusted_keys")?,
        settings: row.get(4)?,
        frozen_at: row.get(5)?,
        created_at: row.get(6)?,
        version: row.get(7)?,
        settings_set: opt_json(row, 8, "workspaces.settings_set")?,
    })
}

fn secrets_to_json(secrets: &[Vec<u8>]) -> Result<String> {
    to_json(&secrets.iter().map(hex::encode).collect::<Vec<_>>())
}
