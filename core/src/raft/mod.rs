//! Consensus as a machine: openraft behind one door.
//!
//! openraft's engine is private and runs as tasks. They run here on an executor that belongs to
//! the machine (`executor`, `runtime`): its own ready queue, timers, random stream and FIFO
//! channels. One step hands in one input and runs the tasks until none is ready;
//! whatever they want from disk, peers or the state machine comes out as effects, whose
//! completions go in as later inputs.
//!
//! **Invariant:** no type of openraft and nothing async leaves this module.
//!
//! Order of durability: openraft itself waits for [`Input::Durable`] before a vote is answered, an
//! append is acknowledged, or a candidate counts its own vote. So effects here carry no `after`:
//! what must wait has not been asked for yet.

mod executor;
mod log_storage;
mod machine;
mod membership;
mod message;
mod network;
mod reads;
mod reason;
mod runtime;
mod shell;
mod state_machine;
#[cfg(test)]
mod tests;
mod types;

use std::collections::{BTreeMap, BTreeSet};

pub use crate::membership::{Membership, Role};
pub use machine::RaftMachine;
pub use reason::RoleReason;
pub use shell::Counters;

use serde::{Deserialize, Serialize};

use crate::id::{LogIndex, NodeId, Term, WriteId};
use crate::time::Duration;
use crate::wal::record::{LogId, Record};

/// Names a proposal until it is answered; chosen by the caller, unique per machine life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProposalId(pub u64);

/// Names a read barrier until it is answered; chosen by the caller, unique per machine life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

/// Names a snapshot that the state machine's owner keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SnapshotId(pub u64);

/// What the state machine's owner must keep beside the state, in the same batch: where replay
/// begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedState {
    /// Last entry applied; `None` for an empty state.
    pub last: Option<LogId>,
    /// Last membership applied.
    pub membership: Membership,
}

/// What a snapshot holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotMeta {
    /// Name, unique for the node that built it.
    pub id: SnapshotId,
    /// State up to here.
    pub applied: AppliedState,
}

/// How sure a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadPolicy {
    /// The leader asks a majority whether it still leads: safe whatever the clocks do.
    ReadIndex,
    /// The leader trusts its lease: safe while clock rates differ by less than
    /// [`Options::clock_drift_max_ppm`] says.
    Lease,
}

/// What a machine is built with.
#[derive(Clone, Debug)]
pub struct Options {
    /// This node.
    pub node: NodeId,
    /// Whoever heard a leader follows no other for the longer of these, and begins an election a
    /// random time between them after that: 1.5 to 2 times the longer one for one and two.
    pub election_timeout: (Duration, Duration),
    /// The leader speaks at least this often. Well below the shortest election timeout.
    pub heartbeat: Duration,
    /// Clock rates of two nodes differ by at most this part of a million; the lease is shortened
    /// by it.
    pub clock_drift_max_ppm: u32,
    /// The log is snapshotted and purged when it holds this many bytes of entries.
    pub snapshot_log_bytes: u64,
    /// Entries kept behind a snapshot so that a follower a little behind needs no snapshot.
    pub log_keep_entries: u64,
    /// A leader keeps more for members that lack it, while they are being sent a snapshot or were
    /// heard of lately, as long as the whole log holds at most this many bytes of entries.
    pub log_lag_bytes_max: u64,
    /// Most bytes of entries in one message.
    pub append_bytes_max: usize,
    /// Higher is better: leadership moves to a caught-up voter with a higher priority.
    pub priority: BTreeMap<NodeId, u32>,
    /// Tasks that are ready run in an order drawn from the seed instead of first in, first out:
    /// the simulator sees more schedules.
    pub shuffle_tasks: bool,
    /// Unlikely branches that a simulated run takes.
    pub buggify: crate::buggify::Buggify,
    /// A mistake to make on purpose.
    #[cfg(feature = "planted-bugs")]
    pub bug: Option<crate::planted::Bug>,
}

/// The durable half, as the log gave it back.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// Encoded vote, as [`Record::Vote`] kept it.
    pub vote: Option<Vec<u8>>,
    /// Last entry purged.
    pub purged: Option<LogId>,
    /// Highest entry known to be committed.
    pub committed: Option<LogId>,
    /// Entries after `purged`, without a hole.
    pub entries: Vec<(LogId, Vec<u8>)>,
    /// What the state store's checkpoint holds.
    pub applied: AppliedState,
}

/// Why no machine can be built from what the log gave back. Caused by a damaged or foreign log;
/// the owner fetches what is wrong from a peer, or refuses to start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoverError {
    /// The vote does not parse. A node that does not know how it voted must not take part.
    #[error("the vote is damaged: {error}")]
    Vote {
        /// What is wrong with it.
        error: crate::codec::DecodeError,
    },
    /// An entry does not parse, or cannot stand where it stands.
    #[error("entry {id:?} is damaged: {reason}")]
    Entry {
        /// Which entry.
        id: LogId,
        /// What is wrong with it.
        reason: String,
    },
    /// Index 0 names no entry.
    #[error("{id:?} names no entry")]
    Index {
        /// The id.
        id: LogId,
    },
    /// Entries do not follow each other.
    #[error("the log has a hole: {expected} is followed by {found}")]
    Hole {
        /// Index that is missing.
        expected: LogIndex,
        /// Index that stands there.
        found: LogIndex,
    },
    /// Entries were purged that the state does not hold: it is older than it was.
    #[error("the log is purged through {purged:?}, the state holds only {applied:?}")]
    StateBehindLog {
        /// Last entry purged.
        purged: LogId,
        /// Last entry in the state.
        applied: Option<LogId>,
    },
}

/// One committed entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Which entry.
    pub id: LogId,
    /// What it says.
    pub payload: Payload,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Made by a new leader to commit what is before it; changes nothing.
    Blank,
    /// A command of the state machine's owner.
    Command(Vec<u8>),
    /// Who takes part from now on.
    Membership(Membership),
}

/// Why a proposal, a read or an administrative request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RaftError {
    /// Another node leads; ask it. For a proposal: it was not and will not be committed by this
    /// node's doing **unless** `maybe` says so.
    #[error("not the leader (leader: {leader:?})")]
    NotLeader {
        /// Who leads, when known.
        leader: Option<NodeId>,
    },
    /// It was written to the log but leadership was lost before it was known to be committed: it
    /// may or may not take effect. Only a repeat under the same request id tells.
    #[error("leadership was lost before the outcome was known")]
    Unknown,
    /// No majority answered; nothing is known to have happened. Try again.
    #[error("no majority can be reached")]
    NoQuorum,
    /// A membership change is refused, with the reason.
    #[error("membership change refused: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
    /// The machine has stopped after a fault; the node must be restarted.
    #[error("consensus stopped: {reason}")]
    Stopped {
        /// What broke.
        reason: String,
    },
}

/// Whom a node votes for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote {
    /// In which term.
    pub term: Term,
    /// Whom: once a majority granted it, the leader, whoever the node itself voted for.
    pub candidate: NodeId,
    /// Whether a majority granted it, as far as this node knows.
    pub granted: bool,
}

/// What can be seen from outside at any time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Present role.
    pub role: Role,
    /// Present term.
    pub term: Term,
    /// The last vote that the log was told to keep, durable or not.
    pub vote: Option<Vote>,
    /// The last vote that is durable: what this node may have told others.
    pub vote_kept: Option<Vote>,
    /// The leader as far as known.
    pub leader: Option<NodeId>,
    /// Last entry in the log, flushed or not.
    pub last_log: Option<LogId>,
    /// Highest entry known to be committed.
    pub committed: Option<LogId>,
    /// Last entry applied.
    pub applied: Option<LogId>,
    /// Last entry purged.
    pub purged: Option<LogId>,
    /// Last entry in the present snapshot.
    pub snapshot: Option<LogId>,
    /// Present membership, committed or not.
    pub membership: Membership,
    /// While leading: what each other member is known to have.
    pub matched: BTreeMap<NodeId, Option<LogIndex>>,
    /// Bytes of entries held in memory.
    pub log_bytes: u64,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// A deadline may have passed.
    Tick,
    /// A peer's bytes, as its [`Effect::Send`] made them.
    Message {
        /// The peer, as the transport authenticated it.
        from: NodeId,
        /// What it sent.
        message: Vec<u8>,
    },
    /// The transport gave up on everything outstanding with this peer, streams of snapshots
    /// included.
    PeerLost {
        /// The peer.
        peer: NodeId,
    },
    /// Every write up to and with this one is durable.
    Durable {
        /// The last of them.
        write: WriteId,
    },
    /// Make the first membership of a new group. Ignored when the log is not empty, or when this
    /// node is not among the voters. One node is enough; several make the same first entry.
    /// A crash before that entry is durable takes the group away again: repeat it until
    /// [`Status::membership`] names voters.
    Initialize {
        /// The voters.
        voters: BTreeSet<NodeId>,
    },
    /// Put a command into the log.
    Propose {
        /// Its name until the answer.
        proposal: ProposalId,
        /// The command.
        command: Vec<u8>,
    },
    /// Tell up to where a read must have applied, to be linearizable. Works at any member: a
    /// follower asks the leader.
    Read {
        /// Its name until the answer.
        read: ReadId,
        /// How sure.
        policy: ReadPolicy,
    },
    /// A peer's priority, or this node's own, see [`Options::priority`].
    Priority {
        /// The node.
        peer: NodeId,
        /// Higher is better.
        priority: u32,
    },
    /// Ask for a snapshot of what is applied now, whatever the size of the log. Ignored when the
    /// last snapshot holds that already.
    TakeSnapshot,
    /// The owner's log is nearly full: ask for a snapshot likewise, and drop what it holds from the
    /// log whoever lacks it.
    ShortenLog,
    /// Change who takes part, through joint consensus; new voters first catch up as learners.
    /// One change at a time. A node that was wiped never comes back under its old id.
    ChangeMembership {
        /// Its name until the answer, which comes when the new membership is committed.
        proposal: ProposalId,
        /// Voters afterwards.
        voters: BTreeSet<NodeId>,
        /// Learners afterwards.
        learners: BTreeSet<NodeId>,
    },
    /// Hand leadership to a voter. Ignored when not leading, and when that voter does not answer
    /// or lacks more than a few entries.
    TransferLeadership {
        /// To whom.
        to: NodeId,
    },
    /// Everything that [`Effect::Apply`] asked for up to here has been applied.
    Applied {
        /// The last entry applied.
        through: LogId,
    },
    /// The answer to [`Effect::BuildSnapshot`]: the state up to `meta.applied` is durable, and can
    /// be read under `meta.id` until another is built or installed.
    SnapshotBuilt {
        /// What it holds.
        meta: SnapshotMeta,
    },
    /// The answer to [`Effect::SendSnapshot`], exactly one for each: the peer's verdict, or a
    /// failure on the way, also when the peer is silent or gone.
    SnapshotSent {
        /// The transfer, as the effect named it.
        transfer: u64,
        /// The peer's answer, as its [`Effect::SnapshotReply`] made it; `Err` to try again later.
        result: Result<Vec<u8>, String>,
    },
    /// A snapshot from the leader has arrived completely and is held under `meta.id`.
    SnapshotReceived {
        /// The peer.
        from: NodeId,
        /// Names the transfer at the sender; goes back in [`Effect::SnapshotReply`].
        transfer: u64,
        /// The header, as the peer's [`Effect::SendSnapshot`] made it.
        header: Vec<u8>,
        /// The snapshot as kept here.
        id: SnapshotId,
    },
    /// The answer to [`Effect::InstallSnapshot`]: the state is that of the snapshot, durably.
    SnapshotInstalled {
        /// Which.
        id: SnapshotId,
    },
}

/// Something the owner is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send bytes to a peer. May be lost, delayed, repeated, reordered.
    Send {
        /// The peer.
        to: NodeId,
        /// What to send.
        message: Vec<u8>,
    },
    /// Append to the log. `write` rises by one with each; answered by [`Input::Durable`].
    Persist {
        /// Number of the write.
        write: WriteId,
        /// What to keep.
        record: Record,
    },
    /// Apply these, in order, on top of everything before; answered by [`Input::Applied`].
    Apply {
        /// The entries, without a gap to the ones before.
        entries: Vec<Committed>,
    },
    /// A proposal's or membership change's fate. `Ok` means committed at this id; its outcome
    /// follows from applying it.
    Proposed {
        /// Which.
        proposal: ProposalId,
        /// Its id, or why not.
        result: Result<LogId, RaftError>,
    },
    /// A read's fate: once this index is applied here, reading the applied state is linearizable.
    /// The index may be that of a new leader's own entry that is not committed yet; the read takes
    /// place when it is applied, if ever.
    ReadReady {
        /// Which.
        read: ReadId,
        /// What must be applied before reading, or why there is no answer.
        result: Result<LogIndex, RaftError>,
    },
    /// Make the applied state durable (a checkpoint) and keep a snapshot of it to read from.
    BuildSnapshot,
    /// Stream the snapshot to a peer, and carry its answer back.
    SendSnapshot {
        /// The peer.
        to: NodeId,
        /// Names the transfer; rises by one with each.
        transfer: u64,
        /// Bytes for the peer's [`Input::SnapshotReceived`].
        header: Vec<u8>,
        /// Which snapshot.
        meta: SnapshotMeta,
    },
    /// Put the snapshot held under this id in place of the state, durably.
    InstallSnapshot {
        /// Which, and what the state is afterwards.
        meta: SnapshotMeta,
    },
    /// Answer the sender of a snapshot. Comes once for each [`Input::SnapshotReceived`]; a snapshot
    /// that no [`Effect::InstallSnapshot`] has named until then can be thrown away.
    SnapshotReply {
        /// The sender.
        to: NodeId,
        /// The transfer, as the sender named it.
        transfer: u64,
        /// Bytes for its [`Input::SnapshotSent`].
        answer: Vec<u8>,
    },
    /// The role or the known leader changed: one line of the node's log.
    RoleChanged {
        /// As it is now.
        role: Role,
        /// In which term.
        term: Term,
        /// Who leads.
        leader: Option<NodeId>,
        /// Why.
        reason: RoleReason,
    },
    /// Consensus cannot go on; the node stops serving this group and says why.
    Stopped {
        /// What broke.
        reason: String,
    },
}
