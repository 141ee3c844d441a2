//! Where a node takes clients, and how one comes in.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use mfsha_client::dial::{Dial, Stream, Tcp};
use mfsha_client::tls::{self, TlsError};
use mfsha_client::{Address, TlsFiles};

/// How clients speak to nodes: in the clear, or through TLS.
#[derive(Clone)]
pub struct Speech {
    tcp: Arc<Tcp>,
    files: Option<TlsFiles>,
}

impl Speech {
    /// In the clear.
    #[must_use]
    pub fn clear() -> Self {
        let tcp = Arc::new(Tcp { tls: None });
        Self { tcp, files: None }
    }

    /// Through TLS, with these files.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn tls(files: TlsFiles) -> Result<Self, TlsError> {
        let tls = Some(tls::connector(&files)?);
        Ok(Self {
            tcp: Arc::new(Tcp { tls }),
            files: Some(files),
        })
    }
}

/// A node's address, and how to speak there.
#[derive(Clone)]
pub struct Door {
    address: SocketAddr,
    speech: Speech,
}

impl Door {
    /// The door of a node that is here.
    #[must_use]
    pub fn new(address: SocketAddr, speech: Speech) -> Self {
        Self { address, speech }
    }

    /// The address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// As the client library names it.
    ///
    /// # Errors
    /// Why it is none of its addresses.
    pub fn named(&self) -> Result<Address, String> {
        let parsed = self.address.to_string().parse();
        parsed.map_err(|error| format!("{error}"))
    }

    /// The files that a client shows here; `None` in the clear.
    #[must_use]
    pub fn files(&self) -> Option<TlsFiles> {
        self.speech.files.clone()
    }

    /// Goes in.
    ///
    /// # Errors
    /// Why not, as a sentence.
    pub async fn open(&self) -> Result<Box<dyn Stream>, String> {
        let dialed = self.speech.tcp.dial(&self.named()?).await;
        dialed.map_err(|error| error.to_string())
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}
