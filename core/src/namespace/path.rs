//! Ways between a node and the root of the tree.

use super::error::FsError;
use super::key::Key;
use super::op::{Answer, Caller, Name, Whereabouts};
use super::record::Inode;
use super::txn::{Fail, Res, Txn};
use super::who::Who;
use crate::id::InodeId;
use crate::limits;
use crate::store::StoreError;

/// A directory that a record names: its absence is damage, not the caller's mistake.
///
/// # Errors
/// [`StoreError::Contradiction`].
pub fn known(txn: &Txn<'_>, ino: InodeId) -> Res<Inode> {
    let key = Key::Inode(ino);
    Ok(txn.get(&key)?.ok_or_else(|| StoreError::Contradiction {
        key: key.bytes(),
        reason: "a record names this inode, but it is not there".to_owned(),
    })?)
}

/// A directory and those above it, up to the root of the tree.
///
/// # Errors
/// Only that the state cannot be read.
pub fn ancestors(txn: &Txn<'_>, dir: InodeId) -> Res<Vec<InodeId>> {
    let mut out = vec![dir];
    let mut at = dir;
    while let Some(parent) = known(txn, at)?.parent() {
        out.push(parent);
        at = parent;
    }
    Ok(out)
}

/// Whether `dir` is `top` or below it.
///
/// # Errors
/// Only that the state cannot be read.
pub fn is_within(txn: &Txn<'_>, dir: InodeId, top: InodeId) -> Res<bool> {
    let mut at = dir;
    loop {
        if at == top {
            return Ok(true);
        }
        match known(txn, at)?.parent() {
            Some(parent) => at = parent,
            None => return Ok(false),
        }
    }
}

/// The path of `name` in `dir` from `top` down, without a leading slash; `None` when `dir` is not
/// below `top`.
///
/// # Errors
/// Only that the state cannot be read.
pub fn below(txn: &Txn<'_>, top: InodeId, dir: InodeId, name: &Name) -> Res<Option<Vec<u8>>> {
    let mut parts = vec![name.clone()];
    let mut at = dir;
    while at != top {
        let node = known(txn, at)?;
        let Some((parent, name)) = node.parents.latest() else {
            return Ok(None);
        };
        parts.push(name.clone());
        at = *parent;
    }
    parts.reverse();
    Ok(Some(parts.join(&b'/')))
}

/// The path that the trash remembers: from the root of the tree, its beginning cut off where it
/// is longer than [`limits::TRASH_PATH_BYTES_MAX`].
///
/// # Errors
/// Only that the state cannot be read.
pub fn for_trash(txn: &Txn<'_>, dir: InodeId, name: &Name) -> Res<Vec<u8>> {
    let path = below(txn, InodeId::ROOT, dir, name)?.ok_or_else(|| {
        Fail::Store(StoreError::Contradiction {
            key: Key::Inode(dir).bytes(),
            reason: "the directory is not below the root".to_owned(),
        })
    })?;
    let cut = path.len().saturating_sub(limits::TRASH_PATH_BYTES_MAX);
    Ok(path[cut..].to_vec())
}

/// Refuses what can be no name in a directory.
///
/// # Errors
/// `Invalid` for an empty one, ".", "..", more than 255 bytes, a NUL or a slash.
pub fn valid_name(name: &[u8]) -> Result<(), FsError> {
    let valid = !name.is_empty()
        && name.len() <= limits::NAME_BYTES_MAX
        && name != b"."
        && name != b".."
        && !name.iter().any(|byte| matches!(byte, 0 | b'/'));
    if valid { Ok(()) } else { Err(FsError::Invalid) }
}

/// The paths of a node from `top` down, without a leading slash, in order; "/" for `top` itself.
///
/// # Errors
/// Only that the state cannot be read.
pub fn of_node(txn: &Txn<'_>, top: InodeId, ino: InodeId) -> Res<Vec<Vec<u8>>> {
    if ino == top {
        return Ok(vec![b"/".to_vec()]);
    }
    let mut paths = Vec::new();
    for (_, (parent, name)) in known(txn, ino)?.parents.iter() {
        paths.extend(below(txn, top, *parent, name)?);
    }
    paths.sort();
    Ok(paths)
}

/// The directories that hold a name of a node, one entry per name, in order; those that the
/// session cannot see are left out, and the session's root is its own.
///
/// # Errors
/// `NoEnt`.
pub fn parents(txn: &Txn<'_>, caller: &Caller, ino: InodeId) -> Res<Answer> {
    let who = Who::enter(txn, caller, &[], false)?;
    let (ino, node) = who.node(txn, ino, false)?;
    let mut out = Vec::new();
    if ino == who.params.root {
        out.push(InodeId::ROOT);
    } else {
        for (_, (parent, _)) in node.parents.iter() {
            if is_within(txn, *parent, who.params.root)? {
                out.push(who.shown(*parent));
            }
        }
    }
    out.sort();
    Ok(Answer::Inodes(out))
}

/// The paths of a node from the session's root. A file in the trash, or sustained, shows the path
/// that it had.
///
/// # Errors
/// `NoEnt`.
pub fn paths(txn: &Txn<'_>, caller: &Caller, ino: InodeId) -> Res<Answer> {
    let who = Who::enter(txn, caller, &[], false)?;
    let (ino, node) = who.node(txn, ino, false)?;
    let mut left = usize::MAX;
    some_below(txn, who.params.root, ino, &node, &mut left).map(Answer::Paths)
}

/// The paths of a node from `top` down, as many as `left` bytes allow, and one more; of a node
/// without a name the path that it had.
///
/// # Errors
/// Only that the state cannot be read.
pub fn some_below(
    txn: &Txn<'_>,
    top: InodeId,
    ino: InodeId,
    node: &Inode,
    left: &mut usize,
) -> Res<Vec<Vec<u8>>> {
    let detached = |kind: &[u8], key: Key| -> Res<Vec<Vec<u8>>> {
        let path: Vec<u8> = txn.value(&key)?.unwrap_or_default();
        Ok(vec![[b"./", kind, b" (", &path, b")"].concat()])
    };
    match node.whereabouts.value() {
        Whereabouts::Linked if ino == top => of_node(txn, top, ino),
        Whereabouts::Linked => {
            let mut paths = Vec::new();
            for (_, (parent, name)) in node.parents.iter() {
                if *left == 0 {
                    break;
                }
                if let Some(path) = below(txn, top, *parent, name)? {
                    *left = left.saturating_sub(path.len().max(1));
                    paths.push(path);
                }
            }
            paths.sort();
            Ok(paths)
        }
        Whereabouts::Trash => detached(b"TRASH", Key::Trashed(ino)),
        Whereabouts::Sustained => detached(b"SUSTAINED", Key::Sustained(ino)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::op::{NodeKind, Op, Query};
    use super::super::testing::{Bed, ROOT, create, link, root, unlink, user};
    use super::*;

    #[test]
    fn names_are_valid_within_these_bounds() {
        let (long, longest) = (vec![b'n'; 256], vec![b'n'; 255]);
        for name in [&b""[..], b".", b"..", b"a/b", b"a\0", &long] {
            assert_eq!(valid_name(name), Err(FsError::Invalid), "{name:?}");
        }
        for name in [&b"a"[..], b"...", b".a", b" ", b"\xff", &longest] {
            assert_eq!(valid_name(name), Ok(()), "{name:?}");
        }
    }

    #[test]
    fn a_node_tells_where_all_its_names_are() {
        let mut bed = Bed::new();
        let top = bed.dir(&root(), ROOT, "top");
        let inner = bed.dir(&root(), top, "inner");
        let file = bed.file(&root(), inner, "file");
        bed.ok(link(&root(), file, ROOT, "zero"));
        bed.ok(link(&root(), file, inner, "again"));
        let fifo = bed.node(create(&root(), ROOT, "fifo", NodeKind::Fifo));
        let session = bed.session_with(|params| params.root = top);
        let caller = user(session, 0);
        let mut around = vec![ROOT, inner, inner];
        around.sort();
        let examples = [
            (
                root(),
                file,
                around,
                vec!["top/inner/again", "top/inner/file", "zero"],
            ),
            (root(), ROOT, vec![ROOT], vec!["/"]),
            (root(), inner, vec![top], vec!["top/inner"]),
            (
                caller.clone(),
                file,
                vec![inner, inner],
                vec!["inner/again", "inner/file"],
            ),
            (caller.clone(), ROOT, vec![ROOT], vec!["/"]),
            (caller.clone(), inner, vec![ROOT], vec!["inner"]),
        ];
        for (caller, inode, parents, paths) in examples {
            let paths = paths.into_iter().map(Into::into).collect();
            let (asked, who) = (caller.clone(), caller);
            assert_eq!(
                bed.ask(Query::Parents {
                    caller: asked,
                    inode
                }),
                Ok(Answer::Inodes(parents))
            );
            assert_eq!(
                bed.ask(Query::Paths { caller: who, inode }),
                Ok(Answer::Paths(paths))
            );
        }
        for query in [
            Query::Parents {
                caller: caller.clone(),
                inode: fifo,
            },
            Query::Paths {
                caller,
                inode: fifo,
            },
        ] {
            assert_eq!(bed.ask(query), Err(FsError::NoEnt));
        }
    }

    #[test]
    fn a_detached_file_tells_the_path_that_it_had() {
        let mut bed = Bed::new();
        let dir = bed.dir(&root(), ROOT, "dir");
        let file = bed.file(&root(), dir, "file");
        bed.ok(unlink(&root(), dir, "file"));
        let paths = |bed: &Bed| {
            bed.ask(Query::Paths {
                caller: root(),
                inode: file,
            })
        };
        let shown = |text: &str| Ok(Answer::Paths(vec![text.into()]));
        assert_eq!(paths(&bed), shown("./TRASH (dir/file)"));
        let session = bed.session_with(|_| {});
        bed.ok(Op::SetOpenFiles {
            session,
            inodes: vec![file],
        });
        bed.ok(Op::PurgeTrash {
            caller: root(),
            inode: file,
        });
        assert_eq!(paths(&bed), shown("./SUSTAINED (dir/file)"));
        let parents = bed.ask(Query::Parents {
            caller: root(),
            inode: file,
        });
        assert_eq!(parents, Ok(Answer::Inodes(Vec::new())));
    }

    #[test]
    fn a_directory_that_is_missing_is_a_contradiction() {
        let bed = Bed::new();
        let moment = super::super::txn::Moment {
            index: crate::id::LogIndex(1),
            stamp: crate::time::Stamp::MIN,
            now: crate::time::WallTime(1),
        };
        let txn = Txn::new(bed.tree.store(), moment);
        assert!(matches!(
            ancestors(&txn, InodeId(999)),
            Err(Fail::Store(StoreError::Contradiction { .. }))
        ));
    }
}
