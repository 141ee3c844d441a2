//! The state itself: plain maps, and walks over them for everything that is not stored.
//!
//! Stored is only what cannot be found out otherwise. Who links a node, how many links it has,
//! what a directory holds and who refers to a chunk is found by looking at every directory entry
//! or every file; that costs much and leaves nothing to be forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mfsha_core::id::{ChunkId, CsId, InodeId, Lane, SessionId};
use mfsha_core::limits;
use mfsha_core::namespace::Ceilings;
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{
    Acl, ChunkAction, ChunkserverInfo, ClassMode, DirStats, LabelExpr, LastRequest, Name, NodeKind,
    QuotaLimits, Reply, SessionParams, StorageClass, Unsettled, Whereabouts,
};
use mfsha_core::time::WallTime;

use crate::ids::Given;
use crate::passed::Passed;

/// Bits of a node's extra attributes (section 1.7).
pub(crate) mod eattr {
    pub(crate) const NO_OWNER: u8 = 0x01;
    pub(crate) const NO_ATTR_CACHE: u8 = 0x02;
    pub(crate) const NO_ENTRY_CACHE: u8 = 0x04;
    pub(crate) const NO_DATA_CACHE: u8 = 0x08;
    pub(crate) const SNAPSHOT: u8 = 0x10;
    pub(crate) const UNDELETABLE: u8 = 0x20;
    pub(crate) const APPEND_ONLY: u8 = 0x40;
    pub(crate) const IMMUTABLE: u8 = 0x80;
    /// What forbids that a node is removed.
    pub(crate) const PROTECTED: u8 = UNDELETABLE | APPEND_ONLY | IMMUTABLE;
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) kind: NodeKind,
    pub(crate) whereabouts: Whereabouts,
    /// Permission bits, 07777, without regard to an ACL.
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) atime: WallTime,
    pub(crate) mtime: WallTime,
    pub(crate) ctime: WallTime,
    pub(crate) class: u8,
    pub(crate) trash_hours: u32,
    pub(crate) eattr: u8,
    pub(crate) winattr: u8,
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) access_acl: Option<Acl>,
    pub(crate) default_acl: Option<Acl>,
    pub(crate) rdev: u32,
    /// Of a symlink.
    pub(crate) target: Vec<u8>,
    /// Of a directory.
    pub(crate) entries: BTreeMap<Name, InodeId>,
    /// Of a directory: when each name was given, as a number that rises.
    pub(crate) ages: BTreeMap<Name, u64>,
    /// Of a directory: how many levels of directories were ever below it.
    pub(crate) height: u32,
    /// Of a directory.
    pub(crate) quota: Option<Quota>,
    /// Of a file, bytes.
    pub(crate) length: u64,
    /// Of a file: end of what appends have reserved, bytes.
    pub(crate) reserved_end: u64,
    /// Of a file: the slots that are not holes.
    pub(crate) chunks: BTreeMap<u32, ChunkId>,
    /// Of a file in the trash or sustained: its path when it lost its last link.
    pub(crate) path: Vec<u8>,
}

/// Limits on a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quota {
    pub(crate) soft: QuotaLimits,
    pub(crate) hard: QuotaLimits,
    pub(crate) grace_seconds: u32,
    pub(crate) over_soft_since: Option<WallTime>,
}

/// One chunk. Who refers to it is seen from the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) version: u32,
    pub(crate) locked_until: WallTime,
    pub(crate) archived: bool,
    /// What chunkservers have not been told yet.
    pub(crate) unsettled: Option<Unsettled>,
}

/// One session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) params: SessionParams,
    pub(crate) disconnected: Option<WallTime>,
}

/// A whole-file lock that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlockWaiter {
    pub(crate) session: SessionId,
    pub(crate) owner: u64,
    pub(crate) reqid: u32,
    pub(crate) exclusive: bool,
}

/// A byte range that is held or waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) session: SessionId,
    pub(crate) owner: u64,
    pub(crate) pid: u32,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) exclusive: bool,
}

/// Locks of one inode.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Locks {
    /// Holders of whole-file locks, and whether exclusively.
    pub(crate) flock_held: BTreeMap<(SessionId, u64), bool>,
    /// Oldest first.
    pub(crate) flock_waiting: Vec<FlockWaiter>,
    /// In order of start, end, session, owner.
    pub(crate) ranges_held: Vec<Range>,
    /// `reqid` and what is wanted, oldest first.
    pub(crate) ranges_waiting: Vec<(u32, Range)>,
}

/// The namespace as it has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    pub(crate) version: u64,
    /// Shared between the states before and after a command, until one of them changes a node.
    pub(crate) nodes: BTreeMap<InodeId, Arc<Node>>,
    pub(crate) chunks: BTreeMap<ChunkId, Chunk>,
    pub(crate) sessions: BTreeMap<SessionId, Session>,
    pub(crate) classes: BTreeMap<u8, StorageClass>,
    pub(crate) open_files: BTreeSet<(SessionId, InodeId)>,
    pub(crate) locks: BTreeMap<InodeId, Locks>,
    /// The newest request of each lane and how it ended (P-ONCE).
    pub(crate) lanes: BTreeMap<(SessionId, Lane), (LastRequest, Result<Reply, FsError>)>,
    /// How many ids were ever given out (P-IDS).
    pub(crate) given: Given,
    /// Ids of chunks that no slot will give out, by slot, each by its number.
    pub(crate) passed_ids: BTreeMap<u16, Passed>,
    /// Versions of chunks that are not of this state.
    pub(crate) passed_versions: BTreeMap<ChunkId, Passed>,
    /// How many names were ever given.
    pub(crate) names_given: u64,
    pub(crate) chunkservers: BTreeMap<CsId, ChunkserverInfo>,
    /// How often any chunkserver registered.
    pub(crate) registrations: u64,
    /// Where it ends.
    pub(crate) ceilings: Ceilings,
}

impl Default for Model {
    fn default() -> Self {
        Self::new()
    }
}

impl Model {
    /// The state before the first command: the root directory (section 8.1) and the plain goals
    /// 1 to 9 (section 8.9).
    #[must_use]
    pub fn new() -> Self {
        let mut root = Node::new(NodeKind::Directory);
        root.mode = 0o777;
        root.class = 2;
        Self {
            version: 0,
            nodes: BTreeMap::from([(InodeId::ROOT, Arc::new(root))]),
            chunks: BTreeMap::new(),
            sessions: BTreeMap::new(),
            classes: (1..=limits::GOAL_MAX)
                .map(|goal| (goal, plain_goal(goal)))
                .collect(),
            open_files: BTreeSet::new(),
            locks: BTreeMap::new(),
            lanes: BTreeMap::new(),
            given: Given::at_first(),
            passed_ids: BTreeMap::new(),
            passed_versions: BTreeMap::new(),
            names_given: 0,
            chunkservers: BTreeMap::new(),
            registrations: 0,
            ceilings: Ceilings::default(),
        }
    }

    /// The same, with less room: for tests of what happens when it ends.
    #[must_use]
    pub fn with_ceilings(ceilings: Ceilings) -> Self {
        Self {
            ceilings,
            ..Self::new()
        }
    }

    /// The metadata version: how many commands were carried out (P-VERSION).
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Every node there is, in order.
    pub fn inodes(&self) -> impl Iterator<Item = InodeId> + '_ {
        self.nodes.keys().copied()
    }

    /// Every session there is but the cluster's own, in order.
    pub fn sessions(&self) -> impl Iterator<Item = (SessionId, &SessionParams)> + '_ {
        self.sessions.iter().map(|(id, s)| (*id, &s.params))
    }

    /// Every chunk there is, in order.
    pub fn chunk_ids(&self) -> impl Iterator<Item = ChunkId> + '_ {
        self.chunks.keys().copied()
    }

    /// Type and whereabouts of a node.
    #[must_use]
    pub fn kind(&self, inode: InodeId) -> Option<(NodeKind, Whereabouts)> {
        self.nodes.get(&inode).map(|n| (n.kind, n.whereabouts))
    }

    /// Entries of a directory, in order of name; none for anything else.
    pub fn entries(&self, inode: InodeId) -> impl Iterator<Item = (&Name, InodeId)> + '_ {
        self.nodes
            .get(&inode)
            .into_iter()
            .flat_map(|n| n.entries.iter().map(|(name, child)| (name, *child)))
    }

    pub(crate) fn node(&self, inode: InodeId) -> &Node {
        &self.nodes[&inode]
    }

    pub(crate) fn node_mut(&mut self, inode: InodeId) -> &mut Node {
        self.known_node(inode).expect("the caller has seen it")
    }

    /// The node, to be changed, if there is one.
    pub(crate) fn known_node(&mut self, inode: InodeId) -> Option<&mut Node> {
        self.nodes.get_mut(&inode).map(Arc::make_mut)
    }

    /// Every directory entry that names a node: directory and name, in order.
    pub(crate) fn links(&self, inode: InodeId) -> Vec<(InodeId, Name)> {
        let mut links = Vec::new();
        for (dir, node) in &self.nodes {
            for (name, child) in &node.entries {
                if *child == inode {
                    links.push((*dir, name.clone()));
                }
            }
        }
        links
    }

    /// The one directory that a directory is in; the root is in none.
    pub(crate) fn parent(&self, dir: InodeId) -> Option<InodeId> {
        self.links(dir).first().map(|(parent, _)| *parent)
    }

    /// The directory of the newest name of a node.
    pub(crate) fn newest_parent(&self, inode: InodeId) -> Option<InodeId> {
        let links = self.links(inode).into_iter();
        links
            .max_by_key(|(dir, name)| self.node(*dir).ages[name])
            .map(|(dir, _)| dir)
    }

    /// The directory and every directory above it, upwards.
    pub(crate) fn self_and_above(&self, dir: InodeId) -> Vec<InodeId> {
        let mut chain = vec![dir];
        while let Some(parent) = self.parent(chain[chain.len() - 1]) {
            chain.push(parent);
        }
        chain
    }

    /// Whether `inode` is `top` or below it, by any of its links.
    pub(crate) fn is_within(&self, top: InodeId, inode: InodeId) -> bool {
        inode == top
            || self
                .links(inode)
                .iter()
                .any(|(dir, _)| self.is_within(top, *dir))
    }

    /// Links of a node; of a directory 2 and its subdirectories; 0 in trash or sustained
    /// (section 8.2).
    pub(crate) fn nlink(&self, inode: InodeId) -> u32 {
        let node = self.node(inode);
        if node.kind == NodeKind::Directory {
            let subdirectories = node
                .entries
                .values()
                .filter(|child| self.node(**child).kind == NodeKind::Directory);
            2 + subdirectories.count() as u32
        } else {
            self.links(inode).len() as u32
        }
    }

    /// What a node and everything below it holds (section 8.5). A file with two names in the
    /// subtree counts twice.
    pub(crate) fn stats(&self, inode: InodeId) -> DirStats {
        let node = self.node(inode);
        let mut sum = DirStats {
            inodes: 1,
            ..DirStats::default()
        };
        match node.kind {
            NodeKind::Directory => {
                sum.dirs = 1;
                for child in node.entries.values() {
                    sum = add(sum, self.stats(*child));
                }
            }
            NodeKind::File => {
                let size = size_of_file(node);
                sum.files = 1;
                sum.chunks = node.chunks.len() as i128;
                sum.length = node.length as i128;
                sum.size = size as i128;
                sum.real_size = i128::from(size) * i128::from(self.copies(node.class));
            }
            // A symlink's target; nothing of what is none.
            _ => sum.length = node.target.len() as i128,
        }
        sum
    }

    /// Copies that a class asks for: the longer of its keep and archive lists (section 8.5).
    pub(crate) fn copies(&self, class: u8) -> u64 {
        let class = &self.classes[&class];
        class.keep.len().max(class.archive.len()) as u64
    }

    /// Slots of all files that refer to each chunk, and chunks that are still to be made from it.
    pub(crate) fn references(&self) -> BTreeMap<ChunkId, u32> {
        let mut counts = BTreeMap::new();
        for node in self.nodes.values() {
            for chunk in node.chunks.values() {
                *counts.entry(*chunk).or_insert(0) += 1;
            }
        }
        for source in self.chunks.values().filter_map(Chunk::source) {
            *counts.entry(source).or_insert(0) += 1;
        }
        counts
    }

    /// A chunk that nobody uses is not to be made any more: it needs none that it is made from.
    pub(crate) fn let_sources_go(&mut self) {
        loop {
            let used = self.references();
            let unused = self
                .chunks
                .iter_mut()
                .find(|(chunk, known)| known.source().is_some() && !used.contains_key(chunk));
            match unused {
                Some((_, known)) => known.unsettled = None,
                None => return,
            }
        }
    }

    /// Whether a chunk that is being cut belongs to more than one slot: then more than one file
    /// would be cut.
    pub(crate) fn cuts_what_is_shared(&self) -> bool {
        let used = self.references();
        self.chunks
            .iter()
            .any(|(chunk, known)| known.is_being_cut() && used.get(chunk) > Some(&1))
    }

    /// A session has the file open from now; the cluster itself never has.
    pub(crate) fn keep_open(&mut self, session: SessionId, inode: InodeId) {
        if session != SessionId(0) {
            self.open_files.insert((session, inode));
        }
    }

    /// Whether any session has the file open.
    pub(crate) fn is_open(&self, inode: InodeId) -> bool {
        self.open_files.iter().any(|(_, open)| *open == inode)
    }

    /// Path of a directory from `top`, without slashes at its ends; empty for `top` itself.
    /// `None` when it is not below.
    pub(crate) fn path_below(&self, top: InodeId, dir: InodeId) -> Option<Vec<u8>> {
        if dir == top {
            return Some(Vec::new());
        }
        let (parent, name) = self.links(dir).into_iter().next()?;
        Some(join(self.path_below(top, parent)?, &name))
    }
}

impl Chunk {
    /// What it is still to be made from.
    fn source(&self) -> Option<ChunkId> {
        match self.unsettled?.action {
            ChunkAction::Duplicated { from, .. } => Some(from),
            _ => None,
        }
    }

    pub(crate) fn is_being_cut(&self) -> bool {
        self.unsettled.is_some_and(|it| it.cut.is_some())
    }
}

impl Node {
    /// A node with nothing in it, owned by root, 24 hours of trash time, class 0.
    pub(crate) fn new(kind: NodeKind) -> Self {
        Self {
            kind,
            whereabouts: Whereabouts::Linked,
            mode: 0,
            uid: 0,
            gid: 0,
            atime: WallTime(0),
            mtime: WallTime(0),
            ctime: WallTime(0),
            class: 0,
            trash_hours: 24,
            eattr: 0,
            winattr: 0,
            xattrs: BTreeMap::new(),
            access_acl: None,
            default_acl: None,
            rdev: 0,
            target: Vec::new(),
            entries: BTreeMap::new(),
            ages: BTreeMap::new(),
            height: 0,
            quota: None,
            length: 0,
            reserved_end: 0,
            chunks: BTreeMap::new(),
            path: Vec::new(),
        }
    }

    /// Whether one of these extra attributes is set.
    pub(crate) fn has(&self, bits: u8) -> bool {
        self.eattr & bits != 0
    }

    /// The node was changed now: ctime, and it is no pure snapshot any more (section 8.7).
    pub(crate) fn changed(&mut self, now: WallTime) {
        self.ctime = now;
        self.eattr &= !eattr::SNAPSHOT;
    }

    /// The node's contents were changed now.
    pub(crate) fn modified(&mut self, now: WallTime) {
        self.mtime = now;
        self.changed(now);
    }

    pub(crate) fn is_detached(&self) -> bool {
        self.whereabouts != Whereabouts::Linked
    }
}

/// A path and one more component.
pub(crate) fn join(mut path: Vec<u8>, name: &[u8]) -> Vec<u8> {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// Bytes of a file in whole blocks, and a header for each chunk (section 8.5); a hole takes none.
pub(crate) fn size_of_file(node: &Node) -> u64 {
    let mut size = 0;
    for index in node.chunks.keys() {
        let begin = u64::from(*index) * limits::CHUNK_BYTES;
        let used = node.length.saturating_sub(begin).min(limits::CHUNK_BYTES);
        size += used.next_multiple_of(limits::BLOCK_BYTES) + limits::CHUNK_HEADER_BYTES;
    }
    size
}

/// Sum of what two subtrees hold.
pub(crate) fn add(a: DirStats, b: DirStats) -> DirStats {
    DirStats {
        inodes: a.inodes + b.inodes,
        dirs: a.dirs + b.dirs,
        files: a.files + b.files,
        chunks: a.chunks + b.chunks,
        length: a.length + b.length,
        size: a.size + b.size,
        real_size: a.real_size + b.real_size,
    }
}

/// What `a` holds more than `b`.
pub(crate) fn subtract(a: DirStats, b: DirStats) -> DirStats {
    DirStats {
        inodes: a.inodes - b.inodes,
        dirs: a.dirs - b.dirs,
        files: a.files - b.files,
        chunks: a.chunks - b.chunks,
        length: a.length - b.length,
        size: a.size - b.size,
        real_size: a.real_size - b.real_size,
    }
}

/// The class that a plain goal is: so many copies anywhere.
fn plain_goal(goal: u8) -> StorageClass {
    let anywhere: Vec<LabelExpr> = vec![[0; 4]; usize::from(goal)];
    StorageClass {
        name: goal.to_string().into_bytes(),
        admin_only: false,
        mode: ClassMode::Std,
        archive_delay_days: 0,
        create: anywhere.clone(),
        keep: anywhere.clone(),
        archive: anywhere,
    }
}
