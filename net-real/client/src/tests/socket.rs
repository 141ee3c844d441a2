//! Real sockets on loopback: plain and TLS, with good and bad files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::{is_node, mkdir};
use crate::testing::Fake;
use crate::tls::{TlsError, TlsFiles};
use crate::{Address, Client, ClientOptions, Fail, OptionsError};

/// An authority, and certificates by it, as files.
struct Pki {
    folder: tempfile::TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = CertifiedIssuer::self_signed(params, key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
        Self { folder, authority }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Certificate and key made out to a name.
    fn issue(&self, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        let paths = (
            self.path(&format!("{name}.pem")),
            self.path(&format!("{name}.key")),
        );
        std::fs::write(&paths.0, certificate.pem()).unwrap();
        std::fs::write(&paths.1, key.serialize_pem()).unwrap();
        paths
    }

    /// What a node uses that is called so, and asks clients for certificates of this authority.
    fn acceptor(&self, name: &str) -> TlsAcceptor {
        use rustls_pki_types::pem::PemObject;
        use rustls_pki_types::{CertificateDer, PrivateKeyDer};

        let (chain, key) = self.issue(name);
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(self.path("ca.pem")).unwrap();
        roots.add(ca).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![CertificateDer::from_pem_file(chain).unwrap()],
                PrivateKeyDer::from_pem_file(key).unwrap(),
            )
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// One node behind a socket; what a client is given to reach it.
async fn serve(fake: &Fake, tls: Option<TlsAcceptor>) -> ClientOptions {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    fake.at(1, &address);
    let fake = fake.clone();
    tokio::spawn(async move { fake.serve(1, listener, tls).await });
    let mut options = ClientOptions::new(Address::parse_list(&address).unwrap());
    // Refusals by TLS are repeated until this is over.
    options.timeout = Duration::from_millis(500);
    options
}

async fn connect(options: ClientOptions) -> Result<Client, Fail> {
    Client::connect(options).await.unwrap()
}

#[tokio::test]
async fn plain_sockets_carry_the_protocol() {
    let fake = Fake::new(1);
    let mut options = serve(&fake, None).await;
    options.timeout = Duration::from_secs(30);
    let client = connect(options).await.unwrap();
    is_node(client.write(mkdir("a")).await);
    client.close().await.unwrap();
}

#[tokio::test]
async fn tls_checks_both_sides() {
    let (ours, theirs) = (Pki::new(), Pki::new());
    let fake = Fake::new(1);
    let mut options = serve(&fake, Some(ours.acceptor("mfsha"))).await;
    let ca = ours.path("ca.pem");
    let files = |ca: &Path, identity| {
        Some(TlsFiles {
            ca: ca.to_owned(),
            identity,
        })
    };
    options.tls = files(&ca, Some(ours.issue("client")));
    let good = ClientOptions {
        timeout: Duration::from_secs(30),
        ..options.clone()
    };
    let client = connect(good).await.unwrap();
    is_node(client.write(mkdir("a")).await);
    for (why, tls) in [
        ("no TLS", None),
        ("no certificate", files(&ca, None)),
        (
            "a certificate of another authority",
            files(&ca, Some(theirs.issue("client"))),
        ),
        (
            "another authority trusted",
            files(&theirs.path("ca.pem"), Some(ours.issue("client"))),
        ),
    ] {
        let tried = connect(ClientOptions {
            tls,
            ..options.clone()
        });
        assert!(
            matches!(tried.await, Err(Fail::Unreachable { .. })),
            "{why}"
        );
    }
}

#[tokio::test]
async fn a_node_by_another_name_is_not_believed() {
    let pki = Pki::new();
    let fake = Fake::new(1);
    let mut options = serve(&fake, Some(pki.acceptor("somebody"))).await;
    options.tls = Some(TlsFiles {
        ca: pki.path("ca.pem"),
        identity: Some(pki.issue("client")),
    });
    assert!(matches!(
        connect(options).await,
        Err(Fail::Unreachable { .. })
    ));
    assert_eq!(fake.hellos(), 0, "no token was shown to it");
}

#[tokio::test]
async fn files_that_are_no_use_are_named() {
    let pki = Pki::new();
    let (chain, key) = pki.issue("client");
    let empty = pki.path("empty.pem");
    std::fs::write(&empty, "nothing").unwrap();
    let other_key = pki.issue("other").1;
    let ca = pki.path("ca.pem");
    for (ca, chain, key) in [
        (pki.path("missing"), chain.clone(), key.clone()),
        (empty.clone(), chain.clone(), key.clone()),
        (ca.clone(), empty.clone(), key.clone()),
        (ca.clone(), chain.clone(), empty.clone()),
        (ca.clone(), chain.clone(), other_key),
    ] {
        let mut options = ClientOptions::new(Address::parse_list("127.0.0.1:1").unwrap());
        options.tls = Some(TlsFiles {
            ca,
            identity: Some((chain, key)),
        });
        let error = Client::connect(options).await.err();
        assert!(
            matches!(
                error,
                Some(OptionsError::Tls(
                    TlsError::File { .. } | TlsError::Empty { .. } | TlsError::Unusable { .. }
                ))
            ),
            "{error:?}"
        );
    }
}
