//! When to try again: exponential with full jitter, so that a million phones do not come back together.

use crate::policy::Policy;

/// Milliseconds to wait after `failures` failures in a row (1 = the first), evenly spread over
/// `0..=ceiling_ms(failures)` by the random bits of `jitter`.
pub fn delay_ms(failures: u32, jitter: u64, policy: &Policy) -> u64 {
    // The bias of the remainder is below 2^-39 for the longest ceiling.
    jitter % (ceiling_ms(failures, policy) + 1)
}

/// The longest delay after `failures` failures in a row: doubles from the base up to the maximum.
pub fn ceiling_ms(failures: u32, policy: &Policy) -> u64 {
    let doublings = failures.saturating_sub(1).min(40);
    policy.backoff_base_ms.saturating_mul(1 << doublings).min(policy.backoff_max_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// C4: several tries fit into the 30 seconds that matter, and none waits longer than 6 hours.
    #[test]
    fn c4_ceilings_double_from_half_a_second_to_six_hours() {
        let policy = Policy::default();
        let first: Vec<u64> = (1..=6).map(|n| ceiling_ms(n, &policy)).collect();
        assert_eq!(first, [500, 1_000, 2_000, 4_000, 8_000, 16_000]);
        assert!(first[..5].iter().sum::<u64>() < 30_000);
        for n in [17, 40, 1_000, u32::MAX] {
            assert_eq!(ceiling_ms(n, &policy), 6 * 3_600_000);
        }
        assert_eq!(ceiling_ms(0, &policy), 500);
    }

    #[test]
    fn jitter_covers_the_whole_range_and_nothing_else() {
        let policy = Policy::default();
        assert_eq!(delay_ms(1, 0, &policy), 0);
        assert_eq!(delay_ms(1, 500, &policy), 500);
        assert_eq!(delay_ms(1, 501, &policy), 0);
        for jitter in [1, u64::MAX, u64::MAX / 3] {
            assert!(delay_ms(3, jitter, &policy) <= 2_000);
        }
    }
}
