//! One line for each change of role: what it was, what it is, why, and for how long it had lasted.

use std::time::{Duration, Instant as SystemInstant};

use mfsha_core::id::{GroupId, NodeId, Term};
use mfsha_core::membership::Role;

/// A change of role, of term or of the known leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleChange {
    /// Group.
    pub group: GroupId,
    /// Role before; `None` at the start.
    pub before: Option<Role>,
    /// Role now.
    pub role: Role,
    /// Term now.
    pub term: Term,
    /// Who leads, when known.
    pub leader: Option<NodeId>,
    /// Why, as far as it can be told from here.
    pub reason: &'static str,
    /// How long the node had been what it was.
    pub lasted: Duration,
}

/// Remembers the role to compare with.
pub struct RoleLog {
    seen: Option<(Role, Term, Option<NodeId>)>,
    since: SystemInstant,
}

impl RoleLog {
    /// Nothing seen yet.
    pub fn new(now: SystemInstant) -> Self {
        Self {
            seen: None,
            since: now,
        }
    }

    /// Takes the change in and names its reason.
    pub fn on_change(
        &mut self,
        group: GroupId,
        role: Role,
        term: Term,
        leader: Option<NodeId>,
    ) -> RoleChange {
        let before = self.seen.replace((role, term, leader));
        let lasted = self.since.elapsed();
        if before.is_none_or(|(was, ..)| was != role) {
            self.since = SystemInstant::now();
        }
        RoleChange {
            group,
            before: before.map(|(role, ..)| role),
            role,
            term,
            leader,
            reason: reason(before, (role, term, leader)),
            lasted,
        }
    }
}

fn reason(
    before: Option<(Role, Term, Option<NodeId>)>,
    now: (Role, Term, Option<NodeId>),
) -> &'static str {
    let (role, term, leader) = now;
    let Some((was, term_was, leader_was)) = before else {
        return "started";
    };
    match (was, role) {
        (Role::Leader, Role::Leader) => "leads in a new term",
        (_, Role::Leader) => "won the election",
        (Role::Leader, _) if term > term_was => "a newer term was seen",
        (Role::Leader, _) => "lost its majority or handed leadership over",
        (Role::Candidate, Role::Candidate) => "the election had no winner",
        (_, Role::Candidate) => "no leader was heard in time, or leadership is handed to this node",
        (Role::Learner, Role::Follower) => "became a voter",
        (Role::Follower | Role::Candidate, Role::Learner) => "is no voter any more",
        _ if leader != leader_was && leader.is_some() => "follows a leader",
        _ if leader != leader_was => "the leader is no longer known",
        _ => "a newer term was seen",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_has_its_reason() {
        let mut log = RoleLog::new(SystemInstant::now());
        let mut change = |role, term, leader: Option<u64>| {
            log.on_change(GroupId(1), role, Term(term), leader.map(NodeId))
                .reason
        };
        assert_eq!(change(Role::Follower, 0, None), "started");
        assert_eq!(
            change(Role::Candidate, 1, None),
            "no leader was heard in time, or leadership is handed to this node"
        );
        assert_eq!(change(Role::Leader, 1, Some(1)), "won the election");
        assert_eq!(change(Role::Follower, 2, None), "a newer term was seen");
        assert_eq!(change(Role::Follower, 2, Some(3)), "follows a leader");
        assert_eq!(
            change(Role::Follower, 2, None),
            "the leader is no longer known"
        );
        assert_eq!(change(Role::Learner, 2, Some(3)), "is no voter any more");
        assert_eq!(change(Role::Follower, 2, Some(3)), "became a voter");
    }
}
