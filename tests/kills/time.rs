//! The harness's own clock, its waits, and its record of when the whole machine stood still.

use backstop_tests::oracle::Ms;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The wall clock at the start, measured on by the monotonic one.
static START: LazyLock<(Instant, Ms)> = LazyLock::new(start);

#[expect(clippy::disallowed_methods, reason = "the clock of the harness")]
fn start() -> (Instant, Ms) {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    (Instant::now(), Ms::try_from(wall.as_millis()).unwrap())
}

/// Milliseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "the clock of the harness")]
pub(crate) fn now_ms() -> Ms {
    START.1 + Ms::try_from(START.0.elapsed().as_millis()).unwrap()
}

/// What is looked for in another process is looked for again after this.
#[expect(clippy::disallowed_methods, reason = "another process tells nobody when it stops or writes")]
pub(crate) async fn nap_ms(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// Waits until `seen` says so, at most this long; whether it did.
pub(crate) async fn wait_until(within_ms: Ms, mut seen: impl FnMut() -> bool) -> bool {
    let end = now_ms() + within_ms;
    while !seen() {
        if now_ms() > end {
            return false;
        }
        nap_ms(5).await;
    }
    true
}

/// A thread that naps all the time: when it wakes too late, so would have everybody else.
pub(crate) struct Stalls {
    seen: Arc<Mutex<Vec<(Ms, Ms)>>>,
    ended: Arc<AtomicBool>,
}

const NAP_MS: Ms = 10;
/// Later than this is no longer the scheduler's ordinary work.
const STALL_MS: Ms = 20;

impl Stalls {
    pub(crate) fn watch() -> Stalls {
        let (seen, ended) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (to, end) = (Arc::clone(&seen), Arc::clone(&ended));
        std::thread::spawn(move || {
            let mut before = now_ms();
            while !end.load(Ordering::Relaxed) {
                nap_thread();
                let now = now_ms();
                if now - before > NAP_MS + STALL_MS {
                    to.lock().unwrap().push((before + NAP_MS, now));
                }
                before = now;
            }
        });
        Stalls { seen, ended }
    }

    pub(crate) fn seen(&self) -> Vec<(Ms, Ms)> {
        self.seen.lock().unwrap().clone()
    }

    /// How long it stood still in all, between these two.
    pub(crate) fn between(&self, from: Ms, to: Ms) -> Ms {
        self.seen().iter().map(|&(a, b)| (b.min(to) - a.max(from)).max(0)).sum()
    }
}

impl Drop for Stalls {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

#[expect(clippy::disallowed_methods, reason = "its naps are the measurement")]
fn nap_thread() {
    std::thread::sleep(Duration::from_millis(NAP_MS.cast_unsigned()));
}
