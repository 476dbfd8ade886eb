//! SIGSTOP at named points, for less and for more than a claim, then SIGCONT.

use crate::load::{Beside, Enough, Load};
use crate::time::{Stalls, nap_ms, now_ms, wait_until};
use crate::world::{CLAIM_MS, World};
use crate::{assert_sound, is_long};
use backstop_server::failpoint::Point;
use backstop_tests::oracle::Ms;
use backstop_tests::program::is_stopped;
use std::sync::Arc;

/// Parts of a claim, in percent.
const PAUSES: [Ms; 5] = [20, 50, 110, 200, 300];
/// Servers at a time: they mostly stand still.
const AT_ONCE: usize = 12;
/// How long a server may take to come to its point.
const REACH_MS: Ms = 20_000;

/// Hits of a point that a start may have, before anybody listens.
const BEYOND_BOOT: usize = 5;

/// What would do harm if it went on as if no time had passed: holding a claim, a decision, a transaction, an answer.
const LIVE: [Point; 12] = [
    Point::TimerFires,
    Point::SweepLooks,
    Point::BatchDecided,
    Point::WriteCommits,
    Point::WriteCommitted,
    Point::BatchCommitted,
    Point::PushSends,
    Point::PushSent,
    Point::FallbackClaims,
    Point::FallbackClaimed,
    Point::SmtpData,
    Point::SmtpTaken,
];
/// The same with texts, of which a repeat is a second one.
const SANDBOX: [Point; 6] = [
    Point::TimerFires,
    Point::BatchCommitted,
    Point::FallbackClaims,
    Point::FallbackClaimed,
    Point::CaptureTaken,
    Point::FallbackSent,
];

/// P8, T2, I6, I10: stopped in the middle and woken after the claim may be over; nothing twice, nothing early, nobody
/// lost, and what became due meanwhile is decided.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn stops_longer_than_a_claim_send_nothing_twice() {
    let (began, stalls) = (now_ms(), Arc::new(Stalls::watch()));
    let slots = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
    let mut worlds = tokio::task::JoinSet::new();
    let mut pauses = 0;
    for turn in 0..if is_long() { 30 } else { 2 } {
        for (n, (point, is_live)) in
            LIVE.iter().map(|point| (*point, true)).chain(SANDBOX.iter().map(|point| (*point, false))).enumerate()
        {
            let percent = PAUSES[(n * 2 + turn * 3) % PAUSES.len()];
            let (slots, stalls) = (Arc::clone(&slots), Arc::clone(&stalls));
            pauses += 1;
            worlds.spawn(async move {
                let _slot = slots.acquire_owned().await.unwrap();
                let name = format!("{} stopped for {percent} % of a claim", point.name());
                let world = if is_live { World::live(&name).await } else { World::sandbox(&name).await };
                stop(Arc::new(world), point, BEYOND_BOOT + turn * 2, CLAIM_MS * percent / 100, &stalls).await;
            });
        }
    }
    while let Some(ended) = worlds.join_next().await {
        ended.unwrap();
    }
    println!("{pauses} pauses of 0.2 to 3 claims in {} s", (now_ms() - began) / 1_000);
}

async fn stop(world: Arc<World>, point: Point, nth: usize, pause_ms: Ms, stalls: &Stalls) {
    let mut server = world.start(&format!("{}:{nth}=stop", point.name())).unwrap();
    let load = Load::start(&world, &server.url, 1, Beside::Usual);
    let pid = server.pid();
    let stopped = wait_until(REACH_MS, || is_stopped(pid)).await;
    assert!(stopped, "{}: not reached", world.name);
    world.down(now_ms());
    nap_ms(pause_ms.cast_unsigned()).await;
    world.up(true);
    server.go_on();
    // Life goes on for a while: claims of before the pause run out under load.
    load.until(&mut server, Enough { replies: usize::MAX, within_ms: 500 }).await;
    assert!(server.is_running(), "{}: it ended", world.name);
    load.end().await;
    world.repeat(&server.url).await;
    let history = world.end(&server.url, stalls.seen()).await;
    world.killed(server);
    assert_sound(&world.name, &history);
    assert!(history.creates.len() > 3 && !history.effects.is_empty(), "{}: too little load to tell", world.name);
}
