//! Time as a value. No clock is read here: a driver says what time it is.
//!
//! Three clocks, never mixed:
//! - [`Instant`]: a node's own monotonic time; timers, timeouts and leases.
//! - [`WallTime`]: seconds since 1970 as MooseFS counts them; attributes, expiry. Travels inside a
//!   command, so that replicas agree.
//! - [`Stamp`]: hybrid logical time and node; orders writes of last-writer-wins registers.

use std::fmt;
use std::ops::{Add, Sub};

pub use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::NodeId;

/// A point on one node's monotonic clock, in nanoseconds since the node's clock began.
///
/// Instants of two nodes, or of two lives of one node, have nothing to do with each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(pub u64);

impl Instant {
    /// The beginning of the clock.
    pub const ZERO: Self = Self(0);

    /// How long after `earlier` this is; zero when it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, rhs: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{:09}s",
            self.0 / 1_000_000_000,
            self.0 % 1_000_000_000
        )
    }
}

/// Seconds since 1970, 32 bits as on MooseFS's wire.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct WallTime(pub u32);

/// When a register was written and by whom: the total order of last-writer-wins.
///
/// `time` is hybrid logical time: microseconds since 1970, raised by one above everything that
/// the writer has seen or overwrites. Ties between nodes are broken by the node's id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Stamp {
    /// Hybrid logical time, microseconds.
    pub time: u64,
    /// The writer.
    pub node: NodeId,
}

impl Stamp {
    /// Below every stamp that a node makes.
    pub const MIN: Self = Self {
        time: 0,
        node: NodeId(0),
    };

    /// This stamp, raised above `overwritten` where it is not above it already.
    ///
    /// Log order beats any clock: a strict write wins over what it overwrites (design section 6).
    #[must_use]
    pub fn above(self, overwritten: Self) -> Self {
        if self > overwritten {
            self
        } else {
            Self {
                time: overwritten.time + 1,
                node: self.node,
            }
        }
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}us@{}", self.time, self.node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raised_stamp_is_above_what_it_overwrites() {
        let old = Stamp {
            time: 10,
            node: NodeId(9),
        };
        for time in [0, 9, 10, 11] {
            for node in [1, 9, 12] {
                let stamp = Stamp {
                    time,
                    node: NodeId(node),
                };
                assert!(stamp.above(old) > old);
            }
        }
    }

    #[test]
    fn instants_saturate() {
        assert_eq!(Instant(5) - Duration::from_secs(1), Instant::ZERO);
        assert_eq!(
            Instant(u64::MAX) + Duration::from_secs(1),
            Instant(u64::MAX)
        );
        assert_eq!(Instant(1).since(Instant(5)), Duration::ZERO);
    }
}
