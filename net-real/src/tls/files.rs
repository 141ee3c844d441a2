//! The PEM files, and every way in which they can be wrong.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mfsha_client::explain::certificate_trouble;
use mfsha_core::id::NodeId;
use rustls::client::{Resumption, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::{CLUSTER_NAME, node_name};

/// Where the PEM files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate of the CA; several while one replaces another.
    pub ca: PathBuf,
    /// This program's certificate, then the intermediate ones, if any.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The node that the certificate has to name; `None` for a client.
    pub node: Option<NodeId>,
}

/// Why TLS cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file is missing or may not be read.
    #[error("cannot read {}: {error}; give the right file, readable for this user", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// It is not what it should be.
    #[error("{} is no PEM file of {what}: {reason}", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// What is expected in it.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The key cannot be used.
    #[error("{}: the private key cannot be used: {reason}; make a new one", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Key and certificate are not a pair.
    #[error(
        "the private key in {} is not that of the first certificate in {}; give a pair, the \
         program's own certificate first",
        key.display(), certificate.display()
    )]
    Pair {
        /// File of the key.
        key: PathBuf,
        /// File of the certificate.
        certificate: PathBuf,
    },
    /// Nobody who trusts the CA would accept the certificate.
    #[error("{}: {reason}", path.display())]
    Certificate {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A node's certificate has to name it.
    #[error(
        "{}: the certificate lacks the DNS name {name}; a node's certificate has the names \
         {CLUSTER_NAME} and node-<id>.{CLUSTER_NAME}",
        path.display()
    )]
    Name {
        /// Which file.
        path: PathBuf,
        /// The missing name.
        name: String,
    },
}

impl TlsFiles {
    /// Reads the files, and checks that they fit each other, the node and the present time.
    pub(super) fn load(&self) -> Result<(Arc<ServerConfig>, Arc<ClientConfig>), TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let roots = Arc::new(self.roots()?);
        let chain = certificates(&self.certificate)?;
        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|error| self.ca_trouble(error.to_string()))?;
        let servers = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
            .build()
            .map_err(|error| self.ca_trouble(error.to_string()))?;
        self.check_own(&chain, clients.as_ref())?;
        let server = self.server(&provider, clients, chain.clone())?;
        let client = self.client(provider, servers, chain)?;
        Ok((Arc::new(server), Arc::new(client)))
    }

    fn server(
        &self,
        provider: &Arc<CryptoProvider>,
        clients: Arc<dyn ClientCertVerifier>,
        chain: Vec<CertificateDer<'static>>,
    ) -> Result<ServerConfig, TlsError> {
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| self.key_trouble(&error))?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain, self.private_key()?)
            .map_err(|error| self.key_trouble(&error))?;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok(server)
    }

    fn client(
        &self,
        provider: Arc<CryptoProvider>,
        servers: Arc<WebPkiServerVerifier>,
        chain: Vec<CertificateDer<'static>>,
    ) -> Result<ClientConfig, TlsError> {
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| self.key_trouble(&error))?
            .with_webpki_verifier(servers)
            .with_client_auth_cert(chain, self.private_key()?)
            .map_err(|error| self.key_trouble(&error))?;
        client.resumption = Resumption::disabled();
        Ok(client)
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.ca)? {
            roots
                .add(certificate)
                .map_err(|error| self.ca_trouble(error.to_string()))?;
        }
        Ok(roots)
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        let pem = read(&self.key)?;
        PrivateKeyDer::from_pem_slice(&pem)
            .map_err(|error| not_pem(&self.key, "a private key", &error))
    }

    /// What another node would find wrong with this program's certificate is better found here.
    fn check_own(
        &self,
        chain: &[CertificateDer<'_>],
        clients: &dyn ClientCertVerifier,
    ) -> Result<(), TlsError> {
        let path = &self.certificate;
        let trouble = |error: &rustls::Error| TlsError::Certificate {
            path: path.clone(),
            reason: certificate_trouble(error),
        };
        let (own, rest) = chain.split_first().expect("at least one was read");
        clients
            .verify_client_cert(own, rest, UnixTime::now())
            .map_err(|error| trouble(&error))?;
        let parsed = ParsedCertificate::try_from(own).map_err(|error| trouble(&error))?;
        let Some(node) = self.node else {
            return Ok(());
        };
        for name in [CLUSTER_NAME.to_owned(), node_name(node)] {
            let wanted = ServerName::try_from(name.clone()).expect("these are DNS names");
            if verify_server_name(&parsed, &wanted).is_err() {
                let path = path.clone();
                return Err(TlsError::Name { path, name });
            }
        }
        if !super::named_nodes(own).contains(&node) {
            // A wildcard fits any node, so it speaks for none.
            let (path, name) = (path.clone(), node_name(node));
            return Err(TlsError::Name { path, name });
        }
        Ok(())
    }

    fn ca_trouble(&self, reason: String) -> TlsError {
        TlsError::Pem {
            path: self.ca.clone(),
            what: "CA certificates",
            reason,
        }
    }

    fn key_trouble(&self, error: &rustls::Error) -> TlsError {
        match error {
            rustls::Error::InconsistentKeys(_) => TlsError::Pair {
                key: self.key.clone(),
                certificate: self.certificate.clone(),
            },
            _ => TlsError::Key {
                path: self.key.clone(),
                reason: error.to_string(),
            },
        }
    }
}

/// Longest PEM file that is read, bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let refused = |error| TlsError::Read {
        path: path.to_owned(),
        error,
    };
    let bytes = fs::metadata(path).map_err(refused)?.len();
    if bytes > FILE_BYTES_MAX {
        let text = format!("it has {bytes} bytes; no PEM file of ours has more than 1 MiB");
        return Err(refused(std::io::Error::other(text)));
    }
    fs::read(path).map_err(refused)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let all = all.map_err(|error| not_pem(path, "certificates", &error))?;
    if all.is_empty() {
        return Err(not_pem(path, "certificates", &pem::Error::NoItemsFound));
    }
    Ok(all)
}

fn not_pem(path: &Path, what: &'static str, error: &pem::Error) -> TlsError {
    let reason = match error {
        pem::Error::NoItemsFound => "there is none in it".to_owned(),
        pem::Error::Base64Decode(_) => "it is damaged".to_owned(),
        pem::Error::MissingSectionEnd { .. } => "it is cut short".to_owned(),
        other => other.to_string(),
    };
    TlsError::Pem {
        path: path.to_owned(),
        what,
        reason,
    }
}
