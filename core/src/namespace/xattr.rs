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
        let names = names(txn, ino)?;
        if names.len() + wanted.name.len() + 1 > limits::XATTR_VALUE_BYTES_MAX {
            return Err(FsError::Range.into());
        }
    }
    txn.set(&key, value)?;
    change::decorate(txn, ino, true)?;
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

/// GETXATTR without a name: the names in order, each followed by NUL, also those whose values are
/// not for the caller.
///
/// # Errors
/// After the session's: `NoEnt`, `Access`.
pub fn list(txn: &Txn<'_>, caller: &Caller, inode: InodeId, opened: bool) -> Res<Answer> {
    let who = Who::enter(txn, caller, &[], false)?;
    let (ino, node) = who.node(txn, inode, opened)?;
    if !opened {
        permission::require(txn, &who, ino, &node, READ)?;
    }
    Ok(Answer::Bytes(names(txn, ino)?))
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

fn names(txn: &Txn<'_>, ino: InodeId) -> Res<Vec<u8>> {
    let mut out = Vec::new();
    txn.scan::<Xattr>(&Key::Xattr(ino, Vec::new()).prefix(), None, |key, _| {
        if let Key::Xattr(_, name) = key {
            out.extend_from_slice(&name);
            out.push(0);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::super::op::{Op, Query};
    use super::super::testing::{Bed, ROOT, chmod, root, somebody, user};
    use super::*;

    fn set_op(caller: &Caller, inode: InodeId, name: &[u8], mode: XattrMode) -> Op {
        Op::SetXattr {
            caller: caller.clone(),
            inode,
            opened: false,
            name: name.to_vec(),
            value: b"value".to_vec(),
            mode,
        }
    }

    fn get_query(caller: &Caller, inode: InodeId, name: &[u8]) -> Query {
        Query::GetXattr {
            caller: caller.clone(),
            inode,
            opened: false,
            name: name.to_vec(),
        }
    }

    fn list_query(caller: &Caller, inode: InodeId) -> Query {
        Query::ListXattr {
            caller: caller.clone(),
            inode,
            opened: false,
        }
    }

    /// The attribute flag of a node with neither extended attributes nor ACLs.
    const PLAIN: u8 = 8;

    #[test]
    fn attributes_come_and_go_and_the_node_knows() {
        let mut bed = Bed::new();
        let file = bed.file(&root(), ROOT, "f");
        assert_eq!(bed.attr(file).flags & PLAIN, PLAIN);
        bed.now += 5;
        bed.ok(set_op(&root(), file, b"user.b", XattrMode::Create));
        bed.ok(set_op(&root(), file, b"user.a", XattrMode::CreateOrReplace));
        bed.ok(set_op(&root(), file, b"user.a", XattrMode::Replace));
        let attr = bed.attr(file);
        assert_eq!(
            (attr.flags & PLAIN, attr.ctime.0, attr.mtime.0),
            (0, 1_005, 1_000)
        );
        let value = Answer::Bytes(b"value".to_vec());
        assert_eq!(bed.ask(get_query(&root(), file, b"user.a")), Ok(value));
        let names = Answer::Bytes(b"user.a\0user.b\0".to_vec());
        assert_eq!(bed.ask(list_query(&root(), file)), Ok(names));
        bed.ok(set_op(&root(), file, b"user.a", XattrMode::Remove));
        bed.ok(set_op(&root(), file, b"user.b", XattrMode::Remove));
        assert_eq!(bed.attr(file).flags & PLAIN, PLAIN);
    }

    #[test]
    fn attributes_are_refused_for_reasons_in_order() {
        let mut bed = Bed::new();
        let file = bed.file(&root(), ROOT, "f");
        let other = somebody(5);
        let mode = XattrMode::CreateOrReplace;
        let disabled = bed.session_with(|p| p.disables = 1 << Disable::SetXattr as u32);
        let reader = bed.session_with(|p| p.flags.read_only = true);
        let mut large = set_op(&root(), file, b"user.x", mode);
        let Op::SetXattr { value, .. } = &mut large else {
            unreachable!("it was made so");
        };
        value.resize(limits::XATTR_VALUE_BYTES_MAX + 1, 0);
        bed.refused(vec![
            (
                FsError::Perm,
                set_op(&user(disabled, 0), file, b"user.x", mode),
            ),
            (
                FsError::ReadOnly,
                set_op(&user(reader, 0), file, b"user.x", mode),
            ),
            (
                FsError::NoEnt,
                set_op(&root(), InodeId(9_999), b"user.x", mode),
            ),
            (FsError::Invalid, set_op(&other, file, b"", mode)),
            (FsError::Invalid, set_op(&other, file, b"user.\0", mode)),
            (FsError::Invalid, set_op(&other, file, &[b'n'; 256], mode)),
            (FsError::Perm, set_op(&other, file, b"system.x", mode)),
            (FsError::Perm, set_op(&other, file, b"trusted.x", mode)),
            (FsError::Perm, set_op(&other, file, b"security.x", mode)),
            (FsError::Access, set_op(&other, file, b"user.x", mode)),
            (FsError::Range, large),
            (
                FsError::NoAttr,
                set_op(&root(), file, b"user.x", XattrMode::Replace),
            ),
            (
                FsError::NoAttr,
                set_op(&root(), file, b"user.x", XattrMode::Remove),
            ),
        ]);
        bed.ok(set_op(&root(), file, b"trusted.x", mode));
        bed.refused(vec![(
            FsError::Exist,
            set_op(&root(), file, b"trusted.x", XattrMode::Create),
        )]);
        bed.set_eattr(file, IMMUTABLE);
        bed.refused(vec![(FsError::Perm, set_op(&root(), file, b"", mode))]);
        for (error, query) in [
            (
                FsError::NoEnt,
                get_query(&root(), InodeId(9_999), b"user.x"),
            ),
            (FsError::Invalid, get_query(&root(), file, b"")),
            (FsError::Perm, get_query(&other, file, b"trusted.x")),
            (FsError::NoAttr, get_query(&other, file, b"user.x")),
        ] {
            assert_eq!(bed.ask(query), Err(error));
        }
        // Their names are shown to everybody.
        let all = Answer::Bytes(b"trusted.x\0".to_vec());
        assert_eq!(bed.ask(list_query(&root(), file)), Ok(all.clone()));
        assert_eq!(bed.ask(list_query(&other, file)), Ok(all));
        bed.set_eattr(file, 0);
        bed.ok(chmod(&root(), file, 0o600));
        let queries = [get_query(&other, file, b"user.x"), list_query(&other, file)];
        for query in queries {
            assert_eq!(bed.ask(query), Err(FsError::Access));
        }
    }

    #[test]
    fn the_list_of_names_is_bounded() {
        let mut bed = Bed::new();
        let file = bed.file(&root(), ROOT, "f");
        // 256 bytes of list each: 256 of them fill it.
        bed.by_hand(|txn| {
            for at in 0..256 {
                let name = format!("{at:0255}").into_bytes();
                txn.set(&Key::Xattr(file, name), Some(b"v".to_vec()))?;
            }
            change::decorate(txn, file, true)
        });
        let mode = XattrMode::CreateOrReplace;
        bed.refused(vec![(FsError::Range, set_op(&root(), file, b"x", mode))]);
        let there = format!("{:0255}", 7).into_bytes();
        bed.ok(set_op(&root(), file, &there, mode));
        bed.ok(set_op(&root(), file, &there, XattrMode::Remove));
        bed.ok(set_op(&root(), file, b"x", mode));
    }
}
