//! RAFT, committed on a quorum: when an entry is applied anywhere for the first time, it lies on
//! the disks of a majority of the voters, of both sets while a membership changes.
//!
//! Only what was flushed counts; also what was flushed on a disk that is lost by now, for its node
//! said so before, and comes back under another id. A log whose last flushed entry has the same term or a later one,
//! and reaches as far, holds the entry (log matching, leader completeness).

use std::collections::{BTreeMap, BTreeSet};

use mfsha_core::id::NodeId;
use mfsha_core::raft::Membership;
use mfsha_core::wal::record::LogId;

use crate::check::history::SharedHistory;
use crate::check::{Checker, NodeView, Violation, broken};
use crate::event::Event;
use crate::place::Seat;
use crate::time::SimTime;

/// Watches what is durable where.
#[derive(Debug)]
pub struct CommittedOnQuorum {
    history: SharedHistory,
    /// Last entry that each node had on its disk.
    durable: BTreeMap<NodeId, LogId>,
    /// The membership that each seat's node showed last.
    shown: BTreeMap<Seat, Membership>,
    /// Applied for the first time in the step that is under way at this seat.
    fresh: Vec<(Seat, LogId)>,
    /// The last entry that was judged.
    judged: u64,
}

impl CommittedOnQuorum {
    /// Judges by this history.
    #[must_use]
    pub fn new(history: SharedHistory) -> Self {
        Self {
            history,
            durable: BTreeMap::new(),
            shown: BTreeMap::new(),
            fresh: Vec::new(),
            judged: 0,
        }
    }

    fn holds(&self, node: NodeId, id: LogId) -> bool {
        self.durable
            .get(&node)
            .is_some_and(|last| last.term >= id.term && last.index >= id.index)
    }

    fn has_quorum(&self, voters: &BTreeSet<NodeId>, id: LogId) -> bool {
        let holders = voters.iter().filter(|node| self.holds(**node, id));
        holders.count() * 2 > voters.len()
    }

    fn is_committed_in(&self, membership: &Membership, id: LogId) -> bool {
        !membership.voters.is_empty()
            && membership
                .voters
                .iter()
                .all(|voters| self.has_quorum(voters, id))
    }

    /// A membership takes effect when it is written, not when it is committed: so an entry may
    /// count by the committed one, by what the leader shows now, or by what it showed before.
    fn judge(&self, id: LogId, now: &Membership, before: Option<&Membership>) -> bool {
        let history = self.history.borrow();
        let committed = history.membership_at(id.index);
        [Some(now), before, committed]
            .into_iter()
            .flatten()
            .any(|membership| self.is_committed_in(membership, id))
    }
}

impl Checker for CommittedOnQuorum {
    fn name(&self) -> &'static str {
        "committed-on-quorum"
    }

    fn promise(&self) -> &'static str {
        "RAFT"
    }

    fn on_event(&mut self, _now: SimTime, event: &Event) -> Result<(), Violation> {
        match event {
            Event::Applied { seat, entry, .. } if entry.id.index.0 > self.judged => {
                self.judged = entry.id.index.0;
                self.fresh.push((*seat, entry.id));
            }
            Event::NodeStopped { seat, .. } => {
                // A node that dies in its step is not shown again: what it applied is judged by
                // whoever applies next.
                self.fresh.retain(|(fresh, _)| fresh != seat);
            }
            _ => {}
        }
        Ok(())
    }

    fn after_step(&mut self, _now: SimTime, node: &NodeView) -> Result<(), Violation> {
        if let Some(durable) = node.durable {
            self.durable.insert(node.node, durable);
        }
        let now = &node.status.membership;
        let before = self.shown.get(&node.seat);
        for (seat, id) in &self.fresh {
            if *seat == node.seat && !self.judge(*id, now, before) {
                let on: Vec<_> = self
                    .durable
                    .iter()
                    .filter(|(node, _)| self.holds(**node, *id))
                    .map(|(node, _)| *node)
                    .collect();
                let sentence = format!(
                    "{} applied {id:?}, which is flushed on {on:?} alone; voters are {:?}",
                    node.node, now.voters
                );
                return Err(broken(self, sentence));
            }
        }
        self.fresh.retain(|(seat, _)| *seat != node.seat);
        if before != Some(now) {
            self.shown.insert(node.seat, now.clone());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::event::StopReason;

    use super::super::super::testing::{applied, blank, log_id, members, status, view};
    use super::*;

    struct Bench {
        checker: CommittedOnQuorum,
        history: SharedHistory,
    }

    impl Bench {
        fn new() -> Self {
            let history = SharedHistory::default();
            Self {
                checker: CommittedOnQuorum::new(history.clone()),
                history,
            }
        }

        fn flushed(&mut self, seat: u8, last: LogId) -> Result<(), Violation> {
            self.step(seat, last, &[1, 2, 3])
        }

        fn step(&mut self, seat: u8, last: LogId, voters: &[u64]) -> Result<(), Violation> {
            let mut view = view(seat, 1, status(1, Some(last)));
            view.status.membership = members(voters);
            self.checker.after_step(SimTime::ZERO, &view)
        }

        fn applied(&mut self, seat: u8, term: u64, index: u64) {
            let event = applied(seat, blank(term, index));
            self.history.on_event(&event);
            self.checker.on_event(SimTime::ZERO, &event).unwrap();
        }
    }

    #[test]
    fn two_flushed_of_three_are_enough_also_when_the_leaders_own_comes_last() {
        let mut bench = Bench::new();
        bench.flushed(1, log_id(1, 1)).unwrap();
        bench.applied(0, 1, 1);
        bench.flushed(0, log_id(1, 1)).unwrap();
        // Others apply it later; that proves nothing new.
        bench.applied(2, 1, 1);
        bench.flushed(2, log_id(1, 1)).unwrap();
    }

    #[test]
    fn one_flushed_of_three_and_an_older_term_are_caught() {
        let mut bench = Bench::new();
        bench.applied(0, 1, 1);
        assert!(bench.flushed(0, log_id(1, 1)).is_err());
        let mut bench = Bench::new();
        bench.flushed(1, log_id(1, 5)).unwrap();
        bench.applied(0, 2, 1);
        assert!(bench.flushed(0, log_id(2, 1)).is_err());
    }

    #[test]
    fn what_a_lost_disk_held_was_acknowledged_and_counts() {
        let mut bench = Bench::new();
        bench.flushed(1, log_id(1, 1)).unwrap();
        let gone = super::super::super::testing::stopped(1, StopReason::DiskLost);
        bench.checker.on_event(SimTime::ZERO, &gone).unwrap();
        bench.applied(0, 1, 1);
        bench.flushed(0, log_id(1, 1)).unwrap();
        // What it never held does not.
        bench.applied(0, 1, 2);
        assert!(bench.flushed(0, log_id(1, 2)).is_err());
    }

    #[test]
    fn both_sets_of_a_joint_membership_have_to_hold_it() {
        let mut bench = Bench::new();
        for seat in [0, 1] {
            bench.step(seat, log_id(1, 1), &[1, 2, 3]).unwrap();
        }
        bench.applied(0, 1, 1);
        let mut joint = view(0, 1, status(1, Some(log_id(1, 1))));
        let voters = &mut joint.status.membership.voters;
        voters.push([4, 5].map(NodeId).into());
        // What the node showed before the change still counts for what was on its way.
        bench.checker.after_step(SimTime::ZERO, &joint).unwrap();
        bench.applied(0, 1, 2);
        joint.durable = Some(log_id(1, 2));
        assert!(bench.checker.after_step(SimTime::ZERO, &joint).is_err());
    }
}
