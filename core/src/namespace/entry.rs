//! Checks that making and removing names have in common, in MooseFS's order.

use super::error::FsError;
use super::node;
use super::op::NodeKind;
use super::path::{known, valid_name};
use super::permission::{self, APPEND_ONLY, EXECUTE, IMMUTABLE, UNDELETABLE, WRITE};
use super::record::Inode;
use super::txn::{Res, Txn};
use super::who::Who;
use crate::id::InodeId;

/// Extra attributes that keep a node from losing a name.
pub const UNREMOVABLE: u8 = UNDELETABLE | APPEND_ONLY | IMMUTABLE;

/// A directory in which the caller may make and remove names.
///
/// # Errors
/// `NoEnt`, `NotDir`, `Perm` for an extra attribute of `forbidden`, `Access`.
pub fn writable_dir(
    txn: &Txn<'_>,
    who: &Who,
    dir: InodeId,
    forbidden: u8,
) -> Res<(InodeId, Inode)> {
    let (dir, node) = who.node(txn, dir, false)?;
    if node.kind() != NodeKind::Directory {
        return Err(FsError::NotDir.into());
    }
    if node.eattr.value() & forbidden != 0 {
        return Err(FsError::Perm.into());
    }
    permission::require(txn, who, dir, &node, WRITE | EXECUTE)?;
    Ok((dir, node))
}

/// A directory in which the caller may make `name`, which is free.
///
/// # Errors
/// As [`writable_dir`], then `Invalid`, `Exist`.
pub fn free_name(txn: &Txn<'_>, who: &Who, dir: InodeId, name: &[u8]) -> Res<InodeId> {
    let (dir, _) = writable_dir(txn, who, dir, IMMUTABLE)?;
    valid_name(name)?;
    if node::find(txn, dir, name)?.is_some() {
        return Err(FsError::Exist.into());
    }
    Ok(dir)
}

/// A name that may be taken away.
pub struct Removable {
    /// Its directory.
    pub dir: InodeId,
    /// What it stands for.
    pub ino: InodeId,
    /// The same, as a node.
    pub node: Inode,
}

/// A name that the caller may take away, as far as its directory is concerned.
///
/// # Errors
/// As [`writable_dir`], then `Invalid`, `NoEnt`, `Perm` for the sticky bit.
pub fn removable(txn: &Txn<'_>, who: &Who, dir: InodeId, name: &[u8]) -> Res<Removable> {
    let (dir, dir_node) = writable_dir(txn, who, dir, IMMUTABLE | APPEND_ONLY)?;
    valid_name(name)?;
    let target = node::find(txn, dir, name)?.ok_or(FsError::NoEnt)?;
    let node = known(txn, target.inode)?;
    if permission::sticky_forbids(who, &dir_node, &node) {
        return Err(FsError::Perm.into());
    }
    Ok(Removable {
        dir,
        ino: target.inode,
        node,
    })
}

/// Refuses to take a name from a node whose extra attributes forbid it.
///
/// # Errors
/// `Perm`.
pub fn not_protected(node: &Inode) -> Res<()> {
    if node.eattr.value() & UNREMOVABLE != 0 {
        return Err(FsError::Perm.into());
    }
    Ok(())
}
