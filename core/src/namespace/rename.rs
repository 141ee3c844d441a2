//! Renaming, with all cases of replacing what had the name.

use super::create::reply;
use super::entry;
use super::error::FsError;
use super::node;
use super::op::{Caller, DirStats, Disable, Name, NodeKind, Reply};
use super::path::{is_within, known, valid_name};
use super::permission::{self, IMMUTABLE, WRITE};
use super::quota;
use super::record::Inode;
use super::stats;
use super::txn::{Res, Txn};
use super::who::Who;
use crate::id::InodeId;

/// Moves the name `src_name` of `src_parent` to `dst_name` in `dst_parent`. What had that name
/// goes as if it had been removed; when it is the same node, nothing happens at all.
///
/// # Errors
/// Of the source as [`entry::removable`]; of the target directory as [`entry::writable_dir`];
/// `Invalid` name; `Perm` for a protected node; `Access` for a directory that gets another parent
/// and is not writable; `Invalid` into itself; of what is replaced as [`replaceable`]; `Quota`.
pub fn rename(
    txn: &mut Txn<'_>,
    caller: &Caller,
    src_parent: InodeId,
    src_name: &Name,
    dst_parent: InodeId,
    dst_name: &Name,
) -> Res<Reply> {
    let disable = if src_parent == dst_parent {
        Disable::Rename
    } else {
        Disable::Move
    };
    let who = Who::enter(txn, caller, &[disable], true)?;
    let src = entry::removable(txn, &who, src_parent, src_name)?;
    let (dst, dst_node) = entry::writable_dir(txn, &who, dst_parent, IMMUTABLE)?;
    valid_name(dst_name)?;
    entry::not_protected(&src.node)?;
    if src.node.kind() == NodeKind::Directory {
        if src.dir != dst {
            permission::require(txn, &who, src.ino, &src.node, WRITE)?;
        }
        if is_within(txn, dst, src.ino)? {
            return Err(FsError::Invalid.into());
        }
    }
    let moved = stats::of_node(txn, src.ino, &src.node)?;
    let mut replaced = DirStats::default();
    let target = node::find(txn, dst, dst_name)?;
    if let Some(target) = target {
        if target.inode == src.ino {
            return reply(txn, &who, src.ino, &src.node);
        }
        let target_node = known(txn, target.inode)?;
        replaceable(txn, &who, &dst_node, &src.node, target.inode, &target_node)?;
        replaced = stats::of_node(txn, target.inode, &target_node)?;
    }
    quota::check_move(txn, src.dir, dst, &stats::minus(&moved, &replaced))?;

    if let Some(target) = target {
        node::drop_name(txn, dst, dst_name, target.inode, false)?;
    }
    node::remove_name(txn, src.dir, src_name, src.ino)?;
    stats::transfer(txn, src.dir, dst, &moved)?;
    node::add_name(txn, dst, dst_name, src.ino)?;
    let node = node::touch_ctime(txn, src.ino)?;
    reply(txn, &who, src.ino, &node)
}

/// Whether a node may be replaced by another.
///
/// # Errors
/// `Perm` for the sticky bit, `Perm` for a protected node, `NotEmpty`, `NotDir` for a directory
/// over something else, `Perm` for something else over a directory.
fn replaceable(
    txn: &Txn<'_>,
    who: &Who,
    dir: &Inode,
    source: &Inode,
    ino: InodeId,
    node: &Inode,
) -> Res<()> {
    if permission::sticky_forbids(who, dir, node) {
        return Err(FsError::Perm.into());
    }
    entry::not_protected(node)?;
    let is_dir = node.kind() == NodeKind::Directory;
    if is_dir && !node::is_empty(txn, ino)? {
        return Err(FsError::NotEmpty.into());
    }
    match (source.kind() == NodeKind::Directory, is_dir) {
        (true, false) => Err(FsError::NotDir.into()),
        (false, true) => Err(FsError::Perm.into()),
        _ => Ok(()),
    }
}
