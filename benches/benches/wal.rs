//! What one acknowledged batch costs: append so many entries, one flush, wait for it.
//!
//! On real files the flush is the disk's; set `MFSHA_BENCH_DIR` to choose the disk. In memory only
//! the log's own work remains. Batches begin at whole pages, as they do in production, and beside
//! that at sectors.

#![expect(
    missing_docs,
    reason = "the macro of criterion makes a public function"
)]

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::mpsc;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use criterion::{criterion_group, criterion_main};
use mfsha_core::disk::{Disk, MemDisk};
use mfsha_core::id::{GroupId, LogIndex, NodeId, Term};
use mfsha_core::limits::{PAGE_BYTES, SECTOR_BYTES};
use mfsha_core::wal::record::{LogId, Record};
use mfsha_core::wal::{Wal, WalOptions};
use mfsha_net_real::disk::FileDisk;

const GROUP: GroupId = GroupId(1);
const BATCHES: [u64; 4] = [1, 8, 64, 512];
/// Bytes of an entry: a create with a name of usual length.
const ENTRY_BYTES: usize = 150;
/// Entries between two purges, so that segments are reused as they are in a running node.
const PURGE_AFTER: u64 = 100_000;

/// A log that is appended to, flushed and purged.
struct Driven<D> {
    wal: Wal<D>,
    last: u64,
    purged: u64,
}

impl<D: Disk> Driven<D> {
    fn open(disk: D, align_bytes: usize) -> Self {
        let options = WalOptions {
            align_bytes: align_bytes as u32,
            ..WalOptions::new(NodeId(1))
        };
        let (wal, _) = Wal::open(disk, options, 1).expect("an empty log opens");
        Self {
            wal,
            last: 0,
            purged: 0,
        }
    }

    fn id(index: u64) -> LogId {
        LogId {
            term: Term(1),
            leader: NodeId(1),
            index: LogIndex(index),
        }
    }

    fn batch(&mut self, entries: u64, wait: impl FnOnce()) {
        for _ in 0..entries {
            self.last += 1;
            let record = Record::Entry {
                id: Self::id(self.last),
                payload: vec![self.last as u8; ENTRY_BYTES],
            };
            self.wal.append(GROUP, record).expect("there is room");
        }
        if self.last - self.purged > PURGE_AFTER {
            self.purged = self.last - 1;
            let through = Self::id(self.purged);
            let purge = Record::Purge { through };
            self.wal.append(GROUP, purge).expect("there is room");
        }
        let flush = self.wal.start_flush().expect("the disk takes writes");
        let flush = flush.expect("there is something to flush");
        wait();
        black_box(
            self.wal
                .on_flushed(flush, Ok(()))
                .expect("the flush went well"),
        );
    }
}

fn append_and_flush(c: &mut Criterion) {
    let mut group = c.benchmark_group("wal/append+flush");
    for entries in BATCHES {
        group.throughput(Throughput::Elements(entries));

        let mut driven = Driven::open(MemDisk::new(), PAGE_BYTES);
        group.bench_function(BenchmarkId::new("memory", entries), |b| {
            b.iter(|| driven.batch(entries, || {}));
        });

        for align_bytes in [SECTOR_BYTES, PAGE_BYTES] {
            on_files(&mut group, entries, align_bytes);
        }
    }
    group.finish();
}

fn on_files(group: &mut BenchmarkGroup<'_, WallTime>, entries: u64, align_bytes: usize) {
    let base = std::env::var_os("MFSHA_BENCH_DIR").map(PathBuf::from);
    let directory = match base {
        Some(base) => tempfile::tempdir_in(base),
        None => tempfile::tempdir(),
    };
    let directory = directory.expect("a directory to write to");
    let (sender, done) = mpsc::channel();
    let report = move |end| sender.send(end).expect("the bench outlives its disk");
    let disk = FileDisk::open(directory.path(), None, report);
    let mut driven = Driven::open(disk.expect("an empty directory opens"), align_bytes);
    let wait = || {
        let end = done.recv().expect("the disk outlives its flushes");
        end.result.expect("the flush went well");
    };
    // The first flushes write the new segments out: a cost of starting, not of a batch.
    for _ in 0..10 {
        driven.batch(entries, wait);
    }
    let name = format!("files, batches at {align_bytes}");
    group.bench_function(BenchmarkId::new(name, entries), |b| {
        b.iter(|| driven.batch(entries, wait));
    });
}

criterion_group!(benches, append_and_flush);
criterion_main!(benches);
