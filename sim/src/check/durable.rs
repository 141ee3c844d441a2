//! P-DURABLE: a write that was acknowledged is in the committed log of the core at the end, at its
//! index and with its outcome, and so in its state.
//!
//! What was acknowledged is kept by id of the entry; at the end every core replica has applied it
//! (P-LIVE sees to that), and where its log still reaches back so far it holds that very entry.
//! What a replica applied there, and that its state is the one that follows, is judged by state
//! machine safety and P-CONVERGE. Runs that destroy the last good copy on purpose are not judged.

use std::collections::BTreeMap;

use mfsha_core::id::LogIndex;
use mfsha_core::node::request::ResponseBody;
use mfsha_core::wal::record::LogId;

use crate::event::{CallNumber, Event, Phase};
use crate::options::Options;
use crate::place::Seat;
use crate::time::SimTime;

use super::history::SharedHistory;
use super::{Checker, ClusterView, NodeView, Violation, broken};

/// Watches what was acknowledged.
#[derive(Debug)]
pub struct DurableChecker {
    history: SharedHistory,
    acknowledged: BTreeMap<LogIndex, (LogId, CallNumber)>,
    /// Only detection of damage is judged in this run.
    detection_only: bool,
}

impl DurableChecker {
    /// For a run of these options, by this history.
    #[must_use]
    pub fn new(options: &Options, history: SharedHistory) -> Self {
        Self {
            history,
            acknowledged: BTreeMap::new(),
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
        if self.detection_only || cluster.phase == Phase::Safety {
            return Ok(());
        }
        for node in Self::core(cluster) {
            if let Err(sentence) = self.judge_node(cluster, node) {
                return Err(broken(self, sentence));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use mfsha_core::rng::Seed;

    use super::super::testing::{
        applied, body, cluster, command, done, invoked, log_id, show, status, view, write, written,
    };
    use super::*;

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
