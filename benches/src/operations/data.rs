//! Open files and their data, as clients ask for it.

use mfsha_core::namespace::op::{Op, OpenFlags, SnapshotFlags, TruncateMode};

use crate::case::Case;

/// What is timed of them.
pub fn cases() -> Vec<Case> {
    let mut cases = lengths();
    cases.extend(writes());
    cases
}

fn lengths() -> Vec<Case> {
    vec![
        Case::new("open", |stage| {
            let inode = stage.file();
            stage.open(inode)
        }),
        Case::new("open and truncate", |stage| Op::Open {
            caller: stage.world.root(),
            inode: stage.written(),
            flags: OpenFlags {
                write: true,
                truncate: true,
                ..OpenFlags::default()
            },
        }),
        Case::new("truncate to zero", |stage| {
            let inode = stage.written();
            stage.truncate(inode, 0)
        }),
        Case::new("truncate inside a chunk", |stage| {
            let inode = stage.written();
            stage.truncate(inode, 100)
        }),
        Case::new("truncate end", |stage| {
            let (inode, chunk) = stage.cut(100);
            Op::TruncateEnd {
                caller: stage.world.root(),
                inode,
                index: 0,
                chunk,
                length: 100,
            }
        }),
        Case::new("extend", |stage| Op::Truncate {
            caller: stage.world.root(),
            inode: stage.written(),
            length: 80_000,
            mode: TruncateMode::Extend,
        }),
        Case::new("append slice", |stage| Op::AppendSlice {
            caller: stage.world.root(),
            dst: stage.file(),
            src: stage.written(),
            from: 0,
            to: 1,
        }),
    ]
}

fn writes() -> Vec<Case> {
    vec![
        Case::new("write chunk, new", |stage| {
            let inode = stage.file();
            stage.world.write_chunk(inode, 0)
        }),
        Case::new("write chunk, own", |stage| {
            let inode = stage.written();
            stage.world.write_chunk(inode, 0)
        }),
        Case::new("write chunk, moved", |stage| {
            let (inode, chunk) = stage.written_chunk();
            // Before that its version is nobody's, and would not rise.
            stage.world.ok(Op::SettleChunk { chunk, version: 1 });
            Op::WriteChunk {
                caller: stage.world.root(),
                inode,
                index: 0,
                go_on: false,
                chunk_moved: true,
                may_touch_times: true,
            }
        }),
        Case::new("write chunk, shared", |stage| {
            let inode = stage.written();
            let snapshot = Op::Snapshot {
                caller: stage.world.root(),
                src: inode,
                dst_parent: stage.dir(),
                name: stage.world.name(),
                flags: SnapshotFlags::default(),
                umask: 0,
            };
            stage.world.ok(snapshot);
            stage.world.write_chunk(inode, 0)
        }),
        Case::new("write chunk end", |stage| {
            let inode = stage.file();
            let chunk = stage.world.chunk(inode);
            stage.write_end(inode, chunk)
        }),
    ]
}
