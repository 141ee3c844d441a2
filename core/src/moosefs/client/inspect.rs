//! Checks, repair, snapshots and where nodes are: what is asked, and what is told.
#![expect(
    missing_docs,
    reason = "fields are named as on MooseFS's wire; docs/protocols/moosefs.md has the forms"
)]

use super::credentials::Credentials;
use crate::id::{ChunkId, InodeId};
use crate::moosefs::fields::{Blob, Field, Form, Name, packet};
use crate::moosefs::reader::{PacketError, Reader};
use crate::moosefs::version::Version;
use crate::moosefs::writer::Writer;

packet! {
    /// How many copies a file's chunks have, or where the copies of one are.
    Check {
        inode: InodeId,
        index: Option<u32>,
    }
}

/// What a CHECK was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// Chunks with 0 to 9 copies, with 10 and more, and holes; the last is not told to clients
    /// before 3.0.30.
    Copies([u32; 12]),
    Chunk(CheckedChunk),
}

packet! {
    /// A chunk and its copies.
    CheckedChunk {
        chunk: ChunkId,
        version: u32,
        copies: Vec<Copy>,
    }
}

packet! {
    /// A copy of a chunk.
    Copy {
        ip: u32,
        port: u16,
        /// 0 good, 1 to be removed, 2 of a wrong version, 3 both, 4 invalid.
        state: u8,
    }
}

const TOLD_HOLES: Version = Version::new(3, 0, 30);

impl Field for Checked {
    fn read(reader: &mut Reader<'_>, form: Form) -> Result<Self, PacketError> {
        // Twelve bytes and some of seven each are never 44 or 48.
        match reader.remaining() {
            44 | 48 => {
                let mut copies = [0; 12];
                let told = copies.len() - usize::from(form.client < TOLD_HOLES);
                for count in &mut copies[..told] {
                    *count = reader.u32()?;
                }
                Ok(Self::Copies(copies))
            }
            _ => Field::read(reader, form).map(Self::Chunk),
        }
    }

    fn write(&self, writer: &mut Writer, form: Form) {
        match self {
            Self::Copies(copies) => {
                let told = copies.len() - usize::from(form.client < TOLD_HOLES);
                for count in &copies[..told] {
                    count.write(writer, form);
                }
            }
            Self::Chunk(chunk) => chunk.write(writer, form),
        }
    }
}

packet! {
    /// A question about one node.
    OfNode {
        inode: InodeId,
    }
}

/// What a directory holds. Connections of tools get the short form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirStats {
    /// Whether in the form for tools.
    pub short: bool,
    pub inodes: u32,
    pub dirs: u32,
    pub files: u32,
    pub chunks: u32,
    pub length: u64,
    pub size: u64,
    pub real_size: u64,
}

/// Bytes of the form for tools, behind the message id.
const SHORT_STATS_BYTES: usize = 40;

impl Field for DirStats {
    fn read(reader: &mut Reader<'_>, form: Form) -> Result<Self, PacketError> {
        let short = reader.remaining() == SHORT_STATS_BYTES;
        let [inodes, dirs, files] = Field::read(reader, form)?;
        if !short {
            <[u32; 2]>::read(reader, form)?;
        }
        let chunks = reader.u32()?;
        if !short {
            <[u32; 2]>::read(reader, form)?;
        }
        let [length, size, real_size] = Field::read(reader, form)?;
        Ok(Self {
            short,
            inodes,
            dirs,
            files,
            chunks,
            length,
            size,
            real_size,
        })
    }

    fn write(&self, writer: &mut Writer, form: Form) {
        [self.inodes, self.dirs, self.files].write(writer, form);
        if !self.short {
            [0_u32; 2].write(writer, form);
        }
        self.chunks.write(writer, form);
        if !self.short {
            [0_u32; 2].write(writer, form);
        }
        [self.length, self.size, self.real_size].write(writer, form);
    }
}

packet! {
    /// Repairs a file's chunks.
    Repair {
        inode: InodeId,
        by: Credentials,
    }
}

packet! {
    /// Chunks that were right, made holes, and given a version that has copies.
    Repaired {
        unchanged: u32,
        erased: u32,
        repaired: u32,
    }
}

packet! {
    /// Makes or removes a snapshot.
    Snapshot {
        /// What is copied; 0 for a removal.
        inode: InodeId,
        dst_parent: InodeId,
        name: Name,
        by: Credentials [before 1, 3],
        /// Bits of [`crate::moosefs::flags::snapshot`].
        mode: u8,
        umask: Option<u16>,
    }
    legal |snapshot| snapshot.umask.is_some() || snapshot.by.gids.is_one()
}

packet! {
    /// What a node is made of, in parts.
    NodeInfo {
        inode: InodeId,
        entries_max: u32,
        /// Where a part before said that it goes on; 0 at the beginning.
        next: u64,
    }
}

/// What a node is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeParts {
    /// Neither directory nor file.
    Other,
    Directory(NodesWithin),
    File(ChunksWithin),
}

packet! {
    /// Nodes in a directory.
    NodesWithin {
        /// Where it goes on.
        next: u64,
        nodes: Vec<InodeId>,
    }
}

packet! {
    /// Chunks of a file.
    ChunksWithin {
        /// Where it goes on.
        next: u64,
        /// Bytes of the file.
        length: u64,
        chunks: Vec<ChunkWithin>,
    }
}

packet! {
    /// A chunk of a file.
    ChunkWithin {
        chunk: ChunkId,
        /// Bytes.
        size: u32,
        copies: u8,
    }
}

impl Field for NodeParts {
    fn read(reader: &mut Reader<'_>, form: Form) -> Result<Self, PacketError> {
        match reader.u16()? {
            0 => Ok(Self::Other),
            1 => Field::read(reader, form).map(Self::Directory),
            2 => Field::read(reader, form).map(Self::File),
            _ => Err(reader.wrong("a node of an unknown kind")),
        }
    }

    fn write(&self, writer: &mut Writer, form: Form) {
        match self {
            Self::Other => {
                writer.u16(0);
            }
            Self::Directory(nodes) => nodes.write(writer.u16(1), form),
            Self::File(chunks) => chunks.write(writer.u16(2), form),
        }
    }
}

/// Paths of a node, as its session sees them, without a NUL.
pub type Paths = Vec<Blob>;

#[cfg(any(test, feature = "fuzzing"))]
mod samples {
    use super::*;
    use crate::moosefs::sample::{Draw, Sample};

    impl Sample for Checked {
        fn sample(draw: &mut Draw<'_>, form: Form) -> Self {
            if draw.byte() % 2 == 1 {
                return Self::Chunk(Sample::sample(draw, form));
            }
            let mut copies: [u32; 12] = Sample::sample(draw, form);
            if form.client < TOLD_HOLES {
                copies[11] = 0;
            }
            Self::Copies(copies)
        }
    }

    impl Sample for DirStats {
        fn sample(draw: &mut Draw<'_>, form: Form) -> Self {
            Self {
                short: draw.byte() % 2 == 1,
                inodes: Sample::sample(draw, form),
                dirs: Sample::sample(draw, form),
                files: Sample::sample(draw, form),
                chunks: Sample::sample(draw, form),
                length: Sample::sample(draw, form),
                size: Sample::sample(draw, form),
                real_size: Sample::sample(draw, form),
            }
        }
    }

    impl Sample for NodeParts {
        fn sample(draw: &mut Draw<'_>, form: Form) -> Self {
            match draw.byte() % 3 {
                0 => Self::Other,
                1 => Self::Directory(Sample::sample(draw, form)),
                _ => Self::File(Sample::sample(draw, form)),
            }
        }
    }
}
