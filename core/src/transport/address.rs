//! Where a node is reached: `host:port`, resolved by the driver alone, anew at every dial.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::NodeId;
use crate::limits;

/// `host:port`; the host is a name, an IPv4 address, or an IPv6 address in brackets.
///
/// Also one that was decoded is a proper one: what is not does not decode.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address(String);

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Longer than [`limits::ADDRESS_BYTES_MAX`].
    #[error(
        "an address of {bytes} bytes; at most {} are allowed",
        limits::ADDRESS_BYTES_MAX
    )]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Write it as `host:port`.
    #[error("{text:?} is no address: write host:port, an IPv6 address in brackets")]
    Form {
        /// The text.
        text: String,
    },
    /// The port is not a number from 1 to 65535.
    #[error("{text:?} has no port from 1 to 65535: write host:port")]
    Port {
        /// The text.
        text: String,
    },
    /// What stands before `@` is not a node's id.
    #[error("{text:?} names no node: write ID@host:port with a number from 1, or host:port alone")]
    Node {
        /// The text.
        text: String,
    },
}

impl Address {
    /// Takes a text as an address.
    ///
    /// # Errors
    /// [`AddressError`].
    pub fn new(text: &str) -> Result<Self, AddressError> {
        Self::check(text)?;
        Ok(Self(text.to_owned()))
    }

    /// Whether a text is an address.
    ///
    /// # Errors
    /// [`AddressError`].
    pub fn check(text: &str) -> Result<(), AddressError> {
        if text.len() > limits::ADDRESS_BYTES_MAX {
            return Err(AddressError::TooLong { bytes: text.len() });
        }
        let wrong = || AddressError::Form { text: text.into() };
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        let proper = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            Some(inner) => inner.split('%').next().is_some_and(|ip| {
                ip.parse::<std::net::Ipv6Addr>().is_ok()
                    && inner[ip.len()..].chars().skip(1).all(name)
            }),
            None => !host.is_empty() && host.chars().all(name),
        };
        if !proper {
            return Err(wrong());
        }
        match port.parse::<u16>() {
            Ok(1..) if port.bytes().all(|digit| digit.is_ascii_digit()) => Ok(()),
            _ => Err(AddressError::Port { text: text.into() }),
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::check(&text)?;
        Ok(Self(text))
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.0
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

/// A peer as an operator names it: `host:port`, or `ID@host:port`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerAddress {
    /// Who is there, when the operator says so.
    pub node: Option<NodeId>,
    /// Where.
    pub address: Address,
}

impl FromStr for PeerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((id, address)) = text.split_once('@') else {
            let address = Address::new(text)?;
            return Ok(Self {
                node: None,
                address,
            });
        };
        let address = Address::new(address)?;
        match id.parse() {
            Ok(id @ 1u64..) => Ok(Self {
                node: Some(NodeId(id)),
                address,
            }),
            _ => Err(AddressError::Node { text: text.into() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_other_texts() {
        for text in [
            "a:1",
            "a-b.c_d:9430",
            "10.0.0.1:65535",
            "[::1]:9430",
            "[fe80::1%eth0]:1",
        ] {
            assert_eq!(Address::check(text), Ok(()), "{text}");
        }
        let long = format!("{}:1", "a".repeat(limits::ADDRESS_BYTES_MAX));
        for text in [
            "",
            ":",
            "a",
            "a:",
            ":1",
            "a:0",
            "a:65536",
            "a:+1",
            "a b:1",
            "::1:9430",
            "[::1]",
            "a\n:1",
            "[x]:1",
            "ä:1",
            "[::1%]x:1",
            long.as_str(),
        ] {
            assert!(Address::check(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_operator_may_say_who_is_where() {
        let peer: PeerAddress = "3@a:9430".parse().unwrap();
        assert_eq!(peer.node, Some(NodeId(3)));
        assert_eq!(peer.address.as_str(), "a:9430");
        let bare: PeerAddress = "a:9430".parse().unwrap();
        assert_eq!(bare.node, None);
        for text in ["0@a:1", "x@a:1", "@a:1", "3@", "3@a"] {
            assert!(text.parse::<PeerAddress>().is_err(), "{text}");
        }
    }
}
