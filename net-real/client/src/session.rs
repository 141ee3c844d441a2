//! The client's session and its lanes.
//!
//! A lane has one request outstanding at most. Who holds a lane says when its request is settled;
//! a lane that is let go of before that is never used again, so no number can stand for two
//! requests whatever is cancelled where.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use mfsha_core::id::{Lane, RequestSeq, SessionId};
use mfsha_core::namespace::op::{Op, Reply, RequestId};
use mfsha_core::native::request::{RequestBody, ResponseBody};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::client::{Core, Miss, Tries};
use crate::error::{Fail, shortened};
use crate::link::Ask;
use crate::options::ClientOptions;

/// The present session; a lost one is replaced when it is needed.
pub(crate) struct Sessions {
    lanes_max: u32,
    current: tokio::sync::Mutex<Option<Arc<Session>>>,
}

/// One session.
pub(crate) struct Session {
    pub id: SessionId,
    /// The cluster says that it is not there any more.
    lost: AtomicBool,
    permits: Arc<Semaphore>,
    /// Lanes that nobody uses, and the next number of each.
    free: Mutex<Vec<(Lane, RequestSeq)>>,
    lanes_max: u32,
}

/// A lane, and the number of the one request that it is held for.
pub(crate) struct Held {
    pub session: Arc<Session>,
    lane: Lane,
    seq: RequestSeq,
    settled: bool,
    permit: Option<OwnedSemaphorePermit>,
}

impl Sessions {
    pub fn new(options: &ClientOptions) -> Self {
        Self {
            lanes_max: options.lanes_max,
            current: tokio::sync::Mutex::new(None),
        }
    }
}

impl Session {
    fn new(id: SessionId, lanes_max: u32) -> Self {
        let free = (0..lanes_max).rev();
        Self {
            id,
            lost: AtomicBool::new(false),
            permits: Arc::new(Semaphore::new(lanes_max as usize)),
            free: Mutex::new(free.map(|lane| (Lane(lane), RequestSeq(1))).collect()),
            lanes_max,
        }
    }

    /// The cluster does not know it any more: nothing that was asked in its name can happen now.
    pub fn become_lost(&self) {
        self.lost.store(true, Ordering::Release);
    }

    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    fn free(&self) -> std::sync::MutexGuard<'_, Vec<(Lane, RequestSeq)>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// The request's name.
    pub fn request(&self) -> RequestId {
        RequestId::new(self.session.id, self.lane, self.seq)
    }

    /// The request under the next number: once that one is applied, this one cannot be any more.
    pub fn next_request(&self) -> RequestId {
        RequestId {
            seq: RequestSeq(self.seq.0 + 1),
            ..self.request()
        }
    }

    /// Nothing of what was asked on this lane can still happen: others may use it, under numbers
    /// that were not used.
    pub fn settle(&mut self) {
        self.settled = true;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(permit) = self.permit.take() else {
            return;
        };
        if self.settled {
            // One number further than the one that bars.
            let next = RequestSeq(self.seq.0 + 2);
            self.session.free().push((self.lane, next));
        } else {
            permit.forget();
        }
    }
}

/// A write as it goes to a node.
pub(crate) fn write_of(request: RequestId, op: Op) -> Ask {
    Ask::Node(RequestBody::Write {
        session: request.session,
        lane: request.lane,
        seq: request.seq,
        op,
    })
}

impl Core {
    /// The present session, opened now if there is none.
    ///
    /// # Errors
    /// [`Fail`].
    pub async fn session(self: &Arc<Self>, deadline: Instant) -> Result<Arc<Session>, Fail> {
        let waiting = timeout_at(deadline, self.sessions.current.lock()).await;
        let mut current = waiting.map_err(|_| Fail::Deadline {
            last: "no session could be opened yet".to_owned(),
        })?;
        if self.closed.load(Ordering::Acquire) {
            return Err(Fail::Closed);
        }
        if let Some(session) = current.as_ref().filter(|session| !session.is_lost()) {
            return Ok(Arc::clone(session));
        }
        let id = self.open_session(deadline).await?;
        let session = Arc::new(Session::new(id, self.sessions.lanes_max));
        *current = Some(Arc::clone(&session));
        tokio::spawn(Arc::clone(self).keep(Arc::clone(&session)));
        Ok(session)
    }

    /// Opens one. The answer may get lost on the way: then there is a session that nobody uses,
    /// until the cluster clears it away.
    async fn open_session(&self, deadline: Instant) -> Result<SessionId, Fail> {
        let nobody = RequestId::new(SessionId(0), Lane(0), RequestSeq(0));
        let params = self.options.session.clone();
        let ask = write_of(nobody, Op::OpenSession { params });
        let mut tries = Tries::new(self, deadline);
        loop {
            let slot = self.book.best();
            let miss = match self.attempt_leader(&slot, &ask, tries.limit()).await {
                Ok((ResponseBody::Written { index, outcome }, leader)) => {
                    self.see(index.0);
                    self.book.see_leader(leader);
                    return match outcome.result {
                        Ok(Reply::Session(id)) => Ok(id),
                        Ok(other) => Err(Fail::Unexpected {
                            answer: shortened(&other),
                        }),
                        Err(error) => Err(Fail::Invalid {
                            reason: format!("the session is refused: {error}"),
                        }),
                    };
                }
                Ok((other, _)) => Miss::Never(Fail::Unexpected {
                    answer: shortened(&other),
                }),
                Err(miss) => miss,
            };
            tries.after(&slot, &miss).await?;
        }
    }

    /// A lane for one request.
    ///
    /// # Errors
    /// [`Fail`].
    pub async fn lane(self: &Arc<Self>, deadline: Instant) -> Result<Held, Fail> {
        let session = self.session(deadline).await?;
        let permits = Arc::clone(&session.permits);
        let permit = match timeout_at(deadline, permits.acquire_owned()).await {
            Ok(Ok(permit)) => permit,
            _ => {
                let last = format!("{} writes are under way already", session.lanes_max);
                return Err(Fail::Deadline { last });
            }
        };
        let lane = session.free().pop();
        let (lane, seq) = lane.expect("there is a free lane for each permit");
        Ok(Held {
            session,
            lane,
            seq,
            settled: false,
            permit: Some(permit),
        })
    }

    /// Takes the session away from further calls, waits until those under way have ended or
    /// `patience` is over, and gives the lane in which the session is closed.
    pub async fn last_lane(&self, patience: Instant) -> Option<Held> {
        let session = self.sessions.current.lock().await.take()?;
        let every = session.permits.acquire_many(session.lanes_max);
        let _ = timeout_at(patience, every).await;
        (!session.is_lost()).then(|| Held {
            lane: Lane(session.lanes_max),
            seq: RequestSeq(1),
            settled: false,
            permit: None,
            session,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(session: &Arc<Session>) -> Held {
        let permit = Arc::clone(&session.permits).try_acquire_owned().unwrap();
        let (lane, seq) = session.free().pop().unwrap();
        Held {
            session: Arc::clone(session),
            lane,
            seq,
            settled: false,
            permit: Some(permit),
        }
    }

    #[test]
    fn a_settled_lane_goes_on_behind_the_number_that_bars() {
        let session = Arc::new(Session::new(SessionId(1), 1));
        let mut first = held(&session);
        let barring = first.next_request();
        first.settle();
        drop(first);
        let second = held(&session);
        assert_eq!(second.request().lane, barring.lane);
        assert!(second.request().seq > barring.seq);
    }

    #[test]
    fn an_unsettled_lane_is_never_used_again() {
        let session = Arc::new(Session::new(SessionId(1), 2));
        let lost = held(&session);
        let lane = lost.request().lane;
        drop(lost);
        assert_eq!(session.permits.available_permits(), 1);
        let mut other = held(&session);
        assert_ne!(other.request().lane, lane);
        other.settle();
        drop(other);
        assert_ne!(held(&session).request().lane, lane);
    }
}
