//! A state that may be older than its chunkservers, while one of them is still to come.

use super::*;
use crate::chunks::doubt::{IDS, VERSIONS};

const DOUBT: Duration = Duration::from_secs(20);

fn doubting() -> Options {
    Options {
        doubt: DOUBT,
        ..eager()
    }
}

impl One {
    /// The node starts again, on the state as it is. Nobody is connected.
    fn restart(&mut self, options: Options, life: u64) {
        self.keeper = keeper(options, life);
        for server in self.servers.values_mut() {
            server.there = false;
        }
        for info in self.bed.tree.chunkservers().unwrap() {
            let tree = &self.bed.tree;
            let told = self
                .keeper
                .on_registered(info.csid, info.registration, tree);
            told.unwrap();
        }
        self.lead(life);
    }

    fn readers_find(&mut self, inode: InodeId) -> Vec<CsId> {
        let (info, length) = (self.info(inode), 10);
        let Some(ChunkAnswer::Located(located)) = self.wish(ChunkWish::Read { info, length })
        else {
            panic!("it can be read");
        };
        located.holders.iter().map(|holder| holder.csid).collect()
    }
}

/// What is written before a chunkserver comes that has what was written after the state was kept: a
/// new chunk, and a new version of an old one. Whether any of that is taken for what is written now,
/// or is gone afterwards.
fn written_before_the_last_has_come(options: Options) -> (Vec<&'static str>, One) {
    let mut one = One::with(options.clone());
    one.lead(1);
    one.join(1, true);
    one.join(2, true);
    one.pass(DOUBT);
    let (old, info) = one.file("old");
    one.passes();
    let (chunk, version) = (info.chunk, info.version);
    // Chunkserver 2 goes on in a history that this state does not have.
    let next = ChunkId::from_parts(chunk.sequence() + 1, chunk.slot()).expect("a small number");
    one.disk(2).insert(chunk, version + 1);
    one.disk(2).insert(next, 1);
    one.restart(options, 2);
    one.join(1, true);
    one.disk(1).insert(chunk, version);
    one.join(1, true);
    let (new, made) = one.file("new");
    let wrote = one.write(old);
    one.join(2, true);
    let mut wrong = Vec::new();
    if one.readers_find(new) != [CsId(1)] {
        wrong.push("a new chunk is read where another lies");
    }
    if one.readers_find(old) != [CsId(1)] {
        wrong.push("an old chunk is read where another version of it lies");
    }
    assert_eq!(one.disk(1)[&made.chunk], made.version);
    assert_eq!(one.disk(1)[&chunk], wrote.version);
    one.pass(DOUBT);
    one.passes();
    if one.disk(2).get(&next) != Some(&1) {
        wrong.push("a newer chunk is gone");
    }
    if one.disk(2).get(&chunk) != Some(&(version + 1)) {
        wrong.push("a newer version is gone");
    }
    (wrong, one)
}

#[test]
fn nothing_that_is_written_is_taken_for_what_a_chunkserver_that_comes_later_has() {
    let (wrong, one) = written_before_the_last_has_come(doubting());
    assert_eq!(wrong, Vec::<&str>::new());
    let said = one.reports.join("\n");
    assert!(said.contains("older than they are"), "{said}");
}

#[cfg(feature = "planted-bugs")]
#[test]
fn who_gives_out_numbers_of_the_future_is_found() {
    let bug = Some(crate::planted::Bug::NumbersOfTheFutureGiven);
    let (wrong, _) = written_before_the_last_has_come(Options { bug, ..doubting() });
    let all = [
        "a new chunk is read where another lies",
        "an old chunk is read where another version of it lies",
    ];
    assert_eq!(wrong[..2], all, "{wrong:?}");
}

#[test]
fn a_node_that_has_heard_of_all_copies_leaves_nothing_out() {
    let mut one = One::with(doubting());
    one.lead(1);
    one.join(1, true);
    one.pass(DOUBT);
    let (_, first) = one.file("first");
    one.leave(1);
    one.join(1, true);
    one.lead(2);
    let (_, second) = one.file("second");
    assert_eq!((first.version, second.version), (1, 1));
    assert_eq!(second.chunk.sequence(), first.chunk.sequence() + 1);
}

#[test]
fn one_that_never_comes_costs_a_slot_one_jump_and_an_old_chunk_one() {
    let mut one = One::with(doubting());
    one.lead(1);
    one.join(1, true);
    one.join(2, true);
    one.pass(DOUBT);
    let (old, before) = one.file("old");
    one.leave(2);
    one.restart(doubting(), 2);
    one.join(1, true);
    one.pass(DOUBT + DOUBT);
    let (_, first) = one.file("first");
    assert_eq!(first.chunk.sequence(), before.chunk.sequence() + 1);
    assert_eq!(first.version, 1 + VERSIONS);
    let (_, second) = one.file("second");
    assert_eq!(second.chunk.sequence(), first.chunk.sequence() + 1 + IDS);
    assert_eq!(second.version, 1);
    let (_, third) = one.file("third");
    assert_eq!(third.chunk.sequence(), second.chunk.sequence() + 1);
    assert_eq!(third.version, 1);
    let version = one.write(old).version;
    assert_eq!(version, before.version + 1 + VERSIONS);
    // A later leader of the same life raises it by one.
    one.lead(3);
    assert_eq!(one.write(old).version, version + 1);
    // And in the life after that it is doubted again.
    one.restart(doubting(), 4);
    one.join(1, true);
    assert_eq!(one.write(old).version, version + 2 + VERSIONS);
}

#[test]
fn a_jump_that_was_not_taken_is_made_again() {
    let mut one = One::with(doubting());
    one.lead(1);
    one.join(1, true);
    let inode = one.bed.file(&root(), ROOT, "file");
    let wish = one.begin(inode, false);
    one.held = Some(Vec::new());
    assert_eq!(one.wish(wish.clone()), None);
    let held = one.held.take().unwrap();
    assert_eq!(held.len(), 2, "ids and versions: {held:?}");
    for (ticket, _) in held {
        let tree = &one.bed.tree;
        one.keeper.on_proposed(ticket, Came::Nothing, tree).unwrap();
    }
    one.run();
    assert_eq!(one.again.len(), 1, "it is asked again");
    assert!(matches!(one.wish(wish), Some(ChunkAnswer::Located(_))));
    assert!(one.info(inode).version > VERSIONS);
    let (_, next) = one.file("next");
    assert!(next.chunk.sequence() >= IDS);
}

#[test]
fn a_copy_of_a_chunk_that_was_made_in_doubt_is_no_foreign_one_when_it_comes_back() {
    let mut one = One::with(doubting());
    one.lead(1);
    one.join(1, true);
    let (inode, info) = one.file("file");
    assert!(info.version > VERSIONS);
    one.pass(DOUBT);
    one.leave(1);
    one.unlink(inode, "file");
    one.keeper.on_unused(info.chunk);
    one.passes();
    let known = one.bed.tree.known(info.chunk);
    assert_eq!(known, Ok(KnownChunk::Present), "it waits for the copy");
    one.join(1, true);
    // Copies are counted when there was time to find them all.
    one.pass(Duration::from_secs(60));
    one.passes();
    assert_eq!(one.disk(1).get(&info.chunk), None);
    assert_eq!(one.bed.tree.known(info.chunk), Ok(KnownChunk::Deleted));
}
