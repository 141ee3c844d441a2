//! What the leader does so that every chunk has the copies that its storage class wants: copies
//! what has too few, deletes what is too much, bad, old, or belongs to no file.
//!
//! It goes through all files, then through chunks that no file has, then through copies that no
//! chunk has, a portion at a time, and begins anew. Chunks and versions that the tree never gave out
//! are from a future that it has not seen, as when it is of a backup: such copies are never deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::balance::Balance;
use super::census::{Counting, Deed};
use super::jobs::Ticket;
use super::keeper::{Act, Keeper, Records};
use super::leading::Why;
use super::map::{Known, PlaceNo};
use super::order::Order;
use super::placement::{self, Candidate, Room};
use super::urgent::Urgent;
use crate::id::{ChunkId, InodeId};
use crate::namespace::op::{ChunkInfo, ClassMode, LabelExpr, Op};
use crate::namespace::record::Ranges;
use crate::namespace::{FileChunks, FileCursor, KnownChunk};
use crate::store::StoreError;
use crate::time::{Duration, Instant};

/// Chunks of several files whose other files are still to be seen in this pass: beyond this they
/// are only copied, never deleted from.
const SHARED_MAX: usize = 100_000;
/// Unused chunks that are looked at at once.
const UNUSED_PORTION: usize = 256;
/// Chunks of which it was heard that no file has them; beyond this a pass finds them.
const UNUSED_MAX: usize = 1_000_000;
/// Chunks forgotten at once.
const FORGET_MAX: usize = 64;
/// Files that are archived at once.
const ARCHIVE_MAX: usize = 64;
/// A pass that left something undone is followed by another after this at the least.
const HURRY: Duration = Duration::from_secs(1);

/// How far a pass has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Files, and whether their chunks are at their goal.
    Files(FileCursor),
    /// Chunks that no file has.
    Unused(Option<ChunkId>),
    /// Copies that no chunk has.
    Strays(ChunkId),
    /// Between two passes.
    Rest,
}

/// An order that is no job's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Errand {
    /// Who gives the copy, of one that is made.
    source: Option<PlaceNo>,
}

impl Errand {
    /// A copy is made.
    pub fn copy_from(source: PlaceNo) -> Self {
        Self {
            source: Some(source),
        }
    }
}

/// Copies that are not of this state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Newer {
    /// Of chunks that it has, in other versions.
    of_versions: u64,
    /// Of chunks that it does not have.
    of_chunks: u64,
}

/// Why a chunk is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// A pass has seen all files that have it.
    Whole,
    /// A pass has seen one of several: nothing is too much yet.
    Part,
    /// It lacks copies, and is not to wait for the pass, which counts.
    Urgent,
}

/// What came of a look at a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mended {
    /// A copy is being made.
    Begun,
    /// Copies lack that cannot be made yet.
    Later,
    /// It lacks no copy that could be made.
    Nothing,
}

/// Several files have a chunk: what the most demanding of them wants.
#[derive(Clone, Debug)]
struct Shared {
    seen: u64,
    wanted: Vec<LabelExpr>,
    mode: ClassMode,
}

/// Where the leader's upkeep stands.
#[derive(Debug)]
pub(super) struct Upkeep {
    next_at: Instant,
    began: Instant,
    phase: Phase,
    /// Something is left to be done, or has changed since.
    again: bool,
    errands: BTreeMap<(ChunkId, PlaceNo), Errand>,
    shared: BTreeMap<ChunkId, Shared>,
    /// Chunks that no file has any more.
    unused: BTreeSet<ChunkId>,
    /// The last of them that was looked at.
    unused_seen: ChunkId,
    /// Chunks that are being forgotten.
    forgetting: BTreeMap<Ticket, ChunkId>,
    /// Files of which chunks are being archived.
    archiving: BTreeMap<Ticket, InodeId>,
    /// Copies of chunks, or of versions, that this state never gave out.
    newer: Newer,
    /// As many were reported.
    reported: Newer,
    pub balance: Balance,
    pub urgent: Urgent,
    pub counting: Counting,
    /// The first pass has begun.
    has_begun: bool,
    /// How far a look at all files has come that only counts, before the first pass, and when it
    /// goes on.
    look: (FileCursor, Instant),
}

impl Newer {
    /// What an operator has to know of them.
    fn told(self) -> String {
        let Self {
            of_versions,
            of_chunks,
        } = self;
        let copies = of_versions.saturating_add(of_chunks);
        format!(
            "{copies} copies at chunkservers are not of this cluster's metadata, which is older \
             than they are: {of_chunks} of chunks that it does not have, {of_versions} in versions \
             that it never gave out. They are neither deleted nor changed. If the metadata was \
             restored from a backup, files written since the backup are among them: where a newer \
             state is left anywhere, stop all nodes and start from that one. A file that has no \
             other copies is given the newest of these by mfsfilerepair"
        )
    }
}

impl Upkeep {
    /// It begins then, and looks from now on.
    pub fn new(now: Instant, begin: Instant) -> Self {
        Self {
            next_at: begin,
            began: begin,
            phase: Phase::Files(FileCursor::default()),
            again: false,
            errands: BTreeMap::new(),
            shared: BTreeMap::new(),
            unused: BTreeSet::new(),
            unused_seen: ChunkId(0),
            forgetting: BTreeMap::new(),
            archiving: BTreeMap::new(),
            newer: Newer::default(),
            reported: Newer::default(),
            balance: Balance::default(),
            urgent: Urgent::new(now),
            counting: Counting::default(),
            has_begun: false,
            look: (FileCursor::default(), now),
        }
    }

    /// When there is something to do; `counts` when there are chunkservers.
    pub fn deadline(&self, counts: bool) -> Option<Instant> {
        let look = (counts && !self.has_begun).then_some(self.look.1);
        let urgent = self.urgent.deadline().filter(|_| self.has_begun);
        [Some(self.next_at), look, urgent]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether a proposal is one of these.
    pub fn awaits(&self, ticket: Ticket) -> bool {
        self.forgetting.contains_key(&ticket) || self.archiving.contains_key(&ticket)
    }

    /// A proposal came to something; whether it was one of these.
    pub fn on_proposed(&mut self, ticket: Ticket) -> bool {
        self.forgetting.remove(&ticket).is_some() || self.archiving.remove(&ticket).is_some()
    }

    /// A copy is being made, and something is to be done once it is there.
    pub fn begin_copy(&mut self, at: (ChunkId, PlaceNo), errand: Errand) {
        self.errands.insert(at, errand);
        self.again = true;
    }

    fn deletes_at(&self, place: PlaceNo) -> usize {
        let here = |((_, at), errand): &(&(ChunkId, PlaceNo), &Errand)| {
            *at == place && errand.source.is_none()
        };
        self.errands.iter().filter(here).count()
    }

    pub fn receives_at(&self, place: PlaceNo) -> usize {
        let here = |((_, at), errand): &(&(ChunkId, PlaceNo), &Errand)| {
            *at == place && errand.source.is_some()
        };
        self.errands.iter().filter(here).count()
    }

    pub fn gives_from(&self, place: PlaceNo) -> usize {
        let from = |errand: &&Errand| errand.source == Some(place);
        self.errands.values().filter(from).count()
    }
}

impl Keeper {
    /// No file has this chunk any more.
    pub fn on_unused(&mut self, chunk: ChunkId) {
        if let Some(leading) = &mut self.leading
            && leading.upkeep.unused.len() < UNUSED_MAX
        {
            leading.upkeep.unused.insert(chunk);
            leading.upkeep.urgent.forget(chunk);
        }
    }

    /// Something has changed: the next pass comes sooner.
    pub(super) fn wake_upkeep(&mut self) {
        if let Some(leading) = &mut self.leading {
            leading.upkeep.again = true;
            if leading.upkeep.phase == Phase::Rest {
                let soon = (leading.upkeep.began + HURRY).max(self.now);
                leading.upkeep.next_at = leading.upkeep.next_at.min(soon);
            }
        }
    }

    /// Whether a copy is to be deleted: it counts as gone.
    pub(super) fn is_being_deleted(&self, chunk: ChunkId, place: PlaceNo) -> bool {
        let errand = self
            .leading
            .as_ref()
            .and_then(|it| it.upkeep.errands.get(&(chunk, place)));
        errand.is_some_and(|errand| errand.source.is_none())
    }

    pub(super) fn on_errand_ended(&mut self, chunk: ChunkId, place: PlaceNo, done: bool) {
        if let Some(leading) = &mut self.leading {
            let errand = leading.upkeep.errands.remove(&(chunk, place));
            if !done {
                // A copy that cannot be made is left to the next pass: not to be tried all the time.
                leading.upkeep.again = true;
            } else if errand.is_some_and(|errand| errand.source.is_some()) {
                // One copy more may not be enough.
                self.judge_urgent(chunk);
            }
        }
    }

    /// Does the next portion when it is due.
    pub(super) fn run_upkeep(&mut self, records: &dyn Records) -> Result<(), StoreError> {
        let (now, tick) = (self.now, self.options.upkeep_tick);
        let Some(leading) = &mut self.leading else {
            return Ok(());
        };
        if leading.upkeep.has_begun {
            self.run_urgent(records)?;
        }
        let Some(leading) = &mut self.leading else {
            return Ok(());
        };
        if leading.upkeep.next_at > now {
            return self.look_ahead(records);
        }
        leading.upkeep.next_at = now + tick;
        leading.upkeep.has_begun = true;
        self.look_at_unused(records)?;
        let portion = self.options.upkeep_portion;
        self.tidy(portion);
        let Some(leading) = &mut self.leading else {
            return Ok(());
        };
        match leading.upkeep.phase {
            Phase::Files(cursor) => {
                if cursor == FileCursor::default() {
                    leading.upkeep.counting.begin(self.wall);
                }
                self.weigh();
                let files = records.files_after(cursor, portion, portion * 4)?;
                let end = files.last().map(|file| file.cursor);
                for file in files {
                    let Some(class) = records.class(file.class)? else {
                        continue;
                    };
                    if class.archives(file.changed_at, self.wall) {
                        self.archive(&file);
                    }
                    self.count_file(&file);
                    for info in &file.chunks {
                        let wanted = class.wanted(info.archived);
                        self.see(&file, info, wanted.len());
                        self.look_at_chunk(info, wanted, class.mode, records)?;
                    }
                }
                self.set_phase(end.map_or(Phase::Unused(None), Phase::Files));
            }
            Phase::Unused(after) => {
                let chunks = records.chunks_after(after, portion * 10)?;
                let end = chunks.last().map(|info| info.chunk);
                for info in chunks.iter().filter(|info| info.references == 0) {
                    self.on_unused(info.chunk);
                }
                let next = end.map_or(Phase::Strays(ChunkId(0)), |end| Phase::Unused(Some(end)));
                self.set_phase(next);
            }
            Phase::Strays(after) => {
                let chunks: Vec<ChunkId> =
                    self.map.chunks_after(after).take(portion * 10).collect();
                let end = chunks.last().copied();
                for chunk in chunks {
                    self.look_at_stray(chunk, records)?;
                }
                self.set_phase(end.map_or(Phase::Rest, Phase::Strays));
            }
            Phase::Rest => self.set_phase(Phase::Files(FileCursor::default())),
        }
        Ok(())
    }

    /// Counts a portion while nothing may be done yet, so that people need not wait for numbers.
    fn look_ahead(&mut self, records: &dyn Records) -> Result<(), StoreError> {
        let (now, tick, pause) = (
            self.now,
            self.options.upkeep_tick,
            self.options.upkeep_pause,
        );
        let portion = self.options.upkeep_portion;
        let counts = self.counts();
        let Some(leading) = &mut self.leading else {
            return Ok(());
        };
        let upkeep = &mut leading.upkeep;
        let (cursor, at) = upkeep.look;
        if !counts || upkeep.has_begun || at > now {
            return Ok(());
        }
        if cursor == FileCursor::default() {
            upkeep.counting.begin(self.wall);
        }
        let files = records.files_after(cursor, portion, portion * 4)?;
        let end = files.last().map(|file| file.cursor);
        for file in &files {
            if let Some(class) = records.class(file.class)? {
                self.count_file(file);
                for info in &file.chunks {
                    self.see(file, info, class.wanted(info.archived).len());
                }
            }
        }
        if let Some(leading) = &mut self.leading {
            let upkeep = &mut leading.upkeep;
            upkeep.look = match end {
                Some(cursor) => (cursor, now + tick),
                None => (FileCursor::default(), now + pause),
            };
            if end.is_none() {
                upkeep.counting.end(self.wall, 0, 0);
            }
        }
        Ok(())
    }

    /// Whether there is something to count.
    pub(super) fn counts(&self) -> bool {
        self.map.servers().next().is_some()
    }

    fn set_phase(&mut self, phase: Phase) {
        let (now, pause) = (self.now, self.options.upkeep_pause);
        let Some(leading) = &mut self.leading else {
            return;
        };
        let upkeep = &mut leading.upkeep;
        upkeep.phase = phase;
        match phase {
            Phase::Rest => {
                let rest = if upkeep.again { HURRY } else { pause };
                upkeep.next_at = upkeep.next_at.max(upkeep.began + rest).max(now);
                upkeep.again = false;
                upkeep.shared.clear();
                upkeep.balance.on_pass();
                let newer = std::mem::take(&mut upkeep.newer);
                let before = std::mem::replace(&mut upkeep.reported, newer);
                let counting = &mut upkeep.counting;
                counting.end(self.wall, newer.of_versions, newer.of_chunks);
                if newer != Newer::default() && newer != before {
                    self.acts.push(Act::Report(newer.told()));
                }
                self.map.look_at_ids_again();
            }
            Phase::Files(cursor) if cursor == FileCursor::default() => upkeep.began = now,
            Phase::Files(_) | Phase::Unused(_) | Phase::Strays(_) => {}
        }
    }

    /// A file is due to be archived: whether it still is when that is applied, the tree says.
    fn archive(&mut self, file: &FileChunks) {
        let mut left = file.chunks.iter().filter(|info| !info.archived);
        let Some(first) = left.next() else {
            return;
        };
        let last = left.next_back().unwrap_or(first);
        let (from, to) = (first.index, last.index.saturating_add(1));
        let Some(leading) = &mut self.leading else {
            return;
        };
        leading.upkeep.again = true;
        if leading.upkeep.archiving.len() >= ARCHIVE_MAX {
            return;
        }
        let ticket = leading.new_ticket();
        let inode = file.inode;
        leading.upkeep.archiving.insert(ticket, inode);
        let op = Op::ArchiveAged { inode, from, to };
        self.acts.push(Act::Propose(ticket, op));
    }

    fn look_at_chunk(
        &mut self,
        info: &ChunkInfo,
        wanted: &[LabelExpr],
        mode: ClassMode,
        records: &dyn Records,
    ) -> Result<(), StoreError> {
        let chunk = info.chunk;
        let cut = info.unsettled.is_some_and(|it| it.cut.is_some());
        if self.is_busy(chunk) || (!cut && info.locked_until >= self.wall) {
            self.do_again();
            return Ok(());
        }
        if info.unsettled.is_some() {
            self.do_again();
            return self.settle(chunk, records);
        }
        let shared = info.references > 1;
        let (mut wanted, mut mode, mut look) = (wanted.to_vec(), mode, Look::Whole);
        if shared && let Some(leading) = &mut self.leading {
            let all = &mut leading.upkeep.shared;
            look = Look::Part;
            if all.len() < SHARED_MAX || all.contains_key(&chunk) {
                let seen = all.entry(chunk).or_insert_with(|| Shared {
                    seen: 0,
                    wanted: Vec::new(),
                    mode,
                });
                seen.seen += 1;
                if wanted.len() > seen.wanted.len() {
                    seen.wanted.clone_from(&wanted);
                    seen.mode = mode;
                }
                // The most demanding file decides, so all have to be seen first.
                if seen.seen >= info.references {
                    look = Look::Whole;
                }
                wanted.clone_from(&seen.wanted);
                mode = seen.mode;
            }
        }
        if self.mend(info, &wanted, mode, look, records)? == Mended::Later {
            self.judge_urgent(chunk);
        }
        Ok(())
    }

    /// Brings a chunk nearer to its goal.
    pub(super) fn mend(
        &mut self,
        info: &ChunkInfo,
        wanted: &[LabelExpr],
        mode: ClassMode,
        look: Look,
        records: &dyn Records,
    ) -> Result<Mended, StoreError> {
        let chunk = info.chunk;
        let copies: Vec<Known> = self.map.copies(chunk).collect();
        let errands = self.leading.as_ref().map(|it| &it.upkeep.errands);
        if errands.is_none_or(|it| copies.iter().any(|at| it.contains_key(&(chunk, at.place))))
            || errands.is_some_and(|it| {
                let all = (chunk, PlaceNo(0))..=(chunk, PlaceNo(u32::MAX));
                it.range(all).next().is_some()
            })
        {
            self.do_again();
            return Ok(Mended::Begun);
        }
        let is_sound = |it: &&Known| !it.damaged && it.version == info.version;
        let sound: Vec<Known> = copies.iter().filter(is_sound).copied().collect();
        let foreign = self.foreign_among(info, &copies, records)?;
        if look != Look::Urgent
            && let Some(leading) = &mut self.leading
        {
            leading.upkeep.newer.of_versions += foreign.len() as u64;
        }
        if sound.is_empty() {
            return Ok(Mended::Nothing);
        }
        // All that count must be there for good: orders of an earlier leader may still be under
        // way where this one's are not taken yet.
        let usable = |keeper: &Self, it: &Known| {
            let server = keeper.map.server(it.place);
            server.is_some_and(|server| keeper.is_usable(server))
        };
        if !sound.iter().all(|it| usable(self, it)) {
            self.do_again();
            return Ok(Mended::Later);
        }
        // What is bad or old is of no use beside a good one, and may lie where a copy is to be made.
        for it in &copies {
            let is_bad = it.damaged || it.version < info.version;
            if is_bad && !foreign.contains(&it.place) && usable(self, it) {
                self.delete(chunk, it.place, Deed::DeleteInvalid);
            }
        }
        let mut staying: Vec<Known> = sound.iter().filter(|it| !it.to_remove).copied().collect();
        let labels_of = |keeper: &Self, it: &Known| {
            keeper
                .map
                .server(it.place)
                .map_or(0, |server| server.labels)
        };
        // The emptiest first: who is not needed for the labels is the fullest.
        staying.sort_by_key(|it| self.fullness(it.place));
        let labels: Vec<u32> = staying.iter().map(|it| labels_of(self, it)).collect();
        let matched = placement::matched(wanted, &labels);
        let missing: Vec<LabelExpr> = wanted
            .iter()
            .zip(&matched)
            .filter(|(_, server)| server.is_none())
            .map(|(expr, _)| *expr)
            .collect();
        if !missing.is_empty() {
            let made = self.copy_to(
                info, &sound, &staying, wanted, &missing, mode, look, records,
            )?;
            if made == Mended::Begun || staying.len() < wanted.len() {
                return Ok(made);
            }
        }
        if look != Look::Whole {
            return Ok(Mended::Nothing);
        }
        // As many as are wanted stay where they are wanted; of the others the fullest go first.
        let mut keep: BTreeSet<PlaceNo> = matched
            .iter()
            .flatten()
            .filter_map(|at| staying.get(*at))
            .map(|it| it.place)
            .collect();
        let mut spare: Vec<(u64, PlaceNo)> = staying
            .iter()
            .filter(|it| !keep.contains(&it.place))
            .map(|it| (self.fullness(it.place), it.place))
            .collect();
        spare.sort_unstable();
        for (_, place) in &spare {
            if keep.len() < wanted.len() {
                keep.insert(*place);
            }
        }
        if keep.len() < wanted.len() {
            return Ok(Mended::Nothing);
        }
        for it in &copies {
            let stays = keep.contains(&it.place) || foreign.contains(&it.place);
            if !stays && usable(self, it) {
                self.delete(chunk, it.place, Deed::DeleteOverGoal);
            }
        }
        if copies.len() == wanted.len() && staying.len() == copies.len() && missing.is_empty() {
            self.maybe_move(info, &staying, wanted);
        }
        Ok(Mended::Nothing)
    }

    /// Where copies are in versions that this state never gave out, damaged or not.
    fn foreign_among(
        &self,
        info: &ChunkInfo,
        copies: &[Known],
        records: &dyn Records,
    ) -> Result<BTreeSet<PlaceNo>, StoreError> {
        #[cfg(feature = "planted-bugs")]
        if self.options.bug == Some(crate::planted::Bug::NewerCopiesDeleted) {
            return Ok(BTreeSet::new());
        }
        let passed = match copies.iter().any(|it| it.version < info.version) {
            true => records.passed_versions(info.chunk)?,
            false => Ranges::default(),
        };
        // Of one that is not settled, nobody may have been told of its version yet.
        let raised = self.leading.as_ref();
        let raised = raised.and_then(|it| it.raised.get(&info.chunk));
        let is_fresh = raised.is_some_and(|it| !it.is_ordered && it.version == info.version);
        let is_foreign = |it: &&Known| {
            it.version > info.version
                || (is_fresh && info.unsettled.is_some() && it.version == info.version)
                || passed.contains(it.version.into())
        };
        let foreign = copies.iter().filter(is_foreign);
        Ok(foreign.map(|it| it.place).collect())
    }

    /// How full a chunkserver is, in thousandths.
    fn fullness(&self, place: PlaceNo) -> u64 {
        self.map.server(place).map_or(0, |server| {
            let (used, total) = (server.space.used, server.space.total.max(1));
            u64::try_from(u128::from(used) * 1_000 / u128::from(total)).unwrap_or(1_000)
        })
    }

    /// Whether copies are not made anew yet: who has them may come back.
    pub(super) fn waits_for_absent(&self, records: &dyn Records) -> Result<bool, StoreError> {
        let mut maintained = true;
        let mut absent = false;
        for info in records.chunkservers()? {
            if self.map.by_csid(info.csid).is_some() {
                continue;
            }
            absent = true;
            let away = self.absent.get(&info.csid);
            let for_less_than = |time| away.is_some_and(|away| away.since + time > self.now);
            let announced = away.is_some_and(|away| away.announced)
                && for_less_than(self.options.announced_absence);
            if !announced && for_less_than(self.options.absence) {
                return Ok(true);
            }
            maintained &= announced || info.maintenance_until >= self.wall;
        }
        Ok(absent && maintained)
    }

    /// Makes copies where they are missing.
    #[expect(
        clippy::too_many_arguments,
        reason = "a chunk with all that is known of its copies"
    )]
    fn copy_to(
        &mut self,
        info: &ChunkInfo,
        sound: &[Known],
        staying: &[Known],
        wanted: &[LabelExpr],
        missing: &[LabelExpr],
        mode: ClassMode,
        look: Look,
        records: &dyn Records,
    ) -> Result<Mended, StoreError> {
        if self.waits_for_absent(records)? {
            self.lacks();
            return Ok(Mended::Later);
        }
        let holds = |place: PlaceNo| self.map.copies(info.chunk).any(|it| it.place == place);
        let holders: Vec<PlaceNo> = self
            .map
            .servers()
            .map(|(place, _)| place)
            .filter(|place| holds(*place))
            .collect();
        let mut candidates = self.candidates();
        candidates.retain(|it| !holders.contains(&it.place));
        // More copies than are wanted, only so that labels fit, are made one at a time.
        let lacking = wanted.len().saturating_sub(staying.len());
        let deed = match lacking {
            0 => Deed::CopyWrongLabels,
            _ => Deed::CopyUnderGoal,
        };
        let mut mended = Mended::Nothing;
        let put_off = |mended: Mended| match mended {
            Mended::Nothing => Mended::Later,
            other => other,
        };
        for expr in missing {
            let fitting = |it: &&Candidate<PlaceNo>| placement::fits(expr, it.labels);
            let exists = candidates.iter().any(|it| fitting(&it));
            let place = if exists || mode == ClassMode::Strict || lacking == 0 {
                candidates
                    .iter()
                    .filter(fitting)
                    .find(|it| self.can_receive(it))
            } else {
                candidates.iter().find(|it| self.can_receive(it))
            };
            let Some(place) = place.map(|it| it.place) else {
                if candidates.iter().any(|it| it.free != Room::Full) {
                    self.lacks();
                    self.note_put_off(deed, look);
                    mended = put_off(mended);
                }
                continue;
            };
            let gives = self.options.gives_max;
            let source = sound.iter().find(|it| {
                let upkeep = self.leading.as_ref().map(|leading| &leading.upkeep);
                upkeep.is_some_and(|upkeep| upkeep.gives_from(it.place) < gives)
            });
            let source = source.map(|it| it.place);
            let Some((source, address)) =
                source.and_then(|it| Some((it, self.map.server(it)?.joined.address)))
            else {
                self.lacks();
                self.note_put_off(deed, look);
                mended = put_off(mended);
                continue;
            };
            self.note_deed(deed, true);
            let order = Order::Replicate {
                chunk: info.chunk,
                version: info.version,
                source: address,
            };
            if let Some(leading) = &mut self.leading {
                let errand = Errand::copy_from(source);
                leading.upkeep.begin_copy((info.chunk, place), errand);
            }
            self.set_unclean(info.chunk);
            self.order(place, order, Why::Upkeep);
            self.lacks();
            candidates.retain(|it| it.place != place);
            mended = Mended::Begun;
        }
        Ok(mended)
    }

    pub(super) fn can_receive(&self, it: &Candidate<PlaceNo>) -> bool {
        let upkeep = self.leading.as_ref().map(|leading| &leading.upkeep);
        let receives = upkeep.map_or(0, |upkeep| upkeep.receives_at(it.place));
        it.free == Room::Yes && receives < self.options.receives_max
    }

    /// Deletes a copy, unless the chunkserver has enough to do.
    fn delete(&mut self, chunk: ChunkId, place: PlaceNo, deed: Deed) {
        let most = self.options.deletes_max;
        let Some(leading) = &mut self.leading else {
            return;
        };
        let upkeep = &mut leading.upkeep;
        if upkeep.deletes_at(place) >= most {
            upkeep.again = true;
            upkeep.counting.note(deed, false);
            return;
        }
        let errand = Errand { source: None };
        if upkeep.errands.contains_key(&(chunk, place)) {
            return;
        }
        upkeep.counting.note(deed, true);
        upkeep.errands.insert((chunk, place), errand);
        self.order(place, Order::Delete { chunk }, Why::Upkeep);
    }

    /// A chunk has fewer copies than it could have.
    fn lacks(&mut self) {
        self.do_again();
        if let Some(leading) = &mut self.leading {
            leading.upkeep.balance.on_lacking();
        }
    }

    /// A copy was put off. What is urgent is tried many times a second, and counted by the pass.
    fn note_put_off(&mut self, deed: Deed, look: Look) {
        if look != Look::Urgent {
            self.note_deed(deed, false);
        }
    }

    /// Something was done, or put off.
    pub(super) fn note_deed(&mut self, deed: Deed, is_done: bool) {
        if let Some(leading) = &mut self.leading {
            leading.upkeep.counting.note(deed, is_done);
        }
    }

    fn count_file(&mut self, file: &FileChunks) {
        if let Some(leading) = &mut self.leading {
            leading.upkeep.counting.file(file);
        }
    }

    /// A pass has come to a chunk.
    fn see(&mut self, file: &FileChunks, info: &ChunkInfo, wanted: usize) {
        let copies: Vec<Known> = self.map.copies(info.chunk).collect();
        let is_locked = info.is_locked(self.wall);
        if let Some(leading) = &mut self.leading {
            leading.upkeep.urgent.see(file, info, wanted);
            let counting = &mut leading.upkeep.counting;
            counting.chunk(file, info, wanted, is_locked, &copies);
        }
    }

    fn do_again(&mut self) {
        if let Some(leading) = &mut self.leading {
            leading.upkeep.again = true;
        }
    }

    /// Deletes copies of chunks that no file has, and forgets those without a copy.
    fn look_at_unused(&mut self, records: &dyn Records) -> Result<(), StoreError> {
        let Some(leading) = &mut self.leading else {
            return Ok(());
        };
        // A portion behind the last one, so that those that cannot be deleted now keep no others.
        let upkeep = &mut leading.upkeep;
        let behind = (Bound::Excluded(upkeep.unused_seen), Bound::Unbounded);
        let unused = upkeep.unused.range(behind).take(UNUSED_PORTION).copied();
        let unused: Vec<ChunkId> = unused.collect();
        upkeep.unused_seen = match unused.last() {
            Some(last) if unused.len() == UNUSED_PORTION => *last,
            _ => ChunkId(0),
        };
        for chunk in unused {
            let info = records.chunk(chunk)?.filter(|info| info.references == 0);
            let Some(info) = info else {
                self.strike_unused(chunk);
                continue;
            };
            if self.is_busy(chunk) {
                continue;
            }
            let copies: Vec<Known> = self.map.copies(chunk).collect();
            let foreign = self.foreign_among(&info, &copies, records)?;
            let mut left = false;
            for it in copies.iter().filter(|it| !foreign.contains(&it.place)) {
                left = true;
                let server = self.map.server(it.place);
                if server.is_some_and(|server| self.is_usable(server)) {
                    self.delete(chunk, it.place, Deed::DeleteUnused);
                }
            }
            if !left {
                self.forget(&info, &copies, &foreign, records)?;
            }
        }
        Ok(())
    }

    fn strike_unused(&mut self, chunk: ChunkId) {
        if let Some(leading) = &mut self.leading {
            leading.upkeep.unused.remove(&chunk);
        }
    }

    /// There is no copy of it but foreign ones: the tree can forget it. One that comes back later is
    /// a stray. Foreign ones must not pass for such: the tree notes them first, and the next pass
    /// comes to it again.
    ///
    /// Where versions were passed over and no such copy is there, none is anywhere once every
    /// chunkserver is there. Until then it waits: copies of its own that come back would not be told
    /// from those.
    fn forget(
        &mut self,
        info: &ChunkInfo,
        copies: &[Known],
        foreign: &BTreeSet<PlaceNo>,
        records: &dyn Records,
    ) -> Result<(), StoreError> {
        let chunk = info.chunk;
        let has_passed = records.passed_versions(chunk)? != Ranges::default();
        let is_free_of_them = has_passed && foreign.is_empty();
        if is_free_of_them && !self.is_complete(records)? {
            return Ok(());
        }
        let there = copies.iter().filter(|it| foreign.contains(&it.place));
        let newer = there.map(|it| it.version).filter(|it| *it >= info.version);
        let newer: BTreeSet<u32> = newer.collect();
        let Some(leading) = &mut self.leading else {
            return Ok(());
        };
        let upkeep = &mut leading.upkeep;
        let is_asked = upkeep.forgetting.values().any(|it| *it == chunk);
        if is_asked || upkeep.forgetting.len() >= FORGET_MAX {
            return Ok(());
        }
        let ticket = leading.new_ticket();
        let upkeep = &mut leading.upkeep;
        upkeep.forgetting.insert(ticket, chunk);
        upkeep.unused.remove(&chunk);
        let op = match (newer.first(), newer.last()) {
            (Some(low), Some(high)) => Op::PassVersions {
                chunk,
                was: info.version,
                low: *low,
                high: *high,
            },
            _ if is_free_of_them => Op::ForgetPassedVersions {
                chunk,
                version: info.version,
            },
            _ => Op::ForgetChunk { chunk },
        };
        self.acts.push(Act::Propose(ticket, op));
        Ok(())
    }

    /// A copy of a chunk that is not in the tree.
    fn look_at_stray(&mut self, chunk: ChunkId, records: &dyn Records) -> Result<(), StoreError> {
        let known = records.known(chunk)?;
        #[cfg(feature = "planted-bugs")]
        let known = match known {
            KnownChunk::Foreign
                if self.options.bug == Some(crate::planted::Bug::NewerCopiesDeleted) =>
            {
                KnownChunk::Deleted
            }
            known => known,
        };
        match known {
            KnownChunk::Present => {}
            KnownChunk::Deleted => {
                let places: Vec<PlaceNo> = self.map.copies(chunk).map(|it| it.place).collect();
                for place in places {
                    let server = self.map.server(place);
                    if server.is_some_and(|server| self.is_usable(server)) {
                        self.delete(chunk, place, Deed::DeleteUnused);
                    }
                }
            }
            KnownChunk::Foreign => {
                let copies = self.map.copies(chunk).count() as u64;
                if let Some(leading) = &mut self.leading {
                    leading.upkeep.newer.of_chunks += copies;
                }
            }
        }
        Ok(())
    }
}
