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

fn check_all(txn: &Txn<'_>, dirs: &[InodeId], more: &DirStats) -> Res<()> {
    for dir in dirs {
        let Some(quota) = txn.value::<QuotaRecord>(&Key::Quota(*dir))? else {
            continue;
        };
        let used = stats::of_dir(txn, *dir)?;
        if exceeds(&quota.hard, &used, more)
            || soft_is_hard(&quota, txn.now()) && exceeds(&quota.soft, &used, more)
        {
            return Err(FsError::Quota.into());
        }
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
        .any(|(limit, used, more)| {
            more > 0 && limit.is_some_and(|limit| i128::from(used) + i128::from(more) > limit)
        })
}

/// Whether any sum is above its limit.
#[must_use]
pub fn is_over(limits: &QuotaLimits, used: &DirStats) -> bool {
    fields(limits, used, used)
        .into_iter()
        .any(|(limit, used, _)| limit.is_some_and(|limit| i128::from(used) > limit))
}

type Field = (Option<i128>, i64, i64);

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
        let judged = judge(quota.clone(), &stats::of_dir(txn, dir)?, txn.now());
        if judged != quota {
            txn.set(&Key::Quota(dir), Some(judged))?;
        }
    }
    Ok(())
}

/// The quota with `over_soft_since` as it has to be for these sums.
fn judge(mut quota: QuotaRecord, used: &DirStats, now: WallTime) -> QuotaRecord {
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
    let used = stats::of_dir(txn, ino)?;
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

/// All limits and the paths of their directories from the root of the tree, in order of inode.
///
/// # Errors
/// `BadSession`.
pub fn list_quotas(txn: &Txn<'_>, session: SessionId) -> Res<Answer> {
    Who::of_session(txn, session)?;
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
    found.sort_by_key(|(ino, _)| *ino);
    let mut out = Vec::new();
    for (ino, quota) in found {
        let paths = path::of_node(txn, InodeId::ROOT, ino)?;
        out.push((
            state(txn, ino, quota)?,
            paths.into_iter().next().unwrap_or_default(),
        ));
    }
    Ok(Answer::Quotas(out))
}

fn state(txn: &Txn<'_>, ino: InodeId, record: Option<QuotaRecord>) -> Res<QuotaState> {
    let used = stats::of_dir(txn, ino)?;
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
