//! A toy node for the world's own tests: one fixed leader, a log of whole requests, no elections.
//!
//! It keeps what a world can see: it acknowledges after a majority has flushed, finds its log
//! again after a crash, and can be told to misbehave.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use mfsha_core::codec;
use mfsha_core::disk::{Disk, FlushId};
use mfsha_core::id::{GroupId, LogIndex, NodeId, Term};
use mfsha_core::machine::{Machine, Outbox};
use mfsha_core::namespace::op::{Answer, Command, Op, Outcome, Reply};
use mfsha_core::node::request::{
    ClientId, NodeError, NodeStatus, Request, RequestBody, Response, ResponseBody,
};
use mfsha_core::node::{Effect, Event, Input};
use mfsha_core::raft::{self, Membership, Role, RoleReason};
use mfsha_core::rng::Seed;
use mfsha_core::time::{Instant, Stamp, WallTime};
use mfsha_core::transport::Class;
use mfsha_core::wal::record::LogId;

use crate::check::{self, Checker, LogImage};
use crate::disk::SimDisk;
use crate::event::{AppliedEntry, AppliedPayload};
use crate::node::{Kind, NodeSpec, SimNode};
use crate::options::Options;
use crate::store::SimStore;

const FILE: &str = "toy";
const SLOT: u64 = 4_096;
const SLOTS: u64 = 4_096;
const RESEND: Duration = Duration::from_millis(50);

/// The well-behaved kind.
pub struct Good;
/// Panics when it applies its tenth entry.
pub struct Panics;
/// Never answers.
pub struct Mute;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Good,
    Panics,
    Mute,
}

macro_rules! kind {
    ($kind:ident) => {
        impl Kind for $kind {
            type Node = Toy;

            fn open(
                spec: &NodeSpec,
                disk: SimDisk,
                _store: SimStore,
                _seed: Seed,
                now: Instant,
                _wall_us: u64,
            ) -> Result<Toy, String> {
                Toy::open(spec, disk, now, Manner::$kind)
            }

            fn checkers(options: &Options) -> Vec<Box<dyn Checker>> {
                check::of_processes(options)
            }
        }
    };
}
kind!(Good);
kind!(Panics);
kind!(Mute);

pub struct Toy {
    node: NodeId,
    voters: BTreeSet<NodeId>,
    manner: Manner,
    disk: SimDisk,
    log: Vec<Vec<u8>>,
    /// Entries that each flush under way covers.
    flushes: BTreeMap<FlushId, usize>,
    durable: usize,
    applied: usize,
    committed: usize,
    acknowledged: BTreeMap<NodeId, usize>,
    waiting: BTreeMap<usize, (ClientId, Request)>,
    fresh: Vec<AppliedEntry>,
    resend_at: Instant,
}

#[derive(serde::Serialize, serde::Deserialize)]
enum Message {
    Append {
        at: u64,
        entries: Vec<Vec<u8>>,
        committed: u64,
    },
    Acknowledge {
        durable: u64,
    },
}

impl Toy {
    fn open(spec: &NodeSpec, disk: SimDisk, now: Instant, manner: Manner) -> Result<Self, String> {
        let mut disk = disk;
        if disk.list().map_err(|error| error.to_string())?.is_empty() {
            disk.create(FILE, SLOT * SLOTS)
                .map_err(|error| error.to_string())?;
        }
        let mut log = Vec::new();
        let mut slot = vec![0; SLOT as usize];
        loop {
            let at = log.len() as u64 * SLOT;
            disk.read(FILE, at, &mut slot)
                .map_err(|error| error.to_string())?;
            match codec::unseal(1, 1, &slot) {
                Ok((payload, _)) => log.push(payload.to_vec()),
                Err(_) => break,
            }
        }
        // What was found may not be durable; it is written again with the first flush.
        Ok(Self {
            node: spec.node,
            voters: spec.bootstrap.clone(),
            manner,
            disk,
            log,
            flushes: BTreeMap::new(),
            durable: 0,
            applied: 0,
            committed: 0,
            acknowledged: BTreeMap::new(),
            waiting: BTreeMap::new(),
            fresh: Vec::new(),
            resend_at: now,
        })
    }

    fn leader(&self) -> NodeId {
        self.voters.first().copied().unwrap_or(self.node)
    }

    fn leads(&self) -> bool {
        self.leader() == self.node
    }

    fn append(&mut self, at: usize, payload: Vec<u8>) {
        let sealed = codec::seal(1, 1, &payload);
        assert!(sealed.len() as u64 <= SLOT, "toys hold small requests");
        self.log.push(payload);
        let offset = at as u64 * SLOT;
        self.disk
            .write(FILE, offset, &sealed)
            .expect("the file was made with room for it");
    }

    fn flush(&mut self, out: &mut Outbox<Effect>) {
        if self.durable < self.log.len() && self.flushes.values().max() != Some(&self.log.len()) {
            let flush = self.disk.start_flush();
            self.flushes.insert(flush, self.log.len());
            out.push(Effect::FlushStarted { flush });
        }
    }

    fn replicate(&mut self, now: Instant, out: &mut Outbox<Effect>) {
        self.resend_at = now + RESEND;
        for peer in self.voters.iter().filter(|peer| **peer != self.node) {
            let from = self.acknowledged.get(peer).copied().unwrap_or(0);
            let message = Message::Append {
                at: from as u64,
                entries: self.log[from..].iter().take(20).cloned().collect(),
                committed: self.committed as u64,
            };
            out.push(Effect::Send {
                to: *peer,
                class: Class::Control,
                message: codec::encode(&message),
            });
        }
    }

    fn on_message(&mut self, from: NodeId, message: &[u8], out: &mut Outbox<Effect>) {
        match codec::decode(message) {
            Ok(Message::Append {
                at,
                entries,
                committed,
            }) => {
                for (entry, at) in entries.into_iter().zip(at as usize..) {
                    if at == self.log.len() {
                        self.append(at, entry);
                    }
                }
                self.committed = self.committed.max((committed as usize).min(self.log.len()));
                self.acknowledge(from, out);
            }
            Ok(Message::Acknowledge { durable }) => {
                self.acknowledged.insert(from, durable as usize);
            }
            Err(_) => {}
        }
    }

    fn acknowledge(&self, to: NodeId, out: &mut Outbox<Effect>) {
        let durable = self.durable as u64;
        let message = codec::encode(&Message::Acknowledge { durable });
        out.push(Effect::Send {
            to,
            class: Class::Control,
            message,
        });
    }

    fn on_request(&mut self, client: ClientId, request: Request, out: &mut Outbox<Effect>) {
        let call = request.call;
        let mut answer = |result| {
            out.push(Effect::Reply {
                client,
                response: Response { call, result },
            });
        };
        match &request.body {
            _ if self.manner == Manner::Mute => {}
            _ if !self.leads() => answer(Err(NodeError::NotLeader {
                leader: Some(self.leader()),
            })),
            RequestBody::Write { .. } if (self.log.len() as u64) < SLOTS => {
                let at = self.log.len();
                self.append(at, codec::encode(&request.body));
                self.waiting.insert(at + 1, (client, request));
            }
            RequestBody::Write { .. } => answer(Err(NodeError::Overloaded)),
            RequestBody::Read { .. } => answer(Ok(ResponseBody::Read {
                index: LogIndex(self.applied as u64),
                result: Ok(Answer::Done),
            })),
            RequestBody::ChangeMembership { .. } => answer(Ok(ResponseBody::MembershipChanged {
                index: LogIndex(self.applied as u64),
            })),
            RequestBody::TransferLeadership { .. } => answer(Ok(ResponseBody::TransferStarted)),
            RequestBody::KeepSession { .. } | RequestBody::TakeSnapshot => {
                answer(Err(NodeError::Invalid {
                    reason: "a toy keeps no snapshots".to_owned(),
                }))
            }
            RequestBody::Status => answer(Ok(ResponseBody::Status(self.status()))),
        }
    }

    fn commit(&mut self, out: &mut Outbox<Effect>) {
        if self.leads() {
            let mut durable: Vec<usize> = self
                .voters
                .iter()
                .map(|voter| match *voter == self.node {
                    true => self.durable,
                    false => self.acknowledged.get(voter).copied().unwrap_or(0),
                })
                .collect();
            durable.sort_unstable();
            let majority = durable[(durable.len() - 1) / 2];
            self.committed = self.committed.max(majority);
        }
        while self.applied < self.committed {
            self.apply(out);
        }
    }

    fn apply(&mut self, out: &mut Outbox<Effect>) {
        self.applied += 1;
        assert!(
            self.manner != Manner::Panics || self.applied < 10,
            "a toy that was told to panic does"
        );
        let index = self.applied;
        let body: RequestBody = codec::decode(&self.log[index - 1]).expect("it was encoded here");
        let RequestBody::Write { op, .. } = body else {
            panic!("only writes are logged");
        };
        let reply = match op {
            Op::OpenSession { .. } => Reply::Session(mfsha_core::id::SessionId(index as u32)),
            _ => Reply::Done,
        };
        let outcome = Outcome {
            result: Ok(reply),
            notices: Vec::new(),
            version: index as u64,
            repeated: false,
        };
        let command = Command {
            stamp: Stamp::MIN,
            now: WallTime(0),
            request: None,
            op,
        };
        self.fresh.push(AppliedEntry {
            id: self.log_id(index),
            payload: AppliedPayload::Command {
                command: Arc::new(command),
                outcome: Arc::new(outcome.clone()),
            },
            version: index as u64,
        });
        if let Some((client, request)) = self.waiting.remove(&index) {
            out.push(Effect::Reply {
                client,
                response: Response {
                    call: request.call,
                    result: Ok(ResponseBody::Written {
                        index: LogIndex(index as u64),
                        outcome,
                    }),
                },
            });
        }
    }

    fn log_id(&self, index: usize) -> LogId {
        LogId {
            term: Term(1),
            leader: self.leader(),
            index: LogIndex(index as u64),
        }
    }
}

impl Machine for Toy {
    type Input = Input;
    type Effect = Effect;

    fn step(&mut self, now: Instant, input: Input, out: &mut Outbox<Effect>) {
        match input.event {
            Event::Tick => {}
            Event::Message { from, message } => self.on_message(from, &message, out),
            Event::Flushed { flush, result } => match (result, self.flushes.remove(&flush)) {
                (Ok(()), Some(covered)) => {
                    self.durable = self.durable.max(covered);
                    if !self.leads() {
                        self.acknowledge(self.leader(), out);
                    }
                }
                (Err(error), _) => out.push(Effect::Stopped {
                    reason: error.to_string(),
                }),
                (Ok(()), None) => {}
            },
            Event::Request { client, request } | Event::Ask { client, request } => {
                self.on_request(client, request, out);
            }
            Event::AskWrite { .. }
            | Event::AskChunk { .. }
            | Event::Inspect { .. }
            | Event::Chunkserver { .. } => {
                unreachable!("nobody in the world asks so")
            }
            Event::PeerUp { .. }
            | Event::PeerLost { .. }
            | Event::Checkpointed { .. }
            | Event::Tuned { .. }
            | Event::ClientGone { .. } => {}
        }
        self.flush(out);
        self.commit(out);
        if self.leads() && now >= self.resend_at {
            out.push(Effect::RoleChanged {
                group: GroupId(0),
                role: Role::Leader,
                term: Term(1),
                leader: Some(self.node),
                reason: RoleReason::Won,
            });
            self.replicate(now, out);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.leads().then_some(self.resend_at)
    }

    fn check(&self) {
        assert!(
            self.applied <= self.committed,
            "only what is committed is applied"
        );
    }
}

impl Toy {
    fn raft(&self) -> Option<raft::Status> {
        Some(raft::Status {
            role: if self.leads() {
                Role::Leader
            } else {
                Role::Follower
            },
            term: Term(1),
            vote: None,
            vote_kept: None,
            leader: Some(self.leader()),
            last_log: Some(self.log_id(self.log.len())),
            committed: Some(self.log_id(self.committed)),
            applied: Some(self.log_id(self.applied)),
            purged: None,
            snapshot: None,
            membership: Membership::default(),
            matched: BTreeMap::new(),
            log_bytes: 0,
        })
    }

    fn status(&self) -> NodeStatus {
        NodeStatus {
            node: self.node,
            term: Term(1),
            leader: Some(self.leader()),
            leads: self.leads(),
            committed: LogIndex(self.committed as u64),
            applied: LogIndex(self.applied as u64),
            membership: Membership::default(),
            repairing: false,
        }
    }
}

impl SimNode for Toy {
    fn shows(&self) -> (Option<raft::Status>, NodeStatus) {
        (self.raft(), self.status())
    }

    fn receives_state(&self) -> bool {
        false
    }

    fn version(&self) -> u64 {
        self.applied as u64
    }

    fn durable(&self) -> Option<LogId> {
        Some(self.log_id(self.durable))
    }

    fn take_applied(&mut self) -> Vec<AppliedEntry> {
        std::mem::take(&mut self.fresh)
    }

    fn log(&self) -> LogImage {
        (1..=self.log.len())
            .map(|index| {
                (
                    self.log_id(index),
                    crate::trace::short_hash(&self.log[index - 1]),
                )
            })
            .collect()
    }
}

mod tests {
    use super::*;
    use crate::check::ViolationKind;
    use crate::fault::FaultKind;
    use crate::real::Real;
    use crate::schedule::Schedule;
    use crate::world::{Finished, World};

    /// Toys have one leader for ever and no way to replace a disk.
    fn options(seed: u64) -> Options {
        let mut options = Options::draw(&Seed::from_u64(seed));
        options.safety_ms = 3_000;
        // Toys do not seal what they say.
        options.net.streams = false;
        options.leave_rest_broken = false;
        options.faults.detection_only = false;
        // Nor do they serve anybody but clients.
        (options.chunkservers, options.mounts) = (0, 0);
        for large in ["setxattr", "any-command", "any-query"] {
            options.workload.weights.insert(large.into(), 0);
        }
        options.faults.weights.retain(|kind, _| {
            !crate::atlas::DAMAGING.contains(kind)
                && !matches!(
                    kind,
                    FaultKind::FullDisk | FaultKind::ReadErrors | FaultKind::FailWrite
                )
        });
        options
    }

    fn run<K: Kind>(seed: u64, options: Options) -> Finished {
        let schedule = Schedule::draw(&Seed::from_u64(seed), &options);
        World::<K>::new(seed, options, schedule, true).run(seed)
    }

    #[test]
    fn good_toys_survive_and_every_run_repeats() {
        for seed in 0..12 {
            let first = run::<Good>(seed, options(seed));
            let last = first.trace.events().iter().rev().take(5).rev();
            let last: Vec<_> = last
                .map(|(at, event)| crate::trace::line(*at, event))
                .collect();
            assert_eq!(first.violation, None, "seed {seed}: {last:#?}");
            assert!(first.simulated.0 > 3_000_000_000);
            let again = run::<Good>(seed, options(seed));
            assert_eq!(first.trace.hash(), again.trace.hash(), "seed {seed}");
        }
    }

    #[test]
    fn real_nodes_serve_and_every_run_repeats() {
        for seed in 0..4 {
            let mut calm = Options::draw(&Seed::from_u64(seed));
            calm.safety_ms = 2_000;
            calm.faults.mean_ms = 0;
            let first = run::<Real>(seed, calm.clone());
            let last = first.trace.events().iter().rev().take(60).rev();
            let last: Vec<_> = last
                .map(|(at, event)| crate::trace::line(*at, event))
                .collect();
            assert_eq!(first.violation, None, "seed {seed}: {last:#?}");
            let again = run::<Real>(seed, calm);
            assert_eq!(first.trace.hash(), again.trace.hash(), "seed {seed}");
        }
    }

    #[test]
    fn another_seed_is_another_run() {
        let one = run::<Good>(1, options(1));
        let two = run::<Good>(2, options(1));
        assert_ne!(one.trace.hash(), two.trace.hash());
    }

    #[test]
    fn a_panic_in_a_node_is_a_crash_with_its_message() {
        let finished = run::<Panics>(1, options(1));
        let (_, violation) = finished.violation.expect("a toy panicked");
        assert_eq!(violation.kind, ViolationKind::Crash);
        assert!(
            violation.sentence.contains("told to panic"),
            "{violation:?}"
        );
    }

    #[test]
    fn a_core_that_does_not_serve_is_late() {
        let finished = run::<Mute>(1, options(1));
        let (_, violation) = finished.violation.expect("nobody was served");
        assert_eq!(violation.kind, ViolationKind::Liveness);
        assert_eq!(violation.promise, "P-LIVE");
    }

    #[test]
    fn the_canary_fails_a_run_in_which_nothing_is_wrong() {
        let mut options = options(1);
        options.canary = true;
        let (_, violation) = run::<Good>(1, options).violation.expect("it was told to");
        assert_eq!(violation.checker, "canary");
    }

    #[test]
    fn taking_a_fault_out_keeps_the_others() {
        let options = options(3);
        let schedule = Schedule::draw(&Seed::from_u64(3), &options);
        let mut kept = schedule.numbers();
        kept.faults.truncate(kept.faults.len() / 2);
        let smaller = schedule.clone().keep(&kept);
        let finished = World::<Good>::new(3, options, smaller, true).run(3);
        assert_eq!(finished.violation, None);
        let began: BTreeSet<u32> = finished
            .trace
            .events()
            .iter()
            .filter_map(|(_, event)| match event {
                crate::event::Event::Fault { entry, .. } => Some(*entry),
                _ => None,
            })
            .collect();
        assert!(began.iter().all(|entry| kept.faults.contains(entry)));
    }
}
