//! RAFT, leader completeness: whoever leads a term holds every entry that was committed in an
//! earlier one.
//!
//! After each step of a leader its last entry is compared; from time to time its whole log. A
//! deposed leader that has not noticed owes only what was committed before its own term.

use mfsha_core::raft::{Role, Status};

use crate::check::history::SharedHistory;
use crate::check::{Checker, ClusterView, NodeView, Violation, broken};
use crate::time::SimTime;

/// Watches that leaders have everything.
#[derive(Debug)]
pub struct LeaderCompleteness {
    history: SharedHistory,
}

impl LeaderCompleteness {
    /// Judges by this history.
    #[must_use]
    pub fn new(history: SharedHistory) -> Self {
        Self { history }
    }

    fn judge_log(&self, node: &NodeView, cluster: &ClusterView) -> Result<(), String> {
        let Some(raft) = leading(node) else {
            return Ok(());
        };
        let history = self.history.borrow();
        let (Some(log), Some(last)) =
            (cluster.logs.get(&node.seat), history.last_before(raft.term))
        else {
            return Ok(());
        };
        for (id, _) in log.iter().filter(|(id, _)| id.index <= last.id.index) {
            let committed = history.get(id.index).map(|entry| entry.id);
            if committed != Some(*id) {
                return Err(format!(
                    "{} leads {} with {id:?} in its log where {committed:?} was committed",
                    node.node, raft.term
                ));
            }
        }
        Ok(())
    }
}

fn leading(node: &NodeView) -> Option<&Status> {
    node.raft.as_ref().filter(|raft| raft.role == Role::Leader)
}

impl Checker for LeaderCompleteness {
    fn name(&self) -> &'static str {
        "leader-completeness"
    }

    fn promise(&self) -> &'static str {
        "RAFT"
    }

    fn after_step(&mut self, _now: SimTime, node: &NodeView) -> Result<(), Violation> {
        let Some(raft) = leading(node) else {
            return Ok(());
        };
        let history = self.history.borrow();
        let Some(owed) = history.last_before(raft.term) else {
            return Ok(());
        };
        let holds = raft
            .last_log
            .is_some_and(|last| (last.term, last.index) >= (owed.id.term, owed.id.index));
        if holds {
            return Ok(());
        }
        let sentence = format!(
            "{} leads {} with a log that ends at {:?}; {:?} was committed before",
            node.node, raft.term, raft.last_log, owed.id
        );
        Err(broken(self, sentence))
    }

    fn on_cluster(&mut self, cluster: &ClusterView) -> Result<(), Violation> {
        for node in cluster.nodes.values() {
            if let Err(sentence) = self.judge_log(node, cluster) {
                return Err(broken(self, sentence));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{applied, blank, cluster, leader, log_id, status, view};
    use mfsha_core::id::{NodeId, Term};

    use super::*;
    use crate::event::{Event, Phase};
    use crate::place::Seat;

    fn checker() -> LeaderCompleteness {
        let history = SharedHistory::default();
        for entry in [blank(1, 1), blank(1, 2), blank(2, 3)] {
            history.on_event(&applied(0, entry));
        }
        LeaderCompleteness::new(history)
    }

    #[test]
    fn a_leader_owes_earlier_terms_alone_and_a_follower_nothing() {
        let mut checker = checker();
        let now = SimTime::ZERO;
        checker
            .after_step(now, &view(1, 1, status(3, None)))
            .unwrap();
        let full = leader(1, 3, Some(log_id(2, 3)));
        checker.after_step(now, &full).unwrap();
        // Deposed and not aware of it: entry 3 is of a later term.
        let old = leader(1, 2, Some(log_id(1, 2)));
        checker.after_step(now, &old).unwrap();
    }

    #[test]
    fn a_leader_that_lacks_a_committed_entry_is_caught() {
        let mut checker = checker();
        let now = SimTime::ZERO;
        let short = leader(1, 3, Some(log_id(1, 2)));
        assert!(checker.after_step(now, &short).is_err());
        assert!(checker.after_step(now, &leader(1, 3, None)).is_err());
        // A longer log of an older term is no better.
        let stale = leader(1, 3, Some(log_id(1, 9)));
        assert!(checker.after_step(now, &stale).is_err());
    }

    #[test]
    fn an_entry_of_an_earlier_term_that_a_later_one_committed_is_not_owed_in_between() {
        let leads = |seat: u8, term: u64| Event::RoleChanged {
            seat: Seat(seat),
            node: NodeId(u64::from(seat) + 1),
            role: Role::Leader,
            term: Term(term),
            leader: None,
        };
        let history = SharedHistory::default();
        history.on_event(&applied(0, blank(1, 1)));
        // Made in term 1, and left behind there; whoever leads term 3 has it and commits it.
        history.on_event(&leads(1, 2));
        history.on_event(&leads(0, 3));
        history.on_event(&applied(0, blank(1, 2)));
        history.on_event(&applied(0, blank(3, 3)));
        let mut checker = LeaderCompleteness::new(history);
        let deposed = leader(1, 2, Some(log_id(2, 2)));
        checker.after_step(SimTime::ZERO, &deposed).unwrap();
        let mut view = cluster(Phase::Safety, vec![deposed]);
        view.logs
            .insert(Seat(1), vec![(log_id(1, 1), 0), (log_id(2, 2), 0)]);
        checker.on_cluster(&view).unwrap();
        // What was committed before its own term it owes all the same, and so does term 4.
        view.logs.insert(Seat(1), vec![(log_id(2, 1), 0)]);
        assert!(checker.on_cluster(&view).is_err());
        let late = leader(1, 4, Some(log_id(2, 2)));
        assert!(checker.after_step(SimTime::ZERO, &late).is_err());
    }

    #[test]
    fn another_entry_inside_a_leaders_log_is_caught() {
        let mut checker = checker();
        let mut view = cluster(Phase::Safety, vec![leader(1, 3, Some(log_id(3, 4)))]);
        let log = vec![(log_id(1, 2), 0), (log_id(2, 3), 0), (log_id(3, 4), 0)];
        view.logs.insert(Seat(1), log);
        checker.on_cluster(&view).unwrap();
        view.logs.get_mut(&Seat(1)).unwrap()[1].0 = log_id(1, 3);
        assert!(checker.on_cluster(&view).is_err());
    }
}
