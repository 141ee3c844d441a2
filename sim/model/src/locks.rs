//! Whole-file and byte-range locks (section 3.10).
//!
//! The identity of a holder is (session, owner): its locks never stand in each other's way. A
//! request has to wait when it conflicts with what another one holds, or with what another one
//! has been waiting for longer: so new readers queue behind a waiting writer.

use mfsha_core::id::{InodeId, SessionId};
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{FlockOp, HeldLock, Notice, Op, PosixLockKind, PosixOp, Reply};

use crate::apply::Step;
use crate::state::{FlockWaiter, Locks, Model, Range};

impl Model {
    pub(crate) fn run_lock(&mut self, step: &mut Step, op: &Op) -> Result<Reply, FsError> {
        match op {
            Op::Flock {
                session,
                inode,
                owner,
                reqid,
                op,
            } => {
                let inode = self.tree_session(*session)?.inward(*inode);
                let request = FlockWaiter {
                    session: *session,
                    owner: *owner,
                    reqid: *reqid,
                    exclusive: matches!(op, FlockOp::TryExclusive | FlockOp::LockExclusive),
                };
                let result = self.flock(step, inode, request, *op);
                self.grant_flocks(step, inode);
                result
            }
            Op::PosixLock {
                session,
                inode,
                owner,
                pid,
                reqid,
                op,
                kind,
                start,
                end,
            } => {
                let inode = self.tree_session(*session)?.inward(*inode);
                let range = Range {
                    session: *session,
                    owner: *owner,
                    pid: *pid,
                    start: *start,
                    end: *end,
                    exclusive: *kind == PosixLockKind::Write,
                };
                let result = self.posix_lock(step, inode, (*reqid, range), *op, *kind);
                self.grant_ranges(step, inode);
                result
            }
            _ => unreachable!("dispatched by apply"),
        }
    }

    fn flock(
        &mut self,
        step: &mut Step,
        inode: InodeId,
        request: FlockWaiter,
        op: FlockOp,
    ) -> Result<Reply, FsError> {
        let key = (request.session, request.owner);
        let waits = match op {
            FlockOp::Unlock => {
                self.locks_of(inode).flock_held.remove(&key);
                return Ok(Reply::Done);
            }
            FlockOp::Release => {
                self.locks_of(inode).flock_held.remove(&key);
                self.end_flock_waits(step, inode, |w| (w.session, w.owner) == key);
                return Ok(Reply::Done);
            }
            FlockOp::Interrupt => {
                self.end_flock_waits(step, inode, |w| is_same_request(w, &request));
                return Ok(Reply::Done);
            }
            FlockOp::TryShared | FlockOp::TryExclusive => false,
            FlockOp::LockShared | FlockOp::LockExclusive => true,
        };
        self.check_lockable(request.session, inode)?;
        self.check_open_for_lock(request.session, inode)?;
        let max = self.ceilings.locks;
        let locks = self.locks_of(inode);
        let full = locks.flock_held.len() + locks.flock_waiting.len() >= max
            && !locks.flock_held.contains_key(&key);
        let waiting = |w: &FlockWaiter| is_same_request(w, &request);
        if locks.flock_waiting.iter().any(waiting) {
            return Ok(Reply::LockWaiting);
        }
        let queue = locks.flock_waiting.len();
        if locks.flock_held.get(&key) == Some(&request.exclusive) {
            return Ok(Reply::Done);
        }
        let weakens = locks.flock_held.get(&key) == Some(&true);
        if weakens || !flock_blocked(locks, &request, queue) {
            if full {
                return Err(FsError::NoSpace);
            }
            locks.flock_held.insert(key, request.exclusive);
            return Ok(Reply::Done);
        }
        if !waits {
            return Err(FsError::Again);
        }
        if full {
            return Err(FsError::NoSpace);
        }
        // As Linux does: a conversion gives the old lock up before it waits for the new one.
        locks.flock_held.remove(&key);
        locks.flock_waiting.push(request);
        Ok(Reply::LockWaiting)
    }

    fn posix_lock(
        &mut self,
        step: &mut Step,
        inode: InodeId,
        request: (u32, Range),
        op: PosixOp,
        kind: PosixLockKind,
    ) -> Result<Reply, FsError> {
        let (reqid, range) = request;
        if op == PosixOp::Interrupt {
            self.end_range_waits(step, inode, |w| is_same_range_request(w, &request));
            return Ok(Reply::Done);
        }
        if kind == PosixLockKind::Unlock {
            check_range(&range)?;
            let tears = self.locks_of(inode).ranges_held.iter().any(|held| {
                let own = (held.session, held.owner) == (range.session, range.owner);
                own && held.start < range.start && range.end < held.end
            });
            if tears && self.range_room(inode) == 0 {
                return Err(FsError::NoSpace);
            }
            cut_out(&mut self.locks_of(inode).ranges_held, &range);
            return Ok(Reply::Done);
        }
        self.check_lockable(range.session, inode)?;
        check_range(&range)?;
        self.check_open_for_lock(range.session, inode)?;
        let room = self.range_room(inode);
        let locks = self.locks_of(inode);
        let waits = op == PosixOp::Set;
        let waiting = |w: &(u32, Range)| is_same_range_request(w, &request);
        if locks.ranges_waiting.iter().any(waiting) {
            return Ok(Reply::LockWaiting);
        }
        let queue = locks.ranges_waiting.len();
        if !range_blocked(locks, &range, queue) {
            // In the middle of another one it makes three of one.
            if room < 2 {
                return Err(FsError::NoSpace);
            }
            put_in(&mut locks.ranges_held, range);
            return Ok(Reply::Done);
        }
        if !waits {
            return Err(FsError::Again);
        }
        if room == 0 {
            return Err(FsError::NoSpace);
        }
        locks.ranges_waiting.push((reqid, range));
        Ok(Reply::LockWaiting)
    }

    /// Only files have locks. The file is open, so that it need not be below the session's root.
    pub(crate) fn check_lockable(&self, session: SessionId, inode: InodeId) -> Result<(), FsError> {
        let who = self.tree_session(session)?;
        self.see_file(&who, inode, true)?;
        Ok(())
    }

    fn check_open_for_lock(&self, session: SessionId, inode: InodeId) -> Result<(), FsError> {
        if !self.open_files.contains(&(session, inode)) {
            return Err(FsError::NotOpened);
        }
        Ok(())
    }

    /// A session closed these files: its waiting requests end, its locks are given back, and then
    /// others get theirs.
    pub(crate) fn release_locks(
        &mut self,
        step: &mut Step,
        session: SessionId,
        inodes: &[InodeId],
    ) {
        for inode in inodes {
            self.end_flock_waits(step, *inode, |w| w.session == session);
            let held = &mut self.locks_of(*inode).flock_held;
            held.retain(|(of, _), _| *of != session);
            self.grant_flocks(step, *inode);
            self.end_range_waits(step, *inode, |(_, w)| w.session == session);
            let held = &mut self.locks_of(*inode).ranges_held;
            held.retain(|range| range.session != session);
            self.grant_ranges(step, *inode);
        }
    }

    /// Walks the queue and grants what nothing stands in the way of any more; again from the front
    /// after each grant, until there is no more to grant.
    fn grant_flocks(&mut self, step: &mut Step, inode: InodeId) {
        let locks = self.locks_of(inode);
        while let Some(place) = (0..locks.flock_waiting.len())
            .find(|place| !flock_blocked(locks, &locks.flock_waiting[*place], *place))
        {
            let w = locks.flock_waiting.remove(place);
            locks.flock_held.insert((w.session, w.owner), w.exclusive);
            step.lock_notices.push(Notice::LockGranted {
                session: w.session,
                inode,
                owner: w.owner,
                reqid: w.reqid,
                posix: false,
            });
        }
        self.forget_empty(inode);
    }

    /// Ranges and waiters that a file may still have.
    fn range_room(&mut self, inode: InodeId) -> usize {
        let max = self.ceilings.locks;
        let locks = self.locks_of(inode);
        max.saturating_sub(locks.ranges_held.len() + locks.ranges_waiting.len())
    }

    /// As [`Self::grant_flocks`]; a grant may make three ranges of one, so that nothing is granted
    /// while there is no room at all.
    fn grant_ranges(&mut self, step: &mut Step, inode: InodeId) {
        while self.range_room(inode) > 0 {
            let locks = self.locks_of(inode);
            let Some(place) = (0..locks.ranges_waiting.len())
                .find(|place| !range_blocked(locks, &locks.ranges_waiting[*place].1, *place))
            else {
                break;
            };
            let (reqid, range) = locks.ranges_waiting.remove(place);
            put_in(&mut locks.ranges_held, range);
            step.lock_notices.push(Notice::LockGranted {
                session: range.session,
                inode,
                owner: range.owner,
                reqid,
                posix: true,
            });
        }
        self.forget_empty(inode);
    }

    fn forget_empty(&mut self, inode: InodeId) {
        if self.locks_of(inode) == &Locks::default() {
            self.locks.remove(&inode);
        }
    }

    fn end_flock_waits(
        &mut self,
        step: &mut Step,
        inode: InodeId,
        ends: impl Fn(&FlockWaiter) -> bool,
    ) {
        let waiting = &mut self.locks_of(inode).flock_waiting;
        for w in waiting.iter().filter(|w| ends(w)) {
            step.lock_notices.push(Notice::LockEnded {
                session: w.session,
                inode,
                owner: w.owner,
                reqid: w.reqid,
                posix: false,
            });
        }
        waiting.retain(|w| !ends(w));
    }

    fn end_range_waits(
        &mut self,
        step: &mut Step,
        inode: InodeId,
        ends: impl Fn(&(u32, Range)) -> bool,
    ) {
        let waiting = &mut self.locks_of(inode).ranges_waiting;
        for (reqid, w) in waiting.iter().filter(|w| ends(w)) {
            step.lock_notices.push(Notice::LockEnded {
                session: w.session,
                inode,
                owner: w.owner,
                reqid: *reqid,
                posix: true,
            });
        }
        waiting.retain(|w| !ends(w));
    }

    fn locks_of(&mut self, inode: InodeId) -> &mut Locks {
        self.locks.entry(inode).or_default()
    }

    /// The first range, in order of start, end, session and owner, that stands in the way.
    pub(crate) fn range_in_the_way(&self, inode: InodeId, range: &Range) -> Option<HeldLock> {
        let locks = self.locks.get(&inode)?;
        let held = locks.ranges_held.iter().find(|held| conflicts(held, range));
        held.map(|held| told(inode, held))
    }

    /// What is held on an inode.
    pub(crate) fn held_locks(&self, inode: InodeId) -> Vec<HeldLock> {
        let Some(locks) = self.locks.get(&inode) else {
            return Vec::new();
        };
        let flocks = locks.flock_held.iter().map(|(key, exclusive)| HeldLock {
            inode,
            session: key.0,
            owner: key.1,
            pid: 0,
            start: 0,
            end: 0,
            exclusive: *exclusive,
            posix: false,
        });
        let ranges = locks.ranges_held.iter().map(|range| told(inode, range));
        let mut all: Vec<HeldLock> = flocks.chain(ranges).collect();
        all.sort();
        all
    }
}

/// A range as it is told.
pub(crate) fn told(inode: InodeId, range: &Range) -> HeldLock {
    HeldLock {
        inode,
        session: range.session,
        owner: range.owner,
        pid: range.pid,
        start: range.start,
        end: range.end,
        exclusive: range.exclusive,
        posix: true,
    }
}

/// A range is not empty.
pub(crate) fn check_range(range: &Range) -> Result<(), FsError> {
    if range.start >= range.end {
        return Err(FsError::Invalid);
    }
    Ok(())
}

fn is_same_request(a: &FlockWaiter, b: &FlockWaiter) -> bool {
    (a.session, a.owner, a.reqid) == (b.session, b.owner, b.reqid)
}

fn is_same_range_request(a: &(u32, Range), b: &(u32, Range)) -> bool {
    (a.0, a.1.session, a.1.owner) == (b.0, b.1.session, b.1.owner)
}

/// Whether a request at a place in the queue has to wait.
fn flock_blocked(locks: &Locks, request: &FlockWaiter, place: usize) -> bool {
    let key = (request.session, request.owner);
    let by_held = locks
        .flock_held
        .iter()
        .any(|(of, exclusive)| *of != key && (*exclusive || request.exclusive));
    let by_waiting = locks.flock_waiting[..place]
        .iter()
        .any(|w| (w.session, w.owner) != key && (w.exclusive || request.exclusive));
    by_held || by_waiting
}

fn range_blocked(locks: &Locks, range: &Range, place: usize) -> bool {
    let by_held = locks.ranges_held.iter().any(|held| conflicts(held, range));
    // Who is waited for need not wait for those who wait: that would never end.
    let own = |held: &&Range| (held.session, held.owner) == (range.session, range.owner);
    let waits_for_us = |waiting: &Range| {
        let mut held = locks.ranges_held.iter().filter(own);
        held.any(|held| conflicts(held, waiting))
    };
    let by_waiting = locks.ranges_waiting[..place]
        .iter()
        .any(|(_, waiting)| conflicts(waiting, range) && !waits_for_us(waiting));
    by_held || by_waiting
}

fn conflicts(a: &Range, b: &Range) -> bool {
    let strangers = (a.session, a.owner) != (b.session, b.owner);
    let overlap = a.start < b.end && b.start < a.end;
    strangers && overlap && (a.exclusive || b.exclusive)
}

/// Takes a range away from what its owner holds; what lies around it stays.
fn cut_out(held: &mut Vec<Range>, range: &Range) {
    let mut kept = Vec::new();
    for old in held.drain(..) {
        let own = (old.session, old.owner) == (range.session, range.owner);
        if !own || old.end <= range.start || range.end <= old.start {
            kept.push(old);
            continue;
        }
        if old.start < range.start {
            kept.push(Range {
                end: range.start,
                ..old
            });
        }
        if range.end < old.end {
            kept.push(Range {
                start: range.end,
                ..old
            });
        }
    }
    kept.sort_by_key(order);
    *held = kept;
}

/// Puts a range in the place of what its owner held there, and joins it with what it touches of
/// the same kind and process.
fn put_in(held: &mut Vec<Range>, mut range: Range) {
    cut_out(held, &range);
    held.retain(|old| {
        let alike = Range {
            start: range.start,
            end: range.end,
            ..*old
        } == range;
        let touches = old.end == range.start || range.end == old.start;
        if alike && touches {
            range.start = range.start.min(old.start);
            range.end = range.end.max(old.end);
        }
        !(alike && touches)
    });
    held.push(range);
    held.sort_by_key(order);
}

fn order(range: &Range) -> (u64, u64, SessionId, u64) {
    (range.start, range.end, range.session, range.owner)
}
