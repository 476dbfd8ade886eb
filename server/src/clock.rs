//! The only place of the server that reads time.

use crate::store::WorkspaceId;
use backstop_domain::Ms;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, RwLock};

/// A wall jump up to this is slewed away silently; beyond it, the alarm rings and the node keeps its own time.
pub const STEP_ALARM_MS: Ms = 500;

/// Tells the time in milliseconds since 1970.
pub trait Clock: Send + Sync + 'static {
    /// Never goes back, counts time in suspend, and does not follow a step of the wall clock.
    fn now_ms(&self) -> Ms;
    /// How far the wall clock has stepped away from [`Clock::now_ms`].
    fn wall_offset_ms(&self) -> Ms {
        0
    }
    /// Sets it to the wall clock; only when nothing is measured by it.
    fn set_to_wall(&self) {}
}

/// Real time: the wall clock as it was at start, measured on by the clock that counts suspended time.
///
/// A step of the wall clock changes nothing for what is pending: it fires by elapsed time. When nothing is pending the
/// clock is set to the wall clock again. A restart within one boot goes on where the last run was, if rows wait for it.
pub struct SystemClock {
    /// Wall minus boot time when it was set.
    anchor_ms: AtomicI64,
    last_ms: AtomicI64,
    /// Where the anchor is kept for the next run.
    file: Option<PathBuf>,
}

impl SystemClock {
    /// Set to the wall clock now; kept nowhere.
    pub fn start() -> SystemClock {
        SystemClock { anchor_ms: (wall_ms() - boot_ms()).into(), last_ms: AtomicI64::new(0), file: None }
    }

    /// Goes on where the last run of this boot was if `pending` rows are measured by it; else set to the wall clock.
    pub fn resume(file: PathBuf, pending: bool) -> SystemClock {
        let kept = if pending { read_anchor(&file) } else { None };
        let anchor_ms = kept.unwrap_or_else(|| wall_ms() - boot_ms());
        let clock = SystemClock { anchor_ms: anchor_ms.into(), last_ms: AtomicI64::new(0), file: Some(file) };
        clock.keep_anchor();
        clock
    }

    /// Best effort: without it a restart after a step of the wall clock measures by the wall clock.
    fn keep_anchor(&self) {
        let (Some(file), Some(boot_id)) = (&self.file, boot_id()) else { return };
        let line = format!("{boot_id} {}\n", self.anchor_ms.load(Ordering::Relaxed));
        if let Err(error) = std::fs::write(file, line) {
            tracing::warn!(%error, "the clock's anchor could not be kept for the next run");
        }
    }
}

impl Clock for SystemClock {
    fn now_ms(&self) -> Ms {
        let now = self.anchor_ms.load(Ordering::Relaxed) + boot_ms();
        self.last_ms.fetch_max(now, Ordering::Relaxed).max(now)
    }

    fn wall_offset_ms(&self) -> Ms {
        wall_ms() - self.now_ms()
    }

    fn set_to_wall(&self) {
        let now = wall_ms();
        self.anchor_ms.store(now - boot_ms(), Ordering::Relaxed);
        self.last_ms.store(now, Ordering::Relaxed);
        self.keep_anchor();
    }
}

/// The anchor of an earlier run of this very boot.
fn read_anchor(file: &Path) -> Option<Ms> {
    let text = std::fs::read_to_string(file).ok()?;
    let (kept_boot, anchor_ms) = text.trim().split_once(' ')?;
    if kept_boot == boot_id()? { anchor_ms.parse().ok() } else { None }
}

/// Names this boot of the machine: only within it does the boot clock mean anything.
fn boot_id() -> Option<String> {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|id| id.trim().to_owned())
}

/// Milliseconds on the clock that counts suspended time.
pub fn boot_ms() -> Ms {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    t.tv_sec * 1000 + t.tv_nsec / 1_000_000
}

/// Through the C library, unlike the boot clock: a test turns this one under a running server.
#[expect(clippy::disallowed_methods, reason = "the clock that everything else takes the time from")]
fn wall_ms() -> Ms {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    // A wall clock before 1970 is as wrong as one at its beginning.
    since_1970.map_or(0, |since| since.as_millis() as Ms)
}

/// Real time for most workspaces, and each frozen sandbox workspace's own.
pub struct Clocks {
    real: Arc<dyn Clock>,
    frozen: RwLock<HashMap<WorkspaceId, Ms>>,
}

impl Clocks {
    /// Everyone on real time.
    pub fn new(real: Arc<dyn Clock>) -> Clocks {
        Clocks { real, frozen: RwLock::default() }
    }

    /// Real time.
    pub fn real_ms(&self) -> Ms {
        self.real.now_ms()
    }

    /// The clock behind [`Clocks::real_ms`].
    pub fn real(&self) -> &Arc<dyn Clock> {
        &self.real
    }

    /// The workspace's time.
    pub fn now_ms(&self, workspace: WorkspaceId) -> Ms {
        self.frozen_at(workspace).unwrap_or_else(|| self.real_ms())
    }

    /// Where the workspace's clock stands, if it is frozen.
    pub fn frozen_at(&self, workspace: WorkspaceId) -> Option<Ms> {
        let frozen = self.frozen.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        if frozen.is_empty() { None } else { frozen.get(&workspace).copied() }
    }

    /// Freezes the workspace's clock or moves it on; never back.
    pub fn freeze(&self, workspace: WorkspaceId, at: Ms) {
        let mut frozen = self.frozen.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let stands = frozen.entry(workspace).or_insert(at);
        *stands = at.max(*stands);
    }

    /// Forgets a dropped workspace.
    pub fn forget(&self, workspace: WorkspaceId) {
        self.frozen.write().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&workspace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Invariant 2: after a restart within one boot, pending deadlines are measured by the time they were made with.
    #[test]
    fn a_restart_goes_on_where_the_last_run_was() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("clock");
        // The last run was set to a wall clock an hour behind today's.
        let line = format!("{} {}\n", boot_id().expect("a boot"), wall_ms() - boot_ms() - 3_600_000);
        std::fs::write(&file, &line).expect("written");
        let resumed = SystemClock::resume(file.clone(), true);
        assert!((3_599_000..=3_601_000).contains(&resumed.wall_offset_ms()), "{}", resumed.wall_offset_ms());
        resumed.set_to_wall();
        assert!(resumed.wall_offset_ms().abs() < 1_000);
        std::fs::write(&file, &line).expect("written");
        assert!(SystemClock::resume(file.clone(), false).wall_offset_ms().abs() < 1_000, "nothing was pending");
        std::fs::write(&file, "another-boot 5\n").expect("written");
        assert!(SystemClock::resume(file, true).wall_offset_ms().abs() < 1_000, "another boot");
    }

    #[test]
    fn a_frozen_clock_never_goes_back() {
        let clocks = Clocks::new(Arc::new(SystemClock::start()));
        let ws = WorkspaceId(7);
        clocks.freeze(ws, 1_000);
        clocks.freeze(ws, 500);
        assert_eq!((clocks.now_ms(ws), clocks.frozen_at(WorkspaceId(8))), (1_000, None));
        clocks.forget(ws);
        assert!(clocks.now_ms(ws) > 1_000);
    }
}
