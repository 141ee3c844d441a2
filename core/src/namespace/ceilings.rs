//! Where the room for ids, names and locks ends, as one value, so that tests can bring the ends
//! near: an end that takes a million requests to reach is never compared with anything.
//!
//! Every replica of a shard has to have the same; everybody but tests has [`Ceilings::default`].

use crate::id::Slot;
use crate::limits;

/// Ends that requests can run into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ceilings {
    /// Names of one node.
    pub names: u32,
    /// Holders, ranges and waiters of one lock table of one file.
    pub locks: usize,
    /// Slots that give out inodes: those below this one.
    pub inode_slots: u16,
    /// Inodes that one slot gives out in its life.
    pub inodes_per_slot: u32,
    /// Chunks that one slot gives out in its life.
    pub chunks_per_slot: u64,
    /// Directories between the root and a node.
    pub depth: usize,
    /// Sessions that a shard gives out in its life.
    pub sessions: u32,
    /// Chunkservers that are known at a time.
    pub chunkservers: usize,
}

impl Default for Ceilings {
    fn default() -> Self {
        Self {
            names: limits::LINK_COUNT_MAX,
            locks: limits::LOCK_COUNT_MAX,
            inode_slots: limits::SLOT_COUNT,
            inodes_per_slot: limits::INODE_SEQUENCE_END,
            chunks_per_slot: u64::MAX,
            depth: limits::DEPTH_MAX,
            sessions: u32::MAX,
            chunkservers: limits::CHUNKSERVER_COUNT_MAX,
        }
    }
}

impl Ceilings {
    /// Whether a slot that gave out so many inodes may give out another.
    #[must_use]
    pub fn has_inode(&self, slot: Slot, given: u64) -> bool {
        slot.0 < self.inode_slots && given < u64::from(self.inodes_per_slot)
    }
}
