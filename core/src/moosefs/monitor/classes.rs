//! Storage classes, and whether their wishes can be fulfilled.

use crate::moosefs::fields::{Field, Form, Name, packet, read_counted};
use crate::moosefs::reader::{PacketError, Reader};
use crate::moosefs::writer::Writer;

packet! {
    /// A wanted copy.
    Wanted {
        /// Up to four masks of labels, any of which will do; all 0 for any chunkserver.
        masks: [u32; 4],
        /// Chunkservers that have such labels.
        servers: u16,
    }
}

/// Whether wanted copies can be made: 3 yes, 2 not now, for chunkservers are overloaded, 1 not for
/// want of room, 0 no.
pub type Fulfilled = u8;

/// Wanted copies, and whether they can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedCopies {
    /// Whether they can.
    pub fulfilled: Fulfilled,
    /// The copies, 255 at most.
    pub copies: Vec<Wanted>,
}

/// A storage class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassListed {
    /// Its number.
    pub id: u8,
    /// Its name.
    pub name: Name,
    /// Files that have it.
    pub files: u32,
    /// Directories that have it.
    pub dirs: u32,
    /// Chunks below their goal, at it, and above it: kept and archived of each.
    pub chunks: [u64; 6],
    /// Whether only an administrator may give it.
    pub admin_only: u8,
    /// 0 loose, 1 standard, 2 strict.
    pub mode: u8,
    /// Days until chunks are archived.
    pub archive_delay: u16,
    /// Copies at creation, while kept, once archived.
    pub wanted: [WantedCopies; 3],
}

/// All classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classes {
    /// Chunkservers that can be used.
    pub servers: u16,
    /// The classes.
    pub classes: Vec<ClassListed>,
}

impl Field for ClassListed {
    fn read(reader: &mut Reader<'_>, form: Form) -> Result<Self, PacketError> {
        let id = reader.u8()?;
        let name = Field::read(reader, form)?;
        let [files, dirs] = Field::read(reader, form)?;
        let chunks = Field::read(reader, form)?;
        let (admin_only, mode, archive_delay) = (reader.u8()?, reader.u8()?, reader.u16()?);
        let heads: [[u8; 2]; 3] = [
            Field::read(reader, form)?,
            Field::read(reader, form)?,
            Field::read(reader, form)?,
        ];
        let mut wanted = Vec::with_capacity(heads.len());
        for [fulfilled, count] in heads {
            let copies = read_counted(reader, form, usize::from(count))?;
            wanted.push(WantedCopies { fulfilled, copies });
        }
        Ok(Self {
            id,
            name,
            files,
            dirs,
            chunks,
            admin_only,
            mode,
            archive_delay,
            wanted: wanted.try_into().expect("as many as there were heads"),
        })
    }

    fn write(&self, writer: &mut Writer, form: Form) {
        writer.u8(self.id);
        self.name.write(writer, form);
        [self.files, self.dirs].write(writer, form);
        self.chunks.write(writer, form);
        writer.u8(self.admin_only).u8(self.mode);
        writer.u16(self.archive_delay);
        for wanted in &self.wanted {
            let count = u8::try_from(wanted.copies.len()).expect("at most 255 copies");
            writer.u8(wanted.fulfilled).u8(count);
        }
        for wanted in &self.wanted {
            wanted.copies.write(writer, form);
        }
    }
}

impl Field for Classes {
    fn read(reader: &mut Reader<'_>, form: Form) -> Result<Self, PacketError> {
        Ok(Self {
            servers: reader.u16()?,
            classes: Field::read(reader, form)?,
        })
    }

    fn write(&self, writer: &mut Writer, form: Form) {
        writer.u16(self.servers);
        self.classes.write(writer, form);
    }
}

#[cfg(any(test, feature = "fuzzing"))]
mod samples {
    use super::*;
    use crate::moosefs::sample::{Draw, Sample};

    impl Sample for WantedCopies {
        fn sample(draw: &mut Draw<'_>, form: Form) -> Self {
            Self {
                fulfilled: draw.byte(),
                copies: Sample::sample(draw, form),
            }
        }
    }

    impl Sample for ClassListed {
        fn sample(draw: &mut Draw<'_>, form: Form) -> Self {
            Self {
                id: draw.byte(),
                name: Sample::sample(draw, form),
                files: Sample::sample(draw, form),
                dirs: Sample::sample(draw, form),
                chunks: Sample::sample(draw, form),
                admin_only: draw.byte(),
                mode: draw.byte(),
                archive_delay: Sample::sample(draw, form),
                wanted: Sample::sample(draw, form),
            }
        }
    }

    impl Sample for Classes {
        fn sample(draw: &mut Draw<'_>, form: Form) -> Self {
            Self {
                servers: Sample::sample(draw, form),
                classes: Sample::sample(draw, form),
            }
        }
    }
}
