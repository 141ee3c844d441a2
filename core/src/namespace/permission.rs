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
