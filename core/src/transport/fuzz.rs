//! A transport that hears anything, from strangers and from a peer that is up: it may neither
//! panic nor hold more than its bounds.

use std::collections::BTreeMap;

use super::{
    Class, ConnId, DiskId, Effect, Founders, Identity, Input, Note, Options, PEER_PROTOCOL_NEWEST,
    PEER_PROTOCOL_OLDEST, PeerHello, Speaker, Standing, Start, Transport,
};
use crate::codec;
use crate::id::NodeId;
use crate::machine::{Machine, Outbox};
use crate::rng::Seed;
use crate::time::Instant;

const PEER: NodeId = NodeId(2);

fn step(transport: &mut Transport, now: u64, input: Input) -> Vec<Effect> {
    let mut out = Outbox::new();
    let mut todo = vec![input];
    let mut effects = Vec::new();
    while let Some(input) = todo.pop() {
        transport.step(Instant(now), input, &mut out);
        transport.check();
        for effect in out.drain() {
            match effect {
                Effect::PersistIdentity { write, .. } => {
                    let result = Ok(());
                    todo.push(Input::Persisted { write, result });
                }
                Effect::Write { conn, bytes } => {
                    let bytes = bytes.len();
                    todo.push(Input::Sent { conn, bytes });
                }
                other => effects.push(other),
            }
        }
    }
    effects
}

fn hello(founders: &Founders, dial: u64) -> PeerHello {
    PeerHello {
        protocol: (PEER_PROTOCOL_OLDEST, PEER_PROTOCOL_NEWEST),
        node: PEER,
        disk: DiskId(2),
        incarnation: 1,
        life: 2,
        address: "b:1".parse().expect("an address"),
        dial,
        meant: None,
        joins: false,
        priority: 3,
        standing: Standing::Formed {
            founders: founders.clone(),
        },
        known: BTreeMap::new(),
    }
}

fn transport(founders: &Founders) -> Transport {
    let address = "a:1".parse().expect("an address");
    let mut identity = Identity::new(NodeId(1), DiskId(1));
    identity.standing = Standing::Formed {
        founders: founders.clone(),
    };
    let options = Options::new(address, 1, Start::Known);
    let seed = Seed::from_u64(1);
    let transport = Transport::new(options, identity, seed, Instant::ZERO);
    transport.expect("options and identity fit")
}

/// Hands `bytes` to a transport: as a stranger's first bytes, behind a hello, and behind a whole
/// handshake, as they are and as the content of sealed records; cut as the first byte says.
///
/// # Panics
/// When the transport does, breaks one of its laws, or loses a peer that spoke well.
pub fn fuzz_transport(bytes: &[u8]) {
    let founders = Founders::from([(NodeId(1), DiskId(1)), (PEER, DiskId(2))]);
    let (first, rest) = bytes.split_first().map_or((1, bytes), |(f, r)| (*f, r));
    let cut = usize::from(first).max(1);
    let sealed = |kind| codec::seal(kind, 1, rest);
    let ready = Note::Ready.to_bytes();
    for (number, (greets, stream)) in [
        (false, rest.to_vec()),
        (false, sealed(super::PEER_HELLO_KIND)),
        (true, rest.to_vec()),
        (true, sealed(super::PEER_NOTE_KIND)),
        (true, [ready.clone(), rest.to_vec()].concat()),
        (
            true,
            [ready.clone(), sealed(super::PEER_NOTE_KIND)].concat(),
        ),
        (
            true,
            [ready.clone(), sealed(super::PEER_HELLO_KIND)].concat(),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let mut transport = transport(&founders);
        step(&mut transport, 0, Input::Tick);
        let conn = ConnId::Accepted(number as u64);
        let first = if greets {
            hello(&founders, 1).to_bytes()
        } else {
            Vec::new()
        };
        let speaker = Speaker::Anyone;
        let accepted = Input::Accepted {
            conn,
            bytes: first,
            speaker,
        };
        step(&mut transport, 1, accepted);
        for (at, chunk) in stream.chunks(cut).enumerate() {
            let bytes = chunk.to_vec();
            step(&mut transport, 2 + at as u64, Input::Bytes { conn, bytes });
        }
        step(&mut transport, u64::from(u32::MAX) * 10, Input::Tick);
    }
    an_honest_peer_is_heard(&founders, &sealed(0x7777), cut);
}

/// What a peer sends well arrives, and what is sent to it is taken, whatever is in it.
fn an_honest_peer_is_heard(founders: &Founders, message: &[u8], cut: usize) {
    let mut transport = transport(founders);
    step(&mut transport, 0, Input::Tick);
    let conn = ConnId::Accepted(1);
    let accepted = Input::Accepted {
        conn,
        bytes: hello(founders, 1).to_bytes(),
        speaker: Speaker::Nodes([PEER].into()),
    };
    let mut effects = step(&mut transport, 1, accepted);
    let stream = [Note::Ready.to_bytes(), message.to_vec()].concat();
    for chunk in stream.chunks(cut) {
        let bytes = chunk.to_vec();
        effects.extend(step(&mut transport, 2, Input::Bytes { conn, bytes }));
    }
    assert!(effects.contains(&Effect::PeerUp {
        peer: PEER,
        priority: 3
    }));
    let delivered = Effect::Deliver {
        from: PEER,
        message: message.to_vec(),
    };
    assert!(effects.contains(&delivered), "an honest peer is heard");
    let send = Input::Send {
        to: PEER,
        class: Class::Bulk,
        message: message.to_vec(),
    };
    step(&mut transport, 3, send);
    assert_eq!(transport.dropped(), 0);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_bytes_end_a_transport(bytes: Vec<u8>) {
            super::fuzz_transport(&bytes);
        }
    }
}
