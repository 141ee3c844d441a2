//! Fields that packets are put together from, and `packet!`, which makes a packet of a list of
//! fields.
//!
//! Three things make a field appear or not: how long the packet is (old short forms of requests),
//! the version of the client (forms of replies), and what was asked for (entries of lists). The
//! last two are in [`Form`].

use super::reader::{PacketError, Reader};
use super::version::Version;
use super::writer::Writer;
use crate::id::{ChunkId, InodeId, SessionId};
use crate::time::WallTime;

/// What a packet's form depends on, besides its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Version that the client registered with.
    pub client: Version,
    /// Entries of a list carry all there is (attributes, definitions), not the least.
    pub long: bool,
    /// A page of a directory says where to go on.
    pub resumable: bool,
}

impl Form {
    /// For a client, where nothing else matters.
    #[must_use]
    pub const fn of(client: Version) -> Self {
        Self {
            client,
            long: false,
            resumable: false,
        }
    }
}

/// Something that stands in a packet.
pub trait Field: Sized {
    /// Reads it.
    ///
    /// # Errors
    /// The packet ends within it, or it has a value that it cannot have.
    fn read(reader: &mut Reader<'_>, form: Form) -> Result<Self, PacketError>;

    /// Writes it.
    fn write(&self, writer: &mut Writer, form: Form);
}

macro_rules! integers {
    ($($type:ident),*) => {$(
        impl Field for $type {
            fn read(reader: &mut Reader<'_>, _: Form) -> Result<Self, PacketError> {
                reader.$type()
            }

            fn write(&self, writer: &mut Writer, _: Form) {
                writer.$type(*self);
            }
        }
    )*};
}

macro_rules! wrapped {
    ($($type:ident($inner:ident)),*) => {$(
        impl Field for $type {
            fn read(reader: &mut Reader<'_>, _: Form) -> Result<Self, PacketError> {
                reader.$inner().map(Self)
            }

            fn write(&self, writer: &mut Writer, _: Form) {
                writer.$inner(self.0);
            }
        }
    )*};
}

integers!(u8, u16, u32, u64);
wrapped!(
    InodeId(u32),
    ChunkId(u64),
    SessionId(u32),
    WallTime(u32),
    Version(u32)
);

/// There if the packet goes on.
impl<T: Field> Field for Option<T> {
    fn read(reader: &mut Reader<'_>, form: Form) -> Result<Self, PacketError> {
        match reader.remaining() {
            0 => Ok(None),
            _ => T::read(reader, form).map(Some),
        }
    }

    fn write(&self, writer: &mut Writer, form: Form) {
        if let Some(field) = self {
            field.write(writer, form);
        }
    }
}

/// As many as there are until the packet ends.
impl<T: Field> Field for Vec<T> {
    fn read(reader: &mut Reader<'_>, form: Form) -> Result<Self, PacketError> {
        let mut found = Self::new();
        while reader.remaining() > 0 {
            found.push(T::read(reader, form)?);
        }
        Ok(found)
    }

    fn write(&self, writer: &mut Writer, form: Form) {
        for field in self {
            field.write(writer, form);
        }
    }
}

impl<T: Field + Copy + Default, const N: usize> Field for [T; N] {
    fn read(reader: &mut Reader<'_>, form: Form) -> Result<Self, PacketError> {
        let mut found = [T::default(); N];
        for field in &mut found {
            *field = T::read(reader, form)?;
        }
        Ok(found)
    }

    fn write(&self, writer: &mut Writer, form: Form) {
        for field in self {
            field.write(writer, form);
        }
    }
}

impl<T: Field, U: Field> Field for (T, U) {
    fn read(reader: &mut Reader<'_>, form: Form) -> Result<Self, PacketError> {
        Ok((T::read(reader, form)?, U::read(reader, form)?))
    }

    fn write(&self, writer: &mut Writer, form: Form) {
        self.0.write(writer, form);
        self.1.write(writer, form);
    }
}

/// So many as a count in front of them says. Room is made for those that come.
///
/// # Errors
/// As of the fields.
pub fn read_counted<T: Field>(
    reader: &mut Reader<'_>,
    form: Form,
    count: usize,
) -> Result<Vec<T>, PacketError> {
    let mut found = Vec::new();
    for _ in 0..count {
        found.push(T::read(reader, form)?);
    }
    Ok(found)
}

/// A `NAME`: one byte of length, then the bytes, whatever they are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Name(Vec<u8>);

/// Bytes that no `NAME` has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{bytes} bytes are too many for a name, which has at most 255")]
pub struct NameTooLong {
    /// How many they are.
    pub bytes: usize,
}

impl Name {
    /// Of up to 255 bytes.
    ///
    /// # Errors
    /// [`NameTooLong`].
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, NameTooLong> {
        let bytes = bytes.into();
        match u8::try_from(bytes.len()) {
            Ok(_) => Ok(Self(bytes)),
            Err(_) => Err(NameTooLong { bytes: bytes.len() }),
        }
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl Field for Name {
    fn read(reader: &mut Reader<'_>, _: Form) -> Result<Self, PacketError> {
        reader.name().map(|name| Self(name.to_vec()))
    }

    fn write(&self, writer: &mut Writer, _: Form) {
        writer.name(&self.0);
    }
}

/// Four bytes of length, then the bytes, whatever they are. Whether there are too many of them is
/// not for the codec to say: MooseFS answers that with a status.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Blob(pub Vec<u8>);

impl Field for Blob {
    fn read(reader: &mut Reader<'_>, _: Form) -> Result<Self, PacketError> {
        let length = reader.u32()?;
        Ok(Self(reader.bytes(length as usize)?.to_vec()))
    }

    fn write(&self, writer: &mut Writer, _: Form) {
        let length = u32::try_from(self.0.len()).expect("a packet is below 4 GiB");
        writer.u32(length).bytes(&self.0);
    }
}

/// Bytes without a NUL, on the wire with one behind them that their length counts.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Text(pub Vec<u8>);

impl Field for Text {
    fn read(reader: &mut Reader<'_>, _: Form) -> Result<Self, PacketError> {
        reader.string(usize::MAX).map(|text| Self(text.to_vec()))
    }

    fn write(&self, writer: &mut Writer, _: Form) {
        writer.string(&self.0);
    }
}

/// A packet, or a part of one, as a struct: its fields in the order of the wire.
///
/// Behind a field's type may stand
/// - `[unless 8, 9]`: an `Option` that is missing when exactly so many bytes are left,
/// - `[before 1, 2]`: of [`super::client::credentials::Credentials`]: so many bytes may follow,
/// - `[since 3, 0, 113]`: on the wire only of clients of that version and later, else the default.
///
/// `legal |packet| condition`, last, is for packets with old forms: which combinations there are,
/// the others being refused.
macro_rules! packet {
    (@read $reader:ident $form:ident $type:ty) => {
        <$type as $crate::moosefs::fields::Field>::read($reader, $form)?
    };
    (@read $reader:ident $form:ident $type:ty [before $($tail:literal),+]) => {
        <$type>::read_before($reader, &[$($tail),+])?
    };
    (@read $reader:ident $form:ident $type:ty [unless $($left:literal),+]) => {
        if [$($left),+].contains(&$reader.remaining()) {
            None
        } else {
            Some($crate::moosefs::fields::Field::read($reader, $form)?)
        }
    };
    (@read $reader:ident $form:ident $type:ty [since $a:literal, $b:literal, $c:literal]) => {
        if $form.client >= $crate::moosefs::version::Version::new($a, $b, $c) {
            <$type as $crate::moosefs::fields::Field>::read($reader, $form)?
        } else {
            <$type>::default()
        }
    };
    (@write $field:expr, $writer:ident $form:ident [since $a:literal, $b:literal, $c:literal]) => {
        if $form.client >= $crate::moosefs::version::Version::new($a, $b, $c) {
            $crate::moosefs::fields::Field::write(&$field, $writer, $form);
        }
    };
    (@write $field:expr, $writer:ident $form:ident $([$($how:tt)+])?) => {
        $crate::moosefs::fields::Field::write(&$field, $writer, $form);
    };
    (@sample $draw:ident $form:ident $type:ty [since $a:literal, $b:literal, $c:literal]) => {
        if $form.client >= $crate::moosefs::version::Version::new($a, $b, $c) {
            <$type as $crate::moosefs::sample::Sample>::sample($draw, $form)
        } else {
            <$type>::default()
        }
    };
    (@sample $draw:ident $form:ident $type:ty $([$($how:tt)+])?) => {
        <$type as $crate::moosefs::sample::Sample>::sample($draw, $form)
    };
    (
        $(#[$meta:meta])*
        $name:ident {
            $($(#[$field_meta:meta])* $field:ident: $type:ty $([$($how:tt)+])?),* $(,)?
        }
        $(legal |$packet:ident| $legal:expr)?
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
        }

        impl $crate::moosefs::fields::Field for $name {
            fn read(
                reader: &mut $crate::moosefs::reader::Reader<'_>,
                form: $crate::moosefs::fields::Form,
            ) -> Result<Self, $crate::moosefs::reader::PacketError> {
                let _ = (&reader, form);
                $(let $field = $crate::moosefs::fields::packet!(
                    @read reader form $type $([$($how)+])?
                );)*
                let found = Self { $($field),* };
                $(
                    let $packet = &found;
                    if !$legal {
                        return Err(reader.wrong("fields of an old form and a new one together"));
                    }
                )?
                Ok(found)
            }

            fn write(
                &self,
                writer: &mut $crate::moosefs::writer::Writer,
                form: $crate::moosefs::fields::Form,
            ) {
                let _ = (&writer, form);
                $($crate::moosefs::fields::packet!(
                    @write self.$field, writer form $([$($how)+])?
                );)*
            }
        }

        #[cfg(any(test, feature = "fuzzing"))]
        impl $crate::moosefs::sample::Sample for $name {
            fn sample(
                draw: &mut $crate::moosefs::sample::Draw<'_>,
                form: $crate::moosefs::fields::Form,
            ) -> Self {
                loop {
                    let _ = (&draw, form);
                    let found = Self {
                        $($field: $crate::moosefs::fields::packet!(
                            @sample draw form $type $([$($how)+])?
                        ),)*
                    };
                    // At the end of what is drawn from everything is empty or old, and legal.
                    $(
                        let $packet = &found;
                        if !$legal {
                            continue;
                        }
                    )?
                    break found;
                }
            }
        }
    };
}
pub(crate) use packet;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_room_for_255_bytes() {
        assert_eq!(Name::new([7; 255]).unwrap().as_bytes(), [7; 255]);
        assert_eq!(Name::new([7; 256]), Err(NameTooLong { bytes: 256 }));
    }

    #[test]
    fn a_length_that_is_not_there_makes_no_room() {
        let form = Form::of(Version::OURS);
        let claimed = u32::MAX.to_be_bytes();
        let found = Blob::read(&mut Reader::new(7, &claimed), form);
        assert!(matches!(found, Err(PacketError::Short { kind: 7, .. })));
        let found = Text::read(&mut Reader::new(7, &claimed), form);
        assert!(matches!(found, Err(PacketError::Short { kind: 7, .. })));
        let found = read_counted::<u64>(&mut Reader::new(7, &claimed), form, usize::MAX);
        assert!(matches!(found, Err(PacketError::Short { kind: 7, .. })));
    }
}
