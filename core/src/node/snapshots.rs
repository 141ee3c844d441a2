//! Checkpoints of this node's state, and states on their way between nodes.

use std::sync::Arc;

use super::Effect;
use super::machine::{Node, Purpose, Running, Timer, read_note};
use super::peer::{Part, PeerBody, PeerMessage, TransferId};
use super::pending::Origin;
use super::transfer::{Incoming, Judged, Outgoing, PartError};
use crate::buggify::Site;
use crate::disk::Disk;
use crate::id::{LogIndex, NodeId};
use crate::machine::Outbox;
use crate::namespace::inspect_pair;
#[cfg(feature = "planted-bugs")]
use crate::namespace::key::Key;
use crate::native::request::ResponseBody;
use crate::raft::{self, SnapshotId, SnapshotMeta};
use crate::store::{CheckpointId, Pressure, StateStore, StoreError, WriteBatch};
use crate::time::Duration;

/// Parts of states that are read in one step: one takes some milliseconds.
pub(super) const PARTS_PER_STEP: usize = 1;
/// A disk that fails a checkpoint so often, and makes none in between, will not make the next one
/// either: the node stops while its log is short, and an operator hears of it.
const FAILED_CHECKPOINTS_MAX: u32 = 3;
/// When the window has room for more, they are read after this.
const NEXT_PARTS: Duration = Duration::from_millis(1);

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
            PeerBody::RepairRefused { life, wish } => {
                self.on_repair_refused(from, TransferId::Repair { life, wish }, out);
            }
            PeerBody::Chunks(talk) => self.on_talk(from, talk, out),
            PeerBody::Ask { life, ask, asked } => {
                let origin = Origin::Peer {
                    peer: from,
                    life,
                    ask,
                };
                self.on_asked_by_peer(origin, asked, out);
            }
            PeerBody::Told { life, ask, result } => {
                self.on_told_by_peer(from, (life, ask), *result, out);
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
            bytes: std::mem::take(&mut self.unsaved_bytes),
            snapshot,
        });
        let checkpoint = id;
        out.push(Effect::CheckpointStarted { checkpoint });
    }

    /// Begins a checkpoint without waiting for its time when the store runs out of room, or when a
    /// restart would have much to replay. One that failed has its own time.
    pub(super) fn maybe_relieve(&mut self, out: &mut Outbox<Effect>) {
        let idle = self.raft.is_some() && self.checkpoint.is_none() && self.wanted.is_empty();
        if !idle {
            return;
        }
        let much = self.unsaved_bytes >= self.options.checkpoint_log_bytes;
        let much =
            much || self.unsaved_bytes > 0 && self.options.buggify.fires(Site::CheckpointEarly);
        if much || self.namespace.store().pressure() >= Pressure::High {
            self.want_checkpoint(Purpose::Periodic, out);
        }
    }

    /// Has the log shortened when it fills up, whatever its bytes: a snapshot, then a purge.
    pub(super) fn maybe_shorten_log(&mut self) {
        if self.raft.is_none() || !self.wal.is_crowded() || self.now < self.shorten_again {
            return;
        }
        self.shorten_again = self.now + self.options.checkpoint_retry;
        self.inbox.push_back(raft::Input::ShortenLog);
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
            if self.count_failed(&error, out) {
                return self.become_unfit(&error, out);
            }
            self.wanted.push_front(ended.purpose);
            self.unsaved_bytes += ended.bytes;
            let retry = self.options.checkpoint_retry;
            self.timers.arm(Timer::Checkpoint, self.now, retry);
            return;
        }
        self.failed_checkpoints = 0;
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
            Purpose::Install(id) => {
                self.clear_damage(out);
                self.inbox.push_back(raft::Input::SnapshotInstalled { id });
            }
            Purpose::Heal => self.on_healed(out),
        }
        self.begin_checkpoint(out);
    }

    /// Tells of a checkpoint that failed, counts it, and says whether the next one would fail, too.
    /// Room may come back while the node waits; a broken disk does not mend itself.
    fn count_failed(&mut self, error: &StoreError, out: &mut Outbox<Effect>) -> bool {
        let message = if *error == StoreError::Full {
            format!("a checkpoint failed, and is tried again until there is room: {error}")
        } else {
            self.failed_checkpoints += 1;
            let failed = self.failed_checkpoints;
            format!(
                "a checkpoint failed, {failed} in a row; with {FAILED_CHECKPOINTS_MAX} the node \
                 stops: {error}"
            )
        };
        out.push(Effect::Report { message });
        self.failed_checkpoints >= FAILED_CHECKPOINTS_MAX
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
        if self.damage.needs_healing() {
            return self.refuse_repair(from, transfer, out);
        }
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

    /// Goes on to fill the windows of all transfers.
    fn send_parts(&mut self, out: &mut Outbox<Effect>) {
        let options = &self.options;
        let (window, bytes) = (options.snapshot_window, options.snapshot_part_bytes);
        let (now, resend) = (self.now, options.snapshot_resend);
        let mut faults = Vec::new();
        let mut left = self.parts_budget;
        for (transfer, outgoing) in &mut self.outgoing {
            while left > 0 {
                let bytes = match options.buggify.fires(Site::PartOfLittle) {
                    true => 1,
                    false => bytes,
                };
                match outgoing.next_part(window, bytes, now, resend) {
                    Ok(Some(part)) => {
                        left -= 1;
                        let body = PeerBody::Part(part);
                        let class = body.class();
                        let message = PeerMessage {
                            group: options.group,
                            body,
                        }
                        .to_bytes();
                        out.push(Effect::Send {
                            to: outgoing.to,
                            class,
                            message,
                        });
                    }
                    Ok(None) => break,
                    Err(error) => {
                        faults.push((*transfer, error));
                        break;
                    }
                }
            }
        }
        self.parts_budget = left;
        for (transfer, error) in faults {
            self.on_send_fault(transfer, &error, out);
        }
        if !self.outgoing.is_empty() {
            let wait = if left > 0 { resend } else { NEXT_PARTS };
            self.timers.arm(Timer::Transfers, now, wait);
        }
    }

    /// The state that a peer is to have cannot be read: nothing damaged leaves this node.
    fn on_send_fault(
        &mut self,
        transfer: TransferId,
        error: &StoreError,
        out: &mut Outbox<Effect>,
    ) {
        if let Some(outgoing) = self.outgoing.get(&transfer) {
            let to = outgoing.to;
            self.refuse_repair(to, transfer, out);
        }
        self.end_transfer(transfer, Err(error.to_string()));
        self.on_read_fault(error, out);
    }

    /// Tells a peer that heals itself to ask another.
    fn refuse_repair(&self, to: NodeId, transfer: TransferId, out: &mut Outbox<Effect>) {
        if let TransferId::Repair { life, wish } = transfer {
            self.send(to, PeerBody::RepairRefused { life, wish }, out);
        }
    }

    /// Sends again what got lost, and gives up on those who never answer.
    pub(super) fn on_transfer_timer(&mut self, out: &mut Outbox<Effect>) {
        let (now, give_up) = (self.now, self.options.snapshot_give_up);
        let stalled: Vec<TransferId> = self
            .outgoing
            .iter()
            .filter(|(_, outgoing)| {
                outgoing.is_stalled(now, give_up)
                    || self.options.buggify.fires(Site::TransferGivenUp)
            })
            .map(|(transfer, _)| *transfer)
            .collect();
        for transfer in stalled {
            self.end_transfer(transfer, Err("the peer does not answer".to_owned()));
        }
        for outgoing in self.outgoing.values_mut() {
            outgoing.maybe_resend(now);
        }
        self.send_parts(out);
        self.tell_judging(out);
    }

    /// Tells the sender of what is being judged or installed that it is worked on, so that it does
    /// not give up: a large state takes its time.
    fn tell_judging(&mut self, out: &mut Outbox<Effect>) {
        if let Some(Judged {
            from,
            transfer,
            parts: next,
        }) = self.judging
        {
            self.send(from, PeerBody::PartsReceived { transfer, next }, out);
            let resend = self.options.snapshot_resend;
            self.timers.arm(Timer::Transfers, self.now, resend);
        }
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
        match self.take_part(from, part) {
            Ok(Some(next)) => self.send(from, PeerBody::PartsReceived { transfer, next }, out),
            // The first part of it is still on its way.
            Ok(None) => {}
            Err(error) => {
                let reason = error.to_string();
                let message = format!("refused the state that {from} sent: {reason}");
                out.push(Effect::Report { message });
                self.incoming = None;
                self.send(from, PeerBody::TransferRefused { transfer, reason }, out);
            }
        }
    }

    /// Whether a part belongs to the transfer that is arriving.
    fn is_arriving(&self, from: NodeId, transfer: TransferId) -> bool {
        self.incoming
            .as_ref()
            .is_some_and(|incoming| incoming.from == from && incoming.transfer == transfer)
    }

    /// Whether a part belongs to a transfer that this node can use now.
    fn expects(&self, from: NodeId, part: &Part) -> bool {
        let known = self.is_arriving(from, part.transfer);
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
            // What consensus judges is the state being built: no other may take its place.
            TransferId::Snapshot { .. } => {
                self.raft.is_some() && (known || (self.judging.is_none() && !self.is_installing()))
            }
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

    /// Takes a part into the state that is being built; gives the first one that is missing, when
    /// the transfer is known.
    fn take_part(&mut self, from: NodeId, part: Part) -> Result<Option<u64>, PartError> {
        if !self.is_arriving(from, part.transfer) {
            if part.number != 0 {
                return Ok(None);
            }
            self.namespace.store_mut().restore_begin()?;
            let (transfer, last) = (part.transfer, part.meta.applied.last);
            let touched = self.now;
            self.incoming = Some(Incoming {
                from,
                transfer,
                last,
                next: 0,
                end: Vec::new(),
                complete: false,
                mark: None,
                snapshot: None,
                touched,
            });
        }
        let Some(incoming) = self.incoming.as_mut() else {
            return Ok(None);
        };
        if part.number != incoming.next || incoming.complete {
            return Ok(Some(incoming.next));
        }
        if part.after != incoming.end {
            return Err(incoming.gap());
        }
        let mut batch = WriteBatch::default();
        for (key, value) in part.pairs {
            if key <= incoming.end {
                return Err(incoming.gap());
            }
            incoming.end.clone_from(&key);
            if let Some(mark) = inspect_pair(&key, &value)? {
                incoming.mark = Some(mark);
            }
            #[cfg(feature = "planted-bugs")]
            if self.options.bug == Some(crate::planted::Bug::SnapshotWithoutSessions)
                && is_of_sessions(&key)
            {
                continue;
            }
            batch.put(key, value);
        }
        self.namespace.store_mut().restore_write(batch)?;
        incoming.next += 1;
        incoming.touched = self.now;
        let next = incoming.next;
        if part.last {
            judge_state(incoming)?;
            incoming.complete = true;
            self.on_complete(from, part.transfer, part.header);
        }
        Ok(Some(next))
    }

    /// The last part is here, and the state is the one that was promised.
    fn on_complete(&mut self, from: NodeId, transfer: TransferId, header: Vec<u8>) {
        let TransferId::Snapshot { number, .. } = transfer else {
            self.heal_pending = true;
            return;
        };
        self.next_snapshot += 1;
        let id = SnapshotId(self.next_snapshot);
        let mut parts = 0;
        if let Some(incoming) = self.incoming.as_mut() {
            incoming.snapshot = Some(id);
            parts = incoming.next;
        }
        self.inbox.push_back(raft::Input::SnapshotReceived {
            from,
            transfer: number,
            header,
            id,
        });
        self.judging = Some(Judged {
            from,
            transfer,
            parts,
        });
        let resend = self.options.snapshot_resend;
        self.timers.arm(Timer::Transfers, self.now, resend);
    }

    /// Puts the state that arrived, and was judged, in place of the present one.
    fn adopt_incoming(&mut self, out: &mut Outbox<Effect>) -> Result<(), StoreError> {
        self.namespace.store_mut().restore_commit()?;
        self.namespace.reload()?;
        self.applied = read_note(&self.namespace.applied().note)?;
        self.held = None;
        let applied = self.namespace.applied().index;
        out.push(Effect::StateReplaced { applied });
        self.note_registrations(out);
        Ok(())
    }

    /// Consensus wants the snapshot that arrived to become the state.
    pub(super) fn install(&mut self, meta: &SnapshotMeta, out: &mut Outbox<Effect>) {
        let incoming = self
            .incoming
            .take_if(|incoming| incoming.complete && incoming.snapshot == Some(meta.id))
            .expect("consensus installs a snapshot that has arrived");
        // What waited was committed before, so the snapshot holds it. Who asked for it here is told
        // that its outcome is not known.
        assert!(
            self.deferred
                .back()
                .is_none_or(|entry| Some(entry.id) <= meta.applied.last),
            "consensus installs a snapshot older than what it had applied"
        );
        self.deferred.clear();
        if incoming.last != meta.applied.last {
            // Its parts and its header are of two states: nothing of it is used.
            let reason = format!(
                "{} sent the state of {:?} as that of {:?}",
                incoming.from, incoming.last, meta.applied.last
            );
            return self.become_stopped(reason, out);
        }
        if let Err(error) = self.adopt_incoming(out) {
            return self.become_unfit(&error, out);
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
        let judged = |judged: &mut Judged| {
            let wanted =
                matches!(judged.transfer, TransferId::Snapshot { number: n, .. } if n == number);
            judged.from == to && wanted
        };
        let Some(Judged { transfer, .. }) = self.judging.take_if(judged) else {
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
        if self.maybe_keep_state(out) {
            return;
        }
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

    /// A peer cannot heal this node, for it is damaged itself.
    fn on_repair_refused(&mut self, from: NodeId, wish: TransferId, out: &mut Outbox<Effect>) {
        let TransferId::Repair { life, wish: number } = wish else {
            return;
        };
        let Some(repair) = self.repair.as_mut().filter(|_| life == self.options.life) else {
            return;
        };
        repair.on_refused(from, number);
        if self.is_arriving(from, wish) {
            // It met the damage on the way.
            self.incoming = None;
        }
        if self.incoming.is_none() && !self.is_healing() {
            self.maybe_keep_state(out);
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
        if !incoming.complete {
            self.incoming = Some(incoming);
            return;
        }
        match self.adopt_incoming(out) {
            Ok(()) => self.want_checkpoint(Purpose::Heal, out),
            Err(error) => self.become_unfit(&error, out),
        }
    }

    /// The state that heals this node is durable: what it covers leaves the log, and the node
    /// takes part again.
    fn on_healed(&mut self, out: &mut Outbox<Effect>) {
        let Some(repair) = self.repair.take() else {
            return;
        };
        self.timers.disarm(Timer::Repair);
        self.clear_damage(out);
        let index = self.namespace.applied().index;
        match self.settle_log(repair.log, out) {
            Ok(()) => out.push(Effect::Report {
                message: format!("healed from a peer: the state is that of {index}"),
            }),
            Err(error) => self.become_stopped(format!("log: {error}"), out),
        }
    }
}

/// Whether what arrived is the state that was promised. Asked before it takes the present one's
/// place, which a mistake of the sender must not cost.
fn judge_state(incoming: &Incoming) -> Result<(), PartError> {
    let mark = incoming.mark.as_ref().ok_or(PartError::NoMark)?;
    let (found, promised) = (read_note(&mark.note)?.last, incoming.last);
    if found != promised || found.map_or(LogIndex(0), |id| id.index) != mark.index {
        return Err(PartError::Other { found, promised });
    }
    Ok(())
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
