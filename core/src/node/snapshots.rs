//! Checkpoints of this node's state, and states on their way between nodes.

use std::sync::Arc;

use super::Effect;
use super::machine::{Node, Purpose, Running, Timer, read_note};
use super::peer::{Part, PeerBody, PeerMessage, TransferId};
use super::transfer::{Incoming, Outgoing};
use crate::disk::Disk;
use crate::id::{LogIndex, NodeId};
use crate::machine::Outbox;
use crate::namespace::key::Key;
use crate::native::request::ResponseBody;
use crate::raft::{self, SnapshotId, SnapshotMeta};
use crate::store::{CheckpointId, Pressure, StateStore, StoreError, WriteBatch};
use crate::wal::record::LogId;

impl<D: Disk, S: StateStore> Node<D, S> {
    /// A peer said something.
    pub(super) fn on_message(&mut self, from: NodeId, bytes: &[u8], out: &mut Outbox<Effect>) {
        let message = match PeerMessage::from_bytes(bytes) {
            Ok(message) if message.group == self.options.group => message,
            Ok(message) => {
                let reason = format!("it is for group {}", message.group);
                return self.ignore_nonsense(from, &reason, out);
            }
            Err(error) => return self.ignore_nonsense(from, &error.to_string(), out),
        };
        match message.body {
            PeerBody::Raft(message) => {
                self.inbox.push_back(raft::Input::Message { from, message });
            }
            PeerBody::Part(part) => {
                self.on_part(from, part, out);
                self.maybe_heal(out);
            }
            PeerBody::PartsReceived { transfer, next } => {
                let (now, resend) = (self.now, self.options.snapshot_resend);
                if let Some(outgoing) = self.transfer_to(from, transfer) {
                    outgoing.on_received(next, now, resend);
                }
                self.send_parts(out);
            }
            PeerBody::TransferRefused { transfer, reason } => {
                if self.transfer_to(from, transfer).is_some() {
                    self.end_transfer(transfer, Err(reason));
                }
            }
            PeerBody::SnapshotAnswer { transfer, answer } => {
                if self.transfer_to(from, transfer).is_some() {
                    self.end_transfer(transfer, Ok(answer));
                }
            }
            PeerBody::RepairWanted {
                at_least,
                life,
                wish,
            } => {
                self.on_repair_wanted(from, at_least, TransferId::Repair { life, wish }, out);
            }
        }
    }

    fn ignore_nonsense(&mut self, from: NodeId, reason: &str, out: &mut Outbox<Effect>) {
        self.nonsense += 1;
        // The first of many is worth a line; the count tells the rest.
        if self.nonsense.is_power_of_two() {
            let count = self.nonsense;
            out.push(Effect::Report {
                message: format!("dropped a message of {from} ({reason}); {count} so far"),
            });
        }
    }

    fn transfer_to(
        &mut self,
        peer: NodeId,
        transfer: TransferId,
    ) -> Option<&mut Outgoing<S::Snapshot>> {
        self.outgoing
            .get_mut(&transfer)
            .filter(|outgoing| outgoing.to == peer)
    }

    // Checkpoints.

    /// Begins a checkpoint, or queues it behind the one that runs.
    pub(super) fn want_checkpoint(&mut self, purpose: Purpose, out: &mut Outbox<Effect>) {
        if !self.wanted.contains(&purpose) {
            self.wanted.push_back(purpose);
        }
        self.begin_checkpoint(out);
    }

    /// Begins the next wanted checkpoint when none runs.
    pub(super) fn begin_checkpoint(&mut self, out: &mut Outbox<Effect>) {
        if self.checkpoint.is_some() {
            return;
        }
        let Some(purpose) = self.wanted.pop_front() else {
            return;
        };
        let snapshot = (purpose == Purpose::Snapshot).then(|| self.take_snapshot());
        let id = self.namespace.store_mut().start_checkpoint();
        let applied = self.applied.last.map_or(LogIndex(0), |id| id.index);
        self.checkpoint = Some(Running {
            id,
            purpose,
            applied,
            snapshot,
        });
        let checkpoint = id;
        out.push(Effect::CheckpointStarted { checkpoint });
    }

    /// Begins a checkpoint without waiting for its time when the store runs out of room. One that
    /// failed has its own time.
    pub(super) fn maybe_relieve(&mut self, out: &mut Outbox<Effect>) {
        let idle = self.raft.is_some() && self.checkpoint.is_none() && self.wanted.is_empty();
        if idle && self.namespace.store().pressure() >= Pressure::High {
            self.want_checkpoint(Purpose::Periodic, out);
        }
    }

    /// A snapshot of the state as it is now, to be sent once it is durable.
    fn take_snapshot(&mut self) -> (SnapshotMeta, Arc<S::Snapshot>) {
        self.next_snapshot += 1;
        let id = SnapshotId(self.next_snapshot);
        let meta = SnapshotMeta {
            id,
            applied: self.applied.clone(),
        };
        (meta, Arc::new(self.namespace.store().snapshot()))
    }

    /// A checkpoint has ended, well or not.
    pub(super) fn on_checkpointed(
        &mut self,
        checkpoint: CheckpointId,
        result: Result<(), StoreError>,
        out: &mut Outbox<Effect>,
    ) {
        let Some(ended) = self.checkpoint.take_if(|running| running.id == checkpoint) else {
            return;
        };
        if let Err(error) = result {
            // Nothing is lost: the checkpoint before still holds, and the log since then. It is
            // tried again soon, for consensus may wait for it.
            out.push(Effect::Report {
                message: format!("a checkpoint failed: {error}"),
            });
            self.wanted.push_front(ended.purpose);
            let retry = self.options.checkpoint_retry;
            self.timers.arm(Timer::Checkpoint, self.now, retry);
            return;
        }
        self.durable = ended.applied;
        match ended.purpose {
            Purpose::Periodic => {}
            Purpose::Snapshot => {
                let (meta, view) = ended
                    .snapshot
                    .expect("a snapshot was taken when this began");
                self.held = Some((meta.clone(), view));
                self.inbox.push_back(raft::Input::SnapshotBuilt { meta });
                self.answer_snapshotted(ended.applied, out);
            }
            Purpose::Install(id) => self.inbox.push_back(raft::Input::SnapshotInstalled { id }),
            Purpose::Heal => self.on_healed(out),
            Purpose::Wipe => {
                let reason = "the damaged state was thrown away; start the node again, and it \
                              heals itself from a peer";
                return self.become_stopped(reason.to_owned(), out);
            }
        }
        self.begin_checkpoint(out);
    }

    fn answer_snapshotted(&mut self, applied: LogIndex, out: &mut Outbox<Effect>) {
        for caller in self.pending.take_snapshotted(applied) {
            self.answer(caller, Ok(ResponseBody::SnapshotTaken { applied }), out);
        }
    }

    // Sending.

    /// Consensus wants a peer to have the snapshot.
    pub(super) fn begin_transfer(
        &mut self,
        to: NodeId,
        number: u64,
        header: Vec<u8>,
        meta: SnapshotMeta,
        out: &mut Outbox<Effect>,
    ) {
        let transfer = TransferId::Snapshot {
            life: self.options.life,
            number,
        };
        match &self.held {
            Some((held, view)) if held.id == meta.id => {
                let view = Arc::clone(view);
                let outgoing = Outgoing::new(to, transfer, meta, header, view, self.now);
                self.outgoing.insert(transfer, outgoing);
                self.send_parts(out);
            }
            _ => {
                let result = Err("the snapshot is no longer held".to_owned());
                self.inbox.push_back(raft::Input::SnapshotSent {
                    transfer: number,
                    result,
                });
            }
        }
    }

    fn on_repair_wanted(
        &mut self,
        from: NodeId,
        at_least: LogIndex,
        transfer: TransferId,
        out: &mut Outbox<Effect>,
    ) {
        let known = self.outgoing.contains_key(&transfer);
        if known || self.raft.is_none() || self.namespace.applied().index < at_least {
            return;
        }
        self.outgoing.retain(|id, outgoing| {
            outgoing.to != from || matches!(id, TransferId::Snapshot { .. })
        });
        // Not the held one: that may be older than what is asked for. It need not be durable here,
        // for it is committed.
        self.next_snapshot += 1;
        let id = SnapshotId(self.next_snapshot);
        let meta = SnapshotMeta {
            id,
            applied: self.applied.clone(),
        };
        let view = Arc::new(self.namespace.store().snapshot());
        let outgoing = Outgoing::new(from, transfer, meta, Vec::new(), view, self.now);
        self.outgoing.insert(transfer, outgoing);
        self.send_parts(out);
    }

    /// Fills the windows of all transfers.
    fn send_parts(&mut self, out: &mut Outbox<Effect>) {
        let options = &self.options;
        let (window, bytes) = (options.snapshot_window, options.snapshot_part_bytes);
        let (now, resend) = (self.now, options.snapshot_resend);
        let mut fault = None;
        for outgoing in self.outgoing.values_mut() {
            loop {
                match outgoing.next_part(window, bytes, now, resend) {
                    Ok(Some(part)) => {
                        let body = PeerBody::Part(part);
                        let message = PeerMessage {
                            group: options.group,
                            body,
                        }
                        .to_bytes();
                        out.push(Effect::Send {
                            to: outgoing.to,
                            message,
                        });
                    }
                    Ok(None) => break,
                    Err(error) => {
                        fault = Some(error);
                        break;
                    }
                }
            }
        }
        if let Some(error) = fault {
            return self.become_wiping(&error, out);
        }
        if !self.outgoing.is_empty() {
            self.timers.arm(Timer::Transfers, now, resend);
        }
    }

    /// Sends again what got lost, and gives up on those who never answer.
    pub(super) fn on_transfer_timer(&mut self, out: &mut Outbox<Effect>) {
        let (now, give_up) = (self.now, self.options.snapshot_give_up);
        let stalled: Vec<TransferId> = self
            .outgoing
            .iter()
            .filter(|(_, outgoing)| outgoing.is_stalled(now, give_up))
            .map(|(transfer, _)| *transfer)
            .collect();
        for transfer in stalled {
            self.end_transfer(transfer, Err("the peer does not answer".to_owned()));
        }
        for outgoing in self.outgoing.values_mut() {
            outgoing.maybe_resend(now);
        }
        self.send_parts(out);
    }

    /// The transport lost the peer.
    pub(super) fn drop_transfers_with(&mut self, peer: NodeId) {
        let lost: Vec<TransferId> = self
            .outgoing
            .iter()
            .filter(|(_, outgoing)| outgoing.to == peer)
            .map(|(transfer, _)| *transfer)
            .collect();
        for transfer in lost {
            self.end_transfer(transfer, Err("the connection was lost".to_owned()));
        }
    }

    fn end_transfer(&mut self, transfer: TransferId, result: Result<Vec<u8>, String>) {
        self.outgoing.remove(&transfer);
        if let TransferId::Snapshot { number, .. } = transfer {
            self.inbox.push_back(raft::Input::SnapshotSent {
                transfer: number,
                result,
            });
        }
    }

    // Receiving.

    fn on_part(&mut self, from: NodeId, part: Part, out: &mut Outbox<Effect>) {
        if !self.expects(from, &part) {
            return;
        }
        let transfer = part.transfer;
        if let Err(error) = self.take_part(from, part) {
            let reason = error.to_string();
            self.incoming = None;
            self.send(from, PeerBody::TransferRefused { transfer, reason }, out);
            return;
        }
        let Some(incoming) = &self.incoming else {
            return;
        };
        let next = incoming.next;
        self.send(from, PeerBody::PartsReceived { transfer, next }, out);
    }

    /// Whether a part belongs to a transfer that this node can use now.
    fn expects(&self, from: NodeId, part: &Part) -> bool {
        let known = self
            .incoming
            .as_ref()
            .is_some_and(|incoming| incoming.from == from && incoming.transfer == part.transfer);
        match part.transfer {
            TransferId::Repair { life, wish } => {
                let wanted = self.repair.as_ref().is_some_and(|repair| {
                    repair.wish == wish
                        && part
                            .meta
                            .applied
                            .last
                            .is_some_and(|id| id.index >= repair.at_least)
                });
                known || (wanted && life == self.options.life)
            }
            TransferId::Snapshot { .. } => self.raft.is_some() && !self.is_installing(),
        }
    }

    /// Whether a peer's state that arrived waits to become durable.
    fn is_healing(&self) -> bool {
        self.checkpoint
            .as_ref()
            .is_some_and(|running| running.purpose == Purpose::Heal)
            || self.wanted.contains(&Purpose::Heal)
    }

    /// Whether a snapshot that arrived waits to be judged or to become durable.
    fn is_installing(&self) -> bool {
        let install = |purpose: &Purpose| matches!(purpose, Purpose::Install(_));
        self.checkpoint
            .as_ref()
            .is_some_and(|running| install(&running.purpose))
            || self.wanted.iter().any(install)
    }

    fn take_part(&mut self, from: NodeId, part: Part) -> Result<(), StoreError> {
        let known = self
            .incoming
            .as_ref()
            .is_some_and(|incoming| incoming.from == from && incoming.transfer == part.transfer);
        if !known {
            if part.number != 0 {
                return Ok(());
            }
            self.namespace.store_mut().restore_begin()?;
            let (transfer, last) = (part.transfer, part.meta.applied.last);
            let touched = self.now;
            self.incoming = Some(Incoming {
                from,
                transfer,
                last,
                next: 0,
                complete: false,
                touched,
            });
        }
        let Some(incoming) = self.incoming.as_mut() else {
            return Ok(());
        };
        if part.number != incoming.next || incoming.complete {
            return Ok(());
        }
        incoming.next += 1;
        incoming.complete = part.last;
        incoming.touched = self.now;
        let mut batch = WriteBatch::default();
        for (key, value) in part.pairs {
            #[cfg(feature = "planted-bugs")]
            if self.options.bug == Some(crate::planted::Bug::SnapshotWithoutSessions)
                && is_of_sessions(&key)
            {
                continue;
            }
            batch.put(key, value);
        }
        self.namespace.store_mut().restore_write(batch)?;
        if part.last {
            self.on_complete(from, part.transfer, part.header);
        }
        Ok(())
    }

    /// The last part is here.
    fn on_complete(&mut self, from: NodeId, transfer: TransferId, header: Vec<u8>) {
        match transfer {
            TransferId::Snapshot { number, .. } => {
                self.next_snapshot += 1;
                let id = SnapshotId(self.next_snapshot);
                self.inbox.push_back(raft::Input::SnapshotReceived {
                    from,
                    transfer: number,
                    header,
                    id,
                });
            }
            TransferId::Repair { .. } => self.heal_pending = true,
        }
        self.judging = Some((from, transfer));
    }

    /// Puts the state that arrived in place of the present one.
    fn adopt_incoming(
        &mut self,
        last: Option<LogId>,
        out: &mut Outbox<Effect>,
    ) -> Result<(), StoreError> {
        let store = self.namespace.store_mut();
        store.restore_commit()?;
        self.namespace.reload()?;
        self.applied = read_note(&self.namespace.applied().note)?;
        if self.applied.last != last {
            return Err(StoreError::Corrupt {
                key: Key::Applied.bytes(),
                reason: format!("a peer sent {:?} as {last:?}", self.applied.last),
            });
        }
        self.held = None;
        let applied = self.namespace.applied().index;
        out.push(Effect::StateReplaced { applied });
        Ok(())
    }

    /// Consensus wants the snapshot that arrived to become the state.
    pub(super) fn install(&mut self, meta: &SnapshotMeta, out: &mut Outbox<Effect>) {
        let complete = self
            .incoming
            .as_ref()
            .is_some_and(|incoming| incoming.complete);
        assert!(
            complete,
            "consensus installs a snapshot that has not arrived"
        );
        self.incoming = None;
        // What waited was committed before, so the snapshot holds it. Who asked for it here is told
        // that its outcome is not known.
        assert!(
            self.deferred
                .back()
                .is_none_or(|entry| Some(entry.id) <= meta.applied.last),
            "consensus installs a snapshot older than what it had applied"
        );
        self.deferred.clear();
        if let Err(error) = self.adopt_incoming(meta.applied.last, out) {
            return self.become_wiping(&error, out);
        }
        let view = Arc::new(self.namespace.store().snapshot());
        self.held = Some((meta.clone(), view));
        self.want_checkpoint(Purpose::Install(meta.id), out);
        let applied = self.namespace.applied().index;
        for read in self.pending.take_ready(applied) {
            self.answer_read(read, out);
        }
    }

    /// Consensus has judged a snapshot that arrived.
    pub(super) fn answer_transfer(
        &mut self,
        to: NodeId,
        number: u64,
        answer: Vec<u8>,
        out: &mut Outbox<Effect>,
    ) {
        let judged = |(from, transfer): &mut (NodeId, TransferId)| {
            let wanted = matches!(transfer, TransferId::Snapshot { number: n, .. } if *n == number);
            *from == to && wanted
        };
        let Some((_, transfer)) = self.judging.take_if(judged) else {
            return;
        };
        if self
            .incoming
            .as_ref()
            .is_some_and(|incoming| incoming.transfer == transfer)
        {
            self.incoming = None;
        }
        self.send(to, PeerBody::SnapshotAnswer { transfer, answer }, out);
    }

    // Healing.

    /// Asks the next peer for its state.
    pub(super) fn on_repair_timer(&mut self, out: &mut Outbox<Effect>) {
        if self.repair.is_none() {
            return;
        }
        self.timers
            .arm(Timer::Repair, self.now, self.options.repair_retry);
        let patience = self.options.snapshot_give_up;
        let moving = |incoming: &Incoming| self.now.since(incoming.touched) < patience;
        if self.is_healing() || self.incoming.as_ref().is_some_and(moving) {
            return;
        }
        self.incoming = None;
        let Some(repair) = self.repair.as_mut() else {
            return;
        };
        let (at_least, life) = (repair.at_least, self.options.life);
        match repair.next_wish() {
            Some((peer, wish)) => {
                self.send(
                    peer,
                    PeerBody::RepairWanted {
                        at_least,
                        life,
                        wish,
                    },
                    out,
                );
            }
            None => self.become_stopped(
                "the node is damaged and knows no peer that could heal it".to_owned(),
                out,
            ),
        }
    }

    /// The state that heals this node has arrived.
    pub(super) fn maybe_heal(&mut self, out: &mut Outbox<Effect>) {
        if !std::mem::take(&mut self.heal_pending) {
            return;
        }
        let Some(incoming) = self.incoming.take() else {
            return;
        };
        match self.adopt_incoming(incoming.last, out) {
            Ok(()) => self.want_checkpoint(Purpose::Heal, out),
            Err(error) => self.become_wiping(&error, out),
        }
    }

    /// The state that heals this node is durable: what it covers leaves the log, and the node
    /// takes part again.
    fn on_healed(&mut self, out: &mut Outbox<Effect>) {
        let Some(repair) = self.repair.take() else {
            return;
        };
        self.timers.disarm(Timer::Repair);
        let index = self.namespace.applied().index;
        match self.settle_log(repair.log, out) {
            Ok(()) => out.push(Effect::Report {
                message: format!("healed from a peer: the state is that of {index}"),
            }),
            Err(error) => self.become_stopped(format!("log: {error}"), out),
        }
    }
}

/// Whether a key belongs to a session: itself, its memory, what it has open or locked.
#[cfg(feature = "planted-bugs")]
fn is_of_sessions(key: &[u8]) -> bool {
    matches!(
        Key::parse(key),
        Some(
            Key::Session(_)
                | Key::Lane(..)
                | Key::Opened(..)
                | Key::SessionOpened(..)
                | Key::Flocks(_)
                | Key::PosixLocks(_)
        )
    )
}
