//! A node's attributes.

use serde::{Deserialize, Serialize};

use super::Record;
use crate::crdt::{Lattice, LinkCounter, Lww, OrSet};
use crate::id::InodeId;
use crate::namespace::op::{Name, NodeKind, Whereabouts};
use crate::time::{Stamp, WallTime};

/// What never changes in a node's life.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Origin {
    /// Type.
    pub kind: NodeKind,
    /// Device number; 0 unless a device.
    pub rdev: u32,
    /// Target of a symlink; empty otherwise.
    #[serde(with = "crate::codec::bytes")]
    pub target: Vec<u8>,
}

/// A node. Every part is a lattice; a delta has bottom in what it leaves alone.
///
/// Stored compactly: registers share a table of the distinct stamps among them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Packed", try_from = "Packed")]
pub struct Inode {
    /// Written once, when the node is made.
    pub origin: Option<Origin>,
    /// Permission bits, 07777.
    pub mode: Lww<u16>,
    /// Owner.
    pub uid: Lww<u32>,
    /// Group.
    pub gid: Lww<u32>,
    /// Access time.
    pub atime: Lww<WallTime>,
    /// Modification time.
    pub mtime: Lww<WallTime>,
    /// Change time.
    pub ctime: Lww<WallTime>,
    /// Bytes of a file.
    pub length: Lww<u64>,
    /// Where the next append may begin, bytes; counts only when above `length`.
    pub reserved: Lww<u64>,
    /// Windows attributes.
    pub winattr: Lww<u8>,
    /// Extra attributes of MooseFS (1 noowner ... 0x80 immutable).
    pub eattr: Lww<u8>,
    /// Storage class.
    pub class: Lww<u8>,
    /// Hours in the trash after the last name is gone.
    pub trash_hours: Lww<u16>,
    /// In the tree, in the trash, or kept because it is open.
    pub whereabouts: Lww<Whereabouts>,
    /// Whether the node has an extended attribute or ACL; clients then skip asking.
    pub decorated: Lww<bool>,
    /// Number of names; equals the length of `parents` (P-TREE).
    pub links: LinkCounter,
    /// Number of subdirectories of a directory.
    pub subdirs: LinkCounter,
    /// Names: parent directory and name. A directory has exactly one, the root none.
    pub parents: OrSet<(InodeId, Name)>,
    /// The node's end.
    pub gone: bool,
}

impl Inode {
    /// Type.
    ///
    /// # Panics
    /// On a delta that does not make a node: stored nodes always have an origin.
    #[must_use]
    pub fn kind(&self) -> NodeKind {
        self.origin
            .as_ref()
            .expect("a stored node has an origin")
            .kind
    }

    /// The parent of a directory: the parent of its one name.
    #[must_use]
    pub fn parent(&self) -> Option<InodeId> {
        self.parents.latest().map(|(parent, _)| *parent)
    }
}

impl Lattice for Inode {
    fn join(&mut self, other: &Self) {
        self.origin.join(&other.origin);
        self.mode.join(&other.mode);
        self.uid.join(&other.uid);
        self.gid.join(&other.gid);
        self.atime.join(&other.atime);
        self.mtime.join(&other.mtime);
        self.ctime.join(&other.ctime);
        self.length.join(&other.length);
        self.reserved.join(&other.reserved);
        self.winattr.join(&other.winattr);
        self.eattr.join(&other.eattr);
        self.class.join(&other.class);
        self.trash_hours.join(&other.trash_hours);
        self.whereabouts.join(&other.whereabouts);
        self.decorated.join(&other.decorated);
        self.links.join(&other.links);
        self.subdirs.join(&other.subdirs);
        self.parents.join(&other.parents);
        self.gone.join(&other.gone);
    }
}

impl Record for Inode {
    fn is_gone(&self) -> bool {
        self.gone
    }

    fn settle(&mut self) {
        self.parents.settle();
    }
}

/// A register in packed form: position of its stamp in the table, and its value.
type Slot<T> = Option<(u8, T)>;

/// [`Inode`] as it is written.
#[derive(Clone, Serialize, Deserialize)]
struct Packed {
    /// Distinct stamps of the registers, in order.
    stamps: Vec<Stamp>,
    origin: Option<Origin>,
    mode: Slot<u16>,
    uid: Slot<u32>,
    gid: Slot<u32>,
    atime: Slot<WallTime>,
    mtime: Slot<WallTime>,
    ctime: Slot<WallTime>,
    length: Slot<u64>,
    reserved: Slot<u64>,
    winattr: Slot<u8>,
    eattr: Slot<u8>,
    class: Slot<u8>,
    trash_hours: Slot<u16>,
    whereabouts: Slot<Whereabouts>,
    decorated: Slot<bool>,
    links: LinkCounter,
    subdirs: LinkCounter,
    parents: OrSet<(InodeId, Name)>,
    gone: bool,
}

/// Packs registers: collects their stamps.
struct Packer(Vec<Stamp>);

impl Packer {
    fn pack<T: Clone + Ord>(&mut self, register: &Lww<T>) -> Slot<T> {
        let (stamp, value) = register.parts()?;
        let at = self
            .0
            .iter()
            .position(|known| known == stamp)
            .unwrap_or_else(|| {
                self.0.push(*stamp);
                self.0.len() - 1
            });
        // There are fewer registers than a byte can count, so fewer stamps too.
        Some((at as u8, value.clone()))
    }
}

impl From<Inode> for Packed {
    fn from(inode: Inode) -> Self {
        let mut packer = Packer(Vec::new());
        let mut packed = Self {
            mode: packer.pack(&inode.mode),
            uid: packer.pack(&inode.uid),
            gid: packer.pack(&inode.gid),
            atime: packer.pack(&inode.atime),
            mtime: packer.pack(&inode.mtime),
            ctime: packer.pack(&inode.ctime),
            length: packer.pack(&inode.length),
            reserved: packer.pack(&inode.reserved),
            winattr: packer.pack(&inode.winattr),
            eattr: packer.pack(&inode.eattr),
            class: packer.pack(&inode.class),
            trash_hours: packer.pack(&inode.trash_hours),
            whereabouts: packer.pack(&inode.whereabouts),
            decorated: packer.pack(&inode.decorated),
            stamps: Vec::new(),
            origin: inode.origin,
            links: inode.links,
            subdirs: inode.subdirs,
            parents: inode.parents,
            gone: inode.gone,
        };
        packed.stamps = packer.0;
        packed
    }
}

impl TryFrom<Packed> for Inode {
    type Error = &'static str;

    fn try_from(packed: Packed) -> Result<Self, Self::Error> {
        let stamps = packed.stamps;
        Ok(Self {
            mode: unpack(&stamps, packed.mode)?,
            uid: unpack(&stamps, packed.uid)?,
            gid: unpack(&stamps, packed.gid)?,
            atime: unpack(&stamps, packed.atime)?,
            mtime: unpack(&stamps, packed.mtime)?,
            ctime: unpack(&stamps, packed.ctime)?,
            length: unpack(&stamps, packed.length)?,
            reserved: unpack(&stamps, packed.reserved)?,
            winattr: unpack(&stamps, packed.winattr)?,
            eattr: unpack(&stamps, packed.eattr)?,
            class: unpack(&stamps, packed.class)?,
            trash_hours: unpack(&stamps, packed.trash_hours)?,
            whereabouts: unpack(&stamps, packed.whereabouts)?,
            decorated: unpack(&stamps, packed.decorated)?,
            origin: packed.origin,
            links: packed.links,
            subdirs: packed.subdirs,
            parents: packed.parents,
            gone: packed.gone,
        })
    }
}

fn unpack<T: Clone + Ord>(stamps: &[Stamp], slot: Slot<T>) -> Result<Lww<T>, &'static str> {
    slot.map_or(Ok(Lww::default()), |(at, value)| {
        let stamp = stamps
            .get(usize::from(at))
            .ok_or("a register names a stamp that is not there")?;
        Ok(Lww::at(*stamp, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::NodeId;

    #[test]
    fn a_packed_node_comes_back() {
        let at = |time| Stamp {
            time,
            node: NodeId(2),
        };
        let inode = Inode {
            origin: Some(Origin {
                kind: NodeKind::File,
                rdev: 0,
                target: Vec::new(),
            }),
            mode: Lww::at(at(1), 0o644),
            uid: Lww::at(at(2), 7),
            mtime: Lww::at(at(1), WallTime(5)),
            ..Inode::default()
        };
        let bytes = crate::codec::encode(&inode);
        assert_eq!(crate::codec::decode::<Inode>(&bytes), Ok(inode));
    }

    #[test]
    fn a_register_without_its_stamp_is_an_error() {
        let mut packed = Packed::from(Inode {
            mode: Lww::at(Stamp::MIN, 1),
            ..Inode::default()
        });
        packed.stamps.clear();
        assert!(crate::codec::decode::<Inode>(&crate::codec::encode(&packed)).is_err());
    }
}
