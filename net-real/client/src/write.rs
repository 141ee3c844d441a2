//! Writes that take effect once.
//!
//! A write runs in a task of its own, so that no cancelled future can leave its lane in doubt. It
//! repeats one request under one number until the outcome is known or the caller's time is over.
//!
//! When time is over and some attempt may have been heard, the caller learns that the outcome is
//! unknown, and the write is **not** pushed any further: a change that comes minutes after its
//! caller gave up surprises more than one that never comes. The task puts a request that changes
//! nothing under the lane's next number instead. Once that is applied, the old number is `Stale`
//! for ever, wherever copies of it still travel; only then is the lane used again.
//!
//! A session that is gone bars its requests just as well. So `BadSession` says that nothing
//! happened only as long as no earlier attempt may have been heard.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use mfsha_core::id::SessionId;
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{Op, Outcome, Reply, RequestId};
use mfsha_core::native::request::ResponseBody;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until};

use crate::Client;
use crate::client::{Core, Miss, Tries};
use crate::error::{Error, Fail, Settlement, Settling, Unknown, shortened};
use crate::link::Ask;
use crate::session::{Held, write_of};

/// Sessions that one write may go through when they get lost one after the other.
const SESSIONS_MAX: u32 = 3;

type Made = Box<dyn Fn(SessionId) -> Op + Send + Sync>;
type Tell = oneshot::Sender<Result<Reply, Error>>;

/// How the repeats of one request ended.
enum End {
    /// The outcome is known.
    Known(Box<Outcome>),
    /// The session is gone, and nothing happened before.
    SessionGone,
    /// Nothing happened, and nothing will.
    NotDone(Fail),
    /// Something may have happened; the text says what went wrong last. True: nothing will any
    /// more, for the session is gone.
    Unknown(String, bool),
}

impl Client {
    /// Carries out one command, once, in the name of this client's session. `op` makes it for the
    /// session's number; it may be asked again when a session got lost before anything happened.
    /// Locks and open files do not survive that: compare [`Client::session`].
    ///
    /// Dropping the future ends the repeats; the command may or may not take effect.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn write(
        &self,
        op: impl Fn(SessionId) -> Op + Send + Sync + 'static,
    ) -> Result<Reply, Error> {
        let (tell, told) = oneshot::channel();
        let writing = Writing {
            core: Arc::clone(&self.core),
            deadline: self.deadline(),
            tell: Some(tell),
            settled: watch::channel(None).0,
        };
        tokio::spawn(writing.run(Box::new(op)));
        told.await.unwrap_or_else(|_| {
            Err(Error::Unknown(Unknown {
                request: RequestId::new(
                    SessionId(0),
                    mfsha_core::id::Lane(0),
                    mfsha_core::id::RequestSeq(0),
                ),
                last: "the task that writes was ended".to_owned(),
                settling: Settling(watch::channel(None).1),
            }))
        })
    }

    /// The number of this client's session, opened now if there is none.
    ///
    /// # Errors
    /// [`Fail`].
    pub async fn session(&self) -> Result<SessionId, Fail> {
        let session = self.core.session(self.deadline()).await?;
        Ok(session.id)
    }

    /// Ends the session: writes under way get half of the time to end, further calls are refused.
    /// Closing again does nothing.
    ///
    /// # Errors
    /// [`Error`] when the cluster could not be told; it keeps the session then.
    pub async fn close(&self) -> Result<(), Error> {
        let deadline = self.deadline();
        self.core.closed.store(true, Ordering::Release);
        let patience = Instant::now() + self.timeout() / 2;
        let Some(held) = self.core.last_lane(patience).await else {
            return Ok(());
        };
        let (tell, told) = oneshot::channel();
        let writing = Writing {
            core: Arc::clone(&self.core),
            deadline,
            tell: Some(tell),
            settled: watch::channel(None).0,
        };
        tokio::spawn(async move {
            let session = held.session.id;
            let mut writing = writing;
            writing.run_on(held, Op::CloseSession { session }).await;
        });
        match told.await {
            Ok(result) => result.map(drop),
            Err(_) => Err(Error::NotDone(Fail::Closed)),
        }
    }
}

/// One write on its way.
struct Writing {
    core: Arc<Core>,
    deadline: Instant,
    /// `None` once the caller was told.
    tell: Option<Tell>,
    settled: watch::Sender<Option<Settlement>>,
}

impl Writing {
    async fn run(mut self, op: Made) {
        for _ in 0..SESSIONS_MAX {
            let held = match self.core.lane(self.deadline).await {
                Ok(held) => held,
                Err(fail) => return self.tell(Err(Error::NotDone(fail))),
            };
            let op = op(held.session.id);
            if self.run_on(held, op).await {
                return;
            }
        }
        self.tell(Err(Error::Fs(FsError::BadSession)));
    }

    /// False when the session was gone and nothing happened.
    async fn run_on(&mut self, mut held: Held, op: Op) -> bool {
        let ask = write_of(held.request(), op);
        let end = self.repeat(&held, &ask).await;
        match end {
            End::Known(outcome) => {
                held.settle();
                let result = outcome.result.clone().map_err(Error::Fs);
                self.settled.send_replace(Some(Settlement::Known(outcome)));
                self.tell(result);
            }
            End::NotDone(fail) => {
                held.settle();
                self.settled.send_replace(Some(Settlement::Barred));
                self.tell(Err(Error::NotDone(fail)));
            }
            End::SessionGone => {
                held.session.become_lost();
                held.settle();
                if self.tell.is_some() {
                    return false;
                }
                self.settled.send_replace(Some(Settlement::Barred));
            }
            End::Unknown(last, true) => {
                held.session.become_lost();
                held.settle();
                self.settled.send_replace(Some(Settlement::Barred));
                self.tell_unknown(held.request(), last);
            }
            End::Unknown(last, false) => {
                self.tell_unknown(held.request(), last);
                self.bar(held).await;
            }
        }
        true
    }

    /// Asks until there is an end.
    async fn repeat(&mut self, held: &Held, ask: &Ask) -> End {
        let core = Arc::clone(&self.core);
        let mut tries = Tries::new(&core, self.deadline);
        let mut heard = false;
        loop {
            let slot = core.book.best();
            let limit = core.options.attempt_timeout;
            let attempt = core.attempt_leader(&slot, ask, limit);
            let miss = match self.patiently(held, attempt).await {
                Ok((ResponseBody::Written { index, outcome }, leader)) => {
                    core.see(index.0);
                    core.book.see_leader(leader);
                    return judge(outcome, heard);
                }
                Ok((other, _)) => {
                    heard = true;
                    Miss::Never(Fail::Unexpected {
                        answer: shortened(&other),
                    })
                }
                Err(miss) => miss,
            };
            heard |= matches!(miss, Miss::Maybe(_));
            let on = tries.after(&slot, &miss).await;
            let given_up = self.tell.as_ref().is_none_or(oneshot::Sender::is_closed);
            match on {
                Ok(()) if !given_up => {}
                Ok(()) if heard => return End::Unknown(tries.last().to_owned(), false),
                Ok(()) => return End::NotDone(tries.over()),
                Err(fail) if heard => return End::Unknown(fail.to_string(), false),
                Err(fail) => return End::NotDone(fail),
            }
        }
    }

    /// Waits for an attempt to end; when the caller's time is over before, tells so at once. The
    /// answer may still come, and is the best that there is.
    async fn patiently<T>(
        &mut self,
        held: &Held,
        attempt: impl Future<Output = Result<T, Miss>>,
    ) -> Result<T, Miss> {
        tokio::pin!(attempt);
        if self.tell.is_some() {
            tokio::select! {
                biased;
                result = &mut attempt => return result,
                () = sleep_until(self.deadline) => {
                    let last = "no answer came in time".to_owned();
                    self.tell_unknown(held.request(), last);
                }
            }
        }
        attempt.await
    }

    /// Uses up the request's number. Goes on until that is done or nobody holds the client.
    async fn bar(&self, mut held: Held) {
        let session = held.session.id;
        let nothing = Op::SetTimes {
            session,
            times: Vec::new(),
        };
        let ask = write_of(held.next_request(), nothing);
        let mut gone = self.core.gone.clone();
        tokio::select! {
            () = self.core.insist(&ask) => {
                held.settle();
                self.settled.send_replace(Some(Settlement::Barred));
            }
            _ = gone.wait_for(|gone| *gone) => {}
        }
    }

    fn tell(&mut self, result: Result<Reply, Error>) {
        if let Some(tell) = self.tell.take() {
            // Nobody listens to a cancelled call.
            let _ = tell.send(result);
        }
    }

    fn tell_unknown(&mut self, request: RequestId, last: String) {
        let settling = Settling(self.settled.subscribe());
        self.tell(Err(Error::Unknown(Unknown {
            request,
            last,
            settling,
        })));
    }
}

/// What an outcome says. `heard`: an earlier attempt may have taken effect.
fn judge(outcome: Outcome, heard: bool) -> End {
    let not_remembered = !outcome.repeated;
    match &outcome.result {
        Err(FsError::BadSession) if not_remembered && heard => End::Unknown(
            "the session ended before the outcome was known".to_owned(),
            true,
        ),
        Err(FsError::BadSession) if not_remembered => End::SessionGone,
        // The lane has a newer request, which only this one's successor can be.
        Err(FsError::Stale) if not_remembered => {
            End::Unknown("a newer request is in its lane".to_owned(), false)
        }
        _ => End::Known(Box::new(outcome)),
    }
}

impl Core {
    /// Asks until there is any outcome.
    async fn insist(&self, ask: &Ask) {
        let never = Instant::now() + std::time::Duration::from_secs(86_400 * 365);
        let mut tries = Tries::new(self, never);
        loop {
            let slot = self.book.best();
            let limit = self.options.attempt_timeout;
            let miss = match self.attempt_leader(&slot, ask, limit).await {
                Ok((ResponseBody::Written { index, .. }, _)) => return self.see(index.0),
                Ok(_) => Miss::Maybe("another answer".to_owned()),
                Err(miss) => miss,
            };
            if tries.after(&slot, &miss).await.is_err() {
                // Turned away by everybody, for now: a token may be changed back.
                tokio::time::sleep(self.options.backoff.1).await;
            }
        }
    }
}
