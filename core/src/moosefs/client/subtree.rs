//! Values of nodes and of all below them (trash time, class, extra attributes, quota, archive):
//! what is asked, and what is told.
#![expect(
    missing_docs,
    reason = "fields are named as on MooseFS's wire; docs/protocols/moosefs.md has the forms"
)]

use crate::id::InodeId;
use crate::moosefs::fields::{Field, Form, Name, packet, read_counted};
use crate::moosefs::flags;
use crate::moosefs::reader::{PacketError, Reader};
use crate::moosefs::version::Version;
use crate::moosefs::writer::Writer;

packet! {
    /// Counts a value, of a node or of all below it.
    GetValue {
        inode: InodeId,
        /// 0 this node, 1 all below it, too.
        mode: u8,
    }
}

packet! {
    /// Sets a trash time.
    SetTrashTime {
        inode: InodeId,
        uid: u32,
        seconds: u32,
        /// Bits of [`flags::change`].
        mode: u8,
    }
}

packet! {
    /// Sets extra attributes.
    SetEattr {
        inode: InodeId,
        uid: u32,
        eattr: u8,
        /// Bits of [`flags::change`].
        mode: u8,
    }
}

/// Trash times in seconds, and how many files and directories have them.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TrashTimes {
    pub files: Vec<(u32, u32)>,
    pub dirs: Vec<(u32, u32)>,
}

impl Field for TrashTimes {
    fn read(reader: &mut Reader<'_>, form: Form) -> Result<Self, PacketError> {
        let (files, dirs) = (reader.u32()? as usize, reader.u32()? as usize);
        Ok(Self {
            files: read_counted(reader, form, files)?,
            dirs: read_counted(reader, form, dirs)?,
        })
    }

    fn write(&self, writer: &mut Writer, form: Form) {
        for counts in [&self.files, &self.dirs] {
            writer.u32(u32::try_from(counts.len()).expect("a packet is below 4 GiB"));
        }
        self.files.write(writer, form);
        self.dirs.write(writer, form);
    }
}

/// As many of them as a byte can count.
const COUNTS_MAX: usize = 255;

/// Extra attributes, and how many files and directories have them; at most 255 of each are told.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Eattrs {
    pub files: Vec<(u8, u32)>,
    pub dirs: Vec<(u8, u32)>,
}

impl Field for Eattrs {
    fn read(reader: &mut Reader<'_>, form: Form) -> Result<Self, PacketError> {
        let (files, dirs) = (usize::from(reader.u8()?), usize::from(reader.u8()?));
        Ok(Self {
            files: read_counted(reader, form, files)?,
            dirs: read_counted(reader, form, dirs)?,
        })
    }

    fn write(&self, writer: &mut Writer, form: Form) {
        let files = &self.files[..self.files.len().min(COUNTS_MAX)];
        let dirs = &self.dirs[..self.dirs.len().min(COUNTS_MAX)];
        writer.u8(files.len() as u8).u8(dirs.len() as u8);
        for count in files.iter().chain(dirs) {
            count.write(writer, form);
        }
    }
}

/// A storage class, as it is told: one of the plain goals 1 to 9, or a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClassName {
    /// Anything but 255.
    Goal(u8),
    Named(Name),
}

const NAMED: u8 = 0xFF;

impl Field for ClassName {
    fn read(reader: &mut Reader<'_>, form: Form) -> Result<Self, PacketError> {
        match reader.u8()? {
            NAMED if form.client < TOLD_NAMES => Err(reader.wrong("a class by name")),
            NAMED => Name::read(reader, form).map(Self::Named),
            goal => Ok(Self::Goal(goal)),
        }
    }

    fn write(&self, writer: &mut Writer, form: Form) {
        match self {
            Self::Goal(goal) => goal.write(writer, form),
            Self::Named(name) => name.write(writer.u8(NAMED), form),
        }
    }
}

/// Storage classes, and how many files and directories have them; at most 255 of each are told,
/// and to clients before 3.0.75 the plain goals alone.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Classes {
    pub files: Vec<(ClassName, u32)>,
    pub dirs: Vec<(ClassName, u32)>,
}

const TOLD_NAMES: Version = Version::new(3, 0, 75);

impl Field for Classes {
    fn read(reader: &mut Reader<'_>, form: Form) -> Result<Self, PacketError> {
        let (files, dirs) = (usize::from(reader.u8()?), usize::from(reader.u8()?));
        Ok(Self {
            files: read_counted(reader, form, files)?,
            dirs: read_counted(reader, form, dirs)?,
        })
    }

    fn write(&self, writer: &mut Writer, form: Form) {
        let told = |counts: &[(ClassName, u32)]| {
            let told = |class: &ClassName| match class {
                ClassName::Goal(_) => true,
                ClassName::Named(_) => form.client >= TOLD_NAMES,
            };
            let counts = counts.iter().filter(|(class, _)| told(class));
            counts.take(COUNTS_MAX).cloned().collect::<Vec<_>>()
        };
        let (files, dirs) = (told(&self.files), told(&self.dirs));
        writer.u8(files.len() as u8).u8(dirs.len() as u8);
        files.write(writer, form);
        dirs.write(writer, form);
    }
}

/// Sets a storage class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetSclass {
    pub inode: InodeId,
    pub uid: u32,
    pub to: ClassName,
    /// Bits of [`flags::change`].
    pub mode: u8,
    /// Only of an exchange, and only by name: what stands there now.
    pub from: Option<Name>,
}

impl SetSclass {
    fn exchanges(mode: u8) -> bool {
        mode & flags::change::WAY == flags::change::EXCHANGE
    }
}

impl Field for SetSclass {
    fn read(reader: &mut Reader<'_>, form: Form) -> Result<Self, PacketError> {
        let inode = InodeId::read(reader, form)?;
        let uid = reader.u32()?;
        let goal = reader.u8()?;
        let mode = reader.u8()?;
        let mut from = None;
        let to = match goal {
            NAMED => {
                if Self::exchanges(mode) {
                    from = Some(Name::read(reader, form)?);
                }
                ClassName::Named(Name::read(reader, form)?)
            }
            goal => ClassName::Goal(goal),
        };
        Ok(Self {
            inode,
            uid,
            to,
            mode,
            from,
        })
    }

    fn write(&self, writer: &mut Writer, form: Form) {
        self.inode.write(writer, form);
        writer.u32(self.uid);
        match &self.to {
            ClassName::Goal(goal) => {
                writer.u8(*goal).u8(self.mode);
            }
            ClassName::Named(name) => {
                writer.u8(NAMED).u8(self.mode);
                if Self::exchanges(self.mode) {
                    self.from.clone().unwrap_or_default().write(writer, form);
                }
                name.write(writer, form);
            }
        }
    }
}

packet! {
    /// How many nodes were changed.
    Changed {
        changed: u32,
        unchanged: u32,
        refused: u32,
        /// How many would have passed a quota; masters up to 3.0.117 do not tell.
        over_quota: Option<u32>,
    }
}

packet! {
    /// A directory's quota: asked for, set, or removed.
    QuotaControl {
        inode: InodeId,
        /// Bits of [`flags::quota`]: which limits are set, or removed; none: asked for.
        flags: u8,
        limits: Option<QuotaSet>,
    }
}

packet! {
    /// Limits to be set.
    QuotaSet {
        /// Missing, of clients before 3.0.9.
        grace_seconds: Option<u32> [unless 56],
        soft: WireLimits,
        hard: WireLimits,
    }
}

packet! {
    /// Limits, or what is used: bytes, and nodes.
    WireLimits {
        inodes: u32,
        length: u64,
        size: u64,
        real_size: u64,
    }
}

packet! {
    /// A directory's quota.
    Quota {
        /// Bits of [`flags::quota`]: which limits there are.
        flags: u8,
        grace_seconds: u32 [since 3, 0, 9],
        soft: WireLimits,
        hard: WireLimits,
        used: WireLimits,
    }
}

packet! {
    /// The archive flag of a node's chunks, and of all below it.
    Archive {
        inode: InodeId,
        /// One of [`flags::archive`].
        what: u8,
        /// Who sets or clears it; not there when it is asked for.
        uid: Option<u32>,
    }
}

/// What an ARCHCTL was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Archived {
    Counts(ArchiveCounts),
    Changes(ArchiveChanges),
}

packet! {
    /// Chunks, and files.
    ArchiveCounts {
        chunks: u64,
        chunks_not: u64,
        files: u32,
        files_partly: u32,
        files_not: u32,
    }
}

packet! {
    /// Chunks that were changed, chunks that were not, and files that may not be.
    ArchiveChanges {
        changed: u64,
        unchanged: u64,
        refused: u32,
    }
}

impl Field for Archived {
    fn read(reader: &mut Reader<'_>, form: Form) -> Result<Self, PacketError> {
        match reader.remaining() {
            28 => Field::read(reader, form).map(Self::Counts),
            _ => Field::read(reader, form).map(Self::Changes),
        }
    }

    fn write(&self, writer: &mut Writer, form: Form) {
        match self {
            Self::Counts(counts) => counts.write(writer, form),
            Self::Changes(changes) => changes.write(writer, form),
        }
    }
}

#[cfg(any(test, feature = "fuzzing"))]
mod samples {
    use super::*;
    use crate::moosefs::sample::{Draw, Sample};

    impl Sample for TrashTimes {
        fn sample(draw: &mut Draw<'_>, form: Form) -> Self {
            Self {
                files: Sample::sample(draw, form),
                dirs: Sample::sample(draw, form),
            }
        }
    }

    impl Sample for Eattrs {
        fn sample(draw: &mut Draw<'_>, form: Form) -> Self {
            Self {
                files: Sample::sample(draw, form),
                dirs: Sample::sample(draw, form),
            }
        }
    }

    impl Sample for ClassName {
        fn sample(draw: &mut Draw<'_>, form: Form) -> Self {
            match draw.byte() {
                goal if goal < 128 || form.client < TOLD_NAMES => Self::Goal(goal % 128),
                _ => Self::Named(Sample::sample(draw, form)),
            }
        }
    }

    impl Sample for Classes {
        fn sample(draw: &mut Draw<'_>, form: Form) -> Self {
            Self {
                files: Sample::sample(draw, form),
                dirs: Sample::sample(draw, form),
            }
        }
    }

    impl Sample for SetSclass {
        fn sample(draw: &mut Draw<'_>, form: Form) -> Self {
            let to = ClassName::sample(draw, form);
            let mode = draw.byte();
            let named = matches!(to, ClassName::Named(_));
            Self {
                inode: Sample::sample(draw, form),
                uid: Sample::sample(draw, form),
                from: (named && Self::exchanges(mode)).then(|| Sample::sample(draw, form)),
                to,
                mode,
            }
        }
    }

    impl Sample for Archived {
        fn sample(draw: &mut Draw<'_>, form: Form) -> Self {
            match draw.byte() % 2 {
                0 => Self::Counts(Sample::sample(draw, form)),
                _ => Self::Changes(Sample::sample(draw, form)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_byte_cannot_count_is_left_out() {
        let form = Form::of(Version::OURS);
        let goals = |count: u32| (0..count).map(|n| (ClassName::Goal((n % 9) as u8), n));
        let classes = Classes {
            files: goals(300).collect(),
            dirs: goals(2).collect(),
        };
        let mut writer = Writer::new(447);
        classes.write(&mut writer, form);
        let packet = writer.finish();
        assert_eq!(packet[8..10], [255, 2]);
        let found = Classes::read(&mut Reader::new(447, &packet[8..]), form).unwrap();
        assert_eq!(found.files, classes.files[..255]);
        assert_eq!(found.dirs, classes.dirs);
        let eattrs = Eattrs {
            files: (0..300).map(|n| (n as u8, n)).collect(),
            dirs: vec![(1, 1)],
        };
        let mut writer = Writer::new(473);
        eattrs.write(&mut writer, form);
        assert_eq!(writer.finish().len(), 8 + 2 + 5 * 256);
    }

    #[test]
    fn old_clients_do_not_hear_of_named_classes() {
        let named = ClassName::Named(Name::new(b"fast").unwrap());
        let classes = Classes {
            files: vec![(ClassName::Goal(2), 7), (named.clone(), 8)],
            dirs: vec![(named, 9)],
        };
        for (client, bytes) in [
            (Version::OURS, 2 + 5 + 10 + 10),
            (Version::new(3, 0, 74), 2 + 5),
        ] {
            let mut writer = Writer::new(447);
            classes.write(&mut writer, Form::of(client));
            assert_eq!(writer.finish().len(), 8 + bytes);
        }
    }
}
