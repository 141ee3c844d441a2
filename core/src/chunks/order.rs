//! What a chunkserver has to do.

use serde::{Deserialize, Serialize};

use super::report::Address;
use crate::id::ChunkId;

/// One order. A chunkserver has at most one of each chunk at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Order {
    /// Make an empty chunk.
    Create {
        /// Its id.
        chunk: ChunkId,
        /// Its version.
        version: u32,
    },
    /// Raise the version.
    SetVersion {
        /// Which chunk.
        chunk: ChunkId,
        /// From.
        from: u32,
        /// To.
        to: u32,
    },
    /// Copy a shared chunk under a new id.
    Duplicate {
        /// The copy.
        chunk: ChunkId,
        /// Its version.
        version: u32,
        /// The shared one.
        from: ChunkId,
        /// Its version.
        from_version: u32,
    },
    /// Cut to this many bytes, raising the version.
    Truncate {
        /// Which chunk.
        chunk: ChunkId,
        /// From.
        from: u32,
        /// To.
        to: u32,
        /// Bytes that stay.
        bytes: u32,
    },
    /// Copy a shared chunk under a new id, and cut the copy.
    DupTrunc {
        /// The copy.
        chunk: ChunkId,
        /// Its version.
        version: u32,
        /// The shared one.
        from: ChunkId,
        /// Its version.
        from_version: u32,
        /// Bytes that stay.
        bytes: u32,
    },
    /// Fetch a copy from another chunkserver.
    Replicate {
        /// Which chunk.
        chunk: ChunkId,
        /// Its version.
        version: u32,
        /// From whom.
        source: Address,
    },
    /// Remove the copy, whatever its version.
    Delete {
        /// Which chunk.
        chunk: ChunkId,
    },
}

/// What an order is, without whom it concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum OrderKind {
    /// [`Order::Create`].
    Create,
    /// [`Order::SetVersion`].
    SetVersion,
    /// [`Order::Duplicate`].
    Duplicate,
    /// [`Order::Truncate`].
    Truncate,
    /// [`Order::DupTrunc`].
    DupTrunc,
    /// [`Order::Replicate`].
    Replicate,
    /// [`Order::Delete`].
    Delete,
}

impl Order {
    /// What it is.
    #[must_use]
    pub fn kind(&self) -> OrderKind {
        match self {
            Self::Create { .. } => OrderKind::Create,
            Self::SetVersion { .. } => OrderKind::SetVersion,
            Self::Duplicate { .. } => OrderKind::Duplicate,
            Self::Truncate { .. } => OrderKind::Truncate,
            Self::DupTrunc { .. } => OrderKind::DupTrunc,
            Self::Replicate { .. } => OrderKind::Replicate,
            Self::Delete { .. } => OrderKind::Delete,
        }
    }

    /// Its chunk; the new one where there are two.
    #[must_use]
    pub fn chunk(&self) -> ChunkId {
        match *self {
            Self::Create { chunk, .. }
            | Self::SetVersion { chunk, .. }
            | Self::Duplicate { chunk, .. }
            | Self::Truncate { chunk, .. }
            | Self::DupTrunc { chunk, .. }
            | Self::Replicate { chunk, .. }
            | Self::Delete { chunk } => chunk,
        }
    }
}
