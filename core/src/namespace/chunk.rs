//! Chunks of files: writing and reading.
//!
//! Where copies lie is not known here; an outcome says what chunkservers have to do, the chunk
//! notes that they have not all been told, and a later command says what became of it ([`told`]).

mod told;

use std::ops::ControlFlow;

use super::error::FsError;
use super::hooks;
use super::key::Key;
use super::node;
use super::op::{
    Answer, Caller, ChunkAction, ChunkInfo, Cut, DirStats, Disable, NodeKind, Notice, Reply,
    Unsettled,
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

pub use told::{
    forget, get_unused, raised, repair, rollback, set_version, settle, settled, unlock,
};

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

/// What a chunk is made ready for.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    /// To be written.
    Write {
        /// The writer continues under its own lock.
        go_on: bool,
        /// The version must rise.
        raise: bool,
    },
    /// To be cut.
    Cut(Cut),
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
        Some(chunk) => {
            let purpose = Purpose::Write {
                go_on: mode.go_on,
                raise: mode.chunk_moved,
            };
            prepare(txn, (ino, index), chunk, purpose)?
        }
        None => {
            growth = stats::plus(&growth, &stats::of_chunk(length, index, goal));
            create(txn, (ino, index), ChunkAction::Created, None)?
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
            length: i128::from(length - reached),
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

/// READ_CHUNK: the chunk, or a hole. One that is being cut is given out, unsettled, so that who
/// reads sees to it that the cut is made: its client may be gone.
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
    let cut = info.unsettled.is_some_and(|it| it.cut.is_some());
    if !cut && info.is_locked(txn.now()) {
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

/// One more file shares a chunk.
///
/// # Errors
/// `NoChunk`; `Locked` while it is being cut: the other file would be cut with it.
pub fn share(txn: &mut Txn<'_>, chunk: ChunkId) -> Res<()> {
    if is_being_cut(&get(txn, chunk)?) {
        return Err(FsError::Locked.into());
    }
    refer(txn, chunk)
}

/// Makes the chunk of a slot ready for a change: a shared one is copied, and kept until the copy is
/// made; one's own gets the next version where it must. One that is unsettled need not rise to be
/// written, for nobody uses its version yet; a cut has a version of its own all the same, so that
/// copies that have it were cut. Does not lock it, and checks no quota.
///
/// # Errors
/// `Locked` while it is being cut, and when somebody else writes and this does not go on; `NoSpace`
/// when no id or version is left.
pub fn prepare(
    txn: &mut Txn<'_>,
    (ino, index): (InodeId, u32),
    chunk: ChunkId,
    purpose: Purpose,
) -> Res<Ready> {
    let old = get(txn, chunk)?;
    if is_being_cut(&old) {
        return Err(FsError::Locked.into());
    }
    let (cut, go_on, raise) = match purpose {
        Purpose::Write { go_on, raise } => (None, go_on, raise),
        Purpose::Cut(cut) => (Some(cut), false, true),
    };
    // A shared chunk, too: who has it locked goes on writing the original, which would be nobody's
    // but the snapshot's then, and its copies are made while they change.
    if !go_on && old.locked_until.value() >= txn.now() {
        return Err(FsError::Locked.into());
    }
    let from_version = old.version.value();
    if old.references.value() > 1 {
        let from = chunk;
        let action = ChunkAction::Duplicated { from, from_version };
        return create(txn, (ino, index), action, cut);
    }
    let present = old.unsettled.value().map(|it| it.action);
    let (version, action) = if raise && (present.is_none() || cut.is_some()) {
        let next = from_version.checked_add(1).ok_or(FsError::NoSpace)?;
        (next, ChunkAction::Raised { from_version })
    } else {
        (from_version, ChunkAction::Kept)
    };
    let made = (action != ChunkAction::Kept).then_some(action);
    // Copies that were good before are still what it begins from.
    let unsettled = present.or(made).map(|action| Unsettled {
        action,
        cut,
        inode: ino,
        index,
    });
    change(txn, chunk, |old, stamp| Chunk {
        version: old.version.write(stamp, version),
        archived: old.archived.write(stamp, false),
        unsettled: old.unsettled.write(stamp, unsettled),
        ..Chunk::default()
    })?;
    Ok(Ready {
        chunk,
        version,
        action,
    })
}

/// Whether a truncate waits for chunkservers to cut the chunk. Such a chunk belongs to one slot, and
/// nothing else is done with it.
#[must_use]
pub fn is_being_cut(chunk: &Chunk) -> bool {
    chunk.unsettled.value().is_some_and(|it| it.cut.is_some())
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

/// A new chunk for a slot, which is its one reference.
fn create(
    txn: &mut Txn<'_>,
    (ino, index): (InodeId, u32),
    action: ChunkAction,
    cut: Option<Cut>,
) -> Res<Ready> {
    let key = Key::SlotIds(ino.slot());
    let ids: SlotIds = txn.get(&key)?.unwrap_or_default();
    let given = ids.chunks.value();
    let chunk = ChunkId::from_parts(given, ino.slot())
        .filter(|_| given < txn.ceilings().chunks_per_slot)
        .ok_or(FsError::NoSpace)?;
    let taken = SlotIds {
        chunks: ids.chunks.add(LOG_REPLICA, 1),
        ..SlotIds::default()
    };
    txn.join(&key, &taken)?;
    let (stamp, version) = (txn.stamp(), 1);
    let unsettled = Unsettled {
        action,
        cut,
        inode: ino,
        index,
    };
    let delta = Chunk {
        version: Lww::at(stamp, version),
        locked_until: Lww::at(stamp, WallTime(0)),
        archived: Lww::at(stamp, false),
        unsettled: Lww::at(stamp, Some(unsettled)),
        references: Chunk::default().references.link(LOG_REPLICA),
        gone: false,
    };
    txn.join(&Key::Chunk(chunk), &delta)?;
    txn.set(&Key::ChunkSlot(ino, index), Some(chunk))?;
    Ok(Ready {
        chunk,
        version,
        action,
    })
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
fn whole_chunk(goal: i128) -> DirStats {
    let size = i128::from(limits::CHUNK_BYTES + limits::CHUNK_HEADER_BYTES);
    DirStats {
        size,
        real_size: size.saturating_mul(goal),
        ..DirStats::default()
    }
}

fn info(txn: &Txn<'_>, index: u32, chunk: ChunkId) -> Res<ChunkInfo> {
    Ok(told_of(index, chunk, &get(txn, chunk)?))
}

/// A chunk in a slot, as it is told.
#[must_use]
pub fn told_of(index: u32, chunk: ChunkId, record: &Chunk) -> ChunkInfo {
    ChunkInfo {
        index,
        chunk,
        version: record.version.value(),
        locked_until: record.locked_until.value(),
        archived: record.archived.value(),
        unsettled: record.unsettled.value(),
        references: record.references.value(),
    }
}

fn hole(index: u32) -> ChunkInfo {
    ChunkInfo {
        index,
        chunk: ChunkId::HOLE,
        version: 0,
        locked_until: WallTime(0),
        archived: false,
        unsettled: None,
        references: 0,
    }
}

#[cfg(test)]
mod tests;
