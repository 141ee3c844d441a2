//! Removing names: unlink and rmdir.

use super::entry;
use super::error::FsError;
use super::node;
use super::op::{Caller, Disable, Name, NodeKind, Reply};
use super::txn::{Res, Txn};
use super::who::Who;
use crate::id::InodeId;

/// Takes a name from anything but a directory.
///
/// # Errors
/// As [`entry::removable`], then `Perm` for a protected node, `Perm` for a directory.
pub fn unlink(txn: &mut Txn<'_>, caller: &Caller, parent: InodeId, name: &Name) -> Res<Reply> {
    let who = Who::enter(txn, caller, &[Disable::Unlink], true)?;
    let found = entry::removable(txn, &who, parent, name)?;
    entry::not_protected(&found.node)?;
    if found.node.kind() == NodeKind::Directory {
        return Err(FsError::Perm.into());
    }
    node::drop_name(txn, found.dir, name, found.ino, false)?;
    Ok(Reply::Removed {
        inode: who.shown(found.ino),
    })
}

/// Removes an empty directory.
///
/// # Errors
/// As [`entry::removable`], then `Perm` for a protected node, `NotDir`, `NotEmpty`.
pub fn rmdir(txn: &mut Txn<'_>, caller: &Caller, parent: InodeId, name: &Name) -> Res<Reply> {
    let who = Who::enter(txn, caller, &[Disable::Rmdir], true)?;
    let found = entry::removable(txn, &who, parent, name)?;
    entry::not_protected(&found.node)?;
    if found.node.kind() != NodeKind::Directory {
        return Err(FsError::NotDir.into());
    }
    if !node::is_empty(txn, found.ino)? {
        return Err(FsError::NotEmpty.into());
    }
    node::drop_name(txn, found.dir, name, found.ino, false)?;
    Ok(Reply::Removed {
        inode: who.shown(found.ino),
    })
}
