//! What nodes say to each other.

use serde::{Deserialize, Serialize};

use super::ask::AskId;
use super::request::{NodeError, ResponseBody};
use crate::chunks::{ChunkWish, Talk};
use crate::codec::{self, DecodeError};
use crate::id::{GroupId, LogIndex, SessionId};
use crate::namespace::op::{Op, RequestId};
use crate::raft::SnapshotMeta;
use crate::transport::Class;

/// Kind of the sealed record, and the version of this format.
pub const KIND: u16 = 0x7065; // "pe"
const VERSION: u16 = 1;

/// A message of one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerMessage {
    /// Which group.
    pub group: GroupId,
    /// What is said.
    pub body: PeerBody,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerBody {
    /// For the consensus machine.
    Raft(#[serde(with = "codec::bytes")] Vec<u8>),
    /// One part of a snapshot.
    Part(Part),
    /// Every part before this one has arrived. Also said from time to time while the receiver works
    /// on a transfer that has arrived completely.
    PartsReceived {
        /// Which transfer.
        transfer: TransferId,
        /// First part that is missing.
        next: u64,
    },
    /// The receiver cannot use the transfer; stop sending.
    TransferRefused {
        /// Which transfer.
        transfer: TransferId,
        /// Why.
        reason: String,
    },
    /// The consensus machine's verdict on a snapshot that arrived.
    SnapshotAnswer {
        /// Which transfer.
        transfer: TransferId,
        /// The verdict, for the sender's machine.
        #[serde(with = "codec::bytes")]
        answer: Vec<u8>,
    },
    /// Some of my log or state is damaged: send me your state, if it is at least this far.
    RepairWanted {
        /// The state has to hold this index.
        at_least: LogIndex,
        /// The asking node's life.
        life: u64,
        /// Tells one wish from the next; comes back in the transfer's id.
        wish: u64,
    },
    /// My own state is damaged: ask another.
    RepairRefused {
        /// The asking node's life.
        life: u64,
        /// Its wish.
        wish: u64,
    },
    /// A face of mine asks this of you, who lead as far as I know. May come more than once.
    Ask {
        /// The asking node's life.
        life: u64,
        /// Its name for what it asks.
        ask: AskId,
        /// What is asked.
        asked: Asked,
    },
    /// About chunkservers.
    Chunks(Talk),
    /// What came of it.
    Told {
        /// The asking node's life.
        life: u64,
        /// Its name for what it asked.
        ask: AskId,
        /// The outcome, or why there is none.
        result: Box<Result<ResponseBody, NodeError>>,
    },
}

/// What a face asks of the leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Asked {
    /// To write.
    Write {
        /// In whose name; session 0 is not remembered.
        request: RequestId,
        /// What to do.
        op: Box<Op>,
    },
    /// To do something with chunks.
    Chunk(ChunkWish),
    /// To take note that somebody speaks for a session.
    Keep {
        /// The session.
        session: SessionId,
    },
}

/// Names a transfer at its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TransferId {
    /// Asked for by the sender's consensus machine.
    Snapshot {
        /// The sender's life, so that a restarted sender's numbers are not mistaken.
        life: u64,
        /// Number within that life.
        number: u64,
    },
    /// Asked for by a node that repairs itself.
    Repair {
        /// That node's life.
        life: u64,
        /// Its wish.
        wish: u64,
    },
}

/// A run of keys and values in order of key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Which transfer.
    pub transfer: TransferId,
    /// Position, from 0.
    pub number: u64,
    /// What the snapshot holds.
    pub meta: SnapshotMeta,
    /// For the receiver's consensus machine.
    #[serde(with = "codec::bytes")]
    pub header: Vec<u8>,
    /// The last key of the part before; empty for the first.
    #[serde(with = "codec::bytes")]
    pub after: Vec<u8>,
    /// Keys and values.
    pub pairs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether this is the last part.
    pub last: bool,
}

impl PeerBody {
    /// How urgent it is: parts of states wait for everything else.
    pub fn class(&self) -> Class {
        match self {
            Self::Part(_) => Class::Bulk,
            Self::Raft(_)
            | Self::PartsReceived { .. }
            | Self::TransferRefused { .. }
            | Self::SnapshotAnswer { .. }
            | Self::RepairWanted { .. }
            | Self::RepairRefused { .. }
            | Self::Ask { .. }
            | Self::Chunks(_)
            | Self::Told { .. } => Class::Control,
        }
    }
}

impl PeerMessage {
    /// As bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::seal(KIND, VERSION, &codec::encode(self))
    }

    /// From bytes.
    ///
    /// # Errors
    /// [`DecodeError`]: the message is dropped, and counted.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::unseal_all(KIND, VERSION, bytes).and_then(codec::decode)
    }
}
