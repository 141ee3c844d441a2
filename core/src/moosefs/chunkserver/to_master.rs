//! What a chunkserver says to its master.

use super::list::List;
use super::number::*;
use super::operation::{ChunkOp, Done, DoneKind};
use super::register::Register;
use super::value::{
    Checksum, ChunkAt, ChunkCopy, Complaint, Labels, Load, SpaceReport, read_msgid,
};
use super::{EncodeError, TO_MASTER_BYTES_MAX, bounded};
use crate::id::ChunkId;
use crate::moosefs::reader::{PacketError, Reader};
use crate::moosefs::writer::Writer;

/// Checksums of all 1024 blocks of a chunk, four bytes each.
const CHECKSUM_TAB_BYTES: usize = 4 * 1024;

/// One packet from a chunkserver to a master.
///
/// 3.0.117 masters disconnect a server that sends `ChunkOpDone`, `ChunkBlocks` or
/// `ChunkChecksumTab`, for they never ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToMaster<'a> {
    /// Still here.
    Nop,
    /// A packet's number was not known.
    UnknownCommand(Complaint),
    /// A packet had a length that it cannot have.
    BadCommandSize(Complaint),
    /// Which version the master has.
    GetVersion {
        /// To be repeated in the answer.
        msgid: Option<u32>,
    },
    /// Which value an option of the master has.
    GetConfig {
        /// To be repeated in the answer.
        msgid: u32,
        /// The option.
        name: &'a [u8],
    },
    /// Registers.
    Register(Register<'a>),
    /// Its space has changed.
    Space(SpaceReport),
    /// Copies that are there and bad.
    ChunkDamaged(List<'a, ChunkId>),
    /// How busy it is.
    CurrentLoad(Load),
    /// Copies that are no longer there.
    ChunkLost(List<'a, ChunkId>),
    /// One more error of a disk.
    ErrorOccurred,
    /// Copies that were found after the registration.
    ChunkNew(List<'a, ChunkCopy>),
    /// Its labels.
    Labels(Labels),
    /// An operation has ended.
    Done(Done),
    /// A replication has ended.
    Replicated {
        /// What was to be made.
        new: ChunkAt,
        /// 0 when it succeeded.
        status: u8,
    },
    /// An operation in the combined form has ended.
    ChunkOpDone {
        /// What it was.
        op: ChunkOp,
        /// 0 when it succeeded.
        status: u8,
    },
    /// How many blocks a copy has.
    ChunkBlocks {
        /// The copy.
        chunk: ChunkAt,
        /// Blocks of 64 KiB.
        blocks: u16,
        /// 0 when it succeeded.
        status: u8,
    },
    /// The checksum of a copy.
    ChunkChecksum {
        /// The copy.
        chunk: ChunkAt,
        /// Its checksum, or why there is none.
        checksum: Checksum<u32>,
    },
    /// The checksums of all blocks of a copy.
    ChunkChecksumTab {
        /// The copy.
        chunk: ChunkAt,
        /// 1024 checksums as they lie in the packet, or why there are none.
        checksums: Checksum<&'a [u8; CHECKSUM_TAB_BYTES]>,
    },
}

impl<'a> ToMaster<'a> {
    /// The number of its packet.
    #[must_use]
    pub fn number(&self) -> u32 {
        match self {
            Self::Nop => ANTOAN_NOP,
            Self::UnknownCommand(_) => ANTOAN_UNKNOWN_COMMAND,
            Self::BadCommandSize(_) => ANTOAN_BAD_COMMAND_SIZE,
            Self::GetVersion { .. } => ANTOAN_GET_VERSION,
            Self::GetConfig { .. } => ANTOAN_GET_CONFIG,
            Self::Register(_) => CSTOMA_REGISTER,
            Self::Space(_) => CSTOMA_SPACE,
            Self::ChunkDamaged(_) => CSTOMA_CHUNK_DAMAGED,
            Self::CurrentLoad(_) => CSTOMA_CURRENT_LOAD,
            Self::ChunkLost(_) => CSTOMA_CHUNK_LOST,
            Self::ErrorOccurred => CSTOMA_ERROR_OCCURRED,
            Self::ChunkNew(_) => CSTOMA_CHUNK_NEW,
            Self::Labels(_) => CSTOMA_LABELS,
            Self::Done(done) => done.kind.number(),
            Self::Replicated { .. } => CSTOMA_REPLICATE,
            Self::ChunkOpDone { .. } => CSTOMA_CHUNKOP,
            Self::ChunkBlocks { .. } => CSTOAN_CHUNK_BLOCKS,
            Self::ChunkChecksum { .. } => CSTOAN_CHUNK_CHECKSUM,
            Self::ChunkChecksumTab { .. } => CSTOAN_CHUNK_CHECKSUM_TAB,
        }
    }

    /// Reads a packet; its lists stay where they are.
    ///
    /// # Errors
    /// [`PacketError`]; a master disconnects the server then.
    pub fn parse(kind: u32, payload: &'a [u8]) -> Result<Self, PacketError> {
        let mut reader = Reader::new(kind, payload);
        let packet = Self::read(kind, &mut reader)?;
        reader.end()?;
        Ok(packet)
    }

    fn read(kind: u32, reader: &mut Reader<'a>) -> Result<Self, PacketError> {
        let length = reader.remaining();
        Ok(match kind {
            ANTOAN_NOP => Self::Nop,
            ANTOAN_UNKNOWN_COMMAND => Self::UnknownCommand(Complaint::read(reader)?),
            ANTOAN_BAD_COMMAND_SIZE => Self::BadCommandSize(Complaint::read(reader)?),
            ANTOAN_GET_VERSION => Self::GetVersion {
                msgid: read_msgid(reader)?,
            },
            ANTOAN_GET_CONFIG => Self::GetConfig {
                msgid: reader.u32()?,
                name: reader.name()?,
            },
            CSTOMA_REGISTER => Self::Register(Register::read(reader)?),
            CSTOMA_SPACE => Self::Space(SpaceReport::read(reader)?),
            CSTOMA_CHUNK_DAMAGED => Self::ChunkDamaged(List::read(reader)?),
            CSTOMA_CURRENT_LOAD => Self::CurrentLoad(Load::read(reader)?),
            CSTOMA_CHUNK_LOST => Self::ChunkLost(List::read(reader)?),
            CSTOMA_ERROR_OCCURRED => Self::ErrorOccurred,
            CSTOMA_CHUNK_NEW => Self::ChunkNew(List::read(reader)?),
            CSTOMA_LABELS => Self::Labels(Labels(reader.u32()?)),
            CSTOMA_REPLICATE => Self::Replicated {
                new: ChunkAt::read(reader)?,
                status: reader.u8()?,
            },
            CSTOMA_CHUNKOP => Self::ChunkOpDone {
                op: ChunkOp::read(reader)?,
                status: reader.u8()?,
            },
            CSTOAN_CHUNK_BLOCKS => Self::ChunkBlocks {
                chunk: ChunkAt::read(reader)?,
                blocks: reader.u16()?,
                status: reader.u8()?,
            },
            CSTOAN_CHUNK_CHECKSUM => Self::ChunkChecksum {
                chunk: ChunkAt::read(reader)?,
                checksum: match reader.remaining() {
                    1 => Err(reader.u8()?),
                    _ => Ok(reader.u32()?),
                },
            },
            CSTOAN_CHUNK_CHECKSUM_TAB => Self::ChunkChecksumTab {
                chunk: ChunkAt::read(reader)?,
                checksums: match reader.remaining() {
                    1 => Err(reader.u8()?),
                    _ => Ok(read_checksums(reader)?),
                },
            },
            _ => {
                let kind = DoneKind::numbered(kind).ok_or(PacketError::Unknown { kind, length })?;
                Self::Done(Done {
                    kind,
                    chunk: ChunkId(reader.u64()?),
                    status: reader.u8()?,
                })
            }
        })
    }

    /// The packet with its header.
    ///
    /// # Errors
    /// [`EncodeError`]; never gives more than [`TO_MASTER_BYTES_MAX`] bytes of payload.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let kind = self.number();
        let mut writer = Writer::new(kind);
        match self {
            Self::Nop | Self::ErrorOccurred => {}
            Self::UnknownCommand(complaint) | Self::BadCommandSize(complaint) => {
                complaint.write(&mut writer);
            }
            Self::GetVersion { msgid } => {
                if let Some(msgid) = msgid {
                    writer.u32(*msgid);
                }
            }
            Self::GetConfig { msgid, name } => {
                if name.len() > usize::from(u8::MAX) {
                    let what = "the name of an option has at most 255 bytes";
                    return Err(EncodeError::Value { kind, what });
                }
                writer.u32(*msgid).name(name);
            }
            Self::Register(register) => {
                return bounded(register.encode(), kind, TO_MASTER_BYTES_MAX);
            }
            Self::Space(space) => space.write(&mut writer),
            Self::ChunkDamaged(chunks) | Self::ChunkLost(chunks) => {
                writer.bytes(chunks.bytes());
            }
            Self::CurrentLoad(load) => load.write(&mut writer),
            Self::ChunkNew(copies) => {
                writer.bytes(copies.bytes());
            }
            Self::Labels(labels) => {
                writer.u32(labels.0);
            }
            Self::Done(done) => {
                writer.u64(done.chunk.0).u8(done.status);
            }
            Self::Replicated { new, status } => {
                new.write(&mut writer);
                writer.u8(*status);
            }
            Self::ChunkOpDone { op, status } => {
                op.write(&mut writer);
                writer.u8(*status);
            }
            Self::ChunkBlocks {
                chunk,
                blocks,
                status,
            } => {
                chunk.write(&mut writer);
                writer.u16(*blocks).u8(*status);
            }
            Self::ChunkChecksum { chunk, checksum } => {
                chunk.write(&mut writer);
                match checksum {
                    Ok(checksum) => writer.u32(*checksum),
                    Err(status) => writer.u8(*status),
                };
            }
            Self::ChunkChecksumTab { chunk, checksums } => {
                chunk.write(&mut writer);
                match checksums {
                    Ok(checksums) => writer.bytes(&checksums[..]),
                    Err(status) => writer.u8(*status),
                };
            }
        }
        bounded(writer.finish(), kind, TO_MASTER_BYTES_MAX)
    }
}

fn read_checksums<'a>(
    reader: &mut Reader<'a>,
) -> Result<&'a [u8; CHECKSUM_TAB_BYTES], PacketError> {
    let bytes = reader.bytes(CHECKSUM_TAB_BYTES)?;
    Ok(bytes.try_into().expect("as many as were asked for"))
}
