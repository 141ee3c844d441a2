//! Where a node takes clients: `host:port`. Names are looked up when a connection is made.

use std::fmt;
use std::str::FromStr;

/// The port where nodes take native clients.
pub const PORT_DEFAULT: u16 = 9430;

/// Host and port of a node. The host is a name, an IPv4 address, or an IPv6 address in brackets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    host: String,
    port: u16,
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Nothing stands in front of the port.
    #[error("{text:?} names no host; give HOST or HOST:PORT")]
    NoHost {
        /// The text.
        text: String,
    },
    /// The port is no number from 1 to 65,535.
    #[error("{text:?} has no valid port; give a number from 1 to 65535, or leave it out for 9430")]
    Port {
        /// The text.
        text: String,
    },
    /// An IPv6 address without brackets, or a host with signs that no host has.
    #[error("{text:?} is no host; give an IPv6 address in brackets, as in [::1]:9430")]
    Host {
        /// The text.
        text: String,
    },
}

impl Address {
    /// The host, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Reads a list with commas; empty parts are passed over.
    ///
    /// # Errors
    /// [`AddressError`] of the first part that is none.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, AddressError> {
        text.split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(str::parse)
            .collect()
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (host, port) = split(text)?;
        let port = match port {
            None => PORT_DEFAULT,
            Some(digits) => digits
                .parse()
                .ok()
                .filter(|port| *port != 0 && digits.bytes().all(|byte| byte.is_ascii_digit()))
                .ok_or_else(|| AddressError::Port { text: text.into() })?,
        };
        if host.is_empty() {
            return Err(AddressError::NoHost { text: text.into() });
        }
        let host = host.to_owned();
        Ok(Self { host, port })
    }
}

/// Host without brackets, and what stands behind the last colon.
fn split(text: &str) -> Result<(&str, Option<&str>), AddressError> {
    let bad = || AddressError::Host { text: text.into() };
    if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or_else(bad)?;
        host.parse::<std::net::Ipv6Addr>().map_err(|_| bad())?;
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err(bad()),
        };
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let part_of_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if port.is_some_and(|port| port.contains(':')) || !host.bytes().all(part_of_host) {
        return Err(bad());
    }
    Ok((host, port))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_get_the_port_that_nodes_have() {
        for (text, shown) in [
            ("node-1", "node-1:9430"),
            ("10.0.0.1:7", "10.0.0.1:7"),
            ("[::1]", "[::1]:9430"),
            ("[fe80::1]:65535", "[fe80::1]:65535"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), shown);
        }
        assert_eq!(Address::parse_list("a, b:1,,").unwrap().len(), 2);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "", ":1", "a:", "a:0", "a:65536", "a:+1", "a:x", "::1", "[::1", "[::1]x", "[a]", "a b",
            "a/b", "[]:1",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text:?}");
        }
    }
}
