//! `kill -9` at any moment: what the SDK said it keeps is kept, whatever it was doing.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use backstop_core::{Alerts, Config, Grade, Home, PushClient, Spool};

use crate::http::listen;
use crate::support::*;

const ROUNDS: u64 = 950;
/// With `tests/run --long`.
const LONG_ROUNDS: u64 = 10_000;
const DIRECTORY: &str = "BACKSTOP_TEST_RECORDER_DIRECTORY";
const SERVER: &str = "BACKSTOP_TEST_RECORDER_SERVER";
/// What the recorder prints before each receipt that it was promised.
const KEPT: &str = "kept ";

fn opened(directory: &Path, server: &str) -> PushClient {
    let config = Config { base_url: server.to_owned(), ..config(Home::Directory(directory.to_owned())) };
    PushClient::open(config).expect("opens")
}

/// Not a test of its own: the process that is killed. Records in both homes and uploads now and then, for ever.
#[tokio::test]
async fn recorder() {
    let (Ok(directory), Ok(server)) = (std::env::var(DIRECTORY), std::env::var(SERVER)) else { return };
    let client = opened(directory.as_ref(), &server);
    let spool = Spool::new(Path::new(&directory).join("spool"));
    let name = std::process::id();
    for n in 0u32.. {
        let receipt = format!("r-{name}-{n}");
        if n % 3 == 2 {
            spool.record(&receipt, Grade::Displayed, None, i64::from(n)).expect("recorded");
        } else {
            client.acknowledge(&receipt, Grade::Displayed, None, 0).await.expect("recorded");
        }
        println!("{KEPT}{receipt}");
        if n % 7 == 6 {
            client.flush(AMPLE_MS).await.expect("flushed");
        }
    }
}

fn spawn(directory: &Path, server: SocketAddr) -> Child {
    Command::new(std::env::current_exe().expect("this test"))
        .args(["kill::recorder", "--exact", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory)
        .env(SERVER, format!("http://{server}"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts")
}

/// Lets the recorder promise so many receipts, kills it, and returns all that it had promised by then.
fn kill_after(mut child: Child, promises: u64) -> Vec<String> {
    let mut lines = BufReader::new(child.stdout.take().expect("piped"));
    let mut kept = Vec::new();
    let mut line = String::new();
    loop {
        line.clear();
        if lines.read_line(&mut line).expect("text") == 0 {
            break;
        }
        // The last line may be cut: then it was not said.
        if let Some(receipt) = line.strip_suffix('\n').and_then(|l| l.split_once(KEPT)) {
            kept.push(receipt.1.to_owned());
        }
        if kept.len() as u64 == promises {
            child.kill().expect("killed");
        }
    }
    child.wait().expect("ended");
    kept
}

/// C4, invariant 3: three hundred kills, and not one promised ack is lost; each reaches the server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c4_no_promised_ack_is_lost_by_kill_9() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::default();
    let address = listen(&server, None, None).await;
    let base_url = format!("http://{address}");
    let client = opened(directory.path(), &base_url);
    client.set_token(token("t"), Alerts::Allowed, AMPLE_MS).await.expect("stored");
    drop(client);

    let mut promised = Vec::new();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let rounds = if std::env::var_os("BACKSTOP_LONG").is_some() { LONG_ROUNDS } else { ROUNDS };
    for _ in 0..rounds {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (child, promises) = (spawn(directory.path(), address), 1 + (seed >> 33) % 25);
        let kept = tokio::task::spawn_blocking(move || kill_after(child, promises)).await.expect("no panic");
        assert!(kept.len() as u64 >= promises, "the recorder stopped by itself");
        promised.extend(kept);
    }

    let client = opened(directory.path(), &base_url);
    let flushed = client.flush(AMPLE_MS).await.expect("flushed");
    assert_eq!(flushed.pending, 0, "{flushed:?}");
    let arrived: BTreeSet<String> = server.acks().into_iter().collect();
    let lost: Vec<_> = promised.iter().filter(|receipt| !arrived.contains(&format!("{receipt} displayed"))).collect();
    assert!(lost.is_empty(), "{} of {} lost: {lost:?}", lost.len(), promised.len());
    assert_eq!(client.status().install_id, opened(directory.path(), &base_url).status().install_id);
}
