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
    let shown = permission::shown_mode(txn, ino, &node)?;
    let mode = new_mode(&who, &node, shown, set, acl.is_some());
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
fn new_mode(who: &Who, node: &Inode, shown: u16, set: &SetAttr, has_acl: bool) -> Option<u16> {
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
            mode &= !cleared(who, node, shown, set);
        }
    }
    let gid = set.gid.unwrap_or_else(|| node.gid.value());
    if set.mode.is_some() && !who.is_root() && !who.gids.contains(&gid) {
        mode &= !SETGID;
    }
    Some(mode)
}

/// Bits that a change of owner takes away; `shown` is the mode that clients see.
fn cleared(who: &Who, node: &Inode, shown: u16, set: &SetAttr) -> u16 {
    let unprivileged = !who.is_root();
    let is_dir = node.kind() == NodeKind::Directory;
    let of_a_file = || {
        if shown & 0o010 != 0 { SUGID } else { SETUID }
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
            eattr: newer_mtime.map_or_else(Lww::default, |_| unsnapshot(node, stamp)),
            ..Inode::default()
        })?;
    }
    Ok(Reply::Done)
}

#[cfg(test)]
mod tests {
    use super::super::op::{Attr, Op};
    use super::super::permission::{NO_MASK, NO_OWNER, SNAPSHOT};
    use super::super::testing::{Bed, ROOT, chmod, mkdir, root, set_attr, somebody, user};
    use super::*;
    use crate::id::SessionId;

    fn owner(uid: Option<u32>, gid: Option<u32>) -> SetAttr {
        SetAttr {
            uid,
            gid,
            ..SetAttr::default()
        }
    }

    fn times(atime: SetTime, mtime: SetTime) -> SetAttr {
        SetAttr {
            atime,
            mtime,
            ..SetAttr::default()
        }
    }

    fn mode(mode: u16) -> SetAttr {
        SetAttr {
            mode: Some(mode),
            ..SetAttr::default()
        }
    }

    #[test]
    fn who_may_set_what() {
        let mut bed = Bed::new();
        let mapping = bed.session_with(|params| {
            params.flags.map_all = true;
            params.map_all_uid = 10;
            params.map_all_gid = 10;
        });
        let ignoring = bed.session_with(|params| params.flags.ignore_gid = true);
        let file = bed.file(&somebody(10), ROOT, "file");
        let (own, other) = (somebody(10), somebody(11));
        let at = SetTime::At(WallTime(5));
        let (keep, now) = (SetTime::Keep, SetTime::Now);
        let winattr = SetAttr {
            winattr: Some(3),
            ..SetAttr::default()
        };
        let examples = [
            (user(mapping, 10), owner(Some(10), None), Err(FsError::Perm)),
            (user(mapping, 10), mode(0o600), Ok(())),
            (other.clone(), mode(0o777), Err(FsError::Perm)),
            (other.clone(), owner(Some(11), None), Err(FsError::Perm)),
            (other.clone(), owner(None, Some(11)), Err(FsError::Perm)),
            (other.clone(), times(at, keep), Err(FsError::Perm)),
            (other.clone(), times(keep, at), Err(FsError::Perm)),
            (other.clone(), times(now, keep), Err(FsError::Access)),
            (other.clone(), times(keep, now), Err(FsError::Access)),
            (other.clone(), SetAttr::default(), Ok(())),
            (other.clone(), winattr, Ok(())),
            (own.clone(), times(at, at), Ok(())),
            (own.clone(), owner(Some(11), None), Err(FsError::Perm)),
            (own.clone(), owner(Some(10), None), Ok(())),
            (own.clone(), owner(None, Some(99)), Err(FsError::Perm)),
            (own.clone(), owner(None, Some(10)), Ok(())),
            (user(ignoring, 10), owner(None, Some(99)), Ok(())),
            (root(), owner(Some(10), Some(10)), Ok(())),
            (root(), mode(0o646), Ok(())),
            (other.clone(), times(now, now), Ok(())),
        ];
        for (caller, set, expected) in examples {
            let result = bed.run(set_attr(&caller, file, set.clone())).map(drop);
            assert_eq!(result, expected, "{caller:?} {set:?}");
        }
        // Who counts as owner may, and nobody may what is immutable.
        bed.set_eattr(file, NO_OWNER);
        bed.ok(set_attr(&other, file, times(at, at)));
        bed.set_eattr(file, IMMUTABLE);
        bed.refused(vec![
            (FsError::Perm, set_attr(&root(), file, SetAttr::default())),
            (FsError::NoEnt, set_attr(&root(), InodeId(999), mode(0))),
        ]);
    }

    #[test]
    fn what_is_set_shows_and_ctime_always_rises() {
        let mut bed = Bed::new();
        let file = bed.file(&somebody(10), ROOT, "file");
        bed.set_eattr(file, SNAPSHOT);
        bed.now = 2_000;
        let set = SetAttr {
            mode: Some(0o170_600),
            uid: Some(7),
            gid: Some(8),
            atime: SetTime::At(WallTime(5)),
            mtime: SetTime::Now,
            winattr: Some(9),
            sugid_clear: SugidClear::Never,
        };
        let Reply::Attr(attr) = bed.ok(set_attr(&root(), file, set)) else {
            panic!("attributes come back");
        };
        let expected = Attr {
            mode: 0o600,
            uid: 7,
            gid: 8,
            atime: WallTime(5),
            mtime: WallTime(2_000),
            ctime: WallTime(2_000),
            winattr: 9,
            ..attr.clone()
        };
        assert_eq!(attr, expected);
        assert_eq!(bed.by_hand(|txn| txn.inode(file)).eattr.value(), 0);
        bed.now = 3_000;
        bed.ok(set_attr(&root(), file, SetAttr::default()));
        let later = Attr {
            ctime: WallTime(3_000),
            ..expected
        };
        assert_eq!(bed.attr(file), later);
    }

    #[test]
    fn anybody_may_clear_setuid_as_the_kernel_does() {
        let mut bed = Bed::new();
        let file = bed.file(&somebody(10), ROOT, "file");
        bed.ok(chmod(&root(), file, 0o6755));
        let other = somebody(11);
        bed.refused(vec![
            (FsError::Perm, chmod(&other, file, 0o4755)),
            (FsError::Perm, chmod(&other, file, 0o754)),
        ]);
        bed.ok(chmod(&other, file, 0o755));
        assert_eq!(bed.attr(file).mode, 0o755);
        // The same beside anything else is an ordinary change.
        let both = SetAttr {
            winattr: Some(1),
            ..mode(0o755)
        };
        bed.refused(vec![(FsError::Perm, set_attr(&other, file, both))]);
    }

    #[test]
    fn a_change_of_owner_clears_setuid_by_the_rule_asked_for() {
        use SugidClear as S;
        // Rule, directory, mode, privileged, gid really changes: mode afterwards.
        let examples = [
            (S::Never, false, 0o6755, false, true, 0o6755),
            (S::Always, false, 0o6755, true, false, 0o755),
            (S::Always, true, 0o6755, true, false, 0o755),
            (S::Osx, false, 0o6755, true, true, 0o6755),
            (S::Osx, false, 0o6755, false, false, 0o755),
            (S::Bsd, false, 0o6755, false, false, 0o6755),
            (S::Bsd, false, 0o6755, false, true, 0o755),
            (S::Bsd, false, 0o6755, true, true, 0o6755),
            (S::Ext, false, 0o6755, true, false, 0o755),
            (S::Ext, false, 0o6745, true, false, 0o2745),
            (S::Ext, true, 0o6755, false, false, 0o6755),
            (S::Xfs, false, 0o6745, true, false, 0o2745),
            (S::Xfs, true, 0o6755, false, false, 0o755),
            (S::Xfs, true, 0o6755, true, false, 0o6755),
            (S::Always, false, 0o1755, false, true, 0o1755),
        ];
        for (rule, is_dir, before, privileged, regroup, after) in examples {
            let mut bed = Bed::new();
            let node = if is_dir {
                bed.dir(&somebody(10), ROOT, "node")
            } else {
                bed.file(&somebody(10), ROOT, "node")
            };
            bed.ok(chmod(&root(), node, before));
            let mut caller = if privileged { root() } else { somebody(10) };
            caller.gids.push(55);
            let set = SetAttr {
                gid: Some(if regroup { 55 } else { 10 }),
                sugid_clear: rule,
                ..SetAttr::default()
            };
            let case = format!("{rule:?} dir {is_dir} {before:o} root {privileged} {regroup}");
            bed.ok(set_attr(&caller, node, set.clone()));
            assert_eq!(bed.attr(node).mode, after, "{case}");
            // The bits asked for together with an owner do not matter: the rule decides.
            bed.ok(chmod(&root(), node, before));
            let with_mode = SetAttr {
                mode: Some(before & 0o777),
                gid: Some(10),
                ..set
            };
            if !regroup {
                bed.ok(set_attr(&caller, node, with_mode));
                assert_eq!(bed.attr(node).mode, after & 0o6777, "{case} with mode");
            }
        }
    }

    #[test]
    fn setgid_is_for_members_of_the_group() {
        let mut bed = Bed::new();
        let file = bed.file(&somebody(10), ROOT, "file");
        bed.ok(set_attr(&root(), file, owner(None, Some(77))));
        bed.ok(chmod(&somebody(10), file, 0o2755));
        assert_eq!(bed.attr(file).mode, 0o755);
        bed.ok(chmod(&root(), file, 0o2755));
        assert_eq!(bed.attr(file).mode, 0o2755);
        let member = Caller {
            gids: vec![10, 77],
            ..somebody(10)
        };
        bed.ok(chmod(&member, file, 0o2711));
        assert_eq!(bed.attr(file).mode, 0o2711);
    }

    #[test]
    fn the_groups_bits_of_a_node_with_an_acl_go_to_its_mask() {
        let mut bed = Bed::new();
        let file = bed.file(&somebody(10), ROOT, "file");
        let acl = Acl {
            user: 6,
            group: 4,
            other: 4,
            mask: NO_MASK,
            named_users: vec![(20, 7)],
            named_groups: Vec::new(),
        };
        bed.set_acl(file, AclKind::Access, acl.clone());
        bed.ok(chmod(&root(), file, 0o4731));
        let changed = Acl {
            user: 7,
            other: 1,
            mask: 3,
            ..acl
        };
        let (node, kept) = bed.by_hand(|txn| {
            let node = txn.inode(file)?;
            Ok((node, txn.value::<Acl>(&Key::Acl(file, AclKind::Access))?))
        });
        assert_eq!(kept, Some(changed.clone()));
        assert_eq!(node.mode.value(), 0o4741);
        assert_eq!(bed.attr(file).mode, 0o4731);
        // A change of owner leaves the ACL alone.
        bed.ok(set_attr(&root(), file, owner(Some(11), None)));
        let kept = bed.by_hand(|txn| Ok(txn.value(&Key::Acl(file, AclKind::Access))?));
        assert_eq!(kept, Some(changed));
    }

    #[test]
    fn a_session_may_set_attributes_of_open_files_outside_its_root() {
        let mut bed = Bed::new();
        let top = bed.dir(&root(), ROOT, "top");
        let file = bed.file(&root(), ROOT, "file");
        let session = bed.session_with(|params| params.root = top);
        for (opened, expected) in [(false, Err(FsError::NoEnt)), (true, Ok(()))] {
            let op = Op::SetAttr {
                caller: user(session, 0),
                inode: file,
                opened,
                set: mode(0o600),
            };
            assert_eq!(bed.run(op).map(drop), expected);
        }
    }

    #[test]
    fn a_read_raises_atime_when_relatime_lets_it() {
        // atime, mtime, ctime, now: atime afterwards.
        let examples = [
            (100, 100, 50, 200, 200),
            (100, 50, 100, 200, 200),
            (100, 50, 50, 200, 100),
            (100, 50, 50, 100 + 86_400, 100),
            (100, 50, 50, 101 + 86_400, 101 + 86_400),
            (100, 500, 500, 90, 100),
        ];
        for (atime, mtime, ctime, now, after) in examples {
            let mut bed = Bed::new();
            let file = bed.file(&root(), ROOT, "file");
            bed.change(file, |node, stamp| Inode {
                atime: node.atime.write(stamp, WallTime(atime)),
                mtime: node.mtime.write(stamp, WallTime(mtime)),
                ctime: node.ctime.write(stamp, WallTime(ctime)),
                ..Inode::default()
            });
            bed.now = now;
            bed.ok(Op::TouchAtime { inode: file });
            assert_eq!(
                bed.attr(file).atime,
                WallTime(after),
                "{atime} {mtime} {ctime}"
            );
        }
        let mut bed = Bed::new();
        bed.ok(Op::TouchAtime {
            inode: InodeId(999),
        });
    }

    #[test]
    fn times_that_clients_kept_are_taken_when_newer() {
        let mut bed = Bed::new();
        let read_only = bed.session_with(|params| params.flags.read_only = true);
        let session = bed.session_with(|_| {});
        let file = bed.file(&root(), ROOT, "file");
        let t = WallTime;
        let examples = [
            (session, t(0), t(0), (1_000, 1_000, 1_000)),
            (session, t(999), t(999), (1_000, 1_000, 1_000)),
            (read_only, t(5_000), t(5_000), (1_000, 1_000, 1_000)),
            (SessionId(99), t(5_000), t(5_000), (1_000, 1_000, 1_000)),
            (session, t(5_000), t(0), (5_000, 1_000, 1_000)),
            (session, t(0), t(2_000), (5_000, 2_000, 2_000)),
        ];
        for (session, atime, mtime, after) in examples {
            bed.ok(Op::SetTimes {
                session,
                times: vec![(InodeId(999), atime, mtime), (file, atime, mtime)],
            });
            let attr = bed.attr(file);
            assert_eq!((attr.atime.0, attr.mtime.0, attr.ctime.0), after);
        }
    }

    #[test]
    fn a_noowner_node_belongs_to_whoever_looks() {
        let mut bed = Bed::new();
        let mapping = bed.session_with(|params| {
            params.flags.map_all = true;
            params.map_all_uid = 70;
            params.map_all_gid = 80;
        });
        let node = bed.node(mkdir(&somebody(70), ROOT, "node"));
        let shown = |bed: &Bed, caller: &Caller| {
            let attr = bed.attr_for(caller, node);
            (attr.mode, attr.uid, attr.gid, attr.flags)
        };
        assert_eq!(shown(&bed, &root()), (0o755, 70, 70, 0x0C));
        assert_eq!(shown(&bed, &somebody(5)), (0o755, 70, 70, 0x0C));
        // The mapped user's are the caller's own, all others' are root's.
        assert_eq!(shown(&bed, &user(mapping, 5)), (0o755, 5, 0, 0x0D));
        bed.set_eattr(node, NO_OWNER);
        assert_eq!(shown(&bed, &root()), (0o755, 70, 70, 0x0D));
        assert_eq!(shown(&bed, &somebody(5)), (0o777, 5, 5, 0x0D));
        let inner = bed.dir(&root(), node, "inner");
        bed.set_eattr(node, super::super::permission::NO_ENTRY_CACHE);
        let flags = 0x08 | 0x04 | 0x02;
        bed.set_eattr(inner, 0);
        assert_eq!(bed.attr(inner).flags, flags);
        bed.set_eattr(inner, super::super::permission::NO_DATA_CACHE | 0x20);
        assert_eq!(bed.attr(inner).flags, 0x20 | 0x08 | 0x02);
    }
}
