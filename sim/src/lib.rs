//! mfsha-sim
