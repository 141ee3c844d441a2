//! Random histories, against a map: of the plainest store, and of this one with crashes.

use mfsha_core::store::MemStore;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::store::Found;

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<(Vec<u8>, Option<Vec<u8>>)>),
    Hold,
    Release,
    Checkpoint,
    CheckpointAndWait,
    Scan(Bound<Vec<u8>>, Bound<Vec<u8>>),
    RestoreBegin,
    RestoreWrite(Vec<(Vec<u8>, Option<Vec<u8>>)>),
    RestoreCommit,
    Crash,
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => vec(prop_oneof![Just(0), Just(1), Just(7), Just(255)], 0..4),
        1 => Just(vec![9; 510]),
    ]
}

fn changes() -> impl Strategy<Value = Vec<(Vec<u8>, Option<Vec<u8>>)>> {
    let value = prop_oneof![
        3 => Just(None),
        6 => vec(any::<u8>(), 0..8).prop_map(Some),
        1 => (any::<u8>(), 1_000..20_000_usize).prop_map(|(byte, count)| Some(vec![byte; count])),
    ];
    vec((key(), value), 0..40)
}

fn bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![
        Just(Bound::Unbounded),
        key().prop_map(Bound::Included),
        key().prop_map(Bound::Excluded),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => changes().prop_map(Step::Write),
        2 => Just(Step::Hold),
        1 => Just(Step::Release),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::CheckpointAndWait),
        4 => (bound(), bound()).prop_map(|(from, to)| Step::Scan(from, to)),
        1 => Just(Step::RestoreBegin),
        2 => changes().prop_map(Step::RestoreWrite),
        1 => Just(Step::RestoreCommit),
        1 => Just(Step::Crash),
    ]
}

/// A store under test: how to wait for its checkpoints, and what a crash of it leaves.
trait Subject {
    type Store: StateStore;
    fn store(&mut self) -> &mut Self::Store;
    fn wait_for_checkpoints(&mut self);
    /// Whether it crashed: a store that survives nothing does not.
    fn crash(&mut self) -> bool;
}

impl Subject for MemStore {
    type Store = Self;

    fn store(&mut self) -> &mut Self {
        self
    }

    fn wait_for_checkpoints(&mut self) {}

    fn crash(&mut self) -> bool {
        false
    }
}

struct OnDisk {
    directory: tempfile::TempDir,
    opened: Option<(LmdbStore, Receiver<CheckpointDone>)>,
}

impl Subject for OnDisk {
    type Store = LmdbStore;

    fn store(&mut self) -> &mut LmdbStore {
        &mut self.opened.as_mut().unwrap().0
    }

    fn wait_for_checkpoints(&mut self) {
        let (store, done) = self.opened.as_mut().unwrap();
        checkpoint(store, done).unwrap();
    }

    /// Checkpoints that have begun end first, as they may in any crash.
    fn crash(&mut self) -> bool {
        self.opened = None;
        self.opened = Some(open(options(self.directory.path())));
        true
    }
}

fn batch(changes: &[(Vec<u8>, Option<Vec<u8>>)], model: &mut Model) -> WriteBatch {
    let mut batch = WriteBatch::default();
    for (key, value) in changes {
        match value {
            Some(value) => {
                batch.put(key.clone(), value.clone());
                model.insert(key.clone(), value.clone());
            }
            None => {
                batch.delete(key.clone());
                model.remove(key);
            }
        }
    }
    batch
}

fn run<T: Subject>(subject: &mut T, steps: &[Step]) {
    let (mut live, mut durable) = (Model::new(), Model::new());
    let mut building: Option<Model> = None;
    let mut held = Vec::new();
    for step in steps {
        match step {
            Step::Write(changes) => {
                let batch = batch(changes, &mut live);
                subject.store().write(batch).unwrap();
            }
            Step::Hold => held.push((live.clone(), subject.store().snapshot())),
            Step::Release => drop(held.pop()),
            Step::Checkpoint => {
                subject.store().start_checkpoint();
                durable.clone_from(&live);
            }
            Step::CheckpointAndWait => {
                subject.wait_for_checkpoints();
                durable.clone_from(&live);
            }
            Step::Scan(from, to) => {
                let from = from.as_ref().map(Vec::as_slice);
                let to = to.as_ref().map(Vec::as_slice);
                let wanted = live.iter().filter(|(key, _)| {
                    let key = key.as_slice();
                    let above = match from {
                        Bound::Included(from) => from <= key,
                        Bound::Excluded(from) => from < key,
                        Bound::Unbounded => true,
                    };
                    let below = match to {
                        Bound::Included(to) => key <= to,
                        Bound::Excluded(to) => key < to,
                        Bound::Unbounded => true,
                    };
                    above && below
                });
                let wanted: Vec<_> = wanted.map(|(k, v)| (k.clone(), v.clone())).collect();
                assert_eq!(range(subject.store(), from, to), wanted);
            }
            Step::RestoreBegin => {
                subject.store().restore_begin().unwrap();
                building = Some(Model::new());
            }
            Step::RestoreWrite(changes) => {
                if let Some(building) = &mut building {
                    let batch = batch(changes, building);
                    subject.store().restore_write(batch).unwrap();
                }
            }
            Step::RestoreCommit => {
                if let Some(built) = building.take() {
                    subject.store().restore_commit().unwrap();
                    live = built;
                }
            }
            Step::Crash => {
                // Its environment could not be opened again while a snapshot holds it.
                held.clear();
                if subject.crash() {
                    live.clone_from(&durable);
                    building = None;
                }
            }
        }
        for (key, value) in &live {
            assert_eq!(subject.store().get(key).unwrap().as_ref(), Some(value));
        }
        assert_eq!(all(subject.store()), live);
        for (model, snapshot) in &held {
            assert_eq!(all(snapshot), *model);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn the_plainest_store_is_the_model(steps in vec(step(), 1..40)) {
        run(&mut MemStore::new(), &steps);
    }

    #[test]
    fn the_store_on_disk_is_the_model(steps in vec(step(), 1..40)) {
        let directory = tempfile::tempdir().unwrap();
        let opened = Some(open(options(directory.path())));
        run(&mut OnDisk { directory, opened }, &steps);
    }
}

/// Found by the test above: a long value that is replaced within its own transaction.
#[test]
fn a_long_value_that_was_replaced_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let opened = Some(open(options(directory.path())));
    let mut subject = OnDisk { directory, opened };
    let store = subject.store();
    store.restore_begin().unwrap();
    for value in [vec![0; 4_081], Vec::new()] {
        let mut batch = WriteBatch::default();
        batch.put(vec![7], value);
        store.restore_write(batch).unwrap();
    }
    store.restore_commit().unwrap();
    subject.wait_for_checkpoints();
    subject.crash();
    assert_eq!(
        *subject.store().found(),
        Found::Checkpoint { verified: true }
    );
}
