//! Bodies of fuzz targets: opening a log over arbitrary bytes.

use crate::disk::{Disk, MemDisk};
use crate::id::{GroupId, LogIndex, NodeId, Term};
use crate::wal::options::SEGMENT_BYTES_MIN;
use crate::wal::record::{LogId, Record};
use crate::wal::segment::file_name;
use crate::wal::{Wal, WalOptions};

/// Opens a log whose files are these bytes, cut into segments. Nothing may panic; what can be
/// opened must also take a record, flush, and be there at the next opening.
///
/// # Panics
/// When the log breaks a promise.
pub fn fuzz_recovery(bytes: &[u8]) {
    let mut disk = MemDisk::new();
    for (number, part) in (1..).zip(bytes.chunks(SEGMENT_BYTES_MIN as usize)) {
        disk.files.insert(file_name(number), part.to_vec());
    }
    let options = WalOptions::small(NodeId(1));
    let Ok((mut wal, recovery)) = Wal::open(disk, options.clone(), 1) else {
        return;
    };
    wal.check();
    let group = GroupId(7);
    let vote = b"a vote".to_vec();
    // Counters near their end are refused; everything else must work.
    if wal
        .append(group, Record::Vote { vote: vote.clone() })
        .is_err()
    {
        return;
    }
    let last = recovery
        .group(group)
        .entries
        .last()
        .map_or(0, |(id, _)| id.index.0);
    let id = LogId {
        term: Term(9),
        leader: NodeId(1),
        index: LogIndex(last + 1),
    };
    let payload = b"an entry".to_vec();
    // Where the group's end is in doubt this may not be the next index.
    let taken = wal
        .append(
            group,
            Record::Entry {
                id,
                payload: payload.clone(),
            },
        )
        .is_ok();
    flush(&mut wal);
    let (wal, recovery) = Wal::open(wal.into_disk(), options, 2).expect("it opened before");
    wal.check();
    let log = recovery.group(group);
    assert_eq!(log.vote, Some(vote), "a flushed vote is gone");
    let there = log.entries.contains(&(id, payload));
    assert!(there || !taken, "a flushed entry is gone");
}

fn flush<D: Disk>(wal: &mut Wal<D>) {
    let flush = wal.start_flush().expect("the disk takes every write");
    let flush = flush.expect("there is something to flush");
    wal.on_flushed(flush, Ok(())).expect("the flush went well");
    wal.check();
}
