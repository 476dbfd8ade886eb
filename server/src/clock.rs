//! The only place of the server that reads time.

use crate::store::WorkspaceId;
use backstop_domain::Ms;
use std::collections::HashMap;
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
}

/// Real time: the wall clock as it was at start, measured on by the clock that counts suspended time.
pub struct SystemClock {
    /// Wall minus boot time at start.
    anchor_ms: Ms,
    last_ms: AtomicI64,
}

impl SystemClock {
    /// Anchored to the wall clock now.
    pub fn start() -> SystemClock {
        SystemClock { anchor_ms: wall_ms() - boot_ms(), last_ms: AtomicI64::new(0) }
    }
}

impl Clock for SystemClock {
    fn now_ms(&self) -> Ms {
        let now = self.anchor_ms + boot_ms();
        self.last_ms.fetch_max(now, Ordering::Relaxed).max(now)
    }

    fn wall_offset_ms(&self) -> Ms {
        wall_ms() - self.now_ms()
    }
}

/// Milliseconds on the clock that counts suspended time.
pub fn boot_ms() -> Ms {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    t.tv_sec * 1000 + t.tv_nsec / 1_000_000
}

fn wall_ms() -> Ms {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    t.tv_sec * 1000 + t.tv_nsec / 1_000_000
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
