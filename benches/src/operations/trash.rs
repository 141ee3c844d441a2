//! Files in the trash.

use mfsha_core::namespace::op::{Caller, Op};
use mfsha_core::time::WallTime;

use crate::case::Case;
use crate::stage::Stage;
use crate::world::START;

/// Files that end in one sweep.
const SWEPT: u32 = 100;
/// When what went to the trash at the start is past its time, which is a day.
const LATER: WallTime = WallTime(START.0 + 25 * 3_600);

/// What is timed of them.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("set trash path", |stage| Op::SetTrashPath {
            caller: caller(stage),
            inode: stage.trashed(),
            path: b"somewhere/else".to_vec(),
        }),
        Case::new("undelete", |stage| Op::Undelete {
            caller: caller(stage),
            inode: stage.trashed(),
        }),
        Case::new("purge", |stage| Op::PurgeTrash {
            caller: caller(stage),
            inode: stage.trashed(),
        }),
        Case::new("sweep, nothing to do", |_| sweep()),
        Case::new("sweep, 100 files end", |stage| {
            stage.world.now = START;
            for _ in 0..SWEPT {
                stage.trashed();
            }
            stage.world.now = LATER;
            sweep()
        }),
    ]
}

/// Root in the session that may work on the trash.
fn caller(stage: &Stage) -> Caller {
    Caller {
        session: stage.meta,
        ..stage.world.root()
    }
}

fn sweep() -> Op {
    Op::Sweep {
        after: None,
        limit: SWEPT,
    }
}
