//! `backstop bench`: what this machine does, durable, with the generator beside the server.
//!
//! The server is the real one on a fresh SQLite file (FULL), in this process but on threads of its own; what it sends
//! is counted and not kept. Every number is of answered requests: an answer comes after the commit. Where a start or
//! the memory of a process is measured, the server is a process of its own.

mod deadlines;
mod deep;
mod host;
mod library;
mod load;
mod rates;
mod report;
mod seed;
mod traffic;

use deep::{Deep, Site};
use host::Host;
use report::{Rate, Report};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::runtime::Runtime;
use traffic::Line;

/// Calls of the engine in flight: as the peers are called, and as many as a busy server has.
const LANES: [usize; 2] = [64, 1_024];
/// Replies of each run of calls, at most: they are few enough to be quick and many enough to be steady.
const MOST_CALLS: usize = 50_000;

/// What to measure.
#[derive(clap::Args)]
pub struct Options {
    /// Where the databases are made; on the disk that is to be measured.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Only this; may be given more than once. All but `growth` when absent.
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// Replies of each kind of run.
    #[arg(long, default_value_t = 50_000)]
    count: usize,
    /// Pending follow-ups while lateness, burst, memory and restart are measured.
    #[arg(long, default_value_t = 100_000)]
    pending: usize,
    /// Follow-ups whose lateness is measured, a thousand a second.
    #[arg(long, default_value_t = 5_000)]
    measured: usize,
    /// Follow-ups of the burst: all due at one instant.
    #[arg(long, default_value_t = 100_000)]
    burst: usize,
    /// The deepest of `growth`, which begins at 1,000 and goes up tenfold.
    #[arg(long, default_value_t = 1_000_000)]
    deepest: usize,
    /// Connections of the generator.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Print JSON instead of the table.
    #[arg(long)]
    json: bool,
    /// Shown in the result: what was measured.
    #[arg(long, default_value = "unnamed commit")]
    commit: String,
    /// Serve this database until killed: what the parts that kill a server start.
    #[arg(long, hide = true)]
    guest: Option<PathBuf>,
}

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Creates and acks over HTTP, one by one and a hundred acks a request.
    Http,
    /// The same by calls of the engine, as the peers' libraries are called.
    Library,
    /// How late deadlines are decided at 1,000 a second.
    Lateness,
    /// The same while the store takes no write for a second.
    Stall,
    /// Very many due at one instant.
    Burst,
    /// Memory of a process and its start after a kill -9.
    Restart,
    /// How the figures grow with what is pending.
    Growth,
}

const USUAL: [Part; 6] = [Part::Http, Part::Library, Part::Lateness, Part::Stall, Part::Burst, Part::Restart];

/// Measures and prints.
pub fn run(options: &Options) -> Result<(), String> {
    if let Some(database) = &options.guest {
        return host::be_guest(database);
    }
    let dir = options.dir.join(format!("backstop-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let report = measure(options, &dir);
    std::fs::remove_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let report = report?;
    let text = if options.json {
        serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?
    } else {
        report.table()
    };
    writeln!(std::io::stdout(), "{text}").map_err(|error| error.to_string())
}

fn measure(options: &Options, dir: &Path) -> Result<Report, String> {
    let parts = if options.only.is_empty() { USUAL.to_vec() } else { options.only.clone() };
    let wanted = |part| parts.contains(&part);
    let generator = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let generator = generator.map_err(|error| error.to_string())?;
    let fsync_before = report::fsync_probe(dir)?;
    let rates = if wanted(Part::Http) { over_http(options, &generator, dir)? } else { Vec::new() };
    let library = if wanted(Part::Library) { by_calls(options, &generator, dir)? } else { Vec::new() };
    let deep = if [Part::Lateness, Part::Stall, Part::Burst, Part::Restart].into_iter().any(wanted) {
        let mut site = Site::make(&generator, dir.join("deep.db"), options.connections)?;
        deep::deep(&generator, &mut site, &parts, [options.pending, options.measured, options.burst])?
    } else {
        Deep::default()
    };
    clear(dir)?;
    let growth = if wanted(Part::Growth) {
        let mut site = Site::make(&generator, dir.join("growth.db"), options.connections)?;
        deep::growth(&generator, &mut site, options.deepest)?
    } else {
        Vec::new()
    };
    clear(dir)?;
    let Deep { lateness, stall, burst, memory, restart } = deep;
    Ok(Report {
        commit: options.commit.clone(),
        optimised: !cfg!(debug_assertions),
        machine: report::machine(),
        kernel: report::kernel(),
        connections: options.connections,
        fsync_before,
        fsync_after: report::fsync_probe(dir)?,
        rates,
        library,
        lateness,
        stall,
        burst,
        memory,
        restart,
        growth,
    })
}

fn over_http(options: &Options, generator: &Runtime, dir: &Path) -> Result<Vec<Rate>, String> {
    let host = Host::start(&dir.join("http.db"))?;
    let workspace = host.workspace("busy")?;
    let line = Line { address: host.address, connections: options.connections };
    let rates = generator.block_on(rates::over_http(&host, line, &workspace, options.count));
    host.stop();
    rates
}

fn by_calls(options: &Options, generator: &Runtime, dir: &Path) -> Result<Vec<Rate>, String> {
    let mut all = Vec::new();
    let count = options.count.min(MOST_CALLS);
    for lanes in LANES {
        let host = Host::start(&dir.join(format!("calls-{lanes}.db")))?;
        let workspace = host.workspace("busy")?;
        let rates = generator.block_on(async {
            let caller = library::Caller::new(&host, &workspace, lanes).await?;
            let replies = caller.replies(count).await?;
            Ok::<_, String>(replies.into_iter().chain(caller.jobs(count).await?))
        });
        host.stop();
        all.extend(rates?);
    }
    Ok(all)
}

/// What is measured next finds the disk's cache as empty of the last databases as can be.
fn clear(dir: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", dir.display());
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        std::fs::remove_file(entry.map_err(failed)?.path()).map_err(failed)?;
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time; no rule sees it")]
async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time; no rule sees it")]
fn turns(every: Duration) -> tokio::time::Interval {
    tokio::time::interval(every)
}
