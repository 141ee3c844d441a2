//! Good and bad certificates, over real sockets.

use std::fs;
use std::path::PathBuf;

use mfsha_core::id::NodeId;
use mfsha_core::transport::Speaker;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, date_time_ymd,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Tls, TlsError, TlsFiles, explain, parse_node_name, speaker};

/// A CA in a directory of its own.
pub(crate) struct Ca {
    directory: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Ca {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let name = directory.path().to_str().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        fs::write(directory.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { directory, issuer }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn issue(&self, names: &[&str], change: impl Fn(&mut CertificateParams)) -> TlsFiles {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let file = names.join("+");
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = TlsFiles {
            ca: self.path("ca.pem"),
            certificate: self.path(&format!("{file}.crt")),
            key: self.path(&format!("{file}.key")),
            node: None,
        };
        fs::write(&files.certificate, certificate.pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    pub(crate) fn node(&self, node: u64) -> TlsFiles {
        let name = super::node_name(NodeId(node));
        let mut files = self.issue(&["mfsha", &name], |_| {});
        files.node = Some(NodeId(node));
        files
    }

    pub(crate) fn client(&self) -> TlsFiles {
        self.issue(&["a-client"], |_| {})
    }
}

/// Shakes hands; what the server and the client came to, the client having read a byte.
async fn shake(
    server: &Tls,
    client: &Tls,
    node: Option<u64>,
) -> (Result<Speaker, String>, Result<Speaker, String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = async {
        let (socket, _) = listener.accept().await.unwrap();
        let mut stream = server.accept(socket).await.map_err(|e| explain(&e))?;
        stream.write_all(b"x").await.map_err(|e| explain(&e))?;
        stream.flush().await.map_err(|e| explain(&e))?;
        let found = speaker(&stream);
        // Kept open until the client has read.
        let _ = stream.read(&mut [0]).await;
        Ok(found)
    };
    let asking = async {
        let socket = TcpStream::connect(address).await.unwrap();
        let stream = client.connect(socket, node.map(NodeId)).await;
        let mut stream = stream.map_err(|e| explain(&e))?;
        // Under TLS 1.3 a refusal of the client's certificate comes with the first read.
        stream.read_exact(&mut [0]).await.map_err(|e| explain(&e))?;
        Ok(speaker(&stream))
    };
    tokio::join!(serving, asking)
}

#[tokio::test]
async fn certificates_of_one_ca_speak_for_the_nodes_they_name() {
    let ca = Ca::new();
    let (one, two) = (
        Tls::load(ca.node(1)).unwrap(),
        Tls::load(ca.node(2)).unwrap(),
    );
    let client = Tls::load(ca.client()).unwrap();
    let is = |node| Ok(Speaker::Nodes([NodeId(node)].into()));
    assert_eq!(shake(&one, &two, Some(1)).await, (is(2), is(1)));
    assert_eq!(shake(&one, &two, None).await, (is(2), is(1)));
    // A client speaks for no node.
    let nobody = Ok(Speaker::Nodes([].into()));
    assert_eq!(shake(&one, &client, None).await, (nobody, is(1)));
}

#[tokio::test]
async fn another_node_or_ca_is_refused_with_words() {
    let (ca, other) = (Ca::new(), Ca::new());
    let (one, two) = (
        Tls::load(ca.node(1)).unwrap(),
        Tls::load(ca.node(2)).unwrap(),
    );
    let (_, asked) = shake(&one, &two, Some(3)).await;
    let text = asked.unwrap_err();
    assert!(text.contains("lacks the name node-3.mfsha"), "{text}");
    let stranger = Tls::load(other.node(2)).unwrap();
    let (served, asked) = shake(&one, &stranger, Some(1)).await;
    let (served, asked) = (served.unwrap_err(), asked.unwrap_err());
    assert!(asked.contains("CA"), "{asked}");
    assert!(served.contains("another CA"), "{served}");
    // Only the node's own side trusts: then the client's certificate is what is refused.
    let mut mixed = other.node(2);
    mixed.ca = other.path("both.pem");
    let both = [
        fs::read(other.path("ca.pem")).unwrap(),
        fs::read(ca.path("ca.pem")).unwrap(),
    ];
    fs::write(&mixed.ca, both.concat()).unwrap();
    let mixed = Tls::load(mixed).unwrap();
    let (served, asked) = shake(&one, &mixed, Some(1)).await;
    let (served, asked) = (served.unwrap_err(), asked.unwrap_err());
    assert!(served.contains("not of the CA"), "{served}");
    assert!(
        asked.contains("does not accept this program's certificate"),
        "{asked}"
    );
}

#[tokio::test]
async fn clear_text_at_a_port_with_tls_is_told() {
    let ca = Ca::new();
    let one = Tls::load(ca.node(1)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    for bytes in [&b"MFSA and so on, in the clear"[..], &[0; 64]] {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let error = one.accept(accepted).await.unwrap_err();
        let text = explain(&error);
        assert!(text.contains("does not speak TLS"), "{text}");
    }
}

#[test]
fn bad_files_are_named_with_what_to_do() {
    let ca = Ca::new();
    let good = ca.node(1);
    let text = |files: TlsFiles| Tls::load(files).unwrap_err().to_string();
    let with = |change: &dyn Fn(&mut TlsFiles)| {
        let mut files = good.clone();
        change(&mut files);
        text(files)
    };
    let missing = with(&|files| files.key = ca.path("nothing"));
    assert!(
        missing.contains("cannot read") && missing.contains("nothing"),
        "{missing}"
    );
    fs::write(ca.path("garbage"), b"\x00garbage").unwrap();
    let garbage = with(&|files| files.certificate = ca.path("garbage"));
    assert!(
        garbage.contains("is no PEM file of certificates"),
        "{garbage}"
    );
    let pem = fs::read(&good.certificate).unwrap();
    fs::write(ca.path("cut"), &pem[..pem.len() / 2]).unwrap();
    let cut = with(&|files| files.certificate = ca.path("cut"));
    assert!(cut.contains("cut short"), "{cut}");
    let swapped = with(&|files| files.key = files.certificate.clone());
    assert!(swapped.contains("a private key"), "{swapped}");
    let pair = with(&|files| files.key = ca.node(2).key);
    assert!(
        pair.contains("is not that of the first certificate"),
        "{pair}"
    );
    let name = with(&|files| files.node = Some(NodeId(9)));
    assert!(name.contains("lacks the DNS name node-9.mfsha"), "{name}");
    let mut wild = ca.issue(&["mfsha", "*.mfsha"], |_| {});
    wild.node = Some(NodeId(1));
    assert!(matches!(Tls::load(wild), Err(TlsError::Name { .. })));
    let expired = ca.issue(&["expired"], |params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    });
    let expired = text(expired);
    assert!(expired.contains("it has expired"), "{expired}");
    let other = Ca::new();
    let mut foreign = other.node(1);
    foreign.ca.clone_from(&good.ca);
    let foreign = text(foreign);
    assert!(foreign.contains("not of the CA"), "{foreign}");
    let purpose = ca.issue(&["one-way"], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let purpose = text(purpose);
    assert!(purpose.contains("not meant for both"), "{purpose}");
}

#[tokio::test]
async fn files_that_are_read_again_count_for_new_connections() {
    let (ca, other) = (Ca::new(), Ca::new());
    let files = ca.node(1);
    let one = Tls::load(files.clone()).unwrap();
    let stranger = Tls::load(other.node(2)).unwrap();
    assert!(shake(&one, &stranger, Some(1)).await.1.is_err());
    fs::write(&files.key, b"not a key").unwrap();
    assert!(one.reload().is_err());
    let two = Tls::load(ca.node(2)).unwrap();
    assert!(
        shake(&one, &two, Some(1)).await.1.is_ok(),
        "the old ones stay in use"
    );
    let new = other.node(1);
    for (from, to) in [
        (&new.ca, &files.ca),
        (&new.certificate, &files.certificate),
        (&new.key, &files.key),
    ] {
        fs::copy(from, to).unwrap();
    }
    one.reload().unwrap();
    assert!(shake(&one, &stranger, Some(1)).await.1.is_ok());
}

#[test]
fn one_spelling_names_a_node() {
    assert_eq!(parse_node_name("node-7.mfsha"), Some(NodeId(7)));
    for name in [
        "node-07.mfsha",
        "node-+7.mfsha",
        "node-0.mfsha",
        "node-7",
        "*.mfsha",
        "mfsha",
    ] {
        assert_eq!(parse_node_name(name), None, "{name}");
    }
}
