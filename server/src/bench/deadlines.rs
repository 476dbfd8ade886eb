//! How late deadlines are decided: at a steady rate, with the store stalled, and when very many come at once.

use super::host::{Host, store};
use super::load::{Caller, now, request, since};
use super::report::{Burst, Lateness, Spread, Stall};
use super::seed::{Due, Pattern};
use super::traffic::{Line, SHORT_WAIT_MS, reply, settled};
use super::{pause, turns};
use crate::registry::Created;
use crate::store::{Lane, SqliteStore, Store as _};
use backstop_domain::Ms;
use backstop_wire::time::from_rfc3339;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// Those whose lateness is measured: so many a second, posted so many at a time.
const PER_SECOND: usize = 1_000;
const SLICE: usize = 50;
/// Fresh ones while very many are due.
const FRESH_PER_SECOND: usize = 200;
const FRESH_SLICE: usize = 10;
/// From the start of a burst's seeding to its instant: for the server's start, and for each that is seeded.
const BURST_AHEAD_MS: Ms = 15_000;
const SEEDED_PER_MS: Ms = 5;
/// A burst that is not decided by then is reported as it stands.
const BURST_WITHIN_S: usize = 60;
/// How long the store stands still.
const STALL: Duration = Duration::from_secs(1);

/// What is measured: one server, one workspace with a short wait.
pub(super) struct Watch<'a> {
    pub(super) host: &'a Host,
    pub(super) line: Line,
    pub(super) workspace: &'a Created,
    /// Its customers, `u-0` and so on.
    pub(super) customers: usize,
    /// The number of its next reply.
    pub(super) next: &'a mut usize,
}

impl Watch<'_> {
    /// Replies at a steady rate, each due a second later.
    pub(super) async fn lateness(&mut self, count: usize) -> Result<Lateness, String> {
        let from = self.time();
        let pending = self.post(count, PER_SECOND, SLICE).await?;
        self.fell_due().await?;
        Ok(Lateness { pending, ..read(self.line, self.workspace, Ask::since(from)).await? })
    }

    /// The same, while the store takes nothing for a second: another connection holds SQLite's write lock.
    pub(super) async fn stall(&mut self, database: &Path) -> Result<Stall, String> {
        let from = self.time();
        let database = database.to_owned();
        let holder = std::thread::spawn(move || hold(&database));
        let pending = self.post(4 * PER_SECOND, PER_SECOND, SLICE).await?;
        self.fell_due().await?;
        let held = holder.join().map_err(|_| "the lock's holder panicked")??;
        let lateness = Lateness { pending, ..read(self.line, self.workspace, Ask::since(from)).await? };
        let stalled_ms = u32::try_from(held.as_millis()).unwrap_or(u32::MAX);
        Ok(Stall { stalled_ms, beyond_ms: lateness.decided_ms.max.saturating_sub(stalled_ms), lateness })
    }

    fn time(&self) -> Ms {
        self.host.engine.clocks().real_ms()
    }

    /// Posts replies at a rate; answers how many were pending at most.
    async fn post(&mut self, count: usize, per_second: usize, slice: usize) -> Result<usize, String> {
        let numbers: Vec<usize> = (*self.next..*self.next + count).collect();
        *self.next += count;
        let mut pending = 0;
        let mut turns = turns(Duration::from_millis((slice * 1_000 / per_second) as u64));
        for slice in numbers.chunks(slice) {
            turns.tick().await;
            let replies = slice.iter().map(|n| reply(self.workspace, *n, n % self.customers)).collect();
            self.line.drive(replies).await?;
            pending = pending.max(self.host.engine.stats().pending);
        }
        Ok(pending)
    }

    /// The last of them fall due, and what they send is accepted.
    async fn fell_due(&self) -> Result<(), String> {
        pause(Duration::from_millis(SHORT_WAIT_MS as u64 + 500)).await;
        settled(self.host).await
    }
}

fn hold(database: &Path) -> Result<Duration, String> {
    let failed = |error: rusqlite::Error| error.to_string();
    let db = rusqlite::Connection::open(database).map_err(failed)?;
    db.busy_timeout(STALL).map_err(failed)?;
    wait(2 * STALL);
    db.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
    let began = now();
    wait(STALL);
    db.execute_batch("ROLLBACK").map_err(failed)?;
    Ok(since(began))
}

/// Whether everything that was due by then is decided.
pub(super) async fn nothing_is_due(store: &SqliteStore, by: Ms) -> Result<bool, String> {
    store.due(Lane::Real, by, 1).await.map(|due| due.is_empty()).map_err(|error| error.to_string())
}

/// Seeds `count` that are all due at one instant; answers it.
pub(super) async fn seed_burst(pattern: &mut Pattern, database: &Path, count: usize, now: Ms) -> Result<Ms, String> {
    let at = now + BURST_AHEAD_MS + count as Ms / SEEDED_PER_MS;
    pattern.add(database, count, Due::At(at)).await?;
    Ok(at)
}

/// Waits for the instant that [`seed_burst`] chose, and posts fresh replies until the burst is decided. What all of
/// them send takes longer: it is waited for after the numbers are taken, so that it is in nobody's way.
pub(super) async fn burst(
    watch: &mut Watch<'_>,
    database: &Path,
    crowd: &Created,
    count: usize,
    at: Ms,
) -> Result<Burst, String> {
    let (watched, _) = store(database)?;
    let left_ms = at - watch.time() - 500;
    if left_ms < 0 {
        return Err(format!("the server was ready {} ms too late for the burst", -left_ms));
    }
    pause(Duration::from_millis(left_ms as u64)).await;
    let from = watch.time();
    for _ in 0..BURST_WITHIN_S {
        watch.post(FRESH_PER_SECOND, FRESH_PER_SECOND, FRESH_SLICE).await?;
        if watch.time() > at + 4_000 && nothing_is_due(&watched, at).await? {
            break;
        }
    }
    let last_fresh = watch.time() + SHORT_WAIT_MS;
    for _ in 0..BURST_WITHIN_S * 20 {
        pause(Duration::from_millis(50)).await;
        if watch.time() > last_fresh && nothing_is_due(&watched, last_fresh).await? {
            break;
        }
    }
    let all = read(watch.line, crowd, Ask { from: 0, due_at: Some(at), most: count }).await?;
    let fresh = read(watch.line, watch.workspace, Ask::since(from)).await?;
    settled(watch.host).await?;
    Ok(Burst { due: all.measured, decided_ms: all.decided_ms, fresh })
}

/// Which follow-ups of a workspace.
struct Ask {
    /// Accepted then or later.
    from: Ms,
    /// With exactly this deadline.
    due_at: Option<Ms>,
    /// No more than these.
    most: usize,
}

impl Ask {
    fn since(from: Ms) -> Ask {
        Ask { from, due_at: None, most: usize::MAX }
    }
}

/// How late these were decided, and what they sent was accepted.
async fn read(line: Line, workspace: &Created, ask: Ask) -> Result<Lateness, String> {
    let bearer = format!("authorization: Bearer {}\r\n", workspace.api_key);
    let (mut decided, mut accepted, mut early) = (Vec::new(), Vec::new(), 0);
    let mut caller = Caller::connect(line.address).await?;
    let mut path = "/v1/followups?limit=200".to_owned();
    'pages: loop {
        let answer = caller.ask(&request("GET", &path, &bearer, "")).await?;
        let page: Value = serde_json::from_slice(answer).map_err(|error| error.to_string())?;
        for followup in page["data"].as_array().into_iter().flatten() {
            let at = |value: &Value| value.as_str().and_then(from_rfc3339);
            let (accepted_at, deadline) = (at(&followup["accepted_at"]), at(&followup["deadline_at"]));
            let (Some(accepted_at), Some(deadline)) = (accepted_at, deadline) else { continue };
            if accepted_at < ask.from || decided.len() >= ask.most {
                break 'pages;
            }
            if ask.due_at.is_some_and(|due_at| due_at != deadline) {
                continue;
            }
            // One that is not decided at all counts as late beyond measure.
            let late = at(&followup["decided_at"]).map_or(i64::from(u32::MAX), |at| at - deadline);
            early += usize::from(late < 0);
            decided.push(u32::try_from(late.max(0)).unwrap_or(u32::MAX));
            let deliveries = followup["deliveries"].as_array().into_iter().flatten();
            for sent in deliveries.filter(|d| d["channel"] != "push" && d["status"] == "accepted") {
                let late = at(&sent["at"]).map_or(0, |at| at - deadline);
                accepted.push(u32::try_from(late.max(0)).unwrap_or(u32::MAX));
            }
        }
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/v1/followups?limit=200&after={cursor}"),
            None => break,
        }
    }
    let measured = decided.len();
    let (decided_ms, accepted_ms) = (Spread::of_unsorted(decided), Spread::of_unsorted(accepted));
    Ok(Lateness { pending: 0, measured, early, decided_ms, accepted_ms })
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time; no rule sees it")]
fn wait(time: Duration) {
    std::thread::sleep(time);
}
