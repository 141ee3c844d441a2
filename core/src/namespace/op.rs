//! What can be asked of the tree: commands that change it, queries that do not, and what comes
//! back. Semantics are those of MooseFS 3.0.117.
//!
//! A [`Command`] is what one log entry holds. Time and stamps travel inside, chosen by the
//! proposer; new ids are taken at apply from replicated counters, so that two leaders can never
//! take the same one (docs/decisions/0001-ids-are-taken-at-apply.md).

use serde::{Deserialize, Serialize};

use super::error::FsError;
use crate::chunks::Address;
use crate::id::{ChunkId, CsId, InodeId, Lane, RequestSeq, SessionId, Slot};
use crate::time::{Stamp, WallTime};

/// A file name or path component as bytes; 1 to 255 of them, without NUL and `/`, when valid.
pub type Name = Vec<u8>;

/// Names one request of one session for ever, so that a repeat takes effect once (P-ONCE).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId {
    /// Whose request.
    pub session: SessionId,
    /// Which of the session's threads; at most one request of a lane is outstanding.
    pub lane: Lane,
    /// Which request of the lane: rises with every new one, equal means repeated.
    pub seq: RequestSeq,
    /// Tells what is asked from what else might come under this number: a fingerprint of the
    /// request as its client sent it, where the number is chosen by the node that the client asks.
    /// 0 for clients that number their requests themselves.
    pub print: u64,
}

impl RequestId {
    /// Of a client that numbers its requests itself.
    #[must_use]
    pub const fn new(session: SessionId, lane: Lane, seq: RequestSeq) -> Self {
        Self {
            session,
            lane,
            seq,
            print: 0,
        }
    }
}

/// The last request of a lane that is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LastRequest {
    /// Which lane.
    pub lane: Lane,
    /// Its number.
    pub seq: RequestSeq,
    /// Its fingerprint.
    pub print: u64,
    /// When it was carried out, by its proposer's clock.
    pub at: WallTime,
}

/// What one log entry asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Proposer's hybrid logical time and id; raised at apply above what is overwritten.
    pub stamp: Stamp,
    /// Proposer's wall clock: becomes atime, mtime, ctime; judges expiry.
    pub now: WallTime,
    /// For exactly-once; `None` for the cluster's own housekeeping.
    pub request: Option<RequestId>,
    /// What to do.
    pub op: Op,
}

/// On whose behalf: a session and the credentials of the process behind it, **before** the
/// session's root mapping, which is applied in here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// The session; 0 is the cluster itself: unmapped, unrestricted, rooted at inode 1.
    pub session: SessionId,
    /// User.
    pub uid: u32,
    /// Groups, the effective one first; never empty.
    pub gids: Vec<u32>,
}

/// Type of a node. Files in the trash and sustained files are `File` with a [`Whereabouts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NodeKind {
    /// Regular file.
    File,
    /// Directory.
    Directory,
    /// Symbolic link.
    Symlink,
    /// Named pipe.
    Fifo,
    /// Block device.
    BlockDevice,
    /// Character device.
    CharDevice,
    /// Socket.
    Socket,
}

/// Where a node can be found.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub enum Whereabouts {
    /// In the tree.
    #[default]
    Linked,
    /// A file without a link, kept until its trash time is over.
    Trash,
    /// A file without a link, kept while a session has it open.
    Sustained,
}

/// Flags of a session, from its export (`sesflags` of MooseFS).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SessionFlags {
    /// Nothing may be changed: `ReadOnly`.
    pub read_only: bool,
    /// May reconnect from another address.
    pub dynamic_ip: bool,
    /// No group checks: group and other bits are combined.
    pub ignore_gid: bool,
    /// May set quotas, admin classes and restricted extra attributes.
    pub admin: bool,
    /// Every user but root is mapped to one.
    pub map_all: bool,
}

/// Operations that an export forbids (`disables` of MooseFS), as its bit number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
#[expect(
    missing_docs,
    reason = "the names say it: MooseFS 3.0.117's bits 0 to 24 in order"
)]
pub enum Disable {
    Chown,
    Chmod,
    Symlink,
    Mkfifo,
    Mkdev,
    Mksock,
    Mkdir,
    Unlink,
    Rmdir,
    Rename,
    Move,
    Link,
    Create,
    Readdir,
    Read,
    Write,
    Truncate,
    SetLength,
    AppendChunks,
    Snapshot,
    SetTrash,
    SetSclass,
    SetEattr,
    SetXattr,
    SetFacl,
}

/// What a session may do: the values of its export, frozen at registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionParams {
    /// What the session sees as inode 1; inode 0 is a meta session (trash and sustained only).
    pub root: InodeId,
    /// Flags.
    pub flags: SessionFlags,
    /// ORed into the umask of requests.
    pub umask: u16,
    /// Bit set of [`Disable`].
    pub disables: u32,
    /// What uid 0 becomes.
    pub root_uid: u32,
    /// What gid 0 becomes.
    pub root_gid: u32,
    /// What every other uid becomes under `map_all`.
    pub map_all_uid: u32,
    /// What every other gid becomes under `map_all`.
    pub map_all_gid: u32,
    /// Lowest plain goal that may be set.
    pub goal_min: u8,
    /// Highest plain goal that may be set.
    pub goal_max: u8,
    /// Lowest trash time that may be set, seconds.
    pub trash_seconds_min: u32,
    /// Highest trash time that may be set, seconds.
    pub trash_seconds_max: u32,
    /// Checksum of the exports that these values come from.
    pub exports_checksum: u64,
    /// IPv4 address of the client; 0 when there is none.
    pub peer_ip: u32,
    /// What the client says of itself: its mount point. At most 1,024 bytes.
    pub info: Vec<u8>,
}

impl SessionParams {
    /// A session that may do everything: `* / rw,alldirs,admin,maproot=0:0`.
    #[must_use]
    pub fn unrestricted() -> Self {
        Self {
            root: InodeId::ROOT,
            flags: SessionFlags {
                admin: true,
                ..SessionFlags::default()
            },
            umask: 0,
            disables: 0,
            root_uid: 0,
            root_gid: 0,
            map_all_uid: 999,
            map_all_gid: 999,
            goal_min: 1,
            goal_max: 9,
            trash_seconds_min: 0,
            trash_seconds_max: u32::MAX,
            exports_checksum: 0,
            peer_ip: 0,
            info: Vec::new(),
        }
    }
}

/// A time attribute in a [`SetAttr`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum SetTime {
    /// Leave it.
    #[default]
    Keep,
    /// The command's time.
    Now,
    /// This time.
    At(WallTime),
}

/// How setuid and setgid are cleared on a change of owner (`sugidclear` of MooseFS).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "named for the system whose rule each is: section 8.6 of the protocol facts"
)]
pub enum SugidClear {
    Never,
    Always,
    Osx,
    Bsd,
    #[default]
    Ext,
    Xfs,
}

/// Attributes to be set; `None` and `Keep` leave one as it is.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SetAttr {
    /// Permission bits, 07777.
    pub mode: Option<u16>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Access time.
    pub atime: SetTime,
    /// Modification time.
    pub mtime: SetTime,
    /// Windows attributes.
    pub winattr: Option<u8>,
    /// Rule for setuid and setgid.
    pub sugid_clear: SugidClear,
}

/// Mode of a truncate (flags 1, 2, 8 of MooseFS; section 3.7 of the protocol facts).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TruncateMode {
    /// By path: W access is checked.
    Path,
    /// By an open file: access was checked at open.
    Opened,
    /// Only extends, by an open file; changes no times.
    Extend,
    /// Reserves room for an append of so many bytes, by an open file.
    Reserve,
}

/// What an open asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct OpenFlags {
    /// For reading.
    pub read: bool,
    /// For writing.
    pub write: bool,
    /// Permission was checked before (after a create, or a lookup that told): check nothing.
    pub after_create: bool,
    /// Truncate to zero in the same step.
    pub truncate: bool,
}

/// How an extended attribute is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum XattrMode {
    /// New or not.
    CreateOrReplace,
    /// Only new: `Exist`.
    Create,
    /// Only present: `NoAttr`.
    Replace,
    /// Away with it: `NoAttr` when missing.
    Remove,
}

/// Which of a node's ACLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AclKind {
    /// Judges access to the node.
    Access,
    /// Inherited by what is made in a directory.
    Default,
}

/// A POSIX ACL. `0xFFFF` as a permission means "not given" when set, and "no mask" when kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Acl {
    /// Owner's bits.
    pub user: u16,
    /// Owning group's bits.
    pub group: u16,
    /// Everybody else's bits.
    pub other: u16,
    /// Upper bound of named users, named groups and the group.
    pub mask: u16,
    /// Named users and their bits, in the order given.
    pub named_users: Vec<(u32, u16)>,
    /// Named groups and their bits, in the order given.
    pub named_groups: Vec<(u32, u16)>,
}

/// What to do with a whole-file lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FlockOp {
    /// Give it back.
    Unlock,
    /// Take it shared, or `Again`.
    TryShared,
    /// Take it shared, waiting.
    LockShared,
    /// Take it exclusively, or `Again`.
    TryExclusive,
    /// Take it exclusively, waiting.
    LockExclusive,
    /// The wait of the request with the same `reqid` is over: it gets `Interrupted`.
    Interrupt,
    /// The file was closed by this owner: give back, and forget its waiting requests.
    Release,
}

/// What to do with a byte range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PosixOp {
    /// Take it, waiting (or unlock).
    Set,
    /// Take it, or `Again` (or unlock).
    Try,
    /// The wait of the request with the same `reqid` is over: it gets `Interrupted`.
    Interrupt,
}

/// Kind of a byte-range lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PosixLockKind {
    /// None: unlock.
    Unlock,
    /// Shared.
    Read,
    /// Exclusive.
    Write,
}

/// How a value of a whole subtree is changed (`smode` of MooseFS).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SetMode {
    /// To the value; extra attributes: exactly these bits.
    Set,
    /// Up to the value, never down; extra attributes: these bits too.
    Increase,
    /// Down to the value, never up; extra attributes: these bits away.
    Decrease,
}

/// One storage class: where its copies go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StorageClass {
    /// Name, 1 to 255 bytes.
    pub name: Vec<u8>,
    /// Only admin sessions may assign it.
    pub admin_only: bool,
    /// What to do when labelled servers cannot take a copy.
    pub mode: ClassMode,
    /// Days after the last change until a chunk is archived; 0 is never.
    pub archive_delay_days: u16,
    /// Wanted copies at creation: each a list of label masks, any of which will do.
    pub create: Vec<LabelExpr>,
    /// Wanted copies while kept.
    pub keep: Vec<LabelExpr>,
    /// Wanted copies once archived.
    pub archive: Vec<LabelExpr>,
}

impl StorageClass {
    /// The copies that are wanted of a chunk that is archived, or kept.
    #[must_use]
    pub fn wanted(&self, archived: bool) -> &[LabelExpr] {
        match archived {
            true => &self.archive,
            false => &self.keep,
        }
    }

    /// Whether a file of this class, changed last then, is due to be archived. A delay that goes
    /// beyond the end of MooseFS's time is none.
    #[must_use]
    pub fn archives(&self, changed_at: WallTime, now: WallTime) -> bool {
        let delay = u64::from(self.archive_delay_days) * 86_400;
        delay > 0 && u64::from(changed_at.0) + delay < u64::from(now.0)
    }
}

/// One wanted copy: up to four masks of labels A to Z (bit 0 to 25), ORed; a mask demands all its
/// labels; first mask 0 is "any server".
pub type LabelExpr = [u32; 4];

/// What to do when servers with the wanted labels are full or overloaded.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub enum ClassMode {
    /// Overloaded: use others. Full: use others.
    Loose,
    /// Overloaded: wait. Full: use others.
    #[default]
    Std,
    /// Overloaded: wait. Full: no space.
    Strict,
}

/// Parts of a class that a change touches; `None` leaves one.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ClassChange {
    /// Admin flag.
    pub admin_only: Option<bool>,
    /// Mode.
    pub mode: Option<ClassMode>,
    /// Archive delay, days.
    pub archive_delay_days: Option<u16>,
    /// Create list.
    pub create: Option<Vec<LabelExpr>>,
    /// Keep list.
    pub keep: Option<Vec<LabelExpr>>,
    /// Archive list.
    pub archive: Option<Vec<LabelExpr>>,
    /// Plain goals 1 to 9 are changed only with this.
    pub force: bool,
}

/// Limits of a quota; `None` is no limit.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct QuotaLimits {
    /// Nodes.
    pub inodes: Option<u32>,
    /// Sum of lengths, bytes.
    pub length: Option<u64>,
    /// Sum of sizes (blocks and chunk headers), bytes.
    pub size: Option<u64>,
    /// Sum of sizes times copies, bytes.
    pub real_size: Option<u64>,
}

/// What a subtree holds (section 8.5 of the protocol facts).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DirStats {
    /// Nodes in the subtree, the directory itself included.
    pub inodes: i128,
    /// Directories, itself included.
    pub dirs: i128,
    /// Files.
    pub files: i128,
    /// Chunks of files.
    pub chunks: i128,
    /// Bytes.
    pub length: i128,
    /// Bytes in whole blocks, plus a header per chunk.
    pub size: i128,
    /// `size` times the copies wanted.
    pub real_size: i128,
}

/// Options of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SnapshotFlags {
    /// Files that are there already are replaced.
    pub overwrite: bool,
    /// New nodes as if the caller had copied them: own owner, umask, times.
    pub like_cp: bool,
    /// Hard links within the source stay hard links.
    pub keep_hardlinks: bool,
}

/// What changes the tree. Every operation names the checks' order in `docs/namespace.md`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "fields are named as on MooseFS's wire; each variant says the rest"
)]
pub enum Op {
    // Sessions.
    /// A new session. [`Reply::Session`].
    OpenSession { params: SessionParams },
    /// New values for a session. `BadSession`.
    UpdateSession {
        session: SessionId,
        params: SessionParams,
    },
    /// The session's last connection went, or one came back: remembered for its expiry.
    SetSessionConnected { session: SessionId, connected: bool },
    /// The session ends: its open files and locks are given back. `BadSession`.
    CloseSession { session: SessionId },
    /// The complete list of files a session has open: what is missing in it was closed, what is
    /// new in it is open from now (inodes that do not exist are passed over).
    SetOpenFiles {
        session: SessionId,
        inodes: Vec<InodeId>,
    },

    // Making and removing names.
    /// CREATE and MKNOD: a node that is neither directory nor symlink. With `open`, a file is
    /// open in the session afterwards. [`Reply::Node`].
    Create {
        caller: Caller,
        parent: InodeId,
        name: Name,
        kind: NodeKind,
        mode: u16,
        umask: u16,
        rdev: u32,
        open: bool,
    },
    /// MKDIR. `copy_setgid`: a setgid parent hands its setgid bit on. [`Reply::Node`].
    Mkdir {
        caller: Caller,
        parent: InodeId,
        name: Name,
        mode: u16,
        umask: u16,
        copy_setgid: bool,
    },
    /// SYMLINK. [`Reply::Node`].
    Symlink {
        caller: Caller,
        parent: InodeId,
        name: Name,
        target: Vec<u8>,
    },
    /// LINK. [`Reply::Node`].
    Link {
        caller: Caller,
        inode: InodeId,
        parent: InodeId,
        name: Name,
    },
    /// UNLINK of anything but a directory. [`Reply::Removed`].
    Unlink {
        caller: Caller,
        parent: InodeId,
        name: Name,
    },
    /// RMDIR. [`Reply::Removed`].
    Rmdir {
        caller: Caller,
        parent: InodeId,
        name: Name,
    },
    /// RENAME, replacing what had the name. [`Reply::Node`].
    Rename {
        caller: Caller,
        src_parent: InodeId,
        src_name: Name,
        dst_parent: InodeId,
        dst_name: Name,
    },

    // Attributes.
    /// SETATTR. `opened`: the file is open, so it need not be visible below the session's root.
    /// [`Reply::Attr`].
    SetAttr {
        caller: Caller,
        inode: InodeId,
        opened: bool,
        set: SetAttr,
    },
    /// A read of a directory, symlink or file touched its access time (if relatime lets it).
    TouchAtime { inode: InodeId },
    /// Times that a client kept: `(inode, atime, mtime)`, 0 is unchanged. Never refused.
    SetTimes {
        session: SessionId,
        times: Vec<(InodeId, WallTime, WallTime)>,
    },
    /// SETXATTR. [`Reply::Done`].
    SetXattr {
        caller: Caller,
        inode: InodeId,
        opened: bool,
        name: Vec<u8>,
        value: Vec<u8>,
        mode: XattrMode,
    },
    /// SETFACL; an ACL with every permission 0xFFFF and no names removes it. [`Reply::Done`].
    SetAcl {
        caller: Caller,
        inode: InodeId,
        kind: AclKind,
        acl: Acl,
    },

    // Open files and data.
    /// OPEN: the file is open in the session afterwards. [`Reply::Attr`].
    Open {
        caller: Caller,
        inode: InodeId,
        flags: OpenFlags,
    },
    /// TRUNCATE. [`Reply::Truncated`], or [`Reply::TruncateChunk`] when a chunk has to be cut
    /// first, followed by [`Op::TruncateEnd`].
    Truncate {
        caller: Caller,
        inode: InodeId,
        length: u64,
        mode: TruncateMode,
    },
    /// The chunk of a truncate was cut: it is settled and unlocked, and the file gets its length.
    /// [`Reply::Truncated`], also when nothing is being cut there (any more): then nothing changes.
    /// `Invalid` when the cut is for another length.
    TruncateEnd {
        caller: Caller,
        inode: InodeId,
        index: u32,
        chunk: ChunkId,
        length: u64,
    },
    /// WRITE_CHUNK: make, duplicate or raise the version of a file's chunk, and lock it.
    /// `go_on`: the writer continues under its own lock. `chunk_moved`: a copy came, went or was
    /// damaged since the last write, so the version must rise. [`Reply::Chunk`]: an action other
    /// than `Kept` made this version, and is unsettled until [`Op::SettleChunk`]. `Kept` may be
    /// unsettled, too: by a command before. `Locked` while the chunk is being cut, lock or not.
    WriteChunk {
        caller: Caller,
        inode: InodeId,
        index: u32,
        go_on: bool,
        chunk_moved: bool,
        may_touch_times: bool,
    },
    /// WRITE_CHUNK_END: unlock, and raise the length to `length`. [`Reply::Done`], also when
    /// nothing was locked.
    WriteChunkEnd {
        caller: Caller,
        inode: InodeId,
        index: u32,
        chunk: ChunkId,
        length: u64,
        may_touch_times: bool,
    },
    /// The chunkservers could not do what a write asked for: a slot whose chunk was created is a
    /// hole again (`old` is 0), one whose chunk was duplicated has the shared one again; with the
    /// same chunk as `old` it is only unlocked, and stays unsettled. `NoChunk` for anything else.
    RollbackChunk {
        inode: InodeId,
        index: u32,
        new: ChunkId,
        old: ChunkId,
    },
    /// The version is this, or one higher than it was: then it is unsettled. [`Reply::Done`],
    /// `NoChunk`, `Invalid`.
    SetChunkVersion { chunk: ChunkId, version: u32 },
    /// Chunkservers have done what was to be done for this version; where it was a cut, what
    /// [`Op::TruncateEnd`] does is done, too. [`Reply::Done`], also when nothing was unsettled;
    /// `NoChunk`, `Invalid` for another version.
    SettleChunk { chunk: ChunkId, version: u32 },
    /// Unlock a chunk, locked or not.
    UnlockChunk { chunk: ChunkId },
    /// Repair, as judged when the slot held this chunk at version `was`: copies of version `best`
    /// are what it holds from now, and get a version above both; without any the slot is a hole.
    /// Sets the file's times. [`Reply::Done`]; `NoChunk` when the slot holds another, `Invalid` for
    /// another version, `Locked` while a writer has it, `NoSpace` when no version is left.
    RepairChunk {
        inode: InodeId,
        index: u32,
        chunk: ChunkId,
        was: u32,
        best: Option<u32>,
    },
    /// A chunk without a reference was deleted everywhere. `ClassInUse` is never given; a chunk
    /// with references gives `ChunkBusy`.
    ForgetChunk { chunk: ChunkId },
    /// APPEND_SLICE: the chunks `[from, to)` of `src` are appended to `dst`, shared. `from` or
    /// `to` below 0 counts from the end. [`Reply::Done`], `Locked` while one of them is being cut.
    AppendSlice {
        caller: Caller,
        dst: InodeId,
        src: InodeId,
        from: i64,
        to: i64,
    },

    // Locks.
    /// FLOCK. [`Reply::Done`] when granted or given back, [`Reply::LockWaiting`] when queued (a
    /// [`Notice::LockGranted`] follows), `Again`, `NotOpened`.
    Flock {
        session: SessionId,
        inode: InodeId,
        owner: u64,
        reqid: u32,
        op: FlockOp,
    },
    /// POSIX_LOCK on `[start, end)`; `u64::MAX` is the end of the file. As `Flock`.
    PosixLock {
        session: SessionId,
        inode: InodeId,
        owner: u64,
        pid: u32,
        reqid: u32,
        op: PosixOp,
        kind: PosixLockKind,
        start: u64,
        end: u64,
    },

    // Values of subtrees.
    /// SETTRASHTIME, seconds, rounded up to hours. [`Reply::Changed`].
    SetTrashTime {
        caller: Caller,
        inode: InodeId,
        seconds: u32,
        mode: SetMode,
        recursive: bool,
    },
    /// SETSCLASS by id. [`Reply::Changed`]. With `only`, only nodes of that class are changed.
    SetSclass {
        caller: Caller,
        inode: InodeId,
        class: u8,
        only: Option<u8>,
        mode: SetMode,
        recursive: bool,
    },
    /// SETEATTR. [`Reply::Changed`].
    SetEattr {
        caller: Caller,
        inode: InodeId,
        eattr: u8,
        mode: SetMode,
        recursive: bool,
    },
    /// ARCHCTL set or clear of the archive flag of all chunks. [`Reply::Changed64`].
    SetArchived {
        caller: Caller,
        inode: InodeId,
        archived: bool,
    },
    /// QUOTACONTROL: set these limits, or with `None` remove the quota. [`Reply::Done`].
    SetQuota {
        caller: Caller,
        inode: InodeId,
        limits: Option<(QuotaLimits, QuotaLimits, u32)>,
    },

    // Trash.
    /// SETTRASHPATH. [`Reply::Done`].
    SetTrashPath {
        caller: Caller,
        inode: InodeId,
        path: Vec<u8>,
    },
    /// UNDEL: makes the directories of the path and links the file there. [`Reply::Done`].
    Undelete { caller: Caller, inode: InodeId },
    /// PURGE. [`Reply::Done`].
    PurgeTrash { caller: Caller, inode: InodeId },
    /// Free what is in the trash past its time, and what is sustained by nobody: at most `limit`
    /// nodes are looked at, beginning after `after`. [`Reply::Swept`].
    Sweep { after: Option<InodeId>, limit: u32 },

    // Snapshots.
    /// SNAPSHOT of `src` as `name` in `dst_parent`. [`Reply::Done`], `Locked` while a chunk of it is
    /// being cut.
    Snapshot {
        caller: Caller,
        src: InodeId,
        dst_parent: InodeId,
        name: Name,
        flags: SnapshotFlags,
        umask: u16,
    },
    /// Remove a snapshot, bypassing the trash. [`Reply::Done`].
    RemoveSnapshot {
        caller: Caller,
        parent: InodeId,
        name: Name,
        force: bool,
    },

    // Storage classes.
    /// SCLASS_CREATE. [`Reply::Class`].
    CreateClass {
        session: SessionId,
        class: StorageClass,
    },
    /// SCLASS_CHANGE. [`Reply::Class`].
    ChangeClass {
        session: SessionId,
        name: Vec<u8>,
        change: ClassChange,
    },
    /// SCLASS_DELETE. [`Reply::Done`].
    DeleteClass { session: SessionId, name: Vec<u8> },
    /// SCLASS_DUPLICATE. [`Reply::Class`].
    DuplicateClass {
        session: SessionId,
        old: Vec<u8>,
        new: Vec<u8>,
    },
    /// SCLASS_RENAME. [`Reply::Done`].
    RenameClass {
        session: SessionId,
        old: Vec<u8>,
        new: Vec<u8>,
    },

    // Chunkservers.
    /// A chunkserver registers: it has that id from now, and that address. `csid` is the one that
    /// it claims, 0 for none; which one it gets is said in `docs/namespace.md`.
    /// [`Reply::ChunkserverRegistered`], `Invalid`, `NoSpace`.
    RegisterChunkserver { csid: CsId, address: Address },
    /// A chunkserver that is not connected will not come back. [`Reply::Done`], `NotFound`.
    ForgetChunkserver { csid: CsId },
    /// What a chunkserver lacks is not made anew until then: 0 is never, `u32::MAX` until switched
    /// off. [`Reply::Done`], `NotFound`.
    SetMaintenance { csid: CsId, until: WallTime },

    // The cluster's own work.
    /// The session ends as by [`Op::CloseSession`], when nobody has spoken for it since exactly
    /// then. `BadSession` when it is gone, `Active` when somebody came back meanwhile.
    ExpireSession { session: SessionId, since: WallTime },
    /// Chunks of a file in slots `[from, to)` follow the archive list of its class from now, if the
    /// file is due for that ([`StorageClass::archives`]); nothing happens when it is not.
    /// [`Reply::Changed64`], `NoEnt`; `Invalid` for more chunks than one command may touch.
    ArchiveAged { inode: InodeId, from: u32, to: u32 },
    /// A chunkserver has copies of chunks of this slot that were never given out, up to the one
    /// before `next`: ids up to there never will be. [`Reply::Done`], also when all were given out;
    /// `Invalid` for no slot, `NoSpace` when ids end before that.
    PassChunkIds { slot: Slot, next: u64 },
    /// There are copies of versions from `low` to `high` that are not of this state, whose version
    /// is `was`: it is the next after them from now, and unsettled. Of a chunk that is not settled,
    /// `low` may be its version: nobody was told of it then. [`Reply::Done`], `NoChunk`; `Invalid`
    /// for another version; `NoSpace` when none is left, or they are too scattered to be remembered.
    PassVersions {
        chunk: ChunkId,
        was: u32,
        low: u32,
        high: u32,
    },
    /// Every chunkserver is there, and none has a copy of this chunk, which no file has, in any of
    /// the versions that it passed over: they need not be remembered. [`Reply::Done`], `NoChunk`;
    /// `Invalid` for another version, `ChunkBusy` as [`Op::ForgetChunk`].
    ForgetPassedVersions { chunk: ChunkId, version: u32 },
}

/// What is asked without changing anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "fields are named as on MooseFS's wire; each variant says the rest"
)]
pub enum Query {
    /// LOOKUP, "." and ".." too. [`Answer::Looked`].
    Lookup {
        caller: Caller,
        parent: InodeId,
        name: Name,
    },
    /// GETATTR: no permission check. [`Answer::Attr`].
    GetAttr {
        caller: Caller,
        inode: InodeId,
        opened: bool,
    },
    /// ACCESS: `mask` of 4 R, 2 W, 1 X. [`Answer::Done`].
    Access {
        caller: Caller,
        inode: InodeId,
        mask: u8,
    },
    /// READLINK. [`Answer::Bytes`].
    ReadLink { caller: Caller, inode: InodeId },
    /// READDIR: entries in order of name after `after`, at most `max` and never more than
    /// [`crate::limits::READDIR_PAGE_MAX`]. "." and ".." come first when `after` is empty. An
    /// entry that is there throughout is seen exactly once. [`Answer::Entries`].
    ReadDir {
        caller: Caller,
        inode: InodeId,
        attrs: bool,
        after: Name,
        max: u32,
    },
    /// GETXATTR. [`Answer::Bytes`].
    GetXattr {
        caller: Caller,
        inode: InodeId,
        opened: bool,
        name: Vec<u8>,
    },
    /// GETXATTR with an empty name: names in order, each followed by NUL. [`Answer::Bytes`].
    ListXattr {
        caller: Caller,
        inode: InodeId,
        opened: bool,
    },
    /// GETFACL. [`Answer::Acl`], `NoAttr`.
    GetAcl {
        caller: Caller,
        inode: InodeId,
        kind: AclKind,
    },
    /// POSIX_LOCK get: what stands in the way of this lock. [`Answer::PosixLock`].
    TestPosixLock {
        session: SessionId,
        inode: InodeId,
        owner: u64,
        kind: PosixLockKind,
        start: u64,
        end: u64,
    },
    /// READ_CHUNK. [`Answer::Chunk`].
    ReadChunk {
        caller: Caller,
        inode: InodeId,
        index: u32,
    },
    /// The file's chunk list from index `from`, at most `max`. [`Answer::Chunks`].
    ListChunks {
        caller: Caller,
        inode: InodeId,
        from: u32,
        max: u32,
    },
    /// STATFS; `total` and `free` bytes as the chunkservers report them. [`Answer::StatFs`].
    StatFs {
        caller: Caller,
        total: u64,
        free: u64,
    },
    /// GETDIRSTATS. [`Answer::DirStats`].
    DirStats { caller: Caller, inode: InodeId },
    /// GETTRASHTIME: counts per value, seconds. [`Answer::Counts`].
    GetTrashTime {
        caller: Caller,
        inode: InodeId,
        recursive: bool,
    },
    /// GETSCLASS: counts per class id. [`Answer::Counts`].
    GetSclass {
        caller: Caller,
        inode: InodeId,
        recursive: bool,
    },
    /// GETEATTR: counts per bit set. [`Answer::Counts`].
    GetEattr {
        caller: Caller,
        inode: InodeId,
        recursive: bool,
    },
    /// ARCHCTL get. [`Answer::Archive`].
    GetArchived { caller: Caller, inode: InodeId },
    /// QUOTACONTROL get. [`Answer::Quota`].
    GetQuota { caller: Caller, inode: InodeId },
    /// All quotas. [`Answer::Quotas`].
    ListQuotas { session: SessionId },
    /// PARENTS: one entry per link. [`Answer::Inodes`].
    Parents { caller: Caller, inode: InodeId },
    /// PATHS from the session's root, without a leading slash. [`Answer::Paths`].
    Paths { caller: Caller, inode: InodeId },
    /// GETTRASH of one bucket (inode & 0xFFF) or all. Meta sessions only. [`Answer::Detached`].
    ListTrash {
        session: SessionId,
        bucket: Option<u16>,
    },
    /// GETSUSTAINED. Meta sessions only. [`Answer::Detached`].
    ListSustained { session: SessionId },
    /// GETTRASHPATH. Meta sessions only. [`Answer::Bytes`].
    TrashPath { session: SessionId, inode: InodeId },
    /// GETDETACHEDATTR. Meta sessions only. [`Answer::Attr`].
    DetachedAttr { session: SessionId, inode: InodeId },
    /// SCLASS_LIST. [`Answer::Classes`].
    ListClasses,
    /// A session's values. [`Answer::Session`], `BadSession`.
    GetSession { session: SessionId },
    /// The last request of each of a session's lanes, in order of lane. [`Answer::LastRequests`],
    /// `BadSession`.
    LastRequests { session: SessionId },
    /// Files a session has open; session 0: all pairs. [`Answer::OpenFiles`].
    ListOpenFiles { session: SessionId },
    /// Locks of an inode; inode 0: all. [`Answer::Locks`].
    ListLocks { inode: InodeId },
    /// Chunkservers that have registered, connected or not. [`Answer::Chunkservers`].
    ListChunkservers,
}

/// Attributes of a node as a session sees them (section 1.8 of the protocol facts).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attr {
    /// Type.
    pub kind: NodeKind,
    /// Permission bits, 07777, the group's being the ACL's mask where there is one.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Access time.
    pub atime: WallTime,
    /// Modification time.
    pub mtime: WallTime,
    /// Change time.
    pub ctime: WallTime,
    /// Links; of a directory 2 and its subdirectories; 0 in trash or sustained.
    pub nlink: u32,
    /// Bytes of a file; of a symlink its target; of a directory the encoded size of its tree.
    pub length: u64,
    /// Device number of a device, else 0.
    pub rdev: u32,
    /// Windows attributes.
    pub winattr: u8,
    /// MATTR flags: 1 no attribute cache, 2 no entry cache, 4 data cache allowed, 8 neither
    /// xattr nor ACL, 0x20 undeletable.
    pub flags: u8,
}

/// What happened with a file's chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ChunkAction {
    /// Made new: chunkservers have to create it.
    Created,
    /// Copied from a shared one: chunkservers have to duplicate it.
    Duplicated {
        /// The shared one.
        from: ChunkId,
        /// Its version.
        from_version: u32,
    },
    /// Version raised: chunkservers have to set it.
    Raised {
        /// Version before.
        from_version: u32,
    },
    /// As it was.
    Kept,
}

/// What chunkservers have not all been told of a chunk yet. Nobody was told that it may be used at
/// its version: copies that it is made from are still good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Unsettled {
    /// What they have to do; never `Kept`. The version to be raised from is that of the copies that
    /// are known to be good: the chunk's own may be more than one above it. Of a chunk that was
    /// duplicated, the shared one is kept until this is settled, under whatever version it has.
    pub action: ChunkAction,
    /// The cut that they have to make, too.
    pub cut: Option<Cut>,
    /// The file for which it was done; 0 when a version was raised for none.
    pub inode: InodeId,
    /// Which of its slots.
    pub index: u32,
}

/// The cut of a truncate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cut {
    /// Bytes of the chunk that stay.
    pub bytes: u32,
    /// Length of the file once it is made.
    pub file_length: u64,
}

impl Unsettled {
    /// The shared chunk that is kept for this one to be made from.
    #[must_use]
    pub fn holds(&self) -> Option<ChunkId> {
        match self.action {
            ChunkAction::Duplicated { from, .. } => Some(from),
            ChunkAction::Created | ChunkAction::Raised { .. } | ChunkAction::Kept => None,
        }
    }
}

/// One slot of a file's chunk list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkInfo {
    /// Position in the file.
    pub index: u32,
    /// The chunk; a hole reads as zeros.
    pub chunk: ChunkId,
    /// Its version; 0 for a hole.
    pub version: u32,
    /// Locked for a writer until then; 0 when free.
    pub locked_until: WallTime,
    /// Whether its copies follow the archive list.
    pub archived: bool,
    /// What chunkservers have not been told yet.
    pub unsettled: Option<Unsettled>,
    /// File slots that refer to it, and chunks that are to be made from it.
    pub references: u64,
}

impl ChunkInfo {
    /// Whether a writer has it.
    #[must_use]
    pub fn is_locked(&self, now: WallTime) -> bool {
        self.locked_until > WallTime(0) && self.locked_until >= now
    }
}

/// What a command gives back when it was carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each variant says what its fields are")]
pub enum Reply {
    /// Carried out; nothing to tell.
    Done,
    /// A new session.
    Session(SessionId),
    /// A node and its attributes.
    Node { inode: InodeId, attr: Attr },
    /// The node that had the name.
    Removed { inode: InodeId },
    /// Attributes afterwards.
    Attr(Attr),
    /// Length before (for an append: where to write), attributes afterwards.
    Truncated { previous_length: u64, attr: Attr },
    /// A chunk has to be cut to `bytes` by the chunkservers first; it is locked.
    TruncateChunk {
        index: u32,
        chunk: ChunkId,
        version: u32,
        action: ChunkAction,
        bytes: u32,
    },
    /// A file's chunk, locked for writing; `length` is the file's.
    Chunk {
        chunk: ChunkId,
        version: u32,
        action: ChunkAction,
        length: u64,
    },
    /// The lock request waits.
    LockWaiting,
    /// Nodes changed, left as they were, not permitted, and over quota.
    Changed {
        changed: u32,
        unchanged: u32,
        refused: u32,
        over_quota: u32,
    },
    /// Chunks changed, left as they were, not permitted.
    Changed64 {
        changed: u64,
        unchanged: u64,
        refused: u32,
    },
    /// Nodes freed, nodes moved from trash to sustained, and where to go on; `None` at the end.
    Swept {
        freed: u32,
        sustained: u32,
        next: Option<InodeId>,
    },
    /// Id of a storage class.
    Class(u8),
    /// A chunkserver's id, and the number of its registration.
    ChunkserverRegistered { csid: CsId, registration: u64 },
}

impl Op {
    /// The session whose own client changes a file's data by this, and so has the change in its
    /// cache. What tools ask for in a session, and what the cluster does itself, is nobody's.
    #[must_use]
    pub fn writer(&self) -> Option<SessionId> {
        match self {
            Self::WriteChunk { caller, .. }
            | Self::WriteChunkEnd { caller, .. }
            | Self::Truncate { caller, .. }
            | Self::TruncateEnd { caller, .. }
            | Self::Open { caller, .. } => Some(caller.session),
            _ => None,
        }
    }
}

/// What somebody else has to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each variant says what its fields are")]
pub enum Notice {
    /// A waiting lock request was granted.
    LockGranted {
        session: SessionId,
        inode: InodeId,
        owner: u64,
        reqid: u32,
        posix: bool,
    },
    /// A waiting lock request will never be granted: interrupted, or its session ended.
    LockEnded {
        session: SessionId,
        inode: InodeId,
        owner: u64,
        reqid: u32,
        posix: bool,
    },
    /// The file's length changed: for sessions that have it open.
    LengthChanged { inode: InodeId, length: u64 },
    /// A chunk of the file changed: for sessions that have it open.
    ChunkChanged {
        inode: InodeId,
        index: u32,
        chunk: ChunkId,
        version: u32,
        length: u64,
        truncated: bool,
    },
    /// Nothing refers to this chunk any more: its copies can go.
    ChunkUnused { chunk: ChunkId, version: u32 },
    /// A chunkserver has registered: what it said under a lower number is of no use any more.
    ChunkserverRegistered { csid: CsId, registration: u64 },
    /// A chunkserver was removed.
    ChunkserverForgotten { csid: CsId },
}

/// What applying a command came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// What to tell the caller.
    pub result: Result<Reply, FsError>,
    /// What to tell others; empty for a repeated request.
    pub notices: Vec<Notice>,
    /// Metadata version after the command: it rises by exactly one with each command that was
    /// carried out, and stays with a refusal or a repeat (P-VERSION).
    pub version: u64,
    /// Whether this is the remembered outcome of a request that came again.
    pub repeated: bool,
}

/// A directory entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Name.
    pub name: Name,
    /// Node.
    pub inode: InodeId,
    /// Its type.
    pub kind: NodeKind,
    /// Its attributes, when asked for.
    pub attr: Option<Attr>,
}

/// A lock that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HeldLock {
    /// On what.
    pub inode: InodeId,
    /// By which session.
    pub session: SessionId,
    /// By which owner within it.
    pub owner: u64,
    /// By which process; 0 for a whole-file lock.
    pub pid: u32,
    /// First byte; 0 for a whole-file lock.
    pub start: u64,
    /// Byte after the last; 0 for a whole-file lock.
    pub end: u64,
    /// Exclusive, or shared.
    pub exclusive: bool,
    /// A byte range, or the whole file (flock).
    pub posix: bool,
}

/// A chunkserver that has registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChunkserverInfo {
    /// Its id.
    pub csid: CsId,
    /// Where it is reached; no other has the same.
    pub address: Address,
    /// Number of its last registration: the next one of any chunkserver has a higher one.
    pub registration: u64,
    /// When that was, by its proposer's clock.
    pub registered_at: WallTime,
    /// What it lacks is not made anew until then; 0 is never, `u32::MAX` until switched off.
    pub maintenance_until: WallTime,
}

/// A quota as set and used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaState {
    /// The directory.
    pub inode: InodeId,
    /// Limits that may be passed for the grace time.
    pub soft: QuotaLimits,
    /// Limits that may not be passed.
    pub hard: QuotaLimits,
    /// Grace, seconds.
    pub grace_seconds: u32,
    /// When a soft limit was passed; `None` when none is.
    pub over_soft_since: Option<WallTime>,
    /// What the subtree holds.
    pub used: DirStats,
}

/// What a query gives back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each variant says what its fields are")]
pub enum Answer {
    /// Yes.
    Done,
    /// A node, its attributes, and for each of the eight rwx masks whether the caller has it.
    Looked {
        inode: InodeId,
        attr: Attr,
        access: u8,
    },
    /// Attributes.
    Attr(Attr),
    /// A target, a value, a list of names.
    Bytes(Vec<u8>),
    /// A page of entries; `done` at the end of the directory.
    Entries { entries: Vec<Entry>, done: bool },
    /// An ACL.
    Acl(Acl),
    /// The lock in the way, if any.
    PosixLock(Option<HeldLock>),
    /// A chunk of a file and the file's length.
    Chunk { info: ChunkInfo, length: u64 },
    /// Chunks of a file, its length, and whether the list ends here.
    Chunks {
        chunks: Vec<ChunkInfo>,
        length: u64,
        done: bool,
    },
    /// Bytes in all, bytes available, bytes in trash, bytes sustained, nodes.
    StatFs {
        total: u64,
        available: u64,
        trash: u64,
        sustained: u64,
        inodes: u32,
    },
    /// A subtree's sums.
    DirStats(DirStats),
    /// `(value, count)` over files, then over directories, in order of value.
    Counts {
        files: Vec<(u32, u32)>,
        dirs: Vec<(u32, u32)>,
    },
    /// Chunks archived and not, files wholly, partly and not archived.
    Archive {
        archived: u64,
        not: u64,
        files: u32,
        partial: u32,
        files_not: u32,
    },
    /// A quota; limits are empty where none is set.
    Quota(QuotaState),
    /// Quotas and paths of their directories, in order of inode.
    Quotas(Vec<(QuotaState, Vec<u8>)>),
    /// Inodes.
    Inodes(Vec<InodeId>),
    /// Paths.
    Paths(Vec<Vec<u8>>),
    /// Names as the meta mount shows them, and inodes.
    Detached(Vec<(Name, InodeId)>),
    /// Storage classes by id.
    Classes(Vec<(u8, StorageClass)>),
    /// A session's values, and since when it is disconnected.
    Session {
        params: SessionParams,
        disconnected: Option<WallTime>,
    },
    /// Last requests, in order of lane.
    LastRequests(Vec<LastRequest>),
    /// Open files.
    OpenFiles(Vec<(SessionId, InodeId)>),
    /// Locks held, in order.
    Locks(Vec<HeldLock>),
    /// Chunkservers, in order of id.
    Chunkservers(Vec<ChunkserverInfo>),
}
