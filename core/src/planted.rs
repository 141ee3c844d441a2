//! Bugs put in on purpose, for the simulator's checkers to find.
//!
//! They are compiled only with the feature `planted-bugs`, and each is switched on by naming it in
//! the options of the machine that has it. No product build has the feature.

/// A mistake that others made. Each names the law that it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bug {
    /// Raft acknowledges an append before the log is flushed: a crash loses acknowledged entries.
    AckBeforeFlush,
    /// Raft keeps its vote in memory only: a node that restarts votes twice in one term.
    VoteNotPersisted,
    /// Raft gives a peer up for ever once a vote request to it failed, and sends it nothing more:
    /// no leader is elected unless all nodes start together.
    PeersNeverRetried,
    /// A strict read is answered from the node's own applied state, whoever leads.
    UncheckedRead,
    /// The leader counts an append as stored by a peer as soon as it was sent.
    CommitWithoutQuorum,
    /// The leader trusts its lease for several times as long as its followers keep it.
    LeaseKeptTooLong,
    /// A voter that restarts votes at once, although it had promised a leader a lease.
    LeaseForgottenOnRestart,
}
