//! What a master says to a chunkserver.

use super::ack::Ack;
use super::number::*;
use super::operation::Operation;
use super::value::{ChunkAt, Complaint, VersionText};
use super::{EncodeError, TO_CHUNKSERVER_BYTES_MAX, bounded};
use crate::moosefs::reader::{PacketError, Reader};
use crate::moosefs::writer::Writer;

/// One packet from a master to a chunkserver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToChunkserver<'a> {
    /// Still here. Never before the first [`Ack`]: a server takes it for a very old master.
    Nop,
    /// A packet's number was not known.
    UnknownCommand(Complaint),
    /// A packet had a length that it cannot have.
    BadCommandSize(Complaint),
    /// This master's version.
    Version(VersionText<'a>),
    /// The value of an option; empty when there is none of that name.
    ConfigValue {
        /// The question's message.
        msgid: u32,
        /// The value, at most 255 bytes.
        value: &'a [u8],
    },
    /// Answers a registration.
    Ack(Ack),
    /// Is to be done, and answered by [`Operation::done`].
    Operation(Operation),
    /// How many blocks a copy has.
    GetChunkBlocks(ChunkAt),
    /// The checksum of a copy.
    GetChunkChecksum(ChunkAt),
    /// The checksums of all blocks of a copy.
    GetChunkChecksumTab(ChunkAt),
}

impl<'a> ToChunkserver<'a> {
    /// The number of its packet.
    #[must_use]
    pub fn number(&self) -> u32 {
        match self {
            Self::Nop => ANTOAN_NOP,
            Self::UnknownCommand(_) => ANTOAN_UNKNOWN_COMMAND,
            Self::BadCommandSize(_) => ANTOAN_BAD_COMMAND_SIZE,
            Self::Version(_) => ANTOAN_VERSION,
            Self::ConfigValue { .. } => ANTOAN_CONFIG_VALUE,
            Self::Ack(_) => MATOCS_MASTER_ACK,
            Self::Operation(operation) => operation.number(),
            Self::GetChunkBlocks(_) => ANTOCS_GET_CHUNK_BLOCKS,
            Self::GetChunkChecksum(_) => ANTOCS_GET_CHUNK_CHECKSUM,
            Self::GetChunkChecksumTab(_) => ANTOCS_GET_CHUNK_CHECKSUM_TAB,
        }
    }

    /// Reads a packet.
    ///
    /// # Errors
    /// [`PacketError`]; a chunkserver disconnects then.
    pub fn parse(kind: u32, payload: &'a [u8]) -> Result<Self, PacketError> {
        let mut reader = Reader::new(kind, payload);
        if payload.len() > TO_CHUNKSERVER_BYTES_MAX as usize {
            return Err(reader.wrong("it is longer than a chunkserver takes"));
        }
        let packet = match kind {
            ANTOAN_NOP => Self::Nop,
            ANTOAN_UNKNOWN_COMMAND => Self::UnknownCommand(Complaint::read(&mut reader)?),
            ANTOAN_BAD_COMMAND_SIZE => Self::BadCommandSize(Complaint::read(&mut reader)?),
            ANTOAN_VERSION => Self::Version(VersionText::read(&mut reader)?),
            ANTOAN_CONFIG_VALUE => Self::ConfigValue {
                msgid: reader.u32()?,
                value: reader.name()?,
            },
            MATOCS_MASTER_ACK => Self::Ack(Ack::read(&mut reader)?),
            ANTOCS_GET_CHUNK_BLOCKS => Self::GetChunkBlocks(ChunkAt::read(&mut reader)?),
            ANTOCS_GET_CHUNK_CHECKSUM => Self::GetChunkChecksum(ChunkAt::read(&mut reader)?),
            ANTOCS_GET_CHUNK_CHECKSUM_TAB => Self::GetChunkChecksumTab(ChunkAt::read(&mut reader)?),
            _ => {
                let length = payload.len();
                let unknown = PacketError::Unknown { kind, length };
                Self::Operation(Operation::read(kind, &mut reader)?.ok_or(unknown)?)
            }
        };
        reader.end()?;
        Ok(packet)
    }

    /// The packet with its header.
    ///
    /// # Errors
    /// [`EncodeError`]; never gives more than [`TO_CHUNKSERVER_BYTES_MAX`] bytes of payload.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let kind = self.number();
        let mut writer = Writer::new(kind);
        match self {
            Self::Nop => {}
            Self::UnknownCommand(complaint) | Self::BadCommandSize(complaint) => {
                complaint.write(&mut writer);
            }
            Self::Version(version) => version.write(kind, &mut writer)?,
            Self::ConfigValue { msgid, value } => {
                if value.len() > usize::from(u8::MAX) {
                    let what = "the value of an option has at most 255 bytes";
                    return Err(EncodeError::Value { kind, what });
                }
                writer.u32(*msgid).name(value);
            }
            Self::Ack(ack) => return Ok(ack.encode()),
            Self::Operation(operation) => operation.write(&mut writer)?,
            Self::GetChunkBlocks(chunk)
            | Self::GetChunkChecksum(chunk)
            | Self::GetChunkChecksumTab(chunk) => chunk.write(&mut writer),
        }
        bounded(writer.finish(), kind, TO_CHUNKSERVER_BYTES_MAX)
    }
}
