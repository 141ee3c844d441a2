//! Each law, broken by hand: the walk names it.

use super::super::op::{AclKind, PosixLockKind, QuotaLimits};
use super::super::record::{FlockTable, Origin, PosixRange, PosixTable, Target};
use super::super::testing::{Bed, ROOT, hard_quota, link, root, unlink, user};
use super::super::txn::{Res, Txn};
use super::*;
use crate::chunks::Address;
use crate::crdt::{Dot, LOG_REPLICA, Lattice, LinkCounter, Lww, OrSet};
use crate::id::{Lane, NodeId, RequestSeq};
use crate::namespace::op::{Acl, Cut, Outcome, Reply, Unsettled};
use crate::namespace::record::LaneLast;
use crate::store::WriteBatch;
use crate::time::{Stamp, WallTime};

/// A tree with one of everything.
struct Scene {
    bed: Bed,
    dir: InodeId,
    inner: InodeId,
    file: InodeId,
    trashed: InodeId,
    chunk: ChunkId,
    session: SessionId,
}

fn scene() -> Scene {
    let mut bed = Bed::new();
    let session = bed.session_with(|_| {});
    let dir = bed.dir(&root(), ROOT, "dir");
    let inner = bed.dir(&root(), dir, "inner");
    let file = bed.file(&root(), dir, "file");
    bed.ok(link(&root(), file, ROOT, "second"));
    let chunk = bed.add_chunk(file, 0, 100);
    let trashed = bed.file(&root(), dir, "trashed");
    bed.ok(unlink(&root(), dir, "trashed"));
    bed.ok(hard_quota(dir, QuotaLimits::default()));
    bed.ok(super::super::testing::open(
        &user(session, 0),
        file,
        Default::default(),
    ));
    assert_eq!(bed.tree.check().unwrap(), Ok(()));
    Scene {
        bed,
        dir,
        inner,
        file,
        trashed,
        chunk,
        session,
    }
}

/// Breaks a law by hand; the walk has to name it.
fn breaks(law: Law, work: impl FnOnce(&Scene, &mut Txn<'_>) -> Res<()>) {
    let mut scene = scene();
    let mut bed = std::mem::replace(&mut scene.bed, Bed::new());
    bed.by_hand(|txn| work(&scene, txn));
    match bed.tree.check().unwrap() {
        Err(violation) => assert_eq!(violation.law, law, "{violation}"),
        Ok(()) => panic!("{law} was broken, and nobody noticed"),
    }
}

/// Joins a delta of a node.
fn change(txn: &mut Txn<'_>, ino: InodeId, delta: impl FnOnce(&Inode) -> Inode) -> Res<()> {
    let delta = delta(&txn.inode(ino)?);
    txn.join(&Key::Inode(ino), &delta)?;
    Ok(())
}

#[test]
fn bytes_that_are_no_state() {
    let put = |key: Vec<u8>, value: Vec<u8>| {
        let mut bed = Bed::new();
        let mut batch = WriteBatch::default();
        batch.put(key, value);
        bed.tree.store_mut().write(batch).unwrap();
        bed.tree.check().unwrap().unwrap_err().law
    };
    assert_eq!(put(b"what?".to_vec(), Vec::new()), Law::Readable);
    assert_eq!(put(Key::Inode(ROOT).bytes(), vec![7; 40]), Law::Readable);
    assert_eq!(put(Key::Applied.bytes(), Vec::new()), Law::Readable);
}

#[test]
fn one_parent() {
    breaks(Law::OneParent, |_, txn| {
        change(txn, ROOT, |_| Inode {
            gone: true,
            ..Inode::default()
        })
    });
    breaks(Law::OneParent, |scene, txn| {
        change(txn, scene.inner, |node| Inode {
            parents: node.parents.remove(|_| true),
            ..Inode::default()
        })
    });
    breaks(Law::OneParent, |scene, txn| {
        change(txn, scene.dir, |_| Inode {
            parents: OrSet::insert(dot(), (ROOT, b"again".to_vec())),
            ..Inode::default()
        })
    });
    breaks(Law::OneParent, |scene, txn| {
        change(txn, ROOT, |_| Inode {
            parents: OrSet::insert(dot(), (scene.dir, b"root".to_vec())),
            ..Inode::default()
        })
    });
}

/// A dot that no command made.
fn dot() -> Dot {
    Dot {
        node: NodeId(9),
        sequence: 1,
    }
}

fn target(inode: InodeId, kind: NodeKind) -> Target {
    Target { inode, kind }
}

#[test]
fn names() {
    let edge = |dir, name: &str| Key::Edge(dir, name.into());
    breaks(Law::Names, move |scene, txn| {
        let key = edge(scene.dir, "file");
        let old: Edge = txn.get(&key)?.unwrap_or_default();
        txn.join(&key, &old.remove(|_| true))?;
        Ok(())
    });
    breaks(Law::Names, move |scene, txn| {
        let stray = Edge::insert(dot(), target(scene.file, NodeKind::File));
        txn.join(&edge(ROOT, "stray"), &stray)?;
        Ok(())
    });
    breaks(Law::Names, move |scene, txn| {
        let stray = Edge::insert(dot(), target(scene.file, NodeKind::File));
        txn.join(&edge(scene.file, "below a file"), &stray)?;
        Ok(())
    });
    breaks(Law::Names, move |_, txn| {
        let nowhere = Edge::insert(dot(), target(InodeId(999), NodeKind::File));
        txn.join(&edge(ROOT, "nowhere"), &nowhere)?;
        Ok(())
    });
    // Two nodes of one name, both of which know of it.
    breaks(Law::Names, move |scene, txn| {
        let key = edge(scene.dir, "file");
        let second = Edge::insert(dot(), target(scene.trashed, NodeKind::File));
        txn.join(&key, &second)?;
        change(txn, scene.trashed, |_| Inode {
            parents: OrSet::insert(dot(), (scene.dir, b"file".to_vec())),
            ..Inode::default()
        })
    });
    // A name that can be none, and a wrong type, on both sides.
    for (name, kind) in [("a/b", NodeKind::File), ("fine", NodeKind::Fifo)] {
        breaks(Law::Names, move |scene, txn| {
            let stray = Edge::insert(dot(), target(scene.file, kind));
            txn.join(&edge(ROOT, name), &stray)?;
            change(txn, scene.file, |_| Inode {
                parents: OrSet::insert(dot(), (ROOT, name.into())),
                ..Inode::default()
            })
        });
    }
}

#[test]
fn links_and_subdirectories() {
    let once = || LinkCounter::default().link(NodeId(9));
    breaks(Law::Links, |scene, txn| {
        change(txn, scene.file, |_| Inode {
            links: once(),
            ..Inode::default()
        })
    });
    breaks(Law::Subdirs, |scene, txn| {
        change(txn, scene.dir, |_| Inode {
            subdirs: once(),
            ..Inode::default()
        })
    });
}

#[test]
fn reachable() {
    // A ring beside the tree: `dir` becomes an entry of its own entry.
    breaks(Law::Reachable, |scene, txn| {
        let from = Key::Edge(ROOT, b"dir".to_vec());
        let old: Edge = txn.get(&from)?.unwrap_or_default();
        txn.join(&from, &old.remove(|_| true))?;
        change(txn, scene.dir, |node| Inode {
            parents: {
                let mut delta = node.parents.remove(|_| true);
                delta.join(&OrSet::insert(dot(), (scene.inner, b"ring".to_vec())));
                delta
            },
            ..Inode::default()
        })?;
        let ring = Edge::insert(dot(), target(scene.dir, NodeKind::Directory));
        txn.join(&Key::Edge(scene.inner, b"ring".to_vec()), &ring)?;
        change(txn, ROOT, |node| Inode {
            subdirs: node.subdirs.unlink(LOG_REPLICA),
            ..Inode::default()
        })?;
        change(txn, scene.inner, |node| Inode {
            subdirs: node.subdirs.link(LOG_REPLICA),
            ..Inode::default()
        })
    });
}

#[test]
fn whereabouts() {
    breaks(Law::Whereabouts, |scene, txn| {
        Ok(txn.set::<Vec<u8>>(&Key::Trashed(scene.trashed), None)?)
    });
    breaks(Law::Whereabouts, |scene, txn| {
        Ok(txn.set(&Key::Sustained(scene.trashed), Some(b"too".to_vec()))?)
    });
    let at = |whereabouts| Inode {
        whereabouts: Lww::at(
            Stamp {
                time: u64::MAX,
                node: NodeId(1),
            },
            whereabouts,
        ),
        ..Inode::default()
    };
    // Named, and in the trash; or nowhere at all.
    breaks(Law::Whereabouts, |scene, txn| {
        txn.set(&Key::Trashed(scene.file), Some(b"path".to_vec()))?;
        change(txn, scene.file, |_| at(Whereabouts::Trash))
    });
    breaks(Law::Whereabouts, |scene, txn| {
        txn.set::<Vec<u8>>(&Key::Trashed(scene.trashed), None)?;
        change(txn, scene.trashed, |_| at(Whereabouts::Linked))
    });
    breaks(Law::Whereabouts, |_, txn| {
        let fifo = InodeId::from_parts(0, Slot(9)).unwrap();
        txn.set(&Key::Trashed(fifo), Some(b"path".to_vec()))?;
        let node = Inode {
            origin: Some(Origin {
                kind: NodeKind::Fifo,
                rdev: 0,
                target: Vec::new(),
            }),
            ..at(Whereabouts::Trash)
        };
        txn.join(&Key::Inode(fifo), &node)?;
        Ok(())
    });
}

#[test]
fn depth() {
    breaks(Law::Depth, |scene, txn| {
        // The same sums, but for the level below.
        let sums = stats::of_dir(txn, scene.dir)?;
        txn.join(&Key::Stats(scene.dir), &Stats::removed())?;
        txn.join(&Key::Stats(scene.dir), &Stats::default().add(&sums))?;
        Ok(())
    });
}

#[test]
fn sums() {
    breaks(Law::Sums, |scene, txn| {
        let old: Stats = txn.get(&Key::Stats(scene.dir))?.unwrap_or_default();
        let one = DirStats {
            length: 1,
            ..DirStats::default()
        };
        txn.join(&Key::Stats(scene.dir), &old.add(&one))?;
        Ok(())
    });
    breaks(Law::Sums, |scene, txn| {
        txn.join(&Key::Stats(scene.inner), &Stats::removed())?;
        Ok(())
    });
    breaks(Law::Sums, |scene, txn| {
        txn.join(&Key::Stats(scene.file), &Stats::default())?;
        Ok(())
    });
    breaks(Law::Sums, |_, txn| {
        stats::add_detached(txn, Whereabouts::Sustained, 1)
    });
    // A length that nobody counted.
    breaks(Law::Sums, |scene, txn| {
        change(txn, scene.file, |node| Inode {
            length: node.length.write(Stamp::MIN, 1),
            ..Inode::default()
        })
    });
}

#[test]
fn quotas() {
    let record = |soft, over_soft_since| QuotaRecord {
        soft: QuotaLimits {
            inodes: soft,
            ..QuotaLimits::default()
        },
        hard: QuotaLimits::default(),
        grace_seconds: 0,
        over_soft_since,
    };
    breaks(Law::Quotas, |scene, txn| {
        Ok(txn.set(&Key::Quota(scene.dir), Some(record(Some(1), None)))?)
    });
    breaks(Law::Quotas, |scene, txn| {
        let quota = record(None, Some(WallTime(1)));
        Ok(txn.set(&Key::Quota(scene.dir), Some(quota))?)
    });
    breaks(Law::Quotas, |scene, txn| {
        Ok(txn.set(&Key::Quota(scene.file), Some(record(None, None)))?)
    });
}

#[test]
fn references() {
    breaks(Law::References, |scene, txn| {
        let old: Chunk = txn.get(&Key::Chunk(scene.chunk))?.unwrap_or_default();
        let delta = Chunk {
            references: old.references.link(LOG_REPLICA),
            ..Chunk::default()
        };
        txn.join(&Key::Chunk(scene.chunk), &delta)?;
        Ok(())
    });
    breaks(Law::References, |scene, txn| {
        let gone = Chunk {
            gone: true,
            ..Chunk::default()
        };
        txn.join(&Key::Chunk(scene.chunk), &gone)?;
        Ok(())
    });
    breaks(Law::References, |scene, txn| {
        Ok(txn.set(&Key::ChunkSlot(scene.dir, 0), Some(scene.chunk))?)
    });
    breaks(Law::References, |scene, txn| {
        Ok(txn.set(&Key::ChunkSlot(scene.file, 1), Some(ChunkId::HOLE))?)
    });
}

#[test]
fn open_files_and_locks() {
    breaks(Law::OpenFiles, |scene, txn| {
        Ok(txn.set::<()>(&Key::Opened(scene.file, scene.session), None)?)
    });
    breaks(Law::OpenFiles, |scene, txn| {
        Ok(txn.set::<()>(&Key::SessionOpened(scene.session, scene.file), None)?)
    });
    let both = |txn: &mut Txn<'_>, session, ino| -> Res<()> {
        txn.set(&Key::Opened(ino, session), Some(()))?;
        Ok(txn.set(&Key::SessionOpened(session, ino), Some(()))?)
    };
    breaks(Law::OpenFiles, |scene, txn| {
        both(txn, SessionId(99), scene.file)
    });
    breaks(Law::OpenFiles, |scene, txn| {
        both(txn, scene.session, scene.dir)
    });
    breaks(Law::Locks, |scene, txn| {
        let table = FlockTable {
            held: vec![(scene.session, 1, true)],
            waiting: Vec::new(),
        };
        Ok(txn.set(&Key::Flocks(scene.trashed), Some(table))?)
    });
    breaks(Law::Locks, |scene, txn| {
        let range = PosixRange {
            start: 0,
            end: 1,
            session: SessionId(99),
            owner: 1,
            pid: 1,
            kind: PosixLockKind::Read,
        };
        let table = PosixTable {
            held: Vec::new(),
            waiting: vec![(range, 1)],
        };
        Ok(txn.set(&Key::PosixLocks(scene.file), Some(table))?)
    });
}

#[test]
fn ids() {
    breaks(Law::Ids, |_, txn| {
        let ino = InodeId::from_parts(5, Slot(77)).unwrap();
        let link = Edge::insert(dot(), target(ino, NodeKind::Fifo));
        txn.join(&Key::Edge(ROOT, b"fifo".to_vec()), &link)?;
        let node = Inode {
            origin: Some(Origin {
                kind: NodeKind::Fifo,
                rdev: 0,
                target: Vec::new(),
            }),
            links: LinkCounter::default().link(LOG_REPLICA),
            parents: OrSet::insert(dot(), (ROOT, b"fifo".to_vec())),
            ..Inode::default()
        };
        txn.join(&Key::Inode(ino), &node)?;
        let root: Stats = txn.get(&Key::Stats(ROOT))?.unwrap_or_default();
        txn.join(&Key::Stats(ROOT), &root.add(&stats::NODE))?;
        Ok(())
    });
    breaks(Law::Ids, |_, txn| {
        let chunk = ChunkId::from_parts(5, Slot(77)).unwrap();
        txn.join(&Key::Chunk(chunk), &Chunk::default())?;
        Ok(())
    });
    breaks(Law::Ids, |scene, txn| {
        let old = txn.value::<super::super::record::SessionRecord>(&Key::Session(scene.session))?;
        Ok(txn.set(&Key::Session(SessionId(99)), old)?)
    });
}

#[test]
fn owners_and_classes() {
    breaks(Law::Owners, |_, txn| {
        let key = Key::Xattr(InodeId(999), b"user.x".to_vec());
        Ok(txn.set(&key, Some(b"kept for nobody".to_vec()))?)
    });
    breaks(Law::Owners, |_, txn| {
        Ok(txn.set(&Key::Sustained(InodeId(999)), Some(b"nobody".to_vec()))?)
    });
    breaks(Law::Owners, |scene, txn| {
        let acl = Acl {
            user: 7,
            group: 7,
            other: 7,
            mask: 7,
            named_users: Vec::new(),
            named_groups: Vec::new(),
        };
        Ok(txn.set(&Key::Acl(scene.file, AclKind::Access), Some(acl))?)
    });
    breaks(Law::Owners, |scene, txn| {
        change(txn, scene.file, |node| Inode {
            decorated: node.decorated.write(Stamp::MIN, true),
            ..Inode::default()
        })
    });
    breaks(Law::Owners, |_, txn| {
        let last = LaneLast {
            seq: RequestSeq(1),
            print: 0,
            at: WallTime(0),
            outcome: Outcome {
                result: Ok(Reply::Done),
                notices: Vec::new(),
                version: 1,
                repeated: false,
            },
            gone: false,
        };
        let key = Key::Lane(SessionId(99), Lane(1));
        txn.join(&key, &LaneRecord(Some(last)))?;
        Ok(())
    });
    breaks(Law::Classes, |scene, txn| {
        change(txn, scene.inner, |node| Inode {
            class: node.class.write(Stamp::MIN, 200),
            ..Inode::default()
        })
    });
}

#[test]
fn a_violation_says_which_law_and_where() {
    let violation = Violation {
        law: Law::Ids,
        detail: "ino5 was not given out".to_owned(),
    };
    assert_eq!(violation.to_string(), "P-IDS (Ids): ino5 was not given out");
    assert!(Law::Links.to_string().starts_with("P-TREE"));
}

#[test]
fn unsettled() {
    let change = |scene: &Scene, txn: &mut Txn<'_>, action, cut, index| {
        let old: Chunk = txn.get(&Key::Chunk(scene.chunk))?.unwrap_or_default();
        let unsettled = Unsettled {
            action,
            cut,
            inode: scene.file,
            index,
        };
        let delta = Chunk {
            unsettled: old.unsettled.write(txn.stamp(), Some(unsettled)),
            ..Chunk::default()
        };
        txn.join(&Key::Chunk(scene.chunk), &delta)?;
        Ok(())
    };
    let cut = Some(Cut {
        bytes: 5,
        file_length: 5,
    });
    let raised = ChunkAction::Raised { from_version: 1 };
    let duplicated = |from| ChunkAction::Duplicated {
        from,
        from_version: 1,
    };
    breaks(Law::Unsettled, |scene, txn| {
        change(scene, txn, ChunkAction::Kept, None, 0)
    });
    breaks(Law::Unsettled, |scene, txn| {
        change(scene, txn, raised, cut, 1)
    });
    breaks(Law::References, |scene, txn| {
        change(scene, txn, duplicated(ChunkId(77)), None, 0)
    });
    breaks(Law::References, |scene, txn| {
        change(scene, txn, duplicated(scene.chunk), None, 0)
    });
}

#[test]
fn chunkservers() {
    let law = Law::Chunkservers;
    let record = |host, registration| ChunkserverRecord {
        address: Address {
            ip: [10, 0, 0, host].into(),
            port: 9_422,
        },
        registration,
        registered_at: WallTime(1),
        maintenance_until: WallTime(0),
    };
    let put = move |txn: &mut Txn<'_>, all: &[(u16, u8, u64)]| {
        let ids: ShardIds = txn.get(&Key::ShardIds)?.unwrap_or_default();
        let delta = ShardIds {
            registrations: ids.registrations.add(LOG_REPLICA, 5),
            ..ShardIds::default()
        };
        txn.join(&Key::ShardIds, &delta)?;
        for (csid, host, number) in all {
            let key = Key::Chunkserver(CsId(*csid));
            txn.set(&key, Some(record(*host, *number)))?;
        }
        Ok(())
    };
    let mut right = scene().bed;
    right.by_hand(|txn| put(txn, &[(1, 1, 4), (2, 2, 5)]));
    assert_eq!(right.tree.check().unwrap(), Ok(()));
    breaks(law, |_, txn| put(txn, &[(0, 1, 5)]));
    breaks(law, |_, txn| put(txn, &[(1, 1, 6)]));
    breaks(law, |_, txn| put(txn, &[(1, 1, 0)]));
    breaks(law, |_, txn| put(txn, &[(1, 1, 4), (2, 1, 5)]));
    breaks(law, |_, txn| put(txn, &[(1, 1, 4), (2, 2, 4)]));
}
