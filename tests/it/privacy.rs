//! PRIVACY.md against the schema: whoever adds a table or a column says what of whom is in it, and for how long.

use backstop_server::store::{OpenOptions, SqliteStore};
use backstop_server::vault::Vault;
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
