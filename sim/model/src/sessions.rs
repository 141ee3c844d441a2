//! Sessions and the files they have open (section 2.5).

use std::collections::BTreeSet;

use mfsha_core::id::{InodeId, SessionId};
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{NodeKind, Op, Reply, SessionParams};

use crate::apply::Step;
use crate::state::{Model, Session};

/// Longest text that a client says of itself, bytes.
const INFO_BYTES_MAX: usize = 1_024;

impl Model {
    pub(crate) fn run_session(&mut self, step: &mut Step, op: &Op) -> Result<Reply, FsError> {
        match op {
            Op::OpenSession { params } => {
                self.check_params(params)?;
                let id = self.new_session()?;
                let session = Session {
                    params: params.clone(),
                    disconnected: None,
                };
                self.sessions.insert(id, session);
                Ok(Reply::Session(id))
            }
            Op::UpdateSession { session, params } => {
                self.stored_session(*session)?;
                self.check_params(params)?;
                self.stored_session(*session)?.params = params.clone();
                Ok(Reply::Done)
            }
            Op::SetSessionConnected { session, connected } => {
                self.stored_session(*session)?.disconnected = (!connected).then_some(step.now);
                Ok(Reply::Done)
            }
            Op::CloseSession { session } => {
                self.stored_session(*session)?;
                self.sessions.remove(session);
                self.lanes.retain(|(of, _), _| of != session);
                self.open_files.retain(|(of, _)| of != session);
                let inodes: Vec<InodeId> = self.locks.keys().copied().collect();
                self.release_locks(step, *session, &inodes);
                Ok(Reply::Done)
            }
            Op::ExpireSession { session, since } => {
                if self.stored_session(*session)?.disconnected != Some(*since) {
                    return Err(FsError::Active);
                }
                self.run_session(step, &Op::CloseSession { session: *session })
            }
            Op::SetOpenFiles { session, inodes } => {
                self.set_open_files(step, *session, inodes);
                Ok(Reply::Done)
            }
            _ => unreachable!("dispatched by apply"),
        }
    }

    /// The complete list of what a session has open (section 2.7): closing a file gives its locks
    /// back.
    fn set_open_files(&mut self, step: &mut Step, session: SessionId, inodes: &[InodeId]) {
        let Ok(who) = self.any_session(session) else {
            return;
        };
        let wanted: BTreeSet<InodeId> = inodes
            .iter()
            .map(|inode| who.inward(*inode))
            .filter(|inode| {
                let node = self.nodes.get(inode);
                node.is_some_and(|node| node.kind == NodeKind::File)
            })
            .collect();
        let closed: Vec<InodeId> = self
            .open_files
            .iter()
            .filter(|(of, inode)| *of == session && !wanted.contains(inode))
            .map(|(_, inode)| *inode)
            .collect();
        self.open_files.retain(|(of, _)| *of != session);
        for inode in &wanted {
            self.keep_open(session, *inode);
        }
        self.release_locks(step, session, &closed);
    }

    fn stored_session(&mut self, session: SessionId) -> Result<&mut Session, FsError> {
        self.sessions.get_mut(&session).ok_or(FsError::BadSession)
    }

    /// A session's root is a directory, or 0 of a meta session.
    fn check_params(&self, params: &SessionParams) -> Result<(), FsError> {
        if params.root != InodeId(0) {
            let root = self.nodes.get(&params.root).ok_or(FsError::NoEnt)?;
            if root.kind != NodeKind::Directory {
                return Err(FsError::NotDir);
            }
        }
        if params.info.len() > INFO_BYTES_MAX {
            return Err(FsError::Invalid);
        }
        Ok(())
    }
}
