//! Reading the tree: a name, attributes, access, a symlink, a directory, space.

use std::ops::ControlFlow;

use super::attr::attr;
use super::error::FsError;
use super::key::Key;
use super::node;
use super::op::{Answer, Caller, Disable, Entry, Name, NodeKind};
use super::path::{self, known, valid_name};
use super::permission::{self, EXECUTE, IMMUTABLE, NO_ENTRY_CACHE, READ, WRITE};
use super::record::{Edge, Inode, QuotaRecord};
use super::stats;
use super::trash;
use super::txn::{Fail, Res, Txn};
use super::who::Who;
use crate::id::InodeId;
use crate::limits;

/// What a name in a directory stands for, "." and ".." included.
///
/// # Errors
/// `NoEntNoCache` without the directory, `NotDir`, `Access`, `Invalid` for what can be no name;
/// `NoEnt`, or `NoEntNoCache` when the directory's entries shall not be cached.
pub fn lookup(txn: &Txn<'_>, caller: &Caller, parent: InodeId, name: &Name) -> Res<Answer> {
    let who = Who::enter(txn, caller, &[], false)?;
    let (dir, dir_node) = who.node(txn, parent, false).map_err(|fail| match fail {
        Fail::Fs(FsError::NoEnt) => FsError::NoEntNoCache.into(),
        other => other,
    })?;
    if dir_node.kind() != NodeKind::Directory {
        return Err(FsError::NotDir.into());
    }
    permission::require(txn, &who, dir, &dir_node, EXECUTE)?;
    let found = match name.as_slice() {
        b"." => Some(dir),
        b".." => Some(parent_of(&who, dir, &dir_node)),
        _ => {
            valid_name(name)?;
            node::find(txn, dir, name)?.map(|target| target.inode)
        }
    };
    let Some(ino) = found else {
        let uncached = dir_node.eattr.value() & NO_ENTRY_CACHE != 0;
        return Err(if uncached {
            FsError::NoEntNoCache.into()
        } else {
            FsError::NoEnt.into()
        });
    };
    let node = known(txn, ino)?;
    Ok(Answer::Looked {
        inode: who.shown(ino),
        attr: attr(txn, &who, ino, &node)?,
        access: permission::access_bits(txn, &who, ino, &node)?,
    })
}

/// The directory above, which for the session's root is itself.
fn parent_of(who: &Who, dir: InodeId, node: &Inode) -> InodeId {
    if dir == who.params.root {
        dir
    } else {
        node.parent().unwrap_or(dir)
    }
}

/// Attributes of a node. No permission is needed.
///
/// # Errors
/// `NoEnt`.
pub fn get_attr(txn: &Txn<'_>, caller: &Caller, ino: InodeId, opened: bool) -> Res<Answer> {
    let who = Who::enter(txn, caller, &[], false)?;
    let (ino, node) = who.node(txn, ino, opened)?;
    Ok(Answer::Attr(attr(txn, &who, ino, &node)?))
}

/// Whether the caller may read, write or execute.
///
/// # Errors
/// `ReadOnly` for writing in a session that may only read, `NoEnt`, `Perm` for writing what is
/// immutable, `Access`.
pub fn access(txn: &Txn<'_>, caller: &Caller, ino: InodeId, mask: u8) -> Res<Answer> {
    let mask = mask & (READ | WRITE | EXECUTE);
    let writes = mask & WRITE != 0;
    let who = Who::enter(txn, caller, &[], writes)?;
    let (ino, node) = who.node(txn, ino, false)?;
    if writes && node.eattr.value() & IMMUTABLE != 0 {
        return Err(FsError::Perm.into());
    }
    permission::require(txn, &who, ino, &node, mask)?;
    Ok(Answer::Done)
}

/// Target of a symlink.
///
/// # Errors
/// `NoEnt`, `Invalid` for anything else.
pub fn read_link(txn: &Txn<'_>, caller: &Caller, ino: InodeId) -> Res<Answer> {
    let who = Who::enter(txn, caller, &[], false)?;
    let (_, node) = who.node(txn, ino, false)?;
    match node.origin {
        Some(origin) if origin.kind == NodeKind::Symlink => Ok(Answer::Bytes(origin.target)),
        _ => Err(FsError::Invalid.into()),
    }
}

/// A page of a directory. "." and ".." come first, then names in order; a page goes on after the
/// last name of the one before, so entries that stay are seen once, whatever else changes.
///
/// # Errors
/// `NoEnt`, `NotDir`, `Access` without permission to read, or with attributes to search, `Invalid`
/// for a page of no entries.
pub fn read_dir(
    txn: &Txn<'_>,
    caller: &Caller,
    ino: InodeId,
    attrs: bool,
    after: &Name,
    max: u32,
) -> Res<Answer> {
    let who = Who::enter(txn, caller, &[Disable::Readdir], false)?;
    let (dir, dir_node) = who.node(txn, ino, false)?;
    if dir_node.kind() != NodeKind::Directory {
        return Err(FsError::NotDir.into());
    }
    let mask = if attrs { READ | EXECUTE } else { READ };
    permission::require(txn, &who, dir, &dir_node, mask)?;
    if max == 0 {
        return Err(FsError::Invalid.into());
    }
    let max = max.min(limits::READDIR_PAGE_MAX) as usize;
    let mut found: Vec<(Name, InodeId, NodeKind)> = Vec::new();
    if after.is_empty() {
        found.push((b".".to_vec(), dir, NodeKind::Directory));
    }
    if after.is_empty() || after == b"." {
        let parent = parent_of(&who, dir, &dir_node);
        found.push((b"..".to_vec(), parent, NodeKind::Directory));
    }
    let real = !matches!(after.as_slice(), b"" | b"." | b"..");
    let from = real.then(|| Key::Edge(dir, after.clone()).bytes());
    let prefix = Key::Edge(dir, Vec::new()).prefix();
    // One more than asked for tells whether the directory ends here.
    txn.scan::<Edge>(&prefix, from.as_deref(), |key, edge| {
        if let (Key::Edge(_, name), Some(target)) = (key, edge.latest()) {
            found.push((name, target.inode, target.kind));
        }
        Ok(if found.len() > max {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    })?;
    let done = found.len() <= max;
    found.truncate(max);
    let mut entries = Vec::with_capacity(found.len());
    for (name, ino, kind) in found {
        let attr = if attrs {
            Some(attr(txn, &who, ino, &known(txn, ino)?)?)
        } else {
            None
        };
        entries.push(Entry {
            name,
            inode: who.shown(ino),
            kind,
            attr,
        });
    }
    Ok(Answer::Entries { entries, done })
}

/// Space of the file system as the session sees it: bounded by the hard limits of all directories
/// from the session's root up.
///
/// # Errors
/// `NoEnt` when the session's root is gone.
pub fn stat_fs(txn: &Txn<'_>, caller: &Caller, total: u64, free: u64) -> Res<Answer> {
    let who = Who::enter(txn, caller, &[], false)?;
    let (root, _) = who.node(txn, InodeId::ROOT, false)?;
    let mut available = free;
    for dir in path::ancestors(txn, root)? {
        let Some(quota) = txn.value::<QuotaRecord>(&Key::Quota(dir))? else {
            continue;
        };
        let used = stats::of_dir(txn, dir)?;
        for (limit, used) in [
            (quota.hard.length, used.length),
            (quota.hard.size, used.size),
        ] {
            let left = |limit: u64| limit.saturating_sub(u64::try_from(used).unwrap_or(0));
            available = limit.map_or(available, |limit| available.min(left(limit)));
        }
    }
    let (trash, sustained) = if root == InodeId::ROOT {
        trash::lengths(txn)?
    } else {
        (0, 0)
    };
    let inodes = stats::of_dir(txn, root)?.inodes;
    Ok(Answer::StatFs {
        total,
        available,
        trash,
        sustained,
        inodes: u32::try_from(inodes).unwrap_or(u32::MAX),
    })
}

/// Sums of a directory, or what a file counts as.
///
/// # Errors
/// `NoEnt`, `Perm` for what is neither.
pub fn dir_stats(txn: &Txn<'_>, caller: &Caller, ino: InodeId) -> Res<Answer> {
    let who = Who::enter(txn, caller, &[], false)?;
    let (ino, node) = who.node(txn, ino, false)?;
    if !matches!(node.kind(), NodeKind::Directory | NodeKind::File) {
        return Err(FsError::Perm.into());
    }
    Ok(Answer::DirStats(stats::of_node(txn, ino, &node)?))
}
