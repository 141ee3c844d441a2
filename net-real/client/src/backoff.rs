//! How long to wait before a repeat: doubling, bounded, and different for everybody.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use mfsha_core::rng::{Rng, Seed};

/// The waits of one call.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
    most: Duration,
    rng: Rng,
}

impl Backoff {
    /// Begins at the first and doubles up to the second; `stream` tells calls apart.
    pub fn new((first, most): (Duration, Duration), seed: Seed, stream: u64) -> Self {
        Self {
            next: first.min(most),
            most,
            rng: seed.index(stream).rng(),
        }
    }

    /// The next wait: what is due, less a random part of up to a half, so that many clients that
    /// lost one leader do not return at once.
    pub fn next(&mut self) -> Duration {
        let due = self.next;
        self.next = (due * 2).min(self.most);
        let micros = u64::try_from(due.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(micros - self.rng.below(micros / 2 + 1))
    }
}

/// A seed that another client does not have. It is for spreading load, not for secrets.
pub fn fresh_seed() -> Seed {
    Seed::from_u64(RandomState::new().hash_one(std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_their_bound_and_differ() {
        let bounds = (Duration::from_millis(10), Duration::from_millis(80));
        let waits = |stream| {
            let mut backoff = Backoff::new(bounds, Seed::from_u64(1), stream);
            (0..6).map(|_| backoff.next()).collect::<Vec<_>>()
        };
        for (wait, due) in waits(1).iter().zip([10, 20, 40, 80, 80, 80]) {
            let due = Duration::from_millis(due);
            assert!(*wait <= due && *wait >= due / 2, "{wait:?} of {due:?}");
        }
        assert_ne!(waits(1), waits(2));
    }
}
