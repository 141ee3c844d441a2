//! Healing from a peer: what a node does whose log or state came back damaged.
//!
//! Damage is never guessed over. A node with a hole in its log, or without the state that its log
//! builds upon, takes no part in consensus: it asks its peers, one after the other, for a state
//! that reaches beyond the damage, installs it, and drops what that state covers from its log.
//! Every peer's applied state is a prefix of what is committed, so any peer will do. What lies
//! behind the hole stays: it may have been acknowledged.
//!
//! A damaged value in the state is healed the same way, see `damage`.
//!
//! Two kinds of damage cannot be healed, because it is not known what was promised: a vote that
//! may have been lost, and a log whose end is not known. Such a node is replaced under a new id.

use std::collections::BTreeSet;

use crate::id::{LogIndex, NodeId};
use crate::time::Instant;
use crate::wal::record::{LogId, Record};
use crate::wal::{Damaged, GroupLog};

/// A node that is healing.
pub(super) struct Repair {
    /// The state from a peer has to hold this index.
    pub at_least: LogIndex,
    /// What the log gave back.
    pub log: GroupLog,
    /// Number of the present wish.
    pub wish: u64,
    /// When the node goes on with the state that it has; `None` when it cannot.
    pub keep_after: Option<Instant>,
    /// Who said last that its own state is damaged.
    refused: BTreeSet<NodeId>,
    /// Whom to ask, in turn.
    peers: Vec<NodeId>,
}

/// What the log of a group says about taking part.
pub(super) enum Verdict {
    /// Nothing is missing.
    Whole,
    /// A state that holds this index is needed first.
    Needs(LogIndex),
    /// The node has to be replaced under a new id.
    Lost(&'static str),
}

/// Judges a log that came back, on top of the state that came back.
pub(super) fn judge(log: &GroupLog, applied: LogIndex) -> Verdict {
    if log.vote_lost {
        return Verdict::Lost("a vote may have been lost, so voting again could elect two leaders");
    }
    let purged = log.purged.map_or(LogIndex(0), |id| id.index);
    let mut needed = if purged > applied { Some(purged) } else { None };
    for damaged in &log.damaged {
        let last = match damaged {
            // The entry's own index will do: its id is known, so it can be told whether what
            // follows it here follows it there.
            Damaged::Entry(id) => id.index,
            // Nothing is known of these, so the state has to reach one further.
            Damaged::Range {
                last: Some(last), ..
            } => last.next(),
            Damaged::Range { last: None, .. } => {
                return Verdict::Lost(
                    "entries at the end of the log, perhaps acknowledged, are gone",
                );
            }
        };
        needed = needed.max(Some(last));
    }
    needed.map_or(Verdict::Whole, Verdict::Needs)
}

impl Repair {
    /// Begins to heal.
    pub fn new(at_least: LogIndex, log: GroupLog, peers: impl IntoIterator<Item = NodeId>) -> Self {
        Self {
            at_least,
            log,
            wish: 0,
            keep_after: None,
            refused: BTreeSet::new(),
            peers: peers.into_iter().collect(),
        }
    }

    /// The next peer to ask, and the number of the wish; `None` when there is nobody.
    pub fn next_wish(&mut self) -> Option<(NodeId, u64)> {
        self.wish += 1;
        let count = self.peers.len() as u64;
        if count == 0 {
            return None;
        }
        let at = usize::try_from(self.wish % count).expect("fewer peers than memory");
        let peer = self.peers[at];
        self.refused.remove(&peer);
        Some((peer, self.wish))
    }

    /// A peer says that its own state is damaged.
    pub fn on_refused(&mut self, from: NodeId, wish: u64) {
        if wish == self.wish && self.peers.contains(&from) {
            self.refused.insert(from);
        }
    }

    /// Whether the node's own state is the best there is, and can be gone on with.
    pub fn is_hopeless(&self, now: Instant) -> bool {
        self.keep_after.is_some_and(|end| {
            now >= end || self.peers.iter().all(|peer| self.refused.contains(peer))
        })
    }
}

/// What has to be written to the log once a state up to `state` is installed, and the log as it is
/// then.
pub(super) fn settle(mut log: GroupLog, state: LogId) -> (Vec<Record>, GroupLog) {
    let known = log.entries.iter().map(|(id, _)| *id);
    let damaged = log.damaged.iter().filter_map(|damaged| match damaged {
        Damaged::Entry(id) => Some(*id),
        Damaged::Range { .. } => None,
    });
    let here = known.chain(damaged).find(|id| id.index == state.index);
    let mut records = Vec::new();
    if here.is_some_and(|id| id != state) {
        // What stood here lost against another leader's entry, and so did all that followed it.
        records.push(Record::Truncate {
            last: LogIndex(state.index.0 - 1),
        });
        log.entries.retain(|(id, _)| id.index < state.index);
    }
    records.push(Record::Purge { through: state });
    log.entries.retain(|(id, _)| id.index > state.index);
    log.damaged.clear();
    log.purged = Some(state);
    log.committed = log.committed.max(Some(state));
    (records, log)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Term;

    fn id(term: u64, index: u64) -> LogId {
        LogId {
            term: Term(term),
            leader: NodeId(1),
            index: LogIndex(index),
        }
    }

    fn log(entries: &[(u64, u64)], damaged: Vec<Damaged>) -> GroupLog {
        let entries = entries
            .iter()
            .map(|(term, index)| (id(*term, *index), Vec::new()))
            .collect();
        GroupLog {
            entries,
            damaged,
            ..GroupLog::default()
        }
    }

    fn kept(log: &GroupLog) -> Vec<u64> {
        log.entries.iter().map(|(id, _)| id.index.0).collect()
    }

    #[test]
    fn what_follows_the_hole_stays_because_it_may_have_been_acknowledged() {
        let hole = log(&[(1, 1), (1, 3), (1, 4)], vec![Damaged::Entry(id(1, 2))]);
        assert!(matches!(
            judge(&hole, LogIndex(0)),
            Verdict::Needs(LogIndex(2))
        ));
        let (records, healed) = settle(hole, id(1, 2));
        assert_eq!(records, [Record::Purge { through: id(1, 2) }]);
        assert_eq!(kept(&healed), [3, 4]);
    }

    #[test]
    fn what_follows_another_leaders_entry_goes() {
        let hole = log(&[(1, 1), (1, 3)], vec![Damaged::Entry(id(1, 2))]);
        let (records, healed) = settle(hole, id(2, 2));
        assert_eq!(
            records,
            [
                Record::Truncate { last: LogIndex(1) },
                Record::Purge { through: id(2, 2) }
            ]
        );
        assert!(kept(&healed).is_empty());
    }

    #[test]
    fn of_an_unknown_range_the_state_has_to_reach_beyond_its_end() {
        let range = Damaged::Range {
            first: LogIndex(2),
            last: Some(LogIndex(3)),
        };
        let hole = log(&[(1, 1), (1, 4), (1, 5)], vec![range]);
        assert!(matches!(
            judge(&hole, LogIndex(0)),
            Verdict::Needs(LogIndex(4))
        ));
    }

    #[test]
    fn a_lost_end_or_vote_is_not_healed() {
        let range = Damaged::Range {
            first: LogIndex(2),
            last: None,
        };
        assert!(matches!(
            judge(&log(&[], vec![range]), LogIndex(9)),
            Verdict::Lost(_)
        ));
        let voteless = GroupLog {
            vote_lost: true,
            ..GroupLog::default()
        };
        assert!(matches!(judge(&voteless, LogIndex(9)), Verdict::Lost(_)));
    }

    #[test]
    fn a_state_older_than_the_purge_needs_a_newer_one() {
        let purged = GroupLog {
            purged: Some(id(1, 7)),
            ..GroupLog::default()
        };
        assert!(matches!(
            judge(&purged, LogIndex(6)),
            Verdict::Needs(LogIndex(7))
        ));
        assert!(matches!(judge(&purged, LogIndex(7)), Verdict::Whole));
    }
}
