//! Commands at random: for each operation what makes it succeed often and fail in every way.

use std::net::Ipv4Addr;

use mfsha_core::chunks::Address;
use mfsha_core::id::{ChunkId, CsId, InodeId, SessionId};
use mfsha_core::limits;
use mfsha_core::namespace::op::{
    Acl, AclKind, ChunkAction, ClassChange, ClassMode, Disable, FlockOp, LabelExpr, NodeKind, Op,
    OpenFlags, PosixLockKind, PosixOp, QuotaLimits, SessionFlags, SessionParams, SetAttr, SetMode,
    SetTime, SnapshotFlags, StorageClass, SugidClear, TruncateMode, Unsettled, XattrMode,
};
use mfsha_core::rng::Rng;
use mfsha_core::time::WallTime;

use super::Draw;
use crate::state::{Node, eattr, join};

/// Sessions above which no more are opened.
const SESSIONS_MANY: usize = 8;

macro_rules! kinds {
    ($($kind:ident $weight:literal),* $(,)?) => {
        /// The operations, by name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "each is the operation of that name")]
        pub enum CommandKind { $($kind),* }

        /// The operations, and how often each should come.
        pub const COMMANDS: &[(CommandKind, u16)] = &[$((CommandKind::$kind, $weight)),*];
    };
}

kinds! {
    OpenSession 12, UpdateSession 6, SetSessionConnected 3, CloseSession 4, SetOpenFiles 10,
    ExpireSession 3,
    Create 45, Mkdir 30, Symlink 10, Link 16, Unlink 22, Rmdir 12, Rename 36,
    SetAttr 36, TouchAtime 6, SetTimes 6, SetXattr 16, SetAcl 20,
    Open 24, Truncate 30, TruncateEnd 18, WriteChunk 36, WriteChunkEnd 20, RollbackChunk 8,
    SetChunkVersion 5, SettleChunk 24, UnlockChunk 6, RepairChunk 5, ForgetChunk 8, AppendSlice 12,
    Flock 40, PosixLock 40,
    SetTrashTime 12, SetSclass 14, SetEattr 14, SetArchived 6, ArchiveAged 6, SetQuota 14,
    SetTrashPath 6, Undelete 10, PurgeTrash 6, Sweep 8,
    Snapshot 24, RemoveSnapshot 14,
    CreateClass 6, ChangeClass 8, DeleteClass 6, DuplicateClass 4, RenameClass 5,
    PassChunkIds 2, PassVersions 4, ForgetPassedVersions 4,
    RegisterChunkserver 12, ForgetChunkserver 3, SetMaintenance 3,
}

impl CommandKind {
    /// This kind, or one that removes something where this one would make more.
    pub(super) fn or_smaller(self, rng: &mut Rng) -> Self {
        let grows = matches!(
            self,
            Self::Create
                | Self::Mkdir
                | Self::Symlink
                | Self::Link
                | Self::Snapshot
                | Self::Undelete
        );
        if !grows {
            return self;
        }
        *rng.pick(&[
            Self::Unlink,
            Self::Unlink,
            Self::Rmdir,
            Self::Sweep,
            Self::PurgeTrash,
        ])
    }
}

impl Draw<'_> {
    pub(super) fn op(&mut self, kind: CommandKind) -> Op {
        use CommandKind as K;
        match kind {
            K::OpenSession
            | K::UpdateSession
            | K::SetSessionConnected
            | K::CloseSession
            | K::ExpireSession
            | K::SetOpenFiles => self.session_op(kind),
            K::Create | K::Mkdir | K::Symlink | K::Link | K::Unlink | K::Rmdir | K::Rename => {
                self.name_op(kind)
            }
            K::SetAttr => self.set_attr(),
            K::TouchAtime => Op::TouchAtime {
                inode: self.inode(),
            },
            K::SetTimes => self.set_times(),
            K::SetXattr => self.set_xattr(),
            K::SetAcl => self.set_acl(),
            K::Open
            | K::Truncate
            | K::TruncateEnd
            | K::WriteChunk
            | K::WriteChunkEnd
            | K::AppendSlice => self.data_op(kind),
            K::RollbackChunk
            | K::SetChunkVersion
            | K::SettleChunk
            | K::UnlockChunk
            | K::RepairChunk
            | K::PassChunkIds
            | K::PassVersions
            | K::ForgetPassedVersions
            | K::ForgetChunk => self.chunk_op(kind),
            K::Flock => self.flock(),
            K::PosixLock => self.posix_lock(),
            K::SetTrashTime
            | K::SetSclass
            | K::SetEattr
            | K::SetArchived
            | K::ArchiveAged
            | K::SetQuota => self.subtree_op(kind),
            K::SetTrashPath | K::Undelete | K::PurgeTrash | K::Sweep => self.trash_op(kind),
            K::Snapshot | K::RemoveSnapshot => self.snapshot_op(kind),
            K::CreateClass
            | K::ChangeClass
            | K::DeleteClass
            | K::DuplicateClass
            | K::RenameClass => self.class_op(kind),
            K::RegisterChunkserver | K::ForgetChunkserver | K::SetMaintenance => {
                self.chunkserver_op(kind)
            }
        }
    }

    fn session_op(&mut self, kind: CommandKind) -> Op {
        let session = self.session();
        let crowded = self.model.sessions.len() > SESSIONS_MANY;
        match kind {
            CommandKind::OpenSession if !crowded => Op::OpenSession {
                params: self.params(),
            },
            CommandKind::UpdateSession => Op::UpdateSession {
                session,
                params: self.params(),
            },
            CommandKind::SetSessionConnected => Op::SetSessionConnected {
                session,
                connected: self.flip(),
            },
            CommandKind::OpenSession | CommandKind::CloseSession => Op::CloseSession { session },
            CommandKind::ExpireSession => {
                let known = self.model.sessions.get(&session);
                let since = known.and_then(|session| session.disconnected);
                // Mostly the time that stands there, so that some do end.
                let since = since.filter(|_| self.rng.chance(3, 4));
                let since = since.unwrap_or(WallTime(7));
                Op::ExpireSession { session, since }
            }
            _ => {
                let mut inodes: Vec<InodeId> = self
                    .model
                    .open_files
                    .iter()
                    .filter(|(of, _)| *of == session)
                    .map(|(_, inode)| *inode)
                    .collect();
                inodes.retain(|_| self.rng.chance(2, 3));
                if self.flip() {
                    inodes.push(self.file());
                }
                Op::SetOpenFiles { session, inodes }
            }
        }
    }

    /// Half of the sessions may do everything; the others are restricted in one or more ways.
    fn params(&mut self) -> SessionParams {
        let mut params = SessionParams::unrestricted();
        if self.chance(1, 3) {
            return params;
        }
        params.flags = SessionFlags {
            read_only: self.chance(1, 6),
            dynamic_ip: self.flip(),
            ignore_gid: self.chance(1, 4),
            admin: self.flip(),
            map_all: self.chance(1, 4),
        };
        params.root = match self.rng.below(12) {
            0 | 1 => InodeId(0),
            2..=5 => self.dir(),
            6 => self.inode(),
            _ => InodeId::ROOT,
        };
        params.umask = self.pick(&[0, 0, 0o022, 0o077]);
        if self.chance(1, 4) {
            params.disables = if self.chance(1, 5) {
                u32::MAX
            } else {
                1 << self.rng.below(Disable::SetFacl as u64 + 1)
            };
        }
        params.root_uid = self.pick(&[0, 0, 1, 999]);
        params.root_gid = self.pick(&[0, 1, 999]);
        params.map_all_uid = self.pick(&[0, 1, 2]);
        params.map_all_gid = self.pick(&[0, 1, 2]);
        params.goal_min = self.pick(&[1, 1, 2]);
        params.goal_max = self.pick(&[9, 9, 3]);
        params.trash_seconds_min = self.pick(&[0, 0, 3_600]);
        params.trash_seconds_max = self.pick(&[u32::MAX, u32::MAX, 86_400]);
        params.exports_checksum = self.rng.next_u64();
        params.peer_ip = 0x0A00_0001;
        if self.chance(1, 10) {
            params.info = vec![b'/'; self.pick(&[5, 1_024, 1_025])];
        }
        params
    }

    fn name_op(&mut self, kind: CommandKind) -> Op {
        let caller = self.caller();
        let is_dir = |kind| kind == NodeKind::Directory;
        match kind {
            CommandKind::Create => Op::Create {
                caller,
                parent: self.dir(),
                name: self.name(),
                kind: match self.rng.below(40) {
                    0 => NodeKind::Directory,
                    1 => NodeKind::Symlink,
                    2 | 3 => NodeKind::Fifo,
                    4 | 5 => NodeKind::BlockDevice,
                    6 | 7 => NodeKind::CharDevice,
                    8 | 9 => NodeKind::Socket,
                    _ => NodeKind::File,
                },
                mode: self.mode(),
                umask: self.umask(),
                rdev: self.pick(&[0, 0x0103_0000]),
                open: self.flip(),
            },
            CommandKind::Mkdir => Op::Mkdir {
                caller,
                parent: self.dir(),
                name: self.name(),
                mode: self.mode(),
                umask: self.umask(),
                copy_setgid: self.flip(),
            },
            CommandKind::Symlink => Op::Symlink {
                caller,
                parent: self.dir(),
                name: self.name(),
                target: self.target(),
            },
            CommandKind::Link => Op::Link {
                caller,
                inode: if self.chance(1, 4) {
                    self.inode()
                } else {
                    self.file()
                },
                parent: self.dir(),
                name: self.name(),
            },
            CommandKind::Unlink => {
                let (parent, name) = self.entry_of(|kind| !is_dir(kind));
                Op::Unlink {
                    caller,
                    parent,
                    name,
                }
            }
            CommandKind::Rmdir => {
                let (parent, name) = self.entry_of(is_dir);
                Op::Rmdir {
                    caller,
                    parent,
                    name,
                }
            }
            _ => {
                let (src_parent, src_name) = self.entry();
                let (dst_parent, dst_name) = match self.rng.below(4) {
                    0 => (src_parent, self.name()),
                    1 => self.entry(),
                    _ => (self.dir(), self.name()),
                };
                Op::Rename {
                    caller,
                    src_parent,
                    src_name,
                    dst_parent,
                    dst_name,
                }
            }
        }
    }

    fn target(&mut self) -> Vec<u8> {
        match self.rng.below(20) {
            0 => Vec::new(),
            1 => b"a\0b".to_vec(),
            2 => vec![b't'; limits::SYMLINK_BYTES_MAX],
            3 => vec![b't'; limits::SYMLINK_BYTES_MAX + 1],
            _ => b"../a".to_vec(),
        }
    }

    fn set_attr(&mut self) -> Op {
        let mut set = SetAttr::default();
        let caller = self.caller();
        let inode = self.inode();
        let present = self.model.nodes.get(&inode).map_or(0, |node| node.mode);
        if self.flip() {
            set.mode = Some(if self.chance(1, 4) {
                present & 0o1777
            } else {
                self.mode()
            });
        }
        if self.chance(1, 3) {
            set.uid = Some(self.pick(&[0, 1, 2, caller.uid]));
        }
        if self.chance(1, 3) {
            set.gid = Some(self.pick(&[0, 1, 2, 5]));
        }
        set.atime = self.set_time();
        set.mtime = self.set_time();
        if self.chance(1, 6) {
            set.winattr = Some(self.rng.below(256) as u8);
        }
        set.sugid_clear = self.pick(&[
            SugidClear::Never,
            SugidClear::Always,
            SugidClear::Osx,
            SugidClear::Bsd,
            SugidClear::Ext,
            SugidClear::Xfs,
        ]);
        Op::SetAttr {
            caller,
            inode,
            opened: self.chance(1, 4),
            set,
        }
    }

    fn set_time(&mut self) -> SetTime {
        match self.rng.below(6) {
            0 => SetTime::Now,
            1 => SetTime::At(self.time()),
            _ => SetTime::Keep,
        }
    }

    fn time(&mut self) -> WallTime {
        WallTime(self.pick(&[
            0,
            1,
            1_600_000_000,
            1_700_000_100,
            1_700_100_000,
            4_000_000_000,
        ]))
    }

    fn set_times(&mut self) -> Op {
        let count = self.rng.below(4);
        Op::SetTimes {
            session: self.session(),
            times: (0..count)
                .map(|_| (self.inode(), self.time(), self.time()))
                .collect(),
        }
    }

    fn set_xattr(&mut self) -> Op {
        let length = match self.rng.below(20) {
            0 => limits::XATTR_VALUE_BYTES_MAX,
            1 => limits::XATTR_VALUE_BYTES_MAX + 1,
            _ => self.rng.below(9) as usize,
        };
        Op::SetXattr {
            caller: self.caller(),
            inode: self.inode(),
            opened: self.chance(1, 4),
            name: self.xattr_name(),
            value: vec![b'v'; length],
            mode: self.pick(&[
                XattrMode::CreateOrReplace,
                XattrMode::CreateOrReplace,
                XattrMode::Create,
                XattrMode::Replace,
                XattrMode::Remove,
            ]),
        }
    }

    fn set_acl(&mut self) -> Op {
        let named = |draw: &mut Self| -> Vec<(u32, u16)> {
            let count = draw.pick(&[0, 0, 1, 2]);
            (0..count)
                .map(|_| (draw.rng.below(4) as u32, draw.rng.below(8) as u16))
                .collect()
        };
        let bits = |draw: &mut Self| draw.pick(&[0, 4, 5, 6, 7, 7, 0xFFFF]);
        let mut acl = Acl {
            user: bits(self),
            group: bits(self),
            other: bits(self),
            mask: bits(self),
            named_users: named(self),
            named_groups: named(self),
        };
        match self.rng.below(40) {
            0 => acl.other = 8,
            1 => acl.named_users = vec![(1, 4); limits::ACL_ENTRY_COUNT_MAX],
            2 => acl.named_groups = vec![(1, 4); limits::ACL_ENTRY_COUNT_MAX + 1],
            3..=12 => {
                acl = Acl {
                    user: 0xFFFF,
                    group: 0xFFFF,
                    other: 0xFFFF,
                    mask: 0xFFFF,
                    named_users: Vec::new(),
                    named_groups: Vec::new(),
                }
            }
            13..=16 => acl.mask = 0xFFFF,
            _ => {}
        }
        let kind = self.pick(&[AclKind::Access, AclKind::Default]);
        Op::SetAcl {
            caller: self.caller(),
            inode: if kind == AclKind::Default {
                self.dir()
            } else {
                self.inode()
            },
            kind,
            acl,
        }
    }

    fn data_op(&mut self, kind: CommandKind) -> Op {
        let caller = self.caller();
        match kind {
            CommandKind::Open => Op::Open {
                caller,
                inode: self.file(),
                flags: OpenFlags {
                    read: self.flip(),
                    write: self.flip(),
                    after_create: self.chance(1, 5),
                    truncate: self.chance(1, 5),
                },
            },
            CommandKind::Truncate => Op::Truncate {
                caller,
                inode: self.file(),
                length: self.length(),
                mode: self.pick(&[
                    TruncateMode::Path,
                    TruncateMode::Opened,
                    TruncateMode::Opened,
                    TruncateMode::Extend,
                    TruncateMode::Reserve,
                ]),
            },
            CommandKind::TruncateEnd => {
                let mut slot = self.slot();
                let cuts = self.unsettled(|unsettled| unsettled.cut.is_some());
                if !cuts.is_empty() && self.chance(5, 6) {
                    let (chunk, unsettled) = self.pick(&cuts);
                    slot = (unsettled.inode, unsettled.index, chunk);
                }
                let (inode, index, chunk) = slot;
                let cut = self.model.chunks.get(&chunk).and_then(|c| c.unsettled?.cut);
                let within = self.pick(&[0, 1, 70_000, limits::CHUNK_BYTES - 1]);
                let length = match cut {
                    Some(cut) if self.chance(5, 6) => cut.file_length,
                    _ if self.chance(1, 12) => self.length(),
                    _ => u64::from(index) * limits::CHUNK_BYTES + within,
                };
                Op::TruncateEnd {
                    caller,
                    inode,
                    index,
                    chunk,
                    length,
                }
            }
            CommandKind::WriteChunk => {
                let (mut inode, mut index, _) = self.slot();
                if self.flip() {
                    (inode, index) = (self.file(), self.index());
                }
                Op::WriteChunk {
                    caller,
                    inode,
                    index,
                    go_on: self.chance(1, 3),
                    chunk_moved: self.flip(),
                    may_touch_times: self.flip(),
                }
            }
            CommandKind::WriteChunkEnd => {
                let (inode, index, chunk) = self.slot();
                Op::WriteChunkEnd {
                    caller,
                    inode,
                    index,
                    chunk,
                    length: self.length(),
                    may_touch_times: self.flip(),
                }
            }
            _ => {
                let position = |draw: &mut Self| {
                    draw.pick(&[0, 0, 1, 2, -1, -2, 0x8000_0000, i64::MIN, i64::MAX])
                };
                Op::AppendSlice {
                    caller,
                    dst: self.file(),
                    src: self.file(),
                    from: position(self),
                    to: position(self),
                }
            }
        }
    }

    fn chunk_op(&mut self, kind: CommandKind) -> Op {
        let (inode, index, chunk) = self.slot();
        let version_of =
            |draw: &Self, chunk| draw.model.chunks.get(&chunk).map_or(1, |c| c.version);
        match kind {
            CommandKind::RollbackChunk => {
                let mut slot = (inode, index, chunk);
                let made = self.unsettled(|_| true);
                if !made.is_empty() && self.chance(3, 4) {
                    let (chunk, unsettled) = self.pick(&made);
                    slot = (unsettled.inode, unsettled.index, chunk);
                }
                let (inode, index, new) = slot;
                let unsettled = self.model.chunks.get(&new).and_then(|c| c.unsettled);
                let before = unsettled.map_or(new, |it| match it.action {
                    ChunkAction::Created => ChunkId::HOLE,
                    ChunkAction::Duplicated { from, .. } => from,
                    ChunkAction::Raised { .. } | ChunkAction::Kept => new,
                });
                let old = match self.rng.below(8) {
                    0 => new,
                    1 => self.chunk(),
                    2 => ChunkId::HOLE,
                    _ => before,
                };
                Op::RollbackChunk {
                    inode,
                    index,
                    new,
                    old,
                }
            }
            CommandKind::SetChunkVersion => {
                let chunk = self.chunk();
                Op::SetChunkVersion {
                    chunk,
                    version: version_of(self, chunk) + self.pick(&[0, 1, 1, 2]),
                }
            }
            CommandKind::SettleChunk => {
                let some = self.unsettled(|_| true);
                let chunk = self.chunk();
                let chunk = if self.chance(1, 6) {
                    chunk
                } else {
                    self.pick_or(
                        &some.iter().map(|(chunk, _)| *chunk).collect::<Vec<_>>(),
                        chunk,
                    )
                };
                Op::SettleChunk {
                    chunk,
                    version: version_of(self, chunk) + self.pick(&[0, 0, 0, 0, 0, 1]),
                }
            }
            CommandKind::UnlockChunk => Op::UnlockChunk {
                chunk: self.chunk(),
            },
            CommandKind::RepairChunk => Op::RepairChunk {
                inode,
                index,
                chunk,
                was: version_of(self, chunk) + self.pick(&[0, 0, 0, 1]),
                best: self.pick(&[None, Some(1), Some(7)]),
            },
            CommandKind::PassChunkIds => {
                let chunk = self.chunk();
                Op::PassChunkIds {
                    slot: chunk.slot(),
                    next: self.model.chunks_taken(chunk.slot())
                        + self.pick(&[0, 1, 2, 3, 9, 1 << 20]),
                }
            }
            CommandKind::PassVersions => {
                let chunk = self.chunk();
                let was = version_of(self, chunk);
                let low = was + self.pick(&[0, 1, 1, 2, 4]);
                Op::PassVersions {
                    chunk,
                    was: was + self.pick(&[0, 0, 0, 0, 1]),
                    low,
                    high: low + self.pick(&[0, 0, 1, 3]),
                }
            }
            CommandKind::ForgetPassedVersions => {
                let passed: Vec<ChunkId> = self.model.passed_versions.keys().copied().collect();
                let unused = passed
                    .iter()
                    .find(|chunk| !self.model.references().contains_key(chunk));
                let chunk = match unused {
                    Some(chunk) => *chunk,
                    None => self.chunk(),
                };
                Op::ForgetPassedVersions {
                    chunk,
                    version: version_of(self, chunk) + self.pick(&[0, 0, 0, 1]),
                }
            }
            _ => Op::ForgetChunk {
                chunk: self.chunk(),
            },
        }
    }

    /// Chunks that chunkservers have still to be told of.
    fn unsettled(&self, wanted: impl Fn(&Unsettled) -> bool) -> Vec<(ChunkId, Unsettled)> {
        let chunks = self.model.chunks.iter();
        let unsettled = chunks.filter_map(|(chunk, known)| Some((*chunk, known.unsettled?)));
        unsettled.filter(|(_, it)| wanted(it)).collect()
    }

    /// Few ids, and few addresses, so that servers move and meet.
    fn chunkserver_op(&mut self, kind: CommandKind) -> Op {
        let csid = CsId(self.pick(&[0, 0, 1, 2, 3, 4, 5, u16::MAX]));
        match kind {
            CommandKind::RegisterChunkserver => Op::RegisterChunkserver {
                csid,
                address: Address {
                    ip: if self.chance(1, 20) {
                        self.pick(&[Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED])
                    } else {
                        Ipv4Addr::new(10, 0, 0, self.rng.between(1, 4) as u8)
                    },
                    port: self.pick(&[9_422, 9_422, 9_522]),
                },
            },
            CommandKind::ForgetChunkserver => Op::ForgetChunkserver { csid },
            _ => Op::SetMaintenance {
                csid,
                until: WallTime(self.pick(&[0, 1_700_000_100, u32::MAX])),
            },
        }
    }

    /// A session and a file that it has open, mostly.
    fn open_file(&mut self) -> (SessionId, InodeId) {
        let open: Vec<(SessionId, InodeId)> = self.model.open_files.iter().copied().collect();
        let file = (self.session(), self.file());
        if self.chance(1, 12) {
            return file;
        }
        // Few files, so that requests meet.
        let few = &open[..open.len().min(6)];
        self.pick_or(few, file)
    }

    fn flock(&mut self) -> Op {
        let (session, inode) = self.open_file();
        Op::Flock {
            session,
            inode,
            owner: self.rng.below(3),
            reqid: self.rng.below(4) as u32,
            op: self.pick(&[
                FlockOp::Unlock,
                FlockOp::TryShared,
                FlockOp::LockShared,
                FlockOp::LockShared,
                FlockOp::TryExclusive,
                FlockOp::LockExclusive,
                FlockOp::LockExclusive,
                FlockOp::Interrupt,
                FlockOp::Release,
            ]),
        }
    }

    fn posix_lock(&mut self) -> Op {
        let (session, inode) = self.open_file();
        let start = self.rng.below(8);
        let end = match self.rng.below(12) {
            0 => start,
            1 | 2 => u64::MAX,
            _ => start + self.rng.between(1, 5),
        };
        Op::PosixLock {
            session,
            inode,
            owner: self.rng.below(3),
            pid: self.rng.below(2) as u32,
            reqid: self.rng.below(4) as u32,
            op: self.pick(&[
                PosixOp::Set,
                PosixOp::Set,
                PosixOp::Set,
                PosixOp::Try,
                PosixOp::Interrupt,
            ]),
            kind: self.pick(&[
                PosixLockKind::Unlock,
                PosixLockKind::Read,
                PosixLockKind::Read,
                PosixLockKind::Write,
                PosixLockKind::Write,
            ]),
            start,
            end,
        }
    }

    fn subtree_op(&mut self, kind: CommandKind) -> Op {
        let caller = self.caller();
        let inode = self.inode();
        let recursive = self.flip();
        let mode = self.pick(&[
            SetMode::Set,
            SetMode::Set,
            SetMode::Increase,
            SetMode::Decrease,
        ]);
        match kind {
            CommandKind::SetTrashTime => Op::SetTrashTime {
                caller,
                inode,
                seconds: self.pick(&[0, 1, 3_600, 3_601, 86_400, 604_800, 604_800, u32::MAX]),
                mode,
                recursive,
            },
            CommandKind::SetSclass => Op::SetSclass {
                caller,
                inode,
                class: self.class_id(),
                only: self.chance(1, 4).then(|| self.class_id()),
                mode,
                recursive,
            },
            CommandKind::SetEattr => Op::SetEattr {
                caller,
                inode,
                eattr: match self.rng.below(6) {
                    0 => self.rng.below(256) as u8 & !eattr::PROTECTED,
                    1 => 1 << self.rng.below(8),
                    2 => eattr::PROTECTED,
                    _ => 0,
                },
                mode: self.pick(&[mode, mode, SetMode::Decrease]),
                recursive,
            },
            CommandKind::SetArchived => Op::SetArchived {
                caller,
                inode,
                archived: self.flip(),
            },
            CommandKind::ArchiveAged => Op::ArchiveAged {
                inode: self.file_to_archive().unwrap_or(inode),
                from: self.pick(&[0, 0, 0, 1, 2]),
                to: self.pick(&[u32::MAX, u32::MAX, 2, 1, 0]),
            },
            _ => Op::SetQuota {
                caller,
                inode: self.dir(),
                limits: self.chance(3, 4).then(|| {
                    let grace = self.pick(&[0, 100, limits::QUOTA_GRACE_SECONDS]);
                    (self.limits(), self.limits(), grace)
                }),
            },
        }
    }

    /// A file with chunks whose class archives, if there is one.
    fn file_to_archive(&mut self) -> Option<InodeId> {
        let archives = |node: &Node| {
            let class = self.model.classes.get(&node.class);
            class.is_some_and(|class| class.archive_delay_days > 0) && !node.chunks.is_empty()
        };
        let nodes = self.model.nodes.iter();
        let all: Vec<InodeId> = nodes
            .filter(|(_, node)| archives(node))
            .map(|(inode, _)| *inode)
            .collect();
        (!all.is_empty() && self.chance(7, 8)).then(|| self.pick(&all))
    }

    /// Small enough to be hit, large enough to let something happen.
    fn limits(&mut self) -> QuotaLimits {
        let megabytes = |draw: &mut Self| {
            draw.chance(1, 4)
                .then(|| draw.rng.between(0, 400) * 1_000_000)
        };
        QuotaLimits {
            inodes: self.chance(1, 4).then(|| self.rng.between(1, 25) as u32),
            length: megabytes(self),
            size: megabytes(self),
            real_size: megabytes(self),
        }
    }

    fn class_id(&mut self) -> u8 {
        let there: Vec<u8> = self.model.classes.keys().copied().collect();
        if self.chance(1, 12) {
            self.pick(&[0, 200])
        } else {
            self.pick(&there)
        }
    }

    fn trash_op(&mut self, kind: CommandKind) -> Op {
        let session = self.meta_session();
        let caller = self.caller_of(session);
        let detached = self.inodes(|node| node.is_detached());
        if detached.is_empty() && self.chance(3, 4) {
            return self.name_op(CommandKind::Unlink);
        }
        let inode = if self.chance(1, 8) {
            self.inode()
        } else {
            self.pick_or(&detached, InodeId::ROOT)
        };
        match kind {
            CommandKind::SetTrashPath => Op::SetTrashPath {
                caller,
                inode,
                path: self.trash_path(),
            },
            CommandKind::Undelete => Op::Undelete { caller, inode },
            CommandKind::PurgeTrash => Op::PurgeTrash { caller, inode },
            _ => Op::Sweep {
                after: self.chance(1, 3).then_some(inode),
                limit: self.pick(&[0, 1, 2, 5, 1_000]),
            },
        }
    }

    fn trash_path(&mut self) -> Vec<u8> {
        match self.rng.below(12) {
            0 => Vec::new(),
            1 => b"/a".to_vec(),
            2 => b"a//b".to_vec(),
            3 => b"a/../b".to_vec(),
            4 => vec![b'p'; 300],
            5 => vec![b'p'; limits::TRASH_PATH_BYTES_MAX + 1],
            6 => b"a\0".to_vec(),
            _ => {
                let depth = self.rng.below(4);
                let names: [&[u8]; 4] = [b"a", b"b", b"c", b"d"];
                let mut path = self.pick(&names).to_vec();
                for _ in 0..depth {
                    path = join(path, self.pick(&names));
                }
                path
            }
        }
    }

    fn snapshot_op(&mut self, kind: CommandKind) -> Op {
        let caller = self.caller();
        if kind == CommandKind::RemoveSnapshot {
            let snapshots: Vec<InodeId> = self.inodes(|node| node.has(eattr::SNAPSHOT));
            let one = self.pick_or(&snapshots, InodeId::ROOT);
            let links = self.model.links(one);
            let (parent, name) = if links.is_empty() || self.chance(1, 6) {
                self.entry()
            } else {
                self.pick(&links)
            };
            return Op::RemoveSnapshot {
                caller,
                parent,
                name,
                force: self.flip(),
            };
        }
        // A whole tree doubles what there is; a large one is left alone.
        let small: Vec<InodeId> = self
            .model
            .inodes()
            .filter(|inode| self.model.stats(*inode).inodes <= 20)
            .collect();
        let src = if self.chance(1, 15) {
            self.missing_inode()
        } else {
            self.pick_or(&small, InodeId(0))
        };
        let (dst_parent, name) = if self.chance(1, 3) {
            self.entry()
        } else {
            (self.dir(), self.name())
        };
        Op::Snapshot {
            caller,
            src,
            dst_parent,
            name,
            flags: SnapshotFlags {
                overwrite: self.flip(),
                like_cp: self.chance(1, 3),
                keep_hardlinks: self.flip(),
            },
            umask: self.umask(),
        }
    }

    fn class_op(&mut self, kind: CommandKind) -> Op {
        let session = if self.flip() {
            SessionId(0)
        } else {
            self.session()
        };
        match kind {
            CommandKind::CreateClass => Op::CreateClass {
                session,
                class: StorageClass {
                    name: self.class_name(),
                    admin_only: self.chance(1, 3),
                    mode: self.class_mode(),
                    archive_delay_days: self.rng.below(3) as u16,
                    create: self.copies(),
                    keep: self.copies(),
                    archive: self.copies(),
                },
            },
            CommandKind::ChangeClass => Op::ChangeClass {
                session,
                name: self.class_name_there(),
                change: ClassChange {
                    admin_only: self.chance(1, 3).then(|| self.flip()),
                    mode: self.chance(1, 3).then(|| self.class_mode()),
                    archive_delay_days: self.chance(1, 3).then_some(4),
                    create: self.chance(1, 3).then(|| self.copies()),
                    keep: self.flip().then(|| self.copies()),
                    archive: self.flip().then(|| self.copies()),
                    force: self.flip(),
                },
            },
            CommandKind::DeleteClass => Op::DeleteClass {
                session,
                name: self.class_name_there(),
            },
            CommandKind::DuplicateClass => Op::DuplicateClass {
                session,
                old: self.class_name_there(),
                new: self.class_name(),
            },
            _ => Op::RenameClass {
                session,
                old: self.class_name_there(),
                new: self.class_name(),
            },
        }
    }

    fn class_mode(&mut self) -> ClassMode {
        self.pick(&[ClassMode::Loose, ClassMode::Std, ClassMode::Strict])
    }

    fn class_name(&mut self) -> Vec<u8> {
        match self.rng.below(20) {
            0 => Vec::new(),
            1 => vec![b'k'; limits::SCLASS_NAME_BYTES_MAX + 1],
            2 => b"k\0".to_vec(),
            3 => b"2".to_vec(),
            _ => {
                let names: [&[u8]; 5] = [b"ssd", b"hdd", b"far", b"near", b"k"];
                self.pick(&names).to_vec()
            }
        }
    }

    fn class_name_there(&mut self) -> Vec<u8> {
        let users: Vec<Vec<u8>> = self
            .model
            .classes
            .range(limits::SCLASS_USER_FIRST..)
            .map(|(_, class)| class.name.clone())
            .collect();
        if self.chance(1, 4) {
            self.class_name()
        } else {
            self.pick_or(&users, b"3".to_vec())
        }
    }

    fn copies(&mut self) -> Vec<LabelExpr> {
        let count = match self.rng.below(20) {
            0 => 0,
            1 => 10,
            _ => self.rng.between(1, 4) as usize,
        };
        vec![self.pick(&[[0; 4], [1, 0, 0, 0], [3, 4, 0, 0]]); count]
    }
}
