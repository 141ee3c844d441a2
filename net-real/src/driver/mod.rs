//! The thread that owns a node: waits for the first thing that happens, hands it to the machine,
//! carries out what the machine asks for. It decides nothing.
//!
//! What the node asks for leaves through [`World`]: peers, clients, logs and metrics. Flushes and
//! checkpoints run on threads of the disk and of the store, whose reports come back as events.

mod clock;
mod role;
#[cfg(test)]
mod tests;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant as SystemInstant};

use mfsha_core::chunks::{ChunkWish, ConnId, Order, Report};
use mfsha_core::disk::{Disk, DiskError, FlushId};
use mfsha_core::id::{LogIndex, NodeId, SessionId};
use mfsha_core::machine::{Machine, Outbox};
use mfsha_core::membership::Membership;
use mfsha_core::namespace::op::{Notice, Op, RequestId};
use mfsha_core::native::admin::ChunkserverStatus;
use mfsha_core::native::inspect::Inspect;
use mfsha_core::native::request::{CallId, ClientId, NodeStatus, Request, Response};
use mfsha_core::node::{Effect, Event, Input, Node, Tuning};
use mfsha_core::raft;
use mfsha_core::store::{CheckpointId, StateStore, StateView, StoreError};
use mfsha_core::transport::Class;
use tokio::sync::oneshot;

use crate::mailbox::{Nothing, Receiver, Sender, mailbox};

pub use clock::Clock;
pub use role::RoleChange;

/// Bytes of peer messages that may wait for the node's thread; more are dropped and counted, as a
/// network would: whoever sent them sends again.
const INBOX_BYTES_MAX: usize = 64 << 20;
/// A step that takes longer than this is worth a line: it holds heartbeats up.
const SLOW_STEP: Duration = Duration::from_millis(100);
/// The invariants of the machines are checked this often.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// What a node wants of the world around it. Called on the node's thread; must not block.
pub trait World: Send + 'static {
    /// Bytes for a peer; may be lost.
    fn send(&mut self, to: NodeId, class: Class, message: Vec<u8>);

    /// An answer for a client, which may be gone.
    fn reply(&mut self, client: ClientId, response: Response);

    /// A chunkserver that is connected here has to do something.
    fn order(&mut self, conn: ConnId, order: Order);

    /// A chunkserver's connection is of no use any more.
    fn unseat(&mut self, conn: ConnId, reason: String);

    /// Something happened that logs and metrics want to know.
    fn note(&mut self, note: Note<'_>);
}

/// What logs and metrics want to know of a node.
#[derive(Debug)]
pub enum Note<'a> {
    /// The node is open; its thread goes on from here.
    Began,
    /// The state names other members than before.
    Members(Membership),
    /// The cluster's number, when it brought one along.
    Numbered {
        /// The number.
        metaid: Option<u64>,
    },
    /// The role, the term or the known leader changed.
    Role(RoleChange),
    /// A command was applied.
    Applied {
        /// Log index.
        index: LogIndex,
        /// Metadata version afterwards.
        version: u64,
    },
    /// The state was replaced by a peer's.
    StateReplaced {
        /// It holds everything up to here.
        applied: LogIndex,
    },
    /// A flush has ended.
    Flushed {
        /// How long it took.
        took: Duration,
        /// Whether it went well.
        good: bool,
    },
    /// A checkpoint has ended.
    Checkpointed {
        /// How long it took.
        took: Duration,
        /// Whether it went well.
        good: bool,
    },
    /// One step of the machine.
    Step {
        /// How long it took.
        took: Duration,
    },
    /// That step held everything up.
    Slow {
        /// How long it took.
        took: Duration,
    },
    /// Something an operator has to know.
    Report(&'a str),
    /// An order for chunkservers, or news for other clients.
    Others,
    /// Space on chunkservers is another now.
    Space {
        /// Bytes on chunkservers.
        total: u64,
        /// Bytes of them that are free.
        free: u64,
    },
    /// What a command changed, for who is connected here.
    News {
        /// Log index of the command.
        index: LogIndex,
        /// The session whose own client changed data by it.
        by: Option<SessionId>,
        /// The news.
        notices: Vec<Notice>,
    },
    /// Copies of chunks are at other chunkservers than before.
    CopiesMoved,
}

/// How a node stands, seen from its own thread.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// As clients see it.
    pub status: NodeStatus,
    /// Consensus; `None` while the node heals or has stopped.
    pub raft: Option<raft::Status>,
    /// Metadata version.
    pub version: u64,
    /// Index that the last finished checkpoint holds.
    pub checkpoint: LogIndex,
}

/// Something for the node's thread.
enum Work {
    Event(Event),
    Inspect(oneshot::Sender<Inspection>),
    Chunkservers(oneshot::Sender<Result<Vec<ChunkserverStatus>, StoreError>>),
    View(oneshot::Sender<View>),
    Stop,
}

/// A state of one moment, to read from on any thread.
pub type View = Box<dyn StateView + Send>;

/// The way to a node's thread, for any other thread.
#[derive(Clone)]
pub struct NodeHandle {
    work: Sender<Work>,
    inbox_bytes: Arc<AtomicUsize>,
    dropped: Arc<AtomicU64>,
}

#[cfg(test)]
impl NodeHandle {
    /// A handle of a node that has ended.
    pub(crate) fn of_nobody() -> Self {
        Self {
            work: mailbox().0,
            inbox_bytes: Arc::default(),
            dropped: Arc::default(),
        }
    }
}

impl NodeHandle {
    fn event(&self, event: Event) {
        // A node that has ended needs to hear nothing.
        let _ = self.work.send(Work::Event(event));
    }

    /// A peer's bytes. Dropped, and counted, when too much waits already.
    pub fn deliver(&self, from: NodeId, message: Vec<u8>) {
        let bytes = message.len();
        if self.inbox_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > INBOX_BYTES_MAX {
            self.inbox_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.event(Event::Message { from, message });
    }

    /// There is a connection to a peer, which said how well it is placed.
    pub fn peer_up(&self, peer: NodeId, priority: u32) {
        self.event(Event::PeerUp { peer, priority });
    }

    /// The connection to a peer is gone.
    pub fn peer_lost(&self, peer: NodeId) {
        self.event(Event::PeerLost { peer });
    }

    /// A client asks. Who calls this bounds how many of its requests are under way.
    pub fn request(&self, client: ClientId, request: Request) {
        self.event(Event::Request { client, request });
    }

    /// A face of this node asks; see [`Event::Ask`]. Who calls this bounds how much of it is under
    /// way.
    pub fn ask(&self, client: ClientId, request: Request) {
        self.event(Event::Ask { client, request });
    }

    /// A face of this node writes; see [`Event::AskWrite`].
    pub fn ask_write(&self, client: ClientId, call: CallId, request: RequestId, op: Box<Op>) {
        self.event(Event::AskWrite {
            client,
            call,
            request,
            op,
        });
    }

    /// A face of this node wishes something of chunks; see [`Event::AskChunk`].
    pub fn ask_chunk(&self, client: ClientId, call: CallId, wish: ChunkWish) {
        self.event(Event::AskChunk { client, call, wish });
    }

    /// A face of this node looks at the whole; see [`Event::Inspect`].
    pub fn ask_inspect(&self, client: ClientId, call: CallId, what: Inspect) {
        self.event(Event::Inspect { client, call, what });
    }

    /// A chunkserver that is connected here says something. It is heard however much waits: what
    /// chunkservers say is what the node knows of copies.
    pub fn chunkserver(&self, conn: ConnId, report: Report) {
        self.event(Event::Chunkserver { conn, report });
    }

    /// Some options are otherwise from here on.
    pub fn tune(&self, tuning: Tuning) {
        self.event(Event::Tuned { tuning });
    }

    /// A client's connection is gone.
    pub fn client_gone(&self, client: ClientId) {
        self.event(Event::ClientGone { client });
    }

    /// A flush has ended.
    pub fn flushed(&self, flush: FlushId, result: Result<(), DiskError>) {
        self.event(Event::Flushed { flush, result });
    }

    /// A checkpoint has ended.
    pub fn checkpointed(&self, checkpoint: CheckpointId, result: Result<(), StoreError>) {
        self.event(Event::Checkpointed { checkpoint, result });
    }

    /// How the node stands; `None` when its thread has ended.
    pub async fn inspect(&self) -> Option<Inspection> {
        let (answer, wait) = oneshot::channel();
        self.work.send(Work::Inspect(answer)).ok()?;
        wait.await.ok()
    }

    /// Chunkservers, and what the node hears of them; `None` when its thread has ended.
    pub async fn chunkservers(&self) -> Option<Result<Vec<ChunkserverStatus>, StoreError>> {
        let (answer, wait) = oneshot::channel();
        self.work.send(Work::Chunkservers(answer)).ok()?;
        wait.await.ok()
    }

    /// The node's state as it is now; `None` when its thread has ended.
    pub async fn view(&self) -> Option<View> {
        let (answer, wait) = oneshot::channel();
        self.work.send(Work::View(answer)).ok()?;
        wait.await.ok()
    }

    /// Ends the node's thread after what it has been given so far.
    pub fn stop(&self) {
        let _ = self.work.send(Work::Stop);
    }

    /// Peer messages that were dropped because too much waited.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Why a node's thread has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to.
    Asked,
    /// A fault made the node stop serving.
    Fault(String),
    /// It could not start.
    Refused(Refused),
    /// A bug: its thread panicked.
    Panicked,
}

/// Why a node could not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What is wrong, and what to do.
    pub reason: String,
    /// What the process exits with.
    pub code: u8,
}

/// Starts the thread. `open` builds the node there, which may take long (it replays the log);
/// `ended` is called on it at the very end, when disk and store are closed.
///
/// # Errors
/// When the system gives no thread.
pub fn spawn<D, S, W>(
    clock: Clock,
    world: W,
    open: impl FnOnce(&NodeHandle, &Clock) -> Result<Node<D, S>, Refused> + Send + 'static,
    ended: impl FnOnce(Ended) + Send + 'static,
) -> std::io::Result<(NodeHandle, JoinHandle<()>)>
where
    D: Disk + 'static,
    S: StateStore + 'static,
    W: World,
{
    let (work, inbox) = mailbox();
    let handle = NodeHandle {
        work,
        inbox_bytes: Arc::default(),
        dropped: Arc::default(),
    };
    let own = handle.clone();
    let thread = std::thread::Builder::new()
        .name("node".into())
        .spawn(move || {
            // Whatever happens in there, the process has to hear that it is over.
            let how = std::panic::catch_unwind(AssertUnwindSafe(|| {
                let node = match open(&own, &clock) {
                    Ok(node) => node,
                    Err(refused) => return Ended::Refused(refused),
                };
                let driver = Driver {
                    node,
                    clock,
                    world,
                    inbox_bytes: Arc::clone(&own.inbox_bytes),
                    role: role::RoleLog::new(SystemInstant::now()),
                    flush_began: None,
                    checkpoint_began: None,
                    ticked: false,
                    stopped: None,
                };
                driver.run(&inbox)
            }));
            ended(how.unwrap_or(Ended::Panicked));
        })?;
    Ok((handle, thread))
}

struct Driver<D, S: StateStore, W> {
    node: Node<D, S>,
    clock: Clock,
    world: W,
    inbox_bytes: Arc<AtomicUsize>,
    role: role::RoleLog,
    flush_began: Option<SystemInstant>,
    checkpoint_began: Option<SystemInstant>,
    /// The last thing that happened was that a deadline had passed.
    ticked: bool,
    stopped: Option<String>,
}

impl<D: Disk, S: StateStore, W: World> Driver<D, S, W> {
    fn run(mut self, inbox: &Receiver<Work>) -> Ended {
        let mut out = Outbox::new();
        let mut checked = SystemInstant::now();
        self.world.note(Note::Began);
        loop {
            let work = self.wait(inbox);
            self.ticked = work.is_none();
            match work {
                Some(Work::Event(event)) => self.step(event, &mut out),
                Some(Work::Inspect(answer)) => {
                    // Whoever asked may have given up.
                    let _ = answer.send(self.inspect());
                }
                Some(Work::Chunkservers(answer)) => {
                    let _ = answer.send(self.node.chunkservers());
                }
                Some(Work::View(answer)) => {
                    let view = self.node.namespace().store().snapshot();
                    let _ = answer.send(Box::new(view));
                }
                Some(Work::Stop) => return Ended::Asked,
                None => self.step(Event::Tick, &mut out),
            }
            if let Some(reason) = self.stopped.take() {
                return Ended::Fault(reason);
            }
            if checked.elapsed() > CHECK_INTERVAL {
                self.node.check();
                checked = SystemInstant::now();
            }
        }
    }

    /// The next thing that happens; `None` when a deadline has passed. A deadline goes first, so
    /// that a flood of messages never holds a timer up; but not twice in a row while something
    /// waits, so that a node with much to do, which replays its log, still hears of everything.
    fn wait(&self, inbox: &Receiver<Work>) -> Option<Work> {
        let gone = Work::Stop;
        let Some(deadline) = self.node.deadline() else {
            return Some(inbox.receive().unwrap_or(gone));
        };
        let left = deadline.since(self.clock.now());
        if left.is_zero() {
            return self.ticked.then(|| inbox.receive_now()).flatten();
        }
        match inbox.receive_within(left) {
            Ok(work) => Some(work),
            Err(Nothing::Yet) => None,
            Err(Nothing::Ever) => Some(gone),
        }
    }

    fn step(&mut self, event: Event, out: &mut Outbox<Effect>) {
        self.on_event(&event);
        let began = SystemInstant::now();
        let input = Input {
            wall_us: self.clock.wall_us(),
            event,
        };
        self.node.step(self.clock.now(), input, out);
        let effects: Vec<_> = out.drain().collect();
        for effect in effects {
            self.carry_out(effect);
        }
        let took = began.elapsed();
        self.world.note(Note::Step { took });
        if took > SLOW_STEP {
            self.world.note(Note::Slow { took });
        }
    }

    fn on_event(&mut self, event: &Event) {
        match event {
            Event::Message { message, .. } => {
                self.inbox_bytes.fetch_sub(message.len(), Ordering::Relaxed);
            }
            Event::Flushed { result, .. } => {
                let took = self.flush_began.take().map(|at| at.elapsed());
                self.world.note(Note::Flushed {
                    took: took.unwrap_or_default(),
                    good: result.is_ok(),
                });
            }
            Event::Checkpointed { result, .. } => {
                let took = self.checkpoint_began.take().map(|at| at.elapsed());
                self.world.note(Note::Checkpointed {
                    took: took.unwrap_or_default(),
                    good: result.is_ok(),
                });
            }
            _ => {}
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Send { to, class, message } => self.world.send(to, class, message),
            Effect::Reply { client, response } => self.world.reply(client, response),
            Effect::FlushStarted { .. } => self.flush_began = Some(SystemInstant::now()),
            Effect::CheckpointStarted { .. } => self.checkpoint_began = Some(SystemInstant::now()),
            Effect::Applied { index, version } => {
                self.world.note(Note::Applied { index, version });
            }
            Effect::StateReplaced { applied } => self.world.note(Note::StateReplaced { applied }),
            Effect::MembersChanged { membership } => self.world.note(Note::Members(membership)),
            Effect::Numbered { metaid } => self.world.note(Note::Numbered { metaid }),
            Effect::RoleChanged {
                group,
                role,
                term,
                leader,
                reason,
            } => {
                let change = self.role.on_change(group, role, term, leader, reason);
                self.world.note(Note::Role(change));
            }
            Effect::Report { message } => self.world.note(Note::Report(&message)),
            Effect::Order { conn, order, .. } => self.world.order(conn, order),
            Effect::Unseat { conn, reason } => self.world.unseat(conn, reason),
            Effect::Notices { .. } => self.world.note(Note::Others),
            Effect::Space { total, free, .. } => self.world.note(Note::Space { total, free }),
            Effect::News { index, by, notices } => {
                self.world.note(Note::News { index, by, notices });
            }
            Effect::CopiesMoved => self.world.note(Note::CopiesMoved),
            Effect::Stopped { reason } => self.stopped = Some(reason),
        }
    }

    fn inspect(&self) -> Inspection {
        Inspection {
            status: self.node.status(),
            raft: self.node.raft_status(),
            version: self.node.namespace().version(),
            checkpoint: self.node.checkpointed(),
        }
    }
}
