//! Attributes of a node: mode, owner, times (section 8.6), extended attributes and ACLs
//! (section 3.9).

use mfsha_core::id::InodeId;
use mfsha_core::limits;
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{
    Acl, AclKind, Caller, Disable, NodeKind, Op, Reply, SetAttr, SetTime, SugidClear, XattrMode,
};
use mfsha_core::time::WallTime;

use crate::access::{W, check_xattr_name};
use crate::apply::Step;
use crate::state::{Model, Node, eattr};
use crate::view::{NOT_GIVEN, Who, shown_mode};

/// Setuid and setgid.
const SUGID: u16 = 0o6000;

impl Model {
    pub(crate) fn run_attribute(&mut self, step: &mut Step, op: &Op) -> Result<Reply, FsError> {
        match op {
            Op::SetAttr {
                caller,
                inode,
                opened,
                set,
            } => self.set_attr(step, caller, *inode, *opened, set),
            Op::TouchAtime { inode } => {
                if let Some(node) = self.known_node(*inode) {
                    touch_atime(node, step.now);
                }
                Ok(Reply::Done)
            }
            Op::SetTimes { session, times } => {
                if let Ok(who) = self.any_session(*session)
                    && !who.params.flags.read_only
                {
                    self.set_times(&who, times);
                }
                Ok(Reply::Done)
            }
            Op::SetXattr {
                caller,
                inode,
                opened,
                name,
                value,
                mode,
            } => {
                let who = self.tree_caller(caller)?;
                who.may_change(&[Disable::SetXattr])?;
                let inode = self.see(&who, *inode, *opened)?;
                self.check_xattr_set(&who, inode, *opened, name)?;
                self.set_xattr(step, inode, name, value, *mode)
            }
            Op::SetAcl {
                caller,
                inode,
                kind,
                acl,
            } => self.set_acl(step, caller, *inode, *kind, acl),
            _ => unreachable!("dispatched by apply"),
        }
    }

    fn set_attr(
        &mut self,
        step: &Step,
        caller: &Caller,
        inode: InodeId,
        opened: bool,
        set: &SetAttr,
    ) -> Result<Reply, FsError> {
        let who = self.tree_caller(caller)?;
        if set.mode.is_some() {
            who.not_disabled(&[Disable::Chmod])?;
        }
        if set.uid.is_some() || set.gid.is_some() {
            who.not_disabled(&[Disable::Chown])?;
        }
        who.may_change(&[])?;
        let inode = self.see(&who, inode, opened)?;
        self.forbid(inode, eattr::IMMUTABLE)?;
        let node = self.node(inode);
        // The kernel takes setuid and setgid away when somebody else writes.
        let only_mode = SetAttr {
            mode: set.mode,
            sugid_clear: set.sugid_clear,
            ..SetAttr::default()
        };
        let without_sugid = Some(shown_mode(node) & !SUGID);
        let kernel_clears = *set == only_mode && set.mode.map(|m| m & 0o7777) == without_sugid;
        if !who.is_root() && !kernel_clears {
            self.check_set_attr(&who, inode, set)?;
        }
        change_attributes(self.node_mut(inode), &who, set, step.now);
        Ok(Reply::Attr(self.attr(&who, inode)))
    }

    /// The table of section 8.6, for callers that are not root.
    fn check_set_attr(&self, who: &Who, inode: InodeId, set: &SetAttr) -> Result<(), FsError> {
        let node = self.node(inode);
        let explicit = |time: SetTime| matches!(time, SetTime::At(_));
        if who.params.flags.map_all && (set.uid.is_some() || set.gid.is_some()) {
            return Err(FsError::Perm);
        }
        if !who.owns(node) {
            let owners_alone = set.mode.is_some()
                || set.uid.is_some()
                || set.gid.is_some()
                || explicit(set.atime)
                || explicit(set.mtime);
            if owners_alone {
                return Err(FsError::Perm);
            }
            if set.atime == SetTime::Now || set.mtime == SetTime::Now {
                self.demand(who, inode, W)?;
            }
        }
        if set.uid.is_some_and(|uid| uid != who.uid) {
            return Err(FsError::Perm);
        }
        let foreign_group = set.gid.is_some_and(|gid| !who.gids.contains(&gid));
        if foreign_group && !who.params.flags.ignore_gid {
            return Err(FsError::Perm);
        }
        Ok(())
    }

    /// Section 2.7: an atime is only raised; a newer mtime is ctime too.
    fn set_times(&mut self, who: &Who, times: &[(InodeId, WallTime, WallTime)]) {
        for (inode, atime, mtime) in times {
            let Some(node) = self.known_node(who.inward(*inode)) else {
                continue;
            };
            node.atime = node.atime.max(*atime);
            if *mtime > node.mtime {
                node.modified(*mtime);
            }
        }
    }

    fn check_xattr_set(
        &self,
        who: &Who,
        inode: InodeId,
        opened: bool,
        name: &[u8],
    ) -> Result<(), FsError> {
        self.forbid(inode, eattr::IMMUTABLE)?;
        check_xattr_name(name)?;
        if name.starts_with(b"system.") && !who.owns(self.node(inode)) {
            return Err(FsError::Perm);
        }
        let roots = name.starts_with(b"trusted.") || name.starts_with(b"security.");
        if roots && !who.is_root() {
            return Err(FsError::Perm);
        }
        if !opened {
            self.demand(who, inode, W)?;
        }
        Ok(())
    }

    fn set_xattr(
        &mut self,
        step: &Step,
        inode: InodeId,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
    ) -> Result<Reply, FsError> {
        if value.len() > limits::XATTR_VALUE_BYTES_MAX {
            return Err(FsError::Range);
        }
        let node = self.node_mut(inode);
        let there = node.xattrs.contains_key(name);
        match mode {
            XattrMode::Create if there => return Err(FsError::Exist),
            XattrMode::Replace | XattrMode::Remove if !there => return Err(FsError::NoAttr),
            XattrMode::Remove => {
                node.xattrs.remove(name);
            }
            _ => {
                node.xattrs.insert(name.to_vec(), value.to_vec());
                let list: usize = node.xattrs.keys().map(|name| name.len() + 1).sum();
                if list > limits::XATTR_VALUE_BYTES_MAX {
                    return Err(FsError::Range);
                }
            }
        }
        node.changed(step.now);
        Ok(Reply::Done)
    }

    fn set_acl(
        &mut self,
        step: &Step,
        caller: &Caller,
        inode: InodeId,
        kind: AclKind,
        acl: &Acl,
    ) -> Result<Reply, FsError> {
        let who = self.tree_caller(caller)?;
        who.may_change(&[Disable::SetFacl])?;
        let inode = self.see(&who, inode, false)?;
        let node = self.node_mut(inode);
        if !who.owns(node) || node.has(eattr::IMMUTABLE) {
            return Err(FsError::Perm);
        }
        let is_dir = node.kind == NodeKind::Directory;
        if node.kind == NodeKind::Symlink || (kind == AclKind::Default && !is_dir) {
            return Err(FsError::NotSupported);
        }
        check_acl(acl)?;
        let nameless = acl.named_users.is_empty() && acl.named_groups.is_empty();
        let bits = [acl.user, acl.group, acl.other, acl.mask];
        let mut is_changed = false;
        if nameless && bits == [NOT_GIVEN; 4] {
            let place = match kind {
                AclKind::Access => &mut node.access_acl,
                AclKind::Default => &mut node.default_acl,
            };
            *place = None;
        } else {
            let acl = fill_from_mode(acl, node.mode);
            let simple = nameless && acl.mask == NOT_GIVEN;
            match kind {
                AclKind::Default => node.default_acl = Some(acl),
                AclKind::Access => {
                    let own = (acl.user & 7) << 6 | (acl.group & 7) << 3 | acl.other & 7;
                    is_changed = node.mode & 0o777 != own;
                    node.mode = node.mode & 0o7000 | own;
                    node.access_acl = (!simple).then_some(acl);
                }
            }
        }
        if is_changed {
            node.changed(step.now);
        }
        Ok(Reply::Done)
    }
}

/// Relatime (section 8.10): an atime is worth raising when it is not after the last change, or
/// older than a day.
fn touch_atime(node: &mut Node, now: WallTime) {
    let day = 86_400;
    let stale = u64::from(node.atime.0) + day < u64::from(now.0);
    if node.atime <= node.mtime || node.atime <= node.ctime || stale {
        node.atime = node.atime.max(now);
    }
}

/// The changes of section 8.6, in its order.
fn change_attributes(node: &mut Node, who: &Who, set: &SetAttr, now: WallTime) {
    let chown = set.uid.is_some() || set.gid.is_some();
    let mut mode = set.mode.map(|mode| mode & 0o7777);
    if chown {
        mode = mode.map(|mode| mode | node.mode & SUGID);
        if node.mode & SUGID != 0 {
            let cleared = cleared_bits(node, who, set);
            node.mode &= !cleared;
            mode = mode.map(|mode| mode & !cleared);
        }
    }
    node.uid = set.uid.unwrap_or(node.uid);
    node.gid = set.gid.unwrap_or(node.gid);
    if let Some(mut mode) = mode {
        if !who.is_root() && !who.gids.contains(&node.gid) {
            mode &= !0o2000;
        }
        change_mode(node, mode);
    }
    for (time, value) in [(set.atime, &mut node.atime), (set.mtime, &mut node.mtime)] {
        match time {
            SetTime::Keep => {}
            SetTime::Now => *value = now,
            SetTime::At(at) => *value = at,
        }
    }
    node.winattr = set.winattr.unwrap_or(node.winattr);
    node.changed(now);
}

/// Which of setuid and setgid a change of owner clears.
fn cleared_bits(node: &Node, who: &Who, set: &SetAttr) -> u16 {
    let is_dir = node.kind == NodeKind::Directory;
    let by_group_exec = if shown_mode(node) & 0o010 != 0 {
        SUGID
    } else {
        0o4000
    };
    let unprivileged = !who.is_root();
    match set.sugid_clear {
        SugidClear::Never => 0,
        SugidClear::Always => SUGID,
        SugidClear::Osx if unprivileged => SUGID,
        SugidClear::Osx => 0,
        SugidClear::Bsd if unprivileged && set.gid.is_some_and(|gid| gid != node.gid) => SUGID,
        SugidClear::Bsd => 0,
        SugidClear::Ext | SugidClear::Xfs if !is_dir => by_group_exec,
        SugidClear::Ext => 0,
        SugidClear::Xfs if unprivileged => SUGID,
        SugidClear::Xfs => 0,
    }
}

/// With an access ACL the group's bits go to its mask, and the node's own stay.
fn change_mode(node: &mut Node, mode: u16) {
    match &mut node.access_acl {
        None => node.mode = mode,
        Some(acl) => {
            acl.user = mode >> 6 & 7;
            acl.mask = mode >> 3 & 7;
            acl.other = mode & 7;
            node.mode = mode & !0o070 | node.mode & 0o070;
        }
    }
}

fn check_acl(acl: &Acl) -> Result<(), FsError> {
    let count = acl.named_users.len() + acl.named_groups.len();
    let named = acl.named_users.iter().chain(&acl.named_groups);
    let mut bits = [acl.user, acl.group, acl.other, acl.mask]
        .into_iter()
        .chain(named.map(|(_, bits)| *bits));
    if count > limits::ACL_ENTRY_COUNT_MAX || bits.any(|b| b > 7 && b != NOT_GIVEN) {
        return Err(FsError::Invalid);
    }
    Ok(())
}

/// Owner, group and other that were not given are those of the mode.
fn fill_from_mode(acl: &Acl, mode: u16) -> Acl {
    let or = |bits: u16, of_mode: u16| if bits == NOT_GIVEN { of_mode & 7 } else { bits };
    Acl {
        user: or(acl.user, mode >> 6),
        group: or(acl.group, mode >> 3),
        other: or(acl.other, mode),
        ..acl.clone()
    }
}
