//! Changing who takes part: learners first, then joint consensus, then the rest.

use std::collections::BTreeSet;

use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError as ORaftError};
use openraft::raft::ClientWriteResponse;
use openraft::{AsyncRuntime, ChangeMembers, ServerState};

use super::RaftError;
use super::machine::{CAUGHT_UP_ENTRIES, Raft, write_error};
use super::runtime::Runtime;
use super::shell::Shell;
use super::types::{Types, ours};
use crate::id::NodeId;
use crate::time::Duration;
use crate::wal::record::LogId;

/// How long a change waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChangeTimes {
    /// Between two looks at how far the learners are.
    pub(super) poll: Duration,
    /// Learners that do not come closer for this long end the change.
    pub(super) catch_up: Duration,
}

/// Makes `voters` and `learners` the members. Says which entry the last step committed.
///
/// A failure half-way leaves what was committed so far: extra learners, never a joint membership
/// that nobody finishes (the next leader's change does).
pub(super) async fn change_membership(
    raft: &Raft,
    shell: &Shell,
    node: NodeId,
    (voters, learners): (BTreeSet<NodeId>, BTreeSet<NodeId>),
    times: ChangeTimes,
) -> Result<LogId, RaftError> {
    if voters.is_empty() {
        return Err(refused("a group needs a voter"));
    }
    if let Some(both) = voters.intersection(&learners).next() {
        return Err(refused(&format!("{both} cannot be voter and learner")));
    }
    let before = members(raft);
    if !before.all.contains(&node) {
        // A leader that was removed leads on for a moment, but must not change members any more:
        // openraft takes that for a bug.
        return Err(RaftError::NotLeader { leader: None });
    }
    let mut last = None;
    let wanted: BTreeSet<NodeId> = voters.union(&learners).copied().collect();
    for new in wanted.difference(&before.all) {
        let added = raft.add_learner(*new, (), false).await;
        last = Some(done(added)?);
    }
    // Voters that stay need not be asked: one of them may be the dead one that is replaced next.
    let newcomers = voters.difference(&before.voters).copied().collect();
    catch_up(raft, shell, node, &newcomers, times).await?;
    // This node goes last: whoever is gone must not propose a change.
    let mut idle: BTreeSet<NodeId> = before.all.difference(&before.voters).copied().collect();
    let leads_as_learner = idle.remove(&node);
    last = remove(raft, idle, &wanted).await?.or(last);
    let mut demotes = leads_as_learner;
    if before.voters != voters || before.joint {
        // Voters that leave stay as learners where one of them is to be demoted.
        let mut leaving = before.voters.difference(&voters);
        demotes |= leaving.any(|leaver| learners.contains(leaver));
        let changed = raft.change_membership(voters.clone(), demotes).await;
        last = Some(done(changed)?);
    }
    if demotes {
        last = remove(raft, before.all, &wanted).await?.or(last);
    }
    match last {
        Some(id) => Ok(id),
        // Nothing had to change: the present membership's entry is the answer, once committed.
        None => {
            let now = members(raft);
            match now.set_by {
                Some(id) if now.committed => Ok(id),
                _ => Err(refused("another change is not yet committed")),
            }
        }
    }
}

/// Removes those that are not wanted, if there are any.
async fn remove(
    raft: &Raft,
    mut nodes: BTreeSet<NodeId>,
    wanted: &BTreeSet<NodeId>,
) -> Result<Option<LogId>, RaftError> {
    let present = members(raft).all;
    nodes.retain(|node| present.contains(node) && !wanted.contains(node));
    if nodes.is_empty() {
        return Ok(None);
    }
    let change = ChangeMembers::RemoveNodes(nodes);
    done(raft.change_membership(change, true).await).map(Some)
}

struct Members {
    voters: BTreeSet<NodeId>,
    all: BTreeSet<NodeId>,
    joint: bool,
    committed: bool,
    set_by: Option<LogId>,
}

fn members(raft: &Raft) -> Members {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    let stored = &metrics.membership_config;
    let membership = stored.membership();
    Members {
        voters: membership.voter_ids().collect(),
        all: membership.nodes().map(|(node, ())| *node).collect(),
        joint: membership.get_joint_config().len() > 1,
        committed: metrics.committed_membership_config.log_id() == stored.log_id(),
        set_by: stored.log_id().as_ref().map(ours),
    }
}

/// Waits until every new voter lacks next to nothing.
async fn catch_up(
    raft: &Raft,
    shell: &Shell,
    node: NodeId,
    newcomers: &BTreeSet<NodeId>,
    times: ChangeTimes,
) -> Result<(), RaftError> {
    let mut best = 0;
    let mut waited = Duration::ZERO;
    // A snapshot on its way: entries show no progress meanwhile. The owner gives a transfer up that
    // stands still, so one that has lived for long is getting on.
    let (mut transfer, mut lived) = (None, Duration::ZERO);
    loop {
        let present = newcomers.iter().find_map(|new| shell.transfer_to(*new));
        if present.is_none() || present != transfer {
            (transfer, lived) = (present, Duration::ZERO);
        } else if lived >= times.catch_up / 2 {
            waited = Duration::ZERO;
        }
        let (behind, matched) = {
            let metrics = raft.metrics();
            let metrics = metrics.borrow_watched();
            if metrics.state != ServerState::Leader {
                return Err(RaftError::NotLeader {
                    leader: metrics.current_leader,
                });
            }
            let last = metrics.last_log_index.unwrap_or(0);
            let others = newcomers.iter().filter(|voter| **voter != node);
            let matched: Vec<(NodeId, u64)> = others
                .map(|voter| {
                    let all = metrics.replication.as_ref();
                    let matched = all.and_then(|all| all.get(voter)).copied().flatten();
                    (*voter, matched.map_or(0, |id| id.index + 1))
                })
                .collect();
            let behind = matched
                .iter()
                .find(|(_, matched)| *matched == 0 || *matched + CAUGHT_UP_ENTRIES < last)
                .map(|(voter, _)| *voter);
            (behind, matched.iter().map(|(_, index)| *index).sum::<u64>())
        };
        let Some(behind) = behind else {
            return Ok(());
        };
        if matched > best {
            best = matched;
            waited = Duration::ZERO;
        }
        if waited >= times.catch_up {
            return Err(refused(&format!("{behind} does not catch up")));
        }
        Runtime::sleep(times.poll).await;
        waited += times.poll;
        lived += times.poll;
    }
}

fn refused(reason: &str) -> RaftError {
    RaftError::Refused {
        reason: reason.to_owned(),
    }
}

fn done(
    result: Result<ClientWriteResponse<Types>, ORaftError<Types, ClientWriteError<Types>>>,
) -> Result<LogId, RaftError> {
    match result {
        Ok(response) => Ok(ours(response.log_id())),
        Err(ORaftError::APIError(error)) => Err(write_error(error)),
        Err(ORaftError::Fatal(fatal)) => Err(RaftError::Stopped {
            reason: fatal.to_string(),
        }),
    }
}
