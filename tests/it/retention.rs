//! What is kept how long, by a clock that the test turns: both sides of each number (S8).

use crate::flow::{DAY_MS, expect, post, shop};
use crate::store_rows::{T0, acked, entry, followup, message, put, workspace};
use backstop_domain::ids::FollowupId;
use backstop_server::store::{
    FollowupRow, Key, MessageRow, Op, OpenOptions, Row, SqliteStore, Store, Verdict, WorkspaceId,
};
use backstop_server::testing::Workspace;
use backstop_server::vault::Vault;
use serde_json::{Value, json};

const HOUR_MS: i64 = 3_600_000;

async fn texts(shop: &Workspace) -> Vec<Value> {
    let exported = shop.get("/v1/customers/ann/export").await.ok();
    exported["messages"].as_array().unwrap().iter().map(|message| message["text"].clone()).collect()
}

/// S8: texts in both directions are there for 90 days, and gone within the hour after; what was sent is still known.
#[tokio::test]
async fn s8_texts_are_kept_for_90_days() {
    let shop = shop().await;
    let posted = post(&shop, "r1", json!({"kind": "reply"})).await.ok();
    shop.advance(90 * DAY_MS).await;
    assert_eq!(texts(&shop).await, [json!("Hello?"), json!("This is r1.")]);
    shop.advance(HOUR_MS).await;
    assert_eq!(texts(&shop).await, [Value::Null, Value::Null]);
    let id = posted["followup_id"].as_str().unwrap();
    expect(&shop, id, "fell_back", "no_device").await;
    assert_eq!(shop.get("/v1/deliveries").await.ok()["data"].as_array().unwrap().len(), 2);
}

/// S8: follow-ups, deliveries, history and ids of messages are there for a year, and gone within the hour after; the
/// customer stays.
#[tokio::test]
async fn s8_deliveries_are_kept_for_a_year() {
    let shop = shop().await;
    let posted = post(&shop, "r1", json!({"kind": "reply"})).await.ok();
    shop.advance(365 * DAY_MS).await;
    assert_eq!(shop.get("/v1/deliveries").await.ok()["data"].as_array().unwrap().len(), 2);
    assert_eq!(texts(&shop).await.len(), 2);
    shop.advance(HOUR_MS).await;
    assert_eq!(shop.get("/v1/deliveries").await.ok()["data"], json!([]));
    assert!(texts(&shop).await.is_empty());
    let id = posted["followup_id"].as_str().unwrap();
    for path in [format!("/v1/followups/{id}"), "/v1/messages/r1".into()] {
        assert_eq!(shop.get(&path).await.status, 404, "{path}");
    }
    assert_eq!(shop.get("/v1/customers/ann").await.ok()["email"], "ann@example.com");
}

/// S8: to the millisecond, of this workspace alone, the oldest first and no more at a time than asked for.
#[tokio::test]
async fn s8_one_workspace_is_cleared_by_its_own_clock() {
    let dir = tempfile::tempdir().unwrap();
    let options = OpenOptions { sandbox: true, serve: true, read_connections: 1 };
    let store = SqliteStore::open(&dir.path().join("b.db"), options, &Vault::new(&[7; 32])).unwrap();
    let mut all = Vec::new();
    for name in ["one", "two"] {
        let ws = store.create_workspace(workspace(name), vec![]).await.unwrap().unwrap();
        let closed = acked(followup(ws, "lucas", T0));
        let text = |id: &str, at, of: Option<FollowupId>| {
            put(MessageRow { accepted_at: at, followup: of, ..message(ws, &format!("{name}-{id}"), "lucas") })
        };
        let unit = vec![
            text("old", T0, Some(closed.id)),
            text("older", T0 - 1, None),
            text("new", T0 + 1, None),
            put(closed.clone()),
            Op::History(ws, closed.id, entry("acked")),
        ];
        assert_eq!(store.commit(vec![unit]).await.unwrap(), [Verdict::Done]);
        all.push((ws, closed));
    }
    let (one, two) = (&all[0], &all[1]);
    let bodies = async |ws: WorkspaceId, name: &str| {
        let keys = ["old", "older", "new"].map(|id| Key::Message(ws, format!("{name}-{id}")));
        let rows = store.load(keys.to_vec()).await.unwrap().into_iter();
        rows.map(|row| row.map(|row| row.as_message().unwrap().body.is_some())).collect::<Vec<_>>()
    };
    assert_eq!(store.retire_in(one.0, T0 - 1, 0, 10).await.unwrap(), 0);
    assert_eq!(store.retire_in(one.0, T0 + 1, 0, 1).await.unwrap(), 1);
    assert_eq!(bodies(one.0, "one").await, [Some(true), Some(false), Some(true)], "the oldest first");
    assert_eq!(store.retire_in(one.0, T0 + 1, 0, 10).await.unwrap(), 1);
    assert_eq!(bodies(one.0, "one").await, [Some(false), Some(false), Some(true)]);
    assert_eq!(store.retire_in(one.0, 0, T0, 10).await.unwrap(), 1, "the message without a follow-up");
    assert_eq!(store.retire_in(one.0, 0, T0 + 1, 10).await.unwrap(), 1, "the follow-up with its message");
    assert_eq!(bodies(one.0, "one").await, [None, None, Some(true)]);
    assert_eq!(store.history(one.0, one.1.id).await.unwrap(), []);
    assert_eq!(bodies(two.0, "two").await, [Some(true), Some(true), Some(true)], "another workspace's");
    let left: Vec<Option<Row>> = store.load(vec![Key::Followup(two.0, two.1.id)]).await.unwrap();
    let kept = FollowupRow { version: 1, ..two.1.clone() };
    assert_eq!(left[0].as_ref().and_then(Row::as_followup), Some(&kept));
}
