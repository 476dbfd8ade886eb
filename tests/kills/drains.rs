//! SIGTERM under load, again and again.

use crate::load::{Beside, Enough, Load};
use crate::time::{Stalls, now_ms};
use crate::world::World;
use crate::{assert_sound, is_long};
use backstop_tests::oracle::Ms;
use serde_json::Value;
use std::sync::Arc;
use tokio::task::block_in_place;

const DRAINS: usize = 30;
const DRAINS_LONG: usize = 500;
const LANES: usize = 3;
/// I15: from SIGTERM to the end of the process.
const EXIT_MS: Ms = 15_000;

/// I15: the process ends by itself, in time, with 0 and says so; nothing is left claimed, lost or done twice, and
/// nothing leaves after the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn stops_under_load_drain() {
    let mut lanes = tokio::task::JoinSet::new();
    let drains = if is_long() { DRAINS_LONG } else { DRAINS }.div_ceil(LANES);
    for n in 0..LANES {
        lanes.spawn(lane(n, drains));
    }
    let mut longest_ms = 0;
    while let Some(ended) = lanes.join_next().await {
        longest_ms = longest_ms.max(ended.unwrap());
    }
    println!("{} drains, the longest took {longest_ms} ms", drains * LANES);
}

/// Answers how long the longest drain took.
async fn lane(n: usize, drains: usize) -> Ms {
    let (world, stalls) = (Arc::new(World::live(&format!("drains {n}")).await), Stalls::watch());
    let mut longest_ms = 0;
    for round in 0..drains {
        let mut server = world.start("").unwrap();
        world.repeat(&server.url).await;
        let load = Load::start(&world, &server.url, round, Beside::Usual);
        // Some while the fallbacks of this life leave, some before.
        let enough = Enough { replies: usize::MAX, within_ms: 100 + 130 * Ms::try_from(round % 10).unwrap() };
        assert!(load.until(&mut server, enough).await, "it ended by itself");
        let told_at = now_ms();
        world.down(told_at);
        server.terminate();
        let (status, log) = block_in_place(|| server.ended());
        let (took_ms, effects) = (now_ms() - told_at, world.effects().len());
        load.end().await;
        longest_ms = longest_ms.max(took_ms);
        assert!(took_ms <= EXIT_MS + stalls.between(told_at, now_ms()), "{took_ms} ms to stop");
        assert_eq!(status.code(), Some(0), "{log:?}");
        let last: Value = serde_json::from_str(log.last().unwrap()).unwrap();
        assert_eq!(last["message"], "stopped; everything under way had ended", "{log:?}");
        let personal =
            log.iter().find(|line| ["@example.com", "parcel", "Grace"].iter().any(|word| line.contains(word)));
        assert_eq!(personal, None, "invariant 9: nothing personal in a log line");
        assert_eq!(claimed(&world), 0, "something is still claimed, and nobody works at it");
        assert_eq!(world.effects().len(), effects, "something left after the end");
    }
    let server = world.start("").unwrap();
    world.repeat(&server.url).await;
    let history = world.end(&server.url, stalls.seen()).await;
    assert_sound(&world.name, &history);
    longest_ms
}

/// Texts and emails that the store still has as claimed.
fn claimed(world: &World) -> i64 {
    let db = rusqlite::Connection::open(world.dir.path().join("backstop.db")).unwrap();
    let sql = "SELECT count(*) FROM followups WHERE public = 'falling_back' AND state LIKE '%\"claimed\":%'";
    db.query_row(sql, [], |row| row.get(0)).unwrap()
}
