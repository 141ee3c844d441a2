//! The store's directory: which environment counts, who has it open, what a crash left behind.
//!
//! ```text
//! lock                 held by the process that has the store open
//! open                 is there while a process has it open; a crash leaves it
//! CURRENT              name of the environment that counts, and a checksum
//! state-0000000001/    an environment of LMDB: data.mdb, lock.mdb
//! damaged/             the environment that was last found damaged
//! ```

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::OpenError;
use crate::lock::{Lock, LockError};

const LOCK_FILE: &str = "lock";
const MARKER_FILE: &str = "open";
const CURRENT_FILE: &str = "CURRENT";
const CURRENT_TEMPORARY: &str = "CURRENT.new";
const DAMAGED: &str = "damaged";
const ENVIRONMENT_PREFIX: &str = "state-";
/// Longest content of `CURRENT` that is looked at.
const CURRENT_BYTES_MAX: u64 = 256;
/// LMDB's file of pages.
pub(super) const DATA_FILE: &str = "data.mdb";
/// LMDB's file of readers; worth nothing when nobody has the environment open.
const READERS_FILE: &str = "lock.mdb";
/// Its length: room for a thousand readers, of 64 bytes each.
const READERS_BYTES: usize = 64 << 10;

/// What `CURRENT` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Current {
    /// There is no such file.
    Nothing,
    /// The environment of this number counts.
    At(u64),
    /// It makes no sense.
    Unreadable,
}

/// A directory that is locked by this process.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    _lock: Lock,
}

/// Wraps what the system said into an [`OpenError`].
pub(super) fn refused(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io {
        action,
        path,
        source,
    }
}

/// Where the environment of a number is.
pub(super) fn environment_path(directory: &Path, generation: u64) -> PathBuf {
    directory.join(environment_name(generation))
}

fn environment_name(generation: u64) -> String {
    format!("{ENVIRONMENT_PREFIX}{generation:010}")
}

fn generation_of(name: &str) -> Option<u64> {
    name.strip_prefix(ENVIRONMENT_PREFIX)?.parse().ok()
}

fn current_line(generation: u64) -> String {
    let name = environment_name(generation);
    let seal = blake3::hash(name.as_bytes()).to_hex();
    format!("{name} {}\n", &seal[..16])
}

/// Reads which environment counts.
pub(super) fn read_current(directory: &Path) -> io::Result<Current> {
    let file = match File::open(directory.join(CURRENT_FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Current::Nothing),
        Err(error) => return Err(error),
    };
    let mut line = Vec::new();
    file.take(CURRENT_BYTES_MAX).read_to_end(&mut line)?;
    let name = line.split(|byte| *byte == b' ').next().unwrap_or_default();
    let generation = std::str::from_utf8(name).ok().and_then(generation_of);
    Ok(match generation {
        Some(generation) if line == current_line(generation).as_bytes() => Current::At(generation),
        _ => Current::Unreadable,
    })
}

/// Makes an environment the one that counts, at once and durably.
pub(super) fn write_current(directory: &Path, generation: u64) -> io::Result<()> {
    let temporary = directory.join(CURRENT_TEMPORARY);
    let mut file = File::create(&temporary)?;
    file.write_all(current_line(generation).as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, directory.join(CURRENT_FILE))?;
    sync(directory)
}

/// Numbers of the environments in a directory, rising.
pub(super) fn generations(directory: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        found.extend(name.to_str().and_then(generation_of));
    }
    found.sort_unstable();
    Ok(found)
}

/// Makes a new list of readers for an environment that nobody has open: the old one may be of a
/// process that died. LMDB maps the file and writes to it; on a full disk a hole in it would end
/// the process, so its space is taken here, where that is an error.
pub(super) fn renew_readers(environment: &Path) -> io::Result<()> {
    fs::write(environment.join(READERS_FILE), vec![0; READERS_BYTES])
}

/// Flushes the names in a directory.
pub(super) fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn remove_file_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Directory {
    /// Makes the directory when it is not there, and keeps others out.
    pub fn lock(path: &Path) -> Result<Self, OpenError> {
        fs::create_dir_all(path).map_err(refused("make directory", path))?;
        let lock_path = path.join(LOCK_FILE);
        let lock = Lock::take(&lock_path).map_err(|error| match error {
            LockError::Held(_) => OpenError::Locked {
                directory: path.to_owned(),
            },
            LockError::Refused(action, error) => refused(action, &lock_path)(error),
        })?;
        if let Some(parent) = path.parent().filter(|path| !path.as_os_str().is_empty()) {
            sync(parent).map_err(refused("flush directory", parent))?;
        }
        // LMDB knows an environment by its real path.
        let path = fs::canonicalize(path).map_err(refused("resolve directory", path))?;
        Ok(Self { path, _lock: lock })
    }

    /// Keeps others out of a directory, if it is there at all.
    pub fn lock_if_there(path: &Path) -> Result<Option<Self>, OpenError> {
        if path.join(LOCK_FILE).exists() {
            Self::lock(path).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the process that had it open did not close it.
    pub fn was_open(&self) -> bool {
        self.path.join(MARKER_FILE).exists()
    }

    /// Says that a process has it open.
    pub fn mark_open(&self) -> io::Result<()> {
        File::create(self.path.join(MARKER_FILE))?.sync_all()?;
        sync(&self.path)
    }

    /// Says that nobody has it open.
    pub fn mark_closed(&self) -> io::Result<()> {
        remove_file_if_there(&self.path.join(MARKER_FILE))?;
        sync(&self.path)
    }

    /// Removes every environment but one.
    pub fn remove_others(&self, kept: Option<u64>) -> io::Result<()> {
        for generation in generations(&self.path)? {
            if Some(generation) != kept {
                fs::remove_dir_all(environment_path(&self.path, generation))?;
            }
        }
        remove_file_if_there(&self.path.join(CURRENT_TEMPORARY))
    }

    /// Moves a damaged environment aside, over the one that was moved before.
    pub fn set_aside(&self, generation: u64) -> io::Result<Option<PathBuf>> {
        let from = environment_path(&self.path, generation);
        if !from.exists() {
            return Ok(None);
        }
        let to = self.path.join(DAMAGED);
        if to.exists() {
            fs::remove_dir_all(&to)?;
        }
        fs::rename(&from, &to)?;
        sync(&self.path)?;
        Ok(Some(to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_current_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        assert_eq!(read_current(path).unwrap(), Current::Nothing);
        write_current(path, 7).unwrap();
        assert_eq!(read_current(path).unwrap(), Current::At(7));
        let line = fs::read(path.join(CURRENT_FILE)).unwrap();
        for bit in 0..line.len() * 8 {
            let mut damaged = line.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            fs::write(path.join(CURRENT_FILE), &damaged).unwrap();
            assert_eq!(
                read_current(path).unwrap(),
                Current::Unreadable,
                "bit {bit}"
            );
        }
        for length in 0..line.len() {
            fs::write(path.join(CURRENT_FILE), &line[..length]).unwrap();
            assert_eq!(read_current(path).unwrap(), Current::Unreadable);
        }
    }
}
