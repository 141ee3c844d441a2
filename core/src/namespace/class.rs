//! Storage classes: making, changing, listing them, and what a class means for sizes.
//!
//! Classes 1 to 9 are the plain goals; the tree begins with them. Where copies go is for others
//! to work out; here a class is a name, lists, and a number of copies.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::error::FsError;
use super::key::Key;
use super::op::{Answer, ClassChange, DirStats, LabelExpr, NodeKind, Reply, StorageClass};
use super::record::{Class, Inode};
use super::stats;
use super::txn::{Res, Txn};
use super::walk;
use super::who::Who;
use crate::id::{InodeId, SessionId};
use crate::limits;

/// SCLASS_CREATE.
///
/// # Errors
/// `BadSession`, `NotAdmin`; `Invalid` for the name or a list; `ClassExists`, `ClassLimit`.
pub fn create(txn: &mut Txn<'_>, session: SessionId, class: &StorageClass) -> Res<Reply> {
    admin(txn, session)?;
    valid_name(&class.name)?;
    for list in [&class.create, &class.keep, &class.archive] {
        valid_list(list)?;
    }
    add(txn, class.clone())
}

/// SCLASS_CHANGE.
///
/// # Errors
/// `BadSession`, `NotAdmin`; `Invalid` for the name; `NoClass`; `Perm` for a plain goal without
/// `force`; `Invalid` for a list.
pub fn change(
    txn: &mut Txn<'_>,
    session: SessionId,
    name: &[u8],
    change: &ClassChange,
) -> Res<Reply> {
    admin(txn, session)?;
    valid_name(name)?;
    let (id, old) = find(txn, name)?.ok_or(FsError::NoClass)?;
    if is_plain(id) && !change.force {
        return Err(FsError::Perm.into());
    }
    for list in [&change.create, &change.keep, &change.archive] {
        list.as_deref().map_or(Ok(()), valid_list)?;
    }
    let new = StorageClass {
        name: old.name.clone(),
        admin_only: change.admin_only.unwrap_or(old.admin_only),
        mode: change.mode.unwrap_or(old.mode),
        archive_delay_days: change.archive_delay_days.unwrap_or(old.archive_delay_days),
        create: change.create.clone().unwrap_or(old.create.clone()),
        keep: change.keep.clone().unwrap_or(old.keep.clone()),
        archive: change.archive.clone().unwrap_or(old.archive.clone()),
    };
    resize(txn, id, stats::goal_of(&new) - stats::goal_of(&old))?;
    txn.set(&Key::Class(id), Some(new))?;
    Ok(Reply::Class(id))
}

/// SCLASS_DELETE.
///
/// # Errors
/// `BadSession`, `NotAdmin`; `Invalid` for the name; `NoClass`; `Perm` for a plain goal;
/// `ClassInUse` when any file or directory has it, in the trash or not.
pub fn delete(txn: &mut Txn<'_>, session: SessionId, name: &[u8]) -> Res<Reply> {
    admin(txn, session)?;
    valid_name(name)?;
    let (id, _) = find(txn, name)?.ok_or(FsError::NoClass)?;
    if is_plain(id) {
        return Err(FsError::Perm.into());
    }
    if is_used(txn, id)? {
        return Err(FsError::ClassInUse.into());
    }
    txn.set::<StorageClass>(&Key::Class(id), None)?;
    Ok(Reply::Done)
}

/// SCLASS_DUPLICATE.
///
/// # Errors
/// `BadSession`, `NotAdmin`; `Invalid` for a name; `NoClass`, `ClassExists`, `ClassLimit`.
pub fn duplicate(txn: &mut Txn<'_>, session: SessionId, old: &[u8], new: &[u8]) -> Res<Reply> {
    admin(txn, session)?;
    valid_name(old)?;
    valid_name(new)?;
    let (_, class) = find(txn, old)?.ok_or(FsError::NoClass)?;
    add(
        txn,
        StorageClass {
            name: new.to_vec(),
            ..class
        },
    )
}

/// SCLASS_RENAME.
///
/// # Errors
/// `BadSession`, `NotAdmin`; `Invalid` for a name; `NoClass`; `Perm` for a plain goal;
/// `ClassExists`.
pub fn rename(txn: &mut Txn<'_>, session: SessionId, old: &[u8], new: &[u8]) -> Res<Reply> {
    admin(txn, session)?;
    valid_name(old)?;
    valid_name(new)?;
    let (id, class) = find(txn, old)?.ok_or(FsError::NoClass)?;
    if is_plain(id) {
        return Err(FsError::Perm.into());
    }
    if find(txn, new)?.is_some() {
        return Err(FsError::ClassExists.into());
    }
    let class = StorageClass {
        name: new.to_vec(),
        ..class
    };
    txn.set(&Key::Class(id), Some(class))?;
    Ok(Reply::Done)
}

/// SCLASS_LIST.
///
/// # Errors
/// Only that the state cannot be read.
pub fn list(txn: &Txn<'_>) -> Res<Answer> {
    Ok(Answer::Classes(all(txn)?.into_iter().collect()))
}

/// A class by id.
///
/// # Errors
/// `NoClass`.
pub fn get(txn: &Txn<'_>, id: u8) -> Res<StorageClass> {
    Ok(txn.value(&Key::Class(id))?.ok_or(FsError::NoClass)?)
}

/// Whether a class is one of the plain goals 1 to 9.
#[must_use]
pub fn is_plain(id: u8) -> bool {
    (1..=limits::GOAL_MAX).contains(&id)
}

/// All classes by id.
fn all(txn: &Txn<'_>) -> Res<BTreeMap<u8, StorageClass>> {
    let mut out = BTreeMap::new();
    txn.scan::<Class>(&Key::Class(0).prefix(), None, |key, class| {
        if let (Key::Class(id), Some(Some(class))) = (key, class.get()) {
            out.insert(id, class.clone());
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(out)
}

fn find(txn: &Txn<'_>, name: &[u8]) -> Res<Option<(u8, StorageClass)>> {
    Ok(all(txn)?.into_iter().find(|(_, class)| class.name == name))
}

/// Adds a class under the lowest free id.
fn add(txn: &mut Txn<'_>, class: StorageClass) -> Res<Reply> {
    let classes = all(txn)?;
    if classes.values().any(|known| known.name == class.name) {
        return Err(FsError::ClassExists.into());
    }
    let id = (limits::SCLASS_USER_FIRST..=u8::MAX)
        .find(|id| !classes.contains_key(id))
        .ok_or(FsError::ClassLimit)?;
    txn.set(&Key::Class(id), Some(class))?;
    Ok(Reply::Class(id))
}

fn admin(txn: &Txn<'_>, session: SessionId) -> Res<()> {
    let who = Who::of_session(txn, session)?;
    if !who.params.flags.admin {
        return Err(FsError::NotAdmin.into());
    }
    Ok(())
}

fn valid_name(name: &[u8]) -> Result<(), FsError> {
    let valid =
        !name.is_empty() && name.len() <= limits::SCLASS_NAME_BYTES_MAX && !name.contains(&0);
    if valid { Ok(()) } else { Err(FsError::Invalid) }
}

fn valid_list(list: &[LabelExpr]) -> Result<(), FsError> {
    if (1..=usize::from(limits::GOAL_MAX)).contains(&list.len()) {
        Ok(())
    } else {
        Err(FsError::Invalid)
    }
}

/// Whether any file or directory has the class.
fn is_used(txn: &Txn<'_>, id: u8) -> Res<bool> {
    let mut used = false;
    walk::every::<Inode>(txn, Key::Inode, |_, node| {
        used =
            matches!(node.kind(), NodeKind::File | NodeKind::Directory) && node.class.value() == id;
        Ok(if used {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    })?;
    Ok(used)
}

/// Adds `copies` more of every file of a class to the sums of the directories above it.
fn resize(txn: &mut Txn<'_>, id: u8, copies: i64) -> Res<()> {
    if copies == 0 {
        return Ok(());
    }
    let mut growth: BTreeMap<InodeId, i64> = BTreeMap::new();
    walk::every::<Inode>(txn, Key::Inode, |ino, node| {
        if node.kind() == NodeKind::File && node.class.value() == id && !node.parents.is_empty() {
            let size = stats::of_file(txn, ino, &node)?.size;
            for (_, (parent, _)) in node.parents.iter() {
                let sum = growth.entry(*parent).or_default();
                *sum = sum.saturating_add(size.saturating_mul(copies));
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    for (dir, real_size) in growth {
        let more = DirStats {
            real_size,
            ..DirStats::default()
        };
        stats::add(txn, dir, &more)?;
    }
    Ok(())
}
