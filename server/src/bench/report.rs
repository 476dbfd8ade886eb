//! What the benchmark says: one table for people, the same numbers as JSON for comparing.

use super::load::{Run, micros, now};
use super::rates::Cpu;
use serde::Serialize;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

/// Everything measured, and where; what was not asked for is absent.
#[derive(Serialize)]
pub(super) struct Report {
    pub(super) commit: String,
    pub(super) optimised: bool,
    pub(super) machine: String,
    pub(super) kernel: String,
    pub(super) connections: usize,
    /// fdatasync of 4 KiB beside the database, before and after: how fast and how quiet the disk was.
    pub(super) fsync_before: Spread,
    pub(super) fsync_after: Spread,
    pub(super) rates: Vec<Rate>,
    pub(super) library: Vec<Rate>,
    pub(super) lateness: Option<Lateness>,
    pub(super) stall: Option<Stall>,
    pub(super) burst: Option<Burst>,
    pub(super) memory: Option<Memory>,
    pub(super) restart: Option<Restart>,
    pub(super) growth: Vec<Depth>,
}

/// One kind of request or call.
#[derive(Serialize)]
pub(super) struct Rate {
    pub(super) what: String,
    /// What was measured: replies, acks.
    pub(super) done: usize,
    pub(super) per_second: f64,
    /// Of the server for each; unlike the rate, it hardly depends on who else uses the machine.
    pub(super) cpu_us: f64,
    /// Of the generator for each request; 0 where it is counted with the server's.
    pub(super) generator_us: f64,
    pub(super) request_us: Spread,
}

/// How late deadlines were decided, and handed to a provider.
#[derive(Serialize)]
pub(super) struct Lateness {
    /// Wake-ups in the timer's index meanwhile, at most.
    pub(super) pending: usize,
    pub(super) measured: usize,
    /// Before the deadline: must be 0.
    pub(super) early: usize,
    /// From the deadline to the decision to fall back.
    pub(super) decided_ms: Spread,
    /// From the deadline to the provider's acceptance: after the commits of the decision and of the claim.
    pub(super) accepted_ms: Spread,
}

/// Deadlines while the store took no write for a while.
#[derive(Serialize)]
pub(super) struct Stall {
    pub(super) stalled_ms: u32,
    /// How much later than the stall itself the latest was decided.
    pub(super) beyond_ms: u32,
    pub(super) lateness: Lateness,
}

/// Very many due at one instant.
#[derive(Serialize)]
pub(super) struct Burst {
    pub(super) due: usize,
    /// From that instant to their decisions.
    pub(super) decided_ms: Spread,
    /// Of replies that were posted and fell due meanwhile.
    pub(super) fresh: Lateness,
}

/// RAM of a server process.
#[derive(Serialize)]
pub(super) struct Memory {
    pub(super) pending: usize,
    /// When it is ready, and after some traffic: with nothing pending, and with everything.
    pub(super) empty_bytes: [u64; 2],
    pub(super) full_bytes: [u64; 2],
    /// The growth for each pending one, with the page cache that their rows fill.
    pub(super) bytes_per_pending: f64,
}

/// A start over much that is pending, after a kill -9.
#[derive(Serialize)]
pub(super) struct Restart {
    pub(super) pending: usize,
    /// From the start of the process to the first `/readyz` that says so.
    pub(super) ready_ms: u32,
    pub(super) overdue: usize,
    /// From the start of the process until all that fell due meanwhile are decided.
    pub(super) overdue_decided_ms: u32,
}

/// The same figures at one number of pending ones.
#[derive(Serialize)]
pub(super) struct Depth {
    pub(super) pending: usize,
    pub(super) creates: Rate,
    pub(super) acks: Rate,
    pub(super) lateness: Lateness,
    pub(super) ready_ms: u32,
    pub(super) rss_bytes: u64,
    pub(super) file_bytes: u64,
}

/// Half of them, and the slow ones.
#[derive(Clone, Copy, Default, Serialize)]
pub(super) struct Spread {
    pub(super) p50: u32,
    pub(super) p99: u32,
    pub(super) p999: u32,
    pub(super) max: u32,
}

impl Spread {
    /// Of sorted values.
    pub(super) fn of(sorted: &[u32]) -> Spread {
        let at = |share: usize| sorted.get((sorted.len() * share / 1_000).min(sorted.len().saturating_sub(1)));
        let value = |share| at(share).copied().unwrap_or(0);
        Spread { p50: value(500), p99: value(990), p999: value(999), max: sorted.last().copied().unwrap_or(0) }
    }

    pub(super) fn of_unsorted(mut values: Vec<u32>) -> Spread {
        values.sort_unstable();
        Spread::of(&values)
    }
}

impl Rate {
    /// `each` = how many of what is counted one request holds; `cpu` = server's and generator's for all of them.
    pub(super) fn of(what: &str, run: &Run, each: usize, cpu: Cpu) -> Rate {
        let requests = run.latencies_us.len();
        let done = requests * each;
        let per = |all_us: i64, of: usize| all_us as f64 / of.max(1) as f64;
        Rate {
            what: what.to_owned(),
            done,
            per_second: run.rate() * each as f64,
            cpu_us: per(cpu.0, done),
            generator_us: per(cpu.1, requests),
            request_us: Spread::of(&run.latencies_us),
        }
    }
}

impl Memory {
    pub(super) fn of(pending: usize, empty_bytes: [u64; 2], full_bytes: [u64; 2]) -> Memory {
        let grown = full_bytes[1].saturating_sub(empty_bytes[1]);
        Memory { pending, empty_bytes, full_bytes, bytes_per_pending: grown as f64 / pending.max(1) as f64 }
    }
}

impl Report {
    /// The table.
    pub(super) fn table(&self) -> String {
        let mut out = String::new();
        let build = if self.optimised { "release" } else { "not optimised: these numbers say nothing" };
        let Report { commit, machine, kernel, connections, fsync_before, fsync_after, .. } = self;
        let _ = writeln!(out, "backstop bench  {commit} ({build})");
        let _ = writeln!(out, "{machine}; {kernel}; {connections} connections, generator on the same cores");
        let _ = writeln!(out, "p50/p99/p99.9/max; fdatasync 4 KiB, µs: {fsync_before} before, {fsync_after} after");
        rates(&mut out, "durable over HTTP", &self.rates);
        rates(&mut out, "durable by calls, no HTTP", &self.library);
        if let Some(lateness) = &self.lateness {
            let _ = writeln!(out, "\nlateness at {lateness}");
        }
        if let Some(Stall { stalled_ms, beyond_ms, lateness }) = &self.stall {
            let _ =
                writeln!(out, "\nstore stalled for {stalled_ms} ms, latest decided {beyond_ms} ms beyond; {lateness}");
        }
        if let Some(Burst { due, decided_ms, fresh }) = &self.burst {
            let _ = writeln!(out, "\n{due} due at one instant, decided after ms: {decided_ms}");
            let _ = writeln!(out, "fresh ones meanwhile, {fresh}");
        }
        if let Some(Memory { pending, empty_bytes, full_bytes, bytes_per_pending }) = &self.memory {
            let mib = |bytes: &[u64; 2]| format!("{:.1} MiB ready, {:.1} after traffic", mib(bytes[0]), mib(bytes[1]));
            let (empty, full) = (mib(empty_bytes), mib(full_bytes));
            let _ =
                writeln!(out, "\nRSS empty {empty}; at {pending} pending {full}: {bytes_per_pending:.0} bytes each");
        }
        if let Some(Restart { pending, ready_ms, overdue, overdue_decided_ms }) = &self.restart {
            let _ = write!(out, "\nstart after kill -9 with {pending} pending: ready after {ready_ms} ms, ");
            let _ = writeln!(out, "{overdue} overdue decided after {overdue_decided_ms} ms");
        }
        growth(&mut out, &self.growth);
        out
    }
}

fn rates(out: &mut String, title: &str, rates: &[Rate]) {
    if rates.is_empty() {
        return;
    }
    let head = ["count", "per second", "server CPU µs", "generator µs"];
    let _ = write!(out, "\n{title:<32}{:>8}{:>12}{:>15}{:>14}", head[0], head[1], head[2], head[3]);
    let _ = writeln!(out, "   request µs");
    for Rate { what, done, per_second, cpu_us, generator_us, request_us } in rates {
        let _ = writeln!(out, "{what:<32}{done:>8}{per_second:>12.0}{cpu_us:>15.1}{generator_us:>14.1}   {request_us}");
    }
}

fn growth(out: &mut String, depths: &[Depth]) {
    if depths.is_empty() {
        return;
    }
    let head = ["pending", "create µs", "ack µs", "decided p50", "p99 ms", "ready ms", "RSS MiB", "file MiB"];
    let _ = writeln!(out);
    head.iter().for_each(|word| _ = write!(out, "{word:>13}"));
    let _ = writeln!(out);
    for Depth { pending, creates, acks, lateness, ready_ms, rss_bytes, file_bytes } in depths {
        let (p50, p99) = (lateness.decided_ms.p50, lateness.decided_ms.p99);
        let (create, ack, rss, file) = (creates.cpu_us, acks.cpu_us, mib(*rss_bytes), mib(*file_bytes));
        let _ = write!(out, "{pending:>13}{create:>13.1}{ack:>13.1}{p50:>13}{p99:>13}");
        let _ = writeln!(out, "{ready_ms:>13}{rss:>13.1}{file:>13.1}");
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Spread { p50, p99, p999, max } = self;
        write!(f, "{p50}/{p99}/{p999}/{max}")
    }
}

impl std::fmt::Display for Lateness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Lateness { pending, measured, early, decided_ms, accepted_ms } = self;
        writeln!(f, "{pending} pending, {measured} measured, {early} early")?;
        write!(f, "deadline to decision ms {decided_ms}; to the provider's acceptance ms {accepted_ms}")
    }
}

/// Cores and processor.
pub(super) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    format!("{cores} cores, {}", model.map_or("unknown processor", |(_, name)| name))
}

/// System and version.
pub(super) fn kernel() -> String {
    let version = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{} {}", std::env::consts::OS, version.trim())
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
    Ok(Spread::of_unsorted(took_us))
}
