//! Counters with an entry per replica.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Lattice;
use crate::id::NodeId;

/// Counts up. Each replica raises its own entry alone; the join is the element-wise maximum
/// (adding entries up would count a repeated delta twice).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GCounter(BTreeMap<NodeId, u64>);

impl GCounter {
    /// The sum over all replicas.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0
            .values()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The delta that adds `amount` at `replica`.
    #[must_use]
    pub fn add(&self, replica: NodeId, amount: u64) -> Self {
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
    /// What is left.
    #[must_use]
    pub fn value(&self) -> i64 {
        let (added, taken) = (self.added.value(), self.taken.value());
        i64::try_from(i128::from(added) - i128::from(taken)).unwrap_or(i64::MAX)
    }

    /// The delta that adds `amount`, which may be negative, at `replica`.
    #[must_use]
    pub fn add(&self, replica: NodeId, amount: i64) -> Self {
        if amount >= 0 {
            Self {
                added: self.added.add(replica, amount.unsigned_abs()),
                taken: GCounter::default(),
            }
        } else {
            Self {
                added: GCounter::default(),
                taken: self.taken.add(replica, amount.unsigned_abs()),
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
    /// Names there are.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.made.value().saturating_sub(self.removed.value())
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
