//! How a chunkserver registers: `CSTOMA_REGISTER`, in the forms that a 3.0.117 master takes.
//!
//! The first byte says which form it is, but for the very first one, which has none and is told by
//! its even length; every other form has an odd one.

use super::list::List;
use super::number::CSTOMA_REGISTER;
use super::value::{ChunkCopy, Place, RemovalSpace};
use crate::id::CsId;
use crate::moosefs::reader::{PacketError, Reader};
use crate::moosefs::version::Version;
use crate::moosefs::writer::Writer;

/// Bytes of what answers a challenge.
pub const PASSCODE_BYTES: usize = 16;

const BEGIN_BYTES: usize = 54;

const OLD_BEGIN: u8 = 50;
const OLD_COPIES: u8 = 51;
const OLD_END: u8 = 52;
const BEGIN: u8 = 60;
const COPIES: u8 = 61;
const END: u8 = 62;
const DISCONNECT: u8 = 63;

/// Who registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin {
    /// Answer to the challenge of an [`super::Ack::Authenticate`].
    pub passcode: Option<[u8; PASSCODE_BYTES]>,
    /// Version of the server.
    pub version: Version,
    /// Where it is reached.
    pub place: Place,
    /// Silence after which it disconnects, seconds; 0 leaves that to the master.
    pub timeout_seconds: u16,
    /// Its number, 0 when it has none yet.
    pub csid: CsId,
    /// Its space.
    pub space: RemovalSpace,
}

/// A registration in one packet, from servers before 1.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Together<'a> {
    /// Where it is reached.
    pub place: Place,
    /// Bytes used.
    pub used: u64,
    /// Bytes there are.
    pub total: u64,
    /// What else is told.
    pub form: TogetherForm,
    /// All copies that it has.
    pub copies: List<'a, ChunkCopy>,
}

/// What servers before 1.6 told besides, by the form's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TogetherForm {
    /// Without a number.
    V0,
    /// 1.
    V1 {
        /// Bytes used on disks that are marked for removal.
        to_remove_used: u64,
        /// Bytes there are on disks that are marked for removal.
        to_remove_total: u64,
    },
    /// 2.
    V2(TogetherSpace),
    /// 3.
    V3 {
        /// Silence after which it disconnects, seconds.
        timeout_seconds: u16,
        /// Chunks, and disks that are marked for removal.
        space: TogetherSpace,
    },
    /// 4.
    V4 {
        /// Version of the server.
        version: Version,
        /// Silence after which it disconnects, seconds.
        timeout_seconds: u16,
        /// Chunks, and disks that are marked for removal.
        space: TogetherSpace,
    },
}

/// Chunks, and disks that are marked for removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TogetherSpace {
    /// Chunks on disks that stay.
    pub chunks: u32,
    /// Bytes used on disks that are marked for removal.
    pub to_remove_used: u64,
    /// Bytes there are on disks that are marked for removal.
    pub to_remove_total: u64,
    /// Chunks on disks that are marked for removal.
    pub to_remove_chunks: u32,
}

/// One packet of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register<'a> {
    /// Everything at once.
    Together(Together<'a>),
    /// Version 5 begins.
    OldBegin {
        /// Version of the server.
        version: Version,
        /// Where it is reached.
        place: Place,
        /// Silence after which it disconnects, seconds; at least 10.
        timeout_seconds: u16,
    },
    /// Version 5, some of its copies.
    OldCopies(List<'a, ChunkCopy>),
    /// Version 5 ends.
    OldEnd(RemovalSpace),
    /// Version 6 begins.
    Begin(Begin),
    /// Version 6, some of its copies.
    Copies(List<'a, ChunkCopy>),
    /// Version 6 ends.
    End,
    /// A registered server is about to stop.
    Disconnect,
}

impl<'a> Register<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, PacketError> {
        if reader.remaining().is_multiple_of(2) {
            return Together::read(0, reader).map(Self::Together);
        }
        match reader.u8()? {
            form @ 1..=4 => Together::read(form, reader).map(Self::Together),
            OLD_BEGIN => Ok(Self::OldBegin {
                version: Version(reader.u32()?),
                place: Place::read(reader)?,
                timeout_seconds: reader.u16()?,
            }),
            OLD_COPIES => List::read(reader).map(Self::OldCopies),
            OLD_END => RemovalSpace::read(reader).map(Self::OldEnd),
            BEGIN => Begin::read(reader).map(Self::Begin),
            COPIES => List::read(reader).map(Self::Copies),
            END => Ok(Self::End),
            DISCONNECT => Ok(Self::Disconnect),
            _ => Err(reader.wrong("no such form of a registration")),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(CSTOMA_REGISTER);
        match self {
            Self::Together(together) => together.write(&mut writer),
            Self::OldBegin {
                version,
                place,
                timeout_seconds,
            } => {
                writer.u8(OLD_BEGIN).u32(version.0);
                place.write(&mut writer);
                writer.u16(*timeout_seconds);
            }
            Self::OldCopies(copies) => {
                writer.u8(OLD_COPIES).bytes(copies.bytes());
            }
            Self::OldEnd(space) => {
                writer.u8(OLD_END);
                space.write(&mut writer);
            }
            Self::Begin(begin) => begin.write(&mut writer),
            Self::Copies(copies) => {
                writer.u8(COPIES).bytes(copies.bytes());
            }
            Self::End => {
                writer.u8(END);
            }
            Self::Disconnect => {
                writer.u8(DISCONNECT);
            }
        }
        writer.finish()
    }
}

impl Begin {
    fn read(reader: &mut Reader<'_>) -> Result<Self, PacketError> {
        let long = reader.remaining() == BEGIN_BYTES + PASSCODE_BYTES;
        Ok(Self {
            passcode: long.then(|| reader.array()).transpose()?,
            version: Version(reader.u32()?),
            place: Place::read(reader)?,
            timeout_seconds: reader.u16()?,
            csid: CsId(reader.u16()?),
            space: RemovalSpace::read(reader)?,
        })
    }

    fn write(&self, writer: &mut Writer) {
        writer.u8(BEGIN);
        if let Some(passcode) = &self.passcode {
            writer.bytes(passcode);
        }
        writer.u32(self.version.0);
        self.place.write(writer);
        writer.u16(self.timeout_seconds).u16(self.csid.0);
        self.space.write(writer);
    }
}

impl<'a> Together<'a> {
    fn read(form: u8, reader: &mut Reader<'a>) -> Result<Self, PacketError> {
        let version = match form {
            4 => reader.u32()?,
            _ => 0,
        };
        let place = Place::read(reader)?;
        let timeout_seconds = match form {
            3 | 4 => reader.u16()?,
            _ => 0,
        };
        let (used, total) = (reader.u64()?, reader.u64()?);
        let form = match form {
            0 => TogetherForm::V0,
            1 => TogetherForm::V1 {
                to_remove_used: reader.u64()?,
                to_remove_total: reader.u64()?,
            },
            2 => TogetherForm::V2(TogetherSpace::read(reader)?),
            3 => TogetherForm::V3 {
                timeout_seconds,
                space: TogetherSpace::read(reader)?,
            },
            _ => TogetherForm::V4 {
                version: Version(version),
                timeout_seconds,
                space: TogetherSpace::read(reader)?,
            },
        };
        let copies = List::read(reader)?;
        Ok(Self {
            place,
            used,
            total,
            form,
            copies,
        })
    }

    fn write(&self, writer: &mut Writer) {
        let (number, version, timeout_seconds) = match self.form {
            TogetherForm::V0 => (None, None, None),
            TogetherForm::V1 { .. } => (Some(1), None, None),
            TogetherForm::V2(_) => (Some(2), None, None),
            TogetherForm::V3 {
                timeout_seconds, ..
            } => (Some(3), None, Some(timeout_seconds)),
            TogetherForm::V4 {
                version,
                timeout_seconds,
                ..
            } => (Some(4), Some(version), Some(timeout_seconds)),
        };
        if let Some(number) = number {
            writer.u8(number);
        }
        if let Some(version) = version {
            writer.u32(version.0);
        }
        self.place.write(writer);
        if let Some(seconds) = timeout_seconds {
            writer.u16(seconds);
        }
        writer.u64(self.used).u64(self.total);
        match self.form {
            TogetherForm::V0 => {}
            TogetherForm::V1 {
                to_remove_used,
                to_remove_total,
            } => {
                writer.u64(to_remove_used).u64(to_remove_total);
            }
            TogetherForm::V2(space)
            | TogetherForm::V3 { space, .. }
            | TogetherForm::V4 { space, .. } => space.write(writer),
        }
        writer.bytes(self.copies.bytes());
    }
}

impl TogetherSpace {
    fn read(reader: &mut Reader<'_>) -> Result<Self, PacketError> {
        Ok(Self {
            chunks: reader.u32()?,
            to_remove_used: reader.u64()?,
            to_remove_total: reader.u64()?,
            to_remove_chunks: reader.u32()?,
        })
    }

    fn write(&self, writer: &mut Writer) {
        writer.u32(self.chunks);
        writer.u64(self.to_remove_used).u64(self.to_remove_total);
        writer.u32(self.to_remove_chunks);
    }
}
