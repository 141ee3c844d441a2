//! Who a node is: what it keeps on its disk about itself, its cluster and its peers.
//!
//! The driver stores the [`Identity`] whole, in one file, and replaces it whole.
//!
//! What is *not* known here: files, and how peers are reached.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::address::Address;
use crate::codec::{self, DecodeError};
use crate::id::NodeId;
use crate::limits;
use crate::native::ClusterId;

/// Kind of the record that holds an [`Identity`].
pub const IDENTITY_KIND: u16 = 0x6469; // "id"
const VERSION: u16 = 1;

/// Names one data directory: drawn at random when it is made, never changed.
///
/// A node that comes back with an emptied disk has another one under its old id, and is refused:
/// it has forgotten what it promised.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct DiskId(pub u128);

impl std::fmt::Display for DiskId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Those who form a cluster, each with its disk. At most [`limits::PEER_COUNT_MAX`].
pub type Founders = BTreeMap<NodeId, DiskId>;

/// How far a node is on its way into a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Standing {
    /// Of no cluster yet.
    #[default]
    Open,
    /// Forms a cluster with exactly these, or none at all: a pledge is never taken back, so two
    /// sets that share a node can never both become a cluster.
    Pledged {
        /// All of them, this node included.
        founders: Founders,
    },
    /// Belongs to a cluster for good.
    Formed {
        /// Who founded it; the cluster's id is [`cluster_of`] them.
        founders: Founders,
    },
}

impl Standing {
    /// The cluster; 0 before there is one.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        match self {
            Self::Formed { founders } => cluster_of(founders),
            Self::Open | Self::Pledged { .. } => ClusterId(0),
        }
    }

    /// Founders of the cluster, or of the one that is to be.
    #[must_use]
    pub fn founders(&self) -> Option<&Founders> {
        match self {
            Self::Open => None,
            Self::Pledged { founders } | Self::Formed { founders } => Some(founders),
        }
    }
}

/// The id of the cluster that these found: a hash over them, so that everybody computes the same.
/// Never 0.
#[must_use]
pub fn cluster_of(founders: &Founders) -> ClusterId {
    let mut hasher = blake3::Hasher::new_derive_key("mfsha 2026 cluster id");
    for (node, disk) in founders {
        hasher.update(&node.0.to_le_bytes());
        hasher.update(&disk.0.to_le_bytes());
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    ClusterId(u128::from_le_bytes(bytes).max(1))
}

/// What a node remembers of a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownPeer {
    /// Its disk; `None` while it was only heard of.
    pub disk: Option<DiskId>,
    /// Number of the start of the peer in which it gave this address; the newer address wins. With
    /// a disk: the newest start that was seen, and a peer that comes with an older one is refused.
    pub incarnation: u64,
    /// Where it is reached.
    pub address: Address,
}

/// What a node has to keep about itself, its cluster and its peers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// This node.
    pub node: NodeId,
    /// This data directory.
    pub disk: DiskId,
    /// Number of starts with this data directory. The transport raises it by one at each start.
    pub incarnation: u64,
    /// This node's way into a cluster.
    pub standing: Standing,
    /// The peers. At most [`limits::PEER_COUNT_MAX`].
    pub peers: BTreeMap<NodeId, KnownPeer>,
}

/// Why stored bytes are not an identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The file was damaged, or is of another version. It cannot be made again: start the node
    /// under a new id with an empty data directory.
    #[error("{0}")]
    Record(#[from] DecodeError),
    /// It breaks a law that every identity holds, as above.
    #[error("it contradicts itself: {0}")]
    Contradiction(&'static str),
}

impl Identity {
    /// The identity of a data directory that was just made. `disk` is drawn by the driver.
    #[must_use]
    pub fn new(node: NodeId, disk: DiskId) -> Self {
        Self {
            node,
            disk,
            incarnation: 0,
            standing: Standing::Open,
            peers: BTreeMap::new(),
        }
    }

    /// The cluster; 0 before it is formed.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.standing.cluster()
    }

    /// Whether this node belongs to a cluster.
    #[must_use]
    pub fn is_formed(&self) -> bool {
        matches!(self.standing, Standing::Formed { .. })
    }

    /// Voters to begin consensus with, when this node is one of them; `None` for a node that is
    /// not formed, and for one that joined. What `node::Options::bootstrap` takes.
    #[must_use]
    pub fn founding_voters(&self) -> Option<BTreeSet<NodeId>> {
        let Standing::Formed { founders } = &self.standing else {
            return None;
        };
        let own = founders.get(&self.node) == Some(&self.disk);
        own.then(|| founders.keys().copied().collect())
    }

    /// As a sealed record.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::seal(IDENTITY_KIND, VERSION, &codec::encode(self))
    }

    /// From one whole sealed record.
    ///
    /// # Errors
    /// [`IdentityError`]: the node must not start with it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, IdentityError> {
        let identity: Self = codec::unseal_all(IDENTITY_KIND, VERSION, bytes)
            .and_then(codec::decode)
            .map_err(IdentityError::Record)?;
        identity.validate()?;
        Ok(identity)
    }

    /// Checks what every identity holds.
    ///
    /// # Errors
    /// [`IdentityError::Contradiction`].
    pub fn validate(&self) -> Result<(), IdentityError> {
        use IdentityError::Contradiction;
        if self.peers.len() > limits::PEER_COUNT_MAX {
            return Err(Contradiction("too many peers"));
        }
        if self.peers.contains_key(&self.node) {
            return Err(Contradiction("the node is its own peer"));
        }
        match &self.standing {
            Standing::Open => {}
            Standing::Pledged { founders } if founders.get(&self.node) != Some(&self.disk) => {
                return Err(Contradiction("a pledge to a cluster without this node"));
            }
            Standing::Pledged { founders } | Standing::Formed { founders } => {
                if !(1..=limits::PEER_COUNT_MAX).contains(&founders.len()) {
                    return Err(Contradiction("no founders, or too many"));
                }
            }
        }
        Ok(())
    }
}
