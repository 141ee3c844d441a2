//! What chunkservers and their master say to each other, TCP port 9420.
//!
//! Both directions are read and written here, because simulated chunkservers speak it too. Whether
//! something may be said now, and what comes of it, is decided elsewhere. The wire's layouts are
//! in `docs/protocols/moosefs-chunkserver.md`.
//!
//! | module | what lives there |
//! |---|---|
//! | `number` | the packets' numbers |
//! | [`ToMaster`], [`Register`] | what a chunkserver says |
//! | [`ToChunkserver`], [`Ack`], [`Operation`] | what the master says |
//! | [`List`] | lists, read where they lie in the packet |

mod ack;
#[cfg(feature = "fuzzing")]
mod fuzz;
mod list;
pub mod number;
mod operation;
mod register;
#[cfg(test)]
mod tests;
mod to_chunkserver;
mod to_master;
mod value;

pub use ack::Ack;
#[cfg(feature = "fuzzing")]
pub use fuzz::fuzz_chunkserver;
pub use list::{Entry, List, ListBuf, Parts};
pub use operation::{ChunkOp, Done, DoneKind, Operation, Sources};
pub use register::{Begin, Register, Together, TogetherForm, TogetherSpace};
pub use to_chunkserver::ToChunkserver;
pub use to_master::ToMaster;
pub use value::{
    Checksum, ChunkAt, ChunkCopy, Complaint, Labels, Load, Place, RemovalSpace, Source, Space,
    SpaceReport, Strain, VersionText,
};

use super::frame::HEADER_BYTES;

/// Longest payload that a master takes from a chunkserver, bytes.
pub const TO_MASTER_BYTES_MAX: u32 = 500_000_000;

/// Longest payload that a chunkserver takes from its master, bytes: a longer packet makes it
/// disconnect.
pub const TO_CHUNKSERVER_BYTES_MAX: u32 = 10_000;

/// Copies that a chunkserver names in one packet of its registration, by default.
pub const REGISTER_COPIES_MAX: usize = 10_000;

/// Sources that one replication may have.
pub const SOURCES_MAX: usize = 8;

/// Why a packet cannot be written. The program that wanted to say it is wrong, not its peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The other side would disconnect.
    #[error("packet {kind} would have {length} bytes, the other side takes {limit}: send less")]
    TooLong {
        /// Its number.
        kind: u32,
        /// Bytes that its payload would have.
        length: usize,
        /// Bytes that are taken.
        limit: u32,
    },
    /// A field has a value that cannot be written.
    #[error("packet {kind}: {what}")]
    Value {
        /// Its number.
        kind: u32,
        /// Which field, and what is wrong with it.
        what: &'static str,
    },
}

/// A finished packet, unless the other side would not take it.
fn bounded(packet: Vec<u8>, kind: u32, limit: u32) -> Result<Vec<u8>, EncodeError> {
    let length = packet.len() - HEADER_BYTES;
    if length > limit as usize {
        return Err(EncodeError::TooLong {
            kind,
            length,
            limit,
        });
    }
    Ok(packet)
}
