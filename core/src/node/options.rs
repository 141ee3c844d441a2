//! What a node is built with.

use std::collections::BTreeSet;

use crate::buggify::Buggify;
use crate::id::{GroupId, NodeId};
use crate::raft;
use crate::time::Duration;
use crate::wal::WalOptions;

/// What a node is built with.
#[derive(Clone, Debug)]
pub struct Options {
    /// This node; the same in `raft` and `wal`.
    pub node: NodeId,
    /// The group that it serves.
    pub group: GroupId,
    /// Consensus.
    pub raft: raft::Options,
    /// The log.
    pub wal: WalOptions,
    /// Tells this opening of the log from every other: drawn at random by the driver.
    pub life: u64,
    /// Voters of a group that does not exist yet. Every one of them may be started with the same
    /// set, in any order; a node whose log is not empty ignores it. `None` for a node that joins.
    pub bootstrap: Option<BTreeSet<NodeId>>,
    /// Other nodes that may be asked for the state when this one's is damaged.
    pub peers: BTreeSet<NodeId>,
    /// The state is made durable this often while it changes.
    pub checkpoint_interval: Duration,
    /// The state is made durable when entries of so many bytes were applied since the last
    /// checkpoint began, without waiting for its time: bounds the replay at a restart.
    pub checkpoint_log_bytes: u64,
    /// Entries that are applied in one step, at least 1; the next step goes on. Bounds how long a
    /// replay, or a node that catches up, keeps timers, peers and probes waiting.
    pub apply_entries_max: usize,
    /// A checkpoint that failed is tried again after this long: consensus may wait for it, before a
    /// peer that is far behind can be helped.
    pub checkpoint_retry: Duration,
    /// A request without an outcome after this long is answered as not available.
    pub request_timeout: Duration,
    /// What a face of this node asks has its outcome after this long, or none: longer than an
    /// election, shorter than programs wait.
    pub ask_timeout: Duration,
    /// What was asked in vain is asked again after this long, and at once when another leads.
    pub ask_retry: Duration,
    /// What was asked of the leader is asked again when it has not answered for this long.
    pub ask_resend: Duration,
    /// Requests that may wait at once, and asks of faces; more are refused as overload.
    pub pending_max: usize,
    /// Bytes of keys and values in one message of a snapshot, about.
    pub snapshot_part_bytes: usize,
    /// Parts of a snapshot that may be on the way to one peer.
    pub snapshot_window: u64,
    /// A part that is not confirmed after this long is sent again.
    pub snapshot_resend: Duration,
    /// A transfer without progress for this long is given up.
    pub snapshot_give_up: Duration,
    /// A node that lost entries asks the next peer after this long.
    pub repair_retry: Duration,
    /// A node whose state is damaged, but can be gone on with, waits this long for a peer's whole
    /// one before it does.
    pub heal_patience: Duration,
    /// A session that nobody has spoken for this long is ended; `None`: never. It counts from when
    /// that was noted, which is `session_grace` after the last word. Whole seconds.
    pub session_sustain: Option<Duration>,
    /// A session is taken for left when the leader has heard nobody speak for it for this long; a
    /// new leader listens for as long first. Several times what clients let pass between two words.
    pub session_grace: Duration,
    /// Times and bounds of what is done with chunks.
    pub chunks: crate::chunks::Options,
    /// Tell what commands changed for who is connected here.
    pub news: bool,
    /// Keep what checkers want to see; costs memory.
    pub observe: bool,
    /// Unlikely branches that a simulated run takes; the same in `raft` and `wal`.
    pub buggify: Buggify,
    /// Which bug the node has on purpose.
    #[cfg(feature = "planted-bugs")]
    pub bug: Option<crate::planted::Bug>,
}

/// What of [`Options`] may change while the node runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// [`Options::checkpoint_interval`]; the next checkpoint is due this long after the change.
    pub checkpoint_interval: Duration,
    /// How well this node is placed to lead, see [`raft::Options::priority`].
    pub priority: u32,
}

impl Options {
    /// Options of production for everything that is not given.
    #[must_use]
    pub fn new(group: GroupId, raft: raft::Options, life: u64) -> Self {
        Self {
            node: raft.node,
            group,
            wal: WalOptions::new(raft.node),
            raft,
            life,
            bootstrap: None,
            peers: BTreeSet::new(),
            checkpoint_interval: Duration::from_secs(30),
            checkpoint_log_bytes: 8 << 20,
            apply_entries_max: 64,
            checkpoint_retry: Duration::from_secs(1),
            request_timeout: Duration::from_secs(5),
            ask_timeout: Duration::from_secs(30),
            ask_retry: Duration::from_millis(50),
            ask_resend: Duration::from_secs(1),
            pending_max: 100_000,
            snapshot_part_bytes: 256 << 10,
            snapshot_window: 8,
            snapshot_resend: Duration::from_millis(500),
            snapshot_give_up: Duration::from_secs(10),
            repair_retry: Duration::from_millis(500),
            heal_patience: Duration::from_secs(60),
            session_sustain: None,
            session_grace: Duration::from_secs(60),
            chunks: crate::chunks::Options::default(),
            news: false,
            observe: false,
            buggify: Buggify::default(),
            #[cfg(feature = "planted-bugs")]
            bug: None,
        }
    }
}
