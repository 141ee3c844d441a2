//! The file-system tree of MooseFS as a deterministic replicated state machine.
//!
//! [`op::Command`]s come out of the Raft log and are applied in log order; [`op::Query`]s read.
//! Everything is kept in an ordered key-value store; every value is a join-semilattice, and state
//! changes by joining deltas alone.
//!
//! **Invariant:** neither clock nor randomness: two replicas that apply the same commands hold the
//! same bytes.

mod acl;
mod append;
mod apply;
mod archive;
mod attr;
mod ceilings;
mod change;
mod check;
mod chunk;
mod chunkserver;
mod class;
mod create;
mod dispatch;
mod dump;
mod entry;
mod export;
#[cfg(feature = "fuzzing")]
mod fuzz;
mod genesis;
mod hooks;
mod import;
mod inspect;
mod keeping;
mod lock;
mod lookup;
mod node;
pub(crate) mod numbers;
mod open;
mod passed;
mod path;
mod permission;
#[cfg(feature = "planted-bugs")]
mod planted;
mod quota;
#[cfg(test)]
mod random;
mod remove;
mod rename;
mod session;
mod setattr;
mod snapshot_copy;
mod snapshot_remove;
mod stats;
mod subtree;
#[cfg(test)]
pub(crate) mod testing;
mod trash;
mod truncate;
mod txn;
mod walk;
mod who;
mod xattr;

pub mod error;
pub mod key;
pub mod op;
pub mod record;
pub mod seen;

pub use apply::Namespace;
pub use ceilings::Ceilings;
pub use check::{Law, Violation};
pub use dump::{Dump, DumpedChunk, DumpedLocks, DumpedNode};
pub use export::{ExportError, export};
#[cfg(feature = "fuzzing")]
pub use fuzz::fuzz_apply;
pub use import::{ImportError, Imported, Progress as ImportProgress, import};
pub use inspect::{inspect, inspect_pair};
pub use keeping::{FileChunks, FileCursor, KnownChunk};
