//! Requests that wait: for a place in the log, for their outcome, for a state that is new enough.

use std::collections::BTreeMap;

use super::request::{CallId, ClientId};
use crate::id::LogIndex;
use crate::namespace::op::{Outcome, Query};
use crate::raft::{ProposalId, ReadId};
use crate::time::Instant;

/// Who is to be answered, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    /// The connection.
    pub client: ClientId,
    /// The request's name on it.
    pub call: CallId,
    /// When waiting ends.
    pub deadline: Instant,
}

/// What a proposal was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proposed {
    /// A command: answered with its outcome.
    Command,
    /// A change of membership: answered when applied.
    Membership,
}

/// A read that waits for the state to be new enough.
#[derive(Clone, Debug)]
pub(super) struct WaitingRead {
    /// Who asked.
    pub caller: Caller,
    /// What.
    pub query: Query,
}

/// Everything that waits.
#[derive(Default)]
pub(super) struct Pending {
    next_id: u64,
    /// Proposed, not known to be committed.
    proposals: BTreeMap<ProposalId, (Caller, Proposed)>,
    /// Committed at this index, not applied yet.
    committed: BTreeMap<LogIndex, (Caller, Proposed)>,
    /// Applied before consensus said that it is committed; kept while proposals wait.
    outcomes: BTreeMap<LogIndex, Option<Outcome>>,
    /// Reads that wait for their index.
    asked: BTreeMap<ReadId, WaitingRead>,
    /// Reads that wait for their index to be applied.
    reads: BTreeMap<(LogIndex, u64), WaitingRead>,
    /// Whoever waits until a durable snapshot holds this index.
    snapshots: BTreeMap<(LogIndex, u64), Caller>,
}

/// A proposal that can be answered: what it was, where it stands, and, for a command, its outcome.
pub(super) type Settled = (Caller, Proposed, LogIndex, Option<Outcome>);

impl Pending {
    /// How many wait.
    pub fn len(&self) -> usize {
        let writes = self.proposals.len() + self.committed.len();
        writes + self.asked.len() + self.reads.len() + self.snapshots.len()
    }

    /// Notes a proposal and names it.
    pub fn propose(&mut self, caller: Caller, what: Proposed) -> ProposalId {
        self.next_id += 1;
        self.proposals
            .insert(ProposalId(self.next_id), (caller, what));
        ProposalId(self.next_id)
    }

    /// Notes a read barrier and names it.
    pub fn ask(&mut self, read: WaitingRead) -> ReadId {
        self.next_id += 1;
        self.asked.insert(ReadId(self.next_id), read);
        ReadId(self.next_id)
    }

    /// Notes a read that knows which index it needs.
    pub fn wait_for(&mut self, index: LogIndex, read: WaitingRead) {
        self.next_id += 1;
        self.reads.insert((index, self.next_id), read);
    }

    /// The proposal is committed at `index`; gives what can be answered.
    ///
    /// A membership that holds already is confirmed by the old entry that set it, which is not
    /// going to be applied again.
    pub fn on_committed(
        &mut self,
        proposal: ProposalId,
        index: LogIndex,
        applied: LogIndex,
    ) -> Option<Settled> {
        let (caller, what) = self.proposals.remove(&proposal)?;
        let outcome = self.outcomes.get(&index).cloned();
        self.maybe_forget_outcomes();
        match outcome {
            Some(outcome) => Some((caller, what, index, outcome)),
            None if what == Proposed::Membership && index <= applied => {
                Some((caller, what, index, None))
            }
            None => {
                self.committed.insert(index, (caller, what));
                None
            }
        }
    }

    /// The proposal failed; gives whom to tell.
    pub fn on_failed(&mut self, proposal: ProposalId) -> Option<Caller> {
        let caller = self.proposals.remove(&proposal).map(|(caller, _)| caller);
        self.maybe_forget_outcomes();
        caller
    }

    /// The entry at `index` was applied; gives what can be answered.
    pub fn on_applied(&mut self, index: LogIndex, outcome: Option<&Outcome>) -> Option<Settled> {
        if let Some((caller, what)) = self.committed.remove(&index) {
            return Some((caller, what, index, outcome.cloned()));
        }
        if !self.proposals.is_empty() {
            self.outcomes.insert(index, outcome.cloned());
        }
        None
    }

    /// The barrier's answer is here.
    pub fn take_asked(&mut self, read: ReadId) -> Option<WaitingRead> {
        self.asked.remove(&read)
    }

    /// Reads that this applied index satisfies.
    pub fn take_ready(&mut self, applied: LogIndex) -> Vec<WaitingRead> {
        let later = self.reads.split_off(&(applied.next(), 0));
        std::mem::replace(&mut self.reads, later)
            .into_values()
            .collect()
    }

    /// Notes somebody who waits until a durable snapshot holds `index`.
    pub fn wait_for_snapshot(&mut self, index: LogIndex, caller: Caller) {
        self.next_id += 1;
        self.snapshots.insert((index, self.next_id), caller);
    }

    /// Whom a durable snapshot of this index satisfies.
    pub fn take_snapshotted(&mut self, applied: LogIndex) -> Vec<Caller> {
        let later = self.snapshots.split_off(&(applied.next(), 0));
        std::mem::replace(&mut self.snapshots, later)
            .into_values()
            .collect()
    }

    /// The earliest moment at which waiting ends for somebody.
    pub fn deadline(&self) -> Option<Instant> {
        let proposals = self.proposals.values().chain(self.committed.values());
        let reads = self.asked.values().chain(self.reads.values());
        proposals
            .map(|(caller, _)| caller.deadline)
            .chain(reads.map(|read| read.caller.deadline))
            .chain(self.snapshots.values().map(|caller| caller.deadline))
            .min()
    }

    /// Takes out whoever has waited too long: writers, then readers.
    pub fn take_expired(&mut self, now: Instant) -> (Vec<Caller>, Vec<Caller>) {
        self.take_where(|caller| caller.deadline <= now)
    }

    /// Takes out everybody: writers, then readers.
    pub fn take_all(&mut self) -> (Vec<Caller>, Vec<Caller>) {
        self.take_where(|_| true)
    }

    /// Forgets a client.
    pub fn forget(&mut self, client: ClientId) {
        self.take_where(|caller| caller.client == client);
    }

    fn take_where(&mut self, which: impl Fn(&Caller) -> bool) -> (Vec<Caller>, Vec<Caller>) {
        let (mut writers, mut readers) = (Vec::new(), Vec::new());
        let mut writer = |caller: &Caller| {
            let take = which(caller);
            if take {
                writers.push(*caller);
            }
            !take
        };
        self.proposals.retain(|_, (caller, _)| writer(caller));
        self.committed.retain(|_, (caller, _)| writer(caller));
        let mut reader = |caller: &Caller| {
            let take = which(caller);
            if take {
                readers.push(*caller);
            }
            !take
        };
        self.asked.retain(|_, read| reader(&read.caller));
        self.reads.retain(|_, read| reader(&read.caller));
        self.snapshots.retain(|_, caller| reader(caller));
        self.maybe_forget_outcomes();
        (writers, readers)
    }

    fn maybe_forget_outcomes(&mut self) {
        if self.proposals.is_empty() {
            self.outcomes.clear();
        }
    }
}

#[cfg(test)]
mod review {
    use super::*;

    /// REVIEW 5: outcomes of entries whose caller is gone stay while anybody waits.
    #[test]
    #[ignore = "shows a finding of the review"]
    fn review_outcomes_grow() {
        let mut pending = Pending::default();
        let caller = |client| Caller {
            client: ClientId(client),
            call: CallId(1),
            deadline: Instant(u64::MAX),
        };
        let mut before = pending.propose(caller(1), Proposed::Command);
        for index in 0..10_000u64 {
            let orphan = pending.propose(caller(2), Proposed::Command);
            pending.forget(ClientId(2));
            let _ = pending.on_committed(orphan, LogIndex(2 * index), LogIndex(0));
            let _ = pending.on_applied(LogIndex(2 * index), None);
            // A busy node always has one more under way.
            let next = pending.propose(caller(1), Proposed::Command);
            let _ = pending.on_committed(before, LogIndex(2 * index + 1), LogIndex(0));
            let _ = pending.on_applied(LogIndex(2 * index + 1), None);
            before = next;
        }
        println!(
            "waiting {}, outcomes kept {}",
            pending.len(),
            pending.outcomes.len()
        );
        assert!(pending.outcomes.len() < 100);
    }

    /// REVIEW 8: what one step pays for those who wait.
    #[test]
    #[ignore = "shows a finding of the review"]
    fn review_cost_of_waiting() {
        for count in [100u64, 1_000, 10_000, 100_000] {
            let mut pending = Pending::default();
            for client in 0..count {
                let caller = Caller {
                    client: ClientId(client),
                    call: CallId(1),
                    deadline: Instant(client + 1_000),
                };
                let _ = pending.propose(caller, Proposed::Command);
            }
            #[expect(clippy::disallowed_methods, reason = "an experiment")]
            let begun = std::time::Instant::now();
            for _ in 0..100 {
                let _ = pending.take_expired(Instant(1));
                std::hint::black_box(pending.deadline());
            }
            println!("{count} wait: {:?} a step", begun.elapsed() / 100);
        }
    }
}
