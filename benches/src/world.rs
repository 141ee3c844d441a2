//! A tree in memory with something in it, and commands for it.

use mfsha_core::id::{ChunkId, InodeId, LogIndex, NodeId, SessionId};
use mfsha_core::namespace::Namespace;
use mfsha_core::namespace::op::{Caller, Command, NodeKind, Op, Outcome, Reply, SessionParams};
use mfsha_core::store::{MemStore, StateStore};
use mfsha_core::time::{Stamp, WallTime};

/// A tree, and numbers to go on with.
pub struct World<S: StateStore = MemStore> {
    /// The tree.
    pub tree: Namespace<S>,
    /// A session that may do everything.
    pub session: SessionId,
    index: u64,
    count: u64,
}

impl World {
    /// A tree in memory, with a session.
    ///
    /// # Panics
    /// When a session cannot be opened.
    #[must_use]
    pub fn new() -> Self {
        Self::over(MemStore::new())
    }
}

impl<S: StateStore> World<S> {
    /// A tree in an empty store, with a session.
    ///
    /// # Panics
    /// When a session cannot be opened.
    #[must_use]
    pub fn over(store: S) -> Self {
        let mut world = Self {
            tree: Namespace::open(store).expect("the store does not fail"),
            session: SessionId(0),
            index: 0,
            count: 0,
        };
        let params = SessionParams::unrestricted();
        match world.ok(Op::OpenSession { params }) {
            Reply::Session(session) => world.session = session,
            other => panic!("a session was expected, not {other:?}"),
        }
        world
    }

    /// Root, by the session.
    #[must_use]
    pub fn root(&self) -> Caller {
        Caller {
            session: self.session,
            uid: 0,
            gids: vec![0],
        }
    }

    /// A name that was not given before.
    pub fn name(&mut self) -> Vec<u8> {
        self.count += 1;
        format!("file-{:07}", self.count).into_bytes()
    }

    /// Applies an operation as the next entry of the log.
    ///
    /// # Panics
    /// When the store fails: it is memory.
    pub fn apply(&mut self, op: Op) -> Outcome {
        self.index += 1;
        let command = Command {
            stamp: Stamp {
                time: self.index,
                node: NodeId(1),
            },
            now: WallTime(1_000_000),
            request: None,
            op,
        };
        self.tree
            .apply(LogIndex(self.index), &command)
            .expect("memory does not fail")
    }

    /// Applies an operation that must succeed.
    ///
    /// # Panics
    /// When it is refused.
    pub fn ok(&mut self, op: Op) -> Reply {
        match self.apply(op).result {
            Ok(reply) => reply,
            Err(error) => panic!("refused: {error}"),
        }
    }

    /// An operation that makes a file.
    pub fn create(&mut self, parent: InodeId) -> Op {
        Op::Create {
            caller: self.root(),
            parent,
            name: self.name(),
            kind: NodeKind::File,
            mode: 0o644,
            umask: 0o022,
            rdev: 0,
            open: false,
        }
    }

    /// An operation that makes a directory.
    pub fn mkdir(&mut self, parent: InodeId) -> Op {
        Op::Mkdir {
            caller: self.root(),
            parent,
            name: self.name(),
            mode: 0o755,
            umask: 0o022,
            copy_setgid: false,
        }
    }

    /// A new file.
    pub fn file(&mut self, parent: InodeId) -> InodeId {
        let op = self.create(parent);
        self.node(op)
    }

    /// A new directory.
    pub fn dir(&mut self, parent: InodeId) -> InodeId {
        let op = self.mkdir(parent);
        self.node(op)
    }

    /// A chunk of a file, locked for writing.
    ///
    /// # Panics
    /// When it is refused.
    pub fn chunk(&mut self, inode: InodeId) -> ChunkId {
        let op = self.write_chunk(inode);
        match self.ok(op) {
            Reply::Chunk { chunk, .. } => chunk,
            other => panic!("a chunk was expected, not {other:?}"),
        }
    }

    /// An operation that writes the first chunk of a file.
    #[must_use]
    pub fn write_chunk(&self, inode: InodeId) -> Op {
        Op::WriteChunk {
            caller: self.root(),
            inode,
            index: 0,
            go_on: false,
            chunk_moved: false,
            may_touch_times: true,
        }
    }

    fn node(&mut self, op: Op) -> InodeId {
        match self.ok(op) {
            Reply::Node { inode, .. } => inode,
            other => panic!("a node was expected, not {other:?}"),
        }
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}
