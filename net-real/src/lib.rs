//! mfsha-net-real
pub mod admin;
pub mod disk;
