//! mfsha-net-real
