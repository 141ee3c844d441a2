//! The second half: records that belong together, as the state has them.
//!
//! First what belongs to each inode and each chunk, in order of their keys; then the tree from its
//! root down, because a directory's sums are those of all below it.

use std::collections::{BTreeSet, VecDeque};
use std::ops::{Bound, ControlFlow};

use super::stage::{
    At, Bytes, Chunk, Named, Node, Stage, corrupt, kind_prefix, of_chunk, of_inode,
    parse_chunk_key, parse_inode_key, place, taken_of, unstage,
};
use super::{ImportError, Imported, Progress, Writer};
use crate::crdt::{Dot, GCounter, LOG_REPLICA, LinkCounter, Lww, OrSet};
use crate::id::{ChunkId, InodeId, LogIndex, SessionId, Slot};
use crate::limits;
use crate::namespace::key::Key;
use crate::namespace::op::{Acl, AclKind, DirStats, NodeKind, Whereabouts};
use crate::namespace::quota;
use crate::namespace::record::{
    self, Applied, AppliedMark, DetachedBytes, Edge, FlockTable, Inode, PosixRange, PosixTable,
    QuotaRecord, ShardIds, SlotIds, Stats, Target,
};
use crate::namespace::stats;
use crate::namespace::txn::DOT_BITS;
use crate::store::{StateStore, StateView, StoreError};
use crate::time::{Stamp, WallTime};

/// Entries of a directory that are read at once.
const PAGE: usize = 16;
/// Locks of one kind that a file can have.
const LOCKS_MAX: usize = limits::LOCK_COUNT_MAX;

/// Makes the state of what was staged.
pub fn join<V: StateView, S: StateStore>(
    staged: &V,
    out: &mut Writer<'_, S>,
    stage: &Stage,
    now: WallTime,
    note: impl FnOnce(LogIndex) -> Vec<u8>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Imported, ImportError> {
    let mut groups = Groups::new(stage, &mut *out);
    each(staged, b"I", |key, value| groups.take_inode(key, value))?;
    groups.end_inode()?;
    each(staged, b"C", |key, value| groups.take_chunk(key, value))?;
    groups.end_chunk()?;
    let Groups {
        dirs, trash, kept, ..
    } = groups;
    let mut tree = Tree {
        staged,
        out: &mut *out,
        stage,
        now,
        progress,
        placed: 0,
        dirs: 0,
    };
    tree.walk()?;
    if tree.dirs != dirs {
        return Err(tree.lost());
    }
    let detached = DetachedBytes {
        trash: crate::crdt::PnCounter::default().add(LOG_REPLICA, trash),
        sustained: crate::crdt::PnCounter::default().add(LOG_REPLICA, kept),
    };
    if trash != 0 || kept != 0 {
        out.record(&Key::Detached, &detached)?;
    }
    ids(out, stage)?;
    let metaid: record::MetaId = Lww::at(Stamp::MIN, Some(stage.metaid));
    out.record(&Key::MetaId, &metaid)?;
    // Every name has a dot of its own, below all that commands will make.
    let index = LogIndex(1 + (stage.names >> DOT_BITS));
    let mark = AppliedMark {
        index,
        version: stage.version,
        note: note(index),
    };
    out.record(&Key::Applied, &Applied(mark))?;
    Ok(Imported {
        index,
        version: stage.version,
        metaid: stage.metaid,
        inodes: stage.inodes,
        chunks: stage.chunks,
        sessions: stage.sessions.len() as u64,
    })
}

/// All ids up to the highest that the old master gave out are taken, whatever became of them: its
/// clients and chunkservers may remember them.
fn ids<S: StateStore>(out: &mut Writer<'_, S>, stage: &Stage) -> Result<(), StoreError> {
    let counter = |count| match count {
        0 => GCounter::default(),
        count => GCounter::default().add(LOG_REPLICA, count),
    };
    for slot in (0..limits::SLOT_COUNT).map(Slot) {
        // Chunk 0 is a hole.
        let chunks = taken_of(slot, stage.next_chunk.max(1));
        let taken = SlotIds {
            inodes: counter(taken_of(slot, u64::from(stage.last_inode) + 1)),
            chunks: counter(chunks),
        };
        if taken != SlotIds::default() {
            out.record(&Key::SlotIds(slot), &taken)?;
        }
    }
    let taken = ShardIds {
        sessions: counter(stage.last_session.into()),
        registrations: counter(stage.registrations),
    };
    out.record(&Key::ShardIds, &taken)
}

/// Visits what was staged under a prefix, in order of key.
fn each(
    staged: &impl StateView,
    prefix: &[u8],
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), ImportError>,
) -> Result<(), ImportError> {
    let mut result = Ok(());
    let from = Bound::Included(prefix);
    staged.scan(from, Bound::Unbounded, &mut |key, value| {
        if !key.starts_with(prefix) {
            return ControlFlow::Break(());
        }
        result = visit(key, value);
        match result {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    })?;
    result
}

fn unfit<T>(at: u64, what: impl Into<String>) -> Result<T, ImportError> {
    Err(ImportError::unfit(at, what))
}

fn contradiction(key: &[u8]) -> ImportError {
    corrupt(key, "not a key of an import").into()
}

fn dot(number: u64) -> Dot {
    Dot {
        node: LOG_REPLICA,
        sequence: number,
    }
}

fn register<T: Clone + Ord>(value: T) -> Lww<T> {
    Lww::at(Stamp::MIN, value)
}

/// What is known of the inode whose records come.
struct InodeGroup {
    ino: InodeId,
    at: u64,
    node: Node,
    names: Vec<Named>,
    path: Option<Vec<u8>>,
    decorated: bool,
    has_quota: bool,
    opened: BTreeSet<SessionId>,
    flocks: FlockTable,
    ranges: PosixTable,
    /// The kind of the last record, and what no other of this kind has.
    last: (u8, Vec<u8>),
}

impl InodeGroup {
    /// Whether the record before was of this kind and had this name.
    fn is_second(&mut self, kind: u8, name: &[u8]) -> bool {
        let is_second = self.last.0 == kind && self.last.1 == name;
        self.last = (kind, name.to_vec());
        is_second
    }
}

/// What is known of the chunk whose records come.
struct ChunkGroup {
    id: ChunkId,
    chunk: Chunk,
    references: u64,
}

/// What belongs to each inode and chunk, one after the other.
struct Groups<'o, 's, S> {
    stage: &'o Stage,
    out: &'o mut Writer<'s, S>,
    inode: Option<InodeGroup>,
    chunk: Option<ChunkGroup>,
    dirs: u64,
    /// Bytes in the trash.
    trash: i128,
    /// Bytes sustained.
    kept: i128,
}

impl<'o, 's, S: StateStore> Groups<'o, 's, S> {
    fn new(stage: &'o Stage, out: &'o mut Writer<'s, S>) -> Self {
        Self {
            stage,
            out,
            inode: None,
            chunk: None,
            dirs: 0,
            trash: 0,
            kept: 0,
        }
    }

    fn take_inode(&mut self, key: &[u8], value: &[u8]) -> Result<(), ImportError> {
        let (ino, kind, rest) = parse_inode_key(key).ok_or_else(|| contradiction(key))?;
        if self.inode.as_ref().is_some_and(|group| group.ino != ino) {
            self.end_inode()?;
        }
        if kind == of_inode::NODE {
            let At(at, node): At<Node> = unstage(key, value)?;
            return self.begin_inode(ino, at, node);
        }
        let Some(group) = &mut self.inode else {
            let at = place(key, value)?;
            return unfit(at, format!("it is of {ino}, which is not there"));
        };
        match kind {
            of_inode::NAME => {
                let At(at, name): At<Named> = unstage(key, value)?;
                if group.names.len() >= limits::LINK_COUNT_MAX as usize {
                    return unfit(at, format!("{ino} has too many names"));
                }
                group.names.push(name);
                Ok(())
            }
            of_inode::PATH => {
                let At(at, path): At<Named> = unstage(key, value)?;
                match group.path.replace(path.name) {
                    None => Ok(()),
                    Some(_) => unfit(at, format!("{ino} had a second path")),
                }
            }
            of_inode::ACL => self.acl(key, value),
            of_inode::XATTR => self.xattr(key, value),
            of_inode::QUOTA => {
                let At(at, _): At<QuotaRecord> = unstage(key, value)?;
                if std::mem::replace(&mut group.has_quota, true) {
                    return unfit(at, format!("a second quota of {ino}"));
                }
                match group.node.origin.kind {
                    NodeKind::Directory => Ok(()),
                    _ => unfit(at, format!("a quota of {ino}, which is no directory")),
                }
            }
            of_inode::CHUNK => {
                let At(_, chunk): At<ChunkId> = unstage(key, value)?;
                let index = rest.try_into().map_err(|_| contradiction(key))?;
                let slot: record::ChunkSlot = register(Some(chunk));
                let key = Key::ChunkSlot(ino, u32::from_be_bytes(index));
                Ok(self.out.record(&key, &slot)?)
            }
            of_inode::OPEN => self.opened(key, value),
            of_inode::FLOCK => self.flock(key, value),
            of_inode::POSIX_LOCK => self.range(key, value),
            of_inode::ENTRY => {
                let At(at, entry): At<Named> = unstage(key, value)?;
                if group.node.origin.kind != NodeKind::Directory {
                    return unfit(at, format!("a name in {ino}, which is no directory"));
                }
                match group.is_second(kind, &entry.name) {
                    true => unfit(at, format!("a second {} in {ino}", shown(&entry.name))),
                    false => Ok(()),
                }
            }
            _ => Err(contradiction(key)),
        }
    }

    fn begin_inode(&mut self, ino: InodeId, at: u64, node: Node) -> Result<(), ImportError> {
        if self.inode.is_some() {
            return unfit(at, format!("a second {ino}"));
        }
        let has_class = matches!(node.origin.kind, NodeKind::File | NodeKind::Directory);
        if has_class && !self.stage.classes.contains_key(&node.class) {
            let class = node.class;
            return unfit(
                at,
                format!("there is no storage class {class}, which {ino} has"),
            );
        }
        self.dirs += u64::from(node.origin.kind == NodeKind::Directory);
        self.inode = Some(InodeGroup {
            ino,
            at,
            node,
            names: Vec::new(),
            path: None,
            decorated: false,
            has_quota: false,
            opened: BTreeSet::new(),
            flocks: FlockTable::default(),
            ranges: PosixTable::default(),
            last: (0, Vec::new()),
        });
        Ok(())
    }

    fn group(&mut self) -> &mut InodeGroup {
        self.inode.as_mut().expect("its node came first")
    }

    fn acl(&mut self, key: &[u8], value: &[u8]) -> Result<(), ImportError> {
        let At(at, (kind, acl)): At<(AclKind, Acl)> = unstage(key, value)?;
        let group = self.group();
        let ino = group.ino;
        if group.is_second(of_inode::ACL, &[kind as u8]) {
            return unfit(at, format!("a second list of access of {ino}"));
        }
        let fits = match group.node.origin.kind {
            NodeKind::Directory => true,
            NodeKind::Symlink => false,
            _ => kind == AclKind::Access,
        };
        if !fits {
            return unfit(at, format!("{ino} can have no such list of access"));
        }
        group.decorated = true;
        let acl: record::AclRecord = register(Some(acl));
        Ok(self.out.record(&Key::Acl(ino, kind), &acl)?)
    }

    fn xattr(&mut self, key: &[u8], value: &[u8]) -> Result<(), ImportError> {
        let At(at, (Bytes(name), Bytes(value))): At<(Bytes, Bytes)> = unstage(key, value)?;
        let group = self.group();
        let ino = group.ino;
        if group.is_second(of_inode::XATTR, &name) {
            return unfit(at, format!("a second {} of {ino}", shown(&name)));
        }
        group.decorated = true;
        let value: record::Xattr = register(Some(value));
        Ok(self.out.record(&Key::Xattr(ino, name), &value)?)
    }

    fn opened(&mut self, key: &[u8], value: &[u8]) -> Result<(), ImportError> {
        let At(at, session): At<SessionId> = unstage(key, value)?;
        let group = self.group();
        let ino = group.ino;
        if group.node.origin.kind != NodeKind::File {
            return unfit(at, format!("{ino} is open, and is no file"));
        }
        if !group.opened.insert(session) {
            let what = format!("session {} has {ino} open a second time", session.0);
            return unfit(at, what);
        }
        let opened: record::Opened = register(Some(()));
        self.out.record(&Key::Opened(ino, session), &opened)?;
        Ok(self
            .out
            .record(&Key::SessionOpened(session, ino), &opened)?)
    }

    fn flock(&mut self, key: &[u8], value: &[u8]) -> Result<(), ImportError> {
        let At(at, held): At<(SessionId, u64, bool)> = unstage(key, value)?;
        let (session, owner, exclusive) = held;
        let group = self.group();
        let ino = group.ino;
        if !group.opened.contains(&session) {
            return unfit(at, not_opened(ino, session));
        }
        let table = &mut group.flocks.held;
        let alone = table.iter().all(|(_, _, other)| !exclusive && !other);
        let twice = table
            .iter()
            .any(|other| (other.0, other.1) == (session, owner));
        if !alone || twice || table.len() >= LOCKS_MAX {
            return unfit(
                at,
                format!("two locks of {ino} exclude each other, or are too many"),
            );
        }
        table.push(held);
        Ok(())
    }

    fn range(&mut self, key: &[u8], value: &[u8]) -> Result<(), ImportError> {
        let At(at, range): At<PosixRange> = unstage(key, value)?;
        let group = self.group();
        let ino = group.ino;
        if !group.opened.contains(&range.session) {
            return unfit(at, not_opened(ino, range.session));
        }
        match crate::namespace::lock::hold_range(&mut group.ranges, range) {
            true => Ok(()),
            false => unfit(
                at,
                format!("two locks of {ino} exclude each other, or are too many"),
            ),
        }
    }

    /// All of the inode has come.
    fn end_inode(&mut self) -> Result<(), ImportError> {
        let Some(group) = self.inode.take() else {
            return Ok(());
        };
        let (ino, at, kind) = (group.ino, group.at, group.node.origin.kind);
        let is_dir = kind == NodeKind::Directory;
        let whereabouts = group.node.whereabouts;
        let names = group.names.len();
        let fits = match (ino == InodeId::ROOT, whereabouts) {
            (true, _) => is_dir && names == 0 && group.path.is_none(),
            (false, Whereabouts::Linked) => {
                names > 0 && (!is_dir || names == 1) && group.path.is_none()
            }
            (false, _) => names == 0 && group.path.is_some(),
        };
        if !fits {
            let had = match group.path {
                Some(_) => "a path of the trash or of a sustained file",
                None => "no path",
            };
            return unfit(
                at,
                format!("{ino}, {kind:?}, {whereabouts:?}, has {names} names and {had}"),
            );
        }
        if whereabouts != Whereabouts::Linked {
            let path = group.path.clone();
            let bytes = i128::from(group.node.length);
            let path = register(path);
            if whereabouts == Whereabouts::Trash {
                self.trash += bytes;
                self.out.record(&Key::Trashed(ino), &path)?;
            } else {
                self.kept += bytes;
                self.out.record(&Key::Sustained(ino), &path)?;
            }
        }
        if !group.flocks.held.is_empty() {
            let table: record::Flocks = register(Some(group.flocks));
            self.out.record(&Key::Flocks(ino), &table)?;
        }
        if !group.ranges.held.is_empty() {
            let table: record::PosixLocks = register(Some(group.ranges));
            self.out.record(&Key::PosixLocks(ino), &table)?;
        }
        if !is_dir {
            // A directory's subdirectories are counted on the way through the tree.
            let inode = inode(&group.node, &group.names, group.decorated, 0);
            self.out.record(&Key::Inode(ino), &inode)?;
        }
        Ok(())
    }

    fn take_chunk(&mut self, key: &[u8], value: &[u8]) -> Result<(), ImportError> {
        let (id, kind, _) = parse_chunk_key(key).ok_or_else(|| contradiction(key))?;
        if self.chunk.as_ref().is_some_and(|group| group.id != id) {
            self.end_chunk()?;
        }
        match (&mut self.chunk, kind) {
            (None, of_chunk::CHUNK) => {
                let At(_, chunk): At<Chunk> = unstage(key, value)?;
                self.chunk = Some(ChunkGroup {
                    id,
                    chunk,
                    references: 0,
                });
                Ok(())
            }
            (Some(_), of_chunk::CHUNK) => unfit(place(key, value)?, format!("a second {id}")),
            (Some(group), _) => {
                group.references += 1;
                Ok(())
            }
            (None, _) => {
                let At(at, ino): At<InodeId> = unstage(key, value)?;
                unfit(at, format!("{ino} has {id}, which is not there"))
            }
        }
    }

    fn end_chunk(&mut self) -> Result<(), ImportError> {
        let Some(group) = self.chunk.take() else {
            return Ok(());
        };
        let record = record::Chunk {
            version: register(group.chunk.version),
            locked_until: register(group.chunk.locked_until),
            archived: register(group.chunk.archived),
            references: LinkCounter::of(LOG_REPLICA, group.references),
            ..record::Chunk::default()
        };
        Ok(self.out.record(&Key::Chunk(group.id), &record)?)
    }
}

fn shown(name: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(name))
}

fn not_opened(ino: InodeId, session: SessionId) -> String {
    format!(
        "session {} locks {ino}, which it does not have open",
        session.0
    )
}

fn inode(node: &Node, names: &[Named], decorated: bool, subdirs: u64) -> Inode {
    let [atime, mtime, ctime] = node.times.map(register);
    Inode {
        origin: Some(node.origin.clone()),
        mode: register(node.mode),
        uid: register(node.uid),
        gid: register(node.gid),
        atime,
        mtime,
        ctime,
        length: match node.origin.kind {
            NodeKind::File | NodeKind::Symlink => register(node.length),
            _ => Lww::default(),
        },
        winattr: register(node.winattr),
        eattr: register(node.eattr),
        class: register(node.class),
        trash_hours: register(node.trash_hours),
        whereabouts: match node.whereabouts {
            Whereabouts::Linked => Lww::default(),
            elsewhere => register(elsewhere),
        },
        decorated: register(decorated),
        links: LinkCounter::of(LOG_REPLICA, names.len() as u64),
        subdirs: LinkCounter::of(LOG_REPLICA, subdirs),
        parents: OrSet::insert_all(
            names
                .iter()
                .map(|name| (dot(name.number), (name.inode, name.name.clone()))),
        ),
        ..Inode::default()
    }
}

/// A directory on the way down.
struct Level {
    ino: InodeId,
    node: Node,
    names: Vec<Named>,
    decorated: bool,
    quota: Option<QuotaRecord>,
    /// What is below it, itself included.
    sums: DirStats,
    subdirs: u64,
    height: u32,
    /// Entries that were read.
    page: VecDeque<(Vec<u8>, At<Named>)>,
    /// The last entry that was taken.
    after: Vec<u8>,
}

impl Level {
    /// Takes what the directory has beside its entries.
    fn note(&mut self, key: &[u8], value: &[u8]) -> Result<(), ImportError> {
        match parse_inode_key(key).map(|(_, kind, _)| kind) {
            Some(of_inode::NAME) => {
                let At(_, name): At<Named> = unstage(key, value)?;
                self.names.push(name);
            }
            Some(of_inode::ACL | of_inode::XATTR) => self.decorated = true,
            Some(of_inode::QUOTA) => {
                let At(_, quota): At<QuotaRecord> = unstage(key, value)?;
                self.quota = Some(quota);
            }
            _ => {}
        }
        Ok(())
    }
}

/// The walk through the tree.
struct Tree<'a, 's, V, S> {
    staged: &'a V,
    out: &'a mut Writer<'s, S>,
    stage: &'a Stage,
    now: WallTime,
    progress: &'a mut dyn FnMut(Progress),
    placed: u64,
    dirs: u64,
}

impl<V: StateView, S: StateStore> Tree<'_, '_, V, S> {
    fn walk(&mut self) -> Result<(), ImportError> {
        let Some(root) = self.node(InodeId::ROOT)? else {
            return Err(ImportError::whole("the file has no root directory"));
        };
        let mut way = vec![self.level(InodeId::ROOT, root)?];
        while let Some(level) = way.last_mut() {
            if let Some(At(at, entry)) = self.next_entry(level)? {
                let child = entry.inode;
                let Some(node) = self.node(child)? else {
                    return unfit(at, format!("{} names {child}", shown(&entry.name)));
                };
                let kind = node.origin.kind;
                let target = Target { inode: child, kind };
                let key = Key::Edge(level.ino, entry.name);
                self.out
                    .record(&key, &Edge::insert(dot(entry.number), target))?;
                self.placed += 1;
                (self.progress)(Progress::Placed(self.placed, self.stage.names));
                if kind == NodeKind::Directory {
                    level.subdirs += 1;
                    // It is read again on the way back: a deep tree costs little memory.
                    level.page = VecDeque::new();
                    if way.len() > limits::DEPTH_MAX {
                        let what = format!("{child} lies more than {} deep", limits::DEPTH_MAX);
                        return unfit(at, what);
                    }
                    let next = self.level(child, node)?;
                    way.push(next);
                } else {
                    level.sums = stats::plus(&level.sums, &node.sums(&self.stage.classes));
                }
                continue;
            }
            let done = way.pop().expect("it was the last");
            if let Some(above) = way.last_mut() {
                above.sums = stats::plus(&above.sums, &done.sums);
                above.height = above.height.max(done.height + 1);
            }
            self.finish(done)?;
        }
        Ok(())
    }

    fn node(&self, ino: InodeId) -> Result<Option<Node>, ImportError> {
        let mut found = None;
        each(
            self.staged,
            &kind_prefix(ino, of_inode::NODE),
            |key, value| {
                let At(_, node) = unstage(key, value)?;
                found = Some(node);
                Ok(())
            },
        )?;
        Ok(found)
    }

    fn level(&mut self, ino: InodeId, node: Node) -> Result<Level, ImportError> {
        self.dirs += 1;
        let mut level = Level {
            ino,
            sums: node.sums(&self.stage.classes),
            node,
            names: Vec::new(),
            decorated: false,
            quota: None,
            subdirs: 0,
            height: 0,
            page: VecDeque::new(),
            after: kind_prefix(ino, of_inode::ENTRY),
        };
        let from = kind_prefix(ino, of_inode::NAME);
        let to = kind_prefix(ino, of_inode::CHUNK);
        let mut failed = Ok(());
        let bounds = (Bound::Included(&from[..]), Bound::Excluded(&to[..]));
        self.staged.scan(bounds.0, bounds.1, &mut |key, value| {
            failed = level.note(key, value);
            match failed {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        })?;
        failed?;
        Ok(level)
    }

    /// The next name in a directory.
    fn next_entry(&self, level: &mut Level) -> Result<Option<At<Named>>, ImportError> {
        if level.page.is_empty() {
            let prefix = kind_prefix(level.ino, of_inode::ENTRY);
            let after = std::mem::take(&mut level.after);
            let (mut failed, page) = (Ok(()), &mut level.page);
            let from = Bound::Excluded(&after[..]);
            self.staged
                .scan(from, Bound::Unbounded, &mut |key, value| {
                    if !key.starts_with(&prefix) || page.len() == PAGE {
                        return ControlFlow::Break(());
                    }
                    match unstage(key, value) {
                        Ok(entry) => {
                            page.push_back((key.to_vec(), entry));
                            ControlFlow::Continue(())
                        }
                        Err(error) => {
                            failed = Err(error);
                            ControlFlow::Break(())
                        }
                    }
                })?;
            failed?;
            level.after = after;
        }
        Ok(level.page.pop_front().map(|(key, entry)| {
            level.after = key;
            entry
        }))
    }

    /// All below a directory was seen.
    fn finish(&mut self, level: Level) -> Result<(), ImportError> {
        let inode = inode(&level.node, &level.names, level.decorated, level.subdirs);
        self.out.record(&Key::Inode(level.ino), &inode)?;
        let mut sums = Stats::of_height(level.height);
        crate::crdt::Lattice::join(&mut sums, &Stats::default().add(&level.sums));
        self.out.record(&Key::Stats(level.ino), &sums)?;
        if let Some(quota) = level.quota {
            let judged = quota::judge(quota, &quota::below(&level.sums), self.now);
            let judged: record::Quota = register(Some(judged));
            self.out.record(&Key::Quota(level.ino), &judged)?;
        }
        Ok(())
    }

    /// Says which directory is in a ring that the root does not reach.
    fn lost(&self) -> ImportError {
        let mut found = None;
        let looked = each(self.staged, b"I", |key, value| {
            let (ino, kind, _) = parse_inode_key(key).ok_or_else(|| contradiction(key))?;
            if kind != of_inode::NODE || found.is_some() {
                return Ok(());
            }
            let At(at, node): At<Node> = unstage(key, value)?;
            if node.origin.kind == NodeKind::Directory && !self.is_reached(ino)? {
                found = Some((at, ino));
            }
            Ok(())
        });
        match (looked, found) {
            (Err(error), _) => error,
            (Ok(()), Some((at, ino))) => ImportError::unfit(
                at,
                format!("directory {ino} cannot be reached from the root"),
            ),
            (Ok(()), None) => ImportError::whole("some directories cannot be reached"),
        }
    }

    fn is_reached(&self, ino: InodeId) -> Result<bool, ImportError> {
        let mut at = ino;
        for _ in 0..=limits::DEPTH_MAX {
            if at == InodeId::ROOT {
                return Ok(true);
            }
            let mut parent = None;
            each(
                self.staged,
                &kind_prefix(at, of_inode::NAME),
                |key, value| {
                    let At(_, name): At<Named> = unstage(key, value)?;
                    parent = Some(name.inode);
                    Ok(())
                },
            )?;
            match parent {
                Some(parent) => at = parent,
                None => return Ok(false),
            }
        }
        Ok(false)
    }
}
