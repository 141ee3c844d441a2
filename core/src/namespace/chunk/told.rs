//! What became of a chunk on chunkservers: they have done what they had to, or could not, or say
//! something else of it.

use super::{change, empty_slot, get, modify, notify_changed, refer, slot};
use crate::id::{ChunkId, InodeId};
use crate::namespace::error::FsError;
use crate::namespace::hooks;
use crate::namespace::key::Key;
use crate::namespace::op::{ChunkAction, Reply, Unsettled};
use crate::namespace::passed;
use crate::namespace::record::Chunk;
use crate::namespace::truncate;
use crate::namespace::txn::{Res, Txn};
use crate::time::WallTime;

/// Chunkservers have done what was to be done for this version. Where it was a cut, its truncate is
/// ended: who asked for it may be gone.
///
/// # Errors
/// `NoChunk`; `Invalid` for another version.
pub fn settle(txn: &mut Txn<'_>, chunk: ChunkId, version: u32) -> Res<Reply> {
    let record = get(txn, chunk)?;
    if record.version.value() != version {
        return Err(FsError::Invalid.into());
    }
    let unsettled = record.unsettled.value();
    settled(txn, chunk)?;
    if let Some(Unsettled {
        cut: Some(cut),
        inode,
        index,
        ..
    }) = unsettled
    {
        unlock(txn, chunk)?;
        if slot(txn, inode, index)? == Some(chunk) {
            truncate::cut_is_made(txn, (inode, index), cut.file_length)?;
        }
    }
    Ok(Reply::Done)
}

/// Nothing is left to be told about a chunk, and the one that it was made from need not be kept for
/// it any more, nor locked.
///
/// # Errors
/// `NoChunk`.
pub fn settled(txn: &mut Txn<'_>, chunk: ChunkId) -> Res<()> {
    let Some(unsettled) = get(txn, chunk)?.unsettled.value() else {
        return Ok(());
    };
    change(txn, chunk, |old, stamp| Chunk {
        unsettled: old.unsettled.write(stamp, None),
        ..Chunk::default()
    })?;
    let Some(from) = unsettled.holds() else {
        return Ok(());
    };
    // Who had it locked, if anybody, went on to the copy, and unlocks that. Nobody else could lock
    // it meanwhile: it was shared.
    if get(txn, from)?.locked_until.value() != WallTime(0) {
        unlock(txn, from)?;
    }
    hooks::release_chunk(txn, from)
}

/// The chunkservers could not do what a write asked for: the slot holds `old` again, or nothing.
///
/// # Errors
/// `NoChunk` when the slot does not hold `new`, or `new` is settled, or was not made from `old`.
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
    if old == new {
        return unlock(txn, new);
    }
    let unsettled = get(txn, new)?.unsettled.value();
    match unsettled.map(|it| it.action) {
        Some(ChunkAction::Created) if old == ChunkId::HOLE => {
            // Somebody may share it, and would find the lock of a writer who was told of nothing.
            unlock(txn, new)?;
            empty_slot(txn, ino, index, new)?;
        }
        Some(ChunkAction::Duplicated { from, .. }) if old == from => {
            // The new one gives back what it holds when it goes: together nothing changes.
            refer(txn, old)?;
            txn.set(&Key::ChunkSlot(ino, index), Some(old))?;
            unlock(txn, new)?;
            hooks::release_chunk(txn, new)?;
        }
        _ => return Err(FsError::NoChunk.into()),
    }
    Ok(Reply::Done)
}

/// The version is this one. One that rises is to be told to chunkservers; whatever was to be told
/// before begins from the same copies still.
///
/// # Errors
/// `NoChunk`; `Invalid` for a version that is neither the present nor the next.
pub fn set_version(txn: &mut Txn<'_>, chunk: ChunkId, version: u32) -> Res<Reply> {
    let from_version = get(txn, chunk)?.version.value();
    if version == from_version {
        return Ok(Reply::Done);
    }
    if from_version.checked_add(1) != Some(version) {
        return Err(FsError::Invalid.into());
    }
    let raised = raised(from_version);
    change(txn, chunk, |old, stamp| Chunk {
        version: old.version.write(stamp, version),
        unsettled: old
            .unsettled
            .write(stamp, old.unsettled.value().or(Some(raised))),
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

/// Repair: copies of an older or newer version are what the chunk of a slot holds from now, or it is
/// given up. The version rises in either case above all that are known: a copy that comes back with
/// one of them is an old one.
///
/// # Errors
/// `NoChunk` when the slot does not hold the chunk; `Invalid` for another version than it was
/// judged by; `Locked` while a writer has it; `NoSpace` when no version is left.
pub fn repair(
    txn: &mut Txn<'_>,
    (ino, index): (InodeId, u32),
    (chunk, was): (ChunkId, u32),
    best: Option<u32>,
) -> Res<Reply> {
    if chunk == ChunkId::HOLE || slot(txn, ino, index)? != Some(chunk) {
        return Err(FsError::NoChunk.into());
    }
    let record = get(txn, chunk)?;
    if record.version.value() != was {
        return Err(FsError::Invalid.into());
    }
    if record.locked_until.value() >= txn.now() {
        return Err(FsError::Locked.into());
    }
    match best {
        Some(from_version) => {
            let next = was.max(from_version).checked_add(1);
            let next = next.ok_or(FsError::NoSpace)?;
            settled(txn, chunk)?;
            change(txn, chunk, |old, stamp| Chunk {
                version: old.version.write(stamp, next),
                unsettled: old.unsettled.write(stamp, Some(raised(from_version))),
                ..Chunk::default()
            })?;
        }
        None => empty_slot(txn, ino, index, chunk)?,
    }
    let length = txn.inode(ino)?.length.value();
    modify(txn, ino, length, true)?;
    notify_changed(txn, ino, index, length, false)?;
    Ok(Reply::Done)
}

/// A version that rose from this one, for no slot in particular.
#[must_use]
pub fn raised(from_version: u32) -> Unsettled {
    Unsettled {
        action: ChunkAction::Raised { from_version },
        cut: None,
        inode: InodeId(0),
        index: 0,
    }
}

/// A chunk that no file refers to, and that no other chunk is to be made from.
///
/// # Errors
/// `NoChunk`, `ChunkBusy`.
pub fn get_unused(txn: &Txn<'_>, chunk: ChunkId) -> Res<Chunk> {
    let record = get(txn, chunk)?;
    match record.references.value() {
        0 => Ok(record),
        _ => Err(FsError::ChunkBusy.into()),
    }
}

/// A chunk without a reference was deleted everywhere.
///
/// # Errors
/// `NoChunk`; `ChunkBusy` while a file refers to it, or another chunk is to be made from it.
pub fn forget(txn: &mut Txn<'_>, chunk: ChunkId) -> Res<Reply> {
    get_unused(txn, chunk)?;
    passed::on_forgotten(txn, chunk)?;
    change(txn, chunk, |_, _| Chunk {
        gone: true,
        ..Chunk::default()
    })?;
    Ok(Reply::Done)
}

#[cfg(test)]
mod tests;
