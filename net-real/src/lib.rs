//! mfsha-net-real
pub mod disk;
