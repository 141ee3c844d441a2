//! Segments: the one that is being written, and what is remembered of the others.

use crate::disk::{Disk, DiskError, FileName};
use crate::limits::PAGE_BYTES;
use crate::wal::frame::{
    DATA_START, FORMAT_VERSION, FRAME_ALIGN, FRAME_HEADER_BYTES, FrameHeader,
    SEGMENT_HEADER_COPIES, SegmentHeader, round_up,
};
use crate::wal::options::WalOptions;

/// A segment whose content matters.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    /// Its number.
    pub number: u64,
    /// Its file.
    pub file: FileName,
    /// Its first frame.
    pub first: u64,
    /// Bytes of its file.
    pub length: u64,
}

/// A file that can be reused once frame `after` is durable.
#[derive(Clone, Debug)]
pub(super) struct Retiring {
    /// The file.
    pub file: FileName,
    /// Its length, bytes.
    pub length: u64,
    /// The frame.
    pub after: u64,
}

/// Name of the `number`-th file of a log.
pub(super) fn file_name(number: u64) -> FileName {
    format!("wal-{number:016x}")
}

/// The number in a file's name, if it is one of a log.
pub(super) fn file_number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("wal-")?;
    let number = u64::from_str_radix(digits, 16).ok()?;
    (file_name(number) == name).then_some(number)
}

/// The segment being written: frames gather in a buffer and go to the disk in batches.
#[derive(Debug)]
pub(super) struct Active {
    /// Number of the segment.
    pub number: u64,
    /// Its first frame.
    pub first: u64,
    file: FileName,
    salt: u64,
    length: usize,
    /// Where the buffer begins in the file; everything before was handed to the disk.
    written: usize,
    buffer: Vec<u8>,
    /// Where in the buffer the last frame begins, and its header: its stride can still grow.
    last: Option<(usize, FrameHeader)>,
}

impl Active {
    /// Begins a segment in `file`; `counters` are its first frame, the flushed one, the start, and
    /// the last one that is written again, 0 for none.
    pub fn begin(
        options: &WalOptions,
        file: FileName,
        number: u64,
        salt: u64,
        counters: (u64, u64, u64, u64),
    ) -> Self {
        let (first, flushed, start, again_through) = counters;
        let header = SegmentHeader {
            version: FORMAT_VERSION,
            owner: options.owner,
            number,
            salt,
            first,
            flushed,
            start,
            length: u64::from(options.segment_bytes),
            again_through,
        };
        let mut buffer = vec![0; DATA_START];
        for copy in 0..SEGMENT_HEADER_COPIES {
            header.encode(&mut buffer[copy * PAGE_BYTES..]);
        }
        Self {
            number,
            first,
            file,
            salt,
            length: options.segment_bytes as usize,
            written: 0,
            buffer,
            last: None,
        }
    }

    /// Bytes waiting to be handed to the disk.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Whether frames with these payloads fit, the second and later ones each in another page
    /// than the one before.
    pub fn fits(&self, lengths: &[usize]) -> bool {
        let mut at = self.end();
        for (i, length) in lengths.iter().enumerate() {
            if i > 0 {
                at = round_up(at, PAGE_BYTES);
            }
            at += round_up(FRAME_HEADER_BYTES + length, FRAME_ALIGN);
        }
        at <= self.length
    }

    /// Adds a frame; number, salt and place of the header are filled in here.
    pub fn put(&mut self, mut header: FrameHeader, payload: &[u8]) {
        let at = self.buffer.len();
        let stride = round_up(FRAME_HEADER_BYTES + payload.len(), FRAME_ALIGN);
        header.segment = self.number;
        header.segment_first = self.first;
        header.salt = self.salt;
        header.offset = self.end() as u32;
        header.stride = stride as u32;
        self.buffer.resize(at + FRAME_HEADER_BYTES, 0);
        header.encode(&mut self.buffer[at..]);
        self.buffer.extend_from_slice(payload);
        self.buffer.resize(at + stride, 0);
        self.last = Some((at, header));
        assert!(
            self.end() <= self.length,
            "a frame was put where no room was made"
        );
    }

    /// Lets the next frame begin on a new page.
    pub fn next_page(&mut self) {
        self.stretch(PAGE_BYTES);
    }

    /// Writes the buffer to the disk, after filling it up to a multiple of `align`.
    pub fn hand_over<D: Disk>(&mut self, disk: &mut D, align: usize) -> Result<(), DiskError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.stretch(align);
        disk.write(&self.file, self.written as u64, &self.buffer)?;
        self.written += self.buffer.len();
        self.buffer.clear();
        self.last = None;
        Ok(())
    }

    /// Panics, naming the broken invariant, when this state should be impossible.
    pub fn check(&self) {
        assert!(
            self.end() <= self.length,
            "the segment is longer than its file"
        );
        assert!(
            self.end().is_multiple_of(FRAME_ALIGN),
            "the next frame would begin off its alignment"
        );
    }

    fn end(&self) -> usize {
        self.written + self.buffer.len()
    }

    /// Lengthens the last frame's stride so that the next begins at a multiple of `align`.
    fn stretch(&mut self, align: usize) {
        let end = self.end();
        let to = round_up(end, align).min(self.length);
        if let Some((at, header)) = &mut self.last {
            header.stride += (to - end) as u32;
            header.encode(&mut self.buffer[*at..]);
            self.buffer.resize(to - self.written, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_the_log_makes_are_its_own() {
        assert_eq!(file_number(&file_name(0xAB)), Some(0xAB));
        for name in [
            "wal-",
            "wal-1",
            "wal-00000000000000AB",
            "lock",
            "wal-000000000000000g",
        ] {
            assert_eq!(file_number(name), None, "{name}");
        }
    }
}
