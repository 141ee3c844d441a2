//! What loops over files and chunks saw, and what they did.

use crate::id::{ChunkId, InodeId};
use crate::moosefs::fields::{Blob, Field, Form, packet};
use crate::moosefs::reader::{PacketError, Reader};
use crate::moosefs::version::Version;
use crate::moosefs::writer::Writer;
use crate::time::WallTime;

/// Goals, and numbers of copies, that are told apart.
pub const COUNTS: usize = 11;

packet! {
    /// What the loop over chunks did: for each kind of work what was done and what was put off.
    ChunkLoop {
        /// When the last whole loop began.
        began: WallTime,
        /// When it ended.
        ended: WallTime,
        /// Bad copies deleted, and not yet.
        invalid: (u32, u32),
        /// Copies of unused chunks deleted, and not yet.
        unused: (u32, u32),
        /// Copies on disks that shall be emptied deleted, and not yet.
        leaving: (u32, u32),
        /// Copies above the goal deleted, and not yet.
        over_goal: (u32, u32),
        /// Copies made below the goal, and not yet.
        under_goal: (u32, u32),
        /// Copies made because of labels, and not yet.
        wrong_labels: (u32, u32),
        /// Copies moved to emptier chunkservers.
        rebalanced: u32,
        /// Chunks whose copies cannot lie where labels want them.
        labels_unmatched: u32,
        /// Chunks that are locked and belong to no file.
        locked_unused: u32,
        /// Chunks that are locked and belong to a file.
        locked_used: u32,
    }
}

/// What the loop over files saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileLoop {
    /// When the last whole loop began.
    pub began: WallTime,
    /// When it ended.
    pub ended: WallTime,
    /// Files.
    pub files: u32,
    /// Files with a chunk below its goal.
    pub files_under: u32,
    /// Files with a chunk without a usable copy.
    pub files_missing: u32,
    /// Such files in the trash, and sustained ones; not told in the short form.
    pub detached_missing: Option<[u32; 2]>,
    /// Chunks.
    pub chunks: u32,
    /// Chunks below their goal.
    pub chunks_under: u32,
    /// Chunks without a usable copy.
    pub chunks_missing: u32,
    /// What else there is to say.
    pub message: Blob,
}

impl FileLoop {
    /// Reads the long form, or the short one.
    ///
    /// # Errors
    /// [`PacketError`].
    pub fn read_in(reader: &mut Reader<'_>, long: bool) -> Result<Self, PacketError> {
        let form = Form::of(Version::OURS);
        Ok(Self {
            began: Field::read(reader, form)?,
            ended: Field::read(reader, form)?,
            files: reader.u32()?,
            files_under: reader.u32()?,
            files_missing: reader.u32()?,
            detached_missing: match long {
                true => Some(Field::read(reader, form)?),
                false => None,
            },
            chunks: reader.u32()?,
            chunks_under: reader.u32()?,
            chunks_missing: reader.u32()?,
            message: Field::read(reader, form)?,
        })
    }

    pub(super) fn write(&self, writer: &mut Writer, form: Form) {
        self.began.write(writer, form);
        self.ended.write(writer, form);
        [self.files, self.files_under, self.files_missing].write(writer, form);
        self.detached_missing.write(writer, form);
        [self.chunks, self.chunks_under, self.chunks_missing].write(writer, form);
        self.message.write(writer, form);
    }
}

/// Chunks by goal and copies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matrix(pub Box<[[u32; COUNTS]; COUNTS]>);

impl Field for Matrix {
    fn read(reader: &mut Reader<'_>, form: Form) -> Result<Self, PacketError> {
        let mut rows = [[0; COUNTS]; COUNTS];
        for row in &mut rows {
            *row = Field::read(reader, form)?;
        }
        Ok(Self(Box::new(rows)))
    }

    fn write(&self, writer: &mut Writer, form: Form) {
        for row in self.0.iter() {
            row.write(writer, form);
        }
    }
}

/// One matrix, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Matrices {
    /// The one that was asked for.
    One(Matrix),
    /// Both.
    Both {
        /// Whether they are still being counted.
        progress: u8,
        /// Of all copies.
        all: Matrix,
        /// Without those on disks that shall be emptied.
        regular: Matrix,
    },
}

/// Bytes of one matrix.
const MATRIX_BYTES: usize = 4 * COUNTS * COUNTS;

impl Field for Matrices {
    fn read(reader: &mut Reader<'_>, form: Form) -> Result<Self, PacketError> {
        Ok(match reader.remaining() {
            MATRIX_BYTES => Self::One(Field::read(reader, form)?),
            _ => Self::Both {
                progress: reader.u8()?,
                all: Field::read(reader, form)?,
                regular: Field::read(reader, form)?,
            },
        })
    }

    fn write(&self, writer: &mut Writer, form: Form) {
        match self {
            Self::One(matrix) => matrix.write(writer, form),
            Self::Both {
                progress,
                all,
                regular,
            } => {
                writer.u8(*progress);
                all.write(writer, form);
                regular.write(writer, form);
            }
        }
    }
}

/// A chunk without a usable copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingChunk {
    /// The chunk.
    pub chunk: ChunkId,
    /// Its file.
    pub inode: InodeId,
    /// Which of its chunks.
    pub index: u32,
    /// 0 there is no copy, 1 all are bad, 2 all are of another version; not told to old tools.
    pub kind: Option<u8>,
}

impl MissingChunk {
    /// Reads one with its kind, or without.
    ///
    /// # Errors
    /// [`PacketError`].
    pub fn read_in(reader: &mut Reader<'_>, typed: bool) -> Result<Self, PacketError> {
        let form = Form::of(Version::OURS);
        Ok(Self {
            chunk: Field::read(reader, form)?,
            inode: Field::read(reader, form)?,
            index: reader.u32()?,
            kind: match typed {
                true => Some(reader.u8()?),
                false => None,
            },
        })
    }
}

impl Field for MissingChunk {
    fn read(reader: &mut Reader<'_>, _: Form) -> Result<Self, PacketError> {
        Self::read_in(reader, true)
    }

    fn write(&self, writer: &mut Writer, form: Form) {
        self.chunk.write(writer, form);
        self.inode.write(writer, form);
        writer.u32(self.index);
        self.kind.write(writer, form);
    }
}
