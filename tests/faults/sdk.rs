//! The SDK's core under faults: killed at every call on its files and at every step of an upload, on a full or broken
//! disk, and without power. What it said it keeps reaches the server.

use crate::alone::{Disk, alone, mount_memory, signal};
use crate::shim::{ALL_CALLS, Fault};
use crate::world::now_ms;
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use backstop_core::{
    Alerts, Config, Error, Grade, Home, Platform, PushClient, PushProvider, PushToken, RegistrationStatus, Spool,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use tempfile::tempdir;
use tokio::net::TcpListener;
use tokio::task::block_in_place;

const DIRECTORY: &str = "BACKSTOP_TEST_RECORDER_DIRECTORY";
const SERVER: &str = "BACKSTOP_TEST_RECORDER_SERVER";
/// A budget that only a hang uses up.
const AMPLE_MS: u64 = 20_000;
/// Acks that a recorder records before it ends by itself; every third through the spool, sent in threes.
const ACKS: usize = 9;
/// What the recorder prints once it was promised: its installation, its device, a receipt.
const INSTALLED: &str = "installed ";
const REGISTERED: &str = "registered ";
const KEPT: &str = "kept ";

/// When the server kills the device that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The request has arrived, and nothing is done.
    Arrived,
    /// It is done; nobody hears the answer.
    Done,
}

/// A server double that speaks the device's part of the API.
#[derive(Default)]
struct Double {
    devices: BTreeMap<String, usize>,
    /// How often each receipt came.
    acks: BTreeMap<String, usize>,
    /// At that step of the n-th request from now on, kill this process.
    kill: Option<(Step, usize, u32)>,
}

impl Double {
    fn step(&mut self, step: Step) {
        if let Some((at, left, pid)) = self.kill.filter(|(at, ..)| *at == step) {
            self.kill = (left > 1).then(|| (at, left - 1, pid));
            if left == 1 {
                signal(pid, "-KILL");
            }
        }
    }
}

type Shared = Arc<Mutex<Double>>;

async fn register(State(double): State<Shared>, Json(wanted): Json<Value>) -> Json<Value> {
    let mut double = double.lock().unwrap();
    double.step(Step::Arrived);
    let next = double.devices.len();
    let n = *double.devices.entry(wanted["install_id"].as_str().unwrap().to_owned()).or_insert(next);
    double.step(Step::Done);
    Json(json!({ "device_id": format!("dev_{n}"), "device_key": format!("key-{n}") }))
}

async fn take_acks(State(double): State<Shared>, Json(batch): Json<Value>) -> Json<Value> {
    let mut double = double.lock().unwrap();
    double.step(Step::Arrived);
    let mut results = Vec::new();
    for ack in batch["acks"].as_array().unwrap() {
        let times = double.acks.entry(ack["receipt"].as_str().unwrap().to_owned()).or_insert(0);
        *times += 1;
        let result = if *times > 1 { "duplicate" } else { "accepted" };
        results.push(json!({ "result": result, "counted": *times == 1 }));
    }
    double.step(Step::Done);
    Json(json!({ "results": results }))
}

async fn listen() -> (Shared, String) {
    let double = Shared::default();
    let router = Router::new().route("/v1/devices", post(register)).route("/v1/acks", post(take_acks));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = router.with_state(Arc::clone(&double));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (double, url)
}

fn open(directory: &Path, server: &str) -> Result<PushClient, Error> {
    PushClient::open(Config {
        base_url: server.to_owned(),
        app_key: "app_test".to_owned(),
        platform: Platform::Android,
        sdk: "rust/0.1.0".to_owned(),
        home: Home::Directory(directory.to_owned()),
        spool_directory: None,
        locale: None,
        extra_root_certificates: vec![],
        allow_http: false,
    })
}

async fn give_token(client: &PushClient) -> Result<backstop_core::Flushed, Error> {
    let token = PushToken { provider: PushProvider::Fcm, token: "t".to_owned(), topic: None, environment: None };
    client.set_token(token, Alerts::Allowed, AMPLE_MS).await
}

/// Not a test of its own: the process that suffers. An error is said and ends nothing: an app goes on, too.
#[tokio::test]
async fn recorder() {
    let (Ok(directory), Ok(server)) = (std::env::var(DIRECTORY), std::env::var(SERVER)) else { return };
    let client = match open(directory.as_ref(), &server) {
        Ok(client) => client,
        Err(error) => return println!("not opened: {error}"),
    };
    println!("{INSTALLED}{}", client.status().install_id);
    if let Ok(given) = give_token(&client).await
        && matches!(given.registration, RegistrationStatus::Confirmed { .. })
    {
        println!("{REGISTERED}{}", client.status().device_id.expect("registered"));
    }
    let spool = Spool::new(Path::new(&directory).join("spool"));
    for n in 0..ACKS {
        let receipt = format!("r-{}-{n}", std::process::id());
        let recorded = match n % 3 {
            2 => spool.record(&receipt, Grade::Displayed, None, now_ms()),
            _ => client.acknowledge(&receipt, Grade::Displayed, None, 0).await.map(drop),
        };
        match recorded {
            Ok(()) => println!("{KEPT}{receipt}"),
            Err(error) => println!("refused: {error}"),
        }
        if n % 3 == 2 {
            let _ = client.flush(AMPLE_MS).await;
        }
    }
}

fn spawn(directory: &Path, server: &str, env: Vec<(String, String)>) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["sdk::recorder", "--exact", "--nocapture", "--test-threads=1"]).envs(env);
    child.env(DIRECTORY, directory).env(SERVER, server).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = child.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    (child, lines)
}

/// What a recorder was promised.
#[derive(Debug, Default)]
struct Promised {
    install_id: Option<String>,
    device_id: Option<String>,
    receipts: Vec<String>,
    refused: usize,
}

impl Promised {
    /// Takes in what it says, until it has ended, or has been promised so many receipts.
    fn hear(&mut self, lines: &mut impl BufRead, receipts: usize) {
        let mut line = String::new();
        while self.receipts.len() < receipts && lines.read_line(&mut line).unwrap() > 0 {
            // The last line may be cut: then it was not said.
            if let Some(said) = line.strip_suffix('\n') {
                let after = |word: &str| said.split_once(word).map(|(_, rest)| rest.to_owned());
                self.receipts.extend(after(KEPT));
                self.install_id = after(INSTALLED).or(self.install_id.take());
                self.device_id = after(REGISTERED).or(self.device_id.take());
                self.refused += usize::from(after("refused: ").or(after("not opened: ")).is_some());
            }
            line.clear();
        }
    }

    /// The app starts again, with a sound disk: whatever was promised holds, and reaches the server. `Err` = what does
    /// not hold.
    async fn held(&self, directory: &Path, server: &str, double: &Shared) -> Result<(), String> {
        let client = open(directory, server).map_err(|error| error.to_string())?;
        let status = client.status();
        if self.install_id.as_ref().is_some_and(|promised| *promised != status.install_id) {
            return Err("another installation".into());
        }
        if self.device_id.is_some() && self.device_id != status.device_id {
            return Err(format!("{:?} was {:?}", status.device_id, self.device_id));
        }
        give_token(&client).await.map_err(|error| error.to_string())?;
        let flushed = client.flush(AMPLE_MS).await.map_err(|error| error.to_string())?;
        let double = double.lock().unwrap();
        let lost: Vec<_> = self.receipts.iter().filter(|receipt| !double.acks.contains_key(*receipt)).collect();
        if flushed.pending > 0 || !lost.is_empty() {
            return Err(format!("lost {lost:?} of {:?}, {flushed:?}", self.receipts));
        }
        Ok(())
    }
}

/// One recorder on a disk with that fault, and what it was promised; whether the fault was met.
async fn suffer(server: &str, double: &Shared, calls: &'static str, kind: &'static str, nth: usize) -> (bool, usize) {
    let directory = tempdir().unwrap();
    let fault = Fault::on(directory.path(), calls, kind, nth);
    let (mut child, mut lines) = spawn(directory.path(), server, fault.env());
    let mut promised = Promised::default();
    block_in_place(|| promised.hear(&mut lines, usize::MAX));
    let status = block_in_place(|| child.wait()).unwrap();
    let spoiled = fault.spoiled();
    let _ = std::fs::remove_file(&fault.log);
    let killed = kind.starts_with("kill") && !spoiled.is_empty();
    assert_ne!(status.success(), killed, "{calls} {kind} {nth}: {status} {spoiled:?}");
    let held = promised.held(directory.path(), server, double).await;
    held.unwrap_or_else(|broken| panic!("{kind} at {spoiled:?}: {broken}"));
    (!spoiled.is_empty(), promised.refused)
}

fn is_long() -> bool {
    std::env::var_os("BACKSTOP_LONG").is_some()
}

/// C4, invariant 3: kill -9 before and after each call on the SDK's files — record, sync, spool, take-over, delete:
/// what was promised is kept, the installation and its registration, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_each_call_loses_no_promise() {
    let (double, server) = listen().await;
    let mut kills = 0;
    // The recorder ends by itself after some hundred calls.
    for nth in (1..).step_by(if is_long() { 1 } else { 2 }) {
        let before = suffer(&server, &double, ALL_CALLS, "kill_before", nth).await.0;
        let after = before && suffer(&server, &double, ALL_CALLS, "kill_after", nth).await.0;
        kills += usize::from(before) + usize::from(after);
        if !before {
            break;
        }
    }
    let double = double.lock().unwrap();
    let again = double.acks.values().filter(|times| **times > 1).count();
    println!(
        "-- {kills} kills at calls on the files, {} acks arrived, {again} of them more than once",
        double.acks.len()
    );
    assert!(kills >= 100, "{kills}");
}

/// C4: kill -9 when an upload has arrived, and when it is done and the answer is lost: nothing is lost, and what comes
/// again is a duplicate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_within_an_upload_loses_no_promise() {
    let (double, server) = listen().await;
    let rounds = if is_long() { 1_000 } else { 40 };
    for round in 0..rounds {
        let directory = tempdir().unwrap();
        let step = if round % 2 == 0 { Step::Arrived } else { Step::Done };
        let (mut child, mut lines) = {
            // Nobody asks before the double knows whom to kill.
            let mut double = double.lock().unwrap();
            let spawned = spawn(directory.path(), &server, vec![]);
            double.kill = Some((step, 1 + round / 2 % 4, spawned.0.id()));
            spawned
        };
        let mut promised = Promised::default();
        block_in_place(|| promised.hear(&mut lines, usize::MAX));
        assert!(!block_in_place(|| child.wait()).unwrap().success(), "killed in round {round}");
        let held = promised.held(directory.path(), &server, &double).await;
        held.unwrap_or_else(|broken| panic!("{step:?} in round {round}: {broken}"));
    }
    let double = double.lock().unwrap();
    let again = double.acks.values().filter(|times| **times > 1).count();
    println!("-- {rounds} kills within an upload, {} acks arrived, {again} of them more than once", double.acks.len());
    assert!(again > 0, "no answer was ever lost");
}

/// C4: whichever call on the SDK's files fails and however, the caller hears an error or the promise holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_call_fails_no_promise_is_false() {
    let (double, server) = listen().await;
    let (mut met, mut refused) = (0, 0);
    'all: for (at, nth) in (1..).step_by(if is_long() { 1 } else { 5 }).enumerate() {
        let kinds = ["eio", "enospc", "short"];
        let kinds = if is_long() { &kinds[..] } else { &kinds[at % 3..=at % 3] };
        for kind in kinds {
            let (was_met, errors) = suffer(&server, &double, ALL_CALLS, kind, nth).await;
            if !was_met {
                break 'all;
            }
            (met, refused) = (met + 1, refused + usize::from(errors > 0));
        }
    }
    println!("-- {met} calls failed, the caller heard of {refused}");
    assert!(refused >= 5, "{refused} of {met}");
}

/// C4: on a full disk an ack is refused in words that say why, and none that was promised is lost; with room again all
/// goes on.
#[test]
fn a_full_disk_refuses_and_recovers() {
    alone("sdk::a_full_disk_refuses_and_recovers", || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let (double, server) = listen().await;
            let directory = tempdir().unwrap();
            let _memory = mount_memory(directory.path(), "2m");
            // No server: what cannot be stored cannot be sent at once either.
            let offline = "http://127.0.0.1:9";
            let mut promised = Promised::default();
            for filling in 0..20 {
                fill_up(directory.path(), offline, filling, &mut promised).await;
                if filling % 4 == 3 {
                    let held = promised.held(directory.path(), &server, &double).await;
                    held.unwrap_or_else(|broken| panic!("filling {filling}: {broken}"));
                }
            }
            let (kept, refused) = (promised.receipts.len(), promised.refused);
            println!("-- 20 times full: {kept} acks kept, {refused} refused as StorageFull");
        });
    });
}

/// Records until there is no room in either home, frees it, and records one more in each.
async fn fill_up(directory: &Path, server: &str, filling: usize, promised: &mut Promised) {
    let client = open(directory, server).unwrap();
    let spool = Spool::new(directory.join("spool"));
    let ballast = directory.join("ballast");
    let mut file = std::fs::File::create(&ballast).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    let length = file.metadata().unwrap().len();
    file.set_len(length.saturating_sub((filling as u64 * 5 % 13) << 12)).unwrap();
    drop(file);
    let (mut full, mut n) = ([false; 2], 0_usize);
    while full != [true; 2] {
        let receipt = format!("r-{filling}-{n}-{}", "x".repeat(1_000));
        let recorded = match n % 2 {
            0 => client.acknowledge(&receipt, Grade::Displayed, None, 0).await.map(drop),
            _ => spool.record(&receipt, Grade::Displayed, None, now_ms()),
        };
        match recorded {
            Ok(()) => promised.receipts.push(receipt),
            Err(error) => {
                assert_eq!(error, Error::StorageFull);
                promised.refused += 1;
                full[n % 2] = true;
            }
        }
        n += 1;
        assert!(n < 5_000, "never full");
    }
    std::fs::remove_file(&ballast).unwrap();
    for in_spool in [false, true] {
        let receipt = format!("r-{filling}-after-{in_spool}");
        match in_spool {
            false => drop(client.acknowledge(&receipt, Grade::Displayed, None, 0).await.expect("there is room")),
            true => spool.record(&receipt, Grade::Displayed, None, now_ms()).expect("there is room"),
        }
        promised.receipts.push(receipt);
    }
}

/// Cuts the power so many times; answers how many cuts broke a promise.
async fn cuts(wanted: usize, lying: bool) -> usize {
    let (double, server) = listen().await;
    let memory = Path::new("/mnt");
    let _memory = mount_memory(memory, "512m");
    let mut broken = 0;
    for cut in 0..wanted {
        let disk = Disk::make(memory, "disk", 24);
        let mounted = disk.mount(&memory.join("at"));
        let env = match lying {
            true => Fault { log: "/dev/null".into(), ..Fault::on(&mounted.at, "sync", "lie", 1) }.env(),
            false => vec![],
        };
        let (mut child, mut lines) = spawn(&mounted.at, &server, env);
        let mut promised = Promised::default();
        block_in_place(|| promised.hear(&mut lines, 1 + cut % (ACKS - 1)));
        signal(child.id(), "-STOP");
        let copy = disk.cut(&mounted, "cut");
        // What had reached the server by then is out of danger; what is asked of the disk is the rest.
        let arrived: Vec<String> = double.lock().unwrap().acks.keys().cloned().collect();
        signal(child.id(), "-KILL");
        block_in_place(|| child.wait()).unwrap();
        let mut rest = String::new();
        lines.read_to_string(&mut rest).unwrap();
        promised.receipts.retain(|receipt| !arrived.contains(receipt));
        let after = copy.mount(&memory.join("after"));
        let held = promised.held(&after.at, &server, &double).await;
        if let (Err(why), false) = (&held, lying) {
            println!("cut {cut}: {why}");
        }
        broken += usize::from(held.is_err());
    }
    println!("-- {wanted} power cuts{}: {broken} broke a promise", if lying { " of a disk that lies" } else { "" });
    broken
}

/// C4, invariant 3: what was promised survives a power cut, the installation and its registration, too; and the
/// harness can tell, since on a disk that only says it has synced promises are broken.
#[test]
fn no_promise_is_broken_by_a_power_cut() {
    alone("sdk::no_promise_is_broken_by_a_power_cut", || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            assert_eq!(cuts(if is_long() { 300 } else { 30 }, false).await, 0);
            let broken = cuts(5, true).await;
            assert!(broken >= 4, "{broken} of 5");
        });
    });
}
