//! The write-ahead log of a node: one for all groups.

pub mod record;
