//! The power goes while the whole server works: what it answered its callers is on the disk, and no mail goes twice.

use crate::alone::{Disk, alone, mount_memory, signal};
use crate::world::{Answer, World};
use std::path::Path;
use std::sync::Arc;
use tokio::task::JoinSet;

const POSTERS: usize = 3;
const HANDS: usize = 3;
const TEXT: &str = "Your parcel is there.";

/// Posts until nobody answers any more.
async fn post(world: Arc<World>, url: String, name: String) {
    for n in 0.. {
        match world.post(&url, &format!("m-{name}-{n}"), n, TEXT).await {
            Answer::Done => {}
            Answer::Refused => panic!("the disk is sound"),
            Answer::Open => return,
        }
    }
}

/// Acks what arrives until nobody answers any more.
async fn ack(world: Arc<World>, url: String) {
    loop {
        let push = world.arrived().await;
        if world.ack(&url, &push).await == Answer::Open {
            return;
        }
    }
}

/// One server on one disk, until the power goes; then another on what is left of the disk.
async fn one_cut(world: &Arc<World>, memory: &Path, cut: usize) -> usize {
    let disk = Disk::make(memory, "disk", 48);
    let (before, after) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mounted = disk.mount(before.path());
    world.begin_anew();
    world.copy_into(before.path());
    let server = world.start(&before, &[]).unwrap();
    let pid = std::fs::read_to_string(before.path().join("backstop.db.lock")).unwrap().trim().parse().unwrap();
    let mut callers = JoinSet::new();
    for poster in 0..POSTERS {
        callers.spawn(post(Arc::clone(world), server.url.clone(), format!("{cut}-{poster}")));
    }
    let mut phones = JoinSet::new();
    for _ in 0..HANDS {
        phones.spawn(ack(Arc::clone(world), server.url.clone()));
    }
    for n in 0..3 + cut * 7 % 40 {
        assert_eq!(world.post(&server.url, &format!("m-{cut}-9-{n}"), n, TEXT).await, Answer::Done);
        // Some acks for sure, however slow the hands are.
        if n % 2 == 0 {
            let push = world.arrived().await;
            assert_eq!(world.ack(&server.url, &push).await, Answer::Done);
        }
    }
    signal(pid, "-STOP");
    let copy = disk.cut(&mounted, "cut");
    server.kill();
    while let Some(ended) = callers.join_next().await {
        ended.unwrap();
    }
    phones.shutdown().await;
    let answered = world.told.lock().unwrap().created.len();

    let _mounted = copy.mount(after.path());
    let server = world.start(&after, &[]).unwrap();
    world.check(&server.url).await;
    world.repeat(&server.url, TEXT).await;
    world.check(&server.url).await;
    server.kill();
    answered
}

/// Invariants 3 and 4: replies and acks that were answered survive a power cut, and what is sent again afterwards is
/// the same mail.
#[test]
fn no_answer_of_the_server_is_lost_by_a_power_cut() {
    alone("power_server::no_answer_of_the_server_is_lost_by_a_power_cut", || {
        let memory = Path::new("/mnt");
        let _memory = mount_memory(memory, "512m");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let world = Arc::new(World::make().await);
            let cuts = if std::env::var_os("BACKSTOP_LONG").is_some() { 200 } else { 12 };
            let (mut answered, mut acked) = (0, 0);
            for cut in 0..cuts {
                answered += one_cut(&world, memory, cut).await;
                acked += world.told.lock().unwrap().acked.len();
            }
            println!(
                "-- {cuts} power cuts of the server: {answered} replies answered, {acked} acks counted, all there"
            );
            assert!(answered > cuts * 10 && acked > cuts, "too little load to tell");
        });
    });
}
