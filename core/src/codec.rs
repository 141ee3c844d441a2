//! Records as bytes: one place that knows the serializer, and a seal round everything stored.
//!
//! Values are written by bincode through serde (variable-length integers). A sealed record is
//!
//! ```text
//! magic:u32  version:u16  kind:u16  length:u32  checksum:u32  payload[length]      (little-endian)
//! ```
//!
//! where the checksum is CRC-32C over the sixteen header bytes with the checksum as zero, then the
//! payload. Whatever comes from a disk or a peer is sealed; a wrong seal is a reported fault.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limits;

/// Bytes in front of a sealed payload.
pub const SEAL_BYTES: usize = 16;

const MAGIC: u32 = 0x4153_464D; // "MFSA", read as little-endian bytes

/// Why bytes are not the record that was expected.
///
/// Caused by a damaged disk, a damaged or hostile peer, or another version. What to do is up to
/// the reader: drop the connection, fetch the record from a peer, or refuse to start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Fewer bytes than the header, or the length in the header, demand.
    #[error("record is cut short: {have} of {need} bytes")]
    Truncated {
        /// Bytes there are.
        have: usize,
        /// Bytes there would have to be.
        need: usize,
    },
    /// The first four bytes are not ours.
    #[error("not a record of mfsha (magic {found:#010x})")]
    Magic {
        /// What stands there.
        found: u32,
    },
    /// Written by a version that this one does not read.
    #[error("record has format version {found}, this program reads up to {known}")]
    Version {
        /// Version of the record.
        found: u16,
        /// Highest version known here.
        known: u16,
    },
    /// A record, but of another kind.
    #[error("record is of kind {found}, expected {expected}")]
    Kind {
        /// Kind of the record.
        found: u16,
        /// Kind that was asked for.
        expected: u16,
    },
    /// Longer than any record may be; nothing was allocated for it.
    #[error("record says it is {length} bytes long, the limit is {limit}")]
    TooLong {
        /// Length that was claimed.
        length: usize,
        /// The bound.
        limit: usize,
    },
    /// The bytes were changed after they were written.
    #[error("checksum is {found:#010x}, the bytes give {computed:#010x}")]
    Checksum {
        /// Checksum in the record.
        found: u32,
        /// Checksum of the bytes.
        computed: u32,
    },
    /// The payload does not parse.
    #[error("payload does not parse: {reason}")]
    Malformed {
        /// What the parser said.
        reason: String,
    },
    /// The payload parses but bytes are left over.
    #[error("{extra} bytes follow the end of the payload")]
    Trailing {
        /// Bytes left over.
        extra: usize,
    },
}

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<{ limits::RECORD_BYTES_MAX }>()
}

/// Writes a value, without a seal.
///
/// # Panics
/// When the value is longer than [`limits::RECORD_BYTES_MAX`]: callers bound what they build.
#[must_use]
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let bytes = bincode::serde::encode_to_vec(value, bincode::config::standard())
        .expect("types of this crate serialize to memory");
    assert!(
        bytes.len() <= limits::RECORD_BYTES_MAX,
        "a record outgrew its bound"
    );
    bytes
}

/// A value that would take more bytes than its reader accepts; nothing was kept of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("takes more than {limit} bytes")]
pub struct TooLarge {
    /// The bound, bytes.
    pub limit: usize,
}

/// Writes a value that comes from outside and so may be of any size, without a seal.
///
/// # Errors
/// [`TooLarge`] for a value longer than `limit`, or than [`limits::RECORD_BYTES_MAX`].
pub fn encode_within<T: Serialize + ?Sized>(value: &T, limit: usize) -> Result<Vec<u8>, TooLarge> {
    let limit = limit.min(limits::RECORD_BYTES_MAX);
    let mut bounded = Bounded {
        bytes: Vec::new(),
        limit,
    };
    bincode::serde::encode_into_writer(value, &mut bounded, bincode::config::standard())
        .map_err(|_| TooLarge { limit })?;
    Ok(bounded.bytes)
}

/// Takes bytes up to a bound.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
}

impl bincode::enc::write::Writer for Bounded {
    fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
        if bytes.len() > self.limit - self.bytes.len() {
            return Err(bincode::error::EncodeError::UnexpectedEnd);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

/// Bytes that [`encode`] would write.
#[must_use]
pub fn encoded_bytes<T: Serialize + ?Sized>(value: &T) -> usize {
    let mut counter = bincode::enc::write::SizeWriter::default();
    bincode::serde::encode_into_writer(value, &mut counter, bincode::config::standard())
        .expect("types of this crate serialize to memory");
    counter.bytes_written
}

/// Reads a value that [`encode`] wrote; all bytes must be used.
///
/// # Errors
/// [`DecodeError::Malformed`] or [`DecodeError::Trailing`]; nothing is allocated beyond
/// [`limits::RECORD_BYTES_MAX`].
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (value, used) = bincode::serde::decode_from_slice(bytes, config()).map_err(|error| {
        DecodeError::Malformed {
            reason: error.to_string(),
        }
    })?;
    match bytes.len() - used {
        0 => Ok(value),
        extra => Err(DecodeError::Trailing { extra }),
    }
}

/// Byte strings inside records, for `#[serde(with = "codec::bytes")]`: the same bytes as a
/// `Vec<u8>` otherwise makes, copied at once instead of one by one.
pub mod bytes {
    use std::fmt;

    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    /// Writes them.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    /// Reads them. Nothing is allocated for bytes that are not there.
    ///
    /// # Errors
    /// Those of the deserializer.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }

            fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// Puts a seal round a payload.
///
/// # Panics
/// When the payload is longer than [`limits::RECORD_BYTES_MAX`].
#[must_use]
pub fn seal(kind: u16, version: u16, payload: &[u8]) -> Vec<u8> {
    assert!(
        payload.len() <= limits::RECORD_BYTES_MAX,
        "a record outgrew its bound"
    );
    let mut out = Vec::with_capacity(SEAL_BYTES + payload.len());
    out.extend_from_slice(&MAGIC.to_le_bytes());
    out.extend_from_slice(&version.to_le_bytes());
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
    let checksum = crc32c::crc32c(&out);
    out[12..16].copy_from_slice(&checksum.to_le_bytes());
    out
}

/// Takes the payload out of a sealed record of this kind; also says how many bytes it took, so
/// that records can follow each other.
///
/// # Errors
/// Every variant of [`DecodeError`] but `Malformed` and `Trailing`.
pub fn unseal(kind: u16, known: u16, bytes: &[u8]) -> Result<(&[u8], usize), DecodeError> {
    let end = verify(bytes)?;
    let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    if half(4) > known {
        return Err(DecodeError::Version {
            found: half(4),
            known,
        });
    }
    if half(6) != kind {
        return Err(DecodeError::Kind {
            found: half(6),
            expected: kind,
        });
    }
    Ok((&bytes[SEAL_BYTES..end], end))
}

/// Checks that a whole sealed record, of any kind and version, stands at the front of these bytes
/// as it was written; gives its length, seal included.
///
/// # Errors
/// [`DecodeError::Truncated`], `Magic`, `TooLong` or `Checksum`.
pub fn verify(bytes: &[u8]) -> Result<usize, DecodeError> {
    let Some(header) = bytes.first_chunk::<SEAL_BYTES>() else {
        return Err(DecodeError::Truncated {
            have: bytes.len(),
            need: SEAL_BYTES,
        });
    };
    let word = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    if word(0) != MAGIC {
        return Err(DecodeError::Magic { found: word(0) });
    }
    let length = word(8) as usize;
    if length > limits::RECORD_BYTES_MAX {
        return Err(DecodeError::TooLong {
            length,
            limit: limits::RECORD_BYTES_MAX,
        });
    }
    let end = SEAL_BYTES + length;
    if bytes.len() < end {
        return Err(DecodeError::Truncated {
            have: bytes.len(),
            need: end,
        });
    }
    let mut zeroed = *header;
    zeroed[12..16].fill(0);
    let computed = crc32c::crc32c_append(crc32c::crc32c(&zeroed), &bytes[SEAL_BYTES..end]);
    if word(12) != computed {
        return Err(DecodeError::Checksum {
            found: word(12),
            computed,
        });
    }
    Ok(end)
}

/// Takes the payload out of bytes that are one whole sealed record of this kind and nothing else.
///
/// # Errors
/// Every variant of [`DecodeError`] but `Malformed`.
pub fn unseal_all(kind: u16, known: u16, bytes: &[u8]) -> Result<&[u8], DecodeError> {
    let (payload, used) = unseal(kind, known, bytes)?;
    match bytes.len() - used {
        0 => Ok(payload),
        extra => Err(DecodeError::Trailing { extra }),
    }
}

/// What the first bytes of a sealed record say of it, before the rest has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Kind of the record.
    pub kind: u16,
    /// Bytes of the whole record, this header included; at most
    /// [`SEAL_BYTES`] + [`limits::RECORD_BYTES_MAX`].
    pub record_bytes: usize,
}

/// Reads the header at the front of a stream of sealed records; `None` while it has not come whole.
///
/// # Errors
/// [`DecodeError::Magic`] or [`DecodeError::TooLong`], the latter also against `payload_bytes_max`:
/// the stream is of no use any more.
pub fn peek(bytes: &[u8], payload_bytes_max: usize) -> Result<Option<Header>, DecodeError> {
    let Some(header) = bytes.first_chunk::<SEAL_BYTES>() else {
        return Ok(None);
    };
    let word = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    if word(0) != MAGIC {
        return Err(DecodeError::Magic { found: word(0) });
    }
    let (length, limit) = (
        word(8) as usize,
        payload_bytes_max.min(limits::RECORD_BYTES_MAX),
    );
    if length > limit {
        return Err(DecodeError::TooLong { length, limit });
    }
    Ok(Some(Header {
        kind: u16::from_le_bytes([header[6], header[7]]),
        record_bytes: SEAL_BYTES + length,
    }))
}

/// Body of the fuzz target `codec`: no bytes may panic or allocate beyond the bound; what unseals
/// is what [`seal`] makes of it, and what decodes survives a round trip.
#[cfg(feature = "fuzzing")]
pub fn fuzz_unseal(bytes: &[u8]) {
    type Value = (u64, String, Option<Vec<u8>>, Vec<(i32, bool)>);
    if let Ok(value) = decode::<Value>(bytes) {
        assert_eq!(decode(&encode(&value)), Ok(value));
    }
    // A fuzzer does not guess checksums: take the rest as a payload, and bend one byte of its seal.
    let [kind, at, flip, rest @ ..] = bytes else {
        return;
    };
    let kind = u16::from(*kind);
    if let Ok((payload, used)) = unseal(kind, 1, rest) {
        assert!(used <= rest.len());
        assert_eq!(
            unseal(kind, 1, &seal(kind, 1, payload)),
            Ok((payload, used))
        );
    }
    if rest.len() > limits::RECORD_BYTES_MAX {
        return;
    }
    let mut sealed = seal(kind, 1, rest);
    assert_eq!(unseal(kind, 1, &sealed), Ok((rest, sealed.len())));
    let at = usize::from(*at) % sealed.len();
    sealed[at] ^= flip;
    assert_eq!(unseal(kind, 1, &sealed).is_ok(), *flip == 0);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct OneByOne(u8, Vec<u8>, u16);

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct AtOnce(u8, #[serde(with = "super::bytes")] Vec<u8>, u16);

    proptest! {
        #[test]
        fn byte_strings_look_the_same_either_way(
            bytes in prop::collection::vec(any::<u8>(), 0..600),
            cut: prop::sample::Index,
        ) {
            let plain = encode(&OneByOne(1, bytes.clone(), 2));
            let at_once = AtOnce(1, bytes, 2);
            prop_assert_eq!(&encode(&at_once), &plain);
            prop_assert_eq!(decode::<AtOnce>(&plain), Ok(at_once));
            prop_assert!(decode::<AtOnce>(&plain[..cut.index(plain.len())]).is_err());
        }

        #[test]
        fn a_sealed_record_comes_back(payload: Vec<u8>, kind: u16) {
            let sealed = seal(kind, 1, &payload);
            prop_assert_eq!(unseal(kind, 1, &sealed), Ok((&payload[..], sealed.len())));
        }

        #[test]
        fn every_flipped_bit_is_noticed(payload: Vec<u8>, at: prop::sample::Index, bit in 0..8u8) {
            let mut sealed = seal(7, 1, &payload);
            let at = at.index(sealed.len());
            sealed[at] ^= 1 << bit;
            prop_assert!(unseal(7, 1, &sealed).is_err());
        }

        #[test]
        fn every_prefix_errs(payload: Vec<u8>, cut: prop::sample::Index) {
            let sealed = seal(7, 1, &payload);
            prop_assert!(unseal(7, 1, &sealed[..cut.index(sealed.len())]).is_err());
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = unseal(7, 1, &bytes);
            let _ = decode::<Vec<(u64, String, Option<Vec<u8>>)>>(&bytes);
        }
    }

    #[test]
    fn a_claimed_length_allocates_nothing() {
        // A vector that says it has 2^60 members.
        let bytes = encode(&(1u64 << 60));
        assert!(matches!(
            decode::<Vec<u64>>(&bytes),
            Err(DecodeError::Malformed { .. })
        ));
    }

    #[test]
    fn a_value_is_written_up_to_its_bound() {
        let value = vec![7u8; 100];
        let bytes = encode(&value);
        assert_eq!(encode_within(&value, bytes.len()), Ok(bytes.clone()));
        let limit = bytes.len() - 1;
        assert_eq!(encode_within(&value, limit), Err(TooLarge { limit }));
        let huge = vec![7u8; limits::RECORD_BYTES_MAX + 1];
        assert!(encode_within(&huge, usize::MAX).is_err());
    }

    #[test]
    fn left_over_bytes_are_refused() {
        let mut bytes = encode(&5u32);
        bytes.push(0);
        assert_eq!(
            decode::<u32>(&bytes),
            Err(DecodeError::Trailing { extra: 1 })
        );
    }
}
