//! From frames in order to each group's log: what counts, what is damaged, what is in doubt.
//!
//! Frames name the frame of the same group before them. So of a stretch of frames that cannot be
//! read it is known which groups are whole nevertheless: those whose next frame names one that was
//! read. A group that may have had a record in the stretch keeps what was committed before it;
//! everything later is in doubt until newer records settle it.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{GroupId, LogIndex};
use crate::wal::frame::{FrameHeader, Kind, OWN_GROUP};
use crate::wal::groups::Group;
use crate::wal::record::LogId;

/// A place in a group's log where entries should be and are not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damaged {
    /// The entry with this id; its content is lost.
    Entry(LogId),
    /// Entries of which nothing is known, both ends included.
    Range {
        /// The first.
        first: LogIndex,
        /// The last; `None` when it is not known where the log ended.
        last: Option<LogIndex>,
    },
}

/// What the log gave back of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupLog {
    /// The newest vote.
    pub vote: Option<Vec<u8>>,
    /// Whether a newer vote than `vote` may have been lost: the node must not take part in this
    /// group under its id.
    pub vote_lost: bool,
    /// The highest commit mark.
    pub committed: Option<LogId>,
    /// The purge mark.
    pub purged: Option<LogId>,
    /// Entries after the purge mark, by index; with gaps where `damaged` says so, and only there.
    pub entries: Vec<(LogId, Vec<u8>)>,
    /// What is missing. The node must not acknowledge or vote for this group before every entry
    /// here was fetched from a peer ([`crate::wal::Wal::repair`]) or truncated by a leader.
    pub damaged: Vec<Damaged>,
}

impl GroupLog {
    /// Whether nothing of the group is lost or in doubt.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.vote_lost && self.damaged.is_empty()
    }
}

/// A frame that was read.
#[derive(Clone, Debug)]
pub(super) struct Read {
    /// Its header.
    pub header: FrameHeader,
    /// Whether the payload is what was written.
    pub whole: bool,
    /// Which of the scanned files it stands in.
    pub file: usize,
}

/// Frames that were flushed and cannot be read, both ends included. Between two of these stands a
/// frame that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
}

/// A group after all frames.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    /// What the running log keeps; without runs, damage and end, which `slots` give.
    pub facts: Group,
    /// Live entries by index.
    pub slots: BTreeMap<u64, Read>,
    /// The frame that holds the newest vote.
    pub vote: Option<Read>,
    /// Copies of the newest vote that are whole.
    pub vote_copies: u8,
    /// Highest index that the log is known to have had.
    pub high: u64,
    /// Whether the marks on disk say what `facts` says of losses.
    pub marked: bool,
    vote_base: u64,
    gap_tail: bool,
    marked_tail: bool,
    last_read: Option<(u64, Kind, u8)>,
}

/// Every group after all frames, and whether a frame of an unknown group was lost.
pub(super) fn replay(
    frames: &[Read],
    lost: &[Lost],
    start: u64,
) -> (BTreeMap<GroupId, Replayed>, bool) {
    let mut groups: BTreeMap<GroupId, Replayed> = BTreeMap::new();
    let mut claimed = BTreeSet::new();
    for frame in frames {
        let group = groups.entry(frame.header.group).or_default();
        let prev = frame.header.group_prev;
        if range_with(lost, prev).is_some() {
            claimed.insert(prev);
        }
        if frame.header.group != OWN_GROUP && group.has_gap_before(&frame.header, lost, start) {
            group.on_gap();
        }
        group.on_frame(frame);
    }
    for group in groups.values() {
        // The second copy of a vote follows the first at once.
        if let Some((seq, Kind::Vote, 0)) = group.last_read
            && range_with(lost, seq + 1).is_some()
        {
            claimed.insert(seq + 1);
        }
    }
    let unclaimed_after = |seq: u64| {
        lost.iter().filter(|range| range.last > seq).any(|range| {
            let first = range.first.max(seq + 1);
            let claims = claimed.range(first..=range.last).count() as u64;
            claims < range.last - first + 1
        })
    };
    for (id, group) in &mut groups {
        if *id != OWN_GROUP && unclaimed_after(group.facts.last_frame) {
            group.on_gap();
            // Whoever reads the next frame of this group shall see the gap again.
            group.facts.last_frame = lost.last().map_or(0, |range| range.last);
        }
    }
    let own_loss = groups
        .get(&OWN_GROUP)
        .is_some_and(|own| own.facts.vote_lost && own.marked);
    let unattributed = unclaimed_after(0) || own_loss;
    for group in groups.values_mut() {
        group.finish();
    }
    (groups, unattributed)
}

fn range_with(lost: &[Lost], seq: u64) -> Option<Lost> {
    let at = lost.partition_point(|range| range.last < seq);
    lost.get(at).copied().filter(|range| range.first <= seq)
}

impl Replayed {
    fn has_gap_before(&self, header: &FrameHeader, lost: &[Lost], start: u64) -> bool {
        let prev = header.group_prev;
        if prev == self.facts.last_frame || (self.last_read.is_none() && prev < start) {
            return false;
        }
        // Both copies of a vote are neighbours: when just the other one is unreadable, nothing
        // else of this group is.
        let first_copy_lost = header.kind == Kind::Vote
            && header.detail == 1
            && prev + 1 == header.seq
            && range_with(lost, prev).is_some_and(|range| range.first == prev);
        let second_copy_lost = matches!(self.last_read, Some((seq, Kind::Vote, 0)) if seq + 1 == prev)
            && range_with(lost, prev).is_some();
        !first_copy_lost && !second_copy_lost
    }

    /// Records of this group were lost: what may have been truncated or replaced is in doubt.
    fn on_gap(&mut self) {
        let safe = self.facts.committed.map_or(0, |id| id.index.0);
        self.slots.split_off(&(safe + 1));
        self.gap_tail = true;
        self.facts.vote_lost = true;
        self.vote = None;
        self.vote_base = 0;
        self.marked = false;
    }

    fn on_frame(&mut self, frame: &Read) {
        let header = &frame.header;
        let index = header.id.index.0;
        self.facts.last_frame = header.seq;
        self.last_read = Some((header.seq, header.kind, header.detail));
        match header.kind {
            Kind::Entry => {
                let floor = self.facts.purged.map(|id| id.index.0);
                if floor.is_none_or(|floor| index > floor) {
                    if self.high >= index {
                        self.slots.split_off(&index);
                    }
                    self.slots.insert(index, frame.clone());
                    self.high = index;
                    self.gap_tail = false;
                }
            }
            Kind::Replacement => {
                let floor = self.facts.purged.map_or(0, |id| id.index.0);
                if index > floor && index <= self.high {
                    self.slots.insert(index, frame.clone());
                }
            }
            Kind::Truncate => {
                self.slots.split_off(&(index + 1));
                self.high = self.high.min(index);
                self.gap_tail = false;
            }
            Kind::Purge => {
                if self
                    .facts
                    .purged
                    .is_none_or(|id| id.index < header.id.index)
                {
                    self.facts.purged = Some(header.id);
                }
                self.facts.purged_at = header.seq;
                self.slots = self.slots.split_off(&(index + 1));
                self.high = self.high.max(index);
            }
            Kind::Vote => self.on_vote(frame),
            Kind::Committed => {
                self.facts.committed = Some(header.id);
                self.facts.committed_at = header.seq;
            }
            Kind::Note => {}
            Kind::Lost => {
                if header.detail & 1 != 0 {
                    self.facts.vote_lost = true;
                    self.vote = None;
                    self.vote_base = 0;
                }
                self.marked_tail = header.detail & 2 != 0;
                self.facts.lost_at = header.seq;
                self.high = self.high.max(index);
                self.marked = true;
            }
            Kind::Healed => {
                self.gap_tail = false;
                self.marked_tail = false;
            }
        }
    }

    fn on_vote(&mut self, frame: &Read) {
        let base = frame.header.seq - u64::from(frame.header.detail);
        if base != self.vote_base {
            self.vote_base = base;
            self.vote = None;
            self.vote_copies = 0;
        }
        if frame.whole {
            self.vote = Some(frame.clone());
            self.vote_copies += 1;
        }
        self.facts.vote_at = base;
        self.facts.vote_lost = self.vote.is_none();
        self.marked = false;
    }

    fn finish(&mut self) {
        self.facts.tail_lost = self.gap_tail || self.marked_tail;
        let loss = self.facts.vote_lost || self.facts.tail_lost;
        self.marked = !loss || (self.marked && self.marked_tail == self.facts.tail_lost);
        let top = self.slots.last_key_value().map_or(0, |(index, _)| *index);
        let floor = self.facts.purged.map_or(0, |id| id.index.0);
        self.facts.last = self.high.max(top).max(floor);
    }
}

/// Takes what is left of a group apart: holes are marked, whole entries listed by index, and the
/// running log's facts completed. `segment_of` gives the first frame of a file's segment.
pub(super) fn settle(
    replayed: Replayed,
    segment_of: impl Fn(usize) -> u64,
    mut load: impl FnMut(&Read) -> Option<Vec<u8>>,
) -> (Group, GroupLog) {
    let mut group = replayed.facts;
    let end = group.last;
    let mut log = GroupLog {
        committed: group.committed,
        purged: group.purged,
        ..GroupLog::default()
    };
    if let Some(vote) = &replayed.vote {
        log.vote = load(vote);
        group.vote_lost = log.vote.is_none();
    }
    group.vote = log.vote.clone();
    log.vote_lost = group.vote_lost;
    // The first entry of a group may be number 0 or 1.
    let mut expected = group.purged.map(|id| id.index.0 + 1);
    for (index, slot) in &replayed.slots {
        let wanted = expected.unwrap_or(1);
        if *index > wanted {
            log.add_range(&mut group, wanted, index - 1);
        }
        group.note_entry(*index, segment_of(slot.file));
        match slot.whole.then(|| load(slot)).flatten() {
            Some(payload) => log.entries.push((slot.header.id, payload)),
            None => {
                group.damaged.insert(*index, slot.header.id);
                log.damaged.push(Damaged::Entry(slot.header.id));
            }
        }
        expected = Some(index + 1);
    }
    let wanted = expected.unwrap_or(1);
    if wanted <= end {
        log.add_range(&mut group, wanted, end);
    }
    group.last = end;
    if group.tail_lost {
        let first = LogIndex(end + 1);
        log.damaged.push(Damaged::Range { first, last: None });
    }
    (group, log)
}

impl GroupLog {
    fn add_range(&mut self, group: &mut Group, first: u64, last: u64) {
        group.unknown.push((first, last));
        let (first, last) = (LogIndex(first), Some(LogIndex(last)));
        self.damaged.push(Damaged::Range { first, last });
    }
}
