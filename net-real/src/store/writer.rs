//! The thread that makes checkpoints: frozen layers go into the environment in one transaction,
//! flushed, and then the driver hears of it.

use std::fs;
use std::io;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mfsha_core::store::{CheckpointId, StoreError};

use super::CheckpointDone;
use super::base::{Base, Environment, io_fault};
use super::directory;
use super::layer::{Frozen, Merged};
use super::reaper::Reaper;
use super::stats::{Shared, StoreStats};

/// One checkpoint to make.
pub(super) struct Job {
    pub checkpoint: CheckpointId,
    /// Every layer above the environment, newest first.
    pub layers: Vec<Arc<Frozen>>,
    pub environment: Environment,
}

/// What the last good checkpoint left for the store to read from.
pub(super) struct Written {
    /// Layers up to this number are in it.
    pub through: u64,
    pub base: Arc<Base>,
}

/// Where the writer leaves it.
#[derive(Clone, Default)]
pub(super) struct Mailbox {
    full: Arc<AtomicBool>,
    written: Arc<Mutex<Option<Written>>>,
}

impl Mailbox {
    fn put(&self, written: Written) {
        let mut slot = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = Some(written);
        self.full.store(true, Ordering::Release);
    }

    /// What was left since the last call.
    pub fn take(&self) -> Option<Written> {
        if !self.full.swap(false, Ordering::Acquire) {
            return None;
        }
        let mut slot = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        slot.take()
    }
}

/// The writer.
pub(super) struct Writer {
    pub directory: PathBuf,
    /// The environment that `CURRENT` names.
    pub current: u64,
    /// Number of the newest layer that is in it.
    pub through: u64,
    pub mailbox: Mailbox,
    pub reaper: Reaper,
    pub stats: StoreStats,
}

impl Writer {
    /// Makes one checkpoint after the other, until nobody can ask for one any more.
    pub fn run(&mut self, jobs: &Receiver<Job>, report: &dyn Fn(CheckpointDone)) {
        while let Ok(job) = jobs.recv() {
            let begun = Instant::now();
            let checkpoint = job.checkpoint;
            let result = self.write(&job, begun);
            let shared = self.stats.shared();
            let count = if result.is_ok() {
                &shared.checkpoints
            } else {
                &shared.failed
            };
            count.fetch_add(1, Ordering::Relaxed);
            // The driver may ask the store at once whether it has room again.
            drop(job);
            report(CheckpointDone { checkpoint, result });
        }
    }

    fn write(&mut self, job: &Job, begun: Instant) -> Result<(), StoreError> {
        let environment = &job.environment;
        assert!(
            environment.generation >= self.current,
            "a checkpoint of a state that was replaced comes after one of its successor"
        );
        let is_new = environment.generation > self.current;
        if is_new {
            environment.become_durable()?;
        }
        let written = if is_new { 0 } else { self.through };
        let layers = job.layers.iter().filter(|layer| layer.number > written);
        let maps = layers.clone().map(|layer| layer.map());
        let (mut changes, mut bytes) = (0, 0);
        let mut writing = environment.write()?;
        for (key, value) in Merged::new(maps, Bound::Unbounded, Bound::Unbounded) {
            writing.change(key, value)?;
            changes += 1;
            bytes += key.len() + value.map_or(0, <[u8]>::len);
        }
        let sum = writing.commit()?;
        if is_new {
            self.switch(environment.generation)
                .map_err(|error| io_fault(&error))?;
        }
        let newest = layers.map(|layer| layer.number).max();
        self.through = newest.unwrap_or(written);
        let base = environment.read(&self.reaper)?;
        let through = self.through;
        self.mailbox.put(Written { through, base });
        let shared = self.stats.shared();
        Shared::set(&shared.keys, sum.keys);
        Shared::set(&shared.state_bytes, sum.bytes);
        Shared::set(&shared.disk_bytes, environment.disk_bytes());
        Shared::set(&shared.last_us, micros(begun.elapsed()));
        Shared::set(&shared.last_changes, changes);
        Shared::set(&shared.last_bytes, bytes as u64);
        Ok(())
    }

    /// Makes a restored environment the one that counts, and removes those before it. Who still
    /// reads from one of them goes on reading: its file lives until it is closed.
    fn switch(&mut self, generation: u64) -> io::Result<()> {
        directory::sync(&directory::environment_path(&self.directory, generation))?;
        directory::write_current(&self.directory, generation)?;
        self.current = generation;
        for older in directory::generations(&self.directory)? {
            if older < generation {
                // What cannot be removed now is removed at the next start.
                let _ = fs::remove_dir_all(directory::environment_path(&self.directory, older));
            }
        }
        Ok(())
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
