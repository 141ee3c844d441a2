//! What one chunkserver has to do now.
//!
//! Its answers name nothing but a chunk, so it has at most one order of each.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::chunks::{Order, OrderKind};
use crate::id::ChunkId;
use crate::moosefs::chunkserver::{
    ChunkAt, Done, DoneKind, Operation, Place, Sources, ToChunkserver,
};

/// Orders that were given and not answered.
#[derive(Debug, Default)]
pub(super) struct Orders {
    under_way: BTreeMap<ChunkId, Order>,
}

impl Orders {
    /// Notes an order, and gives its packet; `None` when the chunk has one already.
    pub fn begin(&mut self, order: Order) -> Option<Vec<u8>> {
        match self.under_way.entry(order.chunk()) {
            Entry::Occupied(_) => None,
            Entry::Vacant(place) => {
                place.insert(order);
                Some(packet_of(&order))
            }
        }
    }

    /// An order of this kind has ended, as the chunkserver says: whether there was one.
    pub fn end(&mut self, done: Done) -> bool {
        self.end_if(done.chunk, |order| order.kind() == kind_of(done.kind))
    }

    /// The same for a replication.
    pub fn end_replication(&mut self, new: ChunkAt) -> bool {
        self.end_if(
            new.chunk,
            |order| matches!(order, Order::Replicate { version, .. } if *version == new.version),
        )
    }

    fn end_if(&mut self, chunk: ChunkId, is_it: impl Fn(&Order) -> bool) -> bool {
        let found = self.under_way.get(&chunk).is_some_and(is_it);
        if found {
            self.under_way.remove(&chunk);
        }
        found
    }

    /// Orders under way.
    pub fn len(&self) -> usize {
        self.under_way.len()
    }

    /// Panics when one is kept under another chunk's name.
    pub fn check(&self) {
        for (chunk, order) in &self.under_way {
            assert_eq!(*chunk, order.chunk(), "{order:?} is found by its chunk");
        }
    }
}

/// What an answer is an answer to.
pub(super) fn kind_of(kind: DoneKind) -> OrderKind {
    match kind {
        DoneKind::Create => OrderKind::Create,
        DoneKind::Delete => OrderKind::Delete,
        DoneKind::Duplicate => OrderKind::Duplicate,
        DoneKind::SetVersion => OrderKind::SetVersion,
        DoneKind::Truncate => OrderKind::Truncate,
        DoneKind::DupTrunc => OrderKind::DupTrunc,
    }
}

fn packet_of(order: &Order) -> Vec<u8> {
    let at = |chunk, version| ChunkAt { chunk, version };
    let operation = match *order {
        Order::Create { chunk, version } => Operation::Create(at(chunk, version)),
        Order::SetVersion { chunk, from, to } => Operation::SetVersion {
            new: at(chunk, to),
            old_version: from,
        },
        Order::Duplicate {
            chunk,
            version,
            from,
            from_version,
        } => Operation::Duplicate {
            new: at(chunk, version),
            old: at(from, from_version),
        },
        Order::Truncate {
            chunk,
            from,
            to,
            bytes,
        } => Operation::Truncate {
            new: at(chunk, to),
            length: bytes,
            old_version: from,
        },
        Order::DupTrunc {
            chunk,
            version,
            from,
            from_version,
            bytes,
        } => Operation::DupTrunc {
            new: at(chunk, version),
            old: at(from, from_version),
            length: bytes,
        },
        Order::Replicate {
            chunk,
            version,
            source,
        } => Operation::Replicate {
            new: at(chunk, version),
            sources: Sources::One(Place {
                ip: source.ip,
                port: source.port,
            }),
        },
        // On the wire version 0 stands for whatever version it has.
        Order::Delete { chunk } => Operation::Delete(at(chunk, 0)),
    };
    let packet = ToChunkserver::Operation(operation).encode();
    packet.expect("an operation without a list has few bytes")
}
