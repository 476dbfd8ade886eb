//! What the benchmark says: one table for people, the same numbers as JSON for comparing.

use super::load::{Run, micros, now};
use serde::Serialize;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

/// Everything measured, and where.
#[derive(Serialize)]
pub(super) struct Report {
    pub(super) commit: String,
    pub(super) optimised: bool,
    pub(super) machine: String,
    pub(super) connections: usize,
    /// fdatasync of 4 KiB beside the database, before and after: how fast and how quiet the disk was.
    pub(super) fsync_before: Spread,
    pub(super) fsync_after: Spread,
    pub(super) rates: Vec<Rate>,
    pub(super) lateness: Option<Lateness>,
}

/// One kind of request.
#[derive(Serialize)]
pub(super) struct Rate {
    pub(super) what: &'static str,
    /// What was measured: replies, acks.
    pub(super) done: usize,
    pub(super) per_second: f64,
    /// Of the server for each; unlike the rate, it does not depend on who else uses the machine.
    pub(super) cpu_us: f64,
    pub(super) request_us: Spread,
}

/// How late deadlines were decided, and handed to a provider.
#[derive(Serialize)]
pub(super) struct Lateness {
    /// Wake-ups that were left when the measured ones were due.
    pub(super) pending: usize,
    pub(super) measured: usize,
    /// Before the deadline: must be 0.
    pub(super) early: usize,
    /// From the deadline to the decision to fall back.
    pub(super) decided_ms: Spread,
    /// From the deadline to the provider's acceptance: after the commits of the decision and of the claim.
    pub(super) accepted_ms: Spread,
}

/// Half of them, and the slow ones.
#[derive(Clone, Copy, Default, Serialize)]
pub(super) struct Spread {
    pub(super) p50: u32,
    pub(super) p99: u32,
    pub(super) max: u32,
}

impl Spread {
    /// Of sorted values.
    pub(super) fn of(sorted: &[u32]) -> Spread {
        let at = |share: usize| sorted.get((sorted.len() * share / 100).min(sorted.len().saturating_sub(1)));
        let value = |share| at(share).copied().unwrap_or(0);
        Spread { p50: value(50), p99: value(99), max: sorted.last().copied().unwrap_or(0) }
    }
}

impl Rate {
    /// `each` = how many of what is counted one request holds; `cpu_us` = the server's for all of them.
    pub(super) fn of(what: &'static str, run: &Run, each: usize, cpu_us: i64) -> Rate {
        let done = run.latencies_us.len() * each;
        let (per_second, cpu_us) = (run.rate() * each as f64, cpu_us as f64 / done.max(1) as f64);
        Rate { what, done, per_second, cpu_us, request_us: Spread::of(&run.latencies_us) }
    }
}

impl Report {
    /// The table.
    pub(super) fn table(&self) -> String {
        let mut out = String::new();
        let build = if self.optimised { "release" } else { "not optimised: these numbers say nothing" };
        let Report { commit, machine, connections, fsync_before, fsync_after, .. } = self;
        let _ = writeln!(out, "backstop bench  {commit} ({build})");
        let _ = writeln!(out, "{machine}; {connections} connections, generator on the same cores");
        let (before, after) = (slashed(fsync_before), slashed(fsync_after));
        let _ = writeln!(out, "fdatasync 4 KiB, p50/p99/max µs: {before} before, {after} after");
        let head = ["durable over HTTP", "count", "per second", "server CPU µs each"];
        let _ = writeln!(out, "\n{:<32}{:>8}{:>12}{:>20}   request p50/p99/max µs", head[0], head[1], head[2], head[3]);
        for Rate { what, done, per_second, cpu_us, request_us } in &self.rates {
            let _ = writeln!(out, "{what:<32}{done:>8}{per_second:>12.0}{cpu_us:>20.1}   {}", slashed(request_us));
        }
        if let Some(lateness) = &self.lateness {
            let Lateness { pending, measured, early, decided_ms, accepted_ms } = lateness;
            let _ =
                writeln!(out, "\nlateness at {pending} pending, {measured} measured, {early} early; p50/p99/max ms");
            let _ = writeln!(out, "deadline to decision                  {}", slashed(decided_ms));
            let _ = writeln!(out, "deadline to provider's acceptance     {}", slashed(accepted_ms));
        }
        out
    }
}

fn slashed(spread: &Spread) -> String {
    format!("{}/{}/{}", spread.p50, spread.p99, spread.max)
}

/// Cores and processor.
pub(super) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    format!("{cores} cores, {}", model.map_or("unknown processor", |(_, name)| name))
}

/// How long the disk under `dir` takes for a durable 4 KiB.
pub(super) fn fsync_probe(dir: &Path) -> Result<Spread, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", dir.display());
    let path = dir.join("fsync-probe");
    let mut file = std::fs::File::create(&path).map_err(failed)?;
    let mut took_us = Vec::new();
    for _ in 0..300 {
        let began = now();
        file.write_all(&[7; 4096]).map_err(failed)?;
        file.sync_data().map_err(failed)?;
        took_us.push(micros(began));
    }
    std::fs::remove_file(&path).map_err(failed)?;
    took_us.sort_unstable();
    Ok(Spread::of(&took_us))
}
