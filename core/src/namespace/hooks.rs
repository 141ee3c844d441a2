//! What goes with a node when it ends: chunks, attributes, locks.

use std::ops::ControlFlow;

use super::key::Key;
use super::op::{Acl, AclKind, Notice};
use super::record::{AclRecord, Chunk, ChunkSlot, FlockTable, PosixTable, Xattr};
use super::txn::{Res, Txn};
use crate::crdt::LOG_REPLICA;
use crate::id::{ChunkId, InodeId};

/// Gives back everything that belongs to a node which is about to end.
///
/// # Errors
/// Only that the state cannot be read.
pub fn release_node(txn: &mut Txn<'_>, ino: InodeId) -> Res<()> {
    release_chunks(txn, ino, 0)?;
    let mut names = Vec::new();
    txn.scan::<Xattr>(&Key::Xattr(ino, Vec::new()).prefix(), None, |key, _| {
        names.push(key);
        Ok(ControlFlow::Continue(()))
    })?;
    for key in names {
        txn.set::<Vec<u8>>(&key, None)?;
    }
    let mut acls = Vec::new();
    let prefix = Key::Acl(ino, AclKind::Access).prefix();
    txn.scan::<AclRecord>(&prefix, None, |key, _| {
        acls.push(key);
        Ok(ControlFlow::Continue(()))
    })?;
    for key in acls {
        txn.set::<Acl>(&key, None)?;
    }
    txn.set::<FlockTable>(&Key::Flocks(ino), None)?;
    txn.set::<PosixTable>(&Key::PosixLocks(ino), None)?;
    Ok(())
}

/// Empties the chunk list of a file from index `first` on. Counts nothing: the caller adds the
/// difference to the sums.
///
/// # Errors
/// Only that the state cannot be read.
pub fn release_chunks(txn: &mut Txn<'_>, ino: InodeId, first: u32) -> Res<()> {
    let prefix = Key::ChunkSlot(ino, 0).prefix();
    let after = first
        .checked_sub(1)
        .map(|index| Key::ChunkSlot(ino, index).bytes());
    let mut slots = Vec::new();
    txn.scan::<ChunkSlot>(&prefix, after.as_deref(), |key, slot| {
        slots.push((key, slot.get().copied().flatten()));
        Ok(ControlFlow::Continue(()))
    })?;
    for (key, chunk) in slots {
        txn.set::<ChunkId>(&key, None)?;
        if let Some(chunk) = chunk {
            release_chunk(txn, chunk)?;
        }
    }
    Ok(())
}

/// One reference to a chunk less; the last one tells that its copies can go. Then it is not to be
/// made any more either, and the chunk that was kept for that has one less, too.
///
/// # Errors
/// Only that the state cannot be read.
pub fn release_chunk(txn: &mut Txn<'_>, chunk: ChunkId) -> Res<()> {
    // Copies of copies that nobody made yet can be a long chain.
    let mut next = Some(chunk);
    while let Some(chunk) = next.take() {
        let key = Key::Chunk(chunk);
        let Some(old) = txn.get::<Chunk>(&key)? else {
            return Ok(());
        };
        let mut delta = Chunk {
            references: old.references.unlink(LOG_REPLICA),
            ..Chunk::default()
        };
        let is_last = old.references.value() <= 1;
        if is_last {
            next = old.unsettled.value().and_then(|it| it.holds());
        }
        if next.is_some() {
            delta.unsettled = old.unsettled.write(txn.stamp(), None);
        }
        let now = txn.join(&key, &delta)?;
        if is_last {
            txn.notify(Notice::ChunkUnused {
                chunk,
                version: now.version.value(),
            });
        }
    }
    Ok(())
}
