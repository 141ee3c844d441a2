//! P-IDS: no inode, chunk or session id is given out twice, over the whole committed log.
//!
//! Ids that no reply tells (nodes made by a snapshot or an undelete) are seen by P-TREE, which
//! finds no two nodes of one id, and by the model.

use std::collections::BTreeMap;
use std::fmt::Debug;

use mfsha_core::id::{ChunkId, InodeId, LogIndex, SessionId};
use mfsha_core::limits;
use mfsha_core::namespace::op::{ChunkAction, Command, Op, Outcome, Reply};

use crate::event::Event;
use crate::time::SimTime;

use super::history::SharedHistory;
use super::{Checker, Violation, broken};

/// Watches ids.
#[derive(Debug)]
pub struct IdsChecker {
    history: SharedHistory,
    judged: LogIndex,
    inodes: BTreeMap<InodeId, LogIndex>,
    chunks: BTreeMap<ChunkId, LogIndex>,
    sessions: BTreeMap<SessionId, LogIndex>,
}

impl IdsChecker {
    /// Judges this history.
    #[must_use]
    pub fn new(history: SharedHistory) -> Self {
        Self {
            history,
            judged: LogIndex(0),
            inodes: BTreeMap::from([(InodeId::ROOT, LogIndex(0))]),
            chunks: BTreeMap::new(),
            sessions: BTreeMap::new(),
        }
    }

    fn judge(&mut self, index: LogIndex) -> Result<(), String> {
        let history = self.history.clone();
        let history = history.borrow();
        let Some((command, outcome)) = history.get(index).and_then(|entry| entry.command()) else {
            return Ok(());
        };
        match new_id(command, outcome) {
            None => Ok(()),
            Some(NewId::Inode(id)) if id.0 == 0 || id.0 >= limits::INODE_END => Err(format!(
                "{id} was given out at {index}, which no node may have"
            )),
            Some(NewId::Chunk(id)) if id == ChunkId::HOLE || id.0 >> 56 != 0 => Err(format!(
                "{id} was given out at {index}, which no chunk may have"
            )),
            Some(NewId::Session(SessionId(0))) => {
                Err(format!("session 0 was given out at {index}"))
            }
            Some(NewId::Inode(id)) => take(&mut self.inodes, id, index),
            Some(NewId::Chunk(id)) => take(&mut self.chunks, id, index),
            Some(NewId::Session(id)) => take(&mut self.sessions, id, index),
        }
    }
}

fn take<Id: Ord + Copy + Debug>(
    given: &mut BTreeMap<Id, LogIndex>,
    id: Id,
    index: LogIndex,
) -> Result<(), String> {
    match given.insert(id, index) {
        Some(before) => Err(format!("{id:?} was given out at {before} and at {index}")),
        None => Ok(()),
    }
}

enum NewId {
    Inode(InodeId),
    Chunk(ChunkId),
    Session(SessionId),
}

/// The id that a command took, when its reply tells one.
fn new_id(command: &Command, outcome: &Outcome) -> Option<NewId> {
    if outcome.repeated {
        return None;
    }
    match (&command.op, outcome.result.as_ref().ok()?) {
        (Op::Create { .. } | Op::Mkdir { .. } | Op::Symlink { .. }, Reply::Node { inode, .. }) => {
            Some(NewId::Inode(*inode))
        }
        (_, Reply::Session(session)) => Some(NewId::Session(*session)),
        (_, Reply::Chunk { chunk, action, .. } | Reply::TruncateChunk { chunk, action, .. }) => {
            match action {
                ChunkAction::Created | ChunkAction::Duplicated { .. } => Some(NewId::Chunk(*chunk)),
                ChunkAction::Raised { .. } | ChunkAction::Kept => None,
            }
        }
        _ => None,
    }
}

impl Checker for IdsChecker {
    fn name(&self) -> &'static str {
        "ids"
    }

    fn promise(&self) -> &'static str {
        "P-IDS"
    }

    fn on_event(&mut self, _now: SimTime, event: &Event) -> Result<(), Violation> {
        if !matches!(event, Event::Applied { .. }) {
            return Ok(());
        }
        while self.judged < self.history.borrow().last() {
            self.judged = self.judged.next();
            if let Err(sentence) = self.judge(self.judged) {
                return Err(broken(self, sentence));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use mfsha_core::namespace::op::{Answer, Query, SessionParams};
    use mfsha_core::time::WallTime;

    use super::super::image;
    use super::super::testing::{
        applied, cluster_itself, command, mkdir, replied, show, state_at, write,
    };
    use super::*;

    fn judge(outcomes: Vec<(Op, Outcome)>) -> Result<(), Violation> {
        let history = SharedHistory::default();
        let events: Vec<Event> = outcomes
            .into_iter()
            .zip(1..)
            .map(|((op, outcome), index)| {
                let mut request = write(1, 1, index);
                request.op = op;
                applied(0, command(1, index, &request, outcome))
            })
            .collect();
        show(&mut IdsChecker::new(history.clone()), &history, &events)
    }

    fn session(id: u32) -> (Op, Outcome) {
        let params = SessionParams::unrestricted();
        let reply = Reply::Session(SessionId(id));
        (Op::OpenSession { params }, replied(reply, 1))
    }

    fn chunk(id: u64, action: ChunkAction) -> (Op, Outcome) {
        let op = Op::UnlockChunk { chunk: ChunkId(1) };
        let reply = Reply::Chunk {
            chunk: ChunkId(id),
            version: 1,
            action,
            length: 0,
        };
        (op, replied(reply, 1))
    }

    #[test]
    fn new_ids_are_lawful_and_a_repeat_gives_out_nothing() {
        let mut repeat = session(1);
        repeat.1.repeated = true;
        let raised = ChunkAction::Raised { from_version: 1 };
        judge(vec![
            session(1),
            repeat,
            session(2),
            chunk(7, ChunkAction::Created),
            chunk(7, raised),
            chunk(7, ChunkAction::Kept),
        ])
        .unwrap();
    }

    #[test]
    fn the_same_session_or_chunk_twice_is_caught() {
        let found = judge(vec![session(3), session(4), session(3)]).unwrap_err();
        assert!(
            found.sentence.contains("i1 and at i3"),
            "{}",
            found.sentence
        );
        let duplicated = ChunkAction::Duplicated {
            from: ChunkId(9),
            from_version: 1,
        };
        let made = chunk(7, ChunkAction::Created);
        assert!(judge(vec![made, chunk(7, duplicated)]).is_err());
    }

    #[test]
    fn the_same_inode_twice_or_the_roots_is_caught() {
        let attr = match image::namespace(&state_at(1))
            .unwrap()
            .query(
                WallTime(0),
                &Query::GetAttr {
                    caller: cluster_itself(),
                    inode: InodeId::ROOT,
                    opened: false,
                },
            )
            .unwrap()
        {
            Ok(Answer::Attr(attr)) => attr,
            other => panic!("{other:?}"),
        };
        let node = |id, op| {
            let (inode, attr) = (InodeId(id), attr.clone());
            (op, replied(Reply::Node { inode, attr }, 1))
        };
        let link = || Op::Link {
            caller: cluster_itself(),
            inode: InodeId(20_000),
            parent: InodeId::ROOT,
            name: b"b".to_vec(),
        };
        judge(vec![node(20_000, mkdir("a")), node(20_000, link())]).unwrap();
        assert!(judge(vec![node(20_000, mkdir("a")), node(20_000, mkdir("b"))]).is_err());
        assert!(judge(vec![node(1, mkdir("a"))]).is_err());
    }

    #[test]
    fn ids_that_nothing_may_have_are_caught() {
        assert!(judge(vec![session(0)]).is_err());
        assert!(judge(vec![chunk(0, ChunkAction::Created)]).is_err());
        assert!(judge(vec![chunk(1 << 60, ChunkAction::Created)]).is_err());
    }
}
