//! Removing names: unlink and rmdir.

use super::entry;
use super::error::FsError;
use super::node;
use super::op::{Caller, Disable, Name, NodeKind, Reply};
use super::txn::{Res, Txn};
use super::who::Who;
use crate::id::InodeId;

/// Takes a name from anything but a directory.
///
/// # Errors
/// As [`entry::removable`], then `Perm` for a protected node, `Perm` for a directory.
pub fn unlink(txn: &mut Txn<'_>, caller: &Caller, parent: InodeId, name: &Name) -> Res<Reply> {
    let who = Who::enter(txn, caller, &[Disable::Unlink], true)?;
    let found = entry::removable(txn, &who, parent, name)?;
    entry::not_protected(&found.node)?;
    if found.node.kind() == NodeKind::Directory {
        return Err(FsError::Perm.into());
    }
    node::drop_name(txn, found.dir, name, found.ino, false)?;
    Ok(Reply::Removed {
        inode: who.shown(found.ino),
    })
}

/// Removes an empty directory.
///
/// # Errors
/// As [`entry::removable`], then `Perm` for a protected node, `NotDir`, `NotEmpty`.
pub fn rmdir(txn: &mut Txn<'_>, caller: &Caller, parent: InodeId, name: &Name) -> Res<Reply> {
    let who = Who::enter(txn, caller, &[Disable::Rmdir], true)?;
    let found = entry::removable(txn, &who, parent, name)?;
    entry::not_protected(&found.node)?;
    if found.node.kind() != NodeKind::Directory {
        return Err(FsError::NotDir.into());
    }
    if !node::is_empty(txn, found.ino)? {
        return Err(FsError::NotEmpty.into());
    }
    node::drop_name(txn, found.dir, name, found.ino, false)?;
    Ok(Reply::Removed {
        inode: who.shown(found.ino),
    })
}

#[cfg(test)]
mod tests {
    use super::super::entry::UNREMOVABLE;
    use super::super::op::{Op, Query};
    use super::super::permission::{APPEND_ONLY, IMMUTABLE, UNDELETABLE};
    use super::super::testing::{
        Bed, ROOT, chmod, create, link, rmdir, root, somebody, symlink, unlink,
    };
    use super::*;
    use crate::time::WallTime;

    /// Every way in which taking a name away is refused on account of its directory.
    fn refusals(op: fn(&Caller, InodeId, &str) -> Op) {
        let mut bed = Bed::new();
        let dir = bed.dir(&root(), ROOT, "dir");
        let file = bed.file(&root(), ROOT, "file");
        let nobody = somebody(5);
        bed.refused(vec![
            (FsError::NoEnt, op(&nobody, InodeId(999), "")),
            (FsError::NotDir, op(&nobody, file, "")),
            (FsError::Access, op(&nobody, dir, "")),
            (FsError::Invalid, op(&root(), dir, "")),
            (FsError::Invalid, op(&root(), dir, "..")),
            (FsError::Invalid, op(&root(), dir, &"n".repeat(256))),
            (FsError::NoEnt, op(&root(), dir, "missing")),
        ]);
        for eattr in [IMMUTABLE, APPEND_ONLY] {
            bed.set_eattr(dir, eattr);
            bed.refused(vec![(FsError::Perm, op(&nobody, dir, ""))]);
        }
    }

    #[test]
    fn a_name_is_taken_where_it_may_be() {
        refusals(unlink);
        refusals(rmdir);
    }

    #[test]
    fn a_protected_node_keeps_its_name_whatever_it_is() {
        let mut bed = Bed::new();
        let file = bed.file(&root(), ROOT, "file");
        let dir = bed.dir(&root(), ROOT, "dir");
        bed.file(&root(), dir, "entry");
        for eattr in [UNDELETABLE, APPEND_ONLY, IMMUTABLE] {
            assert_ne!(eattr & UNREMOVABLE, 0);
            bed.set_eattr(file, eattr);
            bed.set_eattr(dir, eattr);
            bed.refused(vec![
                (FsError::Perm, unlink(&root(), ROOT, "file")),
                (FsError::Perm, rmdir(&root(), ROOT, "file")),
                (FsError::Perm, rmdir(&root(), ROOT, "dir")),
            ]);
        }
    }

    #[test]
    fn types_and_entries_are_looked_at_last() {
        let mut bed = Bed::new();
        bed.file(&root(), ROOT, "file");
        let dir = bed.dir(&root(), ROOT, "dir");
        bed.file(&root(), dir, "entry");
        bed.refused(vec![
            (FsError::Perm, unlink(&root(), ROOT, "dir")),
            (FsError::NotDir, rmdir(&root(), ROOT, "file")),
            (FsError::NotEmpty, rmdir(&root(), ROOT, "dir")),
        ]);
        bed.ok(chmod(&root(), ROOT, 0o1777));
        bed.refused(vec![
            (FsError::Perm, unlink(&somebody(5), ROOT, "file")),
            (FsError::Perm, rmdir(&somebody(5), ROOT, "file")),
        ]);
    }

    #[test]
    fn a_removed_directory_leaves_nothing() {
        let mut bed = Bed::new();
        let before = bed.sums(ROOT);
        let dir = bed.dir(&root(), ROOT, "dir");
        assert_eq!(bed.attr(ROOT).nlink, 3);
        bed.ok(super::super::testing::hard_quota(dir, Default::default()));
        bed.now = 3_000;
        assert_eq!(
            bed.ok(rmdir(&root(), ROOT, "dir")),
            Reply::Removed { inode: dir }
        );
        assert_eq!(bed.sums(ROOT), before);
        let attr = bed.attr(ROOT);
        assert_eq!((attr.nlink, attr.mtime), (2, WallTime(3_000)));
        assert_eq!(
            bed.ask(Query::GetAttr {
                caller: root(),
                inode: dir,
                opened: true
            }),
            Err(FsError::NoEnt)
        );
        let left = bed.contents();
        assert!(
            left.keys().all(|key| {
                let kind = super::super::key::Key::parse(key);
                !matches!(
                    kind,
                    Some(super::super::key::Key::Quota(_) | super::super::key::Key::Edge(..))
                )
            }),
            "nothing is kept for it"
        );
    }

    #[test]
    fn a_node_lives_until_its_last_name() {
        let mut bed = Bed::new();
        let file = bed.file(&root(), ROOT, "one");
        bed.ok(link(&root(), file, ROOT, "two"));
        bed.now = 2_000;
        bed.ok(unlink(&root(), ROOT, "one"));
        let attr = bed.attr(file);
        assert_eq!((attr.nlink, attr.ctime), (1, WallTime(2_000)));
        assert_eq!(bed.find(ROOT, "one"), None);
        assert_eq!(bed.find(ROOT, "two"), Some(file));
    }

    #[test]
    fn what_has_no_data_ends_at_once() {
        let mut bed = Bed::new();
        let before = bed.sums(ROOT);
        let fifo = bed.node(create(&root(), ROOT, "fifo", NodeKind::Fifo));
        let link = bed.node(symlink(&root(), ROOT, "link", b"target"));
        bed.ok(unlink(&root(), ROOT, "fifo"));
        bed.ok(unlink(&root(), ROOT, "link"));
        for inode in [fifo, link] {
            let query = Query::GetAttr {
                caller: root(),
                inode,
                opened: true,
            };
            assert_eq!(bed.ask(query), Err(FsError::NoEnt));
        }
        assert_eq!(bed.sums(ROOT), before);
    }
}
