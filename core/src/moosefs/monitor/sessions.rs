//! Sessions, exports, open files, locks, quotas, paths.

use crate::id::{InodeId, SessionId};
use crate::moosefs::fields::{Blob, Field, Form, packet};
use crate::moosefs::reader::{PacketError, Reader};
use crate::moosefs::version::Version;
use crate::moosefs::writer::Writer;

/// Kinds of requests that are counted for each session.
pub const COUNTERS: usize = 16;

/// What a session may do, as far as the tool knows such things: newer tools ask for more of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Flags.
    pub flags: u8,
    /// Extra umask; mode 2 (exports) and 3 (sessions) and later.
    pub umask: u16,
    /// What root becomes: user and group.
    pub root: [u32; 2],
    /// What everybody becomes: user and group.
    pub map_all: [u32; 2],
    /// Lowest and highest goal; mode 1 (exports) and 1 (sessions) and later.
    pub goals: [u8; 2],
    /// Lowest and highest trash time, seconds; as goals.
    pub trash: [u32; 2],
    /// Forbidden commands; mode 3 (exports) and 4 (sessions) and later.
    pub disables: u32,
}

impl Rights {
    fn read_in(
        reader: &mut Reader<'_>,
        (has_limits, has_umask, has_disables): (bool, bool, bool),
    ) -> Result<Self, PacketError> {
        let form = Form::of(Version::OURS);
        let mut found = Self {
            flags: reader.u8()?,
            ..Self::default()
        };
        if has_umask {
            found.umask = reader.u16()?;
        }
        found.root = Field::read(reader, form)?;
        found.map_all = Field::read(reader, form)?;
        if has_limits {
            found.goals = Field::read(reader, form)?;
            found.trash = Field::read(reader, form)?;
        }
        if has_disables {
            found.disables = reader.u32()?;
        }
        Ok(found)
    }

    fn write_in(
        &self,
        writer: &mut Writer,
        (has_limits, has_umask, has_disables): (bool, bool, bool),
    ) {
        let form = Form::of(Version::OURS);
        writer.u8(self.flags);
        if has_umask {
            writer.u16(self.umask);
        }
        self.root.write(writer, form);
        self.map_all.write(writer, form);
        if has_limits {
            self.goals.write(writer, form);
            self.trash.write(writer, form);
        }
        if has_disables {
            writer.u32(self.disables);
        }
    }
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionListed {
    /// Its number.
    pub session: SessionId,
    /// Address of its client.
    pub ip: u32,
    /// Version of its client.
    pub version: u32,
    /// Open files, connections, and seconds until it ends (all ones while it is connected); mode 2
    /// and later.
    pub standing: Option<(u32, u8, u32)>,
    /// What the client says of itself.
    pub info: Blob,
    /// Path of its root; `.` is a mount of the trash.
    pub path: Blob,
    /// What it may do.
    pub rights: Rights,
    /// Requests of this hour.
    pub this_hour: [u32; COUNTERS],
    /// Requests of the hour before.
    pub last_hour: [u32; COUNTERS],
}

/// All sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionsListed {
    /// How much is told of each.
    pub mode: u8,
    /// The sessions.
    pub sessions: Vec<SessionListed>,
}

fn session_form(mode: u8) -> (bool, bool, bool) {
    (mode >= 1, mode >= 3, mode >= 4)
}

impl SessionsListed {
    /// Reads the form of a mode.
    ///
    /// # Errors
    /// [`PacketError`].
    pub fn read_in(reader: &mut Reader<'_>, mode: u8) -> Result<Self, PacketError> {
        let form = Form::of(Version::OURS);
        if usize::from(reader.u16()?) != COUNTERS {
            return Err(reader.wrong("a session has another number of counters"));
        }
        let mut sessions = Vec::new();
        while reader.remaining() > 0 {
            sessions.push(SessionListed {
                session: Field::read(reader, form)?,
                ip: reader.u32()?,
                version: reader.u32()?,
                standing: match mode >= 2 {
                    true => Some((reader.u32()?, reader.u8()?, reader.u32()?)),
                    false => None,
                },
                info: Field::read(reader, form)?,
                path: Field::read(reader, form)?,
                rights: Rights::read_in(reader, session_form(mode))?,
                this_hour: Field::read(reader, form)?,
                last_hour: Field::read(reader, form)?,
            });
        }
        Ok(Self { mode, sessions })
    }

    pub(super) fn write(&self, writer: &mut Writer, form: Form) {
        writer.u16(u16::try_from(COUNTERS).expect("16"));
        for session in &self.sessions {
            session.session.write(writer, form);
            writer.u32(session.ip).u32(session.version);
            if self.mode >= 2 {
                let (open, connections, expires) = session.standing.unwrap_or_default();
                writer.u32(open).u8(connections).u32(expires);
            }
            session.info.write(writer, form);
            session.path.write(writer, form);
            session.rights.write_in(writer, session_form(self.mode));
            session.this_hour.write(writer, form);
            session.last_hour.write(writer, form);
        }
    }
}

/// A line of the exports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportListed {
    /// First address.
    pub from: u32,
    /// Last address.
    pub to: u32,
    /// The directory; `.` is the trash.
    pub path: Blob,
    /// Oldest client.
    pub version: u32,
    /// Bits: 1 directories below may be mounted as well, 2 there is a password.
    pub extra: u8,
    /// What a session may do.
    pub rights: Rights,
}

/// All lines of the exports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportsListed {
    /// How much is told of each.
    pub mode: u8,
    /// The lines.
    pub exports: Vec<ExportListed>,
}

fn export_form(mode: u8) -> (bool, bool, bool) {
    (mode >= 1, mode >= 2, mode >= 3)
}

impl ExportsListed {
    /// Reads the form of a mode.
    ///
    /// # Errors
    /// [`PacketError`].
    pub fn read_in(reader: &mut Reader<'_>, mode: u8) -> Result<Self, PacketError> {
        let form = Form::of(Version::OURS);
        let mut exports = Vec::new();
        while reader.remaining() > 0 {
            exports.push(ExportListed {
                from: reader.u32()?,
                to: reader.u32()?,
                path: Field::read(reader, form)?,
                version: reader.u32()?,
                extra: reader.u8()?,
                rights: Rights::read_in(reader, export_form(mode))?,
            });
        }
        Ok(Self { mode, exports })
    }

    pub(super) fn write(&self, writer: &mut Writer, form: Form) {
        for export in &self.exports {
            writer.u32(export.from).u32(export.to);
            export.path.write(writer, form);
            writer.u32(export.version).u8(export.extra);
            export.rights.write_in(writer, export_form(self.mode));
        }
    }
}

/// Open files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenFilesListed {
    /// Of all sessions.
    All(Vec<(SessionId, InodeId)>),
    /// Of one.
    Of(Vec<InodeId>),
}

impl OpenFilesListed {
    /// Reads those of a session, or with 0 of all.
    ///
    /// # Errors
    /// [`PacketError`].
    pub fn read_of(reader: &mut Reader<'_>, session: SessionId) -> Result<Self, PacketError> {
        let form = Form::of(Version::OURS);
        Ok(match session {
            SessionId(0) => Self::All(Field::read(reader, form)?),
            _ => Self::Of(Field::read(reader, form)?),
        })
    }

    pub(super) fn write(&self, writer: &mut Writer, form: Form) {
        match self {
            Self::All(files) => files.write(writer, form),
            Self::Of(files) => files.write(writer, form),
        }
    }
}

packet! {
    /// A lock. Of a lock of a whole file, process, begin and end are 0.
    AcquiredLock {
        /// Session.
        session: SessionId,
        /// Owner within it.
        owner: u64,
        /// Process.
        pid: u32,
        /// First byte.
        start: u64,
        /// Byte behind the last.
        end: u64,
        /// 1 shared, 2 exclusive.
        kind: u8,
    }
}

/// Locks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AcquiredLocks {
    /// Of all files.
    All(Vec<(InodeId, AcquiredLock)>),
    /// Of one.
    Of(Vec<AcquiredLock>),
}

impl AcquiredLocks {
    /// Reads those of a file, or with 0 of all.
    ///
    /// # Errors
    /// [`PacketError`].
    pub fn read_of(reader: &mut Reader<'_>, inode: InodeId) -> Result<Self, PacketError> {
        let form = Form::of(Version::OURS);
        Ok(match inode {
            InodeId(0) => Self::All(Field::read(reader, form)?),
            _ => Self::Of(Field::read(reader, form)?),
        })
    }

    pub(super) fn write(&self, writer: &mut Writer, form: Form) {
        match self {
            Self::All(locks) => locks.write(writer, form),
            Self::Of(locks) => locks.write(writer, form),
        }
    }
}

packet! {
    /// Limits of a quota, or what is used.
    Amounts {
        /// Inodes.
        inodes: u32,
        /// Bytes of all lengths.
        length: u64,
        /// Bytes of chunks.
        size: u64,
        /// Bytes of all their copies.
        real_size: u64,
    }
}

packet! {
    /// A quota.
    QuotaListed {
        /// Its directory.
        inode: InodeId,
        /// Path of it.
        path: Blob,
        /// Grace of soft limits, seconds.
        grace: u32,
        /// Whether a soft limit is exceeded.
        exceeded: u8,
        /// Which limits there are.
        flags: u8,
        /// Seconds until soft limits are like hard ones; all ones when they are not exceeded.
        time_to_block: u32,
        /// Soft limits.
        soft: Amounts,
        /// Hard limits.
        hard: Amounts,
        /// What is used.
        used: Amounts,
    }
}

/// Paths of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedPaths {
    /// The node.
    pub inode: InodeId,
    /// Its paths; none for what has no name.
    pub paths: Vec<Blob>,
}

impl Field for ResolvedPaths {
    fn read(reader: &mut Reader<'_>, form: Form) -> Result<Self, PacketError> {
        let inode = Field::read(reader, form)?;
        let bytes = reader.u32()? as usize;
        let mut inner = Reader::new(super::MASS_RESOLVE_PATHS + 1, reader.bytes(bytes)?);
        let paths = Field::read(&mut inner, form)?;
        Ok(Self { inode, paths })
    }

    fn write(&self, writer: &mut Writer, form: Form) {
        self.inode.write(writer, form);
        let bytes: usize = self.paths.iter().map(|path| 4 + path.0.len()).sum();
        writer.u32(u32::try_from(bytes).expect("a packet is below 4 GiB"));
        self.paths.write(writer, form);
    }
}

#[cfg(any(test, feature = "fuzzing"))]
mod samples {
    use super::*;
    use crate::moosefs::sample::{Draw, Sample};

    impl Sample for ResolvedPaths {
        fn sample(draw: &mut Draw<'_>, form: Form) -> Self {
            Self {
                inode: Sample::sample(draw, form),
                paths: Sample::sample(draw, form),
            }
        }
    }

    impl Rights {
        fn sample_in(draw: &mut Draw<'_>, (limits, umask, disables): (bool, bool, bool)) -> Self {
            let form = Form::of(Version::OURS);
            let all = Self {
                flags: draw.byte(),
                umask: Sample::sample(draw, form),
                root: Sample::sample(draw, form),
                map_all: Sample::sample(draw, form),
                goals: Sample::sample(draw, form),
                trash: Sample::sample(draw, form),
                disables: Sample::sample(draw, form),
            };
            Self {
                umask: if umask { all.umask } else { 0 },
                goals: if limits { all.goals } else { [0; 2] },
                trash: if limits { all.trash } else { [0; 2] },
                disables: if disables { all.disables } else { 0 },
                ..all
            }
        }
    }

    impl SessionsListed {
        /// Makes up a list in the form of a mode.
        pub fn sample_in(draw: &mut Draw<'_>, mode: u8) -> Self {
            let form = Form::of(Version::OURS);
            let count = draw.byte() % 4;
            let sessions = (0..count).map(|_| SessionListed {
                session: Sample::sample(draw, form),
                ip: Sample::sample(draw, form),
                version: Sample::sample(draw, form),
                standing: (mode >= 2).then(|| {
                    let (open, expires) = Sample::sample(draw, form);
                    (open, draw.byte(), expires)
                }),
                info: Sample::sample(draw, form),
                path: Sample::sample(draw, form),
                rights: Rights::sample_in(draw, session_form(mode)),
                this_hour: Sample::sample(draw, form),
                last_hour: Sample::sample(draw, form),
            });
            let sessions = sessions.collect();
            Self { mode, sessions }
        }
    }

    impl ExportsListed {
        /// Makes up a list in the form of a mode.
        pub fn sample_in(draw: &mut Draw<'_>, mode: u8) -> Self {
            let form = Form::of(Version::OURS);
            let count = draw.byte() % 4;
            let exports = (0..count).map(|_| ExportListed {
                from: Sample::sample(draw, form),
                to: Sample::sample(draw, form),
                path: Sample::sample(draw, form),
                version: Sample::sample(draw, form),
                extra: draw.byte(),
                rights: Rights::sample_in(draw, export_form(mode)),
            });
            let exports = exports.collect();
            Self { mode, exports }
        }
    }
}
