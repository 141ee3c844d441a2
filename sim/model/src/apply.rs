//! One command: what it has to come to, and whether that is what was observed.

use std::collections::BTreeSet;
use std::sync::Arc;

use mfsha_core::id::{ChunkId, InodeId, SessionId};
use mfsha_core::limits;
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{
    Answer, Caller, Command, NodeKind, Notice, Op, Outcome, Query, Reply,
};
use mfsha_core::time::WallTime;

use crate::state::{Model, PLACEHOLDER_FIRST};
use crate::view::Who;

/// An outcome or answer that is not the right one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule}: expected {expected}, observed {observed}, of {what}")]
pub struct Mismatch {
    /// The promise that is broken.
    pub rule: &'static str,
    /// What was right.
    pub expected: String,
    /// What there was.
    pub observed: String,
    /// The command or query.
    pub what: String,
}

impl Mismatch {
    /// Says what was expected of `what` under a rule, and what there was.
    pub fn new(
        rule: &'static str,
        expected: &impl std::fmt::Debug,
        observed: &impl std::fmt::Debug,
        what: &impl std::fmt::Debug,
    ) -> Self {
        Self {
            rule,
            expected: format!("{expected:?}"),
            observed: format!("{observed:?}"),
            what: format!("{what:?}"),
        }
    }
}

/// One command on its way through the model.
pub(crate) struct Step<'a> {
    /// The command's wall time.
    pub(crate) now: WallTime,
    /// Where new ids come from; without one, the model counts.
    observed: Option<&'a Outcome>,
    /// About locks, in order.
    pub(crate) lock_notices: Vec<Notice>,
    /// About chunks that were written or cut.
    pub(crate) chunk_notices: Vec<Notice>,
    /// A refusal that changes something all the same.
    pub(crate) refusal_counts: bool,
    /// An id that was not new.
    stale_id: Option<String>,
}

impl Model {
    /// Carries out a command, and compares with what was observed of it. New ids are taken from
    /// the observed outcome; everything else is foretold.
    ///
    /// After a [`Op::Snapshot`] or [`Op::Undelete`] that made nodes, whose ids no reply tells,
    /// [`Self::adopt`] has to follow before anything else.
    ///
    /// # Errors
    /// What was expected and what was observed; the model is then as it was.
    ///
    /// # Panics
    /// When [`Self::adopt`] was left out.
    pub fn apply(&mut self, command: &Command, observed: &Outcome) -> Result<(), Mismatch> {
        assert!(!self.has_placeholders(), "adopt() was left out");
        let before = self.clone();
        let (expected, stale_id) = self.expect(command, Some(observed), &before);
        let mismatch = match (stale_id, difference(&expected, observed)) {
            (Some(id), _) => {
                let rule = "P-IDS: a new id was never used before";
                Mismatch::new(rule, &"a new id", &id, command)
            }
            (None, Some(rule)) => Mismatch::new(rule, &expected, observed, command),
            (None, None) => return Ok(()),
        };
        *self = before;
        Err(mismatch)
    }

    /// Carries out a command with ids of the model's own choice: the model as an implementation.
    pub fn carry_out(&mut self, command: &Command) -> Outcome {
        let before = self.clone();
        let (outcome, _) = self.expect(command, None, &before);
        while let Some(placeholder) = self.first_placeholder() {
            let inode = self.unused_inode();
            self.inodes_used.insert(inode);
            self.rename_node(placeholder, inode);
        }
        outcome
    }

    /// Learns the ids of nodes that were made without telling, by asking for them as the cluster
    /// itself. Does nothing when there are none.
    ///
    /// # Errors
    /// When a node is not there, its id is not new, or its attributes are not the right ones.
    pub fn adopt(
        &mut self,
        mut ask: impl FnMut(&Query) -> Result<Answer, FsError>,
    ) -> Result<(), Mismatch> {
        while let Some(placeholder) = self.first_placeholder() {
            let (parent, name) = self.links(placeholder)[0].clone();
            let caller = Caller {
                session: SessionId(0),
                uid: 0,
                gids: vec![0],
            };
            let query = Query::Lookup {
                caller,
                parent,
                name,
            };
            let observed = ask(&query);
            let Ok(Answer::Looked { inode, .. }) = observed else {
                let rule = "a node that a command made is there";
                return Err(Mismatch::new(rule, &"a node", &observed, &query));
            };
            if !is_usable(inode) || !self.inodes_used.insert(inode) {
                let rule = "P-IDS: a new id was never used before";
                return Err(Mismatch::new(rule, &"a new id", &inode, &query));
            }
            self.rename_node(placeholder, inode);
        }
        Ok(())
    }

    /// What the command has to come to; the model is afterwards as it has to be. `before` is what
    /// it is now.
    fn expect(
        &mut self,
        command: &Command,
        observed: Option<&Outcome>,
        before: &Model,
    ) -> (Outcome, Option<String>) {
        if let Some(ready) = self.answer_repeat(command) {
            return (ready, None);
        }
        let mut step = Step {
            now: command.now,
            observed,
            lock_notices: Vec::new(),
            chunk_notices: Vec::new(),
            refusal_counts: false,
            stale_id: None,
        };
        let result = self.run(&mut step, &command.op);
        let mut notices = Vec::new();
        if result.is_ok() || step.refusal_counts {
            self.update_soft_limits(command.now);
            notices.extend(step.lock_notices);
            notices.extend(step.chunk_notices);
            notices.extend(self.derived_notices(before));
            self.version += u64::from(result.is_ok());
        } else {
            self.clone_from(before);
        }
        if let Some(request) = command.request {
            let lives = self.sessions.contains_key(&request.session);
            if lives {
                let key = (request.session, request.lane);
                self.lanes.insert(key, (request.seq, result.clone()));
            }
        }
        let outcome = Outcome {
            result,
            notices,
            version: self.version,
            repeated: false,
        };
        (outcome, step.stale_id)
    }

    /// P-ONCE: what is answered without carrying the command out. The lanes of the cluster itself
    /// are not remembered.
    fn answer_repeat(&self, command: &Command) -> Option<Outcome> {
        let request = command.request.filter(|r| r.session != SessionId(0))?;
        let mut outcome = Outcome {
            result: Err(FsError::BadSession),
            notices: Vec::new(),
            version: self.version,
            repeated: false,
        };
        if self.session(request.session).is_err() {
            // A session that closed itself is closed, however often it is asked; its id is never
            // used again.
            let closes_itself = command.op
                == (Op::CloseSession {
                    session: request.session,
                });
            if closes_itself && self.sessions_used.contains(&request.session) {
                outcome.result = Ok(Reply::Done);
                outcome.repeated = true;
            }
            return Some(outcome);
        }
        if request.lane.0 >= limits::LANE_COUNT_MAX {
            outcome.result = Err(FsError::Invalid);
            return Some(outcome);
        }
        let (seq, result) = self.lanes.get(&(request.session, request.lane))?;
        if request.seq > *seq {
            return None;
        }
        if request.seq < *seq {
            outcome.result = Err(FsError::Stale);
        } else {
            outcome.result = result.clone();
            outcome.repeated = true;
        }
        Some(outcome)
    }

    /// Notices that follow from the states before and after: lengths of files that were there
    /// before, and chunks that lost their last reference (section 2.8).
    fn derived_notices(&self, before: &Model) -> Vec<Notice> {
        let mut notices = Vec::new();
        for (inode, node) in &self.nodes {
            let changed = before
                .nodes
                .get(inode)
                .is_some_and(|old| old.length != node.length);
            if changed && node.kind == NodeKind::File {
                notices.push(Notice::LengthChanged {
                    inode: *inode,
                    length: node.length,
                });
            }
        }
        let referenced: BTreeSet<ChunkId> = self.references().into_keys().collect();
        for chunk in before.references().into_keys() {
            if !referenced.contains(&chunk) {
                let version = self.chunks[&chunk].version;
                notices.push(Notice::ChunkUnused { chunk, version });
            }
        }
        notices
    }

    fn run(&mut self, step: &mut Step<'_>, op: &Op) -> Result<Reply, FsError> {
        match op {
            Op::OpenSession { .. }
            | Op::UpdateSession { .. }
            | Op::SetSessionConnected { .. }
            | Op::CloseSession { .. }
            | Op::SetOpenFiles { .. } => self.run_session(step, op),
            Op::Create { .. }
            | Op::Mkdir { .. }
            | Op::Symlink { .. }
            | Op::Link { .. }
            | Op::Unlink { .. }
            | Op::Rmdir { .. }
            | Op::Rename { .. } => self.run_name(step, op),
            Op::SetAttr { .. }
            | Op::TouchAtime { .. }
            | Op::SetTimes { .. }
            | Op::SetXattr { .. }
            | Op::SetAcl { .. } => self.run_attribute(step, op),
            Op::Open { .. }
            | Op::Truncate { .. }
            | Op::TruncateEnd { .. }
            | Op::WriteChunk { .. }
            | Op::WriteChunkEnd { .. }
            | Op::RollbackChunk { .. }
            | Op::SetChunkVersion { .. }
            | Op::UnlockChunk { .. }
            | Op::RepairChunk { .. }
            | Op::ForgetChunk { .. }
            | Op::AppendSlice { .. } => self.run_data(step, op),
            Op::Flock { .. } | Op::PosixLock { .. } => self.run_lock(step, op),
            Op::SetTrashTime { .. }
            | Op::SetSclass { .. }
            | Op::SetEattr { .. }
            | Op::SetArchived { .. }
            | Op::SetQuota { .. } => self.run_subtree(step, op),
            Op::SetTrashPath { .. }
            | Op::Undelete { .. }
            | Op::PurgeTrash { .. }
            | Op::Sweep { .. } => self.run_trash(step, op),
            Op::Snapshot { .. } | Op::RemoveSnapshot { .. } => self.run_snapshot(step, op),
            Op::CreateClass { .. }
            | Op::ChangeClass { .. }
            | Op::DeleteClass { .. }
            | Op::DuplicateClass { .. }
            | Op::RenameClass { .. } => self.run_class(op),
        }
    }

    /// The id of the node that a command made and told of.
    pub(crate) fn new_inode(&mut self, step: &mut Step<'_>) -> InodeId {
        let inode = match step.observed.map(|observed| &observed.result) {
            None => self.unused_inode(),
            Some(Ok(Reply::Node { inode, .. })) => *inode,
            Some(_) => return self.new_placeholder(),
        };
        if !is_usable(inode) || !self.inodes_used.insert(inode) {
            // Not to be used: it may be anywhere in the tree already.
            step.stale_id = Some(format!("{inode:?}"));
            return self.new_placeholder();
        }
        inode
    }

    /// Stands for a node until [`Self::adopt`].
    pub(crate) fn new_placeholder(&mut self) -> InodeId {
        self.placeholders += 1;
        InodeId(PLACEHOLDER_FIRST + self.placeholders)
    }

    /// The id of the chunk that a command made and told of.
    pub(crate) fn new_chunk(&mut self, step: &mut Step<'_>) -> ChunkId {
        let chunk = match step.observed.map(|observed| &observed.result) {
            None => ChunkId(self.chunks_used.last().map_or(1, |last| last.0 + 1)),
            Some(Ok(Reply::Chunk { chunk, .. } | Reply::TruncateChunk { chunk, .. })) => *chunk,
            Some(_) => return ChunkId(u64::MAX),
        };
        let usable = chunk != ChunkId::HOLE && chunk.0 >> 56 == 0;
        if !usable || !self.chunks_used.insert(chunk) {
            step.stale_id = Some(format!("{chunk:?}"));
        }
        chunk
    }

    /// The id of the session that a command made and told of.
    pub(crate) fn new_session(&mut self, step: &mut Step<'_>) -> SessionId {
        let session = match step.observed.map(|observed| &observed.result) {
            None => SessionId(self.sessions_used.last().map_or(1, |last| last.0 + 1)),
            Some(Ok(Reply::Session(session))) => *session,
            Some(_) => return SessionId(u32::MAX),
        };
        if session == SessionId(0) || !self.sessions_used.insert(session) {
            step.stale_id = Some(format!("{session:?}"));
        }
        session
    }

    fn unused_inode(&self) -> InodeId {
        InodeId(self.inodes_used.last().map_or(2, |last| last.0 + 1))
    }

    /// The reply that tells of a node.
    pub(crate) fn node_reply(&self, who: &Who, inode: InodeId) -> Reply {
        Reply::Node {
            inode: who.outward(inode),
            attr: self.attr(who, inode),
        }
    }

    /// Whether [`Self::adopt`] has something to do.
    #[must_use]
    pub fn has_placeholders(&self) -> bool {
        self.first_placeholder().is_some()
    }

    fn first_placeholder(&self) -> Option<InodeId> {
        self.nodes
            .range(InodeId(PLACEHOLDER_FIRST)..)
            .next()
            .map(|(inode, _)| *inode)
    }

    fn rename_node(&mut self, from: InodeId, to: InodeId) {
        let node = self.nodes.remove(&from).expect("the caller has seen it");
        self.nodes.insert(to, node);
        for node in self.nodes.values_mut() {
            if !node.entries.values().any(|child| *child == from) {
                continue;
            }
            let entries = Arc::make_mut(node).entries.values_mut();
            for child in entries.filter(|child| **child == from) {
                *child = to;
            }
        }
    }
}

fn is_usable(inode: InodeId) -> bool {
    inode > InodeId::ROOT && inode.0 < limits::INODE_END
}

/// The rule by which two outcomes differ, if they do. Notices about locks are compared in order,
/// the others as a set with counts.
fn difference(expected: &Outcome, observed: &Outcome) -> Option<&'static str> {
    if expected.repeated != observed.repeated {
        return Some("P-ONCE: a repeated request is known as one");
    }
    if expected.result != observed.result {
        return Some("the result is that of the semantics");
    }
    if expected.version != observed.version {
        return Some("P-VERSION: the version counts the commands that were carried out");
    }
    if sorted(&expected.notices) != sorted(&observed.notices) {
        return Some("those are told who have to know");
    }
    if lock_notices(&expected.notices) != lock_notices(&observed.notices) {
        return Some("locks are granted in the order of the queue");
    }
    None
}

fn is_about_locks(notice: &Notice) -> bool {
    matches!(
        notice,
        Notice::LockGranted { .. } | Notice::LockEnded { .. }
    )
}

fn lock_notices(notices: &[Notice]) -> Vec<&Notice> {
    notices.iter().filter(|n| is_about_locks(n)).collect()
}

fn sorted(notices: &[Notice]) -> Vec<String> {
    let mut texts: Vec<String> = notices.iter().map(|n| format!("{n:?}")).collect();
    texts.sort();
    texts
}
