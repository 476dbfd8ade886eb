//! The disk is full: what cannot be stored is refused, what was answered stays, and with room again all goes on.

use crate::alone::{alone, mount_memory};
use crate::world::{Answer, World};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use tokio::task::block_in_place;

const DISKS: usize = 4;
/// Times that each disk is filled up and freed again.
const FILLINGS: usize = 6;
/// Room that is left for the server at first, so that full is met at another point each time.
const LEFT_KIB: [u64; FILLINGS] = [0, 4, 12, 32, 80, 200];
/// Refusals in a row that count as full: a checkpoint may make room once or twice.
const REFUSALS: usize = 5;

/// Takes all room but `left_kib`.
fn fill(ballast: &Path, left_kib: u64) {
    let mut file = std::fs::File::create(ballast).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    let length = file.metadata().unwrap().len();
    file.set_len(length.saturating_sub(left_kib << 10)).unwrap();
}

/// What got through while the disk was full.
#[derive(Debug, Default)]
struct Through {
    acks: usize,
    acks_refused: usize,
    unready: usize,
}

/// Posts until the disk is full; then the phones ack what had arrived before.
async fn meet_full(world: &World, url: &str, filling: usize, text: &str) -> usize {
    let mut in_a_row = 0;
    for n in 0..2_000 {
        match world.post(url, &format!("m-{filling}-{n}"), n, text).await {
            Answer::Done => in_a_row = 0,
            Answer::Refused => in_a_row += 1,
            Answer::Open => panic!("a full disk is no doubt: nothing was stored"),
        }
        if in_a_row == REFUSALS {
            return n;
        }
    }
    panic!("the disk is never full");
}

async fn one_disk(world: &World, disk: usize, through: &mut Through) {
    let directory = tempfile::tempdir().unwrap();
    let _memory = mount_memory(directory.path(), "4m");
    world.begin_anew();
    world.copy_into(directory.path());
    let ballast = directory.path().join("ballast");
    let server = world.start(&directory, &[]).unwrap();
    let text = "x".repeat(500);
    for (filling, left_kib) in LEFT_KIB.into_iter().enumerate() {
        let round = disk * FILLINGS + filling;
        // One push for sure is under way when the room ends.
        let before = format!("m-{round}-100000");
        assert_eq!(world.post(&server.url, &before, 0, &text).await, Answer::Done, "with room");
        let push = world.arrived().await;
        fill(&ballast, left_kib);
        meet_full(world, &server.url, round, &text).await;
        match world.ack(&server.url, &push).await {
            Answer::Done => through.acks += 1,
            _ => through.acks_refused += 1,
        }
        through.unready += usize::from(!world.is_ready(&server.url).await);
        std::fs::remove_file(&ballast).unwrap();
        let after = format!("m-{round}-200000");
        let again = world.post(&server.url, &after, 0, &text).await;
        assert_eq!(again, Answer::Done, "it goes on without a restart");
        assert!(world.is_ready(&server.url).await, "and says so");
        world.repeat(&server.url, &text).await;
    }
    world.check(&server.url).await;
    server.terminate();
    let (status, log) = block_in_place(|| server.ended());
    assert!(status.success(), "{log:?}");
    let server = world.start(&directory, &[]).unwrap();
    world.check(&server.url).await;
    server.kill();
}

/// W4, invariant 3: a full disk is a 503 and a server that is not ready; nothing answered is lost, nothing refused is
/// there, and once there is room all goes on without a restart.
#[test]
fn a_full_disk_refuses_and_recovers() {
    alone("full::a_full_disk_refuses_and_recovers", || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let world = Arc::new(World::make().await);
            let mut through = Through::default();
            for disk in 0..DISKS {
                one_disk(&world, disk, &mut through).await;
            }
            let fillings = DISKS * FILLINGS;
            println!("-- {fillings} times full: {through:?}");
            assert!(through.unready > 0, "it never said that it was not ready");
        });
    });
}
