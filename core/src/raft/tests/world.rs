//! A small world for machines: a network, disks that lose what was not flushed, clocks that
//! drift, and the laws of Raft, watched after every step.
//!
//! Everything is drawn from one seed. Time is simulated.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{LogIndex, NodeId, Term, WriteId};
use crate::machine::{Machine, Outbox};
use crate::raft::message::{Message, Reply, Request};
use crate::raft::{
    AppliedState, Effect, Input, Options, Payload, ProposalId, RaftError, RaftMachine, ReadId,
    ReadPolicy, Recovered, Role, SnapshotId, SnapshotMeta,
};
use crate::rng::{Rng, Seed};
use crate::time::{Duration, Instant};
use crate::wal::record::{LogId, Record};

pub(super) const MS: u64 = 1_000_000;

/// What the network and the disks do.
#[derive(Clone, Debug)]
pub(super) struct Weather {
    /// Nanoseconds that a message takes.
    pub(super) delay: (u64, u64),
    /// Messages lost, and delivered twice, of a thousand.
    pub(super) loss: u64,
    pub(super) twice: u64,
    /// Nanoseconds that a flush takes.
    pub(super) flush: (u64, u64),
    /// Each clock runs faster by up to this part of a million.
    pub(super) drift_ppm: u64,
}

impl Weather {
    pub(super) fn fine() -> Self {
        Self {
            delay: (MS / 5, 2 * MS),
            loss: 0,
            twice: 0,
            flush: (MS / 10, MS),
            drift_ppm: 200,
        }
    }
}

/// The owner's state: how far, and a digest of everything applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct App {
    applied: AppliedState,
    digest: [u8; 32],
}

impl App {
    fn apply(&mut self, id: LogId, payload: &Payload) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.digest);
        hasher.update(format!("{id:?} {payload:?}").as_bytes());
        self.digest = *hasher.finalize().as_bytes();
        self.applied.last = Some(id);
        if let Payload::Membership(membership) = payload {
            self.applied.membership = membership.clone();
        }
    }
}

#[derive(Default)]
struct Disk {
    durable: Vec<Record>,
    volatile: Vec<(WriteId, Record)>,
    checkpoint: App,
}

#[derive(Clone, Debug, Default)]
struct View {
    vote: Option<Vec<u8>>,
    purged: Option<LogId>,
    committed: Option<LogId>,
    entries: BTreeMap<LogIndex, (LogId, Vec<u8>)>,
}

impl View {
    fn record(&mut self, record: &Record) {
        match record {
            Record::Entry { id, payload } => {
                let before = self
                    .entries
                    .last_key_value()
                    .map(|(index, _)| *index)
                    .or(self.purged.map(|id| id.index))
                    .unwrap_or(LogIndex(0));
                assert_eq!(before.next(), id.index, "an entry is written behind a hole");
                self.entries.insert(id.index, (*id, payload.clone()));
            }
            Record::Truncate { last } => {
                self.entries.retain(|index, _| index <= last);
            }
            Record::Purge { through } => {
                self.entries.retain(|index, _| *index > through.index);
                self.purged = Some(*through);
            }
            Record::Vote { vote } => self.vote = Some(vote.clone()),
            Record::Committed { id } => self.committed = Some(*id),
        }
    }

    fn of<'a>(records: impl Iterator<Item = &'a Record>) -> Self {
        let mut view = Self::default();
        for record in records {
            view.record(record);
        }
        view
    }

    fn id_at(&self, index: LogIndex) -> Option<LogId> {
        self.entries.get(&index).map(|(id, _)| *id)
    }
}

pub(super) struct Node {
    pub(super) machine: Option<RaftMachine>,
    options: Options,
    disk: Disk,
    /// The log with what is not flushed, and without.
    view: View,
    durable: View,
    app: App,
    snapshots: BTreeMap<SnapshotId, App>,
    /// Snapshots of others, until they are in place.
    received: BTreeMap<SnapshotId, App>,
    next_snapshot: u64,
    life: u64,
    /// Parts of a million by which this clock runs fast.
    drift: u64,
    flushing: bool,
    wake: Option<u64>,
    pub(super) role: (Role, Term, Option<NodeId>),
    pub(super) stopped: Option<String>,
}

#[derive(Clone, Debug)]
enum Event {
    Input(NodeId, u64, Box<Input>),
    Tick(NodeId, u64, u64),
    Flushed(NodeId, u64, WriteId),
    Built(NodeId, u64),
    Install(NodeId, u64, Box<SnapshotMeta>),
    Snapshot {
        to: NodeId,
        from: NodeId,
        transfer: u64,
        header: Vec<u8>,
        app: Box<App>,
    },
    SnapshotEnds {
        to: NodeId,
        life: u64,
        transfer: u64,
        result: Result<Vec<u8>, String>,
    },
}

struct OpenRead {
    floor: LogIndex,
}

pub(super) struct World {
    pub(super) now: u64,
    seed: Seed,
    rng: Rng,
    pub(super) weather: Weather,
    pub(super) nodes: BTreeMap<NodeId, Node>,
    events: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    /// Directed links that carry nothing.
    pub(super) cut: BTreeSet<(NodeId, NodeId)>,
    hash: blake3::Hasher,
    next_name: u64,
    pub(super) proposed: BTreeMap<ProposalId, Option<Result<LogId, RaftError>>>,
    /// Those of them that change the membership.
    changes: BTreeSet<ProposalId>,
    open_reads: BTreeMap<ReadId, OpenRead>,
    pub(super) reads: BTreeMap<ReadId, Result<LogIndex, RaftError>>,
    /// Highest index that anybody was told is committed, or has read.
    seen: LogIndex,
    /// Reads that wait for their index to be applied, by node and life.
    waiting_reads: Vec<(NodeId, u64, LogIndex)>,
    leaders: BTreeMap<Term, (NodeId, u64)>,
    votes: BTreeMap<(NodeId, Term), NodeId>,
    contents: BTreeMap<LogId, (Option<LogId>, Vec<u8>)>,
    committed: BTreeMap<LogIndex, (LogId, [u8; 32])>,
    /// When set, the first application of an entry must find it durable at a majority of these.
    pub(super) quorum_of: BTreeSet<NodeId>,
    pub(super) sent: u64,
    pub(super) commands: u64,
    /// How much longer than a message a state takes, nanoseconds.
    pub(super) state_takes: u64,
    /// States that were sent, by receiver.
    pub(super) states_sent: BTreeMap<NodeId, u64>,
}

impl World {
    pub(super) fn new(seed: u64, weather: Weather) -> Self {
        let seed = Seed::from_u64(seed);
        Self {
            now: 0,
            seed,
            rng: seed.child("world").rng(),
            weather,
            nodes: BTreeMap::new(),
            events: BTreeMap::new(),
            next_event: 0,
            cut: BTreeSet::new(),
            hash: blake3::Hasher::new(),
            next_name: 1,
            proposed: BTreeMap::new(),
            changes: BTreeSet::new(),
            open_reads: BTreeMap::new(),
            reads: BTreeMap::new(),
            seen: LogIndex(0),
            waiting_reads: Vec::new(),
            leaders: BTreeMap::new(),
            votes: BTreeMap::new(),
            contents: BTreeMap::new(),
            committed: BTreeMap::new(),
            quorum_of: BTreeSet::new(),
            sent: 0,
            commands: 0,
            state_takes: 0,
            states_sent: BTreeMap::new(),
        }
    }

    /// A group of `count` voters, numbered from 1, that has just been made.
    pub(super) fn group(
        seed: u64,
        weather: Weather,
        count: u64,
        tune: impl Fn(&mut Options),
    ) -> Self {
        let mut world = Self::new(seed, weather);
        let voters: BTreeSet<NodeId> = (1..=count).map(NodeId).collect();
        for node in &voters {
            world.add(*node, &tune);
        }
        world.quorum_of.clone_from(&voters);
        world.input(NodeId(1), Input::Initialize { voters });
        world
    }

    pub(super) fn add(&mut self, node: NodeId, tune: impl Fn(&mut Options)) {
        let mut options = Options::new(node);
        options.shuffle_tasks = self.rng.chance(1, 2);
        tune(&mut options);
        let drift = self.rng.below(self.weather.drift_ppm + 1);
        self.nodes.insert(
            node,
            Node {
                machine: None,
                options,
                disk: Disk::default(),
                view: View::default(),
                durable: View::default(),
                app: App::default(),
                snapshots: BTreeMap::new(),
                received: BTreeMap::new(),
                next_snapshot: 1,
                life: 0,
                drift,
                flushing: false,
                wake: None,
                role: (Role::Learner, Term(0), None),
                stopped: None,
            },
        );
        self.start(node);
    }

    pub(super) fn hash(&self) -> blake3::Hash {
        self.hash.finalize()
    }

    fn local(&self, node: NodeId) -> Instant {
        let drift = self.nodes[&node].drift;
        Instant(self.now + self.now / 1_000 * drift / 1_000)
    }

    /// World time at which a node's clock shows `instant`, or a little later.
    fn global(&self, node: NodeId, instant: Instant) -> u64 {
        let drift = u128::from(self.nodes[&node].drift);
        let at = u128::from(instant.0) * 1_000_000 / (1_000_000 + drift);
        // The division of `local` rounds down in steps of a microsecond.
        u64::try_from(at).unwrap_or(u64::MAX).saturating_add(2_000)
    }

    fn at(&mut self, time: u64, event: Event) {
        let number = self.next_event;
        self.next_event += 1;
        self.events.insert((time, number), event);
    }

    // ---- life and death -----------------------------------------------------------------------

    pub(super) fn is_up(&self, node: NodeId) -> bool {
        self.nodes[&node].machine.is_some()
    }

    /// Loses what was not flushed, but for a random beginning of it.
    pub(super) fn crash(&mut self, node: NodeId) {
        let keep = self.rng.next_u64();
        let state = self.nodes.get_mut(&node).unwrap();
        state.machine = None;
        let volatile = std::mem::take(&mut state.disk.volatile);
        let kept = if keep.is_multiple_of(2) {
            0
        } else {
            (keep / 2) as usize % (volatile.len() + 1)
        };
        for (_, record) in volatile.into_iter().take(kept) {
            state.durable.record(&record);
            state.disk.durable.push(record);
        }
        state.view = state.durable.clone();
        state.app = state.disk.checkpoint.clone();
        state.snapshots.clear();
        state.received.clear();
        state.flushing = false;
        state.wake = None;
        state.role = (Role::Learner, Term(0), None);
    }

    pub(super) fn start(&mut self, node: NodeId) {
        let now = self.local(node);
        let seed = self.seed.child("node").index(node.0);
        let state = self.nodes.get_mut(&node).unwrap();
        assert!(state.machine.is_none(), "it runs already");
        state.life += 1;
        let view = View::of(state.disk.durable.iter());
        let recovered = Recovered {
            vote: view.vote.clone(),
            purged: view.purged,
            committed: view.committed,
            entries: view.entries.values().cloned().collect(),
            applied: state.disk.checkpoint.applied.clone(),
        };
        recovered.validate().expect("a crash leaves a usable log");
        let seed = seed.index(state.life);
        let machine = RaftMachine::new(state.options.clone(), recovered, seed, now);
        state.machine = Some(machine);
        self.input(node, Input::Tick);
    }

    // ---- inputs -------------------------------------------------------------------------------

    pub(super) fn input(&mut self, node: NodeId, input: Input) {
        let now = self.local(node);
        let state = self.nodes.get_mut(&node).unwrap();
        let Some(machine) = &mut state.machine else {
            return;
        };
        let mut out = Outbox::new();
        machine.step(now, input, &mut out);
        machine.check();
        let effects: Vec<_> = out.drain().collect();
        for effect in effects {
            let line = format!("{} {node} {:?}\n", self.now, effect);
            self.hash.update(line.as_bytes());
            self.effect(node, effect);
        }
        self.schedule(node);
    }

    fn schedule(&mut self, node: NodeId) {
        let Some(machine) = &self.nodes[&node].machine else {
            return;
        };
        let Some(deadline) = machine.deadline() else {
            return;
        };
        let at = self.global(node, deadline).max(self.now);
        let state = self.nodes.get_mut(&node).unwrap();
        if state.wake == Some(at) {
            return;
        }
        state.wake = Some(at);
        let life = state.life;
        self.at(at, Event::Tick(node, life, at));
    }

    pub(super) fn propose(&mut self, node: NodeId) -> ProposalId {
        let proposal = ProposalId(self.next_name);
        self.next_name += 1;
        let mut command = vec![0; 8 + self.rng.below(200) as usize];
        command[..8].copy_from_slice(&proposal.0.to_le_bytes());
        self.proposed.insert(proposal, None);
        self.input(node, Input::Propose { proposal, command });
        proposal
    }

    pub(super) fn read(&mut self, node: NodeId, policy: ReadPolicy) -> ReadId {
        let read = ReadId(self.next_name);
        self.next_name += 1;
        let floor = self.seen;
        self.open_reads.insert(read, OpenRead { floor });
        self.input(node, Input::Read { read, policy });
        read
    }

    pub(super) fn change(
        &mut self,
        node: NodeId,
        voters: impl IntoIterator<Item = u64>,
        learners: impl IntoIterator<Item = u64>,
    ) -> ProposalId {
        let proposal = ProposalId(self.next_name);
        self.next_name += 1;
        self.proposed.insert(proposal, None);
        self.changes.insert(proposal);
        self.input(
            node,
            Input::ChangeMembership {
                proposal,
                voters: voters.into_iter().map(NodeId).collect(),
                learners: learners.into_iter().map(NodeId).collect(),
            },
        );
        proposal
    }

    // ---- effects ------------------------------------------------------------------------------

    fn effect(&mut self, node: NodeId, effect: Effect) {
        let life = self.nodes[&node].life;
        match effect {
            Effect::Send { to, message } => self.send(node, to, message),
            Effect::Persist { write, record } => self.persist(node, write, record),
            Effect::Apply { entries } => {
                let mut through = None;
                for entry in entries {
                    self.apply(node, entry.id, &entry.payload);
                    through = Some(entry.id);
                }
                let through = through.expect("an order to apply names entries");
                self.reads_take_place(node);
                let input = Box::new(Input::Applied { through });
                self.at(self.now, Event::Input(node, life, input));
            }
            Effect::Proposed { proposal, result } => {
                if let Ok(id) = &result {
                    self.seen = self.seen.max(id.index);
                    let applied = self.nodes[&node].app.applied.last;
                    assert!(
                        self.changes.contains(&proposal) || applied < Some(*id),
                        "a command is said to be committed before it is applied: whoever waits \
                         for its outcome counts on it"
                    );
                }
                let before = self.proposed.insert(proposal, Some(result));
                assert_eq!(before, Some(None), "a proposal is answered once");
            }
            Effect::ReadReady { read, result } => {
                let open = self
                    .open_reads
                    .remove(&read)
                    .expect("a read is answered once");
                if let Ok(index) = &result {
                    assert!(
                        *index >= open.floor,
                        "law linearizable: read {read:?} at {node} is answered {index}, \
                         {} was seen before it was asked",
                        open.floor
                    );
                    // The index may be that of an entry which is not yet committed: the read takes
                    // place when it is applied, if ever.
                    self.waiting_reads.push((node, life, *index));
                    self.reads_take_place(node);
                }
                self.reads.insert(read, result);
            }
            Effect::BuildSnapshot => {
                let delay = self.rng.between(MS, 20 * MS);
                self.at(self.now + delay, Event::Built(node, life));
            }
            Effect::SendSnapshot {
                to,
                transfer,
                header,
                meta,
            } => self.send_snapshot(node, to, transfer, header, &meta),
            Effect::InstallSnapshot { meta } => {
                let delay = self.rng.between(MS, 20 * MS);
                self.at(self.now + delay, Event::Install(node, life, Box::new(meta)));
            }
            Effect::SnapshotReply {
                to,
                transfer,
                answer,
            } => {
                let result = if self.carries(node, to) {
                    Ok(answer)
                } else {
                    Err("lost".to_owned())
                };
                let delay = self.delay();
                let life = self.nodes[&to].life;
                self.at(
                    self.now + delay,
                    Event::SnapshotEnds {
                        to,
                        life,
                        transfer,
                        result,
                    },
                );
            }
            Effect::RoleChanged {
                role, term, leader, ..
            } => {
                self.role_changed(node, role, term, leader);
            }
            Effect::Stopped { reason } => {
                self.nodes.get_mut(&node).unwrap().stopped = Some(reason);
            }
        }
    }

    fn reads_take_place(&mut self, node: NodeId) {
        let (applied, life) = (self.applied(node), self.nodes[&node].life);
        let seen = &mut self.seen;
        self.waiting_reads.retain(|(at, of, index)| {
            let ready = *at == node && *of == life && *index <= applied;
            if ready {
                *seen = (*seen).max(*index);
            }
            let gone = *at == node && *of != life;
            !ready && !gone
        });
    }

    fn delay(&mut self) -> u64 {
        self.rng.between(self.weather.delay.0, self.weather.delay.1)
    }

    fn carries(&mut self, from: NodeId, to: NodeId) -> bool {
        !self.cut.contains(&(from, to)) && !self.rng.chance(self.weather.loss, 1_000)
    }

    fn send(&mut self, from: NodeId, to: NodeId, message: Vec<u8>) {
        self.sent += 1;
        self.check_vote(from, to, &message);
        let copies = 1 + u64::from(self.rng.chance(self.weather.twice, 1_000));
        for _ in 0..copies {
            if !self.carries(from, to) || !self.nodes.contains_key(&to) {
                continue;
            }
            let delay = self.delay();
            let input = Input::Message {
                from,
                message: message.clone(),
            };
            // A message reaches whichever life of the node is up.
            self.at(self.now + delay, Event::Input(to, 0, Box::new(input)));
        }
    }

    /// Who votes, votes once in a term, whatever happens in between.
    fn check_vote(&mut self, from: NodeId, to: NodeId, message: &[u8]) {
        let message = Message::decode(from, message).expect("machines understand each other");
        let ballot = match message {
            Message::Request {
                body: Request::Vote { ballot, .. },
                ..
            } => ballot,
            Message::Reply {
                body: Reply::Vote {
                    ballot, granted, ..
                },
                ..
            } if granted && !ballot.granted && ballot.node == to => ballot,
            _ => return,
        };
        // A pre-vote is answered with the voter's present ballot, which promises nothing new.
        let vote = self.votes.entry((from, ballot.term)).or_insert(ballot.node);
        assert_eq!(
            *vote, ballot.node,
            "law one vote: {from} votes twice in {}",
            ballot.term
        );
    }

    fn persist(&mut self, node: NodeId, write: WriteId, record: Record) {
        if let Record::Entry { id, payload } = &record {
            let before = id.index.0.checked_sub(1).map(LogIndex);
            let view = &self.nodes[&node].view;
            let previous = before.and_then(|index| view.id_at(index));
            let known = self
                .contents
                .entry(*id)
                .or_insert_with(|| (previous, payload.clone()));
            assert_eq!(
                known.1, *payload,
                "law log matching: {id:?} has two contents (second at {node})"
            );
            if let (Some(known), Some(previous)) = (known.0, previous) {
                assert_eq!(
                    known, previous,
                    "law log matching: {id:?} follows two entries (second at {node})"
                );
            }
        }
        let delay = self.rng.between(self.weather.flush.0, self.weather.flush.1);
        let state = self.nodes.get_mut(&node).unwrap();
        state.view.record(&record);
        state.disk.volatile.push((write, record));
        if !std::mem::replace(&mut state.flushing, true) {
            let life = state.life;
            // A flush takes what is there when it begins; here, when the first write comes.
            self.at(self.now + delay, Event::Flushed(node, life, write));
        }
    }

    fn flushed(&mut self, node: NodeId, write: WriteId) {
        let delay = self.rng.between(self.weather.flush.0, self.weather.flush.1);
        let state = self.nodes.get_mut(&node).unwrap();
        state.flushing = false;
        let rest = state
            .disk
            .volatile
            .iter()
            .position(|(number, _)| *number > write)
            .unwrap_or(state.disk.volatile.len());
        for (_, record) in state.disk.volatile.drain(..rest) {
            state.durable.record(&record);
            state.disk.durable.push(record);
        }
        if let Some((last, _)) = state.disk.volatile.last() {
            let (last, life) = (*last, state.life);
            state.flushing = true;
            self.at(self.now + delay, Event::Flushed(node, life, last));
        }
        self.input(node, Input::Durable { write });
    }

    fn apply(&mut self, node: NodeId, id: LogId, payload: &Payload) {
        let state = self.nodes.get_mut(&node).unwrap();
        let before = state.app.applied.last.map_or(LogIndex(0), |id| id.index);
        assert_eq!(
            before.next(),
            id.index,
            "entries are applied in order, once"
        );
        state.app.apply(id, payload);
        let digest = state.app.digest;
        if let Payload::Command(_) = payload {
            self.commands += 1;
        }
        match self.committed.get(&id.index) {
            Some(known) => assert_eq!(
                *known,
                (id, digest),
                "law state machine safety: {node} applies something else at {}",
                id.index
            ),
            None => {
                self.committed.insert(id.index, (id, digest));
                self.check_quorum(id);
            }
        }
    }

    /// An entry that somebody applies for the first time is durable at a majority.
    fn check_quorum(&self, id: LogId) {
        if self.quorum_of.is_empty() {
            return;
        }
        let holders = self
            .quorum_of
            .iter()
            .filter(|node| {
                let state = &self.nodes[node];
                let kept = state.disk.checkpoint.applied.last;
                state.durable.id_at(id.index) == Some(id)
                    || kept.is_some_and(|kept| kept.index >= id.index)
            })
            .count();
        assert!(
            holders * 2 > self.quorum_of.len(),
            "law committed on a quorum: {id:?} is applied, but durable at {holders} of {}",
            self.quorum_of.len()
        );
    }

    fn role_changed(&mut self, node: NodeId, role: Role, term: Term, leader: Option<NodeId>) {
        let state = self.nodes.get_mut(&node).unwrap();
        let life = state.life;
        assert!(
            term >= state.role.1,
            "law monotonic term: {node} goes from {} to {term}",
            state.role.1
        );
        state.role = (role, term, leader);
        if role != Role::Leader || term == Term(0) {
            return;
        }
        let known = self.leaders.entry(term).or_insert((node, life));
        assert_eq!(
            *known,
            (node, life),
            "law election safety: {term} has two leaders"
        );
        let state = &self.nodes[&node];
        let covered = state.app.applied.last.map_or(LogIndex(0), |id| id.index);
        for (index, (id, _)) in self.committed.range(covered.next()..) {
            if id.term < term {
                assert_eq!(
                    state.view.id_at(*index),
                    Some(*id),
                    "law leader completeness: {node} leads {term} without {id:?}"
                );
            }
        }
    }

    // ---- snapshots ----------------------------------------------------------------------------

    fn built(&mut self, node: NodeId) {
        let state = self.nodes.get_mut(&node).unwrap();
        let id = SnapshotId(state.next_snapshot);
        state.next_snapshot += 1;
        state.disk.checkpoint = state.app.clone();
        state.snapshots = BTreeMap::from([(id, state.app.clone())]);
        let meta = SnapshotMeta {
            id,
            applied: state.app.applied.clone(),
        };
        self.input(node, Input::SnapshotBuilt { meta });
    }

    fn send_snapshot(
        &mut self,
        from: NodeId,
        to: NodeId,
        transfer: u64,
        header: Vec<u8>,
        meta: &SnapshotMeta,
    ) {
        let app = self.nodes[&from].snapshots.get(&meta.id).cloned();
        let app = app.expect("only the readable snapshot is sent");
        assert_eq!(app.applied, meta.applied);
        let delay = self.delay() * 3 + self.state_takes;
        *self.states_sent.entry(to).or_default() += 1;
        if self.carries(from, to) && self.nodes.contains_key(&to) {
            let app = Box::new(app);
            self.at(
                self.now + delay,
                Event::Snapshot {
                    to,
                    from,
                    transfer,
                    header,
                    app,
                },
            );
        } else {
            let life = self.nodes[&from].life;
            self.at(
                self.now + delay,
                Event::SnapshotEnds {
                    to: from,
                    life,
                    transfer,
                    result: Err("lost".to_owned()),
                },
            );
        }
    }

    fn installed(&mut self, node: NodeId, meta: &SnapshotMeta) {
        let state = self.nodes.get_mut(&node).unwrap();
        let app = state.received.remove(&meta.id);
        let app = app.expect("what was received is kept until it is in place");
        assert_eq!(app.applied, meta.applied);
        state.app = app.clone();
        state.disk.checkpoint = app.clone();
        state.snapshots = BTreeMap::from([(meta.id, app.clone())]);
        let last = app.applied.last.expect("a snapshot holds something");
        let known = self.committed.get(&last.index);
        assert_eq!(
            known,
            Some(&(last, app.digest)),
            "law state machine safety: {node} installs another state"
        );
        self.input(node, Input::SnapshotInstalled { id: meta.id });
    }

    // ---- running ------------------------------------------------------------------------------

    fn event(&mut self, event: Event) {
        let alive = |world: &Self, node: NodeId, life: u64| {
            world.is_up(node) && world.nodes[&node].life == life
        };
        match event {
            Event::Input(node, life, input) => {
                if life == 0 || alive(self, node, life) {
                    self.input(node, *input);
                }
            }
            Event::Tick(node, life, at) => {
                if alive(self, node, life) && self.nodes[&node].wake == Some(at) {
                    self.nodes.get_mut(&node).unwrap().wake = None;
                    self.input(node, Input::Tick);
                }
            }
            Event::Flushed(node, life, write) => {
                if alive(self, node, life) {
                    self.flushed(node, write);
                }
            }
            Event::Built(node, life) => {
                if alive(self, node, life) {
                    self.built(node);
                }
            }
            Event::Install(node, life, meta) => {
                if alive(self, node, life) {
                    self.installed(node, &meta);
                }
            }
            Event::Snapshot {
                to,
                from,
                transfer,
                header,
                app,
            } => self.snapshot_arrives(to, from, transfer, header, *app),
            Event::SnapshotEnds {
                to,
                life,
                transfer,
                result,
            } => {
                if alive(self, to, life) {
                    self.input(to, Input::SnapshotSent { transfer, result });
                }
            }
        }
    }

    fn snapshot_arrives(
        &mut self,
        to: NodeId,
        from: NodeId,
        transfer: u64,
        header: Vec<u8>,
        app: App,
    ) {
        if !self.is_up(to) {
            let life = self.nodes[&from].life;
            let result = Err("nobody is there".to_owned());
            self.event(Event::SnapshotEnds {
                to: from,
                life,
                transfer,
                result,
            });
            return;
        }
        // The transport gives up by itself when no answer comes.
        let life = self.nodes[&from].life;
        self.at(
            self.now + 1_000 * MS,
            Event::SnapshotEnds {
                to: from,
                life,
                transfer,
                result: Err("no answer".to_owned()),
            },
        );
        let state = self.nodes.get_mut(&to).unwrap();
        let id = SnapshotId(state.next_snapshot);
        state.next_snapshot += 1;
        state.received.insert(id, app);
        self.input(
            to,
            Input::SnapshotReceived {
                from,
                transfer,
                header,
                id,
            },
        );
    }

    /// Handles the next event; says whether there was one before `until`.
    fn step(&mut self, until: u64) -> bool {
        let Some((&(time, number), _)) = self.events.first_key_value() else {
            self.now = until;
            return false;
        };
        if time > until {
            self.now = until;
            return false;
        }
        self.now = self.now.max(time);
        let event = self.events.remove(&(time, number)).unwrap();
        self.event(event);
        true
    }

    pub(super) fn run(&mut self, time: Duration) {
        let until = self.now + time.as_nanos() as u64;
        while self.step(until) {}
    }

    /// Runs until `done`, which must come within `limit`.
    pub(super) fn run_until(
        &mut self,
        limit: Duration,
        what: &str,
        mut done: impl FnMut(&Self) -> bool,
    ) {
        let until = self.now + limit.as_nanos() as u64;
        while !done(self) {
            assert!(
                self.step(until),
                "law liveness: {what} within {limit:?}\n{}",
                self.describe()
            );
        }
    }

    // ---- looking ------------------------------------------------------------------------------

    /// The node that leads the highest term, among those that are up.
    pub(super) fn leader(&self) -> Option<NodeId> {
        self.nodes
            .iter()
            .filter(|(_, node)| node.machine.is_some() && node.role.0 == Role::Leader)
            .max_by_key(|(_, node)| node.role.1)
            .map(|(id, _)| *id)
    }

    /// Voters and learners, as the leader knows them.
    pub(super) fn members(&self) -> BTreeSet<NodeId> {
        let leader = self.leader().expect("somebody leads");
        let status = self.nodes[&leader].machine.as_ref().unwrap().status();
        let voters = status.membership.voters.into_iter().flatten();
        voters.chain(status.membership.learners).collect()
    }

    pub(super) fn await_leader(&mut self, limit: Duration) -> NodeId {
        self.run_until(limit, "a leader", |world| world.leader().is_some());
        self.leader().unwrap()
    }

    /// Proposes at whoever leads until a command is committed; the index of it.
    pub(super) fn commit(&mut self, limit: Duration) -> LogIndex {
        let until = self.now + limit.as_nanos() as u64;
        loop {
            assert!(
                self.now < until,
                "law liveness: a commit within {limit:?}\n{}",
                self.describe()
            );
            if let Some(leader) = self.leader() {
                let proposal = self.propose(leader);
                let give_up = (self.now + 200 * MS).min(until);
                while self.proposed[&proposal].is_none() && self.step(give_up) {}
                if let Some(Some(Ok(id))) = self.proposed.get(&proposal) {
                    return id.index;
                }
            }
            self.run(Duration::from_millis(10));
        }
    }

    pub(super) fn applied(&self, node: NodeId) -> LogIndex {
        let last = self.nodes[&node].app.applied.last;
        last.map_or(LogIndex(0), |id| id.index)
    }

    /// Waits until these nodes have the same state.
    pub(super) fn converge(&mut self, nodes: &[u64], limit: Duration) {
        self.run_until(limit, "the same state everywhere", |world| {
            let mut states = nodes.iter().map(|node| &world.nodes[&NodeId(*node)].app);
            let first = states.next().unwrap();
            states.all(|state| state == first)
        });
    }

    pub(super) fn answer(&mut self, read: ReadId, limit: Duration) -> Result<LogIndex, RaftError> {
        self.run_until(limit, "an answer to a read", |world| {
            world.reads.contains_key(&read)
        });
        self.reads[&read].clone()
    }

    pub(super) fn fate(
        &mut self,
        proposal: ProposalId,
        limit: Duration,
    ) -> Result<LogId, RaftError> {
        self.run_until(limit, "the fate of a proposal", |world| {
            world.proposed[&proposal].is_some()
        });
        self.proposed[&proposal].clone().unwrap()
    }

    fn describe(&self) -> String {
        let mut text = String::new();
        for (id, node) in &self.nodes {
            let status = node.machine.as_ref().map(RaftMachine::status);
            text += &format!("{id} life {} {status:?}\n", node.life);
        }
        text
    }

    pub(super) fn draw(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// Cuts everything between two sides, both ways.
    pub(super) fn part(&mut self, one: &[u64], other: &[u64]) {
        for a in one {
            for b in other {
                self.cut.insert((NodeId(*a), NodeId(*b)));
                self.cut.insert((NodeId(*b), NodeId(*a)));
            }
        }
    }
}
