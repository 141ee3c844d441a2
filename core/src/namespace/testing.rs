//! A tree to test with: commands and questions in one line each. Every command is followed by a
//! check of all laws, and a refused one must leave nothing behind.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use super::Namespace;
use super::error::FsError;
use super::key::Key;
use super::node;
use super::op::*;
use super::record::{Chunk, Inode, SlotIds};
use super::stats;
use super::txn::{Moment, Res, Txn};
use crate::crdt::{LOG_REPLICA, Lww};
use crate::id::{ChunkId, InodeId, LogIndex, NodeId, SessionId};
use crate::store::{MemStore, StateStore, StateView};
use crate::time::{Stamp, WallTime};

/// The root as every session names it.
pub const ROOT: InodeId = InodeId::ROOT;

/// A tree in memory, with a clock that tests turn.
pub struct Bed {
    /// The tree.
    pub tree: Namespace<MemStore>,
    /// The next command's time, seconds.
    pub now: u32,
    index: u64,
}

impl Bed {
    /// The first state, at second 1,000.
    pub fn new() -> Self {
        Self {
            tree: Namespace::open(MemStore::new()).unwrap(),
            now: 1_000,
            index: 0,
        }
    }

    fn moment(&self) -> Moment {
        Moment {
            index: LogIndex(self.index),
            stamp: Stamp {
                time: u64::from(self.now) * 1_000_000,
                node: NodeId(1),
            },
            now: WallTime(self.now),
        }
    }

    /// A command of this moment.
    pub fn command(&self, request: Option<RequestId>, op: Op) -> Command {
        let moment = self.moment();
        Command {
            stamp: moment.stamp,
            now: moment.now,
            request,
            op,
        }
    }

    /// Applies a command, and judges the tree.
    pub fn apply(&mut self, command: &Command) -> Outcome {
        self.index += 1;
        let outcome = self.tree.apply(LogIndex(self.index), command).unwrap();
        assert_eq!(self.tree.check().unwrap(), Ok(()), "after {command:?}");
        outcome
    }

    /// Applies an operation: what came of it.
    pub fn outcome(&mut self, op: Op) -> Outcome {
        let (version, before) = (self.tree.version(), self.contents());
        let command = self.command(None, op);
        let outcome = self.apply(&command);
        let done = outcome.result.is_ok();
        assert_eq!(
            outcome.version,
            version + u64::from(done),
            "the version rises with what is carried out, and only then"
        );
        if !done {
            assert_eq!(self.contents(), before, "a refusal changes nothing");
            assert_eq!(outcome.notices, []);
        }
        outcome
    }

    /// Applies an operation: its reply or refusal.
    pub fn run(&mut self, op: Op) -> Result<Reply, FsError> {
        self.outcome(op).result
    }

    /// Applies an operation that must succeed.
    pub fn ok(&mut self, op: Op) -> Reply {
        match self.run(op.clone()) {
            Ok(reply) => reply,
            Err(error) => panic!("{op:?} was refused: {error}"),
        }
    }

    /// Applies operations that must be refused.
    pub fn refused(&mut self, examples: Vec<(FsError, Op)>) {
        for (error, op) in examples {
            assert_eq!(self.run(op.clone()), Err(error), "{op:?}");
        }
    }

    /// Applies an operation that makes or shows a node: its number.
    pub fn node(&mut self, op: Op) -> InodeId {
        match self.ok(op) {
            Reply::Node { inode, .. } => inode,
            other => panic!("a node was expected, not {other:?}"),
        }
    }

    /// Makes a file of mode 0644.
    pub fn file(&mut self, caller: &Caller, parent: InodeId, name: &str) -> InodeId {
        self.node(create(caller, parent, name, NodeKind::File))
    }

    /// Makes a directory of mode 0755.
    pub fn dir(&mut self, caller: &Caller, parent: InodeId, name: &str) -> InodeId {
        self.node(mkdir(caller, parent, name))
    }

    /// Asks.
    pub fn ask(&self, query: Query) -> Result<Answer, FsError> {
        self.tree.query(WallTime(self.now), &query).unwrap()
    }

    /// Attributes as root sees them.
    pub fn attr(&self, inode: InodeId) -> Attr {
        self.attr_for(&root(), inode)
    }

    /// Attributes as a caller sees them.
    pub fn attr_for(&self, caller: &Caller, inode: InodeId) -> Attr {
        let query = Query::GetAttr {
            caller: caller.clone(),
            inode,
            opened: true,
        };
        match self.ask(query) {
            Ok(Answer::Attr(attr)) => attr,
            other => panic!("attributes were expected, not {other:?}"),
        }
    }

    /// What a directory holds.
    pub fn sums(&self, inode: InodeId) -> DirStats {
        let query = Query::DirStats {
            caller: root(),
            inode,
        };
        match self.ask(query) {
            Ok(Answer::DirStats(sums)) => sums,
            other => panic!("sums were expected, not {other:?}"),
        }
    }

    /// The node that a name stands for, if any.
    pub fn find(&self, parent: InodeId, name: &str) -> Option<InodeId> {
        let query = Query::Lookup {
            caller: root(),
            parent,
            name: name.into(),
        };
        match self.ask(query) {
            Ok(Answer::Looked { inode, .. }) => Some(inode),
            Err(FsError::NoEnt) => None,
            other => panic!("a node or none was expected, not {other:?}"),
        }
    }

    /// A new session.
    pub fn session(&mut self, params: SessionParams) -> SessionId {
        match self.ok(Op::OpenSession { params }) {
            Reply::Session(session) => session,
            other => panic!("a session was expected, not {other:?}"),
        }
    }

    /// A new session of `SessionParams::unrestricted` with changes.
    pub fn session_with(&mut self, change: impl FnOnce(&mut SessionParams)) -> SessionId {
        let mut params = SessionParams::unrestricted();
        change(&mut params);
        self.session(params)
    }

    /// Changes the state past all operations.
    pub fn by_hand<T>(&mut self, work: impl FnOnce(&mut Txn<'_>) -> Res<T>) -> T {
        self.index += 1;
        let mut txn = Txn::new(self.tree.store(), self.moment());
        let out = work(&mut txn).unwrap();
        let batch = txn.into_batch();
        self.tree.store_mut().write(batch).unwrap();
        out
    }

    /// Sets a node's extra attributes.
    pub fn set_eattr(&mut self, ino: InodeId, eattr: u8) {
        self.change(ino, |node, stamp| Inode {
            eattr: node.eattr.write(stamp, eattr),
            ..Inode::default()
        });
    }

    /// Changes a node's registers.
    pub fn change(&mut self, ino: InodeId, delta: impl FnOnce(&Inode, Stamp) -> Inode) {
        self.by_hand(|txn| node::change(txn, ino, delta));
    }

    /// Gives a file a new chunk and this length, and counts both.
    pub fn add_chunk(&mut self, ino: InodeId, index: u32, length: u64) -> ChunkId {
        self.by_hand(|txn| {
            let node = txn.inode(ino)?;
            let before = stats::of_node(txn, ino, &node)?;
            let key = Key::SlotIds(ino.slot());
            let ids: SlotIds = txn.get(&key)?.unwrap_or_default();
            let chunk = ChunkId::from_parts(ids.chunks.value(), ino.slot()).unwrap();
            let delta = SlotIds {
                chunks: ids.chunks.add(LOG_REPLICA, 1),
                ..SlotIds::default()
            };
            txn.join(&key, &delta)?;
            let record = Chunk {
                version: Lww::at(txn.stamp(), 1),
                references: Chunk::default().references.link(LOG_REPLICA),
                ..Chunk::default()
            };
            txn.join(&Key::Chunk(chunk), &record)?;
            txn.set(&Key::ChunkSlot(ino, index), Some(chunk))?;
            let node = node::change(txn, ino, |node, stamp| Inode {
                length: node.length.write(stamp, length),
                ..Inode::default()
            })?;
            let after = stats::of_node(txn, ino, &node)?;
            stats::add_to_parents(txn, &node, &stats::minus(&after, &before))?;
            super::quota::settle(txn)?;
            Ok(chunk)
        })
    }

    /// Gives a node an ACL; a mode that goes with it is the caller's business.
    pub fn set_acl(&mut self, ino: InodeId, kind: AclKind, acl: Acl) {
        self.by_hand(|txn| txn.set(&Key::Acl(ino, kind), Some(acl)).map_err(Into::into));
        self.change(ino, |node, stamp| Inode {
            decorated: node.decorated.write(stamp, true),
            ..Inode::default()
        });
    }

    /// All keys and values but the mark of what was applied.
    pub fn contents(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut out = BTreeMap::new();
        self.tree
            .store()
            .scan(Bound::Unbounded, Bound::Unbounded, &mut |key, value| {
                out.insert(key.to_vec(), value.to_vec());
                ControlFlow::Continue(())
            })
            .unwrap();
        out.remove(&Key::Applied.bytes());
        out
    }
}

/// Root, on behalf of the cluster itself.
pub fn root() -> Caller {
    user(SessionId(0), 0)
}

/// A user of a session, in the one group of the same number.
pub fn user(session: SessionId, uid: u32) -> Caller {
    Caller {
        session,
        uid,
        gids: vec![uid],
    }
}

/// The user outside of any session.
pub fn somebody(uid: u32) -> Caller {
    user(SessionId(0), uid)
}

/// Makes a node of mode 0644.
pub fn create(caller: &Caller, parent: InodeId, name: &str, kind: NodeKind) -> Op {
    Op::Create {
        caller: caller.clone(),
        parent,
        name: name.into(),
        kind,
        mode: 0o644,
        umask: 0,
        rdev: 0,
        open: false,
    }
}

/// Makes a directory of mode 0755.
pub fn mkdir(caller: &Caller, parent: InodeId, name: &str) -> Op {
    Op::Mkdir {
        caller: caller.clone(),
        parent,
        name: name.into(),
        mode: 0o755,
        umask: 0,
        copy_setgid: false,
    }
}

/// Makes a symlink.
pub fn symlink(caller: &Caller, parent: InodeId, name: &str, target: &[u8]) -> Op {
    Op::Symlink {
        caller: caller.clone(),
        parent,
        name: name.into(),
        target: target.to_vec(),
    }
}

/// Gives a node another name.
pub fn link(caller: &Caller, inode: InodeId, parent: InodeId, name: &str) -> Op {
    Op::Link {
        caller: caller.clone(),
        inode,
        parent,
        name: name.into(),
    }
}

/// Takes a name from a file.
pub fn unlink(caller: &Caller, parent: InodeId, name: &str) -> Op {
    Op::Unlink {
        caller: caller.clone(),
        parent,
        name: name.into(),
    }
}

/// Removes a directory.
pub fn rmdir(caller: &Caller, parent: InodeId, name: &str) -> Op {
    Op::Rmdir {
        caller: caller.clone(),
        parent,
        name: name.into(),
    }
}

/// Renames.
pub fn rename(caller: &Caller, src: (InodeId, &str), dst: (InodeId, &str)) -> Op {
    Op::Rename {
        caller: caller.clone(),
        src_parent: src.0,
        src_name: src.1.into(),
        dst_parent: dst.0,
        dst_name: dst.1.into(),
    }
}

/// Sets attributes.
pub fn set_attr(caller: &Caller, inode: InodeId, set: SetAttr) -> Op {
    Op::SetAttr {
        caller: caller.clone(),
        inode,
        opened: false,
        set,
    }
}

/// Sets permission bits alone.
pub fn chmod(caller: &Caller, inode: InodeId, mode: u16) -> Op {
    set_attr(
        caller,
        inode,
        SetAttr {
            mode: Some(mode),
            ..SetAttr::default()
        },
    )
}

/// Opens a file.
pub fn open(caller: &Caller, inode: InodeId, flags: OpenFlags) -> Op {
    Op::Open {
        caller: caller.clone(),
        inode,
        flags,
    }
}

/// Sets a directory's quota: hard limits alone.
pub fn hard_quota(inode: InodeId, hard: QuotaLimits) -> Op {
    Op::SetQuota {
        caller: root(),
        inode,
        limits: Some((QuotaLimits::default(), hard, 0)),
    }
}
