//! How SQLite finds rows: no statement that is run while somebody waits reads a large table, or all of a workspace.

use super::migrate::MIGRATIONS;
use super::{admin, load, put, wallet};
use crate::store::{
    FollowupFilter, Key, Lane, LedgerFilter, LinkKey, SuppressionChannel, SuppressionFilter, WorkspaceId,
};
use backstop_domain::ids::{DeviceId, FollowupId, SuppressionId};
use backstop_domain::limits::Scope;
use rusqlite::Connection;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Tables that grow with what customers and companies do.
const LARGE: [&str; 14] = [
    "customers",
    "conversations",
    "messages",
    "followups",
    "history",
    "devices",
    "answers",
    "suppressions",
    "texted",
    "inbound",
    "sent_parts",
    "links",
    "counters",
    "ledger",
];
/// Statements that may read all of a workspace, or a table from its beginning, and why.
const EXCUSED: [(&str, &str); 10] = [
    ("FROM followups INDEXED BY followups_workspace WHERE workspace = :workspace", "newest first, as far as asked for"),
    ("FROM followups INDEXED BY followups_workspace\n", "a sandbox's retention"),
    ("WHERE workspace = ?1 AND followup IS NULL AND accepted_at < ?2 LIMIT", "a sandbox's retention"),
    ("FROM followups INDEXED BY followups_notable", "newest first, as far as asked for"),
    ("IN (SELECT id FROM followups WHERE workspace = ?1)", "a workspace goes"),
    ("SELECT EXISTS (SELECT 1 FROM devices", "the first row answers"),
    ("FROM suppressions INDEXED BY suppressions_number", "a page of a list that an operator reads"),
    ("FROM inbound i INDEXED BY inbound_workspace", "in the order of the index, as far as asked for"),
    ("FROM messages ORDER BY row LIMIT", "the oldest rows"),
    ("FROM inbound ORDER BY id LIMIT", "the oldest rows"),
];

thread_local! {
    /// Each statement of this thread, and the steps of its plan.
    static NOTED: RefCell<BTreeMap<String, Vec<String>>> = const { RefCell::new(BTreeMap::new()) };
}

pub(super) fn note(db: &Connection, sql: &str) {
    if NOTED.with_borrow(|noted| noted.contains_key(sql)) {
        return;
    }
    let mut plan = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let mut rows = plan.raw_query();
    let mut steps = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        steps.push(row.get(3).unwrap());
    }
    NOTED.with_borrow_mut(|noted| noted.insert(sql.to_owned(), steps));
}

/// Whether the step reads a large table whole, or all that a workspace has in it.
fn is_wide(step: &str) -> bool {
    let words: Vec<&str> = step.split(' ').collect();
    let wide = words[0] == "SCAN" || step.ends_with(" (workspace=?)");
    wide && words.get(1).is_some_and(|table| LARGE.contains(table) || ["f", "i", "m"].contains(table))
}

fn keys(ws: WorkspaceId) -> Vec<Key> {
    let id = || String::from("x");
    vec![
        Key::Customer(ws, id()),
        Key::Conversation(ws, id(), id()),
        Key::Message(ws, id()),
        Key::Followup(ws, FollowupId(1)),
        Key::Device(ws, DeviceId(1)),
        Key::Install(ws, id()),
        Key::Token(ws, [0; 32]),
        Key::Suppression(ws, [0; 32]),
        Key::Link(LinkKey { made_at_s: 1, hash: [0; 16] }),
        Key::Counter(ws, Scope::Number, [0; 16]),
        Key::Wallet(ws),
        Key::TopUp(ws, id()),
        Key::Open(ws, id()),
    ]
}

fn filters() -> Vec<FollowupFilter> {
    let word = |bit: usize, n: usize| (n & bit != 0).then(|| String::from("x"));
    let states = [None, Some("failed"), Some("acked")];
    let filter = |n: usize, state: Option<&str>| FollowupFilter {
        customer_id: word(1, n),
        conversation_id: word(2, n),
        message_id: word(4, n),
        after: (n & 8 != 0).then_some(FollowupId(9)),
        from: (n & 16 != 0).then_some(FollowupId(1)),
        state: state.map(str::to_owned),
        limit: 50,
    };
    (0..32).flat_map(|n| states.map(|state| filter(n, state))).collect()
}

/// Invariant 7, S6, S8: what is asked of one customer, conversation, number or link costs what is theirs, however many
/// others there are.
#[test]
fn s8_a_look_up_costs_what_it_finds() {
    let db = Connection::open_in_memory().unwrap();
    MIGRATIONS.iter().for_each(|step| db.execute_batch(step).unwrap());
    let ws = WorkspaceId(1);
    keys(ws).iter().for_each(|key| drop(load::by_key(&db, key).unwrap()));
    filters().iter().for_each(|filter| drop(load::followups(&db, ws, filter).unwrap()));
    load::due(&db, Lane::Real, 1, 1).unwrap();
    load::pending(&db, (0, FollowupId(0)), 1).unwrap();
    load::any_device(&db, ws).unwrap();
    load::history(&db, ws, FollowupId(1)).unwrap();
    load::messages_of(&db, ws, "x", &(0, String::new()), 1).unwrap();
    load::conversations_of(&db, ws, "x", "", 1).unwrap();
    let filter = SuppressionFilter { id: Some(SuppressionId(1)), after: None, limit: 1, channel: None };
    load::suppressions(&db, ws, filter).unwrap();
    let filter = SuppressionFilter { id: None, after: None, limit: 1, channel: Some(SuppressionChannel::Text) };
    load::suppressions(&db, ws, filter).unwrap();
    load::texted(&db, &[0; 32], "", 0).unwrap();
    load::inbound(&db, ws, 0, 1).unwrap();
    wallet::entries(&db, ws, LedgerFilter { before: None, limit: 1 }).unwrap();
    put::erase(&db, ws, "x").unwrap();
    put::delete_device(&db, ws, DeviceId(1), 1).unwrap();
    admin::freeze(&db, ws, 1).unwrap();
    admin::stored_answer(&db, ws, "k", 0).unwrap();
    admin::retire(&db, 1, 1, 1, 10).unwrap();
    admin::retire_in(&db, ws, 1, 1, 10).unwrap();
    admin::drop_workspace(&db, ws).unwrap();
    let noted = NOTED.take();
    assert!(noted.len() > 60, "only {} statements were looked at", noted.len());
    let goes = |sql: &str| sql.starts_with("DELETE FROM") && sql.ends_with("WHERE workspace = ?1");
    let excused = |sql: &str| goes(sql) || EXCUSED.iter().any(|(words, _)| sql.contains(words));
    let wide: Vec<_> =
        noted.iter().filter(|(sql, steps)| steps.iter().any(|step| is_wide(step)) && !excused(sql)).collect();
    assert!(wide.is_empty(), "name an index, or why all of it is read: {wide:#?}");
}
