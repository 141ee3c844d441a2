//! Values that are set for a node, or for all below it.

use mfsha_core::namespace::op::{ClassChange, Op, QuotaLimits, SetMode};

use crate::case::Case;
use crate::stage::Stage;
use crate::world::START;

/// What is timed of them.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("set trash time", |stage| {
            let inode = stage.file();
            stage.set_trash_time(inode, 7_200, false)
        }),
        Case::new("set trash time below a directory", |stage| {
            let inode = stage.dir();
            // Never what the directory has already: that would be no change.
            let hours = 100 + stage.turn() % 1_000;
            stage.set_trash_time(inode, hours as u32 * 3_600, true)
        }),
        Case::new("set class", |stage| Op::SetSclass {
            caller: stage.world.root(),
            inode: stage.written(),
            class: 3,
            only: None,
            mode: SetMode::Set,
            recursive: false,
        }),
        Case::new("set eattr", |stage| Op::SetEattr {
            caller: stage.world.root(),
            inode: stage.file(),
            eattr: 2,
            mode: SetMode::Set,
            recursive: false,
        }),
        Case::new("set archived", |stage| Op::SetArchived {
            caller: stage.world.root(),
            inode: stage.written(),
            archived: true,
        }),
        Case::new("archive aged", archive_aged),
        Case::new("set quota", |stage| Op::SetQuota {
            caller: stage.world.root(),
            inode: stage.dir(),
            limits: Some((QuotaLimits::default(), QuotaLimits::default(), 60)),
        }),
    ]
}

/// A file whose class archives after a day, a day and a second later.
fn archive_aged(stage: &mut Stage) -> Op {
    const GOAL: u8 = 8;
    stage.world.now = START;
    let change = ClassChange {
        archive_delay_days: Some(1),
        force: true,
        ..ClassChange::default()
    };
    let (session, name) = (stage.world.session, GOAL.to_string().into_bytes());
    stage.world.ok(Op::ChangeClass {
        session,
        name,
        change,
    });
    let inode = stage.written();
    let caller = stage.world.root();
    stage.world.ok(Op::SetSclass {
        caller,
        inode,
        class: GOAL,
        only: None,
        mode: SetMode::Set,
        recursive: false,
    });
    stage.world.now.0 += 86_401;
    Op::ArchiveAged {
        inode,
        from: 0,
        to: u32::MAX,
    }
}
