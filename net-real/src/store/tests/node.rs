//! A node over this store and the log on real files: killed again and again, it holds what the
//! same commands leave in a map.

use std::collections::BTreeSet;
use std::time::Duration as StdDuration;

use mfsha_core::id::{GroupId, InodeId, Lane, LogIndex, NodeId, RequestSeq, SessionId};
use mfsha_core::machine::{Machine, Outbox};
use mfsha_core::namespace::Namespace;
use mfsha_core::namespace::key::Key;
use mfsha_core::namespace::op::{Caller, Op, SessionParams};
use mfsha_core::node::request::{
    CallId, ClientId, NodeError, Request, RequestBody, Response, ResponseBody,
};
use mfsha_core::node::{Effect, Event, Input, Node, ObservedPayload, Options};
use mfsha_core::raft;
use mfsha_core::rng::Seed;
use mfsha_core::store::MemStore;
use mfsha_core::time::{Duration, Instant};
use mfsha_core::wal::WalOptions;

use super::super::Found;
use super::*;
use crate::disk::FileDisk;

struct Host {
    directory: tempfile::TempDir,
    node: Option<Node<FileDisk, LmdbStore>>,
    events: Option<Receiver<Event>>,
    now: Instant,
    lives: u64,
    calls: u64,
    /// The same commands, in memory.
    mirror: Namespace<MemStore>,
    replayed: u64,
    overloaded: u64,
}

impl Host {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            node: None,
            events: None,
            now: Instant::ZERO,
            lives: 0,
            calls: 0,
            mirror: Namespace::open(MemStore::new()).unwrap(),
            replayed: 0,
            overloaded: 0,
        }
    }

    fn start(&mut self) -> Found {
        self.lives += 1;
        let (sender, events) = mpsc::channel();
        let flushed = sender.clone();
        let disk = FileDisk::open(&self.directory.path().join("log"), None, move |end| {
            let (flush, result) = (end.flush, end.result);
            let _ = flushed.send(Event::Flushed { flush, result });
        });
        let options = StoreOptions {
            memory_bytes_max: 20_000,
            ..options(&self.directory.path().join("state"))
        };
        let store = LmdbStore::open(options, move |end| {
            let (checkpoint, result) = (end.checkpoint, end.result);
            let _ = sender.send(Event::Checkpointed { checkpoint, result });
        })
        .unwrap();
        let found = store.found().clone();
        let options = Options {
            bootstrap: Some(BTreeSet::from([NodeId(1)])),
            observe: true,
            wal: WalOptions {
                segment_bytes: 64 << 10,
                record_bytes_max: 8_000,
                ..WalOptions::small(NodeId(1))
            },
            ..Options::new(GroupId(1), raft::Options::new(NodeId(1)), self.lives)
        };
        let seed = Seed::from_u64(3).index(self.lives);
        self.node = Some(Node::open(options, disk.unwrap(), store, seed, self.now).unwrap());
        self.events = Some(events);
        self.step(Event::Tick);
        found
    }

    fn kill(&mut self) {
        self.node = None;
        self.events = None;
    }

    fn step(&mut self, event: Event) -> Vec<Response> {
        let mut out = Outbox::new();
        let wall_us = 1_000_000_000 + self.now.0 / 1_000;
        let node = self.node.as_mut().unwrap();
        node.step(self.now, Input { wall_us, event }, &mut out);
        node.check();
        let mut responses = Vec::new();
        for effect in out.drain() {
            match effect {
                Effect::Reply { response, .. } => responses.push(response),
                Effect::Stopped { reason } => panic!("{reason}"),
                _ => {}
            }
        }
        for observed in node.take_applied() {
            if observed.id.index <= self.mirror.applied().index {
                self.replayed += 1;
                continue;
            }
            let command = match &observed.payload {
                ObservedPayload::Command(seen) => Some(&seen.0),
                _ => None,
            };
            let applied = self
                .mirror
                .apply_noted(observed.id.index, Vec::new(), command);
            applied.unwrap();
        }
        responses
    }

    /// Waits for what was begun; when nothing was, time passes.
    fn turn(&mut self) -> Vec<Response> {
        let events = self.events.as_ref().unwrap();
        if let Ok(event) = events.recv_timeout(StdDuration::from_millis(2)) {
            return self.step(event);
        }
        self.now = self.now + Duration::from_millis(20);
        self.step(Event::Tick)
    }

    fn write(&mut self, session: u32, seq: u64, op: &Op) -> Result<ResponseBody, NodeError> {
        loop {
            self.calls += 1;
            let call = CallId(self.calls);
            let (session, lane, seq) = (SessionId(session), Lane(0), RequestSeq(seq));
            let body = RequestBody::Write {
                session,
                lane,
                seq,
                op: op.clone(),
            };
            let request = Request { call, body };
            let client = ClientId(1);
            let mut responses = self.step(Event::Request { client, request });
            let answer = loop {
                if let Some(response) = responses.pop() {
                    assert_eq!(response.call, call);
                    break response.result;
                }
                responses = self.turn();
            };
            match answer {
                Err(NodeError::Overloaded) => self.overloaded += 1,
                Err(
                    NodeError::NotLeader { .. }
                    | NodeError::Unavailable { .. }
                    | NodeError::Unknown,
                ) => {}
                answer => return answer,
            }
            self.turn();
        }
    }

    /// The state without the mark of what was applied, whose note is consensus' own.
    fn content(view: &impl StateView) -> Model {
        let mut content = all(view);
        assert!(content.remove(&Key::Applied.bytes()).is_some());
        content
    }
}

fn mkdir(number: u64) -> Op {
    Op::Mkdir {
        caller: Caller {
            session: SessionId(1),
            uid: 0,
            gids: vec![0],
        },
        parent: InodeId::ROOT,
        name: format!("directory {number:05}").into_bytes(),
        mode: 0o755,
        umask: 0,
        copy_setgid: false,
    }
}

#[test]
fn a_killed_node_comes_back_to_the_state_of_its_commands() {
    let mut host = Host::new();
    assert_eq!(host.start(), Found::Nothing);
    let params = SessionParams::unrestricted();
    host.write(0, 0, &Op::OpenSession { params }).unwrap();
    let mut seq = 0;
    for life in 1..=5 {
        for _ in 0..120 {
            seq += 1;
            host.write(1, seq, &mkdir(seq)).unwrap();
        }
        let node = host.node.as_ref().unwrap();
        let applied = node.namespace().applied().index;
        let before = Host::content(node.namespace().store());
        let mirror = Host::content(host.mirror.store());
        assert!(before == mirror, "before the kill, life {life}");
        let figures = node.namespace().store().stats().figures();
        assert!(figures.checkpoints > 0, "room ran out");
        assert!(figures.dirty_bytes < 30_000, "{figures:?}");
        host.kill();
        assert_eq!(host.start(), Found::Checkpoint { verified: true });
        while host.node.as_ref().unwrap().namespace().applied().index < applied {
            host.turn();
        }
        let node = host.node.as_ref().unwrap();
        let after = Host::content(node.namespace().store());
        assert!(after == mirror, "after the kill, life {life}");
        assert!(applied > LogIndex(120 * life));
    }
    assert!(host.replayed > 0, "the log brought back the rest");
}
