//! One command: what it has to come to, and whether that is what was observed.

use std::collections::BTreeSet;

use mfsha_core::id::{ChunkId, InodeId, SessionId};
use mfsha_core::limits;
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{Command, LastRequest, NodeKind, Notice, Op, Outcome, Reply};
use mfsha_core::time::WallTime;

use crate::state::Model;
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
pub(crate) struct Step {
    /// The command's wall time.
    pub(crate) now: WallTime,
    /// About locks, in order.
    pub(crate) lock_notices: Vec<Notice>,
    /// About chunks that were written or cut.
    pub(crate) chunk_notices: Vec<Notice>,
    /// About chunkservers.
    pub(crate) server_notices: Vec<Notice>,
    /// A refusal that changes something all the same.
    pub(crate) refusal_counts: bool,
}

impl Model {
    /// Carries out a command, and compares with what was observed of it. All of it is foretold,
    /// new ids too.
    ///
    /// # Errors
    /// What was expected and what was observed; the model is then as it was.
    pub fn apply(&mut self, command: &Command, observed: &Outcome) -> Result<(), Mismatch> {
        let before = self.clone();
        let expected = self.carry_out_from(command, &before);
        let Some(rule) = difference(&expected, observed) else {
            return Ok(());
        };
        *self = before;
        Err(Mismatch::new(rule, &expected, observed, command))
    }

    /// Carries out a command and says what it has to come to: the model as an implementation.
    pub fn carry_out(&mut self, command: &Command) -> Outcome {
        let before = self.clone();
        self.carry_out_from(command, &before)
    }

    /// As [`Self::carry_out`]; `before` is what the model is now.
    fn carry_out_from(&mut self, command: &Command, before: &Self) -> Outcome {
        if let Some(ready) = self.answer_repeat(command) {
            return ready;
        }
        let mut step = Step {
            now: command.now,
            lock_notices: Vec::new(),
            chunk_notices: Vec::new(),
            server_notices: Vec::new(),
            refusal_counts: false,
        };
        let result = self.run(&mut step, &command.op);
        let mut notices = Vec::new();
        if result.is_ok() || step.refusal_counts {
            self.let_sources_go();
            self.update_soft_limits(command.now);
            notices.extend(step.lock_notices);
            notices.extend(step.chunk_notices);
            notices.extend(step.server_notices);
            notices.extend(self.derived_notices(before));
            self.version += u64::from(result.is_ok());
        } else {
            self.clone_from(before);
        }
        if let Some(request) = command.request {
            let lives = self.sessions.contains_key(&request.session);
            if lives {
                let key = (request.session, request.lane);
                let last = LastRequest {
                    lane: request.lane,
                    seq: request.seq,
                    print: request.print,
                    at: command.now,
                };
                self.lanes.insert(key, (last, result.clone()));
            }
        }
        Outcome {
            result,
            notices,
            version: self.version,
            repeated: false,
        }
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
            if closes_itself && request.session.0 <= self.given.sessions {
                outcome.result = Ok(Reply::Done);
                outcome.repeated = true;
            }
            return Some(outcome);
        }
        if request.lane.0 >= limits::LANE_COUNT_MAX {
            outcome.result = Err(FsError::Invalid);
            return Some(outcome);
        }
        let (last, result) = self.lanes.get(&(request.session, request.lane))?;
        if request.seq > last.seq {
            return None;
        }
        if request.seq < last.seq || request.print != last.print {
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

    fn run(&mut self, step: &mut Step, op: &Op) -> Result<Reply, FsError> {
        match op {
            Op::OpenSession { .. }
            | Op::UpdateSession { .. }
            | Op::SetSessionConnected { .. }
            | Op::CloseSession { .. }
            | Op::ExpireSession { .. }
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
            | Op::SettleChunk { .. }
            | Op::UnlockChunk { .. }
            | Op::RepairChunk { .. }
            | Op::ForgetChunk { .. }
            | Op::AppendSlice { .. } => self.run_data(step, op),
            Op::PassChunkIds { .. } | Op::PassVersions { .. } | Op::ForgetPassedVersions { .. } => {
                self.run_passed(op)
            }
            Op::Flock { .. } | Op::PosixLock { .. } => self.run_lock(step, op),
            Op::SetTrashTime { .. }
            | Op::SetSclass { .. }
            | Op::SetEattr { .. }
            | Op::SetArchived { .. }
            | Op::ArchiveAged { .. }
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
            Op::RegisterChunkserver { csid, address } => {
                self.register_chunkserver(step, *csid, *address)
            }
            Op::ForgetChunkserver { csid } => self.forget_chunkserver(step, *csid),
            Op::SetMaintenance { csid, until } => self.set_maintenance(*csid, *until),
        }
    }

    /// The reply that tells of a node.
    pub(crate) fn node_reply(&self, who: &Who, inode: InodeId) -> Reply {
        Reply::Node {
            inode: who.outward(inode),
            attr: self.attr(who, inode),
        }
    }
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
