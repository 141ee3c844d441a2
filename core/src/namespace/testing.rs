//! A tree to test with: commands and questions in one line each.

use super::Namespace;
use super::error::FsError;
use super::op::*;
use crate::id::{InodeId, LogIndex, NodeId, SessionId};
use crate::store::MemStore;
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

    /// The next log entry, as a command of this moment.
    pub fn command(&self, request: Option<RequestId>, op: Op) -> Command {
        Command {
            stamp: Stamp {
                time: u64::from(self.now) * 1_000_000,
                node: NodeId(1),
            },
            now: WallTime(self.now),
            request,
            op,
        }
    }

    /// Applies a command.
    pub fn apply(&mut self, command: &Command) -> Outcome {
        self.index += 1;
        self.tree.apply(LogIndex(self.index), command).unwrap()
    }

    /// Applies an operation: what came of it.
    pub fn outcome(&mut self, op: Op) -> Outcome {
        let command = self.command(None, op);
        self.apply(&command)
    }

    /// Applies an operation: its reply or refusal. A refusal must leave nothing behind.
    pub fn run(&mut self, op: Op) -> Result<Reply, FsError> {
        let before = self.tree.version();
        let outcome = self.outcome(op);
        assert_eq!(
            outcome.version,
            before + u64::from(outcome.result.is_ok()),
            "the version rises with what is carried out, and only then"
        );
        outcome.result
    }

    /// Applies an operation that makes or shows a node: its number.
    pub fn node(&mut self, op: Op) -> InodeId {
        match self.run(op) {
            Ok(Reply::Node { inode, .. }) => inode,
            other => panic!("a node was expected, not {other:?}"),
        }
    }

    /// Asks.
    pub fn ask(&self, query: Query) -> Result<Answer, FsError> {
        self.tree.query(WallTime(self.now), &query).unwrap()
    }

    /// A new session.
    pub fn session(&mut self, params: SessionParams) -> SessionId {
        match self.run(Op::OpenSession { params }) {
            Ok(Reply::Session(session)) => session,
            other => panic!("a session was expected, not {other:?}"),
        }
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
