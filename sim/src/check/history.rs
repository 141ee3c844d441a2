//! The committed log of a run, kept once for every checker that needs it.
//!
//! An entry is taken in when the first node applies it. Whether later nodes apply the same is not
//! judged here (`raft::state_machine_safety`, `converge`), so the list never fails: an entry that
//! would leave a hole is left out, and whoever looks for it finds nothing.

use std::cell::{Ref, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use mfsha_core::id::{LogIndex, Term};
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{Command, Outcome, RequestId};
use mfsha_core::raft::{Membership, Role};
use mfsha_core::wal::record::LogId;

use crate::event::{AppliedPayload, Event};
use crate::place::Seat;
use crate::time::SimTime;

use super::{Checker, Violation};

/// One committed entry.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Which entry.
    pub id: LogId,
    /// What it said, and what it came to where it was applied first.
    pub payload: AppliedPayload,
    /// Commands carried out up to and with this entry: what the metadata version has to be.
    pub carried_out: u64,
    /// Where it was applied first.
    pub first: Seat,
    /// It was committed in this term or an earlier one, which need not be that in which it was
    /// made: a later leader may have found it in its log. Never falls along the log.
    pub committed_by: Term,
}

impl Entry {
    /// The command and its outcome, when this is one.
    #[must_use]
    pub fn command(&self) -> Option<(&Command, &Outcome)> {
        match &self.payload {
            AppliedPayload::Command { command, outcome } => Some((command, outcome)),
            AppliedPayload::Blank | AppliedPayload::Membership(_) => None,
        }
    }
}

/// The committed log, as nodes applied it.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Entry `n` has index `n + 1`.
    entries: Vec<Entry>,
    /// Where each request took effect, or was refused by the tree.
    requests: BTreeMap<RequestId, LogIndex>,
    /// Indexes of membership entries, rising.
    memberships: Vec<LogIndex>,
    /// The highest term that was led so far.
    led: Term,
    /// The term that each seat leads.
    leads: BTreeMap<Seat, Term>,
}

impl History {
    /// The last entry's index; 0 when nothing was applied yet.
    #[must_use]
    pub fn last(&self) -> LogIndex {
        LogIndex(self.entries.len() as u64)
    }

    /// An entry.
    #[must_use]
    pub fn get(&self, index: LogIndex) -> Option<&Entry> {
        let at = usize::try_from(index.0.checked_sub(1)?).ok()?;
        self.entries.get(at)
    }

    /// What the metadata version has to be once `index` is applied; `None` when nobody applied it.
    #[must_use]
    pub fn version_at(&self, index: LogIndex) -> Option<u64> {
        if index.0 == 0 {
            return Some(0);
        }
        self.get(index).map(|entry| entry.carried_out)
    }

    /// The entry in which a request first reached the tree under its session.
    #[must_use]
    pub fn executed(&self, request: &RequestId) -> Option<LogIndex> {
        self.requests.get(request).copied()
    }

    /// The last entry that was committed in a term below `term`, as far as that is known.
    #[must_use]
    pub fn last_before(&self, term: Term) -> Option<&Entry> {
        let entries = &self.entries;
        let end = entries.partition_point(|entry| entry.committed_by < term);
        entries[..end].last()
    }

    /// The term in which an entry that a seat applies for the first time was committed at the
    /// latest. Whoever leads says so before anything is committed under it.
    fn committed_by(&self, seat: Seat, made: Term) -> Term {
        let known = self.leads.get(&seat).copied().unwrap_or(self.led);
        let before = self.entries.last().map(|entry| entry.committed_by);
        known.max(made).max(before.unwrap_or_default())
    }

    fn on_role(&mut self, seat: Seat, role: Role, term: Term) {
        if role == Role::Leader {
            self.led = self.led.max(term);
            self.leads.insert(seat, term);
        } else {
            self.leads.remove(&seat);
        }
    }

    /// The membership that the committed log says at `index`.
    #[must_use]
    pub fn membership_at(&self, index: LogIndex) -> Option<&Membership> {
        let end = self.memberships.partition_point(|at| *at <= index);
        let entry = self.get(*self.memberships[..end].last()?)?;
        match &entry.payload {
            AppliedPayload::Membership(membership) => Some(membership),
            _ => None,
        }
    }

    /// Takes in what happened; gives the entry's index when it was new.
    pub fn on_event(&mut self, event: &Event) -> Option<LogIndex> {
        let (seat, entry) = match event {
            Event::Applied { seat, entry, .. } => (seat, entry),
            Event::RoleChanged {
                seat, role, term, ..
            } => {
                self.on_role(*seat, *role, *term);
                return None;
            }
            Event::NodeStopped { seat, .. } => {
                self.leads.remove(seat);
                return None;
            }
            _ => return None,
        };
        let index = entry.id.index;
        if index != self.last().next() {
            return None;
        }
        let mut carried_out = self.version_at(self.last()).unwrap_or(0);
        match &entry.payload {
            AppliedPayload::Command { command, outcome } => {
                carried_out += u64::from(outcome.result.is_ok() && !outcome.repeated);
                if let Some(request) = command.request
                    && is_first(outcome)
                {
                    self.requests.entry(request).or_insert(index);
                }
            }
            AppliedPayload::Membership(_) => self.memberships.push(index),
            AppliedPayload::Blank => {}
        }
        let committed_by = self.committed_by(*seat, entry.id.term);
        self.entries.push(Entry {
            committed_by,
            id: entry.id,
            payload: entry.payload.clone(),
            carried_out,
            first: *seat,
        });
        Some(index)
    }
}

/// Whether a command was carried out or refused, rather than recognised as a repeat or as older
/// than its lane.
#[must_use]
pub fn is_first(outcome: &Outcome) -> bool {
    !outcome.repeated && outcome.result != Err(FsError::Stale)
}

/// A handle on the one history of a run.
#[derive(Clone, Debug, Default)]
pub struct SharedHistory(Rc<RefCell<History>>);

impl SharedHistory {
    /// To look at.
    #[must_use]
    pub fn borrow(&self) -> Ref<'_, History> {
        self.0.borrow()
    }

    /// Takes in what happened. Only [`HistoryFeed`] calls this in a run.
    pub fn on_event(&self, event: &Event) -> Option<LogIndex> {
        self.0.borrow_mut().on_event(event)
    }
}

/// Feeds the history. Comes first of all checkers, so that each finds the entry of the event that
/// it is judging.
#[derive(Debug)]
pub struct HistoryFeed {
    history: SharedHistory,
}

impl HistoryFeed {
    /// Its name among the checkers.
    pub const NAME: &'static str = "history";

    /// Feeds this one.
    #[must_use]
    pub fn new(history: SharedHistory) -> Self {
        Self { history }
    }
}

impl Checker for HistoryFeed {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn promise(&self) -> &'static str {
        "RAFT"
    }

    fn on_event(&mut self, _now: SimTime, event: &Event) -> Result<(), Violation> {
        self.history.on_event(event);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{applied, blank, command, done, membership, refused, write};
    use super::*;

    #[test]
    fn the_first_application_counts_and_a_hole_is_left_out() {
        let mut history = History::default();
        assert_eq!(
            history.on_event(&applied(0, blank(1, 1))),
            Some(LogIndex(1))
        );
        assert_eq!(history.on_event(&applied(1, blank(1, 1))), None);
        assert_eq!(history.on_event(&applied(1, blank(1, 3))), None);
        assert_eq!(history.last(), LogIndex(1));
        assert!(history.get(LogIndex(0)).is_none());
        assert!(history.get(LogIndex(2)).is_none());
    }

    #[test]
    fn versions_count_what_was_carried_out() {
        let mut history = History::default();
        let request = write(1, 1, 1);
        let entries = [
            blank(1, 1),
            command(1, 2, &request, done(1)),
            command(1, 3, &request, refused(1)),
            command(1, 4, &write(1, 1, 2), done(2)),
        ];
        for entry in entries {
            history.on_event(&applied(0, entry));
        }
        let versions: Vec<u64> = (0..5)
            .map(|index| history.version_at(LogIndex(index)).unwrap())
            .collect();
        assert_eq!(versions, [0, 0, 1, 1, 2]);
        assert_eq!(
            history.executed(&request.request.unwrap()),
            Some(LogIndex(2))
        );
    }

    #[test]
    fn terms_and_memberships_are_found_along_the_log() {
        let mut history = History::default();
        history.on_event(&applied(0, membership(1, 1, &[1, 2, 3])));
        history.on_event(&applied(0, blank(2, 2)));
        history.on_event(&applied(0, membership(2, 3, &[1, 2])));
        history.on_event(&applied(0, blank(5, 4)));
        let before = |term| history.last_before(Term(term)).map(|entry| entry.id.index);
        assert_eq!(before(1), None);
        assert_eq!(before(2), Some(LogIndex(1)));
        assert_eq!(before(4), Some(LogIndex(3)));
        assert_eq!(before(9), Some(LogIndex(4)));
        let voters = |index| {
            history
                .membership_at(LogIndex(index))
                .map(|membership| membership.voters[0].len())
        };
        assert_eq!([voters(0), voters(2), voters(4)], [None, Some(3), Some(2)]);
    }
}
