//! What a master says without being asked; all of it has the message id 0.

use super::{MsgId, ToClient};
use crate::id::{ChunkId, InodeId};
use crate::moosefs::fields::{Field, Form, packet};
use crate::moosefs::reader::{PacketError, Reader};
use crate::moosefs::version::Version;

/// Clients of this version and later are told what others changed.
pub const TOLD_CHANGES: Version = Version::new(3, 0, 74);

/// Clients of this version and later are told to forget where chunks are.
pub const TOLD_TO_FORGET: Version = Version::new(3, 0, 100);

packet! {
    /// A chunk of a file was changed.
    ChunkChanged {
        /// The file.
        inode: InodeId,
        /// Which of its chunks.
        index: u32,
        /// The chunk that is there now.
        chunk: ChunkId,
        /// Its version.
        version: u32,
        /// Length of the file, bytes.
        length: u64,
        /// 1 if it was cut.
        truncated: u8,
    }
}

packet! {
    /// The length of a file was changed.
    LengthChanged {
        /// The file.
        inode: InodeId,
        /// Bytes.
        length: u64,
    }
}

/// The message id of what was not asked for.
pub(super) fn read_no_id(reader: &mut Reader<'_>) -> Result<(), PacketError> {
    match reader.u32()? {
        0 => Ok(()),
        _ => Err(reader.wrong("a message id where nothing was asked")),
    }
}

/// A version begins with a byte of 0 and its text does not: that tells whether there is a message
/// id in front.
pub(super) fn read_version(reader: &mut Reader<'_>, form: Form) -> Result<ToClient, PacketError> {
    let mut ahead = reader.clone();
    let mut id = None;
    if ahead.u32().is_ok() && ahead.u8() == Ok(0) {
        id = Some(MsgId::read(reader, form)?);
    }
    let version = Version::read(reader, form)?;
    let text = reader.bytes(reader.remaining())?.to_vec();
    if version.0 >> 24 != 0 || text.first().is_none_or(|first| *first == 0) {
        return Err(reader.wrong("a version that is none"));
    }
    Ok(ToClient::Version { id, version, text })
}
