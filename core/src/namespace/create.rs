//! Making names: files and special files, directories, symlinks, hard links.

use super::attr::attr;
use super::entry;
use super::error::FsError;
use super::node::{self, New};
use super::op::{Caller, DirStats, Disable, Name, NodeKind, Reply, Whereabouts};
use super::permission::IMMUTABLE;
use super::quota;
use super::record::Inode;
use super::session;
use super::stats;
use super::txn::{Res, Txn};
use super::who::Who;
use crate::id::InodeId;
use crate::limits;

/// Makes a file or special file; with `open`, the session has the file open afterwards.
///
/// # Errors
/// `Invalid` for another type, then as [`make`].
pub fn create(
    txn: &mut Txn<'_>,
    caller: &Caller,
    parent: InodeId,
    name: &Name,
    new: &New,
    open: bool,
) -> Res<Reply> {
    let disable = match new.kind {
        NodeKind::Fifo => Some(Disable::Mkfifo),
        NodeKind::BlockDevice | NodeKind::CharDevice => Some(Disable::Mkdev),
        NodeKind::Socket => Some(Disable::Mksock),
        NodeKind::File => Some(Disable::Create),
        NodeKind::Directory | NodeKind::Symlink => None,
    };
    let who = Who::enter(txn, caller, disable.as_slice(), true)?;
    if disable.is_none() {
        return Err(FsError::Invalid.into());
    }
    let (ino, node) = make(txn, &who, parent, name, new)?;
    if open && new.kind == NodeKind::File {
        session::open_file(txn, ino, who.session)?;
    }
    reply(txn, &who, ino, &node)
}

/// Makes a directory.
///
/// # Errors
/// As [`make`].
pub fn mkdir(
    txn: &mut Txn<'_>,
    caller: &Caller,
    parent: InodeId,
    name: &Name,
    new: &New,
) -> Res<Reply> {
    let who = Who::enter(txn, caller, &[Disable::Mkdir], true)?;
    let (ino, node) = make(txn, &who, parent, name, new)?;
    reply(txn, &who, ino, &node)
}

/// Makes a symlink.
///
/// # Errors
/// `Invalid` for a target that is empty, too long, or has a NUL; then as [`make`].
pub fn symlink(
    txn: &mut Txn<'_>,
    caller: &Caller,
    parent: InodeId,
    name: &Name,
    target: &[u8],
) -> Res<Reply> {
    let who = Who::enter(txn, caller, &[Disable::Symlink], true)?;
    if target.is_empty() || target.len() > limits::SYMLINK_BYTES_MAX || target.contains(&0) {
        return Err(FsError::Invalid.into());
    }
    let new = New {
        kind: NodeKind::Symlink,
        mode: 0o777,
        umask: 0,
        rdev: 0,
        target: target.to_vec(),
        copy_setgid: false,
    };
    let (ino, node) = make(txn, &who, parent, name, &new)?;
    reply(txn, &who, ino, &node)
}

/// Gives a node that is no directory another name.
///
/// # Errors
/// `NoEnt`, `Perm` for a directory or an immutable node, `NoEnt` without a name, `NoSpace` with too
/// many; then of the directory as [`entry::free_name`]; `Quota`.
pub fn link(
    txn: &mut Txn<'_>,
    caller: &Caller,
    ino: InodeId,
    parent: InodeId,
    name: &Name,
) -> Res<Reply> {
    let who = Who::enter(txn, caller, &[Disable::Link], true)?;
    let (ino, node) = who.node(txn, ino, false)?;
    if node.kind() == NodeKind::Directory || node.eattr.value() & IMMUTABLE != 0 {
        return Err(FsError::Perm.into());
    }
    if node.whereabouts.value() != Whereabouts::Linked {
        return Err(FsError::NoEnt.into());
    }
    if node.links.value() >= u64::from(txn.ceilings().names) {
        return Err(FsError::NoSpace.into());
    }
    let dir = entry::free_name(txn, &who, parent, name)?;
    quota::check(txn, dir, &stats::of_node(txn, ino, &node)?)?;
    node::link(txn, dir, name, ino)?;
    let node = node::touch_ctime(txn, ino)?;
    reply(txn, &who, ino, &node)
}

/// The part that all new nodes share.
///
/// # Errors
/// Of the directory as [`entry::free_name`]; `Quota`; `NoSpace` when no id is left.
fn make(
    txn: &mut Txn<'_>,
    who: &Who,
    parent: InodeId,
    name: &Name,
    new: &New,
) -> Res<(InodeId, Inode)> {
    let dir = entry::free_name(txn, who, parent, name)?;
    let counted: DirStats = match new.kind {
        NodeKind::Directory => stats::DIRECTORY,
        NodeKind::File => stats::FILE,
        _ => DirStats {
            length: new.target.len() as i128,
            ..stats::NODE
        },
    };
    quota::check(txn, dir, &counted)?;
    node::make(txn, who, dir, name, new)
}

/// A node and its attributes, as the session names it.
///
/// # Errors
/// Only that the state cannot be read.
pub fn reply(txn: &Txn<'_>, who: &Who, ino: InodeId, node: &Inode) -> Res<Reply> {
    Ok(Reply::Node {
        inode: who.shown(ino),
        attr: attr(txn, who, ino, node)?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::op::{Acl, AclKind, Attr, Op, Query, QuotaLimits, SetAttr};
    use super::super::permission::{
        APPEND_ONLY, NO_ENTRY_CACHE, NO_MASK, NO_OWNER, SNAPSHOT, UNDELETABLE, access_acl,
    };
    use super::super::testing::{
        Bed, ROOT, chmod, create, hard_quota, link, mkdir, rmdir, root, set_attr, somebody,
        symlink, unlink, user,
    };
    use super::*;
    use crate::crdt::LinkCounter;
    use crate::time::WallTime;

    const NO_NAMES: [&str; 6] = ["", ".", "..", "a/b", "a\0b", "/"];

    /// Every way in which making a name is refused, in the order in which they are looked at.
    fn refusals(op: impl Fn(&Caller, InodeId, &str) -> Op) {
        let mut bed = Bed::new();
        let dir = bed.dir(&root(), ROOT, "dir");
        let file = bed.file(&root(), ROOT, "file");
        bed.file(&root(), dir, "taken");
        let below = u32::try_from(bed.sums(dir).inodes - 1).unwrap();
        bed.ok(hard_quota(
            dir,
            QuotaLimits {
                inodes: Some(below),
                ..QuotaLimits::default()
            },
        ));
        let long = "n".repeat(256);
        let mut names = NO_NAMES.to_vec();
        names.push(&long);
        let nobody = somebody(5);
        let mut steps = vec![
            (FsError::NoEnt, op(&nobody, InodeId(999), "")),
            (FsError::NotDir, op(&nobody, file, "")),
            (FsError::Access, op(&nobody, dir, "")),
        ];
        for name in names {
            steps.push((FsError::Invalid, op(&root(), dir, name)));
        }
        steps.push((FsError::Exist, op(&root(), dir, "taken")));
        steps.push((FsError::Quota, op(&root(), dir, "new")));
        bed.refused(steps);
        bed.set_eattr(dir, IMMUTABLE);
        bed.refused(vec![(FsError::Perm, op(&nobody, dir, ""))]);
        bed.set_eattr(dir, APPEND_ONLY);
        bed.refused(vec![(FsError::Quota, op(&root(), dir, "new"))]);
        bed.ok(Op::SetQuota {
            caller: root(),
            inode: dir,
            limits: None,
        });
        bed.ok(op(&root(), dir, &"n".repeat(255)));
    }

    #[test]
    fn a_name_is_made_where_it_may_be() {
        refusals(|caller, parent, name| create(caller, parent, name, NodeKind::File));
        refusals(|caller, parent, name| create(caller, parent, name, NodeKind::Fifo));
        refusals(mkdir);
        refusals(|caller, parent, name| symlink(caller, parent, name, b"target"));
    }

    #[test]
    fn a_link_is_made_where_a_name_may_be() {
        let mut bed = Bed::new();
        let file = bed.file(&root(), ROOT, "file");
        let dir = bed.dir(&root(), ROOT, "dir");
        bed.file(&root(), dir, "taken");
        let nobody = somebody(5);
        bed.refused(vec![
            (FsError::NoEnt, link(&nobody, file, InodeId(999), "")),
            (FsError::NotDir, link(&nobody, file, file, "")),
            (FsError::Access, link(&nobody, file, dir, "")),
            (FsError::Invalid, link(&root(), file, dir, "a/b")),
            (FsError::Exist, link(&root(), file, dir, "taken")),
        ]);
        let used = u64::try_from(bed.sums(dir).length).unwrap();
        bed.add_chunk(file, 0, 100);
        let limits = QuotaLimits {
            length: Some(used + 99),
            ..QuotaLimits::default()
        };
        bed.ok(hard_quota(dir, limits));
        bed.refused(vec![(FsError::Quota, link(&root(), file, dir, "new"))]);
        bed.set_eattr(dir, IMMUTABLE);
        bed.refused(vec![(FsError::Perm, link(&nobody, file, dir, ""))]);
    }

    #[test]
    fn not_everything_gets_another_name() {
        let mut bed = Bed::new();
        let dir = bed.dir(&root(), ROOT, "dir");
        let file = bed.file(&root(), ROOT, "file");
        let trashed = bed.file(&root(), ROOT, "trashed");
        bed.ok(unlink(&root(), ROOT, "trashed"));
        let nowhere = InodeId(999);
        bed.refused(vec![
            (FsError::NoEnt, link(&root(), nowhere, nowhere, "")),
            (FsError::Perm, link(&root(), dir, nowhere, "")),
            (FsError::NoEnt, link(&root(), trashed, dir, "new")),
        ]);
        bed.set_eattr(file, IMMUTABLE);
        bed.refused(vec![(FsError::Perm, link(&root(), file, nowhere, ""))]);
        let kept = UNDELETABLE | APPEND_ONLY;
        bed.set_eattr(file, kept | SNAPSHOT);
        bed.now = 2_000;
        bed.ok(link(&root(), file, dir, "second"));
        let attr = bed.attr(file);
        assert_eq!(
            (attr.nlink, attr.ctime, attr.mtime),
            (2, WallTime(2_000), WallTime(1_000))
        );
        assert_eq!(bed.attr(dir).mtime, WallTime(2_000));
        assert_eq!(bed.sums(ROOT).files, 2);
        let eattr = bed.by_hand(|txn| txn.inode(file)).eattr.value();
        assert_eq!(eattr, kept, "what is modified leaves its snapshot");
    }

    #[test]
    fn a_node_has_only_so_many_names() {
        let mut bed = Bed::new();
        let file = bed.file(&root(), ROOT, "file");
        bed.tree.check().unwrap().unwrap();
        let before = bed.tree.store().clone();
        let mut many = LinkCounter::default();
        for _ in 0..limits::LINK_COUNT_MAX {
            let delta = many.link(crate::crdt::LOG_REPLICA);
            crate::crdt::Lattice::join(&mut many, &delta);
        }
        bed.change(file, |_, _| Inode {
            links: many,
            ..Inode::default()
        });
        // The state is unlawful now; only the refusal is looked at.
        let command = bed.command(None, link(&root(), file, ROOT, "one too many"));
        let outcome = bed.tree.apply(crate::id::LogIndex(50), &command).unwrap();
        assert_eq!(outcome.result, Err(FsError::NoSpace));
        *bed.tree.store_mut() = before;
        bed.tree.reload().unwrap();
        bed.ok(link(&root(), file, ROOT, "second"));
    }

    #[test]
    fn requests_that_make_no_sense_are_refused_before_the_directory_is_looked_at() {
        let mut bed = Bed::new();
        let nowhere = InodeId(999);
        let long = vec![b'a'; limits::SYMLINK_BYTES_MAX + 1];
        bed.refused(vec![
            (
                FsError::Invalid,
                create(&root(), nowhere, "x", NodeKind::Directory),
            ),
            (
                FsError::Invalid,
                create(&root(), nowhere, "x", NodeKind::Symlink),
            ),
            (FsError::Invalid, symlink(&root(), nowhere, "x", b"")),
            (FsError::Invalid, symlink(&root(), nowhere, "x", b"a\0b")),
            (FsError::Invalid, symlink(&root(), nowhere, "x", &long)),
        ]);
        let target = &long[1..];
        let node = bed.node(symlink(&root(), ROOT, "x", target));
        assert_eq!(bed.attr(node).length, target.len() as u64);
    }

    #[test]
    fn a_new_node_inherits_from_its_directory() {
        let mut bed = Bed::new();
        let dir = bed.dir(&somebody(10), ROOT, "dir");
        let kept = NO_OWNER | NO_ENTRY_CACHE;
        bed.set_eattr(dir, kept | SNAPSHOT | UNDELETABLE);
        bed.change(dir, |node, stamp| Inode {
            class: node.class.write(stamp, 5),
            trash_hours: node.trash_hours.write(stamp, 7),
            gid: node.gid.write(stamp, 77),
            ..Inode::default()
        });
        bed.now = 2_000;
        for (setgid, gid) in [(false, 20), (true, 77)] {
            bed.change(dir, |node, stamp| Inode {
                mode: node.mode.write(stamp, if setgid { 0o2777 } else { 0o777 }),
                ..Inode::default()
            });
            for (kind, copy, mode) in [
                (NodeKind::File, false, 0o644),
                (NodeKind::Directory, false, 0o755),
                (
                    NodeKind::Directory,
                    true,
                    if setgid { 0o2755 } else { 0o755 },
                ),
                (NodeKind::Fifo, false, 0o644),
            ] {
                let name = format!("{kind:?}{setgid}{copy}");
                let made = bed.node(match mkdir(&somebody(20), dir, &name) {
                    Op::Mkdir {
                        caller,
                        parent,
                        name,
                        mode,
                        umask,
                        ..
                    } if kind == NodeKind::Directory => Op::Mkdir {
                        caller,
                        parent,
                        name,
                        mode,
                        umask,
                        copy_setgid: copy,
                    },
                    _ => create(&somebody(20), dir, &name, kind),
                });
                let node = bed.by_hand(|txn| txn.inode(made));
                let data = kind != NodeKind::Fifo;
                let is_dir = kind == NodeKind::Directory;
                let eattr = if is_dir { kept } else { NO_OWNER };
                assert_eq!(
                    (node.mode.value(), node.uid.value(), node.gid.value()),
                    (mode, 20, gid),
                    "{name}"
                );
                assert_eq!(node.eattr.value(), eattr, "{name}");
                assert_eq!(node.class.value(), if data { 5 } else { 0 }, "{name}");
                assert_eq!(
                    node.trash_hours.value(),
                    if data { 7 } else { 24 },
                    "{name}"
                );
                assert_eq!(node.atime.value(), WallTime(2_000));
            }
        }
        // What changes a directory takes it out of its snapshot.
        let eattr = bed.by_hand(|txn| txn.inode(dir)).eattr.value();
        assert_eq!(eattr, kept | UNDELETABLE);
    }

    #[test]
    fn umask_and_device_number_count_where_they_should() {
        let mut bed = Bed::new();
        let session = bed.session_with(|params| params.umask = 0o007);
        let made = |bed: &mut Bed, name: &str, kind| -> Attr {
            let node = bed.node(Op::Create {
                caller: user(session, 0),
                parent: ROOT,
                name: name.into(),
                kind,
                mode: 0o7777,
                umask: 0o020,
                rdev: 0x0801,
                open: false,
            });
            bed.attr(node)
        };
        let file = made(&mut bed, "file", NodeKind::File);
        assert_eq!((file.mode, file.rdev), (0o7750, 0));
        let device = made(&mut bed, "device", NodeKind::CharDevice);
        assert_eq!((device.rdev, device.length), (0x0801, 0));
        let link = bed.node(symlink(&user(session, 0), ROOT, "link", b"t"));
        assert_eq!(bed.attr(link).mode, 0o777);
    }

    #[test]
    fn a_default_acl_takes_the_place_of_the_umask() {
        let mut bed = Bed::new();
        let dir = bed.dir(&root(), ROOT, "dir");
        let plain = Acl {
            user: 7,
            group: 5,
            other: 0,
            mask: NO_MASK,
            named_users: Vec::new(),
            named_groups: Vec::new(),
        };
        let rich = Acl {
            mask: 6,
            named_users: vec![(5, 7)],
            ..plain.clone()
        };
        for (acl, mode, shown, has_access) in
            [(&plain, 0o640, 0o640, false), (&rich, 0o650, 0o640, true)]
        {
            bed.set_acl(dir, AclKind::Default, acl.clone());
            for kind in [NodeKind::File, NodeKind::Directory] {
                let name = format!("{kind:?}{has_access}");
                let made = if kind == NodeKind::File {
                    bed.node(Op::Create {
                        caller: root(),
                        parent: dir,
                        name: name.into(),
                        kind,
                        mode: 0o646,
                        umask: 0o777,
                        rdev: 0,
                        open: false,
                    })
                } else {
                    bed.node(Op::Mkdir {
                        caller: root(),
                        parent: dir,
                        name: name.into(),
                        mode: 0o646,
                        umask: 0o777,
                        copy_setgid: false,
                    })
                };
                let (node, access, default) = bed.by_hand(|txn| {
                    let node = txn.inode(made)?;
                    let access = access_acl(txn, made, &node)?;
                    let default =
                        txn.value::<Acl>(&super::super::key::Key::Acl(made, AclKind::Default))?;
                    Ok((node, access, default))
                });
                assert_eq!(node.mode.value(), mode);
                assert_eq!(bed.attr(made).mode, shown);
                let expected = Acl {
                    user: 6,
                    mask: 4,
                    other: 0,
                    ..rich.clone()
                };
                assert_eq!(access, has_access.then_some(expected));
                let inherited = (kind == NodeKind::Directory).then(|| acl.clone());
                assert_eq!(default, inherited);
            }
            let link = bed.node(symlink(&root(), dir, &format!("link{has_access}"), b"t"));
            assert_eq!(bed.attr(link).mode, 0o777);
        }
    }

    #[test]
    fn a_file_can_be_open_from_the_start() {
        let mut bed = Bed::new();
        let session = bed.session_with(|_| {});
        for (name, kind, open) in [
            ("open", NodeKind::File, true),
            ("closed", NodeKind::File, false),
            ("fifo", NodeKind::Fifo, true),
        ] {
            let made = bed.node(Op::Create {
                caller: user(session, 0),
                parent: ROOT,
                name: name.into(),
                kind,
                mode: 0o600,
                umask: 0,
                rdev: 0,
                open,
            });
            let answer = bed.ask(Query::ListOpenFiles { session });
            let Ok(super::super::op::Answer::OpenFiles(files)) = answer else {
                panic!("{answer:?}");
            };
            assert_eq!(files.contains(&(session, made)), name == "open");
        }
    }

    #[test]
    fn files_lie_in_their_directorys_slot_and_directories_spread() {
        let mut bed = Bed::new();
        let mut slots = std::collections::BTreeSet::new();
        for number in 0..50 {
            let dir = bed.dir(&root(), ROOT, &number.to_string());
            slots.insert(dir.slot());
            assert_eq!(bed.file(&root(), dir, "file").slot(), dir.slot());
        }
        assert!(slots.len() > 40, "{} slots for 50 directories", slots.len());
    }

    #[test]
    fn ids_are_not_used_again_and_a_full_slot_passes_on() {
        let mut bed = Bed::new();
        let first = bed.file(&root(), ROOT, "fifo");
        bed.ok(set_attr(&root(), first, SetAttr::default()));
        let gone = bed.dir(&root(), ROOT, "dir");
        bed.ok(rmdir(&root(), ROOT, "dir"));
        assert_ne!(bed.dir(&root(), ROOT, "dir"), gone);
        let slot = ROOT.slot();
        bed.by_hand(|txn| {
            let key = super::super::key::Key::SlotIds(slot);
            let ids: super::super::record::SlotIds = txn.get(&key)?.unwrap();
            let delta = super::super::record::SlotIds {
                inodes: ids.inodes.add(
                    crate::crdt::LOG_REPLICA,
                    u64::from(limits::INODE_SEQUENCE_END),
                ),
                ..Default::default()
            };
            Ok(txn.join(&key, &delta)?)
        });
        let next = bed.file(&root(), ROOT, "elsewhere");
        assert_eq!(next.slot().0, slot.0 + 1);
        bed.ok(chmod(&root(), next, 0o600));
    }
}
