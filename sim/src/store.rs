//! A node's state store, faked: what was not checkpointed is lost in a crash, what was can rot.
//!
//! The store is a handle: the node holds one, the world another, through which it ends checkpoints
//! and breaks things. A checkpoint keeps the state of the moment it began; the world decides when
//! and how it ends. A crash before that keeps the checkpoint before.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::{Arc, Mutex, MutexGuard};

use mfsha_core::rng::Rng;
use mfsha_core::store::{
    CheckpointId, Pressure, StateStore, StateView, StoreError, Visit, WriteBatch,
};

use crate::draw;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// A handle on one node's store.
#[derive(Clone, Debug, Default)]
pub struct SimStore {
    inner: Arc<Mutex<Inner>>,
}

/// The state of one moment.
#[derive(Clone, Debug)]
pub struct SimSnapshot {
    map: Arc<Map>,
    store: SimStore,
}

/// How often what went wrong, for coverage: what came of faults, not what was planned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreCounts {
    /// Changes refused for want of space.
    pub full: u64,
    /// Reads that failed.
    pub read_errors: u64,
    /// Checkpoints that failed.
    pub failed: u64,
    /// Values that rotted.
    pub rotted: u64,
    /// Crashes that lost changes.
    pub lost: u64,
    /// Crashes that lost a checkpoint that was under way.
    pub cut_short: u64,
}

impl StoreCounts {
    /// Each with the name of the situation that it is.
    #[must_use]
    pub fn named(&self) -> [(&'static str, u64); 6] {
        let Self {
            full,
            read_errors,
            failed,
            rotted,
            lost,
            cut_short,
        } = *self;
        [
            ("state was full", full),
            ("state read failed", read_errors),
            ("checkpoint failed", failed),
            ("state rotted", rotted),
            ("state lost changes", lost),
            ("checkpoint cut short", cut_short),
        ]
    }

    /// Whether these may be the counts of the same store at a later time.
    #[must_use]
    pub fn is_after(&self, earlier: &Self) -> bool {
        let pairs = self.named().into_iter().zip(earlier.named());
        pairs.into_iter().all(|((_, now), (_, then))| now >= then)
    }
}

#[derive(Debug, Default)]
struct Inner {
    /// What the process sees.
    live: Arc<Map>,
    /// The last finished checkpoint: what a restart finds.
    durable: Arc<Map>,
    /// Checkpoints under way, oldest first.
    pending: Vec<(CheckpointId, Arc<Map>)>,
    /// A state that is being built beside the present one.
    building: Option<Map>,
    checkpoints: u64,
    /// The next checkpoint that ends will have failed.
    fail_next: bool,
    /// Reads that fail, parts of a million, and what draws them.
    read_errors: Option<(u32, Rng)>,
    /// No space is left for a state that is there already.
    full: bool,
    /// Room for changes that are not durable, in bytes; `None` when there is no bound.
    bytes_max: Option<usize>,
    /// Bytes written since the last checkpoint began, and those of checkpoints that failed.
    fresh_bytes: usize,
    /// Bytes that each checkpoint under way makes durable.
    pending_bytes: BTreeMap<CheckpointId, usize>,
    counts: StoreCounts,
}

impl Inner {
    fn dirty_bytes(&self) -> usize {
        self.fresh_bytes + self.pending_bytes.values().sum::<usize>()
    }
}

impl SimStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store with room for so many bytes of changes that are not durable.
    #[must_use]
    pub fn bounded(bytes_max: usize) -> Self {
        let inner = Inner {
            bytes_max: Some(bytes_max),
            ..Inner::default()
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
        }
    }

    /// A store that holds this, to look into it.
    #[must_use]
    pub fn of_image(image: Arc<Map>) -> Self {
        let inner = Inner {
            live: image,
            ..Inner::default()
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
        }
    }

    /// A store whose last checkpoint holds this, before its node starts.
    #[must_use]
    pub fn of_durable(image: Arc<Map>) -> Self {
        let inner = Inner {
            live: Arc::clone(&image),
            durable: image,
            ..Inner::default()
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
        }
    }

    /// The content of the last finished checkpoint.
    #[must_use]
    pub fn durable_image(&self) -> Arc<Map> {
        Arc::clone(&self.lock().durable)
    }

    /// The content of the newest checkpoint that is under way.
    #[must_use]
    pub fn pending_image(&self) -> Option<Arc<Map>> {
        let inner = self.lock();
        inner.pending.last().map(|(_, map)| Arc::clone(map))
    }

    /// A checkpoint ends now, well unless a failure was ordered. One that is not under way any
    /// more (the node crashed) ends in nothing: `None`.
    pub fn finish_checkpoint(&self, id: CheckpointId) -> Option<Result<(), StoreError>> {
        let mut inner = self.lock();
        let at = inner
            .pending
            .iter()
            .position(|(pending, _)| *pending == id)?;
        let (_, map) = inner.pending.remove(at);
        let bytes = inner.pending_bytes.remove(&id).unwrap_or(0);
        if std::mem::take(&mut inner.fail_next) {
            inner.fresh_bytes += bytes;
            inner.counts.failed += 1;
            return Some(Err(StoreError::Io {
                reason: "write error while checkpointing".into(),
            }));
        }
        inner.durable = map;
        Some(Ok(()))
    }

    /// The next checkpoint that ends will have failed.
    pub fn fail_next_checkpoint(&self) {
        self.lock().fail_next = true;
    }

    /// How often what went wrong so far.
    #[must_use]
    pub fn counts(&self) -> StoreCounts {
        self.lock().counts
    }

    /// From now on so many reads fail, parts of a million; none for `None`.
    pub fn set_read_errors(&self, errors: Option<(u32, Rng)>) {
        self.lock().read_errors = errors;
    }

    /// What the disk says to a read.
    fn read(&self) -> Result<(), StoreError> {
        let mut inner = self.lock();
        let Some((ppm, rng)) = &mut inner.read_errors else {
            return Ok(());
        };
        if !draw::ppm(rng, *ppm) {
            return Ok(());
        }
        inner.counts.read_errors += 1;
        Err(StoreError::Io {
            reason: "read error".into(),
        })
    }

    /// From now on there is no space for changes, or there is again.
    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// No failure is ordered any more, and there is space.
    pub fn heal(&self) {
        let mut inner = self.lock();
        inner.fail_next = false;
        inner.full = false;
        inner.read_errors = None;
    }

    /// The node's process is gone, and with it all that was not checkpointed. The next process
    /// counts its checkpoints from 1 again.
    pub fn crash(&self) {
        let mut inner = self.lock();
        inner.counts.lost += u64::from(inner.dirty_bytes() > 0);
        inner.counts.cut_short += u64::from(!inner.pending.is_empty());
        inner.live = Arc::clone(&inner.durable);
        inner.pending.clear();
        inner.pending_bytes.clear();
        inner.fresh_bytes = 0;
        inner.building = None;
        inner.checkpoints = 0;
    }

    /// Flips one bit of one value of the last checkpoint, chosen by `draw`; says which key. Shows
    /// after the next crash. `None` when there is no value to damage.
    pub fn rot(&self, draw: u64) -> Option<Vec<u8>> {
        let mut inner = self.lock();
        let mut map = Map::clone(&inner.durable);
        let full: Vec<Vec<u8>> = map
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, _)| key.clone())
            .collect();
        let key = full
            .get((draw % full.len().max(1) as u64) as usize)?
            .clone();
        let value = map.get_mut(&key).expect("the key was listed above");
        let bit = (draw >> 20) % (value.len() as u64 * 8);
        value[(bit / 8) as usize] ^= 1 << (bit % 8);
        inner.durable = Arc::new(map);
        inner.counts.rotted += 1;
        Some(key)
    }

    /// Another store that holds the same now, for looking at it.
    #[must_use]
    pub fn copy(&self) -> Self {
        let live = self.image();
        Self {
            inner: Arc::new(Mutex::new(Inner {
                live,
                ..Inner::default()
            })),
        }
    }

    /// The present content, for checkers.
    #[must_use]
    pub fn image(&self) -> Arc<Map> {
        Arc::clone(&self.lock().live)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner
            .lock()
            .expect("one thread; a panic in a node ends its life, not inside this lock")
    }
}

fn get(map: &Map, key: &[u8]) -> Option<Vec<u8>> {
    map.get(key).cloned()
}

fn scan(map: &Map, from: Bound<&[u8]>, to: Bound<&[u8]>, visit: Visit<'_>) {
    // A range that ends before it begins is empty; the map would panic.
    if let (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) =
        (from, to)
        && (a > b || (a == b && !matches!((from, to), (Bound::Included(_), Bound::Included(_)))))
    {
        return;
    }
    for (key, value) in map.range::<[u8], _>((from, to)) {
        if let ControlFlow::Break(()) = visit(key, value) {
            break;
        }
    }
}

fn write(map: &mut Map, batch: WriteBatch) {
    for (key, value) in batch.changes {
        match value {
            Some(value) => map.insert(key, value),
            None => map.remove(&key),
        };
    }
}

impl StateView for SimStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.read()?;
        Ok(get(&self.lock().live, key))
    }

    fn scan(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        self.read()?;
        // The visitor may come back to this store, so the lock is not held while it runs.
        let live = Arc::clone(&self.lock().live);
        scan(&live, from, to, visit);
        Ok(())
    }
}

impl StateView for SimSnapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.read()?;
        Ok(get(&self.map, key))
    }

    fn scan(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        self.store.read()?;
        scan(&self.map, from, to, visit);
        Ok(())
    }
}

impl StateStore for SimStore {
    type Snapshot = SimSnapshot;

    fn pressure(&self) -> Pressure {
        let inner = self.lock();
        match (inner.bytes_max, inner.dirty_bytes()) {
            (Some(max), dirty) if dirty >= max => Pressure::Full,
            (Some(max), dirty) if dirty >= max / 2 => Pressure::High,
            _ => Pressure::Low,
        }
    }

    fn write(&mut self, batch: WriteBatch) -> Result<(), StoreError> {
        let mut inner = self.lock();
        if inner.full && !inner.live.is_empty() {
            inner.counts.full += 1;
            return Err(StoreError::Full);
        }
        let bytes = |(key, value): (&Vec<u8>, &Option<Vec<u8>>)| {
            key.len() + value.as_ref().map_or(0, Vec::len)
        };
        inner.fresh_bytes += batch.changes.iter().map(bytes).sum::<usize>();
        write(Arc::make_mut(&mut inner.live), batch);
        Ok(())
    }

    fn snapshot(&self) -> SimSnapshot {
        SimSnapshot {
            map: self.image(),
            store: self.clone(),
        }
    }

    fn start_checkpoint(&mut self) -> CheckpointId {
        let mut inner = self.lock();
        inner.checkpoints += 1;
        let id = CheckpointId(inner.checkpoints);
        let map = Arc::clone(&inner.live);
        inner.pending.push((id, map));
        let bytes = std::mem::take(&mut inner.fresh_bytes);
        inner.pending_bytes.insert(id, bytes);
        id
    }

    fn restore_begin(&mut self) -> Result<(), StoreError> {
        self.lock().building = Some(Map::new());
        Ok(())
    }

    fn restore_write(&mut self, batch: WriteBatch) -> Result<(), StoreError> {
        let mut inner = self.lock();
        let building = inner.building.as_mut().expect("restore_begin comes first");
        write(building, batch);
        Ok(())
    }

    fn restore_commit(&mut self) -> Result<(), StoreError> {
        let mut inner = self.lock();
        let built = inner.building.take().expect("restore_begin comes first");
        inner.live = Arc::new(built);
        // What was not durable of the state before counts no more.
        inner.fresh_bytes = 0;
        inner.pending_bytes.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(store: &mut SimStore, key: &[u8], value: &[u8]) {
        let mut batch = WriteBatch::default();
        batch.put(key.to_vec(), value.to_vec());
        store.write(batch).unwrap();
    }

    #[test]
    fn a_crash_keeps_the_last_finished_checkpoint_and_nothing_else() {
        let mut store = SimStore::new();
        put(&mut store, b"a", b"1");
        let first = store.start_checkpoint();
        put(&mut store, b"b", b"2");
        let second = store.start_checkpoint();
        assert_eq!(store.finish_checkpoint(first), Some(Ok(())));
        put(&mut store, b"c", b"3");
        store.crash();
        assert_eq!(store.get(b"a").unwrap(), Some(b"1".to_vec()));
        assert_eq!(store.get(b"b").unwrap(), None);
        assert_eq!(store.get(b"c").unwrap(), None);
        assert_eq!(store.finish_checkpoint(second), None);
        assert_eq!(store.start_checkpoint(), CheckpointId(1));
    }

    #[test]
    fn a_failed_checkpoint_keeps_the_one_before() {
        let mut store = SimStore::new();
        put(&mut store, b"a", b"1");
        let id = store.start_checkpoint();
        store.fail_next_checkpoint();
        assert!(matches!(store.finish_checkpoint(id), Some(Err(_))));
        store.crash();
        assert_eq!(store.get(b"a").unwrap(), None);
        let counts = store.counts();
        assert_eq!((counts.failed, counts.lost, counts.cut_short), (1, 1, 0));
    }

    #[test]
    fn a_restored_state_is_lost_in_a_crash_before_its_checkpoint() {
        let mut store = SimStore::new();
        put(&mut store, b"old", b"1");
        let id = store.start_checkpoint();
        store.finish_checkpoint(id).unwrap().unwrap();
        store.restore_begin().unwrap();
        let mut batch = WriteBatch::default();
        batch.put(b"new".to_vec(), b"2".to_vec());
        store.restore_write(batch).unwrap();
        let before = store.snapshot();
        store.restore_commit().unwrap();
        assert_eq!(store.get(b"old").unwrap(), None);
        assert_eq!(before.get(b"old").unwrap(), Some(b"1".to_vec()));
        store.crash();
        assert_eq!(store.get(b"old").unwrap(), Some(b"1".to_vec()));
        assert_eq!(store.get(b"new").unwrap(), None);
    }

    #[test]
    fn room_comes_back_with_a_checkpoint_that_ended_well() {
        let mut store = SimStore::bounded(20);
        put(&mut store, b"0123456789", b"");
        assert_eq!(store.pressure(), Pressure::High);
        let failing = store.start_checkpoint();
        put(&mut store, b"0123456789", b"");
        assert_eq!(store.pressure(), Pressure::Full);
        store.fail_next_checkpoint();
        assert!(matches!(store.finish_checkpoint(failing), Some(Err(_))));
        assert_eq!(store.pressure(), Pressure::Full);
        let good = store.start_checkpoint();
        put(&mut store, b"a", b"");
        assert_eq!(store.finish_checkpoint(good), Some(Ok(())));
        assert_eq!(store.pressure(), Pressure::Low);
    }

    #[test]
    fn a_full_store_takes_nothing_and_loses_nothing() {
        let mut store = SimStore::new();
        put(&mut store, b"a", b"1");
        store.set_full(true);
        let mut batch = WriteBatch::default();
        batch.delete(b"a".to_vec());
        assert_eq!(store.write(batch), Err(StoreError::Full));
        assert_eq!(store.counts().full, 1);
        assert_eq!(store.get(b"a").unwrap(), Some(b"1".to_vec()));
        store.heal();
        put(&mut store, b"b", b"2");
    }

    #[test]
    fn rot_shows_after_a_crash() {
        let mut store = SimStore::new();
        assert_eq!(store.rot(7), None);
        put(&mut store, b"a", b"value");
        let id = store.start_checkpoint();
        store.finish_checkpoint(id).unwrap().unwrap();
        assert_eq!(store.rot(7 << 20), Some(b"a".to_vec()));
        assert_eq!(store.get(b"a").unwrap(), Some(b"value".to_vec()));
        store.crash();
        let rotten = store.get(b"a").unwrap().unwrap();
        assert_eq!(rotten.len(), 5);
        assert_ne!(rotten, b"value");
    }

    #[test]
    fn backward_ranges_are_empty() {
        let mut store = SimStore::new();
        put(&mut store, b"m", b"");
        let mut seen = 0;
        let (low, high) = (&b"a"[..], &b"z"[..]);
        store
            .scan(Bound::Included(high), Bound::Excluded(low), &mut |_, _| {
                seen += 1;
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(seen, 0);
    }
}
