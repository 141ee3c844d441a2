//! Files without a name: in the trash until their time is over, or sustained while they are open.

use std::ops::ControlFlow;

use super::attr::attr;
use super::error::FsError;
use super::key::Key;
use super::node::{self, New};
use super::op::{Answer, Caller, Name, NodeKind, Reply, Whereabouts};
use super::path::valid_name;
use super::record::{Inode, Trashed};
use super::txn::{Res, Txn};
use super::who::Who;
use crate::id::{InodeId, SessionId};
use crate::limits;

/// Longest name that a meta mount shows, bytes; longer ones are cut from the left.
const SHOWN_BYTES_MAX: usize = 240;
/// What stands for the part that was cut.
const CUT: &[u8] = b"(...)";
/// Buckets that a meta mount sorts the trash into, as a mask of the inode number.
const BUCKET_MASK: u32 = 0xFFF;
/// Seconds of an hour.
const HOUR: u64 = 3_600;

/// A caller that may work on the trash.
fn enter(txn: &Txn<'_>, caller: &Caller) -> Res<()> {
    let who = Who::resolve(txn, caller)?;
    who.meta()?;
    who.writable()
}

/// The path that a file in the trash had.
fn trashed(txn: &Txn<'_>, ino: InodeId) -> Res<Vec<u8>> {
    Ok(txn.value(&Key::Trashed(ino))?.ok_or(FsError::NoEnt)?)
}

/// Changes where a file in the trash will be undeleted to.
///
/// # Errors
/// `NoEnt`; `Invalid` for a path that is empty, longer than 1,024 bytes, or has a NUL.
pub fn set_path(txn: &mut Txn<'_>, caller: &Caller, ino: InodeId, path: &[u8]) -> Res<Reply> {
    enter(txn, caller)?;
    trashed(txn, ino)?;
    if path.is_empty() || path.len() > limits::TRASH_PATH_BYTES_MAX || path.contains(&0) {
        return Err(FsError::Invalid.into());
    }
    txn.set(&Key::Trashed(ino), Some(path.to_vec()))?;
    Ok(Reply::Done)
}

/// Takes a file out of the trash to the path it had; directories that are missing are made, mode
/// 0755 and root's.
///
/// # Errors
/// `NoEnt`; `CantCreatePath` when the path has parts that are no names or leads through what is no
/// directory; `Exist` when its name is taken; `NoSpace` without an id for a directory.
pub fn undelete(txn: &mut Txn<'_>, caller: &Caller, ino: InodeId) -> Res<Reply> {
    enter(txn, caller)?;
    let path = trashed(txn, ino)?;
    let parts: Vec<Name> = path
        .split(|byte| *byte == b'/')
        .map(<[u8]>::to_vec)
        .collect();
    if parts.iter().any(|part| valid_name(part).is_err()) {
        return Err(FsError::CantCreatePath.into());
    }
    let (name, dirs) = parts.split_last().ok_or(FsError::CantCreatePath)?;
    let mut dir = InodeId::ROOT;
    for part in dirs {
        dir = match node::find(txn, dir, part)? {
            Some(target) if target.kind == NodeKind::Directory => target.inode,
            Some(_) => return Err(FsError::CantCreatePath.into()),
            None => {
                let new = New {
                    kind: NodeKind::Directory,
                    mode: 0o755,
                    umask: 0,
                    rdev: 0,
                    target: Vec::new(),
                    copy_setgid: false,
                };
                node::make(txn, &Who::cluster(), dir, part, &new)?.0
            }
        };
    }
    if node::find(txn, dir, name)?.is_some() {
        return Err(FsError::Exist.into());
    }
    txn.set::<Vec<u8>>(&Key::Trashed(ino), None)?;
    node::set_whereabouts(txn, ino, Whereabouts::Linked)?;
    node::link(txn, dir, name, ino)?;
    node::touch_ctime(txn, ino)?;
    Ok(Reply::Done)
}

/// Takes a file out of the trash for good: sustained while it is open, else it ends.
///
/// # Errors
/// `NoEnt`.
pub fn purge(txn: &mut Txn<'_>, caller: &Caller, ino: InodeId) -> Res<Reply> {
    enter(txn, caller)?;
    let path = trashed(txn, ino)?;
    node::sustain_or_free(txn, ino, path)?;
    Ok(Reply::Done)
}

/// Ends files whose time in the trash is over and sustained ones that nobody has open. Looks at no
/// more than `limit` files in order of slot and inode, beginning after `after`.
///
/// # Errors
/// Only that the state cannot be read.
pub fn sweep(txn: &mut Txn<'_>, after: Option<InodeId>, limit: u32) -> Res<Reply> {
    // One more than asked for tells whether there is more.
    let limit = (limit as usize).min(limits::RECURSION_MAX);
    let mut files = detached(txn, after, limit + 1)?;
    let more = files.len() > limit;
    files.truncate(limit);
    let (mut freed, mut sustained) = (0, 0);
    for (ino, whereabouts) in &files {
        if *whereabouts == Whereabouts::Trash {
            if expired(txn, *ino)? {
                let path = trashed(txn, *ino)?;
                if node::sustain_or_free(txn, *ino, path)? {
                    sustained += 1;
                } else {
                    freed += 1;
                }
            }
        } else if !node::is_open(txn, *ino)? {
            node::free(txn, *ino)?;
            freed += 1;
        }
    }
    let last = files.last().map(|(ino, _)| *ino).or(after);
    Ok(Reply::Swept {
        freed,
        sustained,
        next: last.filter(|_| more),
    })
}

/// Whether a file's time in the trash is over.
fn expired(txn: &Txn<'_>, ino: InodeId) -> Res<bool> {
    let node = super::path::known(txn, ino)?;
    let last = node
        .atime
        .value()
        .max(node.mtime.value())
        .max(node.ctime.value());
    let end = u64::from(last.0) + u64::from(node.trash_hours.value()) * HOUR;
    Ok(end < u64::from(txn.now().0))
}

/// At most `limit` files in the trash or sustained, in order of slot and inode, after `after`.
fn detached(
    txn: &Txn<'_>,
    after: Option<InodeId>,
    limit: usize,
) -> Res<Vec<(InodeId, Whereabouts)>> {
    let mut out = Vec::new();
    let first = after.map_or(0, |ino| ino.slot().0);
    txn.slots_with(first, b'T', b'U', |slot| {
        let mut here = Vec::new();
        for (kind, whereabouts) in [(b'T', Whereabouts::Trash), (b'U', Whereabouts::Sustained)] {
            let prefix = [slot.0.to_be_bytes().as_slice(), &[kind]].concat();
            let from = after
                .filter(|ino| ino.slot() == slot)
                .map(|ino| [prefix.as_slice(), &ino.0.to_be_bytes()].concat());
            let mut left = limit - out.len();
            txn.scan::<Trashed>(&prefix, from.as_deref(), |key, _| {
                if let Key::Trashed(ino) | Key::Sustained(ino) = key {
                    here.push((ino, whereabouts));
                }
                left -= 1;
                Ok(match left {
                    0 => ControlFlow::Break(()),
                    _ => ControlFlow::Continue(()),
                })
            })?;
        }
        here.sort();
        here.truncate(limit - out.len());
        out.append(&mut here);
        Ok(if out.len() == limit {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    })?;
    Ok(out)
}

/// All files of one whereabouts, by inode.
fn all(txn: &Txn<'_>, wanted: Whereabouts) -> Res<Vec<InodeId>> {
    let mut out: Vec<InodeId> = detached(txn, None, usize::MAX)?
        .into_iter()
        .filter(|(_, whereabouts)| *whereabouts == wanted)
        .map(|(ino, _)| ino)
        .collect();
    out.sort();
    Ok(out)
}

/// Bytes of all files in the trash, and of all sustained ones.
///
/// # Errors
/// Only that the state cannot be read.
pub fn lengths(txn: &Txn<'_>) -> Res<(u64, u64)> {
    let (mut trash, mut sustained) = (0u64, 0u64);
    for (ino, whereabouts) in detached(txn, None, usize::MAX)? {
        let length = super::path::known(txn, ino)?.length.value();
        let sum = match whereabouts {
            Whereabouts::Trash => &mut trash,
            _ => &mut sustained,
        };
        *sum = sum.saturating_add(length);
    }
    Ok((trash, sustained))
}

/// What lies in the trash, or in one bucket of it, by inode.
///
/// # Errors
/// `BadSession`, `Perm` for a session that is not a meta session.
pub fn list_trash(txn: &Txn<'_>, session: SessionId, bucket: Option<u16>) -> Res<Answer> {
    Who::of_session(txn, session)?.meta()?;
    let mut out = Vec::new();
    for ino in all(txn, Whereabouts::Trash)? {
        if bucket.is_none_or(|bucket| ino.0 & BUCKET_MASK == u32::from(bucket)) {
            out.push((shown_name(&trashed(txn, ino)?), ino));
        }
    }
    Ok(Answer::Detached(out))
}

/// What is sustained, by inode.
///
/// # Errors
/// `BadSession`, `Perm` for a session that is not a meta session.
pub fn list_sustained(txn: &Txn<'_>, session: SessionId) -> Res<Answer> {
    Who::of_session(txn, session)?.meta()?;
    let mut out = Vec::new();
    for ino in all(txn, Whereabouts::Sustained)? {
        let path: Vec<u8> = txn.value(&Key::Sustained(ino))?.unwrap_or_default();
        out.push((shown_name(&path), ino));
    }
    Ok(Answer::Detached(out))
}

/// The path that a file in the trash had.
///
/// # Errors
/// `BadSession`, `Perm` for a session that is not a meta session, `NoEnt`.
pub fn path(txn: &Txn<'_>, session: SessionId, ino: InodeId) -> Res<Answer> {
    Who::of_session(txn, session)?.meta()?;
    Ok(Answer::Bytes(trashed(txn, ino)?))
}

/// Attributes of a file in the trash, or sustained.
///
/// # Errors
/// `BadSession`, `Perm` for a session that is not a meta session, `NoEnt`.
pub fn detached_attr(txn: &Txn<'_>, session: SessionId, ino: InodeId) -> Res<Answer> {
    let who = Who::of_session(txn, session)?;
    who.meta()?;
    let node: Inode = txn.inode(ino)?;
    if node.whereabouts.value() == Whereabouts::Linked {
        return Err(FsError::NoEnt.into());
    }
    Ok(Answer::Attr(attr(txn, &who, ino, &node)?))
}

/// A path as one name: bars for slashes, and not too long.
fn shown_name(path: &[u8]) -> Name {
    let barred: Name = path
        .iter()
        .map(|byte| if *byte == b'/' { b'|' } else { *byte })
        .collect();
    if barred.len() <= SHOWN_BYTES_MAX {
        return barred;
    }
    let kept = SHOWN_BYTES_MAX - CUT.len();
    [CUT, &barred[barred.len() - kept..]].concat()
}
