//! Appending chunks of one file to another: they are shared until somebody writes them.

use super::chunk;
use super::error::FsError;
use super::hooks;
use super::key::Key;
use super::op::{Caller, DirStats, Disable, NodeKind, Reply};
use super::permission::{self, IMMUTABLE, READ, WRITE};
use super::quota;
use super::record::Inode;
use super::stats;
use super::txn::{Res, Txn};
use super::who::Who;
use crate::id::{ChunkId, InodeId};
use crate::limits;

/// APPEND_SLICE: chunks `[from, to)` of `src` behind the last chunk of `dst`. An empty range
/// changes nothing.
///
/// # Errors
/// After the session's: `NoEnt`; `Perm` for what is no file; `Invalid` for the same file twice;
/// `Access` for `dst`, then for `src`; `Perm` for an immutable `dst`; `Invalid` for the range, or
/// more chunks than one command may touch; `IndexTooBig`; `Locked` while one of the chunks is being
/// cut; `Quota`.
pub fn append(
    txn: &mut Txn<'_>,
    caller: &Caller,
    (dst, src): (InodeId, InodeId),
    (from, to): (i64, i64),
) -> Res<Reply> {
    let who = Who::enter(txn, caller, &[Disable::AppendChunks], true)?;
    let (dst, file) = who.node(txn, dst, false)?;
    let (src, source) = who.node(txn, src, false)?;
    if file.kind() != NodeKind::File || source.kind() != NodeKind::File {
        return Err(FsError::Perm.into());
    }
    if dst == src {
        return Err(FsError::Invalid.into());
    }
    permission::require(txn, &who, dst, &file, WRITE)?;
    permission::require(txn, &who, src, &source, READ)?;
    if file.eattr.value() & IMMUTABLE != 0 {
        return Err(FsError::Perm.into());
    }
    let count = chunks_of(source.length.value());
    let (from, to) = (position(from, count), position(to, count));
    if from > to {
        return Err(FsError::Invalid.into());
    }
    if from == to {
        return Ok(Reply::Done);
    }
    let base = chunks_of(file.length.value());
    let end = source.length.value().min(to * limits::CHUNK_BYTES);
    let length = base * limits::CHUNK_BYTES + (end - from * limits::CHUNK_BYTES);
    if length > limits::FILE_BYTES_MAX {
        return Err(FsError::IndexTooBig.into());
    }
    let (first, last) = (index(from), index(to));
    let slots = chunk::slots(txn, src, first, last, limits::RECURSION_MAX + 1)?;
    if slots.len() > limits::RECURSION_MAX {
        return Err(FsError::Invalid.into());
    }
    let goal = stats::goal(txn, file.class.value())?;
    let base = index(base);
    let mut growth = clear(txn, dst, &file, base, base + (last - first), goal)?;
    growth = stats::plus(&growth, &stats::of_length_change(txn, dst, &file, length)?);
    for (at, chunk) in slots {
        let at = at - first + base;
        chunk::share(txn, chunk)?;
        txn.set(&Key::ChunkSlot(dst, at), Some(chunk))?;
        growth = stats::plus(&growth, &stats::of_chunk(length, at, goal));
    }
    quota::check_parents(txn, &file, &growth)?;
    stats::add_to_parents(txn, &file, &growth)?;
    chunk::modify(txn, dst, length, true)?;
    Ok(Reply::Done)
}

/// Takes chunks behind the end of a file away, which were never to be read: what that changes.
fn clear(
    txn: &mut Txn<'_>,
    ino: InodeId,
    file: &Inode,
    from: u32,
    to: u32,
    goal: i128,
) -> Res<DirStats> {
    let mut change = DirStats::default();
    for (at, chunk) in chunk::slots(txn, ino, from, to, usize::MAX)? {
        let counted = stats::of_chunk(file.length.value(), at, goal);
        change = stats::minus(&change, &counted);
        txn.set::<ChunkId>(&Key::ChunkSlot(ino, at), None)?;
        hooks::release_chunk(txn, chunk)?;
    }
    Ok(change)
}

/// Chunks that a file of this length reaches into.
fn chunks_of(length: u64) -> u64 {
    length.div_ceil(limits::CHUNK_BYTES)
}

/// A position in a list of `count` chunks, counted from the end when below 0.
fn position(at: i64, count: u64) -> u64 {
    let from_end = count.saturating_sub(at.unsigned_abs());
    u64::try_from(at).map_or(from_end, |at| at.min(count))
}

/// Lengths are bounded, so that an index fits.
fn index(at: u64) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::op::{Notice, Op, QuotaLimits, TruncateMode};
    use super::super::testing::{Bed, ROOT, chmod, hard_quota, root, somebody, user};
    use super::*;

    const CHUNK: u64 = limits::CHUNK_BYTES;

    fn slice(dst: InodeId, src: InodeId, from: i64, to: i64) -> Op {
        Op::AppendSlice {
            caller: root(),
            dst,
            src,
            from,
            to,
        }
    }

    #[test]
    fn appended_chunks_begin_at_a_border_and_count_the_sources_tail() {
        let mut bed = Bed::new();
        let src = bed.file(&root(), ROOT, "src");
        let dst = bed.file(&root(), ROOT, "dst");
        bed.add_chunk(src, 0, CHUNK);
        bed.add_chunk(src, 2, 2 * CHUNK + 7);
        bed.add_chunk(dst, 0, 3);
        let outcome = bed.outcome(slice(dst, src, 0, i64::MAX));
        let length = CHUNK + 2 * CHUNK + 7;
        assert_eq!(
            outcome.notices,
            [Notice::LengthChanged { inode: dst, length }]
        );
        assert_eq!(bed.attr(dst).length, length);
        assert_eq!(bed.sums(ROOT).chunks, 5);
        // The last but one chunk of a file, counted from the end: whole, though it is a hole.
        bed.ok(slice(dst, src, -2, -1));
        assert_eq!(bed.attr(dst).length, 5 * CHUNK);
        assert_eq!(bed.sums(ROOT).chunks, 5);
    }

    #[test]
    fn chunks_behind_the_end_do_not_show_through_an_appended_hole() {
        let mut bed = Bed::new();
        let src = bed.file(&root(), ROOT, "src");
        bed.ok(Op::Truncate {
            caller: root(),
            inode: src,
            length: CHUNK,
            mode: TruncateMode::Opened,
        });
        let dst = bed.file(&root(), ROOT, "dst");
        let hidden = bed.add_chunk(dst, 0, 0);
        let outcome = bed.outcome(slice(dst, src, 0, 1));
        assert!(outcome.notices.contains(&Notice::ChunkUnused {
            chunk: hidden,
            version: 1
        }));
        assert_eq!(bed.sums(ROOT).chunks, 0);
    }

    #[test]
    fn appends_are_refused_for_reasons_in_order() {
        let mut bed = Bed::new();
        let src = bed.file(&root(), ROOT, "src");
        let dst = bed.file(&root(), ROOT, "dst");
        bed.add_chunk(src, 0, 10);
        let by = |caller: &Caller| Op::AppendSlice {
            caller: caller.clone(),
            dst,
            src,
            from: 0,
            to: 1,
        };
        let disabled = bed.session_with(|p| p.disables = 1 << Disable::AppendChunks as u32);
        let reader = bed.session_with(|p| p.flags.read_only = true);
        bed.refused(vec![
            (FsError::Perm, by(&user(disabled, 0))),
            (FsError::ReadOnly, by(&user(reader, 0))),
            (FsError::NoEnt, slice(InodeId(9_999), src, 0, 1)),
            (FsError::NoEnt, slice(dst, InodeId(9_999), 0, 1)),
            (FsError::Perm, slice(ROOT, src, 0, 1)),
            (FsError::Perm, slice(dst, ROOT, 0, 1)),
            (FsError::Invalid, slice(dst, dst, 0, 1)),
            (FsError::Access, by(&somebody(5))),
            (FsError::Invalid, slice(dst, src, 1, 0)),
        ]);
        bed.ok(chmod(&root(), dst, 0o666));
        bed.ok(chmod(&root(), src, 0o600));
        bed.refused(vec![(FsError::Access, by(&somebody(5)))]);
        bed.set_eattr(dst, IMMUTABLE);
        bed.refused(vec![(FsError::Perm, slice(dst, src, 0, 1))]);
        bed.set_eattr(dst, 0);
        bed.ok(slice(dst, src, 5, 9));
        assert_eq!(bed.attr(dst).length, 0);
        let large = bed.file(&root(), ROOT, "large");
        bed.ok(Op::Truncate {
            caller: root(),
            inode: large,
            length: limits::FILE_BYTES_MAX,
            mode: TruncateMode::Opened,
        });
        bed.refused(vec![(FsError::IndexTooBig, slice(large, src, 0, 1))]);
    }

    #[test]
    fn a_quota_stops_appends() {
        let mut bed = Bed::new();
        let dir = bed.dir(&root(), ROOT, "d");
        let src = bed.file(&root(), ROOT, "src");
        let dst = bed.file(&root(), dir, "dst");
        bed.add_chunk(src, 0, 10);
        bed.ok(hard_quota(
            dir,
            QuotaLimits {
                size: Some(70_000),
                ..QuotaLimits::default()
            },
        ));
        bed.refused(vec![(FsError::Quota, slice(dst, src, 0, 1))]);
    }
}
