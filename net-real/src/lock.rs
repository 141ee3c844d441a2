//! A file that is locked: who has it keeps other processes out.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A lock, until it is dropped, or the process dies.
#[derive(Debug)]
pub(crate) struct Lock(File);

/// Why there is no lock.
#[derive(Debug)]
pub(crate) enum LockError {
    /// Somebody else has it; here is the file.
    Held(File),
    /// The system refused this.
    Refused(&'static str, io::Error),
}

impl Lock {
    /// Takes the lock of a file, which is made when it is not there.
    pub(crate) fn take(path: &Path) -> Result<Self, LockError> {
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true);
        let file = options.mode(0o600).open(path);
        let file = file.map_err(|error| LockError::Refused("open the lock file", error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(LockError::Held(file)),
            Err(TryLockError::Error(error)) => Err(LockError::Refused("lock", error)),
        }
    }

    /// The file.
    pub(crate) fn file(&self) -> &File {
        &self.0
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing it is not enough where a process is just being made: until that begins its own
        // program it has the file, too. If this fails, that is all there is to wait for.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a process has it that was made meanwhile and has not begun its own program yet.
    #[test]
    fn a_lock_is_given_back_though_its_file_is_still_open_elsewhere() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let lock = Lock::take(&path).unwrap();
        assert!(matches!(Lock::take(&path), Err(LockError::Held(_))));
        let elsewhere = lock.file().try_clone().unwrap();
        drop(lock);
        let again = Lock::take(&path);
        assert!(again.is_ok(), "{again:?}");
        drop(elsewhere);
    }
}
