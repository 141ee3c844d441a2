//! Small changes of a node that several operations share.

use super::key::Key;
use super::node;
use super::op::AclKind;
use super::record::Inode;
use super::txn::{Res, Txn};
use super::who::Who;
use crate::id::InodeId;

/// Whether the caller may do what only a node's owner may.
#[must_use]
pub fn is_owner(who: &Who, node: &Inode) -> bool {
    who.is_root() || who.owns(node)
}

/// An extended attribute or ACL came or went: notes whether any is left, and the time if the node
/// counts as changed by that.
///
/// # Errors
/// `NoEnt` when there is no such node.
pub fn decorate(txn: &mut Txn<'_>, ino: InodeId, is_changed: bool) -> Res<()> {
    let decorated = txn.any(&Key::Xattr(ino, Vec::new()).prefix())?
        || txn.any(&Key::Acl(ino, AclKind::Access).prefix())?;
    let now = txn.now();
    node::change(txn, ino, |node, stamp| {
        let noted = Inode {
            decorated: node.decorated.write(stamp, decorated),
            ..Inode::default()
        };
        if is_changed {
            Inode {
                ctime: node.ctime.write(stamp, now),
                eattr: node::unsnapshot(node, stamp),
                ..noted
            }
        } else {
            noted
        }
    })?;
    Ok(())
}
