//! The table of keys: the single source of what can be configured.
//!
//! The parser, the sample, the reference in `docs/operations.md` and the checks are all made from
//! it. It does not know how values are written ([`super::value`]) or where they come from.

use super::value::{Kind, Scale};

/// One key of `mfsha.cfg`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the table has a sentence for each")]
pub enum Key {
    NodeId,
    Port,
    Peers,
    DataPath,
    BindHost,
    AdvertiseHost,
    HttpPort,
    MountsHost,
    MountsPort,
    ExportsFile,
    ChunkserversHost,
    ChunkserversPort,
    ChunkserversTimeout,
    ChunkserversAuthCode,
    ReplicationsDelayInit,
    ReplicationsDelayDisconnect,
    TempMaintenanceTimeout,
    ChunksLoopMinTime,
    ChunksSoftDelLimit,
    ChunksWriteRepLimit,
    ChunksReadRepLimit,
    AcceptablePercentageDifference,
    Region,
    ShardCount,
    ElectionTimeout,
    HeartbeatTimeout,
    Priority,
    MemoryMax,
    SyncInterval,
    SessionSustain,
    SnapshotLogSize,
    LogSizeMax,
    GossipInterval,
    AsyncReplication,
    TlsEnable,
    TlsCertPath,
    TlsKeyPath,
    TlsCaPath,
    AuthToken,
    LogLevel,
    LogFormat,
}

/// What there is to know of a key.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// The key.
    pub key: Key,
    /// Its name in the file and in the environment.
    pub name: &'static str,
    /// What its value may be.
    pub kind: Kind,
    /// Its value when nobody gives one, as it would be written; empty for none.
    pub default: &'static str,
    /// Whether it may change while the node runs.
    pub live: bool,
    /// Whether it is never shown.
    pub secret: bool,
    /// Whether it is read but has no meaning yet.
    pub unused: bool,
    /// One sentence for operators.
    pub doc: &'static str,
}

impl Key {
    /// What there is to know of it.
    #[must_use]
    pub fn spec(self) -> &'static Spec {
        &KEYS[self as usize]
    }

    /// Its name in the file and in the environment.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.spec().name
    }

    /// The key of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        KEYS.iter()
            .find(|spec| spec.name == name)
            .map(|spec| spec.key)
    }

    /// Every key, in the order of the table.
    pub fn all() -> impl Iterator<Item = Self> {
        KEYS.iter().map(|spec| spec.key)
    }

    /// The key whose name is nearest to a wrong one, when it is near enough to be meant.
    #[must_use]
    pub fn nearest(name: &str) -> Option<Self> {
        if name.len() > 2 * NAME_BYTES_MAX {
            return None;
        }
        let upper = name.to_ascii_uppercase();
        let best = KEYS
            .iter()
            .map(|spec| (nearness(&upper, spec.name), spec.key));
        let best = best.max_by(|a, b| a.0.total_cmp(&b.0))?;
        (best.0 >= NEAR).then_some(best.1)
    }
}

/// From here on, of 1, a wrong name is near enough to one that was meant.
const NEAR: f64 = 0.65;
/// A part of a name, from so many letters on, means the whole.
const PART_BYTES_MIN: usize = 5;

/// How near two names are, their prefixes left out: those would make everything alike.
fn nearness(wrong: &str, right: &str) -> f64 {
    let (wrong, right) = (without_prefix(wrong), without_prefix(right));
    let near = strsim::normalized_damerau_levenshtein(wrong, right);
    if wrong.len() >= PART_BYTES_MIN && right.contains(wrong) {
        return near.max(NEAR);
    }
    near
}

fn without_prefix(name: &str) -> &str {
    let prefixes = ["MFSHA_", "HA_RAFT_", "HA_"];
    let bare = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix));
    bare.unwrap_or(name)
}

/// No name of a key is longer, bytes.
pub const NAME_BYTES_MAX: usize = 64;

const fn key(
    key: Key,
    name: &'static str,
    kind: Kind,
    default: &'static str,
    doc: &'static str,
) -> Spec {
    Spec {
        key,
        name,
        kind,
        default,
        live: false,
        secret: false,
        unused: false,
        doc,
    }
}

const PORT: Kind = Kind::Integer {
    min: 1,
    max: 65_535,
};
/// Orders of one kind at one chunkserver.
const LIMIT: Kind = Kind::Integer { min: 1, max: 100 };
const KIB: u64 = 1 << 10;
const MIB: u64 = KIB << 10;
const GIB: u64 = MIB << 10;

/// Every key there is, in the order of [`Key`].
pub static KEYS: [Spec; 41] = [
    key(
        Key::NodeId,
        "MFSHA_NODE_ID",
        Kind::Integer {
            min: 1,
            max: u32::MAX as u64,
        },
        "",
        "Number of this node, of no other node and never used again once its disk is lost; needed for a new data directory, which keeps it.",
    ),
    key(
        Key::Port,
        "MFSHA_PORT",
        PORT,
        "9430",
        "TCP port for peers, native clients and operators.",
    ),
    key(
        Key::Peers,
        "MFSHA_PEERS",
        Kind::Peers,
        "",
        "The nodes, separated by commas, each HOST, HOST:PORT, ID@HOST or ID@HOST:PORT, an IPv6 address in brackets; this one may be among them, and without a port MFSHA_PORT is meant.",
    ),
    key(
        Key::DataPath,
        "DATA_PATH",
        Kind::Path,
        "/var/lib/mfsha",
        "Directory of the log, the state and the node's identity; made when it is missing, its parent is not.",
    ),
    key(
        Key::BindHost,
        "BIND_HOST",
        Kind::Host,
        "0.0.0.0",
        "Address to listen at; [::] for every address of both families.",
    ),
    key(
        Key::AdvertiseHost,
        "MFSHA_ADVERTISE_HOST",
        Kind::Host,
        "",
        "Name or address at which others reach this node; without it the entry of MFSHA_PEERS with this node's id, else BIND_HOST, and when that is every address, the entry of MFSHA_PEERS that is this machine.",
    ),
    key(
        Key::HttpPort,
        "MFSHA_HTTP_PORT",
        Kind::Integer {
            min: 0,
            max: 65_535,
        },
        "9432",
        "TCP port for /metrics, /livez, /readyz and the status page; 0 for none.",
    ),
    key(
        Key::MountsHost,
        "MATOCL_LISTEN_HOST",
        Kind::Host,
        "",
        "Address to listen at for mounts and tools of MooseFS; without it BIND_HOST.",
    ),
    key(
        Key::MountsPort,
        "MATOCL_LISTEN_PORT",
        Kind::Integer {
            min: 0,
            max: 65_535,
        },
        "0",
        "TCP port for mounts and tools of MooseFS, 9421 by custom and the same on all nodes; 0 for none.",
    ),
    key(
        Key::ExportsFile,
        "EXPORTS_FILENAME",
        Kind::Path,
        "/etc/mfs/mfsexports.cfg",
        "Who may mount what, read at the start and on SIGHUP, when there is a port for mounts; the same on all nodes.",
    ),
    key(
        Key::ChunkserversHost,
        "MATOCS_LISTEN_HOST",
        Kind::Host,
        "",
        "Address to listen at for chunkservers of MooseFS; without it BIND_HOST.",
    ),
    key(
        Key::ChunkserversPort,
        "MATOCS_LISTEN_PORT",
        Kind::Integer {
            min: 0,
            max: 65_535,
        },
        "0",
        "TCP port for chunkservers of MooseFS, 9420 by custom and the same on all nodes; 0 for none.",
    ),
    key(
        Key::ChunkserversTimeout,
        "MATOCS_TIMEOUT",
        Kind::Integer {
            min: 2,
            max: 65_535,
        },
        "3",
        "Seconds of silence after which a node and a chunkserver give each other up, unless the chunkserver has a MASTER_TIMEOUT of its own; a chunkserver speaks each second.",
    ),
    Spec {
        secret: true,
        ..key(
            Key::ChunkserversAuthCode,
            "AUTH_CODE",
            Kind::Secret { bytes_max: 1_024 },
            "",
            "Secret that chunkservers have to know, the same on all nodes and in their own AUTH_CODE; it is never shown. Without it any chunkserver may register.",
        )
    },
    key(
        Key::ReplicationsDelayInit,
        "REPLICATIONS_DELAY_INIT",
        Kind::Duration {
            min_ms: 1_000,
            max_ms: 3_600_000,
            bare: Scale::Seconds,
        },
        "60s",
        "After a change of leader no copy of a chunk is made or deleted for this long, but for those of new chunks; the same on all nodes.",
    ),
    key(
        Key::ReplicationsDelayDisconnect,
        "REPLICATIONS_DELAY_DISCONNECT",
        Kind::Duration {
            min_ms: 1_000,
            max_ms: 86_400_000,
            bare: Scale::Seconds,
        },
        "60s",
        "A chunkserver that is gone is waited for this long before its copies are made anew elsewhere, unless it is removed or in maintenance; the same on all nodes.",
    ),
    key(
        Key::TempMaintenanceTimeout,
        "CS_TEMP_MAINTENANCE_MODE_TIMEOUT",
        Kind::Duration {
            min_ms: 0,
            max_ms: 86_400_000,
            bare: Scale::Seconds,
        },
        "30min",
        "As long as that, for a chunkserver that said that it stops, as it does when it is stopped in order; the same on all nodes.",
    ),
    key(
        Key::ChunksLoopMinTime,
        "CHUNKS_LOOP_MIN_TIME",
        Kind::Duration {
            min_ms: 1_000,
            max_ms: 7_200_000,
            bare: Scale::Seconds,
        },
        "10s",
        "Every chunk is looked at once in this time at most while nothing is to be done; MooseFS's own default is 300; the same on all nodes.",
    ),
    key(
        Key::ChunksSoftDelLimit,
        "CHUNKS_SOFT_DEL_LIMIT",
        LIMIT,
        "10",
        "Most copies that one chunkserver deletes at once; the same on all nodes.",
    ),
    key(
        Key::ChunksWriteRepLimit,
        "CHUNKS_WRITE_REP_LIMIT",
        LIMIT,
        "2",
        "Most copies that one chunkserver receives from others at once, one number for all reasons to copy (MooseFS takes four); the same on all nodes.",
    ),
    key(
        Key::ChunksReadRepLimit,
        "CHUNKS_READ_REP_LIMIT",
        LIMIT,
        "10",
        "Most copies that one chunkserver gives to others at once, one number for all reasons to copy (MooseFS takes four); the same on all nodes.",
    ),
    key(
        Key::AcceptablePercentageDifference,
        "ACCEPTABLE_PERCENTAGE_DIFFERENCE",
        Kind::Integer { min: 1, max: 100 },
        "1",
        "Copies move from the fullest chunkserver to the emptiest when more than this percentage of their space lies between them, until half of it does; a whole number, 100 for never; the same on all nodes.",
    ),
    key(
        Key::Region,
        "MFSHA_REGION",
        Kind::Text { bytes_max: 64 },
        "",
        "Where the node stands, in your own words; shown to operators.",
    ),
    key(
        Key::ShardCount,
        "HA_SHARD_COUNT",
        Kind::Integer {
            min: 1,
            max: 16_384,
        },
        "1",
        "Shards of the name space; more than 1 is refused until there can be many.",
    ),
    key(
        Key::ElectionTimeout,
        "HA_RAFT_ELECTION_TIMEOUT",
        Kind::Duration {
            min_ms: 50,
            max_ms: 60_000,
            bare: Scale::Milliseconds,
        },
        "300ms",
        "A node that heard a leader follows no other for this long, and stands for election up to as long after that, half of it at the least; the same on all nodes.",
    ),
    key(
        Key::HeartbeatTimeout,
        "HA_RAFT_HEARTBEAT_TIMEOUT",
        Kind::Duration {
            min_ms: 5,
            max_ms: 10_000,
            bare: Scale::Milliseconds,
        },
        "50ms",
        "The leader speaks at least this often; at most a third of HA_RAFT_ELECTION_TIMEOUT.",
    ),
    Spec {
        live: true,
        ..key(
            Key::Priority,
            "HA_RAFT_PRIORITY",
            Kind::Integer { min: 0, max: 1_000 },
            "0",
            "Leadership moves to the node with the highest priority once that node is up to date.",
        )
    },
    Spec {
        live: true,
        ..key(
            Key::MemoryMax,
            "HA_CRDT_MAX_MEMORY",
            Kind::Bytes {
                min: 16 * MIB,
                max: KIB * GIB,
            },
            "1G",
            "Memory for changes that the state in DATA_PATH does not have yet; beyond it writes wait for a checkpoint. What is read comes through the system's page cache.",
        )
    },
    Spec {
        live: true,
        ..key(
            Key::SyncInterval,
            "HA_METADATA_SYNC_INTERVAL",
            Kind::Duration {
                min_ms: 1_000,
                max_ms: 3_600_000,
                bare: Scale::Seconds,
            },
            "30s",
            "The state is made durable this often while it changes, and whenever 8 MiB of commands were applied: bounds what a restart replays, never what is lost, for the log has it all.",
        )
    },
    key(
        Key::SessionSustain,
        "SESSION_SUSTAIN_TIME",
        Kind::Duration {
            min_ms: 60_000,
            max_ms: 604_800_000,
            bare: Scale::Seconds,
        },
        "24h",
        "A session whose clients are all gone is ended after this long: its open files and locks are given back; the same on all nodes.",
    ),
    key(
        Key::SnapshotLogSize,
        "HA_SNAPSHOT_LOG_SIZE",
        Kind::Bytes {
            min: MIB,
            max: 4 * GIB,
        },
        "64M",
        "The log is cut when it holds this much, in memory too, or four times as much while a node that is there lacks it; a node that lacks more is sent the state.",
    ),
    key(
        Key::LogSizeMax,
        "HA_LOG_SIZE_MAX",
        Kind::Bytes {
            min: 64 * MIB,
            max: KIB * GIB,
        },
        "4G",
        "Most that the write-ahead log may take of the disk; at least eight times HA_SNAPSHOT_LOG_SIZE.",
    ),
    Spec {
        unused: true,
        ..key(
            Key::GossipInterval,
            "HA_GOSSIP_INTERVAL",
            Kind::Duration {
                min_ms: 10,
                max_ms: 3_600_000,
                bare: Scale::Milliseconds,
            },
            "1s",
            "Read, without a meaning yet: there is no gossip so far.",
        )
    },
    Spec {
        unused: true,
        ..key(
            Key::AsyncReplication,
            "HA_ASYNC_REPLICATION",
            Kind::Switch,
            "0",
            "Read, without a meaning yet: every change is on a majority of the nodes before it is acknowledged.",
        )
    },
    key(
        Key::TlsEnable,
        "MFSHA_TLS_ENABLE",
        Kind::Switch,
        "0",
        "Whether peers, clients and operators have to speak TLS and show a certificate.",
    ),
    key(
        Key::TlsCertPath,
        "MFSHA_TLS_CERT_PATH",
        Kind::Path,
        "",
        "This node's certificate and those between it and the authority, PEM.",
    ),
    key(
        Key::TlsKeyPath,
        "MFSHA_TLS_KEY_PATH",
        Kind::Path,
        "",
        "The certificate's private key, PEM; readable by mfsha's user alone.",
    ),
    key(
        Key::TlsCaPath,
        "MFSHA_TLS_CA_PATH",
        Kind::Path,
        "",
        "Certificates of the authorities whose word is taken, PEM.",
    ),
    Spec {
        live: true,
        secret: true,
        ..key(
            Key::AuthToken,
            "MFSHA_AUTH_TOKEN",
            Kind::Secret { bytes_max: 1_024 },
            "",
            "Secret that native clients and operators have to know, the same on all nodes; it is never shown, and a change holds for new connections. Peers know each other by their certificates alone.",
        )
    },
    Spec {
        live: true,
        ..key(
            Key::LogLevel,
            "MFSHA_LOG_LEVEL",
            Kind::Filter,
            "info,openraft=warn",
            "What is logged: error, warn, info, debug, trace or off, also by module, as in info,mfsha_core::raft=debug.",
        )
    },
    key(
        Key::LogFormat,
        "MFSHA_LOG_FORMAT",
        Kind::Choice(&["plain", "json"]),
        "plain",
        "How it is logged, to standard error: lines for people, or JSON for programs.",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_keys_and_its_defaults_are_allowed() {
        let mut names = BTreeSet::new();
        for (at, spec) in KEYS.iter().enumerate() {
            assert_eq!(spec.key as usize, at, "{}", spec.name);
            assert_eq!(Key::named(spec.name), Some(spec.key));
            assert!(names.insert(spec.name), "{} stands twice", spec.name);
            assert!(spec.name.len() <= NAME_BYTES_MAX);
            assert!(spec.doc.ends_with('.'), "{}: {}", spec.name, spec.doc);
            assert!(!spec.doc.contains('|') && !spec.doc.contains('\n'));
            if !spec.default.is_empty() {
                let value = spec.kind.parse(spec.default);
                let value = value.unwrap_or_else(|error| panic!("{}: {error}", spec.name));
                assert_eq!(value.to_string(), spec.default, "{}", spec.name);
            }
        }
    }

    #[test]
    fn a_slip_finds_the_key_that_was_meant() {
        for (slip, meant) in [
            ("MFSHA_NODEID", Key::NodeId),
            ("mfsha_port", Key::Port),
            ("DATAPATH", Key::DataPath),
            ("NODE_ID", Key::NodeId),
            ("HA_RAFT_ELECTION_TIMEOT", Key::ElectionTimeout),
            ("ELECTION_TIMEOUT", Key::ElectionTimeout),
            ("MFSHA_TLS_CERT", Key::TlsCertPath),
        ] {
            assert_eq!(Key::nearest(slip), Some(meant), "{slip}");
        }
        for other in [
            "",
            "x",
            "MFSHA_START",
            "MFSHA_",
            "WORKING_USER",
            "CHANGELOG_SAVE_MODE",
            &"A".repeat(5_000),
        ] {
            assert_eq!(Key::nearest(other), None, "{other}");
        }
    }
}
