//! Snapshots of files and subtrees: copies that share their chunks until one side is written.
//!
//! The copy is made in one go and thrown away with the whole command when anything forbids it, so
//! that what is there and may not be replaced is only looked at once. The source is walked in
//! order of name; nothing is ever put into the source itself, so the walk ends.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::chunk;
use super::error::FsError;
use super::key::Key;
use super::node::{self, New};
use super::op::{Acl, AclKind, Caller, Disable, Name, NodeKind, Reply, SnapshotFlags};
use super::path;
use super::permission::{
    self, APPEND_ONLY, EXECUTE, IMMUTABLE, READ, SNAPSHOT, UNDELETABLE, WRITE,
};
use super::quota;
use super::record::{Inode, Stats, Xattr};
use super::stats;
use super::txn::{Res, Txn};
use super::walk;
use super::who::Who;
use crate::crdt::Lww;
use crate::id::{ChunkId, InodeId};
use crate::limits;
use crate::time::WallTime;

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// What is copied.
    pub src: InodeId,
    /// Where the copy goes.
    pub dst_parent: InodeId,
    /// Its name there.
    pub name: &'a Name,
    /// How.
    pub flags: SnapshotFlags,
    /// Bits that new nodes do not get, when they are made as if by cp.
    pub umask: u16,
}

/// SNAPSHOT.
///
/// # Errors
/// After the session's: `Invalid` for inode 0; `NoEnt`; `Perm` for an immutable directory;
/// `Access` to the source; `NotDir`; `Invalid` for a directory into itself; `Access` to the
/// directory; `Invalid` for the name. Then for what is there already, in order of name: `Invalid`
/// when it is the source; `Perm` when it is of another type or protected; `Exist` when files are
/// not to be replaced. `Invalid` for more nodes and chunks than one command may touch; `NoSpace`;
/// `Quota`.
pub fn snapshot(txn: &mut Txn<'_>, caller: &Caller, wanted: Wanted<'_>) -> Res<Reply> {
    let who = Who::enter(txn, caller, &[Disable::Snapshot], true)?;
    if wanted.src == InodeId(0) || wanted.dst_parent == InodeId(0) {
        return Err(FsError::Invalid.into());
    }
    let (src, source) = who.node(txn, wanted.src, false)?;
    let (dir, parent) = who.node(txn, wanted.dst_parent, false)?;
    if parent.eattr.value() & IMMUTABLE != 0 {
        return Err(FsError::Perm.into());
    }
    permission::require(txn, &who, src, &source, READ)?;
    if parent.kind() != NodeKind::Directory {
        return Err(FsError::NotDir.into());
    }
    if source.kind() == NodeKind::Directory && path::is_within(txn, dir, src)? {
        return Err(FsError::Invalid.into());
    }
    permission::require(txn, &who, dir, &parent, WRITE | EXECUTE)?;
    path::valid_name(wanted.name)?;
    let before = stats::of_dir(txn, dir)?;
    let mut copier = Copier {
        who: &who,
        src,
        flags: wanted.flags,
        umask: wanted.umask,
        visited: 0,
        stack: vec![(src, dir, wanted.name.clone())],
        twins: BTreeMap::new(),
        touched: Vec::new(),
    };
    copier.run(txn)?;
    let growth = stats::minus(&stats::of_dir(txn, dir)?, &before);
    quota::check_grown(txn, dir, &growth)?;
    Ok(Reply::Done)
}

/// A node to copy, and the directory and name it goes to.
type Job = (InodeId, InodeId, Name);

struct Copier<'a> {
    who: &'a Who,
    src: InodeId,
    flags: SnapshotFlags,
    umask: u16,
    /// Nodes looked at and chunks shared.
    visited: usize,
    stack: Vec<Job>,
    /// Copies of files that have several names.
    twins: BTreeMap<InodeId, InodeId>,
    /// Nodes of the copy, and the mtime and ctime they shall have; `None` as they come.
    touched: Vec<(InodeId, Option<(WallTime, WallTime)>)>,
}

impl Copier<'_> {
    fn run(&mut self, txn: &mut Txn<'_>) -> Res<()> {
        while let Some((from, dir, name)) = self.stack.pop() {
            self.visit(1)?;
            let source = path::known(txn, from)?;
            let has_data = matches!(source.kind(), NodeKind::File | NodeKind::Directory);
            if has_data && !permission::allows(txn, self.who, from, &source, READ)? {
                continue;
            }
            let existing = node::find(txn, dir, &name)?.map(|target| target.inode);
            let copy = match existing {
                Some(existing) => self.over(txn, (from, &source), existing, (dir, &name))?,
                None => Some(self.copy(txn, (from, &source), (dir, &name))?),
            };
            if let (Some(copy), NodeKind::Directory) = (copy, source.kind()) {
                self.descend(txn, from, copy)?;
            }
        }
        // Last of all: putting things into a directory counts as its modification.
        for (ino, times) in std::mem::take(&mut self.touched) {
            node::change(txn, ino, |copy, stamp| Inode {
                mtime: times.map_or(Lww::default(), |(at, _)| copy.mtime.write(stamp, at)),
                ctime: times.map_or(Lww::default(), |(_, at)| copy.ctime.write(stamp, at)),
                eattr: copy.eattr.write(stamp, copy.eattr.value() | SNAPSHOT),
                ..Inode::default()
            })?;
        }
        Ok(())
    }

    fn visit(&mut self, more: usize) -> Result<(), FsError> {
        self.visited = self.visited.saturating_add(more);
        if self.visited > limits::RECURSION_MAX {
            return Err(FsError::Invalid);
        }
        Ok(())
    }

    fn descend(&mut self, txn: &Txn<'_>, from: InodeId, copy: InodeId) -> Res<()> {
        let room = limits::RECURSION_MAX.saturating_sub(self.visited + self.stack.len());
        let entries = walk::children(txn, from, room)?;
        let jobs = entries
            .into_iter()
            .rev()
            .map(|(name, target)| (target.inode, copy, name));
        self.stack.extend(jobs);
        Ok(())
    }

    /// Copies over what has the name already. Gives the directory to go on in, if it is one.
    fn over(
        &mut self,
        txn: &mut Txn<'_>,
        (from, source): (InodeId, &Inode),
        existing: InodeId,
        (dir, name): (InodeId, &Name),
    ) -> Res<Option<InodeId>> {
        let there = path::known(txn, existing)?;
        if existing == self.src {
            return Err(FsError::Invalid.into());
        }
        let protection = UNDELETABLE | IMMUTABLE | APPEND_ONLY;
        if there.kind() != source.kind() || there.eattr.value() & protection != 0 {
            return Err(FsError::Perm.into());
        }
        if source.kind() == NodeKind::Directory {
            self.touched.push((existing, None));
            return Ok(Some(existing));
        }
        if !self.flags.overwrite {
            return Err(FsError::Exist.into());
        }
        if existing == from || self.same(txn, (from, source), (existing, &there))? {
            return Ok(None);
        }
        node::drop_name(txn, dir, name, existing, false)?;
        self.copy(txn, (from, source), (dir, name))?;
        Ok(None)
    }

    /// Whether two nodes of a kind hold the same.
    fn same(
        &mut self,
        txn: &Txn<'_>,
        (a, left): (InodeId, &Inode),
        (b, right): (InodeId, &Inode),
    ) -> Res<bool> {
        if left.origin != right.origin || left.length.value() != right.length.value() {
            return Ok(false);
        }
        Ok(self.chunks(txn, a)? == self.chunks(txn, b)?)
    }

    fn chunks(&mut self, txn: &Txn<'_>, ino: InodeId) -> Res<Vec<(u32, ChunkId)>> {
        let room = limits::RECURSION_MAX.saturating_sub(self.visited);
        let slots = chunk::slots(txn, ino, 0, u32::MAX, room + 1)?;
        self.visit(slots.len())?;
        Ok(slots)
    }

    /// Copies a node to a name that is free.
    fn copy(
        &mut self,
        txn: &mut Txn<'_>,
        (from, source): (InodeId, &Inode),
        (dir, name): (InodeId, &Name),
    ) -> Res<InodeId> {
        let twice = self.flags.keep_hardlinks
            && source.kind() != NodeKind::Directory
            && source.links.value() > 1;
        if twice && let Some(twin) = self.twins.get(&from).copied() {
            let links = path::known(txn, twin)?.links.value();
            if links < u64::from(limits::LINK_COUNT_MAX) {
                node::link(txn, dir, name, twin)?;
                return Ok(twin);
            }
        }
        let copy = if self.flags.like_cp {
            self.copy_like_cp(txn, (from, source), (dir, name))?
        } else {
            self.copy_as_is(txn, (from, source), (dir, name))?
        };
        if twice {
            self.twins.insert(from, copy);
        }
        Ok(copy)
    }

    /// A new node of the caller's, with the data of the source.
    fn copy_like_cp(
        &mut self,
        txn: &mut Txn<'_>,
        (from, source): (InodeId, &Inode),
        (dir, name): (InodeId, &Name),
    ) -> Res<InodeId> {
        let origin = source.origin.clone();
        let new = New {
            kind: source.kind(),
            mode: source.mode.value() & 0o777,
            umask: self.umask,
            rdev: origin.as_ref().map_or(0, |origin| origin.rdev),
            target: origin.map_or_else(Vec::new, |origin| origin.target),
            copy_setgid: false,
        };
        let (copy, made) = node::make(txn, self.who, dir, name, &new)?;
        if source.kind() == NodeKind::File {
            self.share_chunks(txn, from, copy)?;
            let length = source.length.value();
            let file = node::change(txn, copy, |file, stamp| Inode {
                length: file.length.write(stamp, length),
                ..Inode::default()
            })?;
            let before = stats::FILE;
            let after = stats::of_file(txn, copy, &file)?;
            stats::add_to_parents(txn, &made, &stats::minus(&after, &before))?;
        }
        self.touched.push((copy, None));
        Ok(copy)
    }

    /// The source again, with all its attributes; somebody else's becomes the caller's.
    fn copy_as_is(
        &mut self,
        txn: &mut Txn<'_>,
        (from, source): (InodeId, &Inode),
        (dir, name): (InodeId, &Name),
    ) -> Res<InodeId> {
        let copy = node::take_id(txn, dir, name, source.kind())?;
        let stamp = txn.stamp();
        let mine = self.who.is_root() || self.who.uid == source.uid.value();
        let (uid, gid, mode) = if mine {
            (source.uid.value(), source.gid.value(), source.mode.value())
        } else {
            let mode = source.mode.value() & !0o6000;
            (self.who.uid, self.who.gids[0], mode)
        };
        let (mtime, ctime) = (source.mtime.value(), source.ctime.value());
        let delta = Inode {
            origin: source.origin.clone(),
            mode: Lww::at(stamp, mode),
            uid: Lww::at(stamp, uid),
            gid: Lww::at(stamp, gid),
            atime: Lww::at(stamp, source.atime.value()),
            mtime: Lww::at(stamp, mtime),
            ctime: Lww::at(stamp, ctime),
            length: Lww::at(stamp, source.length.value()),
            winattr: Lww::at(stamp, source.winattr.value()),
            eattr: Lww::at(stamp, source.eattr.value()),
            class: Lww::at(stamp, source.class.value()),
            trash_hours: Lww::at(stamp, source.trash_hours.value()),
            decorated: Lww::at(stamp, source.decorated.value()),
            ..Inode::default()
        };
        txn.join(&Key::Inode(copy), &delta)?;
        if source.decorated.value() {
            copy_decoration(txn, from, copy)?;
        }
        match source.kind() {
            NodeKind::Directory => {
                txn.join(&Key::Stats(copy), &Stats::default().add(&stats::DIRECTORY))?;
            }
            NodeKind::File => self.share_chunks(txn, from, copy)?,
            _ => {}
        }
        node::link(txn, dir, name, copy)?;
        self.touched.push((copy, Some((mtime, ctime))));
        Ok(copy)
    }

    /// Gives a new file every chunk of another one.
    fn share_chunks(&mut self, txn: &mut Txn<'_>, from: InodeId, copy: InodeId) -> Res<()> {
        for (index, chunk) in self.chunks(txn, from)? {
            chunk::refer(txn, chunk)?;
            txn.set(&Key::ChunkSlot(copy, index), Some(chunk))?;
        }
        Ok(())
    }
}

/// Gives a new node the extended attributes and ACLs of another one.
fn copy_decoration(txn: &mut Txn<'_>, from: InodeId, copy: InodeId) -> Res<()> {
    let mut xattrs = Vec::new();
    txn.scan::<Xattr>(
        &Key::Xattr(from, Vec::new()).prefix(),
        None,
        |key, value| {
            if let Key::Xattr(_, name) = key {
                xattrs.push((name, value.get().cloned().flatten()));
            }
            Ok(ControlFlow::Continue(()))
        },
    )?;
    for (name, value) in xattrs {
        txn.set(&Key::Xattr(copy, name), value)?;
    }
    for kind in [AclKind::Access, AclKind::Default] {
        let acl: Option<Acl> = txn.value(&Key::Acl(from, kind))?;
        txn.set(&Key::Acl(copy, kind), acl)?;
    }
    Ok(())
}
