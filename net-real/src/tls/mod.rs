//! TLS 1.3 with certificates on both sides, from one CA, read from PEM files.
//!
//! A node's certificate carries the DNS names `mfsha` and `node-<id>.mfsha`. Who dials a node
//! insists on `node-<id>.mfsha`, or on `mfsha` while it does not know who is there; who accepts
//! lets a connection speak for the nodes that its certificate names, and for no other. A native
//! client shows any certificate of the CA, and insists on `mfsha`.
//!
//! Sessions are never resumed, so that certificates are looked at anew each time.
//!
//! What is not known here: connections and what they carry.

mod files;
#[cfg(test)]
pub(crate) mod tests;

use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use mfsha_core::id::NodeId;
use mfsha_core::transport::Speaker;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

pub use files::{TlsError, TlsFiles};
pub use mfsha_client::explain::explain;

/// The DNS name that every node's certificate carries.
pub const CLUSTER_NAME: &str = "mfsha";

/// The DNS name of one node.
#[must_use]
pub fn node_name(node: NodeId) -> String {
    format!("node-{}.{CLUSTER_NAME}", node.0)
}

/// Both sides of TLS, from files that can be read again.
#[derive(Clone)]
pub struct Tls {
    files: Arc<TlsFiles>,
    current: Arc<RwLock<Configs>>,
}

#[derive(Clone)]
struct Configs {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish()
    }
}

impl Tls {
    /// Reads and checks the files.
    ///
    /// # Errors
    /// [`TlsError`]: which file, what is wrong, what to do.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let (server, client) = files.load()?;
        Ok(Self {
            files: Arc::new(files),
            current: Arc::new(RwLock::new(Configs { server, client })),
        })
    }

    /// Reads the files again; connections made from here on use them.
    ///
    /// # Errors
    /// [`TlsError`]; what was read before stays in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        let (server, client) = self.files.load()?;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = Configs { server, client };
        Ok(())
    }

    fn current(&self) -> Configs {
        // Configurations are replaced whole, so a panic elsewhere leaves a whole one behind.
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.clone()
    }

    /// Takes an accepted connection through the handshake.
    ///
    /// # Errors
    /// What rustls says; [`explain`] puts it into words.
    pub async fn accept(&self, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let acceptor = TlsAcceptor::from(self.current().server);
        Ok(TlsStream::Server(acceptor.accept(socket).await?))
    }

    /// Takes a dialed connection through the handshake; `node` is who must be there, `None` any.
    ///
    /// # Errors
    /// As [`Self::accept`].
    pub async fn connect(
        &self,
        socket: TcpStream,
        node: Option<NodeId>,
    ) -> io::Result<TlsStream<TcpStream>> {
        let name = node.map_or_else(|| CLUSTER_NAME.to_owned(), node_name);
        let name = ServerName::try_from(name).map_err(io::Error::other)?;
        let connector = TlsConnector::from(self.current().client);
        Ok(TlsStream::Client(connector.connect(name, socket).await?))
    }
}

/// For whom the other end of a connection may speak.
#[must_use]
pub fn speaker(stream: &TlsStream<TcpStream>) -> Speaker {
    let chain = stream.get_ref().1.peer_certificates();
    let nodes = chain.and_then(<[_]>::first).map(named_nodes);
    Speaker::Nodes(nodes.unwrap_or_default())
}

/// The nodes that a certificate names. A wildcard names none.
fn named_nodes(certificate: &CertificateDer<'_>) -> std::collections::BTreeSet<NodeId> {
    let Ok(certificate) = webpki::EndEntityCert::try_from(certificate) else {
        return std::collections::BTreeSet::new();
    };
    let names = certificate.valid_dns_names();
    names.filter_map(parse_node_name).collect()
}

fn parse_node_name(name: &str) -> Option<NodeId> {
    let id = name.strip_prefix("node-")?.strip_suffix(".mfsha")?;
    let id: u64 = id.parse().ok()?;
    // One spelling a node: no sign, no leading zeros.
    (node_name(NodeId(id)) == name && id > 0).then_some(NodeId(id))
}
