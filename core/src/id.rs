//! Newtype ids. A bare integer never names a thing.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($int:ty), $prefix:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
        )]
        pub struct $name(pub $int);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

id! {
    /// One node of the cluster. Never reused: a node that lost its disk returns under a new id.
    NodeId(u64), "n"
}
id! {
    /// One Raft group: a shard, or the config group.
    GroupId(u32), "g"
}
id! {
    /// Position in a group's Raft log; the first entry is 1, 0 means "nothing yet".
    LogIndex(u64), "i"
}
id! {
    /// Raft term.
    Term(u64), "t"
}
id! {
    /// A client session: one mount, one native client. 0 means "no session".
    SessionId(u32), "s"
}
id! {
    /// One client thread's sequence of requests; at most one request of a lane is outstanding.
    Lane(u32), "l"
}
id! {
    /// Number of a request within its lane; rises with every new request, equal means repeated.
    RequestSeq(u64), "q"
}
id! {
    /// A write handed to the log; an effect that must wait for it names it.
    WriteId(u64), "w"
}
id! {
    /// An inode. `sequence << 14 | slot`, so that routing is a shift (design: ids, slots, shards).
    InodeId(u32), "ino"
}
id! {
    /// A chunk. `sequence << 14 | slot` of the file that made it; 0 is a hole. The upper 8 bits
    /// stay zero: newer MooseFS software gives them a meaning.
    ChunkId(u64), "c"
}
id! {
    /// A chunkserver within its cluster, given by the master; 0 means that it has none yet.
    CsId(u16), "cs"
}
id! {
    /// One of [`limits::SLOT_COUNT`] slots of the key space.
    Slot(u16), "slot"
}

impl LogIndex {
    /// The index after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Slot {
    /// The slot that a hash falls into.
    #[must_use]
    pub fn of_hash(hash: u64) -> Self {
        Self((hash % u64::from(limits::SLOT_COUNT)) as u16)
    }
}

impl InodeId {
    /// The root directory.
    pub const ROOT: Self = Self(1);

    /// Builds the id of the `sequence`-th inode of a slot, or `None` when the slot is used up
    /// (17 bits of sequence, and ids stay below [`limits::INODE_END`]).
    #[must_use]
    pub fn from_parts(sequence: u32, slot: Slot) -> Option<Self> {
        if sequence >= limits::INODE_SEQUENCE_END {
            return None;
        }
        let id = sequence << limits::SLOT_BITS | u32::from(slot.0);
        (id < limits::INODE_END).then_some(Self(id))
    }

    /// The slot where everything about this inode lives.
    #[must_use]
    pub fn slot(self) -> Slot {
        Slot((self.0 & u32::from(limits::SLOT_COUNT - 1)) as u16)
    }

    /// Which inode of its slot this is.
    #[must_use]
    pub fn sequence(self) -> u32 {
        self.0 >> limits::SLOT_BITS
    }
}

impl ChunkId {
    /// "No chunk here": reads as zeros.
    pub const HOLE: Self = Self(0);

    /// Builds the id of the `sequence`-th chunk of a slot, or `None` when 42 bits are used up.
    #[must_use]
    pub fn from_parts(sequence: u64, slot: Slot) -> Option<Self> {
        let sequence_bits = 56 - limits::SLOT_BITS;
        (sequence < 1 << sequence_bits)
            .then_some(Self(sequence << limits::SLOT_BITS | u64::from(slot.0)))
    }

    /// The slot of the file that made the chunk.
    #[must_use]
    pub fn slot(self) -> Slot {
        Slot((self.0 & u64::from(limits::SLOT_COUNT - 1)) as u16)
    }

    /// Which chunk of its slot this is.
    #[must_use]
    pub fn sequence(self) -> u64 {
        self.0 >> limits::SLOT_BITS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_the_first_inode_of_slot_one() {
        assert_eq!(InodeId::ROOT.slot(), Slot(1));
        assert_eq!(InodeId::ROOT.sequence(), 0);
        assert_eq!(InodeId::from_parts(0, Slot(1)), Some(InodeId::ROOT));
    }

    #[test]
    fn inode_ids_stay_below_what_the_clients_keep_for_themselves() {
        assert_eq!(
            InodeId::from_parts(limits::INODE_SEQUENCE_END, Slot(0)),
            None
        );
        let last = InodeId::from_parts(limits::INODE_SEQUENCE_END - 5, Slot(16_383)).unwrap();
        assert!(last.0 < limits::INODE_END);
        assert_eq!(
            InodeId::from_parts(limits::INODE_SEQUENCE_END - 1, Slot(0)),
            None
        );
    }

    #[test]
    fn chunk_ids_keep_their_upper_byte_zero() {
        let last = ChunkId::from_parts((1 << 42) - 1, Slot(16_383)).unwrap();
        assert_eq!(last.0 >> 56, 0);
        assert_eq!(ChunkId::from_parts(1 << 42, Slot(0)), None);
    }
}
