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

/// Puts a range into a table without waiting requests; `false` when it is another's, or the table
/// is full.
#[must_use]
pub fn hold_range(table: &mut PosixTable, range: PosixRange) -> bool {
    let (asked, _) = posix::request(table, range, 0, false, crate::limits::LOCK_COUNT_MAX);
    asked == Asked::Granted
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
/// `BadSession`; `Perm` for a meta session. When a lock is asked for: `NoEnt`; `Perm` for what is
/// no file; `NotOpened`, `Again`, `NoSpace`. Giving back is always right.
pub fn flock(
    txn: &mut Txn<'_>,
    session: SessionId,
    ino: InodeId,
    owner: u64,
    reqid: u32,
    op: FlockOp,
) -> Res<Reply> {
    let (exclusive, wait) = match op {
        FlockOp::TryShared => (false, false),
        FlockOp::LockShared => (false, true),
        FlockOp::TryExclusive => (true, false),
        FlockOp::LockExclusive => (true, true),
        FlockOp::Unlock | FlockOp::Release | FlockOp::Interrupt => {
            let ino = named(txn, session, ino)?;
            return give_back(txn, ino, (session, owner), reqid, op);
        }
    };
    let ino = lockable(txn, session, ino)?;
    must_be_open(txn, session, ino)?;
    let mut table = flocks(txn, ino)?;
    let asked = FlockWaiter {
        session,
        owner,
        reqid,
        exclusive,
    };
    let (asked, woken) = flock::request(&mut table, asked, wait, txn.ceilings().locks);
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
    let asks = op != PosixOp::Interrupt && request.kind != PosixLockKind::Unlock;
    let ino = if asks {
        lockable(txn, session, ino)?
    } else {
        named(txn, session, ino)?
    };
    let mut table = ranges(txn, ino)?;
    let max = txn.ceilings().locks;
    if op == PosixOp::Interrupt {
        let woken = posix::interrupt(&mut table, (session, request.owner), request.reqid, max);
        keep_ranges(txn, ino, table, woken)?;
        return Ok(Reply::Done);
    }
    let range = range(session, &request)?;
    if request.kind == PosixLockKind::Unlock {
        let woken = posix::unlock(&mut table, &range, max).ok_or(FsError::NoSpace)?;
        keep_ranges(txn, ino, table, woken)?;
        return Ok(Reply::Done);
    }
    must_be_open(txn, session, ino)?;
    let wait = op == PosixOp::Set;
    let (asked, woken) = posix::request(&mut table, range, request.reqid, wait, max);
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
    let woken = posix::release_session(&mut table, session, txn.ceilings().locks);
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

/// The inode that a session means, whether or not there is such a file any more.
fn named(txn: &Txn<'_>, session: SessionId, ino: InodeId) -> Res<InodeId> {
    let who = Who::of_session(txn, session)?;
    who.not_meta()?;
    Ok(who.translate(ino))
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

#[cfg(test)]
mod tests {
    use super::super::op::{Op, OpenFlags, Query};
    use super::super::testing::{Bed, ROOT, open, root, user};
    use super::*;

    const OPEN: OpenFlags = OpenFlags {
        read: true,
        write: false,
        after_create: false,
        truncate: false,
    };

    /// A file that two sessions have open.
    fn bed() -> (Bed, InodeId, SessionId, SessionId) {
        let mut bed = Bed::new();
        let file = bed.file(&root(), ROOT, "f");
        let (one, two) = (bed.session_with(|_| {}), bed.session_with(|_| {}));
        bed.ok(open(&user(one, 0), file, OPEN));
        bed.ok(open(&user(two, 0), file, OPEN));
        (bed, file, one, two)
    }

    fn whole(session: SessionId, inode: InodeId, reqid: u32, op: FlockOp) -> Op {
        Op::Flock {
            session,
            inode,
            owner: 1,
            reqid,
            op,
        }
    }

    fn bytes(session: SessionId, inode: InodeId, kind: PosixLockKind, range: (u64, u64)) -> Op {
        Op::PosixLock {
            session,
            inode,
            owner: 1,
            pid: 50,
            reqid: 9,
            op: PosixOp::Set,
            kind,
            start: range.0,
            end: range.1,
        }
    }

    fn locks(bed: &Bed, inode: InodeId) -> Vec<HeldLock> {
        match bed.ask(Query::ListLocks { inode }) {
            Ok(Answer::Locks(locks)) => locks,
            other => panic!("locks were expected, not {other:?}"),
        }
    }

    #[test]
    fn a_waiting_session_is_told_when_it_holds_the_lock() {
        let (mut bed, file, one, two) = bed();
        assert_eq!(
            bed.ok(whole(one, file, 1, FlockOp::LockExclusive)),
            Reply::Done
        );
        assert_eq!(
            bed.ok(whole(two, file, 2, FlockOp::LockShared)),
            Reply::LockWaiting
        );
        bed.refused(vec![(
            FsError::Again,
            whole(two, file, 3, FlockOp::TryShared),
        )]);
        let outcome = bed.outcome(whole(one, file, 4, FlockOp::Unlock));
        assert_eq!(outcome.notices, [granted(file, two, 1, 2, false)]);
        let held = &locks(&bed, InodeId(0))[..];
        let [lock] = held else {
            panic!("one lock was expected, not {held:?}");
        };
        assert_eq!(
            (lock.session, lock.exclusive, lock.posix),
            (two, false, false)
        );
    }

    #[test]
    fn an_interrupted_request_ends() {
        let (mut bed, file, one, two) = bed();
        bed.ok(whole(one, file, 1, FlockOp::LockExclusive));
        bed.ok(whole(two, file, 2, FlockOp::LockExclusive));
        let outcome = bed.outcome(whole(two, file, 2, FlockOp::Interrupt));
        assert_eq!(outcome.notices, [ended(file, two, 1, 2, false)]);
        bed.ok(bytes(one, file, PosixLockKind::Write, (0, 5)));
        bed.ok(bytes(two, file, PosixLockKind::Read, (0, 5)));
        let interrupt = Op::PosixLock {
            session: two,
            inode: file,
            owner: 1,
            pid: 0,
            reqid: 9,
            op: PosixOp::Interrupt,
            kind: PosixLockKind::Unlock,
            start: 0,
            end: 0,
        };
        let outcome = bed.outcome(interrupt);
        assert_eq!(outcome.notices, [ended(file, two, 1, 9, true)]);
    }

    #[test]
    fn a_closed_file_and_an_ended_session_give_everything_back() {
        let (mut bed, file, one, two) = bed();
        bed.ok(whole(one, file, 1, FlockOp::LockExclusive));
        bed.ok(bytes(one, file, PosixLockKind::Write, (0, u64::MAX)));
        bed.ok(whole(two, file, 2, FlockOp::LockShared));
        bed.ok(bytes(two, file, PosixLockKind::Read, (3, 4)));
        let outcome = bed.outcome(Op::SetOpenFiles {
            session: one,
            inodes: Vec::new(),
        });
        assert_eq!(
            outcome.notices,
            [
                granted(file, two, 1, 2, false),
                granted(file, two, 1, 9, true)
            ]
        );
        bed.ok(open(&user(one, 0), file, OPEN));
        bed.ok(whole(one, file, 5, FlockOp::LockExclusive));
        let outcome = bed.outcome(Op::CloseSession { session: one });
        assert_eq!(outcome.notices, [ended(file, one, 1, 5, false)]);
        assert_eq!(locks(&bed, file).len(), 2);
        bed.ok(Op::CloseSession { session: two });
        assert_eq!(locks(&bed, InodeId(0)), []);
    }

    #[test]
    fn locks_are_refused_for_reasons_in_order() {
        let (mut bed, file, one, _) = bed();
        let dir = bed.dir(&root(), ROOT, "d");
        let third = bed.session_with(|_| {});
        let meta = bed.session_with(|params| params.root = InodeId(0));
        let read = |session, inode, range| bytes(session, inode, PosixLockKind::Read, range);
        bed.refused(vec![
            (
                FsError::BadSession,
                whole(SessionId(99), file, 1, FlockOp::Unlock),
            ),
            (FsError::Perm, whole(meta, file, 1, FlockOp::Unlock)),
            (
                FsError::NoEnt,
                whole(one, InodeId(9_999), 1, FlockOp::TryShared),
            ),
            (FsError::Perm, whole(one, dir, 1, FlockOp::TryShared)),
            (
                FsError::NotOpened,
                whole(third, file, 1, FlockOp::TryShared),
            ),
            (FsError::NoEnt, read(one, InodeId(9_999), (0, 1))),
            (FsError::Perm, read(one, dir, (0, 1))),
            (FsError::Invalid, read(third, file, (1, 1))),
            (FsError::NotOpened, read(third, file, (0, 1))),
        ]);
        for op in [FlockOp::Unlock, FlockOp::Release, FlockOp::Interrupt] {
            bed.ok(whole(third, file, 1, op));
            bed.ok(whole(third, InodeId(9_999), 1, op));
            bed.ok(whole(third, dir, 1, op));
        }
        bed.ok(bytes(third, file, PosixLockKind::Unlock, (0, u64::MAX)));
    }

    #[test]
    fn a_full_table_takes_no_more() {
        let (mut bed, file, one, two) = bed();
        let held = (0..crate::limits::LOCK_COUNT_MAX as u64)
            .map(|owner| (one, owner, false))
            .collect();
        let table = FlockTable {
            held,
            waiting: Vec::new(),
        };
        bed.by_hand(|txn| txn.set(&Key::Flocks(file), Some(table)).map_err(Into::into));
        bed.refused(vec![(
            FsError::NoSpace,
            whole(two, file, 1, FlockOp::TryShared),
        )]);
    }

    #[test]
    fn a_test_tells_the_lock_in_the_way() {
        let (mut bed, file, one, two) = bed();
        bed.ok(bytes(one, file, PosixLockKind::Write, (10, 20)));
        let test = |session, start, end| Query::TestPosixLock {
            session,
            inode: file,
            owner: 1,
            kind: PosixLockKind::Read,
            start,
            end,
        };
        assert_eq!(bed.ask(test(two, 0, 10)), Ok(Answer::PosixLock(None)));
        assert_eq!(bed.ask(test(one, 0, 20)), Ok(Answer::PosixLock(None)));
        let Ok(Answer::PosixLock(Some(found))) = bed.ask(test(two, 0, 11)) else {
            panic!("a lock was expected");
        };
        assert_eq!((found.pid, found.start, found.end), (50, 10, 20));
        assert_eq!(bed.ask(test(two, 5, 5)), Err(FsError::Invalid));
    }
}
