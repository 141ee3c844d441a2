//! The fields of a packet, read one after the other.
//!
//! A field that is not there is an error, never a panic, and nothing is allocated for a length
//! that the packet cannot have.

/// Why a packet makes no sense. MooseFS's own answer to all of these is to close the connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// It ends within a field.
    #[error("packet {kind} ends at byte {length}, within its field at byte {at}")]
    Short {
        /// Its number.
        kind: u32,
        /// Where the field begins.
        at: usize,
        /// Bytes that are there.
        length: usize,
    },
    /// It goes on behind its last field.
    #[error("packet {kind} has {spare} bytes behind its last field")]
    Long {
        /// Its number.
        kind: u32,
        /// Bytes that nobody asked for.
        spare: usize,
    },
    /// A field has a value that it cannot have.
    #[error("packet {kind}: {what}")]
    Value {
        /// Its number.
        kind: u32,
        /// Which field, and what is wrong with it.
        what: &'static str,
    },
    /// Nobody says this here.
    #[error("packet {kind} of {length} bytes is not known here")]
    Unknown {
        /// Its number.
        kind: u32,
        /// Its length.
        length: usize,
    },
}

/// Reads the fields of one packet.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    kind: u32,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// At the first field of a packet of this number.
    #[must_use]
    pub fn new(kind: u32, payload: &'a [u8]) -> Self {
        let (bytes, at) = (payload, 0);
        Self { kind, bytes, at }
    }

    /// Bytes that were not read yet.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// [`PacketError::Short`].
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], PacketError> {
        let end = self.at.checked_add(count);
        let found = end.and_then(|end| self.bytes.get(self.at..end));
        let found = found.ok_or(PacketError::Short {
            kind: self.kind,
            at: self.at,
            length: self.bytes.len(),
        })?;
        self.at += count;
        Ok(found)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// [`PacketError::Short`].
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], PacketError> {
        let bytes = self.bytes(N)?;
        Ok(bytes.try_into().expect("as many as were asked for"))
    }

    /// A byte.
    ///
    /// # Errors
    /// [`PacketError::Short`].
    pub fn u8(&mut self) -> Result<u8, PacketError> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Two bytes.
    ///
    /// # Errors
    /// [`PacketError::Short`].
    pub fn u16(&mut self) -> Result<u16, PacketError> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four bytes.
    ///
    /// # Errors
    /// [`PacketError::Short`].
    pub fn u32(&mut self) -> Result<u32, PacketError> {
        self.array().map(u32::from_be_bytes)
    }

    /// Eight bytes.
    ///
    /// # Errors
    /// [`PacketError::Short`].
    pub fn u64(&mut self) -> Result<u64, PacketError> {
        self.array().map(u64::from_be_bytes)
    }

    /// A `NAME`: one byte of length, then the bytes.
    ///
    /// # Errors
    /// [`PacketError::Short`].
    pub fn name(&mut self) -> Result<&'a [u8], PacketError> {
        let length = self.u8()?;
        self.bytes(usize::from(length))
    }

    /// A string of four bytes of length, that length including a NUL at its end, which is left
    /// out of what is given. At most `bytes_max` bytes without it.
    ///
    /// # Errors
    /// [`PacketError::Short`], or `Value` when it is too long or has no NUL or an inner one.
    pub fn string(&mut self, bytes_max: usize) -> Result<&'a [u8], PacketError> {
        let length = self.u32()? as usize;
        let kind = self.kind;
        let value = |what| PacketError::Value { kind, what };
        if length == 0 || length - 1 > bytes_max {
            return Err(value("a string is too long, or has no room for its end"));
        }
        let bytes = self.bytes(length)?;
        match bytes.iter().position(|byte| *byte == 0) {
            Some(end) if end + 1 == length => Ok(&bytes[..end]),
            _ => Err(value("a string does not end where its length says")),
        }
    }

    /// A field has a value that it cannot have.
    #[must_use]
    pub fn wrong(&self, what: &'static str) -> PacketError {
        let kind = self.kind;
        PacketError::Value { kind, what }
    }

    /// The packet ends here.
    ///
    /// # Errors
    /// [`PacketError::Long`] when it does not.
    pub fn end(self) -> Result<(), PacketError> {
        match self.remaining() {
            0 => Ok(()),
            spare => Err(PacketError::Long {
                kind: self.kind,
                spare,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_in_order_and_end() {
        let bytes = [
            1, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4, 2, b'a', b'b', 0, 0, 0, 2, b'c', 0,
        ];
        let mut reader = Reader::new(7, &bytes);
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.u16(), Ok(2));
        assert_eq!(reader.u32(), Ok(3));
        assert_eq!(reader.u64(), Ok(4));
        assert_eq!(reader.name(), Ok(&b"ab"[..]));
        assert_eq!(reader.clone().string(1), Ok(&b"c"[..]));
        assert!(matches!(
            reader.clone().string(0),
            Err(PacketError::Value { kind: 7, .. })
        ));
        assert_eq!(
            reader.clone().end(),
            Err(PacketError::Long { kind: 7, spare: 6 })
        );
        assert_eq!(
            reader.bytes(7),
            Err(PacketError::Short {
                kind: 7,
                at: 18,
                length: 24
            })
        );
        assert!(reader.bytes(usize::MAX).is_err());
    }

    #[test]
    fn a_string_without_its_end_is_refused() {
        for bytes in [&[0, 0, 0, 0][..], &[0, 0, 0, 1, b'a'], &[0, 0, 0, 2, 0, 0]] {
            assert!(matches!(
                Reader::new(7, bytes).string(9),
                Err(PacketError::Value { .. })
            ));
        }
        assert_eq!(Reader::new(7, &[0, 0, 0, 1, 0]).string(9), Ok(&b""[..]));
    }
}
