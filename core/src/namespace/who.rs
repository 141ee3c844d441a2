//! Who asks: a session's values, and the credentials that its mapping makes of a request's.
//!
//! Every operation begins here, so that the order of the first refusals is the same for all:
//! `BadSession`, `Invalid` groups, `Perm` for the wrong kind of session or a disabled operation,
//! `ReadOnly`, `NoEnt`. What an operation checks after that is its own business.

use super::error::FsError;
use super::key::Key;
use super::op::{Caller, Disable, SessionParams, Whereabouts};
use super::record::{Inode, SessionRecord};
use super::txn::{Res, Txn};
use crate::id::{InodeId, SessionId};
use crate::limits;

/// A resolved caller.
#[derive(Clone, Debug)]
pub struct Who {
    /// The session; 0 is the cluster itself.
    pub session: SessionId,
    /// The session's values.
    pub params: SessionParams,
    /// User after mapping.
    pub uid: u32,
    /// Groups after mapping, the effective one first; never empty.
    pub gids: Vec<u32>,
    /// User before mapping.
    pub original_uid: u32,
    /// Effective group before mapping.
    pub original_gid: u32,
}

impl Who {
    /// The cluster itself: root, unmapped, unrestricted.
    #[must_use]
    pub fn cluster() -> Self {
        Self::mapped(SessionId(0), SessionParams::unrestricted(), 0, &[0])
    }

    /// Looks the session up and maps the credentials.
    ///
    /// # Errors
    /// `BadSession`; `Invalid` for no or too many groups.
    pub fn resolve(txn: &Txn<'_>, caller: &Caller) -> Res<Self> {
        let params = params(txn, caller.session)?;
        if caller.gids.is_empty() || caller.gids.len() > limits::GROUP_COUNT_MAX {
            return Err(FsError::Invalid.into());
        }
        Ok(Self::mapped(
            caller.session,
            params,
            caller.uid,
            &caller.gids,
        ))
    }

    /// The session itself, as root: for requests that carry no credentials.
    ///
    /// # Errors
    /// `BadSession`.
    pub fn of_session(txn: &Txn<'_>, session: SessionId) -> Res<Self> {
        Ok(Self::mapped(session, params(txn, session)?, 0, &[0]))
    }

    /// [`Self::resolve`] for an ordinary call: not by a meta session, by none that has one of
    /// `disables` forbidden, and when `modifies`, by none that may only read.
    ///
    /// # Errors
    /// As `resolve`, then `Perm`, then `ReadOnly`.
    pub fn enter(
        txn: &Txn<'_>,
        caller: &Caller,
        disables: &[Disable],
        modifies: bool,
    ) -> Res<Self> {
        let who = Self::resolve(txn, caller)?;
        who.not_meta()?;
        for disable in disables {
            who.disabled(*disable)?;
        }
        if modifies {
            who.writable()?;
        }
        Ok(who)
    }

    fn mapped(session: SessionId, params: SessionParams, uid: u32, gids: &[u32]) -> Self {
        let map_all = params.flags.map_all;
        let mapped_uid = match uid {
            0 => params.root_uid,
            _ if map_all => params.map_all_uid,
            other => other,
        };
        let first = match gids[0] {
            0 => params.root_gid,
            _ if map_all => params.map_all_gid,
            other => other,
        };
        let mut mapped_gids = vec![first];
        if !map_all {
            mapped_gids.extend_from_slice(&gids[1..]);
        }
        Self {
            session,
            params,
            uid: mapped_uid,
            gids: mapped_gids,
            original_uid: uid,
            original_gid: gids[0],
        }
    }

    /// Refuses an operation that the session's export forbids.
    ///
    /// # Errors
    /// `Perm`.
    pub fn disabled(&self, what: Disable) -> Res<()> {
        match self.params.disables >> (what as u32) & 1 {
            0 => Ok(()),
            _ => Err(FsError::Perm.into()),
        }
    }

    /// Refuses changes by a session that may only read.
    ///
    /// # Errors
    /// `ReadOnly`.
    pub fn writable(&self) -> Res<()> {
        if self.params.flags.read_only {
            return Err(FsError::ReadOnly.into());
        }
        Ok(())
    }

    /// Refuses all but meta sessions and the cluster itself.
    ///
    /// # Errors
    /// `Perm`.
    pub fn meta(&self) -> Res<()> {
        if self.session == SessionId(0) || self.params.root == InodeId(0) {
            return Ok(());
        }
        Err(FsError::Perm.into())
    }

    /// Refuses meta sessions.
    ///
    /// # Errors
    /// `Perm`.
    pub fn not_meta(&self) -> Res<()> {
        if self.params.root == InodeId(0) {
            return Err(FsError::Perm.into());
        }
        Ok(())
    }

    /// Whether the caller is root after mapping.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// Whether the caller owns the node, or the node treats everybody as its owner.
    #[must_use]
    pub fn owns(&self, node: &Inode) -> bool {
        self.uid == node.uid.value() || node.eattr.value() & super::permission::NO_OWNER != 0
    }

    /// The inode that a number in a request stands for.
    #[must_use]
    pub fn translate(&self, ino: InodeId) -> InodeId {
        if ino == InodeId::ROOT && self.params.root != InodeId(0) {
            self.params.root
        } else {
            ino
        }
    }

    /// The number that a reply shows for an inode.
    #[must_use]
    pub fn shown(&self, ino: InodeId) -> InodeId {
        if ino == self.params.root {
            InodeId::ROOT
        } else {
            ino
        }
    }

    /// The node that a number in a request stands for. Below a session's root only, unless
    /// `opened`; a node in the trash, or sustained, is below no root but that of the tree.
    ///
    /// # Errors
    /// `NoEnt`.
    pub fn node(&self, txn: &Txn<'_>, ino: InodeId, opened: bool) -> Res<(InodeId, Inode)> {
        let ino = self.translate(ino);
        let node = txn.inode(ino)?;
        let root = self.params.root;
        if root != InodeId::ROOT {
            if !txn.has(&Key::Inode(root))? {
                return Err(FsError::NoEnt.into());
            }
            if !opened && !self.sees(txn, ino, &node)? {
                return Err(FsError::NoEnt.into());
            }
        }
        Ok((ino, node))
    }

    /// Whether a node is the session's root or below it.
    ///
    /// # Errors
    /// Only that the state cannot be read.
    pub fn sees(&self, txn: &Txn<'_>, ino: InodeId, node: &Inode) -> Res<bool> {
        let root = self.params.root;
        if root == InodeId::ROOT || ino == root {
            return Ok(true);
        }
        if node.whereabouts.value() != Whereabouts::Linked {
            return Ok(false);
        }
        for (_, (parent, _)) in node.parents.iter() {
            if super::path::is_within(txn, *parent, root)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn params(txn: &Txn<'_>, session: SessionId) -> Res<SessionParams> {
    if session == SessionId(0) {
        return Ok(SessionParams::unrestricted());
    }
    let record: Option<SessionRecord> = txn.value(&Key::Session(session))?;
    Ok(record.ok_or(FsError::BadSession)?.params)
}

#[cfg(test)]
mod tests {
    use super::super::op::{Answer, NodeKind, Op, OpenFlags, Query};
    use super::super::testing::{Bed, ROOT, create, mkdir, open, root, unlink, user};
    use super::*;
    use crate::time::Stamp;

    fn get_attr(caller: &Caller, inode: InodeId, opened: bool) -> Query {
        Query::GetAttr {
            caller: caller.clone(),
            inode,
            opened,
        }
    }

    #[test]
    fn the_first_refusals_come_in_this_order() {
        let mut bed = Bed::new();
        let all = |params: &mut SessionParams| {
            params.root = InodeId(0);
            params.disables = 1 << Disable::Mkdir as u32;
            params.flags.read_only = true;
        };
        let meta = bed.session_with(all);
        let disabled = bed.session_with(|params| {
            all(params);
            params.root = ROOT;
        });
        let read_only = bed.session_with(|params| {
            all(params);
            params.root = ROOT;
            params.disables = 0;
        });
        let open_session = bed.session_with(|_| {});
        let nowhere = InodeId(77);
        let crowd = Caller {
            gids: vec![1; limits::GROUP_COUNT_MAX + 1],
            ..user(meta, 1)
        };
        let nobody = Caller {
            gids: Vec::new(),
            ..user(SessionId(99), 1)
        };
        let groupless = Caller {
            gids: Vec::new(),
            ..user(meta, 1)
        };
        bed.refused(vec![
            (FsError::BadSession, mkdir(&nobody, nowhere, "")),
            (FsError::Invalid, mkdir(&groupless, nowhere, "")),
            (FsError::Invalid, mkdir(&crowd, nowhere, "")),
            (FsError::Perm, mkdir(&user(meta, 1), nowhere, "")),
            (FsError::Perm, mkdir(&user(disabled, 1), nowhere, "")),
            (FsError::ReadOnly, mkdir(&user(read_only, 1), nowhere, "")),
            (FsError::NoEnt, mkdir(&user(open_session, 1), nowhere, "")),
        ]);
    }

    #[test]
    fn a_session_below_a_directory_sees_only_what_is_there() {
        let mut bed = Bed::new();
        let top = bed.dir(&root(), ROOT, "top");
        let inner = bed.dir(&root(), top, "inner");
        let file = bed.file(&root(), inner, "file");
        let outside = bed.file(&root(), ROOT, "outside");
        let session = bed.session_with(|params| params.root = top);
        let caller = user(session, 0);
        assert_eq!(bed.attr_for(&caller, ROOT), bed.attr(top));
        for (inode, opened, seen) in [
            (top, false, true),
            (inner, false, true),
            (file, false, true),
            (outside, false, false),
            (outside, true, true),
            (InodeId(0), true, false),
        ] {
            let answer = bed.ask(get_attr(&caller, inode, opened));
            assert_eq!(answer.is_ok(), seen, "{inode} {opened}: {answer:?}");
        }
        // Another name below the root makes a file visible.
        bed.ok(super::super::testing::link(&root(), outside, inner, "in"));
        assert!(bed.ask(get_attr(&caller, outside, false)).is_ok());
        // A reply shows the root as 1, and a new directory in it is the session's own.
        assert_eq!(
            bed.node(create(&caller, ROOT, "new", NodeKind::File))
                .slot(),
            top.slot()
        );
        let looked = bed.ask(Query::Lookup {
            caller: caller.clone(),
            parent: inner,
            name: b"..".to_vec(),
        });
        assert!(matches!(looked, Ok(Answer::Looked { inode: ROOT, .. })));
    }

    #[test]
    fn a_file_in_the_trash_is_below_the_trees_own_root_alone() {
        let mut bed = Bed::new();
        let top = bed.dir(&root(), ROOT, "top");
        let file = bed.file(&root(), top, "file");
        let below = bed.session_with(|params| params.root = top);
        bed.ok(unlink(&root(), top, "file"));
        let read = OpenFlags {
            read: true,
            ..OpenFlags::default()
        };
        assert!(bed.ask(get_attr(&root(), file, false)).is_ok());
        assert_eq!(
            bed.ask(get_attr(&user(below, 0), file, false)),
            Err(FsError::NoEnt)
        );
        assert!(bed.ask(get_attr(&user(below, 0), file, true)).is_ok());
        bed.refused(vec![(FsError::NoEnt, open(&user(below, 0), file, read))]);
        bed.ok(open(&root(), file, read));
    }

    #[test]
    fn a_session_whose_root_is_gone_sees_nothing() {
        let mut bed = Bed::new();
        let top = bed.dir(&root(), ROOT, "top");
        let file = bed.file(&root(), ROOT, "file");
        let session = bed.session_with(|params| params.root = top);
        bed.ok(super::super::testing::rmdir(&root(), ROOT, "top"));
        for inode in [ROOT, top, file] {
            for opened in [false, true] {
                let answer = bed.ask(get_attr(&user(session, 0), inode, opened));
                assert_eq!(answer, Err(FsError::NoEnt));
            }
        }
    }

    #[test]
    fn credentials_are_mapped_by_the_session() {
        let plain = |params: &mut SessionParams| {
            params.root_uid = 50;
            params.root_gid = 60;
        };
        let mapping = |params: &mut SessionParams| {
            plain(params);
            params.flags.map_all = true;
            params.map_all_uid = 70;
            params.map_all_gid = 80;
        };
        let mut bed = Bed::new();
        let (plain, mapping) = (bed.session_with(plain), bed.session_with(mapping));
        let examples: [(_, _, &[u32], _, &[u32]); 6] = [
            (SessionId(0), 0, &[0, 5], 0, &[0, 5]),
            (plain, 0, &[0, 0, 5], 50, &[60, 0, 5]),
            (plain, 9, &[9, 0], 9, &[9, 0]),
            (mapping, 0, &[0, 5], 50, &[60]),
            (mapping, 9, &[9, 5], 70, &[80]),
            (mapping, 9, &[0, 5], 70, &[60]),
        ];
        let moment = super::super::txn::Moment {
            index: crate::id::LogIndex(1),
            stamp: Stamp::MIN,
            now: crate::time::WallTime(1),
        };
        let txn = Txn::new(bed.tree.store(), moment);
        for (session, uid, gids, mapped_uid, mapped_gids) in examples {
            let caller = Caller {
                session,
                uid,
                gids: gids.to_vec(),
            };
            let who = Who::resolve(&txn, &caller).unwrap();
            assert_eq!((who.uid, &who.gids[..]), (mapped_uid, mapped_gids));
            assert_eq!((who.original_uid, who.original_gid), (uid, gids[0]));
        }
    }

    #[test]
    fn every_operation_has_the_disable_bit_of_its_own() {
        let mut bed = Bed::new();
        let dir = bed.dir(&root(), ROOT, "dir");
        let file = bed.file(&root(), ROOT, "file");
        type Make = Box<dyn Fn(&Caller) -> Op>;
        let cases: Vec<(Disable, Make)> = vec![
            (
                Disable::Create,
                Box::new(|c| create(c, ROOT, "x", NodeKind::File)),
            ),
            (
                Disable::Mkfifo,
                Box::new(|c| create(c, ROOT, "x", NodeKind::Fifo)),
            ),
            (
                Disable::Mkdev,
                Box::new(|c| create(c, ROOT, "x", NodeKind::BlockDevice)),
            ),
            (
                Disable::Mkdev,
                Box::new(|c| create(c, ROOT, "x", NodeKind::CharDevice)),
            ),
            (
                Disable::Mksock,
                Box::new(|c| create(c, ROOT, "x", NodeKind::Socket)),
            ),
            (Disable::Mkdir, Box::new(|c| mkdir(c, ROOT, "x"))),
            (
                Disable::Symlink,
                Box::new(|c| super::super::testing::symlink(c, ROOT, "x", b"t")),
            ),
            (
                Disable::Link,
                Box::new(move |c| super::super::testing::link(c, file, ROOT, "x")),
            ),
            (Disable::Unlink, Box::new(|c| unlink(c, ROOT, "file"))),
            (
                Disable::Rmdir,
                Box::new(|c| super::super::testing::rmdir(c, ROOT, "dir")),
            ),
            (
                Disable::Rename,
                Box::new(|c| super::super::testing::rename(c, (ROOT, "file"), (ROOT, "x"))),
            ),
            (
                Disable::Move,
                Box::new(move |c| super::super::testing::rename(c, (ROOT, "file"), (dir, "x"))),
            ),
            (
                Disable::Chmod,
                Box::new(move |c| super::super::testing::chmod(c, file, 0)),
            ),
            (
                Disable::Chown,
                Box::new(move |c| {
                    let set = super::super::op::SetAttr {
                        uid: Some(1),
                        ..Default::default()
                    };
                    super::super::testing::set_attr(c, file, set)
                }),
            ),
            (
                Disable::Read,
                Box::new(move |c| {
                    open(
                        c,
                        file,
                        OpenFlags {
                            read: true,
                            ..OpenFlags::default()
                        },
                    )
                }),
            ),
            (
                Disable::Write,
                Box::new(move |c| {
                    open(
                        c,
                        file,
                        OpenFlags {
                            write: true,
                            ..OpenFlags::default()
                        },
                    )
                }),
            ),
            (
                Disable::Truncate,
                Box::new(move |c| {
                    open(
                        c,
                        file,
                        OpenFlags {
                            truncate: true,
                            ..OpenFlags::default()
                        },
                    )
                }),
            ),
        ];
        for (disable, op) in cases {
            // The operation alone forbidden: refused. All others forbidden: carried out.
            let only = bed.session_with(|params| params.disables = 1 << disable as u32);
            let others = bed.session_with(|params| params.disables = !(1 << disable as u32));
            assert_eq!(
                bed.run(op(&user(only, 0))),
                Err(FsError::Perm),
                "{disable:?}"
            );
            let store = bed.tree.store().clone();
            assert!(bed.run(op(&user(others, 0))).is_ok(), "{disable:?}");
            *bed.tree.store_mut() = store;
            bed.tree.reload().unwrap();
        }
    }
}
