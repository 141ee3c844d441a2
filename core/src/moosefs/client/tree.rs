//! Names and attributes: what is asked, and what is told.
#![expect(
    missing_docs,
    reason = "fields are named as on MooseFS's wire; docs/protocols/moosefs.md has the forms"
)]

use super::credentials::{Credentials, Owner};
use super::data::LookedChunk;
use crate::id::InodeId;
use crate::moosefs::attributes::Attributes;
use crate::moosefs::fields::{Blob, Field, Form, Name, packet};
use crate::moosefs::flags;
use crate::moosefs::reader::{PacketError, Reader};
use crate::moosefs::version::Version;
use crate::moosefs::writer::Writer;

packet! {
    /// How much room there is.
    StatFs {}
}

packet! {
    /// Bytes, and nodes.
    Space {
        total: u64,
        available: u64,
        free: u64 [since 3, 0, 102],
        trash: u64,
        sustained: u64,
        inodes: u32,
    }
}

packet! {
    /// Whether a process may.
    Access {
        inode: InodeId,
        by: Credentials [before 1],
        mask: AccessMask,
    }
    legal |access| access.by.gids.is_one() == matches!(access.mask, AccessMask::Narrow(_))
}

/// 4 R, 2 W, 1 X; in two forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessMask {
    /// One byte, of old clients.
    Narrow(u8),
    /// Two bytes.
    Wide(u16),
}

impl AccessMask {
    /// The three bits.
    #[must_use]
    pub fn bits(self) -> u8 {
        match self {
            Self::Narrow(bits) => bits & 7,
            Self::Wide(bits) => (bits & 7) as u8,
        }
    }
}

impl Field for AccessMask {
    fn read(reader: &mut Reader<'_>, _: Form) -> Result<Self, PacketError> {
        match reader.remaining() {
            1 => reader.u8().map(Self::Narrow),
            _ => reader.u16().map(Self::Wide),
        }
    }

    fn write(&self, writer: &mut Writer, _: Form) {
        match self {
            Self::Narrow(bits) => writer.u8(*bits),
            Self::Wide(bits) => writer.u16(*bits),
        };
    }
}

packet! {
    /// A name in a directory.
    Lookup {
        parent: InodeId,
        name: Name,
        by: Credentials,
    }
}

/// What was found under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    pub inode: InodeId,
    pub attributes: Attributes,
    /// Bits of [`flags::looked`] but for [`flags::looked::CHUNK`], which says that `chunk` is
    /// there. Not told to clients before 3.0.40.
    pub flags: u16,
    /// The only chunk of a file. Not told to clients before 3.0.40.
    pub chunk: Option<LookedChunk>,
}

const WITH_FLAGS: Version = Version::new(3, 0, 40);

impl Field for Looked {
    fn read(reader: &mut Reader<'_>, form: Form) -> Result<Self, PacketError> {
        let inode = InodeId::read(reader, form)?;
        let attributes = Attributes::read(reader, form)?;
        let mut told = 0;
        let mut chunk = None;
        if form.client >= WITH_FLAGS {
            told = reader.u16()?;
            if told & flags::looked::CHUNK != 0 {
                chunk = Some(LookedChunk::read(reader, form)?);
            }
        }
        let flags = told & !flags::looked::CHUNK;
        Ok(Self {
            inode,
            attributes,
            flags,
            chunk,
        })
    }

    fn write(&self, writer: &mut Writer, form: Form) {
        self.inode.write(writer, form);
        self.attributes.write(writer, form);
        if form.client >= WITH_FLAGS {
            let chunk = match self.chunk {
                Some(_) => flags::looked::CHUNK,
                None => 0,
            };
            writer.u16(self.flags & !flags::looked::CHUNK | chunk);
            self.chunk.write(writer, form);
        }
    }
}

packet! {
    /// Attributes of a node.
    GetAttr {
        inode: InodeId,
        opened: Option<u8> [unless 0, 8],
        by: Option<Owner>,
    }
    legal |get| get.opened.is_none() || get.by.is_some()
}

packet! {
    /// Sets attributes of a node.
    SetAttr {
        inode: InodeId,
        opened: Option<u8> [unless 27, 28],
        by: Credentials [before 19, 20],
        /// Which, bits of [`flags::set`].
        mask: u8,
        mode: u16,
        uid: u32,
        gid: u32,
        atime: u32,
        mtime: u32,
        winattr: Option<u8> [unless 0, 1],
        /// How setuid and setgid are cleared: never, always, osx, bsd, ext, xfs. Missing: always.
        sugid_clear: Option<u8>,
    }
    legal |set| match set.by.gids.is_one() {
        true => set.winattr.is_none() && (set.opened.is_none() || set.sugid_clear.is_some()),
        false => set.opened.is_some() && set.sugid_clear.is_some(),
    }
}

packet! {
    /// Target of a symlink.
    ReadLink {
        inode: InodeId,
    }
}

packet! {
    /// Makes a symlink.
    Symlink {
        parent: InodeId,
        name: Name,
        /// The target and a NUL, if the client keeps to its protocol.
        target: Blob,
        by: Credentials,
    }
}

packet! {
    /// Makes what is neither directory nor symlink.
    Mknod {
        parent: InodeId,
        name: Name,
        /// One of [`flags::node`].
        kind: u8,
        mode: u16,
        umask: Option<u16> [unless 12],
        by: Credentials [before 4],
        rdev: u32,
    }
    legal |mknod| mknod.umask.is_some() || mknod.by.gids.is_one()
}

packet! {
    /// Makes a directory.
    Mkdir {
        parent: InodeId,
        name: Name,
        mode: u16,
        umask: Option<u16> [unless 8, 9],
        by: Credentials [before 0, 1],
        copy_setgid: Option<u8>,
    }
    legal |mkdir| match mkdir.by.gids.is_one() {
        true => mkdir.copy_setgid.is_some() || mkdir.umask.is_none(),
        false => mkdir.umask.is_some() && mkdir.copy_setgid.is_some(),
    }
}

packet! {
    /// Makes a file and opens it.
    Create {
        parent: InodeId,
        name: Name,
        mode: u16,
        umask: Option<u16> [unless 8],
        by: Credentials,
    }
    legal |create| create.umask.is_some() || create.by.gids.is_one()
}

packet! {
    /// Takes a name away.
    Remove {
        parent: InodeId,
        name: Name,
        by: Credentials,
    }
}

packet! {
    /// Gives a node another name.
    Rename {
        src_parent: InodeId,
        src_name: Name,
        dst_parent: InodeId,
        dst_name: Name,
        by: Credentials,
    }
}

packet! {
    /// Gives a node one name more.
    Link {
        inode: InodeId,
        parent: InodeId,
        name: Name,
        by: Credentials,
    }
}

packet! {
    /// What is in a directory.
    ReadDir {
        inode: InodeId,
        by: Credentials [before 0, 1, 13],
        /// Bits of [`flags::readdir`].
        flags: Option<u8>,
        page: Option<PageWanted>,
    }
    legal |read| match read.by.gids.is_one() {
        true => read.flags.is_some() || read.page.is_none(),
        false => read.flags.is_some() && read.page.is_some(),
    }
}

packet! {
    /// Which part of a directory.
    PageWanted {
        entries_max: u32,
        /// Where a page before said that it goes on; 0 at the beginning.
        next: u64,
    }
}

/// What is in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Where it goes on; only for those who asked for a page, else 0.
    pub next: u64,
    pub entries: Vec<DirEntry>,
}

/// Where a directory's last page goes on.
pub const DIRECTORY_END: u64 = 0x7FFF_FFFF_FFFF_FFFF;

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    pub name: Name,
    pub inode: InodeId,
    pub what: Entry,
}

/// What is told of an entry. All entries of a page have the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    Attributes(Attributes),
    /// One of [`flags::node`].
    Kind(u8),
}

impl Field for DirEntry {
    fn read(reader: &mut Reader<'_>, form: Form) -> Result<Self, PacketError> {
        Ok(Self {
            name: Field::read(reader, form)?,
            inode: Field::read(reader, form)?,
            what: match form.long {
                true => Entry::Attributes(Field::read(reader, form)?),
                false => Entry::Kind(reader.u8()?),
            },
        })
    }

    fn write(&self, writer: &mut Writer, form: Form) {
        self.name.write(writer, form);
        self.inode.write(writer, form);
        match &self.what {
            Entry::Attributes(attributes) => attributes.write(writer, form),
            Entry::Kind(kind) => kind.write(writer, form),
        }
    }
}

impl Field for Page {
    fn read(reader: &mut Reader<'_>, form: Form) -> Result<Self, PacketError> {
        Ok(Self {
            next: match form.resumable {
                true => reader.u64()?,
                false => 0,
            },
            entries: Field::read(reader, form)?,
        })
    }

    fn write(&self, writer: &mut Writer, form: Form) {
        if form.resumable {
            writer.u64(self.next);
        }
        self.entries.write(writer, form);
    }
}

packet! {
    /// A node and its attributes.
    Node {
        inode: InodeId,
        attributes: Attributes,
    }
}

packet! {
    /// A node that was made and opened.
    Created {
        /// Bits of [`flags::opened`].
        flags: u8 [since 3, 0, 113],
        inode: InodeId,
        attributes: Attributes,
    }
}

/// The node that had the name; 0 when it is not told, to clients before 3.0.107.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed(pub InodeId);

const TOLD_REMOVED: Version = Version::new(3, 0, 107);

impl Field for Removed {
    fn read(reader: &mut Reader<'_>, form: Form) -> Result<Self, PacketError> {
        if form.client >= TOLD_REMOVED {
            return InodeId::read(reader, form).map(Self);
        }
        Done::read(reader, form)?;
        Ok(Self(InodeId(0)))
    }

    fn write(&self, writer: &mut Writer, form: Form) {
        match form.client >= TOLD_REMOVED {
            true => self.0.write(writer, form),
            false => Done.write(writer, form),
        }
    }
}

/// It was done: a status of 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done;

impl Field for Done {
    fn read(reader: &mut Reader<'_>, _: Form) -> Result<Self, PacketError> {
        match reader.u8()? {
            0 => Ok(Self),
            _ => Err(reader.wrong("a status where something else was expected")),
        }
    }

    fn write(&self, writer: &mut Writer, _: Form) {
        writer.u8(0);
    }
}

#[cfg(any(test, feature = "fuzzing"))]
mod samples {
    use super::*;
    use crate::moosefs::sample::{Draw, Sample};

    impl Sample for AccessMask {
        fn sample(draw: &mut Draw<'_>, form: Form) -> Self {
            match draw.byte() % 3 {
                0 => Self::Narrow(draw.byte()),
                _ => Self::Wide(Sample::sample(draw, form)),
            }
        }
    }

    impl Sample for Looked {
        fn sample(draw: &mut Draw<'_>, form: Form) -> Self {
            let told = form.client >= WITH_FLAGS;
            Self {
                inode: Sample::sample(draw, form),
                attributes: Sample::sample(draw, form),
                flags: match told {
                    true => u16::sample(draw, form) & !flags::looked::CHUNK,
                    false => 0,
                },
                chunk: match told {
                    true => Sample::sample(draw, form),
                    false => None,
                },
            }
        }
    }

    impl Sample for DirEntry {
        fn sample(draw: &mut Draw<'_>, form: Form) -> Self {
            Self {
                name: Sample::sample(draw, form),
                inode: Sample::sample(draw, form),
                what: match form.long {
                    true => Entry::Attributes(Sample::sample(draw, form)),
                    false => Entry::Kind(draw.byte()),
                },
            }
        }
    }

    impl Sample for Page {
        fn sample(draw: &mut Draw<'_>, form: Form) -> Self {
            Self {
                next: match form.resumable {
                    true => Sample::sample(draw, form),
                    false => 0,
                },
                entries: Sample::sample(draw, form),
            }
        }
    }

    impl Sample for Removed {
        fn sample(draw: &mut Draw<'_>, form: Form) -> Self {
            match form.client >= TOLD_REMOVED {
                true => Self(Sample::sample(draw, form)),
                false => Self(InodeId(0)),
            }
        }
    }

    impl Sample for Done {
        fn sample(_: &mut Draw<'_>, _: Form) -> Self {
            Self
        }
    }
}
