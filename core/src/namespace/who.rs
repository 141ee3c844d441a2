//! Who asks: a session's values, and the credentials that its mapping makes of a request's.
//!
//! Every operation begins here, so that the order of the first refusals is the same for all:
//! `BadSession`, `Invalid` groups, `Perm` for the wrong kind of session or a disabled operation,
//! `ReadOnly`, `NoEnt`. What an operation checks after that is its own business.

use super::error::FsError;
use super::key::Key;
use super::op::{Caller, Disable, SessionParams, Whereabouts};
use super::record::{Inode, SessionRecord};
use super::txn::{Res, Txn};
use crate::id::{InodeId, SessionId};
use crate::limits;

/// A resolved caller.
#[derive(Clone, Debug)]
pub struct Who {
    /// The session; 0 is the cluster itself.
    pub session: SessionId,
    /// The session's values.
    pub params: SessionParams,
    /// User after mapping.
    pub uid: u32,
    /// Groups after mapping, the effective one first; never empty.
    pub gids: Vec<u32>,
    /// User before mapping.
    pub original_uid: u32,
    /// Effective group before mapping.
    pub original_gid: u32,
}

impl Who {
    /// The cluster itself: root, unmapped, unrestricted.
    #[must_use]
    pub fn cluster() -> Self {
        Self::mapped(SessionId(0), SessionParams::unrestricted(), 0, &[0])
    }

    /// Looks the session up and maps the credentials.
    ///
    /// # Errors
    /// `BadSession`; `Invalid` for no or too many groups.
    pub fn resolve(txn: &Txn<'_>, caller: &Caller) -> Res<Self> {
        let params = params(txn, caller.session)?;
        if caller.gids.is_empty() || caller.gids.len() > limits::GROUP_COUNT_MAX {
            return Err(FsError::Invalid.into());
        }
        Ok(Self::mapped(
            caller.session,
            params,
            caller.uid,
            &caller.gids,
        ))
    }

    /// The session itself, as root: for requests that carry no credentials.
    ///
    /// # Errors
    /// `BadSession`.
    pub fn of_session(txn: &Txn<'_>, session: SessionId) -> Res<Self> {
        Ok(Self::mapped(session, params(txn, session)?, 0, &[0]))
    }

    /// [`Self::resolve`] for an ordinary call: not by a meta session, by none that has one of
    /// `disables` forbidden, and when `modifies`, by none that may only read.
    ///
    /// # Errors
    /// As `resolve`, then `Perm`, then `ReadOnly`.
    pub fn enter(
        txn: &Txn<'_>,
        caller: &Caller,
        disables: &[Disable],
        modifies: bool,
    ) -> Res<Self> {
        let who = Self::resolve(txn, caller)?;
        who.not_meta()?;
        for disable in disables {
            who.disabled(*disable)?;
        }
        if modifies {
            who.writable()?;
        }
        Ok(who)
    }

    fn mapped(session: SessionId, params: SessionParams, uid: u32, gids: &[u32]) -> Self {
        let map_all = params.flags.map_all;
        let mapped_uid = match uid {
            0 => params.root_uid,
            _ if map_all => params.map_all_uid,
            other => other,
        };
        let first = match gids[0] {
            0 => params.root_gid,
            _ if map_all => params.map_all_gid,
            other => other,
        };
        let mut mapped_gids = vec![first];
        if !map_all {
            mapped_gids.extend_from_slice(&gids[1..]);
        }
        Self {
            session,
            params,
            uid: mapped_uid,
            gids: mapped_gids,
            original_uid: uid,
            original_gid: gids[0],
        }
    }

    /// Refuses an operation that the session's export forbids.
    ///
    /// # Errors
    /// `Perm`.
    pub fn disabled(&self, what: Disable) -> Res<()> {
        match self.params.disables >> (what as u32) & 1 {
            0 => Ok(()),
            _ => Err(FsError::Perm.into()),
        }
    }

    /// Refuses changes by a session that may only read.
    ///
    /// # Errors
    /// `ReadOnly`.
    pub fn writable(&self) -> Res<()> {
        if self.params.flags.read_only {
            return Err(FsError::ReadOnly.into());
        }
        Ok(())
    }

    /// Refuses all but meta sessions and the cluster itself.
    ///
    /// # Errors
    /// `Perm`.
    pub fn meta(&self) -> Res<()> {
        if self.session == SessionId(0) || self.params.root == InodeId(0) {
            return Ok(());
        }
        Err(FsError::Perm.into())
    }

    /// Refuses meta sessions.
    ///
    /// # Errors
    /// `Perm`.
    pub fn not_meta(&self) -> Res<()> {
        if self.params.root == InodeId(0) {
            return Err(FsError::Perm.into());
        }
        Ok(())
    }

    /// Whether the caller is root after mapping.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// Whether the caller owns the node, or the node treats everybody as its owner.
    #[must_use]
    pub fn owns(&self, node: &Inode) -> bool {
        self.uid == node.uid.value() || node.eattr.value() & super::permission::NO_OWNER != 0
    }

    /// The inode that a number in a request stands for.
    #[must_use]
    pub fn translate(&self, ino: InodeId) -> InodeId {
        if ino == InodeId::ROOT && self.params.root != InodeId(0) {
            self.params.root
        } else {
            ino
        }
    }

    /// The number that a reply shows for an inode.
    #[must_use]
    pub fn shown(&self, ino: InodeId) -> InodeId {
        if ino == self.params.root {
            InodeId::ROOT
        } else {
            ino
        }
    }

    /// The node that a number in a request stands for. Below a session's root only, unless
    /// `opened`; a node in the trash, or sustained, is below no root but that of the tree.
    ///
    /// # Errors
    /// `NoEnt`.
    pub fn node(&self, txn: &Txn<'_>, ino: InodeId, opened: bool) -> Res<(InodeId, Inode)> {
        let ino = self.translate(ino);
        let node = txn.inode(ino)?;
        let root = self.params.root;
        if root != InodeId::ROOT {
            if !txn.has(&Key::Inode(root))? {
                return Err(FsError::NoEnt.into());
            }
            if !opened && !self.sees(txn, ino, &node)? {
                return Err(FsError::NoEnt.into());
            }
        }
        Ok((ino, node))
    }

    /// Whether a node is the session's root or below it.
    ///
    /// # Errors
    /// Only that the state cannot be read.
    pub fn sees(&self, txn: &Txn<'_>, ino: InodeId, node: &Inode) -> Res<bool> {
        let root = self.params.root;
        if root == InodeId::ROOT || ino == root {
            return Ok(true);
        }
        if node.whereabouts.value() != Whereabouts::Linked {
            return Ok(false);
        }
        for (_, (parent, _)) in node.parents.iter() {
            if super::path::is_within(txn, *parent, root)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn params(txn: &Txn<'_>, session: SessionId) -> Res<SessionParams> {
    if session == SessionId(0) {
        return Ok(SessionParams::unrestricted());
    }
    let record: Option<SessionRecord> = txn.value(&Key::Session(session))?;
    Ok(record.ok_or(FsError::BadSession)?.params)
}
