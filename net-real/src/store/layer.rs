//! Changes in memory: one layer that takes new ones, and frozen ones below it.
//!
//! A frozen layer is shared by the store, its snapshots and the writer, and never changes.

use std::collections::BTreeMap;
use std::collections::btree_map::Range;
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::reaper::{Reaped, Reaper};
use super::stats::StoreStats;

/// Key, and its new value or `None` when it was removed.
pub(super) type Map = BTreeMap<Box<[u8]>, Option<Box<[u8]>>>;

/// What an entry takes beside its key and value, about: two allocations and its place in the tree.
pub(super) const ENTRY_BYTES: usize = 96;

/// The layer that takes new changes.
#[derive(Debug, Default)]
pub(super) struct Layer {
    /// The changes.
    pub map: Map,
    /// Memory they take, about.
    pub bytes: usize,
}

impl Layer {
    /// Notes a change, over an earlier one of the same key.
    pub fn insert(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        let key_bytes = key.len();
        // A boxed slice has no spare capacity that nobody counts.
        let value = value.map(Vec::into_boxed_slice);
        self.bytes += entry_bytes(key_bytes, value.as_deref());
        if let Some(old) = self.map.insert(key.into_boxed_slice(), value) {
            self.bytes -= entry_bytes(key_bytes, old.as_deref());
        }
    }
}

fn entry_bytes(key_bytes: usize, value: Option<&[u8]>) -> usize {
    ENTRY_BYTES + key_bytes + value.map_or(0, <[u8]>::len)
}

/// A layer that does not change any more.
#[derive(Debug)]
pub(super) struct Frozen {
    /// Rises from the older to the newer layer.
    pub number: u64,
    layer: Reaped<Layer>,
    stats: StoreStats,
}

impl Frozen {
    /// Freezes a layer.
    pub fn new(number: u64, layer: Layer, reaper: &Reaper, stats: &StoreStats) -> Self {
        let held = &stats.shared().held_bytes;
        held.fetch_add(layer.bytes as u64, Ordering::Relaxed);
        Self {
            number,
            layer: Reaped::new(layer, reaper),
            stats: stats.clone(),
        }
    }

    /// The changes.
    pub fn map(&self) -> &Map {
        &self.layer.map
    }

    /// Memory they take, about.
    pub fn bytes(&self) -> usize {
        self.layer.bytes
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let held = &self.stats.shared().held_bytes;
        held.fetch_sub(self.layer.bytes as u64, Ordering::Relaxed);
    }
}

/// One layer made of two, the newer one's changes over the older one's.
pub(super) fn united(older: &Arc<Frozen>, newer: Layer) -> Layer {
    let mut layer = newer;
    for (key, value) in older.map() {
        if !layer.map.contains_key(key) {
            layer.bytes += entry_bytes(key.len(), value.as_deref());
            layer.map.insert(key.clone(), value.clone());
        }
    }
    layer
}

/// Whether a range of keys is empty by its bounds alone; the map would panic at some of these.
pub(super) fn is_backward(from: Bound<&[u8]>, to: Bound<&[u8]>) -> bool {
    match (from, to) {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (
            Bound::Included(from) | Bound::Excluded(from),
            Bound::Included(to) | Bound::Excluded(to),
        ) => from >= to,
        _ => false,
    }
}

/// The changes of one layer within a range.
type Source<'a> = Peekable<Range<'a, Box<[u8]>, Option<Box<[u8]>>>>;

/// The changes of many layers in order of key, the newest of each key alone.
pub(super) struct Merged<'a> {
    /// Newest first.
    sources: Vec<Source<'a>>,
}

impl<'a> Merged<'a> {
    /// Merges layers, newest first. The range must not be backward.
    pub fn new(
        layers: impl Iterator<Item = &'a Map>,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> Self {
        let sources = layers.map(|map| map.range::<[u8], _>((from, to)).peekable());
        Self {
            sources: sources.collect(),
        }
    }
}

impl<'a> Iterator for Merged<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        if let [only] = self.sources.as_mut_slice() {
            return only.next().map(|(key, value)| (&**key, value.as_deref()));
        }
        let mut first: Option<&'a [u8]> = None;
        for source in &mut self.sources {
            if let Some((key, _)) = source.peek()
                && first.is_none_or(|first| ***key < *first)
            {
                first = Some(key);
            }
        }
        let first = first?;
        let mut newest = None;
        for source in &mut self.sources {
            if let Some((_, value)) = source.next_if(|(key, _)| ***key == *first) {
                newest = newest.or(Some(value.as_deref()));
            }
        }
        newest.map(|value| (first, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(changes: &[(&str, Option<&str>)]) -> Layer {
        let mut layer = Layer::default();
        for (key, value) in changes {
            let value = value.map(|value| value.as_bytes().to_vec());
            layer.insert(key.as_bytes().to_vec(), value);
        }
        layer
    }

    #[test]
    fn memory_is_counted_once_per_key() {
        let mut layer = layer(&[("key", Some("long value")), ("key", Some("v"))]);
        assert_eq!(layer.bytes, ENTRY_BYTES + 4);
        layer.insert(b"key".to_vec(), None);
        assert_eq!(layer.bytes, ENTRY_BYTES + 3);
    }

    #[test]
    fn the_newest_change_of_a_key_counts() {
        let newest = layer(&[("b", None), ("d", Some("3"))]);
        let middle = layer(&[("a", Some("2")), ("b", Some("2"))]);
        let oldest = layer(&[("a", Some("1")), ("b", Some("1")), ("c", Some("1"))]);
        let maps = [&newest.map, &middle.map, &oldest.map];
        let merged = Merged::new(maps.into_iter(), Bound::Unbounded, Bound::Unbounded);
        let merged: Vec<_> = merged.collect();
        assert_eq!(
            merged,
            [
                (&b"a"[..], Some(&b"2"[..])),
                (b"b", None),
                (b"c", Some(b"1")),
                (b"d", Some(b"3")),
            ]
        );
    }

    #[test]
    fn two_layers_unite_to_what_they_mean_together() {
        let (reaper, stats) = (Reaper::start().unwrap(), StoreStats::default());
        let older = layer(&[("a", Some("1")), ("b", Some("1"))]);
        let older = Arc::new(Frozen::new(1, older, &reaper, &stats));
        let both = united(&older, layer(&[("b", None), ("c", Some("22"))]));
        let expected = layer(&[("a", Some("1")), ("b", None), ("c", Some("22"))]);
        assert_eq!((both.map, both.bytes), (expected.map, expected.bytes));
    }

    #[test]
    fn held_memory_is_let_go_with_the_last_holder() {
        let (reaper, stats) = (Reaper::start().unwrap(), StoreStats::default());
        let frozen = Arc::new(Frozen::new(1, layer(&[("a", None)]), &reaper, &stats));
        let other = Arc::clone(&frozen);
        drop(frozen);
        assert_eq!(stats.figures().held_bytes, ENTRY_BYTES as u64 + 1);
        drop(other);
        assert_eq!(stats.figures().held_bytes, 0);
    }
}
