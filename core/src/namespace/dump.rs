//! A whole state in plain maps: to be compared with another, or read by people.
//!
//! Nothing is left out that decides an outcome or an answer, now or later: also what no query
//! shows, as remembered requests, waiting locks and how many ids were given out. Stamps, dots and
//! the like are how a replica keeps it, and are left out. It reads everything into memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::ops::{Bound, ControlFlow};

use super::Namespace;
use super::error::FsError;
use super::key::Key;
use super::op::{
    Acl, AclKind, ChunkserverInfo, DirStats, HeldLock, LastRequest, Name, NodeKind, PosixLockKind,
    QuotaLimits, Reply, SessionParams, StorageClass, Unsettled, Whereabouts,
};
use super::record::{
    AclRecord, Applied, Chunk, ChunkSlot, Chunkserver, Class, DetachedBytes, Edge, FlockTable,
    Flocks, Inode, LaneRecord, MetaId, Passed, PosixLocks, PosixRange, PosixTable, Quota, Session,
    ShardIds, SlotIds, Stats, Sustained, Trashed, Xattr,
};
use super::txn::open;
use crate::id::{ChunkId, CsId, InodeId, Lane, SessionId, Slot};
use crate::store::{StateStore, StoreError};
use crate::time::WallTime;

/// Everything that a state holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dump {
    /// The metadata version.
    pub version: u64,
    /// Nodes.
    pub nodes: BTreeMap<InodeId, DumpedNode>,
    /// Chunks.
    pub chunks: BTreeMap<ChunkId, DumpedChunk>,
    /// Sessions: their values, and since when each is disconnected.
    pub sessions: BTreeMap<SessionId, (SessionParams, Option<WallTime>)>,
    /// Open files.
    pub open_files: BTreeSet<(SessionId, InodeId)>,
    /// Locks of files that have any, or anybody waiting.
    pub locks: BTreeMap<InodeId, DumpedLocks>,
    /// The last request of each lane and how it ended.
    pub lanes: BTreeMap<(SessionId, Lane), (LastRequest, Result<Reply, FsError>)>,
    /// Storage classes.
    pub classes: BTreeMap<u8, StorageClass>,
    /// How many inodes and chunks each slot gave out that gave out any.
    pub given: BTreeMap<Slot, (u64, u64)>,
    /// Ids of chunks that slots passed over: first and last of each range.
    pub passed_ids: BTreeMap<Slot, Vec<(u64, u64)>>,
    /// Versions of chunks that were passed over: first and last of each range.
    pub passed_versions: BTreeMap<ChunkId, Vec<(u64, u64)>>,
    /// How many sessions were given out.
    pub sessions_given: u64,
    /// Chunkservers.
    pub chunkservers: BTreeMap<CsId, ChunkserverInfo>,
    /// How many registrations of chunkservers there were.
    pub registrations: u64,
    /// The number of the cluster that the state was imported from.
    pub metaid: Option<u64>,
    /// Bytes of files in the trash.
    pub trash_bytes: i128,
    /// Bytes of sustained files.
    pub sustained_bytes: i128,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as in the operations that set them")]
pub struct DumpedNode {
    pub kind: Option<NodeKind>,
    pub whereabouts: Whereabouts,
    /// Without regard to an ACL.
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub atime: WallTime,
    pub mtime: WallTime,
    pub ctime: WallTime,
    pub class: u8,
    pub trash_hours: u32,
    pub eattr: u8,
    pub winattr: u8,
    pub rdev: u32,
    /// Of a symlink.
    pub target: Vec<u8>,
    /// Number of names; of a directory 0 for the root, else 1.
    pub names: u64,
    /// Number of subdirectories.
    pub subdirs: u64,
    /// The directory of the newest name.
    pub newest_parent: Option<InodeId>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub access_acl: Option<Acl>,
    pub default_acl: Option<Acl>,
    /// Of a directory.
    pub entries: BTreeMap<Name, InodeId>,
    /// Of a directory: what it and everything below it holds.
    pub sums: Option<DirStats>,
    /// Of a directory: levels of directories that were ever below it, at least.
    pub height: u32,
    /// Of a directory: soft and hard limits, grace, and since when a soft one is passed.
    pub quota: Option<(QuotaLimits, QuotaLimits, u32, Option<WallTime>)>,
    /// Of a file, bytes.
    pub length: u64,
    /// Where the next append begins; 0 at the end of the file.
    pub reserved_end: u64,
    /// Of a file.
    pub chunks: BTreeMap<u32, ChunkId>,
    /// Of a file in the trash or sustained.
    pub path: Vec<u8>,
}

/// A chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DumpedChunk {
    /// Its version.
    pub version: u32,
    /// Locked for a writer until then; 0 when free.
    pub locked_until: WallTime,
    /// Whether its copies follow the archive list.
    pub archived: bool,
    /// What chunkservers have not been told yet.
    pub unsettled: Option<Unsettled>,
    /// File slots that refer to it, and chunks that are to be made from it.
    pub references: u64,
}

/// Locks of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DumpedLocks {
    /// Whole-file locks: session, owner, and whether exclusive.
    pub flocks: BTreeSet<(SessionId, u64, bool)>,
    /// Who waits for one, oldest first: session, owner, request, and whether exclusive.
    pub flock_waiters: Vec<(SessionId, u64, u32, bool)>,
    /// Byte ranges.
    pub ranges: BTreeSet<HeldLock>,
    /// Ranges that are waited for, oldest first, and the request's name.
    pub range_waiters: Vec<(u32, HeldLock)>,
}

impl Dump {
    /// Where two states differ first; `None` when they are the same. The text names both.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<String> {
        fn one<T: Debug + PartialEq>(what: &str, a: &T, b: &T) -> Option<String> {
            (a != b).then(|| format!("{what} is {a:?} in one, {b:?} in the other"))
        }
        one("the version", &self.version, &other.version)
            .or_else(|| one("the number", &self.metaid, &other.metaid))
            .or_else(|| first("sessions", &self.sessions, &other.sessions))
            .or_else(|| first("classes", &self.classes, &other.classes))
            .or_else(|| first("nodes", &self.nodes, &other.nodes))
            .or_else(|| first("chunks", &self.chunks, &other.chunks))
            .or_else(|| one("open files", &self.open_files, &other.open_files))
            .or_else(|| first("locks", &self.locks, &other.locks))
            .or_else(|| first("lanes", &self.lanes, &other.lanes))
            .or_else(|| first("ids given out", &self.given, &other.given))
            .or_else(|| first("ids passed over", &self.passed_ids, &other.passed_ids))
            .or_else(|| {
                first(
                    "versions passed over",
                    &self.passed_versions,
                    &other.passed_versions,
                )
            })
            .or_else(|| {
                one(
                    "sessions given out",
                    &self.sessions_given,
                    &other.sessions_given,
                )
            })
            .or_else(|| first("chunkservers", &self.chunkservers, &other.chunkservers))
            .or_else(|| one("registrations", &self.registrations, &other.registrations))
            .or_else(|| one("bytes in trash", &self.trash_bytes, &other.trash_bytes))
            .or_else(|| {
                one(
                    "bytes sustained",
                    &self.sustained_bytes,
                    &other.sustained_bytes,
                )
            })
    }
}

/// The first key under which two maps differ, and in which lines.
fn first<K: Debug + Ord, V: Debug + PartialEq>(
    what: &str,
    a: &BTreeMap<K, V>,
    b: &BTreeMap<K, V>,
) -> Option<String> {
    let key = a
        .keys()
        .chain(b.keys())
        .filter(|key| a.get(*key) != b.get(*key))
        .min()?;
    Some(match (a.get(key), b.get(key)) {
        (Some(a), Some(b)) => {
            let (a, b) = (format!("{a:#?}"), format!("{b:#?}"));
            let lines = a.lines().zip(b.lines()).filter(|(a, b)| a != b);
            let lines: Vec<String> = lines
                .take(3)
                .map(|(a, b)| format!("`{}` in one, `{}` in the other", a.trim(), b.trim()))
                .collect();
            format!("{what}: {key:?} has {}", lines.join("; "))
        }
        (Some(a), None) => format!("{what}: {key:?} is {a:?} in one, missing in the other"),
        (None, b) => format!("{what}: {key:?} is missing in one, {b:?} in the other"),
    })
}

impl<S: StateStore> Namespace<S> {
    /// Reads the whole state.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] for the first key or value that cannot be read.
    pub fn dump(&self) -> Result<Dump, StoreError> {
        let mut dump = Dump::default();
        let mut read = Ok(());
        self.store().scan(
            Bound::Unbounded,
            Bound::Unbounded,
            &mut |key, value| match take(&mut dump, key, value) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    read = Err(error);
                    ControlFlow::Break(())
                }
            },
        )?;
        read.map(|()| dump)
    }
}

fn take(dump: &mut Dump, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
    let parsed = Key::parse(key).ok_or_else(|| StoreError::Corrupt {
        key: key.to_vec(),
        reason: "this is no key".to_owned(),
    })?;
    let mut node = |ino: InodeId, change: &mut dyn FnMut(&mut DumpedNode)| {
        change(dump.nodes.entry(ino).or_default());
    };
    match parsed {
        Key::Inode(ino) => {
            let inode: Inode = open(key, value)?;
            node(ino, &mut |node| take_inode(node, &inode));
        }
        Key::Edge(dir, name) => {
            let edge: Edge = open(key, value)?;
            if let Some(target) = edge.latest() {
                node(dir, &mut |node| {
                    node.entries.insert(name.clone(), target.inode);
                });
            }
        }
        Key::Stats(dir) => {
            let stats: Stats = open(key, value)?;
            node(dir, &mut |node| {
                node.sums = Some(stats.value());
                node.height = stats.height();
            });
        }
        Key::Quota(dir) => {
            let quota: Quota = open(key, value)?;
            let quota = quota.get().cloned().flatten();
            let quota = quota.map(|q| (q.soft, q.hard, q.grace_seconds, q.over_soft_since));
            node(dir, &mut |node| node.quota.clone_from(&quota));
        }
        Key::ChunkSlot(ino, index) => {
            let slot: ChunkSlot = open(key, value)?;
            let chunk = slot.get().copied().flatten();
            node(ino, &mut |node| {
                node.chunks.extend(chunk.map(|chunk| (index, chunk)));
            });
        }
        Key::Xattr(ino, name) => {
            let xattr: Xattr = open(key, value)?;
            let xattr = xattr.get().cloned().flatten();
            node(ino, &mut |node| {
                node.xattrs
                    .extend(xattr.clone().map(|value| (name.clone(), value)));
            });
        }
        Key::Acl(ino, kind) => {
            let acl: AclRecord = open(key, value)?;
            let acl = acl.get().cloned().flatten();
            node(ino, &mut |node| match kind {
                AclKind::Access => node.access_acl.clone_from(&acl),
                AclKind::Default => node.default_acl.clone_from(&acl),
            });
        }
        Key::Trashed(ino) => {
            let path: Trashed = open(key, value)?;
            let path = path.get().cloned().flatten().unwrap_or_default();
            node(ino, &mut |node| node.path.clone_from(&path));
        }
        Key::Sustained(ino) => {
            let path: Sustained = open(key, value)?;
            let path = path.get().cloned().flatten().unwrap_or_default();
            node(ino, &mut |node| node.path.clone_from(&path));
        }
        Key::Opened(ino, session) => {
            dump.open_files.insert((session, ino));
        }
        // The same from the other side; that both agree is a law of the tree.
        Key::SessionOpened(session, ino) => {
            dump.open_files.insert((session, ino));
        }
        other => return take_shared(dump, &other, key, value),
    }
    Ok(())
}

/// What is not about one node.
fn take_shared(dump: &mut Dump, parsed: &Key, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
    match parsed {
        Key::Flocks(ino) => {
            let table: Flocks = open(key, value)?;
            let table = table.get().cloned().flatten().unwrap_or_default();
            take_flocks(dump.locks.entry(*ino).or_default(), table);
        }
        Key::PosixLocks(ino) => {
            let table: PosixLocks = open(key, value)?;
            let table = table.get().cloned().flatten().unwrap_or_default();
            take_ranges(dump.locks.entry(*ino).or_default(), *ino, &table);
        }
        Key::Chunk(id) => {
            let chunk: Chunk = open(key, value)?;
            let chunk = DumpedChunk {
                version: chunk.version.value(),
                locked_until: chunk.locked_until.value(),
                archived: chunk.archived.value(),
                unsettled: chunk.unsettled.value(),
                references: chunk.references.value(),
            };
            dump.chunks.insert(*id, chunk);
        }
        Key::SlotIds(slot) => {
            let ids: SlotIds = open(key, value)?;
            let given = (ids.inodes.value(), ids.chunks.value());
            dump.given.insert(*slot, given);
        }
        Key::PassedIds(slot) => {
            let passed: Passed = open(key, value)?;
            let passed = passed.get().cloned().flatten();
            let passed = passed.map(|passed| (*slot, passed.as_slice().to_vec()));
            dump.passed_ids.extend(passed);
        }
        Key::PassedVersions(chunk) => {
            let passed: Passed = open(key, value)?;
            let passed = passed.get().cloned().flatten();
            let passed = passed.map(|passed| (*chunk, passed.as_slice().to_vec()));
            dump.passed_versions.extend(passed);
        }
        Key::ShardIds => {
            let ids: ShardIds = open(key, value)?;
            dump.sessions_given = ids.sessions.value();
            dump.registrations = ids.registrations.value();
        }
        Key::Applied => {
            let mark: Applied = open(key, value)?;
            dump.version = mark.0.version;
        }
        Key::Session(id) => {
            let session: Session = open(key, value)?;
            let session = session.get().cloned().flatten();
            let session = session.map(|it| (*id, (it.params, it.disconnected)));
            dump.sessions.extend(session);
        }
        Key::Lane(session, lane) => {
            let record: LaneRecord = open(key, value)?;
            let last = record
                .0
                .map(|last| (last.request(*lane), last.outcome.result));
            let last = last.map(|last| ((*session, *lane), last));
            dump.lanes.extend(last);
        }
        Key::Class(id) => {
            let class: Class = open(key, value)?;
            let class = class.get().cloned().flatten();
            dump.classes.extend(class.map(|class| (*id, class)));
        }
        Key::Chunkserver(csid) => {
            let record: Chunkserver = open(key, value)?;
            let record = record.get().copied().flatten();
            dump.chunkservers
                .extend(record.map(|record| (*csid, record.info(*csid))));
        }
        Key::MetaId => {
            let metaid: MetaId = open(key, value)?;
            dump.metaid = metaid.get().copied().flatten();
        }
        Key::Detached => {
            let bytes: DetachedBytes = open(key, value)?;
            dump.trash_bytes = bytes.trash.value();
            dump.sustained_bytes = bytes.sustained.value();
        }
        _ => unreachable!("what is about a node was taken before"),
    }
    Ok(())
}

fn take_inode(node: &mut DumpedNode, inode: &Inode) {
    let length = inode.length.value();
    let origin = inode.origin.clone();
    node.kind = origin.as_ref().map(|origin| origin.kind);
    node.rdev = origin.as_ref().map_or(0, |origin| origin.rdev);
    node.target = origin.map_or_else(Vec::new, |origin| origin.target);
    node.whereabouts = inode.whereabouts.value();
    node.mode = inode.mode.value();
    node.uid = inode.uid.value();
    node.gid = inode.gid.value();
    node.atime = inode.atime.value();
    node.mtime = inode.mtime.value();
    node.ctime = inode.ctime.value();
    node.class = inode.class.value();
    node.trash_hours = u32::from(inode.trash_hours.value());
    node.eattr = inode.eattr.value();
    node.winattr = inode.winattr.value();
    node.names = inode.links.value();
    node.subdirs = inode.subdirs.value();
    node.newest_parent = inode.parents.latest().map(|(parent, _)| *parent);
    node.length = length;
    let reserved = inode.reserved.value();
    node.reserved_end = if reserved > length { reserved } else { 0 };
}

fn take_flocks(locks: &mut DumpedLocks, table: FlockTable) {
    locks.flocks.extend(table.held);
    let waiting = table.waiting.into_iter();
    locks
        .flock_waiters
        .extend(waiting.map(|w| (w.session, w.owner, w.reqid, w.exclusive)));
}

fn take_ranges(locks: &mut DumpedLocks, inode: InodeId, table: &PosixTable) {
    let lock = |range: &PosixRange| HeldLock {
        inode,
        session: range.session,
        owner: range.owner,
        pid: range.pid,
        start: range.start,
        end: range.end,
        exclusive: range.kind == PosixLockKind::Write,
        posix: true,
    };
    locks.ranges.extend(table.held.iter().map(lock));
    let waiting = table.waiting.iter();
    locks
        .range_waiters
        .extend(waiting.map(|(range, reqid)| (*reqid, lock(range))));
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bed, ROOT, root, unlink};

    #[test]
    fn two_states_differ_by_what_one_of_them_lacks() {
        let (mut one, mut other) = (Bed::new(), Bed::new());
        assert_eq!(one.tree.dump().unwrap(), other.tree.dump().unwrap());
        one.file(&root(), ROOT, "file");
        other.file(&root(), ROOT, "file");
        let (left, right) = (one.tree.dump().unwrap(), other.tree.dump().unwrap());
        assert_eq!(left.difference(&right), None);
        one.ok(unlink(&root(), ROOT, "file"));
        let mut left = one.tree.dump().unwrap();
        let text = left.difference(&right).unwrap();
        assert!(text.contains("version"), "{text}");
        left.version = right.version;
        let text = left.difference(&right).unwrap();
        assert!(text.contains("nodes"), "{text}");
    }
}
