//! TLS from PEM files. Nodes and clients show certificates of one authority; the node's has to be
//! made out to the name `mfsha`, whichever host it runs on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::TlsConnector;

/// The name in every node's certificate.
pub const SERVER_NAME: &str = "mfsha";

/// Paths of PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of the authorities that are trusted.
    pub ca: PathBuf,
    /// The client's certificate chain and its key; `None` where nodes ask for none.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Why TLS cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file is missing, cannot be read, or is no PEM.
    #[error("cannot read {what} from {}: {reason}", path.display())]
    File {
        /// What was looked for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// There is no certificate in the file.
    #[error("{} holds no certificate in PEM", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Certificate and key do not belong together, or are not usable.
    #[error("certificate and key cannot be used: {reason}")]
    Unusable {
        /// Why not.
        reason: String,
    },
}

/// Reads the files.
///
/// # Errors
/// [`TlsError`], which names the file.
pub fn connector(files: &TlsFiles) -> Result<TlsConnector, TlsError> {
    let unusable = |error: rustls::Error| TlsError::Unusable {
        reason: error.to_string(),
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates("the authority's certificates", &files.ca)? {
        roots.add(certificate).map_err(unusable)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_root_certificates(roots);
    let config = match &files.identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let chain = certificates("the certificate", chain)?;
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| file_error("the private key", key, &error))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(unusable)?
        }
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The name that a node's certificate has to have.
pub(crate) fn server_name() -> ServerName<'static> {
    ServerName::try_from(SERVER_NAME).expect("the name is a host name")
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| file_error(what, path, &error))?;
    if certificates.is_empty() {
        return Err(TlsError::Empty { path: path.into() });
    }
    Ok(certificates)
}

fn file_error(what: &'static str, path: &Path, error: &pem::Error) -> TlsError {
    TlsError::File {
        what,
        path: path.into(),
        reason: error.to_string(),
    }
}
