//! The records of `metadata.mfs`, field by field in the order of the file.

use super::Section;
use crate::id::{ChunkId, InodeId, SessionId};
use crate::time::WallTime;

/// Masks of labels of one wanted copy.
pub type Masks = [u32; 4];

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its number, not 0.
    pub session: SessionId,
    /// Checksum of the exports that its values come from.
    pub exports_checksum: u64,
    /// Address of its client.
    pub peer_ip: u32,
    /// Its root; 0 for a mount of the trash.
    pub root: InodeId,
    /// Flags.
    pub flags: u8,
    /// Umask.
    pub umask: u16,
    /// Lowest and highest goal.
    pub goals: [u8; 2],
    /// Lowest and highest trash time, seconds.
    pub trash: [u32; 2],
    /// What root becomes: user and group.
    pub map_root: [u32; 2],
    /// What everybody becomes: user and group.
    pub map_all: [u32; 2],
    /// Forbidden commands.
    pub disables: u32,
    /// When its last connection ended; 0 while there is one.
    pub disconnected: WallTime,
    /// Requests of this hour and of the one before.
    pub counters: [[u32; 16]; 2],
    /// What the client says of itself.
    pub info: Vec<u8>,
}

/// A storage class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// Its number, not 0.
    pub id: u16,
    /// Its name.
    pub name: Vec<u8>,
    /// Only an administrator may give it.
    pub admin_only: u8,
    /// 0 loose, 1 standard, 2 strict.
    pub mode: u8,
    /// Days until chunks are archived.
    pub archive_delay: u16,
    /// Copies at creation, while kept, once archived: 9 each at most.
    pub wanted: [Vec<Masks>; 3],
}

/// What a node holds beside its attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A directory, fifo or socket: nothing.
    Nothing,
    /// Number of a device.
    Device(u32),
    /// Target of a symbolic link.
    Target(Vec<u8>),
    /// Length and chunks of a file; chunk 0 is a hole.
    File {
        /// Bytes.
        length: u64,
        /// The chunks.
        chunks: Vec<ChunkId>,
    },
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// As on the wire: 1 file, 2 directory, 3 symbolic link, 4 fifo, 5 block device, 6 character
    /// device, 7 socket, 8 file in the trash, 9 sustained file.
    pub kind: u8,
    /// Its number.
    pub inode: InodeId,
    /// Its storage class.
    pub class: u8,
    /// Extra attributes.
    pub eattr: u8,
    /// Attributes of Windows.
    pub winattr: u8,
    /// Permissions.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Read.
    pub atime: WallTime,
    /// Written.
    pub mtime: WallTime,
    /// Changed.
    pub ctime: WallTime,
    /// Hours in the trash.
    pub trash_hours: u16,
    /// The rest.
    pub content: Content,
}

/// A name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The directory; 0 for a path in the trash, or of a sustained file.
    pub parent: InodeId,
    /// What is named.
    pub child: InodeId,
    /// Its place: later names have lower ones.
    pub edge: u64,
    /// The name, or the path.
    pub name: Vec<u8>,
}

/// Limits of a quota; 0 where the flags say that there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Inodes.
    pub inodes: u32,
    /// Bytes of all lengths.
    pub length: u64,
    /// Bytes of chunks.
    pub size: u64,
    /// Bytes of all their copies.
    pub real_size: u64,
}

/// A quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Its directory.
    pub inode: InodeId,
    /// Grace of soft limits, seconds; 0 for the default.
    pub grace: u32,
    /// A soft limit was exceeded for too long.
    pub exceeded: u8,
    /// Which limits there are.
    pub flags: u8,
    /// When a soft limit was exceeded; 0 when none is.
    pub since: WallTime,
    /// Soft limits.
    pub soft: Limits,
    /// Hard limits.
    pub hard: Limits,
}

/// A list of access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    /// Whose.
    pub inode: InodeId,
    /// 1 of access, 2 the default of new nodes.
    pub kind: u8,
    /// Permissions of owner, group, others, and the mask.
    pub base: [u16; 4],
    /// Of users, by number.
    pub users: Vec<(u32, u16)>,
    /// Of groups, by number.
    pub groups: Vec<(u32, u16)>,
}

/// A lock. Of a whole file it has neither process nor bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    /// On what.
    pub inode: InodeId,
    /// Owner within its session.
    pub owner: u64,
    /// Its session.
    pub session: SessionId,
    /// Process, first byte, byte behind the last: of a lock of bytes.
    pub bytes: Option<(u32, u64, u64)>,
    /// 0 shared, 1 exclusive; of bytes as `mfsmaster` keeps it.
    pub kind: u8,
}

/// A chunkserver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunkserver {
    /// Its address.
    pub ip: u32,
    /// Its port.
    pub port: u16,
    /// Its number.
    pub csid: u16,
    /// In maintenance: 0 no, 1 yes, 2 for a short while.
    pub maintenance: u8,
    /// Until then.
    pub until: WallTime,
}

/// A chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Its number, not 0.
    pub chunk: ChunkId,
    /// Its version.
    pub version: u32,
    /// Locked for a writer until then.
    pub locked_until: WallTime,
    /// Whether it is archived.
    pub archived: u8,
}

/// What comes next in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// The whole file: there are no metadata yet.
    New,
    /// The first, of a file with metadata.
    Head {
        /// Metadata version: number of the next change.
        version: u64,
        /// The cluster.
        metaid: u64,
    },
    /// A section begins, with numbers that its header has: the next session; nothing; the highest
    /// inode and how many nodes there are; the next edge; how many there are (of free inodes, quotas
    /// and chunkservers); the next chunk.
    Section(Section, [u64; 2]),
    /// A session.
    Session(Box<Session>),
    /// A storage class.
    Class(Box<Class>),
    /// A node.
    Node(Box<Node>),
    /// A name.
    Edge(Edge),
    /// An inode that was freed, and when.
    Free(InodeId, WallTime),
    /// A quota.
    Quota(Box<Quota>),
    /// An extended attribute: whose, its name, its value.
    Xattr(InodeId, Vec<u8>, Vec<u8>),
    /// A list of access.
    Acl(Acl),
    /// An open file.
    Open(SessionId, InodeId),
    /// A lock of a whole file.
    Flock(Lock),
    /// A lock of bytes.
    PosixLock(Lock),
    /// A chunkserver.
    Chunkserver(Chunkserver),
    /// A chunk.
    Chunk(Chunk),
    /// The last.
    End,
}
