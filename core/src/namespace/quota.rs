//! Quotas of directories: limits of what a subtree may hold.

use super::error::FsError;
use super::key::Key;
use super::op::{DirStats, QuotaLimits};
use super::path;
use super::record::QuotaRecord;
use super::stats;
use super::txn::{Res, Txn};
use crate::id::InodeId;
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

/// Refuses growth by `more` that is counted already: for what is only known when it is done.
///
/// # Errors
/// `Quota`.
pub fn check_grown(txn: &Txn<'_>, dir: InodeId, more: &DirStats) -> Res<()> {
    for dir in path::ancestors(txn, dir)? {
        let used = stats::minus(&stats::of_dir(txn, dir)?, more);
        check_one(txn, dir, &used, more)?;
    }
    Ok(())
}

fn check_all(txn: &Txn<'_>, dirs: &[InodeId], more: &DirStats) -> Res<()> {
    for dir in dirs {
        check_one(txn, *dir, &stats::of_dir(txn, *dir)?, more)?;
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
        .any(|(limit, used, more)| {
            more > 0 && limit.is_some_and(|limit| i128::from(used) + i128::from(more) > limit)
        })
}

/// Whether any sum is above its limit.
fn is_over(limits: &QuotaLimits, used: &DirStats) -> bool {
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
