//! What `mfsha.cfg` says of the cluster: where the nodes are, the token, the files of TLS.
//!
//! The file is read as the daemon reads it, variables of the environment included, so what a node
//! refuses is refused here, too.

use std::path::Path;

use mfsha_client::{Address, TlsFiles};

use super::output::Failure;
use crate::config::{Configuration, Environment, Inputs, KEYS, Settings};

/// What a client needs of it.
#[derive(Debug)]
pub struct FromFile {
    pub addresses: Vec<Address>,
    pub token: Option<String>,
    pub tls: Option<TlsFiles>,
}

impl FromFile {
    /// Reads the file.
    pub fn read(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        let names = KEYS.iter().map(|spec| spec.name);
        let set = names.filter_map(|name| Some((name.to_owned(), env(name)?.into())));
        let inputs = Inputs {
            file: Some(path.to_owned()),
            environment: Environment::Fixed(set.collect()),
            command_line: Vec::new(),
        };
        let usage = |text: String| Failure::usage(text);
        let configuration =
            Configuration::load(inputs).map_err(|error| usage(error.to_string()))?;
        let settings = configuration.settings();
        let addresses = nodes(settings)
            .iter()
            .map(|text| text.parse())
            .collect::<Result<Vec<Address>, _>>()
            .map_err(|error| usage(format!("{}: {error}", path.display())))?;
        Ok(Self {
            addresses,
            token: settings.auth_token().map(str::to_owned),
            tls: settings.tls().map(|paths| TlsFiles {
                ca: paths.ca,
                identity: Some((paths.cert, paths.key)),
            }),
        })
    }
}

/// The nodes that are named; without any the node on this machine.
fn nodes(settings: &Settings) -> Vec<String> {
    let peers = settings.peer_addresses();
    if !peers.is_empty() {
        return peers.iter().map(|peer| peer.address.to_string()).collect();
    }
    let port = settings.port();
    let bound = match settings.bind_host() {
        "0.0.0.0" => "127.0.0.1",
        "[::]" => "[::1]",
        host => host,
    };
    let host = settings.advertise_host().unwrap_or(bound);
    vec![format!("{host}:{port}")]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, env: &[(&str, &str)]) -> Result<FromFile, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mfsha.cfg");
        std::fs::write(&path, text).unwrap();
        let env = |name: &str| {
            let found = env.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        FromFile::read(&path, &env).map_err(|failure| format!("{failure:?}"))
    }

    fn shown(found: &FromFile) -> Vec<String> {
        found.addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_nodes_are_where_the_daemon_would_look_for_them() {
        let file = "MFSHA_PORT = 7\nMFSHA_PEERS = 1@a, b:8, [::1]\n";
        let found = read(file, &[]).unwrap();
        assert_eq!(shown(&found), ["a:7", "b:8", "[::1]:7"]);
        assert!(found.tls.is_none() && found.token.is_none());
        let found = read(file, &[("MFSHA_PEERS", "c"), ("MFSHA_PORT", "")]).unwrap();
        assert_eq!(shown(&found), ["c:7"], "the environment stands above it");
        for (line, node) in [
            ("", "127.0.0.1:9430"),
            ("BIND_HOST = [::]", "[::1]:9430"),
            ("BIND_HOST = 10.0.0.1", "10.0.0.1:9430"),
            ("MFSHA_ADVERTISE_HOST = n", "n:9430"),
        ] {
            assert_eq!(shown(&read(line, &[]).unwrap()), [node]);
        }
    }

    #[test]
    fn tls_and_the_token_come_along_and_what_is_wrong_is_told_with_its_line() {
        let file = "MFSHA_TLS_ENABLE = 1\nMFSHA_TLS_CERT_PATH = /c\nMFSHA_TLS_KEY_PATH = /k\n\
                    MFSHA_TLS_CA_PATH = /a\nMFSHA_AUTH_TOKEN = secret\n";
        let found = read(file, &[]).unwrap();
        assert_eq!(found.token.as_deref(), Some("secret"));
        let expected = TlsFiles {
            ca: "/a".into(),
            identity: Some(("/c".into(), "/k".into())),
        };
        assert_eq!(found.tls, Some(expected));
        let off = file.replace("ENABLE = 1", "ENABLE = 0");
        assert_eq!(read(&off, &[]).unwrap().tls, None);
        let error = read("MFSHA_PORT = x\n", &[]).unwrap_err();
        assert!(error.contains("mfsha.cfg:1:14"), "{error}");
    }
}
