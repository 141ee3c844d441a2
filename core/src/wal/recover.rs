//! Opening a log: every file is scanned for what its checksums confirm, and then judged.
//!
//! The judgement rests on two counters that every frame carries. `flushed` proves that frames up
//! to it were durable: one of them missing is damage. Frames above the highest such proof were
//! never acknowledged: from the first of them that is missing or torn, the rest is dropped.
//! `start` proves that frames below it are superseded: their absence means nothing.
//!
//! Later segments say with which frame they begin; whatever an earlier one holds from there on
//! was dropped by the opening that began the later one.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::disk::{Disk, DiskError, FileName};
use crate::id::{GroupId, NodeId};
use crate::limits::PAGE_BYTES;
use crate::wal::WalError;
use crate::wal::frame::{
    DATA_START, FORMAT_VERSION, FRAME_ALIGN, FRAME_HEADER_BYTES, FrameHeader, Kind, OWN_GROUP,
    SEGMENT_HEADER_BYTES, SEGMENT_HEADER_COPIES, SegmentHeader,
};
use crate::wal::groups::Group;
use crate::wal::options::{SEGMENT_BYTES_MAX, WalOptions};
use crate::wal::record::LogId;
use crate::wal::replay::{self, GroupLog, Lost, Read};
use crate::wal::segment::{self, Segment};

/// Bytes that are read at once where many payloads are read again.
const PIECE_BYTES: usize = 1 << 20;
/// Reads of one place before it counts as unreadable.
const READ_ATTEMPTS: usize = 4;
/// Reads of one place whose checksum does not hold before it is judged: a bit may flip on the way,
/// and what was durable is dropped, or called damage, when it flips each time.
const CHECK_ATTEMPTS: usize = 8;

/// What is wrong with a piece of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// One copy of a segment's header; the other one serves.
    SegmentHeader {
        /// Which copy, 0 or 1.
        copy: u8,
    },
    /// Both copies of a segment's header; its frames tell what it is.
    SegmentHeaders,
    /// The content of a frame whose header is good.
    Payload {
        /// The group.
        group: GroupId,
        /// What it was.
        kind: Kind,
        /// Which entry, when it was one.
        id: LogId,
    },
    /// Frames that were flushed and are not there. For where they should stand, the place is the
    /// end of what precedes them.
    Frames {
        /// The first, counted over the whole log.
        first: u64,
        /// The last.
        last: u64,
    },
    /// The disk cannot read these bytes.
    Unreadable {
        /// How many.
        length: u64,
    },
    /// The file is shorter than it was made.
    CutShort {
        /// Bytes it should have.
        length: u64,
    },
    /// Two files say they are the same segment; this one was left aside.
    Duplicate {
        /// Number of the segment.
        segment: u64,
    },
}

/// A piece of the log that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file; empty when the log had no file to hold it.
    pub file: FileName,
    /// Where in the file, bytes.
    pub offset: u64,
    /// What is wrong.
    pub what: What,
}

/// How the log ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Nothing stood after the last good frame.
    Clean,
    /// The log ended in the middle of a write that was never acknowledged; the rest was dropped.
    Torn {
        /// The file where the good frames end.
        file: FileName,
        /// Where in the file, bytes.
        offset: u64,
        /// Frames after that place that could be read and were dropped.
        dropped: u64,
    },
    /// The place where the log ended cannot be read, or its file is cut short there: flushed
    /// frames may have stood in it.
    Unreadable {
        /// The file.
        file: FileName,
        /// Where in the file, bytes.
        offset: u64,
    },
}

/// What opening the log found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Every group with a record in the log.
    pub groups: BTreeMap<GroupId, GroupLog>,
    /// How the log ended.
    pub tail: Tail,
    /// Everything that was written, flushed, and is not as it was.
    pub damage: Vec<Damage>,
    /// Whether a record of a group not in `groups` may have been lost.
    pub unattributed: bool,
    /// Files in the directory that are not segments; left alone.
    pub strays: Vec<FileName>,
}

impl Recovery {
    /// What is left of a group, also of one that is not in the log.
    #[must_use]
    pub fn group(&self, id: GroupId) -> GroupLog {
        let known = self.groups.get(&id).cloned();
        known.unwrap_or_else(|| self.nothing_of_a_group())
    }

    /// As [`Self::group`], taken out: it may be long.
    #[must_use]
    pub fn take_group(&mut self, id: GroupId) -> GroupLog {
        let known = self.groups.remove(&id);
        known.unwrap_or_else(|| self.nothing_of_a_group())
    }

    fn nothing_of_a_group(&self) -> GroupLog {
        GroupLog {
            vote_lost: self.unattributed,
            ..GroupLog::default()
        }
    }
}

/// What a running log begins with.
pub(super) struct Found {
    pub owner: NodeId,
    pub recovery: Recovery,
    pub groups: BTreeMap<GroupId, Group>,
    pub marks_due: BTreeSet<GroupId>,
    pub segments: Vec<Segment>,
    /// Files that hold nothing of the log.
    pub spare: Vec<Spare>,
    pub start: u64,
    pub next_frame: u64,
    pub flushed: u64,
    pub next_segment: u64,
    pub next_file: u64,
    /// Segment headers to write again: file, copies, header. An opening that adopts a segment
    /// whose header a crash spoilt would otherwise leave it for the next one to take for damage.
    pub headers_due: Vec<(FileName, Vec<u8>, SegmentHeader)>,
    /// Frames to write again, each with its payload: all that were adopted without a proof that
    /// they are durable, in order.
    pub again: Vec<(FrameHeader, Vec<u8>)>,
    /// Files that hold nothing else, and their lengths; free once those are durable.
    pub superseded: Vec<(FileName, u64)>,
}

/// A file that holds nothing of the log.
pub(super) struct Spare {
    pub file: FileName,
    pub length: u64,
    pub free: Free,
}

/// When a file that holds nothing of the log may be written over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Free {
    /// Before the first flush: what takes the place of its content, if anything does, is known to
    /// be durable.
    AtOnce,
    /// After the first flush, which makes durable what takes the place of its content.
    Flushed,
    /// After a frame of this life is durable. That its content is superseded was said by a frame
    /// that is not known to be durable: a crash may take that back, and the file counts again.
    Said,
}

impl Found {
    fn adopt(&mut self, scanned: Scanned) {
        let file = scanned.file;
        let mut copies = scanned.header_copies_bad;
        if scanned.first > self.flushed {
            copies = (0..SEGMENT_HEADER_COPIES as u8).collect();
        }
        if !copies.is_empty() {
            let header = SegmentHeader {
                version: FORMAT_VERSION,
                owner: self.owner,
                number: scanned.number,
                salt: scanned.salt,
                first: scanned.first,
                flushed: scanned.flushed.min(scanned.first - 1),
                start: scanned.start,
                length: scanned.declared.max(scanned.length),
                again_through: scanned.again_through.unwrap_or(0),
            };
            self.headers_due.push((file.clone(), copies, header));
        }
        self.segments.push(Segment {
            number: scanned.number,
            file,
            first: scanned.first,
            length: scanned.length,
        });
    }
}

/// One file, as far as it can be understood.
struct Scanned {
    file: FileName,
    length: u64,
    /// Length that the header speaks of; 0 when no header could be read.
    declared: u64,
    number: u64,
    salt: u64,
    first: u64,
    flushed: u64,
    start: u64,
    /// It begins with frames that were written again, through this one; `u64::MAX` when the header
    /// that said so is gone, and with the first frame any sign of whether it does.
    again_through: Option<u64>,
    header_copies_bad: Vec<u8>,
    frames: Vec<FrameHeader>,
    /// Frames (by number) whose payload is not what was written.
    torn: BTreeSet<u64>,
    unreadable: Vec<Range<u64>>,
}

struct Judged {
    frames: Vec<Read>,
    lost: Vec<Lost>,
    damage: Vec<Damage>,
    tail: Tail,
    start: u64,
    flushed: u64,
    next_frame: u64,
    /// By scanned file: whether it holds part of the log.
    live: Vec<bool>,
}

/// Reads and judges everything on the disk. Changes nothing.
pub(super) fn recover<D: Disk>(disk: &D, options: &WalOptions) -> Result<Found, WalError> {
    let mut strays = Vec::new();
    let mut spare = Vec::new();
    let mut damage = Vec::new();
    let mut scanned: Vec<Scanned> = Vec::new();
    let mut blind = None;
    let mut next_file = 1;
    for (file, length) in disk.list()? {
        let number = segment::file_number(&file);
        let Some(number) = number.filter(|_| length <= u64::from(SEGMENT_BYTES_MAX)) else {
            strays.push(file);
            continue;
        };
        next_file = next_file.max(number.saturating_add(1));
        let (bytes, unreadable) = read_file(disk, &file, length)?;
        for range in &unreadable {
            let what = What::Unreadable {
                length: range.end - range.start,
            };
            damage.push(damage_at(&file, range.start, what));
        }
        match scan(disk, options, &file, bytes, unreadable.clone())? {
            Some(found) => scanned.push(found),
            None => {
                if let Some(range) = unreadable.first() {
                    blind = Some((file.clone(), range.start));
                }
                spare.push(Spare {
                    file,
                    length,
                    free: Free::AtOnce,
                });
            }
        }
    }
    let next_segment = scanned.iter().map(|s| s.number).max().unwrap_or(0) + 1;
    drop_duplicates(&mut scanned, &mut damage, &mut spare);
    let proof = drop_unfinished(&mut scanned, &mut spare);
    let flushed_at_least = scanned.iter().map(Scanned::proof).fold(proof, higher);
    #[cfg(feature = "planted-bugs")]
    let flushed_at_least = match options.bug {
        Some(crate::planted::Bug::DamageTakenForTornTail) => (0, flushed_at_least.1),
        _ => flushed_at_least,
    };
    let judged = judge(&scanned, flushed_at_least, blind, damage);
    Ok(conclude(
        disk,
        scanned,
        judged,
        Found {
            owner: options.owner,
            recovery: Recovery {
                groups: BTreeMap::new(),
                tail: Tail::Clean,
                damage: Vec::new(),
                unattributed: false,
                strays,
            },
            groups: BTreeMap::new(),
            marks_due: BTreeSet::new(),
            segments: Vec::new(),
            spare,
            start: 1,
            next_frame: 1,
            flushed: 0,
            next_segment,
            next_file,
            headers_due: Vec::new(),
            again: Vec::new(),
            superseded: Vec::new(),
        },
    ))
}

/// Reads a whole file; where the disk cannot, page by page, with zeros for what stays unreadable.
fn read_file<D: Disk>(
    disk: &D,
    file: &str,
    length: u64,
) -> Result<(Vec<u8>, Vec<Range<u64>>), WalError> {
    let mut bytes = vec![0; length as usize];
    for _ in 0..READ_ATTEMPTS {
        match disk.read(file, 0, &mut bytes) {
            Ok(()) => return Ok((bytes, Vec::new())),
            Err(DiskError::Io { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mut unreadable: Vec<Range<u64>> = Vec::new();
    for (page, into) in bytes.chunks_mut(PAGE_BYTES).enumerate() {
        let offset = (page * PAGE_BYTES) as u64;
        if (0..READ_ATTEMPTS).any(|_| disk.read(file, offset, into).is_ok()) {
            continue;
        }
        into.fill(0);
        let end = offset + into.len() as u64;
        match unreadable.last_mut() {
            Some(range) if range.end == offset => range.end = end,
            _ => unreadable.push(offset..end),
        }
    }
    Ok((bytes, unreadable))
}

/// Reads a piece of a file again; what was read before stays when the disk refuses.
fn read_again<D: Disk>(disk: &D, file: &str, bytes: &mut [u8], range: Range<usize>) {
    let offset = range.start as u64;
    let mut again = vec![0; range.len()];
    if let Some(into) = bytes.get_mut(range)
        && disk.read(file, offset, &mut again).is_ok()
    {
        into.copy_from_slice(&again);
    }
}

/// Finds out what a file is and which frames stand in it; `None` when it is no segment.
fn scan<D: Disk>(
    disk: &D,
    options: &WalOptions,
    file: &str,
    mut bytes: Vec<u8>,
    unreadable: Vec<Range<u64>>,
) -> Result<Option<Scanned>, WalError> {
    let length = bytes.len() as u64;
    let mut copies = Vec::new();
    for copy in 0..SEGMENT_HEADER_COPIES {
        let header = read_segment_header(disk, file, &mut bytes, copy * PAGE_BYTES);
        if let Some(header) = &header {
            refuse_foreign(options, file, header)?;
        }
        copies.push(header);
    }
    let header = copies
        .iter()
        .flatten()
        .max_by_key(|header| header.number)
        .cloned();
    // A copy that a crash left from the file's last use is as bad as an unreadable one.
    let bad = (0..)
        .zip(&copies)
        .filter(|(_, copy)| copy.is_none() || **copy != header);
    let bad = bad.map(|(at, _)| at).collect();
    let declared = header.as_ref().map_or(0, |header| header.length);
    let again_through = match &header {
        Some(header) => Some(header.again_through).filter(|through| *through > 0),
        None => None,
    };
    let headless = header.is_none();
    let (number, salt, first, flushed, start) = match header {
        Some(header) => (
            header.number,
            header.salt,
            header.first,
            header.flushed,
            header.start,
        ),
        None => {
            // No checksum says whether a frame was overlooked.
            let (again, _) = read_file(disk, file, length)?;
            let frames = [newest_frame(&bytes), newest_frame(&again)];
            let newest = frames.into_iter().flatten();
            let Some(frame) = newest.max_by_key(|frame| frame.segment) else {
                return Ok(None);
            };
            (frame.segment, frame.salt, frame.segment_first, 0, 1)
        }
    };
    let mut found = Scanned {
        file: file.into(),
        length,
        declared,
        number,
        salt,
        first,
        flushed,
        start,
        again_through,
        header_copies_bad: bad,
        frames: Vec::new(),
        torn: BTreeSet::new(),
        unreadable,
    };
    found.scan_frames(disk, &mut bytes);
    let begins = found.frames.first();
    if headless && begins.is_none_or(|frame| frame.again || frame.seq != found.first) {
        found.again_through = Some(u64::MAX);
    }
    Ok(Some(found))
}

fn read_segment_header<D: Disk>(
    disk: &D,
    file: &str,
    bytes: &mut [u8],
    at: usize,
) -> Option<SegmentHeader> {
    for _ in 0..CHECK_ATTEMPTS {
        let header = bytes.get(at..).and_then(SegmentHeader::parse);
        if header.is_some() {
            return header;
        }
        read_again(disk, file, bytes, at..at + SEGMENT_HEADER_BYTES);
    }
    None
}

fn refuse_foreign(
    options: &WalOptions,
    file: &str,
    header: &SegmentHeader,
) -> Result<(), WalError> {
    let reason = if header.version > FORMAT_VERSION {
        format!(
            "it has format version {}, this program reads up to {FORMAT_VERSION}",
            header.version
        )
    } else if header.owner != options.owner {
        format!(
            "it belongs to node {}, this is {}",
            header.owner, options.owner
        )
    } else {
        return Ok(());
    };
    Err(WalError::Foreign {
        file: file.into(),
        reason,
    })
}

/// The frame of the newest segment that stands in the file, for when the file does not say.
fn newest_frame(bytes: &[u8]) -> Option<FrameHeader> {
    (DATA_START..bytes.len())
        .step_by(FRAME_ALIGN)
        .filter_map(|at| frame_at(bytes, at))
        .max_by_key(|header| header.segment)
}

/// The frame header at this place of a file, if one stands there and belongs there.
fn frame_at(bytes: &[u8], at: usize) -> Option<FrameHeader> {
    let header = FrameHeader::parse(bytes.get(at..)?)?;
    (header.offset as usize == at).then_some(header)
}

impl Scanned {
    /// Follows the frames of this segment, finding the thread again after an unreadable one.
    fn scan_frames<D: Disk>(&mut self, disk: &D, bytes: &mut [u8]) {
        let mut at = DATA_START;
        let mut retried = usize::MAX;
        while at + FRAME_HEADER_BYTES <= bytes.len() {
            let Some(header) = self.own_frame(bytes, at) else {
                if self.expects_frame(at) && retried != at {
                    retried = at;
                    for _ in 1..CHECK_ATTEMPTS {
                        if self.own_frame(bytes, at).is_none() {
                            read_again(disk, &self.file, bytes, at..at + FRAME_HEADER_BYTES);
                        }
                    }
                    continue;
                }
                at += FRAME_ALIGN;
                continue;
            };
            at += header.stride as usize;
            if !self.payload_holds(disk, bytes, &header) {
                self.torn.insert(header.seq);
            }
            self.frames.push(header);
        }
    }

    /// The highest `flushed` and `start` that it states.
    fn proof(&self) -> (u64, u64) {
        let stated = self.frames.iter().map(|frame| (frame.flushed, frame.start));
        stated.fold((self.flushed, self.start), higher)
    }

    /// Whether the frame before ends here, so that one more should stand here or none at all.
    fn expects_frame(&self, at: usize) -> bool {
        self.frames.last().map_or(DATA_START, end_of) == at
    }

    /// The frame at this place, if it is of this segment and newer than the ones before.
    fn own_frame(&self, bytes: &[u8], at: usize) -> Option<FrameHeader> {
        let header = frame_at(bytes, at)?;
        let own = header.segment == self.number
            && header.salt == self.salt
            && header.segment_first == self.first
            && self.frames.last().is_none_or(|last| last.seq < header.seq);
        own.then_some(header)
    }

    fn payload_holds<D: Disk>(&self, disk: &D, bytes: &mut [u8], header: &FrameHeader) -> bool {
        let range = payload_of(header);
        for _ in 0..CHECK_ATTEMPTS {
            match bytes.get(range.clone()) {
                None => return false,
                Some(payload) if crc32c::crc32c(payload) == header.payload_crc => return true,
                Some(_) => {}
            }
            read_again(disk, &self.file, bytes, range.clone());
        }
        false
    }
}

fn end_of(header: &FrameHeader) -> usize {
    header.offset as usize + header.stride as usize
}

fn payload_of(header: &FrameHeader) -> Range<usize> {
    let from = header.offset as usize + FRAME_HEADER_BYTES;
    from..from + header.length as usize
}

fn damage_at(file: &str, offset: u64, what: What) -> Damage {
    Damage {
        file: file.into(),
        offset,
        what,
    }
}

/// Sorts by number. Of two files with the same one, the one that knows more stays.
fn drop_duplicates(scanned: &mut Vec<Scanned>, damage: &mut Vec<Damage>, spare: &mut Vec<Spare>) {
    scanned.sort_by(|a, b| {
        let worth = |s: &Scanned| {
            let flushed = s.frames.iter().map(|frame| frame.flushed).max();
            (
                s.header_copies_bad.len() < SEGMENT_HEADER_COPIES,
                flushed,
                s.frames.len(),
            )
        };
        (a.number, worth(b)).cmp(&(b.number, worth(a)))
    });
    let mut last = None;
    scanned.retain(|found| {
        let again = last == Some(found.number);
        last = Some(found.number);
        if again {
            let what = What::Duplicate {
                segment: found.number,
            };
            damage.push(damage_at(&found.file, 0, what));
            spare.push(Spare {
                file: found.file.clone(),
                length: found.length,
                free: Free::Flushed,
            });
        }
        !again
    });
}

/// Takes out what openings began to write again and did not finish: nothing rests on it, and the
/// frames that it repeats still stand where they stood. It is finished when all of it is there, or
/// when a later frame says that it was durable. Whether a segment without its header and its first
/// frame repeats anything is not known; nothing rests on it either, unless that frame was durable.
///
/// What the frames taken out say is true nevertheless: `flushed` and `start` are returned.
fn drop_unfinished(scanned: &mut Vec<Scanned>, spare: &mut Vec<Spare>) -> (u64, u64) {
    let mut proof = (0, 1);
    let mut at = 0;
    while at < scanned.len() {
        let Some(through) = scanned[at].again_through else {
            at += 1;
            continue;
        };
        let first = scanned[at].first;
        let goes_on = |pair: &[Scanned]| {
            pair[1].again_through == Some(through)
                && pair[1].number == pair[0].number + 1
                && pair[1].first > first
        };
        let more = scanned[at..].windows(2).take_while(|pair| goes_on(pair));
        let end = at + 1 + more.count();
        let is_proven = scanned[at..].iter().any(|found| found.proof().0 >= first);
        if is_proven || is_whole(&scanned[at..end], first, through) {
            at = end;
            continue;
        }
        for found in scanned.drain(at..end) {
            proof = higher(proof, found.proof());
            spare.push(Spare {
                file: found.file,
                length: found.length,
                free: Free::AtOnce,
            });
        }
    }
    proof
}

fn higher(a: (u64, u64), b: (u64, u64)) -> (u64, u64) {
    (a.0.max(b.0), a.1.max(b.1))
}

/// Whether all frames from `first` through `through` stand in these segments, one after the other.
fn is_whole(scanned: &[Scanned], first: u64, through: u64) -> bool {
    let mut next = first;
    for found in scanned {
        for frame in &found.frames {
            if next > through {
                return true;
            }
            if frame.seq != next || found.torn.contains(&frame.seq) {
                return false;
            }
            next += 1;
        }
    }
    next > through
}

/// Walks through all frames in order and tells what is whole, damaged, lost or dropped.
fn judge(
    scanned: &[Scanned],
    (flushed, start): (u64, u64),
    blind: Option<(FileName, u64)>,
    damage: Vec<Damage>,
) -> Judged {
    let mut judged = Judged {
        frames: Vec::new(),
        lost: Vec::new(),
        damage,
        tail: Tail::Clean,
        start,
        flushed,
        next_frame: start,
        live: vec![false; scanned.len()],
    };
    let ends = effective_ends(scanned);
    let mut place = (FileName::new(), 0);
    let mut dropped = 0;
    let mut cut = false;
    for (at, found) in scanned.iter().enumerate() {
        let range = found.first.max(start)..ends[at];
        if range.is_empty() {
            continue;
        }
        if !cut && found.first <= flushed + 1 && judged.next_frame < found.first {
            // What is missing up to here stood at the end of the segment before.
            judged.lose(found.first - 1, &place);
        }
        if !cut && found.first <= judged.next_frame {
            place = (found.file.clone(), DATA_START as u64);
        }
        for frame in &found.frames {
            if frame.seq < range.start {
                place = (found.file.clone(), end_of(frame) as u64);
                continue;
            }
            if frame.seq >= range.end {
                break;
            }
            cut = cut || !judged.accept(at, found, frame, &place);
            if cut {
                dropped += 1;
            } else {
                place = (found.file.clone(), end_of(frame) as u64);
            }
        }
    }
    if judged.next_frame <= flushed {
        judged.lose(flushed, &place);
    }
    if let Some(half) = judged.drop_half_a_vote() {
        dropped += 1;
        place = (
            scanned[half.file].file.clone(),
            u64::from(half.header.offset),
        );
    }
    if dropped > 0 {
        let (file, offset) = place.clone();
        judged.tail = Tail::Torn {
            file,
            offset,
            dropped,
        };
    }
    judged.look_into_the_dark(scanned, blind, place);
    judged.mark_live(scanned, &ends);
    judged
}

/// For each segment the frame at which it ends because a later one begins there.
fn effective_ends(scanned: &[Scanned]) -> Vec<u64> {
    ends_by(scanned, |_| true)
}

/// As [`effective_ends`], without those that were written again and are not known to be durable:
/// such a one may be whole in the system's cache alone, and what it repeats is kept until a flush
/// has ended.
fn durable_ends(scanned: &[Scanned], flushed: u64) -> Vec<u64> {
    ends_by(scanned, |found| {
        found.again_through.is_none() || found.first <= flushed
    })
}

fn ends_by(scanned: &[Scanned], counts: impl Fn(&Scanned) -> bool) -> Vec<u64> {
    let mut ends = vec![u64::MAX; scanned.len()];
    let mut end = u64::MAX;
    for (at, found) in scanned.iter().enumerate().rev() {
        ends[at] = end;
        if counts(found) {
            end = end.min(found.first);
        }
    }
    ends
}

impl Judged {
    /// Takes the next readable frame; false when the log ends before it.
    fn accept(
        &mut self,
        at: usize,
        found: &Scanned,
        frame: &FrameHeader,
        place: &(FileName, u64),
    ) -> bool {
        if frame.seq > self.next_frame {
            if self.next_frame <= self.flushed {
                self.lose((frame.seq - 1).min(self.flushed), place);
            }
            if frame.seq > self.next_frame {
                return false;
            }
        }
        let whole = !found.torn.contains(&frame.seq);
        if !whole {
            if frame.seq > self.flushed {
                return false;
            }
            let what = What::Payload {
                group: frame.group,
                kind: frame.kind,
                id: frame.id,
            };
            let offset = u64::from(frame.offset);
            self.damage.push(damage_at(&found.file, offset, what));
        }
        self.next_frame = frame.seq + 1;
        self.frames.push(Read {
            header: frame.clone(),
            whole,
            file: at,
        });
        true
    }

    /// Frames from the next one through `last` were flushed and are not there.
    fn lose(&mut self, last: u64, place: &(FileName, u64)) {
        let first = self.next_frame;
        match self.lost.last_mut() {
            Some(before) if before.last + 1 == first => before.last = last,
            _ => self.lost.push(Lost { first, last }),
        }
        let what = What::Frames { first, last };
        self.damage.push(damage_at(&place.0, place.1, what));
        self.next_frame = last + 1;
    }

    /// The first copy of a vote at the end, without the second, was never acknowledged. It goes, so
    /// that the frame behind a first copy is always its second.
    fn drop_half_a_vote(&mut self) -> Option<Read> {
        let half = self.frames.pop_if(|last| {
            let header = &last.header;
            let first_copy = header.kind == Kind::Vote && header.detail == 0;
            first_copy && header.seq > self.flushed && header.seq + 1 == self.next_frame
        })?;
        self.next_frame = half.header.seq;
        Some(half)
    }

    /// Where the disk could not read the place at which the log seems to end, more may have stood.
    fn look_into_the_dark(
        &mut self,
        scanned: &[Scanned],
        blind: Option<(FileName, u64)>,
        place: (FileName, u64),
    ) {
        let at_end = scanned.iter().find(|found| found.file == place.0);
        let dark_end = at_end.and_then(|found| {
            let cut_short = found.length < found.declared && found.first <= self.flushed;
            let missing = cut_short.then_some(found.length..found.declared);
            let range = found
                .unreadable
                .iter()
                .chain(&missing)
                .find(|r| r.end > place.1)?;
            Some((found.file.clone(), range.start.max(place.1)))
        });
        if let Some((file, offset)) = dark_end.or(blind) {
            // Two frames stand for an unknown number: of one alone it could turn out whose it was.
            self.lose(self.next_frame + 1, &(file.clone(), offset));
            self.tail = Tail::Unreadable { file, offset };
        }
    }

    /// The highest `start` that a frame states which is known to be durable.
    fn proven_start(&self) -> u64 {
        let frames = self.frames.iter();
        let proven = frames.take_while(|read| read.header.seq <= self.flushed);
        proven.map(|read| read.header.start).max().unwrap_or(1)
    }

    /// When the file of a segment may be written over that ends before this frame and holds nothing
    /// of the log.
    fn when_free(&self, end: u64, proven_start: u64) -> Free {
        if end <= proven_start {
            Free::AtOnce
        } else if end <= self.start {
            Free::Said
        } else {
            Free::Flushed
        }
    }

    /// Marks the segments that hold part of the log, and reports what their headers lost.
    fn mark_live(&mut self, scanned: &[Scanned], ends: &[u64]) {
        for (at, found) in scanned.iter().enumerate() {
            let end = ends[at].min(self.next_frame);
            if found.first.max(self.start) >= end {
                continue;
            }
            self.live[at] = true;
            if found.first > self.flushed {
                continue;
            }
            if found.length < found.declared {
                let what = What::CutShort {
                    length: found.declared,
                };
                self.damage.push(damage_at(&found.file, found.length, what));
            }
            match found.header_copies_bad[..] {
                [] => {}
                [copy] => {
                    let offset = u64::from(copy) * PAGE_BYTES as u64;
                    let what = What::SegmentHeader { copy };
                    self.damage.push(damage_at(&found.file, offset, what));
                }
                _ => self
                    .damage
                    .push(damage_at(&found.file, 0, What::SegmentHeaders)),
            }
        }
    }
}

/// Replays what was judged, and reads the payloads that still count.
fn conclude<D: Disk>(
    disk: &D,
    scanned: Vec<Scanned>,
    mut judged: Judged,
    mut found: Found,
) -> Found {
    let (replayed, unattributed) = replay::replay(&judged.frames, &judged.lost, judged.start);
    found.again = unproven(disk, &scanned, &judged);
    // From here on frames stand where they are written again.
    let moved = found.again.first().map_or(u64::MAX, |(first, _)| first.seq);
    let mut loader = Loader::new(disk);
    for (id, replayed) in replayed {
        let (copies, marked) = (replayed.vote_copies, replayed.marked);
        let (group, log) = replay::settle(
            replayed,
            |at| scanned[at].first.min(moved),
            |read| loader.load(&scanned[read.file], &read.header),
        );
        let vote_is_single = group.vote.is_some() && copies < 2;
        let loss_is_new = (group.vote_lost || group.tail_lost) && !marked;
        if id == OWN_GROUP {
            if unattributed && !group.vote_lost {
                found.marks_due.insert(id);
            }
            found
                .groups
                .insert(id, Group::of_the_log(&group, unattributed));
            continue;
        }
        if vote_is_single || loss_is_new {
            found.marks_due.insert(id);
        }
        found.groups.insert(id, group);
        found.recovery.groups.insert(id, log);
    }
    if unattributed && !found.groups.contains_key(&OWN_GROUP) {
        found
            .groups
            .insert(OWN_GROUP, Group::of_the_log(&Group::default(), true));
        found.marks_due.insert(OWN_GROUP);
    }
    found.flushed = judged.flushed;
    let ends = durable_ends(&scanned, judged.flushed);
    let proven_start = judged.proven_start();
    for (at, scanned) in scanned.into_iter().enumerate() {
        if judged.live[at] && scanned.first >= moved {
            found.superseded.push((scanned.file, scanned.length));
        } else if judged.live[at] {
            found.adopt(scanned);
        } else {
            found.spare.push(Spare {
                file: scanned.file,
                length: scanned.length,
                free: judged.when_free(ends[at], proven_start),
            });
        }
    }
    judged
        .damage
        .sort_by(|a, b| (&a.file, a.offset).cmp(&(&b.file, b.offset)));
    found.recovery.damage = judged.damage;
    found.recovery.tail = judged.tail;
    found.recovery.unattributed = unattributed;
    found.start = judged.start;
    found.next_frame = judged.next_frame;
    found
}

/// What was adopted above the highest proof of durability, with its payloads; nothing when one of
/// them cannot be read twice alike.
fn unproven<D: Disk>(
    disk: &D,
    scanned: &[Scanned],
    judged: &Judged,
) -> Vec<(FrameHeader, Vec<u8>)> {
    let mut loader = Loader::new(disk);
    let mut again = Vec::new();
    for read in judged
        .frames
        .iter()
        .filter(|read| read.header.seq > judged.flushed)
    {
        let file = &scanned[read.file];
        let Some(payload) = loader.load(file, &read.header) else {
            tracing::warn!(
                file = file.file,
                "cannot read the end of the log twice alike"
            );
            return Vec::new();
        };
        again.push((read.header.clone(), payload));
    }
    again
}

/// Reads payloads again, many with one read: they follow each other, mostly.
struct Loader<'d, D> {
    disk: &'d D,
    file: FileName,
    from: u64,
    piece: Vec<u8>,
}

impl<'d, D: Disk> Loader<'d, D> {
    fn new(disk: &'d D) -> Self {
        Self {
            disk,
            file: FileName::new(),
            from: 0,
            piece: Vec::new(),
        }
    }

    /// The payload of a frame, when it is what was written.
    fn load(&mut self, found: &Scanned, header: &FrameHeader) -> Option<Vec<u8>> {
        if self.range_of(found, header).is_none() {
            self.turn_to(found, header);
        }
        let payload = self.range_of(found, header).map(|at| &self.piece[at]);
        match payload {
            Some(payload) if crc32c::crc32c(payload) == header.payload_crc => {
                Some(payload.to_vec())
            }
            _ => load(self.disk, &found.file, header),
        }
    }

    /// Where the payload stands in the piece.
    fn range_of(&self, found: &Scanned, header: &FrameHeader) -> Option<Range<usize>> {
        let payload = payload_of(header);
        let from = usize::try_from(self.from).ok()?;
        let range = payload.start.checked_sub(from)?..payload.end.checked_sub(from)?;
        (self.file == found.file && range.end <= self.piece.len()).then_some(range)
    }

    /// Reads the piece of a file that begins with this payload. One that cannot be read is empty.
    fn turn_to(&mut self, found: &Scanned, header: &FrameHeader) {
        let payload = payload_of(header);
        self.from = payload.start as u64;
        let left = usize::try_from(found.length.saturating_sub(self.from)).unwrap_or(usize::MAX);
        self.piece
            .resize(payload.len().max(PIECE_BYTES).min(left), 0);
        self.file.clone_from(&found.file);
        if self
            .disk
            .read(&found.file, self.from, &mut self.piece)
            .is_err()
        {
            self.piece.clear();
        }
    }
}

fn load<D: Disk>(disk: &D, file: &str, header: &FrameHeader) -> Option<Vec<u8>> {
    let mut payload = vec![0; header.length as usize];
    let offset = u64::from(header.offset) + FRAME_HEADER_BYTES as u64;
    (0..CHECK_ATTEMPTS).find_map(|_| {
        disk.read(file, offset, &mut payload).ok()?;
        (crc32c::crc32c(&payload) == header.payload_crc).then(|| payload.clone())
    })
}

const _: () = assert!(
    DATA_START >= 2 * PAGE_BYTES,
    "copies of the segment header stand in different pages"
);
