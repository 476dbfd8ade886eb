//! The SQLite engine: the suite of all engines, start-up checks, many callers at once, erasing for good.

use crate::store_conformance;
use crate::store_rows::{T0, conversation, customer, device, entry, followup, message, put, workspace};
use backstop_domain::ids::FollowupId;
use backstop_server::audit::Who;
use backstop_server::store::{
    ConversationRow, CustomerRow, DeviceRow, FollowupFilter, FollowupRow, Key, MessageRow, Op, OpenError, OpenOptions,
    Row, SqliteStore, Store, StoreError, Unit, Verdict, WorkspaceId,
};
use backstop_server::vault::Vault;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

const SERVE: OpenOptions = OpenOptions { sandbox: true, serve: true, read_connections: 2 };
const BESIDE: OpenOptions = OpenOptions { serve: false, ..SERVE };

fn vault() -> Vault {
    Vault::new(&[7; 32])
}

fn open(path: &Path) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(path, SERVE, &vault())
}

/// A database that was opened, written to and closed.
fn made() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("b.db");
    drop(open(&path).unwrap());
    (dir, path)
}

/// The version of a file's schema.
fn schema(path: &Path) -> i64 {
    let db = rusqlite::Connection::open(path).unwrap();
    db.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

/// Every file of the directory with its bytes. The lock says who came last, not what is stored; the index of the WAL
/// and an empty WAL are made by looking.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).filter(|path| path.is_file());
    let read = files.map(|path| (path.clone(), fs::read(path).unwrap()));
    read.filter(|(path, bytes)| {
        let name = path.to_str().unwrap();
        let made = name.ends_with("-wal") && bytes.is_empty();
        !made && !name.ends_with("-shm") && !name.ends_with(".lock")
    })
    .collect()
}

/// The refusal, after checking that it changed nothing.
fn refused(path: &Path, options: OpenOptions, vault: &Vault) -> OpenError {
    let before = files(path.parent().unwrap());
    let error = SqliteStore::open(path, options, vault).unwrap_err();
    assert!(files(path.parent().unwrap()) == before, "{error}: something was touched");
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}: which file?");
    error
}

/// P8, D9, C2, S6, S8, W3, W4.
#[tokio::test]
async fn sqlite_does_what_every_store_does() {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(open(&dir.path().join("b.db")).unwrap());
    store_conformance::exercise(store).await;
}

/// Personal data, sealed or not, is for the owner's eyes alone.
#[test]
fn the_files_are_private() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("b.db");
    let _store = open(&path).unwrap();
    for file in fs::read_dir(dir.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.path());
    }
}

#[test]
fn a_database_of_a_newer_version_is_refused() {
    let (_dir, path) = made();
    let newest = schema(&path);
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = refused(&path, SERVE, &vault());
    assert!(matches!(error, OpenError::Newer { found: 99, known, .. } if known == newest), "{error}");
}

/// Also when only the WAL knows, as after a crash in the middle of an upgrade.
#[test]
fn a_newer_version_in_the_wal_is_refused() {
    let (dir, path) = made();
    let newer = schema(&path) + 1;
    let db = rusqlite::Connection::open(&path).unwrap();
    db.pragma_update(None, "user_version", newer).unwrap();
    let copy = dir.path().join("copy");
    fs::create_dir(&copy).unwrap();
    for name in ["b.db", "b.db-wal"] {
        fs::copy(dir.path().join(name), copy.join(name)).unwrap();
    }
    let error = refused(&copy.join("b.db"), SERVE, &vault());
    assert!(matches!(error, OpenError::Newer { found, .. } if found == newer), "{error}");
}

#[test]
fn another_key_is_refused() {
    let (_dir, path) = made();
    let error = refused(&path, SERVE, &Vault::new(&[8; 32]));
    assert!(matches!(error, OpenError::OtherKey { .. }), "{error}");
    assert!(error.to_string().contains("b.db.key"), "{error}: where does the key lie?");
    drop(open(&path).unwrap());
}

#[test]
fn a_store_of_the_other_mark_is_refused() {
    let (_dir, path) = made();
    let error = refused(&path, OpenOptions { sandbox: false, ..SERVE }, &vault());
    assert!(matches!(error, OpenError::OtherMark { sandbox: true, .. }), "{error}");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("real.db");
    drop(SqliteStore::open(&path, OpenOptions { sandbox: false, ..SERVE }, &vault()).unwrap());
    let error = refused(&path, SERVE, &vault());
    assert!(matches!(error, OpenError::OtherMark { sandbox: false, .. }), "{error}");
}

#[test]
fn a_damaged_database_is_refused() {
    let (_dir, path) = made();
    let whole = fs::read(&path).unwrap();
    let mut page = whole.clone();
    page[2 * 4096..2 * 4096 + 64].fill(0xff);
    let cut = whole[..whole.len() - 3 * 4096].to_vec();
    for damaged in [b"not a database".to_vec(), vec![0; 8192], whole[..60].to_vec(), page, cut] {
        fs::write(&path, &damaged).unwrap();
        let error = refused(&path, SERVE, &vault());
        assert!(matches!(error, OpenError::Corrupt { .. }), "{} bytes: {error}", damaged.len());
    }
    fs::write(&path, whole).unwrap();
    drop(open(&path).unwrap());
}

#[test]
fn another_programs_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("other.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE meta (a)").unwrap();
    let error = refused(&path, SERVE, &vault());
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
}

/// A first start that was killed before it wrote anything is a first start again.
#[test]
fn an_empty_database_is_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("b.db");
    fs::write(&path, b"").unwrap();
    drop(open(&path).unwrap());
    let path = dir.path().join("c.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).unwrap();
    drop(db);
    assert!(fs::metadata(&path).unwrap().len() > 0);
    drop(open(&path).unwrap());
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = open(&dir.path().join("absent/b.db")).unwrap_err();
    assert!(matches!(error, OpenError::Unusable { .. }), "{error}");
    assert!(error.to_string().contains("absent/b.db"), "{error}");
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::Unusable { .. }), "{error}");
}

/// Two servers on one file: the second refuses and says who holds it. A command beside a server works.
#[tokio::test]
async fn a_second_server_is_refused() {
    let (_dir, path) = made();
    let server = open(&path).unwrap();
    let error = open(&path).unwrap_err();
    assert!(matches!(error, OpenError::Locked { pid: Some(pid), .. } if pid == std::process::id()), "{error}");
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    let command = SqliteStore::open(&path, BESIDE, &vault()).unwrap();
    let ws = command.create_workspace(workspace("beside"), vec![]).await.unwrap().unwrap();
    assert!(server.workspace(ws).await.unwrap().is_some());
    assert_eq!(server.commit(vec![vec![put(customer(ws, "lucas"))]]).await.unwrap(), [Verdict::Done]);
    assert!(command.load(vec![Key::Customer(ws, "lucas".into())]).await.unwrap()[0].is_some());
    drop(server);
    drop(open(&path).unwrap());
}

async fn load_conversation(store: &SqliteStore, ws: WorkspaceId) -> ConversationRow {
    match store.load(vec![Key::Conversation(ws, "chat".into(), "lucas".into())]).await.unwrap().remove(0) {
        Some(Row::Conversation(row)) => row,
        other => panic!("{other:?}"),
    }
}

/// P8: whatever is decided on what was loaded is decided once, however many decide at the same time; and each sees
/// what it was told is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_lose_no_update() {
    const CALLERS: i64 = 24;
    const EACH: i64 = 20;
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(&dir.path().join("b.db")).unwrap());
    let ws = store.create_workspace(workspace("many"), vec![]).await.unwrap().unwrap();
    let first = ConversationRow { next_seq: 0, ..conversation(ws, "chat", "lucas") };
    store.commit(vec![vec![put(first)]]).await.unwrap();
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        let store = store.clone();
        callers.spawn(async move {
            for n in 0..EACH {
                loop {
                    let row = load_conversation(&store, ws).await;
                    let next = row.next_seq + 1;
                    let m = MessageRow { seq: next, ..message(ws, &format!("m-{caller}-{n}"), "lucas") };
                    let unit = vec![put(m), put(ConversationRow { next_seq: next, ..row })];
                    if store.commit(vec![unit]).await.unwrap() == [Verdict::Done] {
                        let seen = load_conversation(&store, ws).await.next_seq;
                        assert!(seen >= next, "done at {next}, then seen at {seen}");
                        break;
                    }
                }
            }
        });
    }
    callers.join_all().await;
    let row = load_conversation(&store, ws).await;
    assert_eq!((row.next_seq, row.version), (CALLERS * EACH, CALLERS * EACH + 1));
    let all = store.messages_of(ws, "lucas", (0, String::new()), 10_000).await.unwrap();
    let mut seqs: Vec<_> = all.iter().map(|message| message.seq).collect();
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=CALLERS * EACH).collect::<Vec<_>>(), "each number was given once");
}

/// W4: a caller that goes away leaves its commit whole.
#[tokio::test]
async fn a_dropped_call_is_not_cut_in_half() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("b.db")).unwrap();
    let ws = store.create_workspace(workspace("dropped"), vec![]).await.unwrap().unwrap();
    let f = followup(ws, "lucas", T0);
    let mut call = store.commit(vec![vec![put(f.clone())], vec![Op::History(ws, f.id, entry("posted"))]]);
    let polled = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert_eq!(polled, Poll::Pending);
    drop(call);
    store.commit(vec![vec![put(customer(ws, "lucas"))]]).await.unwrap();
    assert!(store.load(vec![Key::Followup(ws, f.id)]).await.unwrap()[0].is_some());
    assert_eq!(store.history(ws, f.id).await.unwrap().len(), 1);
}

/// A row that cannot be written harms nobody else's, and a row that does not read is called so, without its content.
#[tokio::test]
async fn one_bad_row_stays_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("b.db");
    let store = open(&path).unwrap();
    let ws = store.create_workspace(workspace("bad"), vec![]).await.unwrap().unwrap();
    let bad = store.create_key(WorkspaceId(i64::MAX), [1; 32], backstop_server::store::Scope::Read, T0, Who::cli());
    let good = store.commit(vec![vec![put(customer(ws, "lucas"))]]);
    let (bad, good) = tokio::join!(bad, good);
    assert!(matches!(bad, Err(StoreError::Corrupt(_))), "{bad:?}");
    assert_eq!(good.unwrap(), [Verdict::Done]);
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute("UPDATE customers SET presence = '{\"secret\":1'", []).unwrap();
    let error = store.load(vec![Key::Customer(ws, "lucas".into())]).await.unwrap_err();
    assert_eq!(error, StoreError::Corrupt("column customers.presence".into()));
    assert_eq!(store.poisoned(), None);
}

/// What a customer's lists, open follow-ups and messages are, told from all rows.
async fn assert_found(store: &SqliteStore, ws: WorkspaceId, rows: &BTreeMap<FollowupId, FollowupRow>) {
    for who in ["lucas", "maria"] {
        let of = |row: &&FollowupRow| row.customer_id == who;
        let newest_first: Vec<_> = rows.values().rev().filter(of).map(|row| row.id).collect();
        let open = store.load(vec![Key::Open(ws, who.into())]).await.unwrap().remove(0);
        assert_eq!(open, Some(Row::Open(newest_first.clone())), "open of {who}");
        for talk in [None, Some("chat"), Some("second"), Some("third")] {
            let filter = FollowupFilter {
                customer_id: Some(who.into()),
                conversation_id: talk.map(str::to_owned),
                limit: 1_000,
                ..FollowupFilter::default()
            };
            let found: Vec<_> = store.followups(ws, filter.clone()).await.unwrap();
            let found: Vec<_> = found.iter().map(|row| row.id).collect();
            let fits = |id: &&FollowupId| talk.is_none_or(|talk| rows[*id].conversation_id == talk);
            assert_eq!(found, newest_first.iter().filter(fits).copied().collect::<Vec<_>>(), "{who} {talk:?}");
            if let Some(middle) = found.get(found.len() / 2) {
                let page = FollowupFilter { after: Some(*middle), limit: 3, ..filter };
                let page: Vec<_> = store.followups(ws, page).await.unwrap().iter().map(|row| row.id).collect();
                let expected = found.iter().filter(|id| *id < middle).take(3).copied();
                assert_eq!(page, expected.collect::<Vec<_>>(), "a page of {who} {talk:?}");
            }
        }
        let said = store.messages_of(ws, who, (0, String::new()), 1_000).await.unwrap();
        assert_eq!(said.len(), newest_first.len(), "messages of {who}");
    }
}

/// S6, S8, P9: whatever came first, conversation or follow-up, and whosever it became later, a customer's follow-ups
/// and messages are found, each once, newest first; and an erasure finds them all.
#[tokio::test]
async fn every_follow_up_of_a_customer_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("b.db")).unwrap();
    let ws = store.create_workspace(workspace("trail"), vec![]).await.unwrap().unwrap();
    let mut rows: BTreeMap<FollowupId, FollowupRow> = BTreeMap::new();
    let mut random = 7u64;
    let mut any = |of: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % of
    };
    for at in 0..120 {
        let (who, talk) = (["lucas", "maria"][any(2) as usize], ["chat", "second", "third"][any(3) as usize]);
        let mut unit = Unit::new();
        match any(10) {
            // The conversation's row may come late, or be there already.
            0 | 1 => unit.push(put(conversation(ws, talk, who))),
            // Its version is another one: nothing happens, to its trail neither.
            2 if !rows.is_empty() => {
                let row = rows.values().next().unwrap();
                unit.push(put(FollowupRow { version: 99, customer_id: "nobody".into(), ..row.clone() }));
            }
            3 if !rows.is_empty() => {
                let id = *rows.keys().nth(any(rows.len() as u64) as usize).unwrap();
                let row = rows.get_mut(&id).unwrap();
                row.conversation_id = talk.into();
                unit.push(put(row.clone()));
                row.version += 1;
            }
            4 if at % 3 == 0 => {
                unit.push(Op::Erase(ws, who.into()));
                rows.retain(|_, row| row.customer_id != who);
            }
            _ => {
                let f = FollowupRow { conversation_id: talk.into(), ..followup(ws, who, T0 + at) };
                let m = MessageRow { followup: Some(f.id), ..message(ws, &format!("m-{at}"), who) };
                unit.extend([put(f.clone()), put(m)]);
                rows.insert(f.id, FollowupRow { version: 1, ..f });
            }
        }
        store.commit(vec![unit]).await.unwrap();
        assert_found(&store, ws, &rows).await;
    }
    assert!(rows.len() > 5, "{} are left to be found", rows.len());
    let erase = |who: &str| vec![Op::Erase(ws, who.into())];
    store.commit(vec![erase("lucas"), erase("maria")]).await.unwrap();
    let all = store.followups(ws, FollowupFilter { limit: 1_000, ..FollowupFilter::default() }).await.unwrap();
    assert!(all.iter().all(|row| row.customer_id.is_empty() && row.conversation_id.is_empty()));
}

/// S8: erasing shreds. Not a byte of the wrapped key, contact data, texts or token is left in any file, neither in
/// freed pages nor in the WAL, even while another process keeps the WAL from being removed.
#[tokio::test]
async fn erasing_leaves_no_byte_in_any_file() {
    const CANARY: &[u8] = b"canary-01012345678";
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("b.db");
    let store = open(&path).unwrap();
    let ws = store.create_workspace(workspace("erase"), vec![]).await.unwrap().unwrap();
    let long = CANARY.repeat(500);
    for n in 0..200 {
        // Neighbours, so that the customer's cells lie among others on many pages.
        let name = if n % 2 == 0 { "lucas".to_owned() } else { format!("c-{n}") };
        let (secret, long) = if n % 2 == 0 { (CANARY.to_vec(), long.clone()) } else { (vec![5; 18], vec![5; 9_000]) };
        let mut unit = vec![
            put(MessageRow { body: Some(secret.clone()), ..message(ws, &format!("m-{n}"), &name) }),
            put(MessageRow { body: Some(long.clone()), ..message(ws, &format!("l-{n}"), &name) }),
            put(DeviceRow { token: secret.clone(), customer_id: Some(name.clone()), ..device(ws, &format!("i-{n}")) }),
        ];
        let row = CustomerRow { wrapped_key: secret, contact: Some(long), ..customer(ws, &name) };
        if n == 0 || n % 2 == 1 {
            unit.push(put(row.clone()));
        } else {
            // Written over and over: every old version must go too.
            unit.push(put(CustomerRow { version: n / 2, ..row }));
        }
        assert_eq!(store.commit(vec![unit]).await.unwrap(), [Verdict::Done], "{n}");
    }
    let holds = |dir: &Path| {
        let found = |bytes: &[u8]| bytes.windows(CANARY.len()).any(|window| window == CANARY);
        files(dir).into_iter().filter(|(_, bytes)| found(bytes)).map(|(path, _)| path).collect::<Vec<_>>()
    };
    assert!(!holds(dir.path()).is_empty(), "the test looks where the data is");
    let other = rusqlite::Connection::open(&path).unwrap();
    let rows: i64 = other.query_row("SELECT count(*) FROM customers", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 101);
    assert_eq!(store.commit(vec![vec![Op::Erase(ws, "lucas".into())]]).await.unwrap(), [Verdict::Done]);
    drop(store);
    assert_eq!(holds(dir.path()), Vec::<PathBuf>::new());
    drop(other);
    assert_eq!(holds(dir.path()), Vec::<PathBuf>::new());
}
