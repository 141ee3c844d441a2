//! RAFT, election safety: a term has one leader at most.
//!
//! Judged by what nodes say of themselves and by whom they follow.

use std::collections::BTreeMap;

use mfsha_core::id::{NodeId, Term};
use mfsha_core::raft::Role;

use crate::check::{Checker, NodeView, Violation, broken};
use crate::event::Event;
use crate::time::SimTime;

/// Watches that a term has one leader.
#[derive(Debug, Default)]
pub struct ElectionSafety {
    /// Who leads each term, and who said so first.
    leaders: BTreeMap<Term, (NodeId, NodeId)>,
}

impl ElectionSafety {
    fn claim(&mut self, term: Term, leader: NodeId, by: NodeId) -> Result<(), Violation> {
        let (first, said) = *self.leaders.entry(term).or_insert((leader, by));
        if first == leader {
            return Ok(());
        }
        Err(broken(
            self,
            format!(
                "{term} has two leaders: {first} ({said} said so first) and {leader} (says {by})"
            ),
        ))
    }
}

impl Checker for ElectionSafety {
    fn name(&self) -> &'static str {
        "election-safety"
    }

    fn promise(&self) -> &'static str {
        "RAFT"
    }

    fn on_event(&mut self, _now: SimTime, event: &Event) -> Result<(), Violation> {
        match event {
            Event::RoleChanged {
                node,
                role: Role::Leader,
                term,
                ..
            } => self.claim(*term, *node, *node),
            _ => Ok(()),
        }
    }

    fn after_step(&mut self, _now: SimTime, node: &NodeView) -> Result<(), Violation> {
        let Some(raft) = &node.raft else {
            return Ok(());
        };
        if raft.role == Role::Leader {
            self.claim(raft.term, node.node, node.node)?;
        }
        match raft.leader {
            Some(leader) => self.claim(raft.term, leader, node.node),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{leader, leads, status, view};
    use super::*;

    #[test]
    fn one_leader_a_term_is_lawful_and_two_are_not() {
        let mut checker = ElectionSafety::default();
        let now = SimTime::ZERO;
        checker.on_event(now, &leads(0, 1)).unwrap();
        checker.after_step(now, &leader(0, 1, None)).unwrap();
        checker.on_event(now, &leads(1, 2)).unwrap();
        checker.on_event(now, &leads(0, 3)).unwrap();
        let found = checker.on_event(now, &leads(1, 3)).unwrap_err();
        assert!(found.sentence.contains("n1"), "{}", found.sentence);
        assert!(found.sentence.contains("n2"), "{}", found.sentence);
    }

    #[test]
    fn following_another_leader_in_the_same_term_is_caught() {
        let mut checker = ElectionSafety::default();
        let now = SimTime::ZERO;
        checker.after_step(now, &leader(0, 4, None)).unwrap();
        let follows = |leader| {
            let mut raft = status(4, None);
            raft.leader = Some(NodeId(leader));
            view(2, 1, raft)
        };
        checker.after_step(now, &follows(1)).unwrap();
        assert!(checker.after_step(now, &follows(2)).is_err());
    }
}
