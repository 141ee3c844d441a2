//! Sessions, and the files they have open.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use super::error::FsError;
use super::hooks;
use super::key::Key;
use super::op::{Answer, NodeKind, Reply, SessionParams};
use super::record::{Inode, LaneLast, LaneRecord, Opened, SessionRecord, ShardIds};
use super::txn::{Res, Txn};
use super::who::Who;
use crate::crdt::LOG_REPLICA;
use crate::id::{InodeId, Lane, SessionId};
use crate::limits;

/// Opens a session.
///
/// # Errors
/// As [`validate`]; `NoSpace` when no number is left.
pub fn open(txn: &mut Txn<'_>, params: &SessionParams) -> Res<Reply> {
    validate(txn, params)?;
    let ids: ShardIds = txn.get(&Key::ShardIds)?.unwrap_or_default();
    let next = u32::try_from(ids.sessions.value() + 1).map_err(|_| FsError::NoSpace)?;
    let session = SessionId(next);
    let delta = ShardIds {
        sessions: ids.sessions.add(LOG_REPLICA, 1),
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
    hooks::release_session(txn, ino, session)
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
