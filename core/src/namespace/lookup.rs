//! Reading the tree: a name, attributes, access, a symlink, a directory, space.

use std::ops::ControlFlow;

use super::attr::attr;
use super::error::FsError;
use super::key::Key;
use super::node;
use super::op::{Answer, Caller, Disable, Entry, Name, NodeKind};
use super::path::{self, known, valid_name};
use super::permission::{self, EXECUTE, IMMUTABLE, NO_ENTRY_CACHE, READ, WRITE};
use super::record::{Edge, Inode, QuotaRecord};
use super::stats;
use super::txn::{Fail, Res, Txn};
use super::who::Who;
use crate::id::InodeId;
use crate::limits;

/// What a name in a directory stands for, "." and ".." included.
///
/// # Errors
/// `NoEntNoCache` without the directory, `NotDir`, `Access`, `Invalid` for what can be no name;
/// `NoEnt`, or `NoEntNoCache` when the directory's entries shall not be cached.
pub fn lookup(txn: &Txn<'_>, caller: &Caller, parent: InodeId, name: &Name) -> Res<Answer> {
    let who = Who::enter(txn, caller, &[], false)?;
    let (dir, dir_node) = who.node(txn, parent, false).map_err(|fail| match fail {
        Fail::Fs(FsError::NoEnt) => FsError::NoEntNoCache.into(),
        other => other,
    })?;
    if dir_node.kind() != NodeKind::Directory {
        return Err(FsError::NotDir.into());
    }
    permission::require(txn, &who, dir, &dir_node, EXECUTE)?;
    let found = match name.as_slice() {
        b"." => Some(dir),
        b".." => Some(parent_of(&who, dir, &dir_node)),
        _ => {
            valid_name(name)?;
            node::find(txn, dir, name)?.map(|target| target.inode)
        }
    };
    let Some(ino) = found else {
        let uncached = dir_node.eattr.value() & NO_ENTRY_CACHE != 0;
        return Err(if uncached {
            FsError::NoEntNoCache.into()
        } else {
            FsError::NoEnt.into()
        });
    };
    let node = known(txn, ino)?;
    Ok(Answer::Looked {
        inode: who.shown(ino),
        attr: attr(txn, &who, ino, &node)?,
        access: permission::access_bits(txn, &who, ino, &node)?,
    })
}

/// The directory above, which for the session's root is itself.
fn parent_of(who: &Who, dir: InodeId, node: &Inode) -> InodeId {
    if dir == who.params.root {
        dir
    } else {
        node.parent().unwrap_or(dir)
    }
}

/// Attributes of a node. No permission is needed.
///
/// # Errors
/// `NoEnt`.
pub fn get_attr(txn: &Txn<'_>, caller: &Caller, ino: InodeId, opened: bool) -> Res<Answer> {
    let who = Who::enter(txn, caller, &[], false)?;
    let (ino, node) = who.node(txn, ino, opened)?;
    Ok(Answer::Attr(attr(txn, &who, ino, &node)?))
}

/// Whether the caller may read, write or execute.
///
/// # Errors
/// `ReadOnly` for writing in a session that may only read, `NoEnt`, `Perm` for writing what is
/// immutable, `Access`.
pub fn access(txn: &Txn<'_>, caller: &Caller, ino: InodeId, mask: u8) -> Res<Answer> {
    let mask = mask & (READ | WRITE | EXECUTE);
    let writes = mask & WRITE != 0;
    let who = Who::enter(txn, caller, &[], writes)?;
    let (ino, node) = who.node(txn, ino, false)?;
    if writes && node.eattr.value() & IMMUTABLE != 0 {
        return Err(FsError::Perm.into());
    }
    permission::require(txn, &who, ino, &node, mask)?;
    Ok(Answer::Done)
}

/// Target of a symlink.
///
/// # Errors
/// `NoEnt`, `Invalid` for anything else.
pub fn read_link(txn: &Txn<'_>, caller: &Caller, ino: InodeId) -> Res<Answer> {
    let who = Who::enter(txn, caller, &[], false)?;
    let (_, node) = who.node(txn, ino, false)?;
    match node.origin {
        Some(origin) if origin.kind == NodeKind::Symlink => Ok(Answer::Bytes(origin.target)),
        _ => Err(FsError::Invalid.into()),
    }
}

/// A page of a directory. "." and ".." come first, then names in order; a page goes on after the
/// last name of the one before, so entries that stay are seen once, whatever else changes.
///
/// # Errors
/// `NoEnt`, `NotDir`, `Access` without permission to read, or with attributes to search, `Invalid`
/// for a page of no entries.
pub fn read_dir(
    txn: &Txn<'_>,
    caller: &Caller,
    ino: InodeId,
    attrs: bool,
    after: &Name,
    max: u32,
) -> Res<Answer> {
    let who = Who::enter(txn, caller, &[Disable::Readdir], false)?;
    let (dir, dir_node) = who.node(txn, ino, false)?;
    if dir_node.kind() != NodeKind::Directory {
        return Err(FsError::NotDir.into());
    }
    let mask = if attrs { READ | EXECUTE } else { READ };
    permission::require(txn, &who, dir, &dir_node, mask)?;
    if max == 0 {
        return Err(FsError::Invalid.into());
    }
    let max = max.min(limits::READDIR_PAGE_MAX) as usize;
    let mut found: Vec<(Name, InodeId, NodeKind)> = Vec::new();
    if after.is_empty() {
        found.push((b".".to_vec(), dir, NodeKind::Directory));
    }
    if after.is_empty() || after == b"." {
        let parent = parent_of(&who, dir, &dir_node);
        found.push((b"..".to_vec(), parent, NodeKind::Directory));
    }
    let real = !matches!(after.as_slice(), b"" | b"." | b"..");
    let from = real.then(|| Key::Edge(dir, after.clone()).bytes());
    let prefix = Key::Edge(dir, Vec::new()).prefix();
    // One more than asked for tells whether the directory ends here.
    txn.scan::<Edge>(&prefix, from.as_deref(), |key, edge| {
        if let (Key::Edge(_, name), Some(target)) = (key, edge.latest()) {
            found.push((name, target.inode, target.kind));
        }
        Ok(if found.len() > max {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    })?;
    let done = found.len() <= max;
    found.truncate(max);
    let mut entries = Vec::with_capacity(found.len());
    for (name, ino, kind) in found {
        let attr = if attrs {
            Some(attr(txn, &who, ino, &known(txn, ino)?)?)
        } else {
            None
        };
        entries.push(Entry {
            name,
            inode: who.shown(ino),
            kind,
            attr,
        });
    }
    Ok(Answer::Entries { entries, done })
}

/// Space of the file system as the session sees it: bounded by the hard limits of all directories
/// from the session's root up.
///
/// # Errors
/// `NoEnt` when the session's root is gone.
pub fn stat_fs(txn: &Txn<'_>, caller: &Caller, total: u64, free: u64) -> Res<Answer> {
    let who = Who::enter(txn, caller, &[], false)?;
    let (root, _) = who.node(txn, InodeId::ROOT, false)?;
    let mut available = free;
    for dir in path::ancestors(txn, root)? {
        let Some(quota) = txn.value::<QuotaRecord>(&Key::Quota(dir))? else {
            continue;
        };
        let used = stats::of_dir(txn, dir)?;
        for (limit, used) in [
            (quota.hard.length, used.length),
            (quota.hard.size, used.size),
        ] {
            let left = |limit: u64| limit.saturating_sub(u64::try_from(used).unwrap_or(0));
            available = limit.map_or(available, |limit| available.min(left(limit)));
        }
    }
    let (trash, sustained) = if root == InodeId::ROOT {
        stats::detached(txn)?
    } else {
        (0, 0)
    };
    let inodes = stats::of_dir(txn, root)?.inodes;
    Ok(Answer::StatFs {
        total,
        available,
        trash,
        sustained,
        inodes: u32::try_from(inodes).unwrap_or(u32::MAX),
    })
}

/// Sums of a directory, or what a file adds to those above it.
///
/// # Errors
/// `NoEnt`, `Perm` for anything else.
pub fn dir_stats(txn: &Txn<'_>, caller: &Caller, ino: InodeId) -> Res<Answer> {
    let who = Who::enter(txn, caller, &[], false)?;
    let (ino, node) = who.node(txn, ino, false)?;
    match node.kind() {
        NodeKind::Directory | NodeKind::File => {
            stats::of_node(txn, ino, &node).map(Answer::DirStats)
        }
        _ => Err(FsError::Perm.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::op::{Query, QuotaLimits};
    use super::super::testing::{
        Bed, ROOT, chmod, create, hard_quota, link, root, somebody, symlink, unlink, user,
    };
    use super::*;

    fn look(caller: &Caller, parent: InodeId, name: &str) -> Query {
        Query::Lookup {
            caller: caller.clone(),
            parent,
            name: name.into(),
        }
    }

    #[test]
    fn names_are_looked_up_in_this_order() {
        let mut bed = Bed::new();
        let dir = bed.dir(&root(), ROOT, "dir");
        let file = bed.file(&root(), dir, "file");
        bed.ok(chmod(&root(), dir, 0o600));
        let nobody = somebody(5);
        let long = "n".repeat(256);
        let examples = [
            (look(&nobody, InodeId(999), ""), FsError::NoEntNoCache),
            (look(&nobody, file, ""), FsError::NotDir),
            (look(&nobody, dir, ""), FsError::Access),
            (look(&nobody, dir, "."), FsError::Access),
            (look(&root(), dir, ""), FsError::Invalid),
            (look(&root(), dir, &long), FsError::Invalid),
            (look(&root(), dir, "a/b"), FsError::Invalid),
            (look(&root(), dir, "missing"), FsError::NoEnt),
        ];
        for (query, error) in examples {
            assert_eq!(bed.ask(query.clone()), Err(error), "{query:?}");
        }
        bed.set_eattr(dir, NO_ENTRY_CACHE);
        assert_eq!(
            bed.ask(look(&root(), dir, "missing")),
            Err(FsError::NoEntNoCache)
        );
        for (parent, name, found) in [
            (dir, "file", file),
            (dir, ".", dir),
            (dir, "..", ROOT),
            (ROOT, "..", ROOT),
            (ROOT, ".", ROOT),
        ] {
            assert_eq!(bed.find(parent, name), Some(found));
        }
    }

    #[test]
    fn access_is_refused_in_this_order() {
        let mut bed = Bed::new();
        let read_only = bed.session_with(|params| params.flags.read_only = true);
        let file = bed.file(&root(), ROOT, "file");
        let access = |caller: &Caller, inode, mask| Query::Access {
            caller: caller.clone(),
            inode,
            mask,
        };
        let reader = user(read_only, 5);
        bed.set_eattr(file, IMMUTABLE);
        let examples = [
            (access(&reader, InodeId(999), 2), Err(FsError::ReadOnly)),
            (access(&reader, InodeId(999), 4), Err(FsError::NoEnt)),
            (access(&root(), file, 2), Err(FsError::Perm)),
            (access(&somebody(5), file, 1), Err(FsError::Access)),
            (access(&somebody(5), file, 4), Ok(Answer::Done)),
            (access(&somebody(5), file, 0), Ok(Answer::Done)),
            (access(&reader, file, 4), Ok(Answer::Done)),
            (access(&root(), file, 5), Ok(Answer::Done)),
        ];
        for (query, expected) in examples {
            assert_eq!(bed.ask(query.clone()), expected, "{query:?}");
        }
    }

    #[test]
    fn only_symlinks_have_a_target() {
        let mut bed = Bed::new();
        let made = bed.node(symlink(&root(), ROOT, "link", b"some/where"));
        let file = bed.file(&root(), ROOT, "file");
        let read = |inode| {
            bed.ask(Query::ReadLink {
                caller: root(),
                inode,
            })
        };
        assert_eq!(read(made), Ok(Answer::Bytes(b"some/where".to_vec())));
        assert_eq!(read(file), Err(FsError::Invalid));
        assert_eq!(read(ROOT), Err(FsError::Invalid));
        assert_eq!(read(InodeId(999)), Err(FsError::NoEnt));
    }

    fn page(caller: &Caller, inode: InodeId, attrs: bool, after: &str, max: u32) -> Query {
        Query::ReadDir {
            caller: caller.clone(),
            inode,
            attrs,
            after: after.into(),
            max,
        }
    }

    /// Names of a page, whether the directory ends there, and the last name.
    fn names(bed: &Bed, inode: InodeId, after: &str, max: u32) -> (Vec<String>, bool) {
        match bed.ask(page(&root(), inode, false, after, max)) {
            Ok(Answer::Entries { entries, done }) => (
                entries
                    .into_iter()
                    .map(|entry| String::from_utf8(entry.name).unwrap())
                    .collect(),
                done,
            ),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_directory_is_read_by_those_who_may() {
        let mut bed = Bed::new();
        let dir = bed.dir(&root(), ROOT, "dir");
        let file = bed.file(&root(), dir, "file");
        let disabled = bed.session_with(|params| params.disables = 1 << Disable::Readdir as u32);
        bed.ok(chmod(&root(), dir, 0o704));
        let nobody = somebody(5);
        for (query, expected) in [
            (
                page(&user(disabled, 0), dir, false, "", 5),
                Some(FsError::Perm),
            ),
            (
                page(&nobody, InodeId(999), false, "", 0),
                Some(FsError::NoEnt),
            ),
            (page(&nobody, file, false, "", 0), Some(FsError::NotDir)),
            (page(&nobody, dir, true, "", 0), Some(FsError::Access)),
            (page(&nobody, dir, false, "", 0), Some(FsError::Invalid)),
            (page(&nobody, dir, false, "", 1), None),
            (page(&root(), dir, true, "", 1), None),
        ] {
            assert_eq!(bed.ask(query.clone()).err(), expected, "{query:?}");
        }
    }

    #[test]
    fn pages_of_any_size_hold_every_entry_once() {
        let mut bed = Bed::new();
        let dir = bed.dir(&root(), ROOT, "dir");
        let mut expected = vec![".".to_owned(), "..".to_owned()];
        let mut made: Vec<String> = (0..150).map(|number| format!("n{number}")).collect();
        // Names on both sides of "." and ".." in order of bytes.
        made.extend(["!", "...", "-", "~"].map(str::to_owned));
        for name in &made {
            bed.file(&root(), dir, name);
        }
        made.sort();
        expected.append(&mut made);
        for max in [1, 2, 3, 7, 64, 154, 155, 156, 157, u32::MAX] {
            let (mut seen, mut after) = (Vec::new(), String::new());
            loop {
                let (mut entries, done) = names(&bed, dir, &after, max);
                assert!(entries.len() <= max as usize);
                after = entries.last().expect("a page has entries").clone();
                seen.append(&mut entries);
                if done {
                    break;
                }
            }
            assert_eq!(seen, expected, "pages of {max}");
        }
    }

    #[test]
    fn entries_that_stay_are_seen_once_whatever_else_changes() {
        let mut bed = Bed::new();
        for name in ["b", "d", "f", "h"] {
            bed.file(&root(), ROOT, name);
        }
        assert_eq!(names(&bed, ROOT, "", 4).0, [".", "..", "b", "d"]);
        bed.ok(unlink(&root(), ROOT, "d"));
        bed.ok(unlink(&root(), ROOT, "f"));
        bed.file(&root(), ROOT, "a");
        bed.file(&root(), ROOT, "g");
        assert_eq!(
            names(&bed, ROOT, "d", 4),
            (vec!["g".into(), "h".into()], true)
        );
        assert_eq!(names(&bed, ROOT, "z", 4), (Vec::new(), true));
    }

    #[test]
    fn entries_show_types_and_on_demand_attributes() {
        let mut bed = Bed::new();
        let top = bed.dir(&root(), ROOT, "top");
        let dir = bed.dir(&root(), top, "dir");
        let fifo = bed.node(create(&root(), top, "fifo", NodeKind::Fifo));
        let session = bed.session_with(|params| params.root = top);
        let caller = user(session, 0);
        for (inode, expected) in [
            (
                ROOT,
                vec![(".", ROOT), ("..", ROOT), ("dir", dir), ("fifo", fifo)],
            ),
            (dir, vec![(".", dir), ("..", ROOT)]),
        ] {
            let Ok(Answer::Entries { entries, done }) = bed.ask(page(&caller, inode, true, "", 9))
            else {
                panic!("a page was expected");
            };
            assert!(done);
            assert_eq!(entries.len(), expected.len());
            for (entry, (name, shown)) in entries.iter().zip(expected) {
                assert_eq!(
                    (entry.name.as_slice(), entry.inode),
                    (name.as_bytes(), shown)
                );
                let attr = bed.attr_for(&caller, shown);
                assert_eq!(entry.kind, attr.kind);
                assert_eq!(entry.attr, Some(attr));
            }
        }
    }

    #[test]
    fn space_is_bounded_by_the_limits_above() {
        let mut bed = Bed::new();
        let top = bed.dir(&root(), ROOT, "top");
        let dir = bed.dir(&root(), top, "dir");
        let file = bed.file(&root(), dir, "file");
        bed.add_chunk(file, 0, 1_000);
        let trashed = bed.file(&root(), ROOT, "trashed");
        bed.add_chunk(trashed, 0, 50);
        bed.ok(unlink(&root(), ROOT, "trashed"));
        let session = bed.session_with(|params| params.root = dir);
        let space = |bed: &Bed, caller: &Caller| {
            let query = Query::StatFs {
                caller: caller.clone(),
                total: 1 << 40,
                free: 1 << 30,
            };
            match bed.ask(query) {
                Ok(Answer::StatFs {
                    total,
                    available,
                    trash,
                    sustained,
                    inodes,
                }) => {
                    assert_eq!(total, 1 << 40);
                    (available, trash, sustained, inodes)
                }
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(space(&bed, &root()), (1 << 30, 50, 0, 4));
        assert_eq!(space(&bed, &user(session, 0)), (1 << 30, 0, 0, 2));
        let hard = |length, size| QuotaLimits {
            length,
            size,
            ..QuotaLimits::default()
        };
        bed.ok(hard_quota(top, hard(Some(5_000), None)));
        assert_eq!(space(&bed, &user(session, 0)).0, 4_000);
        assert_eq!(space(&bed, &root()).0, 1 << 30);
        bed.ok(hard_quota(dir, hard(None, Some(74_000))));
        assert_eq!(space(&bed, &user(session, 0)).0, 74_000 - 73_728);
        bed.ok(hard_quota(dir, hard(None, Some(1))));
        assert_eq!(space(&bed, &user(session, 0)).0, 0);
        // A sustained file counts by its length too.
        let holder = bed.session_with(|_| {});
        bed.ok(super::super::op::Op::SetOpenFiles {
            session: holder,
            inodes: vec![trashed],
        });
        bed.ok(super::super::op::Op::PurgeTrash {
            caller: root(),
            inode: trashed,
        });
        assert_eq!(space(&bed, &root()), (1 << 30, 0, 50, 4));
    }

    #[test]
    fn sums_are_told_of_directories() {
        let mut bed = Bed::new();
        let dir = bed.dir(&root(), ROOT, "dir");
        let file = bed.file(&root(), dir, "file");
        bed.ok(link(&root(), file, dir, "again"));
        bed.add_chunk(file, 0, 10);
        let one = bed.by_hand(|txn| stats::of_file(txn, file, &txn.inode(file)?));
        let twice = stats::plus(&one, &one);
        assert_eq!(bed.sums(dir), stats::plus(&stats::DIRECTORY, &twice));
        assert_eq!((one.files, one.chunks, one.length), (1, 1, 10));
        let fifo = bed.node(create(&root(), dir, "fifo", NodeKind::Fifo));
        for (inode, answer) in [
            (fifo, Err(FsError::Perm)),
            (file, Ok(Answer::DirStats(one))),
            (InodeId(999), Err(FsError::NoEnt)),
        ] {
            let query = Query::DirStats {
                caller: root(),
                inode,
            };
            assert_eq!(bed.ask(query), answer);
        }
    }
}
