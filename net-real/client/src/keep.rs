//! Speaks for the session while the client is there, so that the cluster does not take it for left.
//!
//! The leader hears it and nothing is written for it, but for a session that was marked meanwhile.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use mfsha_core::id::SessionId;
use mfsha_core::namespace::error::FsError;
use mfsha_core::native::request::{RequestBody, ResponseBody};
use tokio::time::{Instant, sleep};

use crate::client::{Core, Miss, Tries};
use crate::error::{Fail, shortened};
use crate::link::Ask;
use crate::session::Session;

impl Core {
    /// Goes on until the session is lost or closed, or nobody holds the client any more.
    pub async fn keep(self: Arc<Self>, session: Arc<Session>) {
        let mut gone = self.gone.clone();
        tokio::select! {
            () = self.speak_for(&session) => {}
            _ = gone.wait_for(|gone| *gone) => {}
        }
    }

    async fn speak_for(&self, session: &Session) {
        loop {
            sleep(self.options.keep_interval).await;
            if session.is_lost() || self.closed.load(Ordering::Acquire) {
                return;
            }
            match self.speak_once(session.id).await {
                Ok(true) => {}
                Ok(false) => {
                    tracing::warn!(session = session.id.0, "the cluster has ended the session");
                    return session.become_lost();
                }
                Err(error) => tracing::debug!(%error, "nobody hears that the session is in use"),
            }
        }
    }

    /// Whether the session is there, as the leader says.
    async fn speak_once(&self, session: SessionId) -> Result<bool, Fail> {
        let ask = Ask::Node(RequestBody::KeepSession { session });
        let mut tries = Tries::new(self, Instant::now() + self.options.keep_interval);
        loop {
            let slot = self.book.best();
            let miss = match self.attempt_leader(&slot, &ask, tries.limit()).await {
                Ok((ResponseBody::Read { result, .. }, _)) => {
                    return Ok(result != Err(FsError::BadSession));
                }
                Ok((other, _)) => Miss::Never(Fail::Unexpected {
                    answer: shortened(&other),
                }),
                Err(miss) => miss,
            };
            tries.after(&slot, &miss).await?;
        }
    }
}
