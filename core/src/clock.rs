//! The only place of the SDK that reads a clock or waits.
#![expect(clippy::disallowed_methods, reason = "this is the clock that all other code is given")]

use std::time::Duration;

/// Tells the time. Another one stands in for it in sandboxes and tests.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds UTC since 1970, as the device believes. Reported, never trusted.
    fn wall_ms(&self) -> i64;
    /// Milliseconds since some fixed instant, never going back and counting time in suspend.
    fn elapsed_ms(&self) -> i64;
}

/// The device's own clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall_ms(&self) -> i64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        match since {
            Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
        }
    }

    fn elapsed_ms(&self) -> i64 {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let clock = rustix::time::ClockId::Boottime;
        // Darwin's CLOCK_MONOTONIC counts sleep.
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let clock = rustix::time::ClockId::Monotonic;
        let time = rustix::time::clock_gettime(clock);
        time.tv_sec * 1000 + time.tv_nsec / 1_000_000
    }
}

/// One time line for a process: the wall clock at its start, moved on by the clock that never jumps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Anchor {
    wall_ms: i64,
    elapsed_ms: i64,
}

impl Anchor {
    pub(crate) fn new(clock: &dyn Clock) -> Self {
        Anchor { wall_ms: clock.wall_ms(), elapsed_ms: clock.elapsed_ms() }
    }

    pub(crate) fn now_ms(&self, clock: &dyn Clock) -> i64 {
        self.wall_ms.saturating_add(clock.elapsed_ms().saturating_sub(self.elapsed_ms))
    }
}

/// The end of a caller's time budget, in real time whatever clock the client was given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Option<tokio::time::Instant>);

impl Deadline {
    pub(crate) fn after(budget_ms: u64) -> Self {
        Deadline(tokio::time::Instant::now().checked_add(Duration::from_millis(budget_ms)))
    }

    pub(crate) fn remaining_ms(&self) -> u64 {
        let Some(end) = self.0 else { return u64::MAX };
        let left = end.saturating_duration_since(tokio::time::Instant::now());
        // Rounded up: a wait of what remains does not end just before the deadline, to be repeated.
        u64::try_from(left.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
    }
}

/// Waits for the future at most that long; `None` = too late.
pub(crate) async fn timeout<F: Future>(ms: u64, future: F) -> Option<F::Output> {
    // Beyond a year is for ever, and keeps the timer's arithmetic in range.
    let limit = Duration::from_millis(ms.min(31_536_000_000));
    tokio::time::timeout(limit, future).await.ok()
}
