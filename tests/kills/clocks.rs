//! The wall clock steps under a running server, and between two of its lives.
//!
//! A preloaded library (`wall.c`) turns real time for the server alone; boot and monotonic time stay true. Whether
//! something came early or late is measured by the harness, from the outside: the server's own times are turned.

use crate::assert_sound;
use crate::time::{Stalls, nap_ms, now_ms, wait_until};
use crate::world::{ACK_WAIT_MS, World};
use backstop_server::failpoint::Point;
use backstop_tests::oracle::{History, Ms};
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use tempfile::{TempDir, tempdir};

const S: Ms = 1_000;
const DAY: Ms = 86_400_000;
/// ±1 s, ±30 s, ±1 h, +1 d, −10 y.
const STEPS: [Ms; 8] = [S, -S, 30 * S, -30 * S, 3_600 * S, -3_600 * S, DAY, -3_650 * DAY];
const AT_ONCE: usize = 6;
const REPLIES: usize = 6;
/// L: from the deadline to the fallback at the provider.
const LATE_MS: Ms = 1_000;
/// The same for what was overdue when a server started.
const OVERDUE_MS: Ms = 3_000;
/// How long the server is held at the point where the clock is turned.
const HELD_MS: Ms = 400;

/// When the clock is turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    BeforeDue,
    AtFire,
    DuringClaim,
    /// Killed, turned, started.
    OverRestart,
}

const WHENS: [When; 4] = [When::BeforeDue, When::AtFire, When::DuringClaim, When::OverRestart];

/// Builds the library once for all.
fn library(dir: &TempDir) -> PathBuf {
    let library = dir.path().join("wall.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("kills/wall.c");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"]).arg(&library).arg(source);
    assert!(cc.status().expect("a C compiler").success(), "wall.c does not build");
    library
}

/// Invariant 2, P3, P8: a step of the wall clock fires nothing early and nothing late, twice or never.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn steps_of_the_wall_clock_move_no_deadline() {
    let (began, dir, stalls) = (now_ms(), tempdir().unwrap(), Arc::new(Stalls::watch()));
    let library = library(&dir);
    let slots = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
    let mut worlds = tokio::task::JoinSet::new();
    for when in WHENS {
        for step_ms in STEPS {
            let (slots, stalls, library) = (Arc::clone(&slots), Arc::clone(&stalls), library.clone());
            worlds.spawn(async move {
                let _slot = slots.acquire_owned().await.unwrap();
                step(when, step_ms, &library, &stalls).await;
            });
        }
    }
    while let Some(ended) = worlds.join_next().await {
        ended.unwrap();
    }
    println!("{} steps of the wall clock in {} s", WHENS.len() * STEPS.len(), (now_ms() - began) / 1_000);
}

async fn step(when: When, step_ms: Ms, library: &Path, stalls: &Stalls) {
    let mut world = World::live(&format!("{when:?} {step_ms} ms")).await;
    let file = world.dir.path().join("wall");
    let wall = std::fs::File::create(&file).unwrap();
    let turn = |ms: Ms| wall.write_all_at(&ms.to_ne_bytes(), 0).unwrap();
    turn(0);
    world.set("LD_PRELOAD", library.to_str().unwrap().to_owned());
    world.set("BACKSTOP_WALL_FILE", file.to_str().unwrap().to_owned());
    let held_at = match when {
        When::BeforeDue | When::OverRestart => None,
        When::AtFire => Some(Point::TimerFires),
        When::DuringClaim => Some(Point::FallbackClaimed),
    };
    let hold = held_at.map(|point| format!("{}:1=pause_{HELD_MS}", point.name())).unwrap_or_default();
    let mut server = world.start(&hold).unwrap();
    for n in 0..REPLIES {
        assert!(world.post(&server.url, &format!("m-0-0-{n}")).await);
    }
    let mut ready_at = 0;
    match held_at {
        Some(point) => {
            assert!(wait_until(5_000, || world.has_acted(point)).await, "{}: not reached", world.name);
            turn(step_ms);
            // Nothing else is pending while what is due is held.
            nap_ms(HELD_MS.cast_unsigned()).await;
        }
        None if when == When::OverRestart => {
            world.killed(server);
            turn(step_ms);
            server = world.start("").unwrap();
            ready_at = now_ms();
        }
        None => turn(step_ms),
    }
    // Replies after the step are on the same clock.
    for n in 0..REPLIES {
        assert!(world.post(&server.url, &format!("m-1-0-{n}")).await);
    }
    let everything = || world.effects().len() >= 2 * REPLIES;
    assert!(wait_until(20_000, everything).await, "{}: {} of {} left", world.name, world.effects().len(), 2 * REPLIES);
    // Long enough for what would leave a second time at once.
    nap_ms(300).await;
    // The server's own times are not the harness's.
    world.facts.lock().unwrap().history.up.iter_mut().for_each(|up| up.same_time = false);
    let history = world.end(&server.url, stalls.seen()).await;
    world.killed(server);
    assert_sound(&world.name, &history);
    let held_ms = if held_at.is_some() { HELD_MS } else { 0 };
    assert_punctual(&world.name, &history, ready_at, held_ms, stalls);
}

/// Each fallback is at its provider within L of its deadline, by the harness's clock.
fn assert_punctual(world: &str, history: &History, ready_at: Ms, held_ms: Ms, stalls: &Stalls) {
    let asked: BTreeMap<&str, Ms> = history.creates.iter().map(|c| (c.message.as_str(), c.asked_at)).collect();
    for effect in &history.effects {
        let due_at = asked[effect.about.as_str()] + ACK_WAIT_MS;
        let latest = if due_at < ready_at { ready_at + OVERDUE_MS } else { due_at + LATE_MS };
        let late_ms = effect.at - latest - held_ms - stalls.between(due_at, effect.at);
        assert!(late_ms <= 0, "{world}: {} left {late_ms} ms too late", effect.about);
    }
}
