//! Permission bits and ACLs: whether a caller may read, write or search a node.
//!
//! Nothing here knows operations; each asks for the bits it needs.

use super::error::FsError;
use super::key::Key;
use super::op::{Acl, AclKind};
use super::record::Inode;
use super::txn::{Res, Txn};
use super::who::Who;
use crate::id::InodeId;

/// Permission to read.
pub const READ: u8 = 4;
/// Permission to write.
pub const WRITE: u8 = 2;
/// Permission to execute, or to search a directory.
pub const EXECUTE: u8 = 1;

/// Extra attribute: everybody counts as the owner.
pub const NO_OWNER: u8 = 0x01;
/// Extra attribute: clients do not cache attributes.
pub const NO_ATTR_CACHE: u8 = 0x02;
/// Extra attribute: clients do not cache entries.
pub const NO_ENTRY_CACHE: u8 = 0x04;
/// Extra attribute: clients do not cache data.
pub const NO_DATA_CACHE: u8 = 0x08;
/// Extra attribute: part of a snapshot that was not modified yet.
pub const SNAPSHOT: u8 = 0x10;
/// Extra attribute: cannot be removed.
pub const UNDELETABLE: u8 = 0x20;
/// Extra attribute: data and entries can only be added.
pub const APPEND_ONLY: u8 = 0x40;
/// Extra attribute: cannot be changed.
pub const IMMUTABLE: u8 = 0x80;

/// What an ACL keeps instead of a mask when it has none.
pub const NO_MASK: u16 = 0xFFFF;

/// Whether the caller has all bits of `mask` on the node.
///
/// First match wins: root; the ACL; the owner; `ignore_gid`; a group; the others.
///
/// # Errors
/// Only that the state cannot be read.
pub fn allows(txn: &Txn<'_>, who: &Who, ino: InodeId, node: &Inode, mask: u8) -> Res<bool> {
    if who.is_root() {
        return Ok(true);
    }
    if let Some(acl) = access_acl(txn, ino, node)? {
        return Ok(acl_allows(&acl, who, node, mask));
    }
    let mode = node.mode.value();
    let bits = if who.owns(node) {
        mode >> 6
    } else if who.params.flags.ignore_gid {
        mode >> 3 | mode
    } else if who.gids.contains(&node.gid.value()) {
        mode >> 3
    } else {
        mode
    };
    Ok(covers(bits, mask))
}

/// Refuses a caller that lacks a bit of `mask`.
///
/// # Errors
/// `Access`.
pub fn require(txn: &Txn<'_>, who: &Who, ino: InodeId, node: &Inode, mask: u8) -> Res<()> {
    if allows(txn, who, ino, node, mask)? {
        Ok(())
    } else {
        Err(FsError::Access.into())
    }
}

/// For each of the eight masks of read, write and execute, whether the caller has all of it: bit
/// k stands for mask k.
///
/// # Errors
/// Only that the state cannot be read.
pub fn access_bits(txn: &Txn<'_>, who: &Who, ino: InodeId, node: &Inode) -> Res<u8> {
    let mut bits = 0;
    for mask in 0..8 {
        if allows(txn, who, ino, node, mask)? {
            bits |= 1 << mask;
        }
    }
    Ok(bits)
}

/// Whether the sticky bit of a directory keeps the caller from taking a name of `node` away.
#[must_use]
pub fn sticky_forbids(who: &Who, dir: &Inode, node: &Inode) -> bool {
    dir.mode.value() & 0o1000 != 0 && !who.is_root() && !who.owns(dir) && !who.owns(node)
}

/// The access ACL of a node. Nodes without one are told without a look at the store.
///
/// # Errors
/// Only that the state cannot be read.
pub fn access_acl(txn: &Txn<'_>, ino: InodeId, node: &Inode) -> Res<Option<Acl>> {
    if !node.decorated.value() {
        return Ok(None);
    }
    Ok(txn.value(&Key::Acl(ino, AclKind::Access))?)
}

/// The node's permission bits as clients see them: where there is an access ACL, its user, mask
/// (or group, without a mask) and other.
///
/// # Errors
/// Only that the state cannot be read.
pub fn shown_mode(txn: &Txn<'_>, ino: InodeId, node: &Inode) -> Res<u16> {
    let mode = node.mode.value();
    Ok(access_acl(txn, ino, node)?.map_or(mode, |acl| {
        let group = if acl.mask == NO_MASK {
            acl.group
        } else {
            acl.mask
        };
        mode & 0o7000 | (acl.user & 7) << 6 | (group & 7) << 3 | acl.other & 7
    }))
}

fn covers(bits: u16, mask: u8) -> bool {
    bits & u16::from(mask) == u16::from(mask)
}

fn acl_allows(acl: &Acl, who: &Who, node: &Inode, mask: u8) -> bool {
    if who.uid == node.uid.value() {
        return covers(acl.user, mask);
    }
    if let Some((_, bits)) = acl.named_users.iter().find(|(uid, _)| *uid == who.uid) {
        return covers(bits & acl.mask, mask);
    }
    let owning = who.gids.contains(&node.gid.value()).then_some(acl.group);
    let named = acl
        .named_groups
        .iter()
        .filter(|(gid, _)| who.gids.contains(gid))
        .map(|(_, bits)| *bits);
    let mut matching = owning.into_iter().chain(named).peekable();
    if matching.peek().is_none() {
        return covers(acl.other, mask);
    }
    matching.any(|bits| covers(bits & acl.mask, mask))
}

#[cfg(test)]
mod tests {
    use super::super::op::Query;
    use super::super::testing::{Bed, ROOT, chmod, root, somebody, user};
    use super::*;
    use crate::crdt::Lww;
    use crate::id::SessionId;

    /// Bit set of granted masks, from a list of granted bits.
    fn granted(bed: &Bed, caller: &super::super::op::Caller, inode: InodeId) -> Vec<u8> {
        (0..8)
            .filter(|mask| {
                let query = Query::Access {
                    caller: caller.clone(),
                    inode,
                    mask: *mask,
                };
                bed.ask(query).is_ok()
            })
            .collect()
    }

    /// All masks within these bits.
    fn within(bits: u8) -> Vec<u8> {
        (0..8).filter(|mask| mask & !bits == 0).collect()
    }

    #[test]
    fn the_first_class_that_matches_decides() {
        let mut bed = Bed::new();
        let file = bed.file(&somebody(10), ROOT, "file");
        bed.ok(chmod(&root(), file, 0o421));
        let ignoring = bed.session_with(|params| params.flags.ignore_gid = true);
        let member = super::super::op::Caller {
            gids: vec![99, 10],
            ..somebody(11)
        };
        let examples = [
            (root(), 7),
            (somebody(10), 4),
            (member.clone(), 2),
            (somebody(11), 1),
            (user(ignoring, 11), 3),
            (user(ignoring, 10), 4),
        ];
        for (caller, bits) in &examples {
            assert_eq!(granted(&bed, caller, file), within(*bits), "{caller:?}");
        }
        bed.set_eattr(file, NO_OWNER);
        assert_eq!(granted(&bed, &somebody(11), file), within(4));
    }

    #[test]
    fn an_acl_decides_in_place_of_the_mode() {
        let mut bed = Bed::new();
        let file = bed.file(&somebody(10), ROOT, "file");
        let acl = Acl {
            user: 6,
            group: 4,
            other: 1,
            mask: 6,
            named_users: vec![(20, 7)],
            named_groups: vec![(30, 2), (31, 7)],
        };
        bed.set_acl(file, AclKind::Access, acl.clone());
        let of = |uid, gids: &[u32]| super::super::op::Caller {
            session: SessionId(0),
            uid,
            gids: gids.to_vec(),
        };
        let examples = [
            (of(0, &[0]), within(7)),
            (of(10, &[99]), within(6)),
            // The mask bounds a named user.
            (of(20, &[30]), within(6)),
            // One of the matching groups has to grant everything by itself.
            (of(40, &[10, 30]), vec![0, 2, 4]),
            (of(40, &[31]), within(6)),
            // A group that matches and grants nothing does not fall through to the others.
            (of(40, &[10]), within(4)),
            (of(40, &[41]), within(1)),
        ];
        for (caller, masks) in &examples {
            assert_eq!(granted(&bed, caller, file), *masks, "{caller:?}");
        }
        assert_eq!(bed.attr(file).mode, 0o661);
        let maskless = Acl {
            mask: NO_MASK,
            ..acl
        };
        bed.set_acl(file, AclKind::Access, maskless);
        assert_eq!(granted(&bed, &of(20, &[1]), file), within(7));
        assert_eq!(bed.attr(file).mode, 0o641);
    }

    #[test]
    fn the_sticky_bit_keeps_names_for_their_owners() {
        let node = |uid, mode, eattr| Inode {
            uid: Lww::at(crate::time::Stamp::MIN, uid),
            mode: Lww::at(crate::time::Stamp::MIN, mode),
            eattr: Lww::at(crate::time::Stamp::MIN, eattr),
            ..Inode::default()
        };
        let who = |uid| Who {
            uid,
            ..Who::cluster()
        };
        let (dir, file) = (node(1, 0o1777, 0), node(2, 0o644, 0));
        for (uid, forbidden) in [(0, false), (1, false), (2, false), (3, true)] {
            assert_eq!(sticky_forbids(&who(uid), &dir, &file), forbidden, "{uid}");
        }
        assert!(!sticky_forbids(&who(3), &node(1, 0o777, 0), &file));
        assert!(!sticky_forbids(&who(3), &node(1, 0o1777, NO_OWNER), &file));
        assert!(!sticky_forbids(&who(3), &dir, &node(2, 0o644, NO_OWNER)));
    }

    #[test]
    fn a_lookup_tells_every_mask() {
        let mut bed = Bed::new();
        let file = bed.file(&somebody(10), ROOT, "file");
        bed.ok(chmod(&root(), file, 0o500));
        for (caller, bits) in [
            (root(), 0xFF),
            (somebody(10), 0b0011_0011),
            (somebody(9), 1),
        ] {
            let looked = bed.ask(Query::Lookup {
                caller,
                parent: ROOT,
                name: b"file".to_vec(),
            });
            let Ok(super::super::op::Answer::Looked { access, .. }) = looked else {
                panic!("{looked:?}");
            };
            assert_eq!(access, bits);
        }
    }
}
