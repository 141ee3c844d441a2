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
pub mod logs;
mod mailbox;
pub mod metadata;
pub mod metrics;
pub mod mounts;
mod room;
mod sockets;
pub mod store;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod transport;
