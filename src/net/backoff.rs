//! How long to wait before the next try.

use std::time::Duration;

/// Waits that double from try to try, up to a cap; and up to a quarter longer, so that many switches do not come back at
/// the same moment.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// After the first failure.
    pub first: Duration,
    /// Never longer than this, but for the quarter.
    pub longest: Duration,
}

impl Backoff {
    /// The wait after as many failures as `attempts` beside this one. `seed` tells switches apart.
    pub fn wait(self, attempts: u32, seed: u64) -> Duration {
        // 2^6 is beyond any cap in use, and far from an overflow.
        let wait = self.first.saturating_mul(1 << attempts.min(6)).min(self.longest);
        wait + spread(wait / 4, seed, attempts)
    }
}

/// A time from nothing to `most` that differs from switch to switch and from turn to turn, and is always the same for both.
pub fn spread(most: Duration, seed: u64, turn: u32) -> Duration {
    let mixed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(u64::from(turn)) >> 32;
    most / 1024 * u32::try_from(mixed % 1024).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_cap_and_spread_over_a_quarter() {
        let backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(60) };
        for (attempts, seconds) in [(0, 1), (1, 2), (5, 32), (6, 60), (7, 60), (u32::MAX, 60)] {
            let base = Duration::from_secs(seconds);
            for seed in [0, 7, u64::MAX] {
                let wait = backoff.wait(attempts, seed);
                assert!((base..=base + base / 4).contains(&wait), "{attempts} {seed}: {wait:?}");
                assert_eq!(wait, backoff.wait(attempts, seed));
            }
        }
        let mut all: Vec<Duration> = (0..100).map(|seed| backoff.wait(3, seed)).collect();
        all.sort();
        all.dedup();
        assert!(all.len() > 50, "the switches of a fabric come back together: {}", all.len());
    }
}
