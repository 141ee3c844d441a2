//! What the log keeps: entries, and the few facts of Raft that must survive a crash.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{LogIndex, NodeId, Term};

/// Identity of a log entry: two entries of one group with the same id have the same content
/// (log matching). Ordered by term, then leader, then index.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct LogId {
    /// Term of the leader that made the entry.
    pub term: Term,
    /// The leader that made it.
    pub leader: NodeId,
    /// Its position.
    pub index: LogIndex,
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.term, self.leader, self.index)
    }
}

/// One fact to be kept for one group. The content of payloads, votes and marks is the business of
/// the Raft module; the log keeps their bytes and their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A log entry; its index is one above the one before, or the first after a purge.
    Entry {
        /// Which entry.
        id: LogId,
        /// The entry, encoded.
        payload: Vec<u8>,
    },
    /// Entries after this index are gone (they lost against another leader's).
    Truncate {
        /// Last index that stays.
        last: LogIndex,
    },
    /// Entries up to and with this one are in a durable checkpoint and may be forgotten.
    Purge {
        /// Last entry that goes.
        through: LogId,
    },
    /// Current term and vote, in place of the one before. Losing it may elect two leaders, so it
    /// is kept twice, in different pages.
    Vote {
        /// The vote, encoded.
        vote: Vec<u8>,
    },
    /// Highest entry known to be committed, in place of the one before. May be lost.
    Committed {
        /// Which entry.
        id: LogId,
    },
}
