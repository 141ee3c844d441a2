//! What `mfscli`, the CGI pages and other tools of operators are told.
//!
//! Pure, as [`crate::gateway`] is for mounts: a [`Task`] is one question on its way, says which
//! [`Step`] comes next, and is told what came of it. Every node answers for itself, at once: from
//! the state that it has applied, and what it has heard of chunkservers. What the loops over files
//! and chunks saw is known to whoever leads alone, and is as old as the last whole pass.
//! `docs/protocols/monitor.md` has the page.
//!
//! | module | what lives there |
//! |---|---|
//! | [`task`] | one question on its way |
//! | [`counted`] | requests of sessions, by hour |
//! | `cluster` | the master, chunkservers and loops, as the wire has them |
//! | `listed` | sessions, exports, quotas and classes, as the wire has them |

mod cluster;
pub mod counted;
mod listed;
pub mod task;

pub use counted::Counted;
pub use task::{Came, Scene, Step, Task};

use serde::{Deserialize, Serialize};

use crate::time::WallTime;

/// The process of a node, as its driver sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Memory that it has, bytes.
    pub memory: u64,
    /// Time of processors that it took within the system, tenths of a microsecond each second.
    pub system_time: u64,
    /// Time of processors that it took outside of the system, tenths of a microsecond each second.
    pub user_time: u64,
    /// When its state was last stored whole; 0 for never.
    pub stored_at: WallTime,
    /// How long that took, milliseconds.
    pub stored_ms: u32,
    /// Whether the last attempt failed.
    pub store_failed: bool,
}
