//! The log in memory, and the orders that make it durable.
//!
//! Entries since the last purge are held here; reads never touch the disk. Every change becomes a
//! [`Record`] in the one order in which the log keeps them, so votes and entries cannot overtake
//! each other. What must wait for durability waits in `waiting`, by number of write.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use openraft::RaftLogReader;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};

use super::message::{WirePayload, decode_vote, encode_vote};
use super::runtime::{OneReceiver, OneSender, one};
use super::shell::Shell;
use super::types::{
    CommittedLeaderId, OEntry, OLogId, OPayload, OVote, Types, entry, ours, theirs,
};
use super::{Effect, Options, RecoverError, Recovered};
use crate::buggify::{Buggify, Site};
use crate::id::{LogIndex, WriteId};
use crate::wal::record::{LogId, Record};

/// Bytes that an entry costs beside its payload, in memory and in the log.
const ENTRY_OVERHEAD_BYTES: u64 = 64;

struct Stored {
    entry: OEntry,
    /// Bytes of all entries ever stored up to and with this one.
    end: u64,
}

enum Waiter {
    Append(IOFlushed<Types>),
    Task(OneSender<()>),
}

/// The log of one group.
pub(super) struct Log {
    vote: Option<OVote>,
    /// The last vote that openraft was told is durable.
    vote_kept: Option<OVote>,
    purged: Option<OLogId>,
    /// Highest committed entry, and how much of that the log on disk knows.
    committed: Option<OLogId>,
    committed_saved: Option<OLogId>,
    entries: VecDeque<Stored>,
    /// So many entries from the front were looked at by [`Self::check`]. Entries never change, so
    /// each is looked at once, and the ends of the log every time.
    checked: usize,
    /// Bytes of all entries ever stored, and of those that were purged or cut off in front.
    bytes_end: u64,
    bytes_start: u64,
    /// Last write asked for, and last one known to be durable.
    written: u64,
    durable: u64,
    waiting: VecDeque<(u64, Waiter)>,
}

impl Recovered {
    /// Whether a machine can be built from this.
    ///
    /// # Errors
    /// See [`RecoverError`]; the owner repairs its log from a peer, or refuses to start.
    pub fn validate(&self) -> Result<(), RecoverError> {
        Log::recover(self).map(|_| ())
    }
}

impl Log {
    /// The log as it was recovered, and what has to be written to make it consistent with the
    /// state it goes with.
    pub(super) fn recover(recovered: &Recovered) -> Result<(Self, Vec<Effect>), RecoverError> {
        let vote = match &recovered.vote {
            Some(bytes) => Some(decode_vote(bytes).map_err(|error| RecoverError::Vote { error })?),
            None => None,
        };
        let translate = |id: Option<LogId>| match id {
            Some(id) => theirs(id).map(Some).ok_or(RecoverError::Index { id }),
            None => Ok(None),
        };
        let mut log = Self {
            vote,
            vote_kept: vote,
            purged: translate(recovered.purged)?,
            committed: translate(recovered.committed)?,
            committed_saved: translate(recovered.committed)?,
            entries: VecDeque::with_capacity(recovered.entries.len()),
            checked: 0,
            bytes_end: 0,
            bytes_start: 0,
            written: 0,
            durable: 0,
            waiting: VecDeque::new(),
        };
        let applied = translate(recovered.applied.last)?;
        if log.purged.map(|id| id.index) > applied.map(|id| id.index) {
            return Err(RecoverError::StateBehindLog {
                purged: recovered.purged.unwrap_or_default(),
                applied: recovered.applied.last,
            });
        }
        for (id, payload) in &recovered.entries {
            let expected = LogIndex(log.next_index() + 1);
            if id.index != expected {
                return Err(RecoverError::Hole {
                    expected,
                    found: id.index,
                });
            }
            let bad = |reason: String| RecoverError::Entry { id: *id, reason };
            let payload = WirePayload::decode(payload).map_err(|error| bad(error.to_string()))?;
            let payload = payload
                .payload()
                .ok_or_else(|| bad("its membership contradicts itself".to_owned()))?;
            let id = theirs(*id).ok_or(RecoverError::Index { id: *id })?;
            if Some(id.leader_id) < log.last().map(|last| last.leader_id) {
                return Err(RecoverError::Entry {
                    id: ours(&id),
                    reason: "its term is below that of the entry before".to_owned(),
                });
            }
            log.push(entry(id, payload));
        }
        let effects = log.reconcile(applied);
        // A commit mark is a hint: of an entry that the log does not hold it promises nothing, and
        // an entry of another term at its place is not the one that was committed.
        log.committed = log
            .committed
            .filter(|id| log.id_at(id.index) == Some(*id) || Some(*id) <= log.purged);
        Ok((log, effects))
    }

    /// Brings the log in line with a state that a snapshot moved ahead of it: entries that the
    /// state covers are fine, a log that ends before the state or contradicts it goes entirely.
    fn reconcile(&mut self, applied: Option<OLogId>) -> Vec<Effect> {
        let Some(applied) = applied else {
            return Vec::new();
        };
        if self.id_at(applied.index) == Some(applied) {
            return Vec::new();
        }
        let last = self.purged.map_or(0, |id| id.index + 1);
        let cut = Record::Truncate {
            last: LogIndex(last),
        };
        let purge = Record::Purge {
            through: ours(&applied),
        };
        let records = if self.entries.is_empty() {
            vec![purge]
        } else {
            vec![cut, purge]
        };
        self.entries.clear();
        self.checked = 0;
        self.bytes_start = self.bytes_end;
        self.purged = Some(applied);
        records
            .into_iter()
            .map(|record| self.write(record))
            .collect()
    }

    fn push(&mut self, entry: OEntry) {
        let payload = match &entry.payload {
            OPayload::Blank => 0,
            OPayload::Normal(command) => command.0.len() as u64,
            OPayload::Membership(membership) => 16 * membership.nodes().count() as u64,
        };
        self.bytes_end += payload + ENTRY_OVERHEAD_BYTES;
        self.entries.push_back(Stored {
            entry,
            end: self.bytes_end,
        });
    }

    /// Index that the next entry gets, as openraft counts.
    fn next_index(&self) -> u64 {
        self.last().map_or(0, |id| id.index + 1)
    }

    fn first_index(&self) -> u64 {
        self.purged.map_or(0, |id| id.index + 1)
    }

    pub(super) fn last(&self) -> Option<OLogId> {
        self.entries
            .back()
            .map(|stored| stored.entry.log_id)
            .or(self.purged)
    }

    fn id_at(&self, index: u64) -> Option<OLogId> {
        if let Some(purged) = self.purged
            && purged.index == index
        {
            return Some(purged);
        }
        let at = index.checked_sub(self.first_index())?;
        let stored = self.entries.get(usize::try_from(at).ok()?)?;
        Some(stored.entry.log_id)
    }

    pub(super) fn purged(&self) -> Option<OLogId> {
        self.purged
    }

    /// Highest entry that openraft has said is committed, before it ordered its application.
    pub(super) fn committed(&self) -> Option<OLogId> {
        self.committed
    }

    pub(super) fn vote(&self) -> Option<OVote> {
        self.vote
    }

    pub(super) fn vote_kept(&self) -> Option<OVote> {
        self.vote_kept
    }

    /// What a node believes that never kept its vote: the term of its last entry.
    #[cfg(feature = "planted-bugs")]
    pub(super) fn forget_vote(&mut self) {
        self.vote = self.last().map(|last| {
            let node = last.leader_id.node;
            OVote::new(last.leader_id.term, node)
        });
        self.vote_kept = self.vote;
    }

    /// Bytes of the entries held.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes_end - self.bytes_start
    }

    /// Bytes of the entries after an index (ours).
    pub(super) fn bytes_after(&self, index: LogIndex) -> u64 {
        let Some(index) = index.0.checked_sub(1) else {
            return self.bytes();
        };
        let Some(at) = index.checked_sub(self.first_index()) else {
            return self.bytes();
        };
        let stored = usize::try_from(at).ok().and_then(|at| self.entries.get(at));
        stored.map_or(0, |stored| self.bytes_end - stored.end)
    }

    fn write(&mut self, record: Record) -> Effect {
        self.written += 1;
        Effect::Persist {
            write: WriteId(self.written),
            record,
        }
    }

    /// Writes the commit mark when it has moved; called only when something else is written, so
    /// that it never costs a flush of its own.
    fn write_committed(&mut self) -> Option<Effect> {
        let committed = self.committed?;
        if self.committed_saved >= self.committed {
            return None;
        }
        self.committed_saved = Some(committed);
        Some(self.write(Record::Committed {
            id: ours(&committed),
        }))
    }

    /// Whoever waits for everything written so far; `None` when it is durable already.
    fn wait(&mut self) -> Option<OneReceiver<()>> {
        if self.durable >= self.written {
            return None;
        }
        let (tx, rx) = one();
        self.waiting.push_back((self.written, Waiter::Task(tx)));
        Some(rx)
    }

    /// Takes out what a finished flush sets free.
    fn on_durable(&mut self, write: WriteId) -> Vec<Waiter> {
        assert!(
            write.0 <= self.written,
            "write {write} is said to be durable, only {} were asked for",
            self.written
        );
        self.durable = self.durable.max(write.0);
        let mut free = Vec::new();
        while let Some((number, _)) = self.waiting.front()
            && *number <= self.durable
        {
            free.extend(self.waiting.pop_front().map(|(_, waiter)| waiter));
        }
        free
    }

    /// Takes the newest entry out.
    fn pop_back(&mut self) {
        self.entries.pop_back();
        self.checked = self.checked.min(self.entries.len());
    }

    /// Takes the oldest entry out.
    fn pop_front(&mut self) -> Option<Stored> {
        let oldest = self.entries.pop_front()?;
        self.checked = self.checked.saturating_sub(1);
        Some(oldest)
    }

    /// Laws of the log alone.
    pub(super) fn check(&mut self) {
        assert!(self.durable <= self.written, "durable beyond written");
        let first = self.first_index();
        let length = self.entries.len();
        // The entry before the ones not looked at yet, and both ends: in front the log is cut by
        // purges, at the end entries come and go.
        let start = self.checked.saturating_sub(1);
        let mut leader = match start.checked_sub(1) {
            Some(before) => self.entries[before].entry.log_id.leader_id,
            None => self
                .purged
                .map_or(CommittedLeaderId::default(), |id| id.leader_id),
        };
        for (at, stored) in self.entries.range(start..).enumerate() {
            let id = stored.entry.log_id;
            let index = first + (start + at) as u64;
            assert!(id.index == index, "log has a hole at {index}");
            assert!(id.leader_id >= leader, "log goes back in term at {index}");
            leader = id.leader_id;
        }
        if let Some(oldest) = self.entries.front() {
            let id = oldest.entry.log_id;
            assert!(id.index == first, "log has a hole at {first}");
            assert!(
                Some(id.leader_id) >= self.purged.map(|id| id.leader_id),
                "log goes back in term at {first}"
            );
        }
        self.checked = length;
    }
}

impl Shell {
    /// Everything up to and with this write is durable.
    pub(super) fn on_durable(&self, write: WriteId) {
        let free = self.log().on_durable(write);
        for waiter in free {
            match waiter {
                Waiter::Append(flushed) => flushed.io_completed(Ok(())),
                Waiter::Task(task) => {
                    // A task that went away no longer depends on the write.
                    let _ = task.send(());
                }
            }
        }
    }

    /// Waits until everything written so far is durable.
    pub(super) async fn all_durable(&self) {
        let wait = self.log().wait();
        if let Some(wait) = wait {
            // The other end goes only when the machine does.
            let _ = wait.await;
        }
    }
}

/// openraft's door to the log.
#[derive(Clone)]
pub(super) struct LogStore {
    shell: Arc<Shell>,
    append_bytes_max: usize,
    buggify: Buggify,
}

impl LogStore {
    pub(super) fn new(shell: Arc<Shell>, options: &Options) -> Self {
        Self {
            shell,
            append_bytes_max: options.append_bytes_max,
            buggify: options.buggify.clone(),
        }
    }

    fn read(&self, range: impl RangeBounds<u64>, bytes_max: usize) -> Vec<OEntry> {
        let log = self.shell.log();
        let first = log.first_index();
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        let start = start.max(first);
        let end = end.min(log.next_index());
        let mut entries = Vec::new();
        if start >= end {
            return entries;
        }
        let mut bytes = 0;
        for stored in log
            .entries
            .range((start - first) as usize..(end - first) as usize)
        {
            if let OPayload::Normal(command) = &stored.entry.payload {
                bytes += command.0.len();
            }
            bytes += ENTRY_OVERHEAD_BYTES as usize;
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(stored.entry.clone());
        }
        entries
    }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<OEntry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + openraft::OptionalSend,
    {
        Ok(self.read(range, usize::MAX))
    }

    async fn read_vote(&mut self) -> Result<Option<OVote>, io::Error> {
        Ok(self.shell.log().vote)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<OEntry>, io::Error> {
        let bytes_max = match self.buggify.fires(Site::AppendOfOneEntry) {
            true => 0,
            false => self.append_bytes_max,
        };
        Ok(self.read(start..end, bytes_max))
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let log = self.shell.log();
        Ok(LogState {
            last_purged_log_id: log.purged,
            last_log_id: log.last(),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    /// Returns when the vote is durable: openraft answers a candidate, and counts its own vote,
    /// only afterwards.
    async fn save_vote(&mut self, vote: &OVote) -> Result<(), io::Error> {
        #[cfg(feature = "planted-bugs")]
        if self.shell.has(crate::planted::Bug::VoteNotPersisted) {
            let mut log = self.shell.log();
            (log.vote, log.vote_kept) = (Some(*vote), Some(*vote));
            return Ok(());
        }
        let wait = {
            let mut log = self.shell.log();
            log.vote = Some(*vote);
            let mark = log.write_committed();
            let record = log.write(Record::Vote {
                vote: encode_vote(vote),
            });
            self.shell.ask_all(mark.into_iter().chain([record]));
            log.wait()
        };
        if let Some(wait) = wait {
            wait.await.map_err(io::Error::other)?;
        }
        self.shell.log().vote_kept = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<OLogId>) -> Result<(), io::Error> {
        let mut log = self.shell.log();
        log.committed = log.committed.max(committed);
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<OLogId>, io::Error> {
        Ok(self.shell.log().committed)
    }

    /// Returns at once; `flushed` is called when the last of the entries is durable.
    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = OEntry> + openraft::OptionalSend,
        I::IntoIter: openraft::OptionalSend,
    {
        let mut log = self.shell.log();
        let mut effects: Vec<Effect> = log.write_committed().into_iter().collect();
        for entry in entries {
            #[cfg(feature = "planted-bugs")]
            let entry = alter(&self.shell, entry);
            assert!(
                entry.log_id.index == log.next_index(),
                "openraft appends {} behind {:?}",
                entry.log_id,
                log.last()
            );
            let record = Record::Entry {
                id: ours(&entry.log_id),
                payload: WirePayload::of(&entry.payload).encode(),
            };
            effects.push(log.write(record));
            log.push(entry);
        }
        self.shell.ask_all(effects);
        #[cfg(feature = "planted-bugs")]
        if self.shell.has(crate::planted::Bug::AckBeforeFlush) {
            drop(log);
            flushed.io_completed(Ok(()));
            return Ok(());
        }
        let number = log.written;
        log.waiting.push_back((number, Waiter::Append(flushed)));
        Ok(())
    }

    /// Returns at once: whatever is appended afterwards becomes durable after the cut.
    async fn truncate_after(&mut self, last: Option<OLogId>) -> Result<(), io::Error> {
        let mut log = self.shell.log();
        let next = last.map_or(0, |id| id.index + 1);
        assert!(
            next >= log.first_index(),
            "openraft cuts the log below what was purged"
        );
        while log
            .entries
            .back()
            .is_some_and(|stored| stored.entry.log_id.index >= next)
        {
            log.pop_back();
        }
        log.bytes_end = log
            .entries
            .back()
            .map_or(log.bytes_start, |stored| stored.end);
        let record = log.write(Record::Truncate {
            last: LogIndex(next),
        });
        self.shell.ask(record);
        Ok(())
    }

    /// Returns at once: what goes is in a durable snapshot, and losing the record loses nothing.
    async fn purge(&mut self, through: OLogId) -> Result<(), io::Error> {
        let covered = self.shell.snapshot_index();
        assert!(
            through.index < covered.0,
            "openraft purges {through}, but only {covered} is in a durable snapshot"
        );
        let mut log = self.shell.log();
        if log
            .purged
            .is_some_and(|purged| purged.index >= through.index)
        {
            return Ok(());
        }
        while log
            .entries
            .front()
            .is_some_and(|stored| stored.entry.log_id.index <= through.index)
        {
            if let Some(gone) = log.pop_front() {
                log.bytes_start = gone.end;
            }
        }
        log.purged = Some(through);
        let record = log.write(Record::Purge {
            through: ours(&through),
        });
        self.shell.ask(record);
        Ok(())
    }
}

/// Forgets what some entries of other leaders say, when that mistake is to be made.
#[cfg(feature = "planted-bugs")]
fn alter(shell: &Shell, mut entry: OEntry) -> OEntry {
    let is_foreign = ours(&entry.log_id).leader != shell.node;
    let says_something = matches!(entry.payload, openraft::EntryPayload::Normal(_));
    if shell.has(crate::planted::Bug::FollowerAltersEntry)
        && is_foreign
        && says_something
        && entry.log_id.index.is_multiple_of(16)
    {
        entry.payload = openraft::EntryPayload::Blank;
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{NodeId, Term};

    fn blank(term: u64, index: u64) -> OEntry {
        let id = LogId {
            term: Term(term),
            leader: NodeId(1),
            index: LogIndex(index + 1),
        };
        entry(theirs(id).expect("no index is 0"), OPayload::Blank)
    }

    /// Entries 0 to 4 of term 2, looked at.
    fn five() -> Log {
        let (mut log, _) = Log::recover(&Recovered::default()).expect("nothing is consistent");
        for index in 0..5 {
            log.push(blank(2, index));
        }
        log.check();
        log
    }

    fn breaks(change: impl FnOnce(&mut Log)) -> bool {
        let mut log = five();
        change(&mut log);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| log.check())).is_err()
    }

    #[test]
    fn a_log_that_was_looked_at_before_is_still_judged() {
        assert!(!breaks(|log| log.push(blank(2, 5))), "the next entry");
        assert!(breaks(|log| log.push(blank(2, 6))), "a hole at the end");
        assert!(breaks(|log| log.push(blank(1, 5))), "a fall of the term");
        assert!(
            breaks(|log| {
                log.pop_back();
                log.pop_back();
                log.push(blank(2, 4));
                log.push(blank(2, 5));
            }),
            "a hole where the log was cut"
        );
        assert!(
            breaks(|log| {
                log.pop_front();
            }),
            "an oldest entry that is gone without a purge"
        );
        assert!(
            !breaks(|log| {
                log.purged = log.pop_front().map(|stored| stored.entry.log_id);
                log.push(blank(3, 5));
            }),
            "a purge, and another entry"
        );
        assert!(
            breaks(|log| {
                log.pop_front();
                log.purged = Some(blank(3, 0).log_id);
            }),
            "a purge of a later term than what is left"
        );
    }

    fn id(term: u64, index: u64) -> LogId {
        LogId {
            term: Term(term),
            leader: NodeId(1),
            index: LogIndex(index),
        }
    }

    #[test]
    fn a_commit_mark_promises_nothing_of_an_entry_that_is_not_there() {
        let entry = |id| (id, WirePayload::Blank.encode());
        let of = |committed| {
            let recovered = Recovered {
                committed: Some(committed),
                entries: vec![entry(id(1, 1)), entry(id(1, 2)), entry(id(3, 3))],
                ..Recovered::default()
            };
            let (log, _) = Log::recover(&recovered).unwrap();
            log.committed.as_ref().map(ours)
        };
        assert_eq!(of(id(1, 2)), Some(id(1, 2)));
        assert_eq!(of(id(3, 3)), Some(id(3, 3)));
        // Beyond the end, of another term at its place, and both.
        for other in [id(3, 4), id(1, 3), id(2, 3), id(2, 9)] {
            assert_eq!(of(other), None, "{other:?}");
        }
    }
}
