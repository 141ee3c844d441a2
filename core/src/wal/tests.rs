//! What the log promises, tried on a disk in memory and on one that forgets.

use super::record::{LogId, Record};
use super::*;
use crate::disk::MemDisk;
use crate::id::{LogIndex, NodeId, Term};

fn options() -> WalOptions {
    WalOptions::small(NodeId(1))
}

fn id(term: u64, index: u64) -> LogId {
    LogId {
        term: Term(term),
        leader: NodeId(1),
        index: LogIndex(index),
    }
}

fn entry(term: u64, index: u64) -> Record {
    Record::Entry {
        id: id(term, index),
        payload: format!("entry {term} {index}").into_bytes(),
    }
}

fn vote(text: &str) -> Record {
    Record::Vote {
        vote: text.as_bytes().to_vec(),
    }
}

fn open(disk: MemDisk, life: u64) -> (Wal<MemDisk>, Recovery) {
    let (wal, recovery) = Wal::open(disk, options(), life).unwrap();
    wal.check();
    (wal, recovery)
}

fn flush<D: Disk>(wal: &mut Wal<D>) -> Option<WriteId> {
    let flush = wal.start_flush().unwrap()?;
    let write = wal.on_flushed(flush, Ok(())).unwrap();
    wal.check();
    Some(write)
}

const A: GroupId = GroupId(1);
const B: GroupId = GroupId(2);

#[test]
fn what_was_flushed_comes_back() {
    let (mut wal, recovery) = open(MemDisk::new(), 1);
    assert!(recovery.groups.is_empty());
    wal.append(A, vote("v1")).unwrap();
    for index in 1..=5 {
        wal.append(A, entry(1, index)).unwrap();
        wal.append(B, entry(7, index)).unwrap();
    }
    wal.append(A, Record::Truncate { last: LogIndex(3) })
        .unwrap();
    wal.append(A, entry(2, 4)).unwrap();
    wal.append(B, Record::Purge { through: id(7, 2) }).unwrap();
    let last = wal.append(B, Record::Committed { id: id(7, 4) }).unwrap();
    assert_eq!(flush(&mut wal), Some(last));

    let (_, recovery) = open(wal.into_disk(), 2);
    assert_eq!(recovery.damage, []);
    assert_eq!(recovery.tail, Tail::Clean);
    let a = recovery.group(A);
    assert_eq!(a.vote.as_deref(), Some(&b"v1"[..]));
    let ids: Vec<_> = a.entries.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [id(1, 1), id(1, 2), id(1, 3), id(2, 4)]);
    assert_eq!(a.entries[3].1, b"entry 2 4");
    let b = recovery.group(B);
    assert_eq!((b.purged, b.committed), (Some(id(7, 2)), Some(id(7, 4))));
    let ids: Vec<_> = b.entries.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [id(7, 3), id(7, 4), id(7, 5)]);
    assert!(a.is_whole() && b.is_whole());
}
