//! What a client is told of its session, what it says of its files, and what it hears of others.

use crate::id::{InodeId, SessionId};
use crate::limits;
use crate::moosefs::client::push::{ChunkChanged, LengthChanged, TOLD_CHANGES, TOLD_TO_FORGET};
use crate::moosefs::client::register::{MetaValues, SessionValues};
use crate::moosefs::client::{Times, ToClient};
use crate::moosefs::version::Version;
use crate::namespace::numbers::flags_byte;
use crate::namespace::op::{Caller, Disable, Notice, Op, SessionParams};

/// Files of one command.
pub const OPEN_FILES_MAX: usize = 200_000;
/// Files of one command that carries times.
pub const TIMES_MAX: usize = 65_536;

const _: () = assert!(
    OPEN_FILES_MAX * 5 + 4_096 < limits::COMMAND_BYTES_MAX,
    "a list of open files must fit a command, five bytes of varint a file"
);
const _: () = assert!(
    TIMES_MAX * 15 + 4_096 < limits::COMMAND_BYTES_MAX,
    "kept times must fit a command, three times five bytes of varint a file"
);

/// A registered connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its session.
    pub session: SessionId,
    /// What the session may do.
    pub params: SessionParams,
    /// Version of the program.
    pub version: Version,
    /// Whether a tool registered it for itself, and not a mount.
    pub tool: bool,
}

impl Client {
    /// A process behind this connection. Its groups are never empty.
    #[must_use]
    pub fn caller(&self, uid: u32, gids: Vec<u32>) -> Caller {
        let session = self.session;
        Caller { session, uid, gids }
    }

    /// The client itself: for requests that carry no credentials.
    #[must_use]
    pub fn itself(&self) -> Caller {
        self.caller(0, vec![0])
    }

    /// The node that the client means by a number: its root is 1.
    #[must_use]
    pub fn real(&self, inode: InodeId) -> InodeId {
        let is_root = inode == InodeId::ROOT && self.params.root != InodeId(0);
        if is_root { self.params.root } else { inode }
    }

    /// The number by which the client knows a node.
    #[must_use]
    pub fn shown(&self, inode: InodeId) -> InodeId {
        let is_root = inode == self.params.root && inode != InodeId(0);
        if is_root { InodeId::ROOT } else { inode }
    }

    /// Whether the session's export forbids an operation.
    #[must_use]
    pub fn forbids(&self, what: Disable) -> bool {
        self.params.disables >> (what as u32) & 1 != 0
    }

    /// All files that the client has open, as a command; `None` when they are more than a command
    /// has room for. Then the list before stays, and with it files that were closed.
    #[must_use]
    pub fn open_files(&self, inodes: &[InodeId]) -> Option<Op> {
        if inodes.len() > OPEN_FILES_MAX {
            return None;
        }
        Some(Op::SetOpenFiles {
            session: self.session,
            inodes: inodes.iter().map(|inode| self.real(*inode)).collect(),
        })
    }

    /// Times that the client kept, as commands.
    pub fn times(&self, times: &[Times]) -> impl Iterator<Item = Op> {
        let real = |kept: &Times| (self.real(kept.inode), kept.atime, kept.mtime);
        times.chunks(TIMES_MAX).map(move |times| Op::SetTimes {
            session: self.session,
            times: times.iter().map(real).collect(),
        })
    }

    /// What this client is told of something that another did, if its version knows that. Only for
    /// clients whose session has the file open.
    #[must_use]
    pub fn hears(&self, notice: &Notice) -> Option<ToClient> {
        if self.version < TOLD_CHANGES {
            return None;
        }
        match *notice {
            Notice::LengthChanged { inode, length } => {
                let inode = self.shown(inode);
                Some(ToClient::LengthChanged(LengthChanged { inode, length }))
            }
            Notice::ChunkChanged {
                inode,
                index,
                chunk,
                version,
                length,
                truncated,
            } => Some(ToClient::ChunkChanged(ChunkChanged {
                inode: self.shown(inode),
                index,
                chunk,
                version,
                length,
                truncated: u8::from(truncated),
            })),
            Notice::LockGranted { .. }
            | Notice::LockEnded { .. }
            | Notice::ChunkUnused { .. }
            | Notice::ChunkserverRegistered { .. }
            | Notice::ChunkserverForgotten { .. } => None,
        }
    }

    /// What this client is told when it has to forget where chunks are, if its version knows that.
    #[must_use]
    pub fn forgets_places(&self) -> Option<ToClient> {
        self.knows_places().then_some(ToClient::InvalidateChunks)
    }

    /// Whether this client is told where a file's chunk is with the file's name: it has to be one
    /// that can be told to forget that.
    #[must_use]
    pub fn knows_places(&self) -> bool {
        !self.tool && self.version >= TOLD_TO_FORGET
    }

    /// What a mount is told of its session.
    #[must_use]
    pub fn values(&self, metaid: u64) -> SessionValues {
        let params = &self.params;
        SessionValues {
            master: Version::OURS,
            session: self.session,
            metaid,
            flags: flags_byte(params.flags),
            umask: params.umask,
            root_uid: params.root_uid,
            root_gid: params.root_gid,
            map_all_uid: params.map_all_uid,
            map_all_gid: params.map_all_gid,
            goal_min: params.goal_min,
            goal_max: params.goal_max,
            trash_seconds_min: params.trash_seconds_min,
            trash_seconds_max: params.trash_seconds_max,
            disables: params.disables,
        }
    }

    /// What a mount of the trash is told of its session.
    #[must_use]
    pub fn meta_values(&self, metaid: u64) -> MetaValues {
        let params = &self.params;
        MetaValues {
            master: Version::OURS,
            session: self.session,
            metaid,
            flags: flags_byte(params.flags),
            goal_min: params.goal_min,
            goal_max: params.goal_max,
            trash_seconds_min: params.trash_seconds_min,
            trash_seconds_max: params.trash_seconds_max,
        }
    }
}
