//! The rate budget of one account: a token bucket, pure, time an argument; a second's worth may leave at once.

use crate::Ms;
use std::num::NonZeroU32;

const SECOND_US: i64 = 1_000_000;

/// What may leave by one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    each_us: i64,
    /// Everything that was taken, one after the other, has left by then.
    spent_until_us: i64,
}

impl Budget {
    /// Full.
    pub fn new(per_second: NonZeroU32) -> Budget {
        Budget { each_us: (SECOND_US / i64::from(per_second.get())).max(1), spent_until_us: i64::MIN }
    }

    /// Takes one; `Err` = none is left, and how long until there is.
    pub fn take(&mut self, now: Ms) -> Result<(), Ms> {
        let now_us = now.saturating_mul(1_000);
        // More than a second ahead is a clock that was set back, not what was taken.
        if !(now_us..=now_us.saturating_add(SECOND_US)).contains(&self.spent_until_us) {
            self.spent_until_us = now_us;
        }
        let spent_until_us = self.spent_until_us + self.each_us;
        let early_us = spent_until_us - now_us - SECOND_US;
        if early_us > 0 {
            return Err(early_us.div_euclid(1_000) + i64::from(early_us.rem_euclid(1_000) > 0));
        }
        self.spent_until_us = spent_until_us;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Ms = 1_795_370_400_000;

    fn taken(budget: &mut Budget, tries: u32, now: Ms) -> u32 {
        (0..tries).map(|_| u32::from(budget.take(now).is_ok())).sum()
    }

    /// P13: a second's worth at once, then evenly; both sides of each number.
    #[test]
    fn a_second_s_worth_leaves_at_once_and_then_evenly() {
        for (per_second, wait_ms) in [(1, 1_000), (3, 334), (10, 100), (1_000, 1)] {
            let mut budget = Budget::new(NonZeroU32::new(per_second).unwrap());
            assert_eq!(taken(&mut budget, per_second + 1, NOW), per_second, "{per_second}");
            assert_eq!(budget.take(NOW), Err(wait_ms), "{per_second}");
            assert!(budget.take(NOW + wait_ms).is_ok(), "{per_second}");
            assert_eq!(taken(&mut budget, 2_000, NOW + 60_000), per_second, "no more is saved up");
        }
    }

    /// A clock that is set back stops nobody.
    #[test]
    fn a_clock_that_is_set_back_stops_nobody() {
        let mut budget = Budget::new(NonZeroU32::MIN);
        assert!(budget.take(NOW).is_ok() && budget.take(NOW).is_err());
        assert!(budget.take(NOW - 3_600_000).is_ok());
    }
}
