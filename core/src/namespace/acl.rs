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
/// permission or too many entries; `NoAttr` for the removal of none.
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
    if is_removal(acl) {
        if !txn.has(&key)? {
            return Err(FsError::NoAttr.into());
        }
        txn.set::<Acl>(&key, None)?;
    } else {
        let acl = filled(acl, node.mode.value());
        if kind == AclKind::Access {
            let mode = mode_of(&acl, node.mode.value());
            node::change(txn, ino, |node, stamp| Inode {
                mode: node.mode.write(stamp, mode),
                ..Inode::default()
            })?;
        }
        let says_more_than_mode = !is_minimal(&acl) || kind == AclKind::Default;
        txn.set(&key, says_more_than_mode.then_some(acl))?;
    }
    change::decorate(txn, ino)?;
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

/// Permission bits that say what the ACL does, as far as they can: the group's are the mask.
fn mode_of(acl: &Acl, mode: u16) -> u16 {
    let group = match acl.mask {
        NO_MASK => acl.group,
        mask => mask,
    };
    mode & 0o7000 | acl.user << 6 | group << 3 | acl.other
}
