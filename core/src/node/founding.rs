//! A cluster that begins with a state which was made elsewhere.

use std::collections::BTreeSet;

use crate::codec;
use crate::id::{LogIndex, NodeId, Term};
use crate::membership::Membership;
use crate::raft::AppliedState;
use crate::wal::record::LogId;

/// What consensus keeps beside a state that stands for the log up to `index`, of a cluster of this
/// node alone. The node begins as if it had installed a snapshot: its log begins behind that, and
/// whoever joins gets the whole state.
///
/// The entry is of term 0, in which nobody is elected: no other cluster's log has one behind its
/// first.
#[must_use]
pub fn note_of_founder(node: NodeId, index: LogIndex) -> Vec<u8> {
    let last = LogId {
        term: Term(0),
        leader: NodeId(0),
        index,
    };
    let membership = Membership {
        voters: vec![BTreeSet::from([node])],
        learners: BTreeSet::new(),
        set_by: Some(last),
    };
    let last = Some(last);
    codec::encode(&AppliedState { last, membership })
}
