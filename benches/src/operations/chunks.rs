//! Chunks, as the cluster speaks of them on account of chunkservers.

use mfsha_core::id::ChunkId;
use mfsha_core::namespace::op::Op;

use crate::case::Case;
use crate::stage::Stage;

/// What is timed of them.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("rollback chunk", rollback),
        Case::new("set chunk version", |stage| Op::SetChunkVersion {
            chunk: stage.written_chunk().1,
            version: 2,
        }),
        Case::new("settle chunk", |stage| Op::SettleChunk {
            chunk: stage.written_chunk().1,
            version: 1,
        }),
        Case::new("settle chunk, a cut", |stage| Op::SettleChunk {
            chunk: stage.cut(100).1,
            version: 2,
        }),
        Case::new("unlock chunk", |stage| {
            let inode = stage.file();
            Op::UnlockChunk {
                chunk: stage.world.chunk(inode),
            }
        }),
        Case::new("repair chunk", |stage| repair(stage, Some(1))),
        Case::new("repair chunk, no copy", |stage| repair(stage, None)),
        Case::new("pass chunk ids", |stage| {
            let (_, chunk) = stage.written_chunk();
            Op::PassChunkIds {
                slot: chunk.slot(),
                next: chunk.sequence() + 10,
            }
        }),
        Case::new("pass versions", |stage| Op::PassVersions {
            chunk: stage.written_chunk().1,
            was: 1,
            low: 1,
            high: 4,
        }),
        Case::new("forget passed versions", |stage| {
            let unused = rollback(stage);
            let Op::RollbackChunk { new: chunk, .. } = unused else {
                unreachable!("it was made so");
            };
            stage.world.ok(Op::PassVersions {
                chunk,
                was: 1,
                low: 1,
                high: 4,
            });
            stage.world.ok(unused);
            Op::ForgetPassedVersions { chunk, version: 5 }
        }),
        Case::new("forget chunk", |stage| {
            let unused = rollback(stage);
            let Op::RollbackChunk { new: chunk, .. } = unused else {
                unreachable!("it was made so");
            };
            stage.world.ok(unused);
            Op::ForgetChunk { chunk }
        }),
    ]
}

/// A chunk that could not be made.
fn rollback(stage: &mut Stage) -> Op {
    let inode = stage.file();
    Op::RollbackChunk {
        inode,
        index: 0,
        new: stage.world.chunk(inode),
        old: ChunkId::HOLE,
    }
}

fn repair(stage: &mut Stage, best: Option<u32>) -> Op {
    let (inode, chunk) = stage.written_chunk();
    Op::RepairChunk {
        inode,
        index: 0,
        chunk,
        was: 1,
        best,
    }
}
