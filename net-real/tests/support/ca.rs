//! An authority that makes certificates for nodes and clients, in a directory of its own.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};

/// One authority.
pub struct Ca {
    directory: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key.
pub struct Pair {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Ca {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory for the authority");
        let mut params = CertificateParams::new(Vec::new()).expect("no names are good names");
        let name = directory.path().display().to_string();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        fs::write(directory.path().join("ca.pem"), issuer.pem()).expect("a file");
        Self { directory, issuer }
    }

    /// The authority's own certificate.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    fn issue(&self, names: &[&str]) -> Pair {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let file = names.join("+");
        let mut params = CertificateParams::new(names).expect("these are names");
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a signature");
        let at = |end: &str| self.directory.path().join(format!("{file}.{end}"));
        let pair = Pair {
            certificate: at("crt"),
            key: at("key"),
        };
        fs::write(&pair.certificate, certificate.pem()).expect("a file");
        fs::write(&pair.key, key.serialize_pem()).expect("a file");
        pair
    }

    /// For a node.
    pub fn node(&self, node: u64) -> Pair {
        self.issue(&["mfsha", &format!("node-{node}.mfsha")])
    }

    /// For a client or an operator.
    pub fn client(&self) -> Pair {
        self.issue(&["a-client"])
    }
}

impl Pair {
    /// The options of a node that shows this certificate and trusts `ca`.
    pub fn of_node(&self, ca: &Path) -> Vec<String> {
        vec![
            "--set=MFSHA_TLS_ENABLE=1".to_owned(),
            format!("--set=MFSHA_TLS_CERT_PATH={}", self.certificate.display()),
            format!("--set=MFSHA_TLS_KEY_PATH={}", self.key.display()),
            format!("--set=MFSHA_TLS_CA_PATH={}", ca.display()),
        ]
    }

    /// The options of an `mfsha-admin` that shows this certificate and trusts `ca`.
    pub fn of_admin(&self, ca: &Path) -> Vec<String> {
        vec![
            format!("--tls-ca={}", ca.display()),
            format!("--tls-cert={}", self.certificate.display()),
            format!("--tls-key={}", self.key.display()),
        ]
    }
}
