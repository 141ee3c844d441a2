//! The node on real machines: files, sockets, clocks and threads for the core's machines.
//!
//! | module | what it is |
//! |---|---|
//! | [`cli`], [`commands`] | the command line of `mfsha`, and what it does instead of running |
//! | [`admin`] | the command line of `mfsha-admin` |
//! | [`config`] | `mfsha.cfg`, the environment, and what an operator sets |
//! | [`metadata`] | what a `metadata.mfs` holds |
//! | [`data_dir`] | the data directory: lock, format, identity |
//! | [`disk`], [`store`] | files behind the core's `Disk`, LMDB behind its `StateStore` |
//! | [`transport`], [`tls`] | peers and clients over sockets |
//! | [`driver`] | the thread that owns a node |
//! | [`mounts`] | mounts and tools of MooseFS over sockets |
//! | [`chunkservers`] | chunkservers of MooseFS over sockets |
//! | [`clients`], [`http`] | native clients and operators; metrics and probes |
//! | [`daemon`] | the process: everything put together |
//! | [`logs`], [`metrics`] | what is told and what is counted |
//! | [`panics`] | what a panic means for the process |

pub mod admin;
mod advice;
pub mod chunkservers;
pub mod cli;
pub mod clients;
pub mod commands;
pub mod config;
pub mod daemon;
pub mod data_dir;
pub mod disk;
pub mod driver;
pub mod http;
pub mod import;
mod lock;
pub mod logs;
mod mailbox;
pub mod metadata;
pub mod metrics;
pub mod mounts;
pub mod panics;
mod progress;
mod room;
mod sockets;
pub mod store;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod transport;

/// Of every program that has this library in it, so that what benches measure is what runs. The
/// state's layers are hundreds of thousands of small pieces, freed on one thread while another one
/// applies: glibc's allocator joins them all at once when that one asks for much, which held it up
/// for 40 to 80 ms (`docs/benchmarks.md`, "What holds a step up").
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
