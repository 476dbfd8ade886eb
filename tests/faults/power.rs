//! The power goes, again and again, while the store writes: what was answered is on the disk.
//!
//! A cut is a copy of the disk's bytes as the device has them; what the kernel still held in memory is not among them.

use crate::alone::{Disk, alone, mount_memory, signal};
use crate::shim::Fault;
use crate::store_rows::{T0, conversation, entry, followup, message, put, workspace};
use backstop_domain::ids::FollowupId;
use backstop_server::store::{
    ConversationRow, Key, MessageRow, Op, OpenError, OpenOptions, SqliteStore, Store, Unit, Verdict, WorkspaceId,
};
use backstop_server::vault::Vault;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::block_in_place;

const WRITER: &str = "BACKSTOP_TEST_WRITER";
/// What the writer prints before each follow-up whose commit was answered.
const DONE: &str = "done ";
const PATIENCE: Duration = Duration::from_secs(60);
/// Cuts of one disk, then a new one.
const CUTS_OF_A_DISK: usize = 10;
/// Commits that the writer may make after what is waited for.
const AHEAD: usize = 250;
/// The answers before a cut that are looked for one by one; the older ones are counted.
const LOOKED_AT: usize = 400;

fn open(directory: &Path) -> Result<SqliteStore, OpenError> {
    let options = OpenOptions { sandbox: true, serve: true, read_connections: 1 };
    SqliteStore::open(&directory.join("b.db"), options, &Vault::new(&[7; 32]))
}

async fn the_workspace(store: &SqliteStore) -> WorkspaceId {
    match store.workspace_named("faults").await.unwrap() {
        Some(row) => row.id,
        None => store.create_workspace(workspace("faults"), vec![]).await.unwrap().unwrap(),
    }
}

/// A create: four rows that come together or not at all, `bytes` of text.
fn create(ws: WorkspaceId, bytes: usize) -> (FollowupId, Unit) {
    let f = followup(ws, "lucas", T0);
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

/// Not a test of its own: the process that writes when the power goes. Commits from several callers, as many times as
/// it is told to: it must not fill the disk while the test looks at a copy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writer() {
    let Ok(directory) = std::env::var(WRITER) else { return };
    let store = Arc::new(open(directory.as_ref()).unwrap());
    let ws = the_workspace(&store).await;
    let turns = Arc::new(Semaphore::new(0));
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (store, turns) = (store.clone(), turns.clone());
        callers.spawn(async move {
            loop {
                turns.acquire().await.unwrap().forget();
                let ((one, small), (two, large)) = (create(ws, 300), create(ws, 3_000));
                assert_eq!(store.commit(vec![small, large]).await.unwrap(), [Verdict::Done; 2]);
                for id in [one, two] {
                    println!("{DONE}{}", id.0);
                }
            }
        });
    }
    let more = |line: std::io::Result<String>| turns.add_permits(line.unwrap().parse().unwrap());
    block_in_place(|| std::io::stdin().lines().for_each(more));
    callers.shutdown().await;
}

/// The running writer and what it was answered.
struct Writer {
    child: Child,
    turns: ChildStdin,
    done: Arc<Mutex<Vec<FollowupId>>>,
    said: Receiver<usize>,
}

impl Writer {
    fn start(directory: &Path, env: Vec<(String, String)>) -> Writer {
        let mut child = Command::new(std::env::current_exe().unwrap());
        let child = child.args(["power::writer", "--exact", "--nocapture", "--test-threads=1"]);
        let child = child.env(WRITER, directory).envs(env).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = child.spawn().unwrap();
        let turns = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (done, (saying, said)) = (Arc::new(Mutex::new(Vec::new())), channel());
        let heard = done.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some((_, id)) = line.split_once(DONE) {
                    let mut heard = heard.lock().unwrap();
                    heard.push(FollowupId(id.parse().unwrap()));
                    let _ = saying.send(heard.len());
                }
            }
        });
        Writer { child, turns, done, said }
    }

    /// Waits until so many more were answered, while it goes on.
    fn go_on(&mut self, more: usize) {
        writeln!(self.turns, "{}", more / 2 + AHEAD).unwrap();
        let until = self.done.lock().unwrap().len() + more;
        while self.said.recv_timeout(PATIENCE).expect("the writer goes on") < until {}
    }

    /// Stops it in the middle of what it does; answers all it had been answered by then.
    fn stop(&self) -> Vec<FollowupId> {
        signal(self.child.id(), "-STOP");
        self.done.lock().unwrap().clone()
    }

    fn resume(&self) {
        signal(self.child.id(), "-CONT");
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How much of what was answered is not there after the cut; a commit in part is never right.
async fn lost(directory: &Path, answered: &[FollowupId]) -> usize {
    // On a disk that lies there may be half a database, or none: all is lost, then.
    let Ok(store) = open(directory) else { return answered.len() };
    let Some(ws) = store.workspace_named("faults").await.unwrap() else { return answered.len() };
    let pending = usize::try_from(store.pending_count().await.unwrap()).unwrap();
    let mut gone = 0;
    for id in &answered[answered.len().saturating_sub(LOOKED_AT)..] {
        match parts(&store, ws.id, *id).await {
            4 => {}
            0 => gone += 1,
            some => panic!("{some} of 4 rows of {id} are there"),
        }
    }
    gone.max(answered.len().saturating_sub(pending))
}

/// Cuts the power so many times; answers how many cuts lost something that was answered.
fn cuts(wanted: usize, env: impl Fn(&Path) -> Vec<(String, String)>) -> usize {
    let memory = PathBuf::from("/mnt");
    let _memory = mount_memory(&memory, "1g");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (mut losing, mut made, mut answers) = (0, 0, 0);
    while made < wanted {
        let disk = Disk::make(&memory, "disk", 64);
        let mounted = disk.mount(&memory.join("at"));
        let mut writer = Writer::start(&mounted.at, env(&mounted.at));
        for cut in 0..CUTS_OF_A_DISK.min(wanted - made) {
            writer.go_on(1 + (made * 37 + cut * 101) % 211);
            let answered = writer.stop();
            let copy = disk.cut(&mounted, "cut");
            let after = copy.mount(&memory.join("after"));
            losing += usize::from(runtime.block_on(lost(&after.at, &answered)) > 0);
            writer.resume();
            answers = answers.max(answered.len());
            made += 1;
        }
        drop(writer);
    }
    println!("-- {made} power cuts, {losing} lost what was answered; up to {answers} answers before a cut");
    losing
}

fn scaled(normally: usize, long: usize) -> usize {
    if std::env::var_os("BACKSTOP_LONG").is_some() { long } else { normally }
}

/// Invariant 3: what was answered survives a power cut at any moment.
#[test]
fn no_answer_is_lost_by_a_power_cut() {
    alone("power::no_answer_is_lost_by_a_power_cut", || {
        assert_eq!(cuts(scaled(100, 1_000), |_| Vec::new()), 0);
    });
}

/// The harness can tell: with `synchronous=NORMAL`, which a test build can be told, answers are lost.
#[test]
fn commits_that_do_not_wait_for_the_disk_lose_answers() {
    alone("power::commits_that_do_not_wait_for_the_disk_lose_answers", || {
        let losing = cuts(10, |_| vec![("BACKSTOP_MUTANT".to_owned(), "synchronous_normal".to_owned())]);
        assert!(losing >= 5, "{losing} of 10");
    });
}

/// The harness can tell: with a disk that says it has synced and has not, answers are lost.
#[test]
fn a_disk_that_lies_loses_answers() {
    alone("power::a_disk_that_lies_loses_answers", || {
        let losing = cuts(10, |at| Fault { log: "/dev/null".into(), ..Fault::on(at, "sync", "lie", 1) }.env());
        assert!(losing >= 8, "{losing} of 10");
    });
}
