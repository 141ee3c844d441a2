//! Join-semilattices: values that only grow, whatever the order, repetition or grouping in which
//! changes arrive (design: state is a join of deltas).
//!
//! A delta is a value of the same lattice that is mostly bottom. `join` is commutative,
//! associative and idempotent, and bottom is `Default`; `laws` checks that for every type here, and
//! `namespace/record/laws.rs` for every value that is stored.

mod counter;
mod dots;
mod hlc;
#[cfg(test)]
pub(crate) mod laws;
mod lww;
mod orset;

pub use counter::{GCounter, LinkCounter, PnCounter};
pub use dots::{Dot, VersionVector};
pub use hlc::{ClockError, Hlc};
pub use lww::{Lww, LwwMap};
pub use orset::OrSet;

use crate::id::NodeId;

/// The replica under which the log itself counts and makes dots: strict operations are ordered by
/// the log, so they all share one entry, whoever proposed them.
pub const LOG_REPLICA: NodeId = NodeId(0);

/// A join-semilattice with `Default` as its bottom.
pub trait Lattice: Default {
    /// Makes `self` the least value that is at or above both.
    fn join(&mut self, other: &Self);
}

impl Lattice for bool {
    fn join(&mut self, other: &Self) {
        *self |= *other;
    }
}

/// A value that is written once: absent, or there. Two writers that disagree break a promise
/// elsewhere; the greater value wins so that replicas still agree.
impl<T: Ord + Clone> Lattice for Option<T> {
    fn join(&mut self, other: &Self) {
        if *other > *self {
            self.clone_from(other);
        }
    }
}
