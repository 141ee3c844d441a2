//! Last-writer-wins registers and maps of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Lattice;
use crate::time::Stamp;

/// A register: the write with the highest stamp wins. Of two writes with the same stamp (which no
/// two correct writers make) the greater value wins, so that the join stays commutative.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Lww<T>(Option<(Stamp, T)>);

impl<T> Default for Lww<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Clone + Ord> Lww<T> {
    /// A register written at `stamp`.
    #[must_use]
    pub fn at(stamp: Stamp, value: T) -> Self {
        Self(Some((stamp, value)))
    }

    /// The delta that writes `value`, its stamp raised above what `self` holds.
    #[must_use]
    pub fn write(&self, stamp: Stamp, value: T) -> Self {
        let stamp = self.0.as_ref().map_or(stamp, |(old, _)| stamp.above(*old));
        Self(Some((stamp, value)))
    }

    /// The value, if it was ever written.
    #[must_use]
    pub fn get(&self) -> Option<&T> {
        self.0.as_ref().map(|(_, value)| value)
    }

    /// When it was written.
    #[must_use]
    pub fn stamp(&self) -> Option<Stamp> {
        self.0.as_ref().map(|(stamp, _)| *stamp)
    }

    /// Stamp and value.
    #[must_use]
    pub fn parts(&self) -> Option<&(Stamp, T)> {
        self.0.as_ref()
    }

    /// Whether it was never written.
    #[must_use]
    pub fn is_bottom(&self) -> bool {
        self.0.is_none()
    }
}

impl<T: Clone + Ord + Default> Lww<T> {
    /// The value, or the type's default when it was never written.
    #[must_use]
    pub fn value(&self) -> T {
        self.get().cloned().unwrap_or_default()
    }
}

impl<T: Clone + Ord> Lattice for Lww<T> {
    fn join(&mut self, other: &Self) {
        if other.0 > self.0 {
            self.0.clone_from(&other.0);
        }
    }
}

/// A map of registers. A removed key is a register that holds `None`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LwwMap<K: Ord, V>(BTreeMap<K, Lww<Option<V>>>);

impl<K: Ord, V> Default for LwwMap<K, V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Clone, V: Ord + Clone> LwwMap<K, V> {
    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        self.0.get(key)?.get()?.as_ref()
    }

    /// The delta that sets a key, or removes it.
    #[must_use]
    pub fn write(&self, key: K, stamp: Stamp, value: Option<V>) -> Self {
        let register = self
            .0
            .get(&key)
            .cloned()
            .unwrap_or_default()
            .write(stamp, value);
        Self(BTreeMap::from([(key, register)]))
    }

    /// Keys that hold a value, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0
            .iter()
            .filter_map(|(key, register)| Some((key, register.get()?.as_ref()?)))
    }
}

impl<K: Ord + Clone, V: Ord + Clone> Lattice for LwwMap<K, V> {
    fn join(&mut self, other: &Self) {
        for (key, register) in &other.0 {
            self.0.entry(key.clone()).or_default().join(register);
        }
    }
}
