//! What a connection is built with.

use std::ops::RangeInclusive;

use crate::time::Duration;

/// Numbers of packets that every program may say.
const UNIVERSAL: [u32; 2] = [10, 80];
/// Registration of a client, and of a chunkserver.
const CLIENT_REGISTERS: u32 = 400;
const CHUNKSERVER_REGISTERS: u32 = 100;
/// What monitoring asks for without being registered.
const MONITORING: RangeInclusive<u32> = 500..=546;

/// Who is on the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A mount, a tool or a monitor: port 9421.
    Client,
    /// A chunkserver: port 9420.
    Chunkserver,
}

impl Side {
    /// Whether the owner gets this packet before a registration.
    pub(super) fn may_say_unregistered(self, kind: u32) -> bool {
        UNIVERSAL.contains(&kind)
            || match self {
                Self::Client => kind == CLIENT_REGISTERS || MONITORING.contains(&kind),
                Self::Chunkserver => kind == CHUNKSERVER_REGISTERS,
            }
    }

    /// Whether the owner hears that a packet was not understood. A mount is told what it asked
    /// for, and nobody can do anything; a chunkserver was told to do something, and did not.
    pub(super) fn complains_to_owner(self) -> bool {
        self == Self::Chunkserver
    }

    /// A whole packet that says nothing.
    pub(super) fn sign_of_life(self) -> Vec<u8> {
        match self {
            // Number 0, four bytes, message 0.
            Self::Client => vec![0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0],
            Self::Chunkserver => vec![0; 8],
        }
    }
}

/// What a connection is built with. Bounds in bytes are not zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Who is on the other side.
    pub side: Side,
    /// Silence on our side after which a registered or waiting peer gets a sign of life.
    pub alive_interval: Duration,
    /// The same before a registration; `None` for never.
    pub alive_interval_unregistered: Option<Duration>,
    /// A registered or waiting peer that says nothing for this long is lost.
    pub silence_max: Duration,
    /// An unregistered peer that asks for nothing for this long is closed.
    pub register_timeout: Duration,
    /// A peer that takes nothing of what is sent to it for this long is closed.
    pub stall_max: Duration,
    /// A finished connection whose last bytes are not taken in this time is closed without them.
    pub linger_max: Duration,
    /// Longest payload before a registration, bytes.
    pub payload_bytes_max_unregistered: u32,
    /// Longest payload afterwards, bytes.
    pub payload_bytes_max: u32,
    /// Packets that the owner may have and not yet be done with; no more are read until it is.
    pub requests_max: usize,
    /// Bytes of these packets; a packet is handed over only while there are less.
    pub request_bytes_max: usize,
    /// Bytes that may wait to be written; above it nothing more is read, until half of it is.
    pub output_bytes_max: usize,
    /// Bytes that may wait to be written at all: above it the connection is closed. Replies to
    /// what was read already, and packets that nobody asked for, may come above
    /// `output_bytes_max`.
    pub output_bytes_limit: usize,
    /// Bytes handed to the driver and not reported as written.
    pub handed_bytes_max: usize,
}

impl Options {
    /// Options of production for a client's connection.
    ///
    /// A mount gives its connection up when a write stalls for a second, so the bounds are far
    /// above what one mount has under way: they are for peers that went wrong. Monitoring takes a
    /// sign of life for a bad answer, so it is left in peace at first; a mount that is not
    /// registered yet does not need one.
    #[must_use]
    pub fn client() -> Self {
        Self {
            side: Side::Client,
            alive_interval: Duration::from_secs(1),
            alive_interval_unregistered: Some(Duration::from_secs(5)),
            silence_max: Duration::from_secs(10),
            register_timeout: Duration::from_secs(10),
            stall_max: Duration::from_secs(10),
            linger_max: Duration::from_secs(10),
            payload_bytes_max_unregistered: 1 << 20,
            payload_bytes_max: 50_000_000,
            requests_max: 4_096,
            request_bytes_max: 64 << 20,
            output_bytes_max: 16 << 20,
            output_bytes_limit: 256 << 20,
            handed_bytes_max: 1 << 20,
        }
    }

    /// Options of production for a chunkserver's connection; the owner's timeout counts once the
    /// server is registered.
    ///
    /// A whole registration in one packet, as servers before 1.6 send it, has to fit
    /// `payload_bytes_max_unregistered`: such servers may have 87,000 chunks.
    #[must_use]
    pub fn chunkserver() -> Self {
        let silence_max = Duration::from_secs(10);
        Self {
            side: Side::Chunkserver,
            alive_interval: silence_max / 3,
            alive_interval_unregistered: None,
            silence_max,
            payload_bytes_max: 500_000_000,
            ..Self::client()
        }
    }

    /// Takes the silence that was agreed on; a chunkserver gets a sign of life after a third.
    pub(super) fn agree_on(&mut self, silence_max: Option<Duration>) {
        let Some(silence_max) = silence_max else {
            return;
        };
        assert!(!silence_max.is_zero(), "nobody is that quick");
        self.silence_max = silence_max;
        if self.side == Side::Chunkserver {
            self.alive_interval = silence_max / 3;
        }
    }

    /// Panics when a bound leaves no room for anything.
    pub(super) fn check(&self) {
        assert!(self.requests_max > 0, "there is room for a request");
        assert!(self.request_bytes_max > 0, "and for its bytes");
        assert!(self.handed_bytes_max > 0, "something can be handed over");
        assert!(self.output_bytes_max > 0, "something may wait");
        let (soft, hard) = (self.output_bytes_max, self.output_bytes_limit);
        assert!(
            soft <= hard,
            "reading stops before the connection is closed"
        );
    }
}
