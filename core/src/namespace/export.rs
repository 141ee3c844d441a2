//! A state as a file that `mfsmaster` 3.0.117 starts from.
//!
//! Sections in the order of the file, each a walk over the slots; what is counted in front of a
//! section is counted in a walk of its own. Memory does not grow with the state, but for the chunk
//! list of one file.
//!
//! Left out is what `mfsmaster` has no place for: requests that may come again, requests that wait
//! for locks, room that was reserved for appends, ids and versions that were passed over.

use std::ops::{Bound, ControlFlow};

use super::key::{Key, SHARD};
use super::numbers;
use super::op::{NodeKind, PosixLockKind, QuotaLimits, Whereabouts};
use super::record::{
    AclRecord, Applied, Chunk, ChunkSlot, Chunkserver, Class, Edge, Flocks, Inode, MetaId,
    PosixLocks, Quota, Record, Session, ShardIds, SlotIds, Sustained, Trashed, Xattr,
};
use super::txn::open;
use crate::id::{ChunkId, InodeId, SessionId};
use crate::limits;
use crate::moosefs::flags;
use crate::moosefs::metadata::item::{self, Content};
use crate::moosefs::metadata::{Composer, Item, Section, Sink};
use crate::store::{StateView, StoreError};
use crate::time::WallTime;

/// Chunks that a file may have in what is written, holes between them counted: as many as are read
/// again.
const CHUNKS_MAX: u32 = 1 << 24;
/// The first edge; later ones have lower numbers.
const EDGE_FIRST: u64 = 0x7FFF_FFFF_FFFF_FFFE;

/// Why a state is not exported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// A chunk is being made, copied, raised or cut: `mfsmaster` would take its copies for old ones.
    #[error(
        "{count} chunks are being written or repaired, {chunk} among them, and mfsmaster would take \
         their copies for outdated: unmount all clients, see that all chunkservers are connected, and \
         try again"
    )]
    Unsettled {
        /// One of them.
        chunk: ChunkId,
        /// How many.
        count: u64,
    },
    /// It has no place in the file.
    #[error("{0}: mfsmaster has no place for it")]
    Unfit(String),
    /// The state cannot be read.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// What was written could not be taken.
    #[error("{0}")]
    Sink(String),
}

/// Writes a state. `own` is the cluster's number where it brought none along; `progress` hears how
/// many of all nodes were written.
///
/// # Errors
/// [`ExportError`]; what was written is then of no use.
pub fn export<S: Sink>(
    view: &dyn StateView,
    own: u64,
    sink: S,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<S, ExportError> {
    let mut export = Export {
        view,
        out: Composer::new(sink),
    };
    export.settled()?;
    export.head(own)?;
    export.sessions()?;
    export.classes()?;
    export.nodes(progress)?;
    export.edges()?;
    export.section(Section::Free, [0, 0])?;
    export.quotas()?;
    export.xattrs()?;
    export.acls()?;
    export.open_files()?;
    export.flocks()?;
    export.posix_locks()?;
    export.chunkservers()?;
    export.chunks()?;
    export.put(&Item::End)?;
    Ok(export.out.into_sink())
}

struct Export<'v, S> {
    view: &'v dyn StateView,
    out: Composer<S>,
}

type Done = Result<(), ExportError>;

impl<S: Sink> Export<'_, S> {
    fn put(&mut self, item: &Item) -> Done {
        self.out.item(item).map_err(ExportError::Sink)
    }

    fn section(&mut self, section: Section, numbers: [u64; 2]) -> Done {
        self.put(&Item::Section(section, numbers))
    }

    fn settled(&self) -> Done {
        let mut found: Option<(ChunkId, u64)> = None;
        each_of_kind::<Chunk>(self.view, b'C', |key, record| {
            if let (Key::Chunk(chunk), Some(_)) = (key, record.unsettled.value()) {
                let (_, count) = found.get_or_insert((chunk, 0));
                *count += 1;
            }
            Ok(())
        })?;
        match found {
            Some((chunk, count)) => Err(ExportError::Unsettled { chunk, count }),
            None => Ok(()),
        }
    }

    fn one<R: Record>(&self, key: &Key) -> Result<R, StoreError> {
        one(self.view, key)
    }

    fn head(&mut self, own: u64) -> Done {
        let mark: Applied = self.one(&Key::Applied)?;
        let metaid: MetaId = self.one(&Key::MetaId)?;
        self.put(&Item::Head {
            version: mark.0.version.max(1),
            metaid: metaid.get().copied().flatten().unwrap_or(own),
        })
    }

    fn sessions(&mut self) -> Done {
        let ids: ShardIds = self.one(&Key::ShardIds)?;
        self.section(Section::Sessions, [ids.sessions.value() + 1, 0])?;
        let out = &mut self.out;
        let prefix = Key::Session(SessionId(0)).prefix();
        each::<Session>(self.view, &prefix, |key, record| {
            let (Key::Session(session), Some(Some(record))) = (key, record.get()) else {
                return Ok(());
            };
            let params = record.params.clone();
            let item = item::Session {
                session,
                exports_checksum: params.exports_checksum,
                peer_ip: params.peer_ip,
                root: params.root,
                flags: numbers::flags_byte(params.flags),
                umask: params.umask,
                goals: [params.goal_min, params.goal_max],
                trash: [params.trash_seconds_min, params.trash_seconds_max],
                map_root: [params.root_uid, params.root_gid],
                map_all: [params.map_all_uid, params.map_all_gid],
                disables: params.disables,
                disconnected: record.disconnected.unwrap_or(WallTime(0)),
                counters: [[0; 16]; 2],
                info: params.info,
            };
            write(out, &Item::Session(Box::new(item)))
        })
    }

    fn classes(&mut self) -> Done {
        self.section(Section::Classes, [0, 0])?;
        let out = &mut self.out;
        each::<Class>(self.view, &Key::Class(0).prefix(), |key, class| {
            let (Key::Class(id), Some(Some(class))) = (key, class.get()) else {
                return Ok(());
            };
            let item = item::Class {
                id: id.into(),
                name: class.name.clone(),
                admin_only: class.admin_only.into(),
                mode: numbers::class_mode_number(class.mode),
                archive_delay: class.archive_delay_days,
                wanted: [
                    class.create.clone(),
                    class.keep.clone(),
                    class.archive.clone(),
                ],
            };
            write(out, &Item::Class(Box::new(item)))
        })
    }

    fn nodes(&mut self, progress: &mut dyn FnMut(u64, u64)) -> Done {
        let (mut count, mut highest) = (0, 0);
        each_key(self.view, b'I', |key| {
            if let Key::Inode(ino) = key {
                count += 1;
                highest = highest.max(ino.0);
            }
            Ok(())
        })?;
        // Those that are gone count, too: whoever reads this gives none of them out again.
        each_of_kind::<SlotIds>(self.view, b'N', |key, ids| {
            let last = ids.inodes.value().checked_sub(1);
            let last = last.and_then(|last| u32::try_from(last).ok());
            if let (Key::SlotIds(slot), Some(last)) = (key, last) {
                let last = InodeId::from_parts(last, slot).unwrap_or(InodeId(0));
                highest = highest.max(last.0);
            }
            Ok(())
        })?;
        self.section(Section::Nodes, [highest.into(), count])?;
        let (view, out) = (self.view, &mut self.out);
        let mut written = 0;
        each_of_kind::<Inode>(view, b'I', |key, record| {
            if let Key::Inode(ino) = key {
                write(out, &Item::Node(Box::new(node(view, ino, &record)?)))?;
                written += 1;
                progress(written, count);
            }
            Ok(())
        })
    }

    fn edges(&mut self) -> Done {
        let mut count = 0;
        for kind in [b'E', b'T', b'U'] {
            each_key(self.view, kind, |_| {
                count += 1;
                Ok(())
            })?;
        }
        self.section(Section::Edges, [EDGE_FIRST.saturating_sub(count), 0])?;
        let out = &mut self.out;
        let mut edge = EDGE_FIRST;
        let mut name = |parent, child, name: Vec<u8>| {
            let item = item::Edge {
                parent,
                child,
                edge,
                name,
            };
            edge -= 1;
            write(out, &Item::Edge(item))
        };
        each_of_kind::<Edge>(self.view, b'E', |key, record| {
            match (key, record.latest()) {
                (Key::Edge(parent, given), Some(target)) => name(parent, target.inode, given),
                _ => Ok(()),
            }
        })?;
        each_of_kind::<Trashed>(self.view, b'T', |key, record| {
            match (key, record.get().cloned().flatten()) {
                (Key::Trashed(ino), Some(path)) => name(InodeId(0), ino, path),
                _ => Ok(()),
            }
        })?;
        each_of_kind::<Sustained>(self.view, b'U', |key, record| {
            match (key, record.get().cloned().flatten()) {
                (Key::Sustained(ino), Some(path)) => name(InodeId(0), ino, path),
                _ => Ok(()),
            }
        })
    }

    fn quotas(&mut self) -> Done {
        let mut count = 0;
        each_key(self.view, b'Q', |_| {
            count += 1;
            Ok(())
        })?;
        self.section(Section::Quotas, [count, 0])?;
        let out = &mut self.out;
        each_of_kind::<Quota>(self.view, b'Q', |key, record| {
            let (Key::Quota(inode), Some(Some(record))) = (key, record.get()) else {
                return Ok(());
            };
            let (soft, soft_bits) = quota_limits(&record.soft);
            let (hard, hard_bits) = quota_limits(&record.hard);
            let item = item::Quota {
                inode,
                // 0 is the default there.
                grace: record.grace_seconds.max(1),
                exceeded: record.over_soft_since.is_some().into(),
                flags: soft_bits | hard_bits << flags::quota::HARD_SHIFT,
                since: record.over_soft_since.unwrap_or(WallTime(0)),
                soft,
                hard,
            };
            write(out, &Item::Quota(Box::new(item)))
        })
    }

    fn xattrs(&mut self) -> Done {
        self.section(Section::Xattrs, [0, 0])?;
        let out = &mut self.out;
        each_of_kind::<Xattr>(self.view, b'X', |key, record| {
            match (key, record.get().cloned().flatten()) {
                (Key::Xattr(ino, name), Some(value)) => write(out, &Item::Xattr(ino, name, value)),
                _ => Ok(()),
            }
        })
    }

    fn acls(&mut self) -> Done {
        self.section(Section::Acls, [0, 0])?;
        let out = &mut self.out;
        each_of_kind::<AclRecord>(self.view, b'A', |key, record| {
            let (Key::Acl(inode, kind), Some(acl)) = (key, record.get().cloned().flatten()) else {
                return Ok(());
            };
            let item = item::Acl {
                inode,
                kind: numbers::acl_number(kind),
                base: [acl.user, acl.group, acl.other, acl.mask],
                users: acl.named_users,
                groups: acl.named_groups,
            };
            write(out, &Item::Acl(item))
        })
    }

    fn open_files(&mut self) -> Done {
        self.section(Section::Open, [0, 0])?;
        let out = &mut self.out;
        let mut prefix = Key::SessionOpened(SessionId(0), InodeId(0)).prefix();
        prefix.truncate(3);
        each::<super::record::Opened>(self.view, &prefix, |key, _| match key {
            Key::SessionOpened(session, ino) => write(out, &Item::Open(session, ino)),
            _ => Ok(()),
        })
    }

    fn flocks(&mut self) -> Done {
        self.section(Section::Flocks, [0, 0])?;
        let out = &mut self.out;
        each_of_kind::<Flocks>(self.view, b'F', |key, record| {
            let (Key::Flocks(inode), Some(Some(table))) = (key, record.get()) else {
                return Ok(());
            };
            for (session, owner, exclusive) in &table.held {
                let lock = item::Lock {
                    inode,
                    owner: *owner,
                    session: *session,
                    bytes: None,
                    kind: u8::from(*exclusive),
                };
                write(out, &Item::Flock(lock))?;
            }
            Ok(())
        })
    }

    fn posix_locks(&mut self) -> Done {
        self.section(Section::PosixLocks, [0, 0])?;
        let out = &mut self.out;
        each_of_kind::<PosixLocks>(self.view, b'P', |key, record| {
            let (Key::PosixLocks(inode), Some(Some(table))) = (key, record.get()) else {
                return Ok(());
            };
            let held = table.held.iter();
            for range in held.filter(|range| range.kind != PosixLockKind::Unlock) {
                let lock = item::Lock {
                    inode,
                    owner: range.owner,
                    session: range.session,
                    bytes: Some((range.pid, range.start, range.end)),
                    kind: numbers::lock_number(range.kind),
                };
                write(out, &Item::PosixLock(lock))?;
            }
            Ok(())
        })
    }

    fn chunkservers(&mut self) -> Done {
        // There are 65,535 at most.
        let mut all = Vec::new();
        let prefix = Key::Chunkserver(crate::id::CsId(0)).prefix();
        each::<Chunkserver>(self.view, &prefix, |key, record| {
            if let (Key::Chunkserver(csid), Some(Some(record))) = (key, record.get()) {
                let until = record.maintenance_until;
                all.push(item::Chunkserver {
                    ip: record.address.ip.into(),
                    port: record.address.port,
                    csid: csid.0,
                    maintenance: match until {
                        WallTime(0) => 0,
                        WallTime(u32::MAX) => 1,
                        WallTime(_) => 2,
                    },
                    until: match until {
                        WallTime(u32::MAX) => WallTime(0),
                        until => until,
                    },
                });
            }
            Ok(())
        })?;
        self.section(Section::Chunkservers, [all.len() as u64, 0])?;
        for item in all {
            self.put(&Item::Chunkserver(item))?;
        }
        Ok(())
    }

    fn chunks(&mut self) -> Done {
        // The highest id that any slot has given out, so that none is given out again.
        let mut next = 1;
        each_of_kind::<SlotIds>(self.view, b'N', |key, ids| {
            if let (Key::SlotIds(slot), Some(last)) = (key, ids.chunks.value().checked_sub(1)) {
                let last = last << limits::SLOT_BITS | u64::from(slot.0);
                next = next.max(last + 1);
            }
            Ok(())
        })?;
        self.section(Section::Chunks, [next, 0])?;
        let out = &mut self.out;
        each_of_kind::<Chunk>(self.view, b'C', |key, record| {
            let Key::Chunk(chunk) = key else {
                return Ok(());
            };
            let item = item::Chunk {
                chunk,
                version: record.version.value(),
                locked_until: record.locked_until.value(),
                archived: record.archived.value().into(),
            };
            write(out, &Item::Chunk(item))
        })
    }
}

fn write<S: Sink>(out: &mut Composer<S>, item: &Item) -> Done {
    out.item(item).map_err(ExportError::Sink)
}

fn node(view: &dyn StateView, ino: InodeId, record: &Inode) -> Result<item::Node, ExportError> {
    let origin = record.origin.clone().ok_or_else(|| {
        ExportError::Store(StoreError::Contradiction {
            key: Key::Inode(ino).bytes(),
            reason: "a node without a type".to_owned(),
        })
    })?;
    let content = match origin.kind {
        NodeKind::File => Content::File {
            length: record.length.value(),
            chunks: chunks_of(view, ino)?,
        },
        NodeKind::Symlink => Content::Target(origin.target),
        NodeKind::BlockDevice | NodeKind::CharDevice => Content::Device(origin.rdev),
        NodeKind::Directory | NodeKind::Fifo | NodeKind::Socket => Content::Nothing,
    };
    let kind = match (origin.kind, record.whereabouts.value()) {
        (NodeKind::File, Whereabouts::Trash) => flags::node::TRASH,
        (NodeKind::File, Whereabouts::Sustained) => flags::node::SUSTAINED,
        (kind, _) => numbers::node_number(kind),
    };
    Ok(item::Node {
        kind,
        inode: ino,
        class: record.class.value(),
        eattr: record.eattr.value(),
        winattr: record.winattr.value(),
        mode: record.mode.value(),
        uid: record.uid.value(),
        gid: record.gid.value(),
        atime: record.atime.value(),
        mtime: record.mtime.value(),
        ctime: record.ctime.value(),
        trash_hours: record.trash_hours.value(),
        content,
    })
}

/// The chunks of a file, holes as 0 up to the last that is none.
fn chunks_of(view: &dyn StateView, ino: InodeId) -> Result<Vec<ChunkId>, ExportError> {
    let mut chunks = Vec::new();
    let prefix = Key::ChunkSlot(ino, 0).prefix();
    each::<ChunkSlot>(view, &prefix, |key, record| {
        if let (Key::ChunkSlot(_, index), Some(Some(chunk))) = (key, record.get()) {
            if index >= CHUNKS_MAX {
                let what = format!("{ino} has a chunk at {index}, behind a hole of a pebibyte");
                return Err(ExportError::Unfit(what));
            }
            chunks.resize(index as usize, ChunkId::HOLE);
            chunks.push(*chunk);
        }
        Ok(())
    })?;
    Ok(chunks)
}

fn quota_limits(limits: &QuotaLimits) -> (item::Limits, u8) {
    let told = item::Limits {
        inodes: limits.inodes.unwrap_or(0),
        length: limits.length.unwrap_or(0),
        size: limits.size.unwrap_or(0),
        real_size: limits.real_size.unwrap_or(0),
    };
    (told, numbers::limit_bits(limits))
}

/// A record, or what it is when it is not there.
fn one<R: Record>(view: &dyn StateView, key: &Key) -> Result<R, StoreError> {
    let key = key.bytes();
    match view.get(&key)? {
        Some(value) => open(&key, &value),
        None => Ok(R::default()),
    }
}

/// Visits keys and values under a prefix; gives the slot of the key behind them, if there is one.
fn each_raw(
    view: &dyn StateView,
    prefix: &[u8],
    mut visit: impl FnMut(Key, &[u8], &[u8]) -> Done,
) -> Result<Option<u16>, ExportError> {
    let (mut result, mut behind) = (Ok(()), None);
    let from = Bound::Included(prefix);
    view.scan(from, Bound::Unbounded, &mut |key, value| {
        if !key.starts_with(prefix) {
            let slot = key.first_chunk().copied();
            behind = slot.map(u16::from_be_bytes);
            return ControlFlow::Break(());
        }
        result = match Key::parse(key) {
            Some(parsed) => visit(parsed, key, value),
            None => Err(StoreError::Corrupt {
                key: key.to_vec(),
                reason: "not a key of the namespace".to_owned(),
            }
            .into()),
        };
        match result {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    })?;
    result.map(|()| behind)
}

/// Visits records under a prefix.
fn each<R: Record>(
    view: &dyn StateView,
    prefix: &[u8],
    mut visit: impl FnMut(Key, R) -> Done,
) -> Done {
    each_raw(view, prefix, |parsed, key, value| {
        visit(parsed, open(key, value)?)
    })?;
    Ok(())
}

/// Visits keys and values of one kind in all slots, of which empty ones cost nothing.
fn each_in_slots(
    view: &dyn StateView,
    kind: u8,
    mut visit: impl FnMut(Key, &[u8], &[u8]) -> Done,
) -> Done {
    let mut slot = 0;
    while slot < SHARD {
        let [high, low] = slot.to_be_bytes();
        let behind = each_raw(view, &[high, low, kind], &mut visit)?;
        match behind {
            // Another kind of the same slot.
            Some(behind) => slot = behind.max(slot + 1),
            None => break,
        }
    }
    Ok(())
}

/// Visits the records of one kind in all slots.
fn each_of_kind<R: Record>(
    view: &dyn StateView,
    kind: u8,
    mut visit: impl FnMut(Key, R) -> Done,
) -> Done {
    each_in_slots(view, kind, |parsed, key, value| {
        visit(parsed, open(key, value)?)
    })
}

/// Visits the keys of one kind in all slots.
fn each_key(view: &dyn StateView, kind: u8, mut visit: impl FnMut(Key) -> Done) -> Done {
    each_in_slots(view, kind, |key, _, _| visit(key))
}
