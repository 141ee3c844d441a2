//! Linearizable reads, asked at any member.
//!
//! The leader answers by ReadIndex (a majority confirms that it still leads) or by its lease; any
//! other member asks the leader over a request of its own. The answer is an index: whoever has
//! applied up to it may read.

use std::sync::Arc;

use openraft::errors::{LinearizableReadError, RaftError as ORaftError};
use openraft::{AsyncRuntime, LinearizerOption};

use super::message::{ReadRefusal, Reply, Request, WireReadPolicy};
use super::runtime::Runtime;
use super::shell::Shell;
use super::{RaftError, ReadPolicy};
use crate::id::{LogIndex, NodeId};
use crate::time::{Duration, Instant};

use super::machine::Raft;

/// How long reads wait and how far a lease goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadTimes {
    /// A majority must have answered the leader this recently, by the leader's clock.
    pub(super) lease: Duration,
    /// The leader waits this long for a majority.
    pub(super) quorum: Duration,
    /// A read that was asked at another member is given up after this.
    pub(super) overall: Duration,
    /// Pause before a member asks again who leads.
    pub(super) pause: Duration,
}

/// Why the node that was asked cannot answer.
pub(super) enum Failure {
    NotLeader(Option<NodeId>),
    NoQuorum,
    Stopped(String),
}

impl From<ReadPolicy> for WireReadPolicy {
    fn from(policy: ReadPolicy) -> Self {
        match policy {
            ReadPolicy::ReadIndex => Self::ReadIndex,
            ReadPolicy::Lease => Self::Lease,
        }
    }
}

/// What a lease that followers keep for `lease` is worth at a leader whose clock may run slower
/// than theirs by `drift_ppm` parts of a million.
pub(super) fn shortened(lease: Duration, drift_ppm: u32) -> Duration {
    let nanos = lease.as_nanos() * 1_000_000 / (1_000_000 + u128::from(drift_ppm));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// The time that surely covers `lease` of another node's clock, measured by this node's.
pub(super) fn lengthened(lease: Duration, drift_ppm: u32) -> Duration {
    let nanos = lease.as_nanos() * (1_000_000 + u128::from(drift_ppm)) / 1_000_000 + 1;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Asks this node, which answers only when it leads. A lease that has run out falls back to
/// asking a majority.
pub(super) async fn read_here(
    raft: &Raft,
    policy: WireReadPolicy,
    times: ReadTimes,
) -> Result<LogIndex, Failure> {
    if policy == WireReadPolicy::Lease {
        let option =
            LinearizerOption::new(Some(times.lease), false).with_wait_timeout(Duration::ZERO);
        match linearize(raft, option).await {
            Err(Failure::NoQuorum) => {}
            answer => return answer,
        }
    }
    let option = LinearizerOption::new(Some(Duration::ZERO), true).with_wait_timeout(times.quorum);
    linearize(raft, option).await
}

async fn linearize(raft: &Raft, option: LinearizerOption) -> Result<LogIndex, Failure> {
    match raft.get_read_linearizer(option).await {
        Ok(linearizer) => Ok(LogIndex(linearizer.read_log_id().index() + 1)),
        Err(ORaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
            Err(Failure::NotLeader(forward.leader_id))
        }
        Err(ORaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => {
            Err(Failure::NoQuorum)
        }
        Err(ORaftError::Fatal(fatal)) => Err(Failure::Stopped(fatal.to_string())),
    }
}

/// Asks whoever leads, until `times.overall` has passed.
pub(super) async fn read(
    raft: &Raft,
    shell: &Arc<Shell>,
    policy: WireReadPolicy,
    times: ReadTimes,
    begun: Instant,
) -> Result<LogIndex, RaftError> {
    let deadline = begun + times.overall;
    loop {
        let leader = match read_here(raft, policy, times).await {
            Ok(index) => return Ok(index),
            Err(Failure::NoQuorum) => return Err(RaftError::NoQuorum),
            Err(Failure::Stopped(reason)) => return Err(RaftError::Stopped { reason }),
            Err(Failure::NotLeader(leader)) => leader.filter(|leader| *leader != shell.node),
        };
        let refusal = match leader {
            Some(leader) => match ask(shell, leader, policy, times, deadline).await {
                Ok(index) => return Ok(index),
                Err(refusal) => refusal,
            },
            None => ReadRefusal::NotLeader { leader: None },
        };
        let now = super::executor::Shared::current().now();
        if now + times.pause >= deadline {
            return Err(match refusal {
                ReadRefusal::NotLeader { leader } => RaftError::NotLeader { leader },
                ReadRefusal::NoQuorum => RaftError::NoQuorum,
            });
        }
        Runtime::sleep(times.pause).await;
    }
}

/// Asks the leader; no answer in time counts as no majority.
async fn ask(
    shell: &Arc<Shell>,
    leader: NodeId,
    policy: WireReadPolicy,
    times: ReadTimes,
    deadline: Instant,
) -> Result<LogIndex, ReadRefusal> {
    let now = super::executor::Shared::current().now();
    let patience = (times.quorum * 2).min(deadline.since(now));
    let mut call = shell.call(leader, Request::Read { policy });
    match Runtime::timeout(patience, &mut call.reply).await {
        Ok(Ok(Reply::Read(answer))) => answer,
        _ => Err(ReadRefusal::NoQuorum),
    }
}
