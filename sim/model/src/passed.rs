//! Numbers that chunkservers know and this state never gave out: it gives them to nothing, ever.

use mfsha_core::id::{ChunkId, Slot};
use mfsha_core::limits;
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{ChunkAction, Op, Reply, Unsettled};

use crate::state::Model;

impl Model {
    /// Ids of a slot, or versions of a chunk, are passed over.
    pub(crate) fn run_passed(&mut self, op: &Op) -> Result<Reply, FsError> {
        match op {
            Op::PassChunkIds { slot, next } => self.pass_ids(*slot, *next),
            Op::PassVersions {
                chunk,
                was,
                low,
                high,
            } => self.pass_versions(*chunk, *was, (*low, *high)),
            Op::ForgetPassedVersions { chunk, version } => {
                let known = *self.known_chunk(*chunk)?;
                if self.references().contains_key(chunk) {
                    return Err(FsError::ChunkBusy);
                }
                if known.version != *version {
                    return Err(FsError::Invalid);
                }
                self.passed_versions.remove(chunk);
                Ok(Reply::Done)
            }
            _ => unreachable!("dispatched by apply"),
        }
    }

    fn pass_ids(&mut self, slot: Slot, next: u64) -> Result<Reply, FsError> {
        if slot.0 >= limits::SLOT_COUNT {
            return Err(FsError::Invalid);
        }
        let fresh = self.skip_chunks(slot.0, next)?;
        if !fresh.is_empty() {
            let passed = self.passed_ids.entry(slot.0).or_default();
            passed.add(fresh.start, fresh.end - 1);
            passed.keep_few(limits::PASSED_IDS_MAX);
        }
        Ok(Reply::Done)
    }

    fn pass_versions(
        &mut self,
        chunk: ChunkId,
        was: u32,
        (low, high): (u32, u32),
    ) -> Result<Reply, FsError> {
        let known = *self.known_chunk(chunk)?;
        let is_settled = known.unsettled.is_none();
        let is_above = if is_settled { low > was } else { low >= was };
        if known.version != was || !is_above || high < low {
            return Err(FsError::Invalid);
        }
        if high >= limits::CHUNK_VERSION_MAX {
            return Err(FsError::NoSpace);
        }
        let mut passed = self
            .passed_versions
            .get(&chunk)
            .cloned()
            .unwrap_or_default();
        passed.add(low.into(), high.into());
        let count = passed.0.len();
        passed.keep_few(limits::PASSED_VERSIONS_MAX);
        // Versions that good copies may have are not given up.
        let good_from = match known.unsettled.map(|it| it.action) {
            Some(ChunkAction::Raised { from_version }) => from_version,
            Some(ChunkAction::Created | ChunkAction::Duplicated { .. }) => 0,
            Some(ChunkAction::Kept) | None => was,
        };
        if count > limits::PASSED_VERSIONS_MAX && passed.0[0].1 >= u64::from(good_from) {
            return Err(FsError::NoSpace);
        }
        self.passed_versions.insert(chunk, passed);
        let known = self.known_chunk(chunk)?;
        known.version = high + 1;
        known.unsettled.get_or_insert(Unsettled {
            action: ChunkAction::Raised { from_version: was },
            cut: None,
            inode: mfsha_core::id::InodeId(0),
            index: 0,
        });
        Ok(Reply::Done)
    }

    /// A chunk is forgotten; a copy of it in such a version is one of a chunk that never was.
    pub(crate) fn note_forgotten(&mut self, chunk: ChunkId) {
        if self.passed_versions.remove(&chunk).is_some() {
            let passed = self.passed_ids.entry(chunk.slot().0).or_default();
            passed.add(chunk.sequence(), chunk.sequence());
            passed.keep_few(limits::PASSED_IDS_MAX);
        }
    }
}

/// Numbers, as the first and the last of what follows one another, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Passed(Vec<(u64, u64)>);

impl Passed {
    fn add(&mut self, low: u64, high: u64) {
        self.0.push((low, high));
        self.0.sort_unstable();
        let mut joined: Vec<(u64, u64)> = Vec::new();
        for (low, high) in self.0.drain(..) {
            match joined.last_mut() {
                Some(last) if last.1 + 1 >= low => last.1 = last.1.max(high),
                _ => joined.push((low, high)),
            }
        }
        self.0 = joined;
    }

    /// Fills the lowest gap when there would be too many.
    fn keep_few(&mut self, most: usize) {
        if self.0.len() > most {
            let (low, high) = (self.0[0].0, self.0[1].1);
            self.add(low, high);
        }
    }

    pub(crate) fn to_vec(&self) -> Vec<(u64, u64)> {
        self.0.clone()
    }
}
