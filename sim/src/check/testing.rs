//! Hand-made events for the tests of checkers: each says only what its law looks at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mfsha_core::id::{InodeId, Lane, LogIndex, NodeId, RequestSeq, SessionId, Term};
use mfsha_core::namespace::Namespace;
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{Caller, Command, Op, Outcome, Reply, RequestId};
use mfsha_core::node::request::{NodeError, NodeStatus, RequestBody, ResponseBody};
use mfsha_core::raft::{Membership, Role, Status};
use mfsha_core::time::{Stamp, WallTime};
use mfsha_core::wal::record::LogId;

use super::history::{HistoryFeed, SharedHistory};
use super::{Checker, ClusterView, NodeView, StateImage, Violation};
use crate::event::{AppliedEntry, AppliedPayload, CallNumber, Event, Phase, StopReason};
use crate::place::Seat;
use crate::store::SimStore;
use crate::time::SimTime;

/// A node's id follows its seat in these tests: seat 0 has node 1.
pub fn node_of(seat: u8) -> NodeId {
    NodeId(u64::from(seat) + 1)
}

/// An entry's id; the leader of a term is the node of that number.
pub fn log_id(term: u64, index: u64) -> LogId {
    LogId {
        term: Term(term),
        leader: NodeId(term),
        index: LogIndex(index),
    }
}

/// An entry that says nothing.
pub fn blank(term: u64, index: u64) -> AppliedEntry {
    AppliedEntry {
        id: log_id(term, index),
        payload: AppliedPayload::Blank,
        version: 0,
    }
}

/// A membership of these nodes.
pub fn membership(term: u64, index: u64, voters: &[u64]) -> AppliedEntry {
    AppliedEntry {
        payload: AppliedPayload::Membership(members(voters)),
        ..blank(term, index)
    }
}

/// A membership of these voters.
pub fn members(voters: &[u64]) -> Membership {
    Membership {
        voters: vec![voters.iter().copied().map(NodeId).collect()],
        learners: BTreeSet::new(),
        set_by: None,
    }
}

/// A request that closes a session of its own number; differs by `seq` alone.
pub fn write(session: u32, lane: u32, seq: u64) -> Command {
    Command {
        stamp: Stamp::MIN,
        now: WallTime(0),
        request: Some(RequestId::new(
            SessionId(session),
            Lane(lane),
            RequestSeq(seq),
        )),
        op: Op::TouchAtime {
            inode: InodeId(seq as u32),
        },
    }
}

/// The request as a client asks for it.
pub fn body(command: &Command) -> RequestBody {
    let request = command.request.expect("made by `write`");
    RequestBody::Write {
        session: request.session,
        lane: request.lane,
        seq: request.seq,
        op: command.op.clone(),
    }
}

/// Carried out; the version is this afterwards.
pub fn done(version: u64) -> Outcome {
    replied(Reply::Done, version)
}

/// Carried out with this reply.
pub fn replied(reply: Reply, version: u64) -> Outcome {
    Outcome {
        result: Ok(reply),
        notices: Vec::new(),
        version,
        repeated: false,
    }
}

/// Refused.
pub fn refused(version: u64) -> Outcome {
    Outcome {
        result: Err(FsError::NoEnt),
        ..done(version)
    }
}

/// A command and what it came to.
pub fn command(term: u64, index: u64, command: &Command, outcome: Outcome) -> AppliedEntry {
    AppliedEntry {
        id: log_id(term, index),
        version: outcome.version,
        payload: AppliedPayload::Command {
            command: Arc::new(command.clone()),
            outcome: Arc::new(outcome),
        },
    }
}

/// Applied in the first life of a seat's node.
pub fn applied(seat: u8, entry: AppliedEntry) -> Event {
    Event::Applied {
        seat: Seat(seat),
        node: node_of(seat),
        life: 1,
        entry,
    }
}

/// A life begins.
pub fn started(seat: u8, life: u32, applied: u64) -> Event {
    Event::NodeStarted {
        seat: Seat(seat),
        node: node_of(seat),
        life,
        applied: LogIndex(applied),
    }
}

/// A life ends.
pub fn stopped(seat: u8, reason: StopReason) -> Event {
    Event::NodeStopped {
        seat: Seat(seat),
        node: node_of(seat),
        reason,
    }
}

/// A node leads.
pub fn leads(seat: u8, term: u64) -> Event {
    Event::RoleChanged {
        seat: Seat(seat),
        node: node_of(seat),
        role: Role::Leader,
        term: Term(term),
        leader: Some(node_of(seat)),
    }
}

/// A client asks.
pub fn invoked(call: u64, client: u16, body: RequestBody) -> Event {
    Event::Invoked {
        call: CallNumber(call),
        client,
        body,
    }
}

/// A client is answered.
pub fn returned(call: u64, client: u16, result: Result<ResponseBody, NodeError>) -> Event {
    Event::Returned {
        call: CallNumber(call),
        client,
        node: NodeId(1),
        attempt: 1,
        result,
    }
}

/// A write is acknowledged.
pub fn written(call: u64, client: u16, index: u64, outcome: Outcome) -> Event {
    let body = ResponseBody::Written {
        index: LogIndex(index),
        outcome,
    };
    returned(call, client, Ok(body))
}

/// What consensus shows: a follower of this term with everything up to `applied`.
pub fn status(term: u64, applied: Option<LogId>) -> Status {
    Status {
        role: Role::Follower,
        term: Term(term),
        vote: None,
        vote_kept: None,
        leader: None,
        last_log: applied,
        committed: applied,
        applied,
        purged: None,
        snapshot: None,
        membership: members(&[1, 2, 3]),
        matched: BTreeMap::new(),
        log_bytes: 0,
    }
}

/// A node after a step.
pub fn view(seat: u8, life: u32, raft: Status) -> NodeView {
    NodeView {
        seat: Seat(seat),
        node: node_of(seat),
        life,
        receives_state: false,
        durable: raft.last_log,
        version: 0,
        status: node_status(node_of(seat), &raft),
        raft: Some(raft),
    }
}

fn node_status(node: NodeId, raft: &Status) -> NodeStatus {
    let index = |id: Option<LogId>| id.map_or(LogIndex(0), |id| id.index);
    NodeStatus {
        node,
        term: raft.term,
        leader: raft.leader,
        leads: raft.role == Role::Leader,
        committed: index(raft.committed),
        applied: index(raft.applied),
        membership: raft.membership.clone(),
        repairing: false,
    }
}

/// A leader after a step.
pub fn leader(seat: u8, term: u64, last: Option<LogId>) -> NodeView {
    let mut raft = status(term, last);
    raft.role = Role::Leader;
    raft.leader = Some(node_of(seat));
    view(seat, 1, raft)
}

/// A cluster of these nodes, all in the core.
pub fn cluster(phase: Phase, nodes: Vec<NodeView>) -> ClusterView {
    ClusterView {
        now: SimTime::ZERO,
        phase,
        core: nodes.iter().map(|node| node.seat).collect(),
        nodes: nodes.into_iter().map(|node| (node.seat, node)).collect(),
        states: BTreeMap::new(),
        logs: BTreeMap::new(),
    }
}

/// Shows events to the history and to a checker; stops at the first violation.
pub fn show(
    checker: &mut dyn Checker,
    history: &SharedHistory,
    events: &[Event],
) -> Result<(), Violation> {
    let mut feed = HistoryFeed::new(history.clone());
    for (at, event) in events.iter().enumerate() {
        let now = SimTime(at as u64);
        feed.on_event(now, event)?;
        checker.on_event(now, event)?;
    }
    Ok(())
}

/// The state after `index` directories were made, one an entry.
pub fn state_at(index: u64) -> StateImage {
    let store = SimStore::new();
    let mut namespace = Namespace::open(store.clone()).expect("an empty store opens");
    for number in 1..=index {
        let command = Command {
            stamp: Stamp {
                time: number,
                node: NodeId(1),
            },
            request: None,
            op: mkdir(&format!("dir{number}")),
            now: WallTime(number as u32),
        };
        let outcome = namespace
            .apply(LogIndex(number), &command)
            .expect("a whole store applies");
        outcome.result.expect("the name is free");
    }
    store.image()
}

/// Makes a directory in the root, as the cluster itself.
pub fn mkdir(name: &str) -> Op {
    Op::Mkdir {
        caller: cluster_itself(),
        parent: InodeId::ROOT,
        name: name.as_bytes().to_vec(),
        mode: 0o755,
        umask: 0,
        copy_setgid: false,
    }
}

/// Who may do everything.
pub fn cluster_itself() -> Caller {
    Caller {
        session: SessionId(0),
        uid: 0,
        gids: vec![0],
    }
}
