//! Whether what looks like a repeat is one.
//!
//! The wire does not tell a request that is sent again from the next one that says the same: both
//! are the first of their thread on a new connection. What its outcome was tells more. Room that
//! was reserved for an append and has been written into was known to the client; a node that was
//! made and is not there any more was not asked for just now; a chunk whose lock is not the one that
//! was given must not be written by who had that. The next request is carried out then.
//! Otherwise a lost answer is the likelier reading, and the outcome is told again.

use crate::id::{ChunkId, InodeId};
use crate::limits;
use crate::namespace::error::FsError;
use crate::namespace::op::{Answer, Op, Query, Reply, TruncateMode};
use crate::time::WallTime;

/// What would prove that the client had the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// The file reaches beyond this.
    Written(u64),
    /// The name is not this node's.
    Gone(InodeId),
    /// The chunk is not locked until then, or not any more.
    Unlocked(ChunkId, WallTime),
}

impl Doubt {
    /// What is to be asked before an outcome is told again, where there is anything.
    /// `at` is when the command was applied that seems to be repeated.
    pub fn of(op: &Op, reply: &Reply, at: WallTime) -> Option<(Query, Self)> {
        match (op, reply) {
            (
                Op::Truncate {
                    caller,
                    inode,
                    mode: TruncateMode::Reserve,
                    ..
                },
                Reply::Truncated {
                    previous_length, ..
                },
            ) => {
                let query = Query::GetAttr {
                    caller: caller.clone(),
                    inode: *inode,
                    opened: true,
                };
                Some((query, Self::Written(*previous_length)))
            }
            (
                Op::Create {
                    caller,
                    parent,
                    name,
                    ..
                }
                | Op::Mkdir {
                    caller,
                    parent,
                    name,
                    ..
                }
                | Op::Symlink {
                    caller,
                    parent,
                    name,
                    ..
                },
                Reply::Node { inode, .. },
            ) => {
                let query = Query::Lookup {
                    caller: caller.clone(),
                    parent: *parent,
                    name: name.clone(),
                };
                Some((query, Self::Gone(*inode)))
            }
            (
                Op::WriteChunk {
                    caller,
                    inode,
                    index,
                    ..
                },
                Reply::Chunk { chunk, .. },
            ) => {
                let query = Query::ListChunks {
                    caller: caller.clone(),
                    inode: *inode,
                    from: *index,
                    max: 1,
                };
                let until = at.0.saturating_add(limits::CHUNK_LOCK_SECONDS);
                Some((query, Self::Unlocked(*chunk, WallTime(until))))
            }
            _ => None,
        }
    }

    /// Whether the answer proves it.
    pub fn is_proved_by(self, answer: &Result<Answer, FsError>, now: WallTime) -> bool {
        match (self, answer) {
            (Self::Unlocked(chunk, until), Ok(Answer::Chunks { chunks, .. })) => {
                let first = chunks.first().filter(|info| info.chunk == chunk);
                first.is_none_or(|info| info.locked_until != until || until < now)
            }
            (Self::Written(begin), Ok(Answer::Attr(attr))) => attr.length > begin,
            (Self::Gone(made), Ok(Answer::Looked { inode, .. })) => *inode != made,
            (Self::Gone(_), Err(FsError::NoEnt | FsError::NoEntNoCache)) => true,
            _ => false,
        }
    }
}
