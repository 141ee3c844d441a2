//! What can become of a call.
//!
//! The tree's refusals stay [`FsError`]. Everything else says one of two things: nothing happened
//! ([`Fail`]), or nobody knows ([`Unknown`]).

use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{Outcome, RequestId};
use mfsha_core::native::Refusal;
use mfsha_core::native::admin::AdminError;
use tokio::sync::watch;

/// What became of a call on the tree that did not succeed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The tree refused it. Nothing happened.
    #[error(transparent)]
    Fs(FsError),
    /// It was not carried out, and will not be.
    #[error(transparent)]
    NotDone(#[from] Fail),
    /// It may or may not have taken effect. Look at the tree before asking again.
    #[error(transparent)]
    Unknown(Unknown),
}

/// Why a call came to nothing. Nothing happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fail {
    /// No connection to any node was made in time: look at addresses, nodes and network.
    #[error("no node can be reached: {last}")]
    Unreachable {
        /// What went wrong last.
        last: String,
    },
    /// Every node that was reached turns this client away.
    #[error("turned away: {0}")]
    Refused(Refusal),
    /// Nodes were reached, but nobody carried it out in time: the cluster has no leader, or is
    /// overloaded. Ask again later.
    #[error("not done in time: {last}")]
    Deadline {
        /// What went wrong last.
        last: String,
    },
    /// The request is not acceptable; asking again is useless.
    #[error("bad request: {reason}")]
    Invalid {
        /// Why.
        reason: String,
    },
    /// The process refuses what its operator asks.
    #[error(transparent)]
    Admin(AdminError),
    /// More than a request may have.
    #[error("the request takes more than {limit} bytes")]
    TooLarge {
        /// The bound.
        limit: usize,
    },
    /// The node answered something else than was asked: another version, or a fault in it.
    #[error("the node's answer does not fit the question: {answer}")]
    Unexpected {
        /// The answer, cut short.
        answer: String,
    },
    /// [`crate::Client::close`] was called.
    #[error("the client is closed")]
    Closed,
}

/// A write without a known outcome.
#[derive(Clone, Debug, thiserror::Error)]
#[error("it may or may not have taken effect: {last}")]
pub struct Unknown {
    /// The name under which it was asked.
    pub request: RequestId,
    /// What went wrong last.
    pub last: String,
    /// How it goes on.
    pub settling: Settling,
}

/// What is known of a write after its caller's time was over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// It took effect, or was refused by the tree: an answer came late.
    Known(Box<Outcome>),
    /// Nobody can know whether it took effect, but if it did not, it never will: its number is
    /// used up.
    Barred,
}

/// Tells when a write can no longer take effect. Until then its lane is used for nothing else.
#[derive(Clone, Debug)]
pub struct Settling(pub(crate) watch::Receiver<Option<Settlement>>);

impl Settling {
    /// Waits, without a bound, until it is settled; `None` when the client was dropped or closed
    /// before. Every bound the caller likes can be put around it.
    pub async fn settled(mut self) -> Option<Settlement> {
        let seen = self.0.wait_for(Option::is_some).await.ok()?;
        seen.clone()
    }
}

/// The first characters of a value, for an error.
pub(crate) fn shortened(value: &impl std::fmt::Debug) -> String {
    let mut text = format!("{value:?}");
    if let Some((at, _)) = text.char_indices().nth(120) {
        text.truncate(at);
        text.push_str("..");
    }
    text
}
