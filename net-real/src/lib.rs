//! mfsha-net-real
pub mod disk;
pub mod store;
