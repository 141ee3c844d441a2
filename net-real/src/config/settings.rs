//! All keys with their values, and where each value comes from.
//!
//! A value here is one of its key's kind and range; what several keys demand of each other is
//! [`super::checks`]'s.

use std::fmt;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mfsha_core::id::NodeId;
use mfsha_core::native::admin;

use super::key::{KEYS, Key};
use super::peers::Peer;
use super::value::{STARS, Value};

/// Where a value comes from; later ones win.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The table of keys.
    Default,
    /// `mfsha.cfg`.
    File,
    /// A variable of the environment.
    Environment,
    /// An option of the command line.
    CommandLine,
    /// An operator, while the node runs.
    Operator,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Environment => "environment",
            Self::CommandLine => "command line",
            Self::Operator => "operator",
        })
    }
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Plain,
    /// JSON for programs.
    Json,
}

/// Files of TLS, when it is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsPaths {
    /// Certificate chain, PEM.
    pub cert: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
    /// Authorities, PEM.
    pub ca: PathBuf,
}

/// A value and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// `None` for a key without a default that nobody gave.
    pub value: Option<Value>,
    pub source: Source,
}

/// All keys with their values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// One for each key, in the order of the table.
    held: Vec<Held>,
}

impl Default for Settings {
    fn default() -> Self {
        let held = KEYS.iter().map(|spec| Held {
            value: (!spec.default.is_empty())
                .then(|| spec.kind.parse(spec.default))
                .map(|value| value.expect("a test tries every default")),
            source: Source::Default,
        });
        Self {
            held: held.collect(),
        }
    }
}

impl Settings {
    pub(super) fn put(&mut self, key: Key, held: Held) {
        self.held[key as usize] = held;
    }

    pub(super) fn held(&self, key: Key) -> &Held {
        &self.held[key as usize]
    }

    /// The value of a key; `None` when it has no default and nobody gave one.
    #[must_use]
    pub fn value(&self, key: Key) -> Option<&Value> {
        self.held(key).value.as_ref()
    }

    /// Where the value of a key comes from.
    #[must_use]
    pub fn source(&self, key: Key) -> Source {
        self.held(key).source
    }

    /// Every setting as operators see it, in the order of the table; stars for secrets.
    #[must_use]
    pub fn listing(&self) -> Vec<admin::Setting> {
        let settings = KEYS.iter().map(|spec| {
            let held = self.held(spec.key);
            let value = held.value.as_ref();
            admin::Setting {
                key: spec.name.into(),
                value: match value {
                    Some(_) if spec.secret => STARS.into(),
                    Some(value) => value.to_string(),
                    None => String::new(),
                },
                source: held.source.to_string(),
                live: spec.live,
            }
        });
        settings.collect()
    }

    /// This node's id, when it is given; a data directory may know it otherwise.
    #[must_use]
    pub fn node_id(&self) -> Option<NodeId> {
        self.value(Key::NodeId)?;
        Some(NodeId(self.integer(Key::NodeId)))
    }

    /// Port for peers, clients and operators.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.small(Key::Port)
    }

    /// Port of the pages over HTTP; `None` when they are off.
    #[must_use]
    pub fn http_port(&self) -> Option<u16> {
        match self.small(Key::HttpPort) {
            0 => None,
            port => Some(port),
        }
    }

    /// Host to listen at for mounts.
    #[must_use]
    pub fn mounts_host(&self) -> &str {
        self.host(Key::MountsHost)
            .unwrap_or_else(|| self.bind_host())
    }

    /// Port for mounts; `None` when there is none.
    #[must_use]
    pub fn mounts_port(&self) -> Option<u16> {
        match self.small(Key::MountsPort) {
            0 => None,
            port => Some(port),
        }
    }

    /// Host to listen at for chunkservers.
    #[must_use]
    pub fn chunkservers_host(&self) -> &str {
        self.host(Key::ChunkserversHost)
            .unwrap_or_else(|| self.bind_host())
    }

    /// Port for chunkservers; `None` when there is none.
    #[must_use]
    pub fn chunkservers_port(&self) -> Option<u16> {
        match self.small(Key::ChunkserversPort) {
            0 => None,
            port => Some(port),
        }
    }

    /// Silence after which chunkservers are lost, seconds.
    #[must_use]
    pub fn chunkservers_timeout_seconds(&self) -> NonZeroU16 {
        let seconds = NonZeroU16::new(self.small(Key::ChunkserversTimeout));
        seconds.expect("the range in the table begins above 0")
    }

    /// Nothing is copied or deleted for this long after a change of leader.
    #[must_use]
    pub fn replications_delay_init(&self) -> Duration {
        self.duration(Key::ReplicationsDelayInit)
    }

    /// A chunkserver that is gone is waited for this long.
    #[must_use]
    pub fn replications_delay_disconnect(&self) -> Duration {
        self.duration(Key::ReplicationsDelayDisconnect)
    }

    /// As long as that, for one that said that it stops.
    #[must_use]
    pub fn temp_maintenance_timeout(&self) -> Duration {
        self.duration(Key::TempMaintenanceTimeout)
    }

    /// Shortest time between two looks at a chunk.
    #[must_use]
    pub fn chunks_loop_min_time(&self) -> Duration {
        self.duration(Key::ChunksLoopMinTime)
    }

    /// Most copies that one chunkserver deletes, receives and gives at once.
    #[must_use]
    pub fn chunks_limits(&self) -> (u16, u16, u16) {
        (
            self.small(Key::ChunksSoftDelLimit),
            self.small(Key::ChunksWriteRepLimit),
            self.small(Key::ChunksReadRepLimit),
        )
    }

    /// How much fuller than others chunkservers may be, percent: 1 to 100.
    #[must_use]
    pub fn acceptable_percentage_difference(&self) -> u8 {
        let percent = u8::try_from(self.small(Key::AcceptablePercentageDifference));
        percent.expect("the range in the table ends at 100")
    }

    /// The secret that chunkservers have to know; `None` when there is none.
    #[must_use]
    pub fn chunkservers_auth_code(&self) -> Option<&str> {
        self.secret(Key::ChunkserversAuthCode)
    }

    /// The file of exports.
    #[must_use]
    pub fn exports_path(&self) -> &Path {
        self.path(Key::ExportsFile)
            .expect("the table has a default for it")
    }

    /// The nodes as the operator names them; may be empty.
    #[must_use]
    pub fn peers(&self) -> &[Peer] {
        match self.value(Key::Peers) {
            Some(Value::Peers(peers)) => peers,
            _ => &[],
        }
    }

    /// The data directory.
    #[must_use]
    pub fn data_path(&self) -> &Path {
        self.path(Key::DataPath)
            .expect("the table has a default for it")
    }

    /// Host to listen at; an IPv6 address has its brackets.
    #[must_use]
    pub fn bind_host(&self) -> &str {
        self.host(Key::BindHost)
            .expect("the table has a default for it")
    }

    /// Host at which others reach this node, when it is given.
    #[must_use]
    pub fn advertise_host(&self) -> Option<&str> {
        self.host(Key::AdvertiseHost)
    }

    /// Where the node stands; may be empty.
    #[must_use]
    pub fn region(&self) -> &str {
        self.text(Key::Region)
    }

    /// Shards; 1.
    #[must_use]
    pub fn shard_count(&self) -> u64 {
        self.integer(Key::ShardCount)
    }

    /// Shortest election timeout; the longest is twice this.
    #[must_use]
    pub fn election_timeout(&self) -> Duration {
        self.duration(Key::ElectionTimeout)
    }

    /// The leader speaks at least this often.
    #[must_use]
    pub fn heartbeat(&self) -> Duration {
        self.duration(Key::HeartbeatTimeout)
    }

    /// Priority as a leader.
    #[must_use]
    pub fn priority(&self) -> u32 {
        self.integer(Key::Priority).try_into().unwrap_or(u32::MAX)
    }

    /// Memory of the state's hot layer, bytes.
    #[must_use]
    pub fn memory_bytes_max(&self) -> u64 {
        self.bytes(Key::MemoryMax)
    }

    /// Time between checkpoints of a changing state.
    #[must_use]
    pub fn checkpoint_interval(&self) -> Duration {
        self.duration(Key::SyncInterval)
    }

    /// A session whose clients are gone is ended after this long.
    #[must_use]
    pub fn session_sustain(&self) -> Duration {
        self.duration(Key::SessionSustain)
    }

    /// The log is cut when it holds this many bytes of entries.
    #[must_use]
    pub fn snapshot_log_bytes(&self) -> u64 {
        self.bytes(Key::SnapshotLogSize)
    }

    /// Most bytes of the write-ahead log on disk.
    #[must_use]
    pub fn log_bytes_max(&self) -> u64 {
        self.bytes(Key::LogSizeMax)
    }

    /// Files of TLS; `None` when it is off. Checked settings have all three when it is on.
    #[must_use]
    pub fn tls(&self) -> Option<TlsPaths> {
        let path = |key| self.path(key).map(Path::to_path_buf);
        self.switch(Key::TlsEnable)
            .then(|| {
                Some(TlsPaths {
                    cert: path(Key::TlsCertPath)?,
                    key: path(Key::TlsKeyPath)?,
                    ca: path(Key::TlsCaPath)?,
                })
            })
            .flatten()
    }

    /// The secret that others have to know; `None` when there is none.
    #[must_use]
    pub fn auth_token(&self) -> Option<&str> {
        self.secret(Key::AuthToken)
    }

    /// What is logged: a filter that parses.
    #[must_use]
    pub fn log_filter(&self) -> &str {
        self.text(Key::LogLevel)
    }

    /// How it is logged.
    #[must_use]
    pub fn log_format(&self) -> LogFormat {
        match self.text(Key::LogFormat) {
            "json" => LogFormat::Json,
            _ => LogFormat::Plain,
        }
    }

    fn integer(&self, key: Key) -> u64 {
        match self.value(key) {
            Some(Value::Integer(number)) => *number,
            other => unreachable!("{} holds {other:?}", key.name()),
        }
    }

    fn small(&self, key: Key) -> u16 {
        let number = self.integer(key);
        u16::try_from(number).expect("its range is in the table")
    }

    fn bytes(&self, key: Key) -> u64 {
        match self.value(key) {
            Some(Value::Bytes(bytes)) => *bytes,
            other => unreachable!("{} holds {other:?}", key.name()),
        }
    }

    fn duration(&self, key: Key) -> Duration {
        match self.value(key) {
            Some(Value::Duration(time)) => *time,
            other => unreachable!("{} holds {other:?}", key.name()),
        }
    }

    pub(super) fn switch(&self, key: Key) -> bool {
        matches!(self.value(key), Some(Value::Switch(true)))
    }

    pub(super) fn path(&self, key: Key) -> Option<&Path> {
        match self.value(key) {
            Some(Value::Path(path)) => Some(path),
            _ => None,
        }
    }

    fn secret(&self, key: Key) -> Option<&str> {
        match self.value(key) {
            Some(Value::Secret(secret)) => Some(secret.reveal()),
            _ => None,
        }
    }

    fn host(&self, key: Key) -> Option<&str> {
        match self.value(key) {
            Some(Value::Host(host)) => Some(host),
            _ => None,
        }
    }

    fn text(&self, key: Key) -> &str {
        match self.value(key) {
            Some(Value::Text(text)) => text,
            _ => "",
        }
    }
}
