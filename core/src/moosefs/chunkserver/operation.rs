//! What a master asks a chunkserver to do with a chunk, and the answers.
//!
//! Answers come in any order and are matched by chunk, so at most one operation of a server and a
//! chunk may be under way. Every status but 0 means that the copy is bad or gone.

use super::number::*;
use super::value::{ChunkAt, Place, Source};
use super::{EncodeError, SOURCES_MAX, ToMaster};
use crate::id::ChunkId;
use crate::moosefs::reader::{PacketError, Reader};
use crate::moosefs::writer::Writer;

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Makes a new, empty chunk.
    Create(ChunkAt),
    /// Deletes a copy; version 0 stands for whatever version it has.
    Delete(ChunkAt),
    /// Makes `new` with the content of `old`.
    Duplicate {
        /// What is made.
        new: ChunkAt,
        /// What is there, at this version.
        old: ChunkAt,
    },
    /// Gives a copy another version.
    SetVersion {
        /// The chunk and the version that it gets.
        new: ChunkAt,
        /// The version that it must have.
        old_version: u32,
    },
    /// Fetches a copy from other servers.
    Replicate {
        /// What is made.
        new: ChunkAt,
        /// From whom.
        sources: Sources,
    },
    /// Any of the others in one form, which 3.0.117 masters do not send.
    ChunkOp(ChunkOp),
    /// Changes a copy's length and version.
    Truncate {
        /// The chunk and the version that it gets.
        new: ChunkAt,
        /// Its length afterwards, bytes; at most 64 MiB.
        length: u32,
        /// The version that it must have.
        old_version: u32,
    },
    /// Makes `new` with the content of `old`, cut or padded to a length.
    DupTrunc {
        /// What is made.
        new: ChunkAt,
        /// What is there, at this version.
        old: ChunkAt,
        /// Its length afterwards, bytes; at most 64 MiB.
        length: u32,
    },
}

/// Where a replication gets its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sources {
    /// The same chunk of one server.
    One(Place),
    /// Several chunks, put together by masks; the commercial edition's.
    Xor {
        /// How they are put together.
        masks: [u32; 4],
        /// At least one, at most [`SOURCES_MAX`].
        sources: Vec<Source>,
    },
}

/// An operation in the combined form. `new_version` 0 makes `length` a command: 0 deletes,
/// 1 creates, 2 tests. Otherwise `length` 0xFFFF_FFFF leaves the length as it is, and `copy` with
/// an id other than 0 is what is made of `chunk`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkOp {
    /// The chunk, at the version that it must have.
    pub chunk: ChunkAt,
    /// The version that it gets.
    pub new_version: u32,
    /// What is made of it.
    pub copy: ChunkAt,
    /// Its length afterwards, or a command.
    pub length: u32,
}

/// Operations whose answer is a chunk and a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DoneKind {
    /// [`Operation::Create`].
    Create,
    /// [`Operation::Delete`].
    Delete,
    /// [`Operation::Duplicate`].
    Duplicate,
    /// [`Operation::SetVersion`].
    SetVersion,
    /// [`Operation::Truncate`].
    Truncate,
    /// [`Operation::DupTrunc`].
    DupTrunc,
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// Which operation.
    pub kind: DoneKind,
    /// Its chunk, the new one where there are two.
    pub chunk: ChunkId,
    /// 0 when it succeeded.
    pub status: u8,
}

impl DoneKind {
    /// The number of the answer.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::Create => CSTOMA_CREATE,
            Self::Delete => CSTOMA_DELETE,
            Self::Duplicate => CSTOMA_DUPLICATE,
            Self::SetVersion => CSTOMA_SET_VERSION,
            Self::Truncate => CSTOMA_TRUNCATE,
            Self::DupTrunc => CSTOMA_DUPTRUNC,
        }
    }

    pub(super) fn numbered(number: u32) -> Option<Self> {
        let all = [
            Self::Create,
            Self::Delete,
            Self::Duplicate,
            Self::SetVersion,
            Self::Truncate,
            Self::DupTrunc,
        ];
        all.into_iter().find(|kind| kind.number() == number)
    }
}

impl ChunkOp {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, PacketError> {
        Ok(Self {
            chunk: ChunkAt::read(reader)?,
            new_version: reader.u32()?,
            copy: ChunkAt::read(reader)?,
            length: reader.u32()?,
        })
    }

    pub(super) fn write(self, writer: &mut Writer) {
        self.chunk.write(writer);
        writer.u32(self.new_version);
        self.copy.write(writer);
        writer.u32(self.length);
    }
}

impl Sources {
    fn read(reader: &mut Reader<'_>) -> Result<Self, PacketError> {
        const ONE_BYTES: usize = 6;
        if reader.remaining() == ONE_BYTES {
            return Place::read(reader).map(Self::One);
        }
        let masks = [reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?];
        let count = reader.remaining() / Source::BYTES;
        if count == 0 || count > SOURCES_MAX {
            return Err(reader.wrong("a replication has from one to eight sources"));
        }
        let sources = (0..count).map(|_| Source::read(reader));
        let sources = sources.collect::<Result<_, _>>()?;
        Ok(Self::Xor { masks, sources })
    }

    fn write(&self, writer: &mut Writer) -> Result<(), EncodeError> {
        match self {
            Self::One(place) => place.write(writer),
            Self::Xor { masks, sources } => {
                if sources.is_empty() || sources.len() > SOURCES_MAX {
                    let kind = MATOCS_REPLICATE;
                    let what = "a replication has from one to eight sources";
                    return Err(EncodeError::Value { kind, what });
                }
                masks.iter().for_each(|mask| {
                    writer.u32(*mask);
                });
                sources.iter().for_each(|source| source.write(writer));
            }
        }
        Ok(())
    }
}

impl Operation {
    /// The number of its packet.
    #[must_use]
    pub fn number(&self) -> u32 {
        match self {
            Self::Create(_) => MATOCS_CREATE,
            Self::Delete(_) => MATOCS_DELETE,
            Self::Duplicate { .. } => MATOCS_DUPLICATE,
            Self::SetVersion { .. } => MATOCS_SET_VERSION,
            Self::Replicate { .. } => MATOCS_REPLICATE,
            Self::ChunkOp(_) => MATOCS_CHUNKOP,
            Self::Truncate { .. } => MATOCS_TRUNCATE,
            Self::DupTrunc { .. } => MATOCS_DUPTRUNC,
        }
    }

    /// The chunk that the answer will name.
    #[must_use]
    pub fn chunk(&self) -> ChunkId {
        match self {
            Self::Create(new) | Self::Delete(new) => new.chunk,
            Self::Duplicate { new, .. }
            | Self::SetVersion { new, .. }
            | Self::Replicate { new, .. }
            | Self::Truncate { new, .. }
            | Self::DupTrunc { new, .. } => new.chunk,
            Self::ChunkOp(op) => op.chunk.chunk,
        }
    }

    /// What a server answers once it is done.
    #[must_use]
    pub fn done(&self, status: u8) -> ToMaster<'static> {
        let kind = match self {
            Self::Create(_) => DoneKind::Create,
            Self::Delete(_) => DoneKind::Delete,
            Self::Duplicate { .. } => DoneKind::Duplicate,
            Self::SetVersion { .. } => DoneKind::SetVersion,
            Self::Truncate { .. } => DoneKind::Truncate,
            Self::DupTrunc { .. } => DoneKind::DupTrunc,
            Self::Replicate { new, .. } => return ToMaster::Replicated { new: *new, status },
            Self::ChunkOp(op) => return ToMaster::ChunkOpDone { op: *op, status },
        };
        let chunk = self.chunk();
        ToMaster::Done(Done {
            kind,
            chunk,
            status,
        })
    }

    /// Reads an operation; `None` when `kind` is none.
    pub(super) fn read(kind: u32, reader: &mut Reader<'_>) -> Result<Option<Self>, PacketError> {
        Ok(Some(match kind {
            MATOCS_CREATE => Self::Create(ChunkAt::read(reader)?),
            MATOCS_DELETE => Self::Delete(ChunkAt::read(reader)?),
            MATOCS_DUPLICATE => Self::Duplicate {
                new: ChunkAt::read(reader)?,
                old: ChunkAt::read(reader)?,
            },
            MATOCS_SET_VERSION => Self::SetVersion {
                new: ChunkAt::read(reader)?,
                old_version: reader.u32()?,
            },
            MATOCS_REPLICATE => Self::Replicate {
                new: ChunkAt::read(reader)?,
                sources: Sources::read(reader)?,
            },
            MATOCS_CHUNKOP => Self::ChunkOp(ChunkOp::read(reader)?),
            // The length stands between the chunk and its version.
            MATOCS_TRUNCATE => {
                let chunk = ChunkId(reader.u64()?);
                let length = reader.u32()?;
                let version = reader.u32()?;
                Self::Truncate {
                    new: ChunkAt { chunk, version },
                    length,
                    old_version: reader.u32()?,
                }
            }
            MATOCS_DUPTRUNC => Self::DupTrunc {
                new: ChunkAt::read(reader)?,
                old: ChunkAt::read(reader)?,
                length: reader.u32()?,
            },
            _ => return Ok(None),
        }))
    }

    pub(super) fn write(&self, writer: &mut Writer) -> Result<(), EncodeError> {
        match self {
            Self::Create(chunk) | Self::Delete(chunk) => chunk.write(writer),
            Self::Duplicate { new, old } => {
                new.write(writer);
                old.write(writer);
            }
            Self::SetVersion { new, old_version } => {
                new.write(writer);
                writer.u32(*old_version);
            }
            Self::Replicate { new, sources } => {
                new.write(writer);
                sources.write(writer)?;
            }
            Self::ChunkOp(op) => op.write(writer),
            Self::Truncate {
                new,
                length,
                old_version,
            } => {
                writer.u64(new.chunk.0).u32(*length);
                writer.u32(new.version).u32(*old_version);
            }
            Self::DupTrunc { new, old, length } => {
                new.write(writer);
                old.write(writer);
                writer.u32(*length);
            }
        }
        Ok(())
    }
}
