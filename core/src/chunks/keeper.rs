//! What one node knows of chunks and does with them.
//!
//! Every node has the map. Whoever leads gives orders: for writers that wait ([`super::jobs`]), and
//! to keep every chunk at its goal (`upkeep`). What a chunk should be is in the replicated
//! state; nothing that could not be found again is kept here alone.

use std::collections::{BTreeMap, BTreeSet};

use super::channel::{Heard, Receiver, Verdict};
use super::doubt::Doubt;
use super::jobs::{Job, Ticket};
use super::leading::{Leading, Raised, Why};
use super::map::{Change, ChunkMap, PlaceNo};
use super::order::Order;
use super::relay::{Relay, Wish};
use super::repair::Repair;
use super::report::{Address, ConnId, Report};
use super::sound::Sound;
use super::talk::Talk;
use super::upkeep::Upkeep;
use crate::id::{ChunkId, CsId, InodeId, NodeId, Slot, Term};
use crate::namespace::error::FsError;
use crate::namespace::op::{ChunkInfo, ChunkserverInfo, Op, StorageClass};
use crate::namespace::record::Ranges;
use crate::namespace::{FileChunks, FileCursor, KnownChunk};
use crate::rng::Rng;
use crate::store::StoreError;
use crate::time::{Duration, Instant, WallTime};

/// Orders in one message.
const BATCH_MAX: usize = 256;
/// Orders on the way to one relay.
const WINDOW: usize = 4_096;
/// Slots of which ids are passed over at once.
const PASSING_MAX: usize = 64;

/// Times and bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What a peer did not acknowledge for this long is sent again.
    pub resend: Duration,
    /// A writer waits this long for a relay that cannot be reached, and then goes on without its
    /// chunkservers.
    pub cut_off_patience: Duration,
    /// After this long the copies of its chunkservers count as gone.
    pub cut_off_forget: Duration,
    /// A chunkserver finds copies for this long after it has registered: until then no chunk is
    /// lost for good.
    pub discovery: Duration,
    /// For this long after a node has started, and until the chunkservers of its state have named
    /// their copies, its state may be older than they are. A chunkserver of MooseFS tries to come
    /// back every 5 s, and waits for a node that is silent for 10 s.
    pub doubt: Duration,
    /// After a change of leader nothing is copied or deleted for this long.
    pub upkeep_delay: Duration,
    /// A chunkserver that has been gone for less than this is waited for before its copies are
    /// made anew.
    pub absence: Duration,
    /// As long as that, for one that said that it stops: most are back soon.
    pub announced_absence: Duration,
    /// How often a portion of the chunks is looked at.
    pub upkeep_tick: Duration,
    /// The shortest time between two looks at a chunk.
    pub upkeep_pause: Duration,
    /// Files, or chunks, in a portion.
    pub upkeep_portion: usize,
    /// Copies that one chunkserver receives at once.
    pub receives_max: usize,
    /// Copies that one chunkserver gives at once.
    pub gives_max: usize,
    /// Copies that one chunkserver deletes at once.
    pub deletes_max: usize,
    /// Chunkservers may be fuller than others by this much of their space before copies move,
    /// percent; 100 for never.
    pub balance_accepted_percent: u8,
    /// Which bug there is on purpose.
    #[cfg(feature = "planted-bugs")]
    pub bug: Option<crate::planted::Bug>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            resend: Duration::from_millis(500),
            cut_off_patience: Duration::from_millis(500),
            cut_off_forget: Duration::from_secs(60),
            discovery: Duration::from_secs(60),
            doubt: Duration::from_secs(20),
            upkeep_delay: Duration::from_secs(60),
            absence: Duration::from_secs(60),
            announced_absence: Duration::from_secs(1_800),
            upkeep_tick: Duration::from_millis(100),
            upkeep_pause: Duration::from_secs(10),
            upkeep_portion: 200,
            receives_max: 2,
            gives_max: 10,
            deletes_max: 10,
            balance_accepted_percent: 1,
            #[cfg(feature = "planted-bugs")]
            bug: None,
        }
    }
}

/// What the keeper reads of the replicated state, as it is applied here.
pub trait Records {
    /// One chunk.
    fn chunk(&self, chunk: ChunkId) -> Result<Option<ChunkInfo>, StoreError>;
    /// The chunk in a slot of a file.
    fn chunk_at(&self, inode: InodeId, index: u32) -> Result<Option<ChunkInfo>, StoreError>;
    /// What is known of a chunk's id.
    fn known(&self, chunk: ChunkId) -> Result<KnownChunk, StoreError>;
    /// How many ids of chunks a slot has given out or passed over.
    fn chunk_ids_taken(&self, slot: Slot) -> Result<u64, StoreError>;
    /// Versions of a chunk that were passed over.
    fn passed_versions(&self, chunk: ChunkId) -> Result<Ranges, StoreError>;
    /// Files with their chunks, in order.
    fn files_after(
        &self,
        after: FileCursor,
        files_max: usize,
        chunks_max: usize,
    ) -> Result<Vec<FileChunks>, StoreError>;
    /// Chunks in order.
    fn chunks_after(
        &self,
        after: Option<ChunkId>,
        max: usize,
    ) -> Result<Vec<ChunkInfo>, StoreError>;
    /// The storage class of a file.
    fn class_of(&self, inode: InodeId) -> Result<Option<StorageClass>, StoreError>;
    /// A storage class.
    fn class(&self, id: u8) -> Result<Option<StorageClass>, StoreError>;
    /// Chunkservers that have ever registered and were not removed.
    fn chunkservers(&self) -> Result<Vec<ChunkserverInfo>, StoreError>;
}

/// Whoever asked something, as the node names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asker(pub u64);

/// Why a chunk cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Refusal {
    /// The tree refuses it.
    Fs(FsError),
    /// Not now: to be asked again at once.
    Again,
    /// There is no chunkserver, and there was none.
    NoServers,
    /// No chunkserver has room.
    NoSpace,
    /// No chunkserver that is there has a copy, but one that is not might.
    NotPresent,
    /// Every chunkserver is there, and none has a copy.
    Lost,
}

/// A chunkserver that has a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Holder {
    /// Its number.
    pub csid: CsId,
    /// Where it is reached.
    pub address: Address,
    /// Its version, as on the wire.
    pub version: u32,
    /// Its labels.
    pub labels: u32,
}

/// A chunk that can be read or written.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Located {
    /// The chunk.
    pub chunk: ChunkId,
    /// Its version.
    pub version: u32,
    /// Length of its file, bytes.
    pub length: u64,
    /// Who has it: at least one.
    pub holders: Vec<Holder>,
}

/// How a copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum CopyState {
    /// As it should be.
    Valid,
    /// Of another version.
    WrongVersion(u32),
    /// Bad.
    Damaged,
}

/// A copy, to be shown to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ShownCopy {
    /// Where.
    pub holder: Holder,
    /// How it is.
    pub state: CopyState,
    /// On a disk that shall be emptied.
    pub to_remove: bool,
}

/// What is wished of the keeper.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ChunkWish {
    /// To write a chunk that WRITE_CHUNK has locked. Any number of times.
    Write {
        /// The file.
        inode: InodeId,
        /// Which of its chunks.
        index: u32,
        /// The chunk.
        chunk: ChunkId,
        /// Its version then.
        version: u32,
        /// Length of the file, bytes.
        length: u64,
    },
    /// To have a chunk cut, and `TruncateEnd` applied then. Any number of times.
    Cut {
        /// The chunk.
        chunk: ChunkId,
        /// What is applied then.
        end: Box<Op>,
    },
    /// To read a chunk.
    Read {
        /// The chunk, as the tree has it.
        info: ChunkInfo,
        /// Length of the file, bytes.
        length: u64,
    },
    /// To tell with a file's name where its chunk is, if that is known here: nobody else is asked.
    Look {
        /// The chunk, as the tree has it.
        info: ChunkInfo,
        /// Length of the file, bytes.
        length: u64,
    },
    /// To repair chunks of a file that have no usable copy. Any number of times.
    Repair {
        /// The file.
        inode: InodeId,
        /// Which of its chunks.
        indexes: Vec<u32>,
    },
    /// To show copies of chunks, with the versions that they should have.
    Show {
        /// The chunks.
        chunks: Vec<(ChunkId, u32)>,
    },
}

impl ChunkWish {
    /// Whether nobody but the leader can grant it.
    #[must_use]
    pub fn needs_leader(&self) -> bool {
        matches!(
            self,
            Self::Write { .. } | Self::Cut { .. } | Self::Repair { .. }
        )
    }
}

/// What a wish came to.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ChunkAnswer {
    /// The chunk can be read, or written.
    Located(Located),
    /// Copies of each chunk.
    Copies(Vec<Vec<ShownCopy>>),
    /// It cannot be had.
    Refused(Refusal),
    /// What a repair came to.
    Repaired(Repairs),
}

/// How many chunks a repair left as they were, and what it did to the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Repairs {
    /// They have a usable copy, or are being written.
    pub unchanged: u32,
    /// Made holes: there is no copy at all.
    pub erased: u32,
    /// Taken from copies of another version.
    pub repaired: u32,
}

/// Something the node is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// A chunkserver that is connected here has to do something, as the leader of this term says.
    Order(ConnId, Term, Order),
    /// A connection is of no use any more.
    Unseat(ConnId, String),
    /// A peer is to be told something.
    Send(NodeId, Talk),
    /// A command of the leader's own is to be applied: [`Keeper::on_proposed`].
    Propose(Ticket, Op),
    /// An asker is answered.
    Answer(Asker, ChunkAnswer),
    /// An asker's command was applied under this ticket: its outcome is the answer.
    AnswerOutcome(Asker, Ticket),
    /// An asker has to ask the leader again.
    AskAgain(Asker),
    /// An operator has to know something.
    Report(String),
}

/// A chunkserver that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Away {
    pub since: Instant,
    /// It said that it stops.
    pub announced: bool,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Keeper {
    pub(super) options: Options,
    life: u64,
    relay: Relay,
    pub(super) map: ChunkMap,
    news: BTreeMap<NodeId, Receiver>,
    /// Relays whose chunkservers were forgotten here, and when to ask them to begin anew: they know
    /// nothing of it.
    missing: BTreeMap<NodeId, Instant>,
    pub(super) leading: Option<Leading>,
    pub(super) rng: Rng,
    pub(super) acts: Vec<Act>,
    /// Tickets that were given in earlier leaderships: none is given twice.
    tickets: u64,
    pub(super) now: Instant,
    pub(super) wall: WallTime,
    /// Chunkservers that were there and are not.
    pub(super) absent: BTreeMap<CsId, Away>,
    tidied: ChunkId,
    pub(super) doubt: Doubt,
    /// A chunkserver still names its copies.
    registering: bool,
    /// Copies are elsewhere than whoever knows some was told.
    moved: bool,
}

impl Keeper {
    /// A keeper that knows nothing yet, in this life of its node. The stream chooses among
    /// chunkservers that are equally good.
    #[must_use]
    pub fn new(options: Options, life: u64, rng: Rng) -> Self {
        let relay = Relay::new(life, options.resend);
        let map = ChunkMap::default();
        #[cfg(feature = "planted-bugs")]
        let (relay, map) = (relay.with_bug(options.bug), map.with_bug(options.bug));
        Self {
            options,
            life,
            relay,
            map,
            news: BTreeMap::new(),
            missing: BTreeMap::new(),
            leading: None,
            rng,
            acts: Vec::new(),
            tickets: 0,
            now: Instant::ZERO,
            wall: WallTime(0),
            absent: BTreeMap::new(),
            tidied: ChunkId(0),
            doubt: Doubt::default(),
            registering: false,
            moved: false,
        }
    }

    /// Whether a chunkserver is gone, or the last that still named its copies has done so, since
    /// this was asked last.
    pub fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// The map, to look at.
    #[must_use]
    pub fn map(&self) -> &ChunkMap {
        &self.map
    }

    /// Chunkservers that are connected to this node.
    #[must_use]
    pub fn seats(&self) -> usize {
        self.relay.len()
    }

    /// The time of the step that begins.
    pub fn set_now(&mut self, now: Instant, wall: WallTime) {
        self.now = now;
        self.wall = wall;
        self.doubt.set_now(now);
    }

    /// What is to be done, in order.
    pub fn take_acts(&mut self) -> Vec<Act> {
        std::mem::take(&mut self.acts)
    }

    /// Who takes part: this node among them.
    pub fn set_nodes(&mut self, nodes: &BTreeSet<NodeId>) {
        self.relay.set_peers(nodes);
    }

    /// A chunkserver that is connected here says something.
    pub fn on_report(&mut self, conn: ConnId, report: Report) {
        if let Report::Joined(joined) = &report
            && self.map.is_superseded(joined)
        {
            // It was registered twice at once, or comes late. The map takes no notice of it, so it
            // has to register again; it is heard of by nobody until then.
            let reason = "a later registration of it is known".to_owned();
            self.acts.push(Act::Unseat(conn, reason));
            return;
        }
        self.relay.on_report(conn, report);
    }

    /// The replicated state has a new registration of a chunkserver.
    pub fn on_registered(
        &mut self,
        csid: CsId,
        registration: u64,
        records: &dyn Records,
    ) -> Result<(), StoreError> {
        self.relay.on_registered(csid, registration);
        let mut changes = Vec::new();
        self.map.on_registered(csid, registration, &mut changes);
        self.on_changes(changes, records)
    }

    /// A chunkserver was removed from the replicated state. If it is there all the same, it has to
    /// register again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn on_forgotten(&mut self, csid: CsId, records: &dyn Records) -> Result<(), StoreError> {
        let mut changes = Vec::new();
        if let Some(next) = self.map.on_forgotten(csid, &mut changes) {
            self.relay.on_registered(csid, next);
        }
        self.on_changes(changes, records)
    }

    /// The newest term that this node knows of.
    pub fn on_term(&mut self, term: Term) {
        self.relay.on_term(term);
    }

    /// The way to a peer is there, or lost.
    pub fn on_peer(&mut self, peer: NodeId, reachable: bool) {
        self.map.on_peer(peer, reachable, self.now);
        if reachable {
            self.relay.on_peer(peer);
            if let Some(leading) = &mut self.leading
                && let Some(link) = leading.links.get_mut(&peer)
            {
                link.sender.rewind();
            }
        }
    }

    /// This node leads, in this term; or does not any more.
    pub fn set_leads(&mut self, term: Option<Term>) {
        if self.leading.as_ref().map(|it| it.term) == term {
            return;
        }
        if let Some(before) = self.leading.take() {
            // What an earlier leadership proposed may still be answered.
            self.tickets = before.next_ticket;
            let repairs = before.repairs.into_values().map(Repair::into_asker);
            let jobs = before.jobs.into_values().flat_map(Job::into_askers);
            for asker in jobs.chain(repairs) {
                self.acts.push(Act::AskAgain(asker));
            }
        }
        let Some(term) = term else {
            return;
        };
        self.leading = Some(Leading {
            term,
            runs: 0,
            links: BTreeMap::new(),
            next_order: 0,
            orders: BTreeMap::new(),
            jobs: BTreeMap::new(),
            next_ticket: self.tickets,
            tickets: BTreeMap::new(),
            raised: BTreeMap::new(),
            lease: false,
            clean: BTreeMap::new(),
            upkeep: Upkeep::new(self.now, self.now + self.options.upkeep_delay),
            repairs: BTreeMap::new(),
            passing: BTreeMap::new(),
            told_of_newer: false,
        });
        self.map.look_at_ids_again();
        let relays: BTreeSet<NodeId> = self.map.servers().map(|(_, it)| it.via.relay).collect();
        for relay in relays {
            self.link(relay);
        }
    }

    /// Whether no other node can lead now: without that no order is given (P-FENCE).
    pub fn set_lease(&mut self, held: bool) {
        if let Some(leading) = &mut self.leading {
            leading.lease = held;
        }
    }

    /// A command of this term made a version that is not settled.
    pub fn on_raised(&mut self, chunk: ChunkId, version: u32) {
        if let Some(leading) = &mut self.leading {
            let fresh = Raised {
                version,
                is_ordered: false,
            };
            let raised = leading.raised.entry(chunk).or_insert(fresh);
            if raised.version != version {
                *raised = fresh;
            }
        }
    }

    /// A peer, or this node itself, says something.
    pub fn on_talk(
        &mut self,
        from: NodeId,
        talk: Talk,
        records: &dyn Records,
    ) -> Result<(), StoreError> {
        match talk {
            Talk::News(batch) => {
                let life = batch.epoch.0;
                let mine = self.life;
                let receiver = self.news.entry(from);
                let receiver = receiver.or_insert_with(|| Receiver::new(mine));
                let received = receiver.on_batch(batch);
                if let Some(heard) = received.heard {
                    self.acts.push(Act::Send(from, Talk::NewsHeard(heard)));
                }
                let mut changes = Vec::new();
                let (begun, items) = (received.begun, received.items);
                if begun {
                    self.missing.remove(&from);
                    self.unlink(from);
                }
                self.map
                    .on_news(self.now, (from, life), begun, items, &mut changes);
                self.on_changes(changes, records)?;
            }
            Talk::NewsHeard(heard) => self.relay.on_news_heard(self.now, from, heard),
            Talk::Tasks(batch) => self.relay.on_tasks(from, batch),
            Talk::TasksHeard(heard) => self.on_tasks_heard(from, heard, records)?,
        }
        Ok(())
    }

    fn on_tasks_heard(
        &mut self,
        from: NodeId,
        heard: Heard,
        records: &dyn Records,
    ) -> Result<(), StoreError> {
        let Some(leading) = &mut self.leading else {
            return Ok(());
        };
        let Some(link) = leading.links.get_mut(&from) else {
            return Ok(());
        };
        if link.sender.on_heard(self.now, heard) == Verdict::GoOn {
            return Ok(());
        }
        // The relay has begun a new life. What it was to do for chunkservers of the life before
        // may have been done or not, and nobody will say.
        leading.links.remove(&from);
        self.link(from);
        let theirs = self.map.servers().filter(|(_, it)| it.via.relay == from);
        for place in theirs.map(|(place, _)| place).collect::<Vec<_>>() {
            self.fail_orders(place, records)?;
        }
        self.go_on_waiting(records)
    }

    fn on_changes(
        &mut self,
        changes: Vec<Change>,
        records: &dyn Records,
    ) -> Result<(), StoreError> {
        if !changes.is_empty() {
            let registering = self.map.servers().any(|(_, server)| !server.listed);
            let left = |change: &Change| matches!(change, Change::Left { .. });
            self.moved |= self.registering && !registering || changes.iter().any(left);
            self.registering = registering;
        }
        for change in changes {
            match change {
                Change::Came(place) => {
                    if let Some(server) = self.map.server(place) {
                        let (csid, relay) = (server.joined.csid, server.via.relay);
                        self.absent.remove(&csid);
                        self.link(relay);
                    }
                }
                Change::Usable(_) => self.go_on_waiting(records)?,
                Change::Left {
                    place,
                    csid,
                    announced,
                } => {
                    let since = self.now;
                    self.absent.entry(csid).or_insert(Away { since, announced });
                    self.on_place_left(place, records)?;
                    if let Some(leading) = &mut self.leading {
                        leading.upkeep.urgent.sweep();
                    }
                    self.wake_upkeep();
                }
                Change::Ended {
                    place,
                    tag,
                    chunk,
                    status,
                } => {
                    let Some(leading) = &mut self.leading else {
                        continue;
                    };
                    if tag.0 != leading.term {
                        continue;
                    }
                    let Some(order) = leading.orders.remove(&tag.1) else {
                        continue;
                    };
                    debug_assert_eq!((order.place, order.chunk), (place, chunk));
                    match order.why {
                        Why::Job => self.on_job_order(chunk, place, status == 0, records)?,
                        Why::Upkeep => self.on_errand_ended(chunk, place, status == 0),
                    }
                }
                Change::Moved(_) => self.wake_upkeep(),
            }
        }
        Ok(())
    }

    fn on_place_left(&mut self, place: PlaceNo, records: &dyn Records) -> Result<(), StoreError> {
        self.fail_orders(place, records)?;
        self.go_on_waiting(records)
    }

    pub(super) fn holder(&self, place: PlaceNo) -> Option<Holder> {
        let server = self.map.server(place)?;
        Some(Holder {
            csid: server.joined.csid,
            address: server.joined.address,
            version: server.joined.version,
            labels: server.labels,
        })
    }

    /// Whether every chunkserver is there and has had time to find its copies, and everything has
    /// been heard of them: that an earlier leader's order made a copy may be known to the state,
    /// which names that copy's version, before it is told to this node's map. A relay tells of its
    /// fence behind all of that.
    pub(super) fn is_complete(&self, records: &dyn Records) -> Result<bool, StoreError> {
        let Some(leading) = &self.leading else {
            return Ok(false);
        };
        let known = records.chunkservers()?;
        let discovery = self.options.discovery;
        Ok(known.iter().all(|info| {
            let there = self.map.by_csid(info.csid);
            there.is_some_and(|(_, it)| {
                let is_heard = it.listed && leading.has_fenced(it) && it.cut_off.is_none();
                is_heard && it.since + discovery <= self.now
            })
        }))
    }

    /// Why no copy of these versions can be had. One that is there and cannot be used yet is not
    /// lost: its chunkserver may still have to be fenced.
    pub(super) fn verdict(
        &self,
        chunk: ChunkId,
        sound: &Sound,
        records: &dyn Records,
    ) -> Result<Refusal, StoreError> {
        if self.map.located(chunk, sound.clone()).next().is_some() {
            return Ok(Refusal::Again);
        }
        Ok(match self.is_complete(records)? {
            true => Refusal::Lost,
            false => Refusal::Again,
        })
    }

    /// Chunks whose copies are wanted for people to look at.
    pub(super) fn show(&self, chunks: &[(ChunkId, u32)]) -> Vec<Vec<ShownCopy>> {
        let copies = |(chunk, version): &(ChunkId, u32)| {
            let known = self.map.copies(*chunk);
            let shown = known.filter_map(|known| {
                let state = match known {
                    known if known.damaged => CopyState::Damaged,
                    known if known.version == *version => CopyState::Valid,
                    known => CopyState::WrongVersion(known.version),
                };
                Some(ShownCopy {
                    holder: self.holder(known.place)?,
                    state,
                    to_remove: known.to_remove,
                })
            });
            shown.collect()
        };
        chunks.iter().map(copies).collect()
    }

    /// Does what is due and sends what is to be sent.
    pub fn run(&mut self, records: &dyn Records) -> Result<(), StoreError> {
        let mut changes = Vec::new();
        let forget = self.options.cut_off_forget;
        for relay in self.map.forget_cut_off(self.now, forget, &mut changes) {
            self.missing.insert(relay, self.now);
            self.unlink(relay);
        }
        self.on_changes(changes, records)?;
        self.ask_for_missing();
        self.pass_ids(records)?;
        self.give_up_waiting(records)?;
        self.run_upkeep(records)?;
        for wish in self.relay.take_wishes() {
            self.acts.push(match wish {
                Wish::Order(conn, term, order) => Act::Order(conn, term, order),
                Wish::Unseat(conn, reason) => Act::Unseat(conn, reason),
                Wish::TasksHeard(node, heard) => Act::Send(node, Talk::TasksHeard(heard)),
            });
        }
        for (node, batch) in self.relay.take_batches(self.now) {
            self.acts.push(Act::Send(node, Talk::News(batch)));
        }
        if let Some(leading) = &mut self.leading {
            for (node, link) in &mut leading.links {
                while let Some(batch) = link.sender.take(self.now, BATCH_MAX, WINDOW) {
                    self.acts.push(Act::Send(*node, Talk::Tasks(batch)));
                }
            }
        }
        Ok(())
    }

    /// Ids of chunks that chunkservers have and this state did not give out are not given out.
    fn pass_ids(&mut self, records: &dyn Records) -> Result<(), StoreError> {
        let Some(leading) = &mut self.leading else {
            return Ok(());
        };
        let room = PASSING_MAX.saturating_sub(leading.passing.len());
        for (slot, last) in self.map.take_ids_to_look_at(room) {
            let is_foreign = match ChunkId::from_parts(last, slot) {
                Some(chunk) => records.known(chunk)? == KnownChunk::Foreign,
                None => false,
            };
            if is_foreign {
                self.tell_of_newer(slot, last);
            }
            if last >= records.chunk_ids_taken(slot)? {
                self.pass_over(slot, last.saturating_add(1));
            }
        }
        Ok(())
    }

    fn tell_of_newer(&mut self, slot: Slot, number: u64) {
        let Some(leading) = &mut self.leading else {
            return;
        };
        if !std::mem::replace(&mut leading.told_of_newer, true) {
            self.acts.push(Act::Report(format!(
                "chunkservers have chunks that this cluster's metadata never gave out, such as \
                 number {number} of {slot:?}: the metadata is older than they are. They are left \
                 alone, and their ids are given to nothing else"
            )));
        }
    }

    /// Ids of a slot below `next` are given to nothing from now.
    fn pass_over(&mut self, slot: Slot, next: u64) {
        let Some(leading) = &mut self.leading else {
            return;
        };
        let ticket = leading.new_ticket();
        leading.passing.insert(ticket, slot);
        let op = Op::PassChunkIds { slot, next };
        self.acts.push(Act::Propose(ticket, op));
    }

    /// As that, for one more slot if there is room for it.
    pub(super) fn pass_over_if_room(&mut self, slot: Slot, next: u64) {
        let passing = self.leading.as_ref().map(|leading| &leading.passing);
        let is_room = passing.is_some_and(|passing| {
            passing.len() < PASSING_MAX && !passing.values().any(|it| *it == slot)
        });
        if is_room {
            self.pass_over(slot, next);
        }
    }

    /// A proposal came to something; whether it was one that passes ids over. One that was not
    /// carried out is made again when a chunkserver names such a chunk again, or by the next pass.
    pub(super) fn on_ids_passed(&mut self, ticket: Ticket) -> bool {
        let leading = self.leading.as_mut();
        leading.is_some_and(|leading| leading.passing.remove(&ticket).is_some())
    }

    fn ask_for_missing(&mut self) {
        let again = self.now + self.options.resend * 4;
        for (relay, at) in &mut self.missing {
            if *at > self.now {
                continue;
            }
            *at = again;
            let epoch = self.news.get(relay).and_then(Receiver::epoch);
            if let Some(epoch) = epoch {
                let (next, over) = (0, true);
                let receiver = self.life;
                let heard = Heard {
                    epoch,
                    next,
                    over,
                    receiver,
                };
                self.acts.push(Act::Send(*relay, Talk::NewsHeard(heard)));
            }
        }
    }

    /// Drops what is left of chunkservers that are gone, a portion at a time.
    pub(super) fn tidy(&mut self, portion: usize) {
        let last = self.map.tidy(self.tidied, portion);
        self.tidied = last.unwrap_or(ChunkId(0));
    }

    /// When something is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let mut next = self.relay.deadline();
        let mut also = |at: Option<Instant>| next = [next, at].into_iter().flatten().min();
        also(self.missing.values().min().copied());
        let cut_off = self.map.servers().filter_map(|(_, it)| it.cut_off);
        also(
            cut_off
                .min()
                .map(|since| since + self.options.cut_off_forget),
        );
        if let Some(leading) = &self.leading {
            for link in leading.links.values() {
                also(link.sender.deadline());
            }
            also(self.waiting_deadline());
            also(leading.upkeep.deadline(self.counts()));
        }
        next
    }

    /// Panics when this state should be impossible.
    pub fn check(&self) {
        self.map.check();
        self.relay.check();
        let Some(leading) = &self.leading else {
            return;
        };
        for (ticket, chunk) in &leading.tickets {
            assert!(
                leading.jobs.contains_key(chunk) || leading.upkeep.awaits(*ticket),
                "{ticket:?} is waited for"
            );
        }
        for (number, order) in &leading.orders {
            assert!(*number <= leading.next_order, "orders are numbered");
            if order.why == Why::Job {
                assert!(
                    leading.jobs.contains_key(&order.chunk),
                    "order {number} is of a job"
                );
            }
        }
    }
}
