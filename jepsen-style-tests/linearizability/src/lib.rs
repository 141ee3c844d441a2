//! mfsha-linearizability
