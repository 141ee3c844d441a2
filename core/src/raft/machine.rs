//! The machine: one input in, openraft's tasks run until they rest, effects out.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, ForwardReason, ForwardToLeader, RaftError as ORaftError};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, ClientWriteResult, TransferLeaderError,
    TransferLeaderRequest, VoteRequest, VoteResponse,
};
use openraft::{AsyncRuntime, RaftMetrics, ServerState, SnapshotPolicy};

use super::executor::{Executor, Task};
use super::log_storage::{Log, LogStore};
use super::membership::{ChangeTimes, change_membership};
use super::message::{
    AppendReply, Ballot, Message, ReadRefusal, Refusal, Reply, Request, SnapshotAnswer,
    SnapshotHeader, TransferReply, WireEntry, checked,
};
use super::network::{Network, Patience};
use super::reads::{Failure, ReadTimes, lengthened, read, read_here, shortened};
use super::reason::{Circumstances, RoleReason, Seen};
use super::runtime::{Runtime, WatchedReceiver};
use super::shell::{Counters, Shell};
use super::state_machine::{StateMachine, their_snapshot};
use super::types::{Answer, Command, OLogId, OVote, Types, our_stored_membership, ours};
use super::{
    AppliedState, Effect, Input, Options, ProposalId, RaftError, ReadId, ReadPolicy, RecoverError,
    Recovered, Role, Status,
};
use crate::buggify::{Buggify, Site};
use crate::id::{LogIndex, NodeId, Term};
use crate::limits;
use crate::machine::{Machine, Outbox};
use crate::rng::Seed;
use crate::time::{Duration, Instant};
use crate::wal::record::LogId;

/// openraft's handle.
pub(super) type Raft = openraft::Raft<Types, StateMachine>;

/// Reads under way at once; beyond it new ones are refused.
const READS_MAX: usize = 65_536;
/// Proposals under way at once; beyond it new ones are refused.
const PROPOSALS_MAX: usize = 65_536;
/// A voter that lacks no more entries than this has caught up: the rest is on its way.
pub(super) const CAUGHT_UP_ENTRIES: u64 = 64;
/// A member is kept entries for this many longest election timeouts after it was last heard of: as
/// long as a restart takes.
const LAG_PATIENCE: u32 = 100;
/// Pieces in which openraft handles entries. Bytes bound a message, not this.
const APPEND_ENTRIES_MAX: u64 = 4_096;

/// Consensus of one group at one node.
pub struct RaftMachine {
    options: Options,
    shell: Arc<Shell>,
    executor: Executor,
    /// `None` when the start failed; then `stopped` says why.
    raft: Option<Raft>,
    metrics: Option<WatchedReceiver<RaftMetrics<Types>>>,
    times: Times,
    /// A lease promised before the restart may still run: no vote is given and none asked for.
    quiet: Arc<AtomicBool>,
    reads: Arc<AtomicUsize>,
    /// A change of membership is under way; there is one at a time.
    changing: Arc<AtomicBool>,
    /// What the owner says that it has applied.
    applied: Option<LogId>,
    seen: Seen,
    /// Whether a role was told in this life.
    role_told: bool,
    /// Who asked this node to take over and leads no more when it does; 0 for nobody.
    asked_by: Arc<AtomicU64>,
    /// To whom this node, which leads, hands over, and since when.
    handing_to: Option<(NodeId, Instant)>,
    /// When a majority had last answered this node, as far as it led then.
    quorum_at: Option<Instant>,
    leading_since: Option<Instant>,
    move_tried: Option<Instant>,
    snapshot_tried: LogIndex,
    /// A snapshot was asked for from outside.
    snapshot_wanted: bool,
    /// The log is to become shorter, up to here, whoever lacks what goes.
    shorten: Option<LogIndex>,
    /// A new snapshot allows the log to be purged up to here.
    purge_due: Option<LogIndex>,
    stopped: Option<String>,
    now: Instant,
}

#[derive(Clone, Copy)]
struct Times {
    lease: Duration,
    /// An open proposal is given up after this.
    proposal: Duration,
    /// Between two attempts to move leadership to a better place.
    move_pause: Duration,
    read: ReadTimes,
    change: ChangeTimes,
}

fn millis(duration: Duration, what: &str) -> u64 {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    assert!(millis > 0, "{what} is below a millisecond");
    millis
}

impl Times {
    fn of(options: &Options) -> Self {
        let (shortest, longest) = options.election_timeout;
        Self {
            lease: longest,
            proposal: longest * 8,
            move_pause: longest * 4,
            read: ReadTimes {
                lease: shortened(longest, options.clock_drift_max_ppm),
                quorum: longest,
                overall: longest * 4,
                pause: options.heartbeat,
            },
            change: ChangeTimes {
                poll: options.heartbeat,
                catch_up: Duration::from_secs(60).max(longest * 20),
            },
        }
        .checked(shortest)
    }

    fn checked(self, shortest: Duration) -> Self {
        assert!(
            shortest < self.lease,
            "election timeouts must leave room to differ"
        );
        self
    }
}

impl Options {
    /// Options for a node of a local network: elections begin 450 to 600 ms after the leader was
    /// heard last, a heartbeat each 50 ms, clocks within 500 parts of a million, a snapshot each
    /// 64 MiB of log.
    #[must_use]
    pub fn new(node: NodeId) -> Self {
        Self {
            node,
            election_timeout: (Duration::from_millis(150), Duration::from_millis(300)),
            heartbeat: Duration::from_millis(50),
            clock_drift_max_ppm: 500,
            snapshot_log_bytes: 64 << 20,
            log_keep_entries: 1_000,
            log_lag_bytes_max: 256 << 20,
            append_bytes_max: 1 << 20,
            buggify: Buggify::default(),
            priority: BTreeMap::new(),
            shuffle_tasks: false,
            #[cfg(feature = "planted-bugs")]
            bug: None,
        }
    }

    fn config(&self) -> openraft::Config {
        let (shortest, longest) = self.election_timeout;
        #[cfg(feature = "planted-bugs")]
        let (shortest, longest) = match self.bug {
            Some(crate::planted::Bug::ElectionsLate) => (shortest * 8, longest * 8),
            _ => (shortest, longest),
        };
        let longest = millis(longest, "the longest election timeout");
        let config = openraft::Config {
            cluster_name: "mfsha".to_owned(),
            election_timeout_min: millis(shortest, "the shortest election timeout"),
            election_timeout_max: longest,
            heartbeat_interval: millis(self.heartbeat, "the heartbeat"),
            heartbeat_min_interval: Some(0),
            // A snapshot takes as long as it takes; the owner reports a failed transfer.
            install_snapshot_timeout: 24 * 3_600 * 1_000,
            max_payload_entries: APPEND_ENTRIES_MAX,
            max_append_entries: Some(APPEND_ENTRIES_MAX),
            snapshot_policy: SnapshotPolicy::Never,
            // openraft forgets a peer that is being sent a snapshot: see `maybe_purge`.
            max_in_snapshot_log_to_keep: u64::MAX,
            // Without it a leader that hears nobody keeps the others from electing (M11).
            quorum_loss_probe_interval: Some(longest * 3),
            enable_pre_vote: Some(true),
            // A restarted leader stands for election like anybody else.
            enable_leader_restore: Some(false),
            allow_log_reversion: Some(false),
            ..openraft::Config::default()
        };
        config
            .validate()
            .expect("election timeouts and heartbeat must be in proportion")
    }
}

impl RaftMachine {
    /// As [`Self::open`], over what is known to be right.
    ///
    /// # Panics
    /// As [`Self::open`], and when that gives an error.
    #[must_use]
    pub fn new(options: Options, recovered: Recovered, seed: Seed, now: Instant) -> Self {
        match Self::open(options, recovered, seed, now) {
            Ok(machine) => machine,
            Err(error) => panic!("the owner repairs its log before it builds the machine: {error}"),
        }
    }

    /// Builds the machine over the durable half of the node.
    ///
    /// `seed` must be another one for every life of the node: from it comes the number that tells
    /// replies to this life from replies to an earlier one.
    ///
    /// # Errors
    /// What [`Recovered::validate`] says; the owner repairs its log from a peer, or refuses to
    /// start.
    ///
    /// # Panics
    /// When the options contradict each other.
    pub fn open(
        options: Options,
        recovered: Recovered,
        seed: Seed,
        now: Instant,
    ) -> Result<Self, RecoverError> {
        assert!(
            options.append_bytes_max + limits::COMMAND_BYTES_MAX < limits::RECORD_BYTES_MAX / 2,
            "a message of entries must stay below the longest record"
        );
        #[cfg_attr(
            not(feature = "planted-bugs"),
            expect(unused_mut, reason = "only a bug put in on purpose changes it")
        )]
        let (mut log, repairs) = Log::recover(&recovered)?;
        // What was read is held by the log now.
        let applied = recovered.applied;
        drop(recovered.entries);
        #[cfg(feature = "planted-bugs")]
        if options.bug == Some(crate::planted::Bug::VoteNotPersisted) {
            log.forget_vote();
        }
        let promised = log
            .vote()
            .is_some_and(|vote| vote.committed && vote.leader_id.node != options.node);
        let life = seed.child("life").rng().next_u64();
        let shell = Shell::new(
            options.node,
            life,
            log,
            applied.clone(),
            #[cfg(feature = "planted-bugs")]
            options.bug,
        );
        shell.ask_all(repairs);
        let executor = Executor::new(seed, now, options.shuffle_tasks);
        let mut machine = Self {
            times: Times::of(&options),
            shell,
            executor,
            raft: None,
            metrics: None,
            quiet: Arc::new(AtomicBool::new(false)),
            reads: Arc::new(AtomicUsize::new(0)),
            changing: Arc::new(AtomicBool::new(false)),
            applied: applied.last,
            seen: Seen {
                role: Role::Learner,
                term: Term(0),
                leader: None,
            },
            role_told: false,
            asked_by: Arc::new(AtomicU64::new(0)),
            handing_to: None,
            quorum_at: None,
            leading_since: None,
            move_tried: None,
            snapshot_tried: LogIndex(0),
            snapshot_wanted: false,
            shorten: None,
            purge_due: None,
            stopped: None,
            now,
            options,
        };
        let shared = Arc::clone(machine.executor.shared());
        Executor::enter(&shared, || {
            machine.start(&applied);
            if promised {
                machine.keep_quiet();
            }
            machine.executor.run();
            machine.look();
        });
        Ok(machine)
    }

    /// What can be seen from outside.
    #[must_use]
    pub fn status(&self) -> Status {
        let log = self.shell.log();
        let shown = |vote: OVote| Ballot::of(&vote).shown();
        let mut status = Status {
            role: self.seen.role,
            term: self.seen.term,
            vote: log.vote().map(shown),
            vote_kept: log.vote_kept().map(shown),
            leader: self.seen.leader,
            last_log: log.last().as_ref().map(ours),
            committed: self.committed(&log).as_ref().map(ours),
            applied: self.applied,
            purged: log.purged().as_ref().map(ours),
            snapshot: self.shell.snapshot_last(),
            membership: super::Membership::default(),
            matched: BTreeMap::new(),
            log_bytes: log.bytes(),
        };
        drop(log);
        if let Some(metrics) = &self.metrics {
            let metrics = metrics.borrow_watched();
            status.membership = our_stored_membership(&metrics.membership_config);
            let matched = metrics.replication.iter().flatten();
            status.matched = matched
                .filter(|(node, _)| **node != self.options.node)
                .map(|(node, id)| (*node, id.as_ref().map(|id| ours(id).index)))
                .collect();
        }
        status
    }

    /// Whether this node leads and no other can: a majority has said so recently enough.
    #[must_use]
    pub fn holds_lease(&self) -> bool {
        let Some(metrics) = &self.metrics else {
            return false;
        };
        let metrics = metrics.borrow_watched();
        let acked = metrics.last_quorum_acked.as_deref().copied();
        let now = super::runtime::Moment::of(self.now);
        // Who votes alone asks nobody, and nobody acknowledges anything.
        let voters = our_stored_membership(&metrics.membership_config).voters;
        let alone = |voters: &BTreeSet<NodeId>| voters.iter().eq([&self.options.node]);
        metrics.state == ServerState::Leader
            && (voters.iter().all(alone) || acked.is_some_and(|at| now < at + self.times.lease))
    }

    /// Highest entry known to be committed here.
    ///
    /// openraft's core publishes what it knows when it has nothing left to do. While it waits for
    /// a vote to become durable it may have ordered entries or a snapshot that its metrics do not
    /// know of yet, and the task of the state machine has carried the order out.
    fn committed(&self, log: &Log) -> Option<OLogId> {
        let published = self.metrics.as_ref();
        let published = published.and_then(|metrics| metrics.borrow_watched().local_committed);
        published
            .max(log.committed())
            .max(checked(self.shell.snapshot_last()))
    }

    /// What was dropped so far, and why.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shell.counters()
    }

    /// Tasks and timers alive: neither may grow without bound.
    #[cfg(test)]
    pub(super) fn load(&self) -> (usize, usize) {
        (self.executor.task_count(), self.executor.timer_count())
    }

    // ---- start --------------------------------------------------------------------------------

    fn start(&mut self, applied: &AppliedState) {
        let config = Arc::new(self.options.config());
        let network = Network {
            shell: Arc::clone(&self.shell),
            patience: Patience {
                append: self.options.election_timeout.1,
                retry: (self.options.heartbeat / 2, self.options.election_timeout.0),
            },
        };
        let log = LogStore::new(Arc::clone(&self.shell), &self.options);
        let state = StateMachine::new(Arc::clone(&self.shell), applied);
        let started = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&started);
        let node = self.options.node;
        self.spawn(async move {
            let raft = Raft::new(node, config, network, log, state).await;
            *slot.lock().expect("the start holds this alone") = Some(raft);
        });
        self.executor.run();
        self.shell.started();
        let started = started.lock().expect("the start holds this alone").take();
        match started.expect("nothing that openraft does at the start waits") {
            Ok(raft) => {
                self.metrics = Some(raft.metrics());
                self.raft = Some(raft);
            }
            Err(fatal) => self.become_stopped(fatal.to_string()),
        }
    }

    /// A voter that followed a leader and restarts has forgotten until when it promised that
    /// leader its lease: for as long as that could be it neither votes nor asks for votes.
    /// openraft starts with an expired lease. Whoever voted for itself, or for one that was not
    /// yet seen to lead, had no promise left.
    fn keep_quiet(&mut self) {
        #[cfg(feature = "planted-bugs")]
        if self.shell.has(crate::planted::Bug::LeaseForgottenOnRestart) {
            return;
        }
        let Some(raft) = self.raft.clone() else {
            return;
        };
        self.quiet.store(true, Ordering::Relaxed);
        raft.runtime_config().elect(false);
        let quiet = Arc::clone(&self.quiet);
        let pause = lengthened(self.times.lease, self.options.clock_drift_max_ppm);
        self.spawn(async move {
            Runtime::sleep(pause).await;
            quiet.store(false, Ordering::Relaxed);
            raft.runtime_config().elect(true);
        });
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.executor.shared().spawn(Box::pin(task));
    }

    // ---- inputs -------------------------------------------------------------------------------

    fn on_input(&mut self, input: Input) {
        let Some(raft) = self.raft.clone().filter(|_| self.stopped.is_none()) else {
            self.on_input_stopped(input);
            return;
        };
        match input {
            Input::Tick => {}
            Input::Message { from, message } => self.on_message(raft, from, &message),
            Input::PeerLost { peer } => self.shell.on_peer_lost(peer),
            Input::Durable { write } => self.shell.on_durable(write),
            Input::Initialize { voters } => self.on_initialize(raft, voters),
            Input::Propose { proposal, command } => self.on_propose(raft, proposal, command),
            Input::Read { read, policy } => self.on_read(raft, read, policy),
            Input::ChangeMembership {
                proposal,
                voters,
                learners,
            } => self.on_change_membership(raft, proposal, voters, learners),
            Input::TransferLeadership { to } => self.on_transfer(to),
            Input::Priority { peer, priority } => {
                self.options.priority.insert(peer, priority);
            }
            Input::TakeSnapshot => self.snapshot_wanted = true,
            Input::ShortenLog => {
                self.snapshot_wanted = true;
                self.shorten = self.applied.map(|id| id.index);
                // Perhaps the last snapshot will do.
                self.allow_purge();
            }
            Input::Applied { through } => self.on_applied(through),
            Input::SnapshotBuilt { meta } => {
                self.shell.on_snapshot_built(meta);
                self.allow_purge();
            }
            Input::SnapshotSent { transfer, result } => {
                self.shell.on_snapshot_sent(transfer, result);
            }
            Input::SnapshotReceived {
                from,
                transfer,
                header,
                id,
            } => self.on_snapshot_received(raft, from, transfer, &header, id),
            Input::SnapshotInstalled { id } => {
                if let Some(last) = self.shell.on_snapshot_installed(id) {
                    self.applied = self.applied.max(Some(last));
                    self.shell.on_applied(last.index);
                }
            }
        }
    }

    /// A machine that has stopped answers whoever asks, and nothing else.
    fn on_input_stopped(&mut self, input: Input) {
        let error = RaftError::Stopped {
            reason: self.stopped.clone().unwrap_or_default(),
        };
        match input {
            Input::Propose { proposal, .. } | Input::ChangeMembership { proposal, .. } => {
                self.shell.ask(Effect::Proposed {
                    proposal,
                    result: Err(error),
                });
            }
            Input::Read { read, .. } => self.shell.ask(Effect::ReadReady {
                read,
                result: Err(error),
            }),
            _ => {}
        }
    }

    fn on_message(&mut self, raft: Raft, from: NodeId, bytes: &[u8]) {
        let message = match Message::decode(from, bytes) {
            Ok(message) => message,
            Err(Refusal::Malformed) => {
                self.shell.count(|counters| counters.malformed += 1);
                return;
            }
            Err(Refusal::Forged) => {
                self.shell.count(|counters| counters.forged += 1);
                return;
            }
        };
        match message {
            Message::Reply { life, id, body } => self.shell.on_reply(from, life, id, body),
            Message::Request { life, id, body } => self.on_request(raft, from, life, id, body),
        }
    }

    fn on_request(&mut self, raft: Raft, from: NodeId, life: u64, id: u64, body: Request) {
        let asks_vote = match &body {
            Request::PreVote { .. } => true,
            Request::Vote { transfer, .. } => !transfer,
            _ => false,
        };
        if asks_vote && self.quiet.load(Ordering::Relaxed) {
            self.shell.count(|counters| counters.quiet_votes += 1);
            return;
        }
        let Some(serving) = self.shell.serve(from) else {
            self.shell.count(|counters| counters.overloaded += 1);
            return;
        };
        let shell = Arc::clone(&self.shell);
        let times = self.times.read;
        let asked_by = matches!(body, Request::Transfer { to, .. } if to == self.options.node)
            .then(|| Arc::clone(&self.asked_by));
        if let Some(asked_by) = &asked_by {
            // Noted before: accepting it begins the election at once.
            asked_by.store(from.0, Ordering::Relaxed);
        }
        self.spawn(async move {
            let reply = serve(&raft, body, times).await;
            if let (Some(asked_by), false) =
                (asked_by, reply == Reply::Transfer(TransferReply::Accepted))
            {
                asked_by.store(0, Ordering::Relaxed);
            }
            let message = Message::Reply {
                life,
                id,
                body: reply,
            };
            shell.send(from, &message);
            drop(serving);
        });
    }

    fn on_initialize(&mut self, raft: Raft, voters: BTreeSet<NodeId>) {
        self.spawn(async move {
            // Refused when the group exists already, or without this node: then there is nothing
            // to do here.
            let _ = raft.initialize(voters).await;
        });
    }

    fn on_propose(&mut self, raft: Raft, proposal: ProposalId, command: Vec<u8>) {
        assert!(
            command.len() <= limits::COMMAND_BYTES_MAX,
            "a command is bounded before it is proposed"
        );
        if self.shell.proposal_count() >= PROPOSALS_MAX {
            self.shell.ask(Effect::Proposed {
                proposal,
                result: Err(RaftError::NoQuorum),
            });
            return;
        }
        self.shell
            .proposal_begins(proposal, self.now + self.times.proposal);
        let answer = answer_to(&self.shell, proposal);
        let shell = Arc::clone(&self.shell);
        let mut task: Task = Box::pin(async move {
            let command = Command(command.into());
            if let Err(fatal) = raft.client_write_ff(command, Some(answer)).await {
                shell.proposal_ends(
                    proposal,
                    Err(RaftError::Stopped {
                        reason: fatal.to_string(),
                    }),
                );
            }
        });
        // It only puts a message into a queue that has room: a task is the exception.
        let mut context = Context::from_waker(Waker::noop());
        if task.as_mut().poll(&mut context).is_pending() {
            self.executor.shared().spawn(task);
        }
    }

    fn on_read(&mut self, raft: Raft, read_id: ReadId, policy: ReadPolicy) {
        #[cfg(feature = "planted-bugs")]
        if self.on_read_planted(read_id, policy) {
            return;
        }
        if self.reads.load(Ordering::Relaxed) >= READS_MAX {
            self.shell.ask(Effect::ReadReady {
                read: read_id,
                result: Err(RaftError::NoQuorum),
            });
            return;
        }
        self.reads.fetch_add(1, Ordering::Relaxed);
        let reads = Arc::clone(&self.reads);
        let shell = Arc::clone(&self.shell);
        let (times, now) = (self.times.read, self.now);
        let policy = match policy {
            ReadPolicy::Lease if self.options.buggify.fires(Site::LeaseNotUsed) => {
                ReadPolicy::ReadIndex
            }
            policy => policy,
        };
        self.spawn(async move {
            let result = read(&raft, &shell, policy.into(), times, now).await;
            reads.fetch_sub(1, Ordering::Relaxed);
            shell.ask(Effect::ReadReady {
                read: read_id,
                result,
            });
        });
    }

    /// Bugs put in on purpose; says whether one has answered.
    #[cfg(feature = "planted-bugs")]
    fn on_read_planted(&mut self, read: ReadId, policy: ReadPolicy) -> bool {
        use crate::planted::Bug;
        let index = match self.shell.bug {
            Some(Bug::UncheckedRead) => self.applied.map_or(LogIndex(0), |id| id.index),
            Some(Bug::LeaseKeptTooLong) if policy == ReadPolicy::Lease => {
                let Some(metrics) = &self.metrics else {
                    return false;
                };
                let metrics = metrics.borrow_watched();
                let acked = metrics.last_quorum_acked.as_deref().copied();
                let trusted = acked.is_some_and(|at| {
                    super::runtime::Moment::of(self.now) < at + self.times.lease * 6
                });
                if metrics.state != ServerState::Leader || !trusted {
                    return false;
                }
                let committed = metrics.local_committed.as_ref();
                committed.map_or(LogIndex(0), |id| ours(id).index)
            }
            _ => return false,
        };
        self.shell.ask(Effect::ReadReady {
            read,
            result: Ok(index),
        });
        true
    }

    fn on_change_membership(
        &mut self,
        raft: Raft,
        proposal: ProposalId,
        voters: BTreeSet<NodeId>,
        learners: BTreeSet<NodeId>,
    ) {
        if self.changing.swap(true, Ordering::Relaxed) {
            self.shell.ask(Effect::Proposed {
                proposal,
                result: Err(RaftError::Refused {
                    reason: "another change is under way".to_owned(),
                }),
            });
            return;
        }
        let changing = Arc::clone(&self.changing);
        // No deadline: catching up takes as long as it takes; losing leadership ends it.
        self.shell.proposal_begins(proposal, Instant(u64::MAX));
        let shell = Arc::clone(&self.shell);
        let (times, node) = (self.times.change, self.options.node);
        self.spawn(async move {
            let result = change_membership(&raft, &shell, node, (voters, learners), times).await;
            changing.store(false, Ordering::Relaxed);
            shell.proposal_ends(proposal, result);
        });
    }

    fn on_transfer(&mut self, to: NodeId) {
        if self.can_lead(to) {
            self.transfer(to);
        }
    }

    fn on_applied(&mut self, through: LogId) {
        assert!(
            self.applied
                .is_none_or(|applied| applied.index <= through.index),
            "the owner applied up to {through:?} after {:?}",
            self.applied
        );
        self.applied = Some(through);
        self.shell.on_applied(through.index);
    }

    fn on_snapshot_received(
        &mut self,
        raft: Raft,
        from: NodeId,
        transfer: u64,
        header: &[u8],
        id: super::SnapshotId,
    ) {
        let shell = Arc::clone(&self.shell);
        let answer = move |shell: &Shell, answer: SnapshotAnswer| {
            shell.ask(Effect::SnapshotReply {
                to: from,
                transfer,
                answer: answer.encode(),
            });
        };
        let header = match SnapshotHeader::decode(from, header) {
            Ok(header) if !self.contradicts(&header) => header,
            Ok(_) | Err(Refusal::Malformed) => {
                shell.count(|counters| counters.malformed += 1);
                answer(&shell, SnapshotAnswer::Refused);
                return;
            }
            Err(Refusal::Forged) => {
                shell.count(|counters| counters.forged += 1);
                answer(&shell, SnapshotAnswer::Refused);
                return;
            }
        };
        self.spawn(async move {
            let snapshot = their_snapshot(&header.applied, Some(id));
            let result = raft
                .install_full_snapshot(header.ballot.vote(), snapshot)
                .await;
            match result {
                Ok(taken) => answer(&shell, SnapshotAnswer::Taken(Ballot::of(&taken.vote))),
                Err(_) => answer(&shell, SnapshotAnswer::Refused),
            }
        });
    }

    /// Whether a snapshot denies what is committed here; openraft would panic over it.
    fn contradicts(&self, header: &SnapshotHeader) -> bool {
        if self.metrics.is_none() {
            return true;
        }
        let committed = self.committed(&self.shell.log());
        let snapshot = checked(header.applied.last);
        snapshot > committed && snapshot.map(|id| id.index) <= committed.map(|id| id.index)
    }

    // ---- after every step ---------------------------------------------------------------------

    fn after_run(&mut self) {
        self.shell.expire_proposals(self.now);
        self.look();
        if self.stopped.is_some() {
            return;
        }
        let asked = [
            self.maybe_snapshot(),
            self.maybe_purge(),
            self.maybe_move_leadership(),
        ];
        if asked.contains(&true) {
            self.executor.run();
            self.look();
        }
    }

    /// Compares what openraft says of itself with what was seen before.
    fn look(&mut self) {
        let Some(metrics) = &self.metrics else {
            return;
        };
        let (seen, fatal) = {
            let metrics = metrics.borrow_watched();
            let role = match metrics.state {
                ServerState::Leader => Role::Leader,
                ServerState::Candidate => Role::Candidate,
                ServerState::Follower => Role::Follower,
                ServerState::Learner | ServerState::Shutdown => Role::Learner,
            };
            let seen = Seen {
                role,
                term: Term(metrics.current_term),
                leader: metrics.current_leader,
            };
            if let Some(at) = metrics.last_quorum_acked.as_deref() {
                self.quorum_at = Some(at.instant());
            }
            (seen, metrics.running_state.as_ref().err().cloned())
        };
        if let Some(fatal) = fatal {
            self.become_stopped(fatal.to_string());
        }
        let before = std::mem::replace(&mut self.seen, seen);
        if before == seen {
            return;
        }
        let led = before.role == Role::Leader;
        if led && (seen.role != Role::Leader || seen.term != before.term) {
            self.shell.proposals_lost(&RaftError::Unknown);
        }
        if seen.role != Role::Leader {
            self.leading_since = None;
        } else if self.leading_since.is_none() || seen.term != before.term {
            self.leading_since = Some(self.now);
        }
        let reason = RoleReason::of(before, seen, self.circumstances());
        self.role_told = true;
        if seen.role != Role::Candidate {
            self.asked_by.store(0, Ordering::Relaxed);
            self.quorum_at = None;
        }
        self.handing_to = None;
        self.shell.ask(Effect::RoleChanged {
            role: seen.role,
            term: seen.term,
            leader: seen.leader,
            reason,
        });
    }

    /// What bears on the change of role that was just seen.
    fn circumstances(&self) -> Circumstances {
        let asked_by = self.asked_by.load(Ordering::Relaxed);
        let handing = self.handing_to;
        // An attempt that came to nothing long ago is no reason any more.
        let handing = handing.filter(|(_, since)| self.now < *since + self.times.move_pause);
        Circumstances {
            first: !self.role_told,
            asked_by: (asked_by != 0).then_some(NodeId(asked_by)),
            handing_to: handing.map(|(to, _)| to),
            quorum_lost: self
                .quorum_at
                .is_some_and(|at| self.now >= at + self.times.lease),
        }
    }

    fn become_stopped(&mut self, reason: String) {
        if self.stopped.is_some() {
            return;
        }
        self.stopped = Some(reason.clone());
        self.shell.proposals_lost(&RaftError::Stopped {
            reason: reason.clone(),
        });
        self.shell.ask(Effect::Stopped { reason });
    }

    /// Asks for a snapshot when the applied part of the log behind the last one is large enough, or
    /// somebody wants one.
    fn maybe_snapshot(&mut self) -> bool {
        let Some(applied) = self.applied else {
            return false;
        };
        let tried = applied.index <= self.snapshot_tried && !self.snapshot_wanted;
        if tried || self.shell.is_building() {
            return false;
        }
        let snapshot = self.shell.snapshot_index();
        let asked = std::mem::take(&mut self.snapshot_wanted);
        let wanted = asked && snapshot < applied.index;
        if asked && !wanted {
            // After a restart nothing else would purge before the next snapshot, for which a full
            // log has no room.
            self.allow_purge();
            return false;
        }
        let behind = {
            let log = self.shell.log();
            log.bytes_after(snapshot)
                .saturating_sub(log.bytes_after(applied.index))
        };
        let early = || behind > 0 && self.options.buggify.fires(Site::SnapshotEarly);
        if behind <= self.options.snapshot_log_bytes && !wanted && !early() {
            return false;
        }
        let Some(raft) = self.raft.clone() else {
            return false;
        };
        self.snapshot_tried = applied.index;
        self.spawn(async move {
            // A stopped core has said so already.
            let _ = raft.trigger().snapshot().await;
        });
        true
    }

    /// What the durable state holds may leave the log, but for the entries that are to be kept.
    fn allow_purge(&mut self) {
        let snapshot = self.shell.snapshot_index().0;
        let through = snapshot.saturating_sub(self.options.log_keep_entries);
        self.purge_due = self.purge_due.max(Some(LogIndex(through)));
    }

    /// Drops what may leave the log, unless a peer that is there needs it and the log has room: a
    /// state takes long to be sent, and whoever has it would at once need the next one.
    fn maybe_purge(&mut self) -> bool {
        let Some(through) = self.purge_due else {
            return false;
        };
        let (purged, bytes) = {
            let log = self.shell.log();
            let purged = log.purged().map_or(0, |id| ours(&id).index.0);
            (LogIndex(purged), log.bytes())
        };
        let snapshot = self.shell.snapshot_index();
        let must = self.shorten.is_some_and(|index| index <= snapshot);
        // Entries that are few may stand in many segments, one of each life: then none is kept.
        let early = self.options.buggify.fires(Site::LogPurgedEarly);
        let through = if must || early { snapshot } else { through };
        let has_room = bytes <= self.options.log_lag_bytes_max && !early;
        if !must && has_room && self.is_needed(purged, through) {
            return false;
        }
        self.purge_due = None;
        self.shorten.take_if(|_| must);
        let Some(raft) = self.raft.clone().filter(|_| through > purged) else {
            return false;
        };
        // openraft counts from 0.
        let through = through.0.saturating_sub(1);
        self.spawn(async move {
            // A stopped core has said so already.
            let _ = raft.trigger().purge_log(through).await;
        });
        true
    }

    /// Whether this node leads and a peer that is being sent a state, or was heard of lately, needs
    /// entries up to `through` that are still here.
    fn is_needed(&self, purged: LogIndex, through: LogIndex) -> bool {
        let Some(metrics) = &self.metrics else {
            return false;
        };
        let metrics = metrics.borrow_watched();
        if metrics.state != ServerState::Leader {
            return false;
        }
        let patience = self.times.lease * LAG_PATIENCE;
        let heard = |peer: &NodeId| {
            let at = metrics.heartbeat.as_ref().and_then(|all| all.get(peer));
            let at = at.and_then(|at| at.as_deref().copied());
            at.is_some_and(|at| super::runtime::Moment::of(self.now) < at + patience)
        };
        let peers = metrics.replication.iter().flatten();
        let others = peers.filter(|(peer, _)| **peer != self.options.node);
        others.into_iter().any(|(peer, matched)| {
            let has = match self.shell.last_sent_to(*peer) {
                Some(last) => last,
                None if heard(peer) => LogIndex(matched.as_ref().map_or(0, |id| ours(id).index.0)),
                None => return false,
            };
            // Who lacks what is gone already is helped by a state alone.
            purged <= has && has < through
        })
    }

    /// Moves leadership to a voter with a higher priority, once this node has led for a while; a
    /// leader that was demoted to learner moves it to any voter.
    fn maybe_move_leadership(&mut self) -> bool {
        let Some(since) = self.leading_since else {
            return false;
        };
        let pause = self.times.move_pause;
        if self.now < since + pause || self.move_tried.is_some_and(|at| self.now < at + pause) {
            return false;
        }
        let Some(to) = self.better_leader() else {
            return false;
        };
        self.move_tried = Some(self.now);
        self.transfer(to);
        true
    }

    fn priority(&self, node: NodeId) -> u32 {
        self.options.priority.get(&node).copied().unwrap_or(0)
    }

    fn better_leader(&self) -> Option<NodeId> {
        let voters: BTreeSet<NodeId> = {
            let metrics = self.metrics.as_ref()?.borrow_watched();
            let membership = metrics.membership_config.membership();
            if membership.get_joint_config().len() != 1 {
                return None;
            }
            membership.voter_ids().collect()
        };
        let own = voters
            .contains(&self.options.node)
            .then(|| self.priority(self.options.node));
        if own.is_some() && self.options.priority.is_empty() {
            return None;
        }
        voters
            .into_iter()
            .filter(|voter| Some(self.priority(*voter)) > own && self.can_lead(*voter))
            .max_by_key(|voter| self.priority(*voter))
    }

    /// Whether this node leads and could hand over to `to`: a voter that answers and lacks little.
    /// openraft stops taking commands once a transfer has begun, so it begins only with a good
    /// prospect.
    fn can_lead(&self, to: NodeId) -> bool {
        let Some(metrics) = &self.metrics else {
            return false;
        };
        let metrics = metrics.borrow_watched();
        if metrics.state != ServerState::Leader || to == self.options.node {
            return false;
        }
        let membership = metrics.membership_config.membership();
        if !membership.voter_ids().any(|voter| voter == to) {
            return false;
        }
        let heard = metrics.heartbeat.as_ref().and_then(|all| all.get(&to));
        let heard = heard.and_then(|at| at.as_deref().copied());
        let recent = heard.is_some_and(|at| {
            super::runtime::Moment::of(self.now) < at + self.options.election_timeout.1
        });
        let matched = metrics.replication.as_ref().and_then(|all| all.get(&to));
        let matched = matched.and_then(|id| id.as_ref().map(|id| id.index + 1));
        let last = metrics.last_log_index.map_or(0, |index| index + 1);
        recent && matched.is_some_and(|matched| matched + CAUGHT_UP_ENTRIES >= last)
    }

    fn transfer(&mut self, to: NodeId) {
        let Some(raft) = self.raft.clone() else {
            return;
        };
        self.handing_to = Some((to, self.now));
        self.spawn(async move {
            // A stopped core has said so already.
            let _ = raft.trigger().transfer_leader(to).await;
        });
    }
}

/// Works on a peer's request.
async fn serve(raft: &Raft, body: Request, times: ReadTimes) -> Reply {
    match body {
        Request::PreVote { ballot, last_log } => {
            let request = VoteRequest::new(ballot.vote(), checked(last_log));
            vote_reply(raft.pre_vote(request).await)
        }
        Request::Vote {
            ballot,
            last_log,
            transfer,
        } => {
            let mut request = VoteRequest::new(ballot.vote(), checked(last_log));
            request.leadership_transfer = transfer;
            vote_reply(raft.vote(request).await)
        }
        Request::Append {
            ballot,
            prev,
            entries,
            committed,
        } => {
            let request = AppendEntriesRequest {
                vote: ballot.vote(),
                prev_log_id: checked(prev),
                entries: entries.into_iter().filter_map(WireEntry::entry).collect(),
                leader_commit: checked(committed),
            };
            match raft.append_entries(request).await {
                Ok(AppendEntriesResponse::Success) => Reply::Append(AppendReply::Success),
                Ok(AppendEntriesResponse::Conflict) => Reply::Append(AppendReply::Conflict),
                Ok(AppendEntriesResponse::HigherVote(vote)) => {
                    Reply::Append(AppendReply::Higher(Ballot::of(&vote)))
                }
                Ok(AppendEntriesResponse::PartialSuccess(_)) => {
                    unreachable!("openraft's own answer to an append is never partial")
                }
                Err(_) => Reply::Stopped,
            }
        }
        Request::Transfer {
            ballot,
            to,
            last_log,
        } => {
            let request = TransferLeaderRequest::new(ballot.vote(), to, checked(last_log));
            match raft.handle_transfer_leader(request).await {
                Ok(Ok(())) => Reply::Transfer(TransferReply::Accepted),
                Ok(Err(TransferLeaderError::VoteChanged { actual, .. })) => {
                    Reply::Transfer(TransferReply::VoteChanged(Ballot::of(&actual)))
                }
                Ok(Err(TransferLeaderError::LogNotFlushed { actual, .. })) => {
                    Reply::Transfer(TransferReply::NotFlushed(actual.as_ref().map(ours)))
                }
                Err(_) => Reply::Stopped,
            }
        }
        Request::Read { policy } => match read_here(raft, policy, times).await {
            Ok(index) => Reply::Read(Ok(index)),
            Err(Failure::NotLeader(leader)) => Reply::Read(Err(ReadRefusal::NotLeader { leader })),
            Err(Failure::NoQuorum) => Reply::Read(Err(ReadRefusal::NoQuorum)),
            Err(Failure::Stopped(_)) => Reply::Stopped,
        },
    }
}

fn vote_reply(result: Result<VoteResponse<Types>, ORaftError<Types>>) -> Reply {
    match result {
        Ok(response) => Reply::Vote {
            ballot: Ballot::of(&response.vote),
            granted: response.vote_granted,
            last_log: response.last_log_id.as_ref().map(ours),
        },
        Err(_) => Reply::Stopped,
    }
}

/// Carries the fate of a proposal out.
fn answer_to(shell: &Arc<Shell>, proposal: ProposalId) -> Answer<ClientWriteResult<Types>> {
    let (committed, failed) = (Arc::clone(shell), Arc::clone(shell));
    Answer {
        on_commit: Some(Box::new(move |id| {
            committed.proposal_ends(proposal, Ok(ours(&id)));
        })),
        on_complete: Box::new(move |result: ClientWriteResult<Types>| {
            if let Err(error) = result {
                failed.proposal_ends(proposal, Err(write_error(error)));
            }
        }),
    }
}

/// Our error for openraft's.
pub(super) fn write_error(error: ClientWriteError<Types>) -> RaftError {
    match error {
        ClientWriteError::ForwardToLeader(ForwardToLeader {
            reason: ForwardReason::LeaseExpired,
            ..
        }) => RaftError::NoQuorum,
        ClientWriteError::ForwardToLeader(forward) => RaftError::NotLeader {
            leader: forward.leader_id,
        },
        ClientWriteError::LogEntryDiscarded(_) => RaftError::Unknown,
        ClientWriteError::ChangeMembershipError(error) => RaftError::Refused {
            reason: error.to_string(),
        },
        ClientWriteError::PreconditionFailed(error) => RaftError::Refused {
            reason: error.to_string(),
        },
    }
}

impl Machine for RaftMachine {
    type Input = Input;
    type Effect = Effect;

    fn step(&mut self, now: Instant, input: Input, out: &mut Outbox<Effect>) {
        self.now = self.now.max(now);
        self.executor.set_now(self.now);
        let shared = Arc::clone(self.executor.shared());
        Executor::enter(&shared, || {
            self.on_input(input);
            self.executor.run();
            self.after_run();
        });
        for effect in self.shell.take_effects() {
            out.push(effect);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        if self.shell.has_effects() {
            // The start has left some.
            return Some(self.now);
        }
        if self.stopped.is_some() {
            return None;
        }
        let proposal = self.shell.proposal_deadline();
        [self.executor.deadline(), proposal]
            .into_iter()
            .flatten()
            .min()
    }

    fn check(&self) {
        let index = |id: Option<LogId>| id.map_or(0, |id| id.index.0);
        let mut log = self.shell.log();
        log.check();
        assert!(
            index(log.purged().as_ref().map(ours)) <= index(self.shell.snapshot_last()),
            "the log is purged beyond the durable snapshot"
        );
        if self.stopped.is_none() {
            assert!(
                index(self.applied) <= index(self.committed(&log).as_ref().map(ours)),
                "applied beyond committed"
            );
        }
        assert!(
            self.seen.role != Role::Leader || self.seen.leader == Some(self.options.node),
            "a leader knows that it leads"
        );
    }
}

impl Drop for RaftMachine {
    fn drop(&mut self) {
        let shared = Arc::clone(self.executor.shared());
        Executor::enter(&shared, || {
            self.metrics = None;
            self.raft = None;
            self.executor.clear();
        });
    }
}

/// A driver may own a machine on any thread.
const _: fn() = || {
    fn is_send<T: Send>() {}
    is_send::<RaftMachine>();
};
