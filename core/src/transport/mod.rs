//! A node's connections to its peers, and how nodes become a cluster.
//!
//! One [`Transport`] holds all connections of a node: whom to dial and when, who may speak, what
//! waits to be sent, who is lost. It knows no socket: the driver dials, accepts, reads and writes.
//! A connection carries sealed records ([`crate::codec`]) in both directions, and a message between
//! nodes *is* one sealed record. `docs/protocols/transport.md` has the page.
//!
//! Like every machine, it is stepped with one input at a time; its first input is [`Input::Tick`].

mod address;
mod conn;
mod dialing;
mod formation;
mod frames;
#[cfg(feature = "fuzzing")]
mod fuzz;
mod hello;
mod identity;
mod judge;
mod machine;
mod options;
mod queue;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{NodeId, WriteId};

pub use address::{Address, AddressError, PeerAddress};
pub use formation::StartError;
pub use frames::FrameReader;
#[cfg(feature = "fuzzing")]
pub use fuzz::fuzz_transport;
pub use hello::{
    Note, PEER_HELLO_KIND, PEER_NOTE_KIND, PEER_PROTOCOL_NEWEST, PEER_PROTOCOL_OLDEST, PeerHello,
    PeerRefusal,
};
pub use identity::{
    DiskId, Founders, IDENTITY_KIND, Identity, IdentityError, KnownPeer, Standing, cluster_of,
};
pub use machine::Transport;
pub use options::{Options, Start};

/// How urgent a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// What consensus waits for: always first.
    Control,
    /// Parts of snapshots: when there is nothing else to send.
    Bulk,
}

/// One connection; never used again in one life of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConnId {
    /// Asked for by [`Effect::Dial`]; numbered by the transport.
    Dialed(u64),
    /// Accepted from outside; numbered by the driver.
    Accepted(u64),
}

/// For whom the other end of a connection may speak, as its certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// There are no certificates: whoever it says.
    Anyone,
    /// For these nodes alone.
    Nodes(BTreeSet<NodeId>),
}

impl Speaker {
    /// Whether the other end may speak for `node`.
    #[must_use]
    pub fn may_be(&self, node: NodeId) -> bool {
        match self {
            Self::Anyone => true,
            Self::Nodes(nodes) => nodes.contains(&node),
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A deadline may have passed.
    Tick,
    /// A dial has ended well; nothing was sent yet.
    Dialed {
        /// Which.
        conn: ConnId,
        /// For whom the other end may speak.
        speaker: Speaker,
    },
    /// A dial has failed.
    DialFailed {
        /// Which.
        conn: ConnId,
        /// Why, in a few words that name what to do where something can be done.
        reason: String,
    },
    /// Somebody connected, and its first record is a [`PeerHello`] by its kind.
    Accepted {
        /// A number of the driver's: [`ConnId::Accepted`].
        conn: ConnId,
        /// What came so far, from the first byte on.
        bytes: Vec<u8>,
        /// For whom the other end may speak.
        speaker: Speaker,
    },
    /// Bytes came, cut anyhow.
    Bytes {
        /// By which connection.
        conn: ConnId,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// The socket has taken so many of the bytes that were written.
    Sent {
        /// On which connection.
        conn: ConnId,
        /// How many, since the last report.
        bytes: usize,
    },
    /// A connection is gone, without having been asked to be.
    Closed {
        /// Which.
        conn: ConnId,
        /// Why.
        reason: String,
    },
    /// The node wants a message sent. It may be lost: without a connection, when too much waits,
    /// or with the connection.
    Send {
        /// To whom.
        to: NodeId,
        /// How urgent.
        class: Class,
        /// One whole sealed record, of a kind that is not one of the transport's own.
        message: Vec<u8>,
    },
    /// The members of the cluster as the log has them, this node included or not. From here on
    /// they alone are dialed; before, everybody who is known. Who dials in is answered anyway.
    Listed {
        /// The members.
        nodes: BTreeSet<NodeId>,
    },
    /// This node is placed otherwise than [`Options::priority`] said; its peers are told.
    Placed {
        /// Higher is better.
        priority: u32,
    },
    /// Somebody says where a node is now; tried beside the address that the node gave itself.
    AddressLearned {
        /// Which node.
        node: NodeId,
        /// Where.
        address: Address,
    },
    /// The write of an identity has ended, see [`Effect::PersistIdentity`].
    Persisted {
        /// Which.
        write: WriteId,
        /// Whether it is durable, or what failed. A failed one is tried again.
        result: Result<(), String>,
    },
}

/// Something the world is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Connect. Answered by [`Input::Dialed`] or [`Input::DialFailed`], unless closed before.
    Dial {
        /// Under this number.
        conn: ConnId,
        /// Who is expected there: whose certificate to insist on. `None`: any node's.
        node: Option<NodeId>,
        /// Where; resolved anew.
        address: Address,
    },
    /// Send bytes, after those before. Answered by [`Input::Sent`], in any portions.
    Write {
        /// On which connection.
        conn: ConnId,
        /// One or more whole records.
        bytes: Vec<u8>,
    },
    /// Give a connection (or a dial) up, after having tried for a moment to send what was written.
    /// Nothing more may be reported of it.
    Close {
        /// Which.
        conn: ConnId,
        /// Why.
        reason: String,
    },
    /// A message came. It is exactly one that the peer's transport was given, and messages of one
    /// class come in their order while the peer is up.
    Deliver {
        /// From whom.
        from: NodeId,
        /// The sealed record.
        message: Vec<u8>,
    },
    /// Messages to this peer have a chance from here on. Never without a durable note of the
    /// peer's disk.
    PeerUp {
        /// Which.
        peer: NodeId,
        /// How well it is placed to lead, as it says: higher is better.
        priority: u32,
    },
    /// A peer that is there is placed otherwise than was told with it.
    PeerPlaced {
        /// The peer.
        peer: NodeId,
        /// Higher is better.
        priority: u32,
    },
    /// The connection to the peer is gone, and what was on its way may be.
    PeerLost {
        /// Which.
        peer: NodeId,
    },
    /// Make this durable, in place of what was stored before, and report [`Input::Persisted`].
    ///
    /// What depends on it is held back *in here* until the report: no hello leaves before the
    /// number of this start is durable, no pledge is told before it is kept, [`Effect::Formed`]
    /// comes after the cluster is stored, [`Effect::PeerUp`] after the peer's disk is. So the
    /// driver may go on with other effects meanwhile. One write is asked for at a time.
    PersistIdentity {
        /// Its number.
        write: WriteId,
        /// What to store.
        identity: Identity,
    },
    /// The node is of a cluster. Comes exactly once in a life, before any `PeerUp`, also when the
    /// node was formed in an earlier one; the driver starts consensus with it.
    Formed {
        /// As it was made durable; [`Identity::founding_voters`] says with whom to begin.
        identity: Identity,
    },
    /// Where this node and its peers are, because it changed.
    AddressesChanged {
        /// As far as known, this node included.
        addresses: BTreeMap<NodeId, Address>,
    },
    /// A peer wants nothing to do with this node, and an operator has to act. The driver decides
    /// whether to go on; the transport does, in case the peer is the one to be put right.
    Refused {
        /// Who.
        by: NodeId,
        /// Why, and what to do.
        refusal: PeerRefusal,
    },
    /// Something an operator has to know.
    Report {
        /// What, as a sentence.
        message: String,
    },
}
