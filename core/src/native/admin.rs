//! What an operator asks of one process, beside what its machines answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::hello::ClusterId;
use super::request::{CallId, NodeStatus};
use crate::chunks::Space;
use crate::id::{LogIndex, NodeId};
use crate::membership::Role;
use crate::namespace::op::ChunkserverInfo;
use crate::wal::record::LogId;

/// One question of an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminCall {
    /// Its name on this connection; the reply carries it back.
    pub call: CallId,
    /// The question.
    pub request: AdminRequest,
}

/// Its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminReply {
    /// The question's name.
    pub call: CallId,
    /// What came of it.
    pub result: Result<AdminAnswer, AdminError>,
}

/// What an operator can ask of one process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdminRequest {
    /// How the process stands.
    Process,
    /// How consensus stands here.
    Raft,
    /// Where the nodes are.
    Addresses,
    /// Every setting, its value and where that comes from; secrets are not shown.
    Settings,
    /// Gives a setting that may change while the node runs another value, until the next start.
    SetSetting {
        /// Its key, as in `mfsha.cfg`.
        key: String,
        /// Its new value.
        value: String,
    },
    /// Reads `mfsha.cfg` again and takes over what may change while the node runs.
    ReloadSettings,
    /// Chunkservers of the state, and what the node hears of them.
    Chunkservers,
    /// The next part of the state as a `metadata.mfs`, asked of the leader. Part 0 begins: with the
    /// state as it is then. A part may be asked for again until the next one was.
    Export {
        /// Which export: a number that whoever asks has drawn.
        export: u64,
        /// Which part of it.
        part: u64,
    },
}

/// What an operator is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdminAnswer {
    /// How the process stands.
    Process(Box<ProcessStatus>),
    /// How consensus stands.
    Raft(Box<RaftStatus>),
    /// `host:port` of the nodes, as far as known.
    Addresses(BTreeMap<NodeId, String>),
    /// The settings, by key.
    Settings(Vec<Setting>),
    /// The setting holds its new value.
    SettingSet,
    /// What a reload came to.
    Reloaded {
        /// Keys that hold a new value now.
        changed: Vec<String>,
        /// Keys whose new value takes a restart.
        need_restart: Vec<String>,
    },
    /// Chunkservers, by their number.
    Chunkservers(Vec<ChunkserverStatus>),
    /// A part of an export.
    Exported(ExportPart),
}

/// A part of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportPart {
    /// What is to be written, in this order.
    pub pieces: Vec<ExportPiece>,
    /// How many nodes were written so far, and how many there are; 0 before that is known.
    pub nodes: (u64, u64),
    /// Nothing comes behind it.
    pub is_last: bool,
}

/// What is to be written of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExportPiece {
    /// Behind all that there is.
    Append(#[serde(with = "crate::codec::bytes")] Vec<u8>),
    /// Over what is there.
    Patch {
        /// From this byte on.
        at: u64,
        /// What.
        #[serde(with = "crate::codec::bytes")]
        bytes: Vec<u8>,
    },
}

/// Why an operator is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum AdminError {
    /// There is no such key; the text names the nearest.
    #[error("{0}")]
    Setting(String),
    /// `mfsha.cfg` cannot be read or has errors; nothing was changed.
    #[error("{0}")]
    Reload(String),
    /// It cannot be done as things are; asking again changes nothing.
    #[error("{0}")]
    Refused(String),
    /// The node is starting or ending.
    #[error("not available now: {0}")]
    Unavailable(String),
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Its key, as in `mfsha.cfg`.
    pub key: String,
    /// Its value; stars for a secret.
    pub value: String,
    /// Where the value comes from: `default`, `file`, `environment`, `command line`, `operator`.
    pub source: String,
    /// Whether it may change while the node runs.
    pub live: bool,
}

/// How a process stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// The node as its machines see it.
    pub node: NodeStatus,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Version of the program.
    pub version: String,
    /// Milliseconds since the process began.
    pub uptime_ms: u64,
    /// Region, from `MFSHA_REGION`; may be empty.
    pub region: String,
    /// Peers, and whether there is a connection.
    pub peers: BTreeMap<NodeId, PeerStatus>,
    /// Native clients that are connected.
    pub clients: u64,
    /// Bytes that the state store holds in memory, and may hold.
    pub memory_bytes: (u64, u64),
    /// Bytes of the state store on disk.
    pub state_bytes: u64,
    /// Bytes of the write-ahead log on disk.
    pub log_bytes: u64,
    /// Index that the last checkpoint holds.
    pub checkpoint: LogIndex,
    /// Metadata version.
    pub metadata_version: u64,
}

/// A peer as a process sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// `host:port`, when known.
    pub address: Option<String>,
    /// Whether there is a connection.
    pub connected: bool,
    /// Why there is none, when that is known: the last error or refusal.
    pub trouble: Option<String>,
}

/// How consensus stands at one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RaftStatus {
    /// Present role.
    pub role: Role,
    /// The node as its machines see it: term, leader, committed, applied, membership.
    pub node: NodeStatus,
    /// Last entry in the log.
    pub last_log: Option<LogId>,
    /// Last entry purged.
    pub purged: Option<LogId>,
    /// Last entry in the present snapshot.
    pub snapshot: Option<LogId>,
    /// While leading: what each other member is known to have.
    pub matched: BTreeMap<NodeId, Option<LogIndex>>,
    /// Bytes of log entries held in memory.
    pub log_memory_bytes: u64,
}

/// A chunkserver as one node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkserverStatus {
    /// What the replicated state has of it.
    pub info: ChunkserverInfo,
    /// What is heard of it; `None` when it is connected to no node that this one hears.
    pub heard: Option<ChunkserverHeard>,
}

/// What a node hears of a chunkserver that is connected to it or to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkserverHeard {
    /// The node that it is connected to.
    pub relay: NodeId,
    /// Whether that node can be reached.
    pub reachable: bool,
    /// Its version, as it is on the wire.
    pub version: u32,
    /// Whether it has named all copies that it knew of.
    pub listed: bool,
    /// It said that it stops.
    pub leaving: bool,
    /// Its labels: `A` is bit 0.
    pub labels: u32,
    /// Its space.
    pub space: Space,
    /// Jobs that it has.
    pub jobs: u32,
    /// It says that they are too many.
    pub overloaded: bool,
    /// Errors of its disks since it registered.
    pub disk_errors: u32,
}
