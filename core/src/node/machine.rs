//! The node itself: one step takes one event and runs everything inside until nothing is left.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::ask::Asks;
use super::chunks::Chunks;
use super::damage::{Damage, MARK};
use super::observe::{Observed, Observer};
use super::options::{Options, Tuning};
use super::peer::TransferId;
use super::pending::Pending;
use super::repair::{self, Repair, Verdict};
use super::request::NodeStatus;
use super::sessions::Heard;
use super::snapshots::PARTS_PER_STEP;
use super::transfer::{Incoming, Judged, Outgoing};
use super::{Effect, Event, Input};
use crate::buggify::Site;
use crate::codec;
use crate::crdt::Hlc;
use crate::disk::Disk;
use crate::id::{LogIndex, NodeId, Term, WriteId};
use crate::machine::{Machine, Outbox, Timers};
use crate::namespace::{Namespace, inspect};
use crate::raft::{
    self, AppliedState, Committed, RaftMachine, Recovered, Role, SnapshotId, SnapshotMeta,
};
use crate::rng::Seed;
use crate::store::{CheckpointId, StateStore, StoreError};
use crate::time::{Duration, Instant, WallTime};
use crate::wal::record::LogId;
use crate::wal::{GroupLog, Recovery, Tail, Wal, WalError};

/// Why a node cannot start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The log cannot be opened; the text says what to do.
    #[error("log: {0}")]
    Log(#[from] WalError),
    /// The state cannot be read for another reason than damage.
    #[error("state: {0}")]
    State(#[from] StoreError),
    /// The disk lost what this node promised to others. Remove it from the group and start a new
    /// one, with an empty disk and a node id that was never used.
    #[error("{node} must be replaced by a node with a new id: {reason}")]
    MustBeReplaced {
        /// This node.
        node: NodeId,
        /// What was lost.
        reason: String,
    },
}

/// What wakes a node up, besides consensus and waiting requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The state should be made durable.
    Checkpoint,
    /// Parts of snapshots may have to be sent again.
    Transfers,
    /// The next peer is asked for its state.
    Repair,
    /// Sessions may have been left by their clients.
    Sessions,
}

/// What a checkpoint is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Purpose {
    /// To shorten the replay at a restart.
    Periodic,
    /// Consensus wants a snapshot.
    Snapshot,
    /// A snapshot was installed for consensus.
    Install(SnapshotId),
    /// A peer's state was installed to heal this node.
    Heal,
}

/// A checkpoint under way.
pub(super) struct Running<V> {
    /// Its number in the store.
    pub id: CheckpointId,
    /// What for.
    pub purpose: Purpose,
    /// Index that it holds.
    pub applied: LogIndex,
    /// What [`Node::unsaved_bytes`] was when it began.
    pub bytes: u64,
    /// The snapshot that was taken with it, for `Purpose::Snapshot`; the one that is held stays
    /// until this one is durable.
    pub snapshot: Option<(SnapshotMeta, Arc<V>)>,
}

/// One node of one group.
pub struct Node<D, S: StateStore> {
    pub(super) options: Options,
    pub(super) seed: Seed,
    /// `None` while the node is healing or has stopped.
    pub(super) raft: Option<RaftMachine>,
    pub(super) wal: Wal<D>,
    pub(super) namespace: Namespace<S>,
    /// What consensus wants kept beside the state; equals the note of the state's applied mark.
    pub(super) applied: AppliedState,
    /// Writes of the log that are not durable yet, and the machine's numbers for them.
    pub(super) writes: VecDeque<(WriteId, WriteId)>,
    /// What consensus is still to be told, in order.
    pub(super) inbox: VecDeque<raft::Input>,
    pub(super) pending: Pending,
    pub(super) asks: Asks,
    pub(super) chunks: Chunks,
    /// Committed entries that wait, in order: for the next step, or because the store is full.
    /// Consensus hands out a bounded number before it hears that they were applied; at the start,
    /// all that the last checkpoint lacks.
    pub(super) deferred: VecDeque<Committed>,
    /// Entries that this step may still apply.
    pub(super) apply_budget: usize,
    /// Bytes of the entries applied since the last checkpoint began.
    pub(super) unsaved_bytes: u64,
    /// Parts of states that this step may still read.
    pub(super) parts_budget: usize,
    /// The term in which this node leads, as consensus last said.
    pub(super) leads: Option<Term>,
    /// Who leads, as consensus last said.
    pub(super) leader: Option<NodeId>,
    /// Since when this node has its role, by its own clock; 0 until a role has begun.
    pub(super) role_since: WallTime,
    /// Who has spoken for which session since then.
    pub(super) heard: Heard,
    pub(super) hlc: Hlc,
    pub(super) timers: Timers<Timer>,
    /// The checkpoint that runs, and what for.
    pub(super) checkpoint: Option<Running<S::Snapshot>>,
    /// Checkpoints to begin when it has ended.
    pub(super) wanted: VecDeque<Purpose>,
    /// Checkpoints that failed since the last good one, but for want of room.
    pub(super) failed_checkpoints: u32,
    /// Index in the last finished checkpoint.
    pub(super) durable: LogIndex,
    /// The snapshot that can be sent.
    pub(super) held: Option<(SnapshotMeta, Arc<S::Snapshot>)>,
    pub(super) next_snapshot: u64,
    pub(super) outgoing: BTreeMap<TransferId, Outgoing<S::Snapshot>>,
    pub(super) incoming: Option<Incoming>,
    /// The transfer that has arrived and is being judged, or installed.
    pub(super) judging: Option<Judged>,
    /// A log that is nearly full asks for a snapshot again from then on.
    pub(super) shorten_again: Instant,
    /// A peer's state that heals this node has arrived.
    pub(super) heal_pending: bool,
    pub(super) repair: Option<Repair>,
    pub(super) damage: Damage,
    /// What the log gave back, and what is to be told of it, until the first flush has ended:
    /// before that it may be in the system's cache alone, and must not be acted upon.
    pub(super) found: Option<(GroupLog, Vec<String>)>,
    /// `None` unless [`Options::observe`] asks for it.
    pub(super) observer: Option<Observer>,
    /// The entry that set the membership which was last told as an effect.
    pub(super) members_told: Option<LogId>,
    /// The cluster's number was told.
    pub(super) is_numbered: bool,
    pub(super) stopped: Option<String>,
    /// Peer messages dropped because they made no sense.
    pub(super) nonsense: u64,
    pub(super) now: Instant,
    pub(super) wall_us: u64,
}

impl<D: Disk, S: StateStore> Node<D, S> {
    /// Builds a node over what its disk and store hold: nothing for a new one.
    ///
    /// # Errors
    /// [`OpenError`]. Damage that a peer can heal is no error: the node starts and heals itself.
    pub fn open(
        options: Options,
        disk: D,
        store: S,
        seed: Seed,
        now: Instant,
    ) -> Result<Self, OpenError> {
        let log = Wal::open(disk, options.wal.clone(), options.life)?;
        Self::over(options, log, store, seed, now)
    }

    /// As [`Self::open`], over a log that was opened with [`Options::wal`] and [`Options::life`]:
    /// the state may be opened meanwhile.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn over(
        options: Options,
        (wal, mut recovery): (Wal<D>, Recovery),
        store: S,
        seed: Seed,
        now: Instant,
    ) -> Result<Self, OpenError> {
        let log = recovery.take_group(options.group);
        let (namespace, applied, unreadable) = open_state(store)?;
        let marked = recovery.strays.iter().any(|file| file == MARK);
        let damage = Damage::found(marked, unreadable);
        #[cfg(feature = "planted-bugs")]
        let namespace = namespace.with_bug(options.bug);
        let durable = namespace.applied().index;
        let chunks = Chunks::new(&options, &seed);
        let mut node = Self {
            seed,
            raft: None,
            wal,
            namespace,
            applied,
            writes: VecDeque::new(),
            inbox: VecDeque::new(),
            pending: Pending::default(),
            asks: Asks::default(),
            chunks,
            deferred: VecDeque::new(),
            apply_budget: 0,
            unsaved_bytes: 0,
            parts_budget: 0,
            leads: None,
            leader: None,
            role_since: WallTime(0),
            heard: Heard::default(),
            hlc: Hlc::new(options.node, 0),
            timers: Timers::default(),
            checkpoint: None,
            wanted: VecDeque::new(),
            failed_checkpoints: 0,
            durable,
            held: None,
            next_snapshot: 0,
            outgoing: BTreeMap::new(),
            incoming: None,
            judging: None,
            shorten_again: Instant::ZERO,
            heal_pending: false,
            repair: None,
            damage,
            found: None,
            observer: options.observe.then(Observer::default),
            members_told: None,
            is_numbered: false,
            stopped: None,
            nonsense: 0,
            now,
            wall_us: 0,
            options,
        };
        if let Verdict::Lost(reason) = repair::judge(&log, durable) {
            return Err(OpenError::MustBeReplaced {
                node: node.options.node,
                reason: reason.to_owned(),
            });
        }
        node.found = Some((log, news(&recovery)));
        node.tell_chunk_members();
        node.know_registrations()?;
        node.timers
            .arm(Timer::Checkpoint, now, node.options.checkpoint_interval);
        Ok(node)
    }

    /// How the node stands.
    #[must_use]
    pub fn status(&self) -> NodeStatus {
        self.status_with(self.raft_status().as_ref())
    }

    /// As [`Self::status`], from what [`Self::raft_status`] has just said.
    #[must_use]
    pub fn status_with(&self, raft: Option<&raft::Status>) -> NodeStatus {
        let index = |id: Option<LogId>| id.map_or(LogIndex(0), |id| id.index);
        NodeStatus {
            node: self.options.node,
            term: raft.map_or(Term(0), |raft| raft.term),
            leader: raft.and_then(|raft| raft.leader),
            leads: raft.is_some_and(|raft| raft.role == Role::Leader),
            committed: raft.map_or(LogIndex(0), |raft| index(raft.committed)),
            applied: self.namespace.applied().index,
            membership: raft
                .map_or(&self.applied.membership, |raft| &raft.membership)
                .clone(),
            repairing: self.repair.is_some(),
        }
    }

    /// How consensus stands; `None` while the node is healing or has stopped.
    #[must_use]
    pub fn raft_status(&self) -> Option<raft::Status> {
        self.raft.as_ref().map(RaftMachine::status)
    }

    /// Whether a peer's state is arriving here, or is complete and not yet taken over.
    #[must_use]
    pub fn receives_state(&self) -> bool {
        self.incoming.is_some()
    }

    /// The tree, to look at.
    #[must_use]
    pub fn namespace(&self) -> &Namespace<S> {
        &self.namespace
    }

    /// Index that the last finished checkpoint holds.
    #[must_use]
    pub fn checkpointed(&self) -> LogIndex {
        self.durable
    }

    /// Entries applied since the last call, in order; empty unless [`Options::observe`].
    pub fn take_applied(&mut self) -> Vec<Observed> {
        self.observer
            .as_mut()
            .map(Observer::take_applied)
            .unwrap_or_default()
    }

    /// Entries of the log that are not purged: ids, and hashes of what they say; empty unless
    /// [`Options::observe`].
    #[must_use]
    pub fn log_image(&self) -> Vec<(LogId, u64)> {
        self.observer
            .as_ref()
            .map(Observer::log)
            .unwrap_or_default()
    }

    /// The last log entry that is durable here; `None` unless [`Options::observe`].
    #[must_use]
    pub fn durable_entry(&self) -> Option<LogId> {
        self.observer.as_ref().and_then(Observer::durable)
    }

    /// Why the node has stopped, when it has.
    #[must_use]
    pub fn stopped(&self) -> Option<&str> {
        self.stopped.as_deref()
    }

    /// What the log gave back is durable: takes part, or heals first.
    fn begin(&mut self, log: GroupLog, out: &mut Outbox<Effect>) {
        if self.damage.needs_healing() {
            self.begin_healing(log, out);
        } else {
            self.take_part_with(log, out);
        }
    }

    /// Takes part with the state that there is, or heals the log first.
    pub(super) fn take_part_with(&mut self, log: GroupLog, out: &mut Outbox<Effect>) {
        match repair::judge(&log, self.durable) {
            Verdict::Whole => self.start_consensus(log, out),
            Verdict::Needs(index) if index <= self.durable => {
                if let Err(error) = self.settle_log(log, out) {
                    self.become_stopped(format!("log: {error}"), out);
                }
            }
            Verdict::Needs(index) => {
                let message = format!("the log lacks entries; a state up to {index} is needed");
                out.push(Effect::Report { message });
                let peers = self.options.peers.iter().copied();
                self.repair = Some(Repair::new(index, log, peers));
                self.timers.arm(Timer::Repair, self.now, Duration::ZERO);
            }
            Verdict::Lost(_) => unreachable!("such a node was not opened"),
        }
    }

    /// Builds the consensus machine over a log without a hole.
    pub(super) fn start_consensus(&mut self, log: GroupLog, out: &mut Outbox<Effect>) {
        assert!(log.is_whole(), "consensus is never built over a hole");
        if let Some(observer) = &mut self.observer {
            observer.on_recovered(log.purged, &log.entries);
        }
        let recovered = Recovered {
            vote: log.vote,
            purged: log.purged,
            committed: log.committed,
            entries: log.entries,
            applied: self.applied.clone(),
        };
        let empty = recovered.vote.is_none()
            && recovered.entries.is_empty()
            && recovered.applied.last.is_none();
        let options = self.options.raft.clone();
        let seed = self.seed.child("raft").index(self.options.life);
        match RaftMachine::open(options, recovered, seed, self.now) {
            Ok(raft) => self.raft = Some(raft),
            Err(error) => {
                let reason = format!("the log and the state do not fit each other: {error}");
                return self.become_stopped(reason, out);
            }
        }
        // What it wants at once comes out with its first step.
        self.inbox.push_back(raft::Input::Tick);
        if empty && let Some(voters) = self.options.bootstrap.clone() {
            self.inbox.push_back(raft::Input::Initialize { voters });
        }
    }

    /// Drops what the state covers from a log that was damaged there, and takes part again.
    pub(super) fn settle_log(
        &mut self,
        log: GroupLog,
        out: &mut Outbox<Effect>,
    ) -> Result<(), WalError> {
        let state = self
            .applied
            .last
            .expect("a state that covers an index has applied something");
        let (records, log) = repair::settle(log, state);
        for record in records {
            self.wal.append(self.options.group, record)?;
        }
        self.wal.heal(self.options.group)?;
        self.start_consensus(log, out);
        Ok(())
    }

    /// Ends serving for good, in this life, and says why.
    pub(super) fn become_stopped(&mut self, reason: String, out: &mut Outbox<Effect>) {
        if self.stopped.is_some() {
            return;
        }
        self.leave_service("the node has stopped", out);
        out.push(Effect::Stopped {
            reason: reason.clone(),
        });
        self.stopped = Some(reason);
    }

    /// Takes no part in anything any more; who waits is told why.
    pub(super) fn leave_service(&mut self, why: &str, out: &mut Outbox<Effect>) {
        self.raft = None;
        self.repair = None;
        self.leads = None;
        self.leader = None;
        self.inbox.clear();
        self.deferred.clear();
        self.outgoing.clear();
        self.incoming = None;
        self.judging = None;
        self.held = None;
        self.end_chunks(out);
        self.answer_all(why, out);
        self.end_asks(out);
    }

    fn on_event(&mut self, event: Event, out: &mut Outbox<Effect>) {
        match event {
            Event::Tick => self.inbox.push_back(raft::Input::Tick),
            Event::Message { from, message } => self.on_message(from, &message, out),
            Event::PeerUp { peer, priority } => {
                // A machine that is built later, after healing, has to know it as well.
                self.options.raft.priority.insert(peer, priority);
                self.inbox
                    .push_back(raft::Input::Priority { peer, priority });
                self.chunks.keeper.on_peer(peer, true);
            }
            Event::PeerLost { peer } => {
                self.drop_transfers_with(peer);
                self.on_asks_lost(peer);
                self.chunks.keeper.on_peer(peer, false);
                self.inbox.push_back(raft::Input::PeerLost { peer });
            }
            Event::Flushed { flush, result } => match self.wal.on_flushed(flush, result) {
                Ok(write) => {
                    self.on_durable(write);
                    self.maybe_end(flush, out);
                    if let Some((log, news)) = self.found.take() {
                        for message in news {
                            out.push(Effect::Report { message });
                        }
                        self.begin(log, out);
                    }
                }
                Err(error) => self.become_stopped(format!("log: {error}"), out),
            },
            Event::Checkpointed { checkpoint, result } => {
                self.on_checkpointed(checkpoint, result, out);
            }
            Event::Request { client, request } => self.on_request(client, request, out),
            Event::Ask { client, request } => self.on_ask(client, request, out),
            Event::AskWrite {
                client,
                call,
                request,
                op,
            } => self.on_ask_write(client, call, request, *op, out),
            Event::AskChunk { client, call, wish } => self.on_ask_chunk(client, call, wish, out),
            Event::Chunkserver { conn, report } => self.on_report(conn, report),
            Event::Inspect { client, call, what } => self.on_inspect(client, call, &what, out),
            Event::Tuned { tuning } => self.on_tuned(tuning),
            Event::ClientGone { client } => {
                self.pending.forget(client);
                self.asks.forget(client);
            }
        }
    }

    fn on_tuned(&mut self, tuning: Tuning) {
        let Tuning {
            checkpoint_interval,
            priority,
        } = tuning;
        let own = self.options.node;
        self.options.raft.priority.insert(own, priority);
        self.inbox.push_back(raft::Input::Priority {
            peer: own,
            priority,
        });
        if self.options.checkpoint_interval != checkpoint_interval {
            self.options.checkpoint_interval = checkpoint_interval;
            self.timers
                .arm(Timer::Checkpoint, self.now, checkpoint_interval);
        }
    }

    fn on_durable(&mut self, write: WriteId) {
        if let Some(observer) = &mut self.observer {
            observer.on_durable(write);
        }
        let mut last = None;
        while self.writes.front().is_some_and(|(log, _)| *log <= write) {
            last = self.writes.pop_front();
        }
        if let Some((_, write)) = last {
            self.inbox.push_back(raft::Input::Durable { write });
        }
    }

    fn on_timers(&mut self, out: &mut Outbox<Effect>) {
        while let Some(timer) = self.timers.expired(self.now) {
            match timer {
                Timer::Checkpoint => {
                    self.timers
                        .arm(timer, self.now, self.options.checkpoint_interval);
                    if self.namespace.applied().index > self.durable && self.raft.is_some() {
                        self.want_checkpoint(Purpose::Periodic, out);
                    }
                    self.begin_checkpoint(out);
                }
                Timer::Transfers => self.on_transfer_timer(out),
                Timer::Repair => self.on_repair_timer(out),
                Timer::Sessions => self.look_at_sessions(out),
            }
        }
        self.answer_expired(out);
    }

    /// Tells whom the state names, when that is news.
    fn tell_members(&mut self, out: &mut Outbox<Effect>) {
        let membership = &self.applied.membership;
        if membership.set_by != self.members_told {
            self.members_told = membership.set_by;
            out.push(Effect::MembersChanged {
                membership: membership.clone(),
            });
            self.tell_chunk_members();
        }
    }

    /// Tells the number that the cluster brought along, once: a state in which something was applied
    /// is of the cluster, and whether it has one never changes.
    fn tell_number(&mut self, out: &mut Outbox<Effect>) {
        if self.is_numbered || self.raft.is_none() || self.applied.last.is_none() {
            return;
        }
        match self.namespace.metaid() {
            Ok(metaid) => {
                self.is_numbered = true;
                out.push(Effect::Numbered { metaid });
            }
            Err(error) => self.on_read_fault(&error, out),
        }
    }

    fn begin_flush(&mut self, out: &mut Outbox<Effect>) {
        match self.wal.start_flush() {
            Ok(Some(flush)) => {
                self.note_flush(flush);
                out.push(Effect::FlushStarted { flush });
            }
            Ok(None) => {}
            Err(error) => self.become_stopped(format!("log: {error}"), out),
        }
    }
}

impl<D: Disk, S: StateStore> Machine for Node<D, S> {
    type Input = Input;
    type Effect = Effect;

    fn step(&mut self, now: Instant, input: Input, out: &mut Outbox<Effect>) {
        if self.stopped.is_some() {
            return;
        }
        self.now = self.now.max(now);
        self.wall_us = input.wall_us;
        self.apply_budget = match self.options.buggify.fires(Site::OneEntryApplied) {
            true => 1,
            false => self.options.apply_entries_max,
        };
        self.parts_budget = PARTS_PER_STEP;
        let wall = self.wall_time();
        self.chunks.keeper.set_now(self.now, wall);
        self.on_event(input.event, out);
        self.on_timers(out);
        self.apply_deferred(out);
        self.maybe_shorten_log();
        self.run_consensus(out);
        while self.move_asks(out) | self.run_chunks(out) {
            self.run_consensus(out);
        }
        self.tell_members(out);
        self.tell_number(out);
        self.maybe_relieve(out);
        if self.stopped.is_none() {
            self.begin_flush(out);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        if self.stopped.is_some() {
            return None;
        }
        if self.found.is_some() && self.wal.needs_flush() {
            // The first flush waits to be begun.
            return Some(self.now);
        }
        if !self.deferred.is_empty() && !self.is_store_full() {
            // The next portion waits to be applied.
            return Some(self.now);
        }
        let raft = self.raft.as_ref().and_then(Machine::deadline);
        let timer = self.timers.next().map(|(at, _)| at);
        let keeper = self.raft.as_ref().and(self.chunks.keeper.deadline());
        let waiting = [self.pending.deadline(), self.asks.deadline()];
        [raft, timer, keeper]
            .into_iter()
            .chain(waiting)
            .flatten()
            .min()
    }

    fn check(&self) {
        self.wal.check();
        self.pending.check();
        self.asks.check();
        self.chunks.keeper.check();
        if let Some(raft) = &self.raft {
            raft.check();
        }
        assert!(
            self.raft.is_none() || self.repair.is_none(),
            "a node takes no part in consensus while it heals"
        );
        assert!(
            self.durable <= self.namespace.applied().index || self.raft.is_none(),
            "a checkpoint holds what was not applied"
        );
        assert_eq!(
            self.applied.last.map_or(LogIndex(0), |id| id.index),
            self.namespace.applied().index,
            "the state and its note agree on what was applied"
        );
        assert!(
            self.deferred.is_empty() || self.raft.is_some(),
            "entries wait for a store without a consensus that committed them"
        );
        assert!(
            self.writes.iter().is_sorted(),
            "writes of the log and of consensus are in the same order"
        );
    }
}

/// What an operator should know of how the log came back.
fn news(recovery: &Recovery) -> Vec<String> {
    let mut news: Vec<String> = recovery
        .damage
        .iter()
        .map(|damage| {
            let (file, offset, what) = (&damage.file, damage.offset, &damage.what);
            format!("the log is damaged in file {file} at byte {offset}: {what:?}")
        })
        .collect();
    if let Tail::Torn {
        file,
        offset,
        dropped,
    } = &recovery.tail
    {
        news.push(format!(
            "the log ended in a write that was never acknowledged, in file {file} at byte \
             {offset}; {dropped} frames after it were dropped"
        ));
    }
    let strays: Vec<_> = recovery.strays.iter().filter(|it| *it != MARK).collect();
    if !strays.is_empty() {
        news.push(format!(
            "files that are not the log's were left alone: {strays:?}"
        ));
    }
    news
}

/// What was opened: the tree, what consensus kept beside it, and why neither can be read.
type Opened<S> = (Namespace<S>, AppliedState, Option<StoreError>);

/// Opens the state. With a damaged mark of what was applied nothing in it can be used, but it stays
/// where it is until a peer has given another.
fn open_state<S: StateStore>(store: S) -> Result<Opened<S>, StoreError> {
    if let Err(error @ StoreError::Corrupt { .. }) = inspect(&store) {
        let namespace = Namespace::over_damage(store);
        return Ok((namespace, AppliedState::default(), Some(error)));
    }
    let namespace = Namespace::open(store)?;
    let applied = read_note(&namespace.applied().note)?;
    Ok((namespace, applied, None))
}

/// Reads what consensus kept beside the state.
pub(super) fn read_note(note: &[u8]) -> Result<AppliedState, StoreError> {
    if note.is_empty() {
        return Ok(AppliedState::default());
    }
    codec::decode(note).map_err(|error| StoreError::Contradiction {
        key: crate::namespace::key::Key::Applied.bytes(),
        reason: error.to_string(),
    })
}
