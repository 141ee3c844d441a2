//! Long random sequences of operations over a small tree: whatever they do, the laws of the tree
//! hold after each of them.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::op::*;
use super::testing::{Bed, ROOT, create, hard_quota, link, mkdir, open, rename, rmdir, unlink};
use crate::chunks::Address;
use crate::id::{ChunkId, CsId, InodeId, SessionId};
use crate::limits::CHUNK_BYTES;
use crate::time::WallTime;

/// Numbers that a step is made from.
pub type Step = (u8, [u32; 4]);

/// What a sequence has to do with.
struct Stage {
    bed: Bed,
    nodes: Vec<InodeId>,
    chunks: Vec<ChunkId>,
    sessions: Vec<SessionId>,
    /// The chunk that was made ready last: its file, and its index there.
    ready: (InodeId, u32, ChunkId),
    /// Operations that were carried out.
    done: BTreeSet<String>,
}

impl Stage {
    fn new() -> Self {
        let mut bed = Bed::new();
        let sessions = (0..2).map(|_| bed.session_with(|_| {})).collect();
        Self {
            bed,
            nodes: vec![ROOT],
            chunks: vec![ChunkId::HOLE],
            sessions,
            ready: (ROOT, 0, ChunkId::HOLE),
            done: BTreeSet::new(),
        }
    }

    fn node(&self, number: u32) -> InodeId {
        self.nodes[number as usize % self.nodes.len()]
    }

    fn chunk(&self, number: u32) -> ChunkId {
        self.chunks[number as usize % self.chunks.len()]
    }

    fn session(&self, number: u32) -> SessionId {
        self.sessions[number as usize % self.sessions.len()]
    }

    /// Mostly root, so that most things happen.
    fn caller(&self, number: u32) -> Caller {
        let uid = if number.is_multiple_of(4) { 5 } else { 0 };
        Caller {
            session: self.session(number),
            uid,
            gids: vec![uid],
        }
    }

    fn play(&mut self, step: Step) {
        let op = self.op(step);
        let command = self.bed.command(None, op);
        let outcome = self.bed.apply(&command);
        if outcome.result.is_ok() {
            let shown = format!("{:?}", command.op);
            let name = shown.split(' ').next().unwrap_or_default();
            self.done.insert(name.to_owned());
        }
        match (outcome.result, command.op) {
            (Ok(Reply::Node { inode, .. }), _) => self.nodes.push(inode),
            (Ok(Reply::Chunk { chunk, .. }), Op::WriteChunk { inode, index, .. })
            | (Ok(Reply::TruncateChunk { chunk, index, .. }), Op::Truncate { inode, .. }) => {
                self.chunks.push(chunk);
                self.ready = (inode, index, chunk);
            }
            _ => {}
        }
        self.nodes.dedup();
        self.bed.now += 1;
    }

    fn op(&self, (kind, [a, b, c, d]): Step) -> Op {
        let caller = self.caller(d);
        match kind % 3 {
            0 => self.tree_op(caller, kind / 3, [a, b, c]),
            1 => self.data_op(caller, kind / 3, [a, b, c]),
            _ => self.other_op(caller, kind / 3, [a, b, c]),
        }
    }

    fn tree_op(&self, caller: Caller, kind: u8, [a, b, c]: [u32; 3]) -> Op {
        let (dir, other, name, inode) = (self.node(a), self.node(b), name(c), self.node(b));
        match kind % 10 {
            0 | 1 => create(&caller, dir, name, NodeKind::File),
            2 => mkdir(&caller, dir, dir_name(c)),
            3 => link(&caller, inode, dir, name),
            4 => unlink(&caller, dir, name),
            5 => rmdir(&caller, dir, dir_name(c)),
            6 => rename(&caller, (dir, name), (other, self::name(c / 4))),
            7 => Op::RemoveSnapshot {
                caller,
                parent: dir,
                name: name.into(),
                force: b.is_multiple_of(2),
            },
            _ => Op::Snapshot {
                caller,
                src: inode,
                dst_parent: dir,
                name: name.into(),
                flags: SnapshotFlags {
                    overwrite: c & 16 != 0,
                    like_cp: c & 32 != 0,
                    keep_hardlinks: c & 64 != 0,
                },
                umask: 0,
            },
        }
    }

    fn data_op(&self, caller: Caller, kind: u8, [a, b, c]: [u32; 3]) -> Op {
        let (inode, index, chunk) = if a.is_multiple_of(2) {
            (self.node(a), b % 3, self.chunk(c))
        } else {
            self.ready
        };
        let length = u64::from(b % 3) * CHUNK_BYTES + u64::from(c % 5) * 70_000;
        match kind % 14 {
            0..=2 => Op::WriteChunk {
                caller,
                inode,
                index,
                go_on: c.is_multiple_of(2),
                chunk_moved: c.is_multiple_of(3),
                may_touch_times: true,
            },
            3 => Op::WriteChunkEnd {
                caller,
                inode,
                index,
                chunk,
                length,
                may_touch_times: false,
            },
            4 | 5 => Op::Truncate {
                caller,
                inode,
                length,
                mode: match c % 4 {
                    0 => TruncateMode::Path,
                    1 => TruncateMode::Opened,
                    2 => TruncateMode::Extend,
                    _ => TruncateMode::Reserve,
                },
            },
            6 => Op::TruncateEnd {
                caller,
                inode,
                index,
                chunk,
                length,
            },
            7 => Op::RollbackChunk {
                inode,
                index,
                new: chunk,
                old: self.chunk(c / 2),
            },
            8 => Op::RepairChunk {
                inode,
                index,
                chunk,
                was: 1 + c / 3 % 3,
                best: c.is_multiple_of(2).then_some(1 + c % 5),
            },
            9 if b.is_multiple_of(4) => Op::ForgetPassedVersions {
                chunk,
                version: 1 + b / 4 % 2,
            },
            9 => Op::ForgetChunk { chunk },
            10 => Op::UnlockChunk { chunk },
            12 => Op::SettleChunk {
                chunk,
                version: 1 + c / 3 % 3,
            },
            13 if c.is_multiple_of(5) => Op::PassVersions {
                chunk,
                was: 1 + c / 5 % 3,
                low: 1 + c / 5 % 3 + c / 15 % 2,
                high: 1 + c / 5 % 3 + c / 30 % 3,
            },
            11 if c.is_multiple_of(5) => Op::PassChunkIds {
                slot: chunk.slot(),
                next: chunk.sequence() + u64::from(c % 8),
            },
            13 => Op::SetChunkVersion {
                chunk,
                version: 1 + c / 3 % 3,
            },
            _ => Op::AppendSlice {
                caller,
                dst: inode,
                src: self.node(b),
                from: i64::from(c % 5) - 2,
                to: i64::from(c / 5 % 5) - 1,
            },
        }
    }

    fn other_op(&self, caller: Caller, kind: u8, [a, b, c]: [u32; 3]) -> Op {
        let (inode, session) = (self.node(a), caller.session);
        let mode = match b % 3 {
            0 => SetMode::Set,
            1 => SetMode::Increase,
            _ => SetMode::Decrease,
        };
        let recursive = c.is_multiple_of(2);
        match kind % 12 {
            0 => Op::SetTrashTime {
                caller,
                inode,
                seconds: b % 3 * 3_600,
                mode,
                recursive,
            },
            1 => Op::SetSclass {
                caller,
                inode,
                class: (c % 12) as u8,
                only: None,
                mode,
                recursive,
            },
            2 => Op::SetEattr {
                caller,
                inode,
                // Protection only sometimes, or nothing could be done any more.
                eattr: if c % 8 == 1 { 0xFF } else { 0x0F },
                mode: if c % 8 == 1 { mode } else { SetMode::Set },
                recursive,
            },
            3 => Op::SetXattr {
                caller,
                inode,
                opened: false,
                name: b"user.x".to_vec(),
                value: vec![1; c as usize % 3],
                mode: if recursive {
                    XattrMode::CreateOrReplace
                } else {
                    XattrMode::Remove
                },
            },
            4 => Op::SetAcl {
                caller,
                inode,
                kind: if recursive {
                    AclKind::Access
                } else {
                    AclKind::Default
                },
                acl: acl(b),
            },
            5 => open(
                &caller,
                inode,
                OpenFlags {
                    read: true,
                    truncate: c.is_multiple_of(8),
                    ..OpenFlags::default()
                },
            ),
            6 => Op::SetOpenFiles {
                session,
                inodes: vec![inode],
            },
            7 => Op::Flock {
                session,
                inode,
                owner: u64::from(b % 2),
                reqid: c,
                op: [
                    FlockOp::LockShared,
                    FlockOp::LockExclusive,
                    FlockOp::TryExclusive,
                    FlockOp::Unlock,
                    FlockOp::Release,
                    FlockOp::Interrupt,
                ][c as usize % 6],
            },
            8 => Op::PosixLock {
                session,
                inode,
                owner: u64::from(b % 2),
                pid: 1,
                reqid: c,
                op: [PosixOp::Set, PosixOp::Try, PosixOp::Interrupt][b as usize % 3],
                kind: [
                    PosixLockKind::Read,
                    PosixLockKind::Write,
                    PosixLockKind::Unlock,
                ][c as usize % 3],
                start: u64::from(b % 7),
                end: u64::from(c % 11),
            },
            9 if c.is_multiple_of(4) => Op::ArchiveAged {
                inode,
                from: c / 4 % 3,
                to: u32::MAX,
            },
            9 => Op::SetArchived {
                caller,
                inode,
                archived: recursive,
            },
            10 => Op::Sweep {
                after: None,
                limit: 3,
            },
            11 if c.is_multiple_of(3) => chunkserver(a, b),
            _ => self.class_or_quota(inode, session, b, c),
        }
    }

    fn class_or_quota(&self, inode: InodeId, session: SessionId, b: u32, c: u32) -> Op {
        let name = || vec![b'a' + (b % 2) as u8];
        match c % 4 {
            0 => Op::DuplicateClass {
                session,
                old: b"2".to_vec(),
                new: name(),
            },
            1 => Op::DeleteClass {
                session,
                name: name(),
            },
            2 => Op::ChangeClass {
                session,
                name: if b.is_multiple_of(2) {
                    name()
                } else {
                    b"2".to_vec()
                },
                change: ClassChange {
                    keep: Some(vec![[0; 4]; (b % 5) as usize]),
                    force: true,
                    ..ClassChange::default()
                },
            },
            _ => hard_quota(
                inode,
                QuotaLimits {
                    length: Some(CHUNK_BYTES * u64::from(b % 5)),
                    real_size: Some(CHUNK_BYTES * u64::from(b % 9)),
                    ..QuotaLimits::default()
                },
            ),
        }
    }
}

fn chunkserver(number: u32, host: u32) -> Op {
    let csid = CsId((number % 4) as u16);
    match host % 8 {
        0 => Op::ForgetChunkserver { csid },
        1 => Op::SetMaintenance {
            csid,
            until: WallTime(number),
        },
        host => Op::RegisterChunkserver {
            csid,
            address: Address {
                ip: [10, 0, 0, (host / 2) as u8].into(),
                port: 9_422,
            },
        },
    }
}

fn name(number: u32) -> &'static str {
    ["a", "b", "c", "d"][number as usize % 4]
}

/// Names that only directories have come in, so that some stay empty.
fn dir_name(number: u32) -> &'static str {
    ["a", "b", "e", "f"][number as usize % 4]
}

fn acl(number: u32) -> Acl {
    let bits = if number.is_multiple_of(3) { 0xFFFF } else { 7 };
    Acl {
        user: bits,
        group: bits,
        other: bits,
        mask: bits,
        named_users: if number.is_multiple_of(2) {
            vec![(5, 4)]
        } else {
            Vec::new()
        },
        named_groups: Vec::new(),
    }
}

/// The tree after these steps.
pub fn bed_after(steps: Vec<Step>) -> Bed {
    let mut stage = Stage::new();
    for step in steps {
        stage.play(step);
    }
    stage.bed
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_laws_of_the_tree_hold_after_every_operation(
        steps in prop::collection::vec((any::<u8>(), any::<[u32; 4]>()), 1..120)
    ) {
        let mut stage = Stage::new();
        for step in steps {
            stage.play(step);
        }
    }
}

#[test]
fn random_sequences_get_somewhere() {
    let mut stage = Stage::new();
    let mut rng: u32 = 1;
    let mut next = || {
        // xorshift: any fixed sequence will do.
        rng ^= rng << 13;
        rng ^= rng >> 17;
        rng ^= rng << 5;
        rng
    };
    for _ in 0..3_000 {
        let kind = next() as u8;
        stage.play((kind, [next(), next(), next(), next()]));
    }
    assert!(stage.nodes.len() > 20, "{} nodes", stage.nodes.len());
    assert!(stage.chunks.len() > 10, "{} chunks", stage.chunks.len());
    let done: Vec<_> = stage.done.iter().map(String::as_str).collect();
    let expected = [
        "AppendSlice",
        "ArchiveAged",
        "ChangeClass",
        "Create",
        "DeleteClass",
        "DuplicateClass",
        "Flock",
        "ForgetChunk",
        "ForgetChunkserver",
        "ForgetPassedVersions",
        "Link",
        "Mkdir",
        "Open",
        "PassChunkIds",
        "PassVersions",
        "PosixLock",
        "RegisterChunkserver",
        "RemoveSnapshot",
        "Rename",
        "RepairChunk",
        "Rmdir",
        "RollbackChunk",
        "SetAcl",
        "SetArchived",
        "SetChunkVersion",
        "SetEattr",
        "SetMaintenance",
        "SetOpenFiles",
        "SetQuota",
        "SetSclass",
        "SetTrashTime",
        "SetXattr",
        "SettleChunk",
        "Snapshot",
        "Sweep",
        "Truncate",
        "TruncateEnd",
        "Unlink",
        "UnlockChunk",
        "WriteChunk",
        "WriteChunkEnd",
    ];
    assert_eq!(done, expected, "every operation succeeded at least once");
}
