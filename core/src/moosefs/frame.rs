//! A stream of bytes, cut anyhow, as packets: number, length, payload.
//!
//! What packets mean is not known here.

/// Bytes before a packet's payload: its number and its length, four bytes each.
pub const HEADER_BYTES: usize = 8;

/// A packet from so many bytes on is not copied out of the buffer, it is the buffer.
const KEPT_BYTES: usize = 64 << 10;

/// A packet as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Its number.
    pub kind: u32,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// The stream is of no use any more: the other side is to be disconnected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("packet {kind} has {length} bytes, the limit is {limit}")]
pub struct TooLong {
    /// Number of the packet.
    pub kind: u32,
    /// Length that it claims, in bytes.
    pub length: u32,
    /// Longest payload that is taken, in bytes.
    pub limit: u32,
}

/// Takes bytes in, gives whole packets out. Room is made for what has come, not for what a header
/// claims.
#[derive(Debug)]
pub struct PacketReader {
    bytes: Vec<u8>,
    /// Bytes at the front that were given out already.
    used: usize,
    payload_bytes_max: u32,
    /// Once the stream makes no sense it never does again.
    broken: Option<TooLong>,
}

impl PacketReader {
    /// A reader at the beginning of a stream of packets with payloads of at most this many bytes.
    #[must_use]
    pub fn new(payload_bytes_max: u32) -> Self {
        Self {
            bytes: Vec::new(),
            used: 0,
            payload_bytes_max,
            broken: None,
        }
    }

    /// Takes longer or shorter packets from here on.
    pub fn set_payload_bytes_max(&mut self, payload_bytes_max: u32) {
        self.payload_bytes_max = payload_bytes_max;
    }

    /// Bytes that wait for the rest of their packet.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.bytes.len() - self.used
    }

    /// Bytes came. Take all packets out with [`Self::next_packet`] before giving it more.
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

    /// The next whole packet; `None` until more bytes come.
    ///
    /// # Errors
    /// [`TooLong`], and the same at every later call.
    pub fn next_packet(&mut self) -> Result<Option<Packet>, TooLong> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        let rest = &self.bytes[self.used..];
        let Some((header, rest)) = rest.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let [a, b, c, d, e, f, g, h] = *header;
        let kind = u32::from_be_bytes([a, b, c, d]);
        let length = u32::from_be_bytes([e, f, g, h]);
        if length > self.payload_bytes_max {
            let limit = self.payload_bytes_max;
            let broken = TooLong {
                kind,
                length,
                limit,
            };
            self.broken = Some(broken);
            self.bytes = Vec::new();
            self.used = 0;
            return Err(broken);
        }
        let Some(payload) = rest.get(..length as usize) else {
            return Ok(None);
        };
        let behind = rest.len() - payload.len();
        if payload.len() >= KEPT_BYTES && payload.len() >= behind {
            let payload = self.take(payload.len());
            return Ok(Some(Packet { kind, payload }));
        }
        let payload = payload.to_vec();
        self.used += HEADER_BYTES + payload.len();
        Ok(Some(Packet { kind, payload }))
    }

    /// Gives out the bytes of the next packet themselves, and keeps those behind it.
    fn take(&mut self, payload_bytes: usize) -> Vec<u8> {
        let begin = self.used + HEADER_BYTES;
        let behind = self.bytes.split_off(begin + payload_bytes);
        let mut payload = std::mem::replace(&mut self.bytes, behind);
        payload.drain(..begin);
        self.used = 0;
        payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(payloads: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (kind, payload) in (400_u32..).zip(payloads) {
            bytes.extend(kind.to_be_bytes());
            bytes.extend((payload.len() as u32).to_be_bytes());
            bytes.extend(*payload);
        }
        bytes
    }

    #[test]
    fn packets_come_out_whole_however_the_stream_is_cut() {
        let payloads: [&[u8]; 4] = [b"first", b"", b"the third one", b"x"];
        let bytes = stream(&payloads);
        for piece in 1..=bytes.len() {
            let mut reader = PacketReader::new(13);
            let mut found = Vec::new();
            for piece in bytes.chunks(piece) {
                reader.push(piece);
                while let Some(packet) = reader.next_packet().unwrap() {
                    found.push(packet);
                }
            }
            assert_eq!(reader.waiting_bytes(), 0);
            let kinds: Vec<u32> = found.iter().map(|packet| packet.kind).collect();
            assert_eq!(kinds, [400, 401, 402, 403], "pieces of {piece}");
            assert!(found.iter().zip(payloads).all(|(p, q)| p.payload == q));
        }
    }

    #[test]
    fn a_long_packet_comes_out_whole_and_its_room_is_not_kept() {
        let long = vec![7; KEPT_BYTES];
        let payloads: [&[u8]; 4] = [b"first", &long, b"last", &long];
        let bytes = stream(&payloads);
        for piece in [1_000, bytes.len()] {
            let mut reader = PacketReader::new(KEPT_BYTES as u32);
            let mut found = Vec::new();
            for piece in bytes.chunks(piece) {
                reader.push(piece);
                while let Some(packet) = reader.next_packet().unwrap() {
                    found.push(packet.payload);
                }
            }
            assert_eq!(found, payloads);
            assert_eq!(reader.waiting_bytes(), 0);
            assert!(reader.bytes.capacity() < KEPT_BYTES, "pieces of {piece}");
        }
    }

    #[test]
    fn a_packet_that_is_too_long_ends_the_stream() {
        let mut reader = PacketReader::new(4);
        reader.push(&stream(&[b"1234", b"12345"]));
        assert_eq!(reader.next_packet().unwrap().unwrap().payload, b"1234");
        let error = TooLong {
            kind: 401,
            length: 5,
            limit: 4,
        };
        assert_eq!(reader.next_packet(), Err(error));
        reader.push(&stream(&[b"1"]));
        assert_eq!(reader.next_packet(), Err(error));
        assert_eq!(reader.waiting_bytes(), 0);
    }
}
