//! Due rows → events: an exact index in memory, and behind it a sweep over the store.
//!
//! Losing the index loses nothing: the sweep finds what it forgot, and the store alone is believed.

use crate::clock::Clocks;
use crate::engine::desk::Rearmed;
use crate::engine::{Engine, Stats};
use crate::failpoint::{Point, hit};
use crate::retention;
use crate::store::{Due, Lane, WorkspaceId};
use crate::workspace::Workspace;
use backstop_domain::Ms;
use backstop_domain::followup::{Wake, WakeReason};
use backstop_domain::ids::FollowupId;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// How often the store is asked for due rows that the index does not know.
const SWEEP_MS: u64 = 250;
/// Rows one sweep takes; the rest comes with the next, at once if there are more.
const SWEEP_ROWS: usize = 16_384;
/// Rows loaded at a time when the index is filled at start.
const FILL_ROWS: usize = 20_000;
/// Wake-ups handed to the engine between two looks at the clock.
const FIRE_ROWS: usize = 2_048;
/// Wake-ups under way: two commits' worth keeps the engine busy, and an ack that comes in the middle of very many
/// deadlines stands behind these and not behind all.
const UNDER_WAY: usize = 2_048;
/// Wake-ups handed on together.
const HAND_ROWS: usize = 256;
/// The longest nap: a clock that was slewed or a suspend is noticed after it.
const MAX_NAP_MS: Ms = 250;

type Entry = (Ms, FollowupId, WorkspaceId);

/// Exact wake-ups of the real lane: 24 bytes and a share of a tree node each, never a task.
#[derive(Default)]
struct Index {
    waiting: BTreeSet<Entry>,
    /// Those that the engine was handed and that are not durable yet: the sweep must not bring them again.
    under_way: HashSet<FollowupId>,
}

/// The index, and what bounds how much of it is under way at once.
pub struct Timer {
    clocks: Arc<Clocks>,
    index: Mutex<Index>,
    earlier: Notify,
    stopped: AtomicBool,
    ready: AtomicBool,
    places: Arc<Semaphore>,
    /// Held by the engine from the first look at the time to the commit of what was decided by it.
    pub(crate) deciding: tokio::sync::Mutex<()>,
}

/// Held by a wake-up under way, until it is durable or given up.
pub(crate) struct Place {
    timer: Arc<Timer>,
    id: FollowupId,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.timer.lock().under_way.remove(&self.id);
    }
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
            deciding: tokio::sync::Mutex::default(),
        }
    }

    /// Wake-ups it knows.
    pub fn len(&self) -> usize {
        self.lock().waiting.len()
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
        let first = index.waiting.first().map(|entry| entry.0);
        for change in changes {
            if let Some(old) = change.old {
                index.waiting.remove(&(old.at, change.id, change.workspace));
            }
            if let Some(new) = change.new
                && self.clocks.frozen_at(change.workspace).is_none()
            {
                index.waiting.insert((new.at, change.id, change.workspace));
            }
        }
        let now_first = index.waiting.first().map(|entry| entry.0);
        drop(index);
        if now_first.is_some_and(|at| first.is_none_or(|first| at < first)) {
            self.earlier.notify_one();
        }
    }

    fn take_due(&self, now: Ms) -> Vec<Entry> {
        let mut index = self.lock();
        let mut due = Vec::new();
        while due.len() < FIRE_ROWS
            && let Some(entry) = index.waiting.first().copied().filter(|entry| entry.0 <= now)
        {
            index.waiting.pop_first();
            index.under_way.insert(entry.1);
            due.push(entry);
        }
        due
    }

    /// Whether the loops are to end.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Those of the store's due rows that the index does not know, and that are not under way.
    fn unknown(&self, due: &[Due]) -> Vec<Entry> {
        let mut index = self.lock();
        let entry = |at, due: &Due| (at, due.id, due.workspace);
        let known = |index: &Index, due: &Due| {
            let indexed = [due.wake.at, at_start(due)].into_iter().any(|at| index.waiting.contains(&entry(at, due)));
            indexed || index.under_way.contains(&due.id)
        };
        let unknown: Vec<Entry> =
            due.iter().filter(|due| !known(&index, due)).map(|due| entry(due.wake.at, due)).collect();
        index.under_way.extend(unknown.iter().map(|entry| entry.1));
        unknown
    }

    fn next(&self) -> Option<Ms> {
        self.lock().waiting.first().map(|entry| entry.0)
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Starts the fire loop, the sweep and the housekeeping.
pub(crate) fn start(engine: &Engine) {
    engine.start_loop("housekeeping", retention::keep_house(engine.clone()));
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
        hit(Point::BootIndex);
        let armed = page.iter().map(|due| {
            let new = Some(Wake { at: at_start(due), why: due.wake.why });
            Rearmed { workspace: due.workspace, id: due.id, old: None, new }
        });
        timer.rearm(&armed.collect::<Vec<_>>());
        if page.len() < FILL_ROWS {
            break;
        }
    }
    timer.ready.store(true, Ordering::Release);
}

/// When it is due after a start.
fn at_start(due: &Due) -> Ms {
    if due.wake.why == WakeReason::Offer { 0 } else { due.wake.at }
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
        hit(Point::TimerFires);
        wake(&engine, due).await;
        hit(Point::TimerFired);
    }
}

async fn sweep(engine: Engine) {
    let timer = Arc::clone(engine.timer());
    let never = Notify::new();
    let (mut stepped, mut is_behind) = (false, false);
    while !timer.stopped.load(Ordering::Acquire) {
        if !is_behind {
            nap(&never, SWEEP_MS as Ms).await;
        }
        hit(Point::SweepLooks);
        let until = engine.clocks().real_ms() - SWEEP_MS as Ms;
        match engine.store().due(Lane::Real, until, SWEEP_ROWS).await {
            Ok(due) => {
                let unknown = timer.unknown(&due);
                is_behind = due.len() >= SWEEP_ROWS && !unknown.is_empty();
                wake(&engine, unknown).await;
            }
            Err(error) => {
                is_behind = false;
                tracing::error!(%error, "the sweep could not read the store");
            }
        }
        metrics::gauge!("backstop_pending_followups").set(timer.len() as f64);
        watch_clock(&engine, &mut stepped).await;
    }
}

/// Hands wake-ups to the engine, in order, as places come free.
async fn wake(engine: &Engine, due: Vec<Entry>) {
    let timer = engine.timer();
    let mut workspaces: HashMap<WorkspaceId, Option<Arc<Workspace>>> = HashMap::new();
    for some in due.chunks(HAND_ROWS) {
        let wanted = u32::try_from(some.len()).unwrap_or(u32::MAX);
        // Never closed.
        let Ok(mut permits) = Arc::clone(&timer.places).acquire_many_owned(wanted).await else { return };
        let mut woken = Vec::with_capacity(some.len());
        for (_, id, workspace) in some {
            // Dropped, if the wake-up goes no further.
            let Some(_permit) = permits.split(1) else { return };
            let place = Place { timer: Arc::clone(timer), id: *id, _permit };
            if !workspaces.contains_key(workspace) {
                workspaces.insert(*workspace, awake(engine, *workspace).await);
            }
            if let Some(Some(ws)) = workspaces.get(workspace) {
                woken.push((Arc::clone(ws), *id, place));
            }
        }
        engine.woke(woken).await;
    }
}

/// The workspace, if its wake-ups run on real time.
async fn awake(engine: &Engine, workspace: WorkspaceId) -> Option<Arc<Workspace>> {
    if engine.clocks().frozen_at(workspace).is_some() {
        return None;
    }
    // None: dropped meanwhile, with everything in it.
    engine.registry().by_id(workspace).await.unwrap_or_else(|error| {
        tracing::error!(%error, "wake-ups wait for the next sweep");
        None
    })
}

/// Time as measured does not follow a step of the wall clock while anything is measured by it; the operator must hear
/// of one.
async fn watch_clock(engine: &Engine, stepped: &mut bool) {
    let clock = engine.clocks().real();
    let offset_ms = clock.wall_offset_ms();
    metrics::gauge!("backstop_wall_clock_offset_seconds").set(offset_ms as f64 / 1000.0);
    let is_stepped = offset_ms.abs() > crate::clock::STEP_ALARM_MS;
    if is_stepped && !*stepped {
        metrics::counter!("backstop_alarms_total", "alarm" => "wall_clock_step").increment(1);
        tracing::error!(offset_ms, "the wall clock stepped; what is pending goes on by elapsed time");
    }
    if is_stepped
        && engine.stats() == (Stats { pending: 0, queued: 0, sending: 0 })
        // Nothing is half decided, so what the store knows is all there is: a wake-up may have left the index and not
        // have reached the engine, or a commit with a deadline in it may be under way.
        && let Ok(_idle) = engine.timer().deciding.try_lock()
        && matches!(engine.store().pending_count().await, Ok(0))
    {
        clock.set_to_wall();
        tracing::info!(offset_ms, "nothing is pending: the clock is set to the wall clock");
    }
    *stepped = is_stepped;
}

#[expect(clippy::disallowed_methods, reason = "the one place that sleeps: it is what a timer is")]
pub(crate) async fn nap(earlier: &Notify, ms: Ms) {
    let ms = u64::try_from(ms).unwrap_or(0);
    tokio::select! {
        () = tokio::time::sleep(Duration::from_millis(ms)) => {}
        () = earlier.notified() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    struct Still;

    impl Clock for Still {
        fn now_ms(&self) -> Ms {
            1_000
        }
    }

    fn due(id: i64, at: Ms) -> Due {
        Due { workspace: WorkspaceId(1), id: FollowupId(id), wake: Wake { at, why: WakeReason::Deadline } }
    }

    /// Invariant 2: the sweep takes what neither the index nor the engine has, and takes it again if it was given up.
    #[test]
    fn the_sweep_brings_only_what_nobody_has() {
        let timer = Arc::new(Timer::new(Arc::new(Clocks::new(Arc::new(Still)))));
        let [fired, waiting, unknown] = [due(1, 1), due(2, 900), due(3, 2)];
        let armed = |due: &Due| Rearmed { workspace: due.workspace, id: due.id, old: None, new: Some(due.wake) };
        timer.rearm(&[armed(&fired), armed(&waiting)]);
        assert_eq!(timer.take_due(500).len(), 1);
        let found = timer.unknown(&[fired, unknown, waiting]);
        assert_eq!(found, [(2, FollowupId(3), WorkspaceId(1))]);
        assert!(timer.unknown(&[fired, unknown, waiting]).is_empty(), "all of them are under way or indexed");
        let permit = Arc::clone(&timer.places).try_acquire_owned().expect("room");
        drop(Place { timer: Arc::clone(&timer), id: FollowupId(3), _permit: permit });
        assert_eq!(timer.unknown(&[fired, unknown, waiting]), found);
    }
}
