//! An environment of LMDB, and the state that one of its transactions left.
//!
//! One read transaction serves the store and all its snapshots until the next checkpoint: opening
//! one for each read would cost more than the read. It is behind a lock, for LMDB wants one thread
//! at a time, and the lock is never held while anybody else's code runs.

use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, FlagSetMode, MdbError};
use heed::{RoTxn, RwTxn, WithoutTls};
use mfsha_core::store::StoreError;

use crate::advice::with_advice;

use super::reaper::{Reaped, Reaper};
use super::sum::{KEYS_BEGIN, KEYS_END, SUM_KEY, StateSum, StoredKey, user_key};

type Keys = Database<'static, Bytes, Bytes>;

/// Readers of one environment at a time: the store, and what snapshots of earlier checkpoints
/// still hold.
const READERS_MAX: u32 = 512;

/// An open environment.
#[derive(Clone)]
pub(super) struct Environment {
    env: Env<WithoutTls>,
    keys: Keys,
    /// Its number.
    pub generation: u64,
    path: PathBuf,
}

impl Environment {
    /// Opens or makes an environment in a directory that is there. One that is `building` is not
    /// flushed, until [`Self::become_durable`].
    pub fn open(
        path: &Path,
        generation: u64,
        map_bytes: usize,
        building: bool,
    ) -> Result<Self, heed::Error> {
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        let page = 1 << 16;
        options
            .map_size(map_bytes.div_ceil(page) * page)
            .max_readers(READERS_MAX);
        if building {
            #[expect(unsafe_code, reason = "heed marks every flag so")]
            // SAFETY: without flushing, a crash may damage this environment; until it has become
            // durable, `CURRENT` does not name it, and the next start removes it unread.
            unsafe {
                options.flags(EnvFlags::NO_SYNC);
            }
        }
        #[expect(unsafe_code, reason = "LMDB maps the file into memory")]
        // SAFETY: the store's lock file keeps every other process that runs this code away from
        // the file, and within this one heed refuses to open it twice.
        let env = unsafe { options.open(path)? };
        let write = env.write_txn()?;
        let keys = env
            .create_databases_and_commit(write, |opener, write| {
                opener
                    .create_database::<Bytes, Bytes>(write, None)
                    .map(CommitOrAbort::<_, ()>::Commit)
            })?
            .unwrap_commit();
        Ok(Self {
            env,
            keys,
            generation,
            path: path.to_owned(),
        })
    }

    /// The sum that was written with the state.
    pub fn sum(&self) -> Result<StateSum, StoreError> {
        let read = self.env.read_txn().map_err(fault)?;
        match self.keys.get(&read, SUM_KEY).map_err(fault)? {
            Some(bytes) => decode_sum(bytes),
            None => Err(corrupt("the sum of the state is missing")),
        }
    }

    /// The state as it is now, to read from.
    pub fn read(&self, reaper: &Reaper) -> Result<Arc<Base>, StoreError> {
        let read = self.env.clone().static_read_txn().map_err(fault)?;
        let inner = Inner {
            read: Mutex::new(read),
            keys: self.keys,
        };
        Ok(Arc::new(Base {
            inner: Reaped::new(inner, reaper),
            generation: self.generation,
        }))
    }

    /// Begins to write; waits for another writer.
    pub fn write(&self) -> Result<Writing<'_>, StoreError> {
        let write = self.env.write_txn().map_err(fault)?;
        let sum = match self.keys.get(&write, SUM_KEY).map_err(fault)? {
            Some(bytes) => decode_sum(bytes)?,
            None => StateSum::default(),
        };
        Ok(Writing {
            write,
            keys: self.keys,
            sum,
        })
    }

    /// From the next commit on, everything is flushed.
    pub fn become_durable(&self) -> Result<(), StoreError> {
        #[expect(unsafe_code, reason = "heed marks every change of flags so")]
        // SAFETY: no transaction writes now: the builder has ended, and the thread that calls this
        // is the only one that writes afterwards.
        unsafe { self.env.set_flags(EnvFlags::NO_SYNC, FlagSetMode::Disable) }.map_err(fault)
    }

    /// Flushes the file.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.env.force_sync().map_err(fault)
    }

    /// Length of its file in bytes.
    pub fn disk_bytes(&self) -> u64 {
        self.env.real_disk_size().unwrap_or(0)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A write transaction that keeps the sum.
pub(super) struct Writing<'e> {
    write: RwTxn<'e>,
    keys: Keys,
    sum: StateSum,
}

impl Writing<'_> {
    /// Sets or removes a key.
    pub fn change(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StoreError> {
        let stored = StoredKey::new(key).ok_or_else(|| too_long(key.len()))?;
        let old = self.keys.get(&self.write, &stored).map_err(fault)?;
        if old == value {
            return Ok(());
        }
        let had = old.is_some();
        if let Some(old) = old {
            self.sum.remove(key, old);
        }
        match value {
            Some(value) => {
                self.sum.add(key, value);
                self.keys.put(&mut self.write, &stored, value)
            }
            None if had => self.keys.delete(&mut self.write, &stored).map(|_| ()),
            None => Ok(()),
        }
        .map_err(fault)
    }

    /// Ends the transaction, with the sum in it.
    pub fn commit(mut self) -> Result<StateSum, StoreError> {
        let sum = self.sum.encode();
        self.keys
            .put(&mut self.write, SUM_KEY, &sum)
            .map_err(fault)?;
        self.write.commit().map_err(fault)?;
        Ok(self.sum)
    }
}

/// The state that one transaction left.
pub(super) struct Base {
    inner: Reaped<Inner>,
    /// Number of the environment.
    pub generation: u64,
}

struct Inner {
    read: Mutex<RoTxn<'static, WithoutTls>>,
    keys: Keys,
}

impl Base {
    fn read(&self) -> MutexGuard<'_, RoTxn<'static, WithoutTls>> {
        // Reading changes nothing that a panic could leave half done.
        self.inner
            .read
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(stored) = StoredKey::new(key) else {
            return Ok(None);
        };
        let read = self.read();
        match self.inner.keys.get(&read, &stored) {
            Ok(value) => Ok(value.map(<[u8]>::to_vec)),
            Err(error) => Err(fault_of(key, error)),
        }
    }

    /// Hands the keys of a range, in order, to a function that takes one after the other and may
    /// not come back here.
    pub fn range<T>(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        take: impl FnOnce(&mut dyn Iterator<Item = Result<Pair<'_>, StoreError>>) -> T,
    ) -> Result<T, StoreError> {
        let from = stored_bound(from, Bound::Included(KEYS_BEGIN));
        let to = stored_bound(to, Bound::Excluded(KEYS_END));
        let range = (
            from.as_ref().map(Vec::as_slice),
            to.as_ref().map(Vec::as_slice),
        );
        let read = self.read();
        let found = self.inner.keys.range(&read, &range).map_err(fault)?;
        let mut pairs = found.map(|found| {
            let (key, value) = found.map_err(fault)?;
            let key = user_key(key).ok_or_else(|| corrupt("a key of an unknown kind"))?;
            Ok((key, value))
        });
        Ok(take(&mut pairs))
    }
}

/// A key and its value.
pub(super) type Pair<'a> = (&'a [u8], &'a [u8]);

/// Kept keys have no longest here: a bound may be longer than any key.
fn stored_bound(bound: Bound<&[u8]>, open: Bound<&[u8]>) -> Bound<Vec<u8>> {
    match bound {
        Bound::Unbounded => open.map(<[u8]>::to_vec),
        bound => bound.map(|key| [KEYS_BEGIN, key].concat()),
    }
}

fn decode_sum(bytes: &[u8]) -> Result<StateSum, StoreError> {
    StateSum::decode(bytes).map_err(|reason| corrupt(&reason))
}

fn corrupt(reason: &str) -> StoreError {
    let (key, reason) = (Vec::new(), reason.to_owned());
    StoreError::Corrupt { key, reason }
}

/// What a key that cannot be kept is answered with.
pub(super) fn too_long(bytes: usize) -> StoreError {
    StoreError::Io {
        reason: format!(
            "a key of {bytes} bytes cannot be kept, the limit is {}",
            super::KEY_BYTES_MAX
        ),
    }
}

/// What LMDB or the system said, in the words of the core.
pub(super) fn fault(error: heed::Error) -> StoreError {
    fault_of(&[], error)
}

fn fault_of(key: &[u8], error: heed::Error) -> StoreError {
    use MdbError as M;
    match error {
        heed::Error::Io(error) => io_fault(&error),
        heed::Error::Mdb(M::MapFull) => StoreError::Full,
        heed::Error::Mdb(M::Corrupted | M::PageNotFound | M::Invalid | M::VersionMismatch) => {
            let (key, reason) = (key.to_vec(), error.to_string());
            StoreError::Corrupt { key, reason }
        }
        heed::Error::Mdb(M::Panic) => StoreError::Io {
            reason: "LMDB stopped after a failed write; restart the node, it goes on from the \
                     last checkpoint"
                .to_owned(),
        },
        error => StoreError::Io {
            reason: error.to_string(),
        },
    }
}

/// What the system said, in the words of the core.
pub(super) fn io_fault(error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            StoreError::Full
        }
        _ => StoreError::Io {
            reason: with_advice(error),
        },
    }
}
