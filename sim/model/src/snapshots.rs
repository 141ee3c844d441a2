//! Snapshots (section 8.7): copies of trees that share their chunks, and their removal.

use std::collections::{BTreeMap, BTreeSet};

use mfsha_core::id::InodeId;
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{
    Caller, DirStats, Disable, NodeKind, Op, Reply, SnapshotFlags, Whereabouts,
};

use crate::access::{R, W, X, check_name};
use crate::apply::Step;
use crate::names::Making;
use crate::state::{Model, Node, eattr, subtract};
use crate::view::Who;

/// One snapshot in the making.
struct Copying<'a> {
    who: &'a Who,
    flags: SnapshotFlags,
    umask: u16,
    /// The topmost source.
    top: InodeId,
    /// What stands for a source that was met before.
    copies: BTreeMap<InodeId, InodeId>,
}

impl Model {
    pub(crate) fn run_snapshot(&mut self, step: &mut Step, op: &Op) -> Result<Reply, FsError> {
        match op {
            Op::Snapshot {
                caller,
                src,
                dst_parent,
                name,
                flags,
                umask,
            } => {
                let who = self.tree_caller(caller)?;
                who.may_change(&[Disable::Snapshot])?;
                let (src, parent) = self.check_snapshot(&who, *src, *dst_parent, name)?;
                let mut copying = Copying {
                    who: &who,
                    flags: *flags,
                    umask: *umask,
                    top: src,
                    copies: BTreeMap::new(),
                };
                self.test_copy(&copying, src, parent, name)?;
                let mut after = self.clone();
                after.copy(step, &mut copying, src, parent, name)?;
                if after.cuts_what_is_shared() {
                    return Err(FsError::Locked);
                }
                self.check_growth(step, &after)?;
                *self = after;
                Ok(Reply::Done)
            }
            Op::RemoveSnapshot {
                caller,
                parent,
                name,
                force,
            } => self.remove_snapshot(step, caller, *parent, name, *force),
            _ => unreachable!("dispatched by apply"),
        }
    }

    fn check_snapshot(
        &self,
        who: &Who,
        src: InodeId,
        parent: InodeId,
        name: &[u8],
    ) -> Result<(InodeId, InodeId), FsError> {
        if src == InodeId(0) || parent == InodeId(0) {
            return Err(FsError::Invalid);
        }
        let src = self.see(who, src, false)?;
        let parent = self.see(who, parent, false)?;
        self.forbid(parent, eattr::IMMUTABLE)?;
        self.demand(who, src, R)?;
        if self.node(parent).kind != NodeKind::Directory {
            return Err(FsError::Perm);
        }
        let is_dir = self.node(src).kind == NodeKind::Directory;
        if is_dir && self.is_within(src, parent) {
            return Err(FsError::Invalid);
        }
        self.demand(who, parent, W | X)?;
        check_name(name)?;
        Ok((src, parent))
    }

    /// Whether everything that is there already can be merged or replaced; a node before what is
    /// in it, in order of name.
    fn test_copy(
        &self,
        copying: &Copying<'_>,
        src: InodeId,
        parent: InodeId,
        name: &[u8],
    ) -> Result<(), FsError> {
        let Some(there) = self.node(parent).entries.get(name).copied() else {
            return Ok(());
        };
        if there == copying.top {
            return Err(FsError::Invalid);
        }
        if self.node(there).kind != self.node(src).kind {
            return Err(FsError::Perm);
        }
        self.forbid(there, eattr::PROTECTED)?;
        if self.node(src).kind != NodeKind::Directory {
            return if copying.flags.overwrite {
                Ok(())
            } else {
                Err(FsError::Exist)
            };
        }
        for (name, child) in &self.node(src).entries {
            if self.is_readable(copying.who, *child) {
                self.test_copy(copying, *child, there, name)?;
            }
        }
        Ok(())
    }

    /// What the caller cannot read is passed over.
    fn is_readable(&self, who: &Who, inode: InodeId) -> bool {
        let data = matches!(self.node(inode).kind, NodeKind::File | NodeKind::Directory);
        !data || self.allows(who, inode, R)
    }

    fn copy(
        &mut self,
        step: &Step,
        copying: &mut Copying<'_>,
        src: InodeId,
        parent: InodeId,
        name: &[u8],
    ) -> Result<(), FsError> {
        let there = self.node(parent).entries.get(name).copied();
        if self.node(src).kind == NodeKind::Directory {
            let children = self.node(src).entries.clone();
            let (dir, before) = match there {
                Some(there) => (there, None),
                None => {
                    let dir = self.put_copy(step, copying, src, parent, name)?;
                    (dir, Some(self.node(dir).clone()))
                }
            };
            for (name, child) in children {
                if self.is_readable(copying.who, child) {
                    self.copy(step, copying, child, dir, &name)?;
                }
            }
            let node = self.node_mut(dir);
            if let Some(before) = before {
                // Filling a new directory does not modify it.
                (node.mtime, node.ctime) = (before.mtime, before.ctime);
            }
            node.eattr |= eattr::SNAPSHOT;
            return Ok(());
        }
        let earlier = copying.copies.get(&src).copied();
        let linked = earlier.filter(|_| copying.flags.keep_hardlinks);
        // A copy that has as many names as it may is not given another: the next copy is.
        let linked = linked.filter(|copy| self.nlink(*copy) < self.ceilings.names);
        if let Some(there) = there {
            let keep = match linked {
                Some(linked) => there == linked,
                None => there == src || is_identical(self.node(there), self.node(src)),
            };
            if keep {
                copying.copies.insert(src, there);
                return Ok(());
            }
            self.remove_name(step, parent, name);
        }
        match linked {
            Some(linked) => {
                self.add_name(step, parent, name, linked);
            }
            None => {
                let copy = self.put_copy(step, copying, src, parent, name)?;
                copying.copies.insert(src, copy);
            }
        }
        Ok(())
    }

    /// A new node for a source, without what is in a directory.
    fn put_copy(
        &mut self,
        step: &Step,
        copying: &Copying<'_>,
        src: InodeId,
        parent: InodeId,
        name: &[u8],
    ) -> Result<InodeId, FsError> {
        let source = self.node(src).clone();
        let who = copying.who;
        let mut node = if copying.flags.like_cp {
            let making = Making {
                kind: source.kind,
                mode: source.mode & 0o777,
                umask: copying.umask,
                copy_setgid: false,
            };
            let fresh = self.make(step, who, parent, &making);
            Node {
                rdev: source.rdev,
                target: source.target,
                length: source.length,
                chunks: source.chunks,
                ..fresh
            }
        } else {
            let mut node = Node {
                whereabouts: Whereabouts::Linked,
                path: Vec::new(),
                entries: BTreeMap::new(),
                ages: BTreeMap::new(),
                height: 0,
                quota: None,
                reserved_end: 0,
                ..source
            };
            if !who.is_root() && node.uid != who.uid {
                (node.uid, node.gid) = (who.uid, who.gids[0]);
                node.mode &= 0o1777;
            }
            node
        };
        node.eattr |= eattr::SNAPSHOT;
        self.insert_new(step, parent, name, node)
    }

    /// Refuses when what a directory holds would grow past a limit on it.
    fn check_growth(&self, step: &Step, after: &Model) -> Result<(), FsError> {
        for (inode, node) in &self.nodes {
            if node.quota.is_some() {
                let more: DirStats = subtract(after.stats(*inode), self.stats(*inode));
                let alone = self.grow_alone(*inode, more);
                self.check_quota(step.now, &alone)?;
            }
        }
        Ok(())
    }

    fn remove_snapshot(
        &mut self,
        step: &Step,
        caller: &Caller,
        parent: InodeId,
        name: &[u8],
        force: bool,
    ) -> Result<Reply, FsError> {
        let who = self.tree_caller(caller)?;
        who.may_change(&[Disable::Snapshot])?;
        let parent = self.see_directory(&who, parent)?;
        if !force {
            self.forbid(parent, eattr::APPEND_ONLY | eattr::IMMUTABLE)?;
        }
        self.demand(&who, parent, W | X)?;
        check_name(name)?;
        let Some(child) = self.node(parent).entries.get(name).copied() else {
            return Err(FsError::NoEnt);
        };
        self.sticky(&who, parent, child)?;
        if !force {
            self.test_removal(&who, child)?;
        }
        let below = self.subtree(child, true).into_iter();
        let removable = below.filter(|inode| is_removable(self.node(*inode)));
        let removable: BTreeSet<InodeId> = removable.collect();
        self.remove_tree(step, &who, &removable, parent, name);
        Ok(Reply::Done)
    }

    /// Whether a whole tree is a snapshot that can be removed; a node before what is in it, in
    /// order of name.
    fn test_removal(&self, who: &Who, inode: InodeId) -> Result<(), FsError> {
        let node = self.node(inode);
        if !is_removable(node) {
            return Err(FsError::Perm);
        }
        if node.kind == NodeKind::Directory {
            self.demand(who, inode, W | X)?;
        }
        for child in node.entries.values() {
            self.test_removal(who, *child)?;
        }
        Ok(())
    }

    /// Removes, from the leaves up and past the trash, what belonged to a snapshot before and can
    /// be removed. Directories that are closed to the caller are left with all that is in them.
    fn remove_tree(
        &mut self,
        step: &Step,
        who: &Who,
        removable: &BTreeSet<InodeId>,
        parent: InodeId,
        name: &[u8],
    ) {
        let inode = self.node(parent).entries[name];
        let closed = self.node(inode).has(eattr::APPEND_ONLY | eattr::IMMUTABLE);
        if !closed && self.allows(who, inode, W | X) {
            let names: Vec<Vec<u8>> = self.node(inode).entries.keys().cloned().collect();
            for name in names {
                self.remove_tree(step, who, removable, inode, &name);
            }
        }
        let held = self.sticky(who, parent, inode).is_err();
        let empty = self.node(inode).entries.is_empty();
        if removable.contains(&inode) && !held && empty {
            self.remove_name_to(step, parent, name, false);
        }
    }
}

fn is_removable(node: &Node) -> bool {
    node.has(eattr::SNAPSHOT) && !node.has(eattr::PROTECTED)
}

/// Whether two nodes of a kind hold the same.
fn is_identical(there: &Node, src: &Node) -> bool {
    let data = there.length == src.length && there.chunks == src.chunks;
    data && there.target == src.target && there.rdev == src.rdev
}
