//! What machines say to each other, and what they keep, as bytes.
//!
//! A message is a request or the reply to one; every request carries the sender's life (a random
//! number of this run of the machine) and a number, and the reply repeats both, so that a reply to
//! an earlier life or an abandoned request finds nobody. Everything is sealed by [`crate::codec`].
//! Bytes that do not parse, or that openraft would not survive, are refused here.

use serde::{Deserialize, Serialize};

use super::types::{
    Command, LeaderId, OEntry, OLogId, OPayload, OVote, entry, our_membership, ours,
    their_membership, theirs,
};
use super::{AppliedState, Membership, Vote};
use crate::codec::{self, DecodeError};
use crate::id::{LogIndex, NodeId, Term};
use crate::wal::record::LogId;

/// Version of every format in this file.
const VERSION: u16 = 1;
/// Kind of a sealed peer message.
const KIND_MESSAGE: u16 = 0x5201;
/// Kind of a sealed vote.
const KIND_VOTE: u16 = 0x5202;
/// Kind of a sealed snapshot header.
const KIND_SNAPSHOT_HEADER: u16 = 0x5203;
/// Kind of a sealed answer to a snapshot.
const KIND_SNAPSHOT_ANSWER: u16 = 0x5204;

/// A vote, or the ballot of a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ballot {
    pub(super) term: Term,
    pub(super) node: NodeId,
    /// A majority has granted it.
    pub(super) granted: bool,
}

impl Ballot {
    pub(super) fn of(vote: &OVote) -> Self {
        Self {
            term: Term(vote.leader_id.term),
            node: vote.leader_id.node,
            granted: vote.committed,
        }
    }

    pub(super) fn vote(self) -> OVote {
        OVote {
            leader_id: LeaderId {
                term: self.term.0,
                node: self.node,
            },
            committed: self.granted,
        }
    }

    /// As it is shown.
    pub(super) fn shown(self) -> Vote {
        Vote {
            term: self.term,
            candidate: self.node,
            granted: self.granted,
        }
    }
}

/// An entry on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WireEntry {
    pub(super) id: LogId,
    pub(super) payload: WirePayload,
}

/// What an entry says, as kept in the log and sent to peers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum WirePayload {
    Blank,
    Command(Command),
    Membership(Membership),
}

/// How sure a forwarded read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum WireReadPolicy {
    ReadIndex,
    Lease,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Request {
    /// Would you vote for me?
    PreVote {
        ballot: Ballot,
        last_log: Option<LogId>,
    },
    /// Vote for me.
    Vote {
        ballot: Ballot,
        last_log: Option<LogId>,
        /// The present leader asked for this: its lease does not count.
        transfer: bool,
    },
    /// Take these entries; none is a heartbeat.
    Append {
        ballot: Ballot,
        prev: Option<LogId>,
        entries: Vec<WireEntry>,
        committed: Option<LogId>,
    },
    /// Lead in my place.
    Transfer {
        ballot: Ballot,
        to: NodeId,
        last_log: Option<LogId>,
    },
    /// Up to where must a read have applied?
    Read { policy: WireReadPolicy },
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Reply {
    /// To a vote or a pre-vote.
    Vote {
        ballot: Ballot,
        granted: bool,
        last_log: Option<LogId>,
    },
    /// To an append.
    Append(AppendReply),
    /// To a transfer.
    Transfer(TransferReply),
    /// To a read.
    Read(Result<LogIndex, ReadRefusal>),
    /// The machine that was asked has stopped.
    Stopped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum AppendReply {
    /// All of it is durable.
    Success,
    /// It does not fit behind what is here.
    Conflict,
    /// A later ballot was seen.
    Higher(Ballot),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum TransferReply {
    Accepted,
    VoteChanged(Ballot),
    NotFlushed(Option<LogId>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ReadRefusal {
    NotLeader { leader: Option<NodeId> },
    NoQuorum,
}

/// A peer message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Message {
    Request { life: u64, id: u64, body: Request },
    Reply { life: u64, id: u64, body: Reply },
}

/// Why a message was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It does not parse, or contradicts itself.
    Malformed,
    /// It speaks in the name of another node.
    Forged,
}

impl Message {
    pub(super) fn encode(&self) -> Vec<u8> {
        codec::seal(KIND_MESSAGE, VERSION, &codec::encode(self))
    }

    /// Reads a message and checks everything that openraft takes for granted.
    pub(super) fn decode(from: NodeId, bytes: &[u8]) -> Result<Self, Refusal> {
        let message: Self = open(KIND_MESSAGE, bytes).map_err(|_| Refusal::Malformed)?;
        if let Self::Request { body, .. } = &message {
            body.check(from)?;
        }
        if let Self::Reply { body, .. } = &message {
            body.check()?;
        }
        Ok(message)
    }
}

fn check_id(id: Option<&LogId>) -> Result<(), Refusal> {
    match id {
        Some(id) if id.index.0 == 0 => Err(Refusal::Malformed),
        _ => Ok(()),
    }
}

impl Request {
    fn check(&self, from: NodeId) -> Result<(), Refusal> {
        match self {
            Self::PreVote { ballot, last_log }
            | Self::Vote {
                ballot, last_log, ..
            } => {
                check_id(last_log.as_ref())?;
                if ballot.granted {
                    return Err(Refusal::Malformed);
                }
                ballot.check_sender(from)
            }
            Self::Append {
                ballot,
                prev,
                entries,
                committed,
            } => {
                check_id(prev.as_ref())?;
                check_id(committed.as_ref())?;
                check_entries(*ballot, *prev, entries)?;
                ballot.check_leader(from)
            }
            Self::Transfer {
                ballot, last_log, ..
            } => {
                check_id(last_log.as_ref())?;
                ballot.check_leader(from)
            }
            Self::Read { .. } => Ok(()),
        }
    }
}

impl Reply {
    fn check(&self) -> Result<(), Refusal> {
        match self {
            Self::Vote { last_log, .. } => check_id(last_log.as_ref()),
            Self::Transfer(TransferReply::NotFlushed(id)) => check_id(id.as_ref()),
            Self::Read(Ok(index)) if index.0 == 0 => Err(Refusal::Malformed),
            _ => Ok(()),
        }
    }
}

impl Ballot {
    fn check_sender(self, from: NodeId) -> Result<(), Refusal> {
        if self.node == from {
            Ok(())
        } else {
            Err(Refusal::Forged)
        }
    }

    fn check_leader(self, from: NodeId) -> Result<(), Refusal> {
        if !self.granted {
            return Err(Refusal::Malformed);
        }
        self.check_sender(from)
    }
}

/// Entries follow each other without a gap, in rising order, none from a later term than the
/// ballot's.
fn check_entries(
    ballot: Ballot,
    prev: Option<LogId>,
    entries: &[WireEntry],
) -> Result<(), Refusal> {
    let mut before = prev.unwrap_or_default();
    for entry in entries {
        let follows = before.index.0.checked_add(1) == Some(entry.id.index.0);
        let rises = entry.id.term >= before.term;
        let owned = entry.id.term <= ballot.term;
        if !follows || !rises || !owned {
            return Err(Refusal::Malformed);
        }
        if let WirePayload::Membership(membership) = &entry.payload
            && (membership.voters.is_empty() || their_membership(membership).is_none())
        {
            return Err(Refusal::Malformed);
        }
        before = entry.id;
    }
    Ok(())
}

impl WirePayload {
    pub(super) fn of(payload: &OPayload) -> Self {
        match payload {
            OPayload::Blank => Self::Blank,
            OPayload::Normal(command) => Self::Command(command.clone()),
            OPayload::Membership(membership) => Self::Membership(our_membership(membership, None)),
        }
    }

    /// `None` when the membership in it contradicts itself.
    pub(super) fn payload(self) -> Option<OPayload> {
        Some(match self {
            Self::Blank => OPayload::Blank,
            Self::Command(command) => OPayload::Normal(command),
            Self::Membership(membership) => OPayload::Membership(their_membership(&membership)?),
        })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(bytes)
    }
}

impl WireEntry {
    pub(super) fn of(entry: &OEntry) -> Self {
        Self {
            id: ours(&entry.log_id),
            payload: WirePayload::of(&entry.payload),
        }
    }

    /// `None` for an entry that [`Message::decode`] would have refused.
    pub(super) fn entry(self) -> Option<OEntry> {
        Some(entry(theirs(self.id)?, self.payload.payload()?))
    }
}

/// openraft's log id for one that passed [`Message::decode`].
pub(super) fn checked(id: Option<LogId>) -> Option<OLogId> {
    id.and_then(theirs)
}

fn open<T: serde::de::DeserializeOwned>(kind: u16, bytes: &[u8]) -> Result<T, DecodeError> {
    let (payload, used) = codec::unseal(kind, VERSION, bytes)?;
    match bytes.len() - used {
        0 => codec::decode(payload),
        extra => Err(DecodeError::Trailing { extra }),
    }
}

/// A vote as the log keeps it.
pub(super) fn encode_vote(vote: &OVote) -> Vec<u8> {
    codec::seal(KIND_VOTE, VERSION, &codec::encode(&Ballot::of(vote)))
}

/// A vote that the log kept.
pub(super) fn decode_vote(bytes: &[u8]) -> Result<OVote, DecodeError> {
    open::<Ballot>(KIND_VOTE, bytes).map(Ballot::vote)
}

/// What goes before a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SnapshotHeader {
    pub(super) ballot: Ballot,
    pub(super) applied: AppliedState,
}

impl SnapshotHeader {
    pub(super) fn encode(&self) -> Vec<u8> {
        codec::seal(KIND_SNAPSHOT_HEADER, VERSION, &codec::encode(self))
    }

    pub(super) fn decode(from: NodeId, bytes: &[u8]) -> Result<Self, Refusal> {
        let header: Self = open(KIND_SNAPSHOT_HEADER, bytes).map_err(|_| Refusal::Malformed)?;
        header.ballot.check_leader(from)?;
        check_id(header.applied.last.as_ref())?;
        check_id(header.applied.membership.set_by.as_ref())?;
        let Some(last) = header.applied.last else {
            return Err(Refusal::Malformed);
        };
        if last.term > header.ballot.term || their_membership(&header.applied.membership).is_none()
        {
            return Err(Refusal::Malformed);
        }
        Ok(header)
    }
}

/// What comes back for a snapshot: the receiver's ballot, or that it could not take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum SnapshotAnswer {
    Taken(Ballot),
    Refused,
}

impl SnapshotAnswer {
    pub(super) fn encode(self) -> Vec<u8> {
        codec::seal(KIND_SNAPSHOT_ANSWER, VERSION, &codec::encode(&self))
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        open(KIND_SNAPSHOT_ANSWER, bytes)
    }
}
