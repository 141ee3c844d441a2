//! What needs chunkservers, and is carried out by whoever knows them.

use crate::id::{ChunkId, InodeId};
use crate::namespace::op::{Caller, ChunkAction, ChunkInfo};

/// A request, or the rest of one, that needs chunkservers. Nothing of it was done yet but what a
/// variant says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChunkRequest {
    /// READ_CHUNK: where the copies of a chunk are. The namespace was asked; the chunk is no hole,
    /// and not locked for a writer.
    Read {
        /// The chunk in its file.
        info: ChunkInfo,
        /// Length of the file, bytes.
        length: u64,
    },
    /// WRITE_CHUNK: a chunk to write to. Whether its version has to rise depends on its copies, so
    /// the namespace was not asked yet.
    Write {
        /// Who writes.
        caller: Caller,
        /// The file.
        inode: InodeId,
        /// Which of its chunks.
        index: u32,
        /// The writer goes on under its own lock.
        go_on: bool,
        /// Space that is reserved for root may be used.
        reserved_space: bool,
        /// Times may be touched.
        may_touch_times: bool,
    },
    /// TRUNCATE: the chunk at the new end has to be cut, and `TruncateEnd` to be applied then; what
    /// comes of that goes back to the task. The namespace has made or raised the chunk, and locked
    /// it.
    Truncate {
        /// Who truncates.
        caller: Caller,
        /// The file.
        inode: InodeId,
        /// Which of its chunks.
        index: u32,
        /// The chunk that is there now.
        chunk: ChunkId,
        /// Its version.
        version: u32,
        /// What became of it.
        action: ChunkAction,
        /// Bytes that are left of it.
        bytes: u32,
        /// Length of the file afterwards, bytes.
        length: u64,
    },
    /// CHECK: copies of a file's chunks, or of one.
    Check {
        /// Who asks.
        caller: Caller,
        /// The file.
        inode: InodeId,
        /// Which chunk; `None`: counts of all.
        index: Option<u32>,
    },
    /// REPAIR: versions that have copies, or holes, in place of chunks that have none.
    Repair {
        /// Who repairs.
        caller: Caller,
        /// The file.
        inode: InodeId,
    },
    /// NODE_INFO: nodes of a directory, or chunks of a file with their sizes and copies.
    NodeInfo {
        /// Who asks.
        caller: Caller,
        /// The node.
        inode: InodeId,
        /// How many at most.
        entries_max: u32,
        /// Where a part before went on.
        next: u64,
    },
}
