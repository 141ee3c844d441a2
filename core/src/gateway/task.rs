//! One request of a client on its way to its reply.

use std::collections::BTreeMap;

use super::listing::Listing;
use super::session::Client;
use super::{begin, chunk, finish};
use crate::chunks::{ChunkAnswer, ChunkWish};
use crate::id::InodeId;
use crate::moosefs::client::{Call, Reply};
use crate::namespace::error::FsError;
use crate::namespace::op::{self, Answer, Op, Query};
use crate::time::WallTime;

/// What a request depends on that is neither the client's nor the namespace's.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// The time.
    pub now: WallTime,
    /// Bytes that the chunkservers have.
    pub total: u64,
    /// Bytes of them that are free.
    pub free: u64,
    /// Values of options that clients may ask for, by name.
    pub options: &'a BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A question is to be answered: [`Came::Answer`].
    Ask(Query),
    /// A command is to be applied, once however often the client asks: [`Came::Outcome`]. No
    /// request has more than one.
    Do(Op),
    /// Something is wished of chunks: [`Came::Chunks`], or of a cut the outcome of its end,
    /// [`Came::Outcome`]. It may be wished any number of times.
    Chunk(ChunkWish),
    /// The reply waits for a notice that the lock was granted, or that the wait ended.
    Wait(LockWait),
    /// The reply. What is left to do has no reply and may fail or be lost.
    Tell {
        /// The reply.
        reply: Reply,
        /// What is left to do.
        then: Option<Op>,
    },
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Came {
    /// An answer.
    Answer(Result<Answer, FsError>),
    /// The outcome of a command.
    Outcome(Result<op::Reply, FsError>),
    /// What was wished of chunks.
    Chunks(ChunkAnswer),
}

/// A lock that is waited for, as notices name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockWait {
    /// The file.
    pub inode: InodeId,
    /// Who waits.
    pub owner: u64,
    /// Its request.
    pub request: u32,
    /// A lock of bytes, or of the whole file.
    pub posix: bool,
}

/// A request on its way.
#[derive(Clone, Debug)]
pub struct Task {
    pub(super) call: Call,
    pub(super) stage: Stage,
}

/// How far it is.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// What it asked for first is still to come.
    First,
    /// Names of a directory are being collected.
    Listing(Listing),
    /// Nodes in a directory are being collected.
    Within(chunk::Within),
    /// The node was found, or opened; its extra attributes are still to come.
    Eattr(Reply),
    /// The name was looked up; where the only chunk of the file is, is still to be seen.
    Looked(Reply),
    /// The reply is there; whether a time has to be touched is still to be seen.
    Touch(Reply),
    /// Classes are listed, to tell the names of counted ones.
    Names(Answer),
    /// A class was changed and is to be shown.
    Show,
    /// A quota was set and is to be shown.
    QuotaSet,
    /// Chunks were listed, and their copies are still to be told.
    Showing(chunk::Showing),
    /// Chunks are being repaired.
    Repairing(chunk::Repairing),
    /// Chunks with so many copies were counted, and more are still to be listed.
    Counting([u32; 12]),
}

impl Task {
    /// A request that came, and its first step.
    #[must_use]
    pub fn begin(client: &Client, world: World<'_>, call: Call) -> (Self, Step) {
        let stage = Stage::First;
        let mut task = Self { call, stage };
        let step = begin::begin(&mut task, client, world);
        (task, step)
    }

    /// What was asked for came; the next step.
    ///
    /// # Panics
    /// When something else came than the last step asked for.
    #[must_use]
    pub fn go_on(&mut self, client: &Client, world: World<'_>, came: Came) -> Step {
        finish::go_on(self, client, world, came)
    }

    /// The request.
    #[must_use]
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// The file whose place a LOOKUP is about to tell, as its client knows it.
    #[must_use]
    pub fn looked_up(&self) -> Option<InodeId> {
        match &self.stage {
            Stage::Looked(Reply::Lookup(Ok(looked))) => Some(looked.inode),
            _ => None,
        }
    }

    /// The wait for a lock is over.
    ///
    /// # Panics
    /// When this is no request for a lock.
    #[must_use]
    pub fn lock_ended(&self, granted: bool) -> Reply {
        finish::lock_ended(&self.call, granted)
    }
}
