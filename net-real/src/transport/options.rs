//! What the transport's driver is started with.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use mfsha_core::rng::Seed;
use mfsha_core::transport::{Identity, Options};

use crate::room::Room;
use crate::tls::Tls;

/// Makes an identity durable, in place of what was stored before: a new file, flushed, renamed,
/// its directory flushed. May block; calls never overlap.
pub type Persist = Arc<dyn Fn(&Identity) -> io::Result<()> + Send + Sync>;

/// What the transport's driver is started with.
#[derive(Clone)]
pub struct TransportOptions {
    /// The machine's options.
    pub machine: Options,
    /// Randomness for backoff.
    pub seed: Seed,
    /// `None` for connections in the clear.
    pub tls: Option<Tls>,
    /// Makes the identity durable.
    pub persist: Persist,
    /// An accepted connection that has not said its first record after this long is closed; TLS
    /// counts in.
    pub hello_timeout: Duration,
    /// Accepted connections that may be on their way to a first record; the oldest make room for
    /// new ones.
    pub hello_waiting_max: usize,
    /// Where accepted connections find a place.
    pub(crate) room: Room,
    /// Bytes of messages that may wait for the transport's own task; what does not fit is dropped.
    pub inbox_bytes_max: usize,
}

impl TransportOptions {
    /// Options of production for everything that is not given.
    #[must_use]
    pub(crate) fn new(
        machine: Options,
        seed: Seed,
        tls: Option<Tls>,
        persist: Persist,
        room: Room,
    ) -> Self {
        Self {
            machine,
            seed,
            tls,
            persist,
            hello_timeout: Duration::from_secs(5),
            hello_waiting_max: 256,
            room,
            inbox_bytes_max: 128 << 20,
        }
    }
}
