//! A file that `mfsmaster` 3.0.117 wrote, one that is made up, and both spoilt at every byte.

use super::item::{
    Acl, Chunk, Chunkserver, Class, Content, Edge, Limits, Lock, Node, Quota, Session,
};
use super::*;
use crate::id::{ChunkId, InodeId, SessionId};
use crate::time::WallTime;

/// Written by `mfsmaster` 3.0.117 when it was stopped: two mounts, a tree with all kinds of nodes,
/// a class with labels, quotas, lists of access, locks, a file in the trash, a sustained one.
const REAL: &[u8] = include_bytes!("testdata/written-by-3.0.117.mfs");

struct Bytes<'a> {
    rest: &'a [u8],
    /// Bytes that are given at once.
    portion: usize,
}

impl Source for Bytes<'_> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, String> {
        let count = self.rest.len().min(into.len()).min(self.portion);
        let (now, rest) = self.rest.split_at(count);
        into[..count].copy_from_slice(now);
        self.rest = rest;
        Ok(count)
    }
}

struct Page(Vec<u8>);

impl Sink for Page {
    fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn patch(&mut self, at: u64, bytes: &[u8]) -> Result<(), String> {
        let at = usize::try_from(at).unwrap();
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}

fn parse_in(bytes: &[u8], portion: usize) -> Result<Vec<Item>, Damage> {
    let mut parser = Parser::new(Bytes {
        rest: bytes,
        portion,
    });
    let mut items = Vec::new();
    while let Some(item) = parser.next_item()? {
        items.push(item);
    }
    Ok(items)
}

fn parse(bytes: &[u8]) -> Result<Vec<Item>, Damage> {
    parse_in(bytes, usize::MAX)
}

fn compose(items: &[Item]) -> Vec<u8> {
    let mut composer = Composer::new(Page(Vec::new()));
    for item in items {
        composer.item(item).unwrap();
    }
    let length = composer.position();
    let bytes = composer.into_sink().0;
    assert_eq!(bytes.len() as u64, length);
    bytes
}

/// One record of each kind, some with everything and some with nothing.
fn made_up() -> Vec<Item> {
    let session = Session {
        session: SessionId(7),
        exports_checksum: 8,
        peer_ip: 9,
        root: InodeId(1),
        flags: 10,
        umask: 0o22,
        goals: [1, 9],
        trash: [0, u32::MAX],
        map_root: [11, 12],
        map_all: [13, 14],
        disables: 15,
        disconnected: WallTime(16),
        counters: [[17; 16], [18; 16]],
        info: b"/mnt".to_vec(),
    };
    let class = Class {
        id: 10,
        name: b"special".to_vec(),
        admin_only: 1,
        mode: 2,
        archive_delay: 7,
        wanted: [vec![[1, 0, 0, 0]], vec![[0; 4]; 9], Vec::new()],
    };
    let node = |kind, inode, content| {
        Item::Node(Box::new(Node {
            kind,
            inode: InodeId(inode),
            class: 2,
            eattr: 1,
            winattr: 3,
            mode: 0o4755,
            uid: 4,
            gid: 5,
            atime: WallTime(6),
            mtime: WallTime(7),
            ctime: WallTime(8),
            trash_hours: 24,
            content,
        }))
    };
    let file = |length, chunks: &[u64]| Content::File {
        length,
        chunks: chunks.iter().copied().map(ChunkId).collect(),
    };
    let edge = |parent, child, edge, name: &[u8]| {
        Item::Edge(Edge {
            parent: InodeId(parent),
            child: InodeId(child),
            edge,
            name: name.to_vec(),
        })
    };
    let limits = |inodes| Limits {
        inodes,
        length: 1,
        size: 2,
        real_size: 3,
    };
    let quota = Quota {
        inode: InodeId(2),
        grace: 604_800,
        exceeded: 0,
        flags: 0xFF,
        since: WallTime(9),
        soft: limits(4),
        hard: limits(5),
    };
    let acl = Acl {
        inode: InodeId(3),
        kind: 1,
        base: [7, 6, 5, 4],
        users: vec![(1_234, 6)],
        groups: Vec::new(),
    };
    let lock = |bytes| Lock {
        inode: InodeId(3),
        owner: 5,
        session: SessionId(7),
        bytes,
        kind: 1,
    };
    let server = Chunkserver {
        ip: 1,
        port: 9_422,
        csid: 3,
        maintenance: 0,
        until: WallTime(0),
    };
    let chunk = Chunk {
        chunk: ChunkId(1),
        version: 2,
        locked_until: WallTime(3),
        archived: 1,
    };
    vec![
        Item::Head {
            version: 77,
            metaid: 0xFEED,
        },
        Item::Section(Section::Sessions, [8, 0]),
        Item::Session(Box::new(session)),
        Item::Section(Section::Classes, [0, 0]),
        Item::Class(Box::new(class)),
        Item::Section(Section::Nodes, [9, 8]),
        node(2, 1, Content::Nothing),
        node(1, 2, file(70_000_000, &[1, 0])),
        node(3, 3, Content::Target(b"to".to_vec())),
        node(5, 4, Content::Device(0x0703)),
        node(8, 5, file(0, &[])),
        node(9, 6, file(1, &[2])),
        Item::Section(Section::Edges, [100, 0]),
        edge(1, 2, 103, b"file"),
        edge(0, 5, 0, &[b'p'; 1_000]),
        Item::Section(Section::Free, [1, 0]),
        Item::Free(InodeId(9), WallTime(10)),
        Item::Section(Section::Quotas, [1, 0]),
        Item::Quota(Box::new(quota)),
        Item::Section(Section::Xattrs, [0, 0]),
        Item::Xattr(InodeId(2), b"user.color".to_vec(), b"blue".to_vec()),
        Item::Xattr(InodeId(2), b"user.empty".to_vec(), Vec::new()),
        Item::Section(Section::Acls, [0, 0]),
        Item::Acl(acl),
        Item::Section(Section::Open, [0, 0]),
        Item::Open(SessionId(7), InodeId(6)),
        Item::Section(Section::Flocks, [0, 0]),
        Item::Flock(lock(None)),
        Item::Section(Section::PosixLocks, [0, 0]),
        Item::PosixLock(lock(Some((6, 7, 8)))),
        Item::Section(Section::Chunkservers, [1, 0]),
        Item::Chunkserver(server),
        Item::Section(Section::Chunks, [3, 0]),
        Item::Chunk(chunk),
        Item::End,
    ]
}

#[test]
fn what_is_written_is_read_again_in_portions_of_any_size() {
    let items = made_up();
    let bytes = compose(&items);
    for portion in [1, 3, 16, 1_000, usize::MAX] {
        assert_eq!(parse_in(&bytes, portion).as_ref(), Ok(&items));
    }
    assert_eq!(parse(b"MFSM NEW"), Ok(vec![Item::New]));
    assert_eq!(compose(&[Item::New]), b"MFSM NEW");
}

#[test]
fn a_long_section_has_its_length_though_it_was_given_away() {
    let mut items = made_up();
    let at = items
        .iter()
        .position(|item| matches!(item, Item::Xattr(..)))
        .unwrap();
    let long = Item::Xattr(InodeId(2), b"user.long".to_vec(), vec![7; 60_000]);
    for _ in 0..5 {
        items.insert(at, long.clone());
    }
    assert_eq!(parse(&compose(&items)), Ok(items));
}

#[test]
fn a_file_of_the_real_master_is_understood_and_said_again() {
    let items = parse(REAL).unwrap();
    assert_eq!(compose(&items), REAL);
    let sections: Vec<Section> = items
        .iter()
        .filter_map(|item| match item {
            Item::Section(section, _) => Some(*section),
            _ => None,
        })
        .collect();
    assert_eq!(sections, Section::ALL);
    let count = |is: fn(&Item) -> bool| items.iter().filter(|item| is(item)).count();
    assert_eq!(count(|item| matches!(item, Item::Session(_))), 2);
    assert_eq!(count(|item| matches!(item, Item::Chunkserver(_))), 3);
    assert_eq!(count(|item| matches!(item, Item::PosixLock(_))), 1);
    assert_eq!(count(|item| matches!(item, Item::Flock(_))), 1);
    assert!(count(|item| matches!(item, Item::Acl(_))) >= 2);
    let kinds: std::collections::BTreeSet<u8> = items
        .iter()
        .filter_map(|item| match item {
            Item::Node(node) => Some(node.kind),
            _ => None,
        })
        .collect();
    assert!(
        kinds.is_superset(&[1, 2, 3, 4, 5, 8, 9].into()),
        "{kinds:?}"
    );
}

#[test]
fn a_file_that_ends_anywhere_is_refused_with_the_place() {
    for bytes in [compose(&made_up()), REAL.to_vec()] {
        for length in 0..bytes.len() {
            match parse(&bytes[..length]) {
                Err(Damage::Short { at, .. }) => assert_eq!(at, length as u64),
                other => panic!("cut at {length}: {other:?}"),
            }
        }
        let longer = [bytes.as_slice(), b"x"].concat();
        assert!(matches!(parse(&longer), Err(Damage::Wrong { .. })));
    }
}

#[test]
fn no_spoilt_byte_ends_the_program() {
    for bytes in [compose(&made_up()), REAL.to_vec()] {
        for at in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xFF] {
                let mut spoilt = bytes.clone();
                spoilt[at] ^= flip;
                if let Ok(items) = parse(&spoilt) {
                    assert!(compose(&items) == spoilt, "byte {at} is not said again");
                }
            }
        }
    }
}

#[test]
fn other_versions_and_other_files_are_named() {
    let said = |bytes: &[u8]| parse(bytes).unwrap_err().to_string();
    assert!(said(b"MFSM 1.7 and what follows").contains("another version of the format"));
    assert!(said(b"#!/bin/sh and more").contains("does not begin as metadata.mfs does"));
    let mut other = compose(&made_up());
    let at = other.windows(8).position(|it| it == b"NODE 1.4").unwrap();
    other[at + 7] = b'3';
    assert!(said(&other).contains("let mfsmaster 3.0.117 start"));
    other[at..at + 4].copy_from_slice(b"WHAT");
    assert!(said(&other).contains("there is no section 'WHAT 1.3'"));
    let twice = made_up();
    let mut twice: Vec<Item> = twice[..3].iter().chain(&twice[1..]).cloned().collect();
    twice.truncate(6);
    twice.push(Item::End);
    assert!(said(&compose(&twice)).contains("has been already"));
}

#[test]
fn what_has_no_room_in_the_file_is_refused() {
    let edge = Edge {
        parent: InodeId(1),
        child: InodeId(2),
        edge: 3,
        name: vec![b'n'; 65_536],
    };
    let acl = Acl {
        inode: InodeId(2),
        kind: 1,
        base: [7; 4],
        users: vec![(1, 7); 65_536],
        groups: Vec::new(),
    };
    let many = 1 << 32;
    for (section, numbers, item) in [
        (Section::Edges, [0, 0], Some(Item::Edge(edge))),
        (Section::Acls, [0, 0], Some(Item::Acl(acl))),
        (
            Section::Xattrs,
            [0, 0],
            Some(Item::Xattr(InodeId(1), vec![1; 256], Vec::new())),
        ),
        (Section::Nodes, [1, many], None),
        (Section::Free, [many, 0], None),
    ] {
        let mut composer = Composer::new(Page(Vec::new()));
        let said = composer
            .item(&Item::Section(section, numbers))
            .and_then(|()| item.map_or(Ok(()), |item| composer.item(&item)));
        assert!(said.unwrap_err().contains("room"), "{section:?}");
    }
}
