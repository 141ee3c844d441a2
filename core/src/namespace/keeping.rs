//! What whoever keeps chunks at their goal reads of the tree: files with their chunks, chunks, and
//! what is known of an id, each a portion at a time.

use std::ops::ControlFlow;

use super::chunk;
use super::error::FsError;
use super::key::Key;
use super::op::{ChunkInfo, ChunkserverInfo, NodeKind, StorageClass, Whereabouts};
use super::record::{Chunk, Inode, Ranges, Record, SlotIds};
use super::txn::{Fail, Res, Txn};
use super::{Namespace, chunkserver, class, passed};
use crate::id::{ChunkId, InodeId, Slot};
use crate::limits;
use crate::store::{StateStore, StoreError};
use crate::time::WallTime;

/// Where a walk over all files stands; the default is their beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileCursor {
    /// The file that was reached.
    after: Option<InodeId>,
    /// The chunk of it that comes next; `None`: it was done.
    next: Option<u32>,
}

/// A file and chunks of it, or a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileChunks {
    /// The file, in the tree, in the trash or only open.
    pub inode: InodeId,
    /// It is a directory: those are told for their class alone.
    pub is_dir: bool,
    /// Its storage class.
    pub class: u8,
    /// Where it is.
    pub whereabouts: Whereabouts,
    /// When it was changed last.
    pub changed_at: WallTime,
    /// Chunks of it, holes left out.
    pub chunks: Vec<ChunkInfo>,
    /// Where the walk goes on.
    pub cursor: FileCursor,
}

/// What is known of a chunk's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KnownChunk {
    /// There is such a chunk.
    Present,
    /// It was given out, and its chunk is gone for good.
    Deleted,
    /// This state did not give it out: not yet, or it was passed over.
    Foreign,
}

impl<S: StateStore> Namespace<S> {
    /// One chunk; its index in a file is 0 where it is not known.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn chunk(&self, chunk: ChunkId) -> Result<Option<ChunkInfo>, StoreError> {
        self.keep(|txn| match txn.get::<Chunk>(&Key::Chunk(chunk))? {
            Some(record) => {
                let index = record.unsettled.value().map_or(0, |it| it.index);
                Ok(Some(chunk::told_of(index, chunk, &record)))
            }
            None => Ok(None),
        })
    }

    /// The chunk in a slot of a file; `None` for a hole, or no such file.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn chunk_at(&self, inode: InodeId, index: u32) -> Result<Option<ChunkInfo>, StoreError> {
        self.keep(|txn| match chunk::slot(txn, inode, index)? {
            Some(chunk) => Ok(Some(chunk::told_of(index, chunk, &chunk::get(txn, chunk)?))),
            None => Ok(None),
        })
    }

    /// What is known of an id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn known(&self, chunk: ChunkId) -> Result<KnownChunk, StoreError> {
        self.keep(|txn| {
            if txn.get::<Chunk>(&Key::Chunk(chunk))?.is_some() {
                return Ok(KnownChunk::Present);
            }
            let ids: SlotIds = txn.get(&Key::SlotIds(chunk.slot()))?.unwrap_or_default();
            let given = chunk.sequence() < ids.chunks.value();
            Ok(match given && !passed::is_id(txn, chunk)? {
                true => KnownChunk::Deleted,
                false => KnownChunk::Foreign,
            })
        })
    }

    /// How many ids of chunks a slot has given out or passed over: those below this number.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn chunk_ids_taken(&self, slot: Slot) -> Result<u64, StoreError> {
        self.keep(|txn| {
            let ids: SlotIds = txn.get(&Key::SlotIds(slot))?.unwrap_or_default();
            Ok(ids.chunks.value())
        })
    }

    /// Versions of a chunk that were passed over.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn passed_versions(&self, chunk: ChunkId) -> Result<Ranges, StoreError> {
        self.keep(|txn| passed::versions_of(txn, chunk))
    }

    /// Files and their chunks, and directories, behind the cursor, in order of slot and inode: up to
    /// `files_max` of them, and up to `chunks_max` chunks or a few more, at least one file unless there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn files_after(
        &self,
        cursor: FileCursor,
        files_max: usize,
        chunks_max: usize,
    ) -> Result<Vec<FileChunks>, StoreError> {
        self.keep(|txn| {
            let mut found = Vec::new();
            let mut left = chunks_max.max(1);
            let mut take = |ino: InodeId, file: &Inode, from: u32, out: &mut Vec<FileChunks>| {
                let chunks = chunk::slots(txn, ino, from, u32::MAX, left)?;
                let next = match chunks.last() {
                    Some((last, _)) if chunks.len() == left => last.checked_add(1),
                    _ => None,
                };
                left -= chunks.len();
                let chunks = chunks
                    .into_iter()
                    .map(|(index, chunk)| {
                        let record = chunk::get(txn, chunk)?;
                        Ok(chunk::told_of(index, chunk, &record))
                    })
                    .collect::<Res<Vec<ChunkInfo>>>()?;
                let after = Some(ino);
                out.push(FileChunks {
                    inode: ino,
                    is_dir: file.kind() == NodeKind::Directory,
                    class: file.class.value(),
                    whereabouts: file.whereabouts.value(),
                    changed_at: file.ctime.value(),
                    chunks,
                    cursor: FileCursor { after, next },
                });
                Ok::<bool, Fail>(left == 0)
            };
            if let (Some(ino), Some(from)) = (cursor.after, cursor.next)
                && let Some(file) = txn.get::<Inode>(&Key::Inode(ino))?
                && take(ino, &file, from, &mut found)?
            {
                return Ok(found);
            }
            every_after::<Inode>(txn, Key::Inode, cursor.after, |ino, file| {
                if !matches!(file.kind(), NodeKind::File | NodeKind::Directory) {
                    return Ok(ControlFlow::Continue(()));
                }
                let full = take(ino, &file, 0, &mut found)?;
                Ok(match full || found.len() >= files_max {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                })
            })?;
            Ok(found)
        })
    }

    /// Chunks behind this one, in order of slot and id, at most `max`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn chunks_after(
        &self,
        after: Option<ChunkId>,
        max: usize,
    ) -> Result<Vec<ChunkInfo>, StoreError> {
        self.keep(|txn| {
            let mut found = Vec::new();
            let from = after.map_or(0, |chunk| chunk.slot().0);
            let kind = Key::Chunk(ChunkId(0)).prefix()[2];
            txn.slots_with(from, kind, kind, |slot| {
                let first = ChunkId(u64::from(slot.0));
                let behind = after.filter(|chunk| chunk.slot() == slot);
                let behind = behind.map(|chunk| Key::Chunk(chunk).bytes());
                let prefix = Key::Chunk(first).prefix();
                txn.scan::<Chunk>(&prefix, behind.as_deref(), |key, record| {
                    if found.len() >= max {
                        return Ok(ControlFlow::Break(()));
                    }
                    if let Key::Chunk(chunk) = key
                        && !record.is_gone()
                    {
                        found.push(chunk::told_of(0, chunk, &record));
                    }
                    Ok(ControlFlow::Continue(()))
                })?;
                Ok(match found.len() >= max {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                })
            })?;
            Ok(found)
        })
    }

    /// The storage class of a file; `None` when there is no such file.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn class_of(&self, inode: InodeId) -> Result<Option<StorageClass>, StoreError> {
        let file = self.keep(|txn| Ok(txn.get::<Inode>(&Key::Inode(inode))?))?;
        match file {
            Some(file) => self.class(file.class.value()),
            None => Ok(None),
        }
    }

    /// A storage class.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn class(&self, id: u8) -> Result<Option<StorageClass>, StoreError> {
        self.keep(|txn| match class::get(txn, id) {
            Ok(class) => Ok(Some(class)),
            Err(Fail::Fs(_)) => Ok(None),
            Err(fault) => Err(fault),
        })
    }

    /// Chunkservers that have registered and were not removed, by id: at most
    /// [`limits::CHUNKSERVER_COUNT_MAX`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn chunkservers(&self) -> Result<Vec<ChunkserverInfo>, StoreError> {
        self.keep(|txn| {
            let all = chunkserver::all(txn)?;
            debug_assert!(all.len() <= limits::CHUNKSERVER_COUNT_MAX);
            Ok(all.iter().map(|(csid, it)| it.info(*csid)).collect())
        })
    }

    /// Reads what the tree refuses to nobody.
    fn keep<T>(&self, ask: impl FnOnce(&Txn<'_>) -> Res<T>) -> Result<T, StoreError> {
        match self.look(WallTime(0), ask)? {
            Ok(found) => Ok(found),
            Err(error) => Err(contradiction(error)),
        }
    }
}

/// A slot that names a chunk without a record.
fn contradiction(error: FsError) -> StoreError {
    StoreError::Contradiction {
        key: Key::Applied.bytes(),
        reason: format!("a file names a chunk that is not there ({error})"),
    }
}

/// As [`super::walk::every`], behind an inode.
fn every_after<R: Record>(
    txn: &Txn<'_>,
    key: impl Fn(InodeId) -> Key,
    after: Option<InodeId>,
    mut visit: impl FnMut(InodeId, R) -> Res<ControlFlow<()>>,
) -> Res<()> {
    let kind = key(InodeId(0)).prefix()[2];
    let from = after.map_or(0, |ino| ino.slot().0);
    txn.slots_with(from, kind, kind, |slot| {
        let prefix = key(InodeId(u32::from(slot.0))).prefix();
        let behind = after.filter(|ino| ino.slot() == slot);
        let behind = behind.map(|ino| key(ino).bytes());
        let mut flow = ControlFlow::Continue(());
        txn.scan::<R>(&prefix, behind.as_deref(), |found, record| {
            if let Key::Inode(ino) = found
                && !record.is_gone()
            {
                flow = visit(ino, record)?;
            }
            Ok(flow)
        })?;
        Ok(flow)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::namespace::op::{Op, Reply};
    use crate::namespace::testing::{Bed, ROOT, root};

    /// Files in several slots, with several chunks each.
    fn bed() -> (Bed, BTreeSet<(InodeId, u32)>) {
        let mut bed = Bed::new();
        let mut slots = BTreeSet::new();
        for dir in 0..5 {
            let dir = bed.dir(&root(), ROOT, &format!("dir{dir}"));
            for file in 0..4_u32 {
                let ino = bed.file(&root(), dir, &format!("file{file}"));
                for index in 0..file {
                    bed.ok(write(ino, index * 3));
                    slots.insert((ino, index * 3));
                }
            }
        }
        (bed, slots)
    }

    fn write(inode: InodeId, index: u32) -> Op {
        Op::WriteChunk {
            caller: root(),
            inode,
            index,
            go_on: false,
            chunk_moved: false,
            may_touch_times: false,
        }
    }

    #[test]
    fn a_walk_in_portions_of_any_size_sees_every_chunk_once() {
        let (bed, slots) = bed();
        for (files, chunks) in [(1, 1), (1, 100), (3, 2), (100, 1), (100, 100)] {
            let mut cursor = FileCursor::default();
            let mut seen = Vec::new();
            let (mut inodes, mut dirs) = (BTreeSet::new(), BTreeSet::new());
            loop {
                let part = bed.tree.files_after(cursor, files, chunks).unwrap();
                let Some(last) = part.last() else {
                    break;
                };
                assert!(part.len() <= files.max(2));
                cursor = last.cursor;
                for file in part {
                    let all = if file.is_dir { &mut dirs } else { &mut inodes };
                    all.insert(file.inode);
                    seen.extend(file.chunks.iter().map(|info| (file.inode, info.index)));
                }
            }
            assert_eq!(seen.len(), slots.len(), "in portions of {files}, {chunks}");
            assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), slots);
            assert_eq!((inodes.len(), dirs.len()), (20, 6));
        }
    }

    #[test]
    fn all_chunks_come_in_portions_and_gone_ones_do_not() {
        let (mut bed, slots) = bed();
        let all = |bed: &Bed| {
            let (mut after, mut seen) = (None, Vec::new());
            loop {
                let part = bed.tree.chunks_after(after, 3).unwrap();
                let Some(last) = part.last() else {
                    return seen;
                };
                after = Some(last.chunk);
                seen.extend(part.iter().map(|info| info.chunk));
            }
        };
        let before = all(&bed);
        assert_eq!(before.len(), slots.len());
        let (ino, index) = *slots.first().unwrap();
        let info = bed.tree.chunk_at(ino, index).unwrap().unwrap();
        assert_eq!(info.index, index);
        assert_eq!(bed.tree.chunk_at(ino, index + 1).unwrap(), None);
        let chunk = info.chunk;
        assert_eq!(bed.tree.known(chunk).unwrap(), KnownChunk::Present);
        bed.ok(Op::RollbackChunk {
            inode: ino,
            index,
            new: chunk,
            old: ChunkId::HOLE,
        });
        assert_eq!(bed.tree.chunk(chunk).unwrap().unwrap().references, 0);
        assert_eq!(bed.ok(Op::ForgetChunk { chunk }), Reply::Done);
        assert_eq!(bed.tree.chunk(chunk).unwrap(), None);
        assert_eq!(bed.tree.known(chunk).unwrap(), KnownChunk::Deleted);
        let next = ChunkId::from_parts(1_000, chunk.slot()).unwrap();
        assert_eq!(bed.tree.known(next).unwrap(), KnownChunk::Foreign);
        let after = all(&bed);
        assert_eq!(after.len(), before.len() - 1);
        assert!(!after.contains(&chunk));
    }

    #[test]
    fn classes_are_found_by_file_and_by_id() {
        let (bed, slots) = bed();
        let (ino, _) = *slots.first().unwrap();
        let class = bed.tree.class_of(ino).unwrap().unwrap();
        assert_eq!(bed.tree.class(2).unwrap(), Some(class));
        assert_eq!(bed.tree.class(200).unwrap(), None);
        assert_eq!(bed.tree.class_of(InodeId(77 << 14)).unwrap(), None);
    }
}
