//! Who may do what: permission bits, ACLs, sticky directories (section 8.3), names.

use mfsha_core::id::InodeId;
use mfsha_core::limits;
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::Acl;

use crate::state::{Model, Node, eattr};
use crate::view::Who;

/// Read.
pub(crate) const R: u16 = 4;
/// Write.
pub(crate) const W: u16 = 2;
/// Execute, or search.
pub(crate) const X: u16 = 1;

impl Model {
    /// Whether a caller has all of the wanted bits on a node; the first rule that matches decides.
    pub(crate) fn allows(&self, who: &Who, inode: InodeId, wanted: u16) -> bool {
        let node = self.node(inode);
        let bits = if who.is_root() {
            7
        } else if let Some(acl) = &node.access_acl {
            return acl_allows(who, node, acl, wanted);
        } else if who.uid == node.uid || node.has(eattr::NO_OWNER) {
            node.mode >> 6
        } else if who.params.flags.ignore_gid {
            node.mode >> 3 | node.mode
        } else if who.gids.contains(&node.gid) {
            node.mode >> 3
        } else {
            node.mode
        };
        bits & wanted == wanted
    }

    /// As [`Self::allows`], as a refusal.
    pub(crate) fn demand(&self, who: &Who, inode: InodeId, wanted: u16) -> Result<(), FsError> {
        if self.allows(who, inode, wanted) {
            Ok(())
        } else {
            Err(FsError::Access)
        }
    }

    /// Refuses when one of these extra attributes is set on the node.
    pub(crate) fn forbid(&self, inode: InodeId, bits: u8) -> Result<(), FsError> {
        if self.node(inode).has(bits) {
            Err(FsError::Perm)
        } else {
            Ok(())
        }
    }

    /// In a sticky directory a name may be removed by root, the owner of the directory, the owner
    /// of the node, or anybody when one of the two has no owner.
    pub(crate) fn sticky(&self, who: &Who, dir: InodeId, child: InodeId) -> Result<(), FsError> {
        let (dir, child) = (self.node(dir), self.node(child));
        if dir.mode & 0o1000 == 0 || who.owns(dir) || who.owns(child) {
            Ok(())
        } else {
            Err(FsError::Perm)
        }
    }
}

/// Section 3.9, "ACL evaluation".
fn acl_allows(who: &Who, node: &Node, acl: &Acl, wanted: u16) -> bool {
    let has = |bits: u16| bits & wanted == wanted;
    if who.uid == node.uid {
        return has(acl.user);
    }
    // No mask is 0xFFFF: everything passes.
    if let Some((_, bits)) = acl.named_users.iter().find(|(uid, _)| *uid == who.uid) {
        return has(bits & acl.mask);
    }
    let mut matching = Vec::new();
    if who.gids.contains(&node.gid) {
        matching.push(acl.group);
    }
    for (gid, bits) in &acl.named_groups {
        if who.gids.contains(gid) {
            matching.push(*bits);
        }
    }
    if matching.is_empty() {
        return has(acl.other);
    }
    matching.iter().any(|bits| has(bits & acl.mask))
}

/// A name that a directory entry may have.
pub(crate) fn check_name(name: &[u8]) -> Result<(), FsError> {
    let special = name.is_empty() || name == b"." || name == b"..";
    let foreign = name.contains(&0) || name.contains(&b'/');
    if special || foreign || name.len() > limits::NAME_BYTES_MAX {
        return Err(FsError::Invalid);
    }
    Ok(())
}

/// A name that an extended attribute may have.
pub(crate) fn check_xattr_name(name: &[u8]) -> Result<(), FsError> {
    if name.is_empty() || name.len() > limits::XATTR_NAME_BYTES_MAX || name.contains(&0) {
        return Err(FsError::Invalid);
    }
    Ok(())
}
