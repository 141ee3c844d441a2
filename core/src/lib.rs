//! The machines and values of mfsha, without input or output.
//!
//! Everything in here is a function of its state, the time it is told and one input.
//! What touches the world (sockets, files, clocks, threads) is a driver: `mfsha-sim` runs these
//! machines under a seed, `mfsha-net-real` runs them on tokio.
//!
//! | module | what lives there |
//! |---|---|
//! | [`machine`] | the contract between a machine and its driver |
//! | [`time`], [`id`], [`limits`], [`rng`] | the vocabulary: instants, newtype ids, every bound, seeded randomness |
//! | [`spelling`] | the word that was meant |
//! | [`chunks`] | where copies of chunks are, and what is done with them |
//! | [`codec`] | records as bytes: magic, version, length, checksum |
//! | [`crdt`] | join-semilattices and their laws |
//! | [`disk`], [`wal`] | what a disk can do, and the write-ahead log on top of it |
//! | [`exports`] | who may mount what: `mfsexports.cfg` |
//! | [`membership`] | who takes part in a group, and as what |
//! | [`moosefs`] | what MooseFS's own clients and chunkservers say, and hear |
//! | [`gateway`] | what MooseFS's clients ask, as questions and commands of the namespace |
//! | [`mounts`] | the face that mounts and tools see: connections, registrations, requests |
//! | [`chunkservers`] | the face that chunkservers see: connections, registrations, orders |
//! | [`native`] | what native clients and operators say to a node, and hear |
//! | [`transport`] | a node's connections to its peers, and how nodes become a cluster |
//! | [`store`] | ordered keys with snapshots and checkpoints |
//! | [`namespace`] | the replicated file-system tree: `apply(index, &Command) -> Outcome` |
//! | `raft` | consensus as a machine (feature `raft`) |
//! | `node` | one node's machines, composed (feature `raft`) |
//!
//! **Invariant:** nothing here reads a clock, starts a thread, opens a file or a socket, or draws
//! randomness that it was not handed. `core/clippy.toml` and `docs/architecture.md` say how this
//! is watched.
#![forbid(unsafe_code)]

pub mod buggify;
pub mod chunks;
pub mod chunkservers;
pub mod codec;
pub mod crdt;
pub mod disk;
pub mod exports;
pub mod gateway;
pub mod id;
pub mod limits;
pub mod machine;
pub mod membership;
pub mod monitoring;
pub mod moosefs;
pub mod mounts;
pub mod namespace;
pub mod native;
#[cfg(feature = "planted-bugs")]
pub mod planted;
pub mod rng;
pub mod spelling;
pub mod store;
pub mod time;
pub mod transport;
pub mod wal;

#[cfg(feature = "raft")]
pub mod node;
#[cfg(feature = "raft")]
pub mod raft;
