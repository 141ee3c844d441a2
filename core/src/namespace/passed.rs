//! Ids and versions that chunkservers have copies of and that this state never gave out: it is older
//! than they are, for example from a backup. They are passed over, and remembered for ever: what a
//! copy under such a number holds is not what this state would put there.

use super::chunk;
use super::error::FsError;
use super::key::Key;
use super::op::{ChunkAction, Reply};
use super::record::{Chunk, Ranges, SlotIds};
use super::txn::{Res, Txn};
use crate::crdt::LOG_REPLICA;
use crate::id::{ChunkId, Slot};
use crate::limits;

/// Ids of a slot below `next` that were not given out yet never will be.
///
/// # Errors
/// `Invalid` for no slot; `NoSpace` when ids end before that.
pub fn ids(txn: &mut Txn<'_>, slot: Slot, next: u64) -> Res<Reply> {
    if slot.0 >= limits::SLOT_COUNT {
        return Err(FsError::Invalid.into());
    }
    let key = Key::SlotIds(slot);
    let ids: SlotIds = txn.get(&key)?.unwrap_or_default();
    let given = ids.chunks.value();
    let Some(last) = next.checked_sub(1).filter(|last| *last >= given) else {
        return Ok(Reply::Done);
    };
    if ChunkId::from_parts(last, slot).is_none() || next > txn.ceilings().chunks_per_slot {
        return Err(FsError::NoSpace.into());
    }
    let taken = SlotIds {
        chunks: ids.chunks.add(LOG_REPLICA, next - given),
        ..SlotIds::default()
    };
    txn.join(&key, &taken)?;
    note_ids(txn, slot, given, last)?;
    Ok(Reply::Done)
}

/// Copies of a chunk in versions from `low` to `high`, none of which this state gave to anybody: its
/// version rises above them. Of one that is not settled its present version may be among them.
///
/// # Errors
/// `NoChunk`; `Invalid` for another version than `was`, or versions below it; `NoSpace` when no
/// version is left, or they are too scattered.
pub fn versions(
    txn: &mut Txn<'_>,
    chunk: ChunkId,
    was: u32,
    (low, high): (u32, u32),
) -> Res<Reply> {
    let record = chunk::get(txn, chunk)?;
    let unsettled = record.unsettled.value();
    let lowest = match unsettled {
        Some(_) => was,
        None => was.saturating_add(1),
    };
    if record.version.value() != was || low < lowest || high < low {
        return Err(FsError::Invalid.into());
    }
    if high >= limits::CHUNK_VERSION_MAX {
        return Err(FsError::NoSpace.into());
    }
    let mut passed = versions_of(txn, chunk)?;
    passed.insert(low.into(), high.into());
    if passed.as_slice().len() > limits::PASSED_VERSIONS_MAX {
        // What lies between may be of this state: nobody may need it any more.
        let needed = match unsettled.map(|it| it.action) {
            Some(ChunkAction::Raised { from_version }) => from_version,
            Some(ChunkAction::Created | ChunkAction::Duplicated { .. }) => 0,
            Some(ChunkAction::Kept) | None => was,
        };
        if passed.second_end() >= Some(needed.into()) {
            return Err(FsError::NoSpace.into());
        }
        passed.close_lowest_gap();
    }
    txn.set(&Key::PassedVersions(chunk), Some(passed))?;
    let raised = chunk::raised(was);
    chunk::change(txn, chunk, |old, stamp| Chunk {
        version: old.version.write(stamp, high + 1),
        unsettled: old.unsettled.write(stamp, unsettled.or(Some(raised))),
        ..Chunk::default()
    })?;
    Ok(Reply::Done)
}

/// No copy of a chunk that may be forgotten is of a version that was passed over.
///
/// # Errors
/// `NoChunk`, `ChunkBusy` as when it is forgotten; `Invalid` for another version.
pub fn forget_versions(txn: &mut Txn<'_>, chunk: ChunkId, version: u32) -> Res<Reply> {
    let record = chunk::get_unused(txn, chunk)?;
    if record.version.value() != version {
        return Err(FsError::Invalid.into());
    }
    txn.set::<Ranges>(&Key::PassedVersions(chunk), None)?;
    Ok(Reply::Done)
}

/// A chunk is forgotten: copies of versions that were passed over may be there still, so its id is
/// one of those now.
///
/// # Errors
/// Only that the state cannot be read.
pub fn on_forgotten(txn: &mut Txn<'_>, chunk: ChunkId) -> Res<()> {
    if versions_of(txn, chunk)? == Ranges::default() {
        return Ok(());
    }
    txn.set::<Ranges>(&Key::PassedVersions(chunk), None)?;
    let number = chunk.sequence();
    note_ids(txn, chunk.slot(), number, number)
}

/// Versions of a chunk that were passed over.
///
/// # Errors
/// Only that the state cannot be read.
pub fn versions_of(txn: &Txn<'_>, chunk: ChunkId) -> Res<Ranges> {
    let passed: Option<Ranges> = txn.value(&Key::PassedVersions(chunk))?;
    Ok(passed.unwrap_or_default())
}

/// Whether an id was passed over.
///
/// # Errors
/// Only that the state cannot be read.
pub fn is_id(txn: &Txn<'_>, chunk: ChunkId) -> Res<bool> {
    let passed: Option<Ranges> = txn.value(&Key::PassedIds(chunk.slot()))?;
    Ok(passed.is_some_and(|passed| passed.contains(chunk.sequence())))
}

fn note_ids(txn: &mut Txn<'_>, slot: Slot, low: u64, high: u64) -> Res<()> {
    let key = Key::PassedIds(slot);
    let mut passed: Ranges = txn.value(&key)?.unwrap_or_default();
    passed.insert(low, high);
    if passed.as_slice().len() > limits::PASSED_IDS_MAX {
        // Copies of what was deleted and lies between stay for ever, and nothing worse.
        passed.close_lowest_gap();
    }
    txn.set(&key, Some(passed))?;
    Ok(())
}

#[cfg(test)]
mod tests;
