//! The door to a node: what the world needs to run one and to look into it.
//!
//! The world is written against these traits, so that the same world runs the real node and the
//! toy ones of its own tests.

use std::collections::BTreeSet;

use mfsha_core::buggify::Buggify;
use mfsha_core::id::NodeId;
use mfsha_core::machine::Machine;
use mfsha_core::node::request::NodeStatus;
use mfsha_core::node::{Effect, Input};
use mfsha_core::raft;
use mfsha_core::rng::Seed;
use mfsha_core::time::Instant;
use mfsha_core::wal::record::LogId;

use crate::check::{self, Checker, LogImage};
use crate::disk::SimDisk;
use crate::event::AppliedEntry;
use crate::options::Options;
use crate::store::SimStore;

/// What a node is built from, beside its disk and its store.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// Its id.
    pub node: NodeId,
    /// The first voters of a new cluster; empty for a node that joins one.
    pub bootstrap: BTreeSet<NodeId>,
    /// The other nodes of the cluster.
    pub peers: BTreeSet<NodeId>,
    /// Which life of the node this is, from 1; with the seed, unlike any other life.
    pub life: u32,
    /// The run's options.
    pub options: Options,
    /// Unlikely branches that the run takes in nodes.
    pub buggify: Buggify,
}

/// A node that the world can run.
pub trait SimNode: Machine<Input = Input, Effect = Effect> + 'static {
    /// What its consensus machine shows, `None` while it heals or has stopped; and how it stands,
    /// as it tells clients.
    fn shows(&self) -> (Option<raft::Status>, NodeStatus);

    /// Whether a peer's state is arriving at it.
    fn receives_state(&self) -> bool;

    /// Metadata version of its state.
    fn version(&self) -> u64;

    /// Last log entry that is durable, when it can tell.
    fn durable(&self) -> Option<LogId>;

    /// Entries applied since the last call, in order.
    fn take_applied(&mut self) -> Vec<AppliedEntry>;

    /// Its present log.
    fn log(&self) -> LogImage;
}

/// A kind of node.
pub trait Kind: 'static {
    /// The node.
    type Node: SimNode;

    /// Opens what is on the disk and in the store.
    ///
    /// # Errors
    /// Why the node refuses, as a sentence.
    fn open(
        spec: &NodeSpec,
        disk: SimDisk,
        store: SimStore,
        seed: Seed,
        now: Instant,
        wall_us: u64,
    ) -> Result<Self::Node, String>;

    /// Who judges a run of such nodes.
    #[must_use]
    fn checkers(options: &Options) -> Vec<Box<dyn Checker>> {
        check::all(options)
    }
}
