//! Administration of storage classes: what is asked, and what is told.
#![expect(
    missing_docs,
    reason = "fields are named as on MooseFS's wire; docs/protocols/moosefs.md has the forms"
)]

use crate::limits;
use crate::moosefs::fields::{Field, Form, Name, packet, read_counted};
use crate::moosefs::reader::{PacketError, Reader};
use crate::moosefs::writer::Writer;

/// A storage class without its name.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ClassBlock {
    pub admin_only: u8,
    /// 0 loose, 1 std, 2 strict.
    pub mode: u8,
    pub archive_delay_days: u16,
    /// At most nine copies in each list; a copy is up to four masks of labels.
    pub create: Vec<[u32; 4]>,
    pub keep: Vec<[u32; 4]>,
    pub archive: Vec<[u32; 4]>,
}

impl Field for ClassBlock {
    fn read(reader: &mut Reader<'_>, form: Form) -> Result<Self, PacketError> {
        let admin_only = reader.u8()?;
        let mode = reader.u8()?;
        let archive_delay_days = reader.u16()?;
        let [create, keep, archive] = <[u8; 3]>::read(reader, form)?;
        if [create, keep, archive]
            .iter()
            .any(|n| *n > limits::GOAL_MAX)
        {
            return Err(reader.wrong("a class with more copies than nine"));
        }
        Ok(Self {
            admin_only,
            mode,
            archive_delay_days,
            create: read_counted(reader, form, create.into())?,
            keep: read_counted(reader, form, keep.into())?,
            archive: read_counted(reader, form, archive.into())?,
        })
    }

    fn write(&self, writer: &mut Writer, form: Form) {
        writer.u8(self.admin_only).u8(self.mode);
        writer.u16(self.archive_delay_days);
        let lists = [&self.create, &self.keep, &self.archive];
        for list in lists {
            writer.u8(u8::try_from(list.len()).expect("a class has at most nine copies"));
        }
        for list in lists {
            list.write(writer, form);
        }
    }
}

/// Something behind a byte that says in which form it is. MooseFS refuses forms other than 0
/// without looking at the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Versioned<T> {
    /// Form 0.
    Known(T),
    Unknown {
        form: u8,
        rest: Vec<u8>,
    },
}

impl<T: Field> Field for Versioned<T> {
    fn read(reader: &mut Reader<'_>, form: Form) -> Result<Self, PacketError> {
        match reader.u8()? {
            0 => T::read(reader, form).map(Self::Known),
            unknown => Ok(Self::Unknown {
                form: unknown,
                rest: reader.bytes(reader.remaining())?.to_vec(),
            }),
        }
    }

    fn write(&self, writer: &mut Writer, form: Form) {
        match self {
            Self::Known(known) => known.write(writer.u8(0), form),
            Self::Unknown {
                form: unknown,
                rest,
            } => {
                writer.u8(*unknown).bytes(rest);
            }
        }
    }
}

packet! {
    /// A new class.
    CreateClass {
        name: Name,
        class: Versioned<ClassBlock>,
    }
}

packet! {
    /// Changes a class, or shows it.
    ChangeClass {
        name: Name,
        change: Versioned<ClassChange>,
    }
}

packet! {
    /// What of a class is changed.
    ClassChange {
        /// Bits of [`crate::moosefs::flags::class_change`]; none: shows it.
        mask: u16,
        class: ClassBlock,
    }
}

/// A class that was shown or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownClass(pub ClassBlock);

impl Field for ShownClass {
    fn read(reader: &mut Reader<'_>, form: Form) -> Result<Self, PacketError> {
        match reader.u8()? {
            0 => ClassBlock::read(reader, form).map(Self),
            _ => Err(reader.wrong("a class in an unknown form")),
        }
    }

    fn write(&self, writer: &mut Writer, form: Form) {
        self.0.write(writer.u8(0), form);
    }
}

packet! {
    /// A class.
    DeleteClass {
        name: Name,
    }
}

packet! {
    /// A class, and another name.
    TwoClasses {
        old: Name,
        new: Name,
    }
}

packet! {
    /// All classes.
    ListClasses {
        /// 1: with their definitions.
        long: u8,
    }
}

/// A class in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedClass {
    pub name: Name,
    /// Only for those who asked for the long form.
    pub class: Option<ClassBlock>,
}

impl Field for ListedClass {
    fn read(reader: &mut Reader<'_>, form: Form) -> Result<Self, PacketError> {
        Ok(Self {
            name: Field::read(reader, form)?,
            class: match form.long {
                true => Some(Field::read(reader, form)?),
                false => None,
            },
        })
    }

    fn write(&self, writer: &mut Writer, form: Form) {
        self.name.write(writer, form);
        if form.long {
            self.class.clone().unwrap_or_default().write(writer, form);
        }
    }
}

#[cfg(any(test, feature = "fuzzing"))]
mod samples {
    use super::*;
    use crate::moosefs::sample::{Draw, Sample};

    impl Sample for ClassBlock {
        fn sample(draw: &mut Draw<'_>, form: Form) -> Self {
            Self {
                admin_only: draw.byte(),
                mode: draw.byte(),
                archive_delay_days: Sample::sample(draw, form),
                create: Sample::sample(draw, form),
                keep: Sample::sample(draw, form),
                archive: Sample::sample(draw, form),
            }
        }
    }

    impl<T: Sample> Sample for Versioned<T> {
        fn sample(draw: &mut Draw<'_>, form: Form) -> Self {
            match draw.byte() {
                unknown @ 200.. => Self::Unknown {
                    form: unknown,
                    rest: Sample::sample(draw, form),
                },
                _ => Self::Known(Sample::sample(draw, form)),
            }
        }
    }

    impl Sample for ShownClass {
        fn sample(draw: &mut Draw<'_>, form: Form) -> Self {
            Self(Sample::sample(draw, form))
        }
    }

    impl Sample for ListedClass {
        fn sample(draw: &mut Draw<'_>, form: Form) -> Self {
            Self {
                // No class is without a name; a list of one would look like a status.
                name: Name::new([b"c", draw.bytes(254).as_slice()].concat()).expect("255 bytes"),
                class: form.long.then(|| Sample::sample(draw, form)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moosefs::version::Version;

    #[test]
    fn lists_of_copies_are_bounded() {
        let form = Form::of(Version::OURS);
        for (copies, fits) in [(9_u8, true), (10, false)] {
            let mut bytes = vec![0, 1, 0, 0, copies, 1, 1];
            bytes.extend(vec![0; 16 * (usize::from(copies) + 2)]);
            let found = ClassBlock::read(&mut Reader::new(350, &bytes), form);
            assert_eq!(found.is_ok(), fits);
        }
    }
}
