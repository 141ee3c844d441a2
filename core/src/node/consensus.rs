//! Running consensus: hands its inputs in, carries its effects out, applies what is committed.

use super::Effect;
use super::machine::{Node, Purpose};
use super::observe::{Observed, ObservedPayload};
use super::peer::{PeerBody, PeerMessage};
use super::pending::Commitment;
use super::request::{NodeError, ResponseBody};
use crate::codec;
use crate::disk::Disk;
use crate::id::{LogIndex, NodeId, SessionId, WriteId};
use crate::machine::{Machine, Outbox};
use crate::namespace::op::{Command, Notice, Outcome};
use crate::raft::{self, Committed, Payload, RaftError, Role};
use crate::store::{Pressure, StateStore, StoreError};
use crate::time::Stamp;
use crate::wal::record::{LogId, Record};

/// Notices that are sent with an outcome: a removed tree makes one for each of its chunks, more than
/// the longest record holds.
const ANSWER_NOTICES_MAX: usize = 100_000;

impl<D: Disk, S: StateStore> Node<D, S> {
    /// Runs the consensus machine until it wants nothing more.
    pub(super) fn run_consensus(&mut self, out: &mut Outbox<Effect>) {
        let mut effects = Outbox::new();
        while let Some(input) = self.inbox.pop_front() {
            let Some(raft) = self.raft.as_mut() else {
                self.inbox.clear();
                return;
            };
            raft.step(self.now, input, &mut effects);
            for effect in effects.drain().collect::<Vec<_>>() {
                self.carry_out(effect, out);
                if self.raft.is_none() {
                    return;
                }
            }
        }
    }

    fn carry_out(&mut self, effect: raft::Effect, out: &mut Outbox<Effect>) {
        use raft::Effect as E;
        match effect {
            E::Send { to, message } => self.send(to, PeerBody::Raft(message), out),
            E::Persist { write, record } => self.persist(write, record, out),
            E::Apply { entries } => self.apply(entries, out),
            E::Proposed { proposal, result } => match result {
                Ok(id) => {
                    let applied = self.namespace.applied().index;
                    match self.pending.on_committed(proposal, id.index, applied) {
                        Commitment::Noted => {}
                        Commitment::Settled(settled) => self.answer_settled(settled, out),
                        // The same request asked again gets its outcome from the state.
                        Commitment::Missed(caller) => {
                            self.answer(caller, Err(NodeError::Unknown), out);
                        }
                    }
                }
                Err(error) => {
                    if let Some(caller) = self.pending.on_failed(proposal) {
                        self.answer(caller, Err(refusal(error)), out);
                    }
                }
            },
            E::ReadReady { read, result } => self.on_read_ready(read, result, out),
            E::BuildSnapshot => self.want_checkpoint(Purpose::Snapshot, out),
            E::SendSnapshot {
                to,
                transfer,
                header,
                meta,
            } => {
                self.begin_transfer(to, transfer, header, meta, out);
            }
            E::InstallSnapshot { meta } => self.install(&meta, out),
            E::SnapshotReply {
                to,
                transfer,
                answer,
            } => {
                self.answer_transfer(to, transfer, answer, out);
            }
            E::RoleChanged {
                role,
                term,
                leader,
                reason,
            } => {
                let leads = (role == Role::Leader).then_some(term);
                if leads.is_some() && leads != self.leads {
                    self.begin_listening();
                }
                if leads != self.leads {
                    self.chunks.keeper.set_leads(None);
                }
                self.leads = leads;
                self.leader = leader;
                self.role_since = self.wall_time();
                self.chunks.keeper.on_term(term);
                self.asks.on_leader_changed();
                out.push(Effect::RoleChanged {
                    group: self.options.group,
                    role,
                    term,
                    leader,
                    reason,
                });
            }
            E::Stopped { reason } => self.become_stopped(format!("consensus: {reason}"), out),
        }
    }

    /// Sends a message of this group to a peer.
    pub(super) fn send(&self, to: NodeId, body: PeerBody, out: &mut Outbox<Effect>) {
        let class = body.class();
        let message = PeerMessage {
            group: self.options.group,
            body,
        }
        .to_bytes();
        out.push(Effect::Send { to, class, message });
    }

    fn persist(&mut self, write: WriteId, record: Record, out: &mut Outbox<Effect>) {
        let seen = self.observer.is_some().then(|| record.clone());
        match self.wal.append(self.options.group, record) {
            Ok(log) => {
                self.writes.push_back((log, write));
                if let (Some(observer), Some(record)) = (&mut self.observer, &seen) {
                    observer.on_record(log, record);
                }
            }
            // What consensus wants kept and cannot be: it must not go on as if it were.
            Err(error) => self.become_stopped(format!("log: {error}"), out),
        }
    }

    fn apply(&mut self, entries: Vec<Committed>, out: &mut Outbox<Effect>) {
        self.deferred.extend(entries);
        self.apply_deferred(out);
    }

    /// Applies what is committed, in order, as far as this step may and the store has room: the
    /// rest waits for the next step or for a checkpoint, and consensus sees a slow state machine.
    pub(super) fn apply_deferred(&mut self, out: &mut Outbox<Effect>) {
        let mut last = None;
        while self.apply_budget > 0 && !self.deferred.is_empty() && !self.is_store_full() {
            let Some(entry) = self.deferred.pop_front() else {
                break;
            };
            self.apply_budget -= 1;
            self.unsaved_bytes += bytes_of(&entry);
            let id = entry.id;
            match self.apply_entry(entry) {
                Ok((outcome, by)) => self.on_applied(id, outcome.as_ref(), by, out),
                Err(Fault::State(error)) => return self.become_unfit(&error, out),
                Err(Fault::Entry(reason)) => return self.become_stopped(reason, out),
            }
            last = Some(id);
        }
        if let Some(through) = last {
            self.inbox.push_back(raft::Input::Applied { through });
            let applied = self.namespace.applied().index;
            for read in self.pending.take_ready(applied) {
                self.answer_read(read, out);
            }
        }
    }

    /// Whether nothing can be applied before a checkpoint has ended.
    pub(super) fn is_store_full(&self) -> bool {
        self.namespace.store().pressure() == Pressure::Full
    }

    /// Gives the outcome of a command, and who changes data by it.
    fn apply_entry(
        &mut self,
        entry: Committed,
    ) -> Result<(Option<Outcome>, Option<SessionId>), Fault> {
        let index = entry.id.index;
        let mut applied = self.applied.clone();
        applied.last = Some(entry.id);
        let mut said = ObservedPayload::Blank;
        let command = match entry.payload {
            Payload::Blank => None,
            Payload::Membership(membership) => {
                said = ObservedPayload::Membership(membership.clone());
                applied.membership = membership;
                None
            }
            Payload::Command(bytes) => Some(codec::decode::<Command>(&bytes).map_err(|error| {
                Fault::Entry(format!(
                    "the committed entry {index} cannot be read ({error}): a newer version \
                         wrote it, or it was damaged before it was committed; do not go on"
                ))
            })?),
        };
        if let Some(command) = &command {
            // Later stamps made here are above this one; how far ahead it is was its proposer's
            // business.
            let stamp = Stamp {
                time: command.stamp.time,
                node: command.stamp.node,
            };
            let _ = self.hlc.observe(stamp, self.wall_us, u64::MAX);
        }
        let by = command.as_ref().and_then(|command| command.op.writer());
        let note = codec::encode(&applied);
        let outcome = self
            .namespace
            .apply_noted(index, note, command.as_ref())
            .map_err(Fault::State)?;
        self.applied = applied;
        if let (Some(command), Some(outcome)) = (&command, &outcome)
            && self.leads == Some(entry.id.term)
        {
            self.note_locked(&command.op, outcome);
        }
        if let Some(observer) = &mut self.observer {
            if let (Some(command), Some(outcome)) = (command, &outcome) {
                said = ObservedPayload::Command(Box::new((command, outcome.clone())));
            }
            let version = self.namespace.version();
            observer.on_applied(Observed {
                id: entry.id,
                payload: said,
                version,
            });
        }
        Ok((outcome, by))
    }

    /// Tells everybody what an applied entry came to.
    fn on_applied(
        &mut self,
        id: LogId,
        outcome: Option<&Outcome>,
        by: Option<SessionId>,
        out: &mut Outbox<Effect>,
    ) {
        let version = self.namespace.applied().version;
        out.push(Effect::Applied {
            index: id.index,
            version,
        });
        self.note_leading(id.term);
        if let Some(outcome) = outcome {
            self.note_chunks(outcome, self.leads == Some(id.term), out);
            self.command_others(id, outcome, out);
            self.tell_news(id.index, outcome, by, out);
        }
        for settled in self.pending.on_applied(id.index, outcome) {
            self.answer_settled(settled, out);
        }
    }

    /// Tells who is connected here what was applied here.
    fn tell_news(
        &self,
        index: LogIndex,
        outcome: &Outcome,
        by: Option<SessionId>,
        out: &mut Outbox<Effect>,
    ) {
        if !self.options.news || outcome.repeated {
            return;
        }
        let for_clients = |notice: &&Notice| {
            !matches!(
                notice,
                Notice::ChunkUnused { .. }
                    | Notice::ChunkserverRegistered { .. }
                    | Notice::ChunkserverForgotten { .. }
            )
        };
        let notices = outcome.notices.iter().filter(for_clients).cloned();
        let notices: Vec<Notice> = notices.collect();
        if !notices.is_empty() {
            out.push(Effect::News { index, by, notices });
        }
    }

    /// Notices: the leader's business alone, and only for entries of its own term, whose commitment
    /// proves that it led when they were decided (P-FENCE).
    fn command_others(&mut self, id: LogId, outcome: &Outcome, out: &mut Outbox<Effect>) {
        let leads = self.leads == Some(id.term);
        #[cfg(feature = "planted-bugs")]
        let leads = leads || self.options.bug == Some(crate::planted::Bug::OrdersWithoutLeading);
        if !leads || outcome.repeated {
            return;
        }
        let (term, index) = (id.term, id.index);
        if !outcome.notices.is_empty() {
            let notices = outcome.notices.clone();
            out.push(Effect::Notices {
                term,
                index,
                notices,
            });
        }
    }

    fn on_read_ready(
        &mut self,
        read: raft::ReadId,
        result: Result<LogIndex, RaftError>,
        out: &mut Outbox<Effect>,
    ) {
        let Some(waiting) = self.pending.take_asked(read) else {
            return;
        };
        match result {
            Ok(index) if index <= self.namespace.applied().index => self.answer_read(waiting, out),
            Ok(index) => self.pending.wait_for(index, waiting),
            Err(error) => self.answer(waiting.caller, Err(refusal(error)), out),
        }
    }

    fn answer_settled(&mut self, settled: super::pending::Settled, out: &mut Outbox<Effect>) {
        let (caller, _, index, outcome) = settled;
        let body = match outcome {
            Some(mut outcome) => {
                // What others are told is told to them; it must not keep the caller from its answer.
                if outcome.notices.len() > ANSWER_NOTICES_MAX {
                    outcome.notices.clear();
                }
                ResponseBody::Written { index, outcome }
            }
            None => ResponseBody::MembershipChanged { index },
        };
        self.answer(caller, Ok(body), out);
    }
}

/// What an entry counts towards the next checkpoint: none is free to replay.
fn bytes_of(entry: &Committed) -> u64 {
    const OVERHEAD: u64 = 64;
    let payload = match &entry.payload {
        Payload::Command(bytes) => bytes.len() as u64,
        Payload::Blank | Payload::Membership(_) => 0,
    };
    payload + OVERHEAD
}

/// Why an entry was not applied.
enum Fault {
    State(StoreError),
    Entry(String),
}

/// What a client is told of a failure of consensus.
pub(super) fn refusal(error: RaftError) -> NodeError {
    match error {
        RaftError::NotLeader { leader } => NodeError::NotLeader { leader },
        RaftError::Unknown => NodeError::Unknown,
        RaftError::NoQuorum | RaftError::Stopped { .. } => NodeError::Unavailable {
            reason: error.to_string(),
        },
        RaftError::Refused { reason } => NodeError::Invalid { reason },
    }
}
