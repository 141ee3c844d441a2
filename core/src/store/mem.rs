//! The plainest store: a map in memory, for tests and benches. It survives nothing.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use super::{CheckpointId, StateStore, StateView, StoreError, Visit, WriteBatch};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// An ordered map in memory. Snapshots share it; the first write after one copies it.
#[derive(Clone, Debug, Default)]
pub struct MemStore {
    map: Arc<Map>,
    building: Option<Map>,
    checkpoints: u64,
}

impl MemStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes of all keys and values, without the map's own overhead.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.map
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum()
    }

    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }
}

fn write_into(map: &mut Map, batch: WriteBatch) {
    for (key, value) in batch.changes {
        match value {
            Some(value) => map.insert(key, value),
            None => map.remove(&key),
        };
    }
}

impl StateView for MemStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.map.get(key).cloned())
    }

    fn scan(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        // A range whose end lies before its start is empty here; the map would panic.
        if let (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) =
            (from, to)
            && a >= b
            && !(a == b && matches!((from, to), (Bound::Included(_), Bound::Included(_))))
        {
            return Ok(());
        }
        for (key, value) in self.map.range::<[u8], _>((from, to)) {
            if let ControlFlow::Break(()) = visit(key, value) {
                break;
            }
        }
        Ok(())
    }
}

impl StateStore for MemStore {
    type Snapshot = Self;

    fn write(&mut self, batch: WriteBatch) -> Result<(), StoreError> {
        write_into(Arc::make_mut(&mut self.map), batch);
        Ok(())
    }

    fn snapshot(&self) -> Self {
        Self {
            map: Arc::clone(&self.map),
            building: None,
            checkpoints: 0,
        }
    }

    fn start_checkpoint(&mut self) -> CheckpointId {
        self.checkpoints += 1;
        CheckpointId(self.checkpoints)
    }

    fn restore_begin(&mut self) -> Result<(), StoreError> {
        self.building = Some(Map::new());
        Ok(())
    }

    fn restore_write(&mut self, batch: WriteBatch) -> Result<(), StoreError> {
        write_into(
            self.building.as_mut().expect("restore_begin comes first"),
            batch,
        );
        Ok(())
    }

    fn restore_commit(&mut self) -> Result<(), StoreError> {
        self.map = Arc::new(self.building.take().expect("restore_begin comes first"));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(view: &impl StateView, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        view.scan(from, to, &mut |key, _| {
            out.push(key.to_vec());
            ControlFlow::Continue(())
        })
        .unwrap();
        out
    }

    #[test]
    fn a_snapshot_does_not_see_later_writes() {
        let mut store = MemStore::new();
        let mut batch = WriteBatch::default();
        batch.put(b"a".to_vec(), b"1".to_vec());
        store.write(batch).unwrap();
        let before = store.snapshot();
        let mut batch = WriteBatch::default();
        batch.put(b"b".to_vec(), b"2".to_vec());
        batch.delete(b"a".to_vec());
        store.write(batch).unwrap();
        assert_eq!(
            keys(&before, Bound::Unbounded, Bound::Unbounded),
            [b"a".to_vec()]
        );
        assert_eq!(
            keys(&store, Bound::Unbounded, Bound::Unbounded),
            [b"b".to_vec()]
        );
    }

    #[test]
    fn backward_ranges_are_empty() {
        let mut store = MemStore::new();
        let mut batch = WriteBatch::default();
        batch.put(b"m".to_vec(), Vec::new());
        store.write(batch).unwrap();
        let (low, high) = (&b"a"[..], &b"z"[..]);
        assert!(keys(&store, Bound::Included(high), Bound::Included(low)).is_empty());
        assert!(keys(&store, Bound::Excluded(low), Bound::Excluded(low)).is_empty());
        assert_eq!(
            keys(&store, Bound::Included(b"m"), Bound::Included(b"m")).len(),
            1
        );
    }

    #[test]
    fn a_restored_state_replaces_all() {
        let mut store = MemStore::new();
        let mut batch = WriteBatch::default();
        batch.put(b"old".to_vec(), Vec::new());
        store.write(batch.clone()).unwrap();
        store.restore_begin().unwrap();
        let mut batch = WriteBatch::default();
        batch.put(b"new".to_vec(), Vec::new());
        store.restore_write(batch).unwrap();
        assert_eq!(store.get(b"new").unwrap(), None);
        store.restore_commit().unwrap();
        assert_eq!(
            keys(&store, Bound::Unbounded, Bound::Unbounded),
            [b"new".to_vec()]
        );
    }
}
