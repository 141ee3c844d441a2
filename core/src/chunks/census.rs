//! What the upkeep saw on its way through all files, and what it did: for people, never for decisions.
//!
//! Counted while a pass goes on, told once it has ended: a number is as old as the last whole pass.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::keeper::Keeper;
use super::map::Known;
use crate::id::{ChunkId, InodeId};
use crate::namespace::FileChunks;
use crate::namespace::op::{ChunkInfo, Whereabouts};
use crate::time::WallTime;

/// Goals, and numbers of copies, that are told apart: 0 to 9, and 10 and more.
pub const COUNTS: usize = 11;
/// Chunks without a usable copy that are named.
const MISSING_MAX: usize = 10_000;
/// Chunks of several files that are counted once; beyond this once for each file.
const SHARED_MAX: usize = 100_000;

/// Chunks by how many copies they should have and how many they have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matrix(pub [[u64; COUNTS]; COUNTS]);

impl Matrix {
    fn add(&mut self, goal: usize, copies: usize) {
        self.0[goal.min(COUNTS - 1)][copies.min(COUNTS - 1)] += 1;
    }
}

/// Chunks with fewer copies than their class wants, as many, and more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AtGoal {
    /// Fewer.
    pub under: u64,
    /// As many.
    pub exact: u64,
    /// More.
    pub over: u64,
}

/// Chunks of the files of one storage class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfClass {
    /// Files.
    pub files: u64,
    /// Directories.
    pub dirs: u64,
    /// Chunks that are kept.
    pub kept: AtGoal,
    /// Chunks that are archived.
    pub archived: AtGoal,
}

/// Why a chunk has no usable copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Lack {
    /// There is none.
    NoCopy,
    /// All are bad.
    Damaged,
    /// None is bad, and some are of another version.
    WrongVersion,
}

/// A chunk without a usable copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// The chunk.
    pub chunk: ChunkId,
    /// A file that has it.
    pub inode: InodeId,
    /// Which of its chunks.
    pub index: u32,
    /// Why.
    pub lack: Lack,
}

/// Something that the upkeep does to a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Deed {
    /// Deletes one that is bad or old.
    DeleteInvalid,
    /// Deletes one of a chunk that no file has.
    DeleteUnused,
    /// Deletes one that is one too many.
    DeleteOverGoal,
    /// Makes one where there are too few.
    CopyUnderGoal,
    /// Makes one where the labels want it.
    CopyWrongLabels,
    /// Makes one at an emptier chunkserver.
    Rebalance,
}

/// How often something was done, and not done yet because a chunkserver had enough to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Done.
    pub done: u64,
    /// Put off.
    pub put_off: u64,
}

/// See the module's documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Census {
    /// When the pass began.
    pub began: WallTime,
    /// When it ended.
    pub ended: WallTime,
    /// Files, in the tree, in the trash or only open.
    pub files: u64,
    /// Of them, in the trash.
    pub trash_files: u64,
    /// Of them, only open.
    pub sustained_files: u64,
    /// Files with a chunk that has too few copies.
    pub files_under: u64,
    /// Files with a chunk that has no usable copy: in the tree, in the trash, only open.
    pub files_missing: [u64; 3],
    /// Chunks of files.
    pub chunks: u64,
    /// Of them with too few copies, but with one.
    pub chunks_under: u64,
    /// Of them without a usable copy.
    pub chunks_missing: u64,
    /// Usable copies.
    pub copies: u64,
    /// Of them on disks that shall be emptied.
    pub copies_to_remove: u64,
    /// Chunks that are locked.
    pub locked: u64,
    /// All usable copies.
    pub all: Matrix,
    /// Without those on disks that shall be emptied.
    pub regular: Matrix,
    /// By storage class.
    pub classes: BTreeMap<u8, OfClass>,
    /// What was done during the pass.
    pub deeds: BTreeMap<Deed, Done>,
    /// Chunks without a usable copy, as many of them as are named.
    pub missing: Vec<Missing>,
    /// Copies in versions that this state never gave out.
    pub newer_versions: u64,
    /// Copies of chunks that this state never gave out.
    pub newer_chunks: u64,
}

/// One pass on its way, and the one before it.
#[derive(Debug, Default)]
pub(super) struct Counting {
    census: Census,
    /// The file that was counted last: it may come in several parts.
    file: Option<(InodeId, bool, bool)>,
    shared: BTreeSet<ChunkId>,
    last: Option<Census>,
}

impl Counting {
    /// A pass begins.
    pub fn begin(&mut self, now: WallTime) {
        self.census = Census {
            began: now,
            ..Census::default()
        };
        self.file = None;
        self.shared.clear();
    }

    /// The pass has ended, with so many copies that are not of this state.
    pub fn end(&mut self, now: WallTime, newer_versions: u64, newer_chunks: u64) {
        let mut census = std::mem::take(&mut self.census);
        census.ended = now;
        census.newer_versions = newer_versions;
        census.newer_chunks = newer_chunks;
        self.file = None;
        self.shared.clear();
        self.last = Some(census);
    }

    /// The last whole pass.
    pub fn last(&self) -> Option<&Census> {
        self.last.as_ref()
    }

    /// Something was done, or put off.
    pub fn note(&mut self, deed: Deed, is_done: bool) {
        let noted = self.census.deeds.entry(deed).or_default();
        match is_done {
            true => noted.done += 1,
            false => noted.put_off += 1,
        }
    }

    /// A file, or the next part of one.
    pub fn file(&mut self, file: &FileChunks) {
        if matches!(self.file, Some((inode, ..)) if inode == file.inode) {
            return;
        }
        self.file = Some((file.inode, false, false));
        let census = &mut self.census;
        if file.is_dir {
            census.classes.entry(file.class).or_default().dirs += 1;
            return;
        }
        census.files += 1;
        match file.whereabouts {
            Whereabouts::Linked => {}
            Whereabouts::Trash => census.trash_files += 1,
            Whereabouts::Sustained => census.sustained_files += 1,
        }
        census.classes.entry(file.class).or_default().files += 1;
    }

    /// A chunk of the file that was counted last, of which so many copies are wanted.
    pub fn chunk(
        &mut self,
        file: &FileChunks,
        info: &ChunkInfo,
        wanted: usize,
        is_locked: bool,
        copies: &[Known],
    ) {
        let is_usable = |it: &&Known| !it.damaged && it.version == info.version;
        let usable = copies.iter().filter(is_usable).count();
        let leaving = copies.iter().filter(is_usable).filter(|it| it.to_remove);
        let staying = usable - leaving.count();
        let census = &mut self.census;
        if let Some((_, is_under, is_missing)) = &mut self.file {
            if usable == 0 && !std::mem::replace(is_missing, true) {
                census.files_missing[match file.whereabouts {
                    Whereabouts::Linked => 0,
                    Whereabouts::Trash => 1,
                    Whereabouts::Sustained => 2,
                }] += 1;
            }
            if staying < wanted && !std::mem::replace(is_under, true) {
                census.files_under += 1;
            }
        }
        if info.references > 1 {
            let is_known = self.shared.contains(&info.chunk);
            if is_known {
                return;
            }
            if self.shared.len() < SHARED_MAX {
                self.shared.insert(info.chunk);
            }
        }
        census.chunks += 1;
        census.copies += usable as u64;
        census.copies_to_remove += (usable - staying) as u64;
        census.locked += u64::from(is_locked);
        census.all.add(wanted, usable);
        census.regular.add(wanted, staying);
        let class = census.classes.entry(file.class).or_default();
        let counted = match info.archived {
            true => &mut class.archived,
            false => &mut class.kept,
        };
        match staying.cmp(&wanted) {
            std::cmp::Ordering::Less => counted.under += 1,
            std::cmp::Ordering::Equal => counted.exact += 1,
            std::cmp::Ordering::Greater => counted.over += 1,
        }
        if usable > 0 {
            census.chunks_under += u64::from(staying < wanted);
            return;
        }
        census.chunks_missing += 1;
        if census.missing.len() < MISSING_MAX {
            let lack = match copies {
                [] => Lack::NoCopy,
                copies if copies.iter().all(|it| it.damaged) => Lack::Damaged,
                _ => Lack::WrongVersion,
            };
            census.missing.push(Missing {
                chunk: info.chunk,
                inode: file.inode,
                index: info.index,
                lack,
            });
        }
    }
}

impl Keeper {
    /// What the last whole pass of the upkeep saw; only a leader has one.
    #[must_use]
    pub fn census(&self) -> Option<&Census> {
        self.leading.as_ref()?.upkeep.counting.last()
    }
}

#[cfg(test)]
mod tests {
    use super::super::map::PlaceNo;
    use super::*;

    fn copy(place: u32, version: u32) -> Known {
        Known {
            place: PlaceNo(place),
            version,
            to_remove: false,
            damaged: false,
        }
    }

    fn info(chunk: u64, references: u64) -> ChunkInfo {
        ChunkInfo {
            index: 3,
            chunk: ChunkId(chunk),
            version: 2,
            locked_until: WallTime(0),
            archived: false,
            unsettled: None,
            references,
        }
    }

    fn file(inode: u32, whereabouts: Whereabouts) -> FileChunks {
        FileChunks {
            inode: InodeId(inode),
            is_dir: false,
            class: 2,
            whereabouts,
            changed_at: WallTime(0),
            chunks: Vec::new(),
            cursor: crate::namespace::FileCursor::default(),
        }
    }

    #[test]
    fn each_chunk_counts_once_by_what_it_wants_and_has() {
        let mut counting = Counting::default();
        counting.begin(WallTime(5));
        let (tree, trash) = (file(7, Whereabouts::Linked), file(8, Whereabouts::Trash));
        counting.file(&tree);
        counting.chunk(&tree, &info(1, 1), 2, false, &[copy(1, 2), copy(2, 2)]);
        let leaving = Known {
            to_remove: true,
            ..copy(2, 2)
        };
        counting.chunk(&tree, &info(2, 2), 2, true, &[copy(1, 2), leaving]);
        // A second part of the same file.
        counting.file(&tree);
        counting.chunk(&tree, &info(3, 1), 2, false, &[copy(1, 1)]);
        counting.file(&trash);
        counting.chunk(&trash, &info(2, 2), 2, true, &[copy(1, 2), leaving]);
        let bad = Known {
            damaged: true,
            ..copy(1, 2)
        };
        counting.chunk(&trash, &info(4, 1), 1, false, &[bad]);
        counting.chunk(&trash, &info(5, 1), 1, false, &[]);
        counting.chunk(
            &trash,
            &info(6, 1),
            1,
            false,
            &[copy(1, 2), copy(2, 2), copy(3, 2)],
        );
        counting.note(Deed::Rebalance, true);
        counting.note(Deed::Rebalance, false);
        counting.end(WallTime(9), 1, 2);
        let census = counting.last().expect("a pass has ended");
        assert_eq!((census.began, census.ended), (WallTime(5), WallTime(9)));
        assert_eq!((census.files, census.trash_files), (2, 1));
        assert_eq!((census.files_under, census.files_missing), (2, [1, 1, 0]));
        assert_eq!(
            (census.chunks, census.chunks_under, census.chunks_missing),
            (6, 1, 3)
        );
        assert_eq!(
            (census.copies, census.copies_to_remove, census.locked),
            (7, 1, 1)
        );
        assert_eq!(census.all.0[2][..3], [1, 0, 2]);
        assert_eq!(census.regular.0[2][..3], [1, 1, 1]);
        assert_eq!(census.all.0[1][..4], [2, 0, 0, 1]);
        let lacks: Vec<Lack> = census.missing.iter().map(|it| it.lack).collect();
        assert_eq!(lacks, [Lack::WrongVersion, Lack::Damaged, Lack::NoCopy]);
        let class = census.classes[&2];
        let counted = AtGoal {
            under: 4,
            exact: 1,
            over: 1,
        };
        assert_eq!((class.files, class.kept), (2, counted));
        let twice = Done {
            done: 1,
            put_off: 1,
        };
        assert_eq!(census.deeds[&Deed::Rebalance], twice);
        assert_eq!((census.newer_versions, census.newer_chunks), (1, 2));
    }
}
