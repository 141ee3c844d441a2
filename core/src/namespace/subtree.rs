//! Values that are set, and counted, for a node or a whole subtree: trash time, storage class,
//! extra attributes.
//!
//! A set touches every node that it may and counts the others; what is not the caller's is left.

use std::collections::BTreeMap;

use super::change;
use super::class;
use super::error::FsError;
use super::node;
use super::op::{Answer, Caller, DirStats, Disable, NodeKind, Reply, SetMode};
use super::permission::{APPEND_ONLY, IMMUTABLE, NO_ENTRY_CACHE, UNDELETABLE};
use super::quota;
use super::record::Inode;
use super::stats;
use super::txn::{Fail, Res, Txn};
use super::walk::Walk;
use super::who::Who;
use crate::crdt::Lww;
use crate::id::InodeId;
use crate::limits;
use crate::time::Stamp;

/// Seconds of the unit in which trash times are kept.
const HOUR: u32 = 3_600;

/// Extra attributes that protect a node; only an administrator's session changes them.
const PROTECTION: u8 = UNDELETABLE | APPEND_ONLY | IMMUTABLE;

/// Which nodes, and how.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// The node, and the top of the subtree.
    pub inode: InodeId,
    /// How the value is changed.
    pub mode: SetMode,
    /// Whether all below is meant too.
    pub recursive: bool,
}

/// What becomes of one node.
enum Verdict {
    /// The value means nothing to this kind of node.
    Passed,
    /// It has the value, or is not meant.
    Unchanged,
    /// The caller may not.
    Refused,
    /// A quota forbids it.
    OverQuota,
    /// It is changed.
    Changed,
}

/// SETTRASHTIME.
///
/// # Errors
/// After the session's: `NoEnt`; `Perm` for a time beyond the session's bounds, and for what is
/// neither file nor directory; `Invalid` for a subtree that is too large; `Perm` when the one node meant is not the caller's.
pub fn set_trash_time(
    txn: &mut Txn<'_>,
    caller: &Caller,
    scope: Scope,
    seconds: u32,
) -> Res<Reply> {
    let who = Who::enter(txn, caller, &[Disable::SetTrash], true)?;
    let (top, node) = who.node(txn, scope.inode, false)?;
    let allowed = who.params.trash_seconds_min..=who.params.trash_seconds_max;
    if scope.mode == SetMode::Set && !allowed.contains(&seconds) {
        return Err(FsError::Perm.into());
    }
    require_data(&node)?;
    let hours = u16::try_from(seconds.div_ceil(HOUR)).unwrap_or(u16::MAX);
    each(txn, top, scope, |txn, ino, file| {
        if !has_data(file) {
            return Ok(Verdict::Passed);
        }
        if !change::is_owner(&who, file) {
            return Ok(Verdict::Refused);
        }
        let old = file.trash_hours.value();
        let new = by_order(scope.mode, old, hours);
        if new == old {
            return Ok(Verdict::Unchanged);
        }
        set(txn, ino, |file, stamp| Inode {
            trash_hours: file.trash_hours.write(stamp, new),
            ..Inode::default()
        })
    })
}

/// SETSCLASS. With `only`, nodes of other classes count as unchanged.
///
/// # Errors
/// After the session's: `NoEnt`; `NoClass`; `Perm` for a class that needs an administrator, and
/// for a goal beyond the session's bounds; `Invalid` for a user's class by increase or decrease;
/// `Perm` for what is neither file nor directory;
/// `Invalid` for a subtree that is too large; `Perm` when the one node meant is not the caller's.
pub fn set_class(
    txn: &mut Txn<'_>,
    caller: &Caller,
    scope: Scope,
    class: u8,
    only: Option<u8>,
) -> Res<Reply> {
    let who = Who::enter(txn, caller, &[Disable::SetSclass], true)?;
    let (top, node) = who.node(txn, scope.inode, false)?;
    let wanted = class::get(txn, class)?;
    if wanted.admin_only && !who.params.flags.admin {
        return Err(FsError::Perm.into());
    }
    let plain = class::is_plain(class);
    if scope.mode == SetMode::Set {
        let allowed = who.params.goal_min..=who.params.goal_max;
        if plain && !allowed.contains(&class) {
            return Err(FsError::Perm.into());
        }
    } else if !plain {
        return Err(FsError::Invalid.into());
    }
    require_data(&node)?;
    each(txn, top, scope, |txn, ino, file| {
        if !has_data(file) {
            return Ok(Verdict::Passed);
        }
        if !change::is_owner(&who, file) {
            return Ok(Verdict::Refused);
        }
        let old = file.class.value();
        let ordered = scope.mode == SetMode::Set || class::is_plain(old);
        let meant = ordered && only.is_none_or(|only| only == old);
        if !meant || by_order(scope.mode, old, class) == old {
            return Ok(Verdict::Unchanged);
        }
        if !resize(txn, ino, file, stats::goal_of(&wanted))? {
            return Ok(Verdict::OverQuota);
        }
        set(txn, ino, |file, stamp| Inode {
            class: file.class.write(stamp, class),
            ..Inode::default()
        })
    })
}

/// SETEATTR. What is said of names counts for directories alone.
///
/// # Errors
/// After the session's: `NoEnt`; `Invalid` for a subtree that is too large; `Perm` when the one
/// node meant is not the caller's, or an administrator's session is needed.
pub fn set_eattr(txn: &mut Txn<'_>, caller: &Caller, scope: Scope, bits: u8) -> Res<Reply> {
    let who = Who::enter(txn, caller, &[Disable::SetEattr], true)?;
    let (top, _) = who.node(txn, scope.inode, false)?;
    each(txn, top, scope, |txn, ino, node| {
        let old = node.eattr.value();
        let mut new = match scope.mode {
            SetMode::Set => bits,
            SetMode::Increase => old | bits,
            SetMode::Decrease => old & !bits,
        };
        if node.kind() != NodeKind::Directory {
            new &= !NO_ENTRY_CACHE;
        }
        let protection_needs_admin = (old ^ new) & PROTECTION != 0 && !who.params.flags.admin;
        if !change::is_owner(&who, node) || protection_needs_admin {
            return Ok(Verdict::Refused);
        }
        if new == old {
            return Ok(Verdict::Unchanged);
        }
        set(txn, ino, |node, stamp| Inode {
            eattr: node.eattr.write(stamp, new),
            ..Inode::default()
        })
    })
}

/// GETTRASHTIME, seconds.
///
/// # Errors
/// After the session's: `NoEnt`; `Perm` for what is neither file nor directory; `Invalid` for a
/// subtree that is too large.
pub fn trash_times(txn: &Txn<'_>, caller: &Caller, inode: InodeId, recursive: bool) -> Res<Answer> {
    count(txn, caller, inode, recursive, require_data, |node| {
        has_data(node).then(|| u32::from(node.trash_hours.value()) * HOUR)
    })
}

/// GETSCLASS.
///
/// # Errors
/// After the session's: `NoEnt`; `Perm` for what is neither file nor directory; `Invalid` for a
/// subtree that is too large.
pub fn classes(txn: &Txn<'_>, caller: &Caller, inode: InodeId, recursive: bool) -> Res<Answer> {
    count(txn, caller, inode, recursive, require_data, |node| {
        has_data(node).then(|| u32::from(node.class.value()))
    })
}

/// GETEATTR: whole bit sets; everything that is no directory counts among the files.
///
/// # Errors
/// After the session's: `NoEnt`; `Invalid` for a subtree that is too large.
pub fn eattrs(txn: &Txn<'_>, caller: &Caller, inode: InodeId, recursive: bool) -> Res<Answer> {
    count(
        txn,
        caller,
        inode,
        recursive,
        |_| Ok(()),
        |node| Some(u32::from(node.eattr.value())),
    )
}

/// A request for a value means a node that can have it; below that node others are passed over.
fn require_data(top: &Inode) -> Result<(), FsError> {
    if has_data(top) {
        Ok(())
    } else {
        Err(FsError::Perm)
    }
}

fn has_data(node: &Inode) -> bool {
    matches!(node.kind(), NodeKind::File | NodeKind::Directory)
}

/// What becomes of a number that may be set, only raised, or only lowered.
fn by_order<T: Ord>(mode: SetMode, old: T, new: T) -> T {
    match mode {
        SetMode::Set => new,
        SetMode::Increase => old.max(new),
        SetMode::Decrease => old.min(new),
    }
}

/// Writes a value, and the time.
fn set(
    txn: &mut Txn<'_>,
    ino: InodeId,
    make_delta: impl FnOnce(&Inode, Stamp) -> Inode,
) -> Res<Verdict> {
    let now = txn.now();
    node::change(txn, ino, |node, stamp| Inode {
        ctime: Lww::write(&node.ctime, stamp, now),
        ..make_delta(node, stamp)
    })?;
    Ok(Verdict::Changed)
}

/// Counts a file with another number of copies wherever it has a name; `false`, and nothing
/// counted, when a quota forbids that.
fn resize(txn: &mut Txn<'_>, ino: InodeId, file: &Inode, goal: i128) -> Res<bool> {
    if file.kind() != NodeKind::File {
        return Ok(true);
    }
    let counted = stats::of_file(txn, ino, file)?;
    let more = DirStats {
        real_size: counted.size.saturating_mul(goal) - counted.real_size,
        ..DirStats::default()
    };
    match quota::check_parents(txn, file, &more) {
        Ok(()) => stats::add_to_parents(txn, file, &more).map(|()| true),
        Err(Fail::Fs(FsError::Quota)) => Ok(false),
        Err(other) => Err(other),
    }
}

/// Lets `judge` change the nodes of a scope, and counts what became of them.
fn each(
    txn: &mut Txn<'_>,
    top: InodeId,
    scope: Scope,
    mut judge: impl FnMut(&mut Txn<'_>, InodeId, &Inode) -> Res<Verdict>,
) -> Res<Reply> {
    let mut walk = Walk::new(top, scope.recursive);
    let (mut changed, mut unchanged, mut refused, mut over_quota) = (0, 0, 0, 0);
    while let Some((ino, node)) = walk.next(txn)? {
        match judge(txn, ino, &node)? {
            Verdict::Passed => {}
            Verdict::Unchanged => unchanged += 1,
            Verdict::Refused => refused += 1,
            Verdict::OverQuota => over_quota += 1,
            Verdict::Changed => changed += 1,
        }
    }
    if !scope.recursive && refused == 1 && changed == 0 {
        return Err(FsError::Perm.into());
    }
    Ok(Reply::Changed {
        changed,
        unchanged,
        refused,
        over_quota,
    })
}

/// Counts the values of the nodes of a subtree that have one.
fn count(
    txn: &Txn<'_>,
    caller: &Caller,
    inode: InodeId,
    recursive: bool,
    judge_top: impl Fn(&Inode) -> Result<(), FsError>,
    value: impl Fn(&Inode) -> Option<u32>,
) -> Res<Answer> {
    let who = Who::enter(txn, caller, &[], false)?;
    let (top, node) = who.node(txn, inode, false)?;
    judge_top(&node)?;
    let mut walk = Walk::new(top, recursive);
    let (mut files, mut dirs) = (BTreeMap::new(), BTreeMap::new());
    while let Some((_, node)) = walk.next(txn)? {
        if let Some(value) = value(&node) {
            let counts = match node.kind() {
                NodeKind::Directory => &mut dirs,
                _ => &mut files,
            };
            *counts.entry(value).or_insert(0) += 1;
        }
    }
    Ok(Answer::Counts {
        files: files.into_iter().collect(),
        dirs: dirs.into_iter().collect(),
    })
}

const _: () = assert!(
    limits::RECURSION_MAX < u32::MAX as usize,
    "counts of nodes fit their replies"
);

#[cfg(test)]
mod tests {
    use super::super::op::{Op, Query, QuotaLimits, StorageClass};
    use super::super::testing::{Bed, ROOT, hard_quota, root, somebody, symlink, unlink, user};
    use super::*;

    fn trash_op(caller: &Caller, inode: InodeId, seconds: u32, mode: SetMode) -> Op {
        Op::SetTrashTime {
            caller: caller.clone(),
            inode,
            seconds,
            mode,
            recursive: false,
        }
    }

    fn class_op(caller: &Caller, inode: InodeId, class: u8, mode: SetMode) -> Op {
        Op::SetSclass {
            caller: caller.clone(),
            inode,
            class,
            only: None,
            mode,
            recursive: false,
        }
    }

    fn eattr_op(caller: &Caller, inode: InodeId, eattr: u8, mode: SetMode) -> Op {
        Op::SetEattr {
            caller: caller.clone(),
            inode,
            eattr,
            mode,
            recursive: false,
        }
    }

    /// The same for all below.
    fn all_below(mut op: Op) -> Op {
        match &mut op {
            Op::SetTrashTime { recursive, .. }
            | Op::SetSclass { recursive, .. }
            | Op::SetEattr { recursive, .. } => *recursive = true,
            _ => unreachable!("only these go down"),
        }
        op
    }

    fn counts(changed: u32, unchanged: u32, refused: u32, over_quota: u32) -> Reply {
        Reply::Changed {
            changed,
            unchanged,
            refused,
            over_quota,
        }
    }

    /// d (5's) / f (5's, one chunk), g (root's), l (a symlink).
    fn bed() -> (Bed, InodeId, InodeId) {
        let mut bed = Bed::new();
        let dir = bed.dir(&somebody(5), ROOT, "d");
        let file = bed.file(&somebody(5), dir, "f");
        bed.file(&root(), dir, "g");
        bed.node(symlink(&root(), dir, "l", b"f"));
        bed.add_chunk(file, 0, 10);
        (bed, dir, file)
    }

    #[test]
    fn trash_times_are_whole_hours_and_change_what_is_the_callers() {
        let (mut bed, dir, file) = bed();
        let five = somebody(5);
        bed.now += 5;
        let set = trash_op(&five, dir, 3_601, SetMode::Set);
        assert_eq!(bed.ok(all_below(set.clone())), counts(2, 0, 1, 0));
        assert_eq!(bed.ok(all_below(set)), counts(0, 2, 1, 0));
        assert_eq!(bed.attr(file).ctime.0, 1_005);
        let up = trash_op(&five, file, 3_600, SetMode::Increase);
        assert_eq!(bed.ok(up), counts(0, 1, 0, 0));
        let down = trash_op(&five, file, 3_600, SetMode::Decrease);
        assert_eq!(bed.ok(down), counts(1, 0, 0, 0));
        let query = Query::GetTrashTime {
            caller: five,
            inode: dir,
            recursive: true,
        };
        let expected = Answer::Counts {
            files: vec![(3_600, 1), (24 * 3_600, 1)],
            dirs: vec![(7_200, 1)],
        };
        assert_eq!(bed.ask(query), Ok(expected));
        let most = trash_op(&root(), file, u32::MAX, SetMode::Set);
        assert_eq!(bed.ok(most), counts(1, 0, 0, 0));
    }

    #[test]
    fn what_is_neither_file_nor_directory_has_no_trash_time_and_no_class() {
        let mut bed = Bed::new();
        let link = bed.node(symlink(&root(), ROOT, "l", b"target"));
        for recursive in [false, true] {
            let with = |op: Op| if recursive { all_below(op) } else { op };
            bed.refused(vec![
                (
                    FsError::Perm,
                    with(trash_op(&root(), link, 3_600, SetMode::Set)),
                ),
                (
                    FsError::Perm,
                    with(class_op(&root(), link, 3, SetMode::Set)),
                ),
            ]);
            let (caller, inode) = (root(), link);
            let times = Query::GetTrashTime {
                caller: caller.clone(),
                inode,
                recursive,
            };
            assert_eq!(bed.ask(times), Err(FsError::Perm));
            let classes = Query::GetSclass {
                caller: caller.clone(),
                inode,
                recursive,
            };
            assert_eq!(bed.ask(classes), Err(FsError::Perm));
            let attributes = Query::GetEattr {
                caller,
                inode,
                recursive,
            };
            assert!(bed.ask(attributes).is_ok(), "extra attributes it has");
        }
    }

    #[test]
    fn trash_times_reach_the_trash() {
        let (mut bed, dir, file) = bed();
        bed.ok(unlink(&root(), dir, "f"));
        let set = trash_op(&somebody(5), file, 3_600, SetMode::Set);
        assert_eq!(bed.ok(set), counts(1, 0, 0, 0));
    }

    #[test]
    fn a_class_counts_its_copies() {
        let (mut bed, dir, _) = bed();
        let size = bed.sums(dir).size;
        let set = |class, mode| all_below(class_op(&root(), dir, class, mode));
        assert_eq!(bed.ok(set(3, SetMode::Set)), counts(3, 0, 0, 0));
        assert_eq!(bed.sums(dir).real_size, 3 * size);
        assert_eq!(bed.ok(set(2, SetMode::Increase)), counts(0, 3, 0, 0));
        assert_eq!(bed.ok(set(2, SetMode::Decrease)), counts(3, 0, 0, 0));
        assert_eq!(bed.sums(dir).real_size, 2 * size);
        let mut only = set(4, SetMode::Set);
        let Op::SetSclass { only: of, .. } = &mut only else {
            unreachable!("it was made so");
        };
        *of = Some(7);
        assert_eq!(bed.ok(only), counts(0, 3, 0, 0));
        let query = Query::GetSclass {
            caller: root(),
            inode: dir,
            recursive: true,
        };
        let expected = Answer::Counts {
            files: vec![(2, 2)],
            dirs: vec![(2, 1)],
        };
        assert_eq!(bed.ask(query), Ok(expected));
    }

    #[test]
    fn a_file_that_a_quota_has_no_room_for_keeps_its_class() {
        let (mut bed, dir, _) = bed();
        bed.ok(hard_quota(
            dir,
            QuotaLimits {
                real_size: Some(200_000),
                ..QuotaLimits::default()
            },
        ));
        let set = all_below(class_op(&root(), dir, 9, SetMode::Set));
        assert_eq!(bed.ok(set), counts(2, 0, 0, 1));
    }

    #[test]
    fn classes_and_times_are_refused_for_reasons_in_order() {
        let (mut bed, dir, file) = bed();
        bed.ok(Op::CreateClass {
            session: crate::id::SessionId(0),
            class: StorageClass {
                name: b"mine".to_vec(),
                admin_only: true,
                ..super::super::genesis::plain_goal(2)
            },
        });
        let narrow = bed.session_with(|params| {
            params.flags.admin = false;
            (params.goal_min, params.goal_max) = (2, 3);
            (params.trash_seconds_min, params.trash_seconds_max) = (10, 20);
        });
        let narrow = user(narrow, 0);
        let bits = [Disable::SetTrash, Disable::SetSclass, Disable::SetEattr];
        let disables = bits.iter().fold(0, |sum, bit| sum | 1 << *bit as u32);
        let disabled = bed.session_with(|params| params.disables = disables);
        let disabled = user(disabled, 0);
        let reader = bed.session_with(|params| params.flags.read_only = true);
        let reader = user(reader, 0);
        let nowhere = InodeId(9_999);
        let set = SetMode::Set;
        bed.refused(vec![
            (FsError::Perm, trash_op(&disabled, dir, 5, set)),
            (FsError::Perm, class_op(&disabled, dir, 5, set)),
            (FsError::Perm, eattr_op(&disabled, dir, 5, set)),
            (FsError::ReadOnly, trash_op(&reader, dir, 5, set)),
            (FsError::ReadOnly, class_op(&reader, dir, 5, set)),
            (FsError::ReadOnly, eattr_op(&reader, dir, 5, set)),
            (FsError::NoEnt, trash_op(&root(), nowhere, 5, set)),
            (FsError::NoEnt, class_op(&root(), nowhere, 5, set)),
            (FsError::NoEnt, eattr_op(&root(), nowhere, 5, set)),
            (FsError::Perm, trash_op(&narrow, dir, 9, set)),
            (FsError::Perm, trash_op(&narrow, dir, 21, set)),
            (FsError::Perm, trash_op(&somebody(6), file, 5, set)),
            (FsError::NoClass, class_op(&root(), dir, 77, set)),
            (FsError::NoClass, class_op(&root(), dir, 0, set)),
            (FsError::Perm, class_op(&narrow, dir, 10, set)),
            (FsError::Perm, class_op(&narrow, dir, 1, set)),
            (FsError::Perm, class_op(&narrow, dir, 4, set)),
            (
                FsError::Invalid,
                class_op(&root(), dir, 10, SetMode::Increase),
            ),
            (FsError::Perm, class_op(&somebody(6), file, 3, set)),
            (FsError::Perm, eattr_op(&somebody(6), file, 1, set)),
            (FsError::Perm, eattr_op(&narrow, file, IMMUTABLE, set)),
        ]);
        assert_eq!(
            bed.ok(trash_op(&narrow, dir, 9, SetMode::Decrease)),
            counts(1, 0, 0, 0)
        );
        assert_eq!(bed.ok(class_op(&root(), dir, 10, set)), counts(1, 0, 0, 0));
        let up = class_op(&root(), dir, 5, SetMode::Increase);
        assert_eq!(bed.ok(up), counts(0, 1, 0, 0));
    }

    #[test]
    fn extra_attributes_are_set_added_and_taken_that_of_names_at_directories_alone() {
        let (mut bed, dir, file) = bed();
        let on = |mode, bits| eattr_op(&root(), file, bits, mode);
        assert_eq!(bed.ok(on(SetMode::Set, 0x03)), counts(1, 0, 0, 0));
        assert_eq!(bed.ok(on(SetMode::Increase, 0x94)), counts(1, 0, 0, 0));
        assert_eq!(bed.ok(on(SetMode::Increase, 0x04)), counts(0, 1, 0, 0));
        assert_eq!(bed.ok(on(SetMode::Decrease, 0x01)), counts(1, 0, 0, 0));
        assert_eq!(bed.ok(on(SetMode::Decrease, 0x01)), counts(0, 1, 0, 0));
        assert_eq!(
            bed.ok(eattr_op(&root(), dir, 0x05, SetMode::Set)),
            counts(1, 0, 0, 0)
        );
        let query = Query::GetEattr {
            caller: root(),
            inode: dir,
            recursive: true,
        };
        let expected = Answer::Counts {
            files: vec![(0, 2), (0x92, 1)],
            dirs: vec![(0x05, 1)],
        };
        assert_eq!(bed.ask(query), Ok(expected));
        assert_eq!(bed.ok(on(SetMode::Decrease, 0x10)), counts(1, 0, 0, 0));
    }
}
