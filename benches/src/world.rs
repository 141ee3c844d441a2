//! A tree in memory with something in it, and commands for it.

use mfsha_core::id::{ChunkId, InodeId, Lane, LogIndex, NodeId, RequestSeq, SessionId};
use mfsha_core::namespace::Namespace;
use mfsha_core::namespace::op::{
    Caller, Command, NodeKind, Op, Outcome, Reply, RequestId, SessionParams,
};
use mfsha_core::store::{MemStore, StateStore};
use mfsha_core::time::{Stamp, WallTime};

/// The time at the beginning.
pub const START: WallTime = WallTime(1_000_000);

/// A tree, and numbers to go on with.
pub struct World<S: StateStore = MemStore> {
    /// The tree.
    pub tree: Namespace<S>,
    /// A session that may do everything.
    pub session: SessionId,
    /// The time of the next command; nothing but a bench moves it.
    pub now: WallTime,
    index: u64,
    names: u64,
    requests: u64,
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

    /// The same tree once more: what is done to one is not seen in the other. The first change
    /// copies the map.
    ///
    /// # Panics
    /// When the store fails: it is memory.
    #[must_use]
    pub fn copy(&self) -> Self {
        let store = self.tree.store().clone();
        Self {
            tree: Namespace::open(store).expect("memory does not fail"),
            ..*self
        }
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
            now: START,
            index: 0,
            names: 0,
            requests: 0,
        };
        world.session = world.open_session(SessionParams::unrestricted());
        world
    }

    /// A new session.
    ///
    /// # Panics
    /// When it is refused.
    pub fn open_session(&mut self, params: SessionParams) -> SessionId {
        match self.ok(Op::OpenSession { params }) {
            Reply::Session(session) => session,
            other => panic!("a session was expected, not {other:?}"),
        }
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
        self.names += 1;
        format!("file-{:07}", self.names).into_bytes()
    }

    /// The number of a request that was not given before, of one and the same lane.
    pub fn request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId::new(self.session, Lane(0), RequestSeq(self.requests))
    }

    /// Applies an operation as the next entry of the log.
    ///
    /// # Panics
    /// When the store fails: it is memory.
    pub fn apply(&mut self, op: Op) -> Outcome {
        let command = self.command(op, None);
        self.carry_out(&command)
    }

    /// An operation as a command that is to be carried out next.
    #[must_use]
    pub fn command(&self, op: Op, request: Option<RequestId>) -> Command {
        Command {
            stamp: Stamp {
                time: self.index + 1,
                node: NodeId(1),
            },
            now: self.now,
            request,
            op,
        }
    }

    /// Applies a command as the next entry of the log.
    ///
    /// # Panics
    /// When the store fails: it is memory.
    pub fn carry_out(&mut self, command: &Command) -> Outcome {
        self.index += 1;
        self.tree
            .apply(LogIndex(self.index), command)
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

    /// The first chunk of a file, locked for writing.
    ///
    /// # Panics
    /// When it is refused.
    pub fn chunk(&mut self, inode: InodeId) -> ChunkId {
        let op = self.write_chunk(inode, 0);
        match self.ok(op) {
            Reply::Chunk { chunk, .. } => chunk,
            other => panic!("a chunk was expected, not {other:?}"),
        }
    }

    /// An operation that writes a chunk of a file.
    #[must_use]
    pub fn write_chunk(&self, inode: InodeId, index: u32) -> Op {
        Op::WriteChunk {
            caller: self.root(),
            inode,
            index,
            go_on: false,
            chunk_moved: false,
            may_touch_times: true,
        }
    }

    /// The node that an operation makes.
    ///
    /// # Panics
    /// When it is refused, or makes none.
    pub fn node(&mut self, op: Op) -> InodeId {
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
