//! Locks on files.

use mfsha_core::id::{InodeId, SessionId};
use mfsha_core::namespace::op::{FlockOp, Op, PosixLockKind, PosixOp};

use crate::case::Case;

/// What is timed of them.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("flock", |stage| {
            let inode = stage.opened();
            flock(stage.world.session, inode, FlockOp::LockExclusive)
        }),
        Case::new("flock, waiting", |stage| {
            let inode = stage.opened();
            let held = flock(stage.other, inode, FlockOp::LockExclusive);
            stage.world.ok(held);
            flock(stage.world.session, inode, FlockOp::LockExclusive)
        }),
        Case::new("funlock, one waits", |stage| {
            let inode = stage.opened();
            let (one, two) = (stage.world.session, stage.other);
            for session in [one, two] {
                let lock = flock(session, inode, FlockOp::LockExclusive);
                stage.world.ok(lock);
            }
            flock(one, inode, FlockOp::Unlock)
        }),
        Case::new("posix lock", |stage| Op::PosixLock {
            session: stage.world.session,
            inode: stage.opened(),
            owner: 1,
            pid: 1,
            reqid: 1,
            op: PosixOp::Set,
            kind: PosixLockKind::Write,
            start: 0,
            end: 100,
        }),
    ]
}

fn flock(session: SessionId, inode: InodeId, op: FlockOp) -> Op {
    Op::Flock {
        session,
        inode,
        owner: 1,
        reqid: 1,
        op,
    }
}
