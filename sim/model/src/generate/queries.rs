//! Queries at random.

use mfsha_core::id::{InodeId, SessionId};
use mfsha_core::namespace::op::{AclKind, NodeKind, PosixLockKind, Query};

use super::Draw;

macro_rules! kinds {
    ($($kind:ident $weight:literal),* $(,)?) => {
        /// The queries, by name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "each is the query of that name")]
        pub enum QueryKind { $($kind),* }

        /// The queries, and how often each should come.
        pub const QUERIES: &[(QueryKind, u16)] = &[$((QueryKind::$kind, $weight)),*];
    };
}

kinds! {
    Lookup 24, GetAttr 16, Access 12, ReadLink 5, ReadDir 16, GetXattr 10, ListXattr 6, GetAcl 8,
    TestPosixLock 8, ReadChunk 12, ListChunks 6, StatFs 4, DirStats 8, GetTrashTime 5, GetSclass 5,
    GetEattr 5, GetArchived 5, GetQuota 6, ListQuotas 4, Parents 5, Paths 8, ListTrash 5,
    ListSustained 3, TrashPath 4, DetachedAttr 4, ListClasses 2, GetSession 3, ListOpenFiles 3,
    LastRequests 4, ListLocks 5, ListChunkservers 3,
}

impl Draw<'_> {
    pub(super) fn query(&mut self, kind: QueryKind) -> Query {
        use QueryKind as K;
        let caller = self.caller();
        match kind {
            K::Lookup => {
                let (parent, mut name) = self.entry();
                match self.rng.below(8) {
                    0 => name = b".".to_vec(),
                    1 => name = b"..".to_vec(),
                    _ => {}
                }
                Query::Lookup {
                    caller,
                    parent,
                    name,
                }
            }
            K::GetAttr => Query::GetAttr {
                caller,
                inode: self.inode(),
                opened: self.chance(1, 4),
            },
            K::Access => Query::Access {
                caller,
                inode: self.inode(),
                mask: self.rng.below(8) as u8,
            },
            K::ReadLink => Query::ReadLink {
                caller,
                inode: self.inode_of(NodeKind::Symlink),
            },
            K::ReadDir => {
                let inode = self.dir();
                Query::ReadDir {
                    caller,
                    inode,
                    attrs: self.flip(),
                    after: if self.flip() {
                        Vec::new()
                    } else {
                        self.name_in(inode)
                    },
                    max: self.pick(&[0, 1, 2, 3, u32::MAX, u32::MAX]),
                }
            }
            K::GetXattr => Query::GetXattr {
                caller,
                inode: self.inode_with_xattrs(),
                opened: self.chance(1, 4),
                name: self.xattr_name(),
            },
            K::ListXattr => Query::ListXattr {
                caller,
                inode: self.inode_with_xattrs(),
                opened: self.chance(1, 4),
            },
            K::GetAcl => Query::GetAcl {
                caller,
                inode: self.inode_with_acl(),
                kind: self.pick(&[AclKind::Access, AclKind::Default]),
            },
            K::ReadChunk => {
                let (mut inode, mut index, _) = self.slot();
                if self.chance(1, 4) {
                    (inode, index) = (self.file(), self.index());
                }
                Query::ReadChunk {
                    caller,
                    inode,
                    index,
                }
            }
            K::ListChunks => Query::ListChunks {
                caller,
                inode: self.file(),
                from: self.pick(&[0, 0, 1, u32::MAX]),
                max: self.pick(&[0, 1, 2, u32::MAX]),
            },
            K::StatFs => Query::StatFs {
                caller,
                total: 1 << 40,
                free: self.pick(&[1 << 39, 10_000_000]),
            },
            _ => self.more(kind),
        }
    }

    fn more(&mut self, kind: QueryKind) -> Query {
        use QueryKind as K;
        let caller = self.caller();
        let inode = self.inode();
        let recursive = self.flip();
        match kind {
            K::TestPosixLock => self.test_posix_lock(),
            K::DirStats => Query::DirStats {
                caller,
                inode: self.dir(),
            },
            K::GetTrashTime => Query::GetTrashTime {
                caller,
                inode,
                recursive,
            },
            K::GetSclass => Query::GetSclass {
                caller,
                inode,
                recursive,
            },
            K::GetEattr => Query::GetEattr {
                caller,
                inode,
                recursive,
            },
            K::GetArchived => Query::GetArchived { caller, inode },
            K::GetQuota => Query::GetQuota {
                caller,
                inode: self.dir(),
            },
            K::ListQuotas => Query::ListQuotas {
                session: self.session(),
            },
            K::Parents => Query::Parents { caller, inode },
            K::Paths => Query::Paths { caller, inode },
            K::ListTrash | K::ListSustained | K::TrashPath | K::DetachedAttr => {
                self.about_detached(kind)
            }
            K::ListClasses => Query::ListClasses,
            K::GetSession => Query::GetSession {
                session: self.session(),
            },
            K::LastRequests => Query::LastRequests {
                session: self.session(),
            },
            K::ListOpenFiles => Query::ListOpenFiles {
                session: self.session(),
            },
            K::ListChunkservers => Query::ListChunkservers,
            _ => Query::ListLocks {
                inode: self.pick(&[InodeId(0), inode]),
            },
        }
    }

    fn test_posix_lock(&mut self) -> Query {
        let locked: Vec<InodeId> = self.model.locks.keys().copied().collect();
        let inode = self.file();
        let start = self.rng.below(8);
        Query::TestPosixLock {
            session: self.session(),
            inode: self.pick_or(&locked, inode),
            owner: self.rng.below(3),
            kind: self.pick(&[
                PosixLockKind::Unlock,
                PosixLockKind::Read,
                PosixLockKind::Write,
                PosixLockKind::Write,
            ]),
            start,
            end: start + self.rng.below(4),
        }
    }

    fn about_detached(&mut self, kind: QueryKind) -> Query {
        let session: SessionId = self.meta_session();
        let detached = self.inodes(|node| node.is_detached());
        let other = self.inode();
        let inode = if self.chance(1, 8) {
            other
        } else {
            self.pick_or(&detached, other)
        };
        match kind {
            QueryKind::ListTrash => Query::ListTrash {
                session,
                bucket: self.flip().then_some((inode.0 & 0xFFF) as u16),
            },
            QueryKind::ListSustained => Query::ListSustained { session },
            QueryKind::TrashPath => Query::TrashPath { session, inode },
            _ => Query::DetachedAttr { session, inode },
        }
    }

    fn inode_with_xattrs(&mut self) -> InodeId {
        let some = self.inodes(|node| !node.xattrs.is_empty());
        let other = self.inode();
        self.pick_or(&some, other)
    }

    fn inode_with_acl(&mut self) -> InodeId {
        let some = self.inodes(|node| node.access_acl.is_some() || node.default_acl.is_some());
        let other = self.inode();
        self.pick_or(&some, other)
    }
}
