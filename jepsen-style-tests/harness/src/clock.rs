//! One clock for everything that is recorded: nanoseconds since the run began.

use std::time::Instant;

/// Shared by all recorders of a run.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Begins at 0 now.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Nanoseconds since the start.
    #[must_use]
    pub fn now(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Nanoseconds as milliseconds.
#[must_use]
pub fn millis(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}
