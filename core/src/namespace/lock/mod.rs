//! Locks on open files: whole-file locks and byte ranges.
//!
//! The tables, in [`flock`] and [`posix`], decide; here they are read and written, and those who
//! waited are told. Waiting requests are part of the state, so that a new leader knows them.

mod flock;
mod posix;

use std::ops::ControlFlow;

use super::error::FsError;
use super::key::Key;
use super::op::{Answer, FlockOp, HeldLock, NodeKind, Notice, PosixLockKind, PosixOp, Reply};
use super::record::{FlockTable, FlockWaiter, Flocks, PosixLocks, PosixRange, PosixTable};
use super::txn::{Res, Txn};
use super::walk;
use super::who::Who;
use crate::id::{InodeId, SessionId};

/// What came of asking for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It is held.
    Granted,
    /// It waits.
    Waiting,
    /// It stays with others, and waiting was not asked for.
    Refused,
    /// The inode has as many locks and waiters as it may.
    Full,
}

impl Asked {
    fn reply(self) -> Result<Reply, FsError> {
        match self {
            Self::Granted => Ok(Reply::Done),
            Self::Waiting => Ok(Reply::LockWaiting),
            Self::Refused => Err(FsError::Again),
            Self::Full => Err(FsError::NoSpace),
        }
    }
}

/// A byte range as a request names it.
#[derive(Clone, Copy, Debug)]
pub struct RangeRequest {
    /// Lock owner within the session.
    pub owner: u64,
    /// Process.
    pub pid: u32,
    /// The client's name for the request.
    pub reqid: u32,
    /// Shared, exclusive, or away with it.
    pub kind: PosixLockKind,
    /// First byte.
    pub start: u64,
    /// Byte after the last.
    pub end: u64,
}

/// FLOCK.
///
/// # Errors
/// `BadSession`; `Perm` for a meta session; `NoEnt`; `Perm` for what is no file; `NotOpened`,
/// `Again`, `NoSpace` when a lock is asked for.
pub fn flock(
    txn: &mut Txn<'_>,
    session: SessionId,
    ino: InodeId,
    owner: u64,
    reqid: u32,
    op: FlockOp,
) -> Res<Reply> {
    let ino = lockable(txn, session, ino)?;
    let (exclusive, wait) = match op {
        FlockOp::TryShared => (false, false),
        FlockOp::LockShared => (false, true),
        FlockOp::TryExclusive => (true, false),
        FlockOp::LockExclusive => (true, true),
        FlockOp::Unlock | FlockOp::Release | FlockOp::Interrupt => {
            return give_back(txn, ino, (session, owner), reqid, op);
        }
    };
    must_be_open(txn, session, ino)?;
    let mut table = flocks(txn, ino)?;
    let asked = FlockWaiter {
        session,
        owner,
        reqid,
        exclusive,
    };
    let (asked, woken) = flock::request(&mut table, asked, wait);
    let reply = asked.reply()?;
    keep_flocks(txn, ino, table, woken)?;
    Ok(reply)
}

fn give_back(
    txn: &mut Txn<'_>,
    ino: InodeId,
    who: flock::Identity,
    reqid: u32,
    op: FlockOp,
) -> Res<Reply> {
    let mut table = flocks(txn, ino)?;
    let woken = match op {
        FlockOp::Interrupt => flock::interrupt(&mut table, who, reqid),
        FlockOp::Release => flock::release(&mut table, who),
        _ => flock::unlock(&mut table, who),
    };
    keep_flocks(txn, ino, table, woken)?;
    Ok(Reply::Done)
}

/// POSIX_LOCK set, try and interrupt.
///
/// # Errors
/// As [`flock`]; `Invalid` for an empty range.
pub fn posix(
    txn: &mut Txn<'_>,
    session: SessionId,
    ino: InodeId,
    request: RangeRequest,
    op: PosixOp,
) -> Res<Reply> {
    let ino = lockable(txn, session, ino)?;
    let mut table = ranges(txn, ino)?;
    if op == PosixOp::Interrupt {
        let woken = posix::interrupt(&mut table, (session, request.owner), request.reqid);
        keep_ranges(txn, ino, table, woken)?;
        return Ok(Reply::Done);
    }
    let range = range(session, &request)?;
    if request.kind == PosixLockKind::Unlock {
        let woken = posix::unlock(&mut table, &range).ok_or(FsError::NoSpace)?;
        keep_ranges(txn, ino, table, woken)?;
        return Ok(Reply::Done);
    }
    must_be_open(txn, session, ino)?;
    let wait = op == PosixOp::Set;
    let (asked, woken) = posix::request(&mut table, range, request.reqid, wait);
    let reply = asked.reply()?;
    keep_ranges(txn, ino, table, woken)?;
    Ok(reply)
}

/// POSIX_LOCK get: the lock in the way of this one, if any.
///
/// # Errors
/// As [`posix`], but for what only a taken lock meets.
pub fn test(txn: &Txn<'_>, session: SessionId, ino: InodeId, request: RangeRequest) -> Res<Answer> {
    let ino = lockable(txn, session, ino)?;
    let range = range(session, &request)?;
    let table = ranges(txn, ino)?;
    let found = posix::in_the_way(&table, &range);
    Ok(Answer::PosixLock(found.map(|found| held_range(ino, found))))
}

/// Everything held on an inode, or on all of them when `ino` is 0, in order.
///
/// # Errors
/// Only that the state cannot be read.
pub fn list(txn: &Txn<'_>, ino: InodeId) -> Res<Answer> {
    let mut locks = Vec::new();
    if ino == InodeId(0) {
        walk::every::<Flocks>(txn, Key::Flocks, |ino, table| {
            locks.extend(
                table
                    .get()
                    .iter()
                    .flat_map(|t| held_flocks(ino, t.as_ref())),
            );
            Ok(ControlFlow::Continue(()))
        })?;
        walk::every::<PosixLocks>(txn, Key::PosixLocks, |ino, table| {
            locks.extend(
                table
                    .get()
                    .iter()
                    .flat_map(|t| held_ranges(ino, t.as_ref())),
            );
            Ok(ControlFlow::Continue(()))
        })?;
    } else {
        locks.extend(held_flocks(ino, Some(&flocks(txn, ino)?)));
        locks.extend(held_ranges(ino, Some(&ranges(txn, ino)?)));
    }
    locks.sort_unstable();
    Ok(Answer::Locks(locks))
}

/// Gives back what a session holds on an inode, ends its waiting requests, and grants what that
/// lets through. To be called where a file is closed and where a session ends.
///
/// # Errors
/// Only that the state cannot be read.
pub fn release_session(txn: &mut Txn<'_>, ino: InodeId, session: SessionId) -> Res<()> {
    let mut table = flocks(txn, ino)?;
    let before = table.clone();
    let woken = flock::release_session(&mut table, session);
    if table != before {
        keep_flocks(txn, ino, table, woken)?;
    }
    let mut table = ranges(txn, ino)?;
    let before = table.clone();
    let woken = posix::release_session(&mut table, session);
    if table != before {
        keep_ranges(txn, ino, table, woken)?;
    }
    Ok(())
}

/// The file to lock. It is open, so that it need not be visible below the session's root.
fn lockable(txn: &Txn<'_>, session: SessionId, ino: InodeId) -> Res<InodeId> {
    let who = Who::of_session(txn, session)?;
    who.not_meta()?;
    let (ino, node) = who.node(txn, ino, true)?;
    if node.kind() != NodeKind::File {
        return Err(FsError::Perm.into());
    }
    Ok(ino)
}

fn must_be_open(txn: &Txn<'_>, session: SessionId, ino: InodeId) -> Res<()> {
    if txn.has(&Key::Opened(ino, session))? {
        return Ok(());
    }
    Err(FsError::NotOpened.into())
}

fn range(session: SessionId, request: &RangeRequest) -> Res<PosixRange> {
    if request.start >= request.end {
        return Err(FsError::Invalid.into());
    }
    Ok(PosixRange {
        start: request.start,
        end: request.end,
        session,
        owner: request.owner,
        pid: request.pid,
        kind: request.kind,
    })
}

fn flocks(txn: &Txn<'_>, ino: InodeId) -> Res<FlockTable> {
    Ok(txn.value(&Key::Flocks(ino))?.unwrap_or_default())
}

fn ranges(txn: &Txn<'_>, ino: InodeId) -> Res<PosixTable> {
    Ok(txn.value(&Key::PosixLocks(ino))?.unwrap_or_default())
}

fn keep_flocks(txn: &mut Txn<'_>, ino: InodeId, table: FlockTable, woken: flock::Woken) -> Res<()> {
    let table = (!flock::is_empty(&table)).then_some(table);
    txn.set(&Key::Flocks(ino), table)?;
    for waiter in woken.ended {
        txn.notify(ended(
            ino,
            waiter.session,
            waiter.owner,
            waiter.reqid,
            false,
        ));
    }
    for waiter in woken.granted {
        txn.notify(granted(
            ino,
            waiter.session,
            waiter.owner,
            waiter.reqid,
            false,
        ));
    }
    Ok(())
}

fn keep_ranges(txn: &mut Txn<'_>, ino: InodeId, table: PosixTable, woken: posix::Woken) -> Res<()> {
    let table = (!posix::is_empty(&table)).then_some(table);
    txn.set(&Key::PosixLocks(ino), table)?;
    for (range, reqid) in woken.ended {
        txn.notify(ended(ino, range.session, range.owner, reqid, true));
    }
    for (range, reqid) in woken.granted {
        txn.notify(granted(ino, range.session, range.owner, reqid, true));
    }
    Ok(())
}

fn granted(inode: InodeId, session: SessionId, owner: u64, reqid: u32, posix: bool) -> Notice {
    Notice::LockGranted {
        session,
        inode,
        owner,
        reqid,
        posix,
    }
}

fn ended(inode: InodeId, session: SessionId, owner: u64, reqid: u32, posix: bool) -> Notice {
    Notice::LockEnded {
        session,
        inode,
        owner,
        reqid,
        posix,
    }
}

fn held_flocks(inode: InodeId, table: Option<&FlockTable>) -> Vec<HeldLock> {
    let held = table.map_or(&[][..], |table| &table.held);
    held.iter()
        .map(|(session, owner, exclusive)| HeldLock {
            inode,
            session: *session,
            owner: *owner,
            pid: 0,
            start: 0,
            end: 0,
            exclusive: *exclusive,
            posix: false,
        })
        .collect()
}

fn held_ranges(inode: InodeId, table: Option<&PosixTable>) -> Vec<HeldLock> {
    let held = table.map_or(&[][..], |table| &table.held);
    held.iter().map(|range| held_range(inode, range)).collect()
}

fn held_range(inode: InodeId, range: &PosixRange) -> HeldLock {
    HeldLock {
        inode,
        session: range.session,
        owner: range.owner,
        pid: range.pid,
        start: range.start,
        end: range.end,
        exclusive: range.kind == PosixLockKind::Write,
        posix: true,
    }
}
