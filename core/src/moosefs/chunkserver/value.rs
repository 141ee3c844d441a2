//! The values that packets of chunkservers are made of.

use std::net::Ipv4Addr;

use super::EncodeError;
use crate::id::ChunkId;
use crate::moosefs::reader::{PacketError, Reader};
use crate::moosefs::version::Version;
use crate::moosefs::writer::Writer;

/// Where clients and other chunkservers reach a chunkserver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Its address; `0.0.0.0` in a registration means "where this connection comes from".
    pub ip: Ipv4Addr,
    /// Its TCP port for data.
    pub port: u16,
}

impl Place {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, PacketError> {
        let ip = reader.u32()?.into();
        let port = reader.u16()?;
        Ok(Self { ip, port })
    }

    pub(super) fn write(self, writer: &mut Writer) {
        writer.u32(self.ip.into()).u16(self.port);
    }
}

/// A chunk at one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChunkAt {
    /// The chunk.
    pub chunk: ChunkId,
    /// Its version.
    pub version: u32,
}

impl ChunkAt {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, PacketError> {
        let chunk = ChunkId(reader.u64()?);
        let version = reader.u32()?;
        Ok(Self { chunk, version })
    }

    pub(super) fn write(self, writer: &mut Writer) {
        writer.u64(self.chunk.0).u32(self.version);
    }
}

/// In the version of a copy: its disk is marked for removal.
const TO_REMOVE: u32 = 1 << 31;

/// A copy of a chunk that a server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChunkCopy {
    /// The chunk.
    pub chunk: ChunkId,
    /// The version of the copy, below 2^31.
    pub version: u32,
    /// Whether it lies on a disk that is marked for removal.
    pub to_remove: bool,
}

impl ChunkCopy {
    pub(super) fn of_wire(chunk: ChunkId, version: u32) -> Self {
        Self {
            chunk,
            version: version & !TO_REMOVE,
            to_remove: version & TO_REMOVE != 0,
        }
    }

    pub(super) fn wire_version(self) -> u32 {
        assert!(self.version < TO_REMOVE, "a version has 31 bits");
        let to_remove = if self.to_remove { TO_REMOVE } else { 0 };
        self.version | to_remove
    }
}

/// Space of all disks of a kind, and chunks on them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Bytes used.
    pub used: u64,
    /// Bytes there are.
    pub total: u64,
    /// Chunks.
    pub chunks: u32,
}

impl Space {
    fn read(reader: &mut Reader<'_>) -> Result<Self, PacketError> {
        Ok(Self {
            used: reader.u64()?,
            total: reader.u64()?,
            chunks: reader.u32()?,
        })
    }

    fn write(self, writer: &mut Writer) {
        writer.u64(self.used).u64(self.total).u32(self.chunks);
    }
}

/// Space of a whole server, in the newest form: all disks but those that are marked for removal,
/// and these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemovalSpace {
    /// Disks that stay.
    pub regular: Space,
    /// Disks that are marked for removal.
    pub to_remove: Space,
}

impl RemovalSpace {
    pub(super) const BYTES: usize = 40;

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, PacketError> {
        Ok(Self {
            regular: Space::read(reader)?,
            to_remove: Space::read(reader)?,
        })
    }

    pub(super) fn write(self, writer: &mut Writer) {
        self.regular.write(writer);
        self.to_remove.write(writer);
    }
}

/// Space of a whole server, as servers of all versions report it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpaceReport {
    /// 16 bytes, old.
    Used {
        /// Bytes used.
        used: u64,
        /// Bytes there are.
        total: u64,
    },
    /// 32 bytes, old.
    WithRemoval {
        /// Bytes used, of disks that stay.
        used: u64,
        /// Bytes there are, on disks that stay.
        total: u64,
        /// Bytes used, of disks that are marked for removal.
        to_remove_used: u64,
        /// Bytes there are, on disks that are marked for removal.
        to_remove_total: u64,
    },
    /// 40 bytes.
    Full(RemovalSpace),
}

impl SpaceReport {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, PacketError> {
        match reader.remaining() {
            16 => Ok(Self::Used {
                used: reader.u64()?,
                total: reader.u64()?,
            }),
            32 => Ok(Self::WithRemoval {
                used: reader.u64()?,
                total: reader.u64()?,
                to_remove_used: reader.u64()?,
                to_remove_total: reader.u64()?,
            }),
            RemovalSpace::BYTES => RemovalSpace::read(reader).map(Self::Full),
            _ => Err(reader.wrong("space has neither 16, 32 nor 40 bytes")),
        }
    }

    pub(super) fn write(self, writer: &mut Writer) {
        match self {
            Self::Used { used, total } => {
                writer.u64(used).u64(total);
            }
            Self::WithRemoval {
                used,
                total,
                to_remove_used,
                to_remove_total,
            } => {
                writer.u64(used).u64(total);
                writer.u64(to_remove_used).u64(to_remove_total);
            }
            Self::Full(space) => space.write(writer),
        }
    }
}

/// A set of labels: `A` is bit 0, `Z` is bit 25. Higher bits are kept as they came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Labels(pub u32);

/// What a server says of the strain that it is under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strain {
    /// It does not say.
    Default,
    /// None.
    Ok,
    /// Too much.
    Overloaded,
    /// Its disks are being balanced.
    Rebalance,
    /// It wants little to do.
    Graceful,
    /// Something that newer servers say.
    Other(u8),
}

impl Strain {
    fn of_wire(number: u8) -> Self {
        match number {
            0 => Self::Default,
            1 => Self::Ok,
            2 => Self::Overloaded,
            3 => Self::Rebalance,
            4 => Self::Graceful,
            other => Self::Other(other),
        }
    }

    fn number(self) -> u8 {
        match self {
            Self::Default => 0,
            Self::Ok => 1,
            Self::Overloaded => 2,
            Self::Rebalance => 3,
            Self::Graceful => 4,
            Self::Other(other) => other,
        }
    }
}

/// How busy a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Jobs that it has.
    pub jobs: u32,
    /// What it says of that; `None` before 3.0.7.
    pub strain: Option<Strain>,
}

impl Load {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, PacketError> {
        let jobs = reader.u32()?;
        let strain = match reader.remaining() {
            0 => None,
            _ => Some(Strain::of_wire(reader.u8()?)),
        };
        Ok(Self { jobs, strain })
    }

    pub(super) fn write(self, writer: &mut Writer) {
        writer.u32(self.jobs);
        if let Some(strain) = self.strain {
            writer.u8(strain.number());
        }
    }
}

/// Where a copy is fetched from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// What is fetched.
    pub chunk: ChunkAt,
    /// From whom.
    pub place: Place,
}

impl Source {
    pub(super) const BYTES: usize = 18;

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, PacketError> {
        Ok(Self {
            chunk: ChunkAt::read(reader)?,
            place: Place::read(reader)?,
        })
    }

    pub(super) fn write(self, writer: &mut Writer) {
        self.chunk.write(writer);
        self.place.write(writer);
    }
}

/// What was asked for, or why it was not given.
pub type Checksum<T> = Result<T, u8>;

/// A packet that was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The packet's message, when it had one.
    pub msgid: Option<u32>,
    /// The packet's number.
    pub kind: u32,
    /// Bytes of its payload.
    pub length: u32,
    /// Version of who complains.
    pub version: Version,
}

impl Complaint {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, PacketError> {
        let msgid = match reader.remaining() {
            16 => Some(reader.u32()?),
            _ => None,
        };
        Ok(Self {
            msgid,
            kind: reader.u32()?,
            length: reader.u32()?,
            version: Version(reader.u32()?),
        })
    }

    pub(super) fn write(self, writer: &mut Writer) {
        if let Some(msgid) = self.msgid {
            writer.u32(msgid);
        }
        writer.u32(self.kind).u32(self.length).u32(self.version.0);
    }
}

/// Reads the optional message of a question for the version.
pub(super) fn read_msgid(reader: &mut Reader<'_>) -> Result<Option<u32>, PacketError> {
    match reader.remaining() {
        0 => Ok(None),
        _ => reader.u32().map(Some),
    }
}

/// A program's version, in number and words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionText<'a> {
    /// The question's message, when it had one.
    pub msgid: Option<u32>,
    /// The version, its major number below 256.
    pub version: Version,
    /// The same in words, without a NUL.
    pub text: &'a [u8],
}

impl<'a> VersionText<'a> {
    /// Whether there is a message is not told by the length. A version begins with a zero byte,
    /// and a text has none.
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, PacketError> {
        let mut ahead = reader.clone();
        ahead.u32()?;
        let msgid = match ahead.remaining() {
            0..4 => None,
            _ => (ahead.u8()? == 0).then(|| reader.u32()).transpose()?,
        };
        let version = Version(reader.u32()?);
        let text = reader.bytes(reader.remaining())?;
        if version.0 >> 24 != 0 || text.contains(&0) {
            return Err(reader.wrong("this is no version"));
        }
        Ok(Self {
            msgid,
            version,
            text,
        })
    }

    pub(super) fn write(self, kind: u32, writer: &mut Writer) -> Result<(), EncodeError> {
        if self.version.0 >> 24 != 0 || self.text.contains(&0) {
            let what = "a version's major number is below 256, and its text has no NUL";
            return Err(EncodeError::Value { kind, what });
        }
        if let Some(msgid) = self.msgid {
            writer.u32(msgid);
        }
        writer.u32(self.version.0).bytes(self.text);
        Ok(())
    }
}
