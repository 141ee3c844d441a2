//! What happened in the world: the one list that the trace hashes and the checkers judge.

use std::sync::Arc;
use std::time::Duration;

use mfsha_core::chunks::{ConnId, Order};
use mfsha_core::id::{ChunkId, CsId, LogIndex, NodeId, SessionId, Term};
use mfsha_core::namespace::op::{Command, Notice, Outcome};
use mfsha_core::node::request::{NodeError, RequestBody, ResponseBody};
use mfsha_core::raft::{Membership, Role};
use mfsha_core::wal::record::LogId;

use crate::data::{DataFact, Trouble};
use crate::fault::Fault;
use crate::fleet::{Content, Stored};
use crate::mounts::About;
use crate::place::{Place, Seat};
use crate::stream::{Break, StreamId};

/// Which half of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Faults come and go; only safety is judged.
    Safety,
    /// A core of seats is healed; it has to elect, converge and serve within a bound.
    Liveness,
    /// The core has converged and nothing is asked any more: states are compared.
    Quiescent,
}

/// A request of a client, from its first attempt to its last answer. Rises with each new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallNumber(pub u64);

/// A message on the network. Rises with each new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageNumber(pub u64);

/// Why a node is not running any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The schedule killed the process.
    Killed,
    /// The schedule took its power.
    PowerLost,
    /// The schedule took its disk: it never comes back under its id.
    DiskLost,
    /// It stopped by itself, as it must after a fault of its disk, and said so.
    Stopped(String),
    /// It panicked: an invariant broke.
    Panicked(String),
    /// It refused to open what is on its disk.
    RefusedToOpen(String),
}

/// One entry that a node applied, as it applied it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedEntry {
    /// Which entry.
    pub id: LogId,
    /// What it said.
    pub payload: AppliedPayload,
    /// Metadata version of the node's state afterwards.
    pub version: u64,
}

/// What an applied entry said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppliedPayload {
    /// Nothing.
    Blank,
    /// A command of the tree, and what it came to.
    Command {
        /// The command.
        command: Arc<Command>,
        /// What applying it came to on this node.
        outcome: Arc<Outcome>,
    },
    /// A membership.
    Membership(Membership),
}

/// Why a message did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LossReason {
    /// By chance.
    Chance,
    /// The link was cut.
    Cut,
    /// Its connection was reset while it was on the way.
    Reset,
    /// Nobody was there.
    Down,
}

/// What happened to a planned fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultStage {
    /// It began.
    Begins,
    /// It ended.
    Ends,
    /// It was left out: the promises would not survive it now (fault atlas), or it means nothing.
    Skipped(&'static str),
}

/// Why a connection of a chunkserver ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Departure {
    /// It broke on the way, or an end of it died.
    Broke,
    /// The node closed it: it heard nothing for too long, or has no use for it.
    Closed,
    /// The chunkserver heard nothing for as long as it was told to wait.
    Silence,
    /// The chunkserver's registration was not answered.
    Late,
    /// The chunkserver was told to register again later.
    PutOff,
}

/// What the owner of a file says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileFact {
    /// It is there, and empty.
    Made,
    /// It is there, and holds what another does.
    CopyOf(u32),
    /// A write has begun: it may hold this as well.
    MayHold(u64),
    /// The write was acknowledged: it holds this and nothing else.
    Holds(u64),
    /// A truncate has begun: whatever it holds may be cut.
    MayBeCut,
    /// The truncate was acknowledged.
    Cut,
    /// It is there no more, or is about to be another.
    Gone,
}

/// Something that happened. Times are those of the world, beside the event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant says what its fields are")]
pub enum Event {
    /// A half of the run began.
    PhaseBegins { phase: Phase, core: Vec<Seat> },
    /// A node of the healed core leads, and no other of it has seen a later term.
    CoreLeads { after: Duration },
    /// Every client of the healed core has had a write and a read answered.
    CoreServes { after: Duration },
    /// Where only detection of damage is judged, the run ends here: nothing is healed.
    DetectionJudged,
    /// The healed core did not serve, or did not become one state, within its bound.
    CoreLate { what: String },
    /// A planned fault began, ended or was left out; `entry` is its number in the schedule.
    Fault {
        entry: u32,
        fault: Fault,
        stage: FaultStage,
    },

    /// A node runs. `life` counts the starts in its seat from 1; `applied` is what its checkpoint held.
    NodeStarted {
        seat: Seat,
        node: NodeId,
        life: u32,
        applied: LogIndex,
    },
    /// A node runs no more.
    NodeStopped {
        seat: Seat,
        node: NodeId,
        reason: StopReason,
    },
    /// A node stands still.
    NodePaused { seat: Seat, node: NodeId },
    /// A node goes on.
    NodeResumed { seat: Seat, node: NodeId },
    /// An operator admitted the node of a seat in place of one whose disk is gone: `new` may vote
    /// from now, `old` never again.
    NodeReplaced {
        seat: Seat,
        old: NodeId,
        new: NodeId,
    },

    /// Bytes went on the way: a message, or a piece of a stream. `hash` is the first half of their BLAKE3.
    Sent {
        message: MessageNumber,
        from: Place,
        to: Place,
        bytes: usize,
        hash: u64,
    },
    /// Bytes arrived. A message that was doubled arrives twice.
    Delivered {
        message: MessageNumber,
        from: Place,
        to: Place,
    },
    /// Bytes did not arrive.
    Lost {
        message: MessageNumber,
        from: Place,
        to: Place,
        reason: LossReason,
    },
    /// Bytes arrived with a bit flipped.
    Corrupted {
        message: MessageNumber,
        from: Place,
        seat: Seat,
    },
    /// A node was told that its connection with another is gone.
    PeerLost { seat: Seat, peer: NodeId },

    /// A process has begun to look for its peers, in a run over streams; its node follows.
    TransportStarted { seat: Seat, node: NodeId, life: u32 },
    /// A write of a node's identity has ended. `formed`: it says that the node is of a cluster.
    IdentityStored { seat: Seat, ok: bool, formed: bool },
    /// A stream was made; `from` has dialed.
    StreamOpened {
        stream: StreamId,
        from: Seat,
        to: Seat,
    },
    /// A transport gave its end of a stream up.
    StreamClosed {
        stream: StreamId,
        seat: Seat,
        reason: String,
    },
    /// A stream ended under a transport. Of the last record so many bytes had come.
    StreamBroken {
        stream: StreamId,
        seat: Seat,
        how: Break,
        torn_bytes: u64,
    },
    /// A transport has a connection to a peer. `amid_snapshot`: the one before broke while parts of
    /// a snapshot were sent.
    PeerUp {
        seat: Seat,
        peer: NodeId,
        amid_snapshot: bool,
    },
    /// A node gave its transport a message.
    Handed {
        seat: Seat,
        node: NodeId,
        to: NodeId,
        bulk: bool,
        bytes: usize,
        hash: u64,
    },
    /// A transport gave its node a message.
    Received {
        seat: Seat,
        node: NodeId,
        from: NodeId,
        bytes: usize,
        hash: u64,
    },
    /// What came to a transport made no sense.
    Nonsense { seat: Seat, node: NodeId },

    /// A flush was begun.
    FlushStarted { seat: Seat, flush: u64 },
    /// A flush ended.
    FlushEnded { seat: Seat, flush: u64, ok: bool },
    /// A checkpoint was begun.
    CheckpointStarted { seat: Seat, checkpoint: u64 },
    /// A checkpoint ended.
    CheckpointEnded {
        seat: Seat,
        checkpoint: u64,
        ok: bool,
    },
    /// What a power loss did to what was not flushed.
    DiskCrashed { seat: Seat, summary: String },

    /// A node's role or leader changed.
    RoleChanged {
        seat: Seat,
        node: NodeId,
        role: Role,
        term: Term,
        leader: Option<NodeId>,
    },
    /// A node applied an entry. After a restart it applies again what its checkpoint lacked.
    Applied {
        seat: Seat,
        node: NodeId,
        life: u32,
        entry: AppliedEntry,
    },
    /// A node replaced its state by a leader's snapshot, which holds everything up to `applied`.
    SnapshotInstalled {
        seat: Seat,
        node: NodeId,
        applied: LogIndex,
    },
    /// A node tells its operator.
    Report {
        seat: Seat,
        node: NodeId,
        message: String,
    },

    /// A client wants something: the interval of its call begins here.
    Invoked {
        call: CallNumber,
        client: u16,
        body: RequestBody,
    },
    /// The client sends it to a node. Attempts of one call carry the same request.
    Attempted {
        call: CallNumber,
        client: u16,
        node: NodeId,
        attempt: u32,
    },
    /// A node answered an attempt with an error, and the client will try again.
    Refused {
        call: CallNumber,
        client: u16,
        node: NodeId,
        error: NodeError,
    },
    /// The client has its answer: the interval ends here. `Err` only for requests that no
    /// repetition helps.
    Returned {
        call: CallNumber,
        client: u16,
        node: NodeId,
        attempt: u32,
        result: Result<ResponseBody, NodeError>,
    },
    /// The client asks no more; whether the call takes effect is open, and its interval too.
    GaveUp { call: CallNumber, client: u16 },

    /// A chunkserver runs.
    ServerStarted { server: u8 },
    /// A chunkserver told its node that it stops, and means to come back.
    ServerSaidThatItStops { server: u8 },
    /// A chunkserver runs no more; its disk is whole.
    ServerStopped { server: u8 },
    /// A node took a chunkserver in.
    ServerJoined {
        server: u8,
        seat: Seat,
        csid: CsId,
        registration: u64,
    },
    /// A connection of a chunkserver ended: nothing passes, and both ends will hear of it.
    ServerLeft {
        server: u8,
        seat: Seat,
        why: Departure,
    },
    /// A node gave a chunkserver an order, as the leader of this term said.
    ChunkOrdered {
        seat: Seat,
        server: u8,
        conn: ConnId,
        term: Term,
        order: Order,
    },
    /// A chunkserver carried an order out, or could not.
    ChunkDone {
        server: u8,
        term: Term,
        order: Order,
        done: bool,
    },
    /// What is on a chunkserver's disk of a chunk now.
    CopyChanged {
        server: u8,
        chunk: ChunkId,
        copy: Option<Stored>,
    },
    /// A node told how much space all chunkservers have.
    SpaceTold {
        seat: Seat,
        node: NodeId,
        total: u64,
        free: u64,
        servers: usize,
    },
    /// The owner of a file says what it may hold from now.
    FileSaid { file: u32, fact: FileFact },
    /// Somebody begins to read a file.
    ReadBegan { read: u64, file: u32 },
    /// It read this of a chunkserver's copy, or of a hole; or nothing.
    ReadEnded {
        read: u64,
        file: u32,
        content: Option<Content>,
        from: Option<(u8, ChunkId, u32)>,
    },

    /// A mount was told what came of its registration; status 0 is none.
    MountRegistered {
        mount: u8,
        session: Option<SessionId>,
        status: u8,
    },
    /// A mount has a connection, and registers on it.
    MountConnected { mount: u8, seat: Seat },
    /// A connection of a mount broke, or was closed.
    MountLeft { mount: u8, seat: Seat },
    /// A thread of a mount was answered. `wrong`: which promise is broken by that, and how.
    MountTold {
        mount: u8,
        thread: u32,
        call: &'static str,
        wrong: Option<(About, String)>,
    },
    /// A mount has the lock that all want, or gives it back.
    MountLocked { mount: u8, held: bool },

    /// A mount says what it does with the data of a file.
    DataSaid {
        mount: u8,
        thread: u32,
        fact: DataFact,
    },
    /// Data of a mount did not get through its chain, for what happened at this chunkserver.
    /// `some`: one of the chain had written it already.
    ChainBroke {
        mount: u8,
        server: u8,
        chunk: ChunkId,
        version: u32,
        why: Trouble,
        some: bool,
    },
    /// A chunkserver gave a mount nothing to read.
    FetchRefused {
        mount: u8,
        server: u8,
        chunk: ChunkId,
        version: u32,
        why: Trouble,
    },

    /// A leader told others what a command changed.
    Noticed {
        seat: Seat,
        node: NodeId,
        term: Term,
        index: LogIndex,
        notices: Vec<Notice>,
    },
}
