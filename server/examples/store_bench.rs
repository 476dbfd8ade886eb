//! How fast the SQLite store is on the life of a follow-up: created, push accepted, acked; in units per second.
//!
//! `cargo run --release -p backstop-server --example store_bench [DIRECTORY]` (default: the system's temporary one;
//! name one on the disk that counts). Each unit is what the engine commits: the create writes message, follow-up,
//! history and conversation; the others the follow-up and its history, the ack the device too.
//!
//! With a second argument, how it starts again with so many follow-ups pending, each with its message and its history:
//! `store_bench DIRECTORY 1000000`.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "it speaks, and it may stop")]
#![allow(clippy::disallowed_methods, reason = "it measures")]

use backstop_domain::customer::ContactSource;
use backstop_domain::device::Standing;
use backstop_domain::followup::{Push, PushStatus, Stage, Wake, WakeReason};
use backstop_domain::ids::{DeviceId, FollowupId};
use backstop_server::store::{
    ConversationRow, CustomerRow, DeviceRow, Direction, FollowupRow, HistoryEntry, Key, MessageRow, Op, OpenOptions,
    Row, SqliteStore, Store, Unit, Verdict, WorkspaceId, WorkspaceRow,
};
use backstop_server::vault::Vault;
use backstop_wire::{Alerts, Platform, PushProvider};
use std::sync::Arc;
use std::time::Instant;

const CUSTOMERS: usize = 50_000;
const FOLLOWUPS: usize = 50_000;
const T0: i64 = 1_795_370_400_000;
const INPUTS_BYTES: usize = 200;

#[tokio::main]
async fn main() {
    let root = std::env::args().nth(1).map_or_else(std::env::temp_dir, Into::into);
    if let Some(pending) = std::env::args().nth(2) {
        return restart(&root, pending.parse().unwrap()).await;
    }
    println!("SQLite {}, {CUSTOMERS} customers, {FOLLOWUPS} follow-ups", rusqlite::version());
    for batch in [64, 512] {
        let dir = tempfile::tempdir_in(&root).unwrap();
        let store = open(&dir).await;
        let mut rows = Rows::new(&store).await;
        rows.prepare().await;
        let mut all = 0.0;
        for step in [Step::Create, Step::Accept, Step::Ack] {
            all += rows.run(step, batch).await;
        }
        let rate = 3.0 * FOLLOWUPS as f64 / all;
        println!("batch {batch:>4}  whole life {rate:>8.0} units/s  {:>7.0} lives/s", rate / 3.0);
        rows.load(batch).await;
    }
    let dir = tempfile::tempdir_in(&root).unwrap();
    let store = open(&dir).await;
    let mut rows = Rows::new(&store).await;
    rows.prepare().await;
    rows.paced().await;
}

/// Fills a database, closes it as a crash would leave it, and says how long it takes until all wake-ups are known.
async fn restart(root: &std::path::Path, pending: usize) {
    const PAGE: usize = 20_000;
    let (dir, crashed) = (tempfile::tempdir_in(root).unwrap(), tempfile::tempdir_in(root).unwrap());
    let store = open(&dir).await;
    let mut rows = Rows::new(&store).await;
    rows.prepare().await;
    let (start, before) = (Instant::now(), Spent::now());
    for at in (0..pending).step_by(2_000) {
        let units = (at..(at + 2_000).min(pending)).map(|n| {
            let row = followup(rows.ws, n);
            let entry = entry("posted", "push");
            let history = Op::History(rows.ws, row.id, entry);
            vec![Op::put(Row::Message(message(rows.ws, n, &row))), history, Op::put(Row::Followup(Arc::new(row)))]
        });
        commit(&store, units.collect()).await;
    }
    let filled_s = start.elapsed().as_secs_f64();
    let cpu_s = before.per_unit().0 * FOLLOWUPS as f64 / 1e6;
    println!("{pending} pending: filled in {filled_s:.1} s, {cpu_s:.1} s CPU");
    for name in ["bench.db", "bench.db-wal"] {
        std::fs::copy(dir.path().join(name), crashed.path().join(name)).unwrap();
    }
    drop((rows, store));
    let size = |name: &str| std::fs::metadata(crashed.path().join(name)).unwrap().len() as f64 / 1e6;
    println!("a database of {:.0} MB with a WAL of {:.0} MB", size("bench.db"), size("bench.db-wal"));
    let (resident, start) = (resident_kib(), Instant::now());
    let store = open(&crashed).await;
    let opened_ms = start.elapsed().as_secs_f64() * 1e3;
    let (mut found, mut after) = (0, (i64::MIN, FollowupId(0)));
    loop {
        let page = store.pending(after, PAGE).await.unwrap();
        found += page.len();
        let Some(last) = page.last().filter(|_| page.len() == PAGE) else { break };
        after = (last.wake.at, last.id);
    }
    assert_eq!(found, pending);
    let all_ms = start.elapsed().as_secs_f64() * 1e3;
    println!("opened in {opened_ms:.0} ms, every wake-up known after {all_ms:.0} ms");
    println!("resident before {resident} KiB, after {} KiB", resident_kib());
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim_end_matches("kB").trim().parse().unwrap()
}

async fn open(dir: &tempfile::TempDir) -> Arc<SqliteStore> {
    let options = OpenOptions { sandbox: true, serve: true, read_connections: 2 };
    Arc::new(SqliteStore::open(&dir.path().join("bench.db"), options, &Vault::new(&[1; 32])).unwrap())
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Create,
    Accept,
    Ack,
}

struct Rows {
    store: Arc<SqliteStore>,
    ws: WorkspaceId,
    conversations: Vec<ConversationRow>,
    devices: Vec<DeviceRow>,
    followups: Vec<FollowupRow>,
}

impl Rows {
    async fn new(store: &Arc<SqliteStore>) -> Rows {
        let workspace = WorkspaceRow {
            version: 1,
            settings_set: None,
            id: WorkspaceId(0),
            name: "bench".into(),
            identity_secrets: vec![],
            trusted_keys: vec![],
            settings: "{}".into(),
            frozen_at: None,
            created_at: T0,
        };
        let ws = store.create_workspace(workspace, vec![]).await.unwrap().unwrap();
        let conversations = (0..CUSTOMERS).map(|n| conversation(ws, n)).collect();
        let devices = (0..CUSTOMERS).map(|n| device(ws, n)).collect();
        let followups = (0..FOLLOWUPS).map(|n| followup(ws, n)).collect();
        Rows { store: store.clone(), ws, conversations, devices, followups }
    }

    /// Customers, conversations and devices are there already.
    async fn prepare(&mut self) {
        let ws = self.ws;
        for at in (0..CUSTOMERS).step_by(2_000) {
            let units = (at..at + 2_000).map(|n| {
                let rows = [
                    Row::Customer(customer(ws, n)),
                    Row::Conversation(self.conversations[n].clone()),
                    Row::Device(self.devices[n].clone()),
                ];
                rows.map(Op::put).to_vec()
            });
            commit(&self.store, units.collect()).await;
        }
        for n in 0..CUSTOMERS {
            self.conversations[n].version = 1;
            self.devices[n].version = 1;
        }
    }

    /// Which customer this follow-up is for: spread over all, so that pages are met as at random.
    fn whose(n: usize) -> usize {
        n.wrapping_mul(7_919) % CUSTOMERS
    }

    fn unit(&mut self, step: Step, n: usize) -> Unit {
        let ws = self.ws;
        let whose = Self::whose(n);
        let row = &mut self.followups[n];
        let line = |event: &str, decision: &str| Op::History(ws, row.id, entry(event, decision));
        let mut unit = match step {
            Step::Create => {
                let talk = &mut self.conversations[whose];
                let mut next = talk.clone();
                talk.version += 1;
                talk.next_seq += 1;
                next.next_seq += 1;
                next.open = vec![row.id];
                let rows = [Row::Message(message(ws, n, row)), Row::Conversation(next)];
                let mut unit = rows.map(Op::put).to_vec();
                unit.push(line("posted", "push"));
                unit
            }
            Step::Accept => {
                row.state.pushes[0].status = PushStatus::Accepted;
                row.state.pushes[0].provider_id = Some("projects/p/messages/0:1500415314455276".into());
                vec![line("push_accepted", "wait")]
            }
            Step::Ack => {
                row.state.stage = Stage::Acked { at: T0, by: Some(DeviceId(whose as i64)) };
                row.wake = None;
                let device = &mut self.devices[whose];
                device.counted_acks = vec![T0];
                device.used_at = T0;
                let unit = vec![line("ack", "acked"), Op::put(Row::Device(device.clone()))];
                device.version += 1;
                unit
            }
        };
        unit.push(Op::put(Row::Followup(Arc::new(row.clone()))));
        row.version += 1;
        unit
    }

    /// Seconds for one step of all, one call after another.
    async fn run(&mut self, step: Step, batch: usize) -> f64 {
        let mut took_us = Vec::new();
        let mut all = 0.0;
        let before = Spent::now();
        for at in (0..FOLLOWUPS).step_by(batch) {
            let units: Vec<_> = (at..(at + batch).min(FOLLOWUPS)).map(|n| self.unit(step, n)).collect();
            let start = Instant::now();
            commit(&self.store, units).await;
            let took = start.elapsed();
            took_us.push(took.as_micros());
            all += took.as_secs_f64();
        }
        took_us.sort_unstable();
        let at = |part: f64| took_us[((took_us.len() - 1) as f64 * part) as usize] as f64 / 1e3;
        let rate = FOLLOWUPS as f64 / all;
        let (cpu_us, written_bytes) = before.per_unit();
        let (p50, p99, max) = (at(0.5), at(0.99), at(1.0));
        println!(
            "batch {batch:>4}  {step:<8?} {rate:>8.0} units/s  commit p50 {p50:.2} p99 {p99:.2} max {max:.2} ms  \
             {cpu_us:.1} us CPU and {written_bytes} bytes written a unit"
        );
        all
    }

    /// The loads of a create: customer, conversation, message, device.
    async fn load(&self, batch: usize) {
        let ws = self.ws;
        let start = Instant::now();
        for at in (0..FOLLOWUPS).step_by(batch) {
            let keys = (at..(at + batch).min(FOLLOWUPS)).flat_map(|n| {
                let whose = Self::whose(n);
                let name = customer_id(whose);
                [
                    Key::Customer(ws, name.clone()),
                    Key::Conversation(ws, conversation_id(whose), name),
                    Key::Message(ws, message_id(n)),
                    Key::Device(ws, self.devices[whose].id),
                ]
            });
            let rows = self.store.load(keys.collect()).await.unwrap();
            assert!(rows.iter().all(Option::is_some));
        }
        println!("batch {batch:>4}  Load     {:>10.0} units/s", FOLLOWUPS as f64 / start.elapsed().as_secs_f64());
    }

    /// 10,000 creates a second from single callers: what each of them waits.
    async fn paced(&mut self) {
        let units: Vec<_> = (0..FOLLOWUPS).map(|n| self.unit(Step::Create, n)).collect();
        let start = tokio::time::Instant::now();
        let mut calls = tokio::task::JoinSet::new();
        let mut tick = tokio::time::interval(std::time::Duration::from_millis(1));
        let mut units = units.into_iter().peekable();
        while units.peek().is_some() {
            tick.tick().await;
            for unit in units.by_ref().take(10) {
                let store = self.store.clone();
                calls.spawn(async move {
                    let start = Instant::now();
                    assert_eq!(store.commit(vec![unit]).await.unwrap(), [Verdict::Done]);
                    start.elapsed().as_micros()
                });
            }
        }
        let mut took_us = calls.join_all().await;
        took_us.sort_unstable();
        let at = |part: f64| took_us[((took_us.len() - 1) as f64 * part) as usize] as f64 / 1e3;
        let rate = FOLLOWUPS as f64 / start.elapsed().as_secs_f64();
        println!(
            "single calls, {rate:.0} creates/s: p50 {:.2} p99 {:.2} p99.9 {:.2} max {:.2} ms",
            at(0.5),
            at(0.99),
            at(0.999),
            at(1.0)
        );
    }
}

/// What the process has used: holds still on a busy machine, where times do not.
struct Spent {
    cpu_ticks: u64,
    written_bytes: u64,
}

impl Spent {
    fn now() -> Spent {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        let stat = read("stat");
        let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse().ok()).unwrap_or(0u64);
        let io = read("io");
        let written = io.lines().find_map(|line| line.strip_prefix("wchar: ")).and_then(|bytes| bytes.parse().ok());
        Spent { cpu_ticks: ticks(11) + ticks(12), written_bytes: written.unwrap_or(0) }
    }

    /// Microseconds of CPU (bench included) and bytes written, checkpoints too, since then.
    fn per_unit(&self) -> (f64, u64) {
        let now = Spent::now();
        let cpu_us = (now.cpu_ticks - self.cpu_ticks) as f64 * 10_000.0 / FOLLOWUPS as f64;
        (cpu_us, (now.written_bytes - self.written_bytes) / FOLLOWUPS as u64)
    }
}

async fn commit(store: &SqliteStore, units: Vec<Unit>) {
    assert!(store.commit(units).await.unwrap().iter().all(|verdict| *verdict == Verdict::Done));
}

fn customer_id(n: usize) -> String {
    format!("customer-{n:08}")
}

fn conversation_id(n: usize) -> String {
    format!("conversation-{n:08}")
}

fn message_id(n: usize) -> String {
    format!("message-{n:010}")
}

/// With as much of what it was decided on as there is as a rule.
fn entry(event: &str, decision: &str) -> HistoryEntry {
    let (event, decision) = (event.to_owned(), decision.to_owned());
    HistoryEntry { at: T0, event, decision, why: "nothing".into(), inputs: Some("x".repeat(INPUTS_BYTES)) }
}

fn customer(ws: WorkspaceId, n: usize) -> CustomerRow {
    CustomerRow {
        workspace: ws,
        customer_id: customer_id(n),
        version: 0,
        wrapped_key: vec![1; 73],
        contact: Some(vec![2; 140]),
        has_phone: true,
        has_email: true,
        contact_at: T0,
        contact_source: ContactSource::Account,
        consents: Vec::new(),
        locale: Some("ko".into()),
        time_zone: None,
        devices: vec![DeviceId(1)],
        presence: Default::default(),
        engaged_at: None,
        created_at: T0,
    }
}

fn conversation(ws: WorkspaceId, n: usize) -> ConversationRow {
    ConversationRow {
        workspace: ws,
        conversation_id: conversation_id(n),
        customer_id: customer_id(n),
        version: 0,
        next_seq: 1,
        wrote_at: Some(T0),
        left_at: None,
        texted_at: None,
        open: vec![],
    }
}

fn device(ws: WorkspaceId, n: usize) -> DeviceRow {
    let mut token_hash = [0; 32];
    token_hash[..8].copy_from_slice(&(n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    DeviceRow {
        workspace: ws,
        id: DeviceId((T0 << 20) + n as i64),
        version: 0,
        install_id: format!("0190b2a4-7c1e-7000-8000-{n:012}"),
        customer_id: Some(customer_id(n)),
        platform: Platform::Android,
        provider: PushProvider::Fcm,
        token: vec![3; 200],
        token_hash,
        topic: None,
        environment: None,
        alerts: Alerts::Allowed,
        wire: vec![1],
        locale: Some("ko".into()),
        standing: Standing::Registered,
        registered_at: T0,
        confirmed_at: T0,
        used_at: T0,
        counted_acks: vec![],
    }
}

fn message(ws: WorkspaceId, n: usize, followup: &FollowupRow) -> MessageRow {
    MessageRow {
        workspace: ws,
        message_id: message_id(n),
        version: 0,
        conversation_id: followup.conversation_id.clone(),
        customer_id: followup.customer_id.clone(),
        seq: 1,
        direction: Direction::ToCustomer,
        body_hash: [9; 32],
        body: Some(vec![4; 200]),
        followup: Some(followup.id),
        answer: r#"{"state":"sending","accepted_at":1795370400000,"deadline_at":1795370430000}"#.into(),
        accepted_at: T0 + n as i64 / 10,
    }
}

fn followup(ws: WorkspaceId, n: usize) -> FollowupRow {
    let at = T0 + n as i64 / 10;
    let whose = Rows::whose(n);
    let state = serde_json::json!({
        "v": 1, "kind": "reply", "started_at": at, "deadline_at": at + 30_000, "stage": {"is": "waiting"},
        "replies": [{"id": message_id(n), "seq": 1, "at": at}], "pushes": [],
        "text": {"status": "idle", "at": at}, "email": {"status": "idle", "at": at},
    });
    let mut row = FollowupRow {
        workspace: ws,
        id: FollowupId((at << 20) + n as i64),
        customer_id: customer_id(whose),
        conversation_id: conversation_id(whose),
        version: 0,
        state: serde_json::from_value(state).unwrap(),
        wake: Some(Wake { at: at + 30_000, why: WakeReason::Deadline }),
    };
    row.state.pushes.push(Push {
        device: DeviceId((T0 << 20) + whose as i64),
        via: PushProvider::Fcm,
        status: PushStatus::Claimed(at + 10_000),
        covers: 1,
        attempt: 1,
        at,
        elsewhere: None,
        provider_id: None,
        error: None,
        acks: vec![],
        acked: None,
    });
    row
}
