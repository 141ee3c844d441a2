//! What clients ask: operations drawn over what clients have learned.
//!
//! An operation of the schedule is a kind and a draw; it becomes concrete when it is issued, from
//! the inodes that answers have named so far. So taking an operation out of a schedule leaves the
//! kind and the draw of every other as they were.
//!
//! Two kinds, `any-command` and `any-query`, stand for every operation that there is: the model's
//! generator makes them from a model that follows what the nodes have applied.

use mfsha_core::id::{ChunkId, InodeId, LogIndex, SessionId};
use mfsha_core::namespace::op::{
    Answer, Caller, FlockOp, NodeKind, Op, OpenFlags, Query, Reply, SetAttr, SetTime, TruncateMode,
    XattrMode,
};
use mfsha_core::rng::Rng;
use mfsha_model::Model;
use mfsha_model::generate::{COMMANDS, Generator, Request, Step};

use crate::event::{AppliedEntry, AppliedPayload};

/// What begins like this has an owner, who judges what becomes of it: others leave it alone.
pub const PREFIX: &str = "own-";

/// Kinds of operation that a schedule can hold.
pub const KINDS: &[&str] = &[
    "create",
    "mkdir",
    "symlink",
    "link",
    "unlink",
    "rmdir",
    "rename",
    "setattr",
    "setxattr",
    "open",
    "truncate",
    "write-chunk",
    "flock",
    "sweep",
    "lookup",
    "getattr",
    "readdir",
    "getxattr",
    "any-command",
    "any-query",
];

/// Kinds that may touch the chunks of any file.
pub const TOUCHING_CHUNKS: &[&str] = &["truncate", "write-chunk", ANYTHING];
/// Stands for every command that there is, of any session and for any inode.
pub const ANYTHING: &str = "any-command";

/// Kinds that no run is without: something has to be there to fight over.
#[must_use]
pub fn is_basic(kind: &str) -> bool {
    matches!(
        kind,
        "create" | "mkdir" | "lookup" | "getattr" | "any-command"
    )
}

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To change the tree.
    Write(Op),
    /// To see it.
    Read(Query),
}

/// What clients have learned from answers; shared, so that they meet.
#[derive(Clone, Debug)]
pub struct Knowledge {
    /// The tree as applied so far, for the kinds that need all of it.
    model: Option<Model>,
    /// Last entry that the model has followed.
    followed: LogIndex,
    every: Generator,
    names: u32,
    dirs: Vec<InodeId>,
    files: Vec<InodeId>,
    /// File, index, chunk: locked by a write that has to be ended.
    chunks: Vec<(InodeId, u32, ChunkId)>,
}

/// Most inodes of a kind that are remembered.
const REMEMBERED_MAX: usize = 256;

impl Knowledge {
    /// Knows the root alone; names are drawn from so many.
    #[must_use]
    pub fn new(names: u32) -> Self {
        Self {
            model: Some(Model::new()),
            followed: LogIndex(0),
            every: Generator::new(),
            names: names.max(1),
            dirs: vec![InodeId::ROOT],
            files: Vec::new(),
            chunks: Vec::new(),
        }
    }

    /// A node applied an entry: whichever is first tells, the others repeat it.
    pub fn on_applied(&mut self, entry: &AppliedEntry) {
        if entry.id.index != self.followed.next() {
            return;
        }
        self.followed = entry.id.index;
        let AppliedPayload::Command { command, outcome } = &entry.payload else {
            return;
        };
        let Some(model) = &mut self.model else {
            return;
        };
        // Whether it is right is for the checkers to say. A model that lost its way is of no use
        // for drawing, and the run goes on without those kinds.
        if model.apply(command, outcome).is_err() {
            self.model = None;
        }
    }

    /// Learns from what a write came to.
    pub fn on_written(&mut self, op: &Op, reply: &Reply) {
        match (op, reply) {
            (Op::Mkdir { .. }, Reply::Node { inode, .. }) => remember(&mut self.dirs, *inode),
            (Op::Create { .. }, Reply::Node { inode, .. }) => remember(&mut self.files, *inode),
            (Op::Rmdir { .. }, Reply::Removed { inode }) => self.dirs.retain(|dir| dir != inode),
            (Op::WriteChunk { inode, index, .. }, Reply::Chunk { chunk, .. })
                if self.chunks.len() < REMEMBERED_MAX =>
            {
                self.chunks.push((*inode, *index, *chunk));
            }
            _ => {}
        }
    }

    /// Learns from what was read.
    pub fn on_read(&mut self, answer: &Answer) {
        if let Answer::Entries { entries, .. } = answer {
            for entry in entries
                .iter()
                .filter(|entry| entry.name != b"." && entry.name != b"..")
                .filter(|entry| !entry.name.starts_with(PREFIX.as_bytes()))
            {
                match entry.kind {
                    NodeKind::Directory => remember(&mut self.dirs, entry.inode),
                    NodeKind::File => remember(&mut self.files, entry.inode),
                    _ => {}
                }
            }
        }
    }

    /// The next operation of a kind, or `None` when nothing is known that it could be about.
    pub fn draw(&mut self, kind: &str, session: SessionId, rng: &mut Rng) -> Option<Wish> {
        let caller = Caller {
            session,
            uid: *rng.pick(&[0, 0, 0, 1_000]),
            gids: vec![0],
        };
        let parent = *rng.pick(&self.dirs);
        let name = self.name(rng);
        let any = if rng.chance(1, 3) || self.files.is_empty() {
            parent
        } else {
            *rng.pick(&self.files)
        };
        let file = (!self.files.is_empty()).then(|| *rng.pick(&self.files));
        let write = |op| Some(Wish::Write(op));
        let read = |query| Some(Wish::Read(query));
        match kind {
            "create" => write(Op::Create {
                caller,
                parent,
                name,
                kind: NodeKind::File,
                mode: 0o644,
                umask: 0o022,
                rdev: 0,
                open: rng.chance(1, 2),
            }),
            "mkdir" => write(Op::Mkdir {
                caller,
                parent,
                name,
                mode: 0o777,
                umask: 0,
                copy_setgid: false,
            }),
            "symlink" => write(Op::Symlink {
                caller,
                parent,
                name,
                target: b"somewhere/else".to_vec(),
            }),
            "link" => write(Op::Link {
                caller,
                inode: file?,
                parent,
                name,
            }),
            "unlink" => write(Op::Unlink {
                caller,
                parent,
                name,
            }),
            "rmdir" => write(Op::Rmdir {
                caller,
                parent,
                name,
            }),
            "rename" => write(Op::Rename {
                caller,
                src_parent: parent,
                src_name: name,
                dst_parent: *rng.pick(&self.dirs),
                dst_name: self.name(rng),
            }),
            "setattr" => write(Op::SetAttr {
                caller,
                inode: any,
                opened: false,
                set: SetAttr {
                    mode: Some(rng.below(0o1000) as u16 | 0o700),
                    mtime: SetTime::Now,
                    ..SetAttr::default()
                },
            }),
            "setxattr" => write(Op::SetXattr {
                caller,
                inode: any,
                opened: false,
                name: format!("user.{}", rng.below(4)).into_bytes(),
                value: {
                    let mut value = vec![0; rng.below(2_000) as usize];
                    rng.fill(&mut value);
                    value
                },
                mode: *rng.pick(&[
                    XattrMode::CreateOrReplace,
                    XattrMode::Create,
                    XattrMode::Replace,
                    XattrMode::Remove,
                ]),
            }),
            "open" => write(Op::Open {
                caller,
                inode: file?,
                flags: OpenFlags {
                    read: true,
                    write: rng.chance(1, 2),
                    after_create: false,
                    truncate: false,
                },
            }),
            "truncate" => write(Op::Truncate {
                caller,
                inode: file?,
                length: rng.below(300 << 20),
                mode: TruncateMode::Path,
            }),
            "write-chunk" => match self.chunks.pop() {
                Some((inode, index, chunk)) if rng.chance(2, 3) => write(Op::WriteChunkEnd {
                    caller,
                    inode,
                    index,
                    chunk,
                    length: (u64::from(index) << 26) + rng.below(64 << 20),
                    may_touch_times: true,
                }),
                _ => write(Op::WriteChunk {
                    caller,
                    inode: file?,
                    index: rng.below(4) as u32,
                    go_on: false,
                    chunk_moved: rng.chance(1, 2),
                    may_touch_times: true,
                }),
            },
            "flock" => write(Op::Flock {
                session,
                inode: file?,
                owner: rng.below(3),
                reqid: rng.below(1 << 20) as u32,
                op: *rng.pick(&[FlockOp::TryExclusive, FlockOp::TryShared, FlockOp::Unlock]),
            }),
            "sweep" => write(Op::Sweep {
                after: None,
                limit: 10,
            }),
            "lookup" => read(Query::Lookup {
                caller,
                parent,
                name,
            }),
            "getattr" => read(Query::GetAttr {
                caller,
                inode: any,
                opened: false,
            }),
            "readdir" => read(Query::ReadDir {
                caller,
                inode: parent,
                attrs: rng.chance(1, 2),
                after: Vec::new(),
                max: 100,
            }),
            "getxattr" => read(Query::GetXattr {
                caller,
                inode: any,
                opened: false,
                name: format!("user.{}", rng.below(4)).into_bytes(),
            }),
            "any-command" | "any-query" => self.every(kind, rng),
            _ => None,
        }
    }

    /// A request of any kind that the model's generator knows.
    fn every(&mut self, kind: &str, rng: &mut Rng) -> Option<Wish> {
        let model = self.model.as_ref()?;
        let commands: u16 = COMMANDS.iter().map(|(_, weight)| weight).sum();
        let queries = Generator::kind_count() - commands;
        let kind = match kind {
            "any-command" => rng.below(commands.into()) as u16,
            _ => commands + rng.below(queries.into()) as u16,
        };
        let seed = rng.next_u64();
        Some(match self.every.realize(model, Step { kind, seed }) {
            Request::Command(command) => Wish::Write(command.op),
            Request::Query(_, query) => Wish::Read(query),
        })
    }

    fn name(&self, rng: &mut Rng) -> Vec<u8> {
        format!("name{}", rng.below(self.names.into())).into_bytes()
    }
}

fn remember(known: &mut Vec<InodeId>, inode: InodeId) {
    if !known.contains(&inode) && known.len() < REMEMBERED_MAX {
        known.push(inode);
    }
}

#[cfg(test)]
mod tests {
    use mfsha_core::rng::Seed;

    use super::*;

    #[test]
    fn every_kind_can_be_drawn_once_a_file_is_known() {
        let mut knowledge = Knowledge::new(5);
        remember(&mut knowledge.files, InodeId(1 << 14));
        let mut rng = Seed::from_u64(1).rng();
        for kind in KINDS {
            assert!(
                knowledge.draw(kind, SessionId(1), &mut rng).is_some(),
                "{kind}"
            );
        }
        assert_eq!(knowledge.draw("dance", SessionId(1), &mut rng), None);
    }
}
