//! Who judges: one file per promise, over what happened and what the nodes show.
//!
//! A checker sees every event in order, each node after each of its steps, and the cluster at the
//! end. It draws no randomness and changes nothing, so adding one leaves every trace as it was.

use std::collections::BTreeMap;
use std::sync::Arc;

use mfsha_core::id::NodeId;
use mfsha_core::node::request::NodeStatus;
use mfsha_core::raft as consensus;
use mfsha_core::wal::record::LogId;
use serde::{Deserialize, Serialize};

use crate::event::{Event, Phase};
use crate::options::Options;
use crate::place::Seat;
use crate::time::SimTime;

pub mod bytes;
pub mod canary;
pub mod chunks;
pub mod converge;
pub mod durable;
pub mod fence;
pub mod history;
pub mod ids;
pub mod image;
pub mod linear;
pub mod live;
pub mod mounts;
pub mod once;
pub mod process;
pub mod raft;
pub mod reference;
pub mod session;
pub mod stream;
#[cfg(test)]
pub(crate) mod testing;
pub mod tree;
pub mod version;

/// What kind of promise was broken; decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ViolationKind {
    /// Something wrong happened.
    Correctness,
    /// Something right did not happen in time.
    Liveness,
    /// A node, or the simulator itself, died.
    Crash,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Name of the checker.
    pub checker: String,
    /// Id of the promise: `P-ONCE`.
    pub promise: String,
    /// Of which kind.
    pub kind: ViolationKind,
    /// What is wrong, in a sentence that names nodes, indexes and calls.
    pub sentence: String,
}

/// A node as its owner sees it, after a step.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// Where it runs.
    pub seat: Seat,
    /// Who it is.
    pub node: NodeId,
    /// Which life, from 1.
    pub life: u32,
    /// What its consensus machine shows; `None` while the node heals or has stopped.
    pub raft: Option<consensus::Status>,
    /// How it stands, as it tells clients.
    pub status: NodeStatus,
    /// Whether a peer's state is arriving at it.
    pub receives_state: bool,
    /// Last log entry that is durable on its disk, when the node can tell.
    pub durable: Option<LogId>,
    /// Metadata version of its state.
    pub version: u64,
}

/// A node's present log, entry by entry.
pub type LogImage = Vec<(LogId, u64)>;

/// A state store's content.
pub type StateImage = Arc<BTreeMap<Vec<u8>, Vec<u8>>>;

/// The whole cluster at one moment. Built when asked for, not after every step.
#[derive(Clone, Debug)]
pub struct ClusterView {
    /// When.
    pub now: SimTime,
    /// Which half of the run.
    pub phase: Phase,
    /// Seats that were healed for good; empty before [`Phase::Liveness`].
    pub core: Vec<Seat>,
    /// Nodes that run, by seat.
    pub nodes: BTreeMap<Seat, NodeView>,
    /// Their states' content.
    pub states: BTreeMap<Seat, StateImage>,
    /// Their logs: ids and hashes of the entries not yet purged.
    pub logs: BTreeMap<Seat, LogImage>,
}

/// Judges one promise over one run.
///
/// Every method may end the run by returning a violation, which [`broken`] builds.
pub trait Checker {
    /// Its name: that of its file, with `-`.
    fn name(&self) -> &'static str;

    /// The promise it watches: `P-ONCE`, or `RAFT` for the laws that the promises stand on.
    fn promise(&self) -> &'static str;

    /// Something happened.
    ///
    /// # Errors
    /// The promise is broken.
    fn on_event(&mut self, now: SimTime, event: &Event) -> Result<(), Violation> {
        let _ = (now, event);
        Ok(())
    }

    /// A node took a step; its events came before.
    ///
    /// # Errors
    /// The promise is broken.
    fn after_step(&mut self, now: SimTime, node: &NodeView) -> Result<(), Violation> {
        let _ = (now, node);
        Ok(())
    }

    /// The cluster from time to time (about once a simulated second) and when a phase ends.
    ///
    /// # Errors
    /// The promise is broken.
    fn on_cluster(&mut self, cluster: &ClusterView) -> Result<(), Violation> {
        let _ = cluster;
        Ok(())
    }

    /// The run is over. `cluster.phase` is [`Phase::Quiescent`] when the core converged: then all
    /// its states have to be the same.
    ///
    /// # Errors
    /// The promise is broken.
    fn at_end(&mut self, cluster: &ClusterView) -> Result<(), Violation> {
        let _ = cluster;
        Ok(())
    }
}

/// Longest sentence of a violation; values of attributes can be long, and say nothing to people.
const SENTENCE_CHARS_MAX: usize = 2_000;

/// A violation of correctness found by `checker`.
#[must_use]
pub fn broken(checker: &dyn Checker, mut sentence: String) -> Violation {
    if let Some((at, _)) = sentence.char_indices().nth(SENTENCE_CHARS_MAX) {
        sentence.truncate(at);
        sentence.push('…');
    }
    Violation {
        checker: checker.name().to_owned(),
        promise: checker.promise().to_owned(),
        kind: ViolationKind::Correctness,
        sentence,
    }
}

/// Every checker of a run, or the one that the options name.
#[must_use]
pub fn all(options: &Options) -> Vec<Box<dyn Checker>> {
    let mut checkers = every(options);
    if !options.judge.is_empty() {
        let feed = history::HistoryFeed::NAME;
        checkers.retain(|checker| checker.name() == feed || checker.name() == options.judge);
    }
    checkers
}

/// Those that judge what any process promises, whatever it does: it lives, and serves when healed.
#[must_use]
pub fn of_processes(options: &Options) -> Vec<Box<dyn Checker>> {
    let mut checkers: Vec<Box<dyn Checker>> = vec![
        Box::new(process::ProcessChecker::new(options)),
        Box::new(live::LiveChecker),
    ];
    if options.canary {
        checkers.push(Box::new(canary::Canary));
    }
    checkers
}

/// Whether a checker has this name, or it is empty.
#[must_use]
pub fn is_known(name: &str) -> bool {
    name.is_empty() || NAMES.contains(&name)
}

/// Names of the checkers that can judge alone.
pub const NAMES: &[&str] = &[
    "election-safety",
    "monotonic",
    "committed-on-quorum",
    "log-matching",
    "leader-completeness",
    "state-machine-safety",
    "version",
    "once",
    "ids",
    "converge",
    "fence",
    "chunks",
    "mounts",
    "session",
    "bytes",
    "tree",
    "linear",
    "durable",
    "stream",
    "process",
    "live",
];

/// Every checker: add yours here.
///
/// The history comes first, since the others look into it. Then the laws that say most exactly
/// what is wrong come before those that would only see its consequences.
fn every(options: &Options) -> Vec<Box<dyn Checker>> {
    let history = history::SharedHistory::default();
    let of = || history.clone();
    let mut checkers: Vec<Box<dyn Checker>> = vec![
        Box::new(history::HistoryFeed::new(of())),
        Box::<raft::election_safety::ElectionSafety>::default(),
        Box::<raft::monotonic::Monotonic>::default(),
        Box::new(raft::committed_on_quorum::CommittedOnQuorum::new(of())),
        Box::<raft::log_matching::LogMatching>::default(),
        Box::new(raft::leader_completeness::LeaderCompleteness::new(of())),
        Box::new(raft::state_machine_safety::StateMachineSafety::new(of())),
        Box::new(version::VersionChecker::new(of())),
        Box::new(once::OnceChecker::new(of())),
        Box::new(ids::IdsChecker::new(of())),
        Box::new(converge::ConvergeChecker::new(of())),
        Box::new(fence::FenceChecker::new(of())),
        Box::new(chunks::ChunksChecker::new(options)),
        Box::<mounts::MountsChecker>::default(),
        Box::<session::SessionChecker>::default(),
        Box::<bytes::BytesChecker>::default(),
        Box::<tree::TreeChecker>::default(),
        Box::new(linear::LinearChecker::new(options, of())),
        Box::new(durable::DurableChecker::new(options, of())),
        Box::<stream::StreamChecker>::default(),
    ];
    checkers.extend(of_processes(options));
    checkers
}

#[cfg(test)]
mod tests {
    use mfsha_core::rng::Seed;

    use super::*;

    #[test]
    fn the_names_are_those_of_the_checkers_and_each_can_judge_alone() {
        let mut options = Options::draw(&Seed::from_u64(1));
        let names: Vec<&str> = all(&options)[1..]
            .iter()
            .map(|checker| checker.name())
            .collect();
        assert_eq!(names, NAMES);
        for name in NAMES {
            (*name).clone_into(&mut options.judge);
            let alone = all(&options);
            assert_eq!(alone.len(), 2);
            assert_eq!(alone[1].name(), *name);
        }
    }

    #[test]
    fn sentences_stay_readable() {
        let checker = live::LiveChecker;
        let long = broken(&checker, "é".repeat(SENTENCE_CHARS_MAX + 1));
        assert_eq!(long.sentence.chars().count(), SENTENCE_CHARS_MAX + 1);
        assert!(long.sentence.ends_with('…'));
    }
}
