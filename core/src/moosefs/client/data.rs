//! Open files and where their data lies: what is asked, and what is told.
#![expect(
    missing_docs,
    reason = "fields are named as on MooseFS's wire; docs/protocols/moosefs.md has the forms"
)]

use std::net::Ipv4Addr;

use super::credentials::{Credentials, Gids};
use crate::id::{ChunkId, InodeId};
use crate::moosefs::attributes::Attributes;
use crate::moosefs::fields::{Field, Form, packet};
use crate::moosefs::reader::{PacketError, Reader};
use crate::moosefs::version::Version;
use crate::moosefs::writer::Writer;

packet! {
    /// Opens a file.
    Open {
        inode: InodeId,
        by: Credentials [before 1],
        /// Bits of [`crate::moosefs::flags::open`].
        flags: u8,
    }
}

packet! {
    /// A file that was opened.
    Opened {
        /// Bits of [`crate::moosefs::flags::opened`].
        flags: u8 [since 3, 0, 113],
        attributes: Attributes,
    }
}

packet! {
    /// Where a chunk of a file is, to read it or to write it.
    WantChunk {
        inode: InodeId,
        index: u32,
        /// Bits of [`crate::moosefs::flags::chunk`].
        flags: Option<u8>,
    }
}

packet! {
    /// The chunk was written.
    WriteChunkEnd {
        chunk: ChunkId,
        inode: InodeId,
        /// Missing, of clients before 3.0.74.
        index: Option<u32> [unless 8, 9],
        /// Length of the file, bytes.
        length: u64,
        /// Bits of [`crate::moosefs::flags::chunk`]; missing: the master may touch times.
        flags: Option<u8>,
    }
    legal |end| end.index.is_none() || end.flags.is_some()
}

packet! {
    /// Sets a file's length.
    Truncate {
        inode: InodeId,
        /// Bits of [`crate::moosefs::flags::truncate`]. Missing, of old clients: by an open file
        /// if user 0 asks for another group than 0, else by path.
        flags: Option<u8> [unless 16],
        by: Credentials [before 8],
        /// Bytes; of an append how many there will be.
        length: u64,
    }
    legal |truncate| truncate.flags.is_some() || truncate.by.gids.is_one()
}

packet! {
    /// A file whose length was set.
    Truncated {
        /// Bytes that it had; of an append where it begins.
        previous: u64 [since 3, 0, 113],
        attributes: Attributes,
    }
}

/// Appends chunks of another file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendSlice {
    pub inode: InodeId,
    pub src: InodeId,
    /// Which chunks; missing, of old clients: all.
    pub slice: Option<Slice>,
    pub by: Credentials,
}

/// Which chunks of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Bits of [`crate::moosefs::flags::slice`].
    pub flags: u8,
    pub from: u32,
    pub to: u32,
}

/// The form with a slice has an odd length.
impl Field for AppendSlice {
    fn read(reader: &mut Reader<'_>, form: Form) -> Result<Self, PacketError> {
        let sliced = reader.remaining() % 2 == 1;
        let flags = match sliced {
            true => reader.u8()?,
            false => 0,
        };
        let (inode, src) = Field::read(reader, form)?;
        let slice = match sliced {
            true => Some(Slice {
                flags,
                from: reader.u32()?,
                to: reader.u32()?,
            }),
            false => None,
        };
        let by = Credentials::read(reader, form)?;
        if sliced && by.gids.is_one() {
            return Err(reader.wrong("a slice without a list of groups"));
        }
        Ok(Self {
            inode,
            src,
            slice,
            by,
        })
    }

    fn write(&self, writer: &mut Writer, form: Form) {
        let Some(slice) = &self.slice else {
            (self.inode, self.src).write(writer, form);
            return self.by.write(writer, form);
        };
        writer.u8(slice.flags).u32(self.inode.0).u32(self.src.0);
        writer.u32(slice.from).u32(slice.to);
        let gids = Gids::List(self.by.gids.to_vec());
        let uid = self.by.uid;
        Credentials { uid, gids }.write(writer, form);
    }
}

/// Marks locations of 14 bytes.
const LOCATIONS_14: u8 = 2;
/// Marks locations of 10 bytes.
const LOCATIONS_10: u8 = 1;

packet! {
    /// A chunk with its locations, as a LOOKUP tells it.
    LookedChunk {
        /// Always 2: how long locations are.
        protocol: Protocol2,
        chunk: ChunkId,
        version: u32,
        locations: Vec<Location>,
    }
}

/// The only form of locations in a LOOKUP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol2;

impl Field for Protocol2 {
    fn read(reader: &mut Reader<'_>, _: Form) -> Result<Self, PacketError> {
        match reader.u8()? {
            LOCATIONS_14 => Ok(Self),
            _ => Err(reader.wrong("locations of an unknown form")),
        }
    }

    fn write(&self, writer: &mut Writer, _: Form) {
        writer.u8(LOCATIONS_14);
    }
}

packet! {
    /// A chunkserver that has a chunk. Its version and labels are told to clients since 3.0.10.
    Location {
        ip: u32,
        port: u16,
        server: u32,
        labels: u32 [since 3, 0, 10],
    }
}

impl Location {
    /// Its address.
    #[must_use]
    pub fn ip(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.ip)
    }
}

/// A file's chunk, to read or to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkPlace {
    /// Length of the file, bytes.
    pub length: u64,
    /// The chunk; 0 is a hole.
    pub chunk: ChunkId,
    pub version: u32,
    /// Where it is, the nearest first.
    pub locations: Vec<Location>,
}

const LONG_LOCATIONS: Version = Version::new(3, 0, 10);

impl Field for ChunkPlace {
    fn read(reader: &mut Reader<'_>, form: Form) -> Result<Self, PacketError> {
        let expected = match form.client >= LONG_LOCATIONS {
            true => LOCATIONS_14,
            false => LOCATIONS_10,
        };
        if reader.u8()? != expected {
            return Err(reader.wrong("locations of an unknown form"));
        }
        Ok(Self {
            length: Field::read(reader, form)?,
            chunk: Field::read(reader, form)?,
            version: Field::read(reader, form)?,
            locations: Field::read(reader, form)?,
        })
    }

    fn write(&self, writer: &mut Writer, form: Form) {
        writer.u8(match form.client >= LONG_LOCATIONS {
            true => LOCATIONS_14,
            false => LOCATIONS_10,
        });
        writer.u64(self.length).u64(self.chunk.0).u32(self.version);
        self.locations.write(writer, form);
    }
}

#[cfg(any(test, feature = "fuzzing"))]
mod samples {
    use super::*;
    use crate::moosefs::sample::{Draw, Sample};

    impl Sample for Protocol2 {
        fn sample(_: &mut Draw<'_>, _: Form) -> Self {
            Self
        }
    }

    impl Sample for ChunkPlace {
        fn sample(draw: &mut Draw<'_>, form: Form) -> Self {
            Self {
                length: Sample::sample(draw, form),
                chunk: Sample::sample(draw, form),
                version: Sample::sample(draw, form),
                locations: Sample::sample(draw, form),
            }
        }
    }

    impl Sample for AppendSlice {
        fn sample(draw: &mut Draw<'_>, form: Form) -> Self {
            let mut by = Credentials::sample(draw, form);
            let slice = (!draw.byte().is_multiple_of(4)).then(|| Slice {
                flags: draw.byte(),
                from: Sample::sample(draw, form),
                to: Sample::sample(draw, form),
            });
            if slice.is_some() {
                by.gids = Gids::List(by.gids.to_vec());
            }
            Self {
                inode: Sample::sample(draw, form),
                src: Sample::sample(draw, form),
                slice,
                by,
            }
        }
    }
}
