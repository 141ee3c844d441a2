//! The questions.

use super::{
    CHART_DATA, CHUNKS_MATRIX, CHUNKSTEST_INFO, CSERV_LIST, CSSERV_COMMAND, EXPORTS_INFO,
    FSTEST_INFO, INFO, LIST_ACQUIRED_LOCKS, LIST_OPEN_FILES, MASS_RESOLVE_PATHS, MEMORY_INFO,
    MISSING_CHUNKS, MLOG_LIST, MODULE_INFO, QUOTA_INFO, SCLASS_INFO, SESSION_COMMAND, SESSION_LIST,
};
use crate::id::{InodeId, SessionId};
use crate::moosefs::fields::{Field, Form};
use crate::moosefs::frame::Packet;
use crate::moosefs::reader::{PacketError, Reader};
use crate::moosefs::version::Version;
use crate::moosefs::writer::Writer;

/// What is to be done with a chunkserver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkserverOrder {
    /// Forget it; old tools have no other order.
    Remove,
    /// It may be used again although it was given up.
    BackToWork,
    /// It will be away for a while.
    MaintenanceOn,
    /// It is back.
    MaintenanceOff,
    /// None of these.
    Unknown(u8),
}

/// A command for a chunkserver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkserverCommand {
    /// What; `None` in the form of old tools, which is to remove it.
    pub order: Option<ChunkserverOrder>,
    /// Its address.
    pub ip: u32,
    /// Its port.
    pub port: u16,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromMonitor {
    /// CSERV_LIST.
    Chunkservers,
    /// CHART_DATA.
    ChartData {
        /// Series times ten, and the range: 0 a minute each, 1 six, 2 thirty, 3 a day.
        id: u32,
        /// Most entries.
        max: Option<u32>,
    },
    /// SESSION_LIST.
    Sessions {
        /// How much is told of each; the newest is 4.
        mode: Option<u8>,
    },
    /// INFO.
    Info,
    /// FSTEST_INFO.
    FileLoop {
        /// Any byte for the long form: files in the trash and sustained ones apart.
        form: Option<u8>,
    },
    /// CHUNKSTEST_INFO.
    ChunkLoop,
    /// CHUNKS_MATRIX.
    Matrices {
        /// 0 for all copies, 1 without those that shall leave; both, with progress, when `None`.
        which: Option<u8>,
    },
    /// QUOTA_INFO.
    Quotas,
    /// EXPORTS_INFO.
    Exports {
        /// How much is told of each; the newest is 3.
        mode: Option<u8>,
    },
    /// MLOG_LIST.
    Metaloggers,
    /// CSSERV_COMMAND.
    ChunkserverCommand(ChunkserverCommand),
    /// SESSION_COMMAND: ends a session.
    SessionCommand {
        /// 0 to end it, which is all there is.
        order: u8,
        /// Which.
        session: SessionId,
    },
    /// MEMORY_INFO.
    Memory,
    /// MODULE_INFO.
    Module {
        /// Message id.
        id: Option<u32>,
    },
    /// LIST_OPEN_FILES.
    OpenFiles {
        /// Message id.
        id: Option<u32>,
        /// Of which session; 0 for all.
        session: SessionId,
    },
    /// LIST_ACQUIRED_LOCKS.
    Locks {
        /// Of which file; 0 for all.
        inode: InodeId,
    },
    /// MASS_RESOLVE_PATHS.
    Paths(Vec<InodeId>),
    /// SCLASS_INFO.
    Classes,
    /// MISSING_CHUNKS.
    Missing {
        /// 1 for each with why it is missing.
        form: Option<u8>,
    },
}

impl ChunkserverOrder {
    fn of(byte: u8) -> Self {
        match byte {
            0 => Self::Remove,
            1 => Self::BackToWork,
            2 => Self::MaintenanceOn,
            3 => Self::MaintenanceOff,
            other => Self::Unknown(other),
        }
    }

    fn byte(self) -> u8 {
        match self {
            Self::Remove => 0,
            Self::BackToWork => 1,
            Self::MaintenanceOn => 2,
            Self::MaintenanceOff => 3,
            Self::Unknown(other) => other,
        }
    }
}

impl FromMonitor {
    /// Numbers of all questions.
    pub const NUMBERS: &'static [u32] = &[
        CSERV_LIST,
        CHART_DATA,
        SESSION_LIST,
        INFO,
        FSTEST_INFO,
        CHUNKSTEST_INFO,
        CHUNKS_MATRIX,
        QUOTA_INFO,
        EXPORTS_INFO,
        MLOG_LIST,
        CSSERV_COMMAND,
        SESSION_COMMAND,
        MEMORY_INFO,
        MODULE_INFO,
        LIST_OPEN_FILES,
        LIST_ACQUIRED_LOCKS,
        MASS_RESOLVE_PATHS,
        SCLASS_INFO,
        MISSING_CHUNKS,
    ];

    /// Number of the packet.
    #[must_use]
    pub fn number(&self) -> u32 {
        match self {
            Self::Chunkservers => CSERV_LIST,
            Self::ChartData { .. } => CHART_DATA,
            Self::Sessions { .. } => SESSION_LIST,
            Self::Info => INFO,
            Self::FileLoop { .. } => FSTEST_INFO,
            Self::ChunkLoop => CHUNKSTEST_INFO,
            Self::Matrices { .. } => CHUNKS_MATRIX,
            Self::Quotas => QUOTA_INFO,
            Self::Exports { .. } => EXPORTS_INFO,
            Self::Metaloggers => MLOG_LIST,
            Self::ChunkserverCommand(_) => CSSERV_COMMAND,
            Self::SessionCommand { .. } => SESSION_COMMAND,
            Self::Memory => MEMORY_INFO,
            Self::Module { .. } => MODULE_INFO,
            Self::OpenFiles { .. } => LIST_OPEN_FILES,
            Self::Locks { .. } => LIST_ACQUIRED_LOCKS,
            Self::Paths(_) => MASS_RESOLVE_PATHS,
            Self::Classes => SCLASS_INFO,
            Self::Missing { .. } => MISSING_CHUNKS,
        }
    }

    /// Its message id, where it has one: the answer begins with it.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        match self {
            Self::Module { id } | Self::OpenFiles { id, .. } => *id,
            _ => None,
        }
    }

    /// Makes sense of a packet.
    ///
    /// # Errors
    /// [`PacketError`]: the connection is to be closed without an answer, as MooseFS does.
    pub fn parse(packet: &Packet) -> Result<Self, PacketError> {
        let form = Form::of(Version::OURS);
        let reader = &mut Reader::new(packet.kind, &packet.payload);
        let found = match packet.kind {
            CSERV_LIST => Self::Chunkservers,
            CHART_DATA => Self::ChartData {
                id: reader.u32()?,
                max: Field::read(reader, form)?,
            },
            SESSION_LIST => Self::Sessions {
                mode: Field::read(reader, form)?,
            },
            INFO => Self::Info,
            FSTEST_INFO => Self::FileLoop {
                form: Field::read(reader, form)?,
            },
            CHUNKSTEST_INFO => Self::ChunkLoop,
            CHUNKS_MATRIX => Self::Matrices {
                which: Field::read(reader, form)?,
            },
            QUOTA_INFO => Self::Quotas,
            EXPORTS_INFO => Self::Exports {
                mode: Field::read(reader, form)?,
            },
            MLOG_LIST => Self::Metaloggers,
            CSSERV_COMMAND => {
                let order = match reader.remaining() {
                    7 => Some(ChunkserverOrder::of(reader.u8()?)),
                    _ => None,
                };
                Self::ChunkserverCommand(ChunkserverCommand {
                    order,
                    ip: reader.u32()?,
                    port: reader.u16()?,
                })
            }
            SESSION_COMMAND => Self::SessionCommand {
                order: reader.u8()?,
                session: Field::read(reader, form)?,
            },
            MEMORY_INFO => Self::Memory,
            MODULE_INFO => Self::Module {
                id: Field::read(reader, form)?,
            },
            LIST_OPEN_FILES => {
                let id = match reader.remaining() {
                    8 => Some(reader.u32()?),
                    _ => None,
                };
                let session = Field::read(reader, form)?;
                Self::OpenFiles { id, session }
            }
            LIST_ACQUIRED_LOCKS => Self::Locks {
                inode: Field::read(reader, form)?,
            },
            MASS_RESOLVE_PATHS => Self::Paths(Field::read(reader, form)?),
            SCLASS_INFO => Self::Classes,
            MISSING_CHUNKS => Self::Missing {
                form: Field::read(reader, form)?,
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
        let writer = &mut Writer::new(self.number());
        match self {
            Self::ChartData { id, max } => {
                writer.u32(*id);
                max.write(writer, form);
            }
            Self::Sessions { mode } | Self::Exports { mode } => mode.write(writer, form),
            Self::FileLoop { form: asked } | Self::Missing { form: asked } => {
                asked.write(writer, form);
            }
            Self::Matrices { which } => which.write(writer, form),
            Self::ChunkserverCommand(command) => {
                command
                    .order
                    .map(ChunkserverOrder::byte)
                    .write(writer, form);
                writer.u32(command.ip).u16(command.port);
            }
            Self::SessionCommand { order, session } => {
                writer.u8(*order);
                session.write(writer, form);
            }
            Self::Module { id } => id.write(writer, form),
            Self::OpenFiles { id, session } => {
                id.write(writer, form);
                session.write(writer, form);
            }
            Self::Locks { inode } => inode.write(writer, form),
            Self::Paths(inodes) => inodes.write(writer, form),
            Self::Chunkservers
            | Self::Info
            | Self::ChunkLoop
            | Self::Quotas
            | Self::Metaloggers
            | Self::Memory
            | Self::Classes => {}
        }
        writer.clone().finish()
    }
}

#[cfg(any(test, feature = "fuzzing"))]
mod samples {
    use super::*;
    use crate::moosefs::sample::{Draw, Sample};

    impl FromMonitor {
        /// Makes up a question with this number.
        ///
        /// # Panics
        /// When no question has it.
        pub fn sample(number: u32, draw: &mut Draw<'_>) -> Self {
            let form = Form::of(Version::OURS);
            match number {
                CSERV_LIST => Self::Chunkservers,
                CHART_DATA => Self::ChartData {
                    id: Sample::sample(draw, form),
                    max: Sample::sample(draw, form),
                },
                SESSION_LIST => Self::Sessions {
                    mode: Sample::sample(draw, form),
                },
                INFO => Self::Info,
                FSTEST_INFO => Self::FileLoop {
                    form: Sample::sample(draw, form),
                },
                CHUNKSTEST_INFO => Self::ChunkLoop,
                CHUNKS_MATRIX => Self::Matrices {
                    which: Sample::sample(draw, form),
                },
                QUOTA_INFO => Self::Quotas,
                EXPORTS_INFO => Self::Exports {
                    mode: Sample::sample(draw, form),
                },
                MLOG_LIST => Self::Metaloggers,
                CSSERV_COMMAND => Self::ChunkserverCommand(ChunkserverCommand {
                    order: Option::<u8>::sample(draw, form).map(ChunkserverOrder::of),
                    ip: Sample::sample(draw, form),
                    port: Sample::sample(draw, form),
                }),
                SESSION_COMMAND => Self::SessionCommand {
                    order: draw.byte(),
                    session: Sample::sample(draw, form),
                },
                MEMORY_INFO => Self::Memory,
                MODULE_INFO => Self::Module {
                    id: Sample::sample(draw, form),
                },
                LIST_OPEN_FILES => Self::OpenFiles {
                    id: Sample::sample(draw, form),
                    session: Sample::sample(draw, form),
                },
                LIST_ACQUIRED_LOCKS => Self::Locks {
                    inode: Sample::sample(draw, form),
                },
                MASS_RESOLVE_PATHS => Self::Paths(Sample::sample(draw, form)),
                SCLASS_INFO => Self::Classes,
                MISSING_CHUNKS => Self::Missing {
                    form: Sample::sample(draw, form),
                },
                other => panic!("{other} is no question"),
            }
        }
    }
}
