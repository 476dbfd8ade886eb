//! The SQLite engine under faults: killed at any moment, and on a disk that is full.

use crate::store_rows::{T0, conversation, entry, followup, message, put, workspace};
use backstop_domain::ids::FollowupId;
use backstop_server::store::{
    ConversationRow, Key, MessageRow, Op, OpenOptions, SqliteStore, Store, StoreError, Unit, Verdict, WorkspaceId,
};
use backstop_server::vault::Vault;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

const OPTIONS: OpenOptions = OpenOptions { sandbox: true, serve: true, read_connections: 1 };
const CRASH_DIRECTORY: &str = "BACKSTOP_TEST_CRASH_DIRECTORY";
const CRASH_ROUND: &str = "BACKSTOP_TEST_CRASH_ROUND";
const FULL_DIRECTORY: &str = "BACKSTOP_TEST_FULL_DIRECTORY";
/// What the child prints before each follow-up whose commit was answered.
const DONE: &str = "done ";
const ROUNDS: i64 = 20;

fn open(directory: &Path) -> SqliteStore {
    SqliteStore::open(&directory.join("b.db"), OPTIONS, &Vault::new(&[7; 32])).unwrap()
}

async fn the_workspace(store: &SqliteStore) -> WorkspaceId {
    match store.workspace_named("faults").await.unwrap() {
        Some(row) => row.id,
        None => store.create_workspace(workspace("faults"), vec![]).await.unwrap().unwrap(),
    }
}

/// A create: four rows that come together or not at all, `bytes` of text.
fn create(ws: WorkspaceId, at: i64, bytes: usize) -> (FollowupId, Unit) {
    let f = followup(ws, "lucas", at);
    let name = f.id.0.to_string();
    let m = MessageRow { followup: Some(f.id), body: Some(vec![1; bytes]), ..message(ws, &name, "lucas") };
    let talk = ConversationRow { open: vec![f.id], ..conversation(ws, &name, "lucas") };
    (f.id, vec![put(m), Op::History(ws, f.id, entry("posted")), put(talk), put(f)])
}

/// How many of the four are there.
async fn parts(store: &SqliteStore, ws: WorkspaceId, id: FollowupId) -> usize {
    let name = id.0.to_string();
    let keys = vec![Key::Followup(ws, id), Key::Message(ws, name.clone()), Key::Conversation(ws, name, "lucas".into())];
    let rows = store.load(keys).await.unwrap().iter().flatten().count();
    rows + store.history(ws, id).await.unwrap().len()
}

/// Not a test of its own: the process that is killed. Commits from several callers for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_child() {
    let (Ok(directory), Ok(round)) = (std::env::var(CRASH_DIRECTORY), std::env::var(CRASH_ROUND)) else { return };
    let store = Arc::new(open(directory.as_ref()));
    let ws = the_workspace(&store).await;
    let at = T0 + round.parse::<i64>().unwrap() * 1_000_000;
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let store = store.clone();
        callers.spawn(async move {
            loop {
                let ((one, small), (two, large)) = (create(ws, at, 300), create(ws, at, 3_000));
                assert_eq!(store.commit(vec![small, large]).await.unwrap(), [Verdict::Done; 2]);
                for id in [one, two] {
                    println!("{DONE}{}", id.0);
                }
            }
        });
    }
    callers.join_all().await;
}

fn child(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]);
    command
}

/// Lets the child be answered so many times, kills it, and returns all that it had been answered by then.
fn kill_after(mut child: Child, answers: usize) -> Vec<FollowupId> {
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut done = Vec::new();
    let mut line = String::new();
    while lines.read_line(&mut line).unwrap() > 0 {
        // The last line may be cut: then it was not said.
        let id = line.strip_suffix('\n').and_then(|line| line.split_once(DONE)).map(|(_, id)| id.parse().unwrap());
        done.extend(id.map(FollowupId));
        if done.len() == answers {
            child.kill().unwrap();
        }
        line.clear();
    }
    child.wait().unwrap();
    done
}

/// Invariant 3, W4: twenty kills -9 under load; whatever was answered is there, whole, and nothing is there in part.
#[tokio::test]
async fn nothing_answered_is_lost_by_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut answered = Vec::new();
    for round in 0..ROUNDS {
        let child = child("store_faults::crash_child")
            .env(CRASH_DIRECTORY, dir.path())
            .env(CRASH_ROUND, round.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let answers = 1 + (round as usize * 37) % 211;
        let done = tokio::task::spawn_blocking(move || kill_after(child, answers)).await.unwrap();
        assert!(done.len() >= answers, "the child stopped by itself in round {round}");
        answered.extend(done);
    }
    let store = open(dir.path());
    let ws = the_workspace(&store).await;
    for id in &answered {
        assert_eq!(parts(&store, ws, *id).await, 4, "{id} was answered");
    }
    let pending = store.pending((0, FollowupId(0)), 100_000).await.unwrap();
    assert!(pending.len() >= answered.len());
    for due in &pending {
        assert_eq!(parts(&store, ws, due.id).await, 4, "{} is there in part", due.id);
    }
    assert_eq!(store.pending_count().await.unwrap(), pending.len() as u64);
}

/// Not a test of its own: runs where it may mount. Fills the disk, makes room, goes on.
#[tokio::test]
async fn full_disk_child() {
    let Ok(directory) = std::env::var(FULL_DIRECTORY) else { return };
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=3m", "none", &directory]).status().unwrap();
    assert!(mounted.success());
    let directory = Path::new(&directory);
    let ballast = directory.join("ballast");
    std::fs::write(&ballast, vec![0; 1 << 20]).unwrap();
    let store = open(directory);
    let ws = the_workspace(&store).await;
    let (mut done, mut refused) = (Vec::new(), Vec::new());
    // A checkpoint may make room once or twice; full is when nothing helps.
    while refused.len() < 20 {
        let (id, unit) = create(ws, T0, 20_000);
        match store.commit(vec![unit]).await {
            Ok(verdicts) => {
                assert_eq!(verdicts, [Verdict::Done]);
                done.push(id);
            }
            Err(error) => {
                assert_eq!(error, StoreError::Unavailable("the disk is full".into()));
                refused.push(id);
            }
        }
    }
    assert!(done.len() > 10, "{} creates fitted", done.len());
    assert_eq!(store.poisoned(), None);
    for id in &done {
        assert_eq!(parts(&store, ws, *id).await, 4, "what was answered is there");
    }
    for id in &refused {
        assert_eq!(parts(&store, ws, *id).await, 0, "nothing is half done");
    }

    std::fs::remove_file(&ballast).unwrap();
    let (id, unit) = create(ws, T0, 20_000);
    assert_eq!(store.commit(vec![unit]).await.unwrap(), [Verdict::Done], "it goes on without a restart");
    done.push(id);
    assert_eq!(store.health().await.unwrap().writable, Ok(()));
    drop(store);
    let store = open(directory);
    for id in &done {
        assert_eq!(parts(&store, ws, *id).await, 4, "after a restart");
    }
    println!("{DONE}{}", done.len());
}

/// W4, invariant 3: a full disk refuses, keeps what was answered, leaves nothing half done, and recovers by itself.
#[test]
fn a_full_disk_refuses_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    // A mount of its own: nobody else sees it, and it ends with the child.
    let can = |own: &[&str]| {
        let tried = Command::new("unshare").args(own).arg("true").stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    };
    // As root a mount namespace is enough; anyone else needs a user namespace around it.
    let ways: [&[&str]; 2] = [&["--mount", "--user", "--map-root-user"], &["--mount"]];
    let own = ways.into_iter().find(|own| can(own));
    let own = own.expect("a full disk is tried on a tmpfs of our own: run as root, or allow user namespaces");
    let inner = child("store_faults::full_disk_child");
    let child = Command::new("unshare")
        .args(own)
        .arg(inner.get_program())
        .args(inner.get_args())
        .env(FULL_DIRECTORY, dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains(DONE), "{said}\n{}", String::from_utf8_lossy(&child.stderr));
}
