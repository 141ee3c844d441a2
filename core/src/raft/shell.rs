//! What openraft's tasks and the machine share: effects that wait to be handed out, requests to
//! peers that wait for replies, snapshots that wait for the owner.
//!
//! Everything is behind short locks that are never held while a task is woken.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use super::log_storage::Log;
use super::message::{Message, Reply, Request};
use super::runtime::{OneReceiver, OneSender, one};
use super::{AppliedState, Effect, ProposalId, RaftError, SnapshotId, SnapshotMeta};
use crate::id::{LogIndex, NodeId};
use crate::time::Instant;
use crate::wal::record::LogId;

/// What was dropped, and why. Rises only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages that do not parse or contradict themselves.
    pub malformed: u64,
    /// Messages that speak in the name of another node.
    pub forged: u64,
    /// Replies that nobody waits for any more.
    pub stale_replies: u64,
    /// Requests of a peer that were dropped because too many of its were under way.
    pub overloaded: u64,
    /// Vote requests that were not answered because a lease promised before a restart may run.
    pub quiet_votes: u64,
    /// Answers of the owner (about snapshots) that nobody waits for any more.
    pub stale_answers: u64,
}

/// Shared by the machine and everything that openraft was given.
pub(super) struct Shell {
    /// This node.
    pub(super) node: NodeId,
    /// A random number of this life of the machine.
    pub(super) life: u64,
    pub(super) log: Mutex<Log>,
    effects: Mutex<Vec<Effect>>,
    calls: Mutex<Calls>,
    snapshots: Mutex<Snapshots>,
    pending: Mutex<Pending>,
    applying: Mutex<Applying>,
    counters: Mutex<Counters>,
    #[cfg(feature = "planted-bugs")]
    pub(super) bug: Option<crate::planted::Bug>,
}

#[derive(Default)]
struct Calls {
    next: u64,
    waiting: BTreeMap<(NodeId, u64), OneSender<Reply>>,
    /// Requests of each peer that are being worked on.
    serving: BTreeMap<NodeId, u64>,
    /// Peers that are sent nothing more, by a bug put in on purpose.
    #[cfg(feature = "planted-bugs")]
    given_up: std::collections::BTreeSet<NodeId>,
}

struct Snapshots {
    /// State that is durable, and the name under which it can be read, if it can.
    current: Option<(AppliedState, Option<SnapshotId>)>,
    build_asked: bool,
    building: Vec<OneSender<SnapshotMeta>>,
    installing: Option<(SnapshotMeta, OneSender<()>)>,
    next_transfer: u64,
    transfers: BTreeMap<u64, Outgoing>,
}

/// A snapshot that is being streamed to a peer, and who waits for the outcome.
struct Outgoing {
    to: NodeId,
    /// The receiver needs the log from behind this entry.
    last: LogIndex,
    outcome: OneSender<Result<Vec<u8>, String>>,
}

/// How far the owner has applied, and the state machine's task when it waits for that.
struct Applying {
    through: LogIndex,
    /// openraft has started. Before, nothing may wait: what it applies again then is held in
    /// memory in any case, and the owner hears of it only when the start is done.
    started: bool,
    waiting: Option<(LogIndex, OneSender<()>)>,
}

#[derive(Default)]
struct Pending {
    proposals: BTreeMap<ProposalId, ()>,
    /// When each proposal that is ever given up is, oldest first.
    deadlines: VecDeque<(Instant, ProposalId)>,
}

/// Takes a request out of the table when its caller stops waiting.
pub(super) struct Call {
    shell: Arc<Shell>,
    key: (NodeId, u64),
    pub(super) reply: OneReceiver<Reply>,
}

impl Drop for Call {
    fn drop(&mut self) {
        let sender = lock(&self.shell.calls).waiting.remove(&self.key);
        drop(sender);
    }
}

/// Counts a request of a peer as done.
pub(super) struct Serving {
    shell: Arc<Shell>,
    peer: NodeId,
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(count) = lock(&self.shell.calls).serving.get_mut(&self.peer) {
            *count -= 1;
        }
    }
}

/// Requests of one peer that may be under way; beyond it new ones are dropped.
const SERVING_MAX: u64 = 1_024;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .expect("no task panics while it holds a part of the shell")
}

impl Shell {
    pub(super) fn new(
        node: NodeId,
        life: u64,
        log: Log,
        applied: AppliedState,
        #[cfg(feature = "planted-bugs")] bug: Option<crate::planted::Bug>,
    ) -> Arc<Self> {
        let applying = Applying {
            through: applied.last.map_or(LogIndex(0), |last| last.index),
            started: false,
            waiting: None,
        };
        let current = applied.last.is_some().then_some((applied, None));
        Arc::new(Self {
            node,
            life,
            log: Mutex::new(log),
            effects: Mutex::default(),
            calls: Mutex::default(),
            snapshots: Mutex::new(Snapshots {
                current,
                build_asked: false,
                building: Vec::new(),
                installing: None,
                next_transfer: 1,
                transfers: BTreeMap::new(),
            }),
            pending: Mutex::default(),
            applying: Mutex::new(applying),
            counters: Mutex::default(),
            #[cfg(feature = "planted-bugs")]
            bug,
        })
    }

    #[cfg(feature = "planted-bugs")]
    pub(super) fn has(&self, bug: crate::planted::Bug) -> bool {
        self.bug == Some(bug)
    }

    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        lock(&self.log)
    }

    // ---- effects ------------------------------------------------------------------------------

    /// Asks for an effect.
    pub(super) fn ask(&self, effect: Effect) {
        lock(&self.effects).push(effect);
    }

    /// Asks for several, in order.
    pub(super) fn ask_all(&self, effects: impl IntoIterator<Item = Effect>) {
        lock(&self.effects).extend(effects);
    }

    /// Takes out what was asked for, oldest first.
    pub(super) fn take_effects(&self) -> Vec<Effect> {
        std::mem::take(&mut *lock(&self.effects))
    }

    /// Whether effects wait to be taken.
    pub(super) fn has_effects(&self) -> bool {
        !lock(&self.effects).is_empty()
    }

    // ---- counters -----------------------------------------------------------------------------

    pub(super) fn counters(&self) -> Counters {
        *lock(&self.counters)
    }

    pub(super) fn count(&self, add: impl FnOnce(&mut Counters)) {
        add(&mut lock(&self.counters));
    }

    // ---- requests to peers --------------------------------------------------------------------

    /// Sends a request; the reply comes through [`Call::reply`], unless the peer is lost.
    pub(super) fn call(self: &Arc<Self>, to: NodeId, body: Request) -> Call {
        let (tx, reply) = one();
        let id = {
            let mut calls = lock(&self.calls);
            let id = calls.next;
            calls.next += 1;
            calls.waiting.insert((to, id), tx);
            id
        };
        let message = Message::Request {
            life: self.life,
            id,
            body,
        };
        self.send(to, &message);
        Call {
            shell: Arc::clone(self),
            key: (to, id),
            reply,
        }
    }

    /// Sends a message.
    pub(super) fn send(&self, to: NodeId, message: &Message) {
        #[cfg(feature = "planted-bugs")]
        if lock(&self.calls).given_up.contains(&to) {
            return;
        }
        self.ask(Effect::Send {
            to,
            message: message.encode(),
        });
    }

    /// Gives a reply to whoever waits for it.
    pub(super) fn on_reply(&self, from: NodeId, life: u64, id: u64, body: Reply) {
        let waiting = if life == self.life {
            lock(&self.calls).waiting.remove(&(from, id))
        } else {
            None
        };
        let taken = waiting.is_some_and(|sender| sender.send(body).is_ok());
        if !taken {
            self.count(|counters| counters.stale_replies += 1);
        }
    }

    /// Ends everything that waits for this peer.
    pub(super) fn on_peer_lost(&self, peer: NodeId) {
        let lost: Vec<_> = {
            let mut calls = lock(&self.calls);
            let keys: Vec<_> = calls
                .waiting
                .range((peer, 0)..=(peer, u64::MAX))
                .map(|(key, _)| *key)
                .collect();
            keys.iter()
                .filter_map(|key| calls.waiting.remove(key))
                .collect()
        };
        drop(lost);
        let lost: Vec<_> = {
            let transfers = &mut lock(&self.snapshots).transfers;
            transfers
                .extract_if(.., |_, transfer| transfer.to == peer)
                .collect()
        };
        drop(lost);
    }

    /// Counts a request of a peer as under way, unless there are too many.
    pub(super) fn serve(self: &Arc<Self>, peer: NodeId) -> Option<Serving> {
        let mut calls = lock(&self.calls);
        let count = calls.serving.entry(peer).or_default();
        if *count >= SERVING_MAX {
            return None;
        }
        *count += 1;
        Some(Serving {
            shell: Arc::clone(self),
            peer,
        })
    }

    #[cfg(feature = "planted-bugs")]
    pub(super) fn give_up(&self, peer: NodeId) {
        lock(&self.calls).given_up.insert(peer);
    }

    // ---- snapshots ----------------------------------------------------------------------------

    /// The state that is durable, and its name where it can be read.
    pub(super) fn current_snapshot(&self) -> Option<(AppliedState, Option<SnapshotId>)> {
        lock(&self.snapshots).current.clone()
    }

    /// Asks for a snapshot, or joins the one that is being built.
    pub(super) fn build_snapshot(&self) -> OneReceiver<SnapshotMeta> {
        let (tx, rx) = one();
        let ask = {
            let mut snapshots = lock(&self.snapshots);
            snapshots.building.push(tx);
            !std::mem::replace(&mut snapshots.build_asked, true)
        };
        if ask {
            self.ask(Effect::BuildSnapshot);
        }
        rx
    }

    /// Whether a snapshot was asked for and is not there yet.
    pub(super) fn is_building(&self) -> bool {
        lock(&self.snapshots).build_asked
    }

    pub(super) fn on_snapshot_built(&self, meta: SnapshotMeta) {
        let waiting = {
            let mut snapshots = lock(&self.snapshots);
            if !std::mem::replace(&mut snapshots.build_asked, false) {
                drop(snapshots);
                self.count(|counters| counters.stale_answers += 1);
                return;
            }
            snapshots.put_current(&meta);
            std::mem::take(&mut snapshots.building)
        };
        for waiter in waiting {
            // Whoever no longer waits has asked for nothing that must be undone.
            let _ = waiter.send(meta.clone());
        }
    }

    /// The owner has applied everything up to here.
    pub(super) fn on_applied(&self, through: LogIndex) {
        let mut applying = lock(&self.applying);
        applying.through = applying.through.max(through);
        let through = applying.through;
        let ready = applying.waiting.take_if(|(index, _)| *index <= through);
        drop(applying);
        if let Some((_, waiter)) = ready {
            // The task that waits goes only when the machine does.
            let _ = waiter.send(());
        }
    }

    /// From now the state machine's task waits for an owner that is far behind.
    pub(super) fn started(&self) {
        lock(&self.applying).started = true;
    }

    /// Waits until the owner has applied the entry of this index.
    pub(super) fn applied(&self, index: LogIndex) -> OneReceiver<()> {
        let (tx, rx) = one();
        let mut applying = lock(&self.applying);
        if !applying.started || applying.through >= index {
            let _ = tx.send(());
        } else {
            let before = applying.waiting.replace((index, tx));
            assert!(before.is_none(), "one task applies");
        }
        rx
    }

    /// Asks for a snapshot to be put in place of the state.
    pub(super) fn install_snapshot(&self, meta: SnapshotMeta) -> OneReceiver<()> {
        let (tx, rx) = one();
        let before = lock(&self.snapshots).installing.replace((meta.clone(), tx));
        assert!(before.is_none(), "openraft installs one snapshot at a time");
        self.ask(Effect::InstallSnapshot { meta });
        rx
    }

    /// Notes what the state is after an installation.
    pub(super) fn snapshot_is(&self, meta: &SnapshotMeta) {
        lock(&self.snapshots).put_current(meta);
    }

    /// Ends an installation; says which entry the state then ends with.
    pub(super) fn on_snapshot_installed(&self, id: SnapshotId) -> Option<LogId> {
        let installing = lock(&self.snapshots)
            .installing
            .take_if(|(meta, _)| meta.id == id);
        let Some((meta, sender)) = installing else {
            self.count(|counters| counters.stale_answers += 1);
            return None;
        };
        // The task that waits goes only when the machine does.
        let _ = sender.send(());
        meta.applied.last
    }

    /// Asks for the readable snapshot to be streamed to a peer.
    pub(super) fn send_snapshot(
        &self,
        to: NodeId,
        header: Vec<u8>,
        meta: SnapshotMeta,
    ) -> Transfer<'_> {
        let (tx, result) = one();
        let last = meta.applied.last.map_or(LogIndex(0), |id| id.index);
        let transfer = {
            let mut snapshots = lock(&self.snapshots);
            let transfer = snapshots.next_transfer;
            snapshots.next_transfer += 1;
            let outcome = tx;
            let outgoing = Outgoing { to, last, outcome };
            snapshots.transfers.insert(transfer, outgoing);
            transfer
        };
        self.ask(Effect::SendSnapshot {
            to,
            transfer,
            header,
            meta,
        });
        Transfer {
            shell: self,
            transfer,
            result,
        }
    }

    /// The newest transfer to a peer that is under way. The owner ends one that makes no progress.
    pub(super) fn transfer_to(&self, peer: NodeId) -> Option<u64> {
        let snapshots = lock(&self.snapshots);
        let mut theirs = snapshots.transfers.iter().filter(|(_, it)| it.to == peer);
        theirs.next_back().map(|(transfer, _)| *transfer)
    }

    /// Last entry of the snapshot that is on its way to a peer; of the oldest when several are.
    pub(super) fn last_sent_to(&self, peer: NodeId) -> Option<LogIndex> {
        let snapshots = lock(&self.snapshots);
        let theirs = snapshots.transfers.values().filter(|it| it.to == peer);
        theirs.map(|it| it.last).min()
    }

    pub(super) fn on_snapshot_sent(&self, transfer: u64, result: Result<Vec<u8>, String>) {
        let waiting = lock(&self.snapshots).transfers.remove(&transfer);
        let taken = waiting.is_some_and(|transfer| transfer.outcome.send(result).is_ok());
        if !taken {
            self.count(|counters| counters.stale_answers += 1);
        }
    }

    // ---- proposals ----------------------------------------------------------------------------

    pub(super) fn proposal_begins(&self, proposal: ProposalId, deadline: Instant) {
        let mut pending = lock(&self.pending);
        let before = pending.proposals.insert(proposal, ());
        assert!(
            before.is_none(),
            "proposal {proposal:?} was made while another of its name is open"
        );
        // One without an end is not in this queue, where it would stand before all others.
        if deadline < Instant(u64::MAX) {
            pending.deadlines.push_back((deadline, proposal));
        }
    }

    /// Answers a proposal, unless that has been done.
    pub(super) fn proposal_ends(&self, proposal: ProposalId, result: Result<LogId, RaftError>) {
        if lock(&self.pending).proposals.remove(&proposal).is_some() {
            self.ask(Effect::Proposed { proposal, result });
        }
    }

    /// Proposals that wait for an answer.
    pub(super) fn proposal_count(&self) -> usize {
        lock(&self.pending).proposals.len()
    }

    /// Answers every open proposal: leadership is lost, so their fate is not known.
    pub(super) fn proposals_lost(&self, error: &RaftError) {
        let open = {
            let mut pending = lock(&self.pending);
            pending.deadlines.clear();
            std::mem::take(&mut pending.proposals)
        };
        self.ask_all(open.into_keys().map(|proposal| Effect::Proposed {
            proposal,
            result: Err(error.clone()),
        }));
    }

    /// When the oldest open proposal is given up.
    pub(super) fn proposal_deadline(&self) -> Option<Instant> {
        let mut pending = lock(&self.pending);
        while let Some((deadline, proposal)) = pending.deadlines.front().copied() {
            if pending.proposals.contains_key(&proposal) {
                return Some(deadline);
            }
            pending.deadlines.pop_front();
        }
        None
    }

    /// Gives up proposals whose time is up.
    pub(super) fn expire_proposals(&self, now: Instant) {
        while let Some(deadline) = self.proposal_deadline()
            && deadline <= now
        {
            let front = lock(&self.pending).deadlines.pop_front();
            if let Some((_, proposal)) = front {
                self.proposal_ends(proposal, Err(RaftError::Unknown));
            }
        }
    }

    /// Last entry in the current snapshot.
    pub(super) fn snapshot_last(&self) -> Option<LogId> {
        let snapshots = lock(&self.snapshots);
        let current = snapshots.current.as_ref();
        current.and_then(|(state, _)| state.last)
    }

    /// Position up to which the state in the current snapshot is applied.
    pub(super) fn snapshot_index(&self) -> LogIndex {
        self.snapshot_last().map_or(LogIndex(0), |id| id.index)
    }
}

impl Snapshots {
    fn put_current(&mut self, meta: &SnapshotMeta) {
        let newer = match &self.current {
            Some((state, _)) => meta.applied.last >= state.last,
            None => true,
        };
        if newer {
            self.current = Some((meta.applied.clone(), Some(meta.id)));
        }
    }
}

/// A snapshot on its way to a peer.
pub(super) struct Transfer<'a> {
    shell: &'a Shell,
    transfer: u64,
    pub(super) result: OneReceiver<Result<Vec<u8>, String>>,
}

impl Drop for Transfer<'_> {
    fn drop(&mut self) {
        let sender = lock(&self.shell.snapshots).transfers.remove(&self.transfer);
        drop(sender);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Recovered;
    use super::*;

    fn shell() -> Arc<Shell> {
        let (log, _) = Log::recover(&Recovered::default()).unwrap();
        Shell::new(
            NodeId(1),
            1,
            log,
            AppliedState::default(),
            #[cfg(feature = "planted-bugs")]
            None,
        )
    }

    #[test]
    fn it_is_known_to_whom_a_snapshot_is_on_its_way() {
        let shell = shell();
        let meta = SnapshotMeta {
            id: SnapshotId(1),
            applied: AppliedState::default(),
        };
        let first = shell.send_snapshot(NodeId(2), Vec::new(), meta.clone());
        let second = shell.send_snapshot(NodeId(2), Vec::new(), meta);
        assert_eq!(shell.transfer_to(NodeId(2)), Some(2));
        assert_eq!(shell.transfer_to(NodeId(3)), None);
        assert_eq!(shell.last_sent_to(NodeId(2)), Some(LogIndex(0)));
        assert_eq!(shell.last_sent_to(NodeId(3)), None);
        drop(second);
        assert_eq!(shell.transfer_to(NodeId(2)), Some(1));
        drop(first);
        assert_eq!(shell.transfer_to(NodeId(2)), None);
    }

    #[test]
    fn a_change_without_an_end_does_not_keep_others_waiting() {
        let shell = shell();
        shell.proposal_begins(ProposalId(1), Instant(u64::MAX));
        shell.proposal_begins(ProposalId(2), Instant(10));
        assert_eq!(shell.proposal_deadline(), Some(Instant(10)));
        shell.expire_proposals(Instant(10));
        let [Effect::Proposed { proposal, result }] = &shell.take_effects()[..] else {
            panic!("one is given up");
        };
        assert_eq!(
            (*proposal, result),
            (ProposalId(2), &Err(RaftError::Unknown))
        );
        assert_eq!(shell.proposal_count(), 1, "the change goes on");
    }
}
