//! What the store promises, against a model, against crashes, against damage, against want of room.

mod contract;
mod corruption;
mod crash;
mod node;
mod random;
mod room;

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::path::Path;
use std::sync::mpsc::{self, Receiver};

use mfsha_core::store::{StateStore, StateView, StoreError, WriteBatch};

use super::{CheckpointDone, LmdbStore, StoreOptions, Verify};

/// What a store should hold.
pub(super) type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// Little address space, and a check at every start.
pub(super) fn options(directory: &Path) -> StoreOptions {
    StoreOptions {
        map_bytes_max: 256 << 20,
        verify: Verify::Always,
        ..StoreOptions::new(directory)
    }
}

/// A store, and the ends of its checkpoints.
pub(super) fn open(options: StoreOptions) -> (LmdbStore, Receiver<CheckpointDone>) {
    let (sender, done) = mpsc::channel();
    let report = move |end| {
        // Who does not wait for the end has dropped the receiver.
        let _ = sender.send(end);
    };
    (LmdbStore::open(options, report).unwrap(), done)
}

/// Makes a checkpoint and waits for its end.
pub(super) fn checkpoint(
    store: &mut LmdbStore,
    done: &Receiver<CheckpointDone>,
) -> Result<(), StoreError> {
    let checkpoint = store.start_checkpoint();
    loop {
        let end = done.recv().unwrap();
        if end.checkpoint == checkpoint {
            return end.result;
        }
    }
}

pub(super) fn put(store: &mut impl StateStore, key: &[u8], value: &[u8]) {
    let mut batch = WriteBatch::default();
    batch.put(key.to_vec(), value.to_vec());
    store.write(batch).unwrap();
}

/// Everything in a view.
pub(super) fn all(view: &impl StateView) -> Model {
    range(view, Bound::Unbounded, Bound::Unbounded)
        .into_iter()
        .collect()
}

pub(super) fn range(
    view: &impl StateView,
    from: Bound<&[u8]>,
    to: Bound<&[u8]>,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut out: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    view.scan(from, to, &mut |key, value| {
        assert!(out.last().is_none_or(|(last, _)| last[..] < *key), "order");
        out.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    })
    .unwrap();
    out
}
