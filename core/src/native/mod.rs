//! What native clients and operators say to a node, and what they hear.
//!
//! A connection carries sealed records ([`crate::codec`]), one after the other, in both directions.
//! The client's first record is a [`ClientHello`], the node's first a [`Welcome`] or a
//! [`Refusal`], after which the node closes. From then on the client sends [`ToNode`] and hears
//! [`ToClient`]; answers come in any order and name the call.
//!
//! Nothing here knows a socket. `docs/protocols/native.md` has the page.

pub mod admin;
#[cfg(any(test, feature = "fuzzing"))]
mod fuzz;
mod hello;
pub mod inspect;
pub mod request;

use serde::{Deserialize, Serialize};

use admin::{AdminCall, AdminReply};
use request::{Request, Response};

#[cfg(feature = "fuzzing")]
pub use fuzz::fuzz_native;
pub use hello::{
    CLIENT_HELLO_KIND, ClientHello, ClusterId, HELLO_REPLY_KIND, HelloReply, PROTOCOL_NEWEST,
    PROTOCOL_OLDEST, Refusal, Welcome,
};

use crate::codec::{self, DecodeError, TooLarge};
use crate::limits;

/// Longest payload that a client sends after its hello, bytes: the largest command fits.
pub const TO_NODE_BYTES_MAX: usize = limits::COMMAND_BYTES_MAX + 4_096;
/// Longest payload of either side's first record, bytes.
pub const HELLO_BYTES_MAX: usize = 64 << 10;
/// Longest payload that a node sends after its welcome, bytes.
pub const TO_CLIENT_BYTES_MAX: usize = limits::RECORD_BYTES_MAX;

/// Kind of a record from a client.
pub const TO_NODE_KIND: u16 = 0x7463; // "ct"
/// Kind of a record to a client.
pub const TO_CLIENT_KIND: u16 = 0x6374; // "tc"
const VERSION: u16 = 1;

/// From a client, after its hello.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToNode {
    /// For the node's machines.
    Request(Request),
    /// For the process.
    Admin(AdminCall),
}

/// To a client, after the welcome.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are responses, and none is kept"
)]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToClient {
    /// From the node's machines.
    Response(Response),
    /// From the process.
    Admin(AdminReply),
}

impl ToNode {
    /// As a sealed record.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::seal(TO_NODE_KIND, VERSION, &codec::encode(self))
    }

    /// As a sealed record that a node accepts: what a user asks for may be of any size.
    ///
    /// # Errors
    /// [`TooLarge`] beyond [`TO_NODE_BYTES_MAX`].
    pub fn to_bounded_bytes(&self) -> Result<Vec<u8>, TooLarge> {
        let payload = codec::encode_within(self, TO_NODE_BYTES_MAX)?;
        Ok(codec::seal(TO_NODE_KIND, VERSION, &payload))
    }

    /// From one whole sealed record.
    ///
    /// # Errors
    /// [`DecodeError`]: the connection is closed.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::unseal_all(TO_NODE_KIND, VERSION, bytes).and_then(codec::decode)
    }
}

impl ToClient {
    /// As a sealed record.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::seal(TO_CLIENT_KIND, VERSION, &codec::encode(self))
    }

    /// From one whole sealed record.
    ///
    /// # Errors
    /// [`DecodeError`]: the connection is closed.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::unseal_all(TO_CLIENT_KIND, VERSION, bytes).and_then(codec::decode)
    }
}
