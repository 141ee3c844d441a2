//! The contract of a state store, once for the plainest store and once for this one.

use mfsha_core::store::{MemStore, Pressure};

use super::super::Found;
use super::*;

fn each_store(check: impl Fn(&mut dyn FnMut() -> Box<dyn Checked>)) {
    check(&mut || Box::new(MemStore::new()));
    let directory = tempfile::tempdir().unwrap();
    let mut count = 0;
    check(&mut || {
        count += 1;
        Box::new(open(options(&directory.path().join(count.to_string()))).0)
    });
}

/// What is asked of any store.
trait Checked {
    fn snapshots_stay_as_they_were(&mut self);
    fn backward_ranges_are_empty(&mut self);
    fn a_restored_state_replaces_all_but_snapshots(&mut self);
    fn a_visitor_may_come_back_and_may_stop(&mut self);
}

impl<S: StateStore> Checked for S {
    fn snapshots_stay_as_they_were(&mut self) {
        put(self, b"a", b"1");
        let before = self.snapshot();
        put(self, b"b", b"2");
        let mut batch = WriteBatch::default();
        batch.delete(b"a".to_vec());
        batch.delete(b"never was".to_vec());
        self.write(batch).unwrap();
        assert_eq!(all(&before).into_keys().collect::<Vec<_>>(), [b"a"]);
        assert_eq!(all(self).into_keys().collect::<Vec<_>>(), [b"b"]);
        assert_eq!(before.get(b"a").unwrap(), Some(b"1".to_vec()));
        assert_eq!(self.get(b"a").unwrap(), None);
    }

    fn backward_ranges_are_empty(&mut self) {
        put(self, b"m", b"");
        let (low, high) = (&b"a"[..], &b"z"[..]);
        let of = |from, to| range(&*self, from, to).len();
        assert_eq!(of(Bound::Included(high), Bound::Included(low)), 0);
        assert_eq!(of(Bound::Excluded(low), Bound::Excluded(low)), 0);
        assert_eq!(of(Bound::Included(b"m"), Bound::Excluded(b"m")), 0);
        assert_eq!(of(Bound::Included(b"m"), Bound::Included(b"m")), 1);
        assert_eq!(of(Bound::Excluded(low), Bound::Excluded(high)), 1);
    }

    fn a_restored_state_replaces_all_but_snapshots(&mut self) {
        put(self, b"old", b"1");
        let before = self.snapshot();
        self.restore_begin().unwrap();
        let mut batch = WriteBatch::default();
        batch.put(b"thrown away".to_vec(), Vec::new());
        self.restore_write(batch).unwrap();
        self.restore_begin().unwrap();
        let mut batch = WriteBatch::default();
        batch.put(b"new".to_vec(), b"2".to_vec());
        self.restore_write(batch).unwrap();
        assert_eq!(self.get(b"new").unwrap(), None);
        put(self, b"late", b"3");
        self.restore_commit().unwrap();
        assert_eq!(all(self).into_keys().collect::<Vec<_>>(), [b"new"]);
        assert_eq!(all(&before).into_keys().collect::<Vec<_>>(), [b"old"]);
    }

    fn a_visitor_may_come_back_and_may_stop(&mut self) {
        for number in 0..2_000_u32 {
            put(self, &number.to_be_bytes(), b"v");
        }
        let mut seen = 0;
        let visit: mfsha_core::store::Visit<'_> = &mut |key, _| {
            seen += 1;
            assert_eq!(self.get(key).unwrap(), Some(b"v".to_vec()));
            drop(self.snapshot());
            if seen == 1_500 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        self.scan(Bound::Unbounded, Bound::Unbounded, visit)
            .unwrap();
        assert_eq!(seen, 1_500);
    }
}

#[test]
fn snapshots_stay_as_they_were() {
    each_store(|make| make().snapshots_stay_as_they_were());
}

#[test]
fn backward_ranges_are_empty() {
    each_store(|make| make().backward_ranges_are_empty());
}

#[test]
fn a_restored_state_replaces_all_but_snapshots() {
    each_store(|make| make().a_restored_state_replaces_all_but_snapshots());
}

#[test]
fn a_visitor_may_come_back_and_may_stop() {
    each_store(|make| make().a_visitor_may_come_back_and_may_stop());
}

#[test]
fn a_restart_finds_the_last_checkpoint_and_nothing_later() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, done) = open(options(directory.path()));
    assert_eq!(*store.found(), Found::Nothing);
    put(&mut store, b"a", b"1");
    checkpoint(&mut store, &done).unwrap();
    put(&mut store, b"b", b"2");
    drop(store);
    let (store, _done) = open(options(directory.path()));
    assert_eq!(*store.found(), Found::Checkpoint { verified: true });
    assert_eq!(all(&store).into_keys().collect::<Vec<_>>(), [b"a"]);
}

#[test]
fn a_restored_state_is_lost_before_its_checkpoint_and_kept_after() {
    let directory = tempfile::tempdir().unwrap();
    for kept in [false, true] {
        let (mut store, done) = open(options(directory.path()));
        put(&mut store, b"old", b"1");
        checkpoint(&mut store, &done).unwrap();
        store.restore_begin().unwrap();
        let mut batch = WriteBatch::default();
        batch.put(b"new".to_vec(), b"2".to_vec());
        store.restore_write(batch).unwrap();
        let before = store.snapshot();
        store.restore_commit().unwrap();
        put(&mut store, b"newer", b"3");
        if kept {
            checkpoint(&mut store, &done).unwrap();
            // The old environment's file is gone, but not for who has it open.
            assert_eq!(before.get(b"old").unwrap(), Some(b"1".to_vec()));
        }
        drop(before);
        drop(store);
        let (store, _done) = open(options(directory.path()));
        let keys: Vec<_> = all(&store).into_keys().collect();
        if kept {
            assert_eq!(keys, [&b"new"[..], b"newer"]);
        } else {
            assert_eq!(keys, [b"old"]);
        }
        let environments = super::super::directory::generations(directory.path());
        assert_eq!(environments.unwrap().len(), 1);
    }
}

#[test]
fn a_directory_belongs_to_one_store_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(options(directory.path()));
    let error = LmdbStore::open(options(directory.path()), |_| {}).err();
    let error = error.expect("the lock keeps it out");
    assert!(matches!(error, super::super::OpenError::Locked { .. }));
    drop(first);
    open(options(directory.path()));
}

#[test]
fn a_directory_that_cannot_be_made_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a-file");
    std::fs::write(&file, b"x").unwrap();
    let error = LmdbStore::open(options(&file.join("state")), |_| {}).err();
    let text = error.expect("it cannot be made").to_string();
    assert!(text.starts_with("cannot make directory"), "{text}");
    assert!(text.contains("a-file"), "{text}");
}

#[test]
fn keys_that_are_too_long_are_refused_whole() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, done) = open(options(directory.path()));
    let mut batch = WriteBatch::default();
    batch.put(b"a".to_vec(), b"1".to_vec());
    batch.put(vec![7; 511], b"1".to_vec());
    let error = store.write(batch).unwrap_err();
    assert!(error.to_string().contains("the limit is 510"), "{error}");
    assert_eq!(store.get(b"a").unwrap(), None);
    assert_eq!(store.get(&[7; 511]).unwrap(), None);
    put(&mut store, &[7; 510], b"2");
    put(&mut store, b"", b"3");
    checkpoint(&mut store, &done).unwrap();
    assert_eq!(store.get(&[7; 510]).unwrap(), Some(b"2".to_vec()));
    assert_eq!(store.get(b"").unwrap(), Some(b"3".to_vec()));
}

#[test]
fn memory_is_bounded_by_pressure_and_comes_back_with_a_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, done) = open(StoreOptions {
        memory_bytes_max: 100_000,
        ..options(directory.path())
    });
    let stats = store.stats();
    let mut number = 0_u32;
    let mut fill = |store: &mut LmdbStore, until| {
        while store.pressure() < until {
            number += 1;
            put(store, &number.to_be_bytes(), &[7; 100]);
        }
    };
    fill(&mut store, Pressure::High);
    assert!((50_000..51_000).contains(&stats.figures().dirty_bytes));
    let running = store.start_checkpoint();
    for number in 0..100_u32 {
        put(&mut store, &[number.to_be_bytes(); 2].concat(), &[7; 100]);
    }
    assert_eq!(done.recv().unwrap().checkpoint, running);
    // What was written while it ran stays.
    assert_eq!(store.pressure(), Pressure::Low);
    assert!((20_000..21_000).contains(&stats.figures().dirty_bytes));
    fill(&mut store, Pressure::Full);
    assert!((100_000..101_000).contains(&stats.figures().dirty_bytes));
    checkpoint(&mut store, &done).unwrap();
    assert_eq!(store.pressure(), Pressure::Low);
    let figures = stats.figures();
    assert_eq!((figures.dirty_bytes, figures.layers), (0, 0));
    assert_eq!((figures.held_bytes, figures.checkpoints), (0, 2));
    assert_eq!(figures.keys, all(&store).len() as u64);
    assert!(figures.disk_bytes > figures.state_bytes);
}

#[test]
fn the_bound_of_memory_may_change_while_the_store_is_open() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, _done) = open(options(directory.path()));
    for number in 0..100_u32 {
        put(&mut store, &number.to_be_bytes(), &[7; 100]);
    }
    assert_eq!(store.pressure(), Pressure::Low);
    let stats = store.stats();
    let dirty = stats.figures().dirty_bytes;
    for (most, pressure) in [
        (dirty, Pressure::Full),
        (dirty + 1, Pressure::High),
        (3 * dirty, Pressure::Low),
    ] {
        stats.set_memory_bytes_max(most);
        assert_eq!(store.pressure(), pressure, "{most} bytes at most");
    }
}

#[test]
fn many_snapshots_do_not_make_many_layers() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, done) = open(options(directory.path()));
    let mut held = Vec::new();
    for number in 0..3_000_u32 {
        put(&mut store, &number.to_be_bytes(), b"v");
        held.push(store.snapshot());
    }
    assert!(store.stats().figures().layers <= 12, "{:?}", store.stats());
    checkpoint(&mut store, &done).unwrap();
    for (number, snapshot) in held.iter().enumerate().step_by(97) {
        assert_eq!(all(snapshot).len(), number + 1);
    }
    drop(held);
    assert_eq!(store.pressure(), Pressure::Low);
    assert_eq!(store.stats().figures().held_bytes, 0);
    // Large ones are not united: there the store wants a checkpoint instead.
    let mut layers = 0_u32;
    while store.pressure() == Pressure::Low {
        layers += 1;
        assert!(layers < 100, "the store never wants a checkpoint");
        let mut batch = WriteBatch::default();
        for number in 0..4_200_u32 {
            batch.put(
                [layers.to_be_bytes(), number.to_be_bytes()].concat(),
                vec![],
            );
        }
        store.write(batch).unwrap();
        drop(store.snapshot());
    }
    assert_eq!(store.pressure(), Pressure::High);
}
