//! Copies move until chunkservers are about as full as each other.

use super::*;

impl One {
    /// So many files, each with copies at the first two chunkservers; a third one comes then.
    fn uneven(options: Options, count: usize) -> (Self, Vec<ChunkId>) {
        let mut one = Self::with(options);
        one.lead(1);
        one.join(1, true);
        one.join(2, true);
        let chunks = (0..count).map(|number| one.file(&format!("f{number}")).1.chunk);
        let chunks: Vec<ChunkId> = chunks.collect();
        assert_eq!(one.disk(1).len(), count);
        one.join(3, true);
        one.tells(1, 50 * GIB, 100 * GIB);
        one.tells(2, 52 * GIB, 100 * GIB);
        one.tells(3, 10 * GIB, 100 * GIB);
        (one, chunks)
    }
}

#[test]
fn copies_move_from_the_fullest_to_the_emptiest_and_each_chunk_keeps_its_goal() {
    let (mut one, chunks) = One::uneven(eager(), 20);
    for _ in 0..10 {
        one.passes();
        let fewest = chunks.iter().map(|chunk| one.copies(*chunk)).min();
        assert_eq!(fewest, Some(2), "no copy goes before another is there");
    }
    let moved = one.disk(3).len();
    assert!(moved > 0, "it stayed empty");
    for chunk in &chunks {
        assert_eq!(one.copies(*chunk), 2, "{chunk}");
    }
    assert!(one.disk(2).len() < 20, "the fullest gave some");
    assert_eq!(one.disk(1).len() + one.disk(2).len() + moved, 40);
    // Nobody says that anything has changed, and what is moved is counted: 21 GiB are no reason for
    // more copies than there are.
    let tried = one.copies_tried;
    assert!(tried <= 20 + 20, "{tried} copies were made");
    // They say so, and are even enough: nothing moves any more.
    one.tells(1, 30 * GIB, 100 * GIB);
    one.tells(2, 30 * GIB, 100 * GIB);
    one.tells(3, 29 * GIB + GIB / 2, 100 * GIB);
    one.passes();
    let before = one.copies_tried;
    one.passes();
    assert_eq!(one.copies_tried, before);
}

#[test]
fn few_copies_move_when_few_are_too_many() {
    let (mut one, _) = One::uneven(eager(), 20);
    // Two percent of 10 GiB are about three copies: one from each makes it less than half a percent,
    // another would turn it round.
    one.tells(1, 5 * GIB, 10 * GIB);
    one.tells(2, 5 * GIB, 10 * GIB);
    one.tells(3, 5 * GIB - GIB / 5, 10 * GIB);
    one.passes();
    one.passes();
    one.passes();
    assert_eq!(one.disk(3).len(), 2);
    let left = (one.disk(1).len(), one.disk(2).len());
    assert_eq!(left, (19, 19));
}

#[test]
fn what_is_accepted_moves_nothing_and_nothing_moves_while_a_copy_lacks() {
    let options = Options {
        balance_accepted_percent: 43,
        ..eager()
    };
    let (mut one, _) = One::uneven(options, 5);
    one.passes();
    assert_eq!(one.copies_tried, 0);
    // A chunk lacks a copy that cannot be made: only that is tried, as often as it fails.
    let (mut one, chunks) = One::uneven(eager(), 5);
    one.copies_fail = true;
    one.disk(2).remove(&chunks[0]);
    one.report(2, Report::Lost(vec![chunks[0]]));
    one.passes();
    assert!(one.copies_tried > 1);
    assert_eq!(one.disk(2).len() + one.disk(1).len(), 9);
    one.copies_fail = false;
    one.passes();
    assert!(one.disk(3).len() > 1, "moving begins once all is there");
}

/// A move whose copy cannot be made: the copies of each chunk then.
fn copies_after_a_failed_move(options: Options) -> Vec<usize> {
    let (mut one, chunks) = One::uneven(options, 5);
    one.copies_fail = true;
    one.passes();
    assert!(one.copies_tried > 0, "a move was tried");
    chunks.iter().map(|chunk| one.copies(*chunk)).collect()
}

#[test]
fn a_copy_stays_until_the_one_that_takes_its_place_is_there() {
    assert_eq!(copies_after_a_failed_move(eager()), [2; 5]);
}

#[cfg(feature = "planted-bugs")]
#[test]
fn who_deletes_a_copy_before_it_has_moved_is_found() {
    let bug = Some(crate::planted::Bug::MovedBeforeCopied);
    let copies = copies_after_a_failed_move(Options { bug, ..eager() });
    assert!(copies.iter().any(|count| *count < 2), "{copies:?}");
}
