//! What native clients and operators say to a node, and what they hear.
//!
//! A connection carries sealed records ([`crate::codec`]), one after the other, in both directions.
//! The client's first record is a [`ClientHello`], the node's first a [`Welcome`] or a
//! [`Refusal`], after which the node closes. From then on the client sends [`ToNode`] and hears
//! [`ToClient`]; answers come in any order and name the call.
//!
//! Nothing here knows a socket. `docs/protocols/native.md` has the page.

pub mod admin;
mod hello;
pub mod request;

use serde::{Deserialize, Serialize};

use admin::{AdminCall, AdminReply};
use request::{Request, Response};

pub use hello::{
    CLIENT_HELLO_KIND, ClientHello, ClusterId, HELLO_REPLY_KIND, HelloReply, PROTOCOL_NEWEST,
    PROTOCOL_OLDEST, Refusal, Welcome,
};

use crate::codec::{self, DecodeError};

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
