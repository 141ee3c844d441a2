//! RAFT, monotonic: within a life term, commit, applied, snapshot and purge marks never fall;
//! across restarts the term does not fall below what the node had to make durable before it acted.
//!
//! A node leads a term, and flushes entries of a term, only after its vote in that term is on its
//! disk: so no later life may begin below. A state that a node took over to heal may be of a later
//! term than its vote: its log is newer for it, and it votes for nobody whose log is older. What a checkpoint held stays held, unless a fault
//! damaged that seat's disk or state.

use std::collections::{BTreeMap, BTreeSet};

use mfsha_core::id::{LogIndex, NodeId, Term};
use mfsha_core::raft::{Role, Status};
use mfsha_core::wal::record::LogId;

use crate::check::{Checker, NodeView, Violation, broken};
use crate::event::{Event, FaultStage};
use crate::fault::FaultKind;
use crate::place::Seat;
use crate::time::SimTime;

/// What a node showed last.
#[derive(Clone, Copy, Debug, Default)]
struct Shown {
    life: u32,
    term: Term,
    committed: LogIndex,
    applied: LogIndex,
    snapshot: LogIndex,
    purged: LogIndex,
    /// The term that is certainly on its disk.
    kept: Term,
    /// What its last start found in the checkpoint.
    checkpoint: LogIndex,
}

/// Watches what nodes show.
#[derive(Debug, Default)]
pub struct Monotonic {
    shown: BTreeMap<NodeId, Shown>,
    /// Seats whose state may have been damaged.
    damaged: BTreeSet<Seat>,
}

impl Monotonic {
    fn judge_life(before: &Shown, now: &Shown) -> Result<(), String> {
        let marks = [
            ("term", before.term.0, now.term.0),
            ("commit", before.committed.0, now.committed.0),
            ("applied", before.applied.0, now.applied.0),
            ("snapshot", before.snapshot.0, now.snapshot.0),
            ("purged", before.purged.0, now.purged.0),
        ];
        match marks.into_iter().find(|(_, before, now)| now < before) {
            Some((mark, before, now)) => Err(format!("{mark} fell from {before} to {now}")),
            None => Ok(()),
        }
    }
}

fn index(id: Option<LogId>) -> LogIndex {
    id.map_or(LogIndex(0), |id| id.index)
}

fn shown_by(life: u32, raft: &Status, durable: Option<LogId>, before: &Shown) -> Shown {
    let led = if raft.role == Role::Leader {
        raft.term
    } else {
        Term(0)
    };
    // What came as a peer's state, or with its snapshot, is durable by that; no vote stands before it.
    let by_state = raft.snapshot.map_or(LogIndex(0), |id| id.index);
    let flushed = durable.filter(|id| id.index > by_state);
    let flushed = flushed.map_or(Term(0), |id| id.term);
    Shown {
        life,
        term: raft.term,
        committed: index(raft.committed),
        applied: index(raft.applied),
        snapshot: index(raft.snapshot),
        purged: index(raft.purged),
        kept: before.kept.max(led).max(flushed),
        checkpoint: before.checkpoint,
    }
}

impl Checker for Monotonic {
    fn name(&self) -> &'static str {
        "monotonic"
    }

    fn promise(&self) -> &'static str {
        "RAFT"
    }

    fn on_event(&mut self, _now: SimTime, event: &Event) -> Result<(), Violation> {
        match event {
            Event::Fault {
                fault,
                stage: FaultStage::Begins,
                ..
            } if may_damage_state(fault.kind()) => {
                self.damaged.extend(fault.seat());
                Ok(())
            }
            Event::NodeStarted {
                seat,
                node,
                applied,
                ..
            } => {
                let shown = self.shown.entry(*node).or_default();
                let held = std::mem::replace(&mut shown.checkpoint, *applied);
                if *applied < held && !self.damaged.contains(seat) {
                    let sentence = format!(
                        "{node} started from a checkpoint of {applied}; an earlier one held {held}"
                    );
                    return Err(broken(self, sentence));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn after_step(&mut self, _now: SimTime, node: &NodeView) -> Result<(), Violation> {
        // A node that heals itself takes no part and shows nothing.
        let Some(raft) = &node.raft else {
            return Ok(());
        };
        let before = self.shown.get(&node.node).copied().unwrap_or_default();
        let now = shown_by(node.life, raft, node.durable, &before);
        self.shown.insert(node.node, now);
        let judged = if before.life == node.life {
            Self::judge_life(&before, &now)
        } else if now.term < before.kept {
            Err(format!(
                "life {} began in {}, but {} had been made durable",
                node.life, now.term, before.kept
            ))
        } else {
            Ok(())
        };
        judged.map_err(|what| broken(self, format!("{} on {}: {what}", node.node, node.seat)))
    }
}

/// Whether a seat that had this fault may come back with an older state than it had.
fn may_damage_state(kind: FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::RotState | FaultKind::FailCheckpoint | FaultKind::LoseDisk
    )
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{leader, log_id, started, status, view};
    use super::*;
    use crate::fault::Fault;

    const NOW: SimTime = SimTime::ZERO;

    #[test]
    fn rising_marks_and_a_restart_at_what_was_durable_are_lawful() {
        let mut checker = Monotonic::default();
        checker.on_event(NOW, &started(0, 1, 0)).unwrap();
        checker
            .after_step(NOW, &leader(0, 2, Some(log_id(2, 4))))
            .unwrap();
        checker
            .after_step(NOW, &view(0, 1, status(5, Some(log_id(2, 4)))))
            .unwrap();
        checker.on_event(NOW, &started(0, 2, 3)).unwrap();
        // Term 5 was never flushed as far as anybody knows; term 2 was.
        checker
            .after_step(NOW, &view(0, 2, status(2, Some(log_id(2, 3)))))
            .unwrap();
    }

    #[test]
    fn a_mark_that_falls_within_a_life_is_caught() {
        let all = status(3, Some(log_id(2, 4)));
        let falls: [fn(&mut Status); 5] = [
            |raft| raft.term = Term(2),
            |raft| raft.committed = Some(log_id(2, 3)),
            |raft| raft.applied = None,
            |raft| raft.snapshot = None,
            |raft| raft.purged = None,
        ];
        for fall in falls {
            let mut checker = Monotonic::default();
            let mut raft = all.clone();
            raft.snapshot = raft.applied;
            raft.purged = raft.applied;
            checker.after_step(NOW, &view(0, 1, raft.clone())).unwrap();
            checker.after_step(NOW, &view(0, 1, raft.clone())).unwrap();
            fall(&mut raft);
            assert!(checker.after_step(NOW, &view(0, 1, raft)).is_err());
        }
    }

    #[test]
    fn a_vote_that_a_restart_forgot_is_caught() {
        let mut led = Monotonic::default();
        led.after_step(NOW, &leader(0, 4, None)).unwrap();
        assert!(led.after_step(NOW, &view(0, 2, status(3, None))).is_err());
        let mut followed = Monotonic::default();
        let view_of = |life, term| view(0, life, status(term, Some(log_id(4, 1))));
        followed.after_step(NOW, &view_of(1, 4)).unwrap();
        assert!(followed.after_step(NOW, &view_of(2, 3)).is_err());
    }

    #[test]
    fn a_state_of_a_later_term_says_nothing_of_the_vote() {
        let mut checker = Monotonic::default();
        let mut healed = status(2, Some(log_id(4, 7)));
        healed.snapshot = healed.applied;
        checker
            .after_step(NOW, &view(0, 1, healed.clone()))
            .unwrap();
        checker
            .after_step(NOW, &view(0, 2, healed.clone()))
            .unwrap();
        // An entry behind it does.
        healed.term = Term(4);
        healed.last_log = Some(log_id(4, 8));
        checker
            .after_step(NOW, &view(0, 2, healed.clone()))
            .unwrap();
        healed.term = Term(3);
        assert!(checker.after_step(NOW, &view(0, 3, healed)).is_err());
    }

    #[test]
    fn a_checkpoint_that_fell_back_is_caught_unless_a_fault_broke_it() {
        let mut checker = Monotonic::default();
        checker.on_event(NOW, &started(0, 1, 7)).unwrap();
        assert!(checker.on_event(NOW, &started(0, 2, 6)).is_err());
        let fault = Event::Fault {
            entry: 0,
            fault: Fault::RotState {
                seat: Seat(0),
                draw: 1,
            },
            stage: FaultStage::Begins,
        };
        checker.on_event(NOW, &fault).unwrap();
        checker.on_event(NOW, &started(0, 3, 0)).unwrap();
    }
}
