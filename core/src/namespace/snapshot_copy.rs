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
use super::op::{Acl, AclKind, Caller, DirStats, Disable, Name, NodeKind, Reply, SnapshotFlags};
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
/// `Access` to the source; `Perm` for what is no directory; `Invalid` for a directory into itself; `Access` to the
/// directory; `Invalid` for the name. Then for what is there already, in order of name: `Invalid`
/// when it is the source; `Perm` when it is of another type or protected; `Exist` when files are
/// not to be replaced. `Invalid` for more nodes and chunks than one command may touch; `NoSpace`;
/// `Locked` while a chunk is being cut: the copy would be cut with it; `Quota`.
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
        return Err(FsError::Perm.into());
    }
    if source.kind() == NodeKind::Directory && path::is_within(txn, dir, src)? {
        return Err(FsError::Invalid.into());
    }
    permission::require(txn, &who, dir, &parent, WRITE | EXECUTE)?;
    path::valid_name(wanted.name)?;
    let mut copier = Copier {
        who: &who,
        src,
        flags: wanted.flags,
        umask: wanted.umask,
        visited: 0,
        stack: vec![(src, dir, wanted.name.clone())],
        twins: BTreeMap::new(),
        touched: Vec::new(),
        filled: Vec::new(),
        cuts: false,
    };
    let before = stats::of_dir(txn, dir)?;
    copier.run(txn)?;
    if copier.cuts {
        return Err(FsError::Locked.into());
    }
    let growth = stats::minus(&stats::of_dir(txn, dir)?, &before);
    quota::check_grown(txn, &path::ancestors(txn, dir)?, &growth)?;
    for (dir, before) in copier.filled {
        let growth = stats::minus(&stats::of_dir(txn, dir)?, &before);
        quota::check_grown(txn, &[dir], &growth)?;
    }
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
    /// What stands for files that have several names: a copy, or what was there and is left.
    twins: BTreeMap<InodeId, InodeId>,
    /// Nodes of the copy, and the mtime and ctime they shall have; `None` as they come.
    touched: Vec<(InodeId, Option<(WallTime, WallTime)>)>,
    /// Directories below the first that were there before, and what they held then: each may have
    /// a quota of its own.
    filled: Vec<(InodeId, DirStats)>,
    /// One of the shared chunks is being cut.
    cuts: bool,
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
            self.filled.push((existing, stats::of_dir(txn, existing)?));
            return Ok(Some(existing));
        }
        if !self.flags.overwrite {
            return Err(FsError::Exist.into());
        }
        let left = match self.twin(txn, from, source)? {
            Some(twin) => existing == twin,
            None => existing == from || self.same(txn, (from, source), (existing, &there))?,
        };
        if left {
            self.note_twin(from, source, existing);
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
        // A symlink's length is what it counts as, which says nothing that its target does not.
        let is_file = left.kind() == NodeKind::File;
        if left.origin != right.origin || is_file && left.length.value() != right.length.value() {
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
        if let Some(twin) = self.twin(txn, from, source)? {
            node::link(txn, dir, name, twin)?;
            return Ok(twin);
        }
        let copy = if self.flags.like_cp {
            self.copy_like_cp(txn, (from, source), (dir, name))?
        } else {
            self.copy_as_is(txn, (from, source), (dir, name))?
        };
        self.note_twin(from, source, copy);
        Ok(copy)
    }

    /// Whether other names of a source shall be names of its one copy.
    fn is_kept_together(&self, source: &Inode) -> bool {
        let is_dir = source.kind() == NodeKind::Directory;
        self.flags.keep_hardlinks && !is_dir && source.links.value() > 1
    }

    /// What stands for a source that was met under another name, and may get one more.
    fn twin(&self, txn: &Txn<'_>, from: InodeId, source: &Inode) -> Res<Option<InodeId>> {
        if !self.is_kept_together(source) {
            return Ok(None);
        }
        let Some(twin) = self.twins.get(&from).copied() else {
            return Ok(None);
        };
        let links = path::known(txn, twin)?.links.value();
        Ok((links < u64::from(txn.ceilings().names)).then_some(twin))
    }

    fn note_twin(&mut self, from: InodeId, source: &Inode, stands: InodeId) {
        if self.is_kept_together(source) {
            self.twins.insert(from, stands);
        }
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
            mode: if source.kind() == NodeKind::Symlink {
                0o777
            } else {
                source.mode.value() & 0o777
            },
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
        if source.kind() == NodeKind::Directory {
            stats::check_depth(txn, dir, 0)?;
        }
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
            self.cuts |= chunk::is_being_cut(&chunk::get(txn, chunk)?);
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

#[cfg(test)]
mod tests {
    use super::super::op::{Attr, Op, Query, QuotaLimits, SetAttr, SetTime, XattrMode};
    use super::super::testing::{
        Bed, ROOT, chmod, hard_quota, link, root, set_attr, somebody, symlink, unlink, user,
    };
    use super::*;

    fn take(caller: &Caller, src: InodeId, dst: InodeId, name: &str) -> Op {
        take_with(caller, src, dst, name, SnapshotFlags::default())
    }

    fn take_with(
        caller: &Caller,
        src: InodeId,
        dst_parent: InodeId,
        name: &str,
        flags: SnapshotFlags,
    ) -> Op {
        Op::Snapshot {
            caller: caller.clone(),
            src,
            dst_parent,
            name: name.into(),
            flags,
            umask: 0o022,
        }
    }

    const OVERWRITE: SnapshotFlags = SnapshotFlags {
        overwrite: true,
        like_cp: false,
        keep_hardlinks: false,
    };

    /// src / { f (two chunks, an xattr), l, sub / g }.
    fn bed() -> (Bed, InodeId) {
        let mut bed = Bed::new();
        let src = bed.dir(&somebody(5), ROOT, "src");
        let file = bed.file(&somebody(5), src, "f");
        bed.add_chunk(file, 0, limits::CHUNK_BYTES);
        bed.add_chunk(file, 1, limits::CHUNK_BYTES + 9);
        bed.node(symlink(&somebody(5), src, "l", b"f"));
        let sub = bed.dir(&somebody(5), src, "sub");
        bed.file(&somebody(5), sub, "g");
        bed.ok(Op::SetXattr {
            caller: root(),
            inode: file,
            opened: false,
            name: b"user.x".to_vec(),
            value: b"v".to_vec(),
            mode: XattrMode::Create,
        });
        (bed, src)
    }

    fn times(attr: &Attr) -> [u32; 3] {
        [attr.atime.0, attr.mtime.0, attr.ctime.0]
    }

    fn eattr(bed: &mut Bed, ino: InodeId) -> u8 {
        bed.by_hand(|txn| Ok(txn.inode(ino)?.eattr.value()))
    }

    #[test]
    fn a_snapshot_is_the_same_tree_over_the_same_chunks() {
        let (mut bed, src) = bed();
        let before = bed.sums(ROOT);
        bed.now += 100;
        bed.ok(take(&root(), src, ROOT, "copy"));
        let copy = bed.find(ROOT, "copy").unwrap();
        assert_eq!(bed.sums(copy), bed.sums(src));
        assert_eq!(bed.sums(ROOT), stats::plus(&before, &bed.sums(src)));
        for (from, to, name) in [(src, copy, "f"), (src, copy, "l"), (src, copy, "sub")] {
            let (from, to) = (bed.find(from, name).unwrap(), bed.find(to, name).unwrap());
            assert_ne!(from, to);
            assert_eq!(bed.attr(from), bed.attr(to), "{name}");
            assert_eq!(eattr(&mut bed, to), SNAPSHOT, "{name}");
        }
        assert_eq!(bed.attr(copy), bed.attr(src));
        assert_eq!(eattr(&mut bed, copy), SNAPSHOT);
        assert_eq!(bed.attr(ROOT).mtime.0, 1_100);
        let file = bed.find(copy, "f").unwrap();
        let value = Query::GetXattr {
            caller: root(),
            inode: file,
            opened: false,
            name: b"user.x".to_vec(),
        };
        assert!(bed.ask(value).is_ok());
        // The first write makes a chunk of its own, and a modified file is no snapshot.
        let reply = bed.ok(Op::WriteChunk {
            caller: root(),
            inode: file,
            index: 0,
            go_on: false,
            chunk_moved: false,
            may_touch_times: true,
        });
        let Reply::Chunk { action, .. } = reply else {
            panic!("a chunk was expected");
        };
        assert!(matches!(
            action,
            super::super::op::ChunkAction::Duplicated { .. }
        ));
        assert_eq!(eattr(&mut bed, file), 0);
    }

    #[test]
    fn somebody_elses_tree_becomes_the_callers_without_what_may_not_be_read() {
        let (mut bed, src) = bed();
        let file = bed.find(src, "f").unwrap();
        bed.ok(chmod(&root(), file, 0o4755));
        let sub = bed.find(src, "sub").unwrap();
        bed.ok(chmod(&root(), sub, 0o700));
        bed.ok(take(&somebody(8), src, ROOT, "copy"));
        let copy = bed.find(ROOT, "copy").unwrap();
        let attr = bed.attr(bed.find(copy, "f").unwrap());
        assert_eq!((attr.uid, attr.gid, attr.mode), (8, 8, 0o755));
        assert_eq!(bed.find(copy, "sub"), None);
    }

    #[test]
    fn a_copy_like_cp_is_as_if_freshly_made() {
        let (mut bed, src) = bed();
        let flags = SnapshotFlags {
            like_cp: true,
            ..SnapshotFlags::default()
        };
        let file = bed.find(src, "f").unwrap();
        bed.ok(chmod(&root(), file, 0o4777));
        bed.ok(Op::SetSclass {
            caller: root(),
            inode: file,
            class: 5,
            only: None,
            mode: super::super::op::SetMode::Set,
            recursive: false,
        });
        bed.now += 100;
        bed.ok(take_with(&somebody(8), src, ROOT, "copy", flags));
        let copy = bed.find(ROOT, "copy").unwrap();
        let new = bed.find(copy, "f").unwrap();
        let attr = bed.attr(new);
        assert_eq!(
            (attr.uid, attr.mode, attr.length),
            (8, 0o755, bed.attr(file).length)
        );
        assert_eq!(times(&attr), [1_100; 3]);
        assert_eq!(attr.flags & 8, 8);
        let class = bed.by_hand(|txn| Ok(txn.inode(new)?.class.value()));
        assert_eq!((class, eattr(&mut bed, new)), (2, SNAPSHOT));
        assert_eq!(eattr(&mut bed, copy), SNAPSHOT);
    }

    #[test]
    fn hard_links_stay_hard_links_when_asked() {
        let (mut bed, src) = bed();
        let file = bed.find(src, "f").unwrap();
        bed.ok(link(&root(), file, src, "f2"));
        bed.ok(take(&root(), src, ROOT, "apart"));
        let flags = SnapshotFlags {
            keep_hardlinks: true,
            ..SnapshotFlags::default()
        };
        bed.ok(take_with(&root(), src, ROOT, "together", flags));
        let (apart, together) = (bed.find(ROOT, "apart"), bed.find(ROOT, "together"));
        let pair = |bed: &Bed, dir: Option<InodeId>| {
            let dir = dir.unwrap();
            (bed.find(dir, "f"), bed.find(dir, "f2"))
        };
        let (one, two) = pair(&bed, together);
        assert_eq!(one, two);
        assert_eq!(bed.attr(one.unwrap()).nlink, 2);
        let (one, two) = pair(&bed, apart);
        assert_ne!(one, two);
    }

    #[test]
    fn names_that_are_there_become_names_of_what_stands_at_the_first() {
        let (mut bed, src) = bed();
        let file = bed.find(src, "f").unwrap();
        bed.ok(link(&root(), file, src, "f2"));
        bed.ok(take(&root(), src, ROOT, "copy"));
        let copy = bed.find(ROOT, "copy").unwrap();
        let first = bed.find(copy, "f");
        assert_ne!(first, bed.find(copy, "f2"));
        let flags = SnapshotFlags {
            keep_hardlinks: true,
            ..OVERWRITE
        };
        for _ in 0..2 {
            bed.ok(take_with(&root(), src, ROOT, "copy", flags));
            assert_eq!((bed.find(copy, "f"), bed.find(copy, "f2")), (first, first));
        }
    }

    #[test]
    fn directories_merge_identical_files_stay_and_others_go_to_the_trash() {
        let (mut bed, src) = bed();
        bed.ok(take(&root(), src, ROOT, "copy"));
        let copy = bed.find(ROOT, "copy").unwrap();
        let own = bed.file(&root(), copy, "own");
        let same = bed.find(copy, "f").unwrap();
        let old = bed.find(src, "sub").and_then(|sub| bed.find(sub, "g"));
        bed.add_chunk(old.unwrap(), 0, 5);
        bed.refused(vec![(FsError::Exist, take(&root(), src, ROOT, "copy"))]);
        let sub = bed.find(copy, "sub").unwrap();
        let replaced = bed.find(sub, "g").unwrap();
        bed.ok(take_with(&root(), src, ROOT, "copy", OVERWRITE));
        assert_eq!(bed.find(copy, "own"), Some(own));
        assert_eq!(bed.find(copy, "f"), Some(same));
        assert_ne!(bed.find(sub, "g"), Some(replaced));
        assert_eq!(bed.attr(replaced).nlink, 0);
        assert_eq!(bed.attr(bed.find(sub, "g").unwrap()).length, 5);
    }

    #[test]
    fn snapshots_are_refused_for_reasons_in_order() {
        let (mut bed, src) = bed();
        let file = bed.find(src, "f").unwrap();
        let sub = bed.find(src, "sub").unwrap();
        let closed = bed.dir(&root(), ROOT, "closed");
        let disabled = bed.session_with(|p| p.disables = 1 << Disable::Snapshot as u32);
        let reader = bed.session_with(|p| p.flags.read_only = true);
        let secret = bed.file(&root(), ROOT, "secret");
        bed.ok(chmod(&root(), secret, 0o600));
        let eight = somebody(8);
        bed.refused(vec![
            (FsError::Perm, take(&user(disabled, 0), src, ROOT, "x")),
            (FsError::ReadOnly, take(&user(reader, 0), src, ROOT, "x")),
            (FsError::Invalid, take(&root(), InodeId(0), ROOT, "x")),
            (FsError::NoEnt, take(&root(), InodeId(9_999), ROOT, "x")),
            (FsError::NoEnt, take(&root(), src, InodeId(9_999), "x")),
            (FsError::Access, take(&eight, secret, file, "x")),
            (FsError::Perm, take(&root(), src, file, "x")),
            (FsError::Invalid, take(&root(), src, src, "x")),
            (FsError::Invalid, take(&root(), src, sub, "x")),
            (FsError::Access, take(&eight, file, closed, "x")),
            (FsError::Invalid, take(&root(), file, closed, "")),
            (FsError::Invalid, take(&root(), file, closed, "a/b")),
            (FsError::Invalid, take(&root(), src, ROOT, "src")),
            (FsError::Perm, take(&root(), src, ROOT, "secret")),
            (FsError::Exist, take(&root(), file, ROOT, "secret")),
        ]);
        bed.set_eattr(secret, UNDELETABLE);
        bed.refused(vec![(
            FsError::Perm,
            take_with(&root(), file, ROOT, "secret", OVERWRITE),
        )]);
        bed.set_eattr(closed, IMMUTABLE);
        bed.refused(vec![(FsError::Perm, take(&eight, secret, closed, "x"))]);
    }

    #[test]
    fn a_source_inside_what_is_merged_into_is_never_written_to() {
        let (mut bed, src) = bed();
        // src/sub is put over src, which holds it: g comes out, and sub stays as it is.
        bed.ok(take(&root(), bed.find(src, "sub").unwrap(), ROOT, "src"));
        assert!(bed.find(src, "g").is_some());
        // With a sub/sub, that would be put over sub itself.
        let sub = bed.find(src, "sub").unwrap();
        bed.dir(&root(), sub, "sub");
        bed.refused(vec![(
            FsError::Invalid,
            take_with(&root(), sub, ROOT, "src", OVERWRITE),
        )]);
    }

    #[test]
    fn a_quota_counts_what_a_snapshot_adds() {
        let (mut bed, src) = bed();
        let dir = bed.dir(&root(), ROOT, "d");
        let sums = bed.sums(src);
        let room = |bed: &mut Bed, length: i128| {
            bed.ok(hard_quota(
                dir,
                QuotaLimits {
                    length: Some(length as u64),
                    ..QuotaLimits::default()
                },
            ))
        };
        room(&mut bed, sums.length - 1);
        bed.refused(vec![(FsError::Quota, take(&root(), src, dir, "copy"))]);
        room(&mut bed, sums.length);
        bed.ok(take(&root(), src, dir, "copy"));
        // Replacing the same amount needs no more room.
        let file = bed.find(src, "f").unwrap();
        bed.ok(set_attr(
            &root(),
            file,
            SetAttr {
                mtime: SetTime::At(WallTime(5)),
                ..SetAttr::default()
            },
        ));
        bed.ok(take_with(&root(), src, dir, "copy", OVERWRITE));
    }

    #[test]
    fn removal_takes_snapshots_past_the_trash_and_nothing_else() {
        let (mut bed, src) = bed();
        bed.ok(take(&root(), src, ROOT, "copy"));
        let copy = bed.find(ROOT, "copy").unwrap();
        let before = bed.sums(src);
        let remove = |caller: &Caller, parent, name: &str, force| Op::RemoveSnapshot {
            caller: caller.clone(),
            parent,
            name: name.into(),
            force,
        };
        let disabled = bed.session_with(|p| p.disables = 1 << Disable::Snapshot as u32);
        let reader = bed.session_with(|p| p.flags.read_only = true);
        let file = bed.find(src, "f").unwrap();
        let eight = somebody(8);
        bed.refused(vec![
            (
                FsError::Perm,
                remove(&user(disabled, 0), ROOT, "copy", false),
            ),
            (
                FsError::ReadOnly,
                remove(&user(reader, 0), ROOT, "copy", false),
            ),
            (
                FsError::NoEnt,
                remove(&root(), InodeId(9_999), "copy", false),
            ),
            (FsError::NotDir, remove(&root(), file, "copy", false)),
            (FsError::Access, remove(&eight, src, "f", false)),
            (FsError::Invalid, remove(&root(), ROOT, "..", false)),
            (FsError::NoEnt, remove(&root(), ROOT, "nothing", false)),
            (FsError::Perm, remove(&root(), ROOT, "src", false)),
            (FsError::Access, remove(&eight, ROOT, "copy", false)),
        ]);
        // One node that is no snapshot, or protected, keeps all.
        let sub = bed.find(copy, "sub").unwrap();
        let own = bed.file(&root(), sub, "own");
        bed.refused(vec![(FsError::Perm, remove(&root(), ROOT, "copy", false))]);
        // With force everything else goes.
        bed.set_eattr(own, UNDELETABLE);
        bed.ok(remove(&root(), ROOT, "copy", true));
        assert_eq!(bed.find(copy, "f"), None);
        assert_eq!(bed.find(sub, "own"), Some(own));
        bed.set_eattr(own, SNAPSHOT);
        bed.set_eattr(sub, SNAPSHOT);
        bed.set_eattr(copy, SNAPSHOT);
        bed.set_eattr(ROOT, APPEND_ONLY);
        bed.refused(vec![(FsError::Perm, remove(&root(), ROOT, "copy", false))]);
        bed.set_eattr(ROOT, 0);
        bed.ok(chmod(&root(), ROOT, 0o1777));
        bed.refused(vec![(FsError::Perm, remove(&eight, ROOT, "copy", true))]);
        bed.ok(remove(&root(), ROOT, "copy", false));
        assert_eq!(bed.find(ROOT, "copy"), None);
        assert_eq!(bed.sums(src), before);
        let trash = bed.by_hand(|txn| {
            let mut count = 0;
            walk::every::<super::super::record::Trashed>(txn, Key::Trashed, |_, _| {
                count += 1;
                Ok(ControlFlow::Continue(()))
            })?;
            Ok(count)
        });
        assert_eq!(trash, 0);
        bed.ok(unlink(&root(), src, "f"));
    }
}
