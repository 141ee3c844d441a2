//! A poor man's cluster for tests of the harness itself: one process that holds the tree, and
//! others that send clients to it. It keeps what it did in a file and reads it at its start, so a
//! kill loses nothing; mistakes can be put in on purpose. There is no consensus in it.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Write};
use std::path::Path;

use mfsha_core::codec::{self, SEAL_BYTES};
use mfsha_core::id::{LogIndex, NodeId};
use mfsha_core::namespace::Namespace;
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{Answer, Command, Op, Outcome, Query, RequestId};
use mfsha_core::store::MemStore;
use mfsha_core::time::{Stamp, WallTime};

const KIND: u16 = 0x6973; // "si"
const VERSION: u16 = 1;

/// A tree and the log that made it.
#[derive(Debug)]
pub struct Tree {
    namespace: Namespace<MemStore>,
    index: u64,
    file: Option<File>,
}

impl Tree {
    /// A tree in memory alone.
    ///
    /// # Panics
    /// Never: an empty store in memory can be opened.
    #[must_use]
    pub fn new() -> Self {
        let namespace = Namespace::open(MemStore::new()).expect("an empty store opens");
        Self {
            namespace,
            index: 0,
            file: None,
        }
    }

    /// A tree that is what a file says, and writes what it does there.
    ///
    /// # Errors
    /// The file cannot be read or written. A record that was cut short ends it.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let mut tree = Self::new();
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)?;
        let mut reader = BufReader::new(file);
        let mut whole = 0;
        while let Some((length, command)) = read_command(&mut reader) {
            tree.run(&command);
            whole += length;
        }
        let file = reader.into_inner();
        file.set_len(whole)?;
        tree.file = Some(OpenOptions::new().append(true).open(path)?);
        Ok(tree)
    }

    /// Carries out a command; it is on disk when this returns, if there is a file and `durable`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(
        &mut self,
        request: Option<RequestId>,
        op: Op,
        durable: bool,
    ) -> std::io::Result<(LogIndex, Outcome)> {
        let index = self.index + 1;
        let now = WallTime(1_700_000_000);
        let command = Command {
            stamp: Stamp::MIN,
            now,
            request,
            op,
        };
        if let Some(file) = self.file.as_mut().filter(|_| durable) {
            file.write_all(&codec::seal(KIND, VERSION, &codec::encode(&command)))?;
            file.sync_data()?;
        }
        let outcome = self.run(&command);
        Ok((LogIndex(index), outcome))
    }

    fn run(&mut self, command: &Command) -> Outcome {
        self.index += 1;
        self.namespace
            .apply(LogIndex(self.index), command)
            .expect("a store in memory works")
    }

    /// Answers a question, and says up to which index.
    ///
    /// # Panics
    /// Never: a store in memory can be read.
    pub fn read(&self, query: &Query) -> (LogIndex, Result<Answer, FsError>) {
        let answer = self.namespace.query(WallTime(1_700_000_000), query);
        (
            LogIndex(self.index),
            answer.expect("a store in memory works"),
        )
    }

    /// How many commands were carried out.
    #[must_use]
    pub fn index(&self) -> LogIndex {
        LogIndex(self.index)
    }
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

fn read_command(reader: &mut impl Read) -> Option<(u64, Command)> {
    let mut bytes = vec![0; SEAL_BYTES];
    reader.read_exact(&mut bytes).ok()?;
    let length = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]) as usize;
    if length > mfsha_core::limits::RECORD_BYTES_MAX {
        return None;
    }
    bytes.resize(SEAL_BYTES + length, 0);
    reader.read_exact(&mut bytes[SEAL_BYTES..]).ok()?;
    let payload = codec::unseal_all(KIND, VERSION, &bytes).ok()?;
    Some((bytes.len() as u64, codec::decode(payload).ok()?))
}

/// A stand-in's membership needs only names.
#[must_use]
pub fn founders(count: usize) -> std::collections::BTreeSet<NodeId> {
    (1..=count as u64).map(NodeId).collect()
}
