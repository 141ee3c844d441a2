//! Where copies of chunks are, as relays tell it: on every node, so that whoever leads next knows.
//!
//! A chunkserver that registers again takes a new place; what was said of the place before counts
//! no more (P-CHUNKS: its space and its copies are counted once).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::relay::Effects;
use super::report::{Address, ConnId, Joined, Report, Space};
use super::sound::Sound;
use super::talk::{News, Run, What};
use crate::id::{ChunkId, CsId, NodeId, Slot, Term};
use crate::limits;
#[cfg(feature = "planted-bugs")]
use crate::planted::Bug;
use crate::time::{Duration, Instant};

/// Numbers of chunks within their slot above this, half of all, are passed over by nobody.
const LAST_MAX: u64 = 1 << (55 - limits::SLOT_BITS);

/// A place in the map: one registration of one chunkserver. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlaceNo(pub u32);

/// A connection of a chunkserver, as one relay names it in one of its lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Via {
    /// The relay.
    pub relay: NodeId,
    /// Its life.
    pub life: u64,
    /// The connection there.
    pub conn: ConnId,
}

/// A chunkserver that is connected somewhere.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its registration.
    pub joined: Joined,
    /// How it is reached.
    pub via: Via,
    /// It has named all copies that it knew of.
    pub listed: bool,
    /// It said that it stops.
    pub leaving: bool,
    /// When it was first heard of here.
    pub since: Instant,
    /// Its labels.
    pub labels: u32,
    /// Its space.
    pub space: Space,
    /// Jobs that it has.
    pub jobs: u32,
    /// It says that they are too many.
    pub overloaded: bool,
    /// Errors of its disks since it registered.
    pub errors: u32,
    /// No order of an earlier run is under way there.
    pub fenced: Run,
    /// Since when its relay cannot be reached from here.
    pub cut_off: Option<Instant>,
}

/// A copy, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Where.
    pub place: PlaceNo,
    /// Its version.
    pub version: u32,
    /// It lies on a disk that shall be emptied.
    pub to_remove: bool,
    /// It is bad.
    pub damaged: bool,
}

/// Something in the map changed that the leader may have waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A chunkserver is there.
    Came(PlaceNo),
    /// A chunkserver has named its copies, or is fenced: it can be used.
    Usable(PlaceNo),
    /// A chunkserver is gone, with what it was doing.
    Left {
        /// Its registration.
        place: PlaceNo,
        /// Its number.
        csid: CsId,
        /// It said that it stops.
        announced: bool,
    },
    /// An order has ended.
    Ended {
        /// Where.
        place: PlaceNo,
        /// Which.
        tag: super::talk::Tag,
        /// Of which chunk.
        chunk: ChunkId,
        /// 0 when it succeeded.
        status: u8,
    },
    /// A copy went or was damaged, but by no order.
    Moved(ChunkId),
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct ChunkMap {
    next: u32,
    servers: BTreeMap<PlaceNo, Server>,
    vias: BTreeMap<Via, PlaceNo>,
    copies: BTreeMap<ChunkId, Vec<Known>>,
    /// Chunkservers that have once named all their copies here.
    named: BTreeSet<CsId>,
    /// The last chunk of each slot that any chunkserver ever named here.
    last: BTreeMap<Slot, u64>,
    /// Slots where that is another since it was looked at.
    last_rose: BTreeSet<Slot>,
    /// Registrations of each chunkserver below this number count no more: it is the last one that
    /// the replicated state had here, or the next after it when it was removed from the state.
    registered: BTreeMap<CsId, u64>,
    /// Those of them that were removed.
    forgotten: BTreeSet<CsId>,
    #[cfg(feature = "planted-bugs")]
    bug: Option<Bug>,
}

impl ChunkMap {
    /// From now this mistake is made.
    #[cfg(feature = "planted-bugs")]
    #[must_use]
    pub fn with_bug(mut self, bug: Option<Bug>) -> Self {
        self.bug = bug;
        self
    }

    /// Chunkservers, in the order in which they were heard of.
    pub fn servers(&self) -> impl Iterator<Item = (PlaceNo, &Server)> {
        self.servers.iter().map(|(place, server)| (*place, server))
    }

    /// One chunkserver.
    #[must_use]
    pub fn server(&self, place: PlaceNo) -> Option<&Server> {
        self.servers.get(&place)
    }

    /// The chunkserver with this number.
    #[must_use]
    pub fn by_csid(&self, csid: CsId) -> Option<(PlaceNo, &Server)> {
        self.servers().find(|(_, it)| it.joined.csid == csid)
    }

    /// Copies of a chunk on chunkservers that are there, in the order in which they were heard of.
    pub fn copies(&self, chunk: ChunkId) -> impl Iterator<Item = Known> + Clone + '_ {
        let copies = self.copies.get(&chunk).map(Vec::as_slice);
        let there = |known: &&Known| self.servers.contains_key(&known.place);
        copies.unwrap_or_default().iter().filter(there).copied()
    }

    /// Whether a chunkserver has ever named all its copies here.
    #[must_use]
    pub fn has_named(&self, csid: CsId) -> bool {
        self.named.contains(&csid)
    }

    /// Chunks after this one of which there may be copies, in order.
    pub fn chunks_after(&self, after: ChunkId) -> impl Iterator<Item = ChunkId> + '_ {
        let behind = (Bound::Excluded(after), Bound::Unbounded);
        self.copies.range(behind).map(|(chunk, _)| *chunk)
    }

    /// Space of all chunkservers: in total, and of that free, bytes.
    #[must_use]
    pub fn space(&self) -> (u64, u64) {
        let mut total = 0_u64;
        let mut free = 0_u64;
        for server in self.servers.values() {
            let space = &server.space;
            let all = space.total.saturating_add(space.removal_total);
            total = total.saturating_add(all);
            free = free.saturating_add(space.total.saturating_sub(space.used));
        }
        (total, free)
    }

    /// News of a relay. `life` is the life of it that the run is of; `begun` says that this is the
    /// beginning of one.
    pub fn on_news(
        &mut self,
        now: Instant,
        (relay, life): (NodeId, u64),
        begun: bool,
        news: Vec<News>,
        changes: &mut Vec<Change>,
    ) {
        if begun {
            let theirs = self.servers().filter(|(_, it)| it.via.relay == relay);
            for place in theirs.map(|(place, _)| place).collect::<Vec<_>>() {
                self.leave(place, changes);
            }
        }
        for News { conn, what } in news {
            let via = Via { relay, life, conn };
            self.on_one(now, via, what, changes);
        }
    }

    fn on_one(&mut self, now: Instant, via: Via, what: What, changes: &mut Vec<Change>) {
        if let What::Said(Report::Joined(joined)) = what {
            return self.on_joined(now, via, joined, changes);
        }
        let Some(place) = self.vias.get(&via).copied() else {
            // It has registered elsewhere since.
            return;
        };
        let Some(server) = self.servers.get_mut(&place) else {
            return;
        };
        match what {
            What::Begun => {}
            What::Fenced(run) => {
                server.fenced = server.fenced.max(run);
                changes.push(Change::Usable(place));
            }
            What::Ended { tag, order, status } => {
                let chunk = order.chunk();
                match Effects::of(&order, status) {
                    Effects::Nothing => {}
                    Effects::Has(version) => self.put(place, chunk, version, None, false),
                    Effects::Lost => self.take(place, chunk),
                    Effects::Damaged => self.put(place, chunk, 0, None, true),
                }
                changes.push(Change::Ended {
                    place,
                    tag,
                    chunk,
                    status,
                });
            }
            What::Said(report) => match report {
                Report::Joined(_) | Report::Done { .. } => {}
                Report::Found(copies) => {
                    for copy in copies {
                        self.note_last(copy.chunk);
                        let removal = Some(copy.to_remove);
                        self.put(place, copy.chunk, copy.version, removal, false);
                    }
                }
                Report::Listed => {
                    server.listed = true;
                    self.named.insert(server.joined.csid);
                    changes.push(Change::Usable(place));
                }
                Report::Lost(chunks) => {
                    for chunk in chunks {
                        self.take(place, chunk);
                        changes.push(Change::Moved(chunk));
                    }
                }
                Report::Damaged(chunks) => {
                    for chunk in chunks {
                        self.put(place, chunk, 0, None, true);
                        changes.push(Change::Moved(chunk));
                    }
                }
                Report::Space(space) => server.space = space,
                Report::Load { jobs, overloaded } => {
                    server.jobs = jobs;
                    server.overloaded = overloaded;
                }
                Report::Labels(labels) => server.labels = labels,
                Report::DiskError => server.errors = server.errors.saturating_add(1),
                Report::Leaving => server.leaving = true,
                Report::Gone => self.leave(place, changes),
            },
        }
    }

    /// Whether a later registration of the same chunkserver is known.
    #[must_use]
    pub fn is_superseded(&self, joined: &Joined) -> bool {
        let last = self.registered.get(&joined.csid);
        last.is_some_and(|last| *last > joined.registration)
    }

    /// Chunkservers that the replicated state had here when it was last told.
    pub fn registered(&self) -> impl Iterator<Item = CsId> + '_ {
        let all = self.registered.keys();
        all.filter(|csid| !self.forgotten.contains(csid)).copied()
    }

    fn on_joined(&mut self, now: Instant, via: Via, joined: Joined, changes: &mut Vec<Change>) {
        if self.is_superseded(&joined) {
            return;
        }
        let before = self.by_csid(joined.csid);
        #[cfg(feature = "planted-bugs")]
        let before = before.filter(|_| self.bug != Some(Bug::RegistrationCountedTwice));
        if let Some((place, server)) = before {
            if server.joined.registration > joined.registration {
                return;
            }
            self.leave(place, changes);
        }
        self.next += 1;
        let place = PlaceNo(self.next);
        self.servers.insert(
            place,
            Server {
                joined,
                via,
                listed: false,
                leaving: false,
                since: now,
                labels: 0,
                space: joined.space,
                jobs: 0,
                overloaded: false,
                errors: 0,
                fenced: (Term(0), 0),
                cut_off: None,
            },
        );
        self.vias.insert(via, place);
        changes.push(Change::Came(place));
    }

    /// A chunkserver has registered: what was said of earlier registrations counts no more.
    pub fn on_registered(&mut self, csid: CsId, registration: u64, changes: &mut Vec<Change>) {
        self.forgotten.remove(&csid);
        let last = self.registered.entry(csid).or_default();
        *last = registration.max(*last);
        #[cfg(feature = "planted-bugs")]
        if self.bug == Some(Bug::RegistrationCountedTwice) {
            return;
        }
        if let Some((place, server)) = self.by_csid(csid)
            && server.joined.registration < registration
        {
            self.leave(place, changes);
        }
    }

    /// A chunkserver was removed from the replicated state: its registrations so far count no more.
    /// Gives the number below which that is.
    pub fn on_forgotten(&mut self, csid: CsId, changes: &mut Vec<Change>) -> Option<u64> {
        if self.forgotten.contains(&csid) {
            return None;
        }
        let next = self.registered.get(&csid)? + 1;
        self.on_registered(csid, next, changes);
        self.forgotten.insert(csid);
        Some(next)
    }

    /// The way to a node is lost, or there again.
    pub fn on_peer(&mut self, node: NodeId, reachable: bool, now: Instant) {
        for server in self.servers.values_mut() {
            if server.via.relay == node {
                server.cut_off = match server.cut_off {
                    _ if reachable => None,
                    Some(since) => Some(since),
                    None => Some(now),
                };
            }
        }
    }

    /// Forgets chunkservers whose relay could not be reached for this long; says whose those were.
    pub fn forget_cut_off(
        &mut self,
        now: Instant,
        after: Duration,
        changes: &mut Vec<Change>,
    ) -> BTreeSet<NodeId> {
        let old = |server: &Server| server.cut_off.is_some_and(|since| since + after <= now);
        let gone = self.servers().filter(|(_, server)| old(server));
        let gone: Vec<_> = gone.map(|(place, it)| (place, it.via.relay)).collect();
        for (place, _) in &gone {
            self.leave(*place, changes);
        }
        gone.into_iter().map(|(_, relay)| relay).collect()
    }

    fn leave(&mut self, place: PlaceNo, changes: &mut Vec<Change>) {
        if let Some(server) = self.servers.remove(&place) {
            self.vias.remove(&server.via);
            changes.push(Change::Left {
                place,
                csid: server.joined.csid,
                announced: server.leaving,
            });
        }
    }

    fn put(
        &mut self,
        place: PlaceNo,
        chunk: ChunkId,
        version: u32,
        to_remove: Option<bool>,
        damaged: bool,
    ) {
        let servers = &self.servers;
        let copies = self.copies.entry(chunk).or_default();
        // Copies of places that are gone leave here: there is no list of them.
        copies.retain(|known| servers.contains_key(&known.place));
        match copies.iter_mut().find(|known| known.place == place) {
            Some(known) => {
                known.version = if damaged { known.version } else { version };
                known.to_remove = to_remove.unwrap_or(known.to_remove);
                known.damaged = damaged;
            }
            None => copies.push(Known {
                place,
                version,
                to_remove: to_remove.unwrap_or(false),
                damaged,
            }),
        }
    }

    fn take(&mut self, place: PlaceNo, chunk: ChunkId) {
        if let Some(copies) = self.copies.get_mut(&chunk) {
            copies.retain(|known| known.place != place);
            if copies.is_empty() {
                self.copies.remove(&chunk);
            }
        }
    }

    fn note_last(&mut self, chunk: ChunkId) {
        let number = chunk.sequence();
        // Nobody comes to give out what is beyond this: such a number is some mistake, and must not
        // use up the ids of its slot.
        if number > LAST_MAX {
            return;
        }
        let slot = chunk.slot();
        if self.last.get(&slot).is_none_or(|last| *last < number) {
            self.last.insert(slot, number);
            self.last_rose.insert(slot);
        }
    }

    /// Every slot has to be looked at.
    pub fn look_at_ids_again(&mut self) {
        self.last_rose.extend(self.last.keys());
    }

    /// Slots in which a chunkserver named a chunk behind all before, at most so many, each with the
    /// number of the last; they are not given again.
    pub fn take_ids_to_look_at(&mut self, max: usize) -> Vec<(Slot, u64)> {
        let mut taken = Vec::new();
        while taken.len() < max
            && let Some(slot) = self.last_rose.pop_first()
        {
            taken.extend(self.last.get(&slot).map(|last| (slot, *last)));
        }
        taken
    }

    /// Drops what is left of places that are gone, for chunks after this one; gives the last that
    /// was looked at, or `None` at the end.
    pub fn tidy(&mut self, after: ChunkId, max: usize) -> Option<ChunkId> {
        let chunks: Vec<ChunkId> = self.chunks_after(after).take(max).collect();
        for chunk in &chunks {
            let servers = &self.servers;
            if let Some(copies) = self.copies.get_mut(chunk) {
                copies.retain(|known| servers.contains_key(&known.place));
                if copies.is_empty() {
                    self.copies.remove(chunk);
                }
            }
        }
        chunks.last().copied()
    }

    /// Addresses of chunkservers that hold a usable copy of these versions.
    pub fn located(
        &self,
        chunk: ChunkId,
        sound: Sound,
    ) -> impl Iterator<Item = (PlaceNo, Address)> + '_ {
        self.copies(chunk)
            .filter(move |known| !known.damaged && sound.contains(known.version))
            .filter_map(|known| {
                let server = self.servers.get(&known.place)?;
                Some((known.place, server.joined.address))
            })
    }

    /// Panics when the lists do not fit each other.
    pub fn check(&self) {
        assert_eq!(self.servers.len(), self.vias.len(), "one way to each");
        for (place, server) in &self.servers {
            assert_eq!(
                self.vias.get(&server.via),
                Some(place),
                "{place:?} is found"
            );
        }
        #[cfg(feature = "planted-bugs")]
        if self.bug == Some(Bug::RegistrationCountedTwice) {
            return;
        }
        let csids: BTreeSet<CsId> = self.servers.values().map(|it| it.joined.csid).collect();
        assert_eq!(
            csids.len(),
            self.servers.len(),
            "each chunkserver counts once"
        );
        for (chunk, copies) in &self.copies {
            let places: BTreeSet<PlaceNo> = copies.iter().map(|known| known.place).collect();
            assert_eq!(places.len(), copies.len(), "{chunk} is at a place once");
        }
    }
}
