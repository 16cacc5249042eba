//! How long a failed service waits before it is started again.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

use wippy_registry::schema::lifecycle::Restart;

/// The wait before attempt number `attempt`, which counts from 1: longer each time up to the longest, give or take the
/// jitter.
pub(super) fn delay(restart: &Restart, attempt: u32) -> Duration {
    jittered(base(restart, attempt), restart.jitter, random())
}

fn base(restart: &Restart, attempt: u32) -> Duration {
    let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
    let factor = restart.backoff_factor.powi(exponent);
    let longest = restart.max_delay.as_secs_f64();
    let seconds = (restart.initial_delay.as_secs_f64() * factor).min(longest);
    Duration::try_from_secs_f64(seconds).unwrap_or(restart.max_delay)
}

/// `random` is from 0 to 1.
fn jittered(delay: Duration, jitter: f64, random: f64) -> Duration {
    let factor = 1.0 + jitter * (2.0 * random - 1.0);
    Duration::try_from_secs_f64(delay.as_secs_f64() * factor).unwrap_or(delay)
}

/// Spreads restarts; nothing depends on how random it is, so the standard library's hasher keys will do.
fn random() -> f64 {
    let bits = u32::try_from(RandomState::new().hash_one(()) >> 32).unwrap_or(0);
    f64::from(bits) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_longest() {
        let restart = Restart::default();
        let waits: Vec<u64> = (1..=9).map(|attempt| base(&restart, attempt).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 90, 90]);
        assert_eq!(base(&restart, u32::MAX), restart.max_delay);
    }

    #[test]
    fn jitter_goes_both_ways_and_stays_within_its_share() {
        let second = Duration::from_secs(1);
        let wait = |random| jittered(second, 0.1, random).as_millis();
        assert_eq!((wait(0.0), wait(0.5), wait(1.0)), (900, 1000, 1100));
        for _ in 0..100 {
            let wait = delay(&Restart::default(), 1).as_millis();
            assert!((900..=1100).contains(&wait), "{wait}");
        }
    }
}
