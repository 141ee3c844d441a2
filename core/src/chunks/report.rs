//! What a node hears of a chunkserver that is connected to it.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::order::OrderKind;
use crate::id::{ChunkId, CsId};

/// A connection of a chunkserver to this node. Its number is never used again in this life of the
/// node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConnId(pub u64);

/// Where clients and other chunkservers reach a chunkserver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Address {
    /// Never 127.x, which nobody else could reach, and never 0.
    pub ip: Ipv4Addr,
    /// TCP port.
    pub port: u16,
}

/// A copy of a chunk on a chunkserver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Copy {
    /// Of which chunk.
    pub chunk: ChunkId,
    /// Its version.
    pub version: u32,
    /// It lies on a disk that shall be emptied.
    pub to_remove: bool,
}

/// Space of a chunkserver, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    /// Used on disks that stay.
    pub used: u64,
    /// Used and free on disks that stay.
    pub total: u64,
    /// Copies on them.
    pub chunks: u32,
    /// Used on disks that shall be emptied.
    pub removal_used: u64,
    /// Used and free on them.
    pub removal_total: u64,
    /// Copies on them.
    pub removal_chunks: u32,
}

/// A chunkserver's registration, as the replicated state has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// Its number in the cluster.
    pub csid: CsId,
    /// Rises with every registration of the cluster: of two of one chunkserver, the higher counts.
    pub registration: u64,
    /// Where it is reached.
    pub address: Address,
    /// Its version, as it is on the wire.
    pub version: u32,
    /// Its space.
    pub space: Space,
}

/// What is heard of a chunkserver. The first is `Joined`, the last is `Gone`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// It has registered, and will say what it has.
    Joined(Joined),
    /// Copies that it has, at its registration or found later. One that is named again has changed.
    Found(Vec<Copy>),
    /// It has named all copies that it knows of now; a server that just started finds more.
    Listed,
    /// Copies that are no longer there.
    Lost(Vec<ChunkId>),
    /// Copies that are there and bad.
    Damaged(Vec<ChunkId>),
    /// Its space.
    Space(Space),
    /// Jobs that it has, and whether it says that they are too many.
    Load {
        /// Jobs.
        jobs: u32,
        /// It is overloaded, or wants little to do.
        overloaded: bool,
    },
    /// Its labels: `A` is bit 0.
    Labels(u32),
    /// A disk had one more error.
    DiskError,
    /// An order has ended.
    Done {
        /// What it was.
        kind: OrderKind,
        /// Its chunk; the new one where there are two.
        chunk: ChunkId,
        /// 0 when it succeeded; otherwise the copy is bad or gone.
        status: u8,
    },
    /// It is about to stop, and to come back.
    Leaving,
    /// Its connection is lost.
    Gone,
}
