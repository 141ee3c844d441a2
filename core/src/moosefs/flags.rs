//! Bits and small numbers that stand in packets, by the field they stand in.

/// Types of nodes: attribute records, MKNOD, READDIR without attributes.
pub mod node {
    /// Regular file; also one in the trash, or sustained.
    pub const FILE: u8 = 1;
    /// Directory.
    pub const DIRECTORY: u8 = 2;
    /// Symbolic link.
    pub const SYMLINK: u8 = 3;
    /// Named pipe.
    pub const FIFO: u8 = 4;
    /// Block device.
    pub const BLOCK_DEVICE: u8 = 5;
    /// Character device.
    pub const CHAR_DEVICE: u8 = 6;
    /// Socket.
    pub const SOCKET: u8 = 7;
    /// File in the trash: asked for, never shown.
    pub const TRASH: u8 = 8;
    /// Sustained file: asked for, never shown.
    pub const SUSTAINED: u8 = 9;
}

/// First byte of an attribute record.
pub mod shown {
    /// Attributes are not cached.
    pub const NO_ATTR_CACHE: u8 = 0x01;
    /// The entry is not cached.
    pub const NO_ENTRY_CACHE: u8 = 0x02;
    /// Data may be cached.
    pub const DATA_CACHE: u8 = 0x04;
    /// Neither extended attributes nor ACLs are there.
    pub const NO_XATTR: u8 = 0x08;
    /// Data is to be read and written past the cache.
    pub const DIRECT: u8 = 0x10;
    /// The node cannot be removed.
    pub const UNDELETABLE: u8 = 0x20;
}

/// Which attributes a SETATTR sets.
pub mod set {
    /// Windows attributes.
    pub const WINATTR: u8 = 0x01;
    /// Permission bits.
    pub const MODE: u8 = 0x02;
    /// Owner.
    pub const UID: u8 = 0x04;
    /// Group.
    pub const GID: u8 = 0x08;
    /// Modification time: the master's.
    pub const MTIME_NOW: u8 = 0x10;
    /// Modification time: the one given.
    pub const MTIME: u8 = 0x20;
    /// Access time: the one given.
    pub const ATIME: u8 = 0x40;
    /// Access time: the master's.
    pub const ATIME_NOW: u8 = 0x80;
}

/// What a LOOKUP tells besides the node.
pub mod looked {
    /// Bit k: access with the mask of rwx bits k would be granted.
    pub const ACCESS: u16 = 0x00FF;
    /// Where the data of the file's only chunk lies follows.
    pub const CHUNK: u16 = 0x0100;
    /// The session may only read.
    pub const READ_ONLY: u16 = 0x0200;
    /// What the client has cached of the file is current.
    pub const KEEP_CACHE: u16 = 0x0400;
    /// The node is immutable.
    pub const IMMUTABLE: u16 = 0x0800;
    /// Data is not to be cached.
    pub const DIRECT: u16 = 0x1000;
    /// The node may only be appended to.
    pub const APPEND_ONLY: u16 = 0x2000;
}

/// What an OPEN asks for.
pub mod open {
    /// Reading.
    pub const READ: u8 = 0x01;
    /// Writing.
    pub const WRITE: u8 = 0x02;
    /// Permission was looked at before.
    pub const AFTER_CREATE: u8 = 0x04;
    /// Truncate to nothing.
    pub const TRUNCATE: u8 = 0x08;
    /// The client has dropped what it had cached.
    pub const CACHE_CLEARED: u8 = 0x10;
}

/// What an OPEN or CREATE tells.
pub mod opened {
    /// What the client has cached is current.
    pub const KEEP_CACHE: u8 = 0x01;
    /// Data is not to be cached.
    pub const DIRECT: u8 = 0x02;
    /// The file may only be appended to.
    pub const APPEND_ONLY: u8 = 0x04;
}

/// How a TRUNCATE goes about it.
pub mod truncate {
    /// The file is open: access was looked at before.
    pub const OPENED: u8 = 0x01;
    /// Only extends, and touches no times.
    pub const UPDATE: u8 = 0x02;
    /// Times are set right.
    pub const TIME_FIX: u8 = 0x04;
    /// Reserves room for an append.
    pub const RESERVE: u8 = 0x08;
}

/// How a chunk is read or written.
pub mod chunk {
    /// The master may touch times; of clients before 3.0.74 alone.
    pub const MAY_TOUCH_TIMES: u8 = 0x01;
    /// The writer goes on under its own lock.
    pub const GO_ON: u8 = 0x02;
    /// Space that is reserved for root may be used.
    pub const RESERVED_SPACE: u8 = 0x04;
}

/// What a READDIR asks for.
pub mod readdir {
    /// Attributes.
    pub const ATTRIBUTES: u8 = 0x01;
    /// The client will cache what it is told.
    pub const CACHED: u8 = 0x02;
}

/// How a value of a node, or of all below it, is set.
pub mod change {
    /// The way: one of those below.
    pub const WAY: u8 = 0x03;
    /// To the value.
    pub const SET: u8 = 0;
    /// Up to the value, or bits added.
    pub const INCREASE: u8 = 1;
    /// Down to the value, or bits taken.
    pub const DECREASE: u8 = 2;
    /// To the value where another one stands.
    pub const EXCHANGE: u8 = 3;
    /// Of all nodes below, too.
    pub const RECURSIVE: u8 = 0x04;
}

/// What a SNAPSHOT does.
pub mod snapshot {
    /// What is there is replaced.
    pub const OVERWRITE: u8 = 0x01;
    /// New nodes as if copied by the caller.
    pub const LIKE_CP: u8 = 0x02;
    /// Of a removal: what is no snapshot goes, too.
    pub const FORCE: u8 = 0x04;
    /// Hard links stay hard links.
    pub const HARD_LINKS: u8 = 0x08;
    /// Removes a snapshot.
    pub const DELETE: u8 = 0x80;
}

/// How the ends of an APPEND_SLICE count.
pub mod slice {
    /// The first chunk counts from the end.
    pub const FROM_NEGATIVE: u8 = 0x01;
    /// The last chunk counts from the end.
    pub const TO_NEGATIVE: u8 = 0x02;
}

/// How an extended attribute is set.
pub mod xattr_set {
    /// New or not.
    pub const CREATE_OR_REPLACE: u8 = 0;
    /// Only new.
    pub const CREATE: u8 = 1;
    /// Only present.
    pub const REPLACE: u8 = 2;
    /// Away with it.
    pub const REMOVE: u8 = 3;
}

/// How an extended attribute is asked for.
pub mod xattr_get {
    /// Value.
    pub const DATA: u8 = 0;
    /// How long the value is.
    pub const LENGTH: u8 = 1;
}

/// Which ACL of a node.
pub mod acl {
    /// The one that judges access.
    pub const ACCESS: u8 = 1;
    /// The one that is inherited.
    pub const DEFAULT: u8 = 2;
}

/// What an ARCHCTL does.
pub mod archive {
    /// Clears the flag.
    pub const CLEAR: u8 = 0;
    /// Sets the flag.
    pub const SET: u8 = 1;
    /// Counts.
    pub const GET: u8 = 2;
}

/// What a FLOCK does.
pub mod flock {
    /// Gives back.
    pub const UNLOCK: u8 = 0;
    /// Takes shared, or not at all.
    pub const TRY_SHARED: u8 = 1;
    /// Takes shared.
    pub const LOCK_SHARED: u8 = 2;
    /// Takes exclusively, or not at all.
    pub const TRY_EXCLUSIVE: u8 = 3;
    /// Takes exclusively.
    pub const LOCK_EXCLUSIVE: u8 = 4;
    /// Ends a wait.
    pub const INTERRUPT: u8 = 5;
    /// The file was closed.
    pub const RELEASE: u8 = 6;
}

/// What a POSIX_LOCK does, and with which lock.
pub mod posix {
    /// Asks what is in the way.
    pub const GET: u8 = 0;
    /// Takes, waiting.
    pub const SET: u8 = 1;
    /// Takes, or not at all.
    pub const TRY: u8 = 2;
    /// Ends a wait.
    pub const INTERRUPT: u8 = 3;
    /// No lock.
    pub const UNLOCK: u8 = 0;
    /// A shared lock.
    pub const READ: u8 = 1;
    /// An exclusive lock.
    pub const WRITE: u8 = 2;
}

/// Which limits a quota has; soft ones in the lower half, hard ones in the upper.
pub mod quota {
    /// Nodes.
    pub const INODES: u8 = 0x01;
    /// Lengths.
    pub const LENGTH: u8 = 0x02;
    /// Sizes.
    pub const SIZE: u8 = 0x04;
    /// Sizes times copies.
    pub const REAL_SIZE: u8 = 0x08;
    /// How far up the hard limits' bits are.
    pub const HARD_SHIFT: u8 = 4;
}

/// What a SCLASS_CHANGE changes.
pub mod class_change {
    /// Who may assign it.
    pub const ADMIN: u16 = 0x0001;
    /// What happens when servers are full.
    pub const MODE: u16 = 0x0002;
    /// Copies at creation.
    pub const CREATE: u16 = 0x0004;
    /// Copies while kept.
    pub const KEEP: u16 = 0x0008;
    /// Copies once archived.
    pub const ARCHIVE: u16 = 0x0010;
    /// When it is archived.
    pub const DELAY: u16 = 0x0020;
    /// Plain goals may be changed.
    pub const FORCE: u16 = 0x8000;
}

/// What a session may do, as its registration is told.
pub mod session {
    /// Only read.
    pub const READ_ONLY: u8 = 0x01;
    /// Come back from another address.
    pub const DYNAMIC_IP: u8 = 0x02;
    /// Groups are not looked at.
    pub const IGNORE_GID: u8 = 0x04;
    /// Administrate.
    pub const ADMIN: u8 = 0x08;
    /// All users are mapped to one.
    pub const MAP_ALL: u8 = 0x10;
}
