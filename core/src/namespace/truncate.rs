//! The length of a file: cutting, extending, and reserving room for appends.
//!
//! A cut inside a chunk needs the chunkservers: the first command makes the chunk ready and locks
//! it, the second sets the length when they are done.

use super::attr::attr;
use super::chunk;
use super::error::FsError;
use super::hooks;
use super::node;
use super::op::{Caller, DirStats, Disable, NodeKind, Reply, TruncateMode};
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
/// `Access` by path; `IndexTooBig`; `Quota`; `Locked` for a chunk that somebody writes.
pub fn truncate(
    txn: &mut Txn<'_>,
    caller: &Caller,
    inode: InodeId,
    length: u64,
    mode: TruncateMode,
) -> Res<Reply> {
    let only_grows = matches!(mode, TruncateMode::Extend | TruncateMode::Reserve);
    let disable = if only_grows {
        Disable::SetLength
    } else {
        Disable::Truncate
    };
    let who = Who::enter(txn, caller, &[disable], true)?;
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

/// The chunk of a truncate was cut.
///
/// # Errors
/// After the session's: `NoEnt`; `Perm` for what is no file; `IndexTooBig`; `NoChunk` when the
/// file holds another chunk there by now.
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
    chunk::unlock(txn, chunk)?;
    cut(txn, ino, &file, length)?;
    chunk::notify_changed(txn, ino, index, length, true)?;
    truncated(txn, &who, ino, file.length.value())
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
        length: (length - file.length.value()) as i64,
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
    let ready = chunk::prepare(txn, ino, index, chunk, false, true)?;
    chunk::lock(txn, ready.chunk)?;
    Ok(Some(Reply::TruncateChunk {
        index,
        chunk: ready.chunk,
        version: ready.version,
        action: ready.action,
        bytes: bytes as u32,
    }))
}
