//! The node on real machines: files, sockets, clocks and threads for the core's machines.
//!
//! | module | what it is |
//! |---|---|
//! | [`cli`] | the command line |
//! | [`config`] | `mfsha.cfg`, the environment, and what an operator sets |
//! | [`data_dir`] | the data directory: lock, format, identity |
//! | [`disk`] | files behind the core's `Disk` |
//! | [`logs`] | logging, and what is said of a panic |

pub mod cli;
pub mod config;
pub mod data_dir;
pub mod disk;
pub mod logs;
