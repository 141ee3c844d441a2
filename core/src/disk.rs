//! What the core asks of a disk: a flat directory of preallocated files.
//!
//! Writes go to the operating system's cache and return; nothing written is durable before a
//! flush that began after it has finished. A flush is asked for and finishes later: the driver
//! reports it by the number that [`Disk::start_flush`] gave. After a failed flush the state of
//! everything unflushed is unknown for ever (the kernel may have dropped the dirty pages and will
//! not report it twice), so the owner of the disk must stop, not retry.

mod mem;

pub use mem::{MemDisk, range_of};

/// Name of a file: short, of letters, digits, `-`, `_` and `.`.
pub type FileName = String;

/// Number of a flush, rising from 1 for each opened disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlushId(pub u64);

/// What a disk can say no with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// No space is left. Nothing was changed; the caller may free space and try again.
    #[error("no space left for file {file}: free some space on its disk, or use another disk")]
    Full {
        /// The file that was to grow or be made.
        file: FileName,
    },
    /// Reading or writing failed; for a read, trying once more may help.
    #[error("input/output error on file {file}: {reason}")]
    Io {
        /// The file.
        file: FileName,
        /// What the system said.
        reason: String,
    },
    /// There is no such file.
    #[error("no file {file}")]
    Missing {
        /// The file.
        file: FileName,
    },
    /// The range lies outside the file.
    #[error("bytes {offset}+{length} lie outside file {file}")]
    Range {
        /// The file.
        file: FileName,
        /// First byte asked for.
        offset: u64,
        /// Bytes asked for.
        length: u64,
    },
}

/// A directory of files on one disk.
pub trait Disk {
    /// Files and their lengths in bytes, by name.
    ///
    /// # Errors
    /// [`DiskError::Io`].
    fn list(&self) -> Result<Vec<(FileName, u64)>, DiskError>;

    /// Makes a file of `length` zero bytes with its space reserved. Like its contents, its
    /// existence is durable only after a flush.
    ///
    /// # Errors
    /// [`DiskError::Full`], [`DiskError::Io`] (also when the file exists).
    fn create(&mut self, file: &str, length: u64) -> Result<(), DiskError>;

    /// Gives a file another name, replacing what had it: the way to reuse a file without
    /// reserving space again. Durable only after a flush.
    ///
    /// # Errors
    /// [`DiskError::Missing`], [`DiskError::Io`].
    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError>;

    /// Removes a file. Durable only after a flush.
    ///
    /// # Errors
    /// [`DiskError::Missing`], [`DiskError::Io`].
    fn remove(&mut self, file: &str) -> Result<(), DiskError>;

    /// Fills `into` from `offset`. Sees what was written, flushed or not.
    ///
    /// # Errors
    /// [`DiskError::Missing`], [`DiskError::Range`], [`DiskError::Io`].
    fn read(&self, file: &str, offset: u64, into: &mut [u8]) -> Result<(), DiskError>;

    /// Writes within the length of an existing file.
    ///
    /// # Errors
    /// [`DiskError::Missing`], [`DiskError::Range`], [`DiskError::Full`], [`DiskError::Io`].
    fn write(&mut self, file: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError>;

    /// Begins to make everything that was done so far durable, also by an earlier process that
    /// left it in the operating system's cache. The driver reports the end, good or
    /// bad, under the number given here. Several may run; they finish in order.
    fn start_flush(&mut self) -> FlushId;
}
