//! Any bytes as packets in both directions: what is read is written again as it came.

use super::{ToChunkserver, ToMaster, number};
use crate::moosefs::frame::{HEADER_BYTES, PacketReader};

/// Reads `bytes` as the payload of every packet there is, and as a stream of packets.
///
/// # Panics
/// When a packet that was read is not written again with the same bytes.
pub fn fuzz_chunkserver(bytes: &[u8]) {
    for kind in number::TO_MASTER {
        from_chunkserver(kind, bytes);
    }
    for kind in number::TO_CHUNKSERVER {
        from_master(kind, bytes);
    }
    let mut reader = PacketReader::new(super::TO_MASTER_BYTES_MAX);
    reader.push(bytes);
    while let Ok(Some(packet)) = reader.next_packet() {
        from_chunkserver(packet.kind, &packet.payload);
        from_master(packet.kind, &packet.payload);
    }
}

fn from_chunkserver(kind: u32, payload: &[u8]) {
    let Ok(packet) = ToMaster::parse(kind, payload) else {
        return;
    };
    assert_eq!(packet.number(), kind, "a packet keeps its number");
    let again = packet.encode().expect("what was read can be written");
    assert_eq!(&again[HEADER_BYTES..], payload, "of packet {kind}");
}

fn from_master(kind: u32, payload: &[u8]) {
    let Ok(packet) = ToChunkserver::parse(kind, payload) else {
        return;
    };
    assert_eq!(packet.number(), kind, "a packet keeps its number");
    let again = packet.encode().expect("what was read can be written");
    assert_eq!(&again[HEADER_BYTES..], payload, "of packet {kind}");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_bytes_panic_and_what_is_read_is_written_again(bytes: Vec<u8>) {
            super::fuzz_chunkserver(&bytes);
        }
    }
}
