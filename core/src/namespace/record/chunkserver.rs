//! A chunkserver that has registered.

use serde::{Deserialize, Serialize};

use crate::chunks::Address;
use crate::crdt::Lww;
use crate::id::CsId;
use crate::namespace::op::ChunkserverInfo;
use crate::time::WallTime;

/// A chunkserver.
pub type Chunkserver = Lww<Option<ChunkserverRecord>>;

/// What is kept of a chunkserver, connected or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ChunkserverRecord {
    /// Where it is reached.
    pub address: Address,
    /// Number of its last registration.
    pub registration: u64,
    /// When that was.
    pub registered_at: WallTime,
    /// What it lacks is not made anew until then; 0 is never.
    pub maintenance_until: WallTime,
}

impl ChunkserverRecord {
    /// As it is told.
    #[must_use]
    pub fn info(&self, csid: CsId) -> ChunkserverInfo {
        let Self {
            address,
            registration,
            registered_at,
            maintenance_until,
        } = *self;
        ChunkserverInfo {
            csid,
            address,
            registration,
            registered_at,
            maintenance_until,
        }
    }
}
