//! A master and a client that hear anything: they may neither panic nor understand what they
//! would not say.

use super::call::Call;
use super::{FromClient, PAYLOAD_BYTES_MAX, ToClient};
use crate::moosefs::fields::Form;
use crate::moosefs::frame::{Packet, PacketReader};
use crate::moosefs::sample::Draw;
use crate::moosefs::version::Version;

/// Hands `bytes` to both sides of a connection, as a stream and as the payload of every packet
/// there is, and takes packets made up from them through both sides.
///
/// # Panics
/// When a side panics, or says something else than what it understood.
pub fn fuzz_client(bytes: &[u8]) {
    let (first, rest) = bytes.split_first().map_or((0, bytes), |(f, r)| (*f, r));
    let client = match first % 4 {
        0 => Version::OURS,
        1 => Version::new(3, 0, 92),
        2 => Version::new(3, 0, 9),
        _ => super::OLDEST_CLIENT,
    };
    let form = Form {
        client,
        long: first & 4 != 0,
        resumable: first & 8 != 0,
    };
    let mut stream = PacketReader::new(PAYLOAD_BYTES_MAX);
    stream.push(rest);
    while let Ok(Some(packet)) = stream.next_packet() {
        both_sides_hear(&packet, form);
    }
    for kind in 0..=707 {
        let payload = rest.to_vec();
        both_sides_hear(&Packet { kind, payload }, form);
    }
    for number in super::OTHER_NUMBERS.iter().chain(Call::NUMBERS) {
        let said = FromClient::sample(*number, &mut Draw::new(rest));
        let heard = FromClient::parse(&packet_of(&said.encode()));
        assert_eq!(heard, Ok(said));
    }
    for number in [0].iter().chain(Call::NUMBERS) {
        let said = ToClient::sample(*number, &mut Draw::new(rest), form);
        let heard = ToClient::parse(&packet_of(&said.encode(form)), form);
        assert_eq!(heard, Ok(said));
    }
}

fn both_sides_hear(packet: &Packet, form: Form) {
    if let Ok(heard) = FromClient::parse(packet) {
        assert_eq!(packet_of(&heard.encode()), *packet);
    }
    if let Ok(heard) = ToClient::parse(packet, form) {
        let again = packet_of(&heard.encode(form));
        let heard_again = ToClient::parse(&again, form);
        assert_eq!(heard_again, Ok(heard));
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
            super::fuzz_client(&bytes);
        }
    }
}
