//! What benches and the figures of memory have in common.

pub mod world;
