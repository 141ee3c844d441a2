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
    let kind = key(InodeId(0)).prefix()[2];
    txn.slots_with(0, kind, kind, |slot| {
        let prefix = key(InodeId(u32::from(slot.0))).prefix();
        let mut flow = ControlFlow::Continue(());
        txn.scan::<R>(&prefix, None, |key, record| {
            if let Some(ino) = inode_of(&key) {
                flow = visit(ino, record)?;
            }
            Ok(flow)
        })?;
        Ok(flow)
    })
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

#[cfg(test)]
mod tests {
    use super::super::testing::{Bed, ROOT, link, root, symlink};
    use super::*;

    #[test]
    fn a_walk_goes_down_in_order_of_name_and_takes_every_name() {
        let mut bed = Bed::new();
        let top = bed.dir(&root(), ROOT, "top");
        let second = bed.file(&root(), top, "b");
        let sub = bed.dir(&root(), top, "c");
        let first = bed.node(symlink(&root(), top, "a", b"x"));
        bed.node(link(&root(), second, sub, "again"));
        let walked = |bed: &mut Bed, recursive| {
            bed.by_hand(|txn| {
                let (mut walk, mut seen) = (Walk::new(top, recursive), Vec::new());
                while let Some((ino, _)) = walk.next(txn)? {
                    seen.push(ino);
                }
                Ok(seen)
            })
        };
        assert_eq!(walked(&mut bed, true), [top, first, second, sub, second]);
        assert_eq!(walked(&mut bed, false), [top]);
        let few = bed.by_hand(|txn| Ok(children(txn, top, 2).is_err()));
        assert!(few, "three entries are more than two");
    }

    #[test]
    fn every_record_of_a_kind_is_visited_once_in_all_slots() {
        let mut bed = Bed::new();
        let mut made = vec![ROOT];
        for name in ["a", "b", "c", "d"] {
            let dir = bed.dir(&root(), ROOT, name);
            made.extend([
                dir,
                bed.file(&root(), dir, "f"),
                bed.file(&root(), dir, "g"),
            ]);
        }
        made.sort_by_key(|ino| (ino.slot(), *ino));
        let visited = |bed: &mut Bed, most: usize| {
            bed.by_hand(|txn| {
                let mut seen = Vec::new();
                every::<Inode>(txn, Key::Inode, |ino, _| {
                    seen.push(ino);
                    Ok(if seen.len() == most {
                        ControlFlow::Break(())
                    } else {
                        ControlFlow::Continue(())
                    })
                })?;
                Ok(seen)
            })
        };
        assert_eq!(visited(&mut bed, usize::MAX), made);
        assert_eq!(visited(&mut bed, 5), made[..5]);
    }
}
