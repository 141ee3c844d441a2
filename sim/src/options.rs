//! Everything about a run that a seed draws and a person can override.
//!
//! Swarm: each run switches kinds of fault and of operation on or off and draws its own weights
//! and limits, so that rare combinations come up. Options are printed first; `--set key=value`
//! replaces one by its dotted name, and [`Options::differing`] says which were.

use std::collections::BTreeMap;

use mfsha_core::buggify::Buggify;
use mfsha_core::rng::{Rng, Seed};
use serde::{Deserialize, Serialize};

use crate::atlas;
use crate::bugs;
use crate::check;
use crate::fault::FaultKind;
use crate::generator;

/// Share of the seeds that have chunkservers.
const FLEET_SHARE: (u64, u64) = (1, 4);
/// Share of the seeds in which only detection of damage is judged.
const DETECTION_SHARE: (u64, u64) = (1, 30);
/// Share of the seeds that have mounts.
const MOUNT_SHARE: (u64, u64) = (1, 3);

/// Room in a store from which on a replica keeps up with its clients however long a checkpoint
/// takes, bytes.
const STORE_BYTES_AMPLE: usize = 16 << 10;
/// Longest checkpoint of a store with less room, milliseconds.
const CHECKPOINT_QUICK_MS: u64 = 20;

/// The options of one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Seats, and voters in the beginning: 1, 3 or 5.
    pub nodes: u8,
    /// Clients.
    pub clients: u16,
    /// Threads of each client; each has one request outstanding at most.
    pub lanes: u8,
    /// Chunkservers; 0 in most runs, in which nothing writes chunks for good.
    pub chunkservers: u8,
    /// How long faults come and go, milliseconds.
    pub safety_ms: u64,
    /// How long a healed core whose nodes are connected may take to elect its first leader,
    /// milliseconds.
    #[serde(default = "lead_bound_ms")]
    pub lead_bound_ms: u64,
    /// How long a healed core may take to elect and serve, milliseconds.
    pub serve_bound_ms: u64,
    /// How long a healed core may take to become one state afterwards, milliseconds.
    pub converge_bound_ms: u64,
    /// Seats outside the healed core stay broken to the end.
    pub leave_rest_broken: bool,
    /// The run reports a violation although nothing is wrong: proves that alarms ring.
    pub canary: bool,
    /// The run is another one in each process: proves that runs are compared.
    #[serde(default)]
    pub undetermined: bool,
    /// Name of a bug put in on purpose; empty for none.
    pub bug: String,
    /// Name of the only checker that judges, to prove what it finds by itself; empty for all.
    pub judge: String,
    /// Consensus.
    pub raft: RaftOptions,
    /// Write-ahead log.
    pub log: LogOptions,
    /// The rest of a node.
    pub node: NodeOptions,
    /// Network.
    pub net: NetOptions,
    /// Disks.
    pub disk: DiskOptions,
    /// Clocks.
    pub clock: ClockOptions,
    /// Which faults, how often.
    pub faults: FaultOptions,
    /// Which operations, how often.
    pub workload: WorkloadOptions,
    /// Chunkservers, and those who write and read chunks.
    #[serde(default)]
    pub chunks: ChunkOptions,
    /// Mounts that speak MooseFS's protocol.
    #[serde(default)]
    pub mounts: u8,
    /// What they do, when there are any.
    #[serde(default)]
    pub mount: MountOptions,
    /// Fault points in drivers and nodes.
    pub buggify: BuggifyOptions,
}

/// Longest election timeouts within which a connected majority has a leader: three until one that
/// hears nobody asks whether it still leads, one until nobody is promised to it any more, one until
/// somebody stands, and five elections, of which each after the first had no winner.
const LEAD_ELECTIONS: u64 = 10;

/// What plans mean that do not say it: the bound of the longest timeouts that are drawn.
fn lead_bound_ms() -> u64 {
    LEAD_ELECTIONS * 1_000
}

/// Options of mounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MountOptions {
    /// Threads of each, which ask one thing after the other.
    pub threads: u8,
    /// Mean time between an answer and the next question of a thread, milliseconds.
    pub mean_ms: u64,
    /// Messages at which a connection breaks, parts of a million.
    pub break_ppm: u32,
    /// Threads of each that read and write data, where there are chunkservers.
    #[serde(default)]
    pub scribes: u8,
}

impl Default for MountOptions {
    fn default() -> Self {
        Self {
            threads: 2,
            mean_ms: 50,
            break_ppm: 0,
            scribes: 0,
        }
    }
}

/// Options of consensus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RaftOptions {
    /// Shortest time without a leader before an election, milliseconds.
    pub election_min_ms: u64,
    /// Longest, milliseconds.
    pub election_max_ms: u64,
    /// Milliseconds between heartbeats.
    pub heartbeat_ms: u64,
    /// Bytes of log before a snapshot.
    pub snapshot_log_bytes: u64,
    /// Entries kept behind a snapshot.
    pub log_keep_entries: u64,
    /// Bytes of log up to which a leader keeps what a member lacks.
    #[serde(default)]
    pub log_lag_bytes_max: u64,
    /// Bytes of entries in one message.
    pub append_bytes_max: usize,
    /// What the lease is shortened by, parts of a million.
    pub clock_drift_max_ppm: u32,
    /// Whether the nodes have different priorities.
    pub priorities: bool,
    /// Whether tasks inside consensus run in random order.
    pub shuffle_tasks: bool,
}

/// Options of the write-ahead log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogOptions {
    /// Bytes of a segment.
    pub segment_bytes: u32,
    /// Longest payload of an entry, bytes.
    pub record_bytes_max: usize,
    /// Most segments.
    pub segments_max: u32,
    /// Bytes of a batch that are handed to the disk before its flush.
    pub buffer_bytes_max: u32,
}

/// Options of a node outside consensus and log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeOptions {
    /// Milliseconds between checkpoints.
    pub checkpoint_interval_ms: u64,
    /// A request without an outcome is answered after this, milliseconds.
    pub request_timeout_ms: u64,
    /// Requests that may wait.
    pub pending_max: usize,
    /// Bytes of one part of a snapshot, about.
    pub snapshot_part_bytes: usize,
    /// Milliseconds before a node that lost entries asks the next peer.
    pub repair_retry_ms: u64,
    /// Room in the store for changes that are not durable, bytes; 0 for no bound.
    #[serde(default)]
    pub store_bytes_max: usize,
    /// Half of all requests are asked as a face does, which knows no leader.
    #[serde(default)]
    pub faces: bool,
    /// Bytes of applied entries after which a checkpoint begins.
    #[serde(default = "checkpoint_log_bytes")]
    pub checkpoint_log_bytes: u64,
    /// Entries that one step applies.
    #[serde(default = "apply_entries_max")]
    pub apply_entries_max: usize,
}

/// What plans mean that do not say it.
fn checkpoint_log_bytes() -> u64 {
    8 << 20
}

fn apply_entries_max() -> usize {
    1_024
}

/// Options of the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetOptions {
    /// Least latency of a message, microseconds.
    pub latency_min_us: u64,
    /// Mean of what comes on top, microseconds.
    pub latency_mean_us: u64,
    /// Messages that take much longer, parts of a million.
    pub tail_ppm: u32,
    /// The longest that such a message takes, milliseconds.
    pub tail_max_ms: u64,
    /// Messages lost, parts of a million.
    pub loss_ppm: u32,
    /// Messages that arrive twice, parts of a million.
    pub duplicate_ppm: u32,
    /// Messages that others may overtake, parts of a million.
    pub reorder_ppm: u32,
    /// Links differ: some lose, double and hold up four times as much as the others, or a quarter,
    /// or nothing, each direction for itself.
    #[serde(default)]
    pub links_differ: bool,
    /// Nodes talk by their transports over streams of bytes, and form a cluster first, as in
    /// production; otherwise by whole messages.
    #[serde(default)]
    pub streams: bool,
    /// Longest piece of a stream that travels at once, bytes; 0 for whatever was written.
    #[serde(default)]
    pub segment_bytes: u32,
    /// Pieces in which a stream breaks, parts of a million.
    #[serde(default)]
    pub tear_ppm: u32,
}

/// Options of the disks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskOptions {
    /// Bytes of a node's disk.
    pub capacity_bytes: u64,
    /// A torn write spoils whole pages, with what was durable in them: a disk of 4 KiB sectors that
    /// offers smaller ones.
    #[serde(default)]
    pub pages_tear: bool,
    /// Least time of a flush, microseconds.
    pub flush_min_us: u64,
    /// Mean of what comes on top, microseconds.
    pub flush_mean_us: u64,
    /// Least time of a checkpoint, milliseconds.
    pub checkpoint_min_ms: u64,
    /// Longest, milliseconds.
    pub checkpoint_max_ms: u64,
}

/// Options of the clocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockOptions {
    /// Rates differ from true time by at most this, parts of a million.
    pub drift_max_ppm: u32,
    /// Wall clocks begin at most this far off, milliseconds.
    pub wall_offset_max_ms: u64,
}

/// Which faults, how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultOptions {
    /// Mean time between two faults, milliseconds; 0 for none at all.
    pub mean_ms: u64,
    /// Longest that one lasts, milliseconds.
    pub longest_ms: u64,
    /// Only detection of damage is judged, so the last good copy may be destroyed, and the run ends
    /// where others begin to heal.
    pub detection_only: bool,
    /// Weight of each kind; 0 is never.
    pub weights: BTreeMap<FaultKind, u32>,
}

/// Which operations, how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkloadOptions {
    /// Mean time between two operations of one client, milliseconds.
    pub mean_ms: u64,
    /// How long a client waits for an answer before it asks again elsewhere, milliseconds.
    pub attempt_ms: u64,
    /// How long it goes on asking, milliseconds.
    pub give_up_ms: u64,
    /// Clients that ask a node at random first instead of who they think leads, percent.
    pub stray_percent: u32,
    /// Directories and names that clients fight over: fewer, more conflicts.
    pub names: u32,
    /// Weights of strict, lease and fast reads.
    pub read_strict: u32,
    /// See `read_strict`. 0 where clocks may break leases.
    pub read_lease: u32,
    /// See `read_strict`.
    pub read_fast: u32,
    /// Weight of each kind of operation; 0 is never.
    pub weights: BTreeMap<String, u32>,
}

/// Options of chunkservers, and of those who write and read chunks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkOptions {
    /// Files, each with an owner who writes, cuts, copies and removes it.
    pub files: u8,
    /// Who reads them.
    pub readers: u8,
    /// Mean time between two things that one of them does, milliseconds.
    pub mean_ms: u64,
    /// Most copies that a file wants.
    pub goal_max: u8,
    /// Mean time that an order takes, microseconds.
    pub order_mean_us: u64,
    /// Orders that fail, parts of a million.
    pub fail_ppm: u32,
    /// Messages at which a connection breaks, parts of a million.
    pub break_ppm: u32,
    /// A new leader copies and deletes nothing for so long, milliseconds.
    pub upkeep_delay_ms: u64,
    /// A chunkserver that is gone is waited for so long, milliseconds.
    pub absence_ms: u64,
    /// Files, or chunks, that a leader looks at at once.
    pub portion: usize,
    /// Chunkservers whose use differs by more have copies moved, percent; 0 for by anything. Their
    /// room is so large that 1 % is never reached.
    #[serde(default = "balance_percent")]
    pub balance_percent: u8,
}

fn balance_percent() -> u8 {
    1
}

impl Default for ChunkOptions {
    fn default() -> Self {
        Self {
            files: 2,
            readers: 1,
            mean_ms: 100,
            goal_max: 2,
            order_mean_us: 1_000,
            fail_ppm: 0,
            break_ppm: 0,
            upkeep_delay_ms: 500,
            absence_ms: 1_000,
            portion: 20,
            balance_percent: balance_percent(),
        }
    }
}

/// Fault points in drivers and nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuggifyOptions {
    /// Sites that are active in a run, percent.
    pub active_percent: u32,
    /// How often an active one of a driver fires, percent; the others in proportion, each at its
    /// own rate.
    pub fire_percent: u32,
    /// Nodes have theirs too, not drivers alone.
    #[serde(default)]
    pub core: bool,
}

impl BuggifyOptions {
    /// The fault points of a run.
    #[must_use]
    pub fn sites(&self, seed: &Seed) -> Buggify {
        // Drivers' sites fire a quarter of the time by themselves.
        Buggify::new(seed, self.active_percent, 4 * self.fire_percent)
    }
}

/// Why `--set` was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// Not of the form `key=value`.
    #[error("`{text}` is not of the form key=value")]
    Form {
        /// What was given.
        text: String,
    },
    /// There is no such option.
    #[error("there is no option `{key}`; `mfsha-sim options SEED` lists them")]
    Key {
        /// What was given.
        key: String,
    },
    /// The value does not fit.
    #[error("option `{key}` cannot be `{value}`: {reason}")]
    Value {
        /// Which option.
        key: String,
        /// What was given.
        value: String,
        /// What does not fit.
        reason: String,
    },
}

impl Options {
    /// Draws the options of a seed.
    #[must_use]
    pub fn draw(seed: &Seed) -> Self {
        let mut rng = seed.child("options").rng();
        let nodes = *rng.pick(&[1, 3, 3, 3, 3, 3, 3, 5, 5, 5]);
        let raft = RaftOptions::draw(&mut seed.child("options raft").rng());
        let clock = ClockOptions::draw(&mut seed.child("options clock").rng());
        let mut faults = FaultOptions::draw(&mut seed.child("options faults").rng());
        let mut workload = WorkloadOptions::draw(&mut seed.child("options workload").rng());
        let weight = |kind| faults.weights.get(&kind).copied().unwrap_or(0);
        // A lease is a promise about rates of clocks: one clock that jumps or stands still breaks
        // it, so a run has either leases or such clocks.
        if weight(FaultKind::MonotonicJump) > 0 {
            workload.read_lease = 0;
        }
        let detection_only = {
            let mut rng = seed.child("options detection").rng();
            rng.chance(DETECTION_SHARE.0, DETECTION_SHARE.1)
        };
        if detection_only {
            faults.judge_detection();
        }
        // A single node has nobody to give back what rotted, nor to take its place.
        if nodes == 1 && !detection_only {
            for kind in atlas::DAMAGING {
                faults.weights.insert(kind, 0);
            }
        }
        let mut fleet = seed.child("options chunks").rng();
        let chunkservers = if fleet.chance(FLEET_SHARE.0, FLEET_SHARE.1) {
            fleet.between(2, 6) as u8
        } else {
            0
        };
        let mut chunks = ChunkOptions::draw(&mut fleet);
        chunks.balance_percent = *seed.child("options balance").rng().pick(&[0, 1]);
        for kind in [FaultKind::ServerCrash, FaultKind::ServerCut] {
            let weight = fleet.below(11) as u32;
            let weight = if chunkservers > 0 { weight } else { 0 };
            faults.weights.insert(kind, weight);
        }
        let mut crowd = seed.child("options mounts").rng();
        let mounts = if crowd.chance(MOUNT_SHARE.0, MOUNT_SHARE.1) {
            crowd.between(1, 4) as u8
        } else {
            0
        };
        let mut mount = MountOptions::draw(&mut crowd);
        let mut data = seed.child("options data").rng();
        // Who reads and writes data comes by `--set` alone, until sweeps have shown what that finds.
        mount.scribes = 0;
        for kind in [FaultKind::ServerStop, FaultKind::DataCut] {
            let weight = data.below(11) as u32;
            let weight = if chunkservers > 0 { weight } else { 0 };
            faults.weights.insert(kind, weight);
        }
        // Copies and mounts are judged by what they come to once all is well again.
        let (chunkservers, mounts) = match detection_only {
            true => (0, 0),
            false => (chunkservers, mounts),
        };
        let node = NodeOptions::draw(&mut seed.child("options node").rng());
        let mut disk = DiskOptions::draw(&mut seed.child("options disk").rng());
        // A replica applies what it has room for, and waits for a checkpoint: with the least room,
        // some nine entries each time. Slow checkpoints would let it fall behind for as long as
        // clients write, and no bound on catching up could hold.
        if (1..STORE_BYTES_AMPLE).contains(&node.store_bytes_max) {
            disk.checkpoint_max_ms = disk.checkpoint_max_ms.min(CHECKPOINT_QUICK_MS);
        }
        let election = raft.election_max_ms;
        Self {
            nodes,
            clients: rng.between(1, 5) as u16,
            lanes: rng.between(1, 3) as u8,
            chunkservers: {
                // Drawn as ever, so that everything after it is as it was.
                rng.between(1, 3);
                chunkservers
            },
            chunks,
            mounts,
            mount,
            safety_ms: *rng.pick(&[4_000, 8_000, 12_000, 20_000, 30_000]),
            lead_bound_ms: LEAD_ELECTIONS * election,
            serve_bound_ms: 20 * election + 10_000,
            converge_bound_ms: if chunkservers > 0 { 60_000 } else { 20_000 },
            leave_rest_broken: rng.chance(1, 3),
            canary: false,
            undetermined: false,
            bug: String::new(),
            judge: String::new(),
            raft,
            log: LogOptions::draw(&mut seed.child("options log").rng()),
            node,
            net: NetOptions::draw(&mut seed.child("options net").rng()),
            disk,
            clock,
            faults,
            workload,
            buggify: BuggifyOptions {
                active_percent: if rng.chance(3, 4) { 25 } else { 0 },
                fire_percent: 25,
                core: seed.child("options buggify").rng().chance(3, 4),
            },
        }
    }

    /// Replaces one option by its dotted name: `net.loss_ppm=0`.
    ///
    /// # Errors
    /// [`SetError`]; then nothing was changed.
    pub fn set(&mut self, text: &str) -> Result<(), SetError> {
        let Some((key, value)) = text.split_once('=') else {
            return Err(SetError::Form { text: text.into() });
        };
        let (key, value) = (key.trim(), value.trim());
        let refused = |reason: String| SetError::Value {
            key: key.into(),
            value: value.into(),
            reason,
        };
        let mut tree = self.tree();
        let place = find(&mut tree, key).ok_or_else(|| SetError::Key { key: key.into() })?;
        *place = match place {
            toml::Value::String(_) => toml::Value::String(value.trim_matches('"').into()),
            _ => value
                .parse::<toml::Value>()
                .map_err(|error| refused(error.message().to_owned()))?,
        };
        *self = toml::Value::Table(tree)
            .try_into()
            .map_err(|error: toml::de::Error| refused(error.message().to_owned()))?;
        self.validate().map_err(refused)
    }

    /// Every option by its dotted name, in order.
    #[must_use]
    pub fn flat(&self) -> BTreeMap<String, String> {
        fn walk(prefix: &str, table: &toml::Table, into: &mut BTreeMap<String, String>) {
            for (key, value) in table {
                let name = format!("{prefix}{key}");
                match value {
                    toml::Value::Table(inner) => walk(&format!("{name}."), inner, into),
                    value => {
                        into.insert(name, value.to_string());
                    }
                }
            }
        }
        let mut into = BTreeMap::new();
        walk("", &self.tree(), &mut into);
        into
    }

    /// Options that differ from those of `other`, as arguments for `--set`.
    #[must_use]
    pub fn differing(&self, other: &Self) -> Vec<String> {
        let theirs = other.flat();
        self.flat()
            .into_iter()
            .filter(|(key, value)| theirs.get(key) != Some(value))
            .map(|(key, value)| format!("{key}={value}"))
            .collect()
    }

    /// Says what no run can be made of.
    ///
    /// # Errors
    /// The first thing that does not hold, as a sentence.
    pub fn validate(&self) -> Result<(), String> {
        let raft = &self.raft;
        let laws = [
            ((1..=7).contains(&self.nodes), "a cluster has 1 to 7 nodes"),
            (self.clients >= 1, "somebody has to ask"),
            (self.lanes >= 1, "a client has a lane at least"),
            (
                raft.heartbeat_ms >= 1 && raft.heartbeat_ms * 2 < raft.election_min_ms,
                "an election begins after several missed heartbeats",
            ),
            (
                raft.election_min_ms < raft.election_max_ms,
                "election timeouts are drawn from a range",
            ),
            (self.workload.mean_ms >= 1, "operations take their time"),
            (self.workload.attempt_ms >= 1, "an attempt takes its time"),
            (self.safety_ms >= 1, "a run takes its time"),
            (self.chunkservers <= 10, "there are at most 10 chunkservers"),
            (self.mounts <= 10, "there are at most 10 mounts"),
            (
                !self.faults.detection_only || self.chunkservers == 0 && self.mounts == 0,
                "where only detection is judged there are neither chunkservers nor mounts",
            ),
            (
                (1..=20).contains(&self.mount.threads) && self.mount.mean_ms >= 1,
                "a mount has 1 to 20 threads, and they take their time",
            ),
            (
                self.mount.scribes <= 10,
                "at most 10 threads of a mount read and write data",
            ),
            (
                (1..=9).contains(&self.chunks.goal_max),
                "a file wants 1 to 9 copies",
            ),
            (
                self.chunks.portion >= 1 && self.chunks.mean_ms >= 1,
                "whoever writes chunks takes time, and a leader looks at some of them",
            ),
            (
                check::is_known(&self.judge),
                "no checker has this name; `docs/checkers.md` lists them",
            ),
            (
                bugs::is_known(&self.bug),
                "no bug has this name; `mfsha-sim bugs --list` tells them",
            ),
        ];
        match laws.into_iter().find(|(holds, _)| !holds) {
            Some((_, law)) => Err(law.into()),
            None => Ok(()),
        }
    }

    /// Weight of a kind of operation. Copies are judged by what the owners of their files did:
    /// where there are chunkservers, nobody else touches chunks.
    #[must_use]
    pub fn operation_weight(&self, kind: &str) -> u32 {
        if self.chunkservers > 0 && generator::TOUCHING_CHUNKS.contains(&kind) {
            return 0;
        }
        // Threads of mounts know what they made, and what it must be.
        if self.mounts > 0 && kind == generator::ANYTHING {
            return 0;
        }
        self.workload.weights.get(kind).copied().unwrap_or(0)
    }

    /// Weight of a kind of fault. The lock of a chunk is a promise about wall clocks: they do not
    /// jump where there are chunkservers.
    #[must_use]
    pub fn fault_weight(&self, kind: FaultKind) -> u32 {
        if self.chunkservers > 0 && kind == FaultKind::WallJump {
            return 0;
        }
        self.faults.weights.get(&kind).copied().unwrap_or(0)
    }

    fn tree(&self) -> toml::Table {
        toml::Table::try_from(self).expect("options are tables of numbers, strings and truths")
    }
}

fn find<'a>(tree: &'a mut toml::Table, key: &str) -> Option<&'a mut toml::Value> {
    match key.split_once('.') {
        None => tree.get_mut(key),
        Some((table, rest)) => find(tree.get_mut(table)?.as_table_mut()?, rest),
    }
}

impl RaftOptions {
    fn draw(rng: &mut Rng) -> Self {
        let election_min_ms = *rng.pick(&[150, 300, 300, 500]);
        Self {
            election_min_ms,
            election_max_ms: election_min_ms * 2,
            heartbeat_ms: election_min_ms / rng.between(3, 6),
            // Small ones make snapshots, purges and installs common.
            snapshot_log_bytes: *rng.pick(&[4 << 10, 16 << 10, 16 << 10, 64 << 10, 1 << 20]),
            log_keep_entries: *rng.pick(&[0, 1, 16, 128]),
            log_lag_bytes_max: *rng.pick(&[0, 16 << 10, 256 << 10]),
            append_bytes_max: *rng.pick(&[2 << 10, 64 << 10, 1 << 20]),
            clock_drift_max_ppm: 1_000,
            priorities: rng.chance(1, 4),
            shuffle_tasks: rng.chance(1, 2),
        }
    }
}

impl LogOptions {
    fn draw(rng: &mut Rng) -> Self {
        // The smallest segments make turning over to the next one common.
        let segment_bytes = *rng.pick(&[16 << 10, 64 << 10, 256 << 10]);
        Self {
            segment_bytes,
            // Generated requests stay well below this, and it fits the smallest segment.
            record_bytes_max: 3_500,
            segments_max: (64 << 20) / segment_bytes,
            buffer_bytes_max: *rng.pick(&[4 << 10, 256 << 10]),
        }
    }
}

impl NodeOptions {
    fn draw(rng: &mut Rng) -> Self {
        Self {
            checkpoint_interval_ms: *rng.pick(&[300, 1_000, 5_000, 30_000]),
            request_timeout_ms: *rng.pick(&[1_000, 5_000]),
            pending_max: *rng.pick(&[10, 1_000]),
            snapshot_part_bytes: *rng.pick(&[512, 8 << 10, 256 << 10]),
            repair_retry_ms: *rng.pick(&[100, 500]),
            // Little room makes checkpoints common, and a full store too.
            store_bytes_max: *rng.pick(&[0, 0, 2 << 10, 16 << 10]),
            faces: rng.chance(1, 2),
            checkpoint_log_bytes: *rng.pick(&[2 << 10, 32 << 10, 8 << 20]),
            // One by one, a replay is interrupted by whatever happens meanwhile.
            apply_entries_max: *rng.pick(&[1, 3, 64]),
        }
    }
}

impl NetOptions {
    fn draw(rng: &mut Rng) -> Self {
        let latency_min_us = *rng.pick(&[20, 50, 200, 1_000]);
        let mut some = |most: u64| {
            if rng.chance(1, 2) {
                rng.between(1, most) as u32
            } else {
                0
            }
        };
        let (loss_ppm, duplicate_ppm, reorder_ppm) = (some(50_000), some(50_000), some(100_000));
        Self {
            latency_min_us,
            latency_mean_us: latency_min_us * rng.between(1, 5),
            tail_ppm: 1_000,
            tail_max_ms: *rng.pick(&[10, 100, 1_000]),
            loss_ppm,
            duplicate_ppm,
            reorder_ppm,
            streams: rng.chance(1, 2),
            segment_bytes: *rng.pick(&[0, 0, 1_460, 100]),
            tear_ppm: *rng.pick(&[0, 0, 300, 3_000]),
            links_differ: rng.chance(1, 2),
        }
    }
}

impl DiskOptions {
    fn draw(rng: &mut Rng) -> Self {
        Self {
            capacity_bytes: 256 << 20,
            flush_min_us: *rng.pick(&[20, 70, 500]),
            flush_mean_us: *rng.pick(&[30, 100, 3_000]),
            checkpoint_min_ms: 1,
            checkpoint_max_ms: *rng.pick(&[2, 20, 500]),
            pages_tear: rng.chance(1, 3),
        }
    }
}

impl ClockOptions {
    fn draw(rng: &mut Rng) -> Self {
        Self {
            drift_max_ppm: *rng.pick(&[0, 50, 500]),
            wall_offset_max_ms: *rng.pick(&[0, 100, 5_000]),
        }
    }
}

impl FaultOptions {
    fn draw(rng: &mut Rng) -> Self {
        // Every kind is off in half of the runs, and one run in twenty has none.
        let weights = FaultKind::OF_NODES
            .into_iter()
            .map(|kind| {
                let on = rng.chance(1, 2);
                let weight = rng.between(1, 10) as u32;
                (kind, if on { weight } else { 0 })
            })
            .collect();
        Self {
            mean_ms: if rng.chance(1, 20) {
                0
            } else {
                *rng.pick(&[200, 500, 1_000, 2_000])
            },
            longest_ms: *rng.pick(&[500, 2_000, 6_000]),
            detection_only: false,
            weights,
        }
    }
}

impl FaultOptions {
    /// Destroys without regard to what is left, so that only what nodes say of it can be judged.
    fn judge_detection(&mut self) {
        self.detection_only = true;
        self.mean_ms = self.mean_ms.clamp(100, 500);
        for kind in atlas::DAMAGING {
            self.weights.insert(kind, 5);
        }
        // Whoever takes the disks away takes what there is to detect; and nobody is replaced.
        self.weights.insert(FaultKind::LoseDisk, 0);
        self.weights.insert(FaultKind::CycleMember, 0);
        self.weights.insert(FaultKind::Shrink, 0);
        for kind in [FaultKind::Kill, FaultKind::PowerLoss] {
            self.weights.insert(kind, 10);
        }
    }
}

impl MountOptions {
    fn draw(rng: &mut Rng) -> Self {
        Self {
            threads: rng.between(1, 4) as u8,
            mean_ms: *rng.pick(&[5, 20, 50, 200]),
            break_ppm: *rng.pick(&[0, 1_000, 10_000, 50_000]),
            scribes: 0,
        }
    }
}

impl ChunkOptions {
    fn draw(rng: &mut Rng) -> Self {
        Self {
            files: rng.between(1, 5) as u8,
            readers: rng.between(1, 3) as u8,
            mean_ms: *rng.pick(&[20, 100, 400]),
            goal_max: rng.between(1, 3) as u8,
            order_mean_us: *rng.pick(&[200, 5_000, 100_000]),
            fail_ppm: *rng.pick(&[0, 0, 10_000, 50_000]),
            break_ppm: *rng.pick(&[0, 1_000, 10_000]),
            upkeep_delay_ms: *rng.pick(&[200, 1_000]),
            absence_ms: *rng.pick(&[100, 1_000, 3_000]),
            portion: *rng.pick(&[20, 50, 200]),
            balance_percent: balance_percent(),
        }
    }
}

impl WorkloadOptions {
    fn draw(rng: &mut Rng) -> Self {
        let weights = generator::KINDS
            .iter()
            .map(|kind| {
                let on = rng.chance(2, 3) || generator::is_basic(kind);
                let weight = rng.between(1, 10) as u32;
                ((*kind).to_owned(), if on { weight } else { 0 })
            })
            .collect();
        Self {
            mean_ms: *rng.pick(&[20, 50, 100, 200]),
            attempt_ms: *rng.pick(&[200, 500, 1_000]),
            give_up_ms: *rng.pick(&[5_000, 20_000]),
            stray_percent: *rng.pick(&[0, 5, 50]),
            names: *rng.pick(&[3, 10, 100]),
            read_strict: rng.between(1, 4) as u32,
            read_lease: rng.below(4) as u32,
            read_fast: rng.below(4) as u32,
            weights,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(seed: u64) -> Options {
        Options::draw(&Seed::from_u64(seed))
    }

    #[test]
    fn every_drawn_run_can_be_made_and_survives_being_written_down() {
        for seed in 0..300 {
            let drawn = options(seed);
            drawn.validate().unwrap();
            let log = &drawn.log;
            let wal = mfsha_core::wal::WalOptions {
                segment_bytes: log.segment_bytes,
                record_bytes_max: log.record_bytes_max,
                segments_max: log.segments_max,
                ..mfsha_core::wal::WalOptions::new(mfsha_core::id::NodeId(1))
            };
            wal.validate().unwrap();
            let text = toml::to_string(&drawn).unwrap();
            assert_eq!(toml::from_str::<Options>(&text).unwrap(), drawn);
        }
    }

    #[test]
    fn swarm_switches_every_kind_on_and_off() {
        let all: Vec<Options> = (0..100).map(options).collect();
        assert!(all.iter().any(|options| options.chunkservers > 0));
        for kind in FaultKind::ALL {
            assert!(all.iter().any(|options| options.fault_weight(kind) > 0));
            assert!(all.iter().any(|options| options.fault_weight(kind) == 0));
        }
        for nodes in [1, 3, 5] {
            assert!(all.iter().any(|options| options.nodes == nodes));
        }
    }

    #[test]
    fn what_differs_is_what_was_set_and_sets_it_again() {
        let drawn = options(7);
        let mut changed = drawn.clone();
        changed.set("net.loss_ppm=123456").unwrap();
        changed.set("bug=ack-before-flush").unwrap();
        changed.set("faults.weights.kill = 99").unwrap();
        let differing = changed.differing(&drawn);
        assert_eq!(differing.len(), 3, "{differing:?}");
        let mut again = drawn.clone();
        for text in &differing {
            again.set(text).unwrap();
        }
        assert_eq!(again, changed);
        assert!(drawn.differing(&drawn).is_empty());
    }

    #[test]
    fn nonsense_is_refused_and_changes_nothing() {
        let mut drawn = options(7);
        let before = drawn.clone();
        assert!(matches!(drawn.set("nodes"), Err(SetError::Form { .. })));
        assert!(matches!(drawn.set("knots=3"), Err(SetError::Key { .. })));
        assert!(matches!(
            drawn.set("nodes=many"),
            Err(SetError::Value { .. })
        ));
        assert!(matches!(drawn.set("nodes=-1"), Err(SetError::Value { .. })));
        assert_eq!(drawn, before);
    }

    #[test]
    fn a_store_without_room_has_quick_checkpoints() {
        let little =
            |options: &Options| (1..STORE_BYTES_AMPLE).contains(&options.node.store_bytes_max);
        let drawn: Vec<Options> = (0..300).map(options).filter(little).collect();
        assert!(drawn.len() > 30);
        for options in drawn {
            assert!(options.disk.checkpoint_max_ms <= CHECKPOINT_QUICK_MS);
        }
    }

    #[test]
    fn no_run_trusts_leases_while_clocks_jump() {
        for seed in 0..300 {
            let drawn = options(seed);
            assert!(
                drawn.workload.read_lease == 0 || drawn.fault_weight(FaultKind::MonotonicJump) == 0
            );
        }
    }
}
