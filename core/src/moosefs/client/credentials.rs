//! The credentials of the process behind a request, before any mapping.

use crate::limits;
use crate::moosefs::fields::{Field, Form, packet};
use crate::moosefs::reader::{PacketError, Reader};
use crate::moosefs::writer::Writer;

/// The groups of a process, the effective one first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gids {
    /// The short form: one group.
    One(u32),
    /// A counted list; never empty, since an empty one would look like the short form.
    List(Vec<u32>),
}

impl Gids {
    /// The groups as a list, never empty.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u32> {
        match self {
            Self::One(gid) => vec![*gid],
            Self::List(gids) => gids.clone(),
        }
    }

    /// Whether this is the short form.
    #[must_use]
    pub fn is_one(&self) -> bool {
        matches!(self, Self::One(_))
    }
}

/// User and groups of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// User.
    pub uid: u32,
    /// Groups.
    pub gids: Gids,
}

impl Credentials {
    /// Reads credentials behind which so many bytes follow. Which form of the groups it is, is
    /// told by what is left of the packet: the short one if that is a group and one of `tails`.
    ///
    /// # Errors
    /// [`PacketError`]; `Value` for no groups and for more than
    /// [`limits::GROUP_COUNT_MAX`].
    pub fn read_before(reader: &mut Reader<'_>, tails: &[usize]) -> Result<Self, PacketError> {
        let uid = reader.u32()?;
        let first = reader.u32()?;
        if tails.contains(&reader.remaining()) {
            let gids = Gids::One(first);
            return Ok(Self { uid, gids });
        }
        let count = first as usize;
        if count == 0 || count > limits::GROUP_COUNT_MAX {
            return Err(reader.wrong("its list of groups is empty or too long"));
        }
        if reader.remaining() < 4 * count {
            return Err(reader.wrong("its list of groups is longer than the packet"));
        }
        let mut gids = Vec::with_capacity(count);
        for _ in 0..count {
            gids.push(reader.u32()?);
        }
        let gids = Gids::List(gids);
        Ok(Self { uid, gids })
    }
}

/// At the end of a packet.
impl Field for Credentials {
    fn read(reader: &mut Reader<'_>, _: Form) -> Result<Self, PacketError> {
        Self::read_before(reader, &[0])
    }

    fn write(&self, writer: &mut Writer, _: Form) {
        writer.u32(self.uid);
        match &self.gids {
            Gids::One(gid) => {
                writer.u32(*gid);
            }
            Gids::List(gids) => {
                writer.u32(u32::try_from(gids.len()).expect("a list of groups below 4 GiB"));
                for gid in gids {
                    writer.u32(*gid);
                }
            }
        }
    }
}

packet! {
    /// User and group of requests that look at neither permission nor further groups.
    Owner {
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
    }
}

#[cfg(any(test, feature = "fuzzing"))]
impl crate::moosefs::sample::Sample for Credentials {
    fn sample(draw: &mut crate::moosefs::sample::Draw<'_>, form: Form) -> Self {
        let uid = u32::sample(draw, form);
        let gids = Vec::<u32>::sample(draw, form);
        let gids = match gids.is_empty() {
            true => Gids::One(u32::sample(draw, form)),
            false => Gids::List(gids),
        };
        Self { uid, gids }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &[u32], tails: &[usize]) -> Result<Gids, PacketError> {
        let bytes: Vec<u8> = fields.iter().flat_map(|f| f.to_be_bytes()).collect();
        Credentials::read_before(&mut Reader::new(7, &bytes), tails).map(|by| by.gids)
    }

    #[test]
    fn the_form_is_told_by_what_follows() {
        assert_eq!(read(&[1, 5], &[0]), Ok(Gids::One(5)));
        assert_eq!(read(&[1, 1, 5], &[0]), Ok(Gids::List(vec![5])));
        assert_eq!(read(&[1, 1, 9], &[4]), Ok(Gids::One(1)));
        assert_eq!(read(&[1, 1, 5, 9], &[4]), Ok(Gids::List(vec![5])));
        assert_eq!(Gids::List(vec![5, 6]).to_vec(), [5, 6]);
        assert_eq!(Gids::One(5).to_vec(), [5]);
    }

    #[test]
    fn no_groups_and_too_many_are_refused() {
        for fields in [
            vec![1, 0, 9, 9],
            vec![1, 3, 9, 9],
            vec![1, u32::MAX, 9, 9],
            [vec![1, 65_537], vec![0; 65_537]].concat(),
        ] {
            let found = read(&fields, &[0]);
            assert!(matches!(found, Err(PacketError::Value { kind: 7, .. })));
        }
        let most = [vec![1, 65_536], vec![0; 65_536]].concat();
        assert_eq!(read(&most, &[0]), Ok(Gids::List(vec![0; 65_536])));
    }
}
