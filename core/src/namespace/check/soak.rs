//! Whatever is asked in whatever order, every law holds and a refusal changes nothing. (What each
//! answer has to be is another test's business.)

use proptest::prelude::*;

use super::super::op::{NodeKind, Op, OpenFlags, QuotaLimits, Reply, SetAttr, SetTime};
use super::super::testing::{
    Bed, ROOT, create, link, mkdir, open, rename, rmdir, root, set_attr, symlink, unlink, user,
};
use crate::id::{InodeId, SessionId};

/// What a step does, by number, and the numbers that it picks its arguments with.
type Step = (u8, usize, usize, u8, u8);

const NAMES: [&str; 3] = ["a", "b", "c"];

fn name(pick: u8) -> &'static str {
    NAMES[usize::from(pick) % NAMES.len()]
}

/// What steps pick from: directories that are there, and all other nodes that ever were.
struct Pool {
    dirs: Vec<InodeId>,
    others: Vec<InodeId>,
    sessions: Vec<SessionId>,
}

/// The operation of a step. Most steps get what they are likely to be carried out with.
fn op(step: Step, pool: &Pool) -> Op {
    let (kind, a, b, x, y) = step;
    let sessions = &pool.sessions;
    let dir = |pick: usize| pool.dirs[pick % pool.dirs.len()];
    let other = |pick: usize| match pool.others.len() {
        0 => dir(pick),
        len => pool.others[pick % len],
    };
    let (one, two) = match kind {
        5 => (other(a), dir(b)),
        0..=10 => (dir(a), dir(b)),
        11 | 13 => (
            if y.is_multiple_of(4) {
                other(a)
            } else {
                dir(a)
            },
            dir(b),
        ),
        _ => (other(a), other(b)),
    };
    let session = sessions[b % sessions.len()];
    let caller = user(session, u32::from(y % 3) * 10);
    match kind {
        0 => Op::Create {
            caller,
            parent: one,
            name: name(x).into(),
            kind: NodeKind::File,
            mode: 0o666,
            umask: 0,
            rdev: 0,
            open: y.is_multiple_of(2),
        },
        1 | 2 => mkdir(&caller, one, name(x)),
        3 => symlink(&caller, one, name(x), b"target"),
        4 => create(&caller, one, name(x), NodeKind::Fifo),
        5 => link(&root(), one, two, name(x)),
        6 => unlink(&caller, one, name(x)),
        7 => rmdir(&caller, one, name(x)),
        8..=10 => rename(&root(), (one, name(x)), (two, name(y))),
        11 => {
            let set = SetAttr {
                mode: Some(u16::from(x) << 4 | u16::from(y)),
                atime: SetTime::Now,
                ..SetAttr::default()
            };
            set_attr(&caller, one, set)
        }
        12 => {
            let flags = OpenFlags {
                read: true,
                write: false,
                after_create: false,
                truncate: x.is_multiple_of(3),
            };
            open(&caller, one, flags)
        }
        13 => {
            let limit = |value: u8| QuotaLimits {
                inodes: Some(u32::from(value % 8) + 1),
                ..QuotaLimits::default()
            };
            Op::SetQuota {
                caller: root(),
                inode: one,
                limits: (!x.is_multiple_of(3)).then(|| (limit(y), limit(x), u32::from(y))),
            }
        }
        14 => Op::SetOpenFiles {
            session,
            inodes: vec![one, two],
        },
        15 => Op::Undelete {
            caller: root(),
            inode: one,
        },
        16 => Op::PurgeTrash {
            caller: root(),
            inode: one,
        },
        17 => Op::Sweep {
            after: x.is_multiple_of(2).then_some(two),
            limit: u32::from(y % 5),
        },
        18 => Op::SetTrashPath {
            caller: root(),
            inode: one,
            path: [name(x), name(y)].join("/").into(),
        },
        19 => Op::CloseSession { session },
        _ => Op::SetTimes {
            session,
            times: vec![(one, crate::time::WallTime(u32::from(x) * 100), two_time(y))],
        },
    }
}

fn two_time(pick: u8) -> crate::time::WallTime {
    crate::time::WallTime(u32::from(pick) * 1_000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn no_sequence_of_commands_breaks_a_law(
        steps in prop::collection::vec((0..21u8, 0..64usize, 0..64usize, any::<u8>(), any::<u8>()), 1..120)
    ) {
        let mut bed = Bed::new();
        let mut pool = Pool {
            dirs: vec![ROOT],
            others: Vec::new(),
            sessions: vec![SessionId(0)],
        };
        pool.sessions.push(bed.session_with(|_| {}));
        pool.sessions.push(bed.session_with(|params| params.flags.map_all = true));
        let mut chunks = 0;
        for step in steps {
            bed.now += u32::from(step.4) * 40;
            let made = bed.run(op(step, &pool));
            if let Ok(Reply::Removed { inode }) = made {
                pool.dirs.retain(|dir| *dir != inode);
            }
            if let Ok(Reply::Node { inode, attr }) = made {
                let list = if attr.kind == NodeKind::Directory {
                    &mut pool.dirs
                } else {
                    &mut pool.others
                };
                if !list.contains(&inode) {
                    list.push(inode);
                }
                if attr.kind == NodeKind::File && attr.length == 0 && chunks < 9 {
                    bed.add_chunk(inode, u32::from(step.3 % 3), u64::from(step.4) << 20);
                    chunks += 1;
                }
            }
        }
    }
}
