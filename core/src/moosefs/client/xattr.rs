//! Extended attributes and ACLs: what is asked, and what is told.
#![expect(
    missing_docs,
    reason = "fields are named as on MooseFS's wire; docs/protocols/moosefs.md has the forms"
)]

use super::credentials::Credentials;
use crate::id::InodeId;
use crate::moosefs::fields::{Blob, Field, Form, Name, packet, read_counted};
use crate::moosefs::reader::{PacketError, Reader};
use crate::moosefs::writer::Writer;

packet! {
    /// A value; with an empty name the names that there are.
    GetXattr {
        inode: InodeId,
        name: Name,
        /// One of [`crate::moosefs::flags::xattr_get`].
        mode: u8,
        opened: u8,
        by: Credentials,
    }
}

/// A value, or names each followed by a NUL; or only how long that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XattrValue {
    /// Bytes of it. An empty value is this, too: the wire does not tell them apart.
    Length(u32),
    Value(Vec<u8>),
}

impl Field for XattrValue {
    fn read(reader: &mut Reader<'_>, _: Form) -> Result<Self, PacketError> {
        let length = reader.u32()?;
        match reader.remaining() {
            0 => Ok(Self::Length(length)),
            _ => Ok(Self::Value(reader.bytes(length as usize)?.to_vec())),
        }
    }

    fn write(&self, writer: &mut Writer, form: Form) {
        match self {
            Self::Length(length) => length.write(writer, form),
            Self::Value(value) => Blob(value.clone()).write(writer, form),
        }
    }
}

packet! {
    /// Sets or removes a value.
    SetXattr {
        inode: InodeId,
        name: Name,
        value: Blob,
        /// One of [`crate::moosefs::flags::xattr_set`].
        mode: u8,
        opened: u8,
        by: Credentials,
    }
}

packet! {
    /// An ACL.
    GetFacl {
        inode: InodeId,
        /// One of [`crate::moosefs::flags::acl`].
        kind: u8,
        /// Only of clients that take the master for one before 3.0.91.
        old: Option<OldFacl>,
    }
}

packet! {
    /// What clients said with a GETFACL once.
    OldFacl {
        opened: u8,
        by: Credentials,
    }
}

/// An ACL. 0xFFFF is a permission that is not given.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct WireAcl {
    pub user: u16,
    pub group: u16,
    pub other: u16,
    pub mask: u16,
    /// Users and their bits; at most 65,535, as of groups.
    pub named_users: Vec<(u32, u16)>,
    pub named_groups: Vec<(u32, u16)>,
}

impl Field for WireAcl {
    fn read(reader: &mut Reader<'_>, form: Form) -> Result<Self, PacketError> {
        let user = reader.u16()?;
        let group = reader.u16()?;
        let other = reader.u16()?;
        let mask = reader.u16()?;
        let users = usize::from(reader.u16()?);
        let groups = usize::from(reader.u16()?);
        Ok(Self {
            user,
            group,
            other,
            mask,
            named_users: read_counted(reader, form, users)?,
            named_groups: read_counted(reader, form, groups)?,
        })
    }

    fn write(&self, writer: &mut Writer, form: Form) {
        writer.u16(self.user).u16(self.group);
        writer.u16(self.other).u16(self.mask);
        for names in [&self.named_users, &self.named_groups] {
            writer.u16(u16::try_from(names.len()).expect("an ACL has fewer names"));
        }
        self.named_users.write(writer, form);
        self.named_groups.write(writer, form);
    }
}

packet! {
    /// Sets an ACL, or removes it: all four permissions 0xFFFF, and no names.
    SetFacl {
        inode: InodeId,
        uid: u32,
        /// One of [`crate::moosefs::flags::acl`].
        kind: u8,
        acl: WireAcl,
    }
}

#[cfg(any(test, feature = "fuzzing"))]
mod samples {
    use super::*;
    use crate::moosefs::sample::{Draw, Sample};

    impl Sample for XattrValue {
        fn sample(draw: &mut Draw<'_>, form: Form) -> Self {
            let value = Blob::sample(draw, form).0;
            match value.is_empty() {
                true => Self::Length(Sample::sample(draw, form)),
                false => Self::Value(value),
            }
        }
    }

    impl Sample for WireAcl {
        fn sample(draw: &mut Draw<'_>, form: Form) -> Self {
            Self {
                user: Sample::sample(draw, form),
                group: Sample::sample(draw, form),
                other: Sample::sample(draw, form),
                mask: Sample::sample(draw, form),
                named_users: Sample::sample(draw, form),
                named_groups: Sample::sample(draw, form),
            }
        }
    }
}
