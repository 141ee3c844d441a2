//! The state before the first log entry: the same bytes on every replica.

use super::key::Key;
use super::node::PLAIN_TRASH_HOURS;
use super::op::{ClassMode, NodeKind, StorageClass};
use super::record::{Applied, Class, Inode, Origin, SlotIds, Stats};
use super::stats;
use super::txn::{Moment, Txn};
use crate::crdt::{GCounter, LOG_REPLICA, Lww};
use crate::id::{InodeId, LogIndex, Slot};
use crate::limits;
use crate::store::{StateView, StoreError, WriteBatch};
use crate::time::{Stamp, WallTime};

/// Storage class of the root directory.
const ROOT_CLASS: u8 = 2;

/// Builds the first state: the root directory (mode 0777, owned by root, class 2, a day of trash),
/// the plain goals as classes 1 to 9, and the ids that are taken from the beginning.
///
/// # Errors
/// [`StoreError`].
pub fn genesis(view: &dyn StateView) -> Result<WriteBatch, StoreError> {
    let moment = Moment {
        index: LogIndex(0),
        stamp: Stamp::MIN,
        now: WallTime(0),
    };
    let mut txn = Txn::new(view, moment);
    txn.join(&Key::Inode(InodeId::ROOT), &root())?;
    txn.join(
        &Key::Stats(InodeId::ROOT),
        &Stats::default().add(&stats::DIRECTORY),
    )?;
    for goal in 1..=limits::GOAL_MAX {
        let class: Class = Lww::at(Stamp::MIN, Some(plain_goal(goal)));
        txn.join(&Key::Class(goal), &class)?;
    }
    // Inode 0 means none, inode 1 is the root; chunk 0 is a hole.
    let one = GCounter::default().add(LOG_REPLICA, 1);
    let zero_ids = SlotIds {
        inodes: one.clone(),
        chunks: one.clone(),
    };
    txn.join(&Key::SlotIds(Slot(0)), &zero_ids)?;
    let root_ids = SlotIds {
        inodes: one,
        chunks: GCounter::default(),
    };
    txn.join(&Key::SlotIds(InodeId::ROOT.slot()), &root_ids)?;
    txn.join(&Key::Applied, &Applied::default())?;
    Ok(txn.into_batch())
}

fn root() -> Inode {
    let at = Stamp::MIN;
    Inode {
        origin: Some(Origin {
            kind: NodeKind::Directory,
            rdev: 0,
            target: Vec::new(),
        }),
        mode: Lww::at(at, 0o777),
        class: Lww::at(at, ROOT_CLASS),
        trash_hours: Lww::at(at, PLAIN_TRASH_HOURS),
        ..Inode::default()
    }
}

/// A class of so many copies on any servers, named by their number.
#[must_use]
pub fn plain_goal(goal: u8) -> StorageClass {
    let copies = vec![[0; 4]; usize::from(goal)];
    StorageClass {
        name: goal.to_string().into_bytes(),
        admin_only: false,
        mode: ClassMode::Std,
        archive_delay_days: 0,
        create: copies.clone(),
        keep: copies.clone(),
        archive: copies,
    }
}
