//! What lacks copies is mended, the most endangered first.

use super::*;

impl One {
    /// So many files that want three copies and as many that want two, on three chunkservers; two
    /// more come then. Gives the chunks of each that the third has, and has passes go by.
    fn two_goals(options: Options, count: usize) -> (Self, [Vec<ChunkId>; 2]) {
        let mut one = Self::with(options);
        one.lead(1);
        for number in 1..=3 {
            one.join(number, true);
        }
        let of = |one: &mut Self, name: &str, class: u8| {
            let mut chunks = Vec::new();
            for number in 0..count {
                let inode = one.bed.file(&root(), ROOT, &format!("{name}{number}"));
                one.bed.ok(Op::SetSclass {
                    caller: root(),
                    inode,
                    class,
                    only: None,
                    mode: SetMode::Set,
                    recursive: false,
                });
                chunks.push(one.write(inode).chunk);
            }
            chunks
        };
        // The pass comes to these first.
        let three = of(&mut one, "three", 3);
        let two = of(&mut one, "two", 2);
        one.join(4, true);
        one.join(5, true);
        one.passes();
        let third = one.disk(3).clone();
        let there = |chunks: Vec<ChunkId>| {
            let there = chunks.into_iter().filter(|chunk| third.contains_key(chunk));
            there.collect::<Vec<_>>()
        };
        let both = [there(three), there(two)];
        one.copied.clear();
        (one, both)
    }
}

#[test]
fn chunks_with_one_copy_left_are_copied_before_all_others() {
    let (mut one, [three, two]) = One::two_goals(one_by_one(), 60);
    assert!(!three.is_empty() && two.len() > 5, "{three:?} {two:?}");
    one.leave(3);
    one.pass(Duration::from_millis(900));
    assert_eq!(one.copied, [], "it may come back");
    one.passes();
    let lost = three.len() + two.len();
    assert_eq!(one.copied.len(), lost, "everything is mended, once");
    let first: BTreeSet<_> = one.copied[..two.len()].iter().copied().collect();
    assert_eq!(first, two.into_iter().collect(), "the last copies first");
}

#[test]
fn a_copy_that_cannot_be_made_is_not_tried_all_the_time() {
    let (mut one, _) = One::two_goals(one_by_one(), 10);
    one.copies_fail = true;
    one.leave(3);
    one.pass(Duration::from_secs(2));
    one.copies_tried = 0;
    // Ten seconds of ticks of 10 ms: a pass begins once a second.
    for _ in 0..1_000 {
        one.pass(Duration::from_millis(10));
    }
    assert!(one.copies_tried > 0, "it is tried");
    assert!(one.copies_tried < 1_000, "{} times", one.copies_tried);
    one.copies_fail = false;
    one.passes();
    assert!(!one.copied.is_empty(), "and made at last");
}

#[test]
fn a_chunkserver_that_said_that_it_stops_is_waited_for_longer() {
    let options = Options {
        announced_absence: Duration::from_secs(30),
        ..one_by_one()
    };
    let (mut one, [three, two]) = One::two_goals(options.clone(), 10);
    one.report(3, Report::Leaving);
    one.leave(3);
    one.pass(Duration::from_secs(2));
    one.passes();
    assert_eq!(one.copied, [], "it said that it will be back");
    one.pass(Duration::from_secs(20));
    one.passes();
    assert_eq!(one.copied.len(), three.len() + two.len(), "it is not");

    // Another one that is gone without a word may be gone for good.
    let (mut one, _) = One::two_goals(options, 10);
    one.report(3, Report::Leaving);
    one.leave(3);
    one.leave(5);
    one.pass(Duration::from_secs(2));
    one.passes();
    assert!(!one.copied.is_empty(), "both are mended");
}
