//! What operators and probes are told of the process, and what they may change in it.
//!
//! It asks the node's thread, the transport, the store and the settings; it holds no state of its
//! own but in which phase the process is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use mfsha_core::id::{LogIndex, NodeId};
use mfsha_core::membership::Membership;
use mfsha_core::native::ClusterId;
use mfsha_core::native::admin::{
    AdminAnswer, AdminError, AdminRequest, ChunkserverStatus, ExportPart, PeerStatus,
    ProcessStatus, RaftStatus,
};

use super::export::Exports;
use super::{Registry, Token};
use crate::driver::{Inspection, NodeHandle};
use crate::metadata::metaid;
use crate::metrics::Metrics;
use crate::panics;

/// A node's thread that does not answer for this long is stuck, or replays a long log.
const INSPECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A replica that is further behind than this many entries is not ready to serve reads.
const LAG_MAX: u64 = 10_000;

/// How far the process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Waits for the cluster to be formed or joined.
    Forming,
    /// Opens log and state.
    Opening,
    /// The node's thread runs.
    Running,
    /// Hands over and ends.
    Ending,
    /// The node has stopped, for this reason.
    Ended(String),
}

/// What the desk needs of its neighbours; each does what its name says.
pub trait Neighbours: Send + Sync + 'static {
    /// Peers, and whether there is a connection.
    fn peers(&self) -> BTreeMap<NodeId, PeerStatus>;
    /// Messages to peers that were dropped: no connection, or no room.
    fn dropped(&self) -> u64;
    /// Bytes that the state holds in memory, and may hold.
    fn memory_bytes(&self) -> (u64, u64);
    /// Bytes of the state on disk.
    fn state_bytes(&self) -> u64;
    /// Bytes of the log on disk.
    fn log_bytes(&self) -> u64;
    /// `host:port` of every node that is known.
    fn addresses(&self) -> BTreeMap<NodeId, String>;
    /// Answers what concerns settings: [`AdminRequest::Settings`] and its companions.
    ///
    /// # Errors
    /// [`AdminError`].
    fn settings(&self, request: AdminRequest) -> Result<AdminAnswer, AdminError>;
}

/// The desk.
pub struct Desk {
    began: Instant,
    node: NodeId,
    region: String,
    token: Token,
    cluster: OnceLock<ClusterId>,
    handle: OnceLock<NodeHandle>,
    neighbours: OnceLock<Box<dyn Neighbours>>,
    phase: Mutex<Phase>,
    metrics: Arc<Metrics>,
    registry: Registry,
    exports: Arc<Exports>,
}

impl Desk {
    /// A desk of a process that has just begun.
    #[must_use]
    pub fn new(
        node: NodeId,
        region: String,
        token: Token,
        metrics: Arc<Metrics>,
        registry: Registry,
    ) -> Self {
        Self {
            began: Instant::now(),
            node,
            region,
            token,
            cluster: OnceLock::new(),
            handle: OnceLock::new(),
            neighbours: OnceLock::new(),
            phase: Mutex::new(Phase::Forming),
            metrics,
            registry,
            exports: Arc::default(),
        }
    }

    /// Introduces the neighbours; once.
    pub fn introduce(&self, neighbours: impl Neighbours) {
        if self.neighbours.set(Box::new(neighbours)).is_err() {
            unreachable!("the daemon introduces them once");
        }
    }

    /// The cluster is formed, and the node's thread is there.
    pub fn open(&self, cluster: ClusterId, handle: NodeHandle) {
        let _ = self.cluster.set(cluster);
        let _ = self.handle.set(handle);
        self.enter(Phase::Opening);
    }

    /// Goes into a phase; the last is never left.
    pub fn enter(&self, phase: Phase) {
        let mut now = self.phase_now();
        if !matches!(*now, Phase::Ended(_)) {
            *now = phase;
        }
    }

    fn phase_now(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far the process is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase_now().clone()
    }

    /// The way to the node's thread, once there is one.
    #[must_use]
    pub fn handle(&self) -> Option<&NodeHandle> {
        self.handle.get()
    }

    /// Whether this is the cluster's token; takes the same time for every wrong one.
    #[must_use]
    pub fn token_is(&self, token: &[u8]) -> bool {
        self.token.is(token)
    }

    /// The cluster; 0 while it is not formed.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.cluster.get().copied().unwrap_or_default()
    }

    /// This node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// `host:port` of every node that is known.
    #[must_use]
    pub fn addresses(&self) -> BTreeMap<NodeId, String> {
        self.neighbours
            .get()
            .map(|neighbours| neighbours.addresses())
            .unwrap_or_default()
    }

    /// Why clients cannot be served yet, or any more; `None` when they can.
    #[must_use]
    pub fn closed_because(&self) -> Option<String> {
        match self.phase() {
            Phase::Forming => {
                Some("the node is starting, or its cluster is not formed or joined yet".to_owned())
            }
            Phase::Opening | Phase::Running => None,
            Phase::Ending => Some("the node is shutting down".to_owned()),
            Phase::Ended(why) => Some(format!("the node has stopped: {why}")),
        }
    }

    /// How the node stands, from its own thread.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn inspect(&self) -> Result<Inspection, String> {
        self.ask_node(async |handle| handle.inspect().await).await
    }

    /// Chunkservers, and what the node hears of them.
    async fn chunkservers(&self) -> Result<Vec<ChunkserverStatus>, String> {
        let asked = self.ask_node(async |handle| handle.chunkservers().await);
        asked.await?.map_err(|error| error.to_string())
    }

    async fn ask_node<T>(
        &self,
        ask: impl AsyncFnOnce(&NodeHandle) -> Option<T>,
    ) -> Result<T, String> {
        let Some(handle) = self.handle.get() else {
            return Err(self.closed_because().unwrap_or_default());
        };
        match tokio::time::timeout(INSPECT_TIMEOUT, ask(handle)).await {
            Ok(Some(told)) => Ok(told),
            Ok(None) => Err(self
                .closed_because()
                .unwrap_or_else(|| "the node's thread has ended".to_owned())),
            Err(_) if self.phase() == Phase::Opening => {
                Err("the node opens its log and state".to_owned())
            }
            Err(_) => Err(format!(
                "the node's thread has not answered for {} s",
                INSPECT_TIMEOUT.as_secs()
            )),
        }
    }

    /// Whether the process works: also while it waits for others, or replays.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn live(&self) -> Result<String, String> {
        match self.phase() {
            Phase::Running => self.inspect().await.map(|_| "works".to_owned()),
            Phase::Ended(why) => Err(format!("the node has stopped: {why}")),
            phase => Ok(format!("{phase:?}").to_lowercase()),
        }
    }

    /// Whether this node can serve.
    ///
    /// # Errors
    /// Why not.
    pub async fn ready(&self) -> Result<String, String> {
        if let Some(why) = self.closed_because() {
            return Err(why);
        }
        let inspection = self.inspect().await?;
        let status = &inspection.status;
        if status.repairing {
            return Err("heals itself from a peer".to_owned());
        }
        let Some(leader) = status.leader else {
            return Err("no leader is known".to_owned());
        };
        let lag = status.committed.0.saturating_sub(status.applied.0);
        if lag > LAG_MAX {
            return Err(format!("{lag} entries behind"));
        }
        if !is_member(&status.membership, self.node) {
            return Err("not a member of the cluster yet".to_owned());
        }
        Ok(format!("serves; node {} leads", leader.0))
    }

    /// The metrics as text, with how the node stands at this moment.
    pub async fn scrape(&self) -> String {
        self.metrics
            .gauges()
            .ready
            .set(self.ready().await.is_ok().into());
        if let Ok(inspection) = self.inspect().await {
            self.set_gauges(&inspection);
        }
        self.metrics.text()
    }

    /// How the node stands, as lines for people.
    pub async fn page(&self) -> String {
        let verdict = match self.ready().await {
            Ok(text) | Err(text) => text,
        };
        let mut page = format!("mfsha node {}: {verdict}\n", self.node.0);
        if let Ok(inspection) = self.inspect().await {
            let status = &inspection.status;
            page += &format!(
                "cluster    {}\nterm       {}\ncommitted  {}\napplied    {}\ncheckpoint {}\n\
                 version    {}\n",
                self.cluster(),
                status.term.0,
                status.committed.0,
                status.applied.0,
                inspection.checkpoint.0,
                inspection.version
            );
        }
        let peers = self.neighbours.get().map(|neighbours| neighbours.peers());
        for (node, peer) in peers.unwrap_or_default() {
            let address = peer.address.as_deref().unwrap_or("address unknown");
            let how = match (&peer.trouble, peer.connected) {
                (_, true) => "connected",
                (Some(trouble), false) => trouble,
                (None, false) => "not connected",
            };
            page += &format!("node {:<6}{address}: {how}\n", node.0);
        }
        page
    }

    fn set_gauges(&self, inspection: &Inspection) {
        let gauges = self.metrics.gauges();
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let status = &inspection.status;
        gauges.leads.set(status.leads.into());
        gauges.term.set(number(status.term.0));
        gauges.committed.set(number(status.committed.0));
        gauges.applied.set(number(status.applied.0));
        gauges.checkpoint.set(number(inspection.checkpoint.0));
        gauges.version.set(number(inspection.version));
        let voters = status.membership.voters.iter().flatten();
        let voters: std::collections::BTreeSet<_> = voters.collect();
        gauges.voters.set(number(voters.len() as u64));
        gauges.clients.set(number(self.registry.len() as u64));
        if let Some(raft) = &inspection.raft {
            gauges.log_memory_bytes.set(number(raft.log_bytes));
        }
        let by_node = self.handle.get().map_or(0, NodeHandle::dropped);
        let by_peers = self.neighbours.get().map_or(0, |it| it.dropped());
        gauges.messages_dropped.set(number(by_node + by_peers));
        if let Some(neighbours) = self.neighbours.get() {
            let connected = neighbours
                .peers()
                .into_values()
                .filter(|peer| peer.connected);
            gauges.peers_connected.set(number(connected.count() as u64));
            let (memory, most) = neighbours.memory_bytes();
            gauges.memory_bytes.set(number(memory));
            gauges.memory_bytes_max.set(number(most));
            gauges.state_bytes.set(number(neighbours.state_bytes()));
            gauges.log_bytes.set(number(neighbours.log_bytes()));
        }
    }

    /// Answers an operator.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn answer(&self, request: AdminRequest) -> Result<AdminAnswer, AdminError> {
        let Some(neighbours) = self.neighbours.get() else {
            return Err(AdminError::Unavailable("the node is starting".to_owned()));
        };
        match request {
            AdminRequest::Process => {
                let inspection = self.inspect().await.map_err(AdminError::Unavailable)?;
                let status = self.process(&**neighbours, inspection);
                Ok(AdminAnswer::Process(Box::new(status)))
            }
            AdminRequest::Raft => {
                let inspection = self.inspect().await.map_err(AdminError::Unavailable)?;
                raft_status(inspection).map(|status| AdminAnswer::Raft(Box::new(status)))
            }
            AdminRequest::Addresses => Ok(AdminAnswer::Addresses(neighbours.addresses())),
            AdminRequest::Chunkservers => self
                .chunkservers()
                .await
                .map(AdminAnswer::Chunkservers)
                .map_err(AdminError::Unavailable),
            AdminRequest::Export { export, part } => {
                self.export(export, part).await.map(AdminAnswer::Exported)
            }
            AdminRequest::Settings
            | AdminRequest::SetSetting { .. }
            | AdminRequest::ReloadSettings => neighbours.settings(request),
        }
    }

    async fn export(&self, export: u64, part: u64) -> Result<ExportPart, AdminError> {
        if part == 0 && !self.exports.is_begun(export) {
            let inspection = self.inspect().await.map_err(AdminError::Unavailable)?;
            if !inspection.status.leads {
                let why = "this node does not lead: what it has may be old";
                return Err(AdminError::Unavailable(why.to_owned()));
            }
            let view = self.ask_node(async |handle| handle.view().await).await;
            let view = view.map_err(AdminError::Unavailable)?;
            self.exports
                .begin(export, view, metaid(self.cluster()))
                .map_err(AdminError::Unavailable)?;
            let exports = Arc::clone(&self.exports);
            tokio::spawn(async move {
                while let Some(left) = exports.end_idle() {
                    tokio::time::sleep(left).await;
                }
            });
        }
        let exports = Arc::clone(&self.exports);
        let next = tokio::task::spawn_blocking(move || {
            panics::on_its_own_here(|| exports.part(export, part))
        });
        next.await
            .unwrap_or_else(|error| Err(AdminError::Unavailable(error.to_string())))
    }

    fn process(&self, neighbours: &dyn Neighbours, inspection: Inspection) -> ProcessStatus {
        ProcessStatus {
            node: inspection.status,
            cluster: self.cluster(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            region: self.region.clone(),
            peers: neighbours.peers(),
            clients: self.registry.len() as u64,
            memory_bytes: neighbours.memory_bytes(),
            state_bytes: neighbours.state_bytes(),
            log_bytes: neighbours.log_bytes(),
            checkpoint: inspection.checkpoint,
            metadata_version: inspection.version,
        }
    }
}

fn is_member(membership: &Membership, node: NodeId) -> bool {
    membership.learners.contains(&node)
        || membership
            .voters
            .iter()
            .any(|voters| voters.contains(&node))
}

fn raft_status(inspection: Inspection) -> Result<RaftStatus, AdminError> {
    let Some(raft) = inspection.raft else {
        let why = "the node heals itself from a peer, and takes no part in consensus";
        return Err(AdminError::Unavailable(why.to_owned()));
    };
    Ok(RaftStatus {
        role: raft.role,
        node: inspection.status,
        last_log: raft.last_log,
        purged: raft.purged,
        snapshot: raft.snapshot,
        matched: raft
            .matched
            .into_iter()
            .collect::<BTreeMap<_, Option<LogIndex>>>(),
        log_memory_bytes: raft.log_bytes,
    })
}
