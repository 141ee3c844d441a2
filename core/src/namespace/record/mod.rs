//! What the keys hold: lattices all of them, so that state changes by joining deltas alone.
//!
//! Values that are replaced as a whole (a session, a quota, a lock table) are last-writer-wins
//! registers of an `Option`; one that holds `None` is gone and its key with it.

mod chunkserver;
mod inode;
#[cfg(test)]
mod laws;
mod ranges;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::codec;
use crate::crdt::{GCounter, LOG_REPLICA, Lattice, LinkCounter, Lww, OrSet, PnCounter};
use crate::id::{ChunkId, InodeId, Lane, LogIndex, RequestSeq, SessionId};
use crate::namespace::op::{
    Acl, DirStats, LastRequest, NodeKind, Outcome, PosixLockKind, QuotaLimits, SessionParams,
    StorageClass, Unsettled,
};
use crate::time::WallTime;

pub use chunkserver::{Chunkserver, ChunkserverRecord};
pub use inode::{Inode, Origin};
pub use ranges::Ranges;

/// What a key can hold.
pub trait Record: Lattice + Clone + Serialize + DeserializeOwned {
    /// Whether nothing is left that has to be kept: the key is removed.
    ///
    /// Only the log writes here so far, each change once and in order, so a removal need not be
    /// remembered.
    fn is_gone(&self) -> bool;

    /// Drops what only matters to deltas that have not been ordered yet.
    fn settle(&mut self) {}
}

impl<T> Record for Lww<Option<T>>
where
    T: Clone + Ord + Serialize + DeserializeOwned,
{
    fn is_gone(&self) -> bool {
        matches!(self.get(), None | Some(None))
    }
}

/// A name in a directory.
pub type Edge = OrSet<Target>;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Target {
    /// The node.
    pub inode: InodeId,
    /// Its type, so that a listing without attributes reads entries alone.
    pub kind: NodeKind,
}

impl<V> Record for OrSet<V>
where
    V: Clone + Ord + Serialize + DeserializeOwned,
{
    fn is_gone(&self) -> bool {
        self.is_empty()
    }

    fn settle(&mut self) {
        OrSet::settle(self);
    }
}

/// A directory's sums over its subtree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    inodes: PnCounter,
    dirs: PnCounter,
    files: PnCounter,
    chunks: PnCounter,
    length: PnCounter,
    size: PnCounter,
    real_size: PnCounter,
    /// Levels of directories that were ever below it, at least: a maximum.
    height: u32,
    gone: bool,
}

impl Stats {
    /// The sums.
    #[must_use]
    pub fn value(&self) -> DirStats {
        DirStats {
            inodes: self.inodes.value(),
            dirs: self.dirs.value(),
            files: self.files.value(),
            chunks: self.chunks.value(),
            length: self.length.value(),
            size: self.size.value(),
            real_size: self.real_size.value(),
        }
    }

    /// The delta that adds these sums, any of which may be negative.
    #[must_use]
    pub fn add(&self, more: &DirStats) -> Self {
        Self {
            inodes: self.inodes.add(LOG_REPLICA, more.inodes),
            dirs: self.dirs.add(LOG_REPLICA, more.dirs),
            files: self.files.add(LOG_REPLICA, more.files),
            chunks: self.chunks.add(LOG_REPLICA, more.chunks),
            length: self.length.add(LOG_REPLICA, more.length),
            size: self.size.add(LOG_REPLICA, more.size),
            real_size: self.real_size.add(LOG_REPLICA, more.real_size),
            height: 0,
            gone: false,
        }
    }

    /// Levels of directories that were ever below it, at least.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The delta of so many levels below.
    #[must_use]
    pub fn of_height(height: u32) -> Self {
        Self {
            height,
            ..Self::default()
        }
    }

    /// The delta of the directory's end.
    #[must_use]
    pub fn removed() -> Self {
        Self {
            gone: true,
            ..Self::default()
        }
    }
}

impl Lattice for Stats {
    fn join(&mut self, other: &Self) {
        self.inodes.join(&other.inodes);
        self.dirs.join(&other.dirs);
        self.files.join(&other.files);
        self.chunks.join(&other.chunks);
        self.length.join(&other.length);
        self.size.join(&other.size);
        self.real_size.join(&other.real_size);
        self.height = self.height.max(other.height);
        self.gone.join(&other.gone);
    }
}

impl Record for Stats {
    fn is_gone(&self) -> bool {
        self.gone
    }

    /// A file can grow and shrink by 2^57 bytes as often as somebody likes: what was added and
    /// taken would reach the end of 64 bits, the difference does not.
    fn settle(&mut self) {
        for sum in [
            &mut self.inodes,
            &mut self.dirs,
            &mut self.files,
            &mut self.chunks,
            &mut self.length,
            &mut self.size,
            &mut self.real_size,
        ] {
            sum.settle(LOG_REPLICA);
        }
    }
}

/// A directory's quota.
pub type Quota = Lww<Option<QuotaRecord>>;

/// Limits, and since when a soft one is passed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct QuotaRecord {
    /// May be passed for the grace time.
    pub soft: QuotaLimits,
    /// May not be passed.
    pub hard: QuotaLimits,
    /// Grace, seconds.
    pub grace_seconds: u32,
    /// When a soft limit was passed.
    pub over_soft_since: Option<WallTime>,
}

/// One chunk of a file; a hole has no key.
pub type ChunkSlot = Lww<Option<ChunkId>>;

/// An extended attribute's value.
pub type Xattr = Lww<Option<Vec<u8>>>;

/// An ACL. Kept with `mask` 0xFFFF when it has none.
pub type AclRecord = Lww<Option<Acl>>;

/// Whole-file locks of an inode.
pub type Flocks = Lww<Option<FlockTable>>;

/// Holders and waiters of a whole-file lock.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FlockTable {
    /// `(session, owner, exclusive)`, in order of session and owner.
    pub held: Vec<(SessionId, u64, bool)>,
    /// Who waits, first come first.
    pub waiting: Vec<FlockWaiter>,
}

/// A waiting request for a whole-file lock.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FlockWaiter {
    /// Whose.
    pub session: SessionId,
    /// Which owner within it.
    pub owner: u64,
    /// The client's name for the request.
    pub reqid: u32,
    /// Exclusive, or shared.
    pub exclusive: bool,
}

/// Byte-range locks of an inode.
pub type PosixLocks = Lww<Option<PosixTable>>;

/// Holders and waiters of byte ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PosixTable {
    /// Ranges held; those of one owner neither overlap nor touch when of the same kind and pid.
    pub held: Vec<PosixRange>,
    /// Who waits, first come first.
    pub waiting: Vec<(PosixRange, u32)>,
}

/// A byte range.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PosixRange {
    /// First byte.
    pub start: u64,
    /// Byte after the last; `u64::MAX` is the end of the file, wherever it is.
    pub end: u64,
    /// Whose.
    pub session: SessionId,
    /// Which owner within it.
    pub owner: u64,
    /// Which process.
    pub pid: u32,
    /// Shared or exclusive; never `Unlock`.
    pub kind: PosixLockKind,
}

/// That a session has a file open.
pub type Opened = Lww<Option<()>>;

/// A file in the trash: the path it had, without a leading slash.
pub type Trashed = Lww<Option<Vec<u8>>>;

/// A file without a name that is open: the path it had.
pub type Sustained = Lww<Option<Vec<u8>>>;

/// A session.
pub type Session = Lww<Option<SessionRecord>>;

/// A session's values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// What it may do.
    pub params: SessionParams,
    /// Since when no connection is there.
    pub disconnected: Option<WallTime>,
}

impl PartialOrd for SessionRecord {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SessionRecord {
    /// Any total order will do: it breaks ties of equal stamps, which correct writers never make.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        codec::encode(self).cmp(&codec::encode(other))
    }
}

/// The last request of a lane and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneRecord(pub Option<LaneLast>);

/// A request and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneLast {
    /// The request's number; the record with the highest stays.
    pub seq: RequestSeq,
    /// The request's fingerprint.
    pub print: u64,
    /// When it was carried out, by its proposer's clock.
    pub at: WallTime,
    /// Its first outcome.
    pub outcome: Outcome,
    /// The session ended: nothing is left to remember.
    pub gone: bool,
}

impl LaneLast {
    /// The request without what came of it.
    #[must_use]
    pub fn request(&self, lane: Lane) -> LastRequest {
        let Self { seq, print, at, .. } = *self;
        LastRequest {
            lane,
            seq,
            print,
            at,
        }
    }

    /// Whether this one stays where both are joined. Two outcomes of one request break a promise
    /// elsewhere (P-ONCE); the bytes decide then, so that replicas still agree.
    fn wins_over(&self, other: &Self) -> bool {
        let rank = |last: &Self| (last.gone, last.seq);
        let order = rank(self).cmp(&rank(other));
        let order = order.then_with(|| codec::encode(self).cmp(&codec::encode(other)));
        order.is_gt()
    }
}

impl Lattice for LaneRecord {
    fn join(&mut self, other: &Self) {
        let wins = match (&other.0, &self.0) {
            (Some(theirs), Some(ours)) => theirs.wins_over(ours),
            (theirs, None) => theirs.is_some(),
            (None, Some(_)) => false,
        };
        if wins {
            self.0.clone_from(&other.0);
        }
    }
}

impl Record for LaneRecord {
    fn is_gone(&self) -> bool {
        self.0.as_ref().is_none_or(|last| last.gone)
    }
}

/// A chunk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Its version. It rises only.
    pub version: Lww<u32>,
    /// Locked for a writer until then; 0 when free.
    pub locked_until: Lww<WallTime>,
    /// Whether its copies follow the archive list.
    pub archived: Lww<bool>,
    /// What chunkservers have not been told yet.
    pub unsettled: Lww<Option<Unsettled>>,
    /// File slots that refer to it, and chunks that are to be made from it.
    pub references: LinkCounter,
    /// Deleted and forgotten.
    pub gone: bool,
}

impl Lattice for Chunk {
    fn join(&mut self, other: &Self) {
        self.version.join(&other.version);
        self.locked_until.join(&other.locked_until);
        self.archived.join(&other.archived);
        self.unsettled.join(&other.unsettled);
        self.references.join(&other.references);
        self.gone.join(&other.gone);
    }
}

impl Record for Chunk {
    fn is_gone(&self) -> bool {
        self.gone
    }
}

/// Ids given out in a slot: each kind's next sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotIds {
    /// Inodes.
    pub inodes: GCounter,
    /// Chunks.
    pub chunks: GCounter,
}

impl Lattice for SlotIds {
    fn join(&mut self, other: &Self) {
        self.inodes.join(&other.inodes);
        self.chunks.join(&other.chunks);
    }
}

impl Record for SlotIds {
    fn is_gone(&self) -> bool {
        false
    }
}

/// Ids of a slot, or versions of a chunk, that chunkservers have copies of and that were not given
/// out: they never will be.
pub type Passed = Lww<Option<Ranges>>;

/// Ids and numbers given out by the shard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardIds {
    /// Sessions.
    pub sessions: GCounter,
    /// Registrations of chunkservers.
    pub registrations: GCounter,
}

impl Lattice for ShardIds {
    fn join(&mut self, other: &Self) {
        self.sessions.join(&other.sessions);
        self.registrations.join(&other.registrations);
    }
}

impl Record for ShardIds {
    fn is_gone(&self) -> bool {
        false
    }
}

/// Bytes of the files that lie in no directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetachedBytes {
    /// In the trash.
    pub trash: PnCounter,
    /// Sustained.
    pub sustained: PnCounter,
}

impl Lattice for DetachedBytes {
    fn join(&mut self, other: &Self) {
        self.trash.join(&other.trash);
        self.sustained.join(&other.sustained);
    }
}

impl Record for DetachedBytes {
    fn is_gone(&self) -> bool {
        self.trash.value() == 0 && self.sustained.value() == 0
    }

    fn settle(&mut self) {
        self.trash.settle(LOG_REPLICA);
        self.sustained.settle(LOG_REPLICA);
    }
}

/// What was applied last. Written with every command, in the same batch as its changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AppliedMark {
    /// Its log index.
    pub index: LogIndex,
    /// Metadata version.
    pub version: u64,
    /// What consensus wants kept beside the state, encoded.
    #[serde(with = "crate::codec::bytes")]
    pub note: Vec<u8>,
}

/// The mark as a record: the highest index stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied(pub AppliedMark);

impl Lattice for Applied {
    fn join(&mut self, other: &Self) {
        if other.0 > self.0 {
            self.0.clone_from(&other.0);
        }
    }
}

impl Record for Applied {
    fn is_gone(&self) -> bool {
        false
    }
}

/// The number by which clients and chunkservers know the cluster, when it was imported.
pub type MetaId = Lww<Option<u64>>;

/// A storage class.
pub type Class = Lww<Option<StorageClass>>;
