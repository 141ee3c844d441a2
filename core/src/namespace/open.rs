//! Opening files.

use super::attr::attr;
use super::error::FsError;
use super::hooks;
use super::node::{change, unsnapshot};
use super::op::{Caller, Disable, NodeKind, Notice, OpenFlags, Reply};
use super::permission::{self, APPEND_ONLY, IMMUTABLE, READ, WRITE};
use super::record::Inode;
use super::session;
use super::stats;
use super::txn::{Res, Txn};
use super::who::Who;
use crate::id::InodeId;

/// Opens a file in the caller's session, and with `truncate` makes it empty in the same step.
///
/// After a create, or a lookup that told, permissions were judged already and are not again.
///
/// # Errors
/// `NoEnt`, `Perm` for what is no file; unless `after_create`: `Perm` for an immutable file that
/// shall be changed or an append-only one that shall be emptied, `Access`.
pub fn open(txn: &mut Txn<'_>, caller: &Caller, ino: InodeId, flags: OpenFlags) -> Res<Reply> {
    let disables: Vec<Disable> = [
        (flags.read, Disable::Read),
        (flags.write, Disable::Write),
        (flags.truncate, Disable::Truncate),
    ]
    .into_iter()
    .filter_map(|(asked, disable)| asked.then_some(disable))
    .collect();
    let changes = flags.write || flags.truncate;
    let who = Who::enter(txn, caller, &disables, changes)?;
    let (ino, mut node) = who.node(txn, ino, false)?;
    if node.kind() != NodeKind::File {
        return Err(FsError::Perm.into());
    }
    if !flags.after_create {
        let eattr = node.eattr.value();
        if changes && eattr & IMMUTABLE != 0 || flags.truncate && eattr & APPEND_ONLY != 0 {
            return Err(FsError::Perm.into());
        }
        let read = if flags.read { READ } else { 0 };
        let write = if changes { WRITE } else { 0 };
        permission::require(txn, &who, ino, &node, read | write)?;
    }
    if flags.truncate {
        node = empty(txn, ino, &node)?;
    }
    session::open_file(txn, ino, who.session)?;
    Ok(Reply::Attr(attr(txn, &who, ino, &node)?))
}

/// Makes a file empty: its chunks go, its sums shrink, mtime and ctime become now.
fn empty(txn: &mut Txn<'_>, ino: InodeId, node: &Inode) -> Res<Inode> {
    let before = stats::of_file(txn, ino, node)?;
    hooks::release_chunks(txn, ino, 0)?;
    stats::add_to_parents(txn, node, &stats::minus(&stats::FILE, &before))?;
    if node.length.value() != 0 {
        txn.notify(Notice::LengthChanged {
            inode: ino,
            length: 0,
        });
    }
    let now = txn.now();
    change(txn, ino, |node, stamp| Inode {
        length: node.length.write(stamp, 0),
        mtime: node.mtime.write(stamp, now),
        ctime: node.ctime.write(stamp, now),
        eattr: unsnapshot(node, stamp),
        ..Inode::default()
    })
}
