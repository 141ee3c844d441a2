//! The state of one group as an ordered map of bytes.
//!
//! Writes are not durable by themselves: a checkpoint makes all writes before it durable together,
//! in the background, and a restart begins at the last finished checkpoint and replays the log.
//! Who writes puts the applied index into the same batch, so a checkpoint always knows where the
//! replay has to begin. The store need not notice that stored bytes changed: its user seals every
//! value with a checksum over key and value, and reports [`StoreError::Corrupt`] itself.

mod mem;

use std::ops::{Bound, ControlFlow};

pub use mem::MemStore;

/// Number of a checkpoint, rising from 1 for each opened store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckpointId(pub u64);

/// What a store, or a state read from it, can say no with. The replica never goes on with half a
/// state, and throws nothing away: what it has is replaced only by a peer's whole state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The stored bytes are not what was written: damage of this replica, which a peer can heal.
    #[error("value of key {key:02x?} is damaged: {reason}")]
    Corrupt {
        /// The key.
        key: Vec<u8>,
        /// What is wrong with its value.
        reason: String,
    },
    /// What was written is there, and means what cannot be: two records contradict each other, or a
    /// newer version of this program wrote them. The same on every replica, so no peer can heal it.
    #[error("the state contradicts itself at key {key:02x?}: {reason}")]
    Contradiction {
        /// The key.
        key: Vec<u8>,
        /// What cannot be.
        reason: String,
    },
    /// No space is left. What is stored is as it was: make room and start again.
    #[error("no space left in the state store: free some space on its disk, or use another disk")]
    Full,
    /// Reading or writing failed.
    #[error("state store: {reason}")]
    Io {
        /// What the system said.
        reason: String,
    },
}

/// How much of its room for changes that are not durable yet a store has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// Enough is left.
    Low,
    /// A checkpoint should begin now.
    High,
    /// None is left: nothing should be written before a checkpoint has ended well.
    Full,
}

/// Changes that happen together or not at all. The last change of a key counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteBatch {
    /// Key, and its new value or `None` for removal, in order of key.
    pub changes: std::collections::BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl WriteBatch {
    /// Sets a key.
    pub fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.changes.insert(key, Some(value));
    }

    /// Removes a key, present or not.
    pub fn delete(&mut self, key: Vec<u8>) {
        self.changes.insert(key, None);
    }
}

/// Visits one key and value; `Break` ends the scan.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// Something to read from.
pub trait StateView {
    /// The value of a key.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Visits keys in rising order between the bounds.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn scan(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        visit: Visit<'_>,
    ) -> Result<(), StoreError>;
}

/// The state of one group.
///
/// A store that was just opened holds what its last finished checkpoint held, durably: its user
/// counts what is applied there as a durable snapshot, and lets the log be purged up to it.
pub trait StateStore: StateView {
    /// The state as it was at one moment; later writes do not show in it.
    type Snapshot: StateView + Send + 'static;

    /// How much room is left for changes. A store that is full still takes what it is given: the
    /// bound is kept by who writes.
    fn pressure(&self) -> Pressure {
        Pressure::Low
    }

    /// Carries out a batch. Not durable before the next checkpoint.
    ///
    /// # Errors
    /// See [`StoreError`]; then nothing of the batch was done.
    fn write(&mut self, batch: WriteBatch) -> Result<(), StoreError>;

    /// The state of now, to read from while writing goes on.
    fn snapshot(&self) -> Self::Snapshot;

    /// Begins to make everything written so far durable. The driver reports the end, good or bad,
    /// under the number given here.
    fn start_checkpoint(&mut self) -> CheckpointId;

    /// Begins to build another state beside the present one, empty at first.
    /// One that was begun earlier and not finished is thrown away.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn restore_begin(&mut self) -> Result<(), StoreError>;

    /// Adds to the state that is being built.
    ///
    /// # Errors
    /// See [`StoreError`].
    ///
    /// # Panics
    /// When none is being built.
    fn restore_write(&mut self, batch: WriteBatch) -> Result<(), StoreError>;

    /// Puts the state that was built in place of the present one, at once and for all readers but
    /// snapshots. A crash before the next finished checkpoint returns to the state before.
    ///
    /// # Errors
    /// See [`StoreError`]; then the present state stays.
    ///
    /// # Panics
    /// When none is being built.
    fn restore_commit(&mut self) -> Result<(), StoreError>;
}

impl<V: StateView + ?Sized> StateView for &V {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        (**self).get(key)
    }

    fn scan(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        (**self).scan(from, to, visit)
    }
}
