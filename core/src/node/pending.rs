//! Requests that wait: for a place in the log, for their outcome, for a state that is new enough.

use std::collections::{BTreeMap, BTreeSet};

use super::ask::AskId;
use super::request::{CallId, ClientId};
use crate::id::{LogIndex, NodeId};
use crate::namespace::op::{Outcome, Query};
use crate::raft::{ProposalId, ReadId};
use crate::time::Instant;

/// Who is to be answered, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    /// Where the answer goes.
    pub origin: Origin,
    /// When waiting ends.
    pub deadline: Instant,
}

/// Where an answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// To a client of this node.
    Client {
        /// The connection.
        client: ClientId,
        /// The request's name on it.
        call: CallId,
    },
    /// To what a face of this node asked.
    Ask(AskId),
    /// To what a face of a peer asked.
    Peer {
        /// The peer.
        peer: NodeId,
        /// Its life.
        life: u64,
        /// Its name for what it asked.
        ask: AskId,
    },
    /// To the keeper of this node, which proposed under this ticket.
    Keeper(u64),
}

impl Origin {
    fn is_of(&self, wanted: ClientId) -> bool {
        matches!(self, Self::Client { client, .. } if *client == wanted)
    }
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

/// Where somebody waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Proposed(ProposalId),
    Committed(LogIndex),
    Asked(ReadId),
    Reading(LogIndex),
    Snapshot(LogIndex),
}

/// Names somebody who waits: when waiting ends, then a number.
type Ticket = (Instant, u64);

/// Everything that waits.
#[derive(Default)]
pub(super) struct Pending {
    next_id: u64,
    /// Where everybody waits, who has waited longest first.
    tickets: BTreeMap<Ticket, Place>,
    /// The same tickets by where their answers go.
    origins: BTreeSet<(Origin, Ticket)>,
    /// Proposed, not known to be committed.
    proposals: BTreeMap<ProposalId, (Caller, Proposed)>,
    /// Committed at this index, not applied yet, by the number it was proposed under: a membership
    /// that holds already is confirmed by the one entry that set it, for all who ask for it.
    committed: BTreeMap<(LogIndex, u64), (Caller, Proposed)>,
    /// Reads that wait for their index.
    asked: BTreeMap<ReadId, WaitingRead>,
    /// Reads that wait for their index to be applied.
    reads: BTreeMap<(LogIndex, u64), WaitingRead>,
    /// Whoever waits until a durable snapshot holds this index.
    snapshots: BTreeMap<(LogIndex, u64), Caller>,
}

/// A proposal that can be answered: what it was, where it stands, and, for a command, its outcome.
pub(super) type Settled = (Caller, Proposed, LogIndex, Option<Outcome>);

/// What a commitment came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Commitment {
    /// Nobody asks any more, or the outcome follows when the entry is applied.
    Noted,
    /// It can be answered now.
    Settled(Settled),
    /// A command was applied before it was said to be committed, which consensus does not do:
    /// there is an outcome, but it is not known here.
    Missed(Caller),
}

impl Pending {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.tickets.len()
    }

    /// Somebody begins to wait; gives the number.
    fn enter(&mut self, caller: &Caller, place: impl FnOnce(u64) -> Place) -> u64 {
        self.next_id += 1;
        let id = self.next_id;
        let ticket = (caller.deadline, id);
        self.tickets.insert(ticket, place(id));
        self.origins.insert((caller.origin, ticket));
        id
    }

    fn leave(&mut self, caller: &Caller, id: u64) {
        let ticket = (caller.deadline, id);
        self.tickets.remove(&ticket);
        self.origins.remove(&(caller.origin, ticket));
    }

    /// Notes a proposal and names it.
    pub fn propose(&mut self, caller: Caller, what: Proposed) -> ProposalId {
        let id = self.enter(&caller, |id| Place::Proposed(ProposalId(id)));
        self.proposals.insert(ProposalId(id), (caller, what));
        ProposalId(id)
    }

    /// Names a proposal for which nobody waits.
    pub fn unasked(&mut self) -> ProposalId {
        self.next_id += 1;
        ProposalId(self.next_id)
    }

    /// Notes a read barrier and names it.
    pub fn ask(&mut self, read: WaitingRead) -> ReadId {
        let id = self.enter(&read.caller, |id| Place::Asked(ReadId(id)));
        self.asked.insert(ReadId(id), read);
        ReadId(id)
    }

    /// Notes a read that knows which index it needs.
    pub fn wait_for(&mut self, index: LogIndex, read: WaitingRead) {
        let id = self.enter(&read.caller, |_| Place::Reading(index));
        self.reads.insert((index, id), read);
    }

    /// The proposal is committed at `index`, with everything up to `applied` applied. Consensus
    /// says so of a command before it has it applied.
    ///
    /// A membership that holds already is confirmed by the old entry that set it, which is not
    /// going to be applied again.
    pub fn on_committed(
        &mut self,
        proposal: ProposalId,
        index: LogIndex,
        applied: LogIndex,
    ) -> Commitment {
        let Some((caller, what)) = self.proposals.remove(&proposal) else {
            return Commitment::Noted;
        };
        if index > applied {
            let place = Place::Committed(index);
            self.tickets.insert((caller.deadline, proposal.0), place);
            self.committed.insert((index, proposal.0), (caller, what));
            return Commitment::Noted;
        }
        self.leave(&caller, proposal.0);
        match what {
            Proposed::Membership => Commitment::Settled((caller, what, index, None)),
            Proposed::Command => Commitment::Missed(caller),
        }
    }

    /// The proposal failed; gives whom to tell.
    pub fn on_failed(&mut self, proposal: ProposalId) -> Option<Caller> {
        let (caller, _) = self.proposals.remove(&proposal)?;
        self.leave(&caller, proposal.0);
        Some(caller)
    }

    /// The entry at `index` was applied; gives what can be answered.
    pub fn on_applied(&mut self, index: LogIndex, outcome: Option<&Outcome>) -> Vec<Settled> {
        let all = (index, 0)..(index.next(), 0);
        let settled: Vec<_> = self.committed.extract_if(all, |_, _| true).collect();
        let settled = settled.into_iter().map(|((_, id), (caller, what))| {
            self.leave(&caller, id);
            (caller, what, index, outcome.cloned())
        });
        settled.collect()
    }

    /// The barrier's answer is here.
    pub fn take_asked(&mut self, read: ReadId) -> Option<WaitingRead> {
        let waiting = self.asked.remove(&read)?;
        self.leave(&waiting.caller, read.0);
        Some(waiting)
    }

    /// Reads that this applied index satisfies.
    pub fn take_ready(&mut self, applied: LogIndex) -> Vec<WaitingRead> {
        let later = self.reads.split_off(&(applied.next(), 0));
        let ready = std::mem::replace(&mut self.reads, later);
        for ((_, id), read) in &ready {
            self.leave(&read.caller, *id);
        }
        ready.into_values().collect()
    }

    /// Notes somebody who waits until a durable snapshot holds `index`.
    pub fn wait_for_snapshot(&mut self, index: LogIndex, caller: Caller) {
        let id = self.enter(&caller, |_| Place::Snapshot(index));
        self.snapshots.insert((index, id), caller);
    }

    /// Whom a durable snapshot of this index satisfies.
    pub fn take_snapshotted(&mut self, applied: LogIndex) -> Vec<Caller> {
        let later = self.snapshots.split_off(&(applied.next(), 0));
        let ready = std::mem::replace(&mut self.snapshots, later);
        for ((_, id), caller) in &ready {
            self.leave(caller, *id);
        }
        ready.into_values().collect()
    }

    /// The earliest moment at which waiting ends for somebody.
    pub fn deadline(&self) -> Option<Instant> {
        self.tickets.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes out whoever has waited too long: writers, then readers.
    pub fn take_expired(&mut self, now: Instant) -> (Vec<Caller>, Vec<Caller>) {
        let (mut writers, mut readers) = (Vec::new(), Vec::new());
        while self.deadline().is_some_and(|at| at <= now) {
            let (ticket, place) = self.tickets.pop_first().expect("there is a first one");
            let caller = self.take_out(ticket, place);
            self.origins.remove(&(caller.origin, ticket));
            match place {
                Place::Proposed(_) | Place::Committed(_) => writers.push(caller),
                Place::Asked(_) | Place::Reading(_) | Place::Snapshot(_) => readers.push(caller),
            }
        }
        (writers, readers)
    }

    /// Takes out everybody: writers, then readers.
    pub fn take_all(&mut self) -> (Vec<Caller>, Vec<Caller>) {
        self.take_expired(Instant(u64::MAX))
    }

    /// Forgets a client: a step over what waits for it, however many others wait.
    pub fn forget(&mut self, client: ClientId) {
        let call = CallId(0);
        let first = (Origin::Client { client, call }, (Instant::ZERO, 0));
        while let Some(next) = self.origins.range(first..).next().copied()
            && next.0.is_of(client)
        {
            self.origins.remove(&next);
            let (_, ticket) = next;
            let place = self.tickets.remove(&ticket);
            self.take_out(ticket, place.expect("both tables hold the same tickets"));
        }
    }

    /// Takes a request out of the place where it waits.
    fn take_out(&mut self, (_, id): Ticket, place: Place) -> Caller {
        let proposed = |(caller, _): (Caller, Proposed)| caller;
        let reading = |read: WaitingRead| read.caller;
        match place {
            Place::Proposed(proposal) => self.proposals.remove(&proposal).map(proposed),
            Place::Committed(index) => self.committed.remove(&(index, id)).map(proposed),
            Place::Asked(read) => self.asked.remove(&read).map(reading),
            Place::Reading(index) => self.reads.remove(&(index, id)).map(reading),
            Place::Snapshot(index) => self.snapshots.remove(&(index, id)),
        }
        .expect("whoever has a ticket waits where it says")
    }

    /// Panics when somebody is lost, or waits nowhere.
    pub fn check(&self) {
        let writes = self.proposals.len() + self.committed.len();
        let reads = self.asked.len() + self.reads.len() + self.snapshots.len();
        assert_eq!(
            self.tickets.len(),
            writes + reads,
            "whoever waits has a ticket, and nobody else"
        );
        assert_eq!(
            self.origins.len(),
            self.tickets.len(),
            "origins hold the tickets there are"
        );
        // In production the number says enough: many may wait, and this is asked for now and then.
        for (origin, ticket) in self.origins.iter().filter(|_| cfg!(debug_assertions)) {
            assert!(
                self.tickets.contains_key(ticket),
                "{origin:?} holds a ticket of nobody"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{InodeId, SessionId};

    fn caller(client: u64, deadline: u64) -> Caller {
        let (client, call) = (ClientId(client), CallId(1));
        Caller {
            origin: Origin::Client { client, call },
            deadline: Instant(deadline),
        }
    }

    fn read(client: u64, deadline: u64) -> WaitingRead {
        let session = SessionId(1);
        WaitingRead {
            caller: caller(client, deadline),
            query: Query::TrashPath {
                session,
                inode: InodeId::ROOT,
            },
        }
    }

    /// One in each place, each with its own deadline: from 10 to 14.
    fn everywhere() -> Pending {
        let mut pending = Pending::default();
        let moved = pending.propose(caller(1, 13), Proposed::Command);
        let noted = pending.on_committed(moved, LogIndex(5), LogIndex(4));
        assert_eq!(noted, Commitment::Noted);
        pending.propose(caller(2, 10), Proposed::Command);
        pending.ask(read(3, 14));
        pending.wait_for(LogIndex(7), read(4, 11));
        pending.wait_for_snapshot(LogIndex(7), caller(5, 12));
        pending.check();
        pending
    }

    fn client(caller: Caller) -> u64 {
        match caller.origin {
            Origin::Client { client, .. } => client.0,
            other => panic!("{other:?}"),
        }
    }

    fn clients(callers: &[Caller]) -> Vec<u64> {
        callers.iter().map(|caller| client(*caller)).collect()
    }

    #[test]
    fn each_waits_until_its_own_deadline_wherever_it_waits() {
        let mut pending = everywhere();
        for (at, writer, reader) in [
            (9, None, None),
            (10, Some(2), None),
            (11, None, Some(4)),
            (12, None, Some(5)),
            (13, Some(1), None),
            (14, None, Some(3)),
        ] {
            let next = pending.deadline();
            assert_eq!(next, Some(Instant(at.max(10))));
            let (writers, readers) = pending.take_expired(Instant(at));
            pending.check();
            assert_eq!(clients(&writers), Vec::from_iter(writer));
            assert_eq!(clients(&readers), Vec::from_iter(reader));
        }
        assert_eq!(pending.deadline(), None);
    }

    #[test]
    fn whoever_is_answered_or_forgotten_waits_no_more() {
        let mut pending = everywhere();
        let (_, _, index, _) = pending.on_applied(LogIndex(5), None).remove(0);
        assert_eq!(index, LogIndex(5));
        assert_eq!(pending.take_ready(LogIndex(7)).len(), 1);
        assert_eq!(clients(&pending.take_snapshotted(LogIndex(7))), [5]);
        pending.check();
        assert_eq!(pending.len(), 2);
        for client in 1..=5 {
            let mut pending = everywhere();
            pending.forget(ClientId(client));
            pending.check();
            assert_eq!(pending.len(), 4);
        }
        let (writers, readers) = everywhere().take_all();
        assert_eq!((writers.len(), readers.len()), (2, 3));
    }

    #[test]
    fn a_client_that_goes_takes_all_of_its_own_along_and_nothing_else() {
        let mut pending = Pending::default();
        for round in 0..40 {
            for client in [1, 2, 3, u64::MAX] {
                // Each waits in every place, at deadlines that mix.
                let deadline = 100 - 7 * round % 13;
                let proposal = pending.propose(caller(client, deadline), Proposed::Command);
                if round % 2 == 0 {
                    pending.on_committed(proposal, LogIndex(round + 1), LogIndex(0));
                }
                pending.ask(read(client, deadline));
                pending.wait_for(LogIndex(7), read(client, deadline));
                pending.wait_for_snapshot(LogIndex(7), caller(client, deadline));
            }
        }
        pending.check();
        assert_eq!(pending.len(), 640);
        for (gone, left) in [(2, 480), (2, 480), (9, 480), (u64::MAX, 320), (1, 160)] {
            pending.forget(ClientId(gone));
            pending.check();
            assert_eq!(pending.len(), left, "after {gone} went");
        }
        let (writers, readers) = pending.take_all();
        pending.check();
        assert_eq!((writers.len(), readers.len()), (40, 120));
        let others = writers.iter().chain(&readers);
        assert!(others.into_iter().all(|it| client(*it) == 3));
    }

    #[test]
    fn what_is_kept_is_bounded_by_who_waits() {
        let mut pending = Pending::default();
        let mut before = pending.propose(caller(1, 9), Proposed::Command);
        for index in 0..10_000u64 {
            let orphan = pending.propose(caller(2, 9), Proposed::Command);
            pending.forget(ClientId(2));
            let noted = pending.on_committed(orphan, LogIndex(2 * index + 1), LogIndex(2 * index));
            assert_eq!(noted, Commitment::Noted);
            assert_eq!(pending.on_applied(LogIndex(2 * index + 1), None), []);
            // A busy node always has one more under way.
            let next = pending.propose(caller(1, 9), Proposed::Command);
            let (at, applied) = (LogIndex(2 * index + 2), LogIndex(2 * index + 1));
            assert_eq!(pending.on_committed(before, at, applied), Commitment::Noted);
            assert_eq!(pending.on_applied(at, None).len(), 1);
            before = next;
        }
        pending.check();
        assert_eq!(pending.len(), 1);
    }

    #[test]
    fn a_membership_that_held_already_is_settled_and_a_command_never_invented() {
        let mut pending = Pending::default();
        let change = pending.propose(caller(1, 9), Proposed::Membership);
        let settled = pending.on_committed(change, LogIndex(3), LogIndex(4));
        let expected = (caller(1, 9), Proposed::Membership, LogIndex(3), None);
        assert_eq!(settled, Commitment::Settled(expected));
        let command = pending.propose(caller(1, 9), Proposed::Command);
        let missed = pending.on_committed(command, LogIndex(3), LogIndex(4));
        assert_eq!(missed, Commitment::Missed(caller(1, 9)));
        pending.check();
    }

    /// Two who want the membership that is being made are confirmed by the one entry.
    #[test]
    fn all_whom_one_entry_confirms_are_answered() {
        let mut pending = Pending::default();
        for client in 1..=2 {
            let proposal = pending.propose(caller(client, 10), Proposed::Membership);
            let noted = pending.on_committed(proposal, LogIndex(5), LogIndex(4));
            assert_eq!(noted, Commitment::Noted);
        }
        pending.check();
        let settled = pending.on_applied(LogIndex(5), None);
        let clients: Vec<_> = settled.iter().map(|(who, ..)| client(*who)).collect();
        assert_eq!(clients, [1, 2]);
        assert_eq!(pending.len(), 0);
        pending.check();
    }
}
