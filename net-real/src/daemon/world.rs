//! The world round a node's thread: peers, clients, the log, and what is counted.

use std::sync::Arc;

use mfsha_core::chunks::{ConnId, Order};
use mfsha_core::id::NodeId;
use mfsha_core::membership::Role;
use mfsha_core::native::request::{ClientId, Response};
use mfsha_core::transport::Class;
use tokio::sync::oneshot;
use tracing::{debug, info, warn};

use super::starting;
use crate::clients::{Desk, Phase, Registry};
use crate::driver::{Note, World};
use crate::{chunkservers, mounts, transport};

/// What the node's thread sees of the process.
pub(super) struct ProcessWorld {
    pub(super) peers: transport::Handle,
    pub(super) registry: Registry,
    pub(super) desk: Arc<Desk>,
    pub(super) mounts: Option<mounts::Handle>,
    pub(super) chunkservers: Option<chunkservers::Handle>,
    /// Who waits for the cluster's number; `None` once it was told.
    pub(super) number: Option<oneshot::Sender<Option<u64>>>,
}

impl World for ProcessWorld {
    fn send(&mut self, to: NodeId, class: Class, message: Vec<u8>) {
        self.peers.send(to, class, message);
    }

    fn reply(&mut self, client: ClientId, response: Response) {
        match &self.mounts {
            Some(mounts) if mounts::is_ours(client) => mounts.answered(client, response),
            _ => match &self.chunkservers {
                Some(face) if chunkservers::is_ours(client) => face.answered(client, response),
                _ => self.registry.reply(client, response),
            },
        }
    }

    fn order(&mut self, conn: ConnId, order: Order) {
        if let Some(face) = &self.chunkservers {
            face.order(conn, order);
        }
    }

    fn unseat(&mut self, conn: ConnId, reason: String) {
        if let Some(face) = &self.chunkservers {
            face.unseat(conn, reason);
        }
    }

    fn note(&mut self, note: Note<'_>) {
        let metrics = self.desk.metrics();
        match note {
            Note::Began => {
                self.desk.enter(Phase::Running);
                starting::notify_phase("takes part in its cluster");
            }
            Note::Role(change) => {
                metrics.role_changes.inc();
                if change.role == Role::Leader && change.before != Some(Role::Leader) {
                    metrics.leaderships.inc();
                }
                info!(
                    group = change.group.0,
                    term = change.term.0,
                    role = ?change.role,
                    before = change.before.map(tracing::field::debug),
                    leader = change.leader.map(|leader| leader.0),
                    lasted_ms = u64::try_from(change.lasted.as_millis()).unwrap_or(u64::MAX),
                    reason = %change.reason,
                    "role"
                );
            }
            Note::Numbered { metaid } => {
                if let Some(number) = self.number.take() {
                    // Nobody waits any more when the process ends.
                    let _ = number.send(metaid);
                }
            }
            Note::Members(membership) => {
                let voters = &membership.voters;
                info!(?voters, learners = ?membership.learners, "members");
                let nodes = voters.iter().flatten().chain(&membership.learners);
                self.peers.set_listed(nodes.copied().collect());
            }
            Note::Applied { .. } => {
                metrics.applied.inc();
            }
            Note::StateReplaced { applied } => {
                metrics.states_replaced.inc();
                if let Some(mounts) = &self.mounts {
                    mounts.state_replaced();
                }
                info!(
                    applied = applied.0,
                    "a peer's state took the place of this node's"
                );
            }
            Note::Flushed { took, good } => {
                metrics.flush_seconds.observe(took.as_secs_f64());
                if !good {
                    metrics.flush_failures.inc();
                }
            }
            Note::Checkpointed { took, good } => {
                metrics.checkpoint_seconds.observe(took.as_secs_f64());
                if let Some(mounts) = &self.mounts {
                    mounts.stored(took, good);
                }
                if good {
                    debug!(took_ms = took.as_secs_f64() * 1e3, "checkpoint");
                } else {
                    metrics.checkpoint_failures.inc();
                }
            }
            Note::Step { took } => metrics.step_seconds.observe(took.as_secs_f64()),
            Note::Slow { took } => {
                warn!(
                    took_ms = took.as_secs_f64() * 1e3,
                    "one step of the node took long"
                );
            }
            Note::Report(message) => {
                metrics.reports.inc();
                warn!("{message}");
            }
            Note::Others => {
                metrics.orders.inc();
            }
            Note::Space { total, free } => {
                if let Some(mounts) = &self.mounts {
                    mounts.space(total, free);
                }
            }
            Note::News { index, by, notices } => {
                if let Some(mounts) = &self.mounts {
                    mounts.news(index, by, notices);
                }
            }
            Note::CopiesMoved => {
                if let Some(mounts) = &self.mounts {
                    mounts.copies_moved();
                }
            }
        }
    }
}
