//! The seeded simulation: whole days of companies, phones and failing machines in seconds, the same for the same seed.
//!
//! The rules are the real ones (`backstop_domain`), the phones run the SDK core's own machine; everything around them —
//! store, servers, providers, networks, people — is a double that fails in every way it may. Chaos first, then healing,
//! after which everything must have come to its end.

#![allow(clippy::print_stdout, reason = "a harness of its own: what it prints is its result")]

mod desk;
mod node;
mod oracle;
mod people;
mod phone;
mod provider;
mod rng;
mod store;
mod trace;
mod work;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use world::{HOUR, MUTANTS, Mutant, World};

/// Simulated hours of chaos a seed lives through.
const CHAOS_HOURS: i64 = 6;
const DEFAULT_HOURS: i64 = 1_000;
/// Seeds that run twice, byte by byte the same.
const TWICE: u64 = 5;
/// Within so many seeds each mutant must be caught.
const MUTANT_SEEDS: u64 = 60;
/// What a run of the default length must have come across: a simulation that reaches nothing proves nothing.
const MUST_REACH: [&str; 37] = [
    "ack answered late",
    "ack counted",
    "ack duplicate",
    "ack uncounted",
    "acked",
    "acked_by_newer",
    "alerts_denied",
    "all_failed",
    "cancelled",
    "commit not confirmed",
    "conflict",
    "crash after commit",
    "crash before commit",
    "customer_read",
    "customer_wrote",
    "effect dropped",
    "email accepted",
    "failed",
    "falling_back",
    "fell_back",
    "held",
    "killed after record",
    "late ack",
    "no_ack",
    "no_device",
    "no_fallback_route",
    "outreach",
    "push expired",
    "rate_limited",
    "retry",
    "split",
    "store outage",
    "suppressed",
    "swept",
    "text accepted",
    "token_gone",
    "unknown text",
];

/// One seed's life.
struct Life {
    simulated_ms: i64,
    reached: BTreeMap<&'static str, u64>,
    trace: Option<String>,
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
        score.tell(&format!("seed {seed}"), live(seed, None, false).map(|life| hours(life.simulated_ms)));
    } else {
        score.tell("seeds_that_failed_before", known_seeds());
        score.tell("same_seed_same_trace", twice());
        for mutant in MUTANTS {
            score.tell(&format!("mutant_{mutant:?}_is_caught"), caught(mutant));
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
    hours: i64,
}

impl Options {
    /// `--seed N`, `--hours N`, or `BACKSTOP_SIM_HOURS`; what the test harness of others would take is let pass.
    fn read() -> Options {
        let mut options = Options { seed: None, hours: DEFAULT_HOURS };
        if let Some(hours) = std::env::var("BACKSTOP_SIM_HOURS").ok().and_then(|h| h.parse().ok()) {
            options.hours = hours;
        }
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut number = || args.next().and_then(|n| n.parse::<u64>().ok());
            match arg.as_str() {
                "--seed" => options.seed = number(),
                "--hours" => options.hours = number().and_then(|h| i64::try_from(h).ok()).unwrap_or(options.hours),
                _ => {}
            }
        }
        options
    }
}

/// P2, P3, P5, P8, P9, D5, D8, D9, C4: one seed, chaos then healing; `Err` tells why, how to replay it, and what came
/// before.
fn live(seed: u64, mutant: Option<Mutant>, keep_trace: bool) -> Result<Life, String> {
    let mut world = World::new(seed, mutant, keep_trace);
    let result = catch_unwind(AssertUnwindSafe(|| world.run(CHAOS_HOURS * HOUR)));
    let why = match result {
        Ok(Ok(simulated_ms)) => {
            let reached = std::mem::take(&mut world.oracle.reached);
            return Ok(Life { simulated_ms, reached, trace: world.trace.all.take() });
        }
        Ok(Err(why)) => why,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            format!("panicked: {}", text.unwrap_or_default())
        }
    };
    let last: String = world.trace.last().map(|line| format!("  {line}\n")).collect();
    let replay = format!("cargo test --release -p backstop-sim --test sim -- --seed {seed}");
    Err(format!("{last}seed {seed}: {why}\nreplay: {replay}"))
}

fn hours(ms: i64) -> String {
    format!("{} simulated hours", ms / HOUR)
}

/// New seeds until so many hours were simulated.
fn campaign(wanted: i64) -> Result<String, String> {
    let (mut simulated_ms, mut seed, mut reached) = (0, 0, BTreeMap::new());
    while simulated_ms < wanted * HOUR {
        let life = live(seed, None, false)?;
        simulated_ms += life.simulated_ms;
        for (what, times) in life.reached {
            *reached.entry(what).or_insert(0) += times;
        }
        seed += 1;
    }
    let missed: Vec<&str> = MUST_REACH.into_iter().filter(|what| !reached.contains_key(what)).collect();
    for (what, times) in &reached {
        println!("  {times:>9} {what}");
    }
    if wanted >= DEFAULT_HOURS && !missed.is_empty() {
        return Err(format!("the simulation never came across: {}", missed.join(", ")));
    }
    Ok(format!("{seed} seeds, {}", hours(simulated_ms)))
}

/// Determinism: the same seed lives the same life, to the byte.
fn twice() -> Result<String, String> {
    let mut bytes = 0;
    for seed in 0..TWICE {
        let (one, two) = (live(seed, None, true)?.trace, live(seed, None, true)?.trace);
        if one != two {
            return Err(format!("seed {seed} lived two different lives"));
        }
        bytes += one.map_or(0, |trace| trace.len());
    }
    Ok(format!("{TWICE} seeds, {bytes} bytes"))
}

/// A simulation that cannot fail proves nothing: a broken shell must be found out.
fn caught(mutant: Mutant) -> Result<String, String> {
    for seed in 0..MUTANT_SEEDS {
        if let Err(why) = live(seed, Some(mutant), false) {
            let sentence = why.lines().find(|line| line.starts_with("seed ")).unwrap_or_default();
            return Ok(sentence.to_owned());
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
    for seed in &seeds {
        live(*seed, None, false)?;
    }
    Ok(format!("{} seeds", seeds.len()))
}
