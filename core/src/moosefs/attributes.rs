//! The attribute record: 36 bytes, 35 of clients before 3.0.93.

use super::fields::{Field, Form};
use super::reader::{PacketError, Reader};
use super::version::Version;
use super::writer::Writer;
use crate::time::WallTime;

/// Clients of this version and later get 36 bytes.
const WITH_WINATTR: Version = Version::new(3, 0, 93);

/// What a client is told of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Attributes {
    /// Bits of [`super::flags::shown`].
    pub flags: u8,
    /// One of [`super::flags::node`], four bits.
    pub kind: u8,
    /// Permission bits, twelve of them.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Access time.
    pub atime: WallTime,
    /// Modification time.
    pub mtime: WallTime,
    /// Change time.
    pub ctime: WallTime,
    /// Links.
    pub nlink: u32,
    /// Bytes of a file or of a symlink's target; the encoded size of a directory's tree; of a
    /// device its number in the upper half.
    pub length: u64,
    /// Windows attributes; not told to clients before 3.0.93.
    pub winattr: u8,
}

impl Attributes {
    /// Bytes of a record for a client of this version.
    #[must_use]
    pub fn bytes(client: Version) -> usize {
        35 + usize::from(client >= WITH_WINATTR)
    }
}

impl Field for Attributes {
    fn read(reader: &mut Reader<'_>, form: Form) -> Result<Self, PacketError> {
        let flags = reader.u8()?;
        let kind_and_mode = reader.u16()?;
        Ok(Self {
            flags,
            kind: (kind_and_mode >> 12) as u8,
            mode: kind_and_mode & 0o7777,
            uid: reader.u32()?,
            gid: reader.u32()?,
            atime: WallTime(reader.u32()?),
            mtime: WallTime(reader.u32()?),
            ctime: WallTime(reader.u32()?),
            nlink: reader.u32()?,
            length: reader.u64()?,
            winattr: match form.client >= WITH_WINATTR {
                true => reader.u8()?,
                false => 0,
            },
        })
    }

    fn write(&self, writer: &mut Writer, form: Form) {
        writer.u8(self.flags);
        writer.u16(u16::from(self.kind & 0xF) << 12 | self.mode & 0o7777);
        writer.u32(self.uid).u32(self.gid);
        writer.u32(self.atime.0).u32(self.mtime.0).u32(self.ctime.0);
        writer.u32(self.nlink).u64(self.length);
        if form.client >= WITH_WINATTR {
            writer.u8(self.winattr);
        }
    }
}

#[cfg(any(test, feature = "fuzzing"))]
impl super::sample::Sample for Attributes {
    fn sample(draw: &mut super::sample::Draw<'_>, form: Form) -> Self {
        let bytes: Vec<u8> = (0..Self::bytes(form.client)).map(|_| draw.byte()).collect();
        Self::read(&mut Reader::new(0, &bytes), form).expect("as many bytes as it needs")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file of a captured LOOKUP: 0644, one link, six bytes.
    const RECORD: [u8; 36] = [
        0x08, 0x11, 0xA4, 0, 0, 0, 0, 0, 0, 0, 0, 0x6B, 0x00, 0xE3, 0x65, 0x6B, 0x00, 0xE3, 0x65,
        0x6B, 0x00, 0xE3, 0x65, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 6, 0,
    ];

    #[test]
    fn a_captured_record_means_what_it_says() {
        let now = WallTime(0x6B00_E365);
        let expected = Attributes {
            flags: 0x08,
            kind: 1,
            mode: 0o644,
            atime: now,
            mtime: now,
            ctime: now,
            nlink: 1,
            length: 6,
            ..Attributes::default()
        };
        for (client, bytes) in [
            (Version::OURS, &RECORD[..]),
            (Version::new(3, 0, 93), &RECORD[..]),
            (Version::new(3, 0, 92), &RECORD[..35]),
        ] {
            let form = Form::of(client);
            assert_eq!(Attributes::bytes(client), bytes.len());
            let mut reader = Reader::new(407, bytes);
            assert_eq!(Attributes::read(&mut reader, form), Ok(expected));
            reader.end().unwrap();
            let mut writer = Writer::new(407);
            expected.write(&mut writer, form);
            assert_eq!(writer.finish()[8..], *bytes);
        }
    }
}
