//! Removal of snapshots: a whole subtree at once, past the trash.

use super::error::FsError;
use super::node;
use super::op::{Caller, Disable, Name, NodeKind, Reply};
use super::path;
use super::permission::{
    self, APPEND_ONLY, EXECUTE, IMMUTABLE, SNAPSHOT, UNDELETABLE, WRITE, sticky_forbids,
};
use super::record::Inode;
use super::txn::{Res, Txn};
use super::walk;
use super::who::Who;
use crate::id::InodeId;
use crate::limits;

const PROTECTION: u8 = UNDELETABLE | APPEND_ONLY | IMMUTABLE;

/// Removes `name` and all below it. Without `force`, all of it must be part of a snapshot and
/// removable, or nothing is removed; with it, what is part of a snapshot and can be removed is.
///
/// # Errors
/// After the session's: `NoEnt`, `NotDir`; `Perm` for a protected directory, without `force`;
/// `Access`; `Invalid` for the name; `NoEnt`; `Perm` by the sticky bit. Then, without `force`, for
/// each node in order: `Perm` for what is no snapshot or protected, `Access` to a directory.
/// `Invalid` for more nodes than one command may visit.
pub fn remove(
    txn: &mut Txn<'_>,
    caller: &Caller,
    parent: InodeId,
    name: &Name,
    force: bool,
) -> Res<Reply> {
    let who = Who::enter(txn, caller, &[Disable::Snapshot], true)?;
    let (dir, holder) = who.node(txn, parent, false)?;
    if holder.kind() != NodeKind::Directory {
        return Err(FsError::NotDir.into());
    }
    if !force && holder.eattr.value() & (APPEND_ONLY | IMMUTABLE) != 0 {
        return Err(FsError::Perm.into());
    }
    permission::require(txn, &who, dir, &holder, WRITE | EXECUTE)?;
    path::valid_name(name)?;
    let top = node::find(txn, dir, name)?.ok_or(FsError::NoEnt)?.inode;
    if sticky_forbids(&who, &holder, &path::known(txn, top)?) {
        return Err(FsError::Perm.into());
    }
    let names = collect(txn, &who, (dir, name.clone(), top), force)?;
    // What is in a directory comes behind it, and goes before it.
    for (named, copied) in names.into_iter().rev() {
        let (dir, name, ino) = named;
        if force && !(copied && removable(txn, &who, dir, ino)?) {
            continue;
        }
        node::drop_name(txn, dir, &name, ino, true)?;
    }
    Ok(Reply::Done)
}

/// A name in a directory and what it stands for.
type Named = (InodeId, Name, InodeId);

/// All names at and below one, directories before what is in them, and whether each is part of a
/// snapshot: a directory is no more once something in it was removed. Judges each on the way unless
/// `force`, which leaves closed directories closed.
fn collect(txn: &Txn<'_>, who: &Who, top: Named, force: bool) -> Res<Vec<(Named, bool)>> {
    let mut stack = vec![top];
    let mut out = Vec::new();
    while let Some((dir, name, ino)) = stack.pop() {
        let node = path::known(txn, ino)?;
        let is_dir = node.kind() == NodeKind::Directory;
        if !force {
            judge(txn, who, ino, &node)?;
        }
        let copied = node.eattr.value() & SNAPSHOT != 0;
        out.push(((dir, name, ino), copied));
        if is_dir && (!force || may_empty(txn, who, ino, &node)?) {
            let room = limits::RECURSION_MAX.saturating_sub(out.len() + stack.len());
            let entries = walk::children(txn, ino, room)?;
            let below = entries
                .into_iter()
                .rev()
                .map(|(name, target)| (ino, name, target.inode));
            stack.extend(below);
        }
    }
    Ok(out)
}

fn judge(txn: &Txn<'_>, who: &Who, ino: InodeId, node: &Inode) -> Res<()> {
    let eattr = node.eattr.value();
    if eattr & SNAPSHOT == 0 || eattr & PROTECTION != 0 {
        return Err(FsError::Perm.into());
    }
    if node.kind() == NodeKind::Directory {
        permission::require(txn, who, ino, node, WRITE | EXECUTE)?;
    }
    Ok(())
}

fn may_empty(txn: &Txn<'_>, who: &Who, ino: InodeId, dir: &Inode) -> Res<bool> {
    let closed = dir.eattr.value() & (APPEND_ONLY | IMMUTABLE) != 0;
    Ok(!closed && permission::allows(txn, who, ino, dir, WRITE | EXECUTE)?)
}

/// Whether one node can go: not protected, not held by a sticky bit, and empty by now.
fn removable(txn: &Txn<'_>, who: &Who, dir: InodeId, ino: InodeId) -> Res<bool> {
    let node = path::known(txn, ino)?;
    if node.eattr.value() & PROTECTION != 0 || sticky_forbids(who, &path::known(txn, dir)?, &node) {
        return Ok(false);
    }
    Ok(node.kind() != NodeKind::Directory || node::is_empty(txn, ino)?)
}
