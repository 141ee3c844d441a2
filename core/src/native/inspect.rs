//! What is to be seen of a whole cluster at one of its nodes: what MooseFS's own tools for
//! operators show. Each node answers for itself, at once, from what it has applied and heard.

use serde::{Deserialize, Serialize};

use super::admin::ChunkserverStatus;
use super::request::NodeStatus;
use crate::chunks::Census;
use crate::id::{InodeId, SessionId};
use crate::membership::Role;
use crate::namespace::op::{DirStats, QuotaState};
pub use crate::namespace::seen::SessionSeen;
use crate::time::WallTime;

/// Sessions told at once.
pub const SESSIONS_MAX: usize = 100;

/// Bytes of paths told at once, and a path more.
pub const PATHS_BYTES_MAX: usize = 1 << 20;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Inspect {
    /// The whole in numbers.
    Overview,
    /// All chunkservers that are known.
    Chunkservers,
    /// What the upkeep of chunks saw last.
    Census,
    /// Sessions behind this one, at most [`SESSIONS_MAX`].
    Sessions {
        /// The one that was told last; 0 for the beginning.
        after: SessionId,
    },
    /// All quotas.
    Quotas,
    /// The paths of these nodes, from the root of the tree: of the first ones, as far as
    /// [`PATHS_BYTES_MAX`] goes.
    Paths(Vec<InodeId>),
}

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Inspected {
    /// The whole.
    Overview(Box<Overview>),
    /// By number.
    Chunkservers(Vec<ChunkserverStatus>),
    /// `None` where no pass of the upkeep has ended yet, and at nodes that do not lead.
    Census(Option<Box<Census>>),
    /// In order.
    Sessions(Vec<SessionSeen>),
    /// In order of inode, with the directory's path.
    Quotas(Vec<(QuotaState, Vec<u8>)>),
    /// Of each node that was asked for, in that order, or of the first ones: none where there is no
    /// such node, or none that has a name.
    Paths(Vec<Vec<Vec<u8>>>),
}

/// The whole in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overview {
    /// How this node stands.
    pub status: NodeStatus,
    /// Its role.
    pub role: Role,
    /// Since when it has that role; 0 where it was not seen to begin.
    pub role_since: WallTime,
    /// Commands that were carried out.
    pub version: u64,
    /// Sums of the tree: a file with several names counts with each of them.
    pub tree: DirStats,
    /// Bytes of files in the trash.
    pub trash_bytes: u64,
    /// Bytes of files that have no name and are open.
    pub sustained_bytes: u64,
    /// Bytes on chunkservers: in total, and free.
    pub space: (u64, u64),
}
