//! What a transport is built with.

use super::address::{Address, PeerAddress};
use super::hello::{PEER_PROTOCOL_NEWEST, PEER_PROTOCOL_OLDEST};
use crate::buggify::Buggify;
use crate::time::Duration;

/// How a node that is of no cluster yet comes into one. A node that is formed ignores it, but for
/// the addresses: they are tried beside those that it remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// It has to be of a cluster already.
    Known,
    /// It forms a cluster alone (`--init`).
    Alone,
    /// It forms a cluster with others (`--bootstrap`): every node is given the same list of all
    /// of them, itself included, and may be started at any time and in any order.
    Together {
        /// All nodes; at most [`crate::limits::PEER_COUNT_MAX`].
        nodes: Vec<PeerAddress>,
    },
    /// It joins a cluster that exists (`--join`).
    Join {
        /// Some nodes of it.
        nodes: Vec<PeerAddress>,
    },
}

impl Start {
    /// The addresses in it.
    #[must_use]
    pub fn nodes(&self) -> &[PeerAddress] {
        match self {
            Self::Known | Self::Alone => &[],
            Self::Together { nodes } | Self::Join { nodes } => nodes,
        }
    }
}

/// What a transport is built with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Oldest and newest version of the protocol that it speaks: those of this program, but where
    /// a test stands in for another one.
    pub protocol: (u16, u16),
    /// Where peers and clients reach this node.
    pub address: Address,
    /// Tells this process from every other: drawn at random by the driver.
    pub life: u64,
    /// How well this node is placed to lead, which peers are told: higher is better.
    pub priority: u32,
    /// How it comes into a cluster.
    pub start: Start,
    /// A sign of life is sent on every connection at this interval, also when it is busy.
    pub alive_interval: Duration,
    /// A peer that says nothing for this long is lost.
    pub silence_max: Duration,
    /// A peer that does not confirm a sign of life for this long is lost, though it speaks: what
    /// is sent to it does not arrive. Longer than `silence_max`, for the sign may wait behind bulk
    /// in the buffers of a slow network.
    pub unheard_max: Duration,
    /// A dial that has not ended after this long has failed.
    pub dial_timeout: Duration,
    /// A connection whose two sides do not get to know each other in this time is closed.
    pub handshake_timeout: Duration,
    /// A dial that failed is repeated after about this long, then after twice that, and so on.
    pub redial_min: Duration,
    /// But never later than after about this long: a peer is never given up.
    pub redial_max: Duration,
    /// A peer with a higher id dials; only when it has not for this long, this node does.
    pub lower_dials_after: Duration,
    /// Bytes that may wait for one peer, control; what does not fit is dropped.
    pub control_bytes_max: usize,
    /// Bytes that may wait for one peer, bulk; what does not fit is dropped.
    pub bulk_bytes_max: usize,
    /// Bytes handed to the driver for one connection and not reported as sent: another message is
    /// handed over only below this. So control waits behind at most this and one bulk message.
    pub handed_bytes_max: usize,
    /// Unlikely branches that a simulated run takes.
    pub buggify: Buggify,
    /// Which bug the transport has on purpose.
    #[cfg(feature = "planted-bugs")]
    pub bug: Option<crate::planted::Bug>,
}

impl Options {
    /// Options of production for everything that is not given.
    #[must_use]
    pub fn new(address: Address, life: u64, start: Start) -> Self {
        Self {
            protocol: (PEER_PROTOCOL_OLDEST, PEER_PROTOCOL_NEWEST),
            address,
            life,
            priority: 0,
            start,
            alive_interval: Duration::from_millis(200),
            silence_max: Duration::from_millis(1_000),
            unheard_max: Duration::from_millis(3_000),
            dial_timeout: Duration::from_secs(3),
            handshake_timeout: Duration::from_secs(3),
            redial_min: Duration::from_millis(100),
            redial_max: Duration::from_secs(2),
            lower_dials_after: Duration::from_secs(2),
            control_bytes_max: 64 << 20,
            bulk_bytes_max: 32 << 20,
            handed_bytes_max: 64 << 10,
            buggify: Buggify::default(),
            #[cfg(feature = "planted-bugs")]
            bug: None,
        }
    }
}
