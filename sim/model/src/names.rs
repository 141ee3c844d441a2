//! Making, removing and moving names (sections 3.3, 8.4).

use std::sync::Arc;

use mfsha_core::id::InodeId;
use mfsha_core::limits;
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{DirStats, Disable, NodeKind, Op, Reply, Whereabouts};

use crate::access::{W, X, check_name};
use crate::apply::Step;
use crate::state::{Model, Node, eattr, join, subtract};
use crate::view::{NOT_GIVEN, Who};

/// What is new about a node that somebody makes.
pub(crate) struct Making {
    pub(crate) kind: NodeKind,
    pub(crate) mode: u16,
    pub(crate) umask: u16,
    pub(crate) copy_setgid: bool,
}

impl Model {
    pub(crate) fn run_name(&mut self, step: &mut Step, op: &Op) -> Result<Reply, FsError> {
        match op {
            Op::Create {
                caller,
                parent,
                name,
                kind,
                mode,
                umask,
                rdev,
                open,
            } => {
                let who = self.tree_caller(caller)?;
                let disable: &[Disable] = match kind {
                    NodeKind::File => &[Disable::Create],
                    NodeKind::Fifo => &[Disable::Mkfifo],
                    NodeKind::BlockDevice | NodeKind::CharDevice => &[Disable::Mkdev],
                    NodeKind::Socket => &[Disable::Mksock],
                    NodeKind::Directory | NodeKind::Symlink => &[],
                };
                who.may_change(disable)?;
                if matches!(kind, NodeKind::Directory | NodeKind::Symlink) {
                    return Err(FsError::Invalid);
                }
                let parent = self.check_new_name(step, &who, *parent, name, &[])?;
                let making = Making {
                    kind: *kind,
                    mode: *mode,
                    umask: *umask,
                    copy_setgid: false,
                };
                let mut node = self.make(step, &who, parent, &making);
                if matches!(kind, NodeKind::BlockDevice | NodeKind::CharDevice) {
                    node.rdev = *rdev;
                }
                let inode = self.insert_new(step, parent, name, node)?;
                if *open && *kind == NodeKind::File {
                    self.keep_open(who.session, inode);
                }
                Ok(self.node_reply(&who, inode))
            }
            Op::Mkdir {
                caller,
                parent,
                name,
                mode,
                umask,
                copy_setgid,
            } => {
                let who = self.tree_caller(caller)?;
                who.may_change(&[Disable::Mkdir])?;
                let parent = self.check_new_name(step, &who, *parent, name, &[])?;
                let making = Making {
                    kind: NodeKind::Directory,
                    mode: *mode,
                    umask: *umask,
                    copy_setgid: *copy_setgid,
                };
                let node = self.make(step, &who, parent, &making);
                let inode = self.insert_new(step, parent, name, node)?;
                Ok(self.node_reply(&who, inode))
            }
            Op::Symlink {
                caller,
                parent,
                name,
                target,
            } => {
                let who = self.tree_caller(caller)?;
                who.may_change(&[Disable::Symlink])?;
                let too_long = target.len() > limits::SYMLINK_BYTES_MAX;
                if target.is_empty() || too_long || target.contains(&0) {
                    return Err(FsError::Invalid);
                }
                let parent = self.check_new_name(step, &who, *parent, name, target)?;
                let making = Making {
                    kind: NodeKind::Symlink,
                    mode: 0o777,
                    umask: 0,
                    copy_setgid: false,
                };
                let mut node = self.make(step, &who, parent, &making);
                node.target = target.clone();
                let inode = self.insert_new(step, parent, name, node)?;
                Ok(self.node_reply(&who, inode))
            }
            Op::Link {
                caller,
                inode,
                parent,
                name,
            } => {
                let who = self.tree_caller(caller)?;
                who.may_change(&[Disable::Link])?;
                self.link(step, &who, *inode, *parent, name)
            }
            Op::Unlink {
                caller,
                parent,
                name,
            } => {
                let who = self.tree_caller(caller)?;
                who.may_change(&[Disable::Unlink])?;
                let (parent, child) = self.check_removal(&who, *parent, name)?;
                if self.node(child).kind == NodeKind::Directory {
                    return Err(FsError::Perm);
                }
                self.remove_name(step, parent, name);
                Ok(Reply::Removed {
                    inode: who.outward(child),
                })
            }
            Op::Rmdir {
                caller,
                parent,
                name,
            } => {
                let who = self.tree_caller(caller)?;
                who.may_change(&[Disable::Rmdir])?;
                let (parent, child) = self.check_removal(&who, *parent, name)?;
                if self.node(child).kind != NodeKind::Directory {
                    return Err(FsError::NotDir);
                }
                if !self.node(child).entries.is_empty() {
                    return Err(FsError::NotEmpty);
                }
                self.remove_name(step, parent, name);
                Ok(Reply::Removed {
                    inode: who.outward(child),
                })
            }
            Op::Rename {
                caller,
                src_parent,
                src_name,
                dst_parent,
                dst_name,
            } => {
                let who = self.tree_caller(caller)?;
                let within = who.inward(*src_parent) == who.inward(*dst_parent);
                let disable = if within {
                    Disable::Rename
                } else {
                    Disable::Move
                };
                who.may_change(&[disable])?;
                self.rename(step, &who, (*src_parent, src_name), (*dst_parent, dst_name))
            }
            _ => unreachable!("dispatched by apply"),
        }
    }

    /// Whether a name can be made in a directory, but for quota (section 8.4, create family).
    fn check_place(&self, who: &Who, parent: InodeId, name: &[u8]) -> Result<InodeId, FsError> {
        let parent = self.see_directory(who, parent)?;
        self.forbid(parent, eattr::IMMUTABLE)?;
        self.demand(who, parent, W | X)?;
        check_name(name)?;
        Ok(parent)
    }

    /// Whether a new node can be made there.
    fn check_new_name(
        &self,
        step: &Step,
        who: &Who,
        parent: InodeId,
        name: &[u8],
        target: &[u8],
    ) -> Result<InodeId, FsError> {
        let parent = self.check_place(who, parent, name)?;
        if self.node(parent).entries.contains_key(name) {
            return Err(FsError::Exist);
        }
        let one = DirStats {
            inodes: 1,
            length: target.len() as i128,
            ..DirStats::default()
        };
        self.check_quota(step.now, &self.grow_below(parent, one))?;
        Ok(parent)
    }

    /// A new node as section 8.4 says: owner, class, trash time and extra attributes, and either
    /// the umask or the directory's default ACL.
    pub(crate) fn make(&self, step: &Step, who: &Who, parent: InodeId, making: &Making) -> Node {
        let dir = self.node(parent);
        let is_dir = making.kind == NodeKind::Directory;
        let mut node = Node::new(making.kind);
        if is_dir || making.kind == NodeKind::File {
            node.class = dir.class;
            node.trash_hours = dir.trash_hours;
        }
        node.eattr = dir.eattr & !(eattr::SNAPSHOT | eattr::PROTECTED);
        if !is_dir {
            node.eattr &= !eattr::NO_ENTRY_CACHE;
        }
        node.uid = who.uid;
        node.gid = who.gids[0];
        node.mode = making.mode & 0o7777;
        match &dir.default_acl {
            Some(_) if making.kind != NodeKind::Symlink => inherit_acl(dir, &mut node),
            _ => node.mode &= !(making.umask | who.params.umask),
        }
        if making.kind == NodeKind::Symlink {
            node.mode = 0o777;
        }
        if dir.mode & 0o2000 != 0 {
            node.gid = dir.gid;
            if is_dir && making.copy_setgid {
                node.mode |= 0o2000;
            }
        }
        (node.atime, node.mtime, node.ctime) = (step.now, step.now, step.now);
        node
    }

    /// Gives a new node its id and its name.
    pub(crate) fn insert_new(
        &mut self,
        step: &Step,
        parent: InodeId,
        name: &[u8],
        node: Node,
    ) -> Result<InodeId, FsError> {
        if node.kind == NodeKind::Directory {
            self.check_depth(parent, 0)?;
        }
        let inode = self.new_inode(parent, name, node.kind)?;
        self.nodes.insert(inode, Arc::new(node));
        self.add_name(step, parent, name, inode);
        Ok(inode)
    }

    /// Gives a node a name: the directory is modified.
    pub(crate) fn add_name(&mut self, step: &Step, parent: InodeId, name: &[u8], inode: InodeId) {
        self.names_given += 1;
        let age = self.names_given;
        let dir = self.node_mut(parent);
        let before = dir.entries.insert(name.to_vec(), inode);
        assert_eq!(before, None, "a name is given once");
        dir.ages.insert(name.to_vec(), age);
        dir.modified(step.now);
        if self.node(inode).kind == NodeKind::Directory {
            let mut least = self.node(inode).height;
            for above in self.self_and_above(parent) {
                least += 1;
                let height = &mut self.node_mut(above).height;
                *height = least.max(*height);
            }
        }
    }

    /// Whether a directory with so many levels below it may be put into another.
    fn check_depth(&self, parent: InodeId, height: u32) -> Result<(), FsError> {
        let depth = self.self_and_above(parent).len() + height as usize;
        if depth > self.ceilings.depth {
            return Err(FsError::NoSpace);
        }
        Ok(())
    }

    /// Section 8.4, link.
    fn link(
        &mut self,
        step: &mut Step,
        who: &Who,
        inode: InodeId,
        parent: InodeId,
        name: &[u8],
    ) -> Result<Reply, FsError> {
        let inode = self.see(who, inode, false)?;
        if self.node(inode).kind == NodeKind::Directory {
            return Err(FsError::Perm);
        }
        self.forbid(inode, eattr::IMMUTABLE)?;
        if self.node(inode).is_detached() {
            return Err(FsError::NoEnt);
        }
        if self.nlink(inode) >= self.ceilings.names {
            return Err(FsError::NoSpace);
        }
        let parent = self.check_place(who, parent, name)?;
        if self.node(parent).entries.contains_key(name) {
            return Err(FsError::Exist);
        }
        let growth = self.grow_below(parent, self.stats(inode));
        self.check_quota(step.now, &growth)?;
        self.add_name(step, parent, name, inode);
        self.node_mut(inode).changed(step.now);
        Ok(self.node_reply(who, inode))
    }

    /// What comes before the type of what is to be removed matters (section 8.4, unlink/rmdir).
    fn check_removal(
        &self,
        who: &Who,
        parent: InodeId,
        name: &[u8],
    ) -> Result<(InodeId, InodeId), FsError> {
        let (parent, child) = self.check_source(who, parent, name)?;
        self.forbid(child, eattr::PROTECTED)?;
        Ok((parent, child))
    }

    fn check_source(
        &self,
        who: &Who,
        parent: InodeId,
        name: &[u8],
    ) -> Result<(InodeId, InodeId), FsError> {
        let parent = self.see_directory(who, parent)?;
        self.forbid(parent, eattr::IMMUTABLE | eattr::APPEND_ONLY)?;
        self.demand(who, parent, W | X)?;
        check_name(name)?;
        let Some(child) = self.node(parent).entries.get(name).copied() else {
            return Err(FsError::NoEnt);
        };
        self.sticky(who, parent, child)?;
        Ok((parent, child))
    }

    /// Takes a name away. A file that loses its last name goes to the trash if it has a trash
    /// time, stays while it is open, or is freed; everything else is freed (section 8.2).
    pub(crate) fn remove_name(&mut self, step: &Step, parent: InodeId, name: &[u8]) {
        self.remove_name_to(step, parent, name, true);
    }

    /// As [`Self::remove_name`], and past the trash if wanted.
    pub(crate) fn remove_name_to(
        &mut self,
        step: &Step,
        parent: InodeId,
        name: &[u8],
        trash: bool,
    ) {
        let path = self
            .path_below(InodeId::ROOT, parent)
            .expect("every directory is below the root");
        let path = join(path, name);
        let dir = self.node_mut(parent);
        let child = dir.entries.remove(name).expect("the caller has seen it");
        dir.ages.remove(name);
        dir.modified(step.now);
        self.node_mut(child).changed(step.now);
        if !self.links(child).is_empty() {
            return;
        }
        let is_open = self.is_open(child);
        let node = self.node_mut(child);
        if node.kind != NodeKind::File {
            self.free(child);
            return;
        }
        let cut = path.len().saturating_sub(limits::TRASH_PATH_BYTES_MAX);
        node.path = path[cut..].to_vec();
        if trash && node.trash_hours > 0 {
            node.whereabouts = Whereabouts::Trash;
        } else if is_open {
            node.whereabouts = Whereabouts::Sustained;
        } else {
            self.free(child);
        }
    }

    /// The node is gone.
    pub(crate) fn free(&mut self, inode: InodeId) {
        let node = self.nodes.remove(&inode).expect("the caller has seen it");
        assert!(node.entries.is_empty(), "only an empty directory is freed");
    }

    /// Section 8.4, rename.
    fn rename(
        &mut self,
        step: &mut Step,
        who: &Who,
        (src_parent, src_name): (InodeId, &Vec<u8>),
        (dst_parent, dst_name): (InodeId, &Vec<u8>),
    ) -> Result<Reply, FsError> {
        let (src_parent, inode) = self.check_source(who, src_parent, src_name)?;
        let dst_parent = self.check_place(who, dst_parent, dst_name)?;
        self.forbid(inode, eattr::IMMUTABLE)?;
        let is_dir = self.node(inode).kind == NodeKind::Directory;
        if is_dir && src_parent != dst_parent {
            self.demand(who, inode, W)?;
        }
        if is_dir && self.is_within(inode, dst_parent) {
            return Err(FsError::Invalid);
        }
        let target = self.node(dst_parent).entries.get(dst_name).copied();
        if target == Some(inode) {
            // POSIX: two names of one node; nothing happens.
            return Ok(self.node_reply(who, inode));
        }
        let mut more = self.stats(inode);
        if let Some(target) = target {
            self.check_replaceable(who, is_dir, dst_parent, target)?;
            more = subtract(more, self.stats(target));
        }
        let growth = self.grow_by_move(src_parent, dst_parent, more);
        self.check_quota(step.now, &growth)?;
        if is_dir {
            self.check_depth(dst_parent, self.node(inode).height)?;
        }

        if target.is_some() {
            self.remove_name(step, dst_parent, dst_name);
        }
        let dir = self.node_mut(src_parent);
        dir.entries.remove(src_name);
        dir.ages.remove(src_name);
        dir.modified(step.now);
        self.add_name(step, dst_parent, dst_name, inode);
        self.node_mut(inode).changed(step.now);
        Ok(self.node_reply(who, inode))
    }

    /// Whether a rename may put something in the place of `target`.
    fn check_replaceable(
        &self,
        who: &Who,
        by_dir: bool,
        parent: InodeId,
        target: InodeId,
    ) -> Result<(), FsError> {
        self.sticky(who, parent, target)?;
        self.forbid(target, eattr::PROTECTED)?;
        let node = self.node(target);
        let is_dir = node.kind == NodeKind::Directory;
        if !node.entries.is_empty() {
            return Err(FsError::NotEmpty);
        }
        match (by_dir, is_dir) {
            (true, false) => Err(FsError::NotDir),
            (false, true) => Err(FsError::Perm),
            _ => Ok(()),
        }
    }
}

/// A directory's default ACL takes the umask's place (section 3.9, "Inheritance").
fn inherit_acl(dir: &Node, node: &mut Node) {
    let acl = dir.default_acl.as_ref().expect("asked before");
    let bare = acl.named_users.is_empty() && acl.named_groups.is_empty() && acl.mask == NOT_GIVEN;
    let (user, group, other) = (acl.user & 7, acl.group & 7, acl.other & 7);
    if bare {
        node.mode &= 0o7000 | user << 6 | group << 3 | other;
    } else {
        let mut own = acl.clone();
        own.user &= node.mode >> 6 & 7;
        own.mask &= node.mode >> 3 & 7;
        own.other &= node.mode & 7;
        node.mode = node.mode & 0o7000 | own.user << 6 | group << 3 | own.other;
        node.access_acl = Some(own);
    }
    if node.kind == NodeKind::Directory {
        node.default_acl = Some(acl.clone());
    }
}
