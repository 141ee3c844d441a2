//! Sums over subtrees: nodes, bytes and chunks of each directory.
//!
//! Kept as counters that every change of a node adds to along the way up to the root. A file with
//! several names counts once for each of them. What is in the trash, or sustained, counts nowhere.

use std::ops::ControlFlow;

use super::error::FsError;
use super::key::Key;
use super::op::{DirStats, NodeKind, StorageClass, Whereabouts};
use super::path;
use super::quota;
use super::record::{ChunkSlot, DetachedBytes, Inode, Stats};
use super::txn::{Res, Txn};
use crate::crdt::LOG_REPLICA;
use crate::id::{ChunkId, InodeId};
use crate::limits;
use crate::store::StoreError;

/// What a node without data counts as.
pub const NODE: DirStats = DirStats {
    inodes: 1,
    dirs: 0,
    files: 0,
    chunks: 0,
    length: 0,
    size: 0,
    real_size: 0,
};

/// What an empty directory counts as.
pub const DIRECTORY: DirStats = DirStats { dirs: 1, ..NODE };

/// What an empty file counts as.
pub const FILE: DirStats = DirStats { files: 1, ..NODE };

/// The sum of two.
#[must_use]
pub fn plus(a: &DirStats, b: &DirStats) -> DirStats {
    DirStats {
        inodes: a.inodes.saturating_add(b.inodes),
        dirs: a.dirs.saturating_add(b.dirs),
        files: a.files.saturating_add(b.files),
        chunks: a.chunks.saturating_add(b.chunks),
        length: a.length.saturating_add(b.length),
        size: a.size.saturating_add(b.size),
        real_size: a.real_size.saturating_add(b.real_size),
    }
}

/// The difference of two.
#[must_use]
pub fn minus(a: &DirStats, b: &DirStats) -> DirStats {
    plus(
        a,
        &DirStats {
            inodes: b.inodes.saturating_neg(),
            dirs: b.dirs.saturating_neg(),
            files: b.files.saturating_neg(),
            chunks: b.chunks.saturating_neg(),
            length: b.length.saturating_neg(),
            size: b.size.saturating_neg(),
            real_size: b.real_size.saturating_neg(),
        },
    )
}

/// The negative.
#[must_use]
pub fn negated(stats: &DirStats) -> DirStats {
    minus(&DirStats::default(), stats)
}

/// A directory's sums.
///
/// # Errors
/// [`StoreError::Contradiction`] when the directory has none.
pub fn of_dir(txn: &Txn<'_>, dir: InodeId) -> Res<DirStats> {
    let key = Key::Stats(dir);
    let stats: Option<Stats> = txn.get(&key)?;
    Ok(stats
        .ok_or_else(|| StoreError::Contradiction {
            key: key.bytes(),
            reason: "a directory without sums".to_owned(),
        })?
        .value())
}

/// Adds to the sums of a directory and all above it.
///
/// # Errors
/// Only that the state cannot be read.
pub fn add(txn: &mut Txn<'_>, dir: InodeId, more: &DirStats) -> Res<()> {
    let dirs = path::ancestors(txn, dir)?;
    add_to(txn, &dirs, more)
}

/// Adds to the sums wherever a file has a name, and all above.
///
/// # Errors
/// Only that the state cannot be read.
pub fn add_to_parents(txn: &mut Txn<'_>, node: &Inode, more: &DirStats) -> Res<()> {
    for (_, (parent, _)) in node.parents.iter() {
        add(txn, *parent, more)?;
    }
    add_detached(txn, node.whereabouts.value(), more.length)
}

/// Adds to the bytes of the trash, or of sustained files: what has no name counts in no directory.
///
/// # Errors
/// Only that the state cannot be read.
pub fn add_detached(txn: &mut Txn<'_>, whereabouts: Whereabouts, bytes: i128) -> Res<()> {
    if bytes == 0 || whereabouts == Whereabouts::Linked {
        return Ok(());
    }
    let mut delta = DetachedBytes::default();
    let old: DetachedBytes = txn.get(&Key::Detached)?.unwrap_or_default();
    if whereabouts == Whereabouts::Trash {
        delta.trash = old.trash.add(LOG_REPLICA, bytes);
    } else {
        delta.sustained = old.sustained.add(LOG_REPLICA, bytes);
    }
    txn.join(&Key::Detached, &delta)?;
    Ok(())
}

/// Bytes of all files in the trash, and of all sustained ones.
///
/// # Errors
/// Only that the state cannot be read.
pub fn detached(txn: &Txn<'_>) -> Res<(u64, u64)> {
    let bytes: DetachedBytes = txn.get(&Key::Detached)?.unwrap_or_default();
    let told = |sum: i128| u64::try_from(sum.max(0)).unwrap_or(u64::MAX);
    Ok((told(bytes.trash.value()), told(bytes.sustained.value())))
}

/// How many levels of directories a directory has below it, at most: it never falls, though they
/// may have gone since.
///
/// # Errors
/// Only that the state cannot be read.
pub fn height(txn: &Txn<'_>, dir: InodeId) -> Res<u32> {
    let stats: Option<Stats> = txn.get(&Key::Stats(dir))?;
    Ok(stats.map_or(0, |stats| stats.height()))
}

/// Refuses to put a directory with so many levels below it into `dir`.
///
/// # Errors
/// `NoSpace` when the lowest would lie too deep.
pub fn check_depth(txn: &Txn<'_>, dir: InodeId, height: u32) -> Res<()> {
    let depth = path::ancestors(txn, dir)?.len() + height as usize;
    if depth > txn.ceilings().depth {
        return Err(FsError::NoSpace.into());
    }
    Ok(())
}

/// A directory with so many levels below it is in `dir` now: whoever is above knows.
///
/// # Errors
/// Only that the state cannot be read.
pub fn raise(txn: &mut Txn<'_>, dir: InodeId, height: u32) -> Res<()> {
    for (least, above) in (height + 1..).zip(path::ancestors(txn, dir)?) {
        if self::height(txn, above)? >= least {
            break;
        }
        txn.join(&Key::Stats(above), &Stats::of_height(least))?;
    }
    Ok(())
}

/// Moves what counts below `from` to below `to`; what lies above both stays as it is.
///
/// # Errors
/// Only that the state cannot be read.
pub fn transfer(txn: &mut Txn<'_>, from: InodeId, to: InodeId, what: &DirStats) -> Res<()> {
    let (from, to) = (path::ancestors(txn, from)?, path::ancestors(txn, to)?);
    let (from, to) = apart(&from, &to);
    add_to(txn, from, &negated(what))?;
    add_to(txn, to, what)
}

/// Two ways to the root without the part that they share.
#[must_use]
pub fn apart<'v>(a: &'v [InodeId], b: &'v [InodeId]) -> (&'v [InodeId], &'v [InodeId]) {
    let shared = a
        .iter()
        .rev()
        .zip(b.iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    (&a[..a.len() - shared], &b[..b.len() - shared])
}

fn add_to(txn: &mut Txn<'_>, dirs: &[InodeId], more: &DirStats) -> Res<()> {
    if *more == DirStats::default() {
        return Ok(());
    }
    for dir in dirs {
        txn.change(&Key::Stats(*dir), |old: Option<&Stats>| {
            Some(old.unwrap_or(&Stats::default()).add(more))
        })?;
        quota::measured(txn, *dir)?;
    }
    Ok(())
}

/// What a node counts as below its parent: of a directory, its whole subtree.
///
/// # Errors
/// Only that the state cannot be read.
pub fn of_node(txn: &Txn<'_>, ino: InodeId, node: &Inode) -> Res<DirStats> {
    match node.kind() {
        NodeKind::Directory => of_dir(txn, ino),
        NodeKind::File => of_file(txn, ino, node),
        _ => Ok(of_special(node)),
    }
}

/// What a node that is neither file nor directory counts as: of a symlink, its target's bytes.
///
/// They stand in its length and are not those of the target itself: links that were made before
/// they counted have none, and the sums above them were kept without them.
#[must_use]
pub fn of_special(node: &Inode) -> DirStats {
    DirStats {
        length: signed(node.length.value()),
        ..NODE
    }
}

/// What a file counts as. Reads its whole chunk list; a change of one chunk or of the length is
/// cheaper with [`of_chunk`] and [`of_length_change`].
///
/// # Errors
/// Only that the state cannot be read.
pub fn of_file(txn: &Txn<'_>, ino: InodeId, node: &Inode) -> Res<DirStats> {
    let length = node.length.value();
    let chunks = of_chunks(txn, ino, length, 0, goal(txn, node.class.value())?)?;
    let own = DirStats {
        length: signed(length),
        ..FILE
    };
    Ok(plus(&own, &chunks))
}

/// What one chunk at `index` adds to a file of `length` bytes whose class wants `goal` copies.
#[must_use]
pub fn of_chunk(length: u64, index: u32, goal: i128) -> DirStats {
    let begin = u64::from(index) * limits::CHUNK_BYTES;
    let bytes = length.saturating_sub(begin).min(limits::CHUNK_BYTES);
    let blocks = bytes.div_ceil(limits::BLOCK_BYTES) * limits::BLOCK_BYTES;
    let size = signed(blocks + limits::CHUNK_HEADER_BYTES);
    DirStats {
        chunks: 1,
        size,
        real_size: size.saturating_mul(goal),
        ..DirStats::default()
    }
}

/// What a change of length changes, the chunk list staying as it is. Reads the part of the chunk
/// list from the nearer end on.
///
/// # Errors
/// Only that the state cannot be read.
pub fn of_length_change(txn: &Txn<'_>, ino: InodeId, node: &Inode, to: u64) -> Res<DirStats> {
    let from = node.length.value();
    let goal = goal(txn, node.class.value())?;
    // A chunk that lies wholly within both lengths counts the same before and after.
    let first = u32::try_from(from.min(to) / limits::CHUNK_BYTES).unwrap_or(u32::MAX);
    let before = of_chunks(txn, ino, from, first, goal)?;
    let after = of_chunks(txn, ino, to, first, goal)?;
    let length = DirStats {
        length: signed(to) - signed(from),
        ..DirStats::default()
    };
    Ok(plus(&minus(&after, &before), &length))
}

/// Copies that a storage class wants: the longer of its keep and archive lists.
///
/// # Errors
/// [`StoreError::Contradiction`] when a node names a class that is not there.
pub fn goal(txn: &Txn<'_>, class: u8) -> Res<i128> {
    let key = Key::Class(class);
    let class: Option<StorageClass> = txn.value(&key)?;
    let class = class.ok_or_else(|| StoreError::Contradiction {
        key: key.bytes(),
        reason: "a node names a storage class that is not there".to_owned(),
    })?;
    Ok(goal_of(&class))
}

/// Copies that this storage class wants.
#[must_use]
pub fn goal_of(class: &StorageClass) -> i128 {
    class.keep.len().max(class.archive.len()) as i128
}

/// The sum over a file's chunks from index `first` on.
fn of_chunks(txn: &Txn<'_>, ino: InodeId, length: u64, first: u32, goal: i128) -> Res<DirStats> {
    let mut sum = DirStats::default();
    let prefix = Key::ChunkSlot(ino, 0).prefix();
    let after = first
        .checked_sub(1)
        .map(|index| Key::ChunkSlot(ino, index).bytes());
    txn.scan::<ChunkSlot>(&prefix, after.as_deref(), |key, slot| {
        if let (Key::ChunkSlot(_, index), Some(Some(chunk))) = (key, slot.get())
            && *chunk != ChunkId::HOLE
        {
            sum = plus(&sum, &of_chunk(length, index, goal));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(sum)
}

fn signed(bytes: u64) -> i128 {
    i128::from(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bed, ROOT, link, mkdir, rename, root, symlink, unlink};
    use super::*;

    const BLOCK: i128 = limits::BLOCK_BYTES as i128;
    const HEADER: i128 = limits::CHUNK_HEADER_BYTES as i128;
    const CHUNK: u64 = limits::CHUNK_BYTES;

    #[test]
    fn a_chunk_counts_its_blocks_and_a_header() {
        // Length of the file, index of the chunk: blocks of it.
        let examples = [
            (0, 0, 0),
            (1, 0, 1),
            (65_536, 0, 1),
            (65_537, 0, 2),
            (CHUNK, 0, 1_024),
            (CHUNK + 1, 0, 1_024),
            (CHUNK + 1, 1, 1),
            (CHUNK + 1, 2, 0),
            (CHUNK, 1, 0),
            (limits::FILE_BYTES_MAX, limits::CHUNK_INDEX_MAX, 1_024),
        ];
        for (length, index, blocks) in examples {
            let size = blocks * BLOCK + HEADER;
            let expected = DirStats {
                chunks: 1,
                size,
                real_size: 3 * size,
                ..DirStats::default()
            };
            assert_eq!(of_chunk(length, index, 3), expected, "{length} {index}");
        }
    }

    #[test]
    fn a_change_of_length_counts_the_same_as_counting_anew() {
        let lengths = [
            0,
            1,
            70_000,
            CHUNK - 1,
            CHUNK,
            CHUNK + 5,
            3 * CHUNK,
            5 * CHUNK + 9,
        ];
        for from in lengths {
            for to in lengths {
                let mut bed = Bed::new();
                let file = bed.file(&root(), ROOT, "file");
                for index in [0, 1, 3, 7] {
                    bed.add_chunk(file, index, from);
                }
                bed.by_hand(|txn| {
                    let node = txn.inode(file)?;
                    let before = of_file(txn, file, &node)?;
                    let change = of_length_change(txn, file, &node, to)?;
                    let node = super::super::node::change(txn, file, |node, stamp| Inode {
                        length: node.length.write(stamp, to),
                        ..Inode::default()
                    })?;
                    let after = of_file(txn, file, &node)?;
                    assert_eq!(plus(&before, &change), after, "{from} to {to}");
                    Ok(())
                });
            }
        }
    }

    #[test]
    fn a_directory_counts_all_below_it_once_for_each_name() {
        let mut bed = Bed::new();
        let (a, b) = (bed.dir(&root(), ROOT, "a"), bed.dir(&root(), ROOT, "b"));
        let inner = bed.dir(&root(), a, "inner");
        let file = bed.file(&root(), inner, "file");
        bed.ok(link(&root(), file, b, "file"));
        bed.node(symlink(&root(), inner, "link", b"a long target"));
        bed.add_chunk(file, 0, 10);
        let size = BLOCK + HEADER;
        let one = DirStats {
            inodes: 1,
            dirs: 0,
            files: 1,
            chunks: 1,
            length: 10,
            size,
            // Class 2, which the root began with.
            real_size: 2 * size,
        };
        let link = DirStats { length: 13, ..NODE };
        let in_inner = plus(&plus(&DIRECTORY, &one), &link);
        assert_eq!(bed.sums(inner), in_inner);
        assert_eq!(bed.sums(a), plus(&in_inner, &DIRECTORY));
        assert_eq!(bed.sums(b), plus(&DIRECTORY, &one));
        let all = plus(&plus(&bed.sums(a), &bed.sums(b)), &DIRECTORY);
        assert_eq!(bed.sums(ROOT), all);
        // A subtree takes its sums along, and the trash counts nowhere.
        bed.ok(rename(&root(), (a, "inner"), (b, "inner")));
        assert_eq!(bed.sums(a), DIRECTORY);
        assert_eq!(bed.sums(ROOT), all);
        bed.ok(unlink(&root(), b, "file"));
        bed.ok(unlink(&root(), inner, "file"));
        assert_eq!(bed.sums(b).files, 0);
        assert_eq!(bed.sums(b).real_size, 0);
        bed.node(mkdir(&root(), inner, "last"));
        assert_eq!(bed.sums(b).dirs, 3);
    }

    #[test]
    fn a_symlink_counts_its_targets_bytes_once_for_each_name() {
        let mut bed = Bed::new();
        let (a, b) = (bed.dir(&root(), ROOT, "a"), bed.dir(&root(), ROOT, "b"));
        let soft = bed.node(symlink(&root(), a, "l", b"12345"));
        bed.ok(link(&root(), soft, b, "l"));
        assert_eq!((bed.sums(a).length, bed.sums(b).length), (5, 5));
        bed.ok(rename(&root(), (a, "l"), (b, "m")));
        assert_eq!((bed.sums(a).length, bed.sums(b).length), (0, 10));
        bed.ok(unlink(&root(), b, "l"));
        assert_eq!((bed.sums(b).length, bed.sums(ROOT).length), (5, 5));
        bed.ok(unlink(&root(), b, "m"));
        assert_eq!(bed.sums(b), DIRECTORY);
    }

    #[test]
    fn a_symlink_of_before_targets_counted_counts_as_it_did() {
        let mut bed = Bed::new();
        let dir = bed.dir(&root(), ROOT, "dir");
        let soft = bed.node(symlink(&root(), dir, "l", b"12345"));
        bed.by_hand(|txn| {
            super::super::node::change(txn, soft, |node, stamp| Inode {
                length: node.length.write(stamp, 0),
                ..Inode::default()
            })?;
            add(
                txn,
                dir,
                &DirStats {
                    length: -5,
                    ..DirStats::default()
                },
            )
        });
        assert_eq!(bed.attr(soft).length, 5, "applications see its target");
        bed.ok(rename(&root(), (dir, "l"), (ROOT, "m")));
        assert_eq!(bed.sums(ROOT).length, 0);
        bed.ok(unlink(&root(), ROOT, "m"));
        assert_eq!(bed.sums(ROOT).length, 0);
    }

    #[test]
    fn only_the_part_that_is_not_shared_changes() {
        let ids = |numbers: &[u32]| numbers.iter().map(|n| InodeId(*n)).collect::<Vec<_>>();
        type Way = &'static [u32];
        let examples: [(Way, Way, Way, Way); 4] = [
            (&[5, 3, 1], &[5, 3, 1], &[], &[]),
            (&[5, 3, 1], &[6, 3, 1], &[5], &[6]),
            (&[5, 3, 1], &[1], &[5, 3], &[]),
            (&[1], &[7, 1], &[], &[7]),
        ];
        for (a, b, of_a, of_b) in examples {
            let (a, b) = (ids(a), ids(b));
            assert_eq!(apart(&a, &b), (&ids(of_a)[..], &ids(of_b)[..]));
        }
    }
}
