//! One line for each change of role: what it was, what it is, why, and for how long it had lasted.

use std::time::{Duration, Instant as SystemInstant};

use mfsha_core::id::{GroupId, NodeId, Term};
use mfsha_core::membership::Role;
use mfsha_core::raft::RoleReason;

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
    /// Why, as consensus says.
    pub reason: RoleReason,
    /// How long the node had been what it was.
    pub lasted: Duration,
}

/// Remembers the role to compare with.
pub struct RoleLog {
    before: Option<Role>,
    since: SystemInstant,
}

impl RoleLog {
    /// Nothing seen yet.
    pub fn new(now: SystemInstant) -> Self {
        Self {
            before: None,
            since: now,
        }
    }

    /// Takes the change in, and adds what came before it.
    pub fn on_change(
        &mut self,
        group: GroupId,
        role: Role,
        term: Term,
        leader: Option<NodeId>,
        reason: RoleReason,
    ) -> RoleChange {
        let before = self.before.replace(role);
        let lasted = self.since.elapsed();
        if before != Some(role) {
            self.since = SystemInstant::now();
        }
        RoleChange {
            group,
            before,
            role,
            term,
            leader,
            reason,
            lasted,
        }
    }
}
