//! The authority of a run with TLS: certificates for its nodes, also for those that come later, and
//! one for its clients.

use std::fs;
use std::path::{Path, PathBuf};

use mfsha_client::TlsFiles;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};

/// Who signs, and where the files are.
pub struct Authority {
    directory: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The system refuses a file.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It cannot be made.
    #[error("a certificate cannot be made: {0}")]
    Made(#[from] rcgen::Error),
}

impl Authority {
    /// An authority whose files lie in this directory, which is made.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn new(directory: &Path) -> Result<Self, AuthorityError> {
        fs::create_dir_all(directory).map_err(|error| AuthorityError::File {
            path: directory.to_owned(),
            error,
        })?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let authority = Self {
            directory: directory.to_owned(),
            issuer,
        };
        authority.write("ca.pem", &authority.issuer.pem())?;
        Ok(authority)
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, AuthorityError> {
        let path = self.directory.join(name);
        match fs::write(&path, text) {
            Ok(()) => Ok(path),
            Err(error) => Err(AuthorityError::File { path, error }),
        }
    }

    /// A certificate under these names, and its key.
    fn issue(&self, file: &str, names: &[String]) -> Result<TlsFiles, AuthorityError> {
        let mut params = CertificateParams::new(names)?;
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let chain = self.write(&format!("{file}.crt"), &certificate.pem())?;
        let key = self.write(&format!("{file}.key"), &key.serialize_pem())?;
        Ok(TlsFiles {
            ca: self.directory.join("ca.pem"),
            identity: Some((chain, key)),
        })
    }

    /// What a client shows.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn client(&self) -> Result<TlsFiles, AuthorityError> {
        self.issue("client", &["client".to_owned()])
    }

    /// The options of a node.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn options_of_node(&self, node: u64) -> Result<Vec<String>, AuthorityError> {
        let names = ["mfsha".to_owned(), format!("node-{node}.mfsha")];
        let files = self.issue(&format!("node-{node}"), &names)?;
        let mut options = vec![
            "--set=MFSHA_TLS_ENABLE=1".to_owned(),
            format!("--set=MFSHA_TLS_CA_PATH={}", files.ca.display()),
        ];
        if let Some((chain, key)) = files.identity {
            options.push(format!("--set=MFSHA_TLS_CERT_PATH={}", chain.display()));
            options.push(format!("--set=MFSHA_TLS_KEY_PATH={}", key.display()));
        }
        Ok(options)
    }
}
