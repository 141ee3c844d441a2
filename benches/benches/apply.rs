//! How long it takes to apply each operation, over a map in memory: 64 directories of 512 files,
//! three levels deep. What an operation needs is made before the clock runs.
#![expect(missing_docs, reason = "criterion's macro makes a public function")]

use std::cell::RefCell;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use mfsha_benches::world::World;
use mfsha_core::id::{InodeId, SessionId};
use mfsha_core::namespace::op::*;
use mfsha_core::time::WallTime;

const DIRS: usize = 64;
const FILES: usize = 512;

/// A populated tree and its directories.
struct Stage {
    world: World,
    dirs: Vec<InodeId>,
    turn: usize,
}

impl Stage {
    fn new() -> Self {
        let mut world = World::new();
        let top = world.dir(InodeId::ROOT);
        let second = world.dir(top);
        let dirs: Vec<_> = (0..DIRS).map(|_| world.dir(second)).collect();
        for dir in &dirs {
            for _ in 0..FILES {
                world.file(*dir);
            }
        }
        Self {
            world,
            dirs,
            turn: 0,
        }
    }

    /// The directories by turns.
    fn dir(&mut self) -> InodeId {
        self.turn += 1;
        self.dirs[self.turn % self.dirs.len()]
    }

    /// A new file, its directory and name.
    fn named(&mut self) -> (InodeId, InodeId, Vec<u8>) {
        let dir = self.dir();
        let op = self.world.create(dir);
        let Op::Create { name, .. } = &op else {
            unreachable!("it was made so");
        };
        let name = name.clone();
        match self.world.ok(op) {
            Reply::Node { inode, .. } => (dir, inode, name),
            other => panic!("a node was expected, not {other:?}"),
        }
    }

    fn file(&mut self) -> InodeId {
        self.named().1
    }

    /// A new file with one written chunk.
    fn written(&mut self) -> InodeId {
        let inode = self.file();
        let end = self.write_end(inode);
        self.world.ok(end);
        inode
    }

    fn write_end(&mut self, inode: InodeId) -> Op {
        let chunk = self.world.chunk(inode);
        Op::WriteChunkEnd {
            caller: self.world.root(),
            inode,
            index: 0,
            chunk,
            length: 70_000,
            may_touch_times: true,
        }
    }
}

type Prepare = fn(&mut Stage) -> Op;

fn names() -> Vec<(&'static str, Prepare)> {
    vec![
        ("create", |stage| {
            let dir = stage.dir();
            stage.world.create(dir)
        }),
        ("mkdir", |stage| {
            let dir = stage.dir();
            stage.world.mkdir(dir)
        }),
        ("symlink", |stage| Op::Symlink {
            caller: stage.world.root(),
            parent: stage.dir(),
            name: stage.world.name(),
            target: b"../somewhere/else".to_vec(),
        }),
        ("link", |stage| Op::Link {
            caller: stage.world.root(),
            inode: stage.file(),
            parent: stage.dir(),
            name: stage.world.name(),
        }),
        ("unlink to trash", |stage| {
            let (parent, _, name) = stage.named();
            Op::Unlink {
                caller: stage.world.root(),
                parent,
                name,
            }
        }),
        ("rename within a directory", |stage| {
            let (dir, _, src_name) = stage.named();
            Op::Rename {
                caller: stage.world.root(),
                src_parent: dir,
                src_name,
                dst_parent: dir,
                dst_name: stage.world.name(),
            }
        }),
        ("rename to another directory", |stage| {
            let (src_parent, _, src_name) = stage.named();
            Op::Rename {
                caller: stage.world.root(),
                src_parent,
                src_name,
                dst_parent: stage.dir(),
                dst_name: stage.world.name(),
            }
        }),
        ("snapshot of a file", |stage| Op::Snapshot {
            caller: stage.world.root(),
            src: stage.written(),
            dst_parent: stage.dir(),
            name: stage.world.name(),
            flags: SnapshotFlags::default(),
            umask: 0,
        }),
    ]
}

fn attributes() -> Vec<(&'static str, Prepare)> {
    vec![
        ("setattr", |stage| Op::SetAttr {
            caller: stage.world.root(),
            inode: stage.file(),
            opened: false,
            set: SetAttr {
                mode: Some(0o600),
                uid: Some(5),
                ..SetAttr::default()
            },
        }),
        ("touch atime", |stage| Op::TouchAtime {
            inode: stage.file(),
        }),
        ("set times", |stage| Op::SetTimes {
            session: stage.world.session,
            times: vec![(stage.file(), WallTime(2_000_000), WallTime(2_000_000))],
        }),
        ("setxattr", |stage| Op::SetXattr {
            caller: stage.world.root(),
            inode: stage.file(),
            opened: false,
            name: b"user.name".to_vec(),
            value: vec![7; 64],
            mode: XattrMode::CreateOrReplace,
        }),
        ("setfacl", |stage| Op::SetAcl {
            caller: stage.world.root(),
            inode: stage.file(),
            kind: AclKind::Access,
            acl: Acl {
                user: 7,
                group: 5,
                other: 0,
                mask: 7,
                named_users: vec![(5, 7)],
                named_groups: Vec::new(),
            },
        }),
        ("set trash time", |stage| Op::SetTrashTime {
            caller: stage.world.root(),
            inode: stage.file(),
            seconds: 7_200,
            mode: SetMode::Set,
            recursive: false,
        }),
        ("set class", |stage| Op::SetSclass {
            caller: stage.world.root(),
            inode: stage.written(),
            class: 3,
            only: None,
            mode: SetMode::Set,
            recursive: false,
        }),
        ("set eattr", |stage| Op::SetEattr {
            caller: stage.world.root(),
            inode: stage.file(),
            eattr: 2,
            mode: SetMode::Set,
            recursive: false,
        }),
        ("set archived", |stage| Op::SetArchived {
            caller: stage.world.root(),
            inode: stage.written(),
            archived: true,
        }),
        ("set quota", |stage| Op::SetQuota {
            caller: stage.world.root(),
            inode: stage.dir(),
            limits: Some((QuotaLimits::default(), QuotaLimits::default(), 60)),
        }),
    ]
}

fn data() -> Vec<(&'static str, Prepare)> {
    vec![
        ("open", |stage| Op::Open {
            caller: stage.world.root(),
            inode: stage.file(),
            flags: OpenFlags {
                read: true,
                ..OpenFlags::default()
            },
        }),
        ("write chunk, new", |stage| {
            let inode = stage.file();
            stage.world.write_chunk(inode)
        }),
        ("write chunk, own", |stage| {
            let inode = stage.written();
            stage.world.write_chunk(inode)
        }),
        ("write chunk end", |stage| {
            let inode = stage.file();
            stage.write_end(inode)
        }),
        ("truncate to zero", |stage| Op::Truncate {
            caller: stage.world.root(),
            inode: stage.written(),
            length: 0,
            mode: TruncateMode::Opened,
        }),
        ("extend", |stage| Op::Truncate {
            caller: stage.world.root(),
            inode: stage.written(),
            length: 80_000,
            mode: TruncateMode::Extend,
        }),
        ("append slice", |stage| Op::AppendSlice {
            caller: stage.world.root(),
            dst: stage.file(),
            src: stage.written(),
            from: 0,
            to: 1,
        }),
        ("flock", |stage| Op::Flock {
            session: stage.world.session,
            inode: opened(stage),
            owner: 1,
            reqid: 1,
            op: FlockOp::LockExclusive,
        }),
        ("posix lock", |stage| Op::PosixLock {
            session: stage.world.session,
            inode: opened(stage),
            owner: 1,
            pid: 1,
            reqid: 1,
            op: PosixOp::Set,
            kind: PosixLockKind::Write,
            start: 0,
            end: 100,
        }),
        ("sweep of 100", |_| Op::Sweep {
            after: None,
            limit: 100,
        }),
    ]
}

/// A file that the session has open, and nothing else, so that the list stays short.
fn opened(stage: &mut Stage) -> InodeId {
    let inode = stage.file();
    let session: SessionId = stage.world.session;
    stage.world.ok(Op::SetOpenFiles {
        session,
        inodes: vec![inode],
    });
    inode
}

fn apply(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("apply");
    for (name, prepare) in names().into_iter().chain(attributes()).chain(data()) {
        // A fresh tree each, so that one operation's leftovers do not slow the next.
        let stage = RefCell::new(Stage::new());
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || prepare(&mut stage.borrow_mut()),
                |op| stage.borrow_mut().world.ok(op),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, apply);
criterion_main!(benches);
