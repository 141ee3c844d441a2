//! What the state store on disk costs: reads from memory and from the file, writes, checkpoints.
//!
//! Set `MFSHA_BENCH_DIR` to choose the disk.

#![expect(
    missing_docs,
    reason = "the macro of criterion makes a public function"
)]

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mfsha_core::store::{StateStore, StateView, WriteBatch};
use mfsha_net_real::store::{CheckpointDone, LmdbStore, StoreOptions};

/// Keys of the state that is read.
const KEYS: u64 = 300_000;
/// Bytes of a value: a packed inode.
const VALUE_BYTES: usize = 90;
const BATCHES: [u64; 2] = [3, 100];
const CHECKPOINTS: [u64; 3] = [100, 1_000, 30_000];

struct Opened {
    store: LmdbStore,
    done: Receiver<CheckpointDone>,
    _directory: tempfile::TempDir,
}

/// A number's key: neighbours in number are far from each other.
fn key(number: u64) -> Vec<u8> {
    number
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .to_be_bytes()
        .to_vec()
}

impl Opened {
    fn new() -> Self {
        let parent =
            std::env::var_os("MFSHA_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let directory = tempfile::tempdir_in(parent).expect("a directory for the benchmark");
        let (sender, done) = mpsc::channel();
        let report = move |end| sender.send(end).expect("the benchmark waits");
        let options = StoreOptions::new(&directory.path().join("state"));
        let store = LmdbStore::open(options, report).expect("an empty store opens");
        Self {
            store,
            done,
            _directory: directory,
        }
    }

    fn write(&mut self, numbers: std::ops::Range<u64>, round: u8) {
        let mut batch = WriteBatch::default();
        for number in numbers {
            batch.put(key(number % KEYS), vec![round; VALUE_BYTES]);
        }
        self.store.write(batch).expect("there is room");
    }

    fn checkpoint(&mut self) {
        let checkpoint = self.store.start_checkpoint();
        let end = self.done.recv().expect("a checkpoint ends");
        assert_eq!((end.checkpoint, end.result), (checkpoint, Ok(())));
    }
}

fn get(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("store get");
    let mut opened = Opened::new();
    for begin in (0..KEYS).step_by(1_000) {
        opened.write(begin..begin + 1_000, 1);
    }
    let mut number = 0;
    let mut next = move || {
        number = (number + 7_919) % KEYS;
        key(number)
    };
    group.bench_function("hot", |bencher| {
        bencher.iter(|| black_box(opened.store.get(&next())));
    });
    opened.checkpoint();
    opened.write(0..1, 2);
    group.bench_function("from the file", |bencher| {
        bencher.iter(|| black_box(opened.store.get(&next())));
    });
    group.finish();
}

fn write(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("store write");
    for changes in BATCHES {
        group.throughput(Throughput::Elements(changes));
        let id = BenchmarkId::from_parameter(changes);
        let mut opened = Opened::new();
        let mut at = 0;
        group.bench_function(id, |bencher| {
            bencher.iter(|| {
                opened.write(at..at + changes, at as u8);
                at += changes;
            });
        });
    }
    group.finish();
}

fn checkpoint(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("store checkpoint");
    group.sample_size(10);
    let mut opened = Opened::new();
    opened.write(0..KEYS, 1);
    opened.checkpoint();
    let mut at = 0;
    for changes in CHECKPOINTS {
        group.throughput(Throughput::Elements(changes));
        let id = BenchmarkId::from_parameter(changes);
        group.bench_function(id, |bencher| {
            bencher.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for round in 0..rounds {
                    opened.write(at..at + changes, round as u8);
                    at += changes;
                    let begun = Instant::now();
                    opened.checkpoint();
                    spent += begun.elapsed();
                }
                spent
            });
        });
    }
    group.finish();
}

criterion_group!(benches, get, write, checkpoint);
criterion_main!(benches);
