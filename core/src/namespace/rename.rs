//! Renaming, with all cases of replacing what had the name.

use super::create::reply;
use super::entry;
use super::error::FsError;
use super::node;
use super::op::{Caller, DirStats, Disable, Name, NodeKind, Reply};
use super::path::{is_within, known, valid_name};
use super::permission::{self, IMMUTABLE, WRITE};
use super::quota;
use super::record::Inode;
use super::stats;
use super::txn::{Res, Txn};
use super::who::Who;
use crate::id::InodeId;

/// Moves the name `src_name` of `src_parent` to `dst_name` in `dst_parent`. What had that name
/// goes as if it had been removed; when it is the same node, nothing happens at all.
///
/// # Errors
/// Of the source as [`entry::removable`]; of the target directory as [`entry::writable_dir`];
/// `Invalid` name; `Perm` for an immutable node; `Access` for a directory that gets another parent
/// and is not writable; `Invalid` into itself; of what is replaced as [`replaceable`]; `Quota`;
/// `NoSpace` for a directory that would lie too deep.
pub fn rename(
    txn: &mut Txn<'_>,
    caller: &Caller,
    src_parent: InodeId,
    src_name: &Name,
    dst_parent: InodeId,
    dst_name: &Name,
) -> Res<Reply> {
    // A session's root has two numbers: its own, and 1.
    let who = Who::enter(txn, caller, &[], false)?;
    let disable = if who.translate(src_parent) == who.translate(dst_parent) {
        Disable::Rename
    } else {
        Disable::Move
    };
    who.disabled(disable)?;
    who.writable()?;
    let src = entry::removable(txn, &who, src_parent, src_name)?;
    let (dst, dst_node) = entry::writable_dir(txn, &who, dst_parent, IMMUTABLE)?;
    valid_name(dst_name)?;
    // Undeletable and append-only nodes move: they are still there afterwards.
    if src.node.eattr.value() & IMMUTABLE != 0 {
        return Err(FsError::Perm.into());
    }
    if src.node.kind() == NodeKind::Directory {
        if src.dir != dst {
            permission::require(txn, &who, src.ino, &src.node, WRITE)?;
        }
        if is_within(txn, dst, src.ino)? {
            return Err(FsError::Invalid.into());
        }
    }
    let moved = stats::of_node(txn, src.ino, &src.node)?;
    let mut replaced = DirStats::default();
    let target = node::find(txn, dst, dst_name)?;
    if let Some(target) = target {
        if target.inode == src.ino {
            return reply(txn, &who, src.ino, &src.node);
        }
        let target_node = known(txn, target.inode)?;
        replaceable(txn, &who, &dst_node, &src.node, target.inode, &target_node)?;
        replaced = stats::of_node(txn, target.inode, &target_node)?;
    }
    quota::check_move(txn, src.dir, dst, &stats::minus(&moved, &replaced))?;
    if src.node.kind() == NodeKind::Directory {
        stats::check_depth(txn, dst, stats::height(txn, src.ino)?)?;
    }

    #[cfg(feature = "planted-bugs")]
    let target = match target {
        Some(target) if txn.has_bug(crate::planted::Bug::ReplacedNodeLeaks) => {
            node::unlink(txn, dst, dst_name, target.inode)?;
            None
        }
        target => target,
    };
    if let Some(target) = target {
        node::drop_name(txn, dst, dst_name, target.inode, false)?;
    }
    node::remove_name(txn, src.dir, src_name, src.ino)?;
    stats::transfer(txn, src.dir, dst, &moved)?;
    node::add_name(txn, dst, dst_name, src.ino)?;
    let node = node::touch_ctime(txn, src.ino)?;
    reply(txn, &who, src.ino, &node)
}

/// Whether a node may be replaced by another.
///
/// # Errors
/// `Perm` for the sticky bit, `Perm` for a protected node, `NotEmpty`, `NotDir` for a directory
/// over something else, `Perm` for something else over a directory.
fn replaceable(
    txn: &Txn<'_>,
    who: &Who,
    dir: &Inode,
    source: &Inode,
    ino: InodeId,
    node: &Inode,
) -> Res<()> {
    if permission::sticky_forbids(who, dir, node) {
        return Err(FsError::Perm.into());
    }
    entry::not_protected(node)?;
    let is_dir = node.kind() == NodeKind::Directory;
    if is_dir && !node::is_empty(txn, ino)? {
        return Err(FsError::NotEmpty.into());
    }
    match (source.kind() == NodeKind::Directory, is_dir) {
        (true, false) => Err(FsError::NotDir.into()),
        (false, true) => Err(FsError::Perm.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::op::{Op, Query, QuotaLimits};
    use super::super::permission::{APPEND_ONLY, UNDELETABLE};
    use super::super::testing::{
        Bed, ROOT, chmod, create, hard_quota, link, rename, root, somebody,
    };
    use super::*;
    use crate::time::WallTime;

    #[test]
    fn refusals_come_in_this_order() {
        let mut bed = Bed::new();
        let src = bed.dir(&root(), ROOT, "src");
        let dst = bed.dir(&root(), ROOT, "dst");
        let file = bed.file(&root(), src, "file");
        let nobody = somebody(5);
        let nowhere = InodeId(999);
        bed.refused(vec![
            (
                FsError::NoEnt,
                rename(&nobody, (nowhere, ""), (nowhere, "")),
            ),
            (FsError::NotDir, rename(&nobody, (file, ""), (nowhere, ""))),
            (FsError::Access, rename(&nobody, (src, ""), (nowhere, ""))),
            (
                FsError::Invalid,
                rename(&root(), (src, ".."), (nowhere, "")),
            ),
            (
                FsError::NoEnt,
                rename(&root(), (src, "missing"), (nowhere, "")),
            ),
        ]);
        bed.ok(chmod(&root(), src, 0o1777));
        bed.refused(vec![(
            FsError::Perm,
            rename(&nobody, (src, "file"), (nowhere, "")),
        )]);
        bed.ok(chmod(&root(), src, 0o777));
        bed.refused(vec![
            (
                FsError::NoEnt,
                rename(&nobody, (src, "file"), (nowhere, "")),
            ),
            (FsError::NotDir, rename(&nobody, (src, "file"), (file, ""))),
            (FsError::Access, rename(&nobody, (src, "file"), (dst, ""))),
            (
                FsError::Invalid,
                rename(&root(), (src, "file"), (dst, "a/b")),
            ),
        ]);
        bed.set_eattr(file, IMMUTABLE);
        bed.refused(vec![
            (FsError::Invalid, rename(&root(), (src, "file"), (dst, ""))),
            (FsError::Perm, rename(&root(), (src, "file"), (dst, "new"))),
        ]);
        for eattr in [APPEND_ONLY, UNDELETABLE] {
            bed.set_eattr(file, eattr);
            bed.ok(rename(&root(), (src, "file"), (dst, "new")));
            bed.ok(rename(&root(), (dst, "new"), (src, "file")));
        }
        bed.set_eattr(file, 0);
        bed.set_eattr(dst, IMMUTABLE);
        bed.refused(vec![(
            FsError::Perm,
            rename(&nobody, (src, "file"), (dst, "")),
        )]);
        bed.set_eattr(dst, 0);
        for eattr in [IMMUTABLE, APPEND_ONLY] {
            bed.set_eattr(src, eattr);
            bed.refused(vec![(FsError::Perm, rename(&nobody, (src, ""), (dst, "")))]);
        }
    }

    #[test]
    fn a_directory_moves_only_where_it_may() {
        let mut bed = Bed::new();
        let (owner, other) = (somebody(1), somebody(2));
        let dir = bed.dir(&owner, ROOT, "dir");
        let inner = bed.dir(&owner, dir, "inner");
        let place = bed.dir(&root(), ROOT, "place");
        bed.ok(chmod(&root(), place, 0o777));
        bed.refused(vec![
            // Its ".." changes, so it has to be writable; under the same parent it need not be.
            (
                FsError::Access,
                rename(&other, (ROOT, "dir"), (place, "new")),
            ),
            (
                FsError::Invalid,
                rename(&owner, (ROOT, "dir"), (dir, "new")),
            ),
            (
                FsError::Invalid,
                rename(&owner, (ROOT, "dir"), (inner, "new")),
            ),
        ]);
        bed.ok(rename(&other, (ROOT, "dir"), (ROOT, "renamed")));
        bed.ok(rename(&owner, (ROOT, "renamed"), (place, "new")));
        assert_eq!(bed.find(inner, ".."), Some(dir));
        assert_eq!(bed.find(dir, ".."), Some(place));
        assert_eq!((bed.attr(ROOT).nlink, bed.attr(place).nlink), (3, 3));
        assert_eq!(bed.sums(place).dirs, 3);
    }

    #[test]
    fn what_is_replaced_has_to_fit() {
        let mut bed = Bed::new();
        for name in ["dir", "empty", "full"] {
            let dir = bed.dir(&root(), ROOT, name);
            if name == "full" {
                bed.file(&root(), dir, "entry");
            }
        }
        bed.file(&root(), ROOT, "file");
        let target = bed.file(&root(), ROOT, "target");
        let examples = [
            (FsError::NotEmpty, "dir", "full"),
            (FsError::NotEmpty, "file", "full"),
            (FsError::NotDir, "dir", "file"),
            (FsError::Perm, "file", "empty"),
        ];
        for (error, src, dst) in examples {
            bed.refused(vec![(error, rename(&root(), (ROOT, src), (ROOT, dst)))]);
        }
        for eattr in [IMMUTABLE, APPEND_ONLY, UNDELETABLE] {
            bed.set_eattr(target, eattr);
            let op = rename(&root(), (ROOT, "file"), (ROOT, "target"));
            bed.refused(vec![(FsError::Perm, op)]);
        }
        bed.set_eattr(target, 0);
        let sticky = bed.dir(&root(), ROOT, "sticky");
        bed.ok(chmod(&root(), sticky, 0o1777));
        bed.file(&root(), sticky, "theirs");
        bed.file(&somebody(5), ROOT, "mine");
        let op = rename(&somebody(5), (ROOT, "mine"), (sticky, "theirs"));
        bed.refused(vec![(FsError::Perm, op)]);
    }

    #[test]
    fn what_is_replaced_goes_as_if_removed() {
        let mut bed = Bed::new();
        let dir = bed.dir(&root(), ROOT, "dir");
        bed.dir(&root(), dir, "old");
        let new_dir = bed.dir(&root(), ROOT, "new");
        bed.ok(rename(&root(), (ROOT, "new"), (dir, "old")));
        assert_eq!(bed.find(dir, "old"), Some(new_dir));
        assert_eq!(bed.attr(dir).nlink, 3);
        let old = bed.file(&root(), dir, "file");
        let new = bed.file(&root(), ROOT, "file");
        bed.now = 2_000;
        bed.ok(rename(&root(), (ROOT, "file"), (dir, "file")));
        assert_eq!(bed.find(dir, "file"), Some(new));
        assert_eq!(bed.find(ROOT, "file"), None);
        let paths = bed.ask(Query::Paths {
            caller: root(),
            inode: old,
        });
        let shown = super::super::op::Answer::Paths(vec![b"./TRASH (dir/file)".to_vec()]);
        assert_eq!(paths, Ok(shown));
        let at = WallTime(2_000);
        assert_eq!((bed.attr(ROOT).mtime, bed.attr(dir).mtime), (at, at));
        assert_eq!((bed.attr(new).ctime, bed.attr(old).ctime), (at, at));
        assert_eq!(bed.attr(new).mtime, WallTime(1_000));
        // Other types replace each other freely.
        bed.node(create(&root(), ROOT, "fifo", NodeKind::Fifo));
        bed.ok(rename(&root(), (ROOT, "fifo"), (dir, "file")));
    }

    #[test]
    fn two_names_of_one_node_stay_as_they_are() {
        let mut bed = Bed::new();
        let file = bed.file(&root(), ROOT, "one");
        bed.ok(link(&root(), file, ROOT, "two"));
        bed.now = 2_000;
        let before = bed.contents();
        for dst in ["one", "two"] {
            assert_eq!(bed.node(rename(&root(), (ROOT, "one"), (ROOT, dst))), file);
            assert_eq!(bed.contents(), before);
        }
    }

    #[test]
    fn a_move_is_held_to_the_quotas_that_it_grows() {
        let mut bed = Bed::new();
        let top = bed.dir(&root(), ROOT, "top");
        let (a, b) = (bed.dir(&root(), top, "a"), bed.dir(&root(), top, "b"));
        let file = bed.file(&root(), a, "file");
        bed.add_chunk(file, 0, 1_000);
        let full = |bed: &Bed, dir| QuotaLimits {
            // The directory itself does not count.
            inodes: Some(u32::try_from(bed.sums(dir).inodes - 1).unwrap()),
            ..QuotaLimits::default()
        };
        // What is above both does not grow, however full it is.
        let limits = full(&bed, top);
        bed.ok(hard_quota(top, limits));
        bed.ok(rename(&root(), (a, "file"), (b, "file")));
        let limits = full(&bed, a);
        bed.ok(hard_quota(a, limits));
        let back: fn(InodeId, InodeId, &str) -> Op =
            |a, b, name| rename(&root(), (b, "file"), (a, name));
        bed.refused(vec![(FsError::Quota, back(a, b, "file"))]);
        // Taking the place of another file does not grow the number of nodes.
        bed.ok(Op::SetQuota {
            caller: root(),
            inode: a,
            limits: None,
        });
        bed.ok(Op::SetQuota {
            caller: root(),
            inode: top,
            limits: None,
        });
        bed.file(&root(), a, "other");
        let limits = full(&bed, a);
        bed.ok(hard_quota(a, limits));
        bed.refused(vec![(FsError::Quota, back(a, b, "file"))]);
        bed.ok(back(a, b, "other"));
    }
}
