//! What a client is built with, and the bounds that it keeps.

use std::time::Duration;

use mfsha_core::limits;
use mfsha_core::namespace::op::SessionParams;
use mfsha_core::native::ClusterId;

use crate::address::Address;
use crate::tls::{TlsError, TlsFiles};

/// Longest token, bytes.
pub const TOKEN_BYTES_MAX: usize = 4_096;

/// What a client is built with.
#[derive(Clone)]
pub struct ClientOptions {
    /// Some nodes of the cluster, at least one; the others are learned from them.
    pub addresses: Vec<Address>,
    /// The cluster's `MFSHA_AUTH_TOKEN`; empty when it has none.
    pub token: Vec<u8>,
    /// Files for TLS; `None` for plain connections.
    pub tls: Option<TlsFiles>,
    /// The cluster that is meant; `None` for the one that answers first.
    pub cluster: Option<ClusterId>,
    /// Name and version of the program, for the nodes' logs.
    pub program: String,
    /// How long a call may take, all repeats included.
    pub timeout: Duration,
    /// How long one node may take to answer before another is asked.
    pub attempt_timeout: Duration,
    /// When a leader has been silent for this long in a call, other nodes are asked whether one of
    /// them leads by now. The call goes on meanwhile.
    pub look_after: Duration,
    /// How often the client says that its session is in use. A leader that hears nothing takes the
    /// session for left after 20 s or more, by its `SESSION_SUSTAIN_TIME`.
    pub keep_interval: Duration,
    /// How long making a connection may take, TLS and welcome included.
    pub connect_timeout: Duration,
    /// Waiting before a repeat begins at the first and doubles up to the second; each wait is cut
    /// by a random part of up to a half.
    pub backoff: (Duration, Duration),
    /// Writes that may be under way at once: the lanes of the session. 1 to
    /// [`limits::LANE_COUNT_MAX`] - 1.
    pub lanes_max: u32,
    /// Calls that may be under way on one connection; more wait for their turn.
    pub calls_max: usize,
    /// What the client's session may do.
    pub session: SessionParams,
}

impl std::fmt::Debug for ClientOptions {
    /// The token is not shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientOptions")
            .field("addresses", &self.addresses)
            .field("tls", &self.tls)
            .field("cluster", &self.cluster)
            .field("program", &self.program)
            .field("timeout", &self.timeout)
            .field("lanes_max", &self.lanes_max)
            .finish_non_exhaustive()
    }
}

/// Why no client can be built of these options.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// Give one at least.
    #[error("no node is named; give the address of at least one")]
    NoAddress,
    /// Give another number of lanes.
    #[error("lanes_max is {given}, it has to be from 1 to {most}")]
    Lanes {
        /// What was given.
        given: u32,
        /// The most that a session has, one kept for its end.
        most: u32,
    },
    /// Give a number of calls above zero.
    #[error("calls_max is {given}, it has to be from 1 to 100000")]
    Calls {
        /// What was given.
        given: usize,
    },
    /// Give a time above zero.
    #[error("{name} is zero; nothing can be done in no time")]
    NoTime {
        /// Which option.
        name: &'static str,
    },
    /// Give the token of the cluster.
    #[error("the token has {bytes} bytes, the limit is {TOKEN_BYTES_MAX}")]
    Token {
        /// Its length.
        bytes: usize,
    },
    /// See there.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl ClientOptions {
    /// Options for a cluster at these addresses: half a minute a call, three seconds a node, 64
    /// writes at once, no token, no TLS.
    #[must_use]
    pub fn new(addresses: Vec<Address>) -> Self {
        Self {
            addresses,
            token: Vec::new(),
            tls: None,
            cluster: None,
            program: concat!("mfsha-client ", env!("CARGO_PKG_VERSION")).to_owned(),
            timeout: Duration::from_secs(30),
            attempt_timeout: Duration::from_secs(3),
            look_after: Duration::from_millis(250),
            keep_interval: Duration::from_secs(6),
            connect_timeout: Duration::from_secs(2),
            backoff: (Duration::from_millis(10), Duration::from_secs(1)),
            lanes_max: 64,
            calls_max: 1_024,
            session: SessionParams::unrestricted(),
        }
    }

    /// Looks for values that make no sense.
    ///
    /// # Errors
    /// [`OptionsError`], all but `Tls`.
    pub fn check(&self) -> Result<(), OptionsError> {
        if self.addresses.is_empty() {
            return Err(OptionsError::NoAddress);
        }
        let most = limits::LANE_COUNT_MAX - 1;
        if self.lanes_max == 0 || self.lanes_max > most {
            let given = self.lanes_max;
            return Err(OptionsError::Lanes { given, most });
        }
        if self.calls_max == 0 || self.calls_max > 100_000 {
            let given = self.calls_max;
            return Err(OptionsError::Calls { given });
        }
        for (name, time) in [
            ("timeout", self.timeout),
            ("attempt_timeout", self.attempt_timeout),
            ("connect_timeout", self.connect_timeout),
            ("look_after", self.look_after),
            ("keep_interval", self.keep_interval),
            ("the first backoff", self.backoff.0),
        ] {
            if time.is_zero() {
                return Err(OptionsError::NoTime { name });
            }
        }
        if self.token.len() > TOKEN_BYTES_MAX {
            let bytes = self.token.len();
            return Err(OptionsError::Token { bytes });
        }
        Ok(())
    }
}
