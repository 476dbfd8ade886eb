//! A clock that only a test moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use backstop_core::Clock;
use backstop_ffi::SdkError;

/// The device's clocks in a test's hand. Time budgets of calls run in real time all the same.
#[derive(Clone, uniffi::Object)]
pub struct TestClock {
    now: Arc<Now>,
}

struct Now {
    wall_ms: AtomicI64,
    elapsed_ms: AtomicI64,
}

#[uniffi::export]
impl TestClock {
    /// A clock that stands still at that time, in milliseconds UTC since 1970.
    #[uniffi::constructor]
    pub fn at(wall_ms: i64) -> Result<Arc<Self>, SdkError> {
        let now = Now { wall_ms: AtomicI64::new(wall_ms), elapsed_ms: AtomicI64::new(0) };
        Ok(Arc::new(TestClock { now: Arc::new(now) }))
    }

    /// Lets time pass.
    pub fn advance(&self, ms: u64) -> Result<(), SdkError> {
        let ms = i64::try_from(ms).unwrap_or(i64::MAX);
        self.now.wall_ms.fetch_add(ms, Ordering::SeqCst);
        self.now.elapsed_ms.fetch_add(ms, Ordering::SeqCst);
        Ok(())
    }

    /// Sets the wall clock, as a customer or a network may; no time passes.
    pub fn set_wall(&self, wall_ms: i64) -> Result<(), SdkError> {
        self.now.wall_ms.store(wall_ms, Ordering::SeqCst);
        Ok(())
    }

    /// What the wall clock shows.
    pub fn wall_ms(&self) -> Result<i64, SdkError> {
        Ok(self.now.wall_ms.load(Ordering::SeqCst))
    }
}

impl Clock for TestClock {
    fn wall_ms(&self) -> i64 {
        self.now.wall_ms.load(Ordering::SeqCst)
    }

    fn elapsed_ms(&self) -> i64 {
        self.now.elapsed_ms.load(Ordering::SeqCst)
    }
}
