//! Whether what looks like a repeat is one.
//!
//! The wire does not tell a request that is sent again from the next one that says the same: both
//! are the first of their thread on a new connection. What its outcome was tells more. Room that
//! was reserved for an append and has been written into was known to the client; a node that was
//! made and is not there any more was not asked for just now; a chunk whose lock is not the one that
//! was given must not be written by who had that. The next request is carried out then.
//! Otherwise a lost answer is the likelier reading, and the outcome is told again.
//!
//! What comes later than a mount asks again is the next request, if clocks are right. They need not
//! be, so it counts as a repeat where the tree is still as the outcome left it; where that cannot
//! be seen, it is carried out.

use crate::id::{ChunkId, InodeId};
use crate::limits;
use crate::namespace::error::FsError;
use crate::namespace::op::{Answer, Op, Query, Reply, TruncateMode};
use crate::time::WallTime;

use super::lanes::Again;

/// What is to be done with the outcome of what a request seems to repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// It is told.
    Told,
    /// It is told unless the answer to this proves that the client had it.
    Ask(Query, Doubt),
    /// The request is carried out, as another one.
    Anew,
}

impl Judged {
    /// Judges what a command came to that seems to be repeated.
    pub fn of(op: &Op, result: &Result<Reply, FsError>, again: Again) -> Self {
        let doubt = match result {
            Ok(reply) => Doubt::of(op, reply, again),
            Err(_) => None,
        };
        match doubt {
            Some((query, doubt)) => Self::Ask(query, doubt),
            None if again.late => Self::Anew,
            None => Self::Told,
        }
    }
}

/// What would prove that the client had the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// The file reaches beyond this.
    Written(u64),
    /// The name is not this node's.
    Gone(InodeId),
    /// The name is somebody's.
    There,
    /// The chunk is not locked until then, or not any more.
    Unlocked(ChunkId, WallTime),
}

impl Doubt {
    /// What is to be asked before an outcome is told again, where there is anything.
    fn of(op: &Op, reply: &Reply, again: Again) -> Option<(Query, Self)> {
        match (op, reply) {
            (
                Op::Unlink {
                    caller,
                    parent,
                    name,
                }
                | Op::Rmdir {
                    caller,
                    parent,
                    name,
                },
                _,
            ) if again.late => {
                let query = Query::Lookup {
                    caller: caller.clone(),
                    parent: *parent,
                    name: name.clone(),
                };
                Some((query, Self::There))
            }
            (
                Op::Rename {
                    caller,
                    dst_parent: parent,
                    dst_name: name,
                    ..
                }
                | Op::Link {
                    caller,
                    parent,
                    name,
                    ..
                },
                Reply::Node { inode, .. },
            ) if again.late => {
                let query = Query::Lookup {
                    caller: caller.clone(),
                    parent: *parent,
                    name: name.clone(),
                };
                Some((query, Self::Gone(*inode)))
            }
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
                let until = again.at.0.saturating_add(limits::CHUNK_LOCK_SECONDS);
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
            (Self::There, Ok(Answer::Looked { .. })) => true,
            (Self::Gone(_), Err(FsError::NoEnt | FsError::NoEntNoCache)) => true,
            _ => false,
        }
    }
}
