//! The face that chunkservers see: their connections, registrations and orders.
//!
//! One machine for all connections of a node. A registration is in the replicated state before it
//! is answered; what a chunkserver says from then on goes to the node, and the node's orders go to
//! the chunkserver. `docs/protocols/chunkservers.md` has the rules in words.
//!
//! Sockets and the node itself are the driver's. Where copies are and who gets an order is not
//! known here; how bytes become packets is told by [`crate::moosefs::connection`].

mod auth_code;
mod machine;
mod orders;
mod registration;
mod reports;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::num::NonZeroU16;

pub use auth_code::AuthCode;
pub use machine::Chunkservers;

use crate::chunks::{ConnId, Order, Report};
use crate::moosefs::connection;
use crate::namespace::op::{Op, RequestId};
use crate::native::request::{CallId, ClientId, Response};
use crate::time::Duration;

/// What it is built with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bounds and times of each connection.
    pub connection: connection::Options,
    /// The cluster, as chunkservers know it: the same on every node and for ever, and not 0. A
    /// chunkserver that knows another one ends itself.
    pub metaid: u64,
    /// What chunkservers have to know, if anything.
    pub auth_code: Option<AuthCode>,
    /// Silence after which both sides give up, seconds, when the chunkserver leaves it to us.
    pub timeout_seconds: NonZeroU16,
    /// A registration that has no outcome after this long is told to be tried again. Below the
    /// 10 s after which a chunkserver gives up by itself.
    pub register_patience: Duration,
    /// Most connections at once.
    pub connections_max: usize,
    /// Values of options that chunkservers may ask for, by name.
    pub settings: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Options {
    /// Options of production for the cluster with this number.
    ///
    /// # Panics
    /// When the number is 0, which stands for no cluster on the wire.
    #[must_use]
    pub fn new(metaid: u64) -> Self {
        assert_ne!(metaid, 0, "chunkservers take 0 for no cluster");
        Self {
            connection: connection::Options::chunkserver(),
            metaid,
            auth_code: None,
            timeout_seconds: NonZeroU16::new(3).expect("not 0"),
            register_patience: Duration::from_secs(5),
            connections_max: 4_096,
            settings: BTreeMap::new(),
        }
    }
}

/// What happened.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one answer for each registration"
)]
pub enum Event {
    /// A deadline may have passed.
    Tick,
    /// A connection was accepted. Its number is never used again in this life of the process, nor
    /// for a client of the node: what is asked for it is asked for the client of that number.
    Accepted {
        /// Its number.
        conn: ConnId,
        /// Where it comes from.
        ip: Ipv4Addr,
    },
    /// Something happened to a connection: bytes came, were written, or it ended.
    Connection {
        /// Which one.
        conn: ConnId,
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
    /// A chunkserver has to do something ([`crate::node::Effect::Order`]).
    ///
    /// It has joined, and has nothing to do with that chunk until it has said that it is done.
    Order {
        /// Its connection.
        conn: ConnId,
        /// What.
        order: Order,
    },
    /// A connection is of no use any more ([`crate::node::Effect::Unseat`]).
    Unseat {
        /// Which one.
        conn: ConnId,
        /// Why.
        reason: String,
    },
}

/// Something the driver is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Write to a connection, read from it, or close it. The others are never among these.
    Connection {
        /// Which one.
        conn: ConnId,
        /// What to do.
        effect: connection::Effect,
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
    /// Nobody waits for answers to this client any more ([`crate::node::Event::ClientGone`]).
    Gone {
        /// Which one.
        client: ClientId,
    },
    /// Tell the node what a chunkserver said ([`crate::node::Event::Chunkserver`]). Of each
    /// connection the first is `Joined`, if there is one, and then the last is `Gone`.
    Heard {
        /// Its connection.
        conn: ConnId,
        /// What.
        report: Report,
    },
    /// A chunkserver was refused, or said something odd: for the log.
    Report {
        /// In words.
        message: String,
    },
}
