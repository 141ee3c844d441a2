//! Configuration: `mfsha.cfg`, the environment, the command line, and what an operator sets.
//!
//! | file | what it is |
//! |---|---|
//! | `key.rs` | the table of keys, the single source |
//! | `value.rs`, `peers.rs` | what values may be and how they are written |
//! | `file.rs` | the form of `mfsha.cfg` |
//! | `settings.rs` | all keys with their values, typed |
//! | `checks.rs` | what several keys demand of each other |
//! | `running.rs` | layers, loading, reloading, setting |
//! | `machines.rs` | settings as options of the core's machines |
//! | `obstacles.rs` | what else keeps a node from starting: its id, its address, files |
//! | `report.rs` | what `check-config` says |
//! | `sample.rs` | the commented sample, and the reference for the manual |
//!
//! Precedence: default < file < environment < command line < operator.

mod checks;
mod file;
mod key;
mod machines;
mod obstacles;
mod peers;
mod problem;
mod report;
mod running;
mod sample;
mod settings;
mod value;

pub use checks::{Contradiction, Warning};
pub use file::{Assignment, FILE_BYTES_MAX, read_file};
pub use key::{KEYS, Key, NAME_BYTES_MAX, Spec};
pub use machines::{UnknownAddress, is_this_machine};
pub use peers::{Peer, PeersError, parse as parse_peers};
pub(crate) use problem::meant;
pub use problem::{ConfigError, Fault, Place, Problem};
pub use report::{Report, ReportedError};
pub use running::{Configuration, Environment, Given, Inputs, Reload, SetError};
pub use sample::{reference, sample};
pub use settings::{LogFormat, Settings, Source, TlsPaths};
pub use value::{Kind, STARS, Scale, Secret, Value, ValueError};

#[cfg(test)]
mod tests;
