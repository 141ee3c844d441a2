//! Chunks without a usable copy, as a person wants them repaired (mfsfilerepair).
//!
//! The leader judges each chunk by the copies that it knows of, and only while every chunkserver is
//! there and has had time to find its copies: what is given up here is lost. One command after the
//! other says what was judged and of which version, so that none is carried out on anything else.

use std::collections::VecDeque;

use super::jobs::Came;
use super::keeper::{Act, Asker, ChunkAnswer, Keeper, Records, Refusal, Repairs};
use super::sound::Sound;
use crate::id::{ChunkId, InodeId};
use crate::namespace::op::{ChunkAction, ChunkInfo, Op};
use crate::store::StoreError;

/// A repair on its way.
#[derive(Clone, Debug)]
pub struct Repair {
    asker: Asker,
    inode: InodeId,
    /// Chunks that are still to be looked at.
    rest: VecDeque<u32>,
    /// What a proposal is under way for.
    chunk: ChunkId,
    gives_up: bool,
    came: Repairs,
}

impl Repair {
    /// Whoever waits for it.
    pub fn into_asker(self) -> Asker {
        self.asker
    }
}

/// What is to be done with a chunk.
enum Judged {
    /// It is to be left as it is.
    Right,
    /// Copies of this version are the best.
    Best(u32),
    /// There is no copy.
    Nothing,
}

impl Keeper {
    /// Somebody wants chunks repaired.
    pub(super) fn begin_repair(
        &mut self,
        asker: Asker,
        inode: InodeId,
        indexes: Vec<u32>,
        records: &dyn Records,
    ) -> Result<(), StoreError> {
        let repair = Repair {
            asker,
            inode,
            rest: indexes.into(),
            chunk: ChunkId::HOLE,
            gives_up: false,
            came: Repairs::default(),
        };
        self.go_on_repairing(repair, records)
    }

    /// Looks at chunks up to the next that is to be changed.
    fn go_on_repairing(
        &mut self,
        mut repair: Repair,
        records: &dyn Records,
    ) -> Result<(), StoreError> {
        while let Some(index) = repair.rest.pop_front() {
            let Some(info) = records.chunk_at(repair.inode, index)? else {
                repair.came.unchanged = repair.came.unchanged.saturating_add(1);
                continue;
            };
            let best = match self.judge(&info, records)? {
                Judged::Right => {
                    repair.came.unchanged = repair.came.unchanged.saturating_add(1);
                    continue;
                }
                Judged::Best(version) => Some(version),
                Judged::Nothing => None,
            };
            let refusal = self.why_not_repaired(records)?;
            let Some(leading) = &mut self.leading else {
                self.acts.push(Act::AskAgain(repair.asker));
                return Ok(());
            };
            if let Some(refusal) = refusal {
                let refused = ChunkAnswer::Refused(refusal);
                self.acts.push(Act::Answer(repair.asker, refused));
                return Ok(());
            }
            repair.chunk = info.chunk;
            repair.gives_up = best.is_none();
            let op = Op::RepairChunk {
                inode: repair.inode,
                index,
                chunk: info.chunk,
                was: info.version,
                best,
            };
            let ticket = leading.new_ticket();
            leading.repairs.insert(ticket, repair);
            self.acts.push(Act::Propose(ticket, op));
            return Ok(());
        }
        let came = ChunkAnswer::Repaired(repair.came);
        self.acts.push(Act::Answer(repair.asker, came));
        Ok(())
    }

    fn judge(&mut self, info: &ChunkInfo, records: &dyn Records) -> Result<Judged, StoreError> {
        if info.is_locked(self.wall) || self.is_busy(info.chunk) {
            return Ok(Judged::Right);
        }
        let made = info.unsettled.map(|it| it.action);
        if let Some(ChunkAction::Created | ChunkAction::Duplicated { .. }) = made {
            // It was to be made and nobody waits any more: it is made, or what was there before is
            // there again.
            self.settle(info.chunk, records)?;
            return Ok(Judged::Right);
        }
        let sound = Sound::of(info, records)?;
        let copies = self.map.copies(info.chunk).filter(|known| !known.damaged);
        let mut best = None;
        for known in copies {
            let deleted = self.is_being_deleted(info.chunk, known.place);
            if sound.contains(known.version) || deleted {
                return Ok(Judged::Right);
            }
            best = best.max(Some(known.version));
        }
        Ok(best.map_or(Judged::Nothing, Judged::Best))
    }

    /// Why nothing is given up now, if so.
    fn why_not_repaired(&self, records: &dyn Records) -> Result<Option<Refusal>, StoreError> {
        if self.leading.as_ref().is_some_and(|it| !it.lease) {
            return Ok(Some(Refusal::Again));
        }
        if self.is_complete(records)? {
            return Ok(None);
        }
        let known = records.chunkservers()?;
        let all_there = known.iter().all(|info| {
            let there = self.map.by_csid(info.csid);
            there.is_some_and(|(_, server)| server.cut_off.is_none())
        });
        Ok(Some(match all_there {
            true => Refusal::Again,
            false => Refusal::NotPresent,
        }))
    }

    /// A command of a repair came to something.
    pub(super) fn on_repair_proposed(
        &mut self,
        mut repair: Repair,
        came: Came,
        records: &dyn Records,
    ) -> Result<(), StoreError> {
        let count = match came {
            Came::Nothing => {
                self.acts.push(Act::AskAgain(repair.asker));
                return Ok(());
            }
            Came::Refused => &mut repair.came.unchanged,
            Came::Done if repair.gives_up => &mut repair.came.erased,
            Came::Done => {
                if let Some(info) = records.chunk(repair.chunk)? {
                    self.on_raised(repair.chunk, info.version);
                }
                self.settle(repair.chunk, records)?;
                &mut repair.came.repaired
            }
        };
        *count = count.saturating_add(1);
        self.go_on_repairing(repair, records)
    }
}
