//! Whole nodes on a small network: fixed delays, crashes that lose what was not flushed.

mod ask;
mod sessions;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex};

use super::peer::{PeerBody, PeerMessage};
use super::request::{
    CallId, ClientId, Consistency, NodeError, Request, RequestBody, Response, ResponseBody,
};
use super::snapshots::PARTS_PER_STEP;
use super::{Effect, Event, Input, Node, OpenError, Options, Tuning};
use crate::disk::{Disk, DiskError, FileName, FlushId, MemDisk};
use crate::id::{GroupId, InodeId, Lane, LogIndex, NodeId, RequestSeq, SessionId};
use crate::machine::{Machine, Outbox};
use crate::namespace::error::FsError;
use crate::namespace::key::Key;
use crate::namespace::op::{Answer, Caller, Op, Query, Reply, SessionParams};
use crate::raft;
use crate::rng::Seed;
use crate::store::{
    CheckpointId, MemStore, Pressure, StateStore, StateView, StoreError, Visit, WriteBatch,
};
use crate::time::{Duration, Instant};
use crate::transport::Class;
use crate::wal::WalOptions;

/// A disk whose owner can see and break it; a flush makes durable what was there when it began.
#[derive(Clone, Default)]
struct TestDisk(Arc<Mutex<DiskState>>);

#[derive(Default)]
struct DiskState {
    now: MemDisk,
    flushing: BTreeMap<FlushId, BTreeMap<FileName, Vec<u8>>>,
    durable: BTreeMap<FileName, Vec<u8>>,
}

impl TestDisk {
    fn state(&self) -> std::sync::MutexGuard<'_, DiskState> {
        self.0.lock().unwrap()
    }

    fn finish(&self, flush: FlushId) {
        let mut state = self.state();
        if let Some(files) = state.flushing.remove(&flush) {
            state.durable = files;
        }
    }

    fn crash(&self) {
        let mut state = self.state();
        state.flushing.clear();
        state.now.files = state.durable.clone();
    }
}

impl Disk for TestDisk {
    fn list(&self) -> Result<Vec<(FileName, u64)>, DiskError> {
        self.state().now.list()
    }

    fn create(&mut self, file: &str, length: u64) -> Result<(), DiskError> {
        self.state().now.create(file, length)
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        self.state().now.rename(from, to)
    }

    fn remove(&mut self, file: &str) -> Result<(), DiskError> {
        self.state().now.remove(file)
    }

    fn read(&self, file: &str, offset: u64, into: &mut [u8]) -> Result<(), DiskError> {
        self.state().now.read(file, offset, into)
    }

    fn write(&mut self, file: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.state().now.write(file, offset, bytes)
    }

    fn start_flush(&mut self) -> FlushId {
        let mut state = self.state();
        let flush = state.now.start_flush();
        let files = state.now.files.clone();
        state.flushing.insert(flush, files);
        flush
    }
}

/// A store whose owner can see and break it; a checkpoint makes durable what was there when it
/// began.
#[derive(Clone, Default)]
struct TestStore(Arc<Mutex<StoreState>>);

#[derive(Default)]
struct StoreState {
    now: MemStore,
    running: BTreeMap<CheckpointId, (MemStore, usize)>,
    durable: MemStore,
    full: bool,
    /// Changes that may be without a checkpoint; `None` when there is no bound.
    changes_max: Option<usize>,
    /// Changes since the last checkpoint that ended well began.
    changes: usize,
    finished: usize,
}

impl TestStore {
    fn state(&self) -> std::sync::MutexGuard<'_, StoreState> {
        self.0.lock().unwrap()
    }

    fn finish(&self, checkpoint: CheckpointId) {
        let mut state = self.state();
        if let Some((store, changes)) = state.running.remove(&checkpoint) {
            state.durable = store;
            state.changes -= changes;
            state.finished += 1;
        }
    }

    fn crash(&self) {
        let mut state = self.state();
        state.running.clear();
        state.changes = 0;
        state.now = state.durable.snapshot();
    }

    /// Flips a bit in the value of a key.
    fn rot(&self, key: &[u8]) {
        let mut state = self.state();
        let mut value = state.now.get(key).unwrap().expect("the key is there");
        value[0] ^= 1;
        let mut batch = WriteBatch::default();
        batch.put(key.to_vec(), value);
        state.now.write(batch).unwrap();
        state.durable = state.now.snapshot();
    }
}

impl StateView for TestStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.state().now.get(key)
    }

    fn scan(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        let view = self.state().now.snapshot();
        view.scan(from, to, visit)
    }
}

impl StateStore for TestStore {
    type Snapshot = MemStore;

    fn pressure(&self) -> Pressure {
        let state = self.state();
        match state.changes_max {
            Some(max) if state.changes >= max => Pressure::Full,
            Some(max) if state.changes >= max / 2 => Pressure::High,
            _ => Pressure::Low,
        }
    }

    fn write(&mut self, batch: WriteBatch) -> Result<(), StoreError> {
        let mut state = self.state();
        if state.full {
            return Err(StoreError::Full);
        }
        assert!(
            state.changes_max.is_none_or(|max| state.changes < max),
            "nothing is written into a full store"
        );
        state.changes += batch.changes.len();
        state.now.write(batch)
    }

    fn snapshot(&self) -> MemStore {
        self.state().now.snapshot()
    }

    fn start_checkpoint(&mut self) -> CheckpointId {
        let mut state = self.state();
        let checkpoint = state.now.start_checkpoint();
        let (store, changes) = (state.now.snapshot(), state.changes);
        state.running.insert(checkpoint, (store, changes));
        checkpoint
    }

    fn restore_begin(&mut self) -> Result<(), StoreError> {
        self.state().now.restore_begin()
    }

    fn restore_write(&mut self, batch: WriteBatch) -> Result<(), StoreError> {
        self.state().now.restore_write(batch)
    }

    fn restore_commit(&mut self) -> Result<(), StoreError> {
        let mut state = self.state();
        state.changes = 0;
        state.running.clear();
        state.now.restore_commit()
    }
}

/// What is on its way to a node.
enum Arrival {
    Message(NodeId, Vec<u8>),
    Flushed(FlushId),
    Checkpointed(CheckpointId),
}

struct Host {
    disk: TestDisk,
    store: TestStore,
    node: Option<Node<TestDisk, TestStore>>,
    lives: u64,
}

struct Cluster {
    hosts: BTreeMap<NodeId, Host>,
    now: Instant,
    /// By time, then order of sending; the node's life at that time.
    queue: BTreeMap<(Instant, u64), (NodeId, u64, Arrival)>,
    sent: u64,
    cut: BTreeSet<NodeId>,
    responses: BTreeMap<CallId, Response>,
    reports: Vec<String>,
    calls: u64,
    snapshot_log_bytes: u64,
    checkpoint_interval: Duration,
    /// Checkpoints that are still to fail.
    failing_checkpoints: u32,
    flush_ns: u64,
    /// Most segments of each log.
    segments_max: u32,
    /// Nodes whose checkpoints all fail, for want of room.
    stuck: BTreeSet<NodeId>,
    apply_entries_max: usize,
    checkpoint_log_bytes: u64,
    session_sustain: Option<Duration>,
    /// Whether nodes that have nothing form a cluster.
    bootstraps: bool,
    /// Numbers that nodes told, in order.
    numbers: Vec<(NodeId, Option<u64>)>,
    /// What leaders have told other clients.
    notices: Vec<crate::namespace::op::Notice>,
    /// What each node has told its faces, in order.
    said: Vec<(NodeId, Said)>,
}

/// What a node tells its faces, and how much of the log it knows then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    /// News of a command, and who changed data by it.
    News(LogIndex, Option<SessionId>),
    /// The answer to a question.
    Read(CallId, LogIndex),
}

const ROOT: InodeId = InodeId::ROOT;

impl Cluster {
    fn new(count: u64) -> Self {
        Self::with_snapshots_each(count, 1 << 20)
    }

    fn with_snapshots_each(count: u64, snapshot_log_bytes: u64) -> Self {
        let mut cluster = Self::of_nobody(snapshot_log_bytes);
        for id in 1..=count {
            cluster.add_host(NodeId(id), TestStore::default());
        }
        for id in 1..=count {
            cluster.start(NodeId(id)).expect("a new node starts");
        }
        cluster
    }

    fn of_nobody(snapshot_log_bytes: u64) -> Self {
        Self {
            hosts: BTreeMap::new(),
            now: Instant::ZERO,
            queue: BTreeMap::new(),
            sent: 0,
            cut: BTreeSet::new(),
            responses: BTreeMap::new(),
            reports: Vec::new(),
            calls: 0,
            snapshot_log_bytes,
            checkpoint_interval: Duration::from_millis(700),
            failing_checkpoints: 0,
            flush_ns: 200_000,
            segments_max: 1_024,
            stuck: BTreeSet::new(),
            apply_entries_max: 64,
            checkpoint_log_bytes: 8 << 20,
            session_sustain: None,
            bootstraps: true,
            numbers: Vec::new(),
            notices: Vec::new(),
            said: Vec::new(),
        }
    }

    fn add_host(&mut self, id: NodeId, store: TestStore) {
        let host = Host {
            disk: TestDisk::default(),
            store,
            node: None,
            lives: 0,
        };
        self.hosts.insert(id, host);
    }

    fn start(&mut self, id: NodeId) -> Result<(), OpenError> {
        let all: BTreeSet<NodeId> = self.hosts.keys().copied().collect();
        let host = self.hosts.get_mut(&id).unwrap();
        host.lives += 1;
        let raft = raft::Options {
            snapshot_log_bytes: self.snapshot_log_bytes,
            log_keep_entries: 2,
            log_lag_bytes_max: 0,
            ..raft::Options::new(id)
        };
        let options = Options {
            wal: WalOptions {
                record_bytes_max: 8_000,
                segment_bytes: 64 << 10,
                segments_max: self.segments_max,
                ..WalOptions::small(id)
            },
            bootstrap: self.bootstraps.then(|| all.clone()),
            peers: all.into_iter().filter(|peer| *peer != id).collect(),
            checkpoint_interval: self.checkpoint_interval,
            checkpoint_log_bytes: self.checkpoint_log_bytes,
            apply_entries_max: self.apply_entries_max,
            snapshot_part_bytes: 300,
            request_timeout: Duration::from_secs(1),
            news: true,
            session_sustain: self.session_sustain,
            session_grace: Duration::from_secs(10),
            ..Options::new(GroupId(1), raft, host.lives)
        };
        let seed = Seed::from_u64(5).index(id.0).index(host.lives);
        let node = Node::open(
            options,
            host.disk.clone(),
            host.store.clone(),
            seed,
            self.now,
        )?;
        host.node = Some(node);
        self.step(id, Event::Tick);
        Ok(())
    }

    fn kill(&mut self, id: NodeId) {
        let host = self.hosts.get_mut(&id).unwrap();
        host.node = None;
        host.disk.crash();
        host.store.crash();
    }

    fn step(&mut self, id: NodeId, event: Event) {
        let host = self.hosts.get_mut(&id).unwrap();
        let Some(node) = host.node.as_mut() else {
            return;
        };
        let mut out = Outbox::new();
        let wall_us = 1_000_000_000 + self.now.0 / 1_000;
        node.step(self.now, Input { wall_us, event }, &mut out);
        node.check();
        let life = host.lives;
        let mut parts = 0;
        for effect in out.drain() {
            match effect {
                Effect::Send { to, class, message } if self.reaches(id, to) => {
                    let said = PeerMessage::from_bytes(&message).expect("nodes send whole records");
                    let part = matches!(said.body, PeerBody::Part(_));
                    assert_eq!(class == Class::Bulk, part, "parts alone are bulk");
                    parts += usize::from(part);
                    assert!(parts <= PARTS_PER_STEP, "{parts} parts in one step");
                    let life = self.hosts[&to].lives;
                    self.send(to, life, 1_000_000, Arrival::Message(id, message));
                }
                Effect::FlushStarted { flush } => {
                    let delay = self.flush_ns;
                    self.send(id, life, delay, Arrival::Flushed(flush));
                }
                Effect::CheckpointStarted { checkpoint } => {
                    self.send(id, life, 5_000_000, Arrival::Checkpointed(checkpoint));
                }
                Effect::News { index, by, notices } => {
                    assert!(!notices.is_empty(), "there is something to tell");
                    self.said.push((id, Said::News(index, by)));
                }
                Effect::Reply { response, .. } => {
                    if let Ok(ResponseBody::Read { index, .. }) = response.result {
                        self.said.push((id, Said::Read(response.call, index)));
                    }
                    let twice = self.responses.insert(response.call, response);
                    assert_eq!(twice, None, "a call is answered once");
                }
                Effect::Notices { notices, .. } => self.notices.extend(notices),
                Effect::Numbered { metaid } => self.numbers.push((id, metaid)),
                Effect::Report { message } => self.reports.push(message),
                Effect::Stopped { reason } => self.reports.push(format!("stopped: {reason}")),
                _ => {}
            }
        }
    }

    fn reaches(&self, from: NodeId, to: NodeId) -> bool {
        !self.cut.contains(&from) && !self.cut.contains(&to)
    }

    fn send(&mut self, to: NodeId, life: u64, delay_ns: u64, arrival: Arrival) {
        self.sent += 1;
        let at = self.now + Duration::from_nanos(delay_ns);
        self.queue.insert((at, self.sent), (to, life, arrival));
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let wake = self
                .hosts
                .iter()
                .filter_map(|(id, host)| Some((host.node.as_ref()?.deadline()?, *id)))
                .min();
            let arrival = self.queue.first_key_value().map(|((at, _), _)| *at);
            let next = [wake.map(|(at, _)| at), arrival]
                .into_iter()
                .flatten()
                .min();
            let Some(next) = next.filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(next);
            if arrival.is_some_and(|at| at <= self.now) {
                let (_, (to, life, arrival)) = self.queue.pop_first().unwrap();
                self.deliver(to, life, arrival);
            } else if let Some((_, id)) = wake {
                self.step(id, Event::Tick);
            }
        }
        self.now = end;
    }

    fn deliver(&mut self, to: NodeId, life: u64, arrival: Arrival) {
        let host = &self.hosts[&to];
        if host.lives != life || host.node.is_none() {
            return;
        }
        let event = match arrival {
            Arrival::Message(from, message) => Event::Message { from, message },
            Arrival::Flushed(flush) => {
                host.disk.finish(flush);
                Event::Flushed {
                    flush,
                    result: Ok(()),
                }
            }
            Arrival::Checkpointed(checkpoint) if self.failing_checkpoints > 0 => {
                self.failing_checkpoints -= 1;
                let reason = "write error".to_owned();
                let result = Err(StoreError::Io { reason });
                Event::Checkpointed { checkpoint, result }
            }
            Arrival::Checkpointed(checkpoint) if self.stuck.contains(&to) => {
                let result = Err(StoreError::Full);
                Event::Checkpointed { checkpoint, result }
            }
            Arrival::Checkpointed(checkpoint) => {
                host.store.finish(checkpoint);
                Event::Checkpointed {
                    checkpoint,
                    result: Ok(()),
                }
            }
        };
        self.step(to, event);
    }

    fn node(&self, id: NodeId) -> &Node<TestDisk, TestStore> {
        self.hosts[&id].node.as_ref().expect("the node runs")
    }

    fn leader(&mut self) -> NodeId {
        for _ in 0..100 {
            let leads = |id: &&NodeId| {
                let host = &self.hosts[id];
                host.node.as_ref().is_some_and(|node| node.status().leads) && !self.cut.contains(id)
            };
            if let Some(id) = self.hosts.keys().find(leads).copied() {
                return id;
            }
            self.run_for(Duration::from_millis(50));
        }
        panic!("no leader within five seconds");
    }

    fn follower(&mut self) -> NodeId {
        let leader = self.leader();
        *self
            .hosts
            .keys()
            .find(|id| **id != leader && self.hosts[id].node.is_some())
            .unwrap()
    }

    fn call(&mut self, id: NodeId, body: RequestBody) -> Result<ResponseBody, NodeError> {
        self.calls += 1;
        let call = CallId(self.calls);
        let request = Request { call, body };
        self.step(
            id,
            Event::Request {
                client: ClientId(1),
                request,
            },
        );
        for _ in 0..300 {
            if let Some(response) = self.responses.remove(&call) {
                return response.result;
            }
            self.run_for(Duration::from_millis(10));
        }
        panic!("a call has no answer after three seconds");
    }

    /// Asks what one step answers.
    fn call_at_once(&mut self, id: NodeId, body: RequestBody) -> Result<ResponseBody, NodeError> {
        self.calls += 1;
        let call = CallId(self.calls);
        let (client, request) = (ClientId(1), Request { call, body });
        self.step(id, Event::Request { client, request });
        let response = self.responses.remove(&call);
        response.expect("it is answered at once").result
    }

    fn write(&mut self, id: NodeId, seq: u64, op: Op) -> Result<ResponseBody, NodeError> {
        let (session, lane, seq) = (SessionId(1), Lane(0), RequestSeq(seq));
        self.call(
            id,
            RequestBody::Write {
                session,
                lane,
                seq,
                op,
            },
        )
    }

    /// Opens the session under which the others write.
    fn open_session(&mut self) {
        let leader = self.leader();
        let op = Op::OpenSession {
            params: SessionParams::unrestricted(),
        };
        let (session, lane, seq) = (SessionId(0), Lane(0), RequestSeq(0));
        let body = self
            .call(
                leader,
                RequestBody::Write {
                    session,
                    lane,
                    seq,
                    op,
                },
            )
            .unwrap();
        let ResponseBody::Written { outcome, .. } = body else {
            panic!("{body:?}")
        };
        assert_eq!(outcome.result, Ok(Reply::Session(SessionId(1))));
    }

    fn mkdir(&mut self, name: &str, seq: u64) -> InodeId {
        let leader = self.leader();
        let body = self.write(leader, seq, mkdir(name)).unwrap();
        let ResponseBody::Written { outcome, .. } = body else {
            panic!("{body:?}")
        };
        match outcome.result {
            Ok(Reply::Node { inode, .. }) => inode,
            other => panic!("{other:?}"),
        }
    }

    fn names(&mut self, id: NodeId) -> Vec<String> {
        let (attrs, after, max) = (false, Vec::new(), 10_000);
        let query = Query::ReadDir {
            caller: caller(),
            inode: ROOT,
            attrs,
            after,
            max,
        };
        let body = RequestBody::Read {
            consistency: Consistency::Strict,
            query,
        };
        match self.call(id, body).unwrap() {
            ResponseBody::Read {
                result: Ok(Answer::Entries { entries, .. }),
                ..
            } => entries
                .into_iter()
                .map(|entry| String::from_utf8(entry.name).unwrap())
                .filter(|name| !name.starts_with('.'))
                .collect(),
            other => panic!("{other:?}"),
        }
    }

    fn contents(&self, id: NodeId) -> (LogIndex, BTreeMap<Vec<u8>, Vec<u8>>) {
        let node = self.node(id);
        let mut pairs = BTreeMap::new();
        let visit: Visit<'_> = &mut |key, value| {
            pairs.insert(key.to_vec(), value.to_vec());
            std::ops::ControlFlow::Continue(())
        };
        node.namespace()
            .store()
            .scan(Bound::Unbounded, Bound::Unbounded, visit)
            .unwrap();
        (node.namespace().applied().index, pairs)
    }

    fn assert_converged(&mut self) {
        self.run_for(Duration::from_secs(3));
        let ids: Vec<NodeId> = self.hosts.keys().copied().collect();
        let first = self.contents(ids[0]);
        for id in &ids[1..] {
            assert!(self.contents(*id) == first, "{id} differs from {}", ids[0]);
        }
    }
}

fn caller() -> Caller {
    Caller {
        session: SessionId(1),
        uid: 0,
        gids: vec![0],
    }
}

fn mkdir(name: &str) -> Op {
    Op::Mkdir {
        caller: caller(),
        parent: ROOT,
        name: name.as_bytes().to_vec(),
        mode: 0o755,
        umask: 0,
        copy_setgid: false,
    }
}

#[test]
fn what_was_acknowledged_can_be_read_strictly_at_every_node() {
    let mut cluster = Cluster::new(3);
    cluster.open_session();
    cluster.mkdir("a", 1);
    for id in 1..=3 {
        assert_eq!(cluster.names(NodeId(id)), ["a"]);
    }
    cluster.assert_converged();
}

#[test]
fn a_repeated_request_takes_effect_once_also_at_a_new_leader() {
    let mut cluster = Cluster::new(3);
    cluster.open_session();
    let made = cluster.mkdir("a", 1);
    let leader = cluster.leader();
    cluster.kill(leader);
    let next = cluster.leader();
    assert_ne!(next, leader);
    let body = cluster.write(next, 1, mkdir("a")).unwrap();
    let ResponseBody::Written { outcome, .. } = body else {
        panic!("{body:?}")
    };
    assert!(outcome.repeated);
    assert!(matches!(outcome.result, Ok(Reply::Node { inode, .. }) if inode == made));
    cluster.start(leader).unwrap();
    cluster.assert_converged();
}

#[test]
fn a_follower_names_the_leader() {
    let mut cluster = Cluster::new(3);
    cluster.open_session();
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let refused = cluster.write(follower, 1, mkdir("a"));
    assert_eq!(
        refused,
        Err(NodeError::NotLeader {
            leader: Some(leader)
        })
    );
}

#[test]
fn a_leader_without_a_majority_acknowledges_nothing() {
    let mut cluster = Cluster::new(3);
    cluster.open_session();
    let leader = cluster.leader();
    cluster.cut.insert(leader);
    let refused = cluster.write(leader, 1, mkdir("lost"));
    assert!(refused.is_err(), "{refused:?}");
    let query = Query::GetAttr {
        caller: caller(),
        inode: ROOT,
        opened: false,
    };
    let read = RequestBody::Read {
        consistency: Consistency::Strict,
        query,
    };
    assert!(cluster.call(leader, read).is_err());
    let other = cluster.leader();
    assert_ne!(other, leader);
    cluster.cut.clear();
    cluster.assert_converged();
}

#[test]
fn everything_survives_the_crash_of_all_nodes() {
    let mut cluster = Cluster::new(3);
    cluster.open_session();
    for seq in 1..=30 {
        cluster.mkdir(&format!("d{seq:02}"), seq);
    }
    for id in 1..=3 {
        cluster.kill(NodeId(id));
    }
    for id in 1..=3 {
        cluster.start(NodeId(id)).unwrap();
    }
    let leader = cluster.leader();
    assert_eq!(cluster.names(leader).len(), 30);
    cluster.assert_converged();
}

#[test]
fn a_node_far_behind_gets_the_state_in_parts() {
    let mut cluster = Cluster::with_snapshots_each(3, 2_000);
    cluster.open_session();
    let late = cluster.follower();
    cluster.kill(late);
    for seq in 1..=60 {
        cluster.mkdir(&format!("d{seq:02}"), seq);
    }
    let leader = cluster.leader();
    cluster.run_for(Duration::from_secs(2));
    let purged = cluster.node(leader).raft_status().unwrap().purged;
    assert!(
        purged.is_some_and(|id| id.index > LogIndex(10)),
        "{purged:?}"
    );
    cluster.start(late).unwrap();
    cluster.assert_converged();
    assert_eq!(cluster.names(late).len(), 60);
    // And it comes back from its own disk afterwards.
    cluster.kill(late);
    cluster.start(late).unwrap();
    cluster.assert_converged();
}

#[test]
fn a_failed_checkpoint_does_not_keep_help_from_a_node_far_behind() {
    let mut cluster = Cluster::with_snapshots_each(3, 2_000);
    cluster.open_session();
    let late = cluster.follower();
    cluster.kill(late);
    for seq in 1..=60 {
        cluster.mkdir(&format!("d{seq:02}"), seq);
    }
    cluster.run_for(Duration::from_secs(2));
    // From here on nothing but the retry makes a checkpoint come soon.
    cluster.checkpoint_interval = Duration::from_secs(3_600);
    for id in 1..=3 {
        if NodeId(id) != late {
            cluster.kill(NodeId(id));
            cluster.start(NodeId(id)).unwrap();
        }
    }
    cluster.leader();
    // One more, and the leader would take its disk for broken.
    cluster.failing_checkpoints = 2;
    cluster.start(late).unwrap();
    cluster.run_for(Duration::from_secs(8));
    assert_eq!(cluster.failing_checkpoints, 0, "checkpoints were tried");
    cluster.assert_converged();
}

#[test]
fn a_damaged_state_is_kept_until_a_peer_has_given_a_whole_one() {
    let mut cluster = Cluster::with_snapshots_each(3, 2_000);
    cluster.open_session();
    for seq in 1..=60 {
        cluster.mkdir(&format!("d{seq:02}"), seq);
    }
    cluster.run_for(Duration::from_secs(2));
    let broken = cluster.follower();
    cluster.hosts[&broken].store.rot(&Key::Inode(ROOT).bytes());
    // The next change of the root touches the damage.
    cluster.mkdir("after", 61);
    cluster.run_for(Duration::from_secs(1));
    assert!(
        cluster.node(broken).stopped().is_some(),
        "the node stops rather than guess"
    );
    let keys = |cluster: &Cluster| cluster.hosts[&broken].store.state().now.len();
    let before = keys(&cluster);
    cluster.kill(broken);
    // No peer can be reached: what there is stays.
    cluster.cut.insert(broken);
    cluster.start(broken).unwrap();
    cluster.run_for(Duration::from_secs(10));
    assert!(cluster.node(broken).status().repairing);
    assert!(
        keys(&cluster) + 20 > before,
        "{} of {before}",
        keys(&cluster)
    );
    cluster.cut.clear();
    cluster.assert_converged();
    assert!(
        cluster
            .reports
            .iter()
            .any(|line| line.starts_with("healed from a peer"))
    );
    assert_eq!(cluster.names(broken).len(), 61);
}

#[test]
fn a_hole_in_the_log_is_healed_from_a_peer_before_taking_part() {
    let mut cluster = Cluster::new(3);
    cluster.open_session();
    for seq in 1..=10 {
        cluster.mkdir(&format!("d{seq:02}"), seq);
    }
    let broken = cluster.follower();
    cluster.kill(broken);
    // Lose the checkpoints too, so that the hole is not covered by the node's own state.
    cluster.hosts[&broken].store.state().durable = MemStore::new();
    cluster.hosts[&broken].store.crash();
    spoil(&cluster.hosts[&broken].disk, b"d05");
    cluster.start(broken).unwrap();
    cluster.run_for(Duration::from_millis(1));
    assert!(cluster.node(broken).status().repairing);
    cluster.assert_converged();
    assert!(
        cluster
            .reports
            .iter()
            .any(|line| line.starts_with("healed from a peer"))
    );
    // Healed for good: the next start finds no hole.
    cluster.kill(broken);
    cluster.start(broken).unwrap();
    cluster.run_for(Duration::from_millis(1));
    assert!(!cluster.node(broken).status().repairing);
    cluster.assert_converged();
}

/// Flips a bit of the first entry whose bytes hold `text`.
fn spoil(disk: &TestDisk, text: &[u8]) {
    let mut state = disk.state();
    for bytes in state.durable.values_mut() {
        if let Some(at) = bytes.windows(text.len()).position(|window| window == text) {
            bytes[at] ^= 1;
            state.now.files = state.durable.clone();
            return;
        }
    }
    panic!("no file holds {text:?}");
}

#[test]
fn a_full_disk_stops_the_node_and_loses_nothing() {
    let mut cluster = Cluster::new(3);
    cluster.open_session();
    cluster.mkdir("before", 1);
    let full = cluster.follower();
    let used: usize = cluster.hosts[&full]
        .disk
        .state()
        .now
        .files
        .values()
        .map(Vec::len)
        .sum();
    cluster.hosts[&full].disk.state().now.capacity_bytes = Some(used as u64);
    for seq in 2..=120 {
        cluster.mkdir(&format!("d{seq:03}"), seq);
    }
    let reason = cluster
        .node(full)
        .stopped()
        .expect("the node has stopped")
        .to_owned();
    assert!(reason.contains("log"), "{reason}");
    cluster.kill(full);
    cluster.hosts[&full].disk.state().now.capacity_bytes = None;
    cluster.start(full).unwrap();
    cluster.assert_converged();
    assert_eq!(cluster.names(full).len(), 120);
}

#[test]
fn nonsense_from_a_peer_is_dropped_and_told() {
    let mut cluster = Cluster::new(1);
    cluster.open_session();
    let message = b"not a message".to_vec();
    cluster.step(
        NodeId(1),
        Event::Message {
            from: NodeId(9),
            message,
        },
    );
    assert!(
        cluster
            .reports
            .iter()
            .any(|line| line.contains("dropped a message of n9"))
    );
    cluster.mkdir("a", 1);
}

#[test]
fn a_request_that_is_too_long_is_refused_with_the_limit() {
    let mut cluster = Cluster::new(1);
    cluster.open_session();
    let op = Op::Mkdir {
        caller: caller(),
        parent: ROOT,
        name: vec![b'x'; 2 << 20],
        mode: 0,
        umask: 0,
        copy_setgid: false,
    };
    let refused = cluster.write(NodeId(1), 1, op);
    assert!(matches!(refused, Err(NodeError::Invalid { reason }) if reason.contains("limit")));
}

/// A cluster that makes no checkpoint by time, whose stores have room for so many changes.
fn cluster_with_room(changes_max: usize) -> Cluster {
    let mut cluster = Cluster::new(3);
    // Nothing but want of room makes a checkpoint begin.
    cluster.checkpoint_interval = Duration::from_secs(3_600);
    for id in 1..=3 {
        cluster.kill(NodeId(id));
        let store = &cluster.hosts[&NodeId(id)].store;
        store.state().changes_max = Some(changes_max);
        cluster.start(NodeId(id)).unwrap();
    }
    cluster.open_session();
    cluster
}

#[test]
fn a_store_that_runs_out_of_room_is_checkpointed_without_waiting() {
    let mut cluster = cluster_with_room(300);
    for seq in 1..=60 {
        cluster.mkdir(&format!("d{seq:02}"), seq);
    }
    cluster.run_for(Duration::from_secs(1));
    for host in cluster.hosts.values() {
        let state = host.store.state();
        assert!(state.finished >= 2, "{} checkpoints", state.finished);
        assert!(state.changes < 150, "{} changes wait", state.changes);
    }
    for id in 1..=3 {
        cluster.kill(NodeId(id));
        cluster.start(NodeId(id)).unwrap();
    }
    let leader = cluster.leader();
    assert_eq!(cluster.names(leader).len(), 60);
    cluster.assert_converged();
}

#[test]
fn much_that_was_applied_is_checkpointed_without_waiting() {
    let mut cluster = Cluster::new(3);
    // Nothing but what a restart would have to replay makes a checkpoint begin.
    cluster.checkpoint_interval = Duration::from_secs(3_600);
    cluster.restart_all();
    cluster.open_session();
    for seq in 1..=30 {
        cluster.mkdir(&format!("d{seq:02}"), seq);
    }
    cluster.run_for(Duration::from_secs(1));
    for host in cluster.hosts.values() {
        assert_eq!(host.store.state().finished, 0, "30 entries are not much");
    }
    cluster.checkpoint_log_bytes = 1_000;
    cluster.restart_all();
    let saves_soon = |cluster: &Cluster, least| {
        for (id, host) in &cluster.hosts {
            let finished = host.store.state().finished;
            assert!(finished >= least, "{id}: {finished} checkpoints");
            let left = cluster.node(*id).unsaved_bytes;
            assert!(left < 1_000, "{id}: a restart would replay {left} bytes");
        }
    };
    for seq in 31..=60 {
        cluster.mkdir(&format!("d{seq:02}"), seq);
    }
    cluster.run_for(Duration::from_millis(100));
    saves_soon(&cluster, 3);
    // What a checkpoint that failed should have held counts again.
    cluster.failing_checkpoints = 3;
    for seq in 61..=70 {
        cluster.mkdir(&format!("d{seq:02}"), seq);
    }
    let unsaved = |cluster: &Cluster| {
        let nodes = (1..=3).map(|id| cluster.node(NodeId(id)).unsaved_bytes);
        nodes.collect::<Vec<_>>()
    };
    cluster.run_for(Duration::from_millis(10));
    assert_eq!(cluster.failing_checkpoints, 0);
    let left = unsaved(&cluster);
    assert!(left.iter().all(|left| *left >= 1_000), "{left:?}");
    cluster.run_for(Duration::from_secs(2));
    saves_soon(&cluster, 4);
    cluster.restart_all();
    let leader = cluster.leader();
    assert_eq!(cluster.names(leader).len(), 70);
    cluster.assert_converged();
}

#[test]
fn a_replay_goes_on_in_portions_and_everything_else_with_it() {
    let mut cluster = Cluster::new(3);
    cluster.checkpoint_interval = Duration::from_secs(3_600);
    cluster.restart_all();
    cluster.open_session();
    for seq in 1..=100 {
        cluster.mkdir(&format!("d{seq:03}"), seq);
    }
    let id = cluster.follower();
    cluster.kill(id);
    cluster.apply_entries_max = 7;
    cluster.start(id).unwrap();
    // Up to the step that begins the replay.
    while cluster.node(id).deferred.is_empty() {
        let ((at, _), (to, life, arrival)) = cluster.queue.pop_first().unwrap();
        cluster.now = cluster.now.max(at);
        cluster.deliver(to, life, arrival);
    }
    let waiting = cluster.node(id).deferred.len();
    assert!(waiting > 80, "{waiting} entries wait");
    let begun = cluster.node(id).namespace().applied().index;
    assert_eq!(begun, LogIndex(7), "a portion was applied");
    assert_eq!(cluster.node(id).deadline(), Some(cluster.now), "at once");
    // It answers, each time after one portion more.
    let status = cluster.call_at_once(id, RequestBody::Status);
    let Ok(ResponseBody::Status(status)) = status else {
        panic!("{status:?}");
    };
    assert_eq!(status.applied, LogIndex(7));
    let leader = cluster.leader();
    let beat = cluster.node(leader).deadline().unwrap();
    cluster.now = cluster.now.max(beat);
    cluster.step(leader, Event::Tick);
    let mut steps = 1;
    while !cluster.node(id).deferred.is_empty() {
        let before = cluster.node(id).namespace().applied().index;
        cluster.step(id, Event::Tick);
        let after = cluster.node(id).namespace().applied().index;
        assert!(after.0 > before.0 && after.0 <= before.0 + 7, "{after}");
        steps += 1;
    }
    assert!(steps >= waiting / 7, "{steps} steps");
    cluster.assert_converged();
    assert_eq!(cluster.names(id).len(), 100);
}

#[test]
fn a_node_that_dies_while_it_replays_goes_on_from_its_last_checkpoint() {
    let mut cluster = Cluster::new(1);
    cluster.checkpoint_interval = Duration::from_secs(3_600);
    cluster.kill(NodeId(1));
    cluster.start(NodeId(1)).unwrap();
    cluster.open_session();
    for seq in 1..=100 {
        cluster.mkdir(&format!("d{seq:03}"), seq);
    }
    // Each life has time for a part of the replay.
    cluster.apply_entries_max = 1;
    cluster.checkpoint_log_bytes = 2_000;
    let (id, mut lives, mut reached) = (NodeId(1), 0, LogIndex(0));
    loop {
        cluster.kill(id);
        cluster.start(id).unwrap();
        for _ in 0..60 {
            let next = cluster.queue.first_key_value().map(|((at, _), _)| *at);
            cluster.step(id, Event::Tick);
            if let Some(at) = next {
                let (_, (to, life, arrival)) = cluster.queue.pop_first().unwrap();
                cluster.now = cluster.now.max(at);
                cluster.deliver(to, life, arrival);
            }
        }
        let durable = cluster.node(id).checkpointed();
        assert!(durable >= reached, "what was durable stays so");
        reached = durable;
        lives += 1;
        if cluster.node(id).namespace().applied().index > LogIndex(100) {
            break;
        }
        assert!(lives < 50, "the replay begins anew each time");
    }
    assert!(lives > 1, "the replay was never interrupted");
    let leader = cluster.leader();
    assert_eq!(cluster.names(leader).len(), 100);
}

#[test]
fn a_node_whose_checkpoints_keep_failing_stops_and_what_was_acknowledged_is_in_its_log() {
    let mut cluster = Cluster::new(1);
    cluster.open_session();
    let id = NodeId(1);
    // Now and then one fails: that is none of it.
    for seq in 1..=5 {
        cluster.failing_checkpoints = 2;
        cluster.mkdir(&format!("d{seq}"), seq);
        cluster.run_for(Duration::from_secs(5));
        assert_eq!(cluster.failing_checkpoints, 0, "checkpoints were tried");
        assert_eq!(cluster.node(id).stopped(), None);
    }
    cluster.failing_checkpoints = 3;
    cluster.mkdir("d6", 6);
    let before = cluster.node(id).checkpointed();
    cluster.run_for(Duration::from_secs(5));
    let why = cluster.node(id).stopped().expect("it stops");
    assert!(why.contains("write error"), "{why}");
    assert!(why.contains("start the node again"), "{why}");
    assert_eq!(cluster.node(id).checkpointed(), before);
    cluster.kill(id);
    cluster.start(id).unwrap();
    let leader = cluster.leader();
    assert_eq!(cluster.names(leader).len(), 6);
}

#[test]
fn a_leader_without_room_refuses_writes_and_goes_on_leading() {
    let mut cluster = cluster_with_room(200);
    cluster.stuck = cluster.hosts.keys().copied().collect();
    let leader = cluster.leader();
    let mut made = 0;
    let refused = loop {
        match cluster.write(leader, made + 1, mkdir(&format!("d{made:03}"))) {
            Ok(_) => made += 1,
            Err(error) => break error,
        }
        assert!(made < 200, "the store was never full");
    };
    assert_eq!(refused, NodeError::Overloaded);
    let term = cluster.node(leader).status().term;
    cluster.run_for(Duration::from_secs(5));
    let status = cluster.node(leader).status();
    assert!(status.leads && status.term == term, "heartbeats went on");
    assert_eq!(cluster.names(leader).len() as u64, made, "reads are served");
    // Refused is refused: the same request takes effect once there is room.
    cluster.stuck.clear();
    cluster.run_for(Duration::from_secs(2));
    cluster.mkdir(&format!("d{made:03}"), made + 1);
    cluster.assert_converged();
    assert_eq!(cluster.names(leader).len() as u64, made + 1);
}

#[test]
fn a_follower_without_room_applies_later_and_nothing_twice() {
    let mut cluster = cluster_with_room(200);
    let follower = cluster.follower();
    cluster.stuck.insert(follower);
    for seq in 1..=90 {
        cluster.mkdir(&format!("d{seq:02}"), seq);
    }
    let leader = cluster.leader();
    let applied = |cluster: &Cluster, id| cluster.node(id).status().applied;
    assert!(applied(&cluster, follower) < applied(&cluster, leader));
    assert!(!cluster.node(follower).deferred.is_empty());
    // What it has not applied it does not answer from.
    let query = Query::GetAttr {
        caller: caller(),
        inode: ROOT,
        opened: false,
    };
    let read = RequestBody::Read {
        consistency: Consistency::Strict,
        query,
    };
    let refused = cluster.call(follower, read);
    assert!(
        matches!(refused, Err(NodeError::Unavailable { .. })),
        "{refused:?}"
    );
    cluster.stuck.clear();
    cluster.assert_converged();
    assert_eq!(cluster.names(follower).len(), 90);
}

fn get_attr(inode: InodeId) -> Query {
    Query::GetAttr {
        caller: caller(),
        inode,
        opened: false,
    }
}

impl Cluster {
    fn ask_later(&mut self, id: NodeId, body: RequestBody) -> CallId {
        self.calls += 1;
        let call = CallId(self.calls);
        let request = Request { call, body };
        self.step(
            id,
            Event::Request {
                client: ClientId(1),
                request,
            },
        );
        call
    }

    /// Delivers a peer's message now.
    fn step_message(&mut self, to: NodeId, from: NodeId, body: super::peer::PeerBody) {
        let group = GroupId(1);
        let message = super::peer::PeerMessage { group, body }.to_bytes();
        self.step(to, Event::Message { from, message });
    }

    fn restart_all(&mut self) {
        for id in 1..=3 {
            self.kill(NodeId(id));
        }
        for id in 1..=3 {
            self.start(NodeId(id)).unwrap();
        }
    }
}

#[test]
fn full_state_stores_stop_the_nodes_and_lose_nothing() {
    let mut cluster = Cluster::with_snapshots_each(3, 2_000);
    cluster.open_session();
    for seq in 1..=60 {
        cluster.mkdir(&format!("d{seq:02}"), seq);
    }
    cluster.run_for(Duration::from_secs(2));
    for host in cluster.hosts.values() {
        host.store.state().full = true;
    }
    let leader = cluster.leader();
    cluster.ask_later(
        leader,
        RequestBody::Write {
            session: SessionId(1),
            lane: Lane(0),
            seq: RequestSeq(61),
            op: mkdir("straw"),
        },
    );
    for _ in 0..6 {
        cluster.run_for(Duration::from_secs(5));
        for host in cluster.hosts.values() {
            assert!(host.store.state().now.len() > 120, "the state stays");
        }
        for id in (1..=3).map(NodeId) {
            if cluster.node(id).stopped().is_some() {
                cluster.kill(id);
                cluster.start(id).unwrap();
            }
        }
    }
    let stops = |line: &&String| line.starts_with("stopped: no space left in the state store");
    assert!(cluster.reports.iter().filter(stops).count() >= 3);
    // The administrator gives the stores room and starts all nodes again.
    for host in cluster.hosts.values() {
        host.store.state().full = false;
    }
    cluster.restart_all();
    let leader = cluster.leader();
    assert_eq!(cluster.names(leader).len(), 61);
    cluster.assert_converged();
}

fn read_fast(query: Query) -> RequestBody {
    let not_before = LogIndex(0);
    RequestBody::Read {
        consistency: Consistency::Fast { not_before },
        query,
    }
}

#[test]
fn a_bad_record_at_every_node_costs_that_record_and_nothing_else() {
    let mut cluster = Cluster::with_snapshots_each(3, 2_000);
    cluster.open_session();
    let first = cluster.mkdir("d00", 1);
    for seq in 2..=60 {
        cluster.mkdir(&format!("d{seq:02}"), seq);
    }
    cluster.run_for(Duration::from_secs(2));
    for host in cluster.hosts.values() {
        host.store.rot(&Key::Inode(first).bytes());
    }
    // A client reads it, and tries the next node when one does not answer.
    for id in 1..=3 {
        let refused = cluster.call(NodeId(id), read_fast(get_attr(first)));
        assert!(
            matches!(refused, Err(NodeError::Unavailable { .. })),
            "{refused:?}"
        );
    }
    cluster.run_for(Duration::from_secs(2));
    cluster.restart_all();
    cluster.run_for(Duration::from_secs(5));
    // Each has asked the others, and knows by now that nobody has better.
    let leader = cluster.leader();
    assert_eq!(cluster.names(leader).len(), 60);
    for id in 1..=3 {
        let refused = cluster.call(NodeId(id), read_fast(get_attr(first)));
        assert!(
            matches!(refused, Err(NodeError::Unavailable { .. })),
            "{refused:?}"
        );
        assert_eq!(cluster.node(NodeId(id)).stopped(), None, "it goes on");
    }
    let leader = cluster.leader();
    cluster.mkdir("later", 61);
    assert_eq!(cluster.names(leader).len(), 61);
}

#[test]
fn damage_found_by_a_reader_is_healed_after_the_next_start_and_the_mark_goes() {
    let mut cluster = Cluster::new(3);
    cluster.open_session();
    let one = cluster.mkdir("one", 1);
    cluster.run_for(Duration::from_secs(2));
    let id = cluster.follower();
    let key = Key::Inode(one).bytes();
    let good = cluster.hosts[&id].store.get(&key).unwrap();
    cluster.hosts[&id].store.rot(&key);
    let refused = cluster.call(id, read_fast(get_attr(one)));
    assert!(matches!(refused, Err(NodeError::Unavailable { .. })));
    cluster.run_for(Duration::from_millis(10));
    let marked = |cluster: &Cluster| {
        let files = &cluster.hosts[&id].disk.state().durable;
        files.contains_key(super::damage::MARK)
    };
    assert!(cluster.node(id).stopped().is_some());
    assert!(marked(&cluster), "it stops when the mark is durable");
    cluster.kill(id);
    cluster.start(id).unwrap();
    cluster.run_for(Duration::from_secs(3));
    assert_eq!(cluster.hosts[&id].store.get(&key).unwrap(), good);
    assert!(!marked(&cluster), "healed is healed");
    cluster.assert_converged();
}

#[test]
fn a_damaged_value_is_not_handed_to_a_node_far_behind() {
    let mut cluster = Cluster::with_snapshots_each(3, 2_000);
    cluster.open_session();
    let first = cluster.mkdir("d00", 1);
    let late = cluster.follower();
    cluster.kill(late);
    for seq in 2..=60 {
        cluster.mkdir(&format!("d{seq:02}"), seq);
    }
    let leader = cluster.leader();
    cluster.run_for(Duration::from_secs(2));
    let key = Key::Inode(first).bytes();
    let good = cluster.hosts[&leader].store.get(&key).unwrap();
    cluster.hosts[&leader].store.rot(&key);
    for seq in 61..=100 {
        cluster.mkdir(&format!("d{seq:02}"), seq);
    }
    cluster.run_for(Duration::from_secs(2));
    cluster.start(late).unwrap();
    cluster.run_for(Duration::from_secs(3));
    if cluster.node(leader).stopped().is_some() {
        // It met its own damage, and heals first.
        cluster.kill(leader);
        cluster.start(leader).unwrap();
    }
    cluster.run_for(Duration::from_secs(3));
    assert_eq!(cluster.names(late).len(), 100);
    assert_eq!(cluster.hosts[&late].store.get(&key).unwrap(), good);
}

#[test]
fn a_part_with_a_damaged_value_is_refused_and_the_state_stays() {
    let mut cluster = Cluster::new(3);
    cluster.open_session();
    cluster.mkdir("one", 1);
    cluster.run_for(Duration::from_secs(1));
    let (leader, id) = (cluster.leader(), cluster.follower());
    let before = cluster.contents(id);
    let meta = raft::SnapshotMeta {
        id: raft::SnapshotId(9),
        applied: cluster.node(leader).applied.clone(),
    };
    let key = Key::Inode(ROOT).bytes();
    let mut value = cluster.hosts[&leader].store.get(&key).unwrap().unwrap();
    value[3] ^= 1;
    let transfer = super::peer::TransferId::Snapshot {
        life: 77,
        number: 9,
    };
    for pairs in [vec![(key, value)], Vec::new()] {
        let part = super::peer::Part {
            transfer,
            number: 0,
            meta: meta.clone(),
            header: Vec::new(),
            after: Vec::new(),
            pairs,
            last: true,
        };
        let body = super::peer::PeerBody::Part(part);
        cluster.step_message(id, leader, body);
    }
    let refused = cluster
        .reports
        .iter()
        .filter(|line| line.starts_with("refused the state"));
    assert_eq!(refused.count(), 2, "damage, and a state without its mark");
    assert_eq!(cluster.contents(id), before);
    assert!(cluster.node(id).incoming.is_none());
}

#[test]
fn a_part_that_does_not_go_on_where_the_last_one_ended_is_refused_and_the_state_stays() {
    let mut cluster = Cluster::new(3);
    cluster.open_session();
    for seq in 1..=10 {
        cluster.mkdir(&format!("d{seq}"), seq);
    }
    cluster.run_for(Duration::from_secs(1));
    let (leader, id) = (cluster.leader(), cluster.follower());
    let before = cluster.contents(id);
    let all: Vec<_> = before.1.clone().into_iter().collect();
    let meta = raft::SnapshotMeta {
        id: raft::SnapshotId(9),
        applied: cluster.node(leader).applied.clone(),
    };
    let half = all.len() / 2;
    let end = all[half - 1].0.clone();
    // The second half is whole, lacks its first pair, says that it does, or has two swapped.
    let mut swapped = all[half..].to_vec();
    swapped.swap(0, 1);
    let cases = [
        (end.clone(), all[half..].to_vec(), true),
        (end.clone(), swapped, false),
        (all[half].0.clone(), all[half + 1..].to_vec(), false),
        (Vec::new(), all[half..].to_vec(), false),
    ];
    for (number, (after, rest, taken)) in cases.into_iter().enumerate() {
        let transfer = super::peer::TransferId::Snapshot {
            life: 77,
            number: number as u64,
        };
        let mut give = |number, after, pairs| {
            let part = super::peer::Part {
                transfer,
                number,
                meta: meta.clone(),
                header: Vec::new(),
                after,
                pairs,
                last: false,
            };
            cluster.step_message(id, leader, super::peer::PeerBody::Part(part));
        };
        give(0, Vec::new(), all[..half].to_vec());
        give(1, after, rest);
        assert_eq!(cluster.node(id).incoming.is_some(), taken);
    }
    let refused = cluster
        .reports
        .iter()
        .filter(|line| line.contains("does not go on behind key"));
    assert_eq!(refused.count(), 3);
    assert_eq!(cluster.contents(id), before);
}

#[test]
fn damage_in_one_read_leaves_the_reads_beside_it_right() {
    let mut cluster = Cluster::new(3);
    cluster.open_session();
    let one = cluster.mkdir("one", 1);
    let two = cluster.mkdir("two", 2);
    cluster.run_for(Duration::from_secs(1));
    let id = cluster.follower();
    cluster.hosts[&id].store.rot(&Key::Inode(one).bytes());
    let next = cluster.node(id).namespace().applied().index.next();
    let body = |inode| RequestBody::Read {
        consistency: Consistency::Fast { not_before: next },
        query: get_attr(inode),
    };
    // Both wait for one index; the first finds damage.
    let (a, b) = (
        cluster.ask_later(id, body(one)),
        cluster.ask_later(id, body(two)),
    );
    cluster.mkdir("three", 3);
    cluster.run_for(Duration::from_millis(500));
    let refused = &cluster.responses[&a].result;
    assert!(matches!(refused, Err(NodeError::Unavailable { .. })));
    let answered = &cluster.responses[&b].result;
    assert!(
        matches!(answered, Ok(ResponseBody::Read { result: Ok(_), .. })),
        "{answered:?}"
    );
}

#[test]
fn a_request_that_fits_the_wire_and_no_command_is_refused() {
    let mut cluster = Cluster::new(1);
    cluster.open_session();
    let op = Op::Mkdir {
        caller: caller(),
        parent: ROOT,
        name: vec![b'x'; (16 << 20) - 4_096],
        mode: 0,
        umask: 0,
        copy_setgid: false,
    };
    let body = RequestBody::Write {
        session: SessionId(1),
        lane: Lane(0),
        seq: RequestSeq(1),
        op: op.clone(),
    };
    let wire = crate::native::ToNode::Request(Request {
        call: CallId(1),
        body,
    });
    let bytes = wire.to_bytes();
    let arrived = crate::native::ToNode::from_bytes(&bytes);
    assert!(arrived == Ok(wire), "the wire takes it");
    let refused = cluster.write(NodeId(1), 1, op);
    assert!(matches!(refused, Err(NodeError::Invalid { .. })));
}

#[test]
fn no_other_transfer_takes_the_place_of_one_that_is_judged() {
    let mut cluster = Cluster::with_snapshots_each(3, 2_000);
    cluster.open_session();
    let old = cluster.leader();
    cluster.cut.insert(old);
    for lane in 0..300 {
        cluster.ask_later(
            old,
            RequestBody::Write {
                session: SessionId(1),
                lane: Lane(lane + 1),
                seq: RequestSeq(1),
                op: mkdir(&format!("lost{lane}")),
            },
        );
    }
    for seq in 1..=60 {
        cluster.mkdir(&format!("d{seq:02}"), seq);
    }
    cluster.run_for(Duration::from_secs(2));
    let leader = cluster.leader();
    cluster.flush_ns = 100_000_000;
    cluster.cut.clear();
    let mut found = false;
    for _ in 0..20_000 {
        cluster.run_for(Duration::from_micros(500));
        let node = cluster.node(old);
        let judged = node.judging.is_some();
        let complete = node
            .incoming
            .as_ref()
            .is_some_and(|incoming| incoming.complete);
        if judged && complete {
            found = true;
            break;
        }
    }
    assert!(found, "a transfer was judged");
    let meta = raft::SnapshotMeta {
        id: raft::SnapshotId(9),
        applied: cluster.node(leader).applied.clone(),
    };
    let body = super::peer::PeerBody::Part(super::peer::Part {
        transfer: super::peer::TransferId::Snapshot {
            life: 77,
            number: 9,
        },
        number: 0,
        meta,
        header: Vec::new(),
        after: Vec::new(),
        pairs: Vec::new(),
        last: false,
    });
    cluster.step_message(old, leader, body);
    let incoming = cluster.node(old).incoming.as_ref().expect("it stays");
    assert!(incoming.complete, "what is judged stays");
    cluster.flush_ns = 200_000;
    cluster.assert_converged();
    assert_eq!(cluster.names(old).len(), 60);
}

#[test]
fn a_restart_far_behind_the_checkpoint_comes_back() {
    let mut cluster = Cluster::new(3);
    cluster.checkpoint_interval = Duration::from_secs(36_000);
    for id in 1..=3 {
        cluster.kill(NodeId(id));
        cluster.start(NodeId(id)).unwrap();
    }
    cluster.snapshot_log_bytes = 1 << 30;
    cluster.restart_all();
    cluster.open_session();
    for seq in 1..=1_300 {
        cluster.mkdir(&format!("d{seq:04}"), seq);
    }
    cluster.restart_all();
    let leader = cluster.leader();
    assert_eq!(cluster.names(leader).len(), 1_300);
}

#[test]
fn a_log_that_cannot_be_shortened_refuses_proposals_long_before_it_is_full() {
    let mut cluster = Cluster::with_snapshots_each(3, 1 << 30);
    cluster.segments_max = 24;
    cluster.checkpoint_interval = Duration::from_secs(3_600);
    cluster.restart_all();
    cluster.open_session();
    cluster.stuck = cluster.hosts.keys().copied().collect();
    let leader = cluster.leader();
    let mut made = 0;
    let refused = loop {
        match cluster.write(leader, made + 1, mkdir(&format!("d{made:04}"))) {
            Ok(_) => made += 1,
            Err(error) => break error,
        }
        assert!(made < 5_000, "the log was never full");
    };
    assert_eq!(refused, NodeError::Overloaded);
    // What an election needs has room, and what was acknowledged is there.
    cluster.restart_all();
    cluster.run_for(Duration::from_secs(2));
    for id in 1..=3 {
        assert_eq!(cluster.node(NodeId(id)).stopped(), None);
    }
    let leader = cluster.leader();
    assert_eq!(cluster.names(leader).len() as u64, made);
    // With the cause gone the log becomes shorter by itself, and takes what it refused.
    cluster.stuck.clear();
    cluster.run_for(Duration::from_secs(5));
    for _ in 0..10 {
        cluster.mkdir(&format!("d{made:04}"), made + 1);
        made += 1;
    }
    for id in 1..=3 {
        let used = cluster.node(NodeId(id)).wal.live_segment_count();
        assert!(used <= 4, "{used} segments of node {id} are in use");
    }
    cluster.assert_converged();
}

#[test]
fn checkpoints_come_as_often_as_an_operator_says() {
    let mut cluster = Cluster::new(3);
    cluster.checkpoint_interval = Duration::from_secs(3_600);
    cluster.restart_all();
    cluster.open_session();
    cluster.mkdir("a", 1);
    cluster.run_for(Duration::from_secs(10));
    let leader = cluster.leader();
    let held = cluster.node(leader).checkpointed();
    let applied = cluster.node(leader).namespace().applied().index;
    assert!(held < applied, "nothing else makes one");
    let tuning = Tuning {
        checkpoint_interval: Duration::from_secs(1),
        priority: 0,
    };
    cluster.step(leader, Event::Tuned { tuning });
    cluster.run_for(Duration::from_secs(3));
    assert!(cluster.node(leader).checkpointed() >= applied);
}

#[test]
fn leadership_moves_to_whom_an_operator_places_higher() {
    let mut cluster = Cluster::new(3);
    cluster.open_session();
    let (leader, next) = (cluster.leader(), cluster.follower());
    let tuning = Tuning {
        checkpoint_interval: cluster.checkpoint_interval,
        priority: 7,
    };
    cluster.step(next, Event::Tuned { tuning });
    // The transport tells the others.
    let told = Event::PeerUp {
        peer: next,
        priority: 7,
    };
    cluster.step(leader, told);
    cluster.run_for(Duration::from_secs(5));
    assert_eq!(cluster.leader(), next);
}

/// The file that the real master wrote, as the durable state of a node that founds a cluster alone.
fn imported(node: NodeId) -> TestStore {
    let bytes: &[u8] = include_bytes!("../moosefs/metadata/testdata/written-by-3.0.117.mfs");
    let (mut scratch, mut state) = (MemStore::new(), MemStore::new());
    let note = |index| super::note_of_founder(node, index);
    let now = crate::time::WallTime(1_000);
    crate::namespace::import(bytes, &mut scratch, &mut state, now, note, &mut |_| {}).unwrap();
    let store = TestStore::default();
    store.state().durable = state.snapshot();
    store.state().now = state;
    store
}

#[test]
fn a_cluster_begins_with_a_state_from_elsewhere_and_whoever_joins_gets_all_of_it() {
    let (founder, joins) = (NodeId(1), NodeId(2));
    let mut cluster = Cluster::of_nobody(1 << 20);
    cluster.bootstraps = false;
    cluster.add_host(founder, imported(founder));
    cluster.start(founder).unwrap();
    cluster.run_for(Duration::from_secs(3));
    assert_eq!(cluster.leader(), founder);
    let metaid = 7_713_129_847_508_564_713;
    assert_eq!(cluster.numbers, [(founder, Some(metaid))]);
    cluster.mkdir("new", 1);
    cluster.add_host(joins, TestStore::default());
    cluster.start(joins).unwrap();
    cluster.run_for(Duration::from_secs(1));
    assert_eq!(cluster.numbers.len(), 1, "it does not know yet");
    let body = RequestBody::ChangeMembership {
        voters: [founder, joins].into(),
        learners: BTreeSet::new(),
    };
    cluster.call(founder, body).unwrap();
    cluster.assert_converged();
    assert_eq!(cluster.names(joins), ["dir", "new"]);
    assert_eq!(cluster.node(joins).namespace().check().unwrap(), Ok(()));
    assert_eq!(cluster.numbers[1], (joins, Some(metaid)));
    // Each comes back from its own disk.
    for id in [founder, joins] {
        cluster.kill(id);
        cluster.start(id).unwrap();
    }
    cluster.assert_converged();
    assert_eq!(cluster.numbers.len(), 4);
    assert_eq!(cluster.names(founder), ["dir", "new"]);
}

#[test]
fn a_cluster_that_brought_no_number_along_says_so() {
    let mut cluster = Cluster::new(3);
    cluster.open_session();
    cluster.assert_converged();
    let mut told = cluster.numbers.clone();
    told.sort_unstable();
    let none = |id| (NodeId(id), None);
    assert_eq!(told, [none(1), none(2), none(3)]);
}
