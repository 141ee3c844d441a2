//! Counters with an entry per replica.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Lattice;
use crate::id::NodeId;

/// Counts up. Each replica raises its own entry alone; the join is the element-wise maximum
/// (adding entries up would count a repeated delta twice).
///
/// Entries have 128 bits: a file that is made 2^57 bytes long and cut again would use up 64 bits
/// in as little as 128 rounds.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GCounter(BTreeMap<NodeId, u128>);

impl GCounter {
    /// The sum over all replicas; `u64::MAX` when it is above that.
    #[must_use]
    pub fn value(&self) -> u64 {
        u64::try_from(self.total()).unwrap_or(u64::MAX)
    }

    fn total(&self) -> u128 {
        self.0
            .values()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The delta that adds `amount` at `replica`.
    #[must_use]
    pub fn add(&self, replica: NodeId, amount: u64) -> Self {
        self.add_wide(replica, u128::from(amount))
    }

    fn add_wide(&self, replica: NodeId, amount: u128) -> Self {
        let count = self.0.get(&replica).copied().unwrap_or(0);
        Self(BTreeMap::from([(replica, count.saturating_add(amount))]))
    }
}

impl Lattice for GCounter {
    fn join(&mut self, other: &Self) {
        for (replica, count) in &other.0 {
            let mine = self.0.entry(*replica).or_default();
            *mine = (*mine).max(*count);
        }
    }
}

/// Counts up and down: what was added, and what was taken away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PnCounter {
    added: GCounter,
    taken: GCounter,
}

impl PnCounter {
    /// What is left; the nearest end of the range when it is outside.
    #[must_use]
    pub fn value(&self) -> i128 {
        let (added, taken) = (self.added.total(), self.taken.total());
        if added >= taken {
            i128::try_from(added - taken).unwrap_or(i128::MAX)
        } else {
            i128::try_from(taken - added).map_or(i128::MIN, |left| -left)
        }
    }

    /// The delta that adds `amount`, which may be negative, at `replica`.
    #[must_use]
    pub fn add(&self, replica: NodeId, amount: i128) -> Self {
        if amount >= 0 {
            Self {
                added: self.added.add_wide(replica, amount.unsigned_abs()),
                taken: GCounter::default(),
            }
        } else {
            Self {
                added: GCounter::default(),
                taken: self.taken.add_wide(replica, amount.unsigned_abs()),
            }
        }
    }
}

impl PnCounter {
    /// Takes what was both added and taken out of both, so that neither grows for ever; only where
    /// `replica` alone writes, and in order.
    pub fn settle(&mut self, replica: NodeId) {
        let count = |counter: &GCounter| counter.0.get(&replica).copied().unwrap_or(0);
        let both = count(&self.added).min(count(&self.taken));
        for counter in [&mut self.added, &mut self.taken] {
            let left = count(counter) - both;
            counter.0.remove(&replica);
            if left > 0 {
                counter.0.insert(replica, left);
            }
        }
    }
}

impl Lattice for PnCounter {
    fn join(&mut self, other: &Self) {
        self.added.join(&other.added);
        self.taken.join(&other.taken);
    }
}

/// How many names a node has: names given, and names taken away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkCounter {
    made: GCounter,
    removed: GCounter,
}

impl LinkCounter {
    /// So many names, given at once.
    #[must_use]
    pub fn of(replica: NodeId, count: u64) -> Self {
        match count {
            0 => Self::default(),
            count => Self {
                made: GCounter::default().add(replica, count),
                removed: GCounter::default(),
            },
        }
    }

    /// Names there are.
    #[must_use]
    pub fn value(&self) -> u64 {
        let left = self.made.total().saturating_sub(self.removed.total());
        u64::try_from(left).unwrap_or(u64::MAX)
    }

    /// The delta of one more name.
    #[must_use]
    pub fn link(&self, replica: NodeId) -> Self {
        Self {
            made: self.made.add(replica, 1),
            removed: GCounter::default(),
        }
    }

    /// The delta of one name less.
    #[must_use]
    pub fn unlink(&self, replica: NodeId) -> Self {
        Self {
            made: GCounter::default(),
            removed: self.removed.add(replica, 1),
        }
    }
}

impl Lattice for LinkCounter {
    fn join(&mut self, other: &Self) {
        self.made.join(&other.made);
        self.removed.join(&other.removed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::LOG_REPLICA;

    #[test]
    fn a_sum_survives_more_movement_than_its_own_range() {
        let mut counter = PnCounter::default();
        for _ in 0..1_000 {
            for amount in [1 << 57, -(1 << 57)] {
                let delta = counter.add(LOG_REPLICA, amount);
                counter.join(&delta);
            }
        }
        let delta = counter.add(LOG_REPLICA, -7);
        counter.join(&delta);
        assert_eq!(counter.value(), -7);
    }
}
