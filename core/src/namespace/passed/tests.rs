use super::super::op::{Op, Unsettled};
use super::super::testing::{Bed, ROOT, root};
use super::*;
use crate::namespace::KnownChunk;

/// A tree with a chunk that is settled, at version 1.
fn bed() -> (Bed, ChunkId) {
    let mut bed = Bed::new();
    let file = bed.file(&root(), ROOT, "file");
    let chunk = made(&mut bed, file);
    bed.ok(Op::SettleChunk { chunk, version: 1 });
    (bed, chunk)
}

fn made(bed: &mut Bed, inode: crate::id::InodeId) -> ChunkId {
    match bed.ok(Op::WriteChunk {
        caller: root(),
        inode,
        index: 0,
        go_on: false,
        chunk_moved: false,
        may_touch_times: false,
    }) {
        Reply::Chunk { chunk, .. } => chunk,
        other => panic!("{other:?}"),
    }
}

fn pass(chunk: ChunkId, was: u32, low: u32, high: u32) -> Op {
    Op::PassVersions {
        chunk,
        was,
        low,
        high,
    }
}

#[test]
fn ids_that_are_passed_over_are_given_to_no_chunk_and_count_as_foreign() {
    let (mut bed, chunk) = bed();
    let (slot, taken) = (chunk.slot(), chunk.sequence() + 1);
    let id = |number| ChunkId::from_parts(number, slot).expect("a small number");
    let next = taken + 3;
    bed.ok(Op::PassChunkIds { slot, next });
    assert_eq!(bed.tree.chunk_ids_taken(slot), Ok(next));
    for number in [taken, taken + 2, next, next + 9] {
        assert_eq!(bed.tree.known(id(number)), Ok(KnownChunk::Foreign));
    }
    // What was given out already changes nothing.
    let before = bed.tree.dump().unwrap();
    bed.ok(Op::PassChunkIds { slot, next: 0 });
    bed.ok(Op::PassChunkIds { slot, next });
    let mut after = bed.tree.dump().unwrap();
    after.version = before.version;
    assert_eq!(before.difference(&after), None);
    let file = bed.file(&root(), ROOT, "other");
    assert_eq!(made(&mut bed, file), id(next));
    let invalid = Op::PassChunkIds {
        slot: Slot(limits::SLOT_COUNT),
        next,
    };
    let too_many = Op::PassChunkIds {
        slot,
        next: (1 << 42) + 1,
    };
    bed.refused(vec![
        (FsError::Invalid, invalid),
        (FsError::NoSpace, too_many),
    ]);
    bed.ok(Op::PassChunkIds {
        slot,
        next: 1 << 42,
    });
}

#[test]
fn a_version_rises_above_those_that_are_passed_over_and_is_unsettled() {
    let (mut bed, chunk) = bed();
    bed.refused(vec![
        (FsError::Invalid, pass(chunk, 2, 3, 3)),
        (FsError::Invalid, pass(chunk, 1, 1, 3)),
        (FsError::Invalid, pass(chunk, 1, 3, 2)),
        (FsError::NoChunk, pass(ChunkId(9 << 14), 1, 2, 3)),
        (
            FsError::NoSpace,
            pass(chunk, 1, 2, limits::CHUNK_VERSION_MAX),
        ),
    ]);
    bed.ok(pass(chunk, 1, 4, 6));
    let info = bed.tree.chunk(chunk).unwrap().unwrap();
    let action = info.unsettled.map(|it: Unsettled| it.action);
    let from = ChunkAction::Raised { from_version: 1 };
    assert_eq!((info.version, action), (7, Some(from)));
    // Its version may be one of them: nobody was told of it.
    bed.ok(pass(chunk, 7, 7, 7));
    let passed = bed.tree.passed_versions(chunk).unwrap();
    assert_eq!(passed.as_slice(), [(4, 7)]);
    let info = bed.tree.chunk(chunk).unwrap().unwrap();
    assert_eq!(info.unsettled.map(|it| it.action), Some(from));
    assert_eq!(info.version, 8);
}

#[test]
fn ranges_are_few_and_those_that_are_needed_are_kept_apart() {
    let (mut bed, chunk) = bed();
    let mut version = 1;
    for _ in 0..limits::PASSED_VERSIONS_MAX {
        bed.ok(pass(chunk, version, version + 2, version + 2));
        version += 3;
    }
    // While nothing settles, any version between them may be a good copy's.
    let more = pass(chunk, version, version + 2, version + 2);
    bed.refused(vec![(FsError::NoSpace, more.clone())]);
    bed.ok(Op::SettleChunk { chunk, version });
    bed.ok(more);
    let passed = bed.tree.passed_versions(chunk).unwrap();
    assert_eq!(passed.as_slice().len(), limits::PASSED_VERSIONS_MAX);
    assert_eq!(passed.as_slice()[..2], [(3, 6), (9, 9)]);
}

#[test]
fn the_id_of_a_chunk_with_such_versions_is_one_of_those_when_it_is_forgotten() {
    let mut bed = Bed::new();
    let dir = bed.dir(&root(), ROOT, "dir");
    let mut chunks = Vec::new();
    for number in 0..2 * (limits::PASSED_IDS_MAX as u32 + 1) {
        let file = bed.file(&root(), dir, &format!("file{number}"));
        let chunk = made(&mut bed, file);
        // Every second one, so that their numbers do not touch.
        let is_passed = number % 2 == 0;
        if is_passed {
            bed.ok(pass(chunk, 1, 1, 1));
        }
        bed.ok(Op::RollbackChunk {
            inode: file,
            index: 0,
            new: chunk,
            old: ChunkId::HOLE,
        });
        bed.ok(Op::ForgetChunk { chunk });
        assert_eq!(bed.tree.passed_versions(chunk), Ok(Ranges::default()));
        chunks.push((chunk, is_passed));
    }
    for (at, (chunk, is_passed)) in chunks.iter().enumerate() {
        // Between the lowest two is one that counts as theirs since there would be too many.
        let wanted = match *is_passed || at == 1 {
            true => KnownChunk::Foreign,
            false => KnownChunk::Deleted,
        };
        assert_eq!(bed.tree.known(*chunk), Ok(wanted), "{at}");
    }
}

#[test]
fn versions_that_no_copy_has_are_forgotten_of_a_chunk_without_a_file_and_its_id_is_its_own() {
    let (mut bed, used) = bed();
    let file = bed.file(&root(), ROOT, "other");
    let chunk = made(&mut bed, file);
    bed.ok(pass(chunk, 1, 1, 9));
    let forget = |chunk, version| Op::ForgetPassedVersions { chunk, version };
    bed.refused(vec![(FsError::ChunkBusy, forget(chunk, 10))]);
    bed.ok(Op::RollbackChunk {
        inode: file,
        index: 0,
        new: chunk,
        old: ChunkId::HOLE,
    });
    bed.refused(vec![
        (FsError::Invalid, forget(chunk, 9)),
        (FsError::NoChunk, forget(ChunkId(9 << 14), 1)),
        (FsError::ChunkBusy, forget(used, 1)),
    ]);
    bed.ok(forget(chunk, 10));
    assert_eq!(bed.tree.passed_versions(chunk), Ok(Ranges::default()));
    bed.ok(Op::ForgetChunk { chunk });
    assert_eq!(bed.tree.known(chunk), Ok(KnownChunk::Deleted));
}
