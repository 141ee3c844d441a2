//! The state of a node on its disk: an LMDB environment that always holds the last finished
//! checkpoint, and above it, in memory, every change since then.
//!
//! Knows nothing of what keys and values mean. What is written, in which order, and what a crash
//! leaves behind is told in `docs/protocols/store.md`.

mod base;
mod directory;
mod layer;
mod lmdb;
mod pages;
mod reaper;
mod restore;
mod scan;
mod stats;
mod sum;
#[cfg(test)]
mod tests;
mod verify;
mod writer;

use std::io;
use std::path::{Path, PathBuf};

use mfsha_core::store::{CheckpointId, StoreError};

pub use lmdb::{LmdbSnapshot, LmdbStore};
pub use stats::{Figures, StoreStats};
pub use sum::StateSum;
pub use verify::{Verdict, run_verify, verify};

/// Longest key that can be kept.
pub const KEY_BYTES_MAX: usize = 510;
/// Longest value that can be kept.
pub const VALUE_BYTES_MAX: usize = 1 << 30;

/// When the whole environment is read and checked before it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// When the process that had it open died, or its machine did.
    AfterCrash,
    /// At every start.
    Always,
    /// Not at all: damage is found when it is run into, which may end the process.
    Never,
}

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Directory that belongs to the store alone.
    pub directory: PathBuf,
    /// Memory for changes that are not durable yet, in bytes. From half of it on the store wants a
    /// checkpoint; at all of it, it is full until one has ended.
    pub memory_bytes_max: usize,
    /// Address space reserved for the file, and so the most that it can grow to, in bytes. Takes
    /// neither memory nor disk by itself.
    pub map_bytes_max: usize,
    /// When to check everything before use.
    pub verify: Verify,
}

impl StoreOptions {
    /// Options of production for everything that is not given.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            memory_bytes_max: 1 << 30,
            map_bytes_max: 1 << 40,
            verify: Verify::AfterCrash,
        }
    }
}

/// The end of a checkpoint, as the driver hears of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointDone {
    /// Which.
    pub checkpoint: CheckpointId,
    /// How it ended.
    pub result: Result<(), StoreError>,
}

/// What opening a store came upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing: the store is new and empty.
    Nothing,
    /// The last finished checkpoint. `verified` tells whether all of it was checked.
    Checkpoint {
        /// Whether every page was read and every sum computed.
        verified: bool,
    },
    /// Damage. The store is empty now, for the node to be healed from a peer; what was found was
    /// moved aside, for a human who has no peer.
    Damaged {
        /// What is wrong.
        reason: String,
        /// Where the damaged environment is now, if anything of it was left.
        kept: Option<PathBuf>,
    },
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another part of this one, has it open.
    #[error("directory {} is in use by another process (it holds the file lock)", .directory.display())]
    Locked {
        /// The directory.
        directory: PathBuf,
    },
    /// The system refused. The administrator looks at path, owner, space and mount options.
    #[error("cannot {action} {}: {source}; {}", .path.display(), crate::advice::advice(.source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// LMDB refused for another reason than damage.
    #[error("cannot open the state in {}: {reason}", .path.display())]
    Environment {
        /// The environment.
        path: PathBuf,
        /// What LMDB said.
        reason: String,
    },
}
