//! A file of zeros made ahead on a thread of its own: writing and flushing a whole segment takes
//! longer than the log may wait when it goes over to a new one.
//!
//! It knows nothing of names that count: the spare file has one that no file of the log has. The next
//! life takes it over; what a crash left half made is removed.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;

/// Name of the file while it is made.
const MAKING_FILE: &str = ".making";
/// Name of the file while it waits.
const SPARE_FILE: &str = ".spare";
/// Zeros written at a time.
const ZEROS_BYTES: usize = 1 << 20;
/// Flushed each time that so many were written, so that the log's own flushes find a short queue.
const FLUSH_BYTES: u64 = 4 << 20;
/// Shorter files are made when they are wanted.
pub(super) const LENGTH_MIN: u64 = ZEROS_BYTES as u64;

/// Writes a file of zeros; nothing stays of one that could not be finished.
pub(super) fn make(path: &Path, length: u64) -> io::Result<File> {
    make_unless(path, length, || false, u64::MAX)
}

fn make_unless(
    path: &Path,
    length: u64,
    given_up: impl Fn() -> bool,
    flush_bytes: u64,
) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)?;
    let made = fill(&file, length, given_up, flush_bytes);
    if made.is_err() {
        // Half a file must not stay; that it could not be made is what counts.
        let _ = fs::remove_file(path);
    }
    made.map(|()| file)
}

fn fill(file: &File, length: u64, given_up: impl Fn() -> bool, flush_bytes: u64) -> io::Result<()> {
    let zeros = vec![0; ZEROS_BYTES];
    let (mut at, mut flushed) = (0, 0);
    while at < length {
        if given_up() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let left = usize::try_from(length - at).unwrap_or(usize::MAX);
        let step = zeros.len().min(left);
        file.write_all_at(&zeros[..step], at)?;
        at += step as u64;
        if at - flushed >= flush_bytes {
            file.sync_data()?;
            flushed = at;
        }
    }
    Ok(())
}

/// How far the next spare file is.
enum State {
    /// Nobody has asked for one, or it could not be made.
    Nothing,
    /// The thread works on one of this length.
    Making(u64),
    /// It waits to be taken.
    Ready(File, u64),
}

/// Makes files ahead, one at a time.
pub(super) struct Spare {
    path: PathBuf,
    state: State,
    orders: Option<Sender<u64>>,
    made: Receiver<io::Result<File>>,
    gives_up: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Spare {
    /// Begins with what an earlier life made.
    pub(super) fn start(directory: &Path) -> io::Result<Self> {
        let (path, making) = (directory.join(SPARE_FILE), directory.join(MAKING_FILE));
        match fs::remove_file(&making) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let (orders, todo) = mpsc::channel();
        let (tell, made) = mpsc::channel();
        let gives_up = Arc::new(AtomicBool::new(false));
        let (target, over) = (path.clone(), Arc::clone(&gives_up));
        let thread = std::thread::Builder::new()
            .name("wal-make".into())
            .spawn(move || {
                while let Ok(length) = todo.recv() {
                    let over = || over.load(Ordering::Relaxed);
                    let file = make_unless(&making, length, over, FLUSH_BYTES);
                    let file = file.and_then(|file| {
                        file.sync_all()?;
                        fs::rename(&making, &target).map(|()| file)
                    });
                    if tell.send(file).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self {
            path,
            state: State::Nothing,
            orders: Some(orders),
            made,
            gives_up,
            thread: Some(thread),
        })
    }

    /// Has a file of this length made, unless there is one or it is short.
    pub(super) fn order(&mut self, length: u64) {
        if matches!(self.state, State::Nothing)
            && length >= LENGTH_MIN
            && let Some(orders) = &self.orders
            && orders.send(length).is_ok()
        {
            self.state = State::Making(length);
        }
    }

    /// The file of this length under its new name, when one was ordered or is left from an earlier
    /// life; waits for one that is being made, which is sooner there than another. `None` when
    /// there is none: then it is to be made, or its making says why it cannot be.
    pub(super) fn take(&mut self, length: u64, name: &Path) -> Option<File> {
        self.settle(length);
        match std::mem::replace(&mut self.state, State::Nothing) {
            State::Ready(file, has) if has == length => {
                fs::rename(&self.path, name).ok().map(|()| file)
            }
            State::Nothing => {
                let left = left_over(&self.path, length)?;
                fs::rename(&self.path, name).ok().map(|()| left)
            }
            other => {
                self.state = other;
                None
            }
        }
    }

    /// Waits for a file of this length that is being made.
    fn settle(&mut self, length: u64) {
        if let State::Making(being_made) = self.state
            && being_made == length
        {
            self.state = match self.made.recv() {
                Ok(Ok(file)) => State::Ready(file, length),
                Ok(Err(_)) | Err(_) => State::Nothing,
            };
        }
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        self.gives_up.store(true, Ordering::Relaxed);
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was reported there.
            let _ = thread.join();
        }
    }
}

/// The file that an earlier life made, when it is of this length and nothing was ever written to it:
/// of one that was taken, and lost its new name in a crash, the log may have made a segment. Any
/// other is removed.
fn left_over(path: &Path, length: u64) -> Option<File> {
    let file = OpenOptions::new().read(true).write(true).open(path).ok()?;
    if is_zeros(&file, length).unwrap_or(false) {
        return Some(file);
    }
    // One that stays is looked at again, and is no worse then.
    let _ = fs::remove_file(path);
    None
}

fn is_zeros(file: &File, length: u64) -> io::Result<bool> {
    if file.metadata()?.len() != length {
        return Ok(false);
    }
    let mut bytes = vec![0; ZEROS_BYTES];
    let mut at = 0;
    while at < length {
        let left = usize::try_from(length - at).unwrap_or(usize::MAX);
        let step = bytes.len().min(left);
        file.read_exact_at(&mut bytes[..step], at)?;
        if bytes[..step].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        at += step as u64;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    const LENGTH: u64 = 3 * LENGTH_MIN + 5;

    #[test]
    fn a_file_made_ahead_is_the_one_that_is_taken_and_all_zeros() {
        let directory = tempfile::tempdir().unwrap();
        let spare_path = directory.path().join(SPARE_FILE);
        let making_path = directory.path().join(MAKING_FILE);
        fs::write(&making_path, [7; 100]).unwrap();
        let mut spare = Spare::start(directory.path()).unwrap();
        assert!(!making_path.exists(), "what a crash left is gone");
        let (one, two) = (directory.path().join("one"), directory.path().join("two"));
        assert!(spare.take(LENGTH, &one).is_none(), "nobody ordered one");
        spare.order(LENGTH);
        spare.order(LENGTH);
        spare.settle(LENGTH);
        let inode = fs::metadata(&spare_path).unwrap().ino();
        let file = spare.take(LENGTH, &one).unwrap();
        assert_eq!(fs::metadata(&one).unwrap().ino(), inode);
        assert_eq!(file.metadata().unwrap().ino(), inode);
        let bytes = fs::read(&one).unwrap();
        assert_eq!(bytes.len() as u64, LENGTH);
        assert!(bytes.iter().all(|byte| *byte == 0));
        assert!(spare.take(LENGTH, &two).is_none(), "there was one");
        assert!(!two.exists());
    }

    #[test]
    fn one_of_another_length_is_left_and_one_that_cannot_be_made_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let one = directory.path().join("one");
        let mut spare = Spare::start(directory.path()).unwrap();
        spare.order(LENGTH_MIN - 1);
        assert!(matches!(spare.state, State::Nothing), "a short one");
        spare.order(LENGTH);
        assert!(spare.take(2 * LENGTH, &one).is_none());
        assert!(spare.take(LENGTH, &one).is_some(), "it was left");
        // A directory stands where the file should be.
        fs::create_dir(directory.path().join(MAKING_FILE)).unwrap();
        spare.order(LENGTH);
        assert!(spare.take(LENGTH, &one).is_none());
        fs::remove_dir(directory.path().join(MAKING_FILE)).unwrap();
        spare.order(LENGTH);
        assert!(spare.take(LENGTH, &one).is_some(), "it is tried again");
    }

    #[test]
    fn a_spare_that_nobody_waits_for_is_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let error = make_unless(&path, LENGTH, || true, 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
        assert!(!path.exists(), "nothing stays of it");
        let mut spare = Spare::start(directory.path()).unwrap();
        spare.order(1 << 40);
        drop(spare);
        for name in [MAKING_FILE, SPARE_FILE] {
            assert!(!directory.path().join(name).exists(), "{name}");
        }
    }

    #[test]
    fn the_next_life_takes_what_is_left_unless_it_was_written_to() {
        let directory = tempfile::tempdir().unwrap();
        let (one, spare_path) = (
            directory.path().join("one"),
            directory.path().join(SPARE_FILE),
        );
        let prepare = || {
            let mut spare = Spare::start(directory.path()).unwrap();
            spare.order(LENGTH);
            spare.settle(LENGTH);
            drop(spare);
            fs::metadata(&spare_path).unwrap().ino()
        };
        let inode = prepare();
        let mut spare = Spare::start(directory.path()).unwrap();
        let taken = spare.take(LENGTH, &one).expect("it is left");
        assert_eq!(taken.metadata().unwrap().ino(), inode);
        assert!(!spare_path.exists());
        drop(spare);
        prepare();
        let mut spare = Spare::start(directory.path()).unwrap();
        assert!(spare.take(LENGTH + 1, &one).is_none(), "another length");
        assert!(!spare_path.exists(), "it is of no use");
        drop(spare);
        prepare();
        let file = OpenOptions::new().write(true).open(&spare_path).unwrap();
        file.write_all_at(b"x", LENGTH - 1).unwrap();
        let mut spare = Spare::start(directory.path()).unwrap();
        assert!(spare.take(LENGTH, &one).is_none(), "it was written to");
        assert!(!spare_path.exists(), "it is of no use");
    }
}
