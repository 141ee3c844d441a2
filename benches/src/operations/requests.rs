//! Requests that are remembered, come again, or are refused: the same operations otherwise.

use mfsha_core::namespace::error::FsError;

use crate::case::Case;

/// What is timed of them.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("create, under a number", |stage| {
            let dir = stage.dir();
            stage.world.create(dir)
        })
        .numbered(),
        Case::new("create, repeated", |stage| {
            let dir = stage.dir();
            stage.world.create(dir)
        })
        .repeated(),
        Case::new("create, refused: the name is taken", |stage| {
            let dir = stage.dir();
            let op = stage.world.create(dir);
            stage.world.ok(op.clone());
            op
        })
        .refused(FsError::Exist),
        Case::new("create, refused and remembered", |stage| {
            let dir = stage.dir();
            let op = stage.world.create(dir);
            stage.world.ok(op.clone());
            op
        })
        .numbered()
        .refused(FsError::Exist),
        Case::new("unlink, refused: no such name", |stage| {
            let (parent, name) = (stage.dir(), stage.world.name());
            stage.unlink(parent, name)
        })
        .refused(FsError::NoEnt),
    ]
}
