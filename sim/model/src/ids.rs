//! Ids are foretold (decision 1): every slot counts what it gave out, and gives the next.
//!
//! So an outcome need not tell an id for the model to know it, and an id that is told is judged as
//! everything else is.

use std::collections::BTreeMap;
use std::ops::Range;

use mfsha_core::id::{ChunkId, InodeId, SessionId, Slot};
use mfsha_core::limits;
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::NodeKind;

use crate::state::Model;

/// How many ids were given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    /// By each slot. What is not here has given none.
    inodes: BTreeMap<u16, u32>,
    chunks: BTreeMap<u16, u64>,
    pub(crate) sessions: u32,
}

impl Given {
    /// Inode 0 means none, inode 1 is the root, chunk 0 is a hole: nobody gets those.
    pub(crate) fn at_first() -> Self {
        Self {
            inodes: BTreeMap::from([(0, 1), (1, 1)]),
            chunks: BTreeMap::from([(0, 1)]),
            sessions: 0,
        }
    }

    /// How many inodes and chunks each slot that gave out any has given out.
    pub(crate) fn of_slots(&self) -> BTreeMap<Slot, (u64, u64)> {
        let mut all: BTreeMap<Slot, (u64, u64)> = BTreeMap::new();
        for (slot, count) in &self.inodes {
            all.entry(Slot(*slot)).or_default().0 = u64::from(*count);
        }
        for (slot, count) in &self.chunks {
            all.entry(Slot(*slot)).or_default().1 = *count;
        }
        all
    }
}

impl Model {
    /// The id of a node that gets this name first. Directories spread over the slots, everything
    /// else lies beside its directory; a slot that is used up passes on to the next.
    pub(crate) fn new_inode(
        &mut self,
        parent: InodeId,
        name: &[u8],
        kind: NodeKind,
    ) -> Result<InodeId, FsError> {
        let slots = u32::from(limits::SLOT_COUNT);
        let first = match kind {
            NodeKind::Directory => hash(parent, name) % u64::from(slots),
            _ => u64::from(parent.0 % slots),
        };
        for slot in (first..u64::from(slots)).chain(0..first) {
            let count = self.given.inodes.get(&(slot as u16)).copied().unwrap_or(0);
            let id = u64::from(count) << limits::SLOT_BITS | slot;
            let fits = count < limits::INODE_SEQUENCE_END && id < u64::from(limits::INODE_END);
            let open = slot < u64::from(self.ceilings.inode_slots);
            if fits && open && count < self.ceilings.inodes_per_slot {
                self.given.inodes.insert(slot as u16, count + 1);
                return Ok(InodeId(id as u32));
            }
        }
        Err(FsError::NoSpace)
    }

    /// The id of a new chunk of a file: of the file's slot, and of no other.
    pub(crate) fn new_chunk(&mut self, file: InodeId) -> Result<ChunkId, FsError> {
        let slot = (file.0 % u32::from(limits::SLOT_COUNT)) as u16;
        let count = self.given.chunks.entry(slot).or_default();
        // The upper byte of a chunk's id stays zero.
        let end = self
            .ceilings
            .chunks_per_slot
            .min(1 << (56 - limits::SLOT_BITS));
        if *count >= end {
            return Err(FsError::NoSpace);
        }
        *count += 1;
        Ok(ChunkId((*count - 1) << limits::SLOT_BITS | u64::from(slot)))
    }

    /// How many ids of chunks a slot has given out or passed over.
    pub(crate) fn chunks_taken(&self, slot: Slot) -> u64 {
        self.given.chunks.get(&slot.0).copied().unwrap_or(0)
    }

    /// No chunk of this slot gets an id below `next` any more; gives those that none has had.
    pub(crate) fn skip_chunks(&mut self, slot: u16, next: u64) -> Result<Range<u64>, FsError> {
        let count = self.chunks_taken(Slot(slot));
        if next <= count {
            return Ok(count..count);
        }
        let end = 1 << (56 - limits::SLOT_BITS);
        if next > self.ceilings.chunks_per_slot.min(end) {
            return Err(FsError::NoSpace);
        }
        self.given.chunks.insert(slot, next);
        Ok(count..next)
    }

    /// The id of a new session.
    pub(crate) fn new_session(&mut self) -> Result<SessionId, FsError> {
        if self.given.sessions >= self.ceilings.sessions {
            return Err(FsError::NoSpace);
        }
        self.given.sessions += 1;
        Ok(SessionId(self.given.sessions))
    }
}

/// The first eight bytes of Blake3 over parent and name.
fn hash(parent: InodeId, name: &[u8]) -> u64 {
    let bytes = [&parent.0.to_be_bytes(), name].concat();
    let hash = blake3::hash(&bytes);
    let first = hash.as_bytes().first_chunk().expect("a hash has 32 bytes");
    u64::from_be_bytes(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise_within_a_slot_and_a_full_one_passes_on() {
        let mut model = Model::new();
        let mut take = |parent, kind| model.new_inode(parent, b"a", kind).unwrap();
        let first = take(InodeId::ROOT, NodeKind::File);
        assert_eq!(first, InodeId(1 << 14 | 1));
        assert_eq!(take(InodeId::ROOT, NodeKind::Fifo), InodeId(2 << 14 | 1));
        assert_eq!(take(first, NodeKind::File), InodeId(3 << 14 | 1));
        let dir = take(InodeId::ROOT, NodeKind::Directory);
        assert_ne!(dir, take(InodeId(2), NodeKind::Directory));
        let last = limits::SLOT_COUNT - 1;
        let full = limits::INODE_SEQUENCE_END;
        model.given.inodes.insert(last, full);
        let next = model.new_inode(InodeId(u32::from(last)), b"b", NodeKind::File);
        assert_eq!(
            next,
            Ok(InodeId(1 << 14)),
            "after the last slot comes the first"
        );
    }

    #[test]
    fn nothing_is_left_behind_the_ceilings() {
        let mut model = Model::new();
        model.ceilings.inode_slots = 2;
        model.ceilings.inodes_per_slot = 2;
        model.ceilings.chunks_per_slot = 2;
        model.ceilings.sessions = 1;
        let mut ids = Vec::new();
        while let Ok(id) = model.new_inode(InodeId::ROOT, b"a", NodeKind::File) {
            ids.push(id.0);
        }
        assert_eq!(ids, [1 << 14 | 1, 1 << 14]);
        assert_eq!(model.new_chunk(InodeId(2)), Ok(ChunkId(2)));
        assert_eq!(model.new_chunk(InodeId(2)), Ok(ChunkId(1 << 14 | 2)));
        assert_eq!(model.new_chunk(InodeId(2)), Err(FsError::NoSpace));
        assert_eq!(model.new_chunk(InodeId(0)), Ok(ChunkId(1 << 14)));
        assert_eq!(model.new_session(), Ok(SessionId(1)));
        assert_eq!(model.new_session(), Err(FsError::NoSpace));
    }
}
