//! What a checker wants to see of a node: the entries it applied and the log it keeps. Costs
//! memory, so it is off unless asked for.

use std::collections::BTreeMap;

use crate::id::{LogIndex, WriteId};
use crate::namespace::op::{Command, Outcome};
use crate::raft::Membership;
use crate::wal::record::{LogId, Record};

/// One entry as it was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Which entry.
    pub id: LogId,
    /// What it said.
    pub payload: ObservedPayload,
    /// Metadata version afterwards.
    pub version: u64,
}

/// What an applied entry said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObservedPayload {
    /// Nothing.
    Blank,
    /// A command, and what applying it came to.
    Command(Box<(Command, Outcome)>),
    /// A membership.
    Membership(Membership),
}

/// What was seen since it was last taken.
#[derive(Debug, Default)]
pub(super) struct Observer {
    applied: Vec<Observed>,
    /// The log as consensus asked for it: ids and hashes of entries.
    log: BTreeMap<LogIndex, (LogId, u64)>,
    /// Entries that are not durable yet, and the log's number for them.
    writing: Vec<(WriteId, LogId)>,
    durable: Option<LogId>,
}

impl Observer {
    /// The log came back like this.
    pub fn on_recovered(&mut self, purged: Option<LogId>, entries: &[(LogId, Vec<u8>)]) {
        let seen = entries
            .iter()
            .map(|(id, payload)| (id.index, (*id, hash(payload))));
        self.log = seen.collect();
        self.durable = entries.last().map(|(id, _)| *id).or(purged);
    }

    /// Consensus asked for this to be kept.
    pub fn on_record(&mut self, write: WriteId, record: &Record) {
        match record {
            Record::Entry { id, payload } => {
                self.log.insert(id.index, (*id, hash(payload)));
                self.writing.push((write, *id));
            }
            Record::Truncate { last } => {
                self.log.retain(|index, _| index <= last);
                self.writing.retain(|(_, id)| id.index <= *last);
                if self.durable.is_some_and(|id| id.index > *last) {
                    self.durable = self.log.get(last).map(|(id, _)| *id);
                }
            }
            Record::Purge { through } => self.log.retain(|index, _| *index > through.index),
            Record::Vote { .. } | Record::Committed { .. } => {}
        }
    }

    /// Everything up to this write is durable.
    pub fn on_durable(&mut self, write: WriteId) {
        let durable = self
            .writing
            .iter()
            .take_while(|(at, _)| *at <= write)
            .count();
        if let Some((_, id)) = self.writing.drain(..durable).next_back() {
            self.durable = Some(id);
        }
    }

    /// An entry was applied.
    pub fn on_applied(&mut self, observed: Observed) {
        self.applied.push(observed);
    }

    /// Entries applied since the last call, in order.
    pub fn take_applied(&mut self) -> Vec<Observed> {
        std::mem::take(&mut self.applied)
    }

    /// Entries not purged: ids, and hashes of what they say.
    pub fn log(&self) -> Vec<(LogId, u64)> {
        self.log.values().copied().collect()
    }

    /// The last entry that is durable.
    pub fn durable(&self) -> Option<LogId> {
        self.durable
    }
}

fn hash(payload: &[u8]) -> u64 {
    let hash = blake3::hash(payload);
    u64::from_le_bytes(*hash.as_bytes().first_chunk().expect("a hash is 32 bytes"))
}
