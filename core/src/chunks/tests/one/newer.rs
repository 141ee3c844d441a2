//! A state that is older than what chunkservers have.

use super::*;

impl One {
    /// A chunkserver has a copy that is not of this state, and names it.
    fn comes_with(&mut self, number: u16, chunk: ChunkId, version: u32) {
        self.join(number, true);
        self.disk(number).insert(chunk, version);
        self.join(number, true);
    }

    pub fn unlink(&mut self, inode: InodeId, name: &str) {
        self.bed.ok(Op::SetTrashTime {
            caller: root(),
            inode,
            seconds: 0,
            mode: SetMode::Set,
            recursive: false,
        });
        self.bed.ok(unlink(&root(), ROOT, name));
    }
}

/// Copies of a chunk and of a version that the state never gave out, under a leader that looks at
/// everything: which of them are not as they were.
fn what_upkeep_does_to_newer(options: Options) -> (One, Vec<ChunkId>) {
    let mut one = One::with(options);
    one.lead(1);
    one.join(1, true);
    let (_, info) = one.file("file");
    let (chunk, next) = (info.chunk, info.chunk.sequence() + 7);
    let unknown = ChunkId::from_parts(next, chunk.slot()).expect("a small number");
    one.comes_with(2, unknown, 3);
    one.comes_with(2, chunk, info.version + 5);
    one.comes_with(3, unknown, 4);
    one.passes();
    let mut changed = Vec::new();
    for (number, copy, version) in [(2, unknown, 3), (2, chunk, 6), (3, unknown, 4)] {
        if one.disk(number).get(&copy) != Some(&version) {
            changed.push(copy);
        }
    }
    (one, changed)
}

#[test]
fn copies_that_are_newer_than_the_state_are_never_deleted_and_an_operator_is_told() {
    let (mut one, changed) = what_upkeep_does_to_newer(eager());
    assert_eq!(changed, []);
    let said = one.reports.join("\n");
    assert!(said.contains("3 copies at chunkservers"), "{said}");
    let parts = "2 of chunks that it does not have, 1 in versions that it never gave out";
    assert!(said.contains(parts), "{said}");
    assert_eq!(one.reports.len(), 2, "once each: {said}");
    one.passes();
    assert_eq!(
        one.reports.len(),
        2,
        "and not again while nothing is another"
    );
    // The next leader says it, too: it may be another machine's log.
    one.lead(2);
    one.passes();
    assert_eq!(one.reports.len(), 4, "both");
}

#[cfg(feature = "planted-bugs")]
#[test]
fn who_deletes_copies_that_are_newer_than_the_state_is_found() {
    let bug = Some(crate::planted::Bug::NewerCopiesDeleted);
    let (_, changed) = what_upkeep_does_to_newer(Options { bug, ..eager() });
    assert_eq!(changed.len(), 3, "{changed:?}");
}

#[test]
fn an_id_that_a_chunkserver_has_named_is_given_to_no_new_chunk() {
    let (mut one, _) = what_upkeep_does_to_newer(eager());
    let before: BTreeSet<ChunkId> = one.disk(2).keys().copied().collect();
    for number in 0..12 {
        let (_, info) = one.file(&format!("new{number}"));
        assert!(!before.contains(&info.chunk), "{} is another's", info.chunk);
    }
    one.passes();
    let unknown = before.last().expect("two were put there");
    assert_eq!((one.disk(2)[unknown], one.disk(3)[unknown]), (3, 4));
}

#[test]
fn a_number_beyond_all_sense_uses_up_no_ids() {
    let mut one = One::with(eager());
    one.lead(1);
    one.join(1, true);
    let (_, info) = one.file("file");
    let slot = info.chunk.slot();
    let last = ChunkId::from_parts((1 << 42) - 1, slot).expect("the last one");
    one.comes_with(2, last, 1);
    one.passes();
    let (_, next) = one.file("next");
    assert_eq!(next.chunk.sequence(), info.chunk.sequence() + 1);
    assert_eq!(one.disk(2)[&last], 1);
}

#[test]
fn a_version_is_above_all_that_chunkservers_have_and_those_copies_stay_as_they_are() {
    let (mut one, file, info) = led();
    let chunk = info.chunk;
    one.comes_with(2, chunk, info.version + 1);
    one.comes_with(3, chunk, info.version + 4);
    let wish = one.begin(file, true);
    let Some(ChunkAnswer::Located(located)) = one.wish(wish) else {
        panic!("it has a copy of its own");
    };
    assert_eq!(located.version, info.version + 5);
    assert_eq!(located.holders.len(), 1, "{located:?}");
    one.end(file, chunk);
    // The next leader reads the same in the state.
    one.lead(2);
    let wish = one.begin(file, true);
    assert!(matches!(one.wish(wish), Some(ChunkAnswer::Located(_))));
    let version = one.info(file).version;
    assert!(version > info.version + 5);
    assert_eq!(one.disk(1)[&chunk], version);
    let left = (one.disk(2)[&chunk], one.disk(3)[&chunk]);
    assert_eq!(left, (info.version + 1, info.version + 4));
}

#[test]
fn an_interrupted_raise_above_newer_copies_goes_on_from_those_of_this_state_alone() {
    let (mut one, file, info) = led();
    let chunk = info.chunk;
    one.comes_with(2, chunk, info.version + 3);
    one.slow = true;
    let wish = one.begin(file, true);
    assert_eq!(one.wish(wish), None, "an order is under way");
    assert_eq!(one.info(file).version, info.version + 4);
    // Nobody knows what became of the order: it was not carried out.
    one.slow = false;
    one.join(1, true);
    one.lead(2);
    let wish = one.begin(file, false);
    let Some(ChunkAnswer::Located(located)) = one.wish(wish) else {
        panic!("its own copy is good");
    };
    assert_eq!(located.holders.len(), 1);
    let version = one.info(file).version;
    assert_eq!(one.disk(1)[&chunk], version);
    assert_eq!(one.disk(2)[&chunk], info.version + 3);
}

#[test]
fn a_chunk_whose_id_was_given_out_a_moment_too_early_leaves_the_other_alone() {
    let mut one = One::with(eager());
    one.lead(1);
    one.join(1, true);
    let file = one.bed.file(&root(), ROOT, "file");
    let wish = one.begin(file, false);
    let chunk = one.info(file).chunk;
    one.comes_with(2, chunk, 2);
    let Some(ChunkAnswer::Located(located)) = one.wish(wish) else {
        panic!("it can be made elsewhere");
    };
    assert_eq!((located.version, located.holders.len()), (3, 1));
    one.end(file, chunk);
    one.passes();
    assert_eq!((one.disk(1)[&chunk], one.disk(2)[&chunk]), (3, 2));
    // It goes with its file, and the other one does not.
    one.unlink(file, "file");
    one.passes();
    assert_eq!(one.disk(1).get(&chunk), None);
    assert_eq!(one.bed.tree.chunk(chunk), Ok(None));
    assert_eq!(one.bed.tree.known(chunk), Ok(KnownChunk::Foreign));
    one.join(2, true);
    one.lead(2);
    one.passes();
    assert_eq!(one.disk(2)[&chunk], 2);
}

#[test]
fn a_chunk_that_is_deleted_leaves_newer_copies_of_it() {
    let mut one = One::with(eager());
    one.lead(1);
    one.join(1, true);
    let (file, info) = one.file("file");
    one.comes_with(2, info.chunk, info.version + 2);
    one.unlink(file, "file");
    one.passes();
    assert_eq!(one.disk(1).get(&info.chunk), None);
    assert_eq!(one.bed.tree.chunk(info.chunk), Ok(None));
    one.passes();
    assert_eq!(one.disk(2)[&info.chunk], info.version + 2);
}
