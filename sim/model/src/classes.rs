//! Storage classes (sections 3.13, 8.9).

use mfsha_core::limits;
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{ClassChange, LabelExpr, Op, Reply, StorageClass};

use mfsha_core::id::SessionId;

use crate::state::Model;
use crate::subtrees::has_class;

impl Model {
    pub(crate) fn run_class(&mut self, op: &Op) -> Result<Reply, FsError> {
        match op {
            Op::CreateClass { session, class } => {
                self.check_admin(*session)?;
                check_class_name(&class.name)?;
                for list in [&class.create, &class.keep, &class.archive] {
                    check_list(list)?;
                }
                self.insert_class(class.clone())
            }
            Op::ChangeClass {
                session,
                name,
                change,
            } => {
                self.check_admin(*session)?;
                let id = self.class_named(name)?;
                self.change_class(id, change)
            }
            Op::DeleteClass { session, name } => {
                self.check_admin(*session)?;
                let id = self.users_class_named(name)?;
                let used = self.nodes.values().any(|n| has_class(n) && n.class == id);
                if used {
                    return Err(FsError::ClassInUse);
                }
                self.classes.remove(&id);
                Ok(Reply::Done)
            }
            Op::DuplicateClass { session, old, new } => {
                self.check_admin(*session)?;
                check_class_name(new)?;
                let id = self.class_named(old)?;
                let copy = StorageClass {
                    name: new.clone(),
                    ..self.classes[&id].clone()
                };
                self.insert_class(copy)
            }
            Op::RenameClass { session, old, new } => {
                self.check_admin(*session)?;
                check_class_name(new)?;
                let id = self.users_class_named(old)?;
                if self.class_named(new).is_ok() {
                    return Err(FsError::ClassExists);
                }
                self.classes.get_mut(&id).expect("just found").name = new.clone();
                Ok(Reply::Done)
            }
            _ => unreachable!("dispatched by apply"),
        }
    }

    fn check_admin(&self, session: SessionId) -> Result<(), FsError> {
        if self.session(session)?.flags.admin {
            Ok(())
        } else {
            Err(FsError::NotAdmin)
        }
    }

    /// A new class takes the lowest free id.
    fn insert_class(&mut self, class: StorageClass) -> Result<Reply, FsError> {
        if self.class_named(&class.name) != Err(FsError::NoClass) {
            return Err(FsError::ClassExists);
        }
        let id = (limits::SCLASS_USER_FIRST..=u8::MAX)
            .find(|id| !self.classes.contains_key(id))
            .ok_or(FsError::ClassLimit)?;
        self.classes.insert(id, class);
        Ok(Reply::Class(id))
    }

    fn change_class(&mut self, id: u8, change: &ClassChange) -> Result<Reply, FsError> {
        if id <= limits::GOAL_MAX && !change.force {
            return Err(FsError::Perm);
        }
        for list in [&change.create, &change.keep, &change.archive]
            .into_iter()
            .flatten()
        {
            check_list(list)?;
        }
        let class = self.classes.get_mut(&id).expect("the caller found it");
        let old = class.clone();
        *class = StorageClass {
            name: old.name,
            admin_only: change.admin_only.unwrap_or(old.admin_only),
            mode: change.mode.unwrap_or(old.mode),
            archive_delay_days: change.archive_delay_days.unwrap_or(old.archive_delay_days),
            create: change.create.clone().unwrap_or(old.create),
            keep: change.keep.clone().unwrap_or(old.keep),
            archive: change.archive.clone().unwrap_or(old.archive),
        };
        Ok(Reply::Class(id))
    }

    fn class_named(&self, name: &[u8]) -> Result<u8, FsError> {
        check_class_name(name)?;
        self.classes
            .iter()
            .find(|(_, class)| class.name == name)
            .map(|(id, _)| *id)
            .ok_or(FsError::NoClass)
    }

    /// As [`Self::class_named`]; the plain goals are nobody's to rename or delete.
    fn users_class_named(&self, name: &[u8]) -> Result<u8, FsError> {
        let id = self.class_named(name)?;
        if id <= limits::GOAL_MAX {
            return Err(FsError::Perm);
        }
        Ok(id)
    }
}

fn check_class_name(name: &[u8]) -> Result<(), FsError> {
    if name.is_empty() || name.len() > limits::SCLASS_NAME_BYTES_MAX || name.contains(&0) {
        return Err(FsError::Invalid);
    }
    Ok(())
}

/// One to nine copies.
fn check_list(list: &[LabelExpr]) -> Result<(), FsError> {
    if list.is_empty() || list.len() > usize::from(limits::GOAL_MAX) {
        return Err(FsError::Invalid);
    }
    Ok(())
}
