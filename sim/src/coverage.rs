//! Which rare situations a run reached: what kind of fault, to whom, and while what was under way.
//!
//! A simulator that never reaches a situation proves nothing about it. Every run counts; many
//! runs together must reach everything in [`REQUIRED`].

use std::collections::{BTreeMap, BTreeSet};

use mfsha_core::node::request::{Consistency, NodeError, RequestBody, ResponseBody};
use mfsha_core::raft::Role;

use crate::check::NodeView;
use crate::event::{
    AppliedPayload, Departure, Event, FaultStage, FileFact, LossReason, Phase, StopReason,
};
use crate::place::Seat;
use crate::stream::Break;
use crate::time::SimTime;

/// From so many seeds on a sweep has to reach everything in [`REQUIRED`].
pub const SEEDS_MIN: u64 = 1_000;

/// Situations that a sweep of so many seeds must reach. The names are those of
/// [`Coverage::counts`].
pub const REQUIRED: &[&str] = &[
    "fault partition",
    "fault one-way-partition",
    "fault bridge",
    "fault client-partition",
    "fault slow-link",
    "fault clog",
    "fault swizzle-clog",
    "fault loss-burst",
    "fault duplicate-burst",
    "fault reorder-burst",
    "fault corrupt-burst",
    "fault reset",
    "fault kill leader",
    "fault kill follower",
    "fault power-loss leader",
    "fault power-loss follower",
    "fault power-loss-all",
    "fault pause leader",
    "fault pause follower",
    "fault lose-disk leader",
    "fault lose-disk follower",
    "fault slow-disk leader",
    "fault slow-disk follower",
    "fault full-disk leader",
    "fault full-disk follower",
    "fault fail-flush leader",
    "fault fail-flush follower",
    "fault fail-write leader",
    "fault fail-write follower",
    "fault bit-flip-on-read leader",
    "fault bit-flip-on-read follower",
    "fault read-errors leader",
    "fault read-errors follower",
    "fault misdirect leader",
    "fault misdirect follower",
    "fault rot-log leader",
    "fault rot-log follower",
    "fault rot-state leader",
    "fault rot-state follower",
    "fault fail-checkpoint leader",
    "fault fail-checkpoint follower",
    "fault wall-jump leader",
    "fault wall-jump follower",
    "fault monotonic-jump leader",
    "fault monotonic-jump follower",
    "fault clock-rate leader",
    "fault clock-rate follower",
    "fault transfer-leader",
    "fault cycle-member",
    "fault server-crash",
    "fault server-cut",
    "fault during an election",
    "fault during a change of membership",
    "fault during the arrival of a state",
    "crash of a node during an election",
    "message lost by a reset",
    "message lost by a cut",
    "message delivered twice",
    "cluster formed over streams",
    "node joined over streams",
    "identity could not be stored",
    "frame torn by a reset",
    "frame torn by a death",
    "frame spoilt on the way",
    "node stopped by itself",
    "only detection is judged",
    "stream broken between frames",
    "peer lost by its silence",
    "second connection of two nodes given up",
    "connected again while a snapshot streamed",
    "node restarts",
    "node restarts from a checkpoint",
    "node replaced",
    "snapshot installed",
    "leader changes",
    "crash while a checkpoint is under way",
    "crash while a flush is under way",
    "write answered after a retry",
    "write answered as a repeat",
    "write answered by another node than was asked first",
    "write answered by a follower",
    "write unknown after lost leadership",
    "read strict",
    "read strict at a follower",
    "read by lease",
    "read fast",
    "chunk order carried out",
    "chunkserver taken in again",
    "chunkserver told to register later",
    "chunkserver left a node that did not register it",
    "chunk read",
    "mount came back",
    "mount locked",
    "membership applied",
    "healed core of a part",
    "healed core of all",
];

/// What is under way at a node, so that a fault there or elsewhere is worth more.
#[derive(Clone, Copy, Debug, Default)]
struct UnderWay {
    election: bool,
    joint: bool,
    arrival: bool,
    healing: bool,
}

impl UnderWay {
    fn at(node: &NodeView) -> Self {
        let raft = node.raft.as_ref();
        Self {
            election: raft.is_some_and(|raft| raft.role == Role::Candidate),
            joint: raft.is_some_and(|raft| raft.membership.voters.len() > 1),
            arrival: node.receives_state,
            healing: node.status.repairing,
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            election: self.election || other.election,
            joint: self.joint || other.joint,
            arrival: self.arrival || other.arrival,
            healing: self.healing || other.healing,
        }
    }

    fn names(self) -> impl Iterator<Item = &'static str> {
        let all = [
            (self.election, "an election"),
            (self.joint, "a change of membership"),
            (self.arrival, "the arrival of a state"),
            (self.healing, "healing"),
        ];
        all.into_iter().filter_map(|(is, name)| is.then_some(name))
    }
}

/// What one run reached.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    counts: BTreeMap<String, u64>,
    roles: BTreeMap<Seat, Role>,
    under_way: BTreeMap<Seat, UnderWay>,
    flushing: BTreeMap<Seat, u32>,
    checkpointing: BTreeMap<Seat, u32>,
    delivered: BTreeMap<u64, ()>,
    first_asked: BTreeMap<u64, mfsha_core::id::NodeId>,
    reads: BTreeMap<u64, Consistency>,
    formed: BTreeSet<Seat>,
    /// Chunkservers that were taken in.
    joined: BTreeSet<u8>,
    mounted: BTreeSet<u8>,
    seats: usize,
}

impl Coverage {
    /// Nothing is reached yet, in a cluster of so many seats.
    #[must_use]
    pub fn new(seats: u8) -> Self {
        Self {
            seats: seats.into(),
            ..Self::default()
        }
    }

    /// How often each situation was reached.
    #[must_use]
    pub fn counts(&self) -> &BTreeMap<String, u64> {
        &self.counts
    }

    /// A situation was reached.
    pub fn reached(&mut self, situation: &str) {
        match self.counts.get_mut(situation) {
            Some(count) => *count += 1,
            None => {
                self.counts.insert(situation.to_owned(), 1);
            }
        }
    }

    /// A node took a step.
    pub fn after_step(&mut self, node: &NodeView) {
        self.under_way.insert(node.seat, UnderWay::at(node));
    }

    /// Something happened.
    pub fn on_event(&mut self, _now: SimTime, event: &Event) {
        match event {
            Event::Fault { fault, stage, .. } => self.on_fault(fault, *stage),
            Event::RoleChanged { seat, role, .. } => {
                let before = self.roles.insert(*seat, *role);
                if *role == Role::Leader && before != Some(Role::Leader) {
                    self.reached("leader changes");
                }
            }
            Event::NodeStarted {
                seat,
                life,
                applied,
                ..
            } => {
                self.roles.insert(*seat, Role::Follower);
                self.flushing.remove(seat);
                self.checkpointing.remove(seat);
                if *life > 1 {
                    self.reached("node restarts");
                    if applied.0 > 0 {
                        self.reached("node restarts from a checkpoint");
                    }
                }
            }
            Event::NodeStopped { seat, reason, .. } => self.on_stopped(*seat, reason),
            Event::NodeReplaced { .. } => self.reached("node replaced"),
            Event::SnapshotInstalled { .. } => self.reached("snapshot installed"),
            Event::FlushStarted { seat, .. } => *self.flushing.entry(*seat).or_default() += 1,
            Event::FlushEnded { seat, .. } => take_one(&mut self.flushing, *seat),
            Event::CheckpointStarted { seat, .. } => {
                *self.checkpointing.entry(*seat).or_default() += 1;
            }
            Event::CheckpointEnded { seat, .. } => take_one(&mut self.checkpointing, *seat),
            Event::Delivered { message, .. } => {
                if self.delivered.insert(message.0, ()).is_some() {
                    self.reached("message delivered twice");
                }
                // Doubles follow their originals closely, so old ones can be forgotten.
                if self.delivered.len() > 4_096 {
                    self.delivered.pop_first();
                }
            }
            Event::Lost { reason, .. } => match reason {
                LossReason::Reset => self.reached("message lost by a reset"),
                LossReason::Cut => self.reached("message lost by a cut"),
                LossReason::Chance | LossReason::Down => {}
            },
            Event::IdentityStored { .. }
            | Event::StreamClosed { .. }
            | Event::StreamBroken { .. }
            | Event::Nonsense { .. }
            | Event::PeerUp { .. } => self.on_stream(event),
            Event::Applied { entry, .. } => {
                if matches!(entry.payload, AppliedPayload::Membership(_)) {
                    self.reached("membership applied");
                }
            }
            Event::ServerJoined { server, .. } => {
                if !self.joined.insert(*server) {
                    self.reached("chunkserver taken in again");
                }
            }
            Event::ServerStopped { .. } => self.reached("chunkserver dies"),
            Event::ServerLeft { why, .. } => self.reached(match why {
                Departure::Broke => "connection of a chunkserver broke",
                Departure::Closed => "node closed the connection of a chunkserver",
                Departure::Silence => "chunkserver left a silent node",
                Departure::Late => "chunkserver left a node that did not register it",
                Departure::PutOff => "chunkserver told to register later",
            }),
            Event::MountRegistered { mount, .. } => {
                let what = match self.mounted.insert(*mount) {
                    true => "mount registered",
                    false => "mount came back",
                };
                self.reached(what);
            }
            Event::MountTold { call, .. } => self.reached(&format!("mount told {call}")),
            Event::MountLocked { held: true, .. } => self.reached("mount locked"),
            Event::ChunkDone { done, order, .. } => match done {
                true => {
                    self.reached("chunk order carried out");
                    self.reached(&format!("chunk order {:?}", order.kind()));
                }
                false => self.reached("chunk order failed"),
            },
            Event::ReadEnded {
                content: Some(_),
                from: Some(_),
                ..
            } => self.reached("chunk read"),
            Event::FileSaid {
                fact: FileFact::Holds(_),
                ..
            } => self.reached("chunk written"),
            Event::DetectionJudged => self.reached("only detection is judged"),
            Event::PhaseBegins {
                phase: Phase::Liveness,
                core,
            } => {
                if core.len() < self.seats {
                    self.reached("healed core of a part");
                } else {
                    self.reached("healed core of all");
                }
            }
            _ => self.on_client(event),
        }
    }

    fn on_stream(&mut self, event: &Event) {
        match event {
            Event::IdentityStored { ok: false, .. } => self.reached("identity could not be stored"),
            Event::IdentityStored {
                seat, formed: true, ..
            } if self.formed.insert(*seat) => self.reached("cluster formed over streams"),
            Event::StreamBroken {
                how, torn_bytes, ..
            } => self.reached(match (how, torn_bytes) {
                (Break::Reset, 1..) => "frame torn by a reset",
                (Break::Ended, 1..) => "frame torn by a death",
                (_, 0) => "stream broken between frames",
            }),
            Event::StreamClosed { reason, .. } => match reason.as_str() {
                "it is silent" => self.reached("peer lost by its silence"),
                "another connection of the two nodes is kept" => {
                    self.reached("second connection of two nodes given up");
                }
                "what is sent to it does not arrive" => self.reached("peer lost by its deafness"),
                _ => {}
            },
            Event::Nonsense { .. } => self.reached("frame spoilt on the way"),
            Event::PeerUp {
                peer,
                amid_snapshot,
                ..
            } => {
                if *amid_snapshot {
                    self.reached("connected again while a snapshot streamed");
                }
                if peer.0 > self.seats as u64 {
                    self.reached("node joined over streams");
                }
            }
            _ => {}
        }
    }

    fn on_client(&mut self, event: &Event) {
        match event {
            Event::Invoked {
                call,
                body: RequestBody::Read { consistency, .. },
                ..
            } => {
                self.reads.insert(call.0, *consistency);
            }
            Event::Attempted {
                call,
                node,
                attempt: 1,
                ..
            } => {
                self.first_asked.insert(call.0, *node);
            }
            Event::Refused {
                error: NodeError::Unknown,
                ..
            } => self.reached("write unknown after lost leadership"),
            Event::Returned {
                call,
                node,
                attempt,
                result,
                ..
            } => {
                let asked = self.first_asked.remove(&call.0);
                let read = self.reads.remove(&call.0);
                match result {
                    Ok(ResponseBody::Written { outcome, .. }) => {
                        if self.follows(*node) {
                            self.reached("write answered by a follower");
                        }
                        if *attempt > 1 {
                            self.reached("write answered after a retry");
                        }
                        if outcome.repeated {
                            self.reached("write answered as a repeat");
                        }
                        if asked.is_some_and(|asked| asked != *node) {
                            self.reached("write answered by another node than was asked first");
                        }
                    }
                    Ok(ResponseBody::Read { .. }) => self.on_read(*node, read),
                    _ => {}
                }
            }
            Event::GaveUp { call, .. } => {
                self.first_asked.remove(&call.0);
                self.reads.remove(&call.0);
                self.reached("client gave up");
            }
            _ => {}
        }
    }

    /// Whether a node is a follower.
    ///
    /// Seats hold nodes of the same order until one is replaced; a coverage count may miss some, so
    /// only seats whose node never changed are looked at.
    fn follows(&self, node: mfsha_core::id::NodeId) -> bool {
        let seat = Seat(node.0.saturating_sub(1).min(255) as u8);
        usize::from(seat.0) < self.seats && self.roles.get(&seat) == Some(&Role::Follower)
    }

    fn on_read(&mut self, node: mfsha_core::id::NodeId, read: Option<Consistency>) {
        match read {
            Some(Consistency::Strict) => {
                self.reached("read strict");
                if self.follows(node) {
                    self.reached("read strict at a follower");
                }
            }
            Some(Consistency::StrictByLease) => self.reached("read by lease"),
            Some(Consistency::Fast { .. }) => self.reached("read fast"),
            None => {}
        }
    }

    fn on_fault(&mut self, fault: &crate::fault::Fault, stage: FaultStage) {
        let name = fault.kind().name();
        match stage {
            FaultStage::Begins => {
                self.reached(&format!("fault {name}"));
                if let Some(role) = fault.seat().and_then(|seat| self.roles.get(&seat)) {
                    let role = format!("{role:?}").to_lowercase();
                    self.reached(&format!("fault {name} {role}"));
                }
                let anywhere = self.under_way.values().copied();
                let anywhere = anywhere.fold(UnderWay::default(), UnderWay::and);
                for what in anywhere.names() {
                    self.reached(&format!("fault during {what}"));
                }
            }
            FaultStage::Ends => {}
            FaultStage::Skipped(_) => self.reached(&format!("fault {name} left out")),
        }
    }

    fn on_stopped(&mut self, seat: Seat, reason: &StopReason) {
        if self.flushing.remove(&seat).is_some() {
            self.reached("crash while a flush is under way");
        }
        if self.checkpointing.remove(&seat).is_some() {
            self.reached("crash while a checkpoint is under way");
        }
        let under_way = self.under_way.remove(&seat).unwrap_or_default();
        match reason {
            StopReason::Killed | StopReason::PowerLost => {
                for what in under_way.names() {
                    self.reached(&format!("crash of a node during {what}"));
                }
            }
            StopReason::Stopped(_) => self.reached("node stopped by itself"),
            StopReason::RefusedToOpen(_) => self.reached("node refused to start"),
            _ => {}
        }
        self.roles.remove(&seat);
    }
}

fn take_one(counts: &mut BTreeMap<Seat, u32>, seat: Seat) {
    if let Some(count) = counts.get_mut(&seat) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(&seat);
        }
    }
}

/// Required situations that `counts` lacks.
#[must_use]
pub fn missing(counts: &BTreeMap<String, u64>) -> Vec<&'static str> {
    REQUIRED
        .iter()
        .copied()
        .filter(|situation| !counts.contains_key(*situation))
        .collect()
}

#[cfg(test)]
mod tests {
    use mfsha_core::id::NodeId;

    use super::*;
    use crate::check::testing::{status, stopped, view};
    use crate::fault::{Fault, FaultKind};

    #[test]
    fn every_kind_of_fault_is_required() {
        for kind in FaultKind::ALL {
            let name = format!("fault {}", kind.name());
            assert!(
                REQUIRED
                    .iter()
                    .any(|situation| situation.starts_with(&name)),
                "{name}"
            );
        }
    }

    #[test]
    fn what_was_never_reached_is_missing() {
        let mut coverage = Coverage::new(3);
        assert_eq!(missing(coverage.counts()).len(), REQUIRED.len());
        let fault = Fault::Reset {
            a: Seat(0),
            b: Seat(1),
        };
        coverage.on_fault(&fault, FaultStage::Begins);
        assert_eq!(missing(coverage.counts()).len(), REQUIRED.len() - 1);
        coverage.on_fault(&fault, FaultStage::Skipped("why not"));
        assert_eq!(missing(coverage.counts()).len(), REQUIRED.len() - 1);
    }

    #[test]
    fn a_fault_is_told_by_what_is_under_way_anywhere_and_a_crash_by_what_is_there() {
        let mut coverage = Coverage::new(3);
        let mut healing = view(0, 1, status(1, None));
        healing.status.repairing = true;
        healing.receives_state = true;
        coverage.after_step(&healing);
        let mut candidate = view(1, 1, status(1, None));
        let raft = candidate.raft.as_mut().expect("it is no healing node");
        raft.role = Role::Candidate;
        raft.membership.voters.push([9].map(NodeId).into());
        coverage.after_step(&candidate);
        let fault = Fault::Reset {
            a: Seat(0),
            b: Seat(2),
        };
        coverage.on_fault(&fault, FaultStage::Begins);
        for seat in [0, 2] {
            coverage.on_event(SimTime::ZERO, &stopped(seat, StopReason::Killed));
        }
        coverage.on_fault(&fault, FaultStage::Begins);
        let counted = |name: &str| coverage.counts().get(name).copied();
        assert_eq!(counted("fault during an election"), Some(2));
        assert_eq!(counted("fault during a change of membership"), Some(2));
        assert_eq!(counted("fault during healing"), Some(1));
        assert_eq!(counted("fault during the arrival of a state"), Some(1));
        assert_eq!(counted("crash of a node during healing"), Some(1));
        assert_eq!(counted("crash of a node during an election"), None);
    }
}
