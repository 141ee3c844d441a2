//! Setting attributes: mode, owner, times.

use super::attr::attr;
use super::error::FsError;
use super::key::Key;
use super::node::{change, unsnapshot};
use super::op::{Acl, AclKind, Caller, Disable, NodeKind, Reply, SetAttr, SetTime, SugidClear};
use super::permission::{self, IMMUTABLE, WRITE};
use super::record::Inode;
use super::txn::{Res, Txn};
use super::who::Who;
use crate::crdt::Lww;
use crate::id::InodeId;
use crate::time::WallTime;

const SETUID: u16 = 0o4000;
const SETGID: u16 = 0o2000;
const SUGID: u16 = SETUID | SETGID;

/// Sets attributes; ctime becomes now even when nothing else is set.
///
/// # Errors
/// `NoEnt`, `Perm` for an immutable node, then as [`permitted`].
pub fn set_attr(
    txn: &mut Txn<'_>,
    caller: &Caller,
    ino: InodeId,
    opened: bool,
    set: &SetAttr,
) -> Res<Reply> {
    let chowns = set.uid.is_some() || set.gid.is_some();
    let mut disables = Vec::new();
    if set.mode.is_some() {
        disables.push(Disable::Chmod);
    }
    if chowns {
        disables.push(Disable::Chown);
    }
    let who = Who::enter(txn, caller, &disables, true)?;
    let (ino, node) = who.node(txn, ino, opened)?;
    if node.eattr.value() & IMMUTABLE != 0 {
        return Err(FsError::Perm.into());
    }
    if !only_clears_sugid(txn, ino, &node, set)? {
        permitted(txn, &who, ino, &node, set)?;
    }
    let acl = permission::access_acl(txn, ino, &node)?;
    let mode = new_mode(&who, &node, set, acl.is_some());
    if let (Some(acl), Some(mode), Some(_)) = (acl, mode, set.mode) {
        let acl = Acl {
            user: mode >> 6 & 7,
            mask: set.mode.unwrap_or(mode) >> 3 & 7,
            other: mode & 7,
            ..acl
        };
        txn.set(&Key::Acl(ino, AclKind::Access), Some(acl))?;
    }
    let now = txn.now();
    let node = change(txn, ino, |node, stamp| Inode {
        mode: written(&node.mode, mode, |register, mode| {
            register.write(stamp, mode)
        }),
        uid: written(&node.uid, set.uid, |register, uid| {
            register.write(stamp, uid)
        }),
        gid: written(&node.gid, set.gid, |register, gid| {
            register.write(stamp, gid)
        }),
        atime: written(&node.atime, time(set.atime, now), |register, at| {
            register.write(stamp, at)
        }),
        mtime: written(&node.mtime, time(set.mtime, now), |register, at| {
            register.write(stamp, at)
        }),
        winattr: written(&node.winattr, set.winattr, |register, winattr| {
            register.write(stamp, winattr)
        }),
        ctime: node.ctime.write(stamp, now),
        eattr: unsnapshot(node, stamp),
        ..Inode::default()
    })?;
    Ok(Reply::Attr(attr(txn, &who, ino, &node)?))
}

/// The delta of a register: bottom where nothing is set.
fn written<T: Clone + Ord>(
    register: &Lww<T>,
    value: Option<T>,
    write: impl FnOnce(&Lww<T>, T) -> Lww<T>,
) -> Lww<T> {
    value.map_or_else(Lww::default, |value| write(register, value))
}

fn time(set: SetTime, now: WallTime) -> Option<WallTime> {
    match set {
        SetTime::Keep => None,
        SetTime::Now => Some(now),
        SetTime::At(time) => Some(time),
    }
}

/// Whether this is the kernel clearing setuid and setgid after a write, which anybody may.
fn only_clears_sugid(txn: &Txn<'_>, ino: InodeId, node: &Inode, set: &SetAttr) -> Res<bool> {
    let alone = SetAttr {
        mode: set.mode,
        sugid_clear: set.sugid_clear,
        ..SetAttr::default()
    };
    let Some(mode) = set.mode.filter(|_| *set == alone) else {
        return Ok(false);
    };
    Ok(mode & 0o7777 == permission::shown_mode(txn, ino, node)? & !SUGID)
}

/// Who may set what.
///
/// # Errors
/// `Perm` for a change of owner in a session that maps everybody, for what only the owner may set,
/// for giving the node away, for a group that the caller is not in; `Access` for times "now"
/// without permission to write.
fn permitted(txn: &Txn<'_>, who: &Who, ino: InodeId, node: &Inode, set: &SetAttr) -> Res<()> {
    if who.is_root() {
        return Ok(());
    }
    let perm = Err(FsError::Perm.into());
    if who.params.flags.map_all && (set.uid.is_some() || set.gid.is_some()) {
        return perm;
    }
    if !who.owns(node) {
        let explicit = |time| matches!(time, SetTime::At(_));
        if set.mode.is_some()
            || set.uid.is_some()
            || set.gid.is_some()
            || explicit(set.atime)
            || explicit(set.mtime)
        {
            return perm;
        }
        if set.atime == SetTime::Now || set.mtime == SetTime::Now {
            permission::require(txn, who, ino, node, WRITE)?;
        }
    }
    if set.uid.is_some_and(|uid| uid != who.uid) {
        return perm;
    }
    let foreign = |gid| !who.params.flags.ignore_gid && !who.gids.contains(&gid);
    if set.gid.is_some_and(foreign) {
        return perm;
    }
    Ok(())
}

/// The mode afterwards, when it changes: a change of owner clears setuid and setgid by the rule
/// asked for, and setgid is not given to a group that the caller is not in.
fn new_mode(who: &Who, node: &Inode, set: &SetAttr, has_acl: bool) -> Option<u16> {
    let old = node.mode.value();
    let chowns = set.uid.is_some() || set.gid.is_some();
    if set.mode.is_none() && !chowns {
        return None;
    }
    let mut mode = set.mode.map_or(old, |mode| {
        // With an ACL the group's bits go to its mask; the node keeps its own.
        let mode = mode & 0o7777;
        if has_acl {
            mode & !0o070 | old & 0o070
        } else {
            mode
        }
    });
    if chowns {
        // The kernel's own clearing is not looked at: the rule below decides alone.
        mode |= old & SUGID;
        if old & SUGID != 0 {
            mode &= !cleared(who, node, set);
        }
    }
    let gid = set.gid.unwrap_or_else(|| node.gid.value());
    if set.mode.is_some() && !who.is_root() && !who.gids.contains(&gid) {
        mode &= !SETGID;
    }
    Some(mode)
}

/// Bits that a change of owner takes away.
fn cleared(who: &Who, node: &Inode, set: &SetAttr) -> u16 {
    let unprivileged = !who.is_root();
    let is_dir = node.kind() == NodeKind::Directory;
    let of_a_file = || {
        if node.mode.value() & 0o010 != 0 {
            SUGID
        } else {
            SETUID
        }
    };
    let when = |condition| if condition { SUGID } else { 0 };
    match set.sugid_clear {
        SugidClear::Never => 0,
        SugidClear::Always => SUGID,
        SugidClear::Osx => when(unprivileged),
        SugidClear::Bsd => when(unprivileged && set.gid.is_some_and(|gid| gid != node.gid.value())),
        SugidClear::Ext if is_dir => 0,
        SugidClear::Xfs if is_dir => when(unprivileged),
        SugidClear::Ext | SugidClear::Xfs => of_a_file(),
    }
}

/// A read touched a node's access time. Raises it by the relatime rule: when it is not above mtime
/// or ctime, or older than a day.
///
/// # Errors
/// Only that the state cannot be read.
pub fn touch_atime(txn: &mut Txn<'_>, ino: InodeId) -> Res<Reply> {
    const DAY: u64 = 86_400;
    let Some(node) = txn.get::<Inode>(&Key::Inode(ino))? else {
        return Ok(Reply::Done);
    };
    let (now, atime) = (txn.now(), node.atime.value());
    let stale = atime <= node.mtime.value()
        || atime <= node.ctime.value()
        || u64::from(atime.0) + DAY < u64::from(now.0);
    if stale && now > atime {
        change(txn, ino, |node, stamp| Inode {
            atime: node.atime.write(stamp, now),
            ..Inode::default()
        })?;
    }
    Ok(Reply::Done)
}

/// Takes over times that a client kept while it read and wrote, as far as they are newer: an mtime
/// becomes the ctime too. Never refused; a session that may not write, or is not known, and nodes
/// that are gone are passed over.
///
/// # Errors
/// Only that the state cannot be read.
pub fn set_times(
    txn: &mut Txn<'_>,
    session: crate::id::SessionId,
    times: &[(InodeId, WallTime, WallTime)],
) -> Res<Reply> {
    let who = match Who::of_session(txn, session) {
        Ok(who) if !who.params.flags.read_only => who,
        Ok(_) | Err(super::txn::Fail::Fs(_)) => return Ok(Reply::Done),
        Err(fail) => return Err(fail),
    };
    for (ino, atime, mtime) in times {
        let ino = who.translate(*ino);
        let Some(node) = txn.get::<Inode>(&Key::Inode(ino))? else {
            continue;
        };
        let newer_atime = (*atime > node.atime.value()).then_some(*atime);
        let newer_mtime = (*mtime > node.mtime.value()).then_some(*mtime);
        change(txn, ino, |node, stamp| Inode {
            atime: written(&node.atime, newer_atime, |it, at| it.write(stamp, at)),
            mtime: written(&node.mtime, newer_mtime, |it, at| it.write(stamp, at)),
            ctime: written(&node.ctime, newer_mtime, |it, at| it.write(stamp, at)),
            ..Inode::default()
        })?;
    }
    Ok(Reply::Done)
}
