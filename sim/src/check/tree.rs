//! P-TREE: the namespace is a tree: every directory but the root has one parent, there is no cycle
//! and no inode that cannot be reached, and link counts equal edges. With it everything else that
//! a state keeps twice: sums, references to chunks, open files, locks.
//!
//! The whole state of one node is walked at each look at the cluster, the nodes taking turns, and
//! of every node at the end. Nothing that operations maintain is trusted; what they count is
//! counted again. That outcomes are those of a tree is judged by P-LINEAR's model.

use std::collections::BTreeSet;

use mfsha_core::namespace::Law;

use crate::event::{Event, FaultStage};
use crate::fault::FaultKind;
use crate::place::Seat;
use crate::time::SimTime;

use super::image;
use super::{Checker, ClusterView, StateImage, Violation, broken};

/// Watches that states are trees.
#[derive(Debug, Default)]
pub struct TreeChecker {
    turn: usize,
    /// Seats whose stored state a fault damaged.
    rotten: BTreeSet<Seat>,
}

impl TreeChecker {
    fn judge(&self, seat: Seat, state: &StateImage) -> Result<(), Violation> {
        match image::broken_law(state) {
            None => Ok(()),
            // What rotted is found when it is read; until then it lies there.
            Some((Law::Readable, _)) if self.rotten.contains(&seat) => Ok(()),
            Some((_, detail)) => {
                let at = image::applied(state).unwrap_or_default();
                Err(broken(
                    self,
                    format!("the state of {seat} at {at}: {detail}"),
                ))
            }
        }
    }
}

impl Checker for TreeChecker {
    fn name(&self) -> &'static str {
        "tree"
    }

    fn promise(&self) -> &'static str {
        "P-TREE"
    }

    fn on_event(&mut self, _now: SimTime, event: &Event) -> Result<(), Violation> {
        if let Event::Fault {
            fault,
            stage: FaultStage::Begins,
            ..
        } = event
            && fault.kind() == FaultKind::RotState
        {
            self.rotten.extend(fault.seat());
        }
        Ok(())
    }

    fn on_cluster(&mut self, cluster: &ClusterView) -> Result<(), Violation> {
        self.turn += 1;
        let at = self.turn % cluster.states.len().max(1);
        match cluster.states.iter().nth(at) {
            Some((seat, state)) => self.judge(*seat, state),
            None => Ok(()),
        }
    }

    fn at_end(&mut self, cluster: &ClusterView) -> Result<(), Violation> {
        for (seat, state) in &cluster.states {
            self.judge(*seat, state)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mfsha_core::id::InodeId;
    use mfsha_core::namespace::key::Key;

    use super::super::testing::{cluster, state_at};
    use super::*;
    use crate::event::Phase;
    use crate::fault::Fault;

    fn judge(checker: &mut TreeChecker, state: StateImage) -> Result<(), Violation> {
        let mut view = cluster(Phase::Safety, Vec::new());
        view.states.insert(Seat(0), state);
        checker.on_cluster(&view)?;
        checker.at_end(&view)
    }

    fn without(state: &StateImage, key: &Key) -> StateImage {
        let mut map = (**state).clone();
        map.remove(&key.bytes()).expect("it is there");
        Arc::new(map)
    }

    #[test]
    fn a_tree_is_lawful() {
        judge(&mut TreeChecker::default(), state_at(3)).unwrap();
    }

    #[test]
    fn a_missing_edge_or_node_is_caught() {
        let state = state_at(3);
        let edge = Key::Edge(InodeId::ROOT, b"dir1".to_vec());
        let found = judge(&mut TreeChecker::default(), without(&state, &edge)).unwrap_err();
        assert_eq!(found.promise, "P-TREE");
        let root = Key::Inode(InodeId::ROOT);
        assert!(judge(&mut TreeChecker::default(), without(&state, &root)).is_err());
    }

    #[test]
    fn a_rotten_value_is_caught_unless_a_fault_made_it() {
        let mut map = (*state_at(3)).clone();
        let value = map.get_mut(&Key::Inode(InodeId::ROOT).bytes()).unwrap();
        value[0] ^= 1;
        let state = Arc::new(map);
        let mut checker = TreeChecker::default();
        assert!(judge(&mut checker, state.clone()).is_err());
        let fault = Event::Fault {
            entry: 0,
            fault: Fault::RotState {
                seat: Seat(0),
                draw: 1,
            },
            stage: FaultStage::Begins,
        };
        checker.on_event(SimTime::ZERO, &fault).unwrap();
        judge(&mut checker, state).unwrap();
    }
}
