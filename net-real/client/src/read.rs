//! Reads: as fresh as wanted, and never going back.

use std::sync::atomic::Ordering;

use mfsha_core::id::{LogIndex, SessionId};
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{Answer, Query};
use mfsha_core::native::request::{Consistency, RequestBody, ResponseBody};

use crate::Client;
use crate::client::{Miss, Tries};
use crate::error::{Error, Fail, shortened};
use crate::link::Ask;

/// Sessions that one read may go through when they get lost one after the other.
const SESSIONS_MAX: u32 = 3;

/// How fresh reads are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Freshness {
    /// Linearizable, whatever clocks do.
    #[default]
    Strict,
    /// Linearizable as long as clock rates stay within their bound.
    Lease,
    /// Any node's state, but nothing older than what this client has seen or done before.
    Fast,
}

impl Client {
    /// Answers one question, in the name of this client's session.
    ///
    /// # Errors
    /// [`Error`]; never `Unknown`.
    pub async fn read(
        &self,
        freshness: Freshness,
        query: impl Fn(SessionId) -> Query + Send + Sync,
    ) -> Result<Answer, Error> {
        let deadline = self.deadline();
        for _ in 0..SESSIONS_MAX {
            let session = self.core.session(deadline).await?;
            let mut tries = Tries::new(&self.core, deadline);
            match self.ask(freshness, query(session.id), &mut tries).await? {
                Err(FsError::BadSession) => session.become_lost(),
                result => return result.map_err(Error::Fs),
            }
        }
        Err(Error::Fs(FsError::BadSession))
    }

    /// Highest log index that this client has seen; reads show at least that state.
    #[must_use]
    pub fn seen(&self) -> LogIndex {
        LogIndex(self.core.seen.load(Ordering::Acquire))
    }

    async fn ask(
        &self,
        freshness: Freshness,
        query: Query,
        tries: &mut Tries<'_>,
    ) -> Result<Result<Answer, FsError>, Fail> {
        let core = &self.core;
        let mut query = Some(query);
        loop {
            let not_before = self.seen();
            let consistency = match freshness {
                Freshness::Strict => Consistency::Strict,
                Freshness::Lease => Consistency::StrictByLease,
                Freshness::Fast => Consistency::Fast { not_before },
            };
            let slot = match freshness {
                Freshness::Fast => core.book.any(),
                Freshness::Strict | Freshness::Lease => core.book.best(),
            };
            let asked = query.take().expect("put back after each attempt");
            let ask = Ask::Node(RequestBody::Read {
                consistency,
                query: asked,
            });
            let limit = tries.limit();
            let asked = match freshness {
                Freshness::Fast => core.attempt_body(&slot, &ask, limit).await,
                Freshness::Strict | Freshness::Lease => {
                    core.attempt_leader(&slot, &ask, limit).await
                }
            };
            let miss = match asked {
                // A node that answers with an older state than it was asked for is not believed.
                Ok((ResponseBody::Read { index, result }, _))
                    if freshness != Freshness::Fast || index >= not_before =>
                {
                    core.see(index.0);
                    return Ok(result);
                }
                Ok((ResponseBody::Read { .. }, node)) => {
                    Miss::Maybe(format!("{node} answers from an older state than is known"))
                }
                Ok((other, _)) => Miss::Never(Fail::Unexpected {
                    answer: shortened(&other),
                }),
                Err(miss) => miss,
            };
            let Ask::Node(RequestBody::Read { query: asked, .. }) = ask else {
                unreachable!("made above");
            };
            query = Some(asked);
            tries.after(&slot, &miss).await?;
        }
    }
}
