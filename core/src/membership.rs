//! Who takes part in a group, and as what.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::id::NodeId;
use crate::wal::record::LogId;

/// Who takes part, as the log says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// One set of voters, or two while a change is under way (joint consensus).
    pub voters: Vec<BTreeSet<NodeId>>,
    /// Receive the log without a vote.
    pub learners: BTreeSet<NodeId>,
    /// The entry that set this membership; `None` before the first.
    pub set_by: Option<LogId>,
}

/// Where this node stands in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Receives the log, has no vote.
    Learner,
    /// Follows.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
}
