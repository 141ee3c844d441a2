//! Sessions, and the files they have open.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use super::Namespace;
use super::error::FsError;
use super::key::Key;
use super::lock;
use super::op::{Answer, NodeKind, Reply, SessionParams};
use super::record::{Inode, LaneLast, LaneRecord, Opened, Session, SessionRecord, ShardIds};
use super::txn::{Res, Txn};
use super::who::Who;
use crate::crdt::LOG_REPLICA;
use crate::id::{InodeId, Lane, SessionId};
use crate::limits;
use crate::store::{StateStore, StoreError};
use crate::time::WallTime;

/// Opens a session.
///
/// # Errors
/// As [`validate`]; `NoSpace` when no number is left.
pub fn open(txn: &mut Txn<'_>, params: &SessionParams) -> Res<Reply> {
    validate(txn, params)?;
    let ids: ShardIds = txn.get(&Key::ShardIds)?.unwrap_or_default();
    let next = u32::try_from(ids.sessions.value() + 1)
        .ok()
        .filter(|next| *next <= txn.ceilings().sessions)
        .ok_or(FsError::NoSpace)?;
    let session = SessionId(next);
    let delta = ShardIds {
        sessions: ids.sessions.add(LOG_REPLICA, 1),
        ..ShardIds::default()
    };
    txn.join(&Key::ShardIds, &delta)?;
    let record = SessionRecord {
        params: params.clone(),
        disconnected: None,
    };
    txn.set(&Key::Session(session), Some(record))?;
    Ok(Reply::Session(session))
}

/// Gives a session new values; what it has open stays open.
///
/// # Errors
/// `BadSession`, then as [`validate`].
pub fn update(txn: &mut Txn<'_>, session: SessionId, params: &SessionParams) -> Res<Reply> {
    let old = record(txn, session)?;
    validate(txn, params)?;
    let record = SessionRecord {
        params: params.clone(),
        ..old
    };
    txn.set(&Key::Session(session), Some(record))?;
    Ok(Reply::Done)
}

/// Notes that a session's last connection went, or that one came back.
///
/// # Errors
/// `BadSession`.
pub fn set_connected(txn: &mut Txn<'_>, session: SessionId, connected: bool) -> Res<Reply> {
    let record = SessionRecord {
        disconnected: (!connected).then(|| txn.now()),
        ..record(txn, session)?
    };
    txn.set(&Key::Session(session), Some(record))?;
    Ok(Reply::Done)
}

/// Ends a session: its files are closed, its locks given back, its requests forgotten.
///
/// # Errors
/// `BadSession`.
pub fn close(txn: &mut Txn<'_>, session: SessionId) -> Res<Reply> {
    record(txn, session)?;
    for ino in open_files(txn, session)? {
        close_file(txn, ino, session)?;
    }
    let mut lanes = Vec::new();
    txn.scan::<LaneRecord>(&Key::Lane(session, Lane(0)).prefix(), None, |key, lane| {
        lanes.push((key, lane));
        Ok(ControlFlow::Continue(()))
    })?;
    for (key, lane) in lanes {
        let end = lane.0.map(|last| LaneLast { gone: true, ..last });
        txn.join(&key, &LaneRecord(end))?;
    }
    txn.set::<SessionRecord>(&Key::Session(session), None)?;
    Ok(Reply::Done)
}

/// Ends a session that nobody has spoken for since then.
///
/// # Errors
/// `BadSession`; `Active` when it is not marked, or since another time: its client came back
/// after its end was decided.
pub fn expire(txn: &mut Txn<'_>, session: SessionId, since: WallTime) -> Res<Reply> {
    if record(txn, session)?.disconnected != Some(since) {
        return Err(FsError::Active.into());
    }
    close(txn, session)
}

/// Takes note of the complete list of files that a session has open. Never refused: an unknown
/// session, and inodes that are no files, are passed over.
///
/// # Errors
/// Only that the state cannot be read.
pub fn set_open_files(txn: &mut Txn<'_>, session: SessionId, inodes: &[InodeId]) -> Res<Reply> {
    if !txn.has(&Key::Session(session))? {
        return Ok(Reply::Done);
    }
    let before = open_files(txn, session)?;
    let wanted: BTreeSet<InodeId> = inodes.iter().copied().collect();
    for ino in before.difference(&wanted) {
        close_file(txn, *ino, session)?;
    }
    for ino in wanted.difference(&before) {
        let node: Option<Inode> = txn.get(&Key::Inode(*ino))?;
        if node.is_some_and(|node| node.kind() == NodeKind::File) {
            open_file(txn, *ino, session)?;
        }
    }
    Ok(Reply::Done)
}

/// Notes that a session has a file open. The cluster itself (session 0) keeps no files open: it
/// never says that it closed one.
///
/// # Errors
/// Only that the state cannot be read.
pub fn open_file(txn: &mut Txn<'_>, ino: InodeId, session: SessionId) -> Res<()> {
    if session == SessionId(0) || txn.has(&Key::Opened(ino, session))? {
        return Ok(());
    }
    txn.set(&Key::Opened(ino, session), Some(()))?;
    txn.set(&Key::SessionOpened(session, ino), Some(()))?;
    Ok(())
}

fn close_file(txn: &mut Txn<'_>, ino: InodeId, session: SessionId) -> Res<()> {
    txn.set::<()>(&Key::Opened(ino, session), None)?;
    txn.set::<()>(&Key::SessionOpened(session, ino), None)?;
    lock::release_session(txn, ino, session)
}

fn open_files(txn: &Txn<'_>, session: SessionId) -> Res<BTreeSet<InodeId>> {
    let mut out = BTreeSet::new();
    let prefix = Key::SessionOpened(session, InodeId(0)).prefix();
    txn.scan::<Opened>(&prefix, None, |key, _| {
        if let Key::SessionOpened(_, ino) = key {
            out.insert(ino);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(out)
}

fn record(txn: &Txn<'_>, session: SessionId) -> Res<SessionRecord> {
    let record: Option<SessionRecord> = txn.value(&Key::Session(session))?;
    Ok(record.ok_or(FsError::BadSession)?)
}

/// Refuses values that no session can have: `NoEnt` and `NotDir` for a root that is no directory,
/// `Invalid` for a text that is too long.
fn validate(txn: &Txn<'_>, params: &SessionParams) -> Res<()> {
    if params.root != InodeId(0) && txn.inode(params.root)?.kind() != NodeKind::Directory {
        return Err(FsError::NotDir.into());
    }
    if params.info.len() > limits::SESSION_INFO_BYTES_MAX {
        return Err(FsError::Invalid.into());
    }
    Ok(())
}

/// A session's values.
///
/// # Errors
/// `BadSession`.
pub fn get(txn: &Txn<'_>, session: SessionId) -> Res<Answer> {
    let record = record(txn, session)?;
    Ok(Answer::Session {
        params: record.params,
        disconnected: record.disconnected,
    })
}

/// The last request of each of a session's lanes.
///
/// # Errors
/// `BadSession`.
pub fn last_requests(txn: &Txn<'_>, session: SessionId) -> Res<Answer> {
    record(txn, session)?;
    let mut out = Vec::new();
    let prefix = Key::Lane(session, Lane(0)).prefix();
    txn.scan::<LaneRecord>(&prefix, None, |key, record| {
        if let (Key::Lane(_, lane), Some(last)) = (key, record.0) {
            out.push(last.request(lane));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(Answer::LastRequests(out))
}

/// Files that a session has open, in order of inode; for session 0 those of all sessions.
///
/// # Errors
/// `BadSession`.
pub fn list_open_files(txn: &Txn<'_>, session: SessionId) -> Res<Answer> {
    let key = Key::SessionOpened(session, InodeId(0));
    let prefix = if session == SessionId(0) {
        let mut all = key.prefix();
        all.truncate(all.len() - 4);
        all
    } else {
        Who::of_session(txn, session)?;
        key.prefix()
    };
    let mut out = Vec::new();
    txn.scan::<Opened>(&prefix, None, |key, _| {
        if let Key::SessionOpened(session, ino) = key {
            out.push((session, ino));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(Answer::OpenFiles(out))
}

impl<S: StateStore> Namespace<S> {
    /// Sessions behind `after` in order, `count_max` at most, and since when nobody speaks for each.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn sessions_after(
        &self,
        after: SessionId,
        count_max: usize,
    ) -> Result<Vec<(SessionId, Option<WallTime>)>, StoreError> {
        let mut found = Vec::new();
        let after = Key::Session(after);
        let scanned = self.look(WallTime(0), |txn| {
            txn.scan::<Session>(&after.prefix(), Some(&after.bytes()), |key, register| {
                if let (Key::Session(session), Some(Some(record))) = (key, register.get()) {
                    found.push((session, record.disconnected));
                }
                Ok(match found.len() < count_max {
                    true => ControlFlow::Continue(()),
                    false => ControlFlow::Break(()),
                })
            })
        });
        match scanned? {
            Ok(()) => Ok(found),
            Err(error) => unreachable!("nothing is refused here: {error}"),
        }
    }

    /// Since when nobody speaks for a session: `None` outside when there is no such session, inside
    /// when somebody does.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn session_mark(&self, session: SessionId) -> Result<Option<Option<WallTime>>, StoreError> {
        let key = Key::Session(session);
        match self.look(WallTime(0), |txn| Ok(txn.value::<SessionRecord>(&key)?))? {
            Ok(record) => Ok(record.map(|record| record.disconnected)),
            Err(error) => unreachable!("nothing is refused here: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::op::{Notice, Op, PosixLockKind, Query};
    use super::super::record::{FlockTable, FlockWaiter, PosixRange, PosixTable};
    use super::super::testing::{Bed, ROOT, root, unlink};
    use super::*;

    #[test]
    fn a_session_needs_a_root_and_a_text_of_bounded_length() {
        let mut bed = Bed::new();
        let file = bed.file(&root(), ROOT, "file");
        let session = bed.session_with(|_| {});
        let values = |root, info: usize| SessionParams {
            root,
            info: vec![b'i'; info],
            ..SessionParams::unrestricted()
        };
        let long = limits::SESSION_INFO_BYTES_MAX + 1;
        for (error, params) in [
            (FsError::NoEnt, values(InodeId(999), long)),
            (FsError::NotDir, values(file, long)),
            (FsError::Invalid, values(ROOT, long)),
            (FsError::Invalid, values(InodeId(0), long)),
        ] {
            let update = |session| Op::UpdateSession {
                session,
                params: params.clone(),
            };
            bed.refused(vec![
                (
                    error,
                    Op::OpenSession {
                        params: params.clone(),
                    },
                ),
                (error, update(session)),
                (FsError::BadSession, update(SessionId(99))),
                (FsError::BadSession, update(SessionId(0))),
            ]);
        }
        let params = values(InodeId(0), long - 1);
        assert_eq!(bed.session(params), SessionId(2));
    }

    #[test]
    fn sessions_are_numbered_once() {
        let mut bed = Bed::new();
        let first = bed.session_with(|_| {});
        bed.ok(Op::CloseSession { session: first });
        assert_ne!(bed.session_with(|_| {}), first);
    }

    #[test]
    fn a_session_remembers_its_values_and_since_when_it_is_alone() {
        let mut bed = Bed::new();
        let session = bed.session_with(|_| {});
        let params = SessionParams {
            umask: 0o27,
            ..SessionParams::unrestricted()
        };
        let connected = |connected| Op::SetSessionConnected { session, connected };
        bed.now = 2_000;
        bed.ok(connected(false));
        bed.ok(Op::UpdateSession {
            session,
            params: params.clone(),
        });
        let mut expected = Answer::Session {
            params: params.clone(),
            disconnected: Some(WallTime(2_000)),
        };
        assert_eq!(bed.ask(Query::GetSession { session }), Ok(expected));
        bed.ok(connected(true));
        expected = Answer::Session {
            params,
            disconnected: None,
        };
        assert_eq!(bed.ask(Query::GetSession { session }), Ok(expected));
    }

    #[test]
    fn nobody_speaks_for_a_session_that_is_not_there() {
        let mut bed = Bed::new();
        let session = SessionId(5);
        bed.refused(vec![
            (FsError::BadSession, Op::CloseSession { session }),
            (
                FsError::BadSession,
                Op::SetSessionConnected {
                    session,
                    connected: true,
                },
            ),
        ]);
        for query in [
            Query::GetSession { session },
            Query::GetSession {
                session: SessionId(0),
            },
            Query::ListOpenFiles { session },
        ] {
            assert_eq!(bed.ask(query), Err(FsError::BadSession));
        }
        // The list of open files is no request: it is passed over.
        let before = bed.contents();
        bed.ok(Op::SetOpenFiles {
            session,
            inodes: vec![ROOT],
        });
        assert_eq!(bed.contents(), before);
    }

    fn list(bed: &Bed, session: SessionId) -> Vec<(SessionId, InodeId)> {
        match bed.ask(Query::ListOpenFiles { session }) {
            Ok(Answer::OpenFiles(files)) => files,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_list_of_open_files_replaces_the_one_before() {
        let mut bed = Bed::new();
        let (one, two) = (bed.session_with(|_| {}), bed.session_with(|_| {}));
        let dir = bed.dir(&root(), ROOT, "dir");
        let files: Vec<InodeId> = ["a", "b", "c"]
            .iter()
            .map(|name| bed.file(&root(), ROOT, name))
            .collect();
        bed.ok(unlink(&root(), ROOT, "c"));
        let set = |session, inodes: &[InodeId]| Op::SetOpenFiles {
            session,
            inodes: inodes.to_vec(),
        };
        bed.ok(set(one, &[files[0], files[1], dir, InodeId(999), files[0]]));
        bed.ok(set(two, &[files[2], files[0]]));
        assert_eq!(list(&bed, one), [(one, files[0]), (one, files[1])]);
        assert_eq!(list(&bed, two), [(two, files[0]), (two, files[2])]);
        bed.ok(set(one, &[files[1], files[2]]));
        assert_eq!(list(&bed, one), [(one, files[1]), (one, files[2])]);
        assert_eq!(list(&bed, SessionId(0)).len(), 4);
        bed.ok(Op::CloseSession { session: one });
        assert_eq!(list(&bed, SessionId(0)).len(), 2);
    }

    #[test]
    fn locks_go_with_the_file_or_the_session() {
        for closes in [true, false] {
            let mut bed = Bed::new();
            let (mine, other) = (bed.session_with(|_| {}), bed.session_with(|_| {}));
            let file = bed.file(&root(), ROOT, "file");
            for session in [mine, other] {
                bed.ok(Op::SetOpenFiles {
                    session,
                    inodes: vec![file],
                });
            }
            let waiter = |session| FlockWaiter {
                session,
                owner: 2,
                reqid: 3,
                exclusive: true,
            };
            let range = |session, start| PosixRange {
                start,
                end: start + 1,
                session,
                owner: 4,
                pid: 5,
                kind: PosixLockKind::Write,
            };
            let flocks = FlockTable {
                held: vec![(mine, 1, false), (other, 1, false)],
                waiting: vec![waiter(mine)],
            };
            let ranges = PosixTable {
                held: vec![range(mine, 0), range(other, 5)],
                waiting: vec![(range(mine, 5), 6)],
            };
            bed.by_hand(|txn| {
                txn.set(&Key::Flocks(file), Some(flocks))?;
                Ok(txn.set(&Key::PosixLocks(file), Some(ranges))?)
            });
            let outcome = bed.outcome(if closes {
                Op::CloseSession { session: mine }
            } else {
                Op::SetOpenFiles {
                    session: mine,
                    inodes: Vec::new(),
                }
            });
            let ended = |owner, reqid, posix| Notice::LockEnded {
                session: mine,
                inode: file,
                owner,
                reqid,
                posix,
            };
            assert_eq!(outcome.notices, [ended(2, 3, false), ended(4, 6, true)]);
            let (flocks, ranges) = bed.by_hand(|txn| {
                let flocks: Option<FlockTable> = txn.value(&Key::Flocks(file))?;
                let ranges: Option<PosixTable> = txn.value(&Key::PosixLocks(file))?;
                Ok((flocks.unwrap(), ranges.unwrap()))
            });
            assert_eq!(flocks.held, [(other, 1, false)]);
            assert_eq!(ranges.held, [range(other, 5)]);
            assert!(flocks.waiting.is_empty() && ranges.waiting.is_empty());
            bed.ok(Op::CloseSession { session: other });
            let left = bed.by_hand(|txn| {
                Ok(txn.has(&Key::Flocks(file))? || txn.has(&Key::PosixLocks(file))?)
            });
            assert!(!left, "an empty table is not kept");
        }
    }
}
