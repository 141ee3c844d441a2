//! Chunkservers and what is asked of their chunks: brings the keeper together with consensus and
//! the state.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Effect;
use super::machine::Node;
use super::peer::PeerBody;
use super::pending::{Caller, Origin};
use super::request::{NodeError, ResponseBody};
use crate::chunks::jobs::{Came, Ticket};
use crate::chunks::keeper::{Act, Asker, Records};
use crate::chunks::{ChunkWish, ConnId, Keeper, Report, Talk};
use crate::disk::Disk;
use crate::id::{ChunkId, CsId, InodeId, NodeId, Slot, Term};
use crate::limits;
use crate::machine::Outbox;
use crate::namespace::error::FsError;
use crate::namespace::op::{
    ChunkAction, ChunkInfo, ChunkserverInfo, Notice, Op, Outcome, Reply, StorageClass, Unsettled,
};
use crate::namespace::record::Ranges;
use crate::namespace::{FileChunks, FileCursor, KnownChunk, Namespace};
use crate::native::admin::{ChunkserverHeard, ChunkserverStatus};
use crate::rng::Seed;
use crate::store::{StateStore, StoreError};

/// Places that are remembered to be settled; the upkeep finds the rest.
const LOCKED_MAX: usize = 10_000;

/// Who asks for chunks, and what the keeper has proposed.
pub(super) struct Chunks {
    pub keeper: Keeper,
    next: u64,
    askers: BTreeMap<Asker, (Caller, ChunkWish)>,
    /// What the keeper's proposals came to.
    told: VecDeque<(u64, Result<ResponseBody, NodeError>)>,
    /// What this node says to itself.
    to_itself: VecDeque<Talk>,
    /// Places in files whose chunks were found locked.
    locked: BTreeSet<(InodeId, u32)>,
    /// Space of all chunkservers in total and free, and how many there are, as last told.
    space: (u64, u64, usize),
}

impl Chunks {
    pub fn new(options: &super::Options, seed: &Seed) -> Self {
        let rng = seed.child("chunks").index(options.life).rng();
        let chunks = crate::chunks::Options {
            #[cfg(feature = "planted-bugs")]
            bug: options.bug,
            ..options.chunks.clone()
        };
        let keeper = Keeper::new(chunks, options.life, rng);
        Self {
            keeper,
            next: 0,
            askers: BTreeMap::new(),
            told: VecDeque::new(),
            to_itself: VecDeque::new(),
            locked: BTreeSet::new(),
            space: (0, 0, 0),
        }
    }

    /// A proposal of the keeper's is answered.
    pub fn on_told(&mut self, ticket: u64, result: Result<ResponseBody, NodeError>) {
        self.told.push_back((ticket, result));
    }
}

impl<S: StateStore> Records for Namespace<S> {
    fn chunk(&self, chunk: ChunkId) -> Result<Option<ChunkInfo>, StoreError> {
        Self::chunk(self, chunk)
    }

    fn chunk_at(&self, inode: InodeId, index: u32) -> Result<Option<ChunkInfo>, StoreError> {
        Self::chunk_at(self, inode, index)
    }

    fn known(&self, chunk: ChunkId) -> Result<KnownChunk, StoreError> {
        Self::known(self, chunk)
    }

    fn chunk_ids_taken(&self, slot: Slot) -> Result<u64, StoreError> {
        Self::chunk_ids_taken(self, slot)
    }

    fn passed_versions(&self, chunk: ChunkId) -> Result<Ranges, StoreError> {
        Self::passed_versions(self, chunk)
    }

    fn files_after(
        &self,
        after: FileCursor,
        files_max: usize,
        chunks_max: usize,
    ) -> Result<Vec<FileChunks>, StoreError> {
        Self::files_after(self, after, files_max, chunks_max)
    }

    fn chunks_after(
        &self,
        after: Option<ChunkId>,
        max: usize,
    ) -> Result<Vec<ChunkInfo>, StoreError> {
        Self::chunks_after(self, after, max)
    }

    fn class_of(&self, inode: InodeId) -> Result<Option<StorageClass>, StoreError> {
        Self::class_of(self, inode)
    }

    fn class(&self, id: u8) -> Result<Option<StorageClass>, StoreError> {
        Self::class(self, id)
    }

    fn chunkservers(&self) -> Result<Vec<ChunkserverInfo>, StoreError> {
        Self::chunkservers(self)
    }
}

impl<D: Disk, S: StateStore> Node<D, S> {
    /// A chunkserver that is connected to this node says something.
    pub(super) fn on_report(&mut self, conn: ConnId, report: Report) {
        self.chunks.keeper.on_report(conn, report);
    }

    /// A peer says something of chunkservers.
    pub(super) fn on_talk(&mut self, from: NodeId, talk: Talk, out: &mut Outbox<Effect>) {
        let result = self.chunks.keeper.on_talk(from, talk, &self.namespace);
        self.judge_chunks(result, out);
    }

    /// Somebody wishes something of the keeper here.
    pub(super) fn on_wish(&mut self, caller: Caller, wish: ChunkWish, out: &mut Outbox<Effect>) {
        self.chunks.next += 1;
        let asker = Asker(self.chunks.next);
        self.chunks.askers.insert(asker, (caller, wish.clone()));
        let result = self.chunks.keeper.on_wish(asker, wish, &self.namespace);
        self.judge_chunks(result, out);
    }

    fn judge_chunks(&mut self, result: Result<(), StoreError>, out: &mut Outbox<Effect>) {
        if let Err(error) = result {
            self.on_read_fault(&error, out);
        }
    }

    /// A command was applied here: what it means for chunks. `ours` is of a term that this node
    /// leads.
    pub(super) fn note_chunks(&mut self, outcome: &Outcome, ours: bool, out: &mut Outbox<Effect>) {
        for notice in &outcome.notices {
            match *notice {
                Notice::ChunkserverRegistered { csid, registration } => {
                    let keeper = &mut self.chunks.keeper;
                    let result = keeper.on_registered(csid, registration, &self.namespace);
                    self.judge_chunks(result, out);
                }
                Notice::ChunkserverForgotten { csid } => {
                    let result = self.chunks.keeper.on_forgotten(csid, &self.namespace);
                    self.judge_chunks(result, out);
                }
                Notice::ChunkUnused { chunk, .. } if ours => self.chunks.keeper.on_unused(chunk),
                _ => {}
            }
        }
        if !ours || outcome.repeated {
            return;
        }
        if let Ok(
            Reply::Chunk {
                chunk,
                version,
                action,
                ..
            }
            | Reply::TruncateChunk {
                chunk,
                version,
                action,
                ..
            },
        ) = outcome.result
            // Of a chunk that was not settled before the version is not this command's.
            && action != ChunkAction::Kept
        {
            self.chunks.keeper.on_raised(chunk, version);
        }
    }

    /// A command found a chunk locked. It may be one that nobody settles: its client is gone, or
    /// was refused.
    pub(super) fn note_locked(&mut self, op: &Op, outcome: &Outcome) {
        if outcome.result != Err(FsError::Locked) || self.chunks.locked.len() >= LOCKED_MAX {
            return;
        }
        let place = match *op {
            Op::WriteChunk { inode, index, .. } => (inode, index),
            Op::Truncate { inode, length, .. } => {
                let index = length / limits::CHUNK_BYTES;
                (inode, u32::try_from(index).unwrap_or(u32::MAX))
            }
            _ => return,
        };
        self.chunks.locked.insert(place);
    }

    /// Settles what was found locked, and is not locked for a writer. A cut that is not made yet is
    /// made by whoever comes to it: its truncate ends with it, whether its client is still there or
    /// not, and until then nobody gets on.
    fn settle_locked(&mut self, out: &mut Outbox<Effect>) {
        let now = self.wall_time();
        while let Some((inode, index)) = self.chunks.locked.pop_first() {
            let result = self.namespace.chunk_at(inode, index).and_then(|info| {
                let Some(info) = info else {
                    return Ok(());
                };
                let left = |it: Unsettled| it.cut.is_some() || info.locked_until < now;
                match info.unsettled.is_some_and(left) {
                    true => self.chunks.keeper.settle(info.chunk, &self.namespace),
                    false => Ok(()),
                }
            });
            self.judge_chunks(result, out);
        }
    }

    /// What the state has of registrations, at the start.
    pub(super) fn know_registrations(&mut self) -> Result<(), StoreError> {
        if self.damage.needs_healing() {
            // Nothing in it can be used; what takes its place is looked at then.
            return Ok(());
        }
        for info in self.namespace.chunkservers()? {
            let keeper = &mut self.chunks.keeper;
            keeper.on_registered(info.csid, info.registration, &self.namespace)?;
        }
        Ok(())
    }

    /// Another state has taken the place of the one before.
    pub(super) fn note_registrations(&mut self, out: &mut Outbox<Effect>) {
        match self.namespace.chunkservers() {
            Ok(known) => {
                let there: BTreeSet<CsId> = known.iter().map(|info| info.csid).collect();
                let before = self.chunks.keeper.map().registered();
                let gone: Vec<CsId> = before.filter(|csid| !there.contains(csid)).collect();
                for csid in gone {
                    let result = self.chunks.keeper.on_forgotten(csid, &self.namespace);
                    self.judge_chunks(result, out);
                }
                for info in known {
                    let keeper = &mut self.chunks.keeper;
                    let (csid, number) = (info.csid, info.registration);
                    let result = keeper.on_registered(csid, number, &self.namespace);
                    self.judge_chunks(result, out);
                }
            }
            Err(error) => self.on_read_fault(&error, out),
        }
    }

    /// Chunkservers of the state by number, each with what is heard of it here.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is done about it.
    pub fn chunkservers(&self) -> Result<Vec<ChunkserverStatus>, StoreError> {
        let map = self.chunks.keeper.map();
        let status = |info: ChunkserverInfo| {
            let heard = map.by_csid(info.csid).map(|(_, server)| ChunkserverHeard {
                relay: server.via.relay,
                reachable: server.cut_off.is_none(),
                version: server.joined.version,
                listed: server.listed,
                leaving: server.leaving,
                labels: server.labels,
                space: server.space,
                jobs: server.jobs,
                overloaded: server.overloaded,
                disk_errors: server.errors,
            });
            ChunkserverStatus { info, heard }
        };
        Ok(self
            .namespace
            .chunkservers()?
            .into_iter()
            .map(status)
            .collect())
    }

    /// A registration as it is to be asked for. The number of one that is connected from elsewhere
    /// is left to it: two machines that claim one number, as after a copy of a disk or when a
    /// number was given anew, would take it from each other for ever.
    pub(super) fn with_claim_judged(&self, op: Op) -> Op {
        let Op::RegisterChunkserver { csid, address } = op else {
            return op;
        };
        let holder = self.chunks.keeper.map().by_csid(csid);
        let is_held = holder.is_some_and(|(_, server)| {
            server.cut_off.is_none() && !server.leaving && server.joined.address != address
        });
        Op::RegisterChunkserver {
            csid: if is_held { CsId(0) } else { csid },
            address,
        }
    }

    /// Who takes part is told of chunkservers; this node always.
    pub(super) fn tell_chunk_members(&mut self) {
        let membership = &self.applied.membership;
        let mut nodes: BTreeSet<NodeId> = membership.voters.iter().flatten().copied().collect();
        nodes.extend(&membership.learners);
        nodes.insert(self.options.node);
        self.chunks.keeper.set_nodes(&nodes);
    }

    /// The leader gives orders once it has applied an entry of its own term: before that its state
    /// may be older than what an earlier leader has acknowledged.
    pub(super) fn note_leading(&mut self, term: Term) {
        if self.leads == Some(term) {
            self.chunks.keeper.set_leads(Some(term));
        }
    }

    /// Lets the keeper do what it has to. Whether consensus has to run again.
    pub(super) fn run_chunks(&mut self, out: &mut Outbox<Effect>) -> bool {
        if self.stopped.is_some() || self.raft.is_none() {
            return false;
        }
        let before = self.inbox.len();
        let lease = self.raft.as_ref().is_some_and(|raft| raft.holds_lease());
        self.chunks.keeper.set_lease(lease);
        self.settle_locked(out);
        loop {
            while let Some((ticket, result)) = self.chunks.told.pop_front() {
                self.on_chunk_proposed(ticket, result, out);
            }
            let result = self.chunks.keeper.run(&self.namespace);
            self.judge_chunks(result, out);
            self.carry_out_chunk_acts(None, out);
            let Some(talk) = self.chunks.to_itself.pop_front() else {
                break;
            };
            let node = self.options.node;
            self.on_talk(node, talk, out);
        }
        self.tell_space(out);
        if self.chunks.keeper.take_moved() && self.options.news {
            out.push(Effect::CopiesMoved);
        }
        self.inbox.len() > before || !self.chunks.told.is_empty()
    }

    fn on_chunk_proposed(
        &mut self,
        ticket: u64,
        result: Result<ResponseBody, NodeError>,
        out: &mut Outbox<Effect>,
    ) {
        let came = match &result {
            Ok(ResponseBody::Written { outcome, .. }) => match outcome.result {
                Ok(_) => Came::Done,
                Err(_) => Came::Refused,
            },
            _ => Came::Nothing,
        };
        let keeper = &mut self.chunks.keeper;
        let done = keeper.on_proposed(Ticket(ticket), came, &self.namespace);
        self.judge_chunks(done, out);
        self.carry_out_chunk_acts(result.ok(), out);
    }

    /// `outcome` is what the last proposal came to.
    fn carry_out_chunk_acts(&mut self, outcome: Option<ResponseBody>, out: &mut Outbox<Effect>) {
        for act in self.chunks.keeper.take_acts() {
            match act {
                Act::Order(conn, term, order) => out.push(Effect::Order { conn, term, order }),
                Act::Unseat(conn, reason) => out.push(Effect::Unseat { conn, reason }),
                Act::Send(to, talk) if to == self.options.node => {
                    self.chunks.to_itself.push_back(talk);
                }
                Act::Send(to, talk) => self.send(to, PeerBody::Chunks(talk), out),
                Act::Propose(ticket, op) => {
                    let origin = Origin::Keeper(ticket.0);
                    let deadline = self.now + self.options.request_timeout;
                    self.on_write(Caller { origin, deadline }, None, op, out);
                }
                Act::Answer(asker, answer) => {
                    if let Some((caller, _)) = self.chunks.askers.remove(&asker) {
                        self.answer(caller, Ok(ResponseBody::Chunk(answer)), out);
                    }
                }
                Act::AnswerOutcome(asker, _) => {
                    if let Some((caller, _)) = self.chunks.askers.remove(&asker) {
                        let result = outcome.clone().ok_or(NodeError::Unknown);
                        self.answer(caller, result, out);
                    }
                }
                Act::AskAgain(asker) => {
                    if let Some((caller, wish)) = self.chunks.askers.remove(&asker) {
                        self.ask_chunks_again(caller, wish, out);
                    }
                }
                Act::Report(message) => out.push(Effect::Report { message }),
            }
        }
    }

    /// The leader has to be asked, or another one.
    fn ask_chunks_again(&mut self, caller: Caller, wish: ChunkWish, out: &mut Outbox<Effect>) {
        match caller.origin {
            Origin::Ask(ask) => self.ask_chunks_of_leader(ask, wish, out),
            _ => {
                let leader = self.leader.filter(|leader| *leader != self.options.node);
                self.answer(caller, Err(NodeError::NotLeader { leader }), out);
            }
        }
    }

    /// Tells how much room there is, when that is news.
    fn tell_space(&mut self, out: &mut Outbox<Effect>) {
        let map = self.chunks.keeper.map();
        let (total, free) = map.space();
        let servers = map.servers().count();
        if self.chunks.space != (total, free, servers) {
            self.chunks.space = (total, free, servers);
            out.push(Effect::Space {
                total,
                free,
                servers,
            });
        }
    }

    /// Nothing will come of what is asked here.
    pub(super) fn end_chunks(&mut self, out: &mut Outbox<Effect>) {
        self.chunks.keeper.set_leads(None);
        let askers = std::mem::take(&mut self.chunks.askers);
        for (caller, _) in askers.into_values() {
            let reason = "the node has stopped, or is healing itself".to_owned();
            self.answer(caller, Err(NodeError::Unavailable { reason }), out);
        }
        self.carry_out_chunk_acts(None, out);
    }
}
