//! mfsha-model
