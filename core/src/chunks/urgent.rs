//! Chunks that lack copies, the most endangered first.
//!
//! A pass comes to a chunk when it comes to its file, which takes hours where there are many. So
//! when a chunkserver has left, the map is swept for chunks that lost a copy with it, and these are
//! mended before the pass goes on. A chunk knows no file; where it was seen last is remembered from
//! pass to pass, and with it how many copies are wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::keeper::{Keeper, Records};
use super::map::Known;
use super::upkeep::{Look, Mended};
use crate::id::{ChunkId, InodeId};
use crate::namespace::FileChunks;
use crate::namespace::op::ChunkInfo;
use crate::store::StoreError;
use crate::time::Instant;

/// Chunks whose place is remembered, each some 40 bytes; beyond this a pass finds them.
const PLACES_MAX: usize = 20_000_000;
/// Chunks that wait; beyond this a pass finds them.
const WAITING_MAX: usize = 1_000_000;
/// Chunks that are looked at at once while the map is swept: 2 ms or less.
const SWEEP_PORTION: usize = 5_000;
/// Chunks that are tried at once: each reads its file and its records.
const TRY_PORTION: usize = 64;

/// How endangered a chunk is: the first are mended first. MooseFS's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    /// One copy where more than two are wanted.
    LastOfMany,
    /// One copy where two are wanted.
    LastOfTwo,
    /// One copy beside those on disks that shall be emptied.
    LastRegular,
    /// Copies on disks that shall be emptied.
    ToRemove,
    /// Fewer copies than are wanted.
    UnderGoal,
}

impl Urgency {
    /// Of a chunk with so many usable copies on disks that stay and on such that shall be emptied;
    /// `None` when it lacks nothing, or there is nothing to copy from.
    fn of(wanted: usize, regular: usize, to_remove: usize) -> Option<Self> {
        match (regular, to_remove) {
            _ if regular >= wanted => None,
            (0, 0) => None,
            (1, 0) | (0, 1) if wanted > 2 => Some(Self::LastOfMany),
            (1, 0) | (0, 1) if wanted == 2 => Some(Self::LastOfTwo),
            (1, _) => Some(Self::LastRegular),
            (_, 1..) => Some(Self::ToRemove),
            (_, 0) => Some(Self::UnderGoal),
        }
    }
}

/// Where a chunk was seen last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    inode: InodeId,
    index: u32,
    /// Copies that were wanted then, more than one.
    wanted: u8,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Urgent {
    places: BTreeMap<ChunkId, Place>,
    waiting: BTreeMap<ChunkId, Urgency>,
    order: BTreeSet<(Urgency, ChunkId)>,
    /// The last that was tried, while no copy could be begun of those before it.
    tried: Option<(Urgency, ChunkId)>,
    /// How far the sweep has come, while there is one.
    sweep: Option<ChunkId>,
    /// A chunkserver has left since it began.
    sweep_again: bool,
    next_at: Instant,
}

impl Urgent {
    pub fn new(now: Instant) -> Self {
        Self {
            places: BTreeMap::new(),
            waiting: BTreeMap::new(),
            order: BTreeSet::new(),
            tried: None,
            sweep: None,
            sweep_again: false,
            next_at: now,
        }
    }

    /// When there is something to do.
    pub fn deadline(&self) -> Option<Instant> {
        let works = self.sweep.is_some() || !self.waiting.is_empty();
        works.then_some(self.next_at)
    }

    /// A pass has come to a chunk of a file.
    pub fn see(&mut self, file: &FileChunks, info: &ChunkInfo, wanted: usize) {
        if wanted < 2 {
            self.places.remove(&info.chunk);
            return;
        }
        if self.places.len() < PLACES_MAX || self.places.contains_key(&info.chunk) {
            let place = Place {
                inode: file.inode,
                index: info.index,
                wanted: u8::try_from(wanted).unwrap_or(u8::MAX),
            };
            self.places.insert(info.chunk, place);
        }
    }

    /// No file has this chunk any more.
    pub fn forget(&mut self, chunk: ChunkId) {
        self.places.remove(&chunk);
        self.strike(chunk);
    }

    /// A chunkserver has left. A sweep that goes on is finished first: where one comes and goes all
    /// the time, it would never come to an end.
    pub fn sweep(&mut self) {
        match self.sweep {
            None => self.sweep = Some(ChunkId(0)),
            Some(_) => self.sweep_again = true,
        }
    }

    /// The last chunk of a portion was looked at; `None` at the end.
    fn on_swept(&mut self, last: Option<ChunkId>) {
        let again = last.is_none() && std::mem::take(&mut self.sweep_again);
        self.sweep = if again { Some(ChunkId(0)) } else { last };
    }

    /// Notes a chunk with these copies when it lacks some. Older copies than the newest are not
    /// counted: they are of no use.
    pub fn judge(&mut self, chunk: ChunkId, copies: impl Iterator<Item = Known> + Clone) {
        let Some(place) = self.places.get(&chunk) else {
            return;
        };
        let wanted = place.wanted.into();
        let (mut regular, mut to_remove) = (0, 0);
        let good = copies.filter(|it| !it.damaged);
        let newest = good.clone().map(|it| it.version).max();
        for it in good.filter(|it| Some(it.version) == newest) {
            match it.to_remove {
                true => to_remove += 1,
                false => regular += 1,
            }
        }
        self.strike(chunk);
        let Some(urgency) = Urgency::of(wanted, regular, to_remove) else {
            return;
        };
        if self.waiting.len() >= WAITING_MAX {
            match self.order.last().copied() {
                Some((least, least_chunk)) if least > urgency => self.strike(least_chunk),
                _ => return,
            }
        }
        self.waiting.insert(chunk, urgency);
        self.order.insert((urgency, chunk));
    }

    fn strike(&mut self, chunk: ChunkId) {
        if let Some(urgency) = self.waiting.remove(&chunk) {
            self.order.remove(&(urgency, chunk));
        }
    }

    /// The next ones to try, the most endangered first; behind those of the last time when none of
    /// these could be begun, so that such as have to wait keep no others.
    fn take(&mut self) -> Vec<ChunkId> {
        let behind = self.tried.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.order.range((behind, Bound::Unbounded));
        let next: Vec<_> = next.take(TRY_PORTION).copied().collect();
        self.tried = next.last().copied().filter(|_| next.len() == TRY_PORTION);
        next.into_iter().map(|(_, chunk)| chunk).collect()
    }
}

impl Keeper {
    /// Looks for endangered chunks and mends them, a portion when it is due.
    pub(super) fn run_urgent(&mut self, records: &dyn Records) -> Result<(), StoreError> {
        let now = self.now;
        let Some(leading) = &mut self.leading else {
            return Ok(());
        };
        let urgent = &mut leading.upkeep.urgent;
        if urgent.deadline().is_none_or(|at| at > now) {
            return Ok(());
        }
        urgent.next_at = now + self.options.upkeep_tick;
        if let Some(after) = urgent.sweep {
            let chunks: Vec<ChunkId> = self.map.chunks_after(after).take(SWEEP_PORTION).collect();
            urgent.on_swept(chunks.last().copied());
            for chunk in chunks {
                urgent.judge(chunk, self.map.copies(chunk));
            }
        }
        if self.waits_for_absent(records)?
            || !self.candidates().iter().any(|it| self.can_receive(it))
        {
            return Ok(());
        }
        let Some(leading) = &mut self.leading else {
            return Ok(());
        };
        for chunk in leading.upkeep.urgent.take() {
            let mended = self.try_urgent(chunk, records)?;
            let Some(leading) = &mut self.leading else {
                return Ok(());
            };
            let urgent = &mut leading.upkeep.urgent;
            if mended != Mended::Later {
                urgent.strike(chunk);
            }
            if mended == Mended::Begun {
                urgent.tried = None;
            }
        }
        Ok(())
    }

    /// Mends a chunk if it can be mended now. Whatever is another than it was, the pass comes to.
    fn try_urgent(&mut self, chunk: ChunkId, records: &dyn Records) -> Result<Mended, StoreError> {
        let urgent = self.leading.as_ref().map(|it| &it.upkeep.urgent);
        let Some(place) = urgent.and_then(|it| it.places.get(&chunk).copied()) else {
            return Ok(Mended::Nothing);
        };
        let info = records.chunk_at(place.inode, place.index)?;
        let Some(info) = info.filter(|info| info.chunk == chunk) else {
            return Ok(Mended::Nothing);
        };
        if info.unsettled.is_some() {
            return Ok(Mended::Nothing);
        }
        if self.is_busy(chunk) || info.locked_until >= self.wall {
            return Ok(Mended::Later);
        }
        let Some(class) = records.class_of(place.inode)? else {
            return Ok(Mended::Nothing);
        };
        let wanted = class.wanted(info.archived);
        self.mend(&info, wanted, class.mode, Look::Urgent, records)
    }

    /// Notes a chunk that lacks copies, if it does.
    pub(super) fn judge_urgent(&mut self, chunk: ChunkId) {
        if let Some(leading) = &mut self.leading {
            let urgent = &mut leading.upkeep.urgent;
            urgent.judge(chunk, self.map.copies(chunk));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunks::map::PlaceNo;

    #[test]
    fn copies_that_are_old_or_bad_do_not_count() {
        let mut urgent = Urgent::new(Instant::ZERO);
        let chunk = ChunkId(7);
        let place = Place {
            inode: InodeId(1),
            index: 0,
            wanted: 2,
        };
        urgent.places.insert(chunk, place);
        let copy = |place, version, damaged| Known {
            place: PlaceNo(place),
            version,
            to_remove: false,
            damaged,
        };
        let judge = |urgent: &mut Urgent, copies: &[Known]| {
            urgent.judge(chunk, copies.iter().copied());
            urgent.waiting.get(&chunk).copied()
        };
        let good = [copy(1, 3, false), copy(2, 3, false)];
        assert_eq!(judge(&mut urgent, &good), None);
        let old = [copy(1, 3, false), copy(2, 2, false)];
        assert_eq!(judge(&mut urgent, &old), Some(Urgency::LastOfTwo));
        let bad = [copy(1, 3, false), copy(2, 3, true)];
        assert_eq!(judge(&mut urgent, &bad), Some(Urgency::LastOfTwo));
        assert_eq!(judge(&mut urgent, &good), None, "it was mended");
        assert!(urgent.order.is_empty());
    }

    #[test]
    fn a_sweep_comes_to_an_end_though_chunkservers_go_on_leaving() {
        let mut urgent = Urgent::new(Instant::ZERO);
        urgent.sweep();
        assert_eq!(urgent.sweep, Some(ChunkId(0)));
        urgent.on_swept(Some(ChunkId(50)));
        urgent.sweep();
        assert_eq!(urgent.sweep, Some(ChunkId(50)), "it goes on where it was");
        urgent.on_swept(None);
        assert_eq!(urgent.sweep, Some(ChunkId(0)), "and then begins anew");
        urgent.on_swept(None);
        assert_eq!(urgent.sweep, None);
    }

    #[test]
    fn the_last_copy_goes_before_all_others() {
        use Urgency::*;
        for (wanted, regular, to_remove, urgency) in [
            (3, 1, 0, Some(LastOfMany)),
            (3, 0, 1, Some(LastOfMany)),
            (2, 1, 0, Some(LastOfTwo)),
            (2, 0, 1, Some(LastOfTwo)),
            (3, 1, 1, Some(LastRegular)),
            (2, 1, 5, Some(LastRegular)),
            (2, 0, 2, Some(ToRemove)),
            (4, 2, 1, Some(ToRemove)),
            (1, 0, 1, Some(ToRemove)),
            (3, 2, 0, Some(UnderGoal)),
            (3, 3, 0, None),
            (2, 3, 1, None),
            (2, 0, 0, None),
            (1, 1, 0, None),
        ] {
            let found = Urgency::of(wanted, regular, to_remove);
            assert_eq!(found, urgency, "{wanted} wanted, {regular} and {to_remove}");
        }
        assert!(LastOfMany < LastOfTwo && LastOfTwo < LastRegular);
        assert!(LastRegular < ToRemove && ToRemove < UnderGoal);
    }
}
