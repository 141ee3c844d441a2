//! Files without a name: in the trash until their time is over, or sustained while they are open.

use std::ops::ControlFlow;

use super::attr::attr;
use super::error::FsError;
use super::key::Key;
use super::node::{self, New};
use super::op::{Answer, Caller, Name, NodeKind, Reply, Whereabouts};
use super::path::valid_name;
use super::record::{Inode, Trashed};
use super::txn::{Res, Txn};
use super::who::Who;
use crate::id::{InodeId, SessionId};
use crate::limits;

/// Longest name that a meta mount shows, bytes; longer ones are cut from the left.
const SHOWN_BYTES_MAX: usize = 240;
/// What stands for the part that was cut.
const CUT: &[u8] = b"(...)";
/// Buckets that a meta mount sorts the trash into, as a mask of the inode number.
const BUCKET_MASK: u32 = 0xFFF;
/// Seconds of an hour.
const HOUR: u64 = 3_600;

/// A caller that may work on the trash.
fn enter(txn: &Txn<'_>, caller: &Caller) -> Res<()> {
    let who = Who::resolve(txn, caller)?;
    who.meta()?;
    who.writable()
}

/// The path that a file in the trash had.
fn trashed(txn: &Txn<'_>, ino: InodeId) -> Res<Vec<u8>> {
    Ok(txn.value(&Key::Trashed(ino))?.ok_or(FsError::NoEnt)?)
}

/// Changes where a file in the trash will be undeleted to.
///
/// # Errors
/// `NoEnt`; `Invalid` for a path that is empty, longer than 1,024 bytes, or has a NUL.
pub fn set_path(txn: &mut Txn<'_>, caller: &Caller, ino: InodeId, path: &[u8]) -> Res<Reply> {
    enter(txn, caller)?;
    trashed(txn, ino)?;
    if path.is_empty() || path.len() > limits::TRASH_PATH_BYTES_MAX || path.contains(&0) {
        return Err(FsError::Invalid.into());
    }
    txn.set(&Key::Trashed(ino), Some(path.to_vec()))?;
    Ok(Reply::Done)
}

/// Takes a file out of the trash to the path it had; directories that are missing are made, mode
/// 0755 and root's.
///
/// # Errors
/// `NoEnt`; `CantCreatePath` when the path has parts that are no names or leads through what is no
/// directory; `Exist` when its name is taken; `NoSpace` without an id for a directory.
pub fn undelete(txn: &mut Txn<'_>, caller: &Caller, ino: InodeId) -> Res<Reply> {
    enter(txn, caller)?;
    let path = trashed(txn, ino)?;
    let parts: Vec<Name> = path
        .split(|byte| *byte == b'/')
        .map(<[u8]>::to_vec)
        .collect();
    if parts.iter().any(|part| valid_name(part).is_err()) {
        return Err(FsError::CantCreatePath.into());
    }
    let (name, dirs) = parts.split_last().ok_or(FsError::CantCreatePath)?;
    let mut dir = InodeId::ROOT;
    for part in dirs {
        dir = match node::find(txn, dir, part)? {
            Some(target) if target.kind == NodeKind::Directory => target.inode,
            Some(_) => return Err(FsError::CantCreatePath.into()),
            None => {
                let new = New {
                    kind: NodeKind::Directory,
                    mode: 0o755,
                    umask: 0,
                    rdev: 0,
                    target: Vec::new(),
                    copy_setgid: false,
                };
                node::make(txn, &Who::cluster(), dir, part, &new)?.0
            }
        };
    }
    if node::find(txn, dir, name)?.is_some() {
        return Err(FsError::Exist.into());
    }
    txn.set::<Vec<u8>>(&Key::Trashed(ino), None)?;
    node::set_whereabouts(txn, ino, Whereabouts::Linked)?;
    node::link(txn, dir, name, ino)?;
    node::touch_ctime(txn, ino)?;
    Ok(Reply::Done)
}

/// Takes a file out of the trash for good: sustained while it is open, else it ends.
///
/// # Errors
/// `NoEnt`.
pub fn purge(txn: &mut Txn<'_>, caller: &Caller, ino: InodeId) -> Res<Reply> {
    enter(txn, caller)?;
    let path = trashed(txn, ino)?;
    node::sustain_or_free(txn, ino, path)?;
    Ok(Reply::Done)
}

/// Ends files whose time in the trash is over and sustained ones that nobody has open. Looks at no
/// more than `limit` files in order of slot and inode, beginning after `after`.
///
/// # Errors
/// Only that the state cannot be read.
pub fn sweep(txn: &mut Txn<'_>, after: Option<InodeId>, limit: u32) -> Res<Reply> {
    // One more than asked for tells whether there is more.
    let limit = (limit as usize).min(limits::RECURSION_MAX);
    let mut files = detached(txn, after, limit + 1)?;
    let more = files.len() > limit;
    files.truncate(limit);
    let (mut freed, mut sustained) = (0, 0);
    for (ino, whereabouts) in &files {
        if *whereabouts == Whereabouts::Trash {
            if expired(txn, *ino)? {
                let path = trashed(txn, *ino)?;
                if node::sustain_or_free(txn, *ino, path)? {
                    sustained += 1;
                } else {
                    freed += 1;
                }
            }
        } else if !node::is_open(txn, *ino)? {
            node::free(txn, *ino)?;
            freed += 1;
        }
    }
    let last = files.last().map(|(ino, _)| *ino).or(after);
    Ok(Reply::Swept {
        freed,
        sustained,
        next: last.filter(|_| more),
    })
}

/// Whether a file's time in the trash is over.
fn expired(txn: &Txn<'_>, ino: InodeId) -> Res<bool> {
    let node = super::path::known(txn, ino)?;
    let last = node
        .atime
        .value()
        .max(node.mtime.value())
        .max(node.ctime.value());
    let end = u64::from(last.0) + u64::from(node.trash_hours.value()) * HOUR;
    Ok(end < u64::from(txn.now().0))
}

/// At most `limit` files in the trash or sustained, in order of slot and inode, after `after`.
fn detached(
    txn: &Txn<'_>,
    after: Option<InodeId>,
    limit: usize,
) -> Res<Vec<(InodeId, Whereabouts)>> {
    let mut out = Vec::new();
    let first = after.map_or(0, |ino| ino.slot().0);
    txn.slots_with(first, b'T', b'U', |slot| {
        let mut here = Vec::new();
        for (kind, whereabouts) in [(b'T', Whereabouts::Trash), (b'U', Whereabouts::Sustained)] {
            let prefix = [slot.0.to_be_bytes().as_slice(), &[kind]].concat();
            let from = after
                .filter(|ino| ino.slot() == slot)
                .map(|ino| [prefix.as_slice(), &ino.0.to_be_bytes()].concat());
            let mut left = limit - out.len();
            txn.scan::<Trashed>(&prefix, from.as_deref(), |key, _| {
                if let Key::Trashed(ino) | Key::Sustained(ino) = key {
                    here.push((ino, whereabouts));
                }
                left -= 1;
                Ok(match left {
                    0 => ControlFlow::Break(()),
                    _ => ControlFlow::Continue(()),
                })
            })?;
        }
        here.sort();
        here.truncate(limit - out.len());
        out.append(&mut here);
        Ok(if out.len() == limit {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    })?;
    Ok(out)
}

/// All files of one whereabouts, by inode.
fn all(txn: &Txn<'_>, wanted: Whereabouts) -> Res<Vec<InodeId>> {
    let mut out: Vec<InodeId> = detached(txn, None, usize::MAX)?
        .into_iter()
        .filter(|(_, whereabouts)| *whereabouts == wanted)
        .map(|(ino, _)| ino)
        .collect();
    out.sort();
    Ok(out)
}

/// What lies in the trash, or in one bucket of it, by inode.
///
/// # Errors
/// `BadSession`, `Perm` for a session that is not a meta session.
pub fn list_trash(txn: &Txn<'_>, session: SessionId, bucket: Option<u16>) -> Res<Answer> {
    Who::of_session(txn, session)?.meta()?;
    let mut out = Vec::new();
    for ino in all(txn, Whereabouts::Trash)? {
        if bucket.is_none_or(|bucket| ino.0 & BUCKET_MASK == u32::from(bucket)) {
            out.push((shown_name(&trashed(txn, ino)?), ino));
        }
    }
    Ok(Answer::Detached(out))
}

/// What is sustained, by inode.
///
/// # Errors
/// `BadSession`, `Perm` for a session that is not a meta session.
pub fn list_sustained(txn: &Txn<'_>, session: SessionId) -> Res<Answer> {
    Who::of_session(txn, session)?.meta()?;
    let mut out = Vec::new();
    for ino in all(txn, Whereabouts::Sustained)? {
        let path: Vec<u8> = txn.value(&Key::Sustained(ino))?.unwrap_or_default();
        out.push((shown_name(&path), ino));
    }
    Ok(Answer::Detached(out))
}

/// The path that a file in the trash had.
///
/// # Errors
/// `BadSession`, `Perm` for a session that is not a meta session, `NoEnt`.
pub fn path(txn: &Txn<'_>, session: SessionId, ino: InodeId) -> Res<Answer> {
    Who::of_session(txn, session)?.meta()?;
    Ok(Answer::Bytes(trashed(txn, ino)?))
}

/// Attributes of a file in the trash, or sustained.
///
/// # Errors
/// `BadSession`, `Perm` for a session that is not a meta session, `NoEnt`.
pub fn detached_attr(txn: &Txn<'_>, session: SessionId, ino: InodeId) -> Res<Answer> {
    let who = Who::of_session(txn, session)?;
    who.meta()?;
    let node: Inode = txn.inode(ino)?;
    if node.whereabouts.value() == Whereabouts::Linked {
        return Err(FsError::NoEnt.into());
    }
    Ok(Answer::Attr(attr(txn, &who, ino, &node)?))
}

/// A path as one name: bars for slashes, and not too long.
fn shown_name(path: &[u8]) -> Name {
    let barred: Name = path
        .iter()
        .map(|byte| if *byte == b'/' { b'|' } else { *byte })
        .collect();
    if barred.len() <= SHOWN_BYTES_MAX {
        return barred;
    }
    let kept = SHOWN_BYTES_MAX - CUT.len();
    [CUT, &barred[barred.len() - kept..]].concat()
}

#[cfg(test)]
mod tests {
    use super::super::op::{Op, Query, SessionParams};
    use super::super::testing::{Bed, ROOT, rename, root, symlink, unlink, user};
    use super::*;
    use crate::time::WallTime;

    /// A file that was unlinked, with so many hours in the trash.
    fn unlinked(bed: &mut Bed, name: &str, hours: u16) -> InodeId {
        let file = bed.file(&root(), ROOT, name);
        bed.change(file, |node, stamp| Inode {
            trash_hours: node.trash_hours.write(stamp, hours),
            ..Inode::default()
        });
        bed.ok(unlink(&root(), ROOT, name));
        file
    }

    fn there(bed: &Bed, inode: InodeId) -> bool {
        let query = Query::GetAttr {
            caller: root(),
            inode,
            opened: true,
        };
        bed.ask(query).is_ok()
    }

    fn hold(bed: &mut Bed, session: SessionId, inodes: &[InodeId]) {
        bed.ok(Op::SetOpenFiles {
            session,
            inodes: inodes.to_vec(),
        });
    }

    fn set_path(caller: &Caller, inode: InodeId, path: &[u8]) -> Op {
        Op::SetTrashPath {
            caller: caller.clone(),
            inode,
            path: path.to_vec(),
        }
    }

    fn undelete(caller: &Caller, inode: InodeId) -> Op {
        Op::Undelete {
            caller: caller.clone(),
            inode,
        }
    }

    fn purge(caller: &Caller, inode: InodeId) -> Op {
        Op::PurgeTrash {
            caller: caller.clone(),
            inode,
        }
    }

    fn sweep(bed: &mut Bed, after: Option<InodeId>, limit: u32) -> (u32, u32, Option<InodeId>) {
        match bed.ok(Op::Sweep { after, limit }) {
            Reply::Swept {
                freed,
                sustained,
                next,
            } => (freed, sustained, next),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_trash_is_for_meta_sessions() {
        let mut bed = Bed::new();
        let kept = unlinked(&mut bed, "kept", 1);
        let linked = bed.file(&root(), ROOT, "linked");
        let sustained = bed.file(&root(), ROOT, "sustained");
        let meta = |params: &mut SessionParams| params.root = InodeId(0);
        let (meta_session, plain) = (bed.session_with(meta), bed.session_with(|_| {}));
        hold(&mut bed, plain, &[sustained]);
        bed.change(sustained, |node, stamp| Inode {
            trash_hours: node.trash_hours.write(stamp, 0),
            ..Inode::default()
        });
        bed.ok(unlink(&root(), ROOT, "sustained"));
        let read_only = bed.session_with(|params| {
            meta(params);
            params.flags.read_only = true;
        });
        let long = vec![b'p'; limits::TRASH_PATH_BYTES_MAX + 1];
        let ops: [fn(&Caller, InodeId) -> Op; 3] =
            [undelete, purge, |caller, ino| set_path(caller, ino, b"")];
        for op in ops {
            bed.refused(vec![
                (FsError::BadSession, op(&user(SessionId(99), 0), kept)),
                (FsError::Perm, op(&user(plain, 0), kept)),
                (FsError::ReadOnly, op(&user(read_only, 0), kept)),
                (FsError::NoEnt, op(&user(meta_session, 0), linked)),
                (FsError::NoEnt, op(&user(meta_session, 0), sustained)),
                (FsError::NoEnt, op(&user(meta_session, 0), InodeId(999))),
            ]);
        }
        for path in [&b""[..], b"a\0b", &long] {
            let op = set_path(&user(meta_session, 0), kept, path);
            bed.refused(vec![(FsError::Invalid, op)]);
        }
        bed.ok(set_path(&user(meta_session, 0), kept, &long[1..]));
        for (session, expected) in [(plain, FsError::Perm), (SessionId(99), FsError::BadSession)] {
            for query in [
                Query::ListTrash {
                    session,
                    bucket: None,
                },
                Query::ListSustained { session },
                Query::TrashPath {
                    session,
                    inode: kept,
                },
                Query::DetachedAttr {
                    session,
                    inode: kept,
                },
            ] {
                assert_eq!(bed.ask(query), Err(expected));
            }
        }
        let session = meta_session;
        let path = |inode| bed.ask(Query::TrashPath { session, inode });
        assert_eq!(path(kept), Ok(Answer::Bytes(long[1..].to_vec())));
        assert_eq!(path(sustained), Err(FsError::NoEnt));
        let attr = |inode| bed.ask(Query::DetachedAttr { session, inode });
        assert!(attr(kept).is_ok() && attr(sustained).is_ok());
        assert_eq!(attr(linked), Err(FsError::NoEnt));
        assert_eq!(attr(InodeId(999)), Err(FsError::NoEnt));
        // And a meta session may do nothing else.
        let query = Query::GetAttr {
            caller: user(session, 0),
            inode: linked,
            opened: false,
        };
        assert_eq!(bed.ask(query), Err(FsError::Perm));
    }

    #[test]
    fn lists_show_names_that_a_directory_can_hold() {
        let mut bed = Bed::new();
        let first = unlinked(&mut bed, "first", 1);
        let second = unlinked(&mut bed, "second", 1);
        let session = bed.session_with(|params| params.root = InodeId(0));
        let long = format!("dir/{}", "n".repeat(240));
        bed.ok(set_path(&root(), second, long.as_bytes()));
        bed.ok(set_path(&root(), first, b"a/b/c"));
        let shown = format!("(...){}", "n".repeat(235));
        let list = |bucket| bed.ask(Query::ListTrash { session, bucket });
        let all = vec![(b"a|b|c".to_vec(), first), (shown.clone().into(), second)];
        assert_eq!(list(None), Ok(Answer::Detached(all.clone())));
        // All of one slot share a bucket.
        let bucket = u16::try_from(first.0 & 0xFFF).unwrap();
        assert_eq!(list(Some(bucket)), Ok(Answer::Detached(all)));
        assert_eq!(list(Some(bucket + 1)), Ok(Answer::Detached(Vec::new())));
        assert_eq!(
            bed.ask(Query::ListSustained { session }),
            Ok(Answer::Detached(Vec::new()))
        );
        let holder = bed.session_with(|_| {});
        hold(&mut bed, holder, &[second]);
        bed.ok(purge(&root(), second));
        assert_eq!(
            bed.ask(Query::ListSustained { session }),
            Ok(Answer::Detached(vec![(shown.into(), second)]))
        );
    }

    #[test]
    fn a_long_path_is_remembered_from_its_end() {
        let mut bed = Bed::new();
        let mut dir = ROOT;
        for _ in 0..6 {
            dir = bed.dir(&root(), dir, &"d".repeat(200));
        }
        let file = bed.file(&root(), dir, "file");
        bed.ok(unlink(&root(), dir, "file"));
        let path = bed.by_hand(|txn| trashed(txn, file));
        assert_eq!(path.len(), limits::TRASH_PATH_BYTES_MAX);
        assert!(path.ends_with(b"d/file"));
    }

    #[test]
    fn an_undeleted_file_is_where_it_was() {
        let mut bed = Bed::new();
        let dir = bed.dir(&root(), ROOT, "dir");
        let file = bed.file(&root(), dir, "file");
        bed.add_chunk(file, 0, 100);
        let before = bed.sums(ROOT);
        bed.ok(unlink(&root(), dir, "file"));
        bed.ok(super::super::testing::rmdir(&root(), ROOT, "dir"));
        bed.ok(undelete(&root(), file));
        assert_eq!(bed.sums(ROOT), before);
        let dir = bed.find(ROOT, "dir").unwrap();
        assert_eq!(bed.find(dir, "file"), Some(file));
        assert_eq!(bed.attr(file).nlink, 1);
        let attr = bed.attr(dir);
        assert_eq!((attr.mode, attr.uid, attr.gid), (0o755, 0, 0));
        // Once more, into a directory that is there this time; and not while its name is taken.
        bed.ok(unlink(&root(), dir, "file"));
        bed.file(&root(), dir, "file");
        bed.refused(vec![(FsError::Exist, undelete(&root(), file))]);
        bed.ok(rename(&root(), (dir, "file"), (dir, "moved")));
        bed.ok(undelete(&root(), file));
        assert_eq!(bed.find(dir, "file"), Some(file));
    }

    #[test]
    fn a_path_that_leads_nowhere_is_not_made() {
        let mut bed = Bed::new();
        let file = unlinked(&mut bed, "file", 1);
        bed.file(&root(), ROOT, "plain");
        bed.node(symlink(&root(), ROOT, "link", b"."));
        let long = "n".repeat(256);
        for path in [
            "/file",
            "dir/",
            "a//b",
            "./file",
            "../file",
            "a/../b",
            "plain/file",
            "link/file",
            &long,
        ] {
            bed.ok(set_path(&root(), file, path.as_bytes()));
            bed.refused(vec![(FsError::CantCreatePath, undelete(&root(), file))]);
        }
        bed.ok(set_path(&root(), file, b"plain"));
        bed.refused(vec![(FsError::Exist, undelete(&root(), file))]);
    }

    #[test]
    fn a_purged_file_ends_when_nobody_has_it_open() {
        let mut bed = Bed::new();
        let (open_one, closed) = (
            unlinked(&mut bed, "open", 1),
            unlinked(&mut bed, "closed", 1),
        );
        let session = bed.session_with(|_| {});
        hold(&mut bed, session, &[open_one]);
        let chunk = bed.add_chunk(closed, 0, 10);
        let outcome = bed.outcome(purge(&root(), closed));
        let unused = super::super::op::Notice::ChunkUnused { chunk, version: 1 };
        assert_eq!(outcome.notices, [unused]);
        bed.ok(purge(&root(), open_one));
        assert!(!there(&bed, closed) && there(&bed, open_one));
        assert_eq!(sweep(&mut bed, None, 10), (0, 0, None));
        // Closing alone ends nothing; the next sweep does.
        hold(&mut bed, session, &[]);
        assert!(there(&bed, open_one));
        assert_eq!(sweep(&mut bed, None, 10), (1, 0, None));
        assert!(!there(&bed, open_one));
    }

    #[test]
    fn a_sweep_ends_what_is_past_its_time() {
        let mut bed = Bed::new();
        let file = unlinked(&mut bed, "file", 2);
        let held = unlinked(&mut bed, "held", 2);
        let never = unlinked(&mut bed, "read later", 2);
        let session = bed.session_with(|_| {});
        hold(&mut bed, session, &[held]);
        bed.change(never, |node, stamp| Inode {
            atime: node.atime.write(stamp, WallTime(1_001)),
            ..Inode::default()
        });
        bed.now = 1_000 + 2 * 3_600;
        assert_eq!(sweep(&mut bed, None, 10), (0, 0, None));
        bed.now += 1;
        assert_eq!(sweep(&mut bed, None, 10), (1, 1, None));
        assert!(!there(&bed, file) && there(&bed, held) && there(&bed, never));
        bed.now += 1;
        assert_eq!(sweep(&mut bed, None, 10), (1, 0, None));
        assert!(!there(&bed, never));
        bed.ok(Op::CloseSession { session });
        assert_eq!(sweep(&mut bed, None, 10), (1, 0, None));
        assert!(!there(&bed, held));
    }

    #[test]
    fn a_sweep_goes_on_where_it_stopped() {
        let mut bed = Bed::new();
        let mut files = Vec::new();
        for number in 0..6 {
            let dir = bed.dir(&root(), ROOT, &number.to_string());
            for name in ["a", "b"] {
                files.push(bed.file(&root(), dir, name));
                bed.ok(unlink(&root(), dir, name));
            }
        }
        files.sort_by_key(|ino| (ino.slot(), *ino));
        let session = bed.session_with(|_| {});
        hold(&mut bed, session, &files);
        // Some sustained among those in the trash.
        for ino in [files[1], files[4]] {
            bed.ok(purge(&root(), ino));
        }
        assert_eq!(sweep(&mut bed, None, 0), (0, 0, None));
        assert_eq!(sweep(&mut bed, Some(files[2]), 0), (0, 0, Some(files[2])));
        assert_eq!(sweep(&mut bed, None, 5), (0, 0, Some(files[4])));
        hold(&mut bed, session, &[]);
        bed.now += 25 * 3_600;
        assert_eq!(sweep(&mut bed, Some(files[4]), 4), (4, 0, Some(files[8])));
        assert_eq!(sweep(&mut bed, Some(files[8]), 3), (3, 0, None));
        assert_eq!(sweep(&mut bed, None, u32::MAX), (5, 0, None));
    }
}
