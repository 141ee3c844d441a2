//! One accepted connection of a MooseFS program, as a machine: bytes in, packets to the owner,
//! bytes out.
//!
//! It knows framing, signs of life, deadlines and bounds. What packets mean is the owner's
//! business: it gets each with a number, and finishes each, with a reply or without one. It also
//! says when the other side is registered. Connections know nothing of each other, so a slow one
//! holds nobody up. `docs/protocols/moosefs-connection.md` has the rules in words.

#[cfg(feature = "fuzzing")]
mod fuzz;
mod machine;
mod options;
mod output;
#[cfg(test)]
mod tests;

#[cfg(feature = "fuzzing")]
pub use fuzz::fuzz_connection;
pub use machine::Connection;
pub use options::{Options, Side};

use std::fmt;

use super::frame::{Packet, TooLong};
use crate::time::Duration;

/// A packet that was handed to the owner; counted within its connection, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestNo(pub u64);

impl fmt::Display for RequestNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "request {}", self.0)
    }
}

/// What happened. After [`Effect::Close`] every input is ignored, so an owner need not know yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// Bytes came. They are taken while reading is off, too: those that were on their way.
    Bytes(Vec<u8>),
    /// This many of the bytes of [`Effect::Write`] are in the socket, and no longer held.
    Written {
        /// Bytes, in all at most what was handed over.
        bytes: usize,
    },
    /// The other side has closed, or the connection broke.
    Ended {
        /// What the system said.
        reason: String,
    },
    /// The owner is done with a packet. Each one has to be finished, in any order, once.
    Done {
        /// Which one.
        request: RequestNo,
        /// What the other side gets.
        reply: Reply,
        /// How far the other side has come by that.
        standing: Standing,
    },
    /// A part of a [`Reply::InParts`], never empty.
    Part {
        /// The request whose reply it is.
        request: RequestNo,
        /// The next bytes of it.
        bytes: Vec<u8>,
    },
    /// A packet that nobody asked for.
    Push {
        /// The whole packet, header included.
        packet: Vec<u8>,
        /// How far the other side has come by that.
        standing: Standing,
    },
    /// Close once everything that was said is written; nothing is heard any more.
    Finish,
    /// Close at once: a packet was wrong, or nobody needs the connection.
    Drop {
        /// Why, for the log.
        reason: String,
    },
}

/// How far the other side has come by what it is told; no sign of life gets in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// As far as before.
    Same,
    /// Its registration is not taken yet, and it waits for that: it gets signs of life from now on.
    Waiting {
        /// Silence after which both sides give up; `None` for what the options say.
        silence_max: Option<Duration>,
    },
    /// It is registered: all packets are for the owner from now on.
    Registered {
        /// Silence after which both sides give up; `None` for what the options say.
        silence_max: Option<Duration>,
    },
}

/// What the other side gets for a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing.
    None,
    /// A whole packet, header included.
    Packet(Vec<u8>),
    /// A packet that is given in parts, for it is too long to be held as a whole.
    /// [`Effect::PartWanted`] asks for each. Nothing else is said in between: give them soon.
    InParts {
        /// Bytes of the whole packet, header included; not 0.
        packet_bytes: u64,
    },
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A packet for the owner, who finishes it with [`Input::Done`].
    Packet {
        /// Its number.
        request: RequestNo,
        /// The packet.
        packet: Packet,
    },
    /// The owner is to give the next part of this reply, with [`Input::Part`].
    PartWanted {
        /// The request whose reply it is.
        request: RequestNo,
        /// Bytes that are missing.
        bytes_left: u64,
    },
    /// Write these bytes, behind all before them, and report how many are in the socket.
    Write {
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Read on from the socket, or leave what comes to the system's buffers. On at first.
    Reading {
        /// Whether to read.
        on: bool,
    },
    /// Close the socket. Nothing follows.
    Close {
        /// Why.
        reason: Closed,
    },
}

/// Why a connection was closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// Everything was said, and written.
    #[error("everything was said")]
    Finished,
    /// The other side ended it.
    #[error("the other side ended it: {0}")]
    Ended(String),
    /// The owner wanted it.
    #[error("{0}")]
    Dropped(String),
    /// A packet was longer than any can be, so the rest of the stream means nothing.
    #[error("{0}")]
    TooLong(#[from] TooLong),
    /// A packet that comes only from who is registered.
    #[error("packet {kind} of {length} bytes before a registration")]
    NotRegistered {
        /// Its number.
        kind: u32,
        /// Bytes of its payload.
        length: usize,
    },
    /// A packet that this machine knows has a length that it cannot have.
    #[error("packet {kind} has {length} bytes, which it never has")]
    WrongLength {
        /// Its number.
        kind: u32,
        /// Bytes of its payload.
        length: usize,
    },
    /// Nothing was heard for too long.
    #[error("nothing was heard for {} ms", .0.as_millis())]
    Silent(Duration),
    /// It did not register, nor ask for anything, for too long.
    #[error("it did not register within {} ms", .0.as_millis())]
    NeverRegistered(Duration),
    /// What is said to it is not taken.
    #[error("it has taken nothing of what was sent for {} ms", .0.as_millis())]
    NotReading(Duration),
    /// More waits for it than may.
    #[error("{bytes} bytes wait for it, more than {limit}")]
    TooFarBehind {
        /// Bytes that would wait.
        bytes: u64,
        /// Bytes that may.
        limit: usize,
    },
    /// It did not take the last of what was said in time.
    #[error("it did not take the end of what was sent within {} ms", .0.as_millis())]
    Lingered(Duration),
}
