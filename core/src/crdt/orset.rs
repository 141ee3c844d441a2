//! Observed-remove sets.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Dot, Lattice};

/// A set in which a removal takes away exactly what it saw: every addition has a dot, a removal
/// names dots. An addition made elsewhere at the same time survives.
///
/// Committed state needs no record of removals: the log applies an addition before the removal
/// that saw it, and each once. [`OrSet::settle`] drops them there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrSet<V> {
    live: BTreeMap<Dot, V>,
    removed: BTreeSet<Dot>,
}

impl<V> Default for OrSet<V> {
    fn default() -> Self {
        Self {
            live: BTreeMap::new(),
            removed: BTreeSet::new(),
        }
    }
}

impl<V: Clone + Ord> OrSet<V> {
    /// The delta that adds a value under a new dot.
    #[must_use]
    pub fn insert(dot: Dot, value: V) -> Self {
        Self {
            live: BTreeMap::from([(dot, value)]),
            removed: BTreeSet::new(),
        }
    }

    /// The delta that adds all of these.
    pub fn insert_all(members: impl IntoIterator<Item = (Dot, V)>) -> Self {
        Self {
            live: members.into_iter().collect(),
            removed: BTreeSet::new(),
        }
    }

    /// The delta that removes every member seen here for which `which` says so.
    #[must_use]
    pub fn remove(&self, mut which: impl FnMut(&V) -> bool) -> Self {
        let removed = self
            .live
            .iter()
            .filter(|(_, value)| which(value))
            .map(|(dot, _)| *dot)
            .collect();
        Self {
            live: BTreeMap::new(),
            removed,
        }
    }

    /// Members with their dots, in order of dot.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&Dot, &V)> {
        self.live.iter()
    }

    /// The member with the highest dot.
    #[must_use]
    pub fn latest(&self) -> Option<&V> {
        self.live.values().next_back()
    }

    /// Number of members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether nobody is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// Forgets which dots were removed; only where additions cannot arrive again.
    pub fn settle(&mut self) {
        self.removed.clear();
    }
}

impl<V: Clone + Ord> Lattice for OrSet<V> {
    fn join(&mut self, other: &Self) {
        self.removed.extend(other.removed.iter().copied());
        for (dot, value) in &other.live {
            let mine = self.live.entry(*dot).or_insert_with(|| value.clone());
            if *value > *mine {
                mine.clone_from(value);
            }
        }
        let removed = &self.removed;
        self.live.retain(|dot, _| !removed.contains(dot));
    }
}
