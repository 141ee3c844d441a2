//! The face that mounts and tools see: their connections, registrations and requests.
//!
//! One machine for all connections of a node. What they ask goes to the node, which finds the
//! leader; sessions, open files and locks are in the replicated state, so a client that comes back
//! to any node goes on as if nothing had happened. `docs/protocols/mounts.md` has the rules in
//! words.
//!
//! Sockets and the node itself are the driver's: it hands answers in and carries questions out.
//! What a request means is told by [`crate::gateway`], how bytes become packets by
//! [`crate::moosefs::connection`].

mod caches;
mod doubt;
mod lanes;
mod machine;
mod monitors;
mod open_files;
mod registration;
#[cfg(test)]
mod tests;
mod told;
mod waits;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

pub use machine::Mounts;

use crate::chunks::ChunkWish;
use crate::exports::Exports;
use crate::id::{LogIndex, SessionId};
use crate::monitoring::Process;
use crate::moosefs::connection;
use crate::namespace::op::{Notice, Op, RequestId};
use crate::native::inspect::Inspect;
use crate::native::request::{CallId, ClientId, Request, Response};
use crate::time::Duration;

/// What it is built with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bounds and times of each connection.
    pub connection: connection::Options,
    /// The cluster, as clients know it: the same on every node and for ever, and not 0.
    pub metaid: u64,
    /// A registration that cannot be answered after this long ends with its connection: a client
    /// waits for a second, and then takes the node for dead.
    pub register_patience: Duration,
    /// Sessions that are connected here are spoken for this often.
    pub keep_interval: Duration,
    /// How long a session lasts that nobody speaks for, seconds: what tools of operators are told.
    pub sustain_seconds: u32,
    /// Most connections at once.
    pub connections_max: usize,
    /// Values of options that clients may ask for, by name.
    pub settings: BTreeMap<Vec<u8>, Vec<u8>>,
    /// A mistake that is made on purpose.
    #[cfg(feature = "planted-bugs")]
    pub bug: Option<crate::planted::Bug>,
}

impl Options {
    /// Options of production for the cluster with this number.
    ///
    /// # Panics
    /// When the number is 0, which stands for no cluster on the wire.
    #[must_use]
    pub fn new(metaid: u64) -> Self {
        assert_ne!(metaid, 0, "clients take 0 for no cluster");
        Self {
            connection: connection::Options::client(),
            metaid,
            register_patience: Duration::from_millis(900),
            keep_interval: Duration::from_secs(6),
            sustain_seconds: 86_400,
            connections_max: 10_000,
            settings: BTreeMap::new(),
            #[cfg(feature = "planted-bugs")]
            bug: None,
        }
    }
}

/// Something that happened, and what the node's wall clock said then.
#[derive(Clone, Debug)]
pub struct Input {
    /// Microseconds since 1970.
    pub wall_us: u64,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "answers are most of what happens, and each is moved once"
)]
pub enum Event {
    /// A deadline may have passed.
    Tick,
    /// A connection was accepted. Its number is never used again in this life of the process, and
    /// for no other client of the node.
    Accepted {
        /// Its number.
        client: ClientId,
        /// Where it comes from.
        ip: Ipv4Addr,
    },
    /// Something happened to a connection: bytes came, were written, or it ended.
    Connection {
        /// Which one.
        client: ClientId,
        /// What.
        event: connection::Input,
    },
    /// The node answers what was asked of it.
    Answered {
        /// For whom it was asked.
        client: ClientId,
        /// The answer.
        response: Response,
    },
    /// A command that was applied in this node has news for others.
    News {
        /// Its place in the log.
        index: LogIndex,
        /// The session whose own client changed data by it.
        by: Option<SessionId>,
        /// The news.
        notices: Vec<Notice>,
    },
    /// The node's state was replaced by a peer's: news may have been missed.
    StateReplaced,
    /// Copies of chunks are at other chunkservers than before
    /// ([`crate::node::Effect::CopiesMoved`]).
    CopiesMoved,
    /// Space on chunkservers is another now, bytes.
    Space {
        /// In total.
        total: u64,
        /// Of that, free.
        free: u64,
    },
    /// The exports were read again.
    Exports(Exports),
    /// How the process stands now.
    Process(Process),
}

/// Something the driver is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Write to a connection, read from it, or close it. The others are never among these.
    Connection {
        /// Which one.
        client: ClientId,
        /// What to do.
        effect: connection::Effect,
    },
    /// Ask the node ([`crate::node::Event::Ask`]).
    Ask {
        /// For whom.
        client: ClientId,
        /// What.
        request: Request,
    },
    /// Have the node write ([`crate::node::Event::AskWrite`]).
    AskWrite {
        /// For whom.
        client: ClientId,
        /// The answer's name.
        call: CallId,
        /// The request's name in the replicated state.
        request: RequestId,
        /// What to do.
        op: Box<Op>,
    },
    /// Wish something of chunks ([`crate::node::Event::AskChunk`]).
    AskChunk {
        /// For whom.
        client: ClientId,
        /// The answer's name.
        call: CallId,
        /// What.
        wish: ChunkWish,
    },
    /// Look at the whole ([`crate::node::Event::Inspect`]).
    Inspect {
        /// For whom.
        client: ClientId,
        /// The answer's name.
        call: CallId,
        /// At what.
        what: Inspect,
    },
    /// Nobody waits for answers to this client any more ([`crate::node::Event::ClientGone`]).
    Gone {
        /// Which one.
        client: ClientId,
    },
    /// A mount or a tool was refused, or cut off: for the log.
    Report {
        /// In words.
        message: String,
    },
}
