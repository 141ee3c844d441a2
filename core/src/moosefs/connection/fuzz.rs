//! A connection that hears anything, registered or not: it may neither panic nor hold more than
//! its bounds, and its owner gets whole packets.

use super::{Connection, Effect, Input, Options, Reply, RequestNo, Standing};
use crate::machine::{Machine, Outbox};
use crate::moosefs::frame::HEADER_BYTES;
use crate::time::{Duration, Instant};

/// An owner that is done with everything at once, and a socket that takes everything at once.
struct Rig {
    connection: Connection,
    now: Instant,
    /// Bytes of the packets that the owner got.
    got_bytes: usize,
    standing: Standing,
}

impl Rig {
    fn step(&mut self, input: Input) {
        let mut todo = vec![input];
        while let Some(input) = todo.pop() {
            let mut out = Outbox::new();
            self.connection.step(self.now, input, &mut out);
            self.connection.check();
            for effect in out.drain() {
                match effect {
                    Effect::Packet { request, packet } => {
                        self.got_bytes += HEADER_BYTES + packet.payload.len();
                        todo.push(self.done(request));
                    }
                    Effect::Write { bytes } => {
                        let bytes = bytes.len();
                        todo.push(Input::Written { bytes });
                    }
                    Effect::PartWanted { .. } => panic!("nothing is given in parts"),
                    Effect::Reading { .. } | Effect::Close { .. } => {}
                }
            }
        }
    }

    fn done(&self, request: RequestNo) -> Input {
        Input::Done {
            request,
            reply: Reply::Packet(vec![0; HEADER_BYTES]),
            standing: self.standing,
        }
    }
}

/// Hands `bytes` to connections of both kinds, before a registration and as if every packet were
/// one that is taken, cut as the first byte says.
///
/// # Panics
/// When a connection does, breaks one of its laws, or makes packets of bytes that did not come.
pub fn fuzz_connection(bytes: &[u8]) {
    let (first, stream) = bytes.split_first().map_or((1, bytes), |(f, r)| (*f, r));
    let cut = usize::from(first).max(1);
    for (options, standing) in [
        (Options::client(), Standing::Same),
        (Options::chunkserver(), Standing::Same),
        (
            Options::client(),
            Standing::Registered { silence_max: None },
        ),
        (
            Options::chunkserver(),
            Standing::Waiting { silence_max: None },
        ),
    ] {
        let registers = matches!(standing, Standing::Registered { .. });
        let mut rig = Rig {
            connection: Connection::new(options, Instant::ZERO),
            now: Instant::ZERO,
            got_bytes: 0,
            standing,
        };
        if registers {
            let packet = vec![0; HEADER_BYTES];
            rig.step(Input::Push { packet, standing });
        }
        for chunk in stream.chunks(cut) {
            rig.now = rig.now + Duration::from_millis(1);
            rig.step(Input::Bytes(chunk.to_vec()));
        }
        assert!(
            rig.got_bytes <= stream.len(),
            "packets are made of what came"
        );
        assert!(
            rig.connection.held_bytes() <= stream.len(),
            "so is what is held"
        );
        while let Some(at) = rig.connection.deadline() {
            rig.now = at;
            rig.step(Input::Tick);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_bytes_end_a_connection_badly(
            bytes: Vec<u8>,
            packets in proptest::collection::vec((0_u32..600, 0_usize..20), 0..20),
        ) {
            super::fuzz_connection(&bytes);
            let mut stream = vec![7];
            for (kind, length) in packets {
                stream.extend(kind.to_be_bytes());
                stream.extend((length as u32).to_be_bytes());
                stream.extend(vec![0; length]);
            }
            super::fuzz_connection(&stream);
        }
    }
}
