//! Making names: files and special files, directories, symlinks, hard links.

use super::attr::attr;
use super::entry;
use super::error::FsError;
use super::node::{self, New};
use super::op::{Caller, DirStats, Disable, Name, NodeKind, Reply, Whereabouts};
use super::permission::{APPEND_ONLY, IMMUTABLE};
use super::quota;
use super::record::Inode;
use super::session;
use super::stats;
use super::txn::{Res, Txn};
use super::who::Who;
use crate::id::InodeId;
use crate::limits;

/// Makes a file or special file; with `open`, the session has the file open afterwards.
///
/// # Errors
/// `Invalid` for another type, then as [`make`].
pub fn create(
    txn: &mut Txn<'_>,
    caller: &Caller,
    parent: InodeId,
    name: &Name,
    new: &New,
    open: bool,
) -> Res<Reply> {
    let disable = match new.kind {
        NodeKind::Fifo => Some(Disable::Mkfifo),
        NodeKind::BlockDevice | NodeKind::CharDevice => Some(Disable::Mkdev),
        NodeKind::Socket => Some(Disable::Mksock),
        NodeKind::File => Some(Disable::Create),
        NodeKind::Directory | NodeKind::Symlink => None,
    };
    let who = Who::enter(txn, caller, disable.as_slice(), true)?;
    if disable.is_none() {
        return Err(FsError::Invalid.into());
    }
    let (ino, node) = make(txn, &who, parent, name, new)?;
    if open && new.kind == NodeKind::File {
        session::open_file(txn, ino, who.session)?;
    }
    reply(txn, &who, ino, &node)
}

/// Makes a directory.
///
/// # Errors
/// As [`make`].
pub fn mkdir(
    txn: &mut Txn<'_>,
    caller: &Caller,
    parent: InodeId,
    name: &Name,
    new: &New,
) -> Res<Reply> {
    let who = Who::enter(txn, caller, &[Disable::Mkdir], true)?;
    let (ino, node) = make(txn, &who, parent, name, new)?;
    reply(txn, &who, ino, &node)
}

/// Makes a symlink.
///
/// # Errors
/// `Invalid` for a target that is empty, too long, or has a NUL; then as [`make`].
pub fn symlink(
    txn: &mut Txn<'_>,
    caller: &Caller,
    parent: InodeId,
    name: &Name,
    target: &[u8],
) -> Res<Reply> {
    let who = Who::enter(txn, caller, &[Disable::Symlink], true)?;
    if target.is_empty() || target.len() > limits::SYMLINK_BYTES_MAX || target.contains(&0) {
        return Err(FsError::Invalid.into());
    }
    let new = New {
        kind: NodeKind::Symlink,
        mode: 0o777,
        umask: 0,
        rdev: 0,
        target: target.to_vec(),
        copy_setgid: false,
    };
    let (ino, node) = make(txn, &who, parent, name, &new)?;
    reply(txn, &who, ino, &node)
}

/// Gives a node that is no directory another name.
///
/// # Errors
/// `NoEnt`, `Perm` for a directory or a protected node, `NoEnt` without a name, `NoSpace` with too
/// many; then of the directory as [`entry::free_name`]; `Quota`.
pub fn link(
    txn: &mut Txn<'_>,
    caller: &Caller,
    ino: InodeId,
    parent: InodeId,
    name: &Name,
) -> Res<Reply> {
    let who = Who::enter(txn, caller, &[Disable::Link], true)?;
    let (ino, node) = who.node(txn, ino, false)?;
    if node.kind() == NodeKind::Directory || node.eattr.value() & (IMMUTABLE | APPEND_ONLY) != 0 {
        return Err(FsError::Perm.into());
    }
    if node.whereabouts.value() != Whereabouts::Linked {
        return Err(FsError::NoEnt.into());
    }
    if node.links.value() >= u64::from(limits::LINK_COUNT_MAX) {
        return Err(FsError::NoSpace.into());
    }
    let dir = entry::free_name(txn, &who, parent, name)?;
    quota::check(txn, dir, &stats::of_node(txn, ino, &node)?)?;
    node::link(txn, dir, name, ino)?;
    let node = node::touch_ctime(txn, ino)?;
    reply(txn, &who, ino, &node)
}

/// The part that all new nodes share.
///
/// # Errors
/// Of the directory as [`entry::free_name`]; `Quota`; `NoSpace` when no id is left.
fn make(
    txn: &mut Txn<'_>,
    who: &Who,
    parent: InodeId,
    name: &Name,
    new: &New,
) -> Res<(InodeId, Inode)> {
    let dir = entry::free_name(txn, who, parent, name)?;
    let counted: DirStats = match new.kind {
        NodeKind::Directory => stats::DIRECTORY,
        NodeKind::File => stats::FILE,
        _ => stats::NODE,
    };
    quota::check(txn, dir, &counted)?;
    node::make(txn, who, dir, name, new)
}

/// A node and its attributes, as the session names it.
///
/// # Errors
/// Only that the state cannot be read.
pub fn reply(txn: &Txn<'_>, who: &Who, ino: InodeId, node: &Inode) -> Res<Reply> {
    Ok(Reply::Node {
        inode: who.shown(ino),
        attr: attr(txn, who, ino, node)?,
    })
}
