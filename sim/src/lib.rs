//! mfsha-sim
pub mod crash_points;
pub mod disk;
