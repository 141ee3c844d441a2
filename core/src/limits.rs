//! Every bound, with its unit and its reason. Relations between bounds are asserted here.
//!
//! Facts of MooseFS 3.0.117's wire are marked (wire); the rest is ours to choose.

/// Bits of an inode or chunk id that name its slot.
pub const SLOT_BITS: u32 = 14;
/// Slots of the key space.
pub const SLOT_COUNT: u16 = 1 << SLOT_BITS;
/// Inodes per slot: 17 bits of sequence.
pub const INODE_SEQUENCE_END: u32 = 1 << 17;
/// First inode id that meta mounts keep for themselves (wire).
pub const INODE_END: u32 = 0x7FFF_0000;

/// Longest file name, bytes (wire).
pub const NAME_BYTES_MAX: usize = 255;
/// Longest symlink target, bytes, without a NUL (wire).
pub const SYMLINK_BYTES_MAX: usize = 4_095;
/// Longest path that the trash remembers, bytes (wire).
pub const TRASH_PATH_BYTES_MAX: usize = 1_024;
/// Longest name of an extended attribute, bytes (wire).
pub const XATTR_NAME_BYTES_MAX: usize = 255;
/// Longest value, and longest list, of extended attributes, bytes (wire).
pub const XATTR_VALUE_BYTES_MAX: usize = 65_536;
/// Longest text that a session tells of itself, bytes.
pub const SESSION_INFO_BYTES_MAX: usize = 1_024;
/// Longest name of a storage class, bytes (wire).
pub const SCLASS_NAME_BYTES_MAX: usize = 255;
/// Storage classes, ids 0..=255 (wire).
pub const SCLASS_COUNT_MAX: usize = 256;
/// First id of a class made by a user; 1..=9 are the plain goals (wire).
pub const SCLASS_USER_FIRST: u8 = 10;
/// Copies that a class list may ask for (wire).
pub const GOAL_MAX: u8 = 9;

/// Bytes of a chunk (wire).
pub const CHUNK_BYTES: u64 = 64 << 20;
/// Bytes of a block, the unit in which "size" is counted (wire).
pub const BLOCK_BYTES: u64 = 64 << 10;
/// Bytes of a chunk file's header, counted in "size" (wire).
pub const CHUNK_HEADER_BYTES: u64 = 8 << 10;
/// Last index of a chunk in a file (wire).
pub const CHUNK_INDEX_MAX: u32 = 0x7FFF_FFFF;
/// Longest file, bytes (wire).
pub const FILE_BYTES_MAX: u64 = 1 << 57;
/// How long a chunk stays locked for a writer that does not come back, seconds (wire).
pub const CHUNK_LOCK_SECONDS: u32 = 120;

/// Highest version of a chunk: chunkservers mark disks that shall be emptied in bit 31 (wire).
pub const CHUNK_VERSION_MAX: u32 = 0x7FFF_FFFF;
/// Ranges of ids of a slot that were passed over; what lies between the lowest two is taken for
/// one of them when there would be more.
pub const PASSED_IDS_MAX: usize = 64;
/// Ranges of versions of a chunk that were passed over.
pub const PASSED_VERSIONS_MAX: usize = 8;

/// Chunkservers of a cluster: their ids are 1 to 65,535 (wire).
pub const CHUNKSERVER_COUNT_MAX: usize = u16::MAX as usize;

/// Links that a file may have; `MAX_ALLOWED_HARD_LINKS` of mfsmaster.
pub const LINK_COUNT_MAX: u32 = 32_767;
/// Soft quota limits become hard after this, seconds; `QUOTA_DEFAULT_GRACE_PERIOD`.
pub const QUOTA_GRACE_SECONDS: u32 = 604_800;

/// Supplementary groups that a request may carry. Linux knows 65,536; a longer list is refused.
pub const GROUP_COUNT_MAX: usize = 65_536;
/// Named entries of one ACL. MooseFS counts them in 16 bits; Linux stops well below this.
pub const ACL_ENTRY_COUNT_MAX: usize = 8_192;
/// Lanes (client threads) of one session whose last outcome is remembered.
pub const LANE_COUNT_MAX: u32 = 65_536;
/// Entries of one page of a directory listing.
pub const READDIR_PAGE_MAX: u32 = 10_000;
/// Lock ranges and waiters of one inode. A change of byte ranges compares every waiter with every
/// range: this many squared is what one command may cost.
pub const LOCK_COUNT_MAX: usize = 8_192;
/// Nodes that one recursive operation visits before it is refused.
pub const RECURSION_MAX: usize = 1_000_000;
/// Directories between the root and a node.
pub const DEPTH_MAX: usize = 8_192;

/// Longest encoded command, bytes: the longest xattr value and the longest group list fit.
pub const COMMAND_BYTES_MAX: usize = 1 << 20;
/// Longest record that [`crate::codec`] reads, bytes.
pub const RECORD_BYTES_MAX: usize = 16 << 20;

/// Nodes that one node knows, itself left out; a cluster has a handful.
pub const PEER_COUNT_MAX: usize = 256;
/// Longest `host:port`, bytes: a DNS name, and room for brackets and a scope.
pub const ADDRESS_BYTES_MAX: usize = 280;
/// Longest first record of a connection, bytes, its seal included: until a peer has said who it
/// is, no more is kept for it.
pub const HELLO_BYTES_MAX: usize = 128 << 10;

/// Bytes of a disk sector: what a power loss tears apart.
pub const SECTOR_BYTES: usize = 512;
/// Bytes of a page: what file systems write back as one.
pub const PAGE_BYTES: usize = 4_096;

const _: () = assert!(SLOT_COUNT.is_power_of_two(), "a slot is a mask away");
const _: () = assert!(
    XATTR_VALUE_BYTES_MAX + GROUP_COUNT_MAX * 10 < COMMAND_BYTES_MAX,
    "the largest request must fit a command, five bytes of varint and slack a group"
);
const _: () = assert!(
    COMMAND_BYTES_MAX < RECORD_BYTES_MAX,
    "a command is part of a record"
);
const _: () = assert!(
    PEER_COUNT_MAX * (ADDRESS_BYTES_MAX + 64) + 4_096 < HELLO_BYTES_MAX,
    "a hello with every peer's address, and every founder, must fit"
);
const _: () = assert!(
    PAGE_BYTES.is_multiple_of(SECTOR_BYTES),
    "a page is whole sectors"
);
const _: () = assert!(
    (INODE_SEQUENCE_END as u64) << SLOT_BITS >= INODE_END as u64,
    "the sequence must be able to reach every usable id"
);
