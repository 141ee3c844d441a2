//! The chunkservers that are connected to this node: what they have, what they are doing, and who
//! has been told.
//!
//! Every node is told everything, so that whoever leads next knows where copies are. Orders come
//! from the leader: those of a term that is over are not carried out (P-FENCE), nor those of a run
//! that the same leader has begun anew, for it does not know any more what came of them. A
//! chunkserver has at most one order for a chunk at a time; the next one waits here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;

use super::channel::{Batch, Heard, Received, Receiver, Sender, Verdict};
use super::order::{Order, OrderKind};
use super::report::{ConnId, Copy, Joined, Report, Space};
use super::talk::{News, Run, Tag, Task, What};
use crate::id::{ChunkId, CsId, NodeId, Term};
use crate::moosefs::status::Status;
#[cfg(feature = "planted-bugs")]
use crate::planted::Bug;
use crate::time::{Duration, Instant};

/// Copies named in one piece of news.
pub const COPIES_MAX: usize = 1_024;
/// Pieces of news in one message.
const BATCH_MAX: usize = 4;
/// Pieces of news on the way.
const WINDOW: usize = 128;
/// News for a node that takes none: beyond this it is told everything anew when it does.
const BACKLOG_MAX: usize = 8_192;
/// The status that says that there is no such chunk.
const NO_CHUNK: u8 = Status::NOCHUNK.number();
/// Orders that wait for an earlier one of the same chunk.
const QUEUE_MAX: usize = 64;

/// What the relay wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A chunkserver has to do something, as the leader of this term says.
    Order(ConnId, Term, Order),
    /// A connection is of no use any more.
    Unseat(ConnId, String),
    /// The leader's peer: how much of its run has arrived.
    TasksHeard(NodeId, Heard),
}

/// An order at a chunkserver, or waiting for it.
#[derive(Clone, Copy, Debug)]
struct Given {
    run: Run,
    tag: Tag,
    order: Order,
}

/// A chunkserver that is connected here.
#[derive(Debug)]
struct Seat {
    joined: Joined,
    copies: BTreeMap<ChunkId, (u32, bool)>,
    damaged: BTreeSet<ChunkId>,
    listed: bool,
    leaving: bool,
    space: Space,
    labels: u32,
    load: (u32, bool),
    /// The newest run for which its orders of earlier runs are known to be over.
    fenced: Run,
    /// The order under way for each chunk, and those that wait.
    busy: BTreeMap<ChunkId, VecDeque<Given>>,
}

/// What a peer still has to be told of the seats from the beginning.
#[derive(Debug)]
enum Telling {
    /// It is told news as they come.
    News,
    /// These connections are not begun yet; of the first, chunks up to this were told.
    All(VecDeque<ConnId>, Option<ChunkId>),
    /// It has taken nothing for too long: it is told everything anew when it speaks again.
    Behind,
}

#[derive(Debug)]
struct Peer {
    sender: Sender<News>,
    telling: Telling,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Relay {
    life: u64,
    resend: Duration,
    seats: BTreeMap<ConnId, Seat>,
    peers: BTreeMap<NodeId, Peer>,
    runs: u64,
    /// The newest run that is known here: 0 of a term before its leader has spoken.
    run: Run,
    tasks: BTreeMap<NodeId, Receiver>,
    wishes: Vec<Wish>,
    #[cfg(feature = "planted-bugs")]
    bug: Option<Bug>,
}

impl Relay {
    /// A relay without chunkservers, in this life of its node.
    #[must_use]
    pub fn new(life: u64, resend: Duration) -> Self {
        Self {
            life,
            resend,
            seats: BTreeMap::new(),
            peers: BTreeMap::new(),
            runs: 0,
            run: (Term(0), 0),
            tasks: BTreeMap::new(),
            wishes: Vec::new(),
            #[cfg(feature = "planted-bugs")]
            bug: None,
        }
    }

    /// From now this mistake is made.
    #[cfg(feature = "planted-bugs")]
    #[must_use]
    pub fn with_bug(mut self, bug: Option<Bug>) -> Self {
        self.bug = bug;
        self
    }

    /// Whom to tell: this node among them. Who is new is told everything.
    pub fn set_peers(&mut self, nodes: &BTreeSet<NodeId>) {
        self.peers.retain(|node, _| nodes.contains(node));
        for node in nodes {
            if !self.peers.contains_key(node) {
                self.tell_all(*node);
            }
        }
    }

    /// Chunkservers that are connected here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seats.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// What it wants, in order.
    pub fn take_wishes(&mut self) -> Vec<Wish> {
        std::mem::take(&mut self.wishes)
    }

    /// A new run for a peer, from the beginning.
    fn tell_all(&mut self, node: NodeId) {
        self.runs += 1;
        let mut sender = Sender::new((self.life, self.runs), self.resend);
        let (conn, what) = (ConnId(0), What::Begun);
        sender.push(News { conn, what });
        let telling = Telling::All(self.seats.keys().copied().collect(), None);
        let mut peer = Peer { sender, telling };
        peer.fill(&self.seats);
        self.peers.insert(node, peer);
    }

    fn tell(&mut self, conn: ConnId, what: &What) {
        for peer in self.peers.values_mut() {
            let begun = match &peer.telling {
                Telling::News => true,
                Telling::All(left, after) => {
                    !left.contains(&conn) || (left.front() == Some(&conn) && after.is_some())
                }
                Telling::Behind => false,
            };
            if !begun {
                continue;
            }
            if peer.sender.waiting() >= BACKLOG_MAX {
                peer.telling = Telling::Behind;
                peer.sender = Sender::new(peer.sender.epoch(), self.resend);
                continue;
            }
            let what = what.clone();
            peer.sender.push(News { conn, what });
        }
    }

    /// A chunkserver says something. Nonsense (of a connection that is not known) is dropped.
    pub fn on_report(&mut self, conn: ConnId, report: Report) {
        match &report {
            Report::Joined(joined) => self.on_joined(conn, *joined),
            Report::Done {
                kind,
                chunk,
                status,
            } => self.on_done(conn, *kind, *chunk, *status),
            Report::Gone => {
                if self.seats.remove(&conn).is_some() {
                    for peer in self.peers.values_mut() {
                        peer.forget(conn);
                    }
                    self.tell(conn, &What::Said(report));
                }
            }
            _ => {
                let Some(seat) = self.seats.get_mut(&conn) else {
                    return;
                };
                seat.note(&report);
                match report {
                    Report::Found(copies) => {
                        for part in copies.chunks(COPIES_MAX) {
                            self.tell(conn, &What::Said(Report::Found(part.to_vec())));
                        }
                    }
                    Report::Lost(chunks) => {
                        for part in chunks.chunks(COPIES_MAX) {
                            self.tell(conn, &What::Said(Report::Lost(part.to_vec())));
                        }
                    }
                    Report::Damaged(chunks) => {
                        for part in chunks.chunks(COPIES_MAX) {
                            self.tell(conn, &What::Said(Report::Damaged(part.to_vec())));
                        }
                    }
                    report => self.tell(conn, &What::Said(report)),
                }
            }
        }
    }

    fn on_joined(&mut self, conn: ConnId, joined: Joined) {
        let seat = Seat {
            joined,
            copies: BTreeMap::new(),
            damaged: BTreeSet::new(),
            listed: false,
            leaving: false,
            space: joined.space,
            labels: 0,
            load: (0, false),
            fenced: self.run,
            busy: BTreeMap::new(),
        };
        let before = self.seats.insert(conn, seat);
        assert!(before.is_none(), "{conn:?} was used before");
        for peer in self.peers.values_mut() {
            if let Telling::All(left, _) = &mut peer.telling {
                left.push_back(conn);
            }
        }
        self.tell(conn, &What::Said(Report::Joined(joined)));
        self.tell(conn, &What::Fenced(self.run));
    }

    /// A chunkserver has registered, here or elsewhere: of its registrations the last one counts.
    pub fn on_registered(&mut self, csid: CsId, registration: u64) {
        let old = self.seats.iter().filter(|(_, seat)| {
            seat.joined.csid == csid && seat.joined.registration < registration
        });
        for conn in old.map(|(conn, _)| *conn).collect::<Vec<_>>() {
            let reason = "it has registered again".to_owned();
            self.wishes.push(Wish::Unseat(conn, reason));
        }
    }

    /// A term is known to have begun: nothing of an earlier one is to be done any more.
    pub fn on_term(&mut self, term: Term) {
        if term > self.run.0 {
            self.on_run((term, 0));
        }
    }

    /// A run has begun: nothing of an earlier one is to be done any more.
    fn on_run(&mut self, run: Run) {
        if run <= self.run {
            return;
        }
        self.run = run;
        for conn in self.seats.keys().copied().collect::<Vec<_>>() {
            if let Some(seat) = self.seats.get_mut(&conn) {
                // What waits was not begun; what is under way cannot be called back.
                for given in seat.busy.values_mut() {
                    given.truncate(1);
                }
            }
            self.maybe_fence(conn);
        }
    }

    fn maybe_fence(&mut self, conn: ConnId) {
        let run = self.run;
        let Some(seat) = self.seats.get_mut(&conn) else {
            return;
        };
        let old = |given: &VecDeque<Given>| given.front().is_some_and(|it| it.run < run);
        if seat.fenced < run && !seat.busy.values().any(old) {
            seat.fenced = run;
            self.tell(conn, &What::Fenced(run));
        }
    }

    /// Tasks from a peer that leads, or thought so.
    pub fn on_tasks(&mut self, from: NodeId, batch: Batch<Task>) {
        let term = Term(batch.epoch.0);
        let run = (term, batch.epoch.1);
        let old = term < self.run.0;
        #[cfg(feature = "planted-bugs")]
        let old = old && self.bug != Some(Bug::OldOrdersCarriedOut);
        if old {
            // A deposed leader (P-FENCE).
            return;
        }
        self.on_term(term);
        let Received {
            begun,
            items,
            heard,
        } = {
            let life = self.life;
            let receiver = self.tasks.entry(from);
            receiver
                .or_insert_with(|| Receiver::new(life))
                .on_batch(batch)
        };
        if begun {
            self.on_run(run);
        }
        for task in items {
            match task {
                Task::Fence => {}
                Task::Order {
                    life,
                    conn,
                    number,
                    order,
                } if life == self.life => self.on_order(conn, run, number, order),
                Task::Order { .. } => {}
            }
        }
        if let Some(heard) = heard {
            self.wishes.push(Wish::TasksHeard(from, heard));
        }
    }

    fn on_order(&mut self, conn: ConnId, run: Run, number: u64, order: Order) {
        let tag = (run.0, number);
        let Some(seat) = self.seats.get_mut(&conn) else {
            // The leader is told, or will be, that the connection is gone.
            return;
        };
        let given = seat.busy.entry(order.chunk()).or_default();
        if given.len() >= QUEUE_MAX {
            let reason = format!("{QUEUE_MAX} orders for {} wait", order.chunk());
            self.wishes.push(Wish::Unseat(conn, reason));
            return;
        }
        given.push_back(Given { run, tag, order });
        if given.len() == 1 {
            self.wishes.push(Wish::Order(conn, tag.0, order));
        }
    }

    fn on_done(&mut self, conn: ConnId, kind: OrderKind, chunk: ChunkId, status: u8) {
        let Some(seat) = self.seats.get_mut(&conn) else {
            return;
        };
        let Some(given) = seat.busy.get_mut(&chunk) else {
            return;
        };
        if given.front().is_none_or(|given| given.order.kind() != kind) {
            return;
        }
        let Some(Given { tag, order, .. }) = given.pop_front() else {
            return;
        };
        let next = given.front().map(|given| (given.tag.0, given.order));
        if given.is_empty() {
            seat.busy.remove(&chunk);
        }
        match Effects::of(&order, status) {
            Effects::Nothing => {}
            Effects::Has(version) => {
                // The disk is the same; a new copy comes to one that stays.
                let to_remove = seat.copies.get(&chunk).is_some_and(|copy| copy.1);
                let copy = Copy {
                    chunk,
                    version,
                    to_remove,
                };
                seat.note(&Report::Found(vec![copy]));
            }
            Effects::Lost => seat.note(&Report::Lost(vec![chunk])),
            Effects::Damaged => seat.note(&Report::Damaged(vec![chunk])),
        }
        self.tell(conn, &What::Ended { tag, order, status });
        if let Some((term, order)) = next {
            self.wishes.push(Wish::Order(conn, term, order));
        }
        self.maybe_fence(conn);
    }

    /// A peer told how much of its run has arrived.
    pub fn on_news_heard(&mut self, now: Instant, from: NodeId, heard: Heard) {
        let Some(peer) = self.peers.get_mut(&from) else {
            return;
        };
        let anew = peer.sender.on_heard(now, heard) == Verdict::Forgotten
            || matches!(peer.telling, Telling::Behind);
        if anew {
            self.tell_all(from);
        } else {
            peer.fill(&self.seats);
        }
    }

    /// The way to a peer is there again, or may have lost something.
    pub fn on_peer(&mut self, node: NodeId) {
        match self.peers.get_mut(&node) {
            Some(peer) if matches!(peer.telling, Telling::Behind) => self.tell_all(node),
            Some(peer) => peer.sender.rewind(),
            None => {}
        }
    }

    /// What is to be sent now, to whom.
    pub fn take_batches(&mut self, now: Instant) -> Vec<(NodeId, Batch<News>)> {
        let mut out = Vec::new();
        for (node, peer) in &mut self.peers {
            while let Some(batch) = peer.sender.take(now, BATCH_MAX, WINDOW) {
                out.push((*node, batch));
            }
        }
        out
    }

    /// When something has to be sent again.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let peers = self.peers.values();
        peers.filter_map(|peer| peer.sender.deadline()).min()
    }

    /// Panics when the lists do not fit each other.
    pub fn check(&self) {
        for (conn, seat) in &self.seats {
            assert!(seat.fenced <= self.run, "{conn:?} is fenced in its time");
            for (chunk, given) in &seat.busy {
                assert!(!given.is_empty(), "{chunk} is busy with something");
                let chunks = given.iter().map(|given| given.order.chunk());
                for of in chunks {
                    assert_eq!(of, *chunk, "orders wait where their chunk is");
                }
            }
        }
    }
}

impl Peer {
    /// Adds the next pieces of what is to be told from the beginning, as far as there is room.
    fn fill(&mut self, seats: &BTreeMap<ConnId, Seat>) {
        while let Telling::All(left, after) = &mut self.telling
            && self.sender.waiting() < WINDOW
        {
            let Some(conn) = left.front().copied() else {
                self.telling = Telling::News;
                return;
            };
            let Some(seat) = seats.get(&conn) else {
                left.pop_front();
                *after = None;
                continue;
            };
            let mut push = |what| self.sender.push(News { conn, what });
            if after.is_none() {
                let joined = seat.joined;
                push(What::Said(Report::Joined(joined)));
                push(What::Said(Report::Labels(seat.labels)));
                push(What::Said(Report::Space(seat.space)));
                let (jobs, overloaded) = seat.load;
                push(What::Said(Report::Load { jobs, overloaded }));
                *after = Some(ChunkId(0));
            }
            let behind = after.map_or(Bound::Unbounded, Bound::Excluded);
            let part = seat.copies.range((behind, Bound::Unbounded));
            let part = part.take(COPIES_MAX);
            let part: Vec<Copy> = part
                .map(|(chunk, (version, to_remove))| Copy {
                    chunk: *chunk,
                    version: *version,
                    to_remove: *to_remove,
                })
                .collect();
            if let Some(last) = part.last() {
                *after = Some(last.chunk);
                push(What::Said(Report::Found(part)));
                continue;
            }
            let damaged: Vec<ChunkId> = seat.damaged.iter().copied().collect();
            for part in damaged.chunks(COPIES_MAX) {
                push(What::Said(Report::Damaged(part.to_vec())));
            }
            if seat.listed {
                push(What::Said(Report::Listed));
            }
            if seat.leaving {
                push(What::Said(Report::Leaving));
            }
            push(What::Fenced(seat.fenced));
            left.pop_front();
            *after = None;
        }
    }

    /// A connection is gone before it was told of.
    fn forget(&mut self, conn: ConnId) {
        if let Telling::All(left, after) = &mut self.telling {
            let first = left.front() == Some(&conn);
            // What was begun is ended by the news that it is gone.
            left.retain(|other| *other != conn);
            if first {
                *after = None;
            }
        }
    }
}

impl Seat {
    fn note(&mut self, report: &Report) {
        match report {
            Report::Found(copies) => {
                for copy in copies {
                    self.damaged.remove(&copy.chunk);
                    self.copies
                        .insert(copy.chunk, (copy.version, copy.to_remove));
                }
            }
            Report::Lost(chunks) => {
                for chunk in chunks {
                    self.copies.remove(chunk);
                    self.damaged.remove(chunk);
                }
            }
            Report::Damaged(chunks) => {
                for chunk in chunks {
                    self.copies.remove(chunk);
                    self.damaged.insert(*chunk);
                }
            }
            Report::Listed => self.listed = true,
            Report::Space(space) => self.space = *space,
            Report::Load { jobs, overloaded } => self.load = (*jobs, *overloaded),
            Report::Labels(labels) => self.labels = *labels,
            Report::Leaving => self.leaving = true,
            Report::Joined(_) | Report::DiskError | Report::Done { .. } | Report::Gone => {}
        }
    }
}

/// What an order that has ended means for the chunkserver's copy of its chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effects {
    /// Nothing.
    Nothing,
    /// It has it, at this version.
    Has(u32),
    /// It has it no more.
    Lost,
    /// It is bad.
    Damaged,
}

impl Effects {
    /// The meaning of a status: every one but 0 says that what was worked on is bad or gone
    /// (docs/protocols/moosefs-chunkserver.md).
    #[must_use]
    pub fn of(order: &Order, status: u8) -> Self {
        match (*order, status) {
            (
                Order::Create { version, .. }
                | Order::Duplicate { version, .. }
                | Order::DupTrunc { version, .. }
                | Order::Replicate { version, .. },
                0,
            ) => Self::Has(version),
            (Order::SetVersion { to, .. } | Order::Truncate { to, .. }, 0) => Self::Has(to),
            (Order::Delete { .. }, 0 | NO_CHUNK) => Self::Lost,
            (Order::SetVersion { .. } | Order::Truncate { .. }, _) => Self::Damaged,
            // There was no copy before, or there still is.
            (
                Order::Create { .. }
                | Order::Duplicate { .. }
                | Order::DupTrunc { .. }
                | Order::Replicate { .. }
                | Order::Delete { .. },
                _,
            ) => Self::Nothing,
        }
    }
}
