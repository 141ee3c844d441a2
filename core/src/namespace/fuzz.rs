//! Bodies of fuzz targets: kept here, so that a change of interface breaks them at compile time.

use super::Namespace;
use super::op::{Command, Op};
use crate::codec;
use crate::id::LogIndex;
use crate::store::MemStore;

/// Commands of one input that are carried out.
const COMMANDS_MAX: usize = 64;
/// Stamps stay below this: a node refuses to make one that is far in the future, and one at the
/// end of time could not be overwritten.
const STAMP_END: u64 = 1 << 60;
/// Files stay shorter than this, so that the sums of all that one input can make fit 63 bits.
const LENGTH_END: u64 = 1 << 40;
/// The same for chunk indexes.
const INDEX_END: u32 = 1 << 14;

/// Reads commands and carries them out. No bytes may panic or break a law of the tree.
///
/// # Panics
/// When they do: the fuzzer found a bug.
pub fn fuzz_apply(bytes: &[u8]) {
    let Ok(commands) = codec::decode::<Vec<Command>>(bytes) else {
        return;
    };
    let mut tree = Namespace::open(MemStore::new()).expect("memory does not fail");
    let mut index = LogIndex(0);
    for mut command in commands.into_iter().take(COMMANDS_MAX) {
        tame(&mut command);
        index = index.next();
        tree.apply(index, &command).expect("memory does not fail");
    }
    let verdict = tree.check().expect("memory does not fail");
    assert_eq!(verdict, Ok(()), "a law of the tree is broken");
}

/// Keeps numbers where their sums are exact.
fn tame(command: &mut Command) {
    command.stamp.time %= STAMP_END;
    match &mut command.op {
        Op::Truncate { length, .. }
        | Op::TruncateEnd { length, .. }
        | Op::WriteChunkEnd { length, .. } => *length %= LENGTH_END,
        Op::WriteChunk { index, .. } => *index %= INDEX_END,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::op::{Caller, NodeKind, SessionParams};
    use super::*;
    use crate::id::{InodeId, NodeId, SessionId};
    use crate::time::{Stamp, WallTime};

    fn sample() -> Vec<Command> {
        let caller = Caller {
            session: SessionId(0),
            uid: 0,
            gids: vec![0],
        };
        let ops = [
            Op::OpenSession {
                params: SessionParams::unrestricted(),
            },
            Op::Create {
                caller: caller.clone(),
                parent: InodeId::ROOT,
                name: b"f".to_vec(),
                kind: NodeKind::File,
                mode: 0o644,
                umask: 0,
                rdev: 0,
                open: true,
            },
            Op::WriteChunk {
                caller,
                inode: InodeId::from_parts(1, InodeId::ROOT.slot()).unwrap(),
                index: 3,
                go_on: false,
                chunk_moved: false,
                may_touch_times: true,
            },
        ];
        let command = |op| Command {
            stamp: Stamp {
                time: 5,
                node: NodeId(1),
            },
            now: WallTime(7),
            request: None,
            op,
        };
        ops.into_iter().map(command).collect()
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            fuzz_apply(&bytes);
        }

        #[test]
        fn no_changed_bytes_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6)) {
            let mut bytes = codec::encode(&sample());
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            fuzz_apply(&bytes);
        }
    }
}
