//! What tests of crash points share: options full of rare paths, and states as numbers.

use std::collections::BTreeMap;

use mfsha_core::id::{Lane, RequestSeq, SessionId};
use mfsha_core::namespace::key::Key;
use mfsha_core::namespace::op::Command;
use mfsha_core::node::request::RequestBody;
use mfsha_core::rng::Seed;
use mfsha_sim::options::Options;

/// The content of a state store.
pub type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// A state's bytes as a number, and its version.
pub type Content = ([u8; 32], u64);

/// Options under which segments are turned over, snapshots taken and the log purged all the time.
pub fn options(bug: &str) -> Options {
    let mut options = Options::draw(&Seed::from_u64(1));
    bug.clone_into(&mut options.bug);
    options.raft.shuffle_tasks = false;
    options.log.segment_bytes = 16 << 10;
    options.log.segments_max = 1_024;
    options.log.buffer_bytes_max = 4 << 10;
    options.raft.snapshot_log_bytes = 16 << 10;
    options.raft.log_keep_entries = 16;
    options.node.checkpoint_interval_ms = 300;
    options
}

/// The content of a state. Of the mark of what was applied the version alone counts: its index and
/// term change with every entry, also with those that say nothing.
pub fn content(state: &Map, version: u64) -> Content {
    let mark = Key::Applied.bytes();
    let mut hasher = blake3::Hasher::new();
    for part in state
        .iter()
        .filter(|(key, _)| **key != mark)
        .flat_map(|(key, value)| [key, value])
    {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    (*hasher.finalize().as_bytes(), version)
}

/// A command as a client asks for it.
pub fn body(command: &Command) -> RequestBody {
    let (session, lane, seq) = match command.request {
        Some(id) => (id.session, id.lane, id.seq),
        None => (SessionId(0), Lane(0), RequestSeq(0)),
    };
    RequestBody::Write {
        session,
        lane,
        seq,
        op: command.op.clone(),
    }
}
