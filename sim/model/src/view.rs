//! What a session is, and what it sees: root mapping, visibility, attributes.

use mfsha_core::id::{InodeId, SessionId};
use mfsha_core::limits;
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{Acl, Attr, Caller, Disable, NodeKind, SessionParams};

use crate::state::{Model, Node, eattr};

/// No mask in an ACL, or a permission that was not given.
pub(crate) const NOT_GIVEN: u16 = 0xFFFF;

/// A caller after its session's mapping.
#[derive(Clone, Debug)]
pub(crate) struct Who {
    pub(crate) session: SessionId,
    pub(crate) params: SessionParams,
    /// After mapping.
    pub(crate) uid: u32,
    /// After mapping; never empty.
    pub(crate) gids: Vec<u32>,
    /// Before mapping, to be shown.
    shown_uid: u32,
    shown_gid: u32,
}

impl Who {
    pub(crate) fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// The session's first checks: what its export disables, then read-only (section 3).
    pub(crate) fn may_change(&self, disabled_by: &[Disable]) -> Result<(), FsError> {
        self.not_disabled(disabled_by)?;
        if self.params.flags.read_only {
            return Err(FsError::ReadOnly);
        }
        Ok(())
    }

    /// Whether the session's export allows all of these.
    pub(crate) fn not_disabled(&self, disabled_by: &[Disable]) -> Result<(), FsError> {
        for bit in disabled_by {
            if self.params.disables & (1 << (*bit as u8)) != 0 {
                return Err(FsError::Perm);
            }
        }
        Ok(())
    }

    /// Owner in the sense of the checks: root, the owner, or everybody when nobody owns it.
    pub(crate) fn owns(&self, node: &Node) -> bool {
        self.is_root() || node.uid == self.uid || node.has(eattr::NO_OWNER)
    }

    /// An inode as the session names it (section 2.5).
    pub(crate) fn inward(&self, inode: InodeId) -> InodeId {
        if inode == InodeId::ROOT && self.params.root != InodeId(0) {
            self.params.root
        } else {
            inode
        }
    }

    /// An inode as it is told to the session.
    pub(crate) fn outward(&self, inode: InodeId) -> InodeId {
        if inode == self.params.root {
            InodeId::ROOT
        } else {
            inode
        }
    }
}

impl Model {
    /// A session by its id; 0 is the cluster itself.
    pub(crate) fn session(&self, id: SessionId) -> Result<SessionParams, FsError> {
        if id == SessionId(0) {
            return Ok(SessionParams::unrestricted());
        }
        match self.sessions.get(&id) {
            Some(session) => Ok(session.params.clone()),
            None => Err(FsError::BadSession),
        }
    }

    /// A caller that works on the tree: any session but a meta session.
    pub(crate) fn tree_caller(&self, caller: &Caller) -> Result<Who, FsError> {
        let who = self.caller(caller)?;
        if who.params.root == InodeId(0) {
            return Err(FsError::Perm);
        }
        Ok(who)
    }

    /// A session that works on the tree, without a process behind it.
    pub(crate) fn tree_session(&self, session: SessionId) -> Result<Who, FsError> {
        self.tree_caller(&root_of(session))
    }

    /// A session without a process behind it, whatever it works on.
    pub(crate) fn any_session(&self, session: SessionId) -> Result<Who, FsError> {
        self.caller(&root_of(session))
    }

    /// A caller that works on trash and sustained files: a meta session, or the cluster itself
    /// (section 3.12).
    pub(crate) fn meta_caller(&self, caller: &Caller) -> Result<Who, FsError> {
        let who = self.caller(caller)?;
        if who.params.root != InodeId(0) && who.session != SessionId(0) {
            return Err(FsError::Perm);
        }
        Ok(who)
    }

    /// As [`Self::meta_caller`], without a process behind it.
    pub(crate) fn meta_session(&self, session: SessionId) -> Result<Who, FsError> {
        self.meta_caller(&root_of(session))
    }

    /// Maps a caller (section 2.5): user 0 and effective group 0, and, where everybody is mapped,
    /// every other user and effective group, which is then the only one.
    fn caller(&self, caller: &Caller) -> Result<Who, FsError> {
        let params = self.session(caller.session)?;
        if caller.gids.is_empty() || caller.gids.len() > limits::GROUP_COUNT_MAX {
            return Err(FsError::Invalid);
        }
        let (shown_uid, shown_gid) = (caller.uid, caller.gids[0]);
        let (mut uid, mut gids) = (caller.uid, caller.gids.clone());
        if uid == 0 {
            uid = params.root_uid;
        } else if params.flags.map_all {
            uid = params.map_all_uid;
        }
        if gids[0] == 0 {
            gids[0] = params.root_gid;
        } else if params.flags.map_all {
            gids[0] = params.map_all_gid;
        }
        if params.flags.map_all {
            gids.truncate(1);
        }
        Ok(Who {
            session: caller.session,
            params,
            uid,
            gids,
            shown_uid,
            shown_gid,
        })
    }

    /// The inode that a session means, if it can see it (section 2.5): a session with a root of
    /// its own sees what is linked within it. `opened`: the request says that the file is open,
    /// so only its existence counts, and that of the session's root.
    pub(crate) fn see(&self, who: &Who, inode: InodeId, opened: bool) -> Result<InodeId, FsError> {
        let inode = who.inward(inode);
        let rooted = self.nodes.contains_key(&who.params.root);
        if !rooted || !self.nodes.contains_key(&inode) {
            return Err(FsError::NoEnt);
        }
        let everywhere = who.params.root == InodeId::ROOT;
        if everywhere || opened || self.is_within(who.params.root, inode) {
            Ok(inode)
        } else {
            Err(FsError::NoEnt)
        }
    }

    /// As [`Self::see`], of a directory.
    pub(crate) fn see_directory(&self, who: &Who, inode: InodeId) -> Result<InodeId, FsError> {
        let inode = self.see(who, inode, false)?;
        if self.node(inode).kind == NodeKind::Directory {
            Ok(inode)
        } else {
            Err(FsError::NotDir)
        }
    }

    /// As [`Self::see`], of a file (trash and sustained too), which is a matter of `Perm`.
    pub(crate) fn see_file(
        &self,
        who: &Who,
        inode: InodeId,
        opened: bool,
    ) -> Result<InodeId, FsError> {
        let inode = self.see(who, inode, opened)?;
        if self.node(inode).kind == NodeKind::File {
            Ok(inode)
        } else {
            Err(FsError::Perm)
        }
    }

    /// Attributes as a caller sees them (section 1.8). The parent that matters is the directory of
    /// the node's newest name.
    pub(crate) fn attr(&self, who: &Who, inode: InodeId) -> Attr {
        let node = self.node(inode);
        let map_all = who.params.flags.map_all;
        let ownerless = node.has(eattr::NO_OWNER) && !who.is_root();
        let mut mode = shown_mode(node);
        let (mut uid, mut gid) = (node.uid, node.gid);
        if ownerless {
            let owner = mode >> 6 & 7;
            mode = mode & 0o7700 | owner << 3 | owner;
            uid = if map_all { who.shown_uid } else { who.uid };
            gid = if map_all { who.shown_gid } else { who.gids[0] };
        } else if map_all {
            uid = if uid == who.uid { who.shown_uid } else { 0 };
            gid = if gid == who.gids[0] { who.shown_gid } else { 0 };
        }
        Attr {
            kind: node.kind,
            mode,
            uid,
            gid,
            atime: node.atime,
            mtime: node.mtime,
            ctime: node.ctime,
            nlink: self.nlink(inode),
            length: self.shown_length(inode),
            rdev: node.rdev,
            winattr: node.winattr,
            flags: self.shown_flags(inode, map_all),
        }
    }

    fn shown_length(&self, inode: InodeId) -> u64 {
        let node = self.node(inode);
        match node.kind {
            NodeKind::File => node.length,
            NodeKind::Symlink => node.target.len() as u64,
            NodeKind::Directory => {
                directory_length(u64::try_from(self.stats(inode).length).unwrap_or(u64::MAX))
            }
            _ => 0,
        }
    }

    fn shown_flags(&self, inode: InodeId, map_all: bool) -> u8 {
        let node = self.node(inode);
        let parent = self.newest_parent(inode);
        let mut flags = 0;
        if node.has(eattr::NO_OWNER | eattr::NO_ATTR_CACHE) || map_all {
            flags |= 0x01;
        }
        if parent.is_some_and(|dir| self.node(dir).has(eattr::NO_ENTRY_CACHE)) {
            flags |= 0x02;
        }
        if !node.has(eattr::NO_DATA_CACHE) {
            flags |= 0x04;
        }
        let plain = node.access_acl.is_none() && node.default_acl.is_none();
        if node.xattrs.is_empty() && plain {
            flags |= 0x08;
        }
        if node.has(eattr::UNDELETABLE) {
            flags |= 0x20;
        }
        flags
    }
}

/// Permission bits as everybody sees them: with an access ACL its owner, mask and other entries.
pub(crate) fn shown_mode(node: &Node) -> u16 {
    match &node.access_acl {
        Some(acl) => node.mode & 0o7000 | acl_mode(acl),
        None => node.mode,
    }
}

/// The nine bits that an ACL shows: the group's are the mask, or the group entry without one.
fn acl_mode(acl: &Acl) -> u16 {
    let group = if acl.mask == NOT_GIVEN {
        acl.group
    } else {
        acl.mask
    };
    (acl.user & 7) << 6 | (group & 7) << 3 | acl.other & 7
}

/// A directory's "length": the bytes of its tree as a decimal with two digits, and the power of
/// 1,024 in the millions (section 1.8).
fn directory_length(bytes: u64) -> u64 {
    if bytes == 0 {
        return 1;
    }
    let power = (1..=6).rev().find(|k| bytes >> (10 * k) > 0).unwrap_or(0);
    let hundredths = (u128::from(bytes) * 100) >> (10 * power);
    hundredths as u64 + power * 1_000_000
}

fn root_of(session: SessionId) -> Caller {
    Caller {
        session,
        uid: 0,
        gids: vec![0],
    }
}
