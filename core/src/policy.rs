//! The numbers the device machine goes by; each has a reason, none is read from a clock.

/// Limits and intervals of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The most acks one upload carries; the server takes no more.
    pub batch_max: usize,
    /// The most acks the device keeps. Beyond it the least telling ones go first: the oldest `received`, then the
    /// oldest `suppressed`, then the oldest of all.
    pub queue_max: usize,
    /// The first retry comes within this time.
    pub backoff_base_ms: u64,
    /// No retry waits longer than this, whatever failed and whatever a `Retry-After` says.
    pub backoff_max_ms: u64,
    /// How long an ack waits for credentials that the server accepts. Its receipt ends by then anyway.
    pub ack_keep_ms: u64,
    /// A confirmed registration is confirmed again after this time: at 30 days the server calls it stale (C3).
    pub refresh_ms: u64,
    /// So many refusals of the device's key in a row, and the device starts over under a new `install_id`.
    pub rejections_max: u32,
}

impl Default for Policy {
    fn default() -> Self {
        const HOUR_MS: u64 = 3_600_000;
        Policy {
            batch_max: backstop_wire::MAX_ACKS,
            queue_max: 10_000,
            backoff_base_ms: 500,
            backoff_max_ms: 6 * HOUR_MS,
            ack_keep_ms: 7 * 24 * HOUR_MS,
            refresh_ms: 7 * 24 * HOUR_MS,
            rejections_max: 3,
        }
    }
}
