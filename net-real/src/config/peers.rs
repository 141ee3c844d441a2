//! `MFSHA_PEERS`: nodes and where they are, as an operator writes them.
//!
//! Names are not resolved here.

use std::fmt;

use mfsha_core::id::NodeId;
use mfsha_core::limits;
use mfsha_core::transport::{Address, PeerAddress};

/// One node of `MFSHA_PEERS`: `HOST`, `HOST:PORT`, `ID@HOST` or `ID@HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    /// Its id, when it is written.
    pub node: Option<NodeId>,
    /// Its host; an IPv6 address has its brackets. A proper host of an [`Address`].
    pub host: String,
    /// Its port, when it is written.
    pub port: Option<u16>,
}

/// Why a text is no list of nodes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeersError {
    /// Two commas in a row, or one at an end.
    #[error("node {at} of the list is empty; take the extra comma out")]
    Empty {
        /// Which, from 1.
        at: usize,
    },
    /// An IPv6 address without brackets: where does the port begin?
    #[error("{text:?} is an IPv6 address without brackets; write [{address}]")]
    Brackets {
        /// The item.
        text: String,
        /// The address in it.
        address: String,
    },
    /// What stands before `@` is no id.
    #[error("{text:?} names no node: before the @ stands its number, from 1 to 4294967295")]
    Node {
        /// The item.
        text: String,
    },
    /// What stands behind the last `:` is no port.
    #[error("{text:?} has no port from 1 to 65535 behind the colon")]
    Port {
        /// The item.
        text: String,
    },
    /// Neither a name nor an address.
    #[error(
        "{text:?} is no node: write HOST, HOST:PORT, ID@HOST or ID@HOST:PORT, \
         an IPv6 address in brackets"
    )]
    Host {
        /// The item.
        text: String,
    },
    /// One node stands twice.
    #[error("{text:?} stands in the list twice")]
    Twice {
        /// The item.
        text: String,
    },
    /// One id has two addresses.
    #[error("node {id} stands in the list with two addresses; each node has one")]
    SameNode {
        /// Its id.
        id: u64,
    },
    /// A longer list than any cluster has.
    #[error(
        "the list has {count} nodes, at most {} are allowed",
        limits::PEER_COUNT_MAX
    )]
    TooMany {
        /// Its length.
        count: usize,
    },
}

impl Peer {
    /// Where it is, with this port when none is written.
    ///
    /// # Panics
    /// Never for a peer that was parsed: its host was tried.
    #[must_use]
    pub fn address(&self, port: u16) -> PeerAddress {
        let port = self.port.unwrap_or(port);
        let text = format!("{}:{port}", self.host);
        PeerAddress {
            node: self.node,
            address: Address::new(&text).expect("the host was tried with the longest port"),
        }
    }

    fn parse(text: &str) -> Result<Self, PeersError> {
        let owned = || shortened(text);
        let (node, place) = match text.split_once('@') {
            None => (None, text),
            Some((id, place)) => match id.parse::<u32>() {
                Ok(id @ 1..) if id_is_digits(text) => (Some(NodeId(id.into())), place),
                _ => return Err(PeersError::Node { text: owned() }),
            },
        };
        if place.parse::<std::net::Ipv6Addr>().is_ok() {
            let address = place.into();
            let text = owned();
            return Err(PeersError::Brackets { text, address });
        }
        let (host, port) = match place.rsplit_once(':') {
            // The last colon of `[::1]` is part of the address.
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (place, None),
        };
        if !is_host(host) {
            return Err(PeersError::Host { text: owned() });
        }
        let port = match port {
            None => None,
            Some(port) => match port.parse::<u16>() {
                Ok(number @ 1..) if port.bytes().all(|byte| byte.is_ascii_digit()) => Some(number),
                _ => return Err(PeersError::Port { text: owned() }),
            },
        };
        Ok(Self {
            node,
            host: host.into(),
            port,
        })
    }
}

fn id_is_digits(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}

fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}

/// Whether a text can stand before `:port`.
pub(super) fn is_host(host: &str) -> bool {
    Address::check(&format!("{host}:65535")).is_ok()
}

/// Reads a list of nodes.
///
/// # Errors
/// [`PeersError`].
pub fn parse(text: &str) -> Result<Vec<Peer>, PeersError> {
    let count = text.split(',').count();
    if count > limits::PEER_COUNT_MAX {
        return Err(PeersError::TooMany { count });
    }
    let mut peers: Vec<Peer> = Vec::with_capacity(count);
    for (at, item) in text.split(',').enumerate() {
        let item = item.trim();
        if item.is_empty() {
            return Err(PeersError::Empty { at: at + 1 });
        }
        let peer = Peer::parse(item)?;
        let same = |other: &&Peer| (&other.host, other.port) == (&peer.host, peer.port);
        if peers.iter().find(same).is_some() {
            let text = shortened(item);
            return Err(PeersError::Twice { text });
        }
        if let Some(node) = peer.node
            && peers.iter().any(|other| other.node == peer.node)
        {
            return Err(PeersError::SameNode { id: node.0 });
        }
        peers.push(peer);
    }
    Ok(peers)
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(node) = self.node {
            write!(f, "{}@", node.0)?;
        }
        f.write_str(&self.host)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_node_is_read() {
        let text = "a, b:9431 ,3@c,4@d.example.org:1,[::1],6@[fe80::1%eth0]:65535,10.0.0.1";
        let peers = parse(text).unwrap();
        let shown: Vec<_> = peers
            .iter()
            .map(|peer| {
                let PeerAddress { node, address } = peer.address(9430);
                (node.map_or(0, |node| node.0), address.to_string())
            })
            .collect();
        let expected = [
            (0, "a:9430"),
            (0, "b:9431"),
            (3, "c:9430"),
            (4, "d.example.org:1"),
            (0, "[::1]:9430"),
            (6, "[fe80::1%eth0]:65535"),
            (0, "10.0.0.1:9430"),
        ];
        let expected = expected.map(|(node, address)| (node, address.to_owned()));
        assert_eq!(shown, expected);
    }

    #[test]
    fn what_is_wrong_with_a_list_is_said() {
        for (text, part) in [
            ("a,,b", "node 2 of the list is empty"),
            ("a,", "node 2 of the list is empty"),
            ("::1", "write [::1]"),
            ("2@fe80::1", "write [fe80::1]"),
            ("0@a", "names no node"),
            ("+1@a", "names no node"),
            ("x@a", "names no node"),
            ("a:0", "has no port from 1 to 65535"),
            ("a:", "has no port"),
            ("a:+1", "has no port"),
            ("a:65536", "has no port"),
            ("a b", "is no node"),
            ("a:1:2", "is no node"),
            ("a;b", "is no node"),
            ("[::1", "is no node"),
            ("a,a", "twice"),
            ("1@a,1@b", "node 1 stands in the list with two addresses"),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        let many = vec!["a"; limits::PEER_COUNT_MAX + 1].join(",");
        assert!(matches!(parse(&many), Err(PeersError::TooMany { .. })));
    }
}
