//! The real master's file as a state and back, states of random operations as files and back, and
//! files that are spoilt.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::id::{ChunkId, InodeId, SessionId};
use crate::moosefs::metadata::item::{Content, Edge, Lock};
use crate::moosefs::metadata::{Composer, Item, Parser, Section};
use crate::namespace::op::{NodeKind, Op, Whereabouts};
use crate::namespace::random::{Step, bed_after};
use crate::namespace::{Dump, DumpedNode, Namespace, export};
use crate::store::{MemStore, StateView};

const REAL: &[u8] = include_bytes!("../../moosefs/metadata/testdata/written-by-3.0.117.mfs");
const METAID: u64 = 7_713_129_847_508_564_713;
const OWN: u64 = 77;

fn load(bytes: &[u8]) -> Result<Namespace<MemStore>, ImportError> {
    let (mut scratch, mut state) = (MemStore::new(), MemStore::new());
    import(
        bytes,
        &mut scratch,
        &mut state,
        WallTime(2_000),
        |_| Vec::new(),
        &mut |_| {},
    )?;
    Ok(Namespace::open(state).unwrap())
}

fn save(tree: &Namespace<MemStore>) -> Vec<u8> {
    let view: &dyn StateView = tree.store();
    export(view, OWN, Vec::new(), &mut |_, _| {}).unwrap()
}

fn items(bytes: &[u8]) -> Vec<Item> {
    let mut parser = Parser::new(bytes);
    let mut items = Vec::new();
    while let Some(item) = parser.next_item().unwrap() {
        items.push(item);
    }
    items
}

/// A file of these, and where each begins.
fn compose(items: &[Item]) -> (Vec<u8>, Vec<u64>) {
    let mut composer = Composer::new(Vec::new());
    let mut places = Vec::new();
    for item in items {
        places.push(composer.position());
        composer.item(item).unwrap();
    }
    (composer.into_sink(), places)
}

fn at<'d>(dump: &'d Dump, path: &str) -> &'d DumpedNode {
    let mut at = InodeId::ROOT;
    for name in path.split('/') {
        at = dump.nodes[&at].entries[name.as_bytes()];
    }
    &dump.nodes[&at]
}

#[test]
fn the_real_masters_file_is_a_state_that_keeps_all_laws() {
    let tree = load(REAL).unwrap();
    assert_eq!(tree.check().unwrap(), Ok(()));
    assert_eq!((tree.version(), tree.metaid()), (63, Ok(Some(METAID))));
    let dump = tree.dump().unwrap();
    assert_eq!(dump.nodes.len(), 13);
    let names: Vec<_> = dump.nodes[&InodeId(2)].entries.keys().collect();
    let expected = ["dev", "f1", "f2", "f3", "fifo", "hole", "sub", "with space"];
    assert_eq!(
        names,
        expected.map(|name| name.as_bytes().to_vec()).each_ref()
    );
    let f1 = at(&dump, "dir/f1");
    assert_eq!(f1, at(&dump, "dir/sub/hard"));
    assert_eq!((f1.names, f1.length, f1.mode), (2, 70_000, 0o644));
    assert_eq!(f1.atime, WallTime(1_795_852_983));
    assert_eq!(f1.mtime, WallTime(1_795_852_981));
    assert_eq!(at(&dump, "dir/sub/soft").target, b"../f1");
    assert_eq!(at(&dump, "dir/dev").rdev, 1_795);
    assert_eq!(at(&dump, "dir/sub").eattr, 1);
    let hole = at(&dump, "dir/hole");
    assert_eq!(hole.chunks, BTreeMap::from([(2, ChunkId(4))]));
    assert!(at(&dump, "dir/f2").access_acl.is_some());
    assert!(at(&dump, "dir/sub").default_acl.is_some());
    let f3 = at(&dump, "dir/f3");
    assert_eq!(dump.classes[&f3.class].name, b"special");
    assert_eq!(dump.classes[&f3.class].archive_delay_days, 7);
    let gone = &dump.nodes[&InodeId(12)];
    assert_eq!(gone.whereabouts, Whereabouts::Trash);
    assert_eq!(gone.path, b"dir/gone");
    let kept = &dump.nodes[&InodeId(13)];
    assert_eq!(kept.whereabouts, Whereabouts::Sustained);
    assert_eq!((dump.trash_bytes, dump.sustained_bytes), (70_000, 3));
    let (soft, hard, grace, since) = at(&dump, "dir").quota.unwrap();
    assert_eq!((soft.length, hard.inodes), (Some(1_000_000), Some(100)));
    assert_eq!((grace, since), (604_800, Some(WallTime(1_795_852_983))));
    assert_eq!(dump.sessions.len(), 2);
    let files = [5, 6, 7, 11, 12, 13].map(|ino| (SessionId(1), InodeId(ino)));
    assert_eq!(dump.open_files, BTreeSet::from(files));
    assert_eq!(dump.locks.len(), 2);
    assert_eq!(dump.chunkservers.len(), 3);
    assert_eq!(dump.chunks.len(), 6);
    assert!(dump.chunks.values().all(|chunk| chunk.references == 1));
}

#[test]
fn what_is_made_later_has_numbers_that_the_old_master_never_gave() {
    let mut tree = load(REAL).unwrap();
    let command = |op| crate::namespace::op::Command {
        stamp: crate::time::Stamp {
            time: 9,
            node: crate::id::NodeId(1),
        },
        now: WallTime(3_000),
        request: None,
        op,
    };
    let caller = crate::namespace::testing::root();
    let dir = InodeId(2);
    let mut index = tree.applied().index;
    for name in 0..20 {
        index = index.next();
        let op = crate::namespace::testing::mkdir(&caller, dir, &format!("new{name}"));
        let outcome = tree.apply(index, &command(op)).unwrap();
        let Ok(crate::namespace::op::Reply::Node { inode, .. }) = outcome.result else {
            panic!("{outcome:?}");
        };
        assert!(inode > InodeId(13), "{inode}");
        assert_eq!(tree.check().unwrap(), Ok(()));
    }
    let write = Op::WriteChunk {
        caller,
        inode: InodeId(7),
        index: 1,
        go_on: false,
        chunk_moved: false,
        may_touch_times: false,
    };
    let outcome = tree.apply(index.next(), &command(write)).unwrap();
    let Ok(crate::namespace::op::Reply::Chunk { chunk, .. }) = outcome.result else {
        panic!("{outcome:?}");
    };
    assert!(chunk >= ChunkId(7), "{chunk}");
}

/// What of an item is not the same again, and need not be, is made the same.
fn plain(item: &Item) -> String {
    let item = match item.clone() {
        Item::Section(Section::Edges, _) => Item::Section(Section::Edges, [0, 0]),
        Item::Session(mut it) => {
            // Statistics, which are not kept.
            it.counters = [[0; 16]; 2];
            Item::Session(it)
        }
        Item::Edge(it) => Item::Edge(Edge { edge: 0, ..it }),
        Item::Quota(mut it) => {
            it.grace = match it.grace {
                0 => 604_800,
                grace => grace,
            };
            Item::Quota(it)
        }
        item => item,
    };
    format!("{item:?}")
}

#[test]
fn the_real_masters_file_comes_out_as_it_went_in_but_for_its_order() {
    let again = save(&load(REAL).unwrap());
    let sorted = |bytes: &[u8]| {
        let items = items(bytes);
        let sections: Vec<_> = items
            .iter()
            .filter_map(|item| match item {
                Item::Section(section, _) => Some(*section),
                _ => None,
            })
            .collect();
        assert_eq!(sections, Section::ALL);
        items.iter().map(plain).collect::<BTreeSet<_>>()
    };
    let (before, after) = (sorted(REAL), sorted(&again));
    let lost: Vec<_> = before.difference(&after).collect();
    let new: Vec<_> = after.difference(&before).collect();
    assert!(lost.is_empty() && new.is_empty(), "{lost:#?} {new:#?}");
    assert_eq!(items(REAL).len(), items(&again).len());
}

#[test]
fn names_are_written_a_directory_at_a_time_and_later_ones_have_lower_numbers() {
    let mut seen = BTreeSet::new();
    let (mut last, mut lowest) = (None, u64::MAX);
    for item in items(&save(&load(REAL).unwrap())) {
        if let Item::Edge(edge) = item {
            assert!(edge.edge < lowest, "{edge:?}");
            lowest = edge.edge;
            if last != Some(edge.parent) {
                assert!(
                    seen.insert(edge.parent),
                    "{edge:?} comes apart from its directory"
                );
                last = Some(edge.parent);
            }
        }
    }
    assert_eq!(seen.len(), 4);
}

/// What a file says of a state, and what need not be the same after it is read again.
fn comparable(mut dump: Dump) -> Dump {
    dump.version = 0;
    dump.metaid = None;
    dump.lanes.clear();
    dump.given.clear();
    dump.passed_ids.clear();
    dump.passed_versions.clear();
    dump.registrations = 0;
    for node in dump.nodes.values_mut() {
        // It never falls, and is what it has to be in a state that is read.
        node.height = 0;
        node.reserved_end = 0;
        if node.names > 1 {
            node.newest_parent = None;
        }
        if let Some((_, _, grace, _)) = &mut node.quota {
            *grace = (*grace).max(1);
        }
    }
    for server in dump.chunkservers.values_mut() {
        server.registration = 0;
        server.registered_at = WallTime(0);
    }
    for locks in dump.locks.values_mut() {
        locks.flock_waiters.clear();
        locks.range_waiters.clear();
    }
    dump.locks.retain(|_, locks| *locks != Default::default());
    dump
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_state_comes_back_from_its_file(
        steps in prop::collection::vec(any::<Step>(), 1..200)
    ) {
        let mut bed = bed_after(steps);
        let unsettled: Vec<_> = bed.tree.dump().unwrap().chunks.into_iter()
            .filter(|(_, chunk)| chunk.unsettled.is_some())
            .map(|(id, chunk)| (id, chunk.version))
            .collect();
        if let Some((first, _)) = unsettled.first() {
            let view: &dyn StateView = bed.tree.store();
            let refused = export(view, OWN, Vec::new(), &mut |_, _| {}).unwrap_err();
            prop_assert!(refused.to_string().contains("unmount"), "{first}: {refused}");
        }
        for (chunk, version) in unsettled {
            bed.ok(Op::SettleChunk { chunk, version });
        }
        let bytes = save(&bed.tree);
        let again = load(&bytes).unwrap();
        prop_assert_eq!(again.check().unwrap(), Ok(()));
        let (before, after) = (bed.tree.dump().unwrap(), again.dump().unwrap());
        for (slot, (inodes, chunks)) in &before.given {
            let given = after.given.get(slot).copied().unwrap_or_default();
            prop_assert!(given.0 >= *inodes && given.1 >= *chunks, "{slot:?}: {given:?}");
        }
        let (before, after) = (comparable(before), comparable(after));
        prop_assert_eq!(before.difference(&after), None);
        prop_assert_eq!(save(&again), bytes, "the same file once more");
    }
}

/// A file that is spoilt somewhere is refused, or is another file that keeps all laws.
fn judge(bytes: &[u8], how: &str) -> bool {
    match load(bytes) {
        Ok(tree) => {
            assert_eq!(tree.check().unwrap(), Ok(()), "{how}");
            // What was taken can be written.
            save(&tree);
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty(), "{how}");
            assert!(!matches!(error, ImportError::Store(_)), "{how}: {error}");
            false
        }
    }
}

#[test]
fn every_file_that_is_cut_short_is_refused() {
    for length in 0..REAL.len() {
        assert!(!judge(&REAL[..length], &format!("cut at {length}")));
    }
}

#[test]
fn no_spoilt_byte_makes_a_state_that_breaks_a_law() {
    let (mut taken, mut refused) = (0, 0);
    for at in 0..REAL.len() {
        for flip in [0x01, 0x80] {
            let mut spoilt = REAL.to_vec();
            spoilt[at] ^= flip;
            match judge(&spoilt, &format!("byte {at} flipped by {flip:#x}")) {
                true => taken += 1,
                false => refused += 1,
            }
        }
    }
    // Times, names and statistics may be anything; what holds the file together may not.
    assert!(taken > 1_000 && refused > 1_000, "{taken} {refused}");
}

/// A way to spoil a file: gives what is said of it, and where the record is that is said to be wrong.
type Spoil = fn(&mut Vec<Item>) -> (&'static str, usize);

fn find(items: &[Item], is: impl Fn(&Item) -> bool) -> usize {
    items.iter().position(is).unwrap()
}

fn edge_of(items: &mut [Item], name: &[u8]) -> (usize, Edge) {
    let at = find(
        items,
        |item| matches!(item, Item::Edge(it) if it.name == name),
    );
    let Item::Edge(edge) = &items[at] else {
        unreachable!("it was found");
    };
    (at, edge.clone())
}

fn set_edge(items: &mut [Item], name: &[u8], change: impl Fn(&mut Edge)) -> usize {
    let (at, mut edge) = edge_of(items, name);
    change(&mut edge);
    items[at] = Item::Edge(edge);
    at
}

fn node_at(items: &[Item], ino: u32) -> usize {
    find(
        items,
        |item| matches!(item, Item::Node(it) if it.inode == InodeId(ino)),
    )
}

fn set_node(
    items: &mut [Item],
    ino: u32,
    change: impl Fn(&mut crate::moosefs::metadata::item::Node),
) -> usize {
    let at = node_at(items, ino);
    if let Item::Node(node) = &mut items[at] {
        change(node);
    }
    at
}

/// Puts an item behind another, of its own kind.
fn again(items: &mut Vec<Item>, is: impl Fn(&Item) -> bool) -> usize {
    let at = find(items, is);
    let item = items[at].clone();
    items.insert(at + 1, item);
    at + 1
}

/// Puts an item into a section that has none.
fn into(items: &mut Vec<Item>, section: Section, item: Item) -> usize {
    let at = find(
        items,
        |it| matches!(it, Item::Section(of, _) if *of == section),
    );
    items.insert(at + 1, item);
    at + 1
}

fn nodes_told(items: &mut [Item], more: i64) {
    for item in items {
        if let Item::Section(Section::Nodes, [_, count]) = item {
            *count = count.checked_add_signed(more).unwrap();
        }
    }
}

#[test]
fn records_that_do_not_fit_each_other_are_refused_with_their_place() {
    let examples: &[Spoil] = &[
        |items| {
            (
                "ino99, which is not there",
                set_edge(items, b"f1", |it| it.child.0 = 99),
            )
        },
        |items| {
            (
                "ino99, which is not there",
                set_edge(items, b"f1", |it| it.parent.0 = 99),
            )
        },
        |items| {
            (
                "which is no directory",
                set_edge(items, b"f1", |it| it.parent.0 = 7),
            )
        },
        |items| {
            (
                "a second \"f2\" in ino2",
                set_edge(items, b"f1", |it| it.name = b"f2".to_vec()),
            )
        },
        |items| {
            (
                "can be no name",
                set_edge(items, b"f1", |it| it.name = b"..".to_vec()),
            )
        },
        |items| {
            (
                "can be no name",
                set_edge(items, b"f1", |it| it.name = b"a/b".to_vec()),
            )
        },
        |items| {
            // Two names of a directory.
            set_edge(items, b"f3", |it| it.child.0 = 3);
            ("has 2 names", node_at(items, 3))
        },
        |items| {
            set_edge(items, b"f3", |it| it.child.0 = 6);
            ("has 0 names", node_at(items, 7))
        },
        |items| {
            set_edge(items, b"f3", |it| it.child.0 = 1);
            ("has 1 names", node_at(items, 1))
        },
        |items| {
            // A ring: each is in the other.
            set_edge(items, b"dir", |it| it.parent.0 = 3);
            ("cannot be reached", node_at(items, 2))
        },
        |items| {
            set_edge(items, b"dir/gone", |it| {
                (it.parent, it.name) = (InodeId(2), b"x".to_vec())
            });
            ("Trash, has 1 names", node_at(items, 12))
        },
        |items| {
            let is = |it: &Item| matches!(it, Item::Edge(edge) if edge.name == b"dir/sust");
            ("had a second path", again(items, is))
        },
        |items| {
            (
                "of 1025 bytes",
                set_edge(items, b"dir/gone", |it| it.name = vec![b'p'; 1_025]),
            )
        },
        |items| {
            nodes_told(items, 1);
            (
                "a second ino6",
                again(items, |it| matches!(it, Item::Node(n) if n.inode.0 == 6)),
            )
        },
        |items| {
            (
                "no storage class 77",
                set_node(items, 6, |it| it.class = 77),
            )
        },
        |items| {
            (
                "was never given out",
                set_node(items, 6, |it| it.inode.0 = 14),
            )
        },
        |items| ("mode 100644", set_node(items, 6, |it| it.mode = 0o100_644)),
        |items| {
            let long = Content::File {
                length: (1 << 57) + 1,
                chunks: Vec::new(),
            };
            (
                "bytes long",
                set_node(items, 6, |it| it.content = long.clone()),
            )
        },
        |items| {
            let target = Content::Target(vec![b't'; 4_096]);
            (
                "4096 bytes",
                set_node(items, 8, |it| it.content = target.clone()),
            )
        },
        |items| {
            let other = Content::File {
                length: 1,
                chunks: vec![ChunkId(99)],
            };
            (
                "c99, which is not there",
                set_node(items, 6, |it| it.content = other.clone()),
            )
        },
        |items| {
            let at = find(
                items,
                |it| matches!(it, Item::Chunk(chunk) if chunk.chunk.0 == 3),
            );
            items.remove(at);
            ("c3, which is not there", node_at(items, 7))
        },
        |items| {
            (
                "a second c3",
                again(items, |it| matches!(it, Item::Chunk(c) if c.chunk.0 == 3)),
            )
        },
        |items| {
            let at = find(
                items,
                |it| matches!(it, Item::Chunk(chunk) if chunk.chunk.0 == 3),
            );
            if let Item::Chunk(chunk) = &mut items[at] {
                chunk.chunk.0 = 7;
            }
            ("c7 was never given out", at)
        },
        |items| {
            let at = find(items, |it| matches!(it, Item::Chunk(_)));
            if let Item::Chunk(chunk) = &mut items[at] {
                chunk.version = 0;
            }
            ("of version 0", at)
        },
        |items| {
            (
                "a second session 1",
                again(items, |it| matches!(it, Item::Session(_))),
            )
        },
        |items| {
            let at = find(items, |it| matches!(it, Item::Session(_)));
            if let Item::Session(session) = &mut items[at] {
                session.session.0 = 3;
            }
            ("session 3 was never given out", at)
        },
        |items| {
            let at = find(items, |it| matches!(it, Item::Session(_)));
            if let Item::Session(session) = &mut items[at] {
                session.flags = 0x80;
            }
            ("flags that nobody knows", at)
        },
        |items| {
            (
                "the name of another",
                again(items, |it| matches!(it, Item::Class(_))),
            )
        },
        |items| {
            let at = find(
                items,
                |it| matches!(it, Item::Class(class) if class.id == 10),
            );
            if let Item::Class(class) = &mut items[at] {
                class.id = 300;
            }
            ("storage class 300", at)
        },
        |items| {
            let at = find(
                items,
                |it| matches!(it, Item::Class(class) if class.id == 10),
            );
            if let Item::Class(class) = &mut items[at] {
                class.wanted[1].clear();
            }
            ("wants no copies", at)
        },
        |items| {
            let xattr = || Item::Xattr(InodeId(99), b"user.x".to_vec(), Vec::new());
            (
                "ino99, which is not there",
                into(items, Section::Xattrs, xattr()),
            )
        },
        |items| {
            let xattr = || Item::Xattr(InodeId(6), b"user.x".to_vec(), Vec::new());
            into(items, Section::Xattrs, xattr());
            (
                "a second \"user.x\" of ino6",
                into(items, Section::Xattrs, xattr()) + 1,
            )
        },
        |items| {
            let xattr = Item::Xattr(InodeId(6), b"user\0x".to_vec(), Vec::new());
            ("has no name", into(items, Section::Xattrs, xattr))
        },
        |items| {
            (
                "a second list of access",
                again(items, |it| matches!(it, Item::Acl(_))),
            )
        },
        |items| {
            let at = find(items, |it| matches!(it, Item::Acl(acl) if acl.kind == 2));
            if let Item::Acl(acl) = &mut items[at] {
                acl.inode.0 = 7;
            }
            ("can have no such list", at)
        },
        |items| {
            let at = find(items, |it| matches!(it, Item::Quota(_)));
            if let Item::Quota(quota) = &mut items[at] {
                quota.inode.0 = 7;
            }
            ("a quota of ino7, which is no directory", at)
        },
        |items| {
            let at = find(items, |it| matches!(it, Item::Quota(_)));
            let first = items[at].clone();
            items[at + 1] = first;
            ("a second quota", at + 1)
        },
        |items| {
            let open = Item::Open(SessionId(9), InodeId(6));
            ("no session 9", into(items, Section::Open, open))
        },
        |items| {
            let open = Item::Open(SessionId(1), InodeId(2));
            ("is open, and is no file", into(items, Section::Open, open))
        },
        |items| {
            (
                "a second time",
                again(items, |it| matches!(it, Item::Open(..))),
            )
        },
        |items| {
            let lock = Lock {
                inode: InodeId(6),
                owner: 1,
                session: SessionId(2),
                bytes: None,
                kind: 1,
            };
            (
                "does not have open",
                into(items, Section::Flocks, Item::Flock(lock)),
            )
        },
        |items| {
            let at = again(items, |it| matches!(it, Item::Flock(_)));
            if let Item::Flock(lock) = &mut items[at] {
                (lock.kind, lock.owner) = (1, u64::MAX);
            }
            ("exclude each other", at)
        },
        |items| {
            let at = again(items, |it| matches!(it, Item::PosixLock(_)));
            if let Item::PosixLock(lock) = &mut items[at] {
                lock.owner = 1;
            }
            ("exclude each other", at)
        },
        |items| {
            let at = find(items, |it| matches!(it, Item::PosixLock(_)));
            if let Item::PosixLock(lock) = &mut items[at] {
                lock.bytes = Some((1, 5, 5));
            }
            ("a lock of no bytes", at)
        },
        |items| {
            let at = find(items, |it| matches!(it, Item::Chunkserver(_)));
            let first = items[at].clone();
            items[at + 1] = first;
            ("or that of another", at + 1)
        },
        |items| {
            let at = find(items, |it| matches!(it, Item::Chunkserver(_)));
            let Item::Chunkserver(first) = items[at] else {
                unreachable!("it was found");
            };
            if let Item::Chunkserver(second) = &mut items[at + 1] {
                (second.ip, second.port) = (first.ip, first.port);
            }
            ("another one has this address", at + 1)
        },
    ];
    let mut wrong = Vec::new();
    for (number, spoil) in examples.iter().enumerate() {
        let mut spoilt = items(REAL);
        let (said, culprit) = spoil(&mut spoilt);
        let (bytes, places) = compose(&spoilt);
        match load(&bytes) {
            Err(ImportError::Unfit { at, what }) if what.contains(said) => {
                if at != places[culprit] {
                    wrong.push(format!(
                        "{number}: {what}, at {at}, not {}",
                        places[culprit]
                    ));
                }
            }
            other => wrong.push(format!("{number}: {said}: {:?}", other.map(|_| ()))),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_file_as_a_whole_may_be_of_no_use() {
    let said = |bytes: &[u8]| load(bytes).err().unwrap().to_string();
    assert!(said(b"MFSM NEW").contains("holds no metadata"));
    for section in Section::ALL {
        let mut without = items(REAL);
        let at = find(
            &without,
            |it| matches!(it, Item::Section(of, _) if *of == section),
        );
        let length = without[at + 1..]
            .iter()
            .position(|it| matches!(it, Item::Section(..) | Item::End))
            .unwrap();
        without.drain(at..=at + length);
        let name = String::from_utf8_lossy(section.name()).into_owned();
        let said = said(&compose(&without).0);
        assert!(
            said.contains("section") && said.contains(&name) || said.contains("no session"),
            "{said}"
        );
    }
    let mut fewer = items(REAL);
    nodes_told(&mut fewer, 1);
    assert!(said(&compose(&fewer).0).contains("13 nodes"));
    let mut rootless = items(REAL);
    let root = node_at(&rootless, 1);
    rootless.remove(root);
    nodes_told(&mut rootless, -1);
    assert!(said(&compose(&rootless).0).contains("ino1, which is not there"));
}

#[test]
fn a_deep_tree_and_a_file_of_many_names_are_taken() {
    let node = |ino: u32, kind: u8, content| {
        let real = items(REAL);
        let Item::Node(mut it) = real[node_at(&real, 2)].clone() else {
            unreachable!("it was found");
        };
        (it.inode, it.kind, it.content) = (InodeId(ino), kind, content);
        Item::Node(it)
    };
    let edge = |parent, child, name: String| {
        Item::Edge(Edge {
            parent: InodeId(parent),
            child: InodeId(child),
            edge: u64::from(child),
            name: name.into_bytes(),
        })
    };
    let (deep, names) = (crate::limits::DEPTH_MAX as u32, 3_000);
    let build = |deep: u32| {
        let mut made = vec![Item::Head {
            version: 5,
            metaid: 6,
        }];
        made.push(Item::Section(Section::Sessions, [1, 0]));
        made.push(Item::Section(Section::Classes, [0, 0]));
        let file = deep + 2;
        made.push(Item::Section(Section::Nodes, [file.into(), file.into()]));
        for ino in 1..=deep + 1 {
            made.push(node(ino, 2, Content::Nothing));
        }
        let content = Content::File {
            length: 70_000_000,
            chunks: vec![ChunkId(1), ChunkId(0), ChunkId(1)],
        };
        made.push(node(file, 1, content));
        made.push(Item::Section(Section::Edges, [1, 0]));
        for ino in 2..=deep + 1 {
            made.push(edge(ino - 1, ino, format!("d{ino}")));
        }
        for name in 0..names {
            made.push(edge(1 + name % (deep + 1), file, format!("f{name}")));
        }
        for section in &Section::ALL[4..] {
            let next = u64::from(*section == Section::Chunks) * 2;
            made.push(Item::Section(*section, [next, 0]));
        }
        made.push(Item::Chunk(crate::moosefs::metadata::item::Chunk {
            chunk: ChunkId(1),
            version: 1,
            locked_until: WallTime(0),
            archived: 1,
        }));
        made.push(Item::End);
        compose(&made).0
    };
    let tree = load(&build(deep)).unwrap();
    assert_eq!(tree.check().unwrap(), Ok(()));
    let dump = tree.dump().unwrap();
    assert_eq!(dump.chunks[&ChunkId(1)].references, 2);
    assert_eq!(dump.nodes[&InodeId(deep + 2)].names, u64::from(names));
    assert_eq!(dump.nodes[&InodeId::ROOT].kind, Some(NodeKind::Directory));
    let error = load(&build(deep + 1)).err().unwrap().to_string();
    assert!(error.contains("8192 deep"), "{error}");
}
