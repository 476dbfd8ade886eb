//! A database of each earlier version, as that version left it, opened with today's code.

use crate::store_rows::{T0, acked, conversation, customer, device, entry, followup, message, put, workspace};
use backstop_domain::device::Standing;
use backstop_domain::ids::{DeviceId, FollowupId};
use backstop_server::audit::{Entry, Kind, Who};
use backstop_server::store::{
    AuditFilter, CustomerRow, DeviceRow, FollowupFilter, FollowupRow, HistoryEntry, Key, MessageRow, Op, OpenOptions,
    Row, Scope, SettingsSet, SqliteStore, Store, StoredAnswer, Unit, Verdict, WorkspaceId, WorkspaceRow,
};
use backstop_server::vault::{DataKey, sha256};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

const MAKE: &str = "BACKSTOP_TEST_MAKE_FIXTURE";
const NEWEST: u32 = 3;
const OPTIONS: OpenOptions = OpenOptions { sandbox: false, serve: true, read_connections: 1 };
const OPEN: FollowupId = FollowupId(T0 << 20);
const CLOSED: FollowupId = FollowupId((T0 << 20) + 1);
const DEVICE: DeviceId = DeviceId((T0 << 20) + 2);
const CONTACT: &[u8] = br#"{"name":"Lucas","email":"lucas@example.com","phone":"+821012345678"}"#;
const TEXT: &[u8] = br#"{"author":{"name":"Mina"},"text":"Your order is on its way."}"#;

fn fixture(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/db/v{version}.sqlite3"))
}

/// What the log says since version 3.
fn changed() -> Entry {
    Entry { at: T0, kind: Kind::SettingsChanged, who: Who::cli(), detail: serde_json::json!({ "version": 2 }) }
}

/// The rows of every version, as they are when they are written.
fn rows(ws: WorkspaceId) -> (CustomerRow, MessageRow, [FollowupRow; 2], DeviceRow) {
    let customer = CustomerRow { devices: vec![DEVICE], ..customer(ws, "lucas") };
    let message = MessageRow { followup: Some(OPEN), body_hash: sha256(TEXT), ..message(ws, "m-1", "lucas") };
    let row = |id| {
        let mut row = followup(ws, "lucas", T0);
        row.id = id;
        row.state.replies[0].message_id = "m-1".into();
        row.state.pushes[0].device = DEVICE;
        row
    };
    let standing = Standing::Registered;
    let device = DeviceRow { id: DEVICE, standing, token_hash: [7; 32], ..device(ws, "install-1") };
    (customer, message, [row(OPEN), acked(row(CLOSED))], device)
}

/// Not a test of its own: makes the file of the version that is now the newest. Once; see the folder's README.
#[tokio::test]
async fn make() {
    if std::env::var(MAKE).is_err() {
        return;
    }
    let path = fixture(NEWEST);
    assert!(!path.exists(), "a file that was released is never changed");
    let vault = DataKey::beside(&path).unwrap().vault();
    let store = SqliteStore::open(&path, OPTIONS, &vault).unwrap();
    let secrets = vec![vault.seal(WorkspaceId(0), "workspaces", "acme", "identity_secrets", &[6; 32])];
    let row = WorkspaceRow { identity_secrets: secrets, ..workspace("acme") };
    let keys = vec![(sha256(b"sk_fixture"), Scope::Server), (sha256(b"app_fixture"), Scope::App)];
    let ws = store.create_workspace(row, keys).await.unwrap().unwrap();
    let mut set = store.workspace(ws).await.unwrap().unwrap();
    set.settings_set = Some(SettingsSet { version: 2, at: T0, who: Who::cli() });
    assert!(store.update_workspace(set, changed()).await.unwrap());
    let (mut customer, mut message, [open, closed], mut device) = rows(ws);
    let (key, wrapped) = vault.new_customer_key(ws, "lucas");
    customer.wrapped_key = wrapped;
    customer.contact = Some(key.seal(ws, "customers", "lucas", "contact", CONTACT));
    message.body = Some(key.seal(ws, "messages", "m-1", "body", TEXT));
    device.token = vault.seal(ws, "devices", &DEVICE.to_string(), "token", b"a push token");
    let unit: Unit = vec![
        put(customer),
        put(conversation(ws, "chat", "lucas")),
        put(message),
        put(open),
        Op::History(ws, OPEN, entry("posted")),
        put(closed),
        put(device),
    ];
    assert_eq!(store.commit(vec![unit]).await.unwrap(), [Verdict::Done]);
    let answer = StoredAnswer { request_hash: [2; 32], status: 202, body: vec![3; 40], at: T0 };
    store.keep_answer(ws, "k-1", answer).await.unwrap();
    let frozen = store.create_workspace(workspace("frozen"), vec![]).await.unwrap().unwrap();
    store.freeze(frozen, T0).await.unwrap();
    drop(store);
    fs::remove_file(format!("{}.lock", path.display())).unwrap();
}

/// S8: what an earlier version wrote, every later one reads, opens and goes on from.
#[tokio::test]
async fn a_file_of_each_version_opens_and_reads() {
    for version in 1..=NEWEST {
        opens_and_reads(version).await;
    }
}

async fn opens_and_reads(version: u32) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("b.db");
    fs::copy(fixture(version), &path).unwrap();
    fs::copy(DataKey::path_beside(&fixture(version)), DataKey::path_beside(&path)).unwrap();
    fs::set_permissions(DataKey::path_beside(&path), fs::Permissions::from_mode(0o600)).unwrap();
    let vault = DataKey::beside(&path).unwrap().vault();
    let store = SqliteStore::open(&path, OPTIONS, &vault).unwrap();

    let ws = store.workspace_named("acme").await.unwrap().unwrap();
    let secret = vault.open(WorkspaceId(0), "workspaces", "acme", "identity_secrets", &ws.identity_secrets[0]).unwrap();
    assert_eq!(secret, [6; 32]);
    assert_eq!(store.key(sha256(b"sk_fixture")).await.unwrap(), Some((ws.id, Scope::Server)));
    assert_eq!(store.key(sha256(b"app_fixture")).await.unwrap(), Some((ws.id, Scope::App)));
    let log = store.audit(ws.id, AuditFilter { limit: 10, ..AuditFilter::default() }).await.unwrap();
    let said = (ws.settings_set.map(|set| set.version), log.into_iter().map(|line| line.entry).collect::<Vec<_>>());
    assert_eq!(said, if version < 3 { (None, vec![]) } else { (Some(2), vec![changed()]) });
    let ws = ws.id;
    let keys = vec![
        Key::Customer(ws, "lucas".into()),
        Key::Conversation(ws, "chat".into(), "lucas".into()),
        Key::Message(ws, "m-1".into()),
        Key::Followup(ws, OPEN),
        Key::Followup(ws, CLOSED),
        Key::Device(ws, DEVICE),
    ];
    let loaded: Vec<Row> = store.load(keys).await.unwrap().into_iter().flatten().collect();
    let [
        Row::Customer(c),
        Row::Conversation(v),
        Row::Message(m),
        Row::Followup(open),
        Row::Followup(closed),
        Row::Device(d),
    ] = loaded.as_slice()
    else {
        panic!("{loaded:?}");
    };
    let (mut customer, mut message, mut followups, mut device) = rows(ws);
    let key = vault.unwrap_key(ws, "lucas", &c.wrapped_key).unwrap();
    let contact = key.open(ws, "customers", "lucas", "contact", c.contact.as_ref().unwrap()).unwrap();
    assert_eq!(contact, CONTACT);
    assert_eq!(key.open(ws, "messages", "m-1", "body", m.body.as_ref().unwrap()).unwrap(), TEXT);
    assert_eq!(vault.open(ws, "devices", &DEVICE.to_string(), "token", &d.token).unwrap(), b"a push token");
    (customer.version, customer.wrapped_key, customer.contact) = (1, c.wrapped_key.clone(), c.contact.clone());
    // What no version wrote yet when these files were made.
    (customer.contact_at, customer.consents) = (0, Vec::new());
    (message.version, message.body) = (1, m.body.clone());
    (device.version, device.token) = (1, d.token.clone());
    followups.iter_mut().for_each(|row| row.version = 1);
    assert_eq!((c, m, d), (&customer, &message, &device));
    assert_eq!([&**open, &**closed], [&followups[0], &followups[1]]);
    assert_eq!((v.next_seq, v.open.len()), (2, 2));
    assert_eq!(store.history(ws, OPEN).await.unwrap(), [HistoryEntry { inputs: None, ..entry("posted") }]);
    assert_eq!(store.stored_answer(ws, "k-1", 0).await.unwrap().unwrap().body, [3; 40]);
    assert_eq!(store.pending_count().await.unwrap(), 1);
    let filter = FollowupFilter { limit: 10, ..FollowupFilter::default() };
    assert_eq!(store.followups(ws, filter).await.unwrap().len(), 2);
    assert_eq!(store.workspace_named("frozen").await.unwrap().unwrap().frozen_at, Some(T0));

    let next = FollowupRow { version: 1, ..acked(followups[0].clone()) };
    assert_eq!(store.commit(vec![vec![put(next)]]).await.unwrap(), [Verdict::Done], "and it goes on from there");

    // The customer's follow-ups of before and after the upgrade are found alike, and an erasure finds them all.
    let newer = followup(ws, "lucas", T0 + 60_000);
    assert_eq!(store.commit(vec![vec![put(newer.clone())]]).await.unwrap(), [Verdict::Done]);
    for filter in [
        FollowupFilter { customer_id: Some("lucas".into()), limit: 10, ..FollowupFilter::default() },
        FollowupFilter { conversation_id: Some("chat".into()), limit: 10, ..FollowupFilter::default() },
    ] {
        let found = store.followups(ws, filter).await.unwrap();
        assert_eq!(found.iter().map(|row| row.id).collect::<Vec<_>>(), [newer.id, CLOSED, OPEN]);
    }
    assert_eq!(store.messages_of(ws, "lucas", (0, String::new()), 10).await.unwrap().len(), 1);
    assert_eq!(store.commit(vec![vec![Op::Erase(ws, "lucas".into())]]).await.unwrap(), [Verdict::Done]);
    let left = store.followups(ws, FollowupFilter { limit: 10, ..FollowupFilter::default() }).await.unwrap();
    assert_eq!(left.len(), 3);
    assert!(left.iter().all(|row| row.customer_id.is_empty()));
}
