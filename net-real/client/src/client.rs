//! The client: one value that all callers share, and the loop that every call goes through.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mfsha_core::id::NodeId;
use mfsha_core::native::admin::{AdminAnswer, AdminError, AdminRequest};
use mfsha_core::native::request::{NodeError, ResponseBody};
use mfsha_core::native::{ClusterId, Refusal, ToClient};
use mfsha_core::rng::Seed;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::admin::Admin;
use crate::backoff::{self, Backoff};
use crate::book::{Book, Slot};
use crate::dial::{Dial, Tcp};
use crate::error::{Fail, shortened};
use crate::link::{Ask, CallError, OpenError};
use crate::lookout::Lookout;
use crate::options::{ClientOptions, OptionsError};
use crate::session::Sessions;
use crate::tls;

/// Hints to the leader that a call follows one after the other before it waits.
const REDIRECTS_MAX: u32 = 3;

/// A client of one cluster. Clones are cheap and share everything: connections, session, and what
/// was seen. When the last one goes, what is still under way is left to itself.
#[derive(Clone)]
pub struct Client {
    pub(crate) core: Arc<Core>,
    timeout: Duration,
    _alive: Arc<Alive>,
}

/// What calls and their tasks share.
pub(crate) struct Core {
    pub options: ClientOptions,
    pub book: Book,
    pub sessions: Sessions,
    pub lookout: Lookout,
    /// Highest log index that any call has seen.
    pub seen: AtomicU64,
    /// Whether `close` was called.
    pub closed: AtomicBool,
    /// True once nobody holds the client.
    pub gone: watch::Receiver<bool>,
    seed: Seed,
    calls: AtomicU64,
}

/// Tells the tasks when nobody holds the client any more.
struct Alive(watch::Sender<bool>);

impl Drop for Alive {
    fn drop(&mut self) {
        let _ = self.0.send(true);
    }
}

/// How one attempt at one node ended, when there is no answer to give to the caller.
#[derive(Clone, Debug)]
pub(crate) enum Miss {
    /// Nothing happened there.
    Nothing(Why),
    /// It may or may not have happened.
    Maybe(String),
    /// Asking again is useless.
    Never(Fail),
}

/// Why nothing happened.
#[derive(Clone, Debug)]
pub(crate) enum Why {
    /// No connection.
    Unreachable(String),
    /// The node turns the client away.
    Refused(Refusal),
    /// Another node leads; true when a way to it is known.
    Elsewhere(bool),
    /// The node has too much to do.
    Overloaded,
}

impl Why {
    /// Whether another node is the better one to ask.
    fn is_lasting(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Refused(_))
    }
}

impl Client {
    /// A client that has spoken to one node of the cluster.
    ///
    /// # Errors
    /// The outer: options that make no sense, files that cannot be read. The inner: no node
    /// answers, or they turn the client away.
    pub async fn connect(options: ClientOptions) -> Result<Result<Self, Fail>, OptionsError> {
        options.check()?;
        let tls = options.tls.as_ref().map(tls::connector).transpose()?;
        Self::connect_by(options, Box::new(Tcp { tls })).await
    }

    /// As [`Self::connect`], by other ways than TCP.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn connect_by(
        options: ClientOptions,
        dial: Box<dyn Dial>,
    ) -> Result<Result<Self, Fail>, OptionsError> {
        options.check()?;
        let seed = backoff::fresh_seed();
        let (alive, gone) = watch::channel(false);
        let client = Self {
            timeout: options.timeout,
            core: Arc::new(Core {
                book: Book::new(options.clone(), dial, seed.rng().next_u64()),
                sessions: Sessions::new(&options),
                lookout: Lookout::default(),
                options,
                seen: AtomicU64::new(0),
                closed: AtomicBool::new(false),
                gone,
                seed,
                calls: AtomicU64::new(0),
            }),
            _alive: Arc::new(Alive(alive)),
        };
        let reached = client.core.reach(client.deadline()).await;
        Ok(reached.map(|()| client))
    }

    /// The same client whose calls may take so long.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self {
            timeout,
            ..self.clone()
        }
    }

    /// How long a call may take, all repeats included.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The cluster that answers; `None` before it was formed.
    #[must_use]
    pub fn cluster(&self) -> Option<ClusterId> {
        self.core.book.cluster()
    }

    /// The cluster as its operator sees it.
    #[must_use]
    pub fn admin(&self) -> Admin {
        Admin::new(self.clone())
    }

    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }
}

impl Core {
    /// Makes a connection to any node.
    async fn reach(&self, deadline: Instant) -> Result<(), Fail> {
        let mut tries = Tries::new(self, deadline);
        loop {
            let slot = self.book.any();
            let miss = match self.book.link(&slot).await {
                Ok(_) => return Ok(()),
                Err(error) => unopened(error),
            };
            tries.after(&slot, &Miss::Nothing(miss)).await?;
        }
    }

    /// Asks one node once; `sent` becomes true when it may have heard it.
    async fn attempt(
        &self,
        slot: &Slot,
        ask: &Ask,
        limit: Duration,
        sent: &AtomicBool,
    ) -> Result<(ToClient, NodeId), Miss> {
        let end = Instant::now() + limit;
        let opened = timeout_at(end, self.book.link(slot)).await;
        let (link, node) = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return Err(Miss::Nothing(unopened(error))),
            Err(_) => {
                let text = format!("{} does not answer", slot.address);
                return Err(Miss::Nothing(Why::Unreachable(text)));
            }
        };
        sent.store(true, Ordering::Relaxed);
        match timeout_at(end, link.call(ask)).await {
            Ok(Ok(answer)) => Ok((answer, node)),
            Ok(Err(CallError::NotSent(reason))) => Err(Miss::Nothing(Why::Unreachable(reason))),
            Ok(Err(CallError::Cut(reason))) => Err(Miss::Maybe(format!("{node}: {reason}"))),
            Ok(Err(CallError::TooLarge(error))) => {
                let limit = error.limit;
                Err(Miss::Never(Fail::TooLarge { limit }))
            }
            Err(_) => {
                self.book.forget_link(slot, &link).await;
                Err(Miss::Maybe(format!("{node} does not answer")))
            }
        }
    }

    /// As [`Self::attempt_body`], where the leader is wanted: ends early when the node is silent and
    /// another one leads.
    pub async fn attempt_leader(
        &self,
        slot: &Slot,
        ask: &Ask,
        limit: Duration,
    ) -> Result<(ResponseBody, NodeId), Miss> {
        let sent = AtomicBool::new(false);
        tokio::select! {
            biased;
            answer = self.attempt_sent(slot, ask, limit, &sent) => answer,
            leader = self.overtaken(slot) => {
                self.book.drop_link(slot);
                if sent.load(Ordering::Relaxed) {
                    let reason = format!("{} is silent, and {leader} leads", slot.address);
                    return Err(Miss::Maybe(reason));
                }
                Err(Miss::Nothing(Why::Elsewhere(true)))
            }
        }
    }

    /// Asks one node's machines once, and takes note of what that says of the cluster.
    pub async fn attempt_body(
        &self,
        slot: &Slot,
        ask: &Ask,
        limit: Duration,
    ) -> Result<(ResponseBody, NodeId), Miss> {
        self.attempt_sent(slot, ask, limit, &AtomicBool::new(false))
            .await
    }

    async fn attempt_sent(
        &self,
        slot: &Slot,
        ask: &Ask,
        limit: Duration,
        sent: &AtomicBool,
    ) -> Result<(ResponseBody, NodeId), Miss> {
        let (answer, node) = self.attempt(slot, ask, limit, sent).await?;
        let ToClient::Response(response) = answer else {
            let answer = shortened(&answer);
            return Err(Miss::Never(Fail::Unexpected { answer }));
        };
        match response.result {
            Ok(body) => Ok((body, node)),
            Err(NodeError::NotLeader { leader }) => {
                self.book.pass_over(slot);
                let way = match leader.filter(|leader| *leader != node) {
                    None => false,
                    Some(leader) => self.hear_leader(slot, leader).await,
                };
                Err(Miss::Nothing(Why::Elsewhere(way)))
            }
            Err(NodeError::Overloaded) => Err(Miss::Nothing(Why::Overloaded)),
            Err(NodeError::Invalid { reason }) => Err(Miss::Never(Fail::Invalid { reason })),
            Err(error @ (NodeError::Unknown | NodeError::Unavailable { .. })) => {
                Err(Miss::Maybe(format!("{node}: {error}")))
            }
        }
    }

    /// A node at `slot` says who leads; it is asked for the address when that is not known.
    pub async fn hear_leader(&self, slot: &Slot, leader: NodeId) -> bool {
        if self.book.hear_leader(leader) {
            return true;
        }
        let limit = self.options.attempt_timeout;
        match self
            .attempt_admin(slot, AdminRequest::Addresses, limit)
            .await
        {
            Ok(AdminAnswer::Addresses(told)) => {
                self.book.hear_addresses(&told);
                self.book.hear_leader(leader)
            }
            _ => false,
        }
    }

    /// Asks one process once.
    pub async fn attempt_admin(
        &self,
        slot: &Slot,
        request: AdminRequest,
        limit: Duration,
    ) -> Result<AdminAnswer, Miss> {
        let (ask, sent) = (Ask::Admin(request), AtomicBool::new(false));
        let (answer, _) = self.attempt(slot, &ask, limit, &sent).await?;
        match answer {
            ToClient::Admin(reply) => reply.result.map_err(|error| match error {
                AdminError::Unavailable(reason) => Miss::Maybe(reason),
                error => Miss::Never(Fail::Admin(error)),
            }),
            ToClient::Response(_) => Err(Miss::Never(Fail::Unexpected {
                answer: shortened(&answer),
            })),
        }
    }

    /// Takes note of a log index that a call has seen.
    pub fn see(&self, index: u64) {
        self.seen.fetch_max(index, Ordering::AcqRel);
    }

    /// A seed for waits that are no call's repeats.
    pub fn stream_seed(&self) -> Seed {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        self.seed.child("lookout").index(call)
    }

    fn backoff(&self) -> Backoff {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        Backoff::new(self.options.backoff, self.seed, call)
    }
}

fn unopened(error: OpenError) -> Why {
    match error {
        OpenError::Io(reason) => Why::Unreachable(reason),
        OpenError::Refused(refusal @ Refusal::NotReady { .. }) => {
            Why::Unreachable(refusal.to_string())
        }
        OpenError::Refused(refusal) => Why::Refused(refusal),
    }
}

/// The repeats of one call: how long to wait between them, and when to give up.
pub(crate) struct Tries<'a> {
    core: &'a Core,
    deadline: Instant,
    backoff: Backoff,
    redirects: u32,
    /// Refusals in a row; when every address has refused, the call is over.
    refused: usize,
    reached: bool,
    last: String,
}

impl<'a> Tries<'a> {
    pub fn new(core: &'a Core, deadline: Instant) -> Self {
        Self {
            core,
            deadline,
            backoff: core.backoff(),
            redirects: 0,
            refused: 0,
            reached: false,
            last: "nobody was asked yet".to_owned(),
        }
    }

    /// What went wrong last.
    pub fn last(&self) -> &str {
        &self.last
    }

    /// Time that is left for one attempt.
    pub fn limit(&self) -> Duration {
        let left = self.deadline.saturating_duration_since(Instant::now());
        left.min(self.core.options.attempt_timeout)
    }

    /// What is told when time is over.
    pub fn over(&self) -> Fail {
        let last = self.last.clone();
        if self.reached {
            Fail::Deadline { last }
        } else {
            Fail::Unreachable { last }
        }
    }

    /// Waits until the next attempt makes sense; who was of no use is not asked next.
    ///
    /// # Errors
    /// [`Fail`]: no further attempt makes sense, or the time is over.
    pub async fn after(&mut self, slot: &Slot, miss: &Miss) -> Result<(), Fail> {
        let useless = Why::is_lasting;
        if matches!(miss, Miss::Maybe(_)) || matches!(miss, Miss::Nothing(why) if useless(why)) {
            self.core.book.pass_over(slot);
        }
        if !matches!(miss, Miss::Nothing(Why::Refused(_))) {
            self.refused = 0;
        }
        match miss {
            Miss::Never(fail) => return Err(fail.clone()),
            Miss::Nothing(Why::Refused(refusal)) => {
                self.refused += 1;
                self.last = refusal.to_string();
                if self.refused >= self.core.book.count() {
                    return Err(Fail::Refused(refusal.clone()));
                }
            }
            Miss::Nothing(Why::Unreachable(reason)) => self.last.clone_from(reason),
            Miss::Nothing(Why::Elsewhere(way)) => {
                self.reached = true;
                "the node that was asked does not lead".clone_into(&mut self.last);
                self.redirects += 1;
                if *way && self.redirects <= REDIRECTS_MAX {
                    return self.still_time();
                }
                self.redirects = 0;
            }
            Miss::Nothing(Why::Overloaded) => {
                self.reached = true;
                "the cluster has too much to do".clone_into(&mut self.last);
            }
            Miss::Maybe(reason) => {
                self.reached = true;
                self.last.clone_from(reason);
            }
        }
        let wake = Instant::now() + self.backoff.next();
        tokio::time::sleep_until(wake.min(self.deadline)).await;
        self.still_time()
    }

    fn still_time(&self) -> Result<(), Fail> {
        if Instant::now() >= self.deadline {
            return Err(self.over());
        }
        Ok(())
    }
}
