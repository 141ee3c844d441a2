//! mfsha-net-real
pub mod disk;
pub mod tls;
pub mod transport;
