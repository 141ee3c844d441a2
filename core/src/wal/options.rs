//! What a log is opened with, and the bounds of it.

use crate::buggify::Buggify;
use crate::id::NodeId;
use crate::limits::{COMMAND_BYTES_MAX, PAGE_BYTES, SECTOR_BYTES};
use crate::wal::frame::{DATA_START, FRAME_HEADER_BYTES};

/// Shortest segment, bytes: the header's pages, and two more for a vote.
pub const SEGMENT_BYTES_MIN: u32 = 4 * PAGE_BYTES as u32;
/// Longest segment, bytes: recovery reads one whole.
pub const SEGMENT_BYTES_MAX: u32 = 1 << 30;

/// What a log is opened with. Lengths may differ from one opening to the next; the owner may not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalOptions {
    /// The node whose log this is; another node's segments are refused.
    pub owner: NodeId,
    /// Bytes of a segment; whole pages.
    pub segment_bytes: u32,
    /// Longest payload of an entry, bytes.
    pub record_bytes_max: usize,
    /// A batch begins at a multiple of this, bytes: what a torn write can spoil besides itself.
    /// A power of two from a sector to a page.
    pub align_bytes: u32,
    /// Most segments, live and free.
    pub segments_max: u32,
    /// Segments that entries may not use: kept for the purges that free others.
    pub reserve_segments: u32,
    /// Free segments that are kept to be written over; more are removed, for an opening reads
    /// every file. Above `reserve_segments`.
    pub free_segments_max: u32,
    /// A batch longer than this is handed to the disk before its flush, bytes.
    pub buffer_bytes_max: u32,
    /// Unlikely branches that a simulated run takes.
    pub buggify: Buggify,
    /// Which bug the log has on purpose.
    #[cfg(feature = "planted-bugs")]
    pub bug: Option<crate::planted::Bug>,
}

/// What is wrong with the options. Caused by configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("log option {option} is {value}, {reason}")]
pub struct OptionsError {
    /// Which option.
    pub option: &'static str,
    /// Its value.
    pub value: u64,
    /// What it may be.
    pub reason: String,
}

impl WalOptions {
    /// For a disk as production has: 64 MiB segments, 16 GiB at most; the daemon sets lengths that
    /// suit its own. Batches begin at whole pages: a disk of 4 KiB sectors that offers 512 rewrites
    /// a whole one, and a torn rewrite would spoil what was flushed beside it.
    #[must_use]
    pub fn new(owner: NodeId) -> Self {
        Self {
            owner,
            segment_bytes: 64 << 20,
            record_bytes_max: 2 * COMMAND_BYTES_MAX,
            align_bytes: PAGE_BYTES as u32,
            segments_max: 256,
            reserve_segments: 1,
            free_segments_max: 4,
            buffer_bytes_max: 4 << 20,
            buggify: Buggify::default(),
            #[cfg(feature = "planted-bugs")]
            bug: None,
        }
    }

    /// Small, so that tests reach every rare path: 16 KiB segments, records of 2,000 bytes.
    #[must_use]
    pub fn small(owner: NodeId) -> Self {
        Self {
            segment_bytes: SEGMENT_BYTES_MIN,
            record_bytes_max: 2_000,
            align_bytes: SECTOR_BYTES as u32,
            segments_max: 1_024,
            buffer_bytes_max: 4_096,
            ..Self::new(owner)
        }
    }

    /// Checks every bound.
    ///
    /// # Errors
    /// Names the first option that is out of bounds.
    pub fn validate(&self) -> Result<(), OptionsError> {
        let refuse = |option, value, reason: String| {
            Err(OptionsError {
                option,
                value,
                reason,
            })
        };
        let bytes = self.segment_bytes;
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&bytes)
            || !(bytes as usize).is_multiple_of(PAGE_BYTES)
        {
            let reason = format!(
                "it must be whole pages of {PAGE_BYTES}, from {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX}"
            );
            return refuse("segment_bytes", bytes.into(), reason);
        }
        let align = self.align_bytes as usize;
        if !align.is_power_of_two() || !(SECTOR_BYTES..=PAGE_BYTES).contains(&align) {
            let reason = format!("it must be a power of two from {SECTOR_BYTES} to {PAGE_BYTES}");
            return refuse("align_bytes", align as u64, reason);
        }
        let room = bytes as usize - DATA_START - FRAME_HEADER_BYTES - PAGE_BYTES;
        if self.record_bytes_max == 0 || self.record_bytes_max > room {
            let reason = format!("it must be from 1 to {room}, to fit the segment");
            return refuse("record_bytes_max", self.record_bytes_max as u64, reason);
        }
        if self.free_segments_max <= self.reserve_segments {
            let reason = format!("it must be above the reserve of {}", self.reserve_segments);
            return refuse("free_segments_max", self.free_segments_max.into(), reason);
        }
        let segments = u64::from(self.segments_max);
        if segments < u64::from(self.reserve_segments) + 2 {
            let reason = format!(
                "it must be above the reserve of {} and one",
                self.reserve_segments
            );
            return refuse("segments_max", segments, reason);
        }
        Ok(())
    }
}
