//! One node: its consensus machine, log, state and requests, composed.
//!
//! A node owns its disk and its state store and writes to them itself; what finishes later
//! (flushes, checkpoints) comes back as events. Everything else goes out as effects.

mod ask;
mod chunks;
mod consensus;
mod damage;
mod founding;
#[cfg(feature = "fuzzing")]
mod fuzz;
mod inspect;
mod machine;
mod observe;
mod options;
mod peer;
mod pending;
mod repair;
mod serve;
mod sessions;
mod snapshots;
#[cfg(test)]
mod tests;
mod transfer;

use crate::chunks::{ChunkWish, ConnId, Order, Report};
use crate::disk::{DiskError, FlushId};
use crate::id::{GroupId, LogIndex, NodeId, SessionId, Term};
use crate::membership::Membership;
use crate::namespace::op::{Notice, Op, RequestId};
use crate::native::inspect::Inspect;
use crate::native::request::{CallId, ClientId, Request, Response};
use crate::raft::{Role, RoleReason};
use crate::store::{CheckpointId, StoreError};
use crate::transport::Class;

pub use crate::native::request;
pub use founding::note_of_founder;
#[cfg(feature = "fuzzing")]
pub use fuzz::fuzz_message;
pub use machine::{Node, OpenError};
pub use observe::{Observed, ObservedPayload};
pub use options::{Options, Tuning};

/// Something that happened, and what the node's wall clock said then.
#[derive(Clone, Debug)]
pub struct Input {
    /// Microseconds since 1970 by this node's own clock, which may be wrong and may jump. Used
    /// for stamps and times of files, never for consensus.
    pub wall_us: u64,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A deadline may have passed.
    Tick,
    /// A peer's bytes, as its [`Effect::Send`] made them.
    Message {
        /// The peer, as the transport authenticated it.
        from: NodeId,
        /// What it sent.
        message: Vec<u8>,
    },
    /// The transport has a connection to the peer, and the peer said how well it is placed.
    PeerUp {
        /// The peer.
        peer: NodeId,
        /// Its priority: leadership moves to a caught-up voter with a higher one.
        priority: u32,
    },
    /// The transport lost its connection to the peer: what was on the way may be gone.
    PeerLost {
        /// The peer.
        peer: NodeId,
    },
    /// A flush that the node began on its disk has ended.
    Flushed {
        /// Which.
        flush: FlushId,
        /// How.
        result: Result<(), DiskError>,
    },
    /// A checkpoint that the node began in its store has ended.
    Checkpointed {
        /// Which.
        checkpoint: CheckpointId,
        /// How.
        result: Result<(), StoreError>,
    },
    /// A client asks.
    Request {
        /// Who.
        client: ClientId,
        /// What.
        request: Request,
    },
    /// A face of this node asks for a client that knows no leader: a write goes to whoever leads,
    /// and both writes and reads are asked again until they have an outcome. Answered like a
    /// request, once. A write of session 0 is not remembered, so it may take effect more than once.
    Ask {
        /// Who.
        client: ClientId,
        /// What.
        request: Request,
    },
    /// The same for a write that the face numbers for its client.
    AskWrite {
        /// Who.
        client: ClientId,
        /// The request's name on that connection.
        call: CallId,
        /// Its name in the replicated state.
        request: RequestId,
        /// What to do.
        op: Box<Op>,
    },
    /// A chunkserver that is connected to this node says something.
    Chunkserver {
        /// Its connection.
        conn: ConnId,
        /// What.
        report: Report,
    },
    /// A face wishes something of chunks. Answered like a request, once.
    AskChunk {
        /// Who.
        client: ClientId,
        /// The request's name on that connection.
        call: CallId,
        /// What.
        wish: ChunkWish,
    },
    /// A face looks at the whole, as this node knows it. Answered like a request, once.
    Inspect {
        /// Who.
        client: ClientId,
        /// The request's name on that connection.
        call: CallId,
        /// At what.
        what: Inspect,
    },
    /// An operator wants some options otherwise than they were.
    Tuned {
        /// As they are from here on.
        tuning: Tuning,
    },
    /// A client's connection is gone; its answers need not be sent.
    ClientGone {
        /// Who.
        client: ClientId,
    },
}

/// Something the world is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send bytes to a peer. May be lost, delayed, repeated, reordered.
    Send {
        /// The peer.
        to: NodeId,
        /// How urgent it is.
        class: Class,
        /// What to send.
        message: Vec<u8>,
    },
    /// Answer a client.
    Reply {
        /// Who.
        client: ClientId,
        /// What.
        response: Response,
    },
    /// A flush was begun on the disk; its end is awaited as [`Event::Flushed`].
    FlushStarted {
        /// Which.
        flush: FlushId,
    },
    /// A checkpoint was begun in the store; its end is awaited as [`Event::Checkpointed`].
    CheckpointStarted {
        /// Which.
        checkpoint: CheckpointId,
    },
    /// A chunkserver that is connected to this node has to do something.
    Order {
        /// Its connection.
        conn: ConnId,
        /// Term of the leader that gave the order.
        term: Term,
        /// What to do.
        order: Order,
    },
    /// A chunkserver's connection is of no use any more: it has registered elsewhere since.
    Unseat {
        /// Its connection.
        conn: ConnId,
        /// Why, for the log.
        reason: String,
    },
    /// Space on chunkservers is another now.
    Space {
        /// Bytes that they have.
        total: u64,
        /// Bytes of them that are free.
        free: u64,
        /// Chunkservers that are there.
        servers: usize,
    },
    /// Somebody else has to be told what a command changed. Sent by the leader alone.
    Notices {
        /// Term of the leader.
        term: Term,
        /// Log index of the command.
        index: LogIndex,
        /// What to tell, in order.
        notices: Vec<Notice>,
    },
    /// What a command changed, as this replica applied it: for who is connected here. Only with
    /// [`Options::news`].
    News {
        /// Log index of the command.
        index: LogIndex,
        /// The session whose own client changed data by it ([`Op::writer`]).
        by: Option<SessionId>,
        /// What to tell, in order; never empty.
        notices: Vec<Notice>,
    },
    /// A chunkserver is gone, or all that have registered have named their copies now: who was told
    /// where chunks are has to ask anew. Only with [`Options::news`].
    CopiesMoved,
    /// A command was applied here: for checkers and metrics, on every replica.
    Applied {
        /// Log index.
        index: LogIndex,
        /// Metadata version afterwards.
        version: u64,
    },
    /// The state was replaced by a peer's, which holds everything up to this index.
    StateReplaced {
        /// The index.
        applied: LogIndex,
    },
    /// The state names other members than before: whom the transport should know.
    MembersChanged {
        /// As the applied log has them.
        membership: Membership,
    },
    /// By which number clients and chunkservers of MooseFS know the cluster: the one that it was
    /// imported with, or none. Told once, as soon as this node's state is of its cluster; before that
    /// nobody may be served by a number.
    Numbered {
        /// The number.
        metaid: Option<u64>,
    },
    /// The role or the known leader changed: one line of the node's log.
    RoleChanged {
        /// Group.
        group: GroupId,
        /// As it is now.
        role: Role,
        /// In which term.
        term: Term,
        /// Who leads.
        leader: Option<NodeId>,
        /// Why.
        reason: RoleReason,
    },
    /// Something an operator has to know (damage found, repaired, a peer's nonsense dropped).
    Report {
        /// What, as a sentence.
        message: String,
    },
    /// The node has stopped serving after a fault and says why; the driver ends it.
    Stopped {
        /// What broke.
        reason: String,
    },
}
