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
fn resize(txn: &mut Txn<'_>, id: u8, copies: i128) -> Res<()> {
    if copies == 0 {
        return Ok(());
    }
    let mut growth: BTreeMap<InodeId, i128> = BTreeMap::new();
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

#[cfg(test)]
mod tests {
    use super::super::op::{ClassMode, Op, Query, SetMode};
    use super::super::testing::{Bed, ROOT, root, unlink};
    use super::*;

    const ADMIN: SessionId = SessionId(0);

    fn class(name: &str, copies: usize) -> StorageClass {
        StorageClass {
            name: name.into(),
            admin_only: false,
            mode: ClassMode::Strict,
            archive_delay_days: 3,
            create: vec![[1; 4]],
            keep: vec![[1; 4]; copies],
            archive: vec![[2; 4]],
        }
    }

    fn create_op(class: StorageClass) -> Op {
        Op::CreateClass {
            session: ADMIN,
            class,
        }
    }

    fn delete_op(name: &str) -> Op {
        Op::DeleteClass {
            session: ADMIN,
            name: name.into(),
        }
    }

    fn keep_op(name: &str, copies: usize, force: bool) -> Op {
        Op::ChangeClass {
            session: ADMIN,
            name: name.into(),
            change: ClassChange {
                keep: Some(vec![[0; 4]; copies]),
                force,
                ..ClassChange::default()
            },
        }
    }

    fn rename_op(old: &str, new: &str) -> Op {
        Op::RenameClass {
            session: ADMIN,
            old: old.into(),
            new: new.into(),
        }
    }

    fn duplicate_op(old: &str, new: &str) -> Op {
        Op::DuplicateClass {
            session: ADMIN,
            old: old.into(),
            new: new.into(),
        }
    }

    #[test]
    fn classes_take_the_lowest_free_id_from_ten_on() {
        let mut bed = Bed::new();
        assert_eq!(bed.ok(create_op(class("a", 2))), Reply::Class(10));
        assert_eq!(bed.ok(duplicate_op("a", "b")), Reply::Class(11));
        assert_eq!(bed.ok(duplicate_op("3", "c")), Reply::Class(12));
        bed.ok(delete_op("a"));
        bed.ok(rename_op("b", "a"));
        assert_eq!(bed.ok(create_op(class("z", 1))), Reply::Class(10));
        let Ok(Answer::Classes(classes)) = bed.ask(Query::ListClasses) else {
            panic!("classes were expected");
        };
        let names: Vec<_> = classes
            .iter()
            .map(|(id, class)| (*id, class.name.clone()))
            .filter(|(id, _)| *id > 9)
            .collect();
        let expected = [
            (10, b"z".to_vec()),
            (11, b"a".to_vec()),
            (12, b"c".to_vec()),
        ];
        assert_eq!(names, expected);
        assert_eq!(classes.len(), 12);
        for id in 13..=255 {
            assert_eq!(
                bed.ok(create_op(class(&format!("x{id}"), 1))),
                Reply::Class(id)
            );
        }
        bed.refused(vec![(FsError::ClassLimit, create_op(class("more", 1)))]);
    }

    #[test]
    fn class_requests_are_refused_for_reasons_in_order() {
        let mut bed = Bed::new();
        let plain = bed.session_with(|params| params.flags.admin = false);
        bed.ok(create_op(class("a", 1)));
        let of = |session| Op::CreateClass {
            session,
            class: class("n", 1),
        };
        let long = "n".repeat(256);
        let mut empty_list = class("n", 1);
        empty_list.archive.clear();
        bed.refused(vec![
            (FsError::BadSession, of(SessionId(99))),
            (FsError::NotAdmin, of(plain)),
            (FsError::Invalid, create_op(class("", 1))),
            (FsError::Invalid, create_op(class(&long, 1))),
            (FsError::Invalid, create_op(class("n\0", 1))),
            (FsError::Invalid, create_op(class("n", 10))),
            (FsError::Invalid, create_op(empty_list)),
            (FsError::ClassExists, create_op(class("7", 1))),
            (FsError::Invalid, delete_op("")),
            (FsError::NoClass, delete_op("n")),
            (FsError::Perm, delete_op("1")),
            (FsError::NoClass, keep_op("n", 1, true)),
            (FsError::Perm, keep_op("2", 1, false)),
            (FsError::Invalid, keep_op("a", 0, false)),
            (FsError::NoClass, rename_op("n", "m")),
            (FsError::Perm, rename_op("2", "m")),
            (FsError::ClassExists, rename_op("a", "2")),
            (FsError::Invalid, rename_op("a", "")),
            (FsError::NoClass, duplicate_op("n", "m")),
            (FsError::ClassExists, duplicate_op("2", "a")),
            (FsError::Invalid, duplicate_op("2", "")),
        ]);
    }

    #[test]
    fn a_class_in_use_stays_even_when_only_the_trash_uses_it() {
        let mut bed = Bed::new();
        bed.ok(create_op(class("a", 3)));
        let file = bed.file(&root(), ROOT, "f");
        bed.add_chunk(file, 0, 10);
        bed.ok(Op::SetSclass {
            caller: root(),
            inode: file,
            class: 10,
            only: None,
            mode: SetMode::Set,
            recursive: false,
        });
        bed.refused(vec![(FsError::ClassInUse, delete_op("a"))]);
        bed.ok(unlink(&root(), ROOT, "f"));
        bed.refused(vec![(FsError::ClassInUse, delete_op("a"))]);
    }

    #[test]
    fn another_number_of_copies_changes_the_sums_of_all_files_of_the_class() {
        let mut bed = Bed::new();
        let dir = bed.dir(&root(), ROOT, "d");
        for (at, name) in ["f", "g"].into_iter().enumerate() {
            let file = bed.file(&root(), if at == 0 { ROOT } else { dir }, name);
            bed.add_chunk(file, 0, 10);
        }
        let before = bed.sums(ROOT);
        assert_eq!(before.real_size, 2 * before.size);
        // The two archived copies count as long as fewer are kept.
        bed.ok(keep_op("2", 5, true));
        assert_eq!(bed.sums(ROOT).real_size, 5 * before.size);
        assert_eq!(bed.sums(dir).real_size, 5 * before.size / 2);
        bed.ok(keep_op("2", 1, true));
        assert_eq!(bed.sums(ROOT).real_size, 2 * before.size);
    }
}
