//! P-VERSION: the metadata version never goes back and never skips.
//!
//! The version after an entry is the number of commands carried out up to it: one more with each,
//! the same after a refusal, a repeat, or an entry that is no command. That is judged on every
//! replica, for every entry it applies, also when it applies it again after a restart; and between
//! entries a replica's version does not fall within its life.

use std::collections::{BTreeMap, BTreeSet};

use mfsha_core::id::NodeId;

use crate::event::{AppliedEntry, AppliedPayload, Event, FaultStage};
use crate::fault::FaultKind;
use crate::place::Seat;
use crate::time::SimTime;

use super::history::SharedHistory;
use super::{Checker, NodeView, Violation, broken};

/// Watches versions.
#[derive(Debug)]
pub struct VersionChecker {
    history: SharedHistory,
    /// Life and version that each node showed last.
    shown: BTreeMap<NodeId, (u32, u64)>,
    /// Seats whose state may have been damaged: they may throw it away and heal.
    damaged: BTreeSet<Seat>,
}

impl VersionChecker {
    /// Judges by this history.
    #[must_use]
    pub fn new(history: SharedHistory) -> Self {
        Self {
            history,
            shown: BTreeMap::new(),
            damaged: BTreeSet::new(),
        }
    }

    fn judge_entry(&self, seat: Seat, entry: &AppliedEntry) -> Result<(), String> {
        let index = entry.id.index;
        // An entry that left a hole is another checker's business.
        let Some(right) = self.history.borrow().version_at(index) else {
            return Ok(());
        };
        let mut shown = vec![("the state", entry.version)];
        if let AppliedPayload::Command { outcome, .. } = &entry.payload {
            shown.push(("the outcome", outcome.version));
        }
        match shown.into_iter().find(|(_, version)| *version != right) {
            Some((what, version)) => Err(format!(
                "{seat} applied {:?}, and {what} has version {version}; {right} commands were \
                 carried out up to there",
                entry.id
            )),
            None => Ok(()),
        }
    }
}

impl Checker for VersionChecker {
    fn name(&self) -> &'static str {
        "version"
    }

    fn promise(&self) -> &'static str {
        "P-VERSION"
    }

    fn on_event(&mut self, _now: SimTime, event: &Event) -> Result<(), Violation> {
        match event {
            Event::Applied { seat, entry, .. } => self
                .judge_entry(*seat, entry)
                .map_err(|sentence| broken(self, sentence)),
            Event::Fault {
                fault,
                stage: FaultStage::Begins,
                ..
            } if fault.kind() == FaultKind::RotState => {
                self.damaged.extend(fault.seat());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn after_step(&mut self, _now: SimTime, node: &NodeView) -> Result<(), Violation> {
        let shown = (node.life, node.version);
        let before = self.shown.insert(node.node, shown);
        match before {
            Some((life, version))
                if life == node.life
                    && node.version < version
                    && !self.damaged.contains(&node.seat) =>
            {
                let sentence = format!(
                    "the version of {} on {} fell from {version} to {}",
                    node.node, node.seat, node.version
                );
                Err(broken(self, sentence))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{
        applied, blank, command, done, refused, show, started, status, view, write,
    };
    use super::*;

    fn judge(events: &[Event]) -> Result<(), Violation> {
        let history = SharedHistory::default();
        show(&mut VersionChecker::new(history.clone()), &history, events)
    }

    fn at(version: u64, mut entry: AppliedEntry) -> AppliedEntry {
        entry.version = version;
        entry
    }

    fn lawful() -> Vec<Event> {
        let first = command(1, 2, &write(1, 1, 1), done(1));
        let mut repeat = done(1);
        repeat.repeated = true;
        vec![
            applied(0, blank(1, 1)),
            applied(0, first.clone()),
            applied(0, command(1, 3, &write(1, 1, 1), repeat)),
            applied(0, command(1, 4, &write(1, 1, 2), refused(1))),
            applied(0, at(1, blank(2, 5))),
            applied(0, command(2, 6, &write(1, 1, 3), done(2))),
            started(0, 2, 1),
            applied(0, first),
        ]
    }

    #[test]
    fn one_more_with_each_command_carried_out_is_lawful() {
        judge(&lawful()).unwrap();
    }

    #[test]
    fn a_skip_a_rise_without_a_command_and_a_replay_that_counts_again_are_caught() {
        let with = |entry| {
            let mut events = lawful();
            events.push(applied(0, entry));
            judge(&events)
        };
        assert!(with(command(2, 7, &write(1, 1, 4), done(4))).is_err());
        assert!(with(command(2, 7, &write(1, 1, 4), refused(3))).is_err());
        assert!(with(at(3, blank(2, 7))).is_err());
        assert!(with(command(1, 2, &write(1, 1, 1), done(2))).is_err());
    }

    #[test]
    fn a_version_that_falls_within_a_life_is_caught() {
        let mut checker = VersionChecker::new(SharedHistory::default());
        let now = SimTime::ZERO;
        let mut node = view(0, 1, status(1, None));
        for version in [3, 3, 4] {
            node.version = version;
            checker.after_step(now, &node).unwrap();
        }
        node.life = 2;
        node.version = 1;
        checker.after_step(now, &node).unwrap();
        // Another node in the same seat begins with nothing.
        let mut new = node.clone();
        (new.node, new.version) = (NodeId(9), 0);
        checker.after_step(now, &new).unwrap();
        node.version = 0;
        assert!(checker.after_step(now, &node).is_err());
    }
}
