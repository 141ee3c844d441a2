//! POSIX ACLs of a node: setting and getting. What one allows is [`super::permission`]'s.

use super::change;
use super::error::FsError;
use super::key::Key;
use super::node;
use super::op::{Acl, AclKind, Answer, Caller, Disable, NodeKind, Reply};
use super::permission::{IMMUTABLE, NO_MASK};
use super::record::Inode;
use super::txn::{Res, Txn};
use super::who::Who;
use crate::id::InodeId;
use crate::limits;

/// "Not given", as a permission in a request.
const NOT_GIVEN: u16 = 0xFFFF;

/// SETFACL.
///
/// # Errors
/// After the session's: `NoEnt`; `Perm` for whom the node does not belong to, or when immutable;
/// `NotSupported` for a symlink, and for a default ACL of what is no directory; `Invalid` for a
/// permission or too many entries.
pub fn set(
    txn: &mut Txn<'_>,
    caller: &Caller,
    inode: InodeId,
    kind: AclKind,
    acl: &Acl,
) -> Res<Reply> {
    let who = Who::enter(txn, caller, &[Disable::SetFacl], true)?;
    let (ino, node) = who.node(txn, inode, false)?;
    if !change::is_owner(&who, &node) || node.eattr.value() & IMMUTABLE != 0 {
        return Err(FsError::Perm.into());
    }
    let supported = match node.kind() {
        NodeKind::Symlink => false,
        NodeKind::Directory => true,
        _ => kind == AclKind::Access,
    };
    if !supported {
        return Err(FsError::NotSupported.into());
    }
    valid(acl)?;
    let key = Key::Acl(ino, kind);
    let mut is_changed = false;
    if is_removal(acl) {
        // MooseFS takes the removal of none for done.
        txn.set::<Acl>(&key, None)?;
    } else {
        let acl = filled(acl, node.mode.value());
        if kind == AclKind::Access {
            let mode = mode_of(&acl, node.mode.value());
            is_changed = mode != node.mode.value();
            node::change(txn, ino, |node, stamp| Inode {
                mode: node.mode.write(stamp, mode),
                ..Inode::default()
            })?;
        }
        let says_more_than_mode = !is_minimal(&acl) || kind == AclKind::Default;
        txn.set(&key, says_more_than_mode.then_some(acl))?;
    }
    // As in MooseFS, an ACL alone is no change of the node: only another mode is.
    change::decorate(txn, ino, is_changed)?;
    Ok(Reply::Done)
}

/// GETFACL.
///
/// # Errors
/// After the session's: `NoEnt`; `NoAttr` where there is none.
pub fn get(txn: &Txn<'_>, caller: &Caller, inode: InodeId, kind: AclKind) -> Res<Answer> {
    let who = Who::enter(txn, caller, &[], false)?;
    let (ino, _) = who.node(txn, inode, false)?;
    let acl: Option<Acl> = txn.value(&Key::Acl(ino, kind))?;
    Ok(Answer::Acl(acl.ok_or(FsError::NoAttr)?))
}

fn valid(acl: &Acl) -> Result<(), FsError> {
    let known = |bits: u16| bits <= 7 || bits == NOT_GIVEN;
    let own = [acl.user, acl.group, acl.other, acl.mask].into_iter();
    let named = acl.named_users.iter().chain(&acl.named_groups);
    let entries = acl.named_users.len() + acl.named_groups.len();
    let valid = own.chain(named.map(|(_, bits)| *bits)).all(known)
        && entries <= limits::ACL_ENTRY_COUNT_MAX;
    if valid { Ok(()) } else { Err(FsError::Invalid) }
}

fn is_removal(acl: &Acl) -> bool {
    [acl.user, acl.group, acl.other, acl.mask] == [NOT_GIVEN; 4] && !has_names(acl)
}

fn has_names(acl: &Acl) -> bool {
    !acl.named_users.is_empty() || !acl.named_groups.is_empty()
}

/// Whether an ACL says no more than permission bits can.
fn is_minimal(acl: &Acl) -> bool {
    acl.mask == NO_MASK && !has_names(acl)
}

/// The ACL with what was not given taken from the permission bits.
fn filled(acl: &Acl, mode: u16) -> Acl {
    let or = |given: u16, shift: u32| match given {
        NOT_GIVEN => mode >> shift & 7,
        bits => bits,
    };
    Acl {
        user: or(acl.user, 6),
        group: or(acl.group, 3),
        other: or(acl.other, 0),
        ..acl.clone()
    }
}

/// The node's own permission bits under an ACL. While it is there, the group's show as the mask;
/// they come to light again when it is removed.
fn mode_of(acl: &Acl, mode: u16) -> u16 {
    mode & 0o7000 | acl.user << 6 | acl.group << 3 | acl.other
}

#[cfg(test)]
mod tests {
    use super::super::op::{Op, Query};
    use super::super::testing::{Bed, ROOT, root, somebody, symlink, user};
    use super::*;

    /// "Owner, group, other, mask", without names.
    fn acl(bits: [u16; 4]) -> Acl {
        let [user, group, other, mask] = bits;
        Acl {
            user,
            group,
            other,
            mask,
            named_users: Vec::new(),
            named_groups: Vec::new(),
        }
    }

    fn set_op(caller: &Caller, inode: InodeId, kind: AclKind, acl: &Acl) -> Op {
        Op::SetAcl {
            caller: caller.clone(),
            inode,
            kind,
            acl: acl.clone(),
        }
    }

    fn ask(bed: &Bed, inode: InodeId, kind: AclKind) -> Result<Acl, FsError> {
        let query = Query::GetAcl {
            caller: root(),
            inode,
            kind,
        };
        match bed.ask(query)? {
            Answer::Acl(acl) => Ok(acl),
            other => panic!("an ACL was expected, not {other:?}"),
        }
    }

    const NONE: u16 = NOT_GIVEN;

    #[test]
    fn what_is_not_given_comes_from_the_mode_and_the_mode_shows_the_mask() {
        let mut bed = Bed::new();
        let file = bed.file(&root(), ROOT, "f");
        let given = Acl {
            named_users: vec![(7, 6)],
            ..acl([NONE, NONE, 0, 3])
        };
        bed.now += 5;
        bed.ok(set_op(&root(), file, AclKind::Access, &given));
        let kept = Acl {
            user: 6,
            group: 4,
            ..given.clone()
        };
        assert_eq!(ask(&bed, file, AclKind::Access), Ok(kept));
        let attr = bed.attr(file);
        assert_eq!((attr.mode, attr.ctime.0, attr.flags & 8), (0o630, 1_005, 0));
        assert_eq!(ask(&bed, file, AclKind::Default), Err(FsError::NoAttr));
        // Once more changes no mode, so no time; nor does the default of a directory.
        bed.now += 5;
        bed.ok(set_op(&root(), file, AclKind::Access, &given));
        assert_eq!(bed.attr(file).ctime.0, 1_005);
        let dir = bed.dir(&root(), ROOT, "d");
        bed.now += 5;
        bed.ok(set_op(&root(), dir, AclKind::Default, &given));
        bed.ok(set_op(&root(), dir, AclKind::Default, &acl([NONE; 4])));
        assert_eq!(bed.attr(dir).ctime.0, 1_010);
        // Away with it: the node's own permission bits are seen again.
        bed.ok(set_op(&root(), file, AclKind::Access, &acl([NONE; 4])));
        assert_eq!(ask(&bed, file, AclKind::Access), Err(FsError::NoAttr));
        assert_eq!((bed.attr(file).mode, bed.attr(file).flags & 8), (0o640, 8));
        assert_eq!(bed.attr(file).ctime.0, 1_005);
    }

    #[test]
    fn an_acl_that_says_no_more_than_the_mode_only_sets_the_mode() {
        let mut bed = Bed::new();
        let file = bed.file(&root(), ROOT, "f");
        bed.ok(set_op(&root(), file, AclKind::Access, &acl([7, 5, 1, 4])));
        assert_eq!(bed.attr(file).mode, 0o741);
        bed.ok(set_op(
            &root(),
            file,
            AclKind::Access,
            &acl([6, 5, 4, NONE]),
        ));
        assert_eq!(ask(&bed, file, AclKind::Access), Err(FsError::NoAttr));
        assert_eq!(bed.attr(file).mode, 0o654);
        // As the default of a directory it is kept.
        let dir = bed.dir(&root(), ROOT, "d");
        let default = acl([6, 5, 4, NONE]);
        bed.ok(set_op(&root(), dir, AclKind::Default, &default));
        assert_eq!(ask(&bed, dir, AclKind::Default), Ok(default));
        assert_eq!(bed.attr(dir).mode, 0o755);
    }

    #[test]
    fn acls_are_refused_for_reasons_in_order() {
        let mut bed = Bed::new();
        let file = bed.file(&root(), ROOT, "f");
        let link = bed.node(symlink(&root(), ROOT, "l", b"f"));
        let kind = AclKind::Access;
        let good = acl([7, 7, 7, 7]);
        let disabled = bed.session_with(|p| p.disables = 1 << Disable::SetFacl as u32);
        let reader = bed.session_with(|p| p.flags.read_only = true);
        let many = Acl {
            named_groups: vec![(1, 1); limits::ACL_ENTRY_COUNT_MAX + 1],
            ..good.clone()
        };
        let named = Acl {
            named_users: vec![(1, 8)],
            ..good.clone()
        };
        bed.refused(vec![
            (FsError::Perm, set_op(&user(disabled, 0), file, kind, &good)),
            (
                FsError::ReadOnly,
                set_op(&user(reader, 0), file, kind, &good),
            ),
            (FsError::NoEnt, set_op(&root(), InodeId(9_999), kind, &good)),
            (
                FsError::Perm,
                set_op(&somebody(5), file, kind, &acl([8; 4])),
            ),
            (FsError::NotSupported, set_op(&root(), link, kind, &good)),
            (
                FsError::NotSupported,
                set_op(&root(), file, AclKind::Default, &good),
            ),
            (
                FsError::Invalid,
                set_op(&root(), file, kind, &acl([8, 7, 7, 7])),
            ),
            (FsError::Invalid, set_op(&root(), file, kind, &named)),
            (FsError::Invalid, set_op(&root(), file, kind, &many)),
        ]);
        // There is none to be removed, and that is no mistake.
        bed.ok(set_op(&root(), file, kind, &acl([NONE; 4])));
        bed.set_eattr(file, IMMUTABLE);
        bed.refused(vec![(FsError::Perm, set_op(&root(), file, kind, &good))]);
    }
}
