//! A tree with a million files (or as many as the argument says) in the state store on disk: how
//! long checkpoints take, how long applying was ever held up meanwhile, how long a restart takes,
//! and how much memory a file needs before and after its checkpoint.
//!
//! ```text
//! cargo run --release -p mfsha-benches --bin store-restart [FILES] [DIRECTORY]
//! ```

use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use mfsha_benches::world::World;
use mfsha_core::id::InodeId;
use mfsha_core::store::{Pressure, StateStore};
use mfsha_net_real::store::{CheckpointDone, LmdbStore, StoreOptions, Verify};

/// Files of one directory.
const PER_DIR: usize = 1_000;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let count: usize = arguments.next().map_or(1_000_000, |number| {
        number.parse().expect("the argument is a number of files")
    });
    let parent = arguments
        .next()
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = tempfile::tempdir_in(parent).expect("a directory to work in");
    let options = StoreOptions {
        memory_bytes_max: 256 << 20,
        verify: Verify::Always,
        ..StoreOptions::new(&directory.path().join("state"))
    };
    let (store, done) = open(options.clone());
    let stats = store.stats();
    let mut world = World::over(store);
    let before = anonymous_kib();
    let mut run = Run::default();
    let mut dir = InodeId::ROOT;
    let begun = Instant::now();
    for number in 0..count {
        if number % PER_DIR == 0 {
            dir = world.dir(InodeId::ROOT);
        }
        let applying = Instant::now();
        world.file(dir);
        run.applied(applying.elapsed());
        run.relieve(&mut world, &done, number as u64);
    }
    println!("{count} files applied in {:.1?}", begun.elapsed());
    run.report();
    let dirty = stats.figures().dirty_bytes;
    run.wait(&done);
    let store = world.tree.store_mut();
    store.start_checkpoint();
    let end = done.recv().expect("a checkpoint ends");
    end.result.expect("a checkpoint ends well");
    // The layers are let go with the next call.
    assert_eq!(world.tree.store().pressure(), Pressure::Low);
    let figures = stats.figures();
    println!(
        "last checkpoint: {} changes, {} bytes, {:.1?}; before it {dirty} bytes were dirty",
        figures.last_checkpoint_changes, figures.last_checkpoint_bytes, figures.last_checkpoint
    );
    println!(
        "{} keys, {} bytes of keys and values, {} bytes on disk: {} a file",
        figures.keys,
        figures.state_bytes,
        figures.disk_bytes,
        figures.disk_bytes / count as u64
    );
    let after = anonymous_kib().saturating_sub(before);
    println!("memory of the process beside the page cache: {after} KiB more than at the start");
    drop(world);
    let begun = Instant::now();
    let (store, _done) = open(options.clone());
    println!(
        "open with verify: {:.1?} ({:?})",
        begun.elapsed(),
        store.found()
    );
    drop(store);
    let begun = Instant::now();
    let verify = Verify::Never;
    drop(open(StoreOptions { verify, ..options }));
    println!("open and close without: {:.1?}", begun.elapsed());
}

fn open(options: StoreOptions) -> (LmdbStore, Receiver<CheckpointDone>) {
    let (sender, done) = mpsc::channel();
    let report = move |end| {
        let _ = sender.send(end);
    };
    (
        LmdbStore::open(options, report).expect("the store opens"),
        done,
    )
}

/// What was seen while files were made.
#[derive(Default)]
struct Run {
    running: bool,
    begun: u64,
    checkpoints: u64,
    longest_idle: Duration,
    longest_apply: Duration,
    longest_start: Duration,
    waited: Duration,
    stalls: u64,
}

impl Run {
    fn applied(&mut self, took: Duration) {
        let longest = if self.running {
            &mut self.longest_apply
        } else {
            &mut self.longest_idle
        };
        *longest = took.max(*longest);
        if self.running && took > Duration::from_millis(10) {
            self.stalls += 1;
        }
    }

    /// Does what a node does: a checkpoint when room gets short, a pause when there is none.
    fn relieve(&mut self, world: &mut World<LmdbStore>, done: &Receiver<CheckpointDone>, now: u64) {
        while self.running {
            match done.try_recv() {
                Ok(end) => {
                    end.result.expect("a checkpoint ends well");
                    self.running = false;
                    self.checkpoints += 1;
                }
                Err(_) if world.tree.store().pressure() == Pressure::Full => {
                    let begun = Instant::now();
                    self.wait(done);
                    self.waited += begun.elapsed();
                }
                Err(_) => break,
            }
        }
        let wanted = world.tree.store().pressure() >= Pressure::High;
        // Also without want of room: many checkpoints, small and large.
        if !self.running && (wanted || now >= self.begun + 20_000) {
            let starting = Instant::now();
            world.tree.store_mut().start_checkpoint();
            self.longest_start = self.longest_start.max(starting.elapsed());
            self.running = true;
            self.begun = now;
        }
    }

    fn wait(&mut self, done: &Receiver<CheckpointDone>) {
        if self.running {
            let end = done.recv().expect("a checkpoint ends");
            end.result.expect("a checkpoint ends well");
            self.running = false;
            self.checkpoints += 1;
        }
    }

    fn report(&self) {
        println!(
            "{} checkpoints; longest start {:.2?}; longest apply while one ran {:.2?}, {} of more \
             than 10 ms; while none ran {:.2?}; waited for room {:.1?}",
            self.checkpoints,
            self.longest_start,
            self.longest_apply,
            self.stalls,
            self.longest_idle,
            self.waited
        );
    }
}

/// Memory of this process that is no file's, in KiB.
fn anonymous_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}
