//! Keys of the state store.
//!
//! ```text
//! slot:u16  kind:u8  id:u32 or u64  rest          (big-endian, so that bytes sort as numbers)
//! ```
//!
//! The slot comes first: what lives in a slot is one range, and moving a slot is copying that
//! range. Everything about an inode lies in its slot, a directory's entries beside it. What
//! belongs to the shard as a whole has the slot number 0xFFFF, which no inode has.

use crate::id::{ChunkId, CsId, InodeId, Lane, SessionId, Slot};
use crate::limits;
use crate::namespace::op::AclKind;

/// Slot number of what belongs to the whole shard.
pub const SHARD: u16 = u16::MAX;

const _: () = assert!(
    limits::SLOT_COUNT < SHARD,
    "the shard's own keys need a slot number"
);

/// What a key names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// Attributes: [`super::record::Inode`].
    Inode(InodeId),
    /// A name in a directory: [`super::record::Edge`].
    Edge(InodeId, Vec<u8>),
    /// A directory's sums: [`super::record::Stats`].
    Stats(InodeId),
    /// A directory's quota: [`super::record::Quota`].
    Quota(InodeId),
    /// One chunk of a file, by index: [`super::record::ChunkSlot`].
    ChunkSlot(InodeId, u32),
    /// An extended attribute: [`super::record::Xattr`].
    Xattr(InodeId, Vec<u8>),
    /// An ACL: [`super::record::AclRecord`].
    Acl(InodeId, AclKind),
    /// Whole-file locks: [`super::record::Flocks`].
    Flocks(InodeId),
    /// Byte-range locks: [`super::record::PosixLocks`].
    PosixLocks(InodeId),
    /// A session has the file open: [`super::record::Opened`].
    Opened(InodeId, SessionId),
    /// The file lies in the trash: [`super::record::Trashed`].
    Trashed(InodeId),
    /// The file has no name but is open: [`super::record::Sustained`].
    Sustained(InodeId),
    /// A chunk: [`super::record::Chunk`].
    Chunk(ChunkId),
    /// Ids given out in a slot: [`super::record::SlotIds`].
    SlotIds(Slot),
    /// Ids of chunks of a slot that were passed over: [`super::record::Passed`].
    PassedIds(Slot),
    /// Versions of a chunk that were passed over: [`super::record::Passed`].
    PassedVersions(ChunkId),
    /// What was applied last, and the metadata version: [`super::record::Applied`].
    Applied,
    /// Ids given out by the shard: [`super::record::ShardIds`].
    ShardIds,
    /// Bytes in the trash and sustained: [`super::record::DetachedBytes`]. A slot that moves to
    /// another shard takes its files' part along.
    Detached,
    /// The number of the cluster that the state was imported from: [`super::record::MetaId`]. It is
    /// there from the first state on, or never.
    MetaId,
    /// A session: [`super::record::Session`].
    Session(SessionId),
    /// The last request of a session's lane: [`super::record::LaneRecord`].
    Lane(SessionId, Lane),
    /// Reverse of `Opened`, with the same record: what a session has open.
    SessionOpened(SessionId, InodeId),
    /// A storage class: [`super::record::Class`].
    Class(u8),
    /// A chunkserver: [`super::record::Chunkserver`].
    Chunkserver(CsId),
}

impl Key {
    /// The key as bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        use Key as K;
        match self {
            K::Inode(ino) => inode(b'I', *ino),
            K::Edge(ino, name) => with(inode(b'E', *ino), name),
            K::Stats(ino) => inode(b'S', *ino),
            K::Quota(ino) => inode(b'Q', *ino),
            K::ChunkSlot(ino, index) => with(inode(b'B', *ino), &index.to_be_bytes()),
            K::Xattr(ino, name) => with(inode(b'X', *ino), name),
            K::Acl(ino, AclKind::Access) => with(inode(b'A', *ino), &[1]),
            K::Acl(ino, AclKind::Default) => with(inode(b'A', *ino), &[2]),
            K::Flocks(ino) => inode(b'F', *ino),
            K::PosixLocks(ino) => inode(b'P', *ino),
            K::Opened(ino, session) => with(inode(b'O', *ino), &session.0.to_be_bytes()),
            K::Trashed(ino) => inode(b'T', *ino),
            K::Sustained(ino) => inode(b'U', *ino),
            K::Chunk(chunk) => with(head(chunk.slot().0, b'C'), &chunk.0.to_be_bytes()),
            K::SlotIds(slot) => head(slot.0, b'N'),
            K::PassedIds(slot) => head(slot.0, b'M'),
            K::PassedVersions(chunk) => with(head(chunk.slot().0, b'V'), &chunk.0.to_be_bytes()),
            K::Applied => head(SHARD, b'a'),
            K::ShardIds => head(SHARD, b'i'),
            K::Detached => head(SHARD, b'd'),
            K::MetaId => head(SHARD, b'm'),
            K::Session(session) => with(head(SHARD, b's'), &session.0.to_be_bytes()),
            K::Lane(session, lane) => with(
                with(head(SHARD, b'l'), &session.0.to_be_bytes()),
                &lane.0.to_be_bytes(),
            ),
            K::SessionOpened(session, ino) => with(
                with(head(SHARD, b'o'), &session.0.to_be_bytes()),
                &ino.0.to_be_bytes(),
            ),
            K::Class(id) => with(head(SHARD, b'c'), &[*id]),
            K::Chunkserver(csid) => with(head(SHARD, b'k'), &csid.0.to_be_bytes()),
        }
    }

    /// What all keys of this kind, and of this inode, session or chunk where the kind has one,
    /// begin with: all but the last part.
    #[must_use]
    pub fn prefix(&self) -> Vec<u8> {
        let mut bytes = self.bytes();
        let last = match self {
            Self::Edge(_, name) | Self::Xattr(_, name) => name.len(),
            Self::Acl(..) | Self::Class(_) => 1,
            Self::Chunkserver(_) => 2,
            Self::ChunkSlot(..)
            | Self::Opened(..)
            | Self::Session(_)
            | Self::Lane(..)
            | Self::SessionOpened(..)
            | Self::Inode(_)
            | Self::Stats(_)
            | Self::Quota(_)
            | Self::Flocks(_)
            | Self::PosixLocks(_)
            | Self::Trashed(_)
            | Self::Sustained(_) => 4,
            Self::Chunk(_) | Self::PassedVersions(_) => 8,
            Self::SlotIds(_)
            | Self::PassedIds(_)
            | Self::Applied
            | Self::ShardIds
            | Self::Detached
            | Self::MetaId => 0,
        };
        bytes.truncate(bytes.len() - last);
        bytes
    }

    /// Reads a key back.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (slot, rest) = bytes.split_first_chunk::<2>()?;
        let slot = u16::from_be_bytes(*slot);
        let (kind, rest) = rest.split_first()?;
        let key = if slot == SHARD {
            Self::parse_shard(*kind, rest)?
        } else {
            Self::parse_slot(slot, *kind, rest)?
        };
        (key.bytes() == bytes).then_some(key)
    }

    fn parse_slot(slot: u16, kind: u8, rest: &[u8]) -> Option<Self> {
        if kind == b'N' {
            return Some(Self::SlotIds(Slot(slot)));
        }
        if kind == b'M' {
            return Some(Self::PassedIds(Slot(slot)));
        }
        if matches!(kind, b'C' | b'V') {
            let chunk = ChunkId(u64::from_be_bytes(rest.try_into().ok()?));
            return Some(match kind {
                b'C' => Self::Chunk(chunk),
                _ => Self::PassedVersions(chunk),
            });
        }
        let (ino, rest) = rest.split_first_chunk::<4>()?;
        let ino = InodeId(u32::from_be_bytes(*ino));
        Some(match kind {
            b'I' => Self::Inode(ino),
            b'E' => Self::Edge(ino, rest.to_vec()),
            b'S' => Self::Stats(ino),
            b'Q' => Self::Quota(ino),
            b'B' => Self::ChunkSlot(ino, u32::from_be_bytes(rest.try_into().ok()?)),
            b'X' => Self::Xattr(ino, rest.to_vec()),
            b'A' => match rest {
                [1] => Self::Acl(ino, AclKind::Access),
                [2] => Self::Acl(ino, AclKind::Default),
                _ => return None,
            },
            b'F' => Self::Flocks(ino),
            b'P' => Self::PosixLocks(ino),
            b'O' => Self::Opened(ino, SessionId(u32::from_be_bytes(rest.try_into().ok()?))),
            b'T' => Self::Trashed(ino),
            b'U' => Self::Sustained(ino),
            _ => return None,
        })
    }

    fn parse_shard(kind: u8, rest: &[u8]) -> Option<Self> {
        let word = |at: usize| -> Option<u32> {
            Some(u32::from_be_bytes(rest.get(at..at + 4)?.try_into().ok()?))
        };
        Some(match kind {
            b'a' => Self::Applied,
            b'i' => Self::ShardIds,
            b'd' => Self::Detached,
            b'm' => Self::MetaId,
            b's' => Self::Session(SessionId(word(0)?)),
            b'l' => Self::Lane(SessionId(word(0)?), Lane(word(4)?)),
            b'o' => Self::SessionOpened(SessionId(word(0)?), InodeId(word(4)?)),
            b'c' => Self::Class(*rest.first()?),
            b'k' => Self::Chunkserver(CsId(u16::from_be_bytes(rest.try_into().ok()?))),
            _ => return None,
        })
    }
}

fn head(slot: u16, kind: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(24);
    out.extend_from_slice(&slot.to_be_bytes());
    out.push(kind);
    out
}

fn inode(kind: u8, ino: InodeId) -> Vec<u8> {
    with(head(ino.slot().0, kind), &ino.0.to_be_bytes())
}

fn with(mut key: Vec<u8>, rest: &[u8]) -> Vec<u8> {
    key.extend_from_slice(rest);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_from_their_bytes() {
        let ino = InodeId::from_parts(7, Slot(300)).unwrap();
        let chunk = ChunkId::from_parts(9, Slot(300)).unwrap();
        for key in [
            Key::Inode(ino),
            Key::Edge(ino, b"name".to_vec()),
            Key::Stats(ino),
            Key::Quota(ino),
            Key::ChunkSlot(ino, 5),
            Key::Xattr(ino, b"user.x".to_vec()),
            Key::Acl(ino, AclKind::Access),
            Key::Acl(ino, AclKind::Default),
            Key::Flocks(ino),
            Key::PosixLocks(ino),
            Key::Opened(ino, SessionId(3)),
            Key::Trashed(ino),
            Key::Sustained(ino),
            Key::Chunk(chunk),
            Key::SlotIds(Slot(5)),
            Key::PassedIds(Slot(5)),
            Key::PassedVersions(chunk),
            Key::Applied,
            Key::ShardIds,
            Key::Detached,
            Key::MetaId,
            Key::Session(SessionId(4)),
            Key::Lane(SessionId(4), Lane(9)),
            Key::SessionOpened(SessionId(4), ino),
            Key::Class(12),
            Key::Chunkserver(CsId(0x0102)),
        ] {
            let bytes = key.bytes();
            assert!(bytes.starts_with(&key.prefix()));
            assert_eq!(Key::parse(&bytes), Some(key));
        }
    }

    #[test]
    fn strange_bytes_are_no_key() {
        assert_eq!(Key::parse(b""), None);
        assert_eq!(Key::parse(&[0, 1, b'I', 0, 0]), None);
        // An inode in a slot that is not its own.
        assert_eq!(Key::parse(&[0, 2, b'I', 0, 0, 0, 1]), None);
    }
}
