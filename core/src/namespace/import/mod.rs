//! A file of `mfsmaster` as the first state of a cluster.
//!
//! Two stores: one for the file's records, sorted by what they belong to ([`stage`]), one for the
//! state that is made of them ([`join`]). Memory does not grow with the file, but for the numbers of
//! its sessions. Nothing is guessed: a record that does not fit the others is refused with the byte
//! at which it begins.
//!
//! Knows no files, and not where the stores are.

mod join;
mod stage;
#[cfg(test)]
mod tests;

use super::key::Key;
use super::record::Record;
use super::txn::seal;
use crate::id::LogIndex;
use crate::moosefs::metadata::{Damage, Parser, Source};
use crate::store::{StateStore, StoreError, WriteBatch};
use crate::time::WallTime;

/// Bytes of keys and values that are given to a store at once.
const PORTION: usize = 256 << 10;

/// Why a file does not become a state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// It is damaged.
    #[error("{0}")]
    Damaged(#[from] Damage),
    /// A record does not fit the others, or cannot be kept.
    #[error(
        "byte {at}: {what}; nothing was imported: let mfsmaster 3.0.117 start with the file once and \
         stop, and take the one that it writes, or correct this there"
    )]
    Unfit {
        /// Where the record begins.
        at: u64,
        /// In words.
        what: String,
    },
    /// The file as a whole cannot be imported.
    #[error("{what}; nothing was imported")]
    Whole {
        /// In words.
        what: String,
    },
    /// A store failed.
    #[error("{0}")]
    Store(#[from] StoreError),
}

impl ImportError {
    fn unfit(at: u64, what: impl Into<String>) -> Self {
        let what = what.into();
        Self::Unfit { at, what }
    }

    fn whole(what: impl Into<String>) -> Self {
        let what = what.into();
        Self::Whole { what }
    }
}

/// How far an import has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// So many bytes of the file were read.
    Read(u64),
    /// So many of all names were put into their place.
    Placed(u64, u64),
}

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Log index that the state stands for.
    pub index: LogIndex,
    /// Metadata version.
    pub version: u64,
    /// The cluster's number.
    pub metaid: u64,
    /// Nodes.
    pub inodes: u64,
    /// Chunks.
    pub chunks: u64,
    /// Sessions.
    pub sessions: u64,
}

/// Makes a file the state of `state`, which takes the place of what is there, durable with its next
/// checkpoint; `scratch` is left with what it was made from. `note` is what consensus keeps beside
/// the state, given the index that it stands for. `now` is since when soft limits are passed that
/// are, and of which the file says nothing.
///
/// # Errors
/// [`ImportError`]; then `state` is as it was.
pub fn import(
    source: impl Source,
    scratch: &mut impl StateStore,
    state: &mut impl StateStore,
    now: WallTime,
    note: impl FnOnce(LogIndex) -> Vec<u8>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Imported, ImportError> {
    let mut parser = Parser::new(source);
    scratch.restore_begin()?;
    state.restore_begin()?;
    let mut out = Writer::new(state);
    let staged = stage::Stage::read(&mut parser, Writer::new(scratch), &mut out, progress)?;
    scratch.restore_commit()?;
    let imported = join::join(scratch, &mut out, &staged, now, note, progress)?;
    out.flush()?;
    state.restore_commit()?;
    Ok(imported)
}

/// Gives a store what it is to hold, a portion at a time.
struct Writer<'s, S> {
    store: &'s mut S,
    batch: WriteBatch,
    bytes: usize,
}

impl<'s, S: StateStore> Writer<'s, S> {
    fn new(store: &'s mut S) -> Self {
        Self {
            store,
            batch: WriteBatch::default(),
            bytes: 0,
        }
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), StoreError> {
        self.bytes += key.len() + value.len();
        self.batch.put(key, value);
        match self.bytes >= PORTION {
            true => self.flush(),
            false => Ok(()),
        }
    }

    /// A record of the state.
    fn record<R: Record>(&mut self, key: &Key, record: &R) -> Result<(), StoreError> {
        let key = key.bytes();
        let value = seal(&key, record);
        self.put(key, value)
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.bytes = 0;
        self.store.restore_write(std::mem::take(&mut self.batch))
    }
}
