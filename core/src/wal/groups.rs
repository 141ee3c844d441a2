//! What the log remembers of each group while it runs: enough to refuse records out of order, to
//! know which segments still matter, and to write the small facts again when one goes.
//!
//! Payloads of entries are not kept here.

use std::collections::{BTreeMap, VecDeque};

use crate::id::{GroupId, LogIndex};
use crate::wal::frame::COUNTER_MAX;
use crate::wal::record::{LogId, Record};

/// One group's facts, as they are with everything appended so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    /// The group's newest frame; the next one names it.
    pub last_frame: u64,
    /// Index that the next entry follows; 0 before the first.
    pub last: u64,
    /// Newest vote.
    pub vote: Option<Vec<u8>>,
    /// Frame of the first copy of the newest vote.
    pub vote_at: u64,
    /// Whether the newest vote was found damaged beyond repair.
    pub vote_lost: bool,
    /// Whether entries after `last` may have been lost.
    pub tail_lost: bool,
    /// Frame of the newest mark that says so.
    pub lost_at: u64,
    /// Commit mark, and its frame.
    pub committed: Option<LogId>,
    /// Frame of the commit mark.
    pub committed_at: u64,
    /// Purge mark.
    pub purged: Option<LogId>,
    /// Frame of the purge mark.
    pub purged_at: u64,
    /// Damaged entries whose id is known.
    pub damaged: BTreeMap<u64, LogId>,
    /// Ranges of indices of which nothing is known, ascending, both ends included.
    pub unknown: Vec<(u64, u64)>,
    /// Where live entries stand: first index, and first frame of the segment; by index.
    runs: VecDeque<(u64, u64)>,
}

impl Group {
    /// The log's own pseudo-group: nothing but whether a record of an unknown group was lost.
    pub fn of_the_log(found: &Self, unattributed: bool) -> Self {
        Self {
            last_frame: found.last_frame,
            lost_at: found.lost_at,
            vote_lost: unattributed,
            ..Self::default()
        }
    }

    /// Says why a record must not follow what is there, if so.
    pub fn objection(&self, record: &Record) -> Option<String> {
        if let Record::Entry { id, .. } | Record::Purge { through: id } | Record::Committed { id } =
            record
            && id.index.0 >= COUNTER_MAX
        {
            return Some(format!("index {} is beyond every bound", id.index));
        }
        let floor = self.purged.map_or(0, |id| id.index.0);
        match record {
            Record::Entry { id, .. } => {
                let wanted = self.last + 1;
                let first_of_all = self.last == 0 && id.index.0 == 0 && self.runs.is_empty();
                (id.index.0 != wanted && !first_of_all)
                    .then(|| format!("entry {id:?} does not follow index {}", self.last))
            }
            Record::Truncate { last } => (last.0 < floor)
                .then(|| format!("truncation after {last} reaches below the purge mark {floor}")),
            Record::Purge { .. } | Record::Vote { .. } | Record::Committed { .. } => None,
        }
    }

    /// Takes note of a record that got frame `seq` in the segment beginning with `segment`.
    pub fn apply(&mut self, record: &Record, seq: u64, segment: u64) {
        match record {
            Record::Entry { id, .. } => self.note_entry(id.index.0, segment),
            Record::Truncate { last } => self.truncate(last.0),
            Record::Purge { through } => self.purge(*through, seq),
            Record::Vote { vote } => {
                self.vote = Some(vote.clone());
                self.vote_at = seq;
                self.vote_lost = false;
            }
            Record::Committed { id } => {
                self.committed = Some(*id);
                self.committed_at = seq;
            }
        }
    }

    /// Takes note that the entry `index`, above all before it, stands in a segment.
    pub fn note_entry(&mut self, index: u64, segment: u64) {
        self.last = index;
        if self.runs.back().is_none_or(|(_, at)| *at != segment) {
            self.runs.push_back((index, segment));
        }
    }

    /// The lowest segment (by its first frame) that holds a live entry.
    pub fn lowest_live(&self) -> Option<u64> {
        self.runs.iter().map(|(_, segment)| *segment).min()
    }

    /// The lowest frame holding a fact other than an entry that nothing newer replaced.
    pub fn lowest_mark(&self) -> Option<u64> {
        let lost = self.vote_lost || self.tail_lost;
        [
            (self.vote.is_some(), self.vote_at),
            (lost, self.lost_at),
            (self.committed.is_some(), self.committed_at),
            (self.purged.is_some(), self.purged_at),
        ]
        .into_iter()
        .filter_map(|(there, at)| there.then_some(at))
        .min()
    }

    /// Whether `id` may be written in place of what was lost at its index.
    pub fn is_hole(&self, id: LogId) -> bool {
        match self.damaged.get(&id.index.0) {
            Some(known) => *known == id,
            None => self.unknown_at(id.index.0).is_some(),
        }
    }

    /// Takes note that the entry at `index` is whole again, in a newer segment.
    pub fn fill(&mut self, index: u64, segment: u64) {
        let at = self.runs.partition_point(|(first, _)| *first < index);
        let next_is_known = self.runs.iter().any(|(first, _)| *first == index + 1);
        let before = at.checked_sub(1).map(|at| self.runs[at].1);
        let here = self
            .runs
            .get(at)
            .filter(|(first, _)| *first == index)
            .map(|run| run.1);
        if here.is_some() {
            self.runs.remove(at);
        }
        if let (Some(old), false) = (here.or(before), next_is_known || index >= self.last) {
            self.runs.insert(at, (index + 1, old));
        }
        self.runs.insert(at, (index, segment));
        self.damaged.remove(&index);
        if let Some(at) = self.unknown_at(index) {
            let (first, last) = self.unknown.remove(at);
            if index < last {
                self.unknown.insert(at, (index + 1, last));
            }
            if first < index {
                self.unknown.insert(at, (first, index - 1));
            }
        }
    }

    fn unknown_at(&self, index: u64) -> Option<usize> {
        self.unknown
            .iter()
            .position(|(first, last)| (*first..=*last).contains(&index))
    }

    fn truncate(&mut self, last: u64) {
        if last >= self.last {
            return;
        }
        self.last = last;
        while self.runs.back().is_some_and(|(first, _)| *first > last) {
            self.runs.pop_back();
        }
        self.damaged.split_off(&(last + 1));
        self.unknown.retain(|(first, _)| *first <= last);
        if let Some(range) = self.unknown.last_mut() {
            range.1 = range.1.min(last);
        }
    }

    fn purge(&mut self, through: LogId, seq: u64) {
        let end = through.index.0;
        if self.purged.is_none_or(|id| id.index < through.index) {
            self.purged = Some(through);
        }
        self.purged_at = seq;
        if end >= self.last {
            self.last = end;
            self.runs.clear();
        }
        while self.runs.get(1).is_some_and(|(first, _)| *first <= end + 1) {
            self.runs.pop_front();
        }
        if let Some(run) = self.runs.front_mut() {
            run.0 = run.0.max(end + 1);
        }
        self.damaged = self.damaged.split_off(&(end + 1));
        self.unknown.retain(|(_, last)| *last > end);
        if let Some(range) = self.unknown.first_mut() {
            range.0 = range.0.max(end + 1);
        }
    }

    /// Panics, naming the broken law, when this state should be impossible.
    pub fn check(&self, group: GroupId) {
        let floor = self.purged.map_or(0, |id| id.index.0);
        assert!(self.last >= floor, "{group}: log ends below its purge mark");
        assert!(
            self.runs
                .iter()
                .zip(self.runs.iter().skip(1))
                .all(|(a, b)| a.0 < b.0),
            "{group}: runs of entries are not in order of index"
        );
        assert!(
            self.runs
                .back()
                .is_none_or(|(first, _)| *first <= self.last),
            "{group}: a run of entries begins after the end of the log"
        );
        assert!(
            self.damaged.keys().all(|i| (floor..=self.last).contains(i)),
            "{group}: a damaged entry lies outside the log"
        );
        assert!(
            !(self.vote_lost && self.vote.is_some()),
            "{group}: a vote is both known and lost"
        );
        assert!(
            self.lowest_mark().is_none_or(|at| at <= self.last_frame),
            "{group}: a mark is newer than the group's newest frame"
        );
    }
}

/// The records that keep a group's small facts alive when their segment goes.
pub(super) fn marks_of(group: &Group) -> Vec<Record> {
    let vote = group.vote.clone().map(|vote| Record::Vote { vote });
    let purge = group.purged.map(|through| Record::Purge { through });
    let committed = group.committed.map(|id| Record::Committed { id });
    [vote, purge, committed].into_iter().flatten().collect()
}

/// An id of which the index alone is known.
pub(super) fn index_only(index: u64) -> LogId {
    LogId {
        index: LogIndex(index),
        ..LogId::default()
    }
}
