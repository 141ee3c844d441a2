//! Data of mounts' files: what a mount wants of chunkservers, what it is told, and what it then
//! says of its file.
//!
//! A block is one number, that of the change that made it so; 0 is what nobody wrote. A chunk has a
//! few of them, at the beginning.

use mfsha_core::id::{ChunkId, InodeId};
use mfsha_core::limits::CHUNK_BYTES;

/// Blocks of a chunk that are ever written.
pub const BLOCKS: usize = 4;
/// Bytes of a block, as MooseFS has them.
pub const BLOCK_BYTES: u64 = 65_536;
/// Chunks of a file at most.
pub const CHUNKS: u32 = 2;

/// A block of a file: which chunk of it, and which block of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block {
    /// Which chunk of the file.
    pub index: u32,
    /// Which block of the chunk.
    pub at: usize,
}

impl Block {
    /// All that a file may have, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..CHUNKS).flat_map(Self::of)
    }

    /// Those of one chunk.
    pub fn of(index: u32) -> impl Iterator<Item = Self> {
        (0..BLOCKS).map(move |at| Self { index, at })
    }

    /// Where it begins in its file.
    #[must_use]
    pub fn begin(self) -> u64 {
        u64::from(self.index) * CHUNK_BYTES + self.at as u64 * BLOCK_BYTES
    }

    /// Where it ends.
    #[must_use]
    pub fn end(self) -> u64 {
        self.begin() + BLOCK_BYTES
    }

    /// The block that begins here, if it is one that is ever written.
    #[must_use]
    pub fn beginning(bytes: u64) -> Option<Self> {
        Self::all().find(|block| block.begin() == bytes)
    }
}

/// What a mount says of what it does with a file's data. `op` names a change or a read for ever, and
/// a block that was written holds the number of its write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataFact {
    /// The file is there, and empty.
    Made {
        /// Which.
        file: InodeId,
    },
    /// It is about to be removed.
    Gone {
        /// Which.
        file: InodeId,
    },
    /// A write begins.
    Writes {
        /// Names it.
        op: u64,
        /// To this file.
        file: InodeId,
        /// To this block.
        block: Block,
    },
    /// A truncate begins: all from this length on is nobody's.
    Cuts {
        /// Names it.
        op: u64,
        /// Of this file.
        file: InodeId,
        /// To this length.
        length: u64,
    },
    /// The first chunk of another file is about to be appended to an empty one.
    Slices {
        /// Names it.
        op: u64,
        /// To this file.
        file: InodeId,
        /// Of this file.
        of: InodeId,
    },
    /// A change is over. `done`: the mount was told that it is done, and tells its application so;
    /// otherwise nobody knows.
    Changed {
        /// Which.
        op: u64,
        /// It is acknowledged.
        done: bool,
    },
    /// Room for an append is asked for.
    Reserves {
        /// Names the question.
        op: u64,
        /// Of this file.
        file: InodeId,
    },
    /// The append may write there.
    Reserved {
        /// Which question.
        op: u64,
        /// Where the room begins.
        begin: u64,
    },
    /// A read begins.
    Reads {
        /// Names it.
        op: u64,
        /// Of this file.
        file: InodeId,
        /// Of this block.
        block: Block,
    },
    /// The reader was told how long the file is.
    Length {
        /// Which read.
        op: u64,
        /// Bytes.
        length: u64,
    },
    /// A read is over.
    Read {
        /// Which.
        op: u64,
        /// What was read; nothing when it was given up.
        value: Option<u64>,
        /// Whose copy it was of; nobody's where the file has a hole, or ends.
        from: Option<(u8, ChunkId, u32)>,
    },
    /// A repair came to this.
    Repaired {
        /// Of this file.
        file: InodeId,
        /// Chunks that were given up.
        erased: u32,
        /// Chunks that were taken from copies of another version.
        repaired: u32,
    },
    /// A question was refused; it is asked again, or given up.
    Refused {
        /// Which.
        call: &'static str,
        /// Why, as MooseFS numbers it.
        status: u8,
    },
    /// It was told something that it must never be told.
    Wrong {
        /// What.
        what: String,
    },
}

/// Why a chunkserver did not do what a mount wanted of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trouble {
    /// Its copy has another version.
    Version(u32),
    /// It has no copy that can be used.
    NoCopy,
    /// Its disk could not write; the copy may be bad.
    Disk,
    /// It could not be reached, or died.
    Unreachable,
}

/// Who wants something of chunkservers. What comes for an earlier turn is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct By {
    pub mount: u8,
    pub thread: u32,
    pub turn: u64,
}

/// A block of a chunk of one version, as a mount names it to a chunkserver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub chunk: ChunkId,
    pub version: u32,
    pub at: usize,
}

/// What a mount wants.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub by: By,
    pub spot: Spot,
    pub what: Want,
}

/// See [`Wish`].
#[derive(Clone, Debug)]
pub(crate) enum Want {
    /// Data goes to the first of these, which hands it on to the next.
    Store { value: u64, servers: Vec<u8> },
    /// Data is wanted of this one.
    Fetch { server: u8 },
}

/// What it is told.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Served {
    /// All of the chain have it.
    Stored,
    /// The block holds this.
    Fetched(u64, u8),
    /// Something went wrong: some of the chain may have it, or none.
    Failed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_lie_one_behind_the_other_and_are_found_by_where_they_begin() {
        let all: Vec<Block> = Block::all().collect();
        assert_eq!(all.len(), CHUNKS as usize * BLOCKS);
        assert!(all.is_sorted_by_key(|block| block.begin()));
        for block in all {
            assert_eq!(Block::beginning(block.begin()), Some(block));
        }
        assert_eq!(Block::beginning(BLOCKS as u64 * BLOCK_BYTES), None);
        assert_eq!(Block { index: 1, at: 0 }.begin(), CHUNK_BYTES);
    }
}
