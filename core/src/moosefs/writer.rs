//! A packet, written field by field.

use super::frame::HEADER_BYTES;

/// Writes one packet, its header included.
#[derive(Clone, Debug)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Begins a packet of this number.
    #[must_use]
    pub fn new(kind: u32) -> Self {
        let mut bytes = kind.to_be_bytes().to_vec();
        bytes.extend([0; 4]);
        Self { bytes }
    }

    /// Adds a byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&[value])
    }

    /// Adds two bytes.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    /// Adds four bytes.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    /// Adds eight bytes.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    /// Adds bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Adds a `NAME`: one byte of length, then the bytes.
    ///
    /// # Panics
    /// When the name has more than 255 bytes: what this program sends it has checked before.
    pub fn name(&mut self, name: &[u8]) -> &mut Self {
        let length = u8::try_from(name.len()).expect("a name of at most 255 bytes");
        self.u8(length).bytes(name)
    }

    /// Adds a string with its length, both counting a NUL at the end.
    ///
    /// # Panics
    /// When the string has 4 GiB.
    pub fn string(&mut self, string: &[u8]) -> &mut Self {
        let length = u32::try_from(string.len() + 1).expect("a string below 4 GiB");
        self.u32(length).bytes(string).u8(0)
    }

    /// The whole packet, its length filled in.
    ///
    /// # Panics
    /// When the packet has 4 GiB.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len() - HEADER_BYTES).expect("below 4 GiB");
        self.bytes[4..HEADER_BYTES].copy_from_slice(&length.to_be_bytes());
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_has_its_length_in_front() {
        let mut writer = Writer::new(0x0102);
        writer.u8(1).u16(2).u32(3).u64(4).name(b"ab").string(b"c");
        let packet = writer.finish();
        assert_eq!(packet[..8], [0, 0, 1, 2, 0, 0, 0, 24]);
        assert_eq!(packet[8..11], [1, 0, 2]);
        assert_eq!(packet[23..], [2, b'a', b'b', 0, 0, 0, 2, b'c', 0]);
    }
}
