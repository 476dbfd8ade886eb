//! Reads: rows by key, the timer's questions, lists.

use super::codec::{Word as _, json, optional_word, scope_code, wake_reason, word};
use super::{prepared, wallet};
use crate::store::{
    ConversationRow, CounterRow, CustomerRow, DeviceRow, Due, FollowupFilter, FollowupRow, HistoryEntry, Inbound, Key,
    Lane, LastText, LinkKey, LinkRow, MessageRow, Row, StoredInbound, SuppressionFilter, SuppressionRow,
    SuppressionStanding, WorkspaceId,
};
use backstop_domain::Ms;
use backstop_domain::device::Standing;
use backstop_domain::followup::Wake;
use backstop_domain::ids::{DeviceId, FollowupId, SuppressionId};
use backstop_domain::limits::{Counter, Scope, Tally};
use backstop_domain::text::Link;
use rusqlite::{Connection, OptionalExtension as _, Params, Result, ToSql, named_params, params};
use std::sync::Arc;

/// Newest follow-ups that [`Key::Open`] answers.
const OPEN_LIMIT: i64 = 200;
/// States with an index of their own: see `followups_notable`.
const NOTABLE: &[&str] = &["fell_back", "cancelled", "failed"];
/// No list is longer, whatever the caller asks for.
const LIST_LIMIT: usize = 100_000;

macro_rules! followup_columns {
    () => {
        "id, workspace, customer_id, conversation_id, version, wake_at, wake_why, state"
    };
}

macro_rules! conversation_columns {
    () => {
        "workspace, conversation_id, customer_id, version, next_seq, wrote_at, left_at, open, texted_at"
    };
}

macro_rules! suppression_columns {
    () => {
        "workspace, id, version, number_hash, number, source, at, lifted_at, channel, strikes"
    };
}

macro_rules! message_columns {
    () => {
        "workspace, message_id, version, conversation_id, customer_id, seq, direction, body_hash, body, followup,
         answer, accepted_at"
    };
}

/// `trail`: the follow-ups that these conversations lead to, with those in no trail, newest first. `$talks` and
/// `$loose` say which, as conditions on `conversations` and `followups`, `$talks` behind the index if it is not the
/// primary key: of two that begin with the workspace SQLite takes that one, and reads all of the workspace.
macro_rules! trail {
    ($talks:literal, $loose:literal) => {
        concat!(
            "WITH RECURSIVE trail (id) AS (
                 SELECT newest FROM conversations ",
            $talks,
            " AND newest IS NOT NULL
                 UNION ALL SELECT id FROM followups INDEXED BY followups_loose WHERE ",
            $loose,
            " AND prev IS NULL
                 UNION ALL SELECT f.prev FROM trail CROSS JOIN followups f ON f.id = trail.id WHERE f.prev > 0
                 ORDER BY 1 DESC) "
        )
    };
}

/// `trail` of customer `?2` in workspace `?1`.
macro_rules! trail_of_customer {
    () => {
        trail!(
            "INDEXED BY conversations_customer WHERE workspace = ?1 AND customer_id = ?2",
            "workspace = ?1 AND customer_id = ?2"
        )
    };
}

/// Rows of all messages of customer `?2` in workspace `?1`: those without a follow-up and those of the customer's.
macro_rules! messages_of_customer {
    () => {
        concat!(
            trail_of_customer!(),
            "SELECT row FROM messages INDEXED BY messages_customer
                 WHERE workspace = ?1 AND customer_id = ?2 AND followup IS NULL
             UNION ALL
             SELECT m.row FROM trail CROSS JOIN messages m INDEXED BY messages_followup ON m.followup = trail.id
                 WHERE m.workspace = ?1 AND m.customer_id = ?2"
        )
    };
}
pub(super) use {messages_of_customer, trail, trail_of_customer};

pub(super) fn by_key(db: &Connection, key: &Key) -> Result<Option<Row>> {
    Ok(match key {
        Key::Customer(ws, id) => customer(db, *ws, id)?.map(Row::Customer),
        Key::Conversation(ws, id, customer) => conversation(db, *ws, id, customer)?.map(Row::Conversation),
        Key::Message(ws, id) => {
            let sql = concat!("SELECT ", message_columns!(), " FROM messages WHERE workspace = ?1 AND message_id = ?2");
            one(db, sql, params![ws.0, id], message)?.map(Row::Message)
        }
        Key::Followup(ws, id) => followup_by_id(db, *ws, *id)?.map(|row| Row::Followup(Arc::new(row))),
        Key::Device(ws, id) => device(db, *ws, *id)?.map(Row::Device),
        Key::Install(ws, id) => {
            let sql = "SELECT id FROM devices WHERE workspace = ?1 AND install_id = ?2";
            one(db, sql, params![ws.0, id], |row| Ok(Row::Found(DeviceId(row.get(0)?))))?
        }
        Key::Token(ws, hash) => {
            let sql = "SELECT id FROM devices WHERE workspace = ?1 AND token_hash = ?2";
            one(db, sql, params![ws.0, hash], |row| Ok(Row::Found(DeviceId(row.get(0)?))))?
        }
        Key::Suppression(ws, hash) => {
            let sql = concat!(
                "SELECT ",
                suppression_columns!(),
                " FROM suppressions WHERE workspace = ?1 AND number_hash = ?2"
            );
            one(db, sql, params![ws.0, hash], suppression)?.map(Row::Suppression)
        }
        Key::Link(key) => link(db, key)?.map(Row::Link),
        Key::Counter(ws, scope, key) => counter(db, *ws, *scope, key)?.map(Row::Counter),
        Key::Wallet(ws) => wallet::load(db, *ws)?.map(Row::Wallet),
        Key::TopUp(ws, id) => wallet::load_top_up(db, *ws, id)?.map(Row::TopUp),
        Key::Open(ws, customer) => Some(Row::Open(open(db, *ws, customer)?)),
    })
}

/// Wake-ups of a lane up to an instant, earliest first. Read from the index alone.
pub(super) fn due(db: &Connection, lane: Lane, until: Ms, limit: usize) -> Result<Vec<Due>> {
    let lane = match lane {
        Lane::Real => 0,
        Lane::Frozen(workspace) => workspace.0,
    };
    let sql = "SELECT id, workspace, wake_at, wake_why FROM followups INDEXED BY followups_wake
               WHERE lane = ?1 AND wake_at IS NOT NULL AND wake_at <= ?2 ORDER BY wake_at, id LIMIT ?3";
    many(db, sql, params![lane, until, cap(limit)], wake_up)
}

/// Wake-ups of the real lane after this one. Two questions, so that many at one instant cost no second look.
pub(super) fn pending(db: &Connection, after: (Ms, FollowupId), limit: usize) -> Result<Vec<Due>> {
    let (at, FollowupId(id)) = after;
    let same_instant = "SELECT id, workspace, wake_at, wake_why FROM followups INDEXED BY followups_wake
                        WHERE lane = 0 AND wake_at = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
    let mut found = many(db, same_instant, params![at, id, cap(limit)], wake_up)?;
    let later = "SELECT id, workspace, wake_at, wake_why FROM followups INDEXED BY followups_wake
                 WHERE lane = 0 AND wake_at > ?1 ORDER BY wake_at, id LIMIT ?2";
    found.extend(many(db, later, params![at, cap(limit.saturating_sub(found.len()))], wake_up)?);
    Ok(found)
}

pub(super) fn pending_count(db: &Connection) -> Result<u64> {
    let sql = "SELECT count(*) FROM followups INDEXED BY followups_wake WHERE wake_at IS NOT NULL";
    let count: i64 = prepared(db, sql)?.query_row([], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// Whether an app of the workspace has registered a device.
pub(super) fn any_device(db: &Connection, ws: WorkspaceId) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM devices WHERE workspace = ?1)";
    prepared(db, sql)?.query_row([ws.0], |row| row.get(0))
}

/// One list, newest first. Each combination of filters goes the way that narrows it most.
pub(super) fn followups(db: &Connection, ws: WorkspaceId, filter: &FollowupFilter) -> Result<Vec<FollowupRow>> {
    let state = filter.state.as_deref();
    let notable = NOTABLE.iter().copied().find(|notable| state == Some(notable));
    let mut sql = String::from(match (&filter.message_id, &filter.customer_id, &filter.conversation_id) {
        (Some(_), ..) | (None, None, None) => "",
        (None, Some(_), None) => trail!(
            "INDEXED BY conversations_customer WHERE workspace = :workspace AND customer_id = :customer",
            "workspace = :workspace AND customer_id = :customer"
        ),
        (None, None, Some(_)) => trail!(
            "WHERE workspace = :workspace AND conversation_id = :conversation",
            "workspace = :workspace AND customer_id IN (SELECT customer_id FROM conversations
                 WHERE workspace = :workspace AND conversation_id = :conversation)"
        ),
        (None, Some(_), Some(_)) => trail!(
            "WHERE workspace = :workspace AND conversation_id = :conversation AND customer_id = :customer",
            "workspace = :workspace AND customer_id = :customer"
        ),
    });
    let in_trail = !sql.is_empty();
    sql.push_str(concat!("SELECT ", followup_columns!(), " FROM "));
    sql.push_str(match (in_trail, &filter.message_id, notable) {
        (true, ..) => "trail CROSS JOIN followups USING (id) ",
        (false, Some(_), _) => "followups ",
        (false, None, Some(_)) => "followups INDEXED BY followups_notable ",
        (false, None, None) => "followups INDEXED BY followups_workspace ",
    });
    sql.push_str("WHERE workspace = :workspace AND public IS NOT NULL");
    let (after, from, limit) = (filter.after.map(|id| id.0), filter.from.map(|id| id.0), cap(filter.limit));
    let mut values: Vec<(&str, &dyn ToSql)> = vec![(":workspace", &ws.0), (":limit", &limit)];
    if after.is_some() {
        sql.push_str(" AND id < :after");
        values.push((":after", &after));
    }
    if from.is_some() {
        sql.push_str(" AND id >= :from");
        values.push((":from", &from));
    }
    if let Some(message_id) = &filter.message_id {
        sql.push_str(
            " AND id = (SELECT followup FROM messages WHERE workspace = :workspace AND message_id = :message)",
        );
        values.push((":message", message_id));
    }
    if let Some(customer_id) = &filter.customer_id {
        sql.push_str(" AND customer_id = :customer");
        values.push((":customer", customer_id));
    }
    if let Some(conversation_id) = &filter.conversation_id {
        sql.push_str(" AND conversation_id = :conversation");
        values.push((":conversation", conversation_id));
    }
    match (notable, &filter.state) {
        // The word itself: a parameter would hide from the planner that the partial index serves.
        (Some(word), _) => sql.push_str(&format!(" AND public = '{word}'")),
        (None, Some(word)) => {
            sql.push_str(" AND public = :public");
            values.push((":public", word));
        }
        (None, None) => {}
    }
    // A trail comes in this order, as far as it is asked for; sorting it would read all of it.
    sql.push_str(if in_trail { " LIMIT :limit" } else { " ORDER BY id DESC LIMIT :limit" });
    many(db, &sql, values.as_slice(), followup)
}

pub(super) fn history(db: &Connection, ws: WorkspaceId, id: FollowupId) -> Result<Vec<HistoryEntry>> {
    let sql = "SELECT at, event, decision, why, inputs FROM history WHERE followup = ?1 AND workspace = ?2 ORDER BY n";
    many(db, sql, params![id.0, ws.0], |row| {
        Ok(HistoryEntry {
            at: row.get(0)?,
            event: row.get(1)?,
            decision: row.get(2)?,
            why: row.get(3)?,
            inputs: row.get(4)?,
        })
    })
}

pub(super) fn messages_of(
    db: &Connection,
    ws: WorkspaceId,
    customer_id: &str,
    after: &(Ms, String),
    limit: usize,
) -> Result<Vec<MessageRow>> {
    let sql = concat!(
        "SELECT ",
        message_columns!(),
        " FROM messages WHERE row IN (",
        messages_of_customer!(),
        ") AND customer_id = ?2 AND (accepted_at, message_id) > (?3, ?4)
         ORDER BY accepted_at, message_id LIMIT ?5"
    );
    many(db, sql, params![ws.0, customer_id, after.0, after.1, cap(limit)], message)
}

fn customer(db: &Connection, ws: WorkspaceId, id: &str) -> Result<Option<CustomerRow>> {
    let sql =
        "SELECT workspace, customer_id, version, wrapped_key, contact, has_phone, has_email, contact_source, locale,
                   time_zone, devices, presence, engaged_at, created_at, contact_at, consents
               FROM customers WHERE workspace = ?1 AND customer_id = ?2";
    one(db, sql, params![ws.0, id], |row| {
        Ok(CustomerRow {
            workspace: WorkspaceId(row.get(0)?),
            customer_id: row.get(1)?,
            version: row.get(2)?,
            wrapped_key: row.get(3)?,
            contact: row.get(4)?,
            has_phone: row.get(5)?,
            has_email: row.get(6)?,
            contact_source: word(row, 7, "customers.contact_source")?,
            locale: row.get(8)?,
            time_zone: row.get(9)?,
            devices: json(row, 10, "customers.devices")?,
            presence: json(row, 11, "customers.presence")?,
            engaged_at: row.get(12)?,
            created_at: row.get(13)?,
            contact_at: row.get(14)?,
            consents: json(row, 15, "customers.consents")?,
        })
    })
}

fn conversation(db: &Connection, ws: WorkspaceId, id: &str, customer: &str) -> Result<Option<ConversationRow>> {
    let sql = concat!(
        "SELECT ",
        conversation_columns!(),
        " FROM conversations WHERE workspace = ?1 AND conversation_id = ?2 AND customer_id = ?3"
    );
    one(db, sql, params![ws.0, id, customer], talk)
}

pub(super) fn conversations_of(
    db: &Connection,
    ws: WorkspaceId,
    customer_id: &str,
    after: &str,
    limit: usize,
) -> Result<Vec<ConversationRow>> {
    let sql = concat!(
        "SELECT ",
        conversation_columns!(),
        " FROM conversations INDEXED BY conversations_customer
         WHERE workspace = ?1 AND customer_id = ?2 AND conversation_id > ?3 ORDER BY conversation_id LIMIT ?4"
    );
    many(db, sql, params![ws.0, customer_id, after, cap(limit)], talk)
}

fn talk(row: &rusqlite::Row<'_>) -> Result<ConversationRow> {
    Ok(ConversationRow {
        workspace: WorkspaceId(row.get(0)?),
        conversation_id: row.get(1)?,
        customer_id: row.get(2)?,
        version: row.get(3)?,
        next_seq: row.get(4)?,
        wrote_at: row.get(5)?,
        left_at: row.get(6)?,
        open: json(row, 7, "conversations.open")?,
        texted_at: row.get(8)?,
    })
}

fn message(row: &rusqlite::Row<'_>) -> Result<MessageRow> {
    Ok(MessageRow {
        workspace: WorkspaceId(row.get(0)?),
        message_id: row.get(1)?,
        version: row.get(2)?,
        conversation_id: row.get(3)?,
        customer_id: row.get(4)?,
        seq: row.get(5)?,
        direction: word(row, 6, "messages.direction")?,
        body_hash: row.get(7)?,
        body: row.get(8)?,
        followup: row.get::<_, Option<i64>>(9)?.map(FollowupId),
        answer: row.get(10)?,
        accepted_at: row.get(11)?,
    })
}

fn followup_by_id(db: &Connection, ws: WorkspaceId, id: FollowupId) -> Result<Option<FollowupRow>> {
    let sql = concat!("SELECT ", followup_columns!(), " FROM followups WHERE id = ?1 AND workspace = ?2");
    one(db, sql, params![id.0, ws.0], followup)
}

fn followup(row: &rusqlite::Row<'_>) -> Result<FollowupRow> {
    let wake = match (row.get(5)?, row.get::<_, Option<i64>>(6)?) {
        (Some(at), Some(why)) => Some(Wake { at, why: wake_reason(why)? }),
        _ => None,
    };
    Ok(FollowupRow {
        id: FollowupId(row.get(0)?),
        workspace: WorkspaceId(row.get(1)?),
        customer_id: row.get(2)?,
        conversation_id: row.get(3)?,
        version: row.get(4)?,
        wake,
        state: json(row, 7, "followups.state")?,
    })
}

fn device(db: &Connection, ws: WorkspaceId, id: DeviceId) -> Result<Option<DeviceRow>> {
    let sql = "SELECT workspace, id, version, install_id, customer_id, platform, provider, token, token_hash, topic,
                   environment, alerts, wire, locale, token_gone_at, registered_at, confirmed_at, used_at, counted_acks
               FROM devices WHERE id = :id AND workspace = :workspace";
    one(db, sql, named_params! { ":id": id.0, ":workspace": ws.0 }, |row| {
        Ok(DeviceRow {
            workspace: WorkspaceId(row.get(0)?),
            id: DeviceId(row.get(1)?),
            version: row.get(2)?,
            install_id: row.get(3)?,
            customer_id: row.get(4)?,
            platform: word(row, 5, "devices.platform")?,
            provider: word(row, 6, "devices.provider")?,
            token: row.get(7)?,
            token_hash: row.get(8)?,
            topic: row.get(9)?,
            environment: optional_word(row, 10, "devices.environment")?,
            alerts: word(row, 11, "devices.alerts")?,
            wire: json(row, 12, "devices.wire")?,
            locale: row.get(13)?,
            standing: row.get::<_, Option<Ms>>(14)?.map_or(Standing::Registered, Standing::TokenGone),
            registered_at: row.get(15)?,
            confirmed_at: row.get(16)?,
            used_at: row.get(17)?,
            counted_acks: json(row, 18, "devices.counted_acks")?,
        })
    })
}

fn suppression(row: &rusqlite::Row<'_>) -> Result<SuppressionRow> {
    Ok(SuppressionRow {
        workspace: WorkspaceId(row.get(0)?),
        id: SuppressionId(row.get(1)?),
        version: row.get(2)?,
        number_hash: row.get(3)?,
        number: Some(row.get(4)?).filter(|sealed: &Vec<u8>| !sealed.is_empty()),
        source: word(row, 5, "suppressions.source")?,
        at: row.get(6)?,
        standing: match (row.get(7)?, row.get(9)?) {
            (Some(at), _) => SuppressionStanding::Lifted(at),
            (None, 0) => SuppressionStanding::InForce,
            (None, strikes) => SuppressionStanding::Struck(strikes),
        },
        channel: word(row, 8, "suppressions.channel")?,
    })
}

/// Those in force, newest first.
pub(super) fn suppressions(db: &Connection, ws: WorkspaceId, filter: SuppressionFilter) -> Result<Vec<SuppressionRow>> {
    let sql = concat!(
        "SELECT ",
        suppression_columns!(),
        " FROM suppressions INDEXED BY suppressions_number
          WHERE workspace = ?1 AND lifted_at IS NULL AND strikes = 0 AND (?2 IS NULL OR id = ?2)
              AND (?3 IS NULL OR id < ?3) AND (?5 IS NULL OR channel = ?5)
          ORDER BY id DESC LIMIT ?4"
    );
    let (id, after) = (filter.id.map(|id| id.0), filter.after.map(|id| id.0));
    let channel = filter.channel.map(|channel| channel.word());
    many(db, sql, params![ws.0, id, after, cap(filter.limit), channel], suppression)
}

/// Whoever texted by a number that the account picked may be meant, too.
pub(super) fn texted(db: &Connection, number_hash: &[u8; 32], sender: &str, since: Ms) -> Result<Vec<LastText>> {
    // With max(), the other columns are those of its row.
    let sql = "SELECT max(at), workspace, followup FROM texted
               WHERE number_hash = ?1 AND (?2 = '' OR sender IN ('', ?2)) AND at >= ?3
               GROUP BY workspace ORDER BY 1 DESC, workspace LIMIT ?4";
    many(db, sql, params![number_hash, sender, since, cap(LIST_LIMIT)], |row| {
        let followup = row.get::<_, Option<i64>>(2)?.map(FollowupId);
        Ok(LastText { at: row.get(0)?, workspace: WorkspaceId(row.get(1)?), followup })
    })
}

pub(super) fn inbound(db: &Connection, ws: WorkspaceId, after: i64, limit: usize) -> Result<Vec<StoredInbound>> {
    let sql = "SELECT m.workspace, m.message_id, m.version, m.conversation_id, m.customer_id, m.seq, m.direction,
                   m.body_hash, m.body, m.followup, m.answer, m.accepted_at, i.id, i.channel, i.followup, i.from_other
               FROM inbound i INDEXED BY inbound_workspace
                   CROSS JOIN messages m ON m.workspace = i.workspace AND m.message_id = i.message_id
               WHERE i.workspace = ?1 AND i.id > ?2 AND m.customer_id <> '' ORDER BY i.id LIMIT ?3";
    many(db, sql, params![ws.0, after, cap(limit)], |row| {
        let message = message(row)?;
        let inbound = Inbound {
            message_id: message.message_id.clone(),
            channel: word(row, 13, "inbound.channel")?,
            followup: row.get::<_, Option<i64>>(14)?.map(FollowupId),
            from_other: row.get(15)?,
        };
        Ok(StoredInbound { id: row.get(12)?, inbound, message })
    })
}

fn link(db: &Connection, key: &LinkKey) -> Result<Option<LinkRow>> {
    let sql = "SELECT workspace, version, followup, expires_at, login_used_at FROM links
               WHERE made_at_s = ?1 AND hash = ?2";
    one(db, sql, params![key.made_at_s, key.hash], |row| {
        Ok(LinkRow {
            workspace: WorkspaceId(row.get(0)?),
            key: *key,
            version: row.get(1)?,
            followup: FollowupId(row.get(2)?),
            link: Link { expires_at: row.get(3)?, login_used_at: row.get(4)? },
        })
    })
}

fn counter(db: &Connection, ws: WorkspaceId, scope: Scope, key: &[u8; 16]) -> Result<Option<CounterRow>> {
    let sql = "SELECT version, hour, in_hour, rang_in_hour, day, in_day, rang_in_day FROM counters
               WHERE workspace = ?1 AND scope = ?2 AND key = ?3";
    one(db, sql, params![ws.0, scope_code(scope), key], |row| {
        let hour = Tally { window: row.get(1)?, count: row.get(2)?, rang: row.get(3)? };
        let day = Tally { window: row.get(4)?, count: row.get(5)?, rang: row.get(6)? };
        Ok(CounterRow { workspace: ws, scope, key: *key, version: row.get(0)?, counter: Counter { hour, day } })
    })
}

fn open(db: &Connection, ws: WorkspaceId, customer_id: &str) -> Result<Vec<FollowupId>> {
    let sql = concat!(
        trail_of_customer!(),
        "SELECT id FROM trail CROSS JOIN followups USING (id)
         WHERE workspace = ?1 AND customer_id = ?2 AND wake_at IS NOT NULL LIMIT ?3"
    );
    many(db, sql, params![ws.0, customer_id, OPEN_LIMIT], |row| Ok(FollowupId(row.get(0)?)))
}

fn wake_up(row: &rusqlite::Row<'_>) -> Result<Due> {
    Ok(Due {
        id: FollowupId(row.get(0)?),
        workspace: WorkspaceId(row.get(1)?),
        wake: Wake { at: row.get(2)?, why: wake_reason(row.get(3)?)? },
    })
}

fn cap(limit: usize) -> i64 {
    limit.min(LIST_LIMIT).try_into().unwrap_or(i64::MAX)
}

pub(super) fn one<T>(
    db: &Connection,
    sql: &str,
    values: impl Params,
    read: impl FnOnce(&rusqlite::Row<'_>) -> Result<T>,
) -> Result<Option<T>> {
    prepared(db, sql)?.query_row(values, read).optional()
}

pub(super) fn many<T>(
    db: &Connection,
    sql: &str,
    values: impl Params,
    read: impl FnMut(&rusqlite::Row<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    prepared(db, sql)?.query_map(values, read)?.collect()
}
