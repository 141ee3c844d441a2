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
/// more chunks than one command may touch; `IndexTooBig`; `Quota`.
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
        chunk::refer(txn, chunk)?;
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
    goal: i64,
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
