//! The real node behind the world's door.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mfsha_core::id::{GroupId, NodeId};
use mfsha_core::node::request::NodeStatus;
use mfsha_core::node::{self, Node, Observed, ObservedPayload};
use mfsha_core::raft;
use mfsha_core::rng::Seed;
use mfsha_core::time::Instant;
use mfsha_core::wal::WalOptions;
use mfsha_core::wal::record::LogId;

use crate::bugs;
use crate::check::LogImage;
use crate::disk::SimDisk;
use crate::event::{AppliedEntry, AppliedPayload};
use crate::node::{Kind, NodeSpec, SimNode};
use crate::options::Options;
use crate::store::SimStore;

/// The one group of a run.
const GROUP: GroupId = GroupId(1);

/// mfsha's node.
pub struct Real;

impl Kind for Real {
    type Node = Node<SimDisk, SimStore>;

    fn open(
        spec: &NodeSpec,
        disk: SimDisk,
        store: SimStore,
        seed: Seed,
        now: Instant,
        _wall_us: u64,
    ) -> Result<Self::Node, String> {
        let options = node_options(spec, &seed);
        Node::open(options, disk, store, seed, now).map_err(|error| error.to_string())
    }
}

impl SimNode for Node<SimDisk, SimStore> {
    fn shows(&self) -> (Option<raft::Status>, NodeStatus) {
        let raft = self.raft_status();
        let status = self.status_with(raft.as_ref());
        (raft, status)
    }

    fn receives_state(&self) -> bool {
        Node::receives_state(self)
    }

    fn version(&self) -> u64 {
        self.namespace().version()
    }

    fn durable(&self) -> Option<LogId> {
        self.durable_entry()
    }

    fn take_applied(&mut self) -> Vec<AppliedEntry> {
        Node::take_applied(self).into_iter().map(entry).collect()
    }

    fn log(&self) -> LogImage {
        self.log_image()
    }
}

fn entry(observed: Observed) -> AppliedEntry {
    AppliedEntry {
        id: observed.id,
        payload: match observed.payload {
            ObservedPayload::Blank => AppliedPayload::Blank,
            ObservedPayload::Command(seen) => AppliedPayload::Command {
                command: Arc::new(seen.0),
                outcome: Arc::new(seen.1),
            },
            ObservedPayload::Membership(membership) => AppliedPayload::Membership(membership),
        },
        version: observed.version,
    }
}

fn node_options(spec: &NodeSpec, seed: &Seed) -> node::Options {
    let Options {
        raft,
        log,
        node,
        chunks,
        ..
    } = &spec.options;
    let bug = bugs::named(&spec.options.bug);
    let raft = raft::Options {
        node: spec.node,
        election_timeout: (
            Duration::from_millis(raft.election_min_ms),
            Duration::from_millis(raft.election_max_ms),
        ),
        heartbeat: Duration::from_millis(raft.heartbeat_ms),
        clock_drift_max_ppm: raft.clock_drift_max_ppm,
        snapshot_log_bytes: raft.snapshot_log_bytes,
        log_keep_entries: raft.log_keep_entries,
        log_lag_bytes_max: raft.log_lag_bytes_max,
        append_bytes_max: raft.append_bytes_max,
        priority: priorities(spec),
        shuffle_tasks: raft.shuffle_tasks,
        buggify: spec.buggify.clone(),
        bug,
    };
    let wal = WalOptions {
        segment_bytes: log.segment_bytes,
        record_bytes_max: log.record_bytes_max,
        segments_max: log.segments_max,
        buffer_bytes_max: log.buffer_bytes_max,
        buggify: spec.buggify.clone(),
        bug,
        ..WalOptions::new(spec.node)
    };
    // Only this life opens the log under this number.
    let life = seed.child("life").rng().next_u64();
    node::Options {
        wal,
        bootstrap: (!spec.bootstrap.is_empty()).then(|| spec.bootstrap.clone()),
        peers: spec.peers.clone(),
        checkpoint_interval: Duration::from_millis(node.checkpoint_interval_ms),
        checkpoint_log_bytes: node.checkpoint_log_bytes,
        apply_entries_max: node.apply_entries_max,
        request_timeout: Duration::from_millis(node.request_timeout_ms),
        pending_max: node.pending_max,
        snapshot_part_bytes: node.snapshot_part_bytes,
        repair_retry: Duration::from_millis(node.repair_retry_ms),
        chunks: mfsha_core::chunks::Options {
            resend: Duration::from_millis(300),
            cut_off_patience: Duration::from_millis(300),
            cut_off_forget: Duration::from_secs(3),
            discovery: Duration::from_secs(1),
            doubt: Duration::from_secs(2),
            upkeep_delay: Duration::from_millis(chunks.upkeep_delay_ms),
            absence: Duration::from_millis(chunks.absence_ms),
            upkeep_tick: Duration::from_millis(100),
            upkeep_pause: Duration::from_secs(1),
            upkeep_portion: chunks.portion,
            balance_accepted_percent: chunks.balance_percent,
            ..mfsha_core::chunks::Options::default()
        },
        observe: true,
        // For the faces of mounts.
        news: spec.options.mounts > 0,
        buggify: spec.buggify.clone(),
        bug,
        ..node::Options::new(GROUP, raft, life)
    }
}

/// Nodes of lower number are better placed, where the run has priorities at all.
fn priorities(spec: &NodeSpec) -> BTreeMap<NodeId, u32> {
    if !spec.options.raft.priorities {
        return BTreeMap::new();
    }
    spec.peers
        .iter()
        .chain([&spec.node])
        .map(|node| (*node, priority(*node)))
        .collect()
}

/// How well a node is placed, in a run with priorities.
pub(crate) fn priority(node: NodeId) -> u32 {
    100 - (node.0 % 7) as u32
}
