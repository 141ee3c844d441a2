//! Trash and sustained files (sections 3.12, 8.2).

use std::sync::Arc;

use mfsha_core::id::{InodeId, SessionId};
use mfsha_core::limits;
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{NodeKind, Op, Reply, Whereabouts};
use mfsha_core::time::WallTime;

use crate::access::check_name;
use crate::apply::Step;
use crate::names::Making;
use crate::state::{Model, Node};
use crate::view::Who;

impl Model {
    pub(crate) fn run_trash(&mut self, step: &mut Step<'_>, op: &Op) -> Result<Reply, FsError> {
        match op {
            Op::SetTrashPath {
                caller,
                inode,
                path,
            } => {
                let who = self.meta_caller(caller)?;
                who.may_change(&[])?;
                self.check_in_trash(*inode)?;
                let too_long = path.len() > limits::TRASH_PATH_BYTES_MAX;
                if path.is_empty() || too_long || path.contains(&0) {
                    return Err(FsError::Invalid);
                }
                self.node_mut(*inode).path = path.clone();
                Ok(Reply::Done)
            }
            Op::Undelete { caller, inode } => {
                let who = self.meta_caller(caller)?;
                who.may_change(&[])?;
                self.check_in_trash(*inode)?;
                self.undelete(step, *inode)?;
                Ok(Reply::Done)
            }
            Op::PurgeTrash { caller, inode } => {
                let who = self.meta_caller(caller)?;
                who.may_change(&[])?;
                self.check_in_trash(*inode)?;
                self.leave_trash(*inode);
                Ok(Reply::Done)
            }
            Op::Sweep { after, limit } => Ok(self.sweep(step.now, *after, *limit as usize)),
            _ => unreachable!("dispatched by apply"),
        }
    }

    fn check_in_trash(&self, inode: InodeId) -> Result<(), FsError> {
        match self.nodes.get(&inode) {
            Some(node) if node.whereabouts == Whereabouts::Trash => Ok(()),
            _ => Err(FsError::NoEnt),
        }
    }

    /// A file leaves the trash for good, unless it is open. Returns whether it was freed.
    fn leave_trash(&mut self, inode: InodeId) -> bool {
        let is_open = self.is_open(inode);
        if is_open {
            self.node_mut(inode).whereabouts = Whereabouts::Sustained;
        } else {
            self.free(inode);
        }
        !is_open
    }

    /// Makes the directories of the path as root would, and gives the file its name.
    fn undelete(&mut self, step: &mut Step<'_>, inode: InodeId) -> Result<(), FsError> {
        let path = self.node(inode).path.clone();
        let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        if names.iter().any(|name| check_name(name).is_err()) {
            return Err(FsError::CantCreatePath);
        }
        let (last, above) = names
            .split_last()
            .expect("splitting gives one part or more");
        let mut dir = InodeId::ROOT;
        for name in above {
            dir = match self.node(dir).entries.get(*name).copied() {
                None => self.make_directory(step, dir, name)?,
                Some(there) if self.node(there).kind == NodeKind::Directory => there,
                Some(_) => return Err(FsError::CantCreatePath),
            };
        }
        if self.node(dir).entries.contains_key(*last) {
            return Err(FsError::Exist);
        }
        self.add_name(step, dir, last, inode);
        let node = self.node_mut(inode);
        node.whereabouts = Whereabouts::Linked;
        node.path.clear();
        node.changed(step.now);
        Ok(())
    }

    fn make_directory(
        &mut self,
        step: &mut Step<'_>,
        parent: InodeId,
        name: &[u8],
    ) -> Result<InodeId, FsError> {
        let cluster: Who = self.any_session(SessionId(0))?;
        let making = Making {
            kind: NodeKind::Directory,
            mode: 0o755,
            umask: 0,
            copy_setgid: false,
        };
        let node = self.make(step, &cluster, parent, &making);
        let inode = self.new_placeholder();
        self.nodes.insert(inode, Arc::new(node));
        self.add_name(step, parent, name, inode);
        Ok(inode)
    }

    /// Looks at so many files in trash or sustained, in order of slot and inode.
    fn sweep(&mut self, now: WallTime, after: Option<InodeId>, limit: usize) -> Reply {
        let order = |inode: &InodeId| (inode.slot(), *inode);
        let mut ahead: Vec<InodeId> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.is_detached())
            .map(|(inode, _)| *inode)
            .filter(|inode| after.is_none_or(|after| order(inode) > order(&after)))
            .collect();
        ahead.sort_by_key(order);
        let looked_at = limit.min(ahead.len());
        let (mut freed, mut sustained) = (0, 0);
        for inode in &ahead[..looked_at] {
            let node = self.node(*inode);
            if node.whereabouts == Whereabouts::Sustained {
                if !self.is_open(*inode) {
                    self.free(*inode);
                    freed += 1;
                }
            } else if is_expired(node, now) {
                if self.leave_trash(*inode) {
                    freed += 1;
                } else {
                    sustained += 1;
                }
            }
        }
        let next = if looked_at == ahead.len() {
            None
        } else if looked_at == 0 {
            after
        } else {
            Some(ahead[looked_at - 1])
        };
        Reply::Swept {
            freed,
            sustained,
            next,
        }
    }
}

/// A file stays in the trash for its trash time after it was last touched in any way.
fn is_expired(node: &Node, now: WallTime) -> bool {
    let touched = node.atime.max(node.mtime).max(node.ctime);
    u64::from(touched.0) + u64::from(node.trash_hours) * 3_600 < u64::from(now.0)
}
