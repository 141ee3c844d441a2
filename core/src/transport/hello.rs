//! What nodes say about themselves, before and beside the messages that they carry.
//!
//! ```text
//! dialer                      acceptor
//!   | -- PeerHello ------------> |
//!   | <----- Welcome / Refused - |      the acceptor has noted the dialer's disk on its own
//!   | -- Ready ----------------> |      the dialer has noted the acceptor's
//!   | <--- messages, notes ----> |
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::address::Address;
use super::identity::{DiskId, Founders, KnownPeer, Standing};
use crate::codec::{self, DecodeError};
use crate::id::NodeId;
use crate::limits;
use crate::native::ClusterId;

/// Kind of the record that holds a [`PeerHello`]: the first of a connection that a node dialed.
pub const PEER_HELLO_KIND: u16 = 0x6870; // "ph"
/// Kind of the record that holds a [`Note`].
pub const PEER_NOTE_KIND: u16 = 0x6e70; // "pn"
const VERSION: u16 = 1;

/// Oldest version of the protocol between nodes that this program speaks.
pub const PEER_PROTOCOL_OLDEST: u16 = 7;
/// Newest version of the protocol between nodes that this program speaks.
pub const PEER_PROTOCOL_NEWEST: u16 = 7;

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerHello {
    /// Oldest and newest protocol version that it speaks.
    pub protocol: (u16, u16),
    /// Who it is.
    pub node: NodeId,
    /// Its data directory.
    pub disk: DiskId,
    /// Number of its start with that directory; it is durable before it is said.
    pub incarnation: u64,
    /// Tells this process from every other.
    pub life: u64,
    /// Where peers and clients reach it.
    pub address: Address,
    /// Number of the dial in the dialer's life, on both sides of the connection: of two dials of
    /// one node, the newer is kept.
    pub dial: u64,
    /// Whom the dialer means to reach, when it knows.
    pub meant: Option<NodeId>,
    /// Whether it takes whatever cluster it finds (`--join`).
    pub joins: bool,
    /// How well it is placed to lead: higher is better.
    pub priority: u32,
    /// Its way into a cluster.
    pub standing: Standing,
    /// What it knows of others. At most [`limits::PEER_COUNT_MAX`].
    pub known: BTreeMap<NodeId, KnownPeer>,
}

/// Everything else that transports tell each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Note {
    /// The acceptor's answer to a hello that it likes: its own.
    Welcome(Box<PeerHello>),
    /// The sender closes now.
    Refused {
        /// Who it is.
        by: NodeId,
        /// Why.
        refusal: PeerRefusal,
    },
    /// The dialer's answer to a welcome that it likes. From here on messages may follow.
    Ready,
    /// Sent at short intervals, so that silence means trouble.
    Alive {
        /// Number of this note on this connection, from 1.
        number: u64,
        /// Highest number heard from the other side; 0 means none.
        heard: u64,
    },
    /// The sender's way into a cluster has gone on.
    Standing(Standing),
    /// What the sender knows of others has changed. At most [`limits::PEER_COUNT_MAX`].
    Known(BTreeMap<NodeId, KnownPeer>),
    /// The sender is placed otherwise than its hello said.
    Priority(u32),
}

/// Why a node wants nothing to do with another, or not by this connection.
///
/// The texts are for the operator of either of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum PeerRefusal {
    /// Upgrade the older of the two.
    #[error(
        "no common protocol version: {node} speaks {oldest} to {newest}; upgrade the older of the \
         two programs"
    )]
    Protocol {
        /// Who refuses.
        node: NodeId,
        /// Oldest version of the refusing node.
        oldest: u16,
        /// Newest version of the refusing node.
        newest: u16,
    },
    /// One of the addresses is wrong.
    #[error(
        "{node} belongs to another cluster, {cluster}; one of the two has a wrong peer address, or \
         a data directory of another cluster"
    )]
    OtherCluster {
        /// Who refuses.
        node: NodeId,
        /// Its cluster.
        cluster: ClusterId,
    },
    /// Start the refused node with `--join` in place of `--bootstrap` or `--init`.
    #[error(
        "{node} belongs to cluster {cluster}, which was formed without this node; to take part, \
         start this node with an empty data directory and --join"
    )]
    NotFounder {
        /// Who refuses.
        node: NodeId,
        /// Its cluster.
        cluster: ClusterId,
    },
    /// Give every node the same list; empty the data directories of nodes that are not formed.
    #[error(
        "{node} is bound to form a cluster of other nodes, {founders:?}: give every node the same \
         --bootstrap list, stop them all, empty their data directories (no cluster was formed yet), \
         and start them again"
    )]
    OtherFounders {
        /// Who refuses.
        node: NodeId,
        /// Whom it is bound to.
        founders: Founders,
    },
    /// The refused node must be started under a new id, with an empty data directory.
    #[error(
        "{refused} is known here with another disk: it comes with an emptied or new data directory \
         and has forgotten what it promised; start it under an id that was never used, with an \
         empty data directory and --join, and remove {refused} from the cluster"
    )]
    OtherDisk {
        /// Who is refused.
        refused: NodeId,
    },
    /// As `OtherDisk`: a restored copy of a data directory has forgotten promises, too.
    #[error(
        "{refused} was seen here in its start {seen} and now comes with start {found}: its data \
         directory is an older copy and has forgotten what it promised; start it under an id that \
         was never used, with an empty data directory and --join, and remove {refused} from the \
         cluster"
    )]
    OlderCopy {
        /// Who is refused.
        refused: NodeId,
        /// Newest start that was seen.
        seen: u64,
        /// The start that it says.
        found: u64,
    },
    /// Stop one of the two processes.
    #[error(
        "two processes run as {refused} with copies of one data directory; stop both, keep the \
         directory that was in use first, and start one"
    )]
    SecondProcess {
        /// Under which id.
        refused: NodeId,
    },
    /// Give one of the two nodes another id.
    #[error(
        "{node} is already the id of the node that was asked; every node needs an id of its own"
    )]
    SameId {
        /// The id.
        node: NodeId,
    },
    /// The dialer reached itself. No trouble.
    #[error("the address is the node's own")]
    Oneself,
    /// The dialer's address for a node is out of date.
    #[error("{meant} was expected, {node} is here: the address is out of date or wrong")]
    NotMeant {
        /// Who was meant.
        meant: NodeId,
        /// Who refuses.
        node: NodeId,
    },
    /// Give the refused node a certificate with its own name.
    #[error(
        "the certificate does not speak for {refused}: it needs the DNS name node-{}.mfsha",
        refused.0
    )]
    Certificate {
        /// Who is refused.
        refused: NodeId,
    },
    /// Both nodes have a better connection. No trouble.
    #[error("another connection of the two nodes is kept")]
    Duplicate,
    /// More nodes than [`limits::PEER_COUNT_MAX`].
    #[error("too many nodes: {} are known already", limits::PEER_COUNT_MAX)]
    TooMany,
    /// It said something that makes no sense.
    #[error("nonsense: {reason}")]
    Nonsense {
        /// What.
        reason: String,
    },
}

impl PeerRefusal {
    /// Whether an operator has to do something about it.
    #[must_use]
    pub fn is_trouble(&self) -> bool {
        !matches!(self, Self::Oneself | Self::Duplicate)
    }
}

impl PeerHello {
    /// As a sealed record.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::seal(PEER_HELLO_KIND, VERSION, &codec::encode(self))
    }

    /// From one whole sealed record.
    ///
    /// # Errors
    /// [`DecodeError`]: the connection is closed.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let hello: Self =
            codec::unseal_all(PEER_HELLO_KIND, VERSION, bytes).and_then(codec::decode)?;
        hello.validate()?;
        Ok(hello)
    }

    fn validate(&self) -> Result<(), DecodeError> {
        let founders = self.standing.founders();
        let reason = if self.node == NodeId(0) {
            "node 0 is no node"
        } else if self.known.len() > limits::PEER_COUNT_MAX {
            "it knows too many nodes"
        } else if founders.is_some_and(|f| !(1..=limits::PEER_COUNT_MAX).contains(&f.len())) {
            "it has no founders, or too many"
        } else {
            return Ok(());
        };
        Err(DecodeError::Malformed {
            reason: reason.into(),
        })
    }
}

impl Note {
    /// As a sealed record.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::seal(PEER_NOTE_KIND, VERSION, &codec::encode(self))
    }

    /// From one whole sealed record.
    ///
    /// # Errors
    /// [`DecodeError`]: the connection is closed.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let note: Self =
            codec::unseal_all(PEER_NOTE_KIND, VERSION, bytes).and_then(codec::decode)?;
        match &note {
            Self::Welcome(hello) => hello.validate()?,
            Self::Standing(standing)
                if standing
                    .founders()
                    .is_some_and(|f| !(1..=limits::PEER_COUNT_MAX).contains(&f.len())) =>
            {
                return Err(DecodeError::Malformed {
                    reason: "it has no founders, or too many".into(),
                });
            }
            Self::Known(known) if known.len() > limits::PEER_COUNT_MAX => {
                return Err(DecodeError::Malformed {
                    reason: "it knows too many nodes".into(),
                });
            }
            _ => {}
        }
        Ok(note)
    }
}
