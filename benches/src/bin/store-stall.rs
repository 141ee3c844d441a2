//! How long the thread that applies is held up by what happens to the state store meanwhile: a
//! tree of a million files (or as many as the argument says) on disk, random changes to it, and
//! checkpoints and snapshots as a node takes them. Then the state is handed over as to a peer, part
//! by part, and taken as the peer takes it.
//!
//! Times are given twice: by the wall, which counts whatever else the machine did, and of the
//! thread's own work.
//!
//! ```text
//! cargo run --release -p mfsha-benches --bin store-stall [FILES] [DIRECTORY]
//! ```

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use mfsha_benches::world::World;
use mfsha_core::id::InodeId;
use mfsha_core::namespace::op::{Op, SetAttr};
use mfsha_core::store::{Pressure, StateStore, StateView, WriteBatch};
use mfsha_net_real::store::{CheckpointDone, LmdbStore, StoreOptions};
use nix::time::{ClockId, clock_gettime};

/// Files of one directory.
const PER_DIR: usize = 1_000;
/// Changes after which a node makes a checkpoint, about: 8 MiB of log.
const PER_CHECKPOINT: usize = 40_000;
/// Each so manieth checkpoint is a snapshot for consensus.
const PER_SNAPSHOT: usize = 4;
/// Bytes of a part of a state on its way.
const PART_BYTES: usize = 256 << 10;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let count: usize = arguments.next().map_or(1_000_000, |number| {
        number.parse().expect("the argument is a number of files")
    });
    let parent = arguments
        .next()
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = tempfile::tempdir_in(parent).expect("a directory to work in");
    let mut bench = Bench::new(&directory.path().join("state"));
    let files = bench.fill(count);
    bench.times = Times::default();
    bench.change(&files);
    bench
        .times
        .print("while checkpoints and snapshots are made");
    bench.times = Times::default();
    bench.hand_over(&files, &directory.path().join("peer"));
    bench.times.print("while the state is handed over");
}

/// What each kind of call took: by the wall, and of the thread's own work.
#[derive(Default)]
struct Times(BTreeMap<&'static str, Vec<(Duration, Duration)>>);

impl Times {
    fn measure<T>(&mut self, what: &'static str, work: impl FnOnce() -> T) -> T {
        let (wall, own) = (Instant::now(), own_time());
        let done = work();
        let took = (wall.elapsed(), own_time().saturating_sub(own));
        self.0.entry(what).or_default().push(took);
        done
    }

    fn print(&mut self, when: &str) {
        println!("{when}:");
        for (what, took) in &mut self.0 {
            let late = |duration: Duration| duration > Duration::from_millis(10);
            let (walls, owns): (Vec<_>, Vec<_>) = took.drain(..).unzip();
            println!("  {what}, {} times", walls.len());
            for (clock, mut list) in [("wall", walls), ("work", owns)] {
                list.sort_unstable();
                let at = |part: f64| list[((list.len() - 1) as f64 * part) as usize];
                println!(
                    "    {clock}: median {:.1?}, p99 {:.1?}, p99.9 {:.1?}, longest {:.1?}; {} above \
                     10 ms",
                    at(0.5),
                    at(0.99),
                    at(0.999),
                    at(1.0),
                    list.iter().filter(|took| late(**took)).count()
                );
            }
        }
    }
}

fn own_time() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
    time.expect("Linux has this clock").into()
}

struct Bench {
    world: World<LmdbStore>,
    done: Receiver<CheckpointDone>,
    times: Times,
    /// Calls since the last checkpoint began, and whether one runs.
    changes: usize,
    runs: bool,
    checkpoints: usize,
    /// What consensus would send to a peer.
    held: Option<<LmdbStore as StateStore>::Snapshot>,
    next: Option<<LmdbStore as StateStore>::Snapshot>,
}

fn open(directory: &Path) -> (LmdbStore, Receiver<CheckpointDone>) {
    let (sender, done) = mpsc::channel();
    let report = move |end| {
        // The last one may end when nobody looks any more.
        let _ = sender.send(end);
    };
    let options = StoreOptions::new(directory);
    let store = LmdbStore::open(options, report).expect("an empty store opens");
    (store, done)
}

impl Bench {
    fn new(directory: &Path) -> Self {
        let (store, done) = open(directory);
        Self {
            world: World::over(store),
            done,
            times: Times::default(),
            changes: 0,
            runs: false,
            checkpoints: 0,
            held: None,
            next: None,
        }
    }

    fn fill(&mut self, count: usize) -> Vec<InodeId> {
        let mut files = Vec::with_capacity(count);
        let mut dir = InodeId::ROOT;
        for number in 0..count {
            if number % PER_DIR == 0 {
                dir = self.world.dir(InodeId::ROOT);
            }
            files.push(self.world.file(dir));
            self.after_change();
        }
        files
    }

    /// Changes files all over the tree.
    fn change(&mut self, files: &[InodeId]) {
        for number in 0..PER_CHECKPOINT * PER_SNAPSHOT * 3 {
            self.change_one(files, number);
        }
    }

    fn change_one(&mut self, files: &[InodeId], number: usize) {
        // Neighbours in number are far from each other.
        let at = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % files.len();
        let set = SetAttr {
            mode: Some(0o600 + (number % 64) as u16),
            ..SetAttr::default()
        };
        let op = Op::SetAttr {
            caller: self.world.root(),
            inode: files[at],
            opened: false,
            set,
        };
        let what = if self.runs {
            "apply while a checkpoint runs"
        } else {
            "apply while none runs"
        };
        let world = &mut self.world;
        self.times.measure(what, || world.ok(op));
        self.after_change();
    }

    /// What a node does about checkpoints after each step.
    fn after_change(&mut self) {
        self.changes += 1;
        if self.runs
            && let Ok(end) = self.done.try_recv()
        {
            end.result.expect("a checkpoint ends well");
            self.runs = false;
            if let Some(next) = self.next.take() {
                let held = &mut self.held;
                self.times
                    .measure("let the last snapshot go", || *held = Some(next));
            }
        }
        if self.runs || self.changes < PER_CHECKPOINT {
            return;
        }
        self.changes = 0;
        self.checkpoints += 1;
        let store = self.world.tree.store_mut();
        if self.checkpoints.is_multiple_of(PER_SNAPSHOT) {
            self.next = Some(self.times.measure("snapshot", || store.snapshot()));
        }
        self.times
            .measure("begin a checkpoint", || store.start_checkpoint());
        self.runs = true;
    }

    /// Reads the held snapshot part by part, with changes in between, into another store.
    fn hand_over(&mut self, files: &[InodeId], peer: &Path) {
        let view = self.held.clone().expect("a snapshot was taken");
        let (mut other, done) = open(peer);
        self.times
            .measure("peer: begin", || other.restore_begin())
            .expect("there is room");
        let (mut after, mut number) = (None, 0);
        loop {
            let (batch, last) = self
                .times
                .measure("read a part", || part(&view, after.as_deref()));
            let Some(last) = last else {
                break;
            };
            after = Some(last);
            let taken = self
                .times
                .measure("peer: take a part", || other.restore_write(batch));
            taken.expect("there is room");
            for _ in 0..100 {
                self.change_one(files, number);
                number += 1;
            }
        }
        self.times
            .measure("peer: adopt", || other.restore_commit())
            .expect("there is room");
        self.times
            .measure("peer: begin a checkpoint", || other.start_checkpoint());
        done.recv().expect("it ends").result.expect("it ends well");
        assert_eq!(other.pressure(), Pressure::Low);
        self.times
            .measure("let the state go", || drop((view, self.held.take())));
    }
}

/// The pairs of a part, and its last key.
fn part(view: &impl StateView, after: Option<&[u8]>) -> (WriteBatch, Option<Vec<u8>>) {
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let (mut batch, mut last, mut bytes) = (WriteBatch::default(), None, 0);
    let mut visit = |key: &[u8], value: &[u8]| {
        if bytes >= PART_BYTES {
            return ControlFlow::Break(());
        }
        bytes += key.len() + value.len();
        last = Some(key.to_vec());
        batch.put(key.to_vec(), value.to_vec());
        ControlFlow::Continue(())
    };
    view.scan(from, Bound::Unbounded, &mut visit)
        .expect("it can be read");
    (batch, last)
}
