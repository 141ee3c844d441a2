//! The cluster as its operator sees it: how nodes stand, who leads, who takes part, settings.

mod chunkservers;
mod export;
mod members;
mod view;

use std::collections::BTreeMap;
use std::time::Duration;

use mfsha_core::id::{LogIndex, NodeId};
use mfsha_core::native::admin::{AdminAnswer, AdminRequest, ProcessStatus, RaftStatus, Setting};
use mfsha_core::native::request::{NodeStatus, RequestBody, ResponseBody};
use tokio::time::Instant;

use crate::Client;
use crate::client::{Miss, Tries, Why};
use crate::error::{Fail, shortened};
use crate::link::Ask;

pub use chunkservers::ChunkserverError;
pub use export::ExportError;
pub use members::{AddStep, Added, MembersError, Removed};
pub use view::{ClusterView, NodeView};

/// How often a state that has to come about is looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(100);

/// An operator's calls. Each may take as long as the client's timeout says.
#[derive(Clone)]
pub struct Admin {
    client: Client,
}

/// Why an operator's call came to nothing, or may have.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AdminFail {
    /// Nothing happened.
    #[error(transparent)]
    NotDone(#[from] Fail),
    /// It may or may not have happened; the same call again does no harm.
    #[error("it may or may not have happened: {last}")]
    Unknown {
        /// What went wrong last.
        last: String,
    },
    /// No address of the node is known: the others have not heard of it, or do not tell.
    #[error("the address of {node} is not known; name the node by one of its addresses")]
    NoAddress {
        /// The node.
        node: NodeId,
    },
}

/// What a reload came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// Keys that hold a new value now.
    pub changed: Vec<String>,
    /// Keys whose new value takes a restart.
    pub need_restart: Vec<String>,
}

fn unexpected<T>(answer: &impl std::fmt::Debug) -> Result<T, AdminFail> {
    Err(AdminFail::NotDone(Fail::Unexpected {
        answer: shortened(answer),
    }))
}

impl Admin {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// How a node's process stands; `None` asks any node.
    ///
    /// # Errors
    /// [`AdminFail`].
    pub async fn process(&self, node: Option<NodeId>) -> Result<ProcessStatus, AdminFail> {
        match self.ask(node, AdminRequest::Process).await? {
            AdminAnswer::Process(status) => Ok(*status),
            other => unexpected(&other),
        }
    }

    /// How consensus stands at a node; `None` asks any node.
    ///
    /// # Errors
    /// [`AdminFail`].
    pub async fn raft(&self, node: Option<NodeId>) -> Result<RaftStatus, AdminFail> {
        match self.ask(node, AdminRequest::Raft).await? {
            AdminAnswer::Raft(status) => Ok(*status),
            other => unexpected(&other),
        }
    }

    /// Where the nodes are, as a node tells.
    ///
    /// # Errors
    /// [`AdminFail`].
    pub async fn addresses(&self) -> Result<BTreeMap<NodeId, String>, AdminFail> {
        match self.ask(None, AdminRequest::Addresses).await? {
            AdminAnswer::Addresses(told) => {
                self.client.core.book.hear_addresses(&told);
                Ok(told)
            }
            other => unexpected(&other),
        }
    }

    /// Settings of a node; `None` asks any node.
    ///
    /// # Errors
    /// [`AdminFail`].
    pub async fn settings(&self, node: Option<NodeId>) -> Result<Vec<Setting>, AdminFail> {
        match self.ask(node, AdminRequest::Settings).await? {
            AdminAnswer::Settings(settings) => Ok(settings),
            other => unexpected(&other),
        }
    }

    /// Gives a setting of one node another value, until its next start.
    ///
    /// # Errors
    /// [`AdminFail`]; `Unknown` too.
    pub async fn set_setting(
        &self,
        node: Option<NodeId>,
        key: &str,
        value: &str,
    ) -> Result<(), AdminFail> {
        let request = AdminRequest::SetSetting {
            key: key.to_owned(),
            value: value.to_owned(),
        };
        match self.ask(node, request).await? {
            AdminAnswer::SettingSet => Ok(()),
            other => unexpected(&other),
        }
    }

    /// Has a node read its `mfsha.cfg` again.
    ///
    /// # Errors
    /// [`AdminFail`]; `Unknown` too.
    pub async fn reload(&self, node: Option<NodeId>) -> Result<Reloaded, AdminFail> {
        match self.ask(node, AdminRequest::ReloadSettings).await? {
            AdminAnswer::Reloaded {
                changed,
                need_restart,
            } => Ok(Reloaded {
                changed,
                need_restart,
            }),
            other => unexpected(&other),
        }
    }

    /// Has a node keep a snapshot and shorten its log; `None` asks the leader. Gives the index
    /// that is in it.
    ///
    /// # Errors
    /// [`AdminFail`]; `Unknown` too, the node may finish it later.
    pub async fn take_snapshot(&self, node: Option<NodeId>) -> Result<LogIndex, AdminFail> {
        let deadline = self.client.deadline();
        let mut tries = Tries::new(&self.client.core, deadline);
        let mut heard = false;
        loop {
            let slot = match node {
                Some(node) => self.slot(node).await?,
                None => self.client.core.book.best(),
            };
            let limit = deadline.saturating_duration_since(Instant::now());
            let ask = Ask::Node(RequestBody::TakeSnapshot);
            let miss = match self.client.core.attempt_body(&slot, &ask, limit).await {
                Ok((ResponseBody::SnapshotTaken { applied }, _)) => return Ok(applied),
                Ok((other, _)) => return unexpected(&other),
                Err(miss) => miss,
            };
            heard |= matches!(miss, Miss::Maybe(_));
            if let Err(fail) = tries.after(&slot, &miss).await {
                return Err(ended(fail, heard));
            }
        }
    }

    /// The leader's view of its group.
    ///
    /// # Errors
    /// [`AdminFail`] when nobody leads within the time.
    pub async fn leader_status(&self) -> Result<NodeStatus, AdminFail> {
        self.leader_status_by(self.client.deadline()).await
    }

    pub(crate) async fn leader_status_by(&self, end: Instant) -> Result<NodeStatus, AdminFail> {
        let core = &self.client.core;
        let mut tries = Tries::new(core, end);
        loop {
            let slot = core.book.best();
            let ask = Ask::Node(RequestBody::Status);
            let miss = match core.attempt_body(&slot, &ask, tries.limit()).await {
                Ok((ResponseBody::Status(status), node)) if status.leads => {
                    core.book.see_leader(node);
                    return Ok(status);
                }
                Ok((ResponseBody::Status(status), node)) => {
                    core.book.pass_over(&slot);
                    let way = match status.leader.filter(|leader| *leader != node) {
                        Some(leader) => core.hear_leader(&slot, leader).await,
                        None => false,
                    };
                    Miss::Nothing(Why::Elsewhere(way))
                }
                Ok((other, _)) => return unexpected(&other),
                Err(miss) => miss,
            };
            tries.after(&slot, &miss).await?;
        }
    }

    /// Asks one process, or any. Repeats what certainly did not happen, and for questions also
    /// what may have.
    async fn ask(
        &self,
        node: Option<NodeId>,
        request: AdminRequest,
    ) -> Result<AdminAnswer, AdminFail> {
        let core = &self.client.core;
        let changes = matches!(
            request,
            AdminRequest::SetSetting { .. } | AdminRequest::ReloadSettings
        );
        let mut tries = Tries::new(core, self.client.deadline());
        loop {
            let slot = match node {
                Some(node) => self.slot(node).await?,
                None => core.book.any(),
            };
            let asked = core.attempt_admin(&slot, request.clone(), tries.limit());
            let miss = match asked.await {
                Ok(answer) => return Ok(answer),
                Err(Miss::Maybe(last)) if changes => return Err(AdminFail::Unknown { last }),
                Err(miss) => miss,
            };
            tries.after(&slot, &miss).await?;
        }
    }

    /// The way to a node; addresses are asked for when it is not known.
    pub(crate) async fn slot(
        &self,
        node: NodeId,
    ) -> Result<std::sync::Arc<crate::book::Slot>, AdminFail> {
        let core = &self.client.core;
        if let Some(slot) = core.book.of(node) {
            return Ok(slot);
        }
        // Addresses that were given tell their node's number when they are connected to.
        for (number, slot) in core.book.all() {
            if number.is_none() {
                let _ = core.book.link(&slot).await;
            }
        }
        let limit = core.options.attempt_timeout;
        let any = core.book.any();
        if core.book.of(node).is_none()
            && let Ok(AdminAnswer::Addresses(told)) = core
                .attempt_admin(&any, AdminRequest::Addresses, limit)
                .await
        {
            core.book.hear_addresses(&told);
        }
        core.book.of(node).ok_or(AdminFail::NoAddress { node })
    }
}

/// How a call ended that may or may not have been heard.
pub(crate) fn ended(fail: Fail, heard: bool) -> AdminFail {
    if heard {
        let last = fail.to_string();
        AdminFail::Unknown { last }
    } else {
        AdminFail::NotDone(fail)
    }
}
