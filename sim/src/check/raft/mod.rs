//! The laws of Raft that the promises stand on, one file each.
//!
//! They are judged from outside, by what nodes show and apply, so that they hold whatever the
//! consensus machine believes of itself.

pub mod committed_on_quorum;
pub mod election_safety;
pub mod leader_completeness;
pub mod log_matching;
pub mod monotonic;
pub mod state_machine_safety;
