//! What mounts, libmfsio and the mfs* tools say to a master, and what they hear.
//!
//! | module | what lives there |
//! |---|---|
//! | [`register`] | who it is, and which session it has |
//! | [`call`] | the table of requests and replies that have a message id |
//! | [`tree`], [`data`], [`xattr`], [`lock`] | requests of mounts, and their replies |
//! | [`subtree`], [`inspect`], [`trash`], [`class`] | requests of tools and of mounts of the trash |
//! | [`push`] | what a master says unasked |
//! | [`credentials`] | who asks |
//!
//! Both directions of both sides: a master parses [`FromClient`] and encodes [`ToClient`], a
//! client (the simulator has one) the other way round. What `mfscli` asks is not here.

pub mod call;
pub mod class;
pub mod credentials;
pub mod data;
#[cfg(feature = "fuzzing")]
mod fuzz;
pub mod inspect;
pub mod lock;
pub mod push;
pub mod register;
pub mod subtree;
#[cfg(test)]
mod tests;
pub mod trash;
pub mod tree;
pub mod xattr;

pub use call::{Call, Reply};
#[cfg(feature = "fuzzing")]
pub use fuzz::fuzz_client;

use self::push::{ChunkChanged, LengthChanged};
use self::register::{REGISTER, Register, Registered};
use super::fields::{Field, Form, packet};
use super::frame::Packet;
use super::reader::{PacketError, Reader};
use super::version::Version;
use super::writer::Writer;
use crate::id::InodeId;
use crate::time::WallTime;

/// Longest payload that a master takes from a client, bytes.
pub const PAYLOAD_BYTES_MAX: u32 = 50_000_000;

/// Oldest client whose forms are all known. Before 2.0 some fields stood elsewhere, at the same
/// length.
pub const OLDEST_CLIENT: Version = Version::new(2, 0, 0);

const NOP: u32 = 0;
const UNKNOWN_COMMAND: u32 = 1;
const BAD_COMMAND_SIZE: u32 = 2;
const GET_VERSION: u32 = 10;
const OLD_SUSTAINED_INODES: u32 = 499;
const SUSTAINED_INODES: u32 = 700;
const AMTIME_INODES: u32 = 701;
const CHUNK_HAS_CHANGED: u32 = 702;
const FLENG_HAS_CHANGED: u32 = 703;
const TIME_SYNC: u32 = 704;
const INVALIDATE_CHUNK_CACHE: u32 = 706;

/// Numbers of all packets of clients that are no [`Call`].
pub const OTHER_NUMBERS: &[u32] = &[
    NOP,
    UNKNOWN_COMMAND,
    BAD_COMMAND_SIZE,
    GET_VERSION,
    REGISTER,
    OLD_SUSTAINED_INODES,
    SUSTAINED_INODES,
    AMTIME_INODES,
    TIME_SYNC,
];

/// Names a request on its connection: one for each thread of the client, used again and again. 0
/// is what needs no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MsgId(pub u32);

impl Field for MsgId {
    fn read(reader: &mut Reader<'_>, _: Form) -> Result<Self, PacketError> {
        reader.u32().map(Self)
    }

    fn write(&self, writer: &mut Writer, _: Form) {
        writer.u32(self.0);
    }
}

packet! {
    /// The other side did not understand a packet.
    Complaint {
        /// Of which request.
        id: Option<MsgId> [unless 12],
        /// Number of the packet.
        number: u32,
        /// Bytes of its payload.
        size: u32,
        /// Version of who complains.
        version: Version,
    }
}

packet! {
    /// Times of a file that a client kept: 0 is as it was.
    Times {
        /// The file.
        inode: InodeId,
        /// Read.
        atime: WallTime,
        /// Written.
        mtime: WallTime,
    }
}

/// A packet of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromClient {
    /// Who it is.
    Register(Register),
    /// A request.
    Call {
        /// Its name.
        id: MsgId,
        /// What is wanted.
        call: Call,
    },
    /// Which version the master has.
    GetVersion(Option<MsgId>),
    /// What time it is.
    TimeSync(Option<MsgId>),
    /// It is still there.
    Nop(Option<MsgId>),
    /// It does not know a packet.
    UnknownCommand(Complaint),
    /// A packet was too long or too short for it.
    BadCommandSize(Complaint),
    /// All files that it has open.
    OpenFiles {
        /// The files.
        inodes: Vec<InodeId>,
        /// Under the number of clients before 3.0.74.
        old_number: bool,
    },
    /// Times of files that it kept.
    Times(Vec<Times>),
}

impl FromClient {
    /// Number of the packet.
    #[must_use]
    pub fn number(&self) -> u32 {
        match self {
            Self::Register(_) => REGISTER,
            Self::Call { call, .. } => call.number(),
            Self::GetVersion(_) => GET_VERSION,
            Self::TimeSync(_) => TIME_SYNC,
            Self::Nop(_) => NOP,
            Self::UnknownCommand(_) => UNKNOWN_COMMAND,
            Self::BadCommandSize(_) => BAD_COMMAND_SIZE,
            Self::OpenFiles { old_number, .. } => match old_number {
                true => OLD_SUSTAINED_INODES,
                false => SUSTAINED_INODES,
            },
            Self::Times(_) => AMTIME_INODES,
        }
    }

    /// Makes sense of a packet.
    ///
    /// # Errors
    /// [`PacketError`]: the connection is to be closed without an answer, as MooseFS does.
    pub fn parse(packet: &Packet) -> Result<Self, PacketError> {
        let form = Form::of(Version::OURS);
        let number = packet.kind;
        let reader = &mut Reader::new(number, &packet.payload);
        let found = match number {
            REGISTER => Self::Register(Field::read(reader, form)?),
            GET_VERSION => Self::GetVersion(Field::read(reader, form)?),
            TIME_SYNC => Self::TimeSync(Field::read(reader, form)?),
            NOP => Self::Nop(Field::read(reader, form)?),
            UNKNOWN_COMMAND => Self::UnknownCommand(Field::read(reader, form)?),
            BAD_COMMAND_SIZE => Self::BadCommandSize(Field::read(reader, form)?),
            SUSTAINED_INODES | OLD_SUSTAINED_INODES => Self::OpenFiles {
                inodes: Field::read(reader, form)?,
                old_number: number == OLD_SUSTAINED_INODES,
            },
            AMTIME_INODES => Self::Times(Field::read(reader, form)?),
            _ if Call::NUMBERS.contains(&number) => Self::Call {
                id: Field::read(reader, form)?,
                call: Call::read(number, reader)?,
            },
            kind => {
                let length = packet.payload.len();
                return Err(PacketError::Unknown { kind, length });
            }
        };
        reader.clone().end()?;
        Ok(found)
    }

    /// The whole packet.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let form = Form::of(Version::OURS);
        let mut writer = Writer::new(self.number());
        match self {
            Self::Register(register) => register.write(&mut writer, form),
            Self::Call { id, call } => {
                id.write(&mut writer, form);
                call.write(&mut writer);
            }
            Self::GetVersion(id) | Self::TimeSync(id) | Self::Nop(id) => {
                id.write(&mut writer, form);
            }
            Self::UnknownCommand(complaint) | Self::BadCommandSize(complaint) => {
                complaint.write(&mut writer, form);
            }
            Self::OpenFiles { inodes, .. } => inodes.write(&mut writer, form),
            Self::Times(times) => times.write(&mut writer, form),
        }
        writer.finish()
    }
}

/// A packet for a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToClient {
    /// What came of its registration.
    Registered(Registered),
    /// What came of a request.
    Reply {
        /// Name of the request.
        id: MsgId,
        /// What it is told.
        reply: Reply,
    },
    /// Which version the master has.
    Version {
        /// Name of the request, if it had one.
        id: Option<MsgId>,
        /// The version.
        version: Version,
        /// The version in words, not empty.
        text: Vec<u8>,
    },
    /// What time it is.
    Time {
        /// Name of the request, if it had one.
        id: Option<MsgId>,
        /// Microseconds since 1970.
        microseconds: u64,
    },
    /// The master is still there.
    Nop,
    /// A chunk of a file that is open in the session was changed by somebody else.
    ChunkChanged(ChunkChanged),
    /// The length of a file that is open in the session was changed by somebody else.
    LengthChanged(LengthChanged),
    /// What is known of where chunks are is not to be believed any more.
    InvalidateChunks,
    /// It does not know a packet.
    UnknownCommand(Complaint),
    /// A packet was too long or too short for it.
    BadCommandSize(Complaint),
}

impl ToClient {
    /// Number of the packet.
    #[must_use]
    pub fn number(&self) -> u32 {
        match self {
            Self::Registered(_) => REGISTER + 1,
            Self::Reply { reply, .. } => reply.number(),
            Self::Version { .. } => GET_VERSION + 1,
            Self::Time { .. } => TIME_SYNC + 1,
            Self::Nop => NOP,
            Self::ChunkChanged(_) => CHUNK_HAS_CHANGED,
            Self::LengthChanged(_) => FLENG_HAS_CHANGED,
            Self::InvalidateChunks => INVALIDATE_CHUNK_CACHE,
            Self::UnknownCommand(_) => UNKNOWN_COMMAND,
            Self::BadCommandSize(_) => BAD_COMMAND_SIZE,
        }
    }

    /// Makes sense of a packet. `form` is that of the request, which the client knows by the
    /// message id ([`Self::id_of`]); for anything but a reply only its version matters.
    ///
    /// # Errors
    /// [`PacketError`].
    pub fn parse(packet: &Packet, form: Form) -> Result<Self, PacketError> {
        let number = packet.kind;
        let reader = &mut Reader::new(number, &packet.payload);
        let found = match number {
            NOP => {
                push::read_no_id(reader)?;
                Self::Nop
            }
            UNKNOWN_COMMAND => Self::UnknownCommand(Field::read(reader, form)?),
            BAD_COMMAND_SIZE => Self::BadCommandSize(Field::read(reader, form)?),
            CHUNK_HAS_CHANGED => {
                push::read_no_id(reader)?;
                Self::ChunkChanged(Field::read(reader, form)?)
            }
            FLENG_HAS_CHANGED => {
                push::read_no_id(reader)?;
                Self::LengthChanged(Field::read(reader, form)?)
            }
            INVALIDATE_CHUNK_CACHE => {
                push::read_no_id(reader)?;
                Self::InvalidateChunks
            }
            _ if number == REGISTER + 1 => Self::Registered(Field::read(reader, form)?),
            _ if number == GET_VERSION + 1 => push::read_version(reader, form)?,
            _ if number == TIME_SYNC + 1 => {
                let has_id = reader.remaining() > 8;
                Self::Time {
                    id: has_id.then(|| MsgId::read(reader, form)).transpose()?,
                    microseconds: reader.u64()?,
                }
            }
            _ => Self::Reply {
                id: Field::read(reader, form)?,
                reply: Reply::read(number, reader, form)?,
            },
        };
        reader.clone().end()?;
        Ok(found)
    }

    /// Name of the request that a packet replies to; `None` if it is no reply.
    #[must_use]
    pub fn id_of(packet: &Packet) -> Option<MsgId> {
        let asked = packet.kind.checked_sub(1)?;
        let (id, _) = packet.payload.split_first_chunk()?;
        Call::NUMBERS
            .contains(&asked)
            .then(|| MsgId(u32::from_be_bytes(*id)))
    }

    /// The whole packet, in the form of the request that it replies to.
    #[must_use]
    pub fn encode(&self, form: Form) -> Vec<u8> {
        let mut writer = Writer::new(self.number());
        match self {
            Self::Registered(registered) => registered.write(&mut writer, form),
            Self::Reply { id, reply } => {
                id.write(&mut writer, form);
                reply.write(&mut writer, form);
            }
            Self::Version { id, version, text } => {
                id.write(&mut writer, form);
                writer.u32(version.0).bytes(text);
            }
            Self::Time { id, microseconds } => {
                id.write(&mut writer, form);
                writer.u64(*microseconds);
            }
            Self::Nop | Self::InvalidateChunks => {
                writer.u32(0);
            }
            Self::ChunkChanged(changed) => changed.write(writer.u32(0), form),
            Self::LengthChanged(changed) => changed.write(writer.u32(0), form),
            Self::UnknownCommand(complaint) | Self::BadCommandSize(complaint) => {
                complaint.write(&mut writer, form);
            }
        }
        writer.finish()
    }
}

#[cfg(any(test, feature = "fuzzing"))]
mod samples {
    use super::*;
    use crate::moosefs::sample::{Draw, Sample};

    impl Sample for MsgId {
        fn sample(draw: &mut Draw<'_>, form: Form) -> Self {
            Self(Sample::sample(draw, form))
        }
    }

    impl FromClient {
        /// Makes up a packet with this number.
        ///
        /// # Panics
        /// When no packet has it.
        pub fn sample(number: u32, draw: &mut Draw<'_>) -> Self {
            let form = Form::of(Version::OURS);
            match number {
                REGISTER => Self::Register(Sample::sample(draw, form)),
                GET_VERSION => Self::GetVersion(Sample::sample(draw, form)),
                TIME_SYNC => Self::TimeSync(Sample::sample(draw, form)),
                NOP => Self::Nop(Sample::sample(draw, form)),
                UNKNOWN_COMMAND => Self::UnknownCommand(Sample::sample(draw, form)),
                BAD_COMMAND_SIZE => Self::BadCommandSize(Sample::sample(draw, form)),
                OLD_SUSTAINED_INODES | SUSTAINED_INODES => Self::OpenFiles {
                    inodes: Sample::sample(draw, form),
                    old_number: number == OLD_SUSTAINED_INODES,
                },
                AMTIME_INODES => Self::Times(Sample::sample(draw, form)),
                _ => Self::Call {
                    id: Sample::sample(draw, form),
                    call: Call::sample(number, draw),
                },
            }
        }
    }

    impl ToClient {
        /// Makes up a packet: a reply to a request with this number, or with 0 something else.
        pub fn sample(request: u32, draw: &mut Draw<'_>, form: Form) -> Self {
            if request != 0 {
                return Self::Reply {
                    id: Sample::sample(draw, form),
                    reply: Reply::sample(request, draw, form),
                };
            }
            match draw.byte() % 9 {
                0 => Self::Registered(Sample::sample(draw, form)),
                1 => Self::Version {
                    id: Sample::sample(draw, form),
                    version: Version(u32::sample(draw, form) >> 8),
                    text: [b"3", draw.bytes(20).as_slice()].concat(),
                },
                2 => Self::Time {
                    id: Sample::sample(draw, form),
                    microseconds: Sample::sample(draw, form),
                },
                3 => Self::Nop,
                4 => Self::ChunkChanged(Sample::sample(draw, form)),
                5 => Self::LengthChanged(Sample::sample(draw, form)),
                6 => Self::InvalidateChunks,
                7 => Self::UnknownCommand(Sample::sample(draw, form)),
                _ => Self::BadCommandSize(Sample::sample(draw, form)),
            }
        }
    }
}
