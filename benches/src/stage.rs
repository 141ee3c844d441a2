//! A populated tree, and what benches find or make in it.

use mfsha_core::id::{ChunkId, InodeId, SessionId};
use mfsha_core::namespace::op::{Name, Op, OpenFlags, Reply, SessionParams, SetMode, TruncateMode};

use crate::world::World;

/// Directories of the whole stage.
const DIRS: usize = 64;
/// Files in each of them.
const FILES: usize = 512;

/// A tree with sessions, and directories that lie three levels deep.
pub struct Stage {
    /// The tree, and a session that may do everything.
    pub world: World,
    /// Another such session.
    pub other: SessionId,
    /// A session that sees the trash alone.
    pub meta: SessionId,
    dirs: Vec<InodeId>,
    turns: usize,
}

impl Stage {
    /// What is timed: 64 directories of 512 files.
    #[must_use]
    pub fn whole() -> Self {
        Self::of(DIRS, FILES)
    }

    /// The same with next to nothing in it, for tests.
    #[must_use]
    pub fn small() -> Self {
        Self::of(3, 4)
    }

    fn of(dirs: usize, files: usize) -> Self {
        let mut world = World::new();
        let other = world.open_session(SessionParams::unrestricted());
        let meta = world.open_session(SessionParams {
            root: InodeId(0),
            ..SessionParams::unrestricted()
        });
        let top = world.dir(InodeId::ROOT);
        let second = world.dir(top);
        let dirs: Vec<_> = (0..dirs).map(|_| world.dir(second)).collect();
        for dir in &dirs {
            for _ in 0..files {
                world.file(*dir);
            }
        }
        Self {
            world,
            other,
            meta,
            dirs,
            turns: 0,
        }
    }

    /// The same stage once more: what is done on one is not seen on the other.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self {
            world: self.world.copy(),
            dirs: self.dirs.clone(),
            ..*self
        }
    }

    /// A number that rises by one each time.
    pub fn turn(&mut self) -> usize {
        self.turns += 1;
        self.turns
    }

    /// The directories by turns.
    pub fn dir(&mut self) -> InodeId {
        let turn = self.turn();
        self.dirs[turn % self.dirs.len()]
    }

    /// A new file: its directory, itself and its name.
    pub fn named(&mut self) -> (InodeId, InodeId, Name) {
        let dir = self.dir();
        let op = self.world.create(dir);
        let name = name_of(&op);
        (dir, self.world.node(op), name)
    }

    /// A new, empty directory: where it is, and its name.
    pub fn named_dir(&mut self) -> (InodeId, Name) {
        let dir = self.dir();
        let op = self.world.mkdir(dir);
        let name = name_of(&op);
        self.world.node(op);
        (dir, name)
    }

    /// A new file.
    pub fn file(&mut self) -> InodeId {
        self.named().1
    }

    /// A new file with one written chunk.
    pub fn written(&mut self) -> InodeId {
        self.written_chunk().0
    }

    /// A new file and its one chunk, written, unlocked, and not settled yet. Its version is 1.
    pub fn written_chunk(&mut self) -> (InodeId, ChunkId) {
        let inode = self.file();
        (inode, self.write(inode))
    }

    /// Writes the first chunk of a file.
    pub fn write(&mut self, inode: InodeId) -> ChunkId {
        let chunk = self.world.chunk(inode);
        let end = self.write_end(inode, chunk);
        self.world.ok(end);
        chunk
    }

    /// An operation that ends a write to the first chunk of a file.
    #[must_use]
    pub fn write_end(&self, inode: InodeId, chunk: ChunkId) -> Op {
        Op::WriteChunkEnd {
            caller: self.world.root(),
            inode,
            index: 0,
            chunk,
            length: 70_000,
            may_touch_times: true,
        }
    }

    /// An operation that opens a file for reading.
    #[must_use]
    pub fn open(&self, inode: InodeId) -> Op {
        Op::Open {
            caller: self.world.root(),
            inode,
            flags: OpenFlags {
                read: true,
                ..OpenFlags::default()
            },
        }
    }

    /// A new file that both sessions have open, and nothing else, so that lists stay short.
    pub fn opened(&mut self) -> InodeId {
        let inode = self.file();
        for session in [self.world.session, self.other] {
            self.world.ok(Op::SetOpenFiles {
                session,
                inodes: vec![inode],
            });
        }
        inode
    }

    /// A new session with so many new files open.
    pub fn session_with(&mut self, files: usize) -> (SessionId, Vec<InodeId>) {
        let session = self.world.open_session(SessionParams::unrestricted());
        let inodes: Vec<_> = (0..files).map(|_| self.file()).collect();
        self.world.ok(Op::SetOpenFiles {
            session,
            inodes: inodes.clone(),
        });
        (session, inodes)
    }

    /// An operation that takes a file's name away.
    #[must_use]
    pub fn unlink(&self, parent: InodeId, name: Name) -> Op {
        Op::Unlink {
            caller: self.world.root(),
            parent,
            name,
        }
    }

    /// A new file with one written chunk, in the trash.
    pub fn trashed(&mut self) -> InodeId {
        let (parent, inode, name) = self.named();
        self.write(inode);
        let op = self.unlink(parent, name);
        self.world.ok(op);
        inode
    }

    /// An operation that sets how long a file is kept in the trash; or all below a directory.
    #[must_use]
    pub fn set_trash_time(&self, inode: InodeId, seconds: u32, recursive: bool) -> Op {
        Op::SetTrashTime {
            caller: self.world.root(),
            inode,
            seconds,
            mode: SetMode::Set,
            recursive,
        }
    }

    /// A new file with one written chunk that is to be cut; it is being done.
    ///
    /// # Panics
    /// When the truncate does not begin with its chunk.
    pub fn cut(&mut self, length: u64) -> (InodeId, ChunkId) {
        let inode = self.written();
        let op = self.truncate(inode, length);
        match self.world.ok(op) {
            Reply::TruncateChunk { chunk, .. } => (inode, chunk),
            other => panic!("a cut was expected, not {other:?}"),
        }
    }

    /// An operation that gives an open file this length.
    #[must_use]
    pub fn truncate(&self, inode: InodeId, length: u64) -> Op {
        Op::Truncate {
            caller: self.world.root(),
            inode,
            length,
            mode: TruncateMode::Opened,
        }
    }
}

fn name_of(op: &Op) -> Name {
    match op {
        Op::Create { name, .. } | Op::Mkdir { name, .. } => name.clone(),
        other => unreachable!("it makes a name: {other:?}"),
    }
}
