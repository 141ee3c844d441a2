//! What the namespace has to do, said as plainly as possible.
//!
//! [`Model`] keeps the file-system tree in ordinary maps, derives everything that can be derived
//! (link counts, sizes, quota usage, references to chunks) by walking them, and so says for each
//! command which outcome is right. It is written from the semantics of MooseFS 3.0.117
//! (docs/namespace.md; the numbers of sections in comments are that page's) and from the types of
//! [`mfsha_core::namespace::op`] alone. It knows nothing of how the real namespace stores
//! anything, and nothing of logs, replicas or clocks.
//!
//! - [`Model::apply`] takes a command and the outcome that was observed, and says whether it is
//!   right. Nothing is taken from what was observed: new ids are foretold too (`ids`).
//! - [`Model::query`] says what a query has to answer.
//! - [`generate`] makes commands and queries that hit each other often.
//!
//! Where the semantics leave something open, docs/namespace-decisions.md says what was chosen.

#![forbid(unsafe_code)]

mod access;
mod apply;
mod attributes;
mod chunkservers;
mod classes;
mod data;
mod dump;
pub mod generate;
mod ids;
mod locks;
mod names;
mod passed;
mod query;
mod quota;
mod sessions;
mod snapshots;
mod state;
mod subtrees;
mod trash;
mod view;

pub use apply::Mismatch;
pub use state::Model;
