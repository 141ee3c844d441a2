//! The native client of mfsha: finds the leader, repeats what got lost, and lets every change take
//! effect once.
//!
//! A [`Client`] is given a few addresses and learns the others. It keeps one connection to each
//! node that it talks to, with many calls on it, and asks again elsewhere until the caller's time
//! is over. `docs/protocols/native.md` has the protocol.
//!
//! | module | what lives there |
//! |---|---|
//! | [`options`], [`address`], [`tls`], [`explain`] | what a client is built with |
//! | [`dial`], [`record`], `link` | a way to a node; records out of a stream; one connection with many calls |
//! | `book`, `backoff`, `lookout` | which nodes there are, who leads, how long to wait |
//! | `session`, `keep`, `write`, [`read`] | requests that take effect once; reads that never go back |
//! | [`tree`] | the namespace by path and by inode |
//! | [`admin`] | the cluster as its operator sees it |
//!
//! It decides nothing about the tree: what a node says goes to the caller as it is.
#![forbid(unsafe_code)]

pub mod address;
pub mod admin;
mod backoff;
mod book;
mod client;
pub mod dial;
pub mod error;
pub mod explain;
mod keep;
mod link;
mod lookout;
pub mod options;
pub mod read;
pub mod record;
mod session;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod tls;
pub mod tree;
mod write;

pub use address::Address;
pub use client::Client;
pub use error::{Error, Fail, Settlement, Settling, Unknown};
pub use options::{ClientOptions, OptionsError};
pub use read::Freshness;
pub use tls::TlsFiles;

#[cfg(test)]
mod tests;
