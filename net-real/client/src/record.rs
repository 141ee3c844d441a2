//! Sealed records out of a stream, for both ends of the native protocol.

use mfsha_core::codec::{DecodeError, SEAL_BYTES};
use mfsha_core::transport::FrameReader;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes that are read at once.
const READ_BYTES: usize = 16 << 10;

/// Why there is no further record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The stream has failed.
    #[error("{}", crate::explain::explain(.0))]
    Io(#[from] std::io::Error),
    /// What comes is no record: the other end speaks another protocol, or bytes were damaged.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The stream ended in the middle of one.
    #[error("the connection ended within a record, after {have} bytes of it")]
    Cut {
        /// How much of it had come.
        have: usize,
    },
}

/// The reading end of a connection.
pub struct Records {
    frames: FrameReader,
    /// On the heap: futures are moved about.
    chunk: Vec<u8>,
}

impl Records {
    /// Nothing has been read yet; no record with a longer payload is taken.
    #[must_use]
    pub fn new(payload_bytes_max: usize) -> Self {
        Self {
            frames: FrameReader::new(payload_bytes_max + SEAL_BYTES),
            chunk: vec![0; READ_BYTES],
        }
    }

    /// Takes longer or shorter records from here on.
    pub fn set_payload_bytes_max(&mut self, payload_bytes_max: usize) {
        self.frames
            .set_record_bytes_max(payload_bytes_max + SEAL_BYTES);
    }

    /// Somebody else has read these bytes already. Once, at the beginning.
    pub fn take(&mut self, bytes: &[u8]) {
        self.frames.push(bytes);
    }

    /// The next record, whole and with its seal; `None` at the end of the stream.
    ///
    /// # Errors
    /// [`RecordError`]: the stream is of no use any more.
    pub async fn next(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> Result<Option<Vec<u8>>, RecordError> {
        loop {
            if let Some(record) = self.frames.next_record()? {
                return Ok(Some(record));
            }
            let have = self.frames.held_bytes();
            match stream.read(&mut self.chunk).await? {
                0 if have == 0 => return Ok(None),
                0 => return Err(RecordError::Cut { have }),
                count => self.frames.push(&self.chunk[..count]),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mfsha_core::codec::seal;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn records_come_whole_and_the_end_is_told_from_a_cut() {
        let records = [
            seal(1, 1, b"one"),
            seal(1, 1, &[7; 40_000]),
            seal(1, 1, b""),
        ];
        for cut in [0, 1, SEAL_BYTES, SEAL_BYTES + 1] {
            let (mut to, mut from) = tokio::io::duplex(1_000);
            let mut bytes = records.concat();
            bytes.extend(&seal(1, 1, b"last")[..cut]);
            let writing = tokio::spawn(async move { to.write_all(&bytes).await });
            let mut read = Records::new(50_000);
            for record in &records {
                let next = read.next(&mut from).await.unwrap();
                assert_eq!(next.as_ref(), Some(record));
            }
            let end = read.next(&mut from).await;
            match end {
                Ok(None) => assert_eq!(cut, 0),
                Err(RecordError::Cut { have }) => assert_eq!(have, cut),
                other => panic!("{other:?}"),
            }
            writing.await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn what_is_too_long_or_damaged_is_refused() {
        let mut bent = seal(1, 1, b"one");
        bent[SEAL_BYTES] ^= 1;
        for bytes in [
            seal(1, 1, &[0; 2_000]),
            bent,
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        ] {
            let mut stream = bytes.as_slice();
            let end = Records::new(1_000).next(&mut stream).await;
            assert!(matches!(end, Err(RecordError::Decode(_))), "{end:?}");
        }
    }
}
