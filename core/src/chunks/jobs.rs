//! What the leader does for writers: chunkservers are told of a chunk's version before anybody may
//! write to it.
//!
//! The tree commits a new chunk or version first, and notes that it is unsettled. A round tells
//! every chunkserver with a copy; when all have done it the chunk is settled, and who waits is
//! answered. When some have failed they may or may not have done it, so the version rises once more
//! and the next round is among the others. All of it can be begun again by the next leader: as long
//! as a chunk is unsettled nobody was told that it may be written, so every copy from the version
//! before on is as good as any other.

use std::collections::BTreeSet;

use super::keeper::{Act, Asker, ChunkAnswer, ChunkWish, Keeper, Located, Records, Refusal};
use super::leading::Why;
use super::map::PlaceNo;
use super::order::Order;
use super::placement::{self, Candidate, Choice, Room};
use super::sound::Sound;
use crate::id::{ChunkId, InodeId};
use crate::limits;
use crate::namespace::op::{ChunkAction, ChunkInfo, Op, Unsettled};
use crate::store::StoreError;
use crate::time::{Instant, WallTime};

/// The class of a chunk whose file is gone: one copy, and more as the files want that have it still.
const PLAIN_CLASS: u8 = 1;
/// Who waits for one chunk at most.
const WAITERS_MAX: usize = 1_000;

/// Names a proposal of the keeper's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What came of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// It was applied and carried out.
    Done,
    /// It was applied and refused by the tree: the chunk is another one by now.
    Refused,
    /// It is not known, or was not taken.
    Nothing,
}

/// What a proposal is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The version rises.
    Raise,
    /// The round was complete.
    Settle,
    /// A truncation ends, for this asker.
    End(Asker),
    /// There will be no such chunk, or no such version.
    GiveUp(Refusal),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing was done yet.
    New,
    /// A chunkserver with a copy cannot be used yet.
    Waiting { until: Instant },
    /// Orders are under way.
    Round { version: u32 },
    /// A proposal is under way.
    Proposed(Step),
}

/// Who waits for a chunk.
#[derive(Clone, Debug)]
enum Waiter {
    /// To write it.
    Write {
        asker: Asker,
        slot: (InodeId, u32),
        version: u32,
        length: u64,
    },
    /// To have it cut.
    Cut { asker: Asker, end: Op },
    /// To read it once it is settled.
    Read { asker: Asker, length: u64 },
}

impl Waiter {
    fn asker(&self) -> Asker {
        match self {
            Self::Write { asker, .. } | Self::Cut { asker, .. } | Self::Read { asker, .. } => {
                *asker
            }
        }
    }
}

/// The work on one chunk.
#[derive(Clone, Debug)]
pub struct Job {
    stage: Stage,
    waiters: Vec<Waiter>,
    /// Where orders of this round are under way.
    pending: BTreeSet<PlaceNo>,
    /// Where the chunk has the version of this round.
    told: Vec<PlaceNo>,
    failed: bool,
}

impl Job {
    fn new() -> Self {
        Self {
            stage: Stage::New,
            waiters: Vec::new(),
            pending: BTreeSet::new(),
            told: Vec::new(),
            failed: false,
        }
    }

    /// Whoever waits for it.
    pub fn into_askers(self) -> impl Iterator<Item = Asker> {
        self.waiters.into_iter().map(|waiter| waiter.asker())
    }
}

/// Whether a file still has this chunk in this place: a wish may come late, when another writer has
/// put another chunk there, and this one is a snapshot's.
fn holds(
    (inode, index): (InodeId, u32),
    chunk: ChunkId,
    records: &dyn Records,
) -> Result<bool, StoreError> {
    let there = records.chunk_at(inode, index)?;
    Ok(there.is_some_and(|info| info.chunk == chunk))
}

impl Keeper {
    /// Somebody wishes something. What needs the leader is refused with [`Act::AskAgain`] by who
    /// does not lead.
    pub fn on_wish(
        &mut self,
        asker: Asker,
        wish: ChunkWish,
        records: &dyn Records,
    ) -> Result<(), StoreError> {
        // The state of one that does not lead yet may be from before the lock that is asked about.
        if wish.needs_leader() && self.leading.is_none() {
            self.acts.push(Act::AskAgain(asker));
            return Ok(());
        }
        match wish {
            ChunkWish::Show { chunks } => {
                let copies = self.show(&chunks);
                self.acts
                    .push(Act::Answer(asker, ChunkAnswer::Copies(copies)));
                Ok(())
            }
            ChunkWish::Read { info, length } => self.on_read(asker, &info, length, records),
            ChunkWish::Look { info, length } => {
                let located = self.located_here(&info, length);
                let answer =
                    located.map_or(ChunkAnswer::Refused(Refusal::Again), ChunkAnswer::Located);
                self.acts.push(Act::Answer(asker, answer));
                Ok(())
            }
            ChunkWish::Repair { inode, indexes } => {
                self.begin_repair(asker, inode, indexes, records)
            }
            ChunkWish::Write {
                inode,
                index,
                chunk,
                version,
                length,
            } => {
                let slot = (inode, index);
                // Who finds its lock gone asks for another.
                let locked = records.chunk(chunk)?;
                let locked = locked.is_some_and(|info| info.locked_until >= self.wall);
                if !locked || !holds(slot, chunk, records)? {
                    let refused = ChunkAnswer::Refused(Refusal::Again);
                    self.acts.push(Act::Answer(asker, refused));
                    return Ok(());
                }
                let waiter = Waiter::Write {
                    asker,
                    slot,
                    version,
                    length,
                };
                self.begin(chunk, waiter, records)
            }
            ChunkWish::Cut { chunk, end } => {
                let waiter = Waiter::Cut { asker, end: *end };
                self.begin(chunk, waiter, records)
            }
        }
    }

    /// A chunk whose lock has run out is not settled: nobody else will do it.
    pub fn settle(&mut self, chunk: ChunkId, records: &dyn Records) -> Result<(), StoreError> {
        let Some(leading) = &mut self.leading else {
            return Ok(());
        };
        if leading.jobs.contains_key(&chunk) {
            return Ok(());
        }
        leading.jobs.insert(chunk, Job::new());
        self.advance(chunk, records)
    }

    /// Whether a chunk is being worked on for somebody.
    pub(super) fn is_busy(&self, chunk: ChunkId) -> bool {
        let leading = self.leading.as_ref();
        leading.is_some_and(|it| it.jobs.contains_key(&chunk))
    }

    fn on_read(
        &mut self,
        asker: Asker,
        info: &ChunkInfo,
        length: u64,
        records: &dyn Records,
    ) -> Result<(), StoreError> {
        if let Some(located) = self.located_here(info, length) {
            self.acts
                .push(Act::Answer(asker, ChunkAnswer::Located(located)));
            return Ok(());
        }
        if self.leading.is_none() {
            self.acts.push(Act::AskAgain(asker));
            return Ok(());
        }
        if info.unsettled.is_some_and(|it| it.cut.is_some()) {
            // Nobody else may see to it any more. The file is shorter then, so it is read anew.
            self.settle(info.chunk, records)?;
            let refused = ChunkAnswer::Refused(Refusal::Again);
            self.acts.push(Act::Answer(asker, refused));
            return Ok(());
        }
        if info.unsettled.is_some() {
            return self.begin(info.chunk, Waiter::Read { asker, length }, records);
        }
        // Who asked may have seen an older state than this one.
        let present = records.chunk(info.chunk)?;
        // One that no file has any more may have lost its copies; its reader asks for what is there.
        let is_same = |now: &ChunkInfo| now.version == info.version && now.references > 0;
        let refusal = match present.is_some_and(|now| is_same(&now)) {
            true => self.verdict(info.chunk, &Sound::only(info.version), records)?,
            false => Refusal::Again,
        };
        self.acts
            .push(Act::Answer(asker, ChunkAnswer::Refused(refusal)));
        Ok(())
    }

    /// Where a settled chunk can be read, if this node knows of any copy.
    fn located_here(&mut self, info: &ChunkInfo, length: u64) -> Option<Located> {
        if info.unsettled.is_some() {
            return None;
        }
        let located = self.map.located(info.chunk, Sound::only(info.version));
        let mut places: Vec<PlaceNo> = located.map(|(place, _)| place).collect();
        // Readers spread over the copies.
        self.rng.shuffle(&mut places);
        let located = self.locate(info.chunk, info.version, length, &places);
        (!located.holders.is_empty()).then_some(located)
    }

    fn locate(&self, chunk: ChunkId, version: u32, length: u64, places: &[PlaceNo]) -> Located {
        let holders = places.iter().filter_map(|place| self.holder(*place));
        Located {
            chunk,
            version,
            length,
            holders: holders.collect(),
        }
    }

    fn begin(
        &mut self,
        chunk: ChunkId,
        waiter: Waiter,
        records: &dyn Records,
    ) -> Result<(), StoreError> {
        let Some(leading) = &mut self.leading else {
            self.acts.push(Act::AskAgain(waiter.asker()));
            return Ok(());
        };
        let fresh = !leading.jobs.contains_key(&chunk);
        let job = leading.jobs.entry(chunk).or_insert_with(Job::new);
        if job.waiters.len() >= WAITERS_MAX {
            let refused = ChunkAnswer::Refused(Refusal::Again);
            self.acts.push(Act::Answer(waiter.asker(), refused));
            return Ok(());
        }
        job.waiters.push(waiter);
        match fresh {
            true => self.advance(chunk, records),
            // It is answered with those who wait already.
            false => Ok(()),
        }
    }

    fn job(&mut self, chunk: ChunkId) -> Option<&mut Job> {
        self.leading.as_mut()?.jobs.get_mut(&chunk)
    }

    fn propose(&mut self, chunk: ChunkId, step: Step, op: Op) {
        let Some(leading) = &mut self.leading else {
            return;
        };
        let ticket = leading.new_ticket();
        leading.tickets.insert(ticket, chunk);
        if let Some(job) = leading.jobs.get_mut(&chunk) {
            job.stage = Stage::Proposed(step);
            self.acts.push(Act::Propose(ticket, op));
        }
    }

    /// Does what comes next for a chunk.
    fn advance(&mut self, chunk: ChunkId, records: &dyn Records) -> Result<(), StoreError> {
        // What was rolled back is of no file any more, and nobody may be told to write it: a writer
        // may have been given it before that, and wish for it now.
        let Some(info) = records.chunk(chunk)?.filter(|info| info.references > 0) else {
            self.finish_refused(chunk, Refusal::Again);
            return Ok(());
        };
        match info.unsettled {
            None => {
                if let Some(leading) = &mut self.leading {
                    leading.raised.remove(&chunk);
                }
                self.advance_settled(chunk, &info, records)
            }
            Some(unsettled) => self.begin_round(chunk, &info, &unsettled, records),
        }
    }

    fn advance_settled(
        &mut self,
        chunk: ChunkId,
        info: &ChunkInfo,
        records: &dyn Records,
    ) -> Result<(), StoreError> {
        let clean = self.is_clean(chunk, info.version);
        let Some(job) = self.job(chunk) else {
            return Ok(());
        };
        // A cut that was done already: the tree knows, and says what its outcome was.
        let cut = job.waiters.iter().find_map(|waiter| match waiter {
            Waiter::Cut { asker, end } => Some((*asker, end.clone())),
            _ => None,
        });
        if let Some((asker, end)) = cut {
            self.propose(chunk, Step::End(asker), end);
            return Ok(());
        }
        let writes = |waiter: &Waiter| matches!(waiter, Waiter::Write { .. });
        if clean || !job.waiters.iter().any(writes) {
            return self.finish(chunk, info, records);
        }
        let sound = Sound::of(info, records)?;
        if self.must_wait(chunk, &sound) {
            return Ok(());
        }
        if self.sound_places(chunk, info.version).is_empty() {
            let refusal = self.verdict(chunk, &sound, records)?;
            // Who is refused asks anew, and must not find its own lock.
            self.propose(chunk, Step::GiveUp(refusal), Op::UnlockChunk { chunk });
            return Ok(());
        }
        let version = info.version.saturating_add(1);
        self.propose(chunk, Step::Raise, Op::SetChunkVersion { chunk, version });
        Ok(())
    }

    /// Waits when a chunkserver with a copy is there but cannot be used yet.
    fn must_wait(&mut self, chunk: ChunkId, sound: &Sound) -> bool {
        let mut until = None;
        for known in self.map.copies(chunk) {
            let Some(server) = self.map.server(known.place) else {
                continue;
            };
            if known.damaged || !sound.contains(known.version) {
                continue;
            }
            if !self.is_usable(server) && !self.is_given_up(server) {
                let from = server.cut_off.unwrap_or(self.now);
                let end = from + self.options.cut_off_patience;
                until = Some(until.map_or(end, |until: Instant| until.max(end)));
            }
        }
        let now = self.now;
        let Some(job) = self.job(chunk) else {
            return false;
        };
        let Some(until) = until else {
            return false;
        };
        match job.stage {
            // It has waited long enough.
            Stage::Waiting { until } if until <= now => false,
            Stage::Waiting { .. } => true,
            _ => {
                job.stage = Stage::Waiting { until };
                true
            }
        }
    }

    fn begin_round(
        &mut self,
        chunk: ChunkId,
        info: &ChunkInfo,
        unsettled: &Unsettled,
        records: &dyn Records,
    ) -> Result<(), StoreError> {
        let raised = self.leading.as_ref().and_then(|it| it.raised.get(&chunk));
        let Some(raised) = raised
            .copied()
            .filter(|raised| raised.version == info.version)
        else {
            // An order of an earlier leader may still bring a copy that is not told here to this
            // version; it brings none to the next.
            let version = info.version.saturating_add(1);
            self.propose(chunk, Step::Raise, Op::SetChunkVersion { chunk, version });
            return Ok(());
        };
        if !raised.is_ordered
            && let Some((low, high)) = self.left_out(chunk, info.version, unsettled, records)?
        {
            let was = info.version;
            let op = Op::PassVersions {
                chunk,
                was,
                low,
                high,
            };
            self.propose(chunk, Step::Raise, op);
            return Ok(());
        }
        let sound = Sound::of(info, records)?;
        if self.must_wait(chunk, &sound) {
            return Ok(());
        }
        let (orders, told) = self.orders_for(chunk, info, unsettled, &sound);
        let mut orders = orders;
        if orders.is_empty() && told.is_empty() {
            match self.first_orders(chunk, info, unsettled, records)? {
                First::Orders(first) => orders = first,
                First::Wait => return Ok(()),
                First::None(refusal) => {
                    self.give_up(chunk, info, unsettled, refusal);
                    return Ok(());
                }
            }
        }
        let version = info.version;
        let Some(job) = self.job(chunk) else {
            return Ok(());
        };
        job.stage = Stage::Round { version };
        job.pending = orders.iter().map(|(place, _)| *place).collect();
        job.told = told;
        job.failed = false;
        let nothing = orders.is_empty();
        if !nothing
            && let Some(leading) = &mut self.leading
            && let Some(raised) = leading.raised.get_mut(&chunk)
        {
            raised.is_ordered = true;
        }
        for (place, order) in orders {
            self.order(place, order, Why::Job);
        }
        match nothing {
            true => self.end_round(chunk, records),
            false => Ok(()),
        }
    }

    /// Versions that are given to no copy of this state: nobody was told of `version` yet.
    fn left_out(
        &mut self,
        chunk: ChunkId,
        version: u32,
        unsettled: &Unsettled,
        records: &dyn Records,
    ) -> Result<Option<(u32, u32)>, StoreError> {
        let doubtful = self.doubtful(chunk, version, unsettled.action, records)?;
        let there = self.not_ours(chunk, version);
        Ok(match (doubtful, there) {
            (Some(one), Some(other)) => Some((one.0.min(other.0), one.1.max(other.1))),
            (one, other) => one.or(other),
        })
    }

    /// The lowest and the highest version of copies that cannot be of this state: nobody was told
    /// of `version` yet.
    pub(super) fn not_ours(&self, chunk: ChunkId, version: u32) -> Option<(u32, u32)> {
        let versions = self.map.copies(chunk).map(|known| known.version);
        let newer = versions.filter(|it| *it >= version);
        newer.fold(None, |found: Option<(u32, u32)>, it| {
            let (low, high) = found.unwrap_or((it, it));
            Some((low.min(it), high.max(it)))
        })
    }

    fn has_copy(&self, chunk: ChunkId, place: PlaceNo) -> bool {
        self.map.copies(chunk).any(|known| known.place == place)
    }

    /// What copies that there are still have to be told, and which need not.
    fn orders_for(
        &self,
        chunk: ChunkId,
        info: &ChunkInfo,
        unsettled: &Unsettled,
        sound: &Sound,
    ) -> (Vec<(PlaceNo, Order)>, Vec<PlaceNo>) {
        let (mut orders, mut told) = (Vec::new(), Vec::new());
        for known in self.map.copies(chunk) {
            let server = self.map.server(known.place);
            let usable = server.is_some_and(|it| self.is_usable(it));
            let (from, to) = (known.version, info.version);
            if known.damaged
                || !usable
                || !sound.contains(from)
                || self.is_being_deleted(chunk, known.place)
            {
                continue;
            }
            if from == to {
                told.push(known.place);
                continue;
            }
            let order = match unsettled.cut {
                Some(cut) => Order::Truncate {
                    chunk,
                    from,
                    to,
                    bytes: cut.bytes,
                },
                None => Order::SetVersion { chunk, from, to },
            };
            orders.push((known.place, order));
        }
        (orders, told)
    }

    /// Orders for a chunk without a copy.
    fn first_orders(
        &mut self,
        chunk: ChunkId,
        info: &ChunkInfo,
        unsettled: &Unsettled,
        records: &dyn Records,
    ) -> Result<First, StoreError> {
        let version = info.version;
        match unsettled.action {
            ChunkAction::Created => {
                // Its file may be gone, and a snapshot have it still.
                let class = match records.class_of(unsettled.inode)? {
                    None => records.class(PLAIN_CLASS)?,
                    class => class,
                };
                let Some(class) = class else {
                    return Ok(First::None(Refusal::Again));
                };
                let mut candidates = self.candidates();
                candidates.retain(|it| !self.has_copy(chunk, it.place));
                match placement::choose(&class.create, class.mode, &candidates) {
                    Choice::Places(places) => Ok(First::Orders(
                        places
                            .into_iter()
                            .map(|place| (place, Order::Create { chunk, version }))
                            .collect(),
                    )),
                    Choice::Busy => Ok(First::None(Refusal::Again)),
                    Choice::Full => Ok(First::None(self.no_room(records)?)),
                }
            }
            ChunkAction::Duplicated { from, .. } => {
                let Some(source) = records.chunk(from)? else {
                    return Ok(First::None(Refusal::Again));
                };
                if source.unsettled.is_some_and(|it| it.cut.is_some()) {
                    self.settle(from, records)?;
                    return Ok(First::None(Refusal::Again));
                }
                let sound = Sound::of(&source, records)?;
                if self.must_wait_for(chunk, from, &sound) {
                    return Ok(First::Wait);
                }
                let mut orders = Vec::new();
                for known in self.map.copies(from) {
                    let server = self.map.server(known.place);
                    let usable = server.is_some_and(|it| self.is_usable(it));
                    if known.damaged
                        || !usable
                        || !sound.contains(known.version)
                        || self.is_being_deleted(from, known.place)
                        || self.has_copy(chunk, known.place)
                    {
                        continue;
                    }
                    let from_version = known.version;
                    let order = match unsettled.cut {
                        Some(cut) => Order::DupTrunc {
                            chunk,
                            version,
                            from,
                            from_version,
                            bytes: cut.bytes,
                        },
                        None => Order::Duplicate {
                            chunk,
                            version,
                            from,
                            from_version,
                        },
                    };
                    orders.push((known.place, order));
                }
                if !orders.is_empty() {
                    return Ok(First::Orders(orders));
                }
                let made = source.unsettled.map(|it| it.action);
                if let Some(ChunkAction::Created | ChunkAction::Duplicated { .. }) = made {
                    // It may not have been made yet, and nobody else may see to it.
                    self.settle(from, records)?;
                    return Ok(First::None(Refusal::Again));
                }
                Ok(First::None(self.verdict(from, &sound, records)?))
            }
            ChunkAction::Raised { .. } | ChunkAction::Kept => Ok(First::None(self.verdict(
                chunk,
                &Sound::of(info, records)?,
                records,
            )?)),
        }
    }

    /// As [`Self::must_wait`], for copies of the chunk that is duplicated.
    fn must_wait_for(&mut self, chunk: ChunkId, source: ChunkId, sound: &Sound) -> bool {
        let waits = self.map.copies(source).any(|known| {
            let server = self.map.server(known.place);
            !known.damaged
                && sound.contains(known.version)
                && server.is_some_and(|it| !self.is_usable(it) && !self.is_given_up(it))
        });
        let (now, patience) = (self.now, self.options.cut_off_patience);
        let Some(job) = self.job(chunk) else {
            return false;
        };
        match job.stage {
            _ if !waits => false,
            Stage::Waiting { until } => until > now,
            _ => {
                let until = now + patience;
                job.stage = Stage::Waiting { until };
                true
            }
        }
    }

    /// Chunkservers that may take a new copy, the emptiest first.
    pub(super) fn candidates(&mut self) -> Vec<Candidate<PlaceNo>> {
        let mut order: Vec<(u64, u64, PlaceNo)> = Vec::new();
        let places: Vec<PlaceNo> = self.map.servers().map(|(place, _)| place).collect();
        for place in places {
            let draw = self.rng.next_u64();
            if let Some(server) = self.map.server(place) {
                let space = &server.space;
                let total = space.total.max(1);
                // In hundredths, so that servers that are about as full take turns.
                let used = u128::from(space.used) * 100 / u128::from(total);
                order.push((u64::try_from(used).unwrap_or(100), draw, place));
            }
        }
        order.sort_unstable();
        let each = |(_, _, place): (u64, u64, PlaceNo)| {
            let server = self.map.server(place)?;
            if server.leaving || !self.is_usable(server) {
                return None;
            }
            let left = server.space.total.saturating_sub(server.space.used);
            let creating = self.orders_at(place) as u64;
            let needed = limits::CHUNK_BYTES.saturating_mul(1 + 10 * creating.min(100));
            let free = match server {
                _ if left < limits::CHUNK_BYTES => Room::Full,
                server if server.overloaded || left < needed => Room::Busy,
                _ => Room::Yes,
            };
            Some(Candidate {
                place,
                labels: server.labels,
                free,
            })
        };
        order.into_iter().filter_map(each).collect()
    }

    fn orders_at(&self, place: PlaceNo) -> usize {
        let Some(leading) = &self.leading else {
            return 0;
        };
        let here = |order: &&super::leading::OrderAt| order.place == place && order.why == Why::Job;
        leading.orders.values().filter(here).count()
    }

    /// Why no chunkserver takes a new chunk.
    fn no_room(&self, records: &dyn Records) -> Result<Refusal, StoreError> {
        let known = records.chunkservers()?;
        if known.is_empty() {
            return Ok(Refusal::NoServers);
        }
        let there = self.map.servers().filter(|(_, it)| self.is_usable(it));
        Ok(match there.count() {
            0 => Refusal::Again,
            // Some that are not there may have room.
            usable if usable < known.len() && !self.is_complete(records)? => Refusal::Again,
            _ => Refusal::NoSpace,
        })
    }

    /// An order of a job has ended.
    pub(super) fn on_job_order(
        &mut self,
        chunk: ChunkId,
        place: PlaceNo,
        done: bool,
        records: &dyn Records,
    ) -> Result<(), StoreError> {
        if !done && let Some(leading) = &mut self.leading {
            // It may have been done all the same: whatever comes of this round, the next one is
            // for another version.
            leading.raised.remove(&chunk);
        }
        let Some(job) = self.job(chunk) else {
            return Ok(());
        };
        if !job.pending.remove(&place) {
            return Ok(());
        }
        if done {
            job.told.push(place);
        } else {
            job.failed = true;
        }
        match job.pending.is_empty() {
            true => self.end_round(chunk, records),
            false => Ok(()),
        }
    }

    fn end_round(&mut self, chunk: ChunkId, records: &dyn Records) -> Result<(), StoreError> {
        #[cfg(feature = "planted-bugs")]
        let bug = self.options.bug;
        let Some(job) = self.job(chunk) else {
            return Ok(());
        };
        let Stage::Round { version } = job.stage else {
            return Ok(());
        };
        let (failed, none) = (job.failed, job.told.is_empty());
        #[cfg(feature = "planted-bugs")]
        let failed = failed && bug != Some(crate::planted::Bug::SettledDespiteFailure);
        let cut = job.waiters.iter().find_map(|waiter| match waiter {
            Waiter::Cut { asker, end } => Some((*asker, end.clone())),
            _ => None,
        });
        let info = records.chunk(chunk)?;
        let Some((info, unsettled)) = info.and_then(|info| Some((info, info.unsettled?))) else {
            return self.advance(chunk, records);
        };
        if info.version != version {
            return self.advance(chunk, records);
        }
        if none {
            self.give_up(chunk, &info, &unsettled, Refusal::Again);
        } else if failed {
            // Who failed may have done it all the same.
            let version = version.saturating_add(1);
            self.propose(chunk, Step::Raise, Op::SetChunkVersion { chunk, version });
        } else if let Some((asker, end)) = cut.filter(|_| unsettled.cut.is_some()) {
            self.propose(chunk, Step::End(asker), end);
        } else {
            self.propose(chunk, Step::Settle, Op::SettleChunk { chunk, version });
        }
        Ok(())
    }

    /// Nobody could be told: the slot is as it was before, or the version stays unsettled.
    fn give_up(
        &mut self,
        chunk: ChunkId,
        info: &ChunkInfo,
        unsettled: &Unsettled,
        refusal: Refusal,
    ) {
        let (inode, index) = (unsettled.inode, unsettled.index);
        let op = match unsettled.action {
            ChunkAction::Created => Op::RollbackChunk {
                inode,
                index,
                new: chunk,
                old: ChunkId::HOLE,
            },
            ChunkAction::Duplicated { from, .. } => Op::RollbackChunk {
                inode,
                index,
                new: chunk,
                old: from,
            },
            ChunkAction::Raised { .. } | ChunkAction::Kept => {
                if info.locked_until == WallTime(0) {
                    self.finish_refused(chunk, refusal);
                    return;
                }
                Op::UnlockChunk { chunk }
            }
        };
        self.propose(chunk, Step::GiveUp(refusal), op);
    }

    /// A proposal of the keeper's came to something.
    pub fn on_proposed(
        &mut self,
        ticket: Ticket,
        came: Came,
        records: &dyn Records,
    ) -> Result<(), StoreError> {
        let Some(leading) = &mut self.leading else {
            return Ok(());
        };
        if leading.upkeep.on_proposed(ticket) {
            return Ok(());
        }
        if self.on_ids_passed(ticket) {
            return Ok(());
        }
        let Some(leading) = &mut self.leading else {
            return Ok(());
        };
        if let Some(repair) = leading.repairs.remove(&ticket) {
            return self.on_repair_proposed(repair, came, records);
        }
        let Some(chunk) = leading.tickets.remove(&ticket) else {
            return Ok(());
        };
        let Some(job) = leading.jobs.get_mut(&chunk) else {
            return Ok(());
        };
        let Stage::Proposed(step) = std::mem::replace(&mut job.stage, Stage::New) else {
            return Ok(());
        };
        if came == Came::Nothing {
            // Who has done what it was told may be gone before the next round, and come back with
            // this version: what is written next must have another.
            leading.raised.remove(&chunk);
            self.finish_again(chunk);
            return Ok(());
        }
        match step {
            Step::Raise => {
                if came == Came::Done
                    && let Some(info) = records.chunk(chunk)?
                {
                    self.on_raised(chunk, info.version);
                }
            }
            Step::Settle => self.note_told(chunk, came, records)?,
            Step::End(asker) => {
                if let Some(job) = self.job(chunk) {
                    job.waiters.retain(|waiter| waiter.asker() != asker);
                }
                self.acts.push(Act::AnswerOutcome(asker, ticket));
                self.note_told(chunk, came, records)?;
            }
            Step::GiveUp(refusal) => {
                if let Some(leading) = &mut self.leading {
                    // It is gone, or its next round is for another version.
                    leading.raised.remove(&chunk);
                }
                // It was not in its place any more, and somebody else shares it: nobody was told
                // that he may write it, and nobody would lift the lock.
                if came == Came::Refused
                    && let Some(info) = records.chunk(chunk)?
                    && info.references > 0
                    && info.locked_until != WallTime(0)
                {
                    self.propose(chunk, Step::GiveUp(refusal), Op::UnlockChunk { chunk });
                    return Ok(());
                }
                self.finish_refused(chunk, refusal);
                return Ok(());
            }
        }
        if came == Came::Refused {
            // Another one holds the slot, or the chunk is gone.
            self.finish_refused(chunk, Refusal::Again);
            return Ok(());
        }
        self.advance(chunk, records)
    }

    fn note_told(
        &mut self,
        chunk: ChunkId,
        came: Came,
        records: &dyn Records,
    ) -> Result<(), StoreError> {
        let told = self.job(chunk).map(|job| std::mem::take(&mut job.told));
        if came == Came::Done
            && let Some(told) = told.filter(|told| !told.is_empty())
            && let Some(info) = records.chunk(chunk)?
            && info.unsettled.is_none()
        {
            self.set_clean(chunk, info.version, told);
        }
        Ok(())
    }

    /// Everybody who waits is told where the chunk is.
    fn finish(
        &mut self,
        chunk: ChunkId,
        info: &ChunkInfo,
        records: &dyn Records,
    ) -> Result<(), StoreError> {
        let places = self.sound_places(chunk, info.version);
        let refusal = match places.is_empty() {
            true => Some(self.verdict(chunk, &Sound::only(info.version), records)?),
            false => None,
        };
        let Some(job) = self.take_job(chunk) else {
            return Ok(());
        };
        for waiter in job.waiters {
            let (asker, length, fits) = match waiter {
                Waiter::Write {
                    asker,
                    slot,
                    version,
                    length,
                } => {
                    let fits = version <= info.version && holds(slot, chunk, records)?;
                    (asker, length, fits)
                }
                Waiter::Read { asker, length } => (asker, length, true),
                Waiter::Cut { asker, .. } => (asker, 0, false),
            };
            let answer = match refusal {
                Some(refusal) => ChunkAnswer::Refused(refusal),
                None if !fits => ChunkAnswer::Refused(Refusal::Again),
                None => ChunkAnswer::Located(self.locate(chunk, info.version, length, &places)),
            };
            self.acts.push(Act::Answer(asker, answer));
        }
        Ok(())
    }

    fn finish_refused(&mut self, chunk: ChunkId, refusal: Refusal) {
        for asker in self.take_job(chunk).into_iter().flat_map(Job::into_askers) {
            let answer = ChunkAnswer::Refused(refusal);
            self.acts.push(Act::Answer(asker, answer));
        }
    }

    fn finish_again(&mut self, chunk: ChunkId) {
        for asker in self.take_job(chunk).into_iter().flat_map(Job::into_askers) {
            self.acts.push(Act::AskAgain(asker));
        }
    }

    fn take_job(&mut self, chunk: ChunkId) -> Option<Job> {
        self.leading.as_mut()?.jobs.remove(&chunk)
    }

    /// Chunkservers may be usable that were not.
    pub(super) fn go_on_waiting(&mut self, records: &dyn Records) -> Result<(), StoreError> {
        for chunk in self.waiting(None) {
            if let Some(job) = self.job(chunk) {
                // Whoever still has to wait begins no new patience: `must_wait` keeps the stage.
                debug_assert!(matches!(job.stage, Stage::Waiting { .. }));
            }
            self.advance(chunk, records)?;
        }
        Ok(())
    }

    /// Whoever has waited long enough goes on without.
    pub(super) fn give_up_waiting(&mut self, records: &dyn Records) -> Result<(), StoreError> {
        for chunk in self.waiting(Some(self.now)) {
            self.advance(chunk, records)?;
        }
        Ok(())
    }

    /// Jobs that wait for chunkservers, all or those whose patience has ended.
    fn waiting(&self, by: Option<Instant>) -> Vec<ChunkId> {
        let Some(leading) = &self.leading else {
            return Vec::new();
        };
        let jobs = leading.jobs.iter();
        let waiting = jobs.filter(|(_, job)| match job.stage {
            Stage::Waiting { until } => by.is_none_or(|by| until <= by),
            _ => false,
        });
        waiting.map(|(chunk, _)| *chunk).collect()
    }

    pub(super) fn waiting_deadline(&self) -> Option<Instant> {
        let jobs = self.leading.as_ref()?.jobs.values();
        jobs.filter_map(|job| match job.stage {
            Stage::Waiting { until } => Some(until),
            _ => None,
        })
        .min()
    }
}

/// How a chunk without a copy gets its first.
enum First {
    Orders(Vec<(PlaceNo, Order)>),
    /// The chunk that it is copied from is on a chunkserver that cannot be used yet.
    Wait,
    None(Refusal),
}
