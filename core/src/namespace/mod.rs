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
mod genesis;
mod hooks;
mod node;
mod path;
mod permission;
mod quota;
mod stats;
#[cfg(test)]
mod testing;
mod txn;
mod who;

pub mod error;
pub mod key;
pub mod op;
pub mod record;

pub use apply::Namespace;
