//! A disk in memory that never fails: for tests, fuzzing and as a yardstick. Faults are the
//! business of the simulator's disk.

use std::collections::BTreeMap;

use super::{Disk, DiskError, FileName, FlushId};

/// Files in memory. Cloning copies the content: an image to open a second time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemDisk {
    /// Content by name.
    pub files: BTreeMap<FileName, Vec<u8>>,
    /// Most bytes of all files together; `None` for no limit.
    pub capacity_bytes: Option<u64>,
    flushes: u64,
}

impl MemDisk {
    /// An empty disk without a limit.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Flushes begun so far.
    #[must_use]
    pub fn flush_count(&self) -> u64 {
        self.flushes
    }

    fn file(&self, file: &str) -> Result<&Vec<u8>, DiskError> {
        self.files
            .get(file)
            .ok_or_else(|| DiskError::Missing { file: file.into() })
    }
}

/// The part of a file of `have` bytes that `length` bytes at `offset` are.
///
/// # Errors
/// [`DiskError::Range`] when they lie outside.
pub fn range_of(
    file: &str,
    have: usize,
    offset: u64,
    length: usize,
) -> Result<std::ops::Range<usize>, DiskError> {
    usize::try_from(offset)
        .ok()
        .and_then(|from| Some(from..from.checked_add(length)?))
        .filter(|range| range.end <= have)
        .ok_or_else(|| DiskError::Range {
            file: file.into(),
            offset,
            length: length as u64,
        })
}

impl Disk for MemDisk {
    fn list(&self) -> Result<Vec<(FileName, u64)>, DiskError> {
        Ok(self
            .files
            .iter()
            .map(|(name, bytes)| (name.clone(), bytes.len() as u64))
            .collect())
    }

    fn create(&mut self, file: &str, length: u64) -> Result<(), DiskError> {
        if self.files.contains_key(file) {
            return Err(DiskError::Io {
                file: file.into(),
                reason: "the file exists".into(),
            });
        }
        let used: u64 = self.files.values().map(|bytes| bytes.len() as u64).sum();
        let full = self
            .capacity_bytes
            .is_some_and(|capacity| used.saturating_add(length) > capacity);
        match usize::try_from(length) {
            Ok(length) if !full => {
                self.files.insert(file.into(), vec![0; length]);
                Ok(())
            }
            _ => Err(DiskError::Full { file: file.into() }),
        }
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        let bytes = self
            .files
            .remove(from)
            .ok_or_else(|| DiskError::Missing { file: from.into() })?;
        self.files.insert(to.into(), bytes);
        Ok(())
    }

    fn remove(&mut self, file: &str) -> Result<(), DiskError> {
        self.files
            .remove(file)
            .map(drop)
            .ok_or_else(|| DiskError::Missing { file: file.into() })
    }

    fn read(&self, file: &str, offset: u64, into: &mut [u8]) -> Result<(), DiskError> {
        let bytes = self.file(file)?;
        let range = range_of(file, bytes.len(), offset, into.len())?;
        into.copy_from_slice(&bytes[range]);
        Ok(())
    }

    fn write(&mut self, file: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let range = range_of(file, self.file(file)?.len(), offset, bytes.len())?;
        let content = self
            .files
            .get_mut(file)
            .ok_or_else(|| DiskError::Missing { file: file.into() })?;
        content[range].copy_from_slice(bytes);
        Ok(())
    }

    fn start_flush(&mut self) -> FlushId {
        self.flushes += 1;
        FlushId(self.flushes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_outside_a_file_are_refused() {
        let mut disk = MemDisk::new();
        disk.create("a", 10).unwrap();
        disk.write("a", 8, b"xy").unwrap();
        assert!(matches!(
            disk.write("a", 9, b"xy"),
            Err(DiskError::Range { .. })
        ));
        assert!(matches!(
            disk.read("a", u64::MAX, &mut [0]),
            Err(DiskError::Range { .. })
        ));
        assert!(matches!(
            disk.read("b", 0, &mut [0]),
            Err(DiskError::Missing { .. })
        ));
    }
}
