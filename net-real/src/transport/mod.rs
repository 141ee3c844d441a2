//! Peers and native clients over real sockets: the driver of [`mfsha_core::transport`].
//!
//! One port takes both; the kind of the first record tells them apart. Peers' connections are the
//! transport's, clients' are handed on with what was read of them. Everything that decides (whom
//! to dial, who may speak, what is dropped) is the machine's; here are sockets, tasks and TLS.

mod handle;
mod link;
mod listen;
mod options;
mod pump;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use mfsha_core::id::NodeId;
use mfsha_core::transport::{Address, Identity, PeerRefusal};

pub use handle::Handle;
pub(crate) use listen::Throttle;
pub use listen::{ListenError, listen};
pub use options::{Persist, TransportOptions};
pub use pump::spawn;
pub use stream::Stream;

/// What the transport tells the daemon. In order; the callback that takes it must not block, and
/// may drop a `Deliver` that it has no room for: consensus and transfers tolerate loss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransportEvent {
    /// The node is of a cluster and its identity is durable: consensus may start, with
    /// [`Identity::founding_voters`]. Exactly once, before every `PeerUp` and `Deliver`.
    Formed(Box<Identity>),
    /// A peer's message.
    Deliver {
        /// From whom.
        from: NodeId,
        /// The sealed record.
        message: Vec<u8>,
    },
    /// Messages to this peer have a chance from here on.
    PeerUp {
        /// Whom.
        peer: NodeId,
        /// How well it is placed to lead, as it says.
        priority: u32,
    },
    /// A peer that is there is placed otherwise than was told with it.
    PeerPlaced {
        /// Which.
        peer: NodeId,
        /// How well it is placed to lead, as it says.
        priority: u32,
    },
    /// The connection to this peer is gone, and what was on its way may be.
    PeerLost(NodeId),
    /// Where this node and its peers are, because it changed.
    AddressesChanged(BTreeMap<NodeId, Address>),
    /// A peer wants nothing to do with this node; an operator has to act.
    Refused {
        /// Who.
        by: NodeId,
        /// Why, and what to do.
        refusal: PeerRefusal,
    },
    /// Something an operator has to know.
    Report(String),
}

/// A connection whose first record is a client's hello by its kind.
#[derive(Debug)]
pub struct AcceptedClient {
    /// The connection.
    pub stream: Stream,
    /// What was read of it: the whole first record, and perhaps more.
    pub read: Vec<u8>,
    /// Where it comes from.
    pub from: SocketAddr,
    /// Whether it showed a certificate of the cluster's CA.
    pub certified: bool,
}
