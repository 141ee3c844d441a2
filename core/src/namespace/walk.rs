//! Ways through many nodes: a subtree, or every record of a kind.
//!
//! Walks are bounded, carry their own stack, and go in order of name or of key, so that every
//! replica takes the same way.

use std::ops::ControlFlow;

use super::error::FsError;
use super::key::Key;
use super::op::{Name, NodeKind};
use super::path;
use super::record::{Edge, Inode, Record, Target};
use super::txn::{Res, Txn};
use crate::id::InodeId;
use crate::limits;

/// A walk through a node and, if it is a directory and that is wanted, all below it. A node with
/// several names below the top comes once for each.
pub struct Walk {
    stack: Vec<InodeId>,
    recursive: bool,
    visited: usize,
}

impl Walk {
    /// A walk that begins at `top`.
    #[must_use]
    pub fn new(top: InodeId, recursive: bool) -> Self {
        Self {
            stack: vec![top],
            recursive,
            visited: 0,
        }
    }

    /// The next node: a directory before what is in it, entries in order of name. Names must not
    /// change while the walk is under way; attributes may.
    ///
    /// # Errors
    /// `Invalid` when there is more than [`limits::RECURSION_MAX`] to visit.
    pub fn next(&mut self, txn: &Txn<'_>) -> Res<Option<(InodeId, Inode)>> {
        let Some(ino) = self.stack.pop() else {
            return Ok(None);
        };
        self.visited += 1;
        let node = path::known(txn, ino)?;
        if self.recursive && node.kind() == NodeKind::Directory {
            let room = limits::RECURSION_MAX.saturating_sub(self.visited + self.stack.len());
            let entries = children(txn, ino, room)?;
            let inodes = entries.into_iter().rev().map(|(_, target)| target.inode);
            self.stack.extend(inodes);
        }
        Ok(Some((ino, node)))
    }
}

/// The entries of a directory in order of name.
///
/// # Errors
/// `Invalid` when there are more than `max`.
pub fn children(txn: &Txn<'_>, dir: InodeId, max: usize) -> Res<Vec<(Name, Target)>> {
    let mut out = Vec::new();
    txn.scan::<Edge>(&Key::Edge(dir, Vec::new()).prefix(), None, |key, edge| {
        if let (Key::Edge(_, name), Some(target)) = (key, edge.latest()) {
            if out.len() == max {
                return Err(FsError::Invalid.into());
            }
            out.push((name, *target));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(out)
}

/// Visits every record of one kind, in order of slot and inode. `key` makes the kind's key of an
/// inode.
///
/// # Errors
/// Whatever `visit` fails with.
pub fn every<R: Record>(
    txn: &Txn<'_>,
    key: impl Fn(InodeId) -> Key,
    mut visit: impl FnMut(InodeId, R) -> Res<ControlFlow<()>>,
) -> Res<()> {
    let mut slot = 0;
    while slot < limits::SLOT_COUNT {
        let prefix = key(InodeId(u32::from(slot))).prefix();
        // Most slots of a small tree are empty: go to the next one that is not.
        let Some(next) = txn.next_key(&prefix)? else {
            return Ok(());
        };
        if !next.starts_with(&prefix) {
            let there = u16::from_be_bytes([next[0], next[1]]);
            slot = there.max(slot + u16::from(there == slot));
            continue;
        }
        let mut stopped = false;
        txn.scan::<R>(&prefix, None, |key, record| {
            let ino = inode_of(&key);
            let flow = ino.map_or(Ok(ControlFlow::Continue(())), |ino| visit(ino, record))?;
            stopped = flow.is_break();
            Ok(flow)
        })?;
        if stopped {
            return Ok(());
        }
        slot += 1;
    }
    Ok(())
}

/// The inode of a key that has no other part.
fn inode_of(key: &Key) -> Option<InodeId> {
    match key {
        Key::Inode(ino)
        | Key::Stats(ino)
        | Key::Quota(ino)
        | Key::Flocks(ino)
        | Key::PosixLocks(ino)
        | Key::Trashed(ino)
        | Key::Sustained(ino) => Some(*ino),
        _ => None,
    }
}
