//! Values of whole subtrees: trash time, class, extra attributes, archive flag, quota
//! (section 3.8).

use mfsha_core::id::{ChunkId, InodeId};
use mfsha_core::limits;
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{Caller, DirStats, Disable, NodeKind, Op, Reply, SetMode};

use crate::apply::Step;
use crate::state::{Model, Node, Quota, eattr, size_of_file};
use crate::view::Who;

/// Trash times are kept in 16 bits of hours.
const TRASH_HOURS_MAX: u32 = 65_535;

/// What a recursive change came to for one node.
enum Fate {
    Changed,
    Unchanged,
    Refused,
    OverQuota,
    /// The change does not concern this kind of node.
    Other,
}

impl Model {
    pub(crate) fn run_subtree(&mut self, step: &mut Step, op: &Op) -> Result<Reply, FsError> {
        match op {
            Op::SetTrashTime {
                caller,
                inode,
                seconds,
                mode,
                recursive,
            } => {
                let who = self.tree_caller(caller)?;
                who.may_change(&[Disable::SetTrash])?;
                let inode = self.see(&who, *inode, false)?;
                let allowed = who.params.trash_seconds_min..=who.params.trash_seconds_max;
                if *mode == SetMode::Set && !allowed.contains(seconds) {
                    return Err(FsError::Perm);
                }
                if !has_class(self.node(inode)) {
                    return Err(FsError::Perm);
                }
                let hours = seconds.div_ceil(3_600).min(TRASH_HOURS_MAX);
                self.change_all(inode, *recursive, &mut |model, inode| {
                    model.set_trash_time(step, &who, inode, hours, *mode)
                })
            }
            Op::SetSclass {
                caller,
                inode,
                class,
                only,
                mode,
                recursive,
            } => {
                let who = self.tree_caller(caller)?;
                who.may_change(&[Disable::SetSclass])?;
                let inode = self.see(&who, *inode, false)?;
                self.check_class_choice(&who, *class, *mode)?;
                if !has_class(self.node(inode)) {
                    return Err(FsError::Perm);
                }
                self.change_all(inode, *recursive, &mut |model, inode| {
                    if only.is_some_and(|only| only != model.node(inode).class)
                        && who.owns(model.node(inode))
                        && has_class(model.node(inode))
                    {
                        return Fate::Unchanged;
                    }
                    model.set_class(step, &who, inode, *class, *mode)
                })
            }
            Op::SetEattr {
                caller,
                inode,
                eattr,
                mode,
                recursive,
            } => {
                let who = self.tree_caller(caller)?;
                who.may_change(&[Disable::SetEattr])?;
                let inode = self.see(&who, *inode, false)?;
                self.change_all(inode, *recursive, &mut |model, inode| {
                    model.set_eattr(step, &who, inode, *eattr, *mode)
                })
            }
            Op::SetArchived {
                caller,
                inode,
                archived,
            } => {
                let who = self.tree_caller(caller)?;
                who.may_change(&[])?;
                let inode = self.see(&who, *inode, false)?;
                let (mut changed, mut unchanged, mut refused) = (0, 0, 0);
                for inode in self.subtree(inode, true) {
                    let node = self.node(inode);
                    if node.kind != NodeKind::File {
                        continue;
                    }
                    if !who.owns(node) {
                        refused += 1;
                        continue;
                    }
                    for chunk in node.chunks.clone().into_values() {
                        let chunk = self.chunks.get_mut(&chunk).expect("it is in a file");
                        if chunk.archived == *archived {
                            unchanged += 1;
                        } else {
                            chunk.archived = *archived;
                            changed += 1;
                        }
                    }
                }
                Ok(Reply::Changed64 {
                    changed,
                    unchanged,
                    refused,
                })
            }
            Op::ArchiveAged { inode, from, to } => {
                let file = self.nodes.get(inode).ok_or(FsError::NoEnt)?;
                if file.kind != NodeKind::File {
                    return Err(FsError::NoEnt);
                }
                // Section 8.9: the change time and the delay lie before now; days are whole.
                let delay = u64::from(self.classes[&file.class].archive_delay_days);
                let end = u64::from(file.ctime.0) + delay * 24 * 3_600;
                let due = delay != 0 && end < u64::from(step.now.0);
                let slots = file.chunks.range(*from..(*to).max(*from));
                let chunks: Vec<ChunkId> = slots.map(|(_, chunk)| *chunk).collect();
                let (mut changed, mut unchanged) = (0, 0);
                for chunk in chunks.iter().filter(|_| due) {
                    let chunk = self.chunks.get_mut(chunk).expect("it is in a file");
                    match std::mem::replace(&mut chunk.archived, true) {
                        true => unchanged += 1,
                        false => changed += 1,
                    }
                }
                Ok(Reply::Changed64 {
                    changed,
                    unchanged,
                    refused: 0,
                })
            }
            Op::SetQuota {
                caller,
                inode,
                limits,
            } => {
                let inode = self.check_quota_setter(caller, *inode)?;
                let quota = &mut self.node_mut(inode).quota;
                *quota = limits.map(|(soft, hard, grace_seconds)| Quota {
                    soft,
                    hard,
                    grace_seconds,
                    over_soft_since: quota.and_then(|quota| quota.over_soft_since),
                });
                Ok(Reply::Done)
            }
            _ => unreachable!("dispatched by apply"),
        }
    }

    /// A node, and with `recursive` everything below it: as often as it has names there.
    pub(crate) fn subtree(&self, inode: InodeId, recursive: bool) -> Vec<InodeId> {
        let mut found = vec![inode];
        if recursive {
            for child in self.node(inode).entries.values() {
                found.extend(self.subtree(*child, true));
            }
        }
        found
    }

    /// Changes nodes and counts. A request for one node that was not permitted is refused.
    fn change_all(
        &mut self,
        inode: InodeId,
        recursive: bool,
        change: &mut dyn FnMut(&mut Self, InodeId) -> Fate,
    ) -> Result<Reply, FsError> {
        let (mut changed, mut unchanged, mut refused, mut over_quota) = (0, 0, 0, 0);
        for inode in self.subtree(inode, recursive) {
            match change(self, inode) {
                Fate::Changed => changed += 1,
                Fate::Unchanged => unchanged += 1,
                Fate::Refused => refused += 1,
                Fate::OverQuota => over_quota += 1,
                Fate::Other => {}
            }
        }
        if !recursive && refused == 1 {
            return Err(FsError::Perm);
        }
        Ok(Reply::Changed {
            changed,
            unchanged,
            refused,
            over_quota,
        })
    }

    fn set_trash_time(
        &mut self,
        step: &Step,
        who: &Who,
        inode: InodeId,
        hours: u32,
        mode: SetMode,
    ) -> Fate {
        let node = self.node_mut(inode);
        if !has_class(node) {
            return Fate::Other;
        }
        if !who.owns(node) {
            return Fate::Refused;
        }
        let hours = match mode {
            SetMode::Set => hours,
            SetMode::Increase => node.trash_hours.max(hours),
            SetMode::Decrease => node.trash_hours.min(hours),
        };
        if hours == node.trash_hours {
            return Fate::Unchanged;
        }
        node.trash_hours = hours;
        node.ctime = step.now;
        Fate::Changed
    }

    /// What does not depend on the nodes.
    fn check_class_choice(&self, who: &Who, class: u8, mode: SetMode) -> Result<(), FsError> {
        let plain = (1..=limits::GOAL_MAX).contains(&class);
        let chosen = self.classes.get(&class).ok_or(FsError::NoClass)?;
        if chosen.admin_only && !who.params.flags.admin {
            return Err(FsError::Perm);
        }
        if !plain && mode != SetMode::Set {
            return Err(FsError::Invalid);
        }
        let allowed = who.params.goal_min..=who.params.goal_max;
        if plain && mode == SetMode::Set && !allowed.contains(&class) {
            return Err(FsError::Perm);
        }
        Ok(())
    }

    fn set_class(
        &mut self,
        step: &Step,
        who: &Who,
        inode: InodeId,
        class: u8,
        mode: SetMode,
    ) -> Fate {
        let node = self.node(inode);
        if !has_class(node) {
            return Fate::Other;
        }
        if !who.owns(node) {
            return Fate::Refused;
        }
        let plain = node.class <= limits::GOAL_MAX;
        let class = match mode {
            SetMode::Set => class,
            SetMode::Increase if plain => node.class.max(class),
            SetMode::Decrease if plain => node.class.min(class),
            _ => node.class,
        };
        if class == node.class {
            return Fate::Unchanged;
        }
        if node.kind == NodeKind::File {
            let size = i128::from(size_of_file(node));
            let more = DirStats {
                real_size: size
                    * (i128::from(self.copies(class)) - i128::from(self.copies(node.class))),
                ..DirStats::default()
            };
            let growth = self.grow_file(inode, more);
            if self.check_quota(step.now, &growth).is_err() {
                return Fate::OverQuota;
            }
        }
        let node = self.node_mut(inode);
        node.class = class;
        node.ctime = step.now;
        Fate::Changed
    }

    /// What is said of names counts for directories alone; bits that protect a node need an admin's
    /// session.
    fn set_eattr(
        &mut self,
        step: &Step,
        who: &Who,
        inode: InodeId,
        bits: u8,
        mode: SetMode,
    ) -> Fate {
        let node = self.node_mut(inode);
        if !who.owns(node) {
            return Fate::Refused;
        }
        let mut new = match mode {
            SetMode::Set => bits,
            SetMode::Increase => node.eattr | bits,
            SetMode::Decrease => node.eattr & !bits,
        };
        if node.kind != NodeKind::Directory {
            new &= !eattr::NO_ENTRY_CACHE;
        }
        if (new ^ node.eattr) & eattr::PROTECTED != 0 && !who.params.flags.admin {
            return Fate::Refused;
        }
        if new == node.eattr {
            return Fate::Unchanged;
        }
        node.eattr = new;
        node.ctime = step.now;
        Fate::Changed
    }

    fn check_quota_setter(&self, caller: &Caller, inode: InodeId) -> Result<InodeId, FsError> {
        let who = self.tree_caller(caller)?;
        who.may_change(&[])?;
        let inode = self.see(&who, inode, false)?;
        if !who.params.flags.admin {
            return Err(FsError::Perm);
        }
        if !who.is_root() {
            return Err(FsError::Access);
        }
        if self.node(inode).kind != NodeKind::Directory {
            return Err(FsError::Perm);
        }
        Ok(inode)
    }
}

/// Files and directories have a trash time and a class.
pub(crate) fn has_class(node: &Node) -> bool {
    matches!(node.kind, NodeKind::File | NodeKind::Directory)
}
