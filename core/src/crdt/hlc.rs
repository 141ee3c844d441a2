//! The hybrid logical clock that stamps are read from.

use crate::id::NodeId;
use crate::time::Stamp;

/// A stamp from elsewhere that is too far in the future to be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stamp {stamp:?} is {ahead_us} us ahead of this node's clock, {max_us} us are allowed")]
pub struct ClockError {
    /// The stamp.
    pub stamp: Stamp,
    /// How far ahead, microseconds.
    pub ahead_us: u64,
    /// How far is allowed (`HA_CLOCK_MAX_OFFSET`), microseconds.
    pub max_us: u64,
}

/// Wall time that never stands still or goes back, and is above every stamp it was shown.
#[derive(Clone, Debug)]
pub struct Hlc {
    node: NodeId,
    last: u64,
}

impl Hlc {
    /// A clock of this node, above `floor` (the highest stamp in its state).
    #[must_use]
    pub fn new(node: NodeId, floor: u64) -> Self {
        Self { node, last: floor }
    }

    /// The next stamp, given the wall clock in microseconds since 1970.
    pub fn stamp(&mut self, wall_us: u64) -> Stamp {
        self.last = wall_us.max(self.last + 1);
        Stamp {
            time: self.last,
            node: self.node,
        }
    }

    /// Takes note of a stamp made elsewhere, so that later ones here are above it.
    ///
    /// # Errors
    /// [`ClockError`] when it is more than `max_us` ahead of the wall clock; then it is not noted.
    pub fn observe(&mut self, stamp: Stamp, wall_us: u64, max_us: u64) -> Result<(), ClockError> {
        let ahead_us = stamp.time.saturating_sub(wall_us);
        if ahead_us > max_us {
            return Err(ClockError {
                stamp,
                ahead_us,
                max_us,
            });
        }
        self.last = self.last.max(stamp.time);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_rise_when_the_wall_clock_goes_back() {
        let mut hlc = Hlc::new(NodeId(1), 0);
        let first = hlc.stamp(1_000);
        let second = hlc.stamp(10);
        assert!(second > first);
        hlc.observe(
            Stamp {
                time: 5_000,
                node: NodeId(2),
            },
            4_000,
            2_000,
        )
        .unwrap();
        assert!(hlc.stamp(20).time > 5_000);
    }

    #[test]
    fn a_stamp_too_far_ahead_is_refused() {
        let mut hlc = Hlc::new(NodeId(1), 0);
        let far = Stamp {
            time: 9_000,
            node: NodeId(2),
        };
        assert!(hlc.observe(far, 1_000, 5_000).is_err());
        assert!(hlc.stamp(1_000).time < 9_000);
    }
}
