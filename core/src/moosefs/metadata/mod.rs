//! `metadata.mfs` as `mfsmaster` 3.0.117 writes and reads it: a header, sections of records, an end.
//!
//! Streamed both ways, one record at a time, whatever the length of the file: [`Parser`] takes bytes
//! from a [`Source`] and says at which byte something is wrong, [`Composer`] gives them to a
//! [`Sink`]. What records mean, and whether they fit each other, is not known here.
//! `docs/protocols/metadata.md` has the layouts.
//!
//! | module | what lives there |
//! |---|---|
//! | [`item`] | the records |
//! | [`parser`] | bytes as records |
//! | [`composer`] | records as bytes |

pub mod composer;
pub mod item;
pub mod parser;
#[cfg(test)]
mod tests;

pub use composer::{Composer, Sink};
pub use item::Item;
pub use parser::{Damage, Parser, Source};

/// First bytes of a file with metadata.
const MAGIC: &[u8; 8] = b"MFSM 2.0";
/// All of a file without any.
const NEW: &[u8; 8] = b"MFSM NEW";
/// Last bytes of a whole file.
const END: &[u8; 16] = b"[MFS EOF MARKER]";

/// A part of the file: records of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Section {
    /// Sessions.
    Sessions,
    /// Storage classes.
    Classes,
    /// Nodes, in the tree, in the trash and sustained.
    Nodes,
    /// Names.
    Edges,
    /// Inodes that may not be used again yet.
    Free,
    /// Quotas.
    Quotas,
    /// Extended attributes.
    Xattrs,
    /// Lists of access.
    Acls,
    /// Open files.
    Open,
    /// Locks of whole files.
    Flocks,
    /// Locks of bytes.
    PosixLocks,
    /// Chunkservers.
    Chunkservers,
    /// Chunks.
    Chunks,
}

impl Section {
    /// All of them, in the order of the file.
    pub const ALL: [Self; 13] = [
        Self::Sessions,
        Self::Classes,
        Self::Nodes,
        Self::Edges,
        Self::Free,
        Self::Quotas,
        Self::Xattrs,
        Self::Acls,
        Self::Open,
        Self::Flocks,
        Self::PosixLocks,
        Self::Chunkservers,
        Self::Chunks,
    ];

    /// Its name and version, as the file has them.
    #[must_use]
    pub const fn name(self) -> &'static [u8; 8] {
        match self {
            Self::Sessions => b"SESS 1.5",
            Self::Classes => b"SCLA 1.6",
            Self::Nodes => b"NODE 1.4",
            Self::Edges => b"EDGE 1.1",
            Self::Free => b"FREE 1.0",
            Self::Quotas => b"QUOT 1.1",
            Self::Xattrs => b"XATR 1.0",
            Self::Acls => b"PACL 1.1",
            Self::Open => b"OPEN 1.0",
            Self::Flocks => b"FLCK 1.0",
            Self::PosixLocks => b"PLCK 1.0",
            Self::Chunkservers => b"CSDB 1.3",
            Self::Chunks => b"CHNK 1.1",
        }
    }

    /// Bytes of zeros that end it; `None` where a count stands in front.
    const fn end_bytes(self) -> Option<usize> {
        Some(match self {
            Self::Sessions => 189,
            Self::Classes => 10,
            Self::Nodes => 1,
            Self::Edges => 18,
            Self::Xattrs => 9,
            Self::Acls | Self::Flocks | Self::Chunks => 17,
            Self::Open => 8,
            Self::PosixLocks => 37,
            Self::Free | Self::Quotas | Self::Chunkservers => return None,
        })
    }
}
