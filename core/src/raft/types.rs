//! What openraft is configured with, and how its ids become ours.
//!
//! openraft counts entries from 0 and calls "nothing" `None`; our [`LogIndex`] counts from 1, so
//! that 0 can mean nothing. The translation is here and nowhere else.
//!
//! Leader ids are the standard ones of Raft: two candidates of one term are incomparable, so a
//! term has at most one leader. (openraft's default orders them by node, which lets one term have
//! several leaders one after the other; a delayed vote request that a leadership transfer sent
//! past the lease could then depose a leader of its own term while that still trusts its lease.)
//! The id of a *committed* leader keeps the node all the same, so that a log id says who made it.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use openraft::entry::RaftEntry;
use openraft::raft::responder::Responder;
use openraft::vote::RaftLeaderId;
use openraft::{EntryPayload, RaftTypeConfig};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Membership;
use super::runtime::Runtime;
use crate::id::{LogIndex, NodeId, Term};
use crate::wal::record::LogId;

/// The types that openraft is made for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Types;

impl RaftTypeConfig for Types {
    type D = Command;
    type R = ();
    type NodeId = NodeId;
    type Node = ();
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = openraft::Vote<LeaderId>;
    type Payload = OPayload;
    type Entry = OEntry;
    type AsyncRuntime = Runtime;
    type Responder<T>
        = Answer<T>
    where
        T: openraft::OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: openraft::OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

pub(super) type OVote = openraft::Vote<LeaderId>;
pub(super) type OLogId = openraft::LogId<CommittedLeaderId>;
pub(super) type OPayload = EntryPayload<Command, NodeId, ()>;
pub(super) type OEntry = openraft::Entry<CommittedLeaderId, OPayload>;
pub(super) type OMembership = openraft::Membership<NodeId, ()>;
pub(super) type OStoredMembership = openraft::StoredMembership<CommittedLeaderId, NodeId, ()>;
pub(super) type OSnapshotMeta = openraft::SnapshotMeta<CommittedLeaderId, NodeId, ()>;
pub(super) type OSnapshot =
    openraft::Snapshot<CommittedLeaderId, NodeId, (), super::state_machine::SnapshotHandle>;

/// A command's bytes, shared between the log, the wire and the state machine.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Command(pub(super) Arc<[u8]>);

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Command {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Command {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Command;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Command, E> {
                Ok(Command(bytes.into()))
            }

            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Command, E> {
                Ok(Command(bytes.into()))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// Who asks to lead, in which term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LeaderId {
    pub(super) term: u64,
    pub(super) node: NodeId,
}

/// Who has led. At most one per term, which is why ordering by node as well changes nothing.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub(super) struct CommittedLeaderId {
    pub(super) term: u64,
    pub(super) node: NodeId,
}

impl fmt::Display for LeaderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t{}-{}", self.term, self.node)
    }
}

impl fmt::Display for CommittedLeaderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t{}-{}", self.term, self.node)
    }
}

impl PartialOrd for LeaderId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match self.term.cmp(&other.term) {
            Ordering::Equal if self.node != other.node => None,
            order => Some(order),
        }
    }
}

impl PartialEq<CommittedLeaderId> for LeaderId {
    fn eq(&self, _: &CommittedLeaderId) -> bool {
        false
    }
}

impl PartialOrd<CommittedLeaderId> for LeaderId {
    /// A committed leader is above every candidate of its term.
    fn partial_cmp(&self, other: &CommittedLeaderId) -> Option<Ordering> {
        match self.term.cmp(&other.term) {
            Ordering::Equal => Some(Ordering::Less),
            order => Some(order),
        }
    }
}

impl RaftLeaderId for LeaderId {
    type Term = u64;
    type NodeId = NodeId;
    type Committed = CommittedLeaderId;

    fn new(term: u64, node: NodeId) -> Self {
        Self { term, node }
    }

    fn term(&self) -> u64 {
        self.term
    }

    fn node_id(&self) -> &NodeId {
        &self.node
    }

    /// The first entry of a group, in term 0, belongs to nobody: whoever initializes makes the
    /// same one.
    fn to_committed(&self) -> CommittedLeaderId {
        CommittedLeaderId {
            term: self.term,
            node: if self.term == 0 { NodeId(0) } else { self.node },
        }
    }
}

/// Where the fate of a proposal goes.
pub(super) struct Answer<T> {
    pub(super) on_commit: Option<Box<dyn FnOnce(OLogId) + Send>>,
    pub(super) on_complete: Box<dyn FnOnce(T) + Send>,
}

impl<T: Send + 'static> Responder<Types, T> for Answer<T> {
    fn on_commit(&mut self, id: OLogId) {
        if let Some(answer) = self.on_commit.take() {
            answer(id);
        }
    }

    fn on_complete(self, result: T) {
        (self.on_complete)(result);
    }
}

/// Our log id for openraft's.
pub(super) fn ours(id: &OLogId) -> LogId {
    LogId {
        term: Term(id.leader_id.term),
        leader: id.leader_id.node,
        index: LogIndex(id.index + 1),
    }
}

/// openraft's log id for ours; `None` for index 0, which names no entry.
pub(super) fn theirs(id: LogId) -> Option<OLogId> {
    Some(OLogId {
        leader_id: CommittedLeaderId {
            term: id.term.0,
            node: id.leader,
        },
        index: id.index.0.checked_sub(1)?,
    })
}

/// Our membership for openraft's.
pub(super) fn our_membership(membership: &OMembership, set_by: Option<LogId>) -> Membership {
    Membership {
        voters: membership.get_joint_config().clone(),
        learners: membership.learner_ids().collect(),
        set_by,
    }
}

/// Our membership for openraft's stored one.
pub(super) fn our_stored_membership(stored: &OStoredMembership) -> Membership {
    our_membership(stored.membership(), stored.log_id().as_ref().map(ours))
}

/// openraft's membership for ours; `None` when it contradicts itself (an empty set of voters).
pub(super) fn their_membership(membership: &Membership) -> Option<OMembership> {
    if membership.voters.is_empty() && membership.learners.is_empty() {
        return Some(OMembership::default());
    }
    if membership.voters.is_empty() || membership.voters.iter().any(BTreeSet::is_empty) {
        return None;
    }
    let nodes: BTreeSet<NodeId> = membership
        .voters
        .iter()
        .flatten()
        .chain(&membership.learners)
        .copied()
        .collect();
    let nodes = nodes.into_iter().map(|node| (node, ())).collect();
    openraft::Membership::new::<std::collections::BTreeMap<NodeId, ()>>(
        membership.voters.clone(),
        nodes,
    )
    .ok()
}

/// openraft's stored membership for ours.
pub(super) fn their_stored_membership(membership: &Membership) -> Option<OStoredMembership> {
    let set_by = match membership.set_by {
        Some(id) => Some(theirs(id)?),
        None => None,
    };
    Some(OStoredMembership::new(
        set_by,
        their_membership(membership)?,
    ))
}

/// An entry for openraft.
pub(super) fn entry(id: OLogId, payload: OPayload) -> OEntry {
    OEntry::new(id, payload)
}
