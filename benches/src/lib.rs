//! What benches and the figures of memory have in common: the tree that they work on, and lists of
//! what is timed. The lists are data, so that a test can walk them.

pub mod case;
pub mod memory;
pub mod operations;
pub mod questions;
pub mod stage;
pub mod variant;
pub mod world;
