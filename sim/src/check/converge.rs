//! P-CONVERGE: replicas that applied the same entries hold the same bytes.
//!
//! Three ways to see it: an entry comes to the same on whichever node applies it, in whichever
//! life; states with the same applied index have the same content, at any time and between any two
//! nodes; and at the end all replicas of the core are one state. A state that rotted and has not
//! been read since is passed over: its node heals when it reads it.

use std::collections::{BTreeMap, BTreeSet};

use mfsha_core::id::LogIndex;
use mfsha_core::namespace::Law;

use crate::event::{AppliedEntry, AppliedPayload, Event, FaultStage, Phase};
use crate::fault::FaultKind;
use crate::place::Seat;
use crate::time::SimTime;

use super::history::SharedHistory;
use super::image;
use super::{Checker, ClusterView, StateImage, Violation, broken};

/// Watches that replicas agree.
#[derive(Debug)]
pub struct ConvergeChecker {
    history: SharedHistory,
    /// Content of the state at each index at which one was seen, and whose it was.
    contents: BTreeMap<LogIndex, (blake3::Hash, Seat)>,
    /// Seats whose stored state a fault damaged.
    rotten: BTreeSet<Seat>,
}

impl ConvergeChecker {
    /// Judges by this history.
    #[must_use]
    pub fn new(history: SharedHistory) -> Self {
        Self {
            history,
            contents: BTreeMap::new(),
            rotten: BTreeSet::new(),
        }
    }

    fn judge_outcome(&self, seat: Seat, entry: &AppliedEntry) -> Result<(), String> {
        let history = self.history.borrow();
        let Some(first) = history.get(entry.id.index) else {
            return Ok(());
        };
        let (
            AppliedPayload::Command { command, outcome },
            AppliedPayload::Command {
                command: same,
                outcome: right,
            },
        ) = (&entry.payload, &first.payload)
        else {
            return Ok(());
        };
        // Another command at this index is another law.
        if command == same && outcome != right {
            return Err(format!(
                "{:?} came to {outcome:?} on {seat} and to {right:?} on {}: {command:?}",
                entry.id, first.first
            ));
        }
        Ok(())
    }

    /// The index of a state that can be compared, and its content.
    fn content(&self, seat: Seat, state: &StateImage) -> Option<(LogIndex, blake3::Hash)> {
        let index = image::applied(state)?;
        if self.rotten.contains(&seat)
            && matches!(image::broken_law(state), Some((Law::Readable, _)))
        {
            return None;
        }
        Some((index, image::hash(state)))
    }

    fn judge_states(&mut self, cluster: &ClusterView) -> Result<(), String> {
        for (seat, state) in &cluster.states {
            let Some((index, content)) = self.content(*seat, state) else {
                continue;
            };
            let (seen, whose) = *self.contents.entry(index).or_insert((content, *seat));
            if seen == content {
                continue;
            }
            let detail = match cluster.states.get(&whose) {
                Some(other) if image::applied(other) == Some(index) => {
                    image::first_difference(other, state)
                }
                _ => "the other state is gone by now".to_owned(),
            };
            return Err(format!(
                "at {index} the state of {seat} is not what that of {whose} was: {detail}"
            ));
        }
        Ok(())
    }

    fn judge_core(&self, cluster: &ClusterView) -> Result<(), String> {
        let states: Vec<_> = cluster
            .states
            .iter()
            .filter(|(seat, _)| cluster.core.contains(seat))
            .filter_map(|(seat, state)| {
                let (index, content) = self.content(*seat, state)?;
                Some((*seat, index, content))
            })
            .collect();
        let Some((first, index, content)) = states.first() else {
            return Ok(());
        };
        match states
            .iter()
            .find(|(_, other, held)| other != index || held != content)
        {
            Some((seat, other, _)) => Err(format!(
                "the core has not become one state: {first} is at {index}, {seat} at {other}"
            )),
            None => Ok(()),
        }
    }
}

impl Checker for ConvergeChecker {
    fn name(&self) -> &'static str {
        "converge"
    }

    fn promise(&self) -> &'static str {
        "P-CONVERGE"
    }

    fn on_event(&mut self, _now: SimTime, event: &Event) -> Result<(), Violation> {
        match event {
            Event::Applied { seat, entry, .. } => self
                .judge_outcome(*seat, entry)
                .map_err(|sentence| broken(self, sentence)),
            Event::Fault {
                fault,
                stage: FaultStage::Begins,
                ..
            } if fault.kind() == FaultKind::RotState => {
                self.rotten.extend(fault.seat());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn on_cluster(&mut self, cluster: &ClusterView) -> Result<(), Violation> {
        self.judge_states(cluster)
            .map_err(|sentence| broken(self, sentence))
    }

    fn at_end(&mut self, cluster: &ClusterView) -> Result<(), Violation> {
        if cluster.phase != Phase::Quiescent {
            return Ok(());
        }
        self.judge_core(cluster)
            .map_err(|sentence| broken(self, sentence))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::testing::{applied, cluster, command, done, refused, show, state_at, write};
    use super::*;

    fn states(phase: Phase, states: Vec<StateImage>) -> ClusterView {
        let mut view = cluster(phase, Vec::new());
        for (seat, state) in (0..).map(Seat).zip(states) {
            view.core.push(seat);
            view.states.insert(seat, state);
        }
        view
    }

    fn spoiled(state: &StateImage) -> StateImage {
        let mut map = (**state).clone();
        map.insert(b"\xFF\xFFsomething".to_vec(), b"else".to_vec());
        Arc::new(map)
    }

    #[test]
    fn equal_states_at_equal_indexes_are_lawful() {
        let mut checker = ConvergeChecker::new(SharedHistory::default());
        let (one, two) = (state_at(1), state_at(2));
        let view = states(Phase::Safety, vec![one.clone(), two.clone(), one]);
        checker.on_cluster(&view).unwrap();
        let end = states(Phase::Quiescent, vec![two.clone(), two]);
        checker.on_cluster(&end).unwrap();
        checker.at_end(&end).unwrap();
    }

    #[test]
    fn another_content_at_an_index_is_caught_also_when_it_comes_later() {
        let mut checker = ConvergeChecker::new(SharedHistory::default());
        let one = state_at(1);
        let both = states(Phase::Safety, vec![one.clone(), spoiled(&one)]);
        assert!(checker.on_cluster(&both).is_err());
        let mut checker = ConvergeChecker::new(SharedHistory::default());
        checker
            .on_cluster(&states(Phase::Safety, vec![one.clone()]))
            .unwrap();
        let later = states(Phase::Safety, vec![state_at(2), spoiled(&one)]);
        assert!(checker.on_cluster(&later).is_err());
    }

    #[test]
    fn a_core_that_ends_apart_is_caught() {
        let mut checker = ConvergeChecker::new(SharedHistory::default());
        let end = states(Phase::Quiescent, vec![state_at(1), state_at(2)]);
        checker.on_cluster(&end).unwrap();
        assert!(checker.at_end(&end).is_err());
    }

    #[test]
    fn another_outcome_of_the_same_entry_is_caught() {
        let history = SharedHistory::default();
        let mut checker = ConvergeChecker::new(history.clone());
        let request = write(1, 1, 1);
        let with = |seat, outcome| applied(seat, command(1, 1, &request, outcome));
        show(
            &mut checker,
            &history,
            &[with(0, done(1)), with(1, done(1))],
        )
        .unwrap();
        assert!(show(&mut checker, &history, &[with(2, refused(0))]).is_err());
    }
}
