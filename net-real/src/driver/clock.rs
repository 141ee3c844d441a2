//! What time it is, for a node.
//!
//! Consensus lives by the monotonic clock alone; the wall clock, which an operator may set back,
//! only goes into stamps and times of files.

use std::time::{Instant as SystemInstant, SystemTime, UNIX_EPOCH};

use mfsha_core::time::Instant;

/// The two clocks of one process.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: SystemInstant,
}

impl Clock {
    /// A clock that begins now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            began: SystemInstant::now(),
        }
    }

    /// Monotonic time since the clock began. Runs on while the process stands still.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant(u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Microseconds since 1970 as the system says; 0 when it says a time before that.
    #[must_use]
    pub fn wall_us(&self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| {
                u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
            })
    }
}
