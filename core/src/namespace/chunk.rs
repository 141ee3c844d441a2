//! Chunks of files: writing, reading, and what chunkservers report.
//!
//! Where copies lie is not known here; an outcome says what chunkservers have to do, and a later
//! command says what became of it.

use std::ops::ControlFlow;

use super::error::FsError;
use super::hooks;
use super::key::Key;
use super::node;
use super::op::{
    Answer, Caller, ChunkAction, ChunkInfo, DirStats, Disable, NodeKind, Notice, Reply,
};
use super::permission::IMMUTABLE;
use super::quota;
use super::record::{Chunk, ChunkSlot, Inode, SlotIds};
use super::stats;
use super::txn::{Fail, Res, Txn};
use super::who::Who;
use crate::crdt::{LOG_REPLICA, Lww};
use crate::id::{ChunkId, InodeId};
use crate::limits;
use crate::time::{Stamp, WallTime};

/// How a chunk shall be written.
#[derive(Clone, Copy, Debug)]
pub struct WriteMode {
    /// The writer continues under its own lock.
    pub go_on: bool,
    /// A copy came, went or was damaged: the version must rise.
    pub chunk_moved: bool,
    /// The change sets mtime and ctime.
    pub may_touch_times: bool,
}

/// A chunk ready to be written.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// The chunk.
    pub chunk: ChunkId,
    /// Its version.
    pub version: u32,
    /// What chunkservers have to do first.
    pub action: ChunkAction,
}

/// WRITE_CHUNK.
///
/// # Errors
/// After the session's: `NoEnt`; `Perm` for what is no file, or immutable; `IndexTooBig`; `Quota`
/// for a chunk that is new or has to be copied; `Locked`; `NoSpace` when no id is left.
pub fn write(
    txn: &mut Txn<'_>,
    caller: &Caller,
    inode: InodeId,
    index: u32,
    mode: WriteMode,
) -> Res<Reply> {
    let who = Who::enter(txn, caller, &[Disable::Write], true)?;
    let (ino, file) = who.node(txn, inode, true)?;
    if file.kind() != NodeKind::File || file.eattr.value() & IMMUTABLE != 0 {
        return Err(FsError::Perm.into());
    }
    if index > limits::CHUNK_INDEX_MAX {
        return Err(FsError::IndexTooBig.into());
    }
    let goal = stats::goal(txn, file.class.value())?;
    let present = slot(txn, ino, index)?;
    let shared = match present {
        Some(chunk) => get(txn, chunk)?.references.value() > 1,
        None => false,
    };
    if present.is_none() || shared {
        quota::check_parents(txn, &file, &whole_chunk(goal))?;
    }
    let begin = u64::from(index) * limits::CHUNK_BYTES;
    let length = file.length.value().max(begin);
    let mut growth = stats::of_length_change(txn, ino, &file, length)?;
    let ready = match present {
        Some(chunk) => prepare(txn, ino, index, chunk, mode.go_on, mode.chunk_moved)?,
        None => {
            growth = stats::plus(&growth, &stats::of_chunk(length, index, goal));
            let chunk = create(txn, ino)?;
            txn.set(&Key::ChunkSlot(ino, index), Some(chunk))?;
            Ready {
                chunk,
                version: 1,
                action: ChunkAction::Created,
            }
        }
    };
    lock(txn, ready.chunk)?;
    stats::add_to_parents(txn, &file, &growth)?;
    let touch = mode.may_touch_times && ready.action != ChunkAction::Kept;
    modify(txn, ino, length, touch)?;
    Ok(Reply::Chunk {
        chunk: ready.chunk,
        version: ready.version,
        action: ready.action,
        length,
    })
}

/// WRITE_CHUNK_END: the chunk is unlocked whatever became of its file. `Quota` leaves the unlock
/// in place, and only the length as it was.
///
/// # Errors
/// After the session's: `IndexTooBig` for a length that no file has; `NoChunk`; `Quota`.
pub fn write_end(
    txn: &mut Txn<'_>,
    caller: &Caller,
    (inode, index, chunk): (InodeId, u32, ChunkId),
    length: u64,
    may_touch_times: bool,
) -> Res<Reply> {
    let who = Who::enter(txn, caller, &[], true)?;
    if length > limits::FILE_BYTES_MAX {
        return Err(FsError::IndexTooBig.into());
    }
    unlock(txn, chunk)?;
    let (ino, file) = match who.node(txn, inode, true) {
        Ok((ino, file)) if file.kind() == NodeKind::File => (ino, file),
        Ok(_) | Err(Fail::Fs(_)) => return Ok(Reply::Done),
        Err(damage) => return Err(damage),
    };
    let mut reached = file.length.value();
    if length > reached {
        let more = DirStats {
            length: (length - reached) as i64,
            ..DirStats::default()
        };
        match quota::check_parents(txn, &file, &more) {
            Ok(()) => {
                let growth = stats::of_length_change(txn, ino, &file, length)?;
                stats::add_to_parents(txn, &file, &growth)?;
                modify(txn, ino, length, may_touch_times)?;
                reached = length;
            }
            Err(Fail::Fs(error)) => txn.refuse_but_keep(error),
            Err(damage) => return Err(damage),
        }
    }
    if slot(txn, ino, index)? == Some(chunk) {
        notify_changed(txn, ino, index, reached, false)?;
    }
    Ok(Reply::Done)
}

/// The chunkservers could not do what a write asked for: the slot holds `old` again, or nothing.
///
/// # Errors
/// `NoChunk` when the slot does not hold `new`, or `old` is not known.
pub fn rollback(
    txn: &mut Txn<'_>,
    ino: InodeId,
    index: u32,
    new: ChunkId,
    old: ChunkId,
) -> Res<Reply> {
    if new == ChunkId::HOLE || slot(txn, ino, index)? != Some(new) {
        return Err(FsError::NoChunk.into());
    }
    if old == ChunkId::HOLE {
        empty_slot(txn, ino, index, new)?;
        return Ok(Reply::Done);
    }
    unlock(txn, old)?;
    if old != new {
        refer(txn, old)?;
        txn.set(&Key::ChunkSlot(ino, index), Some(old))?;
        hooks::release_chunk(txn, new)?;
    }
    Ok(Reply::Done)
}

/// Chunkservers reported a version.
///
/// # Errors
/// `NoChunk`; `Invalid` for a version that is neither the present nor the next.
pub fn set_version(txn: &mut Txn<'_>, chunk: ChunkId, version: u32) -> Res<Reply> {
    let present = get(txn, chunk)?.version.value();
    if version != present && present.checked_add(1) != Some(version) {
        return Err(FsError::Invalid.into());
    }
    change(txn, chunk, |old, stamp| Chunk {
        version: old.version.write(stamp, version),
        ..Chunk::default()
    })?;
    Ok(Reply::Done)
}

/// Unlocks a chunk, locked or not.
///
/// # Errors
/// `NoChunk`.
pub fn unlock(txn: &mut Txn<'_>, chunk: ChunkId) -> Res<Reply> {
    change(txn, chunk, |old, stamp| Chunk {
        locked_until: old.locked_until.write(stamp, WallTime(0)),
        ..Chunk::default()
    })?;
    Ok(Reply::Done)
}

/// Repair: the chunk of a slot has this version, or is given up.
///
/// # Errors
/// `NoChunk` when the slot is a hole, or there is no such file.
pub fn repair(txn: &mut Txn<'_>, ino: InodeId, index: u32, version: Option<u32>) -> Res<Reply> {
    let chunk = slot(txn, ino, index)?.ok_or(FsError::NoChunk)?;
    match version {
        Some(version) => {
            change(txn, chunk, |old, stamp| Chunk {
                version: old.version.write(stamp, version),
                ..Chunk::default()
            })?;
        }
        None => empty_slot(txn, ino, index, chunk)?,
    }
    let length = txn.inode(ino)?.length.value();
    notify_changed(txn, ino, index, length, false)?;
    Ok(Reply::Done)
}

/// A chunk without a reference was deleted everywhere.
///
/// # Errors
/// `NoChunk`; `ChunkBusy` while a file refers to it.
pub fn forget(txn: &mut Txn<'_>, chunk: ChunkId) -> Res<Reply> {
    if get(txn, chunk)?.references.value() > 0 {
        return Err(FsError::ChunkBusy.into());
    }
    change(txn, chunk, |_, _| Chunk {
        gone: true,
        ..Chunk::default()
    })?;
    Ok(Reply::Done)
}

/// READ_CHUNK: the chunk, or a hole.
///
/// # Errors
/// After the session's: `NoEnt`; `Perm` for what is no file; `IndexTooBig`; `Locked` while a writer
/// has it.
pub fn read(txn: &Txn<'_>, caller: &Caller, inode: InodeId, index: u32) -> Res<Answer> {
    let who = Who::enter(txn, caller, &[Disable::Read], false)?;
    let (ino, file) = who.node(txn, inode, true)?;
    if file.kind() != NodeKind::File {
        return Err(FsError::Perm.into());
    }
    if index > limits::CHUNK_INDEX_MAX {
        return Err(FsError::IndexTooBig.into());
    }
    let info = match slot(txn, ino, index)? {
        Some(chunk) => info(txn, index, chunk)?,
        None => hole(index),
    };
    if info.locked_until > WallTime(0) && info.locked_until >= txn.now() {
        return Err(FsError::Locked.into());
    }
    Ok(Answer::Chunk {
        info,
        length: file.length.value(),
    })
}

/// The chunks of a file from index `from` on, holes left out.
///
/// # Errors
/// After the session's: `NoEnt`; `Perm` for what is no file; `Invalid` for a `max` of 0.
pub fn list(txn: &Txn<'_>, caller: &Caller, inode: InodeId, from: u32, max: u32) -> Res<Answer> {
    let who = Who::enter(txn, caller, &[], false)?;
    let (ino, file) = who.node(txn, inode, false)?;
    if file.kind() != NodeKind::File {
        return Err(FsError::Perm.into());
    }
    if max == 0 {
        return Err(FsError::Invalid.into());
    }
    let max = max.min(limits::READDIR_PAGE_MAX) as usize;
    let mut slots = slots(txn, ino, from, u32::MAX, max + 1)?;
    let done = slots.len() <= max;
    slots.truncate(max);
    let chunks = slots
        .into_iter()
        .map(|(index, chunk)| info(txn, index, chunk))
        .collect::<Res<_>>()?;
    Ok(Answer::Chunks {
        chunks,
        length: file.length.value(),
        done,
    })
}

/// The chunk in a slot of a file; `None` is a hole.
///
/// # Errors
/// Only that the state cannot be read.
pub fn slot(txn: &Txn<'_>, ino: InodeId, index: u32) -> Res<Option<ChunkId>> {
    Ok(txn.value(&Key::ChunkSlot(ino, index))?)
}

/// The chunks of a file with `from <= index < to`, in order, at most `max` of them.
///
/// # Errors
/// Only that the state cannot be read.
pub fn slots(
    txn: &Txn<'_>,
    ino: InodeId,
    from: u32,
    to: u32,
    max: usize,
) -> Res<Vec<(u32, ChunkId)>> {
    let mut out = Vec::new();
    let prefix = Key::ChunkSlot(ino, 0).prefix();
    let after = from
        .checked_sub(1)
        .map(|index| Key::ChunkSlot(ino, index).bytes());
    txn.scan::<ChunkSlot>(&prefix, after.as_deref(), |key, slot| {
        if let (Key::ChunkSlot(_, index), Some(Some(chunk))) = (key, slot.get()) {
            if index >= to || out.len() == max {
                return Ok(ControlFlow::Break(()));
            }
            out.push((index, *chunk));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(out)
}

/// A chunk's record.
///
/// # Errors
/// `NoChunk`.
pub fn get(txn: &Txn<'_>, chunk: ChunkId) -> Res<Chunk> {
    Ok(txn.get(&Key::Chunk(chunk))?.ok_or(FsError::NoChunk)?)
}

/// Changes a chunk by the delta that `make_delta` gives for it.
///
/// # Errors
/// `NoChunk`.
pub fn change(
    txn: &mut Txn<'_>,
    chunk: ChunkId,
    make_delta: impl FnOnce(&Chunk, Stamp) -> Chunk,
) -> Res<Chunk> {
    let stamp = txn.stamp();
    let changed = txn.change(&Key::Chunk(chunk), |old| {
        old.map(|old| make_delta(old, stamp))
    })?;
    Ok(changed.ok_or(FsError::NoChunk)?)
}

/// One more slot refers to a chunk.
///
/// # Errors
/// `NoChunk`.
pub fn refer(txn: &mut Txn<'_>, chunk: ChunkId) -> Res<()> {
    change(txn, chunk, |old, _| Chunk {
        references: old.references.link(LOG_REPLICA),
        ..Chunk::default()
    })?;
    Ok(())
}

/// Makes the chunk of a slot ready for a change: a shared one is copied, one's own gets the next
/// version when `raise` says so. Does not lock it, and checks no quota.
///
/// # Errors
/// `Locked` when somebody else writes and this is not `go_on`; `NoSpace` when no id or version is
/// left.
pub fn prepare(
    txn: &mut Txn<'_>,
    ino: InodeId,
    index: u32,
    chunk: ChunkId,
    go_on: bool,
    raise: bool,
) -> Res<Ready> {
    let old = get(txn, chunk)?;
    let from_version = old.version.value();
    if old.references.value() > 1 {
        let copy = create(txn, ino)?;
        txn.set(&Key::ChunkSlot(ino, index), Some(copy))?;
        hooks::release_chunk(txn, chunk)?;
        return Ok(Ready {
            chunk: copy,
            version: 1,
            action: ChunkAction::Duplicated {
                from: chunk,
                from_version,
            },
        });
    }
    if !go_on && old.locked_until.value() >= txn.now() {
        return Err(FsError::Locked.into());
    }
    let (version, action) = if raise {
        let next = from_version.checked_add(1).ok_or(FsError::NoSpace)?;
        (next, ChunkAction::Raised { from_version })
    } else {
        (from_version, ChunkAction::Kept)
    };
    change(txn, chunk, |old, stamp| Chunk {
        version: old.version.write(stamp, version),
        archived: old.archived.write(stamp, false),
        ..Chunk::default()
    })?;
    Ok(Ready {
        chunk,
        version,
        action,
    })
}

/// Locks a chunk for a writer.
///
/// # Errors
/// `NoChunk`.
pub fn lock(txn: &mut Txn<'_>, chunk: ChunkId) -> Res<()> {
    let until = WallTime(txn.now().0.saturating_add(limits::CHUNK_LOCK_SECONDS));
    change(txn, chunk, |old, stamp| Chunk {
        locked_until: old.locked_until.write(stamp, until),
        ..Chunk::default()
    })?;
    Ok(())
}

/// Notes the modification of a file: its length, and when `touch`, its times. Tells who has it
/// open when the length is another. Counts nothing.
///
/// # Errors
/// `NoEnt` when there is no such node.
pub fn modify(txn: &mut Txn<'_>, ino: InodeId, length: u64, touch: bool) -> Res<Inode> {
    let now = txn.now();
    let mut before = length;
    let file = node::change(txn, ino, |file, stamp| {
        before = file.length.value();
        let time = |old: &Lww<WallTime>| {
            if touch {
                old.write(stamp, now)
            } else {
                Lww::default()
            }
        };
        Inode {
            mtime: time(&file.mtime),
            ctime: time(&file.ctime),
            length: if before == length {
                Lww::default()
            } else {
                file.length.write(stamp, length)
            },
            eattr: node::unsnapshot(file, stamp),
            ..Inode::default()
        }
    })?;
    if before != length {
        txn.notify(Notice::LengthChanged { inode: ino, length });
    }
    Ok(file)
}

/// Tells who has the file open that a slot holds something else now.
///
/// # Errors
/// `NoChunk`.
pub fn notify_changed(
    txn: &mut Txn<'_>,
    ino: InodeId,
    index: u32,
    length: u64,
    truncated: bool,
) -> Res<()> {
    let (chunk, version) = match slot(txn, ino, index)? {
        Some(chunk) => (chunk, get(txn, chunk)?.version.value()),
        None => (ChunkId::HOLE, 0),
    };
    txn.notify(Notice::ChunkChanged {
        inode: ino,
        index,
        chunk,
        version,
        length,
        truncated,
    });
    Ok(())
}

/// A new chunk of a file, with the one reference that its slot will be.
fn create(txn: &mut Txn<'_>, ino: InodeId) -> Res<ChunkId> {
    let key = Key::SlotIds(ino.slot());
    let ids: SlotIds = txn.get(&key)?.unwrap_or_default();
    let chunk = ChunkId::from_parts(ids.chunks.value(), ino.slot()).ok_or(FsError::NoSpace)?;
    let taken = SlotIds {
        chunks: ids.chunks.add(LOG_REPLICA, 1),
        ..SlotIds::default()
    };
    txn.join(&key, &taken)?;
    let stamp = txn.stamp();
    let delta = Chunk {
        version: Lww::at(stamp, 1),
        locked_until: Lww::at(stamp, WallTime(0)),
        archived: Lww::at(stamp, false),
        references: Chunk::default().references.link(LOG_REPLICA),
        gone: false,
    };
    txn.join(&Key::Chunk(chunk), &delta)?;
    Ok(chunk)
}

/// Makes a slot a hole, and counts that.
fn empty_slot(txn: &mut Txn<'_>, ino: InodeId, index: u32, chunk: ChunkId) -> Res<()> {
    let file = txn.inode(ino)?;
    let goal = stats::goal(txn, file.class.value())?;
    let counted = stats::of_chunk(file.length.value(), index, goal);
    stats::add_to_parents(txn, &file, &stats::negated(&counted))?;
    txn.set::<ChunkId>(&Key::ChunkSlot(ino, index), None)?;
    hooks::release_chunk(txn, chunk)
}

/// What a quota must have room for before a chunk is written.
fn whole_chunk(goal: i64) -> DirStats {
    let size = (limits::CHUNK_BYTES + limits::CHUNK_HEADER_BYTES) as i64;
    DirStats {
        size,
        real_size: size.saturating_mul(goal),
        ..DirStats::default()
    }
}

fn info(txn: &Txn<'_>, index: u32, chunk: ChunkId) -> Res<ChunkInfo> {
    let record = get(txn, chunk)?;
    Ok(ChunkInfo {
        index,
        chunk,
        version: record.version.value(),
        locked_until: record.locked_until.value(),
        archived: record.archived.value(),
    })
}

fn hole(index: u32) -> ChunkInfo {
    ChunkInfo {
        index,
        chunk: ChunkId::HOLE,
        version: 0,
        locked_until: WallTime(0),
        archived: false,
    }
}

#[cfg(test)]
mod tests;
