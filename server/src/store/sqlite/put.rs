//! Writes of one unit. Each says whether it found what it was to replace: `false` = conflict.
//!
//! A version is part of each statement's condition, so that checking and writing are one step. The columns that
//! change at every step are written by the usual statement; those that are in an index and hardly ever change only
//! if that one did not match, because an index entry that is written again costs as much as a new one. Parameters have
//! numbers on the hot path: SQLite looks a name up by comparing it with each.

use super::codec::{Word as _, scope_code, to_json, wake_code};
use super::load::{messages_of_customer, one as find, trail, trail_of_customer};
use super::prepared;
use crate::store::{
    ConversationRow, CounterRow, CustomerRow, DeviceRow, FollowupRow, HistoryEntry, Inbound, LinkRow, MessageRow, Op,
    Row, SuppressionRow, SuppressionStanding, Texted, Unit, WorkspaceId,
};
use backstop_domain::device::Standing;
use backstop_domain::ids::{DeviceId, FollowupId};
use rusqlite::{Connection, Error, ErrorCode, Params, Result, named_params, params};

/// What a unit says of its follow-up, so that writing one of its rows need not look at another.
#[derive(Default)]
pub(super) struct Beside {
    /// The follow-up and its version.
    followup: Option<(FollowupId, i64)>,
    /// It is new, and its conversation is written before it.
    is_led_to: bool,
    /// The follow-up that its conversation led to before; 0 = none.
    prev: Option<i64>,
    /// Entries of its history so far.
    entries: i64,
}

impl Beside {
    /// What is to be known of the first follow-up that the unit writes. Of others nothing is: each looks for itself.
    pub(super) fn of(unit: &Unit) -> Beside {
        let talks = unit.iter().filter_map(Op::row).map_while(|row| match row {
            Row::Followup(_) => None,
            row => Some(row),
        });
        let Some(row) = unit.iter().filter_map(Op::row).find_map(Row::as_followup) else { return Beside::default() };
        let is_led_to = row.version == 1
            && talks.filter_map(Row::as_conversation).any(|talk| {
                talk.workspace == row.workspace
                    && talk.conversation_id == row.conversation_id
                    && talk.customer_id == row.customer_id
            });
        Beside { followup: Some((row.id, row.version)), is_led_to, ..Beside::default() }
    }
}

/// Numbers that one version of a follow-up may give to entries of its history: far more than come in one unit, which
/// are those of one request's acks at most. The number after the last would be the next version's first.
const ENTRIES_A_VERSION: i64 = 1_024;

pub(super) fn customer(tx: &Connection, row: &CustomerRow) -> Result<bool> {
    let (devices, presence, consents) = (to_json(&row.devices)?, to_json(&row.presence)?, to_json(&row.consents)?);
    let sql = if row.version == 1 {
        "INSERT INTO customers (workspace, customer_id, version, has_phone, has_email, contact_source, engaged_at,
             created_at, locale, time_zone, devices, wrapped_key, contact, presence, contact_at, consents)
         VALUES (:workspace, :customer_id, :version + 1, :has_phone, :has_email, :contact_source, :engaged_at,
             :created_at, :locale, :time_zone, :devices, :wrapped_key, :contact, :presence, :contact_at, :consents)
         ON CONFLICT DO NOTHING"
    } else {
        "UPDATE customers SET version = :version + 1, has_phone = :has_phone, has_email = :has_email,
             contact_source = :contact_source, engaged_at = :engaged_at, created_at = :created_at, locale = :locale,
             time_zone = :time_zone, devices = :devices, wrapped_key = :wrapped_key, contact = :contact,
             presence = :presence, contact_at = :contact_at, consents = :consents
         WHERE workspace = :workspace AND customer_id = :customer_id AND version = :version"
    };
    let values = named_params! {
        ":workspace": row.workspace.0, ":customer_id": row.customer_id, ":version": row.version - 1,
        ":has_phone": row.has_phone, ":has_email": row.has_email, ":contact_source": row.contact_source.word(),
        ":engaged_at": row.engaged_at, ":created_at": row.created_at, ":locale": row.locale,
        ":time_zone": row.time_zone, ":devices": devices, ":wrapped_key": row.wrapped_key, ":contact": row.contact,
        ":presence": presence, ":contact_at": row.contact_at, ":consents": consents,
    };
    one(tx, sql, values)
}

/// Leads to the unit's new follow-up, too, if `beside` says so.
pub(super) fn conversation(tx: &Connection, row: &ConversationRow, beside: &mut Beside) -> Result<bool> {
    let newest = beside.followup.filter(|_| beside.is_led_to).map(|(id, _)| id.0);
    let sql = if row.version == 1 {
        beside.prev = newest.map(|_| 0);
        "INSERT INTO conversations (workspace, conversation_id, customer_id, version, next_seq, wrote_at, left_at, open,
             texted_at, newest)
         VALUES (?1, ?2, ?3, ?4 + 1, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING"
    } else {
        if newest.is_some() {
            let sql = "SELECT coalesce(newest, 0) FROM conversations
                       WHERE workspace = ?1 AND conversation_id = ?2 AND customer_id = ?3";
            beside.prev =
                find(tx, sql, params![row.workspace.0, row.conversation_id, row.customer_id], |row| row.get(0))?;
        }
        "UPDATE conversations SET version = ?4 + 1, next_seq = ?5, wrote_at = ?6, left_at = ?7, open = ?8,
             texted_at = ?9, newest = coalesce(?10, newest)
         WHERE workspace = ?1 AND conversation_id = ?2 AND customer_id = ?3 AND version = ?4"
    };
    let values = params![
        row.workspace.0,
        row.conversation_id,
        row.customer_id,
        row.version - 1,
        row.next_seq,
        row.wrote_at,
        row.left_at,
        to_json(&row.open)?,
        row.texted_at,
        newest,
    ];
    one(tx, sql, values)
}

pub(super) fn message(tx: &Connection, row: &MessageRow) -> Result<bool> {
    let values = params![
        row.workspace.0,
        row.message_id,
        row.version - 1,
        row.customer_id,
        row.conversation_id,
        row.seq,
        row.direction.word(),
        row.accepted_at,
        row.followup.map(|f| f.0),
        row.body_hash,
        row.answer,
        row.body,
    ];
    if row.version == 1 {
        let sql = "INSERT INTO messages (workspace, message_id, version, customer_id, conversation_id, seq, direction,
                       accepted_at, followup, body_hash, answer, body)
                   VALUES (?1, ?2, ?3 + 1, ?4, ?5, ?6, ?7,
                       ?8, ?9, ?10, ?11, ?12)
                   ON CONFLICT DO NOTHING";
        return one(tx, sql, values);
    }
    let sql = "UPDATE messages SET version = ?3 + 1, customer_id = ?4,
                   conversation_id = ?5, seq = ?6, direction = ?7, accepted_at = ?8,
                   followup = ?9, body_hash = ?10, answer = ?11, body = ?12
               WHERE workspace = ?1 AND message_id = ?2 AND version = ?3";
    one(tx, sql, values)
}

/// `lane` is the workspace's: see the column.
pub(super) fn followup(tx: &Connection, row: &FollowupRow, lane: i64, beside: &Beside) -> Result<bool> {
    let public = row.state.public_state().map(|public| public.as_str());
    let state = to_json(&row.state)?;
    let (wake_at, wake_why) = (row.wake.map(|wake| wake.at), row.wake.map(|wake| wake_code(wake.why)));
    if row.version == 1 {
        let known = beside.prev.filter(|_| beside.followup.is_some_and(|(id, _)| id == row.id));
        let sql = "INSERT INTO followups (id, workspace, version, lane, wake_at, wake_why, public, customer_id,
                       conversation_id, state, prev)
                   VALUES (?1, ?2, ?3 + 1, ?4, ?5, ?6, ?7, ?8, ?9, ?10, coalesce(?11,
                       (SELECT coalesce(newest, 0) FROM conversations
                        WHERE workspace = ?2 AND conversation_id = ?9 AND customer_id = ?8)))
                   ON CONFLICT DO NOTHING";
        let values = params![
            row.id.0,
            row.workspace.0,
            row.version - 1,
            lane,
            wake_at,
            wake_why,
            public,
            row.customer_id,
            row.conversation_id,
            state,
            known,
        ];
        let new = one(tx, sql, values)?;
        if new && known.is_none() {
            lead_to(tx, row)?;
        }
        return Ok(new);
    }
    let values = params![
        row.id.0,
        row.workspace.0,
        row.version - 1,
        lane,
        wake_at,
        wake_why,
        public,
        row.customer_id,
        row.conversation_id,
        state,
    ];
    // Same wake-up, same customer: a push was accepted, a try was noted.
    let narrow = "UPDATE followups SET version = ?3 + 1, public = ?7, state = ?10
                  WHERE id = ?1 AND workspace = ?2 AND version = ?3 AND lane = ?4 AND wake_at IS ?5
                      AND wake_why IS ?6 AND customer_id = ?8 AND conversation_id = ?9";
    let usual =
        "UPDATE followups SET version = ?3 + 1, lane = ?4, wake_at = ?5, wake_why = ?6, public = ?7, state = ?10
                 WHERE id = ?1 AND workspace = ?2 AND version = ?3 AND customer_id = ?8 AND conversation_id = ?9";
    let whole = "UPDATE followups SET version = ?3 + 1, lane = ?4, wake_at = ?5, wake_why = ?6, public = ?7,
                     customer_id = ?8, conversation_id = ?9, state = ?10
                 WHERE id = ?1 AND workspace = ?2 AND version = ?3";
    if (row.wake.is_some() && one(tx, narrow, values)?) || one(tx, usual, values)? {
        return Ok(true);
    }
    scatter(tx, row)?;
    one(tx, whole, values)
}

/// The conversation, if there is one yet, leads to its new follow-up.
fn lead_to(tx: &Connection, row: &FollowupRow) -> Result<()> {
    let sql = "UPDATE conversations SET newest = ?4 WHERE workspace = ?1 AND conversation_id = ?2 AND customer_id = ?3";
    let values = params![row.workspace.0, row.conversation_id, row.customer_id, row.id.0];
    prepared(tx, sql)?.execute(values).map(|_| ())
}

/// Before a follow-up becomes another conversation's: the trail that it is in is given up, and what was in it is found
/// by the index. Does nothing to one of another version.
fn scatter(tx: &Connection, row: &FollowupRow) -> Result<()> {
    let stored = "SELECT customer_id, conversation_id FROM followups WHERE id = ?1 AND workspace = ?2 AND version = ?3";
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
    let Some((customer, conversation)) = find(tx, stored, params![row.id.0, row.workspace.0, row.version - 1], read)?
    else {
        return Ok(());
    };
    let trail = "WITH RECURSIVE trail (id) AS (
                     SELECT newest FROM conversations
                     WHERE workspace = ?1 AND conversation_id = ?2 AND customer_id = ?3 AND newest IS NOT NULL
                     UNION ALL SELECT f.prev FROM trail CROSS JOIN followups f ON f.id = trail.id WHERE f.prev > 0)
                 UPDATE followups SET prev = NULL WHERE id IN trail";
    let talk =
        "UPDATE conversations SET newest = NULL WHERE workspace = ?1 AND conversation_id = ?2 AND customer_id = ?3";
    for sql in [trail, talk] {
        prepared(tx, sql)?.execute(params![row.workspace.0, conversation, customer])?;
    }
    Ok(())
}

pub(super) fn device(tx: &Connection, row: &DeviceRow) -> Result<bool> {
    let token_gone_at = match row.standing {
        Standing::Registered => None,
        Standing::TokenGone(at) => Some(at),
    };
    let (wire, counted_acks) = (to_json(&row.wire)?, to_json(&row.counted_acks)?);
    let values = params![
        row.id.0,
        row.workspace.0,
        row.version - 1,
        row.install_id,
        row.customer_id,
        row.platform.word(),
        row.provider.word(),
        row.token,
        row.token_hash,
        row.topic,
        row.environment.as_ref().map(|e| e.word()),
        row.alerts.word(),
        wire,
        row.locale,
        token_gone_at,
        row.registered_at,
        row.confirmed_at,
        row.used_at,
        counted_acks,
    ];
    if row.version == 1 {
        let sql = "INSERT INTO devices (id, workspace, version, install_id, customer_id, platform, provider, token,
                       token_hash, topic, environment, alerts, wire, locale, token_gone_at, registered_at,
                       confirmed_at, used_at, counted_acks)
                   VALUES (?1, ?2, ?3 + 1, ?4, ?5, ?6, ?7, ?8,
                       ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16,
                       ?17, ?18, ?19)
                   ON CONFLICT DO NOTHING";
        return one(tx, sql, values);
    }
    // An ack: nothing that is in an index.
    let usual = "UPDATE devices SET version = ?3 + 1, platform = ?6, provider = ?7, token = ?8,
                     topic = ?10, environment = ?11, alerts = ?12, wire = ?13, locale = ?14,
                     token_gone_at = ?15, registered_at = ?16, confirmed_at = ?17,
                     used_at = ?18, counted_acks = ?19
                 WHERE id = ?1 AND workspace = ?2 AND version = ?3 AND install_id = ?4
                     AND customer_id IS ?5 AND token_hash = ?9";
    let whole = "UPDATE devices SET version = ?3 + 1, platform = ?6, provider = ?7, token = ?8,
                     topic = ?10, environment = ?11, alerts = ?12, wire = ?13, locale = ?14,
                     token_gone_at = ?15, registered_at = ?16, confirmed_at = ?17,
                     used_at = ?18, counted_acks = ?19, install_id = ?4,
                     customer_id = ?5, token_hash = ?9
                 WHERE id = ?1 AND workspace = ?2 AND version = ?3";
    Ok(one(tx, usual, values)? || one(tx, whole, values)?)
}

pub(super) fn suppression(tx: &Connection, row: &SuppressionRow) -> Result<bool> {
    let sql = if row.version == 1 {
        "INSERT INTO suppressions (id, workspace, version, number_hash, number, source, at, lifted_at, channel, strikes)
         VALUES (?1, ?2, ?3 + 1, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING"
    } else {
        "UPDATE suppressions SET version = ?3 + 1, number = ?5, source = ?6, at = ?7, lifted_at = ?8, strikes = ?10
         WHERE id = ?1 AND workspace = ?2 AND version = ?3 AND number_hash = ?4 AND channel = ?9"
    };
    let (lifted_at, strikes) = match row.standing {
        SuppressionStanding::InForce => (None, 0),
        SuppressionStanding::Lifted(at) => (Some(at), 0),
        SuppressionStanding::Struck(strikes) => (None, strikes),
    };
    let values = params![
        row.id.0,
        row.workspace.0,
        row.version - 1,
        row.number_hash,
        // Forgotten is empty: nothing sealed is.
        row.number.as_deref().unwrap_or_default(),
        row.source.word(),
        row.at,
        lifted_at,
        row.channel.word(),
        strikes,
    ];
    one(tx, sql, values)
}

/// It only ever gets newer, so that it conflicts with nothing.
pub(super) fn texted(tx: &Connection, ws: WorkspaceId, texted: &Texted) -> Result<bool> {
    let sql = "INSERT INTO texted (number_hash, sender, workspace, at, followup) VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT DO UPDATE SET followup = iif(at <= excluded.at, excluded.followup, followup),
                   at = max(at, excluded.at)";
    one(tx, sql, params![texted.number_hash, texted.sender, ws.0, texted.at, texted.followup.0])
}

pub(super) fn inbound(tx: &Connection, ws: WorkspaceId, inbound: &Inbound) -> Result<bool> {
    let sql = "INSERT INTO inbound (workspace, message_id, channel, followup, from_other) VALUES (?1, ?2, ?3, ?4, ?5)";
    let Inbound { message_id, channel, followup, from_other } = inbound;
    one(tx, sql, params![ws.0, message_id, channel.word(), followup.map(|id| id.0), from_other])
}

pub(super) fn link(tx: &Connection, row: &LinkRow) -> Result<bool> {
    let LinkRow { workspace, key, version, followup, link } = row;
    let values =
        params![key.made_at_s, key.hash, workspace.0, version - 1, followup.0, link.expires_at, link.login_used_at];
    if row.version == 1 {
        let sql = "INSERT INTO links (made_at_s, hash, workspace, version, followup, expires_at, login_used_at)
                   VALUES (?1, ?2, ?3, ?4 + 1, ?5, ?6, ?7) ON CONFLICT DO NOTHING";
        return one(tx, sql, values);
    }
    let sql = "UPDATE links SET version = ?4 + 1, followup = ?5, expires_at = ?6, login_used_at = ?7
               WHERE made_at_s = ?1 AND hash = ?2 AND workspace = ?3 AND version = ?4";
    one(tx, sql, values)
}

pub(super) fn counter(tx: &Connection, row: &CounterRow) -> Result<bool> {
    let sql = if row.version == 1 {
        "INSERT INTO counters (workspace, scope, key, version, hour, in_hour, rang_in_hour, day, in_day, rang_in_day)
         VALUES (?1, ?2, ?3, ?4 + 1, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING"
    } else {
        "UPDATE counters SET version = ?4 + 1, hour = ?5, in_hour = ?6, rang_in_hour = ?7, day = ?8, in_day = ?9,
             rang_in_day = ?10
         WHERE workspace = ?1 AND scope = ?2 AND key = ?3 AND version = ?4"
    };
    let (hour, day) = (row.counter.hour, row.counter.day);
    let values = params![
        row.workspace.0,
        scope_code(row.scope),
        row.key,
        row.version - 1,
        hour.window,
        hour.count,
        hour.rang,
        day.window,
        day.count,
        day.rang,
    ];
    one(tx, sql, values)
}

/// Entries are numbered by the version of the follow-up that they come with: nobody has to count them. One that comes
/// alone follows the newest there is.
pub(super) fn history(
    tx: &Connection,
    ws: WorkspaceId,
    id: FollowupId,
    entry: &HistoryEntry,
    beside: &mut Beside,
) -> Result<bool> {
    if let Some((_, version)) = beside.followup.filter(|(with, _)| *with == id)
        && beside.entries < ENTRIES_A_VERSION
    {
        let n = version.saturating_mul(ENTRIES_A_VERSION).saturating_add(beside.entries);
        beside.entries += 1;
        let sql = "INSERT INTO history (followup, n, workspace, at, event, decision, why, inputs)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        return one(tx, sql, params![id.0, n, ws.0, entry.at, entry.event, entry.decision, entry.why, entry.inputs]);
    }
    let sql = "INSERT INTO history (followup, n, workspace, at, event, decision, why, inputs)
               VALUES (?1, 1 + coalesce((SELECT max(n) FROM history WHERE followup = ?1), 0), ?2, ?3, ?4, ?5, ?6, ?7)";
    one(tx, sql, params![id.0, ws.0, entry.at, entry.event, entry.decision, entry.why, entry.inputs])
}

pub(super) fn delete_device(tx: &Connection, ws: WorkspaceId, id: DeviceId, version: i64) -> Result<bool> {
    one(tx, "DELETE FROM devices WHERE id = ?1 AND workspace = ?2 AND version = ?3", params![id.0, ws.0, version])
}

/// Everything of the customer that says anything about them. What stays has no customer any more (S8): follow-ups and
/// messages count and answer repeats. Whoever has loaded one of these rows will meet a conflict.
pub(super) fn erase(tx: &Connection, ws: WorkspaceId, customer_id: &str) -> Result<()> {
    let statements = [
        "DELETE FROM customers WHERE workspace = ?1 AND customer_id = ?2",
        "DELETE FROM devices INDEXED BY devices_customer WHERE workspace = ?1 AND customer_id = ?2",
        // Before the follow-ups, through which they are found, and these before the conversations that lead to them.
        concat!(
            "UPDATE history SET inputs = NULL WHERE followup IN (",
            trail_of_customer!(),
            "SELECT id FROM trail) AND workspace = ?1"
        ),
        concat!(
            "UPDATE messages SET version = version + 1, customer_id = '', conversation_id = '', body = NULL,
                 body_hash = zeroblob(32)
             WHERE row IN (",
            messages_of_customer!(),
            ")"
        ),
        concat!(
            "UPDATE followups SET version = version + 1, customer_id = '', conversation_id = ''
             WHERE workspace = ?1 AND customer_id = ?2 AND id IN (",
            trail_of_customer!(),
            "SELECT id FROM trail)"
        ),
        "DELETE FROM conversations INDEXED BY conversations_customer WHERE workspace = ?1 AND customer_id = ?2",
    ];
    for sql in statements {
        prepared(tx, sql)?.execute(params![ws.0, customer_id])?;
    }
    Ok(())
}

/// Runs a statement that changes one row or, on a conflict, none.
pub(super) fn one(tx: &Connection, sql: &str, values: impl Params) -> Result<bool> {
    match prepared(tx, sql)?.execute(values) {
        Ok(changed) => Ok(changed == 1),
        Err(Error::SqliteFailure(failure, _))
            if failure.code == ErrorCode::ConstraintViolation && is_taken(failure.extended_code) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn is_taken(extended_code: i32) -> bool {
    use rusqlite::ffi::{SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_ROWID, SQLITE_CONSTRAINT_UNIQUE};
    [SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_ROWID, SQLITE_CONSTRAINT_UNIQUE].contains(&extended_code)
}
