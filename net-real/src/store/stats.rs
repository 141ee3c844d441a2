//! Figures of a store, for metrics: written by its threads, read by any other. The bound of its
//! memory alone is written from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A handle on the figures.
#[derive(Clone, Debug, Default)]
pub struct StoreStats(Arc<Shared>);

#[derive(Debug, Default)]
pub(super) struct Shared {
    pub memory_bytes_max: AtomicU64,
    pub dirty_bytes: AtomicU64,
    pub layers: AtomicU64,
    pub held_bytes: AtomicU64,
    pub disk_bytes: AtomicU64,
    pub keys: AtomicU64,
    pub state_bytes: AtomicU64,
    pub checkpoints: AtomicU64,
    pub failed: AtomicU64,
    pub last_us: AtomicU64,
    pub last_changes: AtomicU64,
    pub last_bytes: AtomicU64,
}

/// What the figures were at one moment, each by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Bound of the next.
    pub memory_bytes_max: u64,
    /// Memory that changes take which are not durable yet, about, in bytes.
    pub dirty_bytes: u64,
    /// Frozen layers of changes above the environment.
    pub layers: u64,
    /// Memory of all frozen layers that live, those that snapshots alone hold included, in bytes.
    pub held_bytes: u64,
    /// Length of the environment's file.
    pub disk_bytes: u64,
    /// Keys in the last checkpoint.
    pub keys: u64,
    /// Bytes of keys and values in the last checkpoint.
    pub state_bytes: u64,
    /// Checkpoints that ended well since the store was opened.
    pub checkpoints: u64,
    /// Checkpoints that failed since then.
    pub checkpoints_failed: u64,
    /// How long the last checkpoint took, from the moment the writer turned to it.
    pub last_checkpoint: Duration,
    /// Changed keys in it.
    pub last_checkpoint_changes: u64,
    /// Bytes of keys and values in it.
    pub last_checkpoint_bytes: u64,
}

impl StoreStats {
    pub(super) fn shared(&self) -> &Shared {
        &self.0
    }

    /// Gives the store another bound than [`super::StoreOptions::memory_bytes_max`], in bytes. What
    /// it holds already stays until the next checkpoint has ended.
    pub fn set_memory_bytes_max(&self, bytes: u64) {
        Shared::set(&self.0.memory_bytes_max, bytes);
    }

    /// What the figures are now.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let of = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        let shared = &*self.0;
        Figures {
            memory_bytes_max: of(&shared.memory_bytes_max),
            dirty_bytes: of(&shared.dirty_bytes),
            layers: of(&shared.layers),
            held_bytes: of(&shared.held_bytes),
            disk_bytes: of(&shared.disk_bytes),
            keys: of(&shared.keys),
            state_bytes: of(&shared.state_bytes),
            checkpoints: of(&shared.checkpoints),
            checkpoints_failed: of(&shared.failed),
            last_checkpoint: Duration::from_micros(of(&shared.last_us)),
            last_checkpoint_changes: of(&shared.last_changes),
            last_checkpoint_bytes: of(&shared.last_bytes),
        }
    }
}

impl Shared {
    pub(super) fn set(figure: &AtomicU64, value: u64) {
        figure.store(value, Ordering::Relaxed);
    }
}
