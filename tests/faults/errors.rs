//! The n-th call on the database's files fails: with EIO, for want of space, half-way.
//!
//! A failed fsync ends the process, since the kernel may have dropped what it could not write and would call the next
//! one a success. Whatever fails, nobody hears of success that is not durable, and the next start finds all in order.

use crate::shim::{ALL_CALLS, Fault};
use crate::world::World;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;
use tokio::task::{JoinSet, block_in_place};

const POSTERS: usize = 3;
const REPLIES: usize = 8;
const TEXT: &str = "Your parcel is there.";
const EX_TEMPFAIL: i32 = 75;

/// What became of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ending {
    /// The fault was never met.
    NotMet,
    /// The server did not start.
    NoStart,
    /// It ended itself, to be started anew.
    Exit75,
    /// It went on.
    WentOn,
    /// The fault was met while it stopped.
    AtStop,
}

/// Posts, acks and erases until so many were answered, however, or the server is gone.
async fn load(world: &Arc<World>, url: &str, run: usize) {
    let mut posters = JoinSet::new();
    for poster in 0..POSTERS {
        let (world, url) = (Arc::clone(world), url.to_owned());
        posters.spawn(async move {
            for n in 0..REPLIES {
                let message = format!("m-{run}-{poster}-{n}");
                world.post(&url, &message, n, TEXT).await;
                if poster == 0 && n % 4 == 3 {
                    world.erase(&url, &format!("gone-{n}")).await;
                }
            }
        });
    }
    let mut phones = JoinSet::new();
    let (acking, url) = (Arc::clone(world), url.to_owned());
    phones.spawn(async move {
        loop {
            let push = acking.arrived().await;
            acking.ack(&url, &push).await;
        }
    });
    while let Some(ended) = posters.join_next().await {
        ended.unwrap();
    }
    phones.shutdown().await;
}

/// One run on a fresh copy of the data, with that fault.
async fn run(world: &Arc<World>, n: usize, calls: &'static str, kind: &'static str, nth: usize) -> Ending {
    let directory = tempfile::tempdir().unwrap();
    world.begin_anew();
    world.copy_into(directory.path());
    let fault = Fault::on(directory.path(), calls, kind, nth);
    let ending = suffer(world, &directory, &fault, n).await;
    let spoiled = fault.spoiled();
    let _ = std::fs::remove_file(&fault.log);
    let server = world.start(&directory, &[]).unwrap_or_else(|said| panic!("{spoiled:?}, then no start: {said}"));
    world.check(&server.url).await;
    world.repeat(&server.url, TEXT).await;
    world.check(&server.url).await;
    server.kill();
    let sound = rusqlite::Connection::open(directory.path().join("backstop.db")).unwrap();
    let said: String = sound.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(said, "ok", "{spoiled:?}");
    ending
}

/// The server with the fault, under load, to its end.
async fn suffer(world: &Arc<World>, directory: &TempDir, fault: &Fault, n: usize) -> Ending {
    let server = match world.start(directory, &fault.env()) {
        Ok(server) => server,
        Err(said) => {
            assert!(!fault.spoiled().is_empty(), "no start without a fault: {said}");
            assert!(!said.contains("panicked") && !said.ends_with("exit -1"), "{said}");
            return Ending::NoStart;
        }
    };
    load(world, &server.url, n).await;
    let before_stop = fault.spoiled();
    server.terminate();
    let (status, log) = block_in_place(|| server.ended());
    let spoiled = fault.spoiled();
    match status.code() {
        Some(EX_TEMPFAIL) if !spoiled.is_empty() => Ending::Exit75,
        Some(0) if before_stop.iter().any(|line| needs_restart(line, fault.kind)) => {
            panic!("it went on after {before_stop:?}: {log:#?}")
        }
        Some(0) if !before_stop.is_empty() => Ending::WentOn,
        Some(0) if !spoiled.is_empty() => Ending::AtStop,
        Some(0) => Ending::NotMet,
        code => panic!("exit {code:?} after {spoiled:?}: {log:#?}"),
    }
}

/// A failed fsync of the database or its WAL, or a write that met EIO, leaves the file untrusted.
fn needs_restart(spoiled: &str, kind: &str) -> bool {
    let mut words = spoiled.split(' ').skip(1);
    let (call, file) = (words.next().unwrap(), words.next().unwrap());
    let data = matches!(file, "backstop.db" | "backstop.db-wal");
    data && (call == "sync" || (call == "write" && kind == "eio"))
}

/// Runs all faults in two lanes; answers how often each ending came.
async fn all(faults: Vec<(&'static str, &'static str, usize)>) -> BTreeMap<Ending, usize> {
    let (faults, next) = (Arc::new(faults), Arc::new(AtomicUsize::new(0)));
    let mut lanes = JoinSet::new();
    for _ in 0..2 {
        let (faults, next) = (Arc::clone(&faults), Arc::clone(&next));
        lanes.spawn(async move {
            let world = Arc::new(World::make().await);
            let mut endings = BTreeMap::new();
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                let Some((calls, kind, nth)) = faults.get(n).copied() else { return endings };
                let ending = run(&world, n, calls, kind, nth).await;
                *endings.entry((calls, kind, ending)).or_insert(0usize) += 1;
            }
        });
    }
    let mut endings = BTreeMap::new();
    while let Some(lane) = lanes.join_next().await {
        for ((calls, kind, ending), times) in lane.unwrap() {
            println!("-- {calls} {kind}: {times} {ending:?}");
            *endings.entry(ending).or_insert(0) += times;
        }
    }
    endings
}

/// Invariant 3, W4: whichever call fails and however, an answer is durable and a refusal leaves nothing; after a
/// failed fsync the process ends with 75; the next start needs no help.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whichever_call_fails_no_answer_is_false() {
    let long = std::env::var_os("BACKSTOP_LONG").is_some();
    let mut faults: Vec<_> = (1..=40).map(|nth| ("sync", "eio", nth)).collect();
    faults.extend((1..=6).map(|nth| ("truncate", "eio", nth)));
    faults.extend((1..=4).map(|nth| ("unlink", "eio", nth)));
    let stride = if long { 1 } else { 3 };
    for (at, nth) in (1..=350).step_by(stride).enumerate() {
        let kinds: &[&'static str] = &["eio", "enospc", "short"];
        let kinds = if long { kinds } else { &kinds[at % 3..=at % 3] };
        faults.extend(kinds.iter().map(|kind| (ALL_CALLS, *kind, nth)));
    }
    let wanted = faults.len();
    let endings = all(faults).await;
    println!("-- {wanted} faults: {endings:?}");
    let met = wanted - endings.get(&Ending::NotMet).copied().unwrap_or(0);
    assert!(met * 10 >= wanted * 8, "too few faults were met to tell: {endings:?}");
    assert!(endings.get(&Ending::Exit75).is_some_and(|times| *times >= 20), "{endings:?}");
}
