//! Dots name one change of one replica; version vectors say which are known.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Lattice;
use crate::id::NodeId;

/// One change: the `sequence`-th of a replica. Given out once.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Dot {
    /// Who.
    pub node: NodeId,
    /// Which of its changes, rising from 1.
    pub sequence: u64,
}

/// For each replica, up to which change everything is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionVector(BTreeMap<NodeId, u64>);

impl VersionVector {
    /// Whether this change is known.
    #[must_use]
    pub fn covers(&self, dot: Dot) -> bool {
        self.0
            .get(&dot.node)
            .is_some_and(|known| dot.sequence <= *known)
    }

    /// The next change of `node` that is not known.
    #[must_use]
    pub fn next(&self, node: NodeId) -> Dot {
        Dot {
            node,
            sequence: self.0.get(&node).copied().unwrap_or(0) + 1,
        }
    }

    /// Takes note of a change. `false`, and nothing noted, when it is known already or leaves a
    /// gap behind it: a change counts once and in its replica's order.
    #[must_use]
    pub fn advance(&mut self, dot: Dot) -> bool {
        let fits = self.next(dot.node) == dot;
        if fits {
            self.0.insert(dot.node, dot.sequence);
        }
        fits
    }
}

impl Lattice for VersionVector {
    fn join(&mut self, other: &Self) {
        for (node, sequence) in &other.0 {
            let mine = self.0.entry(*node).or_default();
            *mine = (*mine).max(*sequence);
        }
    }
}
