//! RAFT, monotonic: within a life term, vote, commit, applied, snapshot and purge marks never fall;
//! across restarts neither does a vote that was shown as durable, nor the term below what the node
//! had to make durable before it acted.
//!
//! A vote rises with its term, and within a term once: from the candidate to whom it was given to
//! the leader whom a majority made. So a vote that never falls names one candidate in a term, over
//! all lives. One that was not durable yet binds nobody: it was told to nobody.
//!
//! A node leads a term, and flushes entries of a term, only after its vote in that term is on its
//! disk: so no later life may begin below. A state that a node took over to heal may be of a later
//! term than its vote: its log is newer for it, and it votes for nobody whose log is older. What a
//! checkpoint held stays held, unless a fault damaged that seat's disk or state.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use mfsha_core::id::{LogIndex, NodeId, Term};
use mfsha_core::raft::{Role, Status, Vote};
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
    /// Asked for, and durable.
    vote: Option<Vote>,
    vote_kept: Option<Vote>,
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
    fn judge(before: &Shown, now: &Shown) -> Result<(), String> {
        judge_vote("its durable vote", before.vote_kept, now.vote_kept)?;
        if before.life == now.life {
            return Self::judge_life(before, now);
        }
        if now.term < before.kept {
            return Err(format!(
                "life {} began in {}, but {} had been made durable",
                now.life, now.term, before.kept
            ));
        }
        Ok(())
    }

    fn judge_life(before: &Shown, now: &Shown) -> Result<(), String> {
        judge_vote("its vote", before.vote, now.vote)?;
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

/// A vote does not fall, and is not given twice in a term.
fn judge_vote(what: &str, before: Option<Vote>, now: Option<Vote>) -> Result<(), String> {
    let Some(before) = before else {
        return Ok(());
    };
    let told = |vote: Vote| {
        let granted = if vote.granted { ", granted" } else { "" };
        format!("{} in {}{granted}", vote.candidate, vote.term)
    };
    let Some(now) = now else {
        return Err(format!("{what} for {} is forgotten", told(before)));
    };
    let rank = |vote: Vote| (vote.term, vote.granted);
    match rank(now).cmp(&rank(before)) {
        Ordering::Less => Err(format!(
            "{what} fell from {} to {}",
            told(before),
            told(now)
        )),
        Ordering::Equal if now.candidate != before.candidate => Err(format!(
            "{what} was for {}, and is for {}",
            told(before),
            told(now)
        )),
        Ordering::Equal | Ordering::Greater => Ok(()),
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
        vote: raft.vote,
        vote_kept: raft.vote_kept,
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
        Self::judge(&before, &now)
            .map_err(|what| broken(self, format!("{} on {}: {what}", node.node, node.seat)))
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

    fn vote(term: u64, candidate: u64) -> Vote {
        Vote {
            term: Term(term),
            candidate: NodeId(candidate),
            granted: false,
        }
    }

    fn granted(term: u64, leader: u64) -> Vote {
        Vote {
            granted: true,
            ..vote(term, leader)
        }
    }

    fn voted(life: u32, asked: Option<Vote>, kept: Option<Vote>) -> NodeView {
        let mut raft = status(9, None);
        (raft.vote, raft.vote_kept) = (asked, kept);
        view(0, life, raft)
    }

    #[test]
    fn a_vote_rises_to_the_leader_of_its_term_and_to_later_terms() {
        let mut checker = Monotonic::default();
        for (life, asked, kept) in [
            (1, None, None),
            (1, Some(vote(3, 2)), None),
            (1, Some(vote(3, 2)), Some(vote(3, 2))),
            // Whoever was voted for, the term's leader is followed.
            (1, Some(granted(3, 3)), Some(vote(3, 2))),
            (1, Some(granted(3, 3)), Some(granted(3, 3))),
            (1, Some(vote(4, 1)), Some(granted(3, 3))),
            // Nobody had heard of the last one.
            (2, Some(granted(3, 3)), Some(granted(3, 3))),
            (2, Some(vote(4, 2)), Some(vote(4, 2))),
            (3, Some(vote(4, 2)), Some(vote(4, 2))),
        ] {
            checker.after_step(NOW, &voted(life, asked, kept)).unwrap();
        }
    }

    #[test]
    fn a_vote_that_falls_or_is_given_twice_is_caught() {
        for (before, now) in [
            (vote(4, 2), None),
            (vote(4, 2), Some(granted(3, 2))),
            (vote(4, 2), Some(vote(4, 3))),
            (granted(4, 2), Some(vote(4, 2))),
            (granted(4, 2), Some(granted(4, 3))),
        ] {
            // In one life also before it is durable, across two lives once it was.
            for (life, kept_before, kept) in [(1, None, None), (2, Some(before), now)] {
                let mut checker = Monotonic::default();
                let first = voted(1, Some(before), kept_before);
                checker.after_step(NOW, &first).unwrap();
                let found = checker.after_step(NOW, &voted(life, now, kept));
                assert!(found.is_err(), "{before:?}, then {now:?} in life {life}");
            }
        }
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
