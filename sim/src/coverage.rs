//! Which rare situations a run reached: what kind of fault, to whom, and while what was under way.
//!
//! A simulator that never reaches a situation proves nothing about it. Every run counts; many
//! runs together must reach everything in [`REQUIRED`] and [`CROSSED`].
//!
//! A fault is counted when it begins, by what is under way anywhere; what came of it, when it
//! came, by what the node was at that suffers it. Of a fault that began nothing may have come.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mfsha_core::id::{LogIndex, NodeId};
use mfsha_core::node::request::{Consistency, NodeError, RequestBody, ResponseBody};
use mfsha_core::raft::Role;

use crate::check::NodeView;
use crate::data::{DataFact, Trouble};
use crate::disk::DiskCounts;
use crate::event::{
    AppliedPayload, Departure, Event, FaultStage, FileFact, LossReason, Phase, StopReason,
};
use crate::fault::{Fault, FaultKind};
use crate::place::{Place, Seat};
use crate::store::StoreCounts;
use crate::stream::Break;
use crate::time::SimTime;

mod required;

pub use required::{CROSSED, RARE_SEEDS, REQUIRED, SEEDS_MIN, missing, required};

/// What is under way, in a node or in the cluster, so that whatever happens then is worth more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum During {
    /// A node asks for votes.
    Election,
    /// A membership is in force that has two sets of voters.
    Membership,
    /// A node takes a peer's state over.
    Arrival,
    /// A node lost a part of its log, and has it given back.
    Healing,
    /// A node makes its state durable.
    Checkpoint,
    /// A node was started again, and has not yet applied what had been applied by then.
    Recovery,
    /// A node with an empty disk was started, and does not vote yet.
    Admission,
    /// Nobody leads.
    NoLeader,
    /// Another node is down.
    Outage,
    /// A node stands still.
    Standstill,
    /// Some nodes do not hear others.
    Cut,
    /// A disk takes nothing more.
    FullDisk,
    /// A disk is slow.
    SlowDisk,
}

impl During {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Election,
        Self::Membership,
        Self::Arrival,
        Self::Healing,
        Self::Checkpoint,
        Self::Recovery,
        Self::Admission,
        Self::NoLeader,
        Self::Outage,
        Self::Standstill,
        Self::Cut,
        Self::FullDisk,
        Self::SlowDisk,
    ];

    /// How a situation names it, after the word "during".
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Election => "an election",
            Self::Membership => "a change of membership",
            Self::Arrival => "the arrival of a state",
            Self::Healing => "healing",
            Self::Checkpoint => "a checkpoint",
            Self::Recovery => "a recovery",
            Self::Admission => "an admission",
            Self::NoLeader => "the lack of a leader",
            Self::Outage => "an outage",
            Self::Standstill => "a standstill",
            Self::Cut => "a cut",
            Self::FullDisk => "a full disk",
            Self::SlowDisk => "a slow disk",
        }
    }
}

/// A set of what is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct UnderWay(u16);

impl UnderWay {
    fn at(node: &NodeView) -> Self {
        let raft = node.raft.as_ref();
        let candidate = raft.is_some_and(|raft| raft.role == Role::Candidate);
        let joint = raft.is_some_and(|raft| raft.membership.voters.len() > 1);
        Self::default()
            .with(During::Election, candidate)
            .with(During::Membership, joint)
            .with(During::Arrival, node.receives_state)
            .with(During::Healing, node.status.repairing)
    }

    fn with(self, what: During, is: bool) -> Self {
        Self(self.0 | (u16::from(is) << what as u16))
    }

    fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn has(self, what: During) -> bool {
        self.0 >> what as u16 & 1 == 1
    }

    fn all(self) -> impl Iterator<Item = During> {
        During::ALL.into_iter().filter(move |what| self.has(*what))
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
    /// Nodes that were started again, and what they have to apply until they are as before.
    recovering: BTreeMap<Seat, LogIndex>,
    /// The highest index that anybody has applied.
    applied: LogIndex,
    /// Nodes that were started with an empty disk, until they vote.
    new: BTreeMap<Seat, NodeId>,
    /// Nodes that were ever started in an empty seat.
    known: BTreeSet<NodeId>,
    down: BTreeSet<Seat>,
    paused: BTreeSet<Seat>,
    /// Faults in force that others may meet, by their numbers.
    in_force: BTreeMap<u32, During>,
    disks: BTreeMap<Seat, DiskCounts>,
    stores: BTreeMap<Seat, StoreCounts>,
    delivered: BTreeMap<u64, ()>,
    /// The last message that arrived on each link.
    last: BTreeMap<(Place, Place), u64>,
    first_asked: BTreeMap<u64, NodeId>,
    reads: BTreeMap<u64, Consistency>,
    formed: BTreeSet<Seat>,
    /// Chunkservers that were taken in.
    joined: BTreeSet<u8>,
    mounted: BTreeSet<u8>,
    /// What mounts do with data: what it is, and whether another leader came meanwhile.
    data: BTreeMap<u64, (&'static str, bool)>,
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
        self.reached_times(situation, 1);
    }

    fn reached_times(&mut self, situation: &str, times: u64) {
        match self.counts.get_mut(situation) {
            Some(count) => *count += times,
            None => {
                self.counts.insert(situation.to_owned(), times);
            }
        }
    }

    /// A situation was reached while this was under way.
    fn reached_during(&mut self, situation: &str, under_way: UnderWay) {
        self.reached(situation);
        for what in under_way.all() {
            self.reached(&format!("{situation} during {}", what.name()));
        }
    }

    /// A node took a step.
    pub fn after_step(&mut self, node: &NodeView) {
        let now = UnderWay::at(node);
        let before = self.under_way.insert(node.seat, now).unwrap_or_default();
        match (before.has(During::Healing), now.has(During::Healing)) {
            (false, true) => self.reached("node heals"),
            (true, false) => self.reached("node healed"),
            _ => {}
        }
        let applied = node.status.applied;
        self.applied = self.applied.max(applied);
        if self
            .recovering
            .get(&node.seat)
            .is_some_and(|target| *target <= applied)
        {
            self.recovering.remove(&node.seat);
        }
    }

    /// What is on the disk of a seat is about to be opened: what reading suffers now, a node
    /// suffers that comes back.
    pub fn on_opening(&mut self, seat: Seat, life: u32) {
        if life > 1 {
            self.recovering.insert(seat, self.applied);
        }
    }

    /// What the disk and the store of a seat have suffered so far.
    pub fn on_effects(&mut self, seat: Seat, disk: DiskCounts, store: StoreCounts) {
        let disk_before = self.disks.insert(seat, disk).unwrap_or_default();
        let store_before = self.stores.insert(seat, store).unwrap_or_default();
        if disk == disk_before && store == store_before {
            return;
        }
        let under_way = self.under_way_at(seat);
        let role = self.role(seat);
        // A new store counts from 0 again.
        let store_before = match store.is_after(&store_before) {
            true => store_before,
            false => StoreCounts::default(),
        };
        let disk = disk.named().into_iter().zip(disk_before.named());
        let store = store.named().into_iter().zip(store_before.named());
        for ((name, count), (_, before)) in disk.chain(store) {
            if count > before {
                self.reached_times(name, count - before);
                self.reached_during(&format!("{name} {role}"), under_way);
            }
        }
    }

    /// What is under way in a node, and in the cluster around it.
    fn under_way_at(&self, seat: Seat) -> UnderWay {
        let own = self.under_way.get(&seat).copied().unwrap_or_default();
        own.with(During::Checkpoint, self.checkpointing.contains_key(&seat))
            .with(During::Recovery, self.recovering.contains_key(&seat))
            .and(self.around(Some(seat)))
    }

    /// What is under way anywhere. `struck`: whom a fault strikes.
    fn under_way_anywhere(&self, struck: Option<Seat>) -> UnderWay {
        let nodes = self.under_way.values().copied();
        nodes
            .fold(UnderWay::default(), UnderWay::and)
            .with(During::Checkpoint, !self.checkpointing.is_empty())
            .with(During::Recovery, !self.recovering.is_empty())
            .and(self.around(struck))
    }

    /// What is under way in the cluster as a whole, as a seat meets it.
    fn around(&self, seat: Option<Seat>) -> UnderWay {
        let others = |seats: &BTreeSet<Seat>| seats.iter().any(|other| Some(*other) != seat);
        let leads = self.roles.values().any(|role| *role == Role::Leader);
        let around = UnderWay::default()
            .with(During::Admission, !self.new.is_empty())
            .with(During::NoLeader, !leads)
            .with(During::Outage, others(&self.down))
            .with(During::Standstill, others(&self.paused));
        let in_force = self.in_force.values();
        in_force.fold(around, |around, what| around.with(*what, true))
    }

    /// What the node of a seat is: its role, or down, as one that is being opened.
    fn role(&self, seat: Seat) -> &'static str {
        match self.roles.get(&seat) {
            Some(Role::Leader) => "leader",
            Some(Role::Follower) => "follower",
            Some(Role::Candidate) => "candidate",
            Some(Role::Learner) => "learner",
            None => "down",
        }
    }

    /// Something happened.
    pub fn on_event(&mut self, _now: SimTime, event: &Event) {
        match event {
            Event::Fault {
                entry,
                fault,
                stage,
            } => self.on_fault(*entry, fault, *stage),
            Event::RoleChanged { seat, role, .. } => {
                let before = self.roles.insert(*seat, *role);
                if *role == Role::Leader && before != Some(Role::Leader) {
                    self.reached("leader changes");
                    for (_, failed_over) in self.data.values_mut() {
                        *failed_over = true;
                    }
                }
            }
            Event::NodeStarted {
                seat,
                node,
                life,
                applied,
            } => self.on_started(*seat, *node, *life, *applied),
            Event::NodeStopped { seat, reason, .. } => self.on_stopped(*seat, reason),
            Event::NodePaused { seat, .. } => {
                self.paused.insert(*seat);
            }
            Event::NodeResumed { seat, .. } => {
                self.paused.remove(seat);
            }
            Event::NodeReplaced { seat, .. } => {
                self.new.remove(seat);
                self.reached("node replaced");
            }
            Event::SnapshotInstalled { .. } => self.reached("snapshot installed"),
            Event::FlushStarted { seat, .. } => *self.flushing.entry(*seat).or_default() += 1,
            Event::FlushEnded { seat, .. } => take_one(&mut self.flushing, *seat),
            Event::CheckpointStarted { seat, .. } => {
                *self.checkpointing.entry(*seat).or_default() += 1;
            }
            Event::CheckpointEnded { seat, .. } => take_one(&mut self.checkpointing, *seat),
            Event::Delivered { message, from, to } => self.on_delivered(message.0, (*from, *to)),
            Event::Lost { reason, .. } => match reason {
                LossReason::Reset => self.reached("message lost by a reset"),
                LossReason::Cut => self.reached("message lost by a cut"),
                LossReason::Chance => self.reached("message lost by chance"),
                LossReason::Down => {}
            },
            Event::Corrupted { .. } => self.reached("bit flipped on the way"),
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
            Event::ServerSaidThatItStops { .. } => self.reached("chunkserver says that it stops"),
            Event::DataSaid { fact, .. } => self.on_data(fact),
            Event::ChainBroke { why, some, .. } => {
                self.reached("data: chain broke");
                if *some {
                    self.reached("data: chain broke behind one that has written");
                }
                match why {
                    Trouble::Version(_) => self.reached("data: write refused for its version"),
                    Trouble::NoCopy => self.reached("data: write found no copy"),
                    Trouble::Disk => self.reached("data: disk could not write"),
                    Trouble::Unreachable => {}
                }
            }
            Event::FetchRefused { why, .. } => match why {
                Trouble::Version(_) => self.reached("data: read met a copy of another version"),
                Trouble::NoCopy => self.reached("data: read found no copy"),
                Trouble::Disk | Trouble::Unreachable => {}
            },
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
            Event::CoreLeads { after } => self.on_leader(*after),
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

    fn on_data(&mut self, fact: &DataFact) {
        let (op, what) = match fact {
            DataFact::Writes { op, .. } => (*op, "write"),
            DataFact::Cuts { op, .. } => {
                if self.data.values().any(|(what, _)| *what == "write") {
                    self.reached("data: truncate while something is written");
                }
                (*op, "truncate")
            }
            DataFact::Slices { op, .. } => (*op, "slice"),
            DataFact::Reads { op, .. } => (*op, "read"),
            DataFact::Reserves { op, .. } => (*op, "append"),
            DataFact::Changed { op, done } => return self.on_data_end(*op, *done),
            DataFact::Read { op, value, .. } => return self.on_data_end(*op, value.is_some()),
            DataFact::Reserved { op, .. } => return self.on_data_end(*op, true),
            DataFact::Repaired { .. } => return self.reached("data: repair"),
            DataFact::Made { .. }
            | DataFact::Gone { .. }
            | DataFact::Length { .. }
            | DataFact::Refused { .. }
            | DataFact::Wrong { .. } => return,
        };
        self.data.insert(op, (what, false));
    }

    fn on_data_end(&mut self, op: u64, done: bool) {
        let Some((what, failed_over)) = self.data.remove(&op) else {
            return;
        };
        let how = match (done, failed_over) {
            (true, true) => "over a change of leader",
            (true, false) => "done",
            // One that lets a file grow takes nothing away.
            (false, _) => "given up",
        };
        self.reached(&format!("data: {what} {how}"));
    }

    fn on_started(&mut self, seat: Seat, node: NodeId, life: u32, applied: LogIndex) {
        self.roles.insert(seat, Role::Follower);
        self.flushing.remove(&seat);
        self.checkpointing.remove(&seat);
        self.down.remove(&seat);
        self.paused.remove(&seat);
        if node.0 > self.seats as u64 && self.known.insert(node) {
            self.new.insert(seat, node);
        }
        if life > 1 {
            self.reached("node restarts");
            if applied.0 > 0 {
                self.reached("node restarts from a checkpoint");
            }
        }
    }

    /// Buckets of twice the length each, so that a bound can be compared with what is usual.
    fn on_leader(&mut self, after: Duration) {
        let millis = after.as_millis();
        let bucket = std::iter::successors(Some(250_u128), |most| Some(most * 2));
        let most = bucket.into_iter().find(|most| millis <= *most);
        let most = most.expect("the buckets have no end");
        self.reached(&format!("core has a leader within {most:>5} ms"));
    }

    fn on_delivered(&mut self, message: u64, link: (Place, Place)) {
        let again = self.delivered.insert(message, ()).is_some();
        // Doubles follow their originals closely, so old ones can be forgotten.
        if self.delivered.len() > 4_096 {
            self.delivered.pop_first();
        }
        let last = self.last.entry(link).or_default();
        let overtaken = message < *last;
        *last = message.max(*last);
        if again {
            self.reached("message delivered twice");
        } else if overtaken {
            self.reached("message overtaken by another");
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
    fn follows(&self, node: NodeId) -> bool {
        let seat = Seat(node.0.saturating_sub(1).min(255) as u8);
        usize::from(seat.0) < self.seats && self.roles.get(&seat) == Some(&Role::Follower)
    }

    fn on_read(&mut self, node: NodeId, read: Option<Consistency>) {
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

    fn on_fault(&mut self, entry: u32, fault: &Fault, stage: FaultStage) {
        let name = fault.kind().name();
        match stage {
            FaultStage::Begins => {
                let under_way = self.under_way_anywhere(fault.seat());
                for what in under_way.all() {
                    self.reached(&format!("fault during {}", what.name()));
                }
                let struck = fault.seat().map(|seat| self.role(seat));
                match struck {
                    Some(role) => {
                        self.reached(&format!("fault {name}"));
                        self.reached_during(&format!("fault {name} {role}"), under_way);
                    }
                    None => self.reached_during(&format!("fault {name}"), under_way),
                }
                if let Some(what) = met_by_others(fault.kind()) {
                    self.in_force.insert(entry, what);
                }
            }
            FaultStage::Ends => {
                self.in_force.remove(&entry);
            }
            FaultStage::Skipped(_) => self.reached(&format!("fault {name} left out")),
        }
    }

    fn on_stopped(&mut self, seat: Seat, reason: &StopReason) {
        let under_way = self.under_way_at(seat);
        match reason {
            StopReason::Killed | StopReason::PowerLost => {
                if self.flushing.contains_key(&seat) {
                    self.reached("crash while a flush is under way");
                }
                for what in under_way.all() {
                    self.reached(&format!("crash during {}", what.name()));
                }
                self.reached_during(&format!("crash {}", self.role(seat)), under_way);
            }
            StopReason::Stopped(_) => {
                self.reached_during(&format!("stop {}", self.role(seat)), under_way);
                self.reached("node stopped by itself");
            }
            StopReason::RefusedToOpen(_) => self.reached("node refused to start"),
            StopReason::DiskLost | StopReason::Panicked(_) => {}
        }
        self.flushing.remove(&seat);
        self.checkpointing.remove(&seat);
        self.under_way.remove(&seat);
        self.recovering.remove(&seat);
        self.roles.remove(&seat);
        self.paused.remove(&seat);
        self.down.insert(seat);
    }
}

/// What others may meet while a fault of this kind lasts.
fn met_by_others(kind: FaultKind) -> Option<During> {
    match kind {
        FaultKind::Partition | FaultKind::OneWayPartition | FaultKind::Bridge => Some(During::Cut),
        FaultKind::FullDisk => Some(During::FullDisk),
        FaultKind::SlowDisk => Some(During::SlowDisk),
        _ => None,
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

#[cfg(test)]
mod tests {
    use mfsha_core::id::NodeId;

    use super::*;
    use crate::check::testing::{started, status, stopped, view};

    fn reset() -> Event {
        let fault = Fault::Reset {
            a: Seat(0),
            b: Seat(2),
        };
        begins(0, fault)
    }

    fn begins(entry: u32, fault: Fault) -> Event {
        let stage = FaultStage::Begins;
        Event::Fault {
            entry,
            fault,
            stage,
        }
    }

    fn counted(coverage: &Coverage, name: &str) -> u64 {
        coverage.counts().get(name).copied().unwrap_or(0)
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
        coverage.on_event(SimTime::ZERO, &reset());
        for seat in [0, 2] {
            coverage.on_event(SimTime::ZERO, &stopped(seat, StopReason::Killed));
        }
        coverage.on_event(SimTime::ZERO, &reset());
        let counted = |name: &str| counted(&coverage, name);
        assert_eq!(counted("fault during an election"), 2);
        assert_eq!(counted("fault reset down during an election"), 2);
        assert_eq!(counted("fault during a change of membership"), 2);
        assert_eq!(counted("fault during healing"), 1);
        assert_eq!(counted("fault reset down during healing"), 1);
        assert_eq!(counted("fault during the arrival of a state"), 1);
        assert_eq!(counted("crash during healing"), 1);
        assert_eq!(counted("crash down during healing"), 1);
        assert_eq!(counted("crash during an election"), 0);
        assert_eq!(counted("node heals"), 1);
    }

    #[test]
    fn what_is_under_way_ends() {
        let mut coverage = Coverage::new(3);
        let mut ahead = view(1, 1, status(1, None));
        ahead.status.applied = LogIndex(9);
        coverage.after_step(&ahead);
        let at = SimTime::ZERO;
        coverage.on_event(at, &stopped(0, StopReason::Killed));
        let slow = Fault::SlowDisk {
            seat: Seat(1),
            factor: 2,
            for_ms: 1,
        };
        coverage.on_event(at, &begins(7, slow.clone()));
        assert_eq!(
            counted(&coverage, "fault slow-disk down during a slow disk"),
            0
        );
        coverage.on_opening(Seat(0), 2);
        coverage.on_event(at, &started(0, 2, 0));
        coverage.on_event(at, &reset());
        let during = ["a slow disk", "a recovery", "the lack of a leader"];
        for what in during {
            let name = format!("fault reset follower during {what}");
            assert_eq!(counted(&coverage, &name), 1, "{name}");
        }
        let name = "fault reset follower during an outage";
        assert_eq!(counted(&coverage, name), 0, "it is up again");
        let mut behind = view(0, 1, status(1, None));
        behind.status.applied = LogIndex(9);
        coverage.after_step(&behind);
        let ends = Event::Fault {
            entry: 7,
            fault: slow,
            stage: FaultStage::Ends,
        };
        coverage.on_event(at, &ends);
        coverage.on_event(at, &reset());
        for what in &during[..2] {
            let name = format!("fault reset follower during {what}");
            assert_eq!(counted(&coverage, &name), 1, "{name}");
        }
    }

    #[test]
    fn a_fault_that_began_is_no_effect_and_an_effect_is_told_by_who_suffers_it() {
        let mut coverage = Coverage::new(3);
        let fault = Fault::Misdirect {
            seat: Seat(0),
            permille: 1,
            for_ms: 1,
        };
        coverage.on_event(SimTime::ZERO, &started(0, 1, 0));
        coverage.on_event(SimTime::ZERO, &begins(0, fault));
        coverage.on_effects(Seat(0), DiskCounts::default(), StoreCounts::default());
        assert_eq!(counted(&coverage, "disk write went astray"), 0);
        let mut disk = DiskCounts {
            misdirected: 2,
            ..DiskCounts::default()
        };
        coverage.on_effects(Seat(0), disk, StoreCounts::default());
        // Nothing new came of it.
        coverage.on_effects(Seat(0), disk, StoreCounts::default());
        assert_eq!(counted(&coverage, "disk write went astray"), 2);
        assert_eq!(counted(&coverage, "disk write went astray follower"), 1);
        disk.misdirected += 1;
        let store = StoreCounts {
            rotted: 1,
            ..StoreCounts::default()
        };
        coverage.on_effects(Seat(0), disk, store);
        assert_eq!(counted(&coverage, "disk write went astray"), 3);
        assert_eq!(counted(&coverage, "state rotted"), 1);
    }

    #[test]
    fn a_message_that_comes_late_was_overtaken_and_one_that_comes_again_was_doubled() {
        let mut coverage = Coverage::new(3);
        let (from, to) = (Place::Seat(Seat(0)), Place::Seat(Seat(1)));
        for message in [1, 3, 2, 3] {
            let message = crate::event::MessageNumber(message);
            coverage.on_event(SimTime::ZERO, &Event::Delivered { message, from, to });
        }
        assert_eq!(counted(&coverage, "message overtaken by another"), 1);
        assert_eq!(counted(&coverage, "message delivered twice"), 1);
    }
}
