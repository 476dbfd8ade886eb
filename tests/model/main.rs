//! A model checker over the real rules: every order of acks, decisions, claims, crashes and failovers, within a budget.
//!
//! The store is rows with versions and atomic commits, nodes forget everything in a crash and may sleep through the end
//! of their claims, providers fail in every way. The first searches must find nothing; the others search designs that
//! are known to fail, and must find it: a search that cannot fail proves nothing.

#![allow(clippy::print_stdout, reason = "a harness of its own: what it prints is its result")]

mod design;
mod engine;
mod oracle;
mod searches;
mod state;
mod step;

use design::Search;
use engine::Model;
use oracle::Met;
use searches::{KNOWN_TO_FAIL, LONG, SOUND};
use stateright::{Checker, HasDiscoveries, Model as _};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

const THREADS: usize = 2;
/// Steps of one search, each state as often as it is come to: a search that grows beyond has not been thought through.
const MAX_STEPS: usize = 5_000_000;
const MAX_STEPS_LONG: usize = 100_000_000;

/// Invariants 1, 4, 5 and 6, P8, and that everything ends (2). `BACKSTOP_LONG` = any value: larger budgets, too.
fn main() -> ExitCode {
    let mut results = Results::default();
    let met = Arc::new(AtomicU32::new(0));
    println!("the design as it is: nothing may be found");
    let long = std::env::var_os("BACKSTOP_LONG").is_some();
    for (search, most) in SOUND.iter().map(|s| (s, MAX_STEPS)).chain(LONG.iter().map(|s| (s, MAX_STEPS_LONG))) {
        if long || most == MAX_STEPS {
            results.sound(search, most, &met);
        }
    }
    let unmet: Vec<_> = Met::ALL.iter().filter(|m| met.load(Ordering::Relaxed) & (1 << **m as u32) == 0).collect();
    if !unmet.is_empty() {
        println!("never came across {unmet:?}");
    }
    results.count(unmet.is_empty());
    println!("known to fail: each must be found");
    for (search, expected) in &KNOWN_TO_FAIL {
        results.known_to_fail(search, expected);
    }
    results.say()
}

#[derive(Default)]
struct Results {
    states: usize,
    passed: u32,
    failed: u32,
}

impl Results {
    fn sound(&mut self, search: &Search, most: usize, met: &Arc<AtomicU32>) {
        let outcome = run(search, HasDiscoveries::AnyFailures, most, THREADS, met);
        outcome.say(search, search.name);
        for (name, way) in &outcome.found {
            println!("  BROKEN: {name}");
            way.iter().for_each(|step| println!("    {step}"));
        }
        if outcome.steps >= most {
            println!("  BROKEN: it did not end");
        }
        self.states += outcome.states;
        self.count(outcome.found.is_empty() && outcome.steps < most);
    }

    /// One thread, so that the way to what is found is as short as any, and the same each time.
    fn known_to_fail(&mut self, search: &Search, expected: &[&'static str]) {
        let until = HasDiscoveries::AllOf(expected.iter().copied().collect());
        let outcome = run(search, until, MAX_STEPS, 1, &Arc::new(AtomicU32::new(0)));
        outcome.say(search, search.name);
        for name in expected {
            match outcome.found.get(name) {
                Some(way) => println!("  not \"{name}\": {}", way.join(" · ")),
                None => println!("  BROKEN: \"{name}\" held"),
            }
        }
        self.states += outcome.states;
        self.count(expected.iter().all(|name| outcome.found.contains_key(name)));
    }

    fn count(&mut self, good: bool) {
        if good { self.passed += 1 } else { self.failed += 1 }
    }

    fn say(&self) -> ExitCode {
        let word = if self.failed == 0 { "ok" } else { "FAILED" };
        println!("{} states", self.states);
        println!("test result: {word}. {} passed; {} failed; 0 ignored", self.passed, self.failed);
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// What a search came to: the rules that do not hold, and the way to where they do not.
struct Outcome {
    found: BTreeMap<&'static str, Vec<String>>,
    states: usize,
    steps: usize,
    depth: usize,
    seconds: f64,
}

impl Outcome {
    fn say(&self, search: &Search, name: &str) {
        let Outcome { states, depth, seconds, .. } = self;
        let nodes = search.nodes;
        println!("- {nodes} nodes, {name}: {states} states, {depth} deep, {seconds:.1} s");
    }
}

#[expect(clippy::disallowed_methods, reason = "how long a search takes is printed")]
fn run(search: &Search, until: HasDiscoveries, most: usize, threads: usize, met: &Arc<AtomicU32>) -> Outcome {
    let began = Instant::now();
    let model = Model::new(*search, Arc::clone(met));
    let checker = model.checker().threads(threads).finish_when(until).target_state_count(most).spawn_bfs().join();
    let ways = checker.discoveries().into_iter();
    let steps = |way: stateright::Path<_, step::Action>| way.into_actions().iter().map(ToString::to_string).collect();
    Outcome {
        found: ways.map(|(name, way)| (name, steps(way))).collect(),
        states: checker.unique_state_count(),
        steps: checker.state_count(),
        depth: checker.max_depth(),
        seconds: began.elapsed().as_secs_f64(),
    }
}
