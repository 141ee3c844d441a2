//! Who leads and who takes part: changes that are watched until they have happened.
//!
//! Each is a walk towards a wanted state that looks where it stands before every step. So it can
//! be broken off anywhere and asked again, by anybody.

use std::collections::BTreeSet;
use std::time::Duration;

use mfsha_core::id::{LogIndex, NodeId};
use mfsha_core::membership::Membership;
use mfsha_core::native::request::{NodeStatus, RequestBody, ResponseBody};
use tokio::time::Instant;

use super::{Admin, AdminFail, ClusterView, LOOK_EVERY, ended};
use crate::client::{Miss, Tries};
use crate::error::{Fail, shortened};
use crate::link::Ask;

/// A leader that was asked to hand over is asked again after this long.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Why a change of leader or members did not come about.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MembersError {
    /// The cluster could not be asked, or refused, or nobody knows.
    #[error(transparent)]
    Admin(#[from] AdminFail),
    /// Only voters lead.
    #[error("{node} is no voter; voters are {}", list(voters))]
    NoVoter {
        /// The node.
        node: NodeId,
        /// Who votes.
        voters: BTreeSet<NodeId>,
    },
    /// The leader was asked and still leads: the other does not answer, or lacks entries.
    #[error("{leader} still leads: {to} does not answer it, or lacks entries; see its status")]
    StillLeads {
        /// Who leads.
        leader: NodeId,
        /// Who should.
        to: NodeId,
    },
    /// The new member gets no entries, or not fast enough.
    #[error(
        "{node} has entries up to {matched}, {wanted} is wanted; asking again goes on from here"
    )]
    Behind {
        /// The node.
        node: NodeId,
        /// Last entry that it is known to have.
        matched: LogIndex,
        /// Entry that it should have.
        wanted: LogIndex,
    },
    /// It takes no part.
    #[error("{node} is no member; members are {}", list(members))]
    NoMember {
        /// The node.
        node: NodeId,
        /// Who is.
        members: BTreeSet<NodeId>,
    },
    /// A cluster without voters is none.
    #[error("{node} is the only voter; a cluster needs one")]
    LastVoter {
        /// The node.
        node: NodeId,
    },
    /// Too few of those who would stay answer.
    #[error(
        "without {node} the voters are {}, and only {} of them answer: no majority; start the \
         others first, or force it",
        list(voters), live.len()
    )]
    NoMajority {
        /// Who would go.
        node: NodeId,
        /// Who would stay.
        voters: BTreeSet<NodeId>,
        /// Who of them answers.
        live: BTreeSet<NodeId>,
    },
    /// Nobody can take over from the leader that is to be removed.
    #[error(
        "{leader} leads and nobody who answers can take over; force it, or start another voter"
    )]
    NobodyTakesOver {
        /// The leader.
        leader: NodeId,
    },
}

fn list(nodes: &BTreeSet<NodeId>) -> String {
    let names: Vec<String> = nodes.iter().map(NodeId::to_string).collect();
    names.join(", ")
}

/// How far adding a node has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddStep {
    /// The node is made a learner.
    Joining,
    /// The learner gets what the cluster has.
    CatchingUp {
        /// Last entry that it is known to have.
        matched: LogIndex,
        /// Entry that it has to have before it votes.
        wanted: LogIndex,
    },
    /// The learner is made a voter.
    Promoting,
}

/// What adding a node came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It votes now.
    Now,
    /// It voted before.
    Before,
}

/// What removing a node came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Who votes now.
    pub voters: BTreeSet<NodeId>,
    /// Who took over, when the node led.
    pub leader: Option<NodeId>,
}

/// All voters, in one set or two.
fn voters_of(membership: &Membership) -> BTreeSet<NodeId> {
    membership.voters.iter().flatten().copied().collect()
}

/// Voters once no change is under way; `None` while one is.
fn settled_voters(membership: &Membership) -> Option<&BTreeSet<NodeId>> {
    match membership.voters.as_slice() {
        [voters] => Some(voters),
        _ => None,
    }
}

impl Admin {
    /// Hands leadership to a voter and waits until it leads. Nothing to do when it does.
    ///
    /// # Errors
    /// [`MembersError`].
    pub async fn transfer_leadership(&self, to: NodeId) -> Result<(), MembersError> {
        let end = self.client.deadline();
        let core = &self.client.core;
        let mut ask_at = Instant::now();
        loop {
            let status = self.leader_status_by(end).await?;
            if status.node == to {
                return Ok(());
            }
            let leader = status.node;
            let voters = voters_of(&status.membership);
            if !voters.contains(&to) {
                return Err(MembersError::NoVoter { node: to, voters });
            }
            if Instant::now() >= ask_at {
                let slot = core.book.best();
                let ask = Ask::Node(RequestBody::TransferLeadership { to });
                let limit = core.options.attempt_timeout;
                match core.attempt_body(&slot, &ask, limit).await {
                    Err(Miss::Never(fail)) => return Err(AdminFail::NotDone(fail).into()),
                    // Whatever else came of it, the status tells.
                    _ => ask_at = Instant::now() + ASK_AGAIN,
                }
            }
            if Instant::now() + LOOK_EVERY >= end {
                return Err(MembersError::StillLeads { leader, to });
            }
            // The one who takes over knows first.
            core.book.hear_leader(to);
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Makes a node a learner, waits until it has what was committed then, and makes it a voter.
    /// A repeat goes on where the last one stopped.
    ///
    /// # Errors
    /// [`MembersError`].
    pub async fn add_node(
        &self,
        node: NodeId,
        mut progress: impl FnMut(AddStep),
    ) -> Result<Added, MembersError> {
        let end = self.client.deadline();
        let status = self.settled_status(end).await?;
        let mut voters = voters_of(&status.membership);
        let mut learners = status.membership.learners.clone();
        if voters.contains(&node) {
            return Ok(Added::Before);
        }
        if learners.insert(node) {
            progress(AddStep::Joining);
            self.change_members(&voters, &learners, end).await?;
        }
        let wanted = self.leader_status_by(end).await?.committed;
        self.await_caught_up(node, wanted, end, &mut progress)
            .await?;
        // Others may have changed members meanwhile.
        let status = self.settled_status(end).await?;
        voters = voters_of(&status.membership);
        learners = status.membership.learners.clone();
        progress(AddStep::Promoting);
        voters.insert(node);
        learners.remove(&node);
        self.change_members(&voters, &learners, end).await?;
        Ok(Added::Now)
    }

    async fn await_caught_up(
        &self,
        node: NodeId,
        wanted: LogIndex,
        end: Instant,
        progress: &mut impl FnMut(AddStep),
    ) -> Result<(), MembersError> {
        loop {
            let leader = self.leader_status_by(end).await?.node;
            // The leader may change between the two questions: the next look tells.
            let raft = self.raft(Some(leader)).await?;
            let matched = raft.matched.get(&node).copied().flatten();
            let matched = matched.unwrap_or(LogIndex(0));
            progress(AddStep::CatchingUp { matched, wanted });
            if matched >= wanted {
                return Ok(());
            }
            if Instant::now() + LOOK_EVERY >= end {
                return Err(MembersError::Behind {
                    node,
                    matched,
                    wanted,
                });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Takes a node out, having handed leadership away first when it leads. A node that is gone
    /// already is fine: the members are what was wanted.
    ///
    /// # Errors
    /// [`MembersError`]. Without `force`, also when fewer than a majority of the voters that
    /// would stay answer.
    pub async fn remove_node(&self, node: NodeId, force: bool) -> Result<Removed, MembersError> {
        let end = self.client.deadline();
        let status = self.settled_status(end).await?;
        let mut voters = voters_of(&status.membership);
        let mut learners = status.membership.learners.clone();
        if !voters.contains(&node) && !learners.contains(&node) {
            let members = voters.union(&learners).copied().collect();
            return Err(MembersError::NoMember { node, members });
        }
        learners.remove(&node);
        let voted = voters.remove(&node);
        if voters.is_empty() {
            return Err(MembersError::LastVoter { node });
        }
        let mut leader = None;
        if voted {
            let view = self.view().await;
            let live: BTreeSet<NodeId> = view.live().intersection(&voters).copied().collect();
            if live.len() * 2 <= voters.len() && !force {
                return Err(MembersError::NoMajority { node, voters, live });
            }
            if status.node == node {
                leader = self.hand_over(node, &live, &view, force).await?;
            }
        }
        self.change_members(&voters, &learners, end).await?;
        Ok(Removed { voters, leader })
    }

    /// Leadership goes to the live voter that has applied most.
    async fn hand_over(
        &self,
        from: NodeId,
        live: &BTreeSet<NodeId>,
        view: &ClusterView,
        force: bool,
    ) -> Result<Option<NodeId>, MembersError> {
        let applied = |node: &NodeId| view.status(*node).map(|status| status.node.applied);
        let Some(to) = live.iter().copied().max_by_key(applied) else {
            if force {
                return Ok(None);
            }
            return Err(MembersError::NobodyTakesOver { leader: from });
        };
        // Half of the time stays for the change itself.
        let client = self.client.with_timeout(self.client.timeout() / 2);
        match client.admin().transfer_leadership(to).await {
            Ok(()) => Ok(Some(to)),
            Err(_) if force => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The leader's status once no change of members is under way.
    async fn settled_status(&self, end: Instant) -> Result<NodeStatus, MembersError> {
        loop {
            let status = self.leader_status_by(end).await?;
            if settled_voters(&status.membership).is_some() {
                return Ok(status);
            }
            if Instant::now() + LOOK_EVERY >= end {
                let last = "another change of members is under way".to_owned();
                return Err(AdminFail::NotDone(Fail::Deadline { last }).into());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Asks for members until the leader says that they are so.
    async fn change_members(
        &self,
        voters: &BTreeSet<NodeId>,
        learners: &BTreeSet<NodeId>,
        end: Instant,
    ) -> Result<(), MembersError> {
        let core = &self.client.core;
        let ask = Ask::Node(RequestBody::ChangeMembership {
            voters: voters.clone(),
            learners: learners.clone(),
        });
        let mut tries = Tries::new(core, end);
        let mut heard = false;
        loop {
            let slot = core.book.best();
            // A change takes two entries and catching up; a node answers within its own time.
            let left = end.saturating_duration_since(Instant::now());
            let limit = left.min(core.options.attempt_timeout * 3);
            let miss = match core.attempt_body(&slot, &ask, limit).await {
                Ok((ResponseBody::MembershipChanged { .. }, leader)) => {
                    core.book.see_leader(leader);
                    return Ok(());
                }
                Ok((other, _)) => Miss::Never(Fail::Unexpected {
                    answer: shortened(&other),
                }),
                Err(miss) => miss,
            };
            heard |= matches!(miss, Miss::Maybe(_));
            // A change that was heard may have been carried out, and a repeat be refused for it.
            if heard && self.are_members(voters, learners, end).await {
                return Ok(());
            }
            if let Err(fail) = tries.after(&slot, &miss).await {
                return Err(ended(fail, heard).into());
            }
        }
    }

    async fn are_members(
        &self,
        voters: &BTreeSet<NodeId>,
        learners: &BTreeSet<NodeId>,
        end: Instant,
    ) -> bool {
        self.leader_status_by(end).await.is_ok_and(|status| {
            let membership = &status.membership;
            // An entry that is not committed may still go.
            let committed = membership
                .set_by
                .is_some_and(|entry| entry.index <= status.committed);
            let same = settled_voters(membership) == Some(voters);
            committed && same && membership.learners == *learners
        })
    }
}
