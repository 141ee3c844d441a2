//! P-DURABLE: a write that was acknowledged is in the committed log of the core at the end, at its
//! index and with its outcome, and so in its state.
//!
//! What was acknowledged is kept by id of the entry; at the end every core replica has applied it
//! (P-LIVE sees to that), and where its log still reaches back so far it holds that very entry.
//! Then the whole state of each is compared with that of the reference model after the same
//! entries, every key of it: a log that is right, and replicas that agree, are worth nothing when
//! all of them forgot the same thing. A state that rotted and has not been read since is passed
//! over. A run that destroys the last good copy on purpose has no core at the end: there a node may
//! lack what was acknowledged, but none may have something else in its place, or a state that there
//! never was.

use std::collections::{BTreeMap, BTreeSet};

use mfsha_core::id::LogIndex;
use mfsha_core::node::request::ResponseBody;
use mfsha_core::wal::record::LogId;
use mfsha_model::Model;

use crate::event::{CallNumber, Event, FaultStage, Phase};
use crate::fault::FaultKind;
use crate::options::Options;
use crate::place::Seat;
use crate::time::SimTime;

use super::history::SharedHistory;
use super::{Checker, ClusterView, NodeView, StateImage, Violation, broken, image};

/// Watches what was acknowledged.
#[derive(Debug)]
pub struct DurableChecker {
    history: SharedHistory,
    acknowledged: BTreeMap<LogIndex, (LogId, CallNumber)>,
    /// Seats whose stored state a fault damaged.
    rotten: BTreeSet<Seat>,
    /// The run destroys the last good copies, and ends without healing.
    detection_only: bool,
}

impl DurableChecker {
    /// For a run of these options, by this history.
    #[must_use]
    pub fn new(options: &Options, history: SharedHistory) -> Self {
        Self {
            history,
            acknowledged: BTreeMap::new(),
            rotten: BTreeSet::new(),
            detection_only: options.faults.detection_only,
        }
    }

    fn on_acknowledged(&mut self, call: CallNumber, index: LogIndex) -> Result<(), String> {
        let Some(id) = self.history.borrow().get(index).map(|entry| entry.id) else {
            return Err(format!(
                "call {} was acknowledged at {index}, which nobody has applied",
                call.0
            ));
        };
        let (first, other) = *self.acknowledged.entry(index).or_insert((id, call));
        if first != id {
            return Err(format!(
                "calls {} and {} were acknowledged at {index} as {first:?} and {id:?}",
                other.0, call.0
            ));
        }
        Ok(())
    }

    fn judge_node(&self, cluster: &ClusterView, node: &NodeView) -> Result<(), String> {
        let Some((last, (id, call))) = self.acknowledged.last_key_value() else {
            return Ok(());
        };
        let applied = node.status.applied;
        if cluster.phase == Phase::Quiescent && applied < *last {
            return Err(format!(
                "call {} was acknowledged as {id:?}; {} on {} ends with {applied} applied",
                call.0, node.node, node.seat
            ));
        }
        let Some(log) = cluster.logs.get(&node.seat) else {
            return Ok(());
        };
        for (held, _) in log.iter().filter(|(held, _)| held.index <= applied) {
            if let Some((id, call)) = self.acknowledged.get(&held.index)
                && held != id
            {
                return Err(format!(
                    "call {} was acknowledged as {id:?}; {} on {} ends with {held:?} there",
                    call.0, node.node, node.seat
                ));
            }
        }
        Ok(())
    }

    /// Compares whole states with the model's after the same entries.
    fn judge_states(&self, cluster: &ClusterView) -> Result<(), String> {
        let mut states: BTreeMap<LogIndex, Vec<(Seat, &StateImage)>> = BTreeMap::new();
        for node in Self::core(cluster) {
            if let Some(state) = cluster.states.get(&node.seat)
                && let Some(index) = image::applied(state)
            {
                states.entry(index).or_default().push((node.seat, state));
            }
        }
        let history = self.history.borrow();
        let (mut model, mut position) = (Model::new(), LogIndex(0));
        for (index, states) in states {
            while position < index {
                position = position.next();
                if let Some((command, _)) = history.get(position).and_then(|e| e.command()) {
                    model.carry_out(command);
                }
            }
            let right = model.dump();
            for (seat, state) in states {
                let held = image::namespace(state).map(|namespace| namespace.dump());
                let difference = match held {
                    Some(Ok(held)) => right.difference(&held),
                    Some(Err(_)) if self.rotten.contains(&seat) => None,
                    Some(Err(error)) => Some(error.to_string()),
                    None => None,
                };
                if let Some(difference) = difference {
                    return Err(format!(
                        "the state of {seat} at {index} is not the model's (one is the model, \
                         the other the state): {difference}"
                    ));
                }
            }
        }
        Ok(())
    }

    fn core(cluster: &ClusterView) -> impl Iterator<Item = &NodeView> {
        let in_core = |seat: &Seat| cluster.core.is_empty() || cluster.core.contains(seat);
        cluster
            .nodes
            .values()
            .filter(move |node| in_core(&node.seat))
    }
}

impl Checker for DurableChecker {
    fn name(&self) -> &'static str {
        "durable"
    }

    fn promise(&self) -> &'static str {
        "P-DURABLE"
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
        let Event::Returned {
            call,
            result:
                Ok(ResponseBody::Written { index, .. } | ResponseBody::MembershipChanged { index }),
            ..
        } = event
        else {
            return Ok(());
        };
        self.on_acknowledged(*call, *index)
            .map_err(|sentence| broken(self, sentence))
    }

    fn at_end(&mut self, cluster: &ClusterView) -> Result<(), Violation> {
        if cluster.phase == Phase::Safety && !self.detection_only {
            return Ok(());
        }
        for node in Self::core(cluster) {
            if let Err(sentence) = self.judge_node(cluster, node) {
                return Err(broken(self, sentence));
            }
        }
        self.judge_states(cluster)
            .map_err(|sentence| broken(self, sentence))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mfsha_core::id::InodeId;
    use mfsha_core::namespace::Namespace;
    use mfsha_core::namespace::key::Key;
    use mfsha_core::namespace::op::{Command, Op};
    use mfsha_core::rng::Seed;
    use mfsha_core::time::WallTime;

    use super::super::testing::{
        applied, body, cluster, cluster_itself, command, done, invoked, log_id, mkdir, show,
        status, view, write, written,
    };
    use super::*;
    use crate::store::SimStore;

    fn checker(history: &SharedHistory) -> DurableChecker {
        let mut options = Options::draw(&Seed::from_u64(1));
        options.faults.detection_only = false;
        DurableChecker::new(&options, history.clone())
    }

    /// Two directories, one by one, and two extended attributes on the first: the state after.
    fn two_directories(checker: &mut DurableChecker, history: &SharedHistory) -> StateImage {
        let store = SimStore::new();
        let mut tree = Namespace::open(store.clone()).unwrap();
        let attribute = |name: &str| Op::SetXattr {
            caller: cluster_itself(),
            inode: InodeId::ROOT,
            opened: false,
            name: name.into(),
            value: b"value".to_vec(),
            mode: mfsha_core::namespace::op::XattrMode::Create,
        };
        let ops = [
            mkdir("a"),
            attribute("user.a"),
            mkdir("b"),
            attribute("user.b"),
        ];
        for (index, op) in (1..).zip(ops) {
            let said = Command {
                op,
                request: None,
                now: WallTime(7),
                ..write(1, 1, index)
            };
            let outcome = tree.apply(LogIndex(index), &said).unwrap();
            let event = applied(0, command(1, index, &said, outcome));
            show(checker, history, &[event]).unwrap();
        }
        store.image()
    }

    fn end_with(checker: &mut DurableChecker, state: StateImage) -> Result<(), Violation> {
        let seen = status(1, Some(log_id(1, 4)));
        let mut end = cluster(Phase::Quiescent, vec![view(0, 1, seen)]);
        end.states.insert(Seat(0), state);
        checker.at_end(&end)
    }

    #[test]
    fn a_state_that_is_the_models_is_lawful_and_one_that_lost_a_key_is_caught() {
        let history = SharedHistory::default();
        let mut checker = checker(&history);
        let state = two_directories(&mut checker, &history);
        end_with(&mut checker, state.clone()).unwrap();
        for key in state.keys() {
            // Without its mark a state is none; that is for others to judge.
            if Key::parse(key) == Some(Key::Applied) {
                continue;
            }
            let mut less = (*state).clone();
            less.remove(key);
            let found = end_with(&mut checker, Arc::new(less)).unwrap_err();
            assert_eq!(found.promise, "P-DURABLE", "{:?}", Key::parse(key));
        }
    }

    #[test]
    fn a_state_of_an_earlier_entry_is_judged_by_the_model_of_then() {
        let history = SharedHistory::default();
        let mut checker = checker(&history);
        two_directories(&mut checker, &history);
        let early = super::super::testing::state_at(1);
        // The same directory, made at another time.
        assert!(end_with(&mut checker, early).is_err());
    }

    fn judge(nodes: Vec<(u64, Vec<LogId>)>) -> Result<(), Violation> {
        let history = SharedHistory::default();
        let mut options = Options::draw(&Seed::from_u64(1));
        options.faults.detection_only = false;
        let mut checker = DurableChecker::new(&options, history.clone());
        let (first, second) = (write(1, 1, 1), write(1, 1, 2));
        let events = [
            invoked(1, 0, body(&first)),
            applied(0, command(1, 1, &first, done(1))),
            written(1, 0, 1, done(1)),
            invoked(2, 0, body(&second)),
            applied(0, command(1, 2, &second, done(2))),
            written(2, 0, 2, done(2)),
        ];
        show(&mut checker, &history, &events)?;
        let mut logs = BTreeMap::new();
        let mut views = Vec::new();
        for (seat, (applied, log)) in (0..).zip(nodes) {
            views.push(view(seat, 1, status(1, Some(log_id(1, applied)))));
            let image = log.into_iter().map(|id| (id, 0)).collect();
            logs.insert(Seat(seat), image);
        }
        let mut end = cluster(Phase::Quiescent, views);
        end.logs = logs;
        checker.at_end(&end)
    }

    #[test]
    fn logs_that_hold_or_have_purged_what_was_acknowledged_are_lawful() {
        judge(vec![
            (2, vec![log_id(1, 1), log_id(1, 2)]),
            (3, vec![log_id(2, 3)]),
        ])
        .unwrap();
    }

    #[test]
    fn a_replica_that_ends_short_of_or_with_another_entry_is_caught() {
        assert!(judge(vec![(1, vec![log_id(1, 1)])]).is_err());
        let other = vec![log_id(1, 1), log_id(2, 2)];
        assert!(judge(vec![(2, other)]).is_err());
    }

    #[test]
    fn an_acknowledgement_of_what_nobody_applied_is_caught() {
        let history = SharedHistory::default();
        let options = Options::draw(&Seed::from_u64(1));
        let mut checker = DurableChecker::new(&options, history.clone());
        assert!(show(&mut checker, &history, &[written(1, 0, 1, done(1))]).is_err());
    }
}
