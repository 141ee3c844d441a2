//! What `mfscli`, the CGI pages and other tools of operators ask a master, and what they are told.
//!
//! They do not register. A question has no message id (only MODULE_INFO and the list of open files
//! may have one), and its answer is the next packet of the connection: nothing may be sent
//! unasked. `docs/protocols/monitor.md` has the forms.
//!
//! | module | what lives there |
//! |---|---|
//! | [`ask`] | the questions |
//! | [`cluster`] | the master and its chunkservers |
//! | [`chunks`] | what loops over files and chunks saw |
//! | [`sessions`] | sessions, exports, open files, locks, quotas |
//! | [`classes`] | storage classes |

pub mod ask;
pub mod chunks;
pub mod classes;
pub mod cluster;
#[cfg(feature = "fuzzing")]
mod fuzz;
pub mod sessions;
#[cfg(test)]
mod tests;

pub use ask::FromMonitor;
#[cfg(feature = "fuzzing")]
pub use fuzz::fuzz_monitor;

use chunks::{ChunkLoop, FileLoop, Matrices, MissingChunk};
use classes::Classes;
use cluster::{ChunkserverListed, Info, Memory, Metalogger, Module};
use sessions::{
    AcquiredLocks, ExportsListed, OpenFilesListed, QuotaListed, ResolvedPaths, SessionsListed,
};

use super::fields::{Field, Form, packet};
use super::frame::Packet;
use super::reader::{PacketError, Reader};
use super::status::Status;
use super::version::Version;
use super::writer::Writer;

pub(super) const CSERV_LIST: u32 = 500;
pub(super) const CHART_DATA: u32 = 506;
pub(super) const SESSION_LIST: u32 = 508;
pub(super) const INFO: u32 = 510;
pub(super) const FSTEST_INFO: u32 = 512;
pub(super) const CHUNKSTEST_INFO: u32 = 514;
pub(super) const CHUNKS_MATRIX: u32 = 516;
pub(super) const QUOTA_INFO: u32 = 518;
pub(super) const EXPORTS_INFO: u32 = 520;
pub(super) const MLOG_LIST: u32 = 522;
pub(super) const CSSERV_COMMAND: u32 = 524;
pub(super) const SESSION_COMMAND: u32 = 526;
pub(super) const MEMORY_INFO: u32 = 528;
pub(super) const MODULE_INFO: u32 = 530;
pub(super) const LIST_OPEN_FILES: u32 = 532;
pub(super) const LIST_ACQUIRED_LOCKS: u32 = 534;
pub(super) const MASS_RESOLVE_PATHS: u32 = 536;
pub(super) const SCLASS_INFO: u32 = 542;
pub(super) const MISSING_CHUNKS: u32 = 544;

packet! {
    /// One series of a chart.
    Series {
        /// When the newest entry began.
        newest: crate::time::WallTime,
        /// Values, newest first; all ones where there is none.
        entries: Entries,
    }
}

/// Values with their number in front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entries(pub Vec<u64>);

impl Field for Entries {
    fn read(reader: &mut Reader<'_>, form: Form) -> Result<Self, PacketError> {
        let count = reader.u32()? as usize;
        super::fields::read_counted(reader, form, count).map(Self)
    }

    fn write(&self, writer: &mut Writer, form: Form) {
        writer.u32(u32::try_from(self.0.len()).expect("a packet is below 4 GiB"));
        self.0.write(writer, form);
    }
}

#[cfg(any(test, feature = "fuzzing"))]
impl super::sample::Sample for Entries {
    fn sample(draw: &mut super::sample::Draw<'_>, form: Form) -> Self {
        Self(super::sample::Sample::sample(draw, form))
    }
}

/// What came of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Came(pub Result<(), Status>);

impl Field for Came {
    fn read(reader: &mut Reader<'_>, _: Form) -> Result<Self, PacketError> {
        reader.u8().map(|byte| Self(Status::of_byte(byte)))
    }

    fn write(&self, writer: &mut Writer, _: Form) {
        writer.u8(Status::to_byte(self.0));
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToMonitor {
    /// All chunkservers.
    Chunkservers(Vec<ChunkserverListed>),
    /// A series of a chart.
    ChartData(Series),
    /// All sessions.
    Sessions(SessionsListed),
    /// The master.
    Info(Box<Info>),
    /// What the loop over files saw.
    FileLoop(FileLoop),
    /// What the loop over chunks did.
    ChunkLoop(ChunkLoop),
    /// Chunks by goal and copies.
    Matrices(Matrices),
    /// All quotas.
    Quotas(Vec<QuotaListed>),
    /// All exports.
    Exports(ExportsListed),
    /// All metaloggers.
    Metaloggers(Vec<Metalogger>),
    /// What came of a command for a chunkserver.
    ChunkserverCommand(Came),
    /// What came of a command for a session.
    SessionCommand(Came),
    /// Memory by use.
    Memory(Memory),
    /// Who the master is.
    Module(Module),
    /// Open files.
    OpenFiles(OpenFilesListed),
    /// Locks.
    Locks(AcquiredLocks),
    /// Paths.
    Paths(Vec<ResolvedPaths>),
    /// Storage classes.
    Classes(Classes),
    /// Chunks without a usable copy.
    Missing(Vec<MissingChunk>),
}

impl ToMonitor {
    /// Number of the packet.
    #[must_use]
    pub fn number(&self) -> u32 {
        1 + match self {
            Self::Chunkservers(_) => CSERV_LIST,
            Self::ChartData(_) => CHART_DATA,
            Self::Sessions(_) => SESSION_LIST,
            Self::Info(_) => INFO,
            Self::FileLoop(_) => FSTEST_INFO,
            Self::ChunkLoop(_) => CHUNKSTEST_INFO,
            Self::Matrices(_) => CHUNKS_MATRIX,
            Self::Quotas(_) => QUOTA_INFO,
            Self::Exports(_) => EXPORTS_INFO,
            Self::Metaloggers(_) => MLOG_LIST,
            Self::ChunkserverCommand(_) => CSSERV_COMMAND,
            Self::SessionCommand(_) => SESSION_COMMAND,
            Self::Memory(_) => MEMORY_INFO,
            Self::Module(_) => MODULE_INFO,
            Self::OpenFiles(_) => LIST_OPEN_FILES,
            Self::Locks(_) => LIST_ACQUIRED_LOCKS,
            Self::Paths(_) => MASS_RESOLVE_PATHS,
            Self::Classes(_) => SCLASS_INFO,
            Self::Missing(_) => MISSING_CHUNKS,
        }
    }

    /// The whole packet, behind the message id of the question where it had one.
    #[must_use]
    pub fn encode(&self, id: Option<u32>) -> Vec<u8> {
        let mut writer = Writer::new(self.number());
        let form = Form::of(Version::OURS);
        id.write(&mut writer, form);
        match self {
            Self::Chunkservers(told) => told.write(&mut writer, form),
            Self::ChartData(told) => told.write(&mut writer, form),
            Self::Sessions(told) => told.write(&mut writer, form),
            Self::Info(told) => told.write(&mut writer, form),
            Self::FileLoop(told) => told.write(&mut writer, form),
            Self::ChunkLoop(told) => told.write(&mut writer, form),
            Self::Matrices(told) => told.write(&mut writer, form),
            Self::Quotas(told) => told.write(&mut writer, form),
            Self::Exports(told) => told.write(&mut writer, form),
            Self::Metaloggers(told) => told.write(&mut writer, form),
            Self::ChunkserverCommand(told) | Self::SessionCommand(told) => {
                told.write(&mut writer, form);
            }
            Self::Memory(told) => told.write(&mut writer, form),
            Self::Module(told) => told.write(&mut writer, form),
            Self::OpenFiles(told) => told.write(&mut writer, form),
            Self::Locks(told) => told.write(&mut writer, form),
            Self::Paths(told) => told.write(&mut writer, form),
            Self::Classes(told) => told.write(&mut writer, form),
            Self::Missing(told) => told.write(&mut writer, form),
        }
        writer.finish()
    }

    /// Makes sense of an answer, as the one who asked: which form it has, the question says.
    ///
    /// # Errors
    /// [`PacketError`].
    pub fn parse(packet: &Packet, asked: &FromMonitor) -> Result<Self, PacketError> {
        let form = Form::of(Version::OURS);
        let reader = &mut Reader::new(packet.kind, &packet.payload);
        if packet.kind != asked.number() + 1 {
            let (kind, length) = (packet.kind, packet.payload.len());
            return Err(PacketError::Unknown { kind, length });
        }
        if asked.id().is_some() {
            reader.u32()?;
        }
        let found = match asked {
            FromMonitor::Chunkservers => Self::Chunkservers(Field::read(reader, form)?),
            FromMonitor::ChartData { .. } => Self::ChartData(Field::read(reader, form)?),
            FromMonitor::Sessions { mode } => {
                Self::Sessions(SessionsListed::read_in(reader, mode.unwrap_or(0))?)
            }
            FromMonitor::Info => Self::Info(Box::new(Field::read(reader, form)?)),
            FromMonitor::FileLoop { form } => {
                Self::FileLoop(FileLoop::read_in(reader, form.is_some())?)
            }
            FromMonitor::ChunkLoop => Self::ChunkLoop(Field::read(reader, form)?),
            FromMonitor::Matrices { .. } => Self::Matrices(Field::read(reader, form)?),
            FromMonitor::Quotas => Self::Quotas(Field::read(reader, form)?),
            FromMonitor::Exports { mode } => {
                Self::Exports(ExportsListed::read_in(reader, mode.unwrap_or(0))?)
            }
            FromMonitor::Metaloggers => Self::Metaloggers(Field::read(reader, form)?),
            FromMonitor::ChunkserverCommand(_) => {
                Self::ChunkserverCommand(Field::read(reader, form)?)
            }
            FromMonitor::SessionCommand { .. } => Self::SessionCommand(Field::read(reader, form)?),
            FromMonitor::Memory => Self::Memory(Field::read(reader, form)?),
            FromMonitor::Module { .. } => Self::Module(Field::read(reader, form)?),
            FromMonitor::OpenFiles { session, .. } => {
                Self::OpenFiles(OpenFilesListed::read_of(reader, *session)?)
            }
            FromMonitor::Locks { inode } => Self::Locks(AcquiredLocks::read_of(reader, *inode)?),
            FromMonitor::Paths(_) => Self::Paths(Field::read(reader, form)?),
            FromMonitor::Classes => Self::Classes(Field::read(reader, form)?),
            FromMonitor::Missing { form } => {
                let mut found = Vec::new();
                while reader.remaining() > 0 {
                    found.push(MissingChunk::read_in(reader, *form == Some(1))?);
                }
                Self::Missing(found)
            }
        };
        reader.clone().end()?;
        Ok(found)
    }
}
