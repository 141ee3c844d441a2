//! RAFT, state machine safety: at one index every node applies the same entry; each node applies
//! every index once, in order.
//!
//! What applying comes to is another promise (P-CONVERGE). A life begins after what its checkpoint
//! held, and goes on after what an installed snapshot held.

use std::collections::BTreeMap;

use mfsha_core::id::LogIndex;

use crate::check::history::SharedHistory;
use crate::check::{Checker, Violation, broken};
use crate::event::{AppliedEntry, AppliedPayload, Event};
use crate::place::Seat;
use crate::time::SimTime;

/// Watches what nodes apply.
#[derive(Debug)]
pub struct StateMachineSafety {
    history: SharedHistory,
    /// What each seat's node has applied in this life.
    applied: BTreeMap<Seat, LogIndex>,
}

impl StateMachineSafety {
    /// Judges by this history.
    #[must_use]
    pub fn new(history: SharedHistory) -> Self {
        Self {
            history,
            applied: BTreeMap::new(),
        }
    }

    fn judge_entry(&self, seat: Seat, entry: &AppliedEntry) -> Result<(), String> {
        let id = entry.id;
        let history = self.history.borrow();
        let Some(first) = history.get(id.index) else {
            return Err(format!(
                "{seat} applied {id:?}, but the committed log ends at {}",
                history.last()
            ));
        };
        if first.id != id {
            return Err(format!(
                "{seat} applied {id:?} where {} had applied {:?}",
                first.first, first.id
            ));
        }
        let same = match (&entry.payload, &first.payload) {
            (
                AppliedPayload::Command { command, .. },
                AppliedPayload::Command { command: other, .. },
            ) => command == other,
            (one, other) => one == other,
        };
        if !same {
            return Err(format!(
                "{seat} applied {:?} as {id:?}, {} had applied {:?}",
                entry.payload, first.first, first.payload
            ));
        }
        Ok(())
    }

    fn judge_order(&self, seat: Seat, index: LogIndex) -> Result<(), String> {
        match self.applied.get(&seat) {
            Some(last) if index != last.next() => {
                Err(format!("{seat} applied {index} right after {last}"))
            }
            _ => Ok(()),
        }
    }
}

impl Checker for StateMachineSafety {
    fn name(&self) -> &'static str {
        "state-machine-safety"
    }

    fn promise(&self) -> &'static str {
        "RAFT"
    }

    fn on_event(&mut self, _now: SimTime, event: &Event) -> Result<(), Violation> {
        match event {
            Event::NodeStarted { seat, applied, .. }
            | Event::SnapshotInstalled { seat, applied, .. } => {
                self.applied.insert(*seat, *applied);
                Ok(())
            }
            Event::Applied { seat, entry, .. } => {
                let judged = self
                    .judge_order(*seat, entry.id.index)
                    .and_then(|()| self.judge_entry(*seat, entry));
                self.applied.insert(*seat, entry.id.index);
                judged.map_err(|sentence| broken(self, sentence))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use mfsha_core::id::NodeId;

    use super::super::super::testing::{
        applied, blank, command, done, log_id, node_of, show, started, write,
    };
    use super::*;

    fn judge(events: &[Event]) -> Result<(), Violation> {
        let history = SharedHistory::default();
        show(
            &mut StateMachineSafety::new(history.clone()),
            &history,
            events,
        )
    }

    fn installed(seat: u8, applied: u64) -> Event {
        Event::SnapshotInstalled {
            seat: Seat(seat),
            node: node_of(seat),
            applied: LogIndex(applied),
        }
    }

    #[test]
    fn the_same_entries_in_order_are_lawful_whatever_restarts_and_snapshots_skip() {
        judge(&[
            started(0, 1, 0),
            started(1, 1, 0),
            applied(0, blank(1, 1)),
            applied(0, command(1, 2, &write(1, 1, 1), done(1))),
            applied(0, blank(1, 3)),
            applied(1, blank(1, 1)),
            installed(1, 2),
            applied(1, blank(1, 3)),
            started(0, 2, 1),
            applied(0, command(1, 2, &write(1, 1, 1), done(1))),
        ])
        .unwrap();
    }

    #[test]
    fn another_entry_or_command_at_the_same_index_is_caught() {
        let mut other = blank(1, 1);
        other.id.leader = NodeId(9);
        assert_ne!(other.id, log_id(1, 1));
        assert!(judge(&[applied(0, blank(1, 1)), applied(1, other)]).is_err());
        let one = command(1, 1, &write(1, 1, 1), done(1));
        let two = command(1, 1, &write(1, 1, 2), done(1));
        assert!(judge(&[applied(0, one), applied(1, two)]).is_err());
    }

    #[test]
    fn gaps_and_repeats_are_caught() {
        let first = [started(0, 1, 0), applied(0, blank(1, 1))];
        let then = |event| judge(&[first[0].clone(), first[1].clone(), event]);
        then(applied(0, blank(1, 2))).unwrap();
        assert!(then(applied(0, blank(1, 1))).is_err());
        assert!(then(applied(0, blank(1, 3))).is_err());
        assert!(judge(&[applied(0, blank(1, 2))]).is_err());
    }
}
