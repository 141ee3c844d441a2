//! Quotas of directories: limits of what a subtree may hold.

use std::ops::ControlFlow;

use super::error::FsError;
use super::key::Key;
use super::op::{Answer, Caller, DirStats, NodeKind, QuotaLimits, QuotaState, Reply};
use super::path;
use super::record::{Quota, QuotaRecord};
use super::stats;
use super::txn::{Res, Txn};
use super::who::Who;
use crate::id::{InodeId, SessionId};
use crate::time::WallTime;

/// Refuses what would grow a directory, or one above it, beyond its quota.
///
/// # Errors
/// `Quota`.
pub fn check(txn: &Txn<'_>, dir: InodeId, more: &DirStats) -> Res<()> {
    check_all(txn, &path::ancestors(txn, dir)?, more)
}

/// Refuses a move from below `from` to below `to` that would grow a directory beyond its quota;
/// what is above both does not grow.
///
/// # Errors
/// `Quota`.
pub fn check_move(txn: &Txn<'_>, from: InodeId, to: InodeId, more: &DirStats) -> Res<()> {
    let (from, to) = (path::ancestors(txn, from)?, path::ancestors(txn, to)?);
    check_all(txn, stats::apart(&from, &to).1, more)
}

/// Refuses growth of a file by `more` wherever it has a name.
///
/// # Errors
/// `Quota`.
pub fn check_parents(txn: &Txn<'_>, node: &super::record::Inode, more: &DirStats) -> Res<()> {
    for (_, (parent, _)) in node.parents.iter() {
        check(txn, *parent, more)?;
    }
    Ok(())
}

/// Refuses growth of each of `dirs` by `more` that is counted already: for what is only known when
/// it is done.
///
/// # Errors
/// `Quota`.
pub fn check_grown(txn: &Txn<'_>, dirs: &[InodeId], more: &DirStats) -> Res<()> {
    for dir in dirs {
        let used = stats::minus(&used(txn, *dir)?, more);
        check_one(txn, *dir, &used, more)?;
    }
    Ok(())
}

/// What a directory's limits are compared with, and what is told of it: all that is below it.
fn used(txn: &Txn<'_>, dir: InodeId) -> Res<DirStats> {
    Ok(below(&stats::of_dir(txn, dir)?))
}

/// The sums of a directory without the directory itself.
#[must_use]
pub fn below(sums: &DirStats) -> DirStats {
    stats::minus(sums, &stats::DIRECTORY)
}

fn check_all(txn: &Txn<'_>, dirs: &[InodeId], more: &DirStats) -> Res<()> {
    for dir in dirs {
        check_one(txn, *dir, &used(txn, *dir)?, more)?;
    }
    Ok(())
}

fn check_one(txn: &Txn<'_>, dir: InodeId, used: &DirStats, more: &DirStats) -> Res<()> {
    let Some(quota) = txn.value::<QuotaRecord>(&Key::Quota(dir))? else {
        return Ok(());
    };
    if exceeds(&quota.hard, used, more)
        || soft_is_hard(&quota, txn.now()) && exceeds(&quota.soft, used, more)
    {
        return Err(FsError::Quota.into());
    }
    Ok(())
}

/// Whether the grace time of a soft limit is over.
fn soft_is_hard(quota: &QuotaRecord, now: WallTime) -> bool {
    quota
        .over_soft_since
        .is_some_and(|since| u64::from(since.0) + u64::from(quota.grace_seconds) < u64::from(now.0))
}

/// Whether any sum that grows would pass its limit.
fn exceeds(limits: &QuotaLimits, used: &DirStats, more: &DirStats) -> bool {
    fields(limits, used, more)
        .into_iter()
        .any(|(limit, used, more)| more > 0 && limit.is_some_and(|limit| used + more > limit))
}

/// Whether any sum is above its limit.
#[must_use]
pub fn is_over(limits: &QuotaLimits, used: &DirStats) -> bool {
    fields(limits, used, used)
        .into_iter()
        .any(|(limit, used, _)| limit.is_some_and(|limit| used > limit))
}

type Field = (Option<i128>, i128, i128);

fn fields(limits: &QuotaLimits, used: &DirStats, more: &DirStats) -> [Field; 4] {
    [
        (limits.inodes.map(i128::from), used.inodes, more.inodes),
        (limits.length.map(i128::from), used.length, more.length),
        (limits.size.map(i128::from), used.size, more.size),
        (
            limits.real_size.map(i128::from),
            used.real_size,
            more.real_size,
        ),
    ]
}

/// Notes that a directory's sums changed, so that its soft limits are judged when the command
/// ends: in the middle of a move they may be passed for a moment.
///
/// # Errors
/// Only that the state cannot be read.
pub fn measured(txn: &mut Txn<'_>, dir: InodeId) -> Res<()> {
    if txn.has(&Key::Quota(dir))? {
        txn.measured(dir);
    }
    Ok(())
}

/// At the end of a command: since when soft limits are passed, wherever sums changed.
///
/// # Errors
/// Only that the state cannot be read.
pub fn settle(txn: &mut Txn<'_>) -> Res<()> {
    for dir in txn.take_measured() {
        let Some(quota) = txn.value::<QuotaRecord>(&Key::Quota(dir))? else {
            continue;
        };
        let judged = judge(quota.clone(), &used(txn, dir)?, txn.now());
        if judged != quota {
            txn.set(&Key::Quota(dir), Some(judged))?;
        }
    }
    Ok(())
}

/// The quota with `over_soft_since` as it has to be for these sums.
#[must_use]
pub fn judge(mut quota: QuotaRecord, used: &DirStats, now: WallTime) -> QuotaRecord {
    quota.over_soft_since = if is_over(&quota.soft, used) {
        quota.over_soft_since.or(Some(now))
    } else {
        None
    };
    quota
}

/// Sets a directory's limits, or removes them.
///
/// # Errors
/// `NoEnt`, `Perm` without an administrator's session, `Access` for anybody but root, `Perm` for
/// what is no directory.
pub fn set_quota(
    txn: &mut Txn<'_>,
    caller: &Caller,
    ino: InodeId,
    limits: Option<&(QuotaLimits, QuotaLimits, u32)>,
) -> Res<Reply> {
    let who = Who::enter(txn, caller, &[], true)?;
    let (ino, node) = who.node(txn, ino, false)?;
    if !who.params.flags.admin {
        return Err(FsError::Perm.into());
    }
    if !who.is_root() {
        return Err(FsError::Access.into());
    }
    if node.kind() != NodeKind::Directory {
        return Err(FsError::Perm.into());
    }
    let key = Key::Quota(ino);
    let old: Option<QuotaRecord> = txn.value(&key)?;
    let used = used(txn, ino)?;
    let record = limits.map(|(soft, hard, grace_seconds)| {
        let record = QuotaRecord {
            soft: *soft,
            hard: *hard,
            grace_seconds: *grace_seconds,
            over_soft_since: old.and_then(|old| old.over_soft_since),
        };
        judge(record, &used, txn.now())
    });
    txn.set(&key, record)?;
    Ok(Reply::Done)
}

/// A directory's limits, empty where none are set, and what it holds.
///
/// # Errors
/// `NoEnt`, `Perm` for what is no directory.
pub fn get_quota(txn: &Txn<'_>, caller: &Caller, ino: InodeId) -> Res<Answer> {
    let who = Who::enter(txn, caller, &[], false)?;
    let (ino, node) = who.node(txn, ino, false)?;
    if node.kind() != NodeKind::Directory {
        return Err(FsError::Perm.into());
    }
    let record: Option<QuotaRecord> = txn.value(&Key::Quota(ino))?;
    Ok(Answer::Quota(QuotaState {
        inode: who.shown(ino),
        ..state(txn, ino, record)?
    }))
}

/// The limits of all directories that the session can see, with their paths from its root, in order
/// of inode.
///
/// # Errors
/// `BadSession`.
pub fn list_quotas(txn: &Txn<'_>, session: SessionId) -> Res<Answer> {
    all_seen_by(txn, &Who::of_session(txn, session)?).map(Answer::Quotas)
}

/// The same as a list.
///
/// # Errors
/// Only that the state cannot be read.
pub fn all_seen_by(txn: &Txn<'_>, who: &Who) -> Res<Vec<(QuotaState, Vec<u8>)>> {
    let mut found = Vec::new();
    txn.slots_with(0, b'Q', b'Q', |slot| {
        let prefix = [slot.0.to_be_bytes().as_slice(), b"Q"].concat();
        txn.scan::<Quota>(&prefix, None, |key, quota| {
            if let Key::Quota(ino) = key {
                found.push((ino, quota.get().cloned().flatten()));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(ControlFlow::Continue(()))
    })?;
    let mut out = Vec::new();
    for (ino, quota) in found {
        // A directory has one path, or none that begins at the session's root.
        if let Some(path) = path::of_node(txn, who.params.root, ino)?.pop() {
            let state = state(txn, ino, quota)?;
            let inode = who.shown(ino);
            out.push((QuotaState { inode, ..state }, path));
        }
    }
    out.sort_by_key(|(state, _)| state.inode);
    Ok(out)
}

fn state(txn: &Txn<'_>, ino: InodeId, record: Option<QuotaRecord>) -> Res<QuotaState> {
    let used = used(txn, ino)?;
    Ok(record.map_or(
        QuotaState {
            inode: ino,
            soft: QuotaLimits::default(),
            hard: QuotaLimits::default(),
            grace_seconds: 0,
            over_soft_since: None,
            used,
        },
        |quota| QuotaState {
            inode: ino,
            soft: quota.soft,
            hard: quota.hard,
            grace_seconds: quota.grace_seconds,
            over_soft_since: quota.over_soft_since,
            used,
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::super::op::Op;
    use super::super::testing::{
        Bed, ROOT, create, link, mkdir, rename, root, somebody, unlink, user,
    };
    use super::*;

    type Limits = (QuotaLimits, QuotaLimits, u32);

    fn set(caller: &Caller, inode: InodeId, limits: Option<Limits>) -> Op {
        Op::SetQuota {
            caller: caller.clone(),
            inode,
            limits,
        }
    }

    fn inodes(count: u32) -> QuotaLimits {
        QuotaLimits {
            inodes: Some(count),
            ..QuotaLimits::default()
        }
    }

    fn get(bed: &Bed, inode: InodeId) -> QuotaState {
        let query = super::super::op::Query::GetQuota {
            caller: root(),
            inode,
        };
        match bed.ask(query) {
            Ok(Answer::Quota(state)) => state,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn limits_are_set_by_administrators_alone() {
        let mut bed = Bed::new();
        let dir = bed.dir(&root(), ROOT, "dir");
        let file = bed.file(&root(), ROOT, "file");
        let plain = bed.session_with(|params| params.flags.admin = false);
        let mapped = bed.session_with(|params| params.root_uid = 5);
        let admin = bed.session_with(|_| {});
        let read_only = bed.session_with(|params| params.flags.read_only = true);
        bed.refused(vec![
            (
                FsError::ReadOnly,
                set(&user(read_only, 0), InodeId(999), None),
            ),
            (FsError::NoEnt, set(&user(plain, 1), InodeId(999), None)),
            (FsError::Perm, set(&user(plain, 1), file, None)),
            (FsError::Access, set(&user(admin, 1), file, None)),
            (FsError::Access, set(&user(mapped, 0), file, None)),
            (FsError::Perm, set(&user(admin, 0), file, None)),
        ]);
        bed.ok(set(&user(admin, 0), dir, Some((inodes(9), inodes(10), 11))));
        let state = get(&bed, dir);
        assert_eq!((state.soft, state.hard), (inodes(9), inodes(10)));
        assert_eq!((state.grace_seconds, state.over_soft_since), (11, None));
        assert_eq!(state.used, DirStats::default());
        bed.ok(set(&user(admin, 0), dir, None));
        bed.ok(set(&user(admin, 0), dir, None));
        assert_eq!(get(&bed, dir).hard, QuotaLimits::default());
    }

    #[test]
    fn limits_are_read_by_everybody() {
        let mut bed = Bed::new();
        let file = bed.file(&root(), ROOT, "file");
        let top = bed.dir(&root(), ROOT, "top");
        let inner = bed.dir(&root(), top, "inner");
        let below = bed.session_with(|params| params.root = top);
        bed.ok(set(&root(), inner, Some((inodes(8), inodes(9), 1))));
        bed.ok(set(&root(), ROOT, Some((inodes(80), inodes(90), 1))));
        for (inode, expected) in [
            (file, Err(FsError::Perm)),
            (InodeId(999), Err(FsError::NoEnt)),
        ] {
            let query = super::super::op::Query::GetQuota {
                caller: somebody(5),
                inode,
            };
            assert_eq!(bed.ask(query), expected);
        }
        let query = super::super::op::Query::GetQuota {
            caller: user(below, 5),
            inode: ROOT,
        };
        let Ok(Answer::Quota(state)) = bed.ask(query) else {
            panic!("a quota is read by everybody");
        };
        assert_eq!((state.inode, state.used.dirs), (ROOT, 1));
        bed.ok(set(&root(), top, Some((inodes(70), inodes(75), 1))));
        let list = |session| bed.ask(super::super::op::Query::ListQuotas { session });
        assert_eq!(list(SessionId(99)), Err(FsError::BadSession));
        let listed = |session| match list(session) {
            Ok(Answer::Quotas(quotas)) => quotas
                .into_iter()
                .map(|(state, path)| (state.inode, String::from_utf8(path).unwrap()))
                .collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        let mut all = [(ROOT, "/"), (inner, "top/inner"), (top, "top")];
        all.sort();
        assert_eq!(
            listed(SessionId(0)),
            all.iter()
                .map(|(ino, path)| (*ino, (*path).to_owned()))
                .collect::<Vec<_>>()
        );
        let mut seen = [(ROOT, "/"), (inner, "inner")];
        seen.sort();
        assert_eq!(
            listed(below),
            seen.iter()
                .map(|(ino, path)| (*ino, (*path).to_owned()))
                .collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_hard_limit_stops_at_once_and_a_soft_one_after_its_grace() {
        let mut bed = Bed::new();
        let dir = bed.dir(&root(), ROOT, "dir");
        let inner = bed.dir(&root(), dir, "inner");
        let make = |name: &str| create(&root(), inner, name, NodeKind::File);
        bed.ok(set(&root(), dir, Some((inodes(2), inodes(5), 100))));
        bed.ok(make("3"));
        assert_eq!(get(&bed, dir).over_soft_since, None);
        bed.now = 2_000;
        bed.ok(make("4"));
        assert_eq!(get(&bed, dir).over_soft_since, Some(WallTime(2_000)));
        bed.now = 2_100;
        bed.ok(make("5"));
        bed.now = 2_101;
        bed.refused(vec![
            (FsError::Quota, make("6")),
            (FsError::Quota, mkdir(&root(), dir, "6")),
        ]);
        // Below the soft limit again, the grace begins anew.
        for name in ["5", "4"] {
            bed.ok(unlink(&root(), inner, name));
        }
        assert_eq!(get(&bed, dir).over_soft_since, None);
        bed.ok(make("4"));
        assert_eq!(get(&bed, dir).over_soft_since, Some(WallTime(2_101)));
        bed.ok(make("5"));
        bed.ok(make("6"));
        bed.refused(vec![(FsError::Quota, make("7"))]);
        // New limits keep the beginning while one is passed, and forget it when none is.
        bed.now = 2_150;
        bed.ok(set(&root(), dir, Some((inodes(4), inodes(9), 100))));
        assert_eq!(get(&bed, dir).over_soft_since, Some(WallTime(2_101)));
        bed.ok(set(&root(), dir, Some((inodes(5), inodes(9), 100))));
        assert_eq!(get(&bed, dir).over_soft_since, None);
        bed.ok(set(&root(), dir, Some((inodes(1), inodes(9), 100))));
        assert_eq!(get(&bed, dir).over_soft_since, Some(WallTime(2_150)));
    }

    #[test]
    fn a_rename_within_a_directory_does_not_restart_its_grace() {
        let mut bed = Bed::new();
        let dir = bed.dir(&root(), ROOT, "dir");
        bed.file(&root(), dir, "one");
        bed.file(&root(), dir, "two");
        bed.ok(set(
            &root(),
            dir,
            Some((inodes(0), QuotaLimits::default(), 0)),
        ));
        bed.now = 5_000;
        bed.ok(rename(&root(), (dir, "one"), (dir, "two")));
        assert_eq!(get(&bed, dir).over_soft_since, Some(WallTime(1_000)));
    }

    #[test]
    fn every_kind_of_sum_has_its_limit() {
        let mut bed = Bed::new();
        let file = bed.file(&root(), ROOT, "file");
        bed.add_chunk(file, 0, 100);
        // One block and a header; class 2 keeps two copies.
        let size = 65_536 + 8_192;
        for (name, limits, fits) in [
            ("length", (Some(99), None, None), false),
            ("length", (Some(100), None, None), true),
            ("size", (None, Some(size - 1), None), false),
            ("size", (None, Some(size), None), true),
            ("real", (None, None, Some(2 * size - 1)), false),
            ("real", (None, None, Some(2 * size)), true),
        ] {
            let dir = bed.dir(&root(), ROOT, &format!("{name}{fits}"));
            let hard = QuotaLimits {
                inodes: None,
                length: limits.0,
                size: limits.1,
                real_size: limits.2,
            };
            bed.ok(set(&root(), dir, Some((QuotaLimits::default(), hard, 0))));
            let result = bed.run(link(&root(), file, dir, "name")).map(drop);
            let expected = if fits { Ok(()) } else { Err(FsError::Quota) };
            assert_eq!(result, expected, "{name} {limits:?}");
            // What adds nothing to a sum may be made, however full it is.
            bed.ok(create(&root(), dir, "empty", NodeKind::File));
        }
    }

    #[test]
    fn a_file_may_grow_only_as_far_as_all_its_directories_let_it() {
        let mut bed = Bed::new();
        let (a, b) = (bed.dir(&root(), ROOT, "a"), bed.dir(&root(), ROOT, "b"));
        let file = bed.file(&root(), a, "file");
        bed.ok(link(&root(), file, b, "file"));
        let hard = QuotaLimits {
            length: Some(100),
            ..QuotaLimits::default()
        };
        bed.ok(set(&root(), b, Some((QuotaLimits::default(), hard, 0))));
        let grows = |bed: &mut Bed, length| {
            bed.by_hand(|txn| {
                let more = DirStats {
                    length,
                    ..DirStats::default()
                };
                let node = txn.inode(file)?;
                Ok(check_parents(txn, &node, &more))
            })
        };
        assert_eq!(grows(&mut bed, 100), Ok(()));
        assert_eq!(grows(&mut bed, 101), Err(FsError::Quota.into()));
    }
}
