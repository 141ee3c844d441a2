//! The store itself: layers of changes in memory over an environment on disk.

use std::cell::RefCell;
use std::fs;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;

use mfsha_core::store::{
    CheckpointId, Pressure, StateStore, StateView, StoreError, Visit, WriteBatch,
};

use super::base::{Base, Environment, too_long};
use super::directory::{Current, Directory, environment_path, generations, read_current};
use super::directory::{refused, renew_readers, sync, write_current};
use super::layer::{Frozen, Layer, united};
use super::reaper::Reaper;
use super::restore::Building;
use super::scan::{collect, scan};
use super::stats::{Shared, StoreStats};
use super::verify::{Verdict, verify_environment};
use super::writer::{Job, Mailbox, Writer};
use super::{CheckpointDone, Found, OpenError, StoreOptions, VALUE_BYTES_MAX, Verify};

/// Layers of at most this many changes are united when another freezes above them; copying more
/// would hold up the caller.
const UNITED_CHANGES_MAX: usize = 4_096;
/// With this many layers the store wants a checkpoint, however small they are: each costs every
/// read a look.
const LAYERS_MAX: usize = 24;

/// The state of one group in LMDB.
pub struct LmdbStore {
    inner: RefCell<Inner>,
    /// Where checkpoints go.
    environment: Environment,
    /// Invariant: full until dropped.
    jobs: Option<Sender<Job>>,
    /// Invariant: full until dropped.
    writer: Option<JoinHandle<()>>,
    mailbox: Mailbox,
    building: Option<Building>,
    /// States that were given up and are not gone yet.
    abandoned: Vec<Building>,
    /// Highest number that any environment has had.
    last_generation: u64,
    last_checkpoint: u64,
    found: Found,
    options: StoreOptions,
    /// Dropped last: the environment has to be closed before the directory is.
    closing: Closing,
}

/// The end of a store: waits until what the reaper was given is closed, and says so.
struct Closing {
    reaper: Reaper,
    directory: Directory,
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.reaper.wait();
        // A marker that stays costs a check at the next start, nothing else.
        let _ = self.directory.mark_closed();
    }
}

struct Inner {
    /// Changes since the last freeze.
    newest: Layer,
    /// Frozen layers, newest first, that are not in `base`.
    layers: Vec<Arc<Frozen>>,
    /// Memory of the frozen layers.
    frozen_bytes: usize,
    /// The last checkpoint.
    base: Arc<Base>,
    last_layer: u64,
    /// Layers up to this number are the writer's and stay as they are.
    handed: u64,
    reaper: Reaper,
    stats: StoreStats,
}

/// The state of one moment.
#[derive(Clone)]
pub struct LmdbSnapshot {
    layers: Vec<Arc<Frozen>>,
    base: Arc<Base>,
}

impl LmdbStore {
    /// Opens what is in a directory, making it when it is not there. `report` hears of every
    /// finished checkpoint, on the writing thread; it must not block for long.
    ///
    /// A damaged state is set aside and an empty one opened: see [`Self::found`].
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(
        options: StoreOptions,
        report: impl Fn(CheckpointDone) + Send + 'static,
    ) -> Result<Self, OpenError> {
        let directory = Directory::lock(&options.directory)?;
        let failed = |action| refused(action, directory.path());
        let was_open = directory.was_open();
        directory.mark_open().map_err(failed("mark as open"))?;
        let (environment, found) = open_environment(&directory, &options, was_open)?;
        let generation = environment.generation;
        directory
            .remove_others(Some(generation))
            .map_err(failed("remove what a crash left in"))?;
        let reaper = Reaper::start().map_err(failed("start a thread for"))?;
        let stats = StoreStats::default();
        let base = environment.read(&reaper);
        let base = base.map_err(|error| unusable(&environment, &error.to_string()))?;
        let shared = stats.shared();
        Shared::set(&shared.memory_bytes_max, options.memory_bytes_max as u64);
        Shared::set(&shared.disk_bytes, environment.disk_bytes());
        if let Ok(sum) = environment.sum() {
            Shared::set(&shared.keys, sum.keys);
            Shared::set(&shared.state_bytes, sum.bytes);
        }
        let mailbox = Mailbox::default();
        let mut writer = Writer {
            directory: directory.path().to_owned(),
            current: generation,
            through: 0,
            mailbox: mailbox.clone(),
            reaper: reaper.clone(),
            stats: stats.clone(),
        };
        let (jobs, todo) = mpsc::channel();
        let writer = std::thread::Builder::new()
            .name("state-write".into())
            .spawn(move || writer.run(&todo, &report))
            .map_err(failed("start a thread for"))?;
        let inner = Inner {
            newest: Layer::default(),
            layers: Vec::new(),
            frozen_bytes: 0,
            base,
            last_layer: 0,
            handed: 0,
            reaper: reaper.clone(),
            stats,
        };
        Ok(Self {
            inner: RefCell::new(inner),
            environment,
            jobs: Some(jobs),
            writer: Some(writer),
            mailbox,
            building: None,
            abandoned: Vec::new(),
            last_generation: generation,
            last_checkpoint: 0,
            found,
            options,
            closing: Closing { reaper, directory },
        })
    }

    /// What opening came upon.
    #[must_use]
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// A handle on the figures, for any thread.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        self.inner.borrow().stats.clone()
    }
}

fn unusable(environment: &Environment, reason: &str) -> OpenError {
    OpenError::Environment {
        path: environment.path().to_owned(),
        reason: reason.to_owned(),
    }
}

/// Opens the environment that counts; a damaged one is set aside, and an empty one made.
fn open_environment(
    directory: &Directory,
    options: &StoreOptions,
    was_open: bool,
) -> Result<(Environment, Found), OpenError> {
    let path = directory.path();
    let current = read_current(path).map_err(refused("read CURRENT in", path))?;
    let all = generations(path).map_err(refused("list directory", path))?;
    let next = all.last().map_or(1, |last| last + 1);
    let reason = match current {
        Current::Nothing if holds_something(path, all.first()) => {
            "the file CURRENT is gone".to_owned()
        }
        Current::Nothing => {
            // What is here without CURRENT was never finished.
            let environment = make_environment(directory, options, next)?;
            return Ok((environment, Found::Nothing));
        }
        Current::At(generation) => match open_current(directory, options, was_open, generation)? {
            Ok(opened) => return Ok(opened),
            Err(reason) => reason,
        },
        Current::Unreadable => "the file CURRENT is damaged".to_owned(),
    };
    let damaged = match current {
        Current::At(generation) => Some(generation),
        // The one that counted is older than any that was being built.
        _ => all.first().copied(),
    };
    let kept = damaged.map(|generation| directory.set_aside(generation));
    let kept = kept
        .transpose()
        .map_err(refused("set the damaged state aside in", path))?;
    let environment = make_environment(directory, options, next)?;
    let kept = kept.flatten();
    Ok((environment, Found::Damaged { reason, kept }))
}

/// Whether an environment has a key at least, as far as it can be read.
fn holds_something(directory: &Path, generation: Option<&u64>) -> bool {
    generation.is_some_and(|generation| {
        match verify_environment(&environment_path(directory, *generation)) {
            Verdict::Sound { state } => state.keys > 0,
            _ => false,
        }
    })
}

/// Opens an environment that is there; the inner error says why it is damaged.
fn open_current(
    directory: &Directory,
    options: &StoreOptions,
    was_open: bool,
    generation: u64,
) -> Result<Result<(Environment, Found), String>, OpenError> {
    let path = environment_path(directory.path(), generation);
    let verified = match options.verify {
        Verify::Always => true,
        Verify::AfterCrash => was_open,
        Verify::Never => false,
    };
    if !path.is_dir() {
        return Ok(Err("its directory is gone".to_owned()));
    }
    if verified {
        match verify_environment(&path) {
            Verdict::Sound { .. } => {}
            Verdict::Damaged { reason } => return Ok(Err(reason)),
            Verdict::Nothing => return Ok(Err("it is empty".to_owned())),
            Verdict::Unreadable { reason } => {
                return Err(OpenError::Environment { path, reason });
            }
        }
    } else if !path.join(super::directory::DATA_FILE).is_file() {
        return Ok(Err("its file is gone".to_owned()));
    }
    renew_readers(&path).map_err(refused("renew the list of readers in", &path))?;
    use heed::MdbError as M;
    match Environment::open(&path, generation, options.map_bytes_max, false) {
        Ok(environment) => match environment.sum() {
            Ok(_) => Ok(Ok((environment, Found::Checkpoint { verified }))),
            Err(StoreError::Corrupt { reason, .. }) => Ok(Err(reason)),
            Err(error) => Err(unusable(&environment, &error.to_string())),
        },
        Err(heed::Error::Mdb(
            error @ (M::Invalid | M::Corrupted | M::PageNotFound | M::VersionMismatch),
        )) => Ok(Err(error.to_string())),
        Err(error) => Err(OpenError::Environment {
            path,
            reason: error.to_string(),
        }),
    }
}

/// Makes an empty environment, and makes it the one that counts.
fn make_environment(
    directory: &Directory,
    options: &StoreOptions,
    generation: u64,
) -> Result<Environment, OpenError> {
    let path = environment_path(directory.path(), generation);
    fs::create_dir(&path).map_err(refused("make directory", &path))?;
    renew_readers(&path).map_err(refused("make the list of readers in", &path))?;
    let made = Environment::open(&path, generation, options.map_bytes_max, false);
    let environment = made.map_err(|error| OpenError::Environment {
        path: path.clone(),
        reason: error.to_string(),
    })?;
    let written = environment.write().and_then(|writing| writing.commit());
    written.map_err(|error| unusable(&environment, &error.to_string()))?;
    sync(&path).map_err(refused("flush directory", &path))?;
    write_current(directory.path(), generation)
        .map_err(refused("write CURRENT in", directory.path()))?;
    Ok(environment)
}

impl Inner {
    fn dirty_bytes(&self) -> usize {
        self.newest.bytes + self.frozen_bytes
    }

    fn tell(&self) {
        let shared = self.stats.shared();
        Shared::set(&shared.dirty_bytes, self.dirty_bytes() as u64);
        Shared::set(&shared.layers, self.layers.len() as u64);
    }

    /// Layers that a checkpoint has made durable are let go.
    fn adopt(&mut self, mailbox: &Mailbox) {
        let Some(written) = mailbox.take() else {
            return;
        };
        if written.base.generation != self.base.generation {
            // Of a state that was replaced meanwhile.
            return;
        }
        self.layers.retain(|layer| layer.number > written.through);
        self.frozen_bytes = self.layers.iter().map(|layer| layer.bytes()).sum();
        self.base = written.base;
        self.tell();
    }

    /// The newest layer takes no more changes; small ones that nobody writes yet become one.
    fn freeze(&mut self) {
        if self.newest.map.is_empty() {
            return;
        }
        let mut layer = std::mem::take(&mut self.newest);
        while let Some(older) = self.layers.first()
            && older.number > self.handed
            && older.map().len() <= 2 * layer.map.len()
            && older.map().len() + layer.map.len() <= UNITED_CHANGES_MAX
        {
            layer = united(older, layer);
            self.frozen_bytes -= older.bytes();
            self.layers.remove(0);
        }
        self.last_layer += 1;
        self.frozen_bytes += layer.bytes;
        let frozen = Frozen::new(self.last_layer, layer, &self.reaper, &self.stats);
        self.layers.insert(0, Arc::new(frozen));
        self.tell();
    }

    /// Another state takes the place of everything.
    fn replace(&mut self, base: Arc<Base>) {
        let newest = std::mem::take(&mut self.newest);
        self.reaper.free(newest);
        self.layers.clear();
        self.frozen_bytes = 0;
        self.base = base;
        self.handed = self.last_layer;
        self.tell();
    }

    fn pressure(&self) -> Pressure {
        let dirty = self.dirty_bytes() as u64;
        let memory_bytes_max = self.stats.figures().memory_bytes_max;
        if dirty > 0 && dirty >= memory_bytes_max {
            Pressure::Full
        } else if dirty > memory_bytes_max / 2 || self.layers.len() >= LAYERS_MAX {
            Pressure::High
        } else {
            Pressure::Low
        }
    }
}

fn get_in_layers(layers: &[Arc<Frozen>], key: &[u8]) -> Option<Option<Vec<u8>>> {
    let mut found = layers.iter().filter_map(|layer| layer.map().get(key));
    found
        .next()
        .map(|value| value.as_deref().map(<[u8]>::to_vec))
}

impl StateView for LmdbStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let inner = self.inner.borrow();
        if let Some(value) = inner.newest.map.get(key) {
            return Ok(value.as_deref().map(<[u8]>::to_vec));
        }
        match get_in_layers(&inner.layers, key) {
            Some(value) => Ok(value),
            None => inner.base.get(key),
        }
    }

    fn scan(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        scan(from, to, visit, |from, pairs, piece| {
            let inner = self.inner.borrow();
            let newest = Some(&inner.newest.map);
            collect(newest, &inner.layers, &inner.base, (from, to), pairs, piece)
        })
    }
}

impl StateView for LmdbSnapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match get_in_layers(&self.layers, key) {
            Some(value) => Ok(value),
            None => self.base.get(key),
        }
    }

    fn scan(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        scan(from, to, visit, |from, pairs, piece| {
            collect(None, &self.layers, &self.base, (from, to), pairs, piece)
        })
    }
}

/// Refuses what the environment could not take later.
fn check(batch: &WriteBatch) -> Result<(), StoreError> {
    for (key, value) in &batch.changes {
        if key.len() > super::KEY_BYTES_MAX {
            return Err(too_long(key.len()));
        }
        let bytes = value.as_ref().map_or(0, Vec::len);
        if bytes > VALUE_BYTES_MAX {
            let reason = format!("a value of {bytes} bytes, the limit is {VALUE_BYTES_MAX}");
            return Err(StoreError::Io { reason });
        }
    }
    Ok(())
}

impl StateStore for LmdbStore {
    type Snapshot = LmdbSnapshot;

    fn write(&mut self, batch: WriteBatch) -> Result<(), StoreError> {
        check(&batch)?;
        let inner = self.inner.get_mut();
        inner.adopt(&self.mailbox);
        for (key, value) in batch.changes {
            inner.newest.insert(key, value);
        }
        inner.tell();
        Ok(())
    }

    fn snapshot(&self) -> LmdbSnapshot {
        let mut inner = self.inner.borrow_mut();
        inner.adopt(&self.mailbox);
        inner.freeze();
        LmdbSnapshot {
            layers: inner.layers.clone(),
            base: Arc::clone(&inner.base),
        }
    }

    fn pressure(&self) -> Pressure {
        let mut inner = self.inner.borrow_mut();
        inner.adopt(&self.mailbox);
        inner.pressure()
    }

    fn start_checkpoint(&mut self) -> CheckpointId {
        let inner = self.inner.get_mut();
        inner.adopt(&self.mailbox);
        inner.freeze();
        inner.handed = inner.last_layer;
        self.last_checkpoint += 1;
        let checkpoint = CheckpointId(self.last_checkpoint);
        let job = Job {
            checkpoint,
            layers: inner.layers.clone(),
            environment: self.environment.clone(),
        };
        let jobs = self.jobs.as_ref().expect("full until dropped");
        jobs.send(job)
            .expect("the writing thread does not end before the store");
        checkpoint
    }

    fn restore_begin(&mut self) -> Result<(), StoreError> {
        if let Some(mut before) = self.building.take() {
            // It ends by itself, and removes what it has built.
            before.abandon();
            self.abandoned.push(before);
        }
        self.abandoned.retain(|building| !building.is_over());
        self.last_generation += 1;
        let building = Building::begin(
            self.closing.directory.path(),
            self.last_generation,
            self.options.map_bytes_max,
        )?;
        self.building = Some(building);
        Ok(())
    }

    fn restore_write(&mut self, batch: WriteBatch) -> Result<(), StoreError> {
        let building = self.building.as_mut().expect("restore_begin comes first");
        check(&batch)?;
        building.write(batch)
    }

    fn restore_commit(&mut self) -> Result<(), StoreError> {
        let building = self.building.take().expect("restore_begin comes first");
        let environment = building.finish()?;
        let inner = self.inner.get_mut();
        let base = environment.read(&inner.reaper)?;
        inner.replace(base);
        self.environment = environment;
        Ok(())
    }
}

impl Drop for LmdbStore {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(writer) = self.writer.take() {
            // A panic there was reported there.
            let _ = writer.join();
        }
        // What it left is let go with the rest.
        self.inner.get_mut().adopt(&self.mailbox);
    }
}
