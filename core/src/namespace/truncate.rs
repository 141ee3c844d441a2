//! The length of a file: cutting, extending, and reserving room for appends.
//!
//! A cut inside a chunk needs the chunkservers: the first command makes the chunk ready and locks
//! it, the second sets the length when they are done.

use std::cmp::Ordering;

use super::attr::attr;
use super::chunk::{self, Purpose};
use super::error::FsError;
use super::hooks;
use super::node;
use super::op::{Caller, Cut, DirStats, Disable, NodeKind, Reply, TruncateMode};
use super::permission::{self, APPEND_ONLY, IMMUTABLE, WRITE};
use super::quota;
use super::record::Inode;
use super::stats;
use super::txn::{Res, Txn};
use super::who::Who;
use crate::id::{ChunkId, InodeId};
use crate::limits;

/// TRUNCATE.
///
/// # Errors
/// After the session's: `NoEnt`; `Perm` for what is no file, is immutable, or may only grow;
/// `Access` by path; `IndexTooBig`; `Perm` where the session may not make files shorter, or longer;
/// `Quota`; `Locked` for a chunk that somebody writes.
pub fn truncate(
    txn: &mut Txn<'_>,
    caller: &Caller,
    inode: InodeId,
    length: u64,
    mode: TruncateMode,
) -> Res<Reply> {
    let only_grows = matches!(mode, TruncateMode::Extend | TruncateMode::Reserve);
    let who = Who::enter(txn, caller, &[], true)?;
    let (ino, file) = who.node(txn, inode, mode != TruncateMode::Path)?;
    let eattr = file.eattr.value();
    if file.kind() != NodeKind::File
        || eattr & IMMUTABLE != 0
        || eattr & APPEND_ONLY != 0 && !only_grows
    {
        return Err(FsError::Perm.into());
    }
    if mode == TruncateMode::Path {
        permission::require(txn, &who, ino, &file, WRITE)?;
    }
    if length > limits::FILE_BYTES_MAX {
        return Err(FsError::IndexTooBig.into());
    }
    let present = file.length.value();
    // Who may write may append: that is no truncate.
    if !only_grows {
        match length.cmp(&present) {
            Ordering::Less => who.disabled(Disable::Truncate)?,
            Ordering::Equal => {}
            Ordering::Greater => who.disabled(Disable::SetLength)?,
        }
    }
    let previous_length = match mode {
        TruncateMode::Reserve => reserve(txn, ino, &file, length)?,
        TruncateMode::Extend => {
            if length > present {
                grow(txn, ino, &file, length, false)?;
            }
            present
        }
        TruncateMode::Path | TruncateMode::Opened if length > present => {
            grow(txn, ino, &file, length, true)?;
            present
        }
        TruncateMode::Path | TruncateMode::Opened => {
            if let Some(reply) = cut_chunk(txn, ino, &file, length)? {
                return Ok(reply);
            }
            cut(txn, ino, &file, length)?;
            present
        }
    };
    truncated(txn, &who, ino, previous_length)
}

/// The chunk of a truncate was cut. Nothing is done when none is being cut there: it was done before,
/// by this command or by one that settled the chunk.
///
/// # Errors
/// After the session's: `NoEnt`; `Perm` for what is no file; `IndexTooBig`; `NoChunk` when the
/// file holds another chunk there by now; `Invalid` for a length that does not end inside it, or
/// is not the one that it is cut for.
pub fn truncate_end(
    txn: &mut Txn<'_>,
    caller: &Caller,
    (inode, index, chunk): (InodeId, u32, ChunkId),
    length: u64,
) -> Res<Reply> {
    let who = Who::enter(txn, caller, &[], true)?;
    let (ino, file) = who.node(txn, inode, true)?;
    if file.kind() != NodeKind::File {
        return Err(FsError::Perm.into());
    }
    if length > limits::FILE_BYTES_MAX {
        return Err(FsError::IndexTooBig.into());
    }
    if chunk::slot(txn, ino, index)? != Some(chunk) {
        return Err(FsError::NoChunk.into());
    }
    let inside = !length.is_multiple_of(limits::CHUNK_BYTES);
    if !inside || length / limits::CHUNK_BYTES != u64::from(index) {
        return Err(FsError::Invalid.into());
    }
    let unsettled = chunk::get(txn, chunk)?.unsettled.value();
    if let Some(cut) = unsettled.and_then(|it| it.cut) {
        if cut.file_length != length {
            return Err(FsError::Invalid.into());
        }
        chunk::settled(txn, chunk)?;
        chunk::unlock(txn, chunk)?;
        cut_is_made(txn, (ino, index), length)?;
    }
    truncated(txn, &who, ino, file.length.value())
}

/// Gives a file the length for which its chunk was cut.
///
/// # Errors
/// Only that the state cannot be read.
pub fn cut_is_made(txn: &mut Txn<'_>, (ino, index): (InodeId, u32), length: u64) -> Res<()> {
    let file = txn.inode(ino)?;
    cut(txn, ino, &file, length)?;
    chunk::notify_changed(txn, ino, index, length, true)
}

/// Gives a file this length at once: chunks behind it go, bytes between are a hole. Sets its
/// times, and forgets what was reserved behind the end.
///
/// # Errors
/// Only that the state cannot be read.
pub fn cut(txn: &mut Txn<'_>, ino: InodeId, file: &Inode, length: u64) -> Res<Inode> {
    let goal = stats::goal(txn, file.class.value())?;
    // No file is longer than 2^31 chunks.
    let first = u32::try_from(length.div_ceil(limits::CHUNK_BYTES)).unwrap_or(u32::MAX);
    let mut change = DirStats::default();
    for (index, _) in chunk::slots(txn, ino, first, u32::MAX, usize::MAX)? {
        let counted = stats::of_chunk(file.length.value(), index, goal);
        change = stats::minus(&change, &counted);
    }
    hooks::release_chunks(txn, ino, first)?;
    let shorter = stats::of_length_change(txn, ino, file, length)?;
    stats::add_to_parents(txn, file, &stats::plus(&change, &shorter))?;
    node::change(txn, ino, |file, stamp| Inode {
        reserved: file.reserved.write(stamp, 0),
        ..Inode::default()
    })?;
    chunk::modify(txn, ino, length, true)
}

fn truncated(txn: &Txn<'_>, who: &Who, ino: InodeId, previous_length: u64) -> Res<Reply> {
    let file = txn.inode(ino)?;
    Ok(Reply::Truncated {
        previous_length,
        attr: attr(txn, who, ino, &file)?,
    })
}

fn grow(txn: &mut Txn<'_>, ino: InodeId, file: &Inode, length: u64, touch: bool) -> Res<()> {
    let more = DirStats {
        length: i128::from(length - file.length.value()),
        ..DirStats::default()
    };
    quota::check_parents(txn, file, &more)?;
    if touch {
        cut(txn, ino, file, length)?;
    } else {
        let growth = stats::of_length_change(txn, ino, file, length)?;
        stats::add_to_parents(txn, file, &growth)?;
        chunk::modify(txn, ino, length, false)?;
    }
    Ok(())
}

/// Reserves `bytes` behind the end, and behind what is reserved: where they begin.
fn reserve(txn: &mut Txn<'_>, ino: InodeId, file: &Inode, bytes: u64) -> Res<u64> {
    let begin = file.length.value().max(file.reserved.value());
    let end = begin + bytes;
    if end > limits::FILE_BYTES_MAX {
        return Err(FsError::IndexTooBig.into());
    }
    node::change(txn, ino, |file, stamp| Inode {
        reserved: file.reserved.write(stamp, end),
        ..Inode::default()
    })?;
    Ok(begin)
}

/// Makes the chunk that a cut goes through ready, if there is one.
fn cut_chunk(txn: &mut Txn<'_>, ino: InodeId, file: &Inode, length: u64) -> Res<Option<Reply>> {
    let bytes = length % limits::CHUNK_BYTES;
    if bytes == 0 || length >= file.length.value() {
        return Ok(None);
    }
    let index = u32::try_from(length / limits::CHUNK_BYTES).unwrap_or(u32::MAX);
    let Some(chunk) = chunk::slot(txn, ino, index)? else {
        return Ok(None);
    };
    let bytes = bytes as u32;
    let cut = Cut {
        bytes,
        file_length: length,
    };
    let ready = chunk::prepare(txn, (ino, index), chunk, Purpose::Cut(cut))?;
    chunk::lock(txn, ready.chunk)?;
    Ok(Some(Reply::TruncateChunk {
        index,
        chunk: ready.chunk,
        version: ready.version,
        action: ready.action,
        bytes,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::op::{Answer, ChunkAction, Notice, Op, Query, QuotaLimits};
    use super::super::testing::{Bed, ROOT, hard_quota, root, somebody, user};
    use super::*;

    const CHUNK: u64 = limits::CHUNK_BYTES;

    fn to(inode: InodeId, length: u64, mode: TruncateMode) -> Op {
        Op::Truncate {
            caller: root(),
            inode,
            length,
            mode,
        }
    }

    fn previous(reply: Reply) -> u64 {
        match reply {
            Reply::Truncated {
                previous_length, ..
            } => previous_length,
            other => panic!("a length was expected, not {other:?}"),
        }
    }

    #[test]
    fn growing_makes_a_hole_and_sets_times_unless_it_only_extends() {
        let mut bed = Bed::new();
        let file = bed.file(&root(), ROOT, "f");
        bed.now += 10;
        assert_eq!(previous(bed.ok(to(file, 50, TruncateMode::Extend))), 0);
        assert_eq!(bed.attr(file).mtime.0, 1_000);
        assert_eq!(previous(bed.ok(to(file, 20, TruncateMode::Extend))), 50);
        assert_eq!(bed.attr(file).length, 50);
        assert_eq!(previous(bed.ok(to(file, 60, TruncateMode::Opened))), 50);
        assert_eq!(bed.attr(file).mtime.0, 1_010);
        assert_eq!(bed.sums(ROOT).length, 60);
    }

    #[test]
    fn a_cut_inside_a_chunk_takes_two_steps() {
        let mut bed = Bed::new();
        let file = bed.file(&root(), ROOT, "f");
        let first = bed.add_chunk(file, 0, CHUNK);
        let second = bed.add_chunk(file, 1, 2 * CHUNK);
        let reply = bed.ok(to(file, 100, TruncateMode::Path));
        let expected = Reply::TruncateChunk {
            index: 0,
            chunk: first,
            version: 2,
            action: ChunkAction::Raised { from_version: 1 },
            bytes: 100,
        };
        assert_eq!(reply, expected);
        assert_eq!(bed.attr(file).length, 2 * CHUNK);
        bed.refused(vec![(FsError::Locked, to(file, 100, TruncateMode::Opened))]);
        let end = |chunk| Op::TruncateEnd {
            caller: root(),
            inode: file,
            index: 0,
            chunk,
            length: 100,
        };
        bed.refused(vec![(FsError::NoChunk, end(second))]);
        // Who reads is shown that it is being cut, though it is locked, and can have it made.
        let read = bed.ask(Query::ReadChunk {
            caller: root(),
            inode: file,
            index: 0,
        });
        let Ok(Answer::Chunk { info, .. }) = read else {
            panic!("a chunk was expected, not {read:?}");
        };
        assert!(info.unsettled.is_some_and(|it| it.cut.is_some()));
        bed.now += 5;
        let outcome = bed.outcome(end(first));
        assert_eq!(previous(outcome.result.unwrap()), 2 * CHUNK);
        assert_eq!(
            outcome.notices,
            [
                Notice::ChunkUnused {
                    chunk: second,
                    version: 1
                },
                Notice::LengthChanged {
                    inode: file,
                    length: 100
                },
                Notice::ChunkChanged {
                    inode: file,
                    index: 0,
                    chunk: first,
                    version: 2,
                    length: 100,
                    truncated: true
                },
            ]
        );
        let attr = bed.attr(file);
        assert_eq!(
            (attr.length, attr.mtime.0, attr.ctime.0),
            (100, 1_005, 1_005)
        );
        // Unlocked again, so it can be cut again.
        bed.ok(to(file, 50, TruncateMode::Opened));
    }

    #[test]
    fn a_shared_chunk_is_copied_before_it_is_cut() {
        let mut bed = Bed::new();
        let file = bed.file(&root(), ROOT, "f");
        let shared = bed.add_chunk(file, 0, 1_000);
        let other = bed.file(&root(), ROOT, "g");
        bed.ok(Op::AppendSlice {
            caller: root(),
            dst: other,
            src: file,
            from: 0,
            to: 1,
        });
        let Reply::TruncateChunk { chunk, action, .. } =
            bed.ok(to(other, 10, TruncateMode::Opened))
        else {
            panic!("a chunk step was expected");
        };
        assert_eq!(
            action,
            ChunkAction::Duplicated {
                from: shared,
                from_version: 1
            }
        );
        assert_ne!(chunk, shared);
    }

    #[test]
    fn cuts_at_a_border_in_a_hole_or_to_the_same_length_are_immediate() {
        let mut bed = Bed::new();
        let file = bed.file(&root(), ROOT, "f");
        bed.add_chunk(file, 2, 3 * CHUNK);
        assert_eq!(
            previous(bed.ok(to(file, 3 * CHUNK, TruncateMode::Path))),
            3 * CHUNK
        );
        assert_eq!(
            previous(bed.ok(to(file, CHUNK + 5, TruncateMode::Path))),
            3 * CHUNK
        );
        assert_eq!(bed.sums(ROOT).chunks, 0);
        bed.add_chunk(file, 0, CHUNK);
        assert_eq!(previous(bed.ok(to(file, 0, TruncateMode::Path))), CHUNK);
        assert_eq!(bed.sums(ROOT).chunks, 0);
        assert_eq!(bed.sums(ROOT).size, 0);
    }

    #[test]
    fn appends_reserve_one_behind_the_other_until_the_file_is_cut() {
        let mut bed = Bed::new();
        let file = bed.file(&root(), ROOT, "f");
        let reserve = |bytes| to(file, bytes, TruncateMode::Reserve);
        bed.ok(to(file, 100, TruncateMode::Opened));
        assert_eq!(previous(bed.ok(reserve(10))), 100);
        assert_eq!(previous(bed.ok(reserve(5))), 110);
        assert_eq!(bed.attr(file).length, 100);
        bed.ok(to(file, 200, TruncateMode::Extend));
        assert_eq!(previous(bed.ok(reserve(1))), 200);
        bed.refused(vec![(
            FsError::IndexTooBig,
            reserve(limits::FILE_BYTES_MAX),
        )]);
        bed.ok(to(file, 0, TruncateMode::Opened));
        assert_eq!(previous(bed.ok(reserve(1))), 0);
    }

    #[test]
    fn truncates_are_refused_for_reasons_in_order() {
        let mut bed = Bed::new();
        let file = bed.file(&root(), ROOT, "f");
        let no_truncate = bed.session_with(|p| p.disables = 1 << Disable::Truncate as u32);
        let no_length = bed.session_with(|p| p.disables = 1 << Disable::SetLength as u32);
        let reader = bed.session_with(|p| p.flags.read_only = true);
        let by = |caller: &Caller, mode| Op::Truncate {
            caller: caller.clone(),
            inode: file,
            length: 5,
            mode,
        };
        bed.refused(vec![
            (FsError::Perm, by(&user(no_length, 0), TruncateMode::Path)),
            (FsError::Perm, by(&user(no_length, 0), TruncateMode::Opened)),
            (FsError::ReadOnly, by(&user(reader, 0), TruncateMode::Path)),
            (FsError::NoEnt, to(InodeId(9_999), 5, TruncateMode::Path)),
            (FsError::Perm, to(ROOT, 5, TruncateMode::Path)),
            (FsError::Access, by(&somebody(5), TruncateMode::Path)),
            (
                FsError::IndexTooBig,
                to(file, limits::FILE_BYTES_MAX + 1, TruncateMode::Path),
            ),
        ]);
        for grows in [TruncateMode::Reserve, TruncateMode::Extend] {
            bed.ok(by(&user(no_length, 0), grows));
            bed.ok(by(&user(no_truncate, 0), grows));
        }
        assert_eq!(bed.attr(file).length, 5);
        bed.ok(by(&user(no_length, 0), TruncateMode::Path));
        bed.ok(by(&user(no_truncate, 0), TruncateMode::Path));
        bed.ok(to(file, 4, TruncateMode::Path));
        bed.ok(by(&user(no_truncate, 0), TruncateMode::Path));
        bed.ok(to(file, 6, TruncateMode::Path));
        bed.refused(vec![(
            FsError::Perm,
            by(&user(no_truncate, 0), TruncateMode::Path),
        )]);
        bed.ok(by(&somebody(5), TruncateMode::Opened));
        bed.set_eattr(file, APPEND_ONLY);
        bed.refused(vec![(FsError::Perm, to(file, 5, TruncateMode::Opened))]);
        bed.ok(to(file, 9, TruncateMode::Extend));
        bed.set_eattr(file, IMMUTABLE);
        bed.refused(vec![(FsError::Perm, to(file, 5, TruncateMode::Extend))]);
        let end = |inode, length| Op::TruncateEnd {
            caller: root(),
            inode,
            index: 0,
            chunk: ChunkId(5),
            length,
        };
        bed.refused(vec![
            (FsError::NoEnt, end(InodeId(9_999), 5)),
            (FsError::Perm, end(ROOT, 5)),
            (FsError::IndexTooBig, end(file, limits::FILE_BYTES_MAX + 1)),
            (FsError::NoChunk, end(file, 5)),
        ]);
    }

    #[test]
    fn a_quota_stops_growth_and_not_shrinking() {
        let mut bed = Bed::new();
        let dir = bed.dir(&root(), ROOT, "d");
        let file = bed.file(&root(), dir, "f");
        bed.ok(to(file, 200, TruncateMode::Opened));
        bed.ok(hard_quota(
            dir,
            QuotaLimits {
                length: Some(100),
                ..QuotaLimits::default()
            },
        ));
        bed.refused(vec![
            (FsError::Quota, to(file, 201, TruncateMode::Opened)),
            (FsError::Quota, to(file, 201, TruncateMode::Extend)),
        ]);
        bed.ok(to(file, 150, TruncateMode::Opened));
    }
}
