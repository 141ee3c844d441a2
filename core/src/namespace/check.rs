//! The laws that a tree keeps at all times, judged by a walk over all of it.
//!
//! For tests, the simulator and operators: it reads everything and keeps it in memory. It trusts
//! nothing that operations maintain; what they count, it counts again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::{Bound, ControlFlow};

use super::Namespace;
use super::key::Key;
use super::op::{ChunkAction, DirStats, Name, NodeKind, StorageClass, Whereabouts};
use super::path::valid_name;
use super::quota;
use super::record::{
    AclRecord, Applied, Chunk, ChunkSlot, Chunkserver, ChunkserverRecord, Class, DetachedBytes,
    Edge, Flocks, Inode, LaneRecord, MetaId, Opened, Passed, PosixLocks, Quota, QuotaRecord,
    Ranges, Record, Session, ShardIds, SlotIds, Stats, Sustained, Trashed, Xattr,
};
use super::stats;
use super::txn::open;
use crate::id::{ChunkId, CsId, InodeId, SessionId, Slot};
use crate::limits;
use crate::store::{StateStore, StoreError};

/// What a tree promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Law {
    /// Every key parses and every value opens.
    Readable,
    /// The root is there and is a directory without a name; any other directory has one name.
    OneParent,
    /// Names of directories and names that nodes know of are the same, valid, and one node each.
    Names,
    /// A node counts as many links as it has names.
    Links,
    /// A directory counts as many subdirectories as it has.
    Subdirs,
    /// Every directory can be reached from the root.
    Reachable,
    /// A node without a name is a file in the trash or sustained, and one with a name is neither.
    Whereabouts,
    /// Sums of directories are what their subtrees hold.
    Sums,
    /// No directory lies deeper than it may, or has more levels below it than it knows of.
    Depth,
    /// A quota belongs to a directory, and notes since when a soft limit is passed exactly while
    /// one is.
    Quotas,
    /// Chunks count as many references as file slots refer to them, and chunks that are to be made
    /// from them; and none refers to nothing.
    References,
    /// A chunk that is not used holds no other, and one that is being cut belongs to one slot.
    Unsettled,
    /// Who has a file open is known from the file and from the session alike.
    OpenFiles,
    /// Locks are held, and waited for, by sessions that have the file open.
    Locks,
    /// Ids in use were given out (P-IDS).
    Ids,
    /// Nothing is kept for a node or session that is not there, and nodes know whether they have
    /// extended attributes or ACLs.
    Owners,
    /// Files and directories are of a storage class that is there.
    Classes,
    /// Chunkservers have an id and an address of their own, and registered under a number of their
    /// own that was given out.
    Chunkservers,
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let group = match self {
            Self::OneParent
            | Self::Names
            | Self::Links
            | Self::Subdirs
            | Self::Reachable
            | Self::Whereabouts => "P-TREE",
            Self::Ids => "P-IDS",
            _ => "P-STATE",
        };
        write!(f, "{group} ({self:?})")
    }
}

/// A law that is broken, and by what.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{law}: {detail}")]
pub struct Violation {
    /// The law.
    pub law: Law,
    /// Where, and how.
    pub detail: String,
}

type Judged = Result<(), Violation>;

fn broken<T>(law: Law, detail: impl Into<String>) -> Result<T, Violation> {
    Err(Violation {
        law,
        detail: detail.into(),
    })
}

fn demand(holds: bool, law: Law, detail: impl FnOnce() -> String) -> Judged {
    if holds { Ok(()) } else { broken(law, detail()) }
}

impl<S: StateStore> Namespace<S> {
    /// Judges the whole tree.
    ///
    /// # Errors
    /// [`StoreError`] outside when the store cannot be read; the first broken law inside.
    pub fn check(&self) -> Result<Result<(), Violation>, StoreError> {
        let mut all = Everything::default();
        let mut judged = Ok(());
        self.store().scan(
            Bound::Unbounded,
            Bound::Unbounded,
            &mut |key, value| match all.read(key, value) {
                Ok(()) => ControlFlow::Continue(()),
                Err(violation) => {
                    judged = Err(violation);
                    ControlFlow::Break(())
                }
            },
        )?;
        Ok(judged.and_then(|()| all.judge()))
    }
}

/// The whole state, taken apart.
#[derive(Default)]
struct Everything {
    nodes: BTreeMap<InodeId, Inode>,
    edges: BTreeMap<(InodeId, Name), Edge>,
    sums: BTreeMap<InodeId, DirStats>,
    heights: BTreeMap<InodeId, u32>,
    detached_bytes: (i128, i128),
    quotas: BTreeMap<InodeId, QuotaRecord>,
    slots: BTreeMap<(InodeId, u32), ChunkId>,
    chunks: BTreeMap<ChunkId, Chunk>,
    opened: BTreeSet<(SessionId, InodeId)>,
    session_opened: BTreeSet<(SessionId, InodeId)>,
    locks: BTreeSet<(SessionId, InodeId)>,
    detached: BTreeMap<InodeId, Whereabouts>,
    decorations: BTreeSet<InodeId>,
    ids: BTreeMap<Slot, SlotIds>,
    passed_ids: BTreeMap<Slot, Ranges>,
    passed_versions: BTreeMap<ChunkId, Ranges>,
    shard: ShardIds,
    sessions: BTreeSet<SessionId>,
    lanes: BTreeSet<SessionId>,
    classes: BTreeMap<u8, StorageClass>,
    chunkservers: BTreeMap<CsId, ChunkserverRecord>,
}

/// Opens a value, or says which one does not open.
fn value<R: Record>(key: &[u8], bytes: &[u8]) -> Result<R, Violation> {
    let record: R = match open(key, bytes) {
        Ok(record) => record,
        Err(error) => return broken(Law::Readable, error.to_string()),
    };
    demand(!record.is_gone(), Law::Readable, || {
        format!("{:?} holds nothing", Key::parse(key))
    })?;
    Ok(record)
}

impl Everything {
    fn read(&mut self, key: &[u8], bytes: &[u8]) -> Judged {
        let Some(parsed) = Key::parse(key) else {
            return broken(Law::Readable, format!("{key:02x?} is no key"));
        };
        match parsed {
            Key::Inode(ino) => {
                let node: Inode = value(key, bytes)?;
                demand(node.origin.is_some(), Law::Readable, || {
                    format!("{ino} has no type")
                })?;
                self.nodes.insert(ino, node);
            }
            Key::Edge(dir, name) => {
                self.edges.insert((dir, name), value(key, bytes)?);
            }
            Key::Stats(dir) => {
                let stats: Stats = value(key, bytes)?;
                self.sums.insert(dir, stats.value());
                self.heights.insert(dir, stats.height());
            }
            Key::Quota(dir) => {
                let quota: Quota = value(key, bytes)?;
                self.quotas
                    .extend(quota.get().cloned().flatten().map(|quota| (dir, quota)));
            }
            Key::ChunkSlot(ino, index) => {
                let slot: ChunkSlot = value(key, bytes)?;
                let chunk = slot.get().copied().flatten();
                self.slots.extend(chunk.map(|chunk| ((ino, index), chunk)));
            }
            Key::Chunk(chunk) => {
                self.chunks.insert(chunk, value(key, bytes)?);
            }
            Key::Xattr(ino, _) => {
                value::<Xattr>(key, bytes)?;
                self.decorations.insert(ino);
            }
            Key::Acl(ino, _) => {
                value::<AclRecord>(key, bytes)?;
                self.decorations.insert(ino);
            }
            Key::Flocks(ino) => {
                let locks: Flocks = value(key, bytes)?;
                let table = locks.get().cloned().flatten().unwrap_or_default();
                let holders = table.held.iter().map(|(session, ..)| *session);
                let waiters = table.waiting.iter().map(|waiter| waiter.session);
                self.locks
                    .extend(holders.chain(waiters).map(|session| (session, ino)));
            }
            Key::PosixLocks(ino) => {
                let locks: PosixLocks = value(key, bytes)?;
                let table = locks.get().cloned().flatten().unwrap_or_default();
                let holders = table.held.iter().map(|range| range.session);
                let waiters = table.waiting.iter().map(|(range, _)| range.session);
                self.locks
                    .extend(holders.chain(waiters).map(|session| (session, ino)));
            }
            Key::Opened(ino, session) => {
                value::<Opened>(key, bytes)?;
                self.opened.insert((session, ino));
            }
            Key::SessionOpened(session, ino) => {
                value::<Opened>(key, bytes)?;
                self.session_opened.insert((session, ino));
            }
            Key::Trashed(ino) => {
                value::<Trashed>(key, bytes)?;
                self.detach(ino, Whereabouts::Trash)?;
            }
            Key::Sustained(ino) => {
                value::<Sustained>(key, bytes)?;
                self.detach(ino, Whereabouts::Sustained)?;
            }
            Key::SlotIds(slot) => {
                self.ids.insert(slot, value(key, bytes)?);
            }
            Key::PassedIds(slot) => {
                let passed: Passed = value(key, bytes)?;
                let passed = passed.get().cloned().flatten().unwrap_or_default();
                self.passed_ids.insert(slot, passed);
            }
            Key::PassedVersions(chunk) => {
                let passed: Passed = value(key, bytes)?;
                let passed = passed.get().cloned().flatten().unwrap_or_default();
                self.passed_versions.insert(chunk, passed);
            }
            Key::ShardIds => self.shard = value(key, bytes)?,
            Key::Detached => {
                let sums: DetachedBytes = value(key, bytes)?;
                self.detached_bytes = (sums.trash.value(), sums.sustained.value());
            }
            Key::Applied => drop(value::<Applied>(key, bytes)?),
            Key::MetaId => {
                value::<MetaId>(key, bytes)?;
            }
            Key::Session(session) => {
                value::<Session>(key, bytes)?;
                self.sessions.insert(session);
            }
            Key::Lane(session, _) => {
                value::<LaneRecord>(key, bytes)?;
                self.lanes.insert(session);
            }
            Key::Class(id) => {
                let class: Class = value(key, bytes)?;
                self.classes
                    .extend(class.get().cloned().flatten().map(|class| (id, class)));
            }
            Key::Chunkserver(csid) => {
                let record: Chunkserver = value(key, bytes)?;
                let record = record.get().copied().flatten();
                self.chunkservers
                    .extend(record.map(|record| (csid, record)));
            }
        }
        Ok(())
    }

    fn detach(&mut self, ino: InodeId, whereabouts: Whereabouts) -> Judged {
        demand(
            self.detached.insert(ino, whereabouts).is_none(),
            Law::Whereabouts,
            || format!("{ino} is in the trash and sustained"),
        )
    }

    fn judge(&self) -> Judged {
        self.one_parent()?;
        self.names()?;
        self.counts()?;
        let order = self.reachable()?;
        self.whereabouts()?;
        self.classes()?;
        self.sums(&order)?;
        self.sums_of_detached()?;
        self.depth(&order)?;
        self.quotas()?;
        self.references()?;
        self.unsettled()?;
        self.open_files()?;
        self.ids()?;
        self.chunkservers()?;
        self.owners()
    }

    fn is_dir(&self, ino: InodeId) -> bool {
        self.nodes
            .get(&ino)
            .is_some_and(|node| node.kind() == NodeKind::Directory)
    }

    fn one_parent(&self) -> Judged {
        demand(self.is_dir(InodeId::ROOT), Law::OneParent, || {
            "the root is no directory".to_owned()
        })?;
        for (ino, node) in &self.nodes {
            let wanted = usize::from(*ino != InodeId::ROOT);
            if node.kind() == NodeKind::Directory {
                demand(node.parents.len() == wanted, Law::OneParent, || {
                    format!("directory {ino} has {} names", node.parents.len())
                })?;
            }
        }
        Ok(())
    }

    fn names(&self) -> Judged {
        let law = Law::Names;
        let mut known = BTreeSet::new();
        for (ino, node) in &self.nodes {
            for (dot, (dir, name)) in node.parents.iter() {
                let fresh = known.insert((*dir, name.clone(), *ino));
                demand(fresh, law, || format!("{ino} has a name in {dir} twice"))?;
                let edge = self.edges.get(&(*dir, name.clone()));
                let same =
                    edge.is_some_and(|edge| edge.iter().any(|(d, t)| d == dot && t.inode == *ino));
                demand(same, law, || {
                    format!("{ino} knows of a name in {dir} that is not there: {name:02x?}")
                })?;
            }
        }
        for ((dir, name), edge) in &self.edges {
            demand(self.is_dir(*dir), law, || {
                format!("{dir} has entries and is no directory")
            })?;
            demand(valid_name(name).is_ok(), law, || {
                format!("{name:02x?} in {dir} can be no name")
            })?;
            demand(edge.len() == 1, law, || {
                format!("{name:02x?} in {dir} is {} nodes", edge.len())
            })?;
            for (_, target) in edge.iter() {
                let ino = target.inode;
                demand(known.contains(&(*dir, name.clone(), ino)), law, || {
                    format!("{ino} does not know its name {name:02x?} in {dir}")
                })?;
                demand(self.nodes[&ino].kind() == target.kind, law, || {
                    format!("{name:02x?} in {dir} shows a wrong type of {ino}")
                })?;
            }
        }
        Ok(())
    }

    fn counts(&self) -> Judged {
        let mut subdirs: BTreeMap<InodeId, u64> = BTreeMap::new();
        for ((dir, _), edge) in &self.edges {
            for (_, target) in edge.iter() {
                *subdirs.entry(*dir).or_default() += u64::from(target.kind == NodeKind::Directory);
            }
        }
        for (ino, node) in &self.nodes {
            let (links, names) = (node.links.value(), node.parents.len() as u64);
            demand(links == names, Law::Links, || {
                format!("{ino} counts {links} links and has {names} names")
            })?;
            let (counted, there) = (node.subdirs.value(), subdirs.get(ino).copied().unwrap_or(0));
            demand(counted == there, Law::Subdirs, || {
                format!("{ino} counts {counted} subdirectories and has {there}")
            })?;
        }
        Ok(())
    }

    /// Directories in an order in which each comes after its parent.
    fn reachable(&self) -> Result<Vec<InodeId>, Violation> {
        let mut children: BTreeMap<InodeId, Vec<InodeId>> = BTreeMap::new();
        let mut dirs = 0;
        for (ino, node) in &self.nodes {
            if node.kind() == NodeKind::Directory {
                dirs += 1;
                if let Some(parent) = node.parent() {
                    children.entry(parent).or_default().push(*ino);
                }
            }
        }
        let mut order = vec![InodeId::ROOT];
        let mut at = 0;
        while let Some(dir) = order.get(at) {
            order.extend(children.remove(dir).unwrap_or_default());
            at += 1;
        }
        demand(order.len() == dirs, Law::Reachable, || {
            format!(
                "{} of {dirs} directories can be reached; one that cannot is in {:?}",
                order.len(),
                children.keys().next()
            )
        })?;
        Ok(order)
    }

    fn whereabouts(&self) -> Judged {
        for (ino, node) in &self.nodes {
            let noted = node.whereabouts.value();
            let kept = self
                .detached
                .get(ino)
                .copied()
                .unwrap_or(Whereabouts::Linked);
            demand(noted == kept, Law::Whereabouts, || {
                format!("{ino} is {noted:?}, and is kept as {kept:?}")
            })?;
            let named = !node.parents.is_empty() || *ino == InodeId::ROOT;
            demand(
                named == (noted == Whereabouts::Linked),
                Law::Whereabouts,
                || format!("{ino} is {noted:?} with {} names", node.parents.len()),
            )?;
            demand(
                named || node.kind() == NodeKind::File,
                Law::Whereabouts,
                || format!("{ino} has no name and is no file"),
            )?;
        }
        Ok(())
    }

    fn classes(&self) -> Judged {
        for (ino, node) in &self.nodes {
            let class = node.class.value();
            let wanted = matches!(node.kind(), NodeKind::File | NodeKind::Directory);
            demand(
                !wanted || self.classes.contains_key(&class),
                Law::Classes,
                || format!("{ino} is of class {class}, which is not there"),
            )?;
        }
        Ok(())
    }

    fn sums(&self, order: &[InodeId]) -> Judged {
        let mut files: BTreeMap<InodeId, DirStats> = BTreeMap::new();
        for (ino, node) in &self.nodes {
            if node.kind() == NodeKind::File {
                let own = DirStats {
                    length: i128::from(node.length.value()),
                    ..stats::FILE
                };
                files.insert(*ino, own);
            }
        }
        for ((ino, index), chunk) in &self.slots {
            if *chunk != ChunkId::HOLE
                && let Some(sum) = files.get_mut(ino)
            {
                let node = &self.nodes[ino];
                let goal = stats::goal_of(&self.classes[&node.class.value()]);
                let more = stats::of_chunk(node.length.value(), *index, goal);
                *sum = stats::plus(sum, &more);
            }
        }
        let mut sums: BTreeMap<InodeId, DirStats> =
            order.iter().map(|dir| (*dir, stats::DIRECTORY)).collect();
        for ((dir, _), edge) in &self.edges {
            for (_, target) in edge.iter() {
                let more = match target.kind {
                    NodeKind::Directory => continue,
                    NodeKind::File => files[&target.inode],
                    _ => stats::of_special(&self.nodes[&target.inode]),
                };
                let sum = sums.entry(*dir).or_default();
                *sum = stats::plus(sum, &more);
            }
        }
        for dir in order.iter().rev() {
            let more = sums[dir];
            if let Some(parent) = self.nodes[dir].parent() {
                let sum = sums.entry(parent).or_default();
                *sum = stats::plus(sum, &more);
            }
        }
        demand(sums.keys().eq(self.sums.keys()), Law::Sums, || {
            "sums are not kept for exactly the directories".to_owned()
        })?;
        for (dir, sum) in &sums {
            let kept = &self.sums[dir];
            demand(kept == sum, Law::Sums, || {
                format!("{dir} keeps {kept:?} and holds {sum:?}")
            })?;
        }
        Ok(())
    }

    fn sums_of_detached(&self) -> Judged {
        let sum = |wanted: Whereabouts| -> i128 {
            let files = self.nodes.values();
            let files = files.filter(|node| node.whereabouts.value() == wanted);
            files.map(|node| i128::from(node.length.value())).sum()
        };
        let there = (sum(Whereabouts::Trash), sum(Whereabouts::Sustained));
        demand(self.detached_bytes == there, Law::Sums, || {
            format!(
                "{:?} bytes are counted in the trash and sustained, there are {there:?}",
                self.detached_bytes
            )
        })
    }

    fn depth(&self, order: &[InodeId]) -> Judged {
        let mut depths: BTreeMap<InodeId, usize> = BTreeMap::new();
        for dir in order {
            let parent = self.nodes[dir].parent();
            let depth = parent.map_or(0, |parent| depths[&parent] + 1);
            demand(depth <= limits::DEPTH_MAX, Law::Depth, || {
                format!("{dir} lies {depth} directories deep")
            })?;
            depths.insert(*dir, depth);
        }
        let mut levels: BTreeMap<InodeId, u32> = BTreeMap::new();
        for dir in order.iter().rev() {
            let there = levels.get(dir).copied().unwrap_or(0);
            let known = self.heights.get(dir).copied().unwrap_or(0);
            demand(known >= there, Law::Depth, || {
                format!("{dir} has {there} levels below it and knows of {known}")
            })?;
            if let Some(parent) = self.nodes[dir].parent() {
                let above = levels.entry(parent).or_default();
                *above = (*above).max(there + 1);
            }
        }
        Ok(())
    }

    fn quotas(&self) -> Judged {
        for (dir, record) in &self.quotas {
            let Some(used) = self.sums.get(dir) else {
                return broken(Law::Quotas, format!("{dir} is no directory"));
            };
            let over = quota::is_over(&record.soft, &quota::below(used));
            demand(
                over == record.over_soft_since.is_some(),
                Law::Quotas,
                || format!("{dir} holds {used:?} and has {record:?}"),
            )?;
        }
        Ok(())
    }

    fn references(&self) -> Judged {
        let law = Law::References;
        let mut wanted: BTreeMap<ChunkId, u64> = BTreeMap::new();
        for ((ino, index), chunk) in &self.slots {
            let node = self.nodes.get(ino);
            let is_file = node.is_some_and(|node| node.kind() == NodeKind::File);
            demand(is_file, law, || format!("{ino} has chunks and is no file"))?;
            demand(*chunk != ChunkId::HOLE, law, || {
                format!("{ino} keeps a hole at {index}")
            })?;
            demand(self.chunks.contains_key(chunk), law, || {
                format!("{ino} has {chunk} at {index}, which is not there")
            })?;
            *wanted.entry(*chunk).or_default() += 1;
        }
        for (id, chunk) in &self.chunks {
            let Some(held) = chunk.unsettled.value().and_then(|it| it.holds()) else {
                continue;
            };
            demand(self.chunks.contains_key(&held), law, || {
                format!("{id} is to be made from {held}, which is not there")
            })?;
            *wanted.entry(held).or_default() += 1;
        }
        for (id, chunk) in &self.chunks {
            let (counted, there) = (
                chunk.references.value(),
                wanted.get(id).copied().unwrap_or(0),
            );
            demand(counted == there, law, || {
                format!("{id} counts {counted} references and has {there}")
            })?;
        }
        Ok(())
    }

    fn unsettled(&self) -> Judged {
        let law = Law::Unsettled;
        for (id, chunk) in &self.chunks {
            let Some(unsettled) = chunk.unsettled.value() else {
                continue;
            };
            let references = chunk.references.value();
            demand(references > 0 || unsettled.holds().is_none(), law, || {
                format!("{id} is not used, and holds another: {unsettled:?}")
            })?;
            demand(unsettled.action != ChunkAction::Kept, law, || {
                format!("{id} is unsettled for nothing")
            })?;
            let slot = self.slots.get(&(unsettled.inode, unsettled.index));
            let alone = references == 0 || references == 1 && slot == Some(id);
            demand(unsettled.cut.is_none() || alone, law, || {
                format!("{id} has {references} references and is being cut: {unsettled:?}")
            })?;
        }
        Ok(())
    }

    fn open_files(&self) -> Judged {
        let law = Law::OpenFiles;
        let one_sided = self
            .opened
            .symmetric_difference(&self.session_opened)
            .next();
        if let Some((session, ino)) = one_sided {
            return broken(
                law,
                format!("{session} has {ino} open, but only one of them knows"),
            );
        }
        for (session, ino) in &self.opened {
            demand(self.sessions.contains(session), law, || {
                format!("{ino} is open in {session}, which is not there")
            })?;
            let node = self.nodes.get(ino);
            let is_file = node.is_some_and(|node| node.kind() == NodeKind::File);
            demand(is_file, law, || {
                format!("{session} has {ino} open, which is no file")
            })?;
        }
        for (session, ino) in &self.locks {
            demand(self.opened.contains(&(*session, *ino)), Law::Locks, || {
                format!("{session} locks {ino} and does not have it open")
            })?;
        }
        Ok(())
    }

    fn ids(&self) -> Judged {
        let none = SlotIds::default();
        for ino in self.nodes.keys() {
            let given = self.ids.get(&ino.slot()).unwrap_or(&none).inodes.value();
            demand(u64::from(ino.sequence()) < given, Law::Ids, || {
                format!("{ino} was not given out: its slot is at {given}")
            })?;
        }
        for chunk in self.chunks.keys() {
            let given = self.ids.get(&chunk.slot()).unwrap_or(&none).chunks.value();
            demand(chunk.sequence() < given, Law::Ids, || {
                format!("{chunk} was not given out: its slot is at {given}")
            })?;
        }
        self.passed()?;
        let given = self.shard.sessions.value();
        for session in &self.sessions {
            demand(u64::from(session.0) <= given, Law::Ids, || {
                format!("{session} was not given out: the shard is at {given}")
            })?;
        }
        Ok(())
    }

    /// What was passed over is below what comes next, and no chunk has such an id by being made.
    fn passed(&self) -> Judged {
        let none = SlotIds::default();
        for (slot, passed) in &self.passed_ids {
            let given = self.ids.get(slot).unwrap_or(&none).chunks.value();
            let last = passed.as_slice().last();
            demand(last.is_some_and(|last| last.1 < given), Law::Ids, || {
                format!("{slot:?} passed over {passed:?}, and is at {given}")
            })?;
        }
        for (chunk, passed) in &self.passed_versions {
            let version = self.chunks.get(chunk).map(|it| it.version.value());
            let last = passed.as_slice().last();
            let below = last.is_some_and(|last| version.is_some_and(|it| last.1 < it.into()));
            demand(below, Law::Ids, || {
                format!("{chunk} is at {version:?} and passed over {passed:?}")
            })?;
        }
        Ok(())
    }

    fn chunkservers(&self) -> Judged {
        let law = Law::Chunkservers;
        let given = self.shard.registrations.value();
        let (mut addresses, mut numbers) = (BTreeSet::new(), BTreeSet::new());
        for (csid, record) in &self.chunkservers {
            demand(*csid != CsId(0), law, || {
                "a chunkserver has no id".to_owned()
            })?;
            let number = record.registration;
            demand((1..=given).contains(&number), law, || {
                format!("{csid} registered as {number}, and there were {given}")
            })?;
            let own = addresses.insert(record.address) && numbers.insert(number);
            demand(own, law, || {
                format!("{csid} shares its address or its registration: {record:?}")
            })?;
        }
        Ok(())
    }

    fn owners(&self) -> Judged {
        let law = Law::Owners;
        for ino in self.decorations.iter().chain(self.detached.keys()) {
            demand(self.nodes.contains_key(ino), law, || {
                format!("something is kept for {ino}, which is not there")
            })?;
        }
        for (ino, node) in &self.nodes {
            let (noted, there) = (node.decorated.value(), self.decorations.contains(ino));
            demand(noted == there, law, || {
                format!("{ino} notes {noted} of having attributes or ACLs: it is {there}")
            })?;
        }
        for session in &self.lanes {
            demand(self.sessions.contains(session), law, || {
                format!("requests of {session}, which is not there, are remembered")
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod soak;
#[cfg(test)]
mod tests;
