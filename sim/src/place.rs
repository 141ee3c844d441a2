//! Where things run: the places between which messages travel.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A machine room of its own for one node, numbered from 0.
///
/// A seat outlives its node: a node that lost its disk returns under a new id in the same seat.
/// Faults name seats, so that a schedule means the same whatever ids were given out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seat(pub u8);

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seat{}", self.0)
    }
}

impl fmt::Display for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("seat{}", self.0))
    }
}

/// An end of a network link.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Place {
    /// A node of the cluster.
    Seat(Seat),
    /// A simulated client, numbered from 0.
    Client(u16),
    /// A simulated chunkserver, numbered from 0.
    Chunkserver(u8),
    /// A simulated mount, numbered from 0.
    Mount(u8),
}

impl Place {
    /// The seat, when this is one.
    #[must_use]
    pub fn seat(self) -> Option<Seat> {
        match self {
            Self::Seat(seat) => Some(seat),
            Self::Client(_) | Self::Chunkserver(_) | Self::Mount(_) => None,
        }
    }

    /// A number that no other place has.
    #[must_use]
    pub fn number(self) -> u64 {
        match self {
            Self::Seat(seat) => u64::from(seat.0),
            Self::Client(client) => 1 << 16 | u64::from(client),
            Self::Chunkserver(server) => 2 << 16 | u64::from(server),
            Self::Mount(mount) => 3 << 16 | u64::from(mount),
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seat(seat) => write!(f, "{seat}"),
            Self::Client(client) => f.pad(&format!("client{client}")),
            Self::Chunkserver(server) => f.pad(&format!("cs{server}")),
            Self::Mount(mount) => f.pad(&format!("mount{mount}")),
        }
    }
}
