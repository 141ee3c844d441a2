//! Whether this node's state may be older than what chunkservers have.
//!
//! Nobody can see of a state that it was restored from a backup. What tells is a chunkserver that
//! has newer chunks; until those of the state have named theirs in this life of the node, numbers
//! that the state would give out next may be on one that is still to come. So what is made meanwhile
//! takes numbers far above those: a copy that turns up is then seen to be of another history,
//! whatever it is. Nobody waits for it.

use std::collections::BTreeMap;

use super::keeper::{Keeper, Records};
use crate::id::{ChunkId, Slot};
use crate::limits;
use crate::namespace::op::ChunkAction;
use crate::store::StoreError;
use crate::time::Instant;

/// Ids of a slot that are left out: more than were given out there since any backup. Of 2^42.
pub(super) const IDS: u64 = 1 << 20;
/// Versions of a chunk that are left out: more than it had since any backup. Of 2^32.
pub(super) const VERSIONS: u32 = 1 << 10;
/// Chunks of which it is remembered; of one that is forgotten versions are left out once more.
const CHUNKS_MAX: usize = 100_000;

/// What was left out in this life of the node.
#[derive(Debug, Default)]
pub(super) struct Doubt {
    /// The first step of this life.
    began: Option<Instant>,
    over: bool,
    /// Ids of a slot from here on were given out by no state before.
    slots: BTreeMap<Slot, u64>,
    /// The same of a chunk's versions.
    chunks: BTreeMap<ChunkId, u32>,
}

impl Doubt {
    /// The time of a step.
    pub(super) fn set_now(&mut self, now: Instant) {
        self.began.get_or_insert(now);
    }
}

impl Keeper {
    fn is_in_doubt(&mut self, records: &dyn Records) -> Result<bool, StoreError> {
        if self.doubt.over {
            return Ok(false);
        }
        // One that was added since the backup is in no state: it is given time to come.
        let is_young = |began: Instant| self.now < began + self.options.doubt;
        if self.doubt.began.is_none_or(is_young) {
            return Ok(true);
        }
        let known = records.chunkservers()?;
        let has_named = known.iter().all(|info| self.map.has_named(info.csid));
        if has_named {
            let began = self.doubt.began;
            let over = true;
            self.doubt = Doubt {
                began,
                over,
                ..Doubt::default()
            };
        }
        Ok(!has_named)
    }

    /// Versions from `version`, which nobody was told of yet, that a chunk has to leave out.
    pub(super) fn doubtful(
        &mut self,
        chunk: ChunkId,
        version: u32,
        action: ChunkAction,
        records: &dyn Records,
    ) -> Result<Option<(u32, u32)>, StoreError> {
        #[cfg(feature = "planted-bugs")]
        if self.options.bug == Some(crate::planted::Bug::NumbersOfTheFutureGiven) {
            return Ok(None);
        }
        if !self.is_in_doubt(records)? {
            return Ok(None);
        }
        if matches!(
            action,
            ChunkAction::Created | ChunkAction::Duplicated { .. }
        ) {
            self.leave_out_ids(chunk.slot(), records)?;
        }
        let ids = self.doubt.slots.get(&chunk.slot());
        if ids.is_some_and(|first| chunk.sequence() >= *first) {
            return Ok(None);
        }
        let Some(next) = version.checked_add(VERSIONS) else {
            return Ok(None);
        };
        let chunks = &mut self.doubt.chunks;
        let is_above = chunks.get(&chunk).is_some_and(|first| version >= *first);
        if is_above || next > limits::CHUNK_VERSION_MAX {
            return Ok(None);
        }
        if chunks.len() >= CHUNKS_MAX {
            chunks.clear();
        }
        chunks.insert(chunk, next);
        Ok(Some((version, next - 1)))
    }

    /// The next new chunks of a slot get ids above all doubt.
    fn leave_out_ids(&mut self, slot: Slot, records: &dyn Records) -> Result<(), StoreError> {
        let taken = records.chunk_ids_taken(slot)?;
        let first = *self.doubt.slots.entry(slot).or_insert(taken + IDS);
        if taken < first {
            self.pass_over_if_room(slot, first);
        }
        Ok(())
    }
}
