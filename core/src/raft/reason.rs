//! Why the role of a node, its term or the leader that it knows changed: told from what consensus
//! has seen. It does not know how it is logged.

use super::Role;
use crate::id::{NodeId, Term};

/// Why a role, a term or the known leader changed. `Display` has the words for a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoleReason {
    /// The first role of this life.
    #[error("started")]
    Started,
    /// No leader was heard for the time of an election.
    #[error("election timeout")]
    ElectionTimeout,
    /// The leader hands over to this node.
    #[error("asked to take over by {by}")]
    AskedToTakeOver {
        /// The leader.
        by: NodeId,
    },
    /// The election ended without a winner, and the next began.
    #[error("the election had no winner")]
    NoWinner,
    /// A majority voted for this node.
    #[error("won the election")]
    Won,
    /// Another node won, in the same term.
    #[error("another won the election")]
    LostElection,
    /// This node led, and was asked to hand over, or moved leadership to a better place.
    #[error("handed over to {to}")]
    HandedOver {
        /// Who was to lead.
        to: NodeId,
    },
    /// This node led, and no majority had answered it for longer than its lease.
    #[error("lost its quorum")]
    LostQuorum,
    /// A newer term was seen.
    #[error("a newer term")]
    NewerTerm,
    /// The membership gives it a vote.
    #[error("became a voter")]
    BecameVoter,
    /// The membership takes its vote.
    #[error("removed from the voters")]
    NoVoter,
    /// A leader is known now, or another one.
    #[error("follows a leader")]
    FollowsLeader,
    /// The leader is not known any more.
    #[error("the leader is no longer known")]
    LeaderUnknown,
}

/// What is seen of a node from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub role: Role,
    pub term: Term,
    pub leader: Option<NodeId>,
}

/// What else bears on a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Circumstances {
    /// Nothing was told before.
    pub first: bool,
    /// A leader asked this node to take over, which it is about to.
    pub asked_by: Option<NodeId>,
    /// This node led, and was handing over.
    pub handing_to: Option<NodeId>,
    /// A majority had not answered this node, which led, for longer than its lease.
    pub quorum_lost: bool,
}

impl RoleReason {
    /// The reason of a change from `before` to `now`, which differ.
    pub(super) fn of(before: Seen, now: Seen, told: Circumstances) -> Self {
        use Role::{Candidate, Follower, Leader, Learner};
        let newer = now.term > before.term;
        match (before.role, now.role) {
            _ if told.first => Self::Started,
            (_, Leader) => Self::Won,
            // A leader leaves its own term only when it loses its vote.
            (Leader, _) if !newer => Self::NoVoter,
            (Leader, _) => match told.handing_to {
                Some(to) => Self::HandedOver { to },
                None if told.quorum_lost => Self::LostQuorum,
                None => Self::NewerTerm,
            },
            (_, Candidate) => match told.asked_by {
                Some(by) => Self::AskedToTakeOver { by },
                None if before.role == Candidate => Self::NoWinner,
                None => Self::ElectionTimeout,
            },
            (Learner, Follower) => Self::BecameVoter,
            (Follower | Candidate, Learner) => Self::NoVoter,
            (Candidate, Follower) if !newer => Self::LostElection,
            _ if newer && now.leader.is_none() => Self::NewerTerm,
            (Candidate, Follower) => Self::NewerTerm,
            _ if now.leader.is_some() => Self::FollowsLeader,
            _ => Self::LeaderUnknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(role: Role, term: u64, leader: Option<u64>) -> Seen {
        Seen {
            role,
            term: Term(term),
            leader: leader.map(NodeId),
        }
    }

    #[test]
    fn each_change_has_its_reason() {
        use Role::{Candidate, Follower, Leader, Learner};
        use RoleReason as R;
        let none = Circumstances::default();
        let asked = Circumstances {
            asked_by: Some(NodeId(2)),
            ..none
        };
        let handing = Circumstances {
            handing_to: Some(NodeId(3)),
            quorum_lost: true,
            ..none
        };
        let alone = Circumstances {
            quorum_lost: true,
            ..none
        };
        let first = Circumstances {
            first: true,
            ..none
        };
        let (by, to) = (NodeId(2), NodeId(3));
        let leads = seen(Leader, 4, Some(1));
        let follows = seen(Follower, 4, Some(2));
        let stands = seen(Candidate, 4, None);
        for (before, now, told, reason) in [
            (seen(Learner, 0, None), follows, first, R::Started),
            (follows, seen(Candidate, 5, None), none, R::ElectionTimeout),
            (
                follows,
                seen(Candidate, 5, None),
                asked,
                R::AskedToTakeOver { by },
            ),
            (stands, seen(Candidate, 5, None), none, R::NoWinner),
            (stands, leads, none, R::Won),
            (follows, seen(Leader, 5, Some(1)), asked, R::Won),
            (stands, follows, none, R::LostElection),
            (stands, seen(Follower, 5, Some(2)), none, R::NewerTerm),
            (leads, seen(Follower, 5, None), none, R::NewerTerm),
            (leads, seen(Follower, 5, None), alone, R::LostQuorum),
            (
                leads,
                seen(Follower, 5, None),
                handing,
                R::HandedOver { to },
            ),
            (leads, seen(Learner, 4, None), none, R::NoVoter),
            (follows, seen(Learner, 4, Some(2)), none, R::NoVoter),
            (seen(Learner, 4, Some(2)), follows, none, R::BecameVoter),
            (follows, seen(Follower, 5, None), none, R::NewerTerm),
            (follows, seen(Follower, 5, Some(3)), none, R::FollowsLeader),
            (follows, seen(Follower, 4, None), none, R::LeaderUnknown),
        ] {
            let said = R::of(before, now, told);
            assert_eq!(said, reason, "{before:?} {now:?} {told:?}");
        }
    }
}
