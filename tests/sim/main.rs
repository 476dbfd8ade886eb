//! The seeded simulation: whole days of companies, phones and failing machines in seconds, the same for the same seed.
//!
//! **What is real**: every rule (`backstop_domain`) and the SDK core's own machine on each phone. **What is a double**:
//! the store with its commit semantics ([`store`]), the engine's loop around the rules ([`node`], [`desk`], [`work`],
//! [`registry`], [`timer`], [`hands`], each named after what it mirrors), providers with moods ([`provider`]), people
//! and networks ([`people`]). A world has 1–4 companies whose message ids collide, up to 56 customers with up to three
//! conversations and phones each, and 1–3 servers.
//!
//! **Chaos** ([`faults`]): crashes on either side of a commit, commits nobody confirmed, pauses longer than a claim,
//! full disks, stalls, outages, failover, power cuts, clocks that step by up to a day, lost and doubled messages.
//! **Then healing**: the faults stop, and everything must come to its end. The [`oracle`] judges every step from
//! outside.
//!
//! A simulation that cannot fail proves nothing: each [`mutant`] breaks one thing on purpose and must be caught, among
//! them two set-ups that cannot keep the promise (a disk that answers before it writes, a standby that lags).
//! Simulated hours count chaos only; `--seed N` tells one seed's life line by line, `--mutant NAME` with a fault in it.

#![allow(clippy::print_stdout, reason = "a harness of its own: what it prints is its result")]

mod desk;
mod faults;
mod hands;
mod mutant;
mod node;
mod oracle;
mod people;
mod phone;
mod provider;
mod registry;
mod rng;
mod store;
mod timer;
mod trace;
mod work;
mod world;

use mutant::{MUTANTS, Mutant};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use world::{HOUR, World};

/// Simulated hours of chaos a seed lives through.
const CHAOS_HOURS: u64 = 6;
const DEFAULT_HOURS: u64 = 600;
/// Seeds that run twice, byte by byte the same.
const TWICE: u64 = 50;
/// Within so many seeds each mutant must be caught.
const MUTANT_SEEDS: u64 = 100;
/// Lines of the trace that a failure shows.
const LAST_LINES: usize = 60;
/// Replies an hour: less would make hours cheap.
const MIN_MESSAGES_AN_HOUR: u64 = 600;
/// What a run of the default length must have come across: a simulation that reaches nothing proves nothing.
const MUST_REACH: &[&str] = &[
    "ack answered late",
    "ack counted",
    "ack duplicate",
    "ack uncounted",
    "acked",
    "acked_by_newer",
    "alerts_denied",
    "asked",
    "all_failed",
    "cancelled",
    "claim nearly over",
    "clock set to the wall clock",
    "clock steps back",
    "clock steps forth",
    "commit not confirmed",
    "conflict",
    "crash after commit",
    "crash before commit",
    "customer_read",
    "customer_wrote",
    "delivered",
    "disk full",
    "effect dropped",
    "email accepted",
    "failed",
    "failover",
    "falling_back",
    "fell_back",
    "foreign cancel",
    "forged ack refused",
    "found by asking",
    "held",
    "killed after record",
    "late ack",
    "left out with a conflict",
    "no_ack",
    "not found twice",
    "no_device",
    "no_fallback_route",
    "outcome offered again",
    "outreach",
    "pause",
    "power cut",
    "provider accepts",
    "provider down",
    "provider fails after taking it",
    "provider rejects",
    "provider resets",
    "provider silent",
    "provider throttles",
    "provider too slow",
    "push expired",
    "push expired before it was sent",
    "rate_limited",
    "repeated under its key",
    "report",
    "retry",
    "sent after its claim",
    "split",
    "store outage",
    "store stalls",
    "suppressed",
    "swept",
    "text accepted",
    "token is gone",
    "token_gone",
    "text held",
    "unknown text",
    "unresolved",
    "wall clock alarm",
];

/// One seed's life, or many's.
#[derive(Default)]
struct Life {
    hours: u64,
    messages: u64,
    followups: u64,
    acks: u64,
    decisions: u64,
    reached: BTreeMap<&'static str, u64>,
    trace: String,
}

impl Life {
    fn add(&mut self, other: Life) {
        self.hours += other.hours;
        self.messages += other.messages;
        self.followups += other.followups;
        self.acks += other.acks;
        self.decisions += other.decisions;
        for (what, times) in other.reached {
            *self.reached.entry(what).or_insert(0) += times;
        }
    }
}

#[derive(Default)]
struct Score {
    passed: u32,
    failed: u32,
}

impl Score {
    fn tell(&mut self, name: &str, result: Result<String, String>) {
        match result {
            Ok(detail) => {
                self.passed += 1;
                println!("test {name} ... ok ({detail})");
            }
            Err(why) => {
                self.failed += 1;
                println!("test {name} ... FAILED\n{why}");
            }
        }
    }
}

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|_| {}));
    let options = Options::read();
    let mut score = Score::default();
    if let Some(seed) = options.seed {
        score.tell(&format!("seed {seed}"), replay(seed, options.mutant));
    } else {
        score.tell("seeds_that_failed_before", known_seeds());
        score.tell("same_seed_same_trace", twice());
        for (mutant, result) in side_by_side(&MUTANTS, |mutant| (*mutant, caught(*mutant))) {
            score.tell(&format!("mutant_{mutant:?}_is_caught"), result);
        }
        score.tell("chaos_then_healing", campaign(options.hours));
    }
    let verdict = if score.failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {verdict}. {} passed; {} failed; 0 ignored; 0 measured; 0 filtered out",
        score.passed, score.failed
    );
    if score.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

struct Options {
    seed: Option<u64>,
    mutant: Option<Mutant>,
    hours: u64,
}

impl Options {
    /// `--seed N`, `--mutant NAME`, `--hours N` or `BACKSTOP_SIM_HOURS`; what the test harness of others would take is
    /// let pass.
    fn read() -> Options {
        let mut options = Options { seed: None, mutant: None, hours: DEFAULT_HOURS };
        if let Some(hours) = std::env::var("BACKSTOP_SIM_HOURS").ok().and_then(|h| h.parse().ok()) {
            options.hours = hours;
        }
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--seed" => options.seed = args.next().and_then(|n| n.parse().ok()),
                "--hours" => options.hours = args.next().and_then(|n| n.parse().ok()).unwrap_or(options.hours),
                "--mutant" => {
                    let name = args.next().unwrap_or_default();
                    options.mutant = MUTANTS.into_iter().find(|mutant| format!("{mutant:?}") == name);
                }
                _ => {}
            }
        }
        options
    }
}

/// D5, D8, D9, P2, P3, P5, P8–P11, C4: one seed, chaos then healing; `Err` tells why.
fn live(seed: u64, mutant: Option<Mutant>, keep_trace: bool) -> (Life, Result<(), String>) {
    let mut world = World::new(seed, mutant, keep_trace);
    let chaos_ms = i64::try_from(CHAOS_HOURS).expect("few") * HOUR;
    let result = catch_unwind(AssertUnwindSafe(|| world.run(chaos_ms))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("panicked: {}", text.unwrap_or_default()))
    });
    let oracle = &mut world.oracle;
    let life = Life {
        hours: CHAOS_HOURS,
        messages: oracle.messages,
        followups: oracle.followups(),
        acks: oracle.acks,
        decisions: oracle.decisions,
        reached: std::mem::take(&mut oracle.reached),
        trace: world.trace.take(),
    };
    (life, result)
}

/// A seed that must hold. One that does not is lived again, to show what came before, and how to see all of it.
fn hold(seed: u64) -> Result<Life, String> {
    let (life, result) = live(seed, None, false);
    let Err(why) = result else { return Ok(life) };
    let trace = live(seed, None, true).0.trace;
    let lines: Vec<&str> = trace.lines().collect();
    let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n  ");
    let replay = format!("cargo test --release -p backstop-sim --test sim -- --seed {seed}");
    Err(format!("  {last}\nseed {seed}: {why}\nreplay: {replay}"))
}

fn replay(seed: u64, mutant: Option<Mutant>) -> Result<String, String> {
    let (life, result) = live(seed, mutant, true);
    print!("{}", life.trace);
    result.map(|()| format!("{} hours, {} replies, {} decisions", life.hours, life.messages, life.decisions))
}

/// New seeds until so many hours were simulated.
fn campaign(wanted: u64) -> Result<String, String> {
    let seeds: Vec<u64> = (0..wanted.div_ceil(CHAOS_HOURS)).collect();
    let mut all = Life::default();
    let mut cpu_ms = 0;
    for (life, ms) in side_by_side(&seeds, |seed| measured(|| hold(*seed))) {
        all.add(life?);
        cpu_ms += ms;
    }
    for (what, times) in &all.reached {
        println!("  {times:>9} {what}");
    }
    let Life { hours, messages, followups, acks, decisions, .. } = all;
    let missed: Vec<&str> = MUST_REACH.iter().copied().filter(|what| !all.reached.contains_key(what)).collect();
    if wanted >= DEFAULT_HOURS && !missed.is_empty() {
        return Err(format!("the simulation never came across: {}", missed.join(", ")));
    }
    let an_hour = messages / hours.max(1);
    if wanted >= DEFAULT_HOURS && an_hour < MIN_MESSAGES_AN_HOUR {
        return Err(format!("{an_hour} replies an hour are too few to count as hours"));
    }
    let speed = (hours * 1_000).checked_div(cpu_ms).map_or_else(|| "unknown".to_owned(), |speed| speed.to_string());
    Ok(format!(
        "{} seeds, {hours} simulated hours at {an_hour} replies an hour, {speed} simulated hours a CPU second; \
         {messages} replies, {followups} follow-ups, {acks} acks, {decisions} decisions",
        seeds.len()
    ))
}

/// Determinism: the same seed lives the same life, to the byte.
fn twice() -> Result<String, String> {
    let seeds: Vec<u64> = (0..TWICE).collect();
    let mut bytes = 0;
    let traces_of = |seed: &u64| {
        let (one, two) = (live(*seed, None, true).0.trace, live(*seed, None, true).0.trace);
        (*seed, one == two, one.len())
    };
    for (seed, same, length) in side_by_side(&seeds, traces_of) {
        if !same {
            return Err(format!("seed {seed} lived two different lives"));
        }
        bytes += length;
    }
    Ok(format!("{TWICE} seeds, {bytes} bytes"))
}

/// A broken shell must be found out.
fn caught(mutant: Mutant) -> Result<String, String> {
    for seed in 0..MUTANT_SEEDS {
        if let Err(why) = live(seed, Some(mutant), false).1 {
            return Ok(format!("{} seeds: {why}", seed + 1));
        }
    }
    Err(format!("{MUTANT_SEEDS} seeds did not notice {mutant:?}"))
}

/// Seeds that once found something, one a file in `tests/fixtures/seeds`: `<seed>.md` says what it was.
fn known_seeds() -> Result<String, String> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/seeds");
    let names = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let stems = names.filter_map(|entry| entry.ok()?.path().file_stem()?.to_str().map(str::to_owned));
    let mut seeds: Vec<u64> = stems.filter_map(|stem| stem.parse().ok()).collect();
    seeds.sort_unstable();
    for life in side_by_side(&seeds, |seed| hold(*seed)) {
        life?;
    }
    Ok(format!("{} seeds", seeds.len()))
}

/// On all cores; the results are in the order of what was given, whoever was first.
fn side_by_side<T: Sync, R: Send>(of: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let (next, results) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some((at, item)) = of.iter().enumerate().nth(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = work(item);
                    results.lock().expect("no thread panics with it").insert(at, result);
                }
            });
        }
    });
    results.into_inner().expect("no thread panics with it").into_values().collect()
}

/// What came of it, and the CPU time it took, in milliseconds; 0 where the system does not tell.
fn measured<R>(work: impl FnOnce() -> R) -> (R, u64) {
    let cpu_ns = || {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0)
    };
    let began_ns = cpu_ns();
    let result = work();
    (result, (cpu_ns() - began_ns) / 1_000_000)
}
