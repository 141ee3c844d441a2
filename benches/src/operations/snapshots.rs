//! Snapshots, and their removal.

use mfsha_core::id::InodeId;
use mfsha_core::namespace::op::{Op, SnapshotFlags};

use crate::case::Case;
use crate::stage::Stage;

/// What is timed of them.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("snapshot of a file", |stage| {
            let src = stage.written();
            snapshot(stage, src)
        }),
        Case::new("snapshot of a directory", |stage| {
            let src = stage.dir();
            snapshot(stage, src)
        }),
        Case::new("remove snapshot of a file", |stage| {
            let src = stage.written();
            remove(stage, src)
        }),
        Case::new("remove snapshot of a directory", |stage| {
            let src = stage.dir();
            remove(stage, src)
        }),
    ]
}

/// A snapshot in the root, so that directories stay as large as they are.
fn snapshot(stage: &mut Stage, src: InodeId) -> Op {
    Op::Snapshot {
        caller: stage.world.root(),
        src,
        dst_parent: InodeId::ROOT,
        name: stage.world.name(),
        flags: SnapshotFlags::default(),
        umask: 0,
    }
}

/// Removes a snapshot that was just taken.
fn remove(stage: &mut Stage, src: InodeId) -> Op {
    let taken = snapshot(stage, src);
    let Op::Snapshot { name, .. } = &taken else {
        unreachable!("it was made so");
    };
    let name = name.clone();
    stage.world.ok(taken);
    Op::RemoveSnapshot {
        caller: stage.world.root(),
        parent: InodeId::ROOT,
        name,
        force: false,
    }
}
