//! The model's state in the form in which a namespace tells its own, to be compared as a whole.

use std::collections::BTreeMap;

use mfsha_core::id::{InodeId, Slot};
use mfsha_core::namespace::op::{HeldLock, NodeKind, Whereabouts};
use mfsha_core::namespace::{Dump, DumpedChunk, DumpedLocks, DumpedNode};

use crate::locks::told;
use crate::state::{Locks, Model};

impl Model {
    /// The whole state.
    #[must_use]
    pub fn dump(&self) -> Dump {
        let references = self.references();
        let bytes = |wanted: Whereabouts| {
            let files = self.nodes.values();
            let files = files.filter(|node| node.whereabouts == wanted);
            files.map(|node| i128::from(node.length)).sum()
        };
        let chunks = self.chunks.iter().map(|(id, chunk)| {
            let dumped = DumpedChunk {
                version: chunk.version,
                locked_until: chunk.locked_until,
                archived: chunk.archived,
                unsettled: chunk.unsettled,
                references: references.get(id).copied().unwrap_or(0).into(),
            };
            (*id, dumped)
        });
        let sessions = self.sessions.iter();
        let locks = self.locks.iter().filter(|(_, l)| **l != Locks::default());
        Dump {
            version: self.version,
            metaid: None,
            nodes: self
                .nodes
                .keys()
                .map(|ino| (*ino, self.dump_node(*ino)))
                .collect(),
            chunks: chunks.collect(),
            sessions: sessions
                .map(|(id, session)| (*id, (session.params.clone(), session.disconnected)))
                .collect(),
            open_files: self.open_files.clone(),
            locks: locks
                .map(|(ino, locks)| (*ino, dump_locks(*ino, locks)))
                .collect(),
            lanes: self.lanes.clone(),
            classes: self.classes.clone(),
            given: self.given.of_slots(),
            passed_ids: self
                .passed_ids
                .iter()
                .map(|(slot, ids)| (Slot(*slot), ids.to_vec()))
                .collect(),
            passed_versions: self
                .passed_versions
                .iter()
                .map(|(chunk, versions)| (*chunk, versions.to_vec()))
                .collect(),
            sessions_given: self.given.sessions.into(),
            chunkservers: self.chunkservers.clone(),
            registrations: self.registrations,
            trash_bytes: bytes(Whereabouts::Trash),
            sustained_bytes: bytes(Whereabouts::Sustained),
        }
    }

    fn dump_node(&self, inode: InodeId) -> DumpedNode {
        let node = self.node(inode);
        let is_dir = node.kind == NodeKind::Directory;
        DumpedNode {
            kind: Some(node.kind),
            whereabouts: node.whereabouts,
            mode: node.mode,
            uid: node.uid,
            gid: node.gid,
            atime: node.atime,
            mtime: node.mtime,
            ctime: node.ctime,
            class: node.class,
            trash_hours: node.trash_hours,
            eattr: node.eattr,
            winattr: node.winattr,
            rdev: node.rdev,
            target: node.target.clone(),
            names: self.links(inode).len() as u64,
            subdirs: if is_dir {
                u64::from(self.nlink(inode)) - 2
            } else {
                0
            },
            newest_parent: self.newest_parent(inode),
            xattrs: node.xattrs.clone(),
            access_acl: node.access_acl.clone(),
            default_acl: node.default_acl.clone(),
            entries: node.entries.clone(),
            sums: is_dir.then(|| self.stats(inode)),
            height: node.height,
            quota: node
                .quota
                .map(|q| (q.soft, q.hard, q.grace_seconds, q.over_soft_since)),
            length: match node.kind {
                NodeKind::Symlink => node.target.len() as u64,
                _ => node.length,
            },
            reserved_end: if node.reserved_end > node.length {
                node.reserved_end
            } else {
                0
            },
            chunks: node.chunks.clone(),
            path: if node.is_detached() {
                node.path.clone()
            } else {
                Vec::new()
            },
        }
    }
}

fn dump_locks(inode: InodeId, locks: &Locks) -> DumpedLocks {
    let flocks: &BTreeMap<_, bool> = &locks.flock_held;
    let ranges = locks.ranges_held.iter().map(|range| told(inode, range));
    let range_waiters = locks.ranges_waiting.iter();
    DumpedLocks {
        flocks: flocks
            .iter()
            .map(|((session, owner), exclusive)| (*session, *owner, *exclusive))
            .collect(),
        flock_waiters: locks
            .flock_waiting
            .iter()
            .map(|w| (w.session, w.owner, w.reqid, w.exclusive))
            .collect(),
        ranges: ranges.collect(),
        range_waiters: range_waiters
            .map(|(reqid, range)| -> (u32, HeldLock) { (*reqid, told(inode, range)) })
            .collect(),
    }
}
