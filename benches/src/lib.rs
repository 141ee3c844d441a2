//! mfsha-benches
