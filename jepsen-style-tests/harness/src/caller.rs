//! A client that asks until it is answered: the same request under the same name, at one node
//! after the other, until its time is over.

use std::time::Duration;

use mfsha_core::id::{Lane, LogIndex, NodeId, RequestSeq, SessionId};
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{Answer, Op, Outcome, Query};
use mfsha_core::native::request::{Consistency, NodeError, RequestBody, ResponseBody};
use tokio::time::{Instant, sleep};

use crate::door::Door;
use crate::wire::{Connection, WireError};

/// How long a connection may take.
const CONNECT_PATIENCE: Duration = Duration::from_millis(500);
/// How long one node may take to answer before another is asked.
const NODE_PATIENCE: Duration = Duration::from_millis(700);
/// Pause before the next node is asked.
const PAUSE: Duration = Duration::from_millis(20);

/// How a question ended.
#[derive(Clone, Debug)]
pub enum Asked<T> {
    /// It was answered.
    Answered(T),
    /// It certainly did not happen, and never will.
    Failed(String),
    /// Nobody knows.
    Unknown(String),
}

/// A change as it was answered.
#[derive(Clone, Debug)]
pub struct Written {
    /// Its place in the log.
    pub index: LogIndex,
    /// What it came to.
    pub outcome: Outcome,
    /// Who said so, when that is known.
    pub node: Option<NodeId>,
}

/// A read as it was answered.
#[derive(Clone, Debug)]
pub struct Looked {
    /// Applied index of the state that was read.
    pub index: LogIndex,
    /// What was read.
    pub result: Result<Answer, FsError>,
    /// Who said so, when that is known.
    pub node: Option<NodeId>,
}

/// One lane of one session, asked over plain connections.
#[derive(Debug)]
pub struct Caller {
    doors: Vec<Door>,
    /// Whom it asks first.
    at: usize,
    connection: Option<Connection>,
    session: SessionId,
    lane: Lane,
    seq: RequestSeq,
}

/// What one attempt came to.
#[expect(clippy::large_enum_variant, reason = "one lives at a time")]
enum Attempt {
    Answered(ResponseBody, NodeId),
    /// It did not arrive, or was refused without effect.
    Nothing(String),
    /// It may have happened, or may still.
    Maybe(String),
    /// It was refused for good.
    Never(String),
}

impl Caller {
    /// A caller for session 0, whose requests are not remembered, that begins at one address.
    ///
    /// # Panics
    /// When there is no such address.
    #[must_use]
    pub fn new(doors: Vec<Door>, first: usize) -> Self {
        assert!(first < doors.len(), "a caller begins at one of its doors");
        Self {
            doors,
            at: first,
            connection: None,
            session: SessionId(0),
            lane: Lane(0),
            seq: RequestSeq(0),
        }
    }

    /// Speaks for a lane of a session from now on.
    pub fn speak_for(&mut self, session: SessionId, lane: Lane) {
        (self.session, self.lane, self.seq) = (session, lane, RequestSeq(0));
    }

    /// The session it speaks for.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// The seat that it asks at present.
    #[must_use]
    pub fn seat(&self) -> usize {
        self.at
    }

    /// Changes the tree, once.
    pub async fn write(&mut self, op: Op, patience: Duration) -> Asked<Written> {
        self.seq = RequestSeq(self.seq.0 + 1);
        let (session, lane, seq) = (self.session, self.lane, self.seq);
        let body = RequestBody::Write {
            session,
            lane,
            seq,
            op,
        };
        match self.ask(&body, patience, true).await {
            Asked::Answered((ResponseBody::Written { index, outcome }, node)) => {
                Asked::Answered(Written {
                    index,
                    outcome,
                    node: Some(node),
                })
            }
            Asked::Answered((other, _)) => Asked::Unknown(format!("answered by {other:?}")),
            Asked::Failed(reason) => Asked::Failed(reason),
            Asked::Unknown(reason) => Asked::Unknown(reason),
        }
    }

    /// Reads the tree, at whichever node answers.
    pub async fn read(
        &mut self,
        consistency: Consistency,
        query: Query,
        patience: Duration,
    ) -> Asked<Looked> {
        let body = RequestBody::Read { consistency, query };
        match self.ask(&body, patience, false).await {
            Asked::Answered((ResponseBody::Read { index, result }, node)) => {
                Asked::Answered(Looked {
                    index,
                    result,
                    node: Some(node),
                })
            }
            Asked::Answered((other, _)) => Asked::Failed(format!("answered by {other:?}")),
            Asked::Failed(reason) | Asked::Unknown(reason) => Asked::Failed(reason),
        }
    }

    async fn ask(
        &mut self,
        body: &RequestBody,
        patience: Duration,
        changes: bool,
    ) -> Asked<(ResponseBody, NodeId)> {
        let until = Instant::now() + patience;
        let mut may_have_happened = false;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let mut leader = None;
            let reason = match self
                .attempt(body, left.min(NODE_PATIENCE), &mut leader)
                .await
            {
                Attempt::Answered(body, node) => return Asked::Answered((body, node)),
                Attempt::Never(reason) if may_have_happened => return Asked::Unknown(reason),
                Attempt::Never(reason) => return Asked::Failed(reason),
                Attempt::Nothing(reason) => reason,
                Attempt::Maybe(reason) => {
                    may_have_happened |= changes;
                    reason
                }
            };
            if Instant::now() + PAUSE >= until {
                return if may_have_happened {
                    Asked::Unknown(reason)
                } else {
                    Asked::Failed(reason)
                };
            }
            if self.doors.len() > 1 {
                self.connection = None;
                self.at = leader.unwrap_or((self.at + 1) % self.doors.len());
            }
            sleep(PAUSE).await;
        }
    }

    async fn attempt(
        &mut self,
        body: &RequestBody,
        patience: Duration,
        leader: &mut Option<usize>,
    ) -> Attempt {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let door = &self.doors[self.at];
                match Connection::open(door, patience.min(CONNECT_PATIENCE)).await {
                    Ok(connection) => connection,
                    Err(error) => return Attempt::Nothing(error.to_string()),
                }
            }
        };
        let node = connection.node();
        let answer = match connection.ask(body.clone(), patience).await {
            Err(WireError::NotSent(reason)) => return Attempt::Nothing(reason),
            Err(WireError::Lost(reason)) => return Attempt::Maybe(reason),
            Ok(answer) => answer,
        };
        self.connection = Some(connection);
        match answer {
            Ok(body) => Attempt::Answered(body, node),
            Err(NodeError::NotLeader { leader: named }) => {
                *leader = named.and_then(|named| self.guess_seat(named));
                Attempt::Nothing(format!("{node} does not lead"))
            }
            Err(NodeError::Overloaded) => Attempt::Nothing(format!("{node} is overloaded")),
            Err(NodeError::Invalid { reason }) => Attempt::Never(reason),
            Err(error) => Attempt::Maybe(format!("{node}: {error}")),
        }
    }

    /// Founders sit in the order of their ids; a node that came later is looked for.
    fn guess_seat(&self, node: NodeId) -> Option<usize> {
        let seat = usize::try_from(node.0).ok()?.checked_sub(1)?;
        (seat < self.doors.len() && seat != self.at).then_some(seat)
    }
}
