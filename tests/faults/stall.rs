//! The disk stands still for a second: what was pending is decided no later than that second.

use crate::shim::Fault;
use crate::world::{ACK_WAIT_MS, Answer, World};
use backstop_wire::time::from_rfc3339;
use reqwest::Method;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const REPLIES: usize = 60;
const STALL_MS: i64 = 1_000;
/// For two commits, a mail, and a machine with other things to do.
const SLACK_MS: i64 = 500;

/// Waits until so many mails have arrived.
#[expect(clippy::disallowed_methods, reason = "the server's deadlines pass in real time")]
async fn mails(world: &World, wanted: usize) {
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    for _ in 0..4_000 {
        looks.tick().await;
        if world.mails.lock().unwrap().len() >= wanted {
            return;
        }
    }
    panic!("{} of {wanted} mails came", world.mails.lock().unwrap().len());
}

/// Invariant 2: an fsync that takes a second delays no decision that is already pending by more than that second, and
/// none comes early.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stalled_disk_delays_decisions_by_no_more_than_itself() {
    let world = Arc::new(World::make().await);
    let (directory, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    world.copy_into(directory.path());
    let now = outside.path().join("now");
    let log = outside.path().join("log");
    let fault = Fault { armed: Some(now.clone()), log, ..Fault::on(directory.path(), "sync", "stall", 1) };
    let server = world.start(&directory, &fault.env()).unwrap();
    for n in 0..REPLIES {
        // For phones only, and none of them acks.
        let message = format!("m-0-{}", 2 * n);
        assert_eq!(world.post(&server.url, &message, 2 * n, &format!("{message}: it is there.")).await, Answer::Done);
    }
    // The first is decided, the last is not: from here on the next fsync takes a second.
    mails(&world, 1).await;
    std::fs::write(&now, "").unwrap();
    mails(&world, REPLIES).await;
    assert_eq!(fault.spoiled().len(), 1, "the disk stood still once");

    let mut arrived: BTreeMap<String, i64> = BTreeMap::new();
    for mail in world.mails.lock().unwrap().iter() {
        assert_eq!(arrived.insert(mail.reply.clone(), mail.at_ms), None, "{} came twice", mail.reply);
    }
    let mut late = Vec::new();
    for n in 0..REPLIES {
        let message = format!("m-0-{}", 2 * n);
        let (_, shown) = world.backend(Method::GET, &server.url, &format!("/v1/messages/{message}"), None).await;
        let time = |key: &str| shown[key].as_str().and_then(from_rfc3339).unwrap_or_else(|| panic!("{key}: {shown}"));
        assert_eq!(time("deadline_at") - time("accepted_at"), ACK_WAIT_MS);
        assert!(time("decided_at") >= time("deadline_at"), "decided early: {shown}");
        late.push(arrived[&message] - time("deadline_at"));
    }
    late.sort_unstable();
    let (first, median, last) = (late[0], late[REPLIES / 2], late[REPLIES - 1]);
    println!("-- a stall of {STALL_MS} ms: mails {first} to {last} ms after the deadline, half within {median} ms");
    assert!(first >= 0, "{late:?}");
    assert!(last >= STALL_MS * 3 / 4, "nobody was held up, so nothing was shown: {late:?}");
    assert!(last <= STALL_MS + SLACK_MS, "{late:?}");
}
