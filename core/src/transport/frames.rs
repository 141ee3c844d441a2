//! A stream of bytes, cut anyhow, as the sealed records in it.
//!
//! What records mean is not known here.

use crate::codec::{self, DecodeError};

/// Takes bytes in, gives whole records out.
///
/// It holds what has come of one record and never makes room for more than twice that, whatever
/// length the record claims.
#[derive(Debug)]
pub struct FrameReader {
    bytes: Vec<u8>,
    /// Bytes at the front that were given out already.
    used: usize,
    /// Longest record that is taken, seal included.
    record_bytes_max: usize,
    /// Once the stream makes no sense it never does again: where a record begins is lost.
    broken: Option<DecodeError>,
    /// Checksums are not compared, on purpose.
    #[cfg(feature = "planted-bugs")]
    unchecked: bool,
}

impl FrameReader {
    /// A reader at the beginning of a stream. `record_bytes_max` includes the seal.
    #[must_use]
    pub fn new(record_bytes_max: usize) -> Self {
        Self {
            bytes: Vec::new(),
            used: 0,
            record_bytes_max,
            broken: None,
            #[cfg(feature = "planted-bugs")]
            unchecked: false,
        }
    }

    /// Takes longer or shorter records from here on.
    pub fn set_record_bytes_max(&mut self, record_bytes_max: usize) {
        self.record_bytes_max = record_bytes_max;
    }

    /// Bytes came. Take all records out with [`Self::next_record`] before giving it more.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.broken.is_some() {
            return;
        }
        if self.used > 0 {
            self.bytes.drain(..self.used);
            self.used = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole record, as it was sealed; `None` until more bytes come.
    ///
    /// # Errors
    /// [`DecodeError::Magic`], `TooLong` or `Checksum`: the stream is of no use any more, and every
    /// later call says so again.
    pub fn next_record(&mut self) -> Result<Option<Vec<u8>>, DecodeError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let result = self.try_record();
        if let Err(error) = &result {
            self.broken = Some(error.clone());
            self.bytes = Vec::new();
            self.used = 0;
        }
        result
    }

    fn try_record(&mut self) -> Result<Option<Vec<u8>>, DecodeError> {
        let rest = &self.bytes[self.used..];
        let payload_bytes_max = self.record_bytes_max.saturating_sub(codec::SEAL_BYTES);
        let Some(header) = codec::peek(rest, payload_bytes_max)? else {
            return Ok(None);
        };
        let Some(record) = rest.get(..header.record_bytes) else {
            return Ok(None);
        };
        let verified = codec::verify(record);
        #[cfg(feature = "planted-bugs")]
        let verified = if self.unchecked { Ok(0) } else { verified };
        verified?;
        let length = record.len();
        if self.used == 0 && self.bytes.len() == length {
            return Ok(Some(std::mem::take(&mut self.bytes)));
        }
        let record = record.to_vec();
        self.used += length;
        if self.used == self.bytes.len() {
            self.bytes = Vec::new();
            self.used = 0;
        }
        Ok(Some(record))
    }

    /// Takes records for whole without comparing their checksums.
    #[cfg(feature = "planted-bugs")]
    pub(super) fn leave_unchecked(&mut self) {
        self.unchecked = true;
    }

    /// What is held of a record that is not whole.
    #[cfg(feature = "planted-bugs")]
    pub(super) fn held(&self) -> &[u8] {
        &self.bytes[self.used..]
    }

    /// Reads these bytes before those that are held.
    #[cfg(feature = "planted-bugs")]
    pub(super) fn read_first(&mut self, bytes: Vec<u8>) {
        self.bytes.splice(self.used..self.used, bytes);
    }

    /// Bytes that are held.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.bytes.len() - self.used
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_all(reader: &mut FrameReader, bytes: &[u8]) -> Result<Vec<Vec<u8>>, DecodeError> {
        reader.push(bytes);
        let mut records = Vec::new();
        while let Some(record) = reader.next_record()? {
            records.push(record);
        }
        Ok(records)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn records_come_out_whole_however_the_stream_is_cut(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..12),
            cuts in prop::collection::vec(1..97usize, 1..20),
        ) {
            let records: Vec<_> = payloads.iter().map(|p| codec::seal(7, 1, p)).collect();
            let stream = records.concat();
            let mut reader = FrameReader::new(1_000);
            let (mut out, mut at) = (Vec::new(), 0);
            for cut in cuts.iter().cycle() {
                let end = (at + cut).min(stream.len());
                out.extend(read_all(&mut reader, &stream[at..end]).unwrap());
                at = end;
                if at == stream.len() {
                    break;
                }
            }
            prop_assert_eq!(out, records);
            prop_assert_eq!(reader.held_bytes(), 0);
        }

        #[test]
        fn a_bent_byte_ends_the_stream_for_good(
            payload in prop::collection::vec(any::<u8>(), 0..100),
            at: prop::sample::Index,
            flip in 1..=255u8,
        ) {
            let mut stream = codec::seal(7, 1, &payload);
            let at = at.index(stream.len());
            stream[at] ^= flip;
            stream.extend(codec::seal(7, 1, &[0; 64]));
            let mut reader = FrameReader::new(usize::MAX);
            let first = read_all(&mut reader, &stream);
            // A bent length may wait for bytes that never come; it never gives anything out.
            match first {
                Ok(records) => prop_assert_eq!(records.len(), 0),
                Err(error) => {
                    let again = read_all(&mut reader, &codec::seal(7, 1, &[]));
                    prop_assert_eq!(again, Err(error));
                    prop_assert_eq!(reader.held_bytes(), 0);
                }
            }
        }
    }

    #[test]
    fn a_claimed_length_takes_no_room_and_a_long_record_is_refused_by_its_header() {
        let long = codec::seal(7, 1, &vec![0; 4_000_000]);
        let mut reader = FrameReader::new(usize::MAX);
        assert_eq!(read_all(&mut reader, &long[..100]), Ok(vec![]));
        assert!(
            reader.bytes.capacity() < 1_000,
            "{}",
            reader.bytes.capacity()
        );
        let mut reader = FrameReader::new(1_000);
        let error = read_all(&mut reader, &long[..codec::SEAL_BYTES]).unwrap_err();
        assert!(matches!(error, DecodeError::TooLong { .. }), "{error}");
    }
}
