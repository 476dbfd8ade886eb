//! PRIVACY.md against the schema: whoever adds a table or a column says what of whom is in it, and for how long.

use crate::http_support::{Rig, reply};
use backstop_server::store::{OpenOptions, OptOutSource, SqliteStore, SuppressionChannel};
use backstop_server::vault::Vault;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

type Columns = BTreeMap<String, BTreeSet<String>>;

/// What the database has.
fn schema() -> Columns {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("b.db");
    let options = OpenOptions { sandbox: true, serve: true, read_connections: 1 };
    drop(SqliteStore::open(&path, options, &Vault::new(&[7; 32])).unwrap());
    let db = rusqlite::Connection::open(&path).unwrap();
    let sql = "SELECT t.name, c.name FROM sqlite_schema t JOIN pragma_table_info(t.name) c
               WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'";
    let mut columns = Columns::new();
    let mut statement = db.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    for (table, column) in rows.map(|row: rusqlite::Result<(String, String)>| row.unwrap()) {
        columns.entry(table).or_default().insert(column);
    }
    columns
}

/// What the page says: sections `### `table``, and in each a table whose first cell names columns.
fn page(text: &str) -> Columns {
    let ticked = |text: &str| text.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let sections = text.split("\n### ").skip(1);
    let section = |section: &str| {
        let section = section.split("\n## ").next().unwrap_or(section);
        let table = ticked(section.lines().next().unwrap()).pop().unwrap();
        let rows = section.lines().filter_map(|line| line.strip_prefix("| "));
        (table, rows.flat_map(|row| ticked(row.split(" | ").next().unwrap())).collect())
    };
    sections.map(section).collect()
}

/// S8: every table and every column of the schema stands in PRIVACY.md, with how long it is kept, and nothing else.
#[test]
fn s8_every_column_is_accounted_for() {
    let text = include_str!("../../PRIVACY.md");
    let (schema, page) = (schema(), page(text));
    for (table, columns) in &schema {
        let said = page.get(table).unwrap_or_else(|| panic!("PRIVACY.md has no section ### `{table}`"));
        let missing: Vec<_> = columns.difference(said).collect();
        assert!(missing.is_empty(), "PRIVACY.md, ### `{table}`: no row names {missing:?}");
        let gone: Vec<_> = said.difference(columns).collect();
        assert!(gone.is_empty(), "PRIVACY.md, ### `{table}`: there is no column {gone:?}");
    }
    let gone: Vec<_> = page.keys().filter(|table| !schema.contains_key(*table)).collect();
    assert!(gone.is_empty(), "PRIVACY.md names tables that are not there: {gone:?}");
    for section in text.split("\n### ").skip(1) {
        let section = section.split("\n## ").next().unwrap();
        let table = section.lines().next().unwrap();
        let (words, place) = (section.to_lowercase(), format!("PRIVACY.md, {table}"));
        assert!(words.contains("export") && words.contains("erasure"), "{place}: what do export and erasure do?");
        let rows: Vec<_> = section.lines().filter(|line| line.starts_with("| `")).collect();
        let cells = |row: &str| row.trim_end_matches('|').split(" | ").count();
        assert!(rows.iter().all(|row| cells(row) == 4), "{place}: a cell is missing");
    }
}

/// The page is read as it is meant: a column that nobody named is found.
#[test]
fn a_column_that_is_not_named_is_found() {
    let text = "# P\n## Tables\n### `a`\n\nWords of `code`.\n\n| Columns | What |\n|---|---|\n| `x`, `y` | of `z` |\n";
    let said = page(&format!("{text}## End\n| `n` | |"));
    let columns = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(said, Columns::from([("a".to_owned(), columns(&["x", "y"]))]));
}

/// A table, where its row is in an export, and its columns with what they are called there.
type Shown = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

/// What is in an export.
const EXPORTED: [Shown; 6] = [
    (
        "customers",
        "/customer",
        &[
            ("customer_id", "customer_id"),
            ("created_at", "created_at"),
            ("contact", "email"),
            ("has_phone", "phone"),
            ("has_email", "email"),
            ("contact_at", "contact_at"),
            ("contact_source", "contact_source"),
            ("locale", "locale"),
            ("time_zone", "time_zone"),
            ("presence", "pages"),
            ("engaged_at", "engaged_at"),
        ],
    ),
    (
        "devices",
        "/devices/0",
        &[
            ("id", "device_id"),
            ("install_id", "install_id"),
            ("platform", "platform"),
            ("provider", "provider"),
            ("topic", "package"),
            ("environment", "environment"),
            ("alerts", "alerts"),
            ("wire", "wire"),
            ("locale", "locale"),
            ("token_gone_at", "token_gone_at"),
            ("registered_at", "registered_at"),
            ("confirmed_at", "confirmed_at"),
            ("used_at", "used_at"),
            ("counted_acks", "counted_acks"),
        ],
    ),
    (
        "conversations",
        "/conversations/0",
        &[
            ("conversation_id", "conversation_id"),
            ("wrote_at", "wrote_at"),
            ("left_at", "left_at"),
            ("texted_at", "texted_at"),
        ],
    ),
    (
        "messages",
        "/messages/0",
        &[
            ("message_id", "message_id"),
            ("conversation_id", "conversation_id"),
            ("direction", "direction"),
            ("accepted_at", "accepted_at"),
            ("body", "text"),
        ],
    ),
    (
        "followups",
        "/followups/0",
        &[
            ("id", "followup_id"),
            ("customer_id", "customer_id"),
            ("conversation_id", "conversation_id"),
            ("public", "state"),
            ("state", "deliveries"),
        ],
    ),
    (
        "suppressions",
        "/suppressions/0",
        &[
            ("channel", "channel"),
            ("source", "source"),
            ("at", "at"),
            ("lifted_at", "lifted_at"),
            ("strikes", "strikes"),
        ],
    ),
];
/// What is not, and why: `table.column`.
const NOT_EXPORTED: [(&str, &[&str]); 5] = [
    (
        "ours: which company, which version, which place",
        &["*.workspace", "*.version", "conversations.next_seq", "messages.row", "messages.seq", "suppressions.id"],
    ),
    (
        "it leads to what is exported",
        &[
            "customers.devices",
            "conversations.open",
            "conversations.newest",
            "messages.followup",
            "followups.prev",
            "followups.lane",
            "followups.wake_at",
            "followups.wake_why",
            "conversations.customer_id",
            "messages.customer_id",
            "devices.customer_id",
        ],
    ),
    ("exported in a list of its own", &["customers.consents"]),
    (
        "a secret, or a hash of what is exported",
        &[
            "customers.wrapped_key",
            "devices.token",
            "devices.token_hash",
            "messages.body_hash",
            "suppressions.number_hash",
            "suppressions.number",
        ],
    ),
    ("what the caller was answered", &["messages.answer"]),
];

/// S8: every column of a customer's own rows is exported, or named here with why it is not.
#[tokio::test]
async fn s8_everything_of_a_customer_is_exported_or_named() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    rig.lucas(&shop).await;
    rig.phone(&shop, "lucas", "install-1").await;
    rig.post(&shop, "/v1/messages", reply("m-1")).await.expect(202);
    let ws = rig.registry.by_id(shop.id).await.unwrap().unwrap();
    let (channel, source) = (SuppressionChannel::Email, OptOutSource::Bounce);
    rig.engine.opt_out(&ws, channel, "lucas@example.com".into(), source).await.unwrap();
    let page = json!({"customer_id": "lucas", "source_id": "page-1", "state": "active"});
    rig.post(&shop, "/v1/presence", page).await.expect(200);
    let export = rig.get(&shop, "/v1/customers/lucas/export").await.expect(200);
    assert_eq!(export["customer"]["pages"][0]["source_id"], "page-1");
    assert_ne!(export["customer"]["engaged_at"], Value::Null);
    let schema = schema();
    for (table, at, columns) in EXPORTED {
        let shown = export.pointer(at).unwrap_or_else(|| panic!("{at} in {export:#}"));
        for (column, name) in columns {
            assert!(schema[table].contains(*column), "there is no {table}.{column}");
            assert!(shown.get(name).is_some(), "{table}.{column} is not exported as {at}/{name}: {shown:#}");
        }
        for column in &schema[table] {
            let (own, any) = (format!("{table}.{column}"), format!("*.{column}"));
            let named = NOT_EXPORTED.iter().flat_map(|(_, names)| *names).any(|name| *name == own || *name == any);
            let exported = columns.iter().any(|(exported, _)| exported == column);
            assert!(named != exported, "{own}: is it in an export, and if not, why?");
        }
    }
}
