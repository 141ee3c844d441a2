//! Extended attributes of a node.

use std::ops::ControlFlow;

use super::change;
use super::error::FsError;
use super::key::Key;
use super::op::{Answer, Caller, Disable, Reply, XattrMode};
use super::permission::{self, IMMUTABLE, READ, WRITE};
use super::record::{Inode, Xattr};
use super::txn::{Res, Txn};
use super::who::Who;
use crate::id::InodeId;
use crate::limits;

/// What a request names: the attribute of a node, `opened` or by path.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The node.
    pub inode: InodeId,
    /// Permission was checked at open, and the node need not be visible.
    pub opened: bool,
    /// The attribute.
    pub name: &'a [u8],
}

/// SETXATTR.
///
/// # Errors
/// After the session's: `NoEnt`; `Perm` when immutable; `Invalid` for the name; `Perm` for who may
/// not set such a name; `Access`; `Range` for the value; `Exist`, `NoAttr` by mode; `Range` when
/// the list of names grows too long.
pub fn set(
    txn: &mut Txn<'_>,
    caller: &Caller,
    wanted: Wanted<'_>,
    value: &[u8],
    mode: XattrMode,
) -> Res<Reply> {
    let who = Who::enter(txn, caller, &[Disable::SetXattr], true)?;
    let (ino, node) = who.node(txn, wanted.inode, wanted.opened)?;
    if node.eattr.value() & IMMUTABLE != 0 {
        return Err(FsError::Perm.into());
    }
    valid_name(wanted.name)?;
    may_set(&who, &node, wanted.name)?;
    if !wanted.opened {
        permission::require(txn, &who, ino, &node, WRITE)?;
    }
    if value.len() > limits::XATTR_VALUE_BYTES_MAX {
        return Err(FsError::Range.into());
    }
    let key = Key::Xattr(ino, wanted.name.to_vec());
    let there = txn.has(&key)?;
    match mode {
        XattrMode::Create if there => return Err(FsError::Exist.into()),
        XattrMode::Replace | XattrMode::Remove if !there => return Err(FsError::NoAttr.into()),
        _ => {}
    }
    let value = (mode != XattrMode::Remove).then(|| value.to_vec());
    if value.is_some() && !there {
        let names = names(txn, ino, |_| true)?;
        if names.len() + wanted.name.len() + 1 > limits::XATTR_VALUE_BYTES_MAX {
            return Err(FsError::Range.into());
        }
    }
    txn.set(&key, value)?;
    change::decorate(txn, ino)?;
    Ok(Reply::Done)
}

/// GETXATTR with a name.
///
/// # Errors
/// After the session's: `NoEnt`; `Invalid` for the name; `Perm` for a trusted one; `Access`;
/// `NoAttr`.
pub fn get(txn: &Txn<'_>, caller: &Caller, wanted: Wanted<'_>) -> Res<Answer> {
    let who = Who::enter(txn, caller, &[], false)?;
    let (ino, node) = who.node(txn, wanted.inode, wanted.opened)?;
    valid_name(wanted.name)?;
    if wanted.name.starts_with(TRUSTED) && !who.is_root() {
        return Err(FsError::Perm.into());
    }
    if !wanted.opened {
        permission::require(txn, &who, ino, &node, READ)?;
    }
    let value: Option<Vec<u8>> = txn.value(&Key::Xattr(ino, wanted.name.to_vec()))?;
    Ok(Answer::Bytes(value.ok_or(FsError::NoAttr)?))
}

/// GETXATTR without a name: the names in order, each followed by NUL; trusted ones for root alone.
///
/// # Errors
/// After the session's: `NoEnt`, `Access`.
pub fn list(txn: &Txn<'_>, caller: &Caller, inode: InodeId, opened: bool) -> Res<Answer> {
    let who = Who::enter(txn, caller, &[], false)?;
    let (ino, node) = who.node(txn, inode, opened)?;
    if !opened {
        permission::require(txn, &who, ino, &node, READ)?;
    }
    let names = names(txn, ino, |name| who.is_root() || !name.starts_with(TRUSTED))?;
    Ok(Answer::Bytes(names))
}

const TRUSTED: &[u8] = b"trusted.";
const SECURITY: &[u8] = b"security.";
const SYSTEM: &[u8] = b"system.";

fn may_set(who: &Who, node: &Inode, name: &[u8]) -> Result<(), FsError> {
    let owner_needed = name.starts_with(SYSTEM);
    let root_needed = name.starts_with(TRUSTED) || name.starts_with(SECURITY);
    if owner_needed && !change::is_owner(who, node) || root_needed && !who.is_root() {
        return Err(FsError::Perm);
    }
    Ok(())
}

fn valid_name(name: &[u8]) -> Result<(), FsError> {
    let valid =
        !name.is_empty() && name.len() <= limits::XATTR_NAME_BYTES_MAX && !name.contains(&0);
    if valid { Ok(()) } else { Err(FsError::Invalid) }
}

fn names(txn: &Txn<'_>, ino: InodeId, shown: impl Fn(&[u8]) -> bool) -> Res<Vec<u8>> {
    let mut out = Vec::new();
    txn.scan::<Xattr>(&Key::Xattr(ino, Vec::new()).prefix(), None, |key, _| {
        if let Key::Xattr(_, name) = key
            && shown(&name)
        {
            out.extend_from_slice(&name);
            out.push(0);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(out)
}
