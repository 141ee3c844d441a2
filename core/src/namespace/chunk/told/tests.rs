//! What is unsettled, what settles it, and what is kept or refused until then.

use super::*;
use crate::limits;
use crate::namespace::op::{
    Answer, ChunkInfo, Cut, Notice, Op, Query, SnapshotFlags, TruncateMode,
};
use crate::namespace::testing::{Bed, ROOT, root, unlink};

const CHUNK: u64 = limits::CHUNK_BYTES;

fn write(inode: InodeId, index: u32, chunk_moved: bool) -> Op {
    Op::WriteChunk {
        caller: root(),
        inode,
        index,
        go_on: false,
        chunk_moved,
        may_touch_times: true,
    }
}

fn truncate(inode: InodeId, length: u64) -> Op {
    Op::Truncate {
        caller: root(),
        inode,
        length,
        mode: TruncateMode::Opened,
    }
}

fn truncate_end(inode: InodeId, chunk: ChunkId, length: u64) -> Op {
    Op::TruncateEnd {
        caller: root(),
        inode,
        index: (length / CHUNK) as u32,
        chunk,
        length,
    }
}

fn append(dst: InodeId, src: InodeId) -> Op {
    Op::AppendSlice {
        caller: root(),
        dst,
        src,
        from: 0,
        to: 1,
    }
}

fn snapshot(src: InodeId, name: &str) -> Op {
    Op::Snapshot {
        caller: root(),
        src,
        dst_parent: ROOT,
        name: name.into(),
        flags: SnapshotFlags::default(),
        umask: 0,
    }
}

fn rollback(inode: InodeId, new: ChunkId, old: ChunkId) -> Op {
    Op::RollbackChunk {
        inode,
        index: 0,
        new,
        old,
    }
}

fn settle_op(chunk: ChunkId, version: u32) -> Op {
    Op::SettleChunk { chunk, version }
}

/// Writes a chunk: which one, under which version, and what is to be done.
fn written(bed: &mut Bed, op: Op) -> (ChunkId, u32, ChunkAction) {
    match bed.ok(op) {
        Reply::Chunk {
            chunk,
            version,
            action,
            ..
        }
        | Reply::TruncateChunk {
            chunk,
            version,
            action,
            ..
        } => (chunk, version, action),
        other => panic!("a chunk was expected, not {other:?}"),
    }
}

fn info(bed: &Bed, inode: InodeId) -> ChunkInfo {
    let query = Query::ListChunks {
        caller: root(),
        inode,
        from: 0,
        max: 1,
    };
    match bed.ask(query) {
        Ok(Answer::Chunks { chunks, .. }) => chunks[0],
        other => panic!("chunks were expected, not {other:?}"),
    }
}

fn record(bed: &mut Bed, chunk: ChunkId) -> (u64, Option<Unsettled>) {
    bed.by_hand(|txn| {
        let record = get(txn, chunk)?;
        Ok((record.references.value(), record.unsettled.value()))
    })
}

fn action(bed: &Bed, inode: InodeId) -> Option<ChunkAction> {
    info(bed, inode).unsettled.map(|it| it.action)
}

/// Two files, `f` and `g`, with one chunk that both share.
fn shared() -> (Bed, InodeId, InodeId, ChunkId) {
    let mut bed = Bed::new();
    let file = bed.file(&root(), ROOT, "f");
    let other = bed.file(&root(), ROOT, "g");
    let chunk = bed.add_chunk(file, 0, 1_000);
    bed.ok(append(other, file));
    (bed, file, other, chunk)
}

#[test]
fn what_a_write_makes_is_unsettled_until_it_is_settled_under_its_version() {
    let mut bed = Bed::new();
    let file = bed.file(&root(), ROOT, "f");
    let (chunk, version, made) = written(&mut bed, write(file, 0, false));
    assert_eq!((version, made), (1, ChunkAction::Created));
    let unsettled = Unsettled {
        action: ChunkAction::Created,
        cut: None,
        inode: file,
        index: 0,
    };
    let known = info(&bed, file);
    assert_eq!((known.unsettled, known.references), (Some(unsettled), 1));
    bed.refused(vec![
        (FsError::NoChunk, settle_op(ChunkId(99), 1)),
        (FsError::Invalid, settle_op(chunk, 2)),
    ]);
    let locked = info(&bed, file).locked_until;
    for _ in 0..2 {
        assert_eq!(bed.ok(settle_op(chunk, 1)), Reply::Done);
        let known = info(&bed, file);
        assert_eq!((known.unsettled, known.locked_until), (None, locked));
    }
    // What nobody has to be told is not unsettled.
    bed.ok(Op::UnlockChunk { chunk });
    assert_eq!(
        written(&mut bed, write(file, 0, false)).2,
        ChunkAction::Kept
    );
    assert_eq!(action(&bed, file), None);
    bed.ok(Op::UnlockChunk { chunk });
    let raised = ChunkAction::Raised { from_version: 1 };
    let again = written(&mut bed, write(file, 0, true));
    assert_eq!(again, (chunk, 2, raised));
    assert_eq!(action(&bed, file), Some(raised));
}

#[test]
fn a_write_to_what_is_unsettled_makes_no_version_and_leaves_it_unsettled() {
    let mut bed = Bed::new();
    let file = bed.file(&root(), ROOT, "f");
    let (chunk, ..) = written(&mut bed, write(file, 0, false));
    bed.refused(vec![(FsError::Locked, write(file, 0, true))]);
    bed.now += limits::CHUNK_LOCK_SECONDS + 1;
    let again = written(&mut bed, write(file, 0, true));
    assert_eq!(again, (chunk, 1, ChunkAction::Kept));
    assert_eq!(action(&bed, file), Some(ChunkAction::Created));
    assert_eq!(info(&bed, file).locked_until.0, bed.now + 120);
    // The end of the write does not settle it either.
    bed.ok(Op::WriteChunkEnd {
        caller: root(),
        inode: file,
        index: 0,
        chunk,
        length: 5,
        may_touch_times: true,
    });
    assert_eq!(action(&bed, file), Some(ChunkAction::Created));
    assert_eq!(info(&bed, file).locked_until, WallTime(0));
}

#[test]
fn a_copy_keeps_its_source_until_it_is_settled() {
    let (mut bed, file, other, source) = shared();
    let (copy, _, made) = written(&mut bed, write(other, 0, false));
    let duplicated = ChunkAction::Duplicated {
        from: source,
        from_version: 1,
    };
    assert_eq!(made, duplicated);
    assert_eq!(record(&mut bed, source).0, 2, "a file and the copy");
    // So nobody writes it in place meanwhile.
    let (second, _, made) = written(&mut bed, write(file, 0, false));
    assert_eq!(made, duplicated);
    assert_eq!(record(&mut bed, source).0, 2, "both copies");
    bed.refused(vec![(
        FsError::ChunkBusy,
        Op::ForgetChunk { chunk: source },
    )]);
    assert_eq!(bed.outcome(settle_op(copy, 1)).notices, []);
    let unused = Notice::ChunkUnused {
        chunk: source,
        version: 1,
    };
    assert_eq!(bed.outcome(settle_op(second, 1)).notices, [unused]);
    bed.ok(Op::ForgetChunk { chunk: source });
}

#[test]
fn a_copy_that_goes_before_it_is_made_lets_its_source_go() {
    let (mut bed, file, other, source) = shared();
    let (copy, ..) = written(&mut bed, write(other, 0, false));
    let (second, ..) = written(&mut bed, write(file, 0, false));
    let unused = |chunk| Notice::ChunkUnused { chunk, version: 1 };
    let outcome = bed.outcome(truncate(other, 0));
    assert!(outcome.notices.contains(&unused(copy)));
    assert!(!outcome.notices.contains(&unused(source)));
    assert_eq!(record(&mut bed, copy), (0, None));
    let outcome = bed.outcome(truncate(file, 0));
    assert_eq!(outcome.notices[..2], [unused(second), unused(source)]);
}

#[test]
fn a_long_chain_of_copies_that_nobody_made_goes_at_once() {
    let mut bed = Bed::new();
    let mut file = bed.file(&root(), ROOT, "f");
    bed.add_chunk(file, 0, 1_000);
    for number in 0..50 {
        let next = bed.file(&root(), ROOT, &format!("f{number}"));
        bed.ok(append(next, file));
        let (chunk, ..) = written(&mut bed, write(next, 0, false));
        bed.ok(Op::UnlockChunk { chunk });
        bed.ok(truncate(file, 0));
        file = next;
    }
    let outcome = bed.outcome(truncate(file, 0));
    let unused = |notice: &&Notice| matches!(notice, Notice::ChunkUnused { .. });
    assert_eq!(outcome.notices.iter().filter(unused).count(), 51);
}

#[test]
fn a_shared_chunk_that_a_writer_has_is_neither_copied_nor_cut() {
    let (mut bed, file, _, source) = shared();
    bed.by_hand(|txn| super::super::lock(txn, source));
    bed.refused(vec![
        (FsError::Locked, write(file, 0, false)),
        (FsError::Locked, truncate(file, 10)),
    ]);
    // Its writer goes on, and what becomes of that leaves the lock alone.
    let Op::WriteChunk {
        caller,
        inode,
        index,
        chunk_moved,
        may_touch_times,
        ..
    } = write(file, 0, false)
    else {
        unreachable!("it is one")
    };
    let go_on = Op::WriteChunk {
        caller,
        inode,
        index,
        go_on: true,
        chunk_moved,
        may_touch_times,
    };
    let (copy, ..) = written(&mut bed, go_on);
    let locked = info(&bed, file).locked_until;
    bed.ok(rollback(file, copy, source));
    assert_eq!(info(&bed, file).chunk, source);
    assert_eq!(info(&bed, file).locked_until, locked);
    bed.now += limits::CHUNK_LOCK_SECONDS + 1;
    written(&mut bed, write(file, 0, false));
}

#[test]
fn a_rollback_gives_the_slot_back_what_the_copy_kept() {
    let (mut bed, file, other, source) = shared();
    let (copy, ..) = written(&mut bed, write(other, 0, false));
    bed.refused(vec![
        (FsError::NoChunk, rollback(other, copy, ChunkId::HOLE)),
        (FsError::NoChunk, rollback(other, copy, ChunkId(99))),
    ]);
    let outcome = bed.outcome(rollback(other, copy, source));
    let unused = Notice::ChunkUnused {
        chunk: copy,
        version: 1,
    };
    assert_eq!(outcome.notices, [unused]);
    assert_eq!(info(&bed, other).chunk, source);
    assert_eq!(record(&mut bed, source), (2, None));
    // Also when somebody shares the copy: that one keeps it.
    let (copy, ..) = written(&mut bed, write(other, 0, false));
    bed.ok(snapshot(other, "h"));
    assert_eq!(bed.outcome(rollback(other, copy, source)).notices, []);
    assert_eq!(record(&mut bed, source).0, 3);
    assert_eq!(record(&mut bed, copy).0, 1);
    assert_eq!(info(&bed, file).chunk, source);
}

#[test]
fn nobody_finds_the_lock_of_a_writer_that_was_told_of_nothing() {
    let mut bed = Bed::new();
    let file = bed.file(&root(), ROOT, "f");
    let other = bed.file(&root(), ROOT, "g");
    let (chunk, ..) = written(&mut bed, write(file, 0, false));
    bed.ok(Op::WriteChunkEnd {
        caller: root(),
        inode: file,
        index: 0,
        chunk,
        length: 10,
        may_touch_times: false,
    });
    written(&mut bed, write(file, 0, false));
    bed.ok(append(other, file));
    bed.ok(rollback(file, chunk, ChunkId::HOLE));
    let known = info(&bed, other);
    assert_eq!((known.chunk, known.locked_until), (chunk, WallTime(0)));
    written(&mut bed, write(other, 0, false));
}

#[test]
fn who_goes_on_in_a_copy_leaves_no_lock_behind() {
    let mut bed = Bed::new();
    let file = bed.file(&root(), ROOT, "f");
    let (source, ..) = written(&mut bed, write(file, 0, false));
    bed.ok(settle_op(source, 1));
    bed.ok(snapshot(file, "g"));
    let Op::WriteChunk { caller, .. } = write(file, 0, false) else {
        unreachable!("it is one")
    };
    let go_on = Op::WriteChunk {
        caller,
        inode: file,
        index: 0,
        go_on: true,
        chunk_moved: false,
        may_touch_times: false,
    };
    let (copy, version, _) = written(&mut bed, go_on);
    let locked = |bed: &mut Bed| bed.by_hand(|txn| Ok(get(txn, source)?.locked_until.value()));
    assert_ne!(locked(&mut bed), WallTime(0), "the copy may be rolled back");
    bed.ok(settle_op(copy, version));
    assert_eq!(locked(&mut bed), WallTime(0));
}

#[test]
fn only_what_is_unsettled_is_rolled_back() {
    let mut bed = Bed::new();
    let file = bed.file(&root(), ROOT, "f");
    let (chunk, ..) = written(&mut bed, write(file, 0, false));
    bed.ok(settle_op(chunk, 1));
    bed.refused(vec![(
        FsError::NoChunk,
        rollback(file, chunk, ChunkId::HOLE),
    )]);
    bed.ok(Op::UnlockChunk { chunk });
    let raised = written(&mut bed, write(file, 0, true)).2;
    bed.refused(vec![(
        FsError::NoChunk,
        rollback(file, chunk, ChunkId::HOLE),
    )]);
    // With the same chunk it is unlocked, and no more.
    bed.ok(rollback(file, chunk, chunk));
    let known = info(&bed, file);
    assert_eq!((known.version, known.locked_until), (2, WallTime(0)));
    assert_eq!(action(&bed, file), Some(raised));
}

#[test]
fn what_is_being_cut_is_neither_written_nor_cut_nor_shared() {
    let mut bed = Bed::new();
    let file = bed.file(&root(), ROOT, "f");
    let other = bed.file(&root(), ROOT, "g");
    let chunk = bed.add_chunk(file, 0, 1_000);
    let (cut, version, made) = written(&mut bed, truncate(file, 100));
    let raised = ChunkAction::Raised { from_version: 1 };
    assert_eq!((cut, version, made), (chunk, 2, raised));
    let unsettled = Unsettled {
        action: raised,
        cut: Some(Cut {
            bytes: 100,
            file_length: 100,
        }),
        inode: file,
        index: 0,
    };
    assert_eq!(info(&bed, file).unsettled, Some(unsettled));
    bed.ok(Op::UnlockChunk { chunk });
    let mut go_on = write(file, 0, false);
    if let Op::WriteChunk { go_on, .. } = &mut go_on {
        *go_on = true;
    }
    bed.refused(vec![
        (FsError::Locked, write(file, 0, false)),
        (FsError::Locked, go_on),
        (FsError::Locked, truncate(file, 50)),
        (FsError::Locked, append(other, file)),
        (FsError::Locked, snapshot(file, "h")),
    ]);
    bed.ok(settle_op(chunk, 2));
    bed.ok(append(other, file));
    bed.ok(snapshot(file, "h"));
}

#[test]
fn settling_a_cut_ends_its_truncate_and_the_end_of_it_then_does_nothing() {
    let mut bed = Bed::new();
    let file = bed.file(&root(), ROOT, "f");
    let chunk = bed.add_chunk(file, 0, CHUNK);
    let second = bed.add_chunk(file, 1, 2 * CHUNK);
    written(&mut bed, truncate(file, 100));
    bed.refused(vec![(FsError::Invalid, truncate_end(file, chunk, 101))]);
    bed.now += 5;
    let outcome = bed.outcome(settle_op(chunk, 2));
    assert_eq!(outcome.result, Ok(Reply::Done));
    let expected = [
        Notice::ChunkUnused {
            chunk: second,
            version: 1,
        },
        Notice::LengthChanged {
            inode: file,
            length: 100,
        },
        Notice::ChunkChanged {
            inode: file,
            index: 0,
            chunk,
            version: 2,
            length: 100,
            truncated: true,
        },
    ];
    assert_eq!(outcome.notices, expected);
    let attr = bed.attr(file);
    assert_eq!((attr.length, attr.mtime.0), (100, bed.now));
    assert_eq!(bed.sums(ROOT).chunks, 1);
    let known = info(&bed, file);
    assert_eq!((known.unsettled, known.locked_until), (None, WallTime(0)));
    // The client comes late, or again.
    bed.now += 5;
    for length in [100, 7] {
        let outcome = bed.outcome(truncate_end(file, chunk, length));
        let previous_length = 100;
        assert_eq!(
            outcome.result,
            Ok(Reply::Truncated {
                previous_length,
                attr: attr.clone()
            })
        );
        assert_eq!(outcome.notices, []);
    }
    assert_eq!(bed.attr(file), attr);
}

#[test]
fn a_cut_whose_file_is_gone_or_empty_is_settled_all_the_same() {
    let mut bed = Bed::new();
    for gone in [false, true] {
        let file = bed.file(&root(), ROOT, "f");
        let chunk = bed.add_chunk(file, 0, 1_000);
        written(&mut bed, truncate(file, 100));
        if gone {
            bed.ok(unlink(&root(), ROOT, "f"));
            bed.ok(Op::PurgeTrash {
                caller: root(),
                inode: file,
            });
        } else {
            bed.ok(truncate(file, 0));
        }
        let outcome = bed.outcome(settle_op(chunk, 2));
        assert_eq!((outcome.result, outcome.notices), (Ok(Reply::Done), vec![]));
        assert_eq!(record(&mut bed, chunk), (0, None));
        if !gone {
            assert_eq!(bed.attr(file).length, 0);
            bed.ok(unlink(&root(), ROOT, "f"));
        }
    }
}

#[test]
fn a_cut_in_the_trash_is_made_there() {
    let mut bed = Bed::new();
    let file = bed.file(&root(), ROOT, "f");
    let chunk = bed.add_chunk(file, 0, 1_000);
    written(&mut bed, truncate(file, 100));
    bed.ok(unlink(&root(), ROOT, "f"));
    bed.ok(settle_op(chunk, 2));
    assert_eq!(bed.attr(file).length, 100);
}

#[test]
fn a_cut_of_what_is_unsettled_gets_a_version_of_its_own_over_the_same_copies() {
    let mut bed = Bed::new();
    let file = bed.file(&root(), ROOT, "f");
    let chunk = bed.add_chunk(file, 0, 1_000);
    written(&mut bed, write(file, 0, true));
    bed.ok(Op::UnlockChunk { chunk });
    let raised = ChunkAction::Raised { from_version: 1 };
    // Copies of version 2 may be there, and are not cut: version 3 is.
    let cut = written(&mut bed, truncate(file, 100));
    assert_eq!(cut, (chunk, 3, ChunkAction::Raised { from_version: 2 }));
    assert_eq!(action(&bed, file), Some(raised));
    bed.refused(vec![(FsError::Invalid, settle_op(chunk, 2))]);
    bed.ok(settle_op(chunk, 3));
    assert_eq!(action(&bed, file), None);
}

#[test]
fn a_shared_chunk_is_copied_and_cut_in_one() {
    let (mut bed, _, other, source) = shared();
    let (copy, version, made) = written(&mut bed, truncate(other, 100));
    let duplicated = ChunkAction::Duplicated {
        from: source,
        from_version: 1,
    };
    assert_eq!((version, made), (1, duplicated));
    assert_eq!(record(&mut bed, source).0, 2);
    assert_eq!(info(&bed, other).unsettled.unwrap().cut.unwrap().bytes, 100);
    bed.ok(truncate_end(other, copy, 100));
    assert_eq!(record(&mut bed, source).0, 1);
    assert_eq!(action(&bed, other), None);
}

#[test]
fn a_version_that_rises_is_unsettled_from_where_it_was_good() {
    let mut bed = Bed::new();
    let file = bed.file(&root(), ROOT, "f");
    let chunk = bed.add_chunk(file, 0, 1_000);
    let set = |version| Op::SetChunkVersion { chunk, version };
    bed.ok(set(1));
    assert_eq!(action(&bed, file), None);
    for version in [2, 2, 3] {
        bed.ok(set(version));
        let raised = ChunkAction::Raised { from_version: 1 };
        assert_eq!(action(&bed, file), Some(raised));
        assert_eq!(info(&bed, file).version, version);
    }
    bed.ok(settle_op(chunk, 3));
    // What was created is still to be created, under another version.
    let (new, ..) = written(&mut bed, write(file, 1, false));
    bed.ok(Op::SetChunkVersion {
        chunk: new,
        version: 2,
    });
    let unsettled = record(&mut bed, new).1.unwrap();
    assert_eq!(unsettled.action, ChunkAction::Created);
}

#[test]
fn a_repair_begins_from_the_best_copies_and_never_lowers_a_version() {
    let (mut bed, _, other, source) = shared();
    let (chunk, ..) = written(&mut bed, write(other, 0, false));
    bed.ok(Op::UnlockChunk { chunk });
    let repair = |was, best| Op::RepairChunk {
        inode: other,
        index: 0,
        chunk,
        was,
        best: Some(best),
    };
    let raised = |from_version| Some(ChunkAction::Raised { from_version });
    // Copies of a newer version than this state knows of.
    bed.ok(repair(1, 7));
    assert_eq!(info(&bed, other).version, 8);
    assert_eq!(action(&bed, other), raised(7));
    assert_eq!(record(&mut bed, source).0, 1, "it is kept for nobody");
    // Of an older one, before or after anybody was told of the present one.
    bed.ok(repair(8, 3));
    assert_eq!(info(&bed, other).version, 9);
    assert_eq!(action(&bed, other), raised(3));
    bed.ok(settle_op(chunk, 9));
    bed.ok(repair(9, 9));
    assert_eq!(info(&bed, other).version, 10);
    bed.refused(vec![
        (FsError::Invalid, repair(9, 3)),
        (FsError::NoSpace, repair(10, u32::MAX)),
    ]);
}
