//! The first record of each side of a native client's connection.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::codec::{self, DecodeError};
use crate::id::NodeId;

/// Oldest version of the native protocol that this program speaks.
pub const PROTOCOL_OLDEST: u16 = 3;
/// Newest version of the native protocol that this program speaks.
pub const PROTOCOL_NEWEST: u16 = 3;

/// Kind of the record that holds a [`ClientHello`].
pub const CLIENT_HELLO_KIND: u16 = 0x6863; // "ch"
/// Kind of the record that holds a [`HelloReply`].
pub const HELLO_REPLY_KIND: u16 = 0x7268; // "hr"
const VERSION: u16 = 1;

/// Names one cluster; drawn when it is formed, never changed, 0 before that.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct ClusterId(pub u128);

impl std::fmt::Display for ClusterId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What a client says first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientHello {
    /// Oldest and newest protocol version that the client speaks.
    pub protocol: (u16, u16),
    /// Secret that the cluster asks for (`MFSHA_AUTH_TOKEN`); empty when it asks for none.
    pub token: Vec<u8>,
    /// The cluster that the client means; `None` when it takes what it finds.
    pub cluster: Option<ClusterId>,
    /// Name and version of the program, for the node's log.
    pub program: String,
}

/// What a node answers first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HelloReply {
    /// Go on.
    Welcome(Welcome),
    /// The node closes now.
    Refused(Refusal),
}

/// What a client learns of the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version both speak from here on.
    pub protocol: u16,
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// Where the nodes of the cluster take clients, as `host:port`, as far as this node knows.
    pub addresses: BTreeMap<NodeId, String>,
}

/// Why a node turns a client away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// Upgrade the older of the two.
    #[error("no common protocol version: the node speaks {oldest} to {newest}")]
    Protocol {
        /// Oldest version of the node.
        oldest: u16,
        /// Newest version of the node.
        newest: u16,
    },
    /// Give the cluster's `MFSHA_AUTH_TOKEN`.
    #[error("the token is missing or wrong; it has to be the cluster's MFSHA_AUTH_TOKEN")]
    Token,
    /// Ask a node of the cluster that was meant.
    #[error("this node belongs to cluster {cluster}")]
    Cluster {
        /// The node's cluster.
        cluster: ClusterId,
    },
    /// Ask another node, or later.
    #[error("not ready: {reason}")]
    NotReady {
        /// Why.
        reason: String,
    },
}

impl ClientHello {
    /// As a sealed record.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::seal(CLIENT_HELLO_KIND, VERSION, &codec::encode(self))
    }

    /// From one whole sealed record.
    ///
    /// # Errors
    /// [`DecodeError`]: the connection is closed.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::unseal_all(CLIENT_HELLO_KIND, VERSION, bytes).and_then(codec::decode)
    }
}

impl HelloReply {
    /// As a sealed record.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::seal(HELLO_REPLY_KIND, VERSION, &codec::encode(self))
    }

    /// From one whole sealed record.
    ///
    /// # Errors
    /// [`DecodeError`]: the connection is closed.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::unseal_all(HELLO_REPLY_KIND, VERSION, bytes).and_then(codec::decode)
    }
}
