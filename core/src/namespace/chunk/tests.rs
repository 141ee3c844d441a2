//! Writing, reading and repairing chunks, as commands see it.

use super::super::op::{Op, Query, QuotaLimits};
use super::super::testing::{Bed, ROOT, hard_quota, root, somebody, user};
use super::*;
use crate::id::SessionId;

const MIB: u64 = 1 << 20;

fn write_op(caller: &Caller, inode: InodeId, index: u32) -> Op {
    Op::WriteChunk {
        caller: caller.clone(),
        inode,
        index,
        go_on: false,
        chunk_moved: false,
        may_touch_times: true,
    }
}

fn end_op(inode: InodeId, index: u32, chunk: ChunkId, length: u64) -> Op {
    Op::WriteChunkEnd {
        caller: root(),
        inode,
        index,
        chunk,
        length,
        may_touch_times: true,
    }
}

/// Writes a chunk and its end.
fn written(bed: &mut Bed, inode: InodeId, index: u32, length: u64) -> ChunkId {
    let Reply::Chunk { chunk, .. } = bed.ok(write_op(&root(), inode, index)) else {
        panic!("a chunk was expected");
    };
    bed.ok(end_op(inode, index, chunk, length));
    chunk
}

fn chunks(bed: &Bed, inode: InodeId) -> Vec<ChunkInfo> {
    let query = Query::ListChunks {
        caller: root(),
        inode,
        from: 0,
        max: 100,
    };
    match bed.ask(query) {
        Ok(Answer::Chunks { chunks, done, .. }) => {
            assert!(done);
            chunks
        }
        other => panic!("chunks were expected, not {other:?}"),
    }
}

#[test]
fn a_written_file_counts_its_blocks_a_header_a_chunk_and_its_copies() {
    let mut bed = Bed::new();
    let file = bed.file(&root(), ROOT, "f");
    let before = bed.sums(ROOT);
    written(&mut bed, file, 0, 6);
    let sums = stats::minus(&bed.sums(ROOT), &before);
    let size = (64 << 10) + (8 << 10);
    assert_eq!(
        (sums.chunks, sums.length, sums.size, sums.real_size),
        (1, 6, size, 2 * size)
    );
    // The second chunk makes a whole one of the first.
    written(&mut bed, file, 1, 64 * MIB + 1);
    let sums = stats::minus(&bed.sums(ROOT), &before);
    let size = (64 << 20) + (64 << 10) + 2 * (8 << 10);
    assert_eq!((sums.chunks, sums.size), (2, size));
}

#[test]
fn writing_a_chunk_locks_it_until_the_end_or_two_minutes() {
    let mut bed = Bed::new();
    let file = bed.file(&root(), ROOT, "f");
    let first = bed.ok(write_op(&root(), file, 0));
    let Reply::Chunk { chunk, version, .. } = first else {
        panic!("a chunk was expected");
    };
    assert_eq!(version, 1);
    bed.ok(Op::SettleChunk { chunk, version });
    assert_eq!(bed.run(write_op(&root(), file, 0)), Err(FsError::Locked));
    let go_on = Op::WriteChunk {
        caller: root(),
        inode: file,
        index: 0,
        go_on: true,
        chunk_moved: true,
        may_touch_times: false,
    };
    let raised = Reply::Chunk {
        chunk,
        version: 2,
        action: ChunkAction::Raised { from_version: 1 },
        length: 0,
    };
    assert_eq!(bed.ok(go_on), raised);
    bed.now += limits::CHUNK_LOCK_SECONDS;
    assert_eq!(bed.run(write_op(&root(), file, 0)), Err(FsError::Locked));
    bed.now += 1;
    let kept = Reply::Chunk {
        chunk,
        version: 2,
        action: ChunkAction::Kept,
        length: 0,
    };
    assert_eq!(bed.ok(write_op(&root(), file, 0)), kept);
    bed.ok(Op::UnlockChunk { chunk });
    assert_eq!(bed.ok(write_op(&root(), file, 0)), kept);
    assert_eq!(chunks(&bed, file)[0].locked_until, WallTime(bed.now + 120));
}

#[test]
fn a_write_behind_the_end_raises_the_length_and_tells() {
    let mut bed = Bed::new();
    let file = bed.file(&root(), ROOT, "f");
    let outcome = bed.outcome(write_op(&root(), file, 2));
    let length = 128 * MIB;
    assert_eq!(
        outcome.notices,
        [Notice::LengthChanged {
            inode: file,
            length
        }]
    );
    let Ok(Reply::Chunk { chunk, .. }) = outcome.result else {
        panic!("a chunk was expected");
    };
    let outcome = bed.outcome(end_op(file, 2, chunk, length + 5));
    let length = length + 5;
    assert_eq!(
        outcome.notices,
        [
            Notice::LengthChanged {
                inode: file,
                length
            },
            Notice::ChunkChanged {
                inode: file,
                index: 2,
                chunk,
                version: 1,
                length,
                truncated: false
            }
        ]
    );
    assert_eq!(bed.attr(file).length, length);
    assert_eq!(bed.attr(file).mtime, WallTime(bed.now));
}

#[test]
fn writes_are_refused_for_reasons_in_order() {
    let mut bed = Bed::new();
    let dir = bed.dir(&root(), ROOT, "d");
    let file = bed.file(&root(), ROOT, "f");
    let reader = bed.session_with(|params| params.flags.read_only = true);
    let disabled = bed.session_with(|params| params.disables = 1 << Disable::Write as u32);
    bed.refused(vec![
        (
            FsError::BadSession,
            write_op(&user(SessionId(99), 0), file, 0),
        ),
        (FsError::Perm, write_op(&user(disabled, 0), file, 0)),
        (FsError::ReadOnly, write_op(&user(reader, 0), file, 0)),
        (FsError::NoEnt, write_op(&root(), InodeId(4_000), 0)),
        (FsError::Perm, write_op(&root(), dir, 0)),
        (
            FsError::IndexTooBig,
            write_op(&root(), file, limits::CHUNK_INDEX_MAX + 1),
        ),
        (FsError::NoChunk, end_op(file, 0, ChunkId(77), 5)),
        (
            FsError::IndexTooBig,
            end_op(file, 0, ChunkId(77), limits::FILE_BYTES_MAX + 1),
        ),
    ]);
    bed.set_eattr(file, IMMUTABLE);
    bed.refused(vec![(FsError::Perm, write_op(&root(), file, 0))]);
    // Nobody's permission bits are asked for: that was done at open.
    bed.set_eattr(file, 0);
    bed.ok(write_op(&somebody(7), file, 0));
}

#[test]
fn a_quota_must_have_room_for_a_whole_chunk() {
    let mut bed = Bed::new();
    let dir = bed.dir(&root(), ROOT, "d");
    let file = bed.file(&root(), dir, "f");
    let whole = 64 * MIB + (8 << 10);
    bed.ok(hard_quota(
        dir,
        QuotaLimits {
            size: Some(whole - 1),
            ..QuotaLimits::default()
        },
    ));
    bed.refused(vec![(FsError::Quota, write_op(&root(), file, 0))]);
    bed.ok(hard_quota(
        dir,
        QuotaLimits {
            real_size: Some(2 * whole),
            length: Some(4),
            ..QuotaLimits::default()
        },
    ));
    let Reply::Chunk { chunk, .. } = bed.ok(write_op(&root(), file, 0)) else {
        panic!("a chunk was expected");
    };
    // The end is refused, and unlocks all the same.
    let (version, command) = (
        bed.tree.version(),
        bed.command(None, end_op(file, 0, chunk, 5)),
    );
    let outcome = bed.apply(&command);
    assert_eq!(outcome.result, Err(FsError::Quota));
    assert_eq!(outcome.version, version);
    assert_eq!(chunks(&bed, file)[0].locked_until, WallTime(0));
    assert_eq!(bed.attr(file).length, 0);
    bed.ok(end_op(file, 0, chunk, 4));
}

#[test]
fn the_end_of_a_write_unlocks_even_when_the_file_is_gone() {
    let mut bed = Bed::new();
    let file = bed.file(&root(), ROOT, "f");
    let chunk = written(&mut bed, file, 0, 10);
    let other = bed.file(&root(), ROOT, "other");
    let Reply::Chunk { chunk: new, .. } = bed.ok(write_op(&root(), other, 0)) else {
        panic!("a chunk was expected");
    };
    assert_ne!(chunk, new);
    bed.ok(end_op(InodeId(9_999), 0, new, 10));
    assert_eq!(chunks(&bed, other)[0].locked_until, WallTime(0));
    bed.ok(end_op(ROOT, 0, new, 10));
}

#[test]
fn a_rolled_back_write_leaves_the_slot_as_it_was() {
    let mut bed = Bed::new();
    let file = bed.file(&root(), ROOT, "f");
    let sums = bed.sums(ROOT);
    let Reply::Chunk { chunk, .. } = bed.ok(write_op(&root(), file, 0)) else {
        panic!("a chunk was expected");
    };
    let rollback = |new, old| Op::RollbackChunk {
        inode: file,
        index: 0,
        new,
        old,
    };
    bed.refused(vec![
        (FsError::NoChunk, rollback(ChunkId(55), ChunkId::HOLE)),
        (FsError::NoChunk, rollback(chunk, ChunkId(55))),
        (FsError::NoChunk, rollback(ChunkId::HOLE, chunk)),
    ]);
    let outcome = bed.outcome(rollback(chunk, ChunkId::HOLE));
    assert_eq!(outcome.notices, [Notice::ChunkUnused { chunk, version: 1 }]);
    assert_eq!(bed.sums(ROOT), sums);
    bed.ok(Op::ForgetChunk { chunk });
    bed.refused(vec![
        (FsError::NoChunk, Op::ForgetChunk { chunk }),
        (FsError::NoChunk, Op::UnlockChunk { chunk }),
        (FsError::NoChunk, Op::SetChunkVersion { chunk, version: 1 }),
    ]);
}

#[test]
fn a_shared_chunk_is_copied_and_a_rollback_shares_it_again() {
    let mut bed = Bed::new();
    let file = bed.file(&root(), ROOT, "f");
    let other = bed.file(&root(), ROOT, "g");
    let shared = written(&mut bed, file, 0, 10);
    bed.ok(Op::AppendSlice {
        caller: root(),
        dst: other,
        src: file,
        from: 0,
        to: 1,
    });
    let Reply::Chunk {
        chunk,
        version: 1,
        action,
        ..
    } = bed.ok(write_op(&root(), other, 0))
    else {
        panic!("a chunk was expected");
    };
    assert_ne!(chunk, shared);
    assert_eq!(
        action,
        ChunkAction::Duplicated {
            from: shared,
            from_version: 1
        }
    );
    bed.ok(Op::RollbackChunk {
        inode: other,
        index: 0,
        new: chunk,
        old: shared,
    });
    assert_eq!(chunks(&bed, other)[0].chunk, shared);
    bed.refused(vec![(
        FsError::ChunkBusy,
        Op::ForgetChunk { chunk: shared },
    )]);
}

#[test]
fn versions_rise_by_one_and_a_repair_makes_a_hole_of_what_was_judged_alone() {
    let mut bed = Bed::new();
    let file = bed.file(&root(), ROOT, "f");
    let chunk = written(&mut bed, file, 0, 10);
    let report = |version| Op::SetChunkVersion { chunk, version };
    let write = |go_on| Op::WriteChunk {
        caller: root(),
        inode: file,
        index: 0,
        go_on,
        chunk_moved: false,
        may_touch_times: false,
    };
    let repair = |index, was| Op::RepairChunk {
        inode: file,
        index,
        chunk,
        was,
        best: None,
    };
    bed.ok(report(1));
    bed.ok(report(2));
    bed.refused(vec![
        (FsError::Invalid, report(1)),
        (FsError::Invalid, report(4)),
        (FsError::NoChunk, repair(1, 2)),
        (FsError::Invalid, repair(0, 1)),
    ]);
    // What was judged before a writer came is not done while it writes, nor afterwards.
    bed.ok(write(true));
    bed.refused(vec![
        (FsError::Invalid, repair(0, 3)),
        (FsError::Locked, repair(0, 2)),
    ]);
    bed.ok(Op::UnlockChunk { chunk });
    let before = bed.sums(ROOT);
    bed.now += 50;
    let outcome = bed.outcome(repair(0, 2));
    let hole = Notice::ChunkChanged {
        inode: file,
        index: 0,
        chunk: ChunkId::HOLE,
        version: 0,
        length: 10,
        truncated: false,
    };
    let unused = Notice::ChunkUnused { chunk, version: 2 };
    assert_eq!(outcome.notices, [unused, hole]);
    assert_eq!(bed.sums(ROOT).chunks, before.chunks - 1);
    let attr = bed.attr(file);
    let now = WallTime(bed.now);
    assert_eq!((attr.length, attr.mtime, attr.ctime), (10, now, now));
    bed.refused(vec![(FsError::NoChunk, repair(0, 2))]);
}

#[test]
fn reading_tells_chunks_holes_and_the_length() {
    let mut bed = Bed::new();
    let file = bed.file(&root(), ROOT, "f");
    let chunk = written(&mut bed, file, 1, 64 * MIB + 7);
    let read = |inode, index| Query::ReadChunk {
        caller: root(),
        inode,
        index,
    };
    let length = 64 * MIB + 7;
    let info = hole(0);
    assert_eq!(bed.ask(read(file, 0)), Ok(Answer::Chunk { info, length }));
    let Ok(Answer::Chunk { info, .. }) = bed.ask(read(file, 1)) else {
        panic!("a chunk was expected");
    };
    assert_eq!((info.chunk, info.version), (chunk, 1));
    assert_eq!(bed.ask(read(ROOT, 0)), Err(FsError::Perm));
    assert_eq!(bed.ask(read(InodeId(777), 0)), Err(FsError::NoEnt));
    assert_eq!(bed.ask(read(file, u32::MAX)), Err(FsError::IndexTooBig));
    let list = |inode, from, max| Query::ListChunks {
        caller: root(),
        inode,
        from,
        max,
    };
    assert_eq!(bed.ask(list(ROOT, 0, 1)), Err(FsError::Perm));
    assert_eq!(bed.ask(list(file, 0, 0)), Err(FsError::Invalid));
    written(&mut bed, file, 3, 193 * MIB);
    let Ok(Answer::Chunks { chunks, done, .. }) = bed.ask(list(file, 0, 1)) else {
        panic!("chunks were expected");
    };
    assert_eq!((chunks.len(), chunks[0].index, done), (1, 1, false));
    let Ok(Answer::Chunks { chunks, done, .. }) = bed.ask(list(file, 2, 1)) else {
        panic!("chunks were expected");
    };
    assert_eq!((chunks.len(), chunks[0].index, done), (1, 3, true));
}
