//! Whether the clock of the machine was set: told to the operator, who may not know. Nothing that
//! was promised rests on it; times of files and the grace of what is in the trash do.

use std::time::{Duration, Instant};

/// A smaller step is what keeping a clock right looks like.
const STEP_MIN: Duration = Duration::from_secs(2);

/// The two clocks, as they were at the last look.
pub(super) struct WallClock {
    monotonic: Instant,
    wall_us: u64,
}

impl WallClock {
    pub(super) fn new(monotonic: Instant, wall_us: u64) -> Self {
        Self { monotonic, wall_us }
    }

    /// Looks at both again, and says so when they have not gone the same way.
    pub(super) fn look(&mut self, monotonic: Instant, wall_us: u64) -> Option<String> {
        let passed = monotonic.saturating_duration_since(self.monotonic);
        let passed = u64::try_from(passed.as_micros()).unwrap_or(u64::MAX);
        let expected = self.wall_us.saturating_add(passed);
        *self = Self { monotonic, wall_us };
        let step = Duration::from_micros(expected.abs_diff(wall_us));
        if step < STEP_MIN {
            return None;
        }
        let way = match wall_us < expected {
            true => "back",
            false => "forward",
        };
        Some(format!(
            "the clock of this machine was set {way} by {}.{:03} s, to {} s since 1970; nothing is \
             lost, but files get its times from now on: keep the clocks of all nodes right (NTP)",
            step.as_secs(),
            step.subsec_millis(),
            wall_us / 1_000_000,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_told_once_and_drift_never() {
        let began = Instant::now();
        let at = |ms: u64| began + Duration::from_millis(ms);
        let us = |ms: u64| 1_700_000_000_000_000 + ms * 1_000;
        let mut clock = WallClock::new(at(0), us(0));
        assert_eq!(clock.look(at(500), us(500)), None);
        // A clock that is slewed, and a look that comes late.
        assert_eq!(clock.look(at(10_000), us(11_500)), None);
        let said = clock.look(at(10_500), us(2_000)).expect("set back");
        assert!(said.contains("set back by 10.000 s"), "{said}");
        assert!(said.contains("to 1700000002 s since 1970"), "{said}");
        assert_eq!(clock.look(at(11_000), us(2_500)), None, "once");
        let said = clock.look(at(11_500), us(3_603_000)).expect("set forward");
        assert!(said.contains("set forward by 3600.000 s"), "{said}");
        // Before 1970 the system's time is 0 to the node.
        assert!(clock.look(at(12_000), 0).is_some());
        assert_eq!(clock.look(at(12_000), 0), None);
    }
}
