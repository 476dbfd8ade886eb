//! Due rows → events: an exact index in memory, and behind it a sweep over the store.
//!
//! Losing the index loses nothing: the sweep finds what it forgot, and the store alone is believed.

use crate::clock::Clocks;
use crate::engine::desk::Rearmed;
use crate::engine::{Engine, Stats};
use crate::store::{Due, Lane, WorkspaceId};
use backstop_domain::Ms;
use backstop_domain::followup::{Wake, WakeReason};
use backstop_domain::ids::FollowupId;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};

/// How often the store is asked for due rows that the index does not know.
const SWEEP_MS: u64 = 250;
/// Rows one sweep takes; the rest comes with the next.
const SWEEP_ROWS: usize = 2_048;
/// Rows loaded at a time when the index is filled at start.
const FILL_ROWS: usize = 20_000;
/// Wake-ups handed to the engine between two looks at the clock.
const FIRE_ROWS: usize = 2_048;
/// Wake-ups under way: two commits' worth keeps the engine busy, and an ack that comes in the middle of very many
/// deadlines stands behind these and not behind all.
const UNDER_WAY: usize = 2_048;
/// The longest nap: a clock that was slewed or a suspend is noticed after it.
const MAX_NAP_MS: Ms = 250;

const DAY_MS: Ms = 86_400_000;
/// How long message texts are kept (S8).
const TEXT_KEPT_MS: Ms = 90 * DAY_MS;
/// How long follow-ups, their history and deliveries are kept (S8).
const FOLLOWUP_KEPT_MS: Ms = 365 * DAY_MS;
/// How long answers to an `Idempotency-Key` are kept (W3).
const ANSWER_KEPT_MS: Ms = DAY_MS;
/// Rows one step of retention takes: it shares the writer with everyone else.
const RETIRE_ROWS: usize = 500;
const RETIRE_PAUSE_MS: Ms = 100;
const RETIRE_EVERY_MS: Ms = 600_000;

type Entry = (Ms, FollowupId, WorkspaceId);

/// The index of exact wake-ups of the real lane: 24 bytes and a share of a tree node each, never a task.
pub struct Timer {
    clocks: Arc<Clocks>,
    index: Mutex<BTreeSet<Entry>>,
    earlier: Notify,
    stopped: AtomicBool,
    ready: AtomicBool,
    places: Arc<Semaphore>,
}

impl Timer {
    pub(crate) fn new(clocks: Arc<Clocks>) -> Timer {
        Timer {
            clocks,
            index: Mutex::default(),
            earlier: Notify::new(),
            stopped: AtomicBool::new(false),
            ready: AtomicBool::new(false),
            places: Arc::new(Semaphore::new(UNDER_WAY)),
        }
    }

    /// Wake-ups it knows.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether everything that was pending at start is in the index.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.earlier.notify_one();
    }

    /// Takes changes in, after they are durable.
    pub(crate) fn rearm(&self, changes: &[Rearmed]) {
        if changes.is_empty() {
            return;
        }
        let mut index = self.lock();
        let first = index.first().map(|entry| entry.0);
        for change in changes {
            if let Some(old) = change.old {
                index.remove(&(old.at, change.id, change.workspace));
            }
            if let Some(new) = change.new
                && self.clocks.frozen_at(change.workspace).is_none()
            {
                index.insert((new.at, change.id, change.workspace));
            }
        }
        let now_first = index.first().map(|entry| entry.0);
        drop(index);
        if now_first.is_some_and(|at| first.is_none_or(|first| at < first)) {
            self.earlier.notify_one();
        }
    }

    fn take_due(&self, now: Ms) -> Vec<Entry> {
        let mut index = self.lock();
        let mut due = Vec::new();
        while due.len() < FIRE_ROWS
            && let Some(entry) = index.first().copied().filter(|entry| entry.0 <= now)
        {
            index.pop_first();
            due.push(entry);
        }
        due
    }

    fn next(&self) -> Option<Ms> {
        self.lock().first().map(|entry| entry.0)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Entry>> {
        self.index.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Starts the fire loop, the sweep and the housekeeping.
pub(crate) fn start(engine: &Engine) {
    engine.start_loop("housekeeping", keep_house(engine.clone()));
    engine.start_loop("timer", fill(engine.clone()));
    engine.start_loop("timer", fire(engine.clone()));
    engine.start_loop("timer", sweep(engine.clone()));
}

/// Everything pending goes into the index; offers nobody took before the restart are due at once.
async fn fill(engine: Engine) {
    let timer = Arc::clone(engine.timer());
    let mut after = (Ms::MIN, FollowupId(0));
    while !timer.stopped.load(Ordering::Acquire) {
        let page = match engine.store().pending(after, FILL_ROWS).await {
            Ok(page) => page,
            Err(error) => {
                tracing::error!(%error, "the timer's index could not be filled; the sweep carries on");
                break;
            }
        };
        let Some(last) = page.last() else { break };
        after = (last.wake.at, last.id);
        let armed: Vec<Rearmed> = page.iter().map(at_start).collect();
        timer.rearm(&armed);
        if page.len() < FILL_ROWS {
            break;
        }
    }
    timer.ready.store(true, Ordering::Release);
}

fn at_start(due: &Due) -> Rearmed {
    let at = if due.wake.why == WakeReason::Offer { 0 } else { due.wake.at };
    Rearmed { workspace: due.workspace, id: due.id, old: None, new: Some(Wake { at, why: due.wake.why }) }
}

async fn fire(engine: Engine) {
    let timer = Arc::clone(engine.timer());
    let clocks = Arc::clone(engine.clocks());
    while !timer.stopped.load(Ordering::Acquire) {
        let due = timer.take_due(clocks.real_ms());
        if due.is_empty() {
            let nap_ms = timer.next().map_or(MAX_NAP_MS, |at| (at - clocks.real_ms()).clamp(0, MAX_NAP_MS));
            nap(&timer.earlier, nap_ms).await;
            continue;
        }
        for (_, id, workspace) in due {
            wake(&engine, workspace, id).await;
        }
    }
}

async fn sweep(engine: Engine) {
    let timer = Arc::clone(engine.timer());
    let never = Notify::new();
    let mut stepped = false;
    while !timer.stopped.load(Ordering::Acquire) {
        nap(&never, SWEEP_MS as Ms).await;
        let until = engine.clocks().real_ms() - SWEEP_MS as Ms;
        match engine.store().due(Lane::Real, until, SWEEP_ROWS).await {
            Ok(due) => {
                for due in due {
                    wake(&engine, due.workspace, due.id).await;
                }
            }
            Err(error) => tracing::error!(%error, "the sweep could not read the store"),
        }
        metrics::gauge!("backstop_pending_followups").set(timer.len() as f64);
        watch_clock(&engine, &mut stepped);
    }
}

/// Retention (S8): what has outlived its purpose goes, a little at a time.
async fn keep_house(engine: Engine) {
    let timer = Arc::clone(engine.timer());
    let never = Notify::new();
    while !timer.stopped.load(Ordering::Acquire) {
        let now = engine.clocks().real_ms();
        let retired =
            engine.store().retire(now - TEXT_KEPT_MS, now - FOLLOWUP_KEPT_MS, now - ANSWER_KEPT_MS, RETIRE_ROWS);
        match retired.await {
            Ok(rows) if rows >= RETIRE_ROWS => nap(&never, RETIRE_PAUSE_MS).await,
            Ok(_) => nap(&never, RETIRE_EVERY_MS).await,
            Err(error) => {
                tracing::error!(%error, "retention waits for the store");
                nap(&never, RETIRE_EVERY_MS).await;
            }
        }
    }
}

async fn wake(engine: &Engine, workspace: WorkspaceId, id: FollowupId) {
    if engine.clocks().frozen_at(workspace).is_some() {
        return;
    }
    match engine.registry().by_id(workspace).await {
        Ok(Some(ws)) => {
            // Never closed.
            if let Ok(place) = Arc::clone(&engine.timer().places).acquire_owned().await {
                engine.woke(ws, id, place).await;
            }
        }
        // Dropped meanwhile, with everything in it.
        Ok(None) => {}
        Err(error) => tracing::error!(%error, "a wake-up waits for the next sweep"),
    }
}

/// Time as measured does not follow a step of the wall clock while anything is measured by it; the operator must hear
/// of one.
fn watch_clock(engine: &Engine, stepped: &mut bool) {
    let clock = engine.clocks().real();
    let offset_ms = clock.wall_offset_ms();
    metrics::gauge!("backstop_wall_clock_offset_seconds").set(offset_ms as f64 / 1000.0);
    let is_stepped = offset_ms.abs() > crate::clock::STEP_ALARM_MS;
    if is_stepped && !*stepped {
        metrics::counter!("backstop_alarms_total", "alarm" => "wall_clock_step").increment(1);
        tracing::error!(offset_ms, "the wall clock stepped; what is pending goes on by elapsed time");
    }
    if is_stepped && engine.stats() == (Stats { pending: 0, queued: 0, sending: 0 }) {
        clock.set_to_wall();
        tracing::info!(offset_ms, "nothing is pending: the clock is set to the wall clock");
    }
    *stepped = is_stepped;
}

#[expect(clippy::disallowed_methods, reason = "the one place that sleeps: it is what a timer is")]
async fn nap(earlier: &Notify, ms: Ms) {
    let ms = u64::try_from(ms).unwrap_or(0);
    tokio::select! {
        () = tokio::time::sleep(Duration::from_millis(ms)) => {}
        () = earlier.notified() => {}
    }
}
