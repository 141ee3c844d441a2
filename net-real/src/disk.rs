//! The disk of a node: files in one directory, flushed by a thread of their own.
//!
//! Space is reserved by writing zeros: blocks that were written once need no change of the file
//! system's own records when they are written again, which keeps later flushes short. The next
//! file is made ahead, see `spare`. Names are made durable by flushing the directory. A lock file
//! keeps a second process out.
//!
//! After a failed flush every later one fails too: the kernel reports a lost page once and then
//! forgets it, so a second try would succeed without the data.

mod spare;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use mfsha_core::disk::{Disk, DiskError, FileName, FlushId};

use self::spare::Spare;
use crate::advice::{advice, with_advice};
use crate::lock::{Lock, LockError};
use crate::mailbox::{Receiver, Sender, mailbox};

/// Name of the lock file; no file of the log.
const LOCK_FILE: &str = "lock";

/// The end of a flush, as the driver hears of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlushDone {
    /// Which flush.
    pub flush: FlushId,
    /// How it ended.
    pub result: Result<(), DiskError>,
    /// Whether there was any file when it began.
    pub holds: bool,
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another part of this one, has it open.
    #[error("directory {} is in use by another process (it holds {LOCK_FILE})", .directory.display())]
    Locked {
        /// The directory.
        directory: PathBuf,
    },
    /// The system refused. The administrator looks at path, owner and mount options.
    #[error("cannot {action} {}: {source}; {}", .path.display(), advice(.source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

struct Job {
    flush: FlushId,
    files: Vec<(FileName, Arc<File>)>,
    directory: bool,
    holds: bool,
}

/// An open file; nobody else changes its length.
struct Opened {
    file: Arc<File>,
    length: u64,
}

/// Files in one directory.
pub struct FileDisk {
    directory: PathBuf,
    capacity_bytes: Option<u64>,
    files: BTreeMap<FileName, Opened>,
    /// Files written since the last flush began.
    dirty: BTreeSet<FileName>,
    /// Whether a name was made, changed or removed since then.
    names_changed: bool,
    last_flush: u64,
    spare: Spare,
    jobs: Option<Sender<Job>>,
    flusher: Option<JoinHandle<()>>,
    _lock: Lock,
}

impl FileDisk {
    /// Opens a directory, making it when it is not there. `report` hears of every finished flush,
    /// on the flushing thread; it must not block for long. Files may not grow beyond
    /// `capacity_bytes` together.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(
        directory: &Path,
        capacity_bytes: Option<u64>,
        report: impl Fn(FlushDone) + Send + 'static,
    ) -> Result<Self, OpenError> {
        let refused = |action, path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io {
                action,
                path,
                source,
            }
        };
        fs::create_dir_all(directory).map_err(refused("make directory", directory))?;
        let lock_path = directory.join(LOCK_FILE);
        let lock = Lock::take(&lock_path).map_err(|error| match error {
            LockError::Held(_) => OpenError::Locked {
                directory: directory.to_owned(),
            },
            LockError::Refused(action, error) => refused(action, &lock_path)(error),
        })?;
        if let Some(parent) = directory
            .parent()
            .filter(|path| !path.as_os_str().is_empty())
        {
            sync_directory(parent).map_err(refused("flush directory", parent))?;
        }
        // Kept open: a flush must not need a descriptor that the system may not give.
        let handle = File::open(directory).map_err(refused("open directory", directory))?;
        let spare =
            Spare::start(directory).map_err(refused("make files ahead in directory", directory))?;
        let (jobs, todo) = mailbox();
        let flusher = std::thread::Builder::new()
            .name("wal-flush".into())
            .spawn(move || flush_all(&handle, &todo, &report))
            .map_err(refused("start the flushing thread for", directory))?;
        let mut disk = Self {
            directory: directory.to_owned(),
            capacity_bytes,
            files: BTreeMap::new(),
            dirty: BTreeSet::new(),
            names_changed: true,
            last_flush: 0,
            spare,
            jobs: Some(jobs),
            flusher: Some(flusher),
            _lock: lock,
        };
        for name in disk.names().map_err(refused("list directory", directory))? {
            let path = disk.directory.join(&name);
            let file = OpenOptions::new().read(true).write(true).open(&path);
            let file = file.map_err(refused("open file", &path))?;
            let length = file
                .metadata()
                .map_err(refused("measure file", &path))?
                .len();
            let file = Arc::new(file);
            disk.files.insert(name.clone(), Opened { file, length });
            // What an earlier process wrote and did not flush may be in the cache alone.
            disk.dirty.insert(name);
        }
        Ok(disk)
    }

    /// Regular files with names that can be ours, but for the lock.
    fn names(&self) -> io::Result<Vec<FileName>> {
        let mut names = Vec::new();
        for found in fs::read_dir(&self.directory)? {
            let found = found?;
            let name = found.file_name().into_string();
            if let Ok(name) = name
                && name != LOCK_FILE
                && is_proper(&name)
                && found.file_type()?.is_file()
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn file(&self, name: &str) -> Result<&Opened, DiskError> {
        self.files
            .get(name)
            .ok_or_else(|| DiskError::Missing { file: name.into() })
    }

    fn check_range(&self, name: &str, offset: u64, length: usize) -> Result<&File, DiskError> {
        let opened = self.file(name)?;
        let end = offset.checked_add(length as u64);
        if end.is_none_or(|end| end > opened.length) {
            return Err(DiskError::Range {
                file: name.into(),
                offset,
                length: length as u64,
            });
        }
        Ok(&opened.file)
    }
}

impl Drop for FileDisk {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(flusher) = self.flusher.take() {
            // A panic there was reported there.
            let _ = flusher.join();
        }
    }
}

/// Whether a name is short and of harmless letters, so that it stays within the directory.
fn is_proper(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=64).contains(&name.len()) && !name.starts_with('.') && name.chars().all(letter)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// What the system said, in the words of the core.
fn fault(file: &str, error: &io::Error) -> DiskError {
    let file = file.into();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            DiskError::Full { file }
        }
        io::ErrorKind::NotFound => DiskError::Missing { file },
        _ => DiskError::Io {
            file,
            reason: with_advice(error),
        },
    }
}

/// The flushing thread: one flush after the other; after a failure all fail.
fn flush_all(directory: &File, todo: &Receiver<Job>, report: &dyn Fn(FlushDone)) {
    let mut failed: Option<DiskError> = None;
    while let Some(job) = todo.receive() {
        let result = match &failed {
            Some(error) => Err(error.clone()),
            None => flush_one(directory, &job),
        };
        failed = result.clone().err();
        report(FlushDone {
            flush: job.flush,
            result,
            holds: job.holds,
        });
    }
}

fn flush_one(directory: &File, job: &Job) -> Result<(), DiskError> {
    for (name, file) in &job.files {
        file.sync_data().map_err(|error| fault(name, &error))?;
    }
    if job.directory {
        directory.sync_all().map_err(|error| fault(".", &error))?;
    }
    Ok(())
}

impl Disk for FileDisk {
    fn list(&self) -> Result<Vec<(FileName, u64)>, DiskError> {
        let files = self.files.iter();
        Ok(files
            .map(|(name, opened)| (name.clone(), opened.length))
            .collect())
    }

    fn create(&mut self, file: &str, length: u64) -> Result<(), DiskError> {
        if !is_proper(file) || file == LOCK_FILE || self.files.contains_key(file) {
            return Err(DiskError::Io {
                file: file.into(),
                reason: "the name is taken or not allowed".into(),
            });
        }
        let used: u64 = self.files.values().map(|opened| opened.length).sum();
        let limit = self.capacity_bytes.unwrap_or(u64::MAX);
        if used.checked_add(length).is_none_or(|sum| sum > limit) {
            return Err(DiskError::Full { file: file.into() });
        }
        let path = self.directory.join(file);
        let made = match self.spare.take(length, &path) {
            Some(made) => made,
            None => spare::make(&path, length).map_err(|error| fault(file, &error))?,
        };
        let made = Arc::new(made);
        // The spare one is within the bound as well.
        let after = used.saturating_add(length).saturating_add(length);
        if after <= limit {
            self.spare.order(length);
        }
        self.files
            .insert(file.into(), Opened { file: made, length });
        self.dirty.insert(file.into());
        self.names_changed = true;
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        self.file(from)?;
        if !is_proper(to) || to == LOCK_FILE {
            return Err(DiskError::Io {
                file: to.into(),
                reason: "the name is not allowed".into(),
            });
        }
        let (old, new) = (self.directory.join(from), self.directory.join(to));
        fs::rename(old, new).map_err(|error| fault(from, &error))?;
        if let Some(file) = self.files.remove(from) {
            self.files.insert(to.into(), file);
        }
        if self.dirty.remove(from) {
            self.dirty.insert(to.into());
        }
        self.names_changed = true;
        Ok(())
    }

    fn remove(&mut self, file: &str) -> Result<(), DiskError> {
        self.file(file)?;
        fs::remove_file(self.directory.join(file)).map_err(|error| fault(file, &error))?;
        self.files.remove(file);
        self.dirty.remove(file);
        self.names_changed = true;
        Ok(())
    }

    fn read(&self, file: &str, offset: u64, into: &mut [u8]) -> Result<(), DiskError> {
        let open = self.check_range(file, offset, into.len())?;
        open.read_exact_at(into, offset)
            .map_err(|error| fault(file, &error))
    }

    fn write(&mut self, file: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let open = self.check_range(file, offset, bytes.len())?;
        // Also a write that failed may have left something behind.
        let result = open.write_all_at(bytes, offset);
        self.dirty.insert(file.into());
        result.map_err(|error| fault(file, &error))
    }

    fn start_flush(&mut self) -> FlushId {
        self.last_flush += 1;
        let flush = FlushId(self.last_flush);
        let dirty = std::mem::take(&mut self.dirty);
        let files = dirty.into_iter().filter_map(|name| {
            let file = Arc::clone(&self.files.get(&name)?.file);
            Some((name, file))
        });
        let job = Job {
            flush,
            files: files.collect(),
            directory: std::mem::take(&mut self.names_changed),
            holds: !self.files.is_empty(),
        };
        let jobs = self
            .jobs
            .as_ref()
            .expect("the thread lives as long as the disk");
        jobs.send(job)
            .expect("the flushing thread does not end before the disk");
        flush
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use mfsha_core::id::{GroupId, LogIndex, NodeId, Term};
    use mfsha_core::wal::record::{LogId, Record};
    use mfsha_core::wal::{Tail, Wal, WalError, WalOptions};

    use super::*;

    fn open(directory: &Path, capacity: Option<u64>) -> (FileDisk, mpsc::Receiver<FlushDone>) {
        let (sender, done) = mpsc::channel();
        let report = move |flush| sender.send(flush).unwrap();
        (FileDisk::open(directory, capacity, report).unwrap(), done)
    }

    fn entry(index: u64) -> Record {
        Record::Entry {
            id: LogId {
                term: Term(1),
                leader: NodeId(1),
                index: LogIndex(index),
            },
            payload: vec![index as u8; 700],
        }
    }

    fn flush(wal: &mut Wal<FileDisk>, done: &mpsc::Receiver<FlushDone>) {
        let flush = wal.start_flush().unwrap().unwrap();
        let end = done.recv().unwrap();
        assert_eq!(end.flush, flush);
        wal.on_flushed(flush, end.result).unwrap();
    }

    #[test]
    fn a_log_on_real_files_comes_back() {
        let directory = tempfile::tempdir().unwrap();
        let options = WalOptions::small(NodeId(1));
        let mut next = 1;
        for life in 1..=3 {
            let (disk, done) = open(directory.path(), None);
            let (mut wal, recovery) = Wal::open(disk, options.clone(), life).unwrap();
            assert_eq!(recovery.damage, []);
            assert_eq!(recovery.tail, Tail::Clean);
            let log = recovery.group(GroupId(1));
            assert_eq!(log.entries.len() as u64, next - 1);
            assert!(
                log.entries
                    .iter()
                    .all(|(id, bytes)| bytes[..] == [id.index.0 as u8; 700])
            );
            for _ in 0..40 {
                wal.append(GroupId(1), entry(next)).unwrap();
                next += 1;
            }
            flush(&mut wal, &done);
            assert!(wal.live_segment_count() > 1);
        }
    }

    #[test]
    fn a_directory_belongs_to_one_process_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let first = open(directory.path(), None);
        let second = FileDisk::open(directory.path(), None, |_| {});
        let error = second.err().expect("the lock keeps it out");
        assert!(matches!(error, OpenError::Locked { .. }), "{error}");
        drop(first);
        open(directory.path(), None);
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a-file");
        fs::write(&file, b"x").unwrap();
        // Neither below a file nor in a file system of the kernel's can anybody make a directory.
        for path in [file.join("log"), PathBuf::from("/proc/mfsha-log")] {
            let error = FileDisk::open(&path, None, |_| {})
                .err()
                .expect("it cannot be made");
            let text = error.to_string();
            assert!(text.contains(path.to_str().unwrap()), "{text}");
            assert!(text.starts_with("cannot make directory"), "{text}");
        }
    }

    #[test]
    fn a_full_disk_refuses_the_record_and_the_log_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let options = WalOptions::small(NodeId(1));
        let capacity = 3 * u64::from(options.segment_bytes);
        let (disk, done) = open(directory.path(), Some(capacity));
        let (mut wal, _) = Wal::open(disk, options, 1).unwrap();
        let mut index = 0;
        let error = loop {
            match wal.append(GroupId(1), entry(index + 1)) {
                Ok(_) => index += 1,
                Err(error) => break error,
            }
        };
        assert!(
            matches!(error, WalError::Disk(DiskError::Full { .. })),
            "{error}"
        );
        flush(&mut wal, &done);
        drop(wal);
        // All of it was one flush, which nothing proves: an opening writes it again, elsewhere.
        let (disk, done) = open(directory.path(), Some(capacity));
        let refused = Wal::open(disk, WalOptions::small(NodeId(1)), 2).err();
        assert!(
            matches!(refused, Some(WalError::Disk(DiskError::Full { .. }))),
            "{refused:?}"
        );
        drop(done);
        let (disk, _done) = open(directory.path(), Some(3 * capacity));
        let (_, recovery) = Wal::open(disk, WalOptions::small(NodeId(1)), 3).unwrap();
        assert_eq!(recovery.group(GroupId(1)).entries.len() as u64, index);
    }

    #[test]
    fn files_made_ahead_stay_within_the_bound_and_the_log_goes_over_to_them() {
        let directory = tempfile::tempdir().unwrap();
        let length = spare::LENGTH_MIN;
        let (mut disk, _done) = open(directory.path(), Some(3 * length));
        let on_disk = || -> u64 {
            let files = fs::read_dir(directory.path()).unwrap();
            files
                .map(|file| file.unwrap().metadata().unwrap().len())
                .sum()
        };
        for name in ["a", "b", "c"] {
            disk.create(name, length).unwrap();
            assert!(on_disk() <= 3 * length, "with what is made ahead");
            let mut bytes = [1; 100];
            disk.read(name, length - 100, &mut bytes).unwrap();
            assert_eq!(bytes, [0; 100]);
            disk.write(name, 0, b"x").unwrap();
        }
        let full = disk.create("d", length);
        assert_eq!(full, Err(DiskError::Full { file: "d".into() }));
        disk.remove("a").unwrap();
        disk.create("d", length).unwrap();
        let names: Vec<_> = disk.list().unwrap();
        assert_eq!(names.len(), 3);
        drop(disk);
        let (disk, _done) = open(directory.path(), None);
        assert_eq!(disk.list().unwrap(), names, "a spare one is no file");
    }

    #[test]
    fn the_systems_own_full_disk_is_called_full() {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let error = full.write_all_at(b"x", 0).unwrap_err();
        assert_eq!(fault("a", &error), DiskError::Full { file: "a".into() });
    }

    #[test]
    fn after_a_failed_flush_every_later_one_fails() {
        let (jobs, todo) = mailbox();
        let (sender, done) = mpsc::channel();
        let directory = tempfile::tempdir().unwrap();
        // Pipes and character devices cannot be flushed: the system says so.
        let unflushable = Arc::new(OpenOptions::new().write(true).open("/dev/full").unwrap());
        let job = |flush, files| Job {
            flush: FlushId(flush),
            files,
            directory: false,
            holds: true,
        };
        jobs.send(job(1, Vec::new())).unwrap();
        jobs.send(job(2, vec![("a".into(), unflushable)])).unwrap();
        jobs.send(job(3, Vec::new())).unwrap();
        drop(jobs);
        let directory = File::open(directory.path()).unwrap();
        flush_all(&directory, &todo, &|end| sender.send(end).unwrap());
        let results: Vec<_> = done.try_iter().map(|end| end.result.is_ok()).collect();
        assert_eq!(results, [true, false, false]);
    }

    #[test]
    fn names_stay_within_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        let (mut disk, _done) = open(directory.path(), None);
        for name in ["../a", "a/b", "", ".", "lock", "ä"] {
            assert!(disk.create(name, 10).is_err(), "{name}");
        }
        disk.create("a", 10).unwrap();
        assert!(disk.create("a", 10).is_err());
        disk.rename("a", "b").unwrap();
        disk.write("b", 8, b"xy").unwrap();
        assert!(matches!(
            disk.write("b", 9, b"xy"),
            Err(DiskError::Range { .. })
        ));
        assert_eq!(disk.list().unwrap(), [("b".into(), 10)]);
        disk.remove("b").unwrap();
        assert!(matches!(
            disk.read("b", 0, &mut [0]),
            Err(DiskError::Missing { .. })
        ));
    }
}
