//! A node that hears anything from a peer: it may neither panic nor stop.

use std::collections::BTreeSet;

use super::peer::{PeerBody, PeerMessage};
use super::{Effect, Event, Input, Node, Options};
use crate::disk::MemDisk;
use crate::id::{GroupId, NodeId};
use crate::machine::{Machine, Outbox};
use crate::raft;
use crate::rng::Seed;
use crate::store::MemStore;
use crate::time::Instant;

/// Hands `bytes` to a node as they are, and as the body of a message for its consensus machine.
///
/// # Panics
/// When the node does, or stops: then a peer could end it.
pub fn fuzz_message(bytes: &[u8]) {
    let group = GroupId(1);
    let me = NodeId(1);
    let options = Options {
        bootstrap: Some(BTreeSet::from([me, NodeId(2)])),
        ..Options::new(group, raft::Options::new(me), 1)
    };
    let seed = Seed::from_u64(1);
    let mut node = Node::open(
        options,
        MemDisk::new(),
        MemStore::new(),
        seed,
        Instant::ZERO,
    )
    .expect("an empty disk opens");
    let body = PeerBody::Raft(bytes.to_vec());
    let wrapped = PeerMessage { group, body }.to_bytes();
    for (tick, message) in [bytes.to_vec(), wrapped].into_iter().enumerate() {
        let event = Event::Message {
            from: NodeId(2),
            message,
        };
        step(&mut node, tick as u64, event);
        step(&mut node, tick as u64, Event::Tick);
        assert_eq!(node.stopped(), None, "a peer's bytes ended the node");
        node.check();
    }
}

/// One step; flushes end at once.
fn step(node: &mut Node<MemDisk, MemStore>, now: u64, event: Event) {
    let mut out = Outbox::new();
    let mut events = vec![event];
    while let Some(event) = events.pop() {
        node.step(
            Instant(now),
            Input {
                wall_us: now,
                event,
            },
            &mut out,
        );
        for effect in out.drain() {
            if let Effect::FlushStarted { flush } = effect {
                events.push(Event::Flushed {
                    flush,
                    result: Ok(()),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_bytes_of_a_peer_end_the_node(bytes: Vec<u8>) {
            super::fuzz_message(&bytes);
        }
    }
}
