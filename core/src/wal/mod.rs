//! The write-ahead log of a node: one for all groups.
//!
//! Records are framed into preallocated segments, handed to the disk in batches and made durable
//! by group commit: one flush covers every record appended before it, of all groups. Opening the
//! log judges what a crash or a rotting disk left: what was never flushed is dropped, what was
//! flushed and is damaged is reported and never invented. Format, rules and promises:
//! `docs/protocols/wal.md`.
//!
//! The log knows nothing of Raft's rules beyond the order of a group's indices; payloads and votes
//! are bytes to it. It does no waiting: the driver reports finished flushes.

mod frame;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod groups;
mod options;
pub mod record;
mod recover;
mod replay;
mod segment;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

pub use frame::Kind;
pub use options::{OptionsError, WalOptions};
pub use recover::{Damage, Recovery, Tail, What};
use recover::{Free, Spare};
pub use replay::{Damaged, GroupLog};

use crate::buggify::Site;
use crate::disk::{Disk, DiskError, FileName, FlushId};
use crate::id::{GroupId, WriteId};
use crate::limits::PAGE_BYTES;
use frame::{
    COUNTER_MAX, FRAME_HEADER_BYTES, FrameHeader, OWN_GROUP, SEGMENT_HEADER_BYTES, SegmentHeader,
};
use groups::Group;
use record::{LogId, Record};
use segment::{Active, Retiring, Segment};

/// Longest vote, bytes. Both copies are kept in memory and written again when a segment goes.
pub const VOTE_BYTES_MAX: usize = 1_024;

/// Why the log cannot do something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalError {
    /// The options are out of bounds. Caused by configuration.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The disk refused; the log goes on. For a segment that could not be made: nothing was lost,
    /// the record was not taken.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The log has as many segments as it may, and none is free. The record was not taken; purge,
    /// flush and try again.
    #[error("the log is full: {segments} segments in use, the limit is {limit}")]
    Limit {
        /// Segments there are.
        segments: u32,
        /// The bound.
        limit: u32,
    },
    /// The record is longer than it may be. It was not taken.
    #[error("record of {length} bytes, the limit is {limit}")]
    TooLong {
        /// Its length.
        length: usize,
        /// The bound.
        limit: usize,
    },
    /// The record does not fit what the group's log holds. It was not taken; a bug of the caller.
    #[error("group {group}: {reason}")]
    Order {
        /// The group.
        group: GroupId,
        /// What does not fit.
        reason: String,
    },
    /// The file is a segment of another node's log, or of a newer version of this program.
    #[error("file {file} is not of this log: {reason}")]
    Foreign {
        /// The file.
        file: FileName,
        /// What it is.
        reason: String,
    },
    /// A write or a flush failed earlier: what is on disk is unknown, so nothing more is taken.
    /// The node must stop; what it acknowledged is safe.
    #[error("the log has stopped for good: {reason}")]
    Poisoned {
        /// What failed.
        reason: String,
    },
}

struct InFlight {
    flush: FlushId,
    frame: u64,
    write: u64,
}

/// The log. Owns its disk.
pub struct Wal<D> {
    disk: D,
    options: WalOptions,
    /// Drawn at random for this opening; salts its segments.
    life: u64,
    /// The segment being written; `None` before the first append of this life.
    active: Option<Active>,
    /// Live segments, oldest first, the active one last.
    segments: Vec<Segment>,
    /// Segments that nothing needs, waiting until that is durable.
    retiring: Vec<Retiring>,
    /// Files of the right length that may be written over.
    free: BTreeSet<FileName>,
    /// Number of the next segment.
    next_segment: u64,
    /// Number in the name of the next new file.
    next_file: u64,
    /// Number of the next frame.
    next_frame: u64,
    /// Number of the last record appended.
    last_write: u64,
    /// Last frame that has to be flushed; notes do not count.
    wanted: u64,
    /// Highest frame known to be durable. Invariant: `flushed < next_frame`.
    flushed: u64,
    /// Whether a flush has to begin although no record waits for one: what recovery read has to be
    /// flushed once, and so has a file that was put beside the log.
    flush_owed: bool,
    /// First frame that matters, as frames say it. Invariant: what it drops is durably superseded.
    start: u64,
    /// The next `start`, once the frame beside it is durable.
    start_next: Option<(u64, u64)>,
    /// Groups whose small facts must be written again.
    marks_due: BTreeSet<GroupId>,
    in_flight: Option<InFlight>,
    groups: BTreeMap<GroupId, Group>,
    /// Last frame that is written again while that is done; 0 otherwise.
    again_through: u64,
    poisoned: Option<String>,
    /// How its files were when they were last found to be in order.
    files_checked: Cell<Option<Files>>,
}

/// How many files there are for what.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Files {
    oldest: Option<u64>,
    newest: Option<u64>,
    live: usize,
    retiring: usize,
    free: usize,
}

impl<D: Disk> Wal<D> {
    /// Opens the log that is on `disk`, or an empty one. `life` tells this opening from every
    /// other one of this log: the driver draws it at random.
    ///
    /// What is recovered may be in the operating system's cache only (when the process died but
    /// the machine did not): the driver acts upon it after the first flush has finished, which
    /// [`Wal::start_flush`] therefore begins even when nothing was appended.
    ///
    /// # Errors
    /// [`WalError::Options`]; [`WalError::Foreign`]; [`WalError::Disk`] when the directory cannot
    /// be read, or the end of the log not be written again. Damage to the content is no error: it is in [`Recovery`].
    pub fn open(disk: D, options: WalOptions, life: u64) -> Result<(Self, Recovery), WalError> {
        options.validate()?;
        let found = recover::recover(&disk, &options)?;
        let mut wal = Self {
            disk,
            options,
            life,
            active: None,
            segments: found.segments,
            retiring: Vec::new(),
            free: BTreeSet::new(),
            next_segment: found.next_segment,
            next_file: found.next_file,
            next_frame: found.next_frame,
            last_write: 0,
            wanted: found.flushed,
            flushed: found.flushed,
            flush_owed: true,
            start: found.start,
            start_next: None,
            marks_due: found.marks_due,
            in_flight: None,
            groups: found.groups,
            again_through: 0,
            poisoned: None,
            files_checked: Cell::new(None),
        };
        if let Some((first, _)) = found.again.first() {
            wal.next_frame = first.seq;
        }
        wal.take_spares(found.spare);
        wal.write_headers(&found.headers_due);
        wal.write_again(&found.again)?;
        let through = wal.next_frame - 1;
        for (file, length) in found.superseded {
            wal.retiring.push(Retiring {
                file,
                length,
                after: through,
            });
        }
        wal.check();
        Ok((wal, found.recovery))
    }

    /// Takes a record, to be durable with the next flush. The write's number rises by one with
    /// each, from 1 at every opening.
    ///
    /// # Errors
    /// [`WalError::TooLong`], [`WalError::Order`]; [`WalError::Limit`] or [`WalError::Disk`] when
    /// a segment was needed and could not be had. The record was not taken, the log goes on.
    /// [`WalError::Poisoned`].
    pub fn append(&mut self, group: GroupId, record: Record) -> Result<WriteId, WalError> {
        self.refuse_if_poisoned()?;
        self.refuse_length(&record)?;
        if group == OWN_GROUP {
            return Err(reserved(group));
        }
        let known = self.groups.get(&group);
        if let Some(reason) = known.map_or_else(
            || Group::default().objection(&record),
            |known| known.objection(&record),
        ) {
            return Err(WalError::Order { group, reason });
        }
        self.write_record(group, &record)?;
        self.last_write += 1;
        self.maybe_spill()?;
        Ok(WriteId(self.last_write))
    }

    /// Puts an entry that was fetched from a peer in place of a damaged one.
    ///
    /// # Errors
    /// [`WalError::Order`] when nothing is damaged at this index, or another id is known to have
    /// stood there; otherwise as [`Wal::append`].
    pub fn repair(
        &mut self,
        group: GroupId,
        id: LogId,
        payload: &[u8],
    ) -> Result<WriteId, WalError> {
        self.refuse_if_poisoned()?;
        self.refuse_payload(payload.len(), self.options.record_bytes_max)?;
        if !self
            .groups
            .get(&group)
            .is_some_and(|known| known.is_hole(id))
        {
            let reason = format!("no damaged entry waits for {id:?}");
            return Err(WalError::Order { group, reason });
        }
        self.make_room(&[payload.len()], true)?;
        self.put(group, Kind::Replacement, id, 0, payload);
        let segment = self.active_mut().first;
        if let Some(known) = self.groups.get_mut(&group) {
            known.fill(id.index.0, segment);
        }
        self.last_write += 1;
        self.maybe_spill()?;
        Ok(WriteId(self.last_write))
    }

    /// The owner says that the group again has every entry that it ever acknowledged: the end of
    /// its log is no longer in doubt.
    ///
    /// # Errors
    /// As [`Wal::append`].
    pub fn heal(&mut self, group: GroupId) -> Result<WriteId, WalError> {
        self.refuse_if_poisoned()?;
        if group == OWN_GROUP {
            return Err(reserved(group));
        }
        self.make_room(&[0], false)?;
        self.put(group, Kind::Healed, LogId::default(), 0, &[]);
        if let Some(known) = self.groups.get_mut(&group) {
            known.tail_lost = false;
        }
        self.last_write += 1;
        Ok(WriteId(self.last_write))
    }

    /// Whether [`Wal::start_flush`] would begin a flush.
    #[must_use]
    pub fn needs_flush(&self) -> bool {
        let due = self.wanted > self.flushed || self.flush_owed;
        due && self.in_flight.is_none() && self.poisoned.is_none()
    }

    /// Begins to make everything appended so far durable; `None` when there is nothing to do or a
    /// flush is running.
    ///
    /// # Errors
    /// [`WalError::Poisoned`] when handing the bytes to the disk failed, now or earlier.
    pub fn start_flush(&mut self) -> Result<Option<FlushId>, WalError> {
        self.refuse_if_poisoned()?;
        if !self.needs_flush() {
            return Ok(None);
        }
        self.maybe_write_marks()?;
        self.hand_over()?;
        let flush = self.disk.start_flush();
        self.flush_owed = false;
        self.in_flight = Some(InFlight {
            flush,
            frame: self.next_frame - 1,
            write: self.last_write,
        });
        Ok(Some(flush))
    }

    /// The disk has finished a flush, well or not. Every write up to the one returned is durable.
    ///
    /// # Errors
    /// [`WalError::Poisoned`] when it failed: the log takes nothing more, ever.
    ///
    /// # Panics
    /// When this flush was not begun by [`Wal::start_flush`], or is reported twice.
    pub fn on_flushed(
        &mut self,
        flush: FlushId,
        result: Result<(), DiskError>,
    ) -> Result<WriteId, WalError> {
        self.refuse_if_poisoned()?;
        let done = self.in_flight.take();
        let done = done.expect("a flush was reported that the log did not begin");
        assert_eq!(
            done.flush, flush,
            "another flush was reported than the one that runs"
        );
        if let Err(error) = result {
            return Err(self.poison(&format!("a flush failed: {error}")));
        }
        self.flushed = done.frame;
        self.reclaim();
        self.maybe_note();
        Ok(WriteId(done.write))
    }

    /// Makes a file of zeros beside the log, of which only that it is there is told: the next
    /// opening names it among its strays. Durable with the next flush.
    ///
    /// # Errors
    /// [`WalError::Disk`], also when it is there already; [`WalError::Poisoned`].
    ///
    /// # Panics
    /// When the name is that of a segment.
    pub fn put_beside(&mut self, file: &str) -> Result<(), WalError> {
        self.refuse_if_poisoned()?;
        assert!(
            segment::file_number(file).is_none(),
            "{file} is a name of the log's own"
        );
        self.disk.create(file, PAGE_BYTES as u64)?;
        self.flush_owed = true;
        Ok(())
    }

    /// Removes what [`Self::put_beside`] made. Durable with the next flush.
    ///
    /// # Errors
    /// [`WalError::Disk`]; [`WalError::Poisoned`].
    ///
    /// # Panics
    /// As [`Self::put_beside`].
    pub fn remove_beside(&mut self, file: &str) -> Result<(), WalError> {
        self.refuse_if_poisoned()?;
        assert!(
            segment::file_number(file).is_none(),
            "{file} is a name of the log's own"
        );
        self.disk.remove(file)?;
        self.flush_owed = true;
        Ok(())
    }

    /// Groups whose entries keep the oldest segment from being reused: those that should be
    /// checkpointed and purged when the log grows too long.
    #[must_use]
    pub fn pinned_by(&self) -> Vec<GroupId> {
        let Some(second) = self.segments.get(1) else {
            return Vec::new();
        };
        self.groups
            .iter()
            .filter(|(_, group)| group.lowest_live().is_some_and(|at| at < second.first))
            .map(|(id, _)| *id)
            .collect()
    }

    /// Files the log has: live, waiting and free.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.segments.len() + self.retiring.len() + self.free.len()
    }

    /// Whether more than three quarters of the segments there may be are in use: the log should
    /// become shorter, and what can wait should not be appended before it has.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        // What the next flushes will free is not counted: without a record there would be none.
        let start = self.start_next.map_or(self.start, |(start, _)| start);
        let free = self.segments.partition_point(|s| s.first < start);
        (self.segments.len() - free) * 4 > self.options.segments_max as usize * 3
    }

    /// Segments whose content still matters.
    #[must_use]
    pub fn live_segment_count(&self) -> usize {
        self.segments.len()
    }

    /// The disk, to look at.
    #[must_use]
    pub fn disk(&self) -> &D {
        &self.disk
    }

    /// Gives the disk back. Nothing that was not flushed is.
    #[must_use]
    pub fn into_disk(self) -> D {
        self.disk
    }

    /// Panics, naming the broken invariant, when this state should be impossible.
    pub fn check(&self) {
        assert!(
            self.flushed < self.next_frame,
            "a frame is durable that does not exist"
        );
        assert!(
            self.wanted < self.next_frame,
            "a flush is wanted for a frame not made"
        );
        assert!(
            self.start <= self.next_frame,
            "the log starts behind its end"
        );
        if let Some((next, after)) = self.start_next {
            assert!(
                next > self.start,
                "the start of the log does not move forward"
            );
            assert!(
                after < self.next_frame,
                "the start waits for a frame not made"
            );
        }
        self.check_files();
        if let Some(active) = &self.active {
            active.check();
            assert_eq!(
                self.segments.last().map(|s| s.number),
                Some(active.number),
                "the segment being written is the newest"
            );
        }
        for (id, group) in &self.groups {
            group.check(*id);
            assert!(
                group
                    .lowest_live()
                    .is_none_or(|at| self.segments.binary_search_by_key(&at, |s| s.first).is_ok()),
                "group {id}: a live entry stands in no live segment"
            );
            assert!(
                self.marks_due.contains(id)
                    || group.lowest_mark().is_none_or(|at| at >= self.start),
                "group {id}: a mark that matters stands before the start of the log"
            );
        }
    }

    /// The files of a log are many and change seldom: they are looked at when one has come, gone or
    /// changed its use. Whatever changes a use moves the newest or the oldest segment, or a count.
    fn check_files(&self) {
        let number = |segment: Option<&Segment>| segment.map(|segment| segment.number);
        let files = Files {
            oldest: number(self.segments.first()),
            newest: number(self.segments.last()),
            live: self.segments.len(),
            retiring: self.retiring.len(),
            free: self.free.len(),
        };
        if self.files_checked.replace(Some(files)) == Some(files) {
            return;
        }
        assert!(
            self.segments
                .windows(2)
                .all(|w| w[0].number < w[1].number && w[0].first <= w[1].first),
            "segments are not in order"
        );
        let waiting = self.retiring.iter().map(|r| &r.file);
        let live = self.segments.iter().map(|s| &s.file);
        let mut files: Vec<&FileName> = live.chain(waiting).chain(&self.free).collect();
        files.sort_unstable();
        for pair in files.windows(2) {
            assert!(pair[0] != pair[1], "file {} has two uses", pair[0]);
        }
    }

    /// Writes copies of segment headers again; where the disk refuses, the other copy or the frames
    /// go on serving.
    fn write_headers(&mut self, due: &[(FileName, Vec<u8>, SegmentHeader)]) {
        for (file, copies, header) in due {
            let mut bytes = [0; SEGMENT_HEADER_BYTES];
            header.encode(&mut bytes);
            for copy in copies {
                let offset = u64::from(*copy) * PAGE_BYTES as u64;
                if let Err(error) = self.disk.write(file, offset, &bytes) {
                    tracing::warn!(%error, "cannot write a segment header again");
                }
            }
        }
    }

    fn refuse_if_poisoned(&self) -> Result<(), WalError> {
        match &self.poisoned {
            Some(reason) => Err(WalError::Poisoned {
                reason: reason.clone(),
            }),
            None => Ok(()),
        }
    }

    fn refuse_length(&self, record: &Record) -> Result<(), WalError> {
        match record {
            Record::Entry { payload, .. } => {
                self.refuse_payload(payload.len(), self.options.record_bytes_max)
            }
            Record::Vote { vote } => self.refuse_payload(vote.len(), VOTE_BYTES_MAX),
            Record::Truncate { .. } | Record::Purge { .. } | Record::Committed { .. } => Ok(()),
        }
    }

    fn refuse_payload(&self, length: usize, limit: usize) -> Result<(), WalError> {
        if length > limit {
            return Err(WalError::TooLong { length, limit });
        }
        Ok(())
    }

    fn poison(&mut self, reason: &str) -> WalError {
        self.poisoned = Some(reason.into());
        WalError::Poisoned {
            reason: reason.into(),
        }
    }

    /// Frames a record that was found acceptable, and takes note of it.
    fn write_record(&mut self, group: GroupId, record: &Record) -> Result<(), WalError> {
        let first = match record {
            Record::Entry { id, payload } => {
                self.make_room(&[payload.len()], true)?;
                self.put(group, Kind::Entry, *id, 0, payload)
            }
            Record::Truncate { last } => {
                self.make_room(&[0], false)?;
                self.put(group, Kind::Truncate, groups::index_only(last.0), 0, &[])
            }
            Record::Purge { through } => {
                self.make_room(&[0], false)?;
                self.put(group, Kind::Purge, *through, 0, &[])
            }
            Record::Committed { id } => {
                self.make_room(&[0], false)?;
                self.put(group, Kind::Committed, *id, 0, &[])
            }
            Record::Vote { vote } => {
                self.make_room(&[vote.len(), vote.len()], false)?;
                let first = self.put(group, Kind::Vote, LogId::default(), 0, vote);
                self.active_mut().next_page();
                self.put(group, Kind::Vote, LogId::default(), 1, vote);
                first
            }
        };
        let segment = self.active_mut().first;
        let known = self.groups.entry(group).or_default();
        known.apply(record, first, segment);
        Ok(())
    }

    fn take_spares(&mut self, spares: Vec<Spare>) {
        for Spare { file, length, free } in spares {
            let fits = length == u64::from(self.options.segment_bytes);
            let is_wanted = fits && self.free.len() < self.options.free_segments_max as usize;
            if free == Free::AtOnce && is_wanted {
                self.free.insert(file);
            } else {
                // The next frame says what the log starts with, also when it is one written again.
                let after = match free {
                    Free::AtOnce | Free::Flushed => 0,
                    Free::Said => self.next_frame,
                };
                self.retiring.push(Retiring {
                    file,
                    length,
                    after,
                });
            }
        }
    }

    /// Writes frames again, in a segment of their own, that were adopted without a proof that they
    /// are durable. After a failed flush the kernel may hold them as clean although the disk never
    /// got them, and would not write them with the next flush. Where they stand they are left
    /// alone: they may be all that is left of what was acknowledged, and a write can be torn.
    fn write_again(&mut self, frames: &[(FrameHeader, Vec<u8>)]) -> Result<(), WalError> {
        let (Some((first, _)), Some((last, _))) = (frames.first(), frames.last()) else {
            return Ok(());
        };
        debug_assert_eq!(
            self.next_frame, first.seq,
            "the next frame is the first of them"
        );
        self.again_through = last.seq;
        for (header, payload) in frames {
            let before = self.active.as_ref().map(|active| active.number);
            let second_copy = header.kind == Kind::Vote && header.detail == 1;
            let lengths = [payload.len(); 2];
            let is_first_copy = header.kind == Kind::Vote && !second_copy;
            if !second_copy || header.seq == first.seq {
                self.make_room(&lengths[..1 + usize::from(is_first_copy)], false)?;
            }
            if second_copy && before == self.active.as_ref().map(|active| active.number) {
                self.active_mut().next_page();
            }
            self.next_frame = header.seq + 1;
            if header.kind != Kind::Note {
                self.wanted = header.seq;
            }
            let again = FrameHeader {
                flushed: self.flushed,
                start: self.start,
                again: true,
                ..header.clone()
            };
            self.active_mut().put(again, payload);
            self.maybe_spill()?;
        }
        self.again_through = 0;
        Ok(())
    }

    /// Frames a payload into the active segment, where room was made; its number is returned.
    fn put(&mut self, group: GroupId, kind: Kind, id: LogId, detail: u8, payload: &[u8]) -> u64 {
        let seq = self.next_frame;
        self.next_frame += 1;
        if kind != Kind::Note {
            self.wanted = seq;
        }
        let known = self.groups.entry(group).or_default();
        let group_prev = std::mem::replace(&mut known.last_frame, seq);
        let header = FrameHeader {
            seq,
            flushed: self.flushed,
            start: self.start,
            group_prev,
            id,
            group,
            kind,
            detail,
            again: false,
            payload_crc: crc32c::crc32c(payload),
            length: payload.len() as u32,
            segment: 0,
            segment_first: 0,
            salt: 0,
            offset: 0,
            stride: 0,
        };
        self.active_mut().put(header, payload);
        seq
    }

    fn active_mut(&mut self) -> &mut Active {
        self.active
            .as_mut()
            .expect("room was made in a segment before writing to it")
    }

    /// Makes sure that frames with payloads of these lengths fit the active segment, each on a
    /// page of its own after the first; begins another segment when they do not.
    fn make_room(&mut self, lengths: &[usize], is_entry: bool) -> Result<(), WalError> {
        let fits = self
            .active
            .as_ref()
            .is_some_and(|active| active.fits(lengths));
        if fits && !self.options.buggify.fires(Site::SegmentEndsEarly) {
            return Ok(());
        }
        if self.next_frame.max(self.next_segment) >= COUNTER_MAX - 2 {
            return Err(self.poison("its counters are used up"));
        }
        let file = self.take_file(is_entry)?;
        if let Err(error) = self.hand_over() {
            self.free.insert(file);
            return Err(error);
        }
        let number = self.next_segment;
        self.next_segment += 1;
        let active = Active::begin(
            &self.options,
            file.clone(),
            number,
            frame::salt_of(self.life, number),
            (
                self.next_frame,
                self.flushed,
                self.start,
                self.again_through,
            ),
        );
        assert!(
            active.fits(lengths),
            "the options leave room for the longest record"
        );
        self.active = Some(active);
        self.segments.push(Segment {
            number,
            file,
            first: self.next_frame,
            length: u64::from(self.options.segment_bytes),
        });
        Ok(())
    }

    /// A file to write over. Entries leave `reserve_segments` files for records that let the log
    /// shrink.
    fn take_file(&mut self, is_entry: bool) -> Result<FileName, WalError> {
        let reserve = self.options.reserve_segments as usize;
        let mut refusal = None;
        while self.free.len() <= reserve && refusal.is_none() {
            refusal = self.make_file().err();
        }
        let needed = if is_entry { reserve } else { 0 };
        match self.free.pop_first() {
            Some(file) if self.free.len() >= needed => Ok(file),
            kept => {
                self.free.extend(kept);
                Err(refusal.unwrap_or(WalError::Limit {
                    segments: self.segment_count() as u32,
                    limit: self.options.segments_max,
                }))
            }
        }
    }

    fn make_file(&mut self) -> Result<(), WalError> {
        let segments = self.segment_count() as u32;
        if segments >= self.options.segments_max {
            let limit = self.options.segments_max;
            return Err(WalError::Limit { segments, limit });
        }
        let file = segment::file_name(self.next_file);
        self.next_file += 1;
        self.disk
            .create(&file, u64::from(self.options.segment_bytes))?;
        self.free.insert(file);
        Ok(())
    }

    /// Hands what is buffered to the disk, filled up to a sector that no later write will touch.
    fn hand_over(&mut self) -> Result<(), WalError> {
        let Some(active) = self.active.as_mut() else {
            return Ok(());
        };
        let align = self.options.align_bytes as usize;
        #[cfg(feature = "planted-bugs")]
        let align = match self.options.bug {
            Some(crate::planted::Bug::BatchesSharePages) => crate::limits::SECTOR_BYTES,
            _ => align,
        };
        let result = active.hand_over(&mut self.disk, align);
        result.map_err(|error| self.poison(&format!("a write failed: {error}")))
    }

    fn maybe_spill(&mut self) -> Result<(), WalError> {
        let bound = self.options.buffer_bytes_max as usize;
        if self
            .active
            .as_ref()
            .is_some_and(|active| active.buffered() > bound)
        {
            self.hand_over()?;
        }
        Ok(())
    }

    /// Writes the small facts of groups again whose segment is to go, or whose copies are damaged.
    fn maybe_write_marks(&mut self) -> Result<(), WalError> {
        while let Some(id) = self.marks_due.first().copied() {
            if let Err(error) = self.write_marks(id) {
                self.refuse_if_poisoned()?;
                tracing::warn!(%error, group = %id, "cannot write the marks of a group again yet");
                return Ok(());
            }
            self.marks_due.remove(&id);
        }
        Ok(())
    }

    fn write_marks(&mut self, id: GroupId) -> Result<(), WalError> {
        let Some(group) = self.groups.get(&id) else {
            return Ok(());
        };
        let (vote_lost, tail_lost, last) = (group.vote_lost, group.tail_lost, group.last);
        for record in groups::marks_of(group) {
            self.write_record(id, &record)?;
        }
        if vote_lost || tail_lost {
            self.make_room(&[0], false)?;
            let detail = u8::from(vote_lost) | u8::from(tail_lost) << 1;
            let at = self.put(id, Kind::Lost, groups::index_only(last), detail, &[]);
            if let Some(group) = self.groups.get_mut(&id) {
                group.lost_at = at;
            }
        }
        Ok(())
    }

    /// Moves the start of the log forward, in three steps that a flush parts: write again what
    /// still matters of the oldest segments; say in frames that they do not matter; reuse them.
    fn reclaim(&mut self) {
        self.reclaim_files();
        if !self.marks_due.is_empty() {
            return;
        }
        if let Some((start, after)) = self.start_next
            && after <= self.flushed
        {
            self.start_next = None;
            self.start = start;
            let after = self.next_frame;
            let keep = self.segments.partition_point(|s| s.first < start);
            for old in self.segments.drain(..keep) {
                let Segment { file, length, .. } = old;
                self.retiring.push(Retiring {
                    file,
                    length,
                    after,
                });
            }
        }
        let live = self.groups.values().filter_map(Group::lowest_live).min();
        let Some(active) = self.active.as_ref().map(|active| active.first) else {
            return;
        };
        let start = live.map_or(active, |live| live.min(active));
        if self.start_next.is_none() && start > self.segments[0].first {
            let before = |group: &Group| group.lowest_mark().is_some_and(|at| at < start);
            let due = self
                .groups
                .iter()
                .filter(|(_, group)| before(group))
                .map(|(id, _)| *id);
            self.marks_due = due.collect();
            if let Err(error) = self.maybe_write_marks() {
                tracing::warn!(%error, "the log stopped while moving its start");
                return;
            }
            if self.marks_due.is_empty() {
                self.start_next = Some((start, self.next_frame - 1));
            }
        }
    }

    fn reclaim_files(&mut self) {
        let flushed = self.flushed;
        let (ready, waiting) = self.retiring.drain(..).partition(|r| r.after <= flushed);
        self.retiring = waiting;
        for Retiring { file, length, .. } in ready {
            let fits = length == u64::from(self.options.segment_bytes);
            if fits && self.free.len() < self.options.free_segments_max as usize {
                self.free.insert(file);
            } else if let Err(error) = self.disk.remove(&file) {
                tracing::warn!(%error, "cannot remove a segment that nothing needs");
            }
        }
    }

    /// Writes down, without waiting for it, up to where the log is durable: so that later rot
    /// there is known for what it is. Frames to come say the same, so only an idle log needs it.
    fn maybe_note(&mut self) {
        let idle = self.wanted <= self.flushed && self.next_frame - 1 <= self.flushed;
        if !idle || !self.active.as_ref().is_some_and(|active| active.fits(&[0])) {
            return;
        }
        self.put(OWN_GROUP, Kind::Note, LogId::default(), 0, &[]);
        if let Err(error) = self.hand_over() {
            tracing::warn!(%error, "the log stopped while noting what is durable");
        }
    }
}

fn reserved(group: GroupId) -> WalError {
    let reason = "this id is the log's own".into();
    WalError::Order { group, reason }
}

const _: () = assert!(
    FRAME_HEADER_BYTES + VOTE_BYTES_MAX < PAGE_BYTES,
    "two copies of a vote take two pages, not three"
);
