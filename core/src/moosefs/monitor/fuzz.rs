//! A master and a tool that hear anything.

use super::{FromMonitor, ToMonitor};
use crate::moosefs::frame::{Packet, PacketReader};
use crate::moosefs::sample::Draw;

/// Hands `bytes` to a master as the payload of every question, and to the one who asked as that of
/// the answer.
///
/// # Panics
/// When a side panics, or says something else than what it understood.
pub fn fuzz_monitor(bytes: &[u8]) {
    for kind in FromMonitor::NUMBERS {
        let payload = bytes.to_vec();
        let packet = Packet {
            kind: *kind,
            payload: payload.clone(),
        };
        if let Ok(asked) = FromMonitor::parse(&packet) {
            assert_eq!(packet_of(&asked.encode()), packet);
        }
        let asked = FromMonitor::sample(*kind, &mut Draw::new(bytes));
        let kind = kind + 1;
        if let Ok(told) = ToMonitor::parse(&Packet { kind, payload }, &asked) {
            let again = packet_of(&told.encode(asked.id()));
            assert_eq!(ToMonitor::parse(&again, &asked), Ok(told));
        }
    }
}

fn packet_of(bytes: &[u8]) -> Packet {
    let mut stream = PacketReader::new(u32::MAX);
    stream.push(bytes);
    let packet = stream.next_packet().expect("a packet has its length");
    packet.expect("a packet is whole")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_bytes_end_a_side(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            super::fuzz_monitor(&bytes);
        }
    }
}
