//! The file-system tree of MooseFS as a deterministic replicated state machine.
//!
//! [`op::Command`]s come out of the Raft log and are applied in log order; [`op::Query`]s read.
//! Everything is kept in an ordered key-value store; every value is a join-semilattice, and state
//! changes by joining deltas alone.
//!
//! **Invariant:** neither clock nor randomness: two replicas that apply the same commands hold the
//! same bytes.

mod apply;
mod attr;
mod check;
mod create;
mod entry;
mod genesis;
mod hooks;
mod inspect;
mod lookup;
mod node;
mod open;
mod path;
mod permission;
#[cfg(feature = "planted-bugs")]
mod planted;
mod quota;
mod remove;
mod rename;
mod session;
mod setattr;
mod stats;
#[cfg(test)]
mod testing;
mod trash;
mod txn;
mod who;

pub mod error;
pub mod key;
pub mod op;
pub mod record;

pub use apply::Namespace;
pub use check::{Law, Violation};
pub use inspect::inspect;
