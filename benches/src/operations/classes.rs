//! Storage classes. Two of the changes look at every file there is.

use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{ClassChange, ClassMode, LabelExpr, Op, StorageClass};

use crate::case::Case;
use crate::stage::Stage;

/// A class that is there.
const OLD: &[u8] = b"old";
/// A class that is not.
const NEW: &[u8] = b"new";

/// What is timed of them.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("create class", |stage| {
            absent(stage, NEW);
            create(stage, NEW)
        }),
        Case::new("change class", |stage| {
            let mode = Some(ClassMode::Strict);
            let change = ClassChange {
                mode,
                ..ClassChange::default()
            };
            change_old(stage, change)
        }),
        Case::new("change class, another number of copies", |stage| {
            let keep = Some(copies(3 + stage.turn() % 2));
            let change = ClassChange {
                keep,
                ..ClassChange::default()
            };
            change_old(stage, change)
        }),
        Case::new("delete class", |stage| {
            present(stage, OLD);
            Op::DeleteClass {
                session: stage.world.session,
                name: OLD.to_vec(),
            }
        }),
        Case::new("duplicate class", |stage| {
            present(stage, OLD);
            absent(stage, NEW);
            Op::DuplicateClass {
                session: stage.world.session,
                old: OLD.to_vec(),
                new: NEW.to_vec(),
            }
        }),
        Case::new("rename class", |stage| {
            present(stage, OLD);
            absent(stage, NEW);
            Op::RenameClass {
                session: stage.world.session,
                old: OLD.to_vec(),
                new: NEW.to_vec(),
            }
        }),
    ]
}

fn copies(count: usize) -> Vec<LabelExpr> {
    vec![[0; 4]; count]
}

fn create(stage: &Stage, name: &[u8]) -> Op {
    Op::CreateClass {
        session: stage.world.session,
        class: StorageClass {
            name: name.to_vec(),
            admin_only: false,
            mode: ClassMode::Std,
            archive_delay_days: 0,
            create: copies(2),
            keep: copies(2),
            archive: copies(2),
        },
    }
}

fn change_old(stage: &mut Stage, change: ClassChange) -> Op {
    present(stage, OLD);
    Op::ChangeClass {
        session: stage.world.session,
        name: OLD.to_vec(),
        change,
    }
}

fn present(stage: &mut Stage, name: &[u8]) {
    let op = create(stage, name);
    let result = stage.world.apply(op).result;
    assert!(matches!(result, Ok(_) | Err(FsError::ClassExists)));
}

fn absent(stage: &mut Stage, name: &[u8]) {
    let result = stage.world.apply(Op::DeleteClass {
        session: stage.world.session,
        name: name.to_vec(),
    });
    assert!(matches!(result.result, Ok(_) | Err(FsError::NoClass)));
}
