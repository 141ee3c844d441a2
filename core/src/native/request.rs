//! What a native client asks a node, and what it is told.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::inspect::Inspected;
use crate::chunks::ChunkAnswer;
use crate::id::{Lane, LogIndex, NodeId, RequestSeq, SessionId, Term};
use crate::membership::Membership;
use crate::namespace::error::FsError;
use crate::namespace::op::{Answer, Op, Outcome, Query};

/// Names a request on the connection it came by; the response carries it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CallId(pub u64);

/// A connection of a client to this node, as the driver numbers them; never reused in one life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// How fresh a read has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Consistency {
    /// Linearizable: a majority confirms the leader, from whichever node is asked.
    Strict,
    /// Linearizable as long as clock rates stay within their bound: the leader's lease confirms.
    StrictByLease,
    /// This node's applied state, but not older than the given index: within one session never
    /// going back.
    Fast {
        /// Highest index that the session has seen.
        not_before: LogIndex,
    },
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Its name on this connection.
    pub call: CallId,
    /// What is wanted.
    pub body: RequestBody,
}

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RequestBody {
    /// Change the tree, once however often it is asked.
    Write {
        /// The session in whose name the request is remembered; 0 for the cluster's own work,
        /// which is not remembered.
        session: SessionId,
        /// The session's thread.
        lane: Lane,
        /// Number of the request in its lane.
        seq: RequestSeq,
        /// What to do.
        op: Op,
    },
    /// Read the tree.
    Read {
        /// How fresh.
        consistency: Consistency,
        /// What.
        query: Query,
    },
    /// Change who takes part in the group; answered when it is committed and applied.
    ChangeMembership {
        /// Voters afterwards.
        voters: BTreeSet<NodeId>,
        /// Learners afterwards.
        learners: BTreeSet<NodeId>,
    },
    /// Hand leadership to a voter; answered at once.
    TransferLeadership {
        /// To whom.
        to: NodeId,
    },
    /// How this node stands; answered by any node at once.
    Status,
    /// Keep a snapshot of the state and shorten the log; answered when the snapshot is durable.
    TakeSnapshot,
    /// Somebody still speaks for this session: asked of the leader now and then, or it takes the
    /// session for left. Answered as a read of [`Query::GetSession`].
    KeepSession {
        /// The session.
        session: SessionId,
    },
}

/// A response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// The request's name.
    pub call: CallId,
    /// What came of it.
    pub result: Result<ResponseBody, NodeError>,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResponseBody {
    /// The write was committed and applied (also when it was refused by the tree).
    Written {
        /// Its place in the log; of a repeated request, the place of the repeat.
        index: LogIndex,
        /// What applying it came to.
        outcome: Outcome,
    },
    /// The state that was read.
    Read {
        /// Applied index of the state that was read.
        index: LogIndex,
        /// The answer.
        result: Result<Answer, FsError>,
    },
    /// The membership change is committed and applied here.
    MembershipChanged {
        /// Its place in the log.
        index: LogIndex,
    },
    /// Leadership is being handed over; watch the status.
    TransferStarted,
    /// How the node stands.
    Status(NodeStatus),
    /// What was wished of chunks; only faces wish.
    Chunk(ChunkAnswer),
    /// What is to be seen here; only faces look.
    Inspected(Inspected),
    /// A snapshot is durable here.
    SnapshotTaken {
        /// The state up to this index is in it.
        applied: LogIndex,
    },
}

/// How a node stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The node.
    pub node: NodeId,
    /// Present term.
    pub term: Term,
    /// The leader as far as known.
    pub leader: Option<NodeId>,
    /// Whether this node leads.
    pub leads: bool,
    /// Highest index known to be committed.
    pub committed: LogIndex,
    /// Highest index applied.
    pub applied: LogIndex,
    /// Members.
    pub membership: Membership,
    /// Whether this node is fetching what its disk lost.
    pub repairing: bool,
}

/// Why a request has no outcome. The write may still have happened where the variant says so; the
/// same request asked again (same session, lane and number) tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum NodeError {
    /// Ask the leader. Nothing happened.
    #[error("not the leader; the leader is {leader:?}")]
    NotLeader {
        /// Who leads, when known.
        leader: Option<NodeId>,
    },
    /// It may or may not take effect. Ask again, anywhere.
    #[error("leadership was lost before the outcome was known")]
    Unknown,
    /// No majority answers, or the node is repairing itself. Ask again later or elsewhere. A
    /// read: nothing happened. A write: may or may not take effect.
    #[error("not available now: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
    /// Too much is waiting already. Nothing happened; ask again later.
    #[error("too many requests are waiting")]
    Overloaded,
    /// The request itself is not acceptable; asking again is useless.
    #[error("bad request: {reason}")]
    Invalid {
        /// Why.
        reason: String,
    },
}
