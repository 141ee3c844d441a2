//! What operators see of the state: sums of the whole, sessions, quotas and paths.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::error::FsError;
use super::key::Key;
use super::op::{DirStats, QuotaState, SessionParams};
use super::record::{Inode, Opened, Session};
use super::txn::{Res, Txn};
use super::who::Who;
use super::{Namespace, path, quota, stats};
use crate::id::{InodeId, SessionId};
use crate::store::{StateStore, StoreError};
use crate::time::WallTime;

/// Sums of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sums {
    /// Of the tree: a file with several names counts with each of them.
    pub tree: DirStats,
    /// Bytes of files in the trash.
    pub trash_bytes: u64,
    /// Bytes of files that have no name and are open.
    pub sustained_bytes: u64,
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionSeen {
    /// Its number.
    pub session: SessionId,
    /// What it may do.
    pub params: SessionParams,
    /// Since when nobody speaks for it.
    pub disconnected: Option<WallTime>,
    /// Files that it has open.
    pub open_files: u32,
}

impl<S: StateStore> Namespace<S> {
    /// Sums of the whole.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn sums(&self) -> Result<Sums, StoreError> {
        self.see(|txn| {
            let (trash_bytes, sustained_bytes) = stats::detached(txn)?;
            Ok(Sums {
                tree: stats::of_dir(txn, InodeId::ROOT)?,
                trash_bytes,
                sustained_bytes,
            })
        })
    }

    /// Sessions behind `after` in order, at most `max`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn sessions_seen(
        &self,
        after: SessionId,
        max: usize,
    ) -> Result<Vec<SessionSeen>, StoreError> {
        let after = Key::Session(after);
        self.see(|txn| {
            let mut found = Vec::new();
            txn.scan::<Session>(&after.prefix(), Some(&after.bytes()), |key, register| {
                if let (Key::Session(session), Some(Some(record))) = (key, register.get()) {
                    found.push(SessionSeen {
                        session,
                        params: record.params.clone(),
                        disconnected: record.disconnected,
                        open_files: 0,
                    });
                }
                Ok(match found.len() < max {
                    true => ControlFlow::Continue(()),
                    false => ControlFlow::Break(()),
                })
            })?;
            for seen in &mut found {
                let prefix = Key::SessionOpened(seen.session, InodeId(0)).prefix();
                txn.scan::<Opened>(&prefix, None, |_, _| {
                    seen.open_files = seen.open_files.saturating_add(1);
                    Ok(ControlFlow::Continue(()))
                })?;
            }
            Ok(found)
        })
    }

    /// All quotas in order of inode, each with its directory's path.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn quotas(&self) -> Result<Vec<(QuotaState, Vec<u8>)>, StoreError> {
        self.see(|txn| quota::all_seen_by(txn, &Who::cluster()))
    }

    /// The paths of nodes from the root of the tree, of each node in order: of the first nodes alone
    /// when all have more than `bytes_max` bytes or a path more, and of a node not all when they
    /// alone have so many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn paths(
        &self,
        inodes: &[InodeId],
        bytes_max: usize,
    ) -> Result<Vec<Vec<Vec<u8>>>, StoreError> {
        self.see(|txn| {
            let (mut all, mut left) = (Vec::new(), bytes_max);
            for ino in inodes {
                if left == 0 {
                    break;
                }
                all.push(match txn.get::<Inode>(&Key::Inode(*ino))? {
                    Some(node) => path::some_below(txn, InodeId::ROOT, *ino, &node, &mut left)?,
                    None => Vec::new(),
                });
            }
            Ok(all)
        })
    }

    fn see<T>(&self, ask: impl FnOnce(&Txn<'_>) -> Res<T>) -> Result<T, StoreError> {
        match self.look(WallTime(0), ask)? {
            Ok(found) => Ok(found),
            Err(error) => Err(refused(error)),
        }
    }
}

/// The tree as a whole refuses nothing.
fn refused(error: FsError) -> StoreError {
    StoreError::Contradiction {
        key: Key::Applied.bytes(),
        reason: format!("the tree cannot be looked at as a whole ({error})"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::op::{Op, Query};
    use super::super::testing::{Bed, ROOT, hard_quota, root};

    #[test]
    fn a_directory_that_is_gone_has_neither_quota_nor_paths() {
        let mut bed = Bed::new();
        let dir = bed.dir(&root(), ROOT, "dir");
        let limits = super::super::op::QuotaLimits {
            inodes: Some(9),
            ..Default::default()
        };
        bed.ok(hard_quota(dir, limits));
        assert_eq!(bed.tree.quotas().unwrap().len(), 1);
        bed.ok(Op::Rmdir {
            caller: root(),
            parent: ROOT,
            name: b"dir".to_vec(),
        });
        assert_eq!(bed.tree.quotas(), Ok(Vec::new()));
        assert_eq!(bed.tree.paths(&[dir], 99), Ok(vec![Vec::new()]));
        let gone = Query::GetAttr {
            caller: root(),
            inode: dir,
            opened: false,
        };
        assert!(bed.ask(gone).is_err());
        assert_eq!(bed.tree.sums().unwrap().tree.dirs, 1);
    }
}
