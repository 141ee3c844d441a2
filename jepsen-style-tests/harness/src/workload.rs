//! The clients of a round: writers, each in its own task, and a reader for every seat. Each writes
//! down what it asks before it asks.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mfsha_client::read::Freshness;
use mfsha_client::{Client, Error as ClientError};
use mfsha_core::id::{Lane, LogIndex, SessionId};
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{Op, Reply, SessionParams};
use mfsha_core::native::request::Consistency;
use mfsha_core::rng::{Rng, Seed};
use mfsha_linearizability::history::End;
use mfsha_linearizability::models::NamespaceCall;

use crate::caller::{Asked, Caller, Looked, Written};
use crate::clock::Clock;
use crate::door::Door;
use crate::journal::{
    Answer, Call, ClientJournal, Ended, How, JournalError, Operation, Recorder, Role, Seen, Via,
};
use crate::layout::{Layout, Script};
use crate::step::{Step, seen_of_answer, seen_of_reply};

/// How long an operation may take before its outcome is called unknown.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// The same for the few that give up early, so that unknown outcomes are part of every run.
const IMPATIENCE: Duration = Duration::from_millis(700);
/// The same for a reader, whose seat may be dead.
const READER_PATIENCE: Duration = Duration::from_millis(800);
/// Operations of one client in one round at most, so that the judges come to an end.
const ROUND_OPERATIONS_MAX: u32 = 600;

/// Through what a writer asks.
pub enum Way {
    /// Plain connections: answers tell their log index.
    Plain(Box<Caller>),
    /// The native client library.
    Library(Client),
}

/// What all clients of a run share.
#[derive(Clone, Copy, Debug)]
pub struct Common {
    /// The clock of all journals.
    pub clock: Clock,
    /// Pause between two operations: from and to, milliseconds.
    pub pause_ms: (u64, u64),
}

/// One client: a number, a way, and a journal.
pub struct Member {
    number: u64,
    role: Role,
    common: Common,
    way: Way,
    recorder: Recorder,
    /// Highest index that it has seen.
    seen: u64,
    /// What it did since [`Self::take`].
    fresh: Vec<Operation>,
}

impl Member {
    /// A client that writes to a journal in `dir`.
    ///
    /// # Errors
    /// The journal cannot be made.
    pub fn new(
        dir: &Path,
        number: u64,
        role: Role,
        common: Common,
        way: Way,
    ) -> Result<Self, JournalError> {
        let path = dir.join(format!("client-{number:02}.jsonl"));
        let recorder = Recorder::create(&path, number, role)?;
        Ok(Self {
            number,
            role,
            common,
            way,
            recorder,
            seen: 0,
            fresh: Vec::new(),
        })
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// What it did since this was called last.
    pub fn take(&mut self) -> ClientJournal {
        let operations = std::mem::take(&mut self.fresh);
        ClientJournal {
            client: self.number,
            role: self.role,
            operations,
        }
    }

    /// Asks, and writes down before and after.
    ///
    /// # Errors
    /// The journal cannot be written; then the run must end.
    pub async fn perform(
        &mut self,
        round: u32,
        step: &Step,
        is_fast: bool,
        patience: Duration,
    ) -> Result<How, JournalError> {
        let via = match (step.want.is_read(), is_fast) {
            (false, _) => Via::Write,
            (true, false) => Via::Strict,
            (true, true) => Via::Fast {
                not_before: self.seen,
            },
        };
        let invoked_at = self.common.clock.now();
        self.recorder.invoke(invoked_at, round, via, &step.call)?;
        let how = match &mut self.way {
            Way::Plain(caller) => by_caller(caller, step, via, patience).await,
            Way::Library(client) => by_library(client, step, via, patience).await,
        };
        let ended = Ended {
            at: self.common.clock.now(),
            how,
        };
        self.recorder.end(&ended)?;
        let end = match ended.how.clone() {
            How::Answered(value) => End::Returned {
                at: ended.at,
                value,
            },
            How::Failed(_) => End::Failed { at: ended.at },
            How::Unknown(_) => End::Unknown {
                gave_up_at: Some(ended.at),
            },
        };
        self.fresh.push(Operation {
            round,
            invoked_at,
            via,
            call: step.call.clone(),
            end,
        });
        if let How::Answered(Answer {
            index: Some(index), ..
        }) = &ended.how
        {
            self.seen = self.seen.max(*index);
        }
        Ok(ended.how)
    }

    /// Works until told to stop.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub async fn work(
        &mut self,
        round: u32,
        layout: Layout,
        seed: Seed,
        stop: Arc<AtomicBool>,
    ) -> Result<(), JournalError> {
        let rng = seed.child("client").index(self.number).rng();
        let writer = usize::try_from(self.number).expect("clients are few") - 1;
        let mut script = Script::new(layout, writer, rng);
        for _ in 0..ROUND_OPERATIONS_MAX {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let (step, is_fast) = choose(self.role, &mut script);
            let patience = match self.role {
                Role::Reader => READER_PATIENCE,
                _ if script.rng().chance(1, 40) => IMPATIENCE,
                _ => PATIENCE,
            };
            let how = self.perform(round, &step, is_fast, patience).await?;
            note_own(&mut script, &step, &how);
            self.pause(script.rng()).await;
        }
        Ok(())
    }

    async fn pause(&mut self, rng: &mut Rng) {
        let (low, high) = self.common.pause_ms;
        tokio::time::sleep(Duration::from_millis(rng.between(low, high))).await;
    }

    /// Lets go of what it holds at the cluster. A cluster that does not answer is no error here.
    pub async fn leave(&mut self) {
        if let Way::Library(client) = &self.way {
            let _ = client.with_timeout(Duration::from_secs(3)).close().await;
        }
    }
}

/// What is asked next, and whether any state that is new enough will do.
fn choose(role: Role, script: &mut Script) -> (Step, bool) {
    let is_fast = script.rng().chance(1, 2);
    match (role, script.rng().below(100)) {
        (Role::Writer, 0..72) => (script.next_write(), false),
        (Role::Writer, 72..80) => match script.own_lookup() {
            Some(step) => (step, true),
            None => (script.next_write(), false),
        },
        (Role::Writer, _) => (script.next_read(), false),
        (Role::Reader | Role::Keeper, _) => (script.next_read(), is_fast),
    }
}

/// Remembers unique names that were made, to look them up later.
fn note_own(script: &mut Script, step: &Step, how: &How) {
    if let (Call::Tree(NamespaceCall::Create { path, .. }), How::Answered(answer)) =
        (&step.call, how)
        && let Seen::Tree(reply) = &answer.seen
        && reply.error.is_none()
        && let Some((_, name)) = path.as_str().rsplit_once('/')
        && name.starts_with('w')
    {
        script.acknowledged.push(name.to_owned());
    }
}

async fn by_caller(caller: &mut Caller, step: &Step, via: Via, patience: Duration) -> How {
    let session = caller.session();
    let consistency = match via {
        Via::Write => {
            let asked = caller.write(step.want.to_op(session), patience).await;
            return how(asked, |written: Written| Answer {
                index: Some(written.index.0),
                version: Some(written.outcome.version),
                repeated: written.outcome.repeated,
                node: written.node,
                seen: seen_of_reply(&step.want, &written.outcome.result),
            });
        }
        Via::Strict => Consistency::Strict,
        Via::Fast { not_before } => Consistency::Fast {
            not_before: LogIndex(not_before),
        },
    };
    let asked = caller
        .read(consistency, step.want.to_query(session), patience)
        .await;
    how(asked, |looked: Looked| Answer {
        index: Some(looked.index.0),
        version: None,
        repeated: false,
        node: looked.node,
        seen: seen_of_answer(&step.want, &looked.result),
    })
}

fn how<T>(asked: Asked<T>, answer: impl FnOnce(T) -> Answer) -> How {
    match asked {
        Asked::Answered(told) => How::Answered(answer(told)),
        Asked::Failed(reason) => How::Failed(reason),
        Asked::Unknown(reason) => How::Unknown(reason),
    }
}

async fn by_library(client: &Client, step: &Step, via: Via, patience: Duration) -> How {
    let client = client.with_timeout(patience);
    let want = step.want.clone();
    let told = |seen| Answer {
        index: None,
        version: None,
        repeated: false,
        node: None,
        seen,
    };
    let freshness = match via {
        Via::Write => {
            let result = client.write(move |session| want.to_op(session)).await;
            return how(by_error(result), |result| {
                told(seen_of_reply(&step.want, &result))
            });
        }
        Via::Strict => Freshness::Strict,
        Via::Fast { .. } => Freshness::Fast,
    };
    let result = client
        .read(freshness, move |session| want.to_query(session))
        .await;
    how(by_error(result), |result| {
        told(seen_of_answer(&step.want, &result))
    })
}

fn by_error<T>(result: Result<T, ClientError>) -> Asked<Result<T, FsError>> {
    match result {
        Ok(value) => Asked::Answered(Ok(value)),
        Err(ClientError::Fs(error)) => Asked::Answered(Err(error)),
        Err(ClientError::NotDone(fail)) => Asked::Failed(fail.to_string()),
        Err(ClientError::Unknown(unknown)) => Asked::Unknown(unknown.to_string()),
    }
}

/// Opens a session for plain callers.
///
/// # Errors
/// What went wrong last, when no node opens one in time.
pub async fn open_session(doors: Vec<Door>, patience: Duration) -> Result<SessionId, String> {
    let mut caller = Caller::new(doors, 0);
    let op = Op::OpenSession {
        params: SessionParams::unrestricted(),
    };
    match caller.write(op, patience).await {
        Asked::Answered(written) => match written.outcome.result {
            Ok(Reply::Session(session)) => Ok(session),
            other => Err(format!("opening a session was answered by {other:?}")),
        },
        Asked::Failed(reason) | Asked::Unknown(reason) => Err(reason),
    }
}

/// A plain caller for one lane of a session, that begins at one seat.
#[must_use]
pub fn plain(doors: Vec<Door>, first: usize, session: SessionId, lane: u32) -> Way {
    let mut caller = Caller::new(doors, first);
    caller.speak_for(session, Lane(lane));
    Way::Plain(Box::new(caller))
}
