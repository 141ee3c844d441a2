//! Making and removing names.

use mfsha_core::id::InodeId;
use mfsha_core::namespace::op::{Name, NodeKind, Op};

use crate::case::Case;
use crate::stage::Stage;

/// What is timed of them.
pub fn cases() -> Vec<Case> {
    let mut cases = making();
    cases.extend(removing());
    cases.extend(renaming());
    cases
}

fn making() -> Vec<Case> {
    vec![
        Case::new("create", |stage| {
            let dir = stage.dir();
            stage.world.create(dir)
        }),
        Case::new("create and open", |stage| Op::Create {
            caller: stage.world.root(),
            parent: stage.dir(),
            name: stage.world.name(),
            kind: NodeKind::File,
            mode: 0o644,
            umask: 0o022,
            rdev: 0,
            open: true,
        }),
        Case::new("mkdir", |stage| {
            let dir = stage.dir();
            stage.world.mkdir(dir)
        }),
        Case::new("symlink", |stage| Op::Symlink {
            caller: stage.world.root(),
            parent: stage.dir(),
            name: stage.world.name(),
            target: b"../somewhere/else".to_vec(),
        }),
        Case::new("link", |stage| Op::Link {
            caller: stage.world.root(),
            inode: stage.file(),
            parent: stage.dir(),
            name: stage.world.name(),
        }),
    ]
}

fn removing() -> Vec<Case> {
    vec![
        Case::new("unlink to trash", |stage| {
            let (parent, _, name) = stage.named();
            stage.unlink(parent, name)
        }),
        Case::new("unlink without trash time", |stage| {
            let (parent, inode, name) = stage.named();
            stage.write(inode);
            let now = stage.set_trash_time(inode, 0, false);
            stage.world.ok(now);
            stage.unlink(parent, name)
        }),
        Case::new("unlink, another link stays", |stage| {
            let (parent, inode, name) = stage.named();
            let link = Op::Link {
                caller: stage.world.root(),
                inode,
                parent: stage.dir(),
                name: stage.world.name(),
            };
            stage.world.ok(link);
            stage.unlink(parent, name)
        }),
        Case::new("rmdir", |stage| {
            let (parent, name) = stage.named_dir();
            Op::Rmdir {
                caller: stage.world.root(),
                parent,
                name,
            }
        }),
    ]
}

fn renaming() -> Vec<Case> {
    vec![
        Case::new("rename within a directory", |stage| {
            let (dir, _, name) = stage.named();
            let to = (dir, stage.world.name());
            rename(stage, (dir, name), to)
        }),
        Case::new("rename to another directory", |stage| {
            let (dir, _, name) = stage.named();
            let to = (stage.dir(), stage.world.name());
            rename(stage, (dir, name), to)
        }),
        Case::new("rename over a file", |stage| {
            let (dir, _, name) = stage.named();
            let (other_dir, _, other_name) = stage.named();
            rename(stage, (dir, name), (other_dir, other_name))
        }),
        Case::new("rename of a directory", |stage| {
            let from = stage.named_dir();
            let to = (stage.dir(), stage.world.name());
            rename(stage, from, to)
        }),
    ]
}

fn rename(
    stage: &Stage,
    (src_parent, src_name): (InodeId, Name),
    (dst_parent, dst_name): (InodeId, Name),
) -> Op {
    Op::Rename {
        caller: stage.world.root(),
        src_parent,
        src_name,
        dst_parent,
        dst_name,
    }
}
