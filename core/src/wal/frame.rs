//! The bytes of the log: segment headers and frame headers, written and parsed.
//!
//! Knows layout and checksums; what a missing or damaged frame means is judged in `recover`.
//! The layout is drawn in `docs/protocols/wal.md`. Everything is little-endian.

use crate::id::{GroupId, LogIndex, NodeId, Term};
use crate::limits::PAGE_BYTES;
use crate::wal::record::LogId;

/// Bytes in front of every payload.
pub(super) const FRAME_HEADER_BYTES: usize = 112;
/// Frames begin at multiples of this.
pub(super) const FRAME_ALIGN: usize = 16;
/// Bytes of a segment header; two copies stand at the beginnings of the first two pages.
pub(super) const SEGMENT_HEADER_BYTES: usize = 80;
/// Copies of the segment header, each in a page of its own.
pub(super) const SEGMENT_HEADER_COPIES: usize = 2;
/// Where the first frame of a segment begins.
pub(super) const DATA_START: usize = SEGMENT_HEADER_COPIES * PAGE_BYTES;
/// Version of the layout.
pub(super) const FORMAT_VERSION: u16 = 2;
/// The group under which the log keeps facts about itself.
pub(super) const OWN_GROUP: GroupId = GroupId(u32::MAX);

const FRAME_MAGIC: u32 = 0x4C57_466D; // "mFWL"
const SEGMENT_MAGIC: u32 = 0x4753_466D; // "mFSG"
/// Counters above this are refused when read, so that sums of them cannot overflow.
pub(super) const COUNTER_MAX: u64 = 1 << 62;

const _: () = assert!(
    FRAME_HEADER_BYTES.is_multiple_of(FRAME_ALIGN) && DATA_START.is_multiple_of(FRAME_ALIGN),
    "frames follow each other on their alignment"
);
const _: () = assert!(
    SEGMENT_HEADER_BYTES <= PAGE_BYTES,
    "a header copy fits its page"
);

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An entry, next after the last of its group.
    Entry,
    /// An entry fetched from a peer, in place of a damaged one.
    Replacement,
    /// Entries after an index are gone.
    Truncate,
    /// Entries up to an id may be forgotten.
    Purge,
    /// A vote.
    Vote,
    /// A commit mark.
    Committed,
    /// Nothing: carries the log's own counters.
    Note,
    /// Something of the group was lost: its vote, or entries at its end.
    Lost,
    /// The owner says that what was lost at the end of the group is made good.
    Healed,
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::Entry,
        Self::Replacement,
        Self::Truncate,
        Self::Purge,
        Self::Vote,
        Self::Committed,
        Self::Note,
        Self::Lost,
        Self::Healed,
    ];

    fn code(self) -> u8 {
        match self {
            Self::Entry => 1,
            Self::Replacement => 2,
            Self::Truncate => 3,
            Self::Purge => 4,
            Self::Vote => 5,
            Self::Committed => 6,
            Self::Note => 7,
            Self::Lost => 8,
            Self::Healed => 9,
        }
    }

    fn of_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

/// What stands in front of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    /// Number of the frame in the whole log, rising by one from 1.
    pub seq: u64,
    /// Number of the segment.
    pub segment: u64,
    /// The segment's first frame.
    pub segment_first: u64,
    /// The segment's salt: tells this use of the file from every other.
    pub salt: u64,
    /// Where in the file the frame begins: a frame elsewhere is not this frame.
    pub offset: u32,
    /// Bytes from the beginning of this frame to the beginning of the next.
    pub stride: u32,
    /// Bytes of payload.
    pub length: u32,
    /// CRC-32C of the payload.
    pub payload_crc: u32,
    /// Highest frame known to be durable when this one was made.
    pub flushed: u64,
    /// First frame that still matters; everything below is superseded, durably.
    pub start: u64,
    /// The frame of the same group before this one; 0 for the first.
    pub group_prev: u64,
    /// Entry, purge, commit mark: the id. Truncate: the index that stays. Lost: last known index.
    pub id: LogId,
    /// The group.
    pub group: GroupId,
    /// What it is.
    pub kind: Kind,
    /// Vote: which copy, 0 or 1. Lost: bit 0 the vote is lost, bit 1 the end of the log is.
    pub detail: u8,
    /// It was made by an opening, of a frame that nothing proved to be durable.
    pub again: bool,
}

impl FrameHeader {
    /// Writes the header over the first bytes of `into`.
    pub fn encode(&self, into: &mut [u8]) {
        let into = &mut into[..FRAME_HEADER_BYTES];
        into.fill(0);
        put_u32(into, 0, FRAME_MAGIC);
        put_u64(into, 8, self.seq);
        put_u64(into, 16, self.segment);
        put_u64(into, 24, self.salt);
        put_u32(into, 32, self.offset);
        put_u32(into, 36, self.stride);
        put_u32(into, 40, self.length);
        put_u32(into, 44, self.payload_crc);
        put_u64(into, 48, self.flushed);
        put_u64(into, 56, self.start);
        put_u64(into, 64, self.group_prev);
        put_u64(into, 72, self.id.term.0);
        put_u64(into, 80, self.id.leader.0);
        put_u64(into, 88, self.id.index.0);
        put_u32(into, 96, self.group.0);
        into[100] = self.kind.code();
        into[101] = self.detail;
        into[102] = u8::from(self.again);
        put_u64(into, 104, self.segment_first);
        let crc = crc32c::crc32c(into);
        put_u32(into, 4, crc);
    }

    /// The header at the beginning of `bytes`, if there is one that its checksum confirms and
    /// whose fields are possible.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..FRAME_HEADER_BYTES)?;
        if get_u32(bytes, 0) != FRAME_MAGIC || !checksum_holds(bytes) {
            return None;
        }
        let header = Self {
            seq: get_u64(bytes, 8),
            segment: get_u64(bytes, 16),
            segment_first: get_u64(bytes, 104),
            salt: get_u64(bytes, 24),
            offset: get_u32(bytes, 32),
            stride: get_u32(bytes, 36),
            length: get_u32(bytes, 40),
            payload_crc: get_u32(bytes, 44),
            flushed: get_u64(bytes, 48),
            start: get_u64(bytes, 56),
            group_prev: get_u64(bytes, 64),
            id: LogId {
                term: Term(get_u64(bytes, 72)),
                leader: NodeId(get_u64(bytes, 80)),
                index: LogIndex(get_u64(bytes, 88)),
            },
            group: GroupId(get_u32(bytes, 96)),
            kind: Kind::of_code(bytes[100])?,
            detail: bytes[101],
            again: bytes[102] == 1,
        };
        header.is_possible().then_some(header)
    }

    fn is_possible(&self) -> bool {
        let body = FRAME_HEADER_BYTES as u64 + u64::from(self.length);
        (1..COUNTER_MAX).contains(&self.seq)
            && (1..COUNTER_MAX).contains(&self.segment)
            && (1..=self.seq).contains(&self.segment_first)
            && self.flushed < self.seq
            && (1..=self.seq).contains(&self.start)
            && self.group_prev < self.seq
            && self.id.index.0 < COUNTER_MAX
            && u64::from(self.stride) >= body
            && (self.stride as usize).is_multiple_of(FRAME_ALIGN)
            && self.detail < 4
            && (self.kind != Kind::Vote || self.detail < 2)
    }
}

/// What stands at the beginning of a segment, twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// Version of the layout.
    pub version: u16,
    /// The node whose log this is.
    pub owner: NodeId,
    /// Number of the segment, rising with every segment of the log.
    pub number: u64,
    /// Tells this use of the file from every other.
    pub salt: u64,
    /// Number of the first frame: earlier segments end below it, whatever stands in them.
    pub first: u64,
    /// Highest frame known to be durable when the segment was begun.
    pub flushed: u64,
    /// First frame that still matters.
    pub start: u64,
    /// Bytes of the file: a shorter one was cut.
    pub length: u64,
    /// Frames from `first` through this one are written again, by an opening; 0 when none is.
    pub again_through: u64,
}

impl SegmentHeader {
    /// Writes the header over the first bytes of `into`.
    pub fn encode(&self, into: &mut [u8]) {
        let into = &mut into[..SEGMENT_HEADER_BYTES];
        into.fill(0);
        put_u32(into, 0, SEGMENT_MAGIC);
        into[8..10].copy_from_slice(&self.version.to_le_bytes());
        put_u64(into, 16, self.owner.0);
        put_u64(into, 24, self.number);
        put_u64(into, 32, self.salt);
        put_u64(into, 40, self.first);
        put_u64(into, 48, self.flushed);
        put_u64(into, 56, self.start);
        put_u64(into, 64, self.length);
        put_u64(into, 72, self.again_through);
        let crc = crc32c::crc32c(into);
        put_u32(into, 4, crc);
    }

    /// The header at the beginning of `bytes`, if there is one that its checksum confirms and
    /// whose fields are possible.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..SEGMENT_HEADER_BYTES)?;
        if get_u32(bytes, 0) != SEGMENT_MAGIC || !checksum_holds(bytes) {
            return None;
        }
        let header = Self {
            version: u16::from_le_bytes([bytes[8], bytes[9]]),
            owner: NodeId(get_u64(bytes, 16)),
            number: get_u64(bytes, 24),
            salt: get_u64(bytes, 32),
            first: get_u64(bytes, 40),
            flushed: get_u64(bytes, 48),
            start: get_u64(bytes, 56),
            length: get_u64(bytes, 64),
            again_through: get_u64(bytes, 72),
        };
        let possible = (1..COUNTER_MAX).contains(&header.number)
            && (1..COUNTER_MAX).contains(&header.first)
            && header.flushed < header.first
            && (1..=header.first).contains(&header.start)
            && header.again_through < COUNTER_MAX;
        possible.then_some(header)
    }
}

/// The next multiple of `to`, which is a power of two.
pub(super) fn round_up(value: usize, to: usize) -> usize {
    (value + to - 1) & !(to - 1)
}

/// The salt of a segment: unlike that of any other segment of this or another life of the log, as
/// far as 64 bits reach.
pub(super) fn salt_of(life: u64, number: u64) -> u64 {
    mix(life ^ mix(number))
}

/// The finalizer of SplitMix64: a bijection that spreads every bit.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Checks the checksum in bytes 4..8, which was computed with these as zeros.
fn checksum_holds(bytes: &[u8]) -> bool {
    let computed = crc32c::crc32c_append(
        crc32c::crc32c_append(crc32c::crc32c(&bytes[..4]), &[0; 4]),
        &bytes[8..],
    );
    computed == get_u32(bytes, 4)
}

fn put_u32(into: &mut [u8], at: usize, value: u32) {
    into[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn put_u64(into: &mut [u8], at: usize, value: u64) {
    into[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn get_u32(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn get_u64(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> FrameHeader {
        FrameHeader {
            seq: 9,
            segment: 2,
            segment_first: 6,
            salt: 77,
            offset: 8_192,
            stride: 128,
            length: 3,
            payload_crc: 5,
            flushed: 8,
            start: 1,
            group_prev: 7,
            id: LogId {
                term: Term(1),
                leader: NodeId(2),
                index: LogIndex(3),
            },
            group: GroupId(4),
            kind: Kind::Entry,
            detail: 0,
            again: true,
        }
    }

    #[test]
    fn headers_come_back_and_every_flipped_bit_is_noticed() {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        frame().encode(&mut bytes);
        assert_eq!(FrameHeader::parse(&bytes), Some(frame()));
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FrameHeader::parse(&bytes), None, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }

        let header = SegmentHeader {
            version: FORMAT_VERSION,
            owner: NodeId(3),
            number: 4,
            salt: 5,
            first: 6,
            flushed: 5,
            start: 2,
            length: 1 << 20,
            again_through: 9,
        };
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        header.encode(&mut bytes);
        assert_eq!(SegmentHeader::parse(&bytes), Some(header));
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::parse(&bytes), None, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn impossible_counters_are_refused_despite_a_good_checksum() {
        for change in [
            (|h: &mut FrameHeader| h.seq = u64::MAX) as fn(&mut FrameHeader),
            |h| h.flushed = h.seq,
            |h| h.group_prev = h.seq,
            |h| h.stride = 16,
            |h| h.id.index = LogIndex(u64::MAX),
            |h| h.start = 0,
        ] {
            let mut header = frame();
            change(&mut header);
            let mut bytes = [0; FRAME_HEADER_BYTES];
            header.encode(&mut bytes);
            assert_eq!(FrameHeader::parse(&bytes), None, "{header:?}");
        }
    }
}
