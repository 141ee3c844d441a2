//! A simulated chunkserver: copies on a disk that outlives its connections.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::ops::Bound;
use std::time::Duration;

use mfsha_core::chunks::{Address, ConnId, Order};
use mfsha_core::id::{ChunkId, CsId, Term};
use mfsha_core::moosefs::chunkserver::{
    Begin, ChunkCopy, Operation, Place, Register, RemovalSpace, Space, TO_CHUNKSERVER_BYTES_MAX,
    ToMaster,
};
use mfsha_core::moosefs::frame::PacketReader;
use mfsha_core::moosefs::version::Version;

use crate::data::{BLOCK_BYTES, BLOCKS};
use crate::time::SimTime;

/// Where chunkservers listen.
pub(crate) const PORT: u16 = 9422;

/// What a copy holds: who wrote last, and whether it was cut since; and, of files of mounts, who wrote
/// each block last. 0 is what a new one holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Content {
    /// Number of the write.
    pub stamp: u64,
    /// It was cut afterwards.
    pub cut: bool,
    /// Numbers of the writes to each block.
    pub blocks: [u64; BLOCKS],
}

/// A copy on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stored {
    /// Its version.
    pub version: u32,
    /// What it holds.
    pub content: Content,
    /// It cannot be read any more.
    pub bad: bool,
}

/// An order that is being carried out.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub conn: ConnId,
    pub term: Term,
    pub order: Order,
    /// The same as it came, for the answer.
    pub operation: Operation,
}

/// How far a chunkserver has come with its node.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stage {
    Registering,
    /// It names its copies, and has come to this one.
    Naming(Option<ChunkId>),
    Member,
}

/// What a chunkserver knows of the connection that it has.
#[derive(Debug)]
pub(crate) struct Talk {
    pub reader: PacketReader,
    pub stage: Stage,
    pub heard_at: SimTime,
    /// Silence after which it gives up, as its node told it.
    pub silence_max: Duration,
    /// Its space and its jobs, as it told them last.
    pub space: RemovalSpace,
    pub jobs: u32,
}

impl Talk {
    /// Of a connection that it has just made.
    pub fn new(now: SimTime) -> Self {
        let none = Space {
            used: 0,
            total: 0,
            chunks: 0,
        };
        Self {
            reader: PacketReader::new(TO_CHUNKSERVER_BYTES_MAX),
            stage: Stage::Registering,
            heard_at: now,
            silence_max: Duration::MAX,
            space: RemovalSpace {
                regular: none,
                to_remove: none,
            },
            jobs: 0,
        }
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Server {
    pub number: u8,
    /// 0 until it was given one.
    pub csid: CsId,
    /// Its cluster, once it was told.
    pub metaid: Option<u64>,
    pub up: bool,
    pub disk: BTreeMap<ChunkId, Stored>,
    /// The connection that it has, or is making.
    pub link: Option<ConnId>,
    pub talk: Talk,
    /// What it is doing, by number.
    pub jobs: BTreeMap<u64, Job>,
    /// Counts its starts: what a process was about to write is gone with it.
    pub starts: u32,
    /// Counts connections that were given up, so that an old timer does nothing.
    pub turn: u64,
}

impl Server {
    pub fn new(number: u8) -> Self {
        Self {
            number,
            csid: CsId(0),
            metaid: None,
            up: true,
            disk: BTreeMap::new(),
            link: None,
            talk: Talk::new(SimTime::ZERO),
            jobs: BTreeMap::new(),
            starts: 0,
            turn: 0,
        }
    }

    pub fn address(&self) -> Address {
        Address {
            ip: Ipv4Addr::new(10, 0, 0, self.number + 1),
            port: PORT,
        }
    }

    /// The number of the chunkserver at an address.
    pub fn number_at(address: Address) -> u8 {
        address.ip.octets()[3] - 1
    }

    /// Sums of these say how often each was counted.
    pub fn space(&self) -> RemovalSpace {
        let regular = Space {
            used: (self.disk.len() as u64) << 26,
            total: total_bytes(self.number),
            chunks: self.disk.len() as u32,
        };
        RemovalSpace {
            regular,
            to_remove: Space {
                used: 0,
                total: 0,
                chunks: 0,
            },
        }
    }

    /// The packet with which it registers. The timeout is left to the node.
    pub fn begin(&self) -> Vec<u8> {
        let Address { ip, port } = self.address();
        let begin = Begin {
            passcode: None,
            version: Version::OURS,
            place: Place { ip, port },
            timeout_seconds: 0,
            csid: self.csid,
            space: self.space(),
        };
        let packet = ToMaster::Register(Register::Begin(begin)).encode();
        packet.expect("a registration is short")
    }

    /// Copies behind a chunk that can be read, the first so many.
    pub fn copies_after(&self, after: Option<ChunkId>, most: usize) -> Vec<ChunkCopy> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let good = self.disk.range((after, Bound::Unbounded));
        let good = good.filter(|(_, it)| !it.bad).take(most);
        good.map(|(chunk, it)| ChunkCopy {
            chunk: *chunk,
            version: it.version,
            to_remove: false,
        })
        .collect()
    }

    /// Chunks of copies that cannot be read.
    pub fn bad_chunks(&self) -> impl Iterator<Item = ChunkId> + '_ {
        let bad = self.disk.iter().filter(|(_, it)| it.bad);
        bad.map(|(chunk, _)| *chunk)
    }

    /// Carries an order out, if that can be done; `source` is the copy that is to be fetched.
    pub fn carry_out(&mut self, order: &Order, source: Option<Stored>) -> bool {
        let disk = &mut self.disk;
        let sound = |chunk: ChunkId, version: u32| {
            let stored = disk.get(&chunk).copied();
            stored.filter(|it| !it.bad && it.version == version)
        };
        let (chunk, made) = match *order {
            Order::Create { chunk, version } => {
                let content = Content::default();
                (chunk, fresh(disk, chunk, version, Some(content)))
            }
            Order::Replicate { chunk, version, .. } => {
                let found = source.filter(|it| !it.bad && it.version == version);
                (
                    chunk,
                    fresh(disk, chunk, version, found.map(|it| it.content)),
                )
            }
            Order::SetVersion { chunk, from, to } => {
                let found = sound(chunk, from);
                (chunk, found.map(|it| Stored { version: to, ..it }))
            }
            Order::Truncate {
                chunk,
                from,
                to,
                bytes,
            } => {
                let cut = |it: Stored| Stored {
                    version: to,
                    content: it.content.cut(bytes),
                    ..it
                };
                (chunk, sound(chunk, from).map(cut))
            }
            Order::Duplicate {
                chunk,
                version,
                from,
                from_version,
            } => {
                let found = sound(from, from_version).map(|it| it.content);
                (chunk, fresh(disk, chunk, version, found))
            }
            Order::DupTrunc {
                chunk,
                version,
                from,
                from_version,
                bytes,
            } => {
                let found = sound(from, from_version).map(|it| it.content.cut(bytes));
                (chunk, fresh(disk, chunk, version, found))
            }
            Order::Delete { chunk } => return disk.remove(&chunk).is_some(),
        };
        match made {
            Some(stored) => {
                disk.insert(chunk, stored);
                true
            }
            None => false,
        }
    }
}

impl Content {
    /// Of a file with an owner this is all that a cut leaves; of one of mounts, what is in front.
    fn cut(mut self, bytes: u32) -> Self {
        self.cut = self.stamp > 0;
        for (at, block) in self.blocks.iter_mut().enumerate() {
            if at as u64 * BLOCK_BYTES >= u64::from(bytes) {
                *block = 0;
            }
        }
        self
    }
}

/// A copy of a chunk that there was none of.
fn fresh(
    disk: &BTreeMap<ChunkId, Stored>,
    chunk: ChunkId,
    version: u32,
    content: Option<Content>,
) -> Option<Stored> {
    let content = content.filter(|_| !disk.contains_key(&chunk))?;
    Some(Stored {
        version,
        content,
        bad: false,
    })
}

/// Bytes of a chunkserver: every second bit is some server's, the others are those of servers that
/// were counted twice.
#[must_use]
pub fn total_bytes(number: u8) -> u64 {
    1 << (40 + 2 * u64::from(number % 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: ChunkId = ChunkId(1);
    const TWO: ChunkId = ChunkId(2);

    #[test]
    fn orders_do_what_they_say_and_nothing_to_another_version() {
        let mut server = Server::new(0);
        let create = Order::Create {
            chunk: ONE,
            version: 1,
        };
        assert!(server.carry_out(&create, None));
        assert!(!server.carry_out(&create, None), "it is there already");
        let raise = |from, to| Order::SetVersion {
            chunk: ONE,
            from,
            to,
        };
        assert!(!server.carry_out(&raise(2, 3), None));
        assert!(server.carry_out(&raise(1, 3), None));
        let duplicate = Order::DupTrunc {
            chunk: TWO,
            version: 1,
            from: ONE,
            from_version: 3,
            bytes: 5,
        };
        let written = Content {
            stamp: 1,
            blocks: [2; BLOCKS],
            ..Content::default()
        };
        server.disk.get_mut(&ONE).expect("it was made").content = written;
        assert!(server.carry_out(&duplicate, None));
        assert!(server.disk[&TWO].content.cut && !server.disk[&ONE].content.cut);
        assert_eq!(server.disk[&TWO].content.blocks, [2, 0, 0, 0]);
        assert!(server.carry_out(&Order::Delete { chunk: ONE }, None));
        let fetch = Order::Replicate {
            chunk: ONE,
            version: 4,
            source: server.address(),
        };
        let there = Stored {
            version: 4,
            content: Content::default(),
            bad: false,
        };
        assert!(!server.carry_out(&fetch, None));
        let bad = Stored { bad: true, ..there };
        assert!(!server.carry_out(&fetch, Some(bad)));
        assert!(server.carry_out(&fetch, Some(there)));
        assert_eq!(server.disk[&ONE], there);
    }
}
