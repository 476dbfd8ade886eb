//! kill -9 at every named point and at random ones.

use crate::load::{Beside, Enough, Load};
use crate::time::{Stalls, now_ms};
use crate::world::World;
use crate::{assert_sound, is_long};
use backstop_server::failpoint::Point;
use backstop_tests::oracle::{Ms, judge};
use backstop_tests::program::Server;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tempfile::tempdir;
use tokio::task::block_in_place;

const KILLS: usize = 300;
const KILLS_LONG: usize = 5_000;
/// Servers at a time: more only wait for the processor.
const LANES: usize = 3;
/// Kills at each named point, at least.
const EACH: usize = 4;
/// Rounds that an aim may take: a point that needs a deadline to pass is not reached by every life.
const TRIES: usize = 12;
/// A life that does not reach its aim is killed after this.
const LIFE_MS: Ms = 2_500;
/// Filling a WAL takes longer.
const LONG_LIFE_MS: Ms = 15_000;

/// Where a point can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// A new directory's first start.
    Fresh,
    Live,
    Sandbox,
}

/// How a life is to end.
#[derive(Clone, Copy, Debug)]
enum Aim {
    /// At the n-th hit of a point.
    At(Point, u32),
    /// After so many replies.
    After(usize),
}

fn place_of(point: Point) -> Place {
    match point {
        Point::BootFileMade | Point::BootMigrating => Place::Fresh,
        Point::CaptureTaken | Point::ClockMoved | Point::ClockKept => Place::Sandbox,
        _ => Place::Live,
    }
}

/// How many hits of a point a life has, about; a kill is aimed at one of them.
fn hits_of(point: Point) -> usize {
    match point {
        Point::BootIndex
        | Point::BootClock
        | Point::BootEngine
        | Point::BootListening
        | Point::BootFileMade
        | Point::BootMigrating
        | Point::BootMigrated
        | Point::CheckpointCopies
        | Point::CheckpointCopied
        | Point::CheckpointCutsOff
        | Point::CheckpointStartsOver
        | Point::HouseKept
        | Point::DrainBegins
        | Point::DrainSends
        | Point::DrainEnds => 1,
        Point::SweepLooks | Point::DeviceRegistered | Point::AnswerKept | Point::ServeAccepted => 4,
        Point::ClockMoved | Point::ClockKept | Point::CaptureTaken => 6,
        Point::AcksOpened | Point::AcksRecorded | Point::TimerFires | Point::TimerFired => 8,
        Point::FallbackClaims | Point::FallbackClaimed | Point::FallbackSent | Point::FallbackStored => 8,
        Point::SmtpData | Point::SmtpTaken => 8,
        _ => 40,
    }
}

fn beside(aim: Aim) -> Beside {
    match aim {
        Aim::At(Point::CheckpointStartsOver, _) => Beside::Bulk,
        Aim::At(Point::CheckpointCopies | Point::CheckpointCopied | Point::CheckpointCutsOff, _) => Beside::Erasures,
        Aim::At(..) | Aim::After(_) => Beside::Usual,
    }
}

fn is_of_drain(aim: Aim) -> bool {
    matches!(aim, Aim::At(Point::DrainBegins | Point::DrainSends | Point::DrainEnds, _))
}

/// SplitMix64: the plan of a run is the same each time.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % n as u64).unwrap()
    }
}

/// The aims of live and of sandbox servers. Every point `each` times, the rest at random.
fn plan(kills: usize) -> (VecDeque<Aim>, VecDeque<Aim>) {
    let (mut rng, mut live, mut sandbox) = (Rng(19), Vec::new(), Vec::new());
    // Every path of a fallback by text, too.
    let texts = [Point::FallbackClaims, Point::FallbackClaimed, Point::FallbackSent, Point::FallbackStored];
    let each = EACH.max(kills / 2 / Point::ALL.len());
    for n in 0..each {
        for &point in Point::ALL {
            let aim = Aim::At(point, 1 + u32::try_from(rng.below(hits_of(point))).unwrap());
            match place_of(point) {
                // Two are enough of what is done once in a server's life.
                Place::Fresh => {}
                Place::Live if point == Point::CheckpointStartsOver && n > kills / KILLS => {}
                Place::Live => live.push(aim),
                Place::Sandbox => sandbox.push(aim),
            }
        }
        sandbox.extend(texts.map(|point| Aim::At(point, 1 + u32::try_from(rng.below(8)).unwrap())));
    }
    while live.len() + sandbox.len() < kills {
        live.push(Aim::After(1 + rng.below(60)));
    }
    // In no order.
    for aims in [&mut live, &mut sandbox] {
        for n in (1..aims.len()).rev() {
            aims.swap(n, rng.below(n + 1));
        }
    }
    (live.into(), sandbox.into())
}

/// What one lane did.
#[derive(Default)]
struct Tally {
    kills: usize,
    missed: Vec<Point>,
    acted: BTreeMap<String, usize>,
    replies: usize,
    acks: usize,
    effects: usize,
}

/// One server's lives, one after the other.
async fn lane(world: World, mut aims: VecDeque<Aim>) -> Tally {
    let (world, stalls) = (Arc::new(world), Stalls::watch());
    let (mut tally, mut round, mut tries) = (Tally::default(), 0, 0);
    while let Some(&aim) = aims.front() {
        round += 1;
        tally.kills += 1;
        let reached = life(&world, round, aim).await;
        tries += 1;
        if reached || tries == TRIES {
            if let Aim::At(point, _) = aim
                && !reached
            {
                tally.missed.push(point);
            }
            aims.pop_front();
            tries = 0;
        }
    }
    let server = world.start("").unwrap();
    world.repeat(&server.url).await;
    let history = world.end(&server.url, stalls.seen()).await;
    world.killed(server);
    assert_sound(&world.name, &history);
    assert_whole(&world);
    for name in world.logged("act") {
        *tally.acted.entry(name).or_default() += 1;
    }
    (tally.replies, tally.acks) = (history.creates.len(), history.acks.len());
    tally.effects = history.effects.len();
    tally
}

/// Start, load, death; whether it died where it should.
async fn life(world: &Arc<World>, round: usize, aim: Aim) -> bool {
    let acted_before = world.logged("act").len();
    let failpoints = match aim {
        Aim::At(point, nth) => format!("{}:{nth}=kill", point.name()),
        Aim::After(_) => String::new(),
    };
    let acted = || world.logged("act").len() > acted_before;
    // Killed before it listened.
    let Ok(mut server) = world.start(&failpoints) else {
        assert!(acted(), "{}: the server does not start any more", world.name);
        return true;
    };
    if server.is_running() {
        world.repeat(&server.url).await;
        let known: Vec<String> = {
            let facts = world.facts.lock().unwrap();
            facts.history.creates.iter().rev().step_by(4).take(8).map(|create| create.message.clone()).collect()
        };
        for message in known {
            let _ = world.look(&server.url, &message).await;
        }
    }
    let load = Load::start(world, &server.url, round, beside(aim));
    let enough = match aim {
        Aim::After(replies) => Enough { replies, within_ms: LIFE_MS },
        Aim::At(..) if is_of_drain(aim) => Enough { replies: 20, within_ms: LIFE_MS },
        Aim::At(..) if beside(aim) == Beside::Bulk => Enough { replies: usize::MAX, within_ms: LONG_LIFE_MS },
        Aim::At(..) => Enough { replies: usize::MAX, within_ms: LIFE_MS },
    };
    if load.until(&mut server, enough).await && is_of_drain(aim) {
        server.terminate();
        load.until(&mut server, Enough { replies: usize::MAX, within_ms: 2 * LIFE_MS }).await;
    }
    world.killed(server);
    load.end().await;
    matches!(aim, Aim::After(_)) || acted()
}

/// SQLite's own word on the file.
fn assert_whole(world: &World) {
    let db = rusqlite::Connection::open(world.dir.path().join("backstop.db")).unwrap();
    let said: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(said, "ok", "{}", world.name);
}

/// A first start that is killed: the next one begins again, or goes on.
fn fresh(point: Point) -> usize {
    let dir = tempdir().unwrap();
    let log = dir.path().join("failpoints.log");
    let env = [("BACKSTOP_FAILPOINTS_LOG", log.to_str().unwrap())];
    let aim = format!("{}:1=kill", point.name());
    let killed = Server::start(&dir, &["--sandbox"], &[env[0], ("BACKSTOP_FAILPOINTS", &aim)]);
    assert!(killed.is_err(), "{aim} did not act");
    Server::start(&dir, &["--sandbox"], &env).expect("a start after a killed first one").kill();
    std::fs::read_to_string(log).unwrap().lines().filter(|line| line.starts_with("act ")).count()
}

/// P8, D9, P11, invariants 1 to 5, I9: `KILLS` × kill -9 under load. Nothing that was answered is lost, what was acked
/// never falls back, nothing leaves twice, early or unclaimed, everything is decided in time; every point was reached.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn kills_at_every_point_lose_nothing_that_was_answered() {
    let began = now_ms();
    let kills = if is_long() { KILLS_LONG } else { KILLS };
    let (live, sandbox) = plan(kills);
    let mut lanes = tokio::task::JoinSet::new();
    let share = live.len().div_ceil(LANES - 1);
    let live: Vec<Aim> = live.into();
    for (n, aims) in live.chunks(share).enumerate() {
        let aims: VecDeque<Aim> = aims.iter().copied().collect();
        lanes.spawn(async move { lane(World::live(&format!("live {n}")).await, aims).await });
    }
    lanes.spawn(async move { lane(World::sandbox("sandbox").await, sandbox).await });
    let mut all = Tally::default();
    for point in Point::ALL.iter().copied().filter(|point| place_of(*point) == Place::Fresh) {
        all.kills += 1;
        *all.acted.entry(point.name().into()).or_default() += block_in_place(|| fresh(point));
    }
    while let Some(tally) = lanes.join_next().await {
        let tally = tally.unwrap();
        all.kills += tally.kills;
        all.missed.extend(tally.missed);
        (all.replies, all.acks) = (all.replies + tally.replies, all.acks + tally.acks);
        all.effects += tally.effects;
        for (name, times) in tally.acted {
            *all.acted.entry(name).or_default() += times;
        }
    }
    let Tally { kills: done, replies, acks, effects, .. } = all;
    let at_points: usize = all.acted.values().sum();
    let took_s = (now_ms() - began) as f64 / 1_000.0;
    let rate = done as f64 / took_s;
    println!("{done} kills in {took_s:.0} s ({rate:.1}/s), {at_points} of them at {} points", all.acted.len());
    println!(
        "{replies} replies and {acks} acks answered, {effects} fallbacks left: nothing lost, twice, early or late"
    );
    println!("kills by point: {:?}", all.acted);
    let never: Vec<_> = Point::ALL.iter().filter(|point| !all.acted.contains_key(point.name())).collect();
    assert!(never.is_empty(), "no kill at {never:?}: remove the point, or make the load reach it");
    assert!(done >= kills, "{done} kills");
    assert!(replies > kills * 5 && acks > kills && effects > kills, "too little load to tell");
}

/// A server that answers and does not write is caught: transactions are rolled back and said to be done.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn answers_before_the_commit_are_caught() {
    let world = Arc::new(World::live("mutant").await);
    let lies: Vec<String> = (1..10).map(|n| format!("{}:{}=lie", Point::WriteCommits.name(), n * 5)).collect();
    let mut server = world.start(&lies.join(",")).unwrap();
    let load = Load::start(&world, &server.url, 1, Beside::Usual);
    load.until(&mut server, Enough { replies: 60, within_ms: LONG_LIFE_MS }).await;
    world.killed(server);
    load.end().await;
    let server = world.start("").unwrap();
    let history = world.end(&server.url, vec![]).await;
    assert!(!judge(&history).is_empty(), "a server that lies passes as sound");
}
